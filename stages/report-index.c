/* report-index - the manifests of many runs to one index: a row per run, and pairs side by side. */
#include <stdlib.h>

#include "cli.h"
#include "io.h"
#include "report_index.h"

static const char *md_path, *json_path;

static const struct cli_option options[] = {
    {"output", 'o', CLI_STRING, &md_path, "FILE", "Markdown index to write (standard output if not given)", 0, 0},
    {"json", 'j', CLI_STRING, &json_path, "FILE", "the index as JSON, too", 0, 0},
    {NULL, 0, CLI_FLAG, NULL, NULL, NULL, 0, 0},
};

static const struct tool tool = {
    .name = "report-index",
    .summary = "the manifests of many runs to one index, pairs side by side",
    .usage = "[options] RUN...",
    .details =
        "RUN is a directory with a manifest, or a manifest, ours or the reference's. Runs that differ in nothing but\n"
        "pair and granularity are compared: scores of every group, rank correlation, largest disagreements. The order\n"
        "of the arguments does not matter. Runs below the directory of the index get a link to their report.",
    .example = "report-index tests/fixtures/manifest/fp4_fp8.json",
    .operands = "directory or manifest",
    .min_operands = 1,
    .max_operands = 10000,
    .options = options,
};

static int write_json(const struct report_index *x, struct err *e)
{
    struct io_out out;
    if (io_out_open(&out, json_path, e))
        return -1;
    json_t *doc = report_index_json(x);
    json_print(out.f, doc, 1);
    fputc('\n', out.f);
    json_decref(doc);
    return io_out_commit(&out, e);
}

static int write_md(const struct report_index *x, struct err *e)
{
    struct io_out out;
    if (io_out_open(&out, md_path, e))
        return -1;
    report_index_md(out.f, x);
    return io_out_commit(&out, e);
}

static int run(const char *const *operand, int n, struct err *e)
{
    struct report_index *x = report_index_new();
    char *base = md_path ? io_dirname(md_path) : NULL;
    int rc = 0;
    for (int i = 0; !rc && i < n; i++)
        rc = report_index_add(x, operand[i], base, e);
    if (!rc)
        rc = report_index_finish(x, e);
    if (!rc && json_path)
        rc = write_json(x, e);
    if (!rc)
        rc = write_md(x, e);
    free(base);
    report_index_free(x);
    return rc;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, run, argc, argv);
}
