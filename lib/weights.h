/* weights - a model's tensors, mapped from its checkpoint and brought to a backend layer by layer.
 *
 * On the CPU nothing is copied whole: one decoder layer at a time lives in the backend (the kernel is told about the
 * next one), the embedding is read row by row from the mapping, and lm_head comes in blocks of rows. A device that has
 * room for all of them keeps them. In bf16 mode fp32 and fp16 weights are rounded to bf16, as the reference does when
 * it loads them. */
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
    bool stay;    /* everything stays in the backend once it is there */
    bool *loaded; /* [layers]: stay only */
    size_t layer_elements;
    int layer; /* the one that role[] is, -1 for none */
    struct be_view role[ROLE_COUNT];
    int head_rows;  /* rows of an lm_head block */
    int head_block; /* the block that is there; stay: -1 none, 0 all */
};

/* Map the files of lm.json. ERR_IO where one changed since extract-lm looked at it. */
int weights_open(struct weights *w, const struct be_ops *ops, struct be *be, const struct lm *lm, bool bf16,
                 struct err *e) MUST_CHECK;
void weights_close(struct weights *w);

/* Start to bring a layer in (-1 and layers that do not exist: nothing). */
void weights_prefetch(struct weights *w, int layer);
/* Have a layer in the backend; w->role[] are its tensors, in the backend's weight type. */
void weights_wait(struct weights *w, int layer);

/* dst [n, hidden] = embedding rows of ids, rounded to dst's type. ids are below vocab_size. */
void weights_embed(struct weights *w, struct be_view dst, const int32_t *ids, int n);
/* The final norm's weight. */
struct be_view weights_final_norm(const struct weights *w);

/* lm_head in blocks of head_rows rows; the last one may be shorter. */
int weights_head_blocks(const struct weights *w);
/* Block b in the backend: [*n_rows, hidden], which are rows *row0 .. of lm_head. Valid until the next call. */
struct be_view weights_head_block(struct weights *w, int b, int *row0, int *n_rows);

/* Elements of the largest matrix that is ever quantized at once: a unit of a layer, or a block of lm_head. */
size_t weights_largest(const struct weights *w);

#endif
