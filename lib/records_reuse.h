/* records_reuse - what finished runs of other numbers of captions, or of other pairs, have computed already.
 *
 * A records.safetensors (scores_write.h) names its blocks by block_hash. Of a block that a run has too, with the same
 * weights, dtype and backend, its maxima are those of the run. So are its scores by the same quantizers, unless the
 * activations have a scale from the maxima of all captions, and these differ: more captions, other scales. */
#ifndef RECORDS_REUSE_H
#define RECORDS_REUSE_H
#include "records.h"

/* Put into the result what DIR[i]/records.safetensors have and it lacks. A file that cannot be read, or is of something
 * else, is passed over. *blocks, *scored: how many blocks' maxima and (block, replay) scores that were. ERR_FORMAT
 * where a file agrees in all that it says of itself but not in its sizes. */
int records_reuse(struct scorer_result *r, const struct records_run *run, const struct replay_set *set,
                  const char *const *dir, size_t n, int *blocks, int *scored, struct err *e) MUST_CHECK;

#endif
