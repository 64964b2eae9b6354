/* import-manifest - a manifest of the reference stack, or one of ours from elsewhere, as a finished run. */
#include <stdlib.h>

#include "cli.h"
#include "io.h"
#include "manifest_import.h"

static struct manifest_import o = {.root = "tmp/run"};

static const struct cli_option options[] = {
    {"output", 'o', CLI_STRING, &o.dir, "DIR", "directory of the run (if not given: below --root)", 0, 0},
    {"root", 'r', CLI_STRING, &o.root, "DIR",
     "write to DIR/MODEL/DATASET-nN-imported/PAIR/GRANULARITY, as far as the\nmanifest names them", 0, 0},
    {"pair", 'p', CLI_STRING, &o.pair, "PAIR", "the pair, where scheme and format do not tell it", 0, 0},
    {NULL, 0, CLI_FLAG, NULL, NULL, NULL, 0, 0},
};

static const struct tool tool = {
    .name = "import-manifest",
    .summary = "a quant_manifest.json from elsewhere to a finished run",
    .usage = "[options] MANIFEST",
    .details =
        "Reads what the reference stack writes, in the layout of today or the older one, and our own manifests; one\n"
        "that contradicts itself is refused. It is copied byte for byte as SCHEME_quant_manifest.json; import.json\n"
        "beside it says where it came from (path, sha256). Prints the directory.",
    .example = "import-manifest -o tmp/imported tests/fixtures/manifest/fp4_fp8.json",
    .operands = "manifest",
    .min_operands = 1,
    .max_operands = 1,
    .options = options,
};

static int run(const char *const *operand, int n, struct err *e)
{
    (void)n;
    char *dir;
    struct io_out out;
    o.from = operand[0];
    if (manifest_import(&o, &dir, e))
        return -1;
    int rc = io_out_open(&out, NULL, e);
    if (!rc) {
        fprintf(out.f, "%s\n", dir);
        rc = io_out_commit(&out, e);
    }
    free(dir);
    return rc;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, run, argc, argv);
}
