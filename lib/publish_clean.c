#include "publish_clean.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "manifest_name.h"
#include "mem.h"

char *publish_clean_path(const char *path)
{
    if (*path != '/')
        return xstrdup(path);
    char *cwd = getcwd(NULL, 0), *out = NULL;
    const size_t n = cwd ? strlen(cwd) : 0;
    if (n > 1 && !strncmp(path, cwd, n) && path[n] == '/') {
        const char *below = path + n + strspn(path + n, "/");
        out = *below ? xstrdup(below) : NULL;
    }
    free(cwd);
    if (!out)
        out = manifest_hub_id(path);
    if (out)
        return out;
    size_t end = strlen(path);
    while (end && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start && path[start - 1] != '/')
        start--;
    return xstrndup(path + start, end - start);
}

/* Length of the path at p, whose text starts at `text`. */
static size_t path_length(const char *text, const char *p)
{
    const char before = p > text ? p[-1] : '\n';
    if (before == '"' || before == '\'') {
        size_t n = 0;
        while (p[n] && p[n] != before && p[n] != '\n')
            n += p[n] == '\\' && before == '"' && p[n + 1] ? 2 : 1;
        return n;
    }
    if (p - text >= 2 && p[-1] == ' ' && p[-2] == ':')
        return strcspn(p, "\n");
    return strcspn(p, " \t\n,]}\"'");
}

static char *clean_once(const char *text)
{
    char *out = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&out, &size);
    if (!f)
        BUG("no memory stream");
    for (const char *p = text; *p;) {
        const size_t n = *p == '/' && (p == text || strchr(" \t\n\"'=,[{(", p[-1])) ? path_length(text, p) : 0;
        if (n < 2) { /* a lone slash is no path */
            fputc(*p++, f);
            continue;
        }
        char *path = xstrndup(p, n), *clean = publish_clean_path(path);
        fputs(clean, f);
        free(clean);
        free(path);
        p += n;
    }
    fclose(f);
    return out;
}

char *publish_clean_text(const char *text)
{
    char *out = clean_once(text), *before = xstrdup(text);
    while (strcmp(out, before)) { /* what a path was cut down to may hold one; the text gets shorter each time */
        free(before);
        before = out;
        out = clean_once(before);
    }
    free(before);
    return out;
}

static json_t *clean_string(const json_t *v)
{
    const char *s = json_string_value(v);
    if (strlen(s) != json_string_length(v))
        return NULL;
    char *clean = *s == '/' ? publish_clean_path(s) : publish_clean_text(s);
    json_t *out = strcmp(clean, s) ? json_string(clean) : NULL;
    free(clean);
    return out;
}

void publish_clean_json(json_t *doc)
{
    const char *key;
    json_t *v, *clean;
    void *next;
    size_t i;
    json_object_foreach_safe(doc, next, key, v)
    {
        if (!strcmp(key, "host"))
            json_object_del(doc, key);
        else if (!json_is_string(v))
            publish_clean_json(v);
        else if ((clean = clean_string(v)))
            json_object_set_new(doc, key, clean);
    }
    json_array_foreach(doc, i, v)
    {
        if (!json_is_string(v))
            publish_clean_json(v);
        else if ((clean = clean_string(v)))
            json_array_set_new(doc, i, clean);
    }
}
