#include "unicode.h"

#include "tap.h"

static void check_utf8(void)
{
    static const struct {
        const char *text, *name;
        size_t n, bad;
    } row[] = {
        {"", "empty", 0, 0},
        {"plain ASCII, longer than a word", "ASCII", 31, 31},
        {"\0x", "NUL", 2, 2},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "two, three and four bytes", 9, 9},
        {"\xf4\x8f\xbf\xbf", "U+10FFFF", 4, 4},
        {"\xf4\x90\x80\x80", "beyond U+10FFFF", 4, 0},
        {"ab\xed\xa0\x80", "a surrogate", 5, 2},
        {"a\xc0\x80", "overlong, two bytes", 3, 1},
        {"\xe0\x9f\xbf", "overlong, three bytes", 3, 0},
        {"\xf0\x8f\xbf\xbf", "overlong, four bytes", 4, 0},
        {"12345678\x80", "a continuation alone", 9, 8},
        {"abc\xe2\x82", "cut short", 5, 3},
        {"\xff", "0xff", 1, 0},
        {"\xc3(", "no continuation", 2, 0},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        ok(utf8_check(row[i].text, row[i].n) == row[i].bad, "utf8_check: %s", row[i].name);
    int wrong = 0;
    for (uint32_t c = 0; c < 0x110000; c++) {
        char s[8] = "\x7f";
        if (c >= 0xd800 && c < 0xe000)
            continue;
        const size_t n = utf8_encode(c, s + 1);
        wrong += utf8_check(s, n + 1) != n + 1 || utf8_decode(s + 1) != c || utf8_length(s[1]) != n ||
                 utf8_back(s, n + 1) != 1 || utf8_back(s, 1) != 0;
    }
    ok(wrong == 0, "every code point is written, read, measured and stepped over");
    char *s = utf8_repair("a\xff\xc3\xa9\xe2\x82");
    is_str(s, "a\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd", "utf8_repair");
    free(s);
}

static void check_spaces(void)
{
    static const uint32_t python[] = {0x9,    0xa,    0xb,    0xc,    0xd,    0x1c,   0x1d,   0x1e,   0x1f,   0x20,
                                      0x85,   0xa0,   0x1680, 0x2000, 0x2001, 0x2002, 0x2003, 0x2004, 0x2005, 0x2006,
                                      0x2007, 0x2008, 0x2009, 0x200a, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000};
    size_t n = 0;
    int n_white = 0;
    bool same = true;
    for (uint32_t c = 0; c < 0x110000; c++) {
        const bool want = n < sizeof python / sizeof *python && python[n] == c;
        n += want;
        same &= unicode_is_python_space(c) == want;
        n_white += unicode_is_space(c);
    }
    ok(same, "Python's white space: the 29 code points of str.isspace");
    ok(n_white == 25 && !unicode_is_space(0x1c) && !unicode_is_space(0x180e), "White_Space: 25 code points");
}

static void check_nfc(void)
{
    static const struct {
        const char *text, *want, *name; /* want NULL: not looked at */
    } row[] = {
        {"caf\xc3\xa9", NULL, "below U+0300"},
        {"cafe\xcc\x81", "caf\xc3\xa9", "e and acute"},
        {"e\xcc\x81\xcc\xa3", "\xe1\xba\xb9\xcc\x81", "marks are ordered first"},
        {"\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab", "\xed\x95\x9c", "Hangul"},
        {"\xed\x95\x98\xe1\x86\xa7", "\xed\x95\x98\xe1\x86\xa7", "U+11A7 joins no syllable"},
        {"\xe2\x84\xab", "\xc3\x85", "a singleton"},
        {"\xe0\xa5\x98", "\xe0\xa4\x95\xe0\xa4\xbc", "an excluded composite"},
        {"\xf0\x91\xa4\xb5\xf0\x91\xa4\xb0", "\xf0\x91\xa4\xb5\xf0\x91\xa4\xb0",
         "Unicode 13 composes U+11938, 9.0 does not"},
        {"a\xe1\xb7\xb6\xcc\xb4", "a\xe1\xb7\xb6\xcc\xb4", "U+1DF6 of Unicode 10 is not ordered"},
        {"\xcc\x88\xcc\x81", "\xcc\x88\xcc\x81", "marks without a base"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        size_t n = 0;
        char *s = unicode_nfc(row[i].text, strlen(row[i].text), &n);
        ok(row[i].want ? s && n == strlen(row[i].want) && !memcmp(s, row[i].want, n) : !s, "NFC: %s", row[i].name);
        free(s);
    }
    enum { MARKS = 500000 };
    char *text = malloc(4 * MARKS);
    for (size_t i = 0; i < MARKS; i++) /* U+0301 and U+0323 by turns: all the dots must come to the front */
        memcpy(text + 4 * i, "\xcc\x81\xcc\xa3", 4);
    size_t n = 0;
    char *s = unicode_nfc(text, 4 * (size_t)MARKS, &n);
    ok(s && n == 4 * (size_t)MARKS && !memcmp(s + 2 * (MARKS - 1), "\xcc\xa3\xcc\x81", 4),
       "NFC: a million marks to order");
    free(s);
    free(text);
}

int main(void)
{
    check_utf8();
    check_spaces();
    check_nfc();
    return done();
}
