#include "report_index.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io.h"
#include "manifest_import.h"
#include "mem.h"
#include "report_index_set.h"
#include "sha256.h"

struct report_index *report_index_new(void)
{
    return xcalloc(1, sizeof(struct report_index));
}

static void free_cell(struct index_cell *c)
{
    report_view_free(&c->view);
    manifest_name_free(&c->name);
    manifest_free(&c->m);
    free(c->source);
    free(c->directory);
    free(c->label);
    free(c);
}

void report_index_free(struct report_index *x)
{
    for (int i = 0; i < x->n_sets; i++)
        index_set_free(&x->set[i]);
    for (size_t i = 0; i < x->n; i++)
        free_cell(x->cell[i]);
    free(x->set);
    free(x->cell);
    free(x);
}

/* ---- cells ---- */

/* dir as seen from base, where it lies below; else NULL */
static char *below(const char *dir, const char *base)
{
    if (!base)
        return NULL;
    if (!strcmp(base, "."))
        return *dir != '/' && strncmp(dir, "..", 2) ? xstrdup(dir) : NULL;
    const size_t n = strlen(base);
    return !strncmp(dir, base, n) && dir[n] == '/' ? xstrdup(dir + n + 1) : NULL;
}

static void describe(struct index_cell *c)
{
    struct sha256 h;
    sha256_init(&h);
    for (int i = 0; i < c->m.table.n; i++) {
        const struct sens_row *r = &c->m.table.row[i];
        if (r->n_formats == 1)
            continue;
        sha256_add(&h, r->name, strlen(r->name) + 1);
        sha256_add(&h, &r->weights, sizeof r->weights);
    }
    sha256_hex(&h, c->groups_sha256);
    const int plain = !strcmp(c->name.granularity, "default");
    c->label = xasprintf("%s%s%s", c->name.pair, plain ? "" : "/", plain ? "" : c->name.granularity);
    report_view_init(&c->view, &c->m);
}

int report_index_add(struct report_index *x, const char *path, const char *base, struct err *e)
{
    struct stat st;
    struct manifest_origin origin = {0};
    const int is_dir = !stat(path, &st) && S_ISDIR(st.st_mode);
    char *dir = is_dir ? xstrdup(path) : io_dirname(path), *file = NULL;
    struct index_cell *c = xcalloc(1, sizeof *c);
    for (size_t n = strlen(dir); n > 1 && dir[n - 1] == '/'; n--)
        dir[n - 1] = 0;
    int rc = is_dir ? manifest_find(path, &file, e) : 0;
    if (!rc)
        rc = manifest_load(&c->m, file ? file : path, e);
    if (!rc)
        rc = manifest_origin_load(&origin, dir, e);
    if (!rc)
        rc = manifest_name_of(&c->name, &c->m, origin.pair, path, e);
    if (!rc) {
        describe(c);
        c->source = xstrdup(path);
        c->directory = below(dir, base);
        x->cell = xgrow(x->cell, &x->cap, x->n + 1, sizeof(struct index_cell *));
        x->cell[x->n++] = c;
    } else {
        free_cell(c);
    }
    manifest_origin_free(&origin);
    free(file);
    free(dir);
    return rc;
}

static int by_cell(const void *a, const void *b)
{
    return index_compare_cells(*(const struct index_cell *const *)a, *(const struct index_cell *const *)b);
}

int report_index_finish(struct report_index *x, struct err *e)
{
    qsort(x->cell, x->n, sizeof(struct index_cell *), by_cell);
    for (size_t i = 1; i < x->n; i++)
        if (!index_compare_cells(x->cell[i - 1], x->cell[i]))
            return err_set(e, ERR_CONFIG, "'%s' and '%s' are the same cell (%s): leave one out", x->cell[i - 1]->source,
                           x->cell[i]->source, x->cell[i]->label);
    x->set = xcalloc(x->n, sizeof *x->set);
    for (size_t i = 0, end; i < x->n; i = end) {
        for (end = i + 1; end < x->n && !index_compare_sets(x->cell[i], x->cell[end]); end++)
            ;
        if (end - i > 1 && x->cell[i]->view.n)
            index_set_init(&x->set[x->n_sets++], (const struct index_cell *const *)x->cell + i, (int)(end - i));
    }
    return 0;
}

/* ---- JSON ---- */

static json_t *known(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static void set_place(json_t *o, const struct index_cell *c)
{
    json_object_update_new(o, json_pack("{ss ss? so}", "model", c->name.model, "dataset", c->name.dataset, "sequences",
                                    c->name.sequences > 0 ? json_integer(c->name.sequences) : json_null()));
}

static void set_arithmetic(json_t *o, const struct index_cell *c)
{
    json_object_update_new(o, json_pack("{ss ss? ss? ss?}", "tool", c->name.tool, "dtype", c->name.dtype, "padding",
                                    c->name.padding, "backend", index_backend(c)));
}

static json_t *cell_json(const struct index_cell *c)
{
    json_t *o = json_object(), *run = json_object_get(c->m.qsens, "run");
    set_place(o, c);
    json_object_set_new(o, "granularity", json_string(c->name.granularity));
    json_object_set_new(o, "pair", json_string(c->name.pair));
    set_arithmetic(o, c);
    json_object_update_new(o, json_pack("{si sf sf sf sf sb}", "groups", c->view.n, "score", c->view.total,
                                        "budget_bits", c->m.auto_quantize_bits, "effective_bits", c->m.effective_bits,
                                        "recipe_score", c->m.score, "satisfied", c->m.is_satisfied));
    if (c->directory)
        json_object_set_new(o, "directory", json_string(c->directory));
    if (json_is_number(json_object_get(run, "seconds")))
        json_object_set_new(o, "run", json_pack("{sO sO*}", "seconds", json_object_get(run, "seconds"), "threads",
                                                json_object_get(run, "threads")));
    return o;
}

static json_t *row_json(const struct index_row *r, int n)
{
    json_t *scores = json_array(), *shares = json_array(), *ranks = json_array();
    for (int c = 0; c < n; c++) {
        json_array_append_new(scores, json_real(r->in[c]->score));
        json_array_append_new(shares, json_real(r->in[c]->share));
        json_array_append_new(ranks, json_integer(r->in[c]->rank));
    }
    return json_pack("{ss sI sf so so so}", "name", r->name, "weights", (json_int_t)r->weights, "max_share",
                     r->max_share, "scores", scores, "shares", shares, "ranks", ranks);
}

static json_t *set_json(const struct index_set *s)
{
    json_t *o = json_object(), *cells = json_array(), *groups = json_array(), *matrix = json_array(),
           *disagreement = json_array();
    for (int i = 0; i < s->n; i++) {
        json_t *line = json_array();
        json_array_append_new(cells, json_string(s->cell[i]->label));
        for (int j = 0; j < s->n; j++)
            json_array_append_new(line, known(s->spearman[i * s->n + j]));
        json_array_append_new(matrix, line);
    }
    for (int i = 0; i < s->n_rows; i++)
        json_array_append_new(groups, row_json(&s->row[i], s->n));
    for (int i = 0; i < index_disagreements(s); i++) {
        const struct index_row *r = &s->row[s->disagree[i]];
        json_array_append_new(disagreement,
                              json_pack("{ss s{ss si} s{ss si} si}", "name", r->name, "highest", "cell",
                                        s->cell[r->highest]->label, "rank", r->in[r->highest]->rank, "lowest", "cell",
                                        s->cell[r->lowest]->label, "rank", r->in[r->lowest]->rank, "spread",
                                        index_spread(r)));
    }
    set_place(o, s->cell[0]);
    set_arithmetic(o, s->cell[0]);
    json_object_set_new(o, "cells", cells);
    json_object_set_new(o, "groups", groups);
    json_object_set_new(o, "spearman", matrix);
    json_object_set_new(o, "disagreement", disagreement);
    return o;
}

json_t *report_index_json(const struct report_index *x)
{
    json_t *cells = json_array(), *sets = json_array();
    for (size_t i = 0; i < x->n; i++)
        json_array_append_new(cells, cell_json(x->cell[i]));
    for (int i = 0; i < x->n_sets; i++)
        json_array_append_new(sets, set_json(&x->set[i]));
    return json_pack("{ss si so so}", "format", "qsens-index", "version", 1, "cells", cells, "comparisons", sets);
}
