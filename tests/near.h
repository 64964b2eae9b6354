/* near - comparators of tensors, as doubles. Every one gives a figure that no bound lets pass (infinite error, no bit
 * equal) where the sizes differ, where a value is NaN or infinite, and where all of `want` is zero: a comparison that
 * compares nothing must not pass. */
#ifndef NEAR_H
#define NEAR_H
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct near_pair {
    const double *got, *want;
    size_t n_got, n_want;
};

__attribute__((unused)) static bool near_comparable(struct near_pair p)
{
    double norm = 0;
    if (p.n_got != p.n_want)
        return false;
    for (size_t i = 0; i < p.n_want; i++) {
        if (!isfinite(p.got[i]) || !isfinite(p.want[i]))
            return false;
        norm += fabs(p.want[i]);
    }
    return norm > 0;
}

/* Normalised mean square error: sum (got - want)^2 / sum want^2. */
__attribute__((unused)) static double near_nmse(struct near_pair p)
{
    double d2 = 0, w2 = 0;
    if (!near_comparable(p))
        return INFINITY;
    for (size_t i = 0; i < p.n_want; i++) {
        d2 += (p.got[i] - p.want[i]) * (p.got[i] - p.want[i]);
        w2 += p.want[i] * p.want[i];
    }
    return d2 / w2;
}

/* Worst |got - want| of an element, relative to |want| or, where that is larger, to the root mean square of its row of
 * `width` (1: to |want| alone): sums that cancel are as good as their terms. A row of zeros must be zeros. */
__attribute__((unused)) static double near_worst(struct near_pair p, size_t width)
{
    double worst = 0;
    if (!near_comparable(p) || !width || p.n_want % width)
        return INFINITY;
    for (size_t i = 0; i < p.n_want; i += width) {
        double w2 = 0;
        for (size_t j = i; j < i + width; j++)
            w2 += p.want[j] * p.want[j];
        const double rms = sqrt(w2 / (double)width);
        for (size_t j = i; j < i + width; j++) {
            const double d = fabs(p.got[j] - p.want[j]);
            if (d > 0)
                worst = fmax(worst, d / fmax(fabs(p.want[j]), rms)); /* want 0 in a row of zeros: infinite */
        }
    }
    return worst;
}

/* The fraction of elements that are equal, of those that should not be zero: zeros say little (rows without gradient),
 * and where terms cancel to zero, noise is no error. near_worst looks at both. */
__attribute__((unused)) static double near_equal(struct near_pair p)
{
    size_t equal = 0, n = 0;
    if (!near_comparable(p))
        return -1;
    for (size_t i = 0; i < p.n_want; i++)
        if (p.want[i] != 0) {
            n++;
            equal += p.got[i] == p.want[i];
        }
    return (double)equal / (double)n;
}

/* All bits equal: NaN equals NaN here, zeros differ by their sign. */
__attribute__((unused)) static bool near_identical(struct near_pair p)
{
    if (p.n_got != p.n_want)
        return false;
    for (size_t i = 0; i < p.n_want; i++)
        if (memcmp(&p.got[i], &p.want[i], sizeof *p.got) && !(isnan(p.got[i]) && isnan(p.want[i])))
            return false;
    return p.n_want > 0;
}

#endif
