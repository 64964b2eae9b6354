/* lm - lm.json: where a language model's tensors lie, what its units are. Written by extract-lm, read by all others.
 *
 * A unit is a layer that can be quantized; a group is units that share one recipe because runtimes fuse them. Vision
 * units are listed (their weights count in budgets) but never quantized. Nothing here holds weights: see weights.h.
 *
 * lm.json, version 1:
 *   format "qsens-lm", version 1
 *   model   {name, path, architecture}            path as it was given, name its last component
 *   config  {n_layers, hidden_size, n_heads, n_kv_heads, head_dim, ffn_size, vocab_size, rms_norm_eps, rope_theta,
 *            max_positions, tied}
 *   files   [{path (absolute), size, mtime_ns, inode}]
 *   tensors [{name, role, layer (-1: none), file (index), offset, dtype, shape, sha256}]   LM tensors only
 *   units   [{name, part "vision"|"lm", module_type "QuantLinear"|"QuantConv3d", weights, group, role?, layer?}]
 *           in the order of the model's modules: vision first, lm_head last; role and layer for LM units only
 *   weights_sha256  over config and the LM tensors' (role, layer, dtype, shape, sha256): the model's identity */
#ifndef LM_H
#define LM_H
#include <stdbool.h>
#include <stdint.h>

#include "dtype.h"
#include "err.h"

/* What a tensor is in a decoder layer; one table in lm.c gives each its name in a checkpoint. */
enum lm_role {
    ROLE_EMBED,     /* [vocab_rows, hidden] */
    ROLE_ATTN_NORM, /* [hidden], before attention */
    ROLE_Q,         /* [n_heads*head_dim, hidden] */
    ROLE_K,         /* [n_kv_heads*head_dim, hidden] */
    ROLE_V,         /* [n_kv_heads*head_dim, hidden] */
    ROLE_Q_NORM,    /* [head_dim] */
    ROLE_K_NORM,    /* [head_dim] */
    ROLE_O,         /* [hidden, n_heads*head_dim] */
    ROLE_MLP_NORM,  /* [hidden], before the MLP */
    ROLE_GATE,      /* [ffn, hidden] */
    ROLE_UP,        /* [ffn, hidden] */
    ROLE_DOWN,      /* [hidden, ffn] */
    ROLE_FINAL_NORM,/* [hidden] */
    ROLE_LM_HEAD,   /* [vocab_rows, hidden]; the embedding's tensor where tied */
    ROLE_COUNT
};

struct lm_config {
    int n_layers, hidden_size, n_heads, n_kv_heads, head_dim, ffn_size;
    int64_t vocab_size; /* rows of embedding and lm_head */
    int64_t max_positions;
    double rms_norm_eps, rope_theta;
    bool tied;
};

struct lm_file {
    char *path;
    uint64_t size, inode;
    int64_t mtime_ns;
};

struct lm_tensor {
    char *name;
    enum lm_role role;
    int layer; /* -1 where it belongs to none */
    int file;
    uint64_t offset, nb;
    enum dtype dtype; /* BF16, F16 or F32 */
    int rank;
    uint64_t shape[2];
    char sha256[65];
};

struct lm_unit {
    char *name, *module_type;
    bool is_lm;        /* else vision */
    uint64_t weights;  /* elements */
    int group;         /* index into lm.group */
    enum lm_role role; /* LM units only */
    int layer;         /* LM units only; -1 for lm_head */
};

struct lm_group {
    char *name; /* its first unit's name */
    bool is_lm;
    uint64_t weights;
    int n_units;
};

struct lm {
    char *name, *path, *architecture;
    struct lm_config config;
    struct lm_file *file;
    struct lm_tensor *tensor;
    struct lm_unit *unit;
    struct lm_group *group;
    int n_files, n_tensors, n_units, n_groups;
    char weights_sha256[65];
};

const char *lm_role_name(enum lm_role r);
enum lm_role lm_role_of_name(const char *name); /* ROLE_COUNT if unknown */
bool lm_role_is_unit(enum lm_role r);           /* q k v o gate up down lm_head */

/* Read and check lm.json: every index, every tensor present exactly once with the shape that config asks for.
 * Groups are rebuilt from the units. lm_free frees. */
int lm_load(struct lm *m, const char *path, struct err *e) MUST_CHECK;
void lm_free(struct lm *m);
/* The tensor of a role in a layer (-1: none); lm_head gives the embedding where tied. BUG if it does not exist. */
const struct lm_tensor *lm_tensor_of(const struct lm *m, enum lm_role role, int layer);
/* The index of the LM unit of a role in a layer, among m->unit. */
int lm_unit_of(const struct lm *m, enum lm_role role, int layer);

#endif
