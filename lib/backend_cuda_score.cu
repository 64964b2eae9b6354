/* The CUDA backend's score reduction: rows over the quantized outputs of several replays, then sequences. */
#include "backend_cuda.h"

template <typename T> struct outputs {
    const T *yq[BE_OUTPUTS];
    double *sum[BE_OUTPUTS];
};

/* A block a row; y and g are read once for all C outputs. */
template <typename T, int V, int C>
static __global__ void k_score(struct outputs<T> q, const T *y, const T *g, int n, int ldy)
{
    __shared__ double shared[ROW_THREADS / 32];
    const size_t row = blockIdx.x;
    double s[C] = {};
    for (int j = (int)threadIdx.x * V; j < n; j += (int)blockDim.x * V) {
        float yq[C][V], b[V], c[V];
        ldv<V>(y + row * ldy + j, b);
        ldv<V>(g + row * n + j, c);
#pragma unroll
        for (int k = 0; k < C; k++)
            ldv<V>(q.yq[k] + row * n + j, yq[k]);
#pragma unroll
        for (int k = 0; k < C; k++)
#pragma unroll
            for (int i = 0; i < V; i++) {
                const double p = (double)c[i] * (double)rnd<T>(yq[k][i] - b[i]);
                s[k] += p * p;
            }
    }
#pragma unroll
    for (int k = 0; k < C; k++) {
        const double all = reduce_row(s[k], shared, add_op());
        if (threadIdx.x == 0)
            q.sum[k][row] += all;
    }
}

template <typename T, int V>
static void score(struct be *be, int C, struct outputs<T> q, const T *y, const T *g, int N, int n, int ldy)
{
    const unsigned grid = (unsigned)N;
    switch (C) {
    case 1: k_score<T, V, 1><<<grid, ROW_THREADS, 0, be->stream>>>(q, y, g, n, ldy); break;
    case 2: k_score<T, V, 2><<<grid, ROW_THREADS, 0, be->stream>>>(q, y, g, n, ldy); break;
    case 3: k_score<T, V, 3><<<grid, ROW_THREADS, 0, be->stream>>>(q, y, g, n, ldy); break;
    case 4: k_score<T, V, 4><<<grid, ROW_THREADS, 0, be->stream>>>(q, y, g, n, ldy); break;
    default: BUG("%d outputs at once", C);
    }
}

void cuda_score_rows(struct be *be, struct be_outputs q, struct be_view y, struct be_view g, int N, int n, int ldy)
{
    if (be->error.code != ERR_NONE || !N)
        return;
    WITH_TYPE(y, T, {
        struct outputs<T> out = {
        };
        const T *py = ptr<T>(y), *pg = ptr<T>(g);
        bool eight = n % 8 == 0 && ldy % 8 == 0 && aligned16(py) && aligned16(pg);
        for (int k = 0; k < q.n; k++) {
            out.yq[k] = ptr<T>(q.yq[k]);
            out.sum[k] = ptr<double>(q.sum[k]);
            eight = eight && aligned16(out.yq[k]);
        }
        if (eight)
            score<T, 8>(be, q.n, out, py, pg, N, n, ldy);
        else
            score<T, 1>(be, q.n, out, py, pg, N, n, ldy);
    });
    CHECK_LAUNCH(be, "score_rows");
}

/* A warp a segment; every lane adds all of it, one after the other, 32 of them read at once. */
static __global__ void k_segment_sum(double *out, size_t out_stride, const double *x, size_t x_stride,
                                     const int32_t *offset)
{
    const int begin = offset[blockIdx.x], end = offset[blockIdx.x + 1], lane = (int)threadIdx.x;
    x += blockIdx.y * x_stride;
    double s = 0;
    for (int r = begin; r < end; r += 32) {
        const double mine = r + lane < end ? x[r + lane] : 0;
        if (r + 32 <= end) {
#pragma unroll
            for (int i = 0; i < 32; i++)
                s += __shfl_sync(0xffffffffu, mine, i);
        } else
            for (int i = 0; i < end - r; i++)
                s += __shfl_sync(0xffffffffu, mine, i);
    }
    if (lane == 0)
        out[blockIdx.y * out_stride + blockIdx.x] = s;
}

void cuda_segment_sum(struct be *be, struct be_view out, size_t out_stride, struct be_view x, size_t x_stride,
                      int count, struct be_view offset, int n)
{
    if (be->error.code != ERR_NONE || !n || !count)
        return;
    k_segment_sum<<<dim3((unsigned)n, (unsigned)count), 32, 0, be->stream>>>(
        ptr<double>(out), out_stride, ptr<double>(x), x_stride, ptr<int32_t>(offset));
    CHECK_LAUNCH(be, "segment_sum");
}
