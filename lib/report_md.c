#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "report.h"
#include "report_ours.h"
#include "report_stats.h"
#include "report_text.h"

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
    md_key_table(f, "Summary");
    md_key_row(f, "Scheme", m->scheme);
    md_key_row(f, "Model", m->model_id);
    snprintf(number, sizeof number, "%.4f", m->effective_bits);
    md_key_row(f, "Effective bits (from search)", number);
    snprintf(number, sizeof number, "%.6e", m->score);
    md_key_row(f, "Total AutoQuant score", number);
    md_key_row(f, "Constraint satisfied", m->is_satisfied ? "True" : "False");
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
    md_key_table(f, "Dataset");
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        md_member_row(f, row[i][0], m->dataset, row[i][1]);
    char *used = md_text_of(json_object_get(m->dataset, "num_calib_samples"));
    char *max = md_text_of(json_object_get(m->dataset, "max_calib_samples"));
    if (used || max) {
        fputs("|Calibration samples (used / max)|`", f);
        md_cell(f, used ? used : "?");
        fputs("` / `", f);
        md_cell(f, max ? max : "?");
        fputs("`|\n", f);
    }
    free(used);
    free(max);
}

static void quantization(FILE *f, const struct manifest *m)
{
    const json_t *granularity = json_object_get(m->quantization, "quant_granularity");
    const json_t *overrides = json_object_get(granularity, "quant_cfg_overrides");
    md_key_table(f, "Quantization");
    md_member_row(f, "Base format", m->quantization, "base_format_name");
    md_member_row(f, "Granularity", granularity, "name");
    if (overrides)
        md_key_row(f, "Quant cfg overrides", json_object_size(overrides) ? "see below" : "none");
    if (!json_object_size(overrides))
        return;
    char *text = json_dumps(overrides, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_ENSURE_ASCII);
    md_code_block(f, "json", text ? text : "");
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
    md_heading(f, "Layer Sensitivity Table");
    fputs("\n\nMost sensitive first. A layer stands for its whole fused group: `q_proj` for q, k and v, `gate_proj` "
          "for gate and up.  \n\n|Layer|Num Bits|Sensitivity|Size Cost|\n| :--- | :--- | :--- | :--- |\n",
          f);
    int *order = sens_descending(&m->table, 'i');
    for (int i = 0; i < m->table.n; i++) {
        const struct sens_row *r = &m->table.row[order[i]];
        fputc('|', f);
        md_cell(f, r->name);
        for (const char *column = "bsc"; *column; column++) {
            fputc('|', f);
            joined(f, r, *column);
        }
        fputs("|\n", f);
    }
    free(order);
}

void report_md(FILE *f, const struct manifest *m, const char *composed)
{
    struct report_view v;
    report_view_init(&v, m);
    title(f, m);
    report_glance(f, m, &v);
    report_extremes(f, &v);
    report_layers(f, &v);
    summary(f, m);
    if (m->dataset)
        dataset(f, m);
    if (m->quantization)
        quantization(f, m);
    sensitivity(f, m);
    if (m->qsens)
        report_ranks(f, m, &v);
    report_errors(f, m, &v);
    report_split(f, m, &v);
    report_view_free(&v);
    if (composed) {
        const char *path = json_string_value(json_object_get(m->run_config, "composed_yaml_path"));
        char *text = xasprintf("Composed Config (`%s`)", path ? path : "composed-config.yaml");
        md_heading(f, text);
        free(text);
        md_code_block(f, "yaml", composed);
    }
}
