#include "report_view.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "quantizer.h"

const char *const report_module_name[MODULE_COUNT] = {"qkv", "o", "gate_up", "down"};

static const struct {
    const char *tail;
    enum report_module module;
} modules[] = {
    {".self_attn.q_proj", MODULE_QKV}, {".self_attn.k_proj", MODULE_QKV},  {".self_attn.v_proj", MODULE_QKV},
    {".self_attn.o_proj", MODULE_O},   {".mlp.gate_proj", MODULE_GATE_UP}, {".mlp.up_proj", MODULE_GATE_UP},
    {".mlp.down_proj", MODULE_DOWN},
};

/* "...layers.12.mlp.down_proj" */
static void locate(struct report_group *g)
{
    const char *layers = strstr(g->row->name, "layers.");
    g->label = g->row->name;
    g->layer = -1;
    g->module = MODULE_COUNT;
    if (!layers || (layers != g->row->name && layers[-1] != '.'))
        return;
    g->label = layers;
    const char *number = layers + strlen("layers.");
    char *end;
    const long layer = strtol(number, &end, 10);
    if (*number < '0' || *number > '9' || layer > INT32_MAX)
        return;
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++)
        if (!strcmp(end, modules[i].tail)) {
            g->layer = (int)layer;
            g->module = modules[i].module;
        }
}

/* Bits of a stored weight: effective bits are the activation's where those are fewer. */
static double weight_bits(const struct manifest *m, const struct sens_row *r)
{
    const char *key = json_string_value(json_object_get(json_object_get(m->qsens, "pair"), "weight"));
    char name[QUANTIZER_KEY] = "";
    if (key)
        snprintf(name, sizeof name, "%.*s", (int)strcspn(key, "/"), strcmp(key, "none") ? key : "fp16");
    const enum quant_format f = quant_format_of_name(name);
    return f == QF_COUNT ? sens_shown(r)->bits : quant_format_bits(f);
}

void report_view_init(struct report_view *v, const struct manifest *m)
{
    *v = (struct report_view){.group = xcalloc((size_t)m->table.n, sizeof *v->group)};
    const json_t *list = json_object_get(m->qsens, "groups");
    const json_t *chosen = json_object_get(json_object_get(m->qsens, "recipe"), "groups");
    json_t *by_name = json_object();
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *g = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(g, "name"));
        if (name)
            json_object_set(by_name, name, g);
    }
    int *order = sens_descending(&m->table, 's');
    for (int i = 0; i < m->table.n; i++) { /* in model order, so that the total is that of the scores file */
        const struct sens_row *r = &m->table.row[i];
        if (r->n_formats == 1) {
            v->n_fixed++;
            v->fixed_weights += r->weights;
        } else {
            v->weights += r->weights;
            v->total += sens_shown(r)->score;
        }
    }
    double so_far = 0;
    for (int i = 0; i < m->table.n; i++) {
        const struct sens_row *r = &m->table.row[order[i]];
        if (r->n_formats == 1)
            continue;
        struct report_group *g = &v->group[v->n++];
        *g = (struct report_group){.row = r, .rank = v->n, .score = sens_shown(r)->score};
        so_far += g->score;
        g->share = v->total > 0 ? g->score / v->total : 0;
        g->cumulative = v->total > 0 ? so_far / v->total : 0;
        g->bytes = (uint64_t)((double)r->weights * weight_bits(m, r) / 8);
        const json_t *ours = json_object_get(by_name, r->name);
        g->members = json_object_get(ours, "members");
        g->statistics = json_object_get(ours, "statistics");
        g->split = json_object_get(ours, "split");
        g->chosen = json_string_value(json_object_get(chosen, r->name));
        locate(g);
    }
    free(order);
    json_decref(by_name);
}

void report_view_free(struct report_view *v)
{
    free(v->group);
    *v = (struct report_view){0};
}
