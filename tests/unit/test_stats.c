/* stats: quantiles against tables, estimates against values worked by hand. */
#include "stats.h"

#include "rng.h"
#include "tap.h"

static bool near(double a, double b, double tolerance)
{
    return fabs(a - b) <= tolerance * fabs(b);
}

/* Student's t, two-sided 95 %, from an independent implementation (SciPy 1.17). */
static void test_t(void)
{
    static const struct {
        int64_t df;
        double t;
    } row[] = {
        {1, 12.706204736174694},   {2, 4.302652729749462},    {3, 3.1824463052837078},    {4, 2.7764451051977934},
        {5, 2.5705818356363146},   {7, 2.364624251592784},    {15, 2.131449545559776},    {127, 1.9788195347028539},
        {999, 1.9623414611334493}, {1000, 1.962339080826408}, {1001, 1.9623367052808798}, {1000000, 1.959966356814107},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        ok(near(stats_t(row[i].df), row[i].t, 2e-9), "t with %lld degrees of freedom: %.12f", (long long)row[i].df,
           stats_t(row[i].df));
    ok(isnan(stats_t(0)) && isnan(stats_t(-1)), "none without a degree of freedom");
}

static bool is(struct estimate e, double value, double se, double t, double tolerance)
{
    const double factor = exp(t * se / value);
    return near(e.value, value, tolerance) && near(e.se, se, tolerance) && near(e.low, value / factor, tolerance) &&
           near(e.high, value * factor, tolerance) && e.low < e.value && e.value < e.high;
}

static bool no_error(struct estimate e, double value)
{
    return e.value == value && isnan(e.se) && isnan(e.low) && isnan(e.high);
}

static void test_estimates(void)
{
    static const double x[] = {1, 9, 2, 9, 6, 9}; /* every second one: 1, 2, 6, mean 3, variance 7 */
    static const int32_t y[] = {1, 1, 4}, none[] = {0, 0, 0};
    ok(is(stats_mean(x, 2, 3, 2, 1), 3, sqrt(7.0 / 3), 2, 1e-15), "a mean");
    ok(is(stats_mean(x, 2, 3, 2, 0.5), 1.5, sqrt(7.0 / 3) / 2, 2, 1e-15), "half of it");
    /* 9 / 6 = 1.5; 1 - 1.5, 2 - 1.5, 6 - 6: squares add up to 0.5 */
    ok(is(stats_ratio(x, 2, y, 3, 2, 1), 1.5, sqrt(3.0 / 2 * 0.5) / 6, 2, 1e-15), "a ratio of sums");
    ok(no_error(stats_mean(x, 1, 1, NAN, 2), 2), "one sequence: a mean without error");
    ok(no_error(stats_ratio(x, 1, y, 1, NAN, 2), 2), "and a ratio");
    ok(no_error(stats_ratio(x, 2, none, 3, 2, 1), 0), "a ratio to nothing");
    const struct estimate zero = stats_estimate(0, 0, 2);
    ok(zero.value == 0 && zero.se == 0 && zero.low == 0 && zero.high == 0, "no score, no error");
}

/* Samples of 20 from exp(0.8 N(0, 1)), as heavy-tailed as scores are. Student's t as it is misses more. */
static void test_coverage(void)
{
    enum { SAMPLES = 20000, N = 20 };
    struct rng rng = {7};
    int covered = 0, too_high = 0, plain = 0;
    const double mean = exp(0.32), t = stats_t(N - 1);
    for (int k = 0; k < SAMPLES; k++) {
        double x[N];
        for (int i = 0; i < N; i++) {
            double normal = -6;
            for (int j = 0; j < 12; j++)
                normal += (double)(rng_bits(&rng) >> 11) * 0x1p-53;
            x[i] = exp(0.8 * normal);
        }
        const struct estimate e = stats_mean(x, 1, N, t, 1);
        covered += e.low <= mean && mean <= e.high;
        too_high += mean < e.low;
        plain += fabs(mean - e.value) <= t * e.se;
    }
    ok(covered >= 0.908 * SAMPLES && covered <= 0.96 * SAMPLES, "intervals of 20 heavy-tailed values cover %.1f %%",
       100.0 * covered / SAMPLES);
    ok(plain < 0.905 * SAMPLES, "  value -+ t se: %.1f %%", 100.0 * plain / SAMPLES);
    ok(too_high >= 0.008 * SAMPLES && too_high <= 0.03 * SAMPLES, "  %.1f %% lie too high", 100.0 * too_high / SAMPLES);
}

int main(void)
{
    test_t();
    test_estimates();
    test_coverage();
    return done();
}
