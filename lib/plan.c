#include "plan.h"

#include <stdlib.h>
#include <string.h>

#include "captions.h"
#include "hf_config.h"
#include "io.h"
#include "json.h"
#include "mem.h"
#include "scores_split.h"

/* ---- speeds */

int plan_device_load(struct plan_device *d, const char *path, struct err *e)
{
    json_t *doc = json_load(path, JSON_LIMIT_CONFIG, e), *device;
    const char *format, *backend, *name;
    int64_t version, threads = 0, memory;
    if (!doc)
        return -1;
    *d = (struct plan_device){0};
    int rc = json_get_str(doc, "format", path, &format, e) || json_get_int(doc, "version", path, 1, 1, &version, e) ||
                     json_get_str(doc, "backend", path, &backend, e) ||
                     json_get_object(doc, "device", path, &device, e) || json_get_str(device, "name", path, &name, e) ||
                     json_get_int(device, "free_bytes", path, 0, INT64_MAX, &memory, e) ||
                     json_get_real(doc, "copy_bytes_per_second", path, &d->speed.copy_bytes, e) ||
                     json_get_real(doc, "load_bytes_per_second", path, &d->speed.load_bytes, e) ||
                     json_get_real(doc, "gemm_flops", path, &d->speed.gemm_flops, e)
                 ? -1
                 : 0;
    if (!rc && strcmp(format, "qsens-device"))
        rc = err_set(e, ERR_FORMAT, "%s: format '%.64s' is not qsens-device", path, format);
    if (!rc && !(d->speed.copy_bytes > 0 && d->speed.load_bytes > 0 && d->speed.gemm_flops > 0))
        rc = err_set(e, ERR_FORMAT, "%s: speeds must be above 0", path);
    if (!rc && json_object_get(device, "threads"))
        rc = json_get_int(device, "threads", path, 1, 1 << 20, &threads, e);
    if (!rc && !(d->ops = be_find(backend, e)))
        rc = err_wrap(e, "%s", path);
    if (!rc) {
        snprintf(d->name, sizeof d->name, "%s", name);
        d->threads = (int)threads;
        d->free_bytes = (size_t)memory;
    }
    json_decref(doc);
    return rc;
}

/* ---- argument files */

/* DIR/NAME as one string whose lines are arguments. */
static int read_arguments(char **text, const char *dir, const char *name, struct err *e)
{
    char *path = io_join(dir, name);
    size_t n;
    const int rc = io_read(path, JSON_LIMIT_CONFIG, text, &n, e);
    free(path);
    return rc;
}

/* The value of OPTION ("--batch=") among the lines, or its operand where OPTION is NULL, in a new string; NULL where
 * it is not there. A flag has an empty value. */
static char *argument(const char *lines, const char *option)
{
    for (const char *line = lines; *line;) {
        const size_t length = strcspn(line, "\n"), n = option ? strlen(option) : 0;
        if (option ? length >= n && !strncmp(line, option, n) : length && *line != '-')
            return xstrndup(line + n, length - n);
        line += length + (line[length] == '\n');
    }
    return NULL;
}

static long number(const char *lines, const char *option, long otherwise)
{
    char *text = argument(lines, option);
    const long n = text ? strtol(text, NULL, 10) : 0;
    free(text);
    return n > 0 ? n : otherwise;
}

static bool is(const char *lines, const char *option, const char *value)
{
    char *text = argument(lines, option);
    const bool same = text && !strcmp(text, value);
    free(text);
    return same;
}

/* ---- inputs */

/* Sizes of the model. vision: its layers that a manifest lists. */
static int model_sizes(struct lm *sizes, int *vision, const struct grid_input *model, bool *guessed, struct err *e)
{
    *vision = 0;
    if (!model->make) {
        struct lm lm;
        char *path = io_join(model->dir, "lm.json");
        const int rc = lm_load(&lm, path, e);
        free(path);
        if (rc)
            return -1;
        cost_model(sizes, &lm.config, lm.tensor[0].dtype);
        *vision = lm.n_units - lm_unit_count(&lm.config);
        lm_free(&lm);
        return 0;
    }
    *guessed = true;
    char *args;
    struct hf_config config;
    if (read_arguments(&args, model->dir, "extract-lm.args", e))
        return -1;
    char *dir = argument(args, NULL);
    const int rc = dir ? hf_config_load(&config, dir, e) : err_set(e, ERR_FORMAT, "extract-lm.args names no model");
    free(dir);
    free(args);
    if (rc)
        return -1;
    cost_model(sizes, &config.lm, DT_BF16);
    if (config.has_vision) {
        struct vision_tensor *t;
        int n;
        vision_tensors(&config.vision, &t, &n);
        for (int i = 0; i < n; i++)
            *vision += t[i].kind == VISION_LINEAR || t[i].kind == VISION_CONV3D;
        vision_free(t, n);
    }
    return 0;
}

static int guess_captions(struct calib *calib, const char *args, struct err *e)
{
    char *path = argument(args, NULL);
    struct captions text;
    if (!path)
        return err_set(e, ERR_FORMAT, "calib-pack.args names no captions");
    int rc = captions_load(&text, path, e);
    if (!rc) {
        const size_t asked = (size_t)number(args, "--max-samples=", (long)text.n), n = asked < text.n ? asked : text.n;
        int64_t *tokens = xmalloc(n, sizeof *tokens);
        for (size_t i = 0; i < n; i++)
            tokens[i] = 1 + (int64_t)text.item[i].n / PLAN_BYTES_PER_TOKEN;
        rc = cost_captions(calib, (int64_t)n, tokens, (int)number(args, "--batch=", 8),
                           (int)number(args, "--seq-len=", 512), is(args, "--padding=", "reference"), e);
        free(tokens);
    }
    captions_free(&text);
    free(path);
    return rc;
}

static int captions_sizes(struct calib *calib, const struct grid_input *data, bool *guessed, struct err *e)
{
    char *args;
    if (!data->make) {
        char *path = io_join(data->dir, "calib.safetensors");
        const int rc = calib_load(calib, path, e);
        free(path);
        return rc;
    }
    *guessed = true;
    if (read_arguments(&args, data->dir, "calib-pack.args", e))
        return -1;
    const int rc = guess_captions(calib, args, e);
    free(args);
    return rc;
}

static int add_pair(struct replay_set *set, const char *dir, bool split, struct err *e)
{
    struct pair pair;
    struct split_replays parts;
    char *path = io_join(dir, "config/pair.yaml");
    const int rc = pair_load(&pair, path, e) || replay_add(set, &pair, e) < 0 ||
                           (split && split_replays_add(&parts, set, &pair, e))
                       ? -1
                       : 0;
    free(path);
    return rc;
}

static int read_pairs(struct plan_group *p, struct replay_set *set, const struct grid *g, int group, const char *args,
                      struct err *e)
{
    char *split = argument(args, "--split");
    int rc = 0;
    for (int i = 0; i < g->n_cells && !rc; i++) {
        const struct grid_cell *c = &g->cell[i];
        if (c->group != group || !(c->score || c->state == CELL_UNSURE))
            continue;
        p->scored += c->score;
        p->unsure += !c->score;
        rc = add_pair(set, c->dir, split != NULL, e);
    }
    free(split);
    return rc;
}

int plan_group(struct plan_group *p, const struct grid *g, int group, const struct plan_device *d, size_t gpu_memory,
               int pass_blocks, struct err *e)
{
    const struct grid_cell *first = g->cell;
    struct replay_set set = {0};
    struct lm sizes = {0};
    struct calib calib = {0};
    char *args;
    *p = (struct plan_group){0};
    while (first->group != group)
        first++;
    if (read_arguments(&args, first->dir, "config/args/autoquant-score", e))
        return -1;
    const struct scorer_options o = {.bf16 = !is(args, "--dtype=", "fp32"),
                                     .score_size = (int)number(args, "--score-size=", 128),
                                     .block_batches = (int)number(args, "--block=", 8),
                                     .pass_blocks = pass_blocks,
                                     .gpu_memory = gpu_memory};
    const size_t room = gpu_memory && gpu_memory < d->free_bytes ? gpu_memory : d->free_bytes;
    int vision, rc = read_pairs(p, &set, g, group, args, e);
    if (!rc && p->scored + p->unsure) {
        rc = model_sizes(&sizes, &vision, &g->model[first->model], &p->guessed, e) ||
                     captions_sizes(&calib, &g->data[first->data], &p->guessed, e) ||
                     cost_count(&p->cost, d->ops, &sizes, &calib, &set, &o, room, e)
                 ? -1
                 : 0;
        if (!rc) {
            const int64_t scored = scorer_scored_seqs(&calib, o.score_size);
            p->seconds = cost_seconds(&p->cost, d->ops, &d->speed);
            p->disk_bytes = (size_t)(p->scored + p->unsure) *
                            cost_disk(scored, calib.n_batches, lm_unit_count(&sizes.config), vision);
        }
    }
    lm_free(&sizes);
    calib_free(&calib);
    free(args);
    return rc;
}
