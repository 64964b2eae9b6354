#include "vision.h"

#include <stdio.h>
#include <stdlib.h>

#include "mem.h"

struct list {
    struct vision_tensor *item;
    size_t n, cap;
};

static void add(struct list *l, const char *module, enum vision_kind kind, bool is_bias, int rank,
                const uint64_t *shape)
{
    l->item = xgrow(l->item, &l->cap, l->n + 1, sizeof *l->item);
    struct vision_tensor *t = &l->item[l->n++];
    *t = (struct vision_tensor){.module = xasprintf(VISION_PREFIX "%s", module), .is_bias = is_bias, .kind = kind,
                                .rank = rank, .n = 1};
    for (int i = 0; i < rank; i++) {
        t->shape[i] = shape[i];
        t->n *= shape[i];
    }
}

static void add_linear(struct list *l, const char *module, uint64_t out, uint64_t in)
{
    add(l, module, VISION_LINEAR, false, 2, (const uint64_t[]){out, in});
    add(l, module, VISION_BIAS, true, 1, &out);
}

static void add_norm(struct list *l, const char *module, uint64_t n)
{
    add(l, module, VISION_NORM, false, 1, &n);
    add(l, module, VISION_BIAS, true, 1, &n);
}

static void add_merger(struct list *l, const struct vision_config *c, const char *module, bool norm_after_merge)
{
    const uint64_t hidden = (uint64_t)c->hidden_size, merge = (uint64_t)c->spatial_merge_size,
                   wide = hidden * merge * merge;
    char name[80];
    snprintf(name, sizeof name, "%s.norm", module);
    add_norm(l, name, norm_after_merge ? wide : hidden);
    snprintf(name, sizeof name, "%s.linear_fc1", module);
    add_linear(l, name, wide, wide);
    snprintf(name, sizeof name, "%s.linear_fc2", module);
    add_linear(l, name, (uint64_t)c->out_hidden_size, wide);
}

static void add_block(struct list *l, const struct vision_config *c, int i)
{
    const uint64_t hidden = (uint64_t)c->hidden_size, ffn = (uint64_t)c->intermediate_size;
    const struct {
        const char *name;
        uint64_t out, in; /* in 0: a norm */
    } module[] = {
        {"norm1", hidden, 0},           {"norm2", hidden, 0},          {"attn.qkv", 3 * hidden, hidden},
        {"attn.proj", hidden, hidden},  {"mlp.linear_fc1", ffn, hidden}, {"mlp.linear_fc2", hidden, ffn},
    };
    for (size_t k = 0; k < sizeof module / sizeof *module; k++) {
        char name[80];
        snprintf(name, sizeof name, "blocks.%d.%s", i, module[k].name);
        if (module[k].in)
            add_linear(l, name, module[k].out, module[k].in);
        else
            add_norm(l, name, module[k].out);
    }
}

void vision_tensors(const struct vision_config *c, struct vision_tensor **out, int *n)
{
    struct list l = {0};
    const uint64_t hidden = (uint64_t)c->hidden_size, patch = (uint64_t)c->patch_size;
    add(&l, "patch_embed.proj", VISION_CONV3D, false, 5,
        (const uint64_t[]){hidden, (uint64_t)c->in_channels, (uint64_t)c->temporal_patch_size, patch, patch});
    add(&l, "patch_embed.proj", VISION_BIAS, true, 1, &hidden);
    add(&l, "pos_embed", VISION_EMBED, false, 2, (const uint64_t[]){(uint64_t)c->n_positions, hidden});
    for (int i = 0; i < c->depth; i++)
        add_block(&l, c, i);
    add_merger(&l, c, "merger", false);
    for (int i = 0; i < c->n_deepstack; i++) {
        char name[40];
        snprintf(name, sizeof name, "deepstack_merger_list.%d", i);
        add_merger(&l, c, name, true);
    }
    *out = l.item;
    *n = (int)l.n;
}

void vision_free(struct vision_tensor *t, int n)
{
    for (int i = 0; i < n; i++)
        free(t[i].module);
    free(t);
}

int vision_config_check(const struct vision_config *c, const char *where, struct err *e)
{
    const struct {
        const char *key;
        int value, max;
    } size[] = {
        {"depth", c->depth, 1024},
        {"hidden_size", c->hidden_size, 1 << 16},
        {"intermediate_size", c->intermediate_size, 1 << 20},
        {"in_channels", c->in_channels, 64},
        {"patch_size", c->patch_size, 1024},
        {"temporal_patch_size", c->temporal_patch_size, 64},
        {"spatial_merge_size", c->spatial_merge_size, 16},
        {"out_hidden_size", c->out_hidden_size, 1 << 17},
        {"num_position_embeddings", c->n_positions, 1 << 24},
    };
    for (size_t i = 0; i < sizeof size / sizeof *size; i++)
        if (size[i].value < 1 || size[i].value > size[i].max)
            return err_set(e, ERR_FORMAT, "%s: '%s' is %d, supported are 1 to %d", where, size[i].key, size[i].value,
                           size[i].max);
    if (c->n_deepstack < 0 || c->n_deepstack > c->depth)
        return err_set(e, ERR_FORMAT, "%s: %d deepstack_visual_indexes for %d blocks", where, c->n_deepstack, c->depth);
    return 0;
}
