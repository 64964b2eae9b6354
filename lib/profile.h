/* profile - where the time of a run goes: an op table that passes everything on to another one and notes, per phase of
 * the run and op, calls, time, floating-point operations and bytes.
 *
 * The time of an op is the time between two marks of the backend, set before and after it in the order of its work;
 * what lies between one op's second mark and the next one's first is time in which the backend waited for the host.
 * Work on another stream (weights that arrive while ops run) counts where somebody waits for it, so every moment counts
 * once. Operations and bytes follow from the arguments: each operand once, as an op with an unlimited cache would move
 * it. */
#ifndef PROFILE_H
#define PROFILE_H
#include <stdio.h>

#include "replay.h"

/* Ops, some of them together. */
enum profile_op {
    OP_MEMORY,
    OP_LOAD,
    OP_COPY,
    OP_CONVERT,
    OP_ROWS,
    OP_ADD,
    OP_LINEAR,
    OP_LINEAR_DX,
    OP_RMSNORM,
    OP_RMSNORM_BWD,
    OP_ROPE,
    OP_ATTENTION,
    OP_ATTENTION_BWD,
    OP_SWIGLU,
    OP_SWIGLU_BWD,
    OP_XENT,
    OP_XENT_BWD,
    OP_AMAX,
    OP_FAKEQUANT,
    OP_SCORE,
    OP_SEGMENTS,
    OP_COUNT
};
enum { PROFILE_PHASES = PHASE_REPLAY + REPLAY_MAX_QUANTIZERS };

struct profile_entry {
    long calls;
    double seconds, flops, bytes;
};

/* The table that profiles `inner`. One at a time. Its handle may be opened once. */
const struct be_ops *profile_ops(const struct be_ops *inner);
/* After the handle was closed: a table on f. started: when the run began, by cli_seconds; set: what was replayed. The
 * last column is the time that the same operations and bytes take at the speeds measured on this backend at the end of
 * the run (ceiling.h), over the time they took. */
void profile_print(FILE *f, double started, const struct replay_set *set);

/* The same table where only calls, operations and bytes are asked for: nothing is measured when it is closed. */
const struct be_ops *profile_counts(const struct be_ops *inner);
/* Of the last run; phase below PROFILE_PHASES. */
const struct profile_entry *profile_entry(int phase, enum profile_op op);

#endif
