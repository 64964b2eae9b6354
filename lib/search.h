/* search - the exact multiple-choice knapsack: one format per group, least total score within a cost limit.
 *
 * Integer costs, Pareto lists with LP bounds (no table over the costs, which would explode with real byte counts).
 * ModelOpt's rules around it (effective bits, budget adjustment, monotonic clamp) are separate functions. */
#ifndef SEARCH_H
#define SEARCH_H
#include <stdint.h>

#include "err.h"

struct search_choice {
    int64_t cost; /* >= 0, any integer unit (weights x bits) */
    double score; /* finite, >= 0 */
};

struct search_group {
    int n;                        /* choices, at least 1 */
    const struct search_choice *choice;
};

struct search_result {
    int *pick;         /* choice of each group; the caller frees */
    int64_t cost;      /* of the picks */
    double score;      /* sum of the picks' scores, added in group order */
    double bound;      /* LP lower bound at this limit: bound <= optimum */
    int satisfied;     /* 0: no combination fits; pick then holds the cheapest one */
};

/* Least sum of scores with sum of costs <= limit. Ties: the cheaper combination, then the earlier choice in the menu.
 * Scores are compared as exact sums (to 2^-124 of the largest total), so ties do not depend on rounding.
 * ERR_CONFIG on negative, non-finite or empty input; ERR_LIMIT where costs or scores overflow, or where more than
 * 2^24 partial solutions are equally good (scores that all but follow from the costs). */
int search_solve(const struct search_group *group, int n_groups, int64_t limit, struct search_result *r,
                 struct err *e) MUST_CHECK;

/* ModelOpt's monotonic fix, in the order of ascending bits: a format's score is lowered to the least raw score among
 * formats with strictly fewer bits. bits[n] ascending; score[n] is changed in place. */
void search_clamp(int n, const int *bits, double *score);

/* The runner's adjustment when `disabled` of `total` weights cannot be quantized:
 * min(16, (disabled*16 + (total-disabled)*bits)/total + 1e-3); bits unchanged where disabled is 0. */
double search_adjusted_bits(double bits, double total, double disabled);

#endif
