/* Scoring speed and memory beside what its matrix products take alone on the same machine, in one run:
 *   cpu    ratio = (time of the products alone, CBLAS on the library's own threads) / (time of scoring), >= 0.70;
 *          peak RssAnon <= activations + 2 layers in fp32 + 256 MB
 *   cuda   time of scoring <= (time of the products alone, cuBLASLt) / 0.65 + 1 s; peak RssAnon <= 1 GB + layer inputs
 *          in host memory
 *   several pairs also: time of all in one pass / time of the first alone, <= 2.8 for six
 * Model: synth-model --size 0.3b, made under tmp/bench when it is not there; captions: conf/dataset, 128 of them; one
 * pair, fp4_fp8. */
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
    bool backward, accumulate;
    enum dtype input, weight, output;
} * products;
static size_t n_products, products_cap;
static const struct be_ops *inner;

static void note(struct product p)
{
    products = xgrow(products, &products_cap, n_products + 1, sizeof *products);
    products[n_products++] = p;
}

static void noting_linear(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int I, int O,
                          int ldy, bool as_reference)
{
    note((struct product){N, I, O, false, false, x.dtype, w.dtype, y.dtype});
    inner->linear(be, y, x, w, N, I, O, ldy, as_reference);
}

static void noting_linear_dx(struct be *be, struct be_view dx, struct be_view dy, struct be_view w, int N, int I, int O,
                             bool accumulate)
{
    note((struct product){N, I, O, true, accumulate, dy.dtype, w.dtype, dx.dtype});
    inner->linear_dx(be, dx, dy, w, N, I, O, accumulate);
}

/* The largest input and output, and weight, in elements. */
static void largest(size_t *rows, size_t *weight)
{
    *rows = *weight = 1;
    for (size_t i = 0; i < n_products; i++) {
        const size_t N = (size_t)products[i].N, I = (size_t)products[i].I, O = (size_t)products[i].O;
        *rows = N * (I > O ? I : O) > *rows ? N * (I > O ? I : O) : *rows;
        *weight = I * O > *weight ? I * O : *weight;
    }
}

/* n elements of up to four bytes that are small numbers in bf16 and in fp32: a GPU multiplies zeros faster. */
static struct be_buf *noise(struct be *be, size_t n)
{
    uint16_t *h = xmalloc(2 * n, sizeof *h);
    uint32_t state = 1;
    for (size_t i = 0; i < 2 * n; i++) {
        state = state * 1664525u + 1013904223u;
        h[i] = (uint16_t)((state >> 16 & 0x807f) | (0x3c00 + (state >> 8 & 0x300)));
    }
    struct be_buf *b = inner->alloc(be, n * 4);
    inner->load(be, (struct be_view){b, 0, DT_BF16}, h, DT_BF16, 2 * n, false);
    free(h);
    return b;
}

/* The products alone, by the backend: on a GPU each is one call of cuBLASLt. */
static double backend_seconds(void)
{
    struct err e;
    size_t rows, weight;
    largest(&rows, &weight);
    struct be *be = inner->open(NULL, &e);
    if (!be)
        BUG("%s", e.msg);
    struct be_buf *x = noise(be, rows), *w = noise(be, weight), *y = inner->alloc(be, rows * 4);
    double seconds = 0;
    for (int warm = 0; warm < 2; warm++) { /* the first time around loads kernels */
        const double begin = cli_seconds();
        for (size_t i = 0; i < (warm ? n_products : n_products / 8); i++) {
            const struct product *p = &products[i];
            const struct be_view vx = {x, 0, p->input}, vw = {w, 0, p->weight}, vy = {y, 0, p->output};
            if (p->backward)
                inner->linear_dx(be, vy, vx, vw, p->N, p->I, p->O, p->accumulate);
            else
                inner->linear(be, vy, vx, vw, p->N, p->I, p->O, p->O, false);
        }
        if (inner->sync(be, &e))
            BUG("%s", e.msg);
        seconds = cli_seconds() - begin;
    }
    inner->free(be, x);
    inner->free(be, w);
    inner->free(be, y);
    inner->close(be);
    return seconds;
}

static double blas_seconds(void)
{
    size_t a, b;
    largest(&a, &b);
    float *x = xmalloc(a, 4), *w = xmalloc(b, 4), *y = xmalloc(a, 4);
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

static const char *backend = "cpu", *lm_path, *calib_path;
static struct cli_list pairs;

static const struct cli_option options[] = {
    {"backend", 0, CLI_STRING, &backend, "NAME", "cpu or cuda", 0, 0},
    {"lm", 0, CLI_STRING, &lm_path, "FILE", "lm.json; without it the model above", 0, 0},
    {"calib", 0, CLI_STRING, &calib_path, "FILE", "calib.safetensors", 0, 0},
    {"pair", 0, CLI_LIST, &pairs, "FILE", "pair file; may be given many times", 0, 0},
    {0},
};

static const struct tool tool = {
    .name = "bench_score",
    .summary = "time scoring beside its matrix products alone",
    .usage = "[--backend NAME] [--lm FILE --calib FILE --pair FILE ...]",
    .options = options,
    .operands = "argument",
    .example = "bench_score",
};

static int add_pairs(struct replay_set *set, struct err *e)
{
    static const char *standard[] = {"conf/quant_pair/fp4_fp8.yaml"};
    const struct cli_list list = pairs.n ? pairs : (struct cli_list){standard, 1};
    for (size_t i = 0; i < list.n; i++) {
        struct pair pair;
        if (pair_load(&pair, list.item[i], e) || replay_add(set, &pair, e) < 0)
            return -1;
    }
    return 0;
}

/* Score once; seconds, and the peak of anonymous memory. */
static int timed(struct scorer_result *r, const struct be_ops *ops, const struct lm *lm, const struct calib *calib,
                 const struct replay_set *set, double *seconds, struct err *e)
{
    const struct scorer_options o = {.bf16 = true, .score_size = 128, .block_batches = 8};
    pthread_t t;
    n_products = 0;
    sampling = 1;
    pthread_create(&t, NULL, sample, NULL);
    const double begin = cli_seconds();
    struct scorer_sample one = {.calib = calib, .set = set};
    const int rc = scorer_run(&one, 1, ops, lm, &o, e);
    *r = one.result;
    *seconds = cli_seconds() - begin;
    sampling = 0;
    pthread_join(t, NULL);
    return rc;
}

/* Several pairs in one pass beside one of them, alternating. */
static int beside_one(const struct lm *lm, const struct calib *calib, const struct replay_set *set, struct err *e)
{
    struct replay_set one = *set;
    one.n = one.n_weight = one.n_act = 1; /* the first pair's quantizers are the first of each */
    double all = 0, alone = 0, seconds;
    for (int i = 0; i < 2; i++) {
        struct scorer_result r;
        if (timed(&r, inner, lm, calib, set, &seconds, e))
            return -1;
        all += seconds;
        scorer_result_free(&r);
        if (timed(&r, inner, lm, calib, &one, &seconds, e))
            return -1;
        alone += seconds;
        scorer_result_free(&r);
    }
    printf("%d replays %.2f s, one %.2f s: %.2f (target for six <= 2.80)\n", set->n, all / 2, alone / 2, all / alone);
    return 0;
}

static void report_memory(const struct lm_config *c, const struct scorer_result *r, const struct lm *lm)
{
    if (inner->room) {
        printf("RssAnon peak %.0f MB; allowed %.0f MB = 1,000 + layer inputs on the host %.0f\n",
               (double)peak_kb / 1024 * 1.048576, 1000 + (double)r->placement.host_bytes * 1e-6,
               (double)r->placement.host_bytes * 1e-6);
        return;
    }
    const double layer = 4.0 * ((double)c->hidden_size * c->head_dim * (2.0 * c->n_heads + 2.0 * c->n_kv_heads) +
                                3.0 * c->hidden_size * c->ffn_size);
    const double activations = (double)r->placement.bytes - (double)weights_bytes(lm, inner, true, false, false);
    printf("RssAnon peak %.0f MB; allowed %.0f MB = activations %.0f + 2 layers %.0f + 268\n",
           (double)peak_kb / 1024 * 1.048576, (activations + 2 * layer) * 1e-6 + 268, activations * 1e-6,
           2 * layer * 1e-6);
}

static int run(const char *const *operand, int n, struct err *e)
{
    (void)operand;
    (void)n;
    struct lm lm;
    struct calib calib;
    struct replay_set set = {0};
    struct scorer_result r = {0};
    inner = be_find(backend, e);
    if (!inner || (!lm_path && prepare()) || lm_load(&lm, lm_path ? lm_path : "tmp/bench/lm.json", e) ||
        calib_load(&calib, calib_path ? calib_path : "tmp/bench/calib.safetensors", e) || add_pairs(&set, e))
        return -1;
    struct be_ops ops = *inner;
    ops.linear = noting_linear;
    ops.linear_dx = noting_linear_dx;
    const bool gpu = inner->room != NULL;
    double alone[2], score[2];
    for (int i = 0; i < 2; i++) { /* alternating, so that drift of the machine shows in both */
        scorer_result_free(&r);
        if (timed(&r, &ops, &lm, &calib, &set, &score[i], e))
            return -1;
        alone[i] = gpu ? backend_seconds() : blas_seconds();
        printf("run %d: scoring %.2f s, its products alone %.2f s (%.1f and %.1f TFLOP/s), ratio %.2f\n", i + 1,
               score[i], alone[i], r.flops / score[i] * 1e-12, r.flops / alone[i] * 1e-12, alone[i] / score[i]);
    }
    printf("%s, %d threads, %lld rows, %.2f TFLOP in %zu products, %d replays\n", inner->name, parallel_threads(),
           (long long)calib.n_rows, r.flops * 1e-12, n_products, set.n);
    report_memory(&lm.config, &r, &lm);
    const double a = (alone[0] + alone[1]) / 2, s = (score[0] + score[1]) / 2;
    if (gpu)
        printf("scoring %.2f s, allowed %.2f s = products alone / 0.65 + 1\n", s, a / 0.65 + 1);
    else
        printf("ratio %.2f (target >= 0.70)\n", a / s);
    free(products);
    scorer_result_free(&r);
    const int rc = set.n > 1 ? beside_one(&lm, &calib, &set, e) : 0;
    lm_free(&lm);
    calib_free(&calib);
    return rc;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, run, argc, argv);
}
