/* The CPU backend's attention: one task per (sequence, key/value head), query rows in tiles, never a T x T matrix. */
#include <math.h>

#include "backend_cpu.h"
#include "vecmath.h"

enum { QUERY_TILE = 64 };

struct attention_args {
    struct be *be;
    struct be_view o, lse, q, k, v, dq, dk, dv, dout;
    const int32_t *offset;
    const uint8_t *sentinel;
    int H, K, E;
};

/* The real rows of a task's sequence, and its key/value head. */
struct span {
    size_t first; /* row */
    int T, head;
};

static struct span task_span(const struct attention_args *t, size_t task)
{
    const size_t s = task / (size_t)t->K;
    const int skip = t->sentinel[s] != 0;
    return (struct span){(size_t)(t->offset[s] + skip), t->offset[s + 1] - t->offset[s] - skip,
                         (int)(task % (size_t)t->K)};
}

/* x[T, E] = one head of rows `first`.. of v [.., heads, E] */
static void read_head(float *x, struct be_view v, size_t first, int T, int heads, int head, int E)
{
    for (size_t i = 0; i < (size_t)T; i++) {
        float *row = x + i * (size_t)E;
        const float *src = cpu_read(v, ((first + i) * (size_t)heads + (size_t)head) * (size_t)E, (size_t)E, row);
        if (src != row)
            memcpy(row, src, (size_t)E * sizeof *row);
    }
}

static void write_head(struct be_view v, const float *x, size_t first, int T, int heads, int head, int E)
{
    for (size_t i = 0; i < (size_t)T; i++)
        cpu_write(v, ((first + i) * (size_t)heads + (size_t)head) * (size_t)E, (size_t)E, x + i * (size_t)E);
}

/* The sentinel row of the task's sequence is zero in its n heads of v [.., heads, E]. */
static void zero_sentinel(const struct attention_args *t, size_t task, struct be_view v, int heads, int head, int n,
                          int E)
{
    const size_t s = task / (size_t)t->K;
    if (t->sentinel[s]) {
        v = be_at(v, ((size_t)t->offset[s] * (size_t)heads + (size_t)head) * (size_t)E);
        memset(cpu_ptr(v), 0, (size_t)n * (size_t)E * dtype_size(v.dtype));
    }
}

/* P = exp2(S*scale*log2e - max) over the first `keys` entries of a row; returns the max (in units of log2), *sum. */
static float softmax_row(float *S, int keys, float scale, bool rounds, float *sum)
{
    const float log2e = 1.44269504f;
    float m = -INFINITY, total = 0;
    for (int j = 0; j < keys; j++) {
        S[j] = S[j] * scale * log2e;
        m = S[j] > m ? S[j] : m;
    }
    for (int j = 0; j < keys; j++)
        S[j] = exp2_f32(S[j] - m);
    for (int j = 0; j < keys; j++) {
        total += S[j];
        S[j] = cpu_round(rounds, S[j]);
    }
    *sum = total;
    return m;
}

static void forward_head(const struct attention_args *t, struct span sp, int head, const float *k, const float *v,
                         float *work)
{
    const int E = t->E, T = sp.T;
    const bool rounds = t->o.dtype == DT_BF16;
    const float scale = 1.0f / sqrtf((float)E);
    float *q = work, *o = q + QUERY_TILE * E, *S = o + QUERY_TILE * E;
    for (int q0 = 0; q0 < T; q0 += QUERY_TILE) {
        const int n = T - q0 < QUERY_TILE ? T - q0 : QUERY_TILE, keys = q0 + n;
        read_head(q, t->q, sp.first + (size_t)q0, n, t->H, head, E);
        cpu_gemm(true, n, keys, E, q, E, k, E, 0, S, keys);
        float inv[QUERY_TILE];
        for (int i = 0; i < n; i++) {
            float *row = S + (size_t)i * (size_t)keys, sum;
            const int allowed = q0 + i + 1;
            const float m = softmax_row(row, allowed, scale, rounds, &sum);
            memset(row + allowed, 0, (size_t)(keys - allowed) * sizeof *row);
            inv[i] = 1.0f / sum;
            cpu_f32(t->lse)[(sp.first + (size_t)(q0 + i)) * (size_t)t->H + (size_t)head] = m / 1.44269504f + logf(sum);
        }
        cpu_gemm(false, n, E, keys, S, keys, v, E, 0, o, E);
        for (int i = 0; i < n; i++)
            for (int j = 0; j < E; j++)
                o[i * E + j] *= inv[i];
        write_head(t->o, o, sp.first + (size_t)q0, n, t->H, head, E);
    }
}

static void attention_part(void *arg, size_t begin, size_t end, int thread)
{
    const struct attention_args *t = arg;
    const int G = t->H / t->K;
    for (size_t task = begin; task < end; task++) {
        const struct span sp = task_span(t, task);
        const size_t TE = (size_t)sp.T * (size_t)t->E;
        float *k = cpu_thread_scratch(t->be, thread, 2 * TE + (size_t)QUERY_TILE * (2 * (size_t)t->E + (size_t)sp.T));
        float *v = k + TE;
        read_head(k, t->k, sp.first, sp.T, t->K, sp.head, t->E);
        read_head(v, t->v, sp.first, sp.T, t->K, sp.head, t->E);
        zero_sentinel(t, task, t->o, t->H, sp.head * G, G, t->E);
        zero_sentinel(t, task, t->lse, t->H, sp.head * G, G, 1);
        for (int g = 0; g < G; g++)
            forward_head(t, sp, sp.head * G + g, k, v, v + TE);
    }
}

void cpu_attention(struct be *be, struct be_view o, struct be_view lse, struct be_view q, struct be_view k,
                   struct be_view v, struct be_seqs seqs, int H, int K, int E)
{
    struct attention_args t = {.be = be,
                               .o = o,
                               .lse = lse,
                               .q = q,
                               .k = k,
                               .v = v,
                               .offset = cpu_i32(seqs.offset),
                               .sentinel = cpu_ptr(seqs.sentinel),
                               .H = H,
                               .K = K,
                               .E = E};
    parallel_for((size_t)seqs.n * (size_t)K, 1, attention_part, &t);
}

/* y [keys, E] += a^T x for the lower triangle of a tile: a [n, keys], whose row i ends with key keys - n + i; x [n, E].
 * Each element takes its rows one after the other, four a time to spare loads and stores. */
static void add_transposed(float *y, const float *a, const float *x, int n, int keys, int E)
{
    const size_t e = (size_t)E, ld = (size_t)keys;
    for (int j = 0; j < keys; j++) {
        float *yj = y + (size_t)j * e;
        int i = j - (keys - n) > 0 ? j - (keys - n) : 0;
        for (; i + 4 <= n; i += 4) {
            const float *ai = a + (size_t)i * ld + (size_t)j, *xi = x + (size_t)i * e;
            const float a0 = ai[0], a1 = ai[ld], a2 = ai[2 * ld], a3 = ai[3 * ld];
            for (size_t c = 0; c < e; c++)
                yj[c] = yj[c] + a0 * xi[c] + a1 * xi[e + c] + a2 * xi[2 * e + c] + a3 * xi[3 * e + c];
        }
        for (; i < n; i++) {
            const float ai = a[(size_t)i * ld + (size_t)j];
            for (size_t c = 0; c < e; c++)
                yj[c] += ai * x[(size_t)i * e + c];
        }
    }
}

/* One query head's dq, and its dk, dv [T, E] (fp32 sums over the query tiles, in order). */
static void backward_head(const struct attention_args *t, struct span sp, int head, const float *k, const float *v,
                          float *dk, float *dv, float *work)
{
    const int E = t->E, T = sp.T;
    const bool rounds = t->dq.dtype == DT_BF16;
    const float scale = 1.0f / sqrtf((float)E);
    const size_t tile = (size_t)QUERY_TILE * (size_t)E;
    float *q = work, *dout = q + tile, *o = dout + tile, *P = o + tile, *dS = P + (size_t)QUERY_TILE * (size_t)T;
    for (int q0 = 0; q0 < T; q0 += QUERY_TILE) {
        const int n = T - q0 < QUERY_TILE ? T - q0 : QUERY_TILE, keys = q0 + n;
        const size_t first = sp.first + (size_t)q0;
        read_head(q, t->q, first, n, t->H, head, E);
        read_head(dout, t->dout, first, n, t->H, head, E);
        read_head(o, t->o, first, n, t->H, head, E);
        cpu_gemm(true, n, keys, E, q, E, k, E, 0, P, keys);
        cpu_gemm(true, n, keys, E, dout, E, v, E, 0, dS, keys);
        for (int i = 0; i < n; i++) {
            float *p = P + (size_t)i * (size_t)keys, *ds = dS + (size_t)i * (size_t)keys;
            const int allowed = q0 + i + 1;
            const float lse = cpu_f32(t->lse)[(first + (size_t)i) * (size_t)t->H + (size_t)head];
            const float delta = cpu_dot(dout + i * E, o + i * E, (size_t)E);
            for (int j = 0; j < allowed; j++) {
                p[j] = cpu_round(rounds, exp_f32(p[j] * scale - lse));
                ds[j] = cpu_round(rounds, p[j] * (ds[j] - delta) * scale);
            }
            memset(p + allowed, 0, (size_t)(keys - allowed) * sizeof *p);
            memset(ds + allowed, 0, (size_t)(keys - allowed) * sizeof *ds);
        }
        float *dq = o; /* o is used up */
        cpu_gemm(false, n, E, keys, dS, keys, k, E, 0, dq, E);
        write_head(t->dq, dq, first, n, t->H, head, E);
        add_transposed(dk, dS, q, n, keys, E);
        add_transposed(dv, P, dout, n, keys, E);
    }
}

static void attention_bwd_part(void *arg, size_t begin, size_t end, int thread)
{
    const struct attention_args *t = arg;
    const int G = t->H / t->K;
    const bool rounds = t->dk.dtype == DT_BF16;
    for (size_t task = begin; task < end; task++) {
        const struct span sp = task_span(t, task);
        const size_t TE = (size_t)sp.T * (size_t)t->E;
        const size_t tiles = (size_t)QUERY_TILE * (3 * (size_t)t->E + 2 * (size_t)sp.T);
        float *k = cpu_thread_scratch(t->be, thread, 6 * TE + tiles), *v = k + TE;
        float *dk = v + TE, *dv = dk + TE, *sum_dk = dv + TE, *sum_dv = sum_dk + TE;
        read_head(k, t->k, sp.first, sp.T, t->K, sp.head, t->E);
        read_head(v, t->v, sp.first, sp.T, t->K, sp.head, t->E);
        memset(sum_dk, 0, 2 * TE * sizeof *sum_dk);
        for (int g = 0; g < G; g++) {
            memset(dk, 0, 2 * TE * sizeof *dk);
            backward_head(t, sp, sp.head * G + g, k, v, dk, dv, sum_dv + TE);
            for (size_t i = 0; i < 2 * TE; i++) /* each query head's part is stored, then added up */
                sum_dk[i] += cpu_round(rounds, dk[i]);
        }
        write_head(t->dk, sum_dk, sp.first, sp.T, t->K, sp.head, t->E);
        write_head(t->dv, sum_dv, sp.first, sp.T, t->K, sp.head, t->E);
        zero_sentinel(t, task, t->dq, t->H, sp.head * G, G, t->E);
        zero_sentinel(t, task, t->dk, t->K, sp.head, 1, t->E);
        zero_sentinel(t, task, t->dv, t->K, sp.head, 1, t->E);
    }
}

void cpu_attention_bwd(struct be *be, struct be_view dq, struct be_view dk, struct be_view dv, struct be_view dout,
                       struct be_view q, struct be_view k, struct be_view v, struct be_view o, struct be_view lse,
                       struct be_seqs seqs, int H, int K, int E)
{
    struct attention_args t = {.be = be,
                               .o = o,
                               .lse = lse,
                               .q = q,
                               .k = k,
                               .v = v,
                               .dq = dq,
                               .dk = dk,
                               .dv = dv,
                               .dout = dout,
                               .offset = cpu_i32(seqs.offset),
                               .sentinel = cpu_ptr(seqs.sentinel),
                               .H = H,
                               .K = K,
                               .E = E};
    parallel_for((size_t)seqs.n * (size_t)K, 1, attention_bwd_part, &t);
}
