/* backend_ref - element access of the reference backend. Private to backend_ref*.c. */
#ifndef BACKEND_REF_H
#define BACKEND_REF_H
#include <string.h>

#include "backend.h"
#include "num.h"

struct be_buf {
    char *data;
};

struct be {
    char unused;
};

static inline void *ref_ptr(struct be_view v)
{
    return v.buf->data + v.off;
}
/* Element (row, col) of a matrix with rows of `width`. */
static inline size_t at2(int row, int col, int width)
{
    return (size_t)row * (size_t)width + (size_t)col;
}
static inline int ref_int(struct be_view v, int i)
{
    return ((const int32_t *)ref_ptr(v))[i];
}

static inline double ref_at(struct be_view v, size_t i)
{
    if (v.dtype == DT_BF16)
        return (double)bf16_to_f32(((const uint16_t *)ref_ptr(v))[i]);
    return v.dtype == DT_F32 ? (double)((const float *)ref_ptr(v))[i] : ((const double *)ref_ptr(v))[i];
}
/* x as a tensor of v's type would hold it. */
static inline double ref_round(struct be_view v, double x)
{
    return v.dtype == DT_BF16 ? (double)bf16_round_f64(x) : v.dtype == DT_F32 ? (double)(float)x : x;
}
static inline void ref_set(struct be_view v, size_t i, double x)
{
    if (v.dtype == DT_BF16)
        ((uint16_t *)ref_ptr(v))[i] = bf16_from_f32(bf16_round_f64(x));
    else if (v.dtype == DT_F32)
        ((float *)ref_ptr(v))[i] = (float)x;
    else
        ((double *)ref_ptr(v))[i] = x;
}

void ref_attention(struct be *, struct be_view o, struct be_view lse, struct be_view q, struct be_view k,
                   struct be_view v, struct be_seqs seqs, int H, int K, int E);
void ref_attention_bwd(struct be *, struct be_view dq, struct be_view dk, struct be_view dv, struct be_view dout,
                       struct be_view q, struct be_view k, struct be_view v, struct be_view o, struct be_view lse,
                       struct be_seqs seqs, int H, int K, int E);

#endif
