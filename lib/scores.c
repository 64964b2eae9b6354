#include "scores.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "mem.h"
#include "scores_check.h"

enum { MAX_GROUPS = 1 << 20 };
static const int64_t max_weights = INT64_C(1) << 50;

/* Sums may have been taken in another order. */
static int near(double a, double b)
{
    return fabs(a - b) <= 1e-9 * fmax(fabs(a), fabs(b));
}

static int get_score(const json_t *o, const char *where, double *out, struct err *e)
{
    if (json_get_real(o, "score", where, out, e))
        return -1;
    if (!(*out >= 0) || !isfinite(*out))
        return err_set(e, ERR_FORMAT, "%s: the score is negative or not finite", where);
    return 0;
}

static int check_members(const struct scores_group *g, const char *where, struct err *e)
{
    uint64_t weights = 0;
    double score = 0;
    for (size_t i = 0; i < json_array_size(g->members); i++) {
        const json_t *m = json_array_get(g->members, i);
        const char *unit;
        int64_t w;
        double s;
        if (json_get_str(m, "unit", where, &unit, e) || json_get_int(m, "weights", where, 1, max_weights, &w, e) ||
            get_score(m, where, &s, e))
            return err_wrap(e, "member %zu", i);
        weights += (uint64_t)w;
        score += s;
    }
    if (weights != g->weights)
        return err_set(e, ERR_FORMAT, "%s: its members have %" PRIu64 " weights, not %" PRIu64, where, weights,
                       g->weights);
    if (!near(score, g->score))
        return err_set(e, ERR_FORMAT, "%s: its members' scores add up to %.17g, not %.17g", where, score, g->score);
    return 0;
}

static int parse_groups(struct scores *s, const char *path, struct err *e)
{
    json_t *groups;
    char where[512];
    snprintf(where, sizeof where, "'%.400s'", path);
    if (json_get_array(s->doc, "groups", where, &groups, e))
        return -1;
    const size_t n = json_array_size(groups);
    if (n < 1 || n > MAX_GROUPS)
        return err_set(e, ERR_FORMAT, "%s: %zu groups (allowed are 1 to %d)", where, n, MAX_GROUPS);
    s->group = xcalloc(n, sizeof *s->group);
    json_t *seen = json_object();
    int rc = 0;
    double sum = 0, total = 0;
    for (size_t i = 0; !rc && i < n; i++) {
        struct scores_group *g = &s->group[i];
        const json_t *o = json_array_get(groups, i);
        json_t *members;
        int64_t weights;
        snprintf(where, sizeof where, "'%.400s': group %zu", path, i);
        rc = json_get_str(o, "name", where, &g->name, e);
        if (!rc)
            snprintf(where, sizeof where, "'%.300s': group '%.150s'", path, g->name);
        if (rc || json_get_int(o, "weights", where, 1, max_weights, &weights, e) || get_score(o, where, &g->score, e) ||
            json_get_array(o, "members", where, &members, e)) {
            rc = -1;
            break;
        }
        g->weights = (uint64_t)weights;
        g->members = members;
        s->n_groups++;
        if (json_object_get(seen, g->name))
            rc = err_set(e, ERR_FORMAT, "%s: listed twice", where);
        json_object_set_new(seen, g->name, json_true());
        if (!rc)
            rc = check_members(g, where, e);
        sum += g->score;
    }
    json_decref(seen);
    snprintf(where, sizeof where, "'%.400s'", path);
    if (rc || get_score(s->doc, where, &total, e))
        return -1;
    if (!near(sum, total))
        return err_set(e, ERR_FORMAT, "%s: the groups' scores add up to %.17g, not %.17g", where, sum, total);
    return scores_check_statistics(s->doc, where, e) || scores_check_split(s->doc, where, e) ? -1 : 0;
}

static int is_one_of(const char *value, const char *a, const char *b)
{
    return !strcmp(value, a) || !strcmp(value, b);
}

static int parse_head(struct scores *s, const char *path, struct err *e)
{
    char where[512];
    const char *format, *unused, *padding;
    int64_t version, bits;
    json_t *pair, *arithmetic, *inputs, *calibration;
    snprintf(where, sizeof where, "'%.400s'", path);
    if (json_get_str(s->doc, "format", where, &format, e))
        return -1;
    if (strcmp(format, "qsens-scores"))
        return err_set(e, ERR_FORMAT, "%s: holds '%.40s', not qsens-scores", where, format);
    if (json_get_int(s->doc, "version", where, 1, 1, &version, e) || json_get_object(s->doc, "pair", where, &pair, e) ||
        json_get_str(s->doc, "granularity", where, &s->granularity, e) ||
        json_get_object(s->doc, "arithmetic", where, &arithmetic, e) ||
        json_get_object(s->doc, "inputs", where, &inputs, e) ||
        json_get_object(s->doc, "calibration", where, &calibration, e))
        return -1;
    snprintf(where, sizeof where, "'%.400s': pair", path);
    if (json_get_str(pair, "name", where, &s->pair, e) ||
        json_get_str(pair, "recipe_name", where, &s->recipe_name, e) ||
        json_get_str(pair, "modelopt_config", where, &s->modelopt_config, e) ||
        json_get_int(pair, "bits", where, 1, 16, &bits, e) || json_get_str(pair, "weight", where, &unused, e) ||
        json_get_str(pair, "activation", where, &unused, e))
        return -1;
    s->bits = (int)bits;
    snprintf(where, sizeof where, "'%.400s': inputs", path);
    if (json_get_str(inputs, "weights_sha256", where, &unused, e) ||
        json_get_str(inputs, "tokens_sha256", where, &unused, e))
        return -1;
    snprintf(where, sizeof where, "'%.400s': arithmetic", path);
    if (json_get_int(arithmetic, "version", where, 1, INT32_MAX, &version, e) ||
        json_get_str(arithmetic, "dtype", where, &s->dtype, e) ||
        json_get_str(arithmetic, "padding", where, &padding, e))
        return -1;
    if (!is_one_of(s->dtype, "bf16", "fp32"))
        return err_set(e, ERR_FORMAT, "%s: dtype '%.40s' is neither bf16 nor fp32", where, s->dtype);
    if (!is_one_of(padding, "reference", "none"))
        return err_set(e, ERR_FORMAT, "%s: padding '%.40s' is neither reference nor none", where, padding);
    if (json_object_get(arithmetic, "gemm_sha256")) {
        if (json_get_str(arithmetic, "gemm_sha256", where, &unused, e))
            return -1;
        if (strlen(unused) != 64 || strspn(unused, "0123456789abcdef") != 64)
            return err_set(e, ERR_FORMAT, "%s: 'gemm_sha256' must be 64 hexadecimal digits", where);
    }
    return 0;
}

static int parse_calibration(const struct scores *s, const char *path, struct err *e)
{
    static const char *const count[] = {"sequences", "batches",         "batch_size",
                                        "seq_len",   "score_sequences", "score_batches"};
    const json_t *c = json_object_get(s->doc, "calibration");
    char where[512];
    const char *source;
    int64_t n;
    double loss;
    snprintf(where, sizeof where, "'%.400s': calibration", path);
    if (json_get_str(c, "source", where, &source, e))
        return -1;
    for (size_t i = 0; i < sizeof count / sizeof *count; i++)
        if (json_get_int(c, count[i], where, 1, INT32_MAX, &n, e))
            return -1;
    snprintf(where, sizeof where, "'%.400s'", path);
    if (json_get_real(s->doc, "loss", where, &loss, e))
        return -1;
    if (!(loss >= 0) || !isfinite(loss))
        return err_set(e, ERR_FORMAT, "%s: the loss is negative or not finite", where);
    return 0;
}

int scores_parse(struct scores *s, const char *data, size_t n, const char *name, struct err *e)
{
    *s = (struct scores){.doc = json_parse(data, n, name, e)};
    if (s->doc && !parse_head(s, name, e) && !parse_calibration(s, name, e) && !parse_groups(s, name, e))
        return 0;
    scores_free(s);
    return -1;
}

int scores_load(struct scores *s, const char *path, struct err *e)
{
    char *data;
    size_t n;
    *s = (struct scores){0};
    if (io_read(path, JSON_LIMIT_DOCUMENT, &data, &n, e))
        return -1;
    const int rc = scores_parse(s, data, n, path, e);
    free(data);
    return rc;
}

void scores_free(struct scores *s)
{
    json_decref(s->doc);
    free(s->group);
    *s = (struct scores){0};
}
