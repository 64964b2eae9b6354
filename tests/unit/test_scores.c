/* Reading scores.json: what is right is understood, what is wrong is refused with its place. */
#include "scores.h"

#include "edit.h"
#include "tap.h"

static const char sample[] = "tests/fixtures/manifest/scores.fp4_fp8.json";

static void test_sample(void)
{
    struct scores s;
    struct err e = {0};
    if (!ok(!scores_load(&s, sample, &e), "the sample is read %s", e.msg))
        return;
    is_str(s.pair, "fp4_fp8", "pair");
    is_str(s.recipe_name, "W4A8_NVFP4_FP8_CFG", "recipe name");
    is_str(s.granularity, "default", "granularity");
    is_str(s.dtype, "bf16", "dtype");
    ok(s.bits == 4 && s.n_groups == 25, "%d bits, %d groups", s.bits, s.n_groups);
    is_str(s.group[24].name, "lm_head", "the last group");
    ok(s.group[0].weights == 32768 && s.group[0].score == 0.03166464030800853 &&
           json_array_size(s.group[0].members) == 3,
       "the first group: weights, score, members");
    scores_free(&s);
}

static void test_wrong(void)
{
    static const struct {
        const char *name, *from, *to, *part;
    } row[] = {
        {"another document", "qsens-scores", "qsens-lm", "not qsens-scores"},
        {"another version", "\"version\": 1,\n \"pair\"", "\"version\": 2,\n \"pair\"", "'version' is 2"},
        {"no pair", "\"pair\"", "\"pear\"", "missing key 'pair'"},
        {"bits out of range", "\"bits\": 4", "\"bits\": 17", "'bits' is 17"},
        {"bits of another type", "\"bits\": 4", "\"bits\": \"4\"", "whole number"},
        {"an unknown dtype", "\"bf16\"", "\"fp64\"", "neither bf16 nor fp32"},
        {"an unknown padding", "\"padding\": \"reference\"", "\"padding\": \"left\"", "neither reference nor none"},
        {"no sequences", "\"sequences\": 128", "\"sequences\": 0", "'sequences' is 0"},
        {"a negative score", "\"score\": 0.03166464030800853", "\"score\": -1", "negative or not finite"},
        {"a NaN score", "\"score\": 0.03166464030800853", "\"score\": NaN", "not valid JSON"},
        {"an overflowing score", "\"score\": 0.03166464030800853", "\"score\": 1e999", "not valid JSON"},
        {"a score that is not its members' sum", "\"score\": 0.03166464030800853", "\"score\": 0.04",
         "its members' scores add up to"},
        {"a total that is not the groups' sum", "\"loss\": 2.5,\n \"score\": 0.", "\"loss\": 2.5,\n \"score\": 1.",
         "the groups' scores add up to"},
        {"weights that are not the members' sum", "\"weights\": 32768", "\"weights\": 32767",
         "members have 32768 weights"},
        {"a group listed twice", "layers.0.self_attn.o_proj\",\n   \"weights\"",
         "layers.0.self_attn.q_proj\",\n   \"weights\"", "listed twice"},
        {"a negative loss", "\"loss\": 2.5", "\"loss\": -2.5", "loss is negative"},
        {"a truncated file", "\"run\"", "", "not valid JSON"},
        {"no groups", "\"groups\": [", "\"groups\": [], \"other\": [", "0 groups"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct scores s;
        struct err e = {0};
        char *text = edited(sample, row[i].from, row[i].to);
        const int rc = text ? scores_parse(&s, text, strlen(text), "x.json", &e) : 0;
        ok(rc == -1 && e.code == ERR_FORMAT && strstr(e.msg, row[i].part) && strstr(e.msg, "x.json"), "%s: %s",
           row[i].name, e.msg);
        free(text);
    }
    struct scores s;
    struct err e = {0};
    ok(scores_load(&s, "tests/no-such-file.json", &e) == -1 && e.code == ERR_IO, "a missing file: %s", e.msg);
}

int main(void)
{
    test_sample();
    test_wrong();
    return done();
}
