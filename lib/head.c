/* The final norm, lm_head and the loss: logits exist for one chunk of loss rows at a time, lm_head for one block of its
 * rows at a time. */
#include "model.h"

/* Parts of m->head_buf. */
struct head_buffers {
    struct be_view norm;       /* [N, D] final norm of all rows; later the gradient there */
    struct be_view x, dx;      /* [M, D] its loss rows, and their gradient */
    struct be_view z, dz;      /* [R, V], [R, head_rows] */
    struct be_view sum;        /* [R, D] in the sum type */
    struct be_view stat, loss; /* F32 [R, 2], [M] */
};

static struct head_buffers buffers(const struct model *m)
{
    const size_t D = (size_t)m->D, R = (size_t)m->head_chunk, N = (size_t)m->max_rows, M = (size_t)m->max_loss_rows;
    struct head_buffers b;
    size_t at = 0;
    const struct {
        struct be_view *v;
        size_t n;
        enum dtype t;
    } part[] = {
        {&b.norm, N * D, m->act},
        {&b.x, M * D, m->act},
        {&b.dx, M * D, m->act},
        {&b.z, R * (size_t)m->V, m->act},
        {&b.dz, R * (size_t)m->weights->head_rows, m->act},
        {&b.sum, R * D, m->ops->sum_dtype},
        {&b.stat, 2 * R, DT_F32},
        {&b.loss, M, DT_F32},
    };
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        *part[i].v = (struct be_view){m->head_buf, at, part[i].t};
        at += (part[i].n * dtype_size(part[i].t) + 255) / 256 * 256;
    }
    return b;
}

static void final_norm(struct model *m, const struct block *b, struct be_view y, struct be_view h)
{
    m->ops->rmsnorm(m->be, y, h, weights_final_norm(m->weights), b->n_rows, m->D, m->eps);
}

void model_head_amax(struct model *m, const struct block *b, struct be_view h, struct be_view amax)
{
    const struct head_buffers hb = buffers(m);
    final_norm(m, b, hb.norm, h);
    m->ops->amax_rows(m->be, be_at(amax, (size_t)unit_index(ROLE_LM_HEAD, -1, m->n_layers) * (size_t)b->n_batches),
                      hb.norm, b->batch, b->n_rows, m->D);
}

/* Loss rows r0 .. r0+n: logits, loss, gradient, replays. */
static void chunk(struct model *m, const struct block *b, const struct head_buffers *hb, int r0, int n,
                  const struct block_replay *rp)
{
    const struct be_ops *ops = m->ops;
    const size_t first = (size_t)r0 * (size_t)m->D, u = (size_t)unit_index(ROLE_LM_HEAD, -1, m->n_layers);
    const struct be_view x = be_at(hb->x, first), target = be_at(b->loss_target, (size_t)r0);
    const int n_blocks = weights_head_blocks(m->weights);
    int row0, rows;
    for (int i = 0; i < n_blocks; i++) {
        const struct be_view w = weights_head_block(m->weights, i, &row0, &rows);
        model_linear(m, be_at(hb->z, (size_t)row0), x, w, n, m->D, rows, m->V);
    }
    ops->xent(m->be, hb->stat, be_at(hb->loss, (size_t)r0), hb->z, target, n, m->V);
    replayer_input(rp->r, x, n, m->D, be_at(rp->amax_static, u), (size_t)rp->n_units,
                   be_at(rp->amax_batch, u * (size_t)b->n_batches), be_at(b->loss_batch, (size_t)r0));
    ops->zero(m->be, hb->sum, (size_t)n * (size_t)m->D);
    for (int i = n_blocks - 1; i >= 0; i--) { /* downwards: the last block is still there */
        const struct be_view w = weights_head_block(m->weights, i, &row0, &rows);
        ops->xent_bwd(m->be, hb->dz, hb->z, hb->stat, target, be_at(b->loss_scale, (size_t)r0), n, m->V, row0, rows);
        model_linear_dx(m, hb->sum, hb->dz, w, n, m->D, rows, true);
        replayer_unit(rp->r, w, rows, be_at(rp->amax_weight, u), rp->head_cols, be_at(hb->z, (size_t)row0), m->V,
                      hb->dz, be_at(rp->row_sum, (size_t)r0), rp->row_stride);
    }
    ops->convert(m->be, be_at(hb->dx, first), hb->sum, (size_t)n * (size_t)m->D);
}

void model_head_backward(struct model *m, const struct block *b, struct be_view h, struct be_view dh,
                         const struct block_replay *rp, float *loss)
{
    const struct be_ops *ops = m->ops;
    const struct head_buffers hb = buffers(m);
    const size_t u = (size_t)unit_index(ROLE_LM_HEAD, -1, m->n_layers), n_seqs = (size_t)b->n_seqs;
    final_norm(m, b, hb.norm, h);
    ops->gather_rows(m->be, hb.x, hb.norm, b->loss_row, b->n_loss, m->D);
    ops->zero(m->be, rp->row_sum, (size_t)rp->r->set->n * rp->row_stride);
    for (int r0 = 0; r0 < b->n_loss; r0 += m->head_chunk)
        chunk(m, b, &hb, r0, b->n_loss - r0 < m->head_chunk ? b->n_loss - r0 : m->head_chunk, rp);
    ops->segment_sum(m->be, be_at(rp->seq_sum, u * n_seqs), (size_t)rp->n_units * n_seqs, rp->row_sum, rp->row_stride,
                     rp->r->set->n, b->loss_offset, b->n_seqs);
    ops->scatter_rows(m->be, hb.norm, hb.dx, b->loss_row, b->n_loss, b->n_rows, m->D);
    ops->rmsnorm_bwd(m->be, dh, hb.norm, h, weights_final_norm(m->weights), b->n_rows, m->D, m->eps);
    ops->get(m->be, loss, hb.loss, (size_t)b->n_loss);
}
