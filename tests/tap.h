/* tap - Test Anything Protocol for C tests. ok() counts; done() prints the plan; a crash leaves the plan out and fails.
 */
#ifndef TAP_H
#define TAP_H
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tap_n, tap_failed;

__attribute__((format(printf, 2, 3), unused)) static bool ok(bool pass, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    printf("%sok %d - ", pass ? "" : "not ", ++tap_n);
    vprintf(fmt, ap);
    putchar('\n');
    va_end(ap);
    tap_failed += !pass;
    fflush(stdout);
    return pass;
}

__attribute__((format(printf, 1, 2), unused)) static void diag(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("# ", stdout);
    vprintf(fmt, ap);
    putchar('\n');
    va_end(ap);
}

/* Strings equal; both are printed where not. */
__attribute__((unused)) static bool is_str(const char *got, const char *want, const char *name)
{
    const bool same = got && want && !strcmp(got, want);
    if (!ok(same, "%s", name))
        diag("got  '%s'\n# want '%s'", got ? got : "(null)", want ? want : "(null)");
    return same;
}

/* got is finite and not above bound: NaN fails. */
__attribute__((unused)) static bool at_most(double got, double bound, const char *name)
{
    return ok(isfinite(got) && got <= bound, "%s: %.3g, at most %.3g", name, got, bound);
}

/* The whole program is skipped, with a reason. */
__attribute__((unused)) static int skip_all(const char *reason)
{
    printf("1..0 # SKIP %s\n", reason);
    return 0;
}

__attribute__((unused)) static int done(void)
{
    printf("1..%d\n", tap_n);
    return tap_failed ? 1 : 0;
}

/* Where the large golden files are: QSENS_GOLDEN, else ../shared/golden if it exists, else NULL. */
__attribute__((unused)) static const char *golden_dir(void)
{
    const char *dir = getenv("QSENS_GOLDEN");
    if (dir && *dir)
        return dir;
    FILE *f = fopen("../shared/golden/vectors.json", "r");
    if (!f)
        return NULL;
    fclose(f);
    return "../shared/golden";
}

#endif
