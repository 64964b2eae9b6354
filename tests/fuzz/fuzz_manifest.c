/* Any bytes as a manifest: refused or read, and then both reports and the search work on it. Also as scores.json. */
#include <stdint.h>
#include <stdio.h>

#include "manifest.h"
#include "recipe.h"
#include "report.h"
#include "scores.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const struct manifest *m)
{
    static FILE *sink;
    if (!sink)
        sink = fopen("/dev/null", "w");
    if (!sink)
        return;
    struct err e;
    struct recipe_menu menu = {0};
    struct recipe r;
    json_t *report = report_json(m);
    json_print(sink, report, 2);
    json_decref(report);
    report_md(sink, m, "bits: 8\n");
    if (!recipe_add_manifest(&menu, m, "input", &e) && !recipe_solve(&menu, 6, true, &r, &e)) {
        json_decref(recipe_json(&menu, &r, NULL));
        recipe_free(&r);
    }
    recipe_menu_free(&menu);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e;
    struct manifest m;
    struct scores s;
    if (!manifest_parse(&m, (const char *)data, size, "input", &e)) {
        use(&m);
        manifest_free(&m);
    }
    if (!scores_parse(&s, (const char *)data, size, "input", &e))
        scores_free(&s);
    return 0;
}
