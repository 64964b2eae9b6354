#include "tensorcore.h"

#include <math.h>

#include "num.h"

enum { STEP = 16, MANY = 4 };

/* Sums of squares run in single precision and in a fixed order: the bound decides what is recomputed, so it must be the
 * same on every machine. */
void tensorcore_balance(float *balance, const float *x_square, const float *w_square, int K)
{
    for (int k = 0; k < K; k++) {
        const float r =
            w_square[k] / x_square[k]; /* fourth root of the ratio of squares = root of the ratio of lengths */
        balance[k] = r > 0 && r < 0x1p100f ? sqrtf(sqrtf(r)) : 1.0f;
    }
}

void tensorcore_add_squares(float *square, const float *x, int K)
{
    for (int k = 0; k < K; k++)
        square[k] += x[k] * x[k];
}

float tensorcore_length(const float *x, const float *balance, int inverse, int K)
{
    float acc[STEP] = {0};
    int k = 0;
    for (; k + STEP <= K; k += STEP)
        for (int j = 0; j < STEP; j++) {
            const float v = inverse ? x[k + j] / balance[k + j] : x[k + j] * balance[k + j];
            acc[j] += v * v;
        }
    for (; k < K; k++) {
        const float v = inverse ? x[k] / balance[k] : x[k] * balance[k];
        acc[0] += v * v;
    }
    float s = 0;
    for (int j = 0; j < STEP; j++)
        s += acc[j];
    return sqrtf(s);
}

/* ---- four dot products at once, one to a lane. Vector extensions of gcc and clang, so the compiler picks the
 * machine's registers; every operation is exact, so its choice changes no bit. */

typedef float f4 __attribute__((vector_size(16)));
typedef int32_t i4 __attribute__((vector_size(16)));
typedef float f8 __attribute__((vector_size(32)));
typedef int32_t i8 __attribute__((vector_size(32)));

static inline i4 max4(i4 a, i4 b)
{
    const i4 larger = a > b;
    return (a & larger) | (b & ~larger);
}

/* 8 lanes folded to 4, by maximum or by sum */
static inline i4 fold(const i8 *v, int by_max)
{
    const i4 lo = __builtin_shufflevector(*v, *v, 0, 1, 2, 3), hi = __builtin_shufflevector(*v, *v, 4, 5, 6, 7);
    return by_max ? max4(lo, hi) : lo + hi;
}

/* Lane o of the result: all 8 lanes of v[o] folded. */
static inline i4 fold_all(const i8 v[MANY], int by_max)
{
    const i4 a = fold(&v[0], by_max), b = fold(&v[1], by_max), c = fold(&v[2], by_max), d = fold(&v[3], by_max);
    const i4 ab_lo = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_hi = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const i4 cd_lo = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd_hi = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    const i4 ab = by_max ? max4(ab_lo, ab_hi) : ab_lo + ab_hi, cd = by_max ? max4(cd_lo, cd_hi) : cd_lo + cd_hi;
    const i4 lo = __builtin_shufflevector(ab, cd, 0, 1, 4, 5), hi = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    return by_max ? max4(lo, hi) : lo + hi;
}

/* acc + x[16].w[o][16] in lane o: products of bf16 values are exact in fp32; scaled by 2^(25-e) and cut to integers,
 * the 17 addends are below 2^26 each, so their sum fits an int32. */
static inline f4 add_16_products(f4 acc, const float *x, const float *const w[MANY])
{
    f8 p[2][MANY], xv[2];
    i8 bits[MANY], q[MANY];
    memcpy(xv, x, sizeof xv);
    for (int o = 0; o < MANY; o++) {
        f8 wv[2];
        memcpy(wv, w[o], sizeof wv);
        p[0][o] = wv[0] * xv[0];
        p[1][o] = wv[1] * xv[1];
        const i8 a = (i8)p[0][o] & 0x7fffffff, b = (i8)p[1][o] & 0x7fffffff, larger = a > b;
        bits[o] = (a & larger) | (b & ~larger);
    }
    const i4 field = max4(fold_all(bits, 1), (i4)acc & 0x7fffffff) >> 23;
    const i4 e = max4(field, (i4){26, 26, 26, 26}); /* biased; below 2^-101 nothing matters */
    const f4 scale = (f4)((279 - e) << 23), back = (f4)((e - 25) << 23);
    for (int o = 0; o < MANY; o++)
        q[o] = __builtin_convertvector(p[0][o] * scale[o], i8) + __builtin_convertvector(p[1][o] * scale[o], i8);
    const i4 sum = __builtin_convertvector(acc * scale, i4) + fold_all(q, 0), negative = sum >> 31;
    const i4 m = (sum ^ negative) - negative;
    /* to fp32 toward zero: rounding to nearest may have gone up, by one step */
    const f4 nearest = __builtin_convertvector(m, f4);
    const i4 up = __builtin_convertvector(nearest, i4) > m;
    const f4 r = (f4)((i4)nearest + up) * back;
    return (f4)((i4)r | (negative & (i4){INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN}));
}

void tensorcore_dot4(const float *x, const float *const w[MANY], int K, float out[MANY])
{
    f4 acc = {0};
    int k = 0;
    for (; k + STEP <= K; k += STEP) {
        const float *const at[MANY] = {w[0] + k, w[1] + k, w[2] + k, w[3] + k};
        acc = add_16_products(acc, x + k, at);
    }
    if (k < K) {
        float tx[STEP] = {0}, tw[MANY][STEP] = {{0}};
        for (int i = 0; k + i < K; i++) {
            tx[i] = x[k + i];
            for (int o = 0; o < MANY; o++)
                tw[o][i] = w[o][k + i];
        }
        const float *const at[MANY] = {tw[0], tw[1], tw[2], tw[3]};
        acc = add_16_products(acc, tx, at);
    }
    memcpy(out, &acc, sizeof acc);
}

/* Does c lie near the middle between two neighbouring bf16 values: less than t above it in magnitude, or t/2 below?
 * Truncation makes sums smaller, so the far side matters less. One fp32 step of c is 2^(e-23). */
static inline int near_middle(float c, float t)
{
    const uint32_t u = f32_bits(c);
    const float step = f32_from_bits(u & 0x7f800000) * 0x1p-23f, above = (float)((int32_t)(u & 0xffff) - 0x8000) * step;
    return above < t && -2 * above < t; /* t is 0 where all products are */
}

void tensorcore_fix_row(float *c, int n, const float *x, float x_length, const float *w, size_t ldw,
                        const float *w_length, int K)
{
    enum { PIECE = 256 };
    /* Found by simulation on normal data: of the roundings that differ, 1 % are missed at K = 1024 and 13 % at K =
     * 4096, where one output in 500 differs at all. */
    const float bound = x_length * 0x1p-24f;
    for (int j0 = 0; j0 < n; j0 += PIECE) {
        const int end = n - j0 < PIECE ? n : j0 + PIECE;
        int index[PIECE + MANY], found = 0;
        unsigned char near[PIECE];
        for (int j = j0; j < end; j++)
            near[j - j0] = (unsigned char)near_middle(c[j], bound * w_length[j]);
        for (int j = j0; j < end; j++) {
            index[found] = j;
            found += near[j - j0];
        }
        for (int i = 0; i < found; i += MANY) {
            const float *rows[MANY];
            float sum[MANY];
            for (int o = 0; o < MANY; o++)
                rows[o] = w + (size_t)index[i + o < found ? i + o : i] * ldw;
            tensorcore_dot4(x, rows, K, sum);
            for (int o = 0; o < MANY && i + o < found; o++)
                c[index[i + o]] = sum[o];
        }
    }
}
