#include "fakequant.h"

float abs_max(const float *x, size_t n)
{
    int32_t m = 0; /* an integer, as in abs_larger, and all the way: compilers see a reduction */
    for (size_t i = 0; i < n; i++) {
        const int32_t u = (int32_t)(f32_bits(x[i]) & 0x7fffffff);
        m = u > m ? u : m;
    }
    return f32_from_bits((uint32_t)m);
}

static void fill_zero(float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = 0;
}

static float int_max(enum quant_format f)
{
    return f == QF_INT8 ? 127.0f : 7.0f;
}

/* The integer kernels give zero under amax < 2^-24; FP8 divides by it, and where 448/amax overflows the result would be
 * NaN: newer ModelOpt gives zero there, and so do we. */
static bool gives_zero(enum quant_format f, float amax)
{
    return f == QF_FP8 ? !(448.0f / amax <= 0x1.fffffep127f) && amax == amax : amax < 0x1p-24f;
}

void fakequant_run(enum quant_format f, float *y, const float *x, size_t n, float amax)
{
    if (gives_zero(f, amax)) {
        fill_zero(y, n);
        return;
    }
    if (f == QF_FP8) {
        const float scale = 448.0f / amax, inv = 1.0f / scale;
        for (size_t i = 0; i < n; i++)
            y[i] = fp8_fake(x[i], scale, inv);
    } else {
        const float qmax = int_max(f), scale = qmax / amax;
        for (size_t i = 0; i < n; i++)
            y[i] = int_fake(x[i], scale, qmax);
    }
}

/* One format and no branch a loop, so that compilers vectorise. */
static void fp8_each(float *y, const float *x, size_t n, const float *amax)
{
    for (size_t i = 0; i < n; i++) {
        const float scale = 448.0f / amax[i], v = fp8_fake(x[i], scale, 1.0f / scale);
        y[i] = gives_zero(QF_FP8, amax[i]) ? 0 : v;
    }
}

static void int_each(float *y, const float *x, size_t n, const float *amax, float qmax)
{
    for (size_t i = 0; i < n; i++) {
        const float v = int_fake(x[i], qmax / amax[i], qmax);
        y[i] = gives_zero(QF_INT8, amax[i]) ? 0 : v;
    }
}

void fakequant_each(enum quant_format f, float *y, const float *x, size_t n, const float *amax)
{
    if (f == QF_FP8)
        fp8_each(y, x, n, amax);
    else
        int_each(y, x, n, amax, int_max(f));
}

/* The blocks are inlined for their full size, where the loops need no remainder. */
static inline __attribute__((always_inline)) void nvfp4_block(float *y, const float *x, size_t n, float global)
{
    const float ratio = abs_max(x, n) / (6.0f * global);
    const float block = e4m3_round_abs(ratio) * global, scale = block < 1e-5f ? 1.0f : block;
    /* The reference kernel divides with div.full.f32; multiplying by the rounded reciprocal is closest to it. */
    const float inv = 1.0f / scale;
    for (size_t i = 0; i < n; i++)
        y[i] = nvfp4_fake(x[i], scale, inv);
}

void fakequant_nvfp4(float *y, const float *x, size_t n, float amax_tensor)
{
    enum { BLOCK = 16 };
    float global = amax_tensor * (1.0f / 2688.0f);
    global = global <= 0 ? 1e-12f : global;
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK)
        nvfp4_block(y + i, x + i, BLOCK, global);
    if (i < n)
        nvfp4_block(y + i, x + i, n - i, global);
}

/* 2^e for -127 <= e <= 127 */
static float power_of_two(int e)
{
    return e < -126 ? 0x1p-127f : f32_from_bits((uint32_t)(e + 127) << 23);
}

static inline __attribute__((always_inline)) void mxfp4_block(float *y, const float *x, size_t n)
{
    const float amax = abs_max(x, n);
    const uint32_t u = f32_bits(amax / 6.0f);
    const int ceil_log2 = (int)(u >> 23) - 127 + ((u & 0x7fffff) != 0);
    const int e = !(amax > 0) || amax > 0x1.fffffep127f ? 0 : ceil_log2;
    const float scale = power_of_two(e), inv = power_of_two(-e);
    for (size_t i = 0; i < n; i++)
        y[i] = mxfp4_fake(x[i], scale, inv);
}

void fakequant_mxfp4(float *y, const float *x, size_t n)
{
    enum { BLOCK = 32 };
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK)
        mxfp4_block(y + i, x + i, BLOCK);
    if (i < n)
        mxfp4_block(y + i, x + i, n - i);
}

void fakequant_row(const struct quantizer *q, float *y, const float *x, size_t D, const float *amax)
{
    if (q->format == QF_FP4)
        fakequant_nvfp4(y, x, D, *amax);
    else if (q->format == QF_MXFP4)
        fakequant_mxfp4(y, x, D);
    else
        switch (q->granularity) {
        case QG_TENSOR: fakequant_run(q->format, y, x, D, *amax); return;
        case QG_IN_CHANNEL: fakequant_each(q->format, y, x, D, amax); return;
        case QG_OUT_CHANNEL:
        case QG_TOKEN: fakequant_run(q->format, y, x, D, abs_max(x, D)); return;
        case QG_BLOCK:
            for (size_t i = 0; i < D; i += (size_t)q->block) {
                const size_t k = D - i < (size_t)q->block ? D - i : (size_t)q->block;
                fakequant_run(q->format, y + i, x + i, k, abs_max(x + i, k));
            }
            return;
        case QG_COUNT: break;
        }
}
