#include "tokenizer.h"

#include <jansson.h>

#include "io.h"
#include "json.h"
#include "mem.h"
#include "sha256.h"
#include "tap.h"

#define BUNDLED "models/tiny_qwen3_vl/tokenizer.json"

static bool same_ids(const struct token_ids *got, const json_t *want)
{
    bool same = got->n == json_array_size(want);
    for (size_t i = 0; same && i < got->n; i++)
        same = got->id[i] == json_integer_value(json_array_get(want, i));
    return same;
}

/* Every line {"text": ..., "ids": [...]} of a file. */
static void check_cases(const char *tokenizer, const char *cases, int want)
{
    struct err e;
    char *data, *line, *next;
    size_t n;
    int n_cases = 0, wrong = 0;
    struct token_ids ids = {0};
    struct tokenizer *t = tokenizer_open(tokenizer, &e);
    if (!ok(t && !io_read(cases, 64 << 20, &data, &n, &e), "%s opens", tokenizer))
        return;
    for (line = data; *line; line = next) {
        next = line + strcspn(line, "\n");
        next += *next == '\n';
        json_t *one = json_parse(line, (size_t)(next - line), cases, &e);
        const json_t *text = json_object_get(one, "text"), *want_ids = json_object_get(one, "ids");
        ids.n = 0;
        n_cases++;
        if (!one || tokenizer_encode(t, json_string_value(text), json_string_length(text), 0, &ids, &e) ||
            !same_ids(&ids, want_ids)) {
            if (wrong++ < 5)
                diag("case %d differs", n_cases);
        }
        /* the first so many are the first so many */
        const size_t all = ids.n, some = all > 3 ? all / 2 : all;
        if (one && some) {
            if (tokenizer_encode(t, json_string_value(text), json_string_length(text), some, &ids, &e) ||
                ids.n != all + some || memcmp(ids.id, ids.id + all, some * sizeof *ids.id))
                wrong++;
        }
        json_decref(one);
    }
    ok(wrong == 0 && n_cases == want, "%s: %d of %d texts", cases, n_cases - wrong, want);
    free(ids.id);
    free(data);
    tokenizer_close(t);
}

/* The bundled tokenizer with one value changed: the member at a dotted path becomes `value` (JSON; NULL removes it). */
static struct tokenizer *variant(const char *path, const char *value, struct err *e)
{
    json_t *root = json_load(BUNDLED, 64 << 20, e), *at = root;
    char *copy = xstrdup(path), *key = copy, *dot;
    for (; (dot = strchr(key, '.')); key = dot + 1) {
        *dot = 0;
        at = json_is_array(at) ? json_array_get(at, strtoul(key, NULL, 10)) : json_object_get(at, key);
    }
    json_t *v = value ? json_parse(value, strlen(value), "value", e) : NULL;
    if (json_is_array(at))
        json_array_set_new(at, strtoul(key, NULL, 10), v);
    else if (v)
        json_object_set_new(at, key, v);
    else
        json_object_del(at, key);
    char *text = json_dumps(root, JSON_COMPACT);
    struct tokenizer *t = tokenizer_parse(text, strlen(text), "t.json", e);
    free(text);
    free(copy);
    json_decref(root);
    return t;
}

static void check_refusals(void)
{
    static const struct {
        const char *path, *value;
        enum err_code code;
        const char *part;
    } row[] = {
        {"model.type", "\"WordPiece\"", ERR_CONFIG, "model.type"},
        {"model.dropout", "0.1", ERR_CONFIG, "model.dropout"},
        {"model.byte_fallback", "true", ERR_CONFIG, "model.byte_fallback"},
        {"model.unk_token", "\"<unk>\"", ERR_CONFIG, "model.unk_token"},
        {"model.end_of_word_suffix", "\"</w>\"", ERR_CONFIG, "model.end_of_word_suffix"},
        {"model.continuing_subword_prefix", "\"##\"", ERR_CONFIG, "model.continuing_subword_prefix"},
        {"model.novelty", "1", ERR_CONFIG, "model.novelty"},
        {"model.ignore_merges", "3", ERR_FORMAT, "'ignore_merges' must be true or false"},
        {"model.vocab", NULL, ERR_FORMAT, "missing key 'vocab'"},
        {"model.merges", "{}", ERR_FORMAT, "'merges' must be a list"},
        {"model.vocab.a", "-1", ERR_FORMAT, "the id of 'a'"},
        {"model.vocab.a", "2147483648", ERR_FORMAT, "the id of 'a'"},
        {"model.vocab.a", "1.5", ERR_FORMAT, "the id of 'a'"},
        {"model.vocab.a", NULL, ERR_FORMAT, "which the vocabulary lacks"},
        {"model.merges.3", "[\"i\"]", ERR_FORMAT, "entry 3 is not a pair of strings"},
        {"model.merges.3", "\"i n\"", ERR_FORMAT, "entry 3 is not a pair of strings"},
        {"model.merges.0", "\"i n\"", ERR_FORMAT, "entry 1 is not two tokens"},
        {"model.merges.0", "\"i  n\"", ERR_FORMAT, "entry 0 is not two tokens"},
        {"model.merges.0", "[\"q\", \"\xce\xa9\"]", ERR_FORMAT, "merge 0 needs the token"},
        {"model", "7", ERR_FORMAT, "'model' must be an object"},
        {"normalizer", "{\"type\": \"NFKC\"}", ERR_CONFIG, "normalizer: anything but NFC"},
        {"normalizer", "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}, {\"type\": \"Lowercase\"}]}",
         ERR_CONFIG, "normalizer"},
        {"pre_tokenizer", "null", ERR_CONFIG, "pre_tokenizer"},
        {"pre_tokenizer.pretokenizers.0.behavior", "\"Removed\"", ERR_CONFIG, "pre_tokenizer.behavior"},
        {"pre_tokenizer.pretokenizers.0.invert", "true", ERR_CONFIG, "pre_tokenizer.invert"},
        {"pre_tokenizer.pretokenizers.0.pattern", "{\"String\": \" \"}", ERR_CONFIG, "pre_tokenizer.pattern"},
        {"pre_tokenizer.pretokenizers.0.pattern.Regex", "\"^a\"", ERR_CONFIG, "an anchor at byte 0"},
        {"pre_tokenizer.pretokenizers.1.add_prefix_space", "true", ERR_CONFIG, "pre_tokenizer.add_prefix_space"},
        {"pre_tokenizer.pretokenizers.1.use_regex", "true", ERR_CONFIG, "pre_tokenizer.use_regex"},
        {"post_processor", "{\"type\": \"TemplateProcessing\"}", ERR_CONFIG, "post_processor"},
        {"added_tokens", "3", ERR_FORMAT, "added_tokens must be a list"},
        {"added_tokens.1.id", "3000", ERR_FORMAT, "has id 3000 where its place in the file gives 2041"},
        {"added_tokens.1.content", "\"\"", ERR_FORMAT, "entry 1: 'content'"},
        {"added_tokens.1.lstrip", NULL, ERR_FORMAT, "missing key 'lstrip'"},
        {"added_tokens.1.content", "\"<|endoftext|>\"", ERR_FORMAT, "comes twice"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct err e = {0};
        struct tokenizer *t = variant(row[i].path, row[i].value, &e);
        if (!ok(!t && e.code == row[i].code && strstr(e.msg, row[i].part), "%s = %s is refused", row[i].path,
                row[i].value ? row[i].value : "(nothing)"))
            diag("%s", t ? "accepted" : e.msg);
        tokenizer_close(t);
    }
    struct err e = {0};
    ok(!tokenizer_parse("[]", 2, "t.json", &e) && e.code == ERR_FORMAT, "a list is no tokenizer");
    ok(!tokenizer_parse("{\"model\": ", 10, "t.json", &e) && e.code == ERR_FORMAT, "half a file is refused");
    ok(!tokenizer_open("/nonexistent/tokenizer.json", &e) && e.code == ERR_IO, "a missing file");
}

/* Text, with ids by the spelling of the tokens, separated by spaces. */
static void is_encoded(const char *path, const char *value, const char *text, const char *want)
{
    struct err e = {0};
    struct token_ids ids = {0};
    struct tokenizer *t = variant(path, value, &e);
    bool same = t && !tokenizer_encode(t, text, strlen(text), 0, &ids, &e);
    size_t k = 0;
    for (const char *p = want; same && *p; k++) {
        const size_t n = strcspn(p, " ");
        char *token = xstrndup(p, n);
        same = k < ids.n && tokenizer_id(t, token) == ids.id[k];
        free(token);
        p += n + (p[n] == ' ');
    }
    if (!ok(same && k == ids.n, "%s = %.60s: '%s'", path, value, text))
        diag("%s", t ? "other ids" : e.msg);
    free(ids.id);
    tokenizer_close(t);
}

static void check_variants(void)
{
    is_encoded("version", "\"1.0\"", " tonic", "\xc4\xa0to nic");
    is_encoded("model.merges", "[]", "in the", "i n \xc4\xa0 t h e");
    is_encoded("model.merges", "[\"#version: 0.2\", \"i n\", \"t h\", \"in g\"]", "thing", "th ing");
    is_encoded("model.merges", "[\"a n\", \"i n\", \"n d\", \"a n\"]", "and in",
               "a nd \xc4\xa0 in"); /* the last rank counts */
    is_encoded("model.continuing_subword_prefix", "\"\"", "in", "in");
    is_encoded("model.dropout", "0.0", "in", "in");
    is_encoded("normalizer", "null", "e\xcc\x81", "e \xc3\x8c \xc4\xa3");
    is_encoded("normalizer", "{\"type\": \"Sequence\", \"normalizers\": []}", "e\xcc\x81", "e \xc3\x8c \xc4\xa3");
    is_encoded("post_processor", "{\"type\": \"ByteLevel\", \"trim_offsets\": false}", "in", "in");
    is_encoded("added_tokens.0.lstrip", "true", "a \t<|endoftext|>", "a <|endoftext|>");
    is_encoded("added_tokens.0.rstrip", "true",
               "<|endoftext|> \xe3\x80\x80"
               "a",
               "<|endoftext|> a");
    is_encoded("added_tokens.0.single_word", "true", "!<|endoftext|>", "! <|endoftext|>");
    is_encoded("added_tokens.0.single_word", "true", "a<|endoftext|>", "a < | en do f te xt | >");
}

/* A byte without a token is left out, and its neighbours merge over the gap: what the library does. */
static void check_missing_bytes(void)
{
    static const char json[] =
        "{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": "
        "{\"Regex\": \"\\\\s|\\\\S+\"}, \"behavior\": \"Isolated\", \"invert\": false}, {\"type\": \"ByteLevel\", "
        "\"add_prefix_space\": false, \"use_regex\": false}]}, \"model\": {\"type\": \"BPE\", "
        "\"vocab\": {\"a\": 5, \"b\": 1, \"ab\": 2}, \"merges\": [\"a b\"]}}";
    struct err e = {0};
    struct token_ids ids = {0};
    struct tokenizer *t = tokenizer_parse(json, strlen(json), "t.json", &e);
    ok(t && !tokenizer_encode(t, "a!b c ba", 8, 0, &ids, &e) && ids.n == 3 && ids.id[0] == 2 && ids.id[1] == 1 &&
           ids.id[2] == 5,
       "bytes without a token");
    free(ids.id);
    tokenizer_close(t);
}

/* What whole words are: with ignore_merges a word of the vocabulary needs no merge. */
static void check_ignore_merges(void)
{
    struct err e = {0};
    json_t *root = json_load(BUNDLED, 64 << 20, &e), *model = json_object_get(root, "model");
    json_object_set_new(model, "merges", json_array());
    json_object_set_new(model, "ignore_merges", json_true());
    char *text = json_dumps(root, JSON_COMPACT);
    struct tokenizer *t = tokenizer_parse(text, strlen(text), "t.json", &e);
    struct token_ids ids = {0};
    ok(t && !tokenizer_encode(t, "in thx", 6, 0, &ids, &e) && ids.n == 5 && ids.id[0] == tokenizer_id(t, "in"),
       "ignore_merges: a whole word, and one that is none");
    free(ids.id);
    tokenizer_close(t);
    free(text);
    json_decref(root);
}

/* The spellings of all ids, joined, are the text again. */
static bool joins_to(const json_t *vocab, const struct token_ids *ids, const char *text, size_t n)
{
    const char **spelling = xcalloc(4096, sizeof *spelling);
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)vocab, key, v) spelling[json_integer_value(v)] = key;
    size_t k = 0;
    bool same = true;
    for (size_t i = 0; same && i < ids->n; i++)
        for (const unsigned char *p = (const unsigned char *)spelling[ids->id[i]]; same && *p; p++) {
            if (*p >= 0x80) /* "Ġ" is the space, the only one here beyond ASCII */
                p++;
            same = k < n && text[k++] == (*p >= 0x80 ? ' ' : (char)*p);
        }
    free(spelling);
    return same && k == n;
}

static void check_megabytes(void)
{
    enum { N = 1 << 20 };
    static const char *const unit[] = {"a", " ", "ab", "ha ", "the quick", "in", " a", "-", "1", "'s"};
    struct err e = {0};
    json_t *root = json_load(BUNDLED, 64 << 20, &e);
    const json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    struct tokenizer *t = tokenizer_open(BUNDLED, &e);
    struct token_ids ids = {0};
    char *text = xmalloc(N, 1);
    for (size_t k = 0; k < sizeof unit / sizeof *unit; k++) {
        for (size_t i = 0; i < N; i++)
            text[i] = unit[k][i % strlen(unit[k])];
        ids.n = 0;
        ok(!tokenizer_encode(t, text, N, 0, &ids, &e) && joins_to(vocab, &ids, text, N), "1 MB of '%s'", unit[k]);
    }
    ids.n = 0;
    text[N - 1] = '\xff';
    ok(tokenizer_encode(t, text, N, 0, &ids, &e) && e.code == ERR_FORMAT && e.pos == N - 1 &&
           strstr(e.msg, "byte 1048575"),
       "text that is not UTF-8");
    free(text);
    free(ids.id);
    tokenizer_close(t);
    json_decref(root);
}

static void check_questions(void)
{
    struct err e = {0};
    struct tokenizer *t = tokenizer_open(BUNDLED, &e);
    char *data, sha[65];
    size_t n;
    ok(t && tokenizer_size(t) == 2048, "2,048 tokens");
    ok(tokenizer_id(t, "<|endoftext|>") == 2040 &&
           tokenizer_id(t, "\xc4\xa0"
                           "a") == 256 &&
           tokenizer_id(t, "nope!") == -1,
       "ids by spelling");
    if (!io_read(BUNDLED, 64 << 20, &data, &n, &e)) {
        sha256_of(data, n, sha);
        is_str(tokenizer_sha256(t), sha, "the file's hash");
        free(data);
    }
    tokenizer_close(t);
    char *pad = tokenizer_pad_token("models/tiny_qwen3_vl/tokenizer_config.json", &e);
    is_str(pad, "<|endoftext|>", "pad_token of the bundled model");
    free(pad);
    ok(!tokenizer_pad_token("models/tiny_qwen3_vl/config.json", &e) && e.code == ERR_CONFIG &&
           strstr(e.msg, "no pad_token"),
       "a file without pad_token");
}

int main(void)
{
    check_cases(BUNDLED, "tests/fixtures/tokenizer_cases.jsonl", 456);
    check_cases("tests/fixtures/tokenizer_other.json", "tests/fixtures/tokenizer_other.jsonl", 426);
    check_refusals();
    check_variants();
    check_missing_bytes();
    check_ignore_merges();
    check_megabytes();
    check_questions();
    return done();
}
