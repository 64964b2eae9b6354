/* scores - scores.json: the sensitivity of every language-model group to one pair. Written by autoquant-score, read by
 * manifest and recipe-search.
 *
 * scores.json, version 1:
 *   format "qsens-scores", version 1
 *   pair        {name, modelopt_config, recipe_name, bits, weight (quantizer key), activation (quantizer key)}
 *   granularity "default" or the name of an overlay
 *   arithmetic  {version, dtype "bf16"|"fp32", padding "reference"|"none", backend, block_batches, gemm_sha256?}
 *               gemm_sha256: of gemm.json, which names the algorithm of every product, where the backend chooses them
 *   inputs      {weights_sha256, tokens_sha256}
 *   calibration {source, sequences, batches, batch_size, seq_len, rows, real_tokens, pad_tokens, loss_tokens,
 *                score_sequences, score_batches, score_rows}
 *   loss        mean cross-entropy over the scored loss rows
 *   score       sum over groups
 *   groups      [{name, weights, score, members [{unit, weights, score, input_amax, weight_amax}]}]  LM groups in model
 *               order; a member's score is the sum over the scored sequences; amax null where nothing is calibrated
 *   statistics  of the document, its groups and their members: errors, ranks, nats (scores_stats.h)
 *   split       of the same, where it was asked for: parts of weights and activations (scores_split.h)
 *   run         {seconds, tokens_per_second, threads, host, started}  the one field that differs between equal runs */
#ifndef SCORES_H
#define SCORES_H
#include <stdint.h>

#include "err.h"
#include "json.h"

struct scores_group {
    const char *name; /* borrowed from doc */
    uint64_t weights;
    double score;
    const json_t *members;
};

struct scores {
    json_t *doc; /* the whole document */
    const char *pair, *recipe_name, *modelopt_config, *granularity, *dtype;
    int bits; /* effective bits of the pair */
    struct scores_group *group;
    int n_groups;
};

/* Read and check: finite non-negative scores, sums of members equal to their group within rounding. ERR_FORMAT with the
 * place. scores_free frees. */
int scores_load(struct scores *s, const char *path, struct err *e) MUST_CHECK;
/* The same from memory; `name` is for messages. */
int scores_parse(struct scores *s, const char *data, size_t n, const char *name, struct err *e) MUST_CHECK;
void scores_free(struct scores *s);

#endif
