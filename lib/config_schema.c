#include "config_schema.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "nearest.h"

const char *const config_stages[] = {"extract-lm", "calib-pack",    "autoquant-score",
                                     "manifest",   "recipe-search", "report-md",       NULL};

const struct config_key config_schema[CFG_COUNT] = {
    [CFG_MODEL_NAME] = {.group = "model", .name = "name", .type = CFG_NAME,
        .help = "what directories and reports call the model",
        .use = {{"extract-lm", "--name="}}},
    [CFG_MODEL_PATH] = {.group = "model", .name = "path", .type = CFG_PATH,
        .help = "Hugging Face directory with config.json, tokenizer.json and *.safetensors",
        .use = {{"extract-lm", ""}, {"calib-pack", "--model="}, {"manifest", "--model-id="}}},
    [CFG_DATASET_NAME] = {.group = "dataset", .name = "name", .type = CFG_NAME,
        .help = "what reports call the captions",
        .use = {{"manifest", "--dataset-name="}}},
    [CFG_DATASET_CAPTIONS] = {.group = "dataset", .name = "captions", .type = CFG_PATH,
        .help = "text file, UTF-8, one caption per line",
        .use = {{"calib-pack", ""}, {"manifest", "--captions="}}},
    [CFG_DATASET_ROOT] = {.group = "dataset", .name = "root", .type = CFG_PATH, .nullable = true,
        .help = "directory the captions were taken from; only recorded",
        .use = {{"manifest", "--dataset-root="}}},
    [CFG_DATASET_SIZE] = {.group = "dataset", .name = "size", .type = CFG_NAME, .nullable = true,
        .help = "what results call max_samples; null: small, medium, large for 16, 128, 512, else the number",
        .use = {{"manifest", "--dataset-size="}}},
    [CFG_DATASET_MAX_SAMPLES] = {.group = "dataset", .name = "max_samples", .type = CFG_INT, .initial = "128",
        .min = 1, .max = 1e6, .unit = "captions",
        .help = "calibrate on the first this many (CALIB_N)",
        .use = {{"calib-pack", "--max-samples="}, {"manifest", "--max-samples="}}},
    [CFG_DATASET_SEQ_LEN] = {.group = "dataset", .name = "seq_len", .type = CFG_INT, .initial = "512",
        .min = 2, .max = 262144, .unit = "tokens",
        .help = "longer captions are cut, shorter ones count as padded to it",
        .use = {{"calib-pack", "--seq-len="}}},
    [CFG_DATASET_ALLOW_SHORT] = {.group = "dataset", .name = "allow_short", .type = CFG_BOOL, .initial = "false",
        .help = "go on where there are fewer captions than max_samples",
        .use = {{"calib-pack", "--allow-short"}}},
    [CFG_QUANT_PAIR_NAME] = {.group = "quant_pair", .name = "name", .type = CFG_NAME,
        .help = "weight and activation quantizers, from the pair's file", .chosen_by = "--pair (PAIR=...)"},
    [CFG_QUANT_GRANULARITY_NAME] = {.group = "quant_granularity", .name = "name", .type = CFG_CHOICE,
        .initial = "default", .choice = {"default"},
        .help = "which scales replace those of the pair; default: none",
        .chosen_by = "--granularity (GRANULARITY=...)",
        .use = {{"autoquant-score", "--granularity="}}},
    [CFG_AUTOQUANT_METHOD] = {.group = "autoquant", .name = "method", .type = CFG_CHOICE, .initial = "gradient",
        .choice = {"gradient"},
        .help = "how sensitivity is measured"},
    [CFG_AUTOQUANT_DTYPE] = {.group = "autoquant", .name = "dtype", .type = CFG_CHOICE, .initial = "bf16",
        .choice = {"bf16", "fp32"},
        .help = "arithmetic of the model: rounded as the reference does, or not at all",
        .use = {{"autoquant-score", "--dtype="}}},
    [CFG_AUTOQUANT_PADDING] = {.group = "autoquant", .name = "padding", .type = CFG_CHOICE, .initial = "reference",
        .choice = {"reference", "none"},
        .help = "count the left padding as the reference does, or real tokens only",
        .use = {{"calib-pack", "--padding="}, {"autoquant-score", "--padding="}}},
    [CFG_AUTOQUANT_BATCH_SIZE] = {.group = "autoquant", .name = "batch_size", .type = CFG_INT, .initial = "8",
        .min = 1, .max = 1024, .unit = "captions",
        .help = "sequences that share one loss",
        .use = {{"calib-pack", "--batch="}}},
    [CFG_AUTOQUANT_SCORE_SIZE] = {.group = "autoquant", .name = "score_size", .type = CFG_INT, .initial = "128",
        .min = 1, .max = 1e6, .unit = "captions",
        .help = "score the first this many, in whole batches",
        .use = {{"autoquant-score", "--score-size="}, {"manifest", "--score-size="}}},
    [CFG_AUTOQUANT_BLOCK] = {.group = "autoquant", .name = "block", .type = CFG_INT, .initial = "8",
        .min = 1, .max = 1024, .unit = "batches",
        .help = "batches that share their matrix products",
        .use = {{"autoquant-score", "--block="}}},
    [CFG_AUTOQUANT_EFFECTIVE_BITS] = {.group = "autoquant", .name = "effective_bits", .type = CFG_REAL,
        .initial = "8.0",
        .min = 1, .max = 16, .unit = "bits/weight",
        .help = "budget of the recipe search (BITS)",
        .use = {{"manifest", "--bits="}, {"recipe-search", "--bits="}}},
    [CFG_OUTPUT_LAYOUT_SCHEME] = {.group = "output_layout", .name = "scheme", .type = CFG_NAME, .nullable = true,
        .help = "title and file name of the manifest; null: w<format>_a<format>_autoquant_lm",
        .use = {{"manifest", "--scheme="}}},
};

char *config_full_name(enum config_id id)
{
    return xasprintf("%s.%s", config_schema[id].group, config_schema[id].name);
}

enum config_id config_find(const char *group, const char *name)
{
    int id = 0;
    while (id < CFG_COUNT && (strcmp(config_schema[id].group, group) || strcmp(config_schema[id].name, name)))
        id++;
    return (enum config_id)id;
}

/* ---- values ---- */

/* What the key wants, for messages: "a whole number from 1 to 1024". */
static char *wanted(const struct config_key *k)
{
    const char *null = k->nullable ? ", or null" : "";
    switch (k->type) {
    case CFG_PATH: return xasprintf("a path on one line%s", null);
    case CFG_NAME: return xasprintf("a name without '/', with no '.' or '-' in front%s", null);
    case CFG_INT: return xasprintf("a whole number from %.0f to %.0f%s", k->min, k->max, null);
    case CFG_REAL: return xasprintf("a number from %g to %g%s", k->min, k->max, null);
    case CFG_BOOL: return xasprintf("true or false%s", null);
    case CFG_CHOICE: {
        char *s = xstrdup(k->choice[0]);
        for (int i = 1; i < CONFIG_MAX_CHOICES && k->choice[i]; i++) {
            char *longer = xasprintf("%s or %s", s, k->choice[i]);
            free(s);
            s = longer;
        }
        return s;
    }
    }
    BUG("type %d", (int)k->type);
}

static bool is_one_line(const char *s)
{
    enum { LONGEST = 4095 };
    for (const char *p = s; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return false;
    return *s && strlen(s) <= LONGEST && yml_is_utf8(s);
}

/* NULL where the node is no value of the key. */
static char *canonical(const struct config_key *k, const struct yml_node *n)
{
    const char *s;
    int64_t i;
    double x;
    bool b;
    switch (k->type) {
    case CFG_PATH: return yml_string(n, &s) && is_one_line(s) ? xstrdup(s) : NULL;
    case CFG_NAME:
        return yml_string(n, &s) && is_one_line(s) && !strchr(s, '/') && *s != '.' && *s != '-' ? xstrdup(s) : NULL;
    case CFG_INT:
        return yml_int(n, &i) && (double)i >= k->min && (double)i <= k->max ? xasprintf("%" PRId64, i) : NULL;
    case CFG_REAL: {
        if (!yml_real(n, &x) || !(x >= k->min && x <= k->max))
            return NULL;
        char text[YML_REAL];
        yml_real_text(x, text);
        return xstrdup(text);
    }
    case CFG_BOOL: return yml_bool(n, &b) ? xstrdup(b ? "true" : "false") : NULL;
    case CFG_CHOICE:
        if (yml_string(n, &s))
            for (int c = 0; c < CONFIG_MAX_CHOICES && k->choice[c]; c++)
                if (!strcmp(s, k->choice[c]))
                    return xstrdup(s);
        return NULL;
    }
    BUG("type %d", (int)k->type);
}

int config_check(enum config_id id, const struct yml_node *n, const char *where, char **text, struct err *e)
{
    const struct config_key *k = &config_schema[id];
    *text = NULL;
    if (k->nullable && yml_is_null(n))
        return 0;
    *text = canonical(k, n);
    if (*text)
        return 0;
    char *want = wanted(k), got[256];
    err_set(e, ERR_CONFIG, "%s: %s.%s must be %s, not %s", where, k->group, k->name, want,
            yml_describe(n, got, sizeof got));
    free(want);
    return -1;
}

int config_refuse_key(const char *group, const char *name, const char *where, struct err *e)
{
    char *known[CFG_COUNT], *key = xasprintf("%s.%s", group, name);
    for (int id = 0; id < CFG_COUNT; id++)
        known[id] = config_full_name((enum config_id)id);
    const char *near = nearest_word(key, (const char *const *)known, CFG_COUNT);
    if (near)
        err_set(e, ERR_CONFIG, "%s: unknown key '%s'; did you mean '%s'?", where, key, near);
    else
        err_set(e, ERR_CONFIG, "%s: unknown key '%s'; compose-config --help-keys lists the keys", where, key);
    for (int id = 0; id < CFG_COUNT; id++)
        free(known[id]);
    free(key);
    return -1;
}

/* ---- printing ---- */

void config_print_value(enum config_id id, const char *text, FILE *f)
{
    const enum config_type t = config_schema[id].type;
    if (!text)
        fputs("null", f);
    else if (t == CFG_INT || t == CFG_REAL || t == CFG_BOOL)
        fputs(text, f);
    else
        yml_put_string(f, text);
}

enum { HELP_INDENT = 31 };

static void print_uses(const struct config_key *k, FILE *f)
{
    for (int u = 0; u < CONFIG_MAX_USES && k->use[u].stage; u++) {
        if (u)
            fputs(", ", f);
        else
            fprintf(f, "\n%*sread by ", HELP_INDENT, "");
        const int n = (int)strcspn(k->use[u].option, "=");
        fprintf(f, "%s%s%.*s", k->use[u].stage, n ? " " : "", n, k->use[u].option);
    }
}

void config_print_schema(FILE *f)
{
    const char *group = "";
    for (int id = 0; id < CFG_COUNT; id++) {
        const struct config_key *k = &config_schema[id];
        if (strcmp(group, k->group))
            fprintf(f, "%s%s\n", id ? "\n" : "", k->group);
        group = k->group;
        char *key = config_full_name((enum config_id)id), *want = wanted(k);
        fprintf(f, "  %-28s %s\n%*s%s", key, k->help, HELP_INDENT, "", want);
        if (k->unit)
            fprintf(f, "; in %s", k->unit);
        if (k->initial)
            fprintf(f, " [%s]", k->initial);
        if (k->chosen_by)
            fprintf(f, "; chosen by %s", k->chosen_by);
        print_uses(k, f);
        fputc('\n', f);
        free(key);
        free(want);
    }
}
