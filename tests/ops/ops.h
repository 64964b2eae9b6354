/* ops - what the op tests share: seeded numbers, and tensors on a backend between guard bands. */
#ifndef OPS_H
#define OPS_H
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "tap.h"
#include "mem.h"
#include "num.h"
#include "rng.h"

/* ---- seeded numbers, the same on every machine */

static inline double rng_uniform(struct rng *r) /* in (0, 1) */
{
    return ((double)(rng_bits(r) >> 12) + 0.5) * 0x1p-52;
}
/* Mean 0, variance 1, nearly normal: the sum of four uniform numbers. Within 3.5. */
static inline double rng_normal(struct rng *r)
{
    const uint64_t u = rng_bits(r);
    const double sum = (double)((u & 0xffff) + (u >> 16 & 0xffff) + (u >> 32 & 0xffff) + (u >> 48));
    return (sum / 65535 - 2) * 1.7320508075688772;
}

/* ---- tensors */

enum mode { BF16, FP32 };
enum { GUARD = 37, GUARD_BYTE = 0xa5, UNWRITTEN = 0xff, MAX_TENSORS = 512 }; /* odd: views start unaligned */

/* A backend in use, with what was allocated on it. Tensors are views into larger buffers; before anything is written,
 * they are NaN inside and GUARD_BYTE outside. */
struct side {
    const struct be_ops *op;
    struct be *be;
    enum mode mode;
    struct {
        struct be_buf *buf;
        size_t nb, guard; /* bytes of the tensor and of each guard band */
    } tensor[MAX_TENSORS];
    int n;
};

static inline void side_open(struct side *s, const struct be_ops *op, enum mode mode)
{
    struct err e = {0};
    *s = (struct side){.op = op, .mode = mode, .be = op->open(NULL, &e)};
    if (!s->be)
        BUG("%s: %s", op->name, e.msg);
}

/* The table of that name if it was built in and starts here, else NULL and why. Where REQUIRE names it, it must. */
static inline const struct be_ops *usable_backend(const char *name)
{
    struct err e = {0};
    const struct be_ops *op = be_find(name, &e);
    struct be *be = op ? op->open(NULL, &e) : NULL;
    if (be) {
        op->close(be);
        return op;
    }
    const char *require = getenv("REQUIRE");
    if (require && strstr(require, name))
        ok(false, "%s is required: %s", name, e.msg);
    else
        ok(true, "%s # SKIP %s", name, e.msg);
    return NULL;
}

static inline enum dtype side_act(const struct side *s)
{
    return s->mode == BF16 ? s->op->act_bf16 : s->op->act_fp32;
}

static inline enum dtype side_weight(const struct side *s)
{
    return s->mode == BF16 ? s->op->weight_bf16 : s->op->weight_fp32;
}

static inline struct be_view side_new(struct side *s, enum dtype t, size_t n)
{
    const size_t nb = n * dtype_size(t), guard = GUARD * dtype_size(t);
    if (s->n == MAX_TENSORS)
        BUG("more than %d tensors", MAX_TENSORS);
    char *bytes = xmalloc(nb + 2 * guard, 1);
    memset(bytes, GUARD_BYTE, nb + 2 * guard);
    memset(bytes + guard, UNWRITTEN, nb);
    struct be_buf *buf = s->op->alloc(s->be, nb + 2 * guard);
    s->op->put(s->be, (struct be_view){buf, 0, DT_U8}, bytes, nb + 2 * guard);
    free(bytes);
    s->tensor[s->n].buf = buf;
    s->tensor[s->n].nb = nb;
    s->tensor[s->n++].guard = guard;
    return (struct be_view){buf, guard, t};
}

static inline void side_put(struct side *s, struct be_view v, const double *x, size_t n)
{
    char *bytes = xmalloc(n, dtype_size(v.dtype));
    for (size_t i = 0; i < n; i++)
        switch (v.dtype) {
        case DT_F64: ((double *)(void *)bytes)[i] = x[i]; break;
        case DT_F32: ((float *)(void *)bytes)[i] = (float)x[i]; break;
        case DT_BF16: ((uint16_t *)(void *)bytes)[i] = bf16_from_f32(bf16_round_f64(x[i])); break;
        case DT_I32: ((int32_t *)(void *)bytes)[i] = (int32_t)x[i]; break;
        case DT_U8: bytes[i] = (char)(int)x[i]; break;
        default: BUG("no tensors of %s", dtype_name(v.dtype));
        }
    s->op->put(s->be, v, bytes, n);
    free(bytes);
}

/* The caller frees. */
static inline double *side_get(struct side *s, struct be_view v, size_t n)
{
    char *bytes = xmalloc(n, dtype_size(v.dtype));
    double *x = xmalloc(n, sizeof *x);
    s->op->get(s->be, bytes, v, n);
    for (size_t i = 0; i < n; i++)
        switch (v.dtype) {
        case DT_F64: x[i] = ((double *)(void *)bytes)[i]; break;
        case DT_F32: x[i] = (double)((float *)(void *)bytes)[i]; break;
        case DT_BF16: x[i] = (double)bf16_to_f32(((uint16_t *)(void *)bytes)[i]); break;
        default: BUG("no results of %s", dtype_name(v.dtype));
        }
    free(bytes);
    return x;
}

/* A tensor with values. Values are those of the mode on every backend: rounded to bf16 or fp32, whatever type holds
 * them. */
static inline struct be_view side_tensor(struct side *s, enum dtype t, const double *x, size_t n)
{
    double *rounded = xmalloc(n, sizeof *rounded);
    for (size_t i = 0; i < n; i++)
        rounded[i] = s->mode == BF16 ? (double)bf16_round_f64(x[i]) : (double)(float)x[i];
    struct be_view v = side_new(s, t, n);
    side_put(s, v, rounded, n);
    free(rounded);
    return v;
}
static inline struct be_view side_ints(struct side *s, const int *x, size_t n)
{
    struct be_view v = side_new(s, DT_I32, n);
    s->op->put(s->be, v, x, n);
    return v;
}

/* seq: lengths up to a 0; negative: the first of that many rows is a sentinel. */
static inline struct be_seqs side_seqs(struct side *s, const int *seq)
{
    int offset[32] = {0}, n = 0;
    uint8_t sentinel[32];
    for (; seq[n]; n++) {
        offset[n + 1] = offset[n] + abs(seq[n]);
        sentinel[n] = seq[n] < 0;
    }
    struct be_seqs q = {.n = n,
                        .n_rows = offset[n],
                        .offset = side_ints(s, offset, (size_t)n + 1),
                        .sentinel = side_new(s, DT_U8, (size_t)n)};
    s->op->put(s->be, q.sentinel, sentinel, (size_t)n);
    return q;
}
static inline int seqs_rows(const int *seq)
{
    int n = 0;
    while (*seq)
        n += abs(*seq++);
    return n;
}

static inline bool side_guards_intact(struct side *s)
{
    bool intact = true;
    for (int t = 0; t < s->n; t++) {
        const size_t nb = s->tensor[t].nb, guard = s->tensor[t].guard;
        unsigned char *bytes = xmalloc(nb + 2 * guard, 1);
        s->op->get(s->be, bytes, (struct be_view){s->tensor[t].buf, 0, DT_U8}, nb + 2 * guard);
        for (size_t i = 0; i < guard; i++)
            intact = intact && bytes[i] == GUARD_BYTE && bytes[guard + nb + i] == GUARD_BYTE;
        free(bytes);
    }
    return intact;
}

/* Frees the tensors; the backend stays open. */
static inline void side_free(struct side *s)
{
    while (s->n)
        s->op->free(s->be, s->tensor[--s->n].buf);
}
static inline void side_close(struct side *s)
{
    side_free(s);
    s->op->close(s->be);
}

#endif
