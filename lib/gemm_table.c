#include "gemm_table.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "json.h"
#include "mem.h"
#include "sha256.h"

enum { MAX_ENTRIES = 1 << 16, MAX_SIZE = 1 << 28, MAX_NAME = 255 };

static int compare(int64_t a, int64_t b)
{
    return a < b ? -1 : a > b;
}

static int order_but_rows(const struct gemm_shape *a, const struct gemm_shape *b)
{
    const int64_t x[] = {a->backward, a->in, a->out, a->stride, a->accumulate, a->input, a->output};
    const int64_t y[] = {b->backward, b->in, b->out, b->stride, b->accumulate, b->input, b->output};
    int c = 0;
    for (size_t i = 0; i < sizeof x / sizeof *x && !c; i++)
        c = compare(x[i], y[i]);
    return c;
}

int gemm_shape_order(const void *a, const void *b)
{
    const struct gemm_shape *x = a, *y = b;
    const int c = order_but_rows(x, y);
    return c ? c : compare(x->rows, y->rows);
}

char *gemm_table_path(const char *dir, const char *gpu, int64_t cublaslt)
{
    char *slug = xstrdup(gpu);
    size_t n = 0;
    for (const char *p = gpu; *p; p++) {
        if (isalnum((unsigned char)*p))
            slug[n++] = (char)tolower((unsigned char)*p);
        else if (n && slug[n - 1] != '-')
            slug[n++] = '-';
    }
    char *name = xasprintf("%.*s-%" PRId64 ".json", (int)n, slug, cublaslt), *path = io_join(dir, name);
    free(slug);
    free(name);
    return path;
}

/* ---- JSON */

static void set_algorithm(json_t *o, const unsigned char *algorithm)
{
    char hex[2 * GEMM_ALGORITHM + 1];
    for (size_t i = 0; i < GEMM_ALGORITHM; i++)
        snprintf(hex + 2 * i, 3, "%02x", algorithm[i]);
    json_set(o, "algorithm", json_string(hex));
}

static json_t *describe_shape(const struct gemm_shape *s)
{
    json_t *o = json_object();
    json_set(o, "rows", json_integer(s->rows));
    json_set(o, "in", json_integer(s->in));
    json_set(o, "out", json_integer(s->out));
    json_set(o, "stride", json_integer(s->stride));
    json_set(o, "direction", json_string(s->backward ? "backward" : "forward"));
    json_set(o, "accumulate", json_boolean(s->accumulate));
    json_set(o, "input", json_string(dtype_name(s->input)));
    json_set(o, "output", json_string(dtype_name(s->output)));
    return o;
}

/* The document as text in a new string. */
static char *print(json_t *doc, int indent)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        BUG("no stream in memory");
    json_print(f, doc, indent);
    fputc('\n', f);
    fclose(f);
    json_decref(doc);
    return text;
}

static json_t *describe(const struct gemm_table *t, bool tflops)
{
    json_t *doc = json_object(), *entries = json_array();
    json_set(doc, "format", json_string("qsens-gemm"));
    json_set(doc, "version", json_integer(1));
    json_set(doc, "gpu", json_string(t->gpu));
    json_set(doc, "cublaslt", json_integer((json_int_t)t->cublaslt));
    for (size_t i = 0; i < t->n; i++) {
        json_t *o = describe_shape(&t->entry[i].shape);
        set_algorithm(o, t->entry[i].algorithm);
        if (tflops)
            json_set(o, "tflops", json_real(t->entry[i].tflops));
        json_array_append_new(entries, o);
    }
    json_set(doc, "entries", entries);
    return doc;
}

void gemm_table_finish(struct gemm_table *t)
{
    if (t->n)
        qsort(t->entry, t->n, sizeof *t->entry, gemm_shape_order);
    char *text = print(describe(t, false), 0);
    sha256_of(text, strlen(text), t->identity);
    free(text);
}

void gemm_table_write(const struct gemm_table *t, FILE *f)
{
    char *text = print(describe(t, true), 1);
    fputs(text, f);
    free(text);
}

/* ---- reading */

static int get_algorithm(const json_t *o, const char *where, unsigned char *out, struct err *e)
{
    static const char digits[] = "0123456789abcdef";
    const char *hex;
    if (json_get_str(o, "algorithm", where, &hex, e))
        return -1;
    const size_t n = 2 * GEMM_ALGORITHM;
    if (strlen(hex) != n || strspn(hex, digits) != n)
        return err_set(e, ERR_FORMAT, "%s: 'algorithm' must be %zu hexadecimal digits in lower case", where, n);
    for (size_t i = 0; i < GEMM_ALGORITHM; i++)
        out[i] =
            (unsigned char)((strchr(digits, hex[2 * i]) - digits) << 4 | (strchr(digits, hex[2 * i + 1]) - digits));
    return 0;
}

static int get_type(const json_t *o, const char *key, const char *where, enum dtype *out, struct err *e)
{
    const char *name;
    if (json_get_str(o, key, where, &name, e))
        return -1;
    *out = dtype_of_name(name);
    if (*out != DT_BF16 && *out != DT_F32)
        return err_set(e, ERR_FORMAT, "%s: '%s' is BF16 or F32, not '%.40s'", where, key, name);
    return 0;
}

static int get_shape(const json_t *o, const char *where, struct gemm_shape *s, struct err *e)
{
    int64_t rows, in, out, stride;
    const char *direction;
    int accumulate;
    if (json_get_int(o, "rows", where, 1, GEMM_MAX_ROWS, &rows, e) ||
        json_get_int(o, "in", where, 1, MAX_SIZE, &in, e) || json_get_int(o, "out", where, 1, MAX_SIZE, &out, e) ||
        json_get_int(o, "stride", where, 1, MAX_SIZE, &stride, e) ||
        json_get_str(o, "direction", where, &direction, e) || json_get_bool(o, "accumulate", where, &accumulate, e) ||
        get_type(o, "input", where, &s->input, e) || get_type(o, "output", where, &s->output, e))
        return -1;
    s->backward = !strcmp(direction, "backward");
    if (!s->backward && strcmp(direction, "forward"))
        return err_set(e, ERR_FORMAT, "%s: 'direction' is forward or backward, not '%.40s'", where, direction);
    if (stride < (s->backward ? in : out))
        return err_set(e, ERR_FORMAT, "%s: a stride of %" PRId64 " is shorter than a row of the result", where, stride);
    s->rows = (int)rows, s->in = (int)in, s->out = (int)out, s->stride = (int)stride;
    s->accumulate = accumulate;
    return 0;
}

static int get_entry(const json_t *o, const char *where, struct gemm_entry *n, struct err *e)
{
    if (get_shape(o, where, &n->shape, e) || get_algorithm(o, where, n->algorithm, e) ||
        json_get_real(o, "tflops", where, &n->tflops, e))
        return -1;
    if (!(n->tflops >= 0) || !isfinite(n->tflops))
        return err_set(e, ERR_FORMAT, "%s: 'tflops' is negative or not finite", where);
    return 0;
}

static int parse(struct gemm_table *t, const json_t *doc, const char *where, struct err *e)
{
    const char *format, *gpu;
    int64_t version;
    json_t *entries;
    if (json_get_str(doc, "format", where, &format, e))
        return -1;
    if (strcmp(format, "qsens-gemm"))
        return err_set(e, ERR_FORMAT, "%s: holds '%.40s', not qsens-gemm", where, format);
    if (json_get_int(doc, "version", where, 1, 1, &version, e) || json_get_str(doc, "gpu", where, &gpu, e) ||
        json_get_int(doc, "cublaslt", where, 1, INT64_MAX, &t->cublaslt, e) ||
        json_get_array(doc, "entries", where, &entries, e))
        return -1;
    if (!*gpu || strlen(gpu) > MAX_NAME)
        return err_set(e, ERR_FORMAT, "%s: 'gpu' must have 1 to %d bytes", where, MAX_NAME);
    t->gpu = xstrdup(gpu);
    const size_t n = json_array_size(entries);
    if (n > MAX_ENTRIES)
        return err_set(e, ERR_FORMAT, "%s: %zu entries (allowed are %d)", where, n, MAX_ENTRIES);
    t->entry = xcalloc(n, sizeof *t->entry);
    for (; t->n < n; t->n++) {
        char place[512];
        snprintf(place, sizeof place, "%.450s: entry %zu", where, t->n);
        if (get_entry(json_array_get(entries, t->n), place, &t->entry[t->n], e))
            return -1;
    }
    gemm_table_finish(t);
    for (size_t i = 1; i < n; i++) {
        const struct gemm_shape *s = &t->entry[i].shape;
        if (!gemm_shape_order(&t->entry[i - 1], &t->entry[i]))
            return err_set(e, ERR_FORMAT, "%s: two entries for %s with %d rows, in %d, out %d, stride %d", where,
                           s->backward ? "backward" : "forward", s->rows, s->in, s->out, s->stride);
    }
    return 0;
}

int gemm_table_parse(struct gemm_table *t, const char *data, size_t n, const char *name, struct err *e)
{
    *t = (struct gemm_table){0};
    json_t *doc = json_parse(data, n, name, e);
    if (!doc)
        return -1;
    char where[512];
    snprintf(where, sizeof where, "'%.400s'", name);
    const int rc = parse(t, doc, where, e);
    json_decref(doc);
    if (rc)
        gemm_table_free(t);
    return rc;
}

int gemm_table_load(struct gemm_table *t, const char *path, struct err *e)
{
    char *data;
    size_t n;
    if (io_read(path, JSON_LIMIT_DOCUMENT, &data, &n, e))
        return -1;
    const int rc = gemm_table_parse(t, data, n, path, e);
    free(data);
    return rc;
}

int gemm_table_of(struct gemm_table *t, const char *dir, const char *gpu, int64_t cublaslt, struct err *e)
{
    char *path = gemm_table_path(dir, gpu, cublaslt);
    int rc = 0;
    *t = (struct gemm_table){0};
    if (access(path, F_OK) == 0)
        rc = gemm_table_load(t, path, e);
    if (!rc && t->gpu && (strcmp(t->gpu, gpu) || t->cublaslt != cublaslt)) {
        rc = err_set(e, ERR_FORMAT, "'%s' is for '%s' and cuBLASLt %" PRId64 ", not for '%s' and %" PRId64, path,
                     t->gpu, t->cublaslt, gpu, cublaslt);
        gemm_table_free(t);
    }
    free(path);
    return rc;
}

void gemm_table_free(struct gemm_table *t)
{
    free(t->gpu);
    free(t->entry);
    *t = (struct gemm_table){0};
}

const struct gemm_entry *gemm_table_find(const struct gemm_table *t, const struct gemm_shape *s)
{
    size_t lo = 0, hi = t->n; /* the first entry that is not below s */
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        if (gemm_shape_order(&t->entry[mid], s) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < t->n && !order_but_rows(&t->entry[lo].shape, s) ? &t->entry[lo] : NULL;
}

/* ---- what a run used */

static int by_use(const void *a, const void *b)
{
    const struct gemm_used *x = a, *y = b;
    int c = gemm_shape_order(&x->shape, &y->shape);
    for (int i = 0; i < 3 && !c; i++)
        c = compare(x->alignment[i], y->alignment[i]);
    return c;
}

static const char *const source_name[] = {"table", "heuristic", "kernel"};

char *gemm_used_text(const char *gpu, int64_t cublaslt, const struct gemm_table *table, struct gemm_used *used,
                     size_t n)
{
    json_t *doc = json_object(), *products = json_array();
    if (n)
        qsort(used, n, sizeof *used, by_use);
    json_set(doc, "format", json_string("qsens-gemm-used"));
    json_set(doc, "version", json_integer(1));
    json_set(doc, "gpu", json_string(gpu));
    json_set(doc, "cublaslt", json_integer((json_int_t)cublaslt));
    json_set(doc, "table", table ? json_string(table->identity) : json_null());
    for (size_t i = 0; i < n; i++) {
        json_t *o = describe_shape(&used[i].shape), *alignment = json_array();
        for (int k = 0; k < 3; k++)
            json_array_append_new(alignment, json_integer(used[i].alignment[k]));
        json_set(o, "alignment", alignment);
        json_set(o, "source", json_string(source_name[used[i].source]));
        if (used[i].source == GEMM_KERNEL)
            json_set(o, "algorithm", json_null());
        else
            set_algorithm(o, used[i].algorithm);
        json_array_append_new(products, o);
    }
    json_set(doc, "products", products);
    return print(doc, 1);
}

struct used_list {
    json_t *doc;
    const char *gpu, *table; /* of doc; table NULL: none */
    int64_t cublaslt;
    struct gemm_used *used;
    size_t n;
};

static int get_used(const json_t *o, const char *where, struct gemm_used *u, struct err *e)
{
    json_t *alignment;
    const char *source;
    if (get_shape(o, where, &u->shape, e) || json_get_array(o, "alignment", where, &alignment, e) ||
        json_get_str(o, "source", where, &source, e))
        return -1;
    for (size_t i = 0; i < 3; i++) {
        const json_int_t n = json_integer_value(json_array_get(alignment, i));
        if (json_array_size(alignment) != 3 || n < 1 || n > MAX_SIZE)
            return err_set(e, ERR_FORMAT, "%s: 'alignment' must be three numbers of bytes", where);
        u->alignment[i] = (int)n;
    }
    for (int i = GEMM_TABLE; i <= GEMM_KERNEL; i++)
        if (!strcmp(source, source_name[i])) {
            u->source = (enum gemm_source)i;
            return u->source == GEMM_KERNEL ? 0 : get_algorithm(o, where, u->algorithm, e);
        }
    return err_set(e, ERR_FORMAT, "%s: 'source' is table, heuristic or kernel, not '%.40s'", where, source);
}

static int get_used_list(struct used_list *l, const char *text, struct err *e)
{
    static const char where[] = "'gemm.json'";
    const char *format;
    int64_t version;
    json_t *products;
    l->doc = json_parse(text, strlen(text), "gemm.json", e);
    if (!l->doc || json_get_str(l->doc, "format", where, &format, e) ||
        json_get_int(l->doc, "version", where, 1, 1, &version, e) || json_get_str(l->doc, "gpu", where, &l->gpu, e) ||
        json_get_int(l->doc, "cublaslt", where, 1, INT64_MAX, &l->cublaslt, e) ||
        json_get_array(l->doc, "products", where, &products, e))
        return -1;
    l->table = json_string_value(json_object_get(l->doc, "table"));
    if (strcmp(format, "qsens-gemm-used") || (l->table && strlen(l->table) != 64) ||
        json_array_size(products) > MAX_ENTRIES)
        return err_set(e, ERR_FORMAT, "%s: is no qsens-gemm-used", where);
    l->used = xcalloc(json_array_size(products), sizeof *l->used);
    for (; l->n < json_array_size(products); l->n++)
        if (get_used(json_array_get(products, l->n), where, &l->used[l->n], e))
            return -1;
    return 0;
}

/* Sorts, and leaves out what is there twice. */
static int drop_equal(struct gemm_used *used, size_t *n, struct err *e)
{
    size_t kept = 0;
    if (*n)
        qsort(used, *n, sizeof *used, by_use);
    for (size_t i = 0; i < *n; i++) {
        if (!kept || by_use(&used[kept - 1], &used[i]))
            used[kept++] = used[i];
        else if (used[kept - 1].source != used[i].source ||
                 memcmp(used[kept - 1].algorithm, used[i].algorithm, GEMM_ALGORITHM) != 0)
            return err_set(e, ERR_FORMAT, "two algorithms were used for products with %d rows, in %d, out %d",
                           used[i].shape.rows, used[i].shape.in, used[i].shape.out);
    }
    *n = kept;
    return 0;
}

/* used[n] as a text of the same GPU, library and table. */
static char *list_text(const struct used_list *l, struct gemm_used *used, size_t n)
{
    struct gemm_table table = {0};
    if (l->table)
        memcpy(table.identity, l->table, sizeof table.identity);
    return gemm_used_text(l->gpu, l->cublaslt, l->table ? &table : NULL, used, n);
}

static char *merge(struct used_list *x, struct used_list *y, struct err *e)
{
    if (x->doc && (strcmp(x->gpu, y->gpu) || x->cublaslt != y->cublaslt || !x->table != !y->table ||
                   (x->table && strcmp(x->table, y->table)))) {
        err_set(e, ERR_FORMAT, "algorithms of two GPUs, libraries or tables: '%s' and '%s'", x->gpu, y->gpu);
        return NULL;
    }
    size_t n = x->n + y->n;
    struct gemm_used *all = xcalloc(n, sizeof *all);
    if (x->n)
        memcpy(all, x->used, x->n * sizeof *all);
    if (y->n)
        memcpy(all + x->n, y->used, y->n * sizeof *all);
    char *text = drop_equal(all, &n, e) ? NULL : list_text(y, all, n);
    free(all);
    return text;
}

static void free_list(struct used_list *l)
{
    free(l->used);
    json_decref(l->doc);
}

char *gemm_used_merge(const char *a, const char *b, struct err *e)
{
    struct used_list x = {0}, y = {0};
    char *text = (a && get_used_list(&x, a, e)) || get_used_list(&y, b, e) ? NULL : merge(&x, &y, e);
    free_list(&x);
    free_list(&y);
    return text;
}

char *gemm_used_keep(const char *text, bool (*keep)(const struct gemm_shape *s, const void *self), const void *self,
                     struct err *e)
{
    struct used_list l = {0};
    char *out = NULL;
    if (!get_used_list(&l, text, e)) {
        size_t n = 0;
        for (size_t i = 0; i < l.n; i++)
            if (keep(&l.used[i].shape, self))
                l.used[n++] = l.used[i];
        out = list_text(&l, l.used, n);
    }
    free_list(&l);
    return out;
}
