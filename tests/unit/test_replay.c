/* replay: which quantizer combinations are replayed, that their work is shared, and the arithmetic of a replay. */
#include "replay.h"

#include "fakequant.h"
#include "ops/ops.h"
#include "parity/subject.h"
#include "tap.h"

/* ---- the set */

static void check_set(void)
{
    struct replay_set s = {0};
    const struct pair a = subject_pair("fp8_fp8"), b = subject_pair("int8_fp8"), c = subject_pair("fp8_fp16"),
                      d = subject_pair("mxfp4_fp8");
    struct pair renamed = a;
    snprintf(renamed.name, sizeof renamed.name, "another_name");
    ok(subject_add(&s, &a) == 0 && subject_add(&s, &b) == 1 && subject_add(&s, &c) == 2 && subject_add(&s, &d) == 3,
       "four replays in the order they were added");
    ok(subject_add(&s, &renamed) == 0 && subject_add(&s, &c) == 2 && s.n == 4, "equal arithmetic is replayed once");
    ok(s.n_weight == 3 && s.n_act == 3, "three weight quantizers, three of activations: %d, %d", s.n_weight, s.n_act);
    ok(s.replay[1].act == s.replay[0].act && s.replay[2].weight == s.replay[0].weight, "which pairs share");
    ok(replay_needs_static_amax(&s), "static FP8 activations need calibration");
    struct replay_set none = {0};
    subject_add(&none, &c);
    subject_add(&none, &d);
    ok(!replay_needs_static_amax(&none), "weight-only pairs and dynamic scales do not");
}

static void check_limit(void)
{
    struct replay_set s = {0};
    struct err e = {0};
    struct pair p = {.weight = {QF_INT4, QG_BLOCK, 2, false}, .activation = {QF_NONE, QG_TENSOR, 0, false}};
    int n = 0;
    while (n < 1000 && replay_add(&s, &p, &e) == n) {
        n++;
        p.weight.block++;
    }
    ok(n == REPLAY_MAX_QUANTIZERS && e.code == ERR_LIMIT && strstr(e.msg, "more than 64 different quantizer pairs"),
       "%d weight quantizers: %s", n, e.msg);
    p.weight.block = 2;
    ok(replay_add(&s, &p, &e) == 0, "one that is there already is still found");
    struct replay_set square = {0}; /* 9 x 9 pairs of 9 and 9 quantizers */
    n = 0;
    for (int w = 0; w < 9; w++)
        for (int a = 0; a < 9; a++) {
            p.weight.block = w + 2;
            p.activation = (struct quantizer){QF_INT8, QG_BLOCK, a + 2, false};
            n += replay_add(&square, &p, &e) >= 0;
        }
    ok(n == REPLAY_MAX_QUANTIZERS && square.n == n, "%d pairs of few quantizers", n);
}

/* ---- one unit */

enum { N = 2, I = 4, O = 2, WIDE = 5 };

struct unit {
    struct side s;
    struct replayer r;
    struct be_view x, w, y, g, amax_static, amax_batch, batch, amax_w, sum;
};

static const double X[N * I] = {1, -.5, .25, 2, .30078125, .10009765625, -.69921875, .050048828125};
static const double W[O * I] = {.5, -.25, .125, .0625, .8984375, .2001953125, -.400390625, .050048828125};
static const double G[N * O] = {.010009765625, -.02001953125, .0030059814453125, .003997802734375};

static void open_unit(struct unit *u, const struct be_ops *ops, enum mode mode, const struct replay_set *set)
{
    static const double amax[] = {2}, batch_amax[] = {2, .69921875}, w_amax[] = {.8984375};
    static const int batch[N] = {0, 1};
    static const double zero[REPLAY_MAX_QUANTIZERS * N];
    double wide[N * WIDE] = {0};
    side_open(&u->s, ops, mode);
    struct side *s = &u->s;
    u->x = side_tensor(s, side_act(s), X, N * I);
    u->w = side_tensor(s, side_weight(s), W, O * I);
    u->g = side_tensor(s, side_act(s), G, N * O);
    u->y = side_tensor(s, side_act(s), wide, N * WIDE); /* rows further apart than they are long, as those of logits */
    ops->linear(s->be, u->y, u->x, u->w, N, I, O, WIDE, false);
    u->amax_static = side_tensor(s, DT_F32, amax, 1);
    u->amax_batch = side_tensor(s, DT_F32, batch_amax, 2);
    u->amax_w = side_tensor(s, DT_F32, w_amax, 1);
    u->batch = side_ints(s, batch, N);
    u->sum = side_new(s, DT_F64, (size_t)set->n * N);
    side_put(s, u->sum, zero, (size_t)set->n * N);
    replayer_open(&u->r, ops, s->be, set, mode == BF16, &(struct replay_size){N, I, N * O, O * I});
}

static void run_unit(struct unit *u)
{
    const struct be_view none = {0};
    replayer_input(&u->r, u->x, N, I, u->amax_static, 0, u->amax_batch, u->batch);
    replayer_unit(&u->r, u->w, O, u->amax_w, none, u->y, WIDE, u->g, u->sum, N);
}

static void close_unit(struct unit *u)
{
    replayer_close(&u->r);
    side_close(&u->s);
}

/* Worked by hand in bf16: amax 2 for the input, .5 and .8984375 for the rows of the weight.
 *   Y  = [[.78125 .796875] [.041015625 .57421875]]     Yq = [[.7890625 .8046875] [.04150390625 .56640625]]
 *   D  = [[.0078125 .0078125] [.00048828125 -.0078125]] */
static void check_worked_example(const struct be_ops *ops)
{
    struct unit u;
    const struct replay_set set = subject_pairs("int8_int8");
    open_unit(&u, ops, BF16, &set);
    run_unit(&u);
    double *sum = side_get(&u.s, u.sum, N);
    const double row0 = pow(.010009765625 * .0078125, 2) + pow(.02001953125 * .0078125, 2);
    const double row1 = pow(.0030059814453125 * .00048828125, 2) + pow(.003997802734375 * .0078125, 2);
    ok(fabs(sum[0] / row0 - 1) < 1e-14 && fabs(sum[1] / row1 - 1) < 1e-14 &&
           fabs((sum[0] + sum[1]) / 3.155485472916553e-08 - 1) < 1e-6,
       "%s: INT8 by hand: %.10g %.10g", ops->name, sum[0], sum[1]);
    free(sum);
    run_unit(&u);
    sum = side_get(&u.s, u.sum, N);
    ok(fabs(sum[0] / (2 * row0) - 1) < 1e-14, "sums are added to");
    ok(u.r.flops == 2 * 2.0 * N * I * O, "operations are counted: %g", u.r.flops);
    ok(side_guards_intact(&u.s), "nothing else is written");
    free(sum);
    close_unit(&u);
}

/* A replay straight from the formats: row sums of (G (Xq Wq^T - X W^T))^2 in double. */
static void expect(double *sum, const struct quantizer *qw, const struct quantizer *qa)
{
    float wq[O * I], xq[N * I], cols[I] = {0};
    for (int i = 0; i < O * I; i++) {
        wq[i] = (float)W[i];
        cols[i % I] = fmaxf(cols[i % I], fabsf(wq[i]));
    }
    const float most = .8984375f, batch[N] = {2, .69921875f}, all = 2;
    for (int o = 0; o < O && qw->format != QF_NONE; o++)
        fakequant_row(qw, wq + o * I, wq + o * I, I, qw->granularity == QG_IN_CHANNEL ? cols : &most);
    for (int n = 0; n < N; n++) {
        for (int i = 0; i < I; i++)
            xq[n * I + i] = (float)X[n * I + i];
        if (qa->format != QF_NONE)
            fakequant_row(qa, xq + n * I, xq + n * I, I, qa->dynamic ? &batch[n] : &all);
        sum[n] = 0;
        for (int o = 0; o < O; o++) {
            double d = 0;
            for (int i = 0; i < I; i++)
                d += (double)xq[n * I + i] * (double)wq[o * I + i] - X[n * I + i] * W[o * I + i];
            sum[n] += pow(G[n * O + o] * d, 2);
        }
    }
}

static void check_kinds(const struct be_ops *ops)
{
    static const struct pair pairs[] = {
        {"", "", "", {QF_INT4, QG_OUT_CHANNEL, 0, false}, {QF_NONE, QG_TENSOR, 0, false}},
        {"", "", "", {QF_INT4, QG_IN_CHANNEL, 0, false}, {QF_INT4, QG_TENSOR, 0, false}},
        {"", "", "", {QF_INT4, QG_BLOCK, 3, false}, {QF_FP8, QG_TENSOR, 0, true}},
        {"", "", "", {QF_FP8, QG_TENSOR, 0, false}, {QF_INT4, QG_TOKEN, 0, true}},
        {"", "", "", {QF_FP4, QG_BLOCK, 16, true}, {QF_FP8, QG_TENSOR, 0, false}},
        {"", "", "", {QF_MXFP4, QG_BLOCK, 32, true}, {QF_FP8, QG_TENSOR, 0, true}},
        {"", "", "", {QF_NONE, QG_TENSOR, 0, false}, {QF_INT4, QG_TENSOR, 0, false}},
    };
    enum { PAIRS = sizeof pairs / sizeof *pairs };
    struct replay_set set = {0};
    struct unit u;
    for (size_t i = 0; i < PAIRS; i++)
        subject_add(&set, &pairs[i]);
    open_unit(&u, ops, FP32, &set);
    run_unit(&u);
    double *sum = side_get(&u.s, u.sum, PAIRS * N);
    for (int i = 0; i < PAIRS; i++) {
        char w[QUANTIZER_KEY], a[QUANTIZER_KEY];
        double want[N];
        quantizer_key(&pairs[i].weight, w);
        quantizer_key(&pairs[i].activation, a);
        expect(want, &pairs[i].weight, &pairs[i].activation);
        /* differences of outputs near 1 in fp32 */
        const double far = fmax(fabs(sum[i * N] / want[0] - 1), fabs(sum[i * N + 1] / want[1] - 1));
        ok(far <= 1e-4 && want[0] > 0 && want[1] > 0, "%s: weight %s, activation %s: %.2g", ops->name, w, a, far);
    }
    free(sum);
    close_unit(&u);
}

/* Column maxima that are given win over those of the weight at hand: lm_head comes in blocks of rows. */
static void check_given_columns(const struct be_ops *ops)
{
    static const double large[I] = {8, 8, 8, 8};
    struct replay_set set = {0};
    struct unit u;
    const struct pair p = {.weight = {QF_INT8, QG_IN_CHANNEL, 0, false}, .activation = {QF_NONE, QG_TENSOR, 0, false}};
    subject_add(&set, &p);
    open_unit(&u, ops, FP32, &set);
    run_unit(&u);
    double *own = side_get(&u.s, u.sum, N);
    const struct be_view cols = side_tensor(&u.s, DT_F32, large, I);
    replayer_unit(&u.r, u.w, O, u.amax_w, cols, u.y, WIDE, u.g, u.sum, N);
    double *both = side_get(&u.s, u.sum, N);
    ok(both[0] - own[0] > 10 * own[0], "%s: given column maxima: %g, own %g", ops->name, both[0] - own[0], own[0]);
    free(own);
    free(both);
    close_unit(&u);
}

int main(void)
{
    check_set();
    check_limit();
    for (int i = 0; i < 2; i++) {
        const struct be_ops *ops = i ? &be_cpu_ops : &be_ref_ops;
        check_worked_example(ops);
        check_kinds(ops);
        check_given_columns(ops);
    }
    return done();
}
