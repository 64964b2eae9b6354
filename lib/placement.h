/* placement - where the weights and the layer inputs of a run live, decided from sizes before it starts.
 *
 * Where memory is the host's nothing is to decide. On a device with memory of its own the placement is the one that
 * moves the fewest bytes of those that fit: weights that stay are read once, those that do not once a sweep (lm_head:
 * twice a chunk of loss rows); layer inputs in host memory go there and come back. */
#ifndef PLACEMENT_H
#define PLACEMENT_H
#include "backend.h"
#include "lm.h"
#include "replay.h"

/* What the blocks of a run ask for. */
struct run_shape {
    int n_blocks, max_rows, max_loss_rows, max_pos; /* max_*: of a block */
    int64_t kept_rows, other_rows, pass_seqs; /* of the largest pass; kept: scored, other: calibrated only */
};

struct placement {
    bool layers_stay, head_stays, inputs_on_host;
    size_t bytes, host_bytes; /* of backend memory and of host memory for layer inputs */
};

/* The largest of what is replayed. */
struct replay_size placement_replay_size(const struct lm *lm, const struct be_ops *ops, bool bf16,
                                         const struct run_shape *s);
/* Bytes for a given placement of weights and inputs. */
void placement_count(struct placement *p, const struct be_ops *ops, const struct lm *lm, const struct replay_set *set,
                     bool bf16, const struct run_shape *s);
/* Choose. room: bytes of device memory that may be allocated, NULL where memory is the host's. limit: what --gpu-memory
 * was, or 0. ERR_LIMIT where nothing fits, with what would. */
int placement_choose(struct placement *p, const struct be_ops *ops, const struct lm *lm, const struct replay_set *set,
                     bool bf16, const struct run_shape *s, const int64_t *room, size_t limit, struct err *e) MUST_CHECK;

#endif
