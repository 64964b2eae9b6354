/* config: every fault of files and overrides with its place, canonical values, argument files. */
#include "config.h"
#include "config_compose.h"
#include "mem.h"
#include "tap.h"

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
    {"overlay that does nothing", "quant_granularity", "name: w_group64\n", "must be default, not 'w_group64'"},
    {"list of keys", "model", "- name\n", "f.yaml:1: the keys of model are expected here"},
    {"syntax", "model", "name: [\n", "f.yaml:2:1: not valid YAML"},
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
    {"=8", "override '=8': '' is not a key such as autoquant.dtype"},
    {"block=8", "override 'block=8': 'block' is not a key such as autoquant.dtype"},
    {"dataset.captions='a b", "override 'dataset.captions='a b': a quote is not closed"},
    {"dataset.captions=\"a\\\"", "a quote is not closed"},
    {"dataset.captions='a\nb'", "dataset.captions must be a path on one line"},
    {"dataset.captions=\xff", "dataset.captions must be a path on one line"},
    {"quant_pair.weight.format=fp8", "the pair is chosen by --pair (PAIR=...)"},
    {"quant_pair.name=fp8_fp8", "the pair is chosen by --pair (PAIR=...)"},
    {"quant_granularity.name=default", "quant_granularity.name is chosen by --granularity"},
    {"model.name=null", "model.name must be a name"},
};

static void test_faults(void)
{
    for (size_t i = 0; i < sizeof bad_files / sizeof *bad_files; i++) {
        struct config c;
        struct err e = {0};
        config_init(&c);
        const int rc = config_parse(&c, bad_files[i].group, bad_files[i].text, strlen(bad_files[i].text), "f.yaml", &e);
        if (!ok(rc < 0 && e.code == ERR_CONFIG && strstr(e.msg, bad_files[i].message), "file: %s", bad_files[i].name))
            diag("%d: %s", (int)e.code, e.msg);
        config_free(&c);
    }
    for (size_t i = 0; i < sizeof bad_overrides / sizeof *bad_overrides; i++) {
        struct config c;
        struct err e = {0};
        config_init(&c);
        const int rc = config_override(&c, bad_overrides[i].text, &e);
        if (!ok(rc < 0 && e.code == ERR_CONFIG && strstr(e.msg, bad_overrides[i].message), "override %d", (int)i + 1))
            diag("%d: %s", (int)e.code, e.msg);
        config_free(&c);
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
};

static void test_overrides(void)
{
    for (size_t i = 0; i < sizeof overrides / sizeof *overrides; i++) {
        struct config c;
        struct err e = {0};
        config_init(&c);
        const int rc = config_override(&c, overrides[i].override, &e);
        const char *got = c.value[overrides[i].id], *want = overrides[i].value;
        if (!ok(rc == 0 && (want ? got && !strcmp(got, want) : !got), "override \"%s\"", overrides[i].override))
            diag("%s", rc ? e.msg : got ? got : "null");
        config_free(&c);
    }
}

/* The defaults that conf/ spells out are those of the schema, so either may be read. */
static void test_bundled(void)
{
    static const char *const files[] = {"autoquant", "quant_granularity", "output_layout"};
    struct config plain, c;
    struct err e = {0};
    config_init(&plain);
    config_init(&c);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = xasprintf("conf/%s/default.yaml", files[i]);
        ok(config_read(&c, files[i], path, &e) == 0, "%s", path);
        free(path);
    }
    char *want = printed(&plain, NULL), *got = printed(&c, NULL);
    is_str(got, want, "the files hold the schema's defaults");
    free(want);
    free(got);
    config_free(&plain);
    config_free(&c);
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
        const char *const set[] = {rows[i].set};
        const struct config_request r = {
            .conf = "conf", .preset = "default", .pair = "fp4_fp8", .set = set, .n_set = 1};
        if (!ok(config_compose(&c, &r, &e) == 0, "compose with %s", rows[i].set))
            diag("%s", e.msg);
        is_str(c.value[CFG_DATASET_SIZE], rows[i].size, "size");
        is_str(c.value[CFG_OUTPUT_LAYOUT_SCHEME], rows[i].scheme, "scheme");
        config_free(&c);
    }
}

static void test_args(void)
{
    struct config c;
    struct err e = {0};
    config_init(&c);
    ok(config_override(&c, "dataset.captions='-a $b #c' dataset.allow_short=true dataset.max_samples=16 model.path=m",
                       &e) == 0,
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
    config_init(&c);
    ok(config_override(&c, "model.name=12 model.path='a: b #c' dataset.name=no dataset.captions=\"it's \\\"$x\\\"\"",
                       &e) == 0,
       "awkward values");
    char *text = printed(&c, NULL);
    struct yml_node root;
    if (ok(yml_parse(&root, text, strlen(text), "composed", &e) == 0, "composed-config.yaml is YAML"))
        for (int id = 0; id < CFG_COUNT; id++) {
            const struct yml_node *group = yml_find(&root, config_schema[id].group);
            const struct yml_node *n = group ? yml_find(group, config_schema[id].name) : NULL;
            char *back = NULL;
            if (!n || (c.value[id] && config_check((enum config_id)id, n, "back", &back, &e)) ||
                (c.value[id] ? strcmp(back, c.value[id]) : !yml_is_null(n)))
                ok(false, "%s.%s reads back", config_schema[id].group, config_schema[id].name);
            free(back);
        }
    yml_free(&root);
    free(text);
    config_free(&c);
}

int main(void)
{
    test_faults();
    test_overrides();
    test_bundled();
    test_derived();
    test_args();
    test_print();
    return done();
}
