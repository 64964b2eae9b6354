/* added - the added tokens of tokenizer.json: found in the text by their spelling, before anything is cut into words.
 *
 * A search is leftmost-longest, as in the tokenizers library; a match that single_word rejects is passed over whole. */
#ifndef ADDED_H
#define ADDED_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

struct added_token {
    char *text; /* owned */
    size_t n;
    int32_t id;
    bool single_word;    /* only where no word character stands on either side */
    bool lstrip, rstrip; /* takes the white space on that side along */
};

struct added_set { /* zeroed: empty */
    struct added_token *token;
    size_t n, cap;
    size_t first[257]; /* after added_seal: tokens that start with byte c are first[c] to first[c+1]-1 */
    void *word;        /* compiled class of word characters, where a single_word token needs it */
};

/* Add a token; takes text over. n > 0. */
void added_add(struct added_set *s, struct added_token t);
/* Make ready to search. ERR_FORMAT where two tokens have one spelling; ERR_CONFIG where single_word tokens would need
 * a newer PCRE2. */
int added_seal(struct added_set *s, struct err *e) MUST_CHECK;
void added_free(struct added_set *s);

/* A text as pieces: stretches without tokens (id -1), and tokens. Nothing empty. */
struct added_piece {
    size_t begin, end;
    int32_t id;
};
struct added_iter {
    const char *text;
    size_t n;
    size_t search, done; /* next match from here; pieces given out up to here */
    struct added_piece held;
    bool holding;
};
/* text[n] is valid UTF-8 and outlives the iterator. */
void added_start(struct added_iter *it, const char *text, size_t n);
/* false at the end of the text. */
bool added_next(const struct added_set *s, struct added_iter *it, struct added_piece *piece);

#endif
