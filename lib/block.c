#include "block.h"

#include <stdlib.h>

#include "mem.h"
#include "sha256.h"

enum { MAX_BLOCK_ROWS = 1 << 22 };

/* First sequence of a batch; the last batch may be short. */
static int64_t first_seq(const struct calib *c, int64_t batch)
{
    const int64_t seq = batch * c->batch_size;
    return seq < c->n_seqs ? seq : c->n_seqs;
}

int block_cut(const struct calib *c, int batches, int **first)
{
    int n = 0, begin = 0;
    *first = xmalloc((size_t)c->n_batches + 1, sizeof **first);
    for (int i = 0; i < c->n_batches; i++) {
        const int64_t rows = c->offset[first_seq(c, i + 1)] - c->offset[first_seq(c, begin)];
        if (i == 0 || i - begin == batches || rows > BLOCK_ROWS)
            (*first)[n++] = begin = i;
    }
    (*first)[n] = (int)c->n_batches;
    return n;
}

/* Where the block's sequences, batches and rows begin and end. */
static void set_range(struct block *b, const struct calib *c, int first_batch, int n_batches)
{
    b->first_batch = first_batch;
    b->n_batches = n_batches;
    b->first_seq = (int)first_seq(c, first_batch);
    b->n_seqs = (int)first_seq(c, first_batch + n_batches) - b->first_seq;
    b->first_row = c->offset[b->first_seq];
    for (int s = 0; s < b->n_seqs; s++)
        b->n_loss += c->n_loss[b->first_seq + s];
}

void block_hash(const struct calib *c, int first_batch, int n_batches, char hex[65])
{
    const int64_t begin = first_seq(c, first_batch), end = first_seq(c, first_batch + n_batches);
    const int64_t row = c->offset[begin], rows = c->offset[end] - row, seqs = end - begin;
    const int64_t head[] = {begin, seqs, rows, n_batches, c->batch_size, c->sentinels};
    struct sha256 s;
    sha256_init(&s);
    sha256_add(&s, head, sizeof head);
    for (int64_t i = begin; i < end; i++)
        sha256_add(&s, &(int64_t){c->offset[i + 1] - row}, sizeof(int64_t));
    sha256_add(&s, c->sentinel + begin, (size_t)seqs);
    sha256_add(&s, c->n_loss + begin, (size_t)seqs * sizeof *c->n_loss);
    sha256_add(&s, c->batch_loss + first_batch, (size_t)n_batches * sizeof *c->batch_loss);
    sha256_add(&s, c->ids + row, (size_t)rows * sizeof *c->ids);
    sha256_add(&s, c->target + row, (size_t)rows * sizeof *c->target);
    sha256_hex(&s, hex);
}

/* Lays I32 arrays one after the other in host memory and remembers where. */
struct layout {
    int32_t *data;
    size_t n;
    struct be_buf *buf;
};

static int32_t *place(struct layout *l, struct be_view *v, size_t n)
{
    *v = (struct be_view){l->buf, l->n * sizeof *l->data, DT_I32};
    int32_t *p = l->data + l->n;
    l->n += n;
    return p;
}

static void fill(struct block *b, const struct calib *c, struct layout *l, float *scale, uint8_t *sentinel, bool bf16)
{
    const size_t N = (size_t)b->n_rows, S = (size_t)b->n_seqs, M = (size_t)b->n_loss;
    int32_t *offset = place(l, &b->seqs.offset, S + 1), *pos = place(l, &b->pos, N), *batch = place(l, &b->batch, N);
    int32_t *row = place(l, &b->loss_row, M), *target = place(l, &b->loss_target, M),
            *lbatch = place(l, &b->loss_batch, M);
    int32_t *loffset = place(l, &b->loss_offset, S + 1);
    int n = 0;
    for (int s = 0; s < b->n_seqs; s++) {
        const int64_t seq = b->first_seq + s, begin = c->offset[seq], end = c->offset[seq + 1];
        const bool has_sentinel = c->sentinel[seq];
        offset[s] = (int32_t)(begin - b->first_row);
        loffset[s] = n;
        sentinel[s] = has_sentinel;
        b->seqs.pairs += 0.5 * (double)(end - begin) * (double)(end - begin + 1);
        for (int64_t r = begin; r < end; r++) {
            const size_t i = (size_t)(r - b->first_row);
            batch[i] = c->batch[seq] - b->first_batch;
            pos[i] = has_sentinel && r == begin ? 1 : (int32_t)(r - begin) - has_sentinel;
            if (c->target[r] < 0)
                continue;
            row[n] = (int32_t)i;
            target[n] = c->target[r];
            lbatch[n] = batch[i];
            scale[n++] = (bf16 ? c->scale_bf16 : c->scale_f32)[c->batch[seq]];
        }
    }
    offset[S] = b->n_rows;
    loffset[S] = n;
    if (n != b->n_loss)
        BUG("%d loss rows, %d announced", n, b->n_loss);
}

int block_open(struct block *b, const struct be_ops *ops, struct be *be, const struct calib *c, int first_batch,
               int n_batches, bool bf16, struct err *e)
{
    *b = (struct block){0};
    set_range(b, c, first_batch, n_batches);
    const int64_t rows = c->offset[b->first_seq + b->n_seqs] - b->first_row;
    if (rows > MAX_BLOCK_ROWS)
        return err_set(e, ERR_LIMIT, "a block of %d batches has %lld rows, more than %d: use smaller batches",
                       n_batches, (long long)rows, MAX_BLOCK_ROWS);
    b->n_rows = (int)rows;
    b->seqs.n = b->n_seqs;
    b->seqs.n_rows = b->n_rows;
    const size_t n_ints = 2 * ((size_t)b->n_seqs + 1) + 2 * (size_t)b->n_rows + 3 * (size_t)b->n_loss;
    struct layout l = {xmalloc(n_ints, sizeof *l.data), 0, ops->alloc(be, n_ints * sizeof *l.data)};
    float *scale = xmalloc((size_t)b->n_loss, sizeof *scale);
    uint8_t *sentinel = xmalloc((size_t)b->n_seqs, 1);
    b->ints = l.buf;
    b->scales = ops->alloc(be, (size_t)b->n_loss * sizeof *scale + (size_t)b->n_seqs);
    b->loss_scale = (struct be_view){b->scales, 0, DT_F32};
    b->seqs.sentinel = (struct be_view){b->scales, (size_t)b->n_loss * sizeof *scale, DT_U8};
    fill(b, c, &l, scale, sentinel, bf16);
    ops->put(be, (struct be_view){b->ints, 0, DT_I32}, l.data, n_ints);
    ops->put(be, b->loss_scale, scale, (size_t)b->n_loss);
    ops->put(be, b->seqs.sentinel, sentinel, (size_t)b->n_seqs);
    free(l.data);
    free(scale);
    free(sentinel);
    return 0;
}

void block_close(struct block *b, const struct be_ops *ops, struct be *be)
{
    ops->free(be, b->ints);
    ops->free(be, b->scales);
    *b = (struct block){0};
}
