/* Any bytes as JSON: an error, or a value that is read back from what json_print makes of it, without change. */
#include <stdlib.h>

#include "json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *print(const json_t *v, int indent, size_t *n)
{
    char *text = NULL;
    FILE *f = open_memstream(&text, n);
    json_print(f, v, indent);
    fclose(f);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e;
    json_t *v = json_parse((const char *)data, size, "fuzz", &e);
    if (!v)
        return 0;
    for (int indent = 0; indent <= 2; indent += 2) {
        size_t n;
        char *text = print(v, indent, &n);
        json_t *again = json_parse(text, n, "again", &e);
        if (!again || !json_equal(v, again))
            abort();
        json_decref(again);
        free(text);
    }
    json_decref(v);
    return 0;
}
