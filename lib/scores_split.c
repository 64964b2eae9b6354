#include "scores_split.h"

int split_replays_add(struct split_replays *r, struct replay_set *set, const struct pair *p, struct err *e)
{
    struct pair weight = *p, activation = *p;
    *r = (struct split_replays){.wanted = p->weight.format != QF_NONE && p->activation.format != QF_NONE};
    if (!r->wanted)
        return 0;
    weight.activation = activation.weight = (struct quantizer){.format = QF_NONE};
    r->weight = replay_add(set, &weight, e);
    if (r->weight < 0)
        return -1;
    r->activation = replay_add(set, &activation, e);
    return r->activation < 0 ? -1 : 0;
}

static void set_split(json_t *o, double weight, double activation)
{
    const double score = json_number_value(json_object_get(o, "score")), interaction = score - weight - activation;
    json_t *split = json_object();
    json_set(split, "weight", json_real(weight));
    json_set(split, "activation", json_real(activation));
    json_set(split, "interaction", json_real(interaction));
    json_set(split, "interaction_share", score > 0 ? json_real(interaction / score) : json_null());
    json_set(o, "split", split);
}

void scores_split_add(json_t *doc, const struct scorer_result *result, const struct split_replays *r)
{
    json_t *groups = json_object_get(doc, "groups");
    double weight = 0, activation = 0;
    int unit = 0;
    for (size_t g = 0; r->wanted && g < json_array_size(groups); g++) {
        json_t *group = json_array_get(groups, g), *members = json_object_get(group, "members");
        double of_weight = 0, of_activation = 0;
        for (size_t k = 0; k < json_array_size(members); k++, unit++) {
            const double w = scorer_unit_score(result, r->weight, unit);
            const double a = scorer_unit_score(result, r->activation, unit);
            set_split(json_array_get(members, k), w, a);
            of_weight += w;
            of_activation += a;
            weight += w; /* in the order in which scores are summed */
            activation += a;
        }
        set_split(group, of_weight, of_activation);
    }
    if (r->wanted)
        set_split(doc, weight, activation);
}
