/* The reference's backward ops against central differences of its forward ops, in double: for L = sum a_i y_i with
 * random a, dL/dx_j = (L(x + h) - L(x - h)) / 2h. So the oracle of the other tests is itself tested, by the definition
 * of a derivative. Then faulty backward ops, which must not pass. */
#include "faults.h"
#include "near.h"
#include "ops.h"
#include "tap.h"

enum { MAX_INPUTS = 3 };

static const double BOUND = 1e-8; /* measured: 1.2e-9 for attention, else 1.5e-10 and less */

/* A forward op with all it takes. forward() reads in[], writes out; backward() reads in[], dout, writes din[]. */
struct problem {
    struct side s;
    const struct be_ops *op;
    struct be_view in[MAX_INPUTS], din[MAX_INPUTS], out, dout;
    size_t n[MAX_INPUTS], n_out;
    int n_in;
    struct be_view w, c, sine, pos, lse, stat, target, scale;
    struct be_seqs seqs;
    int N, D, O, H, K, E;
};

struct gradient {
    const char *name;
    void (*setup)(struct problem *p, struct rng *r);
    void (*forward)(struct problem *p);
    void (*backward)(struct problem *p);
    size_t field; /* of the backward op */
};

static struct be_view f64(struct problem *p, struct rng *r, size_t n, double scale)
{
    double *x = xmalloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = scale * rng_normal(r);
    struct be_view v = side_new(&p->s, DT_F64, n);
    side_put(&p->s, v, x, n);
    free(x);
    return v;
}
static void add_input(struct problem *p, struct rng *r, size_t n)
{
    p->in[p->n_in] = f64(p, r, n, 1);
    p->din[p->n_in] = side_new(&p->s, DT_F64, n);
    p->n[p->n_in++] = n;
}
static void set_output(struct problem *p, struct rng *r, size_t n)
{
    p->n_out = n;
    p->out = side_new(&p->s, DT_F64, n);
    p->dout = f64(p, r, n, 1);
}

/* ---- the ops */

static void setup_linear(struct problem *p, struct rng *r)
{
    p->N = 3, p->D = 5, p->O = 4;
    add_input(p, r, 15);
    p->w = f64(p, r, 20, 1);
    set_output(p, r, 12);
}
static void linear(struct problem *p)
{
    p->op->linear(p->s.be, p->out, p->in[0], p->w, p->N, p->D, p->O, p->O, true);
}
static void linear_bwd(struct problem *p)
{
    p->op->linear_dx(p->s.be, p->din[0], p->dout, p->w, p->N, p->D, p->O, false);
}
/* y = x w^T + x w^T, the second product added */
static void linear_twice(struct problem *p)
{
    p->op->linear(p->s.be, p->out, p->in[0], p->w, p->N, p->D, p->O, p->O, true);
    p->op->add(p->s.be, p->out, p->out, p->out, p->n_out);
}
static void linear_twice_bwd(struct problem *p)
{
    p->op->linear_dx(p->s.be, p->din[0], p->dout, p->w, p->N, p->D, p->O, false);
    p->op->linear_dx(p->s.be, p->din[0], p->dout, p->w, p->N, p->D, p->O, true);
}

static void setup_rmsnorm(struct problem *p, struct rng *r)
{
    p->N = 3, p->D = 7;
    add_input(p, r, 21);
    p->w = f64(p, r, 7, 1);
    set_output(p, r, 21);
}
static const float EPS = 0.1f; /* so large that it counts */
static void rmsnorm(struct problem *p)
{
    p->op->rmsnorm(p->s.be, p->out, p->in[0], p->w, p->N, p->D, EPS);
}
static void rmsnorm_bwd(struct problem *p)
{
    p->op->rmsnorm_bwd(p->s.be, p->din[0], p->dout, p->in[0], p->w, p->N, p->D, EPS);
}

static void setup_rope(struct problem *p, struct rng *r)
{
    p->N = 3, p->H = 2, p->E = 6;
    const int pos[3] = {2, 0, 1};
    add_input(p, r, 36);
    p->c = f64(p, r, 9, 1);
    p->sine = f64(p, r, 9, 1);
    p->pos = side_ints(&p->s, pos, 3);
    set_output(p, r, 36);
}
static void rope(struct problem *p)
{
    p->op->convert(p->s.be, p->out, p->in[0], p->n_out);
    p->op->rope(p->s.be, p->out, p->c, p->sine, p->pos, p->N, p->H, p->E, false);
}
static void rope_bwd(struct problem *p)
{
    p->op->convert(p->s.be, p->din[0], p->dout, p->n_out);
    p->op->rope(p->s.be, p->din[0], p->c, p->sine, p->pos, p->N, p->H, p->E, true);
}

static void setup_attention(struct problem *p, struct rng *r)
{
    static const int seq[] = {-4, 3, -2, 1, 0};
    p->N = seqs_rows(seq), p->H = 4, p->K = 2, p->E = 3;
    add_input(p, r, (size_t)(p->N * p->H * p->E));
    add_input(p, r, (size_t)(p->N * p->K * p->E));
    add_input(p, r, (size_t)(p->N * p->K * p->E));
    p->seqs = side_seqs(&p->s, seq);
    p->lse = side_new(&p->s, DT_F64, (size_t)(p->N * p->H));
    set_output(p, r, p->n[0]);
}
static void attention(struct problem *p)
{
    p->op->attention(p->s.be, p->out, p->lse, p->in[0], p->in[1], p->in[2], p->seqs, p->H, p->K, p->E);
}
static void attention_bwd(struct problem *p)
{
    attention(p);
    p->op->attention_bwd(p->s.be, p->din[0], p->din[1], p->din[2], p->dout, p->in[0], p->in[1], p->in[2], p->out,
                         p->lse, p->seqs, p->H, p->K, p->E);
}

static void setup_swiglu(struct problem *p, struct rng *r)
{
    add_input(p, r, 30);
    add_input(p, r, 30);
    set_output(p, r, 30);
}
static void swiglu(struct problem *p)
{
    p->op->swiglu(p->s.be, p->out, p->in[0], p->in[1], p->n_out);
}
static void swiglu_bwd(struct problem *p)
{
    p->op->swiglu_bwd(p->s.be, p->din[0], p->din[1], p->dout, p->in[0], p->in[1], p->n_out);
}

/* The loss of a row, weighted by the row's s, which is also what the backward is given. */
static void setup_xent(struct problem *p, struct rng *r)
{
    p->N = 4, p->D = 9;
    const int target[4] = {0, 8, 3, 3};
    add_input(p, r, 36);
    p->stat = side_new(&p->s, DT_F64, 8);
    p->target = side_ints(&p->s, target, 4);
    set_output(p, r, 4);
}
static void xent(struct problem *p)
{
    p->op->xent(p->s.be, p->stat, p->out, p->in[0], p->target, p->N, p->D);
}
static void xent_bwd(struct problem *p)
{
    xent(p);
    p->op->xent_bwd(p->s.be, p->din[0], p->in[0], p->stat, p->target, p->dout, p->N, p->D, 0, p->D);
}

#define FIELD(op) offsetof(struct be_ops, op)
static const struct gradient gradients[] = {
    {"linear", setup_linear, linear, linear_bwd, FIELD(linear_dx)},
    {"linear, added up", setup_linear, linear_twice, linear_twice_bwd, FIELD(linear_dx)},
    {"rmsnorm", setup_rmsnorm, rmsnorm, rmsnorm_bwd, FIELD(rmsnorm_bwd)},
    {"rope", setup_rope, rope, rope_bwd, FIELD(rope)},
    {"attention", setup_attention, attention, attention_bwd, FIELD(attention_bwd)},
    {"swiglu", setup_swiglu, swiglu, swiglu_bwd, FIELD(swiglu_bwd)},
    {"xent", setup_xent, xent, xent_bwd, FIELD(xent_bwd)},
};
enum { N_GRADIENTS = sizeof gradients / sizeof *gradients };

/* ---- differences */

static double functional(struct problem *p, const struct gradient *g, const double *a)
{
    double L = 0;
    g->forward(p);
    double *y = side_get(&p->s, p->out, p->n_out);
    for (size_t i = 0; i < p->n_out; i++)
        L += a[i] * y[i];
    free(y);
    return L;
}

/* dL/d in[k] by differences; the caller frees. */
static double *differences(struct problem *p, const struct gradient *g, int k)
{
    const double h = 1e-5; /* truncation h^2 and cancellation 1e-16 / h about balance */
    double *a = side_get(&p->s, p->dout, p->n_out), *x = side_get(&p->s, p->in[k], p->n[k]);
    double *d = xmalloc(p->n[k], sizeof *d);
    for (size_t j = 0; j < p->n[k]; j++) {
        const double up = x[j] + h, down = x[j] - h;
        side_put(&p->s, be_at(p->in[k], j), &up, 1);
        const double above = functional(p, g, a);
        side_put(&p->s, be_at(p->in[k], j), &down, 1);
        d[j] = (above - functional(p, g, a)) / (up - down);
        side_put(&p->s, be_at(p->in[k], j), &x[j], 1);
    }
    free(a);
    free(x);
    return d;
}

/* Worst error of an element over all inputs, relative to it or to the root mean square of its tensor. The forward is
 * always the sound one. */
static double gradient_error(const struct gradient *g, const struct be_ops *op)
{
    struct problem p = {.op = op};
    struct rng r = {(uint64_t)(g - gradients) + 1};
    double worst = 0;
    side_open(&p.s, &be_ref_ops, FP32);
    g->setup(&p, &r);
    g->backward(&p);
    p.op = &be_ref_ops;
    for (int k = 0; k < p.n_in; k++) {
        double *got = side_get(&p.s, p.din[k], p.n[k]), *want = differences(&p, g, k);
        worst = fmax(worst, near_worst((struct near_pair){got, want, p.n[k], p.n[k]}, p.n[k]));
        free(got);
        free(want);
    }
    if (!side_guards_intact(&p.s))
        worst = INFINITY;
    side_close(&p.s);
    return worst;
}

static const struct gradient *of_field(size_t field, size_t from)
{
    while (from < N_GRADIENTS && gradients[from].field != field)
        from++;
    return from < N_GRADIENTS ? &gradients[from] : NULL;
}

int main(void)
{
    for (size_t i = 0; i < N_GRADIENTS; i++) {
        char name[64];
        snprintf(name, sizeof name, "gradient of %s", gradients[i].name);
        at_most(gradient_error(&gradients[i], &be_ref_ops), BOUND, name);
    }
    sound = &be_ref_ops;
    for (size_t i = 0; i < N_FAULTS; i++) {
        const struct gradient *g = faults[i].in_fp32 ? of_field(faults[i].field, 0) : NULL;
        if (!g)
            continue;
        const struct be_ops broken = faulty_ops(&faults[i]);
        double error = 0;
        for (; g; g = of_field(faults[i].field, (size_t)(g - gradients) + 1))
            error = fmax(error, gradient_error(g, &broken));
        ok(!(error <= BOUND), "the fault %s is seen: %.3g", faults[i].name, error);
    }
    return done();
}
