#include "replay.h"

static int find_or_add(struct quantizer *list, int *sample, int *n, const struct quantizer *q, int of)
{
    for (int i = 0; i < *n; i++)
        if (quantizer_equal(&list[i], q) && (!sample || sample[i] == of))
            return i;
    if (*n == REPLAY_MAX_QUANTIZERS)
        return -1;
    list[*n] = *q;
    if (sample)
        sample[*n] = of;
    return (*n)++;
}

static int add(struct replay_set *s, const struct quantizer *weight, const struct quantizer *act, int sample,
               struct err *e)
{
    const int w = find_or_add(s->weight, NULL, &s->n_weight, weight, 0),
              a = find_or_add(s->act, s->sample, &s->n_act, act, replay_is_static(act) ? sample : 0);
    if (w >= 0 && a >= 0)
        for (int i = 0; i < s->n; i++)
            if (s->replay[i].weight == w && s->replay[i].act == a)
                return i;
    if (w < 0 || a < 0 || s->n == REPLAY_MAX_QUANTIZERS)
        return err_set(e, ERR_LIMIT, "more than %d different quantizer pairs in one run", REPLAY_MAX_QUANTIZERS);
    s->replay[s->n].weight = w;
    s->replay[s->n].act = a;
    return s->n++;
}

int replay_add(struct replay_set *s, const struct pair *p, struct err *e)
{
    return add(s, &p->weight, &p->activation, 0, e);
}

int replay_join(struct replay_set *s, const struct replay_set *from, int sample, int *map, struct err *e)
{
    for (int i = 0; i < from->n; i++) {
        map[i] = add(s, &from->weight[from->replay[i].weight], &from->act[from->replay[i].act], sample, e);
        if (map[i] < 0)
            return -1;
    }
    return 0;
}

bool replay_is_static(const struct quantizer *q)
{
    return q->format != QF_NONE && q->granularity == QG_TENSOR && !q->dynamic;
}

bool replay_needs_static_amax(const struct replay_set *s)
{
    for (int i = 0; i < s->n_act; i++)
        if (replay_is_static(&s->act[i]))
            return true;
    return false;
}

static bool wanted(const struct replayer *r, int replay)
{
    return !r->wanted || r->wanted[replay];
}

/* Is weight quantizer w, or activation quantizer a, part of a replay that is wanted? -1: any. */
static bool in_use(const struct replayer *r, int w, int a)
{
    for (int i = 0; i < r->set->n; i++)
        if (wanted(r, i) && (w < 0 || r->set->replay[i].weight == w) && (a < 0 || r->set->replay[i].act == a))
            return true;
    return false;
}

static bool needs_columns(const struct replay_set *s)
{
    for (int i = 0; i < s->n_weight; i++)
        if (s->weight[i].format != QF_NONE && s->weight[i].granularity == QG_IN_CHANNEL)
            return true;
    return false;
}

/* Activation quantizers before number a that change anything: where a's quantized input lies. */
static size_t inputs_before(const struct replay_set *s, int a)
{
    size_t n = 0;
    for (int i = 0; i < a; i++)
        n += s->act[i].format != QF_NONE;
    return n;
}

static int outputs_at_once(const struct be_ops *ops, const struct replay_set *set)
{
    return set->n < ops->outputs_at_once ? set->n : ops->outputs_at_once;
}

/* Bytes of weight_buf, act_buf, out_buf, amax_buf. */
static void buffer_bytes(const struct be_ops *ops, const struct replay_set *set, bool bf16,
                         const struct replay_size *size, size_t nb[4])
{
    const size_t act = dtype_size(bf16 ? ops->act_bf16 : ops->act_fp32);
    nb[0] = size->weight * dtype_size(bf16 ? ops->weight_bf16 : ops->weight_fp32);
    nb[1] = inputs_before(set, set->n_act) * (size_t)size->rows * (size_t)size->in * act;
    nb[2] = (size_t)outputs_at_once(ops, set) * ((size->out + 127) / 128 * 128) * act; /* aligned: out_stride */
    nb[3] = (size_t)size->in * sizeof(float);
}

size_t replayer_bytes(const struct be_ops *ops, const struct replay_set *set, bool bf16, const struct replay_size *size)
{
    size_t nb[4];
    buffer_bytes(ops, set, bf16, size, nb);
    return nb[0] + nb[1] + nb[2] + nb[3];
}

void replayer_open(struct replayer *r, const struct be_ops *ops, struct be *be, const struct replay_set *set, bool bf16,
                   const struct replay_size *size)
{
    size_t nb[4];
    *r = (struct replayer){.ops = ops,
                           .be = be,
                           .set = set,
                           .bf16 = bf16,
                           .act = bf16 ? ops->act_bf16 : ops->act_fp32,
                           .weight = bf16 ? ops->weight_bf16 : ops->weight_fp32,
                           .max_rows = size->rows,
                           .at_once = outputs_at_once(ops, set),
                           .out_stride = (size->out + 127) / 128 * 128,
                           .act_stride = (size_t)size->rows * (size_t)size->in};
    buffer_bytes(ops, set, bf16, size, nb);
    r->weight_buf = ops->alloc(be, nb[0]);
    r->act_buf = ops->alloc(be, nb[1]);
    r->out_buf = ops->alloc(be, nb[2]);
    r->amax_buf = ops->alloc(be, nb[3]);
}

void replayer_close(struct replayer *r)
{
    r->ops->free(r->be, r->weight_buf);
    r->ops->free(r->be, r->act_buf);
    r->ops->free(r->be, r->out_buf);
    r->ops->free(r->be, r->amax_buf);
    *r = (struct replayer){0};
}

/* The input as activation quantizer a makes it. */
static struct be_view quantized_input(const struct replayer *r, int a)
{
    if (r->set->act[a].format == QF_NONE)
        return r->x;
    return be_at((struct be_view){r->act_buf, 0, r->act}, inputs_before(r->set, a) * r->act_stride);
}

void replayer_input(struct replayer *r, struct be_view x, int N, int I, struct be_view amax_static,
                    size_t sample_stride, struct be_view amax_batch, struct be_view batch)
{
    if (N > r->max_rows)
        BUG("%d rows for a workspace of %d", N, r->max_rows);
    r->x = x;
    r->N = N;
    r->I = I;
    const int phase = be_phase(r->ops, r->be, PHASE_QUANTIZE);
    for (int a = 0; a < r->set->n_act; a++) {
        const struct quantizer *q = &r->set->act[a];
        if (q->format == QF_NONE || !in_use(r, -1, a))
            continue;
        const bool per_batch = q->granularity == QG_TENSOR && q->dynamic;
        r->ops->fakequant(r->be, quantized_input(r, a), x, q,
                          per_batch ? amax_batch : be_at(amax_static, (size_t)r->set->sample[a] * sample_stride),
                          per_batch ? batch : (struct be_view){0}, N, I, r->bf16);
    }
    be_phase(r->ops, r->be, phase);
}

/* Score what has been replayed since the last time. */
static void score(struct replayer *r, struct be_outputs *q, struct be_view y, int ldy, struct be_view g, int O)
{
    const int phase = be_phase(r->ops, r->be, PHASE_SCORE);
    r->ops->score_rows(r->be, *q, y, g, r->N, O, ldy);
    q->n = 0;
    be_phase(r->ops, r->be, phase);
}

void replayer_unit(struct replayer *r, struct be_view w, int O, struct be_view amax_w, struct be_view col_amax,
                   struct be_view y, int ldy, struct be_view g, struct be_view sum, size_t sum_stride)
{
    const struct be_view none = {0}, out = {r->out_buf, 0, r->act};
    struct be_outputs q = {0};
    const int phase = be_phase(r->ops, r->be, PHASE_QUANTIZE);
    if (needs_columns(r->set) && !col_amax.buf) {
        col_amax = (struct be_view){r->amax_buf, 0, DT_F32};
        r->ops->zero(r->be, col_amax, (size_t)r->I);
        r->ops->amax_cols(r->be, col_amax, w, O, r->I);
    }
    for (int k = 0; k < r->set->n_weight; k++) {
        const struct quantizer *qw = &r->set->weight[k];
        struct be_view wq = w;
        if (!in_use(r, k, -1))
            continue;
        if (qw->format != QF_NONE) {
            wq = (struct be_view){r->weight_buf, 0, r->weight};
            r->ops->fakequant(r->be, wq, w, qw, qw->granularity == QG_IN_CHANNEL ? col_amax : amax_w, none, O, r->I,
                              r->bf16);
        }
        for (int i = 0; i < r->set->n; i++) {
            if (r->set->replay[i].weight != k || !wanted(r, i))
                continue;
            be_phase(r->ops, r->be, PHASE_REPLAY + i);
            q.yq[q.n] = be_at(out, (size_t)q.n * r->out_stride);
            q.sum[q.n] = be_at(sum, (size_t)i * sum_stride);
            r->ops->linear(r->be, q.yq[q.n], quantized_input(r, r->set->replay[i].act), wq, r->N, r->I, O, O, false);
            r->flops += 2.0 * r->N * r->I * O;
            be_phase(r->ops, r->be, PHASE_QUANTIZE);
            if (++q.n == r->at_once)
                score(r, &q, y, ldy, g, O);
        }
    }
    if (q.n)
        score(r, &q, y, ldy, g, O);
    be_phase(r->ops, r->be, phase);
}
