/* Any bytes as config.json: an error, or sizes that every product of theirs fits. */
#include <stdlib.h>

#include "hf_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hf_config c;
    struct err e;
    if (hf_config_parse(&c, (const char *)data, size, "fuzz", &e))
        return 0;
    for (int r = 0; r < ROLE_COUNT; r++) {
        uint64_t shape[2], n;
        lm_role_shape(&c.lm, (enum lm_role)r, shape);
        if (__builtin_mul_overflow(shape[0], shape[1], &n) || n == 0 || n > UINT64_MAX >> 8)
            abort();
    }
    if (c.has_vision) {
        struct vision_tensor *t;
        int n;
        vision_tensors(&c.vision, &t, &n);
        for (int i = 0; i < n; i++)
            if (t[i].n == 0)
                abort();
        vision_free(t, n);
    }
    return 0;
}
