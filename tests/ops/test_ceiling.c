/* ceiling: of a backend that works behind the caller's back, at speeds that are known, and of those that are here. */
#include "ceiling.h"

#include <time.h>

#include "mem.h"
#include "ops/ops.h"
#include "tap.h"

/* ---- a table whose ops only note how long they would take; sync waits, and every fifth time ten times as long. */

struct be {
    double debt; /* seconds */
    int n_sync;
    size_t n_alloc, n_free, bytes, most;
    bool full; /* alloc gives nothing */
    struct err error;
};
struct be_buf {
    size_t nb;
};
enum { COPY_RATE = 80, GEMM_RATE = 4000, LOAD_RATE = 20 }; /* GB or GFLOP a second */

static struct be_buf *slow_alloc(struct be *be, size_t nb)
{
    if (be->full) {
        if (be->error.code == ERR_NONE)
            err_set(&be->error, ERR_LIMIT, "the device is full");
        return NULL;
    }
    struct be_buf *b = xcalloc(1, sizeof *b);
    b->nb = nb;
    be->n_alloc++;
    be->bytes += nb;
    be->most = be->bytes > be->most ? be->bytes : be->most;
    return b;
}

static void slow_free(struct be *be, struct be_buf *b)
{
    if (!b)
        return;
    be->n_free++;
    be->bytes -= b->nb;
    free(b);
}

static bool inside(struct be_view v, size_t n)
{
    return v.buf && v.off + n * dtype_size(v.dtype) <= v.buf->nb;
}

static void slow_convert(struct be *be, struct be_view dst, struct be_view src, size_t n)
{
    if (!inside(dst, n) || !inside(src, n) || dst.dtype != src.dtype)
        err_set(&be->error, ERR_DEVICE, "convert outside its memory");
    be->debt += 2 * (double)(n * dtype_size(dst.dtype)) / (COPY_RATE * 1e9);
}

static void slow_linear(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int I, int O,
                        int ldy, bool as_reference)
{
    if (!inside(y, (size_t)N * (size_t)O) || !inside(x, (size_t)N * (size_t)I) || !inside(w, (size_t)I * (size_t)O) ||
        ldy != O || as_reference)
        err_set(&be->error, ERR_DEVICE, "linear outside its memory");
    be->debt += 2.0 * N * I * O / (GEMM_RATE * 1e9);
}

static void slow_linear_dx(struct be *be, struct be_view dx, struct be_view dy, struct be_view w, int N, int I, int O,
                           bool accumulate)
{
    slow_linear(be, dy, dx, w, N, I, O, O, accumulate);
}

/* Of bf16 alone: fp32 is what fills the matrices. */
static void slow_load(struct be *be, struct be_view dst, const void *src, enum dtype from, size_t n, bool round_bf16)
{
    (void)src;
    (void)round_bf16;
    if (!inside(dst, n))
        err_set(&be->error, ERR_DEVICE, "load outside its memory");
    if (from == DT_BF16)
        be->debt += 2.0 * (double)n / (LOAD_RATE * 1e9);
}

static int slow_sync(struct be *be, struct err *e)
{
    const double s = ++be->n_sync % 5 ? be->debt : 10 * be->debt;
    const struct timespec t = {(time_t)s, (long)((s - (double)(time_t)s) * 1e9)};
    nanosleep(&t, NULL);
    be->debt = 0;
    if (be->error.code == ERR_NONE)
        return 0;
    *e = be->error;
    return -1;
}

static const struct be_ops slow = {.name = "slow",
                                   .weight_bf16 = DT_BF16,
                                   .weight_fp32 = DT_F32,
                                   .act_bf16 = DT_BF16,
                                   .act_fp32 = DT_F32,
                                   .sum_dtype = DT_F32,
                                   .alloc = slow_alloc,
                                   .free = slow_free,
                                   .convert = slow_convert,
                                   .linear = slow_linear,
                                   .linear_dx = slow_linear_dx,
                                   .load = slow_load,
                                   .sync = slow_sync};

/* Sleeping takes longer, never shorter: half the speed is still no error of a factor of two on the other side. */
static void near(double got, double want, const char *name)
{
    ok(got > 0.55 * want && got < 1.02 * want, "%s: %.4g, is %.4g", name, got, want);
}

static void check_known(void)
{
    struct be be = {0};
    struct ceiling c = {0};
    struct err e = {0};
    ok(!ceiling_measure(&c, &slow, &be, true, &e), "a device of known speeds%s%s", e.msg[0] ? ": " : "", e.msg);
    near(c.copy_bytes, COPY_RATE * 1e9, "bytes a second of a copy, read and written");
    near(c.gemm_flops, GEMM_RATE * 1e9, "operations a second of products");
    near(c.load_bytes, LOAD_RATE * 1e9, "bytes a second of a load");
    ok(be.n_alloc == be.n_free && be.bytes == 0 && be.n_alloc > 0, "%zu buffers, all given back", be.n_alloc);
    ok(be.most <= (size_t)1 << 30, "at most 1 GiB: %zu MiB", be.most >> 20);
}

static void check_full(void)
{
    struct be be = {.full = true};
    struct ceiling c;
    struct err e = {0};
    ok(ceiling_measure(&c, &slow, &be, true, &e) && e.code == ERR_LIMIT && !strcmp(e.msg, "the device is full"),
       "a full device: %s", e.msg);
}

/* ---- the backends that are here */

static void check_backend(const char *name)
{
    const struct be_ops *ops = usable_backend(name);
    struct err e = {0};
    struct be_device d;
    if (!ops)
        return;
    const int described = ops->describe(&d, &e);
    ok(!described && d.name[0] && d.memory > 1 << 20 && d.free_memory <= d.memory, "%s: %s, %.1f GiB", name, d.name,
       (double)d.memory / 0x1p30);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        struct ceiling c = {0};
        struct be *be = ops->open(NULL, &e);
        const int rc = be ? ceiling_measure(&c, ops, be, bf16, &e) : -1;
        /* from a slow core in a sanitizer's build to a GPU of the year after next */
        ok(!rc && c.copy_bytes > 1e8 && c.copy_bytes < 1e14 && c.load_bytes > 1e7 && c.load_bytes < 1e13 &&
               c.gemm_flops > 1e8 && c.gemm_flops < 1e17,
           "%s, %s: copies %.4g GB/s, loads %.4g GB/s, products %.4g GFLOP/s%s%s", name, bf16 ? "bf16" : "fp32",
           c.copy_bytes * 1e-9, c.load_bytes * 1e-9, c.gemm_flops * 1e-9, rc ? ": " : "", rc ? e.msg : "");
        if (be)
            ops->close(be);
    }
}

int main(void)
{
    check_known();
    check_full();
    check_backend("cpu");
    check_backend("cuda");
    return done();
}
