/* vecmath - exp, exp2 and sigmoid in fp32 as straight-line code that compilers vectorise; the same result on every
 * machine. exp, exp2: error under 1 ulp, gradual underflow, overflow gives infinity. sigmoid: under 2.5 ulp, zero where
 * exp(-x) overflows (x < -88.7). All are monotone, and NaN stays. */
#ifndef VECMATH_H
#define VECMATH_H
#include "num.h"

/* e^r for |r| <= ln2/2, times 2^n: minimax coefficients of Cephes expf. */
INLINE float exp_reduced(float r, int32_t n)
{
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    const int32_t half = n >> 1; /* two factors, so that neither over- nor underflows by itself */
    return p * f32_from_bits((uint32_t)(half + 127) << 23) * f32_from_bits((uint32_t)(n - half + 127) << 23);
}

/* Nearest integer of x (|x| < 2^21) as float and as int, without a conversion instruction. */
INLINE float round_split(float x, int32_t *n)
{
    const float magic = 0x1.8p23f, t = x + magic;
    *n = (int32_t)(f32_bits(t) - f32_bits(magic));
    return t - magic;
}

INLINE float exp_f32(float x)
{
    int32_t n;
    const float c = x > 89.0f ? 89.0f : x < -104.5f ? -104.5f : x;
    const float k = round_split(c * 1.44269504f, &n);
    return exp_reduced((c - k * 0.693359375f) - k * -2.12194440e-4f, n);
}

INLINE float exp2_f32(float x)
{
    int32_t n;
    const float c = x > 128.5f ? 128.5f : x < -151.0f ? -151.0f : x;
    const float k = round_split(c, &n);
    return exp_reduced((c - k) * 0.69314718f, n);
}

INLINE float sigmoid_f32(float x)
{
    return 1.0f / (1.0f + exp_f32(-x));
}

#endif
