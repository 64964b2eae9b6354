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

static const char *lm_path, *backend = "auto", *dtype = "bf16", *padding = "reference";
static const char *granularity = "default", *gemm_tables;
static long score_size = 128, block_batches = 8, pass_blocks = 0, threads = 0;
static struct cli_list calibs, cells, reuse;
static size_t gpu_memory;
static const char *shard;
static bool print_backend, show_profile, split, calibrate, resume, restart, keep_journal;

static const struct cli_option options[] = {
    {"lm", 0, CLI_STRING, &lm_path, "FILE", "lm.json of extract-lm", 0, 0},
    {"calib", 0, CLI_LIST, &calibs, "FILE",
     "calib.safetensors of calib-pack; may be given several times,\n"
     "for cells of several numbers of captions: what these share\nis computed once",
     0, 0},
    {"cell", 0, CLI_LIST, &cells, "[K:]PAIR=DIR",
     "score the pair of file PAIR and write scores.json and\nrecords.safetensors into DIR; may be given many times: "
     "all\n"
     "cells are scored in one pass over the model. K: on the K-th\n--calib, the first if not given",
     0, 0},
    {"reuse", 0, CLI_LIST, &reuse, "DIR",
     "take from DIR/records.safetensors, of other pairs or other\n"
     "numbers of captions, what would be computed again with the\n"
     "same bits: input maxima of equal blocks of captions, and\n"
     "scores that do not depend on the maxima of all captions\n"
     "(or whose maxima are the same); may be given many times,\nwhat does not fit is passed over",
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

/* The cells of one --calib. */
struct sample {
    struct calib calib;
    struct scores_cell *cell;
    size_t n;
    struct replay_set set;
    struct records_run run;
    struct records records;
};

/* [K:]PAIR=DIR; spec is behind K. */
static int parse_cell(struct sample *s, const char *spec, struct err *e)
{
    struct scores_cell *cell = &s->cell[s->n];
    const char *eq = strrchr(spec, '=');
    if (!eq || eq == spec || !eq[1])
        return err_set(e, ERR_CONFIG, "--cell wants PAIR.yaml=DIR, not '%s'", spec);
    char *path = xstrndup(spec, (size_t)(eq - spec));
    const int rc = pair_load(&cell->pair, path, e);
    free(path);
    if (rc)
        return -1;
    cell->dir = xstrdup(eq + 1);
    s->n++;
    return scores_cell_add(cell, &s->set, split, e);
}

static int parse_cells(struct sample *sample, struct err *e)
{
    for (size_t i = 0; i < cells.n; i++) {
        const char *spec = cells.item[i];
        const size_t digits = strspn(spec, "0123456789");
        unsigned long k = 1;
        if (digits && spec[digits] == ':') {
            k = digits < 10 ? strtoul(spec, NULL, 10) : 0;
            spec += digits + 1;
        }
        if (k < 1 || k > calibs.n)
            return err_set(e, ERR_CONFIG, "--cell '%s' is of --calib number %.*s, but %zu %s given", cells.item[i],
                           (int)digits, cells.item[i], calibs.n, calibs.n == 1 ? "is" : "are");
        if (parse_cell(&sample[k - 1], spec, e))
            return -1;
    }
    for (size_t k = 0; k < calibs.n; k++)
        if (!sample[k].n)
            return err_set(e, ERR_CONFIG, "no --cell is of --calib '%s'", calibs.item[k]);
    return 0;
}

/* Before the work, which may take hours: every directory can be written and belongs to one cell. */
static int check_cells(const struct sample *sample, struct err *e)
{
    struct stat *st = xcalloc(cells.n, sizeof *st); /* of the directories */
    const struct scores_cell **seen = xcalloc(cells.n, sizeof *seen);
    size_t n = 0;
    int rc = 0;
    for (size_t s = 0; s < calibs.n; s++)
        for (size_t i = 0; i < sample[s].n && !rc; i++, n++) {
            struct io_out out;
            seen[n] = &sample[s].cell[i];
            char *path = io_join(seen[n]->dir, "scores.json");
            rc = io_out_open(&out, path, e);
            free(path);
            if (rc)
                break;
            io_out_abort(&out);
            if (stat(seen[n]->dir, &st[n]))
                rc = err_set(e, ERR_IO, "cannot stat '%s'", seen[n]->dir);
            for (size_t k = 0; k < n && !rc; k++)
                if (st[k].st_dev == st[n].st_dev && st[k].st_ino == st[n].st_ino)
                    rc = err_set(e, ERR_CONFIG,
                                 "pairs '%s' and '%s' would both be written to '%s': give each cell a directory",
                                 seen[k]->pair.name, seen[n]->pair.name, seen[n]->dir);
        }
    free(seen);
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
    if (o->parts && (calibs.n > 1 || reuse.n))
        return err_set(e, ERR_CONFIG, "--shard and --calibrate are of one --calib, and do not take --reuse");
    return 0;
}

static int check_options(const struct sample *sample, struct err *e)
{
    if (strcmp(dtype, "bf16") && strcmp(dtype, "fp32"))
        return err_set(e, ERR_CONFIG, "--dtype is bf16 or fp32, not '%s'", dtype);
    if (strcmp(padding, "reference") && strcmp(padding, "none"))
        return err_set(e, ERR_CONFIG, "--padding is reference or none, not '%s'", padding);
    for (size_t i = 0; i < calibs.n; i++)
        if (sample[i].calib.sentinels != !strcmp(padding, "reference"))
            return err_set(e, ERR_CONFIG, "'%s' was packed with padding '%s', not '%s': run calib-pack again",
                           calibs.item[i], sample[i].calib.sentinels ? "reference" : "none", padding);
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

/* Each result, as a run of its own would have it. */
static int write_sample(const struct be_ops *ops, const struct sample *s, struct scorer_result *r, const char *started,
                        struct err *e)
{
    const struct records_run *run = &s->run;
    char *gemm;
    if (scorer_result_gemm(&gemm, r, ops, run->lm, run->calib, run->options->bf16, e))
        return -1;
    free(r->gemm);
    r->gemm = gemm;
    const struct scores_source source = {run->lm,       run->calib,  run->options, r,      run->backend,
                                         run->identity, granularity, r->seconds,   started};
    for (size_t i = 0; i < s->n; i++)
        if (scores_cell_write(&source, &s->cell[i], e))
            return -1;
    return 0;
}

/* Score, and write what is complete. */
static int score_samples(const struct be_ops *ops, const struct sample *sample, const struct scorer_options *o,
                         struct err *e)
{
    struct scorer_sample *run = xcalloc(calibs.n, sizeof *run);
    char started[32];
    const time_t now = time(NULL);
    strftime(started, sizeof started, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    const double begin = cli_seconds();
    for (size_t i = 0; i < calibs.n; i++)
        run[i] = (struct scorer_sample){
            .calib = &sample[i].calib, .set = &sample[i].set, .store = &sample[i].records.store};
    int rc = scorer_run(run, (int)calibs.n, ops, sample->run.lm, o, e);
    const double seconds = cli_seconds() - begin;
    for (size_t i = 0; i < calibs.n && !rc; i++) {
        struct scorer_result *r = &run[i].result;
        cli_verbose("backend %s, %d threads: %lld rows calibrated, %lld scored, %d replays in %.2f s; %.3g TFLOP of "
                    "GEMM, %.1f GFLOP/s; %.0f MB of buffers",
                    ops->name, parallel_threads(), (long long)sample[i].calib.n_rows, (long long)r->n_scored_rows,
                    sample[i].set.n, seconds, r->flops * 1e-12, r->flops / seconds * 1e-9,
                    (double)r->placement.bytes / 1e6);
        if (!o->parts)
            rc = write_sample(ops, &sample[i], r, started, e);
    }
    for (size_t i = 0; i < calibs.n; i++)
        scorer_result_free(&run[i].result);
    free(run);
    return rc;
}

/* The journals of all cells. */
static int open_records(struct sample *sample, const struct lm *lm, const struct be_ops *ops,
                        const struct scorer_options *o, const char *identity, struct err *e)
{
    const enum records_policy policy = restart ? RECORDS_RESTART : resume ? RECORDS_RESUME : RECORDS_REFUSE;
    for (size_t i = 0; i < calibs.n; i++) {
        struct sample *s = &sample[i];
        s->run = (struct records_run){lm, &s->calib, o, ops->name, identity};
        if (records_open(&s->records, &s->run, s->cell, s->n, policy, e))
            return -1;
        s->records.store.self = &s->records;
        s->records.reuse = reuse.item;
        s->records.n_reuse = reuse.n;
        s->records.set = &s->set;
    }
    return 0;
}

static int score(const struct be_ops *ops, const struct lm *lm, struct sample *sample, struct err *e)
{
    if (gpu_memory && !ops->room)
        return err_set(e, ERR_CONFIG, "--gpu-memory limits the memory of a GPU; the backend is %s", ops->name);
    struct scorer_options o = {.bf16 = !strcmp(dtype, "bf16"),
                               .score_size = (int)score_size,
                               .block_batches = (int)block_batches,
                               .pass_blocks = (int)pass_blocks,
                               .gpu_memory = gpu_memory,
                               .gemm_tables = gemm_tables};
    if (check_options(sample, e) || parse_shard(&o, e) || check_backend(ops, e) || check_cells(sample, e))
        return -1;
    const struct be_options opening = {.gemm_tables = gemm_tables};
    char *identity = be_identity(ops, &opening, e);
    if (!identity)
        return -1;
    cli_verbose("%s", identity);
    int rc = open_records(sample, lm, ops, &o, identity, e) || score_samples(ops, sample, &o, e) ? -1 : 0;
    for (size_t i = 0; i < calibs.n; i++) {
        if (!rc && !o.parts && !keep_journal)
            rc = records_remove(&sample[i].records, e);
        records_close(&sample[i].records);
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

static int print_profile(const struct sample *sample, double started, struct err *e)
{
    struct replay_set all = {0}; /* as the scorer has them */
    int map[REPLAY_MAX_QUANTIZERS];
    for (size_t i = 0; i < calibs.n; i++)
        if (replay_join(&all, &sample[i].set, (int)i, map, e))
            return -1;
    profile_print(stderr, started, &all);
    return 0;
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
    if (!lm_path || !calibs.n || !cells.n)
        return err_set(e, ERR_CONFIG, "--lm, --calib and at least one --cell are needed; see autoquant-score --help");
    parallel_init((int)threads);
    struct sample *sample = xcalloc(calibs.n, sizeof *sample);
    for (size_t i = 0; i < calibs.n; i++)
        sample[i].cell = xcalloc(cells.n, sizeof *sample->cell);
    struct lm lm = {0};
    ops = show_profile ? profile_ops(ops) : ops;
    int rc = parse_cells(sample, e) || lm_load(&lm, lm_path, e) ? -1 : 0;
    for (size_t i = 0; i < calibs.n && !rc; i++)
        rc = calib_load(&sample[i].calib, calibs.item[i], e);
    if (!rc)
        rc = score(ops, &lm, sample, e);
    if (show_profile && !rc)
        rc = print_profile(sample, started, e);
    lm_free(&lm);
    for (size_t i = 0; i < calibs.n; i++) {
        calib_free(&sample[i].calib);
        for (size_t k = 0; k < sample[i].n; k++)
            free(sample[i].cell[k].dir);
        free(sample[i].cell);
    }
    free(sample);
    return rc;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, run, argc, argv);
}
