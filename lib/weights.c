#include "weights.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem.h"

static const enum lm_role layer_roles[] = {ROLE_ATTN_NORM, ROLE_Q,        ROLE_K,    ROLE_V,  ROLE_Q_NORM, ROLE_K_NORM,
                                           ROLE_O,         ROLE_MLP_NORM, ROLE_GATE, ROLE_UP, ROLE_DOWN};
enum { N_LAYER_ROLES = sizeof layer_roles / sizeof *layer_roles };

static size_t elements(const struct lm_tensor *t)
{
    return (size_t)(t->rank == 2 ? t->shape[0] * t->shape[1] : t->shape[0]);
}

static const void *host(const struct weights *w, const struct lm_tensor *t)
{
    return w->map[t->file].data + t->offset;
}

static int map_files(struct weights *w, struct err *e)
{
    for (int i = 0; i < w->lm->n_files; i++) {
        const struct lm_file *f = &w->lm->file[i];
        struct stat st;
        if (stat(f->path, &st) == 0 &&
            ((uint64_t)st.st_size != f->size || st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec != f->mtime_ns))
            return err_set(e, ERR_IO, "'%s' changed since extract-lm looked at it: run extract-lm again", f->path);
        if (io_map(&w->map[i], f->path, e))
            return -1;
        if (w->map[i].size != f->size)
            return err_set(e, ERR_IO, "'%s' changed since extract-lm looked at it: run extract-lm again", f->path);
    }
    return 0;
}

/* role[] of a layer, which lie one after the other in its slot. */
static void set_roles(struct weights *w, int layer)
{
    const size_t size = dtype_size(w->type);
    size_t at = w->stay ? (size_t)layer * w->layer_elements * size : 0;
    for (size_t i = 0; i < N_LAYER_ROLES; i++) {
        w->role[layer_roles[i]] = (struct be_view){w->layer_buf, at, w->type};
        at += elements(lm_tensor_of(w->lm, layer_roles[i], layer)) * size;
    }
    w->layer = layer;
}

static void allocate(struct weights *w)
{
    const struct lm_config *c = &w->lm->config;
    const size_t size = dtype_size(w->type), layers = (size_t)c->n_layers, D = (size_t)c->hidden_size;
    for (size_t i = 0; i < N_LAYER_ROLES; i++)
        w->layer_elements += elements(lm_tensor_of(w->lm, layer_roles[i], 0));
    w->layer_elements = (w->layer_elements + 127) / 128 * 128; /* so that every slot is aligned */
    const size_t head = (size_t)c->vocab_size * D;
    w->stay = w->ops->weight_room(w->be) >= (layers * w->layer_elements + head) * size;
    int64_t rows = (int64_t)(w->ops->head_block_elements / D);
    rows -= rows > 128 ? rows % 128 : 0; /* logits of a block start where a GEMM can store whole vectors */
    w->head_rows = (int)(rows < 1 ? 1 : rows > c->vocab_size ? c->vocab_size : rows);
    w->loaded = xcalloc(layers, sizeof *w->loaded);
    w->layer_buf = w->ops->alloc(w->be, (w->stay ? layers : 1) * w->layer_elements * size);
    w->head_buf = w->ops->alloc(w->be, (w->stay ? head : (size_t)w->head_rows * D) * size);
    w->norm_buf = w->ops->alloc(w->be, D * size);
}

int weights_open(struct weights *w, const struct be_ops *ops, struct be *be, const struct lm *lm, bool bf16,
                 struct err *e)
{
    *w = (struct weights){.ops = ops, .be = be, .lm = lm, .bf16 = bf16, .layer = -1, .head_block = -1};
    w->type = bf16 ? ops->weight_bf16 : ops->weight_fp32;
    w->map = xcalloc((size_t)lm->n_files, sizeof *w->map);
    if (map_files(w, e)) {
        weights_close(w);
        return -1;
    }
    allocate(w);
    const struct lm_tensor *norm = lm_tensor_of(lm, ROLE_FINAL_NORM, -1);
    ops->load(be, weights_final_norm(w), host(w, norm), norm->dtype, elements(norm), bf16);
    return ops->sync(be, e);
}

void weights_close(struct weights *w)
{
    if (w->map)
        for (int i = 0; i < w->lm->n_files; i++)
            io_unmap(&w->map[i]);
    free(w->map);
    free(w->loaded);
    w->ops->free(w->be, w->layer_buf);
    w->ops->free(w->be, w->head_buf);
    w->ops->free(w->be, w->norm_buf);
    *w = (struct weights){.ops = w->ops, .be = w->be};
}

static void advise(const struct weights *w, const struct lm_tensor *t)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const uintptr_t begin = (uintptr_t)host(w, t) / page * page, end = (uintptr_t)host(w, t) + t->nb;
    madvise((void *)begin, end - begin, MADV_WILLNEED); /* a hint: failure costs time only */
}

void weights_prefetch(struct weights *w, int layer)
{
    if (layer < 0 || layer >= w->lm->config.n_layers)
        return;
    for (size_t i = 0; i < N_LAYER_ROLES; i++)
        advise(w, lm_tensor_of(w->lm, layer_roles[i], layer));
}

void weights_wait(struct weights *w, int layer)
{
    const bool there = w->stay ? w->loaded[layer] : w->layer == layer;
    set_roles(w, layer);
    for (size_t i = 0; i < N_LAYER_ROLES && !there; i++) {
        const struct lm_tensor *t = lm_tensor_of(w->lm, layer_roles[i], layer);
        w->ops->load(w->be, w->role[layer_roles[i]], host(w, t), t->dtype, elements(t), w->bf16);
    }
    w->loaded[layer] = true;
}

void weights_embed(struct weights *w, struct be_view dst, const int32_t *ids, int n)
{
    const struct lm_tensor *t = lm_tensor_of(w->lm, ROLE_EMBED, -1);
    w->ops->load_rows(w->be, dst, host(w, t), t->dtype, ids, n, w->lm->config.hidden_size, w->bf16);
}

struct be_view weights_final_norm(const struct weights *w)
{
    return (struct be_view){w->norm_buf, 0, w->type};
}

int weights_head_blocks(const struct weights *w)
{
    return (int)((w->lm->config.vocab_size + w->head_rows - 1) / w->head_rows);
}

struct be_view weights_head_block(struct weights *w, int b, int *row0, int *n_rows)
{
    const struct lm_tensor *t = lm_tensor_of(w->lm, ROLE_LM_HEAD, -1);
    const int64_t V = w->lm->config.vocab_size, first = (int64_t)b * w->head_rows;
    const size_t D = (size_t)w->lm->config.hidden_size;
    *row0 = (int)first;
    *n_rows = (int)(V - first < w->head_rows ? V - first : w->head_rows);
    const struct be_view all = {w->head_buf, 0, w->type};
    const bool there = w->head_block == (w->stay ? 0 : b);
    if (!there)
        w->ops->load(w->be, all, (const char *)host(w, t) + (w->stay ? 0 : (size_t)first * D * dtype_size(t->dtype)),
                     t->dtype, (w->stay ? (size_t)V : (size_t)*n_rows) * D, w->bf16);
    w->head_block = w->stay ? 0 : b;
    return w->stay ? be_at(all, (size_t)first * D) : all;
}

size_t weights_largest(const struct weights *w)
{
    size_t most = (size_t)w->head_rows * (size_t)w->lm->config.hidden_size;
    for (int r = 0; r < ROLE_COUNT; r++)
        if (lm_role_is_unit((enum lm_role)r) && r != ROLE_LM_HEAD) {
            const size_t n = elements(lm_tensor_of(w->lm, (enum lm_role)r, 0));
            most = n > most ? n : most;
        }
    return most;
}
