/* Tables of GEMM algorithms: what is right is found by its shape, what is wrong is refused with its place. */
#include "gemm_table.h"

#include <unistd.h>

#include "io.h"
#include "json.h"
#include "json_edit.h"
#include "mem.h"
#include "tap.h"

static const char sample[] = "tests/fuzz/corpus/gemm_table/table.json";

static char *written(const struct gemm_table *t)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    gemm_table_write(t, f);
    fclose(f);
    return text;
}

/* Three buckets of one shape, and one of its backward. The first byte of an algorithm is its number. */
static struct gemm_table table_of_four(void)
{
    struct gemm_table t = {xstrdup("NVIDIA H100 80GB HBM3"), 130100, xcalloc(4, sizeof *t.entry), 4, ""};
    const struct gemm_shape s = {0, 2560, 4096, 4096, false, false, DT_BF16, DT_BF16};
    static const int rows[] = {8192, 64, 1024, 512};
    for (int i = 0; i < 4; i++) {
        t.entry[i].shape = s;
        t.entry[i].shape.rows = rows[i];
        t.entry[i].algorithm[0] = (unsigned char)(i + 1);
        t.entry[i].algorithm[63] = 0xa5;
        t.entry[i].tflops = 100.5;
    }
    t.entry[3].shape.backward = true;
    t.entry[3].shape.stride = 2560;
    gemm_table_finish(&t);
    return t;
}

static void test_find(void)
{
    struct gemm_table t = table_of_four();
    static const struct {
        int rows, algorithm; /* 0: none */
    } row[] = {{1, 2}, {64, 2}, {65, 3}, {1024, 3}, {1025, 1}, {8192, 1}};
    struct gemm_shape s = {0, 2560, 4096, 4096, false, false, DT_BF16, DT_BF16};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        s.rows = row[i].rows;
        const struct gemm_entry *n = gemm_table_find(&t, &s);
        ok(n && n->algorithm[0] == row[i].algorithm, "%d rows: entry of %d", s.rows, n ? n->shape.rows : 0);
    }
    s.rows = 64;
    struct gemm_shape other[] = {s, s, s, s, s, s, s};
    other[0].in++;
    other[1].out--;
    other[2].stride++;
    other[3].accumulate = true;
    other[4].input = DT_F32;
    other[5].output = DT_F32;
    other[6].backward = true; /* whose stride is another */
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        ok(!gemm_table_find(&t, &other[i]), "no entry where key %zu differs", i + 1);
    s.backward = true, s.stride = 2560;
    ok(gemm_table_find(&t, &s) && gemm_table_find(&t, &s)->algorithm[0] == 4, "the backward entry");
    s.rows = 513;
    ok(!gemm_table_find(&t, &s), "no entry for more rows than the largest");
    const struct gemm_table none = {0};
    ok(!gemm_table_find(&none, &s), "no entry of an empty table");
    gemm_table_free(&t);
}

static void test_round_trip(void)
{
    struct gemm_table t = table_of_four(), again;
    struct err e = {0};
    char *text = written(&t);
    if (ok(!gemm_table_parse(&again, text, strlen(text), "x", &e), "what is written is read %s", e.msg)) {
        bool same = again.n == t.n && again.cublaslt == t.cublaslt;
        for (size_t i = 0; i < t.n && same; i++)
            same = !gemm_shape_order(&t.entry[i], &again.entry[i]) && t.entry[i].tflops == again.entry[i].tflops &&
                   !memcmp(t.entry[i].algorithm, again.entry[i].algorithm, GEMM_ALGORITHM);
        ok(same, "entries are the same");
        is_str(again.gpu, t.gpu, "the GPU");
        is_str(again.identity, t.identity, "the identity");
    }
    free(text);
    again.entry[0].tflops = 1;
    gemm_table_finish(&again);
    is_str(again.identity, t.identity, "how fast it was is no part of the identity");
    again.entry[0].algorithm[40] ^= 1;
    gemm_table_finish(&again);
    ok(strcmp(again.identity, t.identity) && strlen(again.identity) == 64, "the algorithm is");
    gemm_table_free(&t);
    gemm_table_free(&again);
}

static void test_wrong(void)
{
    static const struct {
        const char *name, *path, *value, *part;
    } row[] = {
        {"another document", "format", "\"qsens-lm\"", "not qsens-gemm"},
        {"another version", "version", "2", "'version' is 2"},
        {"no GPU", "gpu", NULL, "missing key 'gpu'"},
        {"a GPU without a name", "gpu", "\"\"", "'gpu' must have"},
        {"no library", "cublaslt", "0", "'cublaslt' is 0"},
        {"no entries", "entries", "{}", "'entries'"},
        {"an entry that is none", "entries.1", "7", "entry 1"},
        {"no rows", "entries.0.rows", "0", "entry 0: 'rows' is 0"},
        {"too many rows", "entries.0.rows", "8193", "allowed are 1 to 8192"},
        {"rows of another type", "entries.0.rows", "64.0", "whole number"},
        {"a size out of range", "entries.0.in", "4294967297", "'in' is 4294967297"},
        {"a negative size", "entries.2.out", "-1", "entry 2: 'out' is -1"},
        {"a short stride", "entries.0.stride", "63", "shorter than a row"},
        {"another direction", "entries.0.direction", "\"sideways\"", "not 'sideways'"},
        {"accumulate of another type", "entries.0.accumulate", "1", "'accumulate'"},
        {"another type of operands", "entries.0.input", "\"F64\"", "not 'F64'"},
        {"an unknown type", "entries.0.output", "\"FP8\"", "not 'FP8'"},
        {"an algorithm that is short", "entries.0.algorithm", "\"00ff\"", "must be 128 hexadecimal digits"},
        {"an algorithm that is not hexadecimal", "entries.0.algorithm",
         "\"g0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "000000000000000000000000\"",
         "must be 128 hexadecimal digits"},
        {"no algorithm", "entries.0.algorithm", NULL, "missing key 'algorithm'"},
        {"a negative rate", "entries.0.tflops", "-1.0", "negative or not finite"},
        {"two entries of one shape", "entries.1.rows", "64", "two entries for forward with 64 rows, in 128, out 64"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct gemm_table t;
        struct err e = {0};
        json_t *doc = json_load(sample, 1 << 20, &e);
        const bool edited = doc && json_edit(doc, row[i].path, row[i].value);
        char *text = edited ? json_dumps(doc, 0) : NULL;
        const int rc = text ? gemm_table_parse(&t, text, strlen(text), "x.json", &e) : 0;
        ok(rc == -1 && e.code == ERR_FORMAT && strstr(e.msg, row[i].part) && strstr(e.msg, "x.json"), "%s: %s",
           row[i].name, e.msg);
        free(text);
        json_decref(doc);
    }
}

static void test_sample(void)
{
    struct gemm_table t;
    struct err e = {0};
    if (!ok(!gemm_table_load(&t, sample, &e), "the sample is read %s", e.msg))
        return;
    char *text = written(&t), *file;
    size_t n;
    if (ok(!io_read(sample, 1 << 20, &file, &n, &e), "%s", sample))
        is_str(text, file, "it is written as it stands");
    free(text);
    free(file);
    gemm_table_free(&t);
    ok(gemm_table_load(&t, "tests/no-such-file", &e) == -1 && e.code == ERR_IO, "a file that is not there");
}

static void test_path(void)
{
    char *path = gemm_table_path("conf/gemm", "NVIDIA H100 80GB HBM3", 130100);
    is_str(path, "conf/gemm/nvidia-h100-80gb-hbm3-130100.json", "the name of a table");
    free(path);
    path = gemm_table_path("d", "/../A  (b)", 1);
    is_str(path, "d/a-b--1.json", "no path in it");
    free(path);
}

/* A directory with one table, which is for another GPU than its name says or not. */
static void test_directory(void)
{
    struct gemm_table t = table_of_four(), found;
    struct err e = {0};
    char dir[] = "/tmp/gemm.XXXXXX", gpu[] = "NVIDIA H100 80GB HBM3";
    if (!ok(mkdtemp(dir) != NULL, "a directory"))
        return;
    ok(!gemm_table_of(&found, dir, gpu, 130100, &e) && !found.gpu && !found.n, "no table is an empty one");
    char *path = gemm_table_path(dir, gpu, 130100);
    struct io_out out;
    ok(!io_out_open(&out, path, &e), "a table");
    gemm_table_write(&t, out.f);
    ok(!io_out_commit(&out, &e), "is written");
    ok(!gemm_table_of(&found, dir, gpu, 130100, &e) && found.n == 4, "and found by GPU and library %s", e.msg);
    gemm_table_free(&found);
    ok(!gemm_table_of(&found, dir, gpu, 130200, &e) && !found.gpu, "not by another library");
    ok(gemm_table_of(&found, dir, "Nvidia H100 80GB HBM3", 130100, &e) == -1 && e.code == ERR_FORMAT &&
           strstr(e.msg, "is for 'NVIDIA H100 80GB HBM3'"),
       "one for another GPU: %s", e.msg);
    unlink(path);
    rmdir(dir);
    free(path);
    gemm_table_free(&t);
}

static void test_used(void)
{
    static const char fixture[] = "tests/fixtures/gemm.json";
    struct gemm_table t = table_of_four();
    struct gemm_used used[3] = {
        {{700, 2560, 4096, 4096, false, false, DT_BF16, DT_BF16}, {16, 16, 16}, GEMM_TABLE, {3}},
        {{700, 2560, 4096, 4096, false, false, DT_BF16, DT_BF16}, {16, 16, 8}, GEMM_HEURISTIC, {1, 2}},
        {{5, 3, 7, 7, false, false, DT_F32, DT_F32}, {4, 4, 4}, GEMM_KERNEL, {9}},
    };
    char *text = gemm_used_text("NVIDIA H100 80GB HBM3", 130100, &t, used, 3), *want;
    size_t n;
    struct err e = {0};
    if (ok(!io_read(fixture, 1 << 20, &want, &n, &e), "%s", fixture))
        is_str(text, want, "what a run used: sorted by shape and alignment, no algorithm for our kernel");
    free(want);
    const struct gemm_used first = used[0];
    used[0] = used[2], used[2] = first;
    char *again = gemm_used_text("NVIDIA H100 80GB HBM3", 130100, &t, used, 3);
    is_str(again, text, "the order in which shapes came by does not show");
    free(again);
    char *two = gemm_used_text("NVIDIA H100 80GB HBM3", 130100, &t, used, 2);
    char *one = gemm_used_text("NVIDIA H100 80GB HBM3", 130100, &t, used + 1, 2);
    again = gemm_used_merge(two, one, &e);
    is_str(again, text, "two processes of a run together");
    free(again);
    again = gemm_used_merge(NULL, text, &e);
    is_str(again, text, "one alone");
    free(again);
    for (struct gemm_used *u = used; u < used + 3; u++)
        u->algorithm[5] ^= u->source != GEMM_KERNEL;
    char *other = gemm_used_text("NVIDIA H100 80GB HBM3", 130100, &t, used, 3);
    ok(!gemm_used_merge(text, other, &e) && strstr(e.msg, "two algorithms were used for products with 700 rows"), "%s",
       e.msg);
    free(other);
    other = gemm_used_text("NVIDIA H100 80GB HBM3", 130101, &t, used, 3);
    ok(!gemm_used_merge(text, other, &e) && strstr(e.msg, "two GPUs, libraries or tables"), "%s", e.msg);
    free(other);
    other = gemm_used_text("NVIDIA H100 80GB HBM3", 130100, NULL, used, 3);
    ok(!gemm_used_merge(other, text, &e) && strstr(e.msg, "two GPUs, libraries or tables"), "a table: %s", e.msg);
    free(other);
    static const char *const bad[] = {"", "{", "[]", "{\"format\": \"qsens-gemm\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ok(!gemm_used_merge(text, bad[i], &e) && e.code == ERR_FORMAT, "refused: %s", e.msg);
    free(one);
    free(two);
    free(text);
    gemm_table_free(&t);
    text = gemm_used_text("G", 7, NULL, NULL, 0);
    ok(strstr(text, "\"table\": null") && strstr(text, "\"products\": []"), "no table, no products");
    free(text);
}

int main(void)
{
    test_find();
    test_round_trip();
    test_sample();
    test_wrong();
    test_path();
    test_directory();
    test_used();
    return done();
}
