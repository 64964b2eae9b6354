/* lm_extract - from a Hugging Face checkpoint to struct lm: which tensors, which units; and the weights' hashes. */
#ifndef LM_EXTRACT_H
#define LM_EXTRACT_H
#include "checkpoint.h"
#include "hf_config.h"
#include "lm.h"

/* Bind every tensor that config asks for, its type and shape checked, and list the units. Hashes are left empty.
 * ERR_FORMAT where a tensor is missing, has another shape or type, or where the LM has a tensor that config does not
 * account for (a bias, a 37th layer). A vision tower is complete or absent. lm_free frees m. */
int lm_extract(struct lm *m, const struct hf_config *config, const struct checkpoint *c, const char *path,
               struct err *e) MUST_CHECK;

/* Take over the hashes of `old` for tensors in files whose path, size, mtime and inode are the same. */
void lm_reuse_hashes(struct lm *m, const struct lm *old);

/* Bytes of the tensors that have no hash yet: what lm_hash reads. */
uint64_t lm_unhashed_bytes(const struct lm *m);

/* Hash every tensor that has no hash yet and refuse NaN and infinity (ERR_FORMAT, naming tensor and element), on all
 * threads. progress is called on the calling thread with the bytes read since the last call; NULL for none. */
typedef void lm_progress_fn(void *arg, double bytes);
int lm_hash(struct lm *m, const struct checkpoint *c, lm_progress_fn *progress, void *arg, struct err *e) MUST_CHECK;

#endif
