/* tensor_cores - a model of the GPU's matrix products, as ops for the trace test: sixteen products at a time and the
 * running sum are each cut (toward zero) at 2^-25 of the largest one's power of two, added exactly, and cut to fp32.
 * With it the trace's products come out to the bit, so that long chains of ops can be compared. For BF16 views. */
#ifndef TENSOR_CORES_H
#define TENSOR_CORES_H
#include <math.h>
#include <stdlib.h>

#include "backend.h"
#include "mem.h"
#include "num.h"
#include "vecmath.h"

/* x, y: n elements, dx and dy apart */
static float tensor_core_dot(const float *x, size_t dx, const float *y, size_t dy, int n)
{
    enum { STEP = 16, BITS = 25 };
    float sum = 0;
    for (int i = 0; i < n; i += STEP) {
        float p[STEP + 1] = {0};
        uint32_t top = 0;
        const int k = n - i < STEP ? n - i : STEP;
        for (int j = 0; j < k; j++)
            p[j] = x[(size_t)(i + j) * dx] * y[(size_t)(i + j) * dy]; /* exact: 8 by 8 bits */
        p[STEP] = sum;
        for (int j = 0; j <= STEP; j++) {
            const uint32_t u = f32_bits(p[j]) & 0x7f800000;
            top = u > top ? u : top;
        }
        const int e = (int)(top >> 23) - 127;
        const double scale = ldexp(1, BITS - e);
        int32_t total = 0; /* 17 terms under 2^26 */
        for (int j = 0; j <= STEP; j++)
            total += (int32_t)((double)p[j] * scale);
        sum = (float)total;
        if (fabs((double)sum) > fabs((double)total))
            sum = nextafterf(sum, 0);
        sum = (float)((double)sum * ldexp(1, e - BITS));
    }
    return sum;
}

/* c [M, N] = a [M, K] times b [K, N]; transposed, a is given as [K, M] and b as [N, K]. */
static void tensor_core_gemm(float *c, const float *a, bool transpose_a, const float *b, bool transpose_b, int M, int N,
                             int K)
{
    const size_t am = transpose_a ? 1 : (size_t)K, ak = transpose_a ? (size_t)M : 1;
    const size_t bn = transpose_b ? (size_t)K : 1, bk = transpose_b ? 1 : (size_t)N;
    for (size_t m = 0; m < (size_t)M; m++)
        for (size_t n = 0; n < (size_t)N; n++)
            c[m * (size_t)N + n] = tensor_core_dot(a + m * am, ak, b + n * bn, bk, K);
}

/* The floats of a view; the caller frees. */
static float *floats(const struct be_ops *op, struct be *be, struct be_view v, size_t n)
{
    float *x = xmalloc(n, sizeof *x);
    struct be_view t = {op->alloc(be, n * sizeof *x), 0, DT_F32};
    op->convert(be, t, v, n);
    op->get(be, x, t, n);
    op->free(be, t.buf);
    return x;
}

/* y [N, O] = x [N, I] times w: [I, O], or [O, I] if transposed */
static void tensor_core_product(struct be *be, struct be_view y, struct be_view x, struct be_view w, bool transposed,
                                int N, int I, int O)
{
    const struct be_ops *op = &be_cpu_ops;
    const size_t n_y = (size_t)N * (size_t)O;
    float *fx = floats(op, be, x, (size_t)N * (size_t)I), *fw = floats(op, be, w, (size_t)O * (size_t)I),
          *fy = xmalloc(n_y, sizeof *fy);
    tensor_core_gemm(fy, fx, false, fw, transposed, N, O, I);
    op->load(be, y, fy, DT_F32, n_y, true);
    free(fx);
    free(fw);
    free(fy);
}

static void tensor_core_linear(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int I, int O,
                               int ldy, bool as_reference)
{
    (void)as_reference;
    if (ldy != O)
        BUG("dense outputs only");
    tensor_core_product(be, y, x, w, true, N, I, O);
}

static void tensor_core_linear_dx(struct be *be, struct be_view dx, struct be_view dy, struct be_view w, int N, int I,
                                  int O, bool accumulate)
{
    if (accumulate)
        BUG("no sums over products");
    tensor_core_product(be, dx, dy, w, false, N, O, I);
}

/* ---- Attention, one head of one sequence at a time. The reference pads sequences on the left, and the place of a row
 * among 16 decides which products are added in one step. So a head's matrices are padded too, to T rows, of which the
 * first `lead` are zero. */

enum { T = 32, MAX_E = 32, MAX_SEQS = 32, MAX_OPERANDS = 9 }; /* with more keys the GPU splits a row's sum further */

struct operand { /* [N, heads, width] */
    struct be_view view;
    int heads, width;
};

typedef float matrix[T * MAX_E];                  /* [T, width] of one head */
typedef void head_fn(matrix *m, int lead, int E); /* m: inputs, then outputs, in the order of the operands */

/* Between the rows `first`.. of x and one head's matrix; out: rounded, and added up where several heads share one. */
static void copy_head(const struct operand *a, float *x, float *m, int first, int head, int lead, bool out)
{
    for (int i = lead; i < T; i++)
        for (int j = 0; j < a->width; j++) {
            float *y = x + ((first + i - lead) * a->heads + head) * a->width + j, v = m[i * a->width + j];
            if (out)
                *y += a->view.dtype == DT_BF16 ? bf16_round(v) : v;
            else
                m[i * a->width + j] = *y;
        }
}

static void by_heads(struct be *be, head_fn *fn, const struct operand *a, int n_in, int n, struct be_seqs seqs, int H)
{
    const struct be_ops *op = &be_cpu_ops;
    int32_t offset[MAX_SEQS + 1];
    uint8_t sentinel[MAX_SEQS];
    float *x[MAX_OPERANDS];
    if (seqs.n > MAX_SEQS || a->width > MAX_E)
        BUG("%d sequences, heads of %d", seqs.n, a->width);
    op->get(be, offset, seqs.offset, (size_t)seqs.n + 1);
    op->get(be, sentinel, seqs.sentinel, (size_t)seqs.n);
    for (int k = 0; k < n; k++) {
        const size_t size = (size_t)(offset[seqs.n] * a[k].heads * a[k].width);
        x[k] = k < n_in ? floats(op, be, a[k].view, size) : xcalloc(size, sizeof *x[k]);
    }
    for (int i = 0; i < seqs.n * H; i++) {
        const int s = i / H, head = i % H, first = offset[s] + sentinel[s], lead = T - (offset[s + 1] - first);
        matrix m[MAX_OPERANDS] = {{0}};
        if (lead < 0)
            BUG("a sequence of %d rows", T - lead);
        for (int k = 0; k < n_in; k++)
            copy_head(&a[k], x[k], m[k], first, head * a[k].heads / H, lead, false);
        fn(m, lead, a->width);
        for (int k = n_in; k < n; k++)
            copy_head(&a[k], x[k], m[k], first, head * a[k].heads / H, lead, true);
    }
    for (int k = 0; k < n; k++) {
        if (k >= n_in)
            op->load(be, a[k].view, x[k], DT_F32, (size_t)(offset[seqs.n] * a[k].heads * a[k].width), false);
        free(x[k]);
    }
}

static void attention_head(matrix *m, int lead, int E)
{
    const float *q = m[0], *k = m[1], *v = m[2], scale = 1.0f / sqrtf((float)E), log2e = 1.44269504f;
    float *o = m[3], *lse = m[4], P[T * T], inverse[T] = {0};
    tensor_core_gemm(P, q, false, k, true, T, T, E);
    for (int i = lead; i < T; i++) {
        float *p = P + i * T, max = -INFINITY, lane[4] = {0}; /* each of four lanes sums two of every eight keys */
        for (int j = lead; j <= i; j++) {
            p[j] = p[j] * scale * log2e;
            max = fmaxf(max, p[j]);
        }
        for (int j = 0; j < T; j++) {
            const float e = j < lead || j > i ? 0 : exp2_f32(p[j] - max);
            lane[j / 2 % 4] += e;
            p[j] = bf16_round(e);
        }
        const float sum = (lane[0] + lane[1]) + (lane[2] + lane[3]);
        inverse[i] = 1.0f / sum;
        lse[i] = max / log2e + logf(sum);
    }
    tensor_core_gemm(o, P, false, v, false, T, E, T);
    for (int i = 0; i < T * E; i++)
        o[i] *= inverse[i / E];
}

static void attention_head_bwd(matrix *m, int lead, int E)
{
    const float *q = m[0], *k = m[1], *v = m[2], *o = m[3], *lse = m[4], *dout = m[5], scale = 1.0f / sqrtf((float)E);
    float *dq = m[6], *dk = m[7], *dv = m[8], P[T * T], dS[T * T];
    tensor_core_gemm(P, q, false, k, true, T, T, E);
    tensor_core_gemm(dS, dout, false, v, true, T, T, E);
    for (int i = 0; i < T; i++) {
        float delta = 0;
        for (int c = 0; c < E; c++)
            delta += dout[i * E + c] * o[i * E + c];
        for (int j = 0; j < T; j++) {
            float *p = P + i * T + j, *ds = dS + i * T + j;
            const bool allowed = j >= lead && j <= i;
            *p = allowed ? bf16_round(exp_f32(*p * scale - lse[i])) : 0;
            *ds = allowed ? bf16_round(*p * (*ds - delta) * scale) : 0;
        }
    }
    tensor_core_gemm(dq, dS, false, k, false, T, E, T);
    tensor_core_gemm(dk, dS, true, q, false, T, E, T);
    tensor_core_gemm(dv, P, true, dout, false, T, E, T);
}

static void tensor_core_attention(struct be *be, struct be_view o, struct be_view lse, struct be_view q,
                                  struct be_view k, struct be_view v, struct be_seqs seqs, int H, int K, int E)
{
    const struct operand a[] = {{q, H, E}, {k, K, E}, {v, K, E}, {o, H, E}, {lse, H, 1}};
    by_heads(be, attention_head, a, 3, 5, seqs, H);
}

static void tensor_core_attention_bwd(struct be *be, struct be_view dq, struct be_view dk, struct be_view dv,
                                      struct be_view dout, struct be_view q, struct be_view k, struct be_view v,
                                      struct be_view o, struct be_view lse, struct be_seqs seqs, int H, int K, int E)
{
    const struct operand a[] = {{q, H, E},    {k, K, E},  {v, K, E},  {o, H, E}, {lse, H, 1},
                                {dout, H, E}, {dq, H, E}, {dk, K, E}, {dv, K, E}};
    by_heads(be, attention_head_bwd, a, 6, 9, seqs, H);
}

static struct be_ops tensor_core_ops(void)
{
    struct be_ops ops = be_cpu_ops;
    ops.name = "tensor cores";
    ops.linear = tensor_core_linear;
    ops.linear_dx = tensor_core_linear_dx;
    ops.attention = tensor_core_attention;
    ops.attention_bwd = tensor_core_attention_bwd;
    return ops;
}

#endif
