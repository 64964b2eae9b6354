/* cost - time, memory and disk of a scoring run, before it starts.
 *
 * Nothing is estimated by hand: the run itself goes through the scorer on a backend that computes nothing
 * (backend_dry.h), and a profile counts what it asks for. Seconds follow from the speeds that device-speed measures
 * (ceiling.h):
 *     start + sum over ops of calls * CALL + FLOP * f / gemm + bytes * b / copy   (weights: / load)
 * f and b say how far an op stays behind a large GEMM and a large copy. Those of the CPU were fitted to a profile of
 * the bundled model; bench_plan shows how far predictions are from runs. Weights come from the page cache. Memory of
 * the host does not count mapped weights, which the kernel takes back when it needs room. */
#ifndef COST_H
#define COST_H
#include "ceiling.h"
#include "profile.h"
#include "scorer.h"

struct cost {
    int64_t rows, scored_rows; /* calibrated, scored */
    int replays, blocks;
    double flops, bytes;                         /* of all ops; bytes of weights that are read */
    struct profile_entry op[OP_COUNT], replayed; /* replayed: OP_LINEAR of the replays, not in op[] */
    size_t device_bytes, host_bytes;             /* peaks; device 0 where memory is the host's */
};

/* Count a run. device_memory: bytes that the device has free, where it has memory of its own. ERR_LIMIT where the run
 * would not fit, as scorer_run has it. */
int cost_count(struct cost *c, const struct be_ops *ops, const struct lm *lm, const struct calib *calib,
               const struct replay_set *set, const struct scorer_options *o, size_t device_memory,
               struct err *e) MUST_CHECK;
/* Seconds of that run, from exec to exit, on a device of these speeds. */
double cost_seconds(const struct cost *c, const struct be_ops *ops, const struct ceiling *speed);
/* Bytes of what a cell leaves on disk: records, scores, manifest, reports. n_units of the manifest: vision too. */
size_t cost_disk(int64_t scored_seqs, int64_t batches, int lm_units, int vision_units);

/* A model of these sizes without weights, for cost_count. lm_free frees. */
void cost_model(struct lm *m, const struct lm_config *c, enum dtype weights);
/* Captions of these lengths in tokens, of which nothing else is known. calib_free frees; errors as calib_build. */
int cost_captions(struct calib *c, int64_t n, const int64_t *tokens, int batch_size, int seq_len, bool sentinels,
                  struct err *e) MUST_CHECK;

#endif
