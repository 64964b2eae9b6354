/* hf_config - config.json of a Hugging Face Qwen3-VL checkpoint, both the spelling of transformers 4 (rope_theta and
 * rope_scaling) and that of 5 (rope_parameters).
 *
 * What cannot be run is refused in one sentence, ERR_CONFIG: other families, mixture of experts, quantized checkpoints,
 * attention biases, other activations, other rope types. What contradicts itself or has wrong types: ERR_FORMAT. */
#ifndef HF_CONFIG_H
#define HF_CONFIG_H
#include <jansson.h>
#include <stdbool.h>

#include "err.h"
#include "lm.h"
#include "vision.h"

enum hf_tie { HF_UNTIED, HF_TIED, HF_TIE_UNSAID }; /* UNSAID: tied if the checkpoint has no lm_head */

struct hf_config {
    struct lm_config lm; /* tied follows tie; UNSAID counts as tied until the checkpoint is known */
    enum hf_tie tie;
    bool has_vision; /* vision_config is there */
    struct vision_config vision;
    const char *architecture; /* a constant */
};

/* Absent keys with one harmless meaning take transformers' default: head_dim 128 (hidden_size / heads where it is
 * null), hidden_act, attention_bias, max_position_embeddings. tie_word_embeddings of text_config wins over the outer
 * one, as in transformers. name is for messages. */
int hf_config_of_json(struct hf_config *c, const json_t *doc, const char *name, struct err *e) MUST_CHECK;
int hf_config_parse(struct hf_config *c, const char *data, size_t size, const char *name, struct err *e) MUST_CHECK;
/* Read DIR/config.json. */
int hf_config_load(struct hf_config *c, const char *dir, struct err *e) MUST_CHECK;

/* Copy the tokenizer files (tokenizer.json, vocab.json, ...) that are in one directory to another; *n counts them. */
int hf_copy_tokenizer(const char *from, const char *to, int *n, struct err *e) MUST_CHECK;

#endif
