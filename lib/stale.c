#include "stale.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config_schema.h"
#include "mem.h"
#include "pair.h"

void reasons_add(struct reasons *r, const char *fmt, ...)
{
    char *text;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        BUG("no text from '%s'", fmt);
    va_end(ap);
    r->text = xgrow(r->text, &r->cap, r->n + 1, sizeof *r->text);
    r->text[r->n++] = text;
}

void reasons_free(struct reasons *r)
{
    for (size_t i = 0; i < r->n; i++)
        free(r->text[i]);
    free(r->text);
    *r = (struct reasons){0};
}

/* ---- lists of inputs */

/* The lines of a list that begin with NAME and a blank, without these, in a new string. */
static char *lines_of(const char *list, const char *name)
{
    const size_t n = strlen(name);
    char *out = xstrndup("", 0);
    size_t size = 0;
    for (const char *line = list; *line;) {
        const size_t length = strcspn(line, "\n"), whole = length + (line[length] == '\n');
        if (length > n && !strncmp(line, name, n) && line[n] == ' ') {
            const size_t more = whole - n - 1;
            out = xrealloc(out, size + more + 1, 1);
            memcpy(out + size, line + n + 1, more);
            out[size += more] = 0;
        }
        line += whole;
    }
    return out;
}

/* The value of an option in the lines of an argument file, in a new string: the default where it is not given. */
static char *value_of(const char *lines, const struct config_key *k, const char *option)
{
    const size_t n = strlen(option);
    for (const char *line = lines; *line;) {
        const size_t length = strcspn(line, "\n");
        if (k->type == CFG_BOOL ? length == n && !strncmp(line, option, n) : !strncmp(line, option, n))
            return k->type == CFG_BOOL ? xstrdup("true") : xstrndup(line + n, length - n);
        line += length + (line[length] == '\n');
    }
    return xstrdup(k->initial ? k->initial : "null");
}

static void compare(struct reasons *r, const char *what, const char *was, const char *now)
{
    if (strcmp(was, now))
        reasons_add(r, "%s %s -> %s", what, was, now);
}

static void compare_arguments(struct reasons *r, const char *stage, const char *now, const char *was)
{
    for (int id = 0; id < CFG_COUNT; id++)
        for (int u = 0; u < CONFIG_MAX_USES && config_schema[id].use[u].stage; u++) {
            const struct config_use *use = &config_schema[id].use[u];
            if (strcmp(use->stage, stage) || !*use->option)
                continue;
            char *name = config_full_name((enum config_id)id), *a = value_of(was, &config_schema[id], use->option),
                 *b = value_of(now, &config_schema[id], use->option);
            compare(r, name, a, b);
            free(name);
            free(a);
            free(b);
        }
}

static void compare_quantizers(struct reasons *r, const char *what, const struct quantizer *was,
                               const struct quantizer *now)
{
    char a[QUANTIZER_KEY], b[QUANTIZER_KEY];
    quantizer_key(was, a);
    quantizer_key(now, b);
    compare(r, what, a, b);
}

static void compare_pairs(struct reasons *r, const char *now, const char *was)
{
    struct pair a, b;
    struct err e;
    if (pair_parse(&a, was, strlen(was), "scores.key", &e) || pair_parse(&b, now, strlen(now), "scores.due", &e))
        return;
    compare_quantizers(r, "pair weight", &a.weight, &b.weight);
    compare_quantizers(r, "pair activation", &a.activation, &b.activation);
    compare(r, "pair name", a.name, b.name);
    compare(r, "pair modelopt_config", a.modelopt_config, b.modelopt_config);
    compare(r, "pair recipe_name", a.recipe_name, b.recipe_name);
}

static void compare_backends(struct reasons *r, const char *now, const char *was)
{
    char *a = xstrndup(was, strcspn(was, "\n")), *b = xstrndup(now, strcspn(now, "\n"));
    compare(r, "backend", *a ? a : "unknown", b);
    free(a);
    free(b);
}

bool stale_inputs(struct reasons *r, const char *due, const char *key)
{
    static const struct {
        const char *name, *text; /* of the lines in the list; what to say where there is no more to say */
    } input[] = {{"lm.id", "weights of the model"},
                 {"calib.id", "tokens of the captions"},
                 {"autoquant-score.id", "autoquant-score (program)"},
                 {"pair.yaml", "pair"},
                 {"autoquant-score", "settings of autoquant-score"},
                 {"backend", "backend"},
                 {"result", "scores.json is not as it was written"}};
    if (!*due || strncmp(key, "lm.id ", strlen("lm.id "))) {
        reasons_add(r, *key && *due ? "scores.key is of another version" : "not known from what it was made");
        return true;
    }
    if (!strcmp(due, key))
        return false;
    for (size_t i = 0; i < sizeof input / sizeof *input; i++) {
        char *now = lines_of(due, input[i].name), *was = lines_of(key, input[i].name);
        const size_t before = r->n;
        if (strcmp(now, was)) {
            if (!*was)
                reasons_add(r, "%s: not known what it was", input[i].name);
            else if (!strcmp(input[i].name, "pair.yaml"))
                compare_pairs(r, now, was);
            else if (!strcmp(input[i].name, "autoquant-score"))
                compare_arguments(r, input[i].name, now, was);
            else if (!strcmp(input[i].name, "backend"))
                compare_backends(r, now, was);
            if (r->n == before)
                reasons_add(r, "%s", input[i].text);
        }
        free(now);
        free(was);
    }
    return true;
}

/* ---- composed configurations */

/* The text of group.name in a composed configuration, in a new string; empty where it is not there. */
static char *composed_value(const char *composed, const struct config_key *k)
{
    const size_t group = strlen(k->group), name = strlen(k->name);
    bool inside = false;
    for (const char *line = composed; *line;) {
        const size_t length = strcspn(line, "\n");
        if (length && *line != ' ')
            inside = length == group + 1 && !strncmp(line, k->group, group);
        else if (inside && length > name + 4 && !strncmp(line + 2, k->name, name) && line[name + 2] == ':')
            return xstrndup(line + name + 4, length - name - 4);
        line += length + (line[length] == '\n');
    }
    return xstrdup("");
}

void stale_settings(struct reasons *r, const char *stage, const char *now, const char *was)
{
    for (int id = 0; id < CFG_COUNT; id++)
        for (int u = 0; u < CONFIG_MAX_USES && config_schema[id].use[u].stage; u++) {
            if (strcmp(config_schema[id].use[u].stage, stage))
                continue;
            char *name = config_full_name((enum config_id)id), *a = composed_value(was, &config_schema[id]),
                 *b = composed_value(now, &config_schema[id]);
            if (*a)
                compare(r, name, a, b);
            free(name);
            free(a);
            free(b);
        }
}

/* ---- times */

bool stale_missing(const char *path)
{
    struct stat st;
    return stat(path, &st) != 0;
}

bool stale_older(const char *target, const char *prerequisite)
{
    struct stat t, p;
    if (stat(target, &t))
        return true;
    if (stat(prerequisite, &p))
        return false;
    return p.st_mtim.tv_sec != t.st_mtim.tv_sec ? p.st_mtim.tv_sec > t.st_mtim.tv_sec
                                                : p.st_mtim.tv_nsec > t.st_mtim.tv_nsec;
}
