/* exp_near_f32 against exp_f32, bit for bit: every float of its range, and that beyond it they differ. exp_near_fused
 * over a dense sample, against the libm in double. */
#include "vecmath_fast.h"

#include "tap.h"

/* How many floats from 0 to `last` have another exponential, under the sign bits `sign`. */
static uint32_t differing(float last, uint32_t sign)
{
    uint32_t n = 0;
    for (uint32_t u = 0; u <= f32_bits(last); u++) {
        const float x = f32_from_bits(u | sign);
        n += f32_bits(exp_near_f32(x)) != f32_bits(exp_f32(x));
    }
    return n;
}

/* The largest error over the range, in ulps. */
static double worst(float (*f)(float))
{
    double most = 0;
    for (uint32_t u = 0; u <= f32_bits(EXP_NEAR); u += 509)
        for (int side = 0; side < 2; side++) {
            const float x = f32_from_bits(side ? u | 0x80000000u : u);
            const double want = exp((double)x), error = fabs((double)f(x) - want) / ldexp(1, ilogb(want) - 23);
            most = error <= most ? most : error; /* NaN is the worst */
        }
    return most;
}
static float coarse(float x)
{
    return exp_near_fused(x) * 0x1.000004p0f;
}

int main(void)
{
    const uint32_t up = differing(EXP_NEAR, 0), down = differing(EXP_NEAR, 0x80000000u);
    ok(up == 0, "exp_near_f32: %u floats of 0 to 86 differ", up);
    ok(down == 0, "exp_near_f32: %u floats of -86 to 0 differ", down);
    ok(exp_near_f32(-88) != exp_f32(-88), "beyond its range it would differ");
    at_most(worst(exp_near_fused), 1, "exp_near_fused: ulps");
    ok(!(worst(coarse) <= 1), "an error of two steps is seen");
    return done();
}
