#include "placement.h"

#include <stdio.h>

#include "layer_inputs.h"
#include "model.h"
#include "weights.h"

/* For what is small and rounded up: maxima, sums, tables of rows. */
enum { MARGIN = 64 << 20 };

struct replay_size placement_replay_size(const struct lm *lm, const struct be_ops *ops, bool bf16,
                                         const struct run_shape *s)
{
    const struct lm_config *c = &lm->config;
    const int HE = c->n_heads * c->head_dim;
    struct replay_size r = {.rows = s->max_rows, .in = c->ffn_size > HE ? c->ffn_size : HE};
    r.in = c->hidden_size > r.in ? c->hidden_size : r.in;
    const size_t of_layer = (size_t)s->max_rows * (size_t)r.in;
    const size_t of_head =
        (size_t)model_head_chunk(lm, ops, bf16, s->max_loss_rows) * (size_t)weights_head_rows(lm, ops);
    r.out = of_head > of_layer ? of_head : of_layer;
    r.weight = weights_largest(lm, ops);
    return r;
}

void placement_count(struct placement *p, const struct be_ops *ops, const struct lm *lm, const struct replay_set *set,
                     bool bf16, const struct run_shape *s)
{
    const struct lm_config *c = &lm->config;
    const struct replay_size r = placement_replay_size(lm, ops, bf16, s);
    const enum dtype act = bf16 ? ops->act_bf16 : ops->act_fp32;
    const size_t units = (size_t)UNITS_PER_LAYER * (size_t)c->n_layers + 1;
    p->bytes = weights_bytes(lm, ops, bf16, p->layers_stay, p->head_stays) +
               model_bytes(lm, ops, bf16, s->max_rows, s->max_loss_rows, s->max_pos) +
               replayer_bytes(ops, set, bf16, &r) +
               inputs_bytes(act, c->hidden_size, c->n_layers, s->max_rows, s->kept_rows, s->other_rows,
                            p->inputs_on_host, &p->host_bytes) +
               (size_t)set->n * ((size_t)s->pass_seqs * units + (size_t)s->max_rows) * sizeof(double);
    if (ops->scratch_bytes)
        p->bytes += ops->scratch_bytes(act, s->max_rows, c->n_heads, c->head_dim) + MARGIN;
}

/* Bytes that a placement moves between host and device beyond reading every weight once. */
static double traffic(const struct placement *p, const struct be_ops *ops, const struct lm *lm, bool bf16,
                      const struct run_shape *s)
{
    const double resident = (double)weights_bytes(lm, ops, bf16, true, true);
    const double head = resident - (double)weights_bytes(lm, ops, bf16, true, false);
    const double layers = resident - (double)weights_bytes(lm, ops, bf16, false, true);
    const int rows = model_head_chunk(lm, ops, bf16, s->max_loss_rows);
    const double chunks = (double)s->n_blocks * ((s->max_loss_rows + rows - 1) / rows);
    return (p->layers_stay ? 0 : layers) + (p->head_stays ? 0 : head * 2 * chunks) + 2.0 * (double)p->host_bytes;
}

int placement_choose(struct placement *p, const struct be_ops *ops, const struct lm *lm, const struct replay_set *set,
                     bool bf16, const struct run_shape *s, const int64_t *room, size_t limit, struct err *e)
{
    *p = (struct placement){0};
    placement_count(p, ops, lm, set, bf16, s);
    if (!room)
        return 0;
    double least_traffic = -1;
    size_t least_bytes = p->bytes;
    for (int i = 0; i < 8; i++) {
        struct placement q = {.layers_stay = !(i & 1), .head_stays = !(i & 2), .inputs_on_host = i & 4};
        placement_count(&q, ops, lm, set, bf16, s);
        const double moved = traffic(&q, ops, lm, bf16, s);
        least_bytes = q.bytes < least_bytes ? q.bytes : least_bytes;
        if ((int64_t)q.bytes <= *room && (least_traffic < 0 || moved < least_traffic)) {
            *p = q;
            least_traffic = moved;
        }
    }
    if (least_traffic >= 0)
        return 0;
    char advice[64] = "";
    if (limit)
        snprintf(advice, sizeof advice, "; --gpu-memory %zuM would do",
                 (size_t)((int64_t)(limit + least_bytes) - *room) / (1 << 20) + 1);
    return err_set(e, ERR_LIMIT,
                   "%zu MB of GPU memory are left, and blocks of %d rows need %zu MB even with weights read again by "
                   "every sweep and layer inputs in host memory%s",
                   *room < 0 ? 0 : (size_t)*room >> 20, s->max_rows, (least_bytes >> 20) + 1, advice);
}
