/* block - a fixed run of consecutive calibration batches on a backend: the unit of packing and of reproducibility.
 * Every GEMM runs over one block's rows, so a result does not depend on how many blocks a pass or a process holds.
 * Rows are bounded too: beyond BLOCK_ROWS a GEMM gains nothing, and the activations of a block must fit a device. */
#ifndef BLOCK_H
#define BLOCK_H
#include "backend.h"
#include "calib.h"

struct block {
    int first_seq, n_seqs, first_batch, n_batches;
    int64_t first_row; /* in the calibration file */
    int n_rows, n_loss;
    struct be_buf *ints, *scales;
    struct be_seqs seqs;
    struct be_view pos;         /* I32 [n_rows] position of each row in its sequence (a sentinel: 1) */
    struct be_view batch;       /* I32 [n_rows] batch of each row, from 0 within the block */
    struct be_view loss_row;    /* I32 [n_loss] rows that have a loss */
    struct be_view loss_target; /* I32 [n_loss] */
    struct be_view loss_batch;  /* I32 [n_loss] */
    struct be_view loss_offset; /* I32 [n_seqs+1] first loss row of each sequence */
    struct be_view loss_scale;  /* F32 [n_loss] s of each row's batch */
};

enum { BLOCK_ROWS = 8192 };

/* Cut the calibration data into n blocks of at most `batches` batches and, unless a single batch has more, at most
 * BLOCK_ROWS rows. Block i is the batches (*first)[i] .. (*first)[i+1]-1. Cut from the front, so that more captions
 * leave earlier blocks alone. Returns n; the caller frees *first. */
int block_cut(const struct calib *c, int batches, int **first);
/* SHA-256 of all that a block's results depend on, besides weights and arithmetic: its sequences, where in the captions
 * they stand, their batches and losses. */
void block_hash(const struct calib *c, int first_batch, int n_batches, char hex[65]);
/* The block of n_batches batches from first_batch; bf16: take the bf16 scales. ERR_LIMIT where it has too many rows. */
int block_open(struct block *b, const struct be_ops *ops, struct be *be, const struct calib *c, int first_batch,
               int n_batches, bool bf16, struct err *e) MUST_CHECK;
void block_close(struct block *b, const struct be_ops *ops, struct be *be);

#endif
