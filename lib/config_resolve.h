/* config_resolve - from a composed tree {group: {key: value}} to the value of every key.
 *
 * ${group.key} in a value stands for the text of that key's final value, so it is looked up after all files, options
 * and overrides; a number stays one where the reference is all there is. $${ stands for a plain ${; any other $ is
 * itself. What is null and can be derived is: dataset.size, output_layout.scheme. */
#ifndef CONFIG_RESOLVE_H
#define CONFIG_RESOLVE_H
#include "config_schema.h"

/* Fill value[] with canonical text (NULL is null, or not given); references in the tree are replaced by what they stand
 * for. On failure value[] holds what was resolved so far; the caller frees. ERR_CONFIG with the place: unknown keys
 * with the nearest one, circles with their keys, values that are too long or of the wrong type. */
int config_resolve(struct yml_node *tree, char *value[CFG_COUNT], struct err *e) MUST_CHECK;

/* Text that comes out of config_resolve as it is: every ${ becomes $${. The caller frees. */
char *config_escape(const char *text);

#endif
