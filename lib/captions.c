#include "captions.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "mem.h"
#include "sha256.h"
#include "unicode.h"

static struct caption strip(const char *text, size_t n)
{
    while (n && unicode_is_python_space(utf8_decode(text))) {
        const size_t k = utf8_length(*text);
        text += k;
        n -= k;
    }
    while (n) {
        const size_t before = utf8_back(text, n);
        if (!unicode_is_python_space(utf8_decode(text + before)))
            break;
        n = before;
    }
    return (struct caption){.text = text, .n = n};
}

/* Offset of the first "\n" or "\r" at or after i, or n. */
static size_t line_end(const char *data, size_t n, size_t i)
{
    while (i < n && data[i] != '\n' && data[i] != '\r')
        i++;
    return i;
}

static size_t after_line_end(const char *data, size_t n, size_t end)
{
    return end + (end + 1 < n && data[end] == '\r' && data[end + 1] == '\n' ? 2 : 1);
}

static uint64_t line_of(const char *data, size_t n, size_t pos)
{
    uint64_t line = 1;
    for (size_t i = line_end(data, n, 0); i < pos; i = line_end(data, n, after_line_end(data, n, i)))
        line++;
    return line;
}

int captions_parse(struct captions *c, const char *data, size_t n, const char *name, struct err *e)
{
    *c = (struct captions){0};
    const size_t bad = utf8_check(data, n);
    if (bad < n)
        return err_at(e, ERR_FORMAT, bad, "'%s': line %" PRIu64 " is not UTF-8: byte 0x%02x at byte %zu of the file",
                      name, line_of(data, n, bad), (unsigned char)data[bad], bad);
    size_t cap = 0, end;
    uint64_t line = 1;
    for (size_t begin = 0; begin < n; begin = after_line_end(data, n, end), line++) {
        end = line_end(data, n, begin);
        struct caption one = strip(data + begin, end - begin);
        if (one.n == 0)
            continue;
        one.line = line;
        c->item = xgrow(c->item, &cap, c->n + 1, sizeof *c->item);
        c->item[c->n++] = one;
    }
    if (c->n == 0)
        return err_set(e, ERR_FORMAT, "'%s': holds no captions, which are lines with text", name);
    sha256_of(data, n, c->sha256);
    return 0;
}

int captions_load(struct captions *c, const char *path, struct err *e)
{
    enum { LIMIT = 1 << 30 };
    char *data;
    size_t n;
    *c = (struct captions){0};
    if (io_read(path, LIMIT, &data, &n, e))
        return -1;
    const int rc = captions_parse(c, data, n, strcmp(path, "-") ? path : "standard input", e);
    c->data = data;
    return rc;
}

void captions_free(struct captions *c)
{
    free(c->item);
    free(c->data);
    *c = (struct captions){0};
}
