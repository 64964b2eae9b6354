/* Reports: the reference's own, to the byte, where its manifests are at hand; layout and escapes on samples. */
#include "report.h"

#include <dirent.h>

#include "edit.h"
#include "tap.h"

static const char sample[] = "tests/fixtures/manifest/fp4_fp8.json", published[] = "../shared/data/published";

/* The Markdown report, or the JSON one; the caller frees. */
static char *report(const struct manifest *m, bool is_json, const char *composed)
{
    char *buf = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&buf, &n);
    json_t *v = is_json ? report_json(m) : NULL;
    if (v)
        json_print(f, v, 2);
    else
        report_md(f, m, composed);
    json_decref(v);
    fclose(f);
    char *text = xstrndup(buf, n);
    free(buf);
    return text;
}

static char *markdown(const struct manifest *m, const char *composed)
{
    return report(m, false, composed);
}

static char *json_report(const struct manifest *m)
{
    return report(m, true, NULL);
}

static char *read_text(const char *dir, const char *name)
{
    struct err e;
    char *path = io_join(dir, name), *text = NULL;
    size_t n;
    if (io_read(path, 64 << 20, &text, &n, &e))
        text = NULL;
    free(path);
    return text;
}

static void test_published(const char *pair)
{
    struct err e = {0};
    struct manifest m;
    char *dir = io_join(published, pair), *path = xasprintf("%s/%s_autoquant_lm_quant_manifest.json", dir, pair);
    if (ok(!manifest_load(&m, path, &e), "%s: read %s", pair, e.msg)) {
        char *want = read_text(dir, "per-layer-sensitivity.json"), *got = json_report(&m);
        ok(want && !strcmp(got, want), "%s: the JSON report is the reference's", pair);
        free(want);
        free(got);
        want = read_text(dir, "table-rows.md");
        got = markdown(&m, NULL);
        const char *table = strstr(got, "|Layer|");
        ok(want && table && !strcmp(table, want), "%s: so are the rows of the Markdown table", pair);
        ok(!strstr(got, "## Quantization") && !strstr(got, "## Ranks") && !strstr(got, "**Run:**"),
           "%s: sections without data are left out", pair);
        ok(strstr(got, "145 groups of layers with 4,022,272,000 weights that can be quantized; 105 groups (vision)") &&
               strstr(got, "\n 136  layers.") && strstr(got, "\n|35|"),
           "%s: summary, extremes and layers are there", pair);
        free(want);
        free(got);
        manifest_free(&m);
    }
    free(path);
    free(dir);
}

static void test_all_published(void)
{
    DIR *d = opendir(published);
    if (!d) {
        ok(true, "published reports # SKIP %s is not here", published);
        return;
    }
    for (struct dirent *entry; (entry = readdir(d));)
        if (entry->d_name[0] != '.')
            test_published(entry->d_name);
    closedir(d);
}

static void contains(const char *text, const char *part, const char *name)
{
    if (!ok(strstr(text, part) != NULL, "%s", name))
        diag("missing: %s", part);
}

static void test_sample(void)
{
    struct err e = {0};
    struct manifest m;
    if (!ok(!manifest_load(&m, sample, &e), "the sample is read %s", e.msg))
        return;
    char *md = markdown(&m, "autoquant:\n  bits: 8\n");
    contains(
        md,
        "\nAutoQuant Layer Sensitivity (wfp4_afp8_autoquant_lm)\n"
        "====================================================\n\n## At a Glance\n\n- **Model:** `tiny_qwen3_vl`, 25 "
        "groups of layers with 1,449,984 weights that can be quantized; 15 groups (vision) with 466,944 weights "
        "stay at 16 bits\n- **Pair:** fp4_fp8 (`W4A8_NVFP4_FP8_CFG`), granularity default; weights `fp4/block16`, "
        "activations `fp8/tensor`\n",
        "title and summary");
    contains(
        md,
        "\n- **Calibration:** 128 captions, 1,336 tokens; padding avoided: 64,072 of 65,536 rows (97.8 %)\n"
        "- **Arithmetic:** bf16, padding reference, backend cpu\n"
        "- **Run:** 1.50 s, 2 threads, on example, started 2026-01-01T00:00:00Z\n"
        "- **Score:** 9.8877e-02 with every group in this pair; the most sensitive group holds 32.0 % of it\n"
        "- **Recipe:** 8 effective bits asked for, budget 9.9497 with the layers that stay at 16 bits; found 9.8974 "
        "bits with score 1.7109e-02 (17.3 % of the total)\n",
        "tokens, padding, run and result");
    contains(md, "one character is 2.200e-04, 40 are 3.166e-02", "a logarithmic scale");
    contains(md, "\n  25  layers.5.self_attn.o_proj  2.200e-04     0.2 %  \xe2\x96\x88\n```",
             "whose least bar is one character");
    contains(md, "Its weights take 1.4 MiB instead of 2.8 MiB, scales not counted", "bytes of the recipe");
    contains(md,
             "\n|0|32.02|8.67|13.92|9.41|64.03|\n|1|", "layers and modules");
    contains(md,
             "\n\n## Summary\n  \n\n|Key|Value|\n| :--- | :--- |\n"
             "|Scheme|`wfp4_afp8_autoquant_lm`|\n|Model|`tiny_qwen3_vl`|\n|Effective bits (from search)|`9.8974`|\n"
             "|Total AutoQuant score|`1.710895e-02`|\n|Constraint satisfied|`True`|\n\n## Dataset\n",
             "the reference's summary");
    contains(md, "|Calibration samples (used / max)|`128` / `128`|\n\n## Quantization\n", "dataset");
    contains(md,
             "\n\n|Layer|Num Bits|Sensitivity|Size Cost|\n| :--- | :--- | :--- | :--- |\n"
             "|model.language_model.layers.0.self_attn.q_proj|4.0|3.166e-02|8.192e+03|\n",
             "table, most sensitive first");
    contains(
        md,
        "\n|1|layers.0.self_attn.q_proj|3.1665e-02|32.0 %|32.0 %|32,768|16,384|NONE|q_proj 1.58e-02, k_proj 7.92e-03, "
        "v_proj 7.92e-03|\n",
        "ranks, shares and members of ours");
    contains(md, "\n## Composed Config (`composed-config.yaml`)\n  \n  \n```yaml  \nautoquant:  \n  bits: 8  \n```\n",
             "the embedded configuration");
    free(md);
    md = markdown(&m, "x: \"```\"\n");
    contains(md, "\n````yaml  \nx: \"```\"  \n````\n", "a fence longer than the backticks within");
    free(md);
    char *json = json_report(&m);
    contains(
        json,
        "  \"run_config\": {\n    \"composed_yaml_path\": \"composed-config.yaml\"\n  },\n  \"autoquant_state\": {",
        "order of the JSON report");
    contains(
        json,
        "  \"layer_sensitivity\": [\n    {\n      \"layer\": \"model.language_model.layers.0.self_attn.q_proj\",\n"
        "      \"num_bits\": 4.0,\n      \"sensitivity\": 0.03166464030800853,\n      \"size_cost\": 8192.0\n    },",
        "entries of the JSON report");
    contains(json, "\n  ],\n  \"qsens\": {\n    \"version\": 1,", "ours comes last");
    ok(json[strlen(json) - 1] == '}', "no final newline");
    free(json);
    manifest_free(&m);
}

/* report of the sample with one change */
static char *markdown_of(const char *from, const char *to)
{
    struct err e = {0};
    struct manifest m;
    char *text = edited(sample, from, to), *md = NULL;
    if (ok(text && !manifest_parse(&m, text, strlen(text), "x.json", &e), "%s: read %s", to, e.msg)) {
        md = markdown(&m, NULL);
        manifest_free(&m);
    }
    free(text);
    return md;
}

static void test_escapes(void)
{
    static const struct {
        const char *name, *from, *to, *part;
    } row[] = {
        {"a bar in a cell", "\"id\": \"tiny_qwen3_vl\"", "\"id\": \"a|b\\nc\"", "|Model|`a\\|b c`|\n"},
        {"backticks in the summary", "\"id\": \"tiny_qwen3_vl\"", "\"id\": \"a`b\"", "- **Model:** `a b`, 25"},
        {"an underline as long as the title", "wfp4_afp8_autoquant_lm", "w\\u00e9",
         "(w\xc3\xa9)\n================================\n\n"},
        {"overrides", "\"quant_cfg_overrides\": {}", "\"quant_cfg_overrides\": {\"b\": {\"axis\": 0}, \"a\": null}",
         "|Quant cfg overrides|`see below`|\n  \n  \n```json  \n{  \n  \"a\": null,  \n  \"b\": {  \n    \"axis\": 0  "
         "\n  }  \n}  \n```\n"},
        {"samples without a maximum", "\"max_calib_samples\": 128,", "",
         "|Calibration samples (used / max)|`128` / `?`|\n"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char *md = markdown_of(row[i].from, row[i].to);
        contains(md ? md : "", row[i].part, row[i].name);
        free(md);
    }
}

/* With several formats the JSON report goes by the first, the Markdown table by the worst. */
static void test_two_formats(void)
{
    struct manifest m = {.doc = json_object(), .scheme = "two", .model_id = "m"};
    static const double score[2][2] = {{1, 5}, {2, 3}};
    for (int i = 0; i < 2; i++) {
        struct sens_row *r = sens_add(&m.table, i ? "b" : "a", 160);
        sens_add_format(r, "X", 4, score[i][0]);
        sens_add_format(r, "Y", 8, score[i][1]);
    }
    sens_rank(&m.table);
    char *md = markdown(&m, NULL), *json = json_report(&m);
    contains(md, "|a|4.0, 8.0|1.000e+00, 5.000e+00|4.000e+01, 8.000e+01|\n|b|4.0, 8.0|2.000e+00, 3.000e+00|",
             "Markdown");
    contains(md, "budget 0.0000 with the layers that stay at 16 bits; not met: the cheapest",
             "a budget that is not met");
    contains(md, "|Constraint satisfied|`False`|\n", "and the reference's word for it");
    contains(md, "Bars are proportional", "scores within a factor of 40");
    ok(!strstr(md, "## Layers") && !strstr(md, "**Pair:**"), "no layers, no pair: nothing is said of them");
    contains(json, "[\n    {\n      \"layer\": \"b\",\n      \"num_bits\": 4.0,\n      \"sensitivity\": 2.0,", "JSON");
    free(md);
    free(json);
    manifest_free(&m);
}

/* Bars: all groups where they are few, eighths of a character, nothing for a score of 0. */
static void test_bars(void)
{
    static const double score[] = {1, 0, 0.5, 0.0266};
    struct manifest m = {.doc = json_object(), .scheme = "x", .model_id = "m", .is_satisfied = 1};
    char name[] = "a";
    for (int i = 0; i < 4; i++, name[0]++)
        sens_add_format(sens_add(&m.table, name, 16), "X", 8, score[i]);
    sens_add(&m.table, "vision`\n", 16);
    sens_rank(&m.table);
    char *md = markdown(&m, NULL), full[4 * 40] = "", half[4 * 20] = "";
    for (int i = 0; i < 40; i++)
        memcpy(full + 3 * i, "\xe2\x96\x88", 4);
    memcpy(half, full, 3 * 20);
    char *want =
        xasprintf("```text\n   1  a  1.000e+00    65.5 %%  %s\n   2  c  5.000e-01    32.8 %%  %s\n"
                  "   3  d  2.660e-02     1.7 %%  \xe2\x96\x88\xe2\x96\x8f\n   4  b  0.000e+00     0.0 %%  \n```\n",
                  full, half);
    contains(md, want, "bars are proportional");
    contains(md, "1 groups (vision) with 16 weights", "fixed groups are counted, not listed");
    free(want);
    free(md);
    manifest_free(&m);
}

int main(void)
{
    test_bars();
    test_two_formats();
    test_all_published();
    test_sample();
    test_escapes();
    return done();
}
