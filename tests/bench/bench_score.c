/* Scoring speed and memory beside what the BLAS alone reaches on the same matrices, in one run:
 *   ratio = (time of the GEMMs alone, the library's own threads) / (wall time of scoring), target >= 0.70
 *   peak RssAnon <= activations + 2 layers in fp32 + 256 MB
 * Model: synth-model --size 0.3b, made under tmp/bench when it is not there; captions: conf/dataset, 128 of them; one
 * pair, fp4_fp8. Usage: bench_score [LM.json CALIB.safetensors PAIR.yaml] */
#include <cblas.h>
#undef I
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "mem.h"
#include "parallel.h"
#include "scorer.h"
#include "weights.h"

extern void openblas_set_num_threads(int) __attribute__((weak));

/* ---- the products of a run, noted by a table that passes everything on */

static struct product {
    int N, I, O;
    bool backward;
} * products;
static size_t n_products, products_cap;

static void note(int N, int I, int O, bool backward)
{
    products = xgrow(products, &products_cap, n_products + 1, sizeof *products);
    products[n_products++] = (struct product){N, I, O, backward};
}

static void noting_linear(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int I, int O,
                          int ldy, bool as_reference)
{
    note(N, I, O, false);
    be_cpu_ops.linear(be, y, x, w, N, I, O, ldy, as_reference);
}

static void noting_linear_dx(struct be *be, struct be_view dx, struct be_view dy, struct be_view w, int N, int I, int O,
                             bool accumulate)
{
    note(N, I, O, true);
    be_cpu_ops.linear_dx(be, dx, dy, w, N, I, O, accumulate);
}

static double blas_seconds(void)
{
    size_t a = 0, b = 0, c = 0;
    for (size_t i = 0; i < n_products; i++) {
        const size_t N = (size_t)products[i].N, I = (size_t)products[i].I, O = (size_t)products[i].O;
        a = N * (I > O ? I : O) > a ? N * (I > O ? I : O) : a;
        b = I * O > b ? I * O : b;
        c = a;
    }
    float *x = xmalloc(a, 4), *w = xmalloc(b, 4), *y = xmalloc(c, 4);
    for (size_t i = 0; i < a; i++)
        x[i] = y[i] = (float)(i % 7) - 3;
    for (size_t i = 0; i < b; i++)
        w[i] = (float)(i % 5) - 2;
    if (openblas_set_num_threads)
        openblas_set_num_threads(parallel_threads());
    const double begin = cli_seconds();
    for (size_t i = 0; i < n_products; i++) {
        const struct product *p = &products[i];
        if (p->backward)
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, p->N, p->I, p->O, 1, x, p->O, w, p->I, 0, y, p->I);
        else
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, p->N, p->O, p->I, 1, x, p->I, w, p->I, 0, y, p->O);
    }
    const double seconds = cli_seconds() - begin;
    if (openblas_set_num_threads)
        openblas_set_num_threads(1);
    free(x);
    free(w);
    free(y);
    return seconds;
}

/* ---- anonymous memory, sampled */

static atomic_int sampling;
static long peak_kb;

static long rss_anon_kb(void)
{
    char line[256];
    long kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "RssAnon:", 8))
            kb = strtol(line + 8, NULL, 10);
    if (f)
        fclose(f);
    return kb;
}

static void *sample(void *arg)
{
    (void)arg;
    while (sampling) {
        const long kb = rss_anon_kb();
        peak_kb = kb > peak_kb ? kb : peak_kb;
        usleep(10000);
    }
    return NULL;
}

/* ---- the run */

static int prepare(void)
{
    const char *dir = getenv("QSENS_BUILD_DIR");
    char *cmd = xasprintf(
        "set -e; b=%s; d=tmp/bench/0.3b; mkdir -p tmp/bench; [ -e $d/config.json ] || "
        "$b/synth-model --size 0.3b --tokenizer-from models/tiny_qwen3_vl -o $d; "
        "$b/extract-lm $d -o tmp/bench/lm.json; "
        "$b/calib-pack --model models/tiny_qwen3_vl conf/dataset/sample_captions.txt -o tmp/bench/calib.safetensors",
        dir ? dir : "tmp/build/release");
    const int rc = system(cmd);
    free(cmd);
    return rc;
}

int main(int argc, char **argv)
{
    struct err e;
    struct lm lm;
    struct calib calib;
    struct pair pair;
    struct replay_set set = {0};
    if (argc < 4 && prepare())
        return 1;
    if (lm_load(&lm, argc > 3 ? argv[1] : "tmp/bench/lm.json", &e) ||
        calib_load(&calib, argc > 3 ? argv[2] : "tmp/bench/calib.safetensors", &e) ||
        pair_load(&pair, argc > 3 ? argv[3] : "conf/quant_pair/fp4_fp8.yaml", &e) || replay_add(&set, &pair, &e) < 0) {
        fprintf(stderr, "bench_score: %s\n", e.msg);
        return 1;
    }
    struct be_ops ops = be_cpu_ops;
    ops.linear = noting_linear;
    ops.linear_dx = noting_linear_dx;
    const struct scorer_options o = {.bf16 = true, .score_size = 128, .block_batches = 8};
    double blas[2], score[2];
    struct scorer_result r = {0};
    long peak = 0;
    for (int run = 0; run < 2; run++) { /* alternating, so that drift of the machine shows in both */
        pthread_t t;
        n_products = 0;
        sampling = 1;
        peak_kb = 0;
        pthread_create(&t, NULL, sample, NULL);
        scorer_result_free(&r);
        const double begin = cli_seconds();
        if (scorer_run(&r, &ops, &lm, &calib, &set, &o, &e)) {
            fprintf(stderr, "bench_score: %s\n", e.msg);
            return 1;
        }
        score[run] = cli_seconds() - begin;
        sampling = 0;
        pthread_join(t, NULL);
        peak = peak_kb > peak ? peak_kb : peak;
        blas[run] = blas_seconds();
        printf("run %d: scoring %.2f s, its GEMMs alone %.2f s (%.0f and %.0f GFLOP/s), ratio %.2f\n", run + 1,
               score[run], blas[run], r.flops / score[run] * 1e-9, r.flops / blas[run] * 1e-9, blas[run] / score[run]);
    }
    const struct lm_config *c = &lm.config;
    const double layer = 4.0 * ((double)c->hidden_size * c->head_dim * (2.0 * c->n_heads + 2.0 * c->n_kv_heads) +
                                3.0 * c->hidden_size * c->ffn_size);
    const double activations = (double)r.placement.bytes - (double)weights_bytes(&lm, &be_cpu_ops, true, false, false);
    const double limit = activations + 2 * layer + 256 * 1048576.0;
    printf("%d threads, %lld rows, %.2f TFLOP of GEMM in %zu products\n", parallel_threads(), (long long)calib.n_rows,
           r.flops * 1e-12, n_products);
    printf("RssAnon peak %.0f MB; allowed %.0f MB = activations %.0f + 2 layers %.0f + 268\n",
           (double)peak / 1024 * 1.048576, limit * 1e-6, activations * 1e-6, 2 * layer * 1e-6);
    const double ratio = (blas[0] + blas[1]) / (score[0] + score[1]);
    printf("ratio %.2f (target >= 0.70)\n", ratio);
    free(products);
    scorer_result_free(&r);
    lm_free(&lm);
    calib_free(&calib);
    return 0;
}
