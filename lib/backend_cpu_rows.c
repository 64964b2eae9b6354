/* The CPU backend's row-wise and elementwise ops: norms, rotary embedding, SwiGLU, residual, cross-entropy. */
#include <math.h>

#include "backend_cpu.h"
#include "vecmath.h"

enum { LANES = 16 };

static float lane_sum(const float acc[LANES])
{
    float s[LANES];
    memcpy(s, acc, sizeof s);
    for (int w = LANES / 2; w; w /= 2)
        for (int j = 0; j < w; j++)
            s[j] += s[j + w];
    return s[0];
}

float cpu_dot(const float *x, const float *y, size_t n)
{
    float acc[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            acc[j] += x[i + (size_t)j] * y[i + (size_t)j];
    for (int j = 0; i < n; i++, j++)
        acc[j] += x[i] * y[i];
    return lane_sum(acc);
}

/* Arguments of a row-wise op, as parallel_for hands them on. */
struct row_args {
    struct be *be;
    struct be_view y, y2, a, b, c;
    const float *w, *cosine, *sine;
    const int32_t *index;
    const float *stat, *scale;
    float *stat_out, *loss_out;
    size_t D;
    int heads, first_col, V;
    float eps;
    bool flag;
};

/* ---- RMSNorm */

static void rmsnorm_part(void *arg, size_t begin, size_t end, int thread)
{
    const struct row_args *t = arg;
    const size_t D = t->D;
    float *tmp = cpu_thread_scratch(t->be, thread, 2 * D);
    const bool rounds = t->y.dtype == DT_BF16;
    for (size_t i = begin; i < end; i++) {
        const float *x = cpu_read(t->a, i * D, D, tmp);
        float *y = cpu_out(t->y, i * D, tmp + D);
        const float r = 1.0f / sqrtf(cpu_dot(x, x, D) / (float)D + t->eps);
        for (size_t j = 0; j < D; j++)
            y[j] = t->w[j] * cpu_round(rounds, x[j] * r);
        cpu_write(t->y, i * D, D, y);
    }
}

void cpu_rmsnorm(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int D, float eps)
{
    struct row_args t = {.be = be, .y = y, .a = x, .w = cpu_f32(w), .D = (size_t)D, .eps = eps};
    parallel_for((size_t)N, cpu_grain(t.D), rmsnorm_part, &t);
}

static void rmsnorm_bwd_part(void *arg, size_t begin, size_t end, int thread)
{
    const struct row_args *t = arg;
    const size_t D = t->D;
    float *tmp = cpu_thread_scratch(t->be, thread, 3 * D), *g = tmp + 2 * D;
    const bool rounds = t->y.dtype == DT_BF16;
    for (size_t i = begin; i < end; i++) {
        const float *x = cpu_read(t->a, i * D, D, tmp), *dy = cpu_read(t->b, i * D, D, tmp + D);
        for (size_t j = 0; j < D; j++)
            g[j] = cpu_round(rounds, dy[j] * t->w[j]);
        const float r = 1.0f / sqrtf(cpu_dot(x, x, D) / (float)D + t->eps);
        const float k = r * r * r / (float)D * cpu_dot(g, x, D);
        for (size_t j = 0; j < D; j++)
            g[j] = r * g[j] - x[j] * k;
        cpu_write(t->y, i * D, D, g);
    }
}

void cpu_rmsnorm_bwd(struct be *be, struct be_view dx, struct be_view dy, struct be_view x, struct be_view w, int N,
                     int D, float eps)
{
    struct row_args t = {.be = be, .y = dx, .a = x, .b = dy, .w = cpu_f32(w), .D = (size_t)D, .eps = eps};
    parallel_for((size_t)N, cpu_grain(t.D), rmsnorm_bwd_part, &t);
}

/* ---- rotary embedding */

static void rope_part(void *arg, size_t begin, size_t end, int thread)
{
    const struct row_args *t = arg;
    const size_t E = t->D, h = E / 2;
    float *tmp = cpu_thread_scratch(t->be, thread, 2 * E), *y = tmp + E;
    const bool rounds = t->y.dtype == DT_BF16;
    const float sign = t->flag ? -1.0f : 1.0f;
    for (size_t i = begin; i < end; i++) {
        const float *c = t->cosine + (size_t)t->index[i] * h, *s = t->sine + (size_t)t->index[i] * h;
        for (size_t k = 0; k < (size_t)t->heads; k++) {
            const size_t first = (i * (size_t)t->heads + k) * E;
            const float *x = cpu_read(t->y, first, E, tmp);
            for (size_t j = 0; j < h; j++) {
                const float up = sign * s[j];
                y[j] = cpu_round(rounds, x[j] * c[j]) + cpu_round(rounds, -x[j + h] * up);
                y[j + h] = cpu_round(rounds, x[j + h] * c[j]) + cpu_round(rounds, x[j] * up);
            }
            cpu_write(t->y, first, E, y);
        }
    }
}

void cpu_rope(struct be *be, struct be_view x, struct be_view c, struct be_view s, struct be_view pos, int N, int heads,
              int E, bool backward)
{
    struct row_args t = {.be = be,
                         .y = x,
                         .cosine = cpu_f32(c),
                         .sine = cpu_f32(s),
                         .index = cpu_i32(pos),
                         .D = (size_t)E,
                         .heads = heads,
                         .flag = backward};
    parallel_for((size_t)N, cpu_grain((size_t)heads * (size_t)E), rope_part, &t);
}

/* ---- elementwise; D elements form a piece */

enum { PIECE = 1024, PIECES = 32 };

/* Bounds of the piece that starts at i, and its reads. */
#define EACH_PIECE(i, n, begin, end, total)                                                                            \
    for (size_t i = (begin)*PIECE, n = (total)-i < PIECE ? (total)-i : PIECE; i < (end)*PIECE && i < (total);          \
         i += PIECE, n = (total)-i < PIECE ? (total)-i : PIECE)

static void for_pieces(struct row_args *t, size_t n, parallel_fn *fn)
{
    t->D = n;
    parallel_for((n + PIECE - 1) / PIECE, PIECES, fn, t);
}

static void add_part(void *arg, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct row_args *t = arg;
    float ta[PIECE], tb[PIECE], ty[PIECE];
    EACH_PIECE (i, n, begin, end, t->D) {
        const float *a = cpu_read(t->a, i, n, ta), *b = cpu_read(t->b, i, n, tb);
        float *y = cpu_out(t->y, i, ty);
        for (size_t j = 0; j < n; j++)
            y[j] = a[j] + b[j];
        cpu_write(t->y, i, n, y);
    }
}

void cpu_add(struct be *be, struct be_view y, struct be_view a, struct be_view b, size_t n)
{
    struct row_args t = {.be = be, .y = y, .a = a, .b = b};
    for_pieces(&t, n, add_part);
}

static void swiglu_part(void *arg, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct row_args *t = arg;
    float ta[PIECE], tb[PIECE], ty[PIECE];
    const bool rounds = t->y.dtype == DT_BF16;
    EACH_PIECE (i, n, begin, end, t->D) {
        const float *g = cpu_read(t->a, i, n, ta), *u = cpu_read(t->b, i, n, tb);
        float *m = cpu_out(t->y, i, ty);
        for (size_t j = 0; j < n; j++)
            m[j] = cpu_round(rounds, g[j] * sigmoid_f32(g[j])) * u[j];
        cpu_write(t->y, i, n, m);
    }
}

void cpu_swiglu(struct be *be, struct be_view m, struct be_view g, struct be_view u, size_t n)
{
    struct row_args t = {.be = be, .y = m, .a = g, .b = u};
    for_pieces(&t, n, swiglu_part);
}

static void swiglu_bwd_part(void *arg, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct row_args *t = arg;
    float ta[PIECE], tb[PIECE], tc[PIECE], dg[PIECE], du[PIECE];
    const bool rounds = t->y.dtype == DT_BF16;
    EACH_PIECE (i, n, begin, end, t->D) {
        const float *g = cpu_read(t->a, i, n, ta), *u = cpu_read(t->b, i, n, tb), *dm = cpu_read(t->c, i, n, tc);
        for (size_t j = 0; j < n; j++) {
            const float sig = sigmoid_f32(g[j]);
            const float ds = cpu_round(rounds, dm[j] * u[j]);
            du[j] = dm[j] * cpu_round(rounds, g[j] * sig);
            dg[j] = ds * (sig * (1.0f + g[j] * (1.0f - sig)));
        }
        cpu_write(t->y, i, n, dg);
        cpu_write(t->y2, i, n, du);
    }
}

void cpu_swiglu_bwd(struct be *be, struct be_view dg, struct be_view du, struct be_view dm, struct be_view g,
                    struct be_view u, size_t n)
{
    struct row_args t = {.be = be, .y = dg, .y2 = du, .a = g, .b = u, .c = dm};
    for_pieces(&t, n, swiglu_bwd_part);
}

/* ---- cross-entropy */

static void xent_part(void *arg, size_t begin, size_t end, int thread)
{
    const struct row_args *t = arg;
    const size_t V = t->D;
    float *tmp = cpu_thread_scratch(t->be, thread, V);
    const bool rounds = t->a.dtype == DT_BF16;
    for (size_t i = begin; i < end; i++) {
        const float *z = cpu_read(t->a, i * V, V, tmp);
        float top[LANES], acc[LANES] = {0};
        for (int j = 0; j < LANES; j++)
            top[j] = z[0];
        size_t k = 0;
        for (; k + LANES <= V; k += LANES)
            for (int j = 0; j < LANES; j++)
                top[j] = z[k + (size_t)j] > top[j] ? z[k + (size_t)j] : top[j];
        for (int j = 0; k < V; k++, j++)
            top[j] = z[k] > top[j] ? z[k] : top[j];
        float m = top[0];
        for (int j = 1; j < LANES; j++)
            m = top[j] > m ? top[j] : m;
        for (k = 0; k + LANES <= V; k += LANES)
            for (int j = 0; j < LANES; j++)
                acc[j] += exp_f32(z[k + (size_t)j] - m);
        for (int j = 0; k < V; k++, j++)
            acc[j] += exp_f32(z[k] - m);
        const float log_sum = logf(lane_sum(acc));
        t->stat_out[2 * i] = m;
        t->stat_out[2 * i + 1] = log_sum;
        t->loss_out[i] = -cpu_round(rounds, z[t->index[i]] - m - log_sum);
    }
}

void cpu_xent(struct be *be, struct be_view stat, struct be_view loss, struct be_view z, struct be_view target, int N,
              int V)
{
    struct row_args t = {.be = be,
                         .a = z,
                         .index = cpu_i32(target),
                         .stat_out = cpu_f32(stat),
                         .loss_out = cpu_f32(loss),
                         .D = (size_t)V};
    parallel_for((size_t)N, 1, xent_part, &t);
}

static void xent_bwd_part(void *arg, size_t begin, size_t end, int thread)
{
    const struct row_args *t = arg;
    const size_t n = t->D;
    float *tmp = cpu_thread_scratch(t->be, thread, 2 * n);
    const bool rounds = t->a.dtype == DT_BF16;
    for (size_t i = begin; i < end; i++) {
        const float *z = cpu_read(t->a, i * (size_t)t->V + (size_t)t->first_col, n, tmp);
        float *dz = cpu_out(t->y, i * n, tmp + n);
        const float m = t->stat[2 * i], log_sum = t->stat[2 * i + 1], s = t->scale[i];
        for (size_t j = 0; j < n; j++)
            dz[j] = s * exp_f32(cpu_round(rounds, z[j] - m - log_sum));
        const int target = t->index[i] - t->first_col;
        if (target >= 0 && (size_t)target < n)
            dz[target] -= s;
        cpu_write(t->y, i * n, n, dz);
    }
}

void cpu_xent_bwd(struct be *be, struct be_view dz, struct be_view z, struct be_view stat, struct be_view target,
                  struct be_view s, int N, int V, int c0, int n)
{
    struct row_args t = {.be = be,
                         .y = dz,
                         .a = z,
                         .index = cpu_i32(target),
                         .stat = cpu_f32(stat),
                         .scale = cpu_f32(s),
                         .D = (size_t)n,
                         .V = V,
                         .first_col = c0};
    parallel_for((size_t)N, cpu_grain((size_t)n), xent_bwd_part, &t);
}
