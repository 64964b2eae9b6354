/* cli - what every program shares: the option table that parses and prints the help, messages, the progress line.
 *
 * This is the only module of lib/ that prints. A program is a `struct tool` and a run function:
 *     int main(int argc, char **argv) { return cli_main(&tool, run, argc, argv); }
 * Exit codes: 0 ok, 1 run time, 2 usage or configuration, 3 malformed input. Data goes to stdout, all else to stderr.
 */
#ifndef CLI_H
#define CLI_H
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "err.h"

struct cli_list { /* a repeatable option's values, in order */
    const char **item;
    size_t n;
};

enum cli_type {
    CLI_FLAG,   /* bool * */
    CLI_STRING, /* const char **, NULL = not given */
    CLI_INT,    /* long *, checked against min..max; CLI_UNSET = not given, no default to print */
    CLI_SIZE,   /* size_t *, bytes; suffixes K, M, G, T (powers of 1024) */
    CLI_REAL,   /* double *, finite */
    CLI_LIST,   /* struct cli_list * */
};

#define CLI_UNSET LONG_MIN

struct cli_option {
    const char *name; /* long name without dashes; NULL ends the table */
    char letter;      /* short name, or 0 */
    enum cli_type type;
    void *value;      /* holds the default when the program starts; the help prints it from here */
    const char *arg;  /* what the help calls the argument, e.g. "FILE" */
    const char *help; /* one or more lines */
    long min, max;    /* CLI_INT only */
};

struct tool {
    const char *name;
    const char *summary;  /* one line: what it reads, what it writes */
    const char *usage;    /* after the name: "[options] CAPTIONS" */
    const char *details;  /* paragraphs printed under the options, or NULL */
    const char *example;  /* one command line, run by the tests from the top of the repository */
    const char *operands; /* what the operands are, for messages: "captions file" */
    int min_operands, max_operands;
    const struct cli_option *options;
};

/* operand[n] are the arguments that are not options. Returns 0 or -1 with *e set. */
typedef int cli_run_fn(const char *const *operand, int n, struct err *e);

/* Parse, run, report; returns the exit code. -h/--help, --version, -v/--verbose, --log are added to every table.
 * A log gets a line "TIME NAME: message" for each message, those of -v too, and for progress every ten seconds; the
 * last one of a program that fails is "TIME error: NAME: message".
 * An argument "@FILE" stands for the lines of FILE, one argument a line, nothing quoted: the slices that
 * compose-config writes. */
int cli_main(const struct tool *t, cli_run_fn *run, int argc, char **argv);

/* "NAME: message" on stderr. */
void cli_note(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* The same, only under -v. */
void cli_verbose(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Progress of a job over two seconds, on stderr: rewritten in place on a terminal, a plain line every ten seconds
 * under -v, silent otherwise. One job at a time. */
struct cli_progress {
    const char *what, *unit; /* "score", "token": for the rate */
    double total, done, started, shown, logged, last;
};
void cli_progress_start(struct cli_progress *p, const char *what, const char *unit, double total);
void cli_progress_step(struct cli_progress *p, double more);
void cli_progress_end(struct cli_progress *p);

/* Seconds of a monotonic clock. */
double cli_seconds(void);

#endif
