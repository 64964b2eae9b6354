/* The CUDA backend's quantization ops: maxima, fake quantization in registers. */
#include "backend_cuda.h"

/* ---- maxima: |x| as integers, so that NaN is above all; a maximum does not depend on the order of atomics */

static __device__ inline int abs_bits(float x)
{
    return (int)(__float_as_uint(x) & 0x7fffffffu);
}

template <typename T, int V>
static __global__ void k_amax_rows(int *out, const T *x, const int32_t *group, int N, int D)
{
    __shared__ int shared[ROW_THREADS / 32];
    const int row = (int)(blockIdx.x * blockDim.y + threadIdx.y);
    if (row >= N)
        return;
    int m = 0;
    for (int j = (int)threadIdx.x * V; j < D; j += (int)blockDim.x * V) {
        float a[V];
        ldv<V>(x + (size_t)row * D + j, a);
#pragma unroll
        for (int i = 0; i < V; i++)
            m = max(m, abs_bits(a[i]));
    }
    m = reduce_row(m, shared, max_op());
    if (threadIdx.x == 0)
        atomicMax(out + (group ? group[row] : 0), m);
}

void cuda_amax_rows(struct be *be, struct be_view out, struct be_view x, struct be_view group, int N, int D)
{
    if (be->error.code != ERR_NONE || !N)
        return;
    const int32_t *g = group.buf ? ptr<int32_t>(group) : NULL;
    WITH_TYPE(x, T, {
        if (D % 8 == 0 && aligned16(ptr<T>(x)))
            k_amax_rows<T, 8><<<row_grid(N, D), row_block(D), 0, be->stream>>>(ptr<int>(out), ptr<T>(x), g, N, D);
        else
            k_amax_rows<T, 1><<<row_grid(N, D), row_block(D), 0, be->stream>>>(ptr<int>(out), ptr<T>(x), g, N, D);
    });
    CHECK_LAUNCH(be, "amax_rows");
}

enum { COL_ROWS = 256 };

template <typename T> static __global__ void k_amax_cols(int *out, const T *x, int N, int D)
{
    const int j = (int)(blockIdx.x * blockDim.x + threadIdx.x), begin = (int)blockIdx.y * COL_ROWS;
    if (j >= D)
        return;
    int m = 0;
    for (int i = begin; i < N && i < begin + COL_ROWS; i++)
        m = max(m, abs_bits(ld(x + (size_t)i * D + j)));
    atomicMax(out + j, m);
}

void cuda_amax_cols(struct be *be, struct be_view out, struct be_view x, int N, int D)
{
    if (be->error.code != ERR_NONE || !N)
        return;
    const dim3 grid((unsigned)((D + 255) / 256), (unsigned)((N + COL_ROWS - 1) / COL_ROWS));
    WITH_TYPE(x, T, (k_amax_cols<<<grid, 256, 0, be->stream>>>(ptr<int>(out), ptr<T>(x), N, D)));
    CHECK_LAUNCH(be, "amax_cols");
}

/* ---- fake quantization */

/* As fakequant.c: a zero maximum, or one whose scale overflows, gives zeros. */
template <int F> static __device__ inline float fake(float x, float amax)
{
    if (F == QF_FP8) {
        const float scale = 448.0f / amax;
        return !(scale <= 0x1.fffffep127f) && amax == amax ? 0.0f : fp8_fake(x, scale, 1.0f / scale);
    }
    const float qmax = F == QF_INT8 ? 127.0f : 7.0f;
    return amax < 0x1p-24f ? 0.0f : int_fake(x, qmax / amax, qmax);
}

/* One amax for all, one a group of rows, or one a column. */
template <typename T, int F, int V> static __global__ void
k_fake_given(T *y, const T *x, const float *amax, const int32_t *group, size_t n, int D, bool by_column, bool round)
{
    const size_t i = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * V;
    if (i >= n)
        return;
    const float *a = amax + (by_column ? i % D : group ? (size_t)group[i / D] : 0);
    float v[V];
    ldv<V>(x + i, v);
#pragma unroll
    for (int k = 0; k < V; k++) {
        v[k] = fake<F>(v[k], by_column ? a[k] : *a);
        v[k] = round ? rnd<bf16>(v[k]) : v[k];
    }
    stv<V>(y + i, v);
}

/* Rows, or runs of `block` elements of them: a warp or a block of threads finds the maximum, then quantizes. */
template <typename T, int F>
static __global__ void k_fake_runs(T *y, const T *x, int runs, int D, int block, int runs_per_row, bool round)
{
    __shared__ int shared[ROW_THREADS / 32];
    const int run = (int)(blockIdx.x * blockDim.y + threadIdx.y);
    if (run >= runs)
        return;
    const int first = run % runs_per_row * block, len = min(block, D - first);
    const size_t at = (size_t)(run / runs_per_row) * D + first;
    int m = 0;
    for (int j = (int)threadIdx.x; j < len; j += (int)blockDim.x)
        m = max(m, abs_bits(ld(x + at + j)));
    const float amax = __int_as_float(reduce_row(m, shared, max_op()));
    for (int j = (int)threadIdx.x; j < len; j += (int)blockDim.x) {
        const float v = fake<F>(ld(x + at + j), amax);
        st(y + at + j, round ? rnd<bf16>(v) : v);
    }
}

/* The division of the reference's kernel, which is not IEEE's. */
static __device__ inline float div_full(float a, float b)
{
    float r;
    asm("div.full.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
}

/* A thread takes a block of 16 (NVFP4) or 32 (MXFP4) elements. */
template <typename T, bool NV, int V>
static __global__ void k_fake_fp4(T *y, const T *x, const float *amax, const int32_t *group, int rows, int D,
                                  bool round)
{
    constexpr int B = NV ? 16 : 32;
    const int per_row = (D + B - 1) / B;
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= (size_t)rows * per_row)
        return;
    const int first = (int)(i % per_row) * B, len = min(B, D - first);
    const size_t at = i / per_row * D + first;
    float v[B];
    int m = 0;
#pragma unroll
    for (int j = 0; j < B; j += V)
        if (j < len)
            ldv<V>(x + at + j, v + j);
#pragma unroll
    for (int j = 0; j < B; j++)
        if (j < len)
            m = max(m, abs_bits(v[j]));
    const float top = __int_as_float(m);
    float scale;
    if (NV) {
        float global = amax[group ? group[i / per_row] : 0] * (1.0f / 2688.0f);
        global = global <= 0 ? 1e-12f : global;
        scale = e4m3_round_abs(div_full(top, 6.0f * global)) * global;
        scale = scale < 1e-5f ? 1.0f : scale;
    } else {
        const uint32_t u = __float_as_uint(top / 6.0f);
        const int e = !(top > 0) || top > 0x1.fffffep127f ? 0 : (int)(u >> 23) - 127 + ((u & 0x7fffff) != 0);
        scale = ldexpf(1.0f, e);
    }
#pragma unroll
    for (int j = 0; j < B; j++) {
        const float a = e2m1_round_abs(NV ? div_full(fabsf(v[j]), scale) : fabsf(v[j]) * (1.0f / scale)) * scale;
        v[j] = NV ? (v[j] < 0 ? 0 - a : a) : (v[j] > 0 ? a : -a);
        v[j] = round ? rnd<bf16>(v[j]) : v[j];
    }
#pragma unroll
    for (int j = 0; j < B; j += V)
        if (j < len)
            stv<V>(y + at + j, v + j);
}

template <typename T, int F> static void fake_scalar(struct be *be, T *y, const T *x, const struct quantizer *q,
                                                     const float *amax, const int32_t *group, int N, int D, bool round)
{
    const size_t n = (size_t)N * (size_t)D;
    if (q->granularity == QG_TENSOR || q->granularity == QG_IN_CHANNEL) {
        const bool by_column = q->granularity == QG_IN_CHANNEL;
        if (D % 8 == 0 && aligned16(x) && aligned16(y))
            k_fake_given<T, F, 8>
                <<<(unsigned)((n / 8 + 255) / 256), 256, 0, be->stream>>>(y, x, amax, group, n, D, by_column, round);
        else
            k_fake_given<T, F, 1>
                <<<(unsigned)((n + 255) / 256), 256, 0, be->stream>>>(y, x, amax, group, n, D, by_column, round);
        return;
    }
    const int block = q->granularity == QG_BLOCK && q->block < D ? q->block : D, per_row = (D + block - 1) / block;
    const int runs = N * per_row;
    k_fake_runs<T, F><<<row_grid(runs, block), row_block(block), 0, be->stream>>>(y, x, runs, D, block, per_row, round);
}

template <typename T, bool NV>
static void fake_fp4(struct be *be, T *y, const T *x, const float *amax, const int32_t *group, int N, int D, bool round)
{
    const size_t n = (size_t)N * (size_t)((D + (NV ? 15 : 31)) / (NV ? 16 : 32));
    const unsigned grid = (unsigned)((n + 127) / 128);
    if (D % (NV ? 16 : 32) == 0 && aligned16(x) && aligned16(y))
        k_fake_fp4<T, NV, 8><<<grid, 128, 0, be->stream>>>(y, x, amax, group, N, D, round);
    else
        k_fake_fp4<T, NV, 1><<<grid, 128, 0, be->stream>>>(y, x, amax, group, N, D, round);
}

void cuda_fakequant(struct be *be, struct be_view y, struct be_view x, const struct quantizer *q, struct be_view amax,
                    struct be_view group, int N, int D, bool round_bf16)
{
    if (be->error.code != ERR_NONE || !N)
        return;
    const float *a = amax.buf ? ptr<float>(amax) : NULL;
    const int32_t *g = group.buf ? ptr<int32_t>(group) : NULL;
    WITH_TYPE(y, T, {
        T *py = ptr<T>(y);
        const T *px = ptr<T>(x);
        const bool round = round_bf16 && y.dtype == DT_F32;
        switch (q->format) {
        case QF_FP4: fake_fp4<T, true>(be, py, px, a, g, N, D, round); break;
        case QF_MXFP4: fake_fp4<T, false>(be, py, px, a, g, N, D, round); break;
        case QF_FP8: fake_scalar<T, QF_FP8>(be, py, px, q, a, g, N, D, round); break;
        case QF_INT8: fake_scalar<T, QF_INT8>(be, py, px, q, a, g, N, D, round); break;
        case QF_INT4: fake_scalar<T, QF_INT4>(be, py, px, q, a, g, N, D, round); break;
        default: BUG("format %d is not a quantizer", (int)q->format);
        }
    });
    CHECK_LAUNCH(be, "fakequant");
}
