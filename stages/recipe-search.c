/* recipe-search - which format each group should take under a budget of effective bits. */
#include <math.h>
#include <stdlib.h>

#include "cli.h"
#include "io.h"
#include "mem.h"
#include "recipe.h"

static const char *lm_path, *name, *out_path;
static double bits = 8;
static bool exact_bits;

static const struct cli_option options[] = {
    {"bits", 'b', CLI_REAL, &bits, "BITS", "effective bits to allow, on average over the weights", 0, 0},
    {"exact-bits", 0, CLI_FLAG, &exact_bits, NULL,
     "BITS holds for all weights, vision included; without this option it holds\n"
     "for the weights that can be quantized, and is raised for the others",
     0, 0},
    {"lm", 'l', CLI_STRING, &lm_path, "FILE",
     "lm.json of the model: needed for scores files, which hold no vision units", 0, 0},
    {"name", 'n', CLI_STRING, &name, "NAME", "a name to write into the recipe", 0, 0},
    {"output", 'o', CLI_STRING, &out_path, "FILE", "recipe to write (standard output if not given)", 0, 0},
    {NULL, 0, CLI_FLAG, NULL, NULL, NULL, 0, 0},
};

static const struct tool tool = {
    .name = "recipe-search",
    .summary = "scores of one or more pairs to the best mix of them: recipe.json",
    .usage = "[options] SCORES...",
    .details =
        "SCORES are scores.json files (with --lm) or manifests, of one model, over the same calibration tokens.\n"
        "Each is one pair on the menu; every group of layers takes one of them, or NONE (16 bits).\n"
        "The result is the exact optimum: no other mix within the budget has a smaller total score.",
    .example =
        "recipe-search --bits 6 tests/fixtures/manifest/fp4_fp8.json tests/fixtures/manifest/scores.fp8_fp8.json",
    .operands = "scores file or manifest",
    .min_operands = 1,
    .max_operands = 1000,
    .options = options,
};

static void report(const struct recipe_menu *m, const struct recipe *r)
{
    if (!r->satisfied)
        cli_note("no mix fits into %.4f effective bits: the recipe is the cheapest mix, %.4f bits, and says satisfied: "
                 "false",
                 r->adjusted_bits, r->effective_bits);
    cli_verbose("%.4f effective bits of %.4f allowed; score %.4e%s (linear relaxation: %.4e)", r->effective_bits,
                r->adjusted_bits, r->score, r->satisfied ? ", the optimum" : "", r->bound);
    for (int i = 0; i <= m->n_pairs; i++) {
        const int pick = i < m->n_pairs ? i : RECIPE_NONE;
        int groups = 0;
        for (int g = 0; g < m->n_groups; g++)
            groups += r->pick[g] == pick && !m->group[g].fixed;
        cli_verbose("%4d groups take %s", groups, i < m->n_pairs ? m->pair[i].name : SENS_NONE);
    }
}

static int write_recipe(const struct recipe_menu *m, const struct recipe *r, struct err *e)
{
    struct io_out out;
    if (io_out_open(&out, out_path, e))
        return -1;
    json_t *doc = recipe_json(m, r, name);
    json_print(out.f, doc, 2);
    fputc('\n', out.f);
    json_decref(doc);
    return io_out_commit(&out, e);
}

static int check_name(struct err *e)
{
    json_t *text = name ? json_string(name) : json_null();
    if (!text)
        return err_set(e, ERR_CONFIG, "option --name is not valid UTF-8");
    json_decref(text);
    return 0;
}

static int run(const char *const *operand, int n, struct err *e)
{
    if (check_name(e))
        return -1;
    struct recipe_menu menu = {0};
    struct recipe r = {0};
    struct lm lm = {0};
    int rc = lm_path ? lm_load(&lm, lm_path, e) : 0;
    if (!rc && lm_path)
        rc = recipe_add_lm(&menu, &lm, lm_path, e);
    for (int i = 0; !rc && i < n; i++)
        rc = recipe_add_file(&menu, operand[i], e);
    if (!rc)
        rc = recipe_solve(&menu, bits, !exact_bits, &r, e);
    if (!rc)
        rc = write_recipe(&menu, &r, e);
    if (!rc)
        report(&menu, &r);
    recipe_free(&r);
    recipe_menu_free(&menu);
    if (lm_path)
        lm_free(&lm);
    return rc;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, run, argc, argv);
}
