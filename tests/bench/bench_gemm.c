/* The GEMMs of a run by every algorithm that cuBLASLt offers: its first choice beside the fastest, for each shape and
 * number of rows. --write puts the fastest into the table that runs use (gemm_table.h). */
#include <string.h>

#include "cli.h"
#include "gemm_shapes.h"
#include "gpu.h"
#include "io.h"
#include "mem.h"

static const char *lm_path, *size = "4b", *dir;
static long skip = CLI_UNSET;

static const struct cli_option options[] = {
    {"lm", 0, CLI_STRING, &lm_path, "FILE", "shapes of this lm.json", 0, 0},
    {"size", 0, CLI_STRING, &size, "NAME", "else of a synthetic model of this size (synth-model)", 0, 0},
    {"write", 0, CLI_STRING, &dir, "DIR", "write or refresh the table of this GPU and library in DIR", 0, 0},
    {"skip", 0, CLI_INT, &skip, "ID",
     "try all algorithms but those of this number of cuBLASLt's, its own choice or not\n"
     "(66 are the kernels nvjet, of which compute-sanitizer's racecheck has something to say)",
     0, 1000},
    {0},
};

static const struct tool tool = {
    .name = "bench_gemm",
    .summary = "time cuBLASLt's algorithms on the products of a run",
    .usage = "[--lm lm.json] [--write conf/gemm]",
    .options = options,
    .operands = "argument",
    .example = "bench_gemm --write conf/gemm",
};

/* The table of this device in dir, or an empty one. */
static int open_table(struct gemm_table *t, struct err *e)
{
    char name[256];
    int64_t version;
    if (gpu_name(name, &version, e) || (dir && gemm_table_of(t, dir, name, version, e)))
        return -1;
    if (!t->gpu)
        *t = (struct gemm_table){.gpu = xstrdup(name), .cublaslt = version};
    return 0;
}

static void put(struct gemm_table *t, size_t *cap, const struct gemm_entry *n)
{
    for (size_t i = 0; i < t->n; i++)
        if (!gemm_shape_order(&t->entry[i], n)) {
            t->entry[i] = *n;
            return;
        }
    t->entry = xgrow(t->entry, cap, t->n + 1, sizeof *t->entry);
    t->entry[t->n++] = *n;
}

static int write_table(struct gemm_table *t, struct err *e)
{
    struct io_out out;
    char *path = gemm_table_path(dir, t->gpu, t->cublaslt);
    gemm_table_finish(t);
    int rc = io_out_open(&out, path, e);
    if (!rc) {
        gemm_table_write(t, out.f);
        rc = io_out_commit(&out, e);
    }
    if (!rc)
        printf("%s: %zu entries, identity %s\n", path, t->n, t->identity);
    free(path);
    return rc;
}

static int measure(struct gpu_bench *b, const struct gemm_shapes *g, struct gemm_table *t, struct err *e)
{
    size_t cap = t->n;
    double first = 0, best = 0, flops = 0;
    printf("%-42s %5s %9s %9s %6s %11s %7s\n", "product", "rows", "first", "fastest", "ratio", "algorithms", "differ");
    for (int i = 0; i < g->n; i++)
        for (int rows = 64, more = 1; rows <= GEMM_MAX_ROWS && more; rows *= 2) {
            struct gemm_entry n = {.shape = g->shape[i]};
            struct gpu_gemm r;
            char name[64];
            n.shape.rows = rows;
            more = !g->head[i] || rows < g->head_rows;
            if (gpu_gemm(b, &n.shape, skip == CLI_UNSET ? -1 : (int)skip, &r, e))
                return -1;
            shape_name(&n.shape, name);
            printf("%-42s %5d %9.1f %9.1f %6.2f %11d %7.4f\n", name, rows, 1e-12 * r.first, 1e-12 * r.best,
                   r.best / r.first, r.candidates, r.differ);
            fflush(stdout);
            const double work = 2.0 * rows * n.shape.in * n.shape.out;
            first += work / r.first, best += work / r.best, flops += work;
            memcpy(n.algorithm, r.algorithm, GEMM_ALGORITHM);
            n.tflops = 1e-12 * r.best;
            put(t, &cap, &n);
        }
    printf("each once: %.1f ms by the first choices, %.1f ms by the fastest (%.1f TFLOP/s), ratio %.3f\n", 1e3 * first,
           1e3 * best, 1e-12 * flops / best, first / best);
    return 0;
}

static int run(const char *const *operand, int n, struct err *e)
{
    (void)operand;
    (void)n;
    struct err why;
    if (!&be_cuda_ops || be_cuda_ops.usable(&why)) {
        const char *reason = &be_cuda_ops ? why.msg : "this build has no CUDA";
        if (dir)
            return err_set(e, ERR_DEVICE, "--write needs CUDA=1 and a GPU (%s)", reason);
        printf("skipped: needs CUDA=1 and a GPU (%s)\n", reason);
        return 0;
    }
    const double begin = cli_seconds();
    struct gemm_shapes g;
    struct gemm_table t = {0};
    struct gpu_bench *b = NULL;
    const int rc = shapes_of_model(&g, lm_path, size, e) || gpu_print(e) || open_table(&t, e) ||
                           !(b = gpu_bench_open(e)) || measure(b, &g, &t, e) || (dir && write_table(&t, e)) ||
                           gpu_print(e)
                       ? -1
                       : 0;
    gpu_bench_close(b);
    gemm_table_free(&t);
    if (!rc)
        printf("in TFLOP/s; differ: share of the elements that the two round differently; %.0f s\n",
               cli_seconds() - begin);
    return rc;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, run, argc, argv);
}
