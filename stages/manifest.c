/* manifest - the document of one run: scores, ranks, the searched recipe, and what they came from. */
#include "cli.h"
#include "io.h"
#include "manifest_build.h"

static const char *lm_path, *out_path;
static struct manifest_options o = {.bits = 8, .score_size = 128};

static const struct cli_option options[] = {
    {"lm", 'l', CLI_STRING, &lm_path, "FILE", "lm.json of the model (needed)", 0, 0},
    {"bits", 'b', CLI_REAL, &o.bits, "BITS", "effective bits the recipe may have, on average over the weights", 0, 0},
    {"exact-bits", 0, CLI_FLAG, &o.exact_bits, NULL,
     "BITS holds for all weights, vision included; without this option it holds\n"
     "for the weights that can be quantized, and is raised for the others",
     0, 0},
    {"scheme", 0, CLI_STRING, &o.scheme, "NAME",
     "name of the scheme (w<weight>_a<activation>_autoquant_lm if not given)", 0, 0},
    {"model-id", 0, CLI_STRING, &o.model_id, "TEXT", "what to call the model (its path if not given)", 0, 0},
    {"score-size", 0, CLI_INT, &o.score_size, "N", "sequences to score, as configured", 1, 1L << 30},
    {"dataset-name", 0, CLI_STRING, &o.dataset_name, "NAME", "name of the dataset", 0, 0},
    {"dataset-size", 0, CLI_STRING, &o.dataset_size, "NAME", "name of its size: small, medium, large", 0, 0},
    {"dataset-root", 0, CLI_STRING, &o.dataset_root, "DIR", "where the dataset lies", 0, 0},
    {"captions", 0, CLI_STRING, &o.captions, "FILE", "captions file (the one the scores name if not given)", 0, 0},
    {"max-samples", 0, CLI_INT, &o.max_samples, "N", "captions that were asked for; 0 leaves it out", 0, 1L << 30},
    {"overrides", 0, CLI_STRING, &o.overrides, "JSON",
     "quantizer settings that the granularity changes ({} if not given)", 0, 0},
    {"composed", 0, CLI_STRING, &o.composed, "FILE",
     "configuration of the run, relative to the manifest\n(composed-config.yaml if not given)", 0, 0},
    {"output", 'o', CLI_STRING, &out_path, "FILE", "manifest to write (standard output if not given)", 0, 0},
    {NULL, 0, CLI_FLAG, NULL, NULL, NULL, 0, 0},
};

static const struct tool tool = {
    .name = "manifest",
    .summary = "scores.json and lm.json to the manifest of the run, recipe included",
    .usage = "[options] --lm FILE SCORES",
    .details =
        "The keys are those of the reference stack's quant_manifest.json; what has no place there (members of fused\n"
        "groups, hashes of the inputs, the recipe) stands under `qsens`. The same inputs give the same bytes.",
    .example = "manifest --lm tmp/lm.json tests/fixtures/manifest/scores.fp4_fp8.json",
    .operands = "scores file",
    .min_operands = 1,
    .max_operands = 1,
    .options = options,
};

static int write_manifest(const json_t *doc, struct err *e)
{
    struct io_out out;
    if (io_out_open(&out, out_path, e))
        return -1;
    json_print(out.f, doc, 2);
    return io_out_commit(&out, e);
}

static int run(const char *const *operand, int n, struct err *e)
{
    (void)n;
    if (!lm_path)
        return err_set(e, ERR_CONFIG, "the model's units are needed: give --lm lm.json");
    struct lm lm;
    if (lm_load(&lm, lm_path, e))
        return -1;
    struct scores s;
    int rc = scores_load(&s, operand[0], e);
    if (!rc) {
        json_t *doc = manifest_build(&lm, lm_path, &s, operand[0], &o, e);
        rc = doc ? write_manifest(doc, e) : -1;
        if (!rc && !json_is_true(json_object_get(json_object_get(doc, "autoquant_state"), "is_satisfied")))
            cli_note("no recipe fits into %g effective bits: the manifest holds the cheapest one and says "
                     "is_satisfied: false",
                     o.bits);
        json_decref(doc);
        scores_free(&s);
    }
    lm_free(&lm);
    return rc;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, run, argc, argv);
}
