/* Our scores against those of the real ModelOpt on the bundled model: every pair, both modes, 13 to 512 captions. */
#include "parity/golden.h"
#include "ops/ops.h"
#include "parallel.h"
#include "tap.h"

static struct lm lm;
static const struct be_ops *op; /* the backend under test */

static void check_runs(const struct golden *g, const struct scorer_result *r)
{
    for (int i = 0; i < g->n_runs; i++) {
        const struct golden_run *run = &g->run[i];
        if (run->replay < 0)
            continue;
        enum golden_row row = golden_row(g, run);
        if (row == GOLDEN_FP32_FP4 && op != &be_cpu_ops)
            row = GOLDEN_FP32; /* a GPU divides as the reference does, ties and all */
        const struct golden_figures f = golden_compare(g, run, &lm, r);
        if (!ok(!golden_broken(&f, row), "%s, %d captions, %s: %s", op->name, g->captions,
                run->name, golden_text(&f)))
            diag("the bounds are %s", golden_text(&golden_bounds[row]));
    }
}

static void check_set(const char *name, bool bf16, int n_runs)
{
    struct golden g;
    struct calib c;
    golden_load(&g, name);
    subject_captions(&c, 0, g.captions, true);
    const struct replay_set set = golden_pairs(&g, bf16, NULL);
    int n = 0;
    for (int i = 0; i < g.n_runs; i++)
        n += g.run[i].replay >= 0;
    ok(n == n_runs, "%s, %s: %d runs", name, bf16 ? "bf16" : "fp32", n);
    struct scorer_result r = subject_score(op, &lm, &c, &set, bf16 ? &subject_bf16 : &subject_fp32);
    check_runs(&g, &r);
    scorer_result_free(&r);
    calib_free(&c);
    golden_free(&g);
}

/* Combinations that ModelOpt refuses we refuse too. */
static void check_refused(void)
{
    struct golden g;
    struct err e;
    int n = 0;
    golden_load(&g, "gran");
    for (int i = 0; i < g.n_runs; i++)
        if (g.run[i].error && !strcmp(g.run[i].error, "refused")) {
            ok(quantizer_check(&g.run[i].pair.weight, true, &e) && e.code == ERR_CONFIG, "%s is refused",
               g.run[i].name);
            n++;
        }
    ok(n == 3, "three refusals");
    golden_free(&g);
}

/* FP8 activations per token make ModelOpt divide by the zero amax of a padding row, and its scores NaN. Ours quantize
 * such rows to zero: finite, and what the oracle says. */
static void check_per_token_fp8(void)
{
    struct golden g;
    struct calib c;
    struct replay_set set = {0};
    golden_load(&g, "gran");
    subject_captions(&c, 0, 3, true);
    for (int i = 0; i < g.n_runs; i++)
        if (g.run[i].error && !strcmp(g.run[i].error, "NaN"))
            g.run[i].replay = subject_add(&set, &g.run[i].pair);
    ok(set.n == 3, "three pairs with FP8 activations per token");
    struct scorer_result a = subject_score(op, &lm, &c, &set, &subject_fp32),
                         b = subject_score(&be_ref_ops, &lm, &c, &set, &subject_fp32);
    for (int i = 0; i < g.n_runs; i++) {
        if (g.run[i].replay < 0)
            continue;
        double x[GOLDEN_GROUPS], y[GOLDEN_GROUPS], worst = 0;
        golden_group_scores(x, &g, &lm, &a, g.run[i].replay);
        golden_group_scores(y, &g, &lm, &b, g.run[i].replay);
        for (int k = 0; k < GOLDEN_GROUPS; k++)
            worst = fmax(worst, golden_distance(x[k], y[k]));
        at_most(worst, 0.01, g.run[i].name);
    }
    scorer_result_free(&a);
    scorer_result_free(&b);
    calib_free(&c);
    golden_free(&g);
}

int main(void)
{
    parallel_init(2);
    subject_model(&lm, SUBJECT_MODEL);
    check_refused();
    for (int i = 0; i < 2; i++) {
        op = i ? usable_backend("cuda") : &be_cpu_ops;
        if (!op)
            continue;
        check_set("n128", true, 18);
        check_set("n128", false, 9);
        check_set("n512", true, 3);
        check_set("n16", true, 7);
        check_set("n13", true, 3);
        check_set("gran", true, 24);
        check_per_token_fp8();
    }
    lm_free(&lm);
    return done();
}
