#include "report_stats.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report_text.h"

static double real(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

static int64_t whole(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static bool known(const json_t *o, const char *key)
{
    return json_is_number(json_object_get(o, key));
}

/* "2.4e-02 to 3.9e-02", nothing where it is not known */
static void interval(FILE *f, const json_t *e)
{
    if (known(e, "low"))
        fprintf(f, "%.3e to %.3e", real(e, "low"), real(e, "high"));
}

/* "3 to 5", or "3" */
static void rank_interval(FILE *f, const json_t *rank)
{
    if (!known(rank, "low"))
        return;
    fprintf(f, "%" PRId64, whole(rank, "low"));
    if (whole(rank, "high") > whole(rank, "low"))
        fprintf(f, " to %" PRId64, whole(rank, "high"));
}

static void intro(FILE *f, const json_t *s, double total)
{
    const json_t *all = json_object_get(s, "total"), *score = json_object_get(all, "score");
    const json_t *token = json_object_get(all, "nats_per_token");
    const char *no_errors = json_string_value(json_object_get(s, "no_errors"));
    char sequences[MD_COUNT], tokens[MD_COUNT];
    fprintf(f, "\n\nFrom %s sequences with %s targets. All groups together: %.4e",
            md_count((uint64_t)whole(s, "sequences"), sequences), md_count((uint64_t)whole(s, "loss_tokens"), tokens),
            total);
    if (known(score, "se"))
        fprintf(f, " ± %.1e", real(score, "se"));
    fprintf(f, ", %.4e nats per token. ", real(token, "value"));
    if (no_errors) {
        fputs("No errors are known: ", f);
        md_plain(f, no_errors);
        fputs(".  \n\n", f);
        return;
    }
    fprintf(f,
            "± is the standard error, intervals are of %.0f %%: what other sequences of the same population would "
            "give. A group's rank lies in *Ranks* for as many of the resampled sets of sequences. No group of a tie "
            "band can be told apart from the band's first. Nats (half the squared sum, with gradients of the summed "
            "cross-entropy) do not depend on batches and compare across runs.  \n\n",
            100 * real(s, "confidence"));
}

/* "v_proj 64.0 %" of a fused group */
static void worst(FILE *f, const struct report_group *g)
{
    const char *name = json_string_value(json_object_get(g->statistics, "worst"));
    char share[MD_SHARE];
    if (json_array_size(g->members) < 2 || !name)
        return;
    for (size_t i = 0; i < json_array_size(g->members); i++) {
        const json_t *m = json_array_get(g->members, i);
        const char *unit = json_string_value(json_object_get(m, "unit"));
        if (!unit || strcmp(unit, name))
            continue;
        md_cell(f, strrchr(name, '.') ? strrchr(name, '.') + 1 : name);
        fprintf(f, " %s", md_share(real(json_object_get(m, "statistics"), "share"), share));
        return;
    }
}

static void error_row(FILE *f, const struct report_group *g)
{
    const json_t *score = json_object_get(g->statistics, "score"), *rank = json_object_get(g->statistics, "rank");
    const json_t *token = json_object_get(g->statistics, "nats_per_token");
    char share[MD_SHARE];
    fprintf(f, "|%d|", g->rank);
    rank_interval(f, rank);
    fputc('|', f);
    if (known(rank, "band"))
        fprintf(f, "%" PRId64, whole(rank, "band"));
    fputc('|', f);
    md_cell(f, g->label);
    fprintf(f, "|%.4e|", g->score);
    if (known(score, "se"))
        fprintf(f, "%.1e", real(score, "se"));
    fputc('|', f);
    interval(f, score);
    fprintf(f, "|%s|%.4e|", md_share(g->share, share), real(token, "value"));
    interval(f, token);
    fputc('|', f);
    worst(f, g);
    fputs("|\n", f);
}

void report_errors(FILE *f, const struct manifest *m, const struct report_view *v)
{
    const json_t *s = json_object_get(m->qsens, "statistics");
    if (!s)
        return;
    md_heading(f, "Error Bars");
    intro(f, s, v->total);
    fputs("|Rank|Ranks|Tie band|Group|Score|±|Interval|Share|Nats/token|Interval|Worst member|\n"
          "| ---: | :---: | ---: | :--- | ---: | ---: | :--- | ---: | ---: | :--- | :--- |\n",
          f);
    for (int i = 0; i < v->n; i++)
        error_row(f, &v->group[i]);
}

static void split_row(FILE *f, const json_t *split)
{
    fprintf(f, "|%.4e|%.4e|%.4e|", real(split, "weight"), real(split, "activation"), real(split, "interaction"));
    if (known(split, "interaction_share"))
        fprintf(f, "%.1f %%", 100 * real(split, "interaction_share"));
    fputs("|\n", f);
}

void report_split(FILE *f, const struct manifest *m, const struct report_view *v)
{
    const json_t *all = json_object_get(m->qsens, "split");
    if (!all)
        return;
    md_heading(f, "Weights and Activations");
    fputs("\n\nThe score with weights alone quantized, with activations alone, and what the joint score has beyond "
          "both: above 0 where the errors add up, below where they cancel.  \n\n"
          "|Rank|Group|Score|Weights|Activations|Interaction|Of the score|\n"
          "| ---: | :--- | ---: | ---: | ---: | ---: | ---: |\n",
          f);
    for (int i = 0; i < v->n; i++) {
        fprintf(f, "|%d|", v->group[i].rank);
        md_cell(f, v->group[i].label);
        fprintf(f, "|%.4e", v->group[i].score);
        split_row(f, v->group[i].split);
    }
    fprintf(f, "||**all**|%.4e", v->total);
    split_row(f, all);
}
