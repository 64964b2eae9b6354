/* A run that is stopped after any pass, or after each, ends with the bits of one that was not; so do parts in any
 * order. And journals that nobody has written: every lie in a frame is refused. */
#include "records.h"

#include <sys/stat.h>

#include "gemm_table.h"
#include "io.h"
#include "parallel.h"
#include "parity/random_model.h"
#include "tap.h"

static const struct shape small = {"", 24, 2, 4, 2, 6, 40, 50, DT_F32, 1, true};
enum { SEQS = 11, BATCH = 2 }; /* blocks of one batch: six, of which four are scored */

static struct lm lm;
static struct calib calib;
static struct replay_set set;
static struct scores_cell cell[2];
static char *dir;

/* The backend's choices: each process has used another shape. */
static int process;
static char *made_up(struct be *be)
{
    struct gemm_used used = {{1 + process % 2, 8, 8, 8, false, false, DT_F32, DT_F32}, {4, 4, 4}, GEMM_KERNEL, {0}};
    return be ? gemm_used_text("G", 1, NULL, &used, 1) : NULL;
}
static struct be_ops ops;

/* The store of journals, but after so many passes the process is gone. */
struct stopping {
    struct records records;
    struct scorer_store store;
    int left;
};
static int load_then(void *self, struct scorer_result *r, struct err *e)
{
    struct stopping *s = self;
    return s->records.store.load(&s->records, r, e);
}
static int save_then_stop(void *self, const struct scorer_result *r, struct err *e)
{
    struct stopping *s = self;
    if (s->records.store.save(&s->records, r, e))
        return -1;
    return --s->left == 0 ? err_set(e, ERR_IO, "stopped") : 0;
}

static const struct scorer_options options = {.bf16 = true, .score_size = 8, .block_batches = 1};

/* One process; 0: it came to its end, with the result, which is to be freed. */
static int one_run(struct scorer_result *r, struct scorer_options o, int stop_after)
{
    struct stopping s;
    struct err e = {0};
    const struct records_run run = {&lm, &calib, &o, "cpu", "cpu"};
    if (records_open(&s.records, &run, cell, 2, RECORDS_REFUSE, &e))
        BUG("%s", e.msg);
    s.records.run.options = &o;
    s.left = stop_after;
    s.store = (struct scorer_store){&s, load_then, save_then_stop};
    struct scorer_sample sample = {.calib = &calib, .set = &set, .store = &s.store};
    process++;
    const int rc = scorer_run(&sample, 1, &ops, &lm, &o, &e);
    *r = sample.result;
    if (rc && strcmp(e.msg, "stopped") != 0)
        BUG("%s", e.msg);
    if (!rc && !o.parts && records_remove(&s.records, &e))
        BUG("%s", e.msg);
    records_close(&s.records);
    return rc;
}

static void check_stops(const struct scorer_result *whole)
{
    for (int pass_blocks = 0; pass_blocks <= 4; pass_blocks++) {
        struct scorer_options o = options;
        o.pass_blocks = pass_blocks;
        const int passes = pass_blocks ? (6 + pass_blocks - 1) / pass_blocks + (4 + pass_blocks - 1) / pass_blocks : 2;
        bool equal = true, gemm = true;
        for (int p = 1; p <= passes; p++) {
            struct scorer_result r;
            equal = equal && one_run(&r, o, p) && !one_run(&r, o, 0) && subject_same(&r, whole);
            gemm =
                gemm && (p == passes ? r.gemm != NULL : strstr(r.gemm, "\"rows\": 1") && strstr(r.gemm, "\"rows\": 2"));
            scorer_result_free(&r);
        }
        ok(equal, "passes of %d blocks: stopped after any of %d passes", pass_blocks, passes);
        ok(gemm, "what GEMMs used is of both processes");
        struct scorer_result r;
        int n = 1;
        while (one_run(&r, o, 1))
            n++;
        ok(subject_same(&r, whole) && n >= passes && n <= passes + 1 && r.seconds > 0,
           "stopped after each, %d processes", n);
        scorer_result_free(&r);
    }
    ok(rmdir(cell[0].dir) == 0 && rmdir(cell[1].dir) == 0, "nothing is left");
}

static void check_parts(const struct scorer_result *whole, struct rng *rng)
{
    for (int k = 1; k <= 7; k++) {
        struct scorer_options o = options;
        struct scorer_result r;
        struct err e = {0};
        char *path[7];
        int n = 0;
        o.parts = k;
        for (int calibrate = 1; calibrate >= 0; calibrate--) {
            o.calibrate_only = calibrate;
            for (o.part = k - 1; o.part >= 0; o.part--)
                if (!one_run(&r, o, 0))
                    scorer_result_free(&r);
        }
        bool equal = true;
        for (int c = 0; c < 2; c++) {
            struct scores_cell merged = cell[c];
            struct records_merged m;
            n = 0;
            for (int i = 0; i < k; i++) {
                path[n] = xasprintf("%s/part-%d-of-%d.journal", cell[c].dir, i + 1, k);
                if (access(path[n], F_OK) == 0)
                    n++;
                else
                    free(path[n]);
            }
            for (int i = n - 1; i > 0; i--) {
                const int with = rng_below(rng, i + 1);
                char *p = path[i];
                path[i] = path[with], path[with] = p;
            }
            if (records_merge(&m, &lm, &calib, &merged, (const char *const *)path, (size_t)n, &e))
                BUG("%s", e.msg);
            const size_t nb = (size_t)m.result.n_scored_seqs * (size_t)m.result.n_units * sizeof(double);
            const size_t S = (size_t)whole->n_scored_seqs * (size_t)whole->n_units;
            equal =
                equal &&
                !memcmp(m.result.record + (size_t)merged.replay * S, whole->record + (size_t)cell[c].replay * S, nb) &&
                !memcmp(&m.result.loss, &whole->loss, sizeof whole->loss) &&
                merged.split.wanted == cell[c].split.wanted &&
                (!merged.split.wanted || !memcmp(m.result.record + (size_t)merged.split.weight * S,
                                                 whole->record + (size_t)cell[c].split.weight * S, nb));
            records_merged_free(&m);
            for (int i = 0; i < n; i++)
                free(path[i]);
        }
        ok(equal, "%d parts, %d with work, merged in some order", k, n);
    }
}

/* ---- frames that lie: built by hand, with right hashes */

static struct records_file file_of(const struct scorer_result *r)
{
    struct records_file f = {.journal.fd = -1};
    records_file_init(&f, r, &cell[1]);
    return f;
}

/* The frames of a journal, one of them changed; what applying it says. */
static void refused(const struct journal *from, size_t frame, size_t at, const void *bytes, size_t nb, size_t cut,
                    enum err_code code, const char *says)
{
    struct journal to = {.fd = -1};
    struct scorer_result r;
    struct err e = {0};
    for (size_t i = 0; i < from->n; i++) {
        unsigned char *data = xmalloc(from->frame[i].n, 1);
        if (from->frame[i].n)
            memcpy(data, from->frame[i].data, from->frame[i].n);
        if (i == frame)
            memcpy(data + at, bytes, nb);
        journal_add(&to, from->frame[i].kind, data, from->frame[i].n - (i == frame ? cut : 0));
        free(data);
    }
    struct scorer_options o = options;
    scorer_result_open(&r, &lm, &calib, &set, &o);
    struct records_file f = file_of(&r);
    journal_parse(&f.journal, to.added, to.n_added, "J");
    ok(f.journal.n == from->n && records_apply(&f, &r, &e) && e.code == code && strstr(e.msg, says), "%s", e.msg);
    records_file_free(&f);
    scorer_result_free(&r);
    free(to.added);
}

static void check_lies(void)
{
    struct journal j;
    struct err e = {0};
    char *path = io_join(cell[1].dir, "part-1-of-1.journal");
    if (journal_read(&j, path, &e) || j.n != 2 + 6 + 4)
        BUG("%s, %zu frames", e.msg, j.n);
    const size_t first = 2, score = 8; /* header, gemm, six calibrations, four scores */
    const int32_t six = 6, minus = -1, one = 1, four = 4;
    const float nanf = NAN, negative = -1, another = 77;
    const double nan = NAN, infinite = INFINITY, below = -1;
    const char zero = 0;
    refused(&j, first, 0, &six, 4, 0, ERR_FORMAT, "'J': frame 3 is of a block that the run has not, or has already");
    refused(&j, first, 0, &minus, 4, 0, ERR_FORMAT, "frame 3 is of a block that the run has not");
    refused(&j, first, 0, &one, 4, 0, ERR_FORMAT, "frame 4 is of a block that the run has not, or has already");
    refused(&j, first, 4, &six, 4, 0, ERR_FORMAT, "frame 3 has another size than its block");
    refused(&j, first, 0, "", 0, 4, ERR_FORMAT, "frame 3 has another size than its block");
    refused(&j, first, 0, "", 0, j.frame[first].n, ERR_FORMAT, "frame 3 is too short");
    refused(&j, first, 8, &nan, 8, 0, ERR_FORMAT, "frame 3 holds a number that is no maximum");
    refused(&j, first, 16, &nanf, 4, 0, ERR_FORMAT, "frame 3 holds a number that is no maximum");
    refused(&j, first, 20, &negative, 4, 0, ERR_FORMAT, "frame 3 holds a number that is no maximum");
    refused(&j, first + 1, j.frame[first + 1].n - 4, &another, 4, 0, ERR_CONFIG, "the maxima of block 2 in 'J' differ");
    refused(&j, score, 0, &four, 4, 0, ERR_FORMAT, "frame 9 is of a block that the run has not");
    refused(&j, score, 0, &minus, 4, 0, ERR_FORMAT, "frame 9 is of a block that the run has not");
    refused(&j, score, 0, &one, 4, 0, ERR_FORMAT, "frame 10 is of a block that the run has not, or has already");
    refused(&j, score, 4, &four, 4, 0, ERR_FORMAT, "frame 9 has another size than its block");
    refused(&j, score, 8, &six, 4, 0, ERR_FORMAT, "frame 9 has another size than its block");
    refused(&j, score, 0, "", 0, 8, ERR_FORMAT, "frame 9 has another size than its block");
    refused(&j, score, 0, "", 0, j.frame[score].n - 39, ERR_FORMAT, "frame 9 is too short");
    refused(&j, score, 16, &infinite, 8, 0, ERR_FORMAT, "frame 9 holds a number that is no score");
    refused(&j, score, 24, &nan, 8, 0, ERR_FORMAT, "frame 9 holds a number that is no score");
    refused(&j, score, 32, &below, 8, 0, ERR_FORMAT, "frame 9 holds a number that is no score");
    refused(&j, score, 40, &below, 8, 0, ERR_FORMAT, "frame 9 holds a number that is no score");
    refused(&j, score, j.frame[score].n - 8, &nan, 8, 0, ERR_FORMAT, "frame 9 holds a number that is no score");
    refused(&j, 1, 3, &zero, 1, 0, ERR_FORMAT, "'J': frame 2 is not text");
    refused(&j, 1, 0, "x", 1, 0, ERR_FORMAT, "'J': 'gemm.json': not valid JSON");
    j.frame[3].kind = 9;
    refused(&j, 1, 0, "", 0, 0, ERR_FORMAT, "frame 4 is of an unknown kind");
    j.frame[3].kind = RECORDS_CALIBRATION;
    const struct journal_frame last = j.frame[7];
    j.frame[7] = j.frame[8], j.frame[8] = last;
    refused(&j, 1, 0, "", 0, 0, ERR_FORMAT, "frame 8 holds scores before all maxima");
    journal_close(&j);
    free(path);
}

int main(void)
{
    struct rng rng = {3};
    struct err e = {0};
    parallel_init(2);
    make_model(&lm, &small, 1);
    make_captions(&calib, SEQS, BATCH, true, small.vocab, 1);
    ops = be_cpu_ops;
    ops.gemm_used = made_up;
    dir = xasprintf("%s/cells", work);
    for (int i = 0; i < 2; i++) {
        cell[i].pair = subject_pair(i ? "mxfp4_fp8" : "int4_fp16");
        cell[i].dir = xasprintf("%s/%d", dir, i);
        if (scores_cell_add(&cell[i], &set, true, &e))
            BUG("%s", e.msg);
    }
    struct scorer_result whole = subject_score(&be_cpu_ops, &lm, &calib, &set, &options);
    ok(whole.n_blocks == 6 && whole.n_scored_blocks == 4 && set.n == 4, "six blocks, four scored, four replays");
    check_stops(&whole);
    check_parts(&whole, &rng);
    check_lies();
    scorer_result_free(&whole);
    calib_free(&calib);
    lm_free(&lm);
    remove_models();
    return done();
}
