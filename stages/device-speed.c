/* device-speed: what a backend computes on, and how fast that copies, multiplies and takes data. */
#include <stdio.h>
#include <string.h>

#include "ceiling.h"
#include "cli.h"
#include "io.h"
#include "json.h"
#include "parallel.h"

static const char *dtype = "bf16";
static long threads = 0;
static bool as_json;

static const struct cli_option options[] = {
    {"dtype", 0, CLI_STRING, &dtype, "TYPE", "bf16 or fp32: types of autoquant-score's mode", 0, 0},
    {"json", 0, CLI_FLAG, &as_json, NULL, "print JSON (docs/files.md)", 0, 0},
    {"threads", 'j', CLI_INT, &threads, "N", "threads; 0: all processors", 0, 256},
    {NULL, 0, CLI_FLAG, NULL, NULL, NULL, 0, 0},
};

static const struct tool tool = {
    .name = "device-speed",
    .summary = "what a backend computes on, and how fast it copies and multiplies",
    .usage = "[options] BACKEND",
    .details = "BACKEND is auto, cpu or cuda. A copy counts bytes read and written. A load takes weights from host\n"
               "memory to the backend's type, to a GPU through pinned memory. GEMM is a layer forward and back, of\n"
               "up to 8,192 x 2,560 x 9,728. Takes about a second.",
    .example = "device-speed cpu",
    .operands = "backend",
    .min_operands = 1,
    .max_operands = 1,
    .options = options,
};

/* CUDA's 13000 is 13.0, a compute capability's 90 is 9.0. */
static json_t *version(int number, int unit, int step)
{
    return json_sprintf("%d.%d", number / unit, number % unit / step);
}

static json_t *document(const struct be_ops *ops, const struct be_device *d, const struct ceiling *c)
{
    json_t *device = json_object(), *doc = json_object();
    json_set(device, "name", json_string(d->name));
    if (d->threads)
        json_set(device, "threads", json_integer(d->threads));
    json_set(device, "memory_bytes", json_integer((json_int_t)d->memory));
    json_set(device, "free_bytes", json_integer((json_int_t)d->free_memory));
    if (d->capability) {
        json_set(device, "compute_capability", version(d->capability, 10, 1));
        json_set(device, "driver_cuda", version(d->driver_cuda, 1000, 10));
        json_set(device, "runtime_cuda", version(d->runtime_cuda, 1000, 10));
    }
    json_set(doc, "format", json_string("qsens-device"));
    json_set(doc, "version", json_integer(1));
    json_set(doc, "backend", json_string(ops->name));
    json_set(doc, "device", device);
    json_set(doc, "dtype", json_string(dtype));
    json_set(doc, "copy_bytes_per_second", json_real(c->copy_bytes));
    json_set(doc, "load_bytes_per_second", json_real(c->load_bytes));
    json_set(doc, "gemm_flops", json_real(c->gemm_flops));
    return doc;
}

static void print_text(FILE *f, const struct be_ops *ops, const struct be_device *d, const struct ceiling *c)
{
    fprintf(f, "%-12s %s\n%-12s %s", "backend", ops->name, "device", d->name);
    if (d->threads)
        fprintf(f, ", %d thread%s", d->threads, d->threads == 1 ? "" : "s");
    fprintf(f, "\n%-12s %.1f GiB, %.1f GiB free\n", "memory", (double)d->memory / 0x1p30,
            (double)d->free_memory / 0x1p30);
    if (d->capability)
        fprintf(f, "%-12s %d.%d\n%-12s takes CUDA %d.%d; built with %d.%d\n", "capability", d->capability / 10,
                d->capability % 10, "driver", d->driver_cuda / 1000, d->driver_cuda % 1000 / 10, d->runtime_cuda / 1000,
                d->runtime_cuda % 1000 / 10);
    const bool tera = c->gemm_flops >= 1e12;
    fprintf(f, "%-12s %.4g GB/s read and written\n", "copy", c->copy_bytes * 1e-9);
    fprintf(f, "%-12s %.4g GB/s from host memory\n", "load", c->load_bytes * 1e-9);
    fprintf(f, "%-12s %.4g %cFLOP/s in %s\n", "GEMM", c->gemm_flops * (tera ? 1e-12 : 1e-9), tera ? 'T' : 'G', dtype);
}

static int run(const char *const *operand, int n, struct err *e)
{
    (void)n;
    struct be_device d;
    struct ceiling c;
    struct io_out out;
    if (strcmp(dtype, "bf16") && strcmp(dtype, "fp32"))
        return err_set(e, ERR_CONFIG, "--dtype is bf16 or fp32, not '%s'", dtype);
    const struct be_ops *ops = be_find(operand[0], e);
    if (!ops)
        return -1;
    parallel_init((int)threads);
    struct be *be = ops->open(NULL, e);
    if (!be)
        return -1;
    int rc = ops->describe(&d, e) || ceiling_measure(&c, ops, be, !strcmp(dtype, "bf16"), e) ? -1 : 0;
    ops->close(be);
    if (rc || io_out_open(&out, NULL, e))
        return -1;
    if (as_json) {
        json_t *doc = document(ops, &d, &c);
        json_print(out.f, doc, 2);
        fputc('\n', out.f);
        json_decref(doc);
    } else
        print_text(out.f, ops, &d, &c);
    return io_out_commit(&out, e);
}

int main(int argc, char **argv)
{
    return cli_main(&tool, run, argc, argv);
}
