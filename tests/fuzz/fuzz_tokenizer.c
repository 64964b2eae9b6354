/* tokenizer.json: any bytes; a tokenizer that loads must encode. */
#include <stdlib.h>

#include "tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "A man can't ride  2 waves.\n\t<|endoftext|> caf\xc3\xa9 cafe\xcc\x81 \xf0\x9f\x98\x80";
    struct err e;
    struct token_ids ids = {0};
    struct tokenizer *t = tokenizer_parse((const char *)data, size, "fuzz", &e);
    if (t && !tokenizer_encode(t, text, sizeof text, 0, &ids, &e))
        (void)tokenizer_id(t, "a");
    free(ids.id);
    tokenizer_close(t);
    return 0;
}
