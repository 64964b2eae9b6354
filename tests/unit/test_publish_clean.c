/* Absolute paths and host names are taken out of what is published; everything else stays. */
#include "publish_clean.h"

#include <stdlib.h>
#include <unistd.h>

#include "mem.h"
#include "tap.h"

static void test_texts(char *cwd)
{
    const struct {
        const char *name, *text, *want;
    } row[] = {
        {"a relative path", "path: models/tiny", "path: models/tiny"},
        {"a value to the end of the line", "path: /home/me/my model\nx: 1\n", "path: my model\nx: 1\n"},
        {"a quoted value", "path: \"/home/me/a \\\" b\"  # x", "path: \"a \\\" b\"  # x"},
        {"single quotes", "a: ['/x/y', '/z']", "a: ['y', 'z']"},
        {"a list", "a: [/x/y, /z/w]", "a: [y, w]"},
        {"an option", "make MODEL=/home/me/x PAIR=fp4_fp8", "make MODEL=x PAIR=fp4_fp8"},
        {"options in a line", "tool --lm /a/b.json -o /c/d", "tool --lm b.json -o d"},
        {"an address", "see https://example.org/a/b", "see https://example.org/a/b"},
        {"a quotient", "a / b, 1/2, dL/dY", "a / b, 1/2, dL/dY"},
        {"two paths in a text", "(/a/b) and /c", "(b) and c"},
        {"slashes at the end", "x: /a/b//", "x: b"},
        {"a snapshot of the cache", "id: /u/hub/models--Org--Name-4B/snapshots/0123/", "id: Org/Name-4B"},
        {"what only looks like a snapshot", "id: /u/models--a=/b/snapshots/c", "id: c"},
        {"an organisation without a name", "id: /u/models----x/snapshots/c", "id: --x"},
        {"a quote that is not closed", "x: \"/a/b\ny: 1", "x: \"b\ny: 1"},
        {"nothing", "", ""},
        {"a backslash at the end", "x: \"/a/b\\", "x: \"b\\"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char *got = publish_clean_text(row[i].text);
        is_str(got, row[i].want, row[i].name);
        free(got);
    }
    char *text = xasprintf("path: %s/models/tiny\nother: %s2/x\n=%s//b", cwd, cwd, cwd),
         *got = publish_clean_text(text);
    is_str(got, "path: models/tiny\nother: x\n=b", "below the working directory, and beside it");
    free(text);
    free(got);
}

static void test_documents(void)
{
    json_t *doc = json_loads(
        "{\"a\": \"/x/y z\", \"host\": \"h\", \"n\": 1, \"list\": [\"/p/q\", {\"host\": \"h\", \"k\": \"-o /r/s\"}],"
        " \"o\": {\"path\": \"c/d\"}}",
        0, NULL);
    json_t *want = json_loads(
        "{\"a\": \"y z\", \"n\": 1, \"list\": [\"q\", {\"k\": \"-o s\"}], \"o\": {\"path\": \"c/d\"}}", 0, NULL);
    publish_clean_json(doc);
    ok(want && json_equal(doc, want), "strings at every level, host members");
    json_decref(doc);
    json_decref(want);
}

int main(void)
{
    char *cwd = getcwd(NULL, 0);
    test_texts(cwd);
    test_documents();
    free(cwd);
    return done();
}
