/* Any bytes as a file of each group and as overrides on top of it: no crash, one sentence where refused; what is taken
 * comes out as YAML that says the same and as arguments without an empty or broken line. */
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "config_override.h"
#include "config_resolve.h"
#include "mem.h"
#include "yml_tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_refusal(const struct err *e)
{
    if (e->code == ERR_NONE || !e->msg[0] || strchr(e->msg, '\n'))
        abort();
}

static void check_output(const struct config *c)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    config_print(c, f);
    fclose(f);
    struct yml_node root;
    struct pair pair;
    struct err e;
    if (yml_parse(&root, text, n, "composed", &e) || pair_read(&pair, yml_find(&root, "quant_pair"), &e) ||
        !quantizer_equal(&pair.weight, &c->pair.weight) || !quantizer_equal(&pair.activation, &c->pair.activation))
        abort();
    yml_free(&root);
    free(text);
    for (const char *const *stage = config_stages; *stage; stage++) {
        f = open_memstream(&text, &n);
        config_print_args(c, *stage, f);
        fclose(f);
        if (*text == '\n' || strstr(text, "\n\n"))
            abort();
        free(text);
    }
}

static const char base[] = "quant_pair:\n"
                           "  name: x\n  modelopt_config: X\n  recipe_name: X\n"
                           "  weight: {format: int8, granularity: tensor}\n"
                           "  activation: {format: fp8, granularity: tensor}\n";

/* The base, with these layers on top. */
static void compose(const struct yml_node *layer, const struct config_overrides *set)
{
    struct yml_node tree;
    struct config c;
    struct err e = {0};
    if (yml_parse(&tree, base, sizeof base - 1, "base", &e))
        abort();
    if (layer)
        yml_merge(&tree, layer);
    for (size_t i = 0; i < set->n; i++)
        if (!set->item[i].is_choice)
            yml_merge(&tree, &set->item[i].tree);
    if (config_of_tree(&c, &tree, NULL, &e))
        check_refusal(&e);
    else
        check_output(&c);
    config_free(&c);
    yml_free(&tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_overrides set = {0};
    struct err e = {0};
    char *text = xstrndup((const char *)data, size);
    if (config_overrides_parse(&set, text, &e))
        check_refusal(&e);
    else
        compose(NULL, &set);
    config_overrides_free(&set);

    struct yml_node root;
    if (!yml_parse(&root, (const char *)data, size, "fuzz", &e) && root.kind == YML_MAPPING)
        for (int g = 0; g < CONFIG_GROUPS; g++) {
            if (config_check_group(config_groups[g], &root, &e)) {
                check_refusal(&e);
                continue;
            }
            struct yml_node layer = yml_mapping("layer");
            yml_merge(&layer, &root);
            struct yml_node nested = yml_nest(config_groups[g], layer);
            compose(&nested, &set);
            yml_free(&nested);
        }
    yml_free(&root);
    free(text);
    return 0;
}
