/* The CUDA backend's quantization ops: maxima, fake quantization in registers. */
#include "backend_cuda.h"

extern "C" {
#include "fakequant_fast.h"
}

/* ---- maxima: |x| as integers, so that NaN is above all; a maximum does not depend on the order of atomics */

static __device__ inline int abs_bits(float x)
{
    return (int)(__float_as_uint(x) & 0x7fffffffu);
}

template <typename T> static __device__ inline int max_of(const raw8<T> &r)
{
    float v[8];
    int m = 0;
    ldv<8>(r.elements(), v);
#pragma unroll
    for (int k = 0; k < 8; k++)
        m = max(m, abs_bits(v[k]));
    return m;
}
template <typename T> static __device__ inline int held_max(const raw8<T> *r, int D)
{
    int m = 0;
#pragma unroll
    for (int i = 0; i < HELD; i++)
        if (held_at(i) < D)
            m = max(m, max_of(r[i]));
    return m;
}

/* An atomic only where there is something to raise: `seen` was out's value at some time, and values only grow. */
static __device__ inline void raise(int *out, int seen, int m)
{
    if (m > seen)
        atomicMax(out, m);
}

template <typename T> static __global__ void __launch_bounds__(HOLDERS)
    k_amax_rows(int *out, const T *x, const int32_t *group, int D)
{
    __shared__ int shared[HOLDERS / 32];
    raw8<T> r[HELD];
    hold_row(r, x + (size_t)blockIdx.x * D, D);
    if (group)
        out += group[blockIdx.x];
    const int seen = *out, m = reduce_row(held_max(r, D), shared, max_op());
    if (threadIdx.x == 0)
        raise(out, seen, m);
}

/* Any shape, one element at a time. */
template <typename T> static __global__ void k_amax_rows_any(int *out, const T *x, const int32_t *group, int N, int D)
{
    __shared__ int shared[ROW_THREADS / 32];
    const int row = (int)(blockIdx.x * blockDim.y + threadIdx.y);
    if (row >= N)
        return;
    int m = 0;
    for (int j = (int)threadIdx.x; j < D; j += (int)blockDim.x)
        m = max(m, abs_bits(ld(x + (size_t)row * D + j)));
    m = reduce_row(m, shared, max_op());
    if (threadIdx.x == 0)
        atomicMax(out + (group ? group[row] : 0), m);
}

void cuda_amax_rows(struct be *be, struct be_view out, struct be_view x, struct be_view group, int N, int D)
{
    if (be->error.code != ERR_NONE || !N)
        return;
    const int32_t *g = group.buf ? ptr<int32_t>(group) : NULL;
    const unsigned threads = row_holders(D);
    WITH_TYPE(x, T, {
        if (D % 8 == 0 && threads <= HOLDERS && aligned16(ptr<T>(x)))
            k_amax_rows<<<(unsigned)N, threads, 0, be->stream>>>(ptr<int>(out), ptr<T>(x), g, D);
        else
            k_amax_rows_any<<<row_grid(N, D), row_block(D), 0, be->stream>>>(ptr<int>(out), ptr<T>(x), g, N, D);
    });
    CHECK_LAUNCH(be, "amax_rows");
}

/* A block takes 32 * V columns of COL_ROWS rows, COL_LINES of them at a time. */
enum { COL_ROWS = 96, COL_LINES = 8 };

template <typename T, int V> static __global__ void k_amax_cols(int *out, const T *x, int N, int D)
{
    __shared__ int shared[COL_LINES][32 * V];
    const int j = (int)(blockIdx.x * 32 + threadIdx.x) * V, begin = (int)blockIdx.y * COL_ROWS;
    int m[V] = {0};
#pragma unroll
    for (int i = 0; i < COL_ROWS; i += COL_LINES) {
        const int row = begin + i + (int)threadIdx.y;
        if (row < N && j < D) {
            float v[V];
            ldv<V>(x + (size_t)row * D + j, v);
#pragma unroll
            for (int k = 0; k < V; k++)
                m[k] = max(m[k], abs_bits(v[k]));
        }
    }
#pragma unroll
    for (int k = 0; k < V; k++)
        shared[threadIdx.y][threadIdx.x * V + k] = m[k];
    __syncthreads();
    const int c = (int)(threadIdx.y * 32 + threadIdx.x), column = (int)blockIdx.x * 32 * V + c;
    if (c >= 32 * V || column >= D)
        return;
    int top = 0;
#pragma unroll
    for (int i = 0; i < COL_LINES; i++)
        top = max(top, shared[i][c]);
    raise(out + column, out[column], top);
}

void cuda_amax_cols(struct be *be, struct be_view out, struct be_view x, int N, int D)
{
    if (be->error.code != ERR_NONE || !N)
        return;
    const dim3 block(32, COL_LINES);
    WITH_TYPE(x, T, {
        const bool eight = D % 8 == 0 && aligned16(ptr<T>(x));
        const int width = eight ? 256 : 32;
        const dim3 grid((unsigned)((D + width - 1) / width), (unsigned)((N + COL_ROWS - 1) / COL_ROWS));
        if (eight)
            k_amax_cols<T, 8><<<grid, block, 0, be->stream>>>(ptr<int>(out), ptr<T>(x), N, D);
        else
            k_amax_cols<T, 1><<<grid, block, 0, be->stream>>>(ptr<int>(out), ptr<T>(x), N, D);
    });
    CHECK_LAUNCH(be, "amax_cols");
}

/* ---- fake quantization: a run of elements has one scale, from its maximum or from a given one */

/* The division of the reference's kernel, which is not IEEE's. */
static __device__ inline float div_full(float a, float b)
{
    float r;
    asm("div.full.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
}
/* 2^e for -127 <= e <= 127 */
static __device__ inline float power_of_two(int e)
{
    return e < -126 ? 0x1p-127f : __uint_as_float((uint32_t)(e + 127) << 23);
}

/* What a run of format F needs, made once a run: amax is its maximum (INT, FP8: or the given one), global the given
 * maximum of NVFP4. The arithmetic is fakequant.c's. */
template <int F> struct faker {
    float scale, inv;
    struct int_divisor divisor; /* INT */
    uint32_t keep; /* bits of the result: none, that is zeros, where the maximum is zero or its scale overflows */

    __device__ faker()
    {
    }
    __device__ faker(float amax, float global)
    {
        keep = ~0u;
        if constexpr (F == QF_FP4) {
            global *= 1.0f / 2688.0f;
            global = global <= 0 ? 1e-12f : global;
            scale = e4m3_round_abs(div_full(amax, 6.0f * global)) * global;
            scale = scale < 1e-5f ? 1.0f : scale;
        } else if constexpr (F == QF_MXFP4) {
            const uint32_t u = __float_as_uint(amax / 6.0f);
            const int e = !(amax > 0) || amax > 0x1.fffffep127f ? 0 : (int)(u >> 23) - 127 + ((u & 0x7fffff) != 0);
            scale = power_of_two(e);
            inv = power_of_two(-e);
        } else if constexpr (F == QF_FP8) {
            scale = 448.0f / amax;
            keep = !(scale <= 0x1.fffffep127f) && amax == amax ? 0 : ~0u;
            inv = 1.0f / scale;
        } else {
            scale = qmax() / amax; /* at least 2^-126: normal, or zero under an infinite maximum */
            keep = amax < 0x1p-24f ? 0 : ~0u;
            divisor = int_divisor_of(scale);
        }
    }
    static __device__ float qmax()
    {
        return F == QF_INT8 ? 127.0f : 7.0f;
    }
    __device__ float operator()(float x) const
    {
        if constexpr (F == QF_FP4) {
            const float a = e2m1_round_fast(min_or_nan(div_full(fabsf(x), scale), 6.0f)) * scale;
            return x < 0 ? 0 - a : a;
        } else if constexpr (F == QF_MXFP4) {
            const float a = e2m1_round_fast(min_or_nan(fabsf(x) * inv, 6.0f)) * scale;
            return x > 0 ? a : -a;
        } else if constexpr (F == QF_FP8) {
            const float v = x * scale;
            return copysignf(e4m3_round_fast(min_or_nan(fabsf(v), 448.0f)), v) * inv;
        } else { /* rounding after the clamp: its ends are integers */
            const float v = max_or_nan(min_or_nan(x * scale, qmax()), -qmax() - 1);
            int32_t n;
            return copysignf(int_quotient(round_split(v, &n), divisor), v);
        }
    }
};

template <typename T, int F> static __device__ inline float fake1(float x, const faker<F> &f, bool round)
{
    const float v = __uint_as_float(__float_as_uint(f(x)) & f.keep);
    return sizeof(T) == 4 && round ? rnd<bf16>(v) : v;
}
template <typename T, int F> static __device__ inline void fake8(T *y, const raw8<T> &x, const faker<F> &f, bool round)
{
    float v[8];
    ldv<8>(x.elements(), v);
#pragma unroll
    for (int k = 0; k < 8; k++)
        v[k] = fake1<T>(v[k], f, round);
    stv<8>(y, v);
}

/* A block of threads a row, or a run of a row. FIND: the maximum is the row's own; else amax[0], or amax[group[row]].
 */
template <typename T, int F, bool FIND> static __global__ void __launch_bounds__(HOLDERS)
    k_fake_rows(T *y, const T *x, const float *amax, const int32_t *group, int D, bool round)
{
    __shared__ int shared[HOLDERS / 32];
    const size_t at = (size_t)blockIdx.x * D;
    raw8<T> r[HELD];
    hold_row(r, x + at, D);
    const float top =
        FIND ? __int_as_float(reduce_row(held_max(r, D), shared, max_op())) : amax[group ? group[blockIdx.x] : 0];
    const faker<F> f(top, 0);
#pragma unroll
    for (int i = 0; i < HELD; i++)
        if (held_at(i) < D)
            fake8(y + at + held_at(i), r[i], f, round);
}

enum { RUN_VECTORS = 2, RUN_THREADS = 256 };

/* L neighbouring lanes a run of 8 * L elements. per_row: vectors of a row; amax and group are NVFP4's. */
template <typename T, int F, int L> static __global__ void __launch_bounds__(RUN_THREADS)
    k_fake_runs(T *y, const T *x, const float *amax, const int32_t *group, unsigned vectors, unsigned per_row,
                bool round)
{
    const unsigned first = blockIdx.x * (RUN_THREADS * RUN_VECTORS) + threadIdx.x;
    raw8<T> r[RUN_VECTORS];
#pragma unroll
    for (int i = 0; i < RUN_VECTORS; i++)
        if (first + i * RUN_THREADS < vectors)
            r[i] = ldraw(x + (size_t)(first + i * RUN_THREADS) * 8);
#pragma unroll
    for (int i = 0; i < RUN_VECTORS; i++) {
        const unsigned j = first + i * RUN_THREADS;
        int m = j < vectors ? max_of(r[i]) : 0;
#pragma unroll
        for (int d = L / 2; d; d /= 2)
            m = max(m, __shfl_xor_sync(0xffffffffu, m, d));
        if (j < vectors) {
            const float global = F == QF_FP4 ? amax[group ? group[j / per_row] : 0] : 0;
            fake8(y + (size_t)j * 8, r[i], faker<F>(__int_as_float(m), global), round);
        }
    }
}

enum { FAKE_COL_ROWS = 8, FAKE_COL_AHEAD = 4 };

/* An amax a column: a thread keeps the scales of 8 columns for several rows. */
template <typename T, int F> static __global__ void __launch_bounds__(32 * COL_LINES)
    k_fake_cols(T *y, const T *x, const float *amax, int N, int D, bool round)
{
    const int j = (int)(blockIdx.x * 32 + threadIdx.x) * 8;
    const int begin = (int)blockIdx.y * (FAKE_COL_ROWS * COL_LINES) + (int)threadIdx.y;
    if (j >= D)
        return;
    faker<F> f[8];
#pragma unroll
    for (int k = 0; k < 8; k++)
        f[k] = faker<F>(amax[j + k], 0);
    for (int b = 0; b < FAKE_COL_ROWS; b += FAKE_COL_AHEAD) {
        raw8<T> r[FAKE_COL_AHEAD];
#pragma unroll
        for (int i = 0; i < FAKE_COL_AHEAD; i++)
            if (begin + (b + i) * COL_LINES < N)
                r[i] = ldraw(x + (size_t)(begin + (b + i) * COL_LINES) * D + j);
#pragma unroll
        for (int i = 0; i < FAKE_COL_AHEAD; i++) {
            if (begin + (b + i) * COL_LINES >= N)
                break;
            float v[8];
            ldv<8>(r[i].elements(), v);
#pragma unroll
            for (int k = 0; k < 8; k++)
                v[k] = fake1<T>(v[k], f[k], round);
            stv<8>(y + (size_t)(begin + (b + i) * COL_LINES) * D + j, v);
        }
    }
}

enum amax_from { AMAX_FOUND, AMAX_GIVEN, AMAX_OF_COLUMN };

/* Any shape, one element at a time: a warp or a block of threads a run of `block` elements or what is left of a row. */
template <typename T, int F> static __global__ void k_fake_any(T *y, const T *x, const float *amax,
                                                               const int32_t *group, int runs, int D, int block,
                                                               int per_row, int from, bool round)
{
    __shared__ int shared[ROW_THREADS / 32];
    const int run = (int)(blockIdx.x * blockDim.y + threadIdx.y);
    if (run >= runs)
        return;
    const int row = run / per_row, first = run % per_row * block, len = min(block, D - first);
    const size_t at = (size_t)row * D + first;
    const float given = amax && from != AMAX_OF_COLUMN ? amax[group ? group[row] : 0] : 0;
    int m = 0;
    if (from == AMAX_FOUND) {
        for (int j = (int)threadIdx.x; j < len; j += (int)blockDim.x)
            m = max(m, abs_bits(ld(x + at + j)));
        m = reduce_row(m, shared, max_op());
    }
    faker<F> f(from == AMAX_FOUND ? __int_as_float(m) : given, given);
    for (int j = (int)threadIdx.x; j < len; j += (int)blockDim.x) {
        if (from == AMAX_OF_COLUMN)
            f = faker<F>(amax[first + j], 0);
        st(y + at + j, fake1<T>(ld(x + at + j), f, round));
    }
}

/* Runs of 8 * L elements, if that is what `block` is. */
template <typename T, int F, int L> static bool fake_runs(struct be *be, T *y, const T *x, const float *amax,
                                                          const int32_t *group, size_t n, int D, int block, bool round)
{
    const unsigned step = RUN_THREADS * RUN_VECTORS;
    if (block != 8 * L || n / 8 > UINT32_MAX - step)
        return false;
    const unsigned vectors = (unsigned)(n / 8);
    k_fake_runs<T, F, L><<<(vectors + step - 1) / step, RUN_THREADS, 0, be->stream>>>(y, x, amax, group, vectors,
                                                                                      (unsigned)D / 8, round);
    return true;
}

/* Where addresses and sizes allow vectors; false: they don't. */
template <typename T, int F> static bool fake_vectors(struct be *be, T *y, const T *x, const float *amax,
                                                      const int32_t *group, int N, int D, int block,
                                                      enum amax_from from, bool round)
{
    const size_t n = (size_t)N * (size_t)D;
    if (block % 8 || D % block || !aligned16(x) || !aligned16(y))
        return false;
    if constexpr (F == QF_FP4 || F == QF_MXFP4)
        return fake_runs < T, F, F == QF_FP4 ? 2 : 4 > (be, y, x, amax, group, n, D, block, round);
    else if (from == AMAX_OF_COLUMN) {
        const int lines = FAKE_COL_ROWS * (int)COL_LINES;
        const dim3 grid((unsigned)((D + 255) / 256), (unsigned)((N + lines - 1) / lines));
        if (grid.y > 65535)
            return false;
        k_fake_cols<T, F><<<grid, dim3(32, COL_LINES), 0, be->stream>>>(y, x, amax, N, D, round);
        return true;
    } else {
        if (from == AMAX_FOUND && (fake_runs<T, F, 2>(be, y, x, amax, group, n, D, block, round) ||
                                   fake_runs<T, F, 4>(be, y, x, amax, group, n, D, block, round) ||
                                   fake_runs<T, F, 8>(be, y, x, amax, group, n, D, block, round) ||
                                   fake_runs<T, F, 16>(be, y, x, amax, group, n, D, block, round) ||
                                   fake_runs<T, F, 32>(be, y, x, amax, group, n, D, block, round)))
            return true;
        const unsigned threads = row_holders(block), rows = (unsigned)(n / (size_t)block);
        if (threads > HOLDERS || (from == AMAX_FOUND && block < 512))
            return false;
        if (from == AMAX_FOUND)
            k_fake_rows<T, F, true><<<rows, threads, 0, be->stream>>>(y, x, NULL, NULL, block, round);
        else
            k_fake_rows<T, F, false><<<rows, threads, 0, be->stream>>>(y, x, amax, group, block, round);
        return true;
    }
}

template <typename T, int F> static void fake(struct be *be, T *y, const T *x, const struct quantizer *q,
                                              const float *amax, const int32_t *group, int N, int D, bool round)
{
    const bool fp4 = F == QF_FP4 || F == QF_MXFP4;
    const int run = F == QF_FP4 ? 16 : F == QF_MXFP4 ? 32 : q->granularity == QG_BLOCK ? q->block : D;
    const int block = run < D ? run : D, per_row = (D + block - 1) / block, runs = N * per_row;
    const enum amax_from from = fp4                               ? AMAX_FOUND
                                : q->granularity == QG_TENSOR     ? AMAX_GIVEN
                                : q->granularity == QG_IN_CHANNEL ? AMAX_OF_COLUMN
                                                                  : AMAX_FOUND;
    if (!fake_vectors<T, F>(be, y, x, amax, group, N, D, block, from, round))
        k_fake_any<T, F><<<row_grid(runs, block), row_block(block), 0, be->stream>>>(
            y, x, F == QF_FP4 || from != AMAX_FOUND ? amax : NULL, group, runs, D, block, per_row, (int)from, round);
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
        case QF_FP4: fake<T, QF_FP4>(be, py, px, q, a, g, N, D, round); break;
        case QF_MXFP4: fake<T, QF_MXFP4>(be, py, px, q, a, g, N, D, round); break;
        case QF_FP8: fake<T, QF_FP8>(be, py, px, q, a, g, N, D, round); break;
        case QF_INT8: fake<T, QF_INT8>(be, py, px, q, a, g, N, D, round); break;
        case QF_INT4: fake<T, QF_INT4>(be, py, px, q, a, g, N, D, round); break;
        default: BUG("format %d is not a quantizer", (int)q->format);
        }
    });
    CHECK_LAUNCH(be, "fakequant");
}
