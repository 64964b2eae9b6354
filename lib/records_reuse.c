#include "records_reuse.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block.h"
#include "gemm_table.h"
#include "io.h"
#include "mem.h"
#include "safetensors.h"
#include "version.h"

/* A records.safetensors of this model, arithmetic and backend. */
struct source {
    struct st_file file;
    const char *weight, *activation, *hash; /* of block i: 64 digits at 64 * i */
    const struct st_tensor *score, *amax, *weight_amax, *block, *loss;
    int n_blocks;
    bool open, used;
};

struct place {
    int64_t first_batch, n_batches, n_seqs, loss_rows;
};

static struct place place_of(const struct source *s, int i)
{
    struct place p;
    memcpy(&p, (const char *)s->block->data + (size_t)i * sizeof p, sizeof p);
    return p;
}

static bool meta_is(const struct st_file *f, const char *key, const char *value)
{
    const char *v = json_string_value(json_object_get(f->meta, key));
    return v && !strcmp(v, value);
}

static bool is_of_run(const struct st_file *f, const struct records_run *run)
{
    char arithmetic[24];
    snprintf(arithmetic, sizeof arithmetic, "%d", QSENS_ARITHMETIC);
    return meta_is(f, "format", "qsens-records") && meta_is(f, "version", "1") &&
           meta_is(f, "weights_sha256", run->lm->weights_sha256) &&
           meta_is(f, "dtype", run->options->bf16 ? "bf16" : "fp32") &&
           meta_is(f, "padding", run->calib->sentinels ? "reference" : "none") &&
           meta_is(f, "identity", run->identity) && meta_is(f, "arithmetic", arithmetic) &&
           json_object_get(f->meta, "block_sha256");
}

/* Blocks lie one behind the other, in batches and in scored sequences, all that the tensors hold. */
static bool blocks_fit(const struct source *s)
{
    int64_t batch = 0, seq = 0;
    for (int i = 0; i < s->n_blocks; i++) {
        const struct place p = place_of(s, i);
        if (p.first_batch != batch || p.n_batches < 1 || p.n_seqs < 0 || p.loss_rows < 0 ||
            p.n_batches > (int64_t)s->amax->shape[0] - batch || p.n_seqs > (int64_t)s->score->shape[0] - seq)
            return false;
        batch += p.n_batches;
        seq += p.n_seqs;
    }
    return batch == (int64_t)s->amax->shape[0] && seq == (int64_t)s->score->shape[0];
}

static int read_source(struct source *s, const struct scorer_result *r, struct err *e)
{
    const struct st_file *f = &s->file;
    const uint64_t U = (uint64_t)r->n_units, any = UINT64_MAX;
    s->score = st_need(f, "score", DT_F64, 2, (uint64_t[]){any, U}, e);
    s->amax = s->score ? st_need(f, "amax", DT_F32, 2, (uint64_t[]){any, U}, e) : NULL;
    s->weight_amax = s->amax ? st_need(f, "weight_amax", DT_F32, 1, (uint64_t[]){U}, e) : NULL;
    s->block = s->weight_amax ? st_need(f, "block", DT_I64, 2, (uint64_t[]){any, 4}, e) : NULL;
    if (!s->block || !(s->weight = st_need_meta(f, "weight", e)) ||
        !(s->activation = st_need_meta(f, "activation", e)) || !(s->hash = st_need_meta(f, "block_sha256", e)) ||
        !(s->loss = st_need(f, "block_loss", DT_F64, 1, (uint64_t[]){s->block->shape[0]}, e)))
        return -1;
    if (s->block->shape[0] > INT32_MAX / 64 || strlen(s->hash) != 64 * s->block->shape[0])
        return err_set(e, ERR_FORMAT, "'%s': 'block_sha256' is not of its blocks", f->name);
    s->n_blocks = (int)s->block->shape[0];
    return blocks_fit(s) ? 0 : err_set(e, ERR_FORMAT, "'%s': its blocks are not those of its tensors", f->name);
}

/* Open what is of this run; anything else is left closed. */
static int open_source(struct source *s, const char *dir, const struct scorer_result *r, const struct records_run *run,
                       struct err *e)
{
    struct err why;
    char *path = io_join(dir, "records.safetensors");
    if (!st_open(&s->file, path, &why)) {
        s->open = true;
        if (!is_of_run(&s->file, run)) {
            st_close(&s->file);
            s->open = false;
        }
    }
    free(path);
    return s->open ? read_source(s, r, e) : 0;
}

/* gemm.json beside it, where its backend chose algorithms: those that made these numbers. */
static int take_gemm(struct scorer_result *r, const char *dir, struct err *e)
{
    char *path = io_join(dir, "gemm.json"), *text = NULL;
    size_t n;
    int rc = 0;
    if (!access(path, F_OK) && !(rc = io_read(path, 64 << 20, &text, &n, e))) {
        char *both = gemm_used_merge(r->gemm, text, e);
        rc = both ? 0 : err_wrap(e, "'%s'", path);
        if (both) {
            free(r->gemm);
            r->gemm = both;
        }
    }
    free(text);
    free(path);
    return rc;
}

/* ---- */

static bool finite_floats(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]) || x[i] < 0)
            return false;
    return true;
}

static int take_maxima(struct scorer_result *r, int to, const struct source *s, int from, struct err *e)
{
    struct scorer_block *b = &r->block[to];
    const size_t U = (size_t)r->n_units;
    float *amax = r->amax + (size_t)b->first_batch * U;
    bool known = false;
    for (int i = 0; i < r->n_blocks; i++)
        known = known || r->block[i].calibrated;
    if (known && memcmp(r->weight_amax, s->weight_amax->data, U * sizeof(float)) != 0)
        return err_set(e, ERR_FORMAT, "'%s': its weight maxima are not those of this model", s->file.name);
    memcpy(r->weight_amax, s->weight_amax->data, U * sizeof(float));
    memcpy(amax, (const char *)s->amax->data + (size_t)place_of(s, from).first_batch * U * sizeof(float),
           (size_t)b->n_batches * U * sizeof(float));
    if (!finite_floats(amax, (size_t)b->n_batches * U) || !finite_floats(r->weight_amax, U))
        return err_set(e, ERR_FORMAT, "'%s' holds a number that is no maximum", s->file.name);
    b->calibrated = true;
    return 0;
}

static int take_scores(struct scorer_result *r, int replay, int to, const struct source *s, int from, int64_t first_seq,
                       struct err *e)
{
    struct scorer_block *b = &r->block[to];
    const size_t U = (size_t)r->n_units, n = (size_t)b->n_seqs * U;
    double *x = scorer_record(r, replay, b->first_seq), loss;
    memcpy(x, (const char *)s->score->data + (size_t)first_seq * U * sizeof *x, n * sizeof *x);
    memcpy(&loss, (const char *)s->loss->data + (size_t)from * sizeof loss, sizeof loss);
    bool good = isfinite(loss);
    for (size_t i = 0; i < n; i++)
        good = good && isfinite(x[i]) && x[i] >= 0;
    if (!good)
        return err_set(e, ERR_FORMAT, "'%s' holds a number that is no score", s->file.name);
    b->loss_sum = loss;
    b->loss_rows = place_of(s, from).loss_rows;
    *scorer_scored(r, replay, to) = true;
    return 0;
}

/* Are the maxima over everything, of both, known and equal? */
static bool same_scales(const struct scorer_result *r, const struct source *s)
{
    for (int i = 0; i < r->n_blocks; i++)
        if (!r->block[i].calibrated)
            return false;
    for (size_t u = 0, U = (size_t)r->n_units; u < U; u++) {
        float a = 0, b = 0, x;
        for (size_t k = 0; k < (size_t)r->n_batches; k++)
            a = fmaxf(a, r->amax[k * U + u]);
        for (size_t k = 0; k < s->amax->shape[0]; k++) {
            memcpy(&x, (const char *)s->amax->data + (k * U + u) * sizeof x, sizeof x);
            b = fmaxf(b, x);
        }
        if (a != b)
            return false;
    }
    return true;
}

static bool is_replay_of(const struct replay_set *set, int replay, const struct source *s)
{
    char w[QUANTIZER_KEY], a[QUANTIZER_KEY];
    quantizer_key(&set->weight[set->replay[replay].weight], w);
    quantizer_key(&set->act[set->replay[replay].act], a);
    return !strcmp(w, s->weight) && !strcmp(a, s->activation);
}

/* Maxima of all blocks that the source has. */
static int reuse_maxima(struct scorer_result *r, char (*hash)[65], struct source *s, int *n, struct err *e)
{
    for (int k = 0; k < s->n_blocks; k++)
        for (int i = 0; i < r->n_blocks; i++)
            if (!r->block[i].calibrated && r->block[i].n_batches == place_of(s, k).n_batches &&
                !memcmp(hash[i], s->hash + 64 * k, 64)) {
                if (take_maxima(r, i, s, k, e))
                    return -1;
                s->used = true;
                ++*n;
            }
    return 0;
}

static int reuse_scores(struct scorer_result *r, char (*hash)[65], const struct replay_set *set, struct source *s,
                        int *n, struct err *e)
{
    const bool scales = same_scales(r, s);
    for (int a = 0; a < set->n; a++) {
        if (!is_replay_of(set, a, s) || (replay_is_static(&set->act[set->replay[a].act]) && !scales))
            continue;
        int64_t first_seq = 0;
        for (int k = 0; k < s->n_blocks; first_seq += place_of(s, k++).n_seqs)
            for (int i = 0; i < r->n_scored_blocks; i++)
                if (!*scorer_scored(r, a, i) && r->block[i].n_seqs == place_of(s, k).n_seqs &&
                    !memcmp(hash[i], s->hash + 64 * k, 64)) {
                    if (take_scores(r, a, i, s, k, first_seq, e))
                        return -1;
                    s->used = true;
                    ++*n;
                }
    }
    return 0;
}

static int reuse(struct scorer_result *r, const struct records_run *run, const struct replay_set *set,
                 const char *const *dir, struct source *s, size_t n, char (*hash)[65], int *blocks, int *scored,
                 struct err *e)
{
    for (size_t i = 0; i < n; i++)
        if (open_source(&s[i], dir[i], r, run, e) || (s[i].open && reuse_maxima(r, hash, &s[i], blocks, e)))
            return -1;
    for (size_t i = 0; i < n; i++)
        if ((s[i].open && reuse_scores(r, hash, set, &s[i], scored, e)) || (s[i].used && take_gemm(r, dir[i], e)))
            return -1;
    return 0;
}

int records_reuse(struct scorer_result *r, const struct records_run *run, const struct replay_set *set,
                  const char *const *dir, size_t n, int *blocks, int *scored, struct err *e)
{
    struct source *s = xcalloc(n, sizeof *s);
    char (*hash)[65] = xcalloc((size_t)r->n_blocks, sizeof *hash);
    for (int i = 0; i < r->n_blocks; i++)
        block_hash(run->calib, r->block[i].first_batch, r->block[i].n_batches, hash[i]);
    *blocks = *scored = 0;
    const int rc = reuse(r, run, set, dir, s, n, hash, blocks, scored, e);
    for (size_t i = 0; i < n; i++)
        if (s[i].open)
            st_close(&s[i].file);
    free(hash);
    free(s);
    return rc;
}
