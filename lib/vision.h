/* vision - the tensors of Qwen3-VL's vision tower. It is never run: its layers' weight counts enter the budgets, and
 * synth-model writes one. */
#ifndef VISION_H
#define VISION_H
#include <stdbool.h>
#include <stdint.h>

#include "err.h"

struct vision_config { /* config.json: vision_config */
    int depth, hidden_size, intermediate_size, in_channels, patch_size, temporal_patch_size, spatial_merge_size;
    int out_hidden_size, n_positions, n_deepstack;
};

enum vision_kind { VISION_LINEAR, VISION_CONV3D, VISION_BIAS, VISION_NORM, VISION_EMBED };

struct vision_tensor {
    char *module;   /* "model.visual.blocks.0.attn.qkv" */
    bool is_bias;   /* module.bias, else module.weight */
    enum vision_kind kind;
    int rank;
    uint64_t shape[5], n; /* n elements */
};

#define VISION_PREFIX "model.visual."

/* All tensors in the order of the model's modules. Those of kind LINEAR and CONV3D are the quantizable layers. The
 * caller frees with vision_free. */
void vision_tensors(const struct vision_config *c, struct vision_tensor **out, int *n);
void vision_free(struct vision_tensor *t, int n);
/* Sizes in range: no product of theirs overflows. ERR_FORMAT; where as in json.h. */
int vision_config_check(const struct vision_config *c, const char *where, struct err *e) MUST_CHECK;

#endif
