/* Time per budget of the recipe search on large problems of three kinds. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"
#include "search.h"

#include <math.h>

enum { GROUPS = 250, CHOICES = 8, BUDGETS = 40 };

static uint64_t seed = 1;
static double uniform(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 11) * 0x1p-53;
}

static struct search_choice choice[GROUPS][CHOICES];
static struct search_group group[GROUPS];

/* Costs to the byte, scores at random. */
static void independent(int g, int j)
{
    (void)g;
    (void)j;
    choice[g][j] = (struct search_choice){(int64_t)(uniform() * 1e9), uniform()};
}

/* Scores fall exponentially with the cost: what real formats do. */
static void exponential(int g, int j)
{
    const double x = uniform();
    choice[g][j] = (struct search_choice){(int64_t)(x * 1e9), exp(-0.08 * g - 8 * x) * (0.5 + uniform())};
}

/* Four layer shapes, formats of 4 to 16 bits with their scales counted: many costs are equal. */
static void shapes(int g, int j)
{
    static const double weights[] = {15728640, 10485760, 49807360, 24903680};
    static const double bits[CHOICES] = {4.25, 4.5, 4.125, 6.5, 8, 8.0625, 8.5, 16};
    choice[g][j] =
        (struct search_choice){(int64_t)(weights[g % 4] * bits[j] / 8),
                               j == CHOICES - 1 ? 0 : weights[g % 4] * 1e-8 * exp2(-2 * bits[j]) * (0.2 + uniform())};
}

/* Scores that all but follow from the costs: the hardest kind. */
static void correlated(int g, int j)
{
    const double cost = floor(uniform() * 1e9);
    choice[g][j] = (struct search_choice){(int64_t)cost, 1.1 - cost * 1e-9 + 0.1 * uniform()};
}

int main(void)
{
    static const struct {
        const char *name;
        void (*make)(int g, int j);
    } kind[] = {
        {"independent", independent}, {"exponential", exponential}, {"shapes", shapes}, {"correlated", correlated}};
    for (size_t k = 0; k < sizeof kind / sizeof *kind; k++) {
        int64_t dearest = 0;
        for (int g = 0; g < GROUPS; g++) {
            int64_t max = 0;
            for (int j = 0; j < CHOICES; j++) {
                kind[k].make(g, j);
                max = choice[g][j].cost > max ? choice[g][j].cost : max;
            }
            dearest += max;
            group[g] = (struct search_group){CHOICES, choice[g]};
        }
        double worst = 0, sum = 0;
        for (int b = 1; b <= BUDGETS; b++) {
            struct search_result r;
            struct err e;
            const double started = cli_seconds();
            if (search_solve(group, GROUPS, dearest / BUDGETS * b, &r, &e)) {
                printf("%-12s budget %d: %s\n", kind[k].name, b, e.msg);
                continue;
            }
            const double t = cli_seconds() - started;
            sum += t;
            worst = fmax(worst, t);
            free(r.pick);
        }
        printf("search %-12s %d groups x %d: %7.2f ms per budget, worst %7.2f ms\n", kind[k].name, GROUPS, CHOICES,
               1e3 * sum / BUDGETS, 1e3 * worst);
    }
    return 0;
}
