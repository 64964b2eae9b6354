/* fakequant - the arithmetic of the formats: quantize to a format and back, in fp32. The one place that knows it.
 *
 * Scalars are inline so that loops over them vectorise; every step is one IEEE fp32 operation. What a kernel of the
 * reference does otherwise (fast division) is noted where it matters. Zero-amax runs quantize to zero.
 * Source: NVIDIA ModelOpt 0.39, tensor_quant.cu, tensor_quant_mx.h, triton/fp4_kernel.py; see numerics in the README.
 */
#ifndef FAKEQUANT_H
#define FAKEQUANT_H
#include <math.h>
#include <stdbool.h>
#include <stddef.h>

#include "num.h"
#include "quantizer.h"

/* |x| rounded to E4M3 (nearest even, steps of 2^-9 under 2^-6, saturating at 448). NaN stays. */
INLINE float e4m3_round_abs(float a)
{
    const float c = a > 448.0f ? 448.0f : a;
    const uint32_t u = f32_bits(c);
    const float normal = f32_from_bits((u + 0x7ffff + (u >> 20 & 1)) & 0xfff00000u);
    const float subnormal = (c + 0x1p14f) - 0x1p14f;
    const float r = c < 0x1p-6f ? subnormal : normal;
    return a != a ? a : r;
}

/* |x| rounded to E2M1 {0 .5 1 1.5 2 3 4 6} (nearest, ties to even, saturating at 6). NaN stays. */
INLINE float e2m1_round_abs(float a)
{
    const float c = a > 6.0f ? 6.0f : a;
    const uint32_t u = f32_bits(c);
    const float normal = f32_from_bits((u + 0x1fffff + (u >> 22 & 1)) & 0xffc00000u);
    const float subnormal = (c + 0x1p22f) - 0x1p22f;
    const float r = c < 1.0f ? subnormal : normal;
    return a != a ? a : r;
}

/* INTn: c = clamp(rint(x*scale), -qmax-1, qmax), y = c/scale, with scale = qmax/amax. */
INLINE float int_fake(float x, float scale, float qmax)
{
    float c = rintf(x * scale);
    c = c > qmax ? qmax : c;
    c = c < -qmax - 1 ? -qmax - 1 : c;
    return c / scale;
}

/* E4M3: y = e4m3(x*scale) * inv, with scale = 448/amax, inv = 1/scale. */
INLINE float fp8_fake(float x, float scale, float inv)
{
    const float v = x * scale;
    return copysignf(e4m3_round_abs(fabsf(v)), v) * inv;
}

/* |x| in E2M1 under a block scale, given as its value and the factor that divides by it. The two FP4 formats give
 * zeros different signs: NVFP4 always +0, MXFP4 -0 unless x > 0. */
INLINE float fp4_fake_abs(float x, float scale, float inv)
{
    return e2m1_round_abs(fabsf(x) * inv) * scale;
}
INLINE float nvfp4_fake(float x, float scale, float inv)
{
    const float a = fp4_fake_abs(x, scale, inv);
    return x < 0 ? 0 - a : a;
}
INLINE float mxfp4_fake(float x, float scale, float inv)
{
    const float a = fp4_fake_abs(x, scale, inv);
    return x > 0 ? a : -a;
}

/* y[n] = fake-quantized x[n] in INT8, INT4 or FP8, all under one amax. y may alias x. */
void fakequant_run(enum quant_format f, float *y, const float *x, size_t n, float amax);
/* The same with an amax for every element. */
void fakequant_each(enum quant_format f, float *y, const float *x, size_t n, const float *amax);
/* NVFP4: blocks of 16, E4M3 block scales under amax_tensor/2688. */
void fakequant_nvfp4(float *y, const float *x, size_t n, float amax_tensor);
/* MXFP4: blocks of 32, power-of-two scales, NVIDIA's ceil rule. */
void fakequant_mxfp4(float *y, const float *x, size_t n);

/* One row of D elements under any quantizer. amax: the value for the row (QG_TENSOR, FP4), the D values of the columns
 * (QG_IN_CHANNEL), else unused. */
void fakequant_row(const struct quantizer *q, float *y, const float *x, size_t D, const float *amax);

/* max(|a|, |b|); NaN if any is. */
INLINE float abs_larger(float a, float b)
{
    /* as integers: NaN is above infinity, so it sticks */
    const int32_t u = (int32_t)(f32_bits(a) & 0x7fffffff), v = (int32_t)(f32_bits(b) & 0x7fffffff);
    return f32_from_bits((uint32_t)(u > v ? u : v));
}
/* max |x[n]|; NaN if any is. */
float abs_max(const float *x, size_t n);

#endif
