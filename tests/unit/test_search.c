/* The exact knapsack against brute force, and ModelOpt's rules around it. */
#include "search.h"

#include "mem.h"
#include "tap.h"

enum { MAX_GROUPS = 6, MAX_CHOICES = 5 };

static uint64_t seed = 20251217;

static uint32_t draw(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % below);
}

struct instance {
    struct search_choice choice[MAX_GROUPS][MAX_CHOICES];
    struct search_group group[MAX_GROUPS];
    int n;
    int64_t limit;
};

/* Scores are multiples of 2^-10, so that brute force adds them without rounding. Small ranges make ties common. */
static void make(struct instance *x)
{
    static const uint32_t cost_range[] = {1, 3, 10, 1000, 1000000000}, score_range[] = {1, 4, 20, 1000, 1000000};
    const uint32_t costs = cost_range[draw(5)], scores = score_range[draw(5)];
    x->n = 1 + (int)draw(MAX_GROUPS);
    int64_t dearest = 0;
    for (int g = 0; g < x->n; g++) {
        const int n = 1 + (int)draw(MAX_CHOICES);
        int64_t max = 0;
        for (int j = 0; j < n; j++) {
            x->choice[g][j] = (struct search_choice){draw(costs), draw(scores) / 1024.0};
            max = x->choice[g][j].cost > max ? x->choice[g][j].cost : max;
        }
        dearest += max;
        x->group[g] = (struct search_group){n, x->choice[g]};
    }
    x->limit = (int64_t)((double)dearest * (double)draw(1200) / 1000.0) - (draw(20) == 0);
}

struct best {
    int pick[MAX_GROUPS];
    int64_t cost;
    double score;
    bool found;
};

/* Every combination in menu order, so that the first of equals is the one the header promises. */
static void brute_force(const struct instance *x, struct best *fits, struct best *cheapest)
{
    int pick[MAX_GROUPS] = {0};
    fits->found = cheapest->found = false;
    for (int g = 0; g >= 0;) {
        int64_t cost = 0;
        double score = 0;
        for (int i = 0; i < x->n; i++) {
            cost += x->choice[i][pick[i]].cost;
            score += x->choice[i][pick[i]].score;
        }
        if (cost <= x->limit && (!fits->found || score < fits->score || (score == fits->score && cost < fits->cost))) {
            *fits = (struct best){.cost = cost, .score = score, .found = true};
            memcpy(fits->pick, pick, sizeof pick);
        }
        if (!cheapest->found || cost < cheapest->cost || (cost == cheapest->cost && score < cheapest->score)) {
            *cheapest = (struct best){.cost = cost, .score = score, .found = true};
            memcpy(cheapest->pick, pick, sizeof pick);
        }
        for (g = x->n - 1; g >= 0 && ++pick[g] == x->group[g].n; g--)
            pick[g] = 0;
    }
}

static void test_brute_force(void)
{
    int wrong_score = 0, wrong_pick = 0, wrong_bound = 0, wrong_state = 0, infeasible = 0, gap = 0;
    for (int trial = 0; trial < 10000; trial++) {
        struct instance x;
        make(&x);
        struct best fits, cheapest;
        brute_force(&x, &fits, &cheapest);
        struct search_result r;
        struct err e;
        if (search_solve(x.group, x.n, x.limit, &r, &e)) {
            wrong_state++;
            continue;
        }
        const struct best *want = fits.found ? &fits : &cheapest;
        infeasible += !fits.found;
        wrong_state += r.satisfied != fits.found;
        wrong_score += !(r.score == want->score) || r.cost != want->cost;
        wrong_pick += memcmp(r.pick, want->pick, sizeof *r.pick * (size_t)x.n) != 0;
        wrong_bound += !(r.bound <= want->score);
        gap += r.bound < want->score;
        free(r.pick);
    }
    ok(!wrong_state, "10000 small problems: satisfied where a combination fits (%d infeasible, %d wrong)", infeasible,
       wrong_state);
    ok(infeasible > 100 && gap > 500, "the problems are of all kinds (%d infeasible, %d with a gap)", infeasible, gap);
    ok(!wrong_score, "score and cost are those of brute force (%d wrong)", wrong_score);
    ok(!wrong_pick, "so are the picks, ties included (%d wrong)", wrong_pick);
    ok(!wrong_bound, "the bound is never above the optimum (%d wrong)", wrong_bound);
}

enum { GROUPS = 250, CHOICES = 8 };
static struct search_choice large[GROUPS][CHOICES];
static struct search_group large_group[GROUPS];

/* Costs to the byte: nothing divides them. Scores over nine decades fall as the cost rises, mostly. */
static int64_t make_large(void)
{
    int64_t dearest = 0;
    for (int g = 0; g < GROUPS; g++) {
        const double size = exp(-20.0 * draw(1000) / 1000.0);
        int64_t max = 0;
        for (int j = 0; j < CHOICES; j++) {
            large[g][j] = (struct search_choice){1 + draw(1000000000), 0};
            large[g][j].score = size * exp(-8e-9 * (double)large[g][j].cost) * (0.5 + draw(1000) / 1000.0);
            max = large[g][j].cost > max ? large[g][j].cost : max;
        }
        dearest += max;
        large_group[g] = (struct search_group){CHOICES, large[g]};
    }
    return dearest;
}

static void test_large(void)
{
    const int64_t dearest = make_large();
    double before = INFINITY;
    int rises = 0, over = 0, below_bound = 0, failed = 0;
    for (int step = 0; step <= 40; step++) {
        const int64_t limit = dearest / 40 * step;
        struct search_result r;
        struct err e;
        if (search_solve(large_group, GROUPS, limit, &r, &e)) {
            failed++;
            continue;
        }
        if (r.satisfied) {
            rises += !(r.score <= before);
            over += r.cost > limit;
            below_bound += !(r.bound <= r.score && r.score - r.bound <= 0.01 * r.score + 1e-300);
            before = r.score;
        }
        free(r.pick);
    }
    ok(!failed, "250 groups x 8 choices with costs up to 1e9: 41 budgets solved");
    ok(!rises, "a larger budget never scores worse");
    ok(!over, "no solution is over its limit");
    ok(!below_bound, "scores lie within 1 %% above the bound");
}

static void test_errors(void)
{
    static const struct search_choice fine = {1, 1}, negative = {-1, 1}, nan_score = {1, NAN}, bad_score = {1, -1e-9},
                                      huge = {INT64_MAX, 1}, large_score = {1, 1.7e308};
    static const struct {
        const char *name, *part;
        struct search_group group[2];
        int n;
        enum err_code code;
    } row[] = {
        {"no groups", "no groups", {{0, NULL}}, 0, ERR_CONFIG},
        {"an empty group", "group 1 has nothing", {{1, &fine}, {0, NULL}}, 2, ERR_CONFIG},
        {"a negative cost", "negative cost", {{1, &fine}, {1, &negative}}, 2, ERR_CONFIG},
        {"a NaN score", "not finite", {{1, &nan_score}}, 1, ERR_CONFIG},
        {"a negative score", "negative or not finite", {{1, &bad_score}}, 1, ERR_CONFIG},
        {"costs that overflow", "63 bits", {{1, &huge}, {1, &huge}}, 2, ERR_LIMIT},
        {"scores that overflow", "a double", {{1, &large_score}, {1, &large_score}}, 2, ERR_LIMIT},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct search_result r;
        struct err e = {0};
        const int rc = search_solve(row[i].group, row[i].n, 10, &r, &e);
        ok(rc == -1 && e.code == row[i].code && strstr(e.msg, row[i].part), "%s is refused: %s", row[i].name, e.msg);
    }
}

/* Scores 25 decades apart still add exactly: the tiny one decides. */
static void test_range(void)
{
    const struct search_choice a[] = {{1, 1e12}, {2, 1e12}}, b[] = {{1, 3e-9}, {1, 1e-9}, {1, 2e-9}};
    const struct search_group group[] = {{2, a}, {3, b}};
    struct search_result r;
    struct err e;
    if (!ok(!search_solve(group, 2, 100, &r, &e), "scores of 1e12 and 1e-9 in one problem"))
        return;
    ok(r.pick[0] == 0 && r.pick[1] == 1, "the cheaper of equals, and the least of the tiny ones");
    free(r.pick);
}

static void test_rules(void)
{
    static const struct {
        const char *name;
        int n, bits[5];
        double score[5], want[5];
    } row[] = {
        {"falling scores stay", 3, {4, 8, 16}, {3, 2, 0}, {3, 2, 0}},
        {"more bits are never worse", 3, {4, 8, 16}, {2, 3, 0}, {2, 2, 0}},
        {"equal bits do not bind each other", 4, {4, 8, 8, 16}, {5, 2, 3, 0}, {5, 2, 3, 0}},
        {"the least of all fewer bits counts", 4, {4, 4, 8, 16}, {5, 1, 3, 0}, {5, 1, 1, 0}},
        {"raw scores are compared, at any distance", 4, {4, 6, 8, 16}, {1, 5, 4, 0}, {1, 1, 1, 0}},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        double score[5];
        memcpy(score, row[i].score, sizeof score);
        search_clamp(row[i].n, row[i].bits, score);
        bool same = true;
        for (int j = 0; j < row[i].n; j++)
            same &= score[j] == row[i].want[j];
        ok(same, "clamp: %s", row[i].name);
    }
    ok(search_adjusted_bits(8, 4434886656.0, 412614656.0) == 8.74530701482171, "adjusted bits of the 4B model");
    ok(search_adjusted_bits(6, 1916928, 466944) == 8.436897435897436, "adjusted bits of the tiny model");
    ok(search_adjusted_bits(8, 100, 0) == 8, "nothing disabled: nothing adjusted");
    ok(search_adjusted_bits(16, 100, 50) == 16, "never above 16");
}

int main(void)
{
    test_brute_force();
    test_large();
    test_errors();
    test_range();
    test_rules();
    return done();
}
