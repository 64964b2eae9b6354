/* pretoken - cuts text into the words that BPE works on: the Split regex of tokenizer.json.
 *
 * The regex is written for Oniguruma (Ruby syntax), which is what the tokenizers library runs; PCRE2 runs it here
 * after a translation. What both engines understand alike is copied; what they spell or understand differently is
 * rewritten; everything else is refused with its position, so that no regex ever means something else here:
 *   \s \S             White_Space and its complement, written out (PCRE2's \s has U+180E besides)
 *   \d \D             \p{Nd} \P{Nd}
 *   \p{..} \P{..}     general categories of one or two letters, the versions of Unicode being those of the libraries
 *   \n \r \t \f \v \a \e \uHHHH \x{H..} \xHH (below 80), escaped punctuation
 *   . | ( ) (?: ) (?= ) (?! ) (?<= ) (?<! ) (?> ) (?i: ) [ ] [^ ] * + ? {n} {n,} {n,m}, lazy and possessive * + ?
 *   (?i: ) holds ASCII characters and classes of them only, and no pair that one character folds to (ss, st, ff, ..)
 * Refused: ^ $ \b \w \h and other escapes, nested classes, &&, flags other than i, names, back references, scripts. */
#ifndef PRETOKEN_H
#define PRETOKEN_H
#include <stdbool.h>
#include <stddef.h>

#include "err.h"

struct pretoken;

/* Compile regex[n]. use_jit: machine code where PCRE2 has it; the result never depends on it. ERR_CONFIG where
 * the regex is refused. */
struct pretoken *pretoken_new(const char *regex, size_t n, bool use_jit, struct err *e) MUST_CHECK;
void pretoken_free(struct pretoken *p);

/* The cut of one text: matches, and what lies between them, in order, none of them empty. */
struct pretoken_iter {
    const char *text;
    size_t n;
    size_t begin, end; /* the word that pretoken_next found */
    size_t search, match_begin, match_end;
    bool pending, matched, exhausted;
};
/* text[n] is valid UTF-8 and outlives the iterator. */
void pretoken_start(struct pretoken_iter *it, const char *text, size_t n);
/* 1 and the next word in it->begin, it->end; 0 at the end; -1 with ERR_LIMIT where PCRE2 gives up, which takes a regex
 * that backtracks more than linearly. */
int pretoken_next(struct pretoken *p, struct pretoken_iter *it, struct err *e) MUST_CHECK;

/* The regex as PCRE2 gets it, for tests and messages; the caller frees. */
char *pretoken_translate(const char *regex, size_t n, struct err *e) MUST_CHECK;

#endif
