/* Products by cuBLASLt (backend_cuda_matmul.h). */
#include "backend_cuda_matmul.h"

#include <stdint.h>

static_assert(sizeof(cublasLtMatmulAlgo_t) == GEMM_ALGORITHM, "tables hold whole algorithms");

enum { MAX_CANDIDATES = 64 };

int matmul_alignment(const void *p, int row, enum dtype t)
{
    int a = 16;
    while (a > 1 && (((uintptr_t)p | (size_t)row * dtype_size(t)) & (size_t)(a - 1)))
        a /= 2;
    return a;
}

static cudaDataType_t type_of(enum dtype t)
{
    return t == DT_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

static bool good(cublasStatus_t rc)
{
    return rc == CUBLAS_STATUS_SUCCESS;
}

bool matmul_open(struct matmul *m, const struct gemm_shape *s, const int alignment[3])
{
    const cublasOperation_t op_a = s->backward ? CUBLAS_OP_N : CUBLAS_OP_T;
    const uint64_t in = (uint64_t)s->in, out = (uint64_t)s->out, rows = (uint64_t)s->rows;
    const uint64_t inner = s->backward ? out : in, outer = s->backward ? in : out;
    *m = matmul();
    m->shape = *s;
    for (int i = 0; i < 3; i++)
        m->alignment[i] = alignment[i];
    return good(cublasLtMatmulDescCreate(&m->op, CUBLAS_COMPUTE_32F, CUDA_R_32F)) &&
           good(cublasLtMatmulDescSetAttribute(m->op, CUBLASLT_MATMUL_DESC_TRANSA, &op_a, sizeof op_a)) &&
           good(cublasLtMatrixLayoutCreate(&m->a, type_of(s->input), in, out, s->in)) &&
           good(cublasLtMatrixLayoutCreate(&m->b, type_of(s->input), inner, rows, (int64_t)inner)) &&
           good(cublasLtMatrixLayoutCreate(&m->c, type_of(s->output), outer, rows, s->stride));
}

void matmul_close(struct matmul *m)
{
    if (m->a)
        cublasLtMatrixLayoutDestroy(m->a);
    if (m->b)
        cublasLtMatrixLayoutDestroy(m->b);
    if (m->c)
        cublasLtMatrixLayoutDestroy(m->c);
    if (m->op)
        cublasLtMatmulDescDestroy(m->op);
    *m = matmul();
}

/* ---- which algorithms */

static bool sums_in_one_sequence(const cublasLtMatmulAlgo_t *algorithm)
{
    int32_t split = 0;
    uint32_t reduction = 0;
    size_t n;
    return good(cublasLtMatmulAlgoConfigGetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &split, sizeof split,
                                                     &n)) &&
           good(cublasLtMatmulAlgoConfigGetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &reduction,
                                                     sizeof reduction, &n)) &&
           (split == 0 || split == 1) && reduction == CUBLASLT_REDUCTION_SCHEME_NONE;
}

static bool takes_alignment(const cublasLtMatmulAlgo_t *algorithm, const int alignment[3])
{
    static const cublasLtMatmulAlgoCapAttributes_t needs[] = {
        CUBLASLT_ALGO_CAP_MIN_ALIGNMENT_A_BYTES, CUBLASLT_ALGO_CAP_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_ALGO_CAP_MIN_ALIGNMENT_C_BYTES, CUBLASLT_ALGO_CAP_MIN_ALIGNMENT_D_BYTES};
    const int has[] = {alignment[0], alignment[1], alignment[2], alignment[2]};
    for (int i = 0; i < 4; i++) {
        uint32_t need = 0;
        size_t n;
        if (!good(cublasLtMatmulAlgoCapGetAttribute(algorithm, needs[i], &need, sizeof need, &n)) ||
            need > (uint32_t)has[i])
            return false;
    }
    return true;
}

bool matmul_allows(cublasLtHandle_t blas, const struct matmul *m, const cublasLtMatmulAlgo_t *algorithm)
{
    cublasLtMatmulHeuristicResult_t found = {};
    return good(cublasLtMatmulAlgoCheck(blas, m->op, m->a, m->b, m->c, m->c, algorithm, &found)) &&
           found.workspaceSize <= GEMM_WORKSPACE && sums_in_one_sequence(algorithm) &&
           takes_alignment(algorithm, m->alignment);
}

static bool prefer(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t what, const void *v, size_t nb)
{
    return good(cublasLtMatmulPreferenceSetAttribute(p, what, v, nb));
}

static bool set_preferences(cublasLtMatmulPreference_t p, const int alignment[3])
{
    const size_t workspace = GEMM_WORKSPACE;
    const uint32_t none = CUBLASLT_REDUCTION_SCHEME_NONE, a = (uint32_t)alignment[0], b = (uint32_t)alignment[1],
                   c = (uint32_t)alignment[2];
    return prefer(p, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace) &&
           prefer(p, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &none, sizeof none) &&
           prefer(p, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &a, sizeof a) &&
           prefer(p, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &b, sizeof b) &&
           prefer(p, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &c, sizeof c) &&
           prefer(p, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &c, sizeof c);
}

int matmul_candidates(cublasLtHandle_t blas, const struct matmul *m, cublasLtMatmulAlgo_t *algorithm, int max)
{
    cublasLtMatmulHeuristicResult_t found[MAX_CANDIDATES];
    cublasLtMatmulPreference_t p = NULL;
    int n = 0, kept = 0;
    if (!good(cublasLtMatmulPreferenceCreate(&p)) || !set_preferences(p, m->alignment) ||
        !good(cublasLtMatmulAlgoGetHeuristic(blas, m->op, m->a, m->b, m->c, m->c, p,
                                             max < MAX_CANDIDATES ? max : MAX_CANDIDATES, found, &n)))
        n = 0;
    for (int i = 0; i < n; i++)
        if (good(found[i].state))
            algorithm[kept++] = found[i].algo;
    if (p)
        cublasLtMatmulPreferenceDestroy(p);
    return kept;
}

bool matmul_run(cublasLtHandle_t blas, const struct matmul *m, const cublasLtMatmulAlgo_t *algorithm, void *y,
                const void *x, const void *w, void *workspace, cudaStream_t stream)
{
    const float one = 1, beta = m->shape.accumulate ? 1 : 0;
    return good(cublasLtMatmul(blas, m->op, &one, w, m->a, x, m->b, &beta, y, m->c, y, m->c, algorithm, workspace,
                               GEMM_WORKSPACE, stream));
}
