/* backend_cuda_flash - attention of bf16 views in tiles on tensor cores, never a T x T matrix. Private to
 * backend_cuda_attention.cu, which takes plain kernels where flash_fits is false. Formulas: backend.h. */
#ifndef BACKEND_CUDA_FLASH_H
#define BACKEND_CUDA_FLASH_H
#include "backend_cuda.h"

struct heads {
    int H, K, E;
};

/* q, k, v, o, dout, dq as in backend.h; dk, dv of every query head: [N, H, E]. */
struct flash {
    const bf16 *q, *k, *v, *dout;
    const int32_t *offset;
    const uint8_t *sentinel;
    int n_seqs, n_rows;
    struct heads h;
    float scale;
    char *scratch; /* flash_scratch_bytes, aligned to 16 */
};

/* 16-byte rows and addresses, heads that a tile holds. */
bool flash_fits(enum dtype t, int E, const void *a, const void *b, const void *c, const void *d);
size_t flash_scratch_bytes(int n_rows, int n_seqs);
/* Rows of sentinels are not written. */
void flash_forward(struct be *be, const struct flash *f, bf16 *o, float *lse);
void flash_backward(struct be *be, const struct flash *f, const float *lse, const float *delta, bf16 *dq, bf16 *dk,
                    bf16 *dv);

#endif
