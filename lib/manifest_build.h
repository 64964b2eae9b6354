/* manifest_build - the manifest of one run: what manifest.h describes, from lm.json, scores.json and a few words of the
 * configuration. A pure function of these.
 *
 * Under the last key, ours alone:
 *   qsens {version 1; pair, granularity, arithmetic, inputs, calibration, loss, score, groups, statistics, split as in
 *          scores.json; recipe {asked_bits, adjusted_bits, bound, gap, groups {name: pair name or "NONE"}};
 *          run as in scores.json} */
#ifndef MANIFEST_BUILD_H
#define MANIFEST_BUILD_H
#include <stdbool.h>

#include "err.h"
#include "json.h"
#include "lm.h"
#include "scores.h"

struct manifest_options {
    double bits;     /* effective bits asked for */
    bool exact_bits; /* of all weights: not raised for the units that cannot be quantized */
    long score_size; /* sequences to score, as configured */
    /* NULL where the default is right */
    const char *scheme;    /* "w<weight>_a<activation>_autoquant_lm" */
    const char *model_id;  /* the model's path */
    const char *overrides; /* of the granularity, a JSON object: "{}" */
    const char *captions;  /* as the scores name their source */
    const char *composed;  /* "composed-config.yaml" */
    /* NULL or 0 where not known: then the key is left out */
    const char *dataset_name, *dataset_size, *dataset_root;
    long max_samples;
};

/* Build the document; the caller owns it. The paths are for messages. ERR_CONFIG where the scores are not of this model
 * or an option is not UTF-8 or out of range; errors of recipe_solve. */
json_t *manifest_build(const struct lm *lm, const char *lm_path, const struct scores *s, const char *scores_path,
                       const struct manifest_options *o, struct err *e) MUST_CHECK;

#endif
