/* Dynamic programming over groups with lists instead of tables. A state is a choice for every group seen so far, kept
 * as (cost, score). A state goes when another costs no more and scores no more (dominance), or when the linear
 * relaxation of the groups still to come shows that it cannot beat a solution that is already known. */
#include "search.h"

#include <math.h>
#include <stdlib.h>

#include "mem.h"

/* Scores are added as 128-bit integers in units of 2^-shift: sums are then exact, so a tie is a tie whatever the order
 * of addition. Exact where the scores of one problem span less than 2^70; smaller ones lose bits below 2^-124 of the
 * total. */
typedef __int128 fixed;

enum { FIXED_BITS = 124, MAX_STATES = 1 << 24 };

struct item {
    int64_t cost;
    fixed score;
    int choice;
};

/* One edge of a group's lower convex hull: what one more unit of cost gains is `slope`. */
struct step {
    int64_t cost;
    fixed gain;
    double slope;
    int group, index; /* index: position on the group's hull */
};

struct state {
    int64_t cost;
    fixed score;
};

struct trace {
    uint32_t parent; /* state of the level before */
    int choice;
};

struct level {
    struct trace *trace;
    size_t n;
};

/* The relaxation of groups 0..g-1: corner i spends cost[i] and leaves score[i]; between corners it is linear. */
struct relaxation {
    int64_t *cost;
    fixed *score;
    int n;
    fixed margin; /* more than all rounding of slopes and interpolation can amount to */
};

struct solver {
    int n;
    int64_t limit;
    int shift;
    struct item *item; /* of all groups; group g has item[first[g]] .. item[first[g+1]-1], dearer and better upwards */
    int *first;
    struct step *step; /* steepest first */
    int n_steps;
    struct relaxation rest;
    fixed best; /* score of the best solution known to exist */
    struct state *state;
    size_t n_states, total_states;
    struct level *level;
};

static fixed to_fixed(double x, int shift)
{
    int exp;
    const int64_t mantissa = (int64_t)ldexp(frexp(x, &exp), 53);
    const int up = exp - 53 + shift;
    return up >= 0 ? (fixed)mantissa << up : up > -63 ? (fixed)(mantissa >> -up) : 0;
}

static double from_fixed(fixed x, int shift)
{
    return ldexp((double)x, -shift);
}

/* ---- checks ---- */

static int check(const struct search_group *group, int n_groups, double *total, struct err *e)
{
    if (n_groups < 1)
        return err_set(e, ERR_CONFIG, "nothing to search: there are no groups");
    int64_t cost = 0;
    *total = 0;
    for (int g = 0; g < n_groups; g++) {
        int64_t dearest = 0;
        double worst = 0;
        if (group[g].n < 1)
            return err_set(e, ERR_CONFIG, "group %d has nothing to choose from", g);
        for (int j = 0; j < group[g].n; j++) {
            const struct search_choice *c = &group[g].choice[j];
            if (c->cost < 0)
                return err_set(e, ERR_CONFIG, "choice %d of group %d has a negative cost", j, g);
            if (!(c->score >= 0) || !isfinite(c->score))
                return err_set(e, ERR_CONFIG, "choice %d of group %d has a score that is negative or not finite", j, g);
            dearest = c->cost > dearest ? c->cost : dearest;
            worst = fmax(worst, c->score);
        }
        if (__builtin_add_overflow(cost, dearest, &cost))
            return err_set(e, ERR_LIMIT, "the costs of %d groups add up to more than 63 bits hold", n_groups);
        *total += worst;
    }
    if (!isfinite(*total))
        return err_set(e, ERR_LIMIT, "the scores of %d groups add up to more than a double holds", n_groups);
    return 0;
}

/* ---- items and hulls ---- */

static int by_cost(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->cost != y->cost)
        return x->cost < y->cost ? -1 : 1;
    if (x->score != y->score)
        return x->score < y->score ? -1 : 1;
    return x->choice - y->choice;
}

/* The choices of a group that no other one beats; returns how many. */
static int undominated(const struct search_group *group, int shift, struct item *item)
{
    for (int j = 0; j < group->n; j++)
        item[j] = (struct item){group->choice[j].cost, to_fixed(group->choice[j].score, shift), j};
    qsort(item, (size_t)group->n, sizeof *item, by_cost);
    int n = 1;
    for (int j = 1; j < group->n; j++)
        if (item[j].score < item[n - 1].score)
            item[n++] = item[j];
    return n;
}

/* Steps along the lower hull of items[0..n-1]. Slopes are compared as they are stored, so that along every hull they
 * fall strictly and sorting all steps by slope keeps each group's steps in order. Returns how many. */
static int hull(const struct item *item, int n, int group, struct step *out)
{
    int top = 0;
    int64_t cost = item[0].cost; /* of the hull's last corner */
    fixed score = item[0].score;
    for (int j = 1; j < n; j++) {
        struct step s;
        for (;;) {
            s = (struct step){.cost = item[j].cost - cost, .gain = score - item[j].score, .group = group};
            s.slope = (double)s.gain / (double)s.cost;
            if (top == 0 || s.slope < out[top - 1].slope)
                break;
            top--;
            cost -= out[top].cost;
            score += out[top].gain;
        }
        s.index = top;
        out[top++] = s;
        cost = item[j].cost;
        score = item[j].score;
    }
    return top;
}

static int by_slope(const void *a, const void *b)
{
    const struct step *x = a, *y = b;
    if (x->slope != y->slope)
        return x->slope > y->slope ? -1 : 1;
    return x->group != y->group ? x->group - y->group : x->index - y->index;
}

static void prepare(struct solver *s, const struct search_group *group)
{
    size_t n = 0;
    for (int g = 0; g < s->n; g++)
        n += (size_t)group[g].n;
    s->item = xmalloc(n, sizeof *s->item);
    s->first = xcalloc((size_t)s->n + 1, sizeof *s->first);
    s->step = xmalloc(n, sizeof *s->step);
    for (int g = 0; g < s->n; g++) {
        struct item *item = s->item + s->first[g];
        const int kept = undominated(&group[g], s->shift, item);
        s->first[g + 1] = s->first[g] + kept;
        s->n_steps += hull(item, kept, g, s->step + s->n_steps);
    }
    qsort(s->step, (size_t)s->n_steps, sizeof *s->step, by_slope);
    s->rest.cost = xmalloc((size_t)s->n_steps + 1, sizeof *s->rest.cost);
    s->rest.score = xmalloc((size_t)s->n_steps + 1, sizeof *s->rest.score);
}

/* ---- relaxation ---- */

static void relax(struct solver *s, int n_groups)
{
    struct relaxation *r = &s->rest;
    r->n = 1;
    r->cost[0] = 0;
    r->score[0] = 0;
    for (int g = 0; g < n_groups; g++) {
        r->cost[0] += s->item[s->first[g]].cost;
        r->score[0] += s->item[s->first[g]].score;
    }
    for (int i = 0; i < s->n_steps; i++)
        if (s->step[i].group < n_groups) {
            r->cost[r->n] = r->cost[r->n - 1] + s->step[i].cost;
            r->score[r->n] = r->score[r->n - 1] - s->step[i].gain;
            r->n++;
        }
    /* slopes, their order and the interpolation are off by a few 2^-53 of what they gain in all */
    r->margin = (r->score[0] >> 48) + 1;
}

/* The last corner that costs no more than `room`, searched downwards from `from`; -1 where not even the first fits. */
static int corner(const struct relaxation *r, int from, int64_t room)
{
    while (from >= 0 && r->cost[from] > room)
        from--;
    return from;
}

/* Lower bound on the score of the groups to come with `room` left, which lies at or beyond corner i. */
static fixed lower_bound(const struct relaxation *r, int i, int64_t room)
{
    if (i + 1 == r->n)
        return r->score[i];
    const fixed gain = r->score[i] - r->score[i + 1];
    const double share = (double)(room - r->cost[i]) / (double)(r->cost[i + 1] - r->cost[i]);
    return r->score[i] - (fixed)((double)gain * share);
}

/* ---- one group ---- */

/* Which of the k lists continues the merged order: by cost, score, then the earlier choice of the menu. */
static int next_of(const struct state *old, size_t n, const struct item *item, int k, const size_t *head,
                   struct state *out)
{
    int which = -1;
    for (int j = 0; j < k; j++) {
        if (head[j] == n)
            continue;
        const struct state c = {old[head[j]].cost + item[j].cost, old[head[j]].score + item[j].score};
        if (which < 0 || c.cost < out->cost ||
            (c.cost == out->cost &&
             (c.score < out->score || (c.score == out->score && item[j].choice < item[which].choice)))) {
            which = j;
            *out = c;
        }
    }
    return which;
}

/* Extend every state by every choice of group g. Groups are taken from the last to the first: of two equal states the
 * one with the earlier choice in the newest group is then the earlier one in menu order as a whole. */
static int extend(struct solver *s, int g, struct err *e)
{
    relax(s, g);
    const struct item *item = s->item + s->first[g];
    const int k = s->first[g + 1] - s->first[g];
    size_t *head = xcalloc((size_t)k, sizeof *head);
    struct state *list = NULL, c;
    struct trace *trace = NULL;
    size_t n = 0, list_cap = 0, trace_cap = 0;
    int rc = 0, i = s->rest.n - 1;
    fixed least = 0; /* score of the last state taken; valid once `any` */
    int any = 0;
    for (int j; (j = next_of(s->state, s->n_states, item, k, head, &c)) >= 0;) {
        const uint32_t parent = (uint32_t)head[j]++;
        i = corner(&s->rest, i, s->limit - c.cost);
        if (i < 0)
            break; /* states come by ascending cost: no later one fits either */
        if (any && c.score >= least)
            continue;
        any = 1;
        least = c.score;
        if (c.score + s->rest.score[i] < s->best)
            s->best = c.score + s->rest.score[i];
        if (c.score + lower_bound(&s->rest, i, s->limit - c.cost) - s->rest.margin > s->best)
            continue;
        if (++s->total_states > MAX_STATES) {
            rc = err_set(e, ERR_LIMIT,
                         "the search needs more than %d partial solutions: too many choices are equally good "
                         "(try another limit or fewer formats)",
                         MAX_STATES);
            break;
        }
        list = xgrow(list, &list_cap, n + 1, sizeof *list);
        trace = xgrow(trace, &trace_cap, n + 1, sizeof *trace);
        list[n] = c;
        trace[n++] = (struct trace){parent, item[j].choice};
    }
    free(head);
    free(s->state);
    s->state = list;
    s->n_states = n;
    s->level[g] = (struct level){trace, n};
    return rc;
}

static int solve(struct solver *s, struct search_result *r, struct err *e)
{
    relax(s, s->n);
    const int i = corner(&s->rest, s->rest.n - 1, s->limit);
    if (i < 0) {
        for (int g = 0; g < s->n; g++)
            r->pick[g] = s->item[s->first[g]].choice;
        return 0;
    }
    r->satisfied = 1;
    r->bound = from_fixed(lower_bound(&s->rest, i, s->limit), s->shift);
    s->best = s->rest.score[i];
    s->level = xcalloc((size_t)s->n, sizeof *s->level);
    s->state = xcalloc(1, sizeof *s->state);
    s->n_states = 1;
    for (int g = s->n - 1; g >= 0; g--)
        if (extend(s, g, e))
            return -1;
    if (!s->n_states)
        BUG("the optimum was pruned");
    size_t at = s->n_states - 1; /* the dearest state that is left has the least score */
    for (int g = 0; g < s->n; g++) {
        const struct trace *t = &s->level[g].trace[at];
        r->pick[g] = t->choice;
        at = t->parent;
    }
    return 0;
}

int search_solve(const struct search_group *group, int n_groups, int64_t limit, struct search_result *r, struct err *e)
{
    double total = 0;
    if (check(group, n_groups, &total, e))
        return -1;
    int exp;
    frexp(total, &exp);
    struct solver s = {.n = n_groups, .limit = limit, .shift = FIXED_BITS - exp};
    prepare(&s, group);
    *r = (struct search_result){.pick = xcalloc((size_t)n_groups, sizeof *r->pick)};
    const int rc = solve(&s, r, e);
    for (int g = 0; g < n_groups; g++) {
        const struct search_choice *c = &group[g].choice[r->pick[g]];
        r->cost += c->cost;
        r->score += c->score;
    }
    if (!r->satisfied || r->bound > r->score) /* the two are rounded differently */
        r->bound = r->score;
    for (int g = 0; s.level && g < n_groups; g++)
        free(s.level[g].trace);
    free(s.level);
    free(s.state);
    free(s.item);
    free(s.first);
    free(s.step);
    free(s.rest.cost);
    free(s.rest.score);
    if (rc) {
        free(r->pick);
        *r = (struct search_result){0};
    }
    return rc;
}

void search_clamp(int n, const int *bits, double *score)
{
    double below = INFINITY, here = INFINITY; /* least raw score of strictly fewer bits; of the same bits so far */
    for (int i = 0; i < n; i++) {
        if (i && bits[i] != bits[i - 1]) {
            below = fmin(below, here);
            here = INFINITY;
        }
        here = fmin(here, score[i]);
        score[i] = fmin(score[i], below);
    }
}

double search_adjusted_bits(double bits, double total, double disabled)
{
    if (!(disabled > 0))
        return bits;
    return fmin(16, (disabled * 16 + (total - disabled) * bits) / total + 1e-3);
}
