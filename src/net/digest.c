/* SPDX-License-Identifier: Apache-2.0 */
/* digest.c - see digest.h. */
#include "net/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

static void digest(const EVP_MD *md, struct str bytes, uint8_t *out) {
	unsigned int len;
	int ok = EVP_Digest(bytes.len ? bytes.ptr : "", bytes.len, out, &len, md, NULL);
	assert(ok == 1);
	(void)ok;
}

void sha256(struct str bytes, uint8_t out[SHA256_BYTES]) {
	digest(EVP_sha256(), bytes, out);
}

void sha1(struct str bytes, uint8_t out[SHA1_BYTES]) {
	digest(EVP_sha1(), bytes, out);
}

void sha512(struct str bytes, uint8_t out[64]) {
	digest(EVP_sha512(), bytes, out);
}

void hmac_sha256(struct str key, struct str bytes, uint8_t out[SHA256_BYTES]) {
	unsigned int len;
	HMAC(EVP_sha256(), key.len ? key.ptr : "", (int)key.len, (const unsigned char *)(bytes.len ? bytes.ptr : ""), bytes.len, out, &len);
}

static void hex_write(const uint8_t *bytes, size_t len, char *out) {
	static const char hex[] = "0123456789abcdef";
	for (size_t i = 0; i < len; i++) {
		*out++ = hex[bytes[i] >> 4];
		*out++ = hex[bytes[i] & 15];
	}
	*out = 0;
}

void sha256_hex(struct str bytes, char out[SHA256_HEX]) {
	uint8_t raw[SHA256_BYTES];
	sha256(bytes, raw);
	hex_write(raw, sizeof(raw), out);
}

struct sha256_stream {
	EVP_MD_CTX *ctx;
};

struct sha256_stream *sha256_stream_new(void) {
	struct sha256_stream *s = xmalloc(sizeof(*s));
	s->ctx = EVP_MD_CTX_new();
	EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL);
	return s;
}

void sha256_stream_add(struct sha256_stream *s, struct str bytes) {
	if (bytes.len) {
		EVP_DigestUpdate(s->ctx, bytes.ptr, bytes.len);
	}
}

void sha256_stream_hex(struct sha256_stream *s, char out[SHA256_HEX]) {
	uint8_t raw[EVP_MAX_MD_SIZE];
	unsigned int len;
	EVP_DigestFinal_ex(s->ctx, raw, &len);
	hex_write(raw, SHA256_BYTES, out);
}

void sha256_stream_free(struct sha256_stream *s) {
	if (s) {
		EVP_MD_CTX_free(s->ctx);
		free(s);
	}
}

void random_bytes(void *out, size_t len) {
	int ok = RAND_bytes(out, (int)len);
	if (ok != 1) {
		abort(); /* no randomness: nothing that follows would be safe */
	}
}

struct str random_text(struct arena *a, size_t len, struct str alphabet) {
	char *out = arena_alloc(a, len + 1);
	unsigned int even = 256 - 256 % (unsigned int)alphabet.len; /* bytes above would favour the first letters */
	assert(alphabet.len > 0 && alphabet.len <= 256);
	for (size_t i = 0; i < len;) {
		uint8_t r[64];
		random_bytes(r, sizeof(r));
		for (size_t k = 0; k < sizeof(r) && i < len; k++) {
			if (r[k] < even) {
				out[i++] = alphabet.ptr[r[k] % alphabet.len];
			}
		}
	}
	out[len] = 0;
	return (struct str){ out, len };
}

bool bytes_eq_secret(struct str a, struct str b) {
	return a.len == b.len && CRYPTO_memcmp(a.ptr, b.ptr, a.len) == 0;
}

struct str hex_encode(struct arena *a, struct str bytes) {
	char *out = arena_alloc(a, bytes.len * 2 + 1);
	hex_write((const uint8_t *)bytes.ptr, bytes.len, out);
	return (struct str){ out, bytes.len * 2 };
}

static int hex_digit(char c) {
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hex_decode(struct arena *a, struct str text, struct str *ret) {
	char *out = arena_alloc(a, text.len / 2 + 1);
	if (text.len % 2) {
		return false;
	}
	for (size_t i = 0; i < text.len; i += 2) {
		int hi = hex_digit(text.ptr[i]), lo = hex_digit(text.ptr[i + 1]);
		if (hi < 0 || lo < 0) {
			return false;
		}
		out[i / 2] = (char)(hi << 4 | lo);
	}
	out[text.len / 2] = 0;
	*ret = (struct str){ out, text.len / 2 };
	return true;
}

static const char base64_std[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64_url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static struct str encode(struct arena *a, struct str bytes, const char *alphabet, bool pad) {
	const uint8_t *p = (const uint8_t *)bytes.ptr;
	char *out = arena_alloc(a, (bytes.len + 2) / 3 * 4 + 1), *o = out;
	size_t i = 0;
	for (; i + 2 < bytes.len; i += 3) {
		uint32_t v = (uint32_t)p[i] << 16 | (uint32_t)p[i + 1] << 8 | p[i + 2];
		*o++ = alphabet[v >> 18];
		*o++ = alphabet[v >> 12 & 63];
		*o++ = alphabet[v >> 6 & 63];
		*o++ = alphabet[v & 63];
	}
	if (i < bytes.len) {
		uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < bytes.len ? (uint32_t)p[i + 1] << 8 : 0);
		*o++ = alphabet[v >> 18];
		*o++ = alphabet[v >> 12 & 63];
		if (i + 1 < bytes.len) {
			*o++ = alphabet[v >> 6 & 63];
		} else if (pad) {
			*o++ = '=';
		}
		if (pad) {
			*o++ = '=';
		}
	}
	*o = 0;
	return (struct str){ out, (size_t)(o - out) };
}

struct str base64_encode(struct arena *a, struct str bytes) {
	return encode(a, bytes, base64_std, true);
}

struct str base64url_encode(struct arena *a, struct str bytes) {
	return encode(a, bytes, base64_url, false);
}

static int base64_value(char c, bool url) {
	if (c >= 'A' && c <= 'Z') {
		return c - 'A';
	}
	if (c >= 'a' && c <= 'z') {
		return c - 'a' + 26;
	}
	if (c >= '0' && c <= '9') {
		return c - '0' + 52;
	}
	return c == (url ? '-' : '+') ? 62 : c == (url ? '_' : '/') ? 63 : -1;
}

static bool decode(struct arena *a, struct str text, bool url, struct str *ret) {
	char *out = arena_alloc(a, text.len / 4 * 3 + 4), *o = out;
	uint32_t v = 0;
	size_t digits = 0, pads = 0;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];
		int d = base64_value(c, url);
		if (!url && (c == '\n' || c == '\r')) {
			continue;
		}
		if (c == '=') {
			pads++;
			continue;
		}
		if (d < 0 || pads) {
			return false;
		}
		v = v << 6 | (uint32_t)d;
		if (++digits % 4 == 0) {
			*o++ = (char)(v >> 16);
			*o++ = (char)(v >> 8);
			*o++ = (char)v;
			v = 0;
		}
	}
	size_t rest = digits % 4;
	bool padded = pads && (digits + pads) % 4 == 0 && pads <= 2;
	if (rest == 1 || (pads ? !padded : !url && rest)) {
		return false;
	}
	if (rest == 2) {
		*o++ = (char)(v >> 4);
	} else if (rest == 3) {
		*o++ = (char)(v >> 10);
		*o++ = (char)(v >> 2);
	}
	*o = 0;
	*ret = (struct str){ out, (size_t)(o - out) };
	return true;
}

bool base64_decode(struct arena *a, struct str text, struct str *ret) {
	return decode(a, text, false, ret);
}

bool base64url_decode(struct arena *a, struct str text, struct str *ret) {
	return decode(a, text, true, ret);
}
