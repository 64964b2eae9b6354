/* Linear layers: a plan for every shape, made when it first comes by and kept. The algorithm is the table's where there
 * is an entry that may run, else cuBLASLt's first choice; shapes that the library does not take (odd strides) go to a
 * plain kernel. */
#include "backend_cuda.h"

#include <stdlib.h>

enum { TILE = 16, SPLIT_ROWS = GEMM_MAX_ROWS };

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

/* ---- plans */

struct gemm_plan {
    struct matmul m;
    enum gemm_source source;
    cublasLtMatmulAlgo_t algorithm; /* unless source is GEMM_KERNEL */
};

int cuda_gemm_open(struct be *be, const char *dir, struct err *e)
{
    return dir ? gemm_table_of(&be->table, dir, be->gpu, (int64_t)cublasLtGetVersion(), e) : 0;
}

void cuda_gemm_close(struct be *be)
{
    for (size_t i = 0; i < be->n_plans; i++)
        matmul_close(&be->plan[i].m);
    free(be->plan);
    gemm_table_free(&be->table);
}

static void take_first_choice(struct be *be, struct gemm_plan *p)
{
    p->source = matmul_candidates(be->blas, &p->m, &p->algorithm, 1) ? GEMM_HEURISTIC : GEMM_KERNEL;
}

static void choose(struct be *be, struct gemm_plan *p)
{
    const struct gemm_entry *n = gemm_table_find(&be->table, &p->m.shape);
    if (n) {
        memcpy(&p->algorithm, n->algorithm, sizeof p->algorithm);
        p->source = GEMM_TABLE;
        if (matmul_allows(be->blas, &p->m, &p->algorithm))
            return;
    }
    take_first_choice(be, p);
}

static bool is_plan(const struct gemm_plan *p, const struct gemm_shape *s, const int alignment[3])
{
    return !gemm_shape_order(&p->m.shape, s) && !memcmp(p->m.alignment, alignment, sizeof p->m.alignment);
}

static struct gemm_plan *find_plan(struct be *be, const struct gemm_shape *s, const int alignment[3])
{
    for (size_t i = 0; i < be->n_plans; i++) { /* shapes come by in a cycle: from the last one on */
        const size_t k = (be->last_plan + i) % be->n_plans;
        if (is_plan(&be->plan[k], s, alignment)) {
            be->last_plan = k;
            return &be->plan[k];
        }
    }
    be->plan = (struct gemm_plan *)xgrow(be->plan, &be->plans_cap, be->n_plans + 1, sizeof *be->plan);
    be->last_plan = be->n_plans++;
    struct gemm_plan *p = &be->plan[be->last_plan];
    *p = gemm_plan();
    if (matmul_open(&p->m, s, alignment))
        choose(be, p);
    else
        p->source = GEMM_KERNEL;
    return p;
}

char *cuda_gemm_used(struct be *be)
{
    struct gemm_used *used = (struct gemm_used *)xcalloc(be->n_plans, sizeof *used);
    for (size_t i = 0; i < be->n_plans; i++) {
        const struct gemm_plan *p = &be->plan[i];
        used[i].shape = p->m.shape;
        memcpy(used[i].alignment, p->m.alignment, sizeof used[i].alignment);
        used[i].source = p->source;
        memcpy(used[i].algorithm, &p->algorithm, sizeof p->algorithm);
    }
    char *text =
        gemm_used_text(be->gpu, (int64_t)cublasLtGetVersion(), be->table.gpu ? &be->table : NULL, used, be->n_plans);
    free(used);
    return text;
}

/* ---- products */

static void multiply(struct be *be, struct be_view y, struct be_view x, struct be_view w, const struct gemm_shape *s)
{
    const int K = s->backward ? s->out : s->in, O = s->backward ? s->in : s->out;
    char *py = ptr<char>(y), *px = ptr<char>(x), *pw = ptr<char>(w);
    const int alignment[3] = {matmul_alignment(pw, s->in, x.dtype), matmul_alignment(px, K, x.dtype),
                              matmul_alignment(py, s->stride, y.dtype)};
    struct gemm_plan *p = find_plan(be, s, alignment);
    while (p->source != GEMM_KERNEL) {
        if (matmul_run(be->blas, &p->m, &p->algorithm, py, px, pw, be->workspace, be->stream))
            return;
        if (p->source == GEMM_TABLE)
            take_first_choice(be, p);
        else
            p->source = GEMM_KERNEL;
    }
    const dim3 grid((unsigned)((O + TILE - 1) / TILE), (unsigned)((s->rows + TILE - 1) / TILE)), block(TILE, TILE);
    WITH_TYPE(x, X,
              WITH_TYPE(y, Y,
                        (k_gemm<<<grid, block, 0, be->stream>>>(ptr<Y>(y), ptr<X>(x), ptr<X>(w), s->rows, K, O,
                                                                s->stride, !s->backward, s->accumulate))));
    CHECK_LAUNCH(be, "gemm");
}

/* The product over s->rows rows, in pieces of SPLIT_ROWS. */
static void split(struct be *be, struct be_view y, struct be_view x, struct be_view w, struct gemm_shape s)
{
    const int N = s.rows;
    const size_t K = (size_t)(s.backward ? s.out : s.in);
    for (int r0 = 0; r0 < N && be->error.code == ERR_NONE; r0 += SPLIT_ROWS) {
        s.rows = N - r0 < SPLIT_ROWS ? N - r0 : SPLIT_ROWS;
        multiply(be, be_at(y, (size_t)r0 * (size_t)s.stride), be_at(x, (size_t)r0 * K), w, &s);
    }
}

void cuda_linear(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int I, int O, int ldy,
                 bool)
{
    split(be, y, x, w, {N, I, O, ldy, false, false, x.dtype, y.dtype});
}

void cuda_linear_dx(struct be *be, struct be_view dx, struct be_view dy, struct be_view w, int N, int I, int O,
                    bool accumulate)
{
    split(be, dx, dy, w, {N, I, O, I, true, accumulate, dy.dtype, dx.dtype});
}
