/* scores_check - reading what scores.json and a manifest's qsens say beside the scores: statistics (scores_stats.h) and
 * split (scores_split.h). */
#ifndef SCORES_CHECK_H
#define SCORES_CHECK_H
#include "err.h"
#include "json.h"

/* Documents from before either have none, which is right. Checked where there are: that the document, every group and
 * every member has them; that values are finite, not below 0, within their interval; errors null where and only where
 * the document says why; shares, ranks, worst members and interactions those of the scores, within rounding; bands runs
 * of ranks. ERR_FORMAT; `where` is the file, quoted. Groups, members and scores have been checked before. */
int scores_check_statistics(const json_t *doc, const char *where, struct err *e) MUST_CHECK;
int scores_check_split(const json_t *doc, const char *where, struct err *e) MUST_CHECK;

#endif
