/* Any text: what publish_clean_text leaves holds no absolute path where it looks for one. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "publish_clean.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = xstrndup((const char *)data, size), *clean = publish_clean_text(text);
    char *again = publish_clean_text(clean), *path = publish_clean_path(text);
    if (strcmp(clean, again))
        BUG("cleaning a second time changes '%s' to '%s'", clean, again);
    if (*path == '/')
        BUG("'%s' is absolute", path);
    free(text);
    free(clean);
    free(again);
    free(path);
    return 0;
}
