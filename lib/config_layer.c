#include "config_layer.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config_resolve.h"
#include "config_schema.h"
#include "io.h"
#include "mem.h"
#include "nearest.h"
#include "yml_tree.h"

struct config_layer {
    char *group, *name, *source; /* source: what messages call its place; the nodes point to it */
    struct yml_node values;
};

/* ---- files ---- */

bool config_is_file(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISREG(st.st_mode);
}

bool config_is_model_dir(const char *path)
{
    char *config = io_join(path, "config.json");
    const bool found = config_is_file(config);
    free(config);
    return found;
}

static bool has_suffix(const char *s, const char *suffix)
{
    const size_t n = strlen(s), k = strlen(suffix);
    return n > k && !strcmp(s + n - k, suffix);
}

static bool is_yaml(const char *path)
{
    return has_suffix(path, ".yaml") || has_suffix(path, ".yml") || has_suffix(path, ".json");
}

char *config_named_file(const char *conf, const char *group, const char *name)
{
    if (!*name || strchr(name, '/') || name[0] == '.')
        return NULL;
    char *path = xasprintf("%s/%s/%s.yaml", conf, group, name);
    if (config_is_file(path))
        return path;
    free(path);
    return NULL;
}

/* Last component of a path without its suffix. */
static char *stem(const char *path)
{
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    const char *dot = strrchr(base, '.');
    return xstrndup(base, dot && dot > base ? (size_t)(dot - base) : strlen(base));
}

int config_refuse_name(const char *conf, const char *group, const char *name, const char *also, struct err *e)
{
    char *dir = io_join(conf, group), **known = NULL;
    size_t cap = 0, n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *entry; d && (entry = readdir(d));)
        if (entry->d_name[0] != '.' && has_suffix(entry->d_name, ".yaml")) {
            known = xgrow(known, &cap, n + 1, sizeof *known);
            known[n++] = stem(entry->d_name);
        }
    if (d)
        closedir(d);
    const char *near = nearest_word(name, (const char *const *)known, n);
    /* a path is never the name of a file of the group */
    char *file = strchr(name, '/') ? xstrdup("") : xasprintf("%s/%s/%s.yaml does not exist", conf, group, name);
    err_set(e, ERR_CONFIG, "no %s '%s': %s%s%s%s%s%s", group, name, file, *file && *also ? " and " : "", also,
            near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    free(file);
    for (size_t i = 0; i < n; i++)
        free(known[i]);
    free(known);
    free(dir);
    return -1;
}

/* ---- the Hugging Face cache ---- */

/* Where huggingface_hub keeps its snapshots; the caller frees. */
static char *hub_dir(void)
{
    static const struct {
        const char *variable, *below;
    } places[] = {
        {"HF_HUB_CACHE", ""},
        {"HF_HOME", "/hub"},
        {"XDG_CACHE_HOME", "/huggingface/hub"},
        {"HOME", "/.cache/huggingface/hub"},
    };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *v = getenv(places[i].variable);
        if (v && *v)
            return xasprintf("%s%s", v, places[i].below);
    }
    return xstrdup("~/.cache/huggingface/hub");
}

static bool is_hub_id(const char *s)
{
    const char *slash = strchr(s, '/');
    return slash && slash != s && slash[1] && !strchr(slash + 1, '/') && s[0] != '.' && slash[1] != '.';
}

/* The snapshot of "org/name" that refs/main points to, or NULL. */
static char *find_snapshot(const char *hub, const char *id)
{
    if (!is_hub_id(id))
        return NULL;
    const char *slash = strchr(id, '/');
    char *repo = xasprintf("%s/models--%.*s--%s", hub, (int)(slash - id), id, slash + 1);
    char *ref = io_join(repo, "refs/main"), *rev = NULL, *path = NULL;
    size_t n;
    struct err missing;
    if (!io_read(ref, 256, &rev, &n, &missing)) {
        rev[strcspn(rev, " \t\r\n")] = 0;
        if (*rev && *rev != '.' && !strchr(rev, '/'))
            path = xasprintf("%s/snapshots/%s", repo, rev);
    }
    if (path && !config_is_model_dir(path)) {
        free(path);
        path = NULL;
    }
    free(rev);
    free(ref);
    free(repo);
    return path;
}

/* ---- values ---- */

/* A key with the text of a path or name as it is: what looks like a reference in it is none. */
static void add_text(struct config_layer *l, const char *key, const char *text)
{
    char *escaped = config_escape(text);
    yml_add(&l->values, key, yml_scalar(escaped, false, l->source));
    free(escaped);
}

/* The name that a path suggests: names have no '.' or '-' in front, paths may. */
static void add_name(struct config_layer *l, const char *suggested)
{
    const char *name = suggested + strspn(suggested, ".-");
    add_text(l, "name", *name ? name : "unnamed");
}

/* What to call the model in this directory: its last component, also where that is '.' or has slashes behind it. */
static char *dir_name(const char *path)
{
    char *full = realpath(path, NULL);
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    if (full && (base[0] == '.' || !*base))
        base = strrchr(full, '/') + 1;
    char *name = xstrdup(base);
    free(full);
    return name;
}

static char *trim_slashes(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') /* DIR/ is DIR: equal runs have equal files */
        n--;
    return xstrndup(path, n);
}

/* called: what the user calls it, the directory or its id in the cache */
static int use_model_dir(struct config_layer *l, const char *path, const char *called, struct err *e)
{
    char *dir = trim_slashes(path), *short_name = trim_slashes(called), *name = dir_name(short_name);
    l->source = xstrdup("the model");
    l->values = yml_mapping(l->source);
    add_text(l, "path", dir);
    add_name(l, name);
    free(dir);
    free(short_name);
    free(name);
    return config_check_group("model", &l->values, e);
}

static int use_captions(struct config_layer *l, const char *path, struct err *e)
{
    char *name = stem(path);
    l->source = xstrdup("the captions");
    l->values = yml_mapping(l->source);
    add_text(l, "captions", path);
    add_name(l, name);
    free(name);
    return config_check_group("dataset", &l->values, e);
}

static int use_file(struct config_layer *l, const char *path, struct err *e)
{
    l->source = xstrdup(path);
    if (yml_load(&l->values, l->source, e))
        return -1;
    if (yml_is_null(&l->values)) {
        yml_free(&l->values);
        l->values = yml_mapping(l->source);
        l->values.line = 1;
    }
    if (config_check_group(l->group, &l->values, e))
        return -1;
    if (config_find(l->group, "name") < CFG_COUNT && !yml_find(&l->values, "name")) {
        char *name = stem(path);
        add_name(l, name);
        free(name);
    }
    return 0;
}

static int find(struct config_layer *l, const char *conf, struct err *e)
{
    const bool is_model = !strcmp(l->group, "model"), is_dataset = !strcmp(l->group, "dataset");
    char *named = config_named_file(conf, l->group, l->name);
    if (named) {
        const int rc = use_file(l, named, e);
        free(named);
        return rc;
    }
    if (is_model) {
        if (config_is_model_dir(l->name))
            return use_model_dir(l, l->name, l->name, e);
        char *hub = hub_dir(), *snapshot = find_snapshot(hub, l->name), *also;
        int rc;
        if (snapshot)
            rc = use_model_dir(l, snapshot, l->name, e);
        else {
            char *cache = is_hub_id(l->name) ? xasprintf(", and the Hugging Face cache %s has no snapshot of it", hub)
                                             : xstrdup("");
            also = xasprintf("it is not a directory with a config.json%s", cache);
            rc = config_refuse_name(conf, l->group, l->name, also, e);
            free(also);
            free(cache);
        }
        free(snapshot);
        free(hub);
        return rc;
    }
    if (is_dataset && config_is_file(l->name) && !is_yaml(l->name))
        return use_captions(l, l->name, e);
    if (is_dataset || !strncmp(l->group, "quant_", 6))
        return config_is_file(l->name) ? use_file(l, l->name, e)
                                       : config_refuse_name(conf, l->group, l->name, "it is not a file", e);
    return config_refuse_name(conf, l->group, l->name, "", e);
}

/* ---- the cache ---- */

static void layer_free(struct config_layer *l)
{
    yml_free(&l->values);
    free(l->group);
    free(l->name);
    free(l->source);
    free(l);
}

int config_layer_get(struct config_layers *l, const char *group, const char *name, const struct yml_node **values,
                     struct err *e)
{
    for (size_t i = 0; i < l->n; i++)
        if (!strcmp(l->item[i]->name, name) && !strcmp(l->item[i]->group, group)) {
            *values = &l->item[i]->values;
            return 0;
        }
    struct config_layer *new = xcalloc(1, sizeof *new);
    new->group = xstrdup(group);
    new->name = xstrdup(name);
    if (find(new, l->conf, e)) {
        layer_free(new);
        return -1;
    }
    l->item = xgrow(l->item, &l->cap, l->n + 1, sizeof *l->item);
    l->item[l->n++] = new;
    *values = &new->values;
    return 0;
}

void config_layers_free(struct config_layers *l)
{
    for (size_t i = 0; i < l->n; i++)
        layer_free(l->item[i]);
    free(l->item);
    *l = (struct config_layers){.conf = l->conf};
}
