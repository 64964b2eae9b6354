#include "ceiling.h"

#include <stdlib.h>

#include "cli.h"
#include "mem.h"

enum { REPETITIONS = 5, MAX_CALLS = 16 };
enum { BLOCK_ELEMENTS = 16 << 20, FIRST_COPY = 4 << 20, LAST_COPY = 64 << 20 }; /* fp32 */
static const double ENOUGH = 0.05, /* seconds: work that takes longer does not grow */
    REPETITION = 0.01;             /* calls are repeated to fill this time */

struct work {
    const struct be_ops *ops;
    struct be *be;
    bool bf16;
    const float *block; /* host memory: random values in -1..1 */
    struct be_view a, b, w;
    size_t n;
    int N, I, O;
};

static void copy(const struct work *k)
{
    k->ops->convert(k->be, k->b, k->a, k->n);
}
static void load(const struct work *k)
{
    k->ops->load(k->be, k->b, k->block, k->bf16 ? DT_BF16 : DT_F32, k->n, k->bf16);
}
static void multiply(const struct work *k)
{
    k->ops->linear(k->be, k->b, k->a, k->w, k->N, k->I, k->O, k->O, false);
    k->ops->linear_dx(k->be, k->a, k->b, k->w, k->N, k->I, k->O, false);
}

typedef void call_fn(const struct work *k);

/* Seconds that `calls` calls take until the device is done with them. */
static int time_calls(double *s, const struct work *k, call_fn *call, int calls, struct err *e)
{
    const double begin = cli_seconds();
    for (int i = 0; i < calls; i++)
        call(k);
    if (k->ops->sync(k->be, e))
        return -1;
    *s = cli_seconds() - begin;
    return 0;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of one call, median. */
static int measure(double *s, const struct work *k, call_fn *call, struct err *e)
{
    double t[REPETITIONS];
    if (time_calls(&t[0], k, call, 1, e) || time_calls(&t[0], k, call, 1, e))
        return -1;
    const int calls = t[0] * MAX_CALLS < REPETITION ? MAX_CALLS : t[0] < REPETITION ? (int)(REPETITION / t[0]) : 1;
    for (int i = 0; i < REPETITIONS; i++)
        if (time_calls(&t[i], k, call, calls, e))
            return -1;
    qsort(t, REPETITIONS, sizeof *t, ascending);
    *s = t[REPETITIONS / 2] / calls;
    return 0;
}

/* n elements of type t, with random values: zeros would be read from no memory at all, or multiplied at less power. */
static struct be_view filled(const struct work *k, enum dtype t, size_t n)
{
    const struct be_view v = {k->ops->alloc(k->be, n * dtype_size(t)), 0, t};
    for (size_t i = 0; v.buf && i < n; i += BLOCK_ELEMENTS)
        k->ops->load(k->be, be_at(v, i), k->block, DT_F32, n - i < BLOCK_ELEMENTS ? n - i : BLOCK_ELEMENTS, false);
    return v;
}

/* Measure a call over the views of k, if there was memory for all, and free these. */
static int measure_and_free(double *s, struct work *k, call_fn *call, struct err *e)
{
    const bool all = k->a.buf && k->b.buf && k->w.buf;
    int rc = k->ops->sync(k->be, e);
    if (!rc && !all)
        rc = err_set(e, ERR_LIMIT, "no memory on the device to measure its speed");
    if (!rc)
        rc = measure(s, k, call, e);
    k->ops->free(k->be, k->w.buf);
    k->ops->free(k->be, k->b.buf);
    k->ops->free(k->be, k->a.buf);
    return rc;
}

static int measure_copy(struct ceiling *c, struct work *k, struct err *e)
{
    double s = 0;
    for (k->n = FIRST_COPY; k->n <= LAST_COPY && 4 * s < ENOUGH; k->n *= 4) {
        k->a = filled(k, DT_F32, k->n);
        k->b = filled(k, DT_F32, k->n);
        k->w = filled(k, DT_F32, 1);
        if (measure_and_free(&s, k, copy, e))
            return -1;
        c->copy_bytes = 2.0 * sizeof(float) * (double)k->n / s;
    }
    return 0;
}

static int measure_gemm(struct ceiling *c, struct work *k, struct err *e)
{
    static const struct {
        int N, I, O;
    } size[] = {{64, 640, 2432}, {512, 1280, 4864}, {8192, 2560, 9728}};
    const enum dtype act = k->bf16 ? k->ops->act_bf16 : k->ops->act_fp32;
    c->gemm_flops = 0;
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        const size_t N = (size_t)size[i].N, I = (size_t)size[i].I, O = (size_t)size[i].O;
        const double flops = 4.0 * (double)N * (double)I * (double)O;
        if (i && flops / c->gemm_flops > 2 * ENOUGH)
            break;
        k->N = size[i].N, k->I = size[i].I, k->O = size[i].O;
        k->a = filled(k, act, N * I);
        k->b = filled(k, act, N * O);
        k->w = filled(k, k->bf16 ? k->ops->weight_bf16 : k->ops->weight_fp32, I * O);
        double s;
        if (measure_and_free(&s, k, multiply, e))
            return -1;
        c->gemm_flops = flops / s;
    }
    return 0;
}

static int measure_load(struct ceiling *c, struct work *k, struct err *e)
{
    const size_t size = k->bf16 ? sizeof(uint16_t) : sizeof(float);
    double s;
    k->n = BLOCK_ELEMENTS * sizeof(float) / size;
    k->a = filled(k, DT_F32, 1);
    k->b = filled(k, k->bf16 ? k->ops->weight_bf16 : k->ops->weight_fp32, k->n);
    k->w = filled(k, DT_F32, 1);
    if (measure_and_free(&s, k, load, e))
        return -1;
    c->load_bytes = (double)(k->n * size) / s;
    return 0;
}

int ceiling_measure(struct ceiling *c, const struct be_ops *ops, struct be *be, bool bf16, struct err *e)
{
    float *block = xmalloc(BLOCK_ELEMENTS, sizeof *block);
    uint32_t state = 1;
    for (size_t i = 0; i < BLOCK_ELEMENTS; i++) {
        state = state * 1664525u + 1013904223u;
        block[i] = (float)(state >> 8) * 0x1p-23f - 1;
    }
    struct work k = {.ops = ops, .be = be, .bf16 = bf16, .block = block};
    const int rc = measure_copy(c, &k, e) || measure_gemm(c, &k, e) || measure_load(c, &k, e) ? -1 : 0;
    free(block);
    return rc;
}
