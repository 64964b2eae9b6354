/* yml_tree: merging, and where the merged values came from. */
#include "tap.h"
#include "yml_tree.h"

static const struct {
    const char *name, *into, *from, *want;
} merges[] = {
    {"a new key", "a: 1", "b: 2", "{a: 1, b: 2}"},
    {"later wins", "a: 1", "a: 2", "{a: 2}"},
    {"mappings grow together", "a: {x: 1, y: 2}", "a: {y: 3, z: 4}", "{a: {x: 1, y: 3, z: 4}}"},
    {"three levels down", "a: {b: {c: 1}}", "a: {b: {d: 2}}", "{a: {b: {c: 1, d: 2}}}"},
    {"lists are replaced", "a: [1, 2]", "a: [3]", "{a: [3]}"},
    {"null replaces a mapping", "a: {x: 1}", "a: null", "{a: null}"},
    {"a mapping replaces a scalar", "a: 1", "a: {x: 1}", "{a: {x: 1}}"},
    {"nothing into something", "a: 1", "{}", "{a: 1}"},
    {"something into nothing", "{}", "a: {b: 1}", "{a: {b: 1}}"},
};

static void print(const struct yml_node *n, FILE *f)
{
    if (n->kind == YML_SCALAR) {
        fputs(n->text, f);
        return;
    }
    const bool map = n->kind == YML_MAPPING;
    fputc(map ? '{' : '[', f);
    for (size_t i = 0; i < n->n; i++) {
        fputs(i ? ", " : "", f);
        if (map)
            fprintf(f, "%s: ", n->item[i].key);
        print(&n->item[i], f);
    }
    fputc(map ? '}' : ']', f);
}

static void is_tree(const struct yml_node *n, const char *want, const char *name)
{
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    print(n, f);
    fclose(f);
    is_str(text, want, name);
    free(text);
}

static void test_merge(void)
{
    for (size_t i = 0; i < sizeof merges / sizeof *merges; i++) {
        struct yml_node into, from;
        struct err e;
        if (yml_parse(&into, merges[i].into, strlen(merges[i].into), "into", &e) ||
            yml_parse(&from, merges[i].from, strlen(merges[i].from), "from", &e)) {
            ok(false, "%s", e.msg);
            continue;
        }
        yml_merge(&into, &from);
        yml_free(&from); /* a copy was merged */
        is_tree(&into, merges[i].want, merges[i].name);
        yml_free(&into);
    }
}

static void test_places(void)
{
    static const char text[] = "a:\n  b:\n    d: 5\n";
    struct yml_node tree, line = yml_nest("a.b.c", yml_scalar("4", true, "an option"));
    struct err e;
    char where[YML_WHERE];
    ok(yml_parse(&tree, text, sizeof text - 1, "f.yaml", &e) == 0, "a file");
    yml_merge(&tree, &line);
    yml_free(&line);
    is_tree(&tree, "{a: {b: {d: 5, c: 4}}}", "and an option");
    is_str(yml_where(yml_at(&tree, "a.b.d"), where), "f.yaml:3", "place in the file");
    is_str(yml_where(yml_at(&tree, "a.b"), where), "f.yaml:2", "the mapping stays the file's");
    is_str(yml_where(yml_at(&tree, "a.b.c"), where), "an option", "place of the option");
    static const char *const missing[] = {"b", "a.c", "a.b.d.e", "a.", "", "a.bb", ".a"};
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
        ok(!yml_at(&tree, missing[i]), "nothing at '%s'", missing[i]);
    yml_free(&tree);
}

int main(void)
{
    test_merge();
    test_places();
    return done();
}
