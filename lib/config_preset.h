/* config_preset - what a preset is made of, in order: which file of each group, and values of its own.
 *
 * CONF/preset/NAME.yaml, or a file anywhere:
 *     defaults:
 *       - preset: base               # another preset, with all it chooses
 *       - model: tiny_qwen3_vl       # GROUP: NAME, one file of the group; null: none
 *       - override dataset: mine     # chooses anew what a preset before it has chosen
 *       - _self_                     # where this file's own values stand; at the end if it is left out
 *     autoquant:                     # values of its own, {GROUP: {KEY: VALUE}}
 *       dtype: fp32
 * Later wins. A group is chosen once and a preset named once, unless by override; presets that name each other in a
 * circle are refused. */
#ifndef CONFIG_PRESET_H
#define CONFIG_PRESET_H
#include "err.h"
#include "yml.h"

struct config_step { /* either a file or values */
    int group;                     /* index into config_groups, or -1: values */
    char *choice;                  /* NULL: null */
    const struct yml_node *origin; /* the entry that chose it, for messages; or the preset with the values */
};

struct config_preset {
    struct config_step *step;
    size_t n, cap;
    struct config_preset_file **file; /* the presets read, whose trees the steps point into */
    size_t n_files, cap_files;
};

/* ERR_CONFIG with file, line and the nearest known name; also ERR_LIMIT, ERR_IO. config_preset_free also frees a zeroed
 * one, and after a failure. */
int config_preset_read(struct config_preset *p, const char *conf, const char *name, struct err *e) MUST_CHECK;
void config_preset_free(struct config_preset *p);

#endif
