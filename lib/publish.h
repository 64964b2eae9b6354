/* publish - a finished run's artifacts into the tree that is committed:
 *   ROOT/MODEL/layer-analysis/weight-W-act-A/GRANULARITY/MODEL_autoquant_PAIR_lm_SIZE/
 *     SCHEME_quant_manifest.json, per-layer-sensitivity.md, per-layer-sensitivity.json
 *     composed-config.yaml, import.json   where the run has them
 * SIZE: small, medium, large for 16, 128, 512 captions, else nN; left out where the number is not known.
 * Records, scores.json and gemm.json stay behind: the manifest holds every score of a group and a unit, and of the
 * algorithms that made them the hash.
 *
 * Published files hold no absolute path and no host name (publish_clean.h); the reports are made anew of the published
 * manifest. Equal runs give equal bytes, and files that would not change are not touched. */
#ifndef PUBLISH_H
#define PUBLISH_H
#include "err.h"

struct publish {
    const char *run;   /* directory of the run */
    const char *root;  /* "models" */
    const char *model; /* NULL: model.name of the configuration, else the last part of the manifest's model.id */
};

/* ROOT/MODEL/layer-analysis of the run goes to *analysis, the run's directory in it to *written; the caller frees both.
 * ERR_CONFIG where the manifest is not of the scores or the import beside it, where there are neither, or where the
 * directory holds another manifest. */
int publish_run(const struct publish *p, char **analysis, char **written, struct err *e) MUST_CHECK;

/* README.md, sensitivity-index.md and sensitivity-index.json of a layer-analysis directory, from what is published
 * there. */
int publish_index(const char *analysis, struct err *e) MUST_CHECK;

#endif
