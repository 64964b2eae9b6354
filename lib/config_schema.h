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
    CFG_QUANT_GRANULARITY_NAME,
    CFG_AUTOQUANT_METHOD,
    CFG_AUTOQUANT_DTYPE,
    CFG_AUTOQUANT_PADDING,
    CFG_AUTOQUANT_BATCH_SIZE,
    CFG_AUTOQUANT_SCORE_SIZE,
    CFG_AUTOQUANT_BLOCK,
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
    CFG_CHOICE, /* one of choices[] */
};

/* The stage gets the argument OPTION value ("--seq-len=" 512); a boolean gives the option alone ("--allow-short"), and
 * only where it is true. An empty option makes the value an operand. Null values give no argument. */
struct config_use {
    const char *stage, *option;
};

enum { CONFIG_MAX_CHOICES = 3, CONFIG_MAX_USES = 4 };

struct config_key {
    const char *group, *name;
    enum config_type type;
    const char *initial; /* default in canonical text; NULL where it is null or must come from a file or option */
    bool nullable;       /* null may be given: the value is then derived, or left out where it cannot be */
    double min, max;
    const char *unit;    /* NULL where there is none */
    const char *choice[CONFIG_MAX_CHOICES];
    const char *help;
    const char *chosen_by; /* the option that alone can set it, or NULL */
    struct config_use use[CONFIG_MAX_USES];
};

extern const struct config_key config_schema[CFG_COUNT];

/* The stages that get an argument file; NULL ends the list. */
extern const char *const config_stages[];

/* "group.name"; the caller frees. */
char *config_full_name(enum config_id id);
/* The key of that full name, or CFG_COUNT. */
enum config_id config_find(const char *group, const char *name);

/* The canonical text of a node as a value of this key (NULL for null): equal values have equal texts, the text is what
 * composed-config.yaml and the argument files hold. The caller frees. ERR_CONFIG "WHERE: group.name must be ...". */
int config_check(enum config_id id, const struct yml_node *n, const char *where, char **text, struct err *e) MUST_CHECK;
/* Refuse an unknown key with the nearest known one. Always returns -1. */
int config_refuse_key(const char *group, const char *name, const char *where, struct err *e);

/* A value as YAML: quoted where it has to be. */
void config_print_value(enum config_id id, const char *text, FILE *f);
/* The schema as a table for people. */
void config_print_schema(FILE *f);

#endif
