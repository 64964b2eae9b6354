#include "bpe.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "unicode.h"

enum { CACHE_SLOTS = 1 << 14, CACHE_BYTES = 22, CACHE_IDS = 10 };

struct token {
    const char *text; /* NULL: free slot */
    uint32_t n;
    int32_t id;
};

struct merge {
    uint64_t pair; /* NO_PAIR: free slot */
    uint32_t rank;
    int32_t id;
};
#define NO_PAIR UINT64_MAX /* ids are not negative */

struct symbol { /* a token inside the word that is being merged; a doubly linked list */
    int32_t id; /* -1: merged into the one before */
    int32_t prev, next;
};

struct candidate {  /* a merge that may be done; by rank, then from the left */
    uint64_t order; /* rank << 32 | position */
    int32_t id;     /* what comes out */
};

struct cached {
    uint8_t n, n_ids;
    char word[CACHE_BYTES];
    int32_t id[CACHE_IDS];
};

struct bpe {
    struct token *token; /* open addressing, power of two slots */
    size_t token_mask, n_tokens;
    struct merge *merge;
    size_t merge_mask;
    uint32_t n_merges;
    char **text; /* blocks that hold the spellings */
    size_t n_texts, texts_cap, text_used, text_size;
    bool ignore_merges;
    int32_t byte_id[256]; /* -1: no token */
    char byte_text[256][4];
    uint8_t byte_text_n[256];
    struct cached *cache;
    char *joined; /* scratch */
    size_t joined_cap;
    struct symbol *symbol;
    size_t symbol_cap;
    struct candidate *heap;
    size_t heap_n, heap_cap;
};

void token_ids_add(struct token_ids *t, int32_t id)
{
    t->id = xgrow(t->id, &t->cap, t->n + 1, sizeof *t->id);
    t->id[t->n++] = id;
}

static size_t slots_for(size_t n)
{
    size_t slots = 16;
    while (slots < 2 * n)
        slots *= 2;
    return slots;
}

static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static uint64_t hash_bytes(const char *s, size_t n)
{
    uint64_t h = n, w = 0;
    for (; n >= 8; s += 8, n -= 8) {
        memcpy(&w, s, 8);
        h = mix(h ^ w);
    }
    w = 0;
    memcpy(&w, s, n);
    return mix(h ^ w);
}

/* The byte-level alphabet of GPT-2: bytes that print stand for themselves, the others follow from U+0100 on. */
static void make_alphabet(struct bpe *b)
{
    uint32_t next = 0x100;
    for (int i = 0; i < 256; i++) {
        const bool prints = (i > 0x20 && i < 0x7f) || (i > 0xa0 && i != 0xad);
        b->byte_text_n[i] = (uint8_t)utf8_encode(prints ? (uint32_t)i : next++, b->byte_text[i]);
        b->byte_id[i] = -1;
    }
}

struct bpe *bpe_new(size_t n_tokens, size_t n_merges, bool ignore_merges)
{
    struct bpe *b = xcalloc(1, sizeof *b);
    const size_t token_slots = slots_for(n_tokens), merge_slots = slots_for(n_merges);
    b->token = xcalloc(token_slots, sizeof *b->token);
    b->token_mask = token_slots - 1;
    b->merge = xmalloc(merge_slots, sizeof *b->merge);
    b->merge_mask = merge_slots - 1;
    for (size_t i = 0; i < merge_slots; i++)
        b->merge[i].pair = NO_PAIR;
    b->cache = xcalloc(CACHE_SLOTS, sizeof *b->cache);
    b->ignore_merges = ignore_merges;
    make_alphabet(b);
    return b;
}

void bpe_free(struct bpe *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < b->n_texts; i++)
        free(b->text[i]);
    free(b->text);
    free(b->token);
    free(b->merge);
    free(b->cache);
    free(b->joined);
    free(b->symbol);
    free(b->heap);
    free(b);
}

/* ---- tokens and merges ---- */

static struct token *token_slot(const struct bpe *b, const char *text, size_t n)
{
    for (size_t i = (size_t)hash_bytes(text, n);; i++) {
        struct token *t = &b->token[i & b->token_mask];
        if (!t->text || (t->n == n && !memcmp(t->text, text, n)))
            return t;
    }
}

static const char *keep_text(struct bpe *b, const char *text, size_t n)
{
    if (b->n_texts == 0 || b->text_size - b->text_used < n) {
        b->text = xgrow(b->text, &b->texts_cap, b->n_texts + 1, sizeof *b->text);
        b->text_size = n > 64 << 10 ? n : 64 << 10;
        b->text_used = 0;
        b->text[b->n_texts++] = xmalloc(b->text_size, 1);
    }
    char *p = b->text[b->n_texts - 1] + b->text_used;
    memcpy(p, text, n);
    b->text_used += n;
    return p;
}

bool bpe_add_token(struct bpe *b, const char *text, size_t n, int32_t id)
{
    struct token *t = token_slot(b, text, n);
    if (t->text)
        return false;
    if (2 * b->n_tokens > b->token_mask || id < 0 || n > INT32_MAX)
        BUG("token %zu with id %d", b->n_tokens, id);
    *t = (struct token){keep_text(b, text, n), (uint32_t)n, id};
    b->n_tokens++;
    for (int i = 0; i < 256; i++)
        if (n == b->byte_text_n[i] && !memcmp(text, b->byte_text[i], n))
            b->byte_id[i] = id;
    return true;
}

int32_t bpe_find(const struct bpe *b, const char *text, size_t n)
{
    const struct token *t = token_slot(b, text, n);
    return t->text ? t->id : -1;
}

size_t bpe_size(const struct bpe *b)
{
    return b->n_tokens;
}

static uint64_t pair_of(int32_t a, int32_t b)
{
    return (uint64_t)(uint32_t)a << 32 | (uint32_t)b;
}

static struct merge *merge_slot(const struct bpe *b, uint64_t pair)
{
    for (size_t i = (size_t)mix(pair * 0xff51afd7ed558ccdu);; i++) {
        struct merge *m = &b->merge[i & b->merge_mask];
        if (m->pair == pair || m->pair == NO_PAIR)
            return m;
    }
}

int bpe_add_merge(struct bpe *b, const char *first, size_t n_first, const char *second, size_t n_second, struct err *e)
{
    b->joined = xgrow(b->joined, &b->joined_cap, n_first + n_second + 1, 1);
    memcpy(b->joined, first, n_first);
    memcpy(b->joined + n_first, second, n_second);
    const struct {
        const char *text;
        size_t n;
    } part[3] = {{first, n_first}, {second, n_second}, {b->joined, n_first + n_second}};
    int32_t id[3];
    for (int i = 0; i < 3; i++) {
        id[i] = bpe_find(b, part[i].text, part[i].n);
        if (id[i] < 0)
            return err_set(e, ERR_FORMAT, "merge %u needs the token '%.*s', which the vocabulary lacks", b->n_merges,
                           (int)(part[i].n < 100 ? part[i].n : 100), part[i].text);
    }
    if (2 * (size_t)b->n_merges > b->merge_mask)
        BUG("merge %u is one more than announced", b->n_merges);
    *merge_slot(b, pair_of(id[0], id[1])) = (struct merge){pair_of(id[0], id[1]), b->n_merges, id[2]};
    b->n_merges++;
    return 0;
}

/* ---- merging ---- */

static void heap_sift(struct bpe *b, size_t i)
{
    struct candidate *h = b->heap;
    const struct candidate x = h[i];
    for (size_t child; (child = 2 * i + 1) < b->heap_n; i = child) {
        if (child + 1 < b->heap_n && h[child + 1].order < h[child].order)
            child++;
        if (x.order <= h[child].order)
            break;
        h[i] = h[child];
    }
    h[i] = x;
}

static struct candidate heap_pop(struct bpe *b)
{
    const struct candidate top = b->heap[0];
    b->heap[0] = b->heap[--b->heap_n];
    if (b->heap_n)
        heap_sift(b, 0);
    return top;
}

/* Append without ordering; the caller does that. */
static bool heap_append(struct bpe *b, int32_t left, int32_t right, size_t position)
{
    const struct merge *m = merge_slot(b, pair_of(left, right));
    if (m->pair == NO_PAIR)
        return false;
    b->heap = xgrow(b->heap, &b->heap_cap, b->heap_n + 1, sizeof *b->heap);
    b->heap[b->heap_n++] = (struct candidate){(uint64_t)m->rank << 32 | position, m->id};
    return true;
}

static void heap_push(struct bpe *b, int32_t left, int32_t right, int32_t position)
{
    if (!heap_append(b, left, right, (size_t)position))
        return;
    struct candidate *h = b->heap;
    size_t i = b->heap_n - 1;
    const struct candidate x = h[i];
    for (size_t parent; i && x.order < h[parent = (i - 1) / 2].order; i = parent)
        h[i] = h[parent];
    h[i] = x;
}

/* The bytes of the word as symbols; how many there are. */
static size_t make_symbols(struct bpe *b, const char *word, size_t n)
{
    size_t k = 0;
    b->symbol = xgrow(b->symbol, &b->symbol_cap, n, sizeof *b->symbol);
    for (size_t i = 0; i < n; i++) {
        const int32_t id = b->byte_id[(unsigned char)word[i]];
        if (id >= 0) {
            b->symbol[k] = (struct symbol){id, (int32_t)k - 1, (int32_t)k + 1};
            k++;
        }
    }
    if (k)
        b->symbol[k - 1].next = -1;
    return k;
}

static void merge_word(struct bpe *b, const char *word, size_t n, struct token_ids *out)
{
    const size_t k = make_symbols(b, word, n);
    struct symbol *s = b->symbol;
    b->heap_n = 0;
    for (size_t i = 0; i + 1 < k; i++)
        heap_append(b, s[i].id, s[i + 1].id, i);
    for (size_t i = b->heap_n / 2; i-- > 0;)
        heap_sift(b, i);
    while (b->heap_n) {
        const struct candidate top = heap_pop(b);
        const int32_t at = (int32_t)(top.order & UINT32_MAX), right = s[at].next;
        if (s[at].id < 0 || right < 0)
            continue;
        /* An old candidate is valid if the pair that stands there now gives the same token, by whatever rule: the
         * library asks no more, so neither do we. */
        const struct merge *m = merge_slot(b, pair_of(s[at].id, s[right].id));
        if (m->pair == NO_PAIR || m->id != top.id)
            continue;
        s[at].id = top.id;
        s[at].next = s[right].next;
        s[right].id = -1;
        if (s[at].next >= 0)
            s[s[at].next].prev = at;
        if (s[at].prev >= 0)
            heap_push(b, s[s[at].prev].id, s[at].id, s[at].prev);
        if (s[at].next >= 0)
            heap_push(b, s[at].id, s[s[at].next].id, at);
    }
    for (int32_t i = k ? 0 : -1; i >= 0; i = s[i].next)
        token_ids_add(out, s[i].id);
}

/* The token that the whole word is, or -1. */
static int32_t whole_word(struct bpe *b, const char *word, size_t n)
{
    size_t k = 0;
    b->joined = xgrow(b->joined, &b->joined_cap, 2 * n, 1);
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)word[i];
        memcpy(b->joined + k, b->byte_text[c], b->byte_text_n[c]);
        k += b->byte_text_n[c];
    }
    return bpe_find(b, b->joined, k);
}

static void encode(struct bpe *b, const char *word, size_t n, struct token_ids *out)
{
    const int32_t id = b->ignore_merges ? whole_word(b, word, n) : -1;
    if (id >= 0)
        token_ids_add(out, id);
    else
        merge_word(b, word, n, out);
}

void bpe_encode(struct bpe *b, const char *word, size_t n, struct token_ids *out)
{
    if (n == 0 || n > CACHE_BYTES) {
        if (n)
            encode(b, word, n, out);
        return;
    }
    struct cached *c = &b->cache[hash_bytes(word, n) & (CACHE_SLOTS - 1)];
    if (c->n != n || memcmp(c->word, word, n)) {
        const size_t before = out->n;
        encode(b, word, n, out);
        const size_t n_ids = out->n - before;
        if (n_ids && n_ids <= CACHE_IDS) {
            c->n = (uint8_t)n;
            c->n_ids = (uint8_t)n_ids;
            memcpy(c->word, word, n);
            memcpy(c->id, out->id + before, n_ids * sizeof *c->id);
        }
        return;
    }
    out->id = xgrow(out->id, &out->cap, out->n + c->n_ids, sizeof *out->id);
    memcpy(out->id + out->n, c->id, c->n_ids * sizeof *c->id);
    out->n += c->n_ids;
}
