/* Any bytes as a manifest: refused or read, and then reports, comparison, publishing and search work on it. Also as
 * scores.json. */
#include <stdint.h>
#include <stdio.h>

#include "manifest.h"
#include "publish_clean.h"
#include "recipe.h"
#include "report.h"
#include "report_index_set.h"
#include "scores.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void compare(const struct manifest *m)
{
    struct index_cell c = {.m = *m};
    const struct index_cell *const both[] = {&c, &c};
    struct index_set set;
    struct err e;
    if (manifest_name_of(&c.name, m, NULL, "input", &e))
        return;
    report_view_init(&c.view, m);
    if (index_compare_cells(&c, &c))
        BUG("a cell differs from itself");
    if (c.view.n) {
        index_set_init(&set, both, 2);
        if (index_disagreements(&set))
            BUG("a run disagrees with itself");
        index_set_free(&set);
    }
    report_view_free(&c.view);
    manifest_name_free(&c.name);
}

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
    compare(m);
    publish_clean_json(m->doc);
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
