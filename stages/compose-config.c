/* compose-config - configurations of runs from files, options and overrides, frozen for the other programs. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "config_compose.h"
#include "io.h"
#include "mem.h"

static struct config_request request = {.conf = "conf", .preset = "default"};
static struct config_cell single;
static struct cli_list set, cell_list;
static const char *output;
static bool print, help_keys;

static const struct cli_option options[] = {
    {"pair", 'p', CLI_STRING, &single.pair, "NAME|FILE",
     "weight and activation quantizers: conf/quant_pair/NAME.yaml,\n"
     "or a pair file of your own",
     0, 0},
    {"model", 'm', CLI_STRING, &request.model, "MODEL",
     "conf/model/MODEL.yaml, a directory with config.json, or a\n"
     "Hugging Face id (org/name) found in the local cache",
     0, 0},
    {"dataset", 'd', CLI_STRING, &request.dataset, "NAME|FILE",
     "conf/dataset/NAME.yaml, or a captions file, one per line", 0, 0},
    {"granularity", 'g', CLI_STRING, &single.granularity, "NAME|FILE",
     "which scales replace those of the pair:\n"
     "conf/quant_granularity/NAME.yaml, or an overlay file of your own",
     0, 0},
    {"calib-n", 'n', CLI_STRING, &single.calib_n, "N", "calibrate on the first N captions", 0, 0},
    {"set", 's', CLI_LIST, &set, "KEY=VALUE ...",
     "override values, such as 'autoquant.dtype=fp32', or choose\n"
     "a file of a group, such as 'autoquant=mine'; repeatable, later wins",
     0, 0},
    {"preset", 0, CLI_STRING, &request.preset, "NAME|FILE", "what is not chosen above: conf/preset/NAME.yaml", 0, 0},
    {"conf", 0, CLI_STRING, &request.conf, "DIR", "where the configuration files are", 0, 0},
    {"output", 'o', CLI_STRING, &output, "DIR", "write composed-config.yaml, pair.yaml and args/STAGE here", 0, 0},
    {"cell", 0, CLI_LIST, &cell_list, "PAIR,GRANULARITY,N=DIR",
     "the same for one cell of a sweep; repeatable, all cells in one go,\n"
     "and none is written if one is refused",
     0, 0},
    {"print", 0, CLI_FLAG, &print, NULL, "print the composed configuration", 0, 0},
    {"help-keys", 0, CLI_FLAG, &help_keys, NULL, "print every key with its type, range, default and readers", 0, 0},
    {NULL, 0, CLI_FLAG, NULL, NULL, NULL, 0, 0},
};

static const struct tool tool = {
    .name = "compose-config",
    .summary = "compose configurations of runs from files, options and overrides",
    .usage = "[options] -o DIR | --cell PAIR,GRANULARITY,N=DIR ... | --print | --help-keys",
    .details =
        "Files whose bytes would not change are not touched. args/STAGE holds the arguments of that stage, one a\n"
        "line, and only what it reads: `STAGE @DIR/args/STAGE` runs it. In --set, quotes go around a value:\n"
        "dataset.captions='my captions.txt'; null stands for no value, ${group.key} for the value of that key\n"
        "(also in files), $${ for a plain ${.",
    .example = "compose-config --pair fp8_fp8 --calib-n 16 --set 'autoquant.dtype=fp32' --print",
    .operands = "operands",
    .options = options,
};

/* ---- one run directory ---- */

/* A file of the run directory, built in memory first: io_update compares it with the old one. */
struct document {
    char *path, *text;
    size_t n;
    FILE *f;
};

static void document_open(struct document *d, const char *dir, const char *name)
{
    *d = (struct document){.path = io_join(dir, name)};
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

static int write_run(const struct config *c, const char *dir, struct err *e)
{
    struct document d;
    document_open(&d, dir, "composed-config.yaml");
    config_print(c, d.f);
    if (document_close(&d, e))
        return -1;
    document_open(&d, dir, "pair.yaml");
    pair_print(&c->pair, d.f, 0);
    if (document_close(&d, e))
        return -1;
    for (const char *const *stage = config_stages; *stage; stage++) {
        char *name = io_join("args", *stage);
        document_open(&d, dir, name);
        config_print_args(c, *stage, d.f);
        free(name);
        if (document_close(&d, e))
            return -1;
    }
    return 0;
}

/* ---- cells ---- */

struct cell {
    char *spec; /* "PAIR,GRANULARITY,N", cut into the three parts of `names` */
    struct config_cell names;
    const char *text, *dir;
    struct config config;
};

/* PAIR,GRANULARITY,N=DIR: the first '=' with two commas and digits before it, so that a pair's path and the directory
 * may hold either character. */
static int read_cell(struct cell *c, const char *text, struct err *e)
{
    c->text = text;
    for (const char *eq = strchr(text, '='); eq; eq = strchr(eq + 1, '=')) {
        free(c->spec);
        c->spec = xstrndup(text, (size_t)(eq - text));
        char *n = strrchr(c->spec, ',');
        if (!n || !n[1] || n[1 + strspn(n + 1, "0123456789")])
            continue;
        *n = 0;
        char *granularity = strrchr(c->spec, ',');
        if (!granularity || !granularity[1] || granularity == c->spec || !eq[1])
            break;
        *granularity = 0;
        c->names = (struct config_cell){c->spec, granularity + 1, n + 1};
        c->dir = eq + 1;
        return 0;
    }
    return err_set(e, ERR_CONFIG, "--cell wants PAIR,GRANULARITY,N=DIR, not '%s'", text);
}

static int by_dir(const void *a, const void *b)
{
    return strcmp((*(const struct cell *const *)a)->dir, (*(const struct cell *const *)b)->dir);
}

static int check_dirs(struct cell *cell, size_t n, struct err *e)
{
    struct cell **sorted = xmalloc(n, sizeof *sorted);
    for (size_t i = 0; i < n; i++)
        sorted[i] = &cell[i];
    qsort(sorted, n, sizeof *sorted, by_dir);
    int rc = 0;
    for (size_t i = 1; !rc && i < n; i++)
        if (!strcmp(sorted[i - 1]->dir, sorted[i]->dir))
            rc = err_set(e, ERR_CONFIG, "two cells go to '%s'", sorted[i]->dir);
    free(sorted);
    return rc;
}

static int write_cells(struct config_composer *k, struct err *e)
{
    const size_t n = cell_list.n;
    struct cell *cell = xcalloc(n, sizeof *cell);
    int rc = 0;
    for (size_t i = 0; !rc && i < n; i++)
        rc = read_cell(&cell[i], cell_list.item[i], e);
    if (!rc)
        rc = check_dirs(cell, n, e);
    for (size_t i = 0; !rc && i < n; i++)
        if (config_compose(k, &cell[i].names, &cell[i].config, e))
            rc = err_wrap(e, "cell %s,%s,%s", cell[i].names.pair, cell[i].names.granularity, cell[i].names.calib_n);
    for (size_t i = 0; !rc && i < n; i++)
        rc = write_run(&cell[i].config, cell[i].dir, e);
    for (size_t i = 0; i < n; i++) {
        config_free(&cell[i].config);
        free(cell[i].spec);
    }
    free(cell);
    return rc;
}

static int write_single(struct config_composer *k, FILE *out, struct err *e)
{
    struct config c;
    int rc = config_compose(k, &single, &c, e);
    if (!rc && print)
        config_print(&c, out);
    if (!rc && output)
        rc = write_run(&c, output, e);
    config_free(&c);
    return rc;
}

static int compose(FILE *out, struct err *e)
{
    request.set = set.item;
    request.n_set = set.n;
    struct config_composer *k = config_composer_new(&request, e);
    if (!k)
        return -1;
    const int rc = cell_list.n ? write_cells(k, e) : write_single(k, out, e);
    config_composer_free(k);
    return rc;
}

static int run(const char *const *operand, int n, struct err *e)
{
    (void)operand;
    (void)n;
    if (!output && !cell_list.n && !print && !help_keys)
        return err_set(e, ERR_CONFIG,
                       "nothing to do: give -o DIR, --cell PAIR,GRANULARITY,N=DIR, --print or --help-keys");
    if (cell_list.n && (output || print || single.pair || single.granularity || single.calib_n))
        return err_set(e, ERR_CONFIG, "--cell names pair, granularity, captions and directory of each cell: leave out "
                                      "--pair, --granularity, --calib-n, --output and --print");
    if (output && !*output)
        return err_set(e, ERR_CONFIG, "option --output wants a directory, not an empty name");
    struct io_out out;
    if (io_out_open(&out, NULL, e))
        return -1;
    if (help_keys)
        config_print_schema(out.f);
    if ((output || print || cell_list.n) && compose(out.f, e)) {
        io_out_abort(&out);
        return -1;
    }
    return io_out_commit(&out, e);
}

int main(int argc, char **argv)
{
    return cli_main(&tool, run, argc, argv);
}
