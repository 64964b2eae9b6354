/* The safetensors reader against malformed files, and the writer's files against the reader. */
#include "mem.h"
#include "safetensors.h"
#include "tap.h"

static unsigned char *make(const char *header, size_t n_header, uint64_t claimed, size_t n_data, size_t *size)
{
    *size = 8 + n_header + n_data;
    unsigned char *p = xcalloc(*size, 1);
    for (int i = 0; i < 8; i++)
        p[i] = (unsigned char)(claimed >> (8 * i));
    memcpy(p + 8, header, n_header);
    for (size_t i = 0; i < n_data; i++)
        p[8 + n_header + i] = (unsigned char)i;
    return p;
}

#define T(dtype, shape, offsets) "{\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void test_bad(void)
{
    static const struct {
        const char *header;
        size_t n_data;
        const char *part; /* of the message */
    } row[] = {
        {"", 0, "safetensors header: 'f': not valid JSON"},
        {"{", 0, "not valid JSON at line 1"},
        {"[]", 0, "is not an object"},
        {"{\"a\":1}", 0, "tensor 'a': must be an object"},
        {"{\"a\":{}}", 0, "tensor 'a': missing key 'dtype'"},
        {"{\"a\":{\"dtype\":\"BF16\"}}", 0, "missing key 'shape'"},
        {"{\"__metadata__\":3}", 0, "__metadata__ is not an object"},
        {"{\"a\":{},\"a\":{}}", 0, "duplicate"},
        {T("F8_E4M3", "[4]", "[0,4]"), 4, "element type 'F8_E4M3' is not supported"},
        {T("BF16", "4", "[0,8]"), 8, "'shape' must be a list"},
        {T("BF16", "[-1]", "[0,8]"), 8, "shape must be whole numbers"},
        {T("BF16", "[1.5]", "[0,8]"), 8, "shape must be whole numbers"},
        {T("BF16", "[1,1,1,1,1,1,1,1,1]", "[0,2]"), 2, "more than 8 dimensions"},
        {T("BF16", "[4294967296,4294967296,2]", "[0,8]"), 8, "shape is too large"},
        {T("F32", "[9223372036854775807]", "[0,8]"), 8, "another size"}, /* n fits, n * 4 does not */
        {T("BF16", "[4]", "[0]"), 8, "data_offsets must be two ascending"},
        {T("BF16", "[4]", "[0,8,9]"), 8, "data_offsets must be two ascending"},
        {T("BF16", "[4]", "[8,0]"), 8, "data_offsets must be two ascending"},
        {T("BF16", "[4]", "[-8,0]"), 8, "data_offsets must be two ascending"},
        {T("BF16", "[4]", "[0,6]"), 8, "6 bytes of data for a shape and type of another size"},
        {T("BF16", "[4]", "[0,8]"), 7, "the file holds 7 (truncated?)"},
        {T("BF16", "[4]", "[9223372036854775799,9223372036854775807]"), 8, "truncated?"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[4],"
         "\"data_offsets\":[3,7]}}", 8, "overlaps another"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        size_t size;
        struct st_file f;
        struct err e = {0};
        unsigned char *p = make(row[i].header, strlen(row[i].header), strlen(row[i].header), row[i].n_data, &size);
        const int rc = st_parse(&f, p, size, "f", &e);
        ok(rc == -1 && e.code == ERR_FORMAT && strstr(e.msg, row[i].part), "refused: %s", rc ? e.msg : row[i].part);
        free(p);
    }
    static const struct {
        size_t size;
        uint64_t claimed;
        const char *part;
    } length[] = {{0, 0, "too short"}, {7, 0, "too short"}, {8, 1, "does not fit the file"}, {40, 33, "does not fit"},
                  {40, UINT64_MAX, "does not fit"}, {40, 1ull << 62, "does not fit"}};
    for (size_t i = 0; i < sizeof length / sizeof *length; i++) {
        size_t size;
        struct st_file f;
        struct err e = {0};
        unsigned char *p = make("                                ", 32, length[i].claimed, 0, &size);
        const int rc = st_parse(&f, p, length[i].size, "f", &e);
        ok(rc == -1 && e.code == ERR_FORMAT && strstr(e.msg, length[i].part), "%zu bytes: %s", length[i].size,
           rc ? e.msg : "accepted");
        free(p);
    }
}

static void test_good(void)
{
    static const char header[] =
        "{\"z\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[4,8]},\"__metadata__\":{\"k\":\"v\"},"
        "\"a\":{\"dtype\":\"BF16\",\"shape\":[2,1],\"data_offsets\":[0,4]},"
        "\"e\":{\"dtype\":\"I64\",\"shape\":[0,5],\"data_offsets\":[8,8]}}   ";
    size_t size;
    struct st_file f;
    struct err e = {0};
    unsigned char *p = make(header, sizeof header - 1, sizeof header - 1, 8, &size);
    ok(!st_parse(&f, p, size, "f", &e) && f.n == 3, "a scalar, an empty tensor and metadata: %s", e.msg);
    const struct st_tensor *a = st_find(&f, "a"), *z = st_find(&f, "z"), *empty = st_find(&f, "e");
    ok(a && a->rank == 2 && a->n == 2 && a->nb == 4 && a->offset == 8 + sizeof header - 1 && a->data == p + a->offset,
       "a");
    ok(z && z->rank == 0 && z->n == 1 && ((const unsigned char *)z->data)[0] == 4, "z is a scalar at its offset");
    ok(empty && empty->n == 0 && empty->nb == 0, "e is empty");
    ok(!st_find(&f, "b") && !st_find(&f, "__metadata__"), "what is not a tensor is not found");
    const uint64_t any[] = {2, UINT64_MAX}, other[] = {1, 2};
    ok(st_need(&f, "a", DT_BF16, 2, any, &e) == a, "need with any second dimension");
    ok(!st_need(&f, "a", DT_BF16, 2, other, &e) && strstr(e.msg, "tensor 'a' has another type or shape"),
       "another shape");
    ok(!st_need(&f, "a", DT_F16, 2, any, &e) && !st_need(&f, "a", DT_BF16, 1, any, &e), "another type or rank");
    ok(!st_need(&f, "b", DT_F16, 1, any, &e) && strstr(e.msg, "tensor 'b' is missing"), "missing");
    is_str(st_need_meta(&f, "k", &e), "v", "metadata");
    ok(!st_need_meta(&f, "l", &e) && strstr(e.msg, "metadata 'l' is missing"), "missing metadata");
    st_close(&f);
    free(p);
}

static void test_writer(void)
{
    char *data = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&data, &size);
    struct st_writer w;
    st_writer_init(&w);
    st_writer_meta(&w, "note", "\"quoted\"");
    st_writer_add(&w, "one", DT_I32, 2, (const uint64_t[]){2, 3});
    st_writer_add(&w, "none", DT_F32, 1, (const uint64_t[]){0});
    st_writer_add(&w, "scalar", DT_U8, 0, NULL);
    st_writer_begin(&w, f);
    static const int32_t one[6] = {1, 2, 3, 4, 5, -6};
    st_writer_data(&w, one, 5);
    st_writer_data(&w, (const char *)one + 5, sizeof one - 5);
    st_writer_data(&w, NULL, 0);
    st_writer_data(&w, "x", 1);
    st_writer_end(&w);
    fclose(f);
    struct st_file st;
    struct err e = {0};
    ok(!st_parse(&st, data, size, "f", &e) && st.n == 3, "what is written is read: %s", e.msg);
    const struct st_tensor *t = st_find(&st, "one");
    ok(t && t->dtype == DT_I32 && t->shape[0] == 2 && t->shape[1] == 3 && !memcmp(t->data, one, sizeof one),
       "same data");
    ok(t && t->offset % 64 == 0, "data starts at a multiple of 64");
    ok(st_find(&st, "scalar") && *(const char *)st_find(&st, "scalar")->data == 'x' && st_find(&st, "none")->n == 0,
       "scalar and empty tensor");
    is_str(st_need_meta(&st, "note", &e), "\"quoted\"", "metadata");
    st_close(&st);
    free(data);
}

static void test_open(void)
{
    struct st_file f;
    struct err e = {0};
    ok(st_open(&f, "/nonexistent", &e) == -1 && e.code == ERR_IO, "a missing file: %s", e.msg);
    ok(st_open(&f, "tests/tap.h", &e) == -1 && e.code == ERR_FORMAT && strstr(e.msg, "'tests/tap.h'"),
       "a text file: %s", e.msg);
    ok(!st_open(&f, "models/tiny_qwen3_vl/model.safetensors", &e) && f.n > 100, "the bundled model");
    st_close(&f);
}

/* st_close must leave memory of the caller alone, also where it begins on a page and could be unmapped. */
static void test_callers_memory(void)
{
    static const char header[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[4096],\"data_offsets\":[0,4096]}}";
    size_t size;
    struct st_file f;
    struct err e = {0};
    unsigned char *p = make(header, sizeof header - 1, sizeof header - 1, 4096, &size),
                  *page = aligned_alloc(4096, 8192);
    memcpy(page, p, size);
    ok(!st_parse(&f, page, size, "f", &e), "parsed from a page %s", e.msg);
    st_close(&f);
    ok(!memcmp(page, p, size), "the page is still there");
    free(page);
    free(p);
}

int main(void)
{
    test_bad();
    test_good();
    test_writer();
    test_open();
    test_callers_memory();
    return done();
}
