/* block: rows, positions, batches, loss rows and scales of a run of batches, as the ops get them. */
#include "block.h"

#include "mem.h"
#include "num.h"
#include "tap.h"

enum { PAD = 9, SEQ_LEN = 4, MAX = 32 };

static const struct be_ops *ops;
static struct be *be;

static bool ints(struct be_view v, const int *want, size_t n)
{
    int32_t got[MAX];
    ops->get(be, got, v, n);
    for (size_t i = 0; i < n; i++)
        if (got[i] != want[i]) {
            diag("at %zu: %d, not %d", i, (int)got[i], want[i]);
            return false;
        }
    return true;
}
#define INTS(v, ...) ints(v, (const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int))

static bool scales(struct be_view v, const float *want, size_t n)
{
    float got[MAX];
    ops->get(be, got, v, n);
    return !memcmp(got, want, n * sizeof *got);
}

static void make_calib(struct calib *c, bool sentinels)
{
    /* batches of two: {a, full}, {one, pad inside}, {b} */
    static const int32_t a[] = {1, 2, 3}, full[] = {4, 5, 6, 7}, one[] = {8}, inside[] = {10, PAD, 11}, b[] = {12, 13};
    static const int32_t *const ids[] = {a, full, one, inside, b};
    static const int64_t n[] = {3, 4, 1, 3, 2};
    struct err e = {0};
    if (calib_build(c, 5, ids, n, 2, SEQ_LEN, sentinels, PAD, &e))
        BUG("%s", e.msg);
}

static bool cut_is(const struct calib *c, int batches, const int *want, int n)
{
    int *first;
    const bool same = block_cut(c, batches, &first) == n && !memcmp(first, want, ((size_t)n + 1) * sizeof *want);
    free(first);
    return same;
}

static void check_cut(void)
{
    /* batches of two sequences; a short one at the end */
    int64_t offset[] = {0, 4000, 8000, 8100, 8192, 8193, 20000, 20001, 20002, 24000};
    const struct calib c = {.n_seqs = 9, .n_batches = 5, .batch_size = 2, .offset = offset};
    ok(cut_is(&c, 8, (const int[]){0, 2, 3, 5}, 3), "a block ends before its rows exceed 8,192; one batch may");
    ok(cut_is(&c, 1, (const int[]){0, 1, 2, 3, 4, 5}, 5), "or with its batches");
    const struct calib fewer = {.n_seqs = 5, .n_batches = 3, .batch_size = 2, .offset = offset};
    ok(cut_is(&fewer, 8, (const int[]){0, 2, 3}, 2), "fewer sequences: the blocks before the last are the same");
}

static void check_sentinels(void)
{
    struct calib c;
    struct block b;
    struct err e;
    make_calib(&c, true);
    ok(cut_is(&c, 1, (const int[]){0, 1, 2, 3}, 3) && cut_is(&c, 2, (const int[]){0, 2, 3}, 2) &&
           cut_is(&c, 3, (const int[]){0, 3}, 1) && cut_is(&c, 8, (const int[]){0, 3}, 1),
       "three batches in blocks of 1, 2, 3 and 8");
    ok(!block_open(&b, ops, be, &c, 0, 2, true, &e) && b.first_seq == 0 && b.n_seqs == 4 && b.first_batch == 0 &&
           b.n_batches == 2 && b.first_row == 0 && b.n_rows == 14 && b.n_loss == 9 && b.seqs.n == 4,
       "the first block of two: sizes");
    /* P 1 2 3 | 4 5 6 7 | P 8 | P 10 P 11: targets 1 2 3 - | 5 6 7 - | 8 - | 10 - 11 - */
    ok(INTS(b.seqs.offset, 0, 4, 8, 10, 14), "offsets");
    uint8_t sentinel[4];
    ops->get(be, sentinel, b.seqs.sentinel, 4);
    ok(!memcmp(sentinel, (const uint8_t[]){1, 0, 1, 1}, 4), "a sequence that fills the length has no sentinel");
    ok(INTS(b.pos, 1, 0, 1, 2, 0, 1, 2, 3, 1, 0, 1, 0, 1, 2), "positions: a sentinel's is 1, the first real token's 0");
    ok(INTS(b.batch, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1), "batches");
    ok(INTS(b.loss_row, 0, 1, 2, 4, 5, 6, 8, 10, 12), "loss rows");
    ok(INTS(b.loss_target, 1, 2, 3, 5, 6, 7, 8, 10, 11), "targets");
    ok(INTS(b.loss_batch, 0, 0, 0, 0, 0, 0, 1, 1, 1), "batches of the loss rows");
    ok(INTS(b.loss_offset, 0, 3, 6, 7, 9), "loss rows of each sequence");
    const float s6 = bf16_round(1 / 6.0f), s3 = bf16_round(1 / 3.0f);
    ok(scales(b.loss_scale, (const float[]){s6, s6, s6, s6, s6, s6, s3, s3, s3}, 9), "1/N of each row's batch in bf16");
    block_close(&b, ops, be);
    ok(!b.ints && !b.scales, "closed");
    ok(!block_open(&b, ops, be, &c, 0, 2, false, &e) &&
           scales(be_at(b.loss_scale, 5), (const float[]){1 / 6.0f, 1 / 3.0f}, 2),
       "and in fp32");
    block_close(&b, ops, be);

    ok(!block_open(&b, ops, be, &c, 2, 1, true, &e) && b.first_seq == 4 && b.n_seqs == 1 && b.first_batch == 2 &&
           b.n_batches == 1 && b.first_row == 14 && b.n_rows == 3 && b.n_loss == 2,
       "the last block is short");
    ok(INTS(b.seqs.offset, 0, 3) && INTS(b.pos, 1, 0, 1) && INTS(b.batch, 0, 0, 0) && INTS(b.loss_row, 0, 1) &&
           INTS(b.loss_target, 12, 13) && INTS(b.loss_offset, 0, 2),
       "and counts from its own beginning");
    block_close(&b, ops, be);
    calib_free(&c);
}

static void check_none(void)
{
    struct calib c;
    struct block b;
    struct err e;
    make_calib(&c, false);
    ok(!block_open(&b, ops, be, &c, 0, 3, true, &e) && b.n_rows == 13 && b.n_loss == 7 && b.n_seqs == 5,
       "padding none: sizes");
    ok(INTS(b.pos, 0, 1, 2, 0, 1, 2, 3, 0, 0, 1, 2, 0, 1) && INTS(b.loss_offset, 0, 2, 5, 5, 6, 7),
       "positions from 0; a sequence of one token has no loss");
    block_close(&b, ops, be);
    ok(!block_open(&b, ops, be, &c, 1, 1, true, &e) && b.n_loss == 1 && INTS(b.loss_row, 2) && INTS(b.loss_target, 11),
       "a target that is the pad id has none");
    block_close(&b, ops, be);
    calib_free(&c);
}

static void check_too_large(void)
{
    struct err e = {0};
    struct block b;
    int64_t offset[] = {0, 5000000};
    int32_t n_loss[] = {4999999};
    const struct calib c = {.n_seqs = 1, .n_rows = 5000000, .n_batches = 1, .batch_size = 1, .offset = offset,
                            .n_loss = n_loss};
    ok(block_open(&b, ops, be, &c, 0, 1, true, &e) && e.code == ERR_LIMIT &&
           strstr(e.msg, "use smaller batches"),
       "too many rows: %s", e.msg);
}

int main(void)
{
    static const struct be_ops *const all[] = {&be_ref_ops, &be_cpu_ops};
    struct err e;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        ops = all[i];
        be = ops->open(NULL, &e);
        diag("%s", ops->name);
        check_cut();
        check_sentinels();
        check_none();
        check_too_large();
        ops->close(be);
    }
    return done();
}
