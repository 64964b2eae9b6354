#include "config_compose.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io.h"
#include "mem.h"
#include "nearest.h"

enum source { /* what the preset chooses a file of, in the order in which the files are read */
    SRC_AUTOQUANT,
    SRC_OUTPUT_LAYOUT,
    SRC_QUANT_GRANULARITY,
    SRC_QUANT_PAIR,
    SRC_DATASET,
    SRC_MODEL,
    SRC_COUNT
};
static const char *const groups[SRC_COUNT] = {"autoquant",  "output_layout", "quant_granularity",
                                              "quant_pair", "dataset",       "model"};

/* ---- looking for files ---- */

static bool is_file(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISREG(st.st_mode);
}

static bool is_model_dir(const char *path)
{
    char *config = io_join(path, "config.json");
    const bool found = is_file(config);
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

/* CONF/GROUP/NAME.yaml if it is there, else NULL. */
static char *find_named(const char *conf, const char *group, const char *name)
{
    if (!*name || strchr(name, '/') || name[0] == '.')
        return NULL;
    char *path = xasprintf("%s/%s/%s.yaml", conf, group, name);
    if (is_file(path))
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

/* "WHAT; did you mean 'NAME'?" with the nearest name of the group, if one is near. Always returns -1. */
static int refuse_name(const char *conf, const char *group, const char *name, const char *what, struct err *e)
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
    if (near)
        err_set(e, ERR_CONFIG, "%s; did you mean '%s'?", what, near);
    else
        err_set(e, ERR_CONFIG, "%s", what);
    for (size_t i = 0; i < n; i++)
        free(known[i]);
    free(known);
    free(dir);
    return -1;
}

/* `also` says in which other way the name could have been one. A path is never the name of a file of the group. */
static int refuse_missing(const char *conf, const char *group, const char *name, const char *also, struct err *e)
{
    char *file = strchr(name, '/') ? xstrdup("") : xasprintf("%s/%s/%s.yaml does not exist", conf, group, name);
    char *what = xasprintf("no %s '%s': %s%s%s", group, name, file, *file && *also ? " and " : "", also);
    refuse_name(conf, group, name, what, e);
    free(what);
    free(file);
    return -1;
}

/* ---- the preset ---- */

static int read_choice(const char *file, const struct yml_node *n, char *choice[SRC_COUNT], struct err *e)
{
    const char *name;
    if (n->kind != YML_MAPPING || n->n != 1 || !yml_string(&n->item[0], &name))
        return err_set(e, ERR_CONFIG, "%s:%d: an entry of 'defaults' is 'group: name'", file, n->line);
    const char *group = n->item[0].key;
    for (int s = 0; s < SRC_COUNT; s++) {
        if (strcmp(group, groups[s]))
            continue;
        if (choice[s])
            return err_set(e, ERR_CONFIG, "%s:%d: '%s' is already in the list", file, n->line, group);
        choice[s] = xstrdup(name);
        return 0;
    }
    const char *near = nearest_word(group, groups, SRC_COUNT);
    return err_set(e, ERR_CONFIG, "%s:%d: unknown group '%s'%s%s%s", file, n->line, group,
                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static int read_defaults(const char *file, const struct yml_node *root, char *choice[SRC_COUNT], struct err *e)
{
    const struct yml_node *list = root->kind == YML_MAPPING ? yml_find(root, "defaults") : NULL;
    if (!list || root->n != 1 || list->kind != YML_SEQUENCE)
        return err_set(e, ERR_CONFIG, "%s:%d: a preset has one key, 'defaults', a list of 'group: name'", file,
                       root->line);
    for (size_t i = 0; i < list->n; i++)
        if (read_choice(file, &list->item[i], choice, e))
            return -1;
    return 0;
}

static int read_preset(const struct config_request *r, char *choice[SRC_COUNT], struct err *e)
{
    char *path = find_named(r->conf, "preset", r->preset);
    if (!path)
        return refuse_missing(r->conf, "preset", r->preset, "", e);
    struct yml_node root;
    int rc = yml_load(&root, path, e);
    if (!rc)
        rc = read_defaults(path, &root, choice, e);
    yml_free(&root);
    free(path);
    return rc;
}

/* ---- pair, granularity, other groups ---- */

static int read_group_file(struct config *c, const char *conf, const char *group, const char *name, struct err *e)
{
    char *path = find_named(conf, group, name);
    if (!path)
        return refuse_missing(conf, group, name, "", e);
    const int rc = config_read(c, group, path, e);
    free(path);
    return rc;
}

static int read_pair(struct config *c, const char *conf, const char *name, struct err *e)
{
    char *path = find_named(conf, "quant_pair", name);
    if (!path && !is_file(name))
        return refuse_missing(conf, "quant_pair", name, "it is not a file", e);
    struct pair p;
    const int rc = pair_load(&p, path ? path : name, e);
    if (!rc)
        config_set_pair(c, &p);
    free(path);
    return rc;
}

/* ---- dataset ---- */

/* The name that a path suggests: names have no '.' or '-' in front, paths may. */
static int set_name(struct config *c, enum config_id id, const char *suggested, const char *where, struct err *e)
{
    const char *name = suggested + strspn(suggested, ".-");
    return config_set(c, id, *name ? name : "unnamed", where, e);
}

/* A name not given by the file is the file's own. */
static int default_name(struct config *c, enum config_id id, char *name, const char *where, struct err *e)
{
    const int rc = c->value[id] ? 0 : set_name(c, id, name, where, e);
    free(name);
    return rc;
}

static int read_dataset(struct config *c, const char *conf, const char *name, struct err *e)
{
    char *named = find_named(conf, "dataset", name);
    const char *path = named ? named : name;
    int rc;
    if (!named && !is_file(name))
        rc = refuse_missing(conf, "dataset", name, "it is not a file", e);
    else
        rc = is_yaml(path) ? config_read(c, "dataset", path, e) : config_set(c, CFG_DATASET_CAPTIONS, path, path, e);
    if (!rc)
        rc = default_name(c, CFG_DATASET_NAME, stem(path), path, e);
    free(named);
    return rc;
}

/* ---- model ---- */

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
    if (path && !is_model_dir(path)) {
        free(path);
        path = NULL;
    }
    free(rev);
    free(ref);
    free(repo);
    return path;
}

/* What to call the model in this directory: its last component, also where that is '.' or has slashes behind it. */
static char *dir_name(const char *path)
{
    char *full = realpath(path, NULL), *name = NULL;
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    char *trimmed = xstrndup(path, n);
    const char *base = strrchr(trimmed, '/') ? strrchr(trimmed, '/') + 1 : trimmed;
    if (full && (base[0] == '.' || !*base))
        base = strrchr(full, '/') + 1;
    name = xstrdup(base);
    free(trimmed);
    free(full);
    return name;
}

static int set_model(struct config *c, const char *path, char *name, struct err *e)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') /* DIR/ is DIR: equal runs have equal files */
        n--;
    char *trimmed = xstrndup(path, n);
    int rc = config_set(c, CFG_MODEL_PATH, trimmed, "the model", e);
    if (!rc)
        rc = set_name(c, CFG_MODEL_NAME, name, trimmed, e);
    free(trimmed);
    free(name);
    return rc;
}

static int read_model(struct config *c, const char *conf, const char *name, struct err *e)
{
    char *named = find_named(conf, "model", name);
    if (named) {
        int rc = config_read(c, "model", named, e);
        if (!rc)
            rc = default_name(c, CFG_MODEL_NAME, stem(named), named, e);
        free(named);
        return rc;
    }
    if (is_model_dir(name))
        return set_model(c, name, dir_name(name), e);
    char *hub = hub_dir(), *snapshot = find_snapshot(hub, name);
    int rc;
    if (snapshot)
        rc = set_model(c, snapshot, dir_name(name), e);
    else {
        char *cache = is_hub_id(name) ? xasprintf(", and the Hugging Face cache %s has no snapshot of it", hub)
                                      : xstrdup("");
        char *also = xasprintf("it is not a directory with a config.json%s", cache);
        rc = refuse_missing(conf, "model", name, also, e);
        free(also);
        free(cache);
    }
    free(snapshot);
    free(hub);
    return rc;
}

/* ---- all of it ---- */

static int read_sources(struct config *c, const struct config_request *r, char *choice[SRC_COUNT], struct err *e)
{
    for (int s = 0; s < SRC_COUNT; s++) {
        int rc;
        if (!choice[s]) {
            if (s == SRC_QUANT_PAIR || s == SRC_DATASET || s == SRC_MODEL)
                return err_set(e, ERR_CONFIG, "preset '%s' names no %s, and no option does", r->preset, groups[s]);
            continue;
        }
        switch ((enum source)s) {
        case SRC_QUANT_PAIR: rc = read_pair(c, r->conf, choice[s], e); break;
        case SRC_DATASET: rc = read_dataset(c, r->conf, choice[s], e); break;
        case SRC_MODEL: rc = read_model(c, r->conf, choice[s], e); break;
        default: rc = read_group_file(c, r->conf, groups[s], choice[s], e);
        }
        if (rc)
            return -1;
    }
    return 0;
}

/* Before any work: what the stages will open is there. */
static int check_inputs(const struct config *c, struct err *e)
{
    const char *model = c->value[CFG_MODEL_PATH], *captions = c->value[CFG_DATASET_CAPTIONS];
    if (!model || !captions)
        return err_set(e, ERR_CONFIG, "%s is not set", model ? "dataset.captions" : "model.path");
    if (!c->value[CFG_MODEL_NAME] || !c->value[CFG_DATASET_NAME])
        return err_set(e, ERR_CONFIG, "%s is not set", c->value[CFG_MODEL_NAME] ? "dataset.name" : "model.name");
    if (!is_model_dir(model))
        return err_set(e, ERR_CONFIG, "model.path: '%s' is not a directory with a config.json", model);
    if (!is_file(captions))
        return err_set(e, ERR_CONFIG, "dataset.captions: '%s' is not a file", captions);
    return 0;
}

int config_compose(struct config *c, const struct config_request *r, struct err *e)
{
    config_init(c);
    char *choice[SRC_COUNT] = {0};
    int rc = read_preset(r, choice, e);
    const struct {
        enum source source;
        const char *name;
    } options[] = {{SRC_QUANT_PAIR, r->pair}, {SRC_DATASET, r->dataset}, {SRC_MODEL, r->model},
                   {SRC_QUANT_GRANULARITY, r->granularity}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (options[i].name) {
            free(choice[options[i].source]);
            choice[options[i].source] = xstrdup(options[i].name);
        }
    if (!rc)
        rc = read_sources(c, r, choice, e);
    for (int s = 0; s < SRC_COUNT; s++)
        free(choice[s]);
    if (!rc && r->calib_n)
        rc = config_set(c, CFG_DATASET_MAX_SAMPLES, r->calib_n, "--calib-n", e);
    for (size_t i = 0; !rc && i < r->n_set; i++)
        rc = config_override(c, r->set[i], e);
    if (rc)
        return -1;
    config_derive(c);
    return check_inputs(c, e);
}
