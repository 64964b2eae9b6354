/* What a run is called: pair, model, and what they make of a path. */
#include "manifest_name.h"

#include "edit.h"
#include "tap.h"

static const char sample[] = "tests/fixtures/manifest/fp4_fp8.json";

static void test_paths(void)
{
    static const struct {
        const char *path, *want;
    } row[] = {
        {"models/tiny_qwen3_vl", "tiny_qwen3_vl"},
        {"models/tiny_qwen3_vl//", "tiny_qwen3_vl"},
        {"Qwen/Qwen3-VL-4B-Instruct", "Qwen3-VL-4B-Instruct"},
        {"/home/me/.cache/huggingface/hub/models--Qwen--Qwen3-VL-4B-Instruct/snapshots/ebb281ec70b05090",
         "Qwen3-VL-4B-Instruct"},
        {"/hub/models--plain/snapshots/abc/", "plain"},
        {"/models--a--b/other", "other"},
        {"my model (1)", "my_model__1_"},
        {"..", "_."},
        {".hidden", "_hidden"},
        {"", "model"},
        {"///", "model"},
        {"\xc3\xa9", "__"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char *got = manifest_path_name(row[i].path);
        is_str(got, row[i].want, row[i].path);
        free(got);
    }
}

static void test_split(void)
{
    static const char *const bad[] = {"", "_", "fp4", "fp4_", "_fp4", "fp4_fp8_x", "fp9_fp8", "fp4_none", "wfp4_afp8"};
    char *w, *a;
    if (ok(manifest_split_pair("mxfp4_fp16", &w, &a), "mxfp4_fp16 is a pair")) {
        is_str(w, "mxfp4", "its weights");
        is_str(a, "fp16", "its activations");
        free(w);
        free(a);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ok(!manifest_split_pair(bad[i], &w, &a), "'%s' is none", bad[i]);
}

static void test_names(void)
{
    static const struct {
        const char *name, *scheme, *config; /* of a manifest of the reference */
        const char *option, *pair, *part;   /* pair, or a part of the message */
    } row[] = {
        {"scheme and format agree", "wint8_aint8_autoquant_lm", "INT8_DEFAULT_CFG", NULL, "int8_int8", NULL},
        {"the scheme alone", "wfp4_afp16_x", "MINE", NULL, "fp4_fp16", NULL},
        {"the scheme without a tail", "wfp4_afp16", "MINE", NULL, "fp4_fp16", NULL},
        {"the format alone", "mine", "W4A8_MXFP4_FP8_CFG", NULL, "mxfp4_fp8", NULL},
        {"the option against both", "wint8_aint8", "FP8_DEFAULT_CFG", "int4_fp8", "int4_fp8", NULL},
        {"both differ", "wint8_aint8", "FP8_DEFAULT_CFG", NULL, NULL, "is fp8_fp8"},
        {"neither tells", "mine", "MINE", NULL, NULL, "give --pair"},
        {"an unknown format in the scheme", "wint9_aint8", "MINE", NULL, NULL, "give --pair"},
        {"an option that is no pair", "wint8_aint8", "INT8_DEFAULT_CFG", "x", NULL, "is not two formats"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct err e = {0};
        struct manifest_name n;
        struct manifest m = {.scheme = row[i].scheme, .model_id = "a/b"};
        m.doc = json_pack("{s{ss s[s]}}", "scheme", "name", row[i].scheme, "quant_formats", row[i].config);
        const int rc = manifest_name_of(&n, &m, row[i].option, "x.json", &e);
        if (row[i].pair)
            ok(!rc && !strcmp(n.pair, row[i].pair) && !strcmp(n.tool, "reference") && !n.sequences && !n.dataset,
               "%s: %s %s", row[i].name, rc ? "" : n.pair, e.msg);
        else
            ok(rc == -1 && e.code == ERR_CONFIG && strstr(e.msg, row[i].part), "%s: %s", row[i].name, e.msg);
        if (!rc)
            manifest_name_free(&n);
        manifest_free(&m);
    }
}

static void test_ours(void)
{
    struct err e = {0};
    struct manifest m;
    struct manifest_name n;
    if (!ok(!manifest_load(&m, sample, &e) && !manifest_name_of(&n, &m, NULL, sample, &e), "the sample %s", e.msg))
        return;
    is_str(n.pair, "fp4_fp8", "pair");
    is_str(n.weight, "fp4", "weights");
    is_str(n.activation, "fp8", "activations");
    is_str(n.model, "tiny_qwen3_vl", "model");
    is_str(n.dataset, "coco2017_captions", "dataset");
    is_str(n.dtype, "bf16", "dtype");
    is_str(n.granularity, "default", "granularity");
    ok(n.sequences == 128, "captions");
    manifest_name_free(&n);
    ok(manifest_name_of(&n, &m, "fp8_fp8", sample, &e) == -1 && strstr(e.msg, "was scored with pair fp4_fp8"),
       "another pair: %s", e.msg);
    manifest_free(&m);
}

int main(void)
{
    test_paths();
    test_split();
    test_names();
    test_ours();
    return done();
}
