/* golden - scores of the real ModelOpt (tests/fixtures/golden) and how far ours are from them. */
#ifndef GOLDEN_H
#define GOLDEN_H
#include <math.h>
#include <stdlib.h>

#include "model.h"
#include "parity/subject.h"

enum { GOLDEN_RUNS = 32, GOLDEN_GROUPS = 25, GOLDEN_UNITS = 43 };

struct golden_run {
    char name[64];
    struct pair pair;
    bool bf16, weight_only;
    const char *error; /* "NaN", "refused", or NULL */
    double score[GOLDEN_GROUPS];
    int replay; /* in the set it was added to, else -1 */
};

struct golden {
    json_t *doc;
    int captions, n_runs;
    const char *group[GOLDEN_GROUPS];
    double amax_bf16[GOLDEN_UNITS], amax_fp32[GOLDEN_UNITS], weight_amax[GOLDEN_UNITS]; /* 0: not recorded */
    struct golden_run run[GOLDEN_RUNS];
};

/* The granularity overlays, as far as they change one of the pairs here. */
static inline void golden_overlay(struct pair *p, const char *name)
{
    static const struct {
        const char *name;
        enum quant_granularity granularity;
        int block;
    } weight[] = {{"w_per_tensor", QG_TENSOR, 0},
                  {"w_per_out_channel", QG_OUT_CHANNEL, 0},
                  {"w_per_in_channel", QG_IN_CHANNEL, 0},
                  {"w_group64", QG_BLOCK, 64},
                  {"w_group128", QG_BLOCK, 128}};
    const bool fp4_blocks = p->weight.format == QF_FP4 && !strncmp(name, "w_group", 7); /* the kernel keeps its 16 */
    for (size_t i = 0; i < sizeof weight / sizeof *weight; i++)
        if (!strcmp(name, weight[i].name) && !fp4_blocks) {
            p->weight.granularity = weight[i].granularity;
            p->weight.block = weight[i].block;
        }
    if (!strcmp(name, "a_per_token_dynamic") && p->activation.format != QF_NONE) {
        p->activation.granularity = QG_TOKEN;
        p->activation.dynamic = true;
    }
}

static inline void golden_numbers(double *out, const json_t *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = json_number_value(json_array_get(list, i));
}

static inline void golden_load(struct golden *g, const char *name)
{
    struct err e = {0};
    char *path = xasprintf("tests/fixtures/golden/%s.json", name);
    *g = (struct golden){.doc = json_load(path, JSON_LIMIT_CONFIG, &e)};
    free(path);
    if (!g->doc)
        BUG("%s", e.msg);
    const json_t *runs = json_object_get(g->doc, "runs"), *groups = json_object_get(g->doc, "groups");
    g->captions = (int)json_integer_value(json_object_get(g->doc, "captions"));
    g->n_runs = (int)json_array_size(runs);
    if (g->n_runs > GOLDEN_RUNS || json_array_size(groups) != GOLDEN_GROUPS)
        BUG("%d runs, %zu groups", g->n_runs, json_array_size(groups));
    for (size_t i = 0; i < GOLDEN_GROUPS; i++)
        g->group[i] = json_string_value(json_array_get(groups, i));
    golden_numbers(g->amax_bf16, json_object_get(g->doc, "input_amax_bf16"), GOLDEN_UNITS);
    golden_numbers(g->amax_fp32, json_object_get(g->doc, "input_amax_fp32"), GOLDEN_UNITS);
    golden_numbers(g->weight_amax, json_object_get(g->doc, "weight_amax"), GOLDEN_UNITS);
    for (int i = 0; i < g->n_runs; i++) {
        const json_t *o = json_array_get(runs, (size_t)i);
        const char *pair, *granularity, *dtype;
        if (json_get_str(o, "pair", name, &pair, &e) || json_get_str(o, "granularity", name, &granularity, &e) ||
            json_get_str(o, "dtype", name, &dtype, &e))
            BUG("%s", e.msg);
        struct golden_run *r = &g->run[i];
        *r = (struct golden_run){.pair = subject_pair(pair), .bf16 = !strcmp(dtype, "bf16"), .replay = -1,
                                 .error = json_string_value(json_object_get(o, "error"))};
        snprintf(r->name, sizeof r->name, "%s%s%s %s", pair, strcmp(granularity, "default") ? " " : "",
                 strcmp(granularity, "default") ? granularity : "", dtype);
        golden_overlay(&r->pair, granularity);
        r->weight_only = r->pair.activation.format == QF_NONE;
        golden_numbers(r->score, json_object_get(o, "scores"), GOLDEN_GROUPS);
    }
}

static inline void golden_free(struct golden *g)
{
    json_decref(g->doc);
}

/* Is a word among those of a list separated by blanks? */
static inline bool golden_lists(const char *list, const char *word)
{
    const size_t n = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += n)
        if ((at == list || at[-1] == ' ') && (at[n] == ' ' || !at[n]))
            return true;
    return false;
}

/* The runs of one dtype that ended, as one set; `only`: names of pairs, or NULL for all. */
static inline struct replay_set golden_pairs(struct golden *g, bool bf16, const char *only)
{
    struct replay_set set = {0};
    for (int i = 0; i < g->n_runs; i++) {
        struct golden_run *r = &g->run[i];
        r->replay = -1;
        if (r->bf16 == bf16 && !r->error && (!only || golden_lists(only, r->pair.name)))
            r->replay = subject_add(&set, &r->pair);
    }
    return set;
}

/* ---- distance */

/* Relative errors, over all groups in fp32, over all but lm_head in bf16. */
struct golden_figures {
    double median, p90, worst;
    double head;         /* of lm_head */
    double disorder;     /* 1 - Spearman's rank correlation of all groups */
    double amax;         /* worst relative error of an input's maximum, where the pair uses any */
    double weight_amax;  /* worst of a weight's maximum */
};

/* NaN is as far as can be. */
static inline double golden_distance(double got, double want)
{
    const double d = fabs(got - want) / fabs(want);
    return d <= 1e300 ? d : INFINITY;
}

static inline int golden_compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static inline double golden_rank(const double *x, int i)
{
    double rank = 0;
    for (int j = 0; j < GOLDEN_GROUPS; j++)
        rank += x[j] < x[i] ? 1 : x[j] == x[i] ? 0.5 : 0;
    return rank;
}

static inline double golden_disorder(const double *x, const double *y)
{
    double d2 = 0;
    for (int i = 0; i < GOLDEN_GROUPS; i++) {
        const double d = golden_rank(x, i) - golden_rank(y, i);
        d2 += d * d;
    }
    return 6 * d2 / ((double)GOLDEN_GROUPS * (GOLDEN_GROUPS * GOLDEN_GROUPS - 1));
}

/* Scores of the groups, in the goldens' order, which is the model's. */
static inline void golden_group_scores(double *score, const struct golden *g, const struct lm *lm,
                                       const struct scorer_result *r, int replay)
{
    int n = -1, current = -1;
    if (r->n_units != GOLDEN_UNITS)
        BUG("%d units", r->n_units);
    for (int u = 0; u < r->n_units; u++) {
        const int group = model_unit(lm, u)->group;
        if (group != current) {
            current = group;
            if (++n >= GOLDEN_GROUPS || strcmp(lm->group[group].name, g->group[n]))
                BUG("group '%s' at %d", lm->group[group].name, n);
            score[n] = 0;
        }
        score[n] += subject_unit_score(r, replay, u);
    }
    if (n != GOLDEN_GROUPS - 1)
        BUG("%d groups", n + 1);
}

static inline struct golden_figures golden_compare(const struct golden *g, const struct golden_run *run,
                                                   const struct lm *lm, const struct scorer_result *r)
{
    double got[GOLDEN_GROUPS], error[GOLDEN_GROUPS];
    struct golden_figures f = {0};
    golden_group_scores(got, g, lm, r, run->replay);
    for (int i = 0; i < GOLDEN_GROUPS; i++)
        error[i] = golden_distance(got[i], run->score[i]);
    const int n = run->bf16 ? GOLDEN_GROUPS - 1 : GOLDEN_GROUPS;
    f.head = error[GOLDEN_GROUPS - 1];
    qsort(error, (size_t)n, sizeof *error, golden_compare_doubles);
    f.median = error[n / 2];
    f.p90 = error[(9 * n + 9) / 10 - 1];
    f.worst = error[n - 1];
    f.disorder = isfinite(f.worst) && isfinite(f.head) ? golden_disorder(got, run->score) : 1;
    const double *amax = run->bf16 ? g->amax_bf16 : g->amax_fp32;
    for (int u = 0; u < GOLDEN_UNITS; u++) {
        if (!run->weight_only && amax[u] > 0)
            f.amax = fmax(f.amax, golden_distance(subject_amax(r, u), amax[u]));
        f.weight_amax = fmax(f.weight_amax, golden_distance((double)r->weight_amax[u], g->weight_amax[u]));
    }
    return f;
}

/* ---- bounds */

enum golden_row { GOLDEN_FP32, GOLDEN_FP32_FP4, GOLDEN_WEIGHT_ONLY, GOLDEN_BF16, GOLDEN_FEW, GOLDEN_ROWS };

/* A few times what separates the reference from itself on another machine, and below what a forgotten rounding costs
 * (test_faults.c). In fp32, NVFP4 alone differs: values that lie on a tie between two codes. With few captions one
 * maximum that flips weighs more. lm_head is special: all sentinel rows are equal, so one rounding that flips there
 * moves its score by a fifth. Weight maxima must be equal, and so must the inputs' where a pair takes none. */
static const struct golden_figures golden_bounds[GOLDEN_ROWS] = {
    [GOLDEN_FP32] = {1e-4, 1e-3, 5e-3, 5e-3, 0.01, 1e-5, 0},
    [GOLDEN_FP32_FP4] = {2e-3, 1e-2, 6e-2, 6e-2, 0.01, 1e-5, 0},
    [GOLDEN_WEIGHT_ONLY] = {0.003, 0.01, 0.03, 0.35, 0.01, 0, 0},
    [GOLDEN_BF16] = {0.005, 0.05, 0.16, 0.35, 0.01, 0.008, 0},
    [GOLDEN_FEW] = {0.01, 0.08, 0.16, 0.35, 1, 0.008, 0},
};

static inline enum golden_row golden_row(const struct golden *g, const struct golden_run *r)
{
    if (!r->bf16)
        return r->pair.weight.format == QF_FP4 ? GOLDEN_FP32_FP4 : GOLDEN_FP32;
    return g->captions < 128 ? GOLDEN_FEW : r->weight_only ? GOLDEN_WEIGHT_ONLY : GOLDEN_BF16;
}

/* Which bounds are broken, one bit a figure in the order of struct golden_figures. NaN breaks one. */
static inline unsigned golden_broken(const struct golden_figures *f, enum golden_row row)
{
    const struct golden_figures *b = &golden_bounds[row];
    const double pair[][2] = {{f->median, b->median}, {f->p90, b->p90},           {f->worst, b->worst},
                              {f->head, b->head},     {f->disorder, b->disorder}, {f->amax, b->amax},
                              {f->weight_amax, b->weight_amax}};
    unsigned broken = 0;
    for (size_t i = 0; i < sizeof pair / sizeof *pair; i++)
        broken |= (unsigned)!(pair[i][0] <= pair[i][1]) << i;
    return broken;
}

static inline const char *golden_text(const struct golden_figures *f)
{
    static char text[200];
    snprintf(text, sizeof text, "median %.2g, 90th %.2g, worst %.2g, lm_head %.2g, disorder %.2g, amax %.2g %.2g",
             f->median, f->p90, f->worst, f->head, f->disorder, f->amax, f->weight_amax);
    return text;
}

#endif
