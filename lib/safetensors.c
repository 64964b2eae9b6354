#include "safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "mem.h"

static int parse_tensor(const struct st_file *f, const char *name, const json_t *v, uint64_t data_start,
                        struct st_tensor *t, struct err *e)
{
    char where[300];
    snprintf(where, sizeof where, "'%s': tensor '%.100s'", f->name, name);
    const char *dtype;
    json_t *shape, *range;
    if (json_get_str(v, "dtype", where, &dtype, e) || json_get_array(v, "shape", where, &shape, e) ||
        json_get_array(v, "data_offsets", where, &range, e))
        return -1;
    *t = (struct st_tensor){.name = name, .dtype = dtype_of_name(dtype), .rank = (int)json_array_size(shape), .n = 1};
    if (t->dtype == DT_COUNT)
        return err_set(e, ERR_FORMAT, "%s: element type '%.20s' is not supported", where, dtype);
    if (json_array_size(shape) > ST_MAX_RANK)
        return err_set(e, ERR_FORMAT, "%s: more than %d dimensions", where, ST_MAX_RANK);
    for (int i = 0; i < t->rank; i++) {
        const json_t *d = json_array_get(shape, (size_t)i);
        if (!json_is_integer(d) || json_integer_value(d) < 0)
            return err_set(e, ERR_FORMAT, "%s: shape must be whole numbers", where);
        t->shape[i] = (uint64_t)json_integer_value(d);
        if (!mul_u64(t->n, t->shape[i], &t->n))
            return err_set(e, ERR_FORMAT, "%s: shape is too large", where);
    }
    const json_t *b = json_array_get(range, 0), *end = json_array_get(range, 1);
    if (json_array_size(range) != 2 || !json_is_integer(b) || !json_is_integer(end) || json_integer_value(b) < 0 ||
        json_integer_value(end) < json_integer_value(b))
        return err_set(e, ERR_FORMAT, "%s: data_offsets must be two ascending whole numbers", where);
    const uint64_t begin = (uint64_t)json_integer_value(b), stop = (uint64_t)json_integer_value(end);
    uint64_t want;
    if (!mul_u64(t->n, dtype_size(t->dtype), &want) || want != stop - begin)
        return err_set(e, ERR_FORMAT, "%s: %" PRIu64 " bytes of data for a shape and type of another size", where,
                       stop - begin);
    if (stop > f->map.size - data_start)
        return err_at(e, ERR_FORMAT, data_start + begin,
                      "%s: data ends at byte %" PRIu64 " of the data, the file holds %" PRIu64 " (truncated?)", where,
                      stop, (uint64_t)f->map.size - data_start);
    t->offset = data_start + begin;
    t->nb = want;
    t->data = f->map.data + t->offset;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct st_tensor *)a)->name, ((const struct st_tensor *)b)->name);
}

static int by_offset(const void *a, const void *b)
{
    const struct st_tensor *x = a, *y = b;
    return x->offset != y->offset ? (x->offset > y->offset) - (x->offset < y->offset)
                                  : (x->nb > y->nb) - (x->nb < y->nb);
}

static int check_overlap(struct st_file *f, struct err *e)
{
    qsort(f->tensor, f->n, sizeof *f->tensor, by_offset);
    uint64_t end = 0;
    for (size_t i = 0; i < f->n; i++) {
        const struct st_tensor *t = &f->tensor[i];
        if (t->nb && t->offset < end)
            return err_at(e, ERR_FORMAT, t->offset, "'%s': tensor '%.100s' overlaps another at byte %" PRIu64, f->name,
                          t->name, t->offset);
        if (t->nb)
            end = t->offset + t->nb;
    }
    qsort(f->tensor, f->n, sizeof *f->tensor, by_name);
    return 0;
}

static int parse_header(struct st_file *f, struct err *e)
{
    const size_t size = f->map.size;
    uint64_t len = 0;
    if (size < 8)
        return err_set(e, ERR_FORMAT, "'%s': %zu bytes are too short for a safetensors file", f->name, size);
    for (int i = 0; i < 8; i++)
        len |= (uint64_t)f->map.data[i] << (8 * i);
    if (len > ST_MAX_HEADER || len > size - 8)
        return err_at(e, ERR_FORMAT, 0, "'%s': header of %" PRIu64 " bytes at byte 0 does not fit the file (%zu bytes)",
                      f->name, len, size);
    f->header = json_parse((const char *)f->map.data + 8, (size_t)len, f->name, e);
    if (!f->header)
        return err_wrap(e, "safetensors header");
    if (!json_is_object(f->header))
        return err_at(e, ERR_FORMAT, 8, "'%s': the header at byte 8 is not an object", f->name);
    f->tensor = xcalloc(json_object_size(f->header), sizeof *f->tensor);
    const char *key;
    json_t *v;
    json_object_foreach (f->header, key, v) {
        if (strcmp(key, "__metadata__")) {
            if (parse_tensor(f, key, v, 8 + len, &f->tensor[f->n], e))
                return -1;
            f->n++;
        } else if (json_is_object(v))
            f->meta = v;
        else
            return err_set(e, ERR_FORMAT, "'%s': __metadata__ is not an object", f->name);
    }
    return check_overlap(f, e);
}

int st_parse(struct st_file *f, const void *data, size_t size, const char *name, struct err *e)
{
    *f = (struct st_file){.map = {data, size}, .name = xstrdup(name)};
    int rc = parse_header(f, e);
    if (rc)
        st_close(f);
    return rc;
}

int st_open(struct st_file *f, const char *path, struct err *e)
{
    struct io_map map;
    if (io_map(&map, path, e))
        return -1;
    if (st_parse(f, map.data, map.size, path, e)) {
        io_unmap(&map);
        return -1;
    }
    f->owns_map = true;
    return 0;
}

void st_close(struct st_file *f)
{
    if (f->owns_map)
        io_unmap(&f->map);
    free(f->tensor);
    free(f->name);
    json_decref(f->header);
    *f = (struct st_file){0};
}

const struct st_tensor *st_find(const struct st_file *f, const char *name)
{
    const struct st_tensor key = {.name = name};
    return f->n ? bsearch(&key, f->tensor, f->n, sizeof *f->tensor, by_name) : NULL;
}

const struct st_tensor *st_need(const struct st_file *f, const char *name, enum dtype dt, int rank,
                                const uint64_t *shape, struct err *e)
{
    const struct st_tensor *t = st_find(f, name);
    if (!t) {
        err_set(e, ERR_FORMAT, "'%s': tensor '%s' is missing", f->name, name);
        return NULL;
    }
    int ok = t->dtype == dt && t->rank == rank;
    for (int i = 0; ok && i < rank; i++)
        ok = shape[i] == UINT64_MAX || shape[i] == t->shape[i];
    if (!ok) {
        err_set(e, ERR_FORMAT, "'%s': tensor '%s' has another type or shape than expected", f->name, name);
        return NULL;
    }
    return t;
}

const char *st_need_meta(const struct st_file *f, const char *key, struct err *e)
{
    const char *s = json_string_value(json_object_get(f->meta, key));
    if (!s)
        err_set(e, ERR_FORMAT, "'%s': metadata '%s' is missing", f->name, key);
    return s;
}

/* ---- writer ---- */

void st_writer_init(struct st_writer *w)
{
    *w = (struct st_writer){.header = json_object()};
}

void st_writer_meta(struct st_writer *w, const char *key, const char *value)
{
    json_t *m = json_object_get(w->header, "__metadata__");
    if (!m) {
        m = json_object();
        json_object_set_new(w->header, "__metadata__", m);
    }
    if (json_object_set_new(m, key, json_string(value)))
        BUG("metadata '%s' is not UTF-8", key);
}

void st_writer_add(struct st_writer *w, const char *name, enum dtype t, int rank, const uint64_t *shape)
{
    uint64_t nb = dtype_size(t);
    json_t *s = json_array();
    for (int i = 0; i < rank; i++) {
        json_array_append_new(s, json_integer((json_int_t)shape[i]));
        if (!mul_u64(nb, shape[i], &nb))
            BUG("tensor '%s' is too large", name);
    }
    json_t *v = json_object();
    json_object_set_new(v, "dtype", json_string(dtype_name(t)));
    json_object_set_new(v, "shape", s);
    json_object_set_new(v, "data_offsets", json_pack("[I,I]", (json_int_t)w->offset, (json_int_t)(w->offset + nb)));
    json_object_set_new(w->header, name, v);
    w->offset += nb;
}

void st_writer_begin(struct st_writer *w, FILE *f)
{
    char *text = json_dumps(w->header, JSON_COMPACT);
    if (!text)
        BUG("header does not serialise");
    const size_t n = strlen(text), padded = (n + 8 + 63) / 64 * 64 - 8;
    for (int i = 0; i < 8; i++)
        fputc((int)(padded >> (8 * i) & 255), f);
    fwrite(text, 1, n, f);
    for (size_t i = n; i < padded; i++)
        fputc(' ', f);
    free(text);
    w->f = f;
}

void st_writer_data(struct st_writer *w, const void *data, size_t nb)
{
    if (nb)
        fwrite(data, 1, nb, w->f);
    w->written += nb;
}

void st_writer_end(struct st_writer *w)
{
    if (w->f && w->written != w->offset)
        BUG("%" PRIu64 " bytes written, %" PRIu64 " declared", w->written, w->offset);
    json_decref(w->header);
    *w = (struct st_writer){0};
}
