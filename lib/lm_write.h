/* lm_write - writes lm.json; the format and its reader are in lm.h. */
#ifndef LM_WRITE_H
#define LM_WRITE_H
#include <stdio.h>

#include "lm.h"

/* Write m to f (an io_out's stream). m->weights_sha256 is set. Equal models give equal bytes. */
void lm_write(struct lm *m, FILE *f);

#endif
