/* Lists of inputs compared: each difference has its sentence, equal lists have none. */
#include "stale.h"

#include "mem.h"
#include "tap.h"

#define WEIGHTS "lm.id aa  -\n"
#define TOKENS "calib.id \"seq_len\":\"512\"\ncalib.id \"tokens_sha256\":\"bb\"\n"
#define PROGRAM "autoquant-score.id cc  -\n"
#define PAIR(w, a)                                                                                                     \
    "pair.yaml name: p\npair.yaml modelopt_config: X\npair.yaml recipe_name: X\npair.yaml weight: " w                  \
    "\npair.yaml activation: " a "\n"
#define FP8 "{format: fp8, granularity: tensor, dynamic: false}"
#define INT8 "{format: int8, granularity: out_channel, dynamic: false}"
#define SETTINGS "autoquant-score --dtype=bf16\nautoquant-score --score-size=128\n"
#define RESULT "backend cpu\nresult dd  -\n"
#define KEY                                                                                                            \
    WEIGHTS TOKENS PROGRAM PAIR(FP8, FP8)                                                                              \
    SETTINGS RESULT

static const struct {
    const char *name, *due, *key, *want;
} rows[] = {
    {"equal", KEY, KEY, NULL},
    {"weights", "lm.id ee  -\n" TOKENS PROGRAM PAIR(FP8, FP8) SETTINGS RESULT, KEY, "weights of the model"},
    {"not extracted yet", TOKENS PROGRAM PAIR(FP8, FP8) SETTINGS RESULT, KEY, "weights of the model"},
    {"tokens", WEIGHTS "calib.id x\n" PROGRAM PAIR(FP8, FP8) SETTINGS RESULT, KEY, "tokens of the captions"},
    {"program", WEIGHTS TOKENS "autoquant-score.id c0  -\n" PAIR(FP8, FP8) SETTINGS RESULT, KEY,
     "autoquant-score (program)"},
    {"weight quantizer", WEIGHTS TOKENS PROGRAM PAIR(INT8, FP8) SETTINGS RESULT, KEY,
     "pair weight fp8/tensor -> int8/out_channel"},
    {"activation quantizer", KEY, WEIGHTS TOKENS PROGRAM PAIR(FP8, "{format: fp16}") SETTINGS RESULT,
     "pair activation none -> fp8/tensor"},
    {"a pair that cannot be read", WEIGHTS TOKENS PROGRAM PAIR("[", FP8) SETTINGS RESULT, KEY, "pair"},
    {"setting",
     WEIGHTS TOKENS PROGRAM PAIR(FP8, FP8) "autoquant-score --dtype=bf16\nautoquant-score --score-size=64\n" RESULT,
     KEY, "autoquant.score_size 128 -> 64"},
    {"setting that was left out",
     WEIGHTS TOKENS PROGRAM PAIR(FP8, FP8) "autoquant-score --score-size=128\n"
                                           "autoquant-score --dtype=fp32\nautoquant-score --split\n" RESULT,
     KEY, "autoquant.dtype bf16 -> fp32; autoquant.split false -> true"},
    {"settings in another order",
     WEIGHTS TOKENS PROGRAM PAIR(FP8, FP8) "autoquant-score --score-size=128\n"
                                           "autoquant-score --dtype=bf16\n" RESULT,
     KEY, "settings of autoquant-score"},
    {"backend", WEIGHTS TOKENS PROGRAM PAIR(FP8, FP8) SETTINGS "backend cuda H100\nresult dd  -\n", KEY,
     "backend cpu -> cuda H100"},
    {"scores", WEIGHTS TOKENS PROGRAM PAIR(FP8, FP8) SETTINGS "backend cpu\nresult d0  -\n", KEY,
     "scores.json is not as it was written"},
    {"two at once", "lm.id ee  -\n" TOKENS PROGRAM PAIR(FP8, FP8) SETTINGS "backend ref\nresult dd  -\n", KEY,
     "weights of the model; backend cpu -> ref"},
    {"an older key", KEY, "0123  -\n4567  -\n", "scores.key is of another version"},
    {"no key", KEY, "", "not known from what it was made"},
    {"neither", "", "", "not known from what it was made"},
    {"a key that was cut off", KEY, WEIGHTS "calib.id \"seq",
     "tokens of the captions; "
     "autoquant-score.id: not known what it was; pair.yaml: not known what it was; autoquant-score: not known what it "
     "was; backend: not known what it was; "
     "result: not known what it was"},
};

static char *joined(const struct reasons *r)
{
    char *all = xstrdup("");
    for (size_t i = 0; i < r->n; i++) {
        char *more = xasprintf("%s%s%s", all, i ? "; " : "", r->text[i]);
        free(all);
        all = more;
    }
    return all;
}

static void check_settings(void)
{
    struct reasons r = {0};
    stale_settings(
        &r, "manifest", "dataset:\n  size: small\nautoquant:\n  effective_bits: 6.0\n  dtype: fp32\n",
        "dataset:\n  size: small\n  effective_bits: 7.0\nautoquant:\n  effective_bits: 8.0\n  dtype: bf16\n");
    char *text = joined(&r);
    is_str(text, "autoquant.effective_bits 8.0 -> 6.0", "of a stage's settings its own, of the right group");
    free(text);
    reasons_free(&r);
    stale_settings(&r, "manifest", "autoquant:\n  effective_bits: 6.0\n", "");
    ok(r.n == 0, "nothing to compare with: no reason");
    reasons_free(&r);
}

int main(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct reasons r = {0};
        const bool stale = stale_inputs(&r, rows[i].due, rows[i].key);
        char *text = joined(&r);
        ok(stale == (rows[i].want != NULL), "%s: %s", rows[i].name, stale ? "stale" : "not stale");
        is_str(text, rows[i].want ? rows[i].want : "", rows[i].name);
        free(text);
        reasons_free(&r);
    }
    check_settings();
    return done();
}
