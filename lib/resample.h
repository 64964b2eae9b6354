/* resample - the error of batch-normalised scores, rank intervals and tie bands, by resampling sequences.
 *
 * Where the error comes from. Sequence i has r_i, the sum of its (G (Yq - Y))^2 with gradients of the *summed*
 * cross-entropy, and n_i targets. The score takes gradients of the mean over a batch b of k sequences:
 *   score = sum_b s_b^2 sum_{i in b} r_i,   s_b = 1 / N_b,  N_b = sum_{i in b} n_i.
 * The addends x_i = s_b^2 r_i of a batch share N_b, which moves with every sequence of the batch, so sqrt(S var(x)) is
 * not the score's error (11 % too small on the bundled model). To first order in r and n, with means r, n,
 *   score = const + sum_b (k_b n)^-2 sum_{i in b} d_i,   d_i = (r_i - r) - 2 (r / n) (n_i - n),
 *   var(score) = var(d) / n^4 * sum_b k_b^-3.
 * That holds for batches of 8 and more, not for batches of one or two, nor with a last batch of few sequences, which
 * weighs most. So the score is taken anew from S sequences drawn with replacement into batches of the same sizes,
 * rounded as it is rounded, RESAMPLES times; the standard error is the standard deviation of those, times
 * sqrt(S / (S - 1)), which makes it exact for sums. Its own error from their number is 2 %. Tests compare all three
 * with the spread of simulated scores.
 *
 * All columns (units, groups, pairs) see the same draws, and these depend on S alone: differences between columns are
 * differences between what was measured, not between draws. Only sums and products: the same on every machine. */
#ifndef RESAMPLE_H
#define RESAMPLE_H
#include <stdbool.h>
#include <stdint.h>

enum { RESAMPLES = 1000 };

/* What the draws need to know of the S scored sequences. */
struct resample_data {
    int64_t n_seqs;
    int batch_size;        /* the last batch may be smaller */
    bool bf16;             /* loss scales are rounded to bf16 */
    const int32_t *n_loss; /* [S] targets */
    const double *r;       /* [S, columns] */
    int columns;
};

/* The scores of all draws, a new array [RESAMPLES, columns]; the caller frees. */
double *resample_scores(const struct resample_data *d);
/* Standard error of a column of them; NaN where S is below 2. */
double resample_se(const double *scores, const struct resample_data *d, int column);

/* value: rank by score, 1 = largest, ties in order. low to high: what the rank is in 95 % of the draws (2.5 % cut off
 * at either end), widened to hold value.
 * band: two groups can be told apart where one scores higher in 97.5 % of the draws or more. Bands are runs of ranks:
 * band 1 begins with rank 1, and each further band with the first group that can be told apart from the first group of
 * the band before. So no group of a band can be told apart from the band's first. This is not transitive: the last of
 * one band and the first of the next often cannot be told apart, and two of a band sometimes can. */
struct rank {
    int value, low, high, band; /* low, high, band 0 where S is below 2 */
};

/* Ranks of n columns from `first` on, whose scores are score[n]. */
void resample_ranks(struct rank *out, const double *score, const double *scores, const struct resample_data *d,
                    int first, int n);

#endif
