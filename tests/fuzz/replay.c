/* Replays the committed corpus of a fuzz target as a TAP test: every file goes through LLVMFuzzerTestOneInput, whole
 * and cut at each of 64 places. A sanitizer or a crash fails it. The corpus is tests/fuzz/corpus/NAME. */
#include <dirent.h>
#include <stdint.h>

#include "io.h"
#include "mem.h"
#include "tap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
    (void)argc;
    const char *base = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
    const size_t n = strcspn(base, ".") - strlen("fuzz_");
    char *dir = xasprintf("tests/fuzz/corpus/%.*s", (int)n, base + strlen("fuzz_"));
    DIR *d = opendir(dir);
    if (!ok(d != NULL, "corpus %s", dir))
        return done();
    for (struct dirent *entry; (entry = readdir(d));) {
        if (entry->d_name[0] == '.')
            continue;
        char *path = io_join(dir, entry->d_name), *data = NULL;
        size_t size = 0;
        struct err e;
        const int rc = io_read(path, 64 << 20, &data, &size, &e);
        if (!rc) {
            LLVMFuzzerTestOneInput((const uint8_t *)data, size);
            for (size_t k = 0; k < 64 && size > 64; k++) { /* exact-size copies, so that reading past the end is seen */
                const size_t cut = size * k / 64;
                uint8_t *part = xmalloc(cut, 1);
                memcpy(part, data, cut);
                LLVMFuzzerTestOneInput(part, cut);
                free(part);
            }
        }
        ok(rc == 0, "%s", entry->d_name);
        free(data);
        free(path);
    }
    closedir(d);
    free(dir);
    return done();
}
