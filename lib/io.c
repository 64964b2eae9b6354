#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "mem.h"

/* Temporary files to remove when a signal or exit() ends the program. Slots are claimed by the main thread only. */
enum { MAX_OPEN_OUTPUTS = 64 };
static char *volatile pending[MAX_OPEN_OUTPUTS];

static void remove_pending(void)
{
    for (int i = 0; i < MAX_OPEN_OUTPUTS; i++)
        if (pending[i])
            unlink(pending[i]);
}

static void on_signal(int sig)
{
    remove_pending();
    signal(sig, SIG_DFL);
    raise(sig);
}

static void pending_add(char *tmp)
{
    static int installed;
    if (!installed) {
        installed = 1;
        atexit(remove_pending);
        static const int sigs[] = {SIGINT, SIGTERM, SIGHUP};
        for (size_t i = 0; i < sizeof sigs / sizeof *sigs; i++) {
            struct sigaction sa = {.sa_handler = on_signal};
            sigemptyset(&sa.sa_mask);
            sigaction(sigs[i], &sa, NULL);
        }
    }
    for (int i = 0; i < MAX_OPEN_OUTPUTS; i++)
        if (!pending[i]) {
            pending[i] = tmp;
            return;
        }
    BUG("more than %d outputs open", MAX_OPEN_OUTPUTS);
}

static void pending_drop(const char *tmp)
{
    for (int i = 0; i < MAX_OPEN_OUTPUTS; i++)
        if (pending[i] == tmp)
            pending[i] = NULL;
}

int io_map(struct io_map *m, const char *path, struct err *e)
{
    *m = (struct io_map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(e, ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    struct stat st;
    int rc = -1;
    if (fstat(fd, &st) < 0)
        err_set(e, ERR_IO, "cannot stat '%s': %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        err_set(e, ERR_IO, "'%s' is not a regular file", path);
    else if (st.st_size == 0)
        rc = 0;
    else {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            err_set(e, ERR_IO, "cannot map '%s': %s", path, strerror(errno));
        else {
            *m = (struct io_map){p, (size_t)st.st_size};
            rc = 0;
        }
    }
    close(fd);
    return rc;
}

void io_unmap(struct io_map *m)
{
    if (m->data)
        munmap((void *)(uintptr_t)m->data, m->size);
    *m = (struct io_map){0};
}

int io_read(const char *path, size_t limit, char **data, size_t *size, struct err *e)
{
    const bool is_stdin = !strcmp(path, "-");
    const char *name = is_stdin ? "standard input" : path;
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(e, ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    char *buf = NULL;
    size_t cap = 0, n = 0;
    int rc = -1;
    struct stat st;
    if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size > 0 && (uint64_t)st.st_size <= limit)
        buf = xgrow(NULL, &cap, (size_t)st.st_size + 2, 1);
    for (;;) {
        buf = xgrow(buf, &cap, n + 4096, 1);
        ssize_t got = read(fd, buf + n, cap - n - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            err_set(e, ERR_IO, "cannot read '%s': %s", name, strerror(errno));
            break;
        }
        n += (size_t)got;
        if (n > limit) {
            err_set(e, ERR_LIMIT, "'%s' is larger than the %zu bytes allowed here", name, limit);
            break;
        }
        if (got == 0) {
            rc = 0;
            break;
        }
    }
    if (!is_stdin)
        close(fd);
    if (rc < 0) {
        free(buf);
        return -1;
    }
    buf[n] = 0;
    *data = buf;
    *size = n;
    return 0;
}

int io_make_parents(const char *path, struct err *e)
{
    char *p = io_dirname(path);
    struct stat st;
    const bool there = !stat(p, &st) && S_ISDIR(st.st_mode);
    free(p);
    if (there)
        return 0;
    p = xstrdup(path);
    for (char *s = strchr(p + 1, '/'); s; s = strchr(s + 1, '/')) {
        *s = 0;
        if (mkdir(p, 0777) < 0 && errno != EEXIST) {
            err_set(e, ERR_IO, "cannot make directory '%s': %s", p, strerror(errno));
            free(p);
            return -1;
        }
        *s = '/';
    }
    free(p);
    return 0;
}

/* Lock; where another process has the lock, wait a moment: one that was killed may still be about to end. */
static int lock_soon(int fd)
{
    const struct timespec pause = {0, 20000000};
    for (int tries = 0; tries < 150; tries++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return 0;
        nanosleep(&pause, NULL);
    }
    return -1;
}

/* A writer that renamed or removed the file between our open and our lock makes us try again. */
int io_open_locked(const char *file, const char *name, struct err *e)
{
    for (int tries = 0; tries < 100; tries++) {
        int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (fd < 0)
            return err_set(e, ERR_IO, "cannot write '%s': %s", name, strerror(errno));
        if (lock_soon(fd)) {
            close(fd);
            return err_set(e, ERR_IO, "another process is writing '%s'", name);
        }
        struct stat a, b;
        if (!fstat(fd, &a) && !stat(file, &b) && a.st_ino == b.st_ino && a.st_dev == b.st_dev)
            return fd;
        close(fd);
    }
    return err_set(e, ERR_IO, "another process keeps writing '%s'", name);
}

/* A device or a pipe is written to: a rename would put a file in its place, as root /dev/null itself. */
static int open_special(struct io_out *o, const char *path, struct err *e)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f) {
        err_set(e, ERR_IO, "cannot write '%s': %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    *o = (struct io_out){.f = f, .path = xstrdup(path)};
    return 0;
}

int io_out_open(struct io_out *o, const char *path, struct err *e)
{
    *o = (struct io_out){0};
    if (!path || !strcmp(path, "-")) {
        o->f = stdout;
        return 0;
    }
    struct stat st;
    if (!stat(path, &st) && !S_ISREG(st.st_mode))
        return open_special(o, path, e);
    if (io_make_parents(path, e))
        return -1;
    char *tmp = xasprintf("%s.tmp", path);
    int fd = io_open_locked(tmp, path, e);
    FILE *f = fd < 0 || ftruncate(fd, 0) ? NULL : fdopen(fd, "w");
    if (!f) {
        if (fd >= 0) {
            err_set(e, ERR_IO, "cannot write '%s': %s", path, strerror(errno));
            close(fd);
        }
        free(tmp);
        return -1;
    }
    *o = (struct io_out){.f = f, .path = xstrdup(path), .tmp = tmp};
    pending_add(tmp);
    return 0;
}

static void out_free(struct io_out *o)
{
    if (o->tmp)
        pending_drop(o->tmp);
    free(o->path);
    free(o->tmp);
    *o = (struct io_out){0};
}

int io_out_commit(struct io_out *o, struct err *e)
{
    if (!o->f)
        BUG("commit of an output that is not open");
    const char *name = o->path ? o->path : "standard output";
    errno = 0;
    int bad = fflush(o->f) || ferror(o->f);
    /* the write that failed may be long past, and errno with it: one more byte to a file that is dropped says why */
    if (bad && !errno && o->tmp && write(fileno(o->f), "", 1) == 1)
        errno = EIO;
    if (!bad && o->path && !o->unsynced)
        bad = fsync(fileno(o->f)) && errno != EINVAL && errno != EROFS;
    int why = errno;
    if (o->path && fclose(o->f) && !bad) {
        bad = 1;
        why = errno;
    }
    if (!bad && o->tmp && rename(o->tmp, o->path) < 0) {
        bad = 1;
        why = errno;
    }
    if (bad) {
        err_set(e, ERR_IO, "cannot write '%s': %s", name, strerror(why ? why : EIO));
        if (o->tmp)
            unlink(o->tmp);
    }
    out_free(o);
    return bad ? -1 : 0;
}

void io_out_abort(struct io_out *o)
{
    if (o->f && o->path) {
        fclose(o->f);
        if (o->tmp)
            unlink(o->tmp);
    }
    out_free(o);
}

int io_update(const char *path, const void *data, size_t n, struct err *e)
{
    char *old;
    size_t n_old;
    struct err unreadable; /* missing or larger: it does not hold these bytes */
    if (!io_read(path, n, &old, &n_old, &unreadable)) {
        const int same = n_old == n && !memcmp(old, data, n);
        free(old);
        if (same)
            return 0;
    }
    struct io_out out;
    if (io_out_open(&out, path, e))
        return -1;
    out.unsynced = true;
    fwrite(data, 1, n, out.f); /* a failure sticks to the stream and surfaces in the commit */
    return io_out_commit(&out, e);
}

char *io_join(const char *dir, const char *name)
{
    size_t n = strlen(dir);
    return xasprintf("%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", name);
}

char *io_dirname(const char *path)
{
    const char *s = strrchr(path, '/');
    if (!s)
        return xstrdup(".");
    return s == path ? xstrdup("/") : xstrndup(path, (size_t)(s - path));
}
