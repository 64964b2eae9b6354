/* config_schema - the one table of configuration keys: type, range, default, help, and which stage gets the value
 * through which argument. Everything else (reading, overrides, the help, the argument files) follows from it. */
#ifndef CONFIG_SCHEMA_H
#define CONFIG_SCHEMA_H
#include <stdbool.h>
#include <stdio.h>

#include "err.h"
#include "yml.h"

enum config_id { /* in the order of composed-config.yaml */
    CFG_MODEL_NAME,
    CFG_MODEL_PATH,
    CFG_DATASET_NAME,
    CFG_DATASET_CAPTIONS,
    CFG_DATASET_ROOT,
    CFG_DATASET_SIZE,
    CFG_DATASET_MAX_SAMPLES,
    CFG_DATASET_SEQ_LEN,
    CFG_DATASET_ALLOW_SHORT,
    CFG_QUANT_PAIR_NAME,
    CFG_QUANT_PAIR_MODELOPT_CONFIG,
    CFG_QUANT_PAIR_RECIPE_NAME,
    CFG_QUANT_PAIR_WEIGHT_FORMAT,
    CFG_QUANT_PAIR_WEIGHT_GRANULARITY,
    CFG_QUANT_PAIR_WEIGHT_BLOCK,
    CFG_QUANT_PAIR_WEIGHT_DYNAMIC,
    CFG_QUANT_PAIR_ACTIVATION_FORMAT,
    CFG_QUANT_PAIR_ACTIVATION_GRANULARITY,
    CFG_QUANT_PAIR_ACTIVATION_BLOCK,
    CFG_QUANT_PAIR_ACTIVATION_DYNAMIC,
    CFG_QUANT_GRANULARITY_NAME,
    CFG_QUANT_GRANULARITY_OVERRIDES,
    CFG_AUTOQUANT_METHOD,
    CFG_AUTOQUANT_DTYPE,
    CFG_AUTOQUANT_PADDING,
    CFG_AUTOQUANT_BATCH_SIZE,
    CFG_AUTOQUANT_SCORE_SIZE,
    CFG_AUTOQUANT_BLOCK,
    CFG_AUTOQUANT_SPLIT,
    CFG_AUTOQUANT_EFFECTIVE_BITS,
    CFG_OUTPUT_LAYOUT_SCHEME,
    CFG_COUNT
};

enum config_type {
    CFG_NAME,   /* text on one line that can name a file: no '/', no '.' or '-' in front */
    CFG_PATH,   /* text on one line that names a file or directory */
    CFG_INT,    /* whole number, min..max */
    CFG_REAL,   /* min..max */
    CFG_BOOL,
    CFG_CHOICE,  /* one of choice[] */
    CFG_OVERLAY, /* a mapping of quantizer attributes (granularity.h); its canonical text is JSON */
};

/* The stage gets the argument OPTION value ("--seq-len=" 512); a boolean gives the option alone ("--allow-short"), and
 * only where it is true. An empty option makes the value an operand. Null values give no argument. */
struct config_use {
    const char *stage, *option;
};

enum { CONFIG_MAX_CHOICES = 6, CONFIG_MAX_USES = 4 };

struct config_key {
    const char *group, *name; /* a name with points is a key of a mapping: weight.format */
    enum config_type type;
    const char *initial; /* default in canonical text; NULL where it is null or must come from a file or option */
    bool nullable;       /* null may be given: the value is then derived, or left out where it cannot be */
    double min, max;
    const char *unit;    /* NULL where there is none */
    const char *choice[CONFIG_MAX_CHOICES];
    const char *help;
    const char *chosen_by; /* the option that alone can set it, or NULL */
    const char *file;      /* read out of this file of the run directory instead of an argument, or NULL */
    struct config_use use[CONFIG_MAX_USES];
};

/* No text is longer, so none grows beyond it, however often it names others. */
enum { CONFIG_LONGEST = 4095 };

extern const struct config_key config_schema[CFG_COUNT];

/* The stages that get an argument file; NULL ends the list. */
extern const char *const config_stages[];

/* "group.name"; the caller frees. */
char *config_full_name(enum config_id id);
/* The key of that full name, or CFG_COUNT. */
enum config_id config_find(const char *group, const char *name);
/* Is `name` a mapping that holds keys of the group, such as quant_pair's weight? */
bool config_is_mapping(const char *group, const char *name);
/* The groups, in the order of composed-config.yaml. */
enum { CONFIG_GROUPS = 6 };
extern const char *const config_groups[CONFIG_GROUPS];
/* Its index, or CONFIG_GROUPS. */
int config_group(const char *name);
/* Does the key want text? Then 12 or true given on the command line, or out of another key, is text too. */
bool config_is_text(enum config_id id);

/* The canonical text of a node as a value of this key (NULL for null): equal values have equal texts, the text is what
 * composed-config.yaml and the argument files hold. The caller frees. ERR_CONFIG "WHERE: group.name must be ...". */
int config_check(enum config_id id, const struct yml_node *n, char **text, struct err *e) MUST_CHECK;
/* The keys that a file or override gives to a group are known and have values of their types. Not looked at yet: values
 * with references in them (config_resolve.h), overlays, and what is missing. */
int config_check_group(const char *group, const struct yml_node *map, struct err *e) MUST_CHECK;
/* Refuse an unknown group with the nearest known one. Always returns -1. */
int config_refuse_group(const char *group, const char *where, struct err *e);
/* Refuse an unknown key with the nearest known one. Always returns -1. */
int config_refuse_key(const char *group, const char *name, const char *where, struct err *e);

/* A value as YAML: quoted where it has to be. */
void config_print_value(enum config_id id, const char *text, FILE *f);
/* The schema as a table for people. */
void config_print_schema(FILE *f);

#endif
