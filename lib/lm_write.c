#include "lm_write.h"

#include "json.h"

static void set(json_t *o, const char *key, json_t *value)
{
    if (json_object_set_new(o, key, value))
        BUG("'%s' is not UTF-8", key);
}

static json_t *integer(uint64_t v)
{
    return json_integer((json_int_t)v);
}

static json_t *config_json(const struct lm_config *c)
{
    json_t *o = json_object();
    set(o, "n_layers", json_integer(c->n_layers));
    set(o, "hidden_size", json_integer(c->hidden_size));
    set(o, "n_heads", json_integer(c->n_heads));
    set(o, "n_kv_heads", json_integer(c->n_kv_heads));
    set(o, "head_dim", json_integer(c->head_dim));
    set(o, "ffn_size", json_integer(c->ffn_size));
    set(o, "vocab_size", json_integer(c->vocab_size));
    set(o, "rms_norm_eps", json_real(c->rms_norm_eps));
    set(o, "rope_theta", json_real(c->rope_theta));
    set(o, "max_positions", json_integer(c->max_positions));
    set(o, "tied", json_boolean(c->tied));
    return o;
}

static json_t *file_json(const struct lm_file *f)
{
    json_t *o = json_object();
    set(o, "path", json_string(f->path));
    set(o, "size", integer(f->size));
    set(o, "mtime_ns", json_integer(f->mtime_ns));
    set(o, "inode", integer(f->inode));
    return o;
}

static json_t *tensor_json(const struct lm_tensor *t)
{
    json_t *o = json_object(), *shape = json_array();
    for (int i = 0; i < t->rank; i++)
        json_array_append_new(shape, integer(t->shape[i]));
    set(o, "name", json_string(t->name));
    set(o, "role", json_string(lm_role_name(t->role)));
    set(o, "layer", json_integer(t->layer));
    set(o, "file", json_integer(t->file));
    set(o, "offset", integer(t->offset));
    set(o, "dtype", json_string(dtype_name(t->dtype)));
    set(o, "shape", shape);
    set(o, "sha256", json_string(t->sha256));
    return o;
}

static json_t *unit_json(const struct lm *m, const struct lm_unit *u)
{
    json_t *o = json_object();
    set(o, "name", json_string(u->name));
    set(o, "part", json_string(u->is_lm ? "lm" : "vision"));
    set(o, "module_type", json_string(u->module_type));
    set(o, "weights", integer(u->weights));
    set(o, "group", json_string(m->group[u->group].name));
    if (u->is_lm) {
        set(o, "role", json_string(lm_role_name(u->role)));
        set(o, "layer", json_integer(u->layer));
    }
    return o;
}

void lm_write(struct lm *m, FILE *f)
{
    json_t *doc = json_object(), *model = json_object(), *files = json_array(), *tensors = json_array(),
           *units = json_array();
    set(model, "name", json_string(m->name));
    set(model, "path", json_string(m->path));
    set(model, "architecture", json_string(m->architecture));
    for (int i = 0; i < m->n_files; i++)
        json_array_append_new(files, file_json(&m->file[i]));
    for (int i = 0; i < m->n_tensors; i++)
        json_array_append_new(tensors, tensor_json(&m->tensor[i]));
    for (int i = 0; i < m->n_units; i++)
        json_array_append_new(units, unit_json(m, &m->unit[i]));
    lm_identity(m, m->weights_sha256);
    set(doc, "format", json_string("qsens-lm"));
    set(doc, "version", json_integer(1));
    set(doc, "model", model);
    set(doc, "config", config_json(&m->config));
    set(doc, "files", files);
    set(doc, "tensors", tensors);
    set(doc, "units", units);
    set(doc, "weights_sha256", json_string(m->weights_sha256));
    json_print(f, doc, 1);
    fputc('\n', f);
    json_decref(doc);
}
