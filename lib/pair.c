#include "pair.h"

#include <string.h>

#include "nearest.h"
#include "yml.h"

struct source { /* where a node stands, for messages */
    const char *file, *part;
};

static int refuse(const struct source *s, const struct yml_node *n, const char *key, const char *want, struct err *e)
{
    char got[128];
    return err_set(e, ERR_CONFIG, "%s:%d: %s%s must be %s, not %s", s->file, n->line, s->part, key, want,
                   yml_describe(n, got, sizeof got));
}

static int check_keys(const struct source *s, const struct yml_node *map, const char *const *known, size_t n_known,
                      struct err *e)
{
    for (size_t i = 0; i < map->n; i++) {
        const struct yml_node *n = &map->item[i];
        size_t k = 0;
        while (k < n_known && strcmp(n->key, known[k]))
            k++;
        if (k < n_known)
            continue;
        const char *near = nearest_word(n->key, known, n_known);
        return err_set(e, ERR_CONFIG, "%s:%d: unknown key '%s%s'%s%s%s", s->file, n->line, s->part, n->key,
                       near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    return 0;
}

static const struct yml_node *need(const struct source *s, const struct yml_node *map, const char *key, struct err *e)
{
    const struct yml_node *n = yml_find(map, key);
    if (!n)
        err_set(e, ERR_CONFIG, "%s:%d: missing key '%s%s'", s->file, map->line, s->part, key);
    return n;
}

/* A name of 1 to 63 safe characters: it becomes part of file names. */
static int read_name(const struct source *s, const struct yml_node *map, const char *key, char out[64], struct err *e)
{
    static const char safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.";
    const struct yml_node *n = need(s, map, key, e);
    if (!n)
        return -1;
    const char *text;
    if (!yml_string(n, &text) || !*text || strlen(text) > 63 || text[strspn(text, safe)] || *text == '.' ||
        *text == '-')
        return refuse(s, n, key, "a name of at most 63 letters, digits, '_', '-' or '.'", e);
    memcpy(out, text, strlen(text) + 1);
    return 0;
}

static int read_format(const struct source *s, const struct yml_node *map, enum quant_format *out, struct err *e)
{
    const struct yml_node *n = need(s, map, "format", e);
    if (!n)
        return -1;
    const char *text;
    if (!yml_string(n, &text) || (*out = quant_format_of_name(text)) == QF_COUNT)
        return refuse(s, n, "format", "fp4, mxfp4, fp8, int8, int4 or fp16", e);
    return 0;
}

static int read_scales(const struct source *s, const struct yml_node *map, struct quantizer *q, struct err *e)
{
    const struct yml_node *n = need(s, map, "granularity", e);
    if (!n)
        return -1;
    const char *text;
    if (!yml_string(n, &text) || (q->granularity = quant_granularity_of_name(text)) == QG_COUNT)
        return refuse(s, n, "granularity", "tensor, out_channel, in_channel, block or token", e);

    const struct yml_node *block = yml_find(map, "block");
    int64_t size = 0;
    if (q->granularity == QG_BLOCK && !block)
        return err_set(e, ERR_CONFIG, "%s:%d: granularity 'block' needs the key '%sblock', the elements of a block",
                       s->file, n->line, s->part);
    if (q->granularity != QG_BLOCK && block)
        return err_set(e, ERR_CONFIG, "%s:%d: %sblock is for granularity 'block', not '%s'", s->file, block->line,
                       s->part, text);
    if (block && (!yml_int(block, &size) || size < 2 || size > 65536))
        return refuse(s, block, "block", "a whole number from 2 to 65536", e);
    q->block = (int)size;

    const struct yml_node *dynamic = yml_find(map, "dynamic");
    if (dynamic && !yml_bool(dynamic, &q->dynamic))
        return refuse(s, dynamic, "dynamic", "true or false", e);
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

static int read_quantizer(struct source s, const struct yml_node *root, bool is_weight, struct quantizer *q,
                          struct err *e)
{
    static const char *const known[] = {"format", "granularity", "block", "dynamic"};
    const char *key = is_weight ? "weight" : "activation";
    const struct yml_node *map = need(&s, root, key, e);
    if (!map)
        return -1;
    if (map->kind != YML_MAPPING)
        return refuse(&s, map, key, "a mapping such as {format: fp8, granularity: tensor}", e);
    s.part = is_weight ? "weight." : "activation.";
    *q = (struct quantizer){.format = QF_NONE};
    if (check_keys(&s, map, known, sizeof known / sizeof *known, e) || read_format(&s, map, &q->format, e))
        return -1;
    if (q->format == QF_NONE) {
        if (map->n > 1)
            return err_set(e, ERR_CONFIG, "%s:%d: %sformat fp16 means left as it is: no other key is allowed", s.file,
                           map->line, s.part);
        return 0;
    }
    if (read_scales(&s, map, q, e))
        return -1;
    if (quantizer_check(q, is_weight, e) || (is_weight && check_weight_scales(q, e)))
        return err_wrap(e, "%s:%d: %s", s.file, map->line, key);
    return 0;
}

static int read_pair(struct pair *p, const struct yml_node *root, const char *file, struct err *e)
{
    static const char *const known[] = {"name", "modelopt_config", "recipe_name", "weight", "activation"};
    const struct source s = {file, ""};
    if (root->kind != YML_MAPPING)
        return err_set(e, ERR_CONFIG,
                       "%s:%d: a pair file is a mapping with the keys name, modelopt_config, recipe_name, "
                       "weight and activation",
                       file, root->line);
    if (check_keys(&s, root, known, sizeof known / sizeof *known, e) || read_name(&s, root, "name", p->name, e) ||
        read_name(&s, root, "modelopt_config", p->modelopt_config, e) ||
        read_name(&s, root, "recipe_name", p->recipe_name, e) || read_quantizer(s, root, true, &p->weight, e) ||
        read_quantizer(s, root, false, &p->activation, e))
        return -1;
    if (p->weight.format == QF_NONE && p->activation.format == QF_NONE)
        return err_set(e, ERR_CONFIG, "%s:%d: neither weight nor activation is quantized: there is nothing to measure",
                       file, root->line);
    return 0;
}

int pair_parse(struct pair *p, const char *data, size_t n, const char *name, struct err *e)
{
    *p = (struct pair){0};
    struct yml_node root;
    if (yml_parse(&root, data, n, name, e))
        return -1;
    const int rc = read_pair(p, &root, name, e);
    yml_free(&root);
    return rc;
}

int pair_load(struct pair *p, const char *path, struct err *e)
{
    *p = (struct pair){0};
    struct yml_node root;
    if (yml_load(&root, path, e))
        return -1;
    const int rc = read_pair(p, &root, path, e);
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
