#include "profile.h"

#include <stdlib.h>
#include <string.h>

#include "ceiling.h"
#include "cli.h"
#include "mem.h"

static const char *const op_name[OP_COUNT] = {
    "allocate",  "load",    "copy",       "convert", "gather, scatter", "add",          "linear",
    "linear dx", "rmsnorm", "rmsnorm dx", "rope",    "attention",       "attention dx", "swiglu",
    "swiglu dx", "loss",    "loss dx",    "amax",    "fakequant",       "score",        "sum rows"};
enum { PHASES = PROFILE_PHASES, PENDING = 4096 };
static const char *const phase_name[PHASE_REPLAY] = {"set-up",   "forward",  "head", "recompute",
                                                     "backward", "quantize", "score"};

/* The handle of the profiling table. */
struct be {
    const struct be_ops *ops;
    struct be *be;
    int phase;
    struct {
        struct profile_entry *entry;
    } pending[PENDING];
    int n_pending, bank, last_mark; /* -1: none */
    double clock[4 * PENDING];      /* marks of a backend that has none of its own */
};

/* Survives the handle: printed after it was closed. */
static struct {
    const struct be_ops *inner;
    struct be_ops table;
    struct profile_entry entry[PHASES][OP_COUNT];
    double opened, timeline, waiting, measuring; /* seconds; opened by the clock */
    struct ceiling ceiling;
    bool counts_only, measured;
} profile;

/* ---- marks: pairs of them in two banks, so that the last one of a bank outlives the first of the next */

static void set_mark(struct be *p, int i)
{
    if (p->ops->mark)
        p->ops->mark(p->be, i);
    else
        p->clock[i] = cli_seconds();
}

static double elapsed(const struct be *p, int i, int j)
{
    return p->ops->elapsed ? p->ops->elapsed(p->be, i, j) : p->clock[j] - p->clock[i];
}

static void drain(struct be *p)
{
    const int first = p->bank * 2 * PENDING;
    for (int i = 0; i < p->n_pending; i++) {
        const int before = first + 2 * i;
        const double seconds = elapsed(p, before, before + 1);
        const double gap = p->last_mark < 0 ? 0 : elapsed(p, p->last_mark, before);
        p->pending[i].entry->seconds += seconds;
        profile.waiting += gap;
        profile.timeline += seconds + gap;
        p->last_mark = before + 1;
    }
    p->n_pending = 0;
    p->bank = !p->bank;
}

static void begin(struct be *p)
{
    set_mark(p, (p->bank * PENDING + p->n_pending) * 2);
}

static void end(struct be *p, enum profile_op op, double flops, double bytes)
{
    struct profile_entry *e = &profile.entry[p->phase][op];
    set_mark(p, (p->bank * PENDING + p->n_pending) * 2 + 1);
    e->calls++;
    e->flops += flops;
    e->bytes += bytes;
    p->pending[p->n_pending++].entry = e;
    if (p->n_pending == PENDING)
        drain(p);
}

/* ---- the table, in the order of backend.h */

static struct be *open_profiled(const struct be_options *o, struct err *e)
{
    struct be *inner = profile.inner->open(o, e);
    if (!inner)
        return NULL;
    struct be *p = xcalloc(1, sizeof *p);
    p->ops = profile.inner;
    p->be = inner;
    p->last_mark = -1;
    profile.opened = cli_seconds();
    begin(p);
    end(p, OP_MEMORY, 0, 0);
    return p;
}

static void close_profiled(struct be *p)
{
    struct err e;
    drain(p);
    const double start = cli_seconds();
    profile.measured =
        !profile.counts_only && !ceiling_measure(&profile.ceiling, p->ops, p->be, p->ops->act_bf16 == DT_BF16, &e);
    profile.measuring = cli_seconds() - start;
    p->ops->close(p->be);
    free(p);
}

static int64_t room(struct be *p)
{
    return p->ops->room(p->be);
}

static void *host_alloc(struct be *p, size_t nb)
{
    begin(p);
    void *memory = p->ops->host_alloc(p->be, nb);
    end(p, OP_MEMORY, 0, (double)nb);
    return memory;
}

static void host_free(struct be *p, void *memory)
{
    begin(p);
    p->ops->host_free(p->be, memory);
    end(p, OP_MEMORY, 0, 0);
}

static int sync_profiled(struct be *p, struct err *e)
{
    return p->ops->sync(p->be, e);
}

static char *gemm_used(struct be *p)
{
    return p->ops->gemm_used(p->be);
}

static int enter_phase(struct be *p, int phase)
{
    const int before = p->phase;
    p->phase = phase;
    return before;
}

static struct be_buf *alloc_profiled(struct be *p, size_t nb)
{
    begin(p);
    struct be_buf *b = p->ops->alloc(p->be, nb);
    end(p, OP_MEMORY, 0, (double)nb);
    return b;
}

static void free_profiled(struct be *p, struct be_buf *b)
{
    if (!b)
        return;
    begin(p);
    p->ops->free(p->be, b);
    end(p, OP_MEMORY, 0, 0);
}

/* n elements of a view */
static double bytes(struct be_view v, double n)
{
    return n * (double)dtype_size(v.dtype);
}

static void put(struct be *p, struct be_view dst, const void *src, size_t n)
{
    begin(p);
    p->ops->put(p->be, dst, src, n);
    end(p, OP_COPY, 0, bytes(dst, (double)n));
}

static void get(struct be *p, void *dst, struct be_view src, size_t n)
{
    begin(p);
    p->ops->get(p->be, dst, src, n);
    end(p, OP_COPY, 0, bytes(src, (double)n));
}

static void save(struct be *p, void *dst, struct be_view src, size_t n)
{
    begin(p);
    p->ops->save(p->be, dst, src, n);
    end(p, OP_COPY, 0, bytes(src, (double)n));
}

static void load(struct be *p, struct be_view dst, const void *src, enum dtype from, size_t n, bool round_bf16)
{
    begin(p);
    p->ops->load(p->be, dst, src, from, n, round_bf16);
    end(p, OP_LOAD, 0, (double)n * (double)dtype_size(from));
}

static void load_ahead(struct be *p, struct be_view dst, const void *src, enum dtype from, size_t n, bool round_bf16)
{
    begin(p);
    p->ops->load_ahead(p->be, dst, src, from, n, round_bf16);
    end(p, OP_LOAD, 0, (double)n * (double)dtype_size(from));
}

static void fence(struct be *p)
{
    p->ops->fence(p->be);
}

static void join(struct be *p)
{
    begin(p);
    p->ops->join(p->be);
    end(p, OP_LOAD, 0, 0);
}

static void load_rows(struct be *p, struct be_view dst, const void *src, enum dtype from, const int32_t *row, int n,
                      int D, bool round_bf16)
{
    begin(p);
    p->ops->load_rows(p->be, dst, src, from, row, n, D, round_bf16);
    end(p, OP_LOAD, 0, (double)n * D * (double)dtype_size(from));
}

static void convert(struct be *p, struct be_view dst, struct be_view src, size_t n)
{
    begin(p);
    p->ops->convert(p->be, dst, src, n);
    end(p, OP_CONVERT, 0, bytes(dst, (double)n) + bytes(src, (double)n));
}

static void zero(struct be *p, struct be_view dst, size_t n)
{
    begin(p);
    p->ops->zero(p->be, dst, n);
    end(p, OP_CONVERT, 0, bytes(dst, (double)n));
}

static void gather_rows(struct be *p, struct be_view y, struct be_view x, struct be_view row, int n, int D)
{
    begin(p);
    p->ops->gather_rows(p->be, y, x, row, n, D);
    end(p, OP_ROWS, 0, bytes(y, 2.0 * n * D));
}

static void scatter_rows(struct be *p, struct be_view y, struct be_view x, struct be_view row, int n, int N, int D)
{
    begin(p);
    p->ops->scatter_rows(p->be, y, x, row, n, N, D);
    end(p, OP_ROWS, 0, bytes(y, 1.0 * D * (2.0 * n + N)));
}

static void add(struct be *p, struct be_view y, struct be_view a, struct be_view b, size_t n)
{
    begin(p);
    p->ops->add(p->be, y, a, b, n);
    end(p, OP_ADD, 0, bytes(y, 3 * (double)n));
}

static void linear(struct be *p, struct be_view y, struct be_view x, struct be_view w, int N, int I, int O, int ldy,
                   bool as_reference)
{
    begin(p);
    p->ops->linear(p->be, y, x, w, N, I, O, ldy, as_reference);
    end(p, OP_LINEAR, 2.0 * N * I * O, bytes(x, 1.0 * N * I) + bytes(w, 1.0 * O * I) + bytes(y, 1.0 * N * O));
}

static void linear_dx(struct be *p, struct be_view dx, struct be_view dy, struct be_view w, int N, int I, int O,
                      bool accumulate)
{
    begin(p);
    p->ops->linear_dx(p->be, dx, dy, w, N, I, O, accumulate);
    end(p, OP_LINEAR_DX, 2.0 * N * I * O,
        bytes(dy, 1.0 * N * O) + bytes(w, 1.0 * O * I) + bytes(dx, (accumulate ? 2.0 : 1.0) * N * I));
}

static void rmsnorm(struct be *p, struct be_view y, struct be_view x, struct be_view w, int N, int D, float eps)
{
    begin(p);
    p->ops->rmsnorm(p->be, y, x, w, N, D, eps);
    end(p, OP_RMSNORM, 0, bytes(y, 2.0 * N * D));
}

static void rmsnorm_bwd(struct be *p, struct be_view dx, struct be_view dy, struct be_view x, struct be_view w, int N,
                        int D, float eps)
{
    begin(p);
    p->ops->rmsnorm_bwd(p->be, dx, dy, x, w, N, D, eps);
    end(p, OP_RMSNORM_BWD, 0, bytes(dx, 3.0 * N * D));
}

static void rope(struct be *p, struct be_view x, struct be_view c, struct be_view s, struct be_view pos, int N,
                 int heads, int E, bool backward)
{
    begin(p);
    p->ops->rope(p->be, x, c, s, pos, N, heads, E, backward);
    end(p, OP_ROPE, 0, bytes(x, 2.0 * N * heads * E));
}

/* Rows of q and of k, q-wide and k-wide tensors moved once each. */
static double attention_bytes(struct be_view q, struct be_seqs s, int H, int K, int E, double wide, double narrow)
{
    return bytes(q, (double)s.n_rows * E * (wide * H + narrow * K));
}

static void attention(struct be *p, struct be_view o, struct be_view lse, struct be_view q, struct be_view k,
                      struct be_view v, struct be_seqs seqs, int H, int K, int E)
{
    begin(p);
    p->ops->attention(p->be, o, lse, q, k, v, seqs, H, K, E);
    end(p, OP_ATTENTION, 4 * seqs.pairs * H * E, attention_bytes(q, seqs, H, K, E, 2, 2));
}

static void attention_bwd(struct be *p, struct be_view dq, struct be_view dk, struct be_view dv, struct be_view dout,
                          struct be_view q, struct be_view k, struct be_view v, struct be_view o, struct be_view lse,
                          struct be_seqs seqs, int H, int K, int E)
{
    begin(p);
    p->ops->attention_bwd(p->be, dq, dk, dv, dout, q, k, v, o, lse, seqs, H, K, E);
    end(p, OP_ATTENTION_BWD, 10 * seqs.pairs * H * E, attention_bytes(q, seqs, H, K, E, 4, 4));
}

static void swiglu(struct be *p, struct be_view m, struct be_view g, struct be_view u, size_t n)
{
    begin(p);
    p->ops->swiglu(p->be, m, g, u, n);
    end(p, OP_SWIGLU, 0, bytes(m, 3 * (double)n));
}

static void swiglu_bwd(struct be *p, struct be_view dg, struct be_view du, struct be_view dm, struct be_view g,
                       struct be_view u, size_t n)
{
    begin(p);
    p->ops->swiglu_bwd(p->be, dg, du, dm, g, u, n);
    end(p, OP_SWIGLU_BWD, 0, bytes(dg, 5 * (double)n));
}

static void xent(struct be *p, struct be_view stat, struct be_view loss, struct be_view z, struct be_view target, int N,
                 int V)
{
    begin(p);
    p->ops->xent(p->be, stat, loss, z, target, N, V);
    end(p, OP_XENT, 0, bytes(z, 1.0 * N * V));
}

static void xent_bwd(struct be *p, struct be_view dz, struct be_view z, struct be_view stat, struct be_view target,
                     struct be_view s, int N, int V, int c0, int n)
{
    begin(p);
    p->ops->xent_bwd(p->be, dz, z, stat, target, s, N, V, c0, n);
    end(p, OP_XENT_BWD, 0, bytes(z, 2.0 * N * n));
}

static void amax_rows(struct be *p, struct be_view out, struct be_view x, struct be_view group, int N, int D)
{
    begin(p);
    p->ops->amax_rows(p->be, out, x, group, N, D);
    end(p, OP_AMAX, 0, bytes(x, 1.0 * N * D));
}

static void amax_cols(struct be *p, struct be_view out, struct be_view x, int N, int D)
{
    begin(p);
    p->ops->amax_cols(p->be, out, x, N, D);
    end(p, OP_AMAX, 0, bytes(x, 1.0 * N * D));
}

static void fakequant(struct be *p, struct be_view y, struct be_view x, const struct quantizer *q, struct be_view amax,
                      struct be_view group, int N, int D, bool round_bf16)
{
    begin(p);
    p->ops->fakequant(p->be, y, x, q, amax, group, N, D, round_bf16);
    end(p, OP_FAKEQUANT, 0, bytes(x, 2.0 * N * D));
}

static void score_rows(struct be *p, struct be_outputs q, struct be_view y, struct be_view g, int N, int n, int ldy)
{
    begin(p);
    p->ops->score_rows(p->be, q, y, g, N, n, ldy);
    end(p, OP_SCORE, 0, bytes(y, (2.0 + q.n) * N * n));
}

static void segment_sum(struct be *p, struct be_view out, size_t out_stride, struct be_view x, size_t x_stride,
                        int count, struct be_view offset, int n)
{
    begin(p);
    p->ops->segment_sum(p->be, out, out_stride, x, x_stride, count, offset, n);
    end(p, OP_SEGMENTS, 0, 0);
}

const struct be_ops *profile_ops(const struct be_ops *inner)
{
    static const struct be_ops passing = {
        .open = open_profiled,
        .close = close_profiled,

        .alloc = alloc_profiled,
        .free = free_profiled,
        .put = put,
        .get = get,
        .load = load,
        .load_rows = load_rows,
        .convert = convert,
        .zero = zero,
        .sync = sync_profiled,
        .phase = enter_phase,
        .gather_rows = gather_rows,
        .scatter_rows = scatter_rows,
        .add = add,
        .linear = linear,
        .linear_dx = linear_dx,
        .rmsnorm = rmsnorm,
        .rmsnorm_bwd = rmsnorm_bwd,
        .rope = rope,
        .attention = attention,
        .attention_bwd = attention_bwd,
        .swiglu = swiglu,
        .swiglu_bwd = swiglu_bwd,
        .xent = xent,
        .xent_bwd = xent_bwd,
        .amax_rows = amax_rows,
        .amax_cols = amax_cols,
        .fakequant = fakequant,
        .score_rows = score_rows,
        .segment_sum = segment_sum,
    };
    memset(&profile, 0, sizeof profile);
    profile.inner = inner;
    profile.table = passing;
    profile.table.name = inner->name;
    profile.table.weight_bf16 = inner->weight_bf16;
    profile.table.weight_fp32 = inner->weight_fp32;
    profile.table.act_bf16 = inner->act_bf16;
    profile.table.act_fp32 = inner->act_fp32;
    profile.table.sum_dtype = inner->sum_dtype;
    profile.table.head_block_elements = inner->head_block_elements;
    profile.table.logits_bytes = inner->logits_bytes;
    profile.table.outputs_at_once = inner->outputs_at_once;
    profile.table.usable = inner->usable;
    profile.table.describe = inner->describe;
    profile.table.identity = inner->identity;
    profile.table.gemm_used = inner->gemm_used ? gemm_used : NULL;
    if (inner->room) {
        profile.table.room = room;
        profile.table.scratch_bytes = inner->scratch_bytes;
        profile.table.host_alloc = host_alloc;
        profile.table.host_free = host_free;
        profile.table.save = save;
        profile.table.load_ahead = load_ahead;
        profile.table.fence = fence;
        profile.table.join = join;
    }
    return &profile.table;
}

const struct be_ops *profile_counts(const struct be_ops *inner)
{
    const struct be_ops *table = profile_ops(inner);
    profile.counts_only = true;
    return table;
}

const struct profile_entry *profile_entry(int phase, enum profile_op op)
{
    return &profile.entry[phase][op];
}

/* ---- the printed table */

/* Seconds that an op's work takes at the measured speeds; 0 where nothing of it was counted. */
static double ideal_seconds(enum profile_op op, const struct profile_entry *e)
{
    const struct ceiling *c = &profile.ceiling;
    if (op == OP_MEMORY || op == OP_COPY || !profile.measured)
        return 0;
    const double by_bytes = e->bytes / (op == OP_LOAD ? c->load_bytes : c->copy_bytes);
    const double by_flops = e->flops / c->gemm_flops;
    return by_bytes > by_flops ? by_bytes : by_flops;
}

static void print_line(FILE *f, const char *phase, const char *op, const struct profile_entry *e, double ideal,
                       double wall)
{
    fprintf(f, "%-30s%-16s", phase, op);
    if (e->calls)
        fprintf(f, "%8ld", e->calls);
    else
        fprintf(f, "%8s", "");
    fprintf(f, "%10.1f %6.1f", 1e3 * e->seconds, 100 * e->seconds / wall);
    if (e->flops > 0)
        fprintf(f, "%9.3g%9.4g", 1e-12 * e->flops, 1e-12 * e->flops / e->seconds);
    else
        fprintf(f, "%18s", "");
    if (e->bytes > 0)
        fprintf(f, "%9.3g%9.4g", 1e-9 * e->bytes, 1e-9 * e->bytes / e->seconds);
    else
        fprintf(f, "%18s", "");
    if (ideal > 0)
        fprintf(f, "%7.0f", 100 * ideal / e->seconds);
    fputc('\n', f);
}

static void add_entry(struct profile_entry *sum, const struct profile_entry *e)
{
    sum->calls += e->calls;
    sum->seconds += e->seconds;
    sum->flops += e->flops;
    sum->bytes += e->bytes;
}

static void print_phase(FILE *f, const char *name, const struct profile_entry *entry, double wall)
{
    struct profile_entry all = {0}, rest = {0};
    double ideal = 0;
    for (int op = 0; op < OP_COUNT; op++) {
        add_entry(&all, &entry[op]);
        ideal += ideal_seconds((enum profile_op)op, &entry[op]);
    }
    if (!all.calls)
        return;
    print_line(f, name, "", &all, ideal, wall);
    for (int op = 0; op < OP_COUNT; op++)
        if (entry[op].seconds > 0.002 * wall)
            print_line(f, "", op_name[op], &entry[op], ideal_seconds((enum profile_op)op, &entry[op]), wall);
        else
            add_entry(&rest, &entry[op]);
    if (rest.seconds > 0.002 * wall)
        print_line(f, "", "other", &(struct profile_entry){rest.calls, rest.seconds, 0, 0}, 0, wall);
}

static void print_host(FILE *f, const char *name, double seconds, double wall)
{
    print_line(f, name, "", &(struct profile_entry){.seconds = seconds}, 0, wall);
}

void profile_print(FILE *f, double started, const struct replay_set *set)
{
    const double wall = cli_seconds() - started - profile.measuring, start = profile.opened - started;
    const struct ceiling *c = &profile.ceiling;
    fprintf(f, "profile of %.3f s on %s", wall, profile.inner->name);
    if (profile.measured)
        fprintf(f, "; its speeds: GEMM %.4g TFLOP/s, copy %.4g GB/s, load %.4g GB/s", 1e-12 * c->gemm_flops,
                1e-9 * c->copy_bytes, 1e-9 * c->load_bytes);
    fprintf(f, "\n%-30s%-16s%8s%10s %6s%9s%9s%9s%9s%7s\n", "phase", "op", "calls", "ms", "%", "TFLOP", "TFLOP/s", "GB",
            "GB/s", "% max");
    print_host(f, "start", start, wall);
    for (int phase = 0; phase < PHASE_REPLAY; phase++)
        print_phase(f, phase_name[phase], profile.entry[phase], wall);
    for (int i = 0; i < set->n; i++) {
        char w[QUANTIZER_KEY], a[QUANTIZER_KEY], name[2 * QUANTIZER_KEY + 4];
        quantizer_key(&set->weight[set->replay[i].weight], w);
        quantizer_key(&set->act[set->replay[i].act], a);
        snprintf(name, sizeof name, "%s x %s", w, a);
        print_phase(f, name, profile.entry[PHASE_REPLAY + i], wall);
    }
    print_host(f, "waiting for the host", profile.waiting, wall);
    print_host(f, "finish", wall - start - profile.timeline, wall);
}
