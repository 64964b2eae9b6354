/* dtype - element types of tensors in files and in memory: one table. */
#ifndef DTYPE_H
#define DTYPE_H
#include <stddef.h>

enum dtype {
    DT_BOOL,
    DT_U8,
    DT_I8,
    DT_I16,
    DT_U16,
    DT_I32,
    DT_U32,
    DT_I64,
    DT_U64,
    DT_BF16,
    DT_F16,
    DT_F32,
    DT_F64,
    DT_COUNT
};

/* Bytes of one element. */
size_t dtype_size(enum dtype t);
/* The name safetensors uses: "BF16", "I64", ... */
const char *dtype_name(enum dtype t);
/* The type of that name, or DT_COUNT. */
enum dtype dtype_of_name(const char *name);

#endif
