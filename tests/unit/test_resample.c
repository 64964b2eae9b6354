/* resample: the error of batch-normalised scores against the spread of simulated ones, ranks and bands against
 * columns of which it is known how they compare. */
#include "resample.h"

#include <stdlib.h>

#include "calib.h"
#include "mem.h"
#include "rng.h"
#include "stats.h"
#include "tap.h"

static double uniform(struct rng *rng)
{
    return ((double)(rng_bits(rng) >> 12) + 0.5) * 0x1p-52;
}

/* ---- a population: 5 to 24 targets, r grows with them, with a heavy tail, or not at all */

enum { MOST = 200, COLUMNS = 3 };

struct sample {
    int32_t n[MOST];
    double r[MOST * COLUMNS];
};

static void draw(struct sample *s, int S, struct rng *rng)
{
    for (int i = 0; i < S; i++) {
        s->n[i] = 5 + rng_below(rng, 20);
        const double n = s->n[i], tail = exp(1.6 * (uniform(rng) + uniform(rng) - 1));
        s->r[i * COLUMNS] = tail;
        s->r[i * COLUMNS + 1] = n * tail;
        s->r[i * COLUMNS + 2] = n * n;
    }
}

static double score(const struct sample *s, int S, int batch, int column)
{
    double sum = 0;
    for (int b = 0; b < S; b += batch) {
        int64_t n = 0;
        double r = 0;
        for (int i = b; i < S && i < b + batch; i++) {
            n += s->n[i];
            r += s->r[i * COLUMNS + column];
        }
        const double scale = (double)calib_scale(n, true);
        sum += scale * scale * r;
    }
    return sum;
}

/* What one would take for the error who forgets that the addends of a batch share its normalisation. */
static double naive_se(const struct sample *s, int S, int batch, int column)
{
    double x[MOST], mean = 0, squares = 0;
    for (int b = 0; b < S; b += batch) {
        int64_t n = 0;
        for (int i = b; i < S && i < b + batch; i++)
            n += s->n[i];
        for (int i = b; i < S && i < b + batch; i++)
            mean += x[i] = s->r[i * COLUMNS + column] / (double)(n * n);
    }
    mean /= S;
    for (int i = 0; i < S; i++)
        squares += (x[i] - mean) * (x[i] - mean);
    return sqrt(squares * S / (S - 1));
}

/* The first-order formula of resample.h, for whole batches. */
static double delta_se(const struct sample *s, int S, int batch, int column)
{
    double n = 0, r = 0, squares = 0;
    for (int i = 0; i < S; i++) {
        n += (double)s->n[i] / S;
        r += s->r[i * COLUMNS + column] / S;
    }
    for (int i = 0; i < S; i++) {
        const double d = s->r[i * COLUMNS + column] - r - 2 * r / n * (s->n[i] - n);
        squares += d * d;
    }
    return sqrt(squares / (S - 1) / pow(n, 4) * (S / batch) / pow(batch, 3));
}

struct errors {
    double resampled, delta, naive; /* root mean square, each over the true spread */
};

static struct errors errors_of(int S, int batch, int column)
{
    enum { SIMULATED = 20000, ESTIMATED = 40 };
    struct rng rng = {(uint64_t)(S + batch)};
    struct sample s;
    double sum = 0, squares = 0, of[3] = {0};
    for (int k = 0; k < SIMULATED; k++) {
        draw(&s, S, &rng);
        const double x = score(&s, S, batch, column);
        sum += x;
        squares += x * x;
        if (k >= ESTIMATED)
            continue;
        const struct resample_data d = {S, batch, true, s.n, s.r, COLUMNS};
        double *drawn = resample_scores(&d);
        of[0] += pow(resample_se(drawn, &d, column), 2) / ESTIMATED;
        of[1] += pow(delta_se(&s, S, batch, column), 2) / ESTIMATED;
        of[2] += pow(naive_se(&s, S, batch, column), 2) / ESTIMATED;
        free(drawn);
    }
    const double sd = sqrt(squares / SIMULATED - sum / SIMULATED * sum / SIMULATED);
    return (struct errors){sqrt(of[0]) / sd, sqrt(of[1]) / sd, sqrt(of[2]) / sd};
}

static bool near_one(double x)
{
    return x >= 0.92 && x <= 1.08;
}

static void test_se(void)
{
    static const struct {
        int S, batch, column;
        bool delta, naive; /* do the first-order formula and the addends' own spread give the right error? */
        const char *name;
    } row[] = {
        {128, 8, 0, false, false, "r without the length"},
        {128, 32, 0, true, false, "larger batches"},
        {128, 8, 1, true, true, "r that grows with the length"},
        {128, 8, 2, true, false, "r that grows with its square"},
        {128, 1, 0, false, true, "batches of one"},
        {129, 8, 1, false, false, "a last batch of one"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        const struct errors e = errors_of(row[i].S, row[i].batch, row[i].column);
        ok(near_one(e.resampled), "%s: resampled error %.3f of the true one", row[i].name, e.resampled);
        ok(near_one(e.delta) == row[i].delta, "  to first order %.3f", e.delta);
        ok(near_one(e.naive) == row[i].naive, "  with scales held fixed %.3f", e.naive);
    }
}

/* ---- exact */

/* Batches of one: addends s(n)^2 r are independent, so the standard error is sqrt(S var), but for 1,000 draws. */
static void test_independent(void)
{
    struct rng rng = {3};
    struct sample s;
    draw(&s, MOST, &rng);
    const struct resample_data d = {MOST, 1, false, s.n, s.r, COLUMNS};
    double *scores = resample_scores(&d);
    for (int c = 0; c < COLUMNS; c++) {
        double x[MOST];
        for (int i = 0; i < MOST; i++)
            x[i] = s.r[i * COLUMNS + c] * pow((double)calib_scale(s.n[i], false), 2);
        const double want = MOST * stats_mean(x, 1, MOST, 2, 1).se, got = resample_se(scores, &d, c);
        ok(fabs(got / want - 1) < 0.08 || want < 1e-6, "independent addends: %.5g, exact %.5g", got, want);
    }
    free(scores);
    scores = resample_scores(&(struct resample_data){MOST, 1, false, s.n, s.r, COLUMNS});
    double *again = resample_scores(&d);
    ok(!memcmp(scores, again, RESAMPLES * COLUMNS * sizeof *again), "the same draws every time");
    free(scores);
    free(again);
}

/* Two sequences, a batch of two: draws are 11, 12, 21, 22 with scores 2 r1 / (2 n1)^2, .. */
static void test_two(void)
{
    const int32_t n[] = {1, 3};
    const double r[] = {8, 18};
    const struct resample_data d = {2, 2, false, n, r, 1};
    double *scores = resample_scores(&d);
    int of[3] = {0};
    for (int k = 0; k < RESAMPLES; k++)
        for (int i = 0; i < 3; i++) /* 16/4, 26/16, 36/36 */
            of[i] += fabs(scores[k] - (double[]){4, 1.625, 1}[i]) < 1e-6;
    ok(of[0] + of[1] + of[2] == RESAMPLES && abs(of[0] - 250) < 60 && abs(of[1] - 500) < 70,
       "all draws of two sequences, as often as they must come: %d %d %d", of[0], of[1], of[2]);
    free(scores);
    /* independent addends 8 and 2: variance 18, and 36 of their sum */
    const struct resample_data sum = {2, 1, false, (int32_t[]){1, 1}, (double[]){8, 2}, 1};
    scores = resample_scores(&sum);
    ok(fabs(resample_se(scores, &sum, 0) / 6 - 1) < 0.05, "the error of a sum of two: %.3f",
       resample_se(scores, &sum, 0));
    free(scores);
    const struct resample_data one = {1, 2, false, n, r, 1},
                               none = {2, 2, false, (int32_t[]){0, 0}, (double[]){0, 0}, 1};
    struct rank rank;
    scores = resample_scores(&one);
    resample_ranks(&rank, r, scores, &one, 0, 1);
    ok(isnan(resample_se(scores, &one, 0)) && rank.value == 1 && !rank.low && !rank.high && !rank.band,
       "one sequence: a rank, and no error");
    free(scores);
    scores = resample_scores(&none);
    ok(resample_se(scores, &none, 0) == 0, "no targets: nothing, not NaN");
    free(scores);
}

/* ---- ranks */

/* Columns 1 to 7, after one that does not count: 10; 100 +- 1; `free` +- 5; 50 +- 5; always 0.01 less; 0; 0. */
static void rank_columns(struct rank rank[7], double free_mean)
{
    enum { S = 64, C = 8 };
    int32_t n[S];
    double r[S * C], sum[C] = {0};
    struct rng rng = {11};
    for (int i = 0; i < S; i++) {
        const double a = uniform(&rng), b = uniform(&rng) - 0.5, c = uniform(&rng) - 0.5;
        const double row[C] = {1e9, 10, 100 + a, free_mean + 10 * b, 50 + 10 * c, 49.99 + 10 * c, 0, 0};
        n[i] = 4;
        for (int j = 0; j < C; j++)
            sum[j] += r[i * C + j] = row[j];
    }
    const struct resample_data d = {S, 8, false, n, r, C};
    double *scores = resample_scores(&d);
    resample_ranks(rank, sum + 1, scores, &d, 1, C - 1);
    free(scores);
}

static bool is(struct rank r, int value, int low, int high, int band)
{
    return ok(r.value == value && r.low == low && r.high == high && r.band == band,
              "  rank %d, %d to %d, band %d (%d, %d to %d, %d)", value, low, high, band, r.value, r.low, r.high,
              r.band);
}

static void test_ranks(void)
{
    struct rank r[7];
    rank_columns(r, 50.5);
    diag("the first of a band can be told apart from neither of two that can be told apart");
    is(r[1], 1, 1, 1, 1);
    is(r[2], 2, 2, 4, 2);
    is(r[3], 3, 2, 3, 2);
    is(r[4], 4, 3, 4, 2);
    is(r[0], 5, 5, 5, 3);
    is(r[5], 6, 6, 6, 4);
    is(r[6], 7, 7, 7, 4);
    rank_columns(r, 49.5);
    diag("those two come first: a band each, the third with the second of them");
    is(r[3], 2, 2, 3, 2);
    is(r[4], 3, 3, 4, 3);
    is(r[2], 4, 2, 4, 3);
    is(r[0], 5, 5, 5, 4);
}

int main(void)
{
    test_two();
    test_independent();
    test_ranks();
    test_se();
    return done();
}
