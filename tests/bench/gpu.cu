/* The device as benchmarks see it: what it is, what its memory does. */
#include <cublasLt.h>
#include <cuda_runtime.h>
#include <stdio.h>
#include <stdlib.h>

extern "C" {
#include "gpu.h"
}

static bool failed(cudaError_t rc, const char *what, struct err *e)
{
    if (rc == cudaSuccess)
        return false;
    cudaGetLastError();
    err_set(e, ERR_DEVICE, "CUDA: %s: %s", what, cudaGetErrorString(rc));
    return true;
}

extern "C" int gpu_print(struct err *e)
{
    struct cudaDeviceProp p;
    int driver = 0, runtime = 0, mhz = 0, memory_mhz = 0;
    char bus[32], command[256];
    if (failed(cudaGetDeviceProperties(&p, 0), "device properties", e) ||
        failed(cudaDriverGetVersion(&driver), "driver version", e) ||
        failed(cudaRuntimeGetVersion(&runtime), "runtime version", e) ||
        failed(cudaDeviceGetAttribute(&mhz, cudaDevAttrClockRate, 0), "clock", e) ||
        failed(cudaDeviceGetAttribute(&memory_mhz, cudaDevAttrMemoryClockRate, 0), "memory clock", e) ||
        failed(cudaDeviceGetPCIBusId(bus, sizeof bus, 0), "bus", e))
        return -1;
    printf("%s, compute %d.%d, %d SMs at up to %d MHz, memory %.1f GB at up to %d MHz, L2 %.1f MB\n", p.name, p.major,
           p.minor, p.multiProcessorCount, mhz / 1000, (double)p.totalGlobalMem / 1e9, memory_mhz / 1000,
           (double)p.l2CacheSize / 1e6);
    printf("driver for CUDA %d.%d, runtime %d.%d, cuBLASLt %zu\n", driver / 1000, driver % 1000 / 10, runtime / 1000,
           runtime % 1000 / 10, cublasLtGetVersion());
    fflush(stdout);
    snprintf(command, sizeof command,
             "nvidia-smi -i %s --query-gpu=driver_version,clocks.sm,clocks.mem,temperature.gpu,power.draw,power.limit "
             "--format=csv,noheader 2>/dev/null | sed 's/^/now: driver, SM and memory clock, heat, power: /'",
             bus);
    return system(command) == -1 ? err_set(e, ERR_IO, "cannot start a shell") : 0;
}

extern "C" int gpu_copy_rate(double *rate, struct err *e)
{
    const size_t nb = (size_t)1 << 30;
    char *a = NULL, *b = NULL;
    cudaEvent_t begin = NULL, end = NULL;
    float best = 0, ms;
    int rc = failed(cudaMalloc((void **)&a, nb), "1 GiB to copy from", e) ||
                     failed(cudaMalloc((void **)&b, nb), "1 GiB to copy to", e) ||
                     failed(cudaEventCreate(&begin), "event", e) || failed(cudaEventCreate(&end), "event", e) ||
                     failed(cudaMemset(a, 1, nb), "memset", e)
                 ? -1
                 : 0;
    for (int i = 0; i < 11 && !rc; i++) {
        rc = failed(cudaEventRecord(begin), "event", e) ||
                     failed(cudaMemcpyAsync(b, a, nb, cudaMemcpyDeviceToDevice), "copy", e) ||
                     failed(cudaEventRecord(end), "event", e) || failed(cudaEventSynchronize(end), "copy", e) ||
                     failed(cudaEventElapsedTime(&ms, begin, end), "event", e)
                 ? -1
                 : 0;
        if (!rc && i) /* the first one warms up */
            best = best == 0 || ms < best ? ms : best;
    }
    if (!rc)
        *rate = 2 * (double)nb / (1e-3 * best);
    if (begin)
        cudaEventDestroy(begin);
    if (end)
        cudaEventDestroy(end);
    cudaFree(a);
    cudaFree(b);
    return rc;
}
