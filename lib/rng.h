/* rng - seeded numbers, the same on every machine: splitmix64 (Steele, Lea, Flood 2014). Not for secrets. */
#ifndef RNG_H
#define RNG_H
#include <stdint.h>

struct rng {
    uint64_t state; /* any value is a seed */
};

/* Every bit of x reaches every bit of the result. */
static inline uint64_t rng_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}
static inline uint64_t rng_bits(struct rng *r)
{
    const uint64_t x = r->state;
    r->state += 0x9e3779b97f4a7c15;
    return rng_mix(x);
}
/* A whole number from 0 to n-1, n >= 1: uniform but for n / 2^32. */
static inline int rng_below(struct rng *r, int n)
{
    return (int)((rng_bits(r) >> 32) * (uint64_t)n >> 32);
}

#endif
