/* Canonical composition as the tokenizers library does it, with the tables of utf8proc. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "err.h"
#include "mem.h"
#include "unicode.h"

/* The library normalizes by Unicode 9.0 (crate unicode-normalization-alignments 0.1.12), utf8proc by what it was built
 * with. Characters that came later and combine, compose or decompose (up to 16.0; blocks where some do) are inert
 * there: starters that nothing joins. All else is equal by Unicode's stability policy. U+11A7 is inert, too: it never
 * joins a syllable, though utf8proc 2.8 swallows it into one. */
static const struct range {
    int32_t first, last;
} inert[] = {
    {0x7fd, 0x7fd},     {0x897, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},     {0xc3c, 0xc3c},
    {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0x11a7, 0x11a7},   {0x1715, 0x1715},   {0x1abf, 0x1ace},
    {0x1df6, 0x1dfa},   {0xa82c, 0xa82c},   {0x105c0, 0x105ff}, {0x10d24, 0x10d27}, {0x10d69, 0x10d6d},
    {0x10eab, 0x10eac}, {0x10efc, 0x10eff}, {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070},
    {0x1133b, 0x1133b}, {0x11380, 0x113ff}, {0x1145e, 0x1145e}, {0x11839, 0x1183a}, {0x11900, 0x1195f},
    {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d42},
    {0x11d44, 0x11d45}, {0x11d97, 0x11d97}, {0x11f41, 0x11f42}, {0x11f5a, 0x11f5a}, {0x16100, 0x1613f},
    {0x16d40, 0x16d7f}, {0x16ff0, 0x16ff1}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae},
    {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef}, {0x1e5ee, 0x1e5ef},
};

static bool is_inert(utf8proc_int32_t c)
{
    size_t low = 0, high = sizeof inert / sizeof *inert;
    while (low < high) {
        const size_t mid = (low + high) / 2;
        if (c > inert[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    return low < sizeof inert / sizeof *inert && c >= inert[low].first;
}

static unsigned combining_class(utf8proc_int32_t c)
{
    return (unsigned)utf8proc_get_property(c)->combining_class;
}

/* Stable sort of a run of combining marks by class. Counting keeps hostile runs linear: utf8proc's own ordering, by
 * exchanges, takes hours for a megabyte of marks. */
static void order_marks(utf8proc_int32_t *mark, size_t n)
{
    size_t begin[256] = {0}, sum = 0;
    bool sorted = true;
    for (size_t i = 1; i < n; i++)
        sorted &= combining_class(mark[i - 1]) <= combining_class(mark[i]);
    if (sorted)
        return;
    for (size_t i = 0; i < n; i++)
        begin[combining_class(mark[i])]++;
    for (int c = 0; c < 256; c++) {
        const size_t count = begin[c];
        begin[c] = sum;
        sum += count;
    }
    utf8proc_int32_t *copy = xmalloc(n, sizeof *copy);
    memcpy(copy, mark, n * sizeof *copy);
    for (size_t i = 0; i < n; i++)
        mark[begin[combining_class(copy[i])]++] = copy[i];
    free(copy);
}

/* Order and compose n decomposed code points in place; how many are left. */
static size_t compose(utf8proc_int32_t *c, size_t n)
{
    for (size_t begin = 0, end; begin < n; begin = end + 1) { /* c[end] is no mark, or the end */
        for (end = begin; end < n && combining_class(c[end]);)
            end++;
        if (end - begin > 1)
            order_marks(c + begin, end - begin);
    }
    const utf8proc_ssize_t left = utf8proc_normalize_utf32(c, (utf8proc_ssize_t)n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    if (left < 0 || (size_t)left > n)
        BUG("composition failed: %s", utf8proc_errmsg(left));
    return (size_t)left;
}

char *unicode_nfc(const char *s, size_t n, size_t *out_n)
{
    bool glance = true; /* below U+0300, in bytes below 0xcc, nothing reorders or joins its neighbours */
    for (size_t i = 0; i < n; i++)
        glance &= (unsigned char)s[i] < 0xcc;
    if (glance)
        return NULL;
    utf8proc_int32_t *c = NULL;
    size_t cap = 0, k = 0, begin = 0; /* c[begin] on is decomposed and waits for an inert character or the end */
    for (size_t i = 0; i < n; i += utf8_length(s[i])) {
        enum { LONGEST = 4 }; /* canonical decompositions are no longer */
        const utf8proc_int32_t now = (utf8proc_int32_t)utf8_decode(s + i);
        int last = 0;
        c = xgrow(c, &cap, k + LONGEST, sizeof *c);
        if (is_inert(now)) {
            k = begin + compose(c + begin, k - begin);
            c[k++] = now;
            begin = k;
            continue;
        }
        const utf8proc_ssize_t more = utf8proc_decompose_char(now, c + k, LONGEST, UTF8PROC_DECOMPOSE, &last);
        if (more < 0 || more > LONGEST)
            BUG("a decomposition of %td code points", more);
        k += (size_t)more;
    }
    k = begin + compose(c + begin, k - begin);
    char *out = xmalloc(k + 1, 4);
    size_t nb = 0;
    for (size_t i = 0; i < k; i++)
        nb += utf8_encode((uint32_t)c[i], out + nb);
    free(c);
    *out_n = nb;
    return out;
}
