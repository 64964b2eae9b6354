/* tensorcore - bf16 outputs of a matrix product as the reference's GPU rounds them.
 *
 * A tensor core adds 16 products at a time to the running sum: every addend, the sum included, is truncated toward zero
 * to a multiple of 2^(e-25), e the largest exponent among them; they are added exactly; the result is truncated to
 * fp32. Truncation biases sums by a few fp32 steps, and where an output lies close to the middle between two bf16
 * values that decides its rounding. One flipped value in a chain of layers can move a calibrated maximum by a bf16 step
 * and a score by some percent. So the CPU computes plain fp32 sums, finds the outputs that lie near such a middle,
 * under 1 % of them, and computes those as a tensor core does. Checked against an H100 (Hopper, bf16 inputs, K up to
 * 384): every GEMM output of the golden trace. */
#ifndef TENSORCORE_H
#define TENSORCORE_H
#include <stddef.h>

/* How far two orders of summation can lie apart is bounded by sum |x_k w_k| <= |x s| |w/s| for any scaling s of the K
 * columns (Cauchy-Schwarz). s = sqrt(length of w's column / length of x's column) keeps outlier channels from spoiling
 * the bound. x_square, w_square [K]: sums of squares of the columns; 1 where a column is empty. */
void tensorcore_balance(float *balance, const float *x_square, const float *w_square, int K);
/* square[K] += x[K]^2 */
void tensorcore_add_squares(float *square, const float *x, int K);
/* sqrt(sum (x*balance)^2), or with /balance where inverse. */
float tensorcore_length(const float *x, const float *balance, int inverse, int K);

/* c [n] = one row of outputs, plain fp32 sums of x . w[j], x and the rows w + j*ldw of K elements all bf16 values.
 * Outputs whose rounding to bf16 could depend on the order of summation are replaced by the tensor core's sum. x_length
 * and w_length[j]: the balanced lengths of x and of the rows of w. */
void tensorcore_fix_row(float *c, int n, const float *x, float x_length, const float *w, size_t ldw,
                        const float *w_length, int K);

/* x . w[j] for four rows, as a tensor core adds it. */
void tensorcore_dot4(const float *x, const float *const w[4], int K, float out[4]);

#endif
