/* publish_clean - what a file must not say once it is published: absolute paths and host names.
 *
 * An absolute path becomes: relative to the working directory where it lies below; "ORG/NAME" where it is a snapshot in
 * a Hugging Face cache; else its last part. */
#ifndef PUBLISH_CLEAN_H
#define PUBLISH_CLEAN_H
#include "json.h"

/* A path, as it may be published. The caller frees. */
char *publish_clean_path(const char *path);
/* Every absolute path in a text: what starts with '/' after a blank, a quote, '=', ',' or a bracket, up to the closing
 * quote; after "key: ", up to the end of the line; else up to a blank, ',' or bracket. The caller frees. */
char *publish_clean_text(const char *text);
/* All strings of a document, in place; `host` members are removed. */
void publish_clean_json(json_t *doc);

#endif
