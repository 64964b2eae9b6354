#include "mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *check(void *p, size_t n, size_t size)
{
    if (p)
        return p;
    fprintf(stderr, "out of memory: %zu x %zu bytes asked for\n", n, size);
    exit(1);
}

static size_t product(size_t n, size_t size)
{
    size_t nb;
    if (__builtin_mul_overflow(n, size, &nb))
        check(NULL, n, size);
    return nb ? nb : 1;
}

void *xmalloc(size_t n, size_t size)
{
    return check(malloc(product(n, size)), n, size);
}

void *xcalloc(size_t n, size_t size)
{
    return check(calloc(1, product(n, size)), n, size);
}

void *xrealloc(void *p, size_t n, size_t size)
{
    return check(realloc(p, product(n, size)), n, size);
}

char *xstrndup(const char *s, size_t n)
{
    char *p = xmalloc(n + 1, 1);
    memcpy(p, s, n);
    p[n] = 0;
    return p;
}

char *xstrdup(const char *s)
{
    return xstrndup(s, strlen(s));
}

char *xasprintf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        check(NULL, 1, 1);
    char *s = xmalloc((size_t)n + 1, 1);
    va_start(ap, fmt);
    vsnprintf(s, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return s;
}

void *xgrow(void *p, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap)
        return p;
    size_t n = *cap ? *cap : 16;
    while (n < need)
        n = n > SIZE_MAX / 2 ? need : 2 * n;
    *cap = n;
    return xrealloc(p, n, size);
}

int by_string(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}
