#include "replay.h"

static int find_or_add(struct quantizer *list, int *n, const struct quantizer *q)
{
    for (int i = 0; i < *n; i++)
        if (quantizer_equal(&list[i], q))
            return i;
    if (*n == REPLAY_MAX_QUANTIZERS)
        return -1;
    list[*n] = *q;
    return (*n)++;
}

int replay_add(struct replay_set *s, const struct pair *p, struct err *e)
{
    const int w = find_or_add(s->weight, &s->n_weight, &p->weight), a = find_or_add(s->act, &s->n_act, &p->activation);
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

bool replay_needs_static_amax(const struct replay_set *s)
{
    for (int i = 0; i < s->n_act; i++)
        if (s->act[i].format != QF_NONE && s->act[i].granularity == QG_TENSOR && !s->act[i].dynamic)
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
                    struct be_view amax_batch, struct be_view batch)
{
    if (N > r->max_rows)
        BUG("%d rows for a workspace of %d", N, r->max_rows);
    r->x = x;
    r->N = N;
    r->I = I;
    const int phase = be_phase(r->ops, r->be, PHASE_QUANTIZE);
    for (int a = 0; a < r->set->n_act; a++) {
        const struct quantizer *q = &r->set->act[a];
        if (q->format == QF_NONE)
            continue;
        const bool per_batch = q->granularity == QG_TENSOR && q->dynamic;
        r->ops->fakequant(r->be, quantized_input(r, a), x, q, per_batch ? amax_batch : amax_static,
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
        if (qw->format != QF_NONE) {
            wq = (struct be_view){r->weight_buf, 0, r->weight};
            r->ops->fakequant(r->be, wq, w, qw, qw->granularity == QG_IN_CHANNEL ? col_amax : amax_w, none, O, r->I,
                              r->bf16);
        }
        for (int i = 0; i < r->set->n; i++) {
            if (r->set->replay[i].weight != k)
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
