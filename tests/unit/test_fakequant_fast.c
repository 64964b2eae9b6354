/* The fast steps of the formats against the plain ones, bit for bit: both roundings for every argument, the quotient
 * for every integer and every significand of a scale, and over all exponents of a scale for some of them. */
#include "fakequant_fast.h"
#include "tap.h"

enum { SIGNIFICANDS = 1 << 23 };

static float steps_of_six_bits(float a)
{
    return round_to_steps(a, 0x1p-6f, 0x1p17f);
}

/* How many floats from 0 to `last` two functions round differently. */
static uint32_t differing(float (*f)(float), float (*g)(float), float last)
{
    uint32_t n = 0;
    for (uint32_t u = 0; u <= f32_bits(last); u++)
        n += f32_bits(f(f32_from_bits(u))) != f32_bits(g(f32_from_bits(u)));
    return n;
}

static float without_step(float c, struct int_divisor d)
{
    return c * d.inv * d.up;
}

/* How many of the scales 2^exponent * (1 + i / 2^23), i a multiple of `step`, give another quotient than division. */
static uint32_t wrong(float (*quotient)(float, struct int_divisor), float c, int exponent, uint32_t step)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < SIGNIFICANDS; i += step) {
        const float scale = f32_from_bits((uint32_t)(exponent + 127) << 23 | i);
        n += f32_bits(quotient(c, int_divisor_of(scale))) != f32_bits(c / scale);
    }
    return n;
}

static void test_quotient(void)
{
    uint32_t every = 0, exponents = 0, plain = 0;
    for (int c = 1; c <= 128; c++) {
        every += wrong(int_quotient, (float)c, 0, 1);
        plain += wrong(without_step, (float)c, 0, 4099);
    }
    for (int e = -126; e < 64; e++)
        for (int c = -128; c <= 128; c++)
            exponents +=
                c ? wrong(int_quotient, (float)c, e, 65521) + wrong(int_quotient, (float)c, e, SIGNIFICANDS - 1) : 0;
    ok(every == 0, "int_quotient: %u of all quotients of 1 to 128 differ from division", every);
    ok(exponents == 0, "int_quotient: %u differ over all exponents, where they overflow too", exponents);
    ok(plain > 0, "a product with the reciprocal would differ: %u", plain);
    ok(int_quotient(0, int_divisor_of(127)) == 0, "int_quotient: zero stays");
    ok(isnan(int_quotient(0, int_divisor_of(0))) && isnan(int_quotient(1, int_divisor_of(NAN))) &&
           isnan(int_quotient(NAN, int_divisor_of(1))),
       "int_quotient: NaN where division gives it");
}

int main(void)
{
    uint32_t n = differing(e4m3_round_abs, e4m3_round_fast, 448);
    ok(n == 0, "e4m3_round_fast: %u floats of 0 to 448 are rounded differently", n);
    n = differing(e2m1_round_abs, e2m1_round_fast, 6);
    ok(n == 0, "e2m1_round_fast: %u floats of 0 to 6 are rounded differently", n);
    n = differing(e4m3_round_abs, steps_of_six_bits, 1);
    ok(n > 0, "other steps would differ: %u", n);
    ok(isnan(e4m3_round_fast(NAN)) && isnan(e2m1_round_fast(NAN)), "NaN stays");
    test_quotient();
    return done();
}
