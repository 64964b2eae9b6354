/* From Oniguruma's spelling of a regex to PCRE2's; see pretoken.h for what passes. */
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "pretoken.h"
#include "unicode.h"

enum { MAX_DEPTH = 64 };

/* White_Space and its complement as the inside of a class; unicode_is_space is the same set. */
#define SPACE \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NOT_SPACE                                                                                                      \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}" \
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"

enum last { NOTHING, ATOM, ASSERTION, QUANTIFIER }; /* what a quantifier would apply to */

struct translator {
    const char *re;
    size_t n, at;
    char *out;
    size_t out_n, out_cap;
    struct group {
        bool caseless, assertion;
    } group[MAX_DEPTH];
    int depth;
    bool caseless;
    enum last last;
    char before; /* inside (?i: the ASCII letter that the next literal would follow, else 0 */
    struct err *e;
};

static void put(struct translator *t, const char *s, size_t n)
{
    t->out = xgrow(t->out, &t->out_cap, t->out_n + n + 1, 1);
    memcpy(t->out + t->out_n, s, n);
    t->out_n += n;
    t->out[t->out_n] = 0;
}

static void put_text(struct translator *t, const char *s)
{
    put(t, s, strlen(s));
}

/* As a number, so that no character has a meaning beside itself. */
static void put_char(struct translator *t, uint32_t c)
{
    char *s = xasprintf("\\x{%x}", (unsigned)c);
    put_text(t, s);
    free(s);
}

static int refuse(struct translator *t, size_t at, const char *what)
{
    return err_at(t->e, ERR_CONFIG, at, "%s at byte %zu of the regex is not supported", what, at);
}

static char peek(const struct translator *t, size_t ahead)
{
    return t->at + ahead < t->n ? t->re[t->at + ahead] : 0;
}

static bool starts(const struct translator *t, const char *s)
{
    const size_t n = strlen(s);
    return t->n - t->at >= n && !memcmp(t->re + t->at, s, n);
}

/* What one escape stands for: a character, or a set. */
struct escape {
    uint32_t c;
    const char *in_class, *outside; /* the set, spelled for either place; NULL for a character */
    char text[8];                   /* of a property */
};

static void set_of(struct escape *x, const char *in_class, const char *outside)
{
    x->in_class = in_class;
    x->outside = outside;
}

static int hex_escape(struct translator *t, size_t at, size_t digits, size_t max, struct escape *x)
{
    uint32_t c = 0;
    size_t k = 0;
    for (; k < max && digits + k < t->n && isxdigit((unsigned char)t->re[digits + k]); k++) {
        const int d = t->re[digits + k];
        c = c * 16 + (uint32_t)(d <= '9' ? d - '0' : (d | 0x20) - 'a' + 10);
    }
    t->at = digits + k;
    x->c = c;
    if (k == 0 || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return refuse(t, at, "this code point");
    return 0;
}

/* \p{Lu}, \P{L}, \p{^L}. */
static int property(struct translator *t, size_t at, struct escape *x)
{
    static const char *const category[] = {"C",  "Cc", "Cf", "Cn", "Co", "Cs", "L",  "Ll", "Lm", "Lo", "Lt", "Lu", "M",
                                           "Mc", "Me", "Mn", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Pe", "Pf", "Pi",
                                           "Po", "Ps", "S",  "Sc", "Sk", "Sm", "So", "Z",  "Zl", "Zp", "Zs"};
    bool negated = t->re[t->at++] == 'P';
    if (peek(t, 0) != '{')
        return refuse(t, at, "this escape");
    t->at++;
    if (peek(t, 0) == '^') {
        negated = !negated;
        t->at++;
    }
    for (size_t i = 0; i < sizeof category / sizeof *category; i++) {
        const size_t n = strlen(category[i]);
        if (starts(t, category[i]) && peek(t, n) == '}') {
            t->at += n + 1;
            snprintf(x->text, sizeof x->text, "\\%c{%.2s}", negated ? 'P' : 'p', category[i]);
            set_of(x, x->text, x->text);
            return 0;
        }
    }
    return refuse(t, at, "this property (only general categories are known)");
}

/* t->at is at a backslash. */
static int read_escape(struct translator *t, struct escape *x)
{
    const size_t at = t->at++;
    const char c = peek(t, 0);
    *x = (struct escape){0};
    static const char letter[] = "nrtfvae", code[] = "\n\r\t\f\v\a\x1b";
    const char *simple = c ? strchr(letter, c) : NULL;
    if (simple || (c >= 0x20 && c < 0x7f && !isalnum((unsigned char)c))) {
        x->c = (uint32_t)(simple ? code[simple - letter] : c);
        t->at++;
        return 0;
    }
    switch (c) {
    case 's': set_of(x, SPACE, "[" SPACE "]"); break;
    case 'S': set_of(x, NOT_SPACE, "[^" SPACE "]"); break;
    case 'd': set_of(x, "\\p{Nd}", "\\p{Nd}"); break;
    case 'D': set_of(x, "\\P{Nd}", "\\P{Nd}"); break;
    case 'p':
    case 'P': return property(t, at, x);
    case 'u':
        if (t->n - t->at < 5)
            return refuse(t, at, "this escape");
        if (hex_escape(t, at, t->at + 1, 4, x))
            return -1;
        return t->at == at + 6 ? 0 : refuse(t, at, "this escape");
    case 'x':
        if (peek(t, 1) == '{') {
            if (hex_escape(t, at, t->at + 2, 6, x))
                return -1;
            return peek(t, 0) == '}' ? (t->at++, 0) : refuse(t, at, "this escape");
        }
        if (hex_escape(t, at, t->at + 1, 2, x))
            return -1;
        return x->c < 0x80 ? 0 : refuse(t, at, "a raw byte"); /* Oniguruma takes it as a byte, not as a code point */
    default: return refuse(t, at, "this escape");
    }
    t->at++;
    return 0;
}

/* One character outside a class. */
static int literal(struct translator *t, size_t at, uint32_t c)
{
    if (t->caseless) {
        const char now = c < 0x80 ? (char)tolower((int)c) : 0;
        const char pair[3] = {t->before, now, 0};
        if (c >= 0x80)
            return refuse(t, at, "a character beyond ASCII inside (?i:");
        if (t->before && strlen(pair) == 2 && strstr("ss st ff fi fl", pair))
            return refuse(t, at, "a pair of letters that one character folds to, inside (?i:,");
        t->before = now;
    }
    put_char(t, c);
    t->last = ATOM;
    return 0;
}

/* One member of a class: a character or a set. */
static int class_member(struct translator *t, struct escape *x)
{
    const size_t at = t->at;
    const char c = peek(t, 0);
    *x = (struct escape){0};
    if (c == '[')
        return refuse(t, at, "a class inside a class");
    if (starts(t, "&&"))
        return refuse(t, at, "an intersection of classes");
    if (c == '\\') {
        if (read_escape(t, x))
            return -1;
    } else {
        x->c = utf8_decode(t->re + at);
        t->at += utf8_length(c);
    }
    if (t->caseless && (x->outside || x->c >= 0x80))
        return refuse(t, at, "anything but ASCII inside (?i:");
    return 0;
}

static int class_of(struct translator *t)
{
    const size_t at = t->at++;
    put_text(t, "[");
    if (peek(t, 0) == '^') {
        if (t->caseless)
            return refuse(t, at, "a negated class inside (?i:");
        put_text(t, "^");
        t->at++;
    }
    if (peek(t, 0) == ']')
        return refuse(t, at, "a class that starts with ']'");
    while (t->at < t->n && peek(t, 0) != ']') {
        const size_t begin = t->at;
        struct escape from, to;
        if (class_member(t, &from))
            return -1;
        const bool range = peek(t, 0) == '-' && t->at + 1 < t->n && peek(t, 1) != ']';
        if (from.outside)
            put_text(t, from.in_class);
        else
            put_char(t, from.c);
        if (!range)
            continue;
        t->at++;
        if (class_member(t, &to))
            return -1;
        if (from.outside || to.outside || to.c < from.c)
            return refuse(t, begin, "this range");
        put_text(t, "-");
        put_char(t, to.c);
    }
    if (t->at >= t->n)
        return refuse(t, at, "a class that does not end");
    t->at++;
    put_text(t, "]");
    t->last = ATOM;
    t->before = 0;
    return 0;
}

static int open_group(struct translator *t)
{
    static const struct {
        const char *open;
        bool caseless, assertion;
    } kind[] = {{"(?:", false, false}, {"(?i:", true, false}, {"(?>", false, false}, {"(?=", false, true},
                {"(?!", false, true},  {"(?<=", false, true}, {"(?<!", false, true}};
    const size_t at = t->at;
    if (t->depth == MAX_DEPTH)
        return refuse(t, at, "so deep a nesting");
    struct group *g = &t->group[t->depth++];
    *g = (struct group){.caseless = t->caseless};
    for (size_t i = 0; i < sizeof kind / sizeof *kind; i++)
        if (starts(t, kind[i].open)) {
            put_text(t, kind[i].open);
            t->at += strlen(kind[i].open);
            t->caseless |= kind[i].caseless;
            g->assertion = kind[i].assertion;
            t->last = NOTHING;
            return 0;
        }
    if (peek(t, 1) == '?' || peek(t, 1) == '*')
        return refuse(t, at, "this kind of group");
    put_text(t, "(?:"); /* nothing refers to a capture */
    t->at++;
    t->last = NOTHING;
    return 0;
}

static int close_group(struct translator *t)
{
    if (t->depth == 0)
        return refuse(t, t->at, "an unmatched ')'");
    const struct group *g = &t->group[--t->depth];
    t->caseless = g->caseless;
    if (!t->caseless)
        t->before = 0;
    t->last = g->assertion ? ASSERTION : ATOM;
    put_text(t, ")");
    t->at++;
    return 0;
}

static int quantifier(struct translator *t)
{
    const size_t at = t->at;
    if (t->last != ATOM)
        return refuse(t, at, "this quantifier");
    size_t n = 1;
    const bool interval = t->re[at] == '{';
    if (interval) {
        size_t digits = 0;
        while (isdigit((unsigned char)peek(t, n + digits)))
            digits++;
        n += digits;
        const bool open = peek(t, n) == ',';
        size_t upper = 0;
        n += open;
        while (open && isdigit((unsigned char)peek(t, n + upper)))
            upper++;
        n += upper;
        /* {,n} is {0,n} there and text here; x{n}? optional there, lazy here; after a letter of (?i: it makes pairs */
        if (digits == 0 || digits > 4 || upper > 4 || peek(t, n) != '}' || t->before ||
            (!open && peek(t, n + 1) == '?'))
            return refuse(t, at, "this interval");
        n++;
    }
    if (peek(t, n) == '?' || (peek(t, n) == '+' && !interval)) /* x{n,m}+ repeats there and is possessive here */
        n++;
    else if (peek(t, n) == '+')
        return refuse(t, at, "this interval");
    put(t, t->re + at, n);
    t->at += n;
    t->last = QUANTIFIER;
    t->before = 0;
    return 0;
}

static int element(struct translator *t)
{
    const size_t at = t->at;
    switch (t->re[at]) {
    case '(': return open_group(t);
    case ')': return close_group(t);
    case '[': return class_of(t);
    case '*':
    case '+':
    case '?':
    case '{': return quantifier(t);
    case '^':
    case '$': return refuse(t, at, "an anchor");
    case '|':
    case '.':
        t->last = t->re[at] == '.' ? ATOM : NOTHING;
        t->before = 0;
        put(t, t->re + t->at++, 1);
        return 0;
    case '\\': {
        struct escape x;
        if (read_escape(t, &x))
            return -1;
        if (!x.outside)
            return literal(t, at, x.c);
        if (t->caseless)
            return refuse(t, at, "anything but ASCII inside (?i:");
        put_text(t, x.outside);
        t->last = ATOM;
        return 0;
    }
    default: t->at += utf8_length(t->re[at]); return literal(t, at, utf8_decode(t->re + at));
    }
}

char *pretoken_translate(const char *regex, size_t n, struct err *e)
{
    enum { MAX_REGEX = 4096 };
    if (n == 0 || n > MAX_REGEX) {
        err_set(e, ERR_CONFIG, "a regex of %zu bytes is not supported", n);
        return NULL;
    }
    const size_t bad = utf8_check(regex, n);
    struct translator t = {.re = regex, .n = n, .e = e};
    int rc = bad == n ? 0 : err_at(e, ERR_FORMAT, bad, "the regex is not UTF-8 at byte %zu", bad);
    while (!rc && t.at < n)
        rc = element(&t);
    if (!rc && t.depth)
        rc = refuse(&t, n, "an unmatched '('");
    if (!rc)
        return t.out;
    free(t.out);
    return NULL;
}
