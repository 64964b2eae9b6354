/* replay - which quantizer combinations are replayed at every unit, and the replaying.
 *
 * A replay is (weight quantizer or none, activation quantizer or none). Pairs that share a quantizer share its work: an
 * input is quantized once per activation quantizer, a weight once per weight quantizer. Activation quantizers with
 * maxima of several samples of calibration data are as many activation quantizers; without static maxima they are one.
 *   score of a replay at a unit, per row = sum over outputs of (G * (Yq - Y))^2,
 *   Yq = fakequant(X) fakequant(W)^T, G = dL/dY, Y = X W^T unquantized. */
#ifndef REPLAY_H
#define REPLAY_H
#include "backend.h"
#include "pair.h"

enum { REPLAY_MAX_QUANTIZERS = 64 };

struct replay_set {
    struct quantizer weight[REPLAY_MAX_QUANTIZERS],
        act[REPLAY_MAX_QUANTIZERS]; /* distinct; QF_NONE may be among them */
    int sample[REPLAY_MAX_QUANTIZERS]; /* whose static maxima act[i] takes; 0 where it needs none */
    int n_weight, n_act;
    struct {
        int weight, act; /* indices */
    } replay[REPLAY_MAX_QUANTIZERS];
    int n;
};

/* Add a pair; returns the index of its replay, which may be one that another pair has added. -1 with ERR_LIMIT when
 * there are too many. */
int replay_add(struct replay_set *s, const struct pair *p, struct err *e) MUST_CHECK;
/* Add all replays of another set, its maxima being those of `sample`; map [from->n] gets their indices. */
int replay_join(struct replay_set *s, const struct replay_set *from, int sample, int *map, struct err *e);
/* Does this quantizer need the maximum over the calibration data? Does any activation quantizer of the set? */
bool replay_is_static(const struct quantizer *q);
bool replay_needs_static_amax(const struct replay_set *s);

/* The workspace of replaying. Views into buffers of the backend, for up to max_rows rows. */
struct replayer {
    const struct be_ops *ops;
    struct be *be;
    const struct replay_set *set;
    const bool *wanted; /* [set->n] which replays to do now; NULL: all */
    bool bf16;
    enum dtype act, weight;
    int max_rows;
    struct be_buf *weight_buf, *act_buf, *out_buf, *amax_buf;
    int at_once;       /* outputs that exist at once */
    size_t out_stride; /* elements between two of them */
    size_t act_stride; /* elements between the quantized inputs of two activation quantizers, NONE left out */
    int N, I;          /* of the current input */
    struct be_view x;  /* current input, unquantized */
    double flops;      /* of the replayed GEMMs, for the profile */
};

/* The largest of what is replayed. */
struct replay_size {
    int rows, in;       /* rows and columns of an input */
    size_t out, weight; /* elements of an output and of a weight */
};
void replayer_open(struct replayer *r, const struct be_ops *ops, struct be *be, const struct replay_set *set, bool bf16,
                   const struct replay_size *size);
/* Bytes of backend memory that replayer_open takes. */
size_t replayer_bytes(const struct be_ops *ops, const struct replay_set *set, bool bf16,
                      const struct replay_size *size);
void replayer_close(struct replayer *r);

/* Quantize the input x [N, I] of the units that follow. amax_static F32: over all calibration data, that of sample i
 * at i * sample_stride; amax_batch F32: one per batch; batch I32 [N]: the batch of each row. */
void replayer_input(struct replayer *r, struct be_view x, int N, int I, struct be_view amax_static,
                    size_t sample_stride, struct be_view amax_batch, struct be_view batch);
/* Replay everything at weights w [O, I]. amax_w F32 [1]: max |w| of the whole tensor; col_amax F32 [I]: of its columns,
 * or a NULL buffer: taken from w. y [N, ..]: unquantized output, rows ldy apart; g [N, O].
 * sum F64: row sums, added to sum[replay*sum_stride + row]. */
void replayer_unit(struct replayer *r, struct be_view w, int O, struct be_view amax_w, struct be_view col_amax,
                   struct be_view y, int ldy, struct be_view g, struct be_view sum, size_t sum_stride);

#endif
