/* A decoder layer backward: activation gradients in the order of forward.c reversed, and the replays of its units. */
#include "model.h"

/* The units that follow read x [N, width], the input of `role`. */
static void replay_input(const struct model *m, const struct block_replay *rp, const struct block *b, enum lm_role role,
                         int layer, struct be_view x, int width)
{
    const size_t u = (size_t)unit_index(role, layer, m->n_layers);
    replayer_input(rp->r, x, b->n_rows, width, be_at(rp->amax_static, u), (size_t)rp->n_units,
                   be_at(rp->amax_batch, u * (size_t)b->n_batches), b->batch);
}

/* Replay a unit: y [N, O] its unquantized output, g the gradient there. */
static void replay(const struct model *m, const struct block_replay *rp, const struct block *b, enum lm_role role,
                   int layer, struct be_view y, struct be_view g, int O)
{
    const size_t u = (size_t)unit_index(role, layer, m->n_layers), n_seqs = (size_t)b->n_seqs;
    m->ops->zero(m->be, rp->row_sum, (size_t)rp->r->set->n * rp->row_stride);
    replayer_unit(rp->r, m->weights->role[role], O, be_at(rp->amax_weight, u), (struct be_view){0}, y, O, g,
                  rp->row_sum, rp->row_stride);
    m->ops->segment_sum(m->be, be_at(rp->seq_sum, u * n_seqs), (size_t)rp->n_units * n_seqs, rp->row_sum,
                        rp->row_stride, rp->r->set->n, b->seqs.offset, b->n_seqs);
}

/* dh at the layer's output -> ws.dhm at hm. */
static void mlp_backward(struct model *m, int layer, const struct block *b, struct be_view dh,
                         const struct block_replay *rp)
{
    const struct be_ops *ops = m->ops;
    struct workspace *ws = &m->ws;
    const struct be_view *w = m->weights->role;
    const int N = b->n_rows;
    replay_input(m, rp, b, ROLE_DOWN, layer, ws->m, m->F);
    replay(m, rp, b, ROLE_DOWN, layer, ws->d, dh, m->D);
    model_linear_dx(m, ws->dg, dh, w[ROLE_DOWN], N, m->F, m->D, false);
    ops->swiglu_bwd(m->be, ws->dg, ws->du, ws->dg, ws->g, ws->u, (size_t)N * (size_t)m->F);
    replay_input(m, rp, b, ROLE_GATE, layer, ws->x2, m->D);
    replay(m, rp, b, ROLE_GATE, layer, ws->g, ws->dg, m->F);
    replay(m, rp, b, ROLE_UP, layer, ws->u, ws->du, m->F);
    model_linear_dx(m, ws->dx, ws->du, w[ROLE_UP], N, m->D, m->F, false);
    model_linear_dx(m, ws->dt, ws->dg, w[ROLE_GATE], N, m->D, m->F, false);
    ops->add(m->be, ws->dx, ws->dx, ws->dt, (size_t)N * (size_t)m->D);
    ops->rmsnorm_bwd(m->be, ws->dt, ws->dx, ws->hm, w[ROLE_MLP_NORM], N, m->D, m->eps);
    ops->add(m->be, ws->dhm, dh, ws->dt, (size_t)N * (size_t)m->D);
}

/* Back through rotary embedding and norm of q or k, in place: d [N, heads, E], y the projection's output. */
static void unrotate(struct model *m, const struct block *b, struct be_view d, struct be_view y, struct be_view norm,
                     int heads)
{
    m->ops->rope(m->be, d, m->cosine, m->sine, b->pos, b->n_rows, heads, m->E, true);
    m->ops->rmsnorm_bwd(m->be, d, d, y, norm, b->n_rows * heads, m->E, m->eps);
}

/* ws.dhm -> dh at the layer's input. */
static void attention_backward(struct model *m, int layer, const struct block *b, struct be_view h_in,
                               struct be_view dh, const struct block_replay *rp)
{
    const struct be_ops *ops = m->ops;
    struct workspace *ws = &m->ws;
    const struct be_view *w = m->weights->role;
    const int N = b->n_rows, HE = m->H * m->E, KE = m->K * m->E;
    const size_t ND = (size_t)N * (size_t)m->D;
    replay_input(m, rp, b, ROLE_O, layer, ws->a, HE);
    replay(m, rp, b, ROLE_O, layer, ws->o, ws->dhm, m->D);
    model_linear_dx(m, ws->da, ws->dhm, w[ROLE_O], N, HE, m->D, false);
    ops->attention_bwd(m->be, ws->dq, ws->dk, ws->dv, ws->da, ws->qr, ws->kr, ws->v, ws->a, ws->lse, b->seqs, m->H,
                       m->K, m->E);
    unrotate(m, b, ws->dq, ws->q, w[ROLE_Q_NORM], m->H);
    unrotate(m, b, ws->dk, ws->k, w[ROLE_K_NORM], m->K);
    replay_input(m, rp, b, ROLE_Q, layer, ws->x1, m->D);
    replay(m, rp, b, ROLE_Q, layer, ws->q, ws->dq, HE);
    replay(m, rp, b, ROLE_K, layer, ws->k, ws->dk, KE);
    replay(m, rp, b, ROLE_V, layer, ws->v, ws->dv, KE);
    /* the reference adds v and k first, then q */
    model_linear_dx(m, ws->dx, ws->dv, w[ROLE_V], N, m->D, KE, false);
    model_linear_dx(m, ws->dt, ws->dk, w[ROLE_K], N, m->D, KE, false);
    ops->add(m->be, ws->dx, ws->dx, ws->dt, ND);
    model_linear_dx(m, ws->dt, ws->dq, w[ROLE_Q], N, m->D, HE, false);
    ops->add(m->be, ws->dx, ws->dx, ws->dt, ND);
    ops->rmsnorm_bwd(m->be, ws->dt, ws->dx, h_in, w[ROLE_ATTN_NORM], N, m->D, m->eps);
    ops->add(m->be, dh, ws->dhm, ws->dt, ND);
}

void model_layer_backward(struct model *m, int layer, const struct block *b, struct be_view h_in, struct be_view dh,
                          const struct block_replay *rp)
{
    const struct be_view none = {0};
    const int phase = be_phase(m->ops, m->be, PHASE_RECOMPUTE);
    model_layer_forward(m, layer, b, h_in, none, none);
    be_phase(m->ops, m->be, phase);
    mlp_backward(m, layer, b, dh, rp);
    attention_backward(m, layer, b, h_in, dh, rp);
}
