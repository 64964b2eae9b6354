/* scores_write - one pair's results as scores.json (scores.h) and records.safetensors.
 *
 * records.safetensors, version 1; S scored sequences, B calibration batches, U language-model units in model order:
 *   score F64 [S, U]        sum over the sequence's rows and the unit's outputs of (G*(Yq-Y))^2
 *   amax F32 [B, U]         max |input| per calibration batch
 *   weight_amax F32 [U]     max |weight|
 *   block I64 [blocks, 4]   first batch, batches, scored sequences, their loss rows
 *   block_loss F64 [blocks] sum of their losses
 * metadata: format "qsens-records", version, weights_sha256, tokens_sha256, weight and activation (quantizer keys),
 * dtype, padding, backend, identity (of the backend: be_identity), block_batches, arithmetic, gemm_sha256 where a
 * backend chooses algorithms: all that the numbers depend on; block_sha256, the block_hash of each block in one string:
 * what another run needs to reuse them (records_reuse.h). */
#ifndef SCORES_WRITE_H
#define SCORES_WRITE_H
#include "json.h"
#include "pair.h"
#include "scorer.h"
#include "scores_split.h"

struct scores_source {
    const struct lm *lm;
    const struct calib *calib;
    const struct scorer_options *options;
    const struct scorer_result *result;
    const char *backend, *identity, *granularity;
    double seconds;      /* of the scoring run */
    const char *started; /* when it began, ISO 8601 */
};

/* A pair that is scored: its replays, and the directory of its results. */
struct scores_cell {
    char *dir;
    struct pair pair;
    int replay;
    struct split_replays split;
};

/* Add the replays of the cell's pair to the set; split: those of its parts too. */
int scores_cell_add(struct scores_cell *cell, struct replay_set *set, bool split, struct err *e) MUST_CHECK;
/* A complete result as DIR/gemm.json (or none), records.safetensors and, last, scores.json; each whole or not at all.
 */
int scores_cell_write(const struct scores_source *s, const struct scores_cell *cell, struct err *e) MUST_CHECK;

/* scores.json of the pair whose replay has this index. The caller owns the document. */
json_t *scores_document(const struct scores_source *s, const struct pair *pair, int replay);
/* records.safetensors of the same, to an open output. */
void records_write(const struct scores_source *s, const struct pair *pair, int replay, FILE *f);

#endif
