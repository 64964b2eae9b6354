/* random_model - checkpoints of synth-model with captions of random ids, for tests of scoring. */
#ifndef RANDOM_MODEL_H
#define RANDOM_MODEL_H
#include <ftw.h>
#include <unistd.h>

#include "ops/ops.h"
#include "parity/subject.h"
#include "synth.h"

enum { PAD = 5, SEQ_LEN = 9 };

static char work[] = "tmp/random_model.XXXXXX"; /* checkpoints; remove_models removes them */

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)st, (void)type, (void)f;
    return remove(path);
}

static inline void remove_models(void)
{
    nftw(work, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

struct shape {
    const char *name;
    int hidden, layers, heads, kv_heads, head_dim, ffn, vocab;
    enum dtype dtype;
    int shards;
    bool untied;
};

static inline void make_model(struct lm *lm, const struct shape *s, uint64_t seed)
{
    const char *keys[] = {"hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
                          "intermediate_size", "vocab_size", "vision_config.depth"};
    const int values[] = {s->hidden, s->layers, s->heads, s->kv_heads, s->head_dim, s->ffn, s->vocab, 2};
    enum { N = sizeof values / sizeof *values };
    char *set[N];
    struct err e = {0};
    for (size_t i = 0; i < N; i++)
        set[i] = xasprintf("%s=%d", keys[i], values[i]);
    const struct synth_options o = {.size = "tiny", .set = (const char *const *)set, .n_sets = N, .dtype = s->dtype,
                                    .untied = s->untied, .n_shards = s->shards, .seed = seed};
    static int n;
    if (!n && !mkdtemp(work))
        BUG("no directory for checkpoints");
    char *dir = xasprintf("%s/%d", work, n++);
    json_t *config = synth_config(&o, &e);
    if (!config || synth_write(config, &o, dir, NULL, NULL, &e))
        BUG("%s", e.msg);
    subject_model(lm, dir);
    json_decref(config);
    free(dir);
    for (size_t i = 0; i < N; i++)
        free(set[i]);
}

/* n captions of 1 to 12 ids; the pad id is among them now and then. */
static inline void make_captions(struct calib *c, int n, int batch, bool sentinels, int vocab, uint64_t seed)
{
    enum { MOST = 12 };
    struct rng r = {seed};
    struct err e = {0};
    int32_t(*ids)[MOST] = xcalloc((size_t)n, sizeof *ids);
    const int32_t **list = xcalloc((size_t)n, sizeof *list);
    int64_t *length = xcalloc((size_t)n, sizeof *length);
    for (int i = 0; i < n; i++) {
        list[i] = ids[i];
        length[i] = 1 + rng_below(&r, MOST);
        for (int t = 0; t < MOST; t++)
            ids[i][t] = rng_below(&r, 16) ? rng_below(&r, vocab) : PAD;
    }
    if (calib_build(c, n, list, length, batch, SEQ_LEN, sentinels, PAD, &e))
        BUG("%s", e.msg);
    free(ids);
    free(list);
    free(length);
}

#endif
