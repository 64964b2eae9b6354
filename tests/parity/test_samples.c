/* Several samples of one captions file in one run: the bits of runs of their own, for less work; a result that a store
 * has is not computed again, nor what a rule does without. */
#include "parity/random_model.h"
#include "tap.h"

enum { BATCH = 2, SAMPLES = 4 };
static const struct shape small = {"", 24, 2, 4, 2, 6, 40, 50, DT_F32, 1, true};
static const int captions[SAMPLES] = {3, 8, 11, 22}; /* blocks of two batches: 1, 2, 3, 6, the last ones short */
static struct lm lm;
static struct calib calib[SAMPLES];
static struct scorer_options options = {.bf16 = true, .score_size = 12, .block_batches = 2};

/* Linear layers, counted: in rows. */
static double rows;
static void linear(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int in, int out, int ld,
                   bool accumulate)
{
    rows += N;
    be_cpu_ops.linear(be, y, x, w, N, in, out, ld, accumulate);
}
static struct be_ops ops;

static void check_together(const char *pairs)
{
    const struct replay_set set = subject_pairs(pairs);
    struct scorer_sample sample[SAMPLES] = {0};
    struct scorer_result alone[SAMPLES];
    struct err e;
    double apart = 0, one[SAMPLES];
    for (int i = 0; i < SAMPLES; i++) {
        rows = 0;
        alone[i] = subject_score(&ops, &lm, &calib[i], &set, &options);
        apart += one[i] = rows;
        sample[i] = (struct scorer_sample){.calib = &calib[i], .set = &set};
    }
    for (int pass = 0; pass <= 3; pass++) {
        struct scorer_options o = options;
        o.pass_blocks = pass;
        rows = 0;
        if (scorer_run(sample, SAMPLES, &ops, &lm, &o, &e))
            BUG("%s", e.msg);
        for (int i = 0; i < SAMPLES; i++) {
            ok(subject_same(&sample[i].result, &alone[i]), "%s, passes of %d: %d captions beside others, the same bits",
               pairs, pass, captions[i]);
            scorer_result_free(&sample[i].result);
        }
        ok(pass || (rows < 0.75 * apart && rows > one[SAMPLES - 1]), "%.0f rows of linear layers, %.0f apart", rows,
           apart);
    }
    for (int i = 0; i < SAMPLES; i++)
        scorer_result_free(&alone[i]);
}

/* Other pairs in each sample; one of them twice. */
static void check_sets(void)
{
    static const char *const pairs[] = {"fp8_fp8 int8_fp16", "fp8_fp16 fp8_fp8", "fp8_fp8", "fp8_fp8"};
    static const int of[] = {1, 3, 3, 2};
    struct replay_set set[SAMPLES];
    struct scorer_sample sample[SAMPLES] = {0};
    struct err e;
    for (int i = 0; i < SAMPLES; i++) {
        set[i] = subject_pairs(pairs[i]);
        sample[i] = (struct scorer_sample){.calib = &calib[of[i]], .set = &set[i]};
    }
    if (scorer_run(sample, SAMPLES, &be_cpu_ops, &lm, &options, &e))
        BUG("%s", e.msg);
    for (int i = 0; i < SAMPLES; i++) {
        struct scorer_result alone = subject_score(&be_cpu_ops, &lm, &calib[of[i]], &set[i], &options);
        ok(subject_same(&sample[i].result, &alone), "pairs %s of %d captions", pairs[i], captions[of[i]]);
        scorer_result_free(&alone);
        scorer_result_free(&sample[i].result);
    }
}

/* Other captions share nothing, though they are as long. */
static void check_others(void)
{
    struct calib other;
    make_captions(&other, captions[1], BATCH, true, small.vocab, 3);
    struct calib swapped = calib[1];
    swapped.ids = xmalloc((size_t)swapped.n_rows, sizeof *swapped.ids);
    memcpy(swapped.ids, calib[1].ids, (size_t)swapped.n_rows * sizeof *swapped.ids);
    swapped.ids[swapped.n_rows - 1] ^= 1;
    const struct calib *with[] = {&other, &swapped};
    const struct replay_set set = subject_pairs("fp8_fp8");
    for (int i = 0; i < 2; i++) {
        struct scorer_sample sample[] = {{.calib = &calib[1], .set = &set}, {.calib = with[i], .set = &set}};
        struct scorer_result alone = subject_score(&be_cpu_ops, &lm, with[i], &set, &options);
        struct err e;
        if (scorer_run(sample, 2, &be_cpu_ops, &lm, &options, &e))
            BUG("%s", e.msg);
        ok(subject_same(&sample[1].result, &alone) && !subject_same(&sample[0].result, &alone),
           i ? "one other token" : "other captions");
        scorer_result_free(&alone);
        scorer_result_free(&sample[0].result);
        scorer_result_free(&sample[1].result);
    }
    free(swapped.ids);
    calib_free(&other);
}

/* ---- a store that has all maxima, and the scores of the first block of one replay */

static const struct scorer_result *known;
static int load_some(void *self, struct scorer_result *r, struct err *e)
{
    (void)self, (void)e;
    for (int i = 0; i < r->n_blocks; i++) {
        r->block[i].calibrated = true;
        r->block[i].loss_sum = known->block[i].loss_sum;
        r->block[i].loss_rows = known->block[i].loss_rows;
    }
    memcpy(r->amax, known->amax, (size_t)r->n_batches * (size_t)r->n_units * sizeof *r->amax);
    memcpy(r->weight_amax, known->weight_amax, (size_t)r->n_units * sizeof *r->weight_amax);
    memcpy(scorer_record(r, 1, 0), scorer_record(known, 1, 0),
           (size_t)r->block[0].n_seqs * (size_t)r->n_units * sizeof *r->record);
    *scorer_scored(r, 1, 0) = true;
    return 0;
}
static int save_none(void *self, const struct scorer_result *r, struct err *e)
{
    (void)self, (void)r, (void)e;
    return 0;
}

static void check_store(void)
{
    const struct replay_set set = subject_pairs("fp8_fp8 fp8_fp16");
    const struct scorer_store store = {NULL, load_some, save_none};
    struct scorer_sample sample[] = {{.calib = &calib[3], .set = &set},
                                     {.calib = &calib[2], .set = &set, .store = &store}};
    struct scorer_result large = subject_score(&ops, &lm, &calib[3], &set, &options),
                         small_one = subject_score(&ops, &lm, &calib[2], &set, &options);
    struct err e;
    double took[2];
    for (int i = 0; i < 2; i++) {
        known = &small_one;
        sample[1].store = i ? &store : NULL;
        rows = 0;
        if (scorer_run(sample, 2, &ops, &lm, &options, &e))
            BUG("%s", e.msg);
        took[i] = rows;
        ok(subject_same(&sample[0].result, &large) && subject_same(&sample[1].result, &small_one),
           "%s a store that has some", i ? "with" : "without");
        scorer_result_free(&sample[0].result);
        scorer_result_free(&sample[1].result);
    }
    ok(took[1] < took[0], "what it has is not computed again, for the other sample neither: %.0f rows, %.0f", took[1],
       took[0]);
    scorer_result_free(&large);
    scorer_result_free(&small_one);
}

/* ---- a rule: replay 0 is done after one block, the other after two */

static int stop(void *self, struct scorer_result *r, struct err *e)
{
    int *looked = self;
    (void)e;
    ++*looked;
    for (int k = 0; k < r->n_replays; k++)
        if (*scorer_scored(r, k, k))
            r->n_wanted[k] = k + 1;
    return 0;
}

static void check_rule(void)
{
    const struct replay_set set = subject_pairs("fp8_fp8 fp8_fp16");
    int looked = 0;
    const struct scorer_rule rule = {&looked, stop};
    struct scorer_sample s = {.calib = &calib[3], .set = &set, .rule = &rule};
    struct scorer_result all = subject_score(&ops, &lm, &calib[3], &set, &options);
    struct err e;
    if (scorer_run(&s, 1, &ops, &lm, &options, &e))
        BUG("%s", e.msg);
    const struct scorer_result *r = &s.result;
    const size_t U = (size_t)r->n_units;
    bool equal = true;
    for (int k = 0; k < 2; k++)
        equal = equal && !memcmp(scorer_record(r, k, 0), scorer_record(&all, k, 0),
                                 (size_t)(k + 1) * 4 * U * sizeof(double));
    ok(equal && r->n_wanted[0] == 1 && r->n_wanted[1] == 2 && scorer_result_complete(r), "what is enough is complete");
    ok(!*scorer_scored(r, 0, 1) && !*scorer_scored(r, 1, 2) && scorer_record(r, 0, 4)[0] == 0,
       "and the rest is not done");
    ok(looked == 3, "it is asked before the first pass and after each: %d times", looked);
    scorer_result_free(&all);
    scorer_result_free(&s.result);
    struct scorer_options o = options;
    o.parts = 2;
    ok(scorer_run(&s, 1, &ops, &lm, &o, &e) && e.code == ERR_CONFIG && strstr(e.msg, "parts are of one sample"), "%s",
       e.msg);
}

int main(void)
{
    make_model(&lm, &small, 1);
    for (int i = 0; i < SAMPLES; i++)
        make_captions(&calib[i], captions[i], BATCH, true, small.vocab, 2);
    ops = be_cpu_ops;
    ops.linear = linear;
    check_together("fp8_fp8 fp8_fp16 int8_int8");
    check_together("fp4_fp8");
    check_together("mxfp4_fp16");
    check_sets();
    check_others();
    check_store();
    check_rule();
    for (int i = 0; i < SAMPLES; i++)
        calib_free(&calib[i]);
    lm_free(&lm);
    remove_models();
    return done();
}
