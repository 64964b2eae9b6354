/* Comparing runs: ranks, Spearman with ties, spreads; and the view they rest on. */
#include "report_index_set.h"

#include "mem.h"
#include "tap.h"

enum { N = 6 };

/* A run with these scores and one group that is never quantized, in the middle. */
static void cell_init(struct index_cell *c, const char *label, const double score[N])
{
    *c = (struct index_cell){.m = {.model_id = "m", .scheme = "s"}, .label = xstrdup(label)};
    for (int i = 0; i < N; i++) {
        char *name = xasprintf("x.layers.%d.mlp.down_proj", i);
        if (i == 3)
            sens_add(&c->m.table, "vision", 64);
        sens_add_format(sens_add(&c->m.table, name, 16), "F", 8, score[i]);
        free(name);
    }
    sens_rank(&c->m.table);
    report_view_init(&c->view, &c->m);
}

static void cell_free(struct index_cell *c)
{
    report_view_free(&c->view);
    manifest_free(&c->m);
    free(c->label);
}

/* Expected values: scipy.stats.spearmanr. */
static void test_spearman(void)
{
    static const double a[N] = {6, 5, 4, 3, 2, 1}, b[N] = {1, 2, 3, 4, 5, 6}, c[N] = {3, 3, 1, 0, 0, 7},
                        flat[N] = {2, 2, 2, 2, 2, 2};
    struct index_cell cell[4];
    const struct index_cell *p[4] = {&cell[0], &cell[1], &cell[2], &cell[3]};
    cell_init(&cell[0], "a", a);
    cell_init(&cell[1], "b", b);
    cell_init(&cell[2], "c", c);
    cell_init(&cell[3], "flat", flat);
    struct index_set s;
    index_set_init(&s, p, 4);
    ok(s.n_rows == N, "rows are the groups with a choice");
    at_most(fabs(s.spearman[0] - 1), 1e-15, "with itself: 1");
    at_most(fabs(s.spearman[1] + 1), 1e-15, "reversed: -1");
    at_most(fabs(s.spearman[2] - 0.08827348295047496), 1e-15, "ties share their mean rank");
    ok(s.spearman[2] == s.spearman[8], "symmetric");
    ok(isnan(s.spearman[3]), "not defined where all scores are equal");
    is_str(s.row[0].name, "x.layers.5.mlp.down_proj", "the largest share comes first");
    at_most(fabs(s.row[0].max_share - 0.5), 1e-15, "its share");
    is_str(s.row[0].label, "layers.5.mlp.down_proj", "and its name without the model's prefix");
    const struct index_row *first = &s.row[s.disagree[0]];
    ok(index_spread(first) == 5 && first->in[first->lowest]->rank == 6 && first->in[first->highest]->rank == 1,
       "the largest disagreement");
    for (int i = 1; i < s.n_rows; i++)
        if (index_spread(&s.row[s.disagree[i]]) > index_spread(&s.row[s.disagree[i - 1]]))
            ok(false, "spreads fall");
    ok(index_disagreements(&s) == 6, "all that differ are shown");
    index_set_free(&s);
    index_set_init(&s, (const struct index_cell *const[]){&cell[0], &cell[0]}, 2);
    ok(index_disagreements(&s) == 0, "nothing disagrees with itself");
    index_set_free(&s);
    for (int i = 0; i < 4; i++)
        cell_free(&cell[i]);
}

static void test_view(void)
{
    static const struct {
        const char *name, *label;
        int layer;
        enum report_module module;
    } row[] = {
        {"model.language_model.layers.12.self_attn.q_proj", "layers.12.self_attn.q_proj", 12, MODULE_QKV},
        {"model.layers.3.self_attn.o_proj", "layers.3.self_attn.o_proj", 3, MODULE_O},
        {"layers.0.mlp.gate_proj", "layers.0.mlp.gate_proj", 0, MODULE_GATE_UP},
        {"layers.0.mlp.down_proj", "layers.0.mlp.down_proj", 0, MODULE_DOWN},
        {"lm_head", "lm_head", -1, MODULE_COUNT},
        {"layers.-1.mlp.down_proj", "layers.-1.mlp.down_proj", -1, MODULE_COUNT},
        {"layers.99999999999999999999.mlp.down_proj", "layers.99999999999999999999.mlp.down_proj", -1, MODULE_COUNT},
        {"layers.1.mlp.down_proj.x", "layers.1.mlp.down_proj.x", -1, MODULE_COUNT},
        {"mylayers.1.mlp.down_proj", "mylayers.1.mlp.down_proj", -1, MODULE_COUNT},
        {"layers.", "layers.", -1, MODULE_COUNT},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct manifest m = {.model_id = "m", .scheme = "s"};
        struct report_view v;
        sens_add_format(sens_add(&m.table, row[i].name, 10), "F", 4, 0);
        sens_rank(&m.table);
        report_view_init(&v, &m);
        const struct report_group *g = &v.group[0];
        ok(v.n == 1 && !strcmp(g->label, row[i].label) && g->layer == row[i].layer && g->module == row[i].module &&
               g->share == 0 && g->bytes == 5,
           "%s: '%s', layer %d, module %d", row[i].name, g->label, g->layer, (int)g->module);
        report_view_free(&v);
        manifest_free(&m);
    }
}

int main(void)
{
    test_spearman();
    test_view();
    return done();
}
