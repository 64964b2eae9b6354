/* vecmath_fast - exp_f32 of vecmath.h where it needs no care for the ends of the range, for a GPU. */
#ifndef VECMATH_FAST_H
#define VECMATH_FAST_H
#include <math.h>

#include "vecmath.h"

/* exp_f32(x), bit for bit, for |x| <= EXP_NEAR: no result and no factor leaves the normal numbers there. The first
 * product is exact, so fmaf rounds as exp_f32 does; the power of two goes to the exponent's bits by one addition. */
#define EXP_NEAR 86.0f
INLINE float exp_near_f32(float x)
{
    const float magic = 0x1.8p23f, t = x * 1.44269504f + magic, k = t - magic;
    const float r = fmaf(-k, 0.693359375f, x) - k * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    return f32_from_bits(f32_bits(p) + (f32_bits(t) << 23));
}
/* The same polynomial with its products and sums fused, for terms of a sum: under 1 ulp too, but not exp_f32's bits. */
INLINE float exp_near_fused(float x)
{
    const float magic = 0x1.8p23f, t = fmaf(x, 1.44269504f, magic), k = t - magic;
    const float r = fmaf(k, 2.12194440e-4f, fmaf(-k, 0.693359375f, x));
    float p = 1.9875691500e-4f;
    p = fmaf(p, r, 1.3981999507e-3f);
    p = fmaf(p, r, 8.3334519073e-3f);
    p = fmaf(p, r, 4.1665795894e-2f);
    p = fmaf(p, r, 1.6666665459e-1f);
    p = fmaf(p, r, 5.0000001201e-1f);
    p = fmaf(p, r * r, r) + 1.0f;
    return f32_from_bits(f32_bits(p) + (f32_bits(t) << 23));
}

#endif
