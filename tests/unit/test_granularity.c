/* granularity: every pair under every overlay of conf/, the reference's names and refusals, overlays with one fault. */
#include <dirent.h>

#include "granularity.h"
#include "json.h"
#include "mem.h"
#include "tap.h"

static const char *const pairs[] = {"fp4_fp8",  "fp4_fp16",  "fp4_int8",  "fp4_int4",   "mxfp4_fp8", "mxfp4_fp16",
                                    "fp8_fp8",  "fp8_fp16",  "fp8_int8",  "fp8_int4",   "int8_fp8",  "int8_fp16",
                                    "int8_int8", "int8_int4", "int4_fp16", "int4_fp8",   "int4_int8", "int4_int4"};
enum { N_PAIRS = sizeof pairs / sizeof *pairs };

/* What an overlay makes of the scales of each format, as "/scales", '=' for as they were, or a refusal. */
#define SAME "="
static const struct {
    const char *name, *json;
    struct {
        const char *fp4, *mxfp4, *fp8, *int8, *int4;
    } weight; /* NULL: refused */
    const char *activation; /* of a pair that quantizes them */
    bool is_input;          /* attributes for input quantizers are given */
} overlays[] = {
    {"default", NULL, {SAME, SAME, SAME, SAME, SAME}, SAME, false},
    {"w_per_out_channel", "{\"*weight_quantizer\": {\"axis\": 0}}",
     {NULL, NULL, "/out_channel", SAME, "/out_channel"}, SAME, false},
    {"w_per_in_channel", "{\"*weight_quantizer\": {\"axis\": 1}}",
     {NULL, NULL, "/in_channel", "/in_channel", "/in_channel"}, SAME, false},
    {"w_per_tensor", "{\"*weight_quantizer\": {\"axis\": null}}", {NULL, NULL, SAME, "/tensor", "/tensor"}, SAME,
     false},
    {"w_group64", "{\"*weight_quantizer\": {\"block_sizes\": {\"-1\": 64}}}",
     {"/block16", NULL, "/block64", "/block64", "/block64"}, SAME, false},
    {"w_group128", "{\"*weight_quantizer\": {\"block_sizes\": {\"-1\": 128}}}",
     {"/block16", NULL, "/block128", "/block128", SAME}, SAME, false},
    {"a_per_tensor_static", "{\"*input_quantizer\": {\"type\": \"static\", \"axis\": null}}",
     {SAME, SAME, SAME, SAME, SAME}, SAME, true},
    {"a_per_token_dynamic", "{\"*input_quantizer\": {\"type\": \"dynamic\", \"block_sizes\": {\"-1\": null}}}",
     {SAME, SAME, SAME, SAME, SAME}, "/token", true},
    {"recipe_match_channel_token",
     "{\"*weight_quantizer\": {\"axis\": 0}, "
     "\"*input_quantizer\": {\"type\": \"dynamic\", \"block_sizes\": {\"-1\": null}}}",
     {NULL, NULL, "/out_channel", SAME, "/out_channel"}, "/token", true},
};
enum { N_OVERLAYS = sizeof overlays / sizeof *overlays };

static bool load_overlay(const char *name, struct granularity *g)
{
    char *path = xasprintf("conf/quant_granularity/%s.yaml", name);
    struct yml_node root;
    struct err e = {0};
    const bool loaded = !yml_load(&root, path, &e) && !granularity_read(g, yml_find(&root, "quant_cfg_overrides"), &e);
    if (!ok(loaded && yml_find(&root, "name") && !strcmp(yml_find(&root, "name")->text, name), "%s", path))
        diag("%s", e.msg);
    yml_free(&root);
    free(path);
    return loaded;
}

static bool load_pair(const char *name, struct pair *p)
{
    char *path = xasprintf("conf/quant_pair/%s.yaml", name);
    struct err e = {0};
    const bool loaded = !pair_load(p, path, &e);
    if (!loaded)
        ok(false, "%s: %s", path, e.msg);
    free(path);
    return loaded;
}

/* The key that a format has under this change; `was` is the key before. */
static char *expected(enum quant_format f, const char *change, const char *was)
{
    return f == QF_NONE || !strcmp(change, SAME) ? xstrdup(was) : xasprintf("%s%s", quant_format_name(f), change);
}

static void test_cell(const char *pair, int o, const struct granularity *g)
{
    struct pair p;
    struct err e = {0};
    if (!load_pair(pair, &p))
        return;
    const struct pair was = p;
    char w[QUANTIZER_KEY], a[QUANTIZER_KEY];
    const char *const weight[] = {[QF_NONE] = SAME,
                                  [QF_FP4] = overlays[o].weight.fp4,
                                  [QF_MXFP4] = overlays[o].weight.mxfp4,
                                  [QF_FP8] = overlays[o].weight.fp8,
                                  [QF_INT8] = overlays[o].weight.int8,
                                  [QF_INT4] = overlays[o].weight.int4};
    const char *change = weight[p.weight.format];
    const int rc = granularity_apply(g, &p, &e);
    if (!change) {
        const char *why = p.weight.format == QF_MXFP4 && !strncmp(overlays[o].name, "w_group", 7)
                              ? "mxfp4 weights have blocks of 32, not"
                              : "weights need block scales";
        if (!ok(rc < 0 && e.code == ERR_CONFIG && strstr(e.msg, why), "%s + %s is refused", pair, overlays[o].name))
            diag("%s", e.msg);
        return;
    }
    quantizer_key(&was.weight, w);
    quantizer_key(&was.activation, a);
    char *want_w = expected(was.weight.format, change, w);
    char *want_a = expected(was.activation.format, overlays[o].activation, a);
    quantizer_key(&p.weight, w);
    quantizer_key(&p.activation, a);
    /* the name stays where the merge leaves the dictionary as it was: see granularity.h */
    const bool keeps = !overlays[o].is_input && !strcmp(change, SAME);
    const bool preset = !strcmp(pair, "fp8_fp8") && !strcmp(overlays[o].name, "recipe_match_channel_token");
    const char *name = keeps ? was.recipe_name : preset ? "FP8_PER_CHANNEL_PER_TOKEN_CFG" : "CUSTOM_0";
    if (!ok(rc == 0 && !strcmp(w, want_w) && !strcmp(a, want_a) && !strcmp(p.recipe_name, name) &&
                !strcmp(p.modelopt_config, was.modelopt_config) && !strcmp(p.name, was.name),
            "%s + %s: %s, %s, %s", pair, overlays[o].name, want_w, want_a, name))
        diag("%d %s, %s, %s %s", rc, w, a, p.recipe_name, rc ? e.msg : "");
    free(want_w);
    free(want_a);
}

static void test_all(void)
{
    for (int o = 0; o < N_OVERLAYS; o++) {
        struct granularity g;
        if (!load_overlay(overlays[o].name, &g))
            continue;
        char *json = granularity_json(&g);
        if (overlays[o].json)
            is_str(json, overlays[o].json, "as JSON");
        else
            ok(!json, "nothing as JSON");
        free(json);
        for (int i = 0; i < N_PAIRS; i++)
            test_cell(pairs[i], o, &g);
    }
    int n_files = 0;
    DIR *d = opendir("conf/quant_granularity");
    for (struct dirent *entry; d && (entry = readdir(d));)
        n_files += strstr(entry->d_name, ".yaml") != NULL;
    if (d)
        closedir(d);
    ok(n_files == N_OVERLAYS, "conf/quant_granularity holds the %d overlays of the table", N_OVERLAYS);
}

/* The reference's own runs: what it calls the result, and what its validation refuses. */
static void test_golden(const char *dir)
{
    int n_runs = 0;
    for (int o = 0; o < N_OVERLAYS; o++)
        for (int i = 0; i < N_PAIRS; i++) {
            char *path = xasprintf("%s/scores/gran/%s.%s.bf16.json", dir, pairs[i], overlays[o].name);
            struct err e = {0};
            json_t *doc = json_load(path, JSON_LIMIT_DOCUMENT, &e);
            free(path);
            struct granularity g;
            struct pair p;
            if (!doc || !load_overlay(overlays[o].name, &g) || !load_pair(pairs[i], &p))
                continue;
            n_runs++;
            const int rc = granularity_apply(&g, &p, &e);
            const char *error = json_string_value(json_object_get(doc, "error"));
            const bool refused = error && !strncmp(error, "ValidationError", 15);
            ok(refused == (rc < 0), "%s + %s is %s as by the reference", pairs[i], overlays[o].name,
               refused ? "refused" : "taken");
            char *want = xasprintf("%s(effective-bits: %d.0)", p.recipe_name, rc ? 0 : pair_bits(&p));
            json_t *formats = json_object_get(doc, "formats");
            bool found = !json_is_array(formats);
            for (size_t k = 0; k < json_array_size(formats); k++)
                found |= !strcmp(json_string_value(json_array_get(formats, k)), want);
            ok(found, "%s + %s is called %s", pairs[i], overlays[o].name, want);
            free(want);
            json_decref(doc);
        }
    ok(n_runs == 30, "%d runs of the reference", n_runs);
}

static const struct {
    const char *name, *text, *message;
} faults[] = {
    {"word", "fp8", "o.yaml:1: quant_cfg_overrides must be a mapping such as"},
    {"unknown quantizer", "\"*wieght_quantizer\": {}",
     "o.yaml:1: unknown key '*wieght_quantizer' of an overlay; did you mean '*weight_quantizer'?"},
    {"output quantizer", "\"*weight_quantizer\": {axis: 0}\n\"zzz\": {enable: true}",
     "o.yaml:2: unknown key 'zzz' of an overlay; such as '*weight_quantizer'"},
    {"null for a quantizer", "\"*input_quantizer\":", "*input_quantizer must be a mapping"},
    {"number of bits", "\"*weight_quantizer\": {num_bits: 8}", "unknown key 'num_bits' of an overlay"},
    {"misspelt", "\"*weight_quantizer\": {axes: 0}", "did you mean 'axis'?"},
    {"third axis", "\"*weight_quantizer\": {axis: 2}", "axis must be 0, 1 or null, not '2'"},
    {"negative axis", "\"*weight_quantizer\": {axis: -1}", "axis must be 0, 1 or null, not '-1'"},
    {"axis of an input", "\"*input_quantizer\": {axis: 0}", "axis must be null"},
    {"type of a weight", "\"*weight_quantizer\": {type: dynamic}", "unknown key 'type' of an overlay"},
    {"unknown type", "\"*input_quantizer\": {type: dinamic}", "type must be static or dynamic, not 'dinamic'"},
    {"block as a number", "\"*weight_quantizer\": {block_sizes: 64}", "block_sizes must be {-1: N}"},
    {"block of another axis", "\"*weight_quantizer\": {block_sizes: {0: 64}}", "block_sizes must be {-1: N}"},
    {"two-dimensional block", "\"*weight_quantizer\": {block_sizes: {-1: 64, -2: 64}}", "block_sizes must be {-1: N}"},
    {"block of one", "\"*weight_quantizer\": {block_sizes: {-1: 1}}", "a whole number from 2 to 65536, not '1'"},
    {"huge block", "\"*weight_quantizer\": {block_sizes: {-1: 4294967360}}", "a whole number from 2 to 65536"},
    {"weights per token", "\"*weight_quantizer\": {block_sizes: {-1: null}}", "must be a whole number"},
    {"blocks of an input", "\"*input_quantizer\": {type: dynamic, block_sizes: {-1: 64}}", "must be null, not '64'"},
    {"static per token", "\"*input_quantizer\": {block_sizes: {-1: null}}", "add type: dynamic"},
    {"both", "\"*weight_quantizer\": {axis: 0, block_sizes: {-1: 64}}", "axis and block_sizes exclude each other"},
};

static void test_faults(void)
{
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct yml_node root;
        struct granularity g;
        struct err e = {0};
        int rc = yml_parse(&root, faults[i].text, strlen(faults[i].text), "o.yaml", &e);
        if (!rc)
            rc = granularity_read(&g, &root, &e);
        if (!ok(rc < 0 && e.code == ERR_CONFIG && strstr(e.msg, faults[i].message), "refused: %s", faults[i].name))
            diag("%d: %s", (int)e.code, e.msg);
        yml_free(&root);
    }
}

int main(void)
{
    test_all();
    test_faults();
    const char *golden = golden_dir();
    if (golden)
        test_golden(golden);
    else
        ok(true, "the reference's names and refusals # SKIP no golden files (QSENS_GOLDEN)");
    return done();
}
