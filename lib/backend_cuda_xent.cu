/* The CUDA backend's cross-entropy: rows of logits read once, in chunks of one length, whose sums are added in order.
 */
#include "backend_cuda.h"

struct larger { /* a NaN shows in the sum */
    __device__ float operator()(float a, float b) const
    {
        return fmaxf(a, b);
    }
};

/* ---- loss */

enum { CHUNK_THREADS = 256, CHUNK = CHUNK_THREADS * HELD * 8, XENT_THREADS = 512 };

/* part[row][chunk] = largest logit m, sum of exp(z - m) */
template <typename T> static __global__ void __launch_bounds__(CHUNK_THREADS)
    k_xent_chunks(float2 *part, const T *z, int V)
{
    __shared__ float shared[CHUNK_THREADS / 32], shared2[CHUNK_THREADS / 32];
    const int begin = (int)blockIdx.x * CHUNK, len = min(V - begin, (int)CHUNK);
    raw8<T> r[HELD];
    hold_row(r, z + (size_t)blockIdx.y * V + begin, len);
    float m = -INFINITY, s = 0;
#pragma unroll
    for (int i = 0; i < HELD; i++)
        if (held_at(i) < len) {
            float v[8];
            ldv<8>(r[i].elements(), v);
#pragma unroll
            for (int k = 0; k < 8; k++)
                m = fmaxf(m, v[k]);
        }
    m = reduce_row(m, shared, larger());
    const float top = m == -INFINITY ? 0 : m; /* a chunk of -inf adds nothing */
#pragma unroll
    for (int i = 0; i < HELD; i++)
        if (held_at(i) < len) {
            float v[8];
            ldv<8>(r[i].elements(), v);
#pragma unroll
            for (int k = 0; k < 8; k++)
                s += exp_approximate(v[k] - top);
        }
    s = reduce_row(s, shared2, add_op());
    if (threadIdx.x == 0)
        part[(size_t)blockIdx.y * gridDim.x + blockIdx.x] = make_float2(m, s);
}

template <typename T> static __device__ inline void put_loss(float *stat, float *loss, const T *z,
                                                             const int32_t *target, size_t row, int V, float m, float s)
{
    const float log_sum = logf(s);
    stat[2 * row] = m;
    stat[2 * row + 1] = log_sum;
    loss[row] = -rnd<T>(ld(z + row * V + target[row]) - m - log_sum);
}

/* A warp a row adds its chunks up. */
template <typename T> static __global__ void k_xent_rows(float *stat, float *loss, const float2 *part, int chunks,
                                                         const T *z, const int32_t *target, int N, int V)
{
    const int row = (int)(blockIdx.x * blockDim.y + threadIdx.y);
    if (row >= N)
        return;
    part += (size_t)row * chunks;
    float m = -INFINITY, s = 0;
    for (int i = (int)threadIdx.x; i < chunks; i += 32)
        m = fmaxf(m, part[i].x);
    m = reduce_row(m, (float *)NULL, larger());
    for (int i = (int)threadIdx.x; i < chunks; i += 32)
        s += part[i].y * exp_approximate(part[i].x - m);
    s = reduce_row(s, (float *)NULL, add_op());
    if (threadIdx.x == 0)
        put_loss(stat, loss, z, target, row, V, m, s);
}

/* Any V, one element at a time: a block a row. */
template <typename T>
static __global__ void k_xent_any(float *stat, float *loss, const T *z, const int32_t *target, int V)
{
    __shared__ float shared[XENT_THREADS / 32], shared2[XENT_THREADS / 32];
    const T *row = z + (size_t)blockIdx.x * V;
    float m = -INFINITY, s = 0;
    for (int j = (int)threadIdx.x; j < V; j += (int)blockDim.x)
        m = fmaxf(m, ld(row + j));
    m = reduce_row(m, shared, larger());
    for (int j = (int)threadIdx.x; j < V; j += (int)blockDim.x)
        s += exp_approximate(ld(row + j) - m);
    s = reduce_row(s, shared2, add_op());
    if (threadIdx.x == 0)
        put_loss(stat, loss, z, target, blockIdx.x, V, m, s);
}

void cuda_xent(struct be *be, struct be_view stat, struct be_view loss, struct be_view z, struct be_view target, int N,
               int V)
{
    if (be->error.code != ERR_NONE || !N)
        return;
    float *pstat = ptr<float>(stat), *ploss = ptr<float>(loss);
    const int32_t *t = ptr<int32_t>(target);
    const bool vectors = V % 8 == 0 && N <= 65535 && aligned16(ptr<char>(z));
    const int chunks = (V + CHUNK - 1) / CHUNK;
    float2 *part = vectors ? (float2 *)cuda_scratch(be, (size_t)N * (size_t)chunks * sizeof *part) : NULL;
    if (be->error.code != ERR_NONE)
        return;
    WITH_TYPE(z, T, {
        const T *pz = ptr<T>(z);
        if (vectors) {
            const dim3 grid((unsigned)chunks, (unsigned)N), warps(32, WARP_ROWS);
            k_xent_chunks<<<grid, CHUNK_THREADS, 0, be->stream>>>(part, pz, V);
            k_xent_rows<<<(unsigned)((N + WARP_ROWS - 1) / WARP_ROWS), warps, 0, be->stream>>>(pstat, ploss, part,
                                                                                               chunks, pz, t, N, V);
        } else
            k_xent_any<<<(unsigned)N, XENT_THREADS, 0, be->stream>>>(pstat, ploss, pz, t, V);
    });
    CHECK_LAUNCH(be, "xent");
}

/* ---- backward: E elements a thread at once */

enum { BWD_THREADS = 256, BWD_VECTORS = 2 };

template <typename T, int E> static __global__ void __launch_bounds__(BWD_THREADS)
    k_xent_bwd(T *dz, const T *z, const float *stat, const int32_t *target, const float *s, int V, int c0, int n)
{
    const size_t row = blockIdx.y;
    const float m = stat[2 * row], log_sum = stat[2 * row + 1], scale = s[row];
    const int hit = target[row] - c0, first = (int)(blockIdx.x * (BWD_THREADS * BWD_VECTORS) + threadIdx.x) * E;
    float v[BWD_VECTORS][E];
#pragma unroll
    for (int i = 0; i < BWD_VECTORS; i++)
        if (first + i * BWD_THREADS * E < n)
            ldv<E>(z + row * V + c0 + first + i * BWD_THREADS * E, v[i]);
#pragma unroll
    for (int i = 0; i < BWD_VECTORS; i++) {
        const int j = first + i * BWD_THREADS * E;
        if (j >= n)
            return;
#pragma unroll
        for (int k = 0; k < E; k++)
            v[i][k] = scale * exp_approximate(rnd<T>(v[i][k] - m - log_sum));
        if (hit - j >= 0 && hit - j < E) {
#pragma unroll
            for (int k = 0; k < E; k++)
                v[i][k] -= j + k == hit ? scale : 0.0f;
        }
        stv<E>(dz + row * n + j, v[i]);
    }
}

void cuda_xent_bwd(struct be *be, struct be_view dz, struct be_view z, struct be_view stat, struct be_view target,
                   struct be_view s, int N, int V, int c0, int n)
{
    if (be->error.code != ERR_NONE || !N)
        return;
    WITH_TYPE(dz, T, {
        const T *pz = ptr<T>(z);
        const bool eight = (V | c0 | n) % 8 == 0 && aligned16(pz) && aligned16(ptr<T>(dz));
        const int step = BWD_THREADS * (int)BWD_VECTORS * (eight ? 8 : 1);
        const dim3 grid((unsigned)((n + step - 1) / step), (unsigned)N);
        if (eight)
            k_xent_bwd<T, 8><<<grid, BWD_THREADS, 0, be->stream>>>(ptr<T>(dz), pz, ptr<float>(stat),
                                                                   ptr<int32_t>(target), ptr<float>(s), V, c0, n);
        else
            k_xent_bwd<T, 1><<<grid, BWD_THREADS, 0, be->stream>>>(ptr<T>(dz), pz, ptr<float>(stat),
                                                                   ptr<int32_t>(target), ptr<float>(s), V, c0, n);
    });
    CHECK_LAUNCH(be, "xent_bwd");
}
