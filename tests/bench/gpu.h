/* gpu - what a benchmark asks of the GPU besides the ops. All are NULL in a build without CUDA. */
#ifndef BENCH_GPU_H
#define BENCH_GPU_H
#include "gemm_table.h"

#define OF_CUDA __attribute__((weak))

/* Name, size, driver and libraries of device 0, and its clocks now, to standard output. */
OF_CUDA int gpu_print(struct err *e);
/* Bytes a second, read and written, of the driver's copy within the device: 1 GiB, the best of ten. */
OF_CUDA int gpu_copy_rate(double *rate, struct err *e);

/* A product by every algorithm that the library offers and the backend allows (backend_cuda_matmul.h): one warm-up,
 * then the median of five runs of a third of a millisecond or more each, over operands that are not in the cache. */
struct gpu_gemm {
    int candidates;                          /* timed */
    double first, best;                      /* operations a second of the library's first choice, and of the fastest */
    double differ;                           /* share of the result's elements that these two round differently */
    unsigned char algorithm[GEMM_ALGORITHM]; /* the fastest; the first choice where none is 2 % faster */
};
struct gpu_bench; /* a handle with operands */
OF_CUDA struct gpu_bench *gpu_bench_open(struct err *e);
OF_CUDA void gpu_bench_close(struct gpu_bench *b);
/* skip >= 0: algorithms of another number (CUBLASLT_ALGO_CONFIG_ID) only, every tile and number of stages of theirs
 * tried in turn; the first that works is the first choice. */
OF_CUDA int gpu_gemm(struct gpu_bench *b, const struct gemm_shape *s, int skip, struct gpu_gemm *g, struct err *e);
/* Name of device 0 and version of the library, as tables hold them. */
OF_CUDA int gpu_name(char name[256], int64_t *cublaslt, struct err *e);

#endif
