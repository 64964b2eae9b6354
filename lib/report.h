/* report - a manifest as reports for machines and for readers. Pure functions of the manifest.
 *
 * per-layer-sensitivity.json: scheme, model, dataset, quantization, run_config (those that the manifest has),
 *   autoquant_state, layer_sensitivity [{layer, num_bits, sensitivity, size_cost}] and qsens (if there). One entry per
 *   group, for its first format that is not NONE; most sensitive first, ties in model order.
 * per-layer-sensitivity.md: the same as tables, in the layout of the reference stack's Markdown writer (two blanks end
 *   a line there), and for our own manifests one table more: rank, share of the total, members of fused groups,
 *   recipe. */
#ifndef REPORT_H
#define REPORT_H
#include <stdio.h>

#include "json.h"
#include "manifest.h"

/* The JSON report as a new value. */
json_t *report_json(const struct manifest *m);
/* The Markdown report. composed: the text of composed-config.yaml to embed, or NULL. */
void report_md(FILE *f, const struct manifest *m, const char *composed);

#endif
