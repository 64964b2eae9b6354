/* What the CPU backend's ops cost on the shapes of a 0.3b model, beside what this machine can do: a copy of memory and
 * one call of the BLAS, measured in the same run. Argument: the number of threads, 1 unless given. */
#include <cblas.h>
#undef I
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend.h"
#include "mem.h"
#include "parallel.h"

enum { N = 860, D = 1024, F = 3072, V = 32768, H = 16, K = 8, E = 64, LOGIT_ROWS = 128 };

static const struct be_ops *op;
static struct be *be;
static double copy_rate, gemm_rate; /* bytes and operations a second */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Everything allocated since the last release_all. */
static struct be_buf *bufs[64];
static int n_bufs;

static struct be_view zeros(enum dtype t, size_t n)
{
    if (n_bufs == sizeof bufs / sizeof *bufs)
        BUG("too many buffers");
    return (struct be_view){bufs[n_bufs++] = op->alloc(be, n * dtype_size(t)), 0, t};
}
static void release_all(void)
{
    while (n_bufs)
        op->free(be, bufs[--n_bufs]);
}

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
    op->free(be, f.buf);
    free(x);
    return v;
}

/* i*step modulo below */
static struct be_view ints(int n, int step, int below)
{
    struct be_view v = zeros(DT_I32, (size_t)n);
    for (int32_t i = 0; i < n; i++) {
        const int32_t k = i * step % below;
        op->put(be, be_at(v, (size_t)i), &k, 1);
    }
    return v;
}

/* Seconds of the fastest of several calls, for about a fifth of a second. */
#define SECONDS(call) \
    __extension__({ \
        double best = 1e9; \
        const double stop = now() + 0.2; \
        for (int times = 0; times < 2 || now() < stop; times++) { \
            const double start = now(); \
            call; \
            const double took = now() - start; \
            best = took < best ? took : best; \
        } \
        best; \
    })

static void by_memory(const char *name, double seconds, double bytes)
{
    printf("%-32s %9.3f ms %8.1f GB/s     %5.2f of a copy\n", name, 1e3 * seconds, 1e-9 * bytes / seconds,
           bytes / seconds / copy_rate);
}
static void by_flops(const char *name, double seconds, double flops)
{
    printf("%-32s %9.3f ms %8.1f GFLOP/s  %5.2f of the BLAS\n", name, 1e3 * seconds, 1e-9 * flops / seconds,
           flops / seconds / gemm_rate);
}

static void machine(void)
{
    const size_t n = (size_t)N * F * sizeof(float);
    char *a = xcalloc(n, 1), *b = xmalloc(n, 1);
    copy_rate = 2 * (double)n / SECONDS(memcpy(b, a, n));
    printf("%-32s %21.1f GB/s read and written, one thread\n", "memcpy", 1e-9 * copy_rate);
    float *x = xcalloc((size_t)N * D, sizeof *x), *w = xcalloc((size_t)F * D, sizeof *w);
    float *y = xcalloc((size_t)N * F, sizeof *y);
    gemm_rate = 2.0 * N * F * D /
                SECONDS(cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, N, F, D, 1, x, D, w, D, 0, y, F));
    printf("%-32s %21.1f GFLOP/s, one call, one thread\n", "cblas_sgemm 860 x 3072 x 1024", 1e-9 * gemm_rate);
    free(a);
    free(b);
    free(x);
    free(w);
    free(y);
}

static void products(enum dtype t)
{
    struct be_view x = filled(t, (size_t)N * D, 1), w = filled(DT_F32, (size_t)V * D, 0.05f);
    struct be_view y = filled(t, (size_t)N * F, 1), z = filled(t, LOGIT_ROWS * (size_t)V, 1);
    by_flops("linear D to F", SECONDS(op->linear(be, y, x, w, N, D, F, F, false)), 2.0 * N * D * F);
    by_flops("linear D to D", SECONDS(op->linear(be, y, x, w, N, D, D, D, false)), 2.0 * N * D * D);
    by_flops("linear D to V, 128 rows", SECONDS(op->linear(be, z, x, w, LOGIT_ROWS, D, V, V, false)),
             2.0 * LOGIT_ROWS * D * V);
    by_flops("linear_dx F to D", SECONDS(op->linear_dx(be, x, y, w, N, D, F, false)), 2.0 * N * D * F);
    by_flops("linear_dx V to D, 128 rows", SECONDS(op->linear_dx(be, x, z, w, LOGIT_ROWS, D, V, false)),
             2.0 * LOGIT_ROWS * D * V);
    release_all();
}

static void attention(enum dtype t, int length)
{
    const int n = N / length;
    const size_t nq = (size_t)N * H * E, nk = (size_t)N * K * E;
    struct be_view q = filled(t, nq, 1), k = filled(t, nk, 1), v = filled(t, nk, 1), o = zeros(t, nq);
    struct be_view lse = zeros(DT_F32, (size_t)N * H), dq = zeros(t, nq), dk = zeros(t, nk), dv = zeros(t, nk);
    const struct be_seqs s = {n, n * length, 0, ints(n + 1, length, N + length), zeros(DT_U8, (size_t)n)};
    const double pairs = 0.5 * n * length * (length + 1) * H;
    char name[64];
    snprintf(name, sizeof name, "attention, %d sequences of %d", n, length);
    by_flops(name, SECONDS(op->attention(be, o, lse, q, k, v, s, H, K, E)), 4 * pairs * E);
    snprintf(name, sizeof name, "attention_bwd, %d of %d", n, length);
    by_flops(name, SECONDS(op->attention_bwd(be, dq, dk, dv, o, q, k, v, o, lse, s, H, K, E)), 10 * pairs * E);
    release_all();
}

static void rows(enum dtype t)
{
    const size_t nd = (size_t)N * D, nf = (size_t)N * F, nv = LOGIT_ROWS * (size_t)V;
    const double b = (double)dtype_size(t), bd = b * (double)nd, bf = b * (double)nf, bv = b * (double)nv;
    struct be_view x = filled(t, nd, 1), y = filled(t, nd, 1), dy = filled(t, nd, 1), w = filled(DT_F32, D, 1);
    struct be_view g = filled(t, nf, 4), u = filled(t, nf, 1), dm = filled(t, nf, 1), dg = zeros(t, nf);
    struct be_view z = filled(t, nv, 5), dz = zeros(t, nv), stat = zeros(DT_F32, 2 * LOGIT_ROWS);
    struct be_view loss = zeros(DT_F32, LOGIT_ROWS), s = filled(DT_F32, LOGIT_ROWS, 1),
                   target = ints(LOGIT_ROWS, 77, V);
    struct be_view pos = ints(N, 7, 512), c = filled(DT_F32, 512 * E / 2, 1);
    by_memory("add", SECONDS(op->add(be, y, x, dy, nd)), 3 * bd);
    by_memory("rmsnorm", SECONDS(op->rmsnorm(be, y, x, w, N, D, 1e-6f)), 2 * bd);
    by_memory("rmsnorm_bwd", SECONDS(op->rmsnorm_bwd(be, y, dy, x, w, N, D, 1e-6f)), 3 * bd);
    by_memory("rmsnorm over heads", SECONDS(op->rmsnorm(be, y, x, w, N * H, E, 1e-6f)), 2 * bd);
    by_memory("rope", SECONDS(op->rope(be, y, c, c, pos, N, H, E, false)), 2 * bd);
    by_memory("swiglu", SECONDS(op->swiglu(be, dg, g, u, nf)), 3 * bf);
    by_memory("swiglu_bwd", SECONDS(op->swiglu_bwd(be, dg, z, dm, g, u, nf)), 5 * bf); /* z is large enough */
    by_memory("xent, 128 rows of V", SECONDS(op->xent(be, stat, loss, z, target, LOGIT_ROWS, V)), bv);
    by_memory("xent_bwd, 128 rows of V", SECONDS(op->xent_bwd(be, dz, z, stat, target, s, LOGIT_ROWS, V, 0, V)),
              2 * bv);
    release_all();
}

static const struct {
    const char *name;
    struct quantizer q;
} quantizers[] = {
    {"fakequant fp8/tensor", {QF_FP8, QG_TENSOR, 0, false}},
    {"fakequant int8/tensor", {QF_INT8, QG_TENSOR, 0, false}},
    {"fakequant int8/out_channel", {QF_INT8, QG_OUT_CHANNEL, 0, false}},
    {"fakequant int4/block128", {QF_INT4, QG_BLOCK, 128, false}},
    {"fakequant fp4/block16", {QF_FP4, QG_BLOCK, 16, true}},
    {"fakequant mxfp4/block32", {QF_MXFP4, QG_BLOCK, 32, true}},
    {"fakequant fp8/in_channel", {QF_FP8, QG_IN_CHANNEL, 0, false}},
    {"fakequant int8/in_channel", {QF_INT8, QG_IN_CHANNEL, 0, false}},
};

static void quantization(enum dtype t)
{
    const size_t n = (size_t)F * D, nf = (size_t)N * F;
    struct be_view w = filled(DT_F32, n, 0.1f), wq = zeros(DT_F32, n), amax = zeros(DT_F32, D), none = {0};
    struct be_view yq = filled(t, nf, 1), y = filled(t, nf, 2), g = filled(t, nf, 1), sum = zeros(DT_F64, N);
    uint16_t *file = xcalloc(n, sizeof *file);
    op->amax_cols(be, amax, w, F, D);
    for (size_t i = 0; i < sizeof quantizers / sizeof *quantizers; i++)
        by_memory(quantizers[i].name, SECONDS(op->fakequant(be, wq, w, &quantizers[i].q, amax, none, F, D, true)),
                  8.0 * (double)n);
    by_memory("amax_rows", SECONDS(op->amax_rows(be, amax, w, none, F, D)), 4.0 * (double)n);
    by_memory("amax_cols", SECONDS(op->amax_cols(be, amax, w, F, D)), 4.0 * (double)n);
    by_memory("score_rows", SECONDS(op->score_rows(be, sum, yq, y, g, N, F, F)), 3.0 * (double)(nf * dtype_size(t)));
    by_memory("load bf16 to fp32", SECONDS(op->load(be, wq, file, DT_BF16, n, true)), 6.0 * (double)n);
    free(file);
    release_all();
}

int main(int argc, char **argv)
{
    struct err e;
    parallel_init(argc > 1 ? (int)strtol(argv[1], NULL, 10) : 1);
    op = be_find("cpu", &e);
    be = op ? op->open(NULL, &e) : NULL;
    if (!be)
        BUG("%s", e.msg);
    machine();
    printf("%d threads, N %d, D %d, F %d, V %d, %d and %d heads of %d\n", parallel_threads(), N, D, F, V, H, K, E);
    for (int i = 0; i < 2; i++) {
        const enum dtype t = i ? op->act_fp32 : op->act_bf16;
        printf("-- activations in %s\n", dtype_name(t));
        products(t);
        attention(t, 13);
        attention(t, 430);
        rows(t);
        quantization(t);
    }
    op->close(be);
    return 0;
}
