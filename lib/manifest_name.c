#include "manifest_name.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "quantizer.h"

/* ---- the pair ---- */

/* ModelOpt's configurations, and the reference stack's own of the same kind. */
static const struct {
    const char *config, *weight, *activation;
} configs[] = {
    {"FP8_DEFAULT_CFG", "fp8", "fp8"},
    {"FP8_WEIGHT_INT4_ACT_CFG", "fp8", "int4"},
    {"FP8_WEIGHT_INT8_ACT_CFG", "fp8", "int8"},
    {"FP8_WEIGHT_ONLY_CFG", "fp8", "fp16"},
    {"INT4_BLOCKWISE_WEIGHT_ONLY_CFG", "int4", "fp16"},
    {"INT4_WEIGHT_FP8_ACT_CFG", "int4", "fp8"},
    {"INT4_WEIGHT_INT4_ACT_CFG", "int4", "int4"},
    {"INT4_WEIGHT_INT8_ACT_CFG", "int4", "int8"},
    {"INT8_DEFAULT_CFG", "int8", "int8"},
    {"INT8_LM_DEFAULT_CFG", "int8", "int8"},
    {"INT8_WEIGHT_FP8_ACT_CFG", "int8", "fp8"},
    {"INT8_WEIGHT_INT4_ACT_CFG", "int8", "int4"},
    {"INT8_WEIGHT_ONLY_CFG", "int8", "fp16"},
    {"MXFP4_WEIGHT_ONLY_CFG", "mxfp4", "fp16"},
    {"NVFP4_WEIGHT_INT4_ACT_CFG", "fp4", "int4"},
    {"NVFP4_WEIGHT_INT8_ACT_CFG", "fp4", "int8"},
    {"NVFP4_WEIGHT_ONLY_CFG", "fp4", "fp16"},
    {"W4A8_MXFP4_FP8_CFG", "mxfp4", "fp8"},
    {"W4A8_NVFP4_FP8_CFG", "fp4", "fp8"},
};

static bool is_format(const char *s, size_t n)
{
    char name[16];
    snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : sizeof name - 1), s);
    return quant_format_of_name(name) != QF_COUNT;
}

/* "<weight>_<activation>" or, with the scheme's letters, "w<weight>_a<activation>" up to the next '_' or the end */
static bool split(const char *s, bool letters, char **weight, char **activation)
{
    if (letters && *s++ != 'w')
        return false;
    const size_t n = strcspn(s, "_");
    const char *a = s + n + 1;
    if (!s[n] || (letters && *a++ != 'a'))
        return false;
    const size_t k = strcspn(a, "_");
    if (!is_format(s, n) || !is_format(a, k) || (!letters && a[k]))
        return false;
    *weight = xstrndup(s, n);
    *activation = xstrndup(a, k);
    return true;
}

bool manifest_split_pair(const char *pair, char **weight, char **activation)
{
    return split(pair, false, weight, activation);
}

/* "fp4/block16" -> "fp4"; "none" -> "fp16" */
static char *format_of_key(const char *key)
{
    return !strcmp(key, "none") ? xstrdup("fp16") : xstrndup(key, strcspn(key, "/"));
}

static bool pair_of_ours(struct manifest_name *n, const struct manifest *m)
{
    const json_t *p = json_object_get(m->qsens, "pair");
    const char *name = json_string_value(json_object_get(p, "name"));
    const char *weight = json_string_value(json_object_get(p, "weight"));
    const char *activation = json_string_value(json_object_get(p, "activation"));
    if (!name || !weight || !activation)
        return false;
    n->pair = xstrdup(name);
    n->weight = format_of_key(weight);
    n->activation = format_of_key(activation);
    return true;
}

static int pair_of_reference(struct manifest_name *n, const struct manifest *m, const char *where, struct err *e)
{
    const json_t *formats = json_object_get(json_object_get(m->doc, "scheme"), "quant_formats");
    const char *config = json_string_value(json_array_get(formats, 0));
    size_t i = 0;
    while (config && i < sizeof configs / sizeof *configs && strcmp(configs[i].config, config))
        i++;
    const bool known = config && json_array_size(formats) == 1 && i < sizeof configs / sizeof *configs;
    const bool named = split(m->scheme, true, &n->weight, &n->activation);
    if (named && known && (strcmp(n->weight, configs[i].weight) || strcmp(n->activation, configs[i].activation)))
        return err_set(e, ERR_CONFIG,
                       "'%s': scheme '%.100s' says %s_%s, but its format %s is %s_%s; say which it is with --pair",
                       where, m->scheme, n->weight, n->activation, config, configs[i].weight, configs[i].activation);
    if (!named && !known)
        return err_set(e, ERR_CONFIG, "'%s': neither scheme '%.100s' nor format '%.100s' tells the pair; give --pair",
                       where, m->scheme, config ? config : "(none)");
    if (!named) {
        n->weight = xstrdup(configs[i].weight);
        n->activation = xstrdup(configs[i].activation);
    }
    n->pair = xasprintf("%s_%s", n->weight, n->activation);
    return 0;
}

static int find_pair(struct manifest_name *n, const struct manifest *m, const char *pair, const char *where,
                     struct err *e)
{
    if (pair && !m->qsens) {
        if (!manifest_split_pair(pair, &n->weight, &n->activation))
            return err_set(e, ERR_CONFIG, "pair '%.100s' is not two formats, like int8_fp16", pair);
        n->pair = xstrdup(pair);
        return 0;
    }
    if (!m->qsens)
        return pair_of_reference(n, m, where, e);
    if (!pair_of_ours(n, m))
        return err_set(e, ERR_FORMAT, "'%s': qsens does not name its pair", where);
    if (pair && strcmp(pair, n->pair))
        return err_set(e, ERR_CONFIG, "'%s': was scored with pair %s, not %s", where, n->pair, pair);
    return 0;
}

/* ---- the rest ---- */

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
}

char *manifest_hub_id(const char *path)
{
    static const char mark[] = "/models--";
    const char *end = strstr(path, "/snapshots/"), *start = end;
    while (start && start > path && *--start != '/')
        ;
    if (!end || strncmp(start, mark, strlen(mark)) || start + strlen(mark) == end)
        return NULL;
    start += strlen(mark);
    char *id = xstrndup(start, (size_t)(end - start)), *dashes = strstr(id, "--");
    if (dashes > id) {
        *dashes = '/';
        memmove(dashes + 1, dashes + 2, strlen(dashes + 2) + 1);
    }
    return id;
}

char *manifest_path_name(const char *path)
{
    char *hub = manifest_hub_id(path);
    const char *from = hub ? hub : path;
    size_t n = strlen(from);
    while (n && from[n - 1] == '/')
        n--;
    size_t start = n;
    while (start && from[start - 1] != '/')
        start--;
    char *name = xstrndup(from + start, n - start);
    free(hub);
    for (char *p = name; *p; p++)
        *p = is_plain(*p) ? *p : '_';
    if (*name == '.')
        *name = '_';
    if (!*name) {
        free(name);
        name = xstrdup("model");
    }
    return name;
}

int manifest_name_of(struct manifest_name *n, const struct manifest *m, const char *pair, const char *where,
                     struct err *e)
{
    *n = (struct manifest_name){.tool = m->qsens ? "qsens" : "reference"};
    if (find_pair(n, m, pair, where, e)) {
        manifest_name_free(n);
        return -1;
    }
    const json_t *granularity = json_object_get(m->quantization, "quant_granularity");
    const json_t *arithmetic = json_object_get(m->qsens, "arithmetic");
    n->model = manifest_path_name(m->model_id);
    n->granularity = json_string_value(json_object_get(granularity, "name"));
    n->granularity = n->granularity ? n->granularity : "default";
    n->dataset = json_string_value(json_object_get(m->dataset, "name"));
    n->dtype = json_string_value(json_object_get(arithmetic, "dtype"));
    n->padding = json_string_value(json_object_get(arithmetic, "padding"));
    n->sequences = json_integer_value(json_object_get(m->dataset, "num_calib_samples"));
    return 0;
}

void manifest_name_free(struct manifest_name *n)
{
    free(n->pair);
    free(n->weight);
    free(n->activation);
    free(n->model);
    *n = (struct manifest_name){0};
}
