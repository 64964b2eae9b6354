/* calib-pack - captions and a tokenizer in, packed calibration sequences out. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "calib.h"
#include "captions.h"
#include "cli.h"
#include "io.h"
#include "mem.h"
#include "tokenizer.h"

enum { DEFAULT_SAMPLES = 128 };

static const char *tokenizer_path, *model_dir, *pad_token, *padding = "reference", *out_path;
static long max_samples = CLI_UNSET, seq_len = 512, batch_size = 8, vocab_size = CLI_UNSET;
static bool allow_short, print_ids;

static const struct cli_option options[] = {
    {"model", 'm', CLI_STRING, &model_dir, "DIR", "model whose tokenizer.json and tokenizer_config.json to use", 0, 0},
    {"tokenizer", 't', CLI_STRING, &tokenizer_path, "FILE", "tokenizer.json to use instead of the model's", 0, 0},
    {"pad-token", 0, CLI_STRING, &pad_token, "TOKEN", "instead of the pad_token of tokenizer_config.json", 0, 0},
    {"max-samples", 'n', CLI_INT, &max_samples, "N", "take the first N captions [128; --print-ids: all]", 1, INT32_MAX},
    {"seq-len", 'l', CLI_INT, &seq_len, "N", "longest sequence; of longer captions the first N tokens", 2, 1 << 20},
    {"batch", 'b', CLI_INT, &batch_size, "N", "captions of a calibration batch; the last may be short", 1, 1 << 16},
    {"padding", 'p', CLI_STRING, &padding, "MODE",
     "reference: one sentinel row stands for a sequence's left padding;\nnone: real tokens only", 0, 0},
    {"allow-short", 0, CLI_FLAG, &allow_short, NULL, "accept a file with fewer than N captions", 0, 0},
    {"vocab-size", 0, CLI_INT, &vocab_size, "N", "refuse ids that a model with N rows does not have", 1, INT32_MAX},
    {"print-ids", 0, CLI_FLAG, &print_ids, NULL, "print token ids instead of packing: one JSON array a caption", 0, 0},
    {"output", 'o', CLI_STRING, &out_path, "FILE", "calib.safetensors to write", 0, 0},
    {NULL, 0, CLI_FLAG, NULL, NULL, NULL, 0, 0},
};

static const struct tool tool = {
    .name = "calib-pack",
    .summary = "tokenize captions and pack them into calibration sequences",
    .usage = "[options] CAPTIONS -o calib.safetensors",
    .details = "CAPTIONS is UTF-8 text, one caption a line (\"-\" is standard input). Lines are stripped, blank lines\n"
               "skipped, and the first N taken in file order. tokenizer_config.json is the model directory's, without\n"
               "--model the one beside the tokenizer. --print-ids prints whole captions, not cut to --seq-len.",
    .example = "echo 'A man rides a wave.' | calib-pack --model models/tiny_qwen3_vl --print-ids -",
    .operands = "captions file",
    .min_operands = 1,
    .max_operands = 1,
    .options = options,
};

struct sequences {
    int64_t n;
    int32_t **ids;
    int64_t *n_ids;
};

static int check_options(struct err *e)
{
    if (!tokenizer_path && !model_dir)
        return err_set(e, ERR_CONFIG, "which tokenizer? give --model DIR or --tokenizer FILE");
    if (strcmp(padding, "reference") != 0 && strcmp(padding, "none") != 0)
        return err_set(e, ERR_CONFIG, "option --padding wants 'reference' or 'none', not '%s'", padding);
    if (print_ids && out_path)
        return err_set(e, ERR_CONFIG, "--print-ids prints to standard output and packs nothing: leave -o out");
    if (!print_ids && !out_path)
        return err_set(e, ERR_CONFIG,
                       "where to? give -o calib.safetensors (\"-\" for standard output), or --print-ids");
    return 0;
}

static struct tokenizer *open_tokenizer(struct err *e)
{
    char *path = tokenizer_path ? xstrdup(tokenizer_path) : io_join(model_dir, "tokenizer.json");
    struct tokenizer *t = tokenizer_open(path, e);
    free(path);
    return t;
}

static int check_id(int32_t id, const char *what, uint64_t line, struct err *e)
{
    if (vocab_size == CLI_UNSET || id < vocab_size)
        return 0;
    if (line)
        return err_set(e, ERR_CONFIG,
                       "%s on line %" PRIu64 " has token id %d, the vocabulary has %ld: is this the model's "
                       "tokenizer?",
                       what, line, id, vocab_size);
    return err_set(e, ERR_CONFIG, "%s has id %d, the vocabulary has %ld: is this the model's tokenizer?", what, id,
                   vocab_size);
}

static int find_pad(const struct tokenizer *t, int *out, struct err *e)
{
    char *dir = model_dir ? xstrdup(model_dir) : io_dirname(tokenizer_path),
         *config = io_join(dir, "tokenizer_config.json");
    char *token = pad_token ? xstrdup(pad_token) : tokenizer_pad_token(config, e);
    int rc = -1;
    if (!token)
        err_wrap(e, "no pad token (name one with --pad-token)");
    else if ((*out = tokenizer_id(t, token)) < 0)
        err_set(e, ERR_CONFIG, "the tokenizer has no token '%s' to pad with", token);
    else
        rc = check_id(*out, "the pad token", 0, e);
    free(token);
    free(config);
    free(dir);
    return rc;
}

/* How many captions to take. */
static int count(const struct captions *c, const char *path, int64_t *out, struct err *e)
{
    const long want = max_samples != CLI_UNSET ? max_samples : print_ids ? (long)c->n : DEFAULT_SAMPLES;
    if (c->n < (size_t)want && !allow_short)
        return err_set(e, ERR_CONFIG, "'%s' has %zu captions, %ld were asked for; --allow-short (with make: "
                       "SET=\"dataset.allow_short=true\") accepts it", path, c->n, want);
    *out = c->n < (size_t)want ? (int64_t)c->n : want;
    return 0;
}

/* s is zeroed; sequences_free frees, also after an error. */
static int tokenize(struct sequences *s, struct tokenizer *t, const struct captions *c, const char *path, int64_t n,
                    struct err *e)
{
    struct cli_progress progress;
    struct token_ids ids = {0};
    const size_t max_ids = print_ids ? 0 : (size_t)seq_len;
    int rc = 0;
    s->ids = xcalloc((size_t)n, sizeof *s->ids);
    s->n_ids = xcalloc((size_t)n, sizeof *s->n_ids);
    cli_progress_start(&progress, "tokenize", "caption", (double)n);
    for (; !rc && s->n < n; s->n++) {
        const struct caption *one = &c->item[s->n];
        ids.n = 0;
        rc = tokenizer_encode(t, one->text, one->n, max_ids, &ids, e);
        if (rc)
            err_wrap(e, "'%s': line %" PRIu64, path, one->line);
        else if (ids.n == 0)
            rc = err_set(e, ERR_FORMAT, "'%s': the caption on line %" PRIu64 " has no tokens in this tokenizer", path,
                         one->line);
        for (size_t i = 0; !rc && i < ids.n; i++)
            rc = check_id(ids.id[i], "the caption", one->line, e);
        if (rc)
            break;
        s->ids[s->n] = xmalloc(ids.n, sizeof **s->ids);
        memcpy(s->ids[s->n], ids.id, ids.n * sizeof *ids.id);
        s->n_ids[s->n] = (int64_t)ids.n;
        cli_progress_step(&progress, 1);
    }
    cli_progress_end(&progress);
    free(ids.id);
    return rc;
}

static void sequences_free(struct sequences *s)
{
    for (int64_t i = 0; i < s->n; i++)
        free(s->ids[i]);
    free(s->ids);
    free(s->n_ids);
}

static int print(const struct sequences *s, struct err *e)
{
    struct io_out out;
    if (io_out_open(&out, NULL, e))
        return -1;
    for (int64_t i = 0; i < s->n; i++) {
        for (int64_t k = 0; k < s->n_ids[i]; k++)
            fprintf(out.f, "%s%d", k ? ", " : "[", s->ids[i][k]);
        fputs("]\n", out.f);
    }
    return io_out_commit(&out, e);
}

static void summarize(const struct calib *c)
{
    int64_t real = 0, pad = 0, loss = 0;
    for (int64_t i = 0; i < c->n_seqs; i++) {
        real += c->n_real[i];
        pad += c->n_pad[i];
        loss += c->n_loss[i];
    }
    cli_verbose("%" PRId64 " sequences in %" PRId64 " batches: %" PRId64 " rows, %" PRId64 " real tokens, %" PRId64
                " with loss; %" PRId64 " padding rows avoided (%.1f %% of %" PRId64 ")",
                c->n_seqs, c->n_batches, c->n_rows, real, loss, real + pad - c->n_rows,
                100.0 * (double)(real + pad - c->n_rows) / (double)(real + pad), real + pad);
}

static int pack(const struct sequences *s, const struct tokenizer *t, const struct captions *captions, const char *path,
                int pad_id, struct err *e)
{
    struct calib c;
    struct io_out out = {0};
    int rc = calib_build(&c, s->n, (const int32_t *const *)s->ids, s->n_ids, (int)batch_size, (int)seq_len,
                         !strcmp(padding, "reference"), pad_id, e);
    if (!rc) {
        c.source = xstrdup(path);
        c.n_available = (int64_t)captions->n;
        memcpy(c.source_sha256, captions->sha256, sizeof c.source_sha256);
        memcpy(c.tokenizer_sha256, tokenizer_sha256(t), sizeof c.tokenizer_sha256);
        rc = io_out_open(&out, out_path, e);
    }
    if (!rc) {
        calib_write(&c, out.f);
        rc = io_out_commit(&out, e);
    }
    if (!rc)
        summarize(&c);
    calib_free(&c);
    return rc;
}

static int run(const char *const *operand, int n_operands, struct err *e)
{
    (void)n_operands;
    const char *path = operand[0];
    if (check_options(e))
        return -1;
    struct tokenizer *t = open_tokenizer(e);
    if (!t)
        return -1;
    struct captions captions = {0};
    struct sequences s = {0};
    int64_t n = 0;
    int pad_id = -1;
    int rc = print_ids ? 0 : find_pad(t, &pad_id, e);
    if (!rc)
        rc = captions_load(&captions, path, e);
    if (!rc)
        rc = count(&captions, path, &n, e);
    if (!rc)
        rc = tokenize(&s, t, &captions, path, n, e);
    if (!rc)
        rc = print_ids ? print(&s, e) : pack(&s, t, &captions, path, pad_id, e);
    sequences_free(&s);
    captions_free(&captions);
    tokenizer_close(t);
    return rc;
}

int main(int argc, char **argv)
{
    return cli_main(&tool, run, argc, argv);
}
