/* lm_materialize - the language model alone, as a plain Qwen3 causal LM that transformers loads. */
#ifndef LM_MATERIALIZE_H
#define LM_MATERIALIZE_H
#include "checkpoint.h"
#include "lm.h"

/* Write DIR/model.safetensors, then DIR/config.json and the tokenizer files of the model's directory. Tensors keep
 * their types and go through in pieces. ERR_CONFIG where DIR holds another kind of model already, as the source. */
int lm_materialize(const struct lm *m, const struct checkpoint *c, const char *dir, struct err *e) MUST_CHECK;

#endif
