/* report - a manifest as reports for machines and for readers. Pure functions of the manifest.
 *
 * per-layer-sensitivity.json: scheme, model, dataset, quantization, run_config (those that the manifest has),
 *   autoquant_state, layer_sensitivity [{layer, num_bits, sensitivity, size_cost}]; one entry per group, for its first
 *   format that is not NONE; most sensitive first, ties in model order. For our own manifests then
 *   qsens {version, pair, granularity, arithmetic, inputs, calibration, loss, score as in the manifest;
 *          groups [{rank (1 = most sensitive), name, score, share, cumulative_share, weights, bytes, chosen, members,
 *                  statistics, split}],
 *          fixed {groups, weights}  those that have NONE alone, statistics, split as in the manifest,
 *          recipe {asked_bits, adjusted_bits, bound, gap, effective_bits, score, satisfied}, run}
 *   conf/schema/report.schema.json has every key.
 * per-layer-sensitivity.md: title; ours: At a Glance, Most and Least Sensitive, Layers and Modules; the reference's:
 *   Summary, Dataset, Quantization, Layer Sensitivity Table, laid out as its writer does; ours: Ranks and Recipe, Error
 *   Bars, Weights and Activations; Composed Config. Sections for which a manifest has no data are left out. */
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
