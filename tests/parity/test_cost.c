/* What a run is said to ask for before it starts is what it asks for: operations to the last one, calls, bytes, memory.
 */
#include "cost.h"
#include "parallel.h"
#include "parity/counted.h"
#include "parity/subject.h"
#include "tap.h"

static double gemm_flops(const struct cost *c)
{
    return c->op[OP_LINEAR].flops + c->op[OP_LINEAR_DX].flops + c->replayed.flops;
}

/* The counted run beside the real one, under a profile. */
static void check_run(const struct lm *lm, const struct calib *calib, const char *pairs, struct scorer_options o)
{
    const struct replay_set set = subject_pairs(pairs);
    struct lm sizes;
    struct cost c;
    struct err e = {0};
    cost_model(&sizes, &lm->config, DT_BF16);
    const bool known = !cost_count(&c, &be_cpu_ops, &sizes, calib, &set, &o, 0, &e);
    ok(known, "%s, passes of %d: counted %s", pairs, o.pass_blocks, e.msg);
    lm_free(&sizes);

    struct be_ops ops = be_cpu_ops;
    ops.alloc = counted_alloc;
    ops.free = counted_free;
    counted.peak = 0;
    struct scorer_result r = subject_score(profile_counts(&ops), lm, calib, &set, &o);
    double bytes = 0;
    long calls = 0, counted_calls = c.replayed.calls;
    double counted_bytes = c.replayed.bytes;
    for (int op = 0; op < OP_COUNT; op++) {
        for (int phase = 0; phase < PROFILE_PHASES; phase++) {
            bytes += profile_entry(phase, (enum profile_op)op)->bytes;
            calls += profile_entry(phase, (enum profile_op)op)->calls;
        }
        counted_calls += c.op[op].calls;
        counted_bytes += c.op[op].bytes;
    }
    ok(gemm_flops(&c) == r.flops && r.flops > 0, "%.4g operations in products, %.4g done", gemm_flops(&c), r.flops);
    ok(calls == counted_calls && calls > 0, "%ld calls, %ld made", counted_calls, calls);
    ok(bytes == counted_bytes && bytes > 0, "%.6g bytes, %.6g moved", counted_bytes, bytes);
    ok(c.rows == calib->n_rows && c.scored_rows == r.n_scored_rows, "%lld rows, %lld scored", (long long)c.rows,
       (long long)c.scored_rows);
    const size_t records = (size_t)set.n * (size_t)r.n_scored_seqs * (size_t)r.n_units * sizeof(double);
    ok(c.host_bytes > counted.peak + records && c.host_bytes < counted.peak + records + (20u << 20) && counted.peak > 0,
       "%zu bytes of memory for buffers of %zu and records of %zu", c.host_bytes, counted.peak, records);
    scorer_result_free(&r);
}

/* More work never takes less time, and speeds count as they should. */
static void check_seconds(const struct lm *lm, const struct calib *calib)
{
    const struct replay_set one = subject_pairs("fp8_fp8"), two = subject_pairs("fp8_fp8 int8_fp16");
    const struct ceiling speed = {1e10, 1e11, 1e10}, fast = {1e15, 1e16, 1e15};
    struct lm sizes;
    struct cost a, b;
    struct err e;
    cost_model(&sizes, &lm->config, DT_BF16);
    if (cost_count(&a, &be_cpu_ops, &sizes, calib, &one, &subject_bf16, 0, &e) ||
        cost_count(&b, &be_cpu_ops, &sizes, calib, &two, &subject_bf16, 0, &e))
        BUG("%s", e.msg);
    const double t = cost_seconds(&a, &be_cpu_ops, &speed), more = cost_seconds(&b, &be_cpu_ops, &speed);
    ok(more > t && more < 2 * t, "a replay more: %.3f s instead of %.3f", more, t);
    ok(t > a.flops / speed.gemm_flops, "no faster than its products");
    at_most(cost_seconds(&a, &be_cpu_ops, &fast), 0.1, "with no time for anything, seconds");
    lm_free(&sizes);
}

/* A device of too little memory is refused before the run, as it would be by the run. */
static int64_t any_room(struct be *be)
{
    (void)be;
    return 0;
}

static void check_device(const struct lm *lm, const struct calib *calib)
{
    const struct replay_set set = subject_pairs("fp8_fp8");
    struct be_ops gpu = be_cpu_ops;
    gpu.room = any_room;
    struct lm sizes;
    struct cost c;
    struct err e = {0};
    cost_model(&sizes, &lm->config, DT_BF16);
    const bool fits = !cost_count(&c, &gpu, &sizes, calib, &set, &subject_bf16, (size_t)1 << 40, &e);
    ok(fits && c.device_bytes > 0, "a large device: %zu MB", c.device_bytes >> 20);
    ok(cost_count(&c, &gpu, &sizes, calib, &set, &subject_bf16, 1 << 20, &e) && e.code == ERR_LIMIT, "a small one: %s",
       e.msg);
    lm_free(&sizes);
}

/* Captions of which only the lengths are known give the rows that captions of these lengths give. */
static void check_lengths(const struct calib *calib)
{
    int64_t *tokens = xmalloc((size_t)calib->n_seqs, sizeof *tokens);
    struct calib c;
    struct err e = {0};
    for (int64_t i = 0; i < calib->n_seqs; i++)
        tokens[i] = calib->n_real[i];
    const bool built = !cost_captions(&c, calib->n_seqs, tokens, calib->batch_size, calib->seq_len, true, &e);
    ok(built && c.n_rows == calib->n_rows && c.n_batches == calib->n_batches, "%lld rows of as many",
       (long long)c.n_rows);
    calib_free(&c);
    free(tokens);
}

int main(void)
{
    struct lm lm;
    struct calib c;
    struct scorer_options o = subject_bf16;
    parallel_init(2);
    subject_model(&lm, SUBJECT_MODEL);
    subject_captions(&c, 0, 28, true);
    check_run(&lm, &c, "fp4_fp8", o);
    check_run(&lm, &c, "fp4_fp8 fp8_fp8 int8_fp16", o);
    o.block_batches = 1;
    o.pass_blocks = 2;
    o.score_size = 16;
    check_run(&lm, &c, "fp4_fp8 mxfp4_fp8", o);
    check_seconds(&lm, &c);
    check_device(&lm, &c);
    check_lengths(&c);
    calib_free(&c);
    lm_free(&lm);
    return done();
}
