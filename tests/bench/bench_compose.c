/* Time to compose 1,000 cells of a sweep: in memory, and by the program from its start to the last file written. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "config_compose.h"
#include "mem.h"

enum { CELLS = 1000 };

static const char *const pairs[] = {"fp4_fp8", "fp4_fp16", "fp8_fp8", "fp8_fp16", "int8_fp8", "int8_fp16"};
static const char *const granularities[] = {"default", "w_group64", "a_per_token_dynamic"};
enum { N_PAIRS = sizeof pairs / sizeof *pairs, N_GRANULARITIES = sizeof granularities / sizeof *granularities };

static struct config_cell cell_of(int i, char n[16])
{
    snprintf(n, 16, "%d", 16 + i / (N_PAIRS * N_GRANULARITIES));
    return (struct config_cell){pairs[i % N_PAIRS], granularities[i / N_PAIRS % N_GRANULARITIES], n};
}

static int in_memory(void)
{
    static const char *const set[] = {"autoquant.effective_bits=6 dataset.root=${dataset.captions}.d"};
    const struct config_request r = {.conf = "conf", .preset = "default", .set = set, .n_set = 1};
    struct err e = {0};
    const double begin = cli_seconds();
    struct config_composer *k = config_composer_new(&r, &e);
    for (int i = 0; k && i < CELLS && !e.code; i++) {
        struct config c;
        char n[16];
        const struct config_cell cell = cell_of(i, n);
        if (!config_compose(k, &cell, &c, &e)) {
            char *text;
            size_t size;
            FILE *f = open_memstream(&text, &size);
            config_print(&c, f);
            fclose(f);
            free(text);
        }
        config_free(&c);
    }
    config_composer_free(k);
    if (e.code) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    printf("%d configurations in memory: %.3f s\n", CELLS, cli_seconds() - begin);
    return 0;
}

/* Run a program to its end; 0 where it succeeded. */
static int run(const char *const *argv)
{
    const pid_t pid = fork();
    if (!pid) {
        execv(argv[0], (char *const *)argv);
        _exit(127);
    }
    int status = 1;
    return pid < 0 || waitpid(pid, &status, 0) < 0 ? 1 : status;
}

static int timed(const char *const *argv, const char *what)
{
    const double begin = cli_seconds();
    if (run(argv)) {
        fprintf(stderr, "%s failed\n", argv[0]);
        return 1;
    }
    printf("%d cells by the program, %s: %.3f s\n", CELLS, what, cli_seconds() - begin);
    return 0;
}

int main(void)
{
    const char *build = getenv("QSENS_BUILD_DIR"), *tmp = getenv("TMPDIR");
    char *dir = xasprintf("%s/qsens-bench-XXXXXX", tmp ? tmp : "/tmp"), *argv[CELLS + 2] = {NULL};
    if (in_memory())
        return 1;
    if (!mkdtemp(dir)) {
        perror(dir);
        return 1;
    }
    argv[0] = xasprintf("%s/compose-config", build ? build : "tmp/build/release");
    for (int i = 0; i < CELLS; i++) {
        char n[16];
        const struct config_cell c = cell_of(i, n);
        argv[i + 1] = xasprintf("--cell=%s,%s,%s=%s/%d", c.pair, c.granularity, n, dir, i);
    }
    int rc = timed((const char *const *)argv, "every file new");
    if (!rc)
        rc = timed((const char *const *)argv, "nothing changed");
    const char *const clean[] = {"/bin/rm", "-rf", dir, NULL};
    if (run(clean))
        rc = 1;
    for (int i = 0; i <= CELLS; i++)
        free(argv[i]);
    free(dir);
    return rc;
}
