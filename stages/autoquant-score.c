/* autoquant-score: lm.json + calib.safetensors + pairs -> per pair scores.json and records.safetensors. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "io.h"
#include "mem.h"
#include "parallel.h"
#include "profile.h"
#include "records.h"

static const char *lm_path, *calib_path, *backend = "auto", *dtype = "bf16", *padding = "reference";
static const char *granularity = "default", *gemm_tables;
static long score_size = 128, block_batches = 8, pass_blocks = 0, threads = 0;
static struct cli_list cells;
static size_t gpu_memory;
static const char *shard;
static bool print_backend, show_profile, split, calibrate, resume, restart, keep_journal;

static const struct cli_option options[] = {
    {"lm", 0, CLI_STRING, &lm_path, "FILE", "lm.json of extract-lm", 0, 0},
    {"calib", 0, CLI_STRING, &calib_path, "FILE", "calib.safetensors of calib-pack", 0, 0},
    {"cell", 0, CLI_LIST, &cells, "PAIR=DIR",
     "score the pair of file PAIR and write scores.json and\nrecords.safetensors into DIR; may be given many times: "
     "all\n"
     "cells are scored in one pass over the model",
     0, 0},
    {"backend", 0, CLI_STRING, &backend, "NAME",
     "cpu, cuda, ref (plain double, slow, the oracle), or\nauto: cuda where it is built in and a device works,\nelse "
     "cpu",
     0, 0},
    {"gemm-tables", 0, CLI_STRING, &gemm_tables, "DIR",
     "cuda: take the algorithm of each matrix product from DIR's\ntable for this GPU and cuBLASLt version, if there is "
     "one",
     0, 0},
    {"print-backend", 0, CLI_FLAG, &print_backend, NULL,
     "print which backend NAME stands for and, of a GPU, device,\nlibrary and table, and stop", 0, 0},
    {"dtype", 0, CLI_STRING, &dtype, "TYPE", "bf16 (as the reference runs) or fp32", 0, 0},
    {"padding", 0, CLI_STRING, &padding, "MODE", "reference or none: must be what calib-pack used", 0, 0},
    {"split", 0, CLI_FLAG, &split, NULL,
     "also score the weights alone and the activations alone of every pair\n"
     "that quantizes both; costs a replay more for each weight and activation format",
     0, 0},
    {"granularity", 0, CLI_STRING, &granularity, "NAME", "name of the granularity overlay, recorded as it is", 0, 0},
    {"score-size", 0, CLI_INT, &score_size, "N", "sequences to score (whole batches; calibration uses all)", 1,
     1 << 30},
    {"block", 0, CLI_INT, &block_batches, "N",
     "most batches of a block, which share their GEMMs\n(a block has at most 8,192 rows, or one batch)", 1, 1 << 20},
    {"pass-blocks", 0, CLI_INT, &pass_blocks, "N", "blocks taken through the model at once, to bound memory; 0: all", 0,
     1 << 30},
    {"gpu-memory", 0, CLI_SIZE, &gpu_memory, "SIZE",
     "GPU memory to stay below, e.g. 12G; 0: all that is free.\nWhat has no room is read again (weights) or "
     "kept in\nhost memory (layer inputs); results do not depend on it",
     0, 0},
    {"resume", 0, CLI_FLAG, &resume, NULL,
     "where a run was stopped that had other inputs, discard what\nit has done and say so, instead of refusing. What "
     "fits is\nused in any case: a stopped run goes on",
     0, 0},
    {"restart", 0, CLI_FLAG, &restart, NULL, "discard what a stopped run has done", 0, 0},
    {"keep-journal", 0, CLI_FLAG, &keep_journal, NULL, "leave DIR/records.journal when done", 0, 0},
    {"calibrate", 0, CLI_FLAG, &calibrate, NULL, "take the maxima only, into DIR/calibration-I-of-K.journal", 0, 0},
    {"shard", 0, CLI_STRING, &shard, "I/K",
     "do part I of K, 1 to K: of the blocks to calibrate with\n--calibrate, else of those to score, into\n"
     "DIR/part-I-of-K.journal; all parts of --calibrate come\nfirst, and scores-merge puts the others together",
     0, 0},
    {"threads", 'j', CLI_INT, &threads, "N", "threads; 0: all processors. Results do not depend on it", 0, 256},
    {"profile", 0, CLI_FLAG, &show_profile, NULL,
     "print at the end where the time went: time, operations,\nbytes, part of what the device can do, by phase and op",
     0, 0},
    {0},
};

static const struct tool tool = {
    .name = "autoquant-score",
    .summary = "score how much each layer suffers from each quantization pair",
    .usage = "--lm lm.json --calib calib.safetensors --cell PAIR.yaml=DIR [--cell ...]",
    .options = options,
    .operands = "argument",
    .details = "lm.json comes from extract-lm, calib.safetensors from calib-pack. What is done is kept in\n"
               "DIR/records.journal, pass by pass, until scores.json is there; the next run goes on from it.",
    .example = "autoquant-score --lm tmp/lm.json --calib tmp/calib.safetensors "
               "--cell conf/quant_pair/fp8_fp16.yaml=tmp/fp8_fp16",
};

static int parse_cells(struct scores_cell *cell, struct replay_set *set, struct err *e)
{
    for (size_t i = 0; i < cells.n; i++) {
        const char *eq = strrchr(cells.item[i], '=');
        if (!eq || eq == cells.item[i] || !eq[1])
            return err_set(e, ERR_CONFIG, "--cell wants PAIR.yaml=DIR, not '%s'", cells.item[i]);
        char *path = xstrndup(cells.item[i], (size_t)(eq - cells.item[i]));
        const int rc = pair_load(&cell[i].pair, path, e);
        free(path);
        if (rc)
            return -1;
        cell[i].dir = xstrdup(eq + 1);
        if (scores_cell_add(&cell[i], set, split, e))
            return -1;
    }
    return 0;
}

/* Before the work, which may take hours: every directory can be written and belongs to one cell. */
static int check_cells(const struct scores_cell *cell, struct err *e)
{
    struct stat *st = xcalloc(cells.n, sizeof *st); /* of the directories */
    int rc = 0;
    for (size_t i = 0; i < cells.n && !rc; i++) {
        struct io_out out;
        char *path = io_join(cell[i].dir, "scores.json");
        rc = io_out_open(&out, path, e);
        free(path);
        if (rc)
            break;
        io_out_abort(&out);
        if (stat(cell[i].dir, &st[i]))
            rc = err_set(e, ERR_IO, "cannot stat '%s'", cell[i].dir);
        for (size_t k = 0; k < i && !rc; k++)
            if (st[k].st_dev == st[i].st_dev && st[k].st_ino == st[i].st_ino)
                rc = err_set(e, ERR_CONFIG,
                             "pairs '%s' and '%s' would both be written to '%s': give each cell a directory",
                             cell[k].pair.name, cell[i].pair.name, cell[i].dir);
    }
    free(st);
    return rc;
}

/* --shard I/K and --calibrate, which alone is 1/1. */
static int parse_shard(struct scorer_options *o, struct err *e)
{
    int end = 0;
    o->calibrate_only = calibrate;
    o->part = 1;
    o->parts = calibrate;
    if (shard && (sscanf(shard, "%9d/%9d%n", &o->part, &o->parts, &end) != 2 || shard[end] ||
                  strspn(shard, "0123456789/") != strlen(shard) || o->part < 1 || o->part > o->parts))
        return err_set(e, ERR_CONFIG, "--shard wants I/K with I from 1 to K, not '%s'", shard);
    o->part--;
    if (resume && restart)
        return err_set(e, ERR_CONFIG, "--resume keeps what fits, --restart nothing: give one of them");
    return 0;
}

static int check_options(const struct calib *c, struct err *e)
{
    if (strcmp(dtype, "bf16") && strcmp(dtype, "fp32"))
        return err_set(e, ERR_CONFIG, "--dtype is bf16 or fp32, not '%s'", dtype);
    if (strcmp(padding, "reference") && strcmp(padding, "none"))
        return err_set(e, ERR_CONFIG, "--padding is reference or none, not '%s'", padding);
    if (c->sentinels != !strcmp(padding, "reference"))
        return err_set(e, ERR_CONFIG, "'%s' was packed with padding '%s', not '%s': run calib-pack again", calib_path,
                       c->sentinels ? "reference" : "none", padding);
    return 0;
}

/* Before the work: can the backend be used, and where it was not asked for by name, which one is it and why. */
static int check_backend(const struct be_ops *ops, struct err *e)
{
    struct err why;
    struct be_device d;
    if (ops->usable && ops->usable(&why))
        return err_set(e, why.code, "%s; --backend cpu works without one", why.msg);
    if (strcmp(backend, "auto"))
        return 0;
    if (be_auto(&why) == &be_cpu_ops) {
        cli_note("backend cpu: %s", why.msg);
        return 0;
    }
    if (ops->describe(&d, e))
        return -1;
    cli_note("backend %s: %s, %.0f GiB", ops->name, d.name, (double)d.memory / 0x1p30);
    return 0;
}

/* Score, and write what is complete. */
static int score_cells(const struct be_ops *ops, const struct replay_set *set, const struct records_run *run,
                       const struct scores_cell *cell, const struct scorer_store *store, struct err *e)
{
    struct scorer_sample sample = {.calib = run->calib, .set = set, .store = store};
    struct scorer_result *r = &sample.result;
    char started[32];
    const time_t now = time(NULL);
    strftime(started, sizeof started, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    const double begin = cli_seconds();
    if (scorer_run(&sample, 1, ops, run->lm, run->options, e))
        return -1;
    const double seconds = cli_seconds() - begin;
    cli_verbose("backend %s, %d threads: %lld rows calibrated, %lld scored, %d replays in %.2f s; %.3g TFLOP of GEMM, "
                "%.1f GFLOP/s; %.0f MB of buffers",
                ops->name, parallel_threads(), (long long)run->calib->n_rows, (long long)r->n_scored_rows, set->n,
                seconds, r->flops * 1e-12, r->flops / seconds * 1e-9, (double)r->placement.bytes / 1e6);
    const struct scores_source s = {run->lm, run->calib, run->options, r, ops->name, granularity, r->seconds, started};
    int rc = 0;
    for (size_t i = 0; i < cells.n && !rc && !run->options->parts; i++)
        rc = scores_cell_write(&s, &cell[i], e);
    scorer_result_free(r);
    return rc;
}

static int score(const struct be_ops *ops, const struct lm *lm, const struct calib *c, const struct scores_cell *cell,
                 const struct replay_set *set, struct err *e)
{
    if (gpu_memory && !ops->room)
        return err_set(e, ERR_CONFIG, "--gpu-memory limits the memory of a GPU; the backend is %s", ops->name);
    struct records records;
    struct scorer_options o = {.bf16 = !strcmp(dtype, "bf16"),
                               .score_size = (int)score_size,
                               .block_batches = (int)block_batches,
                               .pass_blocks = (int)pass_blocks,
                               .gpu_memory = gpu_memory,
                               .gemm_tables = gemm_tables};
    if (check_options(c, e) || parse_shard(&o, e) || check_backend(ops, e) || check_cells(cell, e))
        return -1;
    const struct be_options opening = {.gemm_tables = gemm_tables};
    char *identity = be_identity(ops, &opening, e);
    if (!identity)
        return -1;
    cli_verbose("%s", identity);
    const struct records_run run = {lm, c, &o, ops->name, identity};
    int rc = records_open(&records, &run, cell, cells.n,
                          restart  ? RECORDS_RESTART
                          : resume ? RECORDS_RESUME
                                   : RECORDS_REFUSE,
                          e);
    if (!rc) {
        records.store.self = &records;
        rc = score_cells(ops, set, &run, cell, &records.store, e);
        if (!rc && !o.parts && !keep_journal)
            rc = records_remove(&records, e);
        records_close(&records);
    }
    free(identity);
    return rc;
}

static int print_line(const char *text, struct err *e)
{
    struct io_out out;
    if (io_out_open(&out, NULL, e))
        return -1;
    fprintf(out.f, "%s\n", text);
    return io_out_commit(&out, e);
}

/* Where the device is not on this machine, but on one that will score, its name is all that can be said. */
static int print_identity(const struct be_ops *ops, struct err *e)
{
    const struct be_options o = {.gemm_tables = gemm_tables};
    struct err why;
    char *text = be_identity(ops, &o, &why);
    if (!text && why.code != ERR_DEVICE) {
        *e = why;
        return -1;
    }
    const int rc = print_line(text ? text : ops->name, e);
    free(text);
    return rc;
}

static int run(const char *const *operand, int n, struct err *e)
{
    (void)operand;
    (void)n;
    const double started = cli_seconds();
    const struct be_ops *ops = be_find(backend, e);
    if (!ops)
        return -1;
    if (print_backend)
        return print_identity(ops, e);
    if (!lm_path || !calib_path || !cells.n)
        return err_set(e, ERR_CONFIG, "--lm, --calib and at least one --cell are needed; see autoquant-score --help");
    parallel_init((int)threads);
    struct scores_cell *cell = xcalloc(cells.n, sizeof *cell);
    struct replay_set set = {0};
    struct lm lm = {0};
    struct calib c = {0};
    ops = show_profile ? profile_ops(ops) : ops;
    int rc = parse_cells(cell, &set, e) || lm_load(&lm, lm_path, e) || calib_load(&c, calib_path, e) ||
                     score(ops, &lm, &c, cell, &set, e)
                 ? -1
                 : 0;
    if (show_profile && !rc)
        profile_print(stderr, started, &set);
    lm_free(&lm);
    calib_free(&c);
    for (size_t i = 0; i < cells.n; i++)
        free(cell[i].dir);
    free(cell);
    return rc;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, run, argc, argv);
}
