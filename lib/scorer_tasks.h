/* scorer_tasks - what a scoring run has to do: the blocks of all its samples, those that are equal once, and of each
 * what is left to be calibrated and which replays are left to be scored.
 *
 * Two samples of one captions file begin with the same batches. A block of one is a block of the other where it is of
 * the same sequences, cut into the same batches (block_hash): then it is computed once, with the same rows in every
 * GEMM as in a run of its own, and both results get it. */
#ifndef SCORER_TASKS_H
#define SCORER_TASKS_H
#include "scorer.h"

struct task {
    int sample, index; /* one that has the block, and its number there */
    bool calibrate;    /* to be calibrated */
    bool *wanted;      /* [set.n] replays to be scored */
    int n_wanted;
};

struct tasks {
    struct scorer_sample *sample;
    int n_samples;
    struct replay_set set; /* of all samples */
    int **replay;          /* [samples][replays of the sample] indices into set */
    int **of;              /* [samples][blocks of the sample] indices into task */
    struct task *task;
    int n;
};

/* The results of all samples are open. ERR_LIMIT where there are too many replays. tasks_close frees, also then. */
int tasks_open(struct tasks *t, struct scorer_sample *sample, int n_samples, struct err *e) MUST_CHECK;
void tasks_close(struct tasks *t);

/* What one sample has of a task, the others get. */
void tasks_share(struct tasks *t);
/* What is not there is to be done, as far as the options ask for it. ERR_CONFIG where the maxima of a part that is to
 * be scored are missing. */
int tasks_plan(struct tasks *t, const struct scorer_options *o, struct err *e) MUST_CHECK;
/* Of all tasks, what is still wanted: some replays may have been scored, or no longer be wanted. */
void tasks_look(struct tasks *t);

/* What was computed of a task goes to all results that have it. amax [units, batches of the block]; sum [replays,
 * units, n_seqs] over all sequences of the block, of which the wanted replays count; loss: of each loss row.
 * ERR_NUMERIC names what is not finite. */
int tasks_put_maxima(struct tasks *t, const struct lm *lm, int task, const float *amax, struct err *e) MUST_CHECK;
int tasks_put_scores(struct tasks *t, const struct lm *lm, int task, const double *sum, int n_seqs,
                     struct err *e) MUST_CHECK;
void tasks_put_loss(struct tasks *t, int task, const float *loss);
/* It is done, in so many seconds: calibrated or, as far as wanted, scored. */
void tasks_done(struct tasks *t, int task, bool scored, double seconds);

/* A task's block in its next sample, from *sample, *index = 0, -1 on; false after the last. */
bool tasks_next(const struct tasks *t, int task, int *sample, int *index);

#endif
