/* report_view - what reports derive from a manifest: the groups that can be quantized, ranked, with their shares.
 *
 * Here rank 1 is the MOST sensitive group, and only groups with a choice are ranked; the manifest's own `rank` counts
 * from the least sensitive and over all groups. */
#ifndef REPORT_VIEW_H
#define REPORT_VIEW_H
#include <stdint.h>

#include "manifest.h"

/* A decoder layer's groups; q, k, v count as one module, and so do gate and up. */
enum report_module { MODULE_QKV, MODULE_O, MODULE_GATE_UP, MODULE_DOWN, MODULE_COUNT };
extern const char *const report_module_name[MODULE_COUNT];

struct report_group {
    const struct sens_row *row;
    const char *label; /* "layers.3.mlp.down_proj": without what all layers' names begin with; points into row->name */
    int rank;
    double score, share, cumulative; /* shares of the total, from 0 to 1; 0 where the total is 0 */
    uint64_t bytes;                  /* in the pair's weight format, scales not counted */
    int layer;                       /* -1 where module is MODULE_COUNT: lm_head, other modules */
    enum report_module module;
    const json_t *members;            /* [{unit, weights, score, ..}], NULL where the manifest has none */
    const json_t *statistics, *split; /* of scores.json, NULL where the manifest has none */
    const char *chosen;               /* the recipe's pair for it, or "NONE"; NULL where the manifest does not say */
};

struct report_view {
    struct report_group *group; /* most sensitive first, ties in model order */
    int n;
    double total;     /* score of all groups */
    uint64_t weights; /* of the n groups */
    int n_fixed;      /* groups with NONE alone: the vision tower */
    uint64_t fixed_weights;
};

/* m must outlive the view. report_view_free frees. */
void report_view_init(struct report_view *v, const struct manifest *m);
void report_view_free(struct report_view *v);

#endif
