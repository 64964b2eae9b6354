/* report-json - a manifest to the JSON report: one entry per group of layers, most sensitive first. */
#include "cli.h"
#include "io.h"
#include "report.h"

static const char *out_path;

static const struct cli_option options[] = {
    {"output", 'o', CLI_STRING, &out_path, "FILE", "report to write (standard output if not given)", 0, 0},
    {NULL, 0, CLI_FLAG, NULL, NULL, NULL, 0, 0},
};

static const struct tool tool = {
    .name = "report-json",
    .summary = "a manifest to per-layer-sensitivity.json",
    .usage = "[options] MANIFEST",
    .details = "Takes the manifests of this project and those of the reference stack, whose report it reproduces byte "
               "for byte\n"
               "(the file ends without a newline there).",
    .example = "report-json tests/fixtures/manifest/fp4_fp8.json",
    .operands = "manifest",
    .min_operands = 1,
    .max_operands = 1,
    .options = options,
};

static int run(const char *const *operand, int n, struct err *e)
{
    (void)n;
    struct manifest m;
    struct io_out out;
    if (manifest_load(&m, operand[0], e))
        return -1;
    int rc = io_out_open(&out, out_path, e);
    if (!rc) {
        json_t *report = report_json(&m);
        json_print(out.f, report, 2);
        json_decref(report);
        rc = io_out_commit(&out, e);
    }
    manifest_free(&m);
    return rc;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, run, argc, argv);
}
