/* gemm_table - which algorithm of cuBLASLt multiplies which shape on one kind of GPU, and which ones a run used.
 *
 * A choice made by timing would change from day to day, and with it the last bits of every sum. So it is data: a table
 * made once by tests/bench/bench_gemm, read by the CUDA backend, named in results by its hash. Nothing here knows CUDA.
 *
 * Table, version 1 (DIR/<gpu>-<cublaslt>.json, gemm_table_path):
 *   format "qsens-gemm", version 1
 *   gpu       the device's name, as the driver gives it
 *   cublaslt  version of the library; algorithms of another one mean nothing
 *   entries   [{rows, in, out, stride, direction "forward"|"backward", accumulate, input "BF16"|"F32", output,
 *               algorithm (128 hex digits: the 64 bytes of cublasLtMatmulAlgo_t), tflops}]  sorted, shapes distinct
 * rows is the upper end of a bucket: an entry serves every smaller number of rows down to the next entry's.
 *
 * What a run used, version 1 (gemm.json beside its records):
 *   format "qsens-gemm-used", version 1
 *   gpu, cublaslt  as above
 *   table     identity of the table, or null
 *   products  [{rows, ... output as above, alignment [bytes of weight, input, output],
 *               source "table"|"heuristic"|"kernel", algorithm or null}]  sorted */
#ifndef GEMM_TABLE_H
#define GEMM_TABLE_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "dtype.h"
#include "err.h"

/* A product of a linear layer with weight [out, in]: forward, y [rows, out] = x [rows, in] w^T; backward,
 * dx [rows, in] = dy [rows, out] w. Rows of the result are `stride` elements apart. */
struct gemm_shape {
    int rows, in, out, stride;
    bool backward, accumulate;
    enum dtype input, output; /* BF16 or F32: of both operands, of the result */
};
/* Order by everything else, then by rows; for qsort too (of what begins with a shape). */
int gemm_shape_order(const void *a, const void *b);

enum { GEMM_ALGORITHM = 64, GEMM_MAX_ROWS = 8192 };

struct gemm_entry {
    struct gemm_shape shape;
    unsigned char algorithm[GEMM_ALGORITHM];
    double tflops; /* when it was measured: for the reader */
};

struct gemm_table {
    char *gpu;
    int64_t cublaslt;
    struct gemm_entry *entry; /* sorted */
    size_t n;
    char identity[65]; /* SHA-256 over everything but tflops */
};

/* DIR/<gpu>-<cublaslt>.json, the name in lower case with a dash for all that is no letter or digit. */
char *gemm_table_path(const char *dir, const char *gpu, int64_t cublaslt);
/* Read and check a table. ERR_FORMAT with the place. gemm_table_free frees. */
int gemm_table_load(struct gemm_table *t, const char *path, struct err *e) MUST_CHECK;
int gemm_table_parse(struct gemm_table *t, const char *data, size_t n, const char *name, struct err *e) MUST_CHECK;
/* The table in dir for this GPU and library; where there is none an empty one, whose gpu is NULL. ERR_FORMAT where the
 * file is one of others. */
int gemm_table_of(struct gemm_table *t, const char *dir, const char *gpu, int64_t cublaslt, struct err *e) MUST_CHECK;
void gemm_table_free(struct gemm_table *t);
/* Sort entries and set the identity of a table that was filled by hand. */
void gemm_table_finish(struct gemm_table *t);
void gemm_table_write(const struct gemm_table *t, FILE *f);
/* The entry of the smallest rows >= s->rows with all else equal, or NULL. */
const struct gemm_entry *gemm_table_find(const struct gemm_table *t, const struct gemm_shape *s);

enum gemm_source {
    GEMM_TABLE,     /* an entry of the table */
    GEMM_HEURISTIC, /* the library's first choice */
    GEMM_KERNEL,    /* the library has none: our own kernel */
};
struct gemm_used {
    struct gemm_shape shape;
    int alignment[3];
    enum gemm_source source;
    unsigned char algorithm[GEMM_ALGORITHM]; /* of cuBLASLt's */
};
/* gemm.json in a new string. Sorts used[n]; table may be NULL. */
char *gemm_used_text(const char *gpu, int64_t cublaslt, const struct gemm_table *table, struct gemm_used *used,
                     size_t n);
/* The products of two such texts, of one run in two processes, in a new string; a may be NULL. NULL with ERR_FORMAT
 * where one is not such a text, or where they are of different GPUs, libraries or tables, or chose differently. */
char *gemm_used_merge(const char *a, const char *b, struct err *e) MUST_CHECK;
/* The products of such a text that keep says yes to, in a new string. NULL with ERR_FORMAT where it is not such a text.
 */
char *gemm_used_keep(const char *text, bool (*keep)(const struct gemm_shape *s, const void *self), const void *self,
                     struct err *e) MUST_CHECK;

#endif
