#include "scorer.h"

#include <math.h>
#include <stdlib.h>

#include "cli.h"
#include "mem.h"
#include "model.h"

struct run {
    const struct be_ops *ops;
    struct be *be;
    const struct lm *lm;
    const struct calib *calib;
    const struct replay_set *set;
    const struct scorer_options *o;
    struct weights weights;
    struct model model;
    struct replayer replayer;
    struct block *block;
    int n_blocks, n_scored_blocks, pass_blocks, n_units;
    struct be_buf **inputs;           /* per block: layer inputs [layers+1, N, D], or one [N, D] */
    struct be_buf *sweep_amax;        /* F32 [units, batches of a block] */
    struct be_buf *static_amax;       /* F32 [units] */
    struct be_buf *weight_amax;       /* F32 [units] */
    struct be_buf *head_cols;         /* F32 [D] */
    struct be_buf *row_sum, *seq_sum; /* F64 */
    struct be_buf *dh;                /* gradients of the pass's blocks */
    size_t *dh_offset;
    double loss_sum;
    int64_t loss_rows;
    struct scorer_result *r;
    struct cli_progress progress;
};

int64_t scorer_scored_seqs(const struct calib *c, int score_size)
{
    int64_t batches = score_size / c->batch_size;
    batches = batches < 1 ? 1 : batches > c->n_batches ? c->n_batches : batches;
    return batches * c->batch_size < c->n_seqs ? batches * c->batch_size : c->n_seqs;
}

/* Element `layer` of a block's layer inputs; where they are not kept all layers share one. */
static struct be_view layer_input(const struct run *t, int i, int layer, bool keep)
{
    const size_t n = (size_t)t->block[i].n_rows * (size_t)t->model.D;
    return be_at((struct be_view){t->inputs[i], 0, t->model.act}, keep ? (size_t)layer * n : 0);
}

static void start_block(struct run *t, int i, bool keep)
{
    const struct block *b = &t->block[i];
    const size_t n = (size_t)b->n_rows * (size_t)t->model.D * (keep ? (size_t)t->model.n_layers + 1 : 1);
    t->inputs[i] = t->ops->alloc(t->be, n * dtype_size(t->model.act));
    t->r->memory += n * dtype_size(t->model.act);
    weights_embed(&t->weights, layer_input(t, i, 0, keep), t->calib->ids + b->first_row, b->n_rows);
}

static void drop_block(struct run *t, int i)
{
    t->ops->free(t->be, t->inputs[i]);
    t->inputs[i] = NULL;
}

/* ---- weights: max |w| of every unit, once, when it first comes by */

static void note_weight_amax(struct run *t, int layer)
{
    static const struct be_view all = {0};
    for (int role = 0; role < ROLE_COUNT; role++)
        if (lm_role_is_unit((enum lm_role)role) && role != ROLE_LM_HEAD) {
            const struct lm_tensor *w = lm_tensor_of(t->lm, (enum lm_role)role, layer);
            const size_t u = (size_t)unit_index((enum lm_role)role, layer, t->model.n_layers);
            t->ops->amax_rows(t->be, be_at((struct be_view){t->weight_amax, 0, DT_F32}, u), t->weights.role[role], all,
                              (int)w->shape[0], (int)w->shape[1]);
        }
}

static void note_head_amax(struct run *t)
{
    static const struct be_view all = {0};
    int row0, rows;
    for (int i = 0; i < weights_head_blocks(&t->weights); i++) {
        const struct be_view w = weights_head_block(&t->weights, i, &row0, &rows);
        t->ops->amax_rows(t->be, be_at((struct be_view){t->weight_amax, 0, DT_F32}, (size_t)t->n_units - 1), w, all,
                          rows, t->model.D);
        t->ops->amax_cols(t->be, (struct be_view){t->head_cols, 0, DT_F32}, w, rows, t->model.D);
    }
}

/* ---- forward: all layers over the blocks [begin, end) */

static int store_amax(struct run *t, const struct block *b, float *sweep, struct err *e)
{
    for (int u = 0; u < t->n_units; u++)
        for (int k = 0; k < b->n_batches; k++) {
            const float a = sweep[(size_t)u * (size_t)b->n_batches + (size_t)k];
            t->r->amax[(size_t)(b->first_batch + k) * (size_t)t->n_units + (size_t)u] = a;
            if (!isfinite(a))
                return err_set(e, ERR_NUMERIC, "the input of '%s' is not finite in calibration batch %d",
                               model_unit(t->lm, u)->name, b->first_batch + k + 1);
        }
    return 0;
}

static int forward_pass(struct run *t, int begin, int end, bool keep, bool calibrate, bool first, struct err *e)
{
    const size_t max_batches = (size_t)t->o->block_batches;
    struct be_buf *amax_buf =
        calibrate ? t->ops->alloc(t->be, (size_t)(end - begin) * (size_t)t->n_units * max_batches * 4) : NULL;
    for (int i = begin; i < end; i++)
        start_block(t, i, keep && i < t->n_scored_blocks);
    for (int layer = 0; layer < t->model.n_layers; layer++) {
        weights_wait(&t->weights, layer);
        weights_prefetch(&t->weights, layer + 1);
        if (first)
            note_weight_amax(t, layer);
        for (int i = begin; i < end; i++) {
            const bool kept = keep && i < t->n_scored_blocks;
            const size_t at = (size_t)(i - begin) * (size_t)t->n_units * max_batches * 4;
            model_layer_forward(&t->model, layer, &t->block[i], layer_input(t, i, layer, kept),
                                layer_input(t, i, layer + 1, kept),
                                calibrate ? (struct be_view){amax_buf, at, DT_F32} : (struct be_view){0});
            cli_progress_step(&t->progress, (double)t->block[i].n_rows / t->model.n_layers);
        }
    }
    int rc = 0;
    float *sweep = xmalloc((size_t)t->n_units * max_batches, sizeof *sweep);
    for (int i = begin; i < end && calibrate && !rc; i++) {
        const bool kept = keep && i < t->n_scored_blocks;
        const struct be_view amax = {amax_buf, (size_t)(i - begin) * (size_t)t->n_units * max_batches * 4, DT_F32};
        model_head_amax(&t->model, &t->block[i], layer_input(t, i, t->model.n_layers, kept), amax);
        t->ops->get(t->be, sweep, amax, (size_t)t->n_units * (size_t)t->block[i].n_batches);
        rc = t->ops->sync(t->be, e) ? -1 : store_amax(t, &t->block[i], sweep, e);
    }
    free(sweep);
    t->ops->free(t->be, amax_buf);
    return rc;
}

static int calibrate(struct run *t, bool single_pass, struct err *e)
{
    note_head_amax(t);
    for (int begin = 0; begin < t->n_blocks; begin += t->pass_blocks) {
        const int end = t->n_blocks - begin < t->pass_blocks ? t->n_blocks : begin + t->pass_blocks;
        if (forward_pass(t, begin, end, single_pass, true, begin == 0, e))
            return -1;
        for (int i = begin; i < end; i++)
            if (!single_pass || i >= t->n_scored_blocks)
                drop_block(t, i);
    }
    float *m = xcalloc((size_t)t->n_units, sizeof *m);
    for (int k = 0; k < t->r->n_batches; k++)
        for (int u = 0; u < t->n_units; u++)
            m[u] = fmaxf(m[u], t->r->amax[(size_t)k * (size_t)t->n_units + (size_t)u]); /* finite: store_amax */
    t->ops->put(t->be, (struct be_view){t->static_amax, 0, DT_F32}, m, (size_t)t->n_units);
    free(m);
    t->ops->get(t->be, t->r->weight_amax, (struct be_view){t->weight_amax, 0, DT_F32}, (size_t)t->n_units);
    return t->ops->sync(t->be, e);
}

/* ---- backward over the blocks [begin, end) of a scoring pass, whose layer inputs are there */

static void put_batch_amax(struct run *t, const struct block *b)
{
    const size_t n = (size_t)b->n_batches;
    float *m = xmalloc((size_t)t->n_units * n, sizeof *m);
    for (size_t u = 0; u < (size_t)t->n_units; u++)
        for (size_t k = 0; k < n; k++)
            m[u * n + k] = t->r->amax[((size_t)b->first_batch + k) * (size_t)t->n_units + u];
    t->ops->put(t->be, (struct be_view){t->sweep_amax, 0, DT_F32}, m, (size_t)t->n_units * n);
    free(m);
}

static struct block_replay block_replay(struct run *t, size_t seq_sum_offset)
{
    return (struct block_replay){
        .r = &t->replayer,
        .amax_static = {t->static_amax, 0, DT_F32},
        .amax_batch = {t->sweep_amax, 0, DT_F32},
        .amax_weight = {t->weight_amax, 0, DT_F32},
        .head_cols = {t->head_cols, 0, DT_F32},
        .row_sum = {t->row_sum, 0, DT_F64},
        .row_stride = (size_t)t->model.max_rows,
        .seq_sum = {t->seq_sum, seq_sum_offset, DT_F64},
        .n_units = t->n_units,
    };
}

static int check_record(const struct run *t, int replay, int64_t seq, int u, double x, struct err *e)
{
    if (isfinite(x))
        return 0;
    char w[QUANTIZER_KEY], a[QUANTIZER_KEY];
    quantizer_key(&t->set->weight[t->set->replay[replay].weight], w);
    quantizer_key(&t->set->act[t->set->replay[replay].act], a);
    const struct lm_unit *unit = model_unit(t->lm, u);
    return err_set(e, ERR_NUMERIC,
                   "the score of group '%s' (unit '%s', weight %s, activation %s) is not finite at sequence %lld",
                   t->lm->group[unit->group].name, unit->name, w, a, (long long)seq + 1);
}

/* Copy a block's sums to the records, sequences that are not scored left out. */
static int store_records(struct run *t, const struct block *b, size_t seq_sum_offset, struct err *e)
{
    const size_t S = (size_t)b->n_seqs, U = (size_t)t->n_units, n = (size_t)t->set->n * U * S;
    double *sum = xmalloc(n, sizeof *sum);
    t->ops->get(t->be, sum, (struct be_view){t->seq_sum, seq_sum_offset, DT_F64}, n);
    int rc = t->ops->sync(t->be, e);
    for (int i = 0; i < t->set->n && !rc; i++)
        for (int u = t->n_units - 1; u >= 0 && !rc;
             u--) /* as gradients flow: the first that is not finite is the cause */
            for (int s = 0; s < b->n_seqs && b->first_seq + s < t->r->n_scored_seqs && !rc; s++) {
                const double x = sum[((size_t)i * U + (size_t)u) * S + (size_t)s];
                const size_t seq = (size_t)(b->first_seq + s);
                rc = check_record(t, i, (int64_t)seq, u, x, e);
                t->r->record[((size_t)i * (size_t)t->r->n_scored_seqs + seq) * U + (size_t)u] = x;
            }
    free(sum);
    return rc;
}

static void add_loss(struct run *t, const struct block *b, const float *loss)
{
    int n = 0;
    for (int s = 0; s < b->n_seqs; s++)
        for (int k = 0; k < t->calib->n_loss[b->first_seq + s]; k++, n++)
            if (b->first_seq + s < t->r->n_scored_seqs) {
                t->loss_sum += (double)loss[n];
                t->loss_rows++;
            }
}

static int backward_pass(struct run *t, int begin, int end, struct err *e)
{
    const size_t D = (size_t)t->model.D, replays = (size_t)t->set->n, U = (size_t)t->n_units;
    const double cost = 2 + (double)t->set->n; /* in forward sweeps */
    size_t *seq_offset = xcalloc((size_t)(end - begin) + 1, sizeof *seq_offset);
    size_t *dh_offset = xcalloc((size_t)(end - begin) + 1, sizeof *dh_offset);
    for (int i = begin; i < end; i++) {
        seq_offset[i - begin + 1] = seq_offset[i - begin] + replays * U * (size_t)t->block[i].n_seqs * sizeof(double);
        dh_offset[i - begin + 1] = dh_offset[i - begin] + (size_t)t->block[i].n_rows * D * dtype_size(t->model.act);
    }
    t->seq_sum = t->ops->alloc(t->be, seq_offset[end - begin]);
    t->dh = t->ops->alloc(t->be, dh_offset[end - begin]);
    for (int i = begin; i < end; i++) {
        const struct block *b = &t->block[i];
        float *loss = xmalloc((size_t)b->n_loss, sizeof *loss);
        const struct block_replay rp = block_replay(t, seq_offset[i - begin]);
        put_batch_amax(t, b);
        model_head_backward(&t->model, b, layer_input(t, i, t->model.n_layers, true),
                            (struct be_view){t->dh, dh_offset[i - begin], t->model.act}, &rp, loss);
        add_loss(t, b, loss);
        free(loss);
    }
    for (int layer = t->model.n_layers - 1; layer >= 0; layer--) {
        weights_wait(&t->weights, layer);
        weights_prefetch(&t->weights, layer - 1);
        for (int i = begin; i < end; i++) {
            const struct block_replay rp = block_replay(t, seq_offset[i - begin]);
            put_batch_amax(t, &t->block[i]);
            model_layer_backward(&t->model, layer, &t->block[i], layer_input(t, i, layer, true),
                                 (struct be_view){t->dh, dh_offset[i - begin], t->model.act}, &rp);
            cli_progress_step(&t->progress, cost * t->block[i].n_rows / t->model.n_layers);
        }
    }
    int rc = 0;
    for (int i = begin; i < end && !rc; i++)
        rc = store_records(t, &t->block[i], seq_offset[i - begin], e);
    t->ops->free(t->be, t->seq_sum);
    t->ops->free(t->be, t->dh);
    t->seq_sum = t->dh = NULL;
    free(seq_offset);
    free(dh_offset);
    return rc;
}

/* ---- set-up */

static int open_blocks(struct run *t, struct err *e)
{
    const struct scorer_options *o = t->o;
    int *first_batch;
    const int n_blocks = block_cut(t->calib, o->block_batches, &first_batch);
    t->block = xcalloc((size_t)n_blocks, sizeof *t->block);
    t->inputs = xcalloc((size_t)n_blocks, sizeof(struct be_buf *));
    int max_rows = 1, max_loss = 0, max_seq = 1, rc = 0;
    for (int i = 0; i < n_blocks && !rc; i++) {
        const int first = first_batch[i], n = first_batch[i + 1] - first;
        rc = block_open(&t->block[i], t->ops, t->be, t->calib, first, n, o->bf16, e);
        t->n_blocks = i + 1;
        max_rows = t->block[i].n_rows > max_rows ? t->block[i].n_rows : max_rows;
        max_loss = t->block[i].n_loss > max_loss ? t->block[i].n_loss : max_loss;
        t->n_scored_blocks += t->block[i].first_seq < t->r->n_scored_seqs;
    }
    free(first_batch);
    if (rc)
        return -1;
    for (int64_t s = 0; s < t->calib->n_seqs; s++)
        max_seq = t->calib->n_real[s] > max_seq ? t->calib->n_real[s] : max_seq;
    t->pass_blocks = o->pass_blocks > 0 && o->pass_blocks < t->n_blocks ? o->pass_blocks : t->n_blocks;
    model_open(&t->model, t->ops, t->be, t->lm, &t->weights, o->bf16, max_rows, max_loss, max_seq);
    const struct lm_config *c = &t->lm->config;
    const int HE = c->n_heads * c->head_dim;
    int max_in = c->ffn_size > HE ? c->ffn_size : HE;
    max_in = c->hidden_size > max_in ? c->hidden_size : max_in;
    const size_t of_layer = (size_t)max_rows * (size_t)max_in;
    const size_t of_head = (size_t)t->model.head_chunk * (size_t)t->weights.head_rows;
    replayer_open(&t->replayer, t->ops, t->be, t->set, o->bf16, max_rows, max_in,
                  of_head > of_layer ? of_head : of_layer, weights_largest(&t->weights));
    t->r->memory =
        model_bytes(t->lm, t->ops, o->bf16, max_rows, max_loss) +
        ((size_t)t->set->n_act * of_layer + (of_head > of_layer ? of_head : of_layer)) * dtype_size(t->model.act);
    const size_t U = (size_t)t->n_units;
    t->sweep_amax = t->ops->alloc(t->be, U * (size_t)o->block_batches * 4);
    t->static_amax = t->ops->alloc(t->be, U * 4);
    t->weight_amax = t->ops->alloc(t->be, U * 4);
    t->head_cols = t->ops->alloc(t->be, (size_t)c->hidden_size * 4);
    t->row_sum = t->ops->alloc(t->be, (size_t)t->set->n * (size_t)max_rows * sizeof(double));
    return 0;
}

static void count_work(struct run *t, bool single_pass)
{
    double rows = 0;
    for (int i = 0; i < t->n_blocks; i++)
        rows += t->block[i].n_rows;
    for (int i = 0; i < t->n_scored_blocks; i++)
        rows += (2 + (double)t->set->n + (single_pass ? 0 : 1)) * t->block[i].n_rows;
    cli_progress_start(&t->progress, "scoring", "token sweep", rows);
}

static int run_passes(struct run *t, struct err *e)
{
    const bool single_pass = t->pass_blocks == t->n_blocks;
    count_work(t, single_pass);
    if (calibrate(t, single_pass, e))
        return -1;
    for (int begin = 0; begin < t->n_scored_blocks; begin += t->pass_blocks) {
        const int left = t->n_scored_blocks - begin, end = begin + (left < t->pass_blocks ? left : t->pass_blocks);
        if (!single_pass && forward_pass(t, begin, end, true, false, false, e))
            return -1;
        if (backward_pass(t, begin, end, e))
            return -1;
        for (int i = begin; i < end; i++)
            drop_block(t, i);
    }
    cli_progress_end(&t->progress);
    t->r->loss = t->loss_rows ? t->loss_sum / (double)t->loss_rows : 0;
    t->r->flops = t->model.flops + t->replayer.flops;
    if (!isfinite(t->r->loss))
        return err_set(e, ERR_NUMERIC, "the cross-entropy is not finite");
    return 0;
}

static void close_run(struct run *t)
{
    for (int i = 0; t->block && i < t->n_blocks; i++) {
        drop_block(t, i);
        block_close(&t->block[i], t->ops, t->be);
    }
    if (t->model.ops)
        model_close(&t->model);
    if (t->replayer.ops)
        replayer_close(&t->replayer);
    struct be_buf *all[] = {t->sweep_amax, t->static_amax, t->weight_amax, t->head_cols, t->row_sum, t->seq_sum, t->dh};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        t->ops->free(t->be, all[i]);
    free(t->block);
    free(t->inputs);
    weights_close(&t->weights);
    t->ops->close(t->be);
}

static int check_ids(const struct lm *lm, const struct calib *c, struct err *e)
{
    for (int64_t i = 0; i < c->n_rows; i++)
        if (c->ids[i] < 0 || c->ids[i] >= lm->config.vocab_size)
            return err_set(
                e, ERR_CONFIG,
                "token id %d in row %lld of '%s' is outside the model's vocabulary of %lld: the tokenizer is not this "
                "model's",
                (int)c->ids[i], (long long)i, c->source, (long long)lm->config.vocab_size);
    return 0;
}

int scorer_run(struct scorer_result *r, const struct be_ops *ops, const struct lm *lm, const struct calib *c,
               const struct replay_set *set, const struct scorer_options *o, struct err *e)
{
    *r = (struct scorer_result){.n_units = UNITS_PER_LAYER * lm->config.n_layers + 1, .n_batches = (int)c->n_batches};
    if (check_ids(lm, c, e))
        return -1;
    struct run t = {.ops = ops, .lm = lm, .calib = c, .set = set, .o = o, .n_units = r->n_units, .r = r};
    const size_t U = (size_t)r->n_units;
    r->n_scored_seqs = scorer_scored_seqs(c, o->score_size);
    r->n_scored_rows = c->offset[r->n_scored_seqs];
    r->n_scored_batches = (int)((r->n_scored_seqs + c->batch_size - 1) / c->batch_size);
    r->record = xcalloc((size_t)set->n * (size_t)r->n_scored_seqs * U, sizeof *r->record);
    r->amax = xcalloc((size_t)r->n_batches * U, sizeof *r->amax);
    r->weight_amax = xcalloc(U, sizeof *r->weight_amax);
    t.be = ops->open(NULL, e);
    if (!t.be) {
        scorer_result_free(r);
        return -1;
    }
    int rc = weights_open(&t.weights, ops, t.be, lm, o->bf16, e);
    rc = rc || open_blocks(&t, e) || run_passes(&t, e) ? -1 : 0;
    close_run(&t);
    if (rc)
        scorer_result_free(r);
    return rc;
}

void scorer_result_free(struct scorer_result *r)
{
    free(r->record);
    free(r->amax);
    free(r->weight_amax);
    *r = (struct scorer_result){0};
}
