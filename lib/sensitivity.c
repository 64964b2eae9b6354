#include "sensitivity.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define SUFFIX ".quant_recipe"
enum { NONE_BITS = 16, MAX_FORMATS = 1000, MAX_ROWS = 1 << 20 };
static const double max_cost = 0x1p50, max_score = 1e100;

struct sens_row *sens_add(struct sens_table *t, const char *name, uint64_t weights)
{
    /* powers of two: rows come by the hundred */
    if ((t->n & (t->n - 1)) == 0)
        t->row = xrealloc(t->row, t->n ? 2 * (size_t)t->n : 1, sizeof *t->row);
    struct sens_row *r = &t->row[t->n++];
    *r = (struct sens_row){.name = xstrdup(name), .weights = weights};
    r->format = xmalloc(1, sizeof *r->format);
    r->format[r->n_formats++] = (struct sens_format){xstrdup(SENS_NONE), NONE_BITS, 0};
    return r;
}

void sens_add_format(struct sens_row *r, const char *name, double bits, double score)
{
    r->format = xrealloc(r->format, (size_t)r->n_formats + 1, sizeof *r->format);
    r->format[r->n_formats] = r->format[r->n_formats - 1];
    r->format[r->n_formats - 1] = (struct sens_format){xstrdup(name), bits, score};
    r->n_formats++;
}

void sens_free(struct sens_table *t)
{
    for (int i = 0; i < t->n; i++) {
        for (int j = 0; j < t->row[i].n_formats; j++)
            free(t->row[i].format[j].name);
        free(t->row[i].format);
        free(t->row[i].name);
    }
    free(t->row);
    free(t->ascending);
    *t = (struct sens_table){0};
}

double sens_cost(const struct sens_row *r, int i)
{
    return (double)r->weights * (r->format[i].bits / NONE_BITS);
}

const struct sens_format *sens_shown(const struct sens_row *r)
{
    return &r->format[0];
}

/* ---- order ---- */

struct keyed {
    double key;
    int row;
};

static int by_key(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->row - y->row;
}

static int *order(const struct sens_table *t, char what, double sign)
{
    struct keyed *k = xmalloc((size_t)t->n, sizeof *k);
    int *out = xmalloc((size_t)t->n, sizeof *out);
    for (int i = 0; i < t->n; i++)
        k[i] = (struct keyed){sign * (what == 'i' ? t->row[i].importance : sens_shown(&t->row[i])->score), i};
    qsort(k, (size_t)t->n, sizeof *k, by_key);
    for (int i = 0; i < t->n; i++)
        out[i] = k[i].row;
    free(k);
    return out;
}

int *sens_descending(const struct sens_table *t, char key)
{
    return order(t, key, -1);
}

void sens_rank(struct sens_table *t)
{
    for (int i = 0; i < t->n; i++) {
        struct sens_row *r = &t->row[i];
        r->importance = 0;
        for (int j = 0; j < r->n_formats; j++)
            r->importance = fmax(r->importance, r->format[j].score);
    }
    free(t->ascending);
    t->ascending = order(t, 'i', 1);
    for (int i = 0; i < t->n; i++)
        t->row[t->ascending[i]].rank = i + 1;
}

/* ---- writing ---- */

static json_t *quant_recipe(const struct sens_row *r)
{
    return json_sprintf("%s" SUFFIX, r->name);
}

json_t *sens_layers_json(const struct sens_table *t)
{
    json_t *layers = json_object();
    for (int i = 0; i < t->n; i++) {
        const struct sens_row *r = &t->row[i];
        json_t *formats = json_array(), *scores = json_array(), *costs = json_array(), *name = quant_recipe(r);
        for (int j = 0; j < r->n_formats; j++) {
            char bits[JSON_REPR];
            json_real_repr(r->format[j].bits, bits);
            json_array_append_new(formats, json_sprintf("%s(effective-bits: %s)", r->format[j].name, bits));
            json_array_append_new(scores, json_real(r->format[j].score));
            json_array_append_new(costs, json_real(sens_cost(r, j)));
        }
        json_object_set_new(layers, json_string_value(name),
                            json_pack("{so so so sf si}", "formats", formats, "scores", scores, "costs", costs,
                                      "importance", r->importance, "rank", r->rank));
        json_decref(name);
    }
    return layers;
}

json_t *sens_ranking_json(const struct sens_table *t)
{
    json_t *ranking = json_array();
    for (int i = 0; i < t->n; i++) {
        const struct sens_row *r = &t->row[t->ascending[i]];
        json_array_append_new(ranking, json_pack("{so sf}", "name", quant_recipe(r), "importance", r->importance));
    }
    return ranking;
}

/* ---- reading ---- */

/* "NAME(effective-bits: 8.0)" */
static int parse_format(const json_t *v, const char *where, char **name, double *bits, struct err *e)
{
    static const char mark[] = "(effective-bits: ";
    const char *text = json_string_value(v), *p = text ? strstr(text, mark) : NULL;
    if (!p || p == text)
        return err_set(e, ERR_FORMAT, "%s: a format must read like 'NAME(effective-bits: 8.0)'", where);
    const char *number = p + strlen(mark);
    char *end;
    *bits = strtod(number, &end);
    if (end == number || strcmp(end, ")") || !(*bits > 0) || !(*bits <= NONE_BITS))
        return err_set(e, ERR_FORMAT, "%s: format '%.80s' must name between 0 and 16 effective bits", where, text);
    *name = xstrndup(text, (size_t)(p - text));
    return 0;
}

static int number_at(const json_t *list, size_t i, double limit, const char *what, const char *where, double *out,
                     struct err *e)
{
    const json_t *v = json_array_get(list, i);
    *out = json_number_value(v);
    if (!json_is_number(v) || !(*out >= 0) || !(*out <= limit))
        return err_set(e, ERR_FORMAT, "%s: %s %zu is not a number from 0 to %g", where, what, i + 1, limit);
    return 0;
}

static int parse_formats(struct sens_row *r, const json_t *formats, const json_t *scores, const json_t *costs,
                         const char *where, struct err *e)
{
    const size_t n = json_array_size(formats);
    double weights, score, cost, bits = 0, before = 0;
    if (n < 1 || n > MAX_FORMATS || json_array_size(scores) != n || json_array_size(costs) != n)
        return err_set(e, ERR_FORMAT, "%s: %zu formats, %zu scores and %zu costs; there must be as many of each", where,
                       n, json_array_size(scores), json_array_size(costs));
    if (number_at(costs, n - 1, max_cost, "cost", where, &weights, e))
        return -1;
    r->weights = (uint64_t)weights;
    if (!((double)r->weights == weights) || !r->weights)
        return err_set(e, ERR_FORMAT, "%s: the cost of NONE must be its number of weights, not %g", where, weights);
    for (size_t i = 0; i < n; i++) {
        char *name = NULL;
        if (number_at(scores, i, max_score, "score", where, &score, e) ||
            number_at(costs, i, max_cost, "cost", where, &cost, e) ||
            parse_format(json_array_get(formats, i), where, &name, &bits, e))
            return -1;
        const int is_none = !strcmp(name, SENS_NONE);
        const int in_place =
            is_none == (i + 1 == n) && (!is_none || (bits == NONE_BITS && score == 0)) && bits >= before;
        if (in_place && !is_none)
            sens_add_format(r, name, bits, score);
        free(name);
        if (!in_place)
            return err_set(e, ERR_FORMAT,
                           "%s: formats must run from few bits to many and end with NONE at 16 bits, score 0", where);
        if (!(fabs(cost - weights * bits / NONE_BITS) <= 1e-9 * weights))
            return err_set(e, ERR_FORMAT, "%s: cost %zu is %.17g, but %g weights of %g bits cost %.17g", where, i + 1,
                           cost, weights, bits, weights * bits / NONE_BITS);
        before = bits;
    }
    return 0;
}

static int parse_row(struct sens_table *t, const char *key, const json_t *o, const char *file, struct err *e)
{
    char where[600];
    json_t *formats, *scores, *costs;
    const size_t n = strlen(key), suffix = strlen(SUFFIX);
    snprintf(where, sizeof where, "'%.400s': layer_sensitivity of '%.150s'", file, key);
    if (n <= suffix || strcmp(key + n - suffix, SUFFIX))
        return err_set(e, ERR_FORMAT, "%s: the name must end with " SUFFIX, where);
    if (json_get_array(o, "formats", where, &formats, e) || json_get_array(o, "scores", where, &scores, e) ||
        json_get_array(o, "costs", where, &costs, e))
        return -1;
    char *name = xstrndup(key, n - suffix);
    struct sens_row *r = sens_add(t, name, 0);
    free(name);
    return parse_formats(r, formats, scores, costs, where, e);
}

/* What the file says of itself must be what follows from its scores. */
static int check_claims(const struct sens_table *t, const json_t *layers, const json_t *ranking, const char *file,
                        struct err *e)
{
    char where[600];
    const char *key, *name;
    json_t *o;
    double importance;
    int64_t rank;
    int i = 0;
    json_object_foreach((json_t *)(uintptr_t)layers, key, o)
    {
        const struct sens_row *r = &t->row[i++];
        snprintf(where, sizeof where, "'%.400s': layer_sensitivity of '%.150s'", file, key);
        if (json_get_real(o, "importance", where, &importance, e) || json_get_int(o, "rank", where, 1, t->n, &rank, e))
            return -1;
        if (importance != r->importance)
            return err_set(e, ERR_FORMAT, "%s: importance is %.17g, its largest score %.17g", where, importance,
                           r->importance);
        if (rank != r->rank)
            return err_set(e, ERR_FORMAT, "%s: rank is %" PRId64 ", by its importance it is %d", where, rank, r->rank);
    }
    if (json_array_size(ranking) != (size_t)t->n)
        return err_set(e, ERR_FORMAT, "'%s': sensitivity_ranking has %zu entries for %d groups", file,
                       json_array_size(ranking), t->n);
    for (i = 0; i < t->n; i++) {
        const struct sens_row *r = &t->row[t->ascending[i]];
        o = json_array_get(ranking, (size_t)i);
        snprintf(where, sizeof where, "'%.400s': sensitivity_ranking entry %d", file, i + 1);
        if (json_get_str(o, "name", where, &name, e) || json_get_real(o, "importance", where, &importance, e))
            return -1;
        const size_t n = strlen(r->name);
        if (strncmp(name, r->name, n) || strcmp(name + n, SUFFIX) || importance != r->importance)
            return err_set(e, ERR_FORMAT, "%s: is '%.150s' (%.17g), by importance it is '%.150s' (%.17g)", where, name,
                           importance, r->name, r->importance);
    }
    return 0;
}

int sens_parse(struct sens_table *t, const json_t *layers, const json_t *ranking, const char *file, struct err *e)
{
    *t = (struct sens_table){0};
    const char *key;
    json_t *o;
    int rc = 0;
    if (json_object_size(layers) < 1 || json_object_size(layers) > MAX_ROWS)
        rc = err_set(e, ERR_FORMAT, "'%s': layer_sensitivity has %zu groups (allowed are 1 to %d)", file,
                     json_object_size(layers), MAX_ROWS);
    json_object_foreach((json_t *)(uintptr_t)layers, key, o)
    {
        if (rc)
            break;
        rc = parse_row(t, key, o, file, e);
    }
    if (!rc) {
        sens_rank(t);
        rc = check_claims(t, layers, ranking, file, e);
    }
    if (rc)
        sens_free(t);
    return rc;
}
