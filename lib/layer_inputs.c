#include "layer_inputs.h"

#include <stdlib.h>

#include "mem.h"

void inputs_open(struct layer_inputs *in, const struct be_ops *ops, struct be *be, enum dtype act, int D, int n_layers,
                 int n_blocks, int max_rows, bool on_host)
{
    *in = (struct layer_inputs){.ops = ops,
                                .be = be,
                                .act = act,
                                .D = (size_t)D,
                                .n_layers = n_layers,
                                .n_blocks = n_blocks,
                                .on_host = on_host};
    in->block = xcalloc((size_t)n_blocks, sizeof *in->block);
    if (on_host)
        in->fetched = ops->alloc(be, (size_t)max_rows * in->D * dtype_size(act));
}

void inputs_close(struct layer_inputs *in)
{
    if (!in->ops)
        return;
    for (int i = 0; i < in->n_blocks; i++)
        inputs_drop(in, i);
    in->ops->free(in->be, in->fetched);
    free(in->block);
    *in = (struct layer_inputs){0};
}

size_t inputs_bytes(enum dtype act, int D, int n_layers, int max_rows, int64_t kept_rows, int64_t other_rows,
                    bool on_host, size_t *host)
{
    const size_t row = (size_t)D * dtype_size(act), layers = (size_t)n_layers, kept = (size_t)kept_rows;
    *host = on_host ? layers * kept * row : 0;
    return ((on_host ? kept + (size_t)max_rows : (layers + 1) * kept) + (size_t)other_rows) * row;
}

void inputs_start(struct layer_inputs *in, int i, int N, bool keep)
{
    const size_t n = (size_t)N * in->D, size = dtype_size(in->act), layers = (size_t)in->n_layers;
    in->block[i].n = n;
    in->block[i].kept = keep;
    in->block[i].buf = in->ops->alloc(in->be, n * size * (keep && !in->on_host ? layers + 1 : 1));
    if (keep && in->on_host)
        in->block[i].host = in->ops->host_alloc(in->be, layers * n * size);
}

void inputs_drop(struct layer_inputs *in, int i)
{
    in->ops->free(in->be, in->block[i].buf);
    if (in->block[i].host)
        in->ops->host_free(in->be, in->block[i].host);
    in->block[i].buf = NULL;
    in->block[i].host = NULL;
}

struct be_view inputs_at(const struct layer_inputs *in, int i, int layer)
{
    const bool apart = in->block[i].kept && !in->on_host;
    return be_at((struct be_view){in->block[i].buf, 0, in->act}, apart ? (size_t)layer * in->block[i].n : 0);
}

/* In host memory; the last output is never recalled. */
static void *host_place(const struct layer_inputs *in, int i, int layer)
{
    if (!in->block[i].host || layer == in->n_layers)
        return NULL;
    return (char *)in->block[i].host + (size_t)layer * in->block[i].n * dtype_size(in->act);
}

void inputs_written(const struct layer_inputs *in, int i, int layer)
{
    void *to = host_place(in, i, layer);
    if (to)
        in->ops->save(in->be, to, inputs_at(in, i, layer), in->block[i].n);
}

struct be_view inputs_recall(const struct layer_inputs *in, int i, int layer)
{
    const void *from = host_place(in, i, layer);
    if (!from)
        return inputs_at(in, i, layer);
    const struct be_view v = {in->fetched, 0, in->act};
    in->ops->put(in->be, v, from, in->block[i].n);
    return v;
}
