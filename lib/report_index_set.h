/* report_index_set - inside of report_index: the cells, and what comparing a set of them gives. */
#ifndef REPORT_INDEX_SET_H
#define REPORT_INDEX_SET_H
#include <stddef.h>

#include "manifest_name.h"
#include "report_view.h"

struct index_cell {
    struct manifest m;
    struct manifest_name name;
    struct report_view view;
    char *source, *directory; /* as it was given; relative to the index, or NULL */
    char *label;              /* pair, or pair/granularity */
    char groups_sha256[65];   /* of the names and weights of the ranked groups */
};

/* A group in the cells of a set, n values each. */
struct index_row {
    const char *name, *label;
    uint64_t weights;
    double max_share;
    const struct report_group **in; /* [n] */
    int highest, lowest;            /* the cells where it ranks as most and as least sensitive */
};

struct index_set {
    const struct index_cell *const *cell;
    int n;
    struct index_row *row; /* by falling max_share, ties in model order */
    int n_rows;
    double *spearman; /* [n, n]; NaN where all scores of a cell are equal */
    int *disagree;    /* rows by falling difference of ranks, ties in the order of rows */
};

struct report_index {
    struct index_cell **cell; /* in order once report_index_finish has run */
    size_t n, cap;
    struct index_set *set;
    int n_sets;
};

/* What differs within a set comes last: 0 where a and b are of one set. */
int index_compare_sets(const struct index_cell *a, const struct index_cell *b);
/* Total order of cells; 0 where they are the same cell. */
int index_compare_cells(const struct index_cell *a, const struct index_cell *b);
/* Compare n cells of one set. index_set_free frees. */
void index_set_init(struct index_set *s, const struct index_cell *const *cell, int n);
void index_set_free(struct index_set *s);
/* rank(highest) - rank(lowest), at least 0 */
int index_spread(const struct index_row *r);
/* How many of `disagree` are worth showing: ten, or those that differ at all. */
int index_disagreements(const struct index_set *s);
const char *index_backend(const struct index_cell *c);

#endif
