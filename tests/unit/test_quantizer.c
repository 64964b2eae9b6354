/* quantizer: canonical keys, names, bits, and the combinations that are refused. */
#include "quantizer.h"
#include "tap.h"

static const struct {
    struct quantizer q;
    const char *key;
} keys[] = {
    {{QF_NONE, QG_TENSOR, 0, false}, "none"},
    {{QF_NONE, QG_BLOCK, 16, true}, "none"}, /* nothing else matters where nothing is quantized */
    {{QF_FP8, QG_TENSOR, 0, false}, "fp8/tensor"},
    {{QF_FP8, QG_TENSOR, 0, true}, "fp8/tensor/dynamic"},
    {{QF_FP8, QG_TOKEN, 0, true}, "fp8/token"},
    {{QF_INT8, QG_OUT_CHANNEL, 0, false}, "int8/out_channel"},
    {{QF_INT8, QG_IN_CHANNEL, 0, false}, "int8/in_channel"},
    {{QF_INT4, QG_BLOCK, 128, false}, "int4/block128"},
    {{QF_FP4, QG_BLOCK, 16, true}, "fp4/block16"},
    {{QF_MXFP4, QG_BLOCK, 32, true}, "mxfp4/block32"},
    {{QF_INT4, QG_BLOCK, 65536, false}, "int4/block65536"},
};

static const struct {
    struct quantizer q;
    bool is_weight;
    const char *message; /* NULL: allowed */
} checks[] = {
    {{QF_NONE, QG_TENSOR, 0, false}, true, NULL},
    {{QF_FP4, QG_BLOCK, 16, true}, true, NULL},
    {{QF_FP4, QG_BLOCK, 32, true}, true, "fp4 weights have blocks of 16, not 32"},
    {{QF_FP4, QG_OUT_CHANNEL, 0, true}, true, "fp4 weights need block scales"},
    {{QF_MXFP4, QG_BLOCK, 32, true}, true, NULL},
    {{QF_MXFP4, QG_BLOCK, 16, true}, true, "mxfp4 weights have blocks of 32, not 16"},
    {{QF_MXFP4, QG_TENSOR, 0, true}, true, "mxfp4 weights need block scales"},
    {{QF_INT8, QG_TOKEN, 0, true}, true, "a weight has no tokens"},
    {{QF_INT4, QG_BLOCK, 1, false}, true, "a block of 1 elements"},
    {{QF_INT4, QG_BLOCK, 65537, false}, true, "a block of 65537 elements"},
    {{QF_INT4, QG_BLOCK, 65536, false}, true, NULL},
    {{QF_FP8, QG_TENSOR, 0, false}, false, NULL},
    {{QF_FP8, QG_TENSOR, 0, true}, false, NULL},
    {{QF_INT8, QG_TOKEN, 0, true}, false, NULL},
    {{QF_INT8, QG_TOKEN, 0, false}, false, "per-token activation scales are dynamic"},
    {{QF_INT8, QG_OUT_CHANNEL, 0, false}, false, "an activation is quantized per tensor or per token"},
    {{QF_FP8, QG_BLOCK, 16, false}, false, "an activation is quantized per tensor or per token"},
    {{QF_FP4, QG_BLOCK, 16, true}, false, "fp4 activations are not supported"},
    {{QF_MXFP4, QG_BLOCK, 32, true}, false, "mxfp4 activations are not supported"},
};

int main(void)
{
    const size_t n_keys = sizeof keys / sizeof *keys;
    for (size_t i = 0; i < n_keys; i++) {
        char key[QUANTIZER_KEY];
        quantizer_key(&keys[i].q, key);
        is_str(key, keys[i].key, "canonical key");
        for (size_t j = 0; j < i; j++)
            if (quantizer_equal(&keys[i].q, &keys[j].q) != !strcmp(keys[i].key, keys[j].key))
                ok(false, "%s equals %s", keys[i].key, keys[j].key);
    }
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        struct err e = {0};
        char key[QUANTIZER_KEY];
        quantizer_key(&checks[i].q, key);
        const int rc = quantizer_check(&checks[i].q, checks[i].is_weight, &e);
        const char *want = checks[i].message, *side = checks[i].is_weight ? "weight" : "activation";
        if (!ok(want ? rc < 0 && e.code == ERR_CONFIG && strstr(e.msg, want) : rc == 0, "%s %s as %s",
                want ? "refuses" : "allows", key, side))
            diag("%s", e.msg);
    }
    for (int f = 0; f < QF_COUNT; f++)
        ok(quant_format_of_name(quant_format_name((enum quant_format)f)) == (enum quant_format)f, "format %s",
           quant_format_name((enum quant_format)f));
    for (int g = 0; g < QG_COUNT; g++)
        ok(quant_granularity_of_name(quant_granularity_name((enum quant_granularity)g)) == (enum quant_granularity)g,
           "granularity %s", quant_granularity_name((enum quant_granularity)g));
    ok(quant_format_of_name("fp9") == QF_COUNT && quant_format_of_name("") == QF_COUNT, "unknown format");
    ok(quant_granularity_of_name("row") == QG_COUNT, "unknown granularity");
    ok(quant_format_bits(QF_FP4) == 4 && quant_format_bits(QF_MXFP4) == 4 && quant_format_bits(QF_INT4) == 4 &&
           quant_format_bits(QF_FP8) == 8 && quant_format_bits(QF_INT8) == 8 && quant_format_bits(QF_NONE) == 16,
       "bits without scales");
    return done();
}
