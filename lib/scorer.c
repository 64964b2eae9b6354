#include "scorer.h"

#include <math.h>
#include <stdlib.h>

#include "cli.h"
#include "gemm_table.h"
#include "layer_inputs.h"
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
    int n_units;
    int *to_calibrate, n_to_calibrate, *to_score, n_to_score; /* numbers of blocks, ascending */
    bool *will_score;                                         /* [blocks] */
    bool single_pass, weights_known;
    struct layer_inputs inputs;
    struct be_buf *sweep_amax;        /* F32 [units, batches of a block] */
    struct be_buf *static_amax;       /* F32 [units] */
    struct be_buf *weight_amax;       /* F32 [units] */
    struct be_buf *head_cols;         /* F32 [D] */
    struct be_buf *row_sum, *seq_sum; /* F64 */
    struct scorer_result *r;
    char *gemm;   /* of the store: of earlier runs */
    double since; /* when the last pass was over */
    struct cli_progress progress;
};

static void start_block(struct run *t, int i, bool keep)
{
    const struct block *b = &t->block[i];
    inputs_start(&t->inputs, i, b->n_rows, keep);
    weights_embed(&t->weights, inputs_at(&t->inputs, i, 0), t->calib->ids + b->first_row, b->n_rows);
    inputs_written(&t->inputs, i, 0);
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

/* ---- what is computed goes to the store, pass by pass */

static int note_gemm(struct run *t, struct err *e)
{
    char *now = t->ops->gemm_used ? t->ops->gemm_used(t->be) : NULL;
    if (!now)
        return 0;
    free(t->r->gemm);
    t->r->gemm = t->gemm ? gemm_used_merge(t->gemm, now, e) : xstrdup(now);
    free(now);
    return t->r->gemm ? 0 : -1;
}

/* These n blocks are done. */
static int end_pass(struct run *t, const int *list, int n, bool scored, struct err *e)
{
    const double now = cli_seconds();
    for (int k = 0; k < n; k++) {
        struct scorer_block *b = &t->r->block[list[k]];
        *(scored ? &b->scored : &b->calibrated) = true;
        *(scored ? &b->score_seconds : &b->calibrate_seconds) = (now - t->since) / n;
    }
    t->since = now;
    if (!t->o->store)
        return 0;
    return note_gemm(t, e) ? -1 : t->o->store->save(t->o->store->self, t->r, e);
}

/* ---- forward: all layers over the n blocks of a list */

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

static int forward_pass(struct run *t, const int *list, int n, bool keep, bool calibrate, struct err *e)
{
    const size_t max_batches = (size_t)t->o->block_batches, stride = (size_t)t->n_units * max_batches * 4;
    struct be_buf *amax_buf = calibrate ? t->ops->alloc(t->be, (size_t)n * stride) : NULL;
    for (int k = 0; k < n; k++)
        start_block(t, list[k], keep && t->will_score[list[k]]);
    be_phase(t->ops, t->be, PHASE_FORWARD);
    for (int layer = 0; layer < t->model.n_layers; layer++) {
        weights_wait(&t->weights, layer, layer + 1);
        if (!t->weights_known)
            note_weight_amax(t, layer);
        for (int k = 0; k < n; k++) {
            const int i = list[k];
            model_layer_forward(
                &t->model, layer, &t->block[i], inputs_at(&t->inputs, i, layer), inputs_at(&t->inputs, i, layer + 1),
                calibrate ? (struct be_view){amax_buf, (size_t)k * stride, DT_F32} : (struct be_view){0});
            inputs_written(&t->inputs, i, layer + 1);
            if (k == 0)
                weights_ahead(&t->weights);
            cli_progress_step(&t->progress, (double)t->block[i].n_rows / t->model.n_layers);
        }
    }
    t->weights_known = true;
    int rc = 0;
    float *sweep = xmalloc((size_t)t->n_units * max_batches, sizeof *sweep);
    for (int k = 0; k < n && calibrate && !rc; k++) {
        const struct block *b = &t->block[list[k]];
        const struct be_view amax = {amax_buf, (size_t)k * stride, DT_F32};
        model_head_amax(&t->model, b, inputs_at(&t->inputs, list[k], t->model.n_layers), amax);
        t->ops->get(t->be, sweep, amax, (size_t)t->n_units * (size_t)b->n_batches);
        rc = t->ops->sync(t->be, e) ? -1 : store_amax(t, b, sweep, e);
    }
    free(sweep);
    t->ops->free(t->be, amax_buf);
    return rc;
}

static int calibrate(struct run *t, int pass, struct err *e)
{
    for (int begin = 0, n; begin < t->n_to_calibrate; begin += n) {
        const int *list = t->to_calibrate + begin;
        n = t->n_to_calibrate - begin < pass ? t->n_to_calibrate - begin : pass;
        if (forward_pass(t, list, n, t->single_pass, true, e))
            return -1;
        for (int k = 0; k < n; k++)
            if (!t->single_pass || !t->will_score[list[k]])
                inputs_drop(&t->inputs, list[k]);
        t->ops->get(t->be, t->r->weight_amax, (struct be_view){t->weight_amax, 0, DT_F32}, (size_t)t->n_units);
        if (t->ops->sync(t->be, e) || end_pass(t, list, n, false, e))
            return -1;
    }
    return 0;
}

static void put_static_amax(struct run *t)
{
    float *m = xcalloc((size_t)t->n_units, sizeof *m);
    for (int k = 0; k < t->r->n_batches; k++)
        for (int u = 0; u < t->n_units; u++)
            m[u] = fmaxf(m[u], t->r->amax[(size_t)k * (size_t)t->n_units + (size_t)u]); /* finite: store_amax */
    t->ops->put(t->be, (struct be_view){t->static_amax, 0, DT_F32}, m, (size_t)t->n_units);
    free(m);
}

/* ---- backward over the n blocks of a list, whose layer inputs are there */

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

static void add_loss(struct run *t, int i, const float *loss)
{
    const struct block *b = &t->block[i];
    struct scorer_block *of = &t->r->block[i];
    int n = 0;
    of->loss_sum = 0;
    of->loss_rows = 0;
    for (int s = 0; s < b->n_seqs; s++)
        for (int k = 0; k < t->calib->n_loss[b->first_seq + s]; k++, n++)
            if (s < of->n_seqs) {
                of->loss_sum += (double)loss[n];
                of->loss_rows++;
            }
}

/* Of a kept block; the gradient takes its place. */
static struct be_view last_output(const struct run *t, int i)
{
    return inputs_at(&t->inputs, i, t->model.n_layers);
}

static int backward_pass(struct run *t, const int *list, int n, struct err *e)
{
    const size_t replays = (size_t)t->set->n, U = (size_t)t->n_units;
    const double cost = 2 + (double)t->set->n; /* in forward sweeps */
    size_t *seq_offset = xcalloc((size_t)n + 1, sizeof *seq_offset);
    for (int k = 0; k < n; k++)
        seq_offset[k + 1] = seq_offset[k] + replays * U * (size_t)t->block[list[k]].n_seqs * sizeof(double);
    t->seq_sum = t->ops->alloc(t->be, seq_offset[n]);
    be_phase(t->ops, t->be, PHASE_HEAD);
    for (int k = 0; k < n; k++) {
        const int i = list[k];
        const struct block *b = &t->block[i];
        float *loss = xmalloc((size_t)b->n_loss, sizeof *loss);
        const struct block_replay rp = block_replay(t, seq_offset[k]);
        put_batch_amax(t, b);
        model_head_backward(&t->model, b, last_output(t, i), last_output(t, i), &rp, loss);
        add_loss(t, i, loss);
        free(loss);
    }
    be_phase(t->ops, t->be, PHASE_BACKWARD);
    for (int layer = t->model.n_layers - 1; layer >= 0; layer--) {
        weights_wait(&t->weights, layer, layer - 1);
        for (int k = 0; k < n; k++) {
            const int i = list[k];
            const struct block_replay rp = block_replay(t, seq_offset[k]);
            put_batch_amax(t, &t->block[i]);
            model_layer_backward(&t->model, layer, &t->block[i], inputs_recall(&t->inputs, i, layer), last_output(t, i),
                                 &rp);
            if (k == 0)
                weights_ahead(&t->weights);
            cli_progress_step(&t->progress, cost * t->block[i].n_rows / t->model.n_layers);
        }
    }
    be_phase(t->ops, t->be, PHASE_SETUP);
    int rc = 0;
    for (int k = 0; k < n && !rc; k++)
        rc = store_records(t, &t->block[list[k]], seq_offset[k], e);
    t->ops->free(t->be, t->seq_sum);
    t->seq_sum = NULL;
    free(seq_offset);
    return rc;
}

static int score(struct run *t, int pass, struct err *e)
{
    for (int begin = 0, n; begin < t->n_to_score; begin += n) {
        const int *list = t->to_score + begin;
        n = t->n_to_score - begin < pass ? t->n_to_score - begin : pass;
        if (!t->single_pass && forward_pass(t, list, n, true, false, e))
            return -1;
        if (backward_pass(t, list, n, e))
            return -1;
        for (int k = 0; k < n; k++)
            inputs_drop(&t->inputs, list[k]);
        if (end_pass(t, list, n, true, e))
            return -1;
    }
    return 0;
}

/* ---- set-up */

/* Blocks of a pass. */
static int pass_blocks(const struct run *t)
{
    return t->o->pass_blocks > 0 ? t->o->pass_blocks : t->r->n_blocks;
}

/* Which blocks this run is about, less those that are there. */
static int plan(struct run *t, struct err *e)
{
    const struct scorer_options *o = t->o;
    const struct scorer_result *r = t->r;
    const int64_t of = o->calibrate_only ? r->n_blocks : r->n_scored_blocks, k = o->parts > 0 ? o->parts : 1;
    const int64_t begin = o->part * of / k, end = (o->part + 1) * of / k;
    bool within = true; /* what will be scored will be calibrated */
    t->to_calibrate = xcalloc((size_t)r->n_blocks, sizeof *t->to_calibrate);
    t->to_score = xcalloc((size_t)r->n_blocks, sizeof *t->to_score);
    t->will_score = xcalloc((size_t)r->n_blocks, sizeof *t->will_score);
    for (int i = 0; i < r->n_blocks; i++) {
        const bool mine = i >= begin && i < end;
        if (!r->block[i].calibrated && (o->calibrate_only ? mine : o->parts == 0))
            t->to_calibrate[t->n_to_calibrate++] = i;
        else if (!r->block[i].calibrated && !o->calibrate_only)
            return err_set(e, ERR_CONFIG, "the maxima of block %d of %d are missing: calibrate before a part is scored",
                           i + 1, r->n_blocks);
        if (o->calibrate_only || !mine || r->block[i].scored)
            continue;
        t->will_score[i] = true;
        t->to_score[t->n_to_score++] = i;
        within = within && !r->block[i].calibrated;
    }
    t->single_pass = t->n_to_score && within && t->n_to_calibrate <= pass_blocks(t);
    return 0;
}

/* What the passes over a list ask for. */
static void measure(const struct run *t, const int *list, int n, struct run_shape *s)
{
    const int pass = pass_blocks(t);
    for (int begin = 0; begin < n; begin += pass) {
        int64_t kept = 0, other = 0, seqs = 0;
        for (int k = begin; k < n && k - begin < pass; k++) {
            const struct block *b = &t->block[list[k]];
            *(t->will_score[list[k]] ? &kept : &other) += b->n_rows;
            seqs += b->n_seqs;
            s->max_rows = b->n_rows > s->max_rows ? b->n_rows : s->max_rows;
            s->max_loss_rows = b->n_loss > s->max_loss_rows ? b->n_loss : s->max_loss_rows;
        }
        s->kept_rows = kept > s->kept_rows ? kept : s->kept_rows;
        s->other_rows = other > s->other_rows ? other : s->other_rows;
        s->pass_seqs = seqs > s->pass_seqs ? seqs : s->pass_seqs;
    }
}

/* The blocks of this run, their sizes, and where everything will live. */
static int open_blocks(struct run *t, struct run_shape *s, struct err *e)
{
    const struct scorer_result *r = t->r;
    t->block = xcalloc((size_t)r->n_blocks, sizeof *t->block);
    *s = (struct run_shape){.n_blocks = r->n_blocks, .max_rows = 1, .max_pos = 1};
    bool *wanted = xcalloc((size_t)r->n_blocks, sizeof *wanted);
    for (int k = 0; k < t->n_to_calibrate; k++)
        wanted[t->to_calibrate[k]] = true;
    int rc = 0;
    for (int i = 0; i < r->n_blocks && !rc; i++)
        if (wanted[i] || t->will_score[i])
            rc = block_open(&t->block[i], t->ops, t->be, t->calib, r->block[i].first_batch, r->block[i].n_batches,
                            t->o->bf16, e);
    free(wanted);
    measure(t, t->to_calibrate, t->n_to_calibrate, s);
    measure(t, t->to_score, t->n_to_score, s);
    for (int64_t i = 0; i < t->calib->n_seqs; i++)
        s->max_pos = t->calib->n_real[i] > s->max_pos ? t->calib->n_real[i] : s->max_pos;
    return rc;
}

static int place(struct run *t, const struct run_shape *s, struct err *e)
{
    const struct scorer_options *o = t->o;
    struct placement *p = &t->r->placement;
    const int64_t room = t->ops->room ? t->ops->room(t->be) : 0;
    if (placement_choose(p, t->ops, t->lm, t->set, o->bf16, s, t->ops->room ? &room : NULL, o->gpu_memory, e))
        return -1;
    if (t->ops->room)
        cli_verbose("GPU memory: %.2f GB of %.2f GB free; layers %s, lm_head %s, layer inputs %s",
                    (double)p->bytes * 1e-9, (double)room * 1e-9, p->layers_stay ? "stay" : "are read by every sweep",
                    p->head_stays ? "stays" : "is read by every chunk of rows",
                    p->inputs_on_host ? "in host memory" : "stay");
    return 0;
}

static int open_buffers(struct run *t, const struct run_shape *s, struct err *e)
{
    const struct scorer_options *o = t->o;
    const struct placement *p = &t->r->placement;
    const struct replay_size size = placement_replay_size(t->lm, t->ops, o->bf16, s);
    const size_t U = (size_t)t->n_units, D = (size_t)t->lm->config.hidden_size;
    if (weights_open(&t->weights, t->ops, t->be, t->lm, o->bf16, p->layers_stay, p->head_stays, e))
        return -1;
    model_open(&t->model, t->ops, t->be, t->lm, &t->weights, o->bf16, s->max_rows, s->max_loss_rows, s->max_pos);
    replayer_open(&t->replayer, t->ops, t->be, t->set, o->bf16, &size);
    inputs_open(&t->inputs, t->ops, t->be, t->model.act, t->model.D, t->model.n_layers, t->r->n_blocks, s->max_rows,
                p->inputs_on_host);
    t->sweep_amax = t->ops->alloc(t->be, U * (size_t)o->block_batches * 4);
    t->static_amax = t->ops->alloc(t->be, U * 4);
    t->weight_amax = t->ops->alloc(t->be, U * 4);
    t->head_cols = t->ops->alloc(t->be, D * 4);
    t->row_sum = t->ops->alloc(t->be, (size_t)t->set->n * (size_t)s->max_rows * sizeof(double));
    return 0;
}

static void count_work(struct run *t)
{
    double rows = 0;
    for (int k = 0; k < t->n_to_calibrate; k++)
        rows += t->block[t->to_calibrate[k]].n_rows;
    for (int k = 0; k < t->n_to_score; k++)
        rows += (2 + (double)t->set->n + (t->single_pass ? 0 : 1)) * t->block[t->to_score[k]].n_rows;
    cli_progress_start(&t->progress, "scoring", "token sweep", rows);
}

static int run_passes(struct run *t, struct err *e)
{
    count_work(t);
    if (t->weights_known)
        t->ops->put(t->be, (struct be_view){t->weight_amax, 0, DT_F32}, t->r->weight_amax, (size_t)t->n_units);
    note_head_amax(t); /* of columns too, which nobody keeps */
    if (calibrate(t, pass_blocks(t), e))
        return -1;
    if (t->n_to_score)
        put_static_amax(t);
    if (score(t, pass_blocks(t), e))
        return -1;
    cli_progress_end(&t->progress);
    t->r->flops = t->model.flops + t->replayer.flops;
    return note_gemm(t, e);
}

static void close_run(struct run *t)
{
    for (int i = 0; t->block && i < t->r->n_blocks; i++)
        block_close(&t->block[i], t->ops, t->be);
    inputs_close(&t->inputs);
    if (t->model.ops)
        model_close(&t->model);
    if (t->replayer.ops)
        replayer_close(&t->replayer);
    struct be_buf *all[] = {t->sweep_amax, t->static_amax, t->weight_amax, t->head_cols, t->row_sum, t->seq_sum};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        t->ops->free(t->be, all[i]);
    free(t->block);
    if (t->weights.ops)
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

/* The blocks of the plan, on a backend of their own. */
static int run(struct run *t, struct err *e)
{
    struct run_shape shape;
    t->be = t->ops->open(&(struct be_options){t->o->gpu_memory, t->o->gemm_tables}, e);
    if (!t->be)
        return -1;
    const int rc =
        open_blocks(t, &shape, e) || place(t, &shape, e) || open_buffers(t, &shape, e) || run_passes(t, e) ? -1 : 0;
    close_run(t);
    return rc;
}

int scorer_run(struct scorer_result *r, const struct be_ops *ops, const struct lm *lm, const struct calib *c,
               const struct replay_set *set, const struct scorer_options *o, struct err *e)
{
    *r = (struct scorer_result){0};
    if (check_ids(lm, c, e))
        return -1;
    scorer_result_open(r, lm, c, set, o);
    struct run t = {.ops = ops, .lm = lm, .calib = c, .set = set, .o = o, .n_units = r->n_units, .r = r};
    t.since = cli_seconds();
    int rc = o->store ? o->store->load(o->store->self, r, e) : 0;
    for (int i = 0; i < r->n_blocks; i++)
        t.weights_known = t.weights_known || r->block[i].calibrated;
    t.gemm = r->gemm ? xstrdup(r->gemm) : NULL;
    if (!rc)
        rc = plan(&t, e);
    if (!rc && (t.n_to_calibrate || t.n_to_score))
        rc = run(&t, e);
    if (!rc && scorer_result_complete(r))
        rc = scorer_result_finish(r, e);
    free(t.to_calibrate);
    free(t.to_score);
    free(t.will_score);
    free(t.gemm);
    if (rc)
        scorer_result_free(r);
    return rc;
}
