/* report_ours - the sections of the Markdown report that the reference's has not: a summary, the extremes with bars,
 * layers against modules, and for our own manifests the ranked groups with recipe and members. report_md orders them.
 */
#ifndef REPORT_OURS_H
#define REPORT_OURS_H
#include <stdio.h>

#include "report_view.h"

void report_glance(FILE *f, const struct manifest *m, const struct report_view *v);
/* The ten most and the ten least sensitive, or all where they are 20 or fewer. A bar has up to 40 characters, in
 * eighths; linear where the least score then has one character or more, else logarithmic from the least score that is
 * not 0 (one character) to the greatest; the text says which. */
void report_extremes(FILE *f, const struct report_view *v);
/* Shares of the total: a row per decoder layer, a column per module; nothing where no group is of a decoder layer. */
void report_layers(FILE *f, const struct report_view *v);
/* All ranked groups. Needs m->qsens. */
void report_ranks(FILE *f, const struct manifest *m, const struct report_view *v);

#endif
