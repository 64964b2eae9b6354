/* grid - the cells of a sweep as they lie on disk: what make would do for each, and why.
 *
 * A cell is a directory RUN/MODEL/DATA/PAIR/GRANULARITY; lm.json lies in RUN/MODEL, calib.safetensors in
 * RUN/MODEL/DATA. The rules are those of pipeline.mk, which has written what they need (config/, *.id, scores.due):
 * nothing here writes. What extract-lm and calib-pack will find is not known before they run: cells that depend on it
 * are "unsure". tests/pipe/incremental.sh holds this against what make then does. */
#ifndef GRID_H
#define GRID_H
#include "stale.h"

enum cell_state {
    CELL_DONE,    /* nothing to do */
    CELL_REPORTS, /* manifest or reports only */
    CELL_STALE,   /* to be scored again */
    CELL_TO_RUN,  /* never scored */
    CELL_UNSURE,  /* scored again if weights or tokens turn out to be others */
    CELL_RUNNING, /* of these two the log knows (grid_read_logs) */
    CELL_FAILED,
    CELL_STATES
};
/* "up-to-date", "reports", "stale", "to-run", "unsure", "running", "failed". */
const char *cell_state_name(enum cell_state s);

/* lm.json of a model, or calib.safetensors of a set of captions. */
struct grid_input {
    char *dir;
    bool make; /* to be made or made again */
    struct reasons why;
};

struct grid_cell {
    const char *dir;
    int model, data, group; /* indices */
    enum cell_state state;
    bool score, manifest, report_json, report_md;
    struct reasons why;
};

/* Cells that share a process: same captions and granularity. */
struct grid_group {
    int data;
    const char *granularity; /* borrowed from a cell's dir */
};

struct grid {
    struct grid_input *model, *data;
    struct grid_group *group;
    struct grid_cell *cell;
    int n_models, n_data, n_groups, n_cells;
    bool index; /* to be made or made again */
};

/* Read the state of all cells. build: where the programs' .id files are. index: path of the index without its suffix,
 * NULL for none. The strings must outlive g. ERR_CONFIG where a directory is not that of a cell, ERR_IO. grid_free
 * frees, also after an error. */
int grid_read(struct grid *g, const char *const *dirs, int n, const char *build, const char *index,
              struct err *e) MUST_CHECK;
/* Cells that are not up to date and whose log says that they are being scored or have failed become CELL_RUNNING or
 * CELL_FAILED, with the first line of the error as the one reason.
 *
 * A log begins with "TIME start PID HOST" for each attempt, PID the shell that scores; the programs add their messages
 * (cli.h), "TIME error: ..." being the end of one. */
void grid_read_logs(struct grid *g);
void grid_free(struct grid *g);

#endif
