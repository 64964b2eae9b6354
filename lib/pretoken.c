#include "pretoken.h"

#include <stdint.h>
#include <stdlib.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "mem.h"
#include "unicode.h"

struct pretoken {
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack; /* NULL: no machine code */
};

static pcre2_code *compile(const char *regex, struct err *e)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF); /* what '.' leaves out; the default is the distributor's choice */
    int code = 0;
    PCRE2_SIZE at = 0;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED,
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &at, context);
    pcre2_compile_context_free(context);
    if (!re) {
        PCRE2_UCHAR text[128] = "";
        pcre2_get_error_message(code, text, sizeof text);
        err_set(e, ERR_CONFIG, "PCRE2 refuses the regex: %s", (const char *)text);
    }
    return re;
}

struct pretoken *pretoken_new(const char *regex, size_t n, bool use_jit, struct err *e)
{
    char *translated = pretoken_translate(regex, n, e);
    if (!translated)
        return NULL;
    pcre2_code *code = compile(translated, e);
    free(translated);
    if (!code)
        return NULL;
    struct pretoken *p = xcalloc(1, sizeof *p);
    p->code = code;
    p->match = pcre2_match_data_create(1, NULL);
    p->context = pcre2_match_context_create(NULL);
    if (!p->match || !p->context)
        xmalloc(SIZE_MAX, 1);                   /* says so and ends */
    pcre2_set_heap_limit(p->context, 1u << 20); /* KiB; 4 GiB is 0 to PCRE2 10.42 without Debian's updates */
    pcre2_set_depth_limit(p->context, UINT32_MAX);
    if (use_jit && pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0) {
        p->stack = pcre2_jit_stack_create(64 << 10, 16 << 20, NULL);
        pcre2_jit_stack_assign(p->context, NULL, p->stack);
    }
    return p;
}

void pretoken_free(struct pretoken *p)
{
    if (!p)
        return;
    pcre2_jit_stack_free(p->stack);
    pcre2_match_context_free(p->context);
    pcre2_match_data_free(p->match);
    pcre2_code_free(p->code);
    free(p);
}

void pretoken_start(struct pretoken_iter *it, const char *text, size_t n)
{
    *it = (struct pretoken_iter){.text = text, .n = n};
}

static int search(struct pretoken *p, struct pretoken_iter *it, struct err *e)
{
    /* a linear regex stays far below on any text; a hopeless one ends in seconds */
    const uint64_t steps = 10000000 + 64 * (uint64_t)it->n;
    pcre2_set_match_limit(p->context, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (p->stack)
        rc = pcre2_jit_match(p->code, (PCRE2_SPTR)it->text, it->n, it->search, 0, p->match, p->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter keeps its stack on the heap */
        rc = pcre2_match(p->code, (PCRE2_SPTR)it->text, it->n, it->search, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, p->match,
                         p->context);
    if (rc >= 0) {
        const PCRE2_SIZE *v = pcre2_get_ovector_pointer(p->match);
        it->match_begin = v[0];
        it->match_end = v[1];
        return 1;
    }
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    PCRE2_UCHAR text[128] = "";
    pcre2_get_error_message(rc, text, sizeof text);
    return err_at(e, ERR_LIMIT, it->search, "the split regex gives up at byte %zu of %zu: %s", it->search, it->n,
                  (const char *)text);
}

/* The next match after the last one. An empty match right after a match does not count, one elsewhere is a cut: what
 * Oniguruma's binding does. */
static int find(struct pretoken *p, struct pretoken_iter *it, struct err *e)
{
    while (it->search <= it->n) {
        const size_t last_end = it->match_end;
        const int rc = search(p, it, e);
        if (rc <= 0)
            return rc;
        if (it->match_begin < it->match_end || !it->matched || it->match_end != last_end) {
            it->search = it->match_end;
            it->matched = true;
            return 1;
        }
        it->search += it->search < it->n ? utf8_length(it->text[it->search]) : 1;
    }
    return 0;
}

int pretoken_next(struct pretoken *p, struct pretoken_iter *it, struct err *e)
{
    for (;;) {
        if (!it->pending && !it->exhausted) {
            const int rc = find(p, it, e);
            if (rc < 0)
                return -1;
            it->pending = rc;
            it->exhausted = !rc;
        }
        it->begin = it->end;
        if (it->exhausted) {
            it->end = it->n;
            return it->begin < it->end;
        }
        it->pending = it->begin < it->match_begin; /* the text before the match comes first */
        it->end = it->pending ? it->match_begin : it->match_end;
        if (it->begin < it->end)
            return 1;
    }
}
