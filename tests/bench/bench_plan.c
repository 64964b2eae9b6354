/* What cost.h predicts beside what runs take: wall time from exec to exit, and the peak of anonymous memory. Exit code
 * 1 where a prediction is off by more than a factor of 2. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "cost.h"
#include "mem.h"
#include "parallel.h"

static const char *backend = "cpu";

static const struct cli_option options[] = {
    {"backend", 0, CLI_STRING, &backend, "NAME", "cpu or cuda", 0, 0},
    {0},
};

static const struct tool tool = {
    .name = "bench_plan",
    .summary = "predicted beside measured time and memory of scoring",
    .usage = "[--backend NAME]",
    .options = options,
    .operands = "argument",
    .example = "bench_plan",
};

static const struct run {
    const char *model; /* a size of synth-model, or NULL: the bundled one */
    int captions, pairs;
} runs[] = {{NULL, 16, 1},   {NULL, 128, 1},  {NULL, 512, 1},  {NULL, 16, 6},
            {NULL, 128, 18}, {NULL, 512, 18}, {"0.3b", 128, 1}};

static const char *const pair_names[] = {"fp4_fp8",   "fp4_fp16",  "fp8_fp8",    "fp8_fp16", "int8_fp8",  "int8_fp16",
                                         "int8_int8", "mxfp4_fp8", "mxfp4_fp16", "int4_fp8", "int4_fp16", "int4_int8",
                                         "int4_int4", "fp4_int8",  "fp8_int8",   "fp4_int4", "fp8_int4",  "int8_int4"};

static const char *build(void)
{
    const char *dir = getenv("QSENS_BUILD_DIR");
    return dir ? dir : "tmp/build/release";
}

static char *path_of(const struct run *r, const char *kind)
{
    return r->model && !strcmp(kind, "lm") ? xasprintf("tmp/bench/plan-%s.json", r->model)
           : !strcmp(kind, "lm")           ? xstrdup("tmp/bench/plan-bundled.json")
                                           : xasprintf("tmp/bench/plan-%d.safetensors", r->captions);
}

/* lm.json and captions of a run; 0 where they are there. */
static int prepare(const struct run *r)
{
    char *lm = path_of(r, "lm"), *calib = path_of(r, "calib");
    char *dir = r->model ? xasprintf("tmp/bench/%s", r->model) : xstrdup("models/tiny_qwen3_vl");
    char *cmd =
        xasprintf("set -e; mkdir -p tmp/bench; [ -e %s/config.json ] || %s/synth-model --size %s "
                  "--tokenizer-from models/tiny_qwen3_vl -o %s; %s/extract-lm %s -o %s; "
                  "%s/calib-pack -n %d --model models/tiny_qwen3_vl conf/dataset/sample_captions.txt -o %s",
                  dir, build(), r->model ? r->model : "tiny", dir, build(), dir, lm, build(), r->captions, calib);
    const int rc = system(cmd);
    free(cmd);
    free(dir);
    free(lm);
    free(calib);
    return rc;
}

/* ---- measured */

static long rss_anon_kb(pid_t pid)
{
    char name[64], line[256];
    long kb = 0;
    snprintf(name, sizeof name, "/proc/%d/status", (int)pid);
    FILE *f = fopen(name, "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "RssAnon:", 8))
            kb = strtol(line + 8, NULL, 10);
    if (f)
        fclose(f);
    return kb;
}

/* Score as the pipeline does; 0 where it succeeded. */
static int measure(const struct run *r, double *seconds, double *bytes)
{
    char *argv[2 * 20 + 10], *lm = path_of(r, "lm"), *calib = path_of(r, "calib");
    char *own[20 + 1];
    int n = 0, n_own = 0;
    argv[n++] = own[n_own++] = xasprintf("%s/autoquant-score", build());
    const char *const fixed[] = {"--backend", backend, "--lm", lm, "--calib", calib};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        argv[n++] = (char *)fixed[i];
    for (int i = 0; i < r->pairs; i++) {
        argv[n++] = (char *)"--cell";
        argv[n++] = own[n_own++] = xasprintf("conf/quant_pair/%s.yaml=tmp/bench/plan-cells/%d", pair_names[i], i);
    }
    argv[n] = NULL;
    const double begin = cli_seconds();
    const pid_t pid = fork();
    if (!pid) {
        execv(argv[0], argv);
        _exit(127);
    }
    int status = 1;
    long peak = 0;
    pid_t done = 0;
    while (pid > 0 && (done = waitpid(pid, &status, WNOHANG)) == 0) {
        const long kb = rss_anon_kb(pid);
        peak = kb > peak ? kb : peak;
        usleep(1000);
    }
    *seconds = cli_seconds() - begin;
    *bytes = (double)peak * 1024;
    for (int i = 0; i < n_own; i++)
        free(own[i]);
    free(lm);
    free(calib);
    return pid < 0 || done < 0 ? 1 : status;
}

/* ---- predicted */

static int predict(const struct run *r, const struct be_ops *ops, const struct ceiling *speed, size_t memory,
                   struct cost *c, double *seconds, struct err *e)
{
    const struct scorer_options o = {.bf16 = true, .score_size = 128, .block_batches = 8};
    struct lm lm = {0}, sizes = {0};
    struct calib calib = {0};
    struct replay_set set = {0};
    char *lm_path = path_of(r, "lm"), *calib_path = path_of(r, "calib");
    int rc = lm_load(&lm, lm_path, e) || calib_load(&calib, calib_path, e) ? -1 : 0;
    for (int i = 0; i < r->pairs && !rc; i++) {
        struct pair pair;
        char *path = xasprintf("conf/quant_pair/%s.yaml", pair_names[i]);
        rc = pair_load(&pair, path, e) || replay_add(&set, &pair, e) < 0 ? -1 : 0;
        free(path);
    }
    if (!rc) {
        cost_model(&sizes, &lm.config, lm.tensor[0].dtype);
        rc = cost_count(c, ops, &sizes, &calib, &set, &o, memory, e);
        *seconds = rc ? 0 : cost_seconds(c, ops, speed);
    }
    free(lm_path);
    free(calib_path);
    lm_free(&lm);
    lm_free(&sizes);
    calib_free(&calib);
    return rc;
}

/* Raise the best speeds so far. Asked before every run: the least disturbed run is compared with the least disturbed
 * speeds. */
static int measure_speed(struct ceiling *best, struct be_device *device, const struct be_ops *ops, struct err *e)
{
    struct be *be = ops->open(NULL, e);
    if (!be)
        return -1;
    struct ceiling now;
    const int rc = ops->describe(device, e) || ceiling_measure(&now, ops, be, true, e) ? -1 : 0;
    ops->close(be);
    if (!rc)
        *best = (struct ceiling){fmax(best->copy_bytes, now.copy_bytes), fmax(best->gemm_flops, now.gemm_flops),
                                 fmax(best->load_bytes, now.load_bytes)};
    return rc;
}

static int run(const char *const *operand, int n, struct err *e)
{
    (void)operand;
    (void)n;
    struct be_device device;
    const struct be_ops *ops = be_find(backend, e);
    if (!ops)
        return -1;
    parallel_init(0);
    int rc = 0;
    double worst = 1;
    printf("%-10s%9s%6s%9s%9s%8s%10s%8s%7s%10s%7s\n", "model", "captions", "pairs", "rows", "TFLOP", "s", "predicted",
           "ratio", "MB", "predicted", "ratio");
    for (size_t i = 0; i < sizeof runs / sizeof *runs && !rc; i++) {
        struct cost c;
        struct ceiling speed = {0};
        double predicted = 0, took = 0, least = INFINITY, bytes = 0;
        if (prepare(&runs[i]))
            return err_set(e, ERR_IO, "cannot make the inputs of a run");
        for (int k = 0; k < (runs[i].model ? 1 : 3) && !rc; k++) {
            rc = measure_speed(&speed, &device, ops, e);
            if (!rc && measure(&runs[i], &took, &bytes))
                rc = err_set(e, ERR_IO, "autoquant-score failed");
            least = took < least ? took : least;
        }
        if (!rc)
            rc = predict(&runs[i], ops, &speed, device.free_memory, &c, &predicted, e);
        if (rc)
            break;
        const double ratio = predicted / least, memory = (double)c.host_bytes / bytes;
        printf("%-10s%9d%6d%9lld%9.3f%8.3f%10.3f%8.2f%7.0f%10.0f%7.2f\n", runs[i].model ? runs[i].model : "bundled",
               runs[i].captions, runs[i].pairs, (long long)c.rows, c.flops * 1e-12, least, predicted, ratio,
               bytes * 1e-6, (double)c.host_bytes * 1e-6, memory);
        worst = fmax(worst, fmax(fmax(ratio, 1 / ratio), fmax(memory, 1 / memory)));
    }
    if (!rc && !(worst <= 2))
        rc = err_set(e, ERR_NUMERIC, "a prediction is off by a factor of %.2f, more than 2", worst);
    else if (!rc)
        printf("all within a factor of %.2f (allowed 2)\n", worst);
    return rc;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, run, argc, argv);
}
