#include "report_ours.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "manifest_name.h"
#include "mem.h"
#include "report_text.h"

/* ---- at a glance ---- */

static const char *str(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static void item(FILE *f, const char *what)
{
    fprintf(f, "- **%s:** ", what);
}

/* "`text`", with backticks within taken out, so that the span ends where it should */
static void code(FILE *f, const char *text)
{
    fputc('`', f);
    for (; *text; text++)
        fputc(*text == '`' || (unsigned char)*text < 0x20 ? ' ' : *text, f);
    fputc('`', f);
}

static void glance_model(FILE *f, const struct manifest *m, const struct report_view *v)
{
    char n[MD_COUNT];
    item(f, "Model");
    code(f, m->model_id);
    fprintf(f, ", %d groups of layers with %s weights that can be quantized", v->n, md_count(v->weights, n));
    if (v->n_fixed)
        fprintf(f, "; %d groups (vision) with %s weights stay at 16 bits", v->n_fixed, md_count(v->fixed_weights, n));
    fputc('\n', f);
}

static void glance_pair(FILE *f, const struct manifest *m)
{
    struct manifest_name name;
    struct err unknown;
    const json_t *pair = json_object_get(m->qsens, "pair");
    const json_t *formats = json_object_get(json_object_get(m->doc, "scheme"), "quant_formats");
    const char *config = json_string_value(json_array_get(formats, 0));
    if (manifest_name_of(&name, m, NULL, "", &unknown))
        return;
    item(f, "Pair");
    md_plain(f, name.pair);
    if (config) {
        fputs(" (", f);
        code(f, config);
        fputc(')', f);
    }
    fputs(", granularity ", f);
    md_plain(f, name.granularity);
    if (str(pair, "weight") && str(pair, "activation")) {
        fputs("; weights ", f);
        code(f, str(pair, "weight"));
        fputs(", activations ", f);
        code(f, str(pair, "activation"));
    }
    fputc('\n', f);
    manifest_name_free(&name);
}

static void glance_calibration(FILE *f, const struct manifest *m)
{
    const json_t *c = json_object_get(m->qsens, "calibration");
    const json_t *captions = json_object_get(c ? c : m->dataset, c ? "sequences" : "num_calib_samples");
    const int64_t real = json_integer_value(json_object_get(c, "real_tokens"));
    const int64_t all = real + json_integer_value(json_object_get(c, "pad_tokens"));
    const int64_t rows = json_integer_value(json_object_get(c, "rows"));
    const int64_t scored = json_integer_value(json_object_get(c, "score_sequences"));
    char a[MD_COUNT], b[MD_COUNT], share[MD_SHARE];
    if (!json_is_integer(captions) || json_integer_value(captions) < 1)
        return;
    const int64_t n = json_integer_value(captions);
    item(f, "Calibration");
    fprintf(f, "%s captions", md_count((uint64_t)n, a));
    if (scored > 0 && scored != n)
        fprintf(f, " (%s of them scored)", md_count((uint64_t)scored, a));
    if (real > 0 && all >= real && rows > 0 && rows <= all) {
        fprintf(f, ", %s tokens; padding avoided: %s of %s rows", md_count((uint64_t)real, a),
                md_count((uint64_t)(all - rows), b), md_count((uint64_t)all, (char[MD_COUNT]){0}));
        fprintf(f, " (%s)", md_share((double)(all - rows) / (double)all, share));
    }
    fputc('\n', f);
}

/* The one line that differs between equal runs. */
static void glance_run(FILE *f, const struct manifest *m)
{
    const json_t *run = json_object_get(m->qsens, "run"), *arithmetic = json_object_get(m->qsens, "arithmetic");
    const json_t *seconds = json_object_get(run, "seconds");
    const char *machine = str(run, "machine") ? str(run, "machine") : str(run, "host");
    const json_int_t threads = json_integer_value(json_object_get(run, "threads"));
    if (str(arithmetic, "dtype") && str(arithmetic, "padding") && str(arithmetic, "backend")) {
        item(f, "Arithmetic");
        md_plain(f, str(arithmetic, "dtype"));
        fputs(", padding ", f);
        md_plain(f, str(arithmetic, "padding"));
        fputs(", backend ", f);
        md_plain(f, str(arithmetic, "backend"));
        fputc('\n', f);
    }
    if (!json_is_number(seconds))
        return;
    item(f, "Run");
    fprintf(f, "%.2f s", json_number_value(seconds));
    if (threads > 0)
        fprintf(f, ", %" PRId64 " thread%s", (int64_t)threads, threads == 1 ? "" : "s");
    if (machine && *machine) {
        fputs(", on ", f);
        md_plain(f, machine);
    }
    if (str(run, "started")) {
        fputs(", started ", f);
        md_plain(f, str(run, "started"));
    }
    if (str(run, "command")) {
        fputs(": ", f);
        code(f, str(run, "command"));
    }
    fputc('\n', f);
}

static void glance_result(FILE *f, const struct manifest *m, const struct report_view *v)
{
    const json_t *asked = json_object_get(json_object_get(m->qsens, "recipe"), "asked_bits");
    char share[MD_SHARE];
    item(f, "Score");
    fprintf(f, "%.4e with every group in this pair", v->total);
    if (v->n)
        fprintf(f, "; the most sensitive group holds %s of it", md_share(v->group[0].share, share));
    fputc('\n', f);
    item(f, "Recipe");
    if (json_is_number(asked))
        fprintf(f, "%.6g effective bits asked for, ", json_number_value(asked));
    fprintf(f, "budget %.4f with the layers that stay at 16 bits; ", m->auto_quantize_bits);
    if (m->is_satisfied)
        fprintf(f, "found %.4f bits with score %.4e (%s of the total)\n", m->effective_bits, m->score,
                md_share(v->total > 0 ? m->score / v->total : 0, share));
    else
        fprintf(f, "not met: the cheapest recipe has %.4f bits\n", m->effective_bits);
}

void report_glance(FILE *f, const struct manifest *m, const struct report_view *v)
{
    md_heading(f, "At a Glance");
    fputc('\n', f);
    glance_model(f, m, v);
    glance_pair(f, m);
    glance_calibration(f, m);
    glance_run(f, m);
    glance_result(f, m, v);
}

/* ---- extremes ---- */

enum { EXTREMES = 10, BAR = 40, LABEL = 48 };

struct scale {
    double least, greatest; /* of the scores above 0 */
    int is_log;
};

static struct scale scale_of(const struct report_view *v)
{
    struct scale s = {0};
    for (int i = 0; i < v->n; i++)
        if (v->group[i].score > 0)
            s.least = v->group[i].score; /* they fall */
    s.greatest = v->n ? v->group[0].score : 0;
    s.is_log = s.least > 0 && s.greatest > BAR * s.least;
    return s;
}

static void bar(FILE *f, double score, const struct scale *s)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    double length = score > 0 ? BAR * (score / s->greatest) : 0;
    if (s->is_log && score > 0)
        length = 1 + (BAR - 1) * (log(score / s->least) / log(s->greatest / s->least));
    int n = (int)lround(8 * length);
    n = score > 0 && n < 1 ? 1 : n;
    for (; n >= 8; n -= 8)
        fputs("█", f);
    fputs(eighths[n], f);
}

static void bars(FILE *f, const struct report_view *v, int from, int to, const struct scale *s)
{
    int width = 0;
    char share[MD_SHARE];
    for (int i = from; i < to; i++) {
        const int n = (int)strnlen(v->group[i].label, LABEL);
        width = n > width ? n : width;
    }
    fputs("\n```text\n", f);
    for (int i = from; i < to; i++) {
        const struct report_group *g = &v->group[i];
        char label[LABEL + 1];
        snprintf(label, sizeof label, "%s", g->label);
        for (char *p = label; *p; p++) /* one line, and no fence within */
            *p = (char)((unsigned char)*p < 0x20 || *p == '`' ? ' ' : *p);
        fprintf(f, "%4d  %-*s  %.3e  %8s  ", g->rank, width, label, g->score, md_share(g->share, share));
        bar(f, g->score, s);
        fputc('\n', f);
    }
    fputs("```\n", f);
}

void report_extremes(FILE *f, const struct report_view *v)
{
    if (!v->n)
        return;
    const struct scale s = scale_of(v);
    const int all = v->n <= 2 * EXTREMES;
    char share[MD_SHARE];
    md_heading(f, "Most and Least Sensitive");
    fputs("\nRank (1 is the most sensitive), group, score, share of the total. ", f);
    if (s.is_log)
        fprintf(f, "Bars are logarithmic: one character is %.3e, %d are %.3e.\n", s.least, BAR, s.greatest);
    else
        fputs("Bars are proportional to the score.\n", f);
    bars(f, v, 0, all ? v->n : EXTREMES, &s);
    if (all)
        return;
    fprintf(f, "\nThese %d hold %s of the total. The least sensitive:\n", EXTREMES,
            md_share(v->group[EXTREMES - 1].cumulative, share));
    bars(f, v, v->n - EXTREMES, v->n, &s);
}

/* ---- layers and modules ---- */

struct layer_row {
    int layer;
    double share[MODULE_COUNT], sum;
    int has[MODULE_COUNT];
};

static int by_layer(const void *a, const void *b)
{
    const struct layer_row *x = a, *y = b;
    return (x->layer > y->layer) - (x->layer < y->layer);
}

/* One row per layer number that occurs, ascending. The caller frees. */
static struct layer_row *layer_rows(const struct report_view *v, int *n)
{
    struct layer_row *row = xcalloc((size_t)v->n, sizeof *row);
    int k = 0;
    for (int i = 0; i < v->n; i++)
        if (v->group[i].module != MODULE_COUNT)
            row[k++].layer = v->group[i].layer;
    qsort(row, (size_t)k, sizeof *row, by_layer);
    *n = 0;
    for (int i = 0; i < k; i++)
        if (!i || row[i].layer != row[*n - 1].layer)
            row[(*n)++] = row[i];
    for (int i = 0; i < v->n; i++) {
        const struct report_group *g = &v->group[i];
        if (g->module == MODULE_COUNT)
            continue;
        struct layer_row *r = bsearch(&(struct layer_row){.layer = g->layer}, row, (size_t)*n, sizeof *row, by_layer);
        r->share[g->module] += g->share;
        r->has[g->module] = 1;
        r->sum += g->share;
    }
    return row;
}

static void share_cell(FILE *f, double share)
{
    if (share > 0 && share < 0.00005)
        fputs("< 0.01|", f);
    else
        fprintf(f, "%.2f|", 100 * share);
}

void report_layers(FILE *f, const struct report_view *v)
{
    int n;
    struct layer_row *row = layer_rows(v, &n), sum = {0};
    if (n) {
        md_heading(f, "Layers and Modules");
        fputs("\nShare of the total score, in percent.\n\n|Decoder layer|", f);
        for (int j = 0; j < MODULE_COUNT; j++)
            fprintf(f, "%s|", report_module_name[j]);
        fputs("all|\n| ---: | ---: | ---: | ---: | ---: | ---: |\n", f);
        for (int i = 0; i < n; i++) {
            fprintf(f, "|%d|", row[i].layer);
            for (int j = 0; j < MODULE_COUNT; j++) {
                if (row[i].has[j])
                    share_cell(f, row[i].share[j]);
                else
                    fputs("|", f);
                sum.share[j] += row[i].share[j];
            }
            share_cell(f, row[i].sum);
            fputc('\n', f);
            sum.sum += row[i].sum;
        }
        fputs("|**all**|", f);
        for (int j = 0; j < MODULE_COUNT; j++)
            share_cell(f, sum.share[j]);
        share_cell(f, sum.sum);
        fputc('\n', f);
        for (int i = 0; i < v->n; i++)
            if (v->group[i].module == MODULE_COUNT) {
                fputs("|*", f);
                md_cell(f, v->group[i].label);
                fputs("*|||||", f);
                share_cell(f, v->group[i].share);
                fputc('\n', f);
            }
    }
    free(row);
}

/* ---- ranks ---- */

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
        const char *unit = str(m, "unit");
        fputs(i ? ", " : "", f);
        md_cell(f, last_part(unit ? unit : "?"));
        fprintf(f, " %.2e", json_number_value(json_object_get(m, "score")));
    }
}

static void ranks_intro(FILE *f, const struct manifest *m, const struct report_view *v)
{
    const json_t *recipe = json_object_get(m->qsens, "recipe");
    double bytes = 0;
    char a[MD_COUNT], b[MD_COUNT];
    for (int i = 0; i < v->n; i++) {
        const struct report_group *g = &v->group[i];
        bytes += g->chosen && strcmp(g->chosen, SENS_NONE) ? (double)g->bytes : 2 * (double)g->row->weights;
    }
    fputs("\n\n", f);
    if (m->is_satisfied)
        fprintf(f,
                "The recipe is the exact optimum: no other within the budget scores less than %.4e (the linear "
                "relaxation gives %.4e). ",
                m->score, json_number_value(json_object_get(recipe, "bound")));
    else
        fputs("No recipe fits into the budget; this is the cheapest. ", f);
    fprintf(f, "Its weights take %s instead of %s, scales not counted. ", md_bytes(bytes, a),
            md_bytes(2 * (double)v->weights, b));
    fputs("Rank 1 is the most sensitive group; `rank` in the manifest counts from the least and includes the layers "
          "that stay at 16 bits. Bytes are those of the pair's weight format.  \n\n",
          f);
}

void report_ranks(FILE *f, const struct manifest *m, const struct report_view *v)
{
    char a[MD_COUNT], b[MD_COUNT], share[MD_SHARE], sum[MD_SHARE];
    md_heading(f, "Ranks and Recipe");
    ranks_intro(f, m, v);
    fputs("|Rank|Group|Score|Share|Cumulative|Weights|Bytes|Recipe|Members|\n"
          "| ---: | :--- | ---: | ---: | ---: | ---: | ---: | :--- | :--- |\n",
          f);
    for (int i = 0; i < v->n; i++) {
        const struct report_group *g = &v->group[i];
        fprintf(f, "|%d|", g->rank);
        md_cell(f, g->label);
        fprintf(f, "|%.4e|%s|%s|%s|%s|", g->score, md_share(g->share, share), md_share(g->cumulative, sum),
                md_count(g->row->weights, a), md_count(g->bytes, b));
        md_cell(f, g->chosen ? g->chosen : "?");
        fputc('|', f);
        members(f, g->members);
        fputs("|\n", f);
    }
    if (v->n_fixed)
        fprintf(f, "\n%d more groups (vision) with %s weights have no choice but NONE and score 0.\n", v->n_fixed,
                md_count(v->fixed_weights, a));
}
