#include "added.h"

#include <stdlib.h>
#include <string.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "mem.h"
#include "unicode.h"

/* Word characters of Rust's regex crate: UTS 18, annex C. */
static int compile_word(struct added_set *s, struct err *e)
{
    static const char regex[] = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]";
    int code;
    PCRE2_SIZE at;
    if (!s->word)
        s->word = pcre2_compile((PCRE2_SPTR)regex, sizeof regex - 1, PCRE2_UTF | PCRE2_ANCHORED, &code, &at, NULL);
    return s->word ? 0 : err_set(e, ERR_CONFIG, "single_word added tokens need PCRE2 10.40 or newer");
}

static bool is_word(const struct added_set *s, const char *character)
{
    pcre2_match_data *m = pcre2_match_data_create(1, NULL);
    const int rc = pcre2_match(s->word, (PCRE2_SPTR)character, utf8_length(*character), 0, PCRE2_NO_UTF_CHECK, m, NULL);
    pcre2_match_data_free(m);
    return rc >= 0;
}

void added_add(struct added_set *s, struct added_token t)
{
    if (t.n == 0)
        BUG("an empty token");
    s->token = xgrow(s->token, &s->cap, s->n + 1, sizeof *s->token);
    s->token[s->n++] = t;
}

/* By first byte, then the longest first, so that the first that fits is the longest that fits. */
static int by_first_byte(const void *a, const void *b)
{
    const struct added_token *x = a, *y = b;
    const unsigned char cx = (unsigned char)x->text[0], cy = (unsigned char)y->text[0];
    if (cx != cy)
        return cx < cy ? -1 : 1;
    if (x->n != y->n)
        return x->n > y->n ? -1 : 1;
    return memcmp(x->text, y->text, x->n);
}

int added_seal(struct added_set *s, struct err *e)
{
    if (s->n)
        qsort(s->token, s->n, sizeof *s->token, by_first_byte);
    size_t k = 0;
    for (int c = 0; c < 256; c++) {
        s->first[c] = k;
        while (k < s->n && (unsigned char)s->token[k].text[0] == c)
            k++;
    }
    s->first[256] = k;
    for (size_t i = 0; i < s->n; i++) {
        if (i && by_first_byte(&s->token[i - 1], &s->token[i]) == 0)
            return err_set(e, ERR_FORMAT, "added token '%.100s' comes twice", s->token[i].text);
        if (s->token[i].single_word && compile_word(s, e))
            return -1;
    }
    return 0;
}

void added_free(struct added_set *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->token[i].text);
    free(s->token);
    pcre2_code_free(s->word);
    *s = (struct added_set){0};
}

void added_start(struct added_iter *it, const char *text, size_t n)
{
    *it = (struct added_iter){.text = text, .n = n};
}

static const struct added_token *token_at(const struct added_set *s, const char *text, size_t n)
{
    const unsigned char c = (unsigned char)text[0];
    for (size_t i = s->first[c]; i < s->first[c + 1]; i++)
        if (s->token[i].n <= n && !memcmp(text, s->token[i].text, s->token[i].n))
            return &s->token[i];
    return NULL;
}

static bool inside_word(const struct added_set *s, const struct added_iter *it, size_t begin, size_t end)
{
    return (begin > 0 && is_word(s, it->text + utf8_back(it->text, begin))) ||
           (end < it->n && is_word(s, it->text + end));
}

static size_t spaces_before(const struct added_iter *it, size_t pos)
{
    while (pos > it->done) {
        const size_t before = utf8_back(it->text, pos);
        if (!unicode_is_space(utf8_decode(it->text + before)))
            break;
        pos = before;
    }
    return pos;
}

static size_t spaces_after(const struct added_iter *it, size_t pos)
{
    while (pos < it->n && unicode_is_space(utf8_decode(it->text + pos)))
        pos += utf8_length(it->text[pos]);
    return pos;
}

bool added_next(const struct added_set *s, struct added_iter *it, struct added_piece *piece)
{
    if (it->holding) {
        it->holding = false;
        it->done = it->held.end;
        *piece = it->held;
        return true;
    }
    if (s->n == 0)
        it->search = it->n;
    while (it->search < it->n) {
        const struct added_token *t = token_at(s, it->text + it->search, it->n - it->search);
        if (!t) {
            it->search++;
            continue;
        }
        size_t begin = it->search, end = it->search = begin + t->n;
        if (t->single_word && inside_word(s, it, begin, end))
            continue;
        if (t->lstrip)
            begin = spaces_before(it, begin);
        if (t->rstrip) /* the search goes on behind the spelling: a token may start in the spaces, as in the library */
            end = spaces_after(it, end);
        it->held = (struct added_piece){begin, end, t->id};
        const bool gap = it->done < begin;
        *piece = gap ? (struct added_piece){it->done, begin, -1} : it->held;
        it->holding = gap;
        it->done = gap ? begin : end;
        return true;
    }
    *piece = (struct added_piece){it->done, it->n, -1};
    const bool rest = it->done < it->n;
    it->done = it->n;
    return rest;
}
