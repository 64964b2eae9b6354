#include "yml_tree.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

struct yml_node yml_scalar(const char *text, bool plain, const char *source)
{
    return (struct yml_node){.kind = YML_SCALAR, .text = xstrdup(text), .plain = plain, .source = source};
}

struct yml_node yml_mapping(const char *source)
{
    return (struct yml_node){.kind = YML_MAPPING, .source = source};
}

static struct yml_node *append(struct yml_node *mapping)
{
    mapping->item = xrealloc(mapping->item, mapping->n + 1, sizeof *mapping->item);
    return &mapping->item[mapping->n++];
}

void yml_add(struct yml_node *mapping, const char *key, struct yml_node value)
{
    free(value.key);
    value.key = xstrdup(key);
    *append(mapping) = value;
}

struct yml_node yml_nest(const char *path, struct yml_node value)
{
    const char *dot = strchr(path, '.');
    if (dot)
        value = yml_nest(dot + 1, value);
    struct yml_node outer = yml_mapping(value.source);
    outer.line = value.line;
    char *key = xstrndup(path, dot ? (size_t)(dot - path) : strlen(path));
    yml_add(&outer, key, value);
    free(key);
    return outer;
}

static struct yml_node copy(const struct yml_node *n)
{
    struct yml_node c = *n;
    c.key = n->key ? xstrdup(n->key) : NULL;
    c.text = n->text ? xstrdup(n->text) : NULL;
    c.item = n->n ? xmalloc(n->n, sizeof *c.item) : NULL;
    for (size_t i = 0; i < n->n; i++)
        c.item[i] = copy(&n->item[i]);
    return c;
}

static struct yml_node *item(struct yml_node *mapping, const char *key, size_t n_key)
{
    for (size_t i = 0; i < mapping->n; i++)
        if (!strncmp(mapping->item[i].key, key, n_key) && !mapping->item[i].key[n_key])
            return &mapping->item[i];
    return NULL;
}

void yml_merge(struct yml_node *into, const struct yml_node *from)
{
    for (size_t i = 0; i < from->n; i++) {
        const struct yml_node *new = &from->item[i];
        struct yml_node *old = item(into, new->key, strlen(new->key));
        if (!old)
            *append(into) = copy(new);
        else if (old->kind == YML_MAPPING && new->kind == YML_MAPPING)
            yml_merge(old, new);
        else {
            yml_free(old);
            *old = copy(new);
        }
    }
}

struct yml_node *yml_at(struct yml_node *root, const char *path)
{
    for (;; path++) {
        const size_t n = strcspn(path, ".");
        root = root->kind == YML_MAPPING ? item(root, path, n) : NULL;
        path += n;
        if (!root || !*path)
            return root;
    }
}
