/* Do the intervals hold what they promise? The captions of a run are the population, of which every score is known;
 * sets of 128 are drawn with replacement, and their intervals looked at.
 *
 * coverage CALIB DIR...: calib.safetensors and directories with scores.json and records.safetensors of pairs
 * scored on all its sequences. A cell is a group of a pair; all cells see the same draws. */
#include <stdlib.h>
#include <string.h>

#include "calib.h"
#include "io.h"
#include "mem.h"
#include "resample.h"
#include "rng.h"
#include "safetensors.h"
#include "scores.h"
#include "stats.h"
#include "tap.h"

enum { SET = 128, DRAWS = 200, MANY = 4000, BATCHES = 200000 };

static struct population {
    struct calib calib;
    int n, pairs, groups, cells;
    double *r;     /* [n, cells] */
    double *score; /* [cells] expected score of a set */
    char **pair, **group;
} pop;

/* ---- reading */

static void add_pair(const char *dir, struct err *e)
{
    struct scores s;
    struct st_file f;
    char *scores = io_join(dir, "scores.json"), *records = io_join(dir, "records.safetensors");
    if (scores_load(&s, scores, e) || st_open(&f, records, e))
        return;
    const struct st_tensor *t = st_need(&f, "score", DT_F64, 2, (uint64_t[]){(uint64_t)pop.n, UINT64_MAX}, e);
    if (!t)
        return;
    if (!pop.pairs) {
        pop.groups = s.n_groups;
        pop.group = xcalloc((size_t)s.n_groups, sizeof *pop.group);
        for (int g = 0; g < s.n_groups; g++)
            pop.group[g] = xstrdup(s.group[g].name);
    }
    const int cells = pop.cells + pop.groups;
    const bool bf16 = !strcmp(s.dtype, "bf16");
    double *r = xcalloc((size_t)(pop.n * cells), sizeof *r);
    for (int i = 0; i < pop.n; i++) {
        const float scale = (bf16 ? pop.calib.scale_bf16 : pop.calib.scale_f32)[pop.calib.batch[i]];
        const char *record = (const char *)t->data + (size_t)i * t->shape[1] * sizeof(double);
        for (int c = 0; c < pop.cells; c++)
            r[i * cells + c] = pop.r[i * pop.cells + c];
        for (int g = 0; g < pop.groups; g++)
            for (size_t m = 0; m < json_array_size(s.group[g].members); m++, record += sizeof(double)) {
                double x;
                memcpy(&x, record, sizeof x);
                r[i * cells + pop.cells + g] += x / ((double)scale * (double)scale);
            }
    }
    free(pop.r);
    pop.r = r;
    pop.cells = cells;
    pop.pair = xrealloc(pop.pair, (size_t)pop.pairs + 1, sizeof *pop.pair);
    pop.pair[pop.pairs++] = xstrdup(s.pair);
    scores_free(&s);
    st_close(&f);
    free(scores);
    free(records);
}

/* ---- the truth */

static double true_mean(int cell)
{
    double sum = 0;
    for (int i = 0; i < pop.n; i++)
        sum += pop.r[i * pop.cells + cell];
    return sum / pop.n;
}

static double true_ratio(int cell)
{
    double tokens = 0;
    for (int i = 0; i < pop.n; i++)
        tokens += pop.calib.n_loss[i];
    return true_mean(cell) * pop.n / tokens;
}

/* Expected score of a set: of a batch, over many batches. */
static void expect_scores(void)
{
    struct rng rng = {2};
    const int k = pop.calib.batch_size;
    pop.score = xcalloc((size_t)pop.cells, sizeof *pop.score);
    for (int b = 0; b < BATCHES; b++) {
        int drawn[1024];
        int64_t n = 0;
        for (int i = 0; i < k; i++)
            n += pop.calib.n_loss[drawn[i] = rng_below(&rng, pop.n)];
        const double s = (double)calib_scale(n, true), weight = s * s * SET / k / BATCHES;
        for (int i = 0; i < k; i++)
            for (int c = 0; c < pop.cells; c++)
                pop.score[c] += weight * pop.r[drawn[i] * pop.cells + c];
    }
}

static int true_rank(int cell)
{
    const int first = cell / pop.groups * pop.groups;
    int rank = 1;
    for (int c = first; c < first + pop.groups; c++)
        rank += pop.score[c] > pop.score[cell];
    return rank;
}

/* ---- draws */

struct set {
    int32_t n_loss[SET];
    double *r; /* [SET, cells] */
};

static void draw(struct set *s, struct rng *rng)
{
    for (int i = 0; i < SET; i++) {
        const int k = rng_below(rng, pop.n);
        s->n_loss[i] = pop.calib.n_loss[k];
        memcpy(s->r + i * pop.cells, pop.r + k * pop.cells, (size_t)pop.cells * sizeof *s->r);
    }
}

static bool covers(struct estimate e, double truth)
{
    return e.low <= truth && truth <= e.high;
}

/* In percent of the cells of all draws. */
struct coverage {
    double mean, ratio, score, fixed_scale, rank;
};

static void look_at_scores(const struct set *s, double t, struct coverage *c, double one)
{
    const struct resample_data d = {SET, pop.calib.batch_size, true, s->n_loss, s->r, pop.cells};
    double *scores = resample_scores(&d), *sum = xcalloc((size_t)pop.cells, sizeof *sum);
    double *addend = xmalloc(SET * (size_t)pop.cells, sizeof *addend);
    struct rank *rank = xmalloc((size_t)pop.groups, sizeof *rank);
    for (int i = 0; i < SET; i++) {
        const int first = i / d.batch_size * d.batch_size;
        int64_t n = 0;
        for (int k = first; k < SET && k < first + d.batch_size; k++)
            n += s->n_loss[k];
        const double scale = (double)calib_scale(n, true);
        for (int k = 0; k < pop.cells; k++)
            sum[k] += addend[i * pop.cells + k] = scale * scale * s->r[i * pop.cells + k];
    }
    for (int k = 0; k < pop.cells; k++) {
        c->score += one * covers(stats_estimate(sum[k], resample_se(scores, &d, k), t), pop.score[k]);
        c->fixed_scale += one * covers(stats_mean(addend + k, pop.cells, SET, t, SET), pop.score[k]);
    }
    for (int p = 0; p < pop.pairs; p++) {
        resample_ranks(rank, sum + p * pop.groups, scores, &d, p * pop.groups, pop.groups);
        for (int g = 0; g < pop.groups; g++) {
            const int truth = true_rank(p * pop.groups + g);
            c->rank += one * (rank[g].low <= truth && truth <= rank[g].high);
        }
    }
    free(scores);
    free(sum);
    free(addend);
    free(rank);
}

/* per_cell: how many of the draws cover each cell's mean */
static struct coverage cover(int draws, bool with_scores, int *per_cell)
{
    struct coverage c = {0};
    struct rng rng = {1};
    struct set s = {.r = xmalloc(SET * (size_t)pop.cells, sizeof *s.r)};
    const double t = stats_t(SET - 1), one = 100.0 / draws / pop.cells;
    for (int k = 0; k < draws; k++) {
        draw(&s, &rng);
        for (int i = 0; i < pop.cells; i++) {
            const bool in = covers(stats_mean(s.r + i, pop.cells, SET, t, 1), true_mean(i));
            per_cell[i] += in;
            c.mean += one * in;
            if (with_scores)
                c.ratio += one * covers(stats_ratio(s.r + i, pop.cells, s.n_loss, SET, t, 1), true_ratio(i));
        }
        if (with_scores)
            look_at_scores(&s, t, &c, one);
    }
    free(s.r);
    return c;
}

/* As diagnostics: the table of docs/statistics.md. */
static void print_table(const int *per_cell)
{
    printf("# |group|");
    for (int p = 0; p < pop.pairs; p++)
        printf("%s|", pop.pair[p]);
    printf("\n# |---|");
    for (int p = 0; p < pop.pairs; p++)
        printf("---:|");
    for (int g = 0; g < pop.groups; g++) {
        const char *layers = strstr(pop.group[g], "layers.");
        printf("\n# |%s|", layers ? layers + strlen("layers.") : pop.group[g]);
        for (int p = 0; p < pop.pairs; p++)
            printf("%.1f|", 100.0 * per_cell[p * pop.groups + g] / MANY);
    }
    printf("\n");
}

static bool between(double x, double low, double high, const char *what)
{
    return ok(x >= low && x <= high, "%s: %.2f %%, from %g to %g", what, x, low, high);
}

int main(int argc, char **argv)
{
    struct err e = {0};
    if (argc < 3 || calib_load(&pop.calib, argv[1], &e)) {
        fprintf(stderr, "coverage CALIB DIR...: %s\n", e.msg);
        return 2;
    }
    pop.n = (int)pop.calib.n_seqs;
    for (int i = 2; i < argc && !e.code; i++)
        add_pair(argv[i], &e);
    if (e.code) {
        fprintf(stderr, "coverage: %s\n", e.msg);
        return err_exit_code(&e);
    }
    expect_scores();
    int *per_cell = xcalloc((size_t)pop.cells, sizeof *per_cell);
    ok(pop.n == 1024 && pop.cells == 150, "population: %d sequences; %d cells", pop.n, pop.cells);
    const struct coverage few = cover(DRAWS, true, per_cell);
    between(few.mean, 93, 97, "200 draws: the mean per sequence is covered");
    between(few.ratio, 93, 97, "  per token");
    between(few.score, 93, 97, "  the score");
    ok(few.fixed_scale < 93, "  the score, with the loss scales taken for constants: %.2f %%, below 93",
       few.fixed_scale);
    between(few.rank, 93, 100, "  the rank");
    memset(per_cell, 0, (size_t)pop.cells * sizeof *per_cell);
    between(cover(MANY, false, per_cell).mean, 93, 97, "4,000 draws: the mean per sequence is covered");
    print_table(per_cell);
    int least = MANY;
    for (int i = 0; i < pop.cells; i++)
        least = per_cell[i] < least ? per_cell[i] : least;
    between(100.0 * least / MANY, 88, 97, "  where it is covered least");
    return done();
}
