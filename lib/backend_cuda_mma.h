/* backend_cuda_mma - what a kernel on tensor cores is made of, for any GPU from sm_80 on: tiles that come from global
 * to shared memory beside the arithmetic, fragments, and the product of 16 x 16 and 16 x 8 (PTX ISA, mma.m16n8k16).
 * Private to backend_cuda*.cu.
 *
 * A warp's lane holds, with g = lane/4 and t = lane%4: of an accumulator c[4] the elements (g, 2t), (g, 2t+1), (g+8,
 * 2t), (g+8, 2t+1); of an operand A (16 x 16) four pairs: rows g and g+8 at columns 2t, then both at 2t+8; of an
 * operand B (16 x 8) two pairs: rows 2t and 2t+8 of column g. */
#ifndef BACKEND_CUDA_MMA_H
#define BACKEND_CUDA_MMA_H
#include "backend_cuda.h"

static __device__ inline unsigned shared_address(const void *p)
{
    return (unsigned)__cvta_generic_to_shared(p);
}

/* 16 bytes from global to shared memory, zeros where `there` is false; done after copies_wait. */
static __device__ inline void copy_16(void *dst, const void *src, bool there)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(dst)), "l"(src),
                 "r"(there ? 16 : 0));
}
static __device__ inline void copies_commit()
{
    asm volatile("cp.async.commit_group;");
}
/* All groups but the last `pending` have arrived, of this thread: a barrier must follow. */
template <int pending> static __device__ inline void copies_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(pending));
}

/* Four 8 x 8 matrices; lane i gives the address of row i%8 of matrix i/8. */
static __device__ inline void load_matrices(unsigned r[4], const bf16 *p)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(p)));
}
static __device__ inline void load_matrices_transposed(unsigned r[4], const bf16 *p)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(p)));
}

/* A = x[0..15][0..15]; rows of x are ld apart. */
static __device__ inline void load_a(unsigned a[4], const bf16 *x, int ld)
{
    const int lane = (int)threadIdx.x % 32;
    load_matrices(a, x + lane % 16 * ld + lane / 16 * 8);
}
/* Two operands B, columns 0..7 and 8..15, of the transpose of x[0..15][0..15]: x has a row a column of B. */
static __device__ inline void load_b_of_rows(unsigned b[4], const bf16 *x, int ld)
{
    const int lane = (int)threadIdx.x % 32;
    load_matrices(b, x + (lane % 8 + lane / 16 * 8) * ld + lane / 8 % 2 * 8);
}
/* The same of x itself. */
static __device__ inline void load_b(unsigned b[4], const bf16 *x, int ld)
{
    const int lane = (int)threadIdx.x % 32;
    load_matrices_transposed(b, x + lane % 16 * ld + lane / 16 * 8);
}

/* c += a b */
static __device__ inline void multiply_add(float c[4], const unsigned a[4], const unsigned b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

static __device__ inline unsigned pack(float lo, float hi)
{
    const __nv_bfloat162 h = __floats2bfloat162_rn(lo, hi);
    unsigned u;
    memcpy(&u, &h, 4);
    return u;
}
/* A = two accumulators side by side, rounded to bf16. */
static __device__ inline void pack_a(unsigned a[4], const float left[4], const float right[4])
{
    a[0] = pack(left[0], left[1]);
    a[1] = pack(left[2], left[3]);
    a[2] = pack(right[0], right[1]);
    a[3] = pack(right[2], right[3]);
}

#endif
