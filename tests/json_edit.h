/* json_edit - changes one place of a JSON document, for tests of readers. */
#ifndef JSON_EDIT_H
#define JSON_EDIT_H
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* path: keys and list indices joined by '.'; value: JSON text, or NULL to remove. False if there is no such place (a
 * last key may be new). */
static inline bool json_edit(json_t *doc, const char *path, const char *value)
{
    char key[128];
    json_t *at = doc;
    for (const char *dot; (dot = strchr(path, '.')); path = dot + 1) {
        snprintf(key, sizeof key, "%.*s", (int)(dot - path), path);
        at = json_is_array(at) ? json_array_get(at, (size_t)strtoul(key, NULL, 10)) : json_object_get(at, key);
    }
    json_t *v = value ? json_loads(value, JSON_DECODE_ANY, NULL) : NULL;
    if (!at || (value && !v))
        return false;
    if (json_is_array(at))
        return (v ? json_array_set_new(at, (size_t)strtoul(path, NULL, 10), v)
                  : json_array_remove(at, (size_t)strtoul(path, NULL, 10))) == 0;
    return (v ? json_object_set_new(at, path, v) : json_object_del(at, path)) == 0;
}

#endif
