#include "report_text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

void md_cell(FILE *f, const char *s)
{
    for (; *s; s++)
        if (*s == '|')
            fputs("\\|", f);
        else
            fputc((unsigned char)*s < 0x20 ? ' ' : *s, f);
}

void md_plain(FILE *f, const char *s)
{
    for (; *s; s++) {
        if (strchr("\\`*[]<>|#&", *s))
            fputc('\\', f);
        fputc((unsigned char)*s < 0x20 ? ' ' : *s, f);
    }
}

void md_heading(FILE *f, const char *text)
{
    fprintf(f, "\n## %s\n", text);
}

void md_key_table(FILE *f, const char *title)
{
    md_heading(f, title);
    fputs("  \n\n|Key|Value|\n| :--- | :--- |\n", f);
}

void md_key_row(FILE *f, const char *key, const char *value)
{
    fprintf(f, "|%s|`", key);
    md_cell(f, value);
    fputs("`|\n", f);
}

char *md_text_of(const json_t *v)
{
    if (!v || json_is_null(v))
        return NULL;
    if (json_is_string(v))
        return xstrdup(json_string_value(v));
    if (json_is_real(v)) {
        char repr[JSON_REPR];
        json_real_repr(json_real_value(v), repr);
        return xstrdup(repr);
    }
    char *dumped = json_dumps(v, JSON_ENCODE_ANY), *s = xstrdup(dumped ? dumped : "?");
    free(dumped);
    return s;
}

void md_member_row(FILE *f, const char *title, const json_t *o, const char *key)
{
    char *s = md_text_of(json_object_get(o, key));
    if (s)
        md_key_row(f, title, s);
    free(s);
}

/* Every line follows a line break of the reference's writer. */
void md_code_block(FILE *f, const char *language, const char *text)
{
    size_t fence = 3;
    for (const char *p = text; (p = strchr(p, '`'));) {
        const size_t run = strspn(p, "`");
        fence = run >= fence ? run + 1 : fence;
        p += run;
    }
    char *ticks = xmalloc(fence + 1, 1);
    memset(ticks, '`', fence);
    ticks[fence] = 0;
    fprintf(f, "  \n  \n%s%s", ticks, language);
    while (*text) {
        const size_t n = strcspn(text, "\n");
        fputs("  \n", f);
        fwrite(text, 1, n, f);
        text += n + (text[n] == '\n');
    }
    fprintf(f, "  \n%s\n", ticks);
    free(ticks);
}

/* ---- numbers ---- */

const char *md_count(uint64_t n, char out[MD_COUNT])
{
    char digits[24];
    const int k = snprintf(digits, sizeof digits, "%" PRIu64, n);
    char *p = out;
    for (int i = 0; i < k; i++) {
        if (i && (k - i) % 3 == 0)
            *p++ = ',';
        *p++ = digits[i];
    }
    *p = 0;
    return out;
}

const char *md_share(double share, char out[MD_SHARE])
{
    if (share > 0 && share < 0.0005)
        snprintf(out, MD_SHARE, "< 0.1 %%");
    else
        snprintf(out, MD_SHARE, "%.1f %%", 100 * share);
    return out;
}

const char *md_bytes(double n, char out[MD_COUNT])
{
    static const char *const unit[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    size_t i = 0;
    for (; n >= 1024 && i + 1 < sizeof unit / sizeof *unit; i++)
        n /= 1024;
    snprintf(out, MD_COUNT, i ? "%.1f %s" : "%.0f %s", n, unit[i]);
    return out;
}
