#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "block.h"
#include "gemm_table.h"
#include "mem.h"
#include "model.h"
#include "scorer.h"

int64_t scorer_scored_seqs(const struct calib *c, int score_size)
{
    int64_t batches = score_size / c->batch_size;
    batches = batches < 1 ? 1 : batches > c->n_batches ? c->n_batches : batches;
    return batches * c->batch_size < c->n_seqs ? batches * c->batch_size : c->n_seqs;
}

void scorer_result_open(struct scorer_result *r, const struct lm *lm, const struct calib *c,
                        const struct replay_set *set, const struct scorer_options *o)
{
    int *first_batch;
    *r = (struct scorer_result){.n_units = UNITS_PER_LAYER * lm->config.n_layers + 1,
                                .n_batches = (int)c->n_batches,
                                .n_replays = set->n,
                                .n_scored_seqs = scorer_scored_seqs(c, o->score_size)};
    const size_t U = (size_t)r->n_units;
    r->n_scored_rows = c->offset[r->n_scored_seqs];
    r->n_scored_batches = (int)((r->n_scored_seqs + c->batch_size - 1) / c->batch_size);
    r->record = xcalloc((size_t)set->n * (size_t)r->n_scored_seqs * U, sizeof *r->record);
    r->amax = xcalloc((size_t)r->n_batches * U, sizeof *r->amax);
    r->weight_amax = xcalloc(U, sizeof *r->weight_amax);
    r->n_blocks = block_cut(c, o->block_batches, &first_batch);
    r->scored = xcalloc((size_t)set->n * (size_t)r->n_blocks, sizeof *r->scored);
    r->n_wanted = xcalloc((size_t)set->n, sizeof *r->n_wanted);
    r->block = xcalloc((size_t)r->n_blocks, sizeof *r->block);
    for (int i = 0; i < r->n_blocks; i++) {
        struct scorer_block *b = &r->block[i];
        const int64_t end = (int64_t)first_batch[i + 1] * c->batch_size;
        b->first_batch = first_batch[i];
        b->n_batches = first_batch[i + 1] - first_batch[i];
        b->first_seq = (int64_t)first_batch[i] * c->batch_size;
        if (b->first_seq < r->n_scored_seqs)
            b->n_seqs = (end < r->n_scored_seqs ? end : r->n_scored_seqs) - b->first_seq;
        r->n_scored_blocks += b->n_seqs > 0;
    }
    for (int k = 0; k < set->n; k++)
        r->n_wanted[k] = r->n_scored_blocks;
    free(first_batch);
}

bool scorer_result_complete(const struct scorer_result *r)
{
    for (int i = 0; i < r->n_blocks; i++)
        if (!r->block[i].calibrated)
            return false;
    for (int k = 0; k < r->n_replays; k++)
        for (int i = 0; i < r->n_wanted[k]; i++)
            if (!*scorer_scored(r, k, i))
                return false;
    return true;
}

int scorer_result_finish(struct scorer_result *r, struct err *e)
{
    double sum = 0;
    int64_t rows = 0;
    r->seconds = 0;
    for (int i = 0; i < r->n_blocks; i++) {
        sum += r->block[i].loss_sum;
        rows += r->block[i].loss_rows;
        r->seconds += r->block[i].calibrate_seconds + r->block[i].score_seconds;
    }
    r->loss = rows ? sum / (double)rows : 0;
    return isfinite(r->loss) ? 0 : err_set(e, ERR_NUMERIC, "the cross-entropy is not finite");
}

/* ---- which products are of a result's blocks */

struct products {
    const struct scorer_result *r;
    const struct calib *c;
    int head_chunk;        /* loss rows whose logits exist at once, at most */
    int head_out, out_end; /* rows of a block of lm_head, and of the last one */
};

static int64_t block_rows(const struct products *p, const struct scorer_block *b)
{
    const struct calib *c = p->c;
    const int64_t end = b->first_seq + (int64_t)b->n_batches * c->batch_size;
    return c->offset[end < c->n_seqs ? end : c->n_seqs] - c->offset[b->first_seq];
}

static int64_t block_losses(const struct products *p, const struct scorer_block *b)
{
    int64_t n = 0;
    for (int k = 0; k < b->n_batches; k++)
        n += p->c->batch_loss[b->first_batch + k];
    return n;
}

static bool is_product_of(const struct gemm_shape *s, const void *self)
{
    const struct products *p = self;
    const bool head = s->out == p->head_out || s->out == p->out_end;
    for (int i = 0; i < p->r->n_blocks; i++) {
        const struct scorer_block *b = &p->r->block[i];
        const bool scored = i < p->r->n_scored_blocks;
        if (block_rows(p, b) == s->rows && (scored || !s->backward))
            return true;
        const int64_t n = head && scored ? block_losses(p, b) : 0;
        if (n && (n < p->head_chunk ? n == s->rows : p->head_chunk == s->rows || n % p->head_chunk == s->rows))
            return true;
    }
    return false;
}

int scorer_result_gemm(char **text, const struct scorer_result *r, const struct be_ops *ops, const struct lm *lm,
                       const struct calib *c, bool bf16, struct err *e)
{
    const int out = weights_head_rows(lm, ops), V = (int)lm->config.vocab_size;
    const struct products p = {r, c, model_head_chunk(lm, ops, bf16, INT_MAX), out, V % out ? V % out : out};
    *text = r->gemm ? gemm_used_keep(r->gemm, is_product_of, &p, e) : NULL;
    return r->gemm && !*text ? -1 : 0;
}

double scorer_unit_score(const struct scorer_result *r, int replay, int unit)
{
    double sum = 0;
    for (int64_t s = 0; s < r->n_scored_seqs; s++)
        sum += scorer_record(r, replay, s)[unit];
    return sum;
}

void scorer_result_free(struct scorer_result *r)
{
    free(r->block);
    free(r->record);
    free(r->scored);
    free(r->n_wanted);
    free(r->amax);
    free(r->weight_amax);
    free(r->gemm);
    *r = (struct scorer_result){0};
}
