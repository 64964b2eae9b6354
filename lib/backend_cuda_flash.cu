/* Tiles of 64 queries or keys, 16 a warp; what they meet comes in tiles of its own while the tile before is at work. A
 * tile in shared memory has rows of E+PAD: no bank conflicts. Sums run in the order of the tiles: results are the same
 * on every run. */
#include "backend_cuda_flash.h"

#include "backend_cuda_mma.h"

enum { ROWS = 64, STEP = 32, WARPS = 4, THREADS = 32 * WARPS, PAD = 8 };
static constexpr float log2e = 1.44269504f;

/* A tile of queries or of keys of one sequence. */
struct tile {
    int first, T; /* first real row and real rows of the sequence */
    int begin;    /* first row of the tile within it */
};

static int most_tiles(int n_rows, int n_seqs)
{
    return n_rows / ROWS + n_seqs;
}

bool flash_fits(enum dtype t, int E, const void *a, const void *b, const void *c, const void *d)
{
    return t == DT_BF16 && E % 8 == 0 && E <= 128 && aligned16(a) && aligned16(b) && aligned16(c) && aligned16(d);
}

size_t flash_scratch_bytes(int n_rows, int n_seqs)
{
    return (size_t)most_tiles(n_rows, n_seqs) * sizeof(struct tile) + 16;
}

/* A warp walks the sequences, 32 at a time. */
static __global__ void k_tiles(struct tile *tiles, int *n_tiles, const int32_t *offset, const uint8_t *sentinel, int n)
{
    const int lane = (int)threadIdx.x;
    int total = 0;
    for (int s0 = 0; s0 < n; s0 += 32) {
        const int s = s0 + lane, skip = s < n && sentinel[s], first = s < n ? offset[s] + skip : 0;
        const int T = s < n ? offset[s + 1] - first : 0, mine = (T + ROWS - 1) / ROWS;
        int before = mine;
        for (int d = 1; d < 32; d *= 2) {
            const int left = __shfl_up_sync(0xffffffffu, before, d);
            before += lane >= d ? left : 0;
        }
        for (int i = 0; i < mine; i++) {
            struct tile *t = &tiles[total + before - mine + i];
            t->first = first;
            t->T = T;
            t->begin = i * ROWS;
        }
        total += __shfl_sync(0xffffffffu, before, 31);
    }
    if (lane == 0)
        *n_tiles = total;
}

/* tile[n][E+PAD] = rows begin .. begin+n of a head; zeros past the end of the sequence and of the head. */
template <int E, int n>
static __device__ inline void fetch(bf16 *tile, const bf16 *x, struct tile t, int begin, int heads, int head, int e)
{
    for (int i = (int)threadIdx.x; i < n * (E / 8); i += THREADS) {
        const int r = i / (E / 8), c = i % (E / 8) * 8;
        const bool there = begin + r < t.T && c < e;
        const size_t row = (size_t)(t.first + (there ? begin + r : 0));
        copy_16(tile + r * (E + PAD) + c, x + (row * heads + head) * e + (there ? c : 0), there);
    }
}

/* c[16][8 n] = a b^T over E: a the warp's 16 rows, b of 8 n rows. */
template <int E, int n> static __device__ inline void product(float (*c)[4], const bf16 *a, const bf16 *b)
{
#pragma unroll
    for (int j = 0; j < n; j++)
        c[j][0] = c[j][1] = c[j][2] = c[j][3] = 0;
#pragma unroll
    for (int e = 0; e < E; e += 16) {
        unsigned fa[4], fb[4];
        load_a(fa, a + e, E + PAD);
#pragma unroll
        for (int j = 0; j < n; j += 2) {
            load_b_of_rows(fb, b + j * 8 * (E + PAD) + e, E + PAD);
            multiply_add(c[j], fa, fb);
            multiply_add(c[j + 1], fa, fb + 2);
        }
    }
}

/* acc[16][E] += p b: p[16][8 n] rounded to bf16, b of 8 n rows. */
template <int E, int n> static __device__ inline void accumulate(float (*acc)[4], const float (*p)[4], const bf16 *b)
{
#pragma unroll
    for (int k = 0; k < n; k += 2) {
        unsigned fa[4], fb[4];
        pack_a(fa, p[k], p[k + 1]);
#pragma unroll
        for (int e = 0; e < E / 8; e += 2) {
            load_b(fb, b + k * 8 * (E + PAD) + e * 8, E + PAD);
            multiply_add(acc[e], fa, fb);
            multiply_add(acc[e + 1], fa, fb + 2);
        }
    }
}

/* The warps' rows of acc, scaled, to rows begin.. of y, through the tile: 16 bytes a thread. Barriers inside. */
template <int E> static __device__ inline void put_tile(bf16 *y, bf16 *tile, const float (*acc)[4], float top,
                                                        float bottom, struct tile t, int heads, int head, int e)
{
    const int lane = (int)threadIdx.x % 32, row = (int)threadIdx.x / 32 * 16 + lane / 4;
    __syncthreads();
#pragma unroll
    for (int j = 0; j < E / 8; j++) {
        const int at = row * (E + PAD) + j * 8 + lane % 4 * 2;
        *(unsigned *)(tile + at) = pack(acc[j][0] * top, acc[j][1] * top);
        *(unsigned *)(tile + at + 8 * (E + PAD)) = pack(acc[j][2] * bottom, acc[j][3] * bottom);
    }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < ROWS * (E / 8); i += THREADS) {
        const int r = i / (E / 8), c = i % (E / 8) * 8;
        if (t.begin + r < t.T && c < e)
            *(uint4 *)(y + ((size_t)(t.first + t.begin + r) * heads + head) * e + c) =
                *(const uint4 *)(tile + r * (E + PAD) + c);
    }
}

template <typename F> static __device__ inline float over_quad(float x, F combine)
{
    x = combine(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return combine(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

/* One row's part of a tile of scores, in this lane: columns 8 j + 2 t and the next one, which are elements i, i+1 of
 * s[j]. Becomes exp(score*scale - max), with the roundings of the reference's kernel; raises the running maximum and
 * the lane's part of the sum, and returns the factor for what was summed before. */
template <int n> static __device__ inline float soften(float (*s)[4], int i, int allowed, float scale, float *max,
                                                       float *sum)
{
    float top = *max;
#pragma unroll
    for (int j = 0; j < n; j++)
#pragma unroll
        for (int c = 0; c < 2; c++) {
            s[j][i + c] = j * 8 + c <= allowed ? s[j][i + c] * scale * log2e : -INFINITY;
            top = fmaxf(top, s[j][i + c]);
        }
    top = over_quad(top, [](float a, float b) { return fmaxf(a, b); });
    const float shrink = exp2_approximate(*max - top);
    float part = 0;
#pragma unroll
    for (int j = 0; j < n; j++)
#pragma unroll
        for (int c = 0; c < 2; c++) {
            s[j][i + c] = exp2_approximate(s[j][i + c] - top); /* 0 where not allowed */
            part += s[j][i + c];
        }
    *max = top;
    *sum = *sum * shrink + part;
    return shrink;
}

template <int E> static __global__ void __launch_bounds__(THREADS, 3)
    k_forward(bf16 *o, float *lse, struct flash f, const struct tile *tiles, const int *n_tiles)
{
    extern __shared__ __align__(16) char smem[];
    if ((int)blockIdx.x >= *n_tiles)
        return;
    const struct tile t = tiles[*n_tiles - 1 - (int)blockIdx.x]; /* long ones tend to be last: first in time */
    const int head = (int)blockIdx.y, kv = head / (f.h.H / f.h.K), e = f.h.E;
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, row = t.begin + warp * 16 + lane / 4;
    bf16 *qs = (bf16 *)smem, *ks = qs + ROWS * (E + PAD), *vs = ks + ROWS * (E + PAD);
    float acc[E / 8][4] = {}, max[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
    fetch<E, ROWS>(qs, f.q, t, t.begin, f.h.H, head, e);
    fetch<E, ROWS>(ks, f.k, t, 0, f.h.K, kv, e);
    copies_commit();
    for (int k0 = 0; k0 <= t.begin; k0 += ROWS) {
        float s[ROWS / 8][4];
        fetch<E, ROWS>(vs, f.v, t, k0, f.h.K, kv, e);
        copies_commit();
        copies_wait<1>();
        __syncthreads();
        product<E, ROWS / 8>(s, qs + warp * 16 * (E + PAD), ks);
        __syncthreads();
        if (k0 < t.begin)
            fetch<E, ROWS>(ks, f.k, t, k0 + ROWS, f.h.K, kv, e);
        copies_commit();
        float shrink[2];
#pragma unroll
        for (int i = 0; i < 2; i++)
            shrink[i] = soften<ROWS / 8>(s, 2 * i, min(row + 8 * i, t.T - 1) - k0 - lane % 4 * 2, f.scale, &max[i],
                                         &sum[i]);
#pragma unroll
        for (int j = 0; j < E / 8; j++) {
            acc[j][0] *= shrink[0], acc[j][1] *= shrink[0];
            acc[j][2] *= shrink[1], acc[j][3] *= shrink[1];
        }
        copies_wait<1>();
        __syncthreads();
        accumulate<E, ROWS / 8>(acc, s, vs);
        __syncthreads();
    }
    sum[0] = over_quad(sum[0], add_op()), sum[1] = over_quad(sum[1], add_op());
    put_tile<E>(o, qs, acc, 1.0f / sum[0], 1.0f / sum[1], t, f.h.H, head, e);
    for (int i = 0; i < 2; i++)
        if (lane % 4 == 0 && row + 8 * i < t.T)
            lse[(size_t)(t.first + row + 8 * i) * f.h.H + head] = max[i] / log2e + logf(sum[i]);
}

/* P, rounded, and dS from a score and a dP; lse2 = lse*log2(e). */
static __device__ inline void probability(float *s, float *dp, bool allowed, float lse2, float delta, float scale)
{
    const float P = allowed ? rnd<bf16>(exp2_approximate(__fmaf_rn(*s, scale * log2e, -lse2))) : 0.0f;
    *s = P;
    *dp = allowed ? P * (*dp - delta) * scale : 0.0f;
}

template <int E> static __global__ void __launch_bounds__(THREADS, 2)
    k_backward_q(bf16 *dq, struct flash f, const float *lse, const float *delta, const struct tile *tiles,
                 const int *n_tiles)
{
    extern __shared__ __align__(16) char smem[];
    if ((int)blockIdx.x >= *n_tiles)
        return;
    const struct tile t = tiles[*n_tiles - 1 - (int)blockIdx.x];
    const int head = (int)blockIdx.y, kv = head / (f.h.H / f.h.K), e = f.h.E;
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, row = t.begin + warp * 16 + lane / 4;
    bf16 *qs = (bf16 *)smem, *gs = qs + ROWS * (E + PAD), *stage = gs + ROWS * (E + PAD);
    const bf16 *q = qs + warp * 16 * (E + PAD), *g = gs + warp * 16 * (E + PAD);
    float acc[E / 8][4] = {}, l[2] = {0, 0}, d[2] = {0, 0};
    for (int i = 0; i < 2; i++)
        if (row + 8 * i < t.T) {
            l[i] = lse[(size_t)(t.first + row + 8 * i) * f.h.H + head] * log2e;
            d[i] = delta[(size_t)(t.first + row + 8 * i) * f.h.H + head];
        }
    const auto next = [&](int k0) {
        bf16 *ks = stage + k0 / STEP % 2 * 2 * STEP * (E + PAD);
        if (k0 < t.T && k0 < t.begin + ROWS) {
            fetch<E, STEP>(ks, f.k, t, k0, f.h.K, kv, e);
            fetch<E, STEP>(ks + STEP * (E + PAD), f.v, t, k0, f.h.K, kv, e);
        }
        copies_commit();
    };
    fetch<E, ROWS>(qs, f.q, t, t.begin, f.h.H, head, e);
    fetch<E, ROWS>(gs, f.dout, t, t.begin, f.h.H, head, e);
    next(0);
    for (int k0 = 0; k0 < t.T && k0 < t.begin + ROWS; k0 += STEP) {
        const bf16 *ks = stage + k0 / STEP % 2 * 2 * STEP * (E + PAD), *vs = ks + STEP * (E + PAD);
        float s[STEP / 8][4], dp[STEP / 8][4];
        next(k0 + STEP);
        copies_wait<1>();
        __syncthreads();
        product<E, STEP / 8>(s, q, ks);
        product<E, STEP / 8>(dp, g, vs);
#pragma unroll
        for (int j = 0; j < STEP / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int r = row + i / 2 * 8, c = k0 + j * 8 + lane % 4 * 2 + i % 2;
                probability(&s[j][i], &dp[j][i], r < t.T && c <= r, l[i / 2], d[i / 2], f.scale);
            }
        accumulate<E, STEP / 8>(acc, dp, ks);
        __syncthreads();
    }
    put_tile<E>(dq, qs, acc, 1.0f, 1.0f, t, f.h.H, head, e);
}

/* dk, dv of a tile of keys and one query head. Everything is transposed: a row is a key, a column a query. */
template <int E> static __global__ void __launch_bounds__(THREADS, 2)
    k_backward_kv(bf16 *dk, bf16 *dv, struct flash f, const float *lse, const float *delta, const struct tile *tiles,
                  const int *n_tiles)
{
    extern __shared__ __align__(16) char smem[];
    if ((int)blockIdx.x >= *n_tiles)
        return;
    const struct tile t = tiles[blockIdx.x];
    const int head = (int)blockIdx.y, kv = head / (f.h.H / f.h.K), e = f.h.E;
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, row = t.begin + warp * 16 + lane / 4;
    bf16 *ks = (bf16 *)smem, *vs = ks + ROWS * (E + PAD), *stage = vs + ROWS * (E + PAD);
    float *stats = (float *)(stage + 4 * STEP * (E + PAD)); /* [2 stages][lse, delta][STEP] */
    float ak[E / 8][4] = {}, av[E / 8][4] = {};
    const auto next = [&](int q0) {
        const int which = q0 / STEP % 2, i = (int)threadIdx.x;
        bf16 *qs = stage + which * 2 * STEP * (E + PAD);
        if (q0 < t.T) {
            fetch<E, STEP>(qs, f.q, t, q0, f.h.H, head, e);
            fetch<E, STEP>(qs + STEP * (E + PAD), f.dout, t, q0, f.h.H, head, e);
            if (i < 2 * STEP && q0 + i % STEP < t.T)
                stats[which * 2 * STEP + i] =
                    i < STEP ? lse[(size_t)(t.first + q0 + i) * f.h.H + head] * log2e
                             : delta[(size_t)(t.first + q0 + i - STEP) * f.h.H + head];
        }
        copies_commit();
    };
    fetch<E, ROWS>(ks, f.k, t, t.begin, f.h.K, kv, e);
    fetch<E, ROWS>(vs, f.v, t, t.begin, f.h.K, kv, e);
    next(t.begin);
    for (int q0 = t.begin; q0 < t.T; q0 += STEP) {
        const int which = q0 / STEP % 2;
        const bf16 *qs = stage + which * 2 * STEP * (E + PAD), *gs = qs + STEP * (E + PAD);
        const float *l = stats + which * 2 * STEP, *d = l + STEP;
        float s[STEP / 8][4], dp[STEP / 8][4];
        next(q0 + STEP);
        copies_wait<1>();
        __syncthreads();
        product<E, STEP / 8>(s, ks + warp * 16 * (E + PAD), qs);
        product<E, STEP / 8>(dp, vs + warp * 16 * (E + PAD), gs);
#pragma unroll
        for (int j = 0; j < STEP / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int key = row + i / 2 * 8, c = j * 8 + lane % 4 * 2 + i % 2;
                const bool allowed = key <= q0 + c && q0 + c < t.T;
                probability(&s[j][i], &dp[j][i], allowed, allowed ? l[c] : 0, allowed ? d[c] : 0, f.scale);
            }
        accumulate<E, STEP / 8>(av, s, gs);
        accumulate<E, STEP / 8>(ak, dp, qs);
        __syncthreads();
    }
    put_tile<E>(dk, ks, ak, 1.0f, 1.0f, t, f.h.H, head, e);
    put_tile<E>(dv, vs, av, 1.0f, 1.0f, t, f.h.H, head, e);
}

/* ---- launching */

struct tile_table {
    struct tile *tiles;
    int *n;
    dim3 grid; /* most tiles x query heads */
};

static struct tile_table make_tiles(struct be *be, const struct flash *f)
{
    const int most = most_tiles(f->n_rows, f->n_seqs);
    struct tile *tiles = (struct tile *)f->scratch;
    int *n = (int *)(tiles + most);
    k_tiles<<<1, 32, 0, be->stream>>>(tiles, n, f->offset, f->sentinel, f->n_seqs);
    return {tiles, n, dim3((unsigned)most, (unsigned)f->h.H)};
}

template <int E> static void forward(struct be *be, const struct flash *f, bf16 *o, float *lse)
{
    const struct tile_table t = make_tiles(be, f);
    const int shared = 3 * ROWS * (E + PAD) * (int)sizeof(bf16);
    cudaFuncSetAttribute(k_forward<E>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared);
    k_forward<E><<<t.grid, THREADS, (size_t)shared, be->stream>>>(o, lse, *f, t.tiles, t.n);
}

template <int E> static void backward(struct be *be, const struct flash *f, const float *lse, const float *delta,
                                      bf16 *dq, bf16 *dk, bf16 *dv)
{
    const struct tile_table t = make_tiles(be, f);
    const int shared = (2 * ROWS + 4 * STEP) * (E + PAD) * (int)sizeof(bf16);
    const int shared_kv = shared + 4 * STEP * (int)sizeof(float);
    cudaFuncSetAttribute(k_backward_q<E>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared);
    cudaFuncSetAttribute(k_backward_kv<E>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_kv);
    k_backward_q<E><<<t.grid, THREADS, (size_t)shared, be->stream>>>(dq, *f, lse, delta, t.tiles, t.n);
    k_backward_kv<E><<<t.grid, THREADS, (size_t)shared_kv, be->stream>>>(dk, dv, *f, lse, delta, t.tiles, t.n);
}

void flash_forward(struct be *be, const struct flash *f, bf16 *o, float *lse)
{
    (f->h.E <= 64 ? forward<64> : forward<128>)(be, f, o, lse);
}

void flash_backward(struct be *be, const struct flash *f, const float *lse, const float *delta, bf16 *dq, bf16 *dk,
                    bf16 *dv)
{
    (f->h.E <= 64 ? backward<64> : backward<128>)(be, f, lse, delta, dq, dk, dv);
}
