/* config: every fault of files, overrides and references with its place, canonical values, argument files. */
#include "config.h"
#include "config_compose.h"
#include "config_override.h"
#include "config_resolve.h"
#include "mem.h"
#include "tap.h"
#include "yml_tree.h"

static char *printed(const struct config *c, const char *stage)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (stage)
        config_print_args(c, stage, f);
    else
        config_print(c, f);
    fclose(f);
    return text;
}

/* The bundled configuration with these overrides. */
static int compose(struct config *c, const struct config_cell *cell, const char *set, struct err *e)
{
    static const struct config_cell as_preset;
    const struct config_request r = {.conf = "conf", .preset = "default", .set = &set, .n_set = 1};
    struct config_composer *k = config_composer_new(&r, e);
    *c = (struct config){0};
    const int rc = k ? config_compose(k, cell ? cell : &as_preset, c, e) : -1;
    config_composer_free(k);
    return rc;
}

static const struct {
    const char *name, *group, *text, *message;
} bad_files[] = {
    {"unknown key, near", "autoquant", "dtype: bf16\nbath_size: 8\n",
     "f.yaml:2: unknown key 'autoquant.bath_size'; did you mean 'autoquant.batch_size'?"},
    {"unknown key, far", "autoquant", "zzzzzzzzzzzzzzzzzz: 8\n",
     "unknown key 'autoquant.zzzzzzzzzzzzzzzzzz'; compose-config --help-keys"},
    {"key of another group", "autoquant", "seq_len: 8\n", "f.yaml:1: unknown key 'autoquant.seq_len'"},
    {"word for a number", "autoquant", "\n\nblock: many\n",
     "f.yaml:3: autoquant.block must be a whole number from 1 to 1024, not 'many'"},
    {"quoted number", "autoquant", "block: '8'\n", "must be a whole number from 1 to 1024, not '8' in quotes"},
    {"fraction for a whole number", "autoquant", "block: 8.5\n", "must be a whole number"},
    {"below the range", "autoquant", "block: 0\n", "from 1 to 1024, not '0'"},
    {"above the range", "dataset", "max_samples: 1000001\n", "from 1 to 1000000, not '1000001'"},
    {"far above the range", "dataset", "max_samples: 99999999999999999999\n", "from 1 to 1000000"},
    {"bits out of range", "autoquant", "effective_bits: 17\n", "a number from 1 to 16, not '17'"},
    {"not a number", "autoquant", "effective_bits: .nan\n", "a number from 1 to 16, not '.nan'"},
    {"infinite", "autoquant", "effective_bits: .inf\n", "a number from 1 to 16, not '.inf'"},
    {"choice", "autoquant", "dtype: fp64\n", "autoquant.dtype must be bf16 or fp32, not 'fp64'"},
    {"number for a choice", "autoquant", "dtype: 16\n", "bf16 or fp32, not '16'"},
    {"number for a flag", "dataset", "allow_short: 1\n", "dataset.allow_short must be true or false, not '1'"},
    {"yes for a flag", "dataset", "allow_short: yes\n", "true or false, not 'yes'"},
    {"list", "autoquant", "block: [8]\n", "not a list"},
    {"mapping", "autoquant", "block: {a: 8}\n", "not a mapping"},
    {"null", "autoquant", "block:\n", "not null"},
    {"null for a path", "model", "path: null\n", "model.path must be a path on one line, not null"},
    {"number for a path", "model", "path: 12\n", "not '12'"},
    {"line break in a path", "dataset", "captions: \"a\\nb\"\n", "dataset.captions must be a path on one line"},
    {"empty path", "dataset", "captions: ''\n", "dataset.captions must be a path on one line"},
    {"name with a slash", "model", "name: a/b\n", "model.name must be a name without '/'"},
    {"name with a dash in front", "model", "name: -rf\n", "model.name must be a name"},
    {"key of a mapping, near", "quant_pair", "weight: {fromat: fp8}\n",
     "f.yaml:1: unknown key 'quant_pair.weight.fromat'; did you mean 'quant_pair.weight.format'?"},
    {"mapping, near", "quant_pair", "weigth: {format: fp8}\n", "did you mean 'quant_pair.weight'?"},
    {"word for a mapping", "quant_pair", "weight: fp8\n", "f.yaml:1: quant_pair.weight must be a mapping of keys"},
    {"mapping for a choice", "quant_pair", "weight:\n  format: {a: 1}\n",
     "f.yaml:2: quant_pair.weight.format must be fp4, mxfp4, fp8, int8, int4 or fp16, not a mapping"},
    {"choice of a mapping", "quant_pair", "weight:\n  format: int7\n", "f.yaml:2: quant_pair.weight.format must be"},
    {"scales", "quant_pair", "weight: {granularity: row}\n", "tensor, out_channel, in_channel, block, token or null"},
    {"list of keys", "model", "- name\n", "f.yaml:1: the keys of model are expected here"},
    {"syntax", "model", "name: [\n", "f.yaml:2:1: not valid YAML"},
    {"tab", "model", "name: a\n\tpath: b\n", "f.yaml:2:1: a tab in the indentation"},
    {"bomb", "model", "name: &a [x]\npath: [*a, *a]\n", "anchors and aliases are not supported"},
    {"duplicate", "model", "name: a\nname: b\n", "f.yaml:2:1: key 'name' is already set on line 1"},
};

static const struct {
    const char *text, *message;
} bad_overrides[] = {
    {"autoquant.bath_size=8", "override 'autoquant.bath_size=8': unknown key 'autoquant.bath_size'; did you mean "
                              "'autoquant.batch_size'?"},
    {"autoquant.dtype=fp32 autoquant.block=x", "override 'autoquant.block=x': autoquant.block must be"},
    {"autoquant.block=[1, 2]",
     "override 'autoquant.block=[1, 2]': autoquant.block must be a whole number from 1 to 1024, not a list"},
    {"autoquant.block={a: 1}", "not a mapping"},
    {"autoquant.block=[1, 2", "not valid YAML"},
    {"autoquant.block='8'", "not '8' in quotes"},
    {"autoquant.block=null", "not null"},
    {"autoquant.block=", "not null"},
    {"autoquant.block", "override 'autoquant.block' is not group.key=value"},
    {"autoquant.block = 8", "override 'autoquant.block' is not group.key=value"},
    {"'autoquant.block=8'", "is not group.key=value (quotes go around the value)"},
    {"=8", "override '=8': there is no key before '='"},
    {"block=8", "override 'block=8': 'block' is not a group or a key such as autoquant.dtype; did you mean "
                "'autoquant.block'?"},
    {".block=8", "unknown group '.block'"},
    {"autoquant.=8", "'autoquant.' is not a key such as autoquant.dtype"},
    {"autoquant..block=8", "is not a key such as autoquant.dtype"},
    {"quant_granularity.quant_cfg_overrides.a.b.c.d.e.f.g=8", "is not a key such as autoquant.dtype"},
    {"modle.path=x", "unknown key 'modle.path'; did you mean 'model.path'?"},
    {"modle=x", "override 'modle=x': unknown group 'modle'; did you mean 'model'?"},
    {"zzzzzzzzzzzz=x", "unknown group 'zzzzzzzzzzzz'; compose-config --help-keys lists them"},
    {"autoquant={dtype: fp32}", "autoquant must be the name of a file or null, not a mapping"},
    {"preset=x", "the preset is chosen by --preset (PRESET=...)"},
    {"+autoquant.block=8", "'+' has no use here"},
    {"~autoquant.block=8", "'~' has no use here"},
    {"quant_pair.weigth.format=fp8", "unknown key 'quant_pair.weigth'; did you mean 'quant_pair.weight'?"},
    {"quant_pair.weight.format.x=fp8", "quant_pair.weight.format must be"},
    {"quant_pair.weight={format: fp9}", "override 'quant_pair.weight={format: fp9}': quant_pair.weight.format must be"},
    {"quant_pair.weight=fp8", "quant_pair.weight must be a mapping of keys, not 'fp8'"},
    {"dataset.captions='a b", "override 'dataset.captions='a b': a quote is not closed"},
    {"dataset.captions=\"a\\\"", "a quote is not closed"},
    {"dataset.captions='a\nb'", "dataset.captions must be a path on one line"},
    {"dataset.captions=\xff", "dataset.captions must be a path on one line"},
    {"quant_pair.name=fp8_fp8", "quant_pair.name is chosen by --pair (PAIR=...)"},
    {"quant_granularity.name=default", "quant_granularity.name is chosen by --granularity"},
    {"model.name=null", "model.name must be a name"},
};

static void test_faults(void)
{
    for (size_t i = 0; i < sizeof bad_files / sizeof *bad_files; i++) {
        struct yml_node root;
        struct err e = {0};
        int rc = yml_parse(&root, bad_files[i].text, strlen(bad_files[i].text), "f.yaml", &e);
        if (!rc)
            rc = config_check_group(bad_files[i].group, &root, &e);
        if (!ok(rc < 0 && e.code == ERR_CONFIG && strstr(e.msg, bad_files[i].message), "file: %s", bad_files[i].name))
            diag("%d: %s", (int)e.code, e.msg);
        yml_free(&root);
    }
    for (size_t i = 0; i < sizeof bad_overrides / sizeof *bad_overrides; i++) {
        struct config_overrides list = {0};
        struct err e = {0};
        const int rc = config_overrides_parse(&list, bad_overrides[i].text, &e);
        if (!ok(rc < 0 && e.code == ERR_CONFIG && strstr(e.msg, bad_overrides[i].message), "override %d", (int)i + 1))
            diag("%d: %s", (int)e.code, e.msg);
        config_overrides_free(&list);
    }
}

static const struct {
    const char *override;
    enum config_id id;
    const char *value; /* NULL: null */
} overrides[] = {
    {"autoquant.effective_bits=6", CFG_AUTOQUANT_EFFECTIVE_BITS, "6.0"},
    {"autoquant.effective_bits=6.00", CFG_AUTOQUANT_EFFECTIVE_BITS, "6.0"},
    {"autoquant.block=0x10", CFG_AUTOQUANT_BLOCK, "16"},
    {"autoquant.block=1 autoquant.block=2", CFG_AUTOQUANT_BLOCK, "2"},
    {" \tautoquant.block=3\n", CFG_AUTOQUANT_BLOCK, "3"},
    {"", CFG_AUTOQUANT_BLOCK, "8"},
    {"dataset.allow_short=true", CFG_DATASET_ALLOW_SHORT, "true"},
    {"dataset.captions='my captions.txt' autoquant.block=4", CFG_DATASET_CAPTIONS, "my captions.txt"},
    {"dataset.captions=\"my captions.txt\"", CFG_DATASET_CAPTIONS, "my captions.txt"},
    {"dataset.captions=\"a\\\"b\\\\c\\d\"", CFG_DATASET_CAPTIONS, "a\"b\\c\\d"},
    {"dataset.captions='$HOME/#1: \"x\"'", CFG_DATASET_CAPTIONS, "$HOME/#1: \"x\""},
    {"dataset.captions=/tmp/'a b'/c", CFG_DATASET_CAPTIONS, "/tmp/a b/c"},
    {"dataset.captions=/tmp/#x", CFG_DATASET_CAPTIONS, "/tmp/#x"},
    {"dataset.captions=a=b", CFG_DATASET_CAPTIONS, "a=b"},
    {"model.name=12", CFG_MODEL_NAME, "12"},
    {"model.name=true", CFG_MODEL_NAME, "true"},
    {"model.name='null'", CFG_MODEL_NAME, "null"},
    {"dataset.root=x dataset.root=null", CFG_DATASET_ROOT, NULL},
    {"dataset.root=x dataset.root=", CFG_DATASET_ROOT, NULL},
    {"quant_pair.weight.format=fp8", CFG_QUANT_PAIR_WEIGHT_FORMAT, "fp8"},
    {"quant_pair.weight={block: 32, dynamic: false}", CFG_QUANT_PAIR_WEIGHT_BLOCK, "32"},
    {"quant_pair.weight.block=16 quant_pair.weight={dynamic: true}", CFG_QUANT_PAIR_WEIGHT_BLOCK, "16"},
    {"quant_pair.weight.block=16 quant_pair.weight.block=null", CFG_QUANT_PAIR_WEIGHT_BLOCK, NULL},
    {"quant_granularity.quant_cfg_overrides={'*input_quantizer': {axis: null, type: static}}",
     CFG_QUANT_GRANULARITY_OVERRIDES, "{\"*input_quantizer\": {\"type\": \"static\", \"axis\": null}}"},
    {"quant_granularity.quant_cfg_overrides.*weight_quantizer.axis=0x1", CFG_QUANT_GRANULARITY_OVERRIDES,
     "{\"*weight_quantizer\": {\"axis\": 1}}"},
    {"quant_granularity.quant_cfg_overrides={}", CFG_QUANT_GRANULARITY_OVERRIDES, NULL},
    /* references */
    {"dataset.root=${dataset.captions}.d dataset.captions=x", CFG_DATASET_ROOT, "x.d"},
    {"dataset.root='${dataset.captions}/a b' dataset.captions=x", CFG_DATASET_ROOT, "x/a b"},
    {"dataset.root=\"${model.name}${model.name}\" model.name=${dataset.name} dataset.name=n", CFG_DATASET_ROOT, "nn"},
    {"autoquant.score_size=${dataset.max_samples} dataset.max_samples=16", CFG_AUTOQUANT_SCORE_SIZE, "16"},
    {"autoquant.score_size='${dataset.max_samples}'", CFG_AUTOQUANT_SCORE_SIZE, "128"},
    {"autoquant.score_size=1${dataset.max_samples}", CFG_AUTOQUANT_SCORE_SIZE, "1128"},
    {"model.name=${dataset.max_samples}", CFG_MODEL_NAME, "128"},
    {"model.name=${autoquant.effective_bits}bits", CFG_MODEL_NAME, "8.0bits"},
    {"output_layout.scheme=${dataset.size}-${dataset.allow_short}", CFG_OUTPUT_LAYOUT_SCHEME, "medium-false"},
    {"quant_pair.weight.format=${quant_pair.activation.format} quant_pair.activation.format=int8",
     CFG_QUANT_PAIR_WEIGHT_FORMAT, "int8"},
    {"quant_granularity.quant_cfg_overrides.*weight_quantizer={block_sizes: {-1: '${autoquant.block}'}}",
     CFG_QUANT_GRANULARITY_OVERRIDES, "{\"*weight_quantizer\": {\"block_sizes\": {\"-1\": 8}}}"},
    {"model.path=$HOME/$x/$", CFG_MODEL_PATH, "$HOME/$x/$"},
    {"model.path=a$${b}$$$c$", CFG_MODEL_PATH, "a${b}$$$c$"},
    {"model.path=$$${model.name}", CFG_MODEL_PATH, "$${model.name}"},
    {"dataset.root=${model.path} model.path=$${dataset.root}", CFG_DATASET_ROOT, "${dataset.root}"},
};

static const struct {
    const char *text, *message;
} bad_references[] = {
    {"model.name=${dataset.nam}", "override 'model.name=${dataset.nam}': ${dataset.nam}: unknown key 'dataset.nam'; "
                                  "did you mean 'dataset.name'?"},
    {"model.name=${name}", "'${name}' does not name a key such as ${dataset.name}"},
    {"model.name=${}", "'${}' does not name a key"},
    {"model.name=${oc.env:HOME}", "unknown key 'oc.env:HOME'"},
    {"model.name=a${dataset.name", "'${dataset.name' has no closing '}' (a plain '${' is written '$${')"},
    {"model.name=${${dataset.name}}", "unknown key '${dataset.name'"},
    {"model.name=${dataset.root}", "${dataset.root} has no value"},
    {"model.name=${quant_granularity.quant_cfg_overrides}", "is a mapping, not a value"},
    {"model.name=${model.name}", "override 'model.name=${model.name}': the references go in a circle: model.name -> "
                                 "model.name"},
    {"model.name=${dataset.name} dataset.name=x${model.path} model.path=${dataset.root} dataset.root=${dataset.name}",
     "override 'dataset.root=${dataset.name}': the references go in a circle: dataset.name -> model.path -> "
     "dataset.root -> dataset.name"},
    {"dataset.size=null dataset.max_samples=${dataset.size}", "circle: dataset.size -> dataset.max_samples -> "
                                                              "dataset.size"},
    {"autoquant.block=${dataset.name} dataset.name=x",
     "autoquant.block must be a whole number from 1 to 1024, not 'x'"},
    {"autoquant.dtype=${autoquant.padding}", "autoquant.dtype must be bf16 or fp32, not 'reference'"},
    {"model.name=${dataset.captions} dataset.captions=a/b", "model.name must be a name without '/'"},
    {"quant_granularity.quant_cfg_overrides.*weight_quantizer.axis=${autoquant.block}", "axis must be 0, 1 or null"},
};

/* The values that overrides alone give. */
static int resolve(const char *text, char *value[CFG_COUNT], struct err *e)
{
    struct config_overrides list = {0};
    struct yml_node tree = yml_mapping("test");
    int rc = config_overrides_parse(&list, text, e);
    for (size_t i = 0; !rc && i < list.n; i++)
        yml_merge(&tree, &list.item[i].tree);
    if (!rc)
        rc = config_resolve(&tree, value, e);
    yml_free(&tree);
    config_overrides_free(&list);
    return rc;
}

static void free_values(char *value[CFG_COUNT])
{
    for (int id = 0; id < CFG_COUNT; id++)
        free(value[id]);
}

static void test_overrides(void)
{
    for (size_t i = 0; i < sizeof overrides / sizeof *overrides; i++) {
        char *value[CFG_COUNT] = {NULL};
        struct err e = {0};
        const int rc = resolve(overrides[i].override, value, &e);
        const char *got = value[overrides[i].id], *want = overrides[i].value;
        if (!ok(rc == 0 && (want ? got && !strcmp(got, want) : !got), "override \"%s\"", overrides[i].override))
            diag("%s", rc ? e.msg : got ? got : "null");
        free_values(value);
    }
    for (size_t i = 0; i < sizeof bad_references / sizeof *bad_references; i++) {
        char *value[CFG_COUNT] = {NULL};
        struct err e = {0};
        const int rc = resolve(bad_references[i].text, value, &e);
        if (!ok(rc < 0 && e.code == ERR_CONFIG && strstr(e.msg, bad_references[i].message), "refused: %s",
                bad_references[i].text))
            diag("%d: %s", rc, e.msg);
        free_values(value);
    }
}

/* Keys that each name the next one many times over: refused at the first that is too long, not after expanding all. */
static void test_bomb(void)
{
    static const char *const keys[] = {"model.path", "dataset.captions", "dataset.root"};
    char *text = xstrdup("dataset.root=0123456789abcdef"), *value[CFG_COUNT] = {NULL};
    for (int k = 0; k < 2; k++)
        for (int i = -1; i < 20; i++) {
            char *longer = i < 0 ? xasprintf("%s %s=", text, keys[k]) : xasprintf("%s${%s}", text, keys[k + 1]);
            free(text);
            text = longer;
        }
    struct err e = {0};
    ok(resolve(text, value, &e) < 0 && strstr(e.msg, "longer than 4095 bytes with its references replaced"),
       "references that multiply");
    free(text);
    free_values(value);
}

static void test_escape(void)
{
    static const char *const texts[] = {"", "$", "a${b}", "$${x}", "$$${${", "${model.name}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char *escaped = config_escape(texts[i]), *set = xasprintf("dataset.root='%s'", escaped);
        char *value[CFG_COUNT] = {NULL};
        struct err e = {0};
        ok((resolve(set, value, &e) == 0 && !strcmp(value[CFG_DATASET_ROOT], texts[i])) || !*texts[i],
           "'%s' escaped comes back", texts[i]);
        free(escaped);
        free(set);
        free_values(value);
    }
}

/* What overrides do to a pair and its names; NULL: refused with the message in `weight`. */
static void test_pairs(void)
{
    static const struct {
        const char *pair, *granularity, *set, *weight, *activation, *config, *recipe;
    } rows[] = {
        {"int8_int8", "default", "", "int8/out_channel", "int8/tensor", "INT8_DEFAULT_CFG", "INT8_DEFAULT_CFG"},
        {"int8_int8", "default", "quant_pair.weight.granularity=out_channel quant_pair.weight.dynamic=false",
         "int8/out_channel", "int8/tensor", "INT8_DEFAULT_CFG", "INT8_DEFAULT_CFG"},
        {"int8_int8", "default", "quant_pair.weight.granularity=tensor", "int8/tensor", "int8/tensor", "CUSTOM_0",
         "CUSTOM_0"},
        {"int8_int8", "default", "quant_pair.weight.granularity=tensor quant_pair.recipe_name=MINE", "int8/tensor",
         "int8/tensor", "CUSTOM_0", "MINE"},
        {"int8_int8", "default", "quant_pair.activation={format: fp16, granularity: null, dynamic: null}",
         "int8/out_channel", "none", "CUSTOM_0", "CUSTOM_0"},
        {"int8_int8", "w_per_tensor", "", "int8/tensor", "int8/tensor", "INT8_DEFAULT_CFG", "CUSTOM_0"},
        {"int8_int8", "w_per_out_channel", "", "int8/out_channel", "int8/tensor", "INT8_DEFAULT_CFG",
         "INT8_DEFAULT_CFG"},
        {"int8_int8", "w_group64",
         "quant_granularity.quant_cfg_overrides={'*weight_quantizer': {block_sizes: {-1: 32}}}", "int8/block32",
         "int8/tensor", "INT8_DEFAULT_CFG", "CUSTOM_0"},
        {"int8_int8", "w_group64", "quant_granularity.quant_cfg_overrides.*weight_quantizer.axis=0",
         "axis and block_sizes exclude each other", NULL, NULL, NULL},
        {"fp4_fp8", "w_per_tensor", "", "granularity 'w_per_tensor' on pair 'fp4_fp8': weight: fp4 weights need block",
         NULL, NULL, NULL},
        {"fp4_fp8", "default", "quant_pair.weight.block=32",
         "override 'quant_pair.weight.block=32': weight: fp4 weights have blocks of 16, not 32", NULL, NULL, NULL},
        {"fp4_fp8", "default", "quant_pair=fp8_fp8", "override 'quant_pair=fp8_fp8': quant_pair is given by --pair",
         NULL, NULL, NULL},
        {"fp4_fp8", "default", "quant_granularity=null", "quant_granularity is given by --granularity", NULL, NULL,
         NULL},
        {"fp4_fp8", "default", "dataset.max_samples=16", "dataset.max_samples is given by --calib-n", NULL, NULL, NULL},
        {"fp4_fp8", "default", "dataset=none", "no dataset 'none': conf/dataset/none.yaml does not exist", NULL, NULL,
         NULL},
        {"fp4_fp8", "default", "dataset=null", "dataset.captions is not set: give --dataset", NULL, NULL, NULL},
        {"fp4_fp8", "default", "autoquant=null output_layout=null", "fp4/block16", "fp8/tensor", "W4A8_NVFP4_FP8_CFG",
         "W4A8_NVFP4_FP8_CFG"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct config_cell cell = {rows[i].pair, rows[i].granularity, "16"};
        struct config c;
        struct err e = {0};
        const int rc = compose(&c, &cell, rows[i].set, &e);
        char w[QUANTIZER_KEY] = "", a[QUANTIZER_KEY] = "";
        if (!rows[i].recipe) {
            if (!ok(rc < 0 && e.code == ERR_CONFIG && strstr(e.msg, rows[i].weight), "%s + %s + %s is refused",
                    rows[i].pair, rows[i].granularity, rows[i].set))
                diag("%s", e.msg);
        } else {
            quantizer_key(&c.pair.weight, w);
            quantizer_key(&c.pair.activation, a);
            if (!ok(rc == 0 && !strcmp(w, rows[i].weight) && !strcmp(a, rows[i].activation) &&
                        !strcmp(c.pair.modelopt_config, rows[i].config) && !strcmp(c.pair.recipe_name, rows[i].recipe),
                    "%s + %s + %s", rows[i].pair, rows[i].granularity, rows[i].set))
                diag("%s, %s, %s, %s %s", w, a, c.pair.modelopt_config, c.pair.recipe_name, rc ? e.msg : "");
        }
        config_free(&c);
    }
}

/* The defaults that conf/ spells out are those of the schema, so any of these files may be left out. */
static void test_bundled(void)
{
    struct config with, without;
    struct err e = {0};
    ok(compose(&with, NULL, "", &e) == 0, "the bundled configuration");
    ok(compose(&without, NULL, "autoquant=null output_layout=null quant_granularity=null", &e) == 0, "less of it");
    char *want = printed(&with, NULL), *got = printed(&without, NULL);
    is_str(got, want, "the files hold the schema's defaults");
    free(want);
    free(got);
    config_free(&with);
    config_free(&without);
}

static void test_derived(void)
{
    static const struct {
        const char *set, *size, *scheme;
    } rows[] = {
        {"dataset.max_samples=16", "small", "wfp4_afp8_autoquant_lm"},
        {"dataset.max_samples=128", "medium", "wfp4_afp8_autoquant_lm"},
        {"dataset.max_samples=512", "large", "wfp4_afp8_autoquant_lm"},
        {"dataset.max_samples=13", "13", "wfp4_afp8_autoquant_lm"},
        {"dataset.size=tiny output_layout.scheme=mine", "tiny", "mine"},
        {"dataset.size=null output_layout.scheme=null", "medium", "wfp4_afp8_autoquant_lm"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct config c;
        struct err e = {0};
        if (!ok(compose(&c, NULL, rows[i].set, &e) == 0, "compose with %s", rows[i].set))
            diag("%s", e.msg);
        is_str(c.value[CFG_DATASET_SIZE], rows[i].size, "size");
        is_str(c.value[CFG_OUTPUT_LAYOUT_SCHEME], rows[i].scheme, "scheme");
        config_free(&c);
    }
}

static void test_args(void)
{
    struct config c = {0};
    struct err e = {0};
    ok(resolve("dataset.captions='-a $b #c' dataset.allow_short=true dataset.max_samples=16 model.path=m "
               "quant_granularity.quant_cfg_overrides.*weight_quantizer.axis=0", c.value, &e) == 0,
       "values for arguments");
    char *args = printed(&c, "calib-pack");
    is_str(
        args,
        "--model=m\n--max-samples=16\n--seq-len=512\n--allow-short\n--padding=reference\n--batch=8\n"
        "./-a $b #c\n",
        "options, then operands; a dash in front is hidden");
    free(args);
    args = printed(&c, "autoquant-score");
    is_str(args, "--granularity=default\n--dtype=bf16\n--padding=reference\n--score-size=128\n--block=8\n",
           "only what the stage reads");
    free(args);
    free(c.value[CFG_AUTOQUANT_SPLIT]);
    c.value[CFG_AUTOQUANT_SPLIT] = xstrdup("true");
    args = printed(&c, "autoquant-score");
    ok(strstr(args, "\n--block=8\n--split\n") != NULL, "a flag that is true");
    free(args);
    args = printed(&c, "manifest");
    ok(strstr(args, "\n--overrides={\"*weight_quantizer\": {\"axis\": 0}}\n") != NULL, "the overlay for the manifest");
    free(args);
    args = printed(&c, "report-md");
    is_str(args, "", "a stage that reads nothing");
    free(args);
    config_free(&c);

    for (int id = 0; id < CFG_COUNT; id++)
        for (int u = 0; u < CONFIG_MAX_USES && config_schema[id].use[u].stage; u++) {
            const char *const *s = config_stages;
            while (*s && strcmp(*s, config_schema[id].use[u].stage))
                s++;
            if (!*s)
                ok(false, "%s.%s is for %s, which gets no file", config_schema[id].group, config_schema[id].name,
                   config_schema[id].use[u].stage);
        }
}

/* composed-config.yaml says the same to a YAML reader, whatever the values are. */
static void test_print(void)
{
    struct config c;
    struct err e = {0};
    const struct config_cell cell = {"fp8_fp8", "recipe_match_channel_token", NULL};
    if (!ok(compose(&c, &cell, "model.name=12 dataset.root='a: b #c' dataset.name=\"it's \\\"$x\\\"\"", &e) == 0,
            "awkward values"))
        diag("%s", e.msg);
    char *text = printed(&c, NULL);
    struct yml_node root;
    if (ok(yml_parse(&root, text, strlen(text), "composed", &e) == 0, "composed-config.yaml is YAML"))
        for (int id = 0; id < CFG_COUNT; id++) {
            if (!strcmp(config_schema[id].group, "quant_pair"))
                continue;
            const struct yml_node *group = yml_find(&root, config_schema[id].group);
            const struct yml_node *n = group ? yml_find(group, config_schema[id].name) : NULL;
            char *back = NULL;
            if (!n || (c.value[id] && config_check((enum config_id)id, n, &back, &e)) ||
                (c.value[id] ? strcmp(back, c.value[id]) : !yml_is_null(n)))
                ok(false, "%s.%s reads back", config_schema[id].group, config_schema[id].name);
            free(back);
        }
    struct pair back;
    ok(pair_read(&back, yml_find(&root, "quant_pair"), &e) == 0 && quantizer_equal(&back.weight, &c.pair.weight) &&
           quantizer_equal(&back.activation, &c.pair.activation) && back.activation.granularity == QG_TOKEN &&
           !strcmp(back.recipe_name, "FP8_PER_CHANNEL_PER_TOKEN_CFG"),
       "the merged pair reads back");
    yml_free(&root);
    free(text);
    config_free(&c);
}

int main(void)
{
    test_faults();
    test_overrides();
    test_bomb();
    test_escape();
    test_pairs();
    test_bundled();
    test_derived();
    test_args();
    test_print();
    return done();
}
