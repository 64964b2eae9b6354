/* records - the records of a run in progress: what scorer.h computes, kept in one journal (journal.h) per cell.
 *
 *   DIR/records.journal             a run of everything; deleted once DIR/scores.json is there
 *   DIR/calibration-I-of-K.journal  part I (from 1) of K of the maxima
 *   DIR/part-I-of-K.journal         part I of K of the scores, with all maxima
 * Frames, integers and floats little-endian; U units, blocks counted from 0:
 *   header       JSON {format "qsens-journal", version 1, and all that the numbers depend on: records_identity}; first
 *   gemm         text of gemm.json so far (gemm_used_merge)
 *   calibration  block I32, batches I32 n, seconds F64, amax F32 [n, U], weight_amax F32 [U]
 *   scores       block I32, replays I32 k, sequences I64 s, seconds F64, sum and I64 number of its losses F64,
 *                sums F64 [k, s, U]; behind the calibration of all blocks, of which they were computed
 * The replays of a cell are its pair's and, where its parts are scored too, those of weights and of activations alone.
 * Reuse is guarded: a journal whose header differs is of other inputs, or of another program or machine. Every length
 * is checked against the sizes of the run, every number is finite. */
#ifndef RECORDS_H
#define RECORDS_H
#include "journal.h"
#include "scores_write.h"

enum records_frame { RECORDS_HEADER = 1, RECORDS_GEMM, RECORDS_CALIBRATION, RECORDS_SCORES };

/* What a run scores and how. */
struct records_run {
    const struct lm *lm;
    const struct calib *calib;
    const struct scorer_options *options;
    const char *backend;
    const char *identity; /* of the backend: be_identity */
};

/* What the records of a cell depend on, flat. The caller owns it. */
json_t *records_identity(const struct records_run *run, const struct scorer_result *r, const struct scores_cell *cell);
/* How the identity `there` differs from `here` ("'dtype' is "bf16" there, "fp32" here") in a new string, or NULL. */
char *records_difference(const json_t *there, const json_t *here);

/* A journal of one cell. */
struct records_file {
    struct journal journal;
    int replay[3], n_replays;  /* of the cell, in the result */
    bool *calibrated, *scored; /* [blocks]: is in the journal */
    char *gemm;                /* the last of the journal, or NULL */
};

void records_file_init(struct records_file *f, const struct scorer_result *r, const struct scores_cell *cell);
void records_file_free(struct records_file *f);
/* The header of a journal that was read. NULL with ERR_FORMAT; the caller owns it. */
json_t *records_header(const struct journal *j, struct err *e) MUST_CHECK;
/* Put what the frames behind the header hold into the result, and mark what the journal has. Marks a block of the
 * result as calibrated, and as scored by the cell's replays. ERR_FORMAT where a frame makes no sense, ERR_CONFIG
 * where numbers differ from those that are in the result. */
int records_apply(struct records_file *f, struct scorer_result *r, struct err *e) MUST_CHECK;

/* Write and sync what of the result the journal lacks; the header first, if it is new. */
int records_append(struct records_file *f, const struct scorer_result *r, const json_t *identity,
                   struct err *e) MUST_CHECK;

/* What to do about a journal of other inputs, or, with RESTART, of the same. */
enum records_policy {
    RECORDS_REFUSE,
    RECORDS_RESUME, /* discard it and say so */
    RECORDS_RESTART
};

/* The journals of all cells of a run; a store of the scorer. */
struct records {
    struct records_run run;
    const struct scores_cell *cell;
    size_t n;
    enum records_policy policy;
    struct records_file *file;
    struct scorer_store store; /* for the scorer, with self = this */
    const char *const *reuse;  /* directories of other runs: records_reuse.h */
    size_t n_reuse;
    const struct replay_set *set; /* of the cells; needed where there are some */
};

/* Lock the journals, made where there are none; run and cells must stay. */
int records_open(struct records *s, const struct records_run *run, const struct scores_cell *cell, size_t n,
                 enum records_policy policy, struct err *e) MUST_CHECK;
/* Delete the journals. */
int records_remove(struct records *s, struct err *e) MUST_CHECK;
void records_close(struct records *s);

/* ---- parts */

/* A result from the journals of its parts. */
struct records_merged {
    json_t *header;
    struct scorer_options options;
    const char *backend, *identity;
    struct replay_set set;
    struct scorer_result result; /* complete */
};

/* Read the parts in any order, and complete the cell, whose pair is given, with its replays. The result is that of a
 * run that was never parted, to the bit. ERR_CONFIG where parts are of other inputs than these or than each other (it
 * says what differs), overlap, or leave a hole (it names the blocks). records_merged_free frees. */
int records_merge(struct records_merged *m, const struct lm *lm, const struct calib *c, struct scores_cell *cell,
                  const char *const *path, size_t n, struct err *e) MUST_CHECK;
void records_merged_free(struct records_merged *m);

#endif
