/* gpu - what a benchmark asks of the GPU besides the ops. All are NULL in a build without CUDA. */
#ifndef BENCH_GPU_H
#define BENCH_GPU_H
#include "err.h"

#define OF_CUDA __attribute__((weak))

/* Name, size, driver and libraries of device 0, and its clocks now, to standard output. */
OF_CUDA int gpu_print(struct err *e);
/* Bytes a second, read and written, of the driver's copy within the device: 1 GiB, the best of ten. */
OF_CUDA int gpu_copy_rate(double *rate, struct err *e);

#endif
