/* The menu: groups, pairs, and that all scores on it measure the same thing. */
#include "recipe.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "mem.h"

enum { NONE_BITS = 16 };

int recipe_add_group(struct recipe_menu *m, const char *name, uint64_t weights, bool fixed, struct err *e)
{
    if (m->n_pairs)
        BUG("groups come before pairs");
    /* costs in whole numbers must fit 63 bits for the whole model */
    if (!add_u64(m->weights, weights, &m->weights) || m->weights > INT64_MAX / (NONE_BITS * RECIPE_STEPS))
        return err_set(e, ERR_FORMAT, "the weights up to group '%s' are more than a model can have", name);
    m->fixed_weights += fixed ? weights : 0;
    m->group = xrealloc(m->group, (size_t)m->n_groups + 1, sizeof *m->group);
    m->group[m->n_groups++] = (struct recipe_group){xstrdup(name), weights, fixed};
    return 0;
}

/* Scores may be compared only if they measure the same thing. origin holds, in order: tool, then what that tool
 * records. A value that only one side records cannot be compared and passes. */
static void set(json_t *origin, const char *key, const json_t *value)
{
    if (value && !json_is_null(value))
        json_object_set(origin, key, (json_t *)(uintptr_t)value);
}

/* doc: a scores.json or the `qsens` of a manifest, which hold the same members. */
static json_t *origin_of_ours(const json_t *doc)
{
    json_t *o = json_pack("{ss}", "tool", "qsens");
    const json_t *inputs = json_object_get(doc, "inputs"), *arithmetic = json_object_get(doc, "arithmetic");
    const json_t *calibration = json_object_get(doc, "calibration");
    set(o, "weights_sha256", json_object_get(inputs, "weights_sha256"));
    set(o, "tokens_sha256", json_object_get(inputs, "tokens_sha256"));
    set(o, "arithmetic_version", json_object_get(arithmetic, "version"));
    set(o, "dtype", json_object_get(arithmetic, "dtype"));
    set(o, "padding", json_object_get(arithmetic, "padding"));
    set(o, "score_sequences", json_object_get(calibration, "score_sequences"));
    return o;
}

static json_t *origin_of_reference(const struct manifest *x)
{
    json_t *o =
        json_pack("{ss ss sI}", "tool", "reference", "model", x->model_id, "score_size", (json_int_t)x->score_size);
    set(o, "captions", json_object_get(x->dataset, "captions_path"));
    set(o, "sequences", json_object_get(x->dataset, "num_calib_samples"));
    return o;
}

static char *text_of(const json_t *v)
{
    char *quoted = json_dumps(v, JSON_ENCODE_ANY), *s = xasprintf("%.80s", quoted ? quoted : "?");
    free(quoted);
    return s;
}

/* Takes ownership of origin. */
static int same_origin(struct recipe_menu *m, json_t *origin, const char *path, struct err *e)
{
    if (!m->origin) {
        m->origin = origin;
        m->first = xstrdup(path);
        return 0;
    }
    int rc = 0;
    const char *key;
    json_t *old;
    json_object_foreach(m->origin, key, old)
    {
        const json_t *new = json_object_get(origin, key);
        if (rc || !new || json_equal(old, new))
            continue;
        char *a = text_of(old), *b = text_of(new);
        rc = err_set(e, ERR_CONFIG, "'%s' and '%s' cannot share a menu: %s is %s there and %s here", m->first, path,
                     key, a, b);
        free(a);
        free(b);
    }
    if (!rc)
        json_object_update_missing(m->origin, origin);
    json_decref(origin);
    return rc;
}

static int add_pair(struct recipe_menu *m, char *name, const char *recipe_name, double bits, const char *path,
                    struct recipe_pair **out, struct err *e)
{
    int rc = 0;
    for (int i = 0; !rc && i < m->n_pairs; i++)
        if (!strcmp(m->pair[i].name, name))
            rc = err_set(e, ERR_CONFIG, "'%s': pair %s is on the menu already", path, name);
    if (!rc && !(bits * RECIPE_STEPS == floor(bits * RECIPE_STEPS)))
        rc = err_set(e, ERR_CONFIG, "'%s': %g effective bits are not a multiple of 1/%d", path, bits, RECIPE_STEPS);
    if (rc) {
        free(name);
        return rc;
    }
    m->pair = xrealloc(m->pair, (size_t)m->n_pairs + 1, sizeof *m->pair);
    *out = &m->pair[m->n_pairs++];
    **out = (struct recipe_pair){name, xstrdup(recipe_name), bits, xcalloc((size_t)m->n_groups, sizeof(double))};
    return 0;
}

static int other_groups(const char *path, const char *here, const char *there, struct err *e)
{
    return err_set(e, ERR_CONFIG, "'%s' does not have the model's groups: %s where %s is expected", path, here, there);
}

/* The group that a file's next entry must be: equal name and weights. */
static int same_group(const struct recipe_menu *m, int g, const char *name, uint64_t weights, const char *path,
                      struct err *e)
{
    if (g >= m->n_groups)
        return other_groups(path, name, "the end", e);
    if (strcmp(m->group[g].name, name))
        return other_groups(path, name, m->group[g].name, e);
    if (m->group[g].weights != weights)
        return err_set(e, ERR_CONFIG, "'%s' is of another model: group '%s' has %" PRIu64 " weights, not %" PRIu64,
                       path, name, weights, m->group[g].weights);
    return 0;
}

int recipe_add_scores(struct recipe_menu *m, const struct scores *s, const char *path, struct err *e)
{
    struct recipe_pair *p;
    if (!m->n_groups)
        return err_set(
            e, ERR_CONFIG,
            "'%s' does not list the vision units, whose weights count too: give --lm lm.json, or a manifest first",
            path);
    if (same_origin(m, origin_of_ours(s->doc), path, e))
        return -1;
    const bool plain = !strcmp(s->granularity, "default");
    if (add_pair(m, xasprintf("%s%s%s", s->pair, plain ? "" : "/", plain ? "" : s->granularity), s->recipe_name,
                 s->bits, path, &p, e))
        return -1;
    int g = 0;
    for (int i = 0; i < s->n_groups; i++, g++) {
        while (g < m->n_groups && m->group[g].fixed)
            g++;
        if (same_group(m, g, s->group[i].name, s->group[i].weights, path, e))
            return -1;
        p->score[g] = s->group[i].score;
    }
    for (; g < m->n_groups; g++)
        if (!m->group[g].fixed)
            return other_groups(path, "the end", m->group[g].name, e);
    return 0;
}

/* A manifest's formats by name; every group that is not fixed must have all of them. */
static char *pair_name(const struct manifest *x, const struct sens_row *r, int format)
{
    static const char tail[] = "_autoquant_lm";
    const char *ours = json_string_value(json_object_get(json_object_get(x->qsens, "pair"), "name"));
    const char *overlay = json_string_value(json_object_get(x->qsens, "granularity"));
    const size_t n = strlen(x->scheme), k = strlen(tail);
    const int stem = (int)(n > k && !strcmp(x->scheme + n - k, tail) ? n - k : n);
    if (r->n_formats > 2)
        return xasprintf("%.*s/%s", stem, x->scheme, r->format[format].name);
    if (!ours)
        return xasprintf("%.*s", stem, x->scheme);
    return overlay && strcmp(overlay, "default") ? xasprintf("%s/%s", ours, overlay) : xstrdup(ours);
}

static int add_formats(struct recipe_menu *m, const struct manifest *x, const char *path, struct err *e)
{
    const struct sens_row *model = NULL; /* the first row with a choice */
    for (int g = 0; !model && g < x->table.n; g++)
        if (x->table.row[g].n_formats > 1)
            model = &x->table.row[g];
    if (!model)
        return err_set(e, ERR_CONFIG, "'%s' has no group that can be quantized", path);
    for (int i = 0; i + 1 < model->n_formats; i++) {
        struct recipe_pair *p;
        if (add_pair(m, pair_name(x, model, i), model->format[i].name, model->format[i].bits, path, &p, e))
            return -1;
        for (int g = 0; g < m->n_groups; g++) {
            const struct sens_row *r = &x->table.row[g];
            if (m->group[g].fixed)
                continue;
            if (r->n_formats != model->n_formats || strcmp(r->format[i].name, p->recipe_name) ||
                r->format[i].bits != p->bits)
                return err_set(e, ERR_CONFIG, "'%s': group '%s' does not have the formats of group '%s'", path, r->name,
                               model->name);
            p->score[g] = r->format[i].score;
        }
    }
    return 0;
}

int recipe_add_manifest(struct recipe_menu *m, const struct manifest *x, const char *path, struct err *e)
{
    if (same_origin(m, x->qsens ? origin_of_ours(x->qsens) : origin_of_reference(x), path, e))
        return -1;
    const bool first = !m->n_groups;
    for (int g = 0; g < x->table.n; g++) {
        const struct sens_row *r = &x->table.row[g];
        if (first ? recipe_add_group(m, r->name, r->weights, r->n_formats == 1, e)
                  : same_group(m, g, r->name, r->weights, path, e))
            return -1;
        if (m->group[g].fixed != (r->n_formats == 1))
            return err_set(e, ERR_CONFIG, "'%s': group '%s' can be quantized in one of the files only", path, r->name);
    }
    if (x->table.n != m->n_groups)
        return other_groups(path, "the end", m->group[x->table.n].name, e);
    return add_formats(m, x, path, e);
}

int recipe_add_lm(struct recipe_menu *m, const struct lm *lm, const char *path, struct err *e)
{
    for (int g = 0; g < lm->n_groups; g++)
        if (recipe_add_group(m, lm->group[g].name, lm->group[g].weights, !lm->group[g].is_lm, e))
            return err_wrap(e, "'%s'", path);
    return same_origin(m, json_pack("{ss ss}", "tool", "qsens", "weights_sha256", lm->weights_sha256), path, e);
}

int recipe_add_file(struct recipe_menu *m, const char *path, struct err *e)
{
    char *data;
    size_t n;
    if (io_read(path, JSON_LIMIT_DOCUMENT, &data, &n, e))
        return -1;
    json_t *doc = json_parse(data, n, path, e);
    const bool is_manifest = json_object_get(doc, "scheme") && !json_object_get(doc, "format");
    int rc = doc ? 0 : -1;
    json_decref(doc);
    if (!rc && is_manifest) {
        struct manifest x;
        rc = manifest_parse(&x, data, n, path, e);
        if (!rc) {
            rc = recipe_add_manifest(m, &x, path, e);
            manifest_free(&x);
        }
    } else if (!rc) {
        struct scores s;
        rc = scores_parse(&s, data, n, path, e);
        if (!rc) {
            rc = recipe_add_scores(m, &s, path, e);
            scores_free(&s);
        }
    }
    free(data);
    return rc;
}

void recipe_menu_free(struct recipe_menu *m)
{
    for (int g = 0; g < m->n_groups; g++)
        free(m->group[g].name);
    for (int i = 0; i < m->n_pairs; i++) {
        free(m->pair[i].name);
        free(m->pair[i].recipe_name);
        free(m->pair[i].score);
    }
    free(m->group);
    free(m->pair);
    free(m->first);
    json_decref(m->origin);
    *m = (struct recipe_menu){0};
}
