#include "captions.h"

#include "mem.h"
#include "sha256.h"
#include "tap.h"

/* The captions, each as LINE:TEXT, joined by '|'. */
static char *listed(const char *data, size_t n, struct err *e)
{
    struct captions c;
    char *s = xstrdup("");
    if (captions_parse(&c, data, n, "c.txt", e)) {
        free(s);
        s = NULL;
    }
    for (size_t i = 0; s && i < c.n; i++) {
        char *more = xasprintf("%s%s%d:%.*s", s, i ? "|" : "", (int)c.item[i].line, (int)c.item[i].n, c.item[i].text);
        free(s);
        s = more;
    }
    captions_free(&c);
    return s;
}

static void check_lines(void)
{
    static const struct {
        const char *data, *want, *name;
    } row[] = {
        {"a\nb\n", "1:a|2:b", "lines"},
        {"a\nb", "1:a|2:b", "no newline at the end"},
        {"a\r\nb\r\n", "1:a|2:b", "CRLF"},
        {"a\rb\r\rc", "1:a|2:b|4:c", "lone CR"},
        {"a\n\r\n\r\nb", "1:a|4:b", "LF, then CRLF"},
        {"\n\n a b \t\n \n", "3:a b", "blank lines, stripped text"},
        {"\x1c"
         "a\x1f\n\xc2\xa0"
         "b\xe3\x80\x80\n\xe2\x80\xa8",
         "1:a|2:b", "Python's white space"},
        {"a\x0b"
         "b\x0c"
         "c\xe2\x80\xa8"
         "d\xc2\x85"
         "e",
         "1:a\x0b"
         "b\x0c"
         "c\xe2\x80\xa8"
         "d\xc2\x85"
         "e",
         "no other line ends"},
        {"\xef\xbb\xbf"
         "a",
         "1:\xef\xbb\xbf"
         "a",
         "a byte order mark is text"},
        {"\xe2\x80\x8b\n\xe1\xa0\x8e", "1:\xe2\x80\x8b|2:\xe1\xa0\x8e", "U+200B and U+180E are no white space"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct err e = {0};
        char *got = listed(row[i].data, strlen(row[i].data), &e);
        is_str(got, row[i].want, row[i].name);
        free(got);
    }
}

static void check_errors(void)
{
    static const struct {
        const char *data;
        size_t n;
        uint64_t pos;
        const char *part;
    } row[] = {
        {"", 0, 0, "holds no captions"},
        {" \n\r\n\t\n", 6, 0, "holds no captions"},
        {"a\xff", 2, 1, "line 1 is not UTF-8: byte 0xff at byte 1 of the file"},
        {"a\nb\r\nc\rd\xe2\x82", 10, 8, "line 4 is not UTF-8: byte 0xe2 at byte 8"},
        {"a\n\xed\xa0\x80", 5, 2, "line 2 is not UTF-8"},
        {"\n\n\x80", 3, 2, "line 3 is not UTF-8"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct err e = {0};
        char *got = listed(row[i].data, row[i].n, &e);
        if (!ok(!got && e.code == ERR_FORMAT && e.pos == row[i].pos && strstr(e.msg, row[i].part), "%s", row[i].part))
            diag("%s", e.msg);
        free(got);
    }
    struct captions c;
    struct err e = {0};
    ok(captions_load(&c, "/nonexistent", &e) && e.code == ERR_IO, "a missing file");
    captions_free(&c);
}

static void check_large(void)
{
    enum { N = 1 << 20 };
    struct captions c;
    struct err e = {0};
    char *data = xcalloc(N, 1), sha[65];
    memset(data, 'x', N);
    memcpy(data, "a\0b\n", 4);
    ok(!captions_parse(&c, data, N, "c.txt", &e) && c.n == 2 && c.item[0].n == 3 &&
           !memcmp(c.item[0].text, "a\0b", 3) && c.item[1].n == N - 4,
       "a NUL byte and a line of a megabyte");
    sha256_of(data, N, sha);
    is_str(c.sha256, sha, "the file's hash");
    captions_free(&c);
    memset(data, ' ', N);
    data[N / 2] = 'x';
    ok(!captions_parse(&c, data, N, "c.txt", &e) && c.n == 1 && c.item[0].n == 1,
       "a megabyte of spaces around one letter");
    captions_free(&c);
    free(data);
}

int main(void)
{
    check_lines();
    check_errors();
    check_large();
    return done();
}
