/* publish-run - finished runs into the tree that is committed, and its index. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "io.h"
#include "mem.h"
#include "publish.h"

static struct publish o = {.root = "models"};

static const struct cli_option options[] = {
    {"root", 'r', CLI_STRING, &o.root, "DIR", "the tree: DIR/MODEL/layer-analysis/...", 0, 0},
    {"model", 'm', CLI_STRING, &o.model, "NAME",
     "MODEL in the tree (as in the configuration, else the last part of the\nmodel's path)", 0, 0},
    {NULL, 0, CLI_FLAG, NULL, NULL, NULL, 0, 0},
};

static const struct tool tool = {
    .name = "publish-run",
    .summary = "finished runs into models/MODEL/layer-analysis, index included",
    .usage = "[options] RUN...",
    .details =
        "RUN is the directory of a run: its manifest, with scores.json or import.json beside it. Manifest, reports "
        "and\n"
        "configuration go to weight-W-act-A/GRANULARITY/MODEL_autoquant_PAIR_lm_SIZE/, without absolute paths and "
        "host\n"
        "names; README.md, sensitivity-index.md and .json are made anew. Files that would not change are not touched.\n"
        "A run whose manifest was not made of its scores is refused. Prints the directories written.",
    .example = "publish-run --root tmp/published tmp/imported",
    .operands = "directory of a run",
    .min_operands = 1,
    .max_operands = 10000,
    .options = options,
};

static int seen(char *const *list, size_t n, const char *s)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(list[i], s))
            return 1;
    return 0;
}

static int run(const char *const *operand, int n, struct err *e)
{
    char **analysis = xcalloc((size_t)n, sizeof *analysis);
    size_t n_analyses = 0;
    int rc = 0;
    struct io_out out;
    if (io_out_open(&out, NULL, e)) {
        free(analysis);
        return -1;
    }
    for (int i = 0; !rc && i < n; i++) {
        char *base, *written;
        o.run = operand[i];
        rc = publish_run(&o, &base, &written, e);
        if (rc)
            break;
        fprintf(out.f, "%s\n", written);
        free(written);
        if (seen(analysis, n_analyses, base))
            free(base);
        else
            analysis[n_analyses++] = base;
    }
    struct err index_error;
    for (size_t i = 0; i < n_analyses; i++) { /* also of what was written before a failure */
        if (publish_index(analysis[i], rc ? &index_error : e))
            rc = -1;
        free(analysis[i]);
    }
    free(analysis);
    if (rc) {
        io_out_abort(&out);
        return -1;
    }
    return io_out_commit(&out, e);
}

int main(int argc, char **argv)
{
    return cli_main(&tool, run, argc, argv);
}
