#include "lm_extract.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "parallel.h"
#include "sha256.h"

/* ---- tensors ---- */

static void print_shape(char *buf, size_t n, int rank, const uint64_t *shape)
{
    size_t at = (size_t)snprintf(buf, n, "[");
    for (int i = 0; i < rank && at < n; i++)
        at += (size_t)snprintf(buf + at, n - at, i ? ", %" PRIu64 : "%" PRIu64, shape[i]);
    if (at < n)
        snprintf(buf + at, n - at, "]");
}

/* The tensor of that name with that shape. */
static const struct checkpoint_tensor *need(const struct checkpoint *c, const char *name, int rank,
                                            const uint64_t *shape, struct err *e)
{
    const struct checkpoint_tensor *t = checkpoint_find(c, name);
    if (!t) {
        err_set(e, ERR_FORMAT, "'%s': tensor '%s' is missing, config.json asks for it", c->dir, name);
        return NULL;
    }
    bool same = t->st->rank == rank;
    for (int i = 0; i < rank && same; i++)
        same = t->st->shape[i] == shape[i];
    if (!same) {
        char got[200], want[200];
        print_shape(got, sizeof got, t->st->rank, t->st->shape);
        print_shape(want, sizeof want, rank, shape);
        err_at(e, ERR_FORMAT, t->st->offset, "'%s': tensor '%s' is %s, config.json asks for %s", c->info[t->file].path,
               name, got, want);
        return NULL;
    }
    return t;
}

static int bind_tensor(struct lm *m, int i, const struct checkpoint *c, struct err *e)
{
    struct lm_tensor *t = &m->tensor[i];
    lm_tensor_at(&m->config, i, &t->role, &t->layer);
    char *module = lm_module_name(LM_PREFIX_QWEN3_VL, t->role, t->layer);
    t->name = xasprintf("%s.weight", module);
    free(module);
    t->rank = lm_role_shape(&m->config, t->role, t->shape);
    const struct checkpoint_tensor *found = need(c, t->name, t->rank, t->shape, e);
    if (!found)
        return -1;
    t->file = found->file;
    t->offset = found->st->offset;
    t->nb = found->st->nb;
    t->dtype = found->st->dtype;
    if (t->dtype != DT_BF16 && t->dtype != DT_F16 && t->dtype != DT_F32)
        return err_at(e, ERR_FORMAT, t->offset, "'%s': tensor '%s' is %s, supported are BF16, F16 and F32",
                      m->file[t->file].path, t->name, dtype_name(t->dtype));
    return 0;
}

static bool ends_with(const char *s, const char *tail)
{
    const size_t n = strlen(s), k = strlen(tail);
    return n >= k && !strcmp(s + n - k, tail);
}

/* A bias or one more layer would change the model's output: a tensor that nobody asks for is no detail. Frequency
 * tables, which some writers store, follow from config. */
static int refuse_strangers(const struct lm *m, const struct checkpoint *c, struct err *e)
{
    const char **known = xmalloc((size_t)m->n_tensors, sizeof *known);
    for (int i = 0; i < m->n_tensors; i++)
        known[i] = m->tensor[i].name;
    qsort(known, (size_t)m->n_tensors, sizeof *known, by_string);
    int rc = 0;
    for (size_t i = 0; i < c->n && !rc; i++) {
        const char *name = c->tensor[i].name;
        const bool in_lm = !strncmp(name, LM_PREFIX_QWEN3_VL, strlen(LM_PREFIX_QWEN3_VL)) ||
                           (!strncmp(name, "lm_head.", 8) && strcmp(name, "lm_head.weight"));
        if (in_lm && !ends_with(name, "rotary_emb.inv_freq") &&
            !bsearch(&name, known, (size_t)m->n_tensors, sizeof *known, by_string))
            rc = err_set(e, ERR_FORMAT, "'%s': tensor '%.200s' has no place in the model that config.json describes",
                         c->info[c->tensor[i].file].path, name);
    }
    free(known);
    return rc;
}

static int bind_tensors(struct lm *m, const struct checkpoint *c, struct err *e)
{
    m->n_files = c->n_files;
    m->file = xcalloc((size_t)c->n_files, sizeof *m->file);
    for (int i = 0; i < c->n_files; i++) {
        m->file[i] = c->info[i];
        m->file[i].path = xstrdup(c->info[i].path);
    }
    m->n_tensors = lm_tensor_count(&m->config);
    m->tensor = xcalloc((size_t)m->n_tensors, sizeof *m->tensor);
    for (int i = 0; i < m->n_tensors; i++)
        if (bind_tensor(m, i, c, e))
            return -1;
    return refuse_strangers(m, c, e);
}

/* ---- units ---- */

static bool has_vision_tensors(const struct checkpoint *c)
{
    for (size_t i = 0; i < c->n; i++)
        if (!strncmp(c->tensor[i].name, VISION_PREFIX, strlen(VISION_PREFIX)))
            return true;
    return false;
}

/* Append the quantizable layers of the vision tower, each found in the checkpoint. */
static int add_vision_units(struct lm *m, const struct vision_tensor *t, int n, const struct checkpoint *c,
                            struct err *e)
{
    for (int i = 0; i < n; i++) {
        if (t[i].kind != VISION_LINEAR && t[i].kind != VISION_CONV3D)
            continue;
        char *name = xasprintf("%s.weight", t[i].module);
        const bool found = need(c, name, t[i].rank, t[i].shape, e) != NULL;
        free(name);
        if (!found)
            return err_wrap(e, "the vision tower is incomplete");
        m->unit[m->n_units++] = (struct lm_unit){
            .name = xstrdup(t[i].module),
            .module_type = xstrdup(t[i].kind == VISION_CONV3D ? "QuantConv3d" : "QuantLinear"),
            .weights = t[i].n,
            .role = ROLE_COUNT,
            .layer = -1,
        };
    }
    return 0;
}

static void add_lm_units(struct lm *m)
{
    const int n = lm_unit_count(&m->config);
    for (int i = 0; i < n; i++) {
        struct lm_unit *u = &m->unit[m->n_units++];
        uint64_t shape[2];
        lm_unit_at(&m->config, i, &u->role, &u->layer);
        lm_role_shape(&m->config, u->role, shape);
        u->name = lm_module_name(LM_PREFIX_QWEN3_VL, u->role, u->layer);
        u->module_type = xstrdup("QuantLinear");
        u->is_lm = true;
        u->weights = shape[0] * shape[1];
    }
}

static int add_groups(struct lm *m, struct err *e)
{
    const char **group = xmalloc((size_t)m->n_units, sizeof *group);
    for (int i = 0; i < m->n_units; i++) {
        const struct lm_unit *u = &m->unit[i];
        group[i] = m->unit[u->is_lm ? lm_unit_of(m, lm_role_lead(u->role), u->layer) : i].name;
    }
    const int rc = lm_group_units(m, group, m->name, e);
    free(group);
    return rc;
}

static int add_units(struct lm *m, const struct hf_config *config, const struct checkpoint *c, struct err *e)
{
    struct vision_tensor *vision = NULL;
    int n = 0, rc = 0;
    if (has_vision_tensors(c)) {
        if (!config->has_vision)
            return err_set(e, ERR_FORMAT, "'%s' has tensors of a vision tower, but config.json has no vision_config",
                           c->dir);
        vision_tensors(&config->vision, &vision, &n);
    }
    m->unit = xcalloc((size_t)n + (size_t)lm_unit_count(&m->config), sizeof *m->unit);
    rc = add_vision_units(m, vision, n, c, e);
    vision_free(vision, n);
    if (rc)
        return -1;
    add_lm_units(m);
    return add_groups(m, e);
}

/* The last component of the real path: "DIR/." and "DIR/" are DIR. */
static char *base_name(const char *dir)
{
    const char *slash = strrchr(dir, '/');
    return xstrdup(slash && slash[1] ? slash + 1 : dir);
}

int lm_extract(struct lm *m, const struct hf_config *config, const struct checkpoint *c, const char *path,
               struct err *e)
{
    *m = (struct lm){.name = base_name(c->dir), .path = xstrdup(path), .architecture = xstrdup(config->architecture),
                     .config = config->lm};
    if (config->tie == HF_TIE_UNSAID)
        m->config.tied = !checkpoint_find(c, "lm_head.weight");
    if (bind_tensors(m, c, e) || add_units(m, config, c, e)) {
        lm_free(m);
        return -1;
    }
    return 0;
}

/* ---- hashes ---- */

static bool same_file(const struct lm_file *a, const struct lm_file *b)
{
    return a->size == b->size && a->inode == b->inode && a->mtime_ns == b->mtime_ns && !strcmp(a->path, b->path);
}

void lm_reuse_hashes(struct lm *m, const struct lm *old)
{
    if (m->n_tensors != old->n_tensors)
        return;
    for (int i = 0; i < m->n_tensors; i++) { /* both in canonical order */
        struct lm_tensor *t = &m->tensor[i];
        const struct lm_tensor *o = &old->tensor[i];
        if (t->offset == o->offset && t->nb == o->nb && t->dtype == o->dtype && !strcmp(t->name, o->name) &&
            same_file(&m->file[t->file], &old->file[o->file]))
            memcpy(t->sha256, o->sha256, sizeof t->sha256);
    }
}

uint64_t lm_unhashed_bytes(const struct lm *m)
{
    uint64_t n = 0;
    for (int i = 0; i < m->n_tensors; i++)
        n += m->tensor[i].sha256[0] ? 0 : m->tensor[i].nb;
    return n;
}

/* Largest magnitude bits of n elements: a value is NaN or infinite exactly where they reach `limit`. Loads are copies
 * because a tensor may lie at any byte of its file. */
static bool all_finite_16(const unsigned char *p, size_t n, uint16_t limit)
{
    uint16_t most = 0;
    for (size_t i = 0; i < n; i++) {
        uint16_t u;
        memcpy(&u, p + 2 * i, 2);
        u &= 0x7fff;
        most = u > most ? u : most;
    }
    return most < limit;
}

static bool all_finite_32(const unsigned char *p, size_t n)
{
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, p + 4 * i, 4);
        u &= 0x7fffffff;
        most = u > most ? u : most;
    }
    return most < 0x7f800000;
}

static bool all_finite(enum dtype t, const unsigned char *p, size_t n)
{
    return t == DT_F32 ? all_finite_32(p, n) : all_finite_16(p, n, t == DT_BF16 ? 0x7f80 : 0x7c00);
}

struct hash_task {
    int tensor;
    uint64_t nb;
};

struct hash_job {
    struct lm *m;
    const struct checkpoint *c;
    struct hash_task *task; /* largest first: the threads end together */
    uint64_t *bad;     /* per tensor: 1 + its first element that is not finite, or 0 */
    atomic_size_t read; /* bytes not reported yet */
    lm_progress_fn *progress;
    void *arg;
};

static void hash_one(struct hash_job *j, int i, int thread)
{
    enum { PIECE = 1 << 18 }; /* hashed and scanned while it is in the cache; a multiple of every element size */
    struct lm_tensor *t = &j->m->tensor[i];
    const unsigned char *p = j->c->file[t->file].map.data + t->offset;
    struct sha256 s;
    sha256_init(&s);
    for (size_t at = 0; at < t->nb; at += PIECE) {
        const size_t nb = t->nb - at < PIECE ? t->nb - at : PIECE, size = dtype_size(t->dtype);
        if (!all_finite(t->dtype, p + at, nb / size)) {
            size_t k = 0;
            while (all_finite(t->dtype, p + at + k * size, 1))
                k++;
            j->bad[i] = 1 + at / size + k;
            return;
        }
        sha256_add(&s, p + at, nb);
        atomic_fetch_add(&j->read, nb);
        if (thread == 0 && j->progress)
            j->progress(j->arg, (double)atomic_exchange(&j->read, 0));
    }
    sha256_hex(&s, t->sha256);
}

static void hash_some(void *arg, size_t begin, size_t end, int thread)
{
    struct hash_job *j = arg;
    for (size_t i = begin; i < end; i++)
        hash_one(j, j->task[i].tensor, thread);
}

static int by_size(const void *a, const void *b)
{
    const struct hash_task *x = a, *y = b;
    return x->nb != y->nb ? (x->nb < y->nb) - (x->nb > y->nb) : x->tensor - y->tensor;
}

int lm_hash(struct lm *m, const struct checkpoint *c, lm_progress_fn *progress, void *arg, struct err *e)
{
    struct hash_job j = {.m = m, .c = c, .progress = progress, .arg = arg};
    size_t n = 0;
    j.task = xmalloc((size_t)m->n_tensors, sizeof *j.task);
    j.bad = xcalloc((size_t)m->n_tensors, sizeof *j.bad);
    for (int i = 0; i < m->n_tensors; i++)
        if (!m->tensor[i].sha256[0])
            j.task[n++] = (struct hash_task){i, m->tensor[i].nb};
    qsort(j.task, n, sizeof *j.task, by_size);
    parallel_for(n, 1, hash_some, &j);
    int rc = 0;
    for (int i = 0; i < m->n_tensors && !rc; i++)
        if (j.bad[i])
            rc = err_at(e, ERR_FORMAT, m->tensor[i].offset, "'%s': tensor '%s' is NaN or infinite at element %" PRIu64,
                        m->file[m->tensor[i].file].path, m->tensor[i].name, j.bad[i] - 1);
    free(j.task);
    free(j.bad);
    return rc ? rc : checkpoint_unchanged(c, e);
}
