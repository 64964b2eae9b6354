#include "model.h"

#include <math.h>
#include <stdlib.h>

#include "mem.h"
#include "num.h"

const struct lm_unit *model_unit(const struct lm *lm, int index)
{
    static const enum lm_role role[UNITS_PER_LAYER] = {ROLE_Q, ROLE_K, ROLE_V, ROLE_O, ROLE_GATE, ROLE_UP, ROLE_DOWN};
    const int layer = index / UNITS_PER_LAYER;
    const bool head = layer == lm->config.n_layers;
    return &lm->unit[lm_unit_of(lm, head ? ROLE_LM_HEAD : role[index % UNITS_PER_LAYER], head ? -1 : layer)];
}

/* Place every activation in one buffer; with base NULL only counts. Returns bytes. */
static size_t place(struct workspace *ws, struct be_buf *buf, enum dtype act, size_t N, const struct lm_config *c)
{
    const size_t D = (size_t)c->hidden_size, F = (size_t)c->ffn_size, E = (size_t)c->head_dim;
    const size_t HE = (size_t)c->n_heads * E, KE = (size_t)c->n_kv_heads * E;
    const struct {
        struct be_view *v;
        size_t width;
        enum dtype t;
    } part[] = {
        {&ws->x1, D, act},  {&ws->q, HE, act},  {&ws->k, KE, act},  {&ws->v, KE, act},
        {&ws->qr, HE, act}, {&ws->kr, KE, act}, {&ws->a, HE, act},  {&ws->o, D, act},
        {&ws->hm, D, act},  {&ws->x2, D, act},  {&ws->g, F, act},   {&ws->u, F, act},
        {&ws->m, F, act},   {&ws->d, D, act},   {&ws->dg, F, act},  {&ws->du, F, act},
        {&ws->da, HE, act}, {&ws->dq, HE, act}, {&ws->dk, KE, act}, {&ws->dv, KE, act},
        {&ws->dx, D, act},  {&ws->dt, D, act},  {&ws->dhm, D, act}, {&ws->lse, (size_t)c->n_heads, DT_F32},
    };
    size_t at = 0;
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        *part[i].v = (struct be_view){buf, at, part[i].t};
        at += (N * part[i].width * dtype_size(part[i].t) + 255) / 256 * 256;
    }
    ws->buf = buf;
    return at;
}

/* Of each table; two positions at least: a sentinel stands at 1. */
static size_t rope_elements(int E, int max_pos)
{
    return (size_t)(max_pos < 2 ? 2 : max_pos) * (size_t)(E / 2);
}

static void make_rope(struct model *m, double theta, int max_pos)
{
    const int h = m->E / 2;
    const size_t n = rope_elements(m->E, max_pos);
    float *c = xmalloc(2 * n, sizeof *c), *s = c + n;
    for (int i = 0; i < h; i++) {
        /* as the reference: powers, angles and cosines each rounded to fp32, then to bf16 */
        const float inv_freq = 1.0f / (float)pow((double)(float)theta, (double)((float)(2 * i) / (float)m->E));
        for (size_t p = 0; p < n / (size_t)h; p++) {
            const float angle = (float)p * inv_freq, cv = (float)cos((double)angle), sv = (float)sin((double)angle);
            c[p * (size_t)h + (size_t)i] = m->bf16 ? bf16_round(cv) : cv;
            s[p * (size_t)h + (size_t)i] = m->bf16 ? bf16_round(sv) : sv;
        }
    }
    m->rope_buf = m->ops->alloc(m->be, 2 * n * sizeof *c);
    m->cosine = (struct be_view){m->rope_buf, 0, DT_F32};
    m->sine = be_at(m->cosine, n);
    m->ops->put(m->be, m->cosine, c, 2 * n);
    free(c);
}

int model_head_chunk(const struct lm *lm, const struct be_ops *ops, bool bf16, int max_loss_rows)
{
    const size_t row = (size_t)lm->config.vocab_size * dtype_size(bf16 ? ops->act_bf16 : ops->act_fp32);
    const size_t n = ops->logits_bytes / row, rows = n < 64 ? 64 : n > 8192 ? 8192 : n;
    return (size_t)max_loss_rows < rows ? (max_loss_rows > 0 ? max_loss_rows : 1) : (int)rows;
}

/* head_buf: logits [R, V], dz [R, head_rows], xl [M, D], normed rows and their gradient [N, D], sums [R, D],
 * statistics [R, 2], loss [M]. */
static size_t head_bytes(const struct lm_config *c, const struct be_ops *ops, enum dtype act, int N, int M, int R,
                         int head_rows)
{
    const size_t a = dtype_size(act), D = (size_t)c->hidden_size;
    return (size_t)R * ((size_t)c->vocab_size + (size_t)head_rows) * a + ((size_t)M * 2 + (size_t)N) * D * a +
           (size_t)R * (D * dtype_size(ops->sum_dtype) + 2 * sizeof(float)) + (size_t)M * sizeof(float) + 8 * 256;
}

void model_open(struct model *m, const struct be_ops *ops, struct be *be, const struct lm *lm, struct weights *w,
                bool bf16, int max_rows, int max_loss_rows, int max_pos)
{
    const struct lm_config *c = &lm->config;
    *m = (struct model){.ops = ops,
                        .be = be,
                        .lm = lm,
                        .weights = w,
                        .bf16 = bf16,
                        .D = c->hidden_size,
                        .F = c->ffn_size,
                        .H = c->n_heads,
                        .K = c->n_kv_heads,
                        .E = c->head_dim,
                        .V = (int)c->vocab_size,
                        .n_layers = c->n_layers,
                        .eps = (float)c->rms_norm_eps,
                        .max_rows = max_rows,
                        .max_loss_rows = max_loss_rows};
    m->act = bf16 ? ops->act_bf16 : ops->act_fp32;
    struct workspace size;
    place(&m->ws, ops->alloc(be, place(&size, NULL, m->act, (size_t)max_rows, c)), m->act, (size_t)max_rows, c);
    make_rope(m, c->rope_theta, max_pos);
    m->head_chunk = model_head_chunk(lm, ops, bf16, max_loss_rows);
    m->head_buf = ops->alloc(be, head_bytes(c, ops, m->act, max_rows, max_loss_rows, m->head_chunk, w->head_rows));
}

void model_close(struct model *m)
{
    m->ops->free(m->be, m->ws.buf);
    m->ops->free(m->be, m->rope_buf);
    m->ops->free(m->be, m->head_buf);
    *m = (struct model){0};
}

size_t model_bytes(const struct lm *lm, const struct be_ops *ops, bool bf16, int max_rows, int max_loss_rows,
                   int max_pos)
{
    const enum dtype act = bf16 ? ops->act_bf16 : ops->act_fp32;
    struct workspace size;
    return place(&size, NULL, act, (size_t)max_rows, &lm->config) +
           2 * rope_elements(lm->config.head_dim, max_pos) * sizeof(float) +
           head_bytes(&lm->config, ops, act, max_rows, max_loss_rows, model_head_chunk(lm, ops, bf16, max_loss_rows),
                      weights_head_rows(lm, ops));
}

void model_linear(struct model *m, struct be_view y, struct be_view x, struct be_view w, int N, int I, int O, int ldy)
{
    m->ops->linear(m->be, y, x, w, N, I, O, ldy, true);
    m->flops += 2.0 * N * I * O;
}

void model_linear_dx(struct model *m, struct be_view dx, struct be_view dy, struct be_view w, int N, int I, int O,
                     bool accumulate)
{
    m->ops->linear_dx(m->be, dx, dy, w, N, I, O, accumulate);
    m->flops += 2.0 * N * I * O;
}
