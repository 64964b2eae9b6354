/* Any bytes as YAML: no crash; every string of the tree is written so that it reads back as itself. */
#include <stdlib.h>
#include <string.h>

#include "pair.h"
#include "yml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_string(const char *s)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    yml_put_string(f, s);
    fclose(f);
    struct yml_node back;
    struct err e;
    const char *got = NULL;
    if (yml_parse(&back, text, n, "written", &e) || !yml_string(&back, &got) || strcmp(got, s))
        abort();
    yml_free(&back);
    free(text);
}

static void walk(const struct yml_node *n)
{
    if (n->key)
        check_string(n->key);
    if (n->text) {
        bool b;
        int64_t i;
        double x;
        const char *s;
        char said[64];
        check_string(n->text);
        if (yml_is_null(n) + yml_bool(n, &b) + yml_real(n, &x) + yml_string(n, &s) > 1 ||
            (yml_int(n, &i) && !yml_real(n, &x)))
            abort();
        yml_describe(n, said, sizeof said);
    }
    for (size_t i = 0; i < n->n; i++)
        walk(&n->item[i]);
}

/* What is printed loads, and prints the same again. */
static void check_pair(const struct pair *p)
{
    char *text[2] = {NULL, NULL};
    size_t n[2] = {0, 0};
    struct pair now = *p;
    for (int i = 0; i < 2; i++) {
        FILE *f = open_memstream(&text[i], &n[i]);
        pair_print(&now, f, 0);
        fclose(f);
        struct err e;
        if (pair_parse(&now, text[i], n[i], "written", &e))
            abort();
    }
    if (strcmp(text[0], text[1]))
        abort();
    free(text[0]);
    free(text[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = {0};
    struct yml_node root;
    if (!yml_parse(&root, (const char *)data, size, "fuzz", &e))
        walk(&root);
    else if (e.code == ERR_NONE || !e.msg[0])
        abort();
    yml_free(&root);

    struct pair p;
    if (!pair_parse(&p, (const char *)data, size, "fuzz", &e))
        check_pair(&p);
    return 0;
}
