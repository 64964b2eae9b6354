/* quantizer - what a quantizer is, as data: format, granularity, static or dynamic. The arithmetic is fakequant.h.
 *
 * A weight is [out, in] row-major and quantized along rows of `in`; an activation is [token, in]. */
#ifndef QUANTIZER_H
#define QUANTIZER_H
#include <stdbool.h>
#include <stddef.h>

#include "err.h"

enum quant_format {
    QF_NONE,  /* left as it is ("fp16" in pair names) */
    QF_FP4,   /* NVFP4: E2M1, blocks of 16 with E4M3 scales under one per-tensor scale */
    QF_MXFP4, /* MXFP4: E2M1, blocks of 32 with power-of-two scales */
    QF_FP8,   /* E4M3 */
    QF_INT8,
    QF_INT4,
    QF_COUNT
};

enum quant_granularity {
    QG_TENSOR,      /* one amax; for a dynamic activation, one per calibration batch */
    QG_OUT_CHANNEL, /* one amax per row of a weight */
    QG_IN_CHANNEL,  /* one amax per column of a weight */
    QG_BLOCK,       /* one amax per run of `block` elements of a row (the last run may be short) */
    QG_TOKEN,       /* one amax per row of an activation, always dynamic */
    QG_COUNT
};

struct quantizer {
    enum quant_format format;
    enum quant_granularity granularity;
    int block; /* QG_BLOCK only, else 0 */
    bool dynamic;
};

enum { QUANTIZER_KEY = 40 }; /* bytes of a key, NUL included */

/* Canonical text that identifies a quantizer: "none", "fp8/tensor", "fp8/tensor/dynamic", "int4/block128". Equal keys
 * are equal arithmetic; replays and records are named by it. */
void quantizer_key(const struct quantizer *q, char out[QUANTIZER_KEY]);
bool quantizer_equal(const struct quantizer *a, const struct quantizer *b);

/* Names as in pair files. quant_format_of_name returns QF_COUNT for an unknown name ("fp16" is QF_NONE). */
const char *quant_format_name(enum quant_format f);
enum quant_format quant_format_of_name(const char *name);
const char *quant_granularity_name(enum quant_granularity g);
enum quant_granularity quant_granularity_of_name(const char *name);
/* Bits per element without scales: 4, 8, or 16 for QF_NONE. */
int quant_format_bits(enum quant_format f);

/* Refuse what has no meaning or what the reference refuses: ERR_CONFIG with one sentence that says why.
 * is_weight: a weight's quantizer, else an activation's. */
int quantizer_check(const struct quantizer *q, bool is_weight, struct err *e) MUST_CHECK;

#endif
