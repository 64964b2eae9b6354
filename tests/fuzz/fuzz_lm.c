/* Any bytes as lm.json: an error, or a model in which every tensor and unit is found. */
#include <stdlib.h>

#include "lm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lm m;
    struct err e;
    if (lm_parse(&m, (const char *)data, size, "fuzz", &e))
        return 0;
    for (int i = 0; i < m.n_tensors; i++) {
        const struct lm_tensor *t = &m.tensor[i];
        if (lm_tensor_of(&m, t->role, t->layer) != t || t->file >= m.n_files ||
            t->offset + t->nb > m.file[t->file].size)
            abort();
    }
    for (int i = 0; i < m.n_units; i++)
        if ((m.unit[i].is_lm && lm_unit_of(&m, m.unit[i].role, m.unit[i].layer) != i) || m.unit[i].group >= m.n_groups)
            abort();
    lm_free(&m);
    return 0;
}
