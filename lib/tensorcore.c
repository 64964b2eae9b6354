#include "tensorcore.h"

#include <math.h>

#include "num.h"

enum { STEP = 16, MANY = 4 };

/* Sums of squares run in single precision and in a fixed order: the bound decides what is recomputed, so it must be the
 * same on every machine. */
void tensorcore_balance(float *balance, const float *x_square, const float *w_square, int K)
{
    for (int k = 0; k < K; k++) {
        const float r = w_square[k] / x_square[k]; /* fourth root of the ratio of squares = root of the ratio of lengths */
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

/* acc + x[16].w[16]: products of bf16 values are exact in fp32; scaled by 2^(25-e) and cut to integers, the 17 addends
 * are below 2^26 each, so their sum fits an int32. */
static inline float add_16_products(float acc, const float *x, const float *w)
{
    float p[STEP];
    int32_t top = (int32_t)(f32_bits(acc) & 0x7fffffff);
    for (int i = 0; i < STEP; i++)
        p[i] = x[i] * w[i];
    for (int i = 0; i < STEP; i++) {
        const int32_t u = (int32_t)(f32_bits(p[i]) & 0x7fffffff);
        top = u > top ? u : top;
    }
    const int32_t field = top >> 23, e = field < 26 ? 26 : field; /* biased; below 2^-101 nothing matters */
    const float scale = f32_from_bits((uint32_t)(279 - e) << 23), back = f32_from_bits((uint32_t)(e - 25) << 23);
    int32_t sum = (int32_t)(acc * scale);
    for (int i = 0; i < STEP; i++)
        sum += (int32_t)(p[i] * scale);
    uint32_t m = (uint32_t)(sum < 0 ? -sum : sum);
    const int extra = 8 - __builtin_clz(m | 1); /* bits beyond the 24 of an fp32 */
    if (extra > 0)
        m &= ~0u << extra;
    const float r = (float)(int32_t)m * back;
    return sum < 0 ? -r : r;
}

void tensorcore_dot4(const float *x, const float *const w[MANY], int K, float out[MANY])
{
    float acc[MANY] = {0};
    int k = 0;
    for (; k + STEP <= K; k += STEP)
#pragma GCC unroll 4
        for (int o = 0; o < MANY; o++) /* four chains at once hide each other's latency */
            acc[o] = add_16_products(acc[o], x + k, w[o] + k);
    if (k < K) {
        float tx[STEP] = {0}, tw[STEP] = {0};
        for (int i = 0; k + i < K; i++)
            tx[i] = x[k + i];
        for (int o = 0; o < MANY; o++) {
            for (int i = 0; k + i < K; i++)
                tw[i] = w[o][k + i];
            acc[o] = add_16_products(acc[o], tx, tw);
        }
    }
    for (int o = 0; o < MANY; o++)
        out[o] = acc[o];
}

/* Is c within t of the middle between two neighbouring bf16 values? One fp32 step of c is 2^(e-23). */
static inline int near_middle(float c, float t)
{
    const uint32_t u = f32_bits(c);
    const int32_t steps = (int32_t)(u & 0xffff) - 0x8000;
    const float step = f32_from_bits(u & 0x7f800000) * 0x1p-23f;
    return (float)(steps < 0 ? -steps : steps) * step < t; /* t is 0 where all products are */
}

void tensorcore_fix_row(float *c, int n, const float *x, float x_length, const float *w, size_t ldw, const float *w_length, int K)
{
    enum { PIECE = 256 };
    /* Found by simulation on normal data: with 2^-24 no rounding that differs is missed up to K = 2048 and 8 % of them
     * are at K = 4096, where one output in 500 differs at all. */
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
