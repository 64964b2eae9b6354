#include "scorer.h"

#include <math.h>
#include <stdlib.h>

#include "cli.h"
#include "gemm_table.h"
#include "layer_inputs.h"
#include "mem.h"
#include "model.h"
#include "scorer_tasks.h"

struct run {
    const struct be_ops *ops;
    struct be *be;
    const struct lm *lm;
    const struct scorer_options *o;
    struct tasks tasks;
    const struct replay_set *set; /* of the tasks */
    struct weights weights;
    struct model model;
    struct replayer replayer;
    struct block *block; /* [tasks] */
    int n_units;
    int *to_calibrate, n_to_calibrate, *to_score, n_to_score; /* numbers of tasks, ascending */
    bool single_pass, weights_known;
    struct layer_inputs inputs;
    struct be_buf *sweep_amax;        /* F32 [units, batches of a block] */
    struct be_buf *static_amax;       /* F32 [samples, units] */
    struct be_buf *weight_amax;       /* F32 [units] */
    struct be_buf *head_cols;         /* F32 [D] */
    struct be_buf *row_sum, *seq_sum; /* F64 */
    char **gemm;  /* [samples] of the stores: of earlier runs */
    double since; /* when the last pass was over */
    struct cli_progress progress;
};

static struct scorer_result *result(const struct run *t, int sample)
{
    return &t->tasks.sample[sample].result;
}

/* Of one of the samples that a task is in. */
static const struct calib *calib_of(const struct run *t, int task)
{
    return t->tasks.sample[t->tasks.task[task].sample].calib;
}

static bool will_score(const struct run *t, int task)
{
    return t->tasks.task[task].n_wanted > 0;
}

static void start_block(struct run *t, int i, bool keep)
{
    const struct block *b = &t->block[i];
    inputs_start(&t->inputs, i, b->n_rows, keep);
    weights_embed(&t->weights, inputs_at(&t->inputs, i, 0), calib_of(t, i)->ids + b->first_row, b->n_rows);
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
    int rc = 0;
    for (int s = 0; s < t->tasks.n_samples && now && !rc; s++) {
        struct scorer_result *r = result(t, s);
        free(r->gemm);
        r->gemm = t->gemm[s] ? gemm_used_merge(t->gemm[s], now, e) : xstrdup(now);
        rc = r->gemm ? 0 : -1;
    }
    free(now);
    return rc;
}

static int look(struct run *t, struct err *e)
{
    for (int s = 0; s < t->tasks.n_samples; s++) {
        const struct scorer_rule *rule = t->tasks.sample[s].rule;
        if (rule && rule->look(rule->self, result(t, s), e))
            return -1;
    }
    return 0;
}

/* These n tasks are done. */
static int end_pass(struct run *t, const int *list, int n, bool scored, struct err *e)
{
    const double now = cli_seconds();
    for (int k = 0; k < n; k++)
        tasks_done(&t->tasks, list[k], scored, (now - t->since) / n);
    t->since = now;
    if (note_gemm(t, e))
        return -1;
    for (int s = 0; s < t->tasks.n_samples; s++) {
        const struct scorer_store *store = t->tasks.sample[s].store;
        if (store && store->save(store->self, result(t, s), e))
            return -1;
    }
    return 0;
}

/* ---- forward: all layers over the n blocks of a list */

static int forward_pass(struct run *t, const int *list, int n, bool keep, bool calibrate, struct err *e)
{
    const size_t max_batches = (size_t)t->o->block_batches, stride = (size_t)t->n_units * max_batches * 4;
    struct be_buf *amax_buf = calibrate ? t->ops->alloc(t->be, (size_t)n * stride) : NULL;
    for (int k = 0; k < n; k++)
        start_block(t, list[k], keep && will_score(t, list[k]));
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
        rc = t->ops->sync(t->be, e) ? -1 : tasks_put_maxima(&t->tasks, t->lm, list[k], sweep, e);
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
            if (!t->single_pass || !will_score(t, list[k]))
                inputs_drop(&t->inputs, list[k]);
        for (int s = 0; s < t->tasks.n_samples; s++)
            t->ops->get(t->be, result(t, s)->weight_amax, (struct be_view){t->weight_amax, 0, DT_F32},
                        (size_t)t->n_units);
        if (t->ops->sync(t->be, e) || end_pass(t, list, n, false, e))
            return -1;
    }
    return 0;
}

static void put_static_amax(struct run *t)
{
    const size_t U = (size_t)t->n_units;
    float *m = xcalloc((size_t)t->tasks.n_samples * U, sizeof *m);
    for (int s = 0; s < t->tasks.n_samples; s++) {
        const struct scorer_result *r = result(t, s);
        for (int k = 0; k < r->n_batches; k++)
            for (size_t u = 0; u < U; u++) /* finite: store_amax */
                m[(size_t)s * U + u] = fmaxf(m[(size_t)s * U + u], r->amax[(size_t)k * U + u]);
    }
    t->ops->put(t->be, (struct be_view){t->static_amax, 0, DT_F32}, m, (size_t)t->tasks.n_samples * U);
    free(m);
}

/* ---- backward over the n tasks of a list, whose layer inputs are there */

static void put_batch_amax(struct run *t, int task)
{
    const struct task *of = &t->tasks.task[task];
    const struct scorer_result *r = result(t, of->sample);
    const size_t n = (size_t)t->block[task].n_batches, U = (size_t)t->n_units;
    float *m = xmalloc(U * n, sizeof *m);
    for (size_t u = 0; u < U; u++)
        for (size_t k = 0; k < n; k++)
            m[u * n + k] = r->amax[((size_t)r->block[of->index].first_batch + k) * U + u];
    t->ops->put(t->be, (struct be_view){t->sweep_amax, 0, DT_F32}, m, U * n);
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

static int store_records(struct run *t, int task, size_t seq_sum_offset, struct err *e)
{
    const int S = t->block[task].n_seqs;
    const size_t n = (size_t)t->set->n * (size_t)t->n_units * (size_t)S;
    double *sum = xmalloc(n, sizeof *sum);
    t->ops->get(t->be, sum, (struct be_view){t->seq_sum, seq_sum_offset, DT_F64}, n);
    const int rc = t->ops->sync(t->be, e) || tasks_put_scores(&t->tasks, t->lm, task, sum, S, e) ? -1 : 0;
    free(sum);
    return rc;
}

/* Of a kept block; the gradient takes its place. */
static struct be_view last_output(const struct run *t, int i)
{
    return inputs_at(&t->inputs, i, t->model.n_layers);
}

/* Of a task's backward sweep, in rows of a forward sweep. */
static double score_cost(const struct run *t, int task)
{
    return (2.0 + t->tasks.task[task].n_wanted) * t->block[task].n_rows;
}

static int backward_pass(struct run *t, const int *list, int n, struct err *e)
{
    const size_t replays = (size_t)t->set->n, U = (size_t)t->n_units;
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
        put_batch_amax(t, i);
        t->replayer.wanted = t->tasks.task[i].wanted;
        model_head_backward(&t->model, b, last_output(t, i), last_output(t, i), &rp, loss);
        tasks_put_loss(&t->tasks, i, loss);
        free(loss);
    }
    be_phase(t->ops, t->be, PHASE_BACKWARD);
    for (int layer = t->model.n_layers - 1; layer >= 0; layer--) {
        weights_wait(&t->weights, layer, layer - 1);
        for (int k = 0; k < n; k++) {
            const int i = list[k];
            const struct block_replay rp = block_replay(t, seq_offset[k]);
            put_batch_amax(t, i);
            t->replayer.wanted = t->tasks.task[i].wanted;
            model_layer_backward(&t->model, layer, &t->block[i], inputs_recall(&t->inputs, i, layer), last_output(t, i),
                                 &rp);
            if (k == 0)
                weights_ahead(&t->weights);
            cli_progress_step(&t->progress, score_cost(t, i) / t->model.n_layers);
        }
    }
    be_phase(t->ops, t->be, PHASE_SETUP);
    int rc = 0;
    for (int k = 0; k < n && !rc; k++)
        rc = store_records(t, list[k], seq_offset[k], e);
    t->ops->free(t->be, t->seq_sum);
    t->seq_sum = NULL;
    free(seq_offset);
    return rc;
}

/* The next `pass` tasks of which something is still wanted, from *at on. */
static int next_pass(struct run *t, int *list, int *at, int pass)
{
    int n = 0;
    tasks_look(&t->tasks);
    for (; *at < t->n_to_score && n < pass; ++*at)
        if (will_score(t, t->to_score[*at]))
            list[n++] = t->to_score[*at];
    return n;
}

static int score(struct run *t, int pass, struct err *e)
{
    int *list = xmalloc((size_t)t->n_to_score, sizeof *list), rc = 0;
    for (int at = 0, n; !rc && (n = next_pass(t, list, &at, pass)) > 0;) {
        if ((!t->single_pass && forward_pass(t, list, n, true, false, e)) || backward_pass(t, list, n, e))
            rc = -1;
        for (int k = 0; k < n && !rc; k++)
            inputs_drop(&t->inputs, list[k]);
        if (!rc && (end_pass(t, list, n, true, e) || look(t, e)))
            rc = -1;
    }
    free(list);
    return rc;
}

/* ---- set-up */

/* Tasks of a pass. */
static int pass_blocks(const struct run *t)
{
    int rules = 0;
    for (int s = 0; s < t->tasks.n_samples; s++)
        rules += t->tasks.sample[s].rule != NULL;
    return t->o->pass_blocks > 0 ? t->o->pass_blocks : rules ? 1 : t->tasks.n;
}

static int plan(struct run *t, struct err *e)
{
    bool within = true; /* what will be scored will be calibrated */
    if (tasks_plan(&t->tasks, t->o, e))
        return -1;
    t->to_calibrate = xcalloc((size_t)t->tasks.n, sizeof *t->to_calibrate);
    t->to_score = xcalloc((size_t)t->tasks.n, sizeof *t->to_score);
    for (int i = 0; i < t->tasks.n; i++) {
        if (t->tasks.task[i].calibrate)
            t->to_calibrate[t->n_to_calibrate++] = i;
        if (!will_score(t, i))
            continue;
        t->to_score[t->n_to_score++] = i;
        within = within && t->tasks.task[i].calibrate;
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
            *(will_score(t, list[k]) ? &kept : &other) += b->n_rows;
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
    t->block = xcalloc((size_t)t->tasks.n, sizeof *t->block);
    *s = (struct run_shape){.n_blocks = t->tasks.n, .max_rows = 1, .max_pos = 1};
    int rc = 0;
    for (int i = 0; i < t->tasks.n && !rc; i++) {
        const struct task *task = &t->tasks.task[i];
        const struct scorer_block *b = &result(t, task->sample)->block[task->index];
        if (task->calibrate || task->n_wanted)
            rc = block_open(&t->block[i], t->ops, t->be, calib_of(t, i), b->first_batch, b->n_batches, t->o->bf16, e);
    }
    measure(t, t->to_calibrate, t->n_to_calibrate, s);
    measure(t, t->to_score, t->n_to_score, s);
    for (int k = 0; k < t->tasks.n_samples; k++) {
        const struct calib *c = t->tasks.sample[k].calib;
        for (int64_t i = 0; i < c->n_seqs; i++)
            s->max_pos = c->n_real[i] > s->max_pos ? c->n_real[i] : s->max_pos;
    }
    return rc;
}

static int place(struct run *t, const struct run_shape *s, struct err *e)
{
    const struct scorer_options *o = t->o;
    struct placement *p = &result(t, 0)->placement;
    const int64_t room = t->ops->room ? t->ops->room(t->be) : 0;
    if (placement_choose(p, t->ops, t->lm, t->set, o->bf16, s, t->ops->room ? &room : NULL, o->gpu_memory, e))
        return -1;
    if (t->ops->room)
        cli_verbose("GPU memory: %.2f GB of %.2f GB free; layers %s, lm_head %s, layer inputs %s",
                    (double)p->bytes * 1e-9, (double)room * 1e-9, p->layers_stay ? "stay" : "are read by every sweep",
                    p->head_stays ? "stays" : "is read by every chunk of rows",
                    p->inputs_on_host ? "in host memory" : "stay");
    for (int k = 1; k < t->tasks.n_samples; k++)
        result(t, k)->placement = *p;
    return 0;
}

static int open_buffers(struct run *t, const struct run_shape *s, struct err *e)
{
    const struct scorer_options *o = t->o;
    const struct placement *p = &result(t, 0)->placement;
    const struct replay_size size = placement_replay_size(t->lm, t->ops, o->bf16, s);
    const size_t U = (size_t)t->n_units, D = (size_t)t->lm->config.hidden_size;
    if (weights_open(&t->weights, t->ops, t->be, t->lm, o->bf16, p->layers_stay, p->head_stays, e))
        return -1;
    model_open(&t->model, t->ops, t->be, t->lm, &t->weights, o->bf16, s->max_rows, s->max_loss_rows, s->max_pos);
    replayer_open(&t->replayer, t->ops, t->be, t->set, o->bf16, &size);
    inputs_open(&t->inputs, t->ops, t->be, t->model.act, t->model.D, t->model.n_layers, t->tasks.n, s->max_rows,
                p->inputs_on_host);
    t->sweep_amax = t->ops->alloc(t->be, U * (size_t)o->block_batches * 4);
    t->static_amax = t->ops->alloc(t->be, (size_t)t->tasks.n_samples * U * 4);
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
        rows += score_cost(t, t->to_score[k]) + (t->single_pass ? 0 : t->block[t->to_score[k]].n_rows);
    cli_progress_start(&t->progress, "scoring", "token sweep", rows);
}

/* Max |w| of all units, from a result that has it. */
static void put_weight_amax(struct run *t)
{
    const float *known = NULL;
    for (int s = 0; s < t->tasks.n_samples; s++)
        for (int i = 0; i < result(t, s)->n_blocks; i++)
            if (result(t, s)->block[i].calibrated)
                known = result(t, s)->weight_amax;
    t->weights_known = known != NULL;
    if (known)
        t->ops->put(t->be, (struct be_view){t->weight_amax, 0, DT_F32}, known, (size_t)t->n_units);
}

static int run_passes(struct run *t, struct err *e)
{
    count_work(t);
    put_weight_amax(t);
    note_head_amax(t); /* of columns too, which nobody keeps */
    if (calibrate(t, pass_blocks(t), e))
        return -1;
    if (t->n_to_score)
        put_static_amax(t);
    if (score(t, pass_blocks(t), e))
        return -1;
    cli_progress_end(&t->progress);
    for (int s = 0; s < t->tasks.n_samples; s++)
        result(t, s)->flops = t->model.flops + t->replayer.flops;
    return note_gemm(t, e);
}

static void close_run(struct run *t)
{
    for (int i = 0; t->block && i < t->tasks.n; i++)
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

/* Results of their sizes, with what the stores have. */
static int open_results(struct scorer_sample *sample, int n, const struct lm *lm, const struct scorer_options *o,
                        struct err *e)
{
    if (o->parts && (n > 1 || sample->rule))
        return err_set(e, ERR_CONFIG, "parts are of one sample of calibration data, without a rule to stop");
    for (int s = 0; s < n; s++) {
        struct scorer_sample *of = &sample[s];
        if (check_ids(lm, of->calib, e))
            return -1;
        scorer_result_open(&of->result, lm, of->calib, of->set, o);
        if (of->store && of->store->load(of->store->self, &of->result, e))
            return -1;
    }
    return 0;
}

static int finish_results(struct run *t, struct err *e)
{
    for (int s = 0; s < t->tasks.n_samples; s++)
        if (scorer_result_complete(result(t, s)) && scorer_result_finish(result(t, s), e))
            return -1;
    return 0;
}

static int run_tasks(struct run *t, struct err *e)
{
    tasks_share(&t->tasks);
    t->set = &t->tasks.set;
    t->n_units = result(t, 0)->n_units;
    t->gemm = xcalloc((size_t)t->tasks.n_samples, sizeof *t->gemm);
    for (int s = 0; s < t->tasks.n_samples; s++)
        t->gemm[s] = result(t, s)->gemm ? xstrdup(result(t, s)->gemm) : NULL;
    if (look(t, e) || plan(t, e) || ((t->n_to_calibrate || t->n_to_score) && run(t, e)))
        return -1;
    return finish_results(t, e);
}

int scorer_run(struct scorer_sample *sample, int n_samples, const struct be_ops *ops, const struct lm *lm,
               const struct scorer_options *o, struct err *e)
{
    struct run t = {.ops = ops, .lm = lm, .o = o, .since = cli_seconds()};
    for (int s = 0; s < n_samples; s++)
        sample[s].result = (struct scorer_result){0};
    int rc = open_results(sample, n_samples, lm, o, e);
    if (!rc)
        rc = tasks_open(&t.tasks, sample, n_samples, e) || run_tasks(&t, e) ? -1 : 0;
    for (int s = 0; s < n_samples; s++) {
        if (t.gemm)
            free(t.gemm[s]);
        if (rc)
            scorer_result_free(&sample[s].result);
    }
    tasks_close(&t.tasks);
    free(t.gemm);
    free(t.to_calibrate);
    free(t.to_score);
    return rc;
}
