/* scores_split - how much of a pair's score comes from its weights, how much from its activations.
 *
 * Two more replays of the same pass: weights quantized with inputs as they are, inputs quantized with weights as they
 * are. In the document, its groups and their members:
 *   split {weight, activation: scores of these two, interaction = score - weight - activation, interaction_share =
 *          interaction / score, null where the score is 0}
 * (Yq - Y) is close to the sum of the two errors, so interaction is close to twice their product, summed under the
 * weights G^2: above 0 where the errors add up, below where they cancel, small where they are independent. */
#ifndef SCORES_SPLIT_H
#define SCORES_SPLIT_H
#include "json.h"
#include "pair.h"
#include "scorer.h"

struct split_replays {
    bool wanted;            /* of a pair that quantizes weights and activations */
    int weight, activation; /* indices of the two replays */
};

/* Add the pair's two replays to the set; not wanted where it quantizes only one of the two. */
int split_replays_add(struct split_replays *r, struct replay_set *set, const struct pair *p, struct err *e) MUST_CHECK;
/* Add the members `split` to a document that has groups and members with scores, if they are wanted. */
void scores_split_add(json_t *doc, const struct scorer_result *result, const struct split_replays *r);

#endif
