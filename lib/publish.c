#include "publish.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "manifest_import.h"
#include "manifest_name.h"
#include "mem.h"
#include "publish_clean.h"
#include "report.h"
#include "scores.h"
#include "sha256.h"
#include "yml.h"

struct run {
    struct manifest m; /* as published */
    struct manifest_name name;
    struct manifest_origin origin;
    char *text;        /* of the manifest */
    size_t size;
    char *composed;    /* NULL where there is none */
    char *model;
};

/* ---- is it one run? ---- */

static int check_scores(const struct manifest *m, const char *dir, const char *scores_path, struct err *e)
{
    static const char *const same[] = {"pair",        "granularity", "arithmetic", "inputs",
                                       "calibration", "loss",        "score",      "groups"};
    struct scores s;
    int rc = 0;
    if (scores_load(&s, scores_path, e))
        return -1;
    for (size_t i = 0; !rc && i < sizeof same / sizeof *same; i++)
        if (!json_equal(json_object_get(m->qsens, same[i]), json_object_get(s.doc, same[i])))
            rc = err_set(e, ERR_CONFIG,
                         "'%s': its manifest was not made of its scores.json ('%s' differs): make it anew", dir,
                         same[i]);
    scores_free(&s);
    return rc;
}

static int check_origin(const struct run *r, const struct manifest *m, const char *data, size_t n, const char *dir,
                        struct err *e)
{
    char *scores = io_join(dir, "scores.json"), sha[65];
    const int scored = !access(scores, F_OK);
    int rc = 0;
    sha256_of(data, n, sha);
    if (scored)
        rc = check_scores(m, dir, scores, e);
    else if (!r->origin.pair)
        rc = err_set(e, ERR_CONFIG,
                     "'%s' holds neither scores.json nor import.json, so nothing says where its manifest comes from; "
                     "import-manifest makes a run of a manifest",
                     dir);
    else if (strcmp(sha, r->origin.sha256))
        rc = err_set(e, ERR_CONFIG,
                     "'%s': its manifest is not the one that was imported (import.json has sha256 %.12s..)", dir,
                     r->origin.sha256);
    free(scores);
    return rc;
}

/* ---- reading ---- */

static void serialize(const json_t *doc, char **text, size_t *n)
{
    FILE *f = open_memstream(text, n);
    if (!f)
        BUG("no memory stream");
    json_print(f, doc, 2);
    fclose(f);
}

static int read_manifest(struct run *r, const char *dir, struct err *e)
{
    char *path, *data;
    size_t n;
    struct manifest m;
    if (manifest_find(dir, &path, e))
        return -1;
    int rc = io_read(path, JSON_LIMIT_DOCUMENT, &data, &n, e);
    if (!rc) {
        rc = manifest_parse(&m, data, n, path, e);
        if (!rc) {
            rc = check_origin(r, &m, data, n, dir, e);
            publish_clean_json(m.doc);
            serialize(m.doc, &r->text, &r->size);
            manifest_free(&m);
        }
        free(data);
    }
    if (!rc)
        rc = manifest_parse(&r->m, r->text, r->size, path, e);
    free(path);
    return rc;
}

/* composed-config.yaml of the run, and the model's name in it. */
static int read_composed(struct run *r, const char *dir, struct err *e)
{
    char *path = io_join(dir, "composed-config.yaml"), *data = NULL;
    const char *name;
    size_t n;
    struct yml_node root = {0};
    int rc = 0;
    if (!access(path, F_OK)) {
        rc = io_read(path, YML_MAX_SIZE, &data, &n, e);
        if (!rc)
            rc = yml_parse(&root, data, n, path, e); /* refuses NUL bytes */
        if (!rc) {
            const struct yml_node *model = yml_find(&root, "model"), *node = model ? yml_find(model, "name") : NULL;
            r->composed = publish_clean_text(data);
            if (node && yml_string(node, &name))
                r->model = manifest_path_name(name);
        }
        yml_free(&root);
        free(data);
    }
    free(path);
    return rc;
}

static int read_run(struct run *r, const struct publish *p, struct err *e)
{
    if (manifest_origin_load(&r->origin, p->run, e) || read_manifest(r, p->run, e) || read_composed(r, p->run, e) ||
        manifest_name_of(&r->name, &r->m, r->origin.pair, p->run, e))
        return -1;
    if (p->model || !r->model) {
        free(r->model);
        r->model = manifest_path_name(p->model ? p->model : r->m.model_id);
    }
    return 0;
}

static void free_run(struct run *r)
{
    manifest_name_free(&r->name);
    manifest_free(&r->m);
    manifest_origin_free(&r->origin);
    free(r->text);
    free(r->composed);
    free(r->model);
}

/* ---- writing ---- */

static char *target(const struct run *r, const char *analysis)
{
    char size[32] = "", *granularity = manifest_path_name(r->name.granularity),
         *pair = manifest_path_name(r->name.pair);
    const long long n = r->name.sequences;
    if (n == 16 || n == 128 || n == 512)
        snprintf(size, sizeof size, "_%s", n == 16 ? "small" : n == 128 ? "medium" : "large");
    else if (n > 0)
        snprintf(size, sizeof size, "_n%lld", n);
    char *dir = xasprintf("%s/weight-%s-act-%s/%s/%s_autoquant_%s_lm%s", analysis, r->name.weight, r->name.activation,
                          granularity, r->model, pair, size);
    free(granularity);
    free(pair);
    return dir;
}

static int update(const char *dir, const char *name, const char *text, size_t n, struct err *e)
{
    char *path = io_join(dir, name);
    const int rc = io_update(path, text, n, e);
    free(path);
    return rc;
}

static int write_reports(const struct run *r, const char *dir, struct err *e)
{
    char *text = NULL;
    size_t n;
    json_t *doc = report_json(&r->m);
    serialize(doc, &text, &n);
    json_decref(doc);
    int rc = update(dir, "per-layer-sensitivity.json", text, n, e);
    free(text);
    if (rc)
        return -1;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        BUG("no memory stream");
    report_md(f, &r->m, r->composed);
    fclose(f);
    rc = update(dir, "per-layer-sensitivity.md", text, n, e);
    free(text);
    return rc;
}

static int write_import(const char *from, const char *dir, struct err *e)
{
    char *path = io_join(from, MANIFEST_IMPORT_SIDECAR), *text = NULL;
    size_t n;
    json_t *doc = json_load(path, JSON_LIMIT_CONFIG, e);
    int rc = -1;
    if (doc) {
        publish_clean_json(doc);
        serialize(doc, &text, &n);
        rc = update(dir, MANIFEST_IMPORT_SIDECAR, text, n, e);
        free(text);
        json_decref(doc);
    }
    free(path);
    return rc;
}

/* A run of another scheme in the same place would leave two manifests. */
static int check_target(const char *dir, const char *file, struct err *e)
{
    char *found, *own = io_join(dir, file);
    struct err none;
    int rc = 0;
    if (!manifest_find(dir, &found, &none)) {
        if (strcmp(found, own))
            rc = err_set(e, ERR_CONFIG, "'%s' holds another manifest: remove that directory first", found);
        free(found);
    }
    free(own);
    return rc;
}

int publish_run(const struct publish *p, char **analysis, char **written, struct err *e)
{
    struct run r = {0};
    char *dir = NULL, *file = NULL, *base = NULL;
    int rc = read_run(&r, p, e);
    if (!rc)
        rc = manifest_file_name(r.m.scheme, p->run, &file, e);
    if (!rc) {
        base = xasprintf("%s/%s/layer-analysis", p->root, r.model);
        dir = target(&r, base);
        rc = check_target(dir, file, e);
    }
    if (!rc)
        rc = update(dir, file, r.text, r.size, e);
    if (!rc && r.composed)
        rc = update(dir, "composed-config.yaml", r.composed, strlen(r.composed), e);
    if (!rc && r.origin.pair)
        rc = write_import(p->run, dir, e);
    if (!rc)
        rc = write_reports(&r, dir, e);
    free_run(&r);
    free(file);
    if (rc) {
        free(dir);
        free(base);
        return -1;
    }
    *written = dir;
    *analysis = base;
    return 0;
}
