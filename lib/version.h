/* version - what --version prints. The commit sits in a section of its own, which a tool's identity ignores. */
#ifndef VERSION_H
#define VERSION_H

#define QSENS_VERSION "0.1.0"
/* Raised whenever the same inputs would give other scores: it is part of every record's identity. */
#define QSENS_ARITHMETIC 1

/* "0.1.0 (commit), release, cc ..." */
const char *version_text(void);

#endif
