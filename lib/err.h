/* err - the one error convention.
 *
 * A fallible function returns 0 or -1 (or a pointer or NULL), takes `struct err *e` last, and leaves *e untouched on
 * success. lib/ never prints (cli.h excepted) and exits only through BUG() or when memory runs out (mem.h). */
#ifndef ERR_H
#define ERR_H
#include <stdint.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

enum err_code {
    ERR_NONE,
    ERR_IO,      /* read, write, rename failed: exit 1 */
    ERR_CONFIG,  /* usage, option, configuration: exit 2 */
    ERR_FORMAT,  /* malformed input data: exit 3 */
    ERR_DEVICE,  /* backend or device: exit 1 */
    ERR_LIMIT,   /* too large for this machine or this program: exit 1 */
    ERR_NUMERIC, /* NaN or overflow in a result: exit 1 */
};

struct err {
    enum err_code code;
    uint64_t pos;   /* byte offset in the input where it applies, else 0 */
    char msg[1024]; /* one sentence: lower case, subject quoted, no full stop, no newline */
};

/* Set code and message; always returns -1, so `return err_set(e, ...)` reads well. */
int err_set(struct err *e, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The same with a byte position in the input. */
int err_at(struct err *e, enum err_code code, uint64_t pos, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* Prepend "context: " to the message already set; always returns -1. */
int err_wrap(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Exit code of a tool that ends with this error: 1 run time, 2 usage or configuration, 3 malformed input. */
int err_exit_code(const struct err *e);

/* Our own contradiction: print the function and abort. No line number: it would change every binary's identity. */
__attribute__((noreturn)) void bug_in(const char *func, const char *fmt, ...) PRINTF_LIKE(2, 3);
#define BUG(...) bug_in(__func__, __VA_ARGS__)

#endif
