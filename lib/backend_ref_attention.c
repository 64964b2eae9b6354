/* The reference backend's attention, with the derivation of its backward.
 *
 * o_i = sum_j P_ij v_j, P_ij = exp(S_ij - lse_i), S_ij = q_i.k_j / sqrt(E), over j <= i in the same sequence. With
 * do_i: dv_j = sum_i P_ij do_i;   dP_ij = do_i.v_j; dS_ij = P_ij (dP_ij - sum_l P_il dP_il) = P_ij (dP_ij - do_i.o_i)
 * (softmax; the sum is do_i.o_i = delta_i) dq_i = sum_j dS_ij k_j / sqrt(E);   dk_j = sum_i dS_ij q_i / sqrt(E). The
 * factor 1/sqrt(E) is taken into dS before it is rounded. */
#include <math.h>
#include <stdlib.h>

#include "backend_ref.h"
#include "mem.h"

struct shape {
    int H, K, E;
};

static double dot(struct be_view a, size_t ia, struct be_view b, size_t ib, int n)
{
    double s = 0;
    for (size_t j = 0; j < (size_t)n; j++)
        s += ref_at(a, ia + j) * ref_at(b, ib + j);
    return s;
}

static void forward_row(struct be_view o, struct be_view lse, struct be_view q, struct be_view k, struct be_view v,
                        int i, int first, int head, struct shape d, double *P)
{
    const int kv = head / (d.H / d.K);
    const size_t iq = at2(i * d.H + head, 0, d.E);
    double m = -INFINITY, sum = 0;
    for (int j = first; j <= i; j++) {
        P[j - first] = dot(q, iq, k, at2(j * d.K + kv, 0, d.E), d.E) / sqrt(d.E);
        m = fmax(m, P[j - first]);
    }
    for (int j = first; j <= i; j++) {
        P[j - first] = exp(P[j - first] - m);
        sum += P[j - first];
    }
    for (int c = 0; c < d.E; c++) {
        double s = 0;
        for (int j = first; j <= i; j++)
            s += ref_round(o, P[j - first]) * ref_at(v, at2(j * d.K + kv, c, d.E));
        ref_set(o, iq + (size_t)c, s / sum);
    }
    ref_set(lse, at2(i, head, d.H), m + log(sum));
}

static void zero_row(struct be_view x, int row, int width)
{
    for (int c = 0; c < width; c++)
        ref_set(x, at2(row, c, width), 0);
}

void ref_attention(struct be *be, struct be_view o, struct be_view lse, struct be_view q, struct be_view k,
                   struct be_view v, struct be_seqs seqs, int H, int K, int E)
{
    (void)be;
    for (int s = 0; s < seqs.n; s++) {
        const int begin = ref_int(seqs.offset, s), end = ref_int(seqs.offset, s + 1);
        const int first = begin + (((const uint8_t *)ref_ptr(seqs.sentinel))[s] != 0);
        double *P = xmalloc((size_t)(end - begin), sizeof *P);
        for (int i = begin; i < first; i++) {
            zero_row(o, i, H * E);
            zero_row(lse, i, H);
        }
        for (int i = first; i < end; i++)
            for (int head = 0; head < H; head++)
                forward_row(o, lse, q, k, v, i, first, head, (struct shape){H, K, E}, P);
        free(P);
    }
}

struct backward {
    struct be_view dq, dout, q, k, v, o, lse;
    double *dk, *dv; /* [T, E], sums of one query head */
};

static void backward_row(const struct backward *b, int i, int first, int head, struct shape d)
{
    const int kv = head / (d.H / d.K);
    const size_t iq = at2(i * d.H + head, 0, d.E);
    const double delta = dot(b->dout, iq, b->o, iq, d.E), lse = ref_at(b->lse, at2(i, head, d.H));
    double *dq = xcalloc((size_t)d.E, sizeof *dq);
    for (int j = first; j <= i; j++) {
        const size_t ik = at2(j * d.K + kv, 0, d.E);
        const double P = ref_round(b->dq, exp(dot(b->q, iq, b->k, ik, d.E) / sqrt(d.E) - lse));
        const double dS = ref_round(b->dq, P * (dot(b->dout, iq, b->v, ik, d.E) - delta) / sqrt(d.E));
        for (int c = 0; c < d.E; c++) {
            dq[c] += dS * ref_at(b->k, ik + (size_t)c);
            b->dk[at2(j - first, c, d.E)] += dS * ref_at(b->q, iq + (size_t)c);
            b->dv[at2(j - first, c, d.E)] += P * ref_at(b->dout, iq + (size_t)c);
        }
    }
    for (int c = 0; c < d.E; c++)
        ref_set(b->dq, iq + (size_t)c, dq[c]);
    free(dq);
}

void ref_attention_bwd(struct be *be, struct be_view dq, struct be_view dk, struct be_view dv, struct be_view dout,
                       struct be_view q, struct be_view k, struct be_view v, struct be_view o, struct be_view lse,
                       struct be_seqs seqs, int H, int K, int E)
{
    (void)be;
    for (int s = 0; s < seqs.n; s++) {
        const int begin = ref_int(seqs.offset, s), end = ref_int(seqs.offset, s + 1);
        const int first = begin + (((const uint8_t *)ref_ptr(seqs.sentinel))[s] != 0);
        const size_t TE = (size_t)(end - first) * (size_t)E;
        struct backward b = {dq, dout, q, k, v, o, lse, xmalloc(2 * TE, sizeof(double)), NULL};
        b.dv = b.dk + TE;
        double *sum = xmalloc(2 * TE, sizeof *sum);
        for (int i = begin; i < first; i++) {
            zero_row(dq, i, H * E);
            zero_row(dk, i, K * E);
            zero_row(dv, i, K * E);
        }
        for (int kv = 0; kv < K; kv++) {
            for (size_t t = 0; t < 2 * TE; t++)
                sum[t] = 0;
            for (int head = kv * (H / K); head < (kv + 1) * (H / K); head++) {
                for (size_t t = 0; t < 2 * TE; t++)
                    b.dk[t] = 0;
                for (int i = first; i < end; i++)
                    backward_row(&b, i, first, head, (struct shape){H, K, E});
                for (size_t t = 0; t < 2 * TE; t++)
                    sum[t] += ref_round(dk, b.dk[t]);
            }
            for (int i = first; i < end; i++)
                for (int c = 0; c < E; c++) {
                    ref_set(dk, at2(i * K + kv, c, E), sum[at2(i - first, c, E)]);
                    ref_set(dv, at2(i * K + kv, c, E), sum[TE + at2(i - first, c, E)]);
                }
        }
        free(sum);
        free(b.dk);
    }
}
