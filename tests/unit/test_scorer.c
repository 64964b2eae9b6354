/* The whole method on random models of odd shapes: the cpu backend against the oracle, gradients against differences of
 * the loss, the sentinel's part in the maxima, errors. What must not change a bit: tests/parity/test_invariance.c. */
#include "model.h"
#include "ops/faults.h"
#include "parallel.h"
#include "parity/random_model.h"
#include "tap.h"

static const struct shape shapes[] = {
    {"6 heads on 3, untied fp32, 3 shards", 80, 2, 6, 3, 16, 200, 331, DT_F32, 3, true},
    {"8 heads on 1, tied fp16", 48, 3, 8, 1, 8, 72, 257, DT_F16, 1, false},
    {"one layer, odd sizes, untied bf16, 2 shards", 33, 1, 2, 2, 12, 51, 101, DT_BF16, 2, true},
};

/* Pairs of every kind, those without a file among them. */
static struct replay_set many_pairs(void)
{
    struct replay_set set = subject_pairs("int8_fp16 fp8_fp8 fp4_fp8 mxfp4_fp8 int4_fp16 int8_int8 fp4_int4");
    static const struct pair more[] = {
        {"", "", "", {QF_INT8, QG_OUT_CHANNEL, 0, false}, {QF_INT8, QG_TOKEN, 0, true}},
        {"", "", "", {QF_INT8, QG_IN_CHANNEL, 0, false}, {QF_FP8, QG_TOKEN, 0, true}},
        {"", "", "", {QF_FP8, QG_BLOCK, 64, false}, {QF_NONE, QG_TENSOR, 0, false}},
    };
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        subject_add(&set, &more[i]);
    return set;
}

/* ---- cpu against ref */

static double distance(double a, double b)
{
    const double d = a == b ? 0 : fabs(a - b) / fabs(b);
    return d <= 1e300 ? d : INFINITY;
}

/* How far results lie apart. An input that falls on the other side of a tie between two codes changes a score of these
 * small models by some percent, so pairs that quantize inputs are judged by their units' median. */
struct gap {
    double weights; /* worst score of a unit, pairs that quantize weights only */
    double median, worst; /* the largest median over units, and the worst unit, of all pairs */
    double sum;           /* worst sum of a pair's scores */
    double amax, weight_amax, loss;
};

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static const double NOISE = 1e-9;

static struct gap compare(const struct replay_set *set, const struct scorer_result *a, const struct scorer_result *b)
{
    struct gap g = {.loss = distance(a->loss, b->loss)};
    double *d = xmalloc((size_t)a->n_units, sizeof *d);
    for (int u = 0; u < a->n_units; u++) {
        g.amax = fmax(g.amax, distance(subject_amax(a, u), subject_amax(b, u)));
        g.weight_amax = fmax(g.weight_amax, distance((double)a->weight_amax[u], (double)b->weight_amax[u]));
    }
    for (int i = 0; i < set->n; i++) {
        double x = 0, y = 0;
        for (int u = 0; u < a->n_units; u++) {
            x += subject_unit_score(a, i, u);
            y += subject_unit_score(b, i, u);
        }
        for (int u = 0; u < a->n_units; u++) /* queries and keys of captions of one token have only noise */
            d[u] = distance(subject_unit_score(a, i, u) + NOISE * y, subject_unit_score(b, i, u) + NOISE * y);
        qsort(d, (size_t)a->n_units, sizeof *d, ascending);
        g.sum = fmax(g.sum, distance(x, y));
        g.median = fmax(g.median, d[a->n_units / 2]);
        g.worst = fmax(g.worst, d[a->n_units - 1]);
        if (set->act[set->replay[i].act].format == QF_NONE)
            g.weights = fmax(g.weights, d[a->n_units - 1]);
    }
    free(d);
    return g;
}

/* fp32: about eight times the largest of 100 random models. bf16: single roundings that differ move one of these
 * models in twenty by percents, since its gradients hang on few rows; the goldens hold bf16 more closely. */
static const struct gap bounds_fp32 = {1e-3, 5e-4, 0.5, 0.01, 1e-5, 0, 1e-6},
                        bounds_bf16 = {0.5, 0.1, 2, 0.5, 0.016, 0, 2e-3};

static bool close_enough(const struct gap *g, const struct gap *b)
{
    return g->weights <= b->weights && g->median <= b->median && g->worst <= b->worst && g->sum <= b->sum &&
           g->amax <= b->amax && g->weight_amax <= b->weight_amax && g->loss <= b->loss;
}

static void check_backends(const struct shape *s, int n, int batch, bool sentinels, uint64_t seed)
{
    struct lm lm;
    struct calib c;
    make_model(&lm, s, seed);
    make_captions(&c, n, batch, sentinels, s->vocab, seed);
    const struct replay_set set = many_pairs();
    for (int bf16 = 0; bf16 < 2; bf16++) {
        struct scorer_options o = bf16 ? subject_bf16 : subject_fp32;
        o.block_batches = 2;
        struct scorer_result a = subject_score(&be_cpu_ops, &lm, &c, &set, &o),
                             b = subject_score(&be_ref_ops, &lm, &c, &set, &o);
        const struct gap g = compare(&set, &a, &b);
        ok(close_enough(&g, bf16 ? &bounds_bf16 : &bounds_fp32),
           "%s, %d captions in batches of %d, %s: weights %.2g, median %.2g, worst %.2g, sums %.2g, amax %.2g, "
           "loss %.2g",
           s->name, n, batch, bf16 ? "bf16" : "fp32", g.weights, g.median, g.worst, g.sum, g.amax, g.loss);
        scorer_result_free(&a);
        scorer_result_free(&b);
    }
    calib_free(&c);
    lm_free(&lm);
}

/* Each wrong op of the op tests is seen in the scores too, but for those that touch a last row, which has no gradient,
 * those too small to matter here, and one that reads beyond the rows of this many replays. */
static void check_faults(void)
{
    static const char *const unseen[] = {"add_short",       "linear_lost_element", "rmsnorm_bwd_eps",
                                         "xent_stat",       "segment_sum_skips",
                                         "linear_dx_overwrites" /* test_head.c */};
    struct lm lm;
    struct calib c;
    make_model(&lm, &shapes[1], 7);
    make_captions(&c, 13, 8, true, shapes[1].vocab, 7);
    const struct replay_set set = many_pairs();
    struct scorer_result right = subject_score(&be_ref_ops, &lm, &c, &set, &subject_fp32);
    sound = &be_cpu_ops;
    for (int i = 0; i < N_FAULTS; i++) {
        bool skip = !faults[i].in_fp32;
        for (size_t k = 0; k < sizeof unseen / sizeof *unseen; k++)
            skip = skip || !strcmp(faults[i].name, unseen[k]);
        if (skip)
            continue;
        struct be_ops ops = faulty_ops(&faults[i]);
        ops.outputs_at_once = BE_OUTPUTS;
        struct scorer_result r;
        struct err e;
        if (subject_run(&r, &ops, &lm, &c, &set, &subject_fp32, &e)) {
            ok(e.code == ERR_NUMERIC, "%s is seen: %s", faults[i].name, e.msg);
            continue;
        }
        const struct gap g = compare(&set, &r, &right);
        ok(!close_enough(&g, &bounds_fp32), "%s is seen: weights %.2g, median %.2g, sums %.2g, amax %.2g",
           faults[i].name, g.weights, g.median, g.sum, g.amax);
        scorer_result_free(&r);
    }
    scorer_result_free(&right);
    calib_free(&c);
    lm_free(&lm);
}

/* ---- gradients: what the units are scored with, against differences of the loss. Both come out of a run with the
 * oracle in fp32 mode (double inside), seen through three of its ops. */

enum { MAX_ROWS = 64, MAX_OUT = 64, MAX_PROBED = 16 };

static struct {
    int call, unit;              /* of linear in the forward pass; of score_rows */
    int at_unit, row, col;       /* the output that is moved by `by` */
    double by, loss;
    double scale[MAX_ROWS];      /* of the loss rows */
    double *gradient[MAX_PROBED]; /* [rows, outputs] of each unit, as scored */
    int outputs[MAX_PROBED], rows[MAX_PROBED];
} probe;

static void probe_linear(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int I, int O,
                         int ldy, bool as_reference)
{
    be_ref_ops.linear(be, y, x, w, N, I, O, ldy, as_reference);
    if (!as_reference || probe.call++ != probe.at_unit)
        return;
    double v;
    const struct be_view at = be_at(y, (size_t)probe.row * (size_t)ldy + (size_t)probe.col);
    be_ref_ops.get(be, &v, at, 1);
    v += probe.by;
    be_ref_ops.put(be, at, &v, 1);
}

static void probe_xent(struct be *be, struct be_view stat, struct be_view loss, struct be_view z, struct be_view target,
                       int N, int V)
{
    double *x = xmalloc((size_t)V, sizeof *x);
    for (int i = 0; i < N; i++) {
        int32_t t;
        double sum = 0;
        be_ref_ops.get(be, x, be_at(z, (size_t)i * (size_t)V), (size_t)V);
        be_ref_ops.get(be, &t, be_at(target, (size_t)i), 1);
        for (int j = 0; j < V; j++)
            sum += exp(x[j] - x[t]);
        probe.loss += probe.scale[i] * log(sum);
    }
    free(x);
    be_ref_ops.xent(be, stat, loss, z, target, N, V);
}

/* The units come last to first; within a layer as backward.c takes them. */
static int unit_of_call(int call, int layers)
{
    static const int order[UNITS_PER_LAYER] = {6, 4, 5, 3, 0, 1, 2};
    if (call == 0)
        return UNITS_PER_LAYER * layers;
    return UNITS_PER_LAYER * (layers - 1 - (call - 1) / UNITS_PER_LAYER) + order[(call - 1) % UNITS_PER_LAYER];
}

static void probe_score(struct be *be, struct be_outputs q, struct be_view y, struct be_view g, int N, int n, int ldy)
{
    const int u = unit_of_call(probe.unit++, 2);
    probe.rows[u] = N;
    probe.outputs[u] = n;
    probe.gradient[u] = xmalloc((size_t)N * (size_t)n, sizeof(double));
    be_ref_ops.get(be, probe.gradient[u], g, (size_t)N * (size_t)n);
    be_ref_ops.score_rows(be, q, y, g, N, n, ldy);
}

/* The loss with one output moved. */
static double probe_loss(const struct lm *lm, const struct calib *c, const struct replay_set *set, double by)
{
    struct be_ops ops = be_ref_ops;
    ops.linear = probe_linear;
    ops.xent = probe_xent;
    probe.call = 0;
    probe.loss = 0;
    probe.by = by;
    struct scorer_result r = subject_score(&ops, lm, c, set, &subject_fp32);
    scorer_result_free(&r);
    return probe.loss;
}

static void check_gradients(void)
{
    static const struct shape small = {"", 24, 2, 4, 2, 6, 40, 50, DT_F32, 1, true};
    static const double STEP = 1e-3, BOUND = 1e-5; /* measured: 4e-7 of the unit's root mean square gradient */
    struct lm lm;
    struct calib c;
    struct rng rng = {11};
    make_model(&lm, &small, 11);
    make_captions(&c, 4, 3, true, small.vocab, 11);
    const struct replay_set set = subject_pairs("int8_fp16");
    int n = 0;
    for (int64_t i = 0; i < c.n_rows; i++)
        for (int64_t s = 0; c.target[i] >= 0 && s < c.n_seqs; s++)
            if (i >= c.offset[s] && i < c.offset[s + 1])
                probe.scale[n++] = (double)c.scale_f32[c.batch[s]];
    struct be_ops ops = be_ref_ops;
    ops.score_rows = probe_score;
    struct scorer_result r = subject_score(&ops, &lm, &c, &set, &subject_fp32);
    ok(probe.unit == r.n_units && r.n_units == 15, "gradients of %d units", probe.unit);
    for (int u = 0; u < r.n_units; u++) {
        const size_t size = (size_t)probe.rows[u] * (size_t)probe.outputs[u];
        double rms = 0, worst = 0;
        for (size_t i = 0; i < size; i++)
            rms += probe.gradient[u][i] * probe.gradient[u][i];
        rms = sqrt(rms / (double)size);
        probe.at_unit = u;
        for (int k = 0; k < 8; k++) {
            probe.row = rng_below(&rng, probe.rows[u]);
            probe.col = rng_below(&rng, probe.outputs[u]);
            const double d = (probe_loss(&lm, &c, &set, STEP) - probe_loss(&lm, &c, &set, -STEP)) / (2 * STEP);
            const double g = probe.gradient[u][(size_t)probe.row * (size_t)probe.outputs[u] + (size_t)probe.col];
            worst = fmax(worst, fabs(d - g) / rms);
        }
        at_most(worst, BOUND, model_unit(&lm, u)->name);
        free(probe.gradient[u]);
    }
    scorer_result_free(&r);
    calib_free(&c);
    lm_free(&lm);
}

/* ---- the sentinel's part in the maxima */

static void edit_weights(const struct lm *lm, enum lm_role role, int layer, size_t first, const float *x, size_t n)
{
    const struct lm_tensor *t = lm_tensor_of(lm, role, layer);
    FILE *f = fopen(lm->file[t->file].path, "r+b");
    if (!f || t->dtype != DT_F32 || fseek(f, (long)(t->offset + 4 * first), SEEK_SET) || fwrite(x, 4, n, f) != n ||
        fclose(f))
        BUG("cannot edit %s", t->name);
}
static void scale_weights(const struct lm *lm, enum lm_role role, int layer, float factor)
{
    const struct lm_tensor *t = lm_tensor_of(lm, role, layer);
    const size_t n = (size_t)(t->nb / 4);
    float *x = xmalloc(n, sizeof *x);
    FILE *f = fopen(lm->file[t->file].path, "rb");
    if (!f || fseek(f, (long)t->offset, SEEK_SET) || fread(x, 4, n, f) != n || fclose(f))
        BUG("cannot read %s", t->name);
    for (size_t i = 0; i < n; i++)
        x[i] *= factor;
    edit_weights(lm, role, layer, 0, x, n);
    free(x);
}
/* Read it again: files are known by their time. */
static void reread(struct lm *lm)
{
    char *dir = xstrdup(lm->path);
    lm_free(lm);
    subject_model(lm, dir);
    free(dir);
}

/* The pad's embedding points along one channel of the first norm: no other row's normed input can be larger there. */
static void check_sentinel_amax(void)
{
    enum { D = 80, CHANNEL = 3 };
    static const int32_t five[] = {10, 11, 12, 13, 14}, nine[] = {20, 21, 22, 23, 24, 25, 26, 27, 28};
    static const int32_t *const ids[] = {nine, five, nine, nine}; /* batches of two: the second has no padding */
    static const int64_t length[] = {9, 5, 9, 9};
    struct lm lm;
    struct calib c;
    struct err e;
    float row[D] = {[CHANNEL] = 100}, gain[D];
    for (int i = 0; i < D; i++)
        gain[i] = i == CHANNEL ? 2 : 1;
    make_model(&lm, &shapes[0], 5);
    edit_weights(&lm, ROLE_EMBED, -1, PAD * D, row, D);
    edit_weights(&lm, ROLE_ATTN_NORM, 0, 0, gain, D);
    reread(&lm);
    const struct replay_set set = subject_pairs("fp8_fp8 mxfp4_fp8");
    const double most = 2 * sqrt(D);
    for (int sentinels = 0; sentinels < 2; sentinels++) {
        if (calib_build(&c, 4, ids, length, 2, SEQ_LEN, sentinels, PAD, &e))
            BUG("%s", e.msg);
        for (int ref = 0; ref < 2; ref++) {
            struct scorer_result r = subject_score(ref ? &be_ref_ops : &be_cpu_ops, &lm, &c, &set, &subject_fp32);
            for (int u = 0; u < 3; u++) { /* q, k, v of the first layer */
                const double a = (double)r.amax[u], b = (double)r.amax[r.n_units + u];
                ok(sentinels ? distance(a, most) < 1e-6 : a < 0.9 * most,
                   "%s: %s: maximum of the batch with padding: %g", ref ? "ref" : "cpu",
                   sentinels ? "reference" : "none", a);
                ok(b < 0.9 * most, "and of the one without: %g", b);
            }
            scorer_result_free(&r);
        }
        calib_free(&c);
    }
    lm_free(&lm);
}

/* ---- errors and corners */

static void refused(const struct lm *lm, const struct calib *c, const char *name, enum err_code code, const char *part)
{
    struct scorer_result r;
    struct err e = {0};
    const struct replay_set set = subject_pairs("int8_int8");
    ok(subject_run(&r, &be_cpu_ops, lm, c, &set, &subject_fp32, &e) && e.code == code && strstr(e.msg, part) &&
           !r.record,
       "%s: %s", name, e.msg);
}

static void check_errors(void)
{
    struct lm lm;
    struct calib c;
    const float huge[2] = {3e38f, 3e38f};
    make_captions(&c, 4, 2, true, 331, 3);
    make_model(&lm, &shapes[0], 3);
    int32_t *id = &c.ids[c.n_rows - 1], keep = *id;
    *id = 331;
    refused(&lm, &c, "an id of another vocabulary", ERR_CONFIG, "token id 331 in row");
    *id = -1;
    refused(&lm, &c, "a negative id", ERR_CONFIG, "token id -1 in row");
    *id = keep;
    /* d is about 1 as ever, but the gradient at m is 1e37 times larger, and lm_head's is large too */
    scale_weights(&lm, ROLE_UP, 1, 1e-37f);
    scale_weights(&lm, ROLE_DOWN, 1, 1e37f);
    scale_weights(&lm, ROLE_LM_HEAD, -1, 1e5f);
    refused(&lm, &c, "a checkpoint that changed", ERR_IO, "changed since extract-lm looked at it");
    reread(&lm);
    refused(&lm, &c, "a gradient that overflows", ERR_NUMERIC,
            "group 'model.language_model.layers.1.mlp.gate_proj' (unit 'model.language_model.layers.1.mlp.up_proj', "
            "weight int8/out_channel, activation int8/tensor) is not finite at sequence 1");
    edit_weights(&lm, ROLE_MLP_NORM, 0, 4, huge, 2);
    reread(&lm);
    refused(&lm, &c, "an input that overflows", ERR_NUMERIC,
            "the input of 'model.language_model.layers.0.mlp.gate_proj' is not finite in calibration batch 1");
    remove(lm.file[0].path);
    refused(&lm, &c, "a file that is gone", ERR_IO, "cannot open");
    calib_free(&c);
    lm_free(&lm);
}

/* Sequences of one token without sentinels have no loss: every score is zero. */
static void check_no_loss(void)
{
    static const int32_t one[] = {3};
    static const int32_t *const ids[] = {one, one, one};
    static const int64_t length[] = {1, 1, 1};
    struct lm lm;
    struct calib c;
    struct err e;
    if (calib_build(&c, 3, ids, length, 2, SEQ_LEN, false, PAD, &e))
        BUG("%s", e.msg);
    make_model(&lm, &shapes[2], 4);
    const struct replay_set set = many_pairs();
    for (int ref = 0; ref < 2; ref++) {
        struct scorer_result r = subject_score(ref ? &be_ref_ops : &be_cpu_ops, &lm, &c, &set, &subject_bf16);
        bool zero = r.n_scored_seqs == 3 && r.loss == 0;
        for (int i = 0; i < set.n * 3 * r.n_units; i++)
            zero = zero && r.record[i] == 0;
        ok(zero, "no loss, no score (%s)", ref ? "ref" : "cpu");
        scorer_result_free(&r);
    }
    calib_free(&c);
    lm_free(&lm);
}

static void check_scored_seqs(void)
{
    static const struct {
        int n_seqs, batch, score_size, want;
    } row[] = {{128, 8, 128, 128}, {512, 8, 128, 128}, {13, 8, 128, 13}, {13, 8, 8, 8}, {13, 8, 1, 8},
               {13, 8, 15, 8},     {13, 8, 16, 13},    {5, 8, 1, 5},     {7, 3, 5, 3},  {7, 1, 5, 5}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        const struct calib c = {.n_seqs = row[i].n_seqs, .batch_size = row[i].batch,
                                .n_batches = (row[i].n_seqs + row[i].batch - 1) / row[i].batch};
        ok(scorer_scored_seqs(&c, row[i].score_size) == row[i].want, "score size %d of %d in batches of %d: %d",
           row[i].score_size, row[i].n_seqs, row[i].batch, row[i].want);
    }
}

int main(void)
{
    parallel_init(2);
    check_backends(&shapes[0], 13, 3, true, 1);
    check_backends(&shapes[1], 8, 8, true, 2);
    check_backends(&shapes[2], 5, 1, true, 3);
    check_backends(&shapes[0], 1, 8, true, 4);
    check_backends(&shapes[1], 13, 8, false, 5);
    check_faults();
    check_gradients();
    check_sentinel_amax();
    check_errors();
    check_no_loss();
    check_scored_seqs();
    remove_models();
    return done();
}
