/* config_override - SET: values given on the command line, "group.key=value ...".
 *
 *   group.key=value         one value; a key of a mapping is group.map.key (quant_pair.weight.format=fp8)
 *   group.map={key: value}  several; mappings are merged into what is there
 *   group=name              another file of the group; group=null none
 * Overrides are separated by blanks. In a value '...' is literal, "..." knows \" and \\, [..] and {..} are YAML and may
 * hold blanks; null and nothing are null; what is quoted is a string whatever it looks like; names and paths take any
 * text. ${group.key} stands for another value, in quotes too; $${ is a plain ${ (config_resolve.h). */
#ifndef CONFIG_OVERRIDE_H
#define CONFIG_OVERRIDE_H
#include "config_schema.h"

struct config_override {
    char *source;         /* "override 'TEXT'", for messages */
    int group;            /* index into config_groups */
    char *choice;         /* group=name: the name, or NULL for null; only where is_choice */
    bool is_choice;
    enum config_id id;    /* the one key that is set, CFG_COUNT where it is a mapping or part of one */
    struct yml_node tree; /* otherwise: {group: {key: value}} */
};

struct config_overrides {
    struct config_override *item;
    size_t n, cap;
};

/* Append what the text says: syntax, keys and types are checked. ERR_CONFIG with the override's own text and the
 * nearest known key. config_overrides_free also takes a zeroed list. */
int config_overrides_parse(struct config_overrides *list, const char *text, struct err *e) MUST_CHECK;
void config_overrides_free(struct config_overrides *list);

#endif
