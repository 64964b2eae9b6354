/* Every op of every backend against the reference, on shapes chosen to be awkward; then what an op must do that a
 * comparison cannot see: the same bits on any number of threads, NaN that shows, rounding by hand-made numbers. */
#include <sys/wait.h>
#include <unistd.h>

#include "cases.h"
#include "faults.h"
#include "near.h"
#include "parallel.h"
#include "sha256.h"

static const char *const mode_name[] = {"bf16", "fp32"};

/* Backends to test: all that be_find knows but the reference. */
static const char *const backends[] = {"cpu", "cuda"};

static void run_case(struct run *r, const struct op_case *c, size_t i_dims, const struct be_ops *op, enum mode mode)
{
    r->n_in = r->n_out = 0;
    r->rng.state = (uint64_t)(c - cases) * 1000 + i_dims;
    side_open(&r->side, op, mode);
    c->run(r, &c->dims[i_dims]);
    struct err e;
    if (op->sync(r->side.be, &e))
        BUG("%s: %s", c->name, e.msg);
}

static void end_case(struct run *r)
{
    for (int i = 0; i < r->n_in; i++)
        free(r->in[i].x);
    side_close(&r->side);
}

/* Guard bands and inputs as they were. */
static bool untouched(struct run *r)
{
    bool same = side_guards_intact(&r->side);
    for (int i = 0; i < r->n_in; i++) {
        double *x = side_get(&r->side, r->in[i].v, r->in[i].n);
        same = same && near_identical((struct near_pair){x, r->in[i].x, r->in[i].n, r->in[i].n});
        free(x);
    }
    return same;
}

static bool has_dims(const struct dims *d)
{
    return d->N || d->seq;
}

struct all { /* the elements of all outputs of a class */
    double *got, *want;
    size_t n, cap;
};

static void append(struct all *a, struct near_pair p)
{
    if (a->n + p.n_got > a->cap) {
        a->cap = 2 * (a->n + p.n_got);
        a->got = xrealloc(a->got, a->cap, sizeof *a->got);
        a->want = xrealloc(a->want, a->cap, sizeof *a->want);
    }
    memcpy(a->got + a->n, p.got, p.n_got * sizeof *p.got);
    memcpy(a->want + a->n, p.want, p.n_want * sizeof *p.want);
    a->n += p.n_got;
}

struct comparison {
    struct figures f[2]; /* bf16 outputs, others */
    bool any[2], exact, untouched;
};

static bool within(const struct op_case *c, const struct comparison *m)
{
    bool good = m->untouched && (m->exact || !c->exact);
    for (int k = 0; k < 2 && !c->exact; k++)
        if (m->any[k])
            good = good && m->f[k].nmse <= c->bound[k].nmse && m->f[k].worst <= c->bound[k].worst &&
                   m->f[k].equal >= c->bound[k].equal;
    return good;
}

static struct comparison compare_with_ref(const struct op_case *c, const struct be_ops *op, enum mode mode,
                                          bool verbose)
{
    static struct run want, got;
    struct comparison m = {.exact = true, .untouched = true};
    struct all all[2] = {{0}, {0}};
    for (size_t i = 0; has_dims(&c->dims[i]); i++) {
        run_case(&want, c, i, &be_ref_ops, mode);
        run_case(&got, c, i, op, mode);
        for (int k = 0; k < got.n_out; k++) {
            const struct output *o = &got.out[k];
            const int class = o->v.dtype == DT_BF16 ? BF16 : FP32;
            double *g = side_get(&got.side, o->v, o->n), *w = side_get(&want.side, want.out[k].v, want.out[k].n);
            const struct near_pair p = {g, w, o->n, want.out[k].n};
            const double nmse = near_nmse(p), worst = near_worst(p, o->width);
            const bool same = near_identical(p);
            if (verbose && (c->exact ? !same : !(nmse <= c->bound[class].nmse && worst <= c->bound[class].worst)))
                diag("%s %s, shape %zu, output %d: nmse %.3g, worst %.3g", c->name, mode_name[mode], i, k, nmse, worst);
            m.f[class].nmse = fmax(m.f[class].nmse, nmse);
            m.f[class].worst = fmax(m.f[class].worst, worst);
            m.any[class] = true;
            m.exact = m.exact && same;
            append(&all[class], p);
            free(g);
            free(w);
        }
        m.untouched = m.untouched && untouched(&got) && untouched(&want);
        end_case(&want);
        end_case(&got);
    }
    for (int k = 0; k < 2; k++) {
        m.f[k].equal = near_equal((struct near_pair){all[k].got, all[k].want, all[k].n, all[k].n});
        free(all[k].got);
        free(all[k].want);
    }
    return m;
}

static void test_case(const struct op_case *c, const struct be_ops *op, enum mode mode)
{
    if (!op_of(op, c->field)) {
        ok(true, "%s %s %s # SKIP not in this backend", op->name, c->name, mode_name[mode]);
        return;
    }
    const struct comparison m = compare_with_ref(c, op, mode, true);
    char text[200] = "equal to the bit";
    size_t n = 0;
    for (int k = 0; k < 2 && !c->exact; k++)
        if (m.any[k])
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%s nmse %.2g worst %.2g equal %.3f%%", n ? "; " : "",
                                  mode_name[k], m.f[k].nmse, m.f[k].worst, 100 * m.f[k].equal);
    ok(within(c, &m), "%s %s %s: %s%s", op->name, c->name, mode_name[mode], text,
       m.untouched ? "" : "; WROTE ELSEWHERE");
}

/* Each fault must break a case of its op, in the modes where it can be seen. */
static void test_faults(void)
{
    sound = &be_cpu_ops;
    for (size_t i = 0; i < N_FAULTS; i++) {
        const struct be_ops broken = faulty_ops(&faults[i]);
        for (int mode = BF16; mode <= FP32; mode++) {
            if (!(mode == BF16 ? faults[i].in_bf16 : faults[i].in_fp32))
                continue;
            bool seen = false;
            for (size_t k = 0; k < N_CASES && !seen; k++)
                if (cases[k].field == faults[i].field) {
                    const struct comparison m = compare_with_ref(&cases[k], &broken, (enum mode)mode, false);
                    seen = !within(&cases[k], &m);
                }
            ok(seen, "the fault %s is seen in %s", faults[i].name, mode_name[mode]);
        }
    }
}

/* ---- threads */

static void hash_outputs(const struct be_ops *op, char hex[65])
{
    static struct run r;
    struct sha256 h;
    sha256_init(&h);
    for (int mode = BF16; mode <= FP32; mode++)
        for (size_t k = 0; k < N_CASES; k++)
            for (size_t i = 0; op_of(op, cases[k].field) && has_dims(&cases[k].dims[i]); i++) {
                run_case(&r, &cases[k], i, op, (enum mode)mode);
                for (int o = 0; o < r.n_out; o++) {
                    double *x = side_get(&r.side, r.out[o].v, r.out[o].n);
                    sha256_add(&h, x, r.out[o].n * sizeof *x);
                    free(x);
                }
                end_case(&r);
            }
    sha256_hex(&h, hex);
}

/* In a child, because a process starts its threads once. */
static bool hash_with_threads(const char *backend, int n_threads, char hex[65])
{
    int fd[2];
    if (pipe(fd))
        return false;
    const pid_t child = fork();
    if (child == 0) {
        struct err e;
        const struct be_ops *op = be_find(backend, &e);
        parallel_init(n_threads);
        hash_outputs(op, hex);
        _exit(write(fd[1], hex, 65) == 65 ? 0 : 1);
    }
    close(fd[1]);
    const bool read_all = read(fd[0], hex, 65) == 65;
    close(fd[0]);
    int status = -1;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0 && read_all;
}

static void test_threads(const char *backend)
{
    char one_thread[65], hex[65];
    if (!ok(hash_with_threads(backend, 1, one_thread), "%s: all cases on one thread", backend))
        return;
    static const int counts[] = {2, 5};
    for (size_t i = 0; i < 2; i++)
        ok(hash_with_threads(backend, counts[i], hex) && !strcmp(hex, one_thread), "%s: the same bits on %d threads",
           backend, counts[i]);
}

/* ---- properties */

static void test_rope_turns_back(const struct be_ops *op)
{
    static struct run r;
    side_open(&r.side, op, FP32);
    r.n_in = r.n_out = 0;
    const int N = 33, H = 2, E = 64;
    const size_t n = mul(N, H * E);
    /* angles in full precision: rounded cosines and sines do not make a rotation */
    double *c = xmalloc(mul(N, E), sizeof *c), *s = c + mul(N, E / 2), *x = normals(&r, n, 1);
    int pos[33];
    for (int i = 0; i < N; i++)
        for (int j = 0; j < E / 2; j++) {
            c[mul(i, E / 2) + (size_t)j] = cos(i * pow(1e4, -2.0 * j / E));
            s[mul(i, E / 2) + (size_t)j] = sin(i * pow(1e4, -2.0 * j / E));
        }
    for (int i = 0; i < N; i++)
        pos[i] = N - 1 - i;
    struct be_view vc = side_tensor(&r.side, DT_F32, c, mul(N, E / 2)),
                   vs = side_tensor(&r.side, DT_F32, s, mul(N, E / 2));
    struct be_view v = side_tensor(&r.side, side_act(&r.side), x, n), vpos = side_ints(&r.side, pos, (size_t)N);
    op->rope(r.side.be, v, vc, vs, vpos, N, H, E, false);
    double *turned = side_get(&r.side, v, n);
    op->rope(r.side.be, v, vc, vs, vpos, N, H, E, true);
    double *back = side_get(&r.side, v, n);
    at_most(near_nmse((struct near_pair){back, x, n, n}), 1e-13, "rope backward turns back");
    ok(near_nmse((struct near_pair){turned, x, n, n}) > 0.1, "rope turns");
    free(c);
    free(x);
    free(turned);
    free(back);
    end_case(&r);
}

/* D = Yq - Y in bf16: 256 - 1.0078125 = 254.9921875 becomes 255; (2*255)^2 on top of what is there. */
static void test_score_by_hand(const struct be_ops *op)
{
    struct side s;
    side_open(&s, op, BF16);
    const double yq[2] = {256, 3}, y[3] = {1.0078125, 3, 7}, g[2] = {2, 5}, before = 0.25;
    struct be_view sum = side_new(&s, DT_F64, 1);
    side_put(&s, sum, &before, 1);
    op->score_rows(s.be, be_output(side_tensor(&s, DT_BF16, yq, 2), sum), side_tensor(&s, DT_BF16, y, 3),
                   side_tensor(&s, DT_BF16, g, 2), 1, 2, 3);
    double *got = side_get(&s, sum, 1);
    ok(got[0] == 260100.25, "%s score_rows: %.17g by hand 260100.25", op->name, got[0]);
    free(got);
    side_close(&s);
}

/* lp = bf16(z - max - log sum), by hand: two logits 0 and 3: lp = -3.0485873516 (bf16 -3.046875) and -0.0485873516
 * (-0.048583984375); with s = 1, dz = exp(lp) - [target]. */
static void test_xent_by_hand(const struct be_ops *op)
{
    struct side s;
    side_open(&s, op, BF16);
    const double z[2] = {0, 3}, scale = 1;
    const int target = 0;
    struct be_view vz = side_tensor(&s, DT_BF16, z, 2), stat = side_new(&s, DT_F32, 2), loss = side_new(&s, DT_F32, 1);
    struct be_view vt = side_ints(&s, &target, 1), dz = side_new(&s, DT_F32, 2);
    op->xent(s.be, stat, loss, vz, vt, 1, 2);
    op->xent_bwd(s.be, dz, vz, stat, vt, side_tensor(&s, DT_F32, &scale, 1), 1, 2, 0, 2);
    double *l = side_get(&s, loss, 1), *d = side_get(&s, dz, 2);
    ok(l[0] == 3.046875, "%s xent: loss %.9g by hand 3.046875", op->name, l[0]);
    ok(fabs(d[0] - (exp(-3.046875) - 1)) < 1e-6 && fabs(d[1] - exp(-0.048583984375)) < 1e-6,
       "%s xent_bwd: %.9g %.9g by hand", op->name, d[0], d[1]);
    free(l);
    free(d);
    side_close(&s);
}

/* One NaN among the inputs must reach the results; where: the first, the last and some position between. */
static void test_nan_shows(const struct be_ops *op)
{
    enum { N = 2, D = 37 };
    static const size_t where[] = {0, 1, 16, 35, 36};
    bool xent = true, amax = true, columns = true, score = true, attention = true;
    for (size_t i = 0; i < sizeof where / sizeof *where; i++) {
        struct side s;
        side_open(&s, op, BF16);
        double x[N * D], one_of_each[N * D], zero[D] = {0};
        const int target[N] = {3, 4}, group[N] = {1, 0}, seq[] = {D, 0};
        for (size_t j = 0; j < N * D; j++) {
            x[j] = (double)(j % 7) - 3;
            one_of_each[j] = 1;
        }
        x[D + where[i]] = NAN; /* in the second row */
        struct be_view v = side_tensor(&s, DT_BF16, x, N * D), y = side_tensor(&s, DT_BF16, one_of_each, N * D);
        struct be_view stat = side_new(&s, DT_F32, 2 * N), loss = side_new(&s, DT_F32, N),
                       out = side_tensor(&s, DT_F32, zero, D);
        op->xent(s.be, stat, loss, v, side_ints(&s, target, N), N, D);
        double *got = side_get(&s, loss, N);
        xent = xent && isfinite(got[0]) && isnan(got[1]);
        free(got);
        op->amax_rows(s.be, out, v, side_ints(&s, group, N), N, D);
        op->amax_rows(s.be, out, y, side_ints(&s, group, N), N, D); /* and sticks */
        got = side_get(&s, out, 2);
        amax = amax && isnan(got[0]) && got[1] == 3;
        free(got);
        side_put(&s, out, zero, D);
        op->amax_cols(s.be, out, v, N, D);
        op->amax_cols(s.be, out, y, N, D);
        got = side_get(&s, out, D);
        for (size_t j = 0; j < D; j++)
            columns = columns && (isnan(got[j]) != 0) == (j == where[i]);
        free(got);
        for (int k = 0; k < 3; k++) {
            struct be_view sum = side_new(&s, DT_F64, N);
            op->zero(s.be, sum, N);
            op->score_rows(s.be, be_output(k == 0 ? v : y, sum), k == 1 ? v : y, k == 2 ? v : y, N, D, D);
            got = side_get(&s, sum, N);
            score = score && isfinite(got[0]) && isnan(got[1]);
            free(got);
            struct be_view o = side_new(&s, DT_BF16, D), lse = side_new(&s, DT_F32, D), bad = be_at(v, D);
            op->attention(s.be, o, lse, k == 0 ? bad : y, k == 1 ? bad : y, k == 2 ? bad : y, side_seqs(&s, seq), 1, 1,
                          1);
            got = side_get(&s, o, D);
            for (size_t j = where[i]; j < (k == 0 ? where[i] + 1 : D); j++) /* every row from a bad key or value on */
                attention = attention && isnan(got[j]);
            free(got);
        }
        side_close(&s);
    }
    ok(xent, "%s xent: NaN shows in its row", op->name);
    ok(amax, "%s amax_rows: NaN shows in its group and sticks", op->name);
    ok(columns, "%s amax_cols: NaN shows in its column and sticks", op->name);
    ok(score, "%s score_rows: NaN shows in its row", op->name);
    ok(attention, "%s attention: NaN shows in the rows that see it", op->name);
}

static void test_table(void)
{
    struct err e = {0};
    ok(be_find("ref", &e) == &be_ref_ops && be_find("cpu", &e) == &be_cpu_ops, "be_find");
    ok(be_find("auto", &e) && be_find("auto", &e) != &be_ref_ops, "auto is not the reference");
    ok(!be_find("abacus", &e) && e.code == ERR_CONFIG && strstr(e.msg, "'abacus'") && strstr(e.msg, "cpu"),
       "an unknown name: %s", e.msg);
}

int main(void)
{
    test_threads("cpu"); /* first: a child must be forked before there are threads */
    test_table();
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        const struct be_ops *op = usable_backend(backends[i]);
        if (!op)
            continue;
        for (size_t k = 0; k < N_CASES; k++)
            for (int mode = BF16; mode <= FP32; mode++)
                test_case(&cases[k], op, (enum mode)mode);
        test_rope_turns_back(op);
        test_nan_shows(op);
    }
    for (int i = 0; i < 2; i++) {
        const struct be_ops *op = i ? &be_cpu_ops : &be_ref_ops;
        test_score_by_hand(op);
        test_xent_by_hand(op);
    }
    test_faults();
    return done();
}
