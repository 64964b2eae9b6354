#include <dirent.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "io.h"
#include "mem.h"
#include "records_reuse.h"

static char *journal_path(const char *dir, const struct scorer_options *o)
{
    char *name =
        o->parts ? xasprintf("%s-%d-of-%d.journal", o->calibrate_only ? "calibration" : "part", o->part + 1, o->parts)
                 : xstrdup("records.journal");
    char *path = io_join(dir, name);
    free(name);
    return path;
}

/* A journal with frames: is it of these inputs? If not, say so or start it anew, as the policy is. */
static int check_header(struct records *s, struct records_file *f, const json_t *identity, struct err *e)
{
    json_t *header = records_header(&f->journal, e);
    if (!header)
        return -1;
    char *how = records_difference(header, identity);
    int rc = 0;
    if (how && s->policy == RECORDS_REFUSE)
        rc = err_set(e, ERR_CONFIG, "'%s' holds a run that was stopped, of other inputs: %s; --restart discards it",
                     f->journal.path, how);
    else if (how) {
        cli_note("'%s' holds a run that was stopped, of other inputs: %s; discarded", f->journal.path, how);
        rc = journal_restart(&f->journal, e);
    }
    free(how);
    json_decref(header);
    return rc;
}

/* The maxima in calibration-*.journal beside a part. Those of other inputs are passed over; how the last one differs is
 * added to *other. */
static int load_calibration(const struct scores_cell *cell, const json_t *identity, struct scorer_result *r,
                            char **other, struct err *e)
{
    DIR *d = opendir(cell->dir);
    int rc = 0;
    for (struct dirent *entry; d && !rc && (entry = readdir(d));) {
        if (fnmatch("calibration-*-of-*.journal", entry->d_name, 0) != 0)
            continue;
        struct records_file f = {.journal.fd = -1};
        char *path = io_join(cell->dir, entry->d_name), *how = NULL;
        json_t *header = NULL;
        records_file_init(&f, r, cell);
        if (journal_read(&f.journal, path, e) || (f.journal.n && !(header = records_header(&f.journal, e))))
            rc = -1;
        else if (header && !(how = records_difference(header, identity)))
            rc = records_apply(&f, r, e);
        if (how) {
            free(*other);
            *other = xasprintf("; '%s' is of other inputs: %s", path, how);
        }
        free(how);
        free(path);
        json_decref(header);
        records_file_free(&f);
    }
    if (d)
        closedir(d);
    return rc;
}

static int check_calibration(const struct records *s, const struct scorer_result *r, const char *other, struct err *e)
{
    for (int i = 0; i < r->n_blocks; i++)
        if (!r->block[i].calibrated)
            return err_set(e, ERR_CONFIG, "the maxima of block %d of %d are not in '%s': run --calibrate first%s",
                           i + 1, r->n_blocks, s->cell[0].dir, other ? other : "");
    return 0;
}

static int load(void *self, struct scorer_result *r, struct err *e)
{
    struct records *s = self;
    const struct scorer_options *o = s->run.options;
    char *other = NULL;
    int rc = 0;
    for (size_t i = 0; i < s->n && !rc; i++) {
        struct records_file *f = &s->file[i];
        json_t *identity = records_identity(&s->run, r, &s->cell[i]);
        records_file_init(f, r, &s->cell[i]);
        if (f->journal.n)
            rc = check_header(s, f, identity, e);
        if (!rc)
            rc = records_apply(f, r, e);
        if (!rc && o->parts && !o->calibrate_only)
            rc = load_calibration(&s->cell[i], identity, r, &other, e);
        json_decref(identity);
    }
    if (!rc && o->parts && !o->calibrate_only)
        rc = check_calibration(s, r, other, e);
    free(other);
    int scored = 0, calibrated = 0, maxima = 0, scores = 0;
    for (int b = 0; b < r->n_blocks && !rc; b++) {
        calibrated += r->block[b].calibrated;
        for (size_t i = 0; i < s->n; i++)
            scored += s->file[i].scored[b];
    }
    if (calibrated && !rc)
        cli_verbose("%d of %d blocks are calibrated, %d of %d scored already", calibrated, r->n_blocks, scored,
                    (int)s->n * r->n_scored_blocks);
    if (!rc && s->n_reuse)
        rc = records_reuse(r, &s->run, s->set, s->reuse, s->n_reuse, &maxima, &scores, e);
    if (!rc && maxima + scores)
        cli_verbose("from other runs: maxima of %d of %d blocks, scores of %d of %d", maxima, r->n_blocks, scores,
                    r->n_replays * r->n_scored_blocks);
    return rc;
}

static int save(void *self, const struct scorer_result *r, struct err *e)
{
    struct records *s = self;
    int rc = 0;
    for (size_t i = 0; i < s->n && !rc; i++) {
        json_t *identity = records_identity(&s->run, r, &s->cell[i]);
        rc = records_append(&s->file[i], r, identity, e);
        json_decref(identity);
    }
    return rc;
}

int records_open(struct records *s, const struct records_run *run, const struct scores_cell *cell, size_t n,
                 enum records_policy policy, struct err *e)
{
    *s = (struct records){.run = *run, .cell = cell, .n = n, .policy = policy, .store = {NULL, load, save}};
    s->file = xcalloc(n, sizeof *s->file);
    for (size_t i = 0; i < n; i++)
        s->file[i].journal.fd = -1;
    for (size_t i = 0; i < n; i++) {
        char *path = journal_path(cell[i].dir, run->options);
        const int rc = journal_open(&s->file[i].journal, path, e) ||
                       (policy == RECORDS_RESTART && journal_restart(&s->file[i].journal, e));
        free(path);
        if (rc) {
            records_close(s);
            return -1;
        }
    }
    return 0;
}

int records_remove(struct records *s, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; i < s->n && !rc; i++)
        rc = journal_remove(&s->file[i].journal, e);
    return rc;
}

void records_close(struct records *s)
{
    for (size_t i = 0; i < s->n; i++)
        records_file_free(&s->file[i]);
    free(s->file);
    *s = (struct records){0};
}
