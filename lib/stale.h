/* stale - which input of a result is no longer what the result was made from.
 *
 * scores.due and scores.key list what scores depend on now and what they were made from, one input a line: the name of
 * the file that make keeps it in, a blank, a line of that file (pipeline.mk). composed-config.yaml of a cell is what
 * its manifest was made with, config/composed-config.yaml what the next one will be. Differences become sentences for
 * people: "autoquant.score_size 128 -> 64". A file that is not there is an empty one. */
#ifndef STALE_H
#define STALE_H
#include <stdbool.h>
#include <stddef.h>

#include "err.h"

struct reasons {
    char **text;
    size_t n, cap;
};
void reasons_add(struct reasons *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
void reasons_free(struct reasons *r);

/* Add a reason for every input in which the texts of scores.due and scores.key differ; returns whether any does. The
 * line "result" is the hash of scores.json. */
bool stale_inputs(struct reasons *r, const char *due, const char *key);
/* Add a reason for every key that a stage reads and that differs between two composed configurations. */
void stale_settings(struct reasons *r, const char *stage, const char *now, const char *was);

/* Is target missing or older than prerequisite, as make sees it? Where prerequisite is missing: no. */
bool stale_older(const char *target, const char *prerequisite);
bool stale_missing(const char *path);

#endif
