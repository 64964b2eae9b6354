/* The search over a menu, and the document it gives. The menu itself: recipe_menu.c. */
#include "recipe.h"

#include <math.h>
#include <stdlib.h>

#include "mem.h"
#include "search.h"

enum { NONE_BITS = 16 };

/* A menu as search_solve wants it. */
struct problem {
    int n;                        /* choices of a group that is not fixed: the pairs and NONE */
    int *pair;                    /* [n] by bits, then in the menu's order; RECIPE_NONE last */
    int *steps;                   /* [n] bits * RECIPE_STEPS */
    struct search_choice *choice; /* [n_groups, n] */
    struct search_group *group;
};

static void order_menu(const struct recipe_menu *m, struct problem *p)
{
    for (int i = 0; i < m->n_pairs; i++) {
        int at = i;
        for (; at > 0 && m->pair[p->pair[at - 1]].bits > m->pair[i].bits; at--)
            p->pair[at] = p->pair[at - 1];
        p->pair[at] = i;
    }
    p->pair[m->n_pairs] = RECIPE_NONE;
    for (int j = 0; j < p->n; j++)
        p->steps[j] = (int)((p->pair[j] == RECIPE_NONE ? NONE_BITS : m->pair[p->pair[j]].bits) * RECIPE_STEPS);
}

static void problem_init(struct problem *p, const struct recipe_menu *m)
{
    const size_t n = (size_t)m->n_pairs + 1, groups = (size_t)m->n_groups;
    *p = (struct problem){.n = (int)n,
                          .pair = xmalloc(n, sizeof *p->pair),
                          .steps = xmalloc(n, sizeof *p->steps),
                          .choice = xmalloc(groups * n, sizeof *p->choice),
                          .group = xmalloc(groups, sizeof *p->group)};
    order_menu(m, p);
    double *score = xmalloc(n, sizeof *score);
    for (size_t g = 0; g < groups; g++) {
        struct search_choice *c = p->choice + g * n;
        for (size_t j = 0; j < n; j++)
            score[j] = p->pair[j] == RECIPE_NONE ? 0 : m->pair[p->pair[j]].score[g];
        search_clamp(p->n, p->steps, score);
        for (size_t j = 0; j < n; j++)
            c[j] = (struct search_choice){(int64_t)m->group[g].weights * p->steps[j], score[j]};
        p->group[g] = m->group[g].fixed ? (struct search_group){1, c + n - 1} : (struct search_group){p->n, c};
    }
    free(score);
}

static void problem_free(struct problem *p)
{
    free(p->pair);
    free(p->steps);
    free(p->choice);
    free(p->group);
}

/* Budgets, and the refusal of what is out of reach. */
static int set_bits(const struct recipe_menu *m, double bits, bool adjust, struct recipe *r, struct err *e)
{
    if (!m->n_pairs)
        return err_set(e, ERR_CONFIG, "the menu is empty: give at least one scores file");
    if (m->fixed_weights == m->weights)
        return err_set(e, ERR_CONFIG, "no group can be quantized");
    const double total = (double)m->weights, fixed = (double)m->fixed_weights;
    double fewest = NONE_BITS;
    for (int i = 0; i < m->n_pairs; i++)
        fewest = fmin(fewest, m->pair[i].bits);
    *r = (struct recipe){.asked_bits = bits, .adjusted_bits = adjust ? search_adjusted_bits(bits, total, fixed) : bits};
    r->least_effective = (fixed * NONE_BITS + (total - fixed) * fewest) / total;
    r->least_asked = adjust ? fewest : r->least_effective;
    if (!(bits > 0) || !(bits <= NONE_BITS) || !(r->adjusted_bits >= fewest))
        return err_set(e, ERR_CONFIG, "%g effective bits are out of reach: this menu reaches %g to 16", bits,
                       r->least_asked);
    return 0;
}

int recipe_solve(const struct recipe_menu *m, double bits, bool adjust, struct recipe *r, struct err *e)
{
    if (set_bits(m, bits, adjust, r, e))
        return -1;
    struct problem p;
    struct search_result found;
    const double total = (double)m->weights;
    problem_init(&p, m);
    const int rc = search_solve(p.group, m->n_groups, (int64_t)(total * r->adjusted_bits * RECIPE_STEPS), &found, e);
    if (!rc) {
        r->pick = xmalloc((size_t)m->n_groups, sizeof *r->pick);
        r->picked_score = xmalloc((size_t)m->n_groups, sizeof *r->picked_score);
        for (int g = 0; g < m->n_groups; g++) {
            r->pick[g] = m->group[g].fixed ? RECIPE_NONE : p.pair[found.pick[g]];
            r->picked_score[g] = p.group[g].choice[found.pick[g]].score;
        }
        r->effective_bits = (double)found.cost / RECIPE_STEPS / total;
        r->score = found.score;
        r->bound = found.bound;
        r->satisfied = found.satisfied;
        free(found.pick);
    }
    problem_free(&p);
    return rc;
}

void recipe_free(struct recipe *r)
{
    free(r->pick);
    free(r->picked_score);
    *r = (struct recipe){0};
}

/* ---- the document ---- */

static const struct recipe_pair *pair_of(const struct recipe_menu *m, int pick)
{
    static char text[] = SENS_NONE;
    static const struct recipe_pair none = {.name = text, .recipe_name = text, .bits = NONE_BITS};
    return pick == RECIPE_NONE ? &none : &m->pair[pick];
}

static json_t *menu_json(const struct recipe_menu *m, const struct recipe *r)
{
    json_t *menu = json_array();
    for (int i = 0; i <= m->n_pairs; i++) {
        const int pick = i < m->n_pairs ? i : RECIPE_NONE;
        const struct recipe_pair *p = pair_of(m, pick);
        json_int_t groups = 0, weights = 0;
        for (int g = 0; g < m->n_groups; g++)
            if (r->pick[g] == pick) {
                groups++;
                weights += (json_int_t)m->group[g].weights;
            }
        json_array_append_new(menu, json_pack("{ss ss sf sI sI}", "pair", p->name, "recipe_name", p->recipe_name,
                                              "bits", p->bits, "groups", groups, "weights", weights));
    }
    return menu;
}

static json_t *groups_json(const struct recipe_menu *m, const struct recipe *r)
{
    json_t *groups = json_array();
    for (int g = 0; g < m->n_groups; g++) {
        const struct recipe_pair *p = pair_of(m, r->pick[g]);
        json_array_append_new(groups, json_pack("{ss ss ss sf sI sf}", "name", m->group[g].name, "pair", p->name,
                                                "recipe_name", p->recipe_name, "bits", p->bits, "weights",
                                                (json_int_t)m->group[g].weights, "score", r->picked_score[g]));
    }
    return groups;
}

json_t *recipe_json(const struct recipe_menu *m, const struct recipe *r, const char *name)
{
    json_t *doc = json_pack("{ss si ss* sf sf sf}", "format", "qsens-recipe", "version", 1, "name", name, "asked_bits",
                            r->asked_bits, "adjusted_bits", r->adjusted_bits, "effective_bits", r->effective_bits);
    json_object_set_new(doc, "score", json_real(r->score));
    json_object_set_new(doc, "bound", json_real(r->bound));
    json_object_set_new(doc, "gap", json_real(r->score - r->bound));
    json_object_set_new(doc, "satisfied", json_boolean(r->satisfied));
    json_object_set_new(doc, "achievable",
                        json_pack("{s[ff] s[ff]}", "asked_bits", r->least_asked, (double)NONE_BITS, "effective_bits",
                                  r->least_effective, (double)NONE_BITS));
    json_object_set_new(doc, "weights", json_integer((json_int_t)m->weights));
    json_object_set_new(doc, "fixed_weights", json_integer((json_int_t)m->fixed_weights));
    json_object_set(doc, "origin", m->origin);
    json_object_set_new(doc, "menu", menu_json(m, r));
    json_object_set_new(doc, "groups", groups_json(m, r));
    return doc;
}
