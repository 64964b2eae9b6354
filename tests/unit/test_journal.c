/* Journals: what is appended is read again; cut off or changed at any byte, the frames before it are left and no
 * other; locks, full disks, files that are gone. */
#include "journal.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"
#include "tap.h"

static char dir[] = "tmp/journal.XXXXXX";
static char *path;

static const struct {
    uint32_t kind;
    const char *text;
} want[] = {{7, "head"}, {1, ""}, {2, "a longer frame, with \n and a tail"}, {1, "last"}};
enum { N = sizeof want / sizeof *want, HEAD_HASH = 80 };

/* Are the frames of j the first n? */
static bool holds(const struct journal *j, size_t n)
{
    bool same = j->n == n;
    for (size_t i = 0; i < n && same; i++)
        same = j->frame[i].kind == want[i].kind && j->frame[i].n == strlen(want[i].text) &&
               !memcmp(j->frame[i].data, want[i].text, j->frame[i].n);
    return same;
}

static void append(size_t from, size_t to)
{
    struct journal j;
    struct err e = {0};
    if (journal_open(&j, path, &e))
        BUG("%s", e.msg);
    for (size_t i = from; i < to; i++)
        journal_add(&j, want[i].kind, want[i].text, strlen(want[i].text));
    if (journal_flush(&j, &e))
        BUG("%s", e.msg);
    journal_close(&j);
}

static void check_file(size_t n, const char *name)
{
    struct journal j;
    struct err e = {0};
    ok(!journal_read(&j, path, &e) && holds(&j, n) && j.tail == 0, "%s", name);
    journal_close(&j);
}

static void check_append(void)
{
    struct journal j;
    struct err e = {0};
    ok(!journal_open(&j, path, &e) && j.n == 0 && !access(path, F_OK), "a new one is there and empty");
    journal_add(&j, 1, "x", 1);
    journal_close(&j);
    ok(access(path, F_OK) < 0, "without a flush nothing is left");
    append(0, 2);
    check_file(2, "two frames");
    append(2, N);
    check_file(N, "two processes wrote one file");
}

/* Cut at every byte, and with every byte changed. */
static void check_tails(void)
{
    char *data;
    size_t size, at[N + 1] = {0};
    struct err e = {0};
    if (io_read(path, 1 << 20, &data, &size, &e))
        BUG("%s", e.msg);
    for (size_t i = 0; i < N; i++)
        at[i + 1] = at[i] + HEAD_HASH + strlen(want[i].text);
    ok(size == at[N], "%zu bytes", size);
    bool cut = true, changed = true;
    for (size_t k = 0; k < size; k++) {
        size_t whole = 0;
        while (at[whole + 1] <= k)
            whole++;
        struct journal j;
        char *part = xmalloc(k, 1); /* of that size, so that a read beyond it is seen */
        memcpy(part, data, k);
        journal_parse(&j, part, k, "x");
        cut = cut && holds(&j, whole) && j.tail == k - at[whole];
        free(part);
        journal_close(&j);
        for (int bit = 0; bit < 8; bit++) {
            data[k] = (char)(data[k] ^ 1 << bit);
            journal_parse(&j, data, size, "x");
            changed = changed && holds(&j, whole) && j.tail == size - at[whole];
            journal_close(&j);
            data[k] = (char)(data[k] ^ 1 << bit);
        }
    }
    ok(cut, "cut at any byte: the frames before it");
    ok(changed, "any bit changed: the frames before it");
    /* frames of other places: swapped, twice, of another file */
    char *other = xmalloc(2 * size, 1);
    struct journal j;
    memcpy(other, data + at[1], at[2] - at[1]);
    journal_parse(&j, other, at[2] - at[1], "x");
    ok(j.n == 0, "a frame is none without those before it");
    journal_close(&j);
    memcpy(other, data, size);
    memcpy(other + size, data + at[N - 1], size - at[N - 1]);
    journal_parse(&j, other, size + size - at[N - 1], "x");
    ok(holds(&j, N) && j.tail == size - at[N - 1], "nor is one that was there already");
    journal_close(&j);
    memset(other, 0xff, size);
    journal_parse(&j, other, size, "x");
    ok(j.n == 0 && j.tail == size, "a length of 2^64 - 1");
    journal_close(&j);
    free(other);
    free(data);
}

static void check_torn(void)
{
    struct journal j, again;
    struct err e = {0};
    if (truncate(path, HEAD_HASH + 4 + HEAD_HASH + 11))
        BUG("truncate");
    ok(!journal_open(&j, path, &e) && holds(&j, 2) && j.tail == 11, "a torn frame");
    ok(journal_open(&again, path, &e) && strstr(e.msg, "another process is writing 'tmp/journal."), "%s", e.msg);
    journal_close(&j);
    ok(!journal_read(&j, path, &e) && holds(&j, 2) && j.tail == 11, "is still there where nothing was appended");
    journal_close(&j);
    append(2, 2);
    check_file(2, "a flush cuts it off");
    append(2, N);
    check_file(N, "and written again");
    if (journal_open(&j, path, &e) || journal_restart(&j, &e))
        BUG("%s", e.msg);
    journal_add(&j, want[0].kind, want[0].text, strlen(want[0].text));
    ok(!journal_flush(&j, &e), "started anew");
    journal_close(&j);
    check_file(1, "it holds the new frame");
}

static void check_errors(void)
{
    struct journal j;
    struct err e = {0};
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 200;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    if (journal_open(&j, path, &e))
        BUG("%s", e.msg);
    for (size_t i = 1; i < N; i++)
        journal_add(&j, want[i].kind, want[i].text, strlen(want[i].text));
    const int rc = journal_flush(&j, &e);
    setrlimit(RLIMIT_FSIZE, &old);
    ok(rc && strstr(e.msg, "File too large"), "a full disk: %s", e.msg);
    journal_close(&j);
    check_file(1, "the file is as it was");
    if (journal_open(&j, path, &e))
        BUG("%s", e.msg);
    ok(!journal_remove(&j, &e) && access(path, F_OK) < 0, "removed");
    ok(journal_read(&j, path, &e) && strstr(e.msg, "cannot open"), "%s", e.msg);
    ok(journal_open(&j, "/proc/x/records.journal", &e) && e.code == ERR_IO, "%s", e.msg);
    journal_close(&j);
    if (symlink("elsewhere", path))
        BUG("symlink");
    ok(journal_open(&j, path, &e) && e.code == ERR_IO, "a symbolic link: %s", e.msg);
    unlink(path);
}

int main(void)
{
    if (!mkdtemp(dir))
        BUG("no directory");
    path = io_join(dir, "x.journal");
    check_append();
    check_tails();
    check_torn();
    check_errors();
    free(path);
    rmdir(dir);
    return done();
}
