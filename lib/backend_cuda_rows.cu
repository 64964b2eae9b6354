/* The CUDA backend's row-wise and elementwise ops: norms, rotary embedding, SwiGLU, residual, rows, cross-entropy. */
#include "backend_cuda.h"

/* ---- RMSNorm: a warp or a block a row; rows are read twice, the second time from cache */

template <typename T, int V> static __device__ inline float row_dot(const T *x, const T *y, int D)
{
    float s = 0;
    for (int j = (int)threadIdx.x * V; j < D; j += (int)blockDim.x * V) {
        float a[V], b[V];
        ldv<V>(x + j, a);
        ldv<V>(y + j, b);
#pragma unroll
        for (int i = 0; i < V; i++)
            s += a[i] * b[i];
    }
    return s;
}

template <typename T, typename W, int V>
static __global__ void k_rmsnorm(T *y, const T *x, const W *w, int N, int D, float eps)
{
    __shared__ float shared[ROW_THREADS / 32];
    const int row = (int)(blockIdx.x * blockDim.y + threadIdx.y);
    if (row >= N)
        return;
    x += (size_t)row * D;
    y += (size_t)row * D;
    const float r = rsqrtf(reduce_row(row_dot<T, V>(x, x, D), shared, add_op()) / (float)D + eps);
    for (int j = (int)threadIdx.x * V; j < D; j += (int)blockDim.x * V) {
        float a[V], b[V];
        ldv<V>(x + j, a);
        ldv<V>(w + j, b);
#pragma unroll
        for (int i = 0; i < V; i++)
            a[i] = b[i] * rnd<T>(a[i] * r);
        stv<V>(y + j, a);
    }
}

template <typename T, typename W, int V>
static __global__ void k_rmsnorm_bwd(T *dx, const T *dy, const T *x, const W *w, int N, int D, float eps)
{
    __shared__ float shared[ROW_THREADS / 32], shared2[ROW_THREADS / 32];
    const int row = (int)(blockIdx.x * blockDim.y + threadIdx.y);
    if (row >= N)
        return;
    x += (size_t)row * D;
    dy += (size_t)row * D;
    dx += (size_t)row * D;
    const float r = rsqrtf(reduce_row(row_dot<T, V>(x, x, D), shared, add_op()) / (float)D + eps);
    float gx = 0;
    for (int j = (int)threadIdx.x * V; j < D; j += (int)blockDim.x * V) {
        float a[V], b[V], c[V];
        ldv<V>(x + j, a);
        ldv<V>(dy + j, b);
        ldv<V>(w + j, c);
#pragma unroll
        for (int i = 0; i < V; i++)
            gx += rnd<T>(b[i] * c[i]) * a[i];
    }
    const float k = r * r * r / (float)D * reduce_row(gx, shared2, add_op());
    for (int j = (int)threadIdx.x * V; j < D; j += (int)blockDim.x * V) {
        float a[V], b[V], c[V];
        ldv<V>(x + j, a);
        ldv<V>(dy + j, b);
        ldv<V>(w + j, c);
#pragma unroll
        for (int i = 0; i < V; i++)
            a[i] = r * rnd<T>(b[i] * c[i]) - a[i] * k;
        stv<V>(dx + j, a);
    }
}

static bool by_eight(int D, const void *a, const void *b, const void *c, const void *d)
{
    return D % 8 == 0 && aligned16(a) && aligned16(b) && aligned16(c) && aligned16(d);
}

void cuda_rmsnorm(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int D, float eps)
{
    if (be->error.code != ERR_NONE || !N)
        return;
    WITH_TYPE(y, T, WITH_TYPE(w, W, {
                  T *py = ptr<T>(y), *px = ptr<T>(x);
                  W *pw = ptr<W>(w);
                  if (by_eight(D, py, px, pw, px))
                      k_rmsnorm<T, W, 8><<<row_grid(N, D), row_block(D), 0, be->stream>>>(py, px, pw, N, D, eps);
                  else
                      k_rmsnorm<T, W, 1><<<row_grid(N, D), row_block(D), 0, be->stream>>>(py, px, pw, N, D, eps);
              }));
    CHECK_LAUNCH(be, "rmsnorm");
}

void cuda_rmsnorm_bwd(struct be *be, struct be_view dx, struct be_view dy, struct be_view x, struct be_view w, int N,
                      int D, float eps)
{
    if (be->error.code != ERR_NONE || !N)
        return;
    WITH_TYPE(
        dx, T, WITH_TYPE(w, W, {
            T *pdx = ptr<T>(dx), *pdy = ptr<T>(dy), *px = ptr<T>(x);
            W *pw = ptr<W>(w);
            if (by_eight(D, pdx, pdy, px, pw))
                k_rmsnorm_bwd<T, W, 8><<<row_grid(N, D), row_block(D), 0, be->stream>>>(pdx, pdy, px, pw, N, D, eps);
            else
                k_rmsnorm_bwd<T, W, 1><<<row_grid(N, D), row_block(D), 0, be->stream>>>(pdx, pdy, px, pw, N, D, eps);
        }));
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

void cuda_gather_rows(struct be *be, struct be_view y, struct be_view x, struct be_view row, int n, int D)
{
    if (be->error.code != ERR_NONE || !n)
        return;
    WITH_TYPE(y, T, (k_gather<<<(unsigned)n, 256, 0, be->stream>>>(ptr<T>(y), ptr<T>(x), ptr<int32_t>(row), D, false)));
    CHECK_LAUNCH(be, "gather_rows");
}

void cuda_scatter_rows(struct be *be, struct be_view y, struct be_view x, struct be_view row, int n, int N, int D)
{
    if (be->error.code != ERR_NONE)
        return;
    const size_t nb = (size_t)N * (size_t)D * dtype_size(y.dtype);
    cuda_failed(be, cudaMemsetAsync(ptr<char>(y), 0, nb, be->stream), "scatter_rows");
    if (n)
        WITH_TYPE(y, T,
                  (k_gather<<<(unsigned)n, 256, 0, be->stream>>>(ptr<T>(y), ptr<T>(x), ptr<int32_t>(row), D, true)));
    CHECK_LAUNCH(be, "scatter_rows");
}

/* ---- cross-entropy: a block a row */

enum { XENT_THREADS = 512 };

template <typename T> static __global__ void k_xent(float *stat, float *loss, const T *z, const int32_t *target, int V)
{
    __shared__ float shared[XENT_THREADS / 32], shared2[XENT_THREADS / 32];
    const T *row = z + (size_t)blockIdx.x * V;
    float m = -INFINITY, s = 0;
    for (int j = (int)threadIdx.x; j < V; j += (int)blockDim.x)
        m = fmaxf(m, ld(row + j)); /* a NaN shows in the sum */
    m = reduce_row(m, shared, [] __device__(float a, float b) { return fmaxf(a, b); });
    for (int j = (int)threadIdx.x; j < V; j += (int)blockDim.x)
        s += exp_f32(ld(row + j) - m);
    const float log_sum = logf(reduce_row(s, shared2, add_op()));
    if (threadIdx.x == 0) {
        stat[2 * blockIdx.x] = m;
        stat[2 * blockIdx.x + 1] = log_sum;
        loss[blockIdx.x] = -rnd<T>(ld(row + target[blockIdx.x]) - m - log_sum);
    }
}

void cuda_xent(struct be *be, struct be_view stat, struct be_view loss, struct be_view z, struct be_view target, int N,
               int V)
{
    if (be->error.code != ERR_NONE || !N)
        return;
    WITH_TYPE(z, T,
              (k_xent<<<(unsigned)N, XENT_THREADS, 0, be->stream>>>(ptr<float>(stat), ptr<float>(loss), ptr<T>(z),
                                                                    ptr<int32_t>(target), V)));
    CHECK_LAUNCH(be, "xent");
}

template <typename T> static __global__ void k_xent_bwd(T *dz, const T *z, const float *stat, const int32_t *target,
                                                        const float *s, int V, int c0, int n)
{
    const int row = (int)blockIdx.y, j = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (j >= n)
        return;
    const float lp = rnd<T>(ld(z + (size_t)row * V + c0 + j) - stat[2 * row] - stat[2 * row + 1]), scale = s[row];
    const float p = scale * exp_f32(lp);
    st(dz + (size_t)row * n + j, c0 + j == target[row] ? p - scale : p);
}

void cuda_xent_bwd(struct be *be, struct be_view dz, struct be_view z, struct be_view stat, struct be_view target,
                   struct be_view s, int N, int V, int c0, int n)
{
    if (be->error.code != ERR_NONE || !N)
        return;
    const dim3 grid((unsigned)((n + 255) / 256), (unsigned)N);
    WITH_TYPE(dz, T,
              (k_xent_bwd<<<grid, 256, 0, be->stream>>>(ptr<T>(dz), ptr<T>(z), ptr<float>(stat), ptr<int32_t>(target),
                                                        ptr<float>(s), V, c0, n)));
    CHECK_LAUNCH(be, "xent_bwd");
}
