/* bpe - byte-level byte-pair encoding: a word's bytes are merged pair by pair, the earliest merge rule first.
 *
 * Tokens are spelled in the byte-level alphabet: each byte is one character, printable Latin-1 as itself, the others
 * from U+0100 on ("Ġ" is a space). The merging order is that of the tokenizers library, to the last tie. */
#ifndef BPE_H
#define BPE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

struct token_ids { /* grows; the owner frees id */
    int32_t *id;
    size_t n, cap;
};
void token_ids_add(struct token_ids *t, int32_t id);

struct bpe;

/* Room for so many tokens and merges. ignore_merges: a word that is a token as a whole becomes that token. */
struct bpe *bpe_new(size_t n_tokens, size_t n_merges, bool ignore_merges);
void bpe_free(struct bpe *b);

/* Add a token; false if there is one of that spelling. id >= 0. Not more than bpe_new was told. */
bool bpe_add_token(struct bpe *b, const char *text, size_t n, int32_t id) MUST_CHECK;
/* The id of a spelling, or -1. */
int32_t bpe_find(const struct bpe *b, const char *text, size_t n);
size_t bpe_size(const struct bpe *b);

/* Add the next merge rule: first[n_first] and second[n_second] become one token. Rules come in order of rank; a rule
 * for a pair that has one replaces it. All three tokens must have been added, else ERR_FORMAT names the one missing. */
int bpe_add_merge(struct bpe *b, const char *first, size_t n_first, const char *second, size_t n_second,
                  struct err *e) MUST_CHECK;

/* Append the ids of one word of n bytes, n <= INT32_MAX. A byte that is no token is left out, as the library leaves it
 * out. O(n log n). Keeps a cache: not for two threads at once. */
void bpe_encode(struct bpe *b, const char *word, size_t n, struct token_ids *out);

#endif
