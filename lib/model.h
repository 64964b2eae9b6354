/* model - forward and activation gradients of a Qwen3 decoder over one packed block, layer by layer.
 *
 * Only what the method needs: dL/dY at every linear layer; weight gradients never. A layer keeps nothing but its input:
 * the backward sweep recomputes it. forward.c and backward.c mirror each other, head.c is the loss.
 * Dimensions as in backend.h. Arithmetic: README, "Arithmetic". */
#ifndef MODEL_H
#define MODEL_H
#include "block.h"
#include "replay.h"
#include "weights.h"

/* Activations of one layer over one block: [rows of the block, width]. Sized for the largest block. */
struct workspace {
    struct be_buf *buf;
    struct be_view x1;         /* [N, D] normed input of q, k, v */
    struct be_view q, k, v;    /* [N, H*E], [N, K*E] x2: outputs of the projections */
    struct be_view qr, kr;     /* the same after norm and rotary embedding */
    struct be_view a;          /* [N, H*E] attention output, input of o */
    struct be_view lse;        /* F32 [N, H] */
    struct be_view o;          /* [N, D] output of o */
    struct be_view hm;         /* [N, D] residual stream between attention and MLP */
    struct be_view x2;         /* [N, D] normed input of gate, up */
    struct be_view g, u, m, d; /* [N, F] x3, [N, D]: gate, up, down's input, down's output */
    struct be_view dg, du;     /* [N, F] gradients of gate's and up's outputs; dg also holds that of m */
    struct be_view da, dq, dk, dv;
    struct be_view dx, dt; /* [N, D] */
    struct be_view dhm;    /* [N, D] gradient at hm */
};

struct model {
    const struct be_ops *ops;
    struct be *be;
    const struct lm *lm;
    struct weights *weights;
    bool bf16;
    enum dtype act;
    int D, F, H, K, E, V, n_layers;
    float eps;
    int max_rows, max_loss_rows; /* of a block */
    struct be_buf *rope_buf;
    struct be_view cosine, sine; /* F32 [positions, E/2] */
    struct workspace ws;
    struct be_buf *head_buf;
    int head_chunk; /* loss rows whose logits exist at once */
    double flops;   /* of GEMMs so far, replays not included */
};

/* Where a sweep leaves maxima: F32, [LM units, n] with unit u of layer l at index 7*l + (0..6 = q k v o gate up down),
 * lm_head last. */
enum { UNITS_PER_LAYER = 7 };
static inline int unit_index(enum lm_role role, int layer, int n_layers)
{
    switch (role) {
    case ROLE_Q: return UNITS_PER_LAYER * layer;
    case ROLE_K: return UNITS_PER_LAYER * layer + 1;
    case ROLE_V: return UNITS_PER_LAYER * layer + 2;
    case ROLE_O: return UNITS_PER_LAYER * layer + 3;
    case ROLE_GATE: return UNITS_PER_LAYER * layer + 4;
    case ROLE_UP: return UNITS_PER_LAYER * layer + 5;
    case ROLE_DOWN: return UNITS_PER_LAYER * layer + 6;
    case ROLE_LM_HEAD: return UNITS_PER_LAYER * n_layers;
    default: BUG("role %d is not a unit", (int)role);
    }
}

/* The unit at an index. */
const struct lm_unit *model_unit(const struct lm *lm, int index);

/* Buffers for blocks of up to max_rows rows, max_loss_rows of them with a loss, positions 0 .. max_pos-1. */
void model_open(struct model *m, const struct be_ops *ops, struct be *be, const struct lm *lm, struct weights *w,
                bool bf16, int max_rows, int max_loss_rows, int max_pos);
void model_close(struct model *m);

/* h_out [N, D] = layer(h_in); leaves all activations in m->ws. h_out may be h_in; a NULL buffer skips the last sum.
 * amax F32 [units, n_batches] of this block, or a NULL buffer: per unit and batch, raised by max |input|. */
void model_layer_forward(struct model *m, int layer, const struct block *b, struct be_view h_in, struct be_view h_out,
                         struct be_view amax);

/* Replays of one block: what replayer_* need, per unit. */
struct block_replay {
    struct replayer *r;
    struct be_view amax_static; /* F32 [samples, units] */
    struct be_view amax_batch;  /* F32 [units, n_batches] of this block */
    struct be_view amax_weight; /* F32 [units] */
    struct be_view head_cols;   /* F32 [D]: column maxima of lm_head; NULL buffer where no quantizer needs them */
    struct be_view row_sum;     /* F64 [replays, max_rows] scratch */
    size_t row_stride;          /* max_rows */
    struct be_view seq_sum;     /* F64 [replays, units, n_seqs] result */
    int n_units;
};

/* dh [N, D], the gradient at the layer's output, becomes the gradient at its input h_in. Recomputes the layer from h_in
 * first. Scores of its seven units go to rp->seq_sum. */
void model_layer_backward(struct model *m, int layer, const struct block *b, struct be_view h_in, struct be_view dh,
                          const struct block_replay *rp);

/* Raise amax of lm_head's input (the final norm of all rows of h). */
void model_head_amax(struct model *m, const struct block *b, struct be_view h, struct be_view amax);
/* Loss and its gradient: dh [N, D] = dL/dh for the last layer's output h (dh may be h); scores of lm_head go to
 * rp->seq_sum. loss [n_loss]: the cross-entropy of each loss row, host memory. */
void model_head_backward(struct model *m, const struct block *b, struct be_view h, struct be_view dh,
                         const struct block_replay *rp, float *loss);

/* Bytes of backend memory that model_open takes. */
size_t model_bytes(const struct lm *lm, const struct be_ops *ops, bool bf16, int max_rows, int max_loss_rows,
                   int max_pos);
/* Loss rows whose logits exist at once. */
int model_head_chunk(const struct lm *lm, const struct be_ops *ops, bool bf16, int max_loss_rows);

/* ---- shared by forward.c, backward.c and head.c */
void model_linear(struct model *m, struct be_view y, struct be_view x, struct be_view w, int N, int I, int O, int ldy);
void model_linear_dx(struct model *m, struct be_view dx, struct be_view dy, struct be_view w, int N, int I, int O,
                     bool accumulate);

#endif
