/* Equal bits: with any number of threads, blocks taken through the model together or apart, pairs scored together or
 * alone, with more captions behind. Only the size of blocks may change results, a little. */
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "parallel.h"
#include "parity/subject.h"
#include "tap.h"

#define SOME_PAIRS "fp8_fp8 mxfp4_fp8 int4_fp16 int8_int8"
enum { CAPTIONS = 28 }; /* a fourth, short batch */

/* A child with so many threads leaves a hash of everything. Before any thread is there. */
static void check_threads(void)
{
    static const int threads[] = {1, 2, 5};
    enum { N = sizeof threads / sizeof *threads };
    uint64_t *hash = mmap(NULL, N * sizeof *hash, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (hash == MAP_FAILED)
        BUG("no shared memory");
    for (int i = 0; i < N; i++) {
        const pid_t pid = fork();
        if (pid == 0) {
            struct lm lm;
            struct calib c;
            parallel_init(threads[i]);
            subject_model(&lm, SUBJECT_MODEL);
            subject_captions(&c, 0, CAPTIONS, true);
            const struct replay_set set = subject_pairs(SOME_PAIRS);
            struct scorer_result r = subject_score(&be_cpu_ops, &lm, &c, &set, &subject_bf16);
            const size_t n = (size_t)set.n * (size_t)r.n_scored_seqs * (size_t)r.n_units * sizeof *r.record;
            uint64_t h = 1469598103934665603u; /* FNV-1a */
            for (size_t k = 0; k < n; k++)
                h = (h ^ ((const unsigned char *)r.record)[k]) * 1099511628211u;
            hash[i] = parallel_threads() == threads[i] ? h : (uint64_t)i;
            _exit(0);
        }
        int status = -1;
        if (pid > 0)
            waitpid(pid, &status, 0);
        ok(status == 0 && hash[i] == hash[0] && hash[i] > N, "%d threads give the same bits", threads[i]);
    }
    munmap(hash, N * sizeof *hash);
}

static void check_passes(const struct lm *lm, const struct calib *c)
{
    const struct replay_set set = subject_pairs(SOME_PAIRS),
                            other = subject_pairs("int8_int8 fp8_fp16 int4_fp16 fp4_fp8 fp8_fp8");
    struct scorer_options o = subject_bf16;
    o.block_batches = 1;
    struct scorer_result all = subject_score(&be_cpu_ops, lm, c, &set, &o);
    for (o.pass_blocks = 1; o.pass_blocks <= 5; o.pass_blocks += o.pass_blocks == 3 ? 2 : 1) {
        struct scorer_result r = subject_score(&be_cpu_ops, lm, c, &set, &o);
        ok(subject_same(&r, &all), "passes of %d blocks give the same bits", o.pass_blocks);
        scorer_result_free(&r);
    }
    o.pass_blocks = 0;
    struct scorer_result r = subject_score(&be_cpu_ops, lm, c, &other, &o);
    const size_t n = (size_t)r.n_scored_seqs * (size_t)r.n_units;
    ok(!memcmp(r.record, all.record + 3 * n, n * sizeof *r.record) &&
           !memcmp(r.record + 2 * n, all.record + 2 * n, n * sizeof *r.record) &&
           !memcmp(r.record + 4 * n, all.record, n * sizeof *r.record),
       "other pairs beside it and another order do not matter");
    scorer_result_free(&r);
    const struct replay_set one = subject_pairs("mxfp4_fp8");
    r = subject_score(&be_cpu_ops, lm, c, &one, &o);
    ok(!memcmp(r.record, all.record + n, n * sizeof *r.record), "nor does being alone");
    scorer_result_free(&r);
    scorer_result_free(&all);
}

/* Fewer scored sequences: the same records, also where they end in the middle of a block. */
static void check_score_size(const struct lm *lm, const struct calib *c, int block_batches)
{
    const struct replay_set set = subject_pairs(SOME_PAIRS);
    struct scorer_options o = subject_bf16;
    o.block_batches = block_batches;
    struct scorer_result all = subject_score(&be_cpu_ops, lm, c, &set, &o);
    for (o.score_size = 1; o.score_size <= 24; o.score_size += 15) {
        struct scorer_result r = subject_score(&be_cpu_ops, lm, c, &set, &o);
        const size_t U = (size_t)r.n_units, want = o.score_size < 16 ? 8 : 16;
        bool equal = r.n_scored_seqs == (int64_t)want;
        for (size_t i = 0; i < (size_t)set.n; i++)
            equal = equal &&
                    !memcmp(r.record + i * want * U, all.record + i * CAPTIONS * U, want * U * sizeof *r.record);
        ok(equal, "blocks of %d batches, a score size of %d: the first %zu of the same records", block_batches,
           o.score_size, want);
        scorer_result_free(&r);
    }
    scorer_result_free(&all);
}

/* Blocks share GEMMs, and with them which outputs are summed as a tensor core does. */
static void check_blocks(const struct lm *lm, const struct calib *c)
{
    const struct replay_set set = subject_pairs(SOME_PAIRS);
    struct scorer_options o = subject_bf16;
    struct scorer_result eight = subject_score(&be_cpu_ops, lm, c, &set, &o);
    for (o.block_batches = 1; o.block_batches <= 3; o.block_batches++) {
        struct scorer_result r = subject_score(&be_cpu_ops, lm, c, &set, &o);
        double worst = 0;
        for (int i = 0; i < set.n; i++)
            for (int u = 0; u < r.n_units; u++)
                worst = fmax(worst, fabs(subject_unit_score(&r, i, u) / subject_unit_score(&eight, i, u) - 1));
        ok(worst <= 0.02, "blocks of %d batches: a unit's score moves by %.2g", o.block_batches, worst);
        scorer_result_free(&r);
    }
    scorer_result_free(&eight);
}

static void check_prefix(const struct lm *lm, const struct calib *c)
{
    struct calib first;
    subject_captions(&first, 0, 16, true);
    const struct replay_set set = subject_pairs("int4_fp16 mxfp4_fp8");
    struct scorer_options o = subject_bf16;
    o.block_batches = 2;
    struct scorer_result a = subject_score(&be_cpu_ops, lm, &first, &set, &o),
                         b = subject_score(&be_cpu_ops, lm, c, &set, &o);
    const size_t U = (size_t)a.n_units;
    ok(a.n_batches == 2 && !memcmp(a.amax, b.amax, 2 * U * sizeof *a.amax),
       "maxima of 16 captions: those of the first 16 of more");
    bool equal = true;
    for (size_t i = 0; i < (size_t)set.n; i++)
        equal = equal && !memcmp(a.record + i * 16 * U, b.record + i * CAPTIONS * U, 16 * U * sizeof *a.record);
    ok(equal, "and records where nothing is calibrated");
    scorer_result_free(&a);
    scorer_result_free(&b);
    calib_free(&first);
}

int main(void)
{
    struct lm lm;
    struct calib c;
    check_threads();
    parallel_init(2);
    subject_model(&lm, SUBJECT_MODEL);
    subject_captions(&c, 0, CAPTIONS, true);
    check_passes(&lm, &c);
    check_score_size(&lm, &c, 1);
    check_score_size(&lm, &c, 3);
    check_blocks(&lm, &c);
    check_prefix(&lm, &c);
    calib_free(&c);
    lm_free(&lm);
    return done();
}
