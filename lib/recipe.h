/* recipe - which format each group of layers should take, under a budget of effective bits.
 *
 * A menu of pairs and NONE over the groups of one model; every group takes one. The rules are ModelOpt's AutoQuant:
 *   cost of a choice  = weights * bits / 16; NONE has 16 bits and score 0; scales are not counted
 *   order             by bits ascending, the menu's order among equal bits, NONE last
 *   scores            lowered to the least raw score among strictly fewer bits (search_clamp)
 *   budget            total * bits' / 16 over the weights of ALL units, vision included; bits' (adjusted_bits) is
 *                     raised for the groups that can only take NONE (search_adjusted_bits)
 *   refused           bits' below the fewest bits on the menu, before any search
 * The optimum is exact (search.h). Inside, costs are whole numbers: weights * bits * RECIPE_STEPS. */
#ifndef RECIPE_H
#define RECIPE_H
#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "json.h"
#include "lm.h"
#include "manifest.h"
#include "scores.h"

enum { RECIPE_STEPS = 64, RECIPE_NONE = -1 };

struct recipe_pair {
    char *name;        /* "fp4_fp8"; with an overlay "fp8_fp8/w_per_tensor"; unique in the menu */
    char *recipe_name; /* "W4A8_NVFP4_FP8_CFG", "CUSTOM_0" */
    double bits;
    double *score; /* [n_groups], as measured; 0 where the group is fixed */
};

struct recipe_group {
    char *name;
    uint64_t weights;
    bool fixed; /* NONE only */
};

struct recipe_menu {
    struct recipe_group *group;
    int n_groups;
    struct recipe_pair *pair;
    int n_pairs;
    uint64_t weights, fixed_weights; /* sums over groups */
    json_t *origin;                  /* what the scores came from: equal for all pairs, see recipe_menu.c */
    char *first;                     /* the operand that origin came from, for messages */
};

/* Add a group (before the first pair). Copies name. ERR_FORMAT where the weights overflow. */
int recipe_add_group(struct recipe_menu *m, const char *name, uint64_t weights, bool fixed, struct err *e) MUST_CHECK;
/* Add all groups of a model (first of all); scores must then come from its weights. `path` is for messages. */
int recipe_add_lm(struct recipe_menu *m, const struct lm *lm, const char *path, struct err *e) MUST_CHECK;
/* Add the pair of a scores.json. The groups must have been added, and be those of the file. ERR_CONFIG where it does
 * not fit what is there: another model, other groups, tokens, dtype or padding, or a pair that is on the menu already;
 * the sentence names the first difference. `path` is for messages. */
int recipe_add_scores(struct recipe_menu *m, const struct scores *s, const char *path, struct err *e) MUST_CHECK;
/* Add the formats of a manifest, and its groups if there are none yet. Errors as above. */
int recipe_add_manifest(struct recipe_menu *m, const struct manifest *x, const char *path, struct err *e) MUST_CHECK;
/* Either, by what the file holds. */
int recipe_add_file(struct recipe_menu *m, const char *path, struct err *e) MUST_CHECK;
void recipe_menu_free(struct recipe_menu *m);

struct recipe {
    double asked_bits, adjusted_bits;    /* adjusted = asked where nothing is fixed or no adjustment is wanted */
    double effective_bits;               /* of the choices, over all weights */
    double score, bound;                 /* of the choices; no combination within the budget scores below bound */
    bool satisfied;                      /* false: nothing fits, these are the cheapest choices */
    double least_asked, least_effective; /* the fewest bits this menu reaches, as asked_bits and effective_bits count */
    int *pick;                           /* [n_groups] index into the menu's pairs, or RECIPE_NONE */
    double *picked_score;                /* [n_groups] after the clamp */
};

/* ERR_CONFIG where bits lie outside what the menu can reach, with the range; ERR_LIMIT from search_solve. */
int recipe_solve(const struct recipe_menu *m, double bits, bool adjust, struct recipe *r, struct err *e) MUST_CHECK;
void recipe_free(struct recipe *r);

/* The document recipe.json, version 1:
 *   format "qsens-recipe", version 1, name (if given)
 *   asked_bits, adjusted_bits, effective_bits, score, bound, gap (score - bound), satisfied
 *   achievable   {asked_bits [least, 16], effective_bits [least, 16]}
 *   weights, fixed_weights
 *   origin       what the scores came from
 *   menu         [{pair, recipe_name, bits, groups, weights}]  groups and weights: how many took it; NONE last
 *   groups       [{name, pair, recipe_name, bits, weights, score}]  in model order; pair "NONE" where not quantized
 * name is UTF-8 or NULL. The caller owns the value. */
json_t *recipe_json(const struct recipe_menu *m, const struct recipe *r, const char *name);

#endif
