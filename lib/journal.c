#include "journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"
#include "sha256.h"

enum { HEAD = 16, HASH = 64 };
static const size_t MOST = (size_t)1 << 36; /* bytes of a journal */

static uint64_t get_le(const unsigned char *p, int bytes)
{
    uint64_t x = 0;
    for (int i = 0; i < bytes; i++)
        x |= (uint64_t)p[i] << (8 * i);
    return x;
}

static void put_le(unsigned char *p, uint64_t x, int bytes)
{
    for (int i = 0; i < bytes; i++)
        p[i] = (unsigned char)(x >> (8 * i));
}

/* The hash of a frame of n bytes (head and payload) after a frame with hash `before`. */
static void frame_hash(const char *before, const unsigned char *frame, size_t n, char out[65])
{
    struct sha256 h;
    sha256_init(&h);
    sha256_add(&h, before, strlen(before));
    sha256_add(&h, frame, n);
    sha256_hex(&h, out);
}

/* The bytes of the whole frame at p, of which there are `left`; 0: it is not whole. */
static size_t frame_bytes(const struct journal *j, const unsigned char *p, size_t left, char hash[65])
{
    if (left < HEAD + HASH || get_le(p + 4, 4) != 0)
        return 0;
    const uint64_t n = get_le(p + 8, 8);
    if (n > left - HEAD - HASH)
        return 0;
    frame_hash(j->hash, p, HEAD + (size_t)n, hash);
    return memcmp(hash, p + HEAD + n, HASH) ? 0 : HEAD + (size_t)n + HASH;
}

static void take_frames(struct journal *j, size_t size)
{
    const unsigned char *p = (const unsigned char *)j->text;
    char hash[65];
    size_t n;
    while ((n = frame_bytes(j, p + j->end, size - j->end, hash))) {
        j->frame = xgrow(j->frame, &j->cap, j->n + 1, sizeof *j->frame);
        j->frame[j->n++] = (struct journal_frame){(uint32_t)get_le(p + j->end, 4), p + j->end + HEAD, n - HEAD - HASH};
        memcpy(j->hash, hash, sizeof hash);
        j->end += n;
    }
    j->tail = size - j->end;
}

int journal_read(struct journal *j, const char *path, struct err *e)
{
    size_t size;
    *j = (struct journal){.fd = -1};
    if (io_read(path, MOST, &j->text, &size, e))
        return -1;
    j->path = xstrdup(path);
    take_frames(j, size);
    return 0;
}

void journal_parse(struct journal *j, const void *data, size_t n, const char *path)
{
    *j = (struct journal){.fd = -1, .path = xstrdup(path), .text = xmalloc(n, 1)};
    if (n)
        memcpy(j->text, data, n);
    take_frames(j, n);
}

/* The file is to end here. */
static int cut(const struct journal *j, size_t end, struct err *e)
{
    if (ftruncate(j->fd, (off_t)end) || lseek(j->fd, (off_t)end, SEEK_SET) < 0)
        return err_set(e, ERR_IO, "cannot write '%s': %s", j->path, strerror(errno));
    return 0;
}

int journal_open(struct journal *j, const char *path, struct err *e)
{
    *j = (struct journal){.fd = -1};
    if (io_make_parents(path, e))
        return -1;
    const int fd = io_open_locked(path, path, e);
    if (fd < 0)
        return -1;
    if (journal_read(j, path, e)) {
        close(fd);
        return -1;
    }
    j->fd = fd;
    return 0;
}

int journal_restart(struct journal *j, struct err *e)
{
    if (cut(j, 0, e))
        return -1;
    j->n = j->end = j->tail = j->n_added = 0;
    j->hash[0] = 0;
    return 0;
}

void journal_add(struct journal *j, uint32_t kind, const void *data, size_t n)
{
    j->added = xgrow(j->added, &j->added_cap, j->n_added + HEAD + n + HASH, 1);
    unsigned char *p = j->added + j->n_added;
    put_le(p, kind, 4);
    put_le(p + 4, 0, 4);
    put_le(p + 8, n, 8);
    if (n)
        memcpy(p + HEAD, data, n);
    char hash[65];
    frame_hash(j->hash, p, HEAD + n, hash);
    memcpy(p + HEAD + n, hash, HASH);
    memcpy(j->hash, hash, sizeof hash);
    j->n_added += HEAD + n + HASH;
}

int journal_flush(struct journal *j, struct err *e)
{
    size_t done = 0;
    if (cut(j, j->end, e))
        return -1;
    j->tail = 0;
    while (done < j->n_added) {
        const ssize_t n = write(j->fd, j->added + done, j->n_added - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    if (done < j->n_added || (fsync(j->fd) && errno != EINVAL && errno != EROFS)) {
        const int why = errno ? errno : EIO;
        if (!cut(j, j->end, e)) /* else the torn frame is the next reader's tail */
            err_set(e, ERR_IO, "cannot write '%s': %s", j->path, strerror(why));
        return -1;
    }
    j->end += j->n_added;
    j->n_added = 0;
    return 0;
}

static void close_all(struct journal *j)
{
    if (j->fd >= 0)
        close(j->fd);
    free(j->path);
    free(j->text);
    free(j->frame);
    free(j->added);
    *j = (struct journal){.fd = -1};
}

int journal_remove(struct journal *j, struct err *e)
{
    const int rc =
        unlink(j->path) && errno != ENOENT ? err_set(e, ERR_IO, "cannot remove '%s': %s", j->path, strerror(errno)) : 0;
    close_all(j);
    return rc;
}

void journal_close(struct journal *j)
{
    if (!j->path)
        return;
    if (j->fd >= 0 && j->end == 0 && j->tail == 0)
        unlink(j->path);
    close_all(j);
}
