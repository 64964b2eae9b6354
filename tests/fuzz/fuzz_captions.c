/* Caption files: any bytes; what comes out lies inside the data and is stripped. */
#include <stdlib.h>

#include "captions.h"
#include "unicode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct captions c;
    struct err e;
    if (!captions_parse(&c, (const char *)data, size, "fuzz", &e))
        for (size_t i = 0; i < c.n; i++) {
            const struct caption *one = &c.item[i];
            const size_t at = (size_t)(one->text - (const char *)data);
            if (one->n == 0 || at > size || one->n > size - at || unicode_is_python_space(utf8_decode(one->text)) ||
                unicode_is_python_space(utf8_decode(one->text + utf8_back(one->text, one->n))))
                abort();
        }
    captions_free(&c);
    return 0;
}
