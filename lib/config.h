/* config - the configuration of one run: the value of every key, the pair that is run, and what the stages see of them.
 *
 * Values are kept as canonical text (config_schema.h), so "8" and "8.0" for a real number are the same configuration
 * and the same files come out. Which files it is made of is config_compose.h. */
#ifndef CONFIG_H
#define CONFIG_H
#include <stdio.h>

#include "config_schema.h"
#include "err.h"
#include "pair.h"

struct config {
    char *value[CFG_COUNT]; /* canonical text, NULL is null; quant_pair.* before the granularity is merged onto it */
    struct pair pair;       /* merged: what is run */
};

/* From a composed tree, whose references are replaced (config_resolve.h). A pair whose quantizers are no longer those
 * of `base`, its file, loses the names the reference has for it. base may be NULL. config_free frees, also on failure
 * and also a zeroed one. ERR_CONFIG where a value or a combination is refused. */
int config_of_tree(struct config *c, struct yml_node *tree, const struct yml_node *base, struct err *e) MUST_CHECK;
void config_free(struct config *c);

/* composed-config.yaml: every key with its value, in schema order. Equal configurations give equal bytes. */
void config_print(const struct config *c, FILE *f);
/* The argument file of a stage, one argument a line: options, then operands (cli.h reads it as "@FILE"). */
void config_print_args(const struct config *c, const char *stage, FILE *f);

#endif
