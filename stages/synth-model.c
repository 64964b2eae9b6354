/* synth-model - a random Qwen3-VL checkpoint in Hugging Face layout, for benchmarks and tests of any size. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "parallel.h"
#include "synth.h"

static const char *size = "tiny", *output, *dtype = "bf16", *tokenizer_from;
static struct cli_list set;
static long seed = 1, shards = 1, threads;
static bool untied, rope_parameters, force;

static const struct cli_option options[] = {
    {"output", 'o', CLI_STRING, &output, "DIR", "the new model's directory (required)", 0, 0},
    {"size", 0, CLI_STRING, &size, "NAME",
     "tiny, 0.3b, 2b, 4b, 8b or 32b: the sizes of the published\nmodels from 2b on", 0, 0},
    {"set", 0, CLI_LIST, &set, "KEY=VALUE",
     "change a key of config.json (repeatable): num_hidden_layers=4,\nvision_config.depth=3", 0, 0},
    {"dtype", 0, CLI_STRING, &dtype, "TYPE", "bf16, f16 or f32", 0, 0},
    {"seed", 0, CLI_INT, &seed, "N", "equal seeds give equal bytes", 0, 1L << 53},
    {"shards", 0, CLI_INT, &shards, "N", "files for the weights; more than one with an index", 1, 4096},
    {"untied", 0, CLI_FLAG, &untied, NULL, "give lm_head weights of its own", 0, 0},
    {"rope-parameters", 0, CLI_FLAG, &rope_parameters, NULL, "write rope_parameters, as transformers 5 does", 0, 0},
    {"tokenizer-from", 0, CLI_STRING, &tokenizer_from, "DIR", "copy the tokenizer files of this model", 0, 0},
    {"force", 'f', CLI_FLAG, &force, NULL, "replace a model that DIR holds already", 0, 0},
    {"threads", 'j', CLI_INT, &threads, "N", "threads; 0 = all of this process", 0, 256},
    {NULL, 0, CLI_FLAG, NULL, NULL, NULL, 0, 0},
};

static const struct tool tool = {
    .name = "synth-model",
    .summary = "write a random Qwen3-VL checkpoint, vision tower included",
    .usage = "[options] -o DIR",
    .details =
        "The weights are random with outlier channels as trained models have them, and finite in bf16 at any depth.\n"
        "They depend on the seed alone, not on threads or shards. config.json is written last: a directory that has\n"
        "one is complete. With --tokenizer-from models/tiny_qwen3_vl any vocabulary of 2,048 or more works.",
    .example = "synth-model --size tiny --seed 7 --force -o tmp/synth",
    .operands = "argument",
    .min_operands = 0,
    .max_operands = 0,
    .options = options,
};

static void step(void *arg, double bytes)
{
    cli_progress_step(arg, bytes / 1e9);
}

static int parse_dtype(enum dtype *t, struct err *e)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } types[] = {{"bf16", DT_BF16}, {"f16", DT_F16}, {"f32", DT_F32}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(dtype, types[i].name)) {
            *t = types[i].dtype;
            return 0;
        }
    return err_set(e, ERR_CONFIG, "option --dtype wants bf16, f16 or f32, not '%s'", dtype);
}

static int write_model(const json_t *config, const struct synth_options *o, struct err *e)
{
    uint64_t bytes;
    struct cli_progress p;
    if (synth_bytes(config, o, &bytes, e))
        return -1;
    const double started = cli_seconds();
    cli_progress_start(&p, "write", "GB", (double)bytes / 1e9);
    const int rc = synth_write(config, o, output, step, &p, e);
    cli_progress_end(&p);
    const double seconds = cli_seconds() - started;
    if (!rc)
        cli_verbose("%.3g GB written in %.2f s, %.3g GB/s", (double)bytes / 1e9, seconds,
                    (double)bytes / 1e9 / seconds);
    return rc;
}

static int run(const char *const *operand, int n, struct err *e)
{
    (void)operand;
    (void)n;
    struct synth_options o = {.size = size, .set = set.item, .n_sets = set.n, .untied = untied, .n_shards = (int)shards,
                              .rope_parameters = rope_parameters, .force = force,
                              .tokenizer_from = tokenizer_from, .seed = (uint64_t)seed};
    if (!output)
        return err_set(e, ERR_CONFIG, "missing option -o DIR; usage: synth-model %s", tool.usage);
    if (parse_dtype(&o.dtype, e))
        return -1;
    parallel_init((int)threads);
    json_t *config = synth_config(&o, e);
    const int rc = !config || write_model(config, &o, e) ? -1 : 0;
    json_decref(config);
    return rc;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, run, argc, argv);
}
