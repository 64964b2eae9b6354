/* json - jansson with limits and sentences for the errors, and the one writer.
 *
 * Numbers are written as Python writes them (shortest digits that read back, "1e-05", "8.0"), strings as
 * json.dumps(ensure_ascii=True), keys in the order they were set: files equal those of Python's json.dumps(indent=2).
 */
#ifndef JSON_H
#define JSON_H
#include <jansson.h>
#include <stdio.h>

#include "err.h"

/* Parse n bytes; `name` is for messages. ERR_FORMAT with line, column and byte; duplicate keys are refused.
 * The caller owns the value. */
json_t *json_parse(const char *data, size_t n, const char *name, struct err *e) MUST_CHECK;
/* Read and parse a file of at most `limit` bytes. */
json_t *json_load(const char *path, size_t limit, struct err *e) MUST_CHECK;

/* json.dumps(v, indent=indent) without final newline; indent 0 = one line with ", " and ": ". NaN and infinity are a
 * BUG: callers refuse them where they arise. */
void json_print(FILE *f, const json_t *v, int indent);
/* Python's repr(x) of a finite float. */
enum { JSON_REPR = 64 }; /* bytes out must hold */
void json_real_repr(double x, char *out);

/* o[key] = value, which o then owns. A value that is NULL (a string that is not UTF-8) is a BUG. */
void json_set(json_t *o, const char *key, json_t *value);

/* Typed members of an object. `where` names the file and place for messages. Each returns -1 with ERR_FORMAT
 * ("<where>: missing key 'k'", "<where>: 'k' must be a string") where the key is missing or of another type. */
int json_get_str(const json_t *o, const char *key, const char *where, const char **out, struct err *e) MUST_CHECK;
int json_get_int(const json_t *o, const char *key, const char *where, int64_t min, int64_t max, int64_t *out,
                 struct err *e) MUST_CHECK;
int json_get_real(const json_t *o, const char *key, const char *where, double *out, struct err *e) MUST_CHECK;
int json_get_bool(const json_t *o, const char *key, const char *where, int *out, struct err *e) MUST_CHECK;
int json_get_array(const json_t *o, const char *key, const char *where, json_t **out, struct err *e) MUST_CHECK;
int json_get_object(const json_t *o, const char *key, const char *where, json_t **out, struct err *e) MUST_CHECK;

/* Limits for the files of this project. */
enum { JSON_LIMIT_CONFIG = 1 << 20, JSON_LIMIT_DOCUMENT = 256 << 20 };

#endif
