/* inline - arithmetic that loops on the CPU and kernels on a GPU share. The one file that asks which compiler reads it.
 */
#ifndef INLINE_H
#define INLINE_H

#ifdef __CUDACC__
#define INLINE static __host__ __device__ inline
#else
#define INLINE static inline
#endif

#endif
