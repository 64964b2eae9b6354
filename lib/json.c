#include "json.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"

json_t *json_parse(const char *data, size_t n, const char *name, struct err *e)
{
    json_error_t je;
    json_t *v = json_loadb(data, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
    if (!v)
        err_at(e, ERR_FORMAT, je.position < 0 ? 0 : (uint64_t)je.position,
               "'%s': not valid JSON at line %d, column %d: %s", name, je.line, je.column, je.text);
    return v;
}

json_t *json_load(const char *path, size_t limit, struct err *e)
{
    char *data;
    size_t n;
    if (io_read(path, limit, &data, &n, e))
        return NULL;
    json_t *v = json_parse(data, n, path, e);
    free(data);
    return v;
}

/* ---- writing ---- */

void json_real_repr(double x, char *out)
{
    char digits[40];
    /* The shortest form that reads back has 16 or 17 digits, or is that of 15 without its last zeros: 15 digits survive
     * the way through a double, unless it is subnormal. */
    for (int n = fabs(x) < DBL_MIN ? 1 : 15; n <= 17; n++) {
        snprintf(digits, sizeof digits, "%.*e", n - 1, x);
        if (strtod(digits, NULL) == x)
            break;
    }
    char *e = strchr(digits, 'e');
    if (!isfinite(x) || !e)
        BUG("a number that is not finite");
    const int exp = (int)strtol(e + 1, NULL, 10);
    *e = 0;
    char m[24];
    int n = 0;
    const char *sign = digits[0] == '-' ? "-" : "";
    for (const char *p = digits; *p; p++)
        if (*p >= '0' && *p <= '9')
            m[n++] = *p;
    while (n > 1 && m[n - 1] == '0')
        n--;
    m[n] = 0;
    if (exp < -4 || exp >= 16)
        snprintf(out, JSON_REPR, "%s%c%s%se%c%02d", sign, m[0], n > 1 ? "." : "", m + 1, exp < 0 ? '-' : '+',
                 abs(exp) % 1000);
    else if (exp < 0)
        snprintf(out, JSON_REPR, "%s0.%.*s%s", sign, -exp - 1, "0000", m);
    else if (n <= exp + 1)
        snprintf(out, JSON_REPR, "%s%s%.*s.0", sign, m, exp + 1 - n, "0000000000000000");
    else
        snprintf(out, JSON_REPR, "%s%.*s.%s", sign, exp + 1, m, m + exp + 1);
}

static void print_string(FILE *f, const char *s, size_t n)
{
    fputc('"', f);
    for (size_t i = 0; i < n;) {
        const unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\')
            fprintf(f, "\\%c", c);
        else if (c == '\n')
            fputs("\\n", f);
        else if (c == '\r')
            fputs("\\r", f);
        else if (c == '\t')
            fputs("\\t", f);
        else if (c == '\b')
            fputs("\\b", f);
        else if (c == '\f')
            fputs("\\f", f);
        else if (c < 0x20)
            fprintf(f, "\\u%04x", c);
        else if (c < 0x80)
            fputc(c, f);
        else { /* jansson strings are valid UTF-8 */
            const int extra = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
            uint32_t u = c & (0x3fu >> extra);
            for (int k = 0; k < extra; k++)
                u = u << 6 | ((unsigned char)s[++i] & 0x3f);
            if (u >= 0x10000)
                fprintf(f, "\\u%04x\\u%04x", 0xd7c0 + (u >> 10), 0xdc00 + (u & 0x3ff));
            else
                fprintf(f, "\\u%04x", u);
        }
        i++;
    }
    fputc('"', f);
}

static void newline(FILE *f, int indent, int depth)
{
    if (indent)
        fprintf(f, "\n%*s", indent * depth, "");
}

static void print_value(FILE *f, const json_t *v, int indent, int depth)
{
    const char *comma = indent ? "," : ", ";
    switch (json_typeof(v)) {
    case JSON_NULL: fputs("null", f); return;
    case JSON_TRUE: fputs("true", f); return;
    case JSON_FALSE: fputs("false", f); return;
    case JSON_INTEGER: fprintf(f, "%" JSON_INTEGER_FORMAT, json_integer_value(v)); return;
    case JSON_REAL: {
        char buf[JSON_REPR];
        json_real_repr(json_real_value(v), buf);
        fputs(buf, f);
        return;
    }
    case JSON_STRING: print_string(f, json_string_value(v), json_string_length(v)); return;
    case JSON_ARRAY: {
        fputc('[', f);
        for (size_t i = 0; i < json_array_size(v); i++) {
            if (i)
                fputs(comma, f);
            newline(f, indent, depth + 1);
            print_value(f, json_array_get(v, i), indent, depth + 1);
        }
        if (json_array_size(v))
            newline(f, indent, depth);
        fputc(']', f);
        return;
    }
    case JSON_OBJECT: {
        fputc('{', f);
        const char *key;
        json_t *item;
        int first = 1;
        json_object_foreach ((json_t *)(uintptr_t)v, key, item) {
            if (!first)
                fputs(comma, f);
            first = 0;
            newline(f, indent, depth + 1);
            print_string(f, key, strlen(key));
            fputs(": ", f);
            print_value(f, item, indent, depth + 1);
        }
        if (!first)
            newline(f, indent, depth);
        fputc('}', f);
        return;
    }
    }
}

void json_print(FILE *f, const json_t *v, int indent)
{
    print_value(f, v, indent, 0);
}

/* ---- typed members ---- */

static const json_t *member(const json_t *o, const char *key, const char *where, struct err *e)
{
    if (!json_is_object(o)) {
        err_set(e, ERR_FORMAT, "%s: must be an object", where);
        return NULL;
    }
    const json_t *v = json_object_get(o, key);
    if (!v)
        err_set(e, ERR_FORMAT, "%s: missing key '%s'", where, key);
    return v;
}

static int wrong(const char *key, const char *where, const char *type, struct err *e)
{
    return err_set(e, ERR_FORMAT, "%s: '%s' must be %s", where, key, type);
}

int json_get_str(const json_t *o, const char *key, const char *where, const char **out, struct err *e)
{
    const json_t *v = member(o, key, where, e);
    if (!v)
        return -1;
    if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v))
        return wrong(key, where, "a string", e);
    *out = json_string_value(v);
    return 0;
}

int json_get_int(const json_t *o, const char *key, const char *where, int64_t min, int64_t max, int64_t *out,
                 struct err *e)
{
    const json_t *v = member(o, key, where, e);
    if (!v)
        return -1;
    if (!json_is_integer(v))
        return wrong(key, where, "a whole number", e);
    const json_int_t n = json_integer_value(v);
    if (n < min || n > max)
        return err_set(e, ERR_FORMAT, "%s: '%s' is %" JSON_INTEGER_FORMAT ", allowed are %" PRId64 " to %" PRId64,
                       where, key, n, min, max);
    *out = n;
    return 0;
}

int json_get_real(const json_t *o, const char *key, const char *where, double *out, struct err *e)
{
    const json_t *v = member(o, key, where, e);
    if (!v)
        return -1;
    if (!json_is_number(v))
        return wrong(key, where, "a number", e);
    *out = json_number_value(v);
    return 0;
}

int json_get_bool(const json_t *o, const char *key, const char *where, int *out, struct err *e)
{
    const json_t *v = member(o, key, where, e);
    if (!v)
        return -1;
    if (!json_is_boolean(v))
        return wrong(key, where, "true or false", e);
    *out = json_is_true(v);
    return 0;
}

int json_get_array(const json_t *o, const char *key, const char *where, json_t **out, struct err *e)
{
    const json_t *v = member(o, key, where, e);
    if (!v)
        return -1;
    if (!json_is_array(v))
        return wrong(key, where, "a list", e);
    *out = (json_t *)(uintptr_t)v;
    return 0;
}

int json_get_object(const json_t *o, const char *key, const char *where, json_t **out, struct err *e)
{
    const json_t *v = member(o, key, where, e);
    if (!v)
        return -1;
    if (!json_is_object(v))
        return wrong(key, where, "an object", e);
    *out = (json_t *)(uintptr_t)v;
    return 0;
}

void json_set(json_t *o, const char *key, json_t *value)
{
    if (json_object_set_new(o, key, value))
        BUG("'%s' cannot be set", key);
}
