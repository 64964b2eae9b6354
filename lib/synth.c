#include "synth.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hf_config.h"
#include "io.h"
#include "json.h"
#include "mem.h"
#include "num.h"
#include "parallel.h"
#include "rng.h"
#include "safetensors.h"

/* ---- values ---- */

/* rng_mix for 32 bits, which vectorises: two rounds of multiply and shift (Wellons, "lowbias32"). */
static inline uint32_t mix32(uint32_t x)
{
    x = (x ^ x >> 16) * 0x7feb352d;
    x = (x ^ x >> 15) * 0x846ca68b;
    return x ^ x >> 16;
}

uint64_t synth_key(uint64_t seed, const char *tensor)
{
    uint64_t h = rng_mix(seed);
    for (const char *p = tensor; *p; p++)
        h = rng_mix(h ^ (unsigned char)*p);
    return h;
}

enum { BLOCK = 4096 }; /* elements that share a key: within it a 32-bit counter does */

/* n values from element `begin` of a block: mean + sigma * (sum of four uniforms, unit variance), times gain. */
static void normals(float *restrict out, uint64_t block_key, uint32_t begin, uint32_t n, float mean, float sigma,
                    float gain)
{
    const uint32_t k0 = (uint32_t)block_key, k1 = (uint32_t)(block_key >> 32);
    const float scale = sigma / 37837.227f; /* sqrt(4/12) * 65536 */
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t a = mix32((begin + i) * 0x9e3779b9 + k0), b = mix32(a ^ k1);
        const int32_t sum = (int32_t)((a & 0xffff) + (a >> 16) + (b & 0xffff) + (b >> 16)) - 131070;
        out[i] = (mean + scale * (float)sum) * gain;
    }
}

static void store(enum dtype t, void *dst, uint64_t at, const float *restrict x, uint32_t n)
{
    uint16_t *half = (uint16_t *)dst + at;
    switch (t) {
    case DT_F32: memcpy((float *)dst + at, x, n * sizeof *x); return;
    case DT_F16:
        for (uint32_t i = 0; i < n; i++)
            half[i] = fp16_from_f32(x[i]);
        return;
    default:
        for (uint32_t i = 0; i < n; i++)
            half[i] = bf16_from_f32(x[i]);
    }
}

void synth_fill(const struct synth_rule *r, enum dtype t, void *dst, uint64_t begin, uint64_t n)
{
    for (uint64_t done = 0; done < n;) { /* runs that stay in one block and, where rows differ, in one row */
        const uint64_t i = begin + done, row = i / r->cols;
        uint64_t run = n - done < BLOCK - i % BLOCK ? n - done : BLOCK - i % BLOCK;
        if (r->gain && run > r->cols - i % r->cols)
            run = r->cols - i % r->cols;
        float x[BLOCK];
        normals(x, rng_mix(r->key ^ i / BLOCK), (uint32_t)(i % BLOCK), (uint32_t)run, r->mean, r->sigma,
                r->gain ? r->gain[row] : 1);
        store(t, dst, done, x, (uint32_t)run);
        done += run;
    }
}

/* ---- what is in the checkpoint ---- */

struct tensor {
    char *name;
    int rank;
    uint64_t shape[5], n;
    float mean, sigma, outlier; /* outlier: the gain of some rows; 1 for none */
    uint64_t outlier_key;       /* which rows: equal keys, equal rows */
};

struct plan {
    struct tensor *tensor;
    int n;
    size_t cap;
    enum dtype dtype;
    uint64_t seed;
};

static struct tensor *add(struct plan *p, char *name, int rank, const uint64_t *shape, float mean, float sigma)
{
    p->tensor = xgrow(p->tensor, &p->cap, (size_t)p->n + 1, sizeof *p->tensor);
    struct tensor *t = &p->tensor[p->n++];
    *t = (struct tensor){.name = name, .rank = rank, .n = 1, .mean = mean, .sigma = sigma, .outlier = 1};
    for (int i = 0; i < rank; i++) {
        t->shape[i] = shape[i];
        t->n *= shape[i];
    }
    return t;
}

static void set_outliers(const struct plan *p, struct tensor *t, const char *set, int layer, float gain)
{
    t->outlier = gain;
    t->outlier_key = synth_key(p->seed + (uint64_t)layer, set);
}

static void add_lm(struct plan *p, const struct lm_config *c)
{
    for (int i = 0; i < lm_tensor_count(c); i++) {
        enum lm_role r;
        int layer;
        uint64_t shape[2];
        lm_tensor_at(c, i, &r, &layer);
        const int rank = lm_role_shape(c, r, shape);
        char *module = lm_module_name(LM_PREFIX_QWEN3_VL, r, layer);
        const float fan_in = 1 / sqrtf((float)shape[1]), residual = fan_in / sqrtf(2 * (float)c->n_layers);
        struct tensor *t = add(p, xasprintf("%s.weight", module), rank, shape, 0, fan_in);
        free(module);
        switch (r) {
        case ROLE_EMBED:
        case ROLE_LM_HEAD: t->sigma = 0.02f; break;
        case ROLE_ATTN_NORM:
        case ROLE_MLP_NORM:
            t->mean = 1, t->sigma = 0.1f;
            set_outliers(p, t, "hidden", 0, 8);
            break;
        case ROLE_Q_NORM:
        case ROLE_K_NORM: t->mean = 1.2f, t->sigma = 0.1f; break;
        case ROLE_FINAL_NORM: t->mean = 1.5f, t->sigma = 0.1f; break;
        case ROLE_O:
        case ROLE_DOWN:
            t->sigma = residual;
            set_outliers(p, t, "hidden", 0, 4);
            break;
        case ROLE_UP: set_outliers(p, t, "ffn", layer + 1, 6); break;
        default: break;
        }
    }
}

static void add_vision(struct plan *p, const struct vision_config *c)
{
    struct vision_tensor *v;
    int n;
    vision_tensors(c, &v, &n);
    for (int i = 0; i < n; i++) {
        float mean = 0, sigma = 0.02f;
        if (v[i].kind == VISION_NORM)
            mean = 1, sigma = 0.1f;
        else if (v[i].kind == VISION_LINEAR || v[i].kind == VISION_CONV3D)
            sigma = 1 / sqrtf((float)(v[i].n / v[i].shape[0]));
        char *name = xasprintf("%s.%s", v[i].module, v[i].is_bias ? "bias" : "weight");
        add(p, name, v[i].rank, v[i].shape, mean, sigma);
    }
    vision_free(v, n);
}

static int plan(struct plan *p, const json_t *config, const struct synth_options *o, struct err *e)
{
    struct hf_config c;
    *p = (struct plan){.dtype = o->dtype, .seed = o->seed};
    if (hf_config_of_json(&c, config, "config.json", e))
        return -1;
    add_lm(p, &c.lm);
    if (c.has_vision)
        add_vision(p, &c.vision);
    return 0;
}

static void plan_free(struct plan *p)
{
    for (int i = 0; i < p->n; i++)
        free(p->tensor[i].name);
    free(p->tensor);
}

static uint64_t plan_bytes(const struct plan *p)
{
    uint64_t nb = 0;
    for (int i = 0; i < p->n; i++)
        nb += p->tensor[i].n * dtype_size(p->dtype);
    return nb;
}

int synth_bytes(const json_t *config, const struct synth_options *o, uint64_t *out, struct err *e)
{
    struct plan p;
    if (plan(&p, config, o, e))
        return -1;
    *out = plan_bytes(&p);
    plan_free(&p);
    return 0;
}

/* ---- writing ---- */

enum { GRAIN = 1 << 16 };           /* elements a thread fills at a time */
enum { BUFFER_BYTES = 64 << 20 };   /* filled by all threads, then written at once */

struct writer {
    void *buffer;
    synth_progress_fn *progress;
    void *arg;
};

struct fill_job {
    const struct synth_rule *rule;
    enum dtype dtype;
    char *dst;
    uint64_t begin;
};

static void fill_some(void *arg, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct fill_job *j = arg;
    synth_fill(j->rule, j->dtype, j->dst + begin * dtype_size(j->dtype), j->begin + begin, end - begin);
}

/* 1 for every row, but `outlier` for about one in 640, two at least. */
static float *row_gains(const struct tensor *t)
{
    if (!(t->outlier > 1))
        return NULL;
    float *gain = xmalloc(t->shape[0], sizeof *gain);
    for (uint64_t i = 0; i < t->shape[0]; i++)
        gain[i] = 1;
    for (uint64_t k = 0; k < t->shape[0] / 640 + 2; k++)
        gain[rng_mix(t->outlier_key ^ k) % t->shape[0]] = t->outlier;
    return gain;
}

static void write_tensor(const struct plan *p, const struct tensor *t, struct st_writer *out, struct writer *w)
{
    float *gain = row_gains(t);
    const struct synth_rule rule = {.key = synth_key(p->seed, t->name), .cols = t->n / t->shape[0], .mean = t->mean,
                                    .sigma = t->sigma, .gain = gain};
    const uint64_t size = dtype_size(p->dtype), most = BUFFER_BYTES / size;
    for (uint64_t at = 0; at < t->n && !ferror(out->f); at += most) {
        const uint64_t n = t->n - at < most ? t->n - at : most;
        struct fill_job job = {&rule, p->dtype, w->buffer, at};
        parallel_for(n, GRAIN, fill_some, &job);
        st_writer_data(out, w->buffer, n * size);
        if (w->progress)
            w->progress(w->arg, (double)(n * size));
    }
    free(gain);
}

static int write_file(const struct plan *p, int begin, int end, const char *dir, const char *name, struct writer *w,
                      struct err *e)
{
    char *path = io_join(dir, name);
    struct io_out out;
    int rc = io_out_open(&out, path, e);
    free(path);
    if (rc)
        return -1;
    struct st_writer st;
    st_writer_init(&st);
    st_writer_meta(&st, "format", "pt");
    for (int i = begin; i < end; i++)
        st_writer_add(&st, p->tensor[i].name, p->dtype, p->tensor[i].rank, p->tensor[i].shape);
    st_writer_begin(&st, out.f);
    for (int i = begin; i < end && !ferror(out.f); i++)
        write_tensor(p, &p->tensor[i], &st, w);
    if (ferror(out.f))
        st.written = st.offset; /* a full disk: io_out_commit says so */
    st_writer_end(&st);
    return io_out_commit(&out, e);
}

static int write_json(const json_t *doc, const char *dir, const char *name, struct err *e)
{
    char *path = io_join(dir, name);
    struct io_out out;
    int rc = io_out_open(&out, path, e);
    free(path);
    if (rc)
        return -1;
    json_print(out.f, doc, 2);
    fputc('\n', out.f);
    return io_out_commit(&out, e);
}

/* Shards of about equal bytes, none empty, and the index. */
static int write_shards(const struct plan *p, int n, const char *dir, struct writer *w, struct err *e)
{
    json_t *map = json_object();
    const uint64_t total = plan_bytes(p);
    uint64_t nb = 0;
    int rc = 0;
    for (int s = 0, begin = 0, end = 0; s < n && !rc; s++, begin = end) {
        char name[64];
        snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", s + 1, n);
        const double limit = (double)total * (s + 1) / n;
        do {
            json_object_set_new(map, p->tensor[end].name, json_string(name));
            nb += p->tensor[end++].n * dtype_size(p->dtype);
        } while (s == n - 1 ? end < p->n : end < p->n - (n - 1 - s) && (double)nb < limit);
        rc = write_file(p, begin, end, dir, name, w, e);
    }
    json_t *doc = json_pack("{s:{s:I},s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    if (!rc)
        rc = write_json(doc, dir, "model.safetensors.index.json", e);
    json_decref(doc);
    return rc;
}

/* What an earlier run left and would be read in place of the new model, or before it is complete. */
static void remove_stale(const char *dir, const char *name)
{
    char *path = io_join(dir, name);
    unlink(path);
    free(path);
}

static int check_target(const struct plan *p, const struct synth_options *o, const char *dir, struct err *e)
{
    char *path = io_join(dir, "config.json");
    int rc = 0;
    if (o->n_shards > p->n)
        rc = err_set(e, ERR_CONFIG, "%d shards for %d tensors", o->n_shards, p->n);
    else if (!o->force && access(path, F_OK) == 0)
        rc = err_set(e, ERR_CONFIG, "'%s' holds a model already; choose another directory or give --force", dir);
    free(path);
    return rc;
}

static json_t *generation_config(const json_t *config)
{
    const json_t *text = json_object_get(config, "text_config");
    return json_pack("{s:b,s:O*,s:O*,s:s}", "_from_model_config", 1, "bos_token_id",
                     json_object_get(text, "bos_token_id"), "eos_token_id", json_object_get(text, "eos_token_id"),
                     "transformers_version", "4.57.3");
}

static int copy_tokenizer(const char *from, const char *dir, struct err *e)
{
    int n = 0;
    if (!from)
        return 0;
    if (hf_copy_tokenizer(from, dir, &n, e))
        return -1;
    return n ? 0 : err_set(e, ERR_CONFIG, "'%s' has no tokenizer files", from);
}

int synth_write(const json_t *config, const struct synth_options *o, const char *dir, synth_progress_fn *progress,
                void *arg, struct err *e)
{
    struct plan p;
    if (plan(&p, config, o, e))
        return -1;
    int rc = check_target(&p, o, dir, e) || copy_tokenizer(o->tokenizer_from, dir, e) ? -1 : 0;
    if (!rc) {
        struct writer w = {.buffer = xmalloc(BUFFER_BYTES, 1), .progress = progress, .arg = arg};
        remove_stale(dir, "config.json");
        remove_stale(dir, o->n_shards > 1 ? "model.safetensors" : "model.safetensors.index.json");
        rc = o->n_shards > 1 ? write_shards(&p, o->n_shards, dir, &w, e)
                             : write_file(&p, 0, p.n, dir, "model.safetensors", &w, e);
        free(w.buffer);
    }
    json_t *generation = generation_config(config);
    if (!rc)
        rc = write_json(generation, dir, "generation_config.json", e);
    if (!rc)
        rc = write_json(config, dir, "config.json", e);
    json_decref(generation);
    plan_free(&p);
    return rc;
}
