/* sensitivity - the table every result rests on: for each group of layers the formats it may take, how much each hurts
 * (score) and what it weighs (cost).
 *
 * Rows are in the order of the model's modules, vision first, lm_head last. A row's formats are in the order in which
 * they were searched: fewest bits first, "NONE" (16 bits, not quantized) last; a row with NONE alone is never
 * quantized.
 * cost = weights * bits / 16, so the cost of NONE is the number of weights. importance = the largest score;
 * rank 1 = least important, ties in row order.
 *
 * In a manifest (manifest.h) the table is two members:
 *   layer_sensitivity    {"<group>.quant_recipe": {formats ["FP8_DEFAULT_CFG(effective-bits: 8.0)", ...], scores,
 *                        costs, importance, rank}}
 *   sensitivity_ranking  [{name "<group>.quant_recipe", importance}]  ascending */
#ifndef SENSITIVITY_H
#define SENSITIVITY_H
#include <stdint.h>

#include "err.h"
#include "json.h"

#define SENS_NONE "NONE"

struct sens_format {
    char *name; /* "FP8_DEFAULT_CFG", SENS_NONE */
    double bits;
    double score;
};

struct sens_row {
    char *name; /* of the group's first unit, without ".quant_recipe" */
    uint64_t weights;
    struct sens_format *format; /* the last one is NONE */
    int n_formats;
    double importance;
    int rank;
};

struct sens_table {
    struct sens_row *row;
    int n;
    int *ascending; /* rows by importance, least first; ties in row order */
};

/* Add a row that has NONE alone. Copies name. The row stays valid until the next sens_add. */
struct sens_row *sens_add(struct sens_table *t, const char *name, uint64_t weights);
/* Add a format before the row's NONE. Copies name. */
void sens_add_format(struct sens_row *r, const char *name, double bits, double score);
/* After the last row: importance, rank, ascending. */
void sens_rank(struct sens_table *t);
void sens_free(struct sens_table *t);

/* cost of a row's format i */
double sens_cost(const struct sens_row *r, int i);
/* The format reports show: the first that is not NONE, or NONE where it is alone. */
const struct sens_format *sens_shown(const struct sens_row *r);
/* Rows by falling key, ties in row order: key 'i' importance, 's' the shown format's score. The caller frees. */
int *sens_descending(const struct sens_table *t, char key);

/* The two members of a manifest. */
json_t *sens_layers_json(const struct sens_table *t);
json_t *sens_ranking_json(const struct sens_table *t);
/* Read them back and check that they agree with themselves and each other: equal lengths, finite scores >= 0, costs
 * that are weights * bits / 16, importance = the largest score, ranks and ranking = the order of importance.
 * ERR_FORMAT with `name` (the file) and the group. */
int sens_parse(struct sens_table *t, const json_t *layers, const json_t *ranking, const char *name,
               struct err *e) MUST_CHECK;

#endif
