#include "config_compose.h"

#include <stdlib.h>
#include <string.h>

#include "config_layer.h"
#include "config_override.h"
#include "config_preset.h"
#include "config_resolve.h"
#include "mem.h"
#include "yml_tree.h"

struct config_composer {
    struct config_request request;
    struct config_layers layers;
    struct config_preset preset;
    struct config_overrides set;
};

/* What options and overrides choose of a group. */
struct choice {
    bool given;
    const char *name;
};

struct config_composer *config_composer_new(const struct config_request *r, struct err *e)
{
    struct config_composer *k = xcalloc(1, sizeof *k);
    k->request = *r;
    k->layers.conf = r->conf;
    int rc = config_preset_read(&k->preset, r->conf, r->preset, e);
    for (size_t i = 0; !rc && i < r->n_set; i++)
        rc = config_overrides_parse(&k->set, r->set[i], e);
    if (!rc)
        return k;
    config_composer_free(k);
    return NULL;
}

void config_composer_free(struct config_composer *k)
{
    if (!k)
        return;
    config_layers_free(&k->layers);
    config_preset_free(&k->preset);
    config_overrides_free(&k->set);
    free(k);
}

/* ---- choices ---- */

static int choose(const struct config_composer *k, const struct config_cell *cell, struct choice choice[CONFIG_GROUPS],
                  struct err *e)
{
    const struct {
        const char *group, *name, *option;
    } options[] = {
        {"quant_pair", cell->pair, "--pair (PAIR=...)"},
        {"model", k->request.model, "--model (MODEL=...)"},
        {"dataset", k->request.dataset, "--dataset (DATASET=...)"},
        {"quant_granularity", cell->granularity, "--granularity (GRANULARITY=...)"},
    };
    enum { N = sizeof options / sizeof *options };
    for (int i = 0; i < N; i++)
        if (options[i].name)
            choice[config_group(options[i].group)] = (struct choice){true, options[i].name};
    for (size_t s = 0; s < k->set.n; s++) {
        const struct config_override *o = &k->set.item[s];
        for (int i = 0; o->is_choice && i < N; i++)
            if (options[i].name && config_group(options[i].group) == o->group)
                return err_set(e, ERR_CONFIG, "%s: %s is given by %s; leave one out", o->source, options[i].group,
                               options[i].option);
        if (o->id == CFG_DATASET_MAX_SAMPLES && cell->calib_n)
            return err_set(e, ERR_CONFIG, "%s: dataset.max_samples is given by --calib-n (CALIB_N=...); leave one out",
                           o->source);
        if (o->is_choice)
            choice[o->group] = (struct choice){true, o->choice};
    }
    return 0;
}

/* ---- layers ---- */

static int add_layer(struct config_composer *k, struct yml_node *tree, int group, const char *name,
                     const struct yml_node *origin, const struct yml_node **base, struct err *e)
{
    const struct yml_node *values;
    char where[YML_WHERE];
    if (config_layer_get(&k->layers, config_groups[group], name, &values, e))
        return origin ? err_wrap(e, "%s", yml_where(origin, where)) : -1;
    if (!strcmp(config_groups[group], "quant_pair"))
        *base = values;
    /* the group itself stands where its file begins */
    struct yml_node layer = yml_mapping(values->source);
    struct yml_node empty = yml_mapping(values->source);
    empty.line = values->line;
    yml_add(&layer, config_groups[group], empty);
    yml_merge(tree, &layer);
    yml_free(&layer);
    yml_merge(yml_at(tree, config_groups[group]), values);
    return 0;
}

static int add_files(struct config_composer *k, const struct choice choice[CONFIG_GROUPS], struct yml_node *tree,
                     const struct yml_node **base, struct err *e)
{
    bool in_list[CONFIG_GROUPS] = {false};
    for (size_t i = 0; i < k->preset.n; i++)
        if (k->preset.step[i].group >= 0)
            in_list[k->preset.step[i].group] = true;
    for (int g = 0; g < CONFIG_GROUPS; g++) /* before all values: these come from no list */
        if (!in_list[g] && choice[g].name && add_layer(k, tree, g, choice[g].name, NULL, base, e))
            return -1;
    for (size_t i = 0; i < k->preset.n; i++) {
        const struct config_step *s = &k->preset.step[i];
        if (s->group < 0) {
            yml_merge(tree, s->origin); /* with its `defaults`, which nobody looks at */
            continue;
        }
        const struct choice *c = &choice[s->group];
        const char *name = c->given ? c->name : s->choice;
        if (name && add_layer(k, tree, s->group, name, c->given ? NULL : s->origin, base, e))
            return -1;
    }
    return 0;
}

static void add_options(const struct config_composer *k, const struct config_cell *cell, struct yml_node *tree)
{
    if (cell->calib_n) {
        char *text = config_escape(cell->calib_n);
        struct yml_node n = yml_nest("dataset.max_samples", yml_scalar(text, true, "--calib-n"));
        yml_merge(tree, &n);
        yml_free(&n);
        free(text);
    }
    for (size_t i = 0; i < k->set.n; i++)
        if (!k->set.item[i].is_choice)
            yml_merge(tree, &k->set.item[i].tree);
}

/* Before any work: what the stages will open is there. */
static int check_inputs(const struct config *c, struct err *e)
{
    static const struct {
        enum config_id id;
        const char *option;
    } needed[] = {{CFG_MODEL_PATH, "--model (MODEL=...)"},
                  {CFG_MODEL_NAME, "model.name=NAME"},
                  {CFG_DATASET_CAPTIONS, "--dataset (DATASET=...)"},
                  {CFG_DATASET_NAME, "dataset.name=NAME"}};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!c->value[needed[i].id])
            return err_set(e, ERR_CONFIG, "%s.%s is not set: give %s", config_schema[needed[i].id].group,
                           config_schema[needed[i].id].name, needed[i].option);
    const char *model = c->value[CFG_MODEL_PATH], *captions = c->value[CFG_DATASET_CAPTIONS];
    if (!config_is_model_dir(model))
        return err_set(e, ERR_CONFIG, "model.path: '%s' is not a directory with a config.json", model);
    if (!config_is_file(captions))
        return err_set(e, ERR_CONFIG, "dataset.captions: '%s' is not a file", captions);
    return 0;
}

int config_compose(struct config_composer *k, const struct config_cell *cell, struct config *c, struct err *e)
{
    *c = (struct config){0};
    struct choice choice[CONFIG_GROUPS] = {{false, NULL}};
    if (choose(k, cell, choice, e))
        return -1;
    struct yml_node tree = yml_mapping("the configuration");
    const struct yml_node *base = NULL;
    int rc = add_files(k, choice, &tree, &base, e);
    if (!rc) {
        add_options(k, cell, &tree);
        rc = config_of_tree(c, &tree, base, e);
    }
    yml_free(&tree);
    return rc ? -1 : check_inputs(c, e);
}
