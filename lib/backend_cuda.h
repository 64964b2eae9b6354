/* backend_cuda - what the files of the CUDA backend share: its handle, element access, launches. Private to
 * backend_cuda*.cu.
 *
 * All work goes to one stream. Kernels read and write BF16 or F32 through ld() and st(); st() rounds to nearest even,
 * and rnd<T>() is an inner step marked [r] in backend.h. Reductions run in a fixed order; the only atomics are maxima.
 */
#ifndef BACKEND_CUDA_H
#define BACKEND_CUDA_H
#include <cuda_bf16.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

extern "C" {
#include "backend.h"
#include "fakequant.h"
#include "mem.h"
#include "num.h"
#include "parallel.h"
#include "vecmath.h"
}
#include "backend_cuda_matmul.h"

typedef __nv_bfloat16 bf16;

struct be_buf {
    char *data; /* device */
    size_t nb;
};

enum { STAGES = 2, STAGE_BYTES = 32 << 20 };

struct be {
    struct err error; /* sticky */
    size_t limit;     /* bytes of device memory to stay below; 0: none */
    size_t used;      /* by cuda_malloc */
    cudaStream_t stream;
    cudaStream_t copies;             /* of weights that arrive beside the ops */
    cudaEvent_t fence_event, arrived;
    cublasLtHandle_t blas;
    void *workspace;
    char *stage[STAGES]; /* pinned */
    cudaEvent_t stage_free[STAGES];
    int next_stage;
    char *unpacked; /* device: staged data of another type; used by `copies` alone */
    char *scratch;  /* device */
    size_t scratch_bytes;
    char gpu[256];           /* the device's name */
    struct gemm_table table; /* without a name where there is none */
    struct gemm_plan *plan;  /* of the shapes that came by */
    size_t n_plans, plans_cap, last_plan;
    cudaEvent_t *mark;
    int n_marks;
};

/* Note a failed call once; true if it failed now or earlier. */
bool cuda_failed(struct be *be, cudaError_t rc, const char *what);
/* Device memory; NULL after a sticky error, ERR_LIMIT where the limit or the device has no room. */
void *cuda_malloc(struct be *be, size_t nb, const char *what);
void cuda_release(struct be *be, void *p, size_t nb);
/* At least nb bytes of device scratch, contents undefined; the next call may give the same memory. */
void *cuda_scratch(struct be *be, size_t nb);

template <typename T> static inline T *ptr(struct be_view v)
{
    return (T *)(void *)(v.buf->data + v.off);
}

/* ---- elements */

static __device__ inline float ld(const float *p)
{
    return *p;
}
static __device__ inline float ld(const bf16 *p)
{
    return __bfloat162float(*p);
}
static __device__ inline void st(float *p, float x)
{
    *p = x;
}
static __device__ inline void st(bf16 *p, float x)
{
    *p = __float2bfloat16_rn(x);
}
template <typename T> static __device__ inline float rnd(float x);
template <> __device__ inline float rnd<float>(float x)
{
    return x;
}
template <> __device__ inline float rnd<bf16>(float x)
{
    const __nv_bfloat162 h = __floats2bfloat162_rn(0.0f, x); /* the upper half of an fp32: one instruction */
    float r;
    memcpy(&r, &h, 4);
    return r;
}

/* As fminf and fmaxf, but NaN stays. */
static __device__ inline float min_or_nan(float a, float b)
{
    float r;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
}
static __device__ inline float max_or_nan(float a, float b)
{
    float r;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
}

/* 2^x within 2 ulp, as the reference's attention computes it: one instruction. */
static __device__ inline float exp2_approximate(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
/* e^x as near: what rounding x*log2(e) loses is put back to first order. */
static __device__ inline float exp_approximate(float x)
{
    const float t = x * 1.44269504f, lost = __fmaf_rn(x, 1.44269504f, -t) + x * 1.92596299e-8f;
    const float y = exp2_approximate(t);
    return y == 0 ? y : __fmaf_rn(y, lost * 0.693147181f, y); /* -inf loses NaN */
}

/* V elements at once: V = 8 where addresses allow, else 1. */
template <int V> static __device__ inline void ldv(const float *p, float *x)
{
    if (V == 8) {
        const float4 a = ((const float4 *)p)[0], b = ((const float4 *)p)[1];
        x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w, x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
    } else
        x[0] = *p;
}
template <int V> static __device__ inline void ldv(const bf16 *p, float *x)
{
    if (V == 8) {
        const uint4 u = *(const uint4 *)p;
        const uint32_t w[4] = {u.x, u.y, u.z, u.w};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            x[2 * i] = __uint_as_float(w[i] << 16);
            x[2 * i + 1] = __uint_as_float(w[i] & 0xffff0000u);
        }
    } else
        x[0] = __bfloat162float(*p);
}
template <int V> static __device__ inline void stv(float *p, const float *x)
{
    if (V == 8) {
        ((float4 *)p)[0] = make_float4(x[0], x[1], x[2], x[3]);
        ((float4 *)p)[1] = make_float4(x[4], x[5], x[6], x[7]);
    } else
        *p = x[0];
}
template <int V> static __device__ inline void stv(bf16 *p, const float *x)
{
    if (V == 8) {
        uint32_t w[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const __nv_bfloat162 h = __floats2bfloat162_rn(x[2 * i], x[2 * i + 1]);
            memcpy(&w[i], &h, 4);
        }
        *(uint4 *)p = make_uint4(w[0], w[1], w[2], w[3]);
    } else
        *p = __float2bfloat16_rn(x[0]);
}
static inline bool aligned16(const void *p)
{
    return ((uintptr_t)p & 15) == 0;
}

/* 8 elements as they lie in memory: BF16 takes half the registers of floats. ldv<8> and stv<8> take elements(). */
template <typename T> struct raw8 {
    uint4 part[sizeof(T) / 2];
    __device__ const T *elements() const
    {
        return (const T *)part;
    }
};
template <typename T> static __device__ inline raw8<T> ldraw(const T *p)
{
    raw8<T> r;
#pragma unroll
    for (size_t i = 0; i < sizeof(T) / 2; i++)
        r.part[i] = ((const uint4 *)p)[i];
    return r;
}

/* ---- a row in registers: read once, all of it on its way at the same time. Threads of a block share it, every one has
 * at most HELD vectors of 8 elements: vector i of a thread begins at held_at(i). */

enum { HELD = 8, HOLDERS = 512 };

static __device__ inline int held_at(int i)
{
    return (int)(threadIdx.x + (unsigned)i * blockDim.x) * 8;
}
template <typename T> static __device__ inline void hold_row(raw8<T> *r, const T *x, int D)
{
#pragma unroll
    for (int i = 0; i < HELD; i++)
        if (held_at(i) < D)
            r[i] = ldraw(x + held_at(i));
}
/* Threads that hold a row of D elements, D % 8 == 0: as few as can, a multiple of 32. */
static inline unsigned row_holders(int D)
{
    return (unsigned)(D / 8 + 32 * HELD - 1) / (32 * HELD) * 32;
}

/* ---- reductions: over the threads of a row, blockDim.x = 32 (a warp a row) or more (a block a row) */

enum { ROW_THREADS = 256, WARP_ROWS = 8 };

template <typename R, typename F> static __device__ inline R reduce_row(R v, R *shared, F combine)
{
    for (int d = 16; d; d /= 2)
        v = combine(v, __shfl_xor_sync(0xffffffffu, v, d));
    if (blockDim.x == 32)
        return v;
    const int warp = (int)threadIdx.x / 32, n = (int)blockDim.x / 32;
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        shared[warp] = v;
    __syncthreads();
    v = shared[0];
    for (int i = 1; i < n; i++)
        v = combine(v, shared[i]);
    return v;
}
struct add_op {
    template <typename R> __device__ R operator()(R a, R b) const
    {
        return a + b;
    }
};
struct max_op { /* of non-negative floats as integers: NaN is the largest */
    __device__ int operator()(int a, int b) const
    {
        return a > b ? a : b;
    }
};

/* Launch over N rows: a warp a row where rows are short, else a block a row. */
static inline dim3 row_block(int D)
{
    return D <= 512 ? dim3(32, WARP_ROWS) : dim3(ROW_THREADS, 1);
}
static inline unsigned row_grid(int N, int D)
{
    return D <= 512 ? (unsigned)((N + WARP_ROWS - 1) / WARP_ROWS) : (unsigned)N;
}

#define CHECK_LAUNCH(be, name) cuda_failed(be, cudaGetLastError(), name)
/* Call `f` with the element type of view v, BF16 or F32, as T. */
#define WITH_TYPE(v, T, ...)                                                                                           \
    do {                                                                                                               \
        if ((v).dtype == DT_BF16) {                                                                                    \
            typedef bf16 T;                                                                                            \
            __VA_ARGS__;                                                                                               \
        } else if ((v).dtype == DT_F32) {                                                                              \
            typedef float T;                                                                                           \
            __VA_ARGS__;                                                                                               \
        } else                                                                                                         \
            BUG("a BF16 or F32 view was expected, this one is %s", dtype_name((v).dtype));                             \
    } while (0)

/* ---- GEMM: the table of algorithms in dir (NULL: none) that fits be->gpu, if there is one; plans */
int cuda_gemm_open(struct be *be, const char *dir, struct err *e) MUST_CHECK;
void cuda_gemm_close(struct be *be);
char *cuda_gemm_used(struct be *be);
/* The name of device 0. */
int cuda_device_name(char name[256], struct err *e) MUST_CHECK;

/* ---- ops, by file */
size_t cuda_scratch_bytes(enum dtype t, int N, int H, int E);
void cuda_linear(struct be *, struct be_view y, struct be_view x, struct be_view w, int N, int I, int O, int ldy, bool);
void cuda_linear_dx(struct be *, struct be_view dx, struct be_view dy, struct be_view w, int N, int I, int O,
                    bool accumulate);
void cuda_rmsnorm(struct be *, struct be_view y, struct be_view x, struct be_view w, int N, int D, float eps);
void cuda_rmsnorm_bwd(struct be *, struct be_view dx, struct be_view dy, struct be_view x, struct be_view w, int N,
                      int D, float eps);
void cuda_rope(struct be *, struct be_view x, struct be_view c, struct be_view s, struct be_view pos, int N, int heads,
               int E, bool backward);
void cuda_add(struct be *, struct be_view y, struct be_view a, struct be_view b, size_t n);
void cuda_swiglu(struct be *, struct be_view m, struct be_view g, struct be_view u, size_t n);
void cuda_swiglu_bwd(struct be *, struct be_view dg, struct be_view du, struct be_view dm, struct be_view g,
                     struct be_view u, size_t n);
void cuda_gather_rows(struct be *, struct be_view y, struct be_view x, struct be_view row, int n, int D);
void cuda_scatter_rows(struct be *, struct be_view y, struct be_view x, struct be_view row, int n, int N, int D);
void cuda_xent(struct be *, struct be_view stat, struct be_view loss, struct be_view z, struct be_view target, int N,
               int V);
void cuda_xent_bwd(struct be *, struct be_view dz, struct be_view z, struct be_view stat, struct be_view target,
                   struct be_view s, int N, int V, int c0, int n);
void cuda_attention(struct be *, struct be_view o, struct be_view lse, struct be_view q, struct be_view k,
                    struct be_view v, struct be_seqs seqs, int H, int K, int E);
void cuda_attention_bwd(struct be *, struct be_view dq, struct be_view dk, struct be_view dv, struct be_view dout,
                        struct be_view q, struct be_view k, struct be_view v, struct be_view o, struct be_view lse,
                        struct be_seqs seqs, int H, int K, int E);
void cuda_amax_rows(struct be *, struct be_view out, struct be_view x, struct be_view group, int N, int D);
void cuda_amax_cols(struct be *, struct be_view out, struct be_view x, int N, int D);
void cuda_fakequant(struct be *, struct be_view y, struct be_view x, const struct quantizer *q, struct be_view amax,
                    struct be_view group, int N, int D, bool round_bf16);
void cuda_score_rows(struct be *, struct be_outputs q, struct be_view y, struct be_view g, int N, int n, int ldy);
void cuda_segment_sum(struct be *, struct be_view out, size_t out_stride, struct be_view x, size_t x_stride, int count,
                      struct be_view offset, int n);

#endif
