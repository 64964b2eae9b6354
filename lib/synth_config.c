/* config.json of a synthetic model (synth.h). */
#include <stdlib.h>
#include <string.h>

#include "hf_config.h"
#include "json.h"
#include "mem.h"
#include "synth.h"

static const struct size {
    const char *name;
    int hidden, layers, heads, kv_heads, head_dim, ffn, vocab, positions;
    bool tied;
    int vision_depth, vision_hidden, vision_heads, vision_ffn, vision_positions, deepstack[3], n_deepstack;
} sizes[] = {
    {"tiny", 128, 6, 4, 2, 32, 384, 2112, 4096, true, 2, 64, 4, 160, 64, {0, 1}, 2},
    {"0.3b", 1024, 16, 16, 8, 128, 3072, 32768, 32768, true, 6, 384, 6, 1536, 256, {1, 3, 5}, 3},
    {"2b", 2048, 28, 16, 8, 128, 6144, 151936, 262144, true, 24, 1024, 16, 4096, 2304, {5, 11, 17}, 3},
    {"4b", 2560, 36, 32, 8, 128, 9728, 151936, 262144, true, 24, 1024, 16, 4096, 2304, {5, 11, 17}, 3},
    {"8b", 4096, 36, 32, 8, 128, 12288, 151936, 262144, false, 27, 1152, 16, 4304, 2304, {8, 16, 24}, 3},
    {"32b", 5120, 64, 64, 8, 128, 25600, 151936, 262144, false, 27, 1152, 16, 4304, 2304, {8, 16, 24}, 3},
};

const char *synth_sizes(void)
{
    static char text[128];
    text[0] = 0;
    for (size_t i = 0, at = 0; i < sizeof sizes / sizeof *sizes && at < sizeof text; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", i ? ", " : "", sizes[i].name);
    return text;
}

static void set_int(json_t *o, const char *key, json_int_t v)
{
    json_object_set_new(o, key, json_integer(v));
}

static void set_str(json_t *o, const char *key, const char *v)
{
    json_object_set_new(o, key, json_string(v));
}

/* Ids of the special tokens: of the bundled tokenizer where the vocabulary is too small for Qwen's. */
static int special_id(const struct size *s, int qwen, int bundled)
{
    return s->vocab > qwen ? qwen : bundled;
}

static json_t *text_config(const struct size *s)
{
    json_t *o = json_object();
    json_object_set_new(o, "attention_bias", json_false());
    json_object_set_new(o, "attention_dropout", json_real(0));
    set_int(o, "bos_token_id", special_id(s, 151643, 2040));
    set_int(o, "eos_token_id", special_id(s, 151645, 2042));
    set_int(o, "head_dim", s->head_dim);
    set_str(o, "hidden_act", "silu");
    set_int(o, "hidden_size", s->hidden);
    json_object_set_new(o, "initializer_range", json_real(0.02));
    set_int(o, "intermediate_size", s->ffn);
    set_int(o, "max_position_embeddings", s->positions);
    set_str(o, "model_type", "qwen3_vl_text");
    set_int(o, "num_attention_heads", s->heads);
    set_int(o, "num_hidden_layers", s->layers);
    set_int(o, "num_key_value_heads", s->kv_heads);
    json_object_set_new(o, "rms_norm_eps", json_real(1e-6));
    json_object_set_new(o, "rope_scaling",
                        json_pack("{s:b,s:n,s:s}", "mrope_interleaved", 1, "mrope_section", "rope_type", "default"));
    json_object_set_new(o, "rope_theta", json_real(5e6));
    json_object_set_new(o, "tie_word_embeddings", json_boolean(s->tied));
    json_object_set_new(o, "use_cache", json_true());
    set_int(o, "vocab_size", s->vocab);
    return o;
}

static json_t *vision_config(const struct size *s)
{
    json_t *o = json_object(), *deepstack = json_array();
    for (int i = 0; i < s->n_deepstack; i++)
        json_array_append_new(deepstack, json_integer(s->deepstack[i]));
    json_object_set_new(o, "deepstack_visual_indexes", deepstack);
    set_int(o, "depth", s->vision_depth);
    set_str(o, "hidden_act", "gelu_pytorch_tanh");
    set_int(o, "hidden_size", s->vision_hidden);
    set_int(o, "in_channels", 3);
    json_object_set_new(o, "initializer_range", json_real(0.02));
    set_int(o, "intermediate_size", s->vision_ffn);
    set_str(o, "model_type", "qwen3_vl");
    set_int(o, "num_heads", s->vision_heads);
    set_int(o, "num_position_embeddings", s->vision_positions);
    json_object_set_new(o, "out_hidden_size", json_null());
    set_int(o, "patch_size", 16);
    set_int(o, "spatial_merge_size", 2);
    set_int(o, "temporal_patch_size", 2);
    return o;
}

static json_t *base_config(const struct size *s, enum dtype dtype)
{
    json_t *o = json_object();
    json_object_set_new(o, "architectures", json_pack("[s]", "Qwen3VLForConditionalGeneration"));
    set_str(o, "dtype", dtype == DT_F32 ? "float32" : dtype == DT_F16 ? "float16" : "bfloat16");
    set_int(o, "image_token_id", special_id(s, 151655, 2046));
    set_str(o, "model_type", "qwen3_vl");
    json_object_set_new(o, "text_config", text_config(s));
    json_object_set_new(o, "tie_word_embeddings", json_boolean(s->tied));
    set_str(o, "transformers_version", "4.57.3");
    set_int(o, "video_token_id", special_id(s, 151656, 2047));
    json_object_set_new(o, "vision_config", vision_config(s));
    set_int(o, "vision_end_token_id", special_id(s, 151653, 2044));
    set_int(o, "vision_start_token_id", special_id(s, 151652, 2043));
    return o;
}

/* The object that holds `key`, and the key inside it; NULL if there is none. */
static json_t *place(json_t *doc, const char *path, size_t n, char **key)
{
    json_t *at = doc;
    for (const char *dot; (dot = memchr(path, '.', n)); n -= (size_t)(dot + 1 - path), path = dot + 1) {
        char *name = xstrndup(path, (size_t)(dot - path));
        at = json_object_get(at, name);
        free(name);
    }
    *key = xstrndup(path, n);
    json_t *text = json_object_get(doc, "text_config");
    if (at == doc && json_object_get(text, *key))
        return text;
    if (json_object_get(at, *key))
        return at;
    free(*key);
    return NULL;
}

static int set_key(json_t *doc, const char *text, struct err *e)
{
    const char *eq = strchr(text, '=');
    char *key;
    if (!eq)
        return err_set(e, ERR_CONFIG, "--set wants key=value, not '%s'", text);
    json_t *at = place(doc, text, (size_t)(eq - text), &key);
    if (!at)
        return err_set(e, ERR_CONFIG, "--set %s: config.json has no key '%.*s'", text, (int)(eq - text), text);
    json_t *v = json_loads(eq + 1, JSON_DECODE_ANY, NULL);
    if (!v)
        v = json_string(eq + 1);
    json_object_set_new(at, key, v ? v : json_null());
    if (!strcmp(key, "tie_word_embeddings")) /* stands in two places that must agree */
        json_object_set(doc, key, json_object_get(at, key));
    free(key);
    return 0;
}

/* Qwen's split of half a head, 24 + 20 + 20 of 64, for any size. */
static json_t *sections(json_int_t head_dim)
{
    const json_int_t half = head_dim / 2, part = half * 20 / 64;
    return json_pack("[I,I,I]", half - 2 * part, part, part);
}

static void follow(json_t *doc)
{
    json_t *text = json_object_get(doc, "text_config"), *rope = json_object_get(text, "rope_scaling");
    json_t *vision = json_object_get(doc, "vision_config");
    if (json_is_null(json_object_get(rope, "mrope_section")))
        json_object_set_new(rope, "mrope_section", sections(json_integer_value(json_object_get(text, "head_dim"))));
    if (json_is_null(json_object_get(vision, "out_hidden_size")))
        json_object_set(vision, "out_hidden_size", json_object_get(text, "hidden_size"));
}

static void respell_rope(json_t *text)
{
    json_t *rope = json_deep_copy(json_object_get(text, "rope_scaling"));
    json_object_set(rope, "rope_theta", json_object_get(text, "rope_theta"));
    json_object_del(text, "rope_scaling");
    json_object_del(text, "rope_theta");
    json_object_set_new(text, "rope_parameters", rope);
}

json_t *synth_config(const struct synth_options *o, struct err *e)
{
    const struct size *s = NULL;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (!strcmp(sizes[i].name, o->size))
            s = &sizes[i];
    if (!s) {
        err_set(e, ERR_CONFIG, "unknown size '%s', known are %s", o->size, synth_sizes());
        return NULL;
    }
    json_t *doc = base_config(s, o->dtype);
    int rc = 0;
    for (size_t i = 0; i < o->n_sets && !rc; i++)
        rc = set_key(doc, o->set[i], e);
    json_t *text = json_object_get(doc, "text_config");
    if (o->untied) {
        json_object_set_new(doc, "tie_word_embeddings", json_false());
        json_object_set_new(text, "tie_word_embeddings", json_false());
    }
    follow(doc);
    if (o->rope_parameters)
        respell_rope(text);
    struct hf_config check;
    if (!rc && hf_config_of_json(&check, doc, "config.json", e)) {
        e->code = ERR_CONFIG; /* not a malformed file, but options that make one */
        rc = -1;
    }
    if (!rc)
        return doc;
    json_decref(doc);
    return NULL;
}
