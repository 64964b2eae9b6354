#include "backend_dry.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

/* Nearly every function here ignores what it is given. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

struct be_buf {
    size_t nb;
};

struct be {
    struct dry_memory *m;
};

static struct be_ops table;
static struct dry_memory *memory;

static struct be *open_dry(const struct be_options *o, struct err *e)
{
    struct be *be = xcalloc(1, sizeof *be);
    be->m = memory;
    return be;
}

static void close_dry(struct be *be)
{
    free(be);
}

static int sync_dry(struct be *be, struct err *e)
{
    return 0;
}

/* ---- memory */

static void count(size_t *now, size_t *peak, size_t nb)
{
    *now += nb;
    *peak = *now > *peak ? *now : *peak;
}

static struct be_buf *alloc_dry(struct be *be, size_t nb)
{
    struct be_buf *b = xcalloc(1, sizeof *b);
    b->nb = nb;
    count(&be->m->now, &be->m->peak, nb);
    return b;
}

static void free_dry(struct be *be, struct be_buf *b)
{
    if (b)
        be->m->now -= b->nb;
    free(b);
}

static int64_t room(struct be *be)
{
    return (int64_t)be->m->limit - (int64_t)be->m->now;
}

static void *host_alloc(struct be *be, size_t nb)
{
    size_t *p = xcalloc(1, sizeof *p);
    *p = nb;
    count(&be->m->host_now, &be->m->host_peak, nb);
    return p;
}

static void host_free(struct be *be, void *p)
{
    be->m->host_now -= *(size_t *)p;
    free(p);
}

/* ---- ops, in the order of backend.h */

static void get(struct be *be, void *dst, struct be_view src, size_t n)
{
    memset(dst, 0, n * dtype_size(src.dtype));
}

static void put_nothing(struct be *be, struct be_view dst, const void *src, size_t n)
{
}

static void load_nothing(struct be *be, struct be_view dst, const void *src, enum dtype from, size_t n, bool round_bf16)
{
}

static void load_rows_nothing(struct be *be, struct be_view dst, const void *src, enum dtype from, const int32_t *row,
                              int n, int D, bool round_bf16)
{
}

static void convert_nothing(struct be *be, struct be_view dst, struct be_view src, size_t n)
{
}

static void zero_nothing(struct be *be, struct be_view dst, size_t n)
{
}

static void save_nothing(struct be *be, void *dst, struct be_view src, size_t n)
{
}

static void load_ahead_nothing(struct be *be, struct be_view dst, const void *src, enum dtype from, size_t n,
                               bool round_bf16)
{
}

static void fence_nothing(struct be *be)
{
}

static void join_nothing(struct be *be)
{
}

static void gather_rows_nothing(struct be *be, struct be_view y, struct be_view x, struct be_view row, int n, int D)
{
}

static void scatter_rows_nothing(struct be *be, struct be_view y, struct be_view x, struct be_view row, int n, int N,
                                 int D)
{
}

static void add_nothing(struct be *be, struct be_view y, struct be_view a, struct be_view b, size_t n)
{
}

static void linear_nothing(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int I, int O,
                           int ldy, bool as_reference)
{
}

static void linear_dx_nothing(struct be *be, struct be_view dx, struct be_view dy, struct be_view w, int N, int I,
                              int O, bool accumulate)
{
}

static void rmsnorm_nothing(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int D,
                            float eps)
{
}

static void rmsnorm_bwd_nothing(struct be *be, struct be_view dx, struct be_view dy, struct be_view x, struct be_view w,
                                int N, int D, float eps)
{
}

static void rope_nothing(struct be *be, struct be_view x, struct be_view c, struct be_view s, struct be_view pos, int N,
                         int heads, int E, bool backward)
{
}

static void attention_nothing(struct be *be, struct be_view o, struct be_view lse, struct be_view q, struct be_view k,
                              struct be_view v, struct be_seqs seqs, int H, int K, int E)
{
}

static void attention_bwd_nothing(struct be *be, struct be_view dq, struct be_view dk, struct be_view dv,
                                  struct be_view dout, struct be_view q, struct be_view k, struct be_view v,
                                  struct be_view o, struct be_view lse, struct be_seqs seqs, int H, int K, int E)
{
}

static void swiglu_nothing(struct be *be, struct be_view m, struct be_view g, struct be_view u, size_t n)
{
}

static void swiglu_bwd_nothing(struct be *be, struct be_view dg, struct be_view du, struct be_view dm, struct be_view g,
                               struct be_view u, size_t n)
{
}

static void xent_nothing(struct be *be, struct be_view stat, struct be_view loss, struct be_view z,
                         struct be_view target, int N, int V)
{
}

static void xent_bwd_nothing(struct be *be, struct be_view dz, struct be_view z, struct be_view stat,
                             struct be_view target, struct be_view s, int N, int V, int c0, int n)
{
}

static void amax_rows_nothing(struct be *be, struct be_view out, struct be_view x, struct be_view group, int N, int D)
{
}

static void amax_cols_nothing(struct be *be, struct be_view out, struct be_view x, int N, int D)
{
}

static void fakequant_nothing(struct be *be, struct be_view y, struct be_view x, const struct quantizer *q,
                              struct be_view amax, struct be_view group, int N, int D, bool round_bf16)
{
}

static void score_rows_nothing(struct be *be, struct be_outputs q, struct be_view y, struct be_view g, int N, int n,
                               int ldy)
{
}

static void segment_sum_nothing(struct be *be, struct be_view out, size_t out_stride, struct be_view x, size_t x_stride,
                                int count, struct be_view offset, int n)
{
}

const struct be_ops *dry_ops(const struct be_ops *like, struct dry_memory *m)
{
    static const struct be_ops dry = {
        .open = open_dry,
        .close = close_dry,
        .alloc = alloc_dry,
        .free = free_dry,
        .get = get,
        .sync = sync_dry,
        .put = put_nothing,
        .load = load_nothing,
        .load_rows = load_rows_nothing,
        .convert = convert_nothing,
        .zero = zero_nothing,
        .gather_rows = gather_rows_nothing,
        .scatter_rows = scatter_rows_nothing,
        .add = add_nothing,
        .linear = linear_nothing,
        .linear_dx = linear_dx_nothing,
        .rmsnorm = rmsnorm_nothing,
        .rmsnorm_bwd = rmsnorm_bwd_nothing,
        .rope = rope_nothing,
        .attention = attention_nothing,
        .attention_bwd = attention_bwd_nothing,
        .swiglu = swiglu_nothing,
        .swiglu_bwd = swiglu_bwd_nothing,
        .xent = xent_nothing,
        .xent_bwd = xent_bwd_nothing,
        .amax_rows = amax_rows_nothing,
        .amax_cols = amax_cols_nothing,
        .fakequant = fakequant_nothing,
        .score_rows = score_rows_nothing,
        .segment_sum = segment_sum_nothing,
    };
    memory = m;
    table = dry;
    table.name = like->name;
    table.weight_bf16 = like->weight_bf16;
    table.weight_fp32 = like->weight_fp32;
    table.act_bf16 = like->act_bf16;
    table.act_fp32 = like->act_fp32;
    table.sum_dtype = like->sum_dtype;
    table.head_block_elements = like->head_block_elements;
    table.logits_bytes = like->logits_bytes;
    table.outputs_at_once = like->outputs_at_once;
    if (like->room) {
        table.room = room;
        table.scratch_bytes = like->scratch_bytes;
        table.host_alloc = host_alloc;
        table.host_free = host_free;
        table.save = save_nothing;
        table.load_ahead = load_ahead_nothing;
        table.fence = fence_nothing;
        table.join = join_nothing;
    }
    return &table;
}
