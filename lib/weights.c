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

static size_t layer_elements(const struct lm *lm)
{
    size_t n = 0;
    for (size_t i = 0; i < N_LAYER_ROLES; i++)
        n += elements(lm_tensor_of(lm, layer_roles[i], 0));
    return (n + 127) / 128 * 128; /* so that every slot is aligned */
}

static size_t head_elements(const struct lm *lm)
{
    return (size_t)lm->config.vocab_size * (size_t)lm->config.hidden_size;
}

int weights_head_rows(const struct lm *lm, const struct be_ops *ops)
{
    int64_t rows = (int64_t)(ops->head_block_elements / (size_t)lm->config.hidden_size);
    rows -= rows > 128 ? rows % 128 : 0; /* logits of a block start where a GEMM can store whole vectors */
    return (int)(rows < 1 ? 1 : rows > lm->config.vocab_size ? lm->config.vocab_size : rows);
}

/* Of a streamed layer: the one at work and, where one can arrive meanwhile, the next. */
static int slots(const struct lm *lm, const struct be_ops *ops, bool layers_stay)
{
    return layers_stay || lm->config.n_layers == 1 ? lm->config.n_layers : ops->load_ahead ? 2 : 1;
}

/* Elements of layer_buf, head_buf and norm_buf. */
static void buffer_elements(const struct lm *lm, const struct be_ops *ops, bool layers_stay, bool head_stays,
                            size_t n[3])
{
    const size_t D = (size_t)lm->config.hidden_size;
    n[0] = (size_t)slots(lm, ops, layers_stay) * layer_elements(lm);
    n[1] = head_stays ? head_elements(lm) : (size_t)weights_head_rows(lm, ops) * D;
    n[2] = D;
}

size_t weights_bytes(const struct lm *lm, const struct be_ops *ops, bool bf16, bool layers_stay, bool head_stays)
{
    size_t n[3];
    buffer_elements(lm, ops, layers_stay, head_stays, n);
    return (n[0] + n[1] + n[2]) * dtype_size(bf16 ? ops->weight_bf16 : ops->weight_fp32);
}

static void allocate(struct weights *w)
{
    size_t n[3];
    const size_t size = dtype_size(w->type);
    buffer_elements(w->lm, w->ops, w->layers_stay, w->head_stays, n);
    w->layer_elements = layer_elements(w->lm);
    w->head_rows = weights_head_rows(w->lm, w->ops);
    w->n_slots = slots(w->lm, w->ops, w->layers_stay);
    w->slot_layer = xmalloc((size_t)w->n_slots, sizeof *w->slot_layer);
    for (int i = 0; i < w->n_slots; i++)
        w->slot_layer[i] = -1;
    w->layer_buf = w->ops->alloc(w->be, n[0] * size);
    w->head_buf = w->ops->alloc(w->be, n[1] * size);
    w->norm_buf = w->ops->alloc(w->be, n[2] * size);
}

int weights_open(struct weights *w, const struct be_ops *ops, struct be *be, const struct lm *lm, bool bf16,
                 bool layers_stay, bool head_stays, struct err *e)
{
    *w = (struct weights){.ops = ops,
                          .be = be,
                          .lm = lm,
                          .bf16 = bf16,
                          .layers_stay = layers_stay,
                          .head_stays = head_stays,
                          .layer = -1,
                          .next = -1,
                          .head_block = -1};
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
    free(w->slot_layer);
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

/* Tensor number i of a layer, where it is or will be: one after the other in the layer's slot. */
static struct be_view place(const struct weights *w, int layer, size_t i)
{
    size_t at = (size_t)(layer % w->n_slots) * w->layer_elements;
    for (size_t k = 0; k < i; k++)
        at += elements(lm_tensor_of(w->lm, layer_roles[k], layer));
    return be_at((struct be_view){w->layer_buf, 0, w->type}, at);
}

static void bring(struct weights *w, int layer, bool ahead)
{
    for (size_t i = 0; i < N_LAYER_ROLES; i++) {
        const struct lm_tensor *t = lm_tensor_of(w->lm, layer_roles[i], layer);
        (ahead ? w->ops->load_ahead : w->ops->load)(w->be, place(w, layer, i), host(w, t), t->dtype, elements(t),
                                                    w->bf16);
    }
    w->slot_layer[layer % w->n_slots] = layer;
}

void weights_wait(struct weights *w, int layer, int next)
{
    w->next = next < 0 || next >= w->lm->config.n_layers || w->slot_layer[next % w->n_slots] == next ? -1 : next;
    for (size_t i = 0; i < N_LAYER_ROLES && w->next >= 0; i++)
        advise(w, lm_tensor_of(w->lm, layer_roles[i], next));
    if (w->slot_layer[layer % w->n_slots] != layer)
        bring(w, layer, false);
    else if (w->ops->join)
        w->ops->join(w->be);
    for (size_t i = 0; i < N_LAYER_ROLES; i++)
        w->role[layer_roles[i]] = place(w, layer, i);
    w->layer = layer;
    if (w->ops->fence)
        w->ops->fence(w->be); /* who worked with the next one's slot was issued before */
}

void weights_ahead(struct weights *w)
{
    if (w->ops->load_ahead && w->next >= 0)
        bring(w, w->next, true);
    w->next = -1;
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
    const int wanted = w->head_stays ? 0 : b;
    const size_t skip = w->head_stays ? 0 : (size_t)first * D;
    if (w->head_block != wanted)
        w->ops->load(w->be, all, (const char *)host(w, t) + skip * dtype_size(t->dtype), t->dtype,
                     (w->head_stays ? (size_t)V : (size_t)*n_rows) * D, w->bf16);
    w->head_block = wanted;
    return w->head_stays ? be_at(all, (size_t)first * D) : all;
}

size_t weights_largest(const struct lm *lm, const struct be_ops *ops)
{
    size_t most = (size_t)weights_head_rows(lm, ops) * (size_t)lm->config.hidden_size;
    for (int r = 0; r < ROLE_COUNT; r++)
        if (lm_role_is_unit((enum lm_role)r) && r != ROLE_LM_HEAD) {
            const size_t n = elements(lm_tensor_of(lm, (enum lm_role)r, 0));
            most = n > most ? n : most;
        }
    return most;
}
