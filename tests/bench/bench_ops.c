/* What the CPU backend's ops cost on the shapes of a 0.3b model, beside what this machine can do: a copy of memory and
 * one call of the BLAS, measured in the same run. Argument: the number of threads, 1 unless given. */
#include <cblas.h>
#undef I

#include "ops.h"
#include "parallel.h"

static void ceilings(void)
{
    const size_t n = (size_t)s.N * (size_t)s.F * sizeof(float);
    char *a = xcalloc(n, 1), *b = xmalloc(n, 1);
    copy_rate = 2 * (double)n / SECONDS(memcpy(b, a, n));
    printf("%-38s %21.1f GB/s read and written, one thread\n", "memcpy", 1e-9 * copy_rate);
    float *x = xcalloc((size_t)s.N * (size_t)s.D, sizeof *x), *w = xcalloc((size_t)s.F * (size_t)s.D, sizeof *w);
    float *y = xcalloc((size_t)s.N * (size_t)s.F, sizeof *y);
    gemm_rate =
        2.0 * s.N * s.F * s.D /
        SECONDS(cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, s.N, s.F, s.D, 1, x, s.D, w, s.D, 0, y, s.F));
    printf("%-38s %21.1f GFLOP/s, one call, one thread\n", "cblas_sgemm 860 x 3072 x 1024", 1e-9 * gemm_rate);
    free(a);
    free(b);
    free(x);
    free(w);
    free(y);
}

static void products(enum dtype t)
{
    const int N = s.N, D = s.D, F = s.F, V = s.V, R = s.R;
    struct be_view x = filled(t, (size_t)N * (size_t)D, 1), w = filled(DT_F32, (size_t)V * (size_t)D, 0.05f);
    struct be_view y = filled(t, (size_t)N * (size_t)F, 1), z = filled(t, (size_t)R * (size_t)V, 1);
    by_flops("linear D to F", SECONDS(op->linear(be, y, x, w, N, D, F, F, false)), 2.0 * N * D * F);
    by_flops("linear D to F, as the reference", SECONDS(op->linear(be, y, x, w, N, D, F, F, true)), 2.0 * N * D * F);
    by_flops("linear D to D", SECONDS(op->linear(be, y, x, w, N, D, D, D, false)), 2.0 * N * D * D);
    by_flops("linear D to V, 128 rows", SECONDS(op->linear(be, z, x, w, R, D, V, V, false)), 2.0 * R * D * V);
    by_flops("linear_dx F to D", SECONDS(op->linear_dx(be, x, y, w, N, D, F, false)), 2.0 * N * D * F);
    by_flops("linear_dx V to D, 128 rows", SECONDS(op->linear_dx(be, x, z, w, R, D, V, false)), 2.0 * R * D * V);
    release_all();
}

/* Weights of a checkpoint into the backend. */
static void loading(void)
{
    const size_t n = (size_t)s.F * (size_t)s.D;
    struct be_view w = zeros(op->weight_bf16, n);
    uint16_t *file = xcalloc(n, sizeof *file);
    by_memory("load bf16", SECONDS(op->load(be, w, file, DT_BF16, n, true)),
              (double)(n * (sizeof *file + dtype_size(w.dtype))));
    free(file);
    release_all();
}

int main(int argc, char **argv)
{
    struct err e;
    parallel_init(argc > 1 ? (int)strtol(argv[1], NULL, 10) : 1);
    op = be_find("cpu", &e);
    be = op ? op->open(NULL, &e) : NULL;
    stop_on(be ? 0 : -1, &e);
    s = (struct sizes){.N = 860, .D = 1024, .F = 3072, .V = 32768, .H = 16, .K = 8, .E = 64, .R = 128, .C = 32768};
    gemm_name = "the BLAS";
    ceilings();
    printf("%d threads, N %d, D %d, F %d, V %d, %d and %d heads of %d\n", parallel_threads(), s.N, s.D, s.F, s.V, s.H,
           s.K, s.E);
    loading();
    for (int bf16 = 1; bf16 >= 0; bf16--) {
        const enum dtype t = bf16 ? op->act_bf16 : op->act_fp32;
        printf("-- activations in %s\n", dtype_name(t));
        products(t);
        attention(t, 13);
        attention(t, 430);
        bound_by_memory(bf16);
    }
    op->close(be);
    return 0;
}
