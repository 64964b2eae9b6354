/* plan-run: the cells of a grid as they lie on disk -> what is to be done, why, and what it will cost. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "io.h"
#include "json.h"
#include "mem.h"
#include "plan.h"

static const char *build = "tmp/build/release", *index_path, *device_path;
static bool as_json, status, failed_only;
static long pass_blocks = 0, shards = 1;
static size_t gpu_memory;

static const struct cli_option options[] = {
    {"build", 0, CLI_STRING, &build, "DIR", "where the programs' .id files are", 0, 0},
    {"device", 0, CLI_STRING, &device_path, "FILE",
     "predict time and memory for the device that\n`device-speed --json` described in FILE", 0, 0},
    {"gpu-memory", 0, CLI_SIZE, &gpu_memory, "SIZE", "as autoquant-score has it", 0, 0},
    {"pass-blocks", 0, CLI_INT, &pass_blocks, "N", "as autoquant-score has it", 0, 1 << 30},
    {"shards", 0, CLI_INT, &shards, "N", "each process in N parts; costs are those of one process", 1, 1 << 20},
    {"index", 0, CLI_STRING, &index_path, "PATH", "the index of the grid, without .md and .json", 0, 0},
    {"status", 0, CLI_FLAG, &status, NULL, "also ask the cells' logs: what runs, what failed and why", 0, 0},
    {"failed", 0, CLI_FLAG, &failed_only, NULL, "only the cells that failed", 0, 0},
    {"json", 0, CLI_FLAG, &as_json, NULL, "print JSON (docs/files.md)", 0, 0},
    {NULL, 0, CLI_FLAG, NULL, NULL, NULL, 0, 0},
};

static const struct tool tool = {
    .name = "plan-run",
    .summary = "what make would do for the cells of a grid, why, and at what cost",
    .usage = "[options] RUN/MODEL/DATA/PAIR/GRANULARITY ...",
    .details =
        "Reads only. A cell is up to date, needs its manifest or reports, is stale (with what changed), was never\n"
        "scored, or is unsure: scored again if weights or tokens turn out to be others once the model is looked\n"
        "at or captions are packed. `make plan` and `make status` call it with the configuration frozen.",
    .example = "plan-run tmp/run/tiny_qwen3_vl/sample_captions-n16/fp8_fp8/default",
    .operands = "cell",
    .min_operands = 1,
    .max_operands = 1 << 20,
    .options = options,
};

struct totals {
    int count[CELL_STATES], processes, scored, unsure;
    bool guessed;
    double seconds;
    size_t device_bytes, host_bytes, disk_bytes;
};

struct view {
    struct grid grid;
    struct plan_device device;
    struct plan_group *group; /* NULL: not asked for */
    struct totals total;
};

static void add_up(struct view *v)
{
    struct totals *t = &v->total;
    for (int i = 0; i < v->grid.n_cells; i++)
        t->count[v->grid.cell[i].state]++;
    for (int i = 0; i < v->grid.n_groups && v->group; i++) {
        const struct plan_group *p = &v->group[i];
        const struct cost *c = &p->cost;
        t->processes += p->scored + p->unsure > 0 ? (int)shards : 0;
        t->scored += p->scored;
        t->unsure += p->unsure;
        t->guessed |= p->guessed;
        t->seconds += p->seconds;
        t->disk_bytes += p->disk_bytes;
        t->device_bytes = c->device_bytes > t->device_bytes ? c->device_bytes : t->device_bytes;
        t->host_bytes = c->host_bytes > t->host_bytes ? c->host_bytes : t->host_bytes;
    }
}

/* ---- text */

static void print_reasons(FILE *f, const struct reasons *r)
{
    for (size_t i = 0; i < r->n; i++)
        fprintf(f, "%s%s", i ? "; " : ": ", r->text[i]);
    fputc('\n', f);
}

/* "1.2 s", "12 min", "3.4 h" */
static void print_seconds(FILE *f, double s)
{
    if (s < 120)
        fprintf(f, "%.3g s", s);
    else
        fprintf(f, "%.3g %s", s / (s < 7200 ? 60 : 3600), s < 7200 ? "min" : "h");
}

static void print_bytes(FILE *f, const char *what, size_t n)
{
    const bool giga = n >= 1000000000;
    fprintf(f, "%s %.3g %cB", what, (double)n / (giga ? 1e9 : 1e6), giga ? 'G' : 'M');
}

static void print_costs(FILE *f, double seconds, size_t device, size_t host, size_t disk)
{
    print_seconds(f, seconds);
    if (device)
        print_bytes(f, ", GPU memory", device);
    print_bytes(f, ", memory", host);
    print_bytes(f, ", disk", disk);
}

static const char *state_text(const struct grid_cell *c)
{
    static const char *const text[CELL_STATES] = {
        [CELL_DONE] = "up to date", [CELL_STALE] = "stale",     [CELL_TO_RUN] = "to run",
        [CELL_UNSURE] = "unsure",   [CELL_RUNNING] = "running", [CELL_FAILED] = "failed",
    };
    return c->state != CELL_REPORTS ? text[c->state] : c->manifest ? "manifest and reports only" : "reports only";
}

static void print_group(FILE *f, const char *granularity, const struct plan_group *p)
{
    const struct cost *c = &p->cost;
    const int n = p->scored + p->unsure;
    char process[32] = "one process";
    if (!n)
        return;
    if (shards > 1)
        snprintf(process, sizeof process, "%ld parts", shards);
    fprintf(f, "  %s: %s%d cell%s in %s, one pass over %lld rows, %d replay%s, %.3g TFLOP: %s", granularity,
            p->unsure ? "at most " : "", n, n == 1 ? "" : "s", process, (long long)c->rows, c->replays,
            c->replays == 1 ? "" : "s", c->flops * 1e-12, p->guessed ? "about " : "");
    print_costs(f, p->seconds, c->device_bytes, c->host_bytes, p->disk_bytes);
    fputc('\n', f);
}

static int width(const struct view *v)
{
    size_t most = 0;
    for (int i = 0; i < v->grid.n_cells; i++) {
        const size_t n = strlen(v->grid.cell[i].dir) - strlen(v->grid.data[v->grid.cell[i].data].dir) - 1;
        most = n > most ? n : most;
    }
    return (int)most;
}

static void print_data(FILE *f, const struct view *v, int data, int columns)
{
    const struct grid *g = &v->grid;
    const size_t skip = strlen(g->data[data].dir) + 1;
    fprintf(f, "%s\n", g->data[data].dir);
    if (g->data[data].make) {
        fputs("  to pack", f);
        print_reasons(f, &g->data[data].why);
    }
    for (int i = 0; i < g->n_cells; i++)
        if (g->cell[i].data == data) {
            fprintf(f, "  %-*s  %s", columns, g->cell[i].dir + skip, state_text(&g->cell[i]));
            print_reasons(f, &g->cell[i].why);
        }
    for (int i = 0; i < g->n_groups && v->group; i++)
        if (g->group[i].data == data)
            print_group(f, g->group[i].granularity, &v->group[i]);
}

static void print_total(FILE *f, const struct view *v)
{
    const struct totals *t = &v->total;
    const char *comma = "";
    fprintf(f, "%d cell%s: ", v->grid.n_cells, v->grid.n_cells == 1 ? "" : "s");
    for (int s = 0; s < CELL_STATES; s++)
        if (t->count[s]) {
            const struct grid_cell named = {.state = (enum cell_state)s, .manifest = true};
            fprintf(f, "%s%d %s", comma, t->count[s], state_text(&named));
            comma = ", ";
        }
    if (v->grid.index)
        fprintf(f, "%sindex to write", comma);
    fputc('\n', f);
    if (!t->processes)
        return;
    fprintf(f, "scoring%s%s in %d process%s on %s: ", t->unsure ? ", at most," : "", t->guessed ? ", about," : "",
            t->processes, t->processes == 1 ? "" : "es", v->device.name);
    print_costs(f, t->seconds, t->device_bytes, t->host_bytes, t->disk_bytes);
    fputc('\n', f);
}

static void print_text(FILE *f, const struct view *v)
{
    const struct grid *g = &v->grid;
    const int columns = width(v);
    for (int i = 0; i < g->n_models; i++)
        if (g->model[i].make) {
            fprintf(f, "%s\n  to extract", g->model[i].dir);
            print_reasons(f, &g->model[i].why);
        }
    for (int i = 0; i < g->n_data; i++)
        print_data(f, v, i, columns);
    print_total(f, v);
}

static void print_failed(FILE *f, const struct view *v)
{
    for (int i = 0; i < v->grid.n_cells; i++)
        if (v->grid.cell[i].state == CELL_FAILED) {
            fprintf(f, "  FAILED    %s", v->grid.cell[i].dir);
            print_reasons(f, &v->grid.cell[i].why);
        }
}

/* ---- JSON */

static json_t *reasons_json(const struct reasons *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->n; i++) {
        json_t *text = json_string(r->text[i]);
        json_array_append_new(list, text ? text : json_string("text that is not UTF-8"));
    }
    return list;
}

static json_t *inputs_json(const struct grid_input *in, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        json_t *o = json_object();
        json_set(o, "dir", json_string(in[i].dir));
        json_set(o, "make", json_boolean(in[i].make));
        json_set(o, "why", reasons_json(&in[i].why));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *cell_json(const struct grid *g, const struct grid_cell *c)
{
    json_t *o = json_object(), *stages = json_array();
    const struct {
        bool run;
        const char *name;
    } stage[] = {
        {c->score, "score"}, {c->manifest, "manifest"}, {c->report_json, "report-json"}, {c->report_md, "report-md"}};
    for (size_t i = 0; i < sizeof stage / sizeof *stage; i++)
        if (stage[i].run)
            json_array_append_new(stages, json_string(stage[i].name));
    json_set(o, "dir", json_string(c->dir));
    json_set(o, "data", json_string(g->data[c->data].dir));
    json_set(o, "state", json_string(cell_state_name(c->state)));
    json_set(o, "why", reasons_json(&c->why));
    json_set(o, "stages", stages);
    return o;
}

static void set_costs(json_t *o, double seconds, size_t device, size_t host, size_t disk)
{
    json_set(o, "seconds", json_real(seconds));
    json_set(o, "gpu_bytes", json_integer((json_int_t)device));
    json_set(o, "host_bytes", json_integer((json_int_t)host));
    json_set(o, "disk_bytes", json_integer((json_int_t)disk));
}

static json_t *groups_json(const struct view *v)
{
    json_t *list = json_array();
    for (int i = 0; i < v->grid.n_groups; i++) {
        const struct plan_group *p = &v->group[i];
        const struct cost *c = &p->cost;
        json_t *o = json_object();
        if (p->scored + p->unsure) {
            json_set(o, "data", json_string(v->grid.data[v->grid.group[i].data].dir));
            json_set(o, "granularity", json_string(v->grid.group[i].granularity));
            json_set(o, "cells", json_integer(p->scored));
            json_set(o, "unsure_cells", json_integer(p->unsure));
            json_set(o, "guessed", json_boolean(p->guessed));
            json_set(o, "rows", json_integer(c->rows));
            json_set(o, "scored_rows", json_integer(c->scored_rows));
            json_set(o, "blocks", json_integer(c->blocks));
            json_set(o, "replays", json_integer(c->replays));
            json_set(o, "flops", json_real(c->flops));
            json_set(o, "weight_bytes", json_real(c->bytes));
            set_costs(o, p->seconds, c->device_bytes, c->host_bytes, p->disk_bytes);
            json_array_append_new(list, o);
        } else
            json_decref(o);
    }
    return list;
}

static json_t *document(const struct view *v)
{
    json_t *doc = json_object(), *cells = json_array();
    json_set(doc, "format", json_string("qsens-plan"));
    json_set(doc, "version", json_integer(1));
    json_set(doc, "models", inputs_json(v->grid.model, v->grid.n_models));
    json_set(doc, "data", inputs_json(v->grid.data, v->grid.n_data));
    for (int i = 0; i < v->grid.n_cells; i++)
        json_array_append_new(cells, cell_json(&v->grid, &v->grid.cell[i]));
    json_set(doc, "cells", cells);
    json_set(doc, "index", json_boolean(v->grid.index));
    if (v->group) {
        json_t *total = json_object();
        json_set(doc, "backend", json_string(v->device.ops->name));
        json_set(doc, "device", json_string(v->device.name));
        json_set(doc, "groups", groups_json(v));
        set_costs(total, v->total.seconds, v->total.device_bytes, v->total.host_bytes, v->total.disk_bytes);
        json_set(doc, "total", total);
    }
    return doc;
}

/* ---- */

static int look(struct view *v, const char *const *dirs, int n, struct err *e)
{
    if (grid_read(&v->grid, dirs, n, build, index_path, e))
        return -1;
    if (status || failed_only)
        grid_read_logs(&v->grid);
    if (device_path) {
        if (plan_device_load(&v->device, device_path, e))
            return -1;
        v->group = xcalloc((size_t)v->grid.n_groups, sizeof *v->group);
        for (int i = 0; i < v->grid.n_groups; i++)
            if (plan_group(&v->group[i], &v->grid, i, &v->device, gpu_memory, (int)pass_blocks, e))
                return err_wrap(e, "%s, %s", v->grid.data[v->grid.group[i].data].dir, v->grid.group[i].granularity);
    }
    add_up(v);
    return 0;
}

static int run(const char *const *operand, int n, struct err *e)
{
    struct view v = {0};
    struct io_out out;
    int rc = look(&v, operand, n, e);
    if (!rc && !(rc = io_out_open(&out, NULL, e))) {
        if (as_json) {
            json_t *doc = document(&v);
            json_print(out.f, doc, 2);
            fputc('\n', out.f);
            json_decref(doc);
        } else if (failed_only)
            print_failed(out.f, &v);
        else
            print_text(out.f, &v);
        rc = io_out_commit(&out, e);
    }
    free(v.group);
    grid_free(&v.grid);
    return rc;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, run, argc, argv);
}
