/* Weights and layer inputs that do not stay on a device change no bit, and no placement takes more than it announces:
 * on a device made of the CPU backend, whose copies arrive as late as they may, and on a real one with a limit. */
#include "ops/ops.h"
#include "parallel.h"
#include "parity/counted.h"
#include "parity/subject.h"
#include "placement.h"
#include "tap.h"

enum { CAPTIONS = 28, POISON = 0xff };

/* ---- the device */

static struct {
    size_t room;
    struct {
        struct be_view dst;
        const void *src;
        enum dtype from;
        size_t n;
        bool round;
    } late[64];
    int n_late, saves;
} device;

static int64_t device_room(struct be *be)
{
    (void)be;
    return (int64_t)device.room;
}

static void *device_host_alloc(struct be *be, size_t nb)
{
    (void)be;
    return memset(xmalloc(nb, 1), POISON, nb);
}

static void device_host_free(struct be *be, void *p)
{
    (void)be;
    free(p);
}

static void device_save(struct be *be, void *dst, struct be_view src, size_t n)
{
    device.saves++;
    be_cpu_ops.get(be, dst, src, n);
}

static void device_load_ahead(struct be *be, struct be_view dst, const void *src, enum dtype from, size_t n, bool round)
{
    void *poison = memset(xmalloc(n, dtype_size(dst.dtype)), POISON, n * dtype_size(dst.dtype));
    be_cpu_ops.put(be, dst, poison, n);
    free(poison);
    const int i = device.n_late++;
    device.late[i].dst = dst, device.late[i].src = src, device.late[i].from = from, device.late[i].n = n;
    device.late[i].round = round;
}

static void device_fence(struct be *be)
{
    (void)be;
}

static void device_join(struct be *be)
{
    for (int i = 0; i < device.n_late; i++)
        be_cpu_ops.load(be, device.late[i].dst, device.late[i].src, device.late[i].from, device.late[i].n,
                        device.late[i].round);
    device.n_late = 0;
}

static struct be_ops device_ops(void)
{
    struct be_ops ops = be_cpu_ops;
    ops.room = device_room;
    ops.alloc = counted_alloc;
    ops.free = counted_free;
    ops.host_alloc = device_host_alloc;
    ops.host_free = device_host_free;
    ops.save = device_save;
    ops.load_ahead = device_load_ahead;
    ops.fence = device_fence;
    ops.join = device_join;
    return ops;
}

/* ---- */

/* Less and less room, until nothing fits. */
static void check_room(const struct lm *lm, const struct calib *c, int pass_blocks, int score_size)
{
    struct be_ops ops = device_ops(), plain = be_cpu_ops;
    ops.head_block_elements = plain.head_block_elements = (size_t)lm->config.vocab_size * 20; /* a few blocks */
    const struct replay_set set = subject_pairs("fp8_fp8 mxfp4_fp8 fp4_fp16");
    struct scorer_options o = subject_bf16;
    o.block_batches = 1;
    o.pass_blocks = pass_blocks;
    o.score_size = score_size;
    struct scorer_result want = subject_score(&plain, lm, c, &set, &o), r;
    struct err e = {0};
    int placements = 0;
    bool seen[8] = {false};
    for (device.room = (size_t)1 << 40; placements < 9; placements++) {
        counted.peak = 0;
        device.saves = 0;
        if (subject_run(&r, &ops, lm, c, &set, &o, &e))
            break;
        const struct placement *p = &r.placement;
        seen[p->layers_stay + 2 * p->head_stays + 4 * p->inputs_on_host] = true;
        ok(subject_same(&r, &want), "passes of %d: the same bits: layers %s, lm_head %s, inputs %s", pass_blocks,
           p->layers_stay ? "stay" : "stream", p->head_stays ? "stays" : "streams",
           p->inputs_on_host ? "in host memory" : "stay");
        ok(p->bytes <= device.room && counted.peak <= p->bytes + (1 << 15) && p->bytes <= counted.peak + (1 << 15),
           "%zu bytes announced, %zu taken", p->bytes, counted.peak);
        ok(p->inputs_on_host == (device.saves > 0) && p->inputs_on_host == (p->host_bytes > 0), "%zu bytes on the host",
           p->host_bytes);
        device.room = p->bytes - 1;
        scorer_result_free(&r);
    }
    ok(placements >= 3 && seen[3] && seen[4], "%d placements, from everything there to everything streamed",
       placements);
    ok(e.code == ERR_LIMIT && strstr(e.msg, "MB of GPU memory are left") && counted.now == 0, "then: %s", e.msg);
    scorer_result_free(&want);
}

/* A limit that makes the real device stream. */
static void check_device(const struct lm *lm, const struct calib *c)
{
    struct err e;
    const struct be_ops *ops = usable_backend("cuda");
    if (!ops)
        return;
    const struct replay_set set = subject_pairs("fp8_fp8 mxfp4_fp8 fp4_fp16");
    struct scorer_options o = subject_bf16;
    o.block_batches = 1;
    struct scorer_result want = subject_score(ops, lm, c, &set, &o), r;
    o.gpu_memory = 1 << 20;
    ok(subject_run(&r, ops, lm, c, &set, &o, &e) && e.code == ERR_LIMIT, "no room at all: %s", e.msg);
    const char *advice = strstr(e.msg, "--gpu-memory ");
    const size_t least = advice ? strtoull(advice + strlen("--gpu-memory "), NULL, 10) << 20 : 0;
    int placements = 0, wrong = 0, refused = 0;
    bool seen[8] = {false};
    for (o.gpu_memory = least + (24 << 20); least && o.gpu_memory >= least - (1 << 20); o.gpu_memory -= 1 << 18) {
        if (subject_run(&r, ops, lm, c, &set, &o, &e)) {
            refused++;
            continue;
        }
        const struct placement *p = &r.placement;
        bool *kind = &seen[p->layers_stay + 2 * p->head_stays + 4 * p->inputs_on_host];
        placements += !*kind;
        *kind = true;
        wrong += !subject_same(&r, &want) || refused > 0;
        scorer_result_free(&r);
    }
    ok(placements >= 3 && !wrong && refused > 0 && refused < 12,
       "limits down to what the message says: %d placements, %d wrong, %d refused below", placements, wrong, refused);
    scorer_result_free(&want);
}

int main(void)
{
    struct lm lm;
    struct calib c;
    parallel_init(2);
    subject_model(&lm, SUBJECT_MODEL);
    subject_captions(&c, 0, CAPTIONS, true);
    check_room(&lm, &c, 0, 128);
    check_room(&lm, &c, 2, 128);
    check_room(&lm, &c, 0, 8);
    check_device(&lm, &c);
    calib_free(&c);
    lm_free(&lm);
    return done();
}
