/* Matrix products by cuBLASLt, fp32 accumulation, no split sums (results must not depend on the day); shapes that it
 * cannot take (odd strides) go to a plain kernel. Row-major y = x w^T is column-major y^T = w x^T. */
#include "backend_cuda.h"

enum { TILE = 16, SPLIT_ROWS = 8192 };

/* y [N, O] = sum over k of x [N, k] w: w at [o, k] (by_row) or [k, o]; beta keeps what is in y. */
template <typename X, typename Y>
static __global__ void k_gemm(Y *y, const X *x, const X *w, int N, int K, int O, int ldy, bool by_row, bool accumulate)
{
    __shared__ float xs[TILE][TILE + 1], ws[TILE][TILE + 1];
    const int n = (int)(blockIdx.y * TILE + threadIdx.y), o = (int)(blockIdx.x * TILE + threadIdx.x);
    const int wo = (int)(blockIdx.x * TILE + threadIdx.y);
    float s = accumulate && n < N && o < O ? ld(y + (size_t)n * ldy + o) : 0;
    for (int k0 = 0; k0 < K; k0 += TILE) {
        const int kx = k0 + (int)threadIdx.x, ky = k0 + (int)threadIdx.y;
        xs[threadIdx.y][threadIdx.x] = n < N && kx < K ? ld(x + (size_t)n * K + kx) : 0;
        if (by_row)
            ws[threadIdx.x][threadIdx.y] = wo < O && kx < K ? ld(w + (size_t)wo * K + kx) : 0;
        else
            ws[threadIdx.y][threadIdx.x] = o < O && ky < K ? ld(w + (size_t)ky * O + o) : 0;
        __syncthreads();
        for (int k = 0; k < TILE; k++)
            s += xs[threadIdx.y][k] * ws[k][threadIdx.x];
        __syncthreads();
    }
    if (n < N && o < O)
        st(y + (size_t)n * ldy + o, s);
}

static cudaDataType_t cuda_type(enum dtype t)
{
    return t == DT_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

static unsigned alignment(const void *p, size_t row_bytes)
{
    unsigned a = 16;
    while (a > 1 && (((uintptr_t)p | row_bytes) & (a - 1)))
        a /= 2;
    return a;
}

struct product {
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t a, b, c;
};

static void describe(struct product *p, int N, int K, int O, int ldy, bool by_row, enum dtype x, enum dtype y)
{
    const cublasOperation_t ta = by_row ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasLtMatmulDescCreate(&p->op, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    cublasLtMatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_TRANSA, &ta, sizeof ta);
    if (by_row)
        cublasLtMatrixLayoutCreate(&p->a, cuda_type(x), (uint64_t)K, (uint64_t)O, K);
    else
        cublasLtMatrixLayoutCreate(&p->a, cuda_type(x), (uint64_t)O, (uint64_t)K, O);
    cublasLtMatrixLayoutCreate(&p->b, cuda_type(x), (uint64_t)K, (uint64_t)N, K);
    cublasLtMatrixLayoutCreate(&p->c, cuda_type(y), (uint64_t)O, (uint64_t)N, ldy);
}

static void forget(struct product *p)
{
    cublasLtMatrixLayoutDestroy(p->a);
    cublasLtMatrixLayoutDestroy(p->b);
    cublasLtMatrixLayoutDestroy(p->c);
    cublasLtMatmulDescDestroy(p->op);
}

/* The library's first choice for a shape, without split sums; the same on every run of one library on one GPU. */
static void choose(struct be *be, struct gemm_plan *plan, const struct product *p, const unsigned align[3])
{
    cublasLtMatmulPreference_t pref;
    const size_t workspace = GEMM_WORKSPACE;
    const uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_NONE, aa = align[0], ab = align[1], ac = align[2];
    cublasLtMatmulPreferenceCreate(&pref);
    cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace);
    cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reduction,
                                         sizeof reduction);
    cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &aa, sizeof aa);
    cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &ab, sizeof ab);
    cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &ac, sizeof ac);
    cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &ac, sizeof ac);
    cublasLtMatmulHeuristicResult_t found;
    int n = 0;
    const cublasStatus_t rc =
        cublasLtMatmulAlgoGetHeuristic(be->blas, p->op, p->a, p->b, p->c, p->c, pref, 1, &found, &n);
    plan->usable = rc == CUBLAS_STATUS_SUCCESS && n > 0 && found.state == CUBLAS_STATUS_SUCCESS;
    if (plan->usable)
        plan->algo = found.algo;
    cublasLtMatmulPreferenceDestroy(pref);
}

static struct gemm_plan *find_plan(struct be *be, const struct product *p, int N, int K, int O, int ldy, unsigned key,
                                   const unsigned align[3])
{
    for (int i = 0; i < be->n_plans; i++) {
        struct gemm_plan *q = &be->plan[i];
        if (q->N == N && q->I == K && q->O == O && q->ld == ldy && q->key == key)
            return q;
    }
    struct gemm_plan *q = &be->plan[be->n_plans < MAX_GEMM_SHAPES ? be->n_plans++ : MAX_GEMM_SHAPES - 1];
    *q = gemm_plan();
    q->N = N, q->I = K, q->O = O, q->ld = ldy, q->key = key;
    choose(be, q, p, align);
    return q;
}

static void multiply(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int K, int O, int ldy,
                     bool by_row, bool accumulate)
{
    const size_t xs = dtype_size(x.dtype), ys = dtype_size(y.dtype);
    const unsigned align[3] = {alignment(ptr<char>(w), (size_t)(by_row ? K : O) * xs),
                               alignment(ptr<char>(x), (size_t)K * xs), alignment(ptr<char>(y), (size_t)ldy * ys)};
    struct product p;
    describe(&p, N, K, O, ldy, by_row, x.dtype, y.dtype);
    const unsigned key = (unsigned)by_row | (unsigned)accumulate << 1 | (unsigned)(x.dtype == DT_BF16) << 2 |
                         (unsigned)(y.dtype == DT_BF16) << 3 | align[0] << 4 | align[1] << 9 | align[2] << 14;
    struct gemm_plan *plan = find_plan(be, &p, N, K, O, ldy, key, align);
    const float one = 1, beta = accumulate ? 1 : 0;
    if (!plan->usable || cublasLtMatmul(be->blas, p.op, &one, ptr<char>(w), p.a, ptr<char>(x), p.b, &beta, ptr<char>(y),
                                        p.c, ptr<char>(y), p.c, &plan->algo, be->workspace, GEMM_WORKSPACE,
                                        be->stream) != CUBLAS_STATUS_SUCCESS) {
        plan->usable = false;
        const dim3 grid((unsigned)((O + TILE - 1) / TILE), (unsigned)((N + TILE - 1) / TILE)), block(TILE, TILE);
        WITH_TYPE(x, X,
                  WITH_TYPE(y, Y,
                            (k_gemm<<<grid, block, 0, be->stream>>>(ptr<Y>(y), ptr<X>(x), ptr<X>(w), N, K, O, ldy,
                                                                    by_row, accumulate))));
        CHECK_LAUNCH(be, "gemm");
    }
    forget(&p);
}

static void split(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int K, int O, int ldy,
                  bool by_row, bool accumulate)
{
    for (int r0 = 0; r0 < N && be->error.code == ERR_NONE; r0 += SPLIT_ROWS)
        multiply(be, be_at(y, (size_t)r0 * (size_t)ldy), be_at(x, (size_t)r0 * (size_t)K), w,
                 N - r0 < SPLIT_ROWS ? N - r0 : SPLIT_ROWS, K, O, ldy, by_row, accumulate);
}

void cuda_linear(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int I, int O, int ldy,
                 bool)
{
    split(be, y, x, w, N, I, O, ldy, true, false);
}

void cuda_linear_dx(struct be *be, struct be_view dx, struct be_view dy, struct be_view w, int N, int I, int O,
                    bool accumulate)
{
    split(be, dx, dy, w, N, O, I, I, false, accumulate);
}
