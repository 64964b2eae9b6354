/* vecmath over a dense sample of all floats, against the libm in double. */
#include "vecmath.h"

#include <stdint.h>

#include "tap.h"

enum { STRIDE = 509 }; /* odd, so that all low bits occur */

struct function {
    const char *name;
    float (*f)(float);
    double (*exact)(double);
    double ulp;       /* bound over results in the normal range */
    double subnormal; /* bound below it, in steps of 2^-149 */
};

static float call_exp(float x)
{
    return exp_f32(x);
}
static float call_exp2(float x)
{
    return exp2_f32(x);
}
static float call_sigmoid(float x)
{
    return sigmoid_f32(x);
}
static double exact_sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static const struct function functions[] = {
    {"exp", call_exp, exp, 1, 1},
    {"exp2", call_exp2, exp2, 1, 1},
    {"sigmoid", call_sigmoid, exact_sigmoid, 2.5, 0x1p23}, /* flushes to zero */
};

/* |got - want| in steps of fp32 at want. */
static double ulps(float got, double want)
{
    int e;
    frexp(want, &e);
    if (want > 0x1.ffffffp127) /* rounds to infinity */
        return isinf(got) || got == 0x1.fffffep127f ? 0 : INFINITY;
    return fabs((double)got - want) / ldexp(1, (e < -125 ? -125 : e) - 24);
}

static void errors(const struct function *f)
{
    double normal = 0, subnormal = 0;
    float at = 0;
    for (uint64_t u = 0; u <= UINT32_MAX; u += STRIDE) {
        const float x = f32_from_bits((uint32_t)u);
        if (isnan(x))
            continue;
        const double want = f->exact((double)x), err = ulps(f->f(x), want);
        double *worst = want < 0x1p-126 ? &subnormal : &normal;
        if (!(err <= *worst)) {
            if (worst == &normal)
                at = x;
            *worst = err;
        }
    }
    ok(normal <= f->ulp, "%s: %.3f ulp in the normal range (at %a), at most %.3g", f->name, normal, (double)at, f->ulp);
    ok(subnormal <= f->subnormal, "%s: %.3f of the smallest steps below it, at most %.3g", f->name, subnormal,
       f->subnormal);
}

/* From each float to the next, in runs of 4,096 all over the range. */
static void monotone(const struct function *f)
{
    int falls = 0;
    for (float start = -110; start < 130; start += 0.37f) {
        float x = start, y = f->f(x);
        for (int i = 0; i < 4096; i++) {
            const float next = f->f(x = nextafterf(x, 1000));
            falls += !(next >= y);
            y = next;
        }
    }
    ok(falls == 0, "%s: falls %d times", f->name, falls);
}

static void edges(void)
{
    ok(exp_f32(0) == 1 && exp2_f32(0) == 1 && exp_f32(-0.0f) == 1, "exp(0) = 1");
    bool powers = true;
    for (int n = -149; n < 128; n++)
        powers = powers && exp2_f32((float)n) == ldexpf(1, n);
    ok(powers, "exp2 of integers is exact, subnormals included");
    ok(isinf(exp_f32(89)) && isinf(exp_f32(1e30f)) && isinf(exp_f32(INFINITY)), "exp overflows to infinity");
    ok(isinf(exp2_f32(128)) && isinf(exp2_f32(INFINITY)), "exp2 overflows to infinity");
    ok(exp_f32(-104) == 0 && exp_f32(-1e30f) == 0 && exp_f32(-INFINITY) == 0, "exp underflows to 0");
    ok(exp2_f32(-151) == 0 && exp2_f32(-INFINITY) == 0, "exp2 underflows to 0");
    ok(isfinite(exp_f32(88.72283f)) && exp_f32(-103) > 0 && exp2_f32(-149) > 0, "the ends of the range are in it");
    ok(sigmoid_f32(0) == 0.5f && sigmoid_f32(INFINITY) == 1 && sigmoid_f32(-INFINITY) == 0 && sigmoid_f32(100) == 1,
       "sigmoid saturates");
    bool nans = true;
    const uint32_t patterns[] = {0x7fc00000, 0xffc00000, 0x7f800001, 0xffffffff, 0x7fffffff};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        const float x = f32_from_bits(patterns[i]);
        nans = nans && isnan(exp_f32(x)) && isnan(exp2_f32(x)) && isnan(sigmoid_f32(x));
    }
    ok(nans, "every NaN stays NaN");
}

int main(void)
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        errors(&functions[i]);
        monotone(&functions[i]);
    }
    edges();
    return done();
}
