/* compose-config - one run's configuration from files, options and overrides, frozen for the other programs. */
#include <stdlib.h>

#include "cli.h"
#include "config_compose.h"
#include "io.h"
#include "mem.h"

static struct config_request request = {.conf = "conf", .preset = "default"};
static struct cli_list set;
static const char *output;
static bool print, help_keys;

static const struct cli_option options[] = {
    {"pair", 'p', CLI_STRING, &request.pair, "NAME|FILE",
     "weight and activation quantizers: conf/quant_pair/NAME.yaml,\n"
     "or a pair file of your own",
     0, 0},
    {"model", 'm', CLI_STRING, &request.model, "MODEL",
     "conf/model/MODEL.yaml, a directory with config.json, or a\n"
     "Hugging Face id (org/name) found in the local cache",
     0, 0},
    {"dataset", 'd', CLI_STRING, &request.dataset, "NAME|FILE",
     "conf/dataset/NAME.yaml, or a captions file, one per line", 0, 0},
    {"granularity", 'g', CLI_STRING, &request.granularity, "NAME", "conf/quant_granularity/NAME.yaml", 0, 0},
    {"calib-n", 'n', CLI_STRING, &request.calib_n, "N", "calibrate on the first N captions", 0, 0},
    {"set", 's', CLI_LIST, &set, "KEY=VALUE ...",
     "override values, such as 'autoquant.dtype=fp32';\nrepeatable, later wins", 0, 0},
    {"preset", 0, CLI_STRING, &request.preset, "NAME", "what is not chosen above: conf/preset/NAME.yaml", 0, 0},
    {"conf", 0, CLI_STRING, &request.conf, "DIR", "where the configuration files are", 0, 0},
    {"output", 'o', CLI_STRING, &output, "DIR", "write composed-config.yaml, pair.yaml and args/STAGE here", 0, 0},
    {"print", 0, CLI_FLAG, &print, NULL, "print the composed configuration", 0, 0},
    {"help-keys", 0, CLI_FLAG, &help_keys, NULL, "print every key with its type, range, default and readers", 0, 0},
    {NULL, 0, CLI_FLAG, NULL, NULL, NULL, 0, 0},
};

static const struct tool tool = {
    .name = "compose-config",
    .summary = "compose one run's configuration from files, options and overrides",
    .usage = "[options] -o DIR | --print | --help-keys",
    .details =
        "Files whose bytes would not change are not touched. args/STAGE holds the arguments of that stage, one a\n"
        "line, and only what it reads: `STAGE @DIR/args/STAGE` runs it. In --set, quotes go around a value:\n"
        "dataset.captions='my captions.txt'; null stands for no value.",
    .example = "compose-config --pair fp8_fp8 --calib-n 16 --set 'autoquant.dtype=fp32' --print",
    .operands = "operands",
    .options = options,
};

/* A file of the run directory, built in memory first: io_update compares it with the old one. */
struct document {
    char *path, *text;
    size_t n;
    FILE *f;
};

static void document_open(struct document *d, const char *name)
{
    *d = (struct document){.path = io_join(output, name)};
    d->f = open_memstream(&d->text, &d->n);
    if (!d->f)
        BUG("no memory stream");
}

static int document_close(struct document *d, struct err *e)
{
    int rc = 0;
    if (fclose(d->f))
        rc = err_set(e, ERR_LIMIT, "out of memory for '%s'", d->path);
    else
        rc = io_update(d->path, d->text, d->n, e);
    free(d->text);
    free(d->path);
    return rc;
}

static int write_run(const struct config *c, struct err *e)
{
    struct document d;
    document_open(&d, "composed-config.yaml");
    config_print(c, d.f);
    if (document_close(&d, e))
        return -1;
    document_open(&d, "pair.yaml");
    pair_print(&c->pair, d.f, 0);
    if (document_close(&d, e))
        return -1;
    for (const char *const *stage = config_stages; *stage; stage++) {
        char *name = io_join("args", *stage);
        document_open(&d, name);
        config_print_args(c, *stage, d.f);
        free(name);
        if (document_close(&d, e))
            return -1;
    }
    return 0;
}

static int run(const char *const *operand, int n, struct err *e)
{
    (void)operand;
    (void)n;
    if (!output && !print && !help_keys)
        return err_set(e, ERR_CONFIG, "nothing to do: give -o DIR, --print or --help-keys");
    if (output && !*output)
        return err_set(e, ERR_CONFIG, "option --output wants a directory, not an empty name");
    struct io_out out;
    if (io_out_open(&out, NULL, e))
        return -1;
    if (help_keys)
        config_print_schema(out.f);
    struct config c = {0};
    int rc = 0;
    if (output || print) {
        request.set = set.item;
        request.n_set = set.n;
        rc = config_compose(&c, &request, e);
    }
    if (!rc && print)
        config_print(&c, out.f);
    if (!rc && output)
        rc = write_run(&c, e);
    config_free(&c);
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
