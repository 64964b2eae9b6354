#include "calib.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "mem.h"
#include "num.h"
#include "safetensors.h"
#include "sha256.h"
#include "unicode.h"

/* N must be exact in fp32 and in the counts; wider settings are nobody's calibration. */
enum { MAX_SEQ_LEN = 1 << 20, MAX_BATCH = 1 << 16, MAX_BATCH_TOKENS = 1 << 24 };

static const char *padding_name(bool sentinels)
{
    return sentinels ? "reference" : "none";
}

/* ---- packing ---- */

static int check_parameters(int64_t n_seqs, int batch_size, int seq_len, int pad_id, struct err *e)
{
    if (n_seqs < 1 || n_seqs > INT32_MAX)
        return err_set(e, ERR_CONFIG, "%" PRId64 " sequences: at least one is needed, at most %d", n_seqs, INT32_MAX);
    if (seq_len < 2 || seq_len > MAX_SEQ_LEN)
        return err_set(e, ERR_CONFIG, "a sequence length of %d is not between 2 and %d", seq_len, MAX_SEQ_LEN);
    if (batch_size < 1 || batch_size > MAX_BATCH || (int64_t)batch_size * seq_len > MAX_BATCH_TOKENS)
        return err_set(e, ERR_CONFIG, "batches of %d sequences of %d tokens: at most %d sequences and %d tokens",
                       batch_size, seq_len, MAX_BATCH, MAX_BATCH_TOKENS);
    if (pad_id < 0)
        return err_set(e, ERR_CONFIG, "a pad id of %d is no token", pad_id);
    return 0;
}

static void allocate(struct calib *c)
{
    const size_t s = (size_t)c->n_seqs, r = (size_t)c->n_rows, b = (size_t)c->n_batches;
    c->ids = xmalloc(r, sizeof *c->ids);
    c->target = xmalloc(r, sizeof *c->target);
    c->offset = xmalloc(s + 1, sizeof *c->offset);
    c->sentinel = xmalloc(s, sizeof *c->sentinel);
    c->batch = xmalloc(s, sizeof *c->batch);
    c->n_real = xmalloc(s, sizeof *c->n_real);
    c->n_pad = xmalloc(s, sizeof *c->n_pad);
    c->n_loss = xmalloc(s, sizeof *c->n_loss);
    c->batch_loss = xcalloc(b, sizeof *c->batch_loss);
    c->scale_bf16 = xmalloc(b, sizeof *c->scale_bf16);
    c->scale_f32 = xmalloc(b, sizeof *c->scale_f32);
}

/* Rows of a sequence of n tokens, the sentinel included. */
static int64_t rows_of(const struct calib *c, int64_t n)
{
    return n < c->seq_len ? n + c->sentinels : c->seq_len;
}

static void pack_sequence(struct calib *c, int64_t i, const int32_t *ids, int64_t n)
{
    const int64_t first = c->offset[i], rows = rows_of(c, n);
    const int32_t n_real = (int32_t)(n < c->seq_len ? n : c->seq_len);
    const bool sentinel = rows > n_real;
    int32_t *row = c->ids + first, *target = c->target + first, n_loss = 0;
    row[0] = c->pad_id;
    memcpy(row + sentinel, ids, (size_t)n_real * sizeof *row);
    for (int64_t t = 0; t < rows; t++) {
        const bool loss = t + 1 < rows && row[t + 1] != c->pad_id;
        target[t] = loss ? row[t + 1] : -1;
        n_loss += loss;
    }
    c->offset[i + 1] = first + rows;
    c->sentinel[i] = sentinel;
    c->batch[i] = (int32_t)(i / c->batch_size);
    c->n_real[i] = n_real;
    c->n_pad[i] = c->seq_len - n_real;
    c->n_loss[i] = n_loss;
    c->batch_loss[c->batch[i]] += n_loss;
}

/* One rounding each; 1/x of a bf16 x is never so near a tie that going through fp32 matters. */
float calib_scale(int64_t n_loss, bool bf16)
{
    const float n = (float)n_loss;
    if (!(n > 0))
        return 0;
    return bf16 ? bf16_round(1.0f / bf16_round(n)) : 1.0f / n;
}

static void set_scales(struct calib *c)
{
    for (int64_t b = 0; b < c->n_batches; b++) {
        c->scale_bf16[b] = calib_scale(c->batch_loss[b], true);
        c->scale_f32[b] = calib_scale(c->batch_loss[b], false);
    }
}

static void hash_tokens(struct calib *c)
{
    const size_t s = (size_t)c->n_seqs, r = (size_t)c->n_rows, b = (size_t)c->n_batches;
    const char *padding = padding_name(c->sentinels);
    struct sha256 h;
    sha256_init(&h);
    sha256_add(&h, c->ids, r * sizeof *c->ids);
    sha256_add(&h, c->target, r * sizeof *c->target);
    sha256_add(&h, c->offset, (s + 1) * sizeof *c->offset);
    sha256_add(&h, c->sentinel, s * sizeof *c->sentinel);
    sha256_add(&h, c->batch, s * sizeof *c->batch);
    sha256_add(&h, c->batch_loss, b * sizeof *c->batch_loss);
    sha256_add(&h, padding, strlen(padding));
    sha256_hex(&h, c->tokens_sha256);
}

int calib_build(struct calib *c, int64_t n_seqs, const int32_t *const *ids, const int64_t *n, int batch_size,
                int seq_len, bool sentinels, int pad_id, struct err *e)
{
    *c = (struct calib){0};
    if (check_parameters(n_seqs, batch_size, seq_len, pad_id, e))
        return -1;
    *c = (struct calib){.n_seqs = n_seqs,
                        .n_batches = (n_seqs + batch_size - 1) / batch_size,
                        .batch_size = batch_size,
                        .seq_len = seq_len,
                        .pad_id = pad_id,
                        .sentinels = sentinels};
    for (int64_t i = 0; i < n_seqs; i++) {
        if (n[i] < 1)
            return err_set(e, ERR_FORMAT, "sequence %" PRId64 " has no tokens", i);
        for (int64_t t = 0; t < n[i] && t < seq_len; t++)
            if (ids[i][t] < 0)
                return err_set(e, ERR_FORMAT, "sequence %" PRId64 ", token %" PRId64 ": %d is no token id", i, t,
                               ids[i][t]);
        c->n_rows += rows_of(c, n[i]);
    }
    if (c->n_rows > INT32_MAX)
        return err_set(e, ERR_LIMIT,
                       "%" PRId64 " rows are more than the %d allowed: take fewer captions or a shorter "
                       "sequence length",
                       c->n_rows, INT32_MAX);
    allocate(c);
    c->offset[0] = 0;
    for (int64_t i = 0; i < n_seqs; i++)
        pack_sequence(c, i, ids[i], n[i]);
    set_scales(c);
    hash_tokens(c);
    return 0;
}

void calib_free(struct calib *c)
{
    free(c->ids);
    free(c->target);
    free(c->offset);
    free(c->sentinel);
    free(c->batch);
    free(c->n_real);
    free(c->n_pad);
    free(c->n_loss);
    free(c->batch_loss);
    free(c->scale_bf16);
    free(c->scale_f32);
    free(c->source);
    *c = (struct calib){0};
}

/* ---- the file ---- */

enum { N_COLUMNS = 11 };

struct column {
    const char *name;
    enum dtype dtype;
    uint64_t n;
    const void *data;
};

/* The tensors in the order of the file. */
static void columns(const struct calib *c, struct column col[N_COLUMNS])
{
    const uint64_t s = (uint64_t)c->n_seqs, r = (uint64_t)c->n_rows, b = (uint64_t)c->n_batches;
    const struct column all[N_COLUMNS] = {
        {"ids", DT_I32, r, c->ids},
        {"target", DT_I32, r, c->target},
        {"offset", DT_I64, s + 1, c->offset},
        {"sentinel", DT_U8, s, c->sentinel},
        {"batch", DT_I32, s, c->batch},
        {"n_real", DT_I32, s, c->n_real},
        {"n_pad", DT_I32, s, c->n_pad},
        {"n_loss", DT_I32, s, c->n_loss},
        {"batch_loss", DT_I64, b, c->batch_loss},
        {"batch_scale_bf16", DT_F32, b, c->scale_bf16},
        {"batch_scale_f32", DT_F32, b, c->scale_f32},
    };
    memcpy(col, all, sizeof all);
}

static void meta_int(struct st_writer *w, const char *key, int64_t v)
{
    char *s = xasprintf("%" PRId64, v);
    st_writer_meta(w, key, s);
    free(s);
}

void calib_write(const struct calib *c, FILE *f)
{
    struct st_writer w;
    struct column col[N_COLUMNS];
    st_writer_init(&w);
    char *source = utf8_repair(c->source ? c->source : "");
    st_writer_meta(&w, "format", "qsens-calib");
    st_writer_meta(&w, "version", "1");
    st_writer_meta(&w, "source", source);
    st_writer_meta(&w, "source_sha256", c->source_sha256);
    st_writer_meta(&w, "tokenizer_sha256", c->tokenizer_sha256);
    meta_int(&w, "n_sequences", c->n_seqs);
    meta_int(&w, "batch_size", c->batch_size);
    meta_int(&w, "seq_len", c->seq_len);
    st_writer_meta(&w, "padding", padding_name(c->sentinels));
    meta_int(&w, "pad_id", c->pad_id);
    meta_int(&w, "n_available", c->n_available);
    st_writer_meta(&w, "tokens_sha256", c->tokens_sha256);
    free(source);
    columns(c, col);
    for (int i = 0; i < N_COLUMNS; i++)
        st_writer_add(&w, col[i].name, col[i].dtype, 1, &col[i].n);
    st_writer_begin(&w, f);
    for (int i = 0; i < N_COLUMNS; i++)
        st_writer_data(&w, col[i].data, (size_t)col[i].n * dtype_size(col[i].dtype));
    st_writer_end(&w);
}

/* ---- reading: what the file says is packed anew, and every tensor compared ---- */

static int need_int(const struct st_file *f, const char *key, int64_t max, int64_t *out, struct err *e)
{
    const char *s = st_need_meta(f, key, e);
    if (!s)
        return -1;
    int64_t v = 0;
    const char *p = s;
    for (; *p >= '0' && *p <= '9' && v <= max; p++)
        v = v * 10 + (*p - '0');
    if (p == s || *p || v > max)
        return err_set(e, ERR_FORMAT, "'%s': metadata '%s' is '%.40s', not a whole number from 0 to %" PRId64, f->name,
                       key, s, max);
    *out = v;
    return 0;
}

static int need_text(const struct st_file *f, const char *key, const char *a, const char *b, const char **out,
                     struct err *e)
{
    const char *s = st_need_meta(f, key, e);
    if (!s)
        return -1;
    if (strcmp(s, a) != 0 && strcmp(s, b) != 0)
        return err_set(e, ERR_FORMAT, "'%s': metadata '%s' is '%.40s', not '%s'", f->name, key, s, a);
    *out = s;
    return 0;
}

static int need_hash(const struct st_file *f, const char *key, char out[65], struct err *e)
{
    const char *s = st_need_meta(f, key, e);
    if (!s)
        return -1;
    if (strlen(s) != 64 || strspn(s, "0123456789abcdef") != 64)
        return err_set(e, ERR_FORMAT, "'%s': metadata '%s' is not a SHA-256", f->name, key);
    memcpy(out, s, 65);
    return 0;
}

struct header {
    int64_t n_seqs, batch_size, seq_len, pad_id, n_available;
    bool sentinels;
    const char *source;
    char source_sha256[65], tokenizer_sha256[65], tokens_sha256[65];
};

static int read_header(const struct st_file *f, struct header *h, struct err *e)
{
    const char *format = NULL, *version = NULL, *padding = "";
    if (need_text(f, "format", "qsens-calib", "qsens-calib", &format, e) ||
        need_text(f, "version", "1", "1", &version, e) || need_text(f, "padding", "reference", "none", &padding, e) ||
        need_int(f, "n_sequences", INT32_MAX, &h->n_seqs, e) ||
        need_int(f, "batch_size", MAX_BATCH, &h->batch_size, e) ||
        need_int(f, "seq_len", MAX_SEQ_LEN, &h->seq_len, e) || need_int(f, "pad_id", INT32_MAX, &h->pad_id, e) ||
        need_int(f, "n_available", INT64_MAX / 100, &h->n_available, e) ||
        need_hash(f, "source_sha256", h->source_sha256, e) ||
        need_hash(f, "tokenizer_sha256", h->tokenizer_sha256, e) || need_hash(f, "tokens_sha256", h->tokens_sha256, e))
        return -1;
    h->sentinels = !strcmp(padding, "reference");
    h->source = st_need_meta(f, "source", e);
    if (!h->source)
        return -1;
    if (h->n_available < h->n_seqs)
        return err_set(e, ERR_FORMAT, "'%s': metadata 'n_available' is less than 'n_sequences'", f->name);
    return 0;
}

/* Aligned copy of a tensor with one dimension of n elements. */
static void *need_column(const struct st_file *f, const char *name, enum dtype dtype, uint64_t n, uint64_t *out_n,
                         struct err *e)
{
    const struct st_tensor *t = st_need(f, name, dtype, 1, &n, e);
    if (!t)
        return NULL;
    void *copy = xmalloc((size_t)t->nb, 1);
    if (t->nb)
        memcpy(copy, t->data, (size_t)t->nb);
    if (out_n)
        *out_n = t->n;
    return copy;
}

/* Where each sequence's real tokens are: checked, so that packing them again reads inside the file. */
static int find_sequences(const struct st_file *f, const struct header *h, const int32_t *ids, uint64_t n_rows,
                          const int64_t *offset, const uint8_t *sentinel, const int32_t **seq, int64_t *n,
                          struct err *e)
{
    if (offset[0] != 0 || (uint64_t)offset[h->n_seqs] != n_rows)
        return err_set(e, ERR_FORMAT, "'%s': offset does not span the %" PRIu64 " rows", f->name, n_rows);
    for (int64_t i = 0; i < h->n_seqs; i++) {
        const int64_t next = offset[i + 1];
        if (next <= offset[i] || next > offset[h->n_seqs] || sentinel[i] > 1 || next - offset[i] <= sentinel[i])
            return err_set(e, ERR_FORMAT, "'%s': sequence %" PRId64 " has no tokens between its offsets", f->name, i);
        n[i] = next - offset[i] - sentinel[i];
        seq[i] = ids + offset[i] + sentinel[i];
        if (n[i] > h->seq_len)
            return err_set(e, ERR_FORMAT, "'%s': sequence %" PRId64 " is longer than seq_len", f->name, i);
    }
    return 0;
}

static int rebuild(struct calib *c, const struct st_file *f, const struct header *h, struct err *e)
{
    const uint64_t s = (uint64_t)h->n_seqs;
    uint64_t n_rows = 0;
    int rc = -1;
    int32_t *ids = need_column(f, "ids", DT_I32, UINT64_MAX, &n_rows, e);
    int64_t *offset = ids ? need_column(f, "offset", DT_I64, s + 1, NULL, e) : NULL;
    uint8_t *sentinel = offset ? need_column(f, "sentinel", DT_U8, s, NULL, e) : NULL;
    if (sentinel) {
        const int32_t **seq = xmalloc((size_t)s, sizeof *seq);
        int64_t *n = xmalloc((size_t)s, sizeof *n);
        rc = find_sequences(f, h, ids, n_rows, offset, sentinel, seq, n, e);
        if (!rc &&
            calib_build(c, h->n_seqs, seq, n, (int)h->batch_size, (int)h->seq_len, h->sentinels, (int)h->pad_id, e)) {
            e->code = ERR_FORMAT; /* the file's fault, whatever it would be on a command line */
            rc = err_wrap(e, "'%s'", f->name);
        }
        free(seq);
        free(n);
    }
    free(ids);
    free(offset);
    free(sentinel);
    return rc;
}

static int compare(const struct calib *c, const struct st_file *f, const struct header *h, struct err *e)
{
    struct column col[N_COLUMNS];
    columns(c, col);
    for (int i = 0; i < N_COLUMNS; i++) {
        const struct st_tensor *t = st_need(f, col[i].name, col[i].dtype, 1, &col[i].n, e);
        if (!t)
            return -1;
        const size_t size = dtype_size(col[i].dtype);
        const unsigned char *got = t->data, *want = col[i].data;
        for (size_t k = 0; k < t->nb; k += size)
            if (memcmp(got + k, want + k, size) != 0)
                return err_at(e, ERR_FORMAT, t->offset + k, "'%s': %s[%zu] does not follow from the token ids", f->name,
                              col[i].name, k / size);
    }
    if (strcmp(c->tokens_sha256, h->tokens_sha256) != 0)
        return err_set(e, ERR_FORMAT, "'%s': metadata 'tokens_sha256' is not the hash of its tokens", f->name);
    return 0;
}

static int read_all(struct calib *c, const struct st_file *f, struct err *e)
{
    struct header h;
    if (read_header(f, &h, e))
        return -1;
    if (h.n_seqs < 1)
        return err_set(e, ERR_FORMAT, "'%s': holds no sequences", f->name);
    if (rebuild(c, f, &h, e) || compare(c, f, &h, e))
        return -1;
    c->n_available = h.n_available;
    c->source = xstrdup(h.source);
    memcpy(c->source_sha256, h.source_sha256, sizeof c->source_sha256);
    memcpy(c->tokenizer_sha256, h.tokenizer_sha256, sizeof c->tokenizer_sha256);
    return 0;
}

int calib_parse(struct calib *c, const void *data, size_t size, const char *name, struct err *e)
{
    struct st_file f;
    *c = (struct calib){0};
    if (st_parse(&f, data, size, name, e))
        return -1;
    const int rc = read_all(c, &f, e);
    if (rc)
        calib_free(c);
    st_close(&f);
    return rc;
}

int calib_load(struct calib *c, const char *path, struct err *e)
{
    struct io_map map;
    *c = (struct calib){0};
    if (io_map(&map, path, e))
        return -1;
    const int rc = calib_parse(c, map.data, map.size, path, e);
    io_unmap(&map);
    return rc;
}
