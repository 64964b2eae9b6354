/* plan - what a group of cells will cost, from what lies on disk before it is scored.
 *
 * Where lm.json is not there yet, or will be made again, sizes are those of the checkpoint's config.json; where
 * calib.safetensors is not, captions are as long as their bytes suggest (PLAN_BYTES_PER_TOKEN). */
#ifndef PLAN_H
#define PLAN_H
#include "cost.h"
#include "grid.h"

enum { PLAN_BYTES_PER_TOKEN = 4 };

/* What device-speed --json printed: of this machine or of another. */
struct plan_device {
    char name[256];
    int threads;
    size_t free_bytes; /* of the device's memory */
    const struct be_ops *ops;
    struct ceiling speed;
};
/* ERR_FORMAT, ERR_IO; ERR_CONFIG where this program was built without its backend. */
int plan_device_load(struct plan_device *d, const char *path, struct err *e) MUST_CHECK;

struct plan_group {
    int scored, unsure; /* cells that will be scored; cells that may be */
    bool guessed;       /* sizes or lengths are, as above */
    struct cost cost;   /* of scoring both in one process */
    double seconds;
    size_t disk_bytes; /* of those cells, when they are done */
};
/* gpu_memory, pass_blocks: as autoquant-score has them. Where a group has nothing to score, all is zero. The first
 * cell's config/args/autoquant-score and each cell's config/pair.yaml are read. */
int plan_group(struct plan_group *p, const struct grid *g, int group, const struct plan_device *d, size_t gpu_memory,
               int pass_blocks, struct err *e) MUST_CHECK;

#endif
