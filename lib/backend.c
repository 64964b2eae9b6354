#include "backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mem.h"
#include "parallel.h"

const struct be_ops *be_auto(struct err *why)
{
    if (!&be_cuda_ops)
        err_set(why, ERR_DEVICE, "built without CUDA");
    else if (!be_cuda_ops.usable(why))
        return &be_cuda_ops;
    return &be_cpu_ops;
}

const struct be_ops *be_find(const char *name, struct err *e)
{
    struct err why;
    if (!strcmp(name, "auto"))
        return be_auto(&why);
    const struct be_ops *const tables[] = {&be_cpu_ops, &be_ref_ops,
                                           &be_cuda_ops}; /* the last is NULL where not linked */
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (tables[i] && !strcmp(tables[i]->name, name))
            return tables[i];
    if (!strcmp(name, "cuda"))
        err_set(e, ERR_CONFIG, "this program was built without the backend cuda: build with `make CUDA=1`, or use cpu");
    else
        err_set(e, ERR_CONFIG, "there is no backend '%s': use auto, cpu, cuda or ref", name);
    return NULL;
}

char *be_identity(const struct be_ops *ops, const struct be_options *o, struct err *e)
{
    if (!ops->identity)
        return xstrdup(ops->name);
    char *more = ops->identity(o, e), *text = more ? xasprintf("%s %s", ops->name, more) : NULL;
    free(more);
    return text;
}

/* The processor's model as Linux names it; not every architecture does. */
static void processor_name(char *out, size_t size)
{
    char line[256];
    snprintf(out, size, "processor");
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "model name", 10) && strchr(line, ':')) {
            snprintf(out, size, "%s", strchr(line, ':') + 1 + strspn(strchr(line, ':') + 1, " \t"));
            out[strcspn(out, "\n")] = 0;
            break;
        }
    if (f)
        fclose(f);
}

int be_describe_host(struct be_device *d, struct err *e)
{
    (void)e;
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    *d = (struct be_device){.threads = parallel_threads(),
                            .memory = page * (uint64_t)sysconf(_SC_PHYS_PAGES),
                            .free_memory = page * (uint64_t)sysconf(_SC_AVPHYS_PAGES)};
    processor_name(d->name, sizeof d->name);
    return 0;
}
