/* The Markdown of report_index. */
#include <math.h>

#include "report_index.h"
#include "report_index_set.h"
#include "report_text.h"

static void md_arithmetic(FILE *f, const struct index_cell *c)
{
    if (!c->name.dtype) {
        fputs("reference stack", f);
        return;
    }
    md_cell(f, c->name.dtype);
    fputs(", ", f);
    md_cell(f, c->name.padding ? c->name.padding : "?");
    fputs(", ", f);
    md_cell(f, index_backend(c) ? index_backend(c) : "?");
}

static void md_cell_row(FILE *f, const struct index_cell *c)
{
    const json_t *seconds = json_object_get(json_object_get(c->m.qsens, "run"), "seconds");
    char n[MD_COUNT];
    fputc('|', f);
    md_cell(f, c->name.model);
    fputc('|', f);
    md_cell(f, c->name.dataset ? c->name.dataset : "");
    fprintf(f, "|%s|", c->name.sequences > 0 ? md_count((uint64_t)c->name.sequences, n) : "");
    md_cell(f, c->name.granularity);
    fputs(c->directory ? "|[" : "|", f);
    md_cell(f, c->name.pair);
    if (c->directory) {
        fputs("](<", f);
        md_cell(f, c->directory);
        fputs("/per-layer-sensitivity.md>)", f);
    }
    fputc('|', f);
    md_arithmetic(f, c);
    fprintf(f, "|%.4e|%.4f|%.4e%s|", c->view.total, c->m.effective_bits, c->m.score,
            c->m.is_satisfied ? "" : " (over budget)");
    if (json_is_number(seconds))
        fprintf(f, "%.2f", json_number_value(seconds));
    fputs("|\n", f);
}

static void md_head(FILE *f, const char *first, const struct index_set *s)
{
    fprintf(f, "\n|%s|", first);
    for (int i = 0; i < s->n; i++) {
        md_cell(f, s->cell[i]->label);
        fputc('|', f);
    }
    fputs("\n| :--- |", f);
    for (int i = 0; i < s->n; i++)
        fputs(" ---: |", f);
    fputc('\n', f);
}

static void md_set(FILE *f, const struct index_set *s)
{
    const struct index_cell *c = s->cell[0];
    char share[MD_SHARE], n[MD_COUNT];
    fputs("\n## ", f);
    md_plain(f, c->name.model);
    if (c->name.dataset) {
        fputs(", ", f);
        md_plain(f, c->name.dataset);
    }
    if (c->name.sequences > 0)
        fprintf(f, ", %s captions", md_count((uint64_t)c->name.sequences, n));
    fputs(", ", f);
    md_arithmetic(f, c);
    fputs("\n\n### Agreement\n\nSpearman's rank correlation of the groups' scores, 1 where two pairs rank all groups "
          "alike.\n",
          f);
    md_head(f, "", s);
    for (int i = 0; i < s->n; i++) {
        fputc('|', f);
        md_cell(f, s->cell[i]->label);
        fputc('|', f);
        for (int j = 0; j < s->n; j++)
            if (isfinite(s->spearman[i * s->n + j]))
                fprintf(f, "%.3f|", s->spearman[i * s->n + j]);
            else
                fputs("-|", f);
        fputc('\n', f);
    }
    if (index_disagreements(s))
        fputs("\nThe groups whose ranks differ most (1 is the most sensitive):\n\n|Group|Highest rank|Lowest rank|"
              "Difference|\n| :--- | :--- | :--- | ---: |\n",
              f);
    for (int i = 0; i < index_disagreements(s); i++) {
        const struct index_row *r = &s->row[s->disagree[i]];
        fputc('|', f);
        md_cell(f, r->label);
        fprintf(f, "|%d in ", r->in[r->highest]->rank);
        md_cell(f, s->cell[r->highest]->label);
        fprintf(f, "|%d in ", r->in[r->lowest]->rank);
        md_cell(f, s->cell[r->lowest]->label);
        fprintf(f, "|%d|\n", index_spread(r));
    }
    fputs("\n### Scores side by side\n\nScore of each group and its share of the pair's total, by the largest share.\n",
          f);
    md_head(f, "Group", s);
    for (int i = 0; i < s->n_rows; i++) {
        fputc('|', f);
        md_cell(f, s->row[i].label);
        fputc('|', f);
        for (int j = 0; j < s->n; j++)
            fprintf(f, "%.2e (%s)|", s->row[i].in[j]->score, md_share(s->row[i].in[j]->share, share));
        fputc('\n', f);
    }
    if (c->view.n_fixed)
        fprintf(f, "\n%d more groups (vision) have no choice but NONE and score 0.\n", c->view.n_fixed);
}

void report_index_md(FILE *f, const struct report_index *x)
{
    fprintf(f,
            "# Sensitivity Index\n\n%zu run%s. Score: of all groups in the pair. Effective bits and recipe score: of "
            "the best recipe of this pair and NONE within its budget.\n\n|Model|Data|Captions|Granularity|Pair|"
            "Arithmetic|Score|Effective bits|Recipe score|Seconds|\n"
            "| :--- | :--- | ---: | :--- | :--- | :--- | ---: | ---: | ---: | ---: |\n",
            x->n, x->n == 1 ? "" : "s");
    for (size_t i = 0; i < x->n; i++)
        md_cell_row(f, x->cell[i]);
    for (int i = 0; i < x->n_sets; i++)
        md_set(f, &x->set[i]);
}
