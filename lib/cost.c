#include "cost.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "backend_dry.h"
#include "mem.h"
#include "model.h"

/* How many times slower than a large GEMM (per FLOP) and a large copy (per byte) an op is. */
struct slowness {
    double flop, byte;
};
struct speed_model {
    double start, call; /* seconds: of a process from exec to exit without work, of an op */
    struct slowness op[OP_COUNT], replayed;
    size_t host_base; /* bytes of a process that has scored next to nothing */
};

static const struct speed_model on_cpu = {
    .start = 0.008,
    .call = 10e-6,
    .op =
        {
            [OP_MEMORY] = {0, 4},    [OP_LOAD] = {0, 2},       [OP_COPY] = {0, 4},
            [OP_CONVERT] = {0, 2},   [OP_ROWS] = {0, 4},       [OP_ADD] = {0, 4},
            [OP_LINEAR] = {1, 24}, /* sums near a tie are made again, as the reference makes them */
            [OP_LINEAR_DX] = {1, 9}, [OP_RMSNORM] = {0, 10},   [OP_RMSNORM_BWD] = {0, 6},
            [OP_ROPE] = {0, 7},      [OP_ATTENTION] = {15, 0}, [OP_ATTENTION_BWD] = {10, 0},
            [OP_SWIGLU] = {0, 5},    [OP_SWIGLU_BWD] = {0, 4}, [OP_XENT] = {0, 10},
            [OP_XENT_BWD] = {0, 8},  [OP_AMAX] = {0, 4},       [OP_FAKEQUANT] = {0, 5},
            [OP_SCORE] = {0, 3},     [OP_SEGMENTS] = {0, 0},
        },
    .replayed = {1, 8},
    .host_base = 16 << 20,
};

/* Not fitted op by op: kernels as README has them beside a copy, attention beside a GEMM, on an H100. */
static const struct speed_model on_gpu = {
    .start = 0.9, /* of which the driver's context */
    .call = 6e-6,
    .op =
        {
            [OP_COPY] = {0, 40}, /* over the bus */
            [OP_LOAD] = {0, 1},         [OP_CONVERT] = {0, 1},       [OP_ROWS] = {0, 1.2},
            [OP_ADD] = {0, 1.2},        [OP_LINEAR] = {1.1, 1},      [OP_LINEAR_DX] = {1.1, 1},
            [OP_RMSNORM] = {0, 1.2},    [OP_RMSNORM_BWD] = {0, 1.2}, [OP_ROPE] = {0, 1.2},
            [OP_ATTENTION] = {4, 0},    [OP_ATTENTION_BWD] = {6, 0}, [OP_SWIGLU] = {0, 1.2},
            [OP_SWIGLU_BWD] = {0, 1.2}, [OP_XENT] = {0, 1.2},        [OP_XENT_BWD] = {0, 1.2},
            [OP_AMAX] = {0, 1.2},       [OP_FAKEQUANT] = {0, 1.2},   [OP_SCORE] = {0, 1.2},
        },
    .replayed = {1.1, 1},
    .host_base = 250u << 20,
};

/* Of a GPU: the driver's context and the library's workspace, beside what placement counts. */
enum { CONTEXT_BYTES = 600 << 20 };

static const struct speed_model *model_of(const struct be_ops *ops)
{
    return ops->room ? &on_gpu : &on_cpu;
}

/* ---- counting */

static void add(struct profile_entry *sum, const struct profile_entry *e)
{
    sum->calls += e->calls;
    sum->flops += e->flops;
    sum->bytes += e->bytes;
}

static void sum_profile(struct cost *c)
{
    for (int phase = 0; phase < PROFILE_PHASES; phase++)
        for (int op = 0; op < OP_COUNT; op++) {
            const struct profile_entry *e = profile_entry(phase, (enum profile_op)op);
            add(phase >= PHASE_REPLAY && op == OP_LINEAR ? &c->replayed : &c->op[op], e);
            c->flops += e->flops;
        }
    c->bytes = c->op[OP_LOAD].bytes;
}

int cost_count(struct cost *c, const struct be_ops *ops, const struct lm *lm, const struct calib *calib,
               const struct replay_set *set, const struct scorer_options *o, size_t device_memory, struct err *e)
{
    struct scorer_sample sample = {.calib = calib, .set = set};
    struct scorer_result *r = &sample.result;
    struct dry_memory memory = {.limit = device_memory};
    int *first;
    *c = (struct cost){.rows = calib->n_rows, .replays = set->n, .blocks = block_cut(calib, o->block_batches, &first)};
    free(first);
    if (scorer_run(&sample, 1, profile_counts(dry_ops(ops, &memory)), lm, o, e))
        return -1;
    c->scored_rows = r->n_scored_rows;
    sum_profile(c);
    const size_t units = (size_t)r->n_units;
    c->host_bytes = model_of(ops)->host_base + ((size_t)set->n * (size_t)r->n_scored_seqs * units) * sizeof(double) +
                    (size_t)r->n_batches * units * sizeof(float) + (ops->room ? memory.host_peak : memory.peak);
    if (ops->room)
        c->device_bytes = CONTEXT_BYTES + (r->placement.bytes > memory.peak ? r->placement.bytes : memory.peak);
    scorer_result_free(r);
    return 0;
}

/* ---- what follows */

static double seconds(const struct profile_entry *e, const struct slowness *s, double call, double gemm, double copy)
{
    return (double)e->calls * call + e->flops * s->flop / gemm + e->bytes * s->byte / copy;
}

double cost_seconds(const struct cost *c, const struct be_ops *ops, const struct ceiling *speed)
{
    const struct speed_model *m = model_of(ops);
    double sum = m->start + seconds(&c->replayed, &m->replayed, m->call, speed->gemm_flops, speed->copy_bytes);
    for (int op = 0; op < OP_COUNT; op++)
        sum += seconds(&c->op[op], &m->op[op], m->call, speed->gemm_flops,
                       op == OP_LOAD ? speed->load_bytes : speed->copy_bytes);
    return sum;
}

size_t cost_disk(int64_t scored_seqs, int64_t batches, int lm_units, int vision_units)
{
    /* bytes a unit in scores.json, the manifest and both reports; bytes a file whatever its model */
    enum { PER_LM_UNIT = 5400, PER_VISION_UNIT = 500, FIXED = 15000 };
    const size_t units = (size_t)lm_units;
    return (size_t)scored_seqs * units * sizeof(double) + ((size_t)batches + 1) * units * sizeof(float) +
           units * PER_LM_UNIT + (size_t)vision_units * PER_VISION_UNIT + FIXED;
}

/* ---- stand-ins for inputs that are not there yet */

void cost_model(struct lm *m, const struct lm_config *c, enum dtype weights)
{
    struct stat st = {0};
    *m = (struct lm){.config = *c, .n_files = 1, .n_tensors = lm_tensor_count(c), .n_units = lm_unit_count(c)};
    /* some file that can be mapped: weights are never read */
    m->file = xcalloc(1, sizeof *m->file);
    m->file[0].path = xstrdup("/proc/self/exe");
    if (!stat(m->file[0].path, &st)) {
        m->file[0].size = (uint64_t)st.st_size;
        m->file[0].mtime_ns = st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec;
    }
    m->tensor = xcalloc((size_t)m->n_tensors, sizeof *m->tensor);
    for (int i = 0; i < m->n_tensors; i++) {
        struct lm_tensor *t = &m->tensor[i];
        lm_tensor_at(c, i, &t->role, &t->layer);
        t->rank = lm_role_shape(c, t->role, t->shape);
        t->dtype = weights;
    }
    m->unit = xcalloc((size_t)m->n_units, sizeof *m->unit);
}

int cost_captions(struct calib *c, int64_t n, const int64_t *tokens, int batch_size, int seq_len, bool sentinels,
                  struct err *e)
{
    enum { PAD = 0, TOKEN = 1 };
    int32_t *text = xmalloc((size_t)seq_len, sizeof *text);
    const int32_t **ids = xmalloc((size_t)n, sizeof *ids);
    int64_t *length = xmalloc((size_t)n, sizeof *length);
    for (int i = 0; i < seq_len; i++)
        text[i] = TOKEN;
    for (int64_t i = 0; i < n; i++) {
        ids[i] = text;
        length[i] = tokens[i] < seq_len ? tokens[i] : seq_len;
    }
    const int rc = calib_build(c, n, ids, length, batch_size, seq_len, sentinels, PAD, e);
    free(text);
    free(ids);
    free(length);
    return rc;
}
