/* backend_cpu - what the files of the CPU backend share: its handle, row access, scratch. Private to backend_cpu_*.c.
 */
#ifndef BACKEND_CPU_H
#define BACKEND_CPU_H
#include <string.h>

#include "backend.h"
#include "mem.h"
#include "num.h"
#include "parallel.h"

struct be_buf {
    char *data;
    size_t nb;
};

struct cpu_scratch {
    float *data;
    size_t n;
};

struct be {
    struct err error; /* sticky */
    int n_threads;
    struct cpu_scratch *thread; /* one a thread */
    struct cpu_scratch lengths; /* of a GEMM's rows */
    struct cpu_scratch operand; /* fp32 copies of a GEMM's bf16 operand; the calling thread's */
};

static inline void *cpu_ptr(struct be_view v)
{
    return v.buf->data + v.off;
}
static inline float *cpu_f32(struct be_view v)
{
    if (v.dtype != DT_F32)
        BUG("an F32 view was expected, this one is %s", dtype_name(v.dtype));
    return cpu_ptr(v);
}
static inline const int32_t *cpu_i32(struct be_view v)
{
    return cpu_ptr(v);
}

/* At least n floats of scratch, contents undefined. */
float *cpu_scratch(struct cpu_scratch *s, size_t n);
static inline float *cpu_thread_scratch(struct be *be, int thread, size_t n)
{
    return cpu_scratch(&be->thread[thread], n);
}

static inline void cpu_widen(float *dst, const uint16_t *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = bf16_to_f32(src[i]);
}

/* n elements from `first` as fp32: in place where they are fp32, else widened into tmp. */
static inline const float *cpu_read(struct be_view v, size_t first, size_t n, float *tmp)
{
    if (v.dtype == DT_F32)
        return (const float *)cpu_ptr(v) + first;
    if (v.dtype != DT_BF16)
        BUG("a BF16 or F32 view was expected, this one is %s", dtype_name(v.dtype));
    cpu_widen(tmp, (const uint16_t *)cpu_ptr(v) + first, n);
    return tmp;
}

/* Where to compute n elements: in place where the view is fp32, else tmp; cpu_write then rounds them into the view. */
static inline float *cpu_out(struct be_view v, size_t first, float *tmp)
{
    return v.dtype == DT_F32 ? (float *)cpu_ptr(v) + first : tmp;
}
static inline void cpu_write(struct be_view v, size_t first, size_t n, const float *src)
{
    if (v.dtype == DT_F32) {
        float *dst = (float *)cpu_ptr(v) + first;
        if (dst != src)
            memcpy(dst, src, n * sizeof *dst);
        return;
    }
    if (v.dtype != DT_BF16)
        BUG("a BF16 or F32 view was expected, this one is %s", dtype_name(v.dtype));
    uint16_t *dst = (uint16_t *)cpu_ptr(v) + first;
    for (size_t i = 0; i < n; i++)
        dst[i] = bf16_from_f32(src[i]);
}

/* x rounded as an inner step of an op whose output is v. */
static inline float cpu_round(bool to_bf16, float x)
{
    return to_bf16 ? bf16_round(x) : x;
}

/* Rows per piece of work, for rows of D elements. */
static inline size_t cpu_grain(size_t D)
{
    return D >= 32768 ? 1 : 32768 / (D ? D : 1);
}

/* Sum of x[i]*y[i] in 16 partial sums, so that the order is the same on every machine. */
float cpu_dot(const float *x, const float *y, size_t n);

/* Ops, grouped by file. */
void cpu_linear(struct be *, struct be_view y, struct be_view x, struct be_view w, int N, int I, int O, int ldy,
                bool as_reference);
void cpu_linear_dx(struct be *, struct be_view dx, struct be_view dy, struct be_view w, int N, int I, int O,
                   bool accumulate);
/* c [M, n] (row length ldc) = a [M, k] b^T (b [n, k]) or a b (b [k, n]), one thread. */
void cpu_gemm(bool transpose_b, int M, int n, int k, const float *a, int lda, const float *b, int ldb, float beta,
              float *c, int ldc);
void cpu_rmsnorm(struct be *, struct be_view y, struct be_view x, struct be_view w, int N, int D, float eps);
void cpu_rmsnorm_bwd(struct be *, struct be_view dx, struct be_view dy, struct be_view x, struct be_view w, int N,
                     int D, float eps);
void cpu_rope(struct be *, struct be_view x, struct be_view c, struct be_view s, struct be_view pos, int N, int heads,
              int E, bool backward);
void cpu_attention(struct be *, struct be_view o, struct be_view lse, struct be_view q, struct be_view k,
                   struct be_view v, struct be_seqs seqs, int H, int K, int E);
void cpu_attention_bwd(struct be *, struct be_view dq, struct be_view dk, struct be_view dv, struct be_view dout,
                       struct be_view q, struct be_view k, struct be_view v, struct be_view o, struct be_view lse,
                       struct be_seqs seqs, int H, int K, int E);
void cpu_add(struct be *, struct be_view y, struct be_view a, struct be_view b, size_t n);
void cpu_swiglu(struct be *, struct be_view m, struct be_view g, struct be_view u, size_t n);
void cpu_swiglu_bwd(struct be *, struct be_view dg, struct be_view du, struct be_view dm, struct be_view g,
                    struct be_view u, size_t n);
void cpu_xent(struct be *, struct be_view stat, struct be_view loss, struct be_view z, struct be_view target, int N,
              int V);
void cpu_xent_bwd(struct be *, struct be_view dz, struct be_view z, struct be_view stat, struct be_view target,
                  struct be_view s, int N, int V, int c0, int n);
void cpu_amax_rows(struct be *, struct be_view out, struct be_view x, struct be_view group, int N, int D);
void cpu_amax_cols(struct be *, struct be_view out, struct be_view x, int N, int D);
void cpu_fakequant(struct be *, struct be_view y, struct be_view x, const struct quantizer *q, struct be_view amax,
                   struct be_view group, int N, int D, bool round_bf16);
void cpu_score_rows(struct be *, struct be_outputs q, struct be_view y, struct be_view g, int N, int n, int ldy);
void cpu_segment_sum(struct be *, struct be_view out, size_t out_stride, struct be_view x, size_t x_stride, int count,
                     struct be_view offset, int n);

#endif
