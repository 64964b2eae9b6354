/* synth - random Qwen3-VL checkpoints of any size, for benchmarks and tests. Not trained: they say what a model costs,
 * and stay finite in bf16 at any depth.
 *
 * Weights are near normal with standard deviation 1/sqrt(inputs), o_proj and down_proj smaller by sqrt(2 * layers) so
 * that the residual stream grows slowly. As in trained models a few hidden channels are outliers (large norm weights,
 * large rows of o_proj and down_proj), and a few rows of each up_proj are, which make the activations hard to quantize.
 *
 * Every element is a function of the seed, its tensor's name and its index alone: no thread count, shard count or
 * machine changes it. */
#ifndef SYNTH_H
#define SYNTH_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "dtype.h"
#include "err.h"

struct synth_options {
    const char *size;       /* a name of synth_sizes() */
    const char *const *set; /* n_sets texts "key=value" over config.json */
    size_t n_sets;
    enum dtype dtype;       /* BF16, F16 or F32 */
    bool untied;            /* an lm_head of its own, whatever the size says */
    bool rope_parameters;   /* the spelling of transformers 5 */
    bool force;             /* replace a model that is there */
    const char *tokenizer_from; /* directory whose tokenizer files are copied, or NULL */
    int n_shards;           /* 1: model.safetensors; more: an index */
    uint64_t seed;
};

/* "tiny, 0.3b, 2b, ..." */
const char *synth_sizes(void);

/* The config.json of these options. A key is looked for in text_config, then outside; "vision_config.depth" names a
 * place; a value is JSON or else a string. What depends on others follows them unless it is set itself: mrope_section
 * (head_dim), vision_config.out_hidden_size (hidden_size). NULL with ERR_CONFIG for an unknown size or key, and where
 * extract-lm would refuse the result. The caller owns it. */
json_t *synth_config(const struct synth_options *o, struct err *e) MUST_CHECK;

/* Elements [begin, begin + n) of a tensor with `cols` elements a row: (mean + sigma * normal) * gain[row], rounded to
 * dtype. key: synth_key. gain may be NULL (all 1). */
struct synth_rule {
    uint64_t key, cols;
    float mean, sigma;
    const float *gain;
};
uint64_t synth_key(uint64_t seed, const char *tensor);
void synth_fill(const struct synth_rule *r, enum dtype t, void *dst, uint64_t begin, uint64_t n);

/* Write the weights and config.json, which comes last: a directory that has it is complete. progress is called with the
 * bytes written since the last call; NULL for none. ERR_CONFIG where DIR has a config.json already (unless force) or
 * there are more shards than tensors or no tokenizer files; ERR_IO. */
typedef void synth_progress_fn(void *arg, double bytes);
int synth_write(const json_t *config, const struct synth_options *o, const char *dir, synth_progress_fn *progress,
                void *arg, struct err *e) MUST_CHECK;
/* Bytes of all weights. */
int synth_bytes(const json_t *config, const struct synth_options *o, uint64_t *out, struct err *e) MUST_CHECK;

#endif
