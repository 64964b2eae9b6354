/* The configuration keys as data (config_schema.h). */
#include "config_schema.h"

const char *const config_stages[] = {"extract-lm", "calib-pack", "autoquant-score", "manifest", "recipe-search", NULL};

#define QUANTIZER(ID, NAME)                                                                                            \
    [CFG_QUANT_PAIR_##ID##_FORMAT] = {.group = "quant_pair", .name = NAME ".format", .type = CFG_CHOICE,               \
        .choice = {"fp4", "mxfp4", "fp8", "int8", "int4", "fp16"},                                                     \
        .help = "how its values are rounded; fp16: left as they are, and no other key of " NAME,                       \
        .file = "pair.yaml"},                                                                                          \
    [CFG_QUANT_PAIR_##ID##_GRANULARITY] = {.group = "quant_pair", .name = NAME ".granularity", .type = CFG_CHOICE,     \
        .nullable = true, .choice = {"tensor", "out_channel", "in_channel", "block", "token"},                         \
        .help = "which of its values share a scale",                                                                   \
        .file = "pair.yaml"},                                                                                          \
    [CFG_QUANT_PAIR_##ID##_BLOCK] = {.group = "quant_pair", .name = NAME ".block", .type = CFG_INT, .nullable = true,  \
        .min = 2, .max = 65536, .unit = "elements",                                                                    \
        .help = "size of a block, for granularity block",                                                              \
        .file = "pair.yaml"},                                                                                          \
    [CFG_QUANT_PAIR_##ID##_DYNAMIC] = {.group = "quant_pair", .name = NAME ".dynamic", .type = CFG_BOOL,               \
        .nullable = true,                                                                                              \
        .help = "scales come from the data at hand; false or null: from calibration, or the weight itself",            \
        .file = "pair.yaml"}

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
        .help = "what directories and results call the pair", .chosen_by = "--pair (PAIR=...)", .file = "pair.yaml"},
    [CFG_QUANT_PAIR_MODELOPT_CONFIG] = {.group = "quant_pair", .name = "modelopt_config", .type = CFG_NAME,
        .help = "the reference's name of the configuration; CUSTOM_0 where overrides change its quantizers",
        .file = "pair.yaml"},
    [CFG_QUANT_PAIR_RECIPE_NAME] = {.group = "quant_pair", .name = "recipe_name", .type = CFG_NAME,
        .help = "its name among results; CUSTOM_0 where overrides or the granularity lead away from it",
        .file = "pair.yaml"},
    QUANTIZER(WEIGHT, "weight"),
    QUANTIZER(ACTIVATION, "activation"),
    [CFG_QUANT_GRANULARITY_NAME] = {.group = "quant_granularity", .name = "name", .type = CFG_NAME,
        .initial = "default",
        .help = "which scales replace those of the pair; default: none",
        .chosen_by = "--granularity (GRANULARITY=...)",
        .use = {{"autoquant-score", "--granularity="}}},
    [CFG_QUANT_GRANULARITY_OVERRIDES] = {.group = "quant_granularity", .name = "quant_cfg_overrides",
        .type = CFG_OVERLAY, .nullable = true,
        .help = "quantizer attributes as ModelOpt has them, merged onto the pair's quantizers",
        .use = {{"manifest", "--overrides="}}},
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
    [CFG_AUTOQUANT_SPLIT] = {.group = "autoquant", .name = "split", .type = CFG_BOOL, .initial = "false",
        .help = "also score weights alone and activations alone; adds replays",
        .use = {{"autoquant-score", "--split"}}},
    [CFG_AUTOQUANT_EFFECTIVE_BITS] = {.group = "autoquant", .name = "effective_bits", .type = CFG_REAL,
        .initial = "8.0",
        .min = 1, .max = 16, .unit = "bits/weight",
        .help = "budget of the recipe search (BITS)",
        .use = {{"manifest", "--bits="}, {"recipe-search", "--bits="}}},
    [CFG_OUTPUT_LAYOUT_SCHEME] = {.group = "output_layout", .name = "scheme", .type = CFG_NAME, .nullable = true,
        .help = "title and file name of the manifest; null: w<format>_a<format>_autoquant_lm",
        .use = {{"manifest", "--scheme="}}},
};

#undef QUANTIZER

const char *const config_groups[CONFIG_GROUPS] = {"model",     "dataset",   "quant_pair", "quant_granularity",
                                                  "autoquant", "output_layout"};
