/* nearest - "did you mean": the known word with the least edit distance. */
#ifndef NEAREST_H
#define NEAREST_H
#include <stddef.h>

/* Insertions, deletions, replacements and swaps of neighbours that turn a into b (optimal string alignment), in bytes.
 * Words longer than NEAREST_MAX bytes count as NEAREST_MAX away. */
enum { NEAREST_MAX = 128 };
int nearest_distance(const char *a, const char *b);

/* The word[0..n-1] nearest to `to`, the first among equals; NULL where none shares more than it differs. */
const char *nearest_word(const char *to, const char *const *word, size_t n);

#endif
