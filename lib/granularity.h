/* granularity - overlays: which scales replace those of a pair. Formats stay the pair's.
 *
 * An overlay is written in the words of ModelOpt's quantizer attributes, because its users have them at hand:
 *     quant_cfg_overrides:
 *       "*weight_quantizer": {axis: 0}
 *       "*input_quantizer": {type: dynamic, block_sizes: {-1: null}}
 * axis         weights: 0 one scale per output channel, 1 per input channel, null per tensor; inputs: null
 * block_sizes  weights: {-1: N} one scale per N inputs; inputs: {-1: null} one scale per token
 * type         inputs: static (calibrated) or dynamic (of the data at hand)
 * axis and block_sizes exclude each other. A quantizer that is off stays off. NVFP4 keeps its blocks of 16 whatever
 * block_sizes says, and the inputs of MXFP4 pairs are never calibrated: so it is in the reference. */
#ifndef GRANULARITY_H
#define GRANULARITY_H
#include "err.h"
#include "pair.h"
#include "yml.h"

enum overlay_axis { AXIS_KEPT, AXIS_NULL, AXIS_OUT, AXIS_IN };
enum overlay_type { TYPE_KEPT, TYPE_STATIC, TYPE_DYNAMIC };
enum { BLOCK_KEPT, BLOCK_TOKEN = -1 };

struct overlay { /* all zero: nothing changes */
    enum overlay_axis axis;
    int block; /* BLOCK_KEPT, BLOCK_TOKEN, or elements */
    enum overlay_type type;
};

struct granularity {
    struct overlay weight, input;
};

/* Read the mapping under quant_cfg_overrides; null and {} change nothing. ERR_CONFIG with place and nearest key. */
int granularity_read(struct granularity *g, const struct yml_node *root, struct err *e) MUST_CHECK;
/* The overlay as JSON on one line, keys in a fixed order; NULL where nothing changes. The caller frees. */
char *granularity_json(const struct granularity *g);

/* Merge the overlay onto the pair's quantizers. recipe_name becomes what the reference would call the result: its
 * configurations are dictionaries, and a merge that leaves one equal to a preset keeps the preset's name, any other is
 * CUSTOM_0 (also where the numbers are the same: an attribute given to an input quantizer that is off, say).
 * Combinations that cannot be run are refused: ERR_CONFIG, one sentence that says why; *p is then undefined. */
int granularity_apply(const struct granularity *g, struct pair *p, struct err *e) MUST_CHECK;

#endif
