/* The reader of lm.json (lm.h). The file is data from disk: nothing in it is used before it is checked. */
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "lm.h"
#include "mem.h"

enum { MAX_NAME = 512, MAX_PATH = 4096, MAX_FILES = 1 << 16, MAX_VISION_UNITS = 1 << 16 };

/* A name: not empty, not absurdly long; copied into *out. */
static int get_name(const json_t *o, const char *key, const char *where, size_t max, char **out, struct err *e)
{
    const char *s;
    if (json_get_str(o, key, where, &s, e))
        return -1;
    if (!*s || strlen(s) > max)
        return err_set(e, ERR_FORMAT, "%s: '%s' must have 1 to %zu bytes", where, key, max);
    *out = xstrdup(s);
    return 0;
}

static int get_sha256(const json_t *o, const char *key, const char *where, char out[65], struct err *e)
{
    const char *s;
    if (json_get_str(o, key, where, &s, e))
        return -1;
    if (strlen(s) != 64 || strspn(s, "0123456789abcdef") != 64)
        return err_set(e, ERR_FORMAT, "%s: '%s' must be 64 lower-case hex digits", where, key);
    memcpy(out, s, 65);
    return 0;
}

static int load_config(struct lm_config *c, const json_t *doc, const char *where, struct err *e)
{
    json_t *o;
    if (json_get_object(doc, "config", where, &o, e))
        return -1;
    const struct {
        const char *key;
        int *out;
    } ints[] = {
        {"n_layers", &c->n_layers},     {"hidden_size", &c->hidden_size}, {"n_heads", &c->n_heads},
        {"n_kv_heads", &c->n_kv_heads}, {"head_dim", &c->head_dim},       {"ffn_size", &c->ffn_size},
    };
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        int64_t v;
        if (json_get_int(o, ints[i].key, where, 1, INT_MAX, &v, e))
            return -1;
        *ints[i].out = (int)v;
    }
    int tied;
    if (json_get_int(o, "vocab_size", where, 1, INT_MAX, &c->vocab_size, e) ||
        json_get_int(o, "max_positions", where, 1, INT_MAX, &c->max_positions, e) ||
        json_get_real(o, "rms_norm_eps", where, &c->rms_norm_eps, e) ||
        json_get_real(o, "rope_theta", where, &c->rope_theta, e) || json_get_bool(o, "tied", where, &tied, e))
        return -1;
    c->tied = tied;
    return lm_config_check(c, where, e);
}

static int load_files(struct lm *m, const json_t *doc, const char *where, struct err *e)
{
    json_t *list;
    if (json_get_array(doc, "files", where, &list, e))
        return -1;
    const size_t n = json_array_size(list);
    if (n < 1 || n > MAX_FILES)
        return err_set(e, ERR_FORMAT, "%s: %zu files", where, n);
    m->file = xcalloc(n, sizeof *m->file);
    for (size_t i = 0; i < n; i++) {
        struct lm_file *f = &m->file[m->n_files++];
        const json_t *o = json_array_get(list, i);
        char at[256];
        snprintf(at, sizeof at, "%s: files[%zu]", where, i);
        int64_t size, inode;
        if (get_name(o, "path", at, MAX_PATH, &f->path, e) || json_get_int(o, "size", at, 0, INT64_MAX, &size, e) ||
            json_get_int(o, "mtime_ns", at, INT64_MIN, INT64_MAX, &f->mtime_ns, e) ||
            json_get_int(o, "inode", at, INT64_MIN, INT64_MAX, &inode, e))
            return -1;
        if (f->path[0] != '/')
            return err_set(e, ERR_FORMAT, "%s: path '%.200s' is not absolute", at, f->path);
        f->size = (uint64_t)size;
        f->inode = (uint64_t)inode;
    }
    return 0;
}

static int load_shape(struct lm *m, const json_t *o, struct lm_tensor *t, const char *at, struct err *e)
{
    json_t *shape;
    uint64_t want[2];
    if (json_get_array(o, "shape", at, &shape, e))
        return -1;
    t->rank = lm_role_shape(&m->config, t->role, want);
    bool same = json_array_size(shape) == (size_t)t->rank;
    t->nb = dtype_size(t->dtype);
    for (int i = 0; i < t->rank && same; i++) {
        const json_t *d = json_array_get(shape, (size_t)i);
        same = json_is_integer(d) && (uint64_t)json_integer_value(d) == want[i];
        t->shape[i] = want[i];
        if (!mul_u64(t->nb, want[i], &t->nb))
            return err_set(e, ERR_FORMAT, "%s: shape is too large", at);
    }
    if (!same)
        return err_set(e, ERR_FORMAT, "%s: '%.200s' has another shape than config asks for", at, t->name);
    return 0;
}

static int load_tensor(struct lm *m, const json_t *o, const char *at, struct err *e)
{
    const char *role, *dtype;
    int64_t layer, file, offset;
    if (json_get_str(o, "role", at, &role, e) || json_get_int(o, "layer", at, -1, m->config.n_layers - 1, &layer, e))
        return -1;
    const enum lm_role r = lm_role_of_name(role);
    if (r == ROLE_COUNT || lm_role_in_layer(r) != (layer >= 0) || (r == ROLE_LM_HEAD && m->config.tied))
        return err_set(e, ERR_FORMAT, "%s: there is no '%.20s' in layer %d of this model", at, role, (int)layer);
    struct lm_tensor *t = &m->tensor[lm_tensor_index(&m->config, r, (int)layer)];
    if (t->name)
        return err_set(e, ERR_FORMAT, "%s: '%.20s' of layer %d is listed twice", at, role, (int)layer);
    t->role = r;
    t->layer = (int)layer;
    if (get_name(o, "name", at, MAX_NAME, &t->name, e) ||
        json_get_int(o, "file", at, 0, m->n_files - 1, &file, e) ||
        json_get_int(o, "offset", at, 0, INT64_MAX, &offset, e) || json_get_str(o, "dtype", at, &dtype, e))
        return -1;
    t->file = (int)file;
    t->offset = (uint64_t)offset;
    t->dtype = dtype_of_name(dtype);
    if (t->dtype != DT_BF16 && t->dtype != DT_F16 && t->dtype != DT_F32)
        return err_set(e, ERR_FORMAT, "%s: dtype '%.20s' is not BF16, F16 or F32", at, dtype);
    if (load_shape(m, o, t, at, e) || get_sha256(o, "sha256", at, t->sha256, e))
        return -1;
    const uint64_t size = m->file[file].size;
    if (t->nb > size || t->offset > size - t->nb)
        return err_at(e, ERR_FORMAT, t->offset, "%s: '%.200s' ends after the %" PRIu64 " bytes of its file", at,
                      t->name, size);
    return 0;
}

static int load_tensors(struct lm *m, const json_t *doc, const char *where, struct err *e)
{
    json_t *list;
    if (json_get_array(doc, "tensors", where, &list, e))
        return -1;
    m->n_tensors = lm_tensor_count(&m->config);
    m->tensor = xcalloc((size_t)m->n_tensors, sizeof *m->tensor);
    if (json_array_size(list) != (size_t)m->n_tensors)
        return err_set(e, ERR_FORMAT, "%s: %zu tensors, a model of %d layers has %d", where, json_array_size(list),
                       m->config.n_layers, m->n_tensors);
    for (int i = 0; i < m->n_tensors; i++) { /* as many as slots, none twice: every slot is filled */
        char at[256];
        snprintf(at, sizeof at, "%s: tensors[%d]", where, i);
        if (load_tensor(m, json_array_get(list, (size_t)i), at, e))
            return -1;
    }
    return 0;
}

static int load_unit(struct lm *m, int i, int n_vision, const json_t *o, const char *at, const char **group,
                     struct err *e)
{
    struct lm_unit *u = &m->unit[i];
    const char *part, *role;
    int64_t weights, layer;
    if (get_name(o, "name", at, MAX_NAME, &u->name, e) || json_get_str(o, "part", at, &part, e) ||
        get_name(o, "module_type", at, MAX_NAME, &u->module_type, e) ||
        json_get_int(o, "weights", at, 1, INT64_MAX, &weights, e) || json_get_str(o, "group", at, group, e))
        return -1;
    u->weights = (uint64_t)weights;
    u->layer = -1;
    u->role = ROLE_COUNT;
    u->is_lm = i >= n_vision;
    if (strcmp(part, u->is_lm ? "lm" : "vision"))
        return err_set(e, ERR_FORMAT, "%s: part is '%.20s', a '%s' unit is due here", at, part,
                       u->is_lm ? "lm" : "vision");
    if (!u->is_lm)
        return 0;
    lm_unit_at(&m->config, i - n_vision, &u->role, &u->layer);
    uint64_t shape[2];
    lm_role_shape(&m->config, u->role, shape);
    if (json_get_str(o, "role", at, &role, e) || json_get_int(o, "layer", at, -1, INT_MAX, &layer, e))
        return -1;
    if (strcmp(role, lm_role_name(u->role)) || layer != u->layer)
        return err_set(e, ERR_FORMAT, "%s: '%.20s' of layer %d, due here is '%s' of layer %d", at, role, (int)layer,
                       lm_role_name(u->role), u->layer);
    if (u->weights != shape[0] * shape[1])
        return err_set(e, ERR_FORMAT, "%s: '%.200s' has %" PRIu64 " weights, its shape has %" PRIu64, at, u->name,
                       u->weights, shape[0] * shape[1]);
    return 0;
}

static int check_unique(const struct lm *m, const char *where, struct err *e)
{
    const char **name = xmalloc((size_t)m->n_units, sizeof *name);
    int rc = 0;
    for (int i = 0; i < m->n_units; i++)
        name[i] = m->unit[i].name;
    qsort(name, (size_t)m->n_units, sizeof *name, by_string);
    for (int i = 1; i < m->n_units && !rc; i++)
        if (!strcmp(name[i - 1], name[i]))
            rc = err_set(e, ERR_FORMAT, "%s: unit '%.200s' is listed twice", where, name[i]);
    free(name);
    return rc;
}

static int load_units(struct lm *m, const json_t *doc, const char *where, struct err *e)
{
    json_t *list;
    if (json_get_array(doc, "units", where, &list, e))
        return -1;
    const int n_lm = lm_unit_count(&m->config);
    const size_t n = json_array_size(list);
    if (n < (size_t)n_lm || n - (size_t)n_lm > MAX_VISION_UNITS)
        return err_set(e, ERR_FORMAT, "%s: %zu units, a model of %d layers has %d and those of its vision tower", where,
                       n, m->config.n_layers, n_lm);
    m->unit = xcalloc(n, sizeof *m->unit);
    m->n_units = (int)n;
    const char **group = xcalloc(n, sizeof *group);
    int rc = 0;
    for (int i = 0; i < m->n_units && !rc; i++) {
        char at[256];
        snprintf(at, sizeof at, "%s: units[%d]", where, i);
        rc = load_unit(m, i, (int)n - n_lm, json_array_get(list, (size_t)i), at, &group[i], e);
    }
    if (!rc)
        rc = check_unique(m, where, e);
    if (!rc)
        rc = lm_group_units(m, group, where, e);
    free(group);
    return rc;
}

static int load(struct lm *m, const json_t *doc, const char *where, struct err *e)
{
    const char *format;
    int64_t version;
    json_t *model;
    if (json_get_str(doc, "format", where, &format, e))
        return -1;
    if (strcmp(format, "qsens-lm"))
        return err_set(e, ERR_FORMAT, "%s: format is '%.40s', expected 'qsens-lm' (made by extract-lm)", where, format);
    if (json_get_int(doc, "version", where, 1, 1, &version, e) || json_get_object(doc, "model", where, &model, e) ||
        get_name(model, "name", where, MAX_NAME, &m->name, e) ||
        get_name(model, "path", where, MAX_PATH, &m->path, e) ||
        get_name(model, "architecture", where, MAX_NAME, &m->architecture, e) ||
        load_config(&m->config, doc, where, e) || load_files(m, doc, where, e) || load_tensors(m, doc, where, e) ||
        load_units(m, doc, where, e) || get_sha256(doc, "weights_sha256", where, m->weights_sha256, e))
        return -1;
    char identity[65];
    lm_identity(m, identity);
    if (strcmp(identity, m->weights_sha256))
        return err_set(e, ERR_FORMAT, "%s: weights_sha256 does not follow from the tensors; run extract-lm again",
                       where);
    return 0;
}

static int load_doc(struct lm *m, json_t *doc, const char *name, struct err *e)
{
    *m = (struct lm){0};
    if (!doc)
        return -1;
    char *where = xasprintf("'%.180s'", name);
    const int rc = load(m, doc, where, e);
    free(where);
    json_decref(doc);
    if (rc)
        lm_free(m);
    return rc;
}

int lm_load(struct lm *m, const char *path, struct err *e)
{
    return load_doc(m, json_load(path, JSON_LIMIT_DOCUMENT, e), path, e);
}

int lm_parse(struct lm *m, const char *data, size_t size, const char *name, struct err *e)
{
    return load_doc(m, json_parse(data, size, name, e), name, e);
}
