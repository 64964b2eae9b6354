/* The CPU backend: memory, rows, GEMM, and its table. */
#include "backend_cpu.h"

#include <cblas.h>
#undef I /* complex.h, which some cblas.h include; I is the input width here */
#include <stdlib.h>

#include "tensorcore.h"

/* Optional: not every CBLAS has it. GEMMs are split over our own threads at fixed places, so that results do not depend
 * on the number of threads; the library must then use one thread a call. */
extern void openblas_set_num_threads(int) __attribute__((weak));

float *cpu_scratch(struct cpu_scratch *s, size_t n)
{
    if (n > s->n) {
        free(s->data);
        s->data = xmalloc(n, sizeof *s->data);
        s->n = n;
    }
    return s->data;
}

static struct be *cpu_open(const struct be_options *o, struct err *e)
{
    (void)o;
    (void)e;
    if (openblas_set_num_threads)
        openblas_set_num_threads(1);
    struct be *be = xcalloc(1, sizeof *be);
    be->n_threads = parallel_threads();
    be->thread = xcalloc((size_t)be->n_threads, sizeof *be->thread);
    return be;
}

static void cpu_close(struct be *be)
{
    for (int i = 0; i < be->n_threads; i++)
        free(be->thread[i].data);
    free(be->thread);
    free(be->operand.data);
    free(be->lengths.data);
    free(be);
}

static struct be_buf *cpu_alloc(struct be *be, size_t nb)
{
    (void)be;
    struct be_buf *b = xmalloc(1, sizeof *b);
    *b = (struct be_buf){xcalloc(nb, 1), nb};
    return b;
}

static void cpu_free(struct be *be, struct be_buf *b)
{
    (void)be;
    if (b)
        free(b->data);
    free(b);
}

static void cpu_put(struct be *be, struct be_view dst, const void *src, size_t n)
{
    (void)be;
    memcpy(cpu_ptr(dst), src, n * dtype_size(dst.dtype));
}

static void cpu_get(struct be *be, void *dst, struct be_view src, size_t n)
{
    (void)be;
    memcpy(dst, cpu_ptr(src), n * dtype_size(src.dtype));
}

static void cpu_zero(struct be *be, struct be_view dst, size_t n)
{
    (void)be;
    memset(cpu_ptr(dst), 0, n * dtype_size(dst.dtype));
}

static int cpu_sync(struct be *be, struct err *e)
{
    if (be->error.code == ERR_NONE)
        return 0;
    *e = be->error;
    be->error = (struct err){0};
    return -1;
}

/* ---- conversions */

struct load_args {
    struct be_view dst;
    const char *src;
    enum dtype from;
    bool round_bf16;
};

static void load_part(void *arg, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct load_args *a = arg;
    float tmp[1024], *out;
    for (size_t i = begin; i < end; i += 1024) {
        const size_t n = end - i < 1024 ? end - i : 1024;
        const char *src = a->src + i * dtype_size(a->from);
        out = cpu_out(a->dst, i, tmp);
        if (a->from == DT_F32)
            memcpy(out, src, 4 * n);
        else
            for (size_t j = 0; j < n; j++) {
                uint16_t h;
                memcpy(&h, src + 2 * j, 2); /* file data may be unaligned */
                out[j] = a->from == DT_BF16 ? bf16_to_f32(h) : fp16_to_f32(h);
            }
        if (a->round_bf16 && a->from != DT_BF16)
            for (size_t j = 0; j < n; j++)
                out[j] = bf16_round(out[j]);
        cpu_write(a->dst, i, n, out);
    }
}

static void cpu_load(struct be *be, struct be_view dst, const void *src, enum dtype from, size_t n, bool round_bf16)
{
    (void)be;
    struct load_args a = {dst, src, from, round_bf16};
    parallel_for(n, 1 << 16, load_part, &a);
}

static void cpu_load_rows(struct be *be, struct be_view dst, const void *src, enum dtype from, const int32_t *row,
                          int n, int D, bool round_bf16)
{
    for (int i = 0; i < n; i++)
        cpu_load(be, be_at(dst, (size_t)i * (size_t)D),
                 (const char *)src + (size_t)row[i] * (size_t)D * dtype_size(from), from, (size_t)D, round_bf16);
}

struct convert_args {
    struct be_view dst, src;
};

static void convert_part(void *arg, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct convert_args *a = arg;
    float tmp[1024];
    for (size_t i = begin; i < end; i += 1024) {
        const size_t n = end - i < 1024 ? end - i : 1024;
        cpu_write(a->dst, i, n, cpu_read(a->src, i, n, tmp));
    }
}

static void cpu_convert(struct be *be, struct be_view dst, struct be_view src, size_t n)
{
    (void)be;
    struct convert_args a = {dst, src};
    parallel_for(n, 1 << 16, convert_part, &a);
}

static void cpu_gather_rows(struct be *be, struct be_view y, struct be_view x, struct be_view row, int n, int D)
{
    (void)be;
    const size_t nb = (size_t)D * dtype_size(y.dtype);
    for (int i = 0; i < n; i++)
        memcpy((char *)cpu_ptr(y) + (size_t)i * nb, (char *)cpu_ptr(x) + (size_t)cpu_i32(row)[i] * nb, nb);
}

static void cpu_scatter_rows(struct be *be, struct be_view y, struct be_view x, struct be_view row, int n, int N, int D)
{
    const size_t nb = (size_t)D * dtype_size(y.dtype);
    cpu_zero(be, y, (size_t)N * (size_t)D);
    for (int i = 0; i < n; i++)
        memcpy((char *)cpu_ptr(y) + (size_t)cpu_i32(row)[i] * nb, (char *)cpu_ptr(x) + (size_t)i * nb, nb);
}

/* ---- GEMM: tiles of fixed size over the outputs, each one single-threaded call of the library */

enum { TILE_ROWS = 512, TILE_COLS = 512, SPLIT_ROWS = 8192 };

void cpu_gemm(bool transpose_b, int M, int n, int k, const float *a, int lda, const float *b, int ldb, float beta,
              float *c, int ldc)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans, M, n, k, 1.0f, a, lda, b, ldb,
                beta, c, ldc);
}

struct gemm_args {
    struct be *be;
    struct be_view y;
    size_t y_first; /* of the row split */
    const float *x, *w;
    const float *x_length, *w_length; /* balanced lengths of their rows, or NULL: leave the sums as they are */
    int N, K, O, ldy;                 /* y [N, O] = x [N, K] times w; rows of y are ldy apart */
    bool w_is_out_by_in, accumulate;
    int row_tiles;
};

static void gemm_tiles(void *arg, size_t begin, size_t end, int thread)
{
    const struct gemm_args *a = arg;
    for (size_t t = begin; t < end; t++) {
        const int r0 = (int)(t % (size_t)a->row_tiles) * TILE_ROWS, c0 = (int)(t / (size_t)a->row_tiles) * TILE_COLS;
        const int rows = a->N - r0 < TILE_ROWS ? a->N - r0 : TILE_ROWS;
        const int cols = a->O - c0 < TILE_COLS ? a->O - c0 : TILE_COLS;
        const float *w = a->w_is_out_by_in ? a->w + (size_t)c0 * (size_t)a->K : a->w + c0;
        const float *x = a->x + (size_t)r0 * (size_t)a->K;
        const size_t first = a->y_first + (size_t)r0 * (size_t)a->ldy + (size_t)c0;
        const bool direct = a->y.dtype == DT_F32;
        float *c = direct ? cpu_f32(a->y) + first : cpu_thread_scratch(a->be, thread, (size_t)TILE_ROWS * TILE_COLS);
        const int ldc = direct ? a->ldy : cols;
        cpu_gemm(a->w_is_out_by_in, rows, cols, a->K, x, a->K, w, a->w_is_out_by_in ? a->K : a->O,
                 a->accumulate ? 1.0f : 0.0f, c, ldc);
        for (int r = 0; a->x_length && r < rows; r++)
            tensorcore_fix_row(c + (size_t)r * (size_t)ldc, cols, x + (size_t)r * (size_t)a->K, a->x_length[r0 + r], w,
                               (size_t)a->K, a->w_length + c0, a->K);
        for (int r = 0; !direct && r < rows; r++)
            cpu_write(a->y, first + (size_t)r * (size_t)a->ldy, (size_t)cols, c + (size_t)r * (size_t)cols);
    }
}

/* ---- what tensorcore.h needs to know of a product's operands */

struct length_args {
    const float *x, *balance;
    float *length, *square;
    int rows, K;
    bool inverse;
};

static void square_part(void *arg, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct length_args *a = arg;
    for (int i = 0; i < a->rows; i++)
        tensorcore_add_squares(a->square + begin, a->x + (size_t)i * (size_t)a->K + begin, (int)(end - begin));
}

static void length_part(void *arg, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct length_args *a = arg;
    for (size_t i = begin; i < end; i++)
        a->length[i] = tensorcore_length(a->x + i * (size_t)a->K, a->balance, a->inverse, a->K);
}

/* Lengths of the rows of x [N, K] and w [O, K], into x_length and w_length; square and balance are scratch. */
static void measure_rows(float *x_length, float *w_length, float *scratch, const float *x, const float *w, int N, int K,
                         int O)
{
    float *x_square = scratch, *w_square = scratch + K, *balance = scratch + 2 * (size_t)K;
    memset(x_square, 0, 2 * (size_t)K * sizeof *x_square);
    struct length_args a = {.x = x, .balance = balance, .length = x_length, .square = x_square, .rows = N, .K = K};
    struct length_args b = {
        .x = w, .balance = balance, .length = w_length, .square = w_square, .rows = O, .K = K, .inverse = true};
    parallel_for((size_t)K, 256, square_part, &a);
    parallel_for((size_t)K, 256, square_part, &b);
    tensorcore_balance(balance, x_square, w_square, K);
    parallel_for((size_t)N, cpu_grain((size_t)K), length_part, &a);
    parallel_for((size_t)O, cpu_grain((size_t)K), length_part, &b);
}

/* y [N, O] = x [N, K] w^T (w [O, K]) or x w (w [K, O]) */
static void gemm(struct be *be, struct be_view y, int ldy, struct be_view x, struct be_view w, int N, int K, int O,
                 bool w_is_out_by_in, bool accumulate, bool like_tensor_core)
{
    if (accumulate && y.dtype != DT_F32)
        BUG("sums over several products are kept in fp32");
    float *length = like_tensor_core ? cpu_scratch(&be->lengths, (size_t)O + SPLIT_ROWS + 3 * (size_t)K) : NULL;
    for (int r0 = 0; r0 < N; r0 += SPLIT_ROWS) {
        const int rows = N - r0 < SPLIT_ROWS ? N - r0 : SPLIT_ROWS;
        const size_t n = (size_t)rows * (size_t)K, first = (size_t)r0 * (size_t)K;
        const float *xf = (const float *)cpu_ptr(x) + first;
        if (x.dtype == DT_BF16) {
            struct be_buf tmp = {(char *)cpu_scratch(&be->operand, n), n * sizeof(float)};
            cpu_convert(be, (struct be_view){&tmp, 0, DT_F32}, be_at(x, first), n);
            xf = (const float *)(void *)tmp.data;
        }
        if (like_tensor_core)
            measure_rows(length + O, length, length + O + SPLIT_ROWS, xf, cpu_f32(w), rows, K, O);
        struct gemm_args a = {.be = be,
                              .y = y,
                              .y_first = (size_t)r0 * (size_t)ldy,
                              .x = xf,
                              .w = cpu_f32(w),
                              .N = rows,
                              .x_length = length ? length + O : NULL,
                              .w_length = length,
                              .K = K,
                              .O = O,
                              .ldy = ldy,
                              .w_is_out_by_in = w_is_out_by_in,
                              .accumulate = accumulate,
                              .row_tiles = (rows + TILE_ROWS - 1) / TILE_ROWS};
        parallel_for((size_t)a.row_tiles * (size_t)((O + TILE_COLS - 1) / TILE_COLS), 1, gemm_tiles, &a);
    }
}

void cpu_linear(struct be *be, struct be_view y, struct be_view x, struct be_view w, int N, int I, int O, int ldy,
                bool as_reference)
{
    gemm(be, y, ldy, x, w, N, I, O, true, false, as_reference && y.dtype == DT_BF16);
}

void cpu_linear_dx(struct be *be, struct be_view dx, struct be_view dy, struct be_view w, int N, int I, int O,
                   bool accumulate)
{
    gemm(be, dx, I, dy, w, N, O, I, false, accumulate, false);
}

const struct be_ops be_cpu_ops = {
    .name = "cpu",
    .outputs_at_once = 1,
    .weight_bf16 = DT_F32,
    .weight_fp32 = DT_F32,
    .sum_dtype = DT_F32,
    .act_bf16 = DT_BF16,
    .act_fp32 = DT_F32,
    .head_block_elements = 8 << 20, /* 32 MB as fp32 */
    .logits_bytes = 64 << 20,
    .describe = be_describe_host,
    .open = cpu_open,
    .close = cpu_close,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .put = cpu_put,
    .get = cpu_get,
    .load = cpu_load,
    .load_rows = cpu_load_rows,
    .convert = cpu_convert,
    .zero = cpu_zero,
    .sync = cpu_sync,
    .gather_rows = cpu_gather_rows,
    .scatter_rows = cpu_scatter_rows,
    .add = cpu_add,
    .linear = cpu_linear,
    .linear_dx = cpu_linear_dx,
    .rmsnorm = cpu_rmsnorm,
    .rmsnorm_bwd = cpu_rmsnorm_bwd,
    .rope = cpu_rope,
    .attention = cpu_attention,
    .attention_bwd = cpu_attention_bwd,
    .swiglu = cpu_swiglu,
    .swiglu_bwd = cpu_swiglu_bwd,
    .xent = cpu_xent,
    .xent_bwd = cpu_xent_bwd,
    .amax_rows = cpu_amax_rows,
    .amax_cols = cpu_amax_cols,
    .fakequant = cpu_fakequant,
    .score_rows = cpu_score_rows,
    .segment_sum = cpu_segment_sum,
};
