/* Text through the bundled tokenizer and through one with other rules: any bytes; a text cut short at so many ids gives
 * the first of them. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const path[] = {"models/tiny_qwen3_vl/tokenizer.json", "tests/fixtures/tokenizer_other.json"};
    static struct tokenizer *tokenizer[2];
    struct err e;
    for (int k = 0; k < 2; k++) {
        struct token_ids all = {0}, some = {0};
        if (!tokenizer[k] && !(tokenizer[k] = tokenizer_open(path[k], &e)))
            abort();
        if (!tokenizer_encode(tokenizer[k], (const char *)data, size, 0, &all, &e)) {
            const size_t want = all.n / 2;
            if (want && (tokenizer_encode(tokenizer[k], (const char *)data, size, want, &some, &e) || some.n != want ||
                         memcmp(all.id, some.id, want * sizeof *all.id) != 0))
                abort();
        }
        free(all.id);
        free(some.id);
    }
    return 0;
}
