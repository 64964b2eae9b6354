/* edit - one change to a text file in memory: for tests that feed slightly wrong documents. */
#ifndef EDIT_H
#define EDIT_H
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "mem.h"

/* The file with the first `from` replaced by `to`, as a new string; NULL where it cannot be read or lacks `from`. */
static inline char *edited(const char *path, const char *from, const char *to)
{
    char *text;
    size_t n;
    struct err e;
    if (io_read(path, 64 << 20, &text, &n, &e))
        return NULL;
    char *at = strstr(text, from), *out = NULL;
    if (at)
        out = xasprintf("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    free(text);
    return out;
}

#endif
