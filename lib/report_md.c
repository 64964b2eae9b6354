#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "report.h"

/* ---- Markdown ---- */

/* A cell must stay on its line and in its column. */
static void cell(FILE *f, const char *s)
{
    for (; *s; s++)
        if (*s == '|')
            fputs("\\|", f);
        else
            fputc((unsigned char)*s < 0x20 ? ' ' : *s, f);
}

static void heading(FILE *f, const char *text)
{
    fprintf(f, "\n## %s\n", text);
}

static void begin_key_table(FILE *f, const char *title)
{
    heading(f, title);
    fputs("  \n\n|Key|Value|\n| :--- | :--- |\n", f);
}

static void key_row(FILE *f, const char *key, const char *value)
{
    fprintf(f, "|%s|`", key);
    cell(f, value);
    fputs("`|\n", f);
}

/* A string as it is, anything else as JSON; a new string, or NULL for what is absent. */
static char *text_of(const json_t *v)
{
    if (!v || json_is_null(v))
        return NULL;
    if (json_is_string(v))
        return xstrdup(json_string_value(v));
    if (json_is_real(v)) {
        char repr[JSON_REPR];
        json_real_repr(json_real_value(v), repr);
        return xstrdup(repr);
    }
    char *dumped = json_dumps(v, JSON_ENCODE_ANY), *s = xstrdup(dumped ? dumped : "?");
    free(dumped);
    return s;
}

static void member_row(FILE *f, const char *title, const json_t *o, const char *key)
{
    char *s = text_of(json_object_get(o, key));
    if (s)
        key_row(f, title, s);
    free(s);
}

/* Every line follows a line break of the reference's writer; the fence is longer than any run of backticks within. */
static void code_block(FILE *f, const char *language, const char *text)
{
    size_t fence = 3;
    for (const char *p = text; (p = strchr(p, '`'));) {
        const size_t run = strspn(p, "`");
        fence = run >= fence ? run + 1 : fence;
        p += run;
    }
    char *ticks = xmalloc(fence + 1, 1);
    memset(ticks, '`', fence);
    ticks[fence] = 0;
    fprintf(f, "  \n  \n%s%s", ticks, language);
    while (*text) {
        const size_t n = strcspn(text, "\n");
        fputs("  \n", f);
        fwrite(text, 1, n, f);
        text += n + (text[n] == '\n');
    }
    fprintf(f, "  \n%s\n", ticks);
    free(ticks);
}

/* ---- the reference's sections ---- */

static void title(FILE *f, const struct manifest *m)
{
    char *text = xasprintf("AutoQuant Layer Sensitivity (%s)", m->scheme);
    for (char *p = text; *p; p++)
        *p = (char)((unsigned char)*p < 0x20 ? ' ' : *p);
    fprintf(f, "\n%s\n", text);
    for (const char *p = text; *p; p++)
        if (((unsigned char)*p & 0xc0) != 0x80) /* one per character, not per byte of UTF-8 */
            fputc('=', f);
    fputc('\n', f);
    free(text);
}

static void summary(FILE *f, const struct manifest *m)
{
    char number[64];
    begin_key_table(f, "Summary");
    key_row(f, "Scheme", m->scheme);
    key_row(f, "Model", m->model_id);
    snprintf(number, sizeof number, "%.4f", m->effective_bits);
    key_row(f, "Effective bits (from search)", number);
    snprintf(number, sizeof number, "%.6e", m->score);
    key_row(f, "Total AutoQuant score", number);
    key_row(f, "Constraint satisfied", m->is_satisfied ? "True" : "False");
}

static void dataset(FILE *f, const struct manifest *m)
{
    static const char *const row[][2] = {
        {"Name", "name"},
        {"Size", "size"},
        {"Root", "root"},
        {"Captions path", "captions_path"},
        {"Calibration seq len", "calib_seq_len"},
        {"Batch size", "batch_size"},
        {"Calibration batches", "num_calib_batches"},
    };
    begin_key_table(f, "Dataset");
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        member_row(f, row[i][0], m->dataset, row[i][1]);
    char *used = text_of(json_object_get(m->dataset, "num_calib_samples"));
    char *max = text_of(json_object_get(m->dataset, "max_calib_samples"));
    if (used || max) {
        fputs("|Calibration samples (used / max)|`", f);
        cell(f, used ? used : "?");
        fputs("` / `", f);
        cell(f, max ? max : "?");
        fputs("`|\n", f);
    }
    free(used);
    free(max);
}

static void quantization(FILE *f, const struct manifest *m)
{
    const json_t *granularity = json_object_get(m->quantization, "quant_granularity");
    const json_t *overrides = json_object_get(granularity, "quant_cfg_overrides");
    begin_key_table(f, "Quantization");
    member_row(f, "Base format", m->quantization, "base_format_name");
    member_row(f, "Granularity", granularity, "name");
    if (overrides)
        key_row(f, "Quant cfg overrides", json_object_size(overrides) ? "see below" : "none");
    if (!json_object_size(overrides))
        return;
    char *text = json_dumps(overrides, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_ENSURE_ASCII);
    code_block(f, "json", text ? text : "");
    free(text);
}

/* One column of a row: the formats that can be chosen, joined by ", "; NONE where it is alone. */
static void joined(FILE *f, const struct sens_row *r, char column)
{
    const int n = r->n_formats > 1 ? r->n_formats - 1 : 1;
    for (int j = 0; j < n; j++) {
        if (j)
            fputs(", ", f);
        if (column == 'b')
            fprintf(f, "%.1f", r->format[j].bits);
        else
            fprintf(f, "%.3e", column == 's' ? r->format[j].score : sens_cost(r, j));
    }
}

static void sensitivity(FILE *f, const struct manifest *m)
{
    heading(f, "Layer Sensitivity Table");
    fputs("\n\nMost sensitive first. A layer stands for its whole fused group: `q_proj` for q, k and v, `gate_proj` "
          "for gate and up.  \n\n|Layer|Num Bits|Sensitivity|Size Cost|\n| :--- | :--- | :--- | :--- |\n",
          f);
    int *order = sens_descending(&m->table, 'i');
    for (int i = 0; i < m->table.n; i++) {
        const struct sens_row *r = &m->table.row[order[i]];
        fputc('|', f);
        cell(f, r->name);
        for (const char *column = "bsc"; *column; column++) {
            fputc('|', f);
            joined(f, r, *column);
        }
        fputs("|\n", f);
    }
    free(order);
}

/* ---- ours ---- */

static const char *last_part(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

/* "q_proj 1.2e-05, k_proj 3.0e-06, ..." for fused groups, nothing for the others */
static void members(FILE *f, const json_t *list)
{
    if (json_array_size(list) < 2)
        return;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *m = json_array_get(list, i);
        const char *unit = json_string_value(json_object_get(m, "unit"));
        fputs(i ? ", " : "", f);
        cell(f, last_part(unit ? unit : "?"));
        fprintf(f, " %.2e", json_number_value(json_object_get(m, "score")));
    }
}

static void recipe_sentence(FILE *f, const struct manifest *m, const json_t *recipe)
{
    const double asked = json_number_value(json_object_get(recipe, "asked_bits"));
    const double bound = json_number_value(json_object_get(recipe, "bound"));
    fprintf(f,
            "\n\nBudget: %g bits, %.4f over all weights with the layers that stay at 16 bits; the recipe uses %.4f. ",
            asked, m->auto_quantize_bits, m->effective_bits);
    if (m->is_satisfied)
        fprintf(f, "Its score of %.4e is the least that any recipe within the budget reaches (lower bound %.4e).",
                m->score, bound);
    else
        fputs("No recipe fits into the budget; this is the cheapest.", f);
    fputs(" Rank 1 is the least sensitive layer of the model.  \n\n", f);
}

/* What the reference's table has no column for: one row per group with a score. */
static void details(FILE *f, const struct manifest *m)
{
    const json_t *recipe = json_object_get(m->qsens, "recipe"), *chosen = json_object_get(recipe, "groups");
    const json_t *list = json_object_get(m->qsens, "groups");
    json_t *members_of = json_object();
    double total = 0, so_far = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *g = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(g, "name"));
        if (name)
            json_object_set(members_of, name, json_object_get(g, "members"));
    }
    for (int i = 0; i < m->table.n; i++)
        total += sens_shown(&m->table.row[i])->score;
    heading(f, "Ranks and Recipe");
    recipe_sentence(f, m, recipe);
    fputs("|Rank|Layer|Recipe|Share|Sum of Shares|Members|\n| ---: | :--- | :--- | ---: | ---: | :--- |\n", f);
    int *order = sens_descending(&m->table, 's');
    for (int i = 0; i < m->table.n; i++) {
        const struct sens_row *r = &m->table.row[order[i]];
        if (r->n_formats == 1)
            continue;
        const double score = sens_shown(r)->score;
        const char *pair = json_string_value(json_object_get(chosen, r->name));
        so_far += score;
        fprintf(f, "|%d|", r->rank);
        cell(f, r->name);
        fputc('|', f);
        cell(f, pair ? pair : "?");
        fprintf(f, "|%.2f %%|%.2f %%|", total > 0 ? 100 * score / total : 0, total > 0 ? 100 * so_far / total : 0);
        members(f, json_object_get(members_of, r->name));
        fputs("|\n", f);
    }
    free(order);
    json_decref(members_of);
}

void report_md(FILE *f, const struct manifest *m, const char *composed)
{
    title(f, m);
    summary(f, m);
    if (m->dataset)
        dataset(f, m);
    if (m->quantization)
        quantization(f, m);
    sensitivity(f, m);
    if (m->qsens)
        details(f, m);
    if (composed) {
        const char *path = json_string_value(json_object_get(m->run_config, "composed_yaml_path"));
        char *text = xasprintf("Composed Config (`%s`)", path ? path : "composed-config.yaml");
        heading(f, text);
        free(text);
        code_block(f, "yaml", composed);
    }
}
