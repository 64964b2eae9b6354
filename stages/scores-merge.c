/* scores-merge: lm.json + calib.safetensors + a pair + the parts of its scores -> scores.json, records.safetensors. */
#include <stdlib.h>
#include <time.h>

#include "cli.h"
#include "mem.h"
#include "records.h"

static const char *lm_path, *calib_path, *pair_path, *dir, *granularity = "default";

static const struct cli_option options[] = {
    {"lm", 0, CLI_STRING, &lm_path, "FILE", "lm.json of extract-lm", 0, 0},
    {"calib", 0, CLI_STRING, &calib_path, "FILE", "calib.safetensors of calib-pack", 0, 0},
    {"pair", 0, CLI_STRING, &pair_path, "FILE", "the pair that was scored", 0, 0},
    {"granularity", 0, CLI_STRING, &granularity, "NAME", "name of the granularity overlay, recorded as it is", 0, 0},
    {"output", 'o', CLI_STRING, &dir, "DIR", "where scores.json and records.safetensors go", 0, 0},
    {0},
};

static const struct tool tool = {
    .name = "scores-merge",
    .summary = "put the parts of `autoquant-score --shard` together",
    .usage = "--lm lm.json --calib calib.safetensors --pair PAIR.yaml -o DIR PART...",
    .options = options,
    .operands = "part",
    .min_operands = 1,
    .max_operands = INT_MAX,
    .details =
        "Any order of the parts gives the bytes of a run that was never parted, but for the field `run`. Parts of\n"
        "different inputs, parts that overlap and parts that leave a hole are refused.",
    .example = "scores-merge --lm tmp/lm.json --calib tmp/calib.safetensors --pair conf/quant_pair/fp8_fp16.yaml "
               "-o tmp tmp/part-*",
};

static int merge(const struct lm *lm, const struct calib *c, struct scores_cell *cell, const char *const *part, int n,
                 struct err *e)
{
    struct records_merged m;
    char started[32];
    const time_t now = time(NULL);
    strftime(started, sizeof started, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    if (records_merge(&m, lm, c, cell, part, (size_t)n, e))
        return -1;
    const struct scores_source s = {lm,         c,           &m.options,         &m.result, m.backend, m.identity,
                                    granularity, m.result.seconds, started};
    const int rc = scores_cell_write(&s, cell, e);
    records_merged_free(&m);
    return rc;
}

static int run(const char *const *operand, int n, struct err *e)
{
    if (!lm_path || !calib_path || !pair_path || !dir)
        return err_set(e, ERR_CONFIG, "--lm, --calib, --pair and --output are needed; see scores-merge --help");
    struct scores_cell cell = {.dir = xstrdup(dir)};
    struct lm lm = {0};
    struct calib c = {0};
    const int rc = pair_load(&cell.pair, pair_path, e) || lm_load(&lm, lm_path, e) || calib_load(&c, calib_path, e) ||
                           merge(&lm, &c, &cell, operand, n, e)
                       ? -1
                       : 0;
    lm_free(&lm);
    calib_free(&c);
    free(cell.dir);
    return rc;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, run, argc, argv);
}
