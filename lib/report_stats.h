/* report_stats - the sections of the Markdown report on errors, nats and parts; report_md places them after the ranks.
 * Each is left out where the manifest has no such data (imported ones, and ours from before). */
#ifndef REPORT_STATS_H
#define REPORT_STATS_H
#include <stdio.h>

#include "report_view.h"

/* Of all ranked groups: score with standard error and interval, ranks and tie band, share, nats per token, and the
 * worst member of a fused group. */
void report_errors(FILE *f, const struct manifest *m, const struct report_view *v);
/* Of all ranked groups: score of weights alone, of activations alone, what is left of the joint score. */
void report_split(FILE *f, const struct manifest *m, const struct report_view *v);

#endif
