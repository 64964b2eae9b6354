/* config_layer - the values that a name stands for: a file of conf/ or of one's own, a model directory, a model in the
 * Hugging Face cache, a captions file. Each is looked up and parsed once, however many configurations use it.
 *
 *   CONF/GROUP/NAME.yaml   keys of that group; where it gives no name, the file's own
 *   model                  also a directory with config.json, or "org/name" in the Hugging Face cache
 *   dataset                also a captions file, or a .yaml file anywhere
 *   quant_pair, quant_granularity   also a file anywhere */
#ifndef CONFIG_LAYER_H
#define CONFIG_LAYER_H
#include "err.h"
#include "yml.h"

struct config_layers {
    const char *conf; /* the directory */
    struct config_layer **item;
    size_t n, cap;
};

/* The mapping of the group's keys, checked (config_check_group); it stays the cache's. ERR_CONFIG with one sentence and
 * the nearest name, also ERR_LIMIT, ERR_IO. */
int config_layer_get(struct config_layers *l, const char *group, const char *name, const struct yml_node **values,
                     struct err *e) MUST_CHECK;
void config_layers_free(struct config_layers *l);

/* CONF/GROUP/NAME.yaml if it is there, else NULL; the caller frees. */
char *config_named_file(const char *conf, const char *group, const char *name);
/* Refuse a name that stands for nothing; `also` says in which other way it could have stood for one. Always returns
 * -1. */
int config_refuse_name(const char *conf, const char *group, const char *name, const char *also, struct err *e);

bool config_is_file(const char *path);
bool config_is_model_dir(const char *path);

#endif
