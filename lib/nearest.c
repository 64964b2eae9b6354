#include "nearest.h"

#include <string.h>

static int least(int a, int b, int c)
{
    const int ab = a < b ? a : b;
    return ab < c ? ab : c;
}

int nearest_distance(const char *a, const char *b)
{
    const int na = (int)strnlen(a, NEAREST_MAX), nb = (int)strnlen(b, NEAREST_MAX);
    if (na == NEAREST_MAX || nb == NEAREST_MAX)
        return NEAREST_MAX;
    int row[3][NEAREST_MAX]; /* distances of a[0..i) to b[0..j), for the last three i */
    for (int j = 0; j <= nb; j++)
        row[0][j] = j;
    for (int i = 1; i <= na; i++) {
        int *now = row[i % 3];
        const int *above = row[(i + 2) % 3], *two_above = row[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= nb; j++) {
            now[j] = least(above[j] + 1, now[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && now[j] > two_above[j - 2] + 1)
                now[j] = two_above[j - 2] + 1;
        }
    }
    return row[na % 3][nb];
}

const char *nearest_word(const char *to, const char *const *word, size_t n)
{
    const char *best = NULL;
    int least_so_far = NEAREST_MAX;
    for (size_t i = 0; i < n; i++) {
        const int d = nearest_distance(to, word[i]);
        const size_t longer = strlen(to) > strlen(word[i]) ? strlen(to) : strlen(word[i]);
        if (d < least_so_far && 2 * (size_t)d < longer) {
            least_so_far = d;
            best = word[i];
        }
    }
    return best;
}
