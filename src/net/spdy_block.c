/* SPDX-License-Identifier: Apache-2.0 */
/* spdy_block.c - see spdy_block.h. Source: "SPDY Protocol - Draft 3.1", section 2.6.10. */
#include "net/spdy_block.h"

#define HEADERS_MAX ((size_t)64 << 10) /* bytes of an unpacked block */
#define PAIRS_MAX 200

/* The header dictionary of the draft: length-prefixed names, then loose text. Words are separated by '|' here. */
static const char dictionary_words[] =
	"options|head|post|put|delete|trace|accept|accept-charset|accept-encoding|accept-language|accept-ranges|age|allow|authorization|cache-control|"
	"connection|content-base|content-encoding|content-language|content-length|content-location|content-md5|content-range|content-type|date|etag|expect|"
	"expires|from|host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|location|max-forwards|pragma|"
	"proxy-authenticate|proxy-authorization|range|referer|retry-after|server|te|trailer|transfer-encoding|upgrade|user-agent|vary|via|warning|"
	"www-authenticate|method|get|status|200 OK|version|HTTP/1.1|url|public|set-cookie|keep-alive|origin";
static const char dictionary_text[] =
	"100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative Information204 No Content"
	"301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
	"Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
	"chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age="
	"gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";
#define DICTIONARY_BYTES 1423

static void put32(struct buf *b, uint32_t v) {
	char bytes[4] = { (char)(v >> 24), (char)(v >> 16), (char)(v >> 8), (char)v };
	buf_add(b, bytes, 4);
}

static uint32_t get32(const char *p) {
	const uint8_t *u = (const uint8_t *)p;
	return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

static void dictionary_make(struct buf *b) {
	struct str rest = str_c(dictionary_words), word;
	while (str_next(&rest, '|', &word)) {
		put32(b, (uint32_t)word.len);
		buf_str(b, word);
	}
	buf_c(b, dictionary_text);
	assert(b->len == DICTIONARY_BYTES);
}

void spdy_block_init(struct spdy_block *b) {
	auto_buf struct buf dictionary = { 0 };
	dictionary_make(&dictionary);
	*b = (struct spdy_block){ 0 };
	int rc = inflateInit(&b->unpack);
	rc |= deflateInit2(&b->pack, Z_BEST_SPEED, Z_DEFLATED, 11, 1, Z_DEFAULT_STRATEGY); /* a small window: headers are short */
	rc |= deflateSetDictionary(&b->pack, (Bytef *)dictionary.ptr, (uInt)dictionary.len);
	assert(rc == Z_OK);
	(void)rc;
}

void spdy_block_release(struct spdy_block *b) {
	inflateEnd(&b->unpack);
	deflateEnd(&b->pack);
}

void spdy_block_pack(struct spdy_block *b, const struct http_header *headers, size_t n, struct buf *out) {
	auto_buf struct buf plain = { 0 };
	put32(&plain, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		put32(&plain, (uint32_t)headers[i].name.len);
		for (size_t k = 0; k < headers[i].name.len; k++) {
			char c = headers[i].name.ptr[k];
			buf_char(&plain, c >= 'A' && c <= 'Z' ? (char)(c + 32) : c);
		}
		put32(&plain, (uint32_t)headers[i].value.len);
		buf_str(&plain, headers[i].value);
	}
	b->pack.next_in = (Bytef *)plain.ptr;
	b->pack.avail_in = (uInt)plain.len;
	do {
		char *room = buf_reserve(out, 1024);
		b->pack.next_out = (Bytef *)room;
		b->pack.avail_out = 1024;
		deflate(&b->pack, Z_SYNC_FLUSH);
		out->len += 1024 - b->pack.avail_out;
	} while (b->pack.avail_out == 0);
}

/* Each value of a name that has several, which NULs separate, becomes a header of its own. */
static bool pairs_parse(struct str plain, struct arena *a, struct http_headers *ret) {
	if (plain.len < 4) {
		return false;
	}
	uint32_t pairs = get32(plain.ptr);
	plain = str_from(plain, 4);
	if (pairs > PAIRS_MAX) {
		return false;
	}
	struct http_header *at = arena_array(a, struct http_header, PAIRS_MAX);
	size_t n = 0;
	for (uint32_t i = 0; i < pairs; i++) {
		struct str part[2];
		for (int k = 0; k < 2; k++) {
			if (plain.len < 4 || get32(plain.ptr) > plain.len - 4) {
				return false;
			}
			uint32_t len = get32(plain.ptr);
			part[k] = arena_str(a, str_sub(plain, 4, 4 + (size_t)len));
			plain = str_from(plain, 4 + (size_t)len);
		}
		struct str rest = part[1], value;
		while (str_next(&rest, 0, &value)) {
			if (n == PAIRS_MAX || !part[0].len) {
				return false;
			}
			at[n++] = (struct http_header){ part[0], value };
		}
	}
	*ret = (struct http_headers){ at, n };
	return true;
}

bool spdy_block_unpack(struct spdy_block *b, struct str packed, struct arena *a, struct http_headers *ret) {
	auto_buf struct buf plain = BUF_INIT(HEADERS_MAX);
	auto_buf struct buf dictionary = { 0 };
	b->unpack.next_in = (Bytef *)(uintptr_t)packed.ptr;
	b->unpack.avail_in = (uInt)packed.len;
	for (;;) {
		char *room = buf_reserve(&plain, 2048);
		if (!room) {
			return false;
		}
		b->unpack.next_out = (Bytef *)room;
		b->unpack.avail_out = 2048;
		int rc = inflate(&b->unpack, Z_SYNC_FLUSH);
		plain.len += 2048 - b->unpack.avail_out;
		if (rc == Z_NEED_DICT) {
			dictionary_make(&dictionary);
			rc = inflateSetDictionary(&b->unpack, (Bytef *)dictionary.ptr, (uInt)dictionary.len);
			if (rc != Z_OK) {
				return false;
			}
			continue;
		}
		if (rc != Z_OK && rc != Z_BUF_ERROR) {
			return false;
		}
		if (b->unpack.avail_out) {
			break; /* all that there was */
		}
	}
	return !b->unpack.avail_in && pairs_parse(buf_view(&plain), a, ret);
}
