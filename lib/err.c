#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void format(struct err *e, enum err_code code, uint64_t pos, const char *fmt, va_list ap)
{
    e->code = code;
    e->pos = pos;
    vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    for (char *p = e->msg; *p; p++) /* file names may hold anything; a message is one line */
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
}

int err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    format(e, code, 0, fmt, ap);
    va_end(ap);
    return -1;
}

int err_at(struct err *e, enum err_code code, uint64_t pos, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    format(e, code, pos, fmt, ap);
    va_end(ap);
    return -1;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
    struct err inner = *e;
    va_list ap;
    va_start(ap, fmt);
    format(e, inner.code, inner.pos, fmt, ap);
    va_end(ap);
    size_t n = strlen(e->msg);
    snprintf(e->msg + n, sizeof e->msg - n, ": %s", inner.msg);
    return -1;
}

int err_exit_code(const struct err *e)
{
    switch (e->code) {
    case ERR_NONE: return 0;
    case ERR_CONFIG: return 2;
    case ERR_FORMAT: return 3;
    case ERR_IO:
    case ERR_DEVICE:
    case ERR_LIMIT:
    case ERR_NUMERIC: return 1;
    }
    return 1;
}

void bug_in(const char *func, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "BUG in %s: ", func);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    abort();
}
