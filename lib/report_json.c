#include <stdlib.h>

#include "report.h"
#include "report_view.h"

static json_t *layers(const struct sens_table *t)
{
    json_t *list = json_array();
    int *order = sens_descending(t, 's');
    for (int i = 0; i < t->n; i++) {
        const struct sens_row *r = &t->row[order[i]];
        const struct sens_format *shown = sens_shown(r);
        json_array_append_new(list, json_pack("{ss sf sf sf}", "layer", r->name, "num_bits", shown->bits, "sensitivity",
                                              shown->score, "size_cost", sens_cost(r, (int)(shown - r->format))));
    }
    free(order);
    return list;
}

/* ---- ours ---- */

static void set_if(json_t *o, const char *key, const json_t *value)
{
    if (value)
        json_object_set(o, key, (json_t *)(uintptr_t)value);
}

static json_t *ranked(const struct report_view *v)
{
    json_t *list = json_array();
    for (int i = 0; i < v->n; i++) {
        const struct report_group *g = &v->group[i];
        json_t *o = json_pack("{si ss sf sf sf sI sI}", "rank", g->rank, "name", g->row->name, "score", g->score,
                              "share", g->share, "cumulative_share", g->cumulative, "weights",
                              (json_int_t)g->row->weights, "bytes", (json_int_t)g->bytes);
        if (g->chosen)
            json_object_set_new(o, "chosen", json_string(g->chosen));
        set_if(o, "members", g->members);
        set_if(o, "statistics", g->statistics);
        set_if(o, "split", g->split);
        json_array_append_new(list, o);
    }
    return list;
}

/* asked_bits, adjusted_bits, .. of the manifest; the groups' choices stand with the groups */
static json_t *recipe(const struct manifest *m)
{
    json_t *r = json_copy(json_object_get(m->qsens, "recipe"));
    json_object_del(r, "groups");
    json_object_set_new(r, "effective_bits", json_real(m->effective_bits));
    json_object_set_new(r, "score", json_real(m->score));
    json_object_set_new(r, "satisfied", json_boolean(m->is_satisfied));
    return r;
}

static json_t *qsens(const struct manifest *m)
{
    static const char *const head[] = {"version", "pair",        "granularity", "arithmetic",
                                       "inputs",  "calibration", "loss",        "score"};
    struct report_view v;
    json_t *out = json_object();
    for (size_t i = 0; i < sizeof head / sizeof *head; i++)
        json_object_set(out, head[i], json_object_get(m->qsens, head[i]));
    report_view_init(&v, m);
    json_object_set_new(out, "groups", ranked(&v));
    json_object_set_new(out, "fixed",
                        json_pack("{si sI}", "groups", v.n_fixed, "weights", (json_int_t)v.fixed_weights));
    set_if(out, "statistics", json_object_get(m->qsens, "statistics"));
    set_if(out, "split", json_object_get(m->qsens, "split"));
    json_object_set_new(out, "recipe", recipe(m));
    json_object_set(out, "run", json_object_get(m->qsens, "run"));
    report_view_free(&v);
    return out;
}

json_t *report_json(const struct manifest *m)
{
    static const char *const head[] = {"scheme", "model", "dataset", "quantization", "run_config", "autoquant_state"};
    json_t *out = json_object();
    for (size_t i = 0; i < sizeof head / sizeof *head; i++) {
        json_t *v = json_object_get(m->doc, head[i]);
        if (v && !json_is_null(v))
            json_object_set(out, head[i], v);
    }
    json_object_set_new(out, "layer_sensitivity", layers(&m->table));
    if (m->qsens)
        json_object_set_new(out, "qsens", qsens(m));
    return out;
}
