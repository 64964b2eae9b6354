#include "backend.h"

#include <string.h>

const struct be_ops *be_find(const char *name, struct err *e)
{
    if (!strcmp(name, "auto")) {
        struct err why;
        return &be_cuda_ops && !be_cuda_ops.usable(&why) ? &be_cuda_ops : &be_cpu_ops;
    }
    const struct be_ops *const tables[] = {&be_cpu_ops, &be_ref_ops,
                                           &be_cuda_ops}; /* the last is NULL where not linked */
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (tables[i] && !strcmp(tables[i]->name, name))
            return tables[i];
    err_set(e, ERR_CONFIG, "there is no backend '%s': use auto, cpu or ref (cuda is not built in)", name);
    return NULL;
}
