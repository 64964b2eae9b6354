#include "report_index_set.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

/* ---- order ---- */

static int text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "");
}

static int input(const struct index_cell *a, const struct index_cell *b, const char *object, const char *key)
{
    return text(json_string_value(json_object_get(json_object_get(a->m.qsens, object), key)),
                json_string_value(json_object_get(json_object_get(b->m.qsens, object), key)));
}

const char *index_backend(const struct index_cell *c)
{
    return json_string_value(json_object_get(json_object_get(c->m.qsens, "arithmetic"), "backend"));
}

int index_compare_sets(const struct index_cell *a, const struct index_cell *b)
{
    int c = text(a->name.model, b->name.model);
    c = c ? c : text(a->name.dataset, b->name.dataset);
    c = c ? c : (a->name.sequences > b->name.sequences) - (a->name.sequences < b->name.sequences);
    c = c ? c : text(a->name.tool, b->name.tool);
    c = c ? c : text(a->name.dtype, b->name.dtype);
    c = c ? c : text(a->name.padding, b->name.padding);
    c = c ? c : text(index_backend(a), index_backend(b));
    c = c ? c : text(a->m.model_id, b->m.model_id);
    c = c ? c : input(a, b, "inputs", "weights_sha256");
    c = c ? c : input(a, b, "inputs", "tokens_sha256");
    c = c ? c : (a->m.score_size > b->m.score_size) - (a->m.score_size < b->m.score_size);
    return c ? c : strcmp(a->groups_sha256, b->groups_sha256);
}

int index_compare_cells(const struct index_cell *a, const struct index_cell *b)
{
    int c = index_compare_sets(a, b);
    c = c ? c : text(a->name.granularity, b->name.granularity);
    return c ? c : text(a->name.pair, b->name.pair);
}

/* ---- Spearman ---- */

/* rank[row of the table]: groups with equal scores share their mean rank. The caller frees. */
static double *mean_ranks(const struct index_cell *c)
{
    const struct report_view *v = &c->view;
    double *rank = xcalloc((size_t)c->m.table.n, sizeof *rank);
    for (int i = 0, end; i < v->n; i = end) {
        for (end = i + 1; end < v->n && v->group[end].score == v->group[i].score; end++)
            ;
        for (int k = i; k < end; k++)
            rank[v->group[k].row - c->m.table.row] = (double)(i + 1 + end) / 2;
    }
    return rank;
}

static double spearman(const struct index_cell *a, const struct index_cell *b)
{
    double *x = mean_ranks(a), *y = mean_ranks(b);
    const double mean = (a->view.n + 1) / 2.0;
    double xx = 0, yy = 0, xy = 0;
    for (int i = 0, j = 0; i < a->m.table.n; i++) { /* the ranked groups of both are the same, in the same order */
        if (a->m.table.row[i].n_formats == 1)
            continue;
        while (b->m.table.row[j].n_formats == 1)
            j++;
        const double dx = x[i] - mean, dy = y[j++] - mean;
        xx += dx * dx;
        yy += dy * dy;
        xy += dx * dy;
    }
    free(x);
    free(y);
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : NAN;
}

/* ---- sets ---- */

static int by_max_share(const void *a, const void *b)
{
    const struct index_row *x = a, *y = b;
    if (x->max_share != y->max_share)
        return x->max_share > y->max_share ? -1 : 1;
    return (x->in[0]->row > y->in[0]->row) - (x->in[0]->row < y->in[0]->row);
}

static int by_row(const void *a, const void *b)
{
    const struct report_group *x = *(const struct report_group *const *)a;
    const struct report_group *y = *(const struct report_group *const *)b;
    return (x->row > y->row) - (x->row < y->row);
}

int index_spread(const struct index_row *r)
{
    return r->in[r->lowest]->rank - r->in[r->highest]->rank;
}

int index_disagreements(const struct index_set *s)
{
    enum { SHOWN = 10 };
    int n = 0;
    while (n < s->n_rows && n < SHOWN && index_spread(&s->row[s->disagree[n]]) > 0)
        n++;
    return n;
}

static void fill_rows(struct index_set *s)
{
    const struct report_group **sorted = xmalloc((size_t)s->n_rows, sizeof *sorted);
    for (int c = 0; c < s->n; c++) {
        for (int i = 0; i < s->n_rows; i++)
            sorted[i] = &s->cell[c]->view.group[i];
        qsort(sorted, (size_t)s->n_rows, sizeof *sorted, by_row);
        for (int i = 0; i < s->n_rows; i++) {
            struct index_row *r = &s->row[i];
            if (c == 0)
                *r = (struct index_row){.name = sorted[i]->row->name,
                                        .label = sorted[i]->label,
                                        .weights = sorted[i]->row->weights,
                                        .in = xmalloc((size_t)s->n, sizeof *r->in)};
            r->in[c] = sorted[i];
            r->max_share = fmax(r->max_share, sorted[i]->share);
            r->highest = sorted[i]->rank < r->in[r->highest]->rank ? c : r->highest;
            r->lowest = sorted[i]->rank > r->in[r->lowest]->rank ? c : r->lowest;
        }
    }
    free(sorted);
    qsort(s->row, (size_t)s->n_rows, sizeof *s->row, by_max_share);
}

/* Insertion sort: stable, and a few hundred rows. */
static void order_by_spread(struct index_set *s)
{
    for (int i = 0; i < s->n_rows; i++) {
        int at = i;
        for (; at > 0 && index_spread(&s->row[s->disagree[at - 1]]) < index_spread(&s->row[i]); at--)
            s->disagree[at] = s->disagree[at - 1];
        s->disagree[at] = i;
    }
}

void index_set_init(struct index_set *s, const struct index_cell *const *cell, int n)
{
    const size_t k = (size_t)n, rows = (size_t)cell[0]->view.n;
    *s = (struct index_set){.cell = cell,
                            .n = n,
                            .n_rows = cell[0]->view.n,
                            .row = xcalloc(rows, sizeof *s->row),
                            .spearman = xcalloc(k * k, sizeof *s->spearman),
                            .disagree = xcalloc(rows, sizeof *s->disagree)};
    fill_rows(s);
    order_by_spread(s);
    for (int i = 0; i < n; i++)
        for (int j = 0; j <= i; j++)
            s->spearman[i * n + j] = s->spearman[j * n + i] = spearman(cell[i], cell[j]);
}

void index_set_free(struct index_set *s)
{
    for (int i = 0; i < s->n_rows; i++)
        free(s->row[i].in);
    free(s->row);
    free(s->spearman);
    free(s->disagree);
    *s = (struct index_set){0};
}
