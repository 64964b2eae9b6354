/* pair: the 18 files of conf/quant_pair against a table, and pair files with one fault each. */
#include <dirent.h>

#include "json.h"
#include "mem.h"
#include "pair.h"
#include "tap.h"

#define NO_PRESET "CUSTOM_0"
static const struct {
    const char *name, *modelopt_config, *recipe_name, *weight, *activation;
    int bits;
} pairs[] = {
    {"fp4_fp8", "W4A8_NVFP4_FP8_CFG", "W4A8_NVFP4_FP8_CFG", "fp4/block16", "fp8/tensor", 4},
    {"fp4_fp16", "NVFP4_WEIGHT_ONLY_CFG", NO_PRESET, "fp4/block16", "none", 4},
    {"fp8_fp8", "FP8_DEFAULT_CFG", "FP8_DEFAULT_CFG", "fp8/tensor", "fp8/tensor", 8},
    {"fp8_fp16", "FP8_WEIGHT_ONLY_CFG", NO_PRESET, "fp8/tensor", "none", 8},
    {"int8_fp8", "INT8_WEIGHT_FP8_ACT_CFG", NO_PRESET, "int8/out_channel", "fp8/tensor", 8},
    {"int8_fp16", "INT8_WEIGHT_ONLY_CFG", "INT8_WEIGHT_ONLY_CFG", "int8/out_channel", "none", 8},
    {"int8_int8", "INT8_DEFAULT_CFG", "INT8_DEFAULT_CFG", "int8/out_channel", "int8/tensor", 8},
    {"mxfp4_fp8", "W4A8_MXFP4_FP8_CFG", "W4A8_MXFP4_FP8_CFG", "mxfp4/block32", "fp8/tensor/dynamic", 4},
    {"mxfp4_fp16", "MXFP4_WEIGHT_ONLY_CFG", NO_PRESET, "mxfp4/block32", "none", 4},
    {"int4_fp16", "INT4_BLOCKWISE_WEIGHT_ONLY_CFG", "INT4_BLOCKWISE_WEIGHT_ONLY_CFG", "int4/block128", "none", 4},
    {"int4_fp8", "INT4_WEIGHT_FP8_ACT_CFG", NO_PRESET, "int4/block128", "fp8/tensor", 4},
    {"int4_int8", "INT4_WEIGHT_INT8_ACT_CFG", NO_PRESET, "int4/block128", "int8/tensor", 4},
    {"fp4_int8", "NVFP4_WEIGHT_INT8_ACT_CFG", NO_PRESET, "fp4/block16", "int8/tensor", 4},
    {"fp8_int8", "FP8_WEIGHT_INT8_ACT_CFG", NO_PRESET, "fp8/tensor", "int8/tensor", 8},
    {"fp4_int4", "NVFP4_WEIGHT_INT4_ACT_CFG", NO_PRESET, "fp4/block16", "int4/tensor", 4},
    {"fp8_int4", "FP8_WEIGHT_INT4_ACT_CFG", NO_PRESET, "fp8/tensor", "int4/tensor", 4},
    {"int8_int4", "INT8_WEIGHT_INT4_ACT_CFG", NO_PRESET, "int8/out_channel", "int4/tensor", 4},
    {"int4_int4", "INT4_WEIGHT_INT4_ACT_CFG", NO_PRESET, "int4/block128", "int4/tensor", 4},
};
enum { N_PAIRS = sizeof pairs / sizeof *pairs };

static void print(const struct pair *p, char **text, size_t *n)
{
    FILE *f = open_memstream(text, n);
    pair_print(p, f, 0);
    fclose(f);
}

static void test_file(int i, const char *path)
{
    struct pair p, back;
    struct err e = {0};
    if (!ok(pair_load(&p, path, &e) == 0, "%s loads", path)) {
        diag("%s", e.msg);
        return;
    }
    char w[QUANTIZER_KEY], a[QUANTIZER_KEY];
    quantizer_key(&p.weight, w);
    quantizer_key(&p.activation, a);
    is_str(p.name, pairs[i].name, "name");
    is_str(p.modelopt_config, pairs[i].modelopt_config, "modelopt_config");
    is_str(p.recipe_name, pairs[i].recipe_name, "recipe_name");
    is_str(w, pairs[i].weight, "weight");
    is_str(a, pairs[i].activation, "activation");
    ok(pair_bits(&p) == pairs[i].bits, "%d bits", pairs[i].bits);

    char *text, *again;
    size_t n, n_again;
    print(&p, &text, &n);
    ok(pair_parse(&back, text, n, "printed", &e) == 0, "what is printed loads");
    print(&back, &again, &n_again);
    is_str(again, text, "and prints the same again");
    free(text);
    free(again);
}

/* The names that the reference's own results carry. */
static void test_golden(const char *dir)
{
    for (int i = 0; i < N_PAIRS; i++) {
        char *path = xasprintf("%s/scores/n128/%s.bf16.json", dir, pairs[i].name);
        char *want = xasprintf("%s(effective-bits: %d.0)", pairs[i].recipe_name, pairs[i].bits);
        struct err e = {0};
        json_t *doc = json_load(path, JSON_LIMIT_DOCUMENT, &e), *formats = json_object_get(doc, "formats");
        bool found = false;
        for (size_t k = 0; k < json_array_size(formats); k++)
            found |= !strcmp(json_string_value(json_array_get(formats, k)), want);
        ok(found, "the reference's result of %s is called %s", pairs[i].name, want);
        json_decref(doc);
        free(path);
        free(want);
    }
}

#define HEAD "name: x\nmodelopt_config: X_CFG\nrecipe_name: CUSTOM_0\n"
#define GOOD_W "weight: {format: int8, granularity: tensor}\n"
#define GOOD_A "activation: {format: fp16}\n"
static const struct {
    const char *name, *text, *message;
} faults[] = {
    {"empty file", "", "p.yaml:1: a pair file is a mapping"},
    {"list", "- 1\n", "p.yaml:1: a pair file is a mapping"},
    {"syntax", "name: [\n", "p.yaml:2:1: not valid YAML"},
    {"no name", "modelopt_config: X\nrecipe_name: X\n" GOOD_W GOOD_A, "p.yaml:1: missing key 'name'"},
    {"no weight", HEAD GOOD_A, "missing key 'weight'"},
    {"no activation", HEAD GOOD_W, "missing key 'activation'"},
    {"unknown key", HEAD "wieght: {}\n" GOOD_A, "p.yaml:4: unknown key 'wieght'; did you mean 'weight'?"},
    {"unknown quantizer key", HEAD "weight: {format: int8, granularity: tensor, blocks: 3}\n" GOOD_A,
     "p.yaml:4: unknown key 'weight.blocks'; did you mean 'block'?"},
    {"name is a path", "name: a/b\nmodelopt_config: X\nrecipe_name: X\n" GOOD_W GOOD_A,
     "p.yaml:1: name must be a name"},
    {"name is a number", "name: 12\nmodelopt_config: X\nrecipe_name: X\n" GOOD_W GOOD_A, "name must be a name"},
    {"name starts with a point", "name: ..\nmodelopt_config: X\nrecipe_name: X\n" GOOD_W GOOD_A, "name must be a name"},
    {"weight is a word", HEAD "weight: int8\n" GOOD_A, "p.yaml:4: weight must be a mapping such as"},
    {"no format", HEAD "weight: {granularity: tensor}\n" GOOD_A, "missing key 'weight.format'"},
    {"unknown format", HEAD "weight: {format: int7, granularity: tensor}\n" GOOD_A,
     "p.yaml:4: weight.format must be fp4, mxfp4, fp8, int8, int4 or fp16, not 'int7'"},
    {"no granularity", HEAD "weight: {format: int8}\n" GOOD_A, "missing key 'weight.granularity'"},
    {"unknown granularity", HEAD "weight: {format: int8, granularity: row}\n" GOOD_A, "weight.granularity must be"},
    {"block missing", HEAD "weight: {format: int4, granularity: block}\n" GOOD_A, "needs the key 'weight.block'"},
    {"block without blocks", HEAD "weight: {format: int8, granularity: tensor, block: 4}\n" GOOD_A,
     "weight.block is for granularity 'block', not 'tensor'"},
    {"block is a word", HEAD "weight: {format: int4, granularity: block, block: big}\n" GOOD_A,
     "weight.block must be a whole number from 2 to 65536, not 'big'"},
    {"block too large", HEAD "weight: {format: int4, granularity: block, block: 4294967312}\n" GOOD_A,
     "weight.block must be"},
    {"dynamic is a number", HEAD "weight: {format: int8, granularity: tensor, dynamic: 1}\n" GOOD_A,
     "weight.dynamic must be true or false, not '1'"},
    {"fp16 with more", HEAD GOOD_W "activation: {format: fp16, granularity: tensor}\n",
     "p.yaml:5: activation.format fp16 means left as it is"},
    {"fp4 per tensor", HEAD "weight: {format: fp4, granularity: tensor, dynamic: true}\n" GOOD_A,
     "p.yaml:4: weight: fp4 weights need block scales"},
    {"fp4 in blocks of 32", HEAD "weight: {format: fp4, granularity: block, block: 32, dynamic: true}\n" GOOD_A,
     "fp4 weights have blocks of 16, not 32"},
    {"static fp4", HEAD "weight: {format: fp4, granularity: block, block: 16}\n" GOOD_A,
     "p.yaml:4: weight: the scales of fp4 weights are dynamic"},
    {"dynamic int8 weight", HEAD "weight: {format: int8, granularity: tensor, dynamic: true}\n" GOOD_A,
     "the scales of int8 weights are static"},
    {"fp4 activation", HEAD GOOD_W "activation: {format: fp4, granularity: block, block: 16, dynamic: true}\n",
     "p.yaml:5: activation: fp4 activations are not supported"},
    {"static per token", HEAD GOOD_W "activation: {format: fp8, granularity: token}\n", "set 'dynamic: true'"},
    {"nothing quantized", HEAD "weight: {format: fp16}\n" GOOD_A, "there is nothing to measure"},
};

static void test_faults(void)
{
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct pair p;
        struct err e = {0};
        const int rc = pair_parse(&p, faults[i].text, strlen(faults[i].text), "p.yaml", &e);
        if (!ok(rc < 0 && e.code == ERR_CONFIG && strstr(e.msg, faults[i].message), "refused: %s", faults[i].name))
            diag("%d: %s", (int)e.code, e.msg);
    }
}

int main(void)
{
    for (int i = 0; i < N_PAIRS; i++) {
        char *path = xasprintf("conf/quant_pair/%s.yaml", pairs[i].name);
        test_file(i, path);
        free(path);
    }
    int n_files = 0;
    DIR *d = opendir("conf/quant_pair");
    for (struct dirent *entry; d && (entry = readdir(d));)
        n_files += strstr(entry->d_name, ".yaml") != NULL;
    if (d)
        closedir(d);
    ok(n_files == N_PAIRS, "conf/quant_pair holds the %d pairs of the table", N_PAIRS);
    test_faults();
    const char *golden = golden_dir();
    if (golden)
        test_golden(golden);
    else
        ok(true, "names among the reference's results # SKIP no golden files (QSENS_GOLDEN)");
    return done();
}
