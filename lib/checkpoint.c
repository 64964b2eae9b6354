#include "checkpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io.h"
#include "json.h"
#include "mem.h"

enum { MAX_SHARDS = 4096, INDEX_LIMIT = 64 << 20 };

static int file_info(const char *path, struct lm_file *info, struct err *e)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return err_set(e, ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    info->size = (uint64_t)st.st_size;
    info->inode = (uint64_t)st.st_ino;
    /* wraps for years past 2262: it is only compared */
    info->mtime_ns = (int64_t)((uint64_t)st.st_mtim.tv_sec * 1000000000 + (uint64_t)st.st_mtim.tv_nsec);
    return 0;
}

/* Open DIR/name as the next file. */
static int add_file(struct checkpoint *c, const char *name, struct err *e)
{
    c->info = xrealloc(c->info, (size_t)c->n_files + 1, sizeof *c->info);
    c->file = xrealloc(c->file, (size_t)c->n_files + 1, sizeof *c->file);
    struct lm_file info = {.path = io_join(c->dir, name)};
    struct st_file file = {0};
    if (file_info(info.path, &info, e) || st_open(&file, info.path, e)) {
        free(info.path);
        return -1;
    }
    c->info[c->n_files] = info;
    c->file[c->n_files++] = file;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct checkpoint_tensor *)a)->name, ((const struct checkpoint_tensor *)b)->name);
}

static int open_single(struct checkpoint *c, struct err *e)
{
    if (add_file(c, "model.safetensors", e))
        return -1;
    c->n = c->file[0].n;
    c->tensor = xcalloc(c->n, sizeof *c->tensor);
    for (size_t i = 0; i < c->n; i++) /* st_file is sorted by name already */
        c->tensor[i] = (struct checkpoint_tensor){c->file[0].tensor[i].name, 0, &c->file[0].tensor[i]};
    return 0;
}

/* ---- shards ---- */

/* The shards that the index names, sorted, each once. The names belong to the index. */
static int list_shards(const json_t *map, const char *index, const char ***out, size_t *n, struct err *e)
{
    const char *key;
    const json_t *v;
    json_t *seen = json_object();
    int rc = 0;
    *out = NULL;
    *n = 0;
    size_t cap = 0;
    json_object_foreach((json_t *)(uintptr_t)map, key, v)
    {
        const char *s =
            json_is_string(v) && strlen(json_string_value(v)) == json_string_length(v) ? json_string_value(v) : "";
        if (!*s || !strcmp(s, ".") || strchr(s, '/') || strstr(s, "..")) {
            rc = err_set(e, ERR_FORMAT,
                         "'%s': tensor '%.100s' is in '%.100s', which is not a file name in this directory", index, key,
                         s);
            break;
        }
        if (json_object_get(seen, s))
            continue;
        json_object_set_new(seen, s, json_true());
        *out = xgrow(*out, &cap, *n + 1, sizeof **out);
        (*out)[(*n)++] = s;
        if (*n > MAX_SHARDS) {
            rc = err_set(e, ERR_FORMAT, "'%s': more than %d shards", index, MAX_SHARDS);
            break;
        }
    }
    json_decref(seen);
    return rc;
}

static int add_tensors(struct checkpoint *c, const json_t *map, const char *const *shard, size_t n, const char *index,
                       struct err *e)
{
    const char *key;
    const json_t *v;
    c->tensor = xcalloc(json_object_size(map), sizeof *c->tensor);
    json_object_foreach((json_t *)(uintptr_t)map, key, v)
    {
        const char *name = json_string_value(v);
        const char *const *at = bsearch(&name, shard, n, sizeof *shard, by_string);
        const int file = (int)(at - shard);
        const struct st_tensor *t = st_find(&c->file[file], key);
        if (!t)
            return err_set(e, ERR_FORMAT, "'%s': tensor '%.100s' is not in '%.100s', where the index has it", index,
                           key, name);
        c->tensor[c->n++] = (struct checkpoint_tensor){t->name, file, t};
    }
    qsort(c->tensor, c->n, sizeof *c->tensor, by_name);
    return 0;
}

static int open_shards(struct checkpoint *c, const char *index, struct err *e)
{
    json_t *doc = json_load(index, INDEX_LIMIT, e), *map;
    const char **shard = NULL;
    size_t n = 0;
    char where[256];
    snprintf(where, sizeof where, "'%.200s'", index);
    int rc = doc ? json_get_object(doc, "weight_map", where, &map, e) : -1;
    if (!rc)
        rc = list_shards(map, index, &shard, &n, e);
    if (!rc && !n)
        rc = err_set(e, ERR_FORMAT, "%s: 'weight_map' is empty", where);
    if (!rc)
        qsort(shard, n, sizeof *shard, by_string);
    for (size_t i = 0; i < n && !rc; i++)
        if (add_file(c, shard[i], e))
            rc = err_wrap(e, "shard %zu of %zu", i + 1, n);
    if (!rc)
        rc = add_tensors(c, map, shard, n, index, e);
    free(shard);
    json_decref(doc);
    return rc;
}

int checkpoint_open(struct checkpoint *c, const char *dir, struct err *e)
{
    *c = (struct checkpoint){0};
    char *real = realpath(dir, NULL);
    if (!real)
        return err_set(e, ERR_IO, "cannot open '%s': %s", dir, strerror(errno));
    c->dir = real;
    char *single = io_join(dir, "model.safetensors"), *index = io_join(dir, "model.safetensors.index.json");
    int rc;
    if (access(single, F_OK) == 0)
        rc = open_single(c, e);
    else if (access(index, F_OK) == 0)
        rc = open_shards(c, index, e);
    else
        rc = err_set(e, ERR_IO, "'%s' has neither model.safetensors nor model.safetensors.index.json", dir);
    free(single);
    free(index);
    if (rc)
        checkpoint_close(c);
    return rc;
}

void checkpoint_close(struct checkpoint *c)
{
    for (int i = 0; i < c->n_files; i++) {
        free(c->info[i].path);
        st_close(&c->file[i]);
    }
    free(c->info);
    free(c->file);
    free(c->tensor);
    free(c->dir);
    *c = (struct checkpoint){0};
}

const struct checkpoint_tensor *checkpoint_find(const struct checkpoint *c, const char *name)
{
    const struct checkpoint_tensor key = {.name = name};
    return c->n ? bsearch(&key, c->tensor, c->n, sizeof *c->tensor, by_name) : NULL;
}

int checkpoint_unchanged(const struct checkpoint *c, struct err *e)
{
    for (int i = 0; i < c->n_files; i++) {
        const struct lm_file *was = &c->info[i];
        struct lm_file now = {0};
        if (file_info(was->path, &now, e))
            return -1;
        if (now.size != was->size || now.inode != was->inode || now.mtime_ns != was->mtime_ns)
            return err_set(e, ERR_IO, "'%s' changed while it was read; run again", was->path);
    }
    return 0;
}
