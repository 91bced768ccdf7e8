/* SPDX-License-Identifier: Apache-2.0 */
/* digest.h - digests, message authentication, random bytes, base64. Any thread. */
#ifndef NET_DIGEST_H
#define NET_DIGEST_H

#include "base/arena.h"
#include "base/err.h"

#define SHA256_BYTES 32
#define SHA256_HEX 65 /* with NUL */
#define SHA1_BYTES 20

void sha256(struct str bytes, uint8_t out[SHA256_BYTES]);
void sha256_hex(struct str bytes, char out[SHA256_HEX]); /* lower case, NUL-ended */
void sha1(struct str bytes, uint8_t out[SHA1_BYTES]);    /* WebSocket handshakes only */
void sha512(struct str bytes, uint8_t out[64]);
void hmac_sha256(struct str key, struct str bytes, uint8_t out[SHA256_BYTES]);

/* Piece by piece: layers, downloads. */
struct sha256_stream;
struct sha256_stream *sha256_stream_new(void);
void sha256_stream_add(struct sha256_stream *s, struct str bytes);
void sha256_stream_hex(struct sha256_stream *s, char out[SHA256_HEX]); /* ends it; only free follows */
void sha256_stream_free(struct sha256_stream *s);                      /* NULL is fine */

/* From OpenSSL: for keys, tokens, ids. */
void random_bytes(void *out, size_t len);
/* `len` characters out of `alphabet`, evenly. */
struct str random_text(struct arena *a, size_t len, struct str alphabet);
/* Without a hint where they differ. */
bool bytes_eq_secret(struct str a, struct str b);

struct str hex_encode(struct arena *a, struct str bytes);
NODISCARD bool hex_decode(struct arena *a, struct str text, struct str *ret);
struct str base64_encode(struct arena *a, struct str bytes);    /* padded */
struct str base64url_encode(struct arena *a, struct str bytes); /* not padded */
/* Standard alphabet with padding, as Go's StdEncoding (line ends are skipped). False when it is not. */
NODISCARD bool base64_decode(struct arena *a, struct str text, struct str *ret);
/* URL alphabet, padded or not. */
NODISCARD bool base64url_decode(struct arena *a, struct str text, struct str *ret);

#endif
