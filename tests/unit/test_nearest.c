/* nearest: distances, and which word is suggested. */
#include "nearest.h"
#include "tap.h"

int main(void)
{
    static const struct {
        const char *a, *b;
        int distance;
    } pairs[] = {
        {"", "", 0},         {"abc", "abc", 0}, {"", "abc", 3},           {"abc", "", 3}, {"kitten", "sitting", 3},
        {"abcd", "abdc", 1}, {"ca", "abc", 3},  {"seq_len", "seqlen", 1}, {"a", "b", 1},  {"ab", "ba", 1},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        ok(nearest_distance(pairs[i].a, pairs[i].b) == pairs[i].distance, "'%s' to '%s' is %d", pairs[i].a, pairs[i].b,
           pairs[i].distance);
    char longer[NEAREST_MAX + 2] = "";
    memset(longer, 'x', NEAREST_MAX + 1);
    ok(nearest_distance(longer, "x") == NEAREST_MAX, "a long word is far away");

    static const char *const words[] = {"dtype", "padding", "block", "batch_size"};
    is_str(nearest_word("bath_size", words, 4), "batch_size", "a letter is missing");
    is_str(nearest_word("dytpe", words, 4), "dtype", "two letters are swapped");
    ok(!nearest_word("zzz", words, 4), "nothing is near");
    ok(!nearest_word("dtype", words, 0), "no words");
    return done();
}
