/* Sections of the Markdown report on errors and parts, to the byte, on a manifest of two groups. */
#include "report_stats.h"

#include <stdlib.h>

#include "mem.h"
#include "tap.h"

static const char doc[] =
    "{'statistics': {'confidence': 0.95, 'sequences': 1280, 'loss_tokens': 16520, 'resamples': 1000,"
    "  'no_errors': null, 'total': {'score': {'se': 0.5, 'low': 2.0, 'high': 5.0},"
    "  'nats_per_token': {'value': 0.25, 'se': 0.01, 'low': 0.2, 'high': 0.3}}},"
    " 'split': {'weight': 2.5, 'activation': 0.25, 'interaction': 0.25, 'interaction_share': 0.0833},"
    " 'groups': ["
    "  {'name': 'm.layers.0.mlp.gate_proj', 'members': ["
    "    {'unit': 'm.layers.0.mlp.gate_proj', 'statistics': {'share': 0.25}},"
    "    {'unit': 'm.layers.0.mlp.up_proj', 'statistics': {'share': 0.75}}],"
    "   'statistics': {'score': {'se': 0.4, 'low': 1.5, 'high': 2.5}, 'worst': 'm.layers.0.mlp.up_proj',"
    "    'nats_per_token': {'value': 0.125, 'se': 0.01, 'low': 0.1, 'high': 0.15},"
    "    'rank': {'value': 1, 'low': 1, 'high': 2, 'band': 1}},"
    "   'split': {'weight': 2.25, 'activation': 0.0, 'interaction': -0.25, 'interaction_share': -0.125}},"
    "  {'name': 'lm_head', 'members': [{'unit': 'lm_head', 'statistics': {'share': 1.0}}],"
    "   'statistics': {'score': {'se': null, 'low': null, 'high': null}, 'worst': 'lm_head',"
    "    'nats_per_token': {'value': 0.125, 'se': null, 'low': null, 'high': null},"
    "    'rank': {'value': 2, 'low': null, 'high': null, 'band': null}},"
    "   'split': {'weight': 0.25, 'activation': 0.25, 'interaction': 0.5, 'interaction_share': null}}]}";

/* The two sections of the document with one change. */
static char *sections(const char *from, const char *to)
{
    char *text = xstrdup(doc), *buf = NULL, *at = from ? strstr(text, from) : NULL;
    size_t n = 0;
    if (at) {
        char *changed = xasprintf("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
        free(text);
        text = changed;
    }
    for (char *p = text; *p; p++)
        *p = (char)(*p == '\'' ? '"' : *p);
    json_t *qsens = json_loads(text, 0, NULL);
    struct manifest m = {.scheme = "s", .model_id = "m", .qsens = qsens};
    struct report_view v;
    sens_add_format(sens_add(&m.table, "m.layers.0.mlp.gate_proj", 16), "X", 8, 2);
    sens_add_format(sens_add(&m.table, "lm_head", 16), "X", 8, 1);
    sens_rank(&m.table);
    report_view_init(&v, &m);
    FILE *f = open_memstream(&buf, &n);
    report_errors(f, &m, &v);
    report_split(f, &m, &v);
    fclose(f);
    report_view_free(&v);
    sens_free(&m.table);
    json_decref(qsens);
    free(text);
    text = xstrndup(buf, n);
    free(buf);
    return text;
}

static void has(const char *from, const char *to, const char *part, const char *name)
{
    char *got = sections(from, to);
    if (!ok(strstr(got, part) != NULL, "%s", name))
        diag("missing: %s\n%s", part, got);
    free(got);
}

int main(void)
{
    has(NULL, NULL,
        "\n## Error Bars\n\n\nFrom 1,280 sequences with 16,520 targets. All groups together: 3.0000e+00 \xc2\xb1 "
        "5.0e-01, 2.5000e-01 nats per token. \xc2\xb1 is the standard error, intervals are of 95 %: ",
        "what the numbers are, and the total");
    has(NULL, NULL,
        "\n|1|1 to 2|1|layers.0.mlp.gate_proj|2.0000e+00|4.0e-01|1.500e+00 to 2.500e+00|66.7 %|1.2500e-01|"
        "1.000e-01 to 1.500e-01|up_proj 75.0 %|\n|2|||lm_head|1.0000e+00|||33.3 %|1.2500e-01|||\n",
        "a fused group, and one without errors");
    has("'high': 2, 'band'", "'high': 1, 'band'", "\n|1|1|1|layers.0", "an interval of one rank");
    has("'no_errors': null", "'no_errors': 'a|b'", "2.5000e-01 nats per token. No errors are known: a\\|b.  \n\n|Rank|",
        "why there are no errors");
    has(NULL, NULL,
        "\n## Weights and Activations\n\n\nThe score with weights alone quantized, with activations alone, and what "
        "the joint score has beyond both: above 0 where the errors add up, below where they cancel.  \n\n"
        "|Rank|Group|Score|Weights|Activations|Interaction|Of the score|\n"
        "| ---: | :--- | ---: | ---: | ---: | ---: | ---: |\n"
        "|1|layers.0.mlp.gate_proj|2.0000e+00|2.2500e+00|0.0000e+00|-2.5000e-01|-12.5 %|\n"
        "|2|lm_head|1.0000e+00|2.5000e-01|2.5000e-01|5.0000e-01||\n"
        "||**all**|3.0000e+00|2.5000e+00|2.5000e-01|2.5000e-01|8.3 %|\n",
        "parts");
    char *none = sections("'statistics'", "'other'"), *joint = sections("'split'", "'other'");
    ok(!strstr(none, "Error Bars") && strstr(none, "## Weights"), "no statistics, no section");
    ok(strstr(joint, "Error Bars") && !strstr(joint, "## Weights"), "no parts, no section");
    free(none);
    free(joint);
    return done();
}
