/* report-md - a manifest to the Markdown report. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "io.h"
#include "report.h"

static const char *out_path, *composed_path;

static const struct cli_option options[] = {
    {"composed", 'c', CLI_STRING, &composed_path, "FILE", "composed-config.yaml to embed", 0, 0},
    {"output", 'o', CLI_STRING, &out_path, "FILE", "report to write (standard output if not given)", 0, 0},
    {NULL, 0, CLI_FLAG, NULL, NULL, NULL, 0, 0},
};

static const struct tool tool = {
    .name = "report-md",
    .summary = "a manifest to per-layer-sensitivity.md",
    .usage = "[options] MANIFEST",
    .details = "Takes the manifests of this project and those of the reference stack, in the layout of today or the "
               "older one;\n"
               "sections for which a manifest has no data are left out.",
    .example = "report-md tests/fixtures/manifest/fp4_fp8.json",
    .operands = "manifest",
    .min_operands = 1,
    .max_operands = 1,
    .options = options,
};

static int run(const char *const *operand, int n, struct err *e)
{
    (void)n;
    char *composed = NULL;
    size_t size = 0;
    struct manifest m;
    struct io_out out;
    if (composed_path && io_read(composed_path, JSON_LIMIT_CONFIG, &composed, &size, e))
        return -1;
    int rc = 0;
    if (composed && strlen(composed) != size)
        rc = err_set(e, ERR_FORMAT, "'%s' holds a zero byte: it is not a configuration", composed_path);
    if (!rc)
        rc = manifest_load(&m, operand[0], e);
    if (!rc) {
        rc = io_out_open(&out, out_path, e);
        if (!rc) {
            report_md(out.f, &m, composed);
            rc = io_out_commit(&out, e);
        }
        manifest_free(&m);
    }
    free(composed);
    return rc;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, run, argc, argv);
}
