/* A decoder layer forward. */
#include "model.h"

/* Raise the per-batch maxima of a unit by its input x [N, width]. */
static void note_amax(struct model *m, enum lm_role role, int layer, const struct block *b, struct be_view x, int width,
                      struct be_view amax)
{
    if (amax.buf)
        m->ops->amax_rows(m->be, be_at(amax, (size_t)unit_index(role, layer, m->n_layers) * (size_t)b->n_batches), x,
                          b->batch, b->n_rows, width);
}

/* q or k: projection, norm over each head, rotary embedding; keeps the projection's output too. */
static void project_and_rotate(struct model *m, const struct block *b, struct be_view y, struct be_view rotated,
                               struct be_view w, struct be_view norm, int heads)
{
    const int N = b->n_rows;
    model_linear(m, y, m->ws.x1, w, N, m->D, heads * m->E, heads * m->E);
    m->ops->rmsnorm(m->be, rotated, y, norm, N * heads, m->E, m->eps);
    m->ops->rope(m->be, rotated, m->cosine, m->sine, b->pos, N, heads, m->E, false);
}

static void attention_forward(struct model *m, int layer, const struct block *b, struct be_view h_in,
                              struct be_view amax)
{
    const struct be_ops *ops = m->ops;
    struct workspace *ws = &m->ws;
    const struct be_view *w = m->weights->role;
    const int N = b->n_rows, HE = m->H * m->E, KE = m->K * m->E;
    ops->rmsnorm(m->be, ws->x1, h_in, w[ROLE_ATTN_NORM], N, m->D, m->eps);
    note_amax(m, ROLE_Q, layer, b, ws->x1, m->D, amax);
    project_and_rotate(m, b, ws->q, ws->qr, w[ROLE_Q], w[ROLE_Q_NORM], m->H);
    project_and_rotate(m, b, ws->k, ws->kr, w[ROLE_K], w[ROLE_K_NORM], m->K);
    model_linear(m, ws->v, ws->x1, w[ROLE_V], N, m->D, KE, KE);
    ops->attention(m->be, ws->a, ws->lse, ws->qr, ws->kr, ws->v, b->seqs, m->H, m->K, m->E);
    note_amax(m, ROLE_O, layer, b, ws->a, HE, amax);
    model_linear(m, ws->o, ws->a, w[ROLE_O], N, HE, m->D, m->D);
    ops->add(m->be, ws->hm, h_in, ws->o, (size_t)N * (size_t)m->D);
}

static void mlp_forward(struct model *m, int layer, const struct block *b, struct be_view h_out, struct be_view amax)
{
    const struct be_ops *ops = m->ops;
    struct workspace *ws = &m->ws;
    const struct be_view *w = m->weights->role;
    const int N = b->n_rows;
    ops->rmsnorm(m->be, ws->x2, ws->hm, w[ROLE_MLP_NORM], N, m->D, m->eps);
    note_amax(m, ROLE_GATE, layer, b, ws->x2, m->D, amax);
    model_linear(m, ws->g, ws->x2, w[ROLE_GATE], N, m->D, m->F, m->F);
    model_linear(m, ws->u, ws->x2, w[ROLE_UP], N, m->D, m->F, m->F);
    ops->swiglu(m->be, ws->m, ws->g, ws->u, (size_t)N * (size_t)m->F);
    note_amax(m, ROLE_DOWN, layer, b, ws->m, m->F, amax);
    model_linear(m, ws->d, ws->m, w[ROLE_DOWN], N, m->F, m->D, m->D);
    if (h_out.buf)
        ops->add(m->be, h_out, ws->hm, ws->d, (size_t)N * (size_t)m->D);
}

/* Units that read the same input have the same maxima: k and v those of q, up those of gate. */
static void copy_shared_amax(struct model *m, int layer, const struct block *b, struct be_view amax)
{
    static const enum lm_role pair[][2] = {{ROLE_K, ROLE_Q}, {ROLE_V, ROLE_Q}, {ROLE_UP, ROLE_GATE}};
    const size_t n = (size_t)b->n_batches;
    for (size_t i = 0; i < sizeof pair / sizeof *pair; i++)
        m->ops->convert(m->be, be_at(amax, (size_t)unit_index(pair[i][0], layer, m->n_layers) * n),
                        be_at(amax, (size_t)unit_index(pair[i][1], layer, m->n_layers) * n), n);
}

void model_layer_forward(struct model *m, int layer, const struct block *b, struct be_view h_in, struct be_view h_out,
                         struct be_view amax)
{
    attention_forward(m, layer, b, h_in, amax);
    mlp_forward(m, layer, b, h_out, amax);
    if (amax.buf)
        copy_shared_amax(m, layer, b, amax);
}
