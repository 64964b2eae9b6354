/* scorer - the method: calibrate over all sequences, then score the first ones, in passes over sets of blocks.
 *
 *   pass over all blocks, forward:   per unit and batch, max |input|  -> amax [batch, unit]
 *   pass over the scored blocks, backward: per replay, sequence and unit, sum (G*(Yq-Y))^2 -> records
 * If everything fits one pass the forward sweep is run once and its layer inputs are kept; otherwise the calibration
 * sweep keeps nothing and every scoring pass runs forward again. Results are the same to the bit either way, and do not
 * depend on the number of threads.
 *
 * Every block's results depend on that block and, of scores, on all maxima; the rest are sums in block order. So a
 * store may bring those of an earlier run, which are then not computed again, and a part of a run may do some blocks
 * only: with the same bits. Samples of one captions file, in different numbers, share a run and the blocks that are
 * equal (scorer_tasks.h): with the same bits as in runs of their own. This module knows no files. */
#ifndef SCORER_H
#define SCORER_H
#include "backend.h"
#include "calib.h"
#include "lm.h"
#include "placement.h"

struct scorer_result;

/* Who keeps what a run computes. */
struct scorer_store {
    void *self;
    /* Before the work, once sizes are known: fill in what is there already, and mark its blocks. */
    int (*load)(void *self, struct scorer_result *r, struct err *e);
    /* After every pass: more blocks are marked. */
    int (*save)(void *self, const struct scorer_result *r, struct err *e);
};

/* Who says that fewer blocks are enough: may lower n_wanted of replays, once all their blocks before are scored. Asked
 * after the load and after every pass. */
struct scorer_rule {
    void *self;
    int (*look)(void *self, struct scorer_result *r, struct err *e);
};

struct scorer_options {
    bool bf16;
    int score_size;          /* sequences to score, in whole batches: min(max(score_size/batch_size, 1), batches) */
    int block_batches;       /* most batches of a block (block.h) */
    int pass_blocks;         /* blocks of a pass; 0 = all, or one where there is a rule */
    size_t gpu_memory;       /* bytes of device memory to stay below; 0 = all that is free */
    const char *gemm_tables; /* as in be_options */
    bool calibrate_only;
    /* Part i of k > 0, i < k: of n blocks i*n/k .. (i+1)*n/k - 1, either of all, to be calibrated (calibrate_only), or
     * of the scored ones, to be scored: then the store brings all maxima. k = 0: everything. Parts are of one sample,
     * without a rule. */
    int part, parts;
};

/* Results of a block. Those of its scored sequences [first_seq, first_seq + n_seqs) are in the records, of its batches
 * in amax. Seconds are of this block's share of a pass, in whichever process. */
struct scorer_block {
    int first_batch, n_batches;
    int64_t first_seq, n_seqs; /* n_seqs 0: the block is calibrated only */
    bool calibrated;           /* its maxima are there */
    double calibrate_seconds, score_seconds;
    double loss_sum; /* of the loss rows of its scored sequences */
    int64_t loss_rows;
};

/* Results; U = language-model units in model order (unit_index of model.h), scored sequences S, batches B. */
struct scorer_result {
    int n_units, n_batches, n_scored_batches, n_replays;
    int64_t n_scored_seqs, n_scored_rows;
    int n_blocks, n_scored_blocks; /* the scored ones come first */
    struct scorer_block *block;
    double *record;     /* [replays, S, U]: scorer_record */
    bool *scored;       /* [replays, blocks]: these records are there: scorer_scored */
    int *n_wanted;      /* [replays] blocks whose records are wanted: n_scored_blocks, less by a rule */
    float *amax;        /* [B, U] max |input| of each calibration batch */
    float *weight_amax; /* [U]; there once a block is calibrated */
    double loss;        /* mean cross-entropy of the scored loss rows, in a complete result */
    double seconds;     /* of all blocks */
    double flops;       /* of all GEMMs run by this process */
    struct placement placement;
    char *gemm; /* which algorithms the backend chose, in the form of gemm.json; NULL where it has no choice */
};

/* Sequences that will be scored. */
int64_t scorer_scored_seqs(const struct calib *c, int score_size);

/* A result with its sizes and blocks, none of which is there yet. scorer_result_free frees. */
void scorer_result_open(struct scorer_result *r, const struct lm *lm, const struct calib *c,
                        const struct replay_set *set, const struct scorer_options *o);
/* Are all blocks calibrated and all scored blocks scored? Then loss and seconds follow; ERR_NUMERIC where the loss is
 * not finite. */
bool scorer_result_complete(const struct scorer_result *r);
int scorer_result_finish(struct scorer_result *r, struct err *e) MUST_CHECK;

/* One set of calibration data of a run, and its results. */
struct scorer_sample {
    const struct calib *calib;
    const struct replay_set *set;
    const struct scorer_store *store; /* NULL: nothing is kept */
    const struct scorer_rule *rule;   /* NULL: all scored blocks */
    struct scorer_result result;
};

/* Everything, or the part that the options ask for; results that are then complete are finished. ERR_NUMERIC names the
 * group and sequence where a NaN or an infinity arises, ERR_CONFIG where maxima are missing. scorer_result_free frees
 * each result; there are none after an error. */
int scorer_run(struct scorer_sample *sample, int n_samples, const struct be_ops *ops, const struct lm *lm,
               const struct scorer_options *o, struct err *e) MUST_CHECK;
/* A replay's records from a sequence on, [.., U]; are those of a block there? */
static inline double *scorer_record(const struct scorer_result *r, int replay, int64_t seq)
{
    return r->record + ((size_t)replay * (size_t)r->n_scored_seqs + (size_t)seq) * (size_t)r->n_units;
}
static inline bool *scorer_scored(const struct scorer_result *r, int replay, int block)
{
    return r->scored + (size_t)replay * (size_t)r->n_blocks + (size_t)block;
}
/* gemm.json of a result: of all algorithms that its run has used, those of its own blocks, as in a run of its own. A
 * new string, or NULL where there are none; ERR_FORMAT. */
int scorer_result_gemm(char **text, const struct scorer_result *r, const struct be_ops *ops, const struct lm *lm,
                       const struct calib *c, bool bf16, struct err *e) MUST_CHECK;
/* Sum of a unit's record over the scored sequences, in file order. */
double scorer_unit_score(const struct scorer_result *r, int replay, int unit);
void scorer_result_free(struct scorer_result *r);

#endif
