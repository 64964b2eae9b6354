/* Menus, budgets and the search around them, against what ModelOpt found for the same scores. */
#include "recipe.h"

#include <dirent.h>

#include "io.h"
#include "mem.h"
#include "search.h"
#include "tap.h"

static const char published[] = "../shared/data/published";

/* ---- ModelOpt's own score and cost lists (tests/fixtures/multi) ---- */

static double number(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

/* missed: ModelOpt's solver stopped above the optimum in this run. */
static void test_golden(const char *name, bool missed)
{
    struct err e = {0};
    char *path = xasprintf("tests/fixtures/multi/%s.json", name);
    json_t *doc = json_load(path, JSON_LIMIT_DOCUMENT, &e);
    free(path);
    if (!ok(doc != NULL, "%s: read %s", name, e.msg))
        return;
    const json_t *groups = json_object_get(doc, "groups"), *best = json_object_get(doc, "best");
    const int n = (int)json_array_size(groups);
    const double total = number(doc, "total_weights"), disabled = number(doc, "disabled_weights");
    struct search_choice choice[64][8];
    struct search_group group[64];
    for (int g = 0; g < n; g++) {
        const json_t *o = json_array_get(groups, (size_t)g), *scores = json_object_get(o, "scores");
        const json_t *costs = json_object_get(o, "costs");
        for (size_t j = 0; j < json_array_size(scores); j++)
            choice[g][j] = (struct search_choice){(int64_t)(16 * json_number_value(json_array_get(costs, j))),
                                                  json_number_value(json_array_get(scores, j))};
        group[g] = (struct search_group){(int)json_array_size(scores), choice[g]};
    }
    const struct search_choice vision = {(int64_t)(16 * disabled), 0};
    group[n] = (struct search_group){1, &vision};
    const double bits = search_adjusted_bits(number(doc, "asked_bits"), total, disabled);
    ok(bits == number(doc, "target_bits"), "%s: adjusted bits %.17g", name, bits);
    struct search_result r;
    if (!ok(!search_solve(group, n + 1, (int64_t)(total * bits), &r, &e), "%s: solved", name))
        return;
    const double score = number(best, "score"), effective = (double)r.cost / total;
    if (missed)
        ok(r.satisfied && r.score < score, "%s: %.17g is below ModelOpt's %.17g", name, r.score, score);
    else
        ok(r.satisfied && r.score == score && effective == number(best, "effective_bits"),
           "%s: score %.17g (%.17g) and bits %.17g (%.17g) are ModelOpt's", name, r.score, score, effective,
           number(best, "effective_bits"));
    free(r.pick);
    json_decref(doc);
}

/* ---- published manifests of the 4B model ---- */

static void test_published(const char *pair)
{
    struct err e = {0};
    struct manifest m;
    struct recipe_menu menu = {0};
    struct recipe r = {0};
    char *path = xasprintf("%s/%s/%s_autoquant_lm_quant_manifest.json", published, pair, pair);
    if (!ok(!manifest_load(&m, path, &e), "%s: read %s", pair, e.msg))
        return;
    ok(!recipe_add_manifest(&menu, &m, path, &e) && !recipe_solve(&menu, 8, true, &r, &e), "%s: solved %s", pair,
       e.msg);
    ok(menu.weights == 4434886656 && menu.fixed_weights == 412614656, "%s: weights %llu, of them vision %llu", pair,
       (unsigned long long)menu.weights, (unsigned long long)menu.fixed_weights);
    ok(r.adjusted_bits == m.auto_quantize_bits, "%s: adjusted bits %.17g", pair, r.adjusted_bits);
    ok(r.score == m.score && r.effective_bits == m.effective_bits && r.satisfied == m.is_satisfied,
       "%s: score %.17g (%.17g), effective bits %.17g (%.17g)", pair, r.score, m.score, r.effective_bits,
       m.effective_bits);
    ok(r.bound <= r.score && r.bound > 0.9 * r.score, "%s: bound %.17g", pair, r.bound);
    recipe_free(&r);
    recipe_menu_free(&menu);
    manifest_free(&m);
    free(path);
}

static void test_all_published(void)
{
    DIR *d = opendir(published);
    if (!d) {
        ok(true, "published manifests # SKIP %s is not here", published);
        return;
    }
    for (struct dirent *entry; (entry = readdir(d));)
        if (entry->d_name[0] != '.')
            test_published(entry->d_name);
    closedir(d);
}

/* ---- small menus made here ---- */

/* A scores document of two groups (and vision, which it does not list). */
static int make_scores(struct scores *s, const char *pair, int bits, const char *tokens, const char *dtype, double a,
                       double b)
{
    *s = (struct scores){.pair = pair, .recipe_name = pair, .granularity = "default", .dtype = dtype, .bits = bits};
    s->doc = json_pack("{s{ss ss} s{si ss ss}}", "inputs", "weights_sha256", "w", "tokens_sha256", tokens, "arithmetic",
                       "version", 1, "dtype", dtype, "padding", "reference");
    s->group = xcalloc(2, sizeof *s->group);
    s->n_groups = 2;
    s->group[0] = (struct scores_group){"a", 100, a, NULL};
    s->group[1] = (struct scores_group){"b", 300, b, NULL};
    return s->doc ? 0 : -1;
}

static int add_groups(struct recipe_menu *m, struct err *e)
{
    return recipe_add_group(m, "vision", 200, true, e) || recipe_add_group(m, "a", 100, false, e) ||
           recipe_add_group(m, "b", 300, false, e);
}

static int add(struct recipe_menu *m, const char *pair, int bits, const char *tokens, const char *dtype, double a,
               double b, struct err *e)
{
    struct scores s;
    if (make_scores(&s, pair, bits, tokens, dtype, a, b))
        return -1;
    char *path = xasprintf("%s.json", pair);
    const int rc = recipe_add_scores(m, &s, path, e);
    free(path);
    scores_free(&s);
    return rc;
}

static void test_menu(void)
{
    struct err e = {0};
    struct recipe_menu m = {0};
    struct recipe r;
    /* fp8 first on the menu: choices are ordered by bits all the same */
    if (!ok(!add_groups(&m, &e) && !add(&m, "fp8", 8, "t", "bf16", 1, 5, &e) &&
                !add(&m, "fp4", 4, "t", "bf16", 4, 3, &e),
            "a menu of fp8 and fp4: %s", e.msg))
        return;
    static const struct {
        double bits;
        int pick[3];
        double effective, score;
    } row[] = {
        {16, {RECIPE_NONE, RECIPE_NONE, RECIPE_NONE}, 16, 0},
        /* fp8 scores 5 in group b, above fp4's 3: the clamp lowers it to 3, and fp4 is cheaper */
        {14, {RECIPE_NONE, 0, RECIPE_NONE}, (200 * 16 + 100 * 8 + 300 * 16) / 600.0, 1},
        {8, {RECIPE_NONE, RECIPE_NONE, 1}, (200 * 16 + 100 * 16 + 300 * 4) / 600.0, 3},
        {5, {RECIPE_NONE, 0, 1}, (200 * 16 + 100 * 8 + 300 * 4) / 600.0, 4},
        {4, {RECIPE_NONE, 1, 1}, (200 * 16 + 400 * 4) / 600.0, 7},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        if (!ok(!recipe_solve(&m, row[i].bits, true, &r, &e), "%g bits: solved", row[i].bits))
            continue;
        ok(!memcmp(r.pick, row[i].pick, sizeof row[i].pick), "%g bits: picks %d %d", row[i].bits, r.pick[1], r.pick[2]);
        ok(r.satisfied && r.score == row[i].score && fabs(r.effective_bits - row[i].effective) < 1e-12,
           "%g bits: score %g, effective bits %g", row[i].bits, r.score, r.effective_bits);
        recipe_free(&r);
    }
    ok(recipe_solve(&m, 2, true, &r, &e) == 0 && !r.satisfied && r.pick[1] == 1 && r.pick[2] == 1,
       "2 bits pass the precondition through the vision units, but nothing fits: not satisfied, the cheapest");
    recipe_free(&r);
    ok(recipe_solve(&m, 3, false, &r, &e) == -1 && e.code == ERR_CONFIG && strstr(e.msg, "reaches 8 to 16"),
       "3 bits of all weights are refused with the range: %s", e.msg);
    ok(recipe_solve(&m, 17, true, &r, &e) == -1 && strstr(e.msg, "reaches 4 to 16"), "17 bits: %s", e.msg);
    ok(recipe_solve(&m, (double)NAN, true, &r, &e) == -1 && e.code == ERR_CONFIG, "NaN bits: %s", e.msg);
    recipe_menu_free(&m);
}

static void test_refused(void)
{
    static const struct {
        const char *pair, *tokens, *dtype, *part;
    } row[] = {
        {"fp8", "t", "bf16", "on the menu already"},
        {"fp4", "other", "bf16", "tokens_sha256 is \"t\" there and \"other\" here"},
        {"fp4", "t", "fp32", "dtype is \"bf16\" there and \"fp32\" here"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct err e = {0};
        struct recipe_menu m = {0};
        const bool ready = !add_groups(&m, &e) && !add(&m, "fp8", 8, "t", "bf16", 1, 2, &e);
        ok(ready && add(&m, row[i].pair, 4, row[i].tokens, row[i].dtype, 1, 2, &e) == -1 && e.code == ERR_CONFIG &&
               strstr(e.msg, row[i].part),
           "refused: %s", e.msg);
        recipe_menu_free(&m);
    }
    struct err e = {0};
    struct recipe_menu m = {0};
    ok(add(&m, "fp8", 8, "t", "bf16", 1, 2, &e) == -1 && strstr(e.msg, "--lm"), "scores without groups: %s", e.msg);
    recipe_menu_free(&m);
    static const struct {
        const char *name;
        uint64_t weights;
        const char *part;
    } other[] = {{"c", 300, "b where c is expected"}, {"b", 301, "300 weights, not 301"}};
    for (size_t i = 0; i < 2; i++) {
        const bool ready = !recipe_add_group(&m, "a", 100, false, &e) &&
                           !recipe_add_group(&m, other[i].name, other[i].weights, false, &e);
        ok(ready && add(&m, "fp8", 8, "t", "bf16", 1, 2, &e) == -1 && strstr(e.msg, other[i].part), "other groups: %s",
           e.msg);
        recipe_menu_free(&m);
    }
    ok(!recipe_add_group(&m, "a", 1, false, &e) && recipe_add_group(&m, "b", UINT64_MAX, false, &e) == -1 &&
           e.code == ERR_FORMAT,
       "weights that overflow: %s", e.msg);
    recipe_menu_free(&m);
}

int main(void)
{
    test_golden("fp4_fp16+int8_fp8+fp8_fp8.bf16.b5", false);
    test_golden("fp4_fp16+int8_fp8+fp8_fp8.bf16.b6", true);
    test_golden("fp4_fp16+int8_fp8+fp8_fp8.bf16.b7", false);
    test_golden("fp4_fp16+int8_fp8+fp8_fp8.bf16.b9", false);
    test_golden("fp4_fp8+fp8_fp8.bf16.b5", false);
    test_golden("fp4_fp8+fp8_fp8.bf16.b6", false);
    test_golden("fp4_fp8+fp8_fp8.bf16.b7", false);
    test_golden("fp4_fp8+fp8_fp8.bf16.b9", true);
    test_all_published();
    test_menu();
    test_refused();
    return done();
}
