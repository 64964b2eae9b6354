/* The CPU backend's quantization ops: maxima, fake quantization, score rows. */
#include "backend_cpu.h"
#include "fakequant.h"

struct quant_args {
    struct be *be;
    struct be_view y, x, g;
    const struct quantizer *q;
    const float *amax;
    const int32_t *group;
    float *row_max;
    double *sum;
    size_t N, D, ldy;
    bool round_bf16;
};

static void row_max_part(void *arg, size_t begin, size_t end, int thread)
{
    const struct quant_args *t = arg;
    float *tmp = cpu_thread_scratch(t->be, thread, t->D);
    for (size_t i = begin; i < end; i++)
        t->row_max[i] = abs_max(cpu_read(t->x, i * t->D, t->D, tmp), t->D);
}

void cpu_amax_rows(struct be *be, struct be_view out, struct be_view x, struct be_view group, int N, int D)
{
    struct quant_args t = {.be = be, .x = x, .row_max = cpu_scratch(&be->operand, (size_t)N), .D = (size_t)D};
    parallel_for((size_t)N, cpu_grain(t.D), row_max_part, &t);
    const int32_t *g = group.buf ? cpu_i32(group) : NULL;
    for (int i = 0; i < N; i++) {
        float *m = &cpu_f32(out)[g ? g[i] : 0];
        *m = abs_larger(*m, t.row_max[i]);
    }
}

enum { COLS = 256 };

static void col_max_part(void *arg, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct quant_args *t = arg;
    const size_t n = end - begin;
    float tmp[COLS], *max = t->row_max + begin;
    for (size_t i = 0; i < t->N; i++) {
        const float *x = cpu_read(t->x, i * t->D + begin, n, tmp);
        for (size_t j = 0; j < n; j++)
            max[j] = abs_larger(max[j], x[j]);
    }
}

void cpu_amax_cols(struct be *be, struct be_view out, struct be_view x, int N, int D)
{
    struct quant_args t = {.be = be, .x = x, .row_max = cpu_f32(out), .N = (size_t)N, .D = (size_t)D};
    parallel_for(t.D, COLS, col_max_part, &t);
}

static void fakequant_part(void *arg, size_t begin, size_t end, int thread)
{
    const struct quant_args *t = arg;
    const size_t D = t->D;
    float *tmp = cpu_thread_scratch(t->be, thread, 2 * D);
    for (size_t i = begin; i < end; i++) {
        const float *x = cpu_read(t->x, i * D, D, tmp);
        float *y = cpu_out(t->y, i * D, tmp + D);
        fakequant_row(t->q, y, x, D, t->amax + (t->group ? t->group[i] : 0));
        if (t->round_bf16 && t->y.dtype == DT_F32)
            for (size_t j = 0; j < D; j++)
                y[j] = bf16_round(y[j]);
        cpu_write(t->y, i * D, D, y);
    }
}

void cpu_fakequant(struct be *be, struct be_view y, struct be_view x, const struct quantizer *q, struct be_view amax,
                   struct be_view group, int N, int D, bool round_bf16)
{
    static const float none[1];
    struct quant_args t = {.be = be,
                           .y = y,
                           .x = x,
                           .q = q,
                           .amax = amax.buf ? cpu_f32(amax) : none,
                           .group = group.buf ? cpu_i32(group) : NULL,
                           .D = (size_t)D,
                           .round_bf16 = round_bf16};
    parallel_for((size_t)N, cpu_grain(t.D), fakequant_part, &t);
}

static void score_part(void *arg, size_t begin, size_t end, int thread)
{
    enum { LANES = 8 };
    const struct quant_args *t = arg;
    const size_t n = t->D;
    float *tmp = cpu_thread_scratch(t->be, thread, 3 * n);
    const bool rounds = t->x.dtype == DT_BF16;
    for (size_t i = begin; i < end; i++) {
        const float *yq = cpu_read(t->y, i * n, n, tmp), *y = cpu_read(t->x, i * t->ldy, n, tmp + n);
        const float *g = cpu_read(t->g, i * n, n, tmp + 2 * n);
        double acc[LANES] = {0};
        size_t k = 0;
        for (; k + LANES <= n; k += LANES)
            for (size_t j = 0; j < LANES; j++) {
                const double p = (double)g[k + j] * (double)cpu_round(rounds, yq[k + j] - y[k + j]);
                acc[j] += p * p;
            }
        for (size_t j = 0; k < n; k++, j++) {
            const double p = (double)g[k] * (double)cpu_round(rounds, yq[k] - y[k]);
            acc[j] += p * p;
        }
        t->sum[i] += ((acc[0] + acc[4]) + (acc[2] + acc[6])) + ((acc[1] + acc[5]) + (acc[3] + acc[7]));
    }
}

void cpu_score_rows(struct be *be, struct be_outputs q, struct be_view y, struct be_view g, int N, int n, int ldy)
{
    struct quant_args t = {.be = be, .x = y, .g = g, .D = (size_t)n, .ldy = (size_t)ldy};
    for (int k = 0; k < q.n; k++) {
        t.y = q.yq[k];
        t.sum = cpu_ptr(q.sum[k]);
        parallel_for((size_t)N, cpu_grain(t.D), score_part, &t);
    }
}

void cpu_segment_sum(struct be *be, struct be_view out, size_t out_stride, struct be_view x, size_t x_stride, int count,
                     struct be_view offset, int n)
{
    (void)be;
    for (size_t k = 0; k < (size_t)count; k++)
        for (int i = 0; i < n; i++) {
            double s = 0;
            for (int32_t r = cpu_i32(offset)[i]; r < cpu_i32(offset)[i + 1]; r++)
                s += ((const double *)cpu_ptr(x))[k * x_stride + (size_t)r];
            ((double *)cpu_ptr(out))[k * out_stride + (size_t)i] = s;
        }
}
