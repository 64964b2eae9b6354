#include "records.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gemm_table.h"
#include "mem.h"
#include "version.h"

struct calibration_head {
    int32_t block, n_batches;
    double seconds;
};
struct scores_head {
    int32_t block, n_replays;
    int64_t n_seqs;
    double seconds, loss_sum;
    int64_t loss_rows;
};
_Static_assert(sizeof(struct calibration_head) == 16 && sizeof(struct scores_head) == 40, "no padding");

/* ---- identity */

json_t *records_identity(const struct records_run *run, const struct scorer_result *r, const struct scores_cell *cell)
{
    const struct scorer_options *o = run->options;
    char w[QUANTIZER_KEY], a[QUANTIZER_KEY];
    quantizer_key(&cell->pair.weight, w);
    quantizer_key(&cell->pair.activation, a);
    json_t *id = json_object();
    json_set(id, "format", json_string("qsens-journal"));
    json_set(id, "version", json_integer(1));
    json_set(id, "arithmetic", json_integer(QSENS_ARITHMETIC));
    json_set(id, "weights_sha256", json_string(run->lm->weights_sha256));
    json_set(id, "tokens_sha256", json_string(run->calib->tokens_sha256));
    json_set(id, "weight", json_string(w));
    json_set(id, "activation", json_string(a));
    json_set(id, "split", json_boolean(cell->split.wanted));
    json_set(id, "dtype", json_string(o->bf16 ? "bf16" : "fp32"));
    json_set(id, "padding", json_string(run->calib->sentinels ? "reference" : "none"));
    json_set(id, "backend", json_string(run->backend));
    json_set(id, "identity", json_string(run->identity));
    json_set(id, "block_batches", json_integer(o->block_batches));
    json_set(id, "sequences", json_integer(run->calib->n_seqs));
    json_set(id, "score_sequences", json_integer(r->n_scored_seqs));
    json_set(id, "blocks", json_integer(r->n_blocks));
    json_set(id, "units", json_integer(r->n_units));
    return id;
}

static char *value_text(const json_t *v)
{
    return v ? json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT) : xstrdup("nothing");
}

char *records_difference(const json_t *there, const json_t *here)
{
    const char *key = NULL, *k;
    json_t *v;
    json_object_foreach ((json_t *)(uintptr_t)here, k, v)
        if (!key && !json_equal(v, json_object_get(there, k)))
            key = k;
    json_object_foreach ((json_t *)(uintptr_t)there, k, v)
        if (!key && !json_object_get(here, k))
            key = k;
    if (!key)
        return NULL;
    char *a = value_text(json_object_get(there, key)), *b = value_text(json_object_get(here, key));
    char *text = xasprintf("'%.60s' is %.120s there, %.120s here", key, a, b);
    free(a);
    free(b);
    return text;
}

json_t *records_header(const struct journal *j, struct err *e)
{
    const char *format = NULL;
    json_t *header = NULL;
    if (j->n && j->frame[0].kind == RECORDS_HEADER)
        header = json_parse((const char *)j->frame[0].data, j->frame[0].n, j->path, e);
    if (header && json_is_object(header))
        format = json_string_value(json_object_get(header, "format"));
    if (format && !strcmp(format, "qsens-journal"))
        return header;
    json_decref(header);
    err_set(e, ERR_FORMAT, "'%s' is no journal of records", j->path);
    return NULL;
}

/* ---- frames into a result */

void records_file_init(struct records_file *f, const struct scorer_result *r, const struct scores_cell *cell)
{
    f->n_replays = 0;
    f->replay[f->n_replays++] = cell->replay;
    if (cell->split.wanted) {
        f->replay[f->n_replays++] = cell->split.weight;
        f->replay[f->n_replays++] = cell->split.activation;
    }
    f->calibrated = xcalloc((size_t)r->n_blocks, sizeof *f->calibrated);
    f->scored = xcalloc((size_t)r->n_blocks, sizeof *f->scored);
}

void records_file_free(struct records_file *f)
{
    journal_close(&f->journal);
    free(f->calibrated);
    free(f->scored);
    free(f->gemm);
    *f = (struct records_file){.journal.fd = -1};
}

static int malformed(const struct records_file *f, size_t frame, const char *why, struct err *e)
{
    return err_set(e, ERR_FORMAT, "'%s': frame %zu %s", f->journal.path, frame + 1, why);
}

/* Bytes of a [n] block as dst holds them, or copied to it where it holds nothing yet. */
static bool same_or_copy(void *dst, const void *src, size_t nb, bool there)
{
    if (there)
        return !memcmp(dst, src, nb);
    memcpy(dst, src, nb);
    return true;
}

static bool maxima(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float x;
        memcpy(&x, p + i * sizeof x, sizeof x);
        if (!isfinite(x) || signbit(x))
            return false;
    }
    return true;
}

static int apply_calibration(struct records_file *f, struct scorer_result *r, size_t frame, struct err *e)
{
    const struct journal_frame *in = &f->journal.frame[frame];
    const size_t U = (size_t)r->n_units;
    struct calibration_head h;
    if (in->n < sizeof h)
        return malformed(f, frame, "is too short", e);
    memcpy(&h, in->data, sizeof h);
    if (h.block < 0 || h.block >= r->n_blocks || f->calibrated[h.block])
        return malformed(f, frame, "is of a block that the run has not, or has already", e);
    struct scorer_block *b = &r->block[h.block];
    const size_t n = (size_t)b->n_batches * U;
    if (h.n_batches != b->n_batches || in->n != sizeof h + (n + U) * sizeof(float))
        return malformed(f, frame, "has another size than its block", e);
    const unsigned char *amax = in->data + sizeof h;
    if (!isfinite(h.seconds) || !maxima(amax, n + U))
        return malformed(f, frame, "holds a number that is no maximum", e);
    bool weights = false;
    for (int i = 0; i < r->n_blocks; i++)
        weights = weights || r->block[i].calibrated;
    if (!same_or_copy(r->amax + (size_t)b->first_batch * U, amax, n * sizeof(float), b->calibrated) ||
        !same_or_copy(r->weight_amax, amax + n * sizeof(float), U * sizeof(float), weights))
        return err_set(e, ERR_CONFIG,
                       "the maxima of block %d in '%s' differ from those of another journal: they are of "
                       "another kind of machine",
                       h.block + 1, f->journal.path);
    if (!b->calibrated)
        b->calibrate_seconds = h.seconds;
    b->calibrated = f->calibrated[h.block] = true;
    return 0;
}

static int apply_scores(struct records_file *f, struct scorer_result *r, size_t frame, struct err *e)
{
    const struct journal_frame *in = &f->journal.frame[frame];
    const size_t U = (size_t)r->n_units;
    struct scores_head h;
    if (in->n < sizeof h)
        return malformed(f, frame, "is too short", e);
    memcpy(&h, in->data, sizeof h);
    if (h.block < 0 || h.block >= r->n_scored_blocks || f->scored[h.block])
        return malformed(f, frame, "is of a block that the run has not, or has already", e);
    for (int i = 0; i < r->n_blocks; i++)
        if (!f->calibrated[i])
            return malformed(f, frame, "holds scores before all maxima", e);
    struct scorer_block *b = &r->block[h.block];
    const size_t n = (size_t)b->n_seqs * U;
    if (h.n_replays != f->n_replays || h.n_seqs != b->n_seqs ||
        in->n != sizeof h + (size_t)f->n_replays * n * sizeof(double))
        return malformed(f, frame, "has another size than its block", e);
    bool finite = isfinite(h.seconds) && isfinite(h.loss_sum) && h.loss_rows >= 0;
    for (int k = 0; k < f->n_replays; k++) {
        double *to = scorer_record(r, f->replay[k], b->first_seq);
        memcpy(to, in->data + sizeof h + (size_t)k * n * sizeof *to, n * sizeof *to);
        for (size_t i = 0; i < n; i++)
            finite = finite && isfinite(to[i]) && to[i] >= 0;
    }
    if (!finite)
        return malformed(f, frame, "holds a number that is no score", e);
    b->score_seconds = h.seconds;
    b->loss_sum = h.loss_sum;
    b->loss_rows = h.loss_rows;
    for (int k = 0; k < f->n_replays; k++)
        *scorer_scored(r, f->replay[k], h.block) = true;
    f->scored[h.block] = true;
    return 0;
}

static int apply_gemm(struct records_file *f, struct scorer_result *r, size_t frame, struct err *e)
{
    const struct journal_frame *in = &f->journal.frame[frame];
    if (memchr(in->data, 0, in->n))
        return malformed(f, frame, "is not text", e);
    free(f->gemm);
    f->gemm = xstrndup((const char *)in->data, in->n);
    char *both = gemm_used_merge(r->gemm, f->gemm, e);
    if (!both)
        return err_wrap(e, "'%s'", f->journal.path);
    free(r->gemm);
    r->gemm = both;
    return 0;
}

int records_apply(struct records_file *f, struct scorer_result *r, struct err *e)
{
    int rc = 0;
    for (size_t i = 1; i < f->journal.n && !rc; i++)
        switch (f->journal.frame[i].kind) {
        case RECORDS_GEMM: rc = apply_gemm(f, r, i, e); break;
        case RECORDS_CALIBRATION: rc = apply_calibration(f, r, i, e); break;
        case RECORDS_SCORES: rc = apply_scores(f, r, i, e); break;
        default: rc = malformed(f, i, "is of an unknown kind", e);
        }
    return rc;
}

/* ---- a result into frames: whatever the journal lacks */

static void add_calibration(struct records_file *f, const struct scorer_result *r, int i)
{
    const struct scorer_block *b = &r->block[i];
    const size_t U = (size_t)r->n_units, n = (size_t)b->n_batches * U * sizeof(float), w = U * sizeof(float);
    const struct calibration_head h = {i, b->n_batches, b->calibrate_seconds};
    unsigned char *p = xmalloc(sizeof h + n + w, 1);
    memcpy(p, &h, sizeof h);
    memcpy(p + sizeof h, r->amax + (size_t)b->first_batch * U, n);
    memcpy(p + sizeof h + n, r->weight_amax, w);
    journal_add(&f->journal, RECORDS_CALIBRATION, p, sizeof h + n + w);
    f->calibrated[i] = true;
    free(p);
}

static void add_scores(struct records_file *f, const struct scorer_result *r, int i)
{
    const struct scorer_block *b = &r->block[i];
    const size_t U = (size_t)r->n_units, n = (size_t)b->n_seqs * U * sizeof(double);
    const struct scores_head h = {i, f->n_replays, b->n_seqs, b->score_seconds, b->loss_sum, b->loss_rows};
    unsigned char *p = xmalloc(sizeof h + (size_t)f->n_replays * n, 1);
    memcpy(p, &h, sizeof h);
    for (int k = 0; k < f->n_replays; k++)
        memcpy(p + sizeof h + (size_t)k * n, scorer_record(r, f->replay[k], b->first_seq), n);
    journal_add(&f->journal, RECORDS_SCORES, p, sizeof h + (size_t)f->n_replays * n);
    f->scored[i] = true;
    free(p);
}

int records_append(struct records_file *f, const struct scorer_result *r, const json_t *identity, struct err *e)
{
    if (!f->journal.end) {
        char *text = json_dumps(identity, JSON_COMPACT);
        journal_add(&f->journal, RECORDS_HEADER, text, strlen(text));
        free(text);
    }
    if (r->gemm && (!f->gemm || strcmp(f->gemm, r->gemm) != 0)) {
        journal_add(&f->journal, RECORDS_GEMM, r->gemm, strlen(r->gemm));
        free(f->gemm);
        f->gemm = xstrdup(r->gemm);
    }
    bool all = true, whole;
    for (int i = 0; i < r->n_blocks; i++) {
        if (r->block[i].calibrated && !f->calibrated[i])
            add_calibration(f, r, i);
        all = all && f->calibrated[i];
    }
    for (int i = 0; i < r->n_scored_blocks && all; i++) {
        whole = true;
        for (int k = 0; k < f->n_replays; k++)
            whole = whole && *scorer_scored(r, f->replay[k], i);
        if (whole && !f->scored[i])
            add_scores(f, r, i);
    }
    return journal_flush(&f->journal, e);
}
