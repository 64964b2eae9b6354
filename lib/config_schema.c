#include "config_schema.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "granularity.h"
#include "mem.h"
#include "nearest.h"

int config_group(const char *name)
{
    int g = 0;
    while (g < CONFIG_GROUPS && strcmp(config_groups[g], name))
        g++;
    return g;
}

char *config_full_name(enum config_id id)
{
    return xasprintf("%s.%s", config_schema[id].group, config_schema[id].name);
}

enum config_id config_find(const char *group, const char *name)
{
    int id = 0;
    while (id < CFG_COUNT && (strcmp(config_schema[id].group, group) || strcmp(config_schema[id].name, name)))
        id++;
    return (enum config_id)id;
}

bool config_is_mapping(const char *group, const char *name)
{
    const size_t n = strlen(name);
    for (int id = 0; id < CFG_COUNT; id++)
        if (!strcmp(config_schema[id].group, group) && !strncmp(config_schema[id].name, name, n) &&
            config_schema[id].name[n] == '.')
            return true;
    return false;
}

bool config_is_text(enum config_id id)
{
    return config_schema[id].type == CFG_NAME || config_schema[id].type == CFG_PATH;
}

/* ---- values ---- */

/* What the key wants, for messages: "a whole number from 1 to 1024". */
static char *wanted(const struct config_key *k)
{
    const char *null = k->nullable ? ", or null" : "";
    switch (k->type) {
    case CFG_PATH: return xasprintf("a path on one line%s", null);
    case CFG_NAME: return xasprintf("a name without '/', with no '.' or '-' in front%s", null);
    case CFG_INT: return xasprintf("a whole number from %.0f to %.0f%s", k->min, k->max, null);
    case CFG_REAL: return xasprintf("a number from %g to %g%s", k->min, k->max, null);
    case CFG_BOOL: return xasprintf("true or false%s", null);
    case CFG_CHOICE: {
        char *s = xstrdup(k->choice[0]);
        for (int i = 1; i < CONFIG_MAX_CHOICES && k->choice[i]; i++) {
            const bool last = i + 1 == CONFIG_MAX_CHOICES || !k->choice[i + 1];
            char *longer = xasprintf("%s%s%s", s, last && !k->nullable ? " or " : ", ", k->choice[i]);
            free(s);
            s = longer;
        }
        char *all = xasprintf("%s%s", s, k->nullable ? " or null" : "");
        free(s);
        return all;
    }
    case CFG_OVERLAY: return xasprintf("a mapping of quantizer attributes%s", null);
    }
    BUG("type %d", (int)k->type);
}

static bool is_one_line(const char *s)
{
    for (const char *p = s; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return false;
    return *s && strlen(s) <= CONFIG_LONGEST && yml_is_utf8(s);
}

/* NULL where the node is no value of the key. */
static char *canonical(const struct config_key *k, const struct yml_node *n)
{
    const char *s;
    int64_t i;
    double x;
    bool b;
    switch (k->type) {
    case CFG_PATH: return yml_string(n, &s) && is_one_line(s) ? xstrdup(s) : NULL;
    case CFG_NAME:
        return yml_string(n, &s) && is_one_line(s) && !strchr(s, '/') && *s != '.' && *s != '-' ? xstrdup(s) : NULL;
    case CFG_INT:
        return yml_int(n, &i) && (double)i >= k->min && (double)i <= k->max ? xasprintf("%" PRId64, i) : NULL;
    case CFG_REAL: {
        if (!yml_real(n, &x) || !(x >= k->min && x <= k->max))
            return NULL;
        char text[YML_REAL];
        yml_real_text(x, text);
        return xstrdup(text);
    }
    case CFG_BOOL: return yml_bool(n, &b) ? xstrdup(b ? "true" : "false") : NULL;
    case CFG_CHOICE:
        if (yml_string(n, &s))
            for (int c = 0; c < CONFIG_MAX_CHOICES && k->choice[c]; c++)
                if (!strcmp(s, k->choice[c]))
                    return xstrdup(s);
        return NULL;
    case CFG_OVERLAY: break; /* config_check reads it: it has errors of its own */
    }
    BUG("type %d", (int)k->type);
}

int config_check(enum config_id id, const struct yml_node *n, char **text, struct err *e)
{
    const struct config_key *k = &config_schema[id];
    *text = NULL;
    if (k->nullable && yml_is_null(n))
        return 0;
    if (k->type == CFG_OVERLAY) {
        struct granularity g;
        if (granularity_read(&g, n, e))
            return -1;
        *text = granularity_json(&g);
        return 0;
    }
    *text = canonical(k, n);
    if (*text)
        return 0;
    char *want = wanted(k), got[256], where[YML_WHERE];
    err_set(e, ERR_CONFIG, "%s: %s.%s must be %s, not %s", yml_where(n, where), k->group, k->name, want,
            yml_describe(n, got, sizeof got));
    free(want);
    return -1;
}

int config_refuse_group(const char *group, const char *where, struct err *e)
{
    const char *near = nearest_word(group, config_groups, CONFIG_GROUPS);
    if (near)
        return err_set(e, ERR_CONFIG, "%s: unknown group '%s'; did you mean '%s'?", where, group, near);
    return err_set(e, ERR_CONFIG, "%s: unknown group '%s'; compose-config --help-keys lists them", where, group);
}

int config_refuse_key(const char *group, const char *name, const char *where, struct err *e)
{
    char *known[2 * CFG_COUNT], *key = xasprintf("%s.%s", group, name);
    size_t n = 0;
    for (int id = 0; id < CFG_COUNT; id++) {
        known[n++] = config_full_name((enum config_id)id);
        const char *dot = strchr(config_schema[id].name, '.');
        if (dot) /* the mapping too */
            known[n++] = xasprintf("%s.%.*s", config_schema[id].group, (int)(dot - config_schema[id].name),
                                   config_schema[id].name);
    }
    const char *near = nearest_word(key, (const char *const *)known, n);
    if (near)
        err_set(e, ERR_CONFIG, "%s: unknown key '%s'; did you mean '%s'?", where, key, near);
    else
        err_set(e, ERR_CONFIG, "%s: unknown key '%s'; compose-config --help-keys lists the keys", where, key);
    for (size_t i = 0; i < n; i++)
        free(known[i]);
    free(key);
    return -1;
}

static int check_items(const char *group, const char *prefix, const struct yml_node *map, struct err *e)
{
    for (size_t i = 0; i < map->n; i++) {
        const struct yml_node *n = &map->item[i];
        char *name = xasprintf("%s%s", prefix, n->key), *text = NULL, where[YML_WHERE];
        const enum config_id id = config_find(group, name);
        int rc = 0;
        if (id < CFG_COUNT) {
            if (config_schema[id].type != CFG_OVERLAY && !(n->text && strstr(n->text, "${")))
                rc = config_check(id, n, &text, e);
        } else if (!config_is_mapping(group, name))
            rc = config_refuse_key(group, name, yml_where(n, where), e);
        else if (n->kind != YML_MAPPING) {
            char got[256];
            rc = err_set(e, ERR_CONFIG, "%s: %s.%s must be a mapping of keys, not %s", yml_where(n, where), group, name,
                         yml_describe(n, got, sizeof got));
        } else {
            char *deeper = xasprintf("%s.", name);
            rc = check_items(group, deeper, n, e);
            free(deeper);
        }
        free(text);
        free(name);
        if (rc)
            return -1;
    }
    return 0;
}

int config_check_group(const char *group, const struct yml_node *map, struct err *e)
{
    char where[YML_WHERE];
    if (map->kind != YML_MAPPING)
        return err_set(e, ERR_CONFIG, "%s: the keys of %s are expected here, such as 'name: value'",
                       yml_where(map, where), group);
    return check_items(group, "", map, e);
}

/* ---- printing ---- */

void config_print_value(enum config_id id, const char *text, FILE *f)
{
    const enum config_type t = config_schema[id].type;
    if (!text)
        fputs(t == CFG_OVERLAY ? "{}" : "null", f);
    else if (t == CFG_INT || t == CFG_REAL || t == CFG_BOOL || t == CFG_OVERLAY)
        fputs(text, f);
    else
        yml_put_string(f, text);
}

enum { HELP_INDENT = 6 };

static void print_uses(const struct config_key *k, FILE *f)
{
    for (int u = 0; u < CONFIG_MAX_USES && k->use[u].stage; u++) {
        if (u)
            fputs(", ", f);
        else
            fprintf(f, "\n%*sread by ", HELP_INDENT, "");
        const int n = (int)strcspn(k->use[u].option, "=");
        fprintf(f, "%s%s%.*s", k->use[u].stage, n ? " " : "", n, k->use[u].option);
    }
    if (k->file)
        fprintf(f, "\n%*sread by autoquant-score in %s", HELP_INDENT, "", k->file);
}

void config_print_schema(FILE *f)
{
    const char *group = "";
    fputs("Keys are set in conf/GROUP/NAME.yaml, in a preset under the name of the group, "
          "or by --set 'group.key=value'\n"
          "(SET=\"group.key=value ...\"). The default stands in brackets.\n", f);
    for (int id = 0; id < CFG_COUNT; id++) {
        const struct config_key *k = &config_schema[id];
        if (strcmp(group, k->group))
            fprintf(f, "\n%s\n", k->group);
        group = k->group;
        char *key = config_full_name((enum config_id)id), *want = wanted(k);
        fprintf(f, "  %s\n%*s%s\n%*s%s", key, HELP_INDENT, "", k->help, HELP_INDENT, "", want);
        if (k->unit)
            fprintf(f, "; in %s", k->unit);
        if (k->initial)
            fprintf(f, " [%s]", k->initial);
        if (k->chosen_by)
            fprintf(f, "; chosen by %s", k->chosen_by);
        print_uses(k, f);
        fputc('\n', f);
        free(key);
        free(want);
    }
}
