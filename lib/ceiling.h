/* ceiling - how fast a backend's device is at most, measured through the backend's own table: what the speed of a run
 * is compared with.
 *
 * Work is cut to the device: arrays and matrices grow until a call takes 1/20 s or they are as large as a large model's
 * (copies of 256 MiB; 8,192 rows through a layer of 2,560 x 9,728), so that a CPU is done in a second and a GPU needs
 * 1 GiB at most. Each figure is the median of five repetitions after a warm-up. */
#ifndef CEILING_H
#define CEILING_H
#include "backend.h"

struct ceiling {
    double copy_bytes; /* a second, read and written: convert of n fp32 elements moves 8 n bytes */
    double gemm_flops; /* a second: linear and linear_dx, 4 N I O together */
    double load_bytes; /* a second, of host memory: load of weights as a checkpoint has them, BF16 or (fp32) F32 */
};

/* Measure on an open handle, in the element types of the mode bf16 or fp32. */
int ceiling_measure(struct ceiling *c, const struct be_ops *ops, struct be *be, bool bf16, struct err *e) MUST_CHECK;

#endif
