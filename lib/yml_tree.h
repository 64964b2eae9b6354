/* yml_tree - trees of yml.h built and merged in memory: how a configuration grows out of files, options, overrides. */
#ifndef YML_TREE_H
#define YML_TREE_H
#include "yml.h"

/* A scalar with this text; `source` is what messages call it (it must outlive the tree). plain as in yml_node. */
struct yml_node yml_scalar(const char *text, bool plain, const char *source);
/* An empty mapping. */
struct yml_node yml_mapping(const char *source);
/* value under "a.b.c" as the mapping {a: {b: {c: value}}}. Takes the value over; path has no empty part. */
struct yml_node yml_nest(const char *path, struct yml_node value);
/* Add a key that the mapping does not have, with its value, which is taken over. */
void yml_add(struct yml_node *mapping, const char *key, struct yml_node value);

/* Later wins: mappings are merged key by key, anything else replaces what is there. `from` is copied and stays as it
 * is; nodes keep the source and line they came from. Both must be mappings. */
void yml_merge(struct yml_node *into, const struct yml_node *from);

/* The node under "a.b.c", or NULL. */
struct yml_node *yml_at(struct yml_node *root, const char *path);

#endif
