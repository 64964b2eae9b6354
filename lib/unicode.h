/* unicode - UTF-8 checked and decoded, the white space of Unicode and of Python, canonical composition (NFC).
 *
 * Properties come from utf8proc; the two white-space sets are written out, because they are part of the token ids. */
#ifndef UNICODE_H
#define UNICODE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Offset of the first sequence that is not UTF-8 (RFC 3629: nothing overlong, no surrogates, nothing above U+10FFFF),
 * or n where all is well. */
size_t utf8_check(const char *s, size_t n);
/* Bytes of the sequence that starts with this byte of valid UTF-8. */
static inline size_t utf8_length(char lead)
{
    const unsigned char c = (unsigned char)lead;
    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}
/* The code point at s, of valid UTF-8. */
uint32_t utf8_decode(const char *s);
/* Bytes written to out. */
size_t utf8_encode(uint32_t c, char out[4]);
/* The character before s[pos], of valid UTF-8, pos > 0: where it starts. */
size_t utf8_back(const char *s, size_t pos);
/* Copy with every sequence that is not UTF-8 replaced by U+FFFD; the caller frees. */
char *utf8_repair(const char *s);

/* The property White_Space: what \s is in the regular expressions of tokenizers. */
bool unicode_is_space(uint32_t c);
/* Python's str.isspace(): White_Space and U+001C to U+001F. */
bool unicode_is_python_space(uint32_t c);

/* The canonical composition of n bytes of valid UTF-8, by Unicode 9.0 as in the tokenizers library. NULL where a glance
 * shows that the text is composed already (nothing from U+0300 on in it). The caller frees; *out_n is its length.
 * Linear in n, also for endless runs of combining marks. */
char *unicode_nfc(const char *s, size_t n, size_t *out_n);

#endif
