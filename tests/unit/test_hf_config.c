/* config.json: both spellings, what is refused, and the weight counts that follow. */
#include "hf_config.h"
#include "json_edit.h"
#include "mem.h"
#include "synth.h"
#include "tap.h"

static json_t *config_of(const char *size)
{
    struct err e = {0};
    const struct synth_options o = {.size = size, .dtype = DT_BF16, .n_shards = 1};
    json_t *doc = synth_config(&o, &e);
    if (!doc)
        BUG("%s", e.msg);
    return doc;
}

static void test_refused(void)
{
    static const struct {
        const char *path, *value;
        enum err_code code;
        const char *part;
    } row[] = {
        {"model_type", "\"qwen3_vl_moe\"", ERR_CONFIG, "mixture-of-experts models are not supported"},
        {"model_type", "\"llama\"", ERR_CONFIG, "model_type 'llama' is not supported, only Qwen3-VL"},
        {"model_type", NULL, ERR_FORMAT, "missing key 'model_type'"},
        {"model_type", "7", ERR_FORMAT, "'model_type' must be a string"},
        {"architectures", "[\"Qwen3VLModel\"]", ERR_CONFIG, "architecture 'Qwen3VLModel' is not supported"},
        {"architectures", "[]", ERR_CONFIG, "architecture '' is not supported"},
        {"architectures", "null", ERR_FORMAT, "'architectures' must be a list"},
        {"quantization_config", "{\"quant_method\": \"fp8\"}", ERR_CONFIG,
         "already quantized (quantization_config, method 'fp8')"},
        {"text_config.quantization_config", "{}", ERR_CONFIG,
         "already quantized (quantization_config, method 'unknown')"},
        {"compression_config", "{}", ERR_CONFIG, "already quantized (compression_config"},
        {"text_config", NULL, ERR_FORMAT, "missing key 'text_config'"},
        {"text_config", "[]", ERR_FORMAT, "'text_config' must be an object"},
        {"text_config.model_type", "\"qwen2\"", ERR_CONFIG, "model_type 'qwen2' is not supported"},
        {"text_config.num_experts", "128", ERR_CONFIG, "mixture-of-experts models are not supported ('num_experts')"},
        {"text_config.attention_bias", "true", ERR_CONFIG, "attention biases are not supported"},
        {"text_config.attention_bias", "\"no\"", ERR_FORMAT, "'attention_bias' must be true or false"},
        {"text_config.hidden_act", "\"gelu\"", ERR_CONFIG, "activation 'gelu' is not supported, only 'silu'"},
        {"text_config.rope_scaling.rope_type", "\"yarn\"", ERR_CONFIG, "rope type 'yarn' is not supported"},
        {"text_config.rope_scaling", "{\"type\": \"linear\"}", ERR_CONFIG, "rope type 'linear' is not supported"},
        {"text_config.rope_scaling", "[]", ERR_FORMAT, "'rope_scaling' must be an object"},
        {"text_config.rope_parameters", "{\"rope_type\": \"llama3\"}", ERR_CONFIG,
         "rope type 'llama3' is not supported"},
        {"text_config.rope_scaling.mrope_section", "[6, 5, 4]", ERR_FORMAT, "add up to half a head, 16"},
        {"text_config.rope_scaling.mrope_section", "[16]", ERR_FORMAT, "three whole numbers"},
        {"text_config.rope_scaling.mrope_section", "[40, -12, -12]", ERR_FORMAT, "three whole numbers"},
        {"text_config.rope_theta", NULL, ERR_FORMAT, "missing key 'rope_theta'"},
        {"text_config.rope_theta", "0", ERR_FORMAT, "rope_theta is 0"},
        {"text_config.rms_norm_eps", "\"1e-6\"", ERR_FORMAT, "'rms_norm_eps' must be a number"},
        {"text_config.rms_norm_eps", "-1e-6", ERR_FORMAT, "rms_norm_eps is -1e-06"},
        {"text_config.hidden_size", NULL, ERR_FORMAT, "missing key 'hidden_size'"},
        {"text_config.hidden_size", "128.0", ERR_FORMAT, "'hidden_size' must be a whole number"},
        {"text_config.hidden_size", "0", ERR_FORMAT, "the hidden size is 0, supported are 1 to"},
        {"text_config.hidden_size", "99999999999", ERR_FORMAT, "'hidden_size' is 99999999999, allowed are"},
        {"text_config.num_hidden_layers", "1000000", ERR_FORMAT, "the number of layers is 1000000"},
        {"text_config.num_attention_heads", "-4", ERR_FORMAT, "the number of heads is -4"},
        {"text_config.num_key_value_heads", "3", ERR_FORMAT, "4 attention heads are not a multiple of 3"},
        {"text_config.num_key_value_heads", "0", ERR_FORMAT, "the number of key/value heads is 0"},
        {"text_config.intermediate_size", "2000000000", ERR_FORMAT, "the size of the MLP is 2000000000"},
        {"text_config.vocab_size", "0", ERR_FORMAT, "the vocabulary size is 0"},
        {"text_config.max_position_embeddings", "true", ERR_FORMAT, "'max_position_embeddings' must be a whole number"},
        {"text_config.tie_word_embeddings", "1", ERR_FORMAT, "'tie_word_embeddings' must be true or false"},
        {"vision_config", "3", ERR_FORMAT, "vision_config: must be an object"},
        {"vision_config.depth", "0", ERR_FORMAT, "'deepstack_visual_indexes' must be whole numbers below the depth, 0"},
        {"vision_config.hidden_size", "99999999", ERR_FORMAT, "'hidden_size' is 99999999"},
        {"vision_config.patch_size", NULL, ERR_FORMAT, "vision_config: missing key 'patch_size'"},
        {"vision_config.deepstack_visual_indexes", "[0, 2]", ERR_FORMAT, "whole numbers below the depth, 2"},
        {"vision_config.deepstack_visual_indexes", "\"0\"", ERR_FORMAT, "must be a list"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        json_t *doc = config_of("tiny");
        struct hf_config c;
        struct err e = {0};
        if (!json_edit(doc, row[i].path, row[i].value))
            BUG("no place %s", row[i].path);
        const int rc = hf_config_of_json(&c, doc, "config.json", &e);
        ok(rc == -1 && e.code == row[i].code && strstr(e.msg, row[i].part) && !strncmp(e.msg, "'config.json': ", 15),
           "%s: %s", row[i].path, rc ? e.msg : "accepted");
        json_decref(doc);
    }
    json_t *doc = config_of("tiny");
    json_edit(doc, "text_config.head_dim", "33");
    json_edit(doc, "text_config.rope_scaling", "null");
    struct hf_config c;
    struct err e = {0};
    ok(hf_config_of_json(&c, doc, "f", &e) == -1 && e.code == ERR_FORMAT && strstr(e.msg, "head size 33 is odd"), "%s",
       e.msg);
    json_decref(doc);
    ok(hf_config_parse(&c, "[]", 2, "f", &e) == -1 && e.code == ERR_FORMAT, "a list: %s", e.msg);
    ok(hf_config_parse(&c, "{", 1, "f", &e) == -1 && strstr(e.msg, "not valid JSON"), "no JSON: %s", e.msg);
    ok(hf_config_load(&c, "/nonexistent", &e) == -1 && e.code == ERR_IO, "no file: %s", e.msg);
}

/* One edit, then a field of the result. */
static void test_defaults(void)
{
    static const struct {
        const char *path, *value;
        int head_dim, n_kv_heads;
        int64_t max_positions;
        enum hf_tie tie;
        const char *what;
    } row[] = {
        {"x", "1", 32, 2, 4096, HF_TIED, "as written"},
        {"text_config.head_dim", "null", 32, 2, 4096, HF_TIED, "head_dim null is hidden_size / heads"},
        {"text_config.num_key_value_heads", "null", 32, 4, 4096, HF_TIED, "num_key_value_heads null is all heads"},
        {"text_config.max_position_embeddings", NULL, 32, 2, 128000, HF_TIED, "max_position_embeddings absent"},
        {"text_config.attention_bias", NULL, 32, 2, 4096, HF_TIED, "attention_bias absent"},
        {"text_config.hidden_act", NULL, 32, 2, 4096, HF_TIED, "hidden_act absent"},
        {"text_config.num_experts", "0", 32, 2, 4096, HF_TIED, "no experts"},
        {"text_config.rope_scaling", NULL, 32, 2, 4096, HF_TIED, "rope_scaling absent"},
        {"quantization_config", "null", 32, 2, 4096, HF_TIED, "quantization_config null"},
        {"tie_word_embeddings", "false", 32, 2, 4096, HF_TIED, "the inner tie wins"},
        {"text_config.tie_word_embeddings", "false", 32, 2, 4096, HF_UNTIED, "the inner tie wins"},
        {"text_config.tie_word_embeddings", NULL, 32, 2, 4096, HF_TIED,
         "the outer tie counts where there is no inner one"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        json_t *doc = config_of("tiny");
        struct hf_config c;
        struct err e = {0};
        ok(json_edit(doc, row[i].path, row[i].value) && !hf_config_of_json(&c, doc, "f", &e) &&
               c.lm.head_dim == row[i].head_dim && c.lm.n_kv_heads == row[i].n_kv_heads &&
               c.lm.max_positions == row[i].max_positions && c.tie == row[i].tie && c.lm.rope_theta == 5e6,
           "%s %s", row[i].what, e.msg);
        json_decref(doc);
    }
    json_t *doc = config_of("4b");
    json_edit(doc, "text_config.head_dim", NULL);
    json_edit(doc, "text_config.tie_word_embeddings", NULL);
    json_edit(doc, "tie_word_embeddings", NULL);
    struct hf_config c;
    struct err e = {0};
    ok(!hf_config_of_json(&c, doc, "f", &e) && c.lm.head_dim == 128 && c.tie == HF_TIE_UNSAID,
       "4b without head_dim and tie");
    json_edit(doc, "text_config.rope_scaling", NULL);
    json_edit(doc, "text_config.rope_theta", "1");
    json_edit(doc, "text_config.rope_parameters",
              "{\"rope_type\": \"default\", \"rope_theta\": 7, \"mrope_section\": [24, 20, 20]}");
    ok(!hf_config_of_json(&c, doc, "f", &e) && c.lm.rope_theta == 7, "rope_parameters' theta wins");
    json_edit(doc, "text_config.rope_parameters", "{\"rope_type\": \"default\"}");
    ok(!hf_config_of_json(&c, doc, "f", &e) && c.lm.rope_theta == 1, "theta beside rope_parameters");
    json_decref(doc);
}

/* Counts of the published models: 105 vision layers and 145 groups in 4B, 250 in all. */
static void test_counts(void)
{
    static const struct {
        const char *size;
        int vision_units, lm_units;
        uint64_t vision, total;
    } row[] = {
        {"tiny", 15, 43, 466944, 1916928},
        {"4b", 105, 253, 412614656, 4434886656},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        json_t *doc = config_of(row[i].size);
        struct hf_config c;
        struct err e = {0};
        struct vision_tensor *v;
        int n, units = 0;
        uint64_t vision = 0, lm = 0;
        if (hf_config_of_json(&c, doc, "f", &e))
            BUG("%s", e.msg);
        vision_tensors(&c.vision, &v, &n);
        for (int k = 0; k < n; k++)
            if (v[k].kind == VISION_LINEAR || v[k].kind == VISION_CONV3D) {
                vision += v[k].n;
                units++;
            }
        is_str(v[0].module, "model.visual.patch_embed.proj", "the convolution comes first");
        vision_free(v, n);
        for (int k = 0; k < lm_unit_count(&c.lm); k++) {
            enum lm_role r;
            int layer;
            uint64_t shape[2];
            lm_unit_at(&c.lm, k, &r, &layer);
            lm_role_shape(&c.lm, r, shape);
            lm += shape[0] * shape[1];
        }
        ok(units == row[i].vision_units && vision == row[i].vision, "%s: %d vision layers, %llu weights", row[i].size,
           units, (unsigned long long)vision);
        ok(lm_unit_count(&c.lm) == row[i].lm_units && lm + vision == row[i].total, "%s: %llu weights in all",
           row[i].size, (unsigned long long)(lm + vision));
        json_decref(doc);
    }
}

int main(void)
{
    test_refused();
    test_defaults();
    test_counts();
    return done();
}
