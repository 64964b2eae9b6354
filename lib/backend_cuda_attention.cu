/* The CUDA backend's attention over packed sequences: tiles of 64 queries and 64 keys, products on tensor cores (wmma,
 * so any GPU from sm_80 on), never a T x T matrix. fp32 views, and head dimensions that are no multiple of 16, take
 * plain kernels, one warp a row. */
#include "backend_cuda.h"

#include <mma.h>

using namespace nvcuda;

enum { BQ = 64, BK = 64, WARPS = 4, THREADS = 32 * WARPS, PAD = 8, MAX_E = 256 };

struct heads {
    int H, K, E;
};

/* The sequence and tile of a block: sequences are walked through a table of tiles, built per call (tile_table). */
struct tile {
    int first, T; /* first real row and real rows of the sequence */
    int begin;    /* first row of the tile within it */
};

static __global__ void k_tiles(struct tile *tiles, int *n_tiles, const int32_t *offset, const uint8_t *sentinel, int n,
                               int step)
{
    if (threadIdx.x || blockIdx.x)
        return;
    int k = 0;
    for (int s = 0; s < n; s++) {
        const int skip = sentinel[s] != 0, first = offset[s] + skip, T = offset[s + 1] - first;
        for (int b = 0; b < T; b += step) {
            tiles[k].first = first;
            tiles[k].T = T;
            tiles[k++].begin = b;
        }
    }
    *n_tiles = k;
}

static __global__ void k_zero_sentinels(bf16 *x, float *f, const int32_t *offset, const uint8_t *sentinel, int width,
                                        bool is_bf16)
{
    if (!sentinel[blockIdx.x])
        return;
    const size_t at = (size_t)offset[blockIdx.x] * width;
    for (int j = (int)threadIdx.x; j < width; j += (int)blockDim.x)
        if (is_bf16)
            x[at + j] = __float2bfloat16_rn(0.0f);
        else
            f[at + j] = 0.0f;
}

/* x [N, width] */
static void zero_rows(struct be *be, void *x, bool is_bf16, struct be_seqs seqs, int width)
{
    k_zero_sentinels<<<(unsigned)seqs.n, 128, 0, be->stream>>>(is_bf16 ? (bf16 *)x : NULL, is_bf16 ? NULL : (float *)x,
                                                              ptr<int32_t>(seqs.offset), ptr<uint8_t>(seqs.sentinel),
                                                              width, is_bf16);
}

static void zero_sentinels(struct be *be, struct be_view x, struct be_seqs seqs, int width)
{
    zero_rows(be, ptr<char>(x), x.dtype == DT_BF16, seqs, width);
}

/* ---- plain kernels: a warp takes one (row, head) */

template <typename T> static __device__ inline float warp_dot(const T *a, const T *b, int E)
{
    float s = 0;
    for (int c = (int)threadIdx.x % 32; c < E; c += 32)
        s += ld(a + c) * ld(b + c);
    for (int d = 16; d; d /= 2)
        s += __shfl_xor_sync(0xffffffffu, s, d);
    return s;
}

/* Sequence of a row: the last whose first row is not after it. */
static __device__ inline int sequence_of(const int32_t *offset, int n, int row)
{
    int lo = 0, hi = n - 1;
    while (lo < hi) {
        const int mid = (lo + hi + 1) / 2;
        if (offset[mid] <= row)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

template <typename T> static __global__ void k_plain(T *o, float *lse, const T *q, const T *k, const T *v,
                                                     const int32_t *offset, const uint8_t *sentinel, int n_seqs, int N,
                                                     struct heads h, float scale)
{
    const int id = (int)(blockIdx.x * blockDim.y + threadIdx.y), row = id / h.H, head = id % h.H,
              lane = (int)threadIdx.x;
    if (row >= N)
        return;
    const int s = sequence_of(offset, n_seqs, row), first = offset[s] + (sentinel[s] != 0), kv = head / (h.H / h.K);
    const float log2e = 1.44269504f;
    const T *qi = q + ((size_t)row * h.H + head) * h.E;
    T *oi = o + ((size_t)row * h.H + head) * h.E;
    float m = -INFINITY, sum = 0, acc[MAX_E / 32];
    for (int c = 0; c < MAX_E / 32; c++)
        acc[c] = 0;
    for (int j = first; j <= row; j++)
        m = fmaxf(m, warp_dot(qi, k + ((size_t)j * h.K + kv) * h.E, h.E) * scale * log2e);
    for (int j = first; j <= row; j++) {
        const float p = exp2_f32(warp_dot(qi, k + ((size_t)j * h.K + kv) * h.E, h.E) * scale * log2e - m),
                    pr = rnd<T>(p);
        const T *vj = v + ((size_t)j * h.K + kv) * h.E;
        sum += p;
        for (int c = 0; lane + 32 * c < h.E; c++)
            acc[c] += pr * ld(vj + lane + 32 * c);
    }
    const float inv = sum > 0 ? 1.0f / sum : 0.0f;
    for (int c = 0; lane + 32 * c < h.E; c++)
        st(oi + lane + 32 * c, acc[c] * inv);
    if (lane == 0)
        lse[(size_t)row * h.H + head] = sum > 0 ? m / log2e + logf(sum) : 0.0f;
}

template <typename T> static __global__ void k_plain_dq(T *dq, const T *dout, const T *q, const T *k, const T *v,
                                                        const float *lse, const float *delta, const int32_t *offset,
                                                        const uint8_t *sentinel, int n_seqs, int N, struct heads h,
                                                        float scale)
{
    const int id = (int)(blockIdx.x * blockDim.y + threadIdx.y), row = id / h.H, head = id % h.H,
              lane = (int)threadIdx.x;
    if (row >= N)
        return;
    const int s = sequence_of(offset, n_seqs, row), first = offset[s] + (sentinel[s] != 0), kv = head / (h.H / h.K);
    const size_t at = ((size_t)row * h.H + head) * h.E;
    float acc[MAX_E / 32];
    for (int c = 0; c < MAX_E / 32; c++)
        acc[c] = 0;
    for (int j = first; j <= row; j++) {
        const size_t kj = ((size_t)j * h.K + kv) * h.E;
        const float P = rnd<T>(exp_f32(warp_dot(q + at, k + kj, h.E) * scale - lse[(size_t)row * h.H + head]));
        const float dS = rnd<T>(P * (warp_dot(dout + at, v + kj, h.E) - delta[(size_t)row * h.H + head]) * scale);
        for (int c = 0; lane + 32 * c < h.E; c++)
            acc[c] += dS * ld(k + kj + lane + 32 * c);
    }
    for (int c = 0; lane + 32 * c < h.E; c++)
        st(dq + at + lane + 32 * c, acc[c]);
}

/* dk, dv of one key row and one query head, into [N, H, E]. */
template <typename T> static __global__ void k_plain_dkv(T *dk, T *dv, const T *dout, const T *q, const T *k,
                                                         const T *v, const float *lse, const float *delta,
                                                         const int32_t *offset, const uint8_t *sentinel, int n_seqs,
                                                         int N, struct heads h, float scale)
{
    const int id = (int)(blockIdx.x * blockDim.y + threadIdx.y), row = id / h.H, head = id % h.H,
              lane = (int)threadIdx.x;
    if (row >= N)
        return;
    const int s = sequence_of(offset, n_seqs, row), first = offset[s] + (sentinel[s] != 0), kv = head / (h.H / h.K);
    const size_t kj = ((size_t)row * h.K + kv) * h.E, at = ((size_t)row * h.H + head) * h.E;
    float ak[MAX_E / 32], av[MAX_E / 32];
    for (int c = 0; c < MAX_E / 32; c++)
        ak[c] = av[c] = 0;
    for (int i = row < first ? offset[s + 1] : row; i < offset[s + 1]; i++) {
        const size_t qi = ((size_t)i * h.H + head) * h.E;
        const float P = rnd<T>(exp_f32(warp_dot(q + qi, k + kj, h.E) * scale - lse[(size_t)i * h.H + head]));
        const float dS = rnd<T>(P * (warp_dot(dout + qi, v + kj, h.E) - delta[(size_t)i * h.H + head]) * scale);
        for (int c = 0; lane + 32 * c < h.E; c++) {
            ak[c] += dS * ld(q + qi + lane + 32 * c);
            av[c] += P * ld(dout + qi + lane + 32 * c);
        }
    }
    for (int c = 0; lane + 32 * c < h.E; c++) {
        st(dk + at + lane + 32 * c, ak[c]);
        st(dv + at + lane + 32 * c, av[c]);
    }
}

/* delta [N, H] = sum over E of do*o */
template <typename T> static __global__ void k_delta(float *delta, const T *dout, const T *o, int rows, int E)
{
    const int id = (int)(blockIdx.x * blockDim.y + threadIdx.y);
    if (id >= rows)
        return;
    const float d = warp_dot(dout + (size_t)id * E, o + (size_t)id * E, E);
    if (threadIdx.x == 0)
        delta[id] = d;
}

/* y [N, K, E] = sum over the H/K query heads of a group of x [N, H, E] */
template <typename T> static __global__ void k_group_sum(T *y, const T *x, size_t n, struct heads h)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    const int G = h.H / h.K, c = (int)(i % h.E), kv = (int)(i / h.E % h.K);
    const size_t row = i / h.E / h.K;
    float s = 0;
    for (int g = 0; g < G; g++)
        s += ld(x + (row * h.H + (size_t)(kv * G + g)) * h.E + c);
    st(y + i, s);
}

/* ---- tiles on tensor cores. Shared memory holds bf16 tiles with rows of E+PAD, and fp32 tiles. */

typedef wmma::fragment<wmma::matrix_a, 16, 16, 16, bf16, wmma::row_major> frag_a;
typedef wmma::fragment<wmma::matrix_a, 16, 16, 16, bf16, wmma::col_major> frag_at;
typedef wmma::fragment<wmma::matrix_b, 16, 16, 16, bf16, wmma::row_major> frag_b;
typedef wmma::fragment<wmma::matrix_b, 16, 16, 16, bf16, wmma::col_major> frag_bt;
typedef wmma::fragment<wmma::accumulator, 16, 16, 16, float> frag_c;

/* tile[64][E+PAD] = rows begin.. of one head; rows past the end are zero */
static __device__ void load_tile(bf16 *tile, const bf16 *x, int first, int begin, int T, int heads_n, int head, int E)
{
    const int chunks = E / 8;
    for (int i = (int)threadIdx.x; i < 64 * chunks; i += THREADS) {
        const int r = i / chunks, c = i % chunks * 8;
        uint4 v = make_uint4(0, 0, 0, 0);
        if (begin + r < T)
            v = *(const uint4 *)(x + ((size_t)(first + begin + r) * heads_n + head) * E + c);
        *(uint4 *)(tile + r * (E + PAD) + c) = v;
    }
}

/* S[16 rows of this warp][64] = a b^T over E */
static __device__ void scores(float *S, const bf16 *a, const bf16 *b, int E)
{
    const int warp = (int)threadIdx.x / 32, ldx = E + PAD;
    frag_c c[BK / 16];
    for (int j = 0; j < BK / 16; j++)
        wmma::fill_fragment(c[j], 0.0f);
    for (int e = 0; e < E; e += 16) {
        frag_a fa;
        wmma::load_matrix_sync(fa, a + warp * 16 * ldx + e, (unsigned)ldx);
        for (int j = 0; j < BK / 16; j++) {
            frag_bt fb;
            wmma::load_matrix_sync(fb, b + j * 16 * ldx + e, (unsigned)ldx);
            wmma::mma_sync(c[j], fa, fb, c[j]);
        }
    }
    for (int j = 0; j < BK / 16; j++)
        wmma::store_matrix_sync(S + warp * 16 * (BK + PAD) + j * 16, c[j], BK + PAD, wmma::mem_row_major);
}

/* acc[16 rows of this warp][E] += p b, p [64][64] bf16, b [64][E]; transposed: p^T. acc in shared memory, rows of
 * E+PAD. */
template <bool TRANSPOSED> static __device__ void accumulate(float *acc, const bf16 *p, const bf16 *b, int E)
{
    const int warp = (int)threadIdx.x / 32, ldx = E + PAD;
    for (int e = 0; e < E; e += 16) {
        frag_c c;
        wmma::load_matrix_sync(c, acc + warp * 16 * ldx + e, (unsigned)ldx, wmma::mem_row_major);
        for (int k = 0; k < 64; k += 16) {
            frag_b fb;
            wmma::load_matrix_sync(fb, b + k * ldx + e, (unsigned)ldx);
            if (TRANSPOSED) {
                frag_at fa;
                wmma::load_matrix_sync(fa, p + k * (BK + PAD) + warp * 16, BK + PAD);
                wmma::mma_sync(c, fa, fb, c);
            } else {
                frag_a fa;
                wmma::load_matrix_sync(fa, p + warp * 16 * (BK + PAD) + k, BK + PAD);
                wmma::mma_sync(c, fa, fb, c);
            }
        }
        wmma::store_matrix_sync(acc + warp * 16 * ldx + e, c, (unsigned)ldx, wmma::mem_row_major);
    }
}

/* Rows of acc to y, scaled. */
static __device__ void store_tile(bf16 *y, const float *acc, const float *scale, int first, int begin, int T,
                                  int heads_n, int head, int E)
{
    for (int i = (int)threadIdx.x; i < 64 * E; i += THREADS) {
        const int r = i / E, c = i % E;
        if (begin + r < T)
            y[((size_t)(first + begin + r) * heads_n + head) * E + c] =
                __float2bfloat16_rn(acc[r * (E + PAD) + c] * (scale ? scale[r] : 1.0f));
    }
}

static __global__ void k_forward(bf16 *o, float *lse, const bf16 *q, const bf16 *k, const bf16 *v,
                                 const struct tile *tiles, const int *n_tiles, struct heads h, float scale)
{
    extern __shared__ __align__(16) char smem[];
    if ((int)blockIdx.x >= *n_tiles)
        return;
    const struct tile t = tiles[blockIdx.x];
    const int head = (int)blockIdx.y, kv = head / (h.H / h.K), E = h.E, ldx = E + PAD;
    bf16 *qs = (bf16 *)smem, *ks = qs + 64 * ldx, *ps = ks + 64 * ldx;
    float *S = (float *)(ps + 64 * (BK + PAD)), *acc = S + 64 * (BK + PAD), *inv = acc + 64 * ldx;
    const int row = (int)threadIdx.x / 2, half = (int)threadIdx.x % 2; /* two threads a query row */
    float m = -INFINITY, sum = 0;
    load_tile(qs, q, t.first, t.begin, t.T, h.H, head, E);
    for (int i = (int)threadIdx.x; i < 64 * ldx; i += THREADS)
        acc[i] = 0;
    for (int k0 = 0; k0 < t.T && k0 <= t.begin + BQ - 1; k0 += BK) {
        __syncthreads();
        load_tile(ks, k, t.first, k0, t.T, h.K, kv, E);
        __syncthreads();
        scores(S, qs, ks, E);
        __syncthreads();
        load_tile(ks, v, t.first, k0, t.T, h.K, kv, E);
        float *Sr = S + row * (BK + PAD) + half * 32, top = m;
        const int allowed = min(t.begin + row, t.T - 1) - k0 - half * 32; /* last allowed column of this half */
        for (int j = 0; j < 32; j++)
            if (j <= allowed)
                top = fmaxf(top, Sr[j] * scale * 1.44269504f);
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
        const float shrink = top == -INFINITY ? 1.0f : exp2_f32(m - top);
        float part = 0;
        for (int j = 0; j < 32; j++) {
            const float p = j <= allowed ? exp2_f32(Sr[j] * scale * 1.44269504f - top) : 0.0f;
            part += p;
            ps[row * (BK + PAD) + half * 32 + j] = __float2bfloat16_rn(p);
        }
        part += __shfl_xor_sync(0xffffffffu, part, 1);
        sum = sum * shrink + part;
        if (m != top)
            for (int c = half; c < E; c += 2)
                acc[row * ldx + c] *= shrink;
        m = top;
        __syncthreads();
        accumulate<false>(acc, ps, ks, E);
    }
    if (half == 0) {
        inv[row] = 1.0f / sum;
        if (t.begin + row < t.T)
            lse[(size_t)(t.first + t.begin + row) * h.H + head] = m / 1.44269504f + logf(sum);
    }
    __syncthreads();
    store_tile(o, acc, inv, t.first, t.begin, t.T, h.H, head, E);
}

/* P and dS of a tile of queries (begin q0) and keys (begin k0), from S and dP in place of them; as bf16. */
static __device__ void probabilities(bf16 *ps, bf16 *ds, const float *S, const float *dP, const float *lse,
                                     const float *delta, struct tile t, int q0, int k0, struct heads h, int head,
                                     float scale)
{
    const int row = (int)threadIdx.x / 2, half = (int)threadIdx.x % 2, i = q0 + row;
    const bool real = i < t.T;
    const size_t at = real ? (size_t)(t.first + i) * h.H + head : 0;
    const float l = real ? lse[at] : 0, d = real ? delta[at] : 0;
    for (int j = half * 32; j < half * 32 + 32; j++) {
        const bool allowed = real && k0 + j <= i && k0 + j < t.T;
        const float P = allowed ? rnd<bf16>(exp_f32(S[row * (BK + PAD) + j] * scale - l)) : 0.0f;
        if (ps)
            ps[row * (BK + PAD) + j] = __float2bfloat16_rn(P);
        ds[row * (BK + PAD) + j] = __float2bfloat16_rn(allowed ? P * (dP[row * (BK + PAD) + j] - d) * scale : 0.0f);
    }
}

static __global__ void k_backward_q(bf16 *dq, const bf16 *dout, const bf16 *q, const bf16 *k, const bf16 *v,
                                    const float *lse, const float *delta, const struct tile *tiles, const int *n_tiles,
                                    struct heads h, float scale)
{
    extern __shared__ __align__(16) char smem[];
    if ((int)blockIdx.x >= *n_tiles)
        return;
    const struct tile t = tiles[blockIdx.x];
    const int head = (int)blockIdx.y, kv = head / (h.H / h.K), E = h.E, ldx = E + PAD;
    bf16 *qs = (bf16 *)smem, *gs = qs + 64 * ldx, *ks = gs + 64 * ldx, *ds = ks + 64 * ldx;
    float *S = (float *)(ds + 64 * (BK + PAD)), *dP = S + 64 * (BK + PAD), *acc = dP + 64 * (BK + PAD);
    load_tile(qs, q, t.first, t.begin, t.T, h.H, head, E);
    load_tile(gs, dout, t.first, t.begin, t.T, h.H, head, E);
    for (int i = (int)threadIdx.x; i < 64 * ldx; i += THREADS)
        acc[i] = 0;
    for (int k0 = 0; k0 < t.T && k0 <= t.begin + BQ - 1; k0 += BK) {
        __syncthreads();
        load_tile(ks, v, t.first, k0, t.T, h.K, kv, E);
        __syncthreads();
        scores(dP, gs, ks, E);
        __syncthreads();
        load_tile(ks, k, t.first, k0, t.T, h.K, kv, E);
        __syncthreads();
        scores(S, qs, ks, E);
        __syncthreads();
        probabilities(NULL, ds, S, dP, lse, delta, t, t.begin, k0, h, head, scale);
        __syncthreads();
        accumulate<false>(acc, ds, ks, E);
    }
    __syncthreads();
    store_tile(dq, acc, NULL, t.first, t.begin, t.T, h.H, head, E);
}

/* dk, dv of a tile of keys and one query head, into [N, H, E]. */
static __global__ void k_backward_kv(bf16 *dk, bf16 *dv, const bf16 *dout, const bf16 *q, const bf16 *k, const bf16 *v,
                                     const float *lse, const float *delta, const struct tile *tiles, const int *n_tiles,
                                     struct heads h, float scale)
{
    extern __shared__ __align__(16) char smem[];
    if ((int)blockIdx.x >= *n_tiles)
        return;
    const struct tile t = tiles[blockIdx.x];
    const int head = (int)blockIdx.y, kv = head / (h.H / h.K), E = h.E, ldx = E + PAD;
    bf16 *ks = (bf16 *)smem, *vs = ks + 64 * ldx, *qs = vs + 64 * ldx, *ps = qs + 64 * ldx, *ds = ps + 64 * (BK + PAD);
    float *S = (float *)(ds + 64 * (BK + PAD)), *dP = S + 64 * (BK + PAD), *ak = dP + 64 * (BK + PAD),
          *av = ak + 64 * ldx;
    load_tile(ks, k, t.first, t.begin, t.T, h.K, kv, E);
    load_tile(vs, v, t.first, t.begin, t.T, h.K, kv, E);
    for (int i = (int)threadIdx.x; i < 64 * ldx; i += THREADS)
        ak[i] = av[i] = 0;
    for (int q0 = t.begin; q0 < t.T; q0 += BQ) {
        __syncthreads();
        load_tile(qs, q, t.first, q0, t.T, h.H, head, E);
        __syncthreads();
        scores(S, qs, ks, E);
        __syncthreads();
        load_tile(qs, dout, t.first, q0, t.T, h.H, head, E);
        __syncthreads();
        scores(dP, qs, vs, E);
        __syncthreads();
        probabilities(ps, ds, S, dP, lse, delta, t, q0, t.begin, h, head, scale);
        __syncthreads();
        accumulate<true>(av, ps, qs, E);
        __syncthreads();
        load_tile(qs, q, t.first, q0, t.T, h.H, head, E);
        __syncthreads();
        accumulate<true>(ak, ds, qs, E);
    }
    __syncthreads();
    store_tile(dk, ak, NULL, t.first, t.begin, t.T, h.H, head, E);
    store_tile(dv, av, NULL, t.first, t.begin, t.T, h.H, head, E);
}

/* ---- launching */

static size_t shared_bytes(int E, int bf16_tiles, int p_tiles, int s_tiles, int acc_tiles)
{
    const size_t ldx = (size_t)E + PAD, ldp = BK + PAD;
    return 64 * ((size_t)bf16_tiles * ldx * 2 + (size_t)p_tiles * ldp * 2 + (size_t)s_tiles * ldp * 4 +
                 (size_t)acc_tiles * ldx * 4) +
           64 * sizeof(float);
}

/* Do the tiles fit this GPU's shared memory, and the data its vector loads? */
static bool tiles_fit(struct be *be, enum dtype t, int E, size_t shared, const void *a, const void *b, const void *c,
                      const void *d)
{
    int device = 0, most = 0;
    cuda_failed(be, cudaGetDevice(&device), "device");
    cuda_failed(be, cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "device attribute");
    return t == DT_BF16 && E % 16 == 0 && shared <= (size_t)most && aligned16(a) && aligned16(b) && aligned16(c) &&
           aligned16(d);
}

void cuda_attention(struct be *be, struct be_view o, struct be_view lse, struct be_view q, struct be_view k,
                    struct be_view v, struct be_seqs seqs, int H, int K, int E)
{
    if (be->error.code != ERR_NONE || !seqs.n)
        return;
    if (E > MAX_E)
        BUG("head dimension %d", E);
    const struct heads h = {H, K, E};
    const float scale = 1.0f / sqrtf((float)E);
    const int N = seqs.n_rows;
    const size_t shared = shared_bytes(E, 2, 1, 1, 1);
    const int32_t *offset = ptr<int32_t>(seqs.offset);
    const uint8_t *sentinel = ptr<uint8_t>(seqs.sentinel);
    if (be->error.code == ERR_NONE &&
        tiles_fit(be, o.dtype, E, shared, ptr<char>(q), ptr<char>(k), ptr<char>(v), ptr<char>(o))) {
        const int most = N / BQ + seqs.n;
        struct tile *tiles = (struct tile *)cuda_scratch(be, (size_t)most * sizeof *tiles + 16);
        int *n_tiles = (int *)(tiles + most);
        cudaFuncSetAttribute(k_forward, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
        k_tiles<<<1, 1, 0, be->stream>>>(tiles, n_tiles, offset, sentinel, seqs.n, BQ);
        k_forward<<<dim3((unsigned)most, (unsigned)H), THREADS, shared, be->stream>>>(
            ptr<bf16>(o), ptr<float>(lse), ptr<bf16>(q), ptr<bf16>(k), ptr<bf16>(v), tiles, n_tiles, h, scale);
    } else if (be->error.code == ERR_NONE) {
        WITH_TYPE(
            o, T,
            (k_plain<<<(unsigned)(((size_t)N * (size_t)H + 3) / 4), dim3(32, 4), 0, be->stream>>>(
                ptr<T>(o), ptr<float>(lse), ptr<T>(q), ptr<T>(k), ptr<T>(v), offset, sentinel, seqs.n, N, h, scale)));
    }
    zero_sentinels(be, o, seqs, H * E);
    zero_sentinels(be, lse, seqs, H);
    CHECK_LAUNCH(be, "attention");
}

/* Of attention_bwd: gradients of k and v of every query head, delta, tiles. */
static size_t per_head_bytes(int N, int H, int E, size_t size)
{
    return ((size_t)N * (size_t)H * (size_t)E * size + 255) / 256 * 256;
}

size_t cuda_scratch_bytes(enum dtype t, int N, int H, int E)
{
    return 2 * per_head_bytes(N, H, E, dtype_size(t)) + ((size_t)N * (size_t)H + 64) * 4 +
           2 * (size_t)N * sizeof(struct tile);
}

void cuda_attention_bwd(struct be *be, struct be_view dq, struct be_view dk, struct be_view dv, struct be_view dout,
                        struct be_view q, struct be_view k, struct be_view v, struct be_view o, struct be_view lse,
                        struct be_seqs seqs, int H, int K, int E)
{
    if (be->error.code != ERR_NONE || !seqs.n)
        return;
    if (E > MAX_E)
        BUG("head dimension %d", E);
    const struct heads h = {H, K, E};
    const float scale = 1.0f / sqrtf((float)E), *plse = ptr<float>(lse);
    const int N = seqs.n_rows, most = N / BQ + seqs.n;
    const size_t size = dtype_size(dq.dtype), per_head = per_head_bytes(N, H, E, size);
    const size_t delta_bytes = ((size_t)N * (size_t)H * 4 + 255) / 256 * 256;
    char *scratch = (char *)cuda_scratch(be, 2 * per_head + delta_bytes + (size_t)most * sizeof(struct tile) + 16);
    if (be->error.code != ERR_NONE)
        return;
    float *delta = (float *)(scratch + 2 * per_head);
    struct tile *tiles = (struct tile *)(scratch + 2 * per_head + delta_bytes);
    int *n_tiles = (int *)(tiles + most);
    const int32_t *offset = ptr<int32_t>(seqs.offset);
    const uint8_t *sentinel = ptr<uint8_t>(seqs.sentinel);
    const dim3 warps(32, 4);
    const unsigned row_heads = (unsigned)(((size_t)N * (size_t)H + 3) / 4);
    const size_t shared_q = shared_bytes(E, 3, 1, 2, 1), shared_kv = shared_bytes(E, 3, 2, 2, 2);
    const bool tiled = tiles_fit(be, dq.dtype, E, shared_kv, ptr<char>(q), ptr<char>(k), ptr<char>(v), ptr<char>(dout));
    WITH_TYPE(dq, T, {
        T *hk = (T *)scratch, *hv = (T *)(scratch + per_head);
        k_delta<<<row_heads, warps, 0, be->stream>>>(delta, ptr<T>(dout), ptr<T>(o), N * H, E);
        if (tiled) {
            cudaFuncSetAttribute(k_backward_q, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_q);
            cudaFuncSetAttribute(k_backward_kv, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_kv);
            const dim3 grid((unsigned)most, (unsigned)H);
            k_tiles<<<1, 1, 0, be->stream>>>(tiles, n_tiles, offset, sentinel, seqs.n, BQ);
            k_backward_q<<<grid, THREADS, shared_q, be->stream>>>(ptr<bf16>(dq), ptr<bf16>(dout), ptr<bf16>(q),
                                                                  ptr<bf16>(k), ptr<bf16>(v), plse, delta, tiles,
                                                                  n_tiles, h, scale);
            k_backward_kv<<<grid, THREADS, shared_kv, be->stream>>>((bf16 *)hk, (bf16 *)hv, ptr<bf16>(dout),
                                                                    ptr<bf16>(q), ptr<bf16>(k), ptr<bf16>(v), plse,
                                                                    delta, tiles, n_tiles, h, scale);
        } else {
            k_plain_dq<<<row_heads, warps, 0, be->stream>>>(ptr<T>(dq), ptr<T>(dout), ptr<T>(q), ptr<T>(k), ptr<T>(v),
                                                            plse, delta, offset, sentinel, seqs.n, N, h, scale);
            k_plain_dkv<<<row_heads, warps, 0, be->stream>>>(hk, hv, ptr<T>(dout), ptr<T>(q), ptr<T>(k), ptr<T>(v),
                                                             plse, delta, offset, sentinel, seqs.n, N, h, scale);
        }
        zero_rows(be, hk, dq.dtype == DT_BF16, seqs, H * E); /* no tile writes them */
        zero_rows(be, hv, dq.dtype == DT_BF16, seqs, H * E);
        const size_t n = (size_t)N * (size_t)K * (size_t)E;
        k_group_sum<<<(unsigned)((n + 255) / 256), 256, 0, be->stream>>>(ptr<T>(dk), hk, n, h);
        k_group_sum<<<(unsigned)((n + 255) / 256), 256, 0, be->stream>>>(ptr<T>(dv), hv, n, h);
    });
    zero_sentinels(be, dq, seqs, H * E);
    CHECK_LAUNCH(be, "attention_bwd");
}
