/* sha256 - FIPS 180-4, for content identity. Streams of any length. */
#ifndef SHA256_H
#define SHA256_H
#include <stddef.h>
#include <stdint.h>

struct sha256 {
    uint32_t state[8];
    uint64_t n; /* bytes so far */
    unsigned char block[64];
};

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t n);
/* 64 lower-case hex digits and a NUL. */
void sha256_hex(struct sha256 *s, char out[65]);
/* All three in one call. */
void sha256_of(const void *data, size_t n, char out[65]);

#endif
