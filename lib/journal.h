/* journal - an append-only file of frames: the work of a run so far, so that one that was killed goes on.
 *
 * A frame, integers little-endian:
 *   kind U32, reserved U32 = 0, n U64, payload [n], hash [64]
 * hash is the SHA-256, in hexadecimal digits, over the hash of the frame before (of the first: nothing) and everything
 * of this frame before its hash. A reader takes frames up to the first that is not whole or has another hash: what a
 * kill, a full disk or another file's pieces leave behind them is a tail that counts for nothing and is cut off. What a
 * frame means is the caller's affair. */
#ifndef JOURNAL_H
#define JOURNAL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

struct journal_frame {
    uint32_t kind;
    const unsigned char *data; /* n bytes, not aligned */
    size_t n;
};

struct journal {
    char *path;
    int fd; /* locked; -1: to be read only */
    char *text;
    struct journal_frame *frame; /* those that were read; into text */
    size_t n, cap;
    size_t end, tail; /* bytes of whole frames, bytes behind them */
    char hash[65];    /* of the last frame */
    unsigned char *added;
    size_t n_added, added_cap;
};

/* Open for appending, made if it is not there, locked until it is closed. ERR_IO, also where another process has it
 * open. */
int journal_open(struct journal *j, const char *path, struct err *e) MUST_CHECK;
/* Read one that is there. */
int journal_read(struct journal *j, const char *path, struct err *e) MUST_CHECK;
/* The same from a copy of n bytes. */
void journal_parse(struct journal *j, const void *data, size_t n, const char *path);
/* Drop all frames. Those that were read are invalid then. */
int journal_restart(struct journal *j, struct err *e) MUST_CHECK;
/* Append a frame, in memory until the flush: the tail is cut off, then comes one write of all that was added,
 * then fsync. A flush that fails (a full disk) leaves the frames as they were. */
void journal_add(struct journal *j, uint32_t kind, const void *data, size_t n);
int journal_flush(struct journal *j, struct err *e) MUST_CHECK;
/* Delete the file, and close. */
int journal_remove(struct journal *j, struct err *e) MUST_CHECK;
/* Close; an empty file is deleted. Legal on a zeroed journal. */
void journal_close(struct journal *j);

#endif
