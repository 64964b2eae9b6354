/* tensor_cores - a model of the GPU's matrix products, as two ops for the trace test: sixteen products at a time and
 * the running sum are each cut (toward zero) at 2^-25 of the largest one's power of two, added exactly, and cut to
 * fp32. With it the trace's products come out to the bit, so that long chains of ops can be compared. For BF16 views.
 */
#ifndef TENSOR_CORES_H
#define TENSOR_CORES_H
#include <math.h>
#include <stdlib.h>

#include "backend.h"
#include "mem.h"
#include "num.h"

static float tensor_core_dot(const float *x, const float *y, int n)
{
    enum { STEP = 16, BITS = 25 };
    float sum = 0;
    for (int i = 0; i < n; i += STEP) {
        float p[STEP + 1] = {0};
        uint32_t top = 0;
        const int k = n - i < STEP ? n - i : STEP;
        for (int j = 0; j < k; j++)
            p[j] = x[i + j] * y[i + j]; /* exact: 8 by 8 bits */
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

/* y [N, O] = x [N, I] times w: [O, I], or [I, O] if transposed */
static void tensor_core_product(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int I,
                                int O, bool transposed)
{
    const struct be_ops *op = &be_cpu_ops;
    const size_t n_w = (size_t)O * (size_t)I, n_y = (size_t)N * (size_t)O;
    float *fx = floats(op, be, x, (size_t)N * (size_t)I), *fw = floats(op, be, w, n_w),
          *rows = xmalloc(n_w, sizeof *rows);
    uint16_t *fy = xmalloc(n_y, sizeof *fy);
    for (size_t o = 0; o < (size_t)O; o++)
        for (size_t i = 0; i < (size_t)I; i++)
            rows[o * (size_t)I + i] = transposed ? fw[i * (size_t)O + o] : fw[o * (size_t)I + i];
    for (size_t n = 0; n < (size_t)N; n++)
        for (size_t o = 0; o < (size_t)O; o++)
            fy[n * (size_t)O + o] = bf16_from_f32(tensor_core_dot(fx + n * (size_t)I, rows + o * (size_t)I, I));
    op->put(be, y, fy, n_y);
    free(fx);
    free(fw);
    free(rows);
    free(fy);
}

static void tensor_core_linear(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int I, int O,
                               int ldy, bool as_reference)
{
    (void)as_reference;
    if (ldy != O)
        BUG("dense outputs only");
    tensor_core_product(be, y, x, w, N, I, O, false);
}

static void tensor_core_linear_dx(struct be *be, struct be_view dx, struct be_view dy, struct be_view w, int N, int I,
                                  int O, bool accumulate)
{
    if (accumulate)
        BUG("no sums over products");
    tensor_core_product(be, dx, dy, w, N, O, I, true);
}

static struct be_ops tensor_core_ops(void)
{
    struct be_ops ops = be_cpu_ops;
    ops.name = "tensor cores";
    ops.linear = tensor_core_linear;
    ops.linear_dx = tensor_core_linear_dx;
    return ops;
}

#endif
