/* yml - YAML files as small trees: libyaml's parser under limits, and the writer of canonical scalars.
 *
 * Configuration needs little of YAML, so what could surprise is refused: anchors and aliases (and with them the bombs
 * built of aliases), tags, several documents, keys that are not scalars, the same key twice. JSON is YAML, so JSON
 * files are read too. Plain scalars have the types of YAML 1.2's core schema: `no` and `on` are strings.
 * (Not named yaml: lib/yaml.h would hide libyaml's <yaml.h>.) */
#ifndef YML_H
#define YML_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "err.h"

/* Without aliases the text of all scalars is bounded by the size of the file. */
enum { YML_MAX_SIZE = 1 << 20, YML_MAX_DEPTH = 32, YML_MAX_NODES = 10000 };

enum yml_kind { YML_SCALAR, YML_SEQUENCE, YML_MAPPING };

struct yml_node {
    enum yml_kind kind;
    char *key;        /* in the mapping that holds this node; NULL in a sequence and at the root */
    const char *source; /* what messages call the text it stands in: the `name` given to the parser */
    int line, column;   /* from 1; of the key where there is one; line 0 where the source is a single line */
    char *text;       /* scalar: UTF-8 without NUL; else NULL */
    bool plain;       /* scalar: not quoted, so that 12, true and null are not strings */
    struct yml_node *item; /* sequence, mapping: the n nodes in file order */
    size_t n;
};

/* Parse a file, or n bytes of memory; `name` is for messages and must outlive the tree. ERR_CONFIG
 * ("NAME:LINE:COLUMN: one sentence"), ERR_LIMIT above a limit, ERR_IO. A file with nothing but comments is a plain
 * empty scalar, that is null. yml_free frees the contents of *root, also of a zeroed one. On failure *root is
 * zeroed. */
int yml_load(struct yml_node *root, const char *path, struct err *e) MUST_CHECK;
int yml_parse(struct yml_node *root, const char *data, size_t n, const char *name, struct err *e) MUST_CHECK;
void yml_free(struct yml_node *root);

/* The node of that key in a mapping, or NULL. */
const struct yml_node *yml_find(const struct yml_node *mapping, const char *key);
/* Where the node stands, for messages: "SOURCE:LINE", or SOURCE for a single line. Returns buf. */
enum { YML_WHERE = 1024 };
const char *yml_where(const struct yml_node *n, char buf[YML_WHERE]);

/* Is the node a scalar of this type, and which value has it? *out is written only where the answer is true.
 * Whole numbers are decimal, hexadecimal (0x) or octal (0o) and fit into int64; reals are finite, whole numbers
 * included. */
bool yml_is_null(const struct yml_node *n);
bool yml_bool(const struct yml_node *n, bool *out);
bool yml_int(const struct yml_node *n, int64_t *out);
bool yml_real(const struct yml_node *n, double *out);
/* A quoted scalar, or a plain one of no other type. Points into the tree. */
bool yml_string(const struct yml_node *n, const char **out);
/* What a message calls the node: "a list", "a mapping", or the scalar's text in single quotes. Returns buf. */
const char *yml_describe(const struct yml_node *n, char *buf, size_t size);

/* s is valid UTF-8: what yml_put_string can write. */
bool yml_is_utf8(const char *s);
/* Write s so that every YAML 1.1 and 1.2 parser reads the same string back: plain where that is certain, else in double
 * quotes, on one line. Invalid UTF-8 is a BUG. */
void yml_put_string(FILE *f, const char *s);
/* The shortest digits that read back, always with a point: 8.0, 1.0e-05 (without it, 1.1 parsers see a string). */
enum { YML_REAL = 72 }; /* bytes out must hold */
void yml_real_text(double x, char out[YML_REAL]);

#endif
