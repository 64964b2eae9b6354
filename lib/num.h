/* num - bf16 and fp16 scalars, bit-exact, round to nearest even. Inline, so that loops over them vectorise.
 * FP8, FP4 and integer formats: quantizer.h. */
#ifndef NUM_H
#define NUM_H
#include <stdint.h>
#include <string.h>

#include "inline.h"

INLINE uint32_t f32_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}
INLINE float f32_from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, 4);
    return x;
}

INLINE float bf16_to_f32(uint16_t h)
{
    return f32_from_bits((uint32_t)h << 16);
}
/* NaN stays NaN (quiet); values that round past the largest bf16 become infinite. */
INLINE uint16_t bf16_from_f32(float x)
{
    const uint32_t u = f32_bits(x);
    const uint32_t rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16, nan = (u >> 16) | 0x40;
    return (uint16_t)((u & 0x7fffffff) > 0x7f800000 ? nan : rounded);
}
/* x rounded to bf16, still an fp32. */
INLINE float bf16_round(float x)
{
    const uint32_t u = f32_bits(x);
    const uint32_t rounded = (u + 0x7fff + (u >> 16 & 1)) & 0xffff0000u;
    return f32_from_bits((u & 0x7fffffff) > 0x7f800000 ? u | 0x400000 : rounded);
}
/* x rounded once to bf16 from double (through fp32 by round-to-odd, so there is no double rounding). */
INLINE float bf16_round_f64(double x)
{
    float f = (float)x;
    uint32_t u = f32_bits(f);
    if ((u & 0x7f800000) != 0x7f800000 && (double)f != x) {
        const int away = f > 0 || (f == 0 && x > 0) ? (double)f > x : (double)f < x;
        if (away) /* step back toward zero, then make the last bit sticky */
            u--;
        u |= 1;
    }
    return bf16_round(f32_from_bits(u));
}

INLINE float fp16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 0x3ff;
    if (e == 31)
        return f32_from_bits(sign | 0x7f800000 | m << 13);
    if (e == 0) {
        const float x = (float)m * 0x1p-24f;
        return sign ? -x : x;
    }
    return f32_from_bits(sign | (e + 112) << 23 | m << 13);
}
/* NaN stays NaN (quiet); values that round past 65504 become infinite. */
INLINE uint16_t fp16_from_f32(float x)
{
    const uint32_t u = f32_bits(x), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    if (a > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x1ff));
    if (a >= 0x477ff000) /* 65520, halfway to 2^16 */
        return (uint16_t)(sign | 0x7c00);
    if (a <
        0x38800000) /* below 2^-14: adding 0.5 leaves the multiple of 2^-24 in the low bits, rounded by the addition */
        return (uint16_t)(sign | (f32_bits(f32_from_bits(a) + 0.5f) - 0x3f000000));
    return (uint16_t)(sign | (a - 0x38000000 + 0xfff + (a >> 13 & 1)) >> 13);
}

#endif
