/* config_compose - which files make up a configuration: a preset names one file per group, options name others, and
 * what is not a name is looked for as a file, a directory, or a model in the Hugging Face cache.
 *
 *   CONF/preset/NAME.yaml             defaults: [{GROUP: NAME}, ...], one file of each group
 *   CONF/GROUP/NAME.yaml              keys of that group (config.h); for quant_pair a pair (pair.h)
 * Later wins: the schema's defaults, the files, options, overrides. Relative paths in values are relative to the
 * working directory. */
#ifndef CONFIG_COMPOSE_H
#define CONFIG_COMPOSE_H
#include "config.h"

struct config_request { /* NULL: as the preset says */
    const char *conf, *preset;
    const char *pair;        /* NAME, or a pair file */
    const char *model;       /* NAME, a directory with config.json, or "org/name" in the Hugging Face cache */
    const char *dataset;     /* NAME, a captions file, or a dataset's .yaml */
    const char *granularity; /* NAME */
    const char *calib_n;     /* dataset.max_samples */
    const char *const *set;  /* overrides (config_override), in order */
    size_t n_set;
};

/* Compose, derive, and check that the model directory and the captions are there. config_free frees, also on failure.
 * ERR_CONFIG with one sentence, also ERR_LIMIT, ERR_IO. */
int config_compose(struct config *c, const struct config_request *r, struct err *e) MUST_CHECK;

#endif
