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
#include <stddef.h>
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
bool lm_role_in_layer(enum lm_role r);          /* else one per model, layer -1 */
enum lm_role lm_role_lead(enum lm_role r);      /* first member of its group: q of q k v, gate of gate up, else r */
/* The shape that a role's tensor has under c; returns its rank, 1 or 2 (shape[1] is 1 where the rank is 1). */
int lm_role_shape(const struct lm_config *c, enum lm_role r, uint64_t shape[2]);

/* The module of a role as checkpoints name it ("model.language_model.layers.3.mlp.up_proj"; its tensor appends
 * ".weight"), in a new string. prefix: what the family puts before "layers." and "embed_tokens"; lm_head has none. */
char *lm_module_name(const char *prefix, enum lm_role r, int layer);
#define LM_PREFIX_QWEN3_VL "model.language_model."
#define LM_PREFIX_QWEN3 "model."

/* Sizes in range and consistent: n_heads a multiple of n_kv_heads, head_dim even. ERR_FORMAT; where as in json.h. */
int lm_config_check(const struct lm_config *c, const char *where, struct err *e) MUST_CHECK;

/* Tensors are kept in one order: embedding, the layers (each in the order of enum lm_role), final norm, lm_head. */
int lm_tensor_count(const struct lm_config *c);
int lm_tensor_index(const struct lm_config *c, enum lm_role r, int layer);
/* The inverse of lm_tensor_index. */
void lm_tensor_at(const struct lm_config *c, int index, enum lm_role *r, int *layer);
/* LM units: seven per layer and lm_head. They stand at the end of lm.unit, after the vision units. */
int lm_unit_count(const struct lm_config *c);
/* Role and layer of the i-th of them. */
void lm_unit_at(const struct lm_config *c, int i, enum lm_role *r, int *layer);

/* Build m->group from the units, which name their group by its first unit; ERR_FORMAT where they do not. */
int lm_group_units(struct lm *m, const char *const *group_name, const char *where, struct err *e) MUST_CHECK;
/* weights_sha256 of m. Two models with equal identity give equal scores. */
void lm_identity(const struct lm *m, char out[65]);

/* Read and check lm.json: every index, every tensor present exactly once with the shape that config asks for, inside
 * its file; every unit in its place; the identity. Groups are rebuilt from the units. Does not look at the weights.
 * ERR_FORMAT, or ERR_IO where the file cannot be read. lm_free frees. */
int lm_load(struct lm *m, const char *path, struct err *e) MUST_CHECK;
int lm_parse(struct lm *m, const char *data, size_t size, const char *name, struct err *e) MUST_CHECK;
void lm_free(struct lm *m);
/* The tensor of a role in a layer (-1: none); lm_head gives the embedding where tied. BUG if it does not exist. */
const struct lm_tensor *lm_tensor_of(const struct lm *m, enum lm_role role, int layer);
/* The index of the LM unit of a role in a layer, among m->unit. */
int lm_unit_of(const struct lm *m, enum lm_role role, int layer);

#endif
