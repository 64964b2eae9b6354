#include "config_override.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "yml_tree.h"

/* ---- words ---- */

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

/* The scalar that the word stands for. */
static struct yml_node unquote(const char *s, const char *source)
{
    struct yml_node v = yml_scalar(s, true, source);
    char quote = 0, *out = v.text;
    for (; *s; s++) {
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

/* A tree of one line has no line numbers. */
static void drop_lines(struct yml_node *n)
{
    n->line = 0;
    for (size_t i = 0; i < n->n; i++)
        drop_lines(&n->item[i]);
}

static int read_value(const char *word, const char *source, struct yml_node *v, struct err *e)
{
    if (*word != '[' && *word != '{') {
        *v = unquote(word, source);
        return 0;
    }
    if (yml_parse(v, word, strlen(word), source, e))
        return -1;
    drop_lines(v);
    return 0;
}

/* ---- meaning ---- */

/* Keys have at most this many parts: overlays are mappings of mappings of mappings. */
enum { MAX_PARTS = 8 };

static bool is_path(const char *key)
{
    int parts = 1;
    for (const char *p = key; *p; p++)
        parts += *p == '.';
    return *key && *key != '.' && key[strlen(key) - 1] != '.' && !strstr(key, "..") && parts <= MAX_PARTS;
}

static int refuse_lone_word(const char *source, const char *key, struct err *e)
{
    if (!strcmp(key, "preset"))
        return err_set(e, ERR_CONFIG, "%s: the preset is chosen by --preset (PRESET=...)", source);
    for (int id = 0; id < CFG_COUNT; id++)
        if (!strcmp(config_schema[id].name, key) && strcmp(key, "name"))
            return err_set(e, ERR_CONFIG, "%s: '%s' is not a group or a key such as autoquant.dtype; did you mean "
                                          "'%s.%s'?", source, key, config_schema[id].group, key);
    if (!*key)
        return err_set(e, ERR_CONFIG, "%s: there is no key before '='", source);
    return config_refuse_group(key, source, e);
}

static int set_choice(struct config_override *o, const struct yml_node *v, struct err *e)
{
    char got[256];
    if (v->kind != YML_SCALAR)
        return err_set(e, ERR_CONFIG, "%s: %s must be the name of a file or null, not %s", o->source,
                       config_groups[o->group], yml_describe(v, got, sizeof got));
    o->is_choice = true;
    o->id = CFG_COUNT;
    o->choice = yml_is_null(v) ? NULL : xstrdup(v->text);
    return 0;
}

static int set_value(struct config_override *o, const char *key, struct yml_node *v, struct err *e)
{
    const char *group = config_groups[o->group], *name = key + strlen(group) + 1;
    o->id = config_find(group, name);
    if (o->id < CFG_COUNT && config_schema[o->id].chosen_by)
        return err_set(e, ERR_CONFIG, "%s: %s is chosen by %s, by name or as a file of your own", o->source, key,
                       config_schema[o->id].chosen_by);
    if (o->id < CFG_COUNT && config_is_text(o->id))
        v->plain = yml_is_null(v);
    o->tree = yml_nest(key, *v);
    *v = (struct yml_node){0};
    return config_check_group(group, &o->tree.item[0], e);
}

static int read_override(struct config_override *o, char *key, const char *word, struct err *e)
{
    struct yml_node v = {0};
    const char *dot = strchr(key, '.');
    int rc = -1;
    if (*key == '+' || *key == '~')
        err_set(e, ERR_CONFIG, "%s: '%c' has no use here: the keys are fixed, and null takes a value away", o->source,
                *key);
    else if (dot && *key != '.') {
        char *group = xstrndup(key, (size_t)(dot - key));
        o->group = config_group(group);
        if (o->group == CONFIG_GROUPS)
            config_refuse_key(group, dot + 1, o->source, e);
        else if (!is_path(key))
            err_set(e, ERR_CONFIG, "%s: '%s' is not a key such as autoquant.dtype", o->source, key);
        else if (!(rc = read_value(word, o->source, &v, e)))
            rc = set_value(o, key, &v, e);
        free(group);
    } else if ((o->group = config_group(key)) == CONFIG_GROUPS)
        refuse_lone_word(o->source, key, e);
    else if (!(rc = read_value(word, o->source, &v, e)))
        rc = set_choice(o, &v, e);
    yml_free(&v);
    return rc;
}

int config_overrides_parse(struct config_overrides *list, const char *text, struct err *e)
{
    for (const char *s = text;;) {
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
        list->item = xgrow(list->item, &list->cap, list->n + 1, sizeof *list->item);
        struct config_override *o = &list->item[list->n++];
        *o = (struct config_override){.source = xasprintf("override '%.*s'", (int)(end - s), s)};
        char *key = xstrndup(s, n_key), *word = xstrndup(s + n_key + 1, (size_t)(end - s) - n_key - 1);
        const int rc = read_override(o, key, word, e);
        free(key);
        free(word);
        if (rc)
            return -1;
        s = end;
    }
}

void config_overrides_free(struct config_overrides *list)
{
    for (size_t i = 0; i < list->n; i++) {
        yml_free(&list->item[i].tree);
        free(list->item[i].choice);
        free(list->item[i].source);
    }
    free(list->item);
    *list = (struct config_overrides){0};
}
