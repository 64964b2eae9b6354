/* manifest_check - what a manifest of ours says of itself under `qsens` must follow from its scores. Called by
 * manifest_parse. */
#ifndef MANIFEST_CHECK_H
#define MANIFEST_CHECK_H
#include "manifest.h"

/* Checked: the groups are those of the table in its order, with its scores and weights; scores of members add up to
 * their group's, groups to the total; the recipe chooses the pair or NONE for each; its choices add up to the score and
 * the effective bits of autoquant_state; the budget is that of the scheme; is_satisfied, bound and gap follow;
 * statistics and split, where there are any (scores_check.h).
 * ERR_FORMAT; `where` is the file, quoted. */
int manifest_check_qsens(const struct manifest *m, const char *where, struct err *e) MUST_CHECK;

#endif
