#include "version.h"

#include <stdio.h>

#ifndef QSENS_BUILD
#define QSENS_BUILD "unknown build"
#endif

/* Filled by the build after linking (Makefile), so that a commit changes no code. */
__attribute__((section("qsens_commit"), used)) static volatile char commit[41] = "unknown";

const char *version_text(void)
{
    static char text[256];
    char c[41];
    for (int i = 0; i < 41; i++)
        c[i] = commit[i];
    c[40] = 0;
    snprintf(text, sizeof text, QSENS_VERSION " (commit %.12s), " QSENS_BUILD, c);
    return text;
}
