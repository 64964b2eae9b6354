#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "config_resolve.h"
#include "granularity.h"
#include "mem.h"

void config_free(struct config *c)
{
    for (int id = 0; id < CFG_COUNT; id++)
        free(c->value[id]);
    *c = (struct config){0};
}

/* Names of the reference stand for quantizers: with others under them, only a name given anew is kept. */
static void rename_changed(struct pair *p, const struct yml_node *base)
{
    struct pair was;
    struct err unreadable;
    const bool known = !pair_read(&was, base, &unreadable);
    if (known && quantizer_equal(&p->weight, &was.weight) && quantizer_equal(&p->activation, &was.activation))
        return;
    if (!known || !strcmp(p->recipe_name, was.recipe_name))
        snprintf(p->recipe_name, sizeof p->recipe_name, PAIR_CUSTOM);
    if (!known || !strcmp(p->modelopt_config, was.modelopt_config))
        snprintf(p->modelopt_config, sizeof p->modelopt_config, PAIR_CUSTOM);
}

static int set_pair(struct config *c, const struct yml_node *tree, const struct yml_node *base, struct err *e)
{
    const struct yml_node *pair = yml_find(tree, "quant_pair"), *overlay = yml_find(tree, "quant_granularity");
    struct granularity g = {0};
    if (!pair)
        return err_set(e, ERR_CONFIG, "no pair is chosen: give --pair (PAIR=...)");
    if (pair_read(&c->pair, pair, e))
        return -1;
    if (base)
        rename_changed(&c->pair, base);
    overlay = overlay ? yml_find(overlay, "quant_cfg_overrides") : NULL;
    if (overlay && granularity_read(&g, overlay, e))
        return -1;
    if (granularity_apply(&g, &c->pair, e))
        return err_wrap(e, "granularity '%s' on pair '%s'", c->value[CFG_QUANT_GRANULARITY_NAME], c->pair.name);
    return 0;
}

int config_of_tree(struct config *c, struct yml_node *tree, const struct yml_node *base, struct err *e)
{
    *c = (struct config){0};
    return config_resolve(tree, c->value, e) || set_pair(c, tree, base, e) ? -1 : 0;
}

/* ---- output ---- */

void config_print(const struct config *c, FILE *f)
{
    int group = -1;
    for (int id = 0; id < CFG_COUNT; id++) {
        const struct config_key *k = &config_schema[id];
        const int g = config_group(k->group);
        const bool first = g != group, is_pair = !strcmp(k->group, "quant_pair");
        group = g;
        if (first)
            fprintf(f, "%s:\n", k->group);
        if (first && is_pair)
            pair_print(&c->pair, f, 2);
        if (is_pair)
            continue;
        fprintf(f, "  %s: ", k->name);
        config_print_value((enum config_id)id, c->value[id], f);
        fputc('\n', f);
    }
}

static void print_arg(const struct config *c, int id, const struct config_use *u, FILE *f)
{
    const char *value = c->value[id];
    if (config_schema[id].type == CFG_BOOL) {
        if (!strcmp(value, "true"))
            fprintf(f, "%s\n", u->option);
        return;
    }
    /* an operand with a dash in front would be read as an option */
    fprintf(f, "%s%s%s\n", u->option, !*u->option && *value == '-' ? "./" : "", value);
}

void config_print_args(const struct config *c, const char *stage, FILE *f)
{
    for (int pass = 0; pass < 2; pass++) /* options, then operands */
        for (int id = 0; id < CFG_COUNT; id++)
            for (int u = 0; u < CONFIG_MAX_USES && config_schema[id].use[u].stage; u++) {
                const struct config_use *use = &config_schema[id].use[u];
                const bool is_operand = !*use->option;
                if (c->value[id] && !strcmp(use->stage, stage) && is_operand == (pass == 1))
                    print_arg(c, id, use, f);
            }
}
