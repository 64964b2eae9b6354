/* scores_stats - what scores.json says beside the scores: errors, ranks with their intervals, shares, and the same
 * quantity in nats. Written by scores_document, passed on by manifest and reports, checked by
 * their readers (scores_check.h).
 *
 * record = s^2 r, with s the loss scale of the sequence's batch, so r = record / s^2 is the sum of (G (Yq - Y))^2 with
 * gradients of the summed cross-entropy, and r / 2 is the loss in nats that the group's error costs on that sequence,
 * to second order, with the Fisher information in place of the Hessian. It depends neither on the batch size nor on
 * the other sequences of the batch, so it compares across sizes, datasets and models.
 *
 *   statistics of the document: {confidence 0.95, sequences, loss_tokens, resamples, no_errors (null, or why there are
 *              none), total {score, nats_per_token, nats_per_sequence}}
 *   of a group:   {share of the total score, score {se, low, high}, nats_per_token, nats_per_sequence {value, se, low,
 *              high}, rank {value, low, high, band}, worst: the member with the largest score}
 *   of a member:  {share of its group, score, nats_per_token, nats_per_sequence}
 * Errors and intervals: stats.h, resample.h; null where there is one sequence. The error of a score is that of the
 * batch-normalised sum, for as many sequences in batches as large; nats per token is the ratio of sums over loss
 * tokens, nats per sequence the mean over sequences. */
#ifndef SCORES_STATS_H
#define SCORES_STATS_H
#include "json.h"
#include "scorer.h"

/* Add them to a document that has groups and members with scores; all units of the result are members, in order. */
void scores_stats_add(json_t *doc, const struct calib *c, const struct scorer_result *r, int replay, bool bf16);

#endif
