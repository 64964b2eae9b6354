#include "manifest_import.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "manifest_name.h"
#include "mem.h"
#include "sha256.h"

#define TAIL "_quant_manifest.json"

static const char file_characters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-";

int manifest_file_name(const char *scheme, const char *where, char **name, struct err *e)
{
    if (!*scheme || *scheme == '.' || scheme[strspn(scheme, file_characters)] || strlen(scheme) > 200)
        return err_set(e, ERR_CONFIG,
                       "'%s': scheme '%.100s' cannot be a file name (allowed are letters, digits, '.', '_', '+', '-')",
                       where, scheme);
    *name = xasprintf("%s" TAIL, scheme);
    return 0;
}

/* Names in the directory that end as manifests do: their number, and one of them in *name. */
static int count_manifests(const char *dir, char **name, struct err *e)
{
    DIR *d = opendir(dir);
    int n = 0;
    *name = NULL;
    if (!d)
        return errno == ENOENT ? 0 : err_set(e, ERR_IO, "cannot open directory '%s': %s", dir, strerror(errno));
    for (struct dirent *entry; (entry = readdir(d));) {
        const size_t k = strlen(entry->d_name), tail = strlen(TAIL);
        if (k > tail && !strcmp(entry->d_name + k - tail, TAIL)) {
            n++;
            free(*name);
            *name = xstrdup(entry->d_name);
        }
    }
    closedir(d);
    return n;
}

int manifest_find(const char *dir, char **path, struct err *e)
{
    char *name;
    const int n = count_manifests(dir, &name, e);
    if (n == 1)
        *path = io_join(dir, name);
    else if (n == 0)
        err_set(e, ERR_CONFIG, "'%s' holds no NAME" TAIL ": it is not a finished run", dir);
    else if (n > 1)
        err_set(e, ERR_CONFIG, "'%s' holds %d manifests: remove all but one", dir, n);
    free(name);
    return n == 1 ? 0 : -1;
}

/* A run of another origin must not be overwritten. */
static int check_dir(const char *dir, const char *file, struct err *e)
{
    char *scores = io_join(dir, "scores.json"), *found = NULL;
    int rc = 0, n;
    if (!access(scores, F_OK))
        rc = err_set(e, ERR_CONFIG, "'%s' holds a run that was scored here (scores.json): import elsewhere", dir);
    else if ((n = count_manifests(dir, &found, e)) < 0)
        rc = -1;
    else if (n > 1 || (n == 1 && strcmp(found, file)))
        rc = err_set(e, ERR_CONFIG, "'%s' holds another manifest, '%.200s': import elsewhere", dir, found);
    free(found);
    free(scores);
    return rc;
}

static char *default_dir(const char *root, const struct manifest_name *n)
{
    char *dataset = n->dataset ? manifest_path_name(n->dataset) : xstrdup("dataset-unknown");
    char *granularity = manifest_path_name(n->granularity), *pair = manifest_path_name(n->pair);
    char *dir = n->sequences > 0 ? xasprintf("%s/%s/%s-n%lld-imported/%s/%s", root, n->model, dataset,
                                             (long long)n->sequences, pair, granularity)
                                 : xasprintf("%s/%s/%s-imported/%s/%s", root, n->model, dataset, pair, granularity);
    free(dataset);
    free(granularity);
    free(pair);
    return dir;
}

static int write_sidecar(const struct manifest_import *i, const struct manifest_name *n, const char *dir,
                         const char *data, size_t size, struct err *e)
{
    char sha[65];
    sha256_of(data, size, sha);
    json_t *source = json_pack("{ss ss sI}", "path", i->from, "sha256", sha, "bytes", (json_int_t)size);
    if (!source)
        return err_set(e, ERR_CONFIG, "the name of '%s' is not valid UTF-8", i->from);
    json_t *doc = json_pack("{ss si so ss ss ss ss ss ss ss*}", "format", "qsens-import", "version", 1, "source",
                            source, "tool", n->tool, "model", n->model, "pair", n->pair, "weight", n->weight,
                            "activation", n->activation, "granularity", n->granularity, "dataset", n->dataset);
    if (n->sequences > 0)
        json_object_set_new(doc, "sequences", json_integer(n->sequences));
    char *text = NULL, *path = io_join(dir, MANIFEST_IMPORT_SIDECAR);
    size_t k = 0;
    FILE *f = open_memstream(&text, &k);
    json_print(f, doc, 1);
    fputc('\n', f);
    fclose(f);
    const int rc = io_update(path, text, k, e);
    free(text);
    free(path);
    json_decref(doc);
    return rc;
}

static int write_run(const struct manifest_import *i, const struct manifest *m, const char *data, size_t size,
                     char **written, struct err *e)
{
    struct manifest_name n;
    char *file = NULL, *path = NULL;
    if (manifest_name_of(&n, m, i->pair, i->from, e))
        return -1;
    char *dir = i->dir ? xstrdup(i->dir) : default_dir(i->root, &n);
    int rc = manifest_file_name(m->scheme, i->from, &file, e);
    if (!rc)
        rc = check_dir(dir, file, e);
    if (!rc) {
        path = io_join(dir, file);
        rc = io_update(path, data, size, e);
    }
    if (!rc)
        rc = write_sidecar(i, &n, dir, data, size, e);
    if (!rc)
        *written = dir;
    else
        free(dir);
    free(path);
    free(file);
    manifest_name_free(&n);
    return rc;
}

int manifest_import(const struct manifest_import *i, char **written, struct err *e)
{
    char *data;
    size_t size;
    struct manifest m;
    if (io_read(i->from, JSON_LIMIT_DOCUMENT, &data, &size, e))
        return -1;
    int rc = manifest_parse(&m, data, size, i->from, e);
    if (!rc) {
        rc = write_run(i, &m, data, size, written, e);
        manifest_free(&m);
    }
    free(data);
    return rc;
}

int manifest_origin_load(struct manifest_origin *o, const char *dir, struct err *e)
{
    char *path = io_join(dir, MANIFEST_IMPORT_SIDECAR), where[512];
    const char *pair, *source_path, *sha, *format;
    json_t *doc = NULL, *source;
    int64_t version;
    int rc = 0;
    *o = (struct manifest_origin){0};
    snprintf(where, sizeof where, "'%.400s'", path);
    if (!access(path, F_OK)) {
        rc = -1;
        doc = json_load(path, JSON_LIMIT_CONFIG, e);
        if (doc && !json_get_str(doc, "format", where, &format, e) &&
            !json_get_int(doc, "version", where, 1, 1, &version, e) && !json_get_str(doc, "pair", where, &pair, e) &&
            !json_get_object(doc, "source", where, &source, e) &&
            !json_get_str(source, "path", where, &source_path, e) &&
            !json_get_str(source, "sha256", where, &sha, e)) {
            o->pair = xstrdup(pair);
            o->path = xstrdup(source_path);
            snprintf(o->sha256, sizeof o->sha256, "%s", sha);
            rc = 0;
        }
    }
    json_decref(doc);
    free(path);
    return rc;
}

void manifest_origin_free(struct manifest_origin *o)
{
    free(o->pair);
    free(o->path);
    *o = (struct manifest_origin){0};
}
