/* backend_dry - a backend that computes nothing: what a run would ask of another one, without its memory or its time.
 *
 * Its table has the element types and sizes of the other one; ops do nothing, `get` gives zeros, allocations are
 * counted. So scorer_run takes the path that it would take there - blocks, passes, placement -, and a profile around
 * this table (profile_counts) knows the operations and bytes. Data of weights is never read. */
#ifndef BACKEND_DRY_H
#define BACKEND_DRY_H
#include "backend.h"

struct dry_memory {
    size_t now, peak;           /* bytes of backend memory that are allocated, and the most that ever were */
    size_t host_now, host_peak; /* the same of host_alloc */
    size_t limit;               /* of backend memory; where `like` has memory of its own */
};

/* The table that stands for `like`. One at a time; counts go to m, which outlives the handle. */
const struct be_ops *dry_ops(const struct be_ops *like, struct dry_memory *m);

#endif
