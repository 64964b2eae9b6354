/* checkpoint - the tensors of a Hugging Face directory: one model.safetensors, or shards that
 * model.safetensors.index.json lists. The files are mapped; nothing is read before it is used. */
#ifndef CHECKPOINT_H
#define CHECKPOINT_H
#include "err.h"
#include "lm.h"
#include "safetensors.h"

struct checkpoint_tensor {
    const char *name;
    int file; /* index into checkpoint.file */
    const struct st_tensor *st;
};

struct checkpoint {
    char *dir;
    struct lm_file *info; /* identity of each file when it was opened; path is absolute */
    struct st_file *file;
    int n_files;
    struct checkpoint_tensor *tensor; /* sorted by name */
    size_t n;
};

/* Map DIR's files and check their headers. A shard must be a plain file name in DIR (a link is followed, as the Hugging
 * Face cache needs) and hold every tensor that the index says it holds. As in transformers, model.safetensors is taken
 * where both layouts are there. ERR_IO, ERR_FORMAT. checkpoint_close frees. */
int checkpoint_open(struct checkpoint *c, const char *dir, struct err *e) MUST_CHECK;
void checkpoint_close(struct checkpoint *c);
/* The tensor of that name, or NULL. */
const struct checkpoint_tensor *checkpoint_find(const struct checkpoint *c, const char *name);
/* ERR_IO where a file is no longer what it was when it was opened. */
int checkpoint_unchanged(const struct checkpoint *c, struct err *e) MUST_CHECK;

#endif
