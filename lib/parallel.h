/* parallel - one pool of threads for loops whose parts are independent.
 *
 * Results never depend on the number of threads: callers cut work at fixed sizes, not by thread. */
#ifndef PARALLEL_H
#define PARALLEL_H
#include <stddef.h>

/* Threads to use from now on; 0 = as many as this process may run on. Call before the first parallel_for. */
void parallel_init(int n_threads);
int parallel_threads(void);

/* Call fn(arg, begin, end, thread) over [0, n) in pieces of `grain` (the last may be shorter), in any order, on all
 * threads, the caller's included; returns when all are done. thread is in 0..parallel_threads()-1. A call from inside
 * fn runs serially. */
typedef void parallel_fn(void *arg, size_t begin, size_t end, int thread);
void parallel_for(size_t n, size_t grain, parallel_fn *fn, void *arg);

#endif
