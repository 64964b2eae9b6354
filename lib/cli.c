#include "cli.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"
#include "version.h"

static const char *tool_name = "qsens";
static bool verbose;
static struct cli_list log_names;
static FILE **log_file; /* one of each name */

static const struct cli_option common[] = {
    {"verbose", 'v', CLI_FLAG, &verbose, NULL, "say more; print progress as plain lines", 0, 0},
    {"log", 0, CLI_LIST, &log_names, "FILE",
     "also append messages, with the time and as with --verbose, to FILE;\nmay be given many times", 0, 0},
    {"help", 'h', CLI_FLAG, NULL, NULL, "print this help", 0, 0},
    {"version", 0, CLI_FLAG, NULL, NULL, "print version and build", 0, 0},
    {NULL, 0, CLI_FLAG, NULL, NULL, NULL, 0, 0},
};

static void log_line(const char *kind, const char *fmt, va_list ap)
{
    char now[32];
    const time_t t = time(NULL);
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", gmtime(&t));
    for (size_t i = 0; log_file && i < log_names.n; i++) {
        va_list again;
        va_copy(again, ap);
        fprintf(log_file[i], "%s %s%s: ", now, kind, tool_name);
        vfprintf(log_file[i], fmt, again);
        fputc('\n', log_file[i]);
        fflush(log_file[i]);
        va_end(again);
    }
}

static void message(const char *fmt, va_list ap)
{
    fflush(stdout);
    fprintf(stderr, "%s: ", tool_name);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
}

void cli_note(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    log_line("", fmt, ap);
    message(fmt, ap);
    va_end(ap);
}

void cli_verbose(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    log_line("", fmt, ap);
    if (verbose)
        message(fmt, ap);
    va_end(ap);
}

/* What ends the program; the log says that it is one. */
static void final_error(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void final_error(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    log_line("error: ", fmt, ap);
    message(fmt, ap);
    va_end(ap);
}

static int open_logs(struct err *e)
{
    FILE **f = xcalloc(log_names.n, sizeof *f);
    for (size_t i = 0; i < log_names.n; i++)
        if (!(f[i] = fopen(log_names.item[i], "ae"))) {
            const int rc = err_set(e, ERR_IO, "cannot open log '%s': %s", log_names.item[i], strerror(errno));
            while (i)
                fclose(f[--i]);
            free(f);
            return rc;
        }
    log_file = f;
    return 0;
}

static void close_logs(void)
{
    for (size_t i = 0; log_file && i < log_names.n; i++)
        fclose(log_file[i]);
    free(log_file);
    log_file = NULL;
    free(log_names.item);
    log_names = (struct cli_list){0};
}

/* ---- help ---- */

static void print_size(char *buf, size_t n, size_t bytes)
{
    static const char suffix[] = {0, 'K', 'M', 'G', 'T'};
    int s = 0;
    while (bytes && bytes % 1024 == 0 && s < 4) {
        bytes /= 1024;
        s++;
    }
    snprintf(buf, n, s ? "%zu%c" : "%zu", bytes, suffix[s]);
}

static void print_default(const struct cli_option *o)
{
    char buf[64] = "";
    if (!o->value)
        return;
    switch (o->type) {
    case CLI_FLAG:
    case CLI_LIST: return;
    case CLI_STRING:
        if (*(const char **)o->value)
            printf(" [%s]", *(const char **)o->value);
        return;
    case CLI_INT:
        if (*(long *)o->value == CLI_UNSET)
            return;
        snprintf(buf, sizeof buf, "%ld", *(long *)o->value);
        break;
    case CLI_REAL: snprintf(buf, sizeof buf, "%g", *(double *)o->value); break;
    case CLI_SIZE:
        if (*(size_t *)o->value == 0)
            return;
        print_size(buf, sizeof buf, *(size_t *)o->value);
        break;
    }
    printf(" [%s]", buf);
}

static void print_options(const struct cli_option *o)
{
    for (; o && o->name; o++) {
        char left[80];
        snprintf(left, sizeof left, "  %c%c%s --%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
                 o->letter ? "," : " ", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        printf("%-30s", left);
        if (strlen(left) > 28)
            printf("\n%30s", "");
        for (const char *p = o->help; *p; p++) {
            putchar(*p);
            if (*p == '\n')
                printf("%30s", "");
        }
        print_default(o);
        putchar('\n');
    }
}

/* Exit code of a program that has only printed. */
static int flushed(void)
{
    if (!fflush(stdout) && !ferror(stdout))
        return 0;
    cli_note("cannot write 'standard output': %s", strerror(errno));
    return 1;
}

static int print_help(const struct tool *t)
{
    printf("%s - %s\n\nusage: %s %s\n\noptions:\n", t->name, t->summary, t->name, t->usage);
    print_options(t->options);
    print_options(common);
    if (t->details)
        printf("\n%s\n", t->details);
    printf("\nexample:\n  %s\n\nexit codes: 0 ok, 1 run time, 2 usage or configuration, 3 malformed input\n",
           t->example);
    return flushed();
}

/* ---- parsing ---- */

static const struct cli_option *find(const struct cli_option *o, const char *name, size_t n, char letter)
{
    for (; o && o->name; o++)
        if (letter ? o->letter == letter : strlen(o->name) == n && !memcmp(o->name, name, n))
            return o;
    return NULL;
}

static int parse_size(const char *s, size_t *out)
{
    if (*s < '0' || *s > '9')
        return -1;
    char *end;
    errno = 0;
    unsigned long long v = strtoull(s, &end, 10);
    if (errno)
        return -1;
    int shift = 0;
    if (*end) {
        static const char suffix[] = "KMGT";
        const char *p = strchr(suffix, *end & ~0x20);
        if (!p || !*p || end[1])
            return -1;
        shift = 10 * (int)(p - suffix + 1);
    }
    if (shift && v > SIZE_MAX >> shift)
        return -1;
    *out = (size_t)v << shift;
    return 0;
}

static int set_value(const struct cli_option *o, const char *s, struct err *e)
{
    char *end;
    errno = 0;
    switch (o->type) {
    case CLI_FLAG: *(bool *)o->value = true; return 0;
    case CLI_STRING: *(const char **)o->value = s; return 0;
    case CLI_LIST: {
        struct cli_list *l = o->value;
        l->item = xrealloc(l->item, l->n + 1, sizeof *l->item);
        l->item[l->n++] = s;
        return 0;
    }
    case CLI_INT: {
        long v = strtol(s, &end, 10);
        if (errno || end == s || *end || v < o->min || v > o->max)
            return err_set(e, ERR_CONFIG, "option --%s wants a whole number from %ld to %ld, not '%s'", o->name, o->min,
                           o->max, s);
        *(long *)o->value = v;
        return 0;
    }
    case CLI_REAL: {
        double v = strtod(s, &end);
        if (end == s || *end || !isfinite(v))
            return err_set(e, ERR_CONFIG, "option --%s wants a finite number, not '%s'", o->name, s);
        *(double *)o->value = v;
        return 0;
    }
    case CLI_SIZE:
        if (parse_size(s, o->value))
            return err_set(e, ERR_CONFIG, "option --%s wants a size such as 512M or 4G, not '%s'", o->name, s);
        return 0;
    }
    BUG("option type %d", (int)o->type);
}

struct parsed {
    const char **operand;
    int n;
    bool help, version;
};

/* One argument that starts with '-'; *i moves past a value that stands in the next argument. */
static int parse_option(const struct tool *t, int argc, char **argv, int *i, struct parsed *p, struct err *e)
{
    const char *a = argv[*i];
    const bool is_long = a[1] == '-';
    const char *name = a + (is_long ? 2 : 1);
    const size_t n = is_long ? strcspn(name, "=") : 1;
    const struct cli_option *o = find(t->options, name, n, is_long ? 0 : name[0]);
    if (!o)
        o = find(common, name, n, is_long ? 0 : name[0]);
    if (!o)
        return err_set(e, ERR_CONFIG, "unknown option '%s'; '%s --help' lists the options", a, t->name);
    const char *value = name[n] == 0 ? NULL : is_long ? name + n + 1 : name + n;
    if (o->type == CLI_FLAG) {
        if (value)
            return err_set(e, ERR_CONFIG, "option --%s takes no value", o->name);
        if (!o->value)
            *(strcmp(o->name, "help") ? &p->version : &p->help) = true;
        else
            *(bool *)o->value = true;
        return 0;
    }
    if (!value) {
        if (*i + 1 >= argc)
            return err_set(e, ERR_CONFIG, "option --%s wants a value (%s)", o->name, o->arg);
        value = argv[++*i];
    }
    return set_value(o, value, e);
}

/* Replace every "@FILE" by the lines of FILE. The texts live until exit: options point into them. */
static char **argument_text;
static size_t n_argument_texts;

static int expand(int argc, char **argv, int *n, char ***out, struct err *e)
{
    size_t cap = 0, k = 0;
    char **a = xgrow(NULL, &cap, (size_t)argc + 1, sizeof *a);
    *out = a;
    for (int i = 0; i < argc; i++) {
        if (i == 0 || argv[i][0] != '@') {
            *out = a = xgrow(a, &cap, k + 1, sizeof *a);
            a[k++] = argv[i];
            continue;
        }
        char *text;
        size_t size;
        if (io_read(argv[i] + 1, 1 << 20, &text, &size, e))
            return -1;
        argument_text = xrealloc(argument_text, n_argument_texts + 1, sizeof *argument_text);
        argument_text[n_argument_texts++] = text;
        for (char *line = text, *end; line < text + size; line = end + 1) {
            end = line + strcspn(line, "\n");
            *end = 0;
            *out = a = xgrow(a, &cap, k + 1, sizeof *a);
            if (*line)
                a[k++] = line;
        }
    }
    *n = (int)k;
    return 0;
}

static int parse(const struct tool *t, int argc, char **argv, struct parsed *p, struct err *e)
{
    bool only_operands = false;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (!only_operands && !strcmp(a, "--"))
            only_operands = true;
        else if (!only_operands && a[0] == '-' && a[1]) {
            if (parse_option(t, argc, argv, &i, p, e))
                return -1;
        } else
            p->operand[p->n++] = a;
    }
    if (p->help || p->version)
        return 0;
    if (p->n < t->min_operands)
        return err_set(e, ERR_CONFIG, "missing %s; usage: %s %s", t->operands, t->name, t->usage);
    if (p->n > t->max_operands)
        return err_set(e, ERR_CONFIG, "unexpected argument '%s'; usage: %s %s", p->operand[t->max_operands], t->name,
                       t->usage);
    return 0;
}

int cli_main(const struct tool *t, cli_run_fn *run, int argc, char **argv)
{
    tool_name = t->name;
    struct err e = {0};
    char **arg;
    int n_args = 0;
    int rc = expand(argc, argv, &n_args, &arg, &e);
    struct parsed p = {.operand = xcalloc((size_t)n_args + 1, sizeof *p.operand)};
    if (!rc)
        rc = parse(t, n_args, arg, &p, &e);
    int code = 0;
    if (!rc && p.help)
        code = print_help(t);
    else if (!rc && p.version) {
        printf("%s %s\n", t->name, version_text());
        code = flushed();
    } else {
        if (!rc)
            rc = open_logs(&e) || run(p.operand, p.n, &e) ? -1 : 0;
        if (rc) {
            final_error("%s", e.msg);
            code = err_exit_code(&e);
            if (!code)
                BUG("%s failed without an error", t->name);
        }
    }
    close_logs();
    free(p.operand);
    free(arg);
    for (const struct cli_option *o = t->options; o && o->name; o++)
        if (o->type == CLI_LIST)
            free(((struct cli_list *)o->value)->item);
    return code;
}

/* ---- progress ---- */

double cli_seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static void progress_text(const struct cli_progress *p, double now, char *out, size_t n)
{
    const double dt = now - p->started, rate = dt > 0 ? p->done / dt : 0;
    const double left = rate > 0 ? (p->total - p->done) / rate : 0;
    snprintf(out, n, "%s %3.0f %%, %.4g %s/s, %.0f s left", p->what, p->total > 0 ? 100 * p->done / p->total : 0, rate,
             p->unit, left);
}

static void log_text(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void log_text(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    log_line("", fmt, ap);
    va_end(ap);
}

void cli_progress_start(struct cli_progress *p, const char *what, const char *unit, double total)
{
    const double now = cli_seconds();
    *p = (struct cli_progress){.what = what, .unit = unit, .total = total, .started = now, .last = now};
}

void cli_progress_step(struct cli_progress *p, double more)
{
    p->done += more;
    const double now = cli_seconds();
    const bool tty = isatty(STDERR_FILENO);
    char text[256];
    progress_text(p, now, text, sizeof text);
    if (now - (p->logged > 0 ? p->logged : p->started) >= 10) {
        log_text("%s", text);
        p->logged = now;
    }
    if (now - p->started < 2 || (!tty && !verbose))
        return;
    if (now - (p->shown > 0 ? p->shown : p->last) >= (tty ? 0.2 : 10) || (p->shown <= 0 && tty)) {
        fprintf(stderr, "%s%s: %s%s", tty ? "\r" : "", tool_name, text, tty ? "   " : "\n");
        p->shown = now;
    }
}

void cli_progress_end(struct cli_progress *p)
{
    if (p->shown > 0 && isatty(STDERR_FILENO))
        fprintf(stderr, "\r%78s\r", "");
}
