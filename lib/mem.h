/* mem - the one allocator. Running out of memory ends the program with exit code 1 and one sentence.
 * Not for device memory (backend.h). */
#ifndef MEM_H
#define MEM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* n*size bytes, uninitialised; n*size may be 0 (a valid pointer comes back). Overflow of the product is fatal. */
void *xmalloc(size_t n, size_t size);
/* The same, zeroed. */
void *xcalloc(size_t n, size_t size);
/* Resize to n*size bytes. */
void *xrealloc(void *p, size_t n, size_t size);
char *xstrdup(const char *s);
/* Copy of the n bytes at s, NUL-terminated. */
char *xstrndup(const char *s, size_t n);
/* printf into a new string; the caller frees. */
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* qsort and bsearch order of an array of strings (char *), by strcmp. */
int by_string(const void *a, const void *b);

/* Grow *p (elements of `size` bytes, capacity *cap) so that it holds `need` elements. */
void *xgrow(void *p, size_t *cap, size_t need, size_t size);

/* *out = a*b, or a+b; false on overflow. For sizes that come from files. */
static inline bool mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

#endif
