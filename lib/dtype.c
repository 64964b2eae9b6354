#include "dtype.h"

#include <string.h>

static const struct {
    const char *name;
    size_t size;
} table[DT_COUNT] = {
    [DT_BOOL] = {"BOOL", 1}, [DT_U8] = {"U8", 1},     [DT_I8] = {"I8", 1},   [DT_I16] = {"I16", 2},
    [DT_U16] = {"U16", 2},   [DT_I32] = {"I32", 4},   [DT_U32] = {"U32", 4}, [DT_I64] = {"I64", 8},
    [DT_U64] = {"U64", 8},   [DT_BF16] = {"BF16", 2}, [DT_F16] = {"F16", 2}, [DT_F32] = {"F32", 4},
    [DT_F64] = {"F64", 8},
};

size_t dtype_size(enum dtype t)
{
    return table[t].size;
}

const char *dtype_name(enum dtype t)
{
    return table[t].name;
}

enum dtype dtype_of_name(const char *name)
{
    int t = 0;
    while (t < DT_COUNT && strcmp(table[t].name, name))
        t++;
    return (enum dtype)t;
}
