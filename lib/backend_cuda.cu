/* The CUDA backend: device, memory, transfers, and its table. */
#include "backend_cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

bool cuda_failed(struct be *be, cudaError_t rc, const char *what)
{
    if (rc != cudaSuccess && be->error.code == ERR_NONE)
        err_set(&be->error, rc == cudaErrorMemoryAllocation ? ERR_LIMIT : ERR_DEVICE, "CUDA: %s: %s", what,
                cudaGetErrorString(rc));
    return be->error.code != ERR_NONE;
}

/* What the driver, this program's kernels and those of cuBLASLt take before anything is allocated; the step in which
 * memory is given out; what others may take while this runs. */
enum { CONTEXT_BYTES = 640 << 20, GRANULE = 2 << 20, UNPLANNED = 256 << 20 };

/* What an allocation takes: small ones share a granule. */
static size_t granules(size_t nb)
{
    const size_t step = nb < GRANULE / 2 ? 512 : GRANULE;
    return (nb + step - 1) / step * step;
}

void *cuda_malloc(struct be *be, size_t nb, const char *what)
{
    void *p = NULL;
    const size_t taken = granules(nb ? nb : 1);
    if (be->error.code == ERR_NONE && be->limit && CONTEXT_BYTES + be->used + taken > be->limit)
        err_set(&be->error, ERR_LIMIT, "CUDA: %s: %.0f MB more than the %.0f MB in use are above the limit of %.0f MB",
                what, (double)taken / 1e6, (double)(be->used + CONTEXT_BYTES) / 1e6, (double)be->limit / 1e6);
    if (be->error.code != ERR_NONE || cuda_failed(be, cudaMalloc(&p, nb ? nb : 1), what))
        return NULL;
    be->used += taken;
    return p;
}

void cuda_release(struct be *be, void *p, size_t nb)
{
    if (!p)
        return;
    cudaFree(p);
    be->used -= granules(nb ? nb : 1);
}

void *cuda_scratch(struct be *be, size_t nb)
{
    if (nb > be->scratch_bytes) {
        cudaStreamSynchronize(be->stream);
        cuda_release(be, be->scratch, be->scratch_bytes);
        be->scratch = (char *)cuda_malloc(be, nb, "scratch memory");
        be->scratch_bytes = be->scratch ? nb : 0;
    }
    return be->scratch;
}

static void cuda_close(struct be *be)
{
    cudaDeviceSynchronize();
    for (int i = 0; i < STAGES; i++) {
        cudaFreeHost(be->stage[i]);
        if (be->stage_free[i])
            cudaEventDestroy(be->stage_free[i]);
    }
    for (int i = 0; i < be->n_marks; i++)
        cudaEventDestroy(be->mark[i]);
    free(be->mark);
    cudaFree(be->unpacked);
    cudaFree(be->scratch);
    cudaFree(be->workspace);
    cuda_gemm_close(be);
    if (be->blas)
        cublasLtDestroy(be->blas);
    const cudaEvent_t event[] = {be->fence_event, be->arrived};
    for (size_t i = 0; i < sizeof event / sizeof *event; i++)
        if (event[i])
            cudaEventDestroy(event[i]);
    if (be->copies)
        cudaStreamDestroy(be->copies);
    if (be->stream)
        cudaStreamDestroy(be->stream);
    free(be);
}

/* Does this program hold code for compute capability `cc` (900 is 9.0)? Machine code of its generation and not newer
 * than it, or PTX, which is there for the last of the list (conf/cuda-archs.sh). */
static bool has_code(int cc)
{
    static const int arch[] = {__CUDA_ARCH_LIST__};
    const size_t n = sizeof arch / sizeof *arch;
    bool found = arch[n - 1] <= cc;
    for (size_t i = 0; i < n; i++)
        found |= arch[i] / 100 == cc / 100 && arch[i] <= cc;
    return found;
}

static int cuda_usable(struct err *e)
{
    int n = 0, driver = 0, major = 0, minor = 0;
    cudaError_t rc = cudaGetDeviceCount(&n);
    if (rc == cudaErrorInsufficientDriver && cudaDriverGetVersion(&driver) == cudaSuccess) {
        if (!driver)
            return err_set(e, ERR_DEVICE, "no usable CUDA device: no NVIDIA driver is installed");
        return err_set(e, ERR_DEVICE,
                       "no usable CUDA device: the driver takes CUDA %d.%d, this program was built with %d.%d: update "
                       "the driver, or build with an older CUDA Toolkit",
                       driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    }
    if (rc == cudaSuccess && n)
        rc = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
    if (rc == cudaSuccess && n)
        rc = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
    if (rc != cudaSuccess || !n)
        return err_set(e, ERR_DEVICE, "no usable CUDA device: %s",
                       rc == cudaSuccess ? "none found" : cudaGetErrorString(rc));
    if (major < 8)
        return err_set(e, ERR_DEVICE, "no usable CUDA device: compute capability is %d.%d, 8.0 is needed", major,
                       minor);
    if (!has_code(100 * major + 10 * minor))
        return err_set(e, ERR_DEVICE,
                       "no usable CUDA device: this program has no code for compute capability %d.%d: build with "
                       "`make CUDA=1 SM=%d%d`",
                       major, minor, major, minor);
    return 0;
}

static int cuda_describe(struct be_device *d, struct err *e)
{
    cudaDeviceProp p;
    size_t free_bytes = 0, total = 0;
    *d = be_device();
    if (cuda_usable(e))
        return -1;
    cudaError_t rc = cudaGetDeviceProperties(&p, 0);
    if (rc == cudaSuccess)
        rc = cudaDriverGetVersion(&d->driver_cuda);
    if (rc == cudaSuccess)
        rc = cudaMemGetInfo(&free_bytes, &total);
    if (rc != cudaSuccess)
        return err_set(e, ERR_DEVICE, "CUDA: device: %s", cudaGetErrorString(rc));
    snprintf(d->name, sizeof d->name, "%s", p.name);
    d->memory = total;
    d->free_memory = free_bytes;
    d->capability = 10 * p.major + p.minor;
    d->runtime_cuda = CUDART_VERSION;
    return 0;
}

int cuda_device_name(char name[256], struct err *e)
{
    struct cudaDeviceProp p;
    const cudaError_t rc = cudaGetDeviceProperties(&p, 0);
    if (rc != cudaSuccess)
        return err_set(e, ERR_DEVICE, "CUDA: device properties: %s", cudaGetErrorString(rc));
    snprintf(name, 256, "%s", p.name);
    return 0;
}

static char *cuda_identity(const struct be_options *o, struct err *e)
{
    struct be be = {};
    if (cuda_usable(e) || cuda_device_name(be.gpu, e) || cuda_gemm_open(&be, o ? o->gemm_tables : NULL, e))
        return NULL;
    char *text = xasprintf("%s, cuBLASLt %zu, table %s", be.gpu, cublasLtGetVersion(),
                           be.table.gpu ? be.table.identity : "none");
    gemm_table_free(&be.table);
    return text;
}

static struct be *cuda_open(const struct be_options *o, struct err *e)
{
    struct be *be = (struct be *)xcalloc(1, sizeof *be);
    if (cuda_usable(e) || cuda_device_name(be->gpu, e) || cuda_gemm_open(be, o ? o->gemm_tables : NULL, e)) {
        cuda_gemm_close(be);
        free(be);
        return NULL;
    }
    cuda_failed(be, cudaStreamCreateWithFlags(&be->stream, cudaStreamNonBlocking), "stream");
    cuda_failed(be, cudaStreamCreateWithFlags(&be->copies, cudaStreamNonBlocking), "stream");
    cuda_failed(be, cudaEventCreateWithFlags(&be->fence_event, cudaEventDisableTiming), "event");
    cuda_failed(be, cudaEventCreateWithFlags(&be->arrived, cudaEventDisableTiming), "event");
    for (int i = 0; i < STAGES; i++) {
        cuda_failed(be, cudaMallocHost(&be->stage[i], STAGE_BYTES), "pinned memory");
        cuda_failed(be, cudaEventCreateWithFlags(&be->stage_free[i], cudaEventDisableTiming), "event");
    }
    be->workspace = cuda_malloc(be, GEMM_WORKSPACE, "GEMM workspace");
    if (be->error.code == ERR_NONE && cublasLtCreate(&be->blas) != CUBLAS_STATUS_SUCCESS)
        err_set(&be->error, ERR_DEVICE, "cuBLASLt does not start");
    if (be->error.code != ERR_NONE) {
        *e = be->error;
        cuda_close(be);
        return NULL;
    }
    be->limit = o ? o->memory : 0; /* from here on: who asks for room hears what is missing */
    return be;
}

/* What is free less what is allocated without being asked for, or what the limit leaves. */
static int64_t cuda_room(struct be *be)
{
    size_t free_bytes = 0, total = 0;
    const cudaError_t rc = cudaMemGetInfo(&free_bytes, &total);
    if (rc != cudaSuccess)
        cuda_failed(be, rc, "memory information");
    const int64_t unused = (int64_t)free_bytes - UNPLANNED;
    const int64_t left = (int64_t)be->limit - (int64_t)(CONTEXT_BYTES + be->used + STAGE_BYTES);
    return be->limit && left < unused ? left : unused;
}

static struct be_buf *cuda_alloc(struct be *be, size_t nb)
{
    char *data = (char *)cuda_malloc(be, nb, "device memory");
    if (!data)
        return NULL;
    struct be_buf *b = (struct be_buf *)xcalloc(1, sizeof *b);
    b->data = data;
    b->nb = nb;
    cuda_failed(be, cudaMemsetAsync(b->data, 0, nb, be->stream), "memset");
    return b;
}

static void cuda_free(struct be *be, struct be_buf *b)
{
    if (!b)
        return;
    cudaStreamSynchronize(be->stream);
    cuda_release(be, b->data, b->nb);
    free(b);
}

static void cuda_put(struct be *be, struct be_view dst, const void *src, size_t n)
{
    if (be->error.code == ERR_NONE && n)
        cuda_failed(be,
                    cudaMemcpyAsync(ptr<char>(dst), src, n * dtype_size(dst.dtype), cudaMemcpyHostToDevice, be->stream),
                    "copy to the device");
}

static void cuda_get(struct be *be, void *dst, struct be_view src, size_t n)
{
    if (be->error.code != ERR_NONE) {
        memset(dst, 0, n * dtype_size(src.dtype));
        return;
    }
    cuda_failed(be, cudaMemcpyAsync(dst, ptr<char>(src), n * dtype_size(src.dtype), cudaMemcpyDeviceToHost, be->stream),
                "copy from the device");
    cuda_failed(be, cudaStreamSynchronize(be->stream), "device");
}

static void cuda_save(struct be *be, void *dst, struct be_view src, size_t n)
{
    if (be->error.code == ERR_NONE && n)
        cuda_failed(be,
                    cudaMemcpyAsync(dst, ptr<char>(src), n * dtype_size(src.dtype), cudaMemcpyDeviceToHost, be->stream),
                    "copy from the device");
}

static void touch_part(void *arg, size_t begin, size_t end, int thread)
{
    (void)thread;
    memset((char *)arg + begin, 0, end - begin);
}

/* Large pages, touched by all threads, then pinned: cudaMallocHost does the same on one thread at 2 GB/s. */
static void *cuda_host_alloc(struct be *be, size_t nb)
{
    if (be->error.code != ERR_NONE)
        return NULL;
    const size_t taken = granules(nb ? nb : 1);
    void *p = aligned_alloc(GRANULE, taken);
    if (p) {
        madvise(p, taken, MADV_HUGEPAGE); /* a hint: failure costs time only */
        parallel_for(taken, GRANULE, touch_part, p);
    }
    if (!p || cudaHostRegister(p, taken, cudaHostRegisterDefault) != cudaSuccess) {
        cudaGetLastError();
        err_set(&be->error, ERR_LIMIT, "no %.1f GB of pinned host memory: take fewer blocks at once (--pass-blocks)",
                (double)taken / 1e9);
        free(p);
        return NULL;
    }
    return p;
}

static void cuda_host_free(struct be *be, void *p)
{
    cudaStreamSynchronize(be->stream);
    cudaHostUnregister(p);
    free(p);
}

static void cuda_zero(struct be *be, struct be_view dst, size_t n)
{
    if (be->error.code == ERR_NONE)
        cuda_failed(be, cudaMemsetAsync(ptr<char>(dst), 0, n * dtype_size(dst.dtype), be->stream), "memset");
}

static int cuda_sync(struct be *be, struct err *e)
{
    cuda_failed(be, cudaStreamSynchronize(be->stream), "device");
    if (be->error.code == ERR_NONE)
        return 0;
    *e = be->error;
    be->error.code = ERR_NONE;
    return -1;
}

/* ---- a profile's marks */

static void cuda_mark(struct be *be, int i)
{
    if (i >= be->n_marks) {
        be->mark = (cudaEvent_t *)xrealloc(be->mark, (size_t)i + 1, sizeof *be->mark);
        while (be->n_marks <= i)
            cuda_failed(be, cudaEventCreate(&be->mark[be->n_marks++]), "event");
    }
    if (be->error.code == ERR_NONE)
        cuda_failed(be, cudaEventRecord(be->mark[i], be->stream), "event");
}

static double cuda_elapsed(struct be *be, int i, int j)
{
    float ms = 0;
    if (be->error.code == ERR_NONE && !cuda_failed(be, cudaEventSynchronize(be->mark[j]), "event"))
        cuda_failed(be, cudaEventElapsedTime(&ms, be->mark[i], be->mark[j]), "event");
    return 1e-3 * (double)ms;
}

/* ---- conversions */

/* from: DT_BF16, DT_F16 (as uint16_t) or DT_F32 */
template <typename T> static __global__ void k_unpack(T *dst, const void *src, int from, size_t n, bool round_bf16)
{
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
        float x = from == DT_F32    ? ((const float *)src)[i]
                  : from == DT_BF16 ? bf16_to_f32(((const uint16_t *)src)[i])
                                    : fp16_to_f32(((const uint16_t *)src)[i]);
        st(dst + i, round_bf16 ? rnd<bf16>(x) : x);
    }
}

struct copy_args {
    char *dst;
    const char *src;
    const int32_t *row;
    size_t row_bytes;
};

static void copy_part(void *arg, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct copy_args *a = (const struct copy_args *)arg;
    if (!a->row)
        memcpy(a->dst + begin, a->src + begin, end - begin);
    else
        for (size_t i = begin; i < end; i++)
            memcpy(a->dst + i * a->row_bytes, a->src + (size_t)a->row[i] * a->row_bytes, a->row_bytes);
}

/* Copies that are issued from now on come after the ops issued so far. */
static void cuda_fence(struct be *be)
{
    cuda_failed(be, cudaEventRecord(be->fence_event, be->stream), "event");
    cuda_failed(be, cudaStreamWaitEvent(be->copies, be->fence_event, 0), "event");
}

/* Ops that are issued from now on come after the copies issued so far. */
static void cuda_join(struct be *be)
{
    cuda_failed(be, cudaEventRecord(be->arrived, be->copies), "event");
    cuda_failed(be, cudaStreamWaitEvent(be->stream, be->arrived, 0), "event");
}

/* n elements, gathered by rows of D or in one piece, through pinned memory: host threads fill one stage while the other
 * is on its way. */
static void load_staged(struct be *be, struct be_view dst, const char *src, enum dtype from, size_t n,
                        const int32_t *row, size_t D, bool round_bf16)
{
    const size_t size = dtype_size(from), per_stage = row ? STAGE_BYTES / (D * size) * D : STAGE_BYTES / size;
    const bool same = from == dst.dtype && !(from == DT_F32 && round_bf16);
    if (!same && !be->unpacked && !(be->unpacked = (char *)cuda_malloc(be, STAGE_BYTES, "staging memory")))
        return;
    for (size_t i = 0; i < n && be->error.code == ERR_NONE; i += per_stage) {
        const size_t k = n - i < per_stage ? n - i : per_stage;
        const int s = be->next_stage;
        be->next_stage = (s + 1) % STAGES;
        cuda_failed(be, cudaEventSynchronize(be->stage_free[s]), "event");
        struct copy_args a = {be->stage[s], row ? src : src + i * size, row ? row + i / D : NULL, D * size};
        parallel_for(row ? k / D : k * size, row ? 16 : 1 << 20, copy_part, &a);
        struct be_view at = be_at(dst, i);
        char *to = same ? ptr<char>(at) : be->unpacked;
        cuda_failed(be, cudaMemcpyAsync(to, be->stage[s], k * size, cudaMemcpyHostToDevice, be->copies),
                    "copy to the device");
        cuda_failed(be, cudaEventRecord(be->stage_free[s], be->copies), "event");
        if (!same) {
            WITH_TYPE(dst, T, (k_unpack<<<1024, 256, 0, be->copies>>>(ptr<T>(at), to, (int)from, k, round_bf16)));
            CHECK_LAUNCH(be, "load");
        }
    }
}

static void cuda_load_ahead(struct be *be, struct be_view dst, const void *src, enum dtype from, size_t n,
                            bool round_bf16)
{
    load_staged(be, dst, (const char *)src, from, n, NULL, 1, round_bf16);
}

static void cuda_load(struct be *be, struct be_view dst, const void *src, enum dtype from, size_t n, bool round_bf16)
{
    cuda_fence(be);
    load_staged(be, dst, (const char *)src, from, n, NULL, 1, round_bf16);
    cuda_join(be);
}

static void cuda_load_rows(struct be *be, struct be_view dst, const void *src, enum dtype from, const int32_t *row,
                           int n, int D, bool round_bf16)
{
    cuda_fence(be);
    load_staged(be, dst, (const char *)src, from, (size_t)n * (size_t)D, row, (size_t)D, round_bf16);
    cuda_join(be);
}

template <typename A, typename B, int V> static __global__ void k_convert(A *dst, const B *src, size_t n)
{
    const size_t i = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * V;
    if (i >= n)
        return;
    float x[V];
    ldv<V>(src + i, x);
    stv<V>(dst + i, x);
}

static void cuda_convert(struct be *be, struct be_view dst, struct be_view src, size_t n)
{
    if (be->error.code != ERR_NONE || !n)
        return;
    if (dst.dtype == src.dtype) {
        cuda_failed(be,
                    cudaMemcpyAsync(ptr<char>(dst), ptr<char>(src), n * dtype_size(dst.dtype), cudaMemcpyDeviceToDevice,
                                    be->stream),
                    "convert");
        return;
    }
    const bool eight = n % 8 == 0 && aligned16(ptr<char>(dst)) && aligned16(ptr<char>(src));
    const unsigned grid = (unsigned)((n / (eight ? 8 : 1) + 255) / 256);
    WITH_TYPE(dst, A, WITH_TYPE(src, B, {
                  if (eight)
                      k_convert<A, B, 8><<<grid, 256, 0, be->stream>>>(ptr<A>(dst), ptr<B>(src), n);
                  else
                      k_convert<A, B, 1><<<grid, 256, 0, be->stream>>>(ptr<A>(dst), ptr<B>(src), n);
              }));
    CHECK_LAUNCH(be, "convert");
}

extern "C" const struct be_ops be_cuda_ops = {
    .name = "cuda",
    .weight_bf16 = DT_BF16,
    .weight_fp32 = DT_F32,
    .act_bf16 = DT_BF16,
    .act_fp32 = DT_F32,
    .sum_dtype = DT_F32,
    .head_block_elements = 26 << 20,
    .logits_bytes = 192 << 20,
    .outputs_at_once = 3,
    .usable = cuda_usable,
    .describe = cuda_describe,
    .identity = cuda_identity,
    .open = cuda_open,
    .close = cuda_close,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .put = cuda_put,
    .get = cuda_get,
    .load = cuda_load,
    .load_rows = cuda_load_rows,
    .convert = cuda_convert,
    .zero = cuda_zero,
    .sync = cuda_sync,
    .gemm_used = cuda_gemm_used,
    .room = cuda_room,
    .scratch_bytes = cuda_scratch_bytes,
    .host_alloc = cuda_host_alloc,
    .host_free = cuda_host_free,
    .save = cuda_save,
    .load_ahead = cuda_load_ahead,
    .fence = cuda_fence,
    .join = cuda_join,
    .mark = cuda_mark,
    .elapsed = cuda_elapsed,
    .phase = NULL,
    .gather_rows = cuda_gather_rows,
    .scatter_rows = cuda_scatter_rows,
    .add = cuda_add,
    .linear = cuda_linear,
    .linear_dx = cuda_linear_dx,
    .rmsnorm = cuda_rmsnorm,
    .rmsnorm_bwd = cuda_rmsnorm_bwd,
    .rope = cuda_rope,
    .attention = cuda_attention,
    .attention_bwd = cuda_attention_bwd,
    .swiglu = cuda_swiglu,
    .swiglu_bwd = cuda_swiglu_bwd,
    .xent = cuda_xent,
    .xent_bwd = cuda_xent_bwd,
    .amax_rows = cuda_amax_rows,
    .amax_cols = cuda_amax_cols,
    .fakequant = cuda_fakequant,
    .score_rows = cuda_score_rows,
    .segment_sum = cuda_segment_sum,
};
