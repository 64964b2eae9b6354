#include "lm.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "mem.h"
#include "sha256.h"

/* ---- the table of roles ---- */

enum dim { DIM_ONE, DIM_VOCAB, DIM_HIDDEN, DIM_HEAD, DIM_Q, DIM_KV, DIM_FFN };

static const struct role {
    const char *name, *module;
    enum dim rows, cols; /* cols DIM_ONE: rank 1 */
    bool in_layer, is_unit;
    enum lm_role lead;
} role_table[ROLE_COUNT] = {
    [ROLE_EMBED] = {"embed", "embed_tokens", DIM_VOCAB, DIM_HIDDEN, false, false, ROLE_EMBED},
    [ROLE_ATTN_NORM] = {"attn_norm", "input_layernorm", DIM_HIDDEN, DIM_ONE, true, false, ROLE_ATTN_NORM},
    [ROLE_Q] = {"q", "self_attn.q_proj", DIM_Q, DIM_HIDDEN, true, true, ROLE_Q},
    [ROLE_K] = {"k", "self_attn.k_proj", DIM_KV, DIM_HIDDEN, true, true, ROLE_Q},
    [ROLE_V] = {"v", "self_attn.v_proj", DIM_KV, DIM_HIDDEN, true, true, ROLE_Q},
    [ROLE_Q_NORM] = {"q_norm", "self_attn.q_norm", DIM_HEAD, DIM_ONE, true, false, ROLE_Q_NORM},
    [ROLE_K_NORM] = {"k_norm", "self_attn.k_norm", DIM_HEAD, DIM_ONE, true, false, ROLE_K_NORM},
    [ROLE_O] = {"o", "self_attn.o_proj", DIM_HIDDEN, DIM_Q, true, true, ROLE_O},
    [ROLE_MLP_NORM] = {"mlp_norm", "post_attention_layernorm", DIM_HIDDEN, DIM_ONE, true, false, ROLE_MLP_NORM},
    [ROLE_GATE] = {"gate", "mlp.gate_proj", DIM_FFN, DIM_HIDDEN, true, true, ROLE_GATE},
    [ROLE_UP] = {"up", "mlp.up_proj", DIM_FFN, DIM_HIDDEN, true, true, ROLE_GATE},
    [ROLE_DOWN] = {"down", "mlp.down_proj", DIM_HIDDEN, DIM_FFN, true, true, ROLE_DOWN},
    [ROLE_FINAL_NORM] = {"final_norm", "norm", DIM_HIDDEN, DIM_ONE, false, false, ROLE_FINAL_NORM},
    [ROLE_LM_HEAD] = {"lm_head", "lm_head", DIM_VOCAB, DIM_HIDDEN, false, true, ROLE_LM_HEAD},
};

enum {
    FIRST_IN_LAYER = ROLE_ATTN_NORM,
    LAST_IN_LAYER = ROLE_DOWN,
    TENSORS_PER_LAYER = LAST_IN_LAYER - FIRST_IN_LAYER + 1,
    UNITS_PER_LAYER = 7,
};

const char *lm_role_name(enum lm_role r)
{
    return role_table[r].name;
}

enum lm_role lm_role_of_name(const char *name)
{
    int r = 0;
    while (r < ROLE_COUNT && strcmp(role_table[r].name, name))
        r++;
    return (enum lm_role)r;
}

bool lm_role_is_unit(enum lm_role r)
{
    return role_table[r].is_unit;
}

bool lm_role_in_layer(enum lm_role r)
{
    return role_table[r].in_layer;
}

enum lm_role lm_role_lead(enum lm_role r)
{
    return role_table[r].lead;
}

static uint64_t dim_size(const struct lm_config *c, enum dim d)
{
    switch (d) {
    case DIM_ONE: return 1;
    case DIM_VOCAB: return (uint64_t)c->vocab_size;
    case DIM_HIDDEN: return (uint64_t)c->hidden_size;
    case DIM_HEAD: return (uint64_t)c->head_dim;
    case DIM_Q: return (uint64_t)c->n_heads * (uint64_t)c->head_dim;
    case DIM_KV: return (uint64_t)c->n_kv_heads * (uint64_t)c->head_dim;
    case DIM_FFN: return (uint64_t)c->ffn_size;
    }
    BUG("dimension %d", (int)d);
}

int lm_role_shape(const struct lm_config *c, enum lm_role r, uint64_t shape[2])
{
    shape[0] = dim_size(c, role_table[r].rows);
    shape[1] = dim_size(c, role_table[r].cols);
    return role_table[r].cols == DIM_ONE ? 1 : 2;
}

char *lm_module_name(const char *prefix, enum lm_role r, int layer)
{
    if (r == ROLE_LM_HEAD)
        return xstrdup(role_table[r].module);
    if (role_table[r].in_layer)
        return xasprintf("%slayers.%d.%s", prefix, layer, role_table[r].module);
    return xasprintf("%s%s", prefix, role_table[r].module);
}

int lm_config_check(const struct lm_config *c, const char *where, struct err *e)
{
    /* the largest dense models have 128 layers and 16,384 channels; the limits keep every product far from overflow */
    const struct {
        const char *what;
        int64_t value, max;
    } size[] = {
        {"the number of layers", c->n_layers, 1024},      {"the hidden size", c->hidden_size, 1 << 17},
        {"the number of heads", c->n_heads, 1024},        {"the number of key/value heads", c->n_kv_heads, 1024},
        {"the size of a head", c->head_dim, 1024},        {"the size of the MLP", c->ffn_size, 1 << 20},
        {"the vocabulary size", c->vocab_size, 1 << 24},  {"the number of positions", c->max_positions, 1 << 30},
    };
    for (size_t i = 0; i < sizeof size / sizeof *size; i++)
        if (size[i].value < 1 || size[i].value > size[i].max)
            return err_set(e, ERR_FORMAT, "%s: %s is %" PRId64 ", supported are 1 to %" PRId64, where, size[i].what,
                           size[i].value, size[i].max);
    if (c->n_heads % c->n_kv_heads)
        return err_set(e, ERR_FORMAT, "%s: %d attention heads are not a multiple of %d key/value heads", where,
                       c->n_heads, c->n_kv_heads);
    if (c->head_dim % 2)
        return err_set(e, ERR_FORMAT, "%s: head size %d is odd, rotary embedding needs pairs", where, c->head_dim);
    if (!(c->rms_norm_eps > 0 && c->rms_norm_eps < 1))
        return err_set(e, ERR_FORMAT, "%s: rms_norm_eps is %g, it must lie between 0 and 1", where, c->rms_norm_eps);
    if (!(c->rope_theta >= 1 && c->rope_theta <= 1e12))
        return err_set(e, ERR_FORMAT, "%s: rope_theta is %g, it must lie between 1 and 1e12", where, c->rope_theta);
    return 0;
}

/* ---- order ---- */

int lm_tensor_count(const struct lm_config *c)
{
    return 2 + TENSORS_PER_LAYER * c->n_layers + !c->tied;
}

int lm_tensor_index(const struct lm_config *c, enum lm_role r, int layer)
{
    const bool in_layer = r < ROLE_COUNT && role_table[r].in_layer;
    if (r >= ROLE_COUNT || (in_layer ? layer < 0 || layer >= c->n_layers : layer != -1))
        BUG("role %d, layer %d", (int)r, layer);
    if (in_layer)
        return 1 + TENSORS_PER_LAYER * layer + (int)r - FIRST_IN_LAYER;
    if (r == ROLE_EMBED || (r == ROLE_LM_HEAD && c->tied))
        return 0;
    return 1 + TENSORS_PER_LAYER * c->n_layers + (r == ROLE_LM_HEAD);
}

void lm_tensor_at(const struct lm_config *c, int index, enum lm_role *r, int *layer)
{
    const int in_layers = TENSORS_PER_LAYER * c->n_layers, i = index - 1;
    if (index < 0 || index >= lm_tensor_count(c))
        BUG("tensor %d", index);
    if (i >= 0 && i < in_layers) {
        *layer = i / TENSORS_PER_LAYER;
        *r = (enum lm_role)(FIRST_IN_LAYER + i % TENSORS_PER_LAYER);
        return;
    }
    *layer = -1;
    *r = i < 0 ? ROLE_EMBED : i == in_layers ? ROLE_FINAL_NORM : ROLE_LM_HEAD;
}

int lm_unit_count(const struct lm_config *c)
{
    return UNITS_PER_LAYER * c->n_layers + 1;
}

void lm_unit_at(const struct lm_config *c, int i, enum lm_role *r, int *layer)
{
    *layer = i / UNITS_PER_LAYER;
    *r = ROLE_LM_HEAD;
    if (*layer == c->n_layers) {
        *layer = -1;
        return;
    }
    for (int role = FIRST_IN_LAYER, k = 0; role <= LAST_IN_LAYER; role++)
        if (role_table[role].is_unit && k++ == i % UNITS_PER_LAYER)
            *r = (enum lm_role)role;
}

const struct lm_tensor *lm_tensor_of(const struct lm *m, enum lm_role role, int layer)
{
    return &m->tensor[lm_tensor_index(&m->config, role, layer)];
}

int lm_unit_of(const struct lm *m, enum lm_role role, int layer)
{
    if (role >= ROLE_COUNT || !role_table[role].is_unit || lm_tensor_index(&m->config, role, layer) < 0)
        BUG("role %d is no unit", (int)role);
    if (role == ROLE_LM_HEAD)
        return m->n_units - 1;
    int before = 0; /* units before this one in its layer */
    for (int r = FIRST_IN_LAYER; r < (int)role; r++)
        before += role_table[r].is_unit;
    return m->n_units - lm_unit_count(&m->config) + UNITS_PER_LAYER * layer + before;
}

/* ---- groups and identity ---- */

int lm_group_units(struct lm *m, const char *const *group_name, const char *where, struct err *e)
{
    free(m->group);
    m->group = xcalloc((size_t)m->n_units, sizeof *m->group);
    m->n_groups = 0;
    uint64_t total = 0;
    for (int i = 0; i < m->n_units; i++) {
        struct lm_unit *u = &m->unit[i];
        const int lead = u->is_lm ? lm_unit_of(m, role_table[u->role].lead, u->layer) : i;
        if (strcmp(group_name[i], m->unit[lead].name))
            return err_set(e, ERR_FORMAT, "%s: unit '%.200s' is in group '%.200s', it belongs to '%.200s'", where,
                           u->name, group_name[i], m->unit[lead].name);
        if (lead == i)
            m->group[m->n_groups++] = (struct lm_group){.name = u->name, .is_lm = u->is_lm};
        u->group = lead == i ? m->n_groups - 1 : m->unit[lead].group;
        m->group[u->group].weights += u->weights;
        m->group[u->group].n_units++;
        if (!add_u64(total, u->weights, &total) || total > INT64_MAX)
            return err_set(e, ERR_FORMAT, "%s: the number of weights overflows", where);
    }
    return 0;
}

static void add_text(struct sha256 *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void add_text(struct sha256 *s, const char *fmt, ...)
{
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    sha256_add(s, line, (size_t)n);
}

void lm_identity(const struct lm *m, char out[65])
{
    const struct lm_config *c = &m->config;
    char eps[JSON_REPR], theta[JSON_REPR];
    json_real_repr(c->rms_norm_eps, eps);
    json_real_repr(c->rope_theta, theta);
    struct sha256 s;
    sha256_init(&s);
    add_text(&s, "qsens-lm 1 layers %d hidden %d heads %d kv_heads %d head_dim %d ffn %d vocab %" PRId64, c->n_layers,
             c->hidden_size, c->n_heads, c->n_kv_heads, c->head_dim, c->ffn_size, c->vocab_size);
    add_text(&s, " eps %s theta %s positions %" PRId64 " tied %d\n", eps, theta, c->max_positions, c->tied);
    for (int i = 0; i < m->n_tensors; i++) {
        const struct lm_tensor *t = &m->tensor[i];
        add_text(&s, "%s %d %s %" PRIu64 "x%" PRIu64 " %s\n", lm_role_name(t->role), t->layer, dtype_name(t->dtype),
                 t->shape[0], t->rank == 2 ? t->shape[1] : 1, t->sha256);
    }
    sha256_hex(&s, out);
}

void lm_free(struct lm *m)
{
    for (int i = 0; i < m->n_files; i++)
        free(m->file[i].path);
    for (int i = 0; i < m->n_tensors; i++)
        free(m->tensor[i].name);
    for (int i = 0; i < m->n_units; i++) {
        free(m->unit[i].name);
        free(m->unit[i].module_type);
    }
    free(m->name);
    free(m->path);
    free(m->architecture);
    free(m->file);
    free(m->tensor);
    free(m->unit);
    free(m->group);
    *m = (struct lm){0};
}
