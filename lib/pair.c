#include "pair.h"

#include <string.h>

#include "nearest.h"

/* `part` is what stands before a key in messages: "", "weight." or "activation." */
static int refuse(const char *part, const struct yml_node *n, const char *key, const char *want, struct err *e)
{
    char at[YML_WHERE], got[128];
    return err_set(e, ERR_CONFIG, "%s: %s%s must be %s, not %s", yml_where(n, at), part, key, want,
                   yml_describe(n, got, sizeof got));
}

static int check_keys(const char *part, const struct yml_node *map, const char *const *known, size_t n_known,
                      struct err *e)
{
    for (size_t i = 0; i < map->n; i++) {
        const struct yml_node *n = &map->item[i];
        size_t k = 0;
        while (k < n_known && strcmp(n->key, known[k]))
            k++;
        if (k < n_known)
            continue;
        char at[YML_WHERE];
        const char *near = nearest_word(n->key, known, n_known);
        return err_set(e, ERR_CONFIG, "%s: unknown key '%s%s'%s%s%s", yml_where(n, at), part, n->key,
                       near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    return 0;
}

static const struct yml_node *need(const char *part, const struct yml_node *map, const char *key, struct err *e)
{
    const struct yml_node *n = yml_find(map, key);
    char at[YML_WHERE];
    if (!n)
        err_set(e, ERR_CONFIG, "%s: missing key '%s%s'", yml_where(map, at), part, key);
    return n;
}

/* The node of a key that may be left out; null is left out too. */
static const struct yml_node *maybe(const struct yml_node *map, const char *key)
{
    const struct yml_node *n = yml_find(map, key);
    return n && !yml_is_null(n) ? n : NULL;
}

/* A name of 1 to 63 safe characters: it becomes part of file names. */
static int read_name(const char *part, const struct yml_node *map, const char *key, char out[64], struct err *e)
{
    static const char safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.";
    const struct yml_node *n = need(part, map, key, e);
    if (!n)
        return -1;
    const char *text;
    if (!yml_string(n, &text) || !*text || strlen(text) > 63 || text[strspn(text, safe)] || *text == '.' ||
        *text == '-')
        return refuse(part, n, key, "a name of at most 63 letters, digits, '_', '-' or '.'", e);
    memcpy(out, text, strlen(text) + 1);
    return 0;
}

static int read_format(const char *part, const struct yml_node *map, enum quant_format *out, struct err *e)
{
    const struct yml_node *n = need(part, map, "format", e);
    if (!n)
        return -1;
    const char *text;
    if (!yml_string(n, &text) || (*out = quant_format_of_name(text)) == QF_COUNT)
        return refuse(part, n, "format", "fp4, mxfp4, fp8, int8, int4 or fp16", e);
    return 0;
}

static int read_scales(const char *part, const struct yml_node *map, struct quantizer *q, struct err *e)
{
    const struct yml_node *n = need(part, map, "granularity", e);
    if (!n)
        return -1;
    const char *text;
    if (!yml_string(n, &text) || (q->granularity = quant_granularity_of_name(text)) == QG_COUNT)
        return refuse(part, n, "granularity", "tensor, out_channel, in_channel, block or token", e);

    char at[YML_WHERE];
    const struct yml_node *block = maybe(map, "block");
    int64_t size = 0;
    if (q->granularity == QG_BLOCK && !block)
        return err_set(e, ERR_CONFIG, "%s: granularity 'block' needs the key '%sblock', the elements of a block",
                       yml_where(n, at), part);
    if (q->granularity != QG_BLOCK && block)
        return err_set(e, ERR_CONFIG, "%s: %sblock is for granularity 'block', not '%s'", yml_where(block, at), part,
                       text);
    if (block && (!yml_int(block, &size) || size < 2 || size > 65536))
        return refuse(part, block, "block", "a whole number from 2 to 65536", e);
    q->block = (int)size;

    const struct yml_node *dynamic = maybe(map, "dynamic");
    if (dynamic && !yml_bool(dynamic, &q->dynamic))
        return refuse(part, dynamic, "dynamic", "true or false", e);
    return 0;
}

/* What quantizer_check leaves open: the reference has no other kind of weight scales. */
static int check_weight_scales(const struct quantizer *q, struct err *e)
{
    const bool must = q->format == QF_FP4 || q->format == QF_MXFP4;
    if (q->format == QF_NONE || q->dynamic == must)
        return 0;
    return err_set(e, ERR_CONFIG, "the scales of %s weights are %s", quant_format_name(q->format),
                   must ? "dynamic: set 'dynamic: true'" : "static: leave 'dynamic: true' out");
}

/* Whose fault is a combination: an override's, where one changed the mapping of the file. */
static const struct yml_node *blamed(const struct yml_node *map)
{
    for (size_t i = map->n; i-- > 0;)
        if (map->item[i].source != map->source)
            return &map->item[i];
    return map;
}

static int read_quantizer(const struct yml_node *root, bool is_weight, struct quantizer *q, struct err *e)
{
    static const char *const known[] = {"format", "granularity", "block", "dynamic"};
    const char *key = is_weight ? "weight" : "activation", *part = is_weight ? "weight." : "activation.";
    const struct yml_node *map = need("", root, key, e);
    char at[YML_WHERE];
    if (!map)
        return -1;
    if (map->kind != YML_MAPPING)
        return refuse("", map, key, "a mapping such as {format: fp8, granularity: tensor}", e);
    *q = (struct quantizer){.format = QF_NONE};
    if (check_keys(part, map, known, sizeof known / sizeof *known, e) || read_format(part, map, &q->format, e))
        return -1;
    if (q->format == QF_NONE) {
        for (size_t i = 1; i < sizeof known / sizeof *known; i++)
            if (maybe(map, known[i]))
                return err_set(e, ERR_CONFIG, "%s: %sformat fp16 means left as it is: no other key is allowed",
                               yml_where(blamed(map), at), part);
        return 0;
    }
    if (read_scales(part, map, q, e))
        return -1;
    if (quantizer_check(q, is_weight, e) || (is_weight && check_weight_scales(q, e)))
        return err_wrap(e, "%s: %s", yml_where(blamed(map), at), key);
    return 0;
}

int pair_read(struct pair *p, const struct yml_node *root, struct err *e)
{
    static const char *const known[] = {"name", "modelopt_config", "recipe_name", "weight", "activation"};
    char at[YML_WHERE];
    *p = (struct pair){0};
    if (root->kind != YML_MAPPING)
        return err_set(e, ERR_CONFIG,
                       "%s: a pair file is a mapping with the keys name, modelopt_config, recipe_name, "
                       "weight and activation",
                       yml_where(root, at));
    if (check_keys("", root, known, sizeof known / sizeof *known, e) || read_name("", root, "name", p->name, e) ||
        read_name("", root, "modelopt_config", p->modelopt_config, e) ||
        read_name("", root, "recipe_name", p->recipe_name, e) || read_quantizer(root, true, &p->weight, e) ||
        read_quantizer(root, false, &p->activation, e))
        return -1;
    if (p->weight.format == QF_NONE && p->activation.format == QF_NONE)
        return err_set(e, ERR_CONFIG, "%s: neither weight nor activation is quantized: there is nothing to measure",
                       yml_where(root, at));
    return 0;
}

int pair_parse(struct pair *p, const char *data, size_t n, const char *name, struct err *e)
{
    *p = (struct pair){0};
    struct yml_node root;
    if (yml_parse(&root, data, n, name, e))
        return -1;
    const int rc = pair_read(p, &root, e);
    yml_free(&root);
    return rc;
}

int pair_load(struct pair *p, const char *path, struct err *e)
{
    *p = (struct pair){0};
    struct yml_node root;
    if (yml_load(&root, path, e))
        return -1;
    const int rc = pair_read(p, &root, e);
    yml_free(&root);
    return rc;
}

static void print_quantizer(const struct quantizer *q, FILE *f)
{
    fprintf(f, "{format: %s", quant_format_name(q->format));
    if (q->format != QF_NONE) {
        fprintf(f, ", granularity: %s", quant_granularity_name(q->granularity));
        if (q->granularity == QG_BLOCK)
            fprintf(f, ", block: %d", q->block);
        fprintf(f, ", dynamic: %s", q->dynamic ? "true" : "false");
    }
    fputs("}\n", f);
}

void pair_print(const struct pair *p, FILE *f, int indent)
{
    const struct {
        const char *key, *value;
    } names[] = {{"name", p->name}, {"modelopt_config", p->modelopt_config}, {"recipe_name", p->recipe_name}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        fprintf(f, "%*s%s: ", indent, "", names[i].key);
        yml_put_string(f, names[i].value);
        fputc('\n', f);
    }
    fprintf(f, "%*sweight: ", indent, "");
    print_quantizer(&p->weight, f);
    fprintf(f, "%*sactivation: ", indent, "");
    print_quantizer(&p->activation, f);
}

int pair_bits(const struct pair *p)
{
    const int w = quant_format_bits(p->weight.format), a = quant_format_bits(p->activation.format);
    return w < a ? w : a;
}
