#include <stdlib.h>

#include "report.h"

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
        json_object_set(out, "qsens", json_object_get(m->doc, "qsens"));
    return out;
}
