/* tensorcore: sums as the GPU makes them, against the op tests' model of it; which outputs are looked at again; and the
 * linear op that uses both. */
#include "tensorcore.h"

#include "ops/ops.h"
#include "ops/tensor_cores.h"
#include "tap.h"

enum { MAX_K = 4096, MAX_N = 300 };

static float bf16_normal(struct rng *r, double sigma)
{
    return bf16_round((float)(sigma * rng_normal(r)));
}

static bool same_bits(float a, float b)
{
    return f32_bits(a) == f32_bits(b);
}

/* ---- one sum */

static void check_dot(const char *name, double x_sigma, double w_sigma, int spread)
{
    static float x[MAX_K], w[4][MAX_K];
    const float *const rows[4] = {w[0], w[1], w[2], w[3]};
    struct rng r = {3};
    int wrong = 0, differ = 0, n = 0;
    for (int K = 1; K <= MAX_K; K += K < 70 ? 1 : K / 3) {
        for (int k = 0; k < K; k++) {
            x[k] = bf16_normal(&r, ldexp(x_sigma, spread ? rng_below(&r, 2 * spread) - spread : 0));
            for (int o = 0; o < 4; o++)
                w[o][k] = rng_below(&r, 9) ? bf16_normal(&r, w_sigma) : 0;
        }
        float got[4];
        tensorcore_dot4(x, rows, K, got);
        for (int o = 0; o < 4; o++, n++) {
            float plain = 0;
            for (int k = 0; k < K; k++)
                plain += x[k] * w[o][k];
            wrong += !same_bits(got[o] + 0,
                                tensor_core_dot(x, 1, w[o], 1, K) + 0); /* + 0: of zeros' signs nothing is said */
            differ += !same_bits(got[o], plain);
        }
    }
    ok(!wrong && differ > n / 4, "%s: %d sums, %d wrong, %d are not the plain fp32 sum", name, n, wrong, differ);
}

/* By hand: 1 and fifteen times the same. Below 2^-25 addends vanish, 2^-25 counts, what is between is cut; so is the
 * sum, to 24 bits. */
static void check_by_hand(void)
{
    static const struct {
        float first, rest;
        double want;
    } row[] = {{1, 0x1p-26f, 1},
               {1, -0x1p-26f, 1},
               {1, 0x1p-25f, 1 + 3 * 0x1p-23}, /* 15/4 */
               {1, 0x1.8p-25f, 1 + 3 * 0x1p-23},
               {1, 0x1p-24f, 1 + 7 * 0x1p-23}, /* 15/2 */
               {-1, -0x1p-24f, -1 - 7 * 0x1p-23},
               {1, -0x1p-25f, 1 - 16 * 0x1p-25}}; /* under 1 the 24 bits end at 2^-24 */
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        float x[16], w[16], got[4];
        const float *const rows[4] = {w, w, w, w};
        for (int k = 0; k < 16; k++) {
            x[k] = k ? row[i].rest : row[i].first;
            w[k] = 1;
        }
        tensorcore_dot4(x, rows, 16, got);
        ok((double)got[0] == row[i].want, "%a and 15 of %a: %a", (double)row[i].first, (double)row[i].rest,
           (double)got[0]);
    }
}

/* ---- outputs looked at again */

struct problem {
    float *x, *w; /* [N, K], [O, K] */
    float *c, *x_length, *w_length;
    int N, O, K;
};

static void make_problem(struct problem *p, int N, int O, int K, bool outliers, uint64_t seed)
{
    struct rng r = {seed};
    *p = (struct problem){.N = N, .O = O, .K = K};
    p->x = xmalloc((size_t)N * (size_t)K, sizeof *p->x);
    p->w = xmalloc((size_t)O * (size_t)K, sizeof *p->w);
    p->c = xmalloc((size_t)N * (size_t)O + 8, sizeof *p->c);
    p->x_length = xmalloc((size_t)N, sizeof *p->x_length);
    p->w_length = xmalloc((size_t)O, sizeof *p->w_length);
    for (int k = 0; k < K; k++) {
        const double s = outliers && k % 37 == 5 ? 40 : 1;
        for (int i = 0; i < N; i++)
            p->x[(size_t)i * (size_t)K + (size_t)k] = bf16_normal(&r, s);
        for (int o = 0; o < O; o++)
            p->w[(size_t)o * (size_t)K + (size_t)k] = bf16_normal(&r, 0.05 / s);
    }
    float *x2 = xcalloc((size_t)K, sizeof *x2), *w2 = xcalloc((size_t)K, sizeof *w2), *balance = xmalloc((size_t)K, 4);
    for (int i = 0; i < N; i++)
        tensorcore_add_squares(x2, p->x + (size_t)i * (size_t)K, K);
    for (int o = 0; o < O; o++)
        tensorcore_add_squares(w2, p->w + (size_t)o * (size_t)K, K);
    tensorcore_balance(balance, x2, w2, K);
    for (int i = 0; i < N; i++)
        p->x_length[i] = tensorcore_length(p->x + (size_t)i * (size_t)K, balance, 0, K);
    for (int o = 0; o < O; o++)
        p->w_length[o] = tensorcore_length(p->w + (size_t)o * (size_t)K, balance, 1, K);
    free(x2);
    free(w2);
    free(balance);
}

static void free_problem(struct problem *p)
{
    free(p->x);
    free(p->w);
    free(p->c);
    free(p->x_length);
    free(p->w_length);
}

/* Plain sums in eight lanes, as a BLAS might make them. */
static float plain_sum(const float *x, const float *w, int K)
{
    float lane[8] = {0};
    for (int k = 0; k < K; k++)
        lane[k % 8] = fmaf(x[k], w[k], lane[k % 8]);
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

static void check_fix(int K, bool outliers)
{
    enum { N = 24, O = MAX_N - 1, GUARD_VALUE = 12345 };
    struct problem p;
    make_problem(&p, N, O, K, outliers, (uint64_t)K);
    int before = 0, missed = 0, changed = 0, foreign = 0;
    for (int i = 0; i < N; i++) {
        const float *x = p.x + (size_t)i * (size_t)K;
        float plain[MAX_N], *c = p.c;
        for (int o = 0; o < O; o++)
            c[o] = plain[o] = plain_sum(x, p.w + (size_t)o * (size_t)K, K);
        c[O] = GUARD_VALUE;
        tensorcore_fix_row(c, O, x, p.x_length[i], p.w, (size_t)K, p.w_length, K);
        for (int o = 0; o < O; o++) {
            const float gpu = tensor_core_dot(x, 1, p.w + (size_t)o * (size_t)K, 1, K);
            before += !same_bits(bf16_round(plain[o]), bf16_round(gpu));
            missed += !same_bits(bf16_round(c[o]) + 0, bf16_round(gpu) + 0);
            changed += !same_bits(c[o], plain[o]);
            foreign += !same_bits(c[o], plain[o]) && !same_bits(c[o] + 0, gpu + 0);
        }
        foreign += c[O] != GUARD_VALUE;
    }
    const int n = N * O;
    /* the margin misses 1 % at K = 1024, 13 % at K = 4096 */
    ok(missed <= (K > 512 ? 1 + before / 5 : 0) && !foreign, "K %d%s: %d of %d roundings differ, %d after the fix", K,
       outliers ? " with outliers" : "", before, n, missed);
    ok(changed < n / 40 && (before > 0 || K < 384), "%d looked at again and changed", changed);
    free_problem(&p);
}

static void check_special(void)
{
    enum { K = 20, O = 6 };
    float x[K], w[O * K], c[O], length[O];
    const float odd[O] = {NAN, INFINITY, -INFINITY, 0, -0.0f, 1.00390625f}; /* the last is a middle */
    for (int k = 0; k < K; k++)
        x[k] = 1;
    for (int i = 0; i < O * K; i++)
        w[i] = i % 2 ? -1 : 1;
    memcpy(c, odd, sizeof c);
    for (int o = 0; o < O; o++)
        length[o] = 0;
    tensorcore_fix_row(c, O, x, 0, w, K, length, K);
    ok(!memcmp(c, odd, sizeof c), "rows of zeros leave everything as it is");
    for (int o = 0; o < O; o++)
        length[o] = 5;
    tensorcore_fix_row(c, O, x, 5, w, K, length, K);
    ok(!memcmp(c, odd, 3 * sizeof *c), "NaN and infinities stay");
    ok(c[5] == 0, "a sum at a middle is made again");
    memcpy(c, odd, sizeof c);
    for (int o = 0; o < O; o++)
        length[o] = o % 2 ? INFINITY : NAN;
    tensorcore_fix_row(c, O, x, INFINITY, w, K, length, K);
    ok(!memcmp(c, odd, 3 * sizeof *c), "also where lengths are not finite");
    x[3] = 0;
    memset(w, 0, sizeof w);
    const float *const rows[4] = {w, w, w, w};
    float zero[4] = {1, 1, 1, 1};
    tensorcore_dot4(x, rows, K, zero);
    ok(zero[0] == 0 && zero[3] == 0, "a sum of zeros is zero");
    float tiny[K], sum[4];
    for (int k = 0; k < K; k++)
        tiny[k] = 0x1p-126f;
    const float *const small[4] = {tiny, tiny, tiny, tiny};
    tensorcore_dot4(tiny, small, K, sum);
    ok(sum[0] == 0, "products far below 2^-101 vanish");
    for (int k = 0; k < 16; k++)
        tiny[k] = 0x1p-55f;
    tensorcore_dot4(tiny, small, 16, sum);
    ok(sum[0] == 0x1p-106f && sum[3] == 0x1p-106f, "those little below do not");
}

static void check_lengths(void)
{
    enum { K = 37 };
    struct rng r = {8};
    float x[K], square[K] = {0}, other[K] = {0}, balance[K];
    double want = 0, inverse = 0;
    for (int k = 0; k < K; k++)
        x[k] = (float)rng_normal(&r);
    x[4] = 0;
    tensorcore_add_squares(square, x, K);
    tensorcore_add_squares(square, x, K);
    bool twice = true;
    for (int k = 0; k < K; k++) {
        twice = twice && square[k] == 2 * (x[k] * x[k]);
        other[k] = k % 3 == 0 ? 0 : 16 * square[k];
    }
    ok(twice, "squares of columns are added up");
    tensorcore_balance(balance, square, other, K);
    ok(balance[1] == 2 && balance[0] == 1 && balance[4] == 1,
       "balance: root of the ratio of lengths, 1 for empty columns");
    for (int k = 0; k < K; k++) {
        want += pow((double)x[k] * (double)balance[k], 2);
        inverse += pow((double)x[k] / (double)balance[k], 2);
    }
    ok(fabs((double)tensorcore_length(x, balance, 0, K) / sqrt(want) - 1) < 1e-6 &&
           fabs((double)tensorcore_length(x, balance, 1, K) / sqrt(inverse) - 1) < 1e-6,
       "balanced lengths");
}

/* The linear op with all of it together: outputs are the GPU's to the bit. */
static void check_linear(void)
{
    enum { N = 70, I = 1000, O = 300 };
    struct problem p;
    struct side s;
    const struct be_ops gpu = tensor_core_ops();
    make_problem(&p, N, O, I, true, 99);
    side_open(&s, &be_cpu_ops, BF16);
    const struct be_view x = side_new(&s, DT_BF16, N * I), w = side_new(&s, DT_F32, O * I);
    const struct be_view y = side_new(&s, DT_BF16, N * O), want = side_new(&s, DT_BF16, N * O);
    const struct be_view fx = side_new(&s, DT_F32, N * I);
    s.op->put(s.be, fx, p.x, N * I);
    s.op->convert(s.be, x, fx, N * I);
    s.op->put(s.be, w, p.w, O * I);
    gpu.linear(s.be, want, x, w, N, I, O, O, true);
    int differ[2];
    for (int as_reference = 0; as_reference < 2; as_reference++) {
        s.op->linear(s.be, y, x, w, N, I, O, O, as_reference);
        double *a = side_get(&s, y, N * O), *b = side_get(&s, want, N * O);
        differ[as_reference] = 0;
        for (int i = 0; i < N * O; i++)
            differ[as_reference] += a[i] != b[i];
        free(a);
        free(b);
    }
    ok(differ[0] > 0 && differ[1] == 0, "linear: %d of %d outputs differ from the GPU's, %d as reference", differ[0],
       N * O, differ[1]);
    side_close(&s);
    free_problem(&p);
}

int main(void)
{
    check_dot("normal data", 1, 1, 0);
    check_dot("large and small", 0x1p30, 0x1p-40, 0);
    check_dot("exponents that differ", 1, 1, 12);
    check_by_hand();
    static const int sizes[] = {1, 2, 15, 16, 17, 64, 100, 129, 384, 1000, 2048, 4096};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        check_fix(sizes[i], false);
    check_fix(384, true);
    check_fix(1000, true);
    check_special();
    check_lengths();
    check_linear();
    return done();
}
