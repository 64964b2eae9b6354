/* gemm_shapes - the products of a run over one model on the CUDA backend, in bf16: what model.c, head.c and replay.c
 * ask for. Rows are left to the caller. */
#ifndef BENCH_GEMM_SHAPES_H
#define BENCH_GEMM_SHAPES_H
#include "gemm_table.h"
#include "hf_config.h"
#include "json.h"
#include "model.h"
#include "synth.h"

struct gemm_shapes {
    struct gemm_shape shape[32];
    bool head[32];                /* of lm_head, which sees at most head_rows rows at once */
    int n, head_rows, head_block; /* rows of lm_head taken at once */
};

static void add_shape(struct gemm_shapes *g, int in, int out, int stride, bool backward, bool accumulate, bool head)
{
    const struct gemm_shape s = {0,        in,         out,     stride,
                                 backward, accumulate, DT_BF16, accumulate ? be_cuda_ops.sum_dtype : DT_BF16};
    for (int i = 0; i < g->n; i++)
        if (!gemm_shape_order(&g->shape[i], &s))
            return;
    g->shape[g->n] = s;
    g->head[g->n++] = head;
}

static struct gemm_shapes gemm_shapes(const struct lm *lm)
{
    const struct lm_config *c = &lm->config;
    struct gemm_shapes g = {.head_rows = model_head_chunk(lm, &be_cuda_ops, true, GEMM_MAX_ROWS),
                            .head_block = weights_head_rows(lm, &be_cuda_ops)};
    const int D = c->hidden_size, F = c->ffn_size, V = (int)c->vocab_size, C = g.head_block;
    const int HE = c->n_heads * c->head_dim, KE = c->n_kv_heads * c->head_dim;
    const int layer[][2] = {{D, HE}, {D, KE}, {HE, D}, {D, F}, {F, D}}; /* q; k and v; o; gate and up; down */
    const int block[] = {C, V % C ? V % C : C};                         /* of lm_head: all but the last; the last */
    for (int backward = 0; backward < 2; backward++) {
        for (int i = 0; i < 5; i++)
            add_shape(&g, layer[i][0], layer[i][1], layer[i][!backward], backward, false, false);
        for (int i = 0; i < 2; i++)
            if (backward)
                add_shape(&g, D, block[i], D, true, true, true);
            else {
                add_shape(&g, D, block[i], V, false, false, true);        /* logits */
                add_shape(&g, D, block[i], block[i], false, false, true); /* a replay's */
            }
    }
    return g;
}

/* Of lm.json, or of a synthetic model's size where path is NULL. */
static int shapes_of_model(struct gemm_shapes *g, const char *path, const char *size, struct err *e)
{
    if (path) {
        struct lm lm;
        if (lm_load(&lm, path, e))
            return -1;
        *g = gemm_shapes(&lm);
        lm_free(&lm);
        return 0;
    }
    struct hf_config c;
    const struct synth_options o = {.size = size, .dtype = DT_BF16};
    json_t *doc = synth_config(&o, e);
    const int rc = doc ? hf_config_of_json(&c, doc, size, e) : -1;
    json_decref(doc);
    if (!rc)
        *g = gemm_shapes(&(struct lm){.config = c.lm});
    return rc;
}

/* "forward 2560 to 9728, BF16"; out holds 64 bytes. */
static void shape_name(const struct gemm_shape *s, char out[64])
{
    char stride[24] = "";
    if (s->stride != (s->backward ? s->in : s->out))
        snprintf(stride, sizeof stride, " of %d", s->stride);
    snprintf(out, 64, "%s %d to %d%s%s", s->backward ? "backward" : "forward", s->backward ? s->out : s->in,
             s->backward ? s->in : s->out, stride, s->accumulate ? ", summed" : "");
}

#endif
