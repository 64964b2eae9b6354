/* err, mem, io, json, sha256, num, parallel: what everything else stands on. */
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "err.h"
#include "io.h"
#include "json.h"
#include "mem.h"
#include "num.h"
#include "parallel.h"
#include "rng.h"
#include "sha256.c" /* both of its code paths, which are private */
#include "tap.h"

/* ---- err, mem ---- */

static void test_err(void)
{
    struct err e = {0};
    ok(err_at(&e, ERR_FORMAT, 17, "byte %d\n\x1b[2J", 17) == -1 && e.pos == 17,
       "err_at returns -1 and keeps the position");
    is_str(e.msg, "byte 17??[2J", "control characters become ?");
    ok(err_wrap(&e, "file '%s'", "x") == -1 && e.code == ERR_FORMAT && e.pos == 17, "err_wrap keeps code and position");
    is_str(e.msg, "file 'x': byte 17??[2J", "err_wrap puts the context first");
    char *text = xmalloc(3000, 1);
    memset(text, 'a', 2999);
    text[2999] = 0;
    err_set(&e, ERR_IO, "%s", text);
    err_wrap(&e, "%s", text);
    ok(strlen(e.msg) == sizeof e.msg - 1, "long messages are cut at %zu", strlen(e.msg));
    free(text);
    static const struct {
        enum err_code code;
        int exit;
    } exits[] = {{ERR_NONE, 0},   {ERR_IO, 1},    {ERR_CONFIG, 2}, {ERR_FORMAT, 3},
                 {ERR_DEVICE, 1}, {ERR_LIMIT, 1}, {ERR_NUMERIC, 1}};
    for (size_t i = 0; i < sizeof exits / sizeof *exits; i++)
        ok(err_exit_code(&(struct err){.code = exits[i].code}) == exits[i].exit, "code %d exits %d", (int)exits[i].code,
           exits[i].exit);
}

static void test_mem(void)
{
    uint64_t r;
    ok(mul_u64(1ull << 32, (1ull << 32) - 1, &r) && r == UINT64_MAX - UINT32_MAX, "largest product");
    ok(!mul_u64(1ull << 32, 1ull << 32, &r) && !add_u64(UINT64_MAX, 1, &r) && add_u64(UINT64_MAX, 0, &r),
       "overflow is seen");
    size_t cap = 0;
    int *p = NULL;
    for (int i = 0; i < 1000; i++) {
        p = xgrow(p, &cap, (size_t)i + 1, sizeof *p);
        p[i] = i;
    }
    ok(cap >= 1000 && p[0] == 0 && p[999] == 999, "xgrow keeps what was there");
    free(p);
    char *s = xasprintf("%s-%d", "a", 5), *t = xstrndup("abcdef", 3);
    is_str(s, "a-5", "xasprintf");
    is_str(t, "abc", "xstrndup");
    free(s);
    free(t);
    void *zero = xmalloc(0, 8);
    ok(zero != NULL, "xmalloc of nothing is a pointer");
    free(zero);
    const pid_t child = fork();
    if (child == 0) { /* a size_t that the compiler does not see through */
        volatile size_t huge = SIZE_MAX / 2;
        if (!freopen("/dev/null", "w", stderr))
            _exit(9);
        xmalloc(huge, 3);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    ok(WIFEXITED(status) && WEXITSTATUS(status) == 1, "an overflowing size exits 1");
}

/* ---- io ---- */

static char dir[] = "/tmp/qsens-test-XXXXXX";

static void write_text(const char *path, const char *text)
{
    struct io_out o;
    struct err e;
    if (io_out_open(&o, path, &e))
        BUG("%s", e.msg);
    fputs(text, o.f);
    if (io_out_commit(&o, &e))
        BUG("%s", e.msg);
}

static void is_file(const char *path, const char *want, const char *name)
{
    char *data = NULL;
    size_t n;
    struct err e;
    if (io_read(path, 1000, &data, &n, &e))
        data = xstrdup(e.msg);
    is_str(data, want, name);
    free(data);
}

/* Under root a rename would put a file in the place of a device. */
static void test_special_outputs(void)
{
    struct err e = {0};
    struct io_out o;
    char *pipe_path = io_join(dir, "pipe"), got[8] = "";
    struct stat st;
    const int fd = mkfifo(pipe_path, 0600) ? -1 : open(pipe_path, O_RDWR | O_NONBLOCK);
    write_text(pipe_path, "text");
    ok(read(fd, got, sizeof got) == 4 && !memcmp(got, "text", 4), "a pipe is written to");
    ok(!io_out_open(&o, pipe_path, &e), "open a pipe");
    io_out_abort(&o);
    ok(!stat(pipe_path, &st) && S_ISFIFO(st.st_mode), "a pipe stays a pipe");
    ok(io_out_open(&o, dir, &e) == -1 && e.code == ERR_IO, "a directory as output: %s", e.msg);
    close(fd);
    free(pipe_path);
}

static void test_io(void)
{
    struct err e = {0};
    struct io_out o, second;
    char *path = io_join(dir, "a/b/c.txt"), *tmp = xasprintf("%s.tmp", path);
    write_text(path, "old");
    is_file(path, "old", "parents are made, text is there");
    ok(!io_out_open(&o, path, &e), "open again");
    fputs("new, longer", o.f);
    fflush(o.f);
    is_file(path, "old", "the target is untouched before the commit");
    ok(io_out_open(&second, path, &e) == -1 && e.code == ERR_IO && strstr(e.msg, "another process is writing"),
       "a second writer is refused: %s", e.msg);
    io_out_abort(&o);
    io_out_abort(&o);
    is_file(path, "old", "abort keeps the target");
    ok(access(tmp, F_OK) != 0, "abort removes the temporary file");
    write_text(path, "new");
    is_file(path, "new", "commit replaces the target");
    ok(access(tmp, F_OK) != 0, "commit leaves no temporary file");

    char *data;
    size_t n;
    struct io_map m;
    ok(io_read(path, 2, &data, &n, &e) == -1 && e.code == ERR_LIMIT, "a file over the limit: %s", e.msg);
    ok(io_map(&m, path, &e) == 0 && m.size == 3 && !memcmp(m.data, "new", 3), "map");
    io_unmap(&m);
    ok(io_map(&m, dir, &e) == -1 && e.code == ERR_IO && strstr(e.msg, "not a regular file"),
       "a directory is not mapped");
    ok(io_map(&m, "/nonexistent", &e) == -1 && strstr(e.msg, "cannot open '/nonexistent': No such file"),
       "a missing file");
    ok(io_out_open(&o, "/dev/null/x", &e) == -1 && e.code == ERR_IO, "a path through a file: %s", e.msg);
    char *empty = io_join(dir, "empty");
    write_text(empty, "");
    ok(io_map(&m, empty, &e) == 0 && m.size == 0 && m.data == NULL, "an empty file maps to nothing");
    static const char *const names[][2] = {{"/a/b", "/a"}, {"/a", "/"}, {"a", "."}, {"a/b/c", "a/b"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *d = io_dirname(names[i][0]);
        is_str(d, names[i][1], names[i][0]);
        free(d);
    }
    free(path);
    free(tmp);
    free(empty);
}

/* ---- json ---- */

static void test_repr(void)
{
    static const char *const texts[] = { /* as Python prints them; strtod reads exactly */
        "0.0", "-0.0", "1.0", "-1.5", "0.1", "0.0001", "1e-05", "9.999e-05", "1000000000000000.0", "1e+16",
        "1.2345678901234568e+17", "9007199254740992.0", "1e+22", "5e-324", "1.7976931348623157e+308",
        "2.2250738585072014e-308", "0.3333333333333333", "100.0", "12345.678", "1e+100", "8.74530701482171",
        "418.89042139737643", "3.155485472916553e-08", "5000000.0", "0.30000000000000004",
    };
    char buf[JSON_REPR];
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        json_real_repr(strtod(texts[i], NULL), buf);
        is_str(buf, texts[i], texts[i]);
    }
    /* the same 100,000 values printed by Python's repr, hashed */
    struct sha256 s;
    sha256_init(&s);
    for (uint64_t i = 0; i < 100000; i++) {
        const uint64_t u = rng_mix(i);
        double v = (double)(u >> (u & 63));
        if (i % 4 == 0)
            memcpy(&v, &u, 8);
        else if (i % 4 == 1)
            v = (double)(u >> 40) / 1000.0;
        else if (i % 4 == 2)
            v = (double)f32_from_bits((uint32_t)(u >> 32));
        json_real_repr(isfinite(v) ? v : 0, buf);
        sha256_add(&s, buf, strlen(buf));
        sha256_add(&s, "\n", 1);
    }
    char hex[65];
    sha256_hex(&s, hex);
    is_str(hex, "ad51937024945b4ac6e57ce21bfb50c4ae9fc1bb4e8ff6485f7d71620f09b600",
           "100,000 values as Python prints them");
}

static void test_json_print(void)
{
    struct err e;
    const char *text =
        "{\"b\": [1, -2.5, true, null, []], \"a\": {\"\\u00e9\\ud83d\\ude00\\n\\u0001\\\"\": {}, \"x\": 1e-7}}";
    json_t *v = json_parse(text, strlen(text), "t", &e);
    static const struct {
        int indent;
        const char *want, *name;
    } row[] = {
        {0, "{\"b\": [1, -2.5, true, null, []], \"a\": {\"\\u00e9\\ud83d\\ude00\\n\\u0001\\\"\": {}, \"x\": 1e-07}}",
         "json.dumps()"},
        {2,
         "{\n  \"b\": [\n    1,\n    -2.5,\n    true,\n    null,\n    []\n  ],\n  \"a\": {\n"
         "    \"\\u00e9\\ud83d\\ude00\\n\\u0001\\\"\": {},\n    \"x\": 1e-07\n  }\n}",
         "json.dumps(indent=2)"},
    };
    for (size_t i = 0; i < 2; i++) {
        char *out = NULL;
        size_t n;
        FILE *f = open_memstream(&out, &n);
        json_print(f, v, row[i].indent);
        fclose(f);
        is_str(out, row[i].want, row[i].name);
        free(out);
    }
    json_decref(v);
}

static void test_json_errors(void)
{
    static const char *const bad[] = {
        "",       "{",     "{\"a\":1,\"a\":2}",     "[1,]",              "{\"a\":1}x",
        "\"\xff\"", "1e999", "99999999999999999999", "{\"a\\u0000b\":1}", "nul",
    };
    struct err e;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *v = json_parse(bad[i], strlen(bad[i]), "f.json", &e);
        ok(!v && e.code == ERR_FORMAT && strstr(e.msg, "'f.json': not valid JSON at line 1"), "refused: %s", e.msg);
        json_decref(v);
    }
    char *deep = xmalloc(100001, 1);
    memset(deep, '[', 100000);
    json_t *v = json_parse(deep, 100000, "deep", &e);
    ok(!v && e.code == ERR_FORMAT, "100,000 levels: %s", e.msg);
    free(deep);

    const char *text = "{\"s\": \"x\", \"i\": 5, \"r\": 2.5, \"b\": true, \"l\": [], \"o\": {}, \"z\": \"a\\u0000b\"}";
    json_t *o = json_parse(text, strlen(text), "t", &e), *sub;
    const char *s;
    int64_t i;
    double r;
    int b;
    ok(!json_get_str(o, "s", "w", &s, &e) && !json_get_int(o, "i", "w", 5, 5, &i, &e) &&
           !json_get_real(o, "i", "w", &r, &e) && !json_get_bool(o, "b", "w", &b, &e) &&
           !json_get_array(o, "l", "w", &sub, &e) && !json_get_object(o, "o", "w", &sub, &e),
       "members of the right type");
    ok(i == 5 && r == 5.0 && b == 1, "their values");
    struct {
        int rc;
        const char *part;
    } row[8];
    struct err es[8];
    row[0].rc = json_get_str(o, "q", "w", &s, &es[0]), row[0].part = "w: missing key 'q'";
    row[1].rc = json_get_str(o, "i", "w", &s, &es[1]), row[1].part = "w: 'i' must be a string";
    row[2].rc = json_get_int(o, "r", "w", 0, 9, &i, &es[2]), row[2].part = "w: 'r' must be a whole number";
    row[3].rc = json_get_int(o, "i", "w", 6, 9, &i, &es[3]), row[3].part = "w: 'i' is 5, allowed are 6 to 9";
    row[4].rc = json_get_real(o, "s", "w", &r, &es[4]), row[4].part = "w: 's' must be a number";
    row[5].rc = json_get_bool(o, "i", "w", &b, &es[5]), row[5].part = "w: 'i' must be true or false";
    row[6].rc = json_get_str(o, "z", "w", &s, &es[6]), row[6].part = "w: 'z' must be a string";
    row[7].rc = json_get_array(json_object_get(o, "i"), "l", "w", &sub, &es[7]), row[7].part = "w: must be an object";
    for (int k = 0; k < 8; k++)
        ok(row[k].rc == -1 && es[k].code == ERR_FORMAT && !strcmp(es[k].msg, row[k].part), "%s", row[k].part);
    json_decref(o);
}

/* ---- sha256 ---- */

typedef void blocks_fn(uint32_t h[8], const unsigned char *p, size_t n);

/* A message padded here and given to one code path, whatever this machine would choose. */
static void hash_with(blocks_fn *fn, const char *msg, size_t n, char hex[65])
{
    struct sha256 s;
    sha256_init(&s);
    const size_t padded = (n + 9 + 63) / 64 * 64;
    unsigned char *p = xcalloc(padded, 1);
    memcpy(p, msg, n);
    p[n] = 0x80;
    for (int i = 0; i < 8; i++)
        p[padded - 1 - (size_t)i] = (unsigned char)((uint64_t)n * 8 >> (8 * i));
    fn(s.state, p, padded / 64);
    for (int i = 0; i < 64; i++)
        hex[i] = "0123456789abcdef"[s.state[i / 8] >> (28 - 4 * (i % 8)) & 15];
    hex[64] = 0;
    free(p);
}

static void test_sha256(void)
{
    char *million = xmalloc(1000000, 1), hex[65];
    memset(million, 'a', 1000000);
    const struct {
        const char *msg;
        size_t n;
        const char *hex;
    } row[] = { /* FIPS 180-4 examples */
        {"", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrst"
         "nopqrstu", 112,
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
        {million, 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char name[64];
        snprintf(name, sizeof name, "%zu bytes", row[i].n);
        sha256_of(row[i].msg, row[i].n, hex);
        is_str(hex, row[i].hex, name);
        hash_with(blocks_plain, row[i].msg, row[i].n, hex);
        is_str(hex, row[i].hex, "the portable path");
#if defined(__x86_64__)
        unsigned a = 7, b, c = 0, d;
        __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
        if (b >> 29 & 1) {
            hash_with(blocks_shani, row[i].msg, row[i].n, hex);
            is_str(hex, row[i].hex, "the SHA instructions");
        }
#endif
    }
    bool same = true;
    for (size_t cut = 0; cut <= 300; cut++) { /* pieces of any size give the same as the whole */
        struct sha256 s;
        char whole[65];
        sha256_init(&s);
        for (size_t at = 0, k = 0; at < 300; at += k) {
            k = 1 + (at * 7 + cut) % (cut + 1);
            k = at + k > 300 ? 300 - at : k;
            sha256_add(&s, million + at, k);
        }
        sha256_hex(&s, hex);
        sha256_of(million, 300, whole);
        same = same && !strcmp(hex, whole);
    }
    ok(same, "300 bytes in pieces of any size");
    free(million);
}

/* ---- num ---- */

static void test_bf16(void)
{
    int back = 0, nan = 0, below = 0, tie = 0, above = 0, twice = 0, n = 0;
    for (uint32_t h = 0; h < 65536; h++) {
        const float x = bf16_to_f32((uint16_t)h);
        if (isnan(x)) {
            nan += isnan(bf16_to_f32(bf16_from_f32(x))) && isnan(bf16_round(x));
            continue;
        }
        back += bf16_from_f32(x) == h && f32_bits(bf16_round(x)) == h << 16;
        if (isinf(x))
            continue;
        /* towards the next larger magnitude; past the largest lies infinity */
        const uint32_t u = h << 16, even = (h & 1) ? h + 1 : h;
        n++;
        below += bf16_from_f32(f32_from_bits(u + 0x7fff)) == h && f32_bits(bf16_round(f32_from_bits(u + 0x7fff))) == u;
        tie += bf16_from_f32(f32_from_bits(u + 0x8000)) == even;
        above += bf16_from_f32(f32_from_bits(u + 0x8001)) == h + 1;
        /* a double just above the tie that fp32 would round to the tie */
        const double mid = (double)f32_from_bits(u + 0x8000);
        twice += f32_bits(bf16_round_f64(mid * (1 + 0x1p-40))) == (h + 1) << 16 &&
                 f32_bits(bf16_round_f64(mid * (1 - 0x1p-40))) == u && f32_bits(bf16_round_f64(mid)) == even << 16;
    }
    ok(back == 65536 - 254, "%d bf16 values survive fp32", back);
    ok(nan == 254, "%d NaN stay NaN", nan);
    ok(below == n && tie == n && above == n, "below, on and above every tie: %d %d %d of %d", below, tie, above, n);
    ok(twice == n, "one rounding from double: %d of %d", twice, n);
}

static void test_fp16(void)
{
    int back = 0, nan = 0, below = 0, tie = 0, above = 0, n = 0;
    for (uint32_t h = 0; h < 65536; h++) {
        const float x = fp16_to_f32((uint16_t)h);
        const uint32_t e = h >> 10 & 31, m = h & 0x3ff;
        if (isnan(x)) {
            nan += isnan(fp16_to_f32(fp16_from_f32(x)));
            continue;
        }
        const double want = e == 31 ? INFINITY : e ? ldexp(1024 + m, (int)e - 25) : ldexp(m, -24);
        back += fp16_from_f32(x) == h && fabs((double)x) == want && !signbit(x) == !(h >> 15);
        if (isinf(x))
            continue;
        const double next = e == 31 ? 0 : (e ? ldexp(1025 + m, (int)e - 25) : ldexp(m + 1, -24)),
                     mid = (want + next) / 2;
        const float t = (float)(h >> 15 ? -mid : mid), in = nextafterf(t, 0),
                    out = nextafterf(t, h >> 15 ? -INFINITY : INFINITY);
        n++;
        below += fp16_from_f32(in) == h;
        tie += fp16_from_f32(t) == ((h & 1) ? h + 1 : h);
        above += fp16_from_f32(out) == h + 1;
    }
    ok(back == 65536 - 2046 && nan == 2046, "%d fp16 values survive fp32, %d NaN stay NaN", back, nan);
    ok(below == n && tie == n && above == n, "below, on and above every tie: %d %d %d of %d", below, tie, above, n);
    ok(fp16_from_f32(1e-30f) == 0 && fp16_from_f32(-1e30f) == 0xfc00 && fp16_from_f32(65519.996f) == 0x7bff,
       "far ends");
}

/* ---- parallel ---- */

struct count {
    atomic_int *seen;
    atomic_int bad_thread, nested;
};

static void count_inner(void *arg, size_t begin, size_t end, int thread)
{
    (void)thread;
    atomic_fetch_add((atomic_int *)arg, (int)(end - begin));
}

static void count(void *arg, size_t begin, size_t end, int thread)
{
    struct count *c = arg;
    if (thread < 0 || thread >= parallel_threads())
        atomic_fetch_add(&c->bad_thread, 1);
    for (size_t i = begin; i < end; i++)
        atomic_fetch_add(&c->seen[i], 1);
    if (begin == 0)
        parallel_for(100, 7, count_inner, &c->nested);
}

static void test_parallel(void)
{
    parallel_init(4);
    ok(parallel_threads() >= 1 && parallel_threads() <= 4, "%d threads", parallel_threads());
    static const size_t grains[] = {1, 3, 64, 999, 1000, 5000};
    for (size_t g = 0; g < sizeof grains / sizeof *grains; g++) {
        struct count c = {.seen = xcalloc(1000, sizeof *c.seen)};
        parallel_for(1000, grains[g], count, &c);
        int once = 0;
        for (int i = 0; i < 1000; i++)
            once += c.seen[i] == 1;
        ok(once == 1000 && !c.bad_thread && c.nested == 100, "grain %zu: every index once, a nested loop too",
           grains[g]);
        free(c.seen);
    }
    struct count none = {0};
    parallel_for(0, 1, count, &none);
    ok(!none.nested, "an empty loop calls nothing");
}

int main(void)
{
    if (!mkdtemp(dir))
        return 1;
    test_err();
    test_mem();
    test_special_outputs();
    test_io();
    test_repr();
    test_json_print();
    test_json_errors();
    test_sha256();
    test_bf16();
    test_fp16();
    test_parallel();
    char *rm = xasprintf("rm -rf '%s'", dir);
    ok(system(rm) == 0, "cleaned up");
    free(rm);
    return done();
}
