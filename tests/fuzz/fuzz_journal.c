/* Journals: any bytes; whole frames written again read as the same. And frames with right hashes but any content,
 * against a run of two blocks, one of them scored: the input is then a list of kind U8, length U16, content. */
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "records.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_again(const struct journal *j)
{
    struct journal copy = {.fd = -1}, read;
    for (size_t i = 0; i < j->n; i++)
        journal_add(&copy, j->frame[i].kind, j->frame[i].data, j->frame[i].n);
    journal_parse(&read, copy.added, copy.n_added, "again");
    if (read.n != j->n || read.tail || read.end != j->end || memcmp(read.text, j->text, j->end) != 0)
        abort();
    journal_close(&read);
    free(copy.added);
}

static void apply(const struct journal *j)
{
    enum { U = 2 };
    struct scorer_block block[] = {{.n_batches = 1, .n_seqs = 3}, {.first_batch = 1, .n_batches = 2}};
    double record[3 * U];
    float amax[3 * U], weight_amax[U];
    bool scored[2] = {false};
    struct scorer_result r = {.n_units = U,
                              .n_batches = 3,
                              .n_replays = 1,
                              .n_scored_seqs = 3,
                              .n_blocks = 2,
                              .n_scored_blocks = 1,
                              .block = block,
                              .record = record,
                              .scored = scored,
                              .amax = amax,
                              .weight_amax = weight_amax};
    const struct scores_cell cell = {0};
    struct records_file f = {.journal.fd = -1};
    struct err e;
    records_file_init(&f, &r, &cell);
    journal_parse(&f.journal, j->added, j->n_added, "fuzz");
    json_t *header = records_header(&f.journal, &e), *other = json_object();
    if (header) {
        char *how = records_difference(header, other);
        free(how);
    }
    if (!records_apply(&f, &r, &e) && f.scored[0] && !(record[5] >= 0 && amax[5] >= 0 && weight_amax[1] >= 0))
        abort();
    json_decref(header);
    json_decref(other);
    records_file_free(&f);
    free(r.gemm);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct journal j;
    journal_parse(&j, data, size, "fuzz");
    write_again(&j);
    journal_close(&j);
    j = (struct journal){.fd = -1};
    for (size_t at = 0; at + 3 <= size;) {
        size_t n = (size_t)data[at + 1] | (size_t)data[at + 2] << 8;
        n = n < size - at - 3 ? n : size - at - 3;
        journal_add(&j, data[at], data + at + 3, n);
        at += 3 + n;
    }
    apply(&j);
    free(j.added);
    return 0;
}
