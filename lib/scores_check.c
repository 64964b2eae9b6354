#include "scores_check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

enum { PLACE = 600 };

static double score_of(const json_t *o)
{
    return json_number_value(json_object_get(o, "score"));
}

static bool near(double a, double b, double size)
{
    return fabs(a - b) <= 1e-9 * size;
}

/* {se, low, high}, around value; null where errors are not expected */
static int check_error(const json_t *o, double value, bool errors, const char *place, struct err *e)
{
    static const char *const key[] = {"se", "low", "high"};
    double x[3];
    for (int i = 0; i < 3; i++) {
        const json_t *v = json_object_get(o, key[i]);
        if (!errors && !json_is_null(v))
            return err_set(e, ERR_FORMAT, "%s: '%s' must be null, as no_errors says why", place, key[i]);
        if (errors && json_get_real(o, key[i], place, &x[i], e))
            return -1;
    }
    if (errors && (!(x[0] >= 0) || !(x[1] >= 0) || !(x[1] <= value) || !(x[2] >= value)))
        return err_set(e, ERR_FORMAT, "%s: %.17g +- %.17g does not lie from %.17g to %.17g, or is below 0", place,
                       value, x[0], x[1], x[2]);
    return 0;
}

/* Of a group, a member or the total: score, nats_per_token, nats_per_sequence. */
static int check_estimates(const json_t *s, double score, bool errors, const char *where, struct err *e)
{
    static const char *const nats[] = {"nats_per_token", "nats_per_sequence"};
    json_t *o;
    double value;
    char place[PLACE + 32];
    snprintf(place, sizeof place, "%s: score", where);
    if (json_get_object(s, "score", where, &o, e) || check_error(o, score, errors, place, e))
        return -1;
    for (int i = 0; i < 2; i++) {
        snprintf(place, sizeof place, "%s: %s", where, nats[i]);
        if (json_get_object(s, nats[i], where, &o, e) || json_get_real(o, "value", place, &value, e))
            return -1;
        if (!(value >= 0))
            return err_set(e, ERR_FORMAT, "%s: %.17g is below 0", place, value);
        if (check_error(o, value, errors, place, e))
            return -1;
    }
    return 0;
}

static int check_share(const json_t *s, double part, double whole, const char *place, struct err *e)
{
    double share;
    if (json_get_real(s, "share", place, &share, e))
        return -1;
    if (!near(share, whole > 0 ? part / whole : 0, 1))
        return err_set(e, ERR_FORMAT, "%s: share is %.17g, the scores are %.17g of %.17g", place, share, part, whole);
    return 0;
}

static int check_members(const json_t *group, const char *worst, bool errors, const char *where, struct err *e)
{
    const json_t *members = json_object_get(group, "members"), *member;
    double most = -1, of_worst = -1;
    size_t i;
    char place[PLACE];
    json_array_foreach((json_t *)(uintptr_t)members, i, member)
    {
        const char *unit = json_string_value(json_object_get(member, "unit"));
        json_t *s;
        snprintf(place, sizeof place, "%.400s: member '%.150s': statistics", where, unit);
        if (json_get_object(member, "statistics", place, &s, e) ||
            check_share(s, score_of(member), score_of(group), place, e) ||
            check_estimates(s, score_of(member), errors, place, e))
            return -1;
        most = fmax(most, score_of(member));
        if (!strcmp(unit, worst))
            of_worst = score_of(member);
    }
    if (of_worst != most)
        return err_set(e, ERR_FORMAT, "%s: worst is '%.150s', which is not the member with the largest score", where,
                       worst);
    return 0;
}

struct ranked {
    double score; /* -1: no group has this rank */
    int band;
};

static int check_rank(const json_t *s, double score, bool errors, struct ranked *ranked, size_t n, const char *where,
                      struct err *e)
{
    static const char *const of_errors[] = {"low", "high", "band"};
    json_t *o;
    int64_t value, x[3] = {0};
    char place[PLACE + 32];
    snprintf(place, sizeof place, "%s: rank", where);
    if (json_get_object(s, "rank", where, &o, e) || json_get_int(o, "value", place, 1, (int64_t)n, &value, e))
        return -1;
    for (int i = 0; i < 3; i++)
        if (errors ? json_get_int(o, of_errors[i], place, 1, (int64_t)n, &x[i], e)
                   : !json_is_null(json_object_get(o, of_errors[i])))
            return errors ? -1
                          : err_set(e, ERR_FORMAT, "%s: '%s' must be null, as no_errors says why", place, of_errors[i]);
    if (errors && (x[0] > value || x[1] < value))
        return err_set(e, ERR_FORMAT, "%s: %lld does not lie from %lld to %lld", place, (long long)value,
                       (long long)x[0], (long long)x[1]);
    if (ranked[value - 1].score >= 0)
        return err_set(e, ERR_FORMAT, "%s: %lld is another group's too", place, (long long)value);
    ranked[value - 1] = (struct ranked){score, (int)x[2]};
    return 0;
}

/* Scores fall with the rank; bands begin with 1 and rise by one at most. */
static int check_order(const struct ranked *ranked, size_t n, bool errors, const char *where, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        const int before = i ? ranked[i - 1].band : 0;
        if (i && ranked[i].score > ranked[i - 1].score)
            return err_set(e, ERR_FORMAT, "%s: statistics: rank %zu has score %.17g, rank %zu has %.17g", where, i,
                           ranked[i - 1].score, i + 1, ranked[i].score);
        if (errors && ranked[i].band != before + 1 && (!i || ranked[i].band != before))
            return err_set(e, ERR_FORMAT, "%s: statistics: rank %zu is in band %d after band %d", where, i + 1,
                           ranked[i].band, before);
    }
    return 0;
}

static int check_groups(const json_t *doc, bool errors, struct ranked *ranked, const char *where, struct err *e)
{
    const json_t *groups = json_object_get(doc, "groups"), *group;
    const size_t n = json_array_size(groups);
    size_t i;
    char place[PLACE];
    json_array_foreach((json_t *)(uintptr_t)groups, i, group)
    {
        json_t *s;
        const char *worst;
        snprintf(place, sizeof place, "%.350s: group '%.150s': statistics", where,
                 json_string_value(json_object_get(group, "name")));
        if (json_get_object(group, "statistics", place, &s, e) ||
            check_share(s, score_of(group), score_of(doc), place, e) ||
            check_estimates(s, score_of(group), errors, place, e) ||
            check_rank(s, score_of(group), errors, ranked, n, place, e) || json_get_str(s, "worst", place, &worst, e) ||
            check_members(group, worst, errors, place, e))
            return -1;
    }
    return check_order(ranked, n, errors, where, e);
}

int scores_check_statistics(const json_t *doc, const char *where, struct err *e)
{
    json_t *s, *total;
    int64_t unused;
    double confidence;
    char place[PLACE];
    if (!json_object_get(doc, "statistics"))
        return 0;
    snprintf(place, sizeof place, "%.500s: statistics", where);
    if (json_get_object(doc, "statistics", where, &s, e) || json_get_real(s, "confidence", place, &confidence, e) ||
        json_get_int(s, "sequences", place, 1, INT32_MAX, &unused, e) ||
        json_get_int(s, "loss_tokens", place, 0, INT64_MAX, &unused, e) ||
        json_get_int(s, "resamples", place, 1, INT32_MAX, &unused, e) || json_get_object(s, "total", place, &total, e))
        return -1;
    const json_t *no_errors = json_object_get(s, "no_errors");
    if (!json_is_null(no_errors) && !json_is_string(no_errors))
        return err_set(e, ERR_FORMAT, "%s: 'no_errors' must be a string or null", place);
    if (!(confidence > 0 && confidence < 1))
        return err_set(e, ERR_FORMAT, "%s: a confidence of %.17g is not between 0 and 1", place, confidence);
    const bool errors = json_is_null(no_errors);
    const size_t n = json_array_size(json_object_get(doc, "groups"));
    struct ranked *ranked = xmalloc(n, sizeof *ranked);
    for (size_t i = 0; i < n; i++)
        ranked[i] = (struct ranked){-1, 0};
    snprintf(place, sizeof place, "%.500s: statistics: total", where);
    const int rc =
        check_estimates(total, score_of(doc), errors, place, e) ? -1 : check_groups(doc, errors, ranked, where, e);
    free(ranked);
    return rc;
}

/* ---- split */

static int check_split(const json_t *o, const char *place, struct err *e)
{
    const double score = score_of(o);
    json_t *s;
    double weight, activation, interaction, share = 0;
    if (json_get_object(o, "split", place, &s, e) || json_get_real(s, "weight", place, &weight, e) ||
        json_get_real(s, "activation", place, &activation, e) ||
        json_get_real(s, "interaction", place, &interaction, e) ||
        (score > 0 && json_get_real(s, "interaction_share", place, &share, e)))
        return -1;
    const double size = fmax(score, fmax(weight, activation));
    if (!(weight >= 0) || !(activation >= 0) || !near(interaction, score - weight - activation, size))
        return err_set(e, ERR_FORMAT, "%s: split: %.17g of weights, %.17g of activations and %.17g make no %.17g",
                       place, weight, activation, interaction, score);
    if (!near(score * share, score > 0 ? interaction : 0, size))
        return err_set(e, ERR_FORMAT, "%s: split: interaction_share is %.17g, %.17g of %.17g is not", place, share,
                       interaction, score);
    return 0;
}

int scores_check_split(const json_t *doc, const char *where, struct err *e)
{
    const json_t *groups = json_object_get(doc, "groups"), *group, *member;
    size_t i, k;
    char place[PLACE];
    if (!json_object_get(doc, "split"))
        return 0;
    if (check_split(doc, where, e))
        return -1;
    json_array_foreach((json_t *)(uintptr_t)groups, i, group)
    {
        const json_t *members = json_object_get(group, "members");
        snprintf(place, sizeof place, "%.350s: group '%.150s'", where,
                 json_string_value(json_object_get(group, "name")));
        if (check_split(group, place, e))
            return -1;
        json_array_foreach((json_t *)(uintptr_t)members, k, member)
        {
            snprintf(place, sizeof place, "%.350s: member '%.150s'", where,
                     json_string_value(json_object_get(member, "unit")));
            if (check_split(member, place, e))
                return -1;
        }
    }
    return 0;
}
