/* What scores.json and records.safetensors say of the backend: nothing of algorithms where it has no choice, the hash
 * of gemm.json where it has. */
#include "scores_write.h"

#include "parity/random_model.h"
#include "safetensors.h"
#include "scores.h"
#include "sha256.h"
#include "tap.h"

static const struct shape small = {"", 24, 1, 4, 2, 6, 40, 50, DT_F32, 1, true};
static const char choices[] = "{\"format\": \"qsens-gemm-used\"}\n";
static const char *tables; /* as the backend was opened with */

static char *made_up(struct be *be)
{
    return be ? xstrdup(choices) : NULL;
}
static struct be *noting_open(const struct be_options *o, struct err *e)
{
    tables = o->gemm_tables;
    return be_cpu_ops.open(o, e);
}
static char *name_device(const struct be_options *o, struct err *e)
{
    if (o->gemm_tables)
        return xasprintf("GPU, table of %s", o->gemm_tables);
    err_set(e, ERR_DEVICE, "no device");
    return NULL;
}

static json_t *records(const struct scores_source *s, const struct pair *p)
{
    char *data = NULL;
    size_t n = 0;
    struct st_file f;
    struct err e = {0};
    FILE *out = open_memstream(&data, &n);
    records_write(s, p, 0, out);
    fclose(out);
    if (st_parse(&f, data, n, "records", &e))
        BUG("%s", e.msg);
    json_t *meta = json_deep_copy(f.meta);
    st_close(&f);
    free(data);
    return meta;
}

/* Read as others read it; an edit of the hash is refused. */
static void check_document(const json_t *doc)
{
    struct scores s;
    struct err e = {0};
    char *text = json_dumps(doc, 0), *hash = strstr(text, "gemm_sha256\": \"");
    ok(!scores_parse(&s, text, strlen(text), "x", &e), "it is read %s", e.msg);
    scores_free(&s);
    if (hash) {
        hash[strlen("gemm_sha256\": \"")] = 'G';
        ok(scores_parse(&s, text, strlen(text), "x", &e) == -1 && strstr(e.msg, "'gemm_sha256' must be 64"), "%s",
           e.msg);
    }
    free(text);
}

static void check_run(const struct lm *lm, const struct calib *c, const struct be_ops *ops, bool chooses)
{
    const struct pair pair = subject_pair("int8_fp16");
    struct replay_set set = {0};
    subject_add(&set, &pair);
    struct scorer_options o = subject_bf16;
    o.gemm_tables = "some/where";
    struct scorer_result r = subject_score(ops, lm, c, &set, &o);
    const struct scores_source s = {lm, c, &o, &r, ops->name, ops->name, "default", 1, "2026-01-01T00:00:00Z"};
    json_t *doc = scores_document(&s, &pair, 0), *meta = records(&s, &pair);
    const json_t *in_doc = json_object_get(json_object_get(doc, "arithmetic"), "gemm_sha256");
    const json_t *in_meta = json_object_get(meta, "gemm_sha256");
    char sha[65];
    sha256_of(choices, strlen(choices), sha);
    if (chooses) {
        is_str(r.gemm, choices, "the backend's choices come out of the run");
        is_str(json_string_value(in_doc), sha, "scores.json holds their hash");
        is_str(json_string_value(in_meta), sha, "so do the records");
    } else
        ok(!r.gemm && !in_doc && !in_meta, "%s has no choice of algorithms", ops->name);
    check_document(doc);
    json_decref(doc);
    json_decref(meta);
    scorer_result_free(&r);
}

static void check_identity(void)
{
    struct be_ops ops = be_cpu_ops;
    struct be_options o = {0};
    struct err e = {0};
    char *text = be_identity(&be_cpu_ops, &o, &e);
    is_str(text, "cpu", "the name is all of the cpu's identity");
    free(text);
    ops.identity = name_device;
    ok(!be_identity(&ops, &o, &e) && e.code == ERR_DEVICE, "a device that is not there: %s", e.msg);
    o.gemm_tables = "conf/gemm";
    text = be_identity(&ops, &o, &e);
    is_str(text, "cpu GPU, table of conf/gemm", "a device's identity follows the name");
    free(text);
}

int main(void)
{
    struct lm lm;
    struct calib c;
    make_model(&lm, &small, 1);
    make_captions(&c, 4, 2, true, small.vocab, 1);
    c.source = xstrdup("captions");
    struct be_ops ops = be_cpu_ops;
    ops.gemm_used = made_up;
    ops.open = noting_open;
    check_run(&lm, &c, &be_cpu_ops, false);
    check_run(&lm, &c, &ops, true);
    is_str(tables, "some/where", "the backend is opened with the tables");
    check_identity();
    calib_free(&c);
    lm_free(&lm);
    return done();
}
