/* weights - a model's tensors, mapped from its checkpoint and brought to a backend layer by layer.
 *
 * On the CPU nothing is copied whole: one decoder layer at a time lives in the backend (the kernel is told about the
 * next one), the embedding is read row by row from the mapping, and lm_head comes in blocks of rows. On a device with
 * memory of its own layers and lm_head may stay once they are there; layers that do not stay alternate between two
 * slots, so that the next one arrives while one is at work. In bf16 mode fp32 and fp16 weights are rounded to bf16, as
 * the reference does when it loads them. */
#ifndef WEIGHTS_H
#define WEIGHTS_H
#include "backend.h"
#include "io.h"
#include "lm.h"

struct weights {
    const struct be_ops *ops;
    struct be *be;
    const struct lm *lm;
    bool bf16;
    enum dtype type;    /* of weights in the backend */
    struct io_map *map; /* one a file */
    struct be_buf *layer_buf, *head_buf, *norm_buf;
    bool layers_stay, head_stays;
    int n_slots;
    int *slot_layer; /* [n_slots], -1: none */
    size_t layer_elements;
    int layer, next; /* the one that role[] is and the one that follows; -1: none */
    struct be_view role[ROLE_COUNT];
    int head_rows;  /* rows of an lm_head block */
    int head_block; /* the block that is there; where lm_head stays: -1 none, 0 all */
};

/* Map the files of lm.json. ERR_IO where one changed since extract-lm looked at it. *_stay: only on a device. */
int weights_open(struct weights *w, const struct be_ops *ops, struct be *be, const struct lm *lm, bool bf16,
                 bool layers_stay, bool head_stays, struct err *e) MUST_CHECK;
void weights_close(struct weights *w);
/* Bytes of backend memory that weights_open takes. */
size_t weights_bytes(const struct lm *lm, const struct be_ops *ops, bool bf16, bool layers_stay, bool head_stays);
/* Rows of an lm_head block. */
int weights_head_rows(const struct lm *lm, const struct be_ops *ops);

/* Have a layer in the backend; w->role[] are its tensors, in the backend's weight type. `next` will follow it (-1 and
 * layers that do not exist: none). */
void weights_wait(struct weights *w, int layer, int next);
/* The layer's work has been issued: bring in the next one beside it. */
void weights_ahead(struct weights *w);

/* dst [n, hidden] = embedding rows of ids, rounded to dst's type. ids are below vocab_size. */
void weights_embed(struct weights *w, struct be_view dst, const int32_t *ids, int n);
/* The final norm's weight. */
struct be_view weights_final_norm(const struct weights *w);

/* lm_head in blocks of head_rows rows; the last one may be shorter. */
int weights_head_blocks(const struct weights *w);
/* Block b in the backend: [*n_rows, hidden], which are rows *row0 .. of lm_head. Valid until the next call. */
struct be_view weights_head_block(struct weights *w, int b, int *row0, int *n_rows);

/* Elements of the largest matrix that is ever quantized at once: a unit of a layer, or a block of lm_head. */
size_t weights_largest(const struct lm *lm, const struct be_ops *ops);

#endif
