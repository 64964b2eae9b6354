/* manifest_name - what a run is called, from its manifest alone: pair, model, data, arithmetic.
 *
 * Ours says so under `qsens`. A manifest of the reference stack names its pair twice, in the scheme ("wint8_aint8_...",
 * a name that its user may override) and as a ModelOpt configuration (scheme.quant_formats). What a manifest does not
 * hold stays NULL or 0. */
#ifndef MANIFEST_NAME_H
#define MANIFEST_NAME_H
#include "manifest.h"

struct manifest_name {
    char *pair;                            /* "fp4_fp8" */
    char *weight, *activation;             /* formats as in pair names: "fp4", "fp8"; fp16 = left as it is */
    char *model;                           /* "Qwen3-VL-4B-Instruct": last part of model.id, characters of file names */
    const char *granularity;               /* "default" where the manifest names none */
    const char *tool;                      /* "qsens" or "reference" */
    const char *dataset, *dtype, *padding; /* borrowed */
    int64_t sequences;
};

/* ERR_CONFIG where the pair does not follow, or follows differently from scheme and configuration: `pair` (NULL: not
 * given) then decides; also where `pair` is not the one that a manifest of ours holds. `where` is the file for
 * messages. manifest_name_free frees; legal on a zeroed one. */
int manifest_name_of(struct manifest_name *n, const struct manifest *m, const char *pair, const char *where,
                     struct err *e) MUST_CHECK;
void manifest_name_free(struct manifest_name *n);

/* Split "<weight>_<activation>" into known formats; false where it does not read so. */
bool manifest_split_pair(const char *pair, char **weight, char **activation);

/* "ORG/NAME" of a snapshot in a Hugging Face cache (.../models--ORG--NAME/snapshots/HASH), or NULL. The
 * caller frees. */
char *manifest_hub_id(const char *path);
/* Last part of a path, or "NAME" of a snapshot in a Hugging Face cache, with anything but [A-Za-z0-9._-] as '_'; never
 * empty, never starts with a dot: one part of a path. The caller frees. */
char *manifest_path_name(const char *name);

#endif
