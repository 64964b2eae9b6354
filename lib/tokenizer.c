#include "tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "added.h"
#include "io.h"
#include "json.h"
#include "mem.h"
#include "pretoken.h"
#include "sha256.h"
#include "unicode.h"

enum { MAX_TEXT = 1 << 30 };

struct tokenizer {
    struct bpe *bpe;
    struct pretoken *pretoken;
    struct added_set raw, normalized; /* added tokens, by their flag `normalized` */
    size_t n_new;                     /* added tokens that are not in the vocabulary */
    int32_t max_added;                /* highest id of an added token, -1 if none */
    bool nfc;
    char sha256[65];
};

/* ---- reading ---- */

static int unsupported(const char *name, const char *key, const char *what, struct err *e)
{
    return err_set(e, ERR_CONFIG, "'%s': %s: %s is not supported", name, key, what);
}

static bool is_absent(const json_t *v)
{
    return !v || json_is_null(v);
}

static const char *type_of(const json_t *v)
{
    const char *s = json_string_value(json_object_get(v, "type"));
    return s ? s : "";
}

/* Settings of the model that change ids, with the values under which they change nothing. */
static int check_model(const json_t *model, const char *name, struct err *e)
{
    static const char *const text[] = {"unk_token", "continuing_subword_prefix", "end_of_word_suffix"};
    static const char *const known[] = {"type",
                                        "dropout",
                                        "unk_token",
                                        "continuing_subword_prefix",
                                        "end_of_word_suffix",
                                        "fuse_unk",
                                        "byte_fallback",
                                        "ignore_merges",
                                        "vocab",
                                        "merges"};
    if (strcmp(type_of(model), "BPE") != 0)
        return unsupported(name, "model.type", "any model but \"BPE\"", e);
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        const json_t *v = json_object_get(model, text[i]);
        /* an empty affix is no affix; an empty unk_token would be a token */
        if (!is_absent(v) && (i == 0 || !json_is_string(v) || json_string_length(v))) {
            char *key = xasprintf("model.%s", text[i]);
            unsupported(name, key, "any value but null", e);
            free(key);
            return -1;
        }
    }
    const json_t *dropout = json_object_get(model, "dropout"), *fallback = json_object_get(model, "byte_fallback");
    if (!is_absent(dropout) && !(json_is_number(dropout) && json_number_value(dropout) == 0))
        return unsupported(name, "model.dropout", "any value but null", e);
    if (!is_absent(fallback) && !json_is_false(fallback))
        return unsupported(name, "model.byte_fallback", "any value but false", e);
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)model, key, v)
    {
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            found |= !strcmp(key, known[i]);
        if (!found)
            return err_set(e, ERR_CONFIG, "'%s': model.%.100s is not supported", name, key);
    }
    return 0;
}

static int read_vocab(struct tokenizer *t, const json_t *vocab, const char *name, struct err *e)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)vocab, key, v)
    {
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > INT32_MAX)
            return err_set(e, ERR_FORMAT, "'%s': model.vocab: the id of '%.100s' must be a whole number from 0 to %d",
                           name, key, INT32_MAX);
        if (!bpe_add_token(t->bpe, key, strlen(key), (int32_t)json_integer_value(v)))
            return err_set(e, ERR_FORMAT, "'%s': model.vocab: token '%.100s' comes twice", name, key);
    }
    return 0;
}

/* A merge is ["a", "b"] or "a b"; one list holds one spelling, as the library wants it. */
static int read_merges(struct tokenizer *t, const json_t *merges, const char *name, struct err *e)
{
    const bool pairs = json_is_array(json_array_get(merges, 0));
    for (size_t i = 0; i < json_array_size(merges); i++) {
        const json_t *m = json_array_get(merges, i), *a = json_array_get(m, 0), *b = json_array_get(m, 1);
        const char *text = json_string_value(m), *space = text ? strchr(text, ' ') : NULL;
        int rc;
        if (text && !strncmp(text, "#version", 8) && !pairs) /* a first line that merges.txt files carry */
            continue;
        if (pairs && json_array_size(m) == 2 && json_is_string(a) && json_is_string(b))
            rc = bpe_add_merge(t->bpe, json_string_value(a), json_string_length(a), json_string_value(b),
                               json_string_length(b), e);
        else if (!pairs && space && !strchr(space + 1, ' '))
            rc = bpe_add_merge(t->bpe, text, (size_t)(space - text), space + 1,
                               json_string_length(m) - (size_t)(space + 1 - text), e);
        else
            return err_set(e, ERR_FORMAT, "'%s': model.merges: entry %zu is not %s", name, i,
                           pairs ? "a pair of strings" : "two tokens with a space between them");
        if (rc)
            return err_wrap(e, "'%s': model.merges", name);
    }
    return 0;
}

static int read_model(struct tokenizer *t, const json_t *root, const char *name, struct err *e)
{
    json_t *model, *vocab, *merges;
    if (json_get_object(root, "model", name, &model, e) || check_model(model, name, e) ||
        json_get_object(model, "vocab", name, &vocab, e) || json_get_array(model, "merges", name, &merges, e))
        return -1;
    int ignore_merges = 0;
    if (!is_absent(json_object_get(model, "ignore_merges")) &&
        json_get_bool(model, "ignore_merges", name, &ignore_merges, e))
        return -1;
    t->bpe = bpe_new(json_object_size(vocab), json_array_size(merges), ignore_merges);
    return read_vocab(t, vocab, name, e) || read_merges(t, merges, name, e) ? -1 : 0;
}

static int read_normalizer(struct tokenizer *t, const json_t *v, const char *name, struct err *e)
{
    if (is_absent(v))
        return 0;
    const json_t *list = json_object_get(v, "normalizers");
    const bool sequence = !strcmp(type_of(v), "Sequence") && json_is_array(list);
    for (size_t i = 0; i < (sequence ? json_array_size(list) : 1); i++) {
        if (strcmp(type_of(sequence ? json_array_get(list, i) : v), "NFC") != 0)
            return unsupported(name, "normalizer", "anything but NFC", e);
        t->nfc = true;
    }
    return 0;
}

static int read_pre_tokenizer(struct tokenizer *t, const json_t *v, const char *name, struct err *e)
{
    const json_t *list = json_object_get(v, "pretokenizers");
    const json_t *split = json_array_get(list, 0), *bytes = json_array_get(list, 1);
    if (strcmp(type_of(v), "Sequence") != 0 || json_array_size(list) != 2 || strcmp(type_of(split), "Split") != 0 ||
        strcmp(type_of(bytes), "ByteLevel") != 0)
        return unsupported(name, "pre_tokenizer", "anything but a Sequence of one Split and one ByteLevel", e);
    const json_t *regex = json_object_get(json_object_get(split, "pattern"), "Regex");
    const char *behavior = json_string_value(json_object_get(split, "behavior"));
    if (!json_is_string(regex))
        return unsupported(name, "pre_tokenizer.pattern", "anything but a Regex", e);
    if (!behavior || strcmp(behavior, "Isolated") != 0)
        return unsupported(name, "pre_tokenizer.behavior", "any value but \"Isolated\"", e);
    if (!json_is_false(json_object_get(split, "invert")))
        return unsupported(name, "pre_tokenizer.invert", "any value but false", e);
    if (!json_is_false(json_object_get(bytes, "add_prefix_space")))
        return unsupported(name, "pre_tokenizer.add_prefix_space", "any value but false", e);
    if (!json_is_false(json_object_get(bytes, "use_regex")))
        return unsupported(name, "pre_tokenizer.use_regex", "any value but false", e);
    t->pretoken = pretoken_new(json_string_value(regex), json_string_length(regex), true, e);
    return t->pretoken ? 0 : err_wrap(e, "'%s': pre_tokenizer.pattern", name);
}

static int check_post_processor(const json_t *v, const char *name, struct err *e)
{
    if (is_absent(v) || !strcmp(type_of(v), "ByteLevel"))
        return 0;
    const json_t *list = json_object_get(v, "processors");
    bool harmless = !strcmp(type_of(v), "Sequence") && json_is_array(list);
    for (size_t i = 0; harmless && i < json_array_size(list); i++)
        harmless = !strcmp(type_of(json_array_get(list, i)), "ByteLevel");
    return harmless ? 0 : unsupported(name, "post_processor", "one that adds tokens", e);
}

/* The library numbers added tokens itself and takes the file's id as a wish: the id of the vocabulary where the token
 * is in it, else the next free one. A file whose ids are others would mean other ids there than it says. */
static int check_added_id(struct tokenizer *t, const struct added_token *a, const char *where, struct err *e)
{
    int32_t want = bpe_find(t->bpe, a->text, a->n);
    if (want < 0) {
        const int64_t size = (int64_t)bpe_size(t->bpe);
        want = (int32_t)(t->max_added >= size || (t->max_added >= 0 && size == 0) ? t->max_added + 1 : size);
        t->n_new++;
    }
    if (a->id != want)
        return err_set(e, ERR_FORMAT, "%s: token '%.100s' has id %d where its place in the file gives %d", where,
                       a->text, a->id, want);
    if (a->id > t->max_added)
        t->max_added = a->id;
    return 0;
}

static int read_added_token(struct tokenizer *t, const json_t *v, const char *where, struct err *e)
{
    static const char *const flag[] = {"single_word", "lstrip", "rstrip", "normalized"};
    int value[4];
    int64_t id;
    const json_t *content = json_object_get(v, "content");
    if (!json_is_string(content) || json_string_length(content) == 0)
        return err_set(e, ERR_FORMAT, "%s: 'content' must be a string, not empty", where);
    if (json_get_int(v, "id", where, 0, INT32_MAX - 1, &id, e))
        return -1;
    for (int i = 0; i < 4; i++)
        if (json_get_bool(v, flag[i], where, &value[i], e))
            return -1;
    struct added_token a = {.text = xstrndup(json_string_value(content), json_string_length(content)),
                            .n = json_string_length(content),
                            .id = (int32_t)id,
                            .single_word = value[0],
                            .lstrip = value[1],
                            .rstrip = value[2]};
    if (check_added_id(t, &a, where, e)) {
        free(a.text);
        return -1;
    }
    size_t n;
    char *composed = value[3] && t->nfc ? unicode_nfc(a.text, a.n, &n) : NULL; /* it is looked for in normalized text */
    if (composed) {
        free(a.text);
        a.text = composed;
        a.n = n;
    }
    added_add(value[3] ? &t->normalized : &t->raw, a);
    return 0;
}

static int read_added_tokens(struct tokenizer *t, const json_t *root, const char *name, struct err *e)
{
    const json_t *list = json_object_get(root, "added_tokens");
    t->max_added = -1;
    if (!is_absent(list) && !json_is_array(list))
        return err_set(e, ERR_FORMAT, "'%s': added_tokens must be a list", name);
    int rc = 0;
    for (size_t i = 0; !rc && i < json_array_size(list); i++) {
        char *where = xasprintf("'%s': added_tokens entry %zu", name, i);
        rc = read_added_token(t, json_array_get(list, i), where, e);
        free(where);
    }
    if (!rc && (added_seal(&t->raw, e) || added_seal(&t->normalized, e)))
        rc = err_wrap(e, "'%s': added_tokens", name);
    return rc;
}

static int read_tokenizer(struct tokenizer *t, const json_t *root, const char *name, struct err *e)
{
    if (!json_is_object(root))
        return err_set(e, ERR_FORMAT, "'%s': is not an object, as a tokenizer.json is", name);
    if (read_normalizer(t, json_object_get(root, "normalizer"), name, e) ||
        read_pre_tokenizer(t, json_object_get(root, "pre_tokenizer"), name, e) ||
        check_post_processor(json_object_get(root, "post_processor"), name, e) || read_model(t, root, name, e))
        return -1;
    return read_added_tokens(t, root, name, e);
}

struct tokenizer *tokenizer_parse(const char *data, size_t n, const char *name, struct err *e)
{
    json_t *root = json_parse(data, n, name, e);
    if (!root)
        return NULL;
    struct tokenizer *t = xcalloc(1, sizeof *t);
    const int rc = read_tokenizer(t, root, name, e);
    json_decref(root);
    if (rc) {
        tokenizer_close(t);
        return NULL;
    }
    sha256_of(data, n, t->sha256);
    return t;
}

struct tokenizer *tokenizer_open(const char *path, struct err *e)
{
    char *data;
    size_t n;
    if (io_read(path, JSON_LIMIT_DOCUMENT, &data, &n, e))
        return NULL;
    struct tokenizer *t = tokenizer_parse(data, n, path, e);
    free(data);
    return t;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    bpe_free(t->bpe);
    pretoken_free(t->pretoken);
    added_free(&t->raw);
    added_free(&t->normalized);
    free(t);
}

/* ---- encoding ---- */

struct job {
    struct tokenizer *t;
    struct token_ids *out;
    size_t stop; /* enough once out->n reaches this */
};

static int encode_words(struct job *j, const char *text, size_t n, struct err *e)
{
    struct pretoken_iter it;
    pretoken_start(&it, text, n);
    int rc = 0;
    while (j->out->n < j->stop && (rc = pretoken_next(j->t->pretoken, &it, e)) > 0)
        bpe_encode(j->t->bpe, text + it.begin, it.end - it.begin, j->out);
    return rc < 0 ? -1 : 0;
}

/* text without raw added tokens */
static int encode_stretch(struct job *j, const char *text, size_t n, struct err *e)
{
    char *composed = j->t->nfc ? unicode_nfc(text, n, &n) : NULL;
    struct added_iter it;
    struct added_piece p;
    int rc = 0;
    if (composed)
        text = composed;
    added_start(&it, text, n);
    while (!rc && j->out->n < j->stop && added_next(&j->t->normalized, &it, &p)) {
        if (p.id < 0)
            rc = encode_words(j, text + p.begin, p.end - p.begin, e);
        else
            token_ids_add(j->out, p.id);
    }
    free(composed);
    return rc;
}

int tokenizer_encode(struct tokenizer *t, const char *text, size_t n, size_t max_ids, struct token_ids *out,
                     struct err *e)
{
    if (n > MAX_TEXT)
        return err_set(e, ERR_LIMIT, "a text of %zu bytes is longer than the %d allowed", n, MAX_TEXT);
    const size_t bad = utf8_check(text, n);
    if (bad < n)
        return err_at(e, ERR_FORMAT, bad, "the text is not UTF-8 at byte %zu", bad);
    struct job j = {.t = t, .out = out, .stop = max_ids && max_ids < SIZE_MAX - out->n ? out->n + max_ids : SIZE_MAX};
    struct added_iter it;
    struct added_piece p;
    int rc = 0;
    added_start(&it, text, n);
    while (!rc && out->n < j.stop && added_next(&t->raw, &it, &p)) {
        if (p.id < 0)
            rc = encode_stretch(&j, text + p.begin, p.end - p.begin, e);
        else
            token_ids_add(out, p.id);
    }
    if (out->n > j.stop) /* the last word gave more than were asked for */
        out->n = j.stop;
    return rc;
}

/* ---- questions ---- */

int32_t tokenizer_id(const struct tokenizer *t, const char *token)
{
    const struct added_set *set[2] = {&t->raw, &t->normalized};
    const size_t n = strlen(token);
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < set[k]->n; i++)
            if (set[k]->token[i].n == n && !memcmp(set[k]->token[i].text, token, n))
                return set[k]->token[i].id;
    return bpe_find(t->bpe, token, n);
}

size_t tokenizer_size(const struct tokenizer *t)
{
    return bpe_size(t->bpe) + t->n_new;
}

const char *tokenizer_sha256(const struct tokenizer *t)
{
    return t->sha256;
}

char *tokenizer_pad_token(const char *config_path, struct err *e)
{
    json_t *root = json_load(config_path, JSON_LIMIT_DOCUMENT, e);
    if (!root)
        return NULL;
    const json_t *pad = json_object_get(root, "pad_token");
    if (json_is_object(pad))
        pad = json_object_get(pad, "content");
    char *text = NULL;
    if (json_is_string(pad) && json_string_length(pad) && strlen(json_string_value(pad)) == json_string_length(pad))
        text = xstrdup(json_string_value(pad));
    else
        err_set(e, ERR_CONFIG, "'%s': names no pad_token", config_path);
    json_decref(root);
    return text;
}
