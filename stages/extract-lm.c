/* extract-lm - finds the language model in a Hugging Face Qwen3-VL checkpoint. See lm.h for lm.json. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint.h"
#include "cli.h"
#include "hf_config.h"
#include "io.h"
#include "lm_extract.h"
#include "lm_materialize.h"
#include "lm_write.h"
#include "mem.h"
#include "parallel.h"

static const char *output, *materialize, *name;
static bool rehash;
static long threads;

static const struct cli_option options[] = {
    {"output", 'o', CLI_STRING, &output, "FILE", "write lm.json here instead of standard output", 0, 0},
    {"materialize", 0, CLI_STRING, &materialize, "DIR",
     "also write the language model alone, as a plain Qwen3\n"
     "checkpoint (model.safetensors, config.json, tokenizer)",
     0, 0},
    {"name", 0, CLI_STRING, &name, "NAME", "what to call the model (the last part of MODEL_DIR if not given)", 0, 0},
    {"rehash", 0, CLI_FLAG, &rehash, NULL, "read all weights, even if the old FILE knows their hashes", 0, 0},
    {"threads", 'j', CLI_INT, &threads, "N", "threads; 0 = all of this process", 0, 256},
    {NULL, 0, CLI_FLAG, NULL, NULL, NULL, 0, 0},
};

static const struct tool tool = {
    .name = "extract-lm",
    .summary = "read a Qwen3-VL checkpoint, write lm.json: its language model's tensors and units",
    .usage = "[options] MODEL_DIR",
    .details =
        "MODEL_DIR holds config.json and model.safetensors, or shards with model.safetensors.index.json. Dense\n"
        "Qwen3-VL with BF16, F16 or F32 weights. No weights are copied: lm.json says where they lie. Every weight is\n"
        "read once, hashed and checked to be finite; a second run over the same files takes the hashes from FILE.",
    .example = "extract-lm -o tmp/lm.json models/tiny_qwen3_vl",
    .operands = "model directory",
    .min_operands = 1,
    .max_operands = 1,
    .options = options,
};

static void step(void *arg, double bytes)
{
    cli_progress_step(arg, bytes / 1e9);
}

/* An lm.json that is not there, or not readable any more, is only a cache miss. */
static void reuse_hashes(struct lm *m)
{
    struct lm old;
    struct err e;
    if (rehash || !output || !strcmp(output, "-") || access(output, F_OK) != 0)
        return;
    if (lm_load(&old, output, &e)) {
        cli_verbose("hashes are not reused: %s", e.msg);
        return;
    }
    lm_reuse_hashes(m, &old);
    lm_free(&old);
}

static int hash(struct lm *m, const struct checkpoint *c, struct err *e)
{
    reuse_hashes(m);
    struct cli_progress p;
    const double bytes = (double)lm_unhashed_bytes(m), started = cli_seconds();
    cli_progress_start(&p, "hash", "GB", bytes / 1e9);
    const int rc = lm_hash(m, c, step, &p, e);
    cli_progress_end(&p);
    const double seconds = cli_seconds() - started;
    if (!rc && bytes > 0)
        cli_verbose("%.3g GB hashed in %.2f s, %.3g GB/s", bytes / 1e9, seconds, bytes / 1e9 / seconds);
    else if (!rc)
        cli_verbose("hashes reused, no weights read");
    return rc;
}

static int check_path(const struct lm *m, struct err *e)
{
    json_t *path = json_string(m->path), *model = json_string(m->name), *file = json_string(m->file[0].path);
    int rc = 0;
    if (!path || !model || !file)
        rc = err_set(e, ERR_CONFIG, "the path of '%s' is not UTF-8, lm.json cannot hold it", m->path);
    json_decref(path);
    json_decref(model);
    json_decref(file);
    return rc;
}

static void report(const struct lm *m, const struct hf_config *config, const struct checkpoint *c)
{
    int n_vision = m->n_units - lm_unit_count(&m->config);
    cli_verbose("%d layers, %d tensors, %d units in %d groups", m->config.n_layers, m->n_tensors, m->n_units,
                m->n_groups);
    if (!n_vision)
        cli_verbose("the checkpoint has no vision tower: budgets count the language model only");
    if (config->tie == HF_TIED && checkpoint_find(c, "lm_head.weight"))
        cli_verbose("lm_head.weight is ignored: config.json ties it to the embedding");
}

static int write_json(struct lm *m, struct err *e)
{
    struct io_out out;
    if (io_out_open(&out, output, e))
        return -1;
    lm_write(m, out.f);
    return io_out_commit(&out, e);
}

static int run(const char *const *operand, int n, struct err *e)
{
    (void)n;
    struct hf_config config;
    struct checkpoint c = {0};
    struct lm m = {0};
    parallel_init((int)threads);
    if (hf_config_load(&config, operand[0], e) || checkpoint_open(&c, operand[0], e))
        return -1;
    int rc = lm_extract(&m, &config, &c, operand[0], e);
    if (!rc && name) {
        free(m.name);
        m.name = xstrdup(name);
    }
    if (!rc) {
        report(&m, &config, &c);
        rc = check_path(&m, e) || hash(&m, &c, e) || (materialize && lm_materialize(&m, &c, materialize, e)) ||
                     write_json(&m, e)
                 ? -1
                 : 0;
        lm_free(&m);
    }
    checkpoint_close(&c);
    return rc;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, run, argc, argv);
}
