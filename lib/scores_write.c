#include "scores_write.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block.h"
#include "io.h"
#include "mem.h"
#include "model.h"
#include "parallel.h"
#include "safetensors.h"
#include "scores_stats.h"
#include "sha256.h"
#include "version.h"

static double unit_amax(const struct scorer_result *r, int unit)
{
    float m = 0;
    for (int b = 0; b < r->n_batches; b++)
        m = r->amax[(size_t)b * (size_t)r->n_units + (size_t)unit] > m
                ? r->amax[(size_t)b * (size_t)r->n_units + (size_t)unit]
                : m;
    return (double)m;
}

static json_t *describe_pair(const struct pair *p)
{
    char w[QUANTIZER_KEY], a[QUANTIZER_KEY];
    quantizer_key(&p->weight, w);
    quantizer_key(&p->activation, a);
    json_t *o = json_object();
    json_set(o, "name", json_string(p->name));
    json_set(o, "modelopt_config", json_string(p->modelopt_config));
    json_set(o, "recipe_name", json_string(p->recipe_name));
    json_set(o, "bits", json_integer(pair_bits(p)));
    json_set(o, "weight", json_string(w));
    json_set(o, "activation", json_string(a));
    return o;
}

static json_t *describe_arithmetic(const struct scores_source *s)
{
    json_t *o = json_object();
    json_set(o, "version", json_integer(QSENS_ARITHMETIC));
    json_set(o, "dtype", json_string(s->options->bf16 ? "bf16" : "fp32"));
    json_set(o, "padding", json_string(s->calib->sentinels ? "reference" : "none"));
    json_set(o, "backend", json_string(s->backend));
    json_set(o, "block_batches", json_integer(s->options->block_batches));
    if (s->result->gemm) {
        char sha[65];
        sha256_of(s->result->gemm, strlen(s->result->gemm), sha);
        json_set(o, "gemm_sha256", json_string(sha));
    }
    return o;
}

static json_t *describe_calibration(const struct scores_source *s)
{
    const struct calib *c = s->calib;
    int64_t real = 0, pad = 0, loss = 0;
    for (int64_t i = 0; i < c->n_seqs; i++) {
        real += c->n_real[i];
        pad += c->n_pad[i];
        loss += c->n_loss[i];
    }
    json_t *o = json_object();
    json_set(o, "source", json_string(c->source));
    json_set(o, "sequences", json_integer(c->n_seqs));
    json_set(o, "batches", json_integer(c->n_batches));
    json_set(o, "batch_size", json_integer(c->batch_size));
    json_set(o, "seq_len", json_integer(c->seq_len));
    json_set(o, "rows", json_integer(c->n_rows));
    json_set(o, "real_tokens", json_integer(real));
    json_set(o, "pad_tokens", json_integer(pad));
    json_set(o, "loss_tokens", json_integer(loss));
    json_set(o, "score_sequences", json_integer(s->result->n_scored_seqs));
    json_set(o, "score_batches", json_integer(s->result->n_scored_batches));
    json_set(o, "score_rows", json_integer(s->result->n_scored_rows));
    return o;
}

static json_t *describe_run(const struct scores_source *s)
{
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    json_t *o = json_object();
    json_set(o, "seconds", json_real(s->seconds));
    json_set(o, "tokens_per_second", json_real(s->seconds > 0 ? (double)s->calib->n_rows / s->seconds : 0));
    json_set(o, "threads", json_integer(parallel_threads()));
    json_set(o, "host", json_string(host));
    json_set(o, "started", json_string(s->started));
    return o;
}

/* Groups of language-model units in model order; members keep the order of their units. */
static json_t *describe_groups(const struct scores_source *s, const struct pair *p, int replay, double *total)
{
    const struct lm *lm = s->lm;
    const struct scorer_result *r = s->result;
    const bool calibrated = p->activation.format != QF_NONE && !p->activation.dynamic;
    json_t *groups = json_array(), *group = NULL;
    double sum = 0;
    *total = 0;
    int current = -1;
    for (int u = 0; u < r->n_units; u++) {
        const struct lm_unit *unit = model_unit(lm, u);
        if (unit->group != current) {
            current = unit->group;
            sum = 0;
            group = json_object();
            json_set(group, "name", json_string(lm->group[current].name));
            json_set(group, "weights", json_integer((json_int_t)lm->group[current].weights));
            json_set(group, "score", json_real(0));
            json_set(group, "members", json_array());
            json_array_append_new(groups, group);
        }
        const double score = scorer_unit_score(r, replay, u);
        json_t *m = json_object();
        json_set(m, "unit", json_string(unit->name));
        json_set(m, "weights", json_integer((json_int_t)unit->weights));
        json_set(m, "score", json_real(score));
        json_set(m, "input_amax", calibrated ? json_real(unit_amax(r, u)) : json_null());
        json_set(m, "weight_amax", json_real((double)r->weight_amax[u]));
        json_array_append_new(json_object_get(group, "members"), m);
        sum += score;
        *total += score;
        json_set(group, "score", json_real(sum));
    }
    return groups;
}

json_t *scores_document(const struct scores_source *s, const struct pair *p, int replay)
{
    double total;
    json_t *groups = describe_groups(s, p, replay, &total), *o = json_object(), *inputs = json_object();
    json_set(inputs, "weights_sha256", json_string(s->lm->weights_sha256));
    json_set(inputs, "tokens_sha256", json_string(s->calib->tokens_sha256));
    json_set(o, "format", json_string("qsens-scores"));
    json_set(o, "version", json_integer(1));
    json_set(o, "pair", describe_pair(p));
    json_set(o, "granularity", json_string(s->granularity));
    json_set(o, "arithmetic", describe_arithmetic(s));
    json_set(o, "inputs", inputs);
    json_set(o, "calibration", describe_calibration(s));
    json_set(o, "loss", json_real(s->result->loss));
    json_set(o, "score", json_real(total));
    json_set(o, "groups", groups);
    scores_stats_add(o, s->calib, s->result, replay, s->options->bf16);
    json_set(o, "run", describe_run(s));
    return o;
}

/* Where the blocks of a result are, and what they are. */
static void add_blocks(struct st_writer *out, const struct scores_source *s)
{
    const uint64_t n = (uint64_t)s->result->n_blocks;
    char *hash = xcalloc(64 * n + 1, 1);
    for (uint64_t i = 0; i < n; i++) {
        const struct scorer_block *b = &s->result->block[i];
        char hex[65];
        block_hash(s->calib, b->first_batch, b->n_batches, hex);
        memcpy(hash + 64 * i, hex, 64);
    }
    st_writer_meta(out, "block_sha256", hash);
    st_writer_add(out, "block", DT_I64, 2, (uint64_t[]){n, 4});
    st_writer_add(out, "block_loss", DT_F64, 1, (uint64_t[]){n});
    free(hash);
}

static void write_blocks(struct st_writer *out, const struct scorer_result *r)
{
    for (int i = 0; i < r->n_blocks; i++) {
        const struct scorer_block *b = &r->block[i];
        st_writer_data(out, (int64_t[]){b->first_batch, b->n_batches, b->n_seqs, b->loss_rows}, 4 * sizeof(int64_t));
    }
    for (int i = 0; i < r->n_blocks; i++)
        st_writer_data(out, &r->block[i].loss_sum, sizeof r->block[i].loss_sum);
}

void records_write(const struct scores_source *s, const struct pair *p, int replay, FILE *f)
{
    const struct scorer_result *r = s->result;
    const uint64_t S = (uint64_t)r->n_scored_seqs, B = (uint64_t)r->n_batches, U = (uint64_t)r->n_units;
    char w[QUANTIZER_KEY], a[QUANTIZER_KEY], number[24];
    quantizer_key(&p->weight, w);
    quantizer_key(&p->activation, a);
    struct st_writer out;
    st_writer_init(&out);
    st_writer_meta(&out, "format", "qsens-records");
    st_writer_meta(&out, "version", "1");
    st_writer_meta(&out, "weights_sha256", s->lm->weights_sha256);
    st_writer_meta(&out, "tokens_sha256", s->calib->tokens_sha256);
    st_writer_meta(&out, "weight", w);
    st_writer_meta(&out, "activation", a);
    st_writer_meta(&out, "dtype", s->options->bf16 ? "bf16" : "fp32");
    st_writer_meta(&out, "padding", s->calib->sentinels ? "reference" : "none");
    st_writer_meta(&out, "backend", s->backend);
    st_writer_meta(&out, "identity", s->identity);
    snprintf(number, sizeof number, "%d", s->options->block_batches);
    st_writer_meta(&out, "block_batches", number);
    snprintf(number, sizeof number, "%d", QSENS_ARITHMETIC);
    st_writer_meta(&out, "arithmetic", number);
    if (r->gemm) {
        char sha[65];
        sha256_of(r->gemm, strlen(r->gemm), sha);
        st_writer_meta(&out, "gemm_sha256", sha);
    }
    st_writer_add(&out, "score", DT_F64, 2, (uint64_t[]){S, U});
    st_writer_add(&out, "amax", DT_F32, 2, (uint64_t[]){B, U});
    st_writer_add(&out, "weight_amax", DT_F32, 1, (uint64_t[]){U});
    add_blocks(&out, s);
    st_writer_begin(&out, f);
    st_writer_data(&out, scorer_record(r, replay, 0), S * U * sizeof *r->record);
    st_writer_data(&out, r->amax, B * U * sizeof *r->amax);
    st_writer_data(&out, r->weight_amax, U * sizeof *r->weight_amax);
    write_blocks(&out, r);
    st_writer_end(&out);
}

/* gemm.json; one of an earlier run on another backend goes. */
static int write_gemm(const char *text, const char *dir, struct err *e)
{
    struct io_out out;
    char *path = io_join(dir, "gemm.json");
    int rc = 0;
    if (!text) {
        if (unlink(path) && errno != ENOENT)
            rc = err_set(e, ERR_IO, "cannot remove '%s': %s", path, strerror(errno));
    } else if (!(rc = io_out_open(&out, path, e))) {
        fputs(text, out.f);
        rc = io_out_commit(&out, e);
    }
    free(path);
    return rc;
}

int scores_cell_add(struct scores_cell *cell, struct replay_set *set, bool split, struct err *e)
{
    cell->split = (struct split_replays){0};
    cell->replay = replay_add(set, &cell->pair, e);
    return cell->replay < 0 ? -1 : split ? split_replays_add(&cell->split, set, &cell->pair, e) : 0;
}

int scores_cell_write(const struct scores_source *s, const struct scores_cell *cell, struct err *e)
{
    struct io_out out;
    char *path = io_join(cell->dir, "records.safetensors");
    int rc = write_gemm(s->result->gemm, cell->dir, e) || io_out_open(&out, path, e) ? -1 : 0;
    if (!rc) {
        records_write(s, &cell->pair, cell->replay, out.f);
        rc = io_out_commit(&out, e);
    }
    free(path);
    path = io_join(cell->dir, "scores.json"); /* last: it is what others wait for */
    if (!rc && !(rc = io_out_open(&out, path, e))) {
        json_t *doc = scores_document(s, &cell->pair, cell->replay);
        scores_split_add(doc, s->result, &cell->split);
        json_print(out.f, doc, 1);
        fputc('\n', out.f);
        json_decref(doc);
        rc = io_out_commit(&out, e);
    }
    free(path);
    return rc;
}
