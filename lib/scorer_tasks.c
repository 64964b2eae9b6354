#include "scorer_tasks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "block.h"
#include "mem.h"
#include "model.h"

/* ---- which blocks */

static int find_or_add(struct tasks *t, char (*hash)[65], int sample, int index)
{
    const struct scorer_block *b = &t->sample[sample].result.block[index];
    char h[65];
    block_hash(t->sample[sample].calib, b->first_batch, b->n_batches, h);
    for (int i = 0; i < t->n && t->n_samples > 1; i++)
        if (!memcmp(hash[i], h, sizeof h))
            return i;
    memcpy(hash[t->n], h, sizeof h);
    t->task[t->n] = (struct task){.sample = sample, .index = index};
    t->task[t->n].wanted = xcalloc((size_t)t->set.n, sizeof *t->task->wanted);
    return t->n++;
}

int tasks_open(struct tasks *t, struct scorer_sample *sample, int n_samples, struct err *e)
{
    *t = (struct tasks){.sample = sample, .n_samples = n_samples};
    t->replay = xcalloc((size_t)n_samples, sizeof *t->replay);
    t->of = xcalloc((size_t)n_samples, sizeof *t->of);
    size_t most = 0;
    for (int s = 0; s < n_samples; s++) {
        t->replay[s] = xcalloc((size_t)sample[s].set->n, sizeof **t->replay);
        most += (size_t)sample[s].result.n_blocks;
        if (replay_join(&t->set, sample[s].set, s, t->replay[s], e))
            return -1;
    }
    char (*hash)[65] = xcalloc(most, sizeof *hash);
    t->task = xcalloc(most, sizeof *t->task);
    for (int s = 0; s < n_samples; s++) {
        t->of[s] = xcalloc((size_t)sample[s].result.n_blocks, sizeof **t->of);
        for (int i = 0; i < sample[s].result.n_blocks; i++)
            t->of[s][i] = find_or_add(t, hash, s, i);
    }
    free(hash);
    return 0;
}

void tasks_close(struct tasks *t)
{
    for (int i = 0; i < t->n; i++)
        free(t->task[i].wanted);
    for (int s = 0; s < t->n_samples; s++) {
        free(t->replay[s]);
        free(t->of[s]);
    }
    free(t->task);
    free(t->replay);
    free(t->of);
    *t = (struct tasks){0};
}

bool tasks_next(const struct tasks *t, int task, int *sample, int *index)
{
    for (++*index; *sample < t->n_samples; ++*sample, *index = 0)
        for (; *index < t->sample[*sample].result.n_blocks; ++*index)
            if (t->of[*sample][*index] == task)
                return true;
    return false;
}

/* ---- what is there already */

static void copy_maxima(struct scorer_result *to, int ti, const struct scorer_result *from, int fi)
{
    struct scorer_block *b = &to->block[ti];
    const size_t U = (size_t)to->n_units;
    memcpy(to->amax + (size_t)b->first_batch * U, from->amax + (size_t)from->block[fi].first_batch * U,
           (size_t)b->n_batches * U * sizeof *to->amax);
    memcpy(to->weight_amax, from->weight_amax, U * sizeof *to->weight_amax);
    b->calibrate_seconds = from->block[fi].calibrate_seconds;
    b->calibrated = true;
}

static void copy_scores(struct scorer_result *to, int tr, int ti, const struct scorer_result *from, int fr, int fi)
{
    struct scorer_block *b = &to->block[ti];
    const struct scorer_block *f = &from->block[fi];
    const size_t U = (size_t)to->n_units;
    memcpy(scorer_record(to, tr, b->first_seq), scorer_record(from, fr, f->first_seq),
           (size_t)b->n_seqs * U * sizeof *to->record);
    b->loss_sum = f->loss_sum;
    b->loss_rows = f->loss_rows;
    b->score_seconds = f->score_seconds;
    *scorer_scored(to, tr, ti) = true;
}

/* From (s, i), which has something of the task, to (q, k). */
static void give(struct tasks *t, int s, int i, int q, int k)
{
    const struct scorer_result *from = &t->sample[s].result;
    struct scorer_result *to = &t->sample[q].result;
    if (from->block[i].calibrated && !to->block[k].calibrated)
        copy_maxima(to, k, from, i);
    if (from->block[i].n_seqs != to->block[k].n_seqs)
        return;
    for (int a = 0; a < from->n_replays; a++)
        for (int b = 0; b < to->n_replays; b++)
            if (t->replay[s][a] == t->replay[q][b] && *scorer_scored(from, a, i) && !*scorer_scored(to, b, k))
                copy_scores(to, b, k, from, a, i);
}

void tasks_share(struct tasks *t)
{
    for (int task = 0; task < t->n; task++)
        for (int s = 0, i = -1; tasks_next(t, task, &s, &i);)
            for (int q = 0, k = -1; tasks_next(t, task, &q, &k);)
                if (q != s)
                    give(t, s, i, q, k);
}

/* ---- what is left */

/* Block i of a sample is one of part `part` of `parts` of n. */
static bool mine(int i, int64_t n, const struct scorer_options *o)
{
    const int64_t k = o->parts > 0 ? o->parts : 1;
    return i >= o->part * n / k && i < (o->part + 1) * n / k;
}

static int plan_block(struct tasks *t, int s, int i, const struct scorer_options *o, struct err *e)
{
    const struct scorer_result *r = &t->sample[s].result;
    struct task *task = &t->task[t->of[s][i]];
    if (r->block[i].calibrated)
        return 0;
    if (o->calibrate_only || o->parts == 0)
        task->calibrate = !o->calibrate_only || mine(i, r->n_blocks, o);
    else
        return err_set(e, ERR_CONFIG, "the maxima of block %d of %d are missing: calibrate before a part is scored",
                       i + 1, r->n_blocks);
    return 0;
}

static void want(struct tasks *t, int s, int i)
{
    const struct scorer_result *r = &t->sample[s].result;
    struct task *task = &t->task[t->of[s][i]];
    for (int a = 0; a < r->n_replays; a++)
        if (i < r->n_wanted[a] && !*scorer_scored(r, a, i) && !task->wanted[t->replay[s][a]]) {
            task->wanted[t->replay[s][a]] = true;
            task->n_wanted++;
        }
}

void tasks_look(struct tasks *t)
{
    for (int i = 0; i < t->n; i++) {
        struct task *task = &t->task[i];
        const bool any = task->n_wanted > 0; /* else it is not this run's */
        memset(task->wanted, 0, (size_t)t->set.n * sizeof *task->wanted);
        task->n_wanted = 0;
        for (int s = 0, b = -1; any && tasks_next(t, i, &s, &b);)
            want(t, s, b);
    }
}

int tasks_plan(struct tasks *t, const struct scorer_options *o, struct err *e)
{
    for (int s = 0; s < t->n_samples; s++) {
        const struct scorer_result *r = &t->sample[s].result;
        for (int i = 0; i < r->n_blocks; i++) {
            if (plan_block(t, s, i, o, e))
                return -1;
            if (!o->calibrate_only && mine(i, r->n_scored_blocks, o))
                want(t, s, i);
        }
    }
    return 0;
}

/* ---- what was computed */

int tasks_put_maxima(struct tasks *t, const struct lm *lm, int task, const float *amax, struct err *e)
{
    for (int s = 0, i = -1; tasks_next(t, task, &s, &i);) {
        const struct scorer_result *r = &t->sample[s].result;
        const struct scorer_block *b = &r->block[i];
        for (int u = 0; u < r->n_units; u++)
            for (int k = 0; k < b->n_batches; k++) {
                const float a = amax[(size_t)u * (size_t)b->n_batches + (size_t)k];
                if (!isfinite(a))
                    return err_set(e, ERR_NUMERIC, "the input of '%s' is not finite in calibration batch %d",
                                   model_unit(lm, u)->name, b->first_batch + k + 1);
                r->amax[(size_t)(b->first_batch + k) * (size_t)r->n_units + (size_t)u] = a;
            }
    }
    return 0;
}

static int check_record(const struct tasks *t, const struct lm *lm, int replay, int64_t seq, int u, double x,
                        struct err *e)
{
    if (isfinite(x))
        return 0;
    char w[QUANTIZER_KEY], a[QUANTIZER_KEY];
    quantizer_key(&t->set.weight[t->set.replay[replay].weight], w);
    quantizer_key(&t->set.act[t->set.replay[replay].act], a);
    const struct lm_unit *unit = model_unit(lm, u);
    return err_set(e, ERR_NUMERIC,
                   "the score of group '%s' (unit '%s', weight %s, activation %s) is not finite at sequence %lld",
                   lm->group[unit->group].name, unit->name, w, a, (long long)seq + 1);
}

/* A replay's sums to the records of one result, sequences that are not scored left out. */
static int put_replay(struct tasks *t, const struct lm *lm, int sample, int index, int a, const double *sum, int n_seqs,
                      struct err *e)
{
    const struct scorer_result *r = &t->sample[sample].result;
    const struct scorer_block *b = &r->block[index];
    const int i = t->replay[sample][a];
    for (int u = r->n_units - 1; u >= 0; u--) /* as gradients flow: the first that is not finite is the cause */
        for (int64_t s = 0; s < b->n_seqs; s++) {
            const double x = sum[((size_t)i * (size_t)r->n_units + (size_t)u) * (size_t)n_seqs + (size_t)s];
            if (check_record(t, lm, i, b->first_seq + s, u, x, e))
                return -1;
            scorer_record(r, a, b->first_seq + s)[u] = x;
        }
    return 0;
}

int tasks_put_scores(struct tasks *t, const struct lm *lm, int task, const double *sum, int n_seqs, struct err *e)
{
    for (int s = 0, i = -1; tasks_next(t, task, &s, &i);)
        for (int a = 0; a < t->sample[s].result.n_replays; a++)
            if (t->task[task].wanted[t->replay[s][a]] && put_replay(t, lm, s, i, a, sum, n_seqs, e))
                return -1;
    return 0;
}

void tasks_put_loss(struct tasks *t, int task, const float *loss)
{
    for (int s = 0, i = -1; tasks_next(t, task, &s, &i);) {
        struct scorer_block *b = &t->sample[s].result.block[i];
        b->loss_sum = 0;
        b->loss_rows = 0;
        for (int64_t q = 0; q < b->n_seqs; q++)
            for (int k = 0; k < t->sample[s].calib->n_loss[b->first_seq + q]; k++)
                b->loss_sum += (double)loss[b->loss_rows++];
    }
}

void tasks_done(struct tasks *t, int task, bool scored, double seconds)
{
    for (int s = 0, i = -1; tasks_next(t, task, &s, &i);) {
        struct scorer_result *r = &t->sample[s].result;
        for (int a = 0; a < r->n_replays && scored; a++)
            if (t->task[task].wanted[t->replay[s][a]])
                *scorer_scored(r, a, i) = true;
        r->block[i].calibrated = true;
        *(scored ? &r->block[i].score_seconds : &r->block[i].calibrate_seconds) = seconds;
    }
}
