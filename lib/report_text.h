/* report_text - Markdown as the reference stack's writer lays it out (two blanks end a line there), and numbers for
 * readers. Write errors stick to the stream, as with fputs. */
#ifndef REPORT_TEXT_H
#define REPORT_TEXT_H
#include <stdint.h>
#include <stdio.h>

#include "json.h"

/* A table cell: stays on its line and in its column. */
void md_cell(FILE *f, const char *s);
/* Text within a sentence: what Markdown would take for markup is escaped. */
void md_plain(FILE *f, const char *s);
void md_heading(FILE *f, const char *text);
/* "## title", then the head of a table |Key|Value|; rows follow. */
void md_key_table(FILE *f, const char *title);
void md_key_row(FILE *f, const char *key, const char *value);
/* A row for o[key], none where it is absent. */
void md_member_row(FILE *f, const char *title, const json_t *o, const char *key);
/* A string as it is, anything else as JSON; a new string, or NULL for what is absent. */
char *md_text_of(const json_t *v);
/* The fence is longer than any run of backticks within. */
void md_code_block(FILE *f, const char *language, const char *text);

/* 1234567 -> "1,234,567" */
enum { MD_COUNT = 32, MD_SHARE = 16 };
const char *md_count(uint64_t n, char out[MD_COUNT]);
/* 0.1234 -> "12.3 %"; what is more than nothing and less than 0.05 % -> "< 0.1 %" */
const char *md_share(double share, char out[MD_SHARE]);
/* 123456789 -> "117.7 MiB" */
const char *md_bytes(double n, char out[MD_COUNT]);

#endif
