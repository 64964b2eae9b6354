#include "manifest_build.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "recipe.h"
#include "sensitivity.h"

/* ---- scheme, model, dataset ---- */

static json_t *scheme_name(const struct scores *s, const struct manifest_options *o)
{
    if (o->scheme)
        return json_string(o->scheme);
    const char *bar = strchr(s->pair, '_'); /* fp4_fp8: weight, activation */
    return bar ? json_sprintf("w%.*s_a%s_autoquant_lm", (int)(bar - s->pair), s->pair, bar + 1)
               : json_sprintf("%s_autoquant_lm", s->pair);
}

static json_t *scheme(const struct scores *s, const struct manifest_options *o, const struct recipe *r)
{
    return json_pack("{so sf ss sI ss sf s[s]}", "name", scheme_name(s, o), "auto_quantize_bits", r->adjusted_bits,
                     "auto_quantize_method", "gradient", "auto_quantize_score_size", (json_int_t)o->score_size,
                     "coverage_mode", "lm_only", "coverage_fraction", 1.0, "quant_formats", s->modelopt_config);
}

static json_t *layers(const struct lm *lm)
{
    json_t *out = json_object();
    for (int i = 0; i < lm->n_units; i++)
        json_object_set_new(out, lm->unit[i].name,
                            json_pack("{sb ss}", "quantized", 1, "module_type", lm->unit[i].module_type));
    return out;
}

static json_t *dataset(const struct scores *s, const struct manifest_options *o)
{
    const json_t *c = json_object_get(s->doc, "calibration");
    return json_pack("{ss* ss* ss* ss so* sO sO sO sO}", "name", o->dataset_name, "size", o->dataset_size, "root",
                     o->dataset_root, "captions_path",
                     o->captions ? o->captions : json_string_value(json_object_get(c, "source")), "max_calib_samples",
                     o->max_samples ? json_integer(o->max_samples) : NULL, "num_calib_samples",
                     json_object_get(c, "sequences"), "calib_seq_len", json_object_get(c, "seq_len"), "batch_size",
                     json_object_get(c, "batch_size"), "num_calib_batches", json_object_get(c, "batches"));
}

/* ---- quantization ---- */

/* A quantizer key (quantizer.h) in the words of a ModelOpt quantizer configuration. */
static json_t *quantizer_summary(const char *key)
{
    const char *slash = strchr(key, '/'), *granularity = slash ? slash + 1 : "";
    if (!strcmp(granularity, "tensor"))
        return json_pack("{sn}", "axis");
    if (!strcmp(granularity, "tensor/dynamic"))
        return json_pack("{ss sn}", "type", "dynamic", "axis");
    if (!strcmp(granularity, "out_channel"))
        return json_pack("{si}", "axis", 0);
    if (!strcmp(granularity, "in_channel"))
        return json_pack("{si}", "axis", 1);
    if (!strcmp(granularity, "token"))
        return json_pack("{ss s{sn}}", "type", "dynamic", "block_sizes", "-1");
    if (strncmp(granularity, "block", 5))
        return json_object();
    const json_int_t block = strtol(granularity + 5, NULL, 10);
    if (!strncmp(key, "fp4/", 4))
        return json_pack("{sn s{sI ss s[ii]}}", "axis", "block_sizes", "-1", block, "type", "dynamic", "scale_bits", 4,
                         3);
    if (!strncmp(key, "mxfp4/", 6))
        return json_pack("{s{sI ss s[ii]}}", "block_sizes", "-1", block, "type", "dynamic", "scale_bits", 8, 0);
    return json_pack("{s{sI}}", "block_sizes", "-1", block);
}

static json_t *quantization(const struct scores *s, json_t *overrides)
{
    const json_t *pair = json_object_get(s->doc, "pair");
    return json_pack("{ss s{ss so} s{so so}}", "base_format_name", s->modelopt_config, "quant_granularity", "name",
                     s->granularity, "quant_cfg_overrides", overrides, "effective_quantizer_summary",
                     "*weight_quantizer", quantizer_summary(json_string_value(json_object_get(pair, "weight"))),
                     "*input_quantizer", quantizer_summary(json_string_value(json_object_get(pair, "activation"))));
}

/* ---- scores and recipe ---- */

static void fill_table(struct sens_table *t, const struct recipe_menu *m)
{
    const struct recipe_pair *p = &m->pair[0];
    for (int g = 0; g < m->n_groups; g++) {
        struct sens_row *r = sens_add(t, m->group[g].name, m->group[g].weights);
        if (!m->group[g].fixed)
            sens_add_format(r, p->recipe_name, p->bits, p->score[g]);
    }
    sens_rank(t);
}

static json_t *chosen(const struct recipe_menu *m, const struct recipe *r)
{
    json_t *groups = json_object();
    for (int g = 0; g < m->n_groups; g++)
        if (!m->group[g].fixed)
            json_object_set_new(groups, m->group[g].name,
                                json_string(r->pick[g] == RECIPE_NONE ? SENS_NONE : m->pair[r->pick[g]].name));
    return json_pack("{sf sf sf sf so}", "asked_bits", r->asked_bits, "adjusted_bits", r->adjusted_bits, "bound",
                     r->bound, "gap", r->score - r->bound, "groups", groups);
}

static json_t *qsens(const struct scores *s, const struct recipe_menu *m, const struct recipe *r)
{
    static const char *const kept[] = {"pair",        "granularity", "arithmetic", "inputs",
                                       "calibration", "loss",        "score",      "groups"};
    static const char *const may_be_kept[] = {"statistics", "split"};
    json_t *out = json_pack("{si}", "version", 1), *run = json_object_get(s->doc, "run");
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        json_object_set(out, kept[i], json_object_get(s->doc, kept[i]));
    for (size_t i = 0; i < sizeof may_be_kept / sizeof *may_be_kept; i++)
        if (json_object_get(s->doc, may_be_kept[i]))
            json_object_set(out, may_be_kept[i], json_object_get(s->doc, may_be_kept[i]));
    json_object_set_new(out, "recipe", chosen(m, r));
    if (run)
        json_object_set(out, "run", run);
    return out;
}

/* keys: what ModelOpt's own state file holds */
static json_t *state(const struct recipe *r)
{
    return json_pack("{s[sss] s{sf} sf sb}", "keys", "candidate_stats", "best", "constraints", "constraints",
                     "effective_bits", r->effective_bits, "score", r->score, "is_satisfied", r->satisfied);
}

static json_t *document(const struct lm *lm, const struct scores *s, const struct manifest_options *o,
                        json_t *overrides, const struct recipe_menu *m, const struct recipe *r)
{
    struct sens_table table = {0};
    fill_table(&table, m);
    json_t *doc = json_object();
    json_object_set_new(doc, "scheme", scheme(s, o, r));
    json_object_set_new(doc, "model", json_pack("{ss}", "id", o->model_id ? o->model_id : lm->path));
    json_object_set_new(doc, "num_quantized_layers", json_integer(lm->n_units));
    json_object_set_new(doc, "layers", layers(lm));
    json_object_set_new(doc, "autoquant_state", state(r));
    json_object_set_new(doc, "layer_sensitivity", sens_layers_json(&table));
    json_object_set_new(doc, "sensitivity_ranking", sens_ranking_json(&table));
    json_object_set_new(doc, "dataset", dataset(s, o));
    json_object_set_new(doc, "quantization", quantization(s, overrides));
    json_object_set_new(doc, "run_config",
                        json_pack("{ss}", "composed_yaml_path", o->composed ? o->composed : "composed-config.yaml"));
    json_object_set_new(doc, "qsens", qsens(s, m, r));
    sens_free(&table);
    return doc;
}

/* ---- checks ---- */

static int check_options(const struct manifest_options *o, struct err *e)
{
    const struct {
        const char *name, *value;
    } text[] = {{"scheme", o->scheme},
                {"model-id", o->model_id},
                {"captions", o->captions},
                {"composed", o->composed},
                {"dataset-name", o->dataset_name},
                {"dataset-size", o->dataset_size},
                {"dataset-root", o->dataset_root}};
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        json_t *v = text[i].value ? json_string(text[i].value) : json_null();
        if (!v)
            return err_set(e, ERR_CONFIG, "option --%s is not valid UTF-8", text[i].name);
        json_decref(v);
    }
    return 0;
}

static json_t *parse_overrides(const char *text, struct err *e)
{
    if (!text)
        return json_object();
    struct err why = {0};
    json_t *v = json_parse(text, strlen(text), "--overrides", &why);
    if (json_is_object(v))
        return v;
    err_set(e, ERR_CONFIG, "option --overrides wants a JSON object%s%s", v ? "" : ": ", why.msg);
    json_decref(v);
    return NULL;
}

json_t *manifest_build(const struct lm *lm, const char *lm_path, const struct scores *s, const char *scores_path,
                       const struct manifest_options *o, struct err *e)
{
    if (check_options(o, e))
        return NULL;
    json_t *doc = NULL, *overrides = parse_overrides(o->overrides, e);
    if (!overrides)
        return NULL;
    struct recipe_menu menu = {0};
    struct recipe r = {0};
    if (!recipe_add_lm(&menu, lm, lm_path, e) && !recipe_add_scores(&menu, s, scores_path, e) &&
        !recipe_solve(&menu, o->bits, !o->exact_bits, &r, e))
        doc = document(lm, s, o, json_incref(overrides), &menu, &r);
    json_decref(overrides);
    recipe_free(&r);
    recipe_menu_free(&menu);
    return doc;
}
