/* Compiled and linked once before everything else: says in one line what is missing. */
#include <cblas.h>
#include <jansson.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <utf8proc.h>
#include <yaml.h>

int main(void)
{
    float x[1] = {1}, y[1] = {2};
    pcre2_code_free(NULL);
    return !(cblas_sdot(1, x, 1, y, 1) > 0 && jansson_version_str() && utf8proc_version() && yaml_get_version_string());
}
