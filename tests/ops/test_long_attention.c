/* Attention over one long sequence, behind a short one and a sentinel: 64 sampled rows of the output and of dq, and dk
 * and dv of the last 64 keys (which only the last 64 rows see), against sums in double. A GPU takes 32,768 tokens. */
#include "ops.h"
#include "near.h"

enum { H = 4, K = 2, E = 64, SHORT = 5, SAMPLES = 64 };

struct long_case {
    int T, N;                           /* rows of the long sequence, of all */
    double *q, *k, *v, *dout;           /* bf16 values */
    double *o, *dq, *dk, *dv;           /* what the backend made of them */
};

static double *random_bf16(struct rng *r, size_t n, double scale)
{
    double *x = xmalloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (double)bf16_round_f64(scale * rng_normal(r));
    return x;
}

static void run(struct long_case *c, const struct be_ops *op)
{
    struct side s;
    side_open(&s, op, BF16);
    const size_t nq = (size_t)c->N * H * E, nk = (size_t)c->N * K * E;
    const int32_t offset[] = {0, SHORT, c->N};
    const uint8_t sentinel[] = {0, 1};
    struct be_view q = side_tensor(&s, side_act(&s), c->q, nq), k = side_tensor(&s, side_act(&s), c->k, nk);
    struct be_view v = side_tensor(&s, side_act(&s), c->v, nk), dout = side_tensor(&s, side_act(&s), c->dout, nq);
    struct be_view o = side_new(&s, side_act(&s), nq), lse = side_new(&s, DT_F32, (size_t)c->N * H);
    struct be_view dq = side_new(&s, side_act(&s), nq), dk = side_new(&s, side_act(&s), nk);
    struct be_view dv = side_new(&s, side_act(&s), nk);
    struct be_seqs seqs = {
        .n = 2, .n_rows = c->N, .offset = side_new(&s, DT_I32, 3), .sentinel = side_new(&s, DT_U8, 2)};
    op->put(s.be, seqs.offset, offset, 3);
    op->put(s.be, seqs.sentinel, sentinel, 2);
    op->attention(s.be, o, lse, q, k, v, seqs, H, K, E);
    op->attention_bwd(s.be, dq, dk, dv, dout, q, k, v, o, lse, seqs, H, K, E);
    c->o = side_get(&s, o, nq);
    c->dq = side_get(&s, dq, nq);
    c->dk = side_get(&s, dk, nk);
    c->dv = side_get(&s, dv, nk);
    side_close(&s);
}

static double dot(const double *a, const double *b)
{
    double s = 0;
    for (int e = 0; e < E; e++)
        s += a[e] * b[e];
    return s;
}

/* One row and head in double, sums unrounded; its parts of dk and dv go to the keys from `last` on. */
static void exact_row(const struct long_case *c, int row, int head, double *o, double *dq, int last, double *dk,
                      double *dv)
{
    const int first = SHORT + 1, n = row - first + 1, kv = head / (H / K);
    const size_t at = ((size_t)row * H + (size_t)head) * E;
    const double scale = 1 / sqrt(E);
    double *P = xmalloc((size_t)n, sizeof *P), top = -INFINITY, sum = 0, delta = 0;
    memset(o, 0, E * sizeof *o);
    memset(dq, 0, E * sizeof *dq);
    for (int j = 0; j < n; j++) {
        P[j] = scale * dot(c->q + at, c->k + ((size_t)(first + j) * K + (size_t)kv) * E);
        top = fmax(top, P[j]);
    }
    for (int j = 0; j < n; j++)
        sum += P[j] = exp(P[j] - top);
    for (int j = 0; j < n; j++)
        for (int e = 0; e < E; e++)
            o[e] += P[j] / sum * c->v[((size_t)(first + j) * K + (size_t)kv) * E + (size_t)e];
    delta = dot(c->dout + at, o);
    for (int j = 0; j < n; j++) {
        const size_t key = ((size_t)(first + j) * K + (size_t)kv) * E;
        const double p = P[j] / sum, ds = p * (dot(c->dout + at, c->v + key) - delta) * scale;
        for (int e = 0; e < E; e++) {
            dq[e] += ds * c->k[key + (size_t)e];
            if (first + j < last)
                continue;
            const size_t t = ((size_t)(first + j - last) * K + (size_t)kv) * E + (size_t)e;
            dk[t] += ds * c->q[at + (size_t)e];
            dv[t] += p * c->dout[at + (size_t)e];
        }
    }
    free(P);
}

static void compare(const char *op, const char *what, const double *got, const double *want, size_t n, double bound)
{
    double err = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        err += (got[i] - want[i]) * (got[i] - want[i]);
        norm += want[i] * want[i];
    }
    char name[100];
    snprintf(name, sizeof name, "%s: NMSE of %s", op, what);
    ok(norm > 0, "%s: %s is not all zero", op, what);
    at_most(err / norm, bound, name);
}

static void check(const struct be_ops *op, int T)
{
    struct rng r = {42};
    struct long_case c = {.T = T, .N = SHORT + 1 + T};
    const size_t nq = (size_t)c.N * H * E, nk = (size_t)c.N * K * E;
    c.q = random_bf16(&r, nq, 2);
    c.k = random_bf16(&r, nk, 2);
    c.v = random_bf16(&r, nk, 1);
    c.dout = random_bf16(&r, nq, 1);
    run(&c, op);
    enum { ROW = H * E, TAIL = SAMPLES * K * E };
    double *o = xmalloc(SAMPLES * ROW, sizeof *o), *dq = xmalloc(SAMPLES * ROW, sizeof *dq);
    double *go = xmalloc(SAMPLES * ROW, sizeof *go), *gq = xmalloc(SAMPLES * ROW, sizeof *gq);
    double *dk = xcalloc(TAIL, sizeof *dk), *dv = xcalloc(TAIL, sizeof *dv), skip_o[E], skip_q[E];
    const int last = c.N - SAMPLES;
    for (int i = 0; i < SAMPLES; i++) {
        const int row = SHORT + 1 + (int)((int64_t)i * (T - 1) / (SAMPLES - 1));
        for (int h = 0; h < H; h++) {
            exact_row(&c, row, h, o + i * ROW + h * E, dq + i * ROW + h * E, c.N, dk, dv);
            exact_row(&c, last + i, h, skip_o, skip_q, last, dk, dv);
        }
        memcpy(go + i * ROW, c.o + (size_t)row * ROW, ROW * sizeof *go);
        memcpy(gq + i * ROW, c.dq + (size_t)row * ROW, ROW * sizeof *gq);
    }
    compare(op->name, "o", go, o, SAMPLES * ROW, 2e-5);
    compare(op->name, "dq", gq, dq, SAMPLES * ROW, 1e-4);
    compare(op->name, "dk", c.dk + (size_t)last * K * E, dk, TAIL, 1e-4);
    compare(op->name, "dv", c.dv + (size_t)last * K * E, dv, TAIL, 1e-4);
    double *all[] = {c.q, c.k, c.v, c.dout, c.o, c.dq, c.dk, c.dv, o, dq, go, gq, dk, dv};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

int main(void)
{
    check(&be_cpu_ops, 700);
    const struct be_ops *cuda = usable_backend("cuda");
    if (cuda)
        check(cuda, 32768);
    return done();
}
