#include "unicode.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "mem.h"

/* Length of the sequence at s, of at most n bytes; 0 where it is not UTF-8. */
static size_t sequence(const unsigned char *s, size_t n)
{
    const unsigned char c = s[0];
    if (c < 0x80)
        return 1;
    const size_t len = c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    if (len == 0 || len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((c == 0xe0 && s[1] < 0xa0) || (c == 0xf0 && s[1] < 0x90)) /* overlong */
        return 0;
    if ((c == 0xed && s[1] > 0x9f) || (c == 0xf4 && s[1] > 0x8f)) /* surrogates, above U+10FFFF */
        return 0;
    return len;
}

size_t utf8_check(const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint64_t w;
        if (n - i >= sizeof w && (memcpy(&w, s + i, sizeof w), (w & 0x8080808080808080u) == 0)) {
            i += sizeof w;
            continue;
        }
        const size_t len = sequence((const unsigned char *)s + i, n - i);
        if (len == 0)
            return i;
        i += len;
    }
    return n;
}

uint32_t utf8_decode(const char *s)
{
    const unsigned char *u = (const unsigned char *)s;
    if (u[0] < 0x80)
        return u[0];
    const size_t len = utf8_length(s[0]);
    uint32_t c = u[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++)
        c = c << 6 | (u[i] & 0x3f);
    return c;
}

size_t utf8_encode(uint32_t c, char out[4])
{
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)c, (utf8proc_uint8_t *)out);
}

size_t utf8_back(const char *s, size_t pos)
{
    do
        pos--;
    while (pos > 0 && (s[pos] & 0xc0) == 0x80);
    return pos;
}

char *utf8_repair(const char *s)
{
    static const char replacement[] = "\xef\xbf\xbd";
    const size_t n = strlen(s);
    char *out = xmalloc(3 * n + 1, 1), *p = out;
    for (size_t i = 0; i < n;) {
        const size_t len = sequence((const unsigned char *)s + i, n - i);
        memcpy(p, len ? s + i : replacement, len ? len : 3);
        p += len ? len : 3;
        i += len ? len : 1;
    }
    *p = 0;
    return out;
}

bool unicode_is_space(uint32_t c)
{
    if (c < 0x80)
        return c == ' ' || (c >= '\t' && c <= '\r');
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

bool unicode_is_python_space(uint32_t c)
{
    return unicode_is_space(c) || (c >= 0x1c && c <= 0x1f);
}
