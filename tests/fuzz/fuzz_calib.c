/* calib.safetensors: any bytes; what loads can be written and loads again. */
#include <stdio.h>
#include <stdlib.h>

#include "calib.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct calib c, again;
    struct err e;
    if (calib_parse(&c, data, size, "fuzz", &e))
        return 0;
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    calib_write(&c, f);
    fclose(f);
    if (calib_parse(&again, text, n, "again", &e))
        abort();
    calib_free(&again);
    calib_free(&c);
    free(text);
    return 0;
}
