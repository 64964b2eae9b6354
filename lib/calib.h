/* calib - calib.safetensors: packed calibration sequences. Written by calib-pack, read by autoquant-score.
 *
 * Packing (numerics of the left-padded reference without its padding): per sequence one sentinel row (the pad id),
 * which stands for all its left padding, then its real tokens. A sequence that fills seq_len has no sentinel; with
 * padding "none" no sequence has one. Row t predicts row t+1; the last row of a sequence, and rows whose target is the
 * pad id, have no loss.
 *
 * calib.safetensors, version 1. S sequences, R rows, B batches:
 *   ids I32 [R]              token ids, sentinels included
 *   target I32 [R]           the id each row must predict, -1 where it has no loss
 *   offset I64 [S+1]         first row of each sequence
 *   sentinel U8 [S]          1 where the first row is a sentinel
 *   batch I32 [S]            calibration batch: sequence index / batch_size
 *   n_real, n_pad, n_loss I32 [S]  real tokens (after truncation), pads of the reference (seq_len - n_real), loss rows
 *   batch_loss I64 [B]       N: loss rows of the batch
 *   batch_scale_bf16 F32 [B] s = bf16(1/bf16(N)); 0 where N is 0
 *   batch_scale_f32 F32 [B]  fp32(1/N); 0 where N is 0
 * metadata (strings): format "qsens-calib", version "1", source (captions file as given), source_sha256,
 *   tokenizer_sha256, n_sequences, batch_size, seq_len, padding ("reference" or "none"), pad_id, n_available (captions
 *   in the file), tokens_sha256 (over ids, target, offset, sentinel, batch, batch_loss and padding: the identity) */
#ifndef CALIB_H
#define CALIB_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "err.h"

struct calib {
    int64_t n_seqs, n_rows, n_batches, n_available;
    int batch_size, seq_len, pad_id;
    bool sentinels; /* padding "reference" */
    int32_t *ids, *target, *batch, *n_real, *n_pad, *n_loss;
    int64_t *offset, *batch_loss;
    uint8_t *sentinel;
    float *scale_bf16, *scale_f32;
    char *source, source_sha256[65], tokenizer_sha256[65], tokens_sha256[65];
};

/* Build from token id lists: seq i has n[i] ids at ids[i] (longer ones are truncated to seq_len). Fills everything but
 * source, hashes of source and tokenizer, n_available. ERR_CONFIG where a parameter is out of range, ERR_LIMIT where
 * there are too many rows. */
int calib_build(struct calib *c, int64_t n_seqs, const int32_t *const *ids, const int64_t *n, int batch_size,
                int seq_len, bool sentinels, int pad_id, struct err *e) MUST_CHECK;
/* Loss scale s of a batch with that many loss rows: bf16(1/bf16(N)) or fp32(1/N), 0 where N is 0. */
float calib_scale(int64_t n_loss, bool bf16);
/* Write as safetensors to f (an io_out's stream). */
void calib_write(const struct calib *c, FILE *f);
/* Read and check everything: shapes, monotonic offsets, batches, counts, that targets and scales follow from ids. */
int calib_load(struct calib *c, const char *path, struct err *e) MUST_CHECK;
int calib_parse(struct calib *c, const void *data, size_t size, const char *name, struct err *e) MUST_CHECK;
void calib_free(struct calib *c);

#endif
