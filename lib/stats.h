/* stats - values with their errors, from independent sequences drawn from one population.
 *
 * An estimate is a value, its standard error and a 95 % interval. The sums over sequences are positive and have heavy
 * right tails, so the interval is Student's t on the logarithm (delta method: se(log v) = se / v):
 *   low, high = value * exp(-+ t * se / value), t = 97.5 % quantile with n - 1 degrees of freedom; 0 to 0 where value
 *   is 0. It cannot reach below 0, and misses on both sides more evenly than value -+ t * se does (docs/statistics.md
 *   has the measured coverage of both, and of others).
 * With fewer than two sequences there is no error: se, low and high are NaN. */
#ifndef STATS_H
#define STATS_H
#include <stdint.h>

struct estimate {
    double value, se, low, high;
};

/* t with P(|T| < t) = 0.95 for Student's T with df >= 1 degrees of freedom. */
double stats_t(int64_t df);
/* The estimate of a value with this standard error; t of stats_t, NaN where there is none. */
struct estimate stats_estimate(double value, double se, double t);

/* Of n values x[i * stride] >= 0, t = stats_t(n - 1); each result is multiplied by `scale`.
 * Mean: se = sd / sqrt(n). */
struct estimate stats_mean(const double *x, int64_t stride, int64_t n, double t, double scale);
/* sum x / sum y, 0 where sum y is 0: se = sqrt(n / (n - 1) * sum (x_i - ratio * y_i)^2) / sum y, the delta method. */
struct estimate stats_ratio(const double *x, int64_t stride, const int32_t *y, int64_t n, double t, double scale);

#endif
