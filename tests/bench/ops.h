/* ops - what the benchmarks of single ops share: a backend, buffers, the clock, and the ops that are bound by memory or
 * by attention's products, over one set of sizes. A rate is printed beside a ceiling measured in the same run
 * (copy_rate, gemm_rate: the program's), and marked where it misses its target. */
#ifndef BENCH_OPS_H
#define BENCH_OPS_H
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend.h"
#include "mem.h"

/* N rows, D hidden, F ffn, V vocabulary, H and K heads of E; R rows of logits, C rows of lm_head taken at once */
struct sizes {
    int N, D, F, V, H, K, E, R, C;
};

static struct sizes s;
static const struct be_ops *op;
static struct be *be;
static const char *gemm_name;       /* what gemm_rate is of */
static double copy_rate, gemm_rate; /* bytes (read and written) and operations a second */
static double copy_target;          /* of an op's share of copy_rate; 0: none */
static int n_measured, n_missed;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void stop_on(int rc, const struct err *e)
{
    if (!rc)
        return;
    fflush(stdout);
    fprintf(stderr, "%s\n", e->msg);
    exit(err_exit_code(e));
}
static void finish(void)
{
    struct err e;
    stop_on(op->sync(be, &e), &e);
}

/* ---- buffers: everything allocated since the last release_all */

static struct be_buf *bufs[64];
static int n_bufs;

static struct be_view zeros(enum dtype t, size_t n)
{
    if (n_bufs == sizeof bufs / sizeof *bufs)
        BUG("too many buffers");
    struct be_buf *b = op->alloc(be, n * dtype_size(t));
    finish();
    bufs[n_bufs++] = b;
    return (struct be_view){b, 0, t};
}
static void release_all(void)
{
    while (n_bufs)
        op->free(be, bufs[--n_bufs]);
}

/* Uniform in (-scale, scale). */
static struct be_view filled(enum dtype t, size_t n, float scale)
{
    struct be_view v = zeros(t, n), f = {op->alloc(be, n * sizeof(float)), 0, DT_F32};
    float *x = xmalloc(n, sizeof *x);
    uint32_t state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = scale * ((float)(state >> 8) * 0x1p-23f - 1);
    }
    op->put(be, f, x, n);
    op->convert(be, v, f, n);
    finish();
    op->free(be, f.buf);
    free(x);
    return v;
}

/* i*step modulo below */
static struct be_view ints(int n, int step, int below)
{
    struct be_view v = zeros(DT_I32, (size_t)n);
    int32_t *x = xmalloc((size_t)n, sizeof *x);
    for (int i = 0; i < n; i++)
        x[i] = (int32_t)((int64_t)i * step % below);
    op->put(be, v, x, (size_t)n);
    finish();
    free(x);
    return v;
}

/* ---- the clock. Seconds of one call: the fastest of several runs, for about a fifth of a second. A run is so many
 * calls, numbered by `turn`, that waiting for the device and reading the clock cost it nothing. */
static int turn;
static const double run_seconds = 4e-3;

#define SECONDS(call)                                                                                                  \
    __extension__({                                                                                                    \
        double best_ = 1e9;                                                                                            \
        int calls_ = 1;                                                                                                \
        const double stop_ = now() + 0.2;                                                                              \
        for (int times_ = 0; times_ < 3 || now() < stop_; times_++) {                                                  \
            const double start_ = now();                                                                               \
            for (turn = 0; turn < calls_; turn++)                                                                      \
                call;                                                                                                  \
            finish();                                                                                                  \
            const double took_ = (now() - start_) / calls_;                                                            \
            best_ = took_ < best_ ? took_ : best_;                                                                     \
            calls_ = took_ < 1e-3 * run_seconds ? 1000 : (int)(run_seconds / took_) + 1;                               \
        }                                                                                                              \
        best_;                                                                                                         \
    })

static void mark(double ratio, double target)
{
    n_measured++;
    if (!(ratio >= target)) {
        n_missed++;
        printf("  MISSES %.2f", target);
    }
    putchar('\n');
}
static void by_memory(const char *name, double seconds, double bytes)
{
    const double ratio = bytes / seconds / copy_rate;
    printf("%-38s %9.3f ms %8.1f GB/s     %5.2f of a copy", name, 1e3 * seconds, 1e-9 * bytes / seconds, ratio);
    mark(ratio, copy_target);
}
static void by_flops(const char *name, double seconds, double flops)
{
    printf("%-38s %9.3f ms %8.1f GFLOP/s  %5.2f of %s\n", name, 1e3 * seconds, 1e-9 * flops / seconds,
           flops / seconds / gemm_rate, gemm_name);
}

/* ---- ops */

static void attention(enum dtype t, int length)
{
    const int n = s.N / length, N = n * length;
    const size_t nq = (size_t)N * (size_t)(s.H * s.E), nk = (size_t)N * (size_t)(s.K * s.E);
    struct be_view q = filled(t, nq, 1), k = filled(t, nk, 1), v = filled(t, nk, 1), o = zeros(t, nq);
    struct be_view dout = filled(t, nq, 1), lse = zeros(DT_F32, (size_t)N * (size_t)s.H), dq = zeros(t, nq);
    struct be_view dk = zeros(t, nk), dv = zeros(t, nk);
    const struct be_seqs seqs = {n, N, 0.5 * n * length * (length + 1.0), ints(n + 1, length, N + length),
                                 zeros(DT_U8, (size_t)n)};
    const double pairs = seqs.pairs * s.H;
    char name[64];
    snprintf(name, sizeof name, "attention, %d sequences of %d", n, length);
    by_flops(name, SECONDS(op->attention(be, o, lse, q, k, v, seqs, s.H, s.K, s.E)), 4 * pairs * s.E);
    snprintf(name, sizeof name, "attention_bwd, %d of %d", n, length);
    by_flops(name, SECONDS(op->attention_bwd(be, dq, dk, dv, dout, q, k, v, o, lse, seqs, s.H, s.K, s.E)),
             10 * pairs * s.E);
    release_all();
}

/* A table of cosines or of sines that are all x. */
static struct be_view angles(float x)
{
    const size_t n = 512 * (size_t)(s.E / 2);
    struct be_view v = zeros(DT_F32, n);
    float *host = xmalloc(n, sizeof *host);
    for (size_t i = 0; i < n; i++)
        host[i] = x;
    op->put(be, v, host, n);
    finish();
    free(host);
    return v;
}

static void norms(enum dtype t, enum dtype weight)
{
    const int heads = s.N * s.H;
    const size_t nd = (size_t)s.N * (size_t)s.D, ne = (size_t)heads * (size_t)s.E;
    const double bd = (double)(nd * dtype_size(t)), be_ = (double)(ne * dtype_size(t));
    struct be_view x = filled(t, nd, 1), y = filled(t, nd, 1), dy = filled(t, nd, 1);
    struct be_view w = filled(weight, (size_t)s.D, 1), a = filled(t, ne, 1), b = zeros(t, ne), db = filled(t, ne, 1);
    struct be_view pos = ints(s.N, 7, 512), c = angles(0.8f), sn = angles(0.6f);
    by_memory("rmsnorm", SECONDS(op->rmsnorm(be, y, x, w, s.N, s.D, 1e-6f)), 2 * bd);
    by_memory("rmsnorm_bwd", SECONDS(op->rmsnorm_bwd(be, y, dy, x, w, s.N, s.D, 1e-6f)), 3 * bd);
    by_memory("rmsnorm over heads", SECONDS(op->rmsnorm(be, b, a, w, heads, s.E, 1e-6f)), 2 * be_);
    by_memory("rmsnorm_bwd over heads", SECONDS(op->rmsnorm_bwd(be, b, db, a, w, heads, s.E, 1e-6f)), 3 * be_);
    by_memory("rope", SECONDS(op->rope(be, a, c, sn, pos, s.N, s.H, s.E, false)), 2 * be_);
    by_memory("rope backward", SECONDS(op->rope(be, a, c, sn, pos, s.N, s.H, s.E, true)), 2 * be_);
    release_all();
}

static void elementwise(enum dtype t)
{
    const size_t nd = (size_t)s.N * (size_t)s.D, nf = (size_t)s.N * (size_t)s.F;
    const double bd = (double)(nd * dtype_size(t)), bf = (double)(nf * dtype_size(t));
    struct be_view x = filled(t, nd, 1), y = filled(t, nd, 1), sum = filled(op->sum_dtype, nd, 1);
    struct be_view g = filled(t, nf, 4), u = filled(t, nf, 1), dm = filled(t, nf, 1), dg = zeros(t, nf);
    struct be_view du = zeros(t, nf), row = ints(s.N, 4099, s.N); /* a prime: every row once */
    by_memory("add", SECONDS(op->add(be, y, x, y, nd)), 3 * bd);
    by_memory("swiglu", SECONDS(op->swiglu(be, dg, g, u, nf)), 3 * bf);
    by_memory("swiglu_bwd", SECONDS(op->swiglu_bwd(be, dg, du, dm, g, u, nf)), 5 * bf);
    by_memory("convert from the sum type", SECONDS(op->convert(be, y, sum, nd)),
              bd + (double)(nd * dtype_size(op->sum_dtype)));
    by_memory("gather_rows", SECONDS(op->gather_rows(be, y, x, row, s.N, s.D)), 2 * bd);
    by_memory("scatter_rows", SECONDS(op->scatter_rows(be, y, x, row, s.N, s.N, s.D)), 2 * bd);
    release_all();
}

/* The loss over one chunk of logits, its backward and the scores over one block of lm_head after the other. */
static void head(enum dtype t)
{
    const int blocks = s.V / s.C;
    const size_t R = (size_t)s.R, nv = R * (size_t)s.V, nc = R * (size_t)s.C;
    const double bv = (double)(nv * dtype_size(t)), bc = (double)(nc * dtype_size(t));
    struct be_view z = filled(t, nv, 5), dz = zeros(t, nc), zq = filled(t, nc, 5), stat = zeros(DT_F32, 2 * R);
    struct be_view loss = zeros(DT_F32, R), scale = filled(DT_F32, R, 1), target = ints(s.R, 77, s.V);
    struct be_view sum = zeros(DT_F64, R);
    by_memory("xent", SECONDS(op->xent(be, stat, loss, z, target, s.R, s.V)), bv);
    by_memory("xent_bwd, blocks of lm_head",
              SECONDS(op->xent_bwd(be, dz, z, stat, target, scale, s.R, s.V, turn % blocks * s.C, s.C)), 2 * bc);
    by_memory(
        "score_rows, blocks of lm_head",
        SECONDS(op->score_rows(be, be_output(zq, sum), be_at(z, (size_t)(turn % blocks * s.C)), dz, s.R, s.C, s.V)),
        3 * bc);
    release_all();
}

/* ---- quantization */

static const struct quantizer weight_quantizers[] = {
    {QF_FP4, QG_BLOCK, 16, true},        {QF_MXFP4, QG_BLOCK, 32, true},      {QF_FP8, QG_TENSOR, 0, false},
    {QF_FP8, QG_OUT_CHANNEL, 0, false},  {QF_FP8, QG_IN_CHANNEL, 0, false},   {QF_FP8, QG_BLOCK, 128, false},
    {QF_INT8, QG_TENSOR, 0, false},      {QF_INT8, QG_OUT_CHANNEL, 0, false}, {QF_INT8, QG_IN_CHANNEL, 0, false},
    {QF_INT8, QG_BLOCK, 64, false},      {QF_INT4, QG_BLOCK, 128, false},     {QF_INT4, QG_BLOCK, 64, false},
    {QF_INT4, QG_OUT_CHANNEL, 0, false},
};
static const struct quantizer act_quantizers[] = {
    {QF_FP8, QG_TENSOR, 0, false},  {QF_FP8, QG_TENSOR, 0, true},  {QF_FP8, QG_TOKEN, 0, true},
    {QF_INT8, QG_TENSOR, 0, false}, {QF_INT8, QG_TENSOR, 0, true}, {QF_INT8, QG_TOKEN, 0, true},
    {QF_INT4, QG_TENSOR, 0, false}, {QF_INT4, QG_TOKEN, 0, true},
};
#define LENGTH(a) (sizeof(a) / sizeof *(a))

static void fake(const struct quantizer *q, const char *what, struct be_view y, struct be_view x, struct be_view amax,
                 struct be_view group, int rows, int cols, bool round_bf16)
{
    char name[64], key[QUANTIZER_KEY];
    quantizer_key(q, key);
    snprintf(name, sizeof name, "fakequant %s, %s", key, what);
    by_memory(name, SECONDS(op->fakequant(be, y, x, q, amax, group, rows, cols, round_bf16)),
              2.0 * rows * cols * (double)dtype_size(x.dtype));
}

static void weight_quantization(enum dtype t, bool bf16, int rows, int cols, const char *what)
{
    const size_t n = (size_t)rows * (size_t)cols;
    const double bytes = (double)(n * dtype_size(t));
    const struct be_view none = {0};
    struct be_view w = filled(t, n, 0.1f), wq = zeros(t, n), amax = zeros(DT_F32, (size_t)cols);
    char name[64];
    snprintf(name, sizeof name, "amax_cols, %s", what);
    by_memory(name, SECONDS(op->amax_cols(be, amax, w, rows, cols)), bytes);
    snprintf(name, sizeof name, "amax_rows, %s", what);
    by_memory(name, SECONDS(op->amax_rows(be, amax, w, none, rows, cols)), bytes);
    for (size_t i = 0; i < LENGTH(weight_quantizers); i++)
        fake(&weight_quantizers[i], what, wq, w, amax, none, rows, cols, bf16);
    release_all();
}

static void act_quantization(enum dtype t, bool bf16, int cols, const char *what)
{
    const int batches = 8;
    const size_t n = (size_t)s.N * (size_t)cols;
    const double bytes = (double)(n * dtype_size(t));
    struct be_view x = filled(t, n, 2), xq = zeros(t, n), g = filled(t, n, 1), amax = zeros(DT_F32, (size_t)batches);
    struct be_view batch = ints(s.N, 1, batches), sum = zeros(DT_F64, (size_t)s.N);
    char name[64];
    snprintf(name, sizeof name, "amax_rows by batch, %s", what);
    by_memory(name, SECONDS(op->amax_rows(be, amax, x, batch, s.N, cols)), bytes);
    for (size_t i = 0; i < LENGTH(act_quantizers); i++)
        fake(&act_quantizers[i], what, xq, x, amax,
             act_quantizers[i].granularity == QG_TENSOR && act_quantizers[i].dynamic ? batch : (struct be_view){0}, s.N,
             cols, bf16);
    snprintf(name, sizeof name, "score_rows, %s", what);
    by_memory(name, SECONDS(op->score_rows(be, be_output(xq, sum), x, g, s.N, cols, cols)), 3 * bytes);
    release_all();
}

/* Everything that memory bounds, in one of the two modes. */
static void bound_by_memory(bool bf16)
{
    const enum dtype act = bf16 ? op->act_bf16 : op->act_fp32, weight = bf16 ? op->weight_bf16 : op->weight_fp32;
    norms(act, weight);
    elementwise(act);
    head(act);
    weight_quantization(weight, bf16, s.F, s.D, "[F, D]");
    weight_quantization(weight, bf16, s.D, s.F, "[D, F]");
    act_quantization(act, bf16, s.D, "[N, D]");
    act_quantization(act, bf16, s.F, "[N, F]");
}

#endif
