/* safetensors - the reader and the streaming writer of the format (8-byte little-endian header length, JSON header,
 * data). Every offset, shape and length is checked against the file before it is used.
 * Source of the format: huggingface/safetensors, README "Format". */
#ifndef SAFETENSORS_H
#define SAFETENSORS_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "dtype.h"
#include "err.h"
#include "io.h"

enum { ST_MAX_RANK = 8, ST_MAX_HEADER = 100 << 20 };

struct st_tensor {
    const char *name;
    enum dtype dtype;
    int rank;
    uint64_t shape[ST_MAX_RANK];
    uint64_t n;          /* elements */
    uint64_t offset, nb; /* of the data: byte offset in the file, bytes */
    const void *data;    /* into the mapping; may be unaligned for its type */
};

struct st_file {
    struct io_map map; /* the whole file; unmapped by st_close only where st_open mapped it */
    bool owns_map;
    char *name;
    struct st_tensor *tensor; /* sorted by name */
    size_t n;
    json_t *header; /* owns the names */
    json_t *meta;   /* "__metadata__", borrowed from header; NULL if absent */
};

/* Map and check a file. ERR_IO or ERR_FORMAT with the byte position. st_close frees. */
int st_open(struct st_file *f, const char *path, struct err *e) MUST_CHECK;
/* The same from memory that the caller keeps alive. */
int st_parse(struct st_file *f, const void *data, size_t size, const char *name, struct err *e) MUST_CHECK;
void st_close(struct st_file *f);

/* The tensor of that name, or NULL. */
const struct st_tensor *st_find(const struct st_file *f, const char *name);
/* The tensor of that name with exactly this type and shape, else ERR_FORMAT. Dimension UINT64_MAX matches any. */
const struct st_tensor *st_need(const struct st_file *f, const char *name, enum dtype t, int rank,
                                const uint64_t *shape, struct err *e) MUST_CHECK;
/* A metadata string, else ERR_FORMAT. */
const char *st_need_meta(const struct st_file *f, const char *key, struct err *e) MUST_CHECK;

/* Writing: declare all tensors, then begin, then give the data in the same order, in pieces of any size, then end.
 * Data starts 64-byte aligned. I/O errors surface in io_out_commit (io.h). */
struct st_writer {
    json_t *header;
    uint64_t offset, written;
    FILE *f;
};
void st_writer_init(struct st_writer *w);
void st_writer_meta(struct st_writer *w, const char *key, const char *value);
void st_writer_add(struct st_writer *w, const char *name, enum dtype t, int rank, const uint64_t *shape);
void st_writer_begin(struct st_writer *w, FILE *f);
void st_writer_data(struct st_writer *w, const void *data, size_t nb);
/* BUG if the bytes given are not the bytes declared. Frees. */
void st_writer_end(struct st_writer *w);

#endif
