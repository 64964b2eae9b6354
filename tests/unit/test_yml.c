/* yml: what is read, what is refused and where, what is written. */
#include "mem.h"
#include "tap.h"
#include "yml.h"

static const struct {
    const char *name, *text;
    enum err_code code;
    const char *message;
} refused[] = {
    {"tab", "a:\n\tb: 1\n", ERR_CONFIG, "f.yaml:2:1: a tab in the indentation"},
    {"unclosed list", "a: [1, 2\nb: 3\n", ERR_CONFIG, "f.yaml:2:2: not valid YAML: did not find expected ',' or ']'"},
    {"two colons", "ok: 1\na: b: c\n", ERR_CONFIG, "f.yaml:2:5: not valid YAML"},
    {"duplicate key", "a: 1\nb: 2\na: 3\n", ERR_CONFIG, "f.yaml:3:1: key 'a' is already set on line 1"},
    {"duplicate key in a flow mapping", "x:\n  {k: 1, 'k': 2}\n", ERR_CONFIG,
     "f.yaml:2:10: key 'k' is already set on line 2"},
    {"anchor", "a: &x 1\n", ERR_CONFIG, "f.yaml:1:4: anchors and aliases"},
    {"alias", "a: *x\n", ERR_CONFIG, "anchors and aliases"},
    {"alias as key", "*x : 1\n", ERR_CONFIG, "anchors and aliases"},
    {"bomb", "a: &a [1,1]\nb: &b [*a,*a,*a]\nc: &c [*b,*b,*b]\n", ERR_CONFIG, "f.yaml:1:4: anchors and aliases"},
    {"tag", "a: !!int '3'\n", ERR_CONFIG, "tags are not supported"},
    {"tag of a list", "a: !x [1]\n", ERR_CONFIG, "tags are not supported"},
    {"two documents", "a: 1\n---\nb: 2\n", ERR_CONFIG, "f.yaml:2:1: a second document"},
    {"list as key", "? [1, 2]\n: 3\n", ERR_CONFIG, "a key must be a word"},
    {"empty key", "a: 1\n'': 2\n", ERR_CONFIG, "f.yaml:2:1: an empty key"},
    {"NUL", "a: \"x\\0y\"\n", ERR_CONFIG, "a NUL character"},
    {"bad UTF-8", "a: 1\nbcd: \xff\n", ERR_CONFIG, "f.yaml:2:6: not a text file in UTF-8"},
    {"control character", "a: 1\n# \x01\n", ERR_CONFIG, "f.yaml:2:3: not a text file in UTF-8"},
    {"surrogate", "a: \"\\uD800\"\n", ERR_CONFIG, "not valid YAML"},
};

static void test_refused(void)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct yml_node n;
        struct err e = {0};
        const int rc = yml_parse(&n, refused[i].text, strlen(refused[i].text), "f.yaml", &e);
        ok(rc < 0 && !n.text && !n.item, "refused: %s", refused[i].name);
        if (!ok(e.code == refused[i].code && strstr(e.msg, refused[i].message), "refused: %s: message",
                refused[i].name))
            diag("%d: %s", (int)e.code, e.msg);
        yml_free(&n);
    }
}

/* `depth` lists inside each other, `width` ones in the innermost: refused only above the limit. */
static void test_limit(const char *name, size_t depth, size_t width, bool allowed)
{
    char *text = xmalloc(2 * (depth + width) + 1, 1), *p = text;
    memset(p, '[', depth);
    p += depth;
    for (size_t i = 0; i < width; i++, p += 2)
        memcpy(p, "1,", 2);
    memset(p, ']', depth);
    p[depth] = 0;
    struct yml_node n;
    struct err e = {0};
    const int rc = yml_parse(&n, text, strlen(text), "f.yaml", &e);
    ok(allowed ? rc == 0 : rc < 0 && e.code == ERR_LIMIT && strstr(e.msg, "more than"), "%s", name);
    yml_free(&n);
    free(text);
}

static void test_limits(void)
{
    test_limit("deepest allowed", YML_MAX_DEPTH, 1, true);
    test_limit("too deep", YML_MAX_DEPTH + 1, 1, false);
    test_limit("absurdly deep", 500000, 0, false);
    test_limit("most values allowed", 1, YML_MAX_NODES - 1, true);
    test_limit("too many values", 1, YML_MAX_NODES, false);
    char *big = xcalloc(YML_MAX_SIZE + 2, 1);
    memset(big, '#', YML_MAX_SIZE + 1);
    struct yml_node n;
    struct err e = {0};
    ok(yml_parse(&n, big, YML_MAX_SIZE, "f.yaml", &e) == 0, "largest file allowed");
    yml_free(&n);
    ok(yml_parse(&n, big, YML_MAX_SIZE + 1, "f.yaml", &e) < 0 && e.code == ERR_LIMIT, "too large a file");
    ok(yml_load(&n, "no/such/file.yaml", &e) < 0 && e.code == ERR_IO, "missing file");
    free(big);
}

static void test_tree(void)
{
    static const char text[] =
        "# comment\nmodel:\n  name: x # why\n  sizes: [1, 2.5,\n    '3']\nnone:\nlast: \"q\\tr\"\n";
    struct yml_node root;
    struct err e;
    if (!ok(yml_parse(&root, text, sizeof text - 1, "f.yaml", &e) == 0, "parse a tree"))
        return;
    const struct yml_node *model = yml_find(&root, "model"), *sizes = yml_find(model, "sizes");
    ok(root.kind == YML_MAPPING && root.n == 3 && model->kind == YML_MAPPING && model->line == 2,
       "mapping and its line");
    is_str(yml_find(model, "name")->text, "x", "comment is not part of a value");
    ok(sizes && sizes->kind == YML_SEQUENCE && sizes->n == 3 && sizes->line == 4, "sequence and its line");
    ok(sizes->item[2].line == 5 && !sizes->item[2].plain && !sizes->item[2].key, "quoted element on its own line");
    ok(yml_is_null(yml_find(&root, "none")), "no value is null");
    is_str(yml_find(&root, "last")->text, "q\tr", "escape");
    ok(!yml_find(&root, "absent"), "absent key");
    yml_free(&root);

    ok(yml_parse(&root, "# nothing\n", 10, "f.yaml", &e) == 0 && yml_is_null(&root), "comments only are null");
    yml_free(&root);
    ok(yml_parse(&root, "\xef\xbb\xbf" "a: 1\r\n", 9, "f.yaml", &e) == 0 && yml_find(&root, "a"), "BOM and CRLF");
    yml_free(&root);
    static const char json[] = "{\"a\": [true, null, 1e3],\n\t\"b\": \"x\"}";
    ok(yml_parse(&root, json, sizeof json - 1, "f.json", &e) == 0 && root.n == 2, "JSON");
    yml_free(&root);
}

static const struct {
    const char *text; /* as in the file */
    const char *types; /* n null, b bool, i int, r real, s string */
    double value;
} scalars[] = {
    {"", "n", 0},          {"~", "n", 0},         {"null", "n", 0},        {"''", "s", 0},       {"'null'", "s", 0},
    {"true", "b", 1},      {"False", "b", 0},     {"yes", "s", 0},         {"no", "s", 0},       {"tRUE", "s", 0},
    {"12", "ir", 12},      {"-3", "ir", -3},      {"+7", "ir", 7},         {"007", "ir", 7},     {"0x1F", "ir", 31},
    {"0o17", "ir", 15},    {"'12'", "s", 0},      {"12a", "s", 0},         {"0x", "s", 0},       {"1_000", "s", 0},
    {"8.0", "r", 8},       {"1e3", "r", 1000},    {"-.5", "r", -0.5},      {"5.", "r", 5},       {".", "s", 0},
    {".inf", "", 0},       {".nan", "", 0},       {"1e999", "", 0},        {"1e", "s", 0},       {"nan", "s", 0},
    {"9223372036854775807", "ir", 9223372036854775807.0}, {"9223372036854775808", "r", 9223372036854775808.0},
    {"1 2", "s", 0},       {"-", "", 0},          {"2025-01-02", "s", 0},  {"inf", "s", 0},
};

static void test_scalars(void)
{
    for (size_t i = 0; i < sizeof scalars / sizeof *scalars; i++) {
        char *text = xasprintf("a: %s\n", scalars[i].text);
        struct yml_node root;
        struct err e;
        if (yml_parse(&root, text, strlen(text), "f.yaml", &e)) {
            ok(!strcmp(scalars[i].text, "-"), "scalar '%s' parses", scalars[i].text);
            free(text);
            continue;
        }
        const struct yml_node *n = yml_find(&root, "a");
        char got[8] = "", *p = got;
        bool b = false;
        int64_t whole = 0;
        double real = 0;
        const char *s;
        if (yml_is_null(n))
            *p++ = 'n';
        if (yml_bool(n, &b))
            *p++ = 'b';
        if (yml_int(n, &whole))
            *p++ = 'i';
        if (yml_real(n, &real))
            *p++ = 'r';
        if (yml_string(n, &s))
            *p++ = 's';
        if (!ok(!strcmp(got, scalars[i].types), "scalar '%s' has the types '%s'", scalars[i].text, scalars[i].types))
            diag("got '%s'", got);
        if (strchr(got, 'r'))
            ok(real == scalars[i].value, "scalar '%s' has its value", scalars[i].text);
        if (strchr(got, 'b'))
            ok(b == (scalars[i].value != 0), "scalar '%s' has its value", scalars[i].text);
        yml_free(&root);
        free(text);
    }
}

static const struct {
    const char *string, *written;
} strings[] = {
    {"fp4_fp8", "fp4_fp8"},
    {"models/tiny", "models/tiny"},
    {"/a/b-c.d", "/a/b-c.d"},
    {"./x", "./x"},
    {"../x", "../x"},
    {"", "\"\""},
    {"12", "\"12\""},
    {"1e3", "\"1e3\""},
    {"null", "\"null\""},
    {"True", "\"True\""},
    {"no", "\"no\""},
    {"oN", "\"oN\""},
    {"y", "\"y\""},
    {"~", "\"~\""},
    {"~/x", "\"~/x\""},
    {".inf", "\".inf\""},
    {".5", "\".5\""},
    {"...", "\"...\""},
    {"---", "\"---\""},
    {"a b", "\"a b\""},
    {"a: b", "\"a: b\""},
    {"a #b", "\"a #b\""},
    {"$HOME", "\"$HOME\""},
    {"it's", "\"it's\""},
    {"\"q\"", "\"\\\"q\\\"\""},
    {"a\\b", "\"a\\\\b\""},
    {"a\nb\tc", "\"a\\nb\\tc\""},
    {"\x01\x7f", "\"\\u0001\\u007F\""},
    {"caf\xc3\xa9", "\"caf\xc3\xa9\""},
    {"\xc2\x85", "\"\\u0085\""},
    {"\xe2\x80\xa8", "\"\\u2028\""},
    {"\xef\xbb\xbf", "\"\\uFEFF\""},
    {"\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\""},
    {"2025-01-02", "\"2025-01-02\""},
    {"\xf0\x9f\xbf\xbf", "\"\\U0001FFFF\""},
    {"[a]", "\"[a]\""},
    {"*x", "\"*x\""},
    {"!x", "\"!x\""},
    {"%x", "\"%x\""},
};

/* Every string is written as expected and read back as itself, as a value and as a string whatever it looks like. */
static void test_strings(void)
{
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
        char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);
        fputs("a: ", f);
        yml_put_string(f, strings[i].string);
        fclose(f);
        is_str(text + 3, strings[i].written, "written as expected");
        struct yml_node root;
        struct err e;
        const char *back = NULL;
        const int rc = yml_parse(&root, text, size, "f.yaml", &e);
        if (!ok(rc == 0 && yml_string(yml_find(&root, "a"), &back) && !strcmp(back, strings[i].string), "reads back"))
            diag("%s", rc ? e.msg : back ? back : "not a string");
        yml_free(&root);
        free(text);
    }
    ok(yml_is_utf8("caf\xc3\xa9") && !yml_is_utf8("\xe9") && !yml_is_utf8("\xc0\xaf") && !yml_is_utf8("\xed\xa0\x80"),
       "UTF-8 is told from Latin-1, overlong forms and surrogates");
}

static void test_reals(void)
{
    static const struct {
        double x;
        const char *text;
    } reals[] = {{8, "8.0"}, {0.1, "0.1"}, {1e-5, "1.0e-05"}, {1e22, "1.0e+22"}, {1.5e-7, "1.5e-07"}, {-2.25, "-2.25"}};
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        char text[YML_REAL];
        yml_real_text(reals[i].x, text);
        is_str(text, reals[i].text, "a real");
    }
}

int main(void)
{
    test_refused();
    test_limits();
    test_tree();
    test_scalars();
    test_strings();
    test_reals();
    return done();
}
