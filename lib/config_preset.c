#include "config_preset.h"

#include <stdlib.h>
#include <string.h>

#include "config_layer.h"
#include "config_schema.h"
#include "mem.h"
#include "nearest.h"

enum { MAX_DEPTH = 32 };

struct config_preset_file {
    char *name, *path;
    struct yml_node root;
};

struct chain { /* the presets being read, innermost first */
    const char *path, *name;
    const struct chain *outer;
    int depth;
};

static int read_preset(struct config_preset *p, const char *conf, const char *name, const struct yml_node *from,
                       const struct chain *outer, struct err *e);

static int refuse_circle(const struct chain *c, const struct yml_node *from, const struct config_preset_file *f,
                         struct err *e)
{
    char *names = xstrdup(f->name), where[YML_WHERE];
    for (; c; c = c->outer) {
        char *longer = xasprintf("%s -> %s", c->name, names);
        free(names);
        names = longer;
        if (!strcmp(c->path, f->path))
            break;
    }
    err_set(e, ERR_CONFIG, "%s: the presets go in a circle: %s", yml_where(from, where), names);
    free(names);
    return -1;
}

/* ---- entries of the list ---- */

static struct config_step *find_step(struct config_preset *p, int group)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->step[i].group == group)
            return &p->step[i];
    return NULL;
}

static void add_step(struct config_preset *p, int group, const char *choice, const struct yml_node *origin)
{
    p->step = xgrow(p->step, &p->cap, p->n + 1, sizeof *p->step);
    p->step[p->n++] = (struct config_step){group, choice ? xstrdup(choice) : NULL, origin};
}

static int choose(struct config_preset *p, const struct yml_node *n, struct err *e)
{
    static const char prefix[] = "override ";
    const bool overrides = !strncmp(n->key, prefix, sizeof prefix - 1);
    const char *key = overrides ? n->key + sizeof prefix - 1 : n->key, *name = NULL;
    char where[YML_WHERE], there[YML_WHERE];
    const int group = config_group(key);
    if (group == CONFIG_GROUPS)
        return config_refuse_group(key, yml_where(n, where), e);
    if (!yml_is_null(n) && !yml_string(n, &name)) {
        char got[256];
        return err_set(e, ERR_CONFIG, "%s: %s must be the name of a file or null, not %s", yml_where(n, where), key,
                       yml_describe(n, got, sizeof got));
    }
    struct config_step *old = find_step(p, group);
    if (overrides && !old)
        return err_set(e, ERR_CONFIG, "%s: nothing before this chooses a %s: leave 'override' out",
                       yml_where(n, where), key);
    if (!overrides && old)
        return err_set(e, ERR_CONFIG, "%s: %s chooses the %s already; to choose anew write 'override %s: %s'",
                       yml_where(n, where), yml_where(old->origin, there), key, key, name ? name : "null");
    if (!old) {
        add_step(p, group, name, n);
        return 0;
    }
    free(old->choice);
    old->choice = name ? xstrdup(name) : NULL;
    old->origin = n;
    return 0;
}

static int read_entry(struct config_preset *p, const char *conf, const struct yml_node *n, const struct chain *here,
                      struct err *e)
{
    char where[YML_WHERE];
    const char *name;
    if (n->kind != YML_MAPPING || n->n != 1)
        return err_set(e, ERR_CONFIG, "%s: an entry of 'defaults' is 'group: name', 'preset: name' or _self_",
                       yml_where(n, where));
    const struct yml_node *entry = &n->item[0];
    if (strcmp(entry->key, "preset"))
        return choose(p, entry, e);
    if (!yml_string(entry, &name)) {
        char got[256];
        return err_set(e, ERR_CONFIG, "%s: preset must be a name, not %s", yml_where(entry, where),
                       yml_describe(entry, got, sizeof got));
    }
    return read_preset(p, conf, name, entry, here, e);
}

static bool is_self(const struct yml_node *n)
{
    return n->kind == YML_SCALAR && !strcmp(n->text, "_self_");
}

static int read_defaults(struct config_preset *p, const char *conf, const struct yml_node *root,
                         const struct chain *here, struct err *e)
{
    const struct yml_node *list = yml_find(root, "defaults");
    char where[YML_WHERE];
    bool self_done = false;
    if (list && list->kind != YML_SEQUENCE && !yml_is_null(list))
        return err_set(e, ERR_CONFIG, "%s: 'defaults' is a list of 'group: name'", yml_where(list, where));
    for (size_t i = 0; list && i < list->n; i++) {
        const struct yml_node *n = &list->item[i];
        if (!is_self(n)) {
            if (read_entry(p, conf, n, here, e))
                return -1;
        } else if (self_done)
            return err_set(e, ERR_CONFIG, "%s: _self_ stands in the list twice", yml_where(n, where));
        else {
            add_step(p, -1, NULL, root);
            self_done = true;
        }
    }
    if (!self_done)
        add_step(p, -1, NULL, root);
    return 0;
}

/* ---- files ---- */

/* Every key but `defaults` is a group with values of its own. */
static int check_values(const struct yml_node *root, struct err *e)
{
    char where[YML_WHERE];
    if (root->kind != YML_MAPPING)
        return err_set(e, ERR_CONFIG, "%s: a preset has a list 'defaults' and groups with values",
                       yml_where(root, where));
    for (size_t i = 0; i < root->n; i++) {
        const struct yml_node *n = &root->item[i];
        if (!strcmp(n->key, "defaults"))
            continue;
        const int group = config_group(n->key);
        if (group == CONFIG_GROUPS)
            return config_refuse_group(n->key, yml_where(n, where), e);
        if (config_check_group(n->key, n, e))
            return -1;
    }
    return 0;
}

static int open_file(struct config_preset_file *f, const char *conf, const char *name, const struct yml_node *from,
                     struct err *e)
{
    char where[YML_WHERE];
    f->path = config_named_file(conf, "preset", name);
    if (!f->path && config_is_file(name))
        f->path = xstrdup(name);
    if (f->path)
        return 0;
    config_refuse_name(conf, "preset", name, "it is not a file", e);
    return from ? err_wrap(e, "%s", yml_where(from, where)) : -1;
}

static int read_preset(struct config_preset *p, const char *conf, const char *name, const struct yml_node *from,
                       const struct chain *outer, struct err *e)
{
    char where[YML_WHERE];
    struct config_preset_file *f = xcalloc(1, sizeof *f);
    p->file = xgrow(p->file, &p->cap_files, p->n_files + 1, sizeof *p->file);
    p->file[p->n_files++] = f;
    f->name = xstrdup(name);
    if (open_file(f, conf, name, from, e))
        return -1;
    for (const struct chain *c = outer; c; c = c->outer)
        if (!strcmp(c->path, f->path))
            return refuse_circle(outer, from, f, e);
    for (size_t i = 0; i + 1 < p->n_files; i++)
        if (!strcmp(p->file[i]->path, f->path))
            return err_set(e, ERR_CONFIG, "%s: preset '%s' is already part of the list", yml_where(from, where), name);
    const struct chain here = {f->path, f->name, outer, outer ? outer->depth + 1 : 0};
    if (here.depth == MAX_DEPTH)
        return err_set(e, ERR_LIMIT, "%s: more than %d presets inside each other", yml_where(from, where), MAX_DEPTH);
    if (yml_load(&f->root, f->path, e) || check_values(&f->root, e))
        return -1;
    return read_defaults(p, conf, &f->root, &here, e);
}

int config_preset_read(struct config_preset *p, const char *conf, const char *name, struct err *e)
{
    *p = (struct config_preset){0};
    return read_preset(p, conf, name, NULL, NULL, e);
}

void config_preset_free(struct config_preset *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->step[i].choice);
    free(p->step);
    for (size_t i = 0; i < p->n_files; i++) {
        yml_free(&p->file[i]->root);
        free(p->file[i]->name);
        free(p->file[i]->path);
        free(p->file[i]);
    }
    free(p->file);
    *p = (struct config_preset){0};
}
