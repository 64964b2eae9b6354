#include "granularity.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "nearest.h"

static const char weight_key[] = "*weight_quantizer", input_key[] = "*input_quantizer";

/* ---- reading ---- */

static int refuse(const struct yml_node *n, const char *key, const char *want, struct err *e)
{
    char at[YML_WHERE], got[128];
    return err_set(e, ERR_CONFIG, "%s: %s must be %s, not %s", yml_where(n, at), key, want,
                   yml_describe(n, got, sizeof got));
}

static int refuse_key(const struct yml_node *n, const char *const *known, size_t n_known, struct err *e)
{
    char at[YML_WHERE];
    const char *near = nearest_word(n->key, known, n_known);
    return err_set(e, ERR_CONFIG, "%s: unknown key '%s' of an overlay; %s '%s'%s", yml_where(n, at), n->key,
                   near ? "did you mean" : "such as", near ? near : known[0], near ? "?" : "");
}

static int read_axis(const struct yml_node *n, bool is_weight, struct overlay *o, struct err *e)
{
    int64_t axis;
    if (yml_is_null(n))
        o->axis = AXIS_NULL;
    else if (is_weight && yml_int(n, &axis) && (axis == 0 || axis == 1))
        o->axis = axis == 0 ? AXIS_OUT : AXIS_IN;
    else
        return refuse(n, "axis", is_weight ? "0, 1 or null" : "null: inputs have one scale per tensor, or per token "
                                                              "(block_sizes: {-1: null})", e);
    return 0;
}

static int read_block_sizes(const struct yml_node *n, bool is_weight, struct overlay *o, struct err *e)
{
    if (yml_is_null(n))
        return 0;
    const char *want = is_weight ? "{-1: N}, N from 2 to 65536" : "{-1: null}";
    const struct yml_node *size = n->kind == YML_MAPPING && n->n == 1 ? yml_find(n, "-1") : NULL;
    int64_t block;
    if (size && !is_weight && yml_is_null(size))
        o->block = BLOCK_TOKEN;
    else if (size && is_weight && yml_int(size, &block) && block >= 2 && block <= 65536)
        o->block = (int)block;
    else
        return refuse(size ? size : n, size ? "block_sizes: {-1: ...}" : "block_sizes",
                      size ? is_weight ? "a whole number from 2 to 65536" : "null" : want, e);
    return 0;
}

static int read_type(const struct yml_node *n, struct overlay *o, struct err *e)
{
    const char *text;
    if (!yml_string(n, &text) || (strcmp(text, "static") && strcmp(text, "dynamic")))
        return refuse(n, "type", "static or dynamic", e);
    o->type = *text == 's' ? TYPE_STATIC : TYPE_DYNAMIC;
    return 0;
}

static int read_overlay(const struct yml_node *map, bool is_weight, struct overlay *o, struct err *e)
{
    static const char *const known[] = {"axis", "block_sizes", "type"};
    const size_t n_known = is_weight ? 2 : 3;
    if (map->kind != YML_MAPPING)
        return refuse(map, is_weight ? weight_key : input_key, "a mapping such as {axis: null}", e);
    for (size_t i = 0; i < map->n; i++) {
        const struct yml_node *n = &map->item[i];
        int rc;
        if (!strcmp(n->key, "axis"))
            rc = read_axis(n, is_weight, o, e);
        else if (!strcmp(n->key, "block_sizes"))
            rc = read_block_sizes(n, is_weight, o, e);
        else if (!is_weight && !strcmp(n->key, "type"))
            rc = read_type(n, o, e);
        else
            rc = refuse_key(n, known, n_known, e);
        if (rc)
            return -1;
    }
    char at[YML_WHERE];
    if (o->axis != AXIS_KEPT && o->block != BLOCK_KEPT)
        return err_set(e, ERR_CONFIG, "%s: axis and block_sizes exclude each other", yml_where(map, at));
    if (o->block == BLOCK_TOKEN && o->type != TYPE_DYNAMIC)
        return err_set(e, ERR_CONFIG, "%s: scales per token come from the data at hand: add type: dynamic",
                       yml_where(map, at));
    return 0;
}

int granularity_read(struct granularity *g, const struct yml_node *root, struct err *e)
{
    static const char *const known[] = {weight_key, input_key};
    *g = (struct granularity){0};
    if (yml_is_null(root))
        return 0;
    if (root->kind != YML_MAPPING)
        return refuse(root, "quant_cfg_overrides", "a mapping such as {\"*weight_quantizer\": {axis: 0}}", e);
    for (size_t i = 0; i < root->n; i++) {
        const struct yml_node *n = &root->item[i];
        const bool is_weight = !strcmp(n->key, weight_key);
        if (!is_weight && strcmp(n->key, input_key))
            return refuse_key(n, known, 2, e);
        if (read_overlay(n, is_weight, is_weight ? &g->weight : &g->input, e))
            return -1;
    }
    return 0;
}

/* ---- as JSON ---- */

static bool is_empty(const struct overlay *o)
{
    return o->axis == AXIS_KEPT && o->block == BLOCK_KEPT && o->type == TYPE_KEPT;
}

static void print_overlay(const char *key, const struct overlay *o, const char *separator, FILE *f)
{
    static const char *const axes[] = {[AXIS_NULL] = "null", [AXIS_OUT] = "0", [AXIS_IN] = "1"};
    fprintf(f, "%s\"%s\": {", separator, key);
    if (o->type != TYPE_KEPT)
        fprintf(f, "\"type\": \"%s\"%s", o->type == TYPE_STATIC ? "static" : "dynamic",
                o->axis != AXIS_KEPT || o->block != BLOCK_KEPT ? ", " : "");
    if (o->axis != AXIS_KEPT)
        fprintf(f, "\"axis\": %s", axes[o->axis]);
    if (o->block == BLOCK_TOKEN)
        fputs("\"block_sizes\": {\"-1\": null}", f);
    else if (o->block != BLOCK_KEPT)
        fprintf(f, "\"block_sizes\": {\"-1\": %d}", o->block);
    fputc('}', f);
}

char *granularity_json(const struct granularity *g)
{
    if (is_empty(&g->weight) && is_empty(&g->input))
        return NULL;
    char *text;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        BUG("no memory stream");
    fputc('{', f);
    if (!is_empty(&g->weight))
        print_overlay(weight_key, &g->weight, "", f);
    if (!is_empty(&g->input))
        print_overlay(input_key, &g->input, is_empty(&g->weight) ? "" : ", ", f);
    fputc('}', f);
    if (fclose(f))
        BUG("no memory for an overlay");
    return text;
}

/* ---- merging ---- */

/* Does the merge change the attributes that the reference's dictionary spells out for these scales? The type of input
 * quantizers is not spelled out where it is static, and those that are off spell out nothing but that. */
static bool changes(const struct overlay *o, const struct quantizer *q, bool is_weight)
{
    static const enum quant_granularity of_axis[] = {
        [AXIS_NULL] = QG_TENSOR, [AXIS_OUT] = QG_OUT_CHANNEL, [AXIS_IN] = QG_IN_CHANNEL};
    if (q->format == QF_NONE)
        return !is_empty(o);
    if (o->axis != AXIS_KEPT && q->granularity != of_axis[o->axis])
        return true;
    if (o->block == BLOCK_TOKEN ? q->granularity != QG_TOKEN : o->block != BLOCK_KEPT && q->block != o->block)
        return true;
    return !is_weight && (o->type == TYPE_STATIC || (o->type == TYPE_DYNAMIC && !q->dynamic));
}

static int apply_weight(const struct overlay *o, struct quantizer *q, struct err *e)
{
    if (q->format == QF_NONE)
        return 0;
    if (o->axis != AXIS_KEPT)
        *q = (struct quantizer){q->format,
                                o->axis == AXIS_NULL  ? QG_TENSOR
                                : o->axis == AXIS_OUT ? QG_OUT_CHANNEL
                                                      : QG_IN_CHANNEL,
                                0, false};
    else if (o->block != BLOCK_KEPT && q->format != QF_FP4)
        *q = (struct quantizer){q->format, QG_BLOCK, o->block, q->format == QF_MXFP4};
    return quantizer_check(q, true, e) ? err_wrap(e, "weight") : 0;
}

static int apply_input(const struct overlay *o, bool calibrated, struct quantizer *q, struct err *e)
{
    if (q->format == QF_NONE)
        return 0;
    if (o->axis == AXIS_NULL) {
        q->granularity = QG_TENSOR;
        q->block = 0;
    } else if (o->block == BLOCK_TOKEN) {
        q->granularity = QG_TOKEN;
        q->block = 0;
    }
    if (o->type != TYPE_KEPT)
        q->dynamic = o->type == TYPE_DYNAMIC || !calibrated;
    return quantizer_check(q, false, e) ? err_wrap(e, "activation") : 0;
}

/* Presets of the reference that an overlay leads to. */
static const struct {
    const char *weight, *activation, *name;
} presets[] = {{"fp8/out_channel", "fp8/token", "FP8_PER_CHANNEL_PER_TOKEN_CFG"}};

static const char *preset_name(const struct pair *p)
{
    char weight[QUANTIZER_KEY], activation[QUANTIZER_KEY];
    quantizer_key(&p->weight, weight);
    quantizer_key(&p->activation, activation);
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
        if (!strcmp(weight, presets[i].weight) && !strcmp(activation, presets[i].activation))
            return presets[i].name;
    return PAIR_CUSTOM;
}

int granularity_apply(const struct granularity *g, struct pair *p, struct err *e)
{
    const bool changed = changes(&g->weight, &p->weight, true) || changes(&g->input, &p->activation, false);
    if (apply_weight(&g->weight, &p->weight, e) ||
        apply_input(&g->input, p->weight.format != QF_MXFP4, &p->activation, e))
        return -1;
    if (changed)
        snprintf(p->recipe_name, sizeof p->recipe_name, "%s", preset_name(p));
    return 0;
}
