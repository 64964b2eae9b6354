/* subject - what the tests of scoring score: a model read from its directory, calibration data from token ids, pairs by
 * name. All of it without files of our own: what extract-lm and calib-pack write is tested elsewhere. Any failure here
 * is a BUG: the tests have nothing to say then. */
#ifndef SUBJECT_H
#define SUBJECT_H
#include <math.h>
#include <string.h>

#include "calib.h"
#include "err.h"
#include "json.h"
#include "lm_extract.h"
#include "mem.h"
#include "pair.h"
#include "replay.h"
#include "scorer.h"

enum { SUBJECT_PAD = 2040, SUBJECT_BATCH = 8, SUBJECT_SEQ_LEN = 512 }; /* the bundled model, the goldens' calibration */
#define SUBJECT_MODEL "models/tiny_qwen3_vl"

static inline void subject_model(struct lm *lm, const char *dir)
{
    struct hf_config config;
    struct checkpoint c;
    struct err e = {0};
    if (hf_config_load(&config, dir, &e) || checkpoint_open(&c, dir, &e) || lm_extract(lm, &config, &c, dir, &e))
        BUG("%s", e.msg);
    checkpoint_close(&c);
}

/* Captions [first, first + n) of the goldens, in batches of 8. */
static inline void subject_captions(struct calib *c, int first, int n, bool sentinels)
{
    struct err e = {0};
    json_t *doc = json_load("tests/fixtures/golden/token_ids.json", JSON_LIMIT_CONFIG, &e);
    if (!doc || json_array_size(doc) < (size_t)(first + n))
        BUG("no %d captions: %s", first + n, e.msg);
    int32_t **ids = xcalloc((size_t)n, sizeof *ids);
    int64_t *length = xcalloc((size_t)n, sizeof *length);
    for (int i = 0; i < n; i++) {
        const json_t *caption = json_array_get(doc, (size_t)(first + i));
        length[i] = (int64_t)json_array_size(caption);
        ids[i] = xmalloc((size_t)length[i], sizeof **ids);
        for (int64_t t = 0; t < length[i]; t++)
            ids[i][t] = (int32_t)json_integer_value(json_array_get(caption, (size_t)t));
    }
    if (calib_build(c, n, (const int32_t *const *)ids, length, SUBJECT_BATCH, SUBJECT_SEQ_LEN, sentinels, SUBJECT_PAD,
                    &e))
        BUG("%s", e.msg);
    for (int i = 0; i < n; i++)
        free(ids[i]);
    free(ids);
    free(length);
    json_decref(doc);
}

static inline struct pair subject_pair(const char *name)
{
    struct pair p;
    struct err e = {0};
    char *path = xasprintf("conf/quant_pair/%s.yaml", name);
    if (pair_load(&p, path, &e))
        BUG("%s", e.msg);
    free(path);
    return p;
}

/* Add a pair; the index of its replay. */
static inline int subject_add(struct replay_set *set, const struct pair *p)
{
    struct err e = {0};
    const int i = replay_add(set, p, &e);
    if (i < 0)
        BUG("%s", e.msg);
    return i;
}

/* The pairs of a list of names, separated by blanks. */
static inline struct replay_set subject_pairs(const char *names)
{
    struct replay_set set = {0};
    for (const char *at = names; *at; at += strspn(at, " ")) {
        const size_t n = strcspn(at, " ");
        char *name = xstrndup(at, n);
        const struct pair p = subject_pair(name);
        subject_add(&set, &p);
        free(name);
        at += n;
    }
    return set;
}

static const struct scorer_options subject_bf16 = {.bf16 = true, .score_size = 128, .block_batches = 8};
static const struct scorer_options subject_fp32 = {.bf16 = false, .score_size = 128, .block_batches = 8};

/* One sample's result, or an error. */
static inline int subject_run(struct scorer_result *r, const struct be_ops *ops, const struct lm *lm,
                              const struct calib *c, const struct replay_set *set, const struct scorer_options *o,
                              struct err *e)
{
    struct scorer_sample s = {.calib = c, .set = set};
    const int rc = scorer_run(&s, 1, ops, lm, o, e);
    *r = s.result;
    return rc;
}

/* Score or BUG. */
static inline struct scorer_result subject_score(const struct be_ops *ops, const struct lm *lm, const struct calib *c,
                                                 const struct replay_set *set, const struct scorer_options *o)
{
    struct scorer_result r;
    struct err e = {0};
    if (subject_run(&r, ops, lm, c, set, o, &e))
        BUG("%s", e.msg);
    return r;
}

/* The same bits: all records, maxima and the loss. */
static inline bool subject_same(const struct scorer_result *a, const struct scorer_result *b)
{
    const size_t U = (size_t)a->n_units;
    return a->n_units == b->n_units && a->n_replays == b->n_replays && a->n_batches == b->n_batches &&
           a->n_scored_seqs == b->n_scored_seqs &&
           !memcmp(a->record, b->record, (size_t)a->n_replays * (size_t)a->n_scored_seqs * U * sizeof *a->record) &&
           !memcmp(a->amax, b->amax, (size_t)a->n_batches * U * sizeof *a->amax) &&
           !memcmp(a->weight_amax, b->weight_amax, U * sizeof *a->weight_amax) &&
           !memcmp(&a->loss, &b->loss, sizeof a->loss);
}

/* A unit's score: its records' sum. */
static inline double subject_unit_score(const struct scorer_result *r, int replay, int unit)
{
    double s = 0;
    for (int64_t i = 0; i < r->n_scored_seqs; i++)
        s += r->record[((int64_t)replay * r->n_scored_seqs + i) * r->n_units + unit];
    return s;
}

/* max |input| of a unit over all calibration batches. */
static inline double subject_amax(const struct scorer_result *r, int unit)
{
    float m = 0;
    for (int b = 0; b < r->n_batches; b++)
        m = fmaxf(m, r->amax[(size_t)b * (size_t)r->n_units + (size_t)unit]);
    return (double)m;
}

#endif
