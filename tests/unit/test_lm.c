/* lm.json: from the bundled checkpoint, written, read back, and broken in every place. */
#include "checkpoint.h"
#include "hf_config.h"
#include "json.h"
#include "json_edit.h"
#include "lm_extract.h"
#include "lm_write.h"
#include "mem.h"
#include "tap.h"

static const char model_dir[] = "models/tiny_qwen3_vl";

static void extract(struct lm *m, char **text, size_t *size)
{
    struct hf_config config;
    struct checkpoint c;
    struct err e;
    if (hf_config_load(&config, model_dir, &e) || checkpoint_open(&c, model_dir, &e) ||
        lm_extract(m, &config, &c, model_dir, &e) || lm_hash(m, &c, NULL, NULL, &e))
        BUG("%s", e.msg);
    FILE *f = open_memstream(text, size);
    lm_write(m, f);
    fclose(f);
    checkpoint_close(&c);
}

static void test_order(void)
{
    for (int tied = 0; tied < 2; tied++) {
        const struct lm_config c = {.n_layers = 3, .tied = tied};
        int good = 0;
        for (int i = 0; i < lm_tensor_count(&c); i++) {
            enum lm_role r;
            int layer;
            lm_tensor_at(&c, i, &r, &layer);
            good += lm_tensor_index(&c, r, layer) == i && lm_role_in_layer(r) == (layer >= 0);
        }
        ok(good == 36 - tied && lm_tensor_count(&c) == good, "%d tensors, index and inverse agree", good);
        ok((lm_tensor_index(&c, ROLE_LM_HEAD, -1) == 0) == tied, "lm_head is the embedding where tied");
    }
    int named = 0;
    for (int r = 0; r < ROLE_COUNT; r++)
        named += (int)lm_role_of_name(lm_role_name((enum lm_role)r)) == r;
    ok(named == ROLE_COUNT && lm_role_of_name("x") == ROLE_COUNT, "role names");
}

static void test_round_trip(const struct lm *m, const char *text, size_t size)
{
    struct lm r;
    struct err e = {0};
    ok(!lm_parse(&r, text, size, "lm.json", &e), "what is written is read %s", e.msg);
    ok(r.n_tensors == 68 && r.n_units == 58 && r.n_groups == 40, "68 tensors, 58 units, 40 groups");
    bool same = r.n_tensors == m->n_tensors && r.n_units == m->n_units && !strcmp(r.weights_sha256, m->weights_sha256);
    for (int i = 0; i < r.n_tensors && same; i++) {
        const struct lm_tensor *a = &r.tensor[i], *b = &m->tensor[i];
        same = !strcmp(a->name, b->name) && a->offset == b->offset && a->nb == b->nb && a->dtype == b->dtype &&
               a->role == b->role && a->layer == b->layer && !strcmp(a->sha256, b->sha256);
    }
    ok(same, "every tensor is the same");
    int found = 0;
    for (int i = 0; i < r.n_units; i++) {
        const struct lm_unit *u = &r.unit[i];
        const char *group = r.group[u->group].name;
        found += u->is_lm ? lm_unit_of(&r, u->role, u->layer) == i &&
                                lm_tensor_of(&r, u->role, u->layer)->nb == 2 * u->weights &&
                                !strcmp(group, r.unit[lm_unit_of(&r, lm_role_lead(u->role), u->layer)].name)
                          : !strcmp(group, u->name);
    }
    ok(found == 58, "%d units are found by role and layer and are in their group", found);
    is_str(r.unit[0].name, "model.visual.patch_embed.proj", "the first unit");
    is_str(r.unit[0].module_type, "QuantConv3d", "its type");
    is_str(r.unit[57].name, "lm_head", "the last unit");
    is_str(lm_tensor_of(&r, ROLE_LM_HEAD, -1)->name, "model.language_model.embed_tokens.weight",
           "its tensor is the embedding");
    const struct lm_group *g = &r.group[r.unit[lm_unit_of(&r, ROLE_V, 2)].group];
    is_str(g->name, "model.language_model.layers.2.self_attn.q_proj", "v is in q's group");
    ok(g->n_units == 3 && g->weights == 128 * 256, "which has q, k and v");
    lm_free(&r);
}

static void test_reuse(const struct lm *m)
{
    struct lm fresh, old;
    char *text;
    size_t size;
    struct err e;
    extract(&fresh, &text, &size);
    if (lm_parse(&old, text, size, "lm.json", &e))
        BUG("%s", e.msg);
    free(text);
    ok(lm_unhashed_bytes(&fresh) == 0, "everything is hashed");
    for (int i = 0; i < fresh.n_tensors; i++)
        fresh.tensor[i].sha256[0] = 0;
    ok(lm_unhashed_bytes(&fresh) == 2904064, "nothing is: %llu bytes", (unsigned long long)lm_unhashed_bytes(&fresh));
    static const char *const change[] = {"mtime", "inode", "size", "offset", "path", "nothing"};
    for (int k = 0; k < 6; k++) {
        struct lm_file f = old.file[0];
        const uint64_t offset = old.tensor[3].offset;
        char other[] = "/elsewhere";
        old.file[0].mtime_ns += k == 0;
        old.file[0].inode += k == 1;
        old.file[0].size += k == 2;
        old.tensor[3].offset += k == 3;
        old.file[0].path = k == 4 ? other : f.path;
        lm_reuse_hashes(&fresh, &old);
        const uint64_t want = k == 5 ? 0 : k == 3 ? fresh.tensor[3].nb : 2904064;
        ok(lm_unhashed_bytes(&fresh) == want, "hashes after a change of %s: %llu bytes to read", change[k],
           (unsigned long long)lm_unhashed_bytes(&fresh));
        for (int i = 0; i < fresh.n_tensors && k < 5; i++)
            fresh.tensor[i].sha256[0] = 0;
        old.file[0] = f;
        old.tensor[3].offset = offset;
    }
    char id[65];
    lm_identity(&fresh, id);
    is_str(id, m->weights_sha256, "same identity with reused hashes");
    fresh.tensor[5].sha256[0] ^= 1;
    lm_identity(&fresh, id);
    ok(strcmp(id, m->weights_sha256), "another hash, another identity");
    lm_free(&fresh);
    lm_free(&old);
}

static void test_broken(const char *text, size_t size)
{
    static const struct {
        const char *path, *value, *part;
    } row[] = {
        {"format", "\"x\"", "format is 'x', expected 'qsens-lm'"},
        {"format", NULL, "missing key 'format'"},
        {"version", "2", "'version' is 2, allowed are 1 to 1"},
        {"model", "[]", "'model' must be an object"},
        {"model.name", "\"\"", "'name' must have 1 to"},
        {"model.architecture", "7", "'architecture' must be a string"},
        {"config.n_layers", "5", "68 tensors, a model of 5 layers has 57"},
        {"config.n_layers", "2000000000", "the number of layers is 2000000000"},
        {"config.n_layers", "7", "68 tensors, a model of 7 layers has 79"},
        {"config.hidden_size", "64", "has another shape than config asks for"},
        {"config.hidden_size", "0", "'hidden_size' is 0, allowed are 1"},
        {"config.n_kv_heads", "3", "not a multiple of 3"},
        {"config.head_dim", "31", "head size 31 is odd"},
        {"config.vocab_size", "-1", "'vocab_size' is -1"},
        {"config.vocab_size", "16000000", "another shape"},
        {"config.rms_norm_eps", "0", "rms_norm_eps is 0"},
        {"config.rope_theta", "\"x\"", "'rope_theta' must be a number"},
        {"config.tied", "false", "68 tensors, a model of 6 layers has 69"},
        {"config.tied", "0", "'tied' must be true or false"},
        {"files", "[]", "0 files"},
        {"files.0", "3", "files[0]: must be an object"},
        {"files.0.path", "\"model.safetensors\"", "is not absolute"},
        {"files.0.size", "-1", "'size' is -1"},
        {"files.0.size", "100", "ends after the 100 bytes of its file"},
        {"files.0.inode", "0.5", "'inode' must be a whole number"},
        {"tensors", "{}", "'tensors' must be a list"},
        {"tensors.3", "null", "tensors[3]: must be an object"},
        {"tensors.3", NULL, "67 tensors, a model of 6 layers has 68"},
        {"tensors.3.role", "\"q\"", "'q' of layer 0 is listed twice"},
        {"tensors.3.role", "\"queer\"", "there is no 'queer' in layer 0"},
        {"tensors.3.role", "\"embed\"", "there is no 'embed' in layer 0"},
        {"tensors.3.role", "\"lm_head\"", "there is no 'lm_head' in layer 0"},
        {"tensors.3.layer", "6", "'layer' is 6, allowed are -1 to 5"},
        {"tensors.3.layer", "-1", "there is no 'k' in layer -1"},
        {"tensors.3.layer", "1", "'k' of layer 1 is listed twice"},
        {"tensors.3.file", "1", "'file' is 1, allowed are 0 to 0"},
        {"tensors.3.file", "-1", "'file' is -1"},
        {"tensors.3.offset", "3866000", "ends after the 3866952 bytes of its file"},
        {"tensors.3.offset", "9223372036854775807", "ends after"},
        {"tensors.3.offset", "-8", "'offset' is -8"},
        {"tensors.3.dtype", "\"I8\"", "dtype 'I8' is not BF16, F16 or F32"},
        {"tensors.3.dtype", "\"F9\"", "dtype 'F9' is not BF16"},
        {"tensors.67.dtype", "\"F32\"", "weights_sha256 does not follow"},
        {"tensors.3.shape", "[64]", "has another shape than config asks for"},
        {"tensors.3.shape", "[64, 128, 1]", "has another shape"},
        {"tensors.3.shape", "[128, 64]", "has another shape"},
        {"tensors.3.shape.0", "64.0", "has another shape"},
        {"tensors.3.sha256", "\"00\"", "'sha256' must be 64 lower-case hex digits"},
        {"tensors.3.sha256", "\"6a69f0c89a98b4a1bb3a3a1bbba3e9c6a69f0c89a98b4a1bb3a3a1bbba3e9cZZ00\"",
         "64 lower-case hex"},
        {"tensors.3.sha256", "\"0000000000000000000000000000000000000000000000000000000000000000\"", "does not follow"},
        {"tensors.3.name", NULL, "missing key 'name'"},
        {"units", "[]", "0 units, a model of 6 layers has 43"},
        {"units.0.part", "\"lm\"", "a 'vision' unit is due here"},
        {"units.15.part", "\"vision\"", "a 'lm' unit is due here"},
        {"units.15.role", "\"k\"", "'k' of layer 0, due here is 'q' of layer 0"},
        {"units.15.layer", "1", "'q' of layer 1, due here is 'q' of layer 0"},
        {"units.15.weights", "16383", "has 16383 weights, its shape has 16384"},
        {"units.0.weights", "0", "'weights' is 0"},
        {"units.0.weights", "9223372036854775807", "the number of weights overflows"},
        {"units.16.group", "\"model.language_model.layers.0.self_attn.k_proj\"",
         "it belongs to 'model.language_model.layers.0.self_attn.q_proj'"},
        {"units.1.group", "\"model.visual.patch_embed.proj\"", "it belongs to 'model.visual.blocks.0.attn.qkv'"},
        {"units.16.name", "\"lm_head\"", "unit 'lm_head' is listed twice"},
        {"units.57", NULL, "part is 'vision', a 'lm' unit is due here"},
        {"weights_sha256", "\"x\"", "'weights_sha256' must be 64"},
        {"weights_sha256", "\"0000000000000000000000000000000000000000000000000000000000000000\"",
         "does not follow from the tensors"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct err e = {0};
        struct lm m;
        json_t *doc = json_parse(text, size, "lm.json", &e);
        if (!json_edit(doc, row[i].path, row[i].value))
            BUG("no place %s", row[i].path);
        char *changed = json_dumps(doc, JSON_COMPACT);
        const int rc = lm_parse(&m, changed, strlen(changed), "lm.json", &e);
        ok(rc == -1 && e.code == ERR_FORMAT && strstr(e.msg, row[i].part) && !strncmp(e.msg, "'lm.json': ", 11),
           "%s: %s", row[i].path, rc ? e.msg : "accepted");
        if (!rc)
            lm_free(&m);
        free(changed);
        json_decref(doc);
    }
    struct err e = {0};
    struct lm m;
    ok(lm_load(&m, "/nonexistent", &e) == -1 && e.code == ERR_IO, "a missing file: %s", e.msg);
    ok(lm_load(&m, "LICENSE", &e) == -1 && e.code == ERR_FORMAT, "a text: %s", e.msg);
}

int main(void)
{
    struct lm m;
    char *text;
    size_t size;
    extract(&m, &text, &size);
    test_order();
    test_round_trip(&m, text, size);
    test_reuse(&m);
    test_broken(text, size);
    lm_free(&m);
    free(text);
    return done();
}
