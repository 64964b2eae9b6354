/* The README and the index of a layer-analysis directory. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "manifest_import.h"
#include "mem.h"
#include "publish.h"
#include "report_index.h"
#include "report_index_set.h"
#include "report_text.h"
#include "yml.h"

/* ---- what is published ---- */

/* Names of the subdirectories of dir that start with prefix, sorted; the caller frees them. */
static char **subdirectories(const char *dir, const char *prefix, size_t *n, struct err *e)
{
    DIR *d = opendir(dir);
    char **name = NULL;
    size_t cap = 0;
    *n = 0;
    if (!d) {
        err_set(e, ERR_IO, "cannot open directory '%s': %s", dir, strerror(errno));
        return NULL;
    }
    for (struct dirent *entry; (entry = readdir(d));)
        if (entry->d_name[0] != '.' && !strncmp(entry->d_name, prefix, strlen(prefix))) {
            name = xgrow(name, &cap, *n + 1, sizeof *name);
            name[(*n)++] = xstrdup(entry->d_name);
        }
    closedir(d);
    qsort(name, *n, sizeof *name, by_string);
    return xgrow(name, &cap, *n + 1, sizeof *name);
}

/* Add the runs `depth` levels below dir: weight-W-act-A, granularity, run. */
static int add_runs(struct report_index *x, const char *base, const char *dir, int depth, struct err *e)
{
    size_t n;
    int rc = 0;
    char **name = subdirectories(dir, depth == 3 ? "weight-" : "", &n, e);
    if (!name)
        return -1;
    for (size_t i = 0; i < n; i++) {
        char *path = io_join(dir, name[i]), *manifest = NULL;
        DIR *d = opendir(path);
        struct err none;
        if (!rc && d && depth > 1)
            rc = add_runs(x, base, path, depth - 1, e);
        else if (!rc && d && !manifest_find(path, &manifest, &none))
            rc = report_index_add(x, path, base, e);
        if (d)
            closedir(d);
        free(manifest);
        free(path);
        free(name[i]);
    }
    free(name);
    return rc;
}

/* ---- how a run was made ---- */

/* One word of the shell. */
static void put_word(FILE *f, const char *s)
{
    if (*s && !s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/+")]) {
        fputs(s, f);
        return;
    }
    fputc('\'', f);
    for (; *s; s++)
        if (*s == '\'')
            fputs("'\\''", f);
        else
            fputc((unsigned char)*s < 0x20 ? ' ' : *s, f);
    fputc('\'', f);
}

static const char *value(const struct yml_node *root, const char *group, const char *key)
{
    const struct yml_node *g = yml_find(root, group), *n = g ? yml_find(g, key) : NULL;
    const char *s = NULL;
    return n && yml_string(n, &s) ? s : NULL;
}

/* What stands for a file of the configuration: its name there, where the file is that of the repository; else the file,
 * as far as it can be known. */
static const char *named(const char *name, const char *path, const char *in_repository)
{
    return !path || !strcmp(path, in_repository) || (name && !strchr(path, '/')) ? name : path;
}

static void put_variable(FILE *f, const char *name, const char *text)
{
    if (!text)
        return;
    fprintf(f, " %s=", name);
    put_word(f, text);
}

/* Settings that differ from the defaults and are known from the manifest. */
static void put_settings(FILE *f, const struct index_cell *c)
{
    const json_t *a = json_object_get(c->m.qsens, "arithmetic"), *r = json_object_get(c->m.qsens, "recipe");
    const json_int_t block = json_integer_value(json_object_get(a, "block_batches"));
    const double bits = json_number_value(json_object_get(r, "asked_bits"));
    char set[256];
    int n = 0;
    set[0] = 0;
    if (c->name.dtype && strcmp(c->name.dtype, "bf16"))
        n += snprintf(set + n, sizeof set - (size_t)n, " autoquant.dtype=%.20s", c->name.dtype);
    if (c->name.padding && strcmp(c->name.padding, "reference"))
        n += snprintf(set + n, sizeof set - (size_t)n, " autoquant.padding=%.20s", c->name.padding);
    if (bits > 0 && bits != 8)
        n += snprintf(set + n, sizeof set - (size_t)n, " autoquant.effective_bits=%g", bits);
    if (c->m.score_size != 128)
        n += snprintf(set + n, sizeof set - (size_t)n, " autoquant.score_size=%lld", (long long)c->m.score_size);
    if (block > 0 && block != 8)
        n += snprintf(set + n, sizeof set - (size_t)n, " autoquant.block=%lld", (long long)block);
    if (n)
        put_variable(f, "SET", set + 1);
}

/* "make publish PAIR=..", or where the manifest was imported from. */
static int put_origin(FILE *f, const struct index_cell *c, struct err *e)
{
    struct manifest_origin origin;
    struct yml_node root = {0};
    if (manifest_origin_load(&origin, c->source, e))
        return -1;
    if (origin.pair) {
        fputs("make import FROM=", f);
        put_word(f, origin.path);
        fprintf(f, "   # sha256 %.16s\n", origin.sha256);
        manifest_origin_free(&origin);
        return 0;
    }
    char *path = io_join(c->source, "composed-config.yaml"), *model = NULL, *data = NULL;
    int rc = access(path, F_OK) ? 0 : yml_load(&root, path, e);
    if (!rc) {
        const char *name = value(&root, "model", "name"), *data_name = value(&root, "dataset", "name");
        model = xasprintf("models/%s", name ? name : "");
        data = xasprintf("conf/dataset/%s.txt", data_name ? data_name : "");
        fprintf(f, "make publish PAIR=%s", c->name.pair);
        if (c->name.sequences > 0)
            fprintf(f, " CALIB_N=%lld", (long long)c->name.sequences);
        put_variable(f, "MODEL", named(name ? name : c->name.model, value(&root, "model", "path"), model));
        put_variable(f, "DATASET", named(data_name ? data_name : c->name.dataset,
                                         value(&root, "dataset", "captions"), data));
        if (strcmp(c->name.granularity, "default"))
            put_variable(f, "GRANULARITY", c->name.granularity);
        put_settings(f, c);
        fputc('\n', f);
    }
    free(model);
    free(data);
    free(path);
    yml_free(&root);
    return rc;
}

/* ---- README ---- */

static void put_row(FILE *f, const struct index_cell *c)
{
    char n[MD_COUNT], share[MD_SHARE];
    const char *size = strrchr(c->directory, '/');
    fputs("|[", f);
    md_cell(f, size ? size + 1 : c->directory);
    fputs("](<", f);
    md_cell(f, c->directory);
    fputs("/per-layer-sensitivity.md>)|", f);
    md_cell(f, c->name.granularity);
    fprintf(f, "|%s|%.4e|%.4f|%.4e|", c->name.sequences > 0 ? md_count((uint64_t)c->name.sequences, n) : "",
            c->view.total, c->m.effective_bits, c->m.score);
    if (c->view.n) {
        md_cell(f, c->view.group[0].label);
        fprintf(f, " (%s)", md_share(c->view.group[0].share, share));
    }
    fputs("|\n", f);
}

static const char files_section[] =
    "\n## Files\n\n"
    "A run's directory is `weight-W-act-A/GRANULARITY/MODEL_autoquant_PAIR_lm_SIZE/`; SIZE is small, medium or large "
    "for 16, 128 or 512 captions, else `nN`.\n\n"
    "|File|What it is|\n| :--- | :--- |\n"
    "|`per-layer-sensitivity.md`|the report to read: summary, extremes, every group with score, share and recipe|\n"
    "|`per-layer-sensitivity.json`|the same for programs (`conf/schema/report.schema.json`)|\n"
    "|`SCHEME_quant_manifest.json`|all results in the layout of the reference stack; ours under `qsens`: members, "
    "inputs' hashes, recipe (`conf/schema/manifest.schema.json`)|\n"
    "|`composed-config.yaml`|every setting of the run|\n"
    "|`import.json`|only for imported runs: where the manifest came from|\n"
    "|`sensitivity-index.md`, `.json`|here: all runs in one table, pairs side by side|\n\n"
    "Paths are relative to the repository; absolute ones are reduced to their last part. Per-sequence records are not "
    "published.\n";

static int put_readme(FILE *f, const struct report_index *x, struct err *e)
{
    fprintf(
        f,
        "# Layer sensitivity of %s\n\nHow much each layer of the language model suffers from quantization: the score "
        "of a group of layers is the sum of (dL/dY * (Yq - Y))^2 over its outputs, as in ModelOpt's AutoQuant gradient "
        "method. Written by `make publish`; do not edit.\n\n## Runs\n\n"
        "|Run|Granularity|Captions|Score|Effective bits|Recipe score|Most sensitive group|\n"
        "| :--- | :--- | ---: | ---: | ---: | ---: | :--- |\n",
        x->cell[0]->name.model);
    for (size_t i = 0; i < x->n; i++)
        put_row(f, x->cell[i]);
    fputs(
        "\nScore: of all groups in the pair. Effective bits and recipe score: of the best recipe of the pair and NONE "
        "within its budget. [Pairs side by side](sensitivity-index.md).\n",
        f);
    fputs(files_section, f);
    fputs(
        "\n## How they were made\n\nEach line makes one run again from the repository's top (score, manifest, reports) "
        "and publishes it here; runs of the same model and captions share their passes in `make sweep`.\n\n```sh\n",
        f);
    for (size_t i = 0; i < x->n; i++)
        if (put_origin(f, x->cell[i], e))
            return -1;
    fputs("```\n", f);
    return 0;
}

static int write_text(const char *dir, const char *name, const char *text, size_t n, struct err *e)
{
    char *path = io_join(dir, name);
    const int rc = io_update(path, text, n, e);
    free(path);
    return rc;
}

static FILE *memory(char **text, size_t *n)
{
    FILE *f = open_memstream(text, n);
    if (!f)
        BUG("no memory stream");
    return f;
}

static int write_all(const struct report_index *x, const char *analysis, struct err *e)
{
    char *text = NULL;
    size_t n;
    FILE *f = memory(&text, &n);
    int rc = put_readme(f, x, e);
    fclose(f);
    if (!rc)
        rc = write_text(analysis, "README.md", text, n, e);
    free(text);
    if (rc)
        return -1;
    f = memory(&text, &n);
    report_index_md(f, x);
    fclose(f);
    rc = write_text(analysis, "sensitivity-index.md", text, n, e);
    free(text);
    if (rc)
        return -1;
    json_t *doc = report_index_json(x);
    f = memory(&text, &n);
    json_print(f, doc, 1);
    fputc('\n', f);
    fclose(f);
    rc = write_text(analysis, "sensitivity-index.json", text, n, e);
    free(text);
    json_decref(doc);
    return rc;
}

int publish_index(const char *analysis, struct err *e)
{
    struct report_index *x = report_index_new();
    int rc = add_runs(x, analysis, analysis, 3, e);
    if (!rc)
        rc = report_index_finish(x, e);
    if (!rc && !x->n)
        rc = err_set(e, ERR_CONFIG, "'%s' holds no published run", analysis);
    if (!rc)
        rc = write_all(x, analysis, e);
    report_index_free(x);
    return rc;
}
