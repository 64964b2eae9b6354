/* backend_cuda_matmul - one product of a linear layer as cuBLASLt sees it: its description, the algorithms that may
 * compute it, and the call. Shared by the backend and the benchmark that fills the tables of algorithms.
 *
 * An algorithm may run if it sums every element in one sequence (no split sums: results must not depend on the day),
 * needs at most GEMM_WORKSPACE and takes the operands' alignment. fp32 accumulation, no TF32. */
#ifndef BACKEND_CUDA_MATMUL_H
#define BACKEND_CUDA_MATMUL_H
#include <cublasLt.h>
#include <cuda_runtime.h>

extern "C" {
#include "gemm_table.h"
}

enum { GEMM_WORKSPACE = 32 << 20 };

/* Row-major y = x w^T is column-major y^T = w x^T: a is the weight, b the input, c the output. */
struct matmul {
    struct gemm_shape shape;
    int alignment[3]; /* bytes of a, b, c */
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t a, b, c;
};

/* The alignment of a matrix, at most 16: of its first element and of its rows. */
int matmul_alignment(const void *p, int row, enum dtype t);
/* Describe a product; false where the library does not take it. matmul_close frees either way. */
bool matmul_open(struct matmul *m, const struct gemm_shape *s, const int alignment[3]);
void matmul_close(struct matmul *m);

/* The library's choices that may run, its first first; returns how many, at most `max` of them. */
int matmul_candidates(cublasLtHandle_t blas, const struct matmul *m, cublasLtMatmulAlgo_t *algorithm, int max);
/* Whether this algorithm, of whatever origin, may run here. */
bool matmul_allows(cublasLtHandle_t blas, const struct matmul *m, const cublasLtMatmulAlgo_t *algorithm);
/* Compute it; false where the library refuses. workspace holds GEMM_WORKSPACE. */
bool matmul_run(cublasLtHandle_t blas, const struct matmul *m, const cublasLtMatmulAlgo_t *algorithm, void *y,
                const void *x, const void *w, void *workspace, cudaStream_t stream);

#endif
