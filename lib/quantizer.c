#include "quantizer.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int bits;
} formats[QF_COUNT] = {
    [QF_NONE] = {"fp16", 16}, [QF_FP4] = {"fp4", 4},   [QF_MXFP4] = {"mxfp4", 4},
    [QF_FP8] = {"fp8", 8},    [QF_INT8] = {"int8", 8}, [QF_INT4] = {"int4", 4},
};

static const char *const granularities[QG_COUNT] = {
    [QG_TENSOR] = "tensor", [QG_OUT_CHANNEL] = "out_channel", [QG_IN_CHANNEL] = "in_channel", [QG_BLOCK] = "block",
    [QG_TOKEN] = "token",
};

const char *quant_format_name(enum quant_format f)
{
    return formats[f].name;
}

enum quant_format quant_format_of_name(const char *name)
{
    int f = 0;
    while (f < QF_COUNT && strcmp(formats[f].name, name))
        f++;
    return (enum quant_format)f;
}

const char *quant_granularity_name(enum quant_granularity g)
{
    return granularities[g];
}

enum quant_granularity quant_granularity_of_name(const char *name)
{
    int g = 0;
    while (g < QG_COUNT && strcmp(granularities[g], name))
        g++;
    return (enum quant_granularity)g;
}

int quant_format_bits(enum quant_format f)
{
    return formats[f].bits;
}

void quantizer_key(const struct quantizer *q, char out[QUANTIZER_KEY])
{
    if (q->format == QF_NONE) {
        snprintf(out, QUANTIZER_KEY, "none");
        return;
    }
    char block[12] = "";
    if (q->granularity == QG_BLOCK)
        snprintf(block, sizeof block, "%d", q->block);
    /* static or dynamic makes a difference only where both exist: per tensor, for activations */
    snprintf(out, QUANTIZER_KEY, "%s/%s%s%s", formats[q->format].name, granularities[q->granularity], block,
             q->granularity == QG_TENSOR && q->dynamic ? "/dynamic" : "");
}

bool quantizer_equal(const struct quantizer *a, const struct quantizer *b)
{
    char ka[QUANTIZER_KEY], kb[QUANTIZER_KEY];
    quantizer_key(a, ka);
    quantizer_key(b, kb);
    return !strcmp(ka, kb);
}

static int check_weight(const struct quantizer *q, const char *name, struct err *e)
{
    if (q->granularity == QG_TOKEN)
        return err_set(e, ERR_CONFIG, "a weight has no tokens: granularity 'token' is for activations");
    if (q->format == QF_FP4 || q->format == QF_MXFP4) {
        const int want = q->format == QF_FP4 ? 16 : 32;
        if (q->granularity != QG_BLOCK)
            return err_set(e, ERR_CONFIG,
                           "%s weights need block scales, granularity '%s' has none (the reference refuses it too)",
                           name, granularities[q->granularity]);
        if (q->block != want)
            return err_set(e, ERR_CONFIG, "%s weights have blocks of %d, not %d", name, want, q->block);
    }
    return 0;
}

static int check_activation(const struct quantizer *q, const char *name, struct err *e)
{
    if (q->format == QF_FP4 || q->format == QF_MXFP4)
        return err_set(e, ERR_CONFIG, "%s activations are not supported: use fp8, int8, int4 or fp16", name);
    if (q->granularity != QG_TENSOR && q->granularity != QG_TOKEN)
        return err_set(e, ERR_CONFIG, "an activation is quantized per tensor or per token, not per '%s'",
                       granularities[q->granularity]);
    if (q->granularity == QG_TOKEN && !q->dynamic)
        return err_set(e, ERR_CONFIG, "per-token activation scales are dynamic: set 'dynamic: true'");
    return 0;
}

int quantizer_check(const struct quantizer *q, bool is_weight, struct err *e)
{
    if (q->format == QF_NONE)
        return 0;
    const char *name = formats[q->format].name;
    if (q->granularity == QG_BLOCK && (q->block < 2 || q->block > 65536))
        return err_set(e, ERR_CONFIG, "a block of %d elements is not supported: 2 to 65536", q->block);
    return is_weight ? check_weight(q, name, e) : check_activation(q, name, e);
}
