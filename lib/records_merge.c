#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "records.h"

/* What the header of the first part says of the run, as far as it is free: the rest follows from the inputs. */
static int take_options(struct records_merged *m, struct records_run *run, const char *path, bool *split, struct err *e)
{
    const char *dtype;
    int64_t block_batches, score_sequences;
    int wanted;
    char where[512];
    snprintf(where, sizeof where, "'%.400s': header", path);
    if (json_get_str(m->header, "dtype", where, &dtype, e) ||
        json_get_str(m->header, "backend", where, &m->backend, e) ||
        json_get_str(m->header, "identity", where, &run->identity, e) ||
        json_get_bool(m->header, "split", where, &wanted, e) ||
        json_get_int(m->header, "block_batches", where, 1, 1 << 20, &block_batches, e) ||
        json_get_int(m->header, "score_sequences", where, 1, 1 << 30, &score_sequences, e))
        return -1;
    m->options = (struct scorer_options){
        .bf16 = !strcmp(dtype, "bf16"), .score_size = (int)score_sequences, .block_batches = (int)block_batches};
    run->options = &m->options;
    run->backend = m->backend;
    m->identity = run->identity;
    *split = wanted;
    return 0;
}

/* All parts against the identity that the inputs have. */
static int check_headers(const struct records_merged *m, const json_t *identity, struct records_file *part, size_t n,
                         struct err *e)
{
    char *how = records_difference(m->header, identity);
    if (how)
        err_set(e, ERR_CONFIG, "'%s' is of other inputs: %s", part[0].journal.path, how);
    for (size_t i = 1; i < n && !how; i++) {
        json_t *header = records_header(&part[i].journal, e);
        if (!header)
            return -1;
        how = records_difference(header, m->header);
        if (how)
            err_set(e, ERR_CONFIG, "'%s' is of other inputs than '%s': %s", part[i].journal.path, part[0].journal.path,
                    how);
        json_decref(header);
    }
    free(how);
    return how ? -1 : 0;
}

/* " 3" or "s 3 to 5" of the first run of blocks, from i on, for which both tables say true; b NULL: false. */
static void name_run(const bool *a, const bool *b, int i, int n, char out[32])
{
    int end = i;
    while (end < n && (b ? a[end] && b[end] : !a[end]))
        end++;
    if (end == i + 1)
        snprintf(out, 32, " %d", i + 1);
    else
        snprintf(out, 32, "s %d to %d", i + 1, end);
}

static int check_overlap(const struct records_file *part, size_t n, int n_blocks, struct err *e)
{
    char blocks[32];
    for (size_t i = 1; i < n; i++)
        for (size_t k = 0; k < i; k++)
            for (int b = 0; b < n_blocks; b++)
                if (part[i].scored[b] && part[k].scored[b]) {
                    name_run(part[i].scored, part[k].scored, b, n_blocks, blocks);
                    return err_set(e, ERR_CONFIG, "block%s of %d: scored by '%s' and by '%s'", blocks, n_blocks,
                                   part[k].journal.path, part[i].journal.path);
                }
    return 0;
}

/* Every block that is wanted is there. */
static int check_holes(const struct records_file *part, size_t n, const struct scorer_result *r, struct err *e)
{
    bool *calibrated = xcalloc((size_t)r->n_blocks, sizeof *calibrated);
    bool *scored = xcalloc((size_t)r->n_blocks, sizeof *scored);
    size_t torn = n;
    char blocks[32];
    int rc = 0;
    for (size_t i = 0; i < n; i++) {
        torn = part[i].journal.tail ? i : torn;
        for (int b = 0; b < r->n_blocks; b++) {
            calibrated[b] = calibrated[b] || part[i].calibrated[b];
            scored[b] = scored[b] || part[i].scored[b];
        }
    }
    for (int k = 0; k < 2 && !rc; k++) {
        const bool *have = k ? scored : calibrated;
        const int all = k ? r->n_scored_blocks : r->n_blocks;
        for (int b = 0; b < all && !rc; b++)
            if (!have[b]) {
                name_run(have, NULL, b, all, blocks);
                rc = err_set(e, ERR_CONFIG, "block%s of %d: no part has the %s%s%s%s", blocks, all,
                             k ? "scores" : "maxima", torn < n ? "; the end of '" : "",
                             torn < n ? part[torn].journal.path : "", torn < n ? "' is torn off" : "");
            }
    }
    free(calibrated);
    free(scored);
    return rc;
}

static int merge(struct records_merged *m, struct records_run *run, struct scores_cell *cell, struct records_file *part,
                 const char *const *path, size_t n, struct err *e)
{
    bool split;
    for (size_t i = 0; i < n; i++)
        if (journal_read(&part[i].journal, path[i], e))
            return -1;
    m->header = records_header(&part[0].journal, e);
    if (!m->header || take_options(m, run, path[0], &split, e) || scores_cell_add(cell, &m->set, split, e))
        return -1;
    scorer_result_open(&m->result, run->lm, run->calib, &m->set, &m->options);
    json_t *identity = records_identity(run, &m->result, cell);
    int rc = check_headers(m, identity, part, n, e);
    json_decref(identity);
    for (size_t i = 0; i < n && !rc; i++) {
        records_file_init(&part[i], &m->result, cell);
        rc = records_apply(&part[i], &m->result, e);
    }
    if (rc || check_overlap(part, n, m->result.n_scored_blocks, e) || check_holes(part, n, &m->result, e))
        return -1;
    return scorer_result_finish(&m->result, e);
}

int records_merge(struct records_merged *m, const struct lm *lm, const struct calib *c, struct scores_cell *cell,
                  const char *const *path, size_t n, struct err *e)
{
    struct records_run run = {.lm = lm, .calib = c};
    struct records_file *part = xcalloc(n, sizeof *part);
    *m = (struct records_merged){0};
    for (size_t i = 0; i < n; i++)
        part[i].journal.fd = -1;
    const int rc = merge(m, &run, cell, part, path, n, e);
    for (size_t i = 0; i < n; i++)
        records_file_free(&part[i]);
    free(part);
    if (rc)
        records_merged_free(m);
    return rc;
}

void records_merged_free(struct records_merged *m)
{
    scorer_result_free(&m->result);
    json_decref(m->header);
    *m = (struct records_merged){0};
}
