#include "lm_materialize.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hf_config.h"
#include "io.h"
#include "json.h"
#include "mem.h"

/* DIR is new, empty or an earlier result of ours. */
static int check_target(const char *dir, struct err *e)
{
    char *path = io_join(dir, "config.json");
    int rc = 0;
    if (access(path, F_OK) == 0) {
        json_t *doc = json_load(path, JSON_LIMIT_CONFIG, e);
        const char *type = json_string_value(json_object_get(doc, "model_type"));
        if (!type || strcmp(type, "qwen3"))
            rc = err_set(e, ERR_CONFIG, "'%s' holds another model; give a directory of its own to --materialize", dir);
        json_decref(doc);
    }
    free(path);
    return rc;
}

static int write_weights(const struct lm *m, const struct checkpoint *c, const char *dir, struct err *e)
{
    char *path = io_join(dir, "model.safetensors");
    struct io_out out;
    int rc = io_out_open(&out, path, e);
    free(path);
    if (rc)
        return -1;
    struct st_writer w;
    st_writer_init(&w);
    st_writer_meta(&w, "format", "pt");
    for (int i = 0; i < m->n_tensors; i++) {
        const struct lm_tensor *t = &m->tensor[i];
        char *module = lm_module_name(LM_PREFIX_QWEN3, t->role, t->layer), *name = xasprintf("%s.weight", module);
        st_writer_add(&w, name, t->dtype, t->rank, t->shape);
        free(module);
        free(name);
    }
    st_writer_begin(&w, out.f);
    for (int i = 0; i < m->n_tensors && !ferror(out.f); i++)
        st_writer_data(&w, c->file[m->tensor[i].file].map.data + m->tensor[i].offset, m->tensor[i].nb);
    if (ferror(out.f))
        w.written = w.offset; /* a full disk: io_out_commit says so */
    st_writer_end(&w);
    return io_out_commit(&out, e);
}

/* Token ids that generation needs stand in text_config of the source. */
static void copy_key(json_t *to, const json_t *from, const char *key)
{
    json_t *v = json_object_get(from, key);
    if (v)
        json_object_set(to, key, v);
}

static json_t *config_json(const struct lm *m, const json_t *text)
{
    static const char *const torch_name[DT_COUNT] = {
        [DT_BF16] = "bfloat16", [DT_F16] = "float16", [DT_F32] = "float32"};
    const struct lm_config *c = &m->config;
    json_t *o = json_object();
    json_object_set_new(o, "architectures", json_pack("[s]", "Qwen3ForCausalLM"));
    json_object_set_new(o, "attention_bias", json_false());
    json_object_set_new(o, "attention_dropout", json_real(0));
    copy_key(o, text, "bos_token_id");
    json_object_set_new(o, "dtype", json_string(torch_name[m->tensor[0].dtype]));
    copy_key(o, text, "eos_token_id");
    json_object_set_new(o, "head_dim", json_integer(c->head_dim));
    json_object_set_new(o, "hidden_act", json_string("silu"));
    json_object_set_new(o, "hidden_size", json_integer(c->hidden_size));
    json_object_set_new(o, "intermediate_size", json_integer(c->ffn_size));
    json_object_set_new(o, "max_position_embeddings", json_integer(c->max_positions));
    json_object_set_new(o, "model_type", json_string("qwen3"));
    json_object_set_new(o, "num_attention_heads", json_integer(c->n_heads));
    json_object_set_new(o, "num_hidden_layers", json_integer(c->n_layers));
    json_object_set_new(o, "num_key_value_heads", json_integer(c->n_kv_heads));
    json_object_set_new(o, "rms_norm_eps", json_real(c->rms_norm_eps));
    json_object_set_new(o, "rope_scaling", json_null());
    json_object_set_new(o, "rope_theta", json_real(c->rope_theta));
    json_object_set_new(o, "tie_word_embeddings", json_boolean(c->tied));
    json_object_set_new(o, "use_cache", json_true());
    json_object_set_new(o, "use_sliding_window", json_false());
    json_object_set_new(o, "vocab_size", json_integer(c->vocab_size));
    return o;
}

static int write_config(const struct lm *m, const struct checkpoint *c, const char *dir, struct err *e)
{
    char *source = io_join(c->dir, "config.json"), *path = io_join(dir, "config.json");
    json_t *doc = json_load(source, JSON_LIMIT_CONFIG, e);
    struct io_out out;
    int rc = doc ? io_out_open(&out, path, e) : -1;
    if (!rc) {
        json_t *o = config_json(m, json_object_get(doc, "text_config"));
        json_print(out.f, o, 2);
        fputc('\n', out.f);
        json_decref(o);
        rc = io_out_commit(&out, e);
    }
    json_decref(doc);
    free(source);
    free(path);
    return rc;
}

int lm_materialize(const struct lm *m, const struct checkpoint *c, const char *dir, struct err *e)
{
    int n;
    return check_target(dir, e) || write_weights(m, c, dir, e) || hf_copy_tokenizer(c->dir, dir, &n, e) ||
                   write_config(m, c, dir, e)
               ? -1
               : 0;
}
