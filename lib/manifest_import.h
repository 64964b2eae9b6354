/* manifest_import - a manifest from elsewhere as a finished run: reports, search and publishing work on the directory.
 *
 * The directory gets the manifest, byte for byte, as <scheme>_quant_manifest.json, and beside it import.json:
 *   format "qsens-import", version 1
 *   source  {path (as given), sha256, bytes}
 *   tool    "reference" or "qsens"
 *   model, pair, weight, activation, granularity; dataset, sequences where the manifest has them
 * What a manifest cannot give (records, tokens, seconds) stays absent. */
#ifndef MANIFEST_IMPORT_H
#define MANIFEST_IMPORT_H
#include "err.h"

struct manifest_import {
    const char *from; /* file, "-" for standard input */
    const char *dir;  /* where to, or NULL: ROOT/MODEL/DATASET-nN-imported/PAIR/GRANULARITY */
    const char *root;
    const char *pair; /* NULL: as the manifest says */
};

#define MANIFEST_IMPORT_SIDECAR "import.json"

/* *written is the directory, the caller frees. ERR_FORMAT for a manifest that contradicts itself; ERR_CONFIG where the
 * pair does not follow, the scheme is no file name, or the directory holds a scored run or another manifest. */
int manifest_import(const struct manifest_import *i, char **written, struct err *e) MUST_CHECK;

/* What import.json of a directory says; all NULL where there is none. manifest_origin_free frees. */
struct manifest_origin {
    char *pair, *path; /* path: the source's, as it was given */
    char sha256[65];   /* of the manifest */
};
int manifest_origin_load(struct manifest_origin *o, const char *dir, struct err *e) MUST_CHECK;
void manifest_origin_free(struct manifest_origin *o);

/* NAME_quant_manifest.json of a directory, as a new string with the directory. ERR_CONFIG unless there is exactly
 * one. */
int manifest_find(const char *dir, char **path, struct err *e) MUST_CHECK;
/* <scheme>_quant_manifest.json; ERR_CONFIG where the scheme has characters that a file name should not. */
int manifest_file_name(const char *scheme, const char *where, char **name, struct err *e) MUST_CHECK;

#endif
