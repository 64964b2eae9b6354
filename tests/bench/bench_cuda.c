/* What the CUDA backend's ops cost on the shapes of a 4b model over 8,192 rows, beside what the device can do: a copy
 * within its memory and a GEMM, measured in the same run. Target: 0.75 of the copy for every op that memory bounds. */
#include "gpu.h"
#include "ops.h"
#include "parallel.h"

static void ceilings(void)
{
    struct err e;
    stop_on(gpu_copy_rate(&copy_rate, &e), &e);
    printf("%-38s %21.1f GB/s read and written\n", "copy of 1 GiB", 1e-9 * copy_rate);
    const size_t nd = (size_t)s.N * (size_t)s.D, nf = (size_t)s.N * (size_t)s.F;
    struct be_view x = filled(DT_BF16, nd, 1), w = filled(DT_BF16, (size_t)s.F * (size_t)s.D, 0.05f);
    struct be_view y = zeros(DT_BF16, nf);
    gemm_rate = 2.0 * s.N * s.F * s.D / SECONDS(op->linear(be, y, x, w, s.N, s.D, s.F, s.F, false));
    printf("%-38s %21.1f GFLOP/s\n", "linear D to F", 1e-9 * gemm_rate);
    release_all();
}

int main(void)
{
    struct err e;
    if (!&be_cuda_ops || be_cuda_ops.usable(&e)) {
        printf("skipped: needs CUDA=1 and a GPU (%s)\n", &be_cuda_ops ? e.msg : "this build has no CUDA");
        return 0;
    }
    parallel_init(0);
    op = &be_cuda_ops;
    be = op->open(NULL, &e);
    stop_on(be ? 0 : -1, &e);
    s = (struct sizes){.N = 8192, .D = 2560, .F = 9728, .V = 151936, .H = 32, .K = 8, .E = 128, .R = 662, .C = 10624};
    gemm_name = "linear D to F";
    copy_target = 0.75;
    stop_on(gpu_print(&e), &e);
    printf("N %d, D %d, F %d, V %d, %d and %d heads of %d, %d rows of logits, %d rows of lm_head\n", s.N, s.D, s.F, s.V,
           s.H, s.K, s.E, s.R, s.C);
    ceilings();
    attention(op->act_bf16, 512);
    attention(op->act_bf16, 8192);
    bound_by_memory(true);
    stop_on(gpu_print(&e), &e);
    printf("%d of %d ops below %.2f of a copy\n", n_missed, n_measured, copy_target);
    op->close(be);
    return 0;
}
