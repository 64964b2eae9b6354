/* pair - a weight quantizer and an activation quantizer under one name: a candidate recipe for a group of layers.
 *
 * A pair is a file, conf/quant_pair/NAME.yaml:
 *     name: fp4_fp8
 *     modelopt_config: W4A8_NVFP4_FP8_CFG       # the reference's name for this configuration
 *     recipe_name: W4A8_NVFP4_FP8_CFG           # as it appears among the reference's results, CUSTOM_0 if nameless
 *     weight:     {format: fp4, granularity: block, block: 16, dynamic: true}
 *     activation: {format: fp8, granularity: tensor, dynamic: false}
 * `format: fp16` means left as it is; then no other key is allowed. `dynamic` may be left out where it is false. The
 * scales of fp4 and mxfp4 weights are dynamic, those of all other weights static. Unknown keys, wrong types and
 * combinations that cannot be run (quantizer_check) are refused with file and line. */
#ifndef PAIR_H
#define PAIR_H
#include <stdio.h>

#include "err.h"
#include "quantizer.h"
#include "yml.h"

/* What the reference calls a configuration that equals none of its presets. */
#define PAIR_CUSTOM "CUSTOM_0"

struct pair {
    char name[64], modelopt_config[64], recipe_name[64]; /* letters, digits, '_', '-' and '.' only */
    struct quantizer weight, activation;
};

/* Read a pair file (YAML, or JSON, which is YAML too). ERR_CONFIG, ERR_LIMIT, ERR_IO. */
int pair_load(struct pair *p, const char *path, struct err *e) MUST_CHECK;
/* The same from n bytes of memory; `name` is for messages. */
int pair_parse(struct pair *p, const char *data, size_t n, const char *name, struct err *e) MUST_CHECK;
/* The same from a tree, which may have been merged from a file and overrides: a key that is null is left out. */
int pair_read(struct pair *p, const struct yml_node *root, struct err *e) MUST_CHECK;
/* Write as YAML that pair_load reads back, every line indented by `indent` blanks. Equal pairs give equal bytes. */
void pair_print(const struct pair *p, FILE *f, int indent);
/* The smaller of weight and activation bits: what the reference's effective bits count. */
int pair_bits(const struct pair *p);

#endif
