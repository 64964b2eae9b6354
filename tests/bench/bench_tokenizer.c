/* Tokenizer throughput on one core: captions, then texts that are hard on one part of it; and the time to load. */
#include "cli.h"
#include "io.h"
#include "mem.h"
#include "tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES = 16 << 20 };

/* Sentences of a small grammar: caption-like, 16 MB of them, none twice in a row. */
static char *captions(size_t *n)
{
    static const char *const subject[] = {
        "A man",          "Two women",    "The brown dog",         "A small child",
        "Several people", "An old train", "A black and white cat", "The baseball player"};
    static const char *const verb[] = {"riding",     "sitting on", "standing next to",
                                       "looking at", "holding",    "flying over"};
    static const char *const object[] = {
        "a surfboard",     "the wooden table",        "a red umbrella",     "some snow-covered mountains",
        "a plate of food", "an open laptop computer", "the street at night"};
    static const char *const end[] = {".", " in the park.", " with his friends", ", wearing a helmet.",
                                      " near 12 boats."};
    char *text = xmalloc(BYTES + 256, 1);
    size_t k = 0;
    for (uint32_t r = 1; k < BYTES;) {
        r = r * 1664525u + 1013904223u;
        k += (size_t)snprintf(text + k, 256, "%s %s %s%s\n", subject[r >> 29], verb[(r >> 20) % 6],
                              object[(r >> 12) % 7], end[(r >> 5) % 5]);
    }
    *n = k;
    return text;
}

static char *repeated(const char *unit, size_t *n)
{
    const size_t len = strlen(unit);
    char *text = xmalloc(BYTES, 1);
    *n = BYTES / 4 / len * len;
    for (size_t i = 0; i < *n; i += len)
        memcpy(text + i, unit, len);
    return text;
}

static void bench(struct tokenizer *t, const char *what, char *text, size_t n, bool lines)
{
    struct err e;
    struct token_ids ids = {0};
    size_t n_ids = 0;
    const double start = cli_seconds();
    for (size_t begin = 0, len; begin < n; begin += len) {
        const char *newline = lines ? memchr(text + begin, '\n', n - begin) : NULL;
        len = newline ? (size_t)(newline + 1 - (text + begin)) : n - begin;
        ids.n = 0;
        if (tokenizer_encode(t, text + begin, len - (newline != NULL), 0, &ids, &e)) {
            fprintf(stderr, "%s: %s\n", what, e.msg);
            exit(1);
        }
        n_ids += ids.n;
    }
    const double s = cli_seconds() - start;
    printf("%-24s %6.1f MB/s  %6.2f million ids/s\n", what, (double)n / s / 1e6, (double)n_ids / s / 1e6);
    free(ids.id);
    free(text);
}

int main(void)
{
    struct err e;
    size_t n;
    const double start = cli_seconds();
    struct tokenizer *t = tokenizer_open("models/tiny_qwen3_vl/tokenizer.json", &e);
    if (!t) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    printf("load                     %6.1f ms\n", 1e3 * (cli_seconds() - start));
    char *text = captions(&n);
    bench(t, "captions", text, n, true);
    static const struct {
        const char *name, *unit;
    } hard[] = {{"one word of 4 MB", "surfboard"},
                {"4 MB of spaces", " "},
                {"Japanese", "\xe6\x9d\xb1\xe4\xba\xac\xe3\x81\xae"},
                {"combining marks", "e\xcc\x81\xcc\xa3"}};
    for (size_t i = 0; i < sizeof hard / sizeof *hard; i++) {
        text = repeated(hard[i].unit, &n);
        bench(t, hard[i].name, text, n, false);
    }
    tokenizer_close(t);
    return 0;
}
