/* captions - a caption file as Python's text mode reads it: UTF-8, one caption a line.
 *
 * "\n", "\r\n" and a lone "\r" end a line; str.strip() is applied; blank lines are skipped; the order is the file's. A
 * byte order mark and NUL bytes are text like any other. */
#ifndef CAPTIONS_H
#define CAPTIONS_H
#include <stddef.h>
#include <stdint.h>

#include "err.h"

struct caption {
    const char *text; /* n bytes of the file, stripped, not empty */
    size_t n;
    uint64_t line; /* from 1 */
};

struct captions {
    struct caption *item;
    size_t n;
    char *data; /* the file */
    char sha256[65];
};

/* Read a file ("-" is standard input) of at most 1 GiB. ERR_IO; ERR_LIMIT; ERR_FORMAT with line and byte where it is
 * not UTF-8, or where it holds no caption. captions_free frees, also after an error. */
int captions_load(struct captions *c, const char *path, struct err *e) MUST_CHECK;
/* The same from memory, which the caller keeps alive; `name` is for messages. */
int captions_parse(struct captions *c, const char *data, size_t n, const char *name, struct err *e) MUST_CHECK;
void captions_free(struct captions *c);

#endif
