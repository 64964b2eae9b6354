/* The CUDA backend's row-wise and elementwise ops: norms, rotary embedding, SwiGLU, residual, rows. */
#include "backend_cuda.h"

/* ---- RMSNorm. Where a row is L vectors of 8, L lanes of a warp have one each; other rows of whole vectors are held by
 * a block of threads (L = 0); what is left is read one element at a time, a warp or a block a row (norm_any). */

enum { NORM_THREADS = 256 };

template <int L> struct norm_row {
    static constexpr int M = L ? 1 : HELD; /* vectors a thread */
    size_t row;
    int end; /* elements of the row; 0 behind the last one */

    __device__ norm_row(int N, int D)
    {
        row = L ? (blockIdx.x * blockDim.x + threadIdx.x) / (L ? L : 1) : blockIdx.x;
        end = row < (size_t)N ? D : 0;
    }
    __device__ int at(int i) const
    {
        return L ? (int)threadIdx.x % (L ? L : 1) * 8 : held_at(i);
    }
    __device__ float sum(float v, float *shared) const
    {
        if constexpr (L > 0) {
#pragma unroll
            for (int d = L / 2; d; d /= 2)
                v += __shfl_xor_sync(0xffffffffu, v, d);
            return v;
        } else
            return reduce_row(v, shared, add_op());
    }
};

template <typename T, typename W, int L> static __global__ void __launch_bounds__(NORM_THREADS)
    k_rmsnorm(T *y, const T *x, const W *w, int N, int D, float eps)
{
    __shared__ float shared[NORM_THREADS / 32];
    const norm_row<L> at(N, D);
    raw8<T> rx[at.M];
    x += at.row * D;
    y += at.row * D;
    float xx = 0;
#pragma unroll
    for (int i = 0; i < at.M; i++)
        if (at.at(i) < at.end)
            rx[i] = ldraw(x + at.at(i));
#pragma unroll
    for (int i = 0; i < at.M; i++)
        if (at.at(i) < at.end) {
            float a[8];
            ldv<8>(rx[i].elements(), a);
#pragma unroll
            for (int k = 0; k < 8; k++)
                xx = __fmaf_rn(a[k], a[k], xx);
        }
    const float r = rsqrtf(at.sum(xx, shared) / (float)D + eps);
#pragma unroll
    for (int i = 0; i < at.M; i++)
        if (at.at(i) < at.end) {
            float a[8], b[8];
            ldv<8>(rx[i].elements(), a);
            ldv<8>(w + at.at(i), b);
#pragma unroll
            for (int k = 0; k < 8; k++)
                a[k] = b[k] * rnd<T>(a[k] * r);
            stv<8>(y + at.at(i), a);
        }
}

template <typename T, typename W, int L> static __global__ void __launch_bounds__(NORM_THREADS)
    k_rmsnorm_bwd(T *dx, const T *dy, const T *x, const W *w, int N, int D, float eps)
{
    __shared__ float shared[NORM_THREADS / 32], shared2[NORM_THREADS / 32];
    const norm_row<L> at(N, D);
    raw8<T> rx[at.M], rdy[at.M];
    x += at.row * D;
    dy += at.row * D;
    dx += at.row * D;
    float xx = 0, gx = 0;
#pragma unroll
    for (int i = 0; i < at.M; i++)
        if (at.at(i) < at.end) {
            rx[i] = ldraw(x + at.at(i));
            rdy[i] = ldraw(dy + at.at(i));
        }
#pragma unroll
    for (int i = 0; i < at.M; i++)
        if (at.at(i) < at.end) {
            float a[8], b[8], c[8];
            ldv<8>(rx[i].elements(), a);
            ldv<8>(rdy[i].elements(), b);
            ldv<8>(w + at.at(i), c);
#pragma unroll
            for (int k = 0; k < 8; k++) {
                xx = __fmaf_rn(a[k], a[k], xx);
                gx = __fmaf_rn(rnd<T>(b[k] * c[k]), a[k], gx);
            }
        }
    const float r = rsqrtf(at.sum(xx, shared) / (float)D + eps);
    const float f = r * r * r / (float)D * at.sum(gx, shared2);
#pragma unroll
    for (int i = 0; i < at.M; i++)
        if (at.at(i) < at.end) {
            float a[8], b[8], c[8];
            ldv<8>(rx[i].elements(), a);
            ldv<8>(rdy[i].elements(), b);
            ldv<8>(w + at.at(i), c);
#pragma unroll
            for (int k = 0; k < 8; k++)
                a[k] = r * rnd<T>(b[k] * c[k]) - a[k] * f;
            stv<8>(dx + at.at(i), a);
        }
}

/* Both, one element at a time: y = RMSNorm of x, or without y the backward pass. */
template <typename T, typename W>
static __global__ void k_norm_any(T *y, T *dx, const T *dy, const T *x, const W *w, int N, int D, float eps)
{
    __shared__ float shared[ROW_THREADS / 32], shared2[ROW_THREADS / 32];
    const size_t row = blockIdx.x * blockDim.y + threadIdx.y, at = row * D;
    if (row >= (size_t)N)
        return;
    float xx = 0, gx = 0;
    for (int j = (int)threadIdx.x; j < D; j += (int)blockDim.x) {
        const float a = ld(x + at + j);
        xx = __fmaf_rn(a, a, xx);
        gx = y ? 0 : __fmaf_rn(rnd<T>(ld(dy + at + j) * ld(w + j)), a, gx);
    }
    const float r = rsqrtf(reduce_row(xx, shared, add_op()) / (float)D + eps);
    const float f = r * r * r / (float)D * reduce_row(gx, shared2, add_op());
    for (int j = (int)threadIdx.x; j < D; j += (int)blockDim.x) {
        const float a = ld(x + at + j), b = ld(w + j);
        if (y)
            st(y + at + j, b * rnd<T>(a * r));
        else
            st(dx + at + j, r * rnd<T>(ld(dy + at + j) * b) - a * f);
    }
}

template <typename T, typename W, int L>
static void norm_of(struct be *be, T *y, T *dx, const T *dy, const T *x, const W *w, int N, int D, float eps)
{
    constexpr int rows = L ? NORM_THREADS / (L ? L : 1) : 1;
    const unsigned grid = (unsigned)((N + rows - 1) / rows), threads = L ? (unsigned)NORM_THREADS : row_holders(D);
    if (y)
        k_rmsnorm<T, W, L><<<grid, threads, 0, be->stream>>>(y, x, w, N, D, eps);
    else
        k_rmsnorm_bwd<T, W, L><<<grid, threads, 0, be->stream>>>(dx, dy, x, w, N, D, eps);
}

/* dy is x where there is none. */
template <typename T, typename W>
static void norm(struct be *be, T *y, T *dx, const T *dy, const T *x, const W *w, int N, int D, float eps)
{
    const bool vectors = D % 8 == 0 && aligned16(y) && aligned16(dx) && aligned16(dy) && aligned16(x) && aligned16(w);
    if (vectors && D == 64)
        norm_of<T, W, 8>(be, y, dx, dy, x, w, N, D, eps);
    else if (vectors && D == 128)
        norm_of<T, W, 16>(be, y, dx, dy, x, w, N, D, eps);
    else if (vectors && D == 256)
        norm_of<T, W, 32>(be, y, dx, dy, x, w, N, D, eps);
    else if (vectors && row_holders(D) <= NORM_THREADS)
        norm_of<T, W, 0>(be, y, dx, dy, x, w, N, D, eps);
    else
        k_norm_any<<<row_grid(N, D), row_block(D), 0, be->stream>>>(y, dx, dy, x, w, N, D, eps);
}

void cuda_rmsnorm(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int D, float eps)
{
    if (be->error.code != ERR_NONE || !N)
        return;
    WITH_TYPE(y, T, WITH_TYPE(w, W, { norm<T, W>(be, ptr<T>(y), NULL, ptr<T>(x), ptr<T>(x), ptr<W>(w), N, D, eps); }));
    CHECK_LAUNCH(be, "rmsnorm");
}

void cuda_rmsnorm_bwd(struct be *be, struct be_view dx, struct be_view dy, struct be_view x, struct be_view w, int N,
                      int D, float eps)
{
    if (be->error.code != ERR_NONE || !N)
        return;
    WITH_TYPE(dx, T,
              WITH_TYPE(w, W, { norm<T, W>(be, NULL, ptr<T>(dx), ptr<T>(dy), ptr<T>(x), ptr<W>(w), N, D, eps); }));
    CHECK_LAUNCH(be, "rmsnorm_bwd");
}

/* ---- rotary embedding: a thread takes V pairs */

template <typename T, int V> static __global__ void k_rope(T *x, const float *c, const float *s, const int32_t *pos,
                                                           int N, int heads, int E, float sign)
{
    const int h = E / 2, per_head = h / V;
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= (size_t)N * heads * per_head)
        return;
    const int j = (int)(i % per_head) * V;
    const size_t head = i / per_head, at = (size_t)pos[head / heads] * h + j;
    T *p = x + head * E + j;
    float a[V], b[V], cv[V], sv[V], u[V], w[V];
    ldv<V>(p, a);
    ldv<V>(p + h, b);
    ldv<V>(c + at, cv);
    ldv<V>(s + at, sv);
#pragma unroll
    for (int k = 0; k < V; k++) {
        const float t = sign * sv[k];
        u[k] = rnd<T>(a[k] * cv[k]) + rnd<T>(-b[k] * t);
        w[k] = rnd<T>(b[k] * cv[k]) + rnd<T>(a[k] * t);
    }
    stv<V>(p, u);
    stv<V>(p + h, w);
}

void cuda_rope(struct be *be, struct be_view x, struct be_view c, struct be_view s, struct be_view pos, int N,
               int heads, int E, bool backward)
{
    if (be->error.code != ERR_NONE || !N)
        return;
    const float *pc = ptr<float>(c), *ps = ptr<float>(s), sign = backward ? -1.0f : 1.0f;
    const int32_t *pp = ptr<int32_t>(pos);
    const bool eight = E % 16 == 0 && aligned16(ptr<char>(x)) && aligned16(pc) && aligned16(ps);
    const size_t n = (size_t)N * (size_t)heads * (size_t)(E / 2 / (eight ? 8 : 1));
    const unsigned grid = (unsigned)((n + 255) / 256);
    WITH_TYPE(x, T, {
        if (eight)
            k_rope<T, 8><<<grid, 256, 0, be->stream>>>(ptr<T>(x), pc, ps, pp, N, heads, E, sign);
        else
            k_rope<T, 1><<<grid, 256, 0, be->stream>>>(ptr<T>(x), pc, ps, pp, N, heads, E, sign);
    });
    CHECK_LAUNCH(be, "rope");
}

/* ---- elementwise */

struct add_pair {
    template <typename T> __device__ void operator()(float &y, float &, float a, float b, float) const
    {
        y = a + b;
    }
};
struct silu_times {
    template <typename T> __device__ void operator()(float &m, float &, float g, float u, float) const
    {
        m = rnd<T>(g * sigmoid_f32(g)) * u;
    }
};
struct silu_times_bwd {
    template <typename T> __device__ void operator()(float &dg, float &du, float g, float u, float dm) const
    {
        const float sig = sigmoid_f32(g), ds = rnd<T>(dm * u);
        du = dm * rnd<T>(g * sig);
        dg = ds * (sig * (1.0f + g * (1.0f - sig)));
    }
};

template <typename T, int V, typename F>
static __global__ void k_elementwise(T *y, T *y2, const T *a, const T *b, const T *c, size_t n, F f)
{
    const size_t i = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * V;
    if (i >= n)
        return;
    float u[V], w[V], av[V], bv[V], cv[V];
    ldv<V>(a + i, av);
    ldv<V>(b + i, bv);
    if (c)
        ldv<V>(c + i, cv);
#pragma unroll
    for (int k = 0; k < V; k++)
        f.template operator()<T>(u[k], w[k], av[k], bv[k], c ? cv[k] : 0.0f);
    stv<V>(y + i, u);
    if (y2)
        stv<V>(y2 + i, w);
}

template <typename F> static void elementwise(struct be *be, struct be_view y, struct be_view y2, struct be_view a,
                                              struct be_view b, struct be_view c, size_t n, F f, const char *name)
{
    if (be->error.code != ERR_NONE || !n)
        return;
    WITH_TYPE(y, T, {
        T *py = ptr<T>(y), *py2 = y2.buf ? ptr<T>(y2) : NULL, *pa = ptr<T>(a), *pb = ptr<T>(b),
          *pc = c.buf ? ptr<T>(c) : NULL;
        if (n % 8 == 0 && aligned16(py) && aligned16(py2) && aligned16(pa) && aligned16(pb) && aligned16(pc))
            k_elementwise<T, 8><<<(unsigned)((n / 8 + 255) / 256), 256, 0, be->stream>>>(py, py2, pa, pb, pc, n, f);
        else
            k_elementwise<T, 1><<<(unsigned)((n + 255) / 256), 256, 0, be->stream>>>(py, py2, pa, pb, pc, n, f);
    });
    CHECK_LAUNCH(be, name);
}

void cuda_add(struct be *be, struct be_view y, struct be_view a, struct be_view b, size_t n)
{
    const struct be_view none = {};
    elementwise(be, y, none, a, b, none, n, add_pair(), "add");
}

void cuda_swiglu(struct be *be, struct be_view m, struct be_view g, struct be_view u, size_t n)
{
    const struct be_view none = {};
    elementwise(be, m, none, g, u, none, n, silu_times(), "swiglu");
}

void cuda_swiglu_bwd(struct be *be, struct be_view dg, struct be_view du, struct be_view dm, struct be_view g,
                     struct be_view u, size_t n)
{
    elementwise(be, dg, du, g, u, dm, n, silu_times_bwd(), "swiglu_bwd");
}

/* ---- rows */

template <typename T> static __global__ void k_gather(T *y, const T *x, const int32_t *row, int D, bool scatter)
{
    const size_t from = scatter ? blockIdx.x : (size_t)row[blockIdx.x],
                 to = scatter ? (size_t)row[blockIdx.x] : blockIdx.x;
    for (int j = (int)threadIdx.x; j < D; j += (int)blockDim.x)
        y[to * D + j] = x[from * D + j];
}

/* The same in vectors: D elements of 16 bits, whatever they mean. */
static __global__ void __launch_bounds__(HOLDERS)
    k_gather_vectors(bf16 *y, const bf16 *x, const int32_t *row, int D, bool scatter)
{
    const size_t from = scatter ? blockIdx.x : (size_t)row[blockIdx.x],
                 to = scatter ? (size_t)row[blockIdx.x] : blockIdx.x;
    raw8<bf16> r[HELD];
    hold_row(r, x + from * D, D);
#pragma unroll
    for (int i = 0; i < HELD; i++)
        if (held_at(i) < D)
            *(uint4 *)(y + to * D + held_at(i)) = r[i].part[0];
}

static void move_rows(struct be *be, struct be_view y, struct be_view x, const int32_t *row, int n, int D, bool scatter)
{
    const int halves = D * (int)(dtype_size(y.dtype) / 2);
    const unsigned threads = row_holders(halves);
    if (halves % 8 == 0 && threads <= HOLDERS && aligned16(ptr<char>(y)) && aligned16(ptr<char>(x)))
        k_gather_vectors<<<(unsigned)n, threads, 0, be->stream>>>(ptr<bf16>(y), ptr<bf16>(x), row, halves, scatter);
    else
        WITH_TYPE(y, T, (k_gather<<<(unsigned)n, 256, 0, be->stream>>>(ptr<T>(y), ptr<T>(x), row, D, scatter)));
}

void cuda_gather_rows(struct be *be, struct be_view y, struct be_view x, struct be_view row, int n, int D)
{
    if (be->error.code != ERR_NONE || !n)
        return;
    move_rows(be, y, x, ptr<int32_t>(row), n, D, false);
    CHECK_LAUNCH(be, "gather_rows");
}

void cuda_scatter_rows(struct be *be, struct be_view y, struct be_view x, struct be_view row, int n, int N, int D)
{
    if (be->error.code != ERR_NONE)
        return;
    const size_t nb = (size_t)N * (size_t)D * dtype_size(y.dtype);
    if (n < N) /* rows are distinct: N of them are all */
        cuda_failed(be, cudaMemsetAsync(ptr<char>(y), 0, nb, be->stream), "scatter_rows");
    if (n)
        move_rows(be, y, x, ptr<int32_t>(row), n, D, true);
    CHECK_LAUNCH(be, "scatter_rows");
}
