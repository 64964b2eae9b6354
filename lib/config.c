#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

void config_init(struct config *c)
{
    *c = (struct config){0};
    for (int id = 0; id < CFG_COUNT; id++)
        if (config_schema[id].initial)
            c->value[id] = xstrdup(config_schema[id].initial);
}

void config_free(struct config *c)
{
    for (int id = 0; id < CFG_COUNT; id++)
        free(c->value[id]);
    *c = (struct config){0};
}

static int put(struct config *c, enum config_id id, const struct yml_node *n, const char *where, struct err *e)
{
    char *text;
    if (config_check(id, n, where, &text, e))
        return -1;
    free(c->value[id]);
    c->value[id] = text;
    return 0;
}

/* Does the key want text? Then a word given on the command line is that text, whatever type YAML would see in it. */
static bool is_text(enum config_id id)
{
    return config_schema[id].type == CFG_NAME || config_schema[id].type == CFG_PATH;
}

/* ---- files ---- */

static int read_group(struct config *c, const char *group, const struct yml_node *root, const char *file, struct err *e)
{
    if (yml_is_null(root))
        return 0;
    if (root->kind != YML_MAPPING)
        return err_set(e, ERR_CONFIG, "%s:%d: the keys of %s are expected here, such as 'name: value'", file,
                       root->line, group);
    for (size_t i = 0; i < root->n; i++) {
        const struct yml_node *n = &root->item[i];
        char *where = xasprintf("%s:%d", file, n->line);
        const enum config_id id = config_find(group, n->key);
        const int rc = id == CFG_COUNT ? config_refuse_key(group, n->key, where, e) : put(c, id, n, where, e);
        free(where);
        if (rc)
            return -1;
    }
    return 0;
}

int config_parse(struct config *c, const char *group, const char *data, size_t n, const char *name, struct err *e)
{
    struct yml_node root;
    if (yml_parse(&root, data, n, name, e))
        return -1;
    const int rc = read_group(c, group, &root, name, e);
    yml_free(&root);
    return rc;
}

int config_read(struct config *c, const char *group, const char *path, struct err *e)
{
    struct yml_node root;
    if (yml_load(&root, path, e))
        return -1;
    const int rc = read_group(c, group, &root, path, e);
    yml_free(&root);
    return rc;
}

/* ---- overrides ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The end of the quoted part that starts at s, behind its closing quote; NULL where there is none. */
static const char *skip_quoted(const char *s)
{
    const char quote = *s++;
    for (; *s && *s != quote; s++)
        if (quote == '"' && *s == '\\' && s[1])
            s++;
    return *s ? s + 1 : NULL;
}

/* The end of the word at s: a blank outside of quotes and, where the word starts with a bracket, outside of brackets.
 */
static const char *skip_word(const char *s)
{
    const bool nested = *s == '[' || *s == '{';
    int depth = 0;
    while (*s && (depth > 0 || !is_blank(*s))) {
        if (*s == '\'' || *s == '"') {
            if (!(s = skip_quoted(s)))
                return NULL;
            continue;
        }
        if (nested)
            depth += (*s == '[' || *s == '{') - (*s == ']' || *s == '}');
        s++;
    }
    return s;
}

/* The scalar that the word s[0..n) stands for. */
static struct yml_node unquote(const char *s, size_t n)
{
    struct yml_node v = {.kind = YML_SCALAR, .text = xmalloc(n + 1, 1), .plain = true};
    char quote = 0, *out = v.text;
    for (const char *end = s + n; s < end; s++) {
        if (quote ? *s == quote : *s == '\'' || *s == '"') {
            quote = quote ? 0 : *s;
            v.plain = false;
            continue;
        }
        if (quote == '"' && *s == '\\' && (s[1] == '"' || s[1] == '\\'))
            s++;
        *out++ = *s;
    }
    *out = 0;
    return v;
}

/* word[0..n) is one override; `source` is its text for messages, key its part up to the '='. */
static int override_one(struct config *c, const char *source, char *key, const char *value, struct err *e)
{
    char *where = xasprintf("override '%s'", source), *name = strchr(key, '.');
    int rc = -1;
    if (!name)
        err_set(e, ERR_CONFIG, "%s: '%s' is not a key such as autoquant.dtype", where, key);
    else {
        *name++ = 0;
        const enum config_id id = config_find(key, name);
        struct yml_node v = {0};
        if (!strcmp(key, "quant_pair"))
            err_set(e, ERR_CONFIG, "%s: the pair is chosen by --pair (PAIR=...), by name or as a file of your own",
                    where);
        else if (id == CFG_COUNT)
            config_refuse_key(key, name, where, e);
        else if (config_schema[id].chosen_by)
            err_set(e, ERR_CONFIG, "%s: %s.%s is chosen by %s", where, key, name, config_schema[id].chosen_by);
        else if (*value == '[' || *value == '{')
            rc = yml_parse(&v, value, strlen(value), where, e);
        else {
            v = unquote(value, strlen(value));
            rc = 0;
        }
        if (!rc) {
            v.plain = v.plain && (!is_text(id) || yml_is_null(&v));
            rc = put(c, id, &v, where, e);
        }
        yml_free(&v);
    }
    free(where);
    return rc;
}

int config_override(struct config *c, const char *overrides, struct err *e)
{
    for (const char *s = overrides;;) {
        while (is_blank(*s))
            s++;
        if (!*s)
            return 0;
        const size_t n_key = strcspn(s, "= \t\r\n'\"");
        const char *end = s[n_key] == '=' ? skip_word(s + n_key + 1) : s;
        if (!end)
            return err_set(e, ERR_CONFIG, "override '%s': a quote is not closed", s);
        if (end == s)
            return err_set(e, ERR_CONFIG, "override '%.*s' is not group.key=value (quotes go around the value)",
                           (int)strcspn(s, " \t\r\n"), s);
        char *source = xstrndup(s, (size_t)(end - s)), *key = xstrndup(s, n_key);
        const int rc = override_one(c, source, key, source + n_key + 1, e);
        free(source);
        free(key);
        if (rc)
            return -1;
        s = end;
    }
}

int config_set(struct config *c, enum config_id id, const char *text, const char *where, struct err *e)
{
    struct yml_node v = {.kind = YML_SCALAR, .text = xstrdup(text), .plain = !is_text(id)};
    const int rc = put(c, id, &v, where, e);
    yml_free(&v);
    return rc;
}

void config_set_pair(struct config *c, const struct pair *p)
{
    c->pair = *p;
    free(c->value[CFG_QUANT_PAIR_NAME]);
    c->value[CFG_QUANT_PAIR_NAME] = xstrdup(p->name);
}

void config_derive(struct config *c)
{
    static const struct {
        const char *samples, *size;
    } sizes[] = {{"16", "small"}, {"128", "medium"}, {"512", "large"}};
    if (!c->value[CFG_DATASET_SIZE]) {
        const char *size = c->value[CFG_DATASET_MAX_SAMPLES];
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            if (!strcmp(c->value[CFG_DATASET_MAX_SAMPLES], sizes[i].samples))
                size = sizes[i].size;
        c->value[CFG_DATASET_SIZE] = xstrdup(size);
    }
    if (!c->value[CFG_OUTPUT_LAYOUT_SCHEME] && c->value[CFG_QUANT_PAIR_NAME])
        c->value[CFG_OUTPUT_LAYOUT_SCHEME] = xasprintf("w%s_a%s_autoquant_lm", quant_format_name(c->pair.weight.format),
                                                       quant_format_name(c->pair.activation.format));
}

/* ---- output ---- */

void config_print(const struct config *c, FILE *f)
{
    const char *group = "";
    for (int id = 0; id < CFG_COUNT; id++) {
        const struct config_key *k = &config_schema[id];
        if (strcmp(group, k->group))
            fprintf(f, "%s:\n", k->group);
        group = k->group;
        if (id == CFG_QUANT_PAIR_NAME && c->value[id]) {
            pair_print(&c->pair, f, 2);
            continue;
        }
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
