#include "hf_config.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "json.h"
#include "mem.h"

static const char architecture[] = "Qwen3VLForConditionalGeneration";

/* Python's None and an absent key mean the same. */
static const json_t *given(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_null(v) ? NULL : v;
}

static const char *string_or(const json_t *v, const char *otherwise)
{
    return json_is_string(v) ? json_string_value(v) : otherwise;
}

static int get_int(const json_t *o, const char *key, const char *where, int *out, struct err *e)
{
    int64_t v;
    if (json_get_int(o, key, where, INT_MIN, INT_MAX, &v, e))
        return -1;
    *out = (int)v;
    return 0;
}

/* ---- what is not supported ---- */

static int refuse_family(const json_t *doc, const char *where, struct err *e)
{
    const char *type;
    json_t *list;
    if (json_get_str(doc, "model_type", where, &type, e))
        return -1;
    if (!strcmp(type, "qwen3_vl_moe"))
        return err_set(e, ERR_CONFIG, "%s: mixture-of-experts models are not supported, only dense Qwen3-VL", where);
    if (strcmp(type, "qwen3_vl"))
        return err_set(e, ERR_CONFIG, "%s: model_type '%.60s' is not supported, only Qwen3-VL ('qwen3_vl')", where,
                       type);
    if (json_get_array(doc, "architectures", where, &list, e))
        return -1;
    const char *name = string_or(json_array_get(list, 0), "");
    if (strcmp(name, architecture))
        return err_set(e, ERR_CONFIG, "%s: architecture '%.60s' is not supported, only '%s'", where, name,
                       architecture);
    return 0;
}

static int refuse_quantized(const json_t *doc, const char *where, struct err *e)
{
    static const char *const keys[] = {"quantization_config", "compression_config"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *q = given(doc, keys[i]);
        if (q)
            return err_set(e, ERR_CONFIG, "%s: the checkpoint is already quantized (%s, method '%.40s'); "
                           "give the original BF16, F16 or F32 checkpoint", where, keys[i],
                           string_or(json_object_get(q, "quant_method"), "unknown"));
    }
    return 0;
}

static int refuse_text(const json_t *text, const char *where, struct err *e)
{
    static const char *const experts[] = {"num_experts", "num_local_experts", "n_routed_experts"};
    for (size_t i = 0; i < sizeof experts / sizeof *experts; i++)
        if (given(text, experts[i]) && json_integer_value(given(text, experts[i])) != 0)
            return err_set(e, ERR_CONFIG, "%s: mixture-of-experts models are not supported ('%s')", where, experts[i]);
    const json_t *type = given(text, "model_type"), *bias = given(text, "attention_bias"),
                 *act = given(text, "hidden_act");
    if (type && strcmp(string_or(type, ""), "qwen3_vl_text"))
        return err_set(e, ERR_CONFIG, "%s: model_type '%.60s' is not supported, only 'qwen3_vl_text'", where,
                       string_or(type, ""));
    if (bias && !json_is_boolean(bias))
        return err_set(e, ERR_FORMAT, "%s: 'attention_bias' must be true or false", where);
    if (json_is_true(bias))
        return err_set(e, ERR_CONFIG, "%s: attention biases are not supported ('attention_bias' is true)", where);
    if (act && strcmp(string_or(act, ""), "silu"))
        return err_set(e, ERR_CONFIG, "%s: activation '%.40s' is not supported, only 'silu'", where,
                       string_or(act, ""));
    return 0;
}

/* ---- rotary embedding ---- */

/* The three parts of M-RoPE see the same positions in text, so only their sum matters. */
static int check_sections(const json_t *rope, int head_dim, const char *where, struct err *e)
{
    const json_t *list = given(rope, "mrope_section");
    if (!list)
        return 0;
    int64_t sum = 0;
    bool ok = json_array_size(list) == 3;
    for (size_t i = 0; i < json_array_size(list) && ok; i++) {
        const json_t *v = json_array_get(list, i);
        ok = json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) <= head_dim;
        sum += json_integer_value(v);
    }
    if (!ok || sum != head_dim / 2)
        return err_set(e, ERR_FORMAT, "%s: 'mrope_section' must be three whole numbers that add up to half a head, %d",
                       where, head_dim / 2);
    return 0;
}

static int get_rope(const json_t *text, const char *where, struct lm_config *c, struct err *e)
{
    const json_t *v5 = given(text, "rope_parameters"), *v4 = given(text, "rope_scaling"), *rope = v5 ? v5 : v4;
    if (rope && !json_is_object(rope))
        return err_set(e, ERR_FORMAT, "%s: '%s' must be an object", where, v5 ? "rope_parameters" : "rope_scaling");
    const json_t *type =
        given(rope, "rope_type") ? given(rope, "rope_type") : given(rope, "type"); /* the older spelling */
    if (type && strcmp(string_or(type, ""), "default"))
        return err_set(e, ERR_CONFIG, "%s: rope type '%.40s' is not supported, only 'default'", where,
                       string_or(type, ""));
    if (json_get_real(given(v5, "rope_theta") ? v5 : text, "rope_theta", where, &c->rope_theta, e))
        return -1;
    return check_sections(rope, c->head_dim, where, e);
}

/* ---- sizes ---- */

static int get_text(const json_t *text, const char *where, struct lm_config *c, struct err *e)
{
    int vocab, positions = 128000;
    if (get_int(text, "num_hidden_layers", where, &c->n_layers, e) ||
        get_int(text, "hidden_size", where, &c->hidden_size, e) ||
        get_int(text, "num_attention_heads", where, &c->n_heads, e) ||
        get_int(text, "intermediate_size", where, &c->ffn_size, e) || get_int(text, "vocab_size", where, &vocab, e) ||
        json_get_real(text, "rms_norm_eps", where, &c->rms_norm_eps, e))
        return -1;
    c->n_kv_heads = c->n_heads;
    c->head_dim = json_object_get(text, "head_dim") && c->n_heads > 0 ? c->hidden_size / c->n_heads : 128;
    if ((given(text, "num_key_value_heads") && get_int(text, "num_key_value_heads", where, &c->n_kv_heads, e)) ||
        (given(text, "head_dim") && get_int(text, "head_dim", where, &c->head_dim, e)) ||
        (given(text, "max_position_embeddings") && get_int(text, "max_position_embeddings", where, &positions, e)))
        return -1;
    c->vocab_size = vocab;
    c->max_positions = positions;
    return get_rope(text, where, c, e) ? -1 : lm_config_check(c, where, e);
}

static int get_vision(const json_t *vision, const char *where, struct vision_config *c, struct err *e)
{
    const json_t *deepstack = given(vision, "deepstack_visual_indexes");
    if (get_int(vision, "depth", where, &c->depth, e) || get_int(vision, "hidden_size", where, &c->hidden_size, e) ||
        get_int(vision, "intermediate_size", where, &c->intermediate_size, e) ||
        get_int(vision, "in_channels", where, &c->in_channels, e) ||
        get_int(vision, "patch_size", where, &c->patch_size, e) ||
        get_int(vision, "temporal_patch_size", where, &c->temporal_patch_size, e) ||
        get_int(vision, "spatial_merge_size", where, &c->spatial_merge_size, e) ||
        get_int(vision, "out_hidden_size", where, &c->out_hidden_size, e) ||
        get_int(vision, "num_position_embeddings", where, &c->n_positions, e))
        return -1;
    if (deepstack && !json_is_array(deepstack))
        return err_set(e, ERR_FORMAT, "%s: 'deepstack_visual_indexes' must be a list", where);
    if (json_array_size(deepstack) > 1024)
        return err_set(e, ERR_FORMAT, "%s: 'deepstack_visual_indexes' is too long", where);
    c->n_deepstack = (int)json_array_size(deepstack);
    for (size_t i = 0; i < json_array_size(deepstack); i++) {
        const json_t *v = json_array_get(deepstack, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) >= c->depth)
            return err_set(e, ERR_FORMAT, "%s: 'deepstack_visual_indexes' must be whole numbers below the depth, %d",
                           where, c->depth);
    }
    return vision_config_check(c, where, e);
}

static int get_tie(const json_t *doc, const json_t *text, const char *where, enum hf_tie *tie, struct err *e)
{
    const json_t *inner = given(text, "tie_word_embeddings"), *outer = given(doc, "tie_word_embeddings");
    const json_t *said = inner ? inner : outer;
    if (said && !json_is_boolean(said))
        return err_set(e, ERR_FORMAT, "%s: 'tie_word_embeddings' must be true or false", where);
    *tie = !said ? HF_TIE_UNSAID : json_is_true(said) ? HF_TIED : HF_UNTIED;
    return 0;
}

int hf_config_of_json(struct hf_config *c, const json_t *doc, const char *name, struct err *e)
{
    *c = (struct hf_config){.architecture = architecture};
    char where[256], text_where[300], vision_where[300];
    snprintf(where, sizeof where, "'%.200s'", name);
    snprintf(text_where, sizeof text_where, "%s: text_config", where);
    snprintf(vision_where, sizeof vision_where, "%s: vision_config", where);
    json_t *text;
    if (refuse_family(doc, where, e) || refuse_quantized(doc, where, e) ||
        json_get_object(doc, "text_config", where, &text, e) || refuse_quantized(text, text_where, e) ||
        refuse_text(text, text_where, e) || get_text(text, text_where, &c->lm, e) ||
        get_tie(doc, text, where, &c->tie, e))
        return -1;
    c->lm.tied = c->tie != HF_UNTIED;
    const json_t *vision = given(doc, "vision_config");
    c->has_vision = vision != NULL;
    return vision ? get_vision(vision, vision_where, &c->vision, e) : 0;
}

int hf_config_parse(struct hf_config *c, const char *data, size_t size, const char *name, struct err *e)
{
    json_t *doc = json_parse(data, size, name, e);
    const int rc = doc ? hf_config_of_json(c, doc, name, e) : -1;
    json_decref(doc);
    return rc;
}

int hf_config_load(struct hf_config *c, const char *dir, struct err *e)
{
    char *path = io_join(dir, "config.json");
    json_t *doc = json_load(path, JSON_LIMIT_CONFIG, e);
    const int rc = doc ? hf_config_of_json(c, doc, path, e) : -1;
    json_decref(doc);
    free(path);
    return rc;
}

/* ---- files that travel with a checkpoint ---- */

static int copy_file(const char *from, const char *to, struct err *e)
{
    struct io_map map;
    struct io_out out;
    if (io_map(&map, from, e))
        return -1;
    int rc = io_out_open(&out, to, e);
    if (!rc) {
        if (map.size)
            fwrite(map.data, 1, map.size, out.f);
        rc = io_out_commit(&out, e);
    }
    io_unmap(&map);
    return rc;
}

int hf_copy_tokenizer(const char *from, const char *to, int *n, struct err *e)
{
    static const char *const names[] = {"tokenizer.json",     "tokenizer_config.json", "vocab.json",
                                        "merges.txt",         "added_tokens.json",     "special_tokens_map.json",
                                        "chat_template.json", "chat_template.jinja"};
    *n = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *source = io_join(from, names[i]), *target = io_join(to, names[i]);
        int rc = 0;
        if (access(source, F_OK) == 0) {
            rc = copy_file(source, target, e);
            ++*n;
        } else if (errno != ENOENT)
            rc = err_set(e, ERR_IO, "cannot open '%s': %s", source, strerror(errno));
        free(source);
        free(target);
        if (rc)
            return -1;
    }
    return 0;
}
