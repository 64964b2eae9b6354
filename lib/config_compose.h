/* config_compose - configurations out of a preset, options and overrides; many cells of a sweep from one reading.
 *
 * Later wins: the schema's defaults, the preset's files and values in the order of its list (config_preset.h), options,
 * overrides. An override of what an option gave is refused, as is any other contradiction of the two. Relative paths in
 * values are relative to the working directory. */
#ifndef CONFIG_COMPOSE_H
#define CONFIG_COMPOSE_H
#include "config.h"

struct config_request { /* NULL: as the preset says */
    const char *conf, *preset;
    const char *model, *dataset; /* what config_layer.h takes for a name */
    const char *const *set;      /* overrides (config_override.h), in order */
    size_t n_set;
};

struct config_cell { /* NULL: as the preset says */
    const char *pair, *granularity;
    const char *calib_n; /* dataset.max_samples */
};

/* Read the preset and the overrides. The request's strings must outlive the composer. NULL with ERR_CONFIG, ERR_LIMIT
 * or ERR_IO. */
struct config_composer *config_composer_new(const struct config_request *r, struct err *e) MUST_CHECK;
void config_composer_free(struct config_composer *k);

/* Compose one cell; files are read once for all. The model directory and the captions are there, or it is refused.
 * config_free frees, also on failure. ERR_CONFIG with one sentence, also ERR_LIMIT, ERR_IO. */
int config_compose(struct config_composer *k, const struct config_cell *cell, struct config *c,
                   struct err *e) MUST_CHECK;

#endif
