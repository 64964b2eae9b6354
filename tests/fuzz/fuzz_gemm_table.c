/* Any bytes as a table of GEMM algorithms: an error, or a table that finds each of its entries and is the same when it
 * is written and read again. */
#include <stdlib.h>
#include <string.h>

#include "gemm_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gemm_table t, again;
    struct err e;
    if (gemm_table_parse(&t, (const char *)data, size, "fuzz", &e))
        return 0;
    for (size_t i = 0; i < t.n; i++)
        if (gemm_table_find(&t, &t.entry[i].shape) != &t.entry[i])
            abort();
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        abort();
    gemm_table_write(&t, f);
    fclose(f);
    if (gemm_table_parse(&again, text, n, "again", &e) || again.n != t.n || strcmp(again.identity, t.identity))
        abort();
    free(text);
    gemm_table_free(&t);
    gemm_table_free(&again);
    return 0;
}
