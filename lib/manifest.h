/* manifest - <scheme>_quant_manifest.json: a run's scores, ranks and recipe, in the layout of the reference stack.
 *
 * Reading takes ours and the reference's, the layout of today and the older one without `dataset`, `quantization` and
 * `run_config`. Keys in order (manifest_build.h says what ours holds):
 *   scheme {name, auto_quantize_bits, auto_quantize_method, auto_quantize_score_size, coverage_mode, coverage_fraction,
 *   quant_formats}, model {id}, num_quantized_layers, layers, autoquant_state {keys, constraints {effective_bits},
 *   score, is_satisfied}, layer_sensitivity, sensitivity_ranking (sensitivity.h), dataset, quantization, run_config,
 *   qsens.
 * `qsens` is ours alone; report-json and report-md pass on what it holds. */
#ifndef MANIFEST_H
#define MANIFEST_H
#include <stdbool.h>

#include "sensitivity.h"

struct manifest {
    json_t *doc; /* the whole document; everything below is borrowed from it, the table excepted */
    const char *scheme, *model_id;
    double auto_quantize_bits; /* the budget that was searched */
    int64_t score_size;
    double effective_bits, score; /* of the recipe that was found */
    int is_satisfied;
    const json_t *dataset, *quantization, *run_config, *qsens; /* NULL where absent */
    struct sens_table table;
};

/* Read and check. What the document says of itself (counts, ranks, importance, totals; manifest_check.h for ours) must
 * follow from its scores, else ERR_FORMAT with the place. manifest_free frees. */
int manifest_load(struct manifest *m, const char *path, struct err *e) MUST_CHECK;
/* The same from memory; `name` is for messages. */
int manifest_parse(struct manifest *m, const char *data, size_t n, const char *name, struct err *e) MUST_CHECK;
void manifest_free(struct manifest *m);

#endif
