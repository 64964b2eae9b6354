/* Building manifests and reading them back: ours, the reference's, and those that contradict themselves. */
#include "manifest.h"

#include "edit.h"
#include "manifest_build.h"
#include "tap.h"

static const char sample[] = "tests/fixtures/manifest/fp4_fp8.json";

static void test_sample(void)
{
    struct manifest m;
    struct err e = {0};
    if (!ok(!manifest_load(&m, sample, &e), "the sample is read %s", e.msg))
        return;
    is_str(m.scheme, "wfp4_afp8_autoquant_lm", "scheme");
    is_str(m.model_id, "tiny_qwen3_vl", "model");
    ok(m.auto_quantize_bits == 9.949717948717948, "adjusted bits are ModelOpt's for this model");
    ok(m.score == 0.01710894814641506 && m.effective_bits == 9.897435897435898 && m.is_satisfied,
       "the recipe's numbers");
    ok(m.table.n == 40 && m.dataset && m.quantization && m.run_config && m.qsens, "groups and sections");
    const struct sens_row *first = &m.table.row[0], *last = &m.table.row[m.table.n - 1];
    is_str(first->name, "model.visual.patch_embed.proj", "vision comes first");
    ok(first->n_formats == 1 && first->rank == 1 && first->importance == 0,
       "vision units have NONE alone and the first ranks");
    is_str(last->name, "lm_head", "lm_head comes last");
    ok(last->n_formats == 2 && sens_cost(last, 0) == 67584 && sens_cost(last, 1) == 270336,
       "costs count weights and bits");
    ok(m.table.row[m.table.ascending[39]].rank == 40, "the most sensitive has the last rank");
    manifest_free(&m);
}

static void test_wrong(void)
{
    static const struct {
        const char *name, *from, *to, *part;
    } row[] = {
        {"not an object", "{", "[{", "not valid JSON"},
        {"no scheme", "\"scheme\"", "\"skeme\"", "missing key 'scheme'"},
        {"a lie about the layers", "\"num_quantized_layers\": 58", "\"num_quantized_layers\": 57", "layers has 58"},
        {"bits out of range", "\"auto_quantize_bits\": 9.949717948717948", "\"auto_quantize_bits\": 1e300",
         "between 0 and 16"},
        {"effective bits out of range", "\"effective_bits\": 9.897435897435898", "\"effective_bits\": -1",
         "between 0 and 16"},
        {"a total above all scores", "\"score\": 0.01710894814641506,\n    \"is", "\"score\": 9.0,\n    \"is",
         "lies from 0 to"},
        {"a total that the recipe does not have", "\"score\": 0.01710894814641506,\n    \"is",
         "\"score\": 0.02,\n    \"is", "the recipe's groups score"},
        {"a lie about importance", "\"importance\": 0.03166464030800853", "\"importance\": 0.05", "largest score"},
        {"a lie about rank", "\"rank\": 40", "\"rank\": 39", "by its importance it is 40"},
        {"a rank beyond the groups", "\"rank\": 40", "\"rank\": 41", "allowed are 1 to 40"},
        {"lists of unequal length", "\"scores\": [\n        0.0\n      ]", "\"scores\": [\n        0.0, 0.0\n      ]",
         "as many of each"},
        {"a negative score", "0.03166464030800853,\n        0.0", "-1.0,\n        0.0",
         "score 1 is not a number from 0"},
        {"a huge score", "0.03166464030800853,\n        0.0", "1e200,\n        0.0", "score 1 is not a number from 0"},
        {"a NaN score", "0.03166464030800853,\n        0.0", "NaN,\n        0.0", "not valid JSON"},
        {"a score that is text", "0.03166464030800853,\n        0.0", "\"x\",\n        0.0", "score 1 is not a number"},
        {"a cost that does not follow", "8192.0,\n        32768.0", "8193.0,\n        32768.0",
         "weights of 4 bits cost 8192"},
        {"weights that are no whole number", "8192.0,\n        32768.0", "8192.0,\n        32768.5",
         "number of weights"},
        {"a format without bits", "W4A8_NVFP4_FP8_CFG(effective-bits: 4.0)", "W4A8_NVFP4_FP8_CFG", "must read like"},
        {"a format of 0 bits", "W4A8_NVFP4_FP8_CFG(effective-bits: 4.0)", "W4A8(effective-bits: 0)",
         "between 0 and 16"},
        {"NONE in front", "W4A8_NVFP4_FP8_CFG(effective-bits: 4.0)", "NONE(effective-bits: 16.0)", "end with NONE"},
        {"a name without its ending", "lm_head.quant_recipe\": {", "lm_head\": {", "must end with"},
        {"a ranking of other groups", "\"name\": \"lm_head.quant_recipe\"", "\"name\": \"lm_heed.quant_recipe\"",
         "by importance"},
        {"a dataset that is a list", "\"dataset\": {", "\"dataset\": [], \"other\": {", "'dataset' must be an object"},
        {"qsens of another version", "\"qsens\": {\n    \"version\": 1", "\"qsens\": {\n    \"version\": 9",
         "'version' is 9"},
        {"qsens with another score", "\"weights\": 32768,\n        \"score\": 0.03166464030800853",
         "\"weights\": 32768,\n        \"score\": 0.5", "in layer_sensitivity the score is"},
        {"qsens with other weights", "\"weights\": 32768,\n        \"score\": 0.03166464030800853",
         "\"weights\": 32769,\n        \"score\": 0.03166464030800853", "the weights are 32768"},
        {"members that score more than their group", "\"score\": 0.015832320154004265", "\"score\": 0.02",
         "members' scores add up to"},
        {"a member below 0", "\"score\": 0.015832320154004265", "\"score\": -0.02", "a score below 0"},
        {"members with more weights", "\"weights\": 16384,\n            \"score\": 0.01583",
         "\"weights\": 16385,\n            \"score\": 0.01583", "members have 32769 weights"},
        {"a total that is not that of the groups", "\"score\": 0.09887691268886556", "\"score\": 0.1",
         "groups' scores add up to"},
        {"effective bits that the recipe does not have", "\"effective_bits\": 9.897435897435898",
         "\"effective_bits\": 9.8", "the recipe has 9.897435897435"},
        {"a recipe over its budget", "\"auto_quantize_bits\": 9.949717948717948", "\"auto_quantize_bits\": 9.0",
         "is_satisfied is true"},
        {"another budget", "\"adjusted_bits\": 9.949717948717948", "\"adjusted_bits\": 9.95", "recipe's budget is 9.9"},
        {"a recipe that fits and says it does not", "\"is_satisfied\": true", "\"is_satisfied\": false",
         "is_satisfied is false with"},
        {"a bound above the score", "\"bound\": 0.0168", "\"bound\": 0.0268", "below its lower bound"},
        {"a gap that does not follow", "\"gap\": 0.0002", "\"gap\": 0.0003", "score - bound is"},
        {"a pair that is not the run's", "\"lm_head\": \"fp4_fp8\"", "\"lm_head\": \"fp8_fp8\"",
         "neither the pair nor NONE"},
        {"bits that are not the pair's", "\"bits\": 4,", "\"bits\": 8,", "its format is not the pair's"},
        {"a recipe that leaves a group out", "\"lm_head\": \"fp4_fp8\"", "\"lm_heed\": \"fp4_fp8\"",
         "missing key 'lm_head'"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct manifest m;
        struct err e = {0};
        char *text = edited(sample, row[i].from, row[i].to);
        const int rc = text ? manifest_parse(&m, text, strlen(text), "x.json", &e) : 0;
        ok(rc == -1 && e.code == ERR_FORMAT && strstr(e.msg, row[i].part) && strstr(e.msg, "x.json"), "%s: %s",
           row[i].name, e.msg);
        free(text);
    }
    struct manifest m;
    struct err e = {0};
    ok(manifest_parse(&m, "[]", 2, "x.json", &e) == -1 && e.code == ERR_FORMAT, "a list: %s", e.msg);
    ok(manifest_load(&m, "tests/no-such-file.json", &e) == -1 && e.code == ERR_IO, "a missing file: %s", e.msg);
}

/* ---- building ---- */

/* The units and groups of the sample's model, read back from the sample. */
static void lm_from_sample(struct lm *lm, const struct manifest *m, char *weights_sha256)
{
    *lm = (struct lm){.name = (char *)(uintptr_t) "tiny_qwen3_vl", .path = (char *)(uintptr_t) "tiny_qwen3_vl"};
    const json_t *layers = json_object_get(m->doc, "layers");
    lm->unit = xcalloc(json_object_size(layers), sizeof *lm->unit);
    lm->group = xcalloc((size_t)m->table.n, sizeof *lm->group);
    const char *name;
    json_t *o;
    json_object_foreach((json_t *)(uintptr_t)layers, name, o)
    {
        struct lm_unit *u = &lm->unit[lm->n_units++];
        u->name = (char *)(uintptr_t)name;
        u->module_type = (char *)(uintptr_t)json_string_value(json_object_get(o, "module_type"));
    }
    for (int i = 0; i < m->table.n; i++)
        lm->group[lm->n_groups++] = (struct lm_group){
            .name = m->table.row[i].name, .is_lm = m->table.row[i].n_formats > 1, .weights = m->table.row[i].weights};
    snprintf(lm->weights_sha256, sizeof lm->weights_sha256, "%s", weights_sha256);
}

static void test_build(void)
{
    static const char path[] = "tests/fixtures/manifest/scores.fp4_fp8.json";
    struct err e = {0};
    struct manifest m;
    struct scores s;
    struct lm lm;
    if (!ok(!manifest_load(&m, sample, &e) && !scores_load(&s, path, &e), "sample and scores %s", e.msg))
        return;
    char *sha = xstrdup(json_string_value(json_object_get(json_object_get(s.doc, "inputs"), "weights_sha256")));
    lm_from_sample(&lm, &m, sha);
    struct manifest_options o = {.bits = 8,
                                 .score_size = 128,
                                 .dataset_name = "coco2017_captions",
                                 .dataset_size = "medium",
                                 .dataset_root = "datasets",
                                 .max_samples = 128};
    json_t *doc = manifest_build(&lm, "lm.json", &s, path, &o, &e);
    ok(doc != NULL, "built %s", e.msg);
    char *text = NULL, *want = NULL;
    size_t n = 0, n_want = 0;
    FILE *f = open_memstream(&text, &n);
    json_print(f, doc, 2);
    fclose(f);
    ok(!io_read(sample, 1 << 20, &want, &n_want, &e) && n == n_want && !memcmp(text, want, n),
       "to the byte the sample");
    free(text);
    free(want);
    json_decref(doc);

    static const struct {
        const char *name, *part;
        struct manifest_options o;
    } row[] = {
        {"bits out of reach", "reaches 4 to 16", {.bits = 17}},
        {"overrides that are no JSON", "JSON object: ", {.bits = 8, .overrides = "{"}},
        {"overrides that are a list", "wants a JSON object", {.bits = 8, .overrides = "[]"}},
        {"a name that is not UTF-8", "--scheme is not valid UTF-8", {.bits = 8, .scheme = "\xff"}},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        json_t *bad = manifest_build(&lm, "lm.json", &s, path, &row[i].o, &e);
        ok(!bad && e.code == ERR_CONFIG && strstr(e.msg, row[i].part), "%s: %s", row[i].name, e.msg);
        json_decref(bad);
    }
    lm.weights_sha256[0] ^= 1;
    ok(!manifest_build(&lm, "lm.json", &s, path, &o, &e) && e.code == ERR_CONFIG && strstr(e.msg, "weights_sha256"),
       "scores of other weights: %s", e.msg);
    free(sha);
    free(lm.unit);
    free(lm.group);
    scores_free(&s);
    manifest_free(&m);
}

/* ---- the shape of the reference's ---- */

/* The members of a map from names to equal things are compared by their first. */
static bool is_map(const char *key)
{
    return !strcmp(key, "layers") || !strcmp(key, "layer_sensitivity");
}

/* Every key of ref is in ours, in the same order and of the same type, at every level. */
static bool same_shape(const json_t *ref, const json_t *ours, const char *where)
{
    if (json_typeof(ref) != json_typeof(ours) && !(json_is_boolean(ref) && json_is_boolean(ours))) {
        diag("%s is of another type", where);
        return false;
    }
    if (json_is_array(ref))
        return !json_array_size(ref) || same_shape(json_array_get(ref, 0), json_array_get(ours, 0), where);
    void *at = json_object_iter((json_t *)(uintptr_t)ours);
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)ref, key, v)
    {
        while (at && !is_map(where) && strcmp(json_object_iter_key(at), key))
            at = json_object_iter_next((json_t *)(uintptr_t)ours, at);
        if (!at) {
            diag("%s: '%s' is missing or out of order", where, key);
            return false;
        }
        if (!same_shape(v, json_object_iter_value(at), key))
            return false;
        if (is_map(where))
            return true;
    }
    return true;
}

static void test_shape(void)
{
    static const char path[] = "../shared/data/published/wint8_aint8/wint8_aint8_autoquant_lm_quant_manifest.json";
    struct err e = {0};
    struct manifest ref, ours;
    if (manifest_load(&ref, path, &e)) {
        ok(e.code == ERR_IO, "a published manifest # SKIP %s", e.msg);
        return;
    }
    if (ok(!manifest_load(&ours, sample, &e), "the sample is read %s", e.msg)) {
        ok(same_shape(ref.doc, ours.doc, "manifest"), "keys, their order and types are those of a published manifest");
        manifest_free(&ours);
    }
    manifest_free(&ref);
}

int main(void)
{
    test_sample();
    test_shape();
    test_wrong();
    test_build();
    return done();
}
