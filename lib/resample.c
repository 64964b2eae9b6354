#include "resample.h"

#include <math.h>
#include <stdlib.h>

#include "calib.h"
#include "mem.h"
#include "parallel.h"
#include "rng.h"

/* TAIL: 2.5 % of the draws at either end; GRAIN: draws a thread takes at a time */
enum { SEED = 1, TAIL = RESAMPLES / 40, GRAIN = 10 };

struct job {
    const struct resample_data *d;
    double *out;
};

/* Draw number k: sequences into batches in order, weighted by the square of the batch's loss scale. */
static void draw_scores(double *restrict out, const struct resample_data *d, size_t k)
{
    struct rng rng = {rng_mix(SEED) ^ rng_mix(k)};
    const size_t columns = (size_t)d->columns;
    int *drawn = xmalloc((size_t)d->batch_size, sizeof *drawn);
    for (size_t c = 0; c < columns; c++)
        out[c] = 0;
    for (int64_t begin = 0; begin < d->n_seqs; begin += d->batch_size) {
        const int64_t left = d->n_seqs - begin, n = left < d->batch_size ? left : d->batch_size;
        int64_t targets = 0;
        for (int64_t i = 0; i < n; i++) {
            drawn[i] = rng_below(&rng, (int)d->n_seqs);
            targets += d->n_loss[drawn[i]];
        }
        const double scale = (double)calib_scale(targets, d->bf16), weight = scale * scale;
        for (int64_t i = 0; i < n; i++) {
            const double *restrict r = d->r + (size_t)drawn[i] * columns;
            for (size_t c = 0; c < columns; c++)
                out[c] += weight * r[c];
        }
    }
    free(drawn);
}

static void draw_range(void *arg, size_t begin, size_t end, int thread)
{
    const struct job *j = arg;
    (void)thread;
    for (size_t k = begin; k < end; k++)
        draw_scores(j->out + k * (size_t)j->d->columns, j->d, k);
}

double *resample_scores(const struct resample_data *d)
{
    struct job j = {d, xmalloc(RESAMPLES * (size_t)d->columns, sizeof(double))};
    parallel_for(RESAMPLES, GRAIN, draw_range, &j);
    return j.out;
}

double resample_se(const double *scores, const struct resample_data *d, int column)
{
    const double *x = scores + column, S = (double)d->n_seqs;
    const size_t stride = (size_t)d->columns;
    double sum = 0, squares = 0;
    if (d->n_seqs < 2)
        return NAN;
    for (size_t k = 0; k < RESAMPLES; k++)
        sum += x[k * stride];
    for (size_t k = 0; k < RESAMPLES; k++)
        squares += (x[k * stride] - sum / RESAMPLES) * (x[k * stride] - sum / RESAMPLES);
    return sqrt(squares / (RESAMPLES - 1) * S / (S - 1));
}

/* ---- ranks */

struct keyed {
    double score;
    int column;
};

static int by_score(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->column - y->column;
}

/* order[i] = the column of rank i + 1 */
static void sort_columns(struct keyed *order, const double *score, int n)
{
    for (int i = 0; i < n; i++)
        order[i] = (struct keyed){score[i], i};
    qsort(order, (size_t)n, sizeof *order, by_score);
}

/* The k-th smallest (from 0) of the ranks, which go from 1 to n; count [n + 1] is scratch. */
static int nth_rank(const int *rank, int k, int *count, int n)
{
    int value = 1;
    for (int i = 1; i <= n; i++)
        count[i] = 0;
    for (int i = 0; i < RESAMPLES; i++)
        count[rank[i]]++;
    for (int below = count[1]; below <= k; below += count[value])
        value++;
    return value;
}

struct rank_job {
    const double *scores;
    size_t stride;
    int n;
    int *rank; /* [n, RESAMPLES] */
};

static void rank_range(void *arg, size_t begin, size_t end, int thread)
{
    const struct rank_job *j = arg;
    struct keyed *order = xmalloc((size_t)j->n, sizeof *order);
    (void)thread;
    for (size_t k = begin; k < end; k++) {
        sort_columns(order, j->scores + k * j->stride, j->n);
        for (int i = 0; i < j->n; i++)
            j->rank[(size_t)order[i].column * RESAMPLES + k] = i + 1;
    }
    free(order);
}

static void rank_intervals(struct rank *out, const double *scores, size_t stride, int n)
{
    struct rank_job j = {scores, stride, n, xmalloc((size_t)n * RESAMPLES, sizeof(int))};
    parallel_for(RESAMPLES, GRAIN, rank_range, &j);
    int *count = xmalloc((size_t)n + 1, sizeof *count);
    for (int i = 0; i < n; i++) {
        const int *of_column = j.rank + (size_t)i * RESAMPLES;
        const int low = nth_rank(of_column, TAIL, count, n), high = nth_rank(of_column, RESAMPLES - 1 - TAIL, count, n);
        out[i].low = low < out[i].value ? low : out[i].value;
        out[i].high = high > out[i].value ? high : out[i].value;
    }
    free(count);
    free(j.rank);
}

/* Is a, whose score is no smaller, above b in all draws but the tail? */
static bool told_apart(const double *scores, size_t stride, int a, int b)
{
    int above = 0;
    for (size_t k = 0; k < RESAMPLES; k++)
        above += scores[k * stride + (size_t)a] > scores[k * stride + (size_t)b];
    return above >= RESAMPLES - TAIL;
}

void resample_ranks(struct rank *out, const double *score, const double *scores, const struct resample_data *d,
                    int first, int n)
{
    const size_t stride = (size_t)d->columns;
    struct keyed *order = xmalloc((size_t)n, sizeof *order);
    int leader = 0, band = 1;
    sort_columns(order, score, n);
    for (int i = 0; i < n; i++) {
        out[order[i].column] = (struct rank){.value = i + 1};
        if (d->n_seqs < 2)
            continue;
        if (told_apart(scores + first, stride, order[leader].column, order[i].column)) {
            leader = i;
            band++;
        }
        out[order[i].column].band = band;
    }
    if (d->n_seqs >= 2)
        rank_intervals(out, scores + first, stride, n);
    free(order);
}
