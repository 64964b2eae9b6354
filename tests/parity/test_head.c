/* lm_head comes in blocks of its rows, and its logits in chunks of loss rows: only large vocabularies have several of
 * either. Its scores and the gradient that leaves it against plain sums over the whole matrix. */
#include "fakequant.h"
#include "model.h"
#include "parallel.h"
#include "parity/random_model.h"
#include "tap.h"

/* 8 Mi elements a block: 262144 rows. 64 MiB of logits a chunk, but no less than 64 rows. */
static const struct shape large = {"", 32, 1, 2, 1, 16, 32, 300000, DT_BF16, 1, false};
enum { D = 32, MAX_ROWS = 128 };

static struct {
    float x[MAX_ROWS * D], dx[MAX_ROWS * D]; /* of the loss rows, as the ops get them */
    int rows;
} seen;

static void seen_linear(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int I, int O,
                        int ldy, bool as_reference)
{
    be_cpu_ops.linear(be, y, x, w, N, I, O, ldy, as_reference);
    if (as_reference && O == 262144) { /* the first block of a chunk */
        be_cpu_ops.get(be, seen.x + seen.rows * D, x, (size_t)(N * I));
        seen.rows += N;
    }
}

static void seen_scatter(struct be *be, struct be_view y, struct be_view x, struct be_view row, int n, int N, int width)
{
    be_cpu_ops.get(be, seen.dx, x, (size_t)(n * width));
    be_cpu_ops.scatter_rows(be, y, x, row, n, N, width);
}

static void overwrites_dx(struct be *be, struct be_view dx, struct be_view dy, struct be_view w, int N, int I, int O,
                          bool accumulate)
{
    (void)accumulate;
    be_cpu_ops.linear_dx(be, dx, dy, w, N, I, O, false);
}

/* The matrix, in the checkpoint's bf16, as fp32. */
static float *read_head(const struct lm *lm)
{
    const struct lm_tensor *t = lm_tensor_of(lm, ROLE_LM_HEAD, -1);
    const size_t n = (size_t)t->nb / 2;
    uint16_t *h = xmalloc(n, sizeof *h);
    float *w = xmalloc(n, sizeof *w);
    FILE *f = fopen(lm->file[t->file].path, "rb");
    if (!f || fseek(f, (long)t->offset, SEEK_SET) || fread(h, 2, n, f) != n || fclose(f))
        BUG("cannot read %s", t->name);
    for (size_t i = 0; i < n; i++)
        w[i] = bf16_to_f32(h[i]);
    free(h);
    return w;
}

static double dot(const float *x, const float *w)
{
    double s = 0;
    for (int i = 0; i < D; i++)
        s += (double)x[i] * (double)w[i];
    return s;
}

/* One loss row: score = sum (dz (Yq - Y))^2 and dx = sum dz w, dz = s (softmax - [target]). */
static double plain_row(double *dx, const float *x, const float *w, const float *wq, int target, double scale)
{
    const int V = large.vocab;
    double *z = xmalloc((size_t)V, sizeof *z), most = -INFINITY, sum = 0, score = 0;
    for (int v = 0; v < V; v++) {
        z[v] = dot(x, w + v * D);
        most = fmax(most, z[v]);
    }
    for (int v = 0; v < V; v++)
        sum += exp(z[v] - most);
    for (int v = 0; v < V; v++) {
        const double dz = scale * (exp(z[v] - most) / sum - (v == target));
        score += pow(dz * (dot(x, wq + v * D) - z[v]), 2);
        for (int i = 0; i < D; i++)
            dx[i] += dz * (double)w[v * D + i];
    }
    free(z);
    return score;
}

/* Worst relative errors of a sequence's score and of a row of dx. */
struct errors {
    double score, dx;
};

static struct errors distance(const struct calib *c, const struct scorer_result *r, const float *w, const float *wq)
{
    struct errors e = {0, 0};
    int n = 0;
    for (int64_t s = 0; s < c->n_seqs; s++) {
        double want = 0;
        for (int64_t t = c->offset[s]; t < c->offset[s + 1]; t++) {
            double dx[D] = {0}, off = 0, size = 0;
            if (c->target[t] < 0)
                continue;
            want += plain_row(dx, seen.x + n * D, w, wq, c->target[t], (double)c->scale_f32[c->batch[s]]);
            for (int i = 0; i < D; i++) {
                off += pow((double)seen.dx[n * D + i] - dx[i], 2);
                size += dx[i] * dx[i];
            }
            e.dx = fmax(e.dx, sqrt(off / size));
            n++;
        }
        const double got = r->record[s * r->n_units + r->n_units - 1];
        e.score = want > 0 || got > 0 ? fmax(e.score, fabs(got / want - 1)) : e.score;
    }
    if (n != seen.rows)
        BUG("%d loss rows, %d seen", n, seen.rows);
    return e;
}

static void check_blocks(const struct lm *lm)
{
    struct calib c;
    const struct replay_set set = subject_pairs("int8_fp16");
    float *w = read_head(lm), *wq = xmalloc((size_t)large.vocab * D, sizeof *wq);
    for (int v = 0; v < large.vocab; v++)
        fakequant_run(QF_INT8, wq + v * D, w + v * D, D, abs_max(w + v * D, D));
    make_captions(&c, 3, 2, true, large.vocab, 18);
    for (int overwrites = 0; overwrites < 2; overwrites++) {
        struct be_ops ops = be_cpu_ops;
        ops.linear = seen_linear;
        ops.scatter_rows = seen_scatter;
        ops.linear_dx = overwrites ? overwrites_dx : ops.linear_dx;
        seen.rows = 0;
        struct scorer_result r = subject_score(&ops, lm, &c, &set, &subject_fp32);
        const struct errors e = distance(&c, &r, w, wq);
        at_most(e.score, 1e-3, "scores of lm_head in two blocks of rows");
        const char *how = overwrites ? " without its sum" : "";
        ok(overwrites ? e.dx > 0.1 : e.dx <= 2e-5, "gradient%s: off by %.2g", how, e.dx);
        scorer_result_free(&r);
    }
    free(w);
    free(wq);
    calib_free(&c);
}

/* Batches apart have a chunk each, together they have two that end elsewhere. */
static void check_chunks(const struct lm *lm)
{
    struct calib c;
    make_captions(&c, 20, 10, true, large.vocab, 19);
    const int64_t n = c.batch_loss[0], m = c.batch_loss[1];
    ok(n <= 64 && m <= 64 && n + m > 64, "%d and %d loss rows", (int)n, (int)m);
    const struct replay_set set = subject_pairs("int8_fp16 mxfp4_fp8");
    struct scorer_options o = subject_fp32;
    struct scorer_result a = subject_score(&be_cpu_ops, lm, &c, &set, &o);
    o.block_batches = 1;
    struct scorer_result b = subject_score(&be_cpu_ops, lm, &c, &set, &o);
    double worst[2] = {0, 0};
    for (int i = 0; i < 2; i++)
        for (int64_t s = 0; s < c.n_seqs; s++) {
            const int64_t at = (i * c.n_seqs + s) * a.n_units + a.n_units - 1;
            if (a.record[at] != b.record[at])
                worst[i] = fmax(worst[i], fabs(a.record[at] / b.record[at] - 1));
        }
    at_most(worst[0], 1e-3, "two chunks of loss rows against one, int8_fp16");
    at_most(worst[1], 1e-2, "mxfp4_fp8, with a scale for each batch");
    at_most(fabs(a.loss / b.loss - 1), 1e-6, "loss");
    scorer_result_free(&a);
    scorer_result_free(&b);
    calib_free(&c);
}

int main(void)
{
    struct lm lm;
    parallel_init(2);
    make_model(&lm, &large, 17);
    check_blocks(&lm);
    check_chunks(&lm);
    lm_free(&lm);
    remove_models();
    return done();
}
