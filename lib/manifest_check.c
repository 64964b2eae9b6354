#include "manifest_check.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "scores_check.h"

enum { NONE_BITS = 16 };

/* Sums may have been taken in another order. */
static int near(double a, double b)
{
    return fabs(a - b) <= 1e-9 * fmax(fabs(a), fabs(b));
}

static int check_members(const json_t *group, const struct sens_row *r, const char *place, struct err *e)
{
    json_t *members;
    double sum = 0, score;
    int64_t weights = 0, w;
    if (json_get_array(group, "members", place, &members, e))
        return -1;
    if (!json_array_size(members))
        return err_set(e, ERR_FORMAT, "%s: has no members", place);
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        const char *unit;
        if (json_get_str(m, "unit", place, &unit, e) || json_get_real(m, "score", place, &score, e) ||
            json_get_int(m, "weights", place, 1, INT64_C(1) << 50, &w, e))
            return -1;
        if (!(score >= 0))
            return err_set(e, ERR_FORMAT, "%s: member '%.100s' has a score below 0", place, unit);
        sum += score;
        if (__builtin_add_overflow(weights, w, &weights))
            return err_set(e, ERR_FORMAT, "%s: its members have too many weights", place);
    }
    if (!near(sum, sens_shown(r)->score))
        return err_set(e, ERR_FORMAT, "%s: its members' scores add up to %.17g, not %.17g", place, sum,
                       sens_shown(r)->score);
    if (weights != (int64_t)r->weights)
        return err_set(e, ERR_FORMAT, "%s: its members have %" PRId64 " weights, not %" PRIu64, place, weights,
                       r->weights);
    return 0;
}

struct totals {
    double score;         /* of all groups */
    double chosen;        /* of those that the recipe quantizes */
    double bits, weights; /* sum of weights * bits of the choices; of weights */
};

/* A recipe calls its pair PAIR, or PAIR/GRANULARITY where an overlay changed it. */
static bool is_own(const char *pick, const char *own, const char *granularity)
{
    const size_t n = strlen(own);
    if (strncmp(pick, own, n))
        return false;
    const bool overlaid = granularity && pick[n] == '/' && !strcmp(pick + n + 1, granularity);
    return !pick[n] || overlaid;
}

static int check_group(const struct manifest *m, const struct sens_row *r, const json_t *g, const char *where,
                       struct totals *t, struct err *e)
{
    const json_t *pair = json_object_get(m->qsens, "pair");
    json_t *chosen;
    const char *name, *pick, *own, *recipe_name;
    double score;
    int64_t weights, bits;
    char place[512];
    if (json_get_str(pair, "name", where, &own, e) || json_get_str(pair, "recipe_name", where, &recipe_name, e) ||
        json_get_int(pair, "bits", where, 1, NONE_BITS, &bits, e) ||
        json_get_object(json_object_get(m->qsens, "recipe"), "groups", where, &chosen, e))
        return -1;
    snprintf(place, sizeof place, "%.300s: qsens group '%.150s'", where, r->name);
    if (!g)
        return err_set(e, ERR_FORMAT, "%s: is missing", place);
    if (json_get_str(g, "name", place, &name, e) || json_get_real(g, "score", place, &score, e) ||
        json_get_int(g, "weights", place, 1, INT64_C(1) << 50, &weights, e) ||
        json_get_str(chosen, r->name, place, &pick, e))
        return -1;
    if (strcmp(name, r->name) || score != sens_shown(r)->score || (uint64_t)weights != r->weights)
        return err_set(e, ERR_FORMAT,
                       "%s: is '%.150s' with score %.17g and %" PRId64
                       " weights, in layer_sensitivity the score is %.17g and the weights are %" PRIu64,
                       place, name, score, weights, sens_shown(r)->score, r->weights);
    if (r->n_formats != 2 || strcmp(sens_shown(r)->name, recipe_name) || sens_shown(r)->bits != (double)bits)
        return err_set(e, ERR_FORMAT, "%s: its format is not the pair's, %.100s with %" PRId64 " bits", place,
                       recipe_name, bits);
    const int none = !strcmp(pick, SENS_NONE);
    if (!none && !is_own(pick, own, json_string_value(json_object_get(m->qsens, "granularity"))))
        return err_set(e, ERR_FORMAT, "%s: the recipe chooses '%.100s', which is neither the pair nor NONE", place,
                       pick);
    t->score += score;
    t->chosen += none ? 0 : score;
    t->bits += (double)r->weights * (none ? NONE_BITS : (double)bits);
    return check_members(g, r, place, e);
}

static int check_recipe(const struct manifest *m, const char *place, const struct totals *t, struct err *e)
{
    const json_t *recipe = json_object_get(m->qsens, "recipe");
    double asked, adjusted, bound, gap;
    if (json_get_real(recipe, "asked_bits", place, &asked, e) ||
        json_get_real(recipe, "adjusted_bits", place, &adjusted, e) ||
        json_get_real(recipe, "bound", place, &bound, e) || json_get_real(recipe, "gap", place, &gap, e))
        return -1;
    if (!near(t->chosen, m->score))
        return err_set(e, ERR_FORMAT, "%s: the recipe's groups score %.17g, autoquant_state says %.17g", place,
                       t->chosen, m->score);
    if (!near(t->bits / t->weights, m->effective_bits))
        return err_set(e, ERR_FORMAT, "%s: the recipe has %.17g effective bits, autoquant_state says %.17g", place,
                       t->bits / t->weights, m->effective_bits);
    if (!near(adjusted, m->auto_quantize_bits))
        return err_set(e, ERR_FORMAT, "%s: the recipe's budget is %.17g bits, the scheme's %.17g", place, adjusted,
                       m->auto_quantize_bits);
    /* the least cost that breaks the budget is one weight's bit more */
    if (m->is_satisfied != (m->effective_bits <= m->auto_quantize_bits * (1 + 1e-12)))
        return err_set(e, ERR_FORMAT, "%s: is_satisfied is %s with %.17g of %.17g bits", place,
                       m->is_satisfied ? "true" : "false", m->effective_bits, m->auto_quantize_bits);
    if (m->is_satisfied && !(bound <= m->score * (1 + 1e-9)))
        return err_set(e, ERR_FORMAT, "%s: the score %.17g lies below its lower bound %.17g", place, m->score, bound);
    if (!(fabs(m->score - bound - gap) <= 1e-9 * fmax(m->score, fabs(bound))))
        return err_set(e, ERR_FORMAT, "%s: gap is %.17g, score - bound is %.17g", place, gap, m->score - bound);
    return 0;
}

int manifest_check_qsens(const struct manifest *m, const char *where, struct err *e)
{
    char place[512];
    json_t *groups, *recipe, *pair, *chosen;
    int64_t version;
    double score;
    struct totals t = {0};
    size_t k = 0;
    snprintf(place, sizeof place, "%.400s: qsens", where);
    if (json_get_int(m->qsens, "version", place, 1, 1, &version, e) ||
        json_get_object(m->qsens, "pair", place, &pair, e) || json_get_array(m->qsens, "groups", place, &groups, e) ||
        json_get_object(m->qsens, "recipe", place, &recipe, e) ||
        json_get_object(recipe, "groups", place, &chosen, e) || json_get_real(m->qsens, "score", place, &score, e))
        return -1;
    for (int i = 0; i < m->table.n; i++) {
        const struct sens_row *r = &m->table.row[i];
        t.weights += (double)r->weights;
        if (r->n_formats == 1)
            t.bits += (double)r->weights * NONE_BITS;
        else if (check_group(m, r, json_array_get(groups, k++), where, &t, e))
            return -1;
    }
    if (k != json_array_size(groups) || k != json_object_size(chosen))
        return err_set(e, ERR_FORMAT,
                       "%s: qsens has %zu groups and choices for %zu, layer_sensitivity has %zu that can be quantized",
                       where, json_array_size(groups), json_object_size(chosen), k);
    if (!near(t.score, score))
        return err_set(e, ERR_FORMAT, "%s: the groups' scores add up to %.17g, not %.17g", place, t.score, score);
    if (scores_check_statistics(m->qsens, place, e) || scores_check_split(m->qsens, place, e))
        return -1;
    return check_recipe(m, place, &t, e);
}
