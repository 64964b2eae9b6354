/* What scores.json says beside the scores: errors, ranks, nats and parts of made-up records, and every lie about them
 * that the reader refuses. */
#include "scores_stats.h"

#include "json_edit.h"
#include "mem.h"
#include "num.h"
#include "scores_check.h"
#include "scores_split.h"
#include "tap.h"

/* Groups a {a, b}, c, d; five sequences in batches of two. Gradients of the summed loss give r; record = s^2 r. */
enum { S = 5, U = 4, B = 3 };
static const double r_of[3][U][S] = {
    {{4, 8, 0, 4, 4}, {1, 1, 1, 1, 1}, {40, 90, 50, 60, 70}, {0, 0, 0, 0, 0}}, /* the pair */
    {{3, 6, 0, 3, 3}, {1, 1, 1, 1, 1}, {10, 10, 10, 10, 10}, {0, 0, 0, 0, 0}}, /* weights alone */
    {{1, 1, 0, 1, 1}, {0, 0, 0, 0, 0}, {40, 90, 50, 60, 70}, {0, 0, 0, 0, 0}}, /* activations alone */
};
static int32_t n_loss[S] = {3, 4, 6, 8, 5}, batch[S] = {0, 0, 1, 1, 2};
static float scale_bf16[B] = {0.142578125f, 0.0712890625f, 0.2001953125f}, scale_f32[B] = {1 / 7.f, 1 / 14.f, 1 / 5.f};
static double record[3 * S * U];

static json_t *part(const char *key, const char *name, double score)
{
    json_t *o = json_object();
    json_set(o, key, json_string(name));
    json_set(o, "weights", json_integer(16));
    json_set(o, "score", json_real(score));
    return o;
}

/* A document as scores_document begins one, from `seqs` of the sequences. */
static json_t *document(int seqs, bool bf16, bool split)
{
    static const char *const unit[] = {"a", "b", "c", "d"};
    struct calib c = {.n_seqs = S,
                      .n_batches = B,
                      .batch_size = 2,
                      .n_loss = n_loss,
                      .batch = batch,
                      .scale_bf16 = scale_bf16,
                      .scale_f32 = scale_f32};
    struct scorer_result r = {.n_units = U, .n_scored_seqs = seqs, .record = record};
    for (int k = 0; k < 3; k++)
        for (int s = 0; s < seqs; s++)
            for (int u = 0; u < U; u++) {
                const double scale = (double)(bf16 ? scale_bf16 : scale_f32)[batch[s]];
                record[(k * seqs + s) * U + u] = scale * scale * r_of[k][u][s];
            }
    json_t *doc = json_object(), *groups = json_array(), *group = NULL;
    double total = 0, sum = 0;
    for (int u = 0; u < U; u++) {
        const double score = scorer_unit_score(&r, 0, u);
        if (u != 1) {
            group = part("name", unit[u], sum = 0);
            json_set(group, "members", json_array());
            json_array_append_new(groups, group);
        }
        json_array_append_new(json_object_get(group, "members"), part("unit", unit[u], score));
        json_set(group, "score", json_real(sum += score));
        total += score;
    }
    json_set(doc, "score", json_real(total));
    json_set(doc, "groups", groups);
    scores_stats_add(doc, &c, &r, 0, bf16);
    if (split)
        scores_split_add(doc, &r, &(struct split_replays){true, 1, 2});
    return doc;
}

/* The number at a path of keys and indices, NaN where there is none. */
static double at(const json_t *v, const char *path)
{
    char key[64];
    for (const char *p = path; *p; p += strcspn(p, ".") + (p[strcspn(p, ".")] == '.')) {
        snprintf(key, sizeof key, "%.*s", (int)strcspn(p, "."), p);
        v = json_is_array(v) ? json_array_get(v, strtoul(key, NULL, 10)) : json_object_get(v, key);
    }
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static void is_at(const json_t *doc, const char *path, double want)
{
    const double got = at(doc, path);
    ok(fabs(got - want) <= 1e-12 * fabs(want), "%s: %.15g", path, got);
}

static void test_values(void)
{
    for (int bf16 = 0; bf16 < 2; bf16++) { /* with the rounded scales too, nats are those of the unrounded sums */
        json_t *doc = document(S, bf16, false);
        const double total = at(doc, "score");
        is_at(doc, "statistics.sequences", 5);
        is_at(doc, "statistics.loss_tokens", 26);
        is_at(doc, "statistics.total.nats_per_token.value", 0.5 * 335 / 26);
        is_at(doc, "statistics.total.nats_per_sequence.value", 0.5 * 335 / 5);
        is_at(doc, "groups.0.statistics.nats_per_token.value", 0.5 * 25 / 26);
        is_at(doc, "groups.0.members.0.statistics.nats_per_sequence.value", 0.5 * 4);
        is_at(doc, "groups.0.members.0.statistics.nats_per_sequence.se", 0.5 * sqrt(8.0 / 5)); /* 0 4 4 4 8 */
        is_at(doc, "groups.0.members.1.statistics.nats_per_sequence.se", 0);
        is_at(doc, "groups.1.statistics.share", at(doc, "groups.1.score") / total);
        is_at(doc, "groups.0.members.1.statistics.share",
              at(doc, "groups.0.members.1.score") / at(doc, "groups.0.score"));
        ok(at(doc, "groups.0.statistics.rank.value") == 2 && at(doc, "groups.1.statistics.rank.value") == 1 &&
               at(doc, "groups.2.statistics.rank.value") == 3 && at(doc, "groups.2.statistics.rank.band") == 3,
           "ranks and bands");
        ok(at(doc, "groups.2.statistics.score.se") == 0 && at(doc, "groups.2.statistics.score.high") == 0,
           "a group without score has no error");
        const json_t *first = json_object_get(json_array_get(json_object_get(doc, "groups"), 0), "statistics");
        is_str(json_string_value(json_object_get(first, "worst")), "a", "the worst member");
        ok(at(doc, "groups.1.statistics.score.low") < at(doc, "groups.1.score") &&
               at(doc, "groups.1.statistics.score.high") > at(doc, "groups.1.score"),
           "an interval about the score");
        ok(json_is_null(json_object_get(json_object_get(doc, "statistics"), "no_errors")), "nothing to excuse");
        json_decref(doc);
    }
}

static void test_one_sequence(void)
{
    json_t *doc = document(1, true, true);
    struct err e = {0};
    ok(isnan(at(doc, "groups.0.statistics.score.se")) && isnan(at(doc, "groups.0.statistics.nats_per_token.low")) &&
           isnan(at(doc, "groups.0.statistics.rank.high")) && isnan(at(doc, "statistics.total.score.se")),
       "one sequence: no errors");
    is_str(json_string_value(json_object_get(json_object_get(doc, "statistics"), "no_errors")),
           "one sequence was scored: errors need two or more", "and why");
    is_at(doc, "groups.1.statistics.nats_per_token.value", 0.5 * 40 / 3);
    is_at(doc, "groups.1.statistics.rank.value", 1);
    ok(!scores_check_statistics(doc, "'x'", &e) && !scores_check_split(doc, "'x'", &e), "it is read back %s", e.msg);
    json_decref(doc);
}

static void test_split(void)
{
    struct replay_set set = {0};
    struct err e = {0};
    struct split_replays r;
    struct pair p = {.weight = {.format = QF_FP8, .granularity = QG_TENSOR},
                     .activation = {.format = QF_INT8, .granularity = QG_TENSOR}};
    ok(replay_add(&set, &p, &e) == 0 && !split_replays_add(&r, &set, &p, &e) && r.wanted && set.n == 3 &&
           r.weight == 1 && r.activation == 2 && set.act[set.replay[1].act].format == QF_NONE &&
           set.weight[set.replay[1].weight].format == QF_FP8 && set.weight[set.replay[2].weight].format == QF_NONE &&
           set.act[set.replay[2].act].format == QF_INT8,
       "two replays more: weights alone, activations alone");
    p.weight.format = QF_INT8;
    ok(replay_add(&set, &p, &e) == 3 && !split_replays_add(&r, &set, &p, &e) && set.n == 5 && r.activation == 2,
       "a second pair with these activations shares theirs");
    p.activation = (struct quantizer){.format = QF_NONE};
    ok(!split_replays_add(&r, &set, &p, &e) && !r.wanted && set.n == 5, "weights alone are not split");

    json_t *doc = document(S, false, true);
    const double s0 = 1 / 49.0, s1 = 1 / 196.0, s2 = 1 / 25.0;
    const double a = 12 * s0 + 4 * s1 + 4 * s2, w = 9 * s0 + 3 * s1 + 3 * s2, x = 2 * s0 + s1 + s2;
    ok(fabs(at(doc, "groups.0.members.0.split.weight") - w) < 1e-6 &&
           fabs(at(doc, "groups.0.members.0.split.activation") - x) < 1e-6 &&
           fabs(at(doc, "groups.0.members.0.split.interaction") - (a - w - x)) < 1e-6 &&
           fabs(at(doc, "groups.0.members.0.split.interaction_share") - (a - w - x) / a) < 1e-6,
       "a member's parts");
    is_at(doc, "groups.0.split.activation", at(doc, "groups.0.members.0.split.activation"));
    is_at(doc, "split.weight", at(doc, "groups.0.split.weight") + at(doc, "groups.1.split.weight"));
    ok(at(doc, "groups.1.split.interaction") < 0, "parts that overlap: %g", at(doc, "groups.1.split.interaction"));
    ok(isnan(at(doc, "groups.2.split.interaction_share")), "no share of nothing");
    json_decref(doc);
}

static void test_wrong(void)
{
    static const struct {
        const char *path, *value, *part;
    } row[] = {
        {"statistics", "1", "'statistics'"},
        {"statistics.confidence", "1.5", "a confidence of 1.5"},
        {"statistics.sequences", "0", "'sequences' is 0"},
        {"statistics.loss_tokens", "-1", "'loss_tokens' is -1"},
        {"statistics.no_errors", "3", "'no_errors' must be a string or null"},
        {"statistics.no_errors", "\"none\"", "statistics: total: score: 'se' must be null"},
        {"statistics.total.score.se", "null", "statistics: total: score: 'se'"},
        {"statistics.total.score.se", "-1.0", "or is below 0"},
        {"groups.0.statistics", NULL, "group 'a': statistics: missing key 'statistics'"},
        {"groups.0.statistics.share", "0.9", "group 'a': statistics: share is 0.9"},
        {"groups.1.statistics.score.low", "100.0", "does not lie from 100 to"},
        {"groups.1.statistics.nats_per_token.high", "0.0", "nats_per_token: "},
        {"groups.1.statistics.nats_per_token.value", "-1.0", "-1 is below 0"},
        {"groups.1.statistics.nats_per_sequence", NULL, "missing key 'nats_per_sequence'"},
        {"groups.1.statistics.rank.value", "2", "rank: 2 does not lie from 1 to 1"},
        {"groups.1.statistics.rank.value", "4", "'value' is 4"},
        {"groups.1.statistics.rank.low", "2", "rank: 1 does not lie from 2 to 1"},
        {"groups.1.statistics.rank.band", "2", "rank 1 is in band 2 after band 0"},
        {"groups.2.statistics.rank.band", "1", "rank 3 is in band 1 after band 2"},
        {"groups.2.statistics.rank", "{\"value\": 1, \"low\": 1, \"high\": 3, \"band\": 1}", "another group's too"},
        {"groups.0.statistics.worst", "\"b\"", "which is not the member with the largest score"},
        {"groups.0.statistics.worst", "\"z\"", "worst is 'z'"},
        {"groups.0.members.1.statistics.share", "1.0", "member 'b': statistics: share is 1"},
        {"groups.0.members.1.statistics.score.high", "0.0", "member 'b': statistics: score"},
        {"groups.0.members.1.statistics", NULL, "missing key 'statistics'"},
        {"split", "[]", "'split'"},
        {"split.weight", "-1.0", "make no"},
        {"groups.0.split", NULL, "group 'a': missing key 'split'"},
        {"groups.0.split.interaction", "0.5", "group 'a': split: "},
        {"groups.0.split.interaction_share", "0.5", "interaction_share is 0.5"},
        {"groups.0.members.1.split.activation", "0.5", "member 'b': split: "},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        json_t *doc = document(S, true, true);
        struct err e = {0};
        const bool made = json_edit(doc, row[i].path, row[i].value);
        const int rc = scores_check_statistics(doc, "'x'", &e) || scores_check_split(doc, "'x'", &e) ? -1 : 0;
        ok(made && rc == -1 && e.code == ERR_FORMAT && strstr(e.msg, row[i].part) && strstr(e.msg, "'x'"),
           "%s = %s: %s", row[i].path, row[i].value ? row[i].value : "(gone)", e.msg);
        json_decref(doc);
    }
    /* the two ranks of a document changed places */
    json_t *doc = document(S, true, true);
    struct err e = {0};
    const char rank[] = "{\"value\": %d, \"low\": 1, \"high\": 3, \"band\": 1}";
    char *first = xasprintf(rank, 2), *second = xasprintf(rank, 1);
    ok(json_edit(doc, "groups.1.statistics.rank", first) && json_edit(doc, "groups.0.statistics.rank", second) &&
           scores_check_statistics(doc, "'x'", &e) == -1 && strstr(e.msg, "statistics: rank 1 has score"),
       "ranks against the scores: %s", e.msg);
    free(first);
    free(second);
    json_decref(doc);
    doc = document(S, true, true);
    ok(!scores_check_statistics(doc, "'x'", &e) && !scores_check_split(doc, "'x'", &e), "as it was, it is right");
    json_object_del(doc, "statistics");
    json_object_del(doc, "split");
    ok(!scores_check_statistics(doc, "'x'", &e) && !scores_check_split(doc, "'x'", &e), "and without either");
    json_decref(doc);
}

int main(void)
{
    test_values();
    test_one_sequence();
    test_split();
    test_wrong();
    return done();
}
