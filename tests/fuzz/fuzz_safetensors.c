/* Any bytes as a safetensors file: an error, or tensors whose data lies inside. */
#include <stdlib.h>

#include "safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct st_file f;
    struct err e;
    if (st_parse(&f, data, size, "fuzz", &e))
        return 0;
    unsigned sum = 0;
    for (size_t i = 0; i < f.n; i++) {
        const unsigned char *p = f.tensor[i].data;
        if (f.tensor[i].nb)
            sum += p[0] + p[f.tensor[i].nb - 1];
        if (st_find(&f, f.tensor[i].name) != &f.tensor[i])
            abort();
    }
    st_close(&f);
    return sum == UINT32_MAX;
}
