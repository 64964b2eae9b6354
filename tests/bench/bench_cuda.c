/* What the CUDA backend's ops cost on the shapes of a 4b model over 8,192 rows, beside what the device can do, measured
 * in the same run: a copy within its memory, and cuBLASLt's fastest algorithm. Targets: 0.75 of the copy for every op
 * that memory bounds, 0.95 of the fastest algorithm for every product. Argument: a directory of tables of GEMM
 * algorithms to run with, as --gemm-tables of autoquant-score. */
#include "gemm_shapes.h"
#include "gpu.h"
#include "ops.h"
#include "parallel.h"

static const double gemm_target = 0.95;

static void ceilings(struct gpu_bench *b)
{
    struct err e;
    struct gpu_gemm r;
    const struct gemm_shape shape = {s.N, s.D, s.F, s.F, false, false, DT_BF16, DT_BF16};
    stop_on(gpu_copy_rate(&copy_rate, &e), &e);
    printf("%-38s %21.1f GB/s read and written\n", "copy of 1 GiB", 1e-9 * copy_rate);
    stop_on(gpu_gemm(b, &shape, -1, &r, &e), &e);
    gemm_rate = r.best;
    printf("%-38s %21.1f GFLOP/s, the fastest of %d algorithms\n", "cuBLASLt, 8192 rows, D to F", 1e-9 * gemm_rate,
           r.candidates);
}

/* linear and linear_dx as a run calls them, beside the fastest algorithm for the same shape. */
static void products(struct gpu_bench *b, const struct gemm_shapes *g)
{
    struct err e;
    for (int i = 0; i < g->n; i++) {
        struct gemm_shape p = g->shape[i];
        struct gpu_gemm r;
        char name[64];
        p.rows = g->head[i] ? g->head_rows : s.N;
        shape_name(&p, name);
        stop_on(gpu_gemm(b, &p, -1, &r, &e), &e);
        const size_t rows = (size_t)p.rows;
        struct be_view w = filled(p.input, (size_t)p.in * (size_t)p.out, 0.05f),
                       y = zeros(p.output, rows * (size_t)p.stride);
        struct be_view x = filled(p.input, rows * (size_t)(p.backward ? p.out : p.in), 1);
        const double flops = 2.0 * p.rows * p.in * p.out,
                     seconds = p.backward ? SECONDS(op->linear_dx(be, y, x, w, p.rows, p.in, p.out, p.accumulate))
                                          : SECONDS(op->linear(be, y, x, w, p.rows, p.in, p.out, p.stride, false));
        printf("%-38s %9.3f ms %8.1f TFLOP/s  %5.2f of the fastest", name, 1e3 * seconds, 1e-12 * flops / seconds,
               flops / seconds / r.best);
        mark(flops / seconds / r.best, gemm_target);
        release_all();
    }
}

int main(int argc, char **argv)
{
    struct err e;
    if (!&be_cuda_ops || be_cuda_ops.usable(&e)) {
        printf("skipped: needs CUDA=1 and a GPU (%s)\n", &be_cuda_ops ? e.msg : "this build has no CUDA");
        return 0;
    }
    parallel_init(0);
    const struct be_options o = {.gemm_tables = argc > 1 ? argv[1] : NULL};
    struct gemm_shapes g;
    stop_on(shapes_of_model(&g, NULL, "4b", &e), &e);
    stop_on(gpu_print(&e), &e);
    char *identity = be_cuda_ops.identity(&o, &e);
    stop_on(identity ? 0 : -1, &e);
    printf("%s\n", identity);
    free(identity);
    op = &be_cuda_ops;
    be = op->open(&o, &e);
    stop_on(be ? 0 : -1, &e);
    s = (struct sizes){.N = 8192, .D = 2560, .F = 9728, .V = 151936, .H = 32, .K = 8, .E = 128};
    s.R = g.head_rows;
    s.C = g.head_block;
    printf("N %d, D %d, F %d, V %d, %d and %d heads of %d, %d rows of logits, %d rows of lm_head\n", s.N, s.D, s.F, s.V,
           s.H, s.K, s.E, s.R, s.C);
    gemm_name = "that";
    copy_target = 0.75;
    struct gpu_bench *b = gpu_bench_open(&e);
    stop_on(b ? 0 : -1, &e);
    ceilings(b);
    products(b, &g);
    gpu_bench_close(b);
    attention(op->act_bf16, 512);
    attention(op->act_bf16, 8192);
    bound_by_memory(true);
    stop_on(gpu_print(&e), &e);
    printf("%d of %d below their target\n", n_missed, n_measured);
    op->close(be);
    return 0;
}
