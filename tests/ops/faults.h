/* faults - op tables with one op made wrong on purpose. A bound that none of them breaks is no bound. */
#ifndef FAULTS_H
#define FAULTS_H
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "mem.h"

/* The table that the faulty ops call. */
static const struct be_ops *sound;

static struct be_view temp_view(struct be *be, enum dtype t, size_t n)
{
    return (struct be_view){sound->alloc(be, n * dtype_size(t)), 0, t};
}
/* A copy, in fp32: ops on it leave out their inner roundings to bf16. */
static struct be_view wide(struct be *be, struct be_view v, size_t n)
{
    struct be_view t = temp_view(be, DT_F32, n);
    sound->convert(be, t, v, n);
    return t;
}
static void put_back(struct be *be, struct be_view v, struct be_view t, size_t n)
{
    sound->convert(be, v, t, n);
    sound->free(be, t.buf);
}
static void drop(struct be *be, struct be_view t)
{
    sound->free(be, t.buf);
}
static void multiply(struct be *be, struct be_view v, size_t n, double factor)
{
    struct be_view t = temp_view(be, DT_F32, n);
    float *x = xmalloc(n, sizeof *x);
    sound->convert(be, t, v, n);
    sound->get(be, x, t, n);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((double)x[i] * factor);
    sound->put(be, t, x, n);
    put_back(be, v, t, n);
    free(x);
}
static size_t area(int a, int b)
{
    return (size_t)a * (size_t)b;
}
static size_t seqs_area(struct be *be, struct be_seqs seqs, int width)
{
    int32_t rows;
    sound->get(be, &rows, be_at(seqs.offset, (size_t)seqs.n), 1);
    return area(rows, width);
}

/* ---- rows and products */

static void gather_neighbour(struct be *be, struct be_view y, struct be_view x, struct be_view row, int n, int D)
{
    sound->gather_rows(be, y, x, be_at(row, 1), n - 1, D);
}
static void scatter_adds_nothing(struct be *be, struct be_view y, struct be_view x, struct be_view row, int n, int N,
                                 int D)
{
    (void)x, (void)row, (void)n;
    sound->zero(be, y, area(N, D));
}
static void add_short(struct be *be, struct be_view y, struct be_view a, struct be_view b, size_t n)
{
    sound->add(be, y, a, b, n - 1);
}
static void linear_lost_element(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int I,
                                int O, int ldy, bool as_reference)
{
    sound->linear(be, y, x, w, N, I, O, ldy, as_reference);
    sound->zero(be, be_at(y, area(N - 1, ldy) + (size_t)O - 1), 1);
}
static void linear_dx_overwrites(struct be *be, struct be_view dx, struct be_view dy, struct be_view w, int N, int I,
                                 int O, bool accumulate)
{
    (void)accumulate;
    sound->linear_dx(be, dx, dy, w, N, I, O, false);
}
static void linear_dx_half(struct be *be, struct be_view dx, struct be_view dy, struct be_view w, int N, int I, int O,
                           bool accumulate)
{
    sound->linear_dx(be, dx, dy, w, N, I, O, accumulate);
    multiply(be, dx, (size_t)I, 0.5);
}

/* ---- norms and rotary embedding */

static void rmsnorm_eps(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int D, float eps)
{
    sound->rmsnorm(be, y, x, w, N, D, 2 * eps);
}
static void rmsnorm_unrounded(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int D,
                              float eps)
{
    struct be_view t = wide(be, y, area(N, D)), xt = wide(be, x, area(N, D));
    sound->rmsnorm(be, t, xt, w, N, D, eps);
    put_back(be, y, t, area(N, D));
    drop(be, xt);
}
static void rmsnorm_bwd_eps(struct be *be, struct be_view dx, struct be_view dy, struct be_view x, struct be_view w,
                            int N, int D, float eps)
{
    sound->rmsnorm_bwd(be, dx, dy, x, w, N, D, 2 * eps);
}
static void rmsnorm_bwd_unrounded(struct be *be, struct be_view dx, struct be_view dy, struct be_view x,
                                  struct be_view w, int N, int D, float eps)
{
    struct be_view t = wide(be, dx, area(N, D));
    sound->rmsnorm_bwd(be, t, dy, x, w, N, D, eps);
    put_back(be, dx, t, area(N, D));
}
static void rope_sign(struct be *be, struct be_view x, struct be_view c, struct be_view s, struct be_view pos, int N,
                      int heads, int E, bool backward)
{
    sound->rope(be, x, c, s, pos, N, heads, E, !backward);
}
static void rope_unrounded(struct be *be, struct be_view x, struct be_view c, struct be_view s, struct be_view pos,
                           int N, int heads, int E, bool backward)
{
    struct be_view t = wide(be, x, area(N, heads * E));
    sound->rope(be, t, c, s, pos, N, heads, E, backward);
    put_back(be, x, t, area(N, heads * E));
}

/* ---- attention */

static void attention_sees_sentinel(struct be *be, struct be_view o, struct be_view lse, struct be_view q,
                                    struct be_view k, struct be_view v, struct be_seqs seqs, int H, int K, int E)
{
    seqs.sentinel = temp_view(be, DT_U8, (size_t)seqs.n);
    sound->attention(be, o, lse, q, k, v, seqs, H, K, E);
    drop(be, seqs.sentinel);
}
static void attention_no_scale(struct be *be, struct be_view o, struct be_view lse, struct be_view q, struct be_view k,
                               struct be_view v, struct be_seqs seqs, int H, int K, int E)
{
    const size_t n = seqs_area(be, seqs, H * E);
    struct be_view t = temp_view(be, q.dtype, n);
    sound->convert(be, t, q, n);
    multiply(be, t, n, sqrt(E));
    sound->attention(be, o, lse, t, k, v, seqs, H, K, E);
    drop(be, t);
}
static void attention_unrounded(struct be *be, struct be_view o, struct be_view lse, struct be_view q, struct be_view k,
                                struct be_view v, struct be_seqs seqs, int H, int K, int E)
{
    const size_t n = seqs_area(be, seqs, H * E);
    struct be_view t = wide(be, o, n);
    sound->attention(be, t, lse, q, k, v, seqs, H, K, E);
    put_back(be, o, t, n);
}
static void attention_bwd_sees_sentinel(struct be *be, struct be_view dq, struct be_view dk, struct be_view dv,
                                        struct be_view dout, struct be_view q, struct be_view k, struct be_view v,
                                        struct be_view o, struct be_view lse, struct be_seqs seqs, int H, int K, int E)
{
    seqs.sentinel = temp_view(be, DT_U8, (size_t)seqs.n);
    sound->attention_bwd(be, dq, dk, dv, dout, q, k, v, o, lse, seqs, H, K, E);
    drop(be, seqs.sentinel);
}
static void attention_bwd_no_scale(struct be *be, struct be_view dq, struct be_view dk, struct be_view dv,
                                   struct be_view dout, struct be_view q, struct be_view k, struct be_view v,
                                   struct be_view o, struct be_view lse, struct be_seqs seqs, int H, int K, int E)
{
    sound->attention_bwd(be, dq, dk, dv, dout, q, k, v, o, lse, seqs, H, K, E);
    multiply(be, dk, seqs_area(be, seqs, K * E), sqrt(E));
}
/* dk of the first query head of each group only */
static void attention_bwd_one_head(struct be *be, struct be_view dq, struct be_view dk, struct be_view dv,
                                   struct be_view dout, struct be_view q, struct be_view k, struct be_view v,
                                   struct be_view o, struct be_view lse, struct be_seqs seqs, int H, int K, int E)
{
    const size_t rows = seqs_area(be, seqs, 1), n = rows * area(H, E);
    struct be_view t = temp_view(be, dout.dtype, n), dq2 = temp_view(be, dq.dtype, n), dv2 = temp_view(be, dv.dtype, n);
    sound->attention_bwd(be, dq, dk, dv, dout, q, k, v, o, lse, seqs, H, K, E);
    for (size_t i = 0; i < rows * (size_t)H; i += (size_t)(H / K))
        sound->convert(be, be_at(t, i * (size_t)E), be_at(dout, i * (size_t)E), (size_t)E);
    sound->attention_bwd(be, dq2, dk, dv2, t, q, k, v, o, lse, seqs, H, K, E);
    drop(be, t);
    drop(be, dq2);
    drop(be, dv2);
}
/* inner roundings of all three outputs, or of dk and dv alone: each output's type decides for its steps */
static void attention_bwd_unrounded(struct be *be, struct be_view dq, struct be_view dk, struct be_view dv,
                                    struct be_view dout, struct be_view q, struct be_view k, struct be_view v,
                                    struct be_view o, struct be_view lse, struct be_seqs seqs, int H, int K, int E)
{
    const size_t nq = seqs_area(be, seqs, H * E), nk = seqs_area(be, seqs, K * E);
    struct be_view tq = wide(be, dq, nq), tk = wide(be, dk, nk), tv = wide(be, dv, nk);
    sound->attention_bwd(be, tq, tk, tv, dout, q, k, v, o, lse, seqs, H, K, E);
    put_back(be, dq, tq, nq);
    put_back(be, dk, tk, nk);
    put_back(be, dv, tv, nk);
}

/* ---- SwiGLU and cross-entropy */

static void swiglu_swapped(struct be *be, struct be_view m, struct be_view g, struct be_view u, size_t n)
{
    sound->swiglu(be, m, u, g, n);
}
static void swiglu_unrounded(struct be *be, struct be_view m, struct be_view g, struct be_view u, size_t n)
{
    struct be_view t = wide(be, m, n);
    sound->swiglu(be, t, g, u, n);
    put_back(be, m, t, n);
}
static void swiglu_bwd_swapped(struct be *be, struct be_view dg, struct be_view du, struct be_view dm, struct be_view g,
                               struct be_view u, size_t n)
{
    sound->swiglu_bwd(be, dg, du, dm, u, g, n);
}
static void swiglu_bwd_unrounded(struct be *be, struct be_view dg, struct be_view du, struct be_view dm,
                                 struct be_view g, struct be_view u, size_t n)
{
    struct be_view tg = wide(be, dg, n), tu = wide(be, du, n);
    sound->swiglu_bwd(be, tg, tu, dm, g, u, n);
    put_back(be, dg, tg, n);
    put_back(be, du, tu, n);
}
static void xent_stat(struct be *be, struct be_view stat, struct be_view loss, struct be_view z, struct be_view target,
                      int N, int V)
{
    sound->xent(be, stat, loss, z, target, N, V);
    multiply(be, stat, 2 * (size_t)N, 1 + 1e-4);
}
static void xent_bwd_unrounded(struct be *be, struct be_view dz, struct be_view z, struct be_view stat,
                               struct be_view target, struct be_view s, int N, int V, int c0, int n)
{
    struct be_view t = wide(be, z, area(N, V));
    sound->xent_bwd(be, dz, t, stat, target, s, N, V, c0, n);
    drop(be, t);
}
static void xent_bwd_next_target(struct be *be, struct be_view dz, struct be_view z, struct be_view stat,
                                 struct be_view target, struct be_view s, int N, int V, int c0, int n)
{
    struct be_view t = temp_view(be, DT_I32, (size_t)N);
    for (size_t i = 0; i < (size_t)N; i++) {
        int32_t k;
        sound->get(be, &k, be_at(target, i), 1);
        k = (k + 1) % V;
        sound->put(be, be_at(t, i), &k, 1);
    }
    sound->xent_bwd(be, dz, z, stat, t, s, N, V, c0, n);
    drop(be, t);
}

/* ---- quantization */

static void amax_rows_one_group(struct be *be, struct be_view out, struct be_view x, struct be_view group, int N, int D)
{
    group.buf = NULL;
    sound->amax_rows(be, out, x, group, N, D);
}
static void amax_cols_short(struct be *be, struct be_view out, struct be_view x, int N, int D)
{
    sound->amax_cols(be, out, x, N - 1, D);
}
static void fakequant_one_amax(struct be *be, struct be_view y, struct be_view x, const struct quantizer *q,
                               struct be_view amax, struct be_view group, int N, int D, bool round_bf16)
{
    group.buf = NULL;
    sound->fakequant(be, y, x, q, amax, group, N, D, round_bf16);
}
static void score_unrounded(struct be *be, struct be_outputs q, struct be_view y, struct be_view g, int N, int n,
                            int ldy)
{
    struct be_view t = wide(be, y, area(N, ldy));
    sound->score_rows(be, q, t, g, N, n, ldy);
    drop(be, t);
}

/* Of several outputs only the first. */
static void score_first(struct be *be, struct be_outputs q, struct be_view y, struct be_view g, int N, int n, int ldy)
{
    q.n = 1;
    sound->score_rows(be, q, y, g, N, n, ldy);
}

static void segment_sum_skips(struct be *be, struct be_view out, size_t out_stride, struct be_view x, size_t x_stride,
                              int count, struct be_view offset, int n)
{
    sound->segment_sum(be, out, out_stride, be_at(x, 1), x_stride, count, offset, n);
}

typedef void any_fn(void);

struct fault {
    const char *name;
    size_t field; /* the op, as offset in struct be_ops */
    any_fn *fn;
    bool in_bf16, in_fp32; /* the modes it shows in */
    bool in_trace;         /* the op is one of a forward or backward pass */
};

#define FAULT(op, fn, ...) \
    { \
#fn, offsetof(struct be_ops, op), (any_fn *)(fn), __VA_ARGS__ \
    }
static const struct fault faults[] = {
    FAULT(gather_rows, gather_neighbour, true, true, true),
    FAULT(scatter_rows, scatter_adds_nothing, true, true, false),
    FAULT(add, add_short, true, true, true),
    FAULT(linear, linear_lost_element, true, true, true),
    FAULT(linear_dx, linear_dx_half, true, true, true),
    FAULT(linear_dx, linear_dx_overwrites, true, true, false),
    FAULT(rmsnorm, rmsnorm_eps, true, true, true),
    FAULT(rmsnorm, rmsnorm_unrounded, true, false, true),
    FAULT(rmsnorm_bwd, rmsnorm_bwd_eps, true, true, true),
    FAULT(rmsnorm_bwd, rmsnorm_bwd_unrounded, true, false, true),
    FAULT(rope, rope_sign, true, true, true),
    FAULT(rope, rope_unrounded, true, false, true),
    FAULT(attention, attention_sees_sentinel, true, true, true),
    FAULT(attention, attention_no_scale, true, true, true),
    FAULT(attention, attention_unrounded, true, false, true),
    FAULT(attention_bwd, attention_bwd_sees_sentinel, true, true, true),
    FAULT(attention_bwd, attention_bwd_no_scale, true, true, true),
    FAULT(attention_bwd, attention_bwd_one_head, true, true, true),
    FAULT(attention_bwd, attention_bwd_unrounded, true, false, true),
    FAULT(swiglu, swiglu_swapped, true, true, true),
    FAULT(swiglu, swiglu_unrounded, true, false, true),
    FAULT(swiglu_bwd, swiglu_bwd_swapped, true, true, true),
    FAULT(swiglu_bwd, swiglu_bwd_unrounded, true, false, true),
    FAULT(xent, xent_stat, true, true, true),
    FAULT(xent_bwd, xent_bwd_next_target, true, true, true),
    FAULT(xent_bwd, xent_bwd_unrounded, true, false, true),
    FAULT(amax_rows, amax_rows_one_group, true, true, false),
    FAULT(amax_cols, amax_cols_short, true, true, false),
    FAULT(fakequant, fakequant_one_amax, true, true, false),
    FAULT(score_rows, score_unrounded, true, false, false),
    FAULT(score_rows, score_first, true, true, false),
    FAULT(segment_sum, segment_sum_skips, true, true, false),
};
enum { N_FAULTS = sizeof faults / sizeof *faults };

/* A copy of the sound table with that op replaced. */
static struct be_ops faulty_ops(const struct fault *f)
{
    struct be_ops ops = *sound;
    memcpy((char *)&ops + f->field, &f->fn, sizeof f->fn);
    return ops;
}

static inline any_fn *op_of(const struct be_ops *ops, size_t field)
{
    any_fn *fn;
    memcpy(&fn, (const char *)ops + field, sizeof fn);
    return fn;
}

#endif
