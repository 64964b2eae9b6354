/* counted - memory of the CPU backend, counted: what a run takes at once. */
#ifndef COUNTED_H
#define COUNTED_H
#include "backend.h"

static struct {
    size_t now, peak; /* bytes */
    struct {
        struct be_buf *buf;
        size_t nb;
    } buf[400];
} counted;

static inline struct be_buf *counted_alloc(struct be *be, size_t nb)
{
    int i = 0;
    while (counted.buf[i].buf)
        i++;
    counted.buf[i].buf = be_cpu_ops.alloc(be, nb);
    counted.buf[i].nb = nb;
    counted.now += nb;
    counted.peak = counted.now > counted.peak ? counted.now : counted.peak;
    return counted.buf[i].buf;
}

static inline void counted_free(struct be *be, struct be_buf *buf)
{
    for (size_t i = 0; buf && i < sizeof counted.buf / sizeof *counted.buf; i++)
        if (counted.buf[i].buf == buf) {
            counted.now -= counted.buf[i].nb;
            counted.buf[i].buf = NULL;
        }
    be_cpu_ops.free(be, buf);
}

#endif
