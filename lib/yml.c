#include "yml.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include <yaml.h>

#include "io.h"
#include "json.h"
#include "mem.h"

/* ---- parsing ---- */

struct reader {
    yaml_parser_t parser;
    const char *name, *data;
    size_t size;
    int n_nodes;
};

static int refuse(const struct reader *r, yaml_mark_t at, const char *what, struct err *e)
{
    return err_set(e, ERR_CONFIG, "%s:%zu:%zu: %s", r->name, at.line + 1, at.column + 1, what);
}

/* Is there a tab in the indentation of this line (from 0)? libyaml's own message does not say so. */
static bool indented_by_tab(const struct reader *r, size_t line)
{
    const char *p = r->data, *end = r->data + r->size;
    for (; line && p < end; p++)
        line -= *p == '\n';
    while (p < end && *p == ' ')
        p++;
    return p < end && *p == '\t';
}

/* A byte that is no UTF-8 or no character of YAML: libyaml gives its offset, not its place. */
static int refuse_byte(const struct reader *r, struct err *e)
{
    const size_t at = r->parser.problem_offset < r->size ? r->parser.problem_offset : r->size;
    size_t line = 1, start = 0;
    for (size_t i = 0; i < at; i++)
        if (r->data[i] == '\n') {
            line++;
            start = i + 1;
        }
    return err_at(e, ERR_CONFIG, at, "%s:%zu:%zu: not a text file in UTF-8: %s", r->name, line, at - start + 1,
                  r->parser.problem);
}

static int next_event(struct reader *r, yaml_event_t *event, struct err *e)
{
    if (yaml_parser_parse(&r->parser, event))
        return 0;
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_READER_ERROR)
        return refuse_byte(r, e);
    if (p->error == YAML_MEMORY_ERROR || !p->problem)
        return err_set(e, ERR_LIMIT, "%s: out of memory", r->name);
    if (indented_by_tab(r, p->problem_mark.line))
        return refuse(r, p->problem_mark, "a tab in the indentation: YAML wants spaces", e);
    return err_set(e, ERR_CONFIG, "%s:%zu:%zu: not valid YAML: %s", r->name, p->problem_mark.line + 1,
                   p->problem_mark.column + 1, p->problem);
}

/* Refuse what every node may carry and configuration has no use for. */
static int check_plain_node(const struct reader *r, const yaml_event_t *ev, struct err *e)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    switch (ev->type) {
    case YAML_ALIAS_EVENT: anchor = ev->data.alias.anchor; break;
    case YAML_SCALAR_EVENT:
        anchor = ev->data.scalar.anchor;
        tag = ev->data.scalar.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = ev->data.sequence_start.anchor;
        tag = ev->data.sequence_start.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = ev->data.mapping_start.anchor;
        tag = ev->data.mapping_start.tag;
        break;
    default: BUG("event type %d", (int)ev->type);
    }
    if (anchor)
        return refuse(r, ev->start_mark, "anchors and aliases are not supported: write the value out", e);
    if (tag)
        return refuse(r, ev->start_mark, "tags are not supported: put the value in quotes if it is a string", e);
    if (ev->type == YAML_SCALAR_EVENT && strlen((const char *)ev->data.scalar.value) != ev->data.scalar.length)
        return refuse(r, ev->start_mark, "a NUL character in a string", e);
    return 0;
}

static int read_node(struct reader *r, const yaml_event_t *ev, int depth, struct yml_node *n, struct err *e);

/* A key: a scalar that the mapping does not have yet. */
static int read_key(const struct reader *r, const yaml_event_t *ev, const struct yml_node *map, char **key,
                    struct err *e)
{
    if (ev->type != YAML_SCALAR_EVENT && ev->type != YAML_ALIAS_EVENT)
        return refuse(r, ev->start_mark, "a key must be a word, not a list or mapping", e);
    if (check_plain_node(r, ev, e))
        return -1;
    const char *text = (const char *)ev->data.scalar.value;
    if (!*text)
        return refuse(r, ev->start_mark, "an empty key", e);
    const struct yml_node *same = yml_find(map, text);
    if (same)
        return err_set(e, ERR_CONFIG, "%s:%zu:%zu: key '%s' is already set on line %d", r->name,
                       ev->start_mark.line + 1, ev->start_mark.column + 1, text, same->line);
    *key = xstrdup(text);
    return 0;
}

/* The nodes of a sequence or mapping up to its end event. */
static int read_items(struct reader *r, int depth, struct yml_node *n, struct err *e)
{
    size_t cap = 0;
    for (;;) {
        yaml_event_t ev;
        if (next_event(r, &ev, e))
            return -1;
        const bool end = ev.type == YAML_SEQUENCE_END_EVENT || ev.type == YAML_MAPPING_END_EVENT;
        char *key = NULL;
        int rc = !end && n->kind == YML_MAPPING ? read_key(r, &ev, n, &key, e) : 0;
        const yaml_mark_t at = ev.start_mark;
        if (!rc && key) { /* now its value */
            yaml_event_delete(&ev);
            if (next_event(r, &ev, e)) {
                free(key);
                return -1;
            }
        }
        if (!rc && !end) {
            n->item = xgrow(n->item, &cap, n->n + 1, sizeof *n->item);
            struct yml_node *item = &n->item[n->n++];
            *item = (struct yml_node){
                .key = key, .source = r->name, .line = (int)at.line + 1, .column = (int)at.column + 1};
            rc = read_node(r, &ev, depth, item, e);
        }
        yaml_event_delete(&ev);
        if (rc || end)
            return rc;
    }
}

static int read_node(struct reader *r, const yaml_event_t *ev, int depth, struct yml_node *n, struct err *e)
{
    if (check_plain_node(r, ev, e))
        return -1;
    if (depth > YML_MAX_DEPTH || ++r->n_nodes > YML_MAX_NODES)
        return err_set(e, ERR_LIMIT, "%s:%zu:%zu: more than %d %s", r->name, ev->start_mark.line + 1,
                       ev->start_mark.column + 1, depth > YML_MAX_DEPTH ? YML_MAX_DEPTH : YML_MAX_NODES,
                       depth > YML_MAX_DEPTH ? "lists or mappings inside each other" : "values in a file");
    if (ev->type == YAML_SCALAR_EVENT) {
        n->kind = YML_SCALAR;
        n->text = xstrdup((const char *)ev->data.scalar.value);
        n->plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        return 0;
    }
    n->kind = ev->type == YAML_SEQUENCE_START_EVENT ? YML_SEQUENCE : YML_MAPPING;
    return read_items(r, depth + 1, n, e);
}

static int read_document(struct reader *r, struct yml_node *root, struct err *e)
{
    for (bool have_root = false;;) {
        yaml_event_t ev;
        if (next_event(r, &ev, e))
            return -1;
        const yaml_event_type_t type = ev.type;
        int rc = 0;
        if (type == YAML_DOCUMENT_START_EVENT && have_root)
            rc = refuse(r, ev.start_mark, "a second document starts here; one file holds one", e);
        else if (type == YAML_SCALAR_EVENT || type == YAML_SEQUENCE_START_EVENT || type == YAML_MAPPING_START_EVENT ||
                 type == YAML_ALIAS_EVENT) {
            have_root = true;
            root->line = (int)ev.start_mark.line + 1;
            root->column = (int)ev.start_mark.column + 1;
            rc = read_node(r, &ev, 0, root, e);
        }
        yaml_event_delete(&ev);
        if (rc)
            return rc;
        if (type == YAML_STREAM_END_EVENT)
            return 0;
    }
}

int yml_parse(struct yml_node *root, const char *data, size_t n, const char *name, struct err *e)
{
    *root = (struct yml_node){.kind = YML_SCALAR, .source = name, .line = 1, .column = 1, .plain = true};
    struct reader r = {.name = name, .data = data, .size = n};
    int rc = -1;
    if (n > YML_MAX_SIZE)
        err_set(e, ERR_LIMIT, "%s: larger than %d bytes", name, YML_MAX_SIZE);
    else if (!yaml_parser_initialize(&r.parser))
        err_set(e, ERR_LIMIT, "%s: out of memory", name);
    else {
        yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&r.parser, (const unsigned char *)data, n);
        rc = read_document(&r, root, e);
        yaml_parser_delete(&r.parser);
    }
    if (rc)
        yml_free(root);
    else if (root->kind == YML_SCALAR && !root->text)
        root->text = xstrdup("");
    return rc;
}

int yml_load(struct yml_node *root, const char *path, struct err *e)
{
    *root = (struct yml_node){0};
    char *data;
    size_t n;
    if (io_read(path, YML_MAX_SIZE, &data, &n, e))
        return -1;
    const int rc = yml_parse(root, data, n, path, e);
    free(data);
    return rc;
}

void yml_free(struct yml_node *root)
{
    for (size_t i = 0; i < root->n; i++)
        yml_free(&root->item[i]);
    free(root->item);
    free(root->key);
    free(root->text);
    *root = (struct yml_node){0};
}

const struct yml_node *yml_find(const struct yml_node *mapping, const char *key)
{
    for (size_t i = 0; i < mapping->n; i++)
        if (mapping->item[i].key && !strcmp(mapping->item[i].key, key))
            return &mapping->item[i];
    return NULL;
}

const char *yml_where(const struct yml_node *n, char buf[YML_WHERE])
{
    if (n->line)
        snprintf(buf, YML_WHERE, "%s:%d", n->source, n->line);
    else
        snprintf(buf, YML_WHERE, "%s", n->source);
    return buf;
}

/* ---- types of scalars ---- */

static bool is_one_of(const char *s, const char *const *words)
{
    for (; *words; words++)
        if (!strcmp(s, *words))
            return true;
    return false;
}

static const char *const null_words[] = {"", "~", "null", "Null", "NULL", NULL};
static const char *const true_words[] = {"true", "True", "TRUE", NULL};
static const char *const false_words[] = {"false", "False", "FALSE", NULL};
static const char *const special_reals[] = {".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf",
                                            "-.Inf", "-.INF", ".nan", ".NaN", ".NAN", NULL};

/* Base of a whole number by its form, 0 where it is none; *digits is where they start. */
static int int_base(const char *s, const char **digits)
{
    static const struct {
        const char *prefix, *digits;
        int base;
    } forms[] = {{"0x", "0123456789abcdefABCDEF", 16}, {"0o", "01234567", 8}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (!strncmp(s, forms[i].prefix, 2)) {
            *digits = s + 2;
            return s[2] && !s[2 + strspn(s + 2, forms[i].digits)] ? forms[i].base : 0;
        }
    *digits = s;
    s += *s == '-' || *s == '+';
    return *s && !s[strspn(s, "0123456789")] ? 10 : 0;
}

/* [-+]? ( \. digits | digits ( \. digits? )? ) ( [eE] [-+]? digits )? */
static bool is_real_form(const char *s)
{
    static const char decimal[] = "0123456789";
    s += *s == '-' || *s == '+';
    size_t whole = strspn(s, decimal), fraction = 0;
    s += whole;
    if (*s == '.') {
        fraction = strspn(++s, decimal);
        s += fraction;
    }
    if (!whole && !fraction)
        return false;
    if (*s == 'e' || *s == 'E') {
        s++;
        s += *s == '-' || *s == '+';
        const size_t n = strspn(s, decimal);
        if (!n)
            return false;
        s += n;
    }
    return !*s;
}

static bool is_plain_scalar(const struct yml_node *n)
{
    return n->kind == YML_SCALAR && n->plain;
}

bool yml_is_null(const struct yml_node *n)
{
    return is_plain_scalar(n) && is_one_of(n->text, null_words);
}

bool yml_bool(const struct yml_node *n, bool *out)
{
    if (!is_plain_scalar(n))
        return false;
    const bool yes = is_one_of(n->text, true_words);
    if (!yes && !is_one_of(n->text, false_words))
        return false;
    *out = yes;
    return true;
}

bool yml_int(const struct yml_node *n, int64_t *out)
{
    const char *digits;
    const int base = is_plain_scalar(n) ? int_base(n->text, &digits) : 0;
    if (!base)
        return false;
    errno = 0;
    const long long v = strtoll(digits, NULL, base);
    if (errno)
        return false;
    *out = v;
    return true;
}

bool yml_real(const struct yml_node *n, double *out)
{
    int64_t whole;
    if (yml_int(n, &whole)) {
        *out = (double)whole;
        return true;
    }
    if (!is_plain_scalar(n) || !is_real_form(n->text))
        return false;
    const double v = strtod(n->text, NULL);
    if (!isfinite(v))
        return false;
    *out = v;
    return true;
}

bool yml_string(const struct yml_node *n, const char **out)
{
    if (n->kind != YML_SCALAR)
        return false;
    const char *s = n->text, *digits;
    if (n->plain && (is_one_of(s, null_words) || is_one_of(s, true_words) || is_one_of(s, false_words) ||
                     is_one_of(s, special_reals) || int_base(s, &digits) || is_real_form(s)))
        return false;
    *out = s;
    return true;
}

const char *yml_describe(const struct yml_node *n, char *buf, size_t size)
{
    if (n->kind == YML_SCALAR && yml_is_null(n))
        snprintf(buf, size, "null");
    else if (n->kind == YML_SCALAR)
        snprintf(buf, size, "'%s'%s", n->text, n->plain ? "" : " in quotes");
    else
        snprintf(buf, size, "%s", n->kind == YML_SEQUENCE ? "a list" : "a mapping");
    return buf;
}

/* ---- writing ---- */

/* The code point at s and its length; length 0 where s is not valid UTF-8. */
static int code_point(const char *s, uint32_t *c)
{
    utf8proc_int32_t v;
    const utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)s, -1, &v);
    if (n <= 0)
        return 0;
    *c = (uint32_t)v;
    return (int)n;
}

bool yml_is_utf8(const char *s)
{
    uint32_t c;
    for (int n; *s; s += n)
        if (!(n = code_point(s, &c)))
            return false;
    return true;
}

/* Words that some parser takes for a truth value or null: those of YAML 1.1 included, in any case. */
static bool is_reserved(const char *s)
{
    static const char *const words[] = {"null", "true", "false", "yes", "no", "on", "off", "y", "n", NULL};
    for (const char *const *w = words; *w; w++)
        if (!strcasecmp(s, *w))
            return true;
    return false;
}

/* Strict on purpose: a letter, '_', '/', "./" or "../" first, so that numbers, dates and indicators are quoted. */
static bool is_safe_plain(const char *s)
{
    const char *p = s;
    if (*p == '.') {
        p += strspn(p, ".");
        if (p - s > 2 || *p != '/')
            return false;
    } else if (!isascii(*p) || !(isalpha((unsigned char)*p) || *p == '_' || *p == '/'))
        return false;
    for (; *p; p++)
        if (!isascii(*p) || !(isalnum((unsigned char)*p) || strchr("_./+-", *p)))
            return false;
    return !is_reserved(s);
}

/* Code points that a YAML parser refuses, folds or takes for a line break. */
static bool needs_escape(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 || c == 0xfeff || (c & 0xfffe) == 0xfffe;
}

void yml_put_string(FILE *f, const char *s)
{
    if (is_safe_plain(s)) {
        fputs(s, f);
        return;
    }
    fputc('"', f);
    uint32_t c;
    for (int n; *s; s += n) {
        if (!(n = code_point(s, &c)))
            BUG("a string that is not UTF-8");
        if (c == '"' || c == '\\')
            fprintf(f, "\\%c", (int)c);
        else if (c == '\n')
            fputs("\\n", f);
        else if (c == '\t')
            fputs("\\t", f);
        else if (needs_escape(c))
            fprintf(f, c > 0xffff ? "\\U%08" PRIX32 : "\\u%04" PRIX32, c);
        else
            fwrite(s, 1, (size_t)n, f);
    }
    fputc('"', f);
}

void yml_real_text(double x, char out[YML_REAL])
{
    char repr[JSON_REPR];
    json_real_repr(x, repr);
    const char *exponent = strchr(repr, 'e');
    if (exponent && !strchr(repr, '.'))
        snprintf(out, YML_REAL, "%.*s.0%s", (int)(exponent - repr), repr, exponent);
    else
        snprintf(out, YML_REAL, "%s", repr);
}
