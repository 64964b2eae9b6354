/* report_index - many runs side by side. A pure function of their manifests: the order in which they are added and the
 * place where they lie do not matter (links excepted).
 *
 * A cell is one run. Cells are compared (a set) where they differ in nothing but pair and granularity: same model and
 * groups, data, arithmetic and tool. Order: model, dataset, captions, arithmetic, granularity, pair.
 * JSON, version 1 (conf/schema/index.schema.json):
 *   format "qsens-index", version 1
 *   cells        [{model, dataset, sequences, granularity, pair, tool, dtype, padding, backend (null: not known),
 *                groups, score, budget_bits, effective_bits, recipe_score, satisfied, directory (if below the index),
 *                run {seconds, threads} (if known)}]
 *   comparisons  [{model, .. backend, cells [name], groups [{name, weights, max_share, scores, shares, ranks}],
 *                spearman [[..]] (null where it is not defined), disagreement [{name, highest, lowest, spread}]}]
 *   A cell's name is its pair, with "/granularity" where that is not "default". Groups stand by falling max_share, the
 *   largest of their shares in the set's cells; rank 1 is the most sensitive. */
#ifndef REPORT_INDEX_H
#define REPORT_INDEX_H
#include <stdio.h>

#include "err.h"
#include "json.h"

struct report_index;

struct report_index *report_index_new(void);
void report_index_free(struct report_index *x);
/* A run's directory or a manifest. base: the directory of the index, for links, or NULL. */
int report_index_add(struct report_index *x, const char *path, const char *base, struct err *e) MUST_CHECK;
/* After the last one. ERR_CONFIG where two runs are the same cell. */
int report_index_finish(struct report_index *x, struct err *e) MUST_CHECK;
json_t *report_index_json(const struct report_index *x);
void report_index_md(FILE *f, const struct report_index *x);

#endif
