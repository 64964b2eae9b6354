/* The reference backend: plain loops in double, one element at a time, no library, no threads: the oracle for every
 * other backend. Slow and obvious is the point. Attention and its derivation are in backend_ref_attention.c. */
#include "backend_ref.h"

#include <math.h>
#include <stdlib.h>

#include "fakequant.h"
#include "mem.h"

static struct be *ref_open(const struct be_options *o, struct err *e)
{
    (void)o;
    (void)e;
    return xcalloc(1, sizeof(struct be));
}

static void ref_close(struct be *be)
{
    free(be);
}

static struct be_buf *ref_alloc(struct be *be, size_t nb)
{
    (void)be;
    struct be_buf *b = xmalloc(1, sizeof *b);
    b->data = xcalloc(nb, 1);
    return b;
}

static void ref_free(struct be *be, struct be_buf *b)
{
    (void)be;
    if (b)
        free(b->data);
    free(b);
}

static void ref_put(struct be *be, struct be_view dst, const void *src, size_t n)
{
    (void)be;
    memcpy(ref_ptr(dst), src, n * dtype_size(dst.dtype));
}

static void ref_get(struct be *be, void *dst, struct be_view src, size_t n)
{
    (void)be;
    memcpy(dst, ref_ptr(src), n * dtype_size(src.dtype));
}

static void ref_zero(struct be *be, struct be_view dst, size_t n)
{
    (void)be;
    memset(ref_ptr(dst), 0, n * dtype_size(dst.dtype));
}

static int ref_sync(struct be *be, struct err *e)
{
    (void)be;
    (void)e;
    return 0;
}

static void ref_load(struct be *be, struct be_view dst, const void *src, enum dtype from, size_t n, bool round_bf16)
{
    (void)be;
    for (size_t i = 0; i < n; i++) {
        float x;
        uint16_t h;
        if (from == DT_F32)
            memcpy(&x, (const char *)src + 4 * i, 4);
        else {
            memcpy(&h, (const char *)src + 2 * i, 2);
            x = from == DT_BF16 ? bf16_to_f32(h) : fp16_to_f32(h);
        }
        ref_set(dst, i, (double)(round_bf16 ? bf16_round(x) : x));
    }
}

static void ref_load_rows(struct be *be, struct be_view dst, const void *src, enum dtype from, const int32_t *row,
                          int n, int D, bool round_bf16)
{
    for (int i = 0; i < n; i++)
        ref_load(be, be_at(dst, at2(i, 0, D)), (const char *)src + at2(row[i], 0, D) * dtype_size(from), from,
                 (size_t)D, round_bf16);
}

static void ref_convert(struct be *be, struct be_view dst, struct be_view src, size_t n)
{
    (void)be;
    for (size_t i = 0; i < n; i++)
        ref_set(dst, i, ref_at(src, i));
}

static void ref_gather_rows(struct be *be, struct be_view y, struct be_view x, struct be_view row, int n, int D)
{
    (void)be;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < D; j++)
            ref_set(y, at2(i, j, D), ref_at(x, at2(ref_int(row, i), j, D)));
}

static void ref_scatter_rows(struct be *be, struct be_view y, struct be_view x, struct be_view row, int n, int N, int D)
{
    ref_zero(be, y, (size_t)N * (size_t)D);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < D; j++)
            ref_set(y, at2(ref_int(row, i), j, D), ref_at(x, at2(i, j, D)));
}

static void ref_add(struct be *be, struct be_view y, struct be_view a, struct be_view b, size_t n)
{
    (void)be;
    for (size_t i = 0; i < n; i++)
        ref_set(y, i, ref_at(a, i) + ref_at(b, i));
}

static void ref_linear(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int I, int O,
                       int ldy, bool as_reference)
{
    (void)be;
    (void)as_reference; /* sums in double are rounded once; whose ties they settle is not this oracle's business */
    for (int n = 0; n < N; n++)
        for (int o = 0; o < O; o++) {
            double s = 0;
            for (int i = 0; i < I; i++)
                s += ref_at(x, at2(n, i, I)) * ref_at(w, at2(o, i, I));
            ref_set(y, at2(n, o, ldy), s);
        }
}

/* y = x w^T, so dL/dx[i] = sum over o of dL/dy[o] w[o][i]. */
static void ref_linear_dx(struct be *be, struct be_view dx, struct be_view dy, struct be_view w, int N, int I, int O,
                          bool accumulate)
{
    (void)be;
    for (int n = 0; n < N; n++)
        for (int i = 0; i < I; i++) {
            double s = accumulate ? ref_at(dx, at2(n, i, I)) : 0;
            for (int o = 0; o < O; o++)
                s += ref_at(dy, at2(n, o, O)) * ref_at(w, at2(o, i, I));
            ref_set(dx, at2(n, i, I), s);
        }
}

/* ---- RMSNorm */

static double inverse_rms(struct be_view x, int n, int D, float eps)
{
    double s = 0;
    for (int j = 0; j < D; j++)
        s += ref_at(x, at2(n, j, D)) * ref_at(x, at2(n, j, D));
    return 1 / sqrt(s / D + (double)eps);
}

static void ref_rmsnorm(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int D, float eps)
{
    (void)be;
    for (int n = 0; n < N; n++) {
        const double r = inverse_rms(x, n, D, eps);
        for (int j = 0; j < D; j++)
            ref_set(y, at2(n, j, D), ref_at(w, (size_t)j) * ref_round(y, ref_at(x, at2(n, j, D)) * r));
    }
}

/* y_i = w_i x_i r(x), r = (sum x^2/D + eps)^(-1/2), so dr/dx_j = -r^3 x_j / D and, with g_i = dL/dy_i w_i,
 * dL/dx_j = r g_j + sum_i g_i x_i dr/dx_j = r g_j - x_j (r^3/D) sum_i g_i x_i. */
static void ref_rmsnorm_bwd(struct be *be, struct be_view dx, struct be_view dy, struct be_view x, struct be_view w,
                            int N, int D, float eps)
{
    (void)be;
    double *g = xmalloc((size_t)D, sizeof *g);
    for (int n = 0; n < N; n++) {
        const double r = inverse_rms(x, n, D, eps);
        double gx = 0;
        for (int j = 0; j < D; j++) {
            g[j] = ref_round(dx, ref_at(dy, at2(n, j, D)) * ref_at(w, (size_t)j));
            gx += g[j] * ref_at(x, at2(n, j, D));
        }
        for (int j = 0; j < D; j++)
            ref_set(dx, at2(n, j, D), r * g[j] - ref_at(x, at2(n, j, D)) * (r * r * r / D) * gx);
    }
    free(g);
}

/* ---- rotary embedding: (a, b) -> (a c - b s, b c + a s), an orthogonal map, so its transpose turns back */

static void ref_rope(struct be *be, struct be_view x, struct be_view c, struct be_view s, struct be_view pos, int N,
                     int heads, int E, bool backward)
{
    (void)be;
    const int h = E / 2;
    for (int n = 0; n < N; n++)
        for (int k = 0; k < heads; k++)
            for (int j = 0; j < h; j++) {
                const size_t ia = at2(n * heads + k, j, E), ib = ia + (size_t)h, it = at2(ref_int(pos, n), j, h);
                const double a = ref_at(x, ia), b = ref_at(x, ib), cj = ref_at(c, it);
                const double sj = backward ? -ref_at(s, it) : ref_at(s, it);
                ref_set(x, ia, ref_round(x, a * cj) + ref_round(x, -b * sj));
                ref_set(x, ib, ref_round(x, b * cj) + ref_round(x, a * sj));
            }
}

/* ---- SwiGLU */

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static void ref_swiglu(struct be *be, struct be_view m, struct be_view g, struct be_view u, size_t n)
{
    (void)be;
    for (size_t i = 0; i < n; i++) {
        const double x = ref_at(g, i);
        ref_set(m, i, ref_round(m, x * sigmoid(x)) * ref_at(u, i));
    }
}

/* m = s u, s = g sig(g): dL/du = dm s; dL/ds = dm u; ds/dg = sig + g sig (1 - sig) = sig (1 + g (1 - sig)). */
static void ref_swiglu_bwd(struct be *be, struct be_view dg, struct be_view du, struct be_view dm, struct be_view g,
                           struct be_view u, size_t n)
{
    (void)be;
    for (size_t i = 0; i < n; i++) {
        const double x = ref_at(g, i), sig = sigmoid(x), d = ref_at(dm, i);
        const double ds = ref_round(dg, d * ref_at(u, i)), s = ref_round(dg, x * sig);
        ref_set(dg, i, ds * (sig * (1 + x * (1 - sig))));
        ref_set(du, i, d * s);
    }
}

/* ---- cross-entropy: L = -sum over rows of s lp[t], lp = z - max - log sum exp(z - max), so dL/dz_j = s (p_j - [j ==
 * t]) */

static void ref_xent(struct be *be, struct be_view stat, struct be_view loss, struct be_view z, struct be_view target,
                     int N, int V)
{
    (void)be;
    for (int n = 0; n < N; n++) {
        double m = -INFINITY, sum = 0;
        for (int j = 0; j < V; j++)
            m = fmax(m, ref_at(z, at2(n, j, V)));
        for (int j = 0; j < V; j++)
            sum += exp(ref_at(z, at2(n, j, V)) - m);
        ref_set(stat, at2(n, 0, 2), m);
        ref_set(stat, at2(n, 1, 2), log(sum));
        ref_set(loss, (size_t)n, -ref_round(z, ref_at(z, at2(n, ref_int(target, n), V)) - m - log(sum)));
    }
}

static void ref_xent_bwd(struct be *be, struct be_view dz, struct be_view z, struct be_view stat, struct be_view target,
                         struct be_view s, int N, int V, int c0, int n_cols)
{
    (void)be;
    for (int n = 0; n < N; n++)
        for (int j = 0; j < n_cols; j++) {
            const double lp =
                ref_round(z, ref_at(z, at2(n, c0 + j, V)) - ref_at(stat, at2(n, 0, 2)) - ref_at(stat, at2(n, 1, 2)));
            const double scale = ref_at(s, (size_t)n);
            ref_set(dz, at2(n, j, n_cols), scale * exp(lp) - (c0 + j == ref_int(target, n) ? scale : 0));
        }
}

/* ---- quantization: the formats are fp32 arithmetic by definition (fakequant.h) */

static double nan_max(double m, double x)
{
    return isnan(m) || fabs(x) <= m ? m : fabs(x);
}

static void ref_amax_rows(struct be *be, struct be_view out, struct be_view x, struct be_view group, int N, int D)
{
    (void)be;
    for (int n = 0; n < N; n++) {
        const size_t k = group.buf ? (size_t)ref_int(group, n) : 0;
        for (int j = 0; j < D; j++)
            ref_set(out, k, nan_max(ref_at(out, k), ref_at(x, at2(n, j, D))));
    }
}

static void ref_amax_cols(struct be *be, struct be_view out, struct be_view x, int N, int D)
{
    (void)be;
    for (int n = 0; n < N; n++)
        for (int j = 0; j < D; j++)
            ref_set(out, (size_t)j, nan_max(ref_at(out, (size_t)j), ref_at(x, at2(n, j, D))));
}

static void ref_fakequant(struct be *be, struct be_view y, struct be_view x, const struct quantizer *q,
                          struct be_view amax, struct be_view group, int N, int D, bool round_bf16)
{
    (void)be;
    static const float none[1];
    float *row = xmalloc((size_t)D, sizeof *row);
    const float *a = amax.buf ? ref_ptr(amax) : none;
    for (int n = 0; n < N; n++) {
        for (int j = 0; j < D; j++)
            row[j] = (float)ref_at(x, at2(n, j, D));
        fakequant_row(q, row, row, (size_t)D, a + (group.buf ? ref_int(group, n) : 0));
        for (int j = 0; j < D; j++)
            ref_set(y, at2(n, j, D), (double)(round_bf16 ? bf16_round(row[j]) : row[j]));
    }
    free(row);
}

static void ref_score_rows(struct be *be, struct be_outputs q, struct be_view y, struct be_view g, int N, int n,
                           int ldy)
{
    (void)be;
    for (int k = 0; k < q.n; k++)
        for (int i = 0; i < N; i++)
            for (int j = 0; j < n; j++) {
                const double d = ref_round(y, ref_at(q.yq[k], at2(i, j, n)) - ref_at(y, at2(i, j, ldy)));
                const double p = ref_at(g, at2(i, j, n)) * d;
                ref_set(q.sum[k], (size_t)i, ref_at(q.sum[k], (size_t)i) + p * p);
            }
}

static void ref_segment_sum(struct be *be, struct be_view out, size_t out_stride, struct be_view x, size_t x_stride,
                            int count, struct be_view offset, int n)
{
    (void)be;
    for (size_t k = 0; k < (size_t)count; k++)
        for (int i = 0; i < n; i++) {
            double s = 0;
            for (int r = ref_int(offset, i); r < ref_int(offset, i + 1); r++)
                s += ref_at(x, k * x_stride + (size_t)r);
            ref_set(out, k * out_stride + (size_t)i, s);
        }
}

const struct be_ops be_ref_ops = {
    .name = "ref",
    .outputs_at_once = 3,
    .weight_bf16 = DT_F32,
    .weight_fp32 = DT_F32,
    .sum_dtype = DT_F64,
    .act_bf16 = DT_BF16,
    .act_fp32 = DT_F64,
    .head_block_elements = 8 << 20, /* 32 MB as fp32 */
    .logits_bytes = 64 << 20,
    .describe = be_describe_host,
    .open = ref_open,
    .close = ref_close,
    .alloc = ref_alloc,
    .free = ref_free,
    .put = ref_put,
    .get = ref_get,
    .load = ref_load,
    .load_rows = ref_load_rows,
    .convert = ref_convert,
    .zero = ref_zero,
    .sync = ref_sync,
    .gather_rows = ref_gather_rows,
    .scatter_rows = ref_scatter_rows,
    .add = ref_add,
    .linear = ref_linear,
    .linear_dx = ref_linear_dx,
    .rmsnorm = ref_rmsnorm,
    .rmsnorm_bwd = ref_rmsnorm_bwd,
    .rope = ref_rope,
    .attention = ref_attention,
    .attention_bwd = ref_attention_bwd,
    .swiglu = ref_swiglu,
    .swiglu_bwd = ref_swiglu_bwd,
    .xent = ref_xent,
    .xent_bwd = ref_xent_bwd,
    .amax_rows = ref_amax_rows,
    .amax_cols = ref_amax_cols,
    .fakequant = ref_fakequant,
    .score_rows = ref_score_rows,
    .segment_sum = ref_segment_sum,
};
