#include "pretoken.h"

#include "tap.h"

#define QWEN                                                                                                          \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" \
    "\\s+(?!\\S)|\\s+"

/* The words of a text, each in angle brackets; "error" where PCRE2 gives up. */
static char *cut(const char *regex, const char *text, bool jit)
{
    struct err e;
    struct pretoken *p = pretoken_new(regex, strlen(regex), jit, &e);
    if (!p) {
        diag("%s", e.msg);
        return NULL;
    }
    struct pretoken_iter it;
    char *out = calloc(3 * strlen(text) + 16, 1), *end = out;
    int rc;
    pretoken_start(&it, text, strlen(text));
    while ((rc = pretoken_next(p, &it, &e)) > 0) {
        *end++ = '<';
        memcpy(end, text + it.begin, it.end - it.begin);
        end += it.end - it.begin;
        *end++ = '>';
    }
    if (rc < 0)
        memcpy(end, "error", 6);
    pretoken_free(p);
    return out;
}

static void check_cuts(void)
{
    static const struct {
        const char *regex, *text, *want; /* as the tokenizers library cuts */
    } row[] = {
        {QWEN, "", ""},
        {QWEN, "A man can't ride  2 waves.", "<A>< man>< can><'t>< ride>< >< ><2>< waves><.>"},
        {QWEN, "it'\xc5\xbf x", "<it><'\xc5\xbf>< x>"}, /* long s */
        {QWEN, "a\xe1\xa0\x8e b", "<a><\xe1\xa0\x8e>< b>"},
        {QWEN, "a \n\n b\r\n", "<a>< \n\n>< b><\r\n>"},
        {QWEN,
         "a\xc2\x85\xc2\x85"
         "b",
         "<a><\xc2\x85><\xc2\x85"
         "b>"},
        {QWEN, "a\x1c\x1d", "<a><\x1c\x1d>"},
        {"a*", "baac", "<b><aa><c>"},
        {"x*|b", "bbac", "<b><b><a><c>"},
        {"\\s", "a  b", "<a>< >< ><b>"},
        {"[\\S]+", "ab cd", "<ab>< ><cd>"},
        {"[^\\S\\n]+", "a \n b", "<a>< ><\n>< ><b>"},
        {"\\D+",
         "ab1\xd9\xa3"
         "c",
         "<ab><1\xd9\xa3><c>"},
        {"\\v|\\x41|\\u0042|\\x{43}|\\.", "xA.BC", "<x><A><.><B><C>"},
        {".", "a\nb", "<a><\n><b>"},
        {"(a)(?:b)(?=c)|(?<=c)d|(?<!c)d", "abcdd", "<ab><c><d><d>"},
        {"[a\\-c-e\\]]+", "a-]cdb", "<a-]cd><b>"},
        {"\\p{^L}+|\\P{L}x", "ab12c", "<ab><12><c>"},
        {"a{2}|b{1,2}|c{2,}?", "aaabbbccc", "<aa><a><bb><b><cc><c>"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        for (int jit = 0; jit < 2; jit++) {
            char *got = cut(row[i].regex, row[i].text, jit);
            char name[64];
            snprintf(name, sizeof name, "cut %zu, %s", i, jit ? "machine code" : "interpreter");
            is_str(got, row[i].want, name);
            free(got);
        }
}

static void check_refusals(void)
{
    static const struct {
        const char *regex, *part;
    } row[] = {
        {"", "0 bytes"},
        {"^a", "an anchor at byte 0"},
        {"a$", "an anchor at byte 1"},
        {"a\\b", "this escape at byte 1"},
        {"\\w+", "this escape"},
        {"\\h", "this escape"},
        {"(a)\\1", "this escape at byte 3"},
        {"\\x80", "a raw byte"},
        {"\\u12", "this escape"},
        {"\\x{110000}", "this code point"},
        {"\\ud800", "this code point"},
        {"\\p{Han}", "this property"},
        {"\\pL", "this escape"},
        {"[a[b]]", "a class inside a class at byte 2"},
        {"[a&&b]", "an intersection"},
        {"[]a]", "a class that starts with ']'"},
        {"[a", "a class that does not end"},
        {"[z-a]", "this range"},
        {"[\\s-a]", "this range"},
        {"(?i)a", "this kind of group"},
        {"(?<n>a)", "this kind of group"},
        {"(*FAIL)", "this kind of group"},
        {"(?#x)", "this kind of group"},
        {"(a", "an unmatched '('"},
        {"a)", "an unmatched ')'"},
        {"*a", "this quantifier at byte 0"},
        {"a**", "this quantifier at byte 2"},
        {"(?=a)*", "this quantifier"},
        {"a{,2}", "this interval"},
        {"a{2}?", "this interval"},
        {"a{1,2}+", "this interval"},
        {"a{x}", "this interval"},
        {"(?i:st)", "a pair of letters"},
        {"(?i:s(?:s))", "a pair of letters"},
        {"(?i:s{2})", "this interval"},
        {"(?i:\\p{L})", "anything but ASCII inside (?i:"},
        {"(?i:\xc3\xa9)", "a character beyond ASCII"},
        {"(?i:[^a])", "a negated class"},
        {"(?<=a+)b", "PCRE2 refuses"},
        {"((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((a", "so deep a nesting"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct err e = {0};
        struct pretoken *p = pretoken_new(row[i].regex, strlen(row[i].regex), true, &e);
        if (!ok(!p && e.code == ERR_CONFIG && strstr(e.msg, row[i].part), "refused: %s", row[i].regex))
            diag("%s", p ? "accepted" : e.msg);
        pretoken_free(p);
    }
    struct err e = {0};
    ok(!pretoken_new("a\xff", 2, true, &e) && e.code == ERR_FORMAT && e.pos == 1, "a regex that is not UTF-8");
}

/* Nothing is cut off silently: a text that is too much for a regex is an error; 1 MB is not too much for Qwen's. */
static void check_limits(void)
{
    enum { N = 1 << 20 };
    struct err e = {0};
    char *text = malloc(N + 1);
    for (int jit = 0; jit < 2; jit++) {
        char *got = cut("(a+)+[bx]", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", jit);
        ok(got && strstr(got, "error"), "a regex without hope is an error, %s", jit ? "machine code" : "interpreter");
        free(got);
        for (size_t k = 0; k < 3; k++) {
            struct pretoken *p = pretoken_new(QWEN, strlen(QWEN), jit, &e);
            struct pretoken_iter it;
            size_t sum = 0, words = 0;
            int rc;
            memset(text, "a -"[k], N);
            text[N - 1] = 'x';
            pretoken_start(&it, text, N);
            while ((rc = pretoken_next(p, &it, &e)) > 0) {
                sum += it.end - it.begin;
                words++;
            }
            ok(rc == 0 && sum == N && words == (k ? 2 : 1), "1 MB of '%c', %s", "a -"[k],
               jit ? "machine code" : "interpreter");
            pretoken_free(p);
        }
        struct pretoken *p = pretoken_new("(?:a|b|[c-e])+", 14, jit, &e); /* a group repeats on a stack */
        struct pretoken_iter it;
        memset(text, 'a', N);
        pretoken_start(&it, text, N);
        ok(pretoken_next(p, &it, &e) == 1 && it.end == N, "a group repeats a million times, %s",
           jit ? "machine code" : "interpreter");
        pretoken_free(p);
    }
    free(text);
}

int main(void)
{
    check_cuts();
    check_refusals();
    check_limits();
    return done();
}
