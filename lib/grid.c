#include "grid.h"

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"
#include "records.h"
#include "sha256.h"

enum { LIMIT = 64 << 20 }; /* of the files read here */

const char *cell_state_name(enum cell_state s)
{
    static const char *const name[CELL_STATES] = {
        [CELL_DONE] = "up-to-date", [CELL_REPORTS] = "reports", [CELL_STALE] = "stale",   [CELL_TO_RUN] = "to-run",
        [CELL_UNSURE] = "unsure",   [CELL_RUNNING] = "running", [CELL_FAILED] = "failed",
    };
    return name[s];
}

/* Is DIR/NAME missing or older than prerequisite? */
static bool older(const char *dir, const char *name, const char *prerequisite)
{
    char *path = io_join(dir, name);
    const bool yes = stale_older(path, prerequisite);
    free(path);
    return yes;
}

static bool older_in(const char *dir, const char *name, const char *prerequisite)
{
    char *path = io_join(dir, prerequisite);
    const bool yes = older(dir, name, path);
    free(path);
    return yes;
}

static bool missing(const char *dir, const char *name)
{
    char *path = io_join(dir, name);
    const bool yes = stale_missing(path);
    free(path);
    return yes;
}

/* The text of DIR/NAME in a new string; empty where there is none. */
static char *text_of(const char *dir, const char *name)
{
    char *path = io_join(dir, name), *text = NULL;
    size_t n;
    struct err unreadable;
    if (io_read(path, LIMIT, &text, &n, &unreadable))
        text = xstrndup("", 0);
    free(path);
    return text;
}

/* ---- models and captions */

/* Is the result older than the .id of the program that makes it? Then that is a reason. */
static bool older_than_program(struct reasons *why, const char *dir, const char *name, const char *build,
                               const char *program)
{
    char *id = xasprintf("%s/%s.id", build, program);
    const bool yes = !missing(dir, name) && older(dir, name, id);
    free(id);
    if (yes && why)
        reasons_add(why, "%s (program)", program);
    return yes;
}

static void read_input(struct grid_input *in, const char *name, const char *args, const char *id, const char *what,
                       const char *program, const char *build)
{
    if (missing(in->dir, name))
        reasons_add(&in->why, "%s is not there", name);
    else {
        if (older_in(in->dir, name, args))
            reasons_add(&in->why, "settings of %s", program);
        if (older_in(in->dir, name, id))
            reasons_add(&in->why, "%s", what);
        older_than_program(&in->why, in->dir, name, build, program);
    }
    in->make = in->why.n > 0;
}

/* ---- a cell */

/* DIR/PAIR/GRANULARITY -> w<..>_a<..>_autoquant_lm_quant_manifest.json */
static char *manifest_name(const char *dir)
{
    const char *granularity = strrchr(dir, '/'), *pair = granularity;
    while (pair > dir && pair[-1] != '/')
        pair--;
    char *name = xstrndup("w", 1);
    for (const char *p = pair; p < granularity; p++) {
        char *longer = *p == '_' ? xasprintf("%s_a", name) : xasprintf("%s%c", name, *p);
        free(name);
        name = longer;
    }
    char *whole = xasprintf("%s_autoquant_lm_quant_manifest.json", name);
    free(name);
    return whole;
}

/* scores.due with the hash of scores.json as it is: a make or a job that is at work wrote the list before it scored. */
static char *due_now(const char *dir)
{
    char *due = text_of(dir, "scores.due"), *scores = text_of(dir, "scores.json"), hash[65];
    char *result = strstr(due, "\nresult ");
    if (!result || !*scores) {
        free(scores);
        return due;
    }
    sha256_of(scores, strlen(scores), hash);
    char *now = xasprintf("%.*s\nresult %s  -\n", (int)(result - due), due, hash);
    free(due);
    free(scores);
    return now;
}

/* Blocks whose scores are in a journal. */
static int scored_blocks(const char *path)
{
    struct journal j = {.fd = -1};
    struct err unreadable;
    int n = 0;
    if (journal_read(&j, path, &unreadable))
        return 0;
    for (size_t i = 0; i < j.n; i++)
        n += j.frame[i].kind == RECORDS_SCORES;
    journal_close(&j);
    return n;
}

/* What a stopped run has left, as a reason. Whether it is of the same inputs, autoquant-score finds out. */
static void read_journals(struct grid_cell *c)
{
    static const char suffix[] = ".journal";
    int n = 0, blocks = 0;
    DIR *d = opendir(c->dir);
    for (struct dirent *f; d && (f = readdir(d));) {
        const size_t length = strlen(f->d_name);
        if (length < sizeof suffix || strcmp(f->d_name + length + 1 - sizeof suffix, suffix))
            continue;
        char *path = io_join(c->dir, f->d_name);
        blocks += scored_blocks(path);
        n++;
        free(path);
    }
    if (d)
        closedir(d);
    if (n)
        reasons_add(&c->why, "%d journal%s of a stopped run to go on from if %s: %d block%s scored", n,
                    n == 1 ? "" : "s", n == 1 ? "it fits" : "they fit", blocks, blocks == 1 ? "" : "s");
}

static void read_scores(struct grid_cell *c, const struct grid *g)
{
    char *due = due_now(c->dir), *key = text_of(c->dir, "scores.key");
    const bool scores = !missing(c->dir, "scores.json"), records = !missing(c->dir, "records.safetensors");
    c->state = CELL_DONE;
    if (!scores && !*key) {
        c->state = CELL_TO_RUN;
        reasons_add(&c->why, "never scored");
    } else if (!scores || !records) {
        c->state = CELL_STALE;
        reasons_add(&c->why, "%s is not there", scores ? "records.safetensors" : "scores.json");
    } else if (stale_inputs(&c->why, due, key))
        c->state = CELL_STALE;
    else if (g->model[c->model].make || g->data[c->data].make) {
        c->state = CELL_UNSURE;
        reasons_add(&c->why, "if %s others than they were",
                    !g->data[c->data].make     ? "the weights are"
                    : !g->model[c->model].make ? "the tokens are"
                                               : "weights or tokens are");
    }
    c->score = c->state == CELL_STALE || c->state == CELL_TO_RUN;
    if (c->score)
        read_journals(c);
    free(due);
    free(key);
}

/* Whether the manifest is to be made, and why where the scores are not the reason. */
static void read_manifest(struct grid_cell *c, const char *name, const char *model_dir, const char *build)
{
    char *lm = io_join(model_dir, "lm.id");
    struct reasons *why = &c->why;
    const size_t before = why->n;
    if (missing(c->dir, name))
        reasons_add(why, "manifest is not there");
    else {
        if (older_in(c->dir, name, "config/args/manifest")) {
            char *now = text_of(c->dir, "config/composed-config.yaml"), *was = text_of(c->dir, "composed-config.yaml");
            stale_settings(why, "manifest", now, was);
            if (why->n == before)
                reasons_add(why, "settings of manifest");
            free(now);
            free(was);
        }
        if (older_in(c->dir, name, "scores.json") || older_in(c->dir, name, "records.safetensors"))
            reasons_add(why, "scores are newer");
        if (older(c->dir, name, lm))
            reasons_add(why, "weights of the model");
        older_than_program(why, c->dir, name, build, "manifest");
    }
    c->manifest = why->n > before;
    free(lm);
}

static void read_reports(struct grid_cell *c, const char *manifest, const char *build)
{
    static const char md[] = "per-layer-sensitivity.md", json[] = "per-layer-sensitivity.json";
    struct reasons *why = &c->why;
    size_t before = why->n;
    if (missing(c->dir, json))
        reasons_add(why, "JSON report is not there");
    else if (older_in(c->dir, json, manifest))
        reasons_add(why, "JSON report is older than the manifest");
    older_than_program(why, c->dir, json, build, "report-json");
    c->report_json = why->n > before;
    before = why->n;
    if (missing(c->dir, md))
        reasons_add(why, "report is not there");
    else if (older_in(c->dir, md, manifest))
        reasons_add(why, "report is older than the manifest");
    else if (older_in(c->dir, "composed-config.yaml", "config/composed-config.yaml") ||
             older_in(c->dir, md, "composed-config.yaml"))
        reasons_add(why, "composed-config.yaml of the report");
    older_than_program(why, c->dir, md, build, "report-md");
    c->report_md = why->n > before;
}

static void read_cell(struct grid_cell *c, const struct grid *g, const char *build)
{
    read_scores(c, g);
    if (c->score) {
        c->manifest = c->report_json = c->report_md = true;
        return;
    }
    char *manifest = manifest_name(c->dir);
    read_manifest(c, manifest, g->model[c->model].dir, build);
    if (c->manifest)
        c->report_json = c->report_md = true;
    else
        read_reports(c, manifest, build);
    free(manifest);
    if (c->state == CELL_DONE && (c->manifest || c->report_json || c->report_md))
        c->state = CELL_REPORTS;
}

/* ---- the grid */

static int find_input(struct grid_input *in, int *n, char *dir)
{
    for (int i = *n - 1; i >= 0; i--)
        if (!strcmp(in[i].dir, dir)) {
            free(dir);
            return i;
        }
    in[*n].dir = dir;
    return (*n)++;
}

static int find_group(struct grid *g, int data, const char *granularity)
{
    for (int i = g->n_groups - 1; i >= 0; i--)
        if (g->group[i].data == data && !strcmp(g->group[i].granularity, granularity))
            return i;
    g->group[g->n_groups] = (struct grid_group){data, granularity};
    return g->n_groups++;
}

static int add_cell(struct grid *g, const char *dir, struct err *e)
{
    struct grid_cell *c = &g->cell[g->n_cells];
    int parts = 0;
    for (const char *p = dir; *p; p++)
        parts += *p == '/' && p > dir && p[1] && p[1] != '/';
    if (parts < 3)
        return err_set(e, ERR_CONFIG, "'%s' is no cell: RUN/MODEL/DATA/PAIR/GRANULARITY", dir);
    char *pair = io_dirname(dir), *data = io_dirname(pair), *model = io_dirname(data);
    free(pair);
    c->dir = dir;
    c->data = find_input(g->data, &g->n_data, data);
    c->model = find_input(g->model, &g->n_models, model);
    c->group = find_group(g, c->data, strrchr(dir, '/') + 1);
    g->n_cells++;
    return 0;
}

/* Is the file a list of these cells, one a line? */
static bool lists_cells(const struct grid *g, const char *path)
{
    char *text = NULL;
    size_t n;
    struct err unreadable;
    if (io_read(path, LIMIT, &text, &n, &unreadable))
        return false;
    const char *at = text;
    bool same = true;
    for (int i = 0; i < g->n_cells && same; i++) {
        const size_t length = strlen(g->cell[i].dir);
        same = !strncmp(at, g->cell[i].dir, length) && at[length] == '\n';
        at += same ? length + 1 : 0;
    }
    same = same && !*at;
    free(text);
    return same;
}

/* The index is of other cells, older than its list, a manifest or its program, or a manifest will be made. */
static bool index_is_old(const struct grid *g, const char *index, const char *build)
{
    static const char *const suffix[] = {".md", ".json"};
    char *args = xasprintf("%s.args", index), *program = xasprintf("%s/report-index.id", build);
    bool old = !lists_cells(g, args);
    for (size_t s = 0; s < 2; s++) {
        char *path = xasprintf("%s%s", index, suffix[s]);
        old = old || stale_older(path, args) || stale_older(path, program);
        for (int i = 0; i < g->n_cells && !old; i++) {
            char *name = manifest_name(g->cell[i].dir), *manifest = io_join(g->cell[i].dir, name);
            old = g->cell[i].manifest || stale_older(path, manifest);
            free(name);
            free(manifest);
        }
        free(path);
    }
    free(args);
    free(program);
    return old;
}

int grid_read(struct grid *g, const char *const *dirs, int n, const char *build, const char *index, struct err *e)
{
    const size_t size = (size_t)n;
    *g = (struct grid){.model = xcalloc(size, sizeof *g->model),
                       .data = xcalloc(size, sizeof *g->data),
                       .group = xcalloc(size, sizeof *g->group),
                       .cell = xcalloc(size, sizeof *g->cell)};
    for (int i = 0; i < n; i++)
        if (add_cell(g, dirs[i], e))
            return -1;
    for (int i = 0; i < g->n_models; i++)
        read_input(&g->model[i], "lm.json", "extract-lm.args", "files.id", "files of the model", "extract-lm", build);
    for (int i = 0; i < g->n_data; i++)
        read_input(&g->data[i], "calib.safetensors", "calib-pack.args", "text.id", "captions or tokenizer",
                   "calib-pack", build);
    for (int i = 0; i < n; i++)
        read_cell(&g->cell[i], g, build);
    g->index = index && index_is_old(g, index, build);
    return 0;
}

void grid_free(struct grid *g)
{
    for (int i = 0; i < g->n_models; i++) {
        free(g->model[i].dir);
        reasons_free(&g->model[i].why);
    }
    for (int i = 0; i < g->n_data; i++) {
        free(g->data[i].dir);
        reasons_free(&g->data[i].why);
    }
    for (int i = 0; i < g->n_cells; i++)
        reasons_free(&g->cell[i].why);
    free(g->model);
    free(g->data);
    free(g->group);
    free(g->cell);
    *g = (struct grid){0};
}

/* ---- logs */

/* Is it a process of this machine that works in this directory? */
static bool works_here(long pid)
{
    char path[64];
    struct stat theirs, ours;
    snprintf(path, sizeof path, "/proc/%ld/cwd", pid);
    return pid > 0 && !kill((pid_t)pid, 0) && !stat(path, &theirs) && !stat(".", &ours) &&
           theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

static void became(struct grid_cell *c, enum cell_state s, const char *text, size_t n)
{
    reasons_free(&c->why);
    c->state = s;
    reasons_add(&c->why, "%.*s", (int)n, text);
}

/* After the log's last start: its first error, or whether its process is at work. */
static void read_log(struct grid_cell *c, const char *log)
{
    static const char error[] = "error: ";
    char host[256], here[256] = "";
    const char *start = NULL, *first_error = NULL;
    long pid = 0;
    for (const char *line = log; *line;) {
        const size_t length = strcspn(line, "\n"), time = strcspn(line, " \n");
        const char *text = line + time + (time < length);
        if (sscanf(text, "start %ld %255s", &pid, host) == 2) {
            start = line;
            first_error = NULL;
        } else if (!first_error && !strncmp(text, error, sizeof error - 1))
            first_error = text + sizeof error - 1;
        line += length + (line[length] == '\n');
    }
    if (first_error) {
        became(c, CELL_FAILED, first_error, strcspn(first_error, "\n"));
        return;
    }
    if (!start || gethostname(here, sizeof here - 1))
        return;
    if (strcmp(host, here)) {
        char *since =
            xasprintf("since %.*s, process %ld of %s (not asked)", (int)strcspn(start, " "), start, pid, host);
        became(c, CELL_RUNNING, since, strlen(since));
        free(since);
    } else if (works_here(pid)) {
        char *since = xasprintf("since %.*s, process %ld", (int)strcspn(start, " "), start, pid);
        became(c, CELL_RUNNING, since, strlen(since));
        free(since);
    } else if (c->score)
        reasons_add(&c->why, "the last attempt ended without a word");
}

void grid_read_logs(struct grid *g)
{
    for (int i = 0; i < g->n_cells; i++) {
        struct grid_cell *c = &g->cell[i];
        if (c->state == CELL_DONE)
            continue;
        char *log = text_of(c->dir, "log");
        read_log(c, log);
        free(log);
    }
}
