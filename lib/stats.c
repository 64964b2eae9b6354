#include "stats.h"

#include <math.h>

enum { SERIES = 1000 };

/* P(|T| < t) for df degrees of freedom: the finite series of Abramowitz and Stegun, 26.7.3 and 26.7.4. */
static double t_within(double t, int64_t df)
{
    const double theta = atan(t / sqrt((double)df)), c2 = cos(theta) * cos(theta);
    const int64_t odd = df & 1;
    double term = odd ? cos(theta) : 1, sum = df > 1 ? term : 0;
    for (int64_t k = 2 + odd; k <= df - 2; k += 2) {
        term *= c2 * (double)(k - 1) / (double)k;
        sum += term;
    }
    return odd ? M_2_PI * (theta + sin(theta) * sum) : sin(theta) * sum;
}

double stats_t(int64_t df)
{
    static const double z = 1.959963984540054;
    if (df < 1)
        return NAN;
    if (df > SERIES) /* Cornish and Fisher's expansion, here right to 1e-9 */
        return z + (pow(z, 3) + z) / (4.0 * (double)df) +
               (5 * pow(z, 5) + 16 * pow(z, 3) + 3 * z) / (96.0 * (double)df * (double)df);
    double low = 1.9, high = 13; /* 12.7 with one degree of freedom */
    for (int i = 0; i < 60; i++) {
        const double middle = (low + high) / 2;
        if (t_within(middle, df) < 0.95)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

struct estimate stats_estimate(double value, double se, double t)
{
    if (!isfinite(t) || !isfinite(se))
        return (struct estimate){value, NAN, NAN, NAN};
    if (!(value > 0))
        return (struct estimate){value, se, value, value};
    const double factor = exp(t * se / value);
    return (struct estimate){value, se, value / factor, value * factor};
}

static double sum_of(const double *x, int64_t stride, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i * stride];
    return sum;
}

struct estimate stats_mean(const double *x, int64_t stride, int64_t n, double t, double scale)
{
    const double mean = n ? sum_of(x, stride, n) / (double)n : 0;
    double squares = 0;
    for (int64_t i = 0; i < n; i++)
        squares += (x[i * stride] - mean) * (x[i * stride] - mean);
    const double se = n < 2 ? NAN : sqrt(squares / (double)(n - 1) / (double)n);
    return stats_estimate(scale * mean, scale * se, t);
}

struct estimate stats_ratio(const double *x, int64_t stride, const int32_t *y, int64_t n, double t, double scale)
{
    double below = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        below += (double)y[i];
    if (!(below > 0))
        return (struct estimate){0, NAN, NAN, NAN};
    const double ratio = sum_of(x, stride, n) / below;
    for (int64_t i = 0; i < n; i++) {
        const double d = x[i * stride] - ratio * (double)y[i];
        squares += d * d;
    }
    const double se = n < 2 ? NAN : sqrt((double)n / (double)(n - 1) * squares) / below;
    return stats_estimate(scale * ratio, scale * se, t);
}
