/* Any bytes as a file of each group and as overrides: no crash, one sentence where refused, and what is taken comes out
 * as YAML and as arguments without an empty or broken line. */
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_output(const struct config *c)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    config_print(c, f);
    fclose(f);
    struct yml_node root;
    struct err e;
    if (yml_parse(&root, text, n, "composed", &e))
        abort();
    yml_free(&root);
    free(text);
    for (const char *const *stage = config_stages; *stage; stage++) {
        f = open_memstream(&text, &n);
        config_print_args(c, *stage, f);
        fclose(f);
        if (*text == '\n' || strstr(text, "\n\n"))
            abort();
        free(text);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const groups[] = {"model", "dataset", "quant_granularity", "autoquant", "output_layout"};
    struct config c;
    struct err e = {0};
    config_init(&c);
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (config_parse(&c, groups[i], (const char *)data, size, "fuzz", &e) && (!e.msg[0] || strchr(e.msg, '\n')))
            abort();
    char *overrides = xstrndup((const char *)data, size);
    if (config_override(&c, overrides, &e) && (!e.msg[0] || strchr(e.msg, '\n')))
        abort();
    free(overrides);
    config_derive(&c);
    check_output(&c);
    config_free(&c);
    return 0;
}
