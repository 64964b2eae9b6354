#include "config_resolve.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "yml_tree.h"

struct resolver {
    struct yml_node *tree;
    char **value;
    enum { OPEN, BUSY, DONE } state[CFG_COUNT];
    enum config_id chain[CFG_COUNT]; /* keys being resolved, outermost first */
    int n_chain;
};

static int resolve(struct resolver *r, enum config_id id, struct err *e);

char *config_escape(const char *text)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, "${")); p++)
        n++;
    char *out = xmalloc(strlen(text) + n + 1, 1), *q = out;
    for (; *text; text++) {
        if (!strncmp(text, "${", 2))
            *q++ = '$';
        *q++ = *text;
    }
    *q = 0;
    return out;
}

/* ---- references ---- */

static int refuse_circle(const struct resolver *r, enum config_id id, const char *where, struct err *e)
{
    int first = 0;
    while (r->chain[first] != id)
        first++;
    char *keys = xstrdup("");
    for (int i = first; i <= r->n_chain; i++) {
        const struct config_key *k = &config_schema[i < r->n_chain ? r->chain[i] : id];
        char *longer = xasprintf("%s%s%s.%s", keys, *keys ? " -> " : "", k->group, k->name);
        free(keys);
        keys = longer;
    }
    err_set(e, ERR_CONFIG, "%s: the references go in a circle: %s", where, keys);
    free(keys);
    return -1;
}

/* The value of the reference ref = "group.key"; *text points to it. */
static int look_up(struct resolver *r, char *ref, const char *where, const char **text, struct err *e)
{
    char *dot = strchr(ref, '.');
    if (!dot)
        return err_set(e, ERR_CONFIG, "%s: '${%s}' does not name a key such as ${dataset.name} (a plain '${' is "
                                      "written '$${')", where, ref);
    *dot = 0;
    const enum config_id id = config_find(ref, dot + 1);
    if (id == CFG_COUNT) {
        char *what = xasprintf("%s: ${%s.%s}", where, ref, dot + 1);
        config_refuse_key(ref, dot + 1, what, e);
        free(what);
        return -1;
    }
    *dot = '.';
    if (r->state[id] == BUSY)
        return refuse_circle(r, id, where, e);
    if (resolve(r, id, e))
        return -1;
    *text = r->value[id];
    if (config_schema[id].type == CFG_OVERLAY)
        return err_set(e, ERR_CONFIG, "%s: ${%s} is a mapping, not a value", where, ref);
    return *text ? 0 : err_set(e, ERR_CONFIG, "%s: ${%s} has no value", where, ref);
}

/* Replace the references in the text of a scalar. *whole: the text was nothing but one reference. */
static int expand(struct resolver *r, struct yml_node *n, bool *whole, struct err *e)
{
    char out[CONFIG_LONGEST], where[YML_WHERE];
    size_t len = 0;
    *whole = false;
    for (const char *s = n->text; *s;) {
        const char *piece = s, *text = s;
        size_t n_text = 1;
        char *ref = NULL;
        int rc = 0;
        if (!strncmp(s, "$${", 3)) {
            text = "${";
            n_text = 2;
            s += 3;
        } else if (!strncmp(s, "${", 2)) {
            const char *end = strchr(s, '}');
            if (!end)
                return err_set(e, ERR_CONFIG, "%s: '%.64s' has no closing '}' (a plain '${' is written '$${')",
                               yml_where(n, where), s);
            ref = xstrndup(s + 2, (size_t)(end - s) - 2);
            s = end + 1;
            rc = look_up(r, ref, yml_where(n, where), &text, e);
            n_text = rc ? 0 : strlen(text);
            *whole = piece == n->text && !*s;
        } else
            s++;
        free(ref);
        if (rc)
            return -1;
        if (n_text > CONFIG_LONGEST - len)
            return err_set(e, ERR_CONFIG, "%s: the value is longer than %d bytes with its references replaced",
                           yml_where(n, where), CONFIG_LONGEST);
        memcpy(out + len, text, n_text);
        len += n_text;
    }
    free(n->text);
    n->text = xstrndup(out, len);
    return 0;
}

/* All scalars of an overlay. */
static int expand_all(struct resolver *r, struct yml_node *n, struct err *e)
{
    bool whole;
    if (n->text && strstr(n->text, "${")) {
        if (expand(r, n, &whole, e))
            return -1;
        n->plain = n->plain || whole;
    }
    for (size_t i = 0; i < n->n; i++)
        if (expand_all(r, &n->item[i], e))
            return -1;
    return 0;
}

/* ---- values ---- */

static int derive(struct resolver *r, enum config_id id, struct err *e)
{
    static const struct {
        const char *samples, *size;
    } sizes[] = {{"16", "small"}, {"128", "medium"}, {"512", "large"}};
    const char *n;
    switch (id) {
    case CFG_DATASET_SIZE:
        if (resolve(r, CFG_DATASET_MAX_SAMPLES, e))
            return -1;
        n = r->value[CFG_DATASET_MAX_SAMPLES];
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            if (!strcmp(n, sizes[i].samples))
                n = sizes[i].size;
        r->value[id] = xstrdup(n);
        return 0;
    case CFG_OUTPUT_LAYOUT_SCHEME:
        if (resolve(r, CFG_QUANT_PAIR_WEIGHT_FORMAT, e) || resolve(r, CFG_QUANT_PAIR_ACTIVATION_FORMAT, e))
            return -1;
        if (r->value[CFG_QUANT_PAIR_WEIGHT_FORMAT] && r->value[CFG_QUANT_PAIR_ACTIVATION_FORMAT])
            r->value[id] = xasprintf("w%s_a%s_autoquant_lm", r->value[CFG_QUANT_PAIR_WEIGHT_FORMAT],
                                     r->value[CFG_QUANT_PAIR_ACTIVATION_FORMAT]);
        return 0;
    default: return 0;
    }
}

static struct yml_node *node_of(struct resolver *r, enum config_id id)
{
    char *path = config_full_name(id);
    struct yml_node *n = yml_at(r->tree, path);
    free(path);
    return n;
}

static int resolve(struct resolver *r, enum config_id id, struct err *e)
{
    if (r->state[id] == DONE)
        return 0;
    r->state[id] = BUSY;
    r->chain[r->n_chain++] = id;
    struct yml_node *n = node_of(r, id);
    bool whole = false;
    int rc = 0;
    if (!n) {
        if (config_schema[id].initial)
            r->value[id] = xstrdup(config_schema[id].initial);
    } else {
        if (config_schema[id].type == CFG_OVERLAY)
            rc = expand_all(r, n, e);
        else if (n->text && strstr(n->text, "${")) {
            rc = expand(r, n, &whole, e);
            n->plain = config_is_text(id) ? false : n->plain || whole;
        }
        if (!rc)
            rc = config_check(id, n, &r->value[id], e);
    }
    if (!rc && !r->value[id])
        rc = derive(r, id, e);
    r->n_chain--;
    r->state[id] = rc ? OPEN : DONE;
    return rc;
}

int config_resolve(struct yml_node *tree, char *value[CFG_COUNT], struct err *e)
{
    struct resolver r = {.tree = tree, .value = value};
    for (int id = 0; id < CFG_COUNT; id++)
        if (resolve(&r, (enum config_id)id, e))
            return -1;
    return 0;
}
