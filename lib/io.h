/* io - whole files in, whole files out.
 *
 * Inputs are mapped read-only or read whole under a size limit. Outputs are written to NAME.tmp beside the target,
 * synced and renamed, so a reader sees the old file or the new one and a killed run leaves no half file. The .tmp is
 * locked while it is written (a second writer of the same output is told so) and removed on exit, SIGINT, SIGTERM and
 * SIGHUP; what a SIGKILL leaves is overwritten by the next run. */
#ifndef IO_H
#define IO_H
#include <stdbool.h>
#include <stdio.h>

#include "err.h"

struct io_map {
    const unsigned char *data; /* size bytes; NULL if size is 0 */
    size_t size;
};

/* Map a regular file read-only. ERR_IO where it cannot be opened or is not a regular file. io_unmap frees. */
int io_map(struct io_map *m, const char *path, struct err *e) MUST_CHECK;
void io_unmap(struct io_map *m);

/* Read a whole file ("-" is standard input) of at most `limit` bytes into a new NUL-terminated buffer. The caller
 * frees *data. ERR_IO, or ERR_LIMIT where the file is larger. */
int io_read(const char *path, size_t limit, char **data, size_t *size, struct err *e) MUST_CHECK;

struct io_out {
    FILE *f; /* write here */
    char *path, *tmp;
    bool unsynced; /* do not wait for the disk */
};

/* Open an output; path NULL or "-" is standard output. Parent directories are made. A device or a pipe that is there is
 * written to as it is. */
int io_out_open(struct io_out *o, const char *path, struct err *e) MUST_CHECK;
/* Flush, sync, close, rename. On failure (a full disk, say) the target stays as it was and the .tmp is removed. */
int io_out_commit(struct io_out *o, struct err *e) MUST_CHECK;
/* Drop what was written. Legal on a zeroed, committed or aborted io_out. */
void io_out_abort(struct io_out *o);

/* Make the file hold these n bytes. One that already does is not touched, so that Make sees no change. It is not
 * synced: what a power cut takes, the next comparison finds and writes again. */
int io_update(const char *path, const void *data, size_t n, struct err *e) MUST_CHECK;

/* Open FILE for reading and writing, made if it is not there, and lock it until it is closed; a symbolic link is
 * refused, and so is a file that another process has locked for three seconds: "another process is writing 'NAME'". The
 * descriptor, or -1.
 */
int io_open_locked(const char *file, const char *name, struct err *e) MUST_CHECK;

/* mkdir -p of the directory part of path. */
int io_make_parents(const char *path, struct err *e) MUST_CHECK;
/* New string DIR/NAME. */
char *io_join(const char *dir, const char *name);
/* The directory part of path as a new string ("." where there is none). */
char *io_dirname(const char *path);

#endif
