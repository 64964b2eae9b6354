/* layer_inputs - the input of every layer of every block of a pass, which the backward sweep recomputes layers from.
 *
 * They are kept in the backend, [layers+1, N, D] a block, or, where a device has no room for them, in host memory: then
 * the device holds one [N, D] a block, and one more for the layer that is recomputed. A block that is not kept (it is
 * calibrated only) has one [N, D] in any case. Number n_layers is the last layer's output; once the loss is known its
 * place holds the gradient. */
#ifndef LAYER_INPUTS_H
#define LAYER_INPUTS_H
#include "backend.h"

struct layer_inputs {
    const struct be_ops *ops;
    struct be *be;
    enum dtype act;
    size_t D;
    int n_layers, n_blocks;
    bool on_host;
    struct {
        struct be_buf *buf;
        void *host;
        size_t n; /* elements of one layer's input */
        bool kept;
    } * block;
    struct be_buf *fetched; /* on_host */
};

/* max_rows: of any block. on_host: only on a device with memory of its own. */
void inputs_open(struct layer_inputs *in, const struct be_ops *ops, struct be *be, enum dtype act, int D, int n_layers,
                 int n_blocks, int max_rows, bool on_host);
void inputs_close(struct layer_inputs *in);
/* Bytes in the backend and in host memory (of host_alloc), for blocks of kept_rows rows in all that are kept and
 * other_rows that are not. */
size_t inputs_bytes(enum dtype act, int D, int n_layers, int max_rows, int64_t kept_rows, int64_t other_rows,
                    bool on_host, size_t *host);

/* Memory for block i of N rows. Dropped by inputs_drop, or by inputs_close. */
void inputs_start(struct layer_inputs *in, int i, int N, bool keep);
void inputs_drop(struct layer_inputs *in, int i);
/* Forward: where the input of a layer is, or is to be written. */
struct be_view inputs_at(const struct layer_inputs *in, int i, int layer);
/* Forward: the input of a layer has been written, and may be overwritten by the next one's. */
void inputs_written(const struct layer_inputs *in, int i, int layer);
/* Backward: the input of a layer. Valid until the next call. */
struct be_view inputs_recall(const struct layer_inputs *in, int i, int layer);

#endif
