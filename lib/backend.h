/* backend - the operations of the model and of the method, as one const table per implementation: `ref` (plain loops in
 * double, the oracle of the tests) and `cpu` (CBLAS, threads); a GPU is one more table.
 *
 * Memory belongs to a backend and is never dereferenced outside it: a view is (buffer, byte offset, element type).
 * Matrices are row-major and dense. Dimensions, one legend for all code: N rows (tokens), D hidden, F ffn, H heads,
 * K key/value heads, E head dimension, V vocabulary, O outputs and I inputs of a linear layer.
 *
 * Rounding: an op computes in fp32 (ref: double) and rounds wherever the reference stack would have stored a tensor, to
 * the element type of its output view: once per output, and at the inner steps that its comment marks with [r]. So one
 * table serves both modes: BF16 views give the bf16 arithmetic, F32 or F64 views give plain arithmetic.
 * Sums run in an order that does not depend on threads. Outputs may alias inputs only where said.
 * Errors stick to the handle (the first one wins, later ops do nothing) and come out of be_sync. */
#ifndef BACKEND_H
#define BACKEND_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dtype.h"
#include "err.h"
#include "quantizer.h"

struct be;
struct be_buf;

struct be_view {
    struct be_buf *buf;
    size_t off; /* bytes */
    enum dtype dtype;
};

/* The same view moved on by n elements. */
static inline struct be_view be_at(struct be_view v, size_t n)
{
    v.off += n * dtype_size(v.dtype);
    return v;
}

/* Sequences packed one after the other. */
struct be_seqs {
    int n, n_rows;
    double pairs;            /* (query, key) pairs, sum of length*(length+1)/2: what attention costs */
    struct be_view offset;   /* I32 [n+1], first row of each */
    struct be_view sentinel; /* U8 [n], 1: the first row is a sentinel: it attends nothing and nobody attends it */
};

/* Outputs of a unit under several quantizations, and where their row sums go. */
enum { BE_OUTPUTS = 4 };
struct be_outputs {
    int n;
    struct be_view yq[BE_OUTPUTS], sum[BE_OUTPUTS];
};
static inline struct be_outputs be_output(struct be_view yq, struct be_view sum)
{
    const struct be_outputs q = {1, {yq}, {sum}};
    return q;
}

/* Parts of a run, for a profile (profile.h). From PHASE_REPLAY on: the replay of that number. */
enum be_phase {
    PHASE_SETUP,
    PHASE_FORWARD,
    PHASE_HEAD,
    PHASE_RECOMPUTE,
    PHASE_BACKWARD,
    PHASE_QUANTIZE,
    PHASE_SCORE,
    PHASE_REPLAY
};

/* How to open a backend; a NULL pointer stands for all zero. A backend ignores what does not concern it. */
struct be_options {
    size_t memory;           /* bytes of device memory to stay below, the driver's part included; 0: all that is free */
    const char *gemm_tables; /* directory of tables of GEMM algorithms (gemm_table.h), or NULL: no table */
};

/* What a backend computes on; a number that does not apply is 0. */
struct be_device {
    char name[256];                /* "NVIDIA H100 80GB HBM3"; a processor's model */
    int threads;                   /* of the host that compute */
    uint64_t memory, free_memory;  /* bytes */
    int capability;                /* of a GPU: 90 is 9.0 */
    int driver_cuda, runtime_cuda; /* CUDA that the driver takes and that this program was built with: 13000 is 13.0 */
};

struct be_ops {
    const char *name;
    /* Element types this implementation wants in the modes bf16 and fp32, for weights and for activations; and for sums
     * over several calls. */
    enum dtype weight_bf16, weight_fp32, act_bf16, act_fp32, sum_dtype;
    /* Of lm_head taken at once, and of logits that exist at once. */
    size_t head_block_elements, logits_bytes;
    /* Quantized outputs of a unit that exist at once, to be scored in one go; 1 .. BE_OUTPUTS. */
    int outputs_at_once;

    /* Would open work here? If not, why: what open would say. NULL: always. */
    int (*usable)(struct err *e);
    /* The device that open takes. */
    int (*describe)(struct be_device *d, struct err *e);
    /* What results depend on besides the name above, in one line: device, library, tables. The caller frees it. NULL
     * with an error where open would give it. NULL: nothing else. */
    char *(*identity)(const struct be_options *o, struct err *e);

    /* ---- memory */
    struct be *(*open)(const struct be_options *o, struct err *e);
    void (*close)(struct be *);
    struct be_buf *(*alloc)(struct be *, size_t nb); /* zeroed; NULL after a sticky error */
    void (*free)(struct be *, struct be_buf *);
    /* n elements between host memory and a view, of the view's type. */
    void (*put)(struct be *, struct be_view dst, const void *src, size_t n);
    void (*get)(struct be *, void *dst, struct be_view src, size_t n);
    /* dst[n] = src[n] from host memory of type `from`, rounded to bf16 on the way if round_bf16. dst: F32 or act type.
     */
    void (*load)(struct be *, struct be_view dst, const void *src, enum dtype from, size_t n, bool round_bf16);
    /* The same for rows: dst [n, D] = row[i] of the matrix at src, i < n. row is host memory. */
    void (*load_rows)(struct be *, struct be_view dst, const void *src, enum dtype from, const int32_t *row, int n,
                      int D, bool round_bf16);
    /* dst[n] = src[n], rounded to dst's type. */
    void (*convert)(struct be *, struct be_view dst, struct be_view src, size_t n);
    void (*zero)(struct be *, struct be_view dst, size_t n);
    /* Wait for all work; report and clear the sticky error. */
    int (*sync)(struct be *, struct err *e);
    /* gemm.json (gemm_table.h) of all products so far; the caller frees it. NULL: there is no choice of algorithms. */
    char *(*gemm_used)(struct be *);

    /* ---- a device with memory of its own; all NULL where memory is the host's */
    /* Bytes that may still be allocated; negative where the limit is exceeded already. */
    int64_t (*room)(struct be *);
    /* Bytes that ops take besides their arguments, where attention has N rows of type t. */
    size_t (*scratch_bytes)(enum dtype t, int N, int H, int E);
    /* Host memory that the device reads and writes at full speed, undefined at first; NULL after a sticky error. */
    void *(*host_alloc)(struct be *, size_t nb);
    void (*host_free)(struct be *, void *p);
    /* As get, but returns at once. dst is of host_alloc; a later put sees it. */
    void (*save)(struct be *, void *dst, struct be_view src, size_t n);
    /* As load, but beside the ops that were issued since the last fence; nobody may read dst before join. */
    void (*load_ahead)(struct be *, struct be_view dst, const void *src, enum dtype from, size_t n, bool round_bf16);
    void (*fence)(struct be *);
    void (*join)(struct be *);

    /* ---- for a profile; each may be NULL */
    /* Note the time at which all work up to here is done, as mark number i >= 0, a small number that may be used again.
     * NULL where an op's work is done when it returns. */
    void (*mark)(struct be *, int i);
    /* Seconds from mark i to mark j; waits for both. */
    double (*elapsed)(struct be *, int i, int j);
    /* The run is in another phase from now on; returns the one before. NULL: nobody asks. */
    int (*phase)(struct be *, int phase);

    /* ---- rows */
    /* y[i] = x[row[i]], i < n, rows of D. row I32. */
    void (*gather_rows)(struct be *, struct be_view y, struct be_view x, struct be_view row, int n, int D);
    /* y = 0, then y[row[i]] = x[i]: y [N, D]. Rows are distinct. */
    void (*scatter_rows)(struct be *, struct be_view y, struct be_view x, struct be_view row, int n, int N, int D);
    /* y[n] = a[n] + b[n]; y may alias a or b. */
    void (*add)(struct be *, struct be_view y, struct be_view a, struct be_view b, size_t n);

    /* ---- linear layers: w [O, I]; GEMMs are split every 8,192 rows of N */
    /* y [N, O] = x [N, I] w^T; rows of y are ldy >= O elements apart. as_reference: BF16 outputs that lie near the
     * middle between two bf16 values are rounded as the reference's tensor cores round them (tensorcore.h); a backend
     * whose products are such sums anyway ignores it. */
    void (*linear)(struct be *, struct be_view y, struct be_view x, struct be_view w, int N, int I, int O, int ldy,
                   bool as_reference);
    /* dx [N, I] = dy [N, O] w; accumulate: dx += dy w, in the sum type. */
    void (*linear_dx)(struct be *, struct be_view dx, struct be_view dy, struct be_view w, int N, int I, int O,
                      bool accumulate);

    /* ---- RMSNorm over rows of D: r = 1/sqrt(mean(x*x) + eps); n = x*r [r]; y = w*n
     * Backward: g = dy*w [r]; dx = r*g - x * (r^3/D) * sum(g*x). dx may alias dy or x.
     * Source: transformers modeling_qwen3_vl.py, Qwen3VLTextRMSNorm. */
    void (*rmsnorm)(struct be *, struct be_view y, struct be_view x, struct be_view w, int N, int D, float eps);
    void (*rmsnorm_bwd)(struct be *, struct be_view dx, struct be_view dy, struct be_view x, struct be_view w, int N,
                        int D, float eps);

    /* ---- Rotary embedding, in place on x [N, heads, E]; c, s [positions, E/2] F32; pos I32 [N].
     * y[i] = x[i]*c [r] - x[i+E/2]*s [r] for i < E/2;  y[i+E/2] = x[i+E/2]*c [r] + x[i]*s [r].
     * Backward is the transpose: the sign of s changes. */
    void (*rope)(struct be *, struct be_view x, struct be_view c, struct be_view s, struct be_view pos, int N,
                 int heads, int E, bool backward);

    /* ---- Causal attention within each sequence; q [N, H, E], k, v [N, K, E], o [N, H, E], lse F32 [N, H].
     * S = q k^T / sqrt(E); P = exp(S - max) [r]; o = (P v) / (sum of the unrounded exp); lse = max + log(sum).
     * Query head j uses key/value head j / (H/K). A sentinel row gives o = 0, lse = 0. */
    void (*attention)(struct be *, struct be_view o, struct be_view lse, struct be_view q, struct be_view k,
                      struct be_view v, struct be_seqs seqs, int H, int K, int E);
    /* P = exp(S - lse) [r]; delta = sum(do*o); dS = (P * (do v^T - delta)) / sqrt(E) [r];
     * dq = dS k; dk = sum over the group of (dS^T q) [r]; dv = sum over the group of (P^T do) [r]. Sentinel rows: 0. */
    void (*attention_bwd)(struct be *, struct be_view dq, struct be_view dk, struct be_view dv, struct be_view dout,
                          struct be_view q, struct be_view k, struct be_view v, struct be_view o, struct be_view lse,
                          struct be_seqs seqs, int H, int K, int E);

    /* ---- SwiGLU: m = silu(g) [r] * u. Backward, sig = 1/(1+exp(-g)):
     * ds = dm*u [r]; du = dm*silu(g) [r]; dg = ds * (sig*(1 + g*(1 - sig))). dg may alias dm. */
    void (*swiglu)(struct be *, struct be_view m, struct be_view g, struct be_view u, size_t n);
    void (*swiglu_bwd)(struct be *, struct be_view dg, struct be_view du, struct be_view dm, struct be_view g,
                       struct be_view u, size_t n);

    /* ---- Cross-entropy over rows of logits z [N, V].
     * xent: stat F32 [N, 2] = (max, log sum exp(z - max)); loss F32 [N] = -lp[target], lp = z - max - log sum [r].
     * xent_bwd: columns c0 .. c0+n of dz = s*exp(lp) - s*[column == target], lp as above; dz [N, n].
     * s F32 [N]. target I32 [N], valid in every row. [r] is to z's type. */
    void (*xent)(struct be *, struct be_view stat, struct be_view loss, struct be_view z, struct be_view target, int N,
                 int V);
    void (*xent_bwd)(struct be *, struct be_view dz, struct be_view z, struct be_view stat, struct be_view target,
                     struct be_view s, int N, int V, int c0, int n);

    /* ---- quantization */
    /* out F32: out[group[i]] = max(out[group[i]], max |x[i]|) over rows i < N of D; group I32 [N], or a NULL buffer:
     * all rows into out[0]. NaN sticks. */
    void (*amax_rows)(struct be *, struct be_view out, struct be_view x, struct be_view group, int N, int D);
    /* out F32 [D]: out[j] = max(out[j], max |x[.][j]|). */
    void (*amax_cols)(struct be *, struct be_view out, struct be_view x, int N, int D);
    /* y [N, D] = fake-quantized x, rounded to bf16 if round_bf16 (a BF16 y is always rounded). amax F32: one value, or
     * one per group[i] (I32 [N]) for QG_TENSOR and FP4; [D] for QG_IN_CHANNEL; unused where the quantizer takes its
     * maxima from the row itself. y may alias x. */
    void (*fakequant)(struct be *, struct be_view y, struct be_view x, const struct quantizer *q, struct be_view amax,
                      struct be_view group, int N, int D, bool round_bf16);
    /* For every quantized output q: q.sum F64 [N], row i += sum over j < n of (g*d)^2, d = q.yq - y [r to y's type];
     * the squares in double. q.yq [N, n], g [N, n]; y has rows of ldy elements, of which the first n count. */
    void (*score_rows)(struct be *, struct be_outputs q, struct be_view y, struct be_view g, int N, int n, int ldy);
    /* For k < count: out[k*out_stride + i] = sum of x[k*x_stride + offset[i]] .. x[k*x_stride + offset[i+1]-1] in that
     * order, i < n; out, x F64, offset I32 [n+1]. */
    void (*segment_sum)(struct be *, struct be_view out, size_t out_stride, struct be_view x, size_t x_stride,
                        int count, struct be_view offset, int n);
};

/* Enter a phase; returns the one before. */
static inline int be_phase(const struct be_ops *ops, struct be *be, int phase)
{
    return ops->phase ? ops->phase(be, phase) : phase;
}

extern const struct be_ops be_ref_ops, be_cpu_ops;
/* Only in programs that were linked with it: the address is NULL elsewhere. */
extern const struct be_ops be_cuda_ops __attribute__((weak));

/* What "auto" stands for: the fastest that works here, cuda where it is built in and a device is usable, else cpu with
 * the reason in why->msg. */
const struct be_ops *be_auto(struct err *why);
/* The table of that name or of "auto", or NULL with ERR_CONFIG that says which there are. Whether it is usable here is
 * not asked. */
const struct be_ops *be_find(const char *name, struct err *e) MUST_CHECK;
/* describe for those that compute on the host. */
int be_describe_host(struct be_device *d, struct err *e);
/* The backend's name, and behind it what else results depend on, in a new string; NULL with an error where identity
 * of the table gives one. */
char *be_identity(const struct be_ops *ops, const struct be_options *o, struct err *e) MUST_CHECK;

#endif
