/* cases - one function per op that sets up its inputs and calls it; and the shapes, the bounds. Inputs are seeded, so
 * that every backend gets the same. */
#ifndef CASES_H
#define CASES_H
#include "ops.h"
#include "tap.h"

struct dims {
    int N, D, O; /* rows, width (inputs), outputs */
    int H, K, E;
    const int *seq; /* see side_seqs; N follows from it */
};

enum { MAX_OUTPUTS = 128 };

/* A result to compare: rows of `width`. Values of type act are rounded as activations, others are fp32 or better. */
struct output {
    struct be_view v;
    size_t n, width;
};

struct run {
    struct side side;
    struct rng rng;
    struct output out[MAX_OUTPUTS];
    int n_out;
    struct {
        struct be_view v;
        size_t n;
        double *x;
    } in[MAX_TENSORS]; /* must be as they were */
    int n_in;
};

static struct be_view keep(struct run *r, struct be_view v, size_t n)
{
    r->in[r->n_in].v = v;
    r->in[r->n_in].n = n;
    r->in[r->n_in++].x = side_get(&r->side, v, n);
    return v;
}
static struct be_view given(struct run *r, enum dtype t, const double *x, size_t n)
{
    return keep(r, side_tensor(&r->side, t, x, n), n);
}
static double *normals(struct run *r, size_t n, double scale)
{
    double *x = xmalloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = scale * rng_normal(&r->rng);
    return x;
}
static struct be_view input_of(struct run *r, enum dtype t, size_t n, double scale)
{
    double *x = normals(r, n, scale);
    struct be_view v = given(r, t, x, n);
    free(x);
    return v;
}
static struct be_view input(struct run *r, size_t n, double scale)
{
    return input_of(r, side_act(&r->side), n, scale);
}
/* Weights are bf16 values in bf16 mode, whatever type a backend holds them in. */
static struct be_view weight(struct run *r, size_t n, double scale)
{
    double *x = normals(r, n, scale);
    for (size_t i = 0; i < n && r->side.mode == BF16; i++)
        x[i] = (double)bf16_round_f64(x[i]);
    struct be_view v = given(r, side_weight(&r->side), x, n);
    free(x);
    return v;
}
static struct be_view f32(struct run *r, size_t n, double scale)
{
    return input_of(r, DT_F32, n, scale);
}

static struct be_view compare(struct run *r, struct be_view v, size_t n, size_t width)
{
    if (r->n_out == MAX_OUTPUTS)
        BUG("more than %d outputs", MAX_OUTPUTS);
    r->out[r->n_out++] = (struct output){v, n, width};
    return v;
}
/* width 1: an elementwise result, good to its own rounding; else sums that may cancel */
static struct be_view output_of(struct run *r, enum dtype t, size_t n, size_t width)
{
    return compare(r, side_new(&r->side, t, n), n, width);
}
static struct be_view output(struct run *r, size_t n, size_t width)
{
    return output_of(r, side_act(&r->side), n, width);
}
/* An output that starts with values. */
static struct be_view inout_of(struct run *r, enum dtype t, size_t n, size_t width, double scale)
{
    double *x = normals(r, n, scale);
    struct be_view v = compare(r, side_tensor(&r->side, t, x, n), n, width);
    free(x);
    return v;
}
static struct be_view ints_below(struct run *r, size_t n, int below)
{
    int *x = xmalloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = rng_below(&r->rng, below);
    struct be_view v = side_ints(&r->side, x, n);
    free(x);
    return v;
}
static size_t mul(int a, int b)
{
    return (size_t)a * (size_t)b;
}

/* ---- memory and rows */

static void case_load(struct run *r, const struct dims *d)
{
    static const enum dtype from[] = {DT_BF16, DT_F16, DT_F32};
    for (int i = 0; i < 3; i++)
        for (int rounds = 0; rounds < 2; rounds++) {
            const size_t n = (size_t)d->N, nb = n * dtype_size(from[i]);
            unsigned char *bytes = xmalloc(nb + 1, 1); /* any bits, at an odd address */
            for (size_t j = 0; j < nb + 1; j++)
                bytes[j] = (unsigned char)rng_bits(&r->rng);
            r->side.op->load(r->side.be, output_of(r, DT_F32, n, 1), bytes + 1, from[i], n, rounds);
            if (rounds || from[i] == DT_BF16)
                r->side.op->load(r->side.be, output(r, n, 1), bytes + 1, from[i], n, true);
            free(bytes);
        }
}
static void case_convert(struct run *r, const struct dims *d)
{
    static const enum dtype type[] = {DT_BF16, DT_F32};
    const size_t n = (size_t)d->N;
    for (int i = 0; i < 4; i++) {
        struct be_view x = input_of(r, type[i / 2], n, 1);
        r->side.op->convert(r->side.be, output_of(r, type[i % 2], n, 1), x, n);
    }
}
static void case_zero(struct run *r, const struct dims *d)
{
    r->side.op->zero(r->side.be, output(r, (size_t)d->N, 1), (size_t)d->N);
}
static void case_gather(struct run *r, const struct dims *d)
{
    struct be_view x = input(r, mul(d->N, d->D), 1), row = ints_below(r, (size_t)d->O, d->N);
    r->side.op->gather_rows(r->side.be, output(r, mul(d->O, d->D), 1), x, row, d->O, d->D);
}
static void case_scatter(struct run *r, const struct dims *d)
{
    int *row = xmalloc((size_t)d->N, sizeof *row);
    for (int i = 0; i < d->N; i++) { /* a permutation, of which the first O are used */
        const int j = rng_below(&r->rng, i + 1);
        row[i] = row[j];
        row[j] = i;
    }
    struct be_view x = input(r, mul(d->O, d->D), 1), rows = side_ints(&r->side, row, (size_t)d->O);
    r->side.op->scatter_rows(r->side.be, output(r, mul(d->N, d->D), 1), x, rows, d->O, d->N, d->D);
    free(row);
}
static void case_add(struct run *r, const struct dims *d)
{
    const size_t n = (size_t)d->N;
    struct be_view a = input(r, n, 1), b = input(r, n, 0.3), y = inout_of(r, side_act(&r->side), n, 1, 1);
    r->side.op->add(r->side.be, output(r, n, 1), a, b, n);
    r->side.op->add(r->side.be, y, y, b, n);
    y = inout_of(r, side_act(&r->side), n, 1, 1);
    r->side.op->add(r->side.be, y, a, y, n);
}

/* ---- linear layers, norms, rotary embedding */

static void case_linear(struct run *r, const struct dims *d)
{
    struct be_view x = input(r, mul(d->N, d->D), 1), w = weight(r, mul(d->O, d->D), 0.05);
    const int ldy = d->O + 3;
    r->side.op->linear(r->side.be, output(r, mul(d->N, d->O), mul(d->N, d->O)), x, w, d->N, d->D, d->O, d->O, false);
    struct be_view y = inout_of(r, side_act(&r->side), mul(d->N, ldy), mul(d->N, ldy), 0); /* the gaps stay 0 */
    r->side.op->linear(r->side.be, y, x, w, d->N, d->D, d->O, ldy, true);
}
static void case_linear_dx(struct run *r, const struct dims *d)
{
    struct be_view dy = input(r, mul(d->N, d->O), 1e-3), w = weight(r, mul(d->O, d->D), 0.05);
    r->side.op->linear_dx(r->side.be, output(r, mul(d->N, d->D), mul(d->N, d->D)), dy, w, d->N, d->D, d->O, false);
}
static void case_linear_dx_sum(struct run *r, const struct dims *d)
{
    struct be_view dy = input(r, mul(d->N, d->O), 1), w = weight(r, mul(d->O, d->D), 0.05);
    struct be_view dx = inout_of(r, r->side.op->sum_dtype, mul(d->N, d->D), mul(d->N, d->D), 1);
    r->side.op->linear_dx(r->side.be, dx, dy, w, d->N, d->D, d->O, true);
}
/* Rows so small that eps counts, and one of zeros. */
static struct be_view norm_input(struct run *r, const struct dims *d)
{
    double *x = normals(r, mul(d->N, d->D), 1);
    for (size_t i = 0; i < mul(d->N, d->D); i++) {
        const size_t row = i / (size_t)d->D;
        x[i] *= row % 5 == 3 ? 1e-3 : row % 7 == 4 ? 0 : 30;
    }
    struct be_view v = given(r, side_act(&r->side), x, mul(d->N, d->D));
    free(x);
    return v;
}
static void case_rmsnorm(struct run *r, const struct dims *d)
{
    struct be_view x = norm_input(r, d), w = weight(r, (size_t)d->D, 1);
    r->side.op->rmsnorm(r->side.be, output(r, mul(d->N, d->D), 1), x, w, d->N, d->D, 1e-6f);
}
static void case_rmsnorm_bwd(struct run *r, const struct dims *d)
{
    struct be_view x = norm_input(r, d), w = weight(r, (size_t)d->D, 1), dy = input(r, mul(d->N, d->D), 1e-2);
    r->side.op->rmsnorm_bwd(r->side.be, output(r, mul(d->N, d->D), (size_t)d->D), dy, x, w, d->N, d->D, 1e-6f);
}
static void rope_tables(struct run *r, int positions, int half, struct be_view *c, struct be_view *s)
{
    double *x = xmalloc(2 * mul(positions, half), sizeof *x), *y = x + mul(positions, half);
    for (int p = 0; p < positions; p++)
        for (int j = 0; j < half; j++) {
            const double f = p * pow(1e4, -(double)j / half);
            x[mul(p, half) + (size_t)j] = bf16_round_f64(cos(f));
            y[mul(p, half) + (size_t)j] = bf16_round_f64(sin(f));
        }
    *c = given(r, DT_F32, x, mul(positions, half));
    *s = given(r, DT_F32, y, mul(positions, half));
    free(x);
}
static void case_rope(struct run *r, const struct dims *d)
{
    struct be_view c, s, pos = ints_below(r, (size_t)d->N, 50);
    rope_tables(r, 50, d->E / 2, &c, &s);
    const size_t n = mul(d->N, d->H * d->E);
    for (int backward = 0; backward < 2; backward++)
        r->side.op->rope(r->side.be, inout_of(r, side_act(&r->side), n, (size_t)d->E, 1), c, s, pos, d->N, d->H, d->E,
                         backward);
}

/* ---- attention */

static void case_attention(struct run *r, const struct dims *d)
{
    const int N = seqs_rows(d->seq);
    const size_t nq = mul(N, d->H * d->E), nk = mul(N, d->K * d->E);
    struct be_view q = input(r, nq, 1.5), k = input(r, nk, 1.5), v = input(r, nk, 1);
    struct be_seqs seqs = side_seqs(&r->side, d->seq);
    struct be_view o = output(r, nq, (size_t)d->E);
    r->side.op->attention(r->side.be, o, output_of(r, DT_F32, mul(N, d->H), 1), q, k, v, seqs, d->H, d->K, d->E);
}
/* o and lse come from the reference, so that both sides have the same. */
static void case_attention_bwd(struct run *r, const struct dims *d)
{
    const int N = seqs_rows(d->seq);
    const size_t nq = mul(N, d->H * d->E), nk = mul(N, d->K * d->E);
    struct be_view q = input(r, nq, 1.5), k = input(r, nk, 1.5), v = input(r, nk, 1), dout = input(r, nq, 1e-2);
    struct side ref;
    side_open(&ref, &be_ref_ops, r->side.mode);
    double *h[3] = {side_get(&r->side, q, nq), side_get(&r->side, k, nk), side_get(&r->side, v, nk)};
    struct be_view o = side_new(&ref, side_act(&ref), nq), lse = side_new(&ref, DT_F32, mul(N, d->H));
    ref.op->attention(ref.be, o, lse, side_tensor(&ref, side_act(&ref), h[0], nq),
                      side_tensor(&ref, side_act(&ref), h[1], nk), side_tensor(&ref, side_act(&ref), h[2], nk),
                      side_seqs(&ref, d->seq), d->H, d->K, d->E);
    double *ho = side_get(&ref, o, nq), *hl = side_get(&ref, lse, mul(N, d->H));
    o = given(r, side_act(&r->side), ho, nq);
    lse = side_new(&r->side, DT_F32, mul(N, d->H));
    side_put(&r->side, lse, hl, mul(N, d->H));
    side_close(&ref);
    for (int i = 0; i < 3; i++)
        free(h[i]);
    free(ho);
    free(hl);
    /* A row that attends to itself alone has dq = 0 by cancellation, so errors are measured by the whole tensor. */
    struct be_view dq = output(r, nq, nq), dk = output(r, nk, nk), dv = output(r, nk, nk);
    r->side.op->attention_bwd(r->side.be, dq, dk, dv, dout, q, k, v, o, lse, side_seqs(&r->side, d->seq), d->H, d->K,
                              d->E);
}

/* ---- SwiGLU, cross-entropy */

static void case_swiglu(struct run *r, const struct dims *d)
{
    const size_t n = (size_t)d->N;
    struct be_view g = input(r, n, 4), u = input(r, n, 1);
    r->side.op->swiglu(r->side.be, output(r, n, 1), g, u, n);
}
static void case_swiglu_bwd(struct run *r, const struct dims *d)
{
    const size_t n = (size_t)d->N;
    struct be_view g = input(r, n, 4), u = input(r, n, 1), dm = input(r, n, 1e-3);
    r->side.op->swiglu_bwd(r->side.be, output(r, n, n), output(r, n, 1), dm, g, u, n);
    g = inout_of(r, side_act(&r->side), n, n, 4);
    u = inout_of(r, side_act(&r->side), n, 1, 1);
    r->side.op->swiglu_bwd(r->side.be, g, u, dm, g, u, n);
}
static void case_xent(struct run *r, const struct dims *d)
{
    struct be_view z = input(r, mul(d->N, d->D), 5), target = ints_below(r, (size_t)d->N, d->D);
    r->side.op->xent(r->side.be, output_of(r, DT_F32, 2 * (size_t)d->N, 2),
                     output_of(r, DT_F32, (size_t)d->N, (size_t)d->N), z, target, d->N, d->D);
}
/* All columns, then the same in two pieces. */
static void case_xent_bwd(struct run *r, const struct dims *d)
{
    struct be_view z = input(r, mul(d->N, d->D), 5), target = ints_below(r, (size_t)d->N, d->D),
                   s = f32(r, (size_t)d->N, 1e-2);
    double *m = xmalloc(2 * (size_t)d->N, sizeof *m);
    for (size_t i = 0; i < 2 * (size_t)d->N; i += 2) {
        m[i] = 15 + rng_normal(&r->rng);
        m[i + 1] = 2 + rng_uniform(&r->rng);
    }
    struct be_view stat = side_new(&r->side, DT_F32, 2 * (size_t)d->N);
    side_put(&r->side, stat, m, 2 * (size_t)d->N);
    free(m);
    const int cut = d->D / 3;
    r->side.op->xent_bwd(r->side.be, output(r, mul(d->N, d->D), 1), z, stat, target, s, d->N, d->D, 0, d->D);
    if (cut)
        r->side.op->xent_bwd(r->side.be, output(r, mul(d->N, cut), 1), z, stat, target, s, d->N, d->D, 0, cut);
    r->side.op->xent_bwd(r->side.be, output(r, mul(d->N, d->D - cut), 1), z, stat, target, s, d->N, d->D, cut,
                         d->D - cut);
}

/* ---- quantization */

enum { GROUPS = 4 };

static struct be_view groups(struct run *r, int N)
{
    return ints_below(r, (size_t)N, GROUPS);
}
static void case_amax_rows(struct run *r, const struct dims *d)
{
    struct be_view x = input(r, mul(d->N, d->D), 1), start = {0};
    r->side.op->amax_rows(r->side.be, inout_of(r, DT_F32, 1, 1, 0), x, start, d->N, d->D);
    struct be_view out = inout_of(r, DT_F32, GROUPS, 1, 0);
    const double running[2] = {2.5, 0.5}; /* one that stays, one that grows */
    side_put(&r->side, out, running, 2);
    r->side.op->amax_rows(r->side.be, out, x, groups(r, d->N), d->N, d->D);
}
static void case_amax_cols(struct run *r, const struct dims *d)
{
    struct be_view x = input(r, mul(d->N, d->D), 1), out = inout_of(r, DT_F32, (size_t)d->D, 1, 0);
    const double running[1] = {1.5};
    side_put(&r->side, out, running, 1);
    r->side.op->amax_cols(r->side.be, out, x, d->N, d->D);
}

static const struct quantizer quantizers[] = {
    {QF_FP8, QG_TENSOR, 0, false},      {QF_INT8, QG_TENSOR, 0, false},      {QF_INT4, QG_TENSOR, 0, true},
    {QF_FP8, QG_OUT_CHANNEL, 0, false}, {QF_INT8, QG_OUT_CHANNEL, 0, false}, {QF_INT8, QG_TOKEN, 0, true},
    {QF_FP8, QG_TOKEN, 0, true},        {QF_INT4, QG_BLOCK, 128, false},     {QF_INT8, QG_BLOCK, 64, false},
    {QF_FP8, QG_BLOCK, 16, false},      {QF_FP4, QG_BLOCK, 16, true},        {QF_MXFP4, QG_BLOCK, 32, true},
    {QF_INT8, QG_IN_CHANNEL, 0, false}, {QF_FP8, QG_IN_CHANNEL, 0, false},   {QF_INT4, QG_IN_CHANNEL, 0, false},
};

static void case_fakequant(struct run *r, const struct dims *d)
{
    const size_t n = mul(d->N, d->D);
    struct be_view x = norm_input(r, d), none = {0}, group = groups(r, d->N);
    const double maxima[GROUPS] = {100, 40, 0, NAN}; /* nothing clipped, much clipped, and the edges */
    struct be_view per_group = given(r, DT_F32, maxima, GROUPS), per_col = inout_of(r, DT_F32, (size_t)d->D, 1, 20);
    double *col = side_get(&r->side, per_col, (size_t)d->D);
    for (size_t j = 0; j < (size_t)d->D; j++)
        col[j] = fabs(col[j]);
    side_put(&r->side, per_col, col, (size_t)d->D);
    free(col);
    for (size_t i = 0; i < sizeof quantizers / sizeof *quantizers; i++) {
        const struct quantizer *q = &quantizers[i];
        const bool cols = q->granularity == QG_IN_CHANNEL, takes = q->granularity == QG_TENSOR || q->format == QF_FP4;
        const struct be_view amax = cols ? per_col : takes ? per_group : none;
        for (int rounds = 0; rounds < 2; rounds++)
            r->side.op->fakequant(r->side.be, output(r, n, 1), x, q, amax, takes && rounds ? group : none, d->N, d->D,
                                  rounds);
        struct be_view y = inout_of(r, side_act(&r->side), n, 1, 30); /* in place */
        r->side.op->fakequant(r->side.be, y, y, q, amax, none, d->N, d->D, true);
    }
}
/* y times a factor near 1 in rows of D: differences are exact. */
static struct be_view near_rows(struct run *r, const struct dims *d, const double *y, int ldy)
{
    double *x = xmalloc(mul(d->N, d->D), sizeof *x);
    for (int i = 0; i < d->N; i++)
        for (int j = 0; j < d->D; j++)
            x[mul(i, d->D) + (size_t)j] = y[mul(i, ldy) + (size_t)j] * (1 + 0.3 * rng_normal(&r->rng));
    struct be_view v = given(r, side_act(&r->side), x, mul(d->N, d->D));
    free(x);
    return v;
}
static void case_score(struct run *r, const struct dims *d)
{
    const int ldy = d->D + d->O;
    double *y = normals(r, mul(d->N, ldy), 1);
    struct be_view vy = given(r, side_act(&r->side), y, mul(d->N, ldy)), first = near_rows(r, d, y, ldy);
    struct be_view g = input(r, mul(d->N, d->D), 1e-2), sum = inout_of(r, DT_F64, 2 * (size_t)d->N, 1, 1);
    struct be_outputs q = be_output(first, sum);
    q.yq[1] = near_rows(r, d, y, ldy);
    q.sum[1] = be_at(sum, (size_t)d->N);
    q.n = 2;
    r->side.op->score_rows(r->side.be, q, vy, g, d->N, d->D, ldy);
    free(y);
}

static void case_segment_sum(struct run *r, const struct dims *d)
{
    int offset[12] = {0, 0}; /* an empty segment, then growing ones */
    for (int i = 2; i < 12; i++)
        offset[i] = offset[i - 1] + i * d->N % 17;
    const size_t n = (size_t)offset[11] + 1;
    struct be_view x = input_of(r, DT_F64, 3 * n, 1), cut = side_ints(&r->side, offset, 12);
    r->side.op->segment_sum(r->side.be, output_of(r, DT_F64, 33, 1), 11, x, n, 3, cut, 11);
}

/* ---- the table */

/* Figures of a comparison; a bound holds where nmse and worst are not above it and equal not under it. */
struct figures {
    double nmse, worst, equal;
};

struct op_case {
    const char *name;
    size_t field;
    void (*run)(struct run *r, const struct dims *d);
    const struct dims *dims; /* ended by {0} */
    bool exact;              /* all outputs equal to the bit */
    struct figures bound[2]; /* of bf16 outputs, of the others */
};

static const int mixed[] = {-14, 1, -2, 7, -31, 3, 0}, tiles[] = {63, -64, 64, -65, 65, -130, -129, 0}, one[] = {1, 0},
                 sentinel_and_one[] = {-2, -2, 0}, small[] = {-2, 2, -2, 0}, nothing_real[] = {-1, 5, -1, -3, 0},
                 two_tiles[] = {130, -9, 0};

static const struct dims d_flat[] = {{.N = 1}, {.N = 7}, {.N = 1023}, {.N = 1024}, {.N = 1025}, {.N = 70001}, {0}};
static const struct dims d_rows[] = {
    {.N = 1, .D = 1, .O = 1}, {.N = 9, .D = 5, .O = 4}, {.N = 130, .D = 33, .O = 77}, {0}};
static const struct dims d_moves[] = {{.N = 1, .D = 1, .O = 1},     {.N = 9, .D = 5, .O = 4},
                                      {.N = 130, .D = 33, .O = 77}, {.N = 40, .D = 264, .O = 9},
                                      {.N = 9, .D = 2056, .O = 9},  {0}};
static const struct dims d_gemm[] = {
    {.N = 1, .D = 1, .O = 1},     {.N = 1, .D = 130, .O = 33},   {.N = 17, .D = 1, .O = 5},
    {.N = 65, .D = 96, .O = 511}, {.N = 513, .D = 19, .O = 513}, {.N = 30, .D = 515, .O = 1},
    {.N = 8200, .D = 3, .O = 5},  {.N = 5, .D = 700, .O = 1030}, {0}};
static const struct dims d_norm[] = {{.N = 1, .D = 1},    {.N = 1, .D = 128},  {.N = 6, .D = 17},   {.N = 23, .D = 31},
                                     {.N = 70, .D = 515}, {.N = 37, .D = 128}, {.N = 5, .D = 2568}, {0}};
static const struct dims d_norm_bwd[] = {{.N = 1, .D = 2},
                                         {.N = 1, .D = 128},
                                         {.N = 6, .D = 17},
                                         {.N = 70, .D = 515},
                                         {.N = 37, .D = 128},
                                         {.N = 5, .D = 2568},
                                         {0}};
static const struct dims d_rope[] = {
    {.N = 1, .H = 1, .E = 2}, {.N = 9, .H = 3, .E = 10}, {.N = 67, .H = 4, .E = 32}, {.N = 130, .H = 2, .E = 128}, {0}};
static const struct dims d_attention[] = {{.H = 1, .K = 1, .E = 1, .seq = one},
                                          {.H = 2, .K = 2, .E = 6, .seq = mixed},
                                          {.H = 4, .K = 2, .E = 32, .seq = mixed},
                                          {.H = 4, .K = 1, .E = 10, .seq = mixed},
                                          {.H = 2, .K = 1, .E = 16, .seq = tiles},
                                          {.H = 4, .K = 2, .E = 128, .seq = two_tiles},
                                          {.H = 2, .K = 1, .E = 8, .seq = sentinel_and_one},
                                          {.H = 2, .K = 1, .E = 8, .seq = nothing_real},
                                          {0}};
static const struct dims d_attention_bwd[] = {
    {.H = 2, .K = 2, .E = 6, .seq = mixed},        {.H = 4, .K = 2, .E = 32, .seq = mixed},
    {.H = 4, .K = 1, .E = 10, .seq = mixed},       {.H = 2, .K = 1, .E = 16, .seq = tiles},
    {.H = 2, .K = 1, .E = 128, .seq = two_tiles},  {.H = 1, .K = 1, .E = 1, .seq = small},
    {.H = 2, .K = 1, .E = 8, .seq = nothing_real}, {0}};
static const struct dims d_xent[] = {{.N = 1, .D = 1},
                                     {.N = 4, .D = 2},
                                     {.N = 5, .D = 15},
                                     {.N = 9, .D = 2112},
                                     {.N = 3, .D = 33001},
                                     {.N = 3, .D = 33024},
                                     {0}};
static const struct dims d_quant[] = {
    {.N = 1, .D = 1},    {.N = 7, .D = 15},   {.N = 12, .D = 16},   {.N = 21, .D = 97},
    {.N = 66, .D = 515}, {.N = 70, .D = 512}, {.N = 19, .D = 2568}, {0}};

/* What rounding to bf16 allows: any element off by a step, so that a flip in a shape of one element passes (the
 * fraction of equal elements is the sharp figure); no element off by more than a few steps. */
#define STEPS 0x1p-14, 0x1p-5
#define OP(op) #op, offsetof(struct be_ops, op)
#define EXACT .exact = true
/* nmse and worst of fp32 outputs, and what is not equal of the bf16 ones, are ten times what was measured on x86-64
 * with OpenBLAS; equal never under 0.995. */
static const struct op_case cases[] = {
    {OP(load), case_load, d_flat, EXACT},
    {OP(convert), case_convert, d_flat, EXACT},
    {OP(zero), case_zero, d_flat, EXACT},
    {OP(gather_rows), case_gather, d_moves, EXACT},
    {OP(scatter_rows), case_scatter, d_moves, EXACT},
    {OP(add), case_add, d_flat, .bound = {{0, 0, 1}, {2e-14, 6e-7, 0}}},
    {OP(linear), case_linear, d_gemm, .bound = {{STEPS, 0.9995}, {1e-12, 3e-5, 0}}},
    {OP(linear_dx), case_linear_dx, d_gemm, .bound = {{STEPS, 0.9995}, {1e-12, 3e-5, 0}}},
    {"linear_dx +=", offsetof(struct be_ops, linear_dx), case_linear_dx_sum, d_gemm, .bound = {{0}, {1e-12, 3e-5, 0}}},
    {OP(rmsnorm), case_rmsnorm, d_norm, .bound = {{STEPS, 0.999}, {5e-14, 2e-6, 0}}},
    {OP(rmsnorm_bwd), case_rmsnorm_bwd, d_norm_bwd, .bound = {{STEPS, 0.995}, {2e-13, 3e-6, 0}}},
    {OP(rope), case_rope, d_rope, .bound = {{STEPS, 0.999}, {3e-14, 2e-6, 0}}},
    {OP(attention), case_attention, d_attention, .bound = {{STEPS, 0.9975}, {2e-12, 6e-5, 0}}},
    {OP(attention_bwd), case_attention_bwd, d_attention_bwd, .bound = {{STEPS, 0.998}, {1e-11, 8e-5, 0}}},
    {OP(swiglu), case_swiglu, d_flat, .bound = {{STEPS, 0.999}, {5e-14, 2e-6, 0}}},
    {OP(swiglu_bwd), case_swiglu_bwd, d_flat, .bound = {{STEPS, 0.999}, {5e-13, 8e-6, 0}}},
    {OP(xent), case_xent, d_xent + 1, .bound = {{0}, {3e-13, 3e-6, 0}}},
    {OP(xent_bwd), case_xent_bwd, d_xent, .bound = {{STEPS, 0.999}, {5e-14, 3e-5, 0}}},
    {OP(amax_rows), case_amax_rows, d_quant, EXACT},
    {OP(amax_cols), case_amax_cols, d_quant, EXACT},
    {OP(fakequant), case_fakequant, d_quant, EXACT},
    {OP(score_rows), case_score, d_rows, .bound = {{0}, {2e-22, 3e-9, 0}}},
    {OP(segment_sum), case_segment_sum, d_rows, EXACT},
};
enum { N_CASES = sizeof cases / sizeof *cases };

#endif
