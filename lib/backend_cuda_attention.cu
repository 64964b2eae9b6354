/* The CUDA backend's attention over packed sequences: tiles on tensor cores where flash_fits, else plain kernels, one
 * warp a row: fp32 views, head dimensions that are large or no multiple of 8. */
#include "backend_cuda_flash.h"

enum { MAX_E = 256 };

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

/* delta [N, H] = sum over E of do*o; 16 lanes a row and head */
template <typename T, int V> static __global__ void k_delta(float *delta, const T *dout, const T *o, int rows, int E)
{
    const int id = (int)(blockIdx.x * 16 + threadIdx.x / 16);
    float s = 0;
    for (int c = (int)threadIdx.x % 16 * V; c < E && id < rows; c += 16 * V) {
        float a[V], b[V];
        ldv<V>(dout + (size_t)id * E + c, a);
        ldv<V>(o + (size_t)id * E + c, b);
#pragma unroll
        for (int k = 0; k < V; k++)
            s += a[k] * b[k];
    }
    for (int d = 8; d; d /= 2)
        s += __shfl_xor_sync(0xffffffffu, s, d);
    if (threadIdx.x % 16 == 0 && id < rows)
        delta[id] = s;
}

/* y [N, K, E] = sum over the H/K query heads of a group of x [N, H, E], V elements a thread */
template <typename T, int V> static __global__ void k_group_sum(T *y, const T *x, size_t n, struct heads h)
{
    const size_t i = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * V;
    if (i >= n)
        return;
    const int G = h.H / h.K, c = (int)(i % h.E), kv = (int)(i / h.E % h.K);
    const size_t row = i / h.E / h.K;
    float s[V] = {};
    for (int g = 0; g < G; g++) {
        float v[V];
        ldv<V>(x + (row * h.H + (size_t)(kv * G + g)) * h.E + c, v);
#pragma unroll
        for (int k = 0; k < V; k++)
            s[k] += v[k];
    }
    stv<V>(y + i, s);
}

template <typename T> static void group_sum(struct be *be, T *y, const T *x, int N, struct heads h)
{
    const size_t n = (size_t)N * (size_t)h.K * (size_t)h.E;
    if (h.E % 8 == 0 && aligned16(y) && aligned16(x))
        k_group_sum<T, 8><<<(unsigned)((n / 8 + 255) / 256), 256, 0, be->stream>>>(y, x, n, h);
    else
        k_group_sum<T, 1><<<(unsigned)((n + 255) / 256), 256, 0, be->stream>>>(y, x, n, h);
}

/* ---- the ops */

static struct flash flash(struct be_view q, struct be_view k, struct be_view v, struct be_seqs seqs, struct heads h,
                          float scale)
{
    struct flash f = {};
    f.q = ptr<bf16>(q), f.k = ptr<bf16>(k), f.v = ptr<bf16>(v);
    f.offset = ptr<int32_t>(seqs.offset), f.sentinel = ptr<uint8_t>(seqs.sentinel);
    f.n_seqs = seqs.n, f.n_rows = seqs.n_rows;
    f.h = h, f.scale = scale;
    return f;
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
    const int32_t *offset = ptr<int32_t>(seqs.offset);
    const uint8_t *sentinel = ptr<uint8_t>(seqs.sentinel);
    if (flash_fits(o.dtype, E, ptr<char>(q), ptr<char>(k), ptr<char>(v), ptr<char>(o))) {
        struct flash f = flash(q, k, v, seqs, h, scale);
        f.scratch = (char *)cuda_scratch(be, flash_scratch_bytes(N, seqs.n));
        if (f.scratch)
            flash_forward(be, &f, ptr<bf16>(o), ptr<float>(lse));
    } else {
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
    return 2 * per_head_bytes(N, H, E, dtype_size(t)) + ((size_t)N * (size_t)H + 64) * 4 + flash_scratch_bytes(N, N);
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
    const int N = seqs.n_rows;
    const size_t per_head = per_head_bytes(N, H, E, dtype_size(dq.dtype));
    const size_t delta_bytes = ((size_t)N * (size_t)H * 4 + 255) / 256 * 256;
    char *scratch = (char *)cuda_scratch(be, 2 * per_head + delta_bytes + flash_scratch_bytes(N, seqs.n));
    if (!scratch)
        return;
    float *delta = (float *)(scratch + 2 * per_head);
    const int32_t *offset = ptr<int32_t>(seqs.offset);
    const uint8_t *sentinel = ptr<uint8_t>(seqs.sentinel);
    const dim3 warps(32, 4);
    const unsigned row_heads = (unsigned)(((size_t)N * (size_t)H + 3) / 4);
    const bool tiled = flash_fits(dq.dtype, E, ptr<char>(q), ptr<char>(k), ptr<char>(v), ptr<char>(dout)) &&
                       aligned16(ptr<char>(dq));
    WITH_TYPE(dq, T, {
        T *hk = (T *)scratch, *hv = (T *)(scratch + per_head);
        const unsigned sixteens = (unsigned)(((size_t)N * (size_t)H + 15) / 16);
        if (E % 8 == 0 && aligned16(ptr<T>(dout)) && aligned16(ptr<T>(o)))
            k_delta<T, 8><<<sixteens, 256, 0, be->stream>>>(delta, ptr<T>(dout), ptr<T>(o), N * H, E);
        else
            k_delta<T, 1><<<sixteens, 256, 0, be->stream>>>(delta, ptr<T>(dout), ptr<T>(o), N * H, E);
        if (tiled) {
            struct flash f = flash(q, k, v, seqs, h, scale);
            f.dout = ptr<bf16>(dout);
            f.scratch = scratch + 2 * per_head + delta_bytes;
            flash_backward(be, &f, plse, delta, ptr<bf16>(dq), (bf16 *)hk, (bf16 *)hv);
        } else {
            k_plain_dq<<<row_heads, warps, 0, be->stream>>>(ptr<T>(dq), ptr<T>(dout), ptr<T>(q), ptr<T>(k), ptr<T>(v),
                                                            plse, delta, offset, sentinel, seqs.n, N, h, scale);
            k_plain_dkv<<<row_heads, warps, 0, be->stream>>>(hk, hv, ptr<T>(dout), ptr<T>(q), ptr<T>(k), ptr<T>(v),
                                                             plse, delta, offset, sentinel, seqs.n, N, h, scale);
        }
        zero_rows(be, hk, dq.dtype == DT_BF16, seqs, H * E); /* no tile writes them */
        zero_rows(be, hv, dq.dtype == DT_BF16, seqs, H * E);
        group_sum(be, ptr<T>(dk), hk, N, h);
        group_sum(be, ptr<T>(dv), hv, N, h);
    });
    zero_sentinels(be, dq, seqs, H * E);
    CHECK_LAUNCH(be, "attention_bwd");
}
