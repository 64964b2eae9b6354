/* config - the values of one run: defaults, then files, then overrides; and what the stages see of them.
 *
 * Values are kept as canonical text (config_schema.h), so "8" and "8.0" for a real number are the same configuration
 * and the same files come out. Which files are read is config_compose.h. */
#ifndef CONFIG_H
#define CONFIG_H
#include <stdio.h>

#include "config_schema.h"
#include "err.h"
#include "pair.h"

struct config {
    char *value[CFG_COUNT]; /* canonical text, NULL is null */
    struct pair pair;
};

/* The defaults of the schema, no pair. config_free also takes a zeroed one. */
void config_init(struct config *c);
void config_free(struct config *c);

/* Values of one group from a file (conf/GROUP/NAME.yaml), whose top level is a mapping of the group's keys, or empty.
 * ERR_CONFIG with file, line and the nearest known key; also ERR_LIMIT, ERR_IO. */
int config_read(struct config *c, const char *group, const char *path, struct err *e) MUST_CHECK;
/* The same from n bytes of memory; `name` is for messages. */
int config_parse(struct config *c, const char *group, const char *data, size_t n, const char *name,
                 struct err *e) MUST_CHECK;

/* Overrides: "group.key=value ..." separated by blanks. In a value '...' is literal, "..." knows \" and \\; what is
 * quoted is a string whatever it looks like; null is null; [..] and {..} are YAML and may hold blanks. Text keys take
 * any unquoted text. ERR_CONFIG with the override's own text. */
int config_override(struct config *c, const char *overrides, struct err *e) MUST_CHECK;
/* One value as the text of a command-line option; `where` names the option for messages. */
int config_set(struct config *c, enum config_id id, const char *text, const char *where, struct err *e) MUST_CHECK;
/* The pair, and with it quant_pair.name. */
void config_set_pair(struct config *c, const struct pair *p);
/* Fill what is derived from other values where it is null: dataset.size, output_layout.scheme. */
void config_derive(struct config *c);

/* composed-config.yaml: every key with its value, in schema order. Equal configurations give equal bytes. */
void config_print(const struct config *c, FILE *f);
/* The argument file of a stage, one argument a line: options, then operands (cli.h reads it as "@FILE"). */
void config_print_args(const struct config *c, const char *stage, FILE *f);

#endif
