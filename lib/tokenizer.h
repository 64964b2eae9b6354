/* tokenizer - Hugging Face tokenizer.json of the Qwen2 kind: byte-level BPE, bit-exact with the tokenizers library.
 *
 * Read from the file itself: model.vocab, model.merges (pairs or "a b" strings), model.ignore_merges, added_tokens with
 * all their flags, the Split regex (pretoken.h), the normalizer (NFC, null, or a Sequence of NFC). Not read: decoder,
 * truncation and padding (their users set those per call), and the ByteLevel post_processor, which changes offsets
 * only. What would change ids and is not supported is refused by name: other models, byte_fallback, dropout,
 * unk_token, affixes, a prefix space, other normalizers and pre-tokenizers, post-processors that add tokens.
 *
 * text -> added tokens with normalized false -> per stretch: NFC -> added tokens with normalized true -> per stretch:
 * regex -> words -> BPE. NFC is the library's whatever version utf8proc has (unicode.h). The regex knows letters and
 * numbers as PCRE2 does, Unicode 14.0 in its 10.42; tokenizers 0.22 has 16.0. Letters and numbers assigned between the
 * two (CJK extensions H and I are the large blocks) count as symbols here and may be cut elsewhere. */
#ifndef TOKENIZER_H
#define TOKENIZER_H
#include <stddef.h>
#include <stdint.h>

#include "bpe.h"
#include "err.h"

struct tokenizer;

/* Read tokenizer.json. ERR_IO; ERR_FORMAT where it is malformed; ERR_CONFIG where it is not supported. */
struct tokenizer *tokenizer_open(const char *path, struct err *e) MUST_CHECK;
/* The same from memory; `name` is for messages. */
struct tokenizer *tokenizer_parse(const char *data, size_t n, const char *name, struct err *e) MUST_CHECK;
void tokenizer_close(struct tokenizer *t);

/* Append the ids of text[n]. With max_ids > 0 at most so many are appended, the first, and the rest of the text costs
 * little. ERR_FORMAT with the byte where the text is not UTF-8; ERR_LIMIT beyond 1 GiB, or where the regex gives up.
 * Not for two threads at once: words are cached. */
int tokenizer_encode(struct tokenizer *t, const char *text, size_t n, size_t max_ids, struct token_ids *out,
                     struct err *e) MUST_CHECK;

/* The id of a token by its spelling in the file, added tokens first; -1 where there is none. */
int32_t tokenizer_id(const struct tokenizer *t, const char *token);
/* Tokens, added ones included. */
size_t tokenizer_size(const struct tokenizer *t);
/* Of the file. */
const char *tokenizer_sha256(const struct tokenizer *t);

/* The spelling of the pad token from a tokenizer_config.json ("pad_token": a string or {"content": ...}); the caller
 * frees. ERR_CONFIG where the file names none. */
char *tokenizer_pad_token(const char *config_path, struct err *e) MUST_CHECK;

#endif
