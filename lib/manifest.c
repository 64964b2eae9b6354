#include "manifest.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "manifest_check.h"

static int parse_scheme(struct manifest *m, const char *where, struct err *e)
{
    json_t *scheme, *model;
    char place[512];
    if (json_get_object(m->doc, "scheme", where, &scheme, e) || json_get_object(m->doc, "model", where, &model, e))
        return -1;
    snprintf(place, sizeof place, "%.400s: scheme", where);
    if (json_get_str(scheme, "name", place, &m->scheme, e) ||
        json_get_real(scheme, "auto_quantize_bits", place, &m->auto_quantize_bits, e) ||
        json_get_int(scheme, "auto_quantize_score_size", place, 1, INT32_MAX, &m->score_size, e))
        return -1;
    if (!(m->auto_quantize_bits > 0) || !(m->auto_quantize_bits <= 16))
        return err_set(e, ERR_FORMAT, "%s: auto_quantize_bits is %g, which is not between 0 and 16", place,
                       m->auto_quantize_bits);
    snprintf(place, sizeof place, "%.400s: model", where);
    return json_get_str(model, "id", place, &m->model_id, e);
}

static int parse_layers(const struct manifest *m, const char *where, struct err *e)
{
    json_t *layers;
    int64_t n;
    if (json_get_object(m->doc, "layers", where, &layers, e) ||
        json_get_int(m->doc, "num_quantized_layers", where, 0, INT32_MAX, &n, e))
        return -1;
    if ((size_t)n != json_object_size(layers))
        return err_set(e, ERR_FORMAT, "%s: num_quantized_layers is %" PRId64 ", layers has %zu entries", where, n,
                       json_object_size(layers));
    return 0;
}

static int parse_state(struct manifest *m, const char *where, struct err *e)
{
    json_t *state, *constraints;
    char place[512];
    if (json_get_object(m->doc, "autoquant_state", where, &state, e))
        return -1;
    snprintf(place, sizeof place, "%.400s: autoquant_state", where);
    if (json_get_object(state, "constraints", place, &constraints, e) ||
        json_get_real(constraints, "effective_bits", place, &m->effective_bits, e) ||
        json_get_real(state, "score", place, &m->score, e) ||
        json_get_bool(state, "is_satisfied", place, &m->is_satisfied, e))
        return -1;
    if (!(m->effective_bits > 0) || !(m->effective_bits <= 16))
        return err_set(e, ERR_FORMAT, "%s: effective_bits is %g, which is not between 0 and 16", place,
                       m->effective_bits);
    double worst = 0;
    for (int i = 0; i < m->table.n; i++)
        worst += m->table.row[i].importance;
    if (!(m->score >= 0) || !(m->score <= worst * (1 + 1e-9)))
        return err_set(e, ERR_FORMAT, "%s: the score is %.17g; by the scores of the groups it lies from 0 to %.17g",
                       place, m->score, worst);
    if (m->is_satisfied && !(m->effective_bits <= m->auto_quantize_bits * (1 + 1e-9)))
        return err_set(e, ERR_FORMAT, "%s: is_satisfied is true with %.17g bits, the budget is %.17g", place,
                       m->effective_bits, m->auto_quantize_bits);
    return 0;
}

static int optional(const struct manifest *m, const char *key, const char *where, const json_t **out, struct err *e)
{
    *out = json_object_get(m->doc, key);
    if (json_is_null(*out))
        *out = NULL;
    if (*out && !json_is_object(*out))
        return err_set(e, ERR_FORMAT, "%s: '%s' must be an object", where, key);
    return 0;
}

static int parse(struct manifest *m, const char *name, struct err *e)
{
    char where[512];
    json_t *layers, *ranking;
    snprintf(where, sizeof where, "'%.400s'", name);
    if (!json_is_object(m->doc))
        return err_set(e, ERR_FORMAT, "%s: a manifest must be an object", where);
    if (parse_scheme(m, where, e) || parse_layers(m, where, e) ||
        json_get_object(m->doc, "layer_sensitivity", where, &layers, e) ||
        json_get_array(m->doc, "sensitivity_ranking", where, &ranking, e) ||
        sens_parse(&m->table, layers, ranking, name, e))
        return -1;
    if (parse_state(m, where, e) || optional(m, "dataset", where, &m->dataset, e) ||
        optional(m, "quantization", where, &m->quantization, e) ||
        optional(m, "run_config", where, &m->run_config, e) || optional(m, "qsens", where, &m->qsens, e))
        return -1;
    return m->qsens ? manifest_check_qsens(m, where, e) : 0;
}

int manifest_parse(struct manifest *m, const char *data, size_t n, const char *name, struct err *e)
{
    *m = (struct manifest){.doc = json_parse(data, n, name, e)};
    if (m->doc && !parse(m, name, e))
        return 0;
    manifest_free(m);
    return -1;
}

int manifest_load(struct manifest *m, const char *path, struct err *e)
{
    char *data;
    size_t n;
    *m = (struct manifest){0};
    if (io_read(path, JSON_LIMIT_DOCUMENT, &data, &n, e))
        return -1;
    const int rc = manifest_parse(m, data, n, path, e);
    free(data);
    return rc;
}

void manifest_free(struct manifest *m)
{
    sens_free(&m->table);
    json_decref(m->doc);
    *m = (struct manifest){0};
}
