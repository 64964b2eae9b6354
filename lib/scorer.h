/* scorer - the method: calibrate over all sequences, then score the first ones, in passes over sets of blocks.
 *
 *   pass over all blocks, forward:   per unit and batch, max |input|  -> amax [batch, unit]
 *   pass over the scored blocks, backward: per replay, sequence and unit, sum (G*(Yq-Y))^2 -> records
 * If everything fits one pass the forward sweep is run once and its layer inputs are kept; otherwise the calibration
 * sweep keeps nothing and every scoring pass runs forward again. Results are the same to the bit either way, and do not
 * depend on the number of threads. */
#ifndef SCORER_H
#define SCORER_H
#include "backend.h"
#include "calib.h"
#include "lm.h"
#include "placement.h"

struct scorer_options {
    bool bf16;
    int score_size;          /* sequences to score, in whole batches: min(max(score_size/batch_size, 1), batches) */
    int block_batches;       /* most batches of a block (block.h) */
    int pass_blocks;         /* blocks of a pass; 0 = all */
    size_t gpu_memory;       /* bytes of device memory to stay below; 0 = all that is free */
    const char *gemm_tables; /* as in be_options */
};

/* Results; U = language-model units in model order (unit_index of model.h), scored sequences S, batches B. */
struct scorer_result {
    int n_units, n_batches, n_scored_batches;
    int64_t n_scored_seqs, n_scored_rows;
    double *record;     /* [replays, S, U] */
    float *amax;        /* [B, U] max |input| of each calibration batch */
    float *weight_amax; /* [U] */
    double loss;        /* mean cross-entropy of the scored loss rows */
    double flops;       /* of all GEMMs run */
    struct placement placement;
    char *gemm; /* gemm.json: which algorithms the backend chose; NULL where it has no choice */
};

/* Sequences that will be scored. */
int64_t scorer_scored_seqs(const struct calib *c, int score_size);

/* ERR_NUMERIC names the group and sequence where a NaN or an infinity arises. scorer_result_free frees. */
int scorer_run(struct scorer_result *r, const struct be_ops *ops, const struct lm *lm, const struct calib *c,
               const struct replay_set *set, const struct scorer_options *o, struct err *e) MUST_CHECK;
/* Sum of a unit's record over the scored sequences, in file order. */
double scorer_unit_score(const struct scorer_result *r, int replay, int unit);
void scorer_result_free(struct scorer_result *r);

#endif
