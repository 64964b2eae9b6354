#include "calib.h"

#include "mem.h"
#include "num.h"
#include "safetensors.h"
#include "tap.h"

enum { PAD = 9 };

/* Sequence i has n[i] tokens 100*i, 100*i+1, ... */
static int build(struct calib *c, int n_seqs, const int64_t *n, int batch, int seq_len, bool sentinels, struct err *e)
{
    int32_t **ids = xcalloc((size_t)n_seqs, sizeof *ids);
    for (int i = 0; i < n_seqs; i++) {
        ids[i] = xmalloc((size_t)n[i] + 1, sizeof **ids);
        for (int64_t t = 0; t < n[i]; t++)
            ids[i][t] = (int32_t)(10000 * (i + 1) + t);
    }
    const int rc = calib_build(c, n_seqs, (const int32_t *const *)ids, n, batch, seq_len, sentinels, PAD, e);
    for (int i = 0; i < n_seqs; i++)
        free(ids[i]);
    free(ids);
    return rc;
}

static bool equal32(const int32_t *got, const int32_t *want, size_t n)
{
    return !memcmp(got, want, n * sizeof *got);
}

static void check_packing(void)
{
    static const int32_t a[] = {1, 2, 3}, b[] = {4}, c3[] = {5, PAD, 6, 7}, d[] = {PAD, 8};
    static const int32_t *const ids[] = {a, b, c3, d};
    static const int64_t n[] = {3, 1, 4, 2};
    struct calib c;
    struct err e = {0};
    ok(!calib_build(&c, 4, ids, n, 3, 4, true, PAD, &e) && c.n_rows == 13 && c.n_batches == 2, "sizes");
    /* a: sentinel and three; b: sentinel and one; c: fills seq_len, so no sentinel; d: starts with the pad token */
    ok(equal32(c.ids, (const int32_t[]){PAD, 1, 2, 3, PAD, 4, 5, PAD, 6, 7, PAD, PAD, 8}, 13), "ids");
    ok(equal32(c.target, (const int32_t[]){1, 2, 3, -1, 4, -1, -1, 6, 7, -1, -1, 8, -1}, 13), "targets");
    ok(!memcmp(c.offset, (const int64_t[]){0, 4, 6, 10, 13}, 5 * sizeof *c.offset), "offsets");
    ok(!memcmp(c.sentinel, (const uint8_t[]){1, 1, 0, 1}, 4), "sentinels");
    ok(equal32(c.batch, (const int32_t[]){0, 0, 0, 1}, 4), "batches, the last is short");
    ok(equal32(c.n_real, (const int32_t[]){3, 1, 4, 2}, 4) && equal32(c.n_pad, (const int32_t[]){1, 3, 0, 2}, 4) &&
           equal32(c.n_loss, (const int32_t[]){3, 1, 2, 1}, 4),
       "real, pad and loss counts");
    ok(c.batch_loss[0] == 6 && c.batch_loss[1] == 1, "N of each batch");
    calib_free(&c);
    ok(!calib_build(&c, 4, ids, n, 3, 4, false, PAD, &e) && c.n_rows == 10, "padding none: no sentinels");
    ok(equal32(c.target, (const int32_t[]){2, 3, -1, -1, -1, 6, 7, -1, 8, -1}, 10), "padding none: targets");
    ok(c.batch_loss[0] == 4 && c.batch_loss[1] == 1 && equal32(c.n_pad, (const int32_t[]){1, 3, 0, 2}, 4),
       "padding none: N");
    calib_free(&c);
    ok(!calib_build(&c, 1, ids + 1, n + 1, 8, 4, false, PAD, &e) && c.batch_loss[0] == 0 && c.scale_bf16[0] == 0 &&
           c.scale_f32[0] == 0,
       "a batch without loss has scale 0");
    calib_free(&c);
}

static void check_truncation(void)
{
    static const struct {
        int64_t n;
        int rows, real, loss;
    } row[] = {{1, 2, 1, 1}, {511, 512, 511, 511}, {512, 512, 512, 511}, {513, 512, 512, 511}, {5000, 512, 512, 511}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct calib c;
        struct err e = {0};
        ok(!build(&c, 1, &row[i].n, 8, 512, true, &e) && c.n_rows == row[i].rows && c.n_real[0] == row[i].real &&
               c.n_loss[0] == row[i].loss && c.sentinel[0] == (row[i].n < 512) && c.n_pad[0] == 512 - row[i].real &&
               c.ids[c.n_rows - 1] == 10000 + row[i].real - 1,
           "%d tokens at 512", (int)row[i].n);
        calib_free(&c);
    }
}

static void check_scales(void)
{
    static const struct {
        int64_t n;
        float bf16;
    } row[] = {{97, 0.01031494140625f}, {104, 0.0096435546875f}, {257, 0.00390625f}, {300, 0.003326416015625f}, {1, 1}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct calib c;
        struct err e = {0};
        ok(!build(&c, 1, &row[i].n, 8, 1024, true, &e) && c.batch_loss[0] == row[i].n &&
               c.scale_bf16[0] == row[i].bf16 && c.scale_f32[0] == (float)(1.0 / (double)row[i].n),
           "s for N = %d", (int)row[i].n);
        calib_free(&c);
    }
}

static void check_parameters(void)
{
    static const struct {
        int64_t n;
        int n_seqs, batch, seq_len;
        enum err_code code;
        const char *part;
    } row[] = {
        {3, 0, 8, 512, ERR_CONFIG, "at least one"},
        {3, 1, 0, 512, ERR_CONFIG, "batches of 0"},
        {3, 1, 1 << 17, 2, ERR_CONFIG, "batches of"},
        {3, 1, 1 << 16, 1 << 20, ERR_CONFIG, "batches of"},
        {3, 1, 8, 1, ERR_CONFIG, "sequence length of 1"},
        {3, 1, 8, (1 << 20) + 1, ERR_CONFIG, "sequence length of"},
        {0, 1, 8, 512, ERR_FORMAT, "sequence 0 has no tokens"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct calib c;
        struct err e = {0};
        if (!ok(build(&c, row[i].n_seqs, &row[i].n, row[i].batch, row[i].seq_len, true, &e) && e.code == row[i].code &&
                    strstr(e.msg, row[i].part),
                "%s", row[i].part))
            diag("%s", e.msg);
    }
    static const int32_t bad[] = {1, -5};
    static const int32_t *const ids[] = {bad};
    struct calib c;
    struct err e = {0};
    ok(calib_build(&c, 1, ids, (const int64_t[]){2}, 8, 16, true, PAD, &e) && e.code == ERR_FORMAT, "a negative id");
    ok(calib_build(&c, 1, ids, (const int64_t[]){1}, 8, 16, true, -1, &e) && e.code == ERR_CONFIG, "a negative pad id");
    /* 3,000 sequences point at one list of a million ids: 3 billion rows */
    const int32_t *one = xcalloc(1 << 20, sizeof *one), **many = xcalloc(3000, sizeof *many);
    int64_t *n = xcalloc(3000, sizeof *n);
    for (int i = 0; i < 3000; i++) {
        many[i] = one;
        n[i] = 1 << 20;
    }
    ok(calib_build(&c, 3000, many, n, 8, 1 << 20, true, PAD, &e) && e.code == ERR_LIMIT && strstr(e.msg, "rows"),
       "too many rows");
    free(n);
    free(many);
    free((void *)(uintptr_t)one);
}

static char *written(const struct calib *c, size_t *size)
{
    char *data = NULL;
    FILE *f = open_memstream(&data, size);
    calib_write(c, f);
    fclose(f);
    return data;
}

static struct calib sample(bool sentinels)
{
    static const int64_t n[] = {5, 16, 20, 1, 7};
    struct calib c;
    struct err e;
    if (build(&c, 5, n, 2, 16, sentinels, &e))
        exit(1);
    c.source = xstrdup("data/caf\xc3\xa9 \xff.txt");
    c.n_available = 7;
    memset(c.source_sha256, 'a', 64);
    memset(c.tokenizer_sha256, 'b', 64);
    return c;
}

static void check_round_trip(void)
{
    char hash[2][65];
    for (int sentinels = 0; sentinels < 2; sentinels++) {
        struct calib c = sample(sentinels), d;
        struct err e = {0};
        size_t size, again_size;
        char *data = written(&c, &size);
        if (!ok(!calib_parse(&d, data, size, "c.st", &e), "written and read, padding %s",
                sentinels ? "reference" : "none"))
            diag("%s", e.msg);
        char *again = written(&d, &again_size);
        ok(size == again_size && !memcmp(data, again, size), "and written again the same");
        ok(d.n_seqs == 5 && d.n_batches == 3 && d.n_available == 7 && d.batch_size == 2 && d.seq_len == 16 &&
               d.pad_id == PAD && d.sentinels == sentinels && !strcmp(d.source_sha256, c.source_sha256),
           "all fields");
        is_str(d.source, "data/caf\xc3\xa9 \xef\xbf\xbd.txt", "a source that is not UTF-8 is repaired");
        memcpy(hash[sentinels], d.tokens_sha256, 65);
        for (size_t k = 0; k < size; k += 1 + k / 16) {
            struct calib cut;
            if (!calib_parse(&cut, data, k, "c.st", &e))
                ok(false, "cut to %zu bytes", k);
        }
        free(again);
        free(data);
        calib_free(&c);
        calib_free(&d);
    }
    ok(strcmp(hash[0], hash[1]) != 0, "the identity knows the padding");
}

/* The written sample with one tensor element or one metadata string changed must be refused. */
static void check_corruption(void)
{
    static const struct {
        const char *tensor;
        size_t byte;
        const char *part;
    } flip[] = {
        {"ids", 4, "does not follow"},
        {"ids", 0, "ids[0]"},
        {"ids", 7, "no token id"},
        {"target", 0, "target[0]"},
        {"offset", 0, "does not span"},
        {"offset", 8, "offset"},
        {"offset", 15, "no tokens between"},
        {"sentinel", 0, "'c.st'"},
        {"sentinel", 1, "'c.st'"},
        {"batch", 4, "batch[1]"},
        {"n_real", 0, "n_real[0]"},
        {"n_pad", 4, "n_pad[1]"},
        {"n_loss", 16, "n_loss[4]"},
        {"batch_loss", 8, "batch_loss[1]"},
        {"batch_scale_bf16", 2, "batch_scale_bf16[0]"},
        {"batch_scale_f32", 11, "batch_scale_f32[2]"},
    };
    static const struct {
        const char *from, *to, *part;
    } meta[] = {
        {"qsens-calib", "qsens-calIb", "'format' is 'qsens-calIb'"},
        {"\"version\":\"1\"", "\"version\":\"2\"", "'version' is '2'"},
        {"\"n_sequences\":\"5\"", "\"n_sequences\":\"6\"", "offset"},
        {"\"n_sequences\":\"5\"", "\"n_sequences\":\"0\"", "no sequences"},
        {"\"n_sequences\":\"5\"", "\"n_sequences\":\"x\"", "not a whole number"},
        {"\"batch_size\":\"2\"", "\"batch_size\":\"3\"", "batch"},
        {"\"batch_size\":\"2\"", "\"batch_size\":\"0\"", "batches of 0"},
        {"\"seq_len\":\"16\"", "\"seq_len\":\"15\"", "longer than seq_len"},
        {"\"seq_len\":\"16\"", "\"seq_len\":\"17\"", "c.st"},
        {"\"padding\":\"reference\"", "\"padding\":\"referenze\"", "'padding' is"},
        {"\"pad_id\":\"9\"", "\"pad_id\":\"8\"", "ids[0]"},
        {"\"n_available\":\"7\"", "\"n_available\":\"4\"", "n_available"},
        {"\"tokens_sha256\":\"", "\"tokenz_sha256\":\"", "'tokens_sha256' is missing"},
        {"\"source\":", "\"sourze\":", "'source' is missing"},
        {"\"source_sha256\":\"a", "\"source_sha256\":\"A", "not a SHA-256"},
        {"\"tokenizer_sha256\":\"b", "\"tokenizer_sha256\":\"B", "not a SHA-256"},
        {"\"dtype\":\"I64\"", "\"dtype\":\"U64\"", "another type or shape"},
        {"\"n_loss\":{", "\"m_loss\":{", "'n_loss' is missing"},
    };
    struct calib c = sample(true), d;
    size_t size;
    char *data = written(&c, &size);
    struct st_file f;
    struct err e = {0};
    if (!ok(!st_parse(&f, data, size, "c.st", &e), "the sample parses"))
        return;
    for (size_t i = 0; i < sizeof flip / sizeof *flip; i++) {
        const size_t at = (size_t)st_find(&f, flip[i].tensor)->offset + flip[i].byte;
        data[at] ^= (char)0x81;
        if (!ok(calib_parse(&d, data, size, "c.st", &e) && e.code == ERR_FORMAT && strstr(e.msg, flip[i].part),
                "%s byte %zu", flip[i].tensor, flip[i].byte))
            diag("%s", e.msg);
        data[at] ^= (char)0x81;
    }
    for (size_t i = 0; i < sizeof meta / sizeof *meta; i++) {
        char *at = memmem(data, size, meta[i].from, strlen(meta[i].from)), *copy = xmalloc(size, 1);
        memcpy(copy, data, size);
        if (at)
            memcpy(copy + (at - data), meta[i].to, strlen(meta[i].to));
        if (!ok(at && calib_parse(&d, copy, size, "c.st", &e) && e.code == ERR_FORMAT && strstr(e.msg, meta[i].part),
                "%s", meta[i].to))
            diag("%s", e.msg);
        free(copy);
    }
    char *hash = memmem(data, size, c.tokens_sha256, 64);
    hash[3] = hash[3] == '0' ? '1' : '0';
    ok(calib_parse(&d, data, size, "c.st", &e) && strstr(e.msg, "is not the hash"), "another hash");
    ok(calib_load(&d, "/nonexistent", &e) && e.code == ERR_IO, "a missing file");
    st_close(&f);
    free(data);
    calib_free(&c);
}

int main(void)
{
    check_packing();
    check_truncation();
    check_scales();
    check_parameters();
    check_round_trip();
    check_corruption();
    return done();
}
