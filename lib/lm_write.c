#include "lm_write.h"

#include "json.h"

static json_t *integer(uint64_t v)
{
    return json_integer((json_int_t)v);
}

static json_t *config_json(const struct lm_config *c)
{
    json_t *o = json_object();
    json_set(o, "n_layers", json_integer(c->n_layers));
    json_set(o, "hidden_size", json_integer(c->hidden_size));
    json_set(o, "n_heads", json_integer(c->n_heads));
    json_set(o, "n_kv_heads", json_integer(c->n_kv_heads));
    json_set(o, "head_dim", json_integer(c->head_dim));
    json_set(o, "ffn_size", json_integer(c->ffn_size));
    json_set(o, "vocab_size", json_integer(c->vocab_size));
    json_set(o, "rms_norm_eps", json_real(c->rms_norm_eps));
    json_set(o, "rope_theta", json_real(c->rope_theta));
    json_set(o, "max_positions", json_integer(c->max_positions));
    json_set(o, "tied", json_boolean(c->tied));
    return o;
}

static json_t *file_json(const struct lm_file *f)
{
    json_t *o = json_object();
    json_set(o, "path", json_string(f->path));
    json_set(o, "size", integer(f->size));
    json_set(o, "mtime_ns", json_integer(f->mtime_ns));
    json_set(o, "inode", integer(f->inode));
    return o;
}

static json_t *tensor_json(const struct lm_tensor *t)
{
    json_t *o = json_object(), *shape = json_array();
    for (int i = 0; i < t->rank; i++)
        json_array_append_new(shape, integer(t->shape[i]));
    json_set(o, "name", json_string(t->name));
    json_set(o, "role", json_string(lm_role_name(t->role)));
    json_set(o, "layer", json_integer(t->layer));
    json_set(o, "file", json_integer(t->file));
    json_set(o, "offset", integer(t->offset));
    json_set(o, "dtype", json_string(dtype_name(t->dtype)));
    json_set(o, "shape", shape);
    json_set(o, "sha256", json_string(t->sha256));
    return o;
}

static json_t *unit_json(const struct lm *m, const struct lm_unit *u)
{
    json_t *o = json_object();
    json_set(o, "name", json_string(u->name));
    json_set(o, "part", json_string(u->is_lm ? "lm" : "vision"));
    json_set(o, "module_type", json_string(u->module_type));
    json_set(o, "weights", integer(u->weights));
    json_set(o, "group", json_string(m->group[u->group].name));
    if (u->is_lm) {
        json_set(o, "role", json_string(lm_role_name(u->role)));
        json_set(o, "layer", json_integer(u->layer));
    }
    return o;
}

void lm_write(struct lm *m, FILE *f)
{
    json_t *doc = json_object(), *model = json_object(), *files = json_array(), *tensors = json_array(),
           *units = json_array();
    json_set(model, "name", json_string(m->name));
    json_set(model, "path", json_string(m->path));
    json_set(model, "architecture", json_string(m->architecture));
    for (int i = 0; i < m->n_files; i++)
        json_array_append_new(files, file_json(&m->file[i]));
    for (int i = 0; i < m->n_tensors; i++)
        json_array_append_new(tensors, tensor_json(&m->tensor[i]));
    for (int i = 0; i < m->n_units; i++)
        json_array_append_new(units, unit_json(m, &m->unit[i]));
    lm_identity(m, m->weights_sha256);
    json_set(doc, "format", json_string("qsens-lm"));
    json_set(doc, "version", json_integer(1));
    json_set(doc, "model", model);
    json_set(doc, "config", config_json(&m->config));
    json_set(doc, "files", files);
    json_set(doc, "tensors", tensors);
    json_set(doc, "units", units);
    json_set(doc, "weights_sha256", json_string(m->weights_sha256));
    json_print(f, doc, 1);
    fputc('\n', f);
    json_decref(doc);
}
