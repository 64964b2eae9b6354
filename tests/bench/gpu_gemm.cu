/* Times the algorithms that cuBLASLt offers for a product (gpu.h). */
#include <algorithm>
#include <stdlib.h>

#include "backend_cuda.h"
extern "C" {
#include "gpu.h"
}

/* Operands are taken from a pool in turn, so that none is in the cache when it comes by again. */
static const size_t pool_bytes = (size_t)1 << 30, cold_bytes = 256 << 20;
enum { MOST = 32, RUNS = 5, MAX_CALLS = 64, MAX_IDS = 128, MAX_CAPS = 256 };
static const float run_ms = 0.35f;

struct gpu_bench {
    cublasLtHandle_t blas;
    cudaStream_t stream;
    cudaEvent_t begin, end;
    char *in, *out; /* pool_bytes each */
    void *workspace;
    unsigned long long *count; /* device */
};

static bool failed(cudaError_t rc, const char *what, struct err *e)
{
    if (rc == cudaSuccess)
        return false;
    cudaGetLastError();
    err_set(e, ERR_DEVICE, "CUDA: %s: %s", what, cudaGetErrorString(rc));
    return true;
}

extern "C" int gpu_name(char name[256], int64_t *cublaslt, struct err *e)
{
    *cublaslt = (int64_t)cublasLtGetVersion();
    return cuda_device_name(name, e);
}

/* bf16 in (-1, 1); two of them are an fp32 of that size. */
static __global__ void k_fill(uint16_t *x, size_t n)
{
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
        uint32_t h = (uint32_t)i * 2654435761u ^ (uint32_t)(i >> 32);
        h = (h ^ h >> 15) * 2246822519u;
        x[i] = bf16_from_f32((float)((h ^ h >> 13) >> 8) * 0x1p-23f - 1);
    }
}

/* Elements of a and b [rows, cols], rows `stride` apart, that are not the same bits. */
template <typename T>
static __global__ void k_differ(unsigned long long *count, const T *a, const T *b, int rows, int cols, size_t stride)
{
    unsigned long long n = 0;
    for (int r = (int)blockIdx.x; r < rows; r += (int)gridDim.x)
        for (int j = (int)threadIdx.x; j < cols; j += (int)blockDim.x)
            n += a[(size_t)r * stride + j] != b[(size_t)r * stride + j];
    if (n)
        atomicAdd(count, n);
}

extern "C" void gpu_bench_close(struct gpu_bench *b)
{
    if (!b)
        return;
    if (b->blas)
        cublasLtDestroy(b->blas);
    if (b->begin)
        cudaEventDestroy(b->begin);
    if (b->end)
        cudaEventDestroy(b->end);
    if (b->stream)
        cudaStreamDestroy(b->stream);
    cudaFree(b->in);
    cudaFree(b->out);
    cudaFree(b->workspace);
    cudaFree(b->count);
    free(b);
}

extern "C" struct gpu_bench *gpu_bench_open(struct err *e)
{
    struct gpu_bench *b = (struct gpu_bench *)xcalloc(1, sizeof *b);
    bool bad = failed(cudaStreamCreateWithFlags(&b->stream, cudaStreamNonBlocking), "stream", e) ||
               failed(cudaEventCreate(&b->begin), "event", e) || failed(cudaEventCreate(&b->end), "event", e) ||
               failed(cudaMalloc((void **)&b->in, pool_bytes), "1 GiB of operands", e) ||
               failed(cudaMalloc((void **)&b->out, pool_bytes), "1 GiB of results", e) ||
               failed(cudaMalloc(&b->workspace, GEMM_WORKSPACE), "workspace", e) ||
               failed(cudaMalloc((void **)&b->count, sizeof *b->count), "counter", e);
    if (!bad && cublasLtCreate(&b->blas) != CUBLAS_STATUS_SUCCESS) {
        err_set(e, ERR_DEVICE, "cuBLASLt does not start");
        bad = true;
    }
    if (!bad) {
        k_fill<<<4096, 256, 0, b->stream>>>((uint16_t *)b->in, pool_bytes / sizeof(uint16_t));
        bad = failed(cudaGetLastError(), "fill", e) || failed(cudaStreamSynchronize(b->stream), "fill", e);
    }
    if (!bad)
        return b;
    gpu_bench_close(b);
    return NULL;
}

/* ---- one product */

struct operands {
    size_t w, x, y; /* bytes, rounded up */
    int copies_in, copies_out;
};

static int place(struct operands *o, const struct gemm_shape *s, struct err *e)
{
    const size_t rows = (size_t)s->rows, in = (size_t)s->in, out = (size_t)s->out, unit = 256;
    o->w = (in * out * dtype_size(s->input) + unit - 1) / unit * unit;
    o->x = (rows * (s->backward ? out : in) * dtype_size(s->input) + unit - 1) / unit * unit;
    o->y = (rows * (size_t)s->stride * dtype_size(s->output) + unit - 1) / unit * unit;
    if (o->w + o->x > pool_bytes || 2 * o->y > pool_bytes)
        return err_set(e, ERR_LIMIT, "a product of %d rows, in %d, out %d is too large for this benchmark", s->rows,
                       s->in, s->out);
    const size_t copies = cold_bytes / (o->w + o->x + o->y) + 2;
    o->copies_in = (int)std::min(copies, pool_bytes / (o->w + o->x));
    o->copies_out = (int)std::min(copies, pool_bytes / o->y);
    return 0;
}

static bool call(struct gpu_bench *b, const struct matmul *m, const struct operands *o, const cublasLtMatmulAlgo_t *a,
                 int in, int out)
{
    const char *w = b->in + (size_t)(in % o->copies_in) * (o->w + o->x);
    return matmul_run(b->blas, m, a, b->out + (size_t)(out % o->copies_out) * o->y, w + o->w, w, b->workspace,
                      b->stream);
}

/* Milliseconds of a call, the mean of `calls` in a row; negative where the library refuses. */
static int time_run(struct gpu_bench *b, const struct matmul *m, const struct operands *o,
                    const cublasLtMatmulAlgo_t *a, int calls, float *ms, struct err *e)
{
    bool taken = true;
    if (failed(cudaEventRecord(b->begin, b->stream), "event", e))
        return -1;
    for (int i = 0; i < calls && taken; i++)
        taken = call(b, m, o, a, i, i);
    if (failed(cudaEventRecord(b->end, b->stream), "event", e) ||
        failed(cudaEventSynchronize(b->end), "matrix product", e) ||
        failed(cudaEventElapsedTime(ms, b->begin, b->end), "event", e))
        return -1;
    *ms = taken ? *ms / (float)calls : -1;
    return 0;
}

/* Median of the runs, or negative where the library refuses; a candidate that is far behind `best` is left early. */
static int time_algorithm(struct gpu_bench *b, const struct matmul *m, const struct operands *o,
                          const cublasLtMatmulAlgo_t *a, float best, float *ms, struct err *e)
{
    float run[RUNS];
    if (time_run(b, m, o, a, 1, ms, e) || (*ms >= 0 && time_run(b, m, o, a, 1, ms, e)))
        return -1;
    if (*ms < 0)
        return 0;
    const int calls = std::max(1, std::min((int)MAX_CALLS, (int)(run_ms / std::max(*ms, 1e-4f)) + 1));
    for (int i = 0; i < RUNS; i++) {
        if (time_run(b, m, o, a, calls, &run[i], e))
            return -1;
        if (run[i] < 0 || (best > 0 && run[i] > 1.5f * best)) {
            *ms = run[i];
            return 0;
        }
    }
    std::sort(run, run + RUNS);
    *ms = run[RUNS / 2];
    return 0;
}

/* The share of elements that two algorithms round differently, from the same operands. */
static int compare(struct gpu_bench *b, const struct matmul *m, const struct operands *o,
                   const cublasLtMatmulAlgo_t *first, const cublasLtMatmulAlgo_t *second, double *share, struct err *e)
{
    const struct gemm_shape *s = &m->shape;
    const int cols = s->backward ? s->in : s->out;
    const size_t stride = (size_t)s->stride;
    unsigned long long n = 0;
    char *y = b->out + o->y;
    if (failed(cudaMemsetAsync(b->out, 0, 2 * o->y, b->stream), "memset", e) ||
        failed(cudaMemsetAsync(b->count, 0, sizeof *b->count, b->stream), "memset", e))
        return -1;
    if (!call(b, m, o, first, 0, 0) || !call(b, m, o, second, 0, 1))
        return err_set(e, ERR_DEVICE, "cuBLASLt refuses an algorithm that it took before");
    if (s->output == DT_BF16)
        k_differ<<<1024, 256, 0, b->stream>>>(b->count, (uint16_t *)b->out, (uint16_t *)y, s->rows, cols, stride);
    else
        k_differ<<<1024, 256, 0, b->stream>>>(b->count, (uint32_t *)b->out, (uint32_t *)y, s->rows, cols, stride);
    if (failed(cudaGetLastError(), "comparison", e) ||
        failed(cudaMemcpyAsync(&n, b->count, sizeof n, cudaMemcpyDeviceToHost, b->stream), "counter", e) ||
        failed(cudaStreamSynchronize(b->stream), "comparison", e))
        return -1;
    *share = (double)n / ((double)s->rows * cols);
    return 0;
}

/* ---- which algorithms */

static int capabilities(const cublasLtMatmulAlgo_t *a, cublasLtMatmulAlgoCapAttributes_t what, uint32_t *id, int max)
{
    size_t nb = 0;
    if (cublasLtMatmulAlgoCapGetAttribute(a, what, id, (size_t)max * sizeof *id, &nb) != CUBLAS_STATUS_SUCCESS)
        nb = 0;
    return (int)(nb / sizeof *id);
}

static void configure(cublasLtMatmulAlgo_t *a, cublasLtMatmulAlgoConfigAttributes_t what, uint32_t value)
{
    cublasLtMatmulAlgoConfigSetAttribute(a, what, &value, sizeof value);
}

/* Those of another number than `skip` that the backend allows, tile by tile. */
static int others(struct gpu_bench *b, const struct matmul *m, int skip, cublasLtMatmulAlgo_t *list, int max)
{
    const cudaDataType_t in = m->shape.input == DT_BF16 ? CUDA_R_16BF : CUDA_R_32F,
                         out = m->shape.output == DT_BF16 ? CUDA_R_16BF : CUDA_R_32F;
    int id[MAX_IDS], n_ids = 0, n = 0;
    if (cublasLtMatmulAlgoGetIds(b->blas, CUBLAS_COMPUTE_32F, CUDA_R_32F, in, in, out, out, MAX_IDS, id, &n_ids) !=
        CUBLAS_STATUS_SUCCESS)
        return 0;
    for (int i = 0; i < n_ids; i++) {
        cublasLtMatmulAlgo_t a;
        if (id[i] == skip || cublasLtMatmulAlgoInit(b->blas, CUBLAS_COMPUTE_32F, CUDA_R_32F, in, in, out, out, id[i],
                                                    &a) != CUBLAS_STATUS_SUCCESS)
            continue;
        uint32_t tile[MAX_CAPS] = {0}, stages[MAX_CAPS] = {0};
        const int n_tiles = std::max(1, capabilities(&a, CUBLASLT_ALGO_CAP_TILE_IDS, tile, MAX_CAPS)),
                  n_stages = std::max(1, capabilities(&a, CUBLASLT_ALGO_CAP_STAGES_IDS, stages, MAX_CAPS));
        for (int t = 0; t < n_tiles; t++)
            for (int s = 0; s < n_stages && n < max; s++) {
                configure(&a, CUBLASLT_ALGO_CONFIG_TILE_ID, tile[t]);
                configure(&a, CUBLASLT_ALGO_CONFIG_STAGES_ID, stages[s]);
                configure(&a, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, 1);
                configure(&a, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, CUBLASLT_REDUCTION_SCHEME_NONE);
                if (matmul_allows(b->blas, m, &a))
                    list[n++] = a;
            }
    }
    return n;
}

static int measure(struct gpu_bench *b, const struct matmul *m, const struct operands *o, int skip, struct gpu_gemm *g,
                   struct err *e)
{
    cublasLtMatmulAlgo_t a[MOST];
    const int n = skip >= 0 ? others(b, m, skip, a, MOST) : matmul_candidates(b->blas, m, a, MOST);
    if (!n)
        return err_set(e, ERR_DEVICE, "cuBLASLt has no algorithm for %d rows, in %d, out %d", m->shape.rows,
                       m->shape.in, m->shape.out);
    float first, again, best, ms;
    int fastest = 0;
    if (time_algorithm(b, m, o, &a[0], 0, &first, e))
        return -1;
    if (first < 0)
        return err_set(e, ERR_DEVICE, "cuBLASLt refuses its own first choice for %d rows, in %d, out %d", m->shape.rows,
                       m->shape.in, m->shape.out);
    best = first;
    g->candidates = 1;
    for (int i = 1; i < n; i++) {
        if (!matmul_allows(b->blas, m, &a[i]))
            continue;
        if (time_algorithm(b, m, o, &a[i], best, &ms, e))
            return -1;
        if (ms < 0)
            continue;
        g->candidates++;
        if (ms < best) {
            best = ms;
            fastest = i;
        }
    }
    /* the clock may have moved since; and what is hardly faster is not worth another rounding */
    if (time_algorithm(b, m, o, &a[0], 0, &again, e) || time_algorithm(b, m, o, &a[fastest], 0, &ms, e))
        return -1;
    first = std::min(first, again);
    best = std::min(best, ms);
    if (best > 0.98f * first || !matmul_allows(b->blas, m, &a[fastest])) {
        fastest = 0;
        best = std::min(best, first);
    }
    const double flops = 2.0 * m->shape.rows * m->shape.in * m->shape.out;
    g->first = flops / (1e-3 * first);
    g->best = flops / (1e-3 * best);
    memcpy(g->algorithm, &a[fastest], sizeof g->algorithm);
    return compare(b, m, o, &a[0], &a[fastest], &g->differ, e);
}

extern "C" int gpu_gemm(struct gpu_bench *b, const struct gemm_shape *s, int skip, struct gpu_gemm *g, struct err *e)
{
    struct operands o;
    struct matmul m;
    memset(g, 0, sizeof *g);
    if (place(&o, s, e))
        return -1;
    const int alignment[3] = {matmul_alignment(NULL, s->in, s->input),
                              matmul_alignment(NULL, s->backward ? s->out : s->in, s->input),
                              matmul_alignment(NULL, s->stride, s->output)};
    const int rc = matmul_open(&m, s, alignment)
                       ? measure(b, &m, &o, skip, g, e)
                       : err_set(e, ERR_DEVICE, "cuBLASLt cannot describe a product of %d rows, in %d, out %d", s->rows,
                                 s->in, s->out);
    matmul_close(&m);
    return rc;
}
