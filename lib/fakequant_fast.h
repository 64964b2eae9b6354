/* fakequant_fast - steps of fakequant.h in instructions that a GPU has many of: the same values bit for bit, which
 * tests/unit/test_fakequant_fast.c shows for every argument. No comparison of the value itself, no division. */
#ifndef FAKEQUANT_FAST_H
#define FAKEQUANT_FAST_H
#include "fakequant.h"

/* a >= 0 rounded to the nearest multiple, even where two are as near, of `step` of its power of two, and of that of
 * `lowest` below it: adding 2^23 steps leaves no bit under the step. NaN stays. */
INLINE float round_to_steps(float a, float lowest, float steps)
{
    const uint32_t u = f32_bits(a) & 0x7f800000, v = f32_bits(lowest);
    const float big = f32_from_bits(u > v ? u : v) * steps;
    return (a + big) - big;
}
/* e4m3_round_abs and e2m1_round_abs of what is not above 448 and 6. */
INLINE float e4m3_round_fast(float a)
{
    return round_to_steps(a, 0x1p-6f, 0x1p20f);
}
INLINE float e2m1_round_fast(float a)
{
    return round_to_steps(a, 1.0f, 0x1p22f);
}

/* What divides by a scale, made once for many quotients. 2^-126 <= scale < 2^64, or it is 0 or NaN; small ones are
 * taken 2^64 times as large, so that no step below leaves the normal numbers. */
struct int_divisor {
    float scale, inv, up;
};
INLINE struct int_divisor int_divisor_of(float scale)
{
    struct int_divisor d;
    d.up = scale < 0x1p-62f ? 0x1p64f : 1.0f;
    d.scale = scale * d.up;
    d.inv = 1.0f / d.scale;
    return d;
}
/* c / scale for integers |c| <= 128, up to the sign of a zero. Markstein's step: the remainder is exact, and so the
 * last rounding is the right one. */
INLINE float int_quotient(float c, struct int_divisor d)
{
    const float q = c * d.inv;
    return fmaf(fmaf(-q, d.scale, c), d.inv, q) * d.up;
}

#endif
