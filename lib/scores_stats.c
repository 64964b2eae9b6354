#include "scores_stats.h"

#include <math.h>
#include <stdlib.h>

#include "mem.h"
#include "resample.h"
#include "stats.h"

/* Columns: units, then groups, then the total. */
struct table {
    struct resample_data data;
    double *r, *scores; /* data.r, and what resample_scores makes of it */
    double t;
    int units, groups;
};

/* r = record / s^2 of every unit, and its sums over groups and over all. */
static void fill_sequence(double *row, const json_t *groups, const double *record, double scale)
{
    const size_t n = json_array_size(groups);
    size_t u = 0, units = 0;
    for (size_t g = 0; g < n; g++)
        units += json_array_size(json_object_get(json_array_get(groups, g), "members"));
    double *of_group = row + units, *total = of_group + n;
    *total = 0;
    for (size_t g = 0; g < n; g++) {
        of_group[g] = 0;
        for (size_t k = json_array_size(json_object_get(json_array_get(groups, g), "members")); k; k--, u++)
            of_group[g] += row[u] = scale > 0 ? record[u] / (scale * scale) : 0;
        *total += of_group[g];
    }
}

static struct table table_open(const json_t *groups, const struct calib *c, const struct scorer_result *r, int replay,
                               bool bf16)
{
    const int columns = r->n_units + (int)json_array_size(groups) + 1;
    struct table t = {.units = r->n_units, .groups = (int)json_array_size(groups)};
    t.r = xmalloc((size_t)r->n_scored_seqs * (size_t)columns, sizeof *t.r);
    for (int64_t s = 0; s < r->n_scored_seqs; s++) {
        const double *record = scorer_record(r, replay, s);
        const float *scale = bf16 ? c->scale_bf16 : c->scale_f32;
        fill_sequence(t.r + s * columns, groups, record, (double)scale[c->batch[s]]);
    }
    t.data = (struct resample_data){.n_seqs = r->n_scored_seqs,
                                    .batch_size = c->batch_size,
                                    .bf16 = bf16,
                                    .n_loss = c->n_loss,
                                    .r = t.r,
                                    .columns = columns};
    t.scores = resample_scores(&t.data);
    t.t = stats_t(r->n_scored_seqs - 1);
    return t;
}

static void table_close(struct table *t)
{
    free(t->r);
    free(t->scores);
}

/* ---- as JSON */

static json_t *number(double x)
{
    return isnan(x) ? json_null() : json_real(x);
}

static json_t *estimate(const struct estimate *e, bool with_value)
{
    json_t *o = json_object();
    if (with_value)
        json_set(o, "value", json_real(e->value));
    json_set(o, "se", number(e->se));
    json_set(o, "low", number(e->low));
    json_set(o, "high", number(e->high));
    return o;
}

/* The estimates of a column whose score is given. */
static void add_estimates(json_t *o, const struct table *t, int column, double score)
{
    const struct resample_data *d = &t->data;
    const struct estimate of_score = stats_estimate(score, resample_se(t->scores, d, column), t->t);
    const struct estimate token = stats_ratio(d->r + column, d->columns, d->n_loss, d->n_seqs, t->t, 0.5);
    const struct estimate sequence = stats_mean(d->r + column, d->columns, d->n_seqs, t->t, 0.5);
    json_set(o, "score", estimate(&of_score, false));
    json_set(o, "nats_per_token", estimate(&token, true));
    json_set(o, "nats_per_sequence", estimate(&sequence, true));
}

static double score_of(const json_t *o)
{
    return json_number_value(json_object_get(o, "score"));
}

static json_t *share(const json_t *part, const json_t *whole)
{
    return json_real(score_of(whole) > 0 ? score_of(part) / score_of(whole) : 0);
}

static json_t *rank_json(const struct rank *r)
{
    json_t *o = json_object();
    json_set(o, "value", json_integer(r->value));
    json_set(o, "low", r->low ? json_integer(r->low) : json_null());
    json_set(o, "high", r->high ? json_integer(r->high) : json_null());
    json_set(o, "band", r->band ? json_integer(r->band) : json_null());
    return o;
}

/* The first of the members with the largest score. */
static const json_t *worst(const json_t *members)
{
    const json_t *most = json_array_get(members, 0);
    for (size_t i = 1; i < json_array_size(members); i++)
        if (score_of(json_array_get(members, i)) > score_of(most))
            most = json_array_get(members, i);
    return most;
}

static void add_to_group(json_t *group, const json_t *doc, const struct table *t, int *unit, int g,
                         const struct rank *rank)
{
    const json_t *members = json_object_get(group, "members");
    json_t *o = json_object();
    json_set(o, "share", share(group, doc));
    add_estimates(o, t, t->units + g, score_of(group));
    json_set(o, "rank", rank_json(rank));
    json_set(o, "worst", json_incref(json_object_get(worst(members), "unit")));
    for (size_t k = 0; k < json_array_size(members); k++) {
        json_t *member = json_array_get(members, k), *of_member = json_object();
        json_set(of_member, "share", share(member, group));
        add_estimates(of_member, t, (*unit)++, score_of(member));
        json_set(member, "statistics", of_member);
    }
    json_set(group, "statistics", o);
}

static json_t *of_document(const json_t *doc, const struct table *t)
{
    json_t *o = json_object(), *total = json_object();
    json_int_t tokens = 0;
    for (int64_t s = 0; s < t->data.n_seqs; s++)
        tokens += t->data.n_loss[s];
    add_estimates(total, t, t->units + t->groups, score_of(doc));
    json_set(o, "confidence", json_real(0.95));
    json_set(o, "sequences", json_integer(t->data.n_seqs));
    json_set(o, "loss_tokens", json_integer(tokens));
    json_set(o, "resamples", json_integer(RESAMPLES));
    json_set(o, "no_errors",
             t->data.n_seqs < 2 ? json_string("one sequence was scored: errors need two or more") : json_null());
    json_set(o, "total", total);
    return o;
}

void scores_stats_add(json_t *doc, const struct calib *c, const struct scorer_result *r, int replay, bool bf16)
{
    json_t *groups = json_object_get(doc, "groups");
    struct table t = table_open(groups, c, r, replay, bf16);
    double *score = xmalloc((size_t)t.groups, sizeof *score);
    struct rank *rank = xmalloc((size_t)t.groups, sizeof *rank);
    int unit = 0;
    for (int g = 0; g < t.groups; g++)
        score[g] = score_of(json_array_get(groups, (size_t)g));
    resample_ranks(rank, score, t.scores, &t.data, t.units, t.groups);
    for (int g = 0; g < t.groups; g++)
        add_to_group(json_array_get(groups, (size_t)g), doc, &t, &unit, g, &rank[g]);
    json_set(doc, "statistics", of_document(doc, &t));
    free(rank);
    free(score);
    table_close(&t);
}
