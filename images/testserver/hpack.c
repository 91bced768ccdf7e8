/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hpack.c - header compression of HTTP/2.
 *
 * Called by h2.c, and by tests and the fuzz target. Pure: no I/O; a decoder belongs to one thread.
 */
#include "hpack.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* RFC 7541 appendix A. */
static const struct hpack_entry static_table[] = {
	{ S(":authority"), S("") }, { S(":method"), S("GET") }, { S(":method"), S("POST") }, { S(":path"), S("/") },
	{ S(":path"), S("/index.html") }, { S(":scheme"), S("http") }, { S(":scheme"), S("https") },
	{ S(":status"), S("200") }, { S(":status"), S("204") }, { S(":status"), S("206") }, { S(":status"), S("304") },
	{ S(":status"), S("400") }, { S(":status"), S("404") }, { S(":status"), S("500") }, { S("accept-charset"), S("") },
	{ S("accept-encoding"), S("gzip, deflate") }, { S("accept-language"), S("") }, { S("accept-ranges"), S("") },
	{ S("accept"), S("") }, { S("access-control-allow-origin"), S("") }, { S("age"), S("") }, { S("allow"), S("") },
	{ S("authorization"), S("") }, { S("cache-control"), S("") }, { S("content-disposition"), S("") },
	{ S("content-encoding"), S("") }, { S("content-language"), S("") }, { S("content-length"), S("") },
	{ S("content-location"), S("") }, { S("content-range"), S("") }, { S("content-type"), S("") }, { S("cookie"), S("") },
	{ S("date"), S("") }, { S("etag"), S("") }, { S("expect"), S("") }, { S("expires"), S("") }, { S("from"), S("") },
	{ S("host"), S("") }, { S("if-match"), S("") }, { S("if-modified-since"), S("") }, { S("if-none-match"), S("") },
	{ S("if-range"), S("") }, { S("if-unmodified-since"), S("") }, { S("last-modified"), S("") }, { S("link"), S("") },
	{ S("location"), S("") }, { S("max-forwards"), S("") }, { S("proxy-authenticate"), S("") },
	{ S("proxy-authorization"), S("") }, { S("range"), S("") }, { S("referer"), S("") }, { S("refresh"), S("") },
	{ S("retry-after"), S("") }, { S("server"), S("") }, { S("set-cookie"), S("") }, { S("strict-transport-security"), S("") },
	{ S("transfer-encoding"), S("") }, { S("user-agent"), S("") }, { S("vary"), S("") }, { S("via"), S("") },
	{ S("www-authenticate"), S("") },
};

/* ---- Huffman code ---- */

enum { SYMBOLS = 257, SYMBOL_EOS = 256, CODE_BITS_MAX = 30 };

/* RFC 7541 appendix B. The code is canonical, so the lengths in bits say all. */
static const uint8_t code_bits[SYMBOLS] = {
	13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
	 6, 10, 10, 12, 13,  6,  8, 11, 10, 10,  8, 11,  8,  6,  6,  6,  5,  5,  5,  6,  6,  6,  6,  6,  6,  6,  7,  8, 15,  6, 12, 10,
	13,  6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  8,  7,  8, 13, 19, 13, 14,  6,
	15,  5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,  6,  7,  6,  5,  5,  6,  7,  7,  7,  7,  7, 15, 11, 14, 13, 28,
	20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
	22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
	26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
	20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
	30,
};

/* Built once from code_bits: for each length its first code, how many, and where they begin in `sorted`. */
static struct {
	uint32_t first[CODE_BITS_MAX + 1];
	uint16_t count[CODE_BITS_MAX + 1], offset[CODE_BITS_MAX + 1], sorted[SYMBOLS];
} codes;
static pthread_once_t codes_once = PTHREAD_ONCE_INIT;

static void codes_build(void) {
	uint32_t code = 0;
	uint16_t at = 0;

	for (int bits = 1; bits <= CODE_BITS_MAX; bits++) {
		codes.first[bits] = code;
		codes.offset[bits] = at;
		for (uint16_t symbol = 0; symbol < SYMBOLS; symbol++) {
			if (code_bits[symbol] == bits) {
				codes.sorted[at++] = symbol;
				codes.count[bits]++;
			}
		}
		code = (code + codes.count[bits]) << 1;
	}
}

static bool huffman_decode(struct str in, struct buf *out) {
	uint32_t code = 0;
	int bits = 0;

	pthread_once(&codes_once, codes_build);
	for (size_t i = 0; i < in.len * 8; i++) {
		code = code << 1 | ((unsigned char)in.ptr[i / 8] >> (7 - i % 8) & 1u);
		bits++;
		if (bits > CODE_BITS_MAX) {
			return false;
		}
		if (code - codes.first[bits] < codes.count[bits]) {
			uint16_t symbol = codes.sorted[codes.offset[bits] + code - codes.first[bits]];
			char c = (char)symbol;

			if (symbol == SYMBOL_EOS || !buf_add(out, (struct str){ &c, 1 })) {
				return false;
			}
			code = 0;
			bits = 0;
		}
	}
	/* Section 5.2: what is left is padding: fewer than 8 bits, all ones. */
	return bits < 8 && code == (1u << bits) - 1;
}

/* ---- integers and strings, sections 5.1 and 5.2 ---- */

static bool int_read(struct str *in, int prefix_bits, size_t *ret) {
	size_t max = (1u << prefix_bits) - 1, n, shift = 0;
	unsigned char c;

	if (in->len == 0) {
		return false;
	}
	n = (unsigned char)in->ptr[0] & max;
	*in = (struct str){ in->ptr + 1, in->len - 1 };
	if (n < max) {
		*ret = n;
		return true;
	}
	do {
		if (in->len == 0 || shift > 21) {
			return false;
		}
		c = (unsigned char)in->ptr[0];
		n += (size_t)(c & 0x7f) << shift;
		shift += 7;
		*in = (struct str){ in->ptr + 1, in->len - 1 };
	} while (c & 0x80);
	*ret = n;
	return true;
}

static bool string_read(struct str *in, struct buf *out) {
	bool huffman = in->len > 0 && ((unsigned char)in->ptr[0] & 0x80);
	struct str text;
	size_t len;

	if (!int_read(in, 7, &len) || len > in->len) {
		return false;
	}
	text = (struct str){ in->ptr, len };
	*in = (struct str){ in->ptr + len, in->len - len };
	return huffman ? huffman_decode(text, out) : buf_add(out, text);
}

/* ---- the dynamic table, section 4 ---- */

static size_t entry_bytes(struct str name, struct str value) {
	return name.len + value.len + 32;
}

static void evict(struct hpack *h, size_t max) {
	while (h->bytes > max) {
		struct hpack_entry *e = &h->entries[--h->entries_len];

		h->bytes -= entry_bytes(e->name, e->value);
		free((char *)e->name.ptr);
		free((char *)e->value.ptr);
	}
}

static size_t table_max(const struct hpack *h) {
	return h->bytes_max ? h->bytes_max - 1 : HPACK_TABLE_BYTES_MAX;
}

static void insert(struct hpack *h, struct str name, struct str value) {
	size_t bytes = entry_bytes(name, value), max = table_max(h);

	if (bytes > max) {
		evict(h, 0); /* section 4.4: not an error */
		return;
	}
	evict(h, max - bytes);
	memmove(&h->entries[1], &h->entries[0], h->entries_len * sizeof(h->entries[0]));
	h->entries[0] = (struct hpack_entry){ { str_dup(name), name.len }, { str_dup(value), value.len } };
	h->entries_len++;
	h->bytes += bytes;
}

void hpack_release(struct hpack *h) {
	evict(h, 0);
}

static const struct hpack_entry *lookup(const struct hpack *h, size_t index) {
	if (index == 0) {
		return NULL;
	}
	if (index <= ARRAY_LEN(static_table)) {
		return &static_table[index - 1];
	}
	index -= ARRAY_LEN(static_table) + 1;
	return index < h->entries_len ? &h->entries[index] : NULL;
}

/* ---- blocks, section 6 ---- */

static bool field_read(struct hpack *h, struct str *in, size_t *budget, hpack_on_header on_header, void *arg) {
	unsigned char first = (unsigned char)in->ptr[0];
	bool indexed = first & 0x80, incremental = (first & 0xc0) == 0x40;
	auto_buf struct buf name = { .max = HPACK_LIST_BYTES_MAX }, value = { .max = HPACK_LIST_BYTES_MAX };
	const struct hpack_entry *entry;
	size_t index, bytes;

	if (!int_read(in, indexed ? 7 : incremental ? 6 : 4, &index)) {
		return false;
	}
	entry = lookup(h, index);
	if ((indexed || index > 0) && !entry) {
		return false;
	}
	if (entry ? !buf_add(&name, entry->name) : !string_read(in, &name)) {
		return false;
	}
	if (indexed ? !buf_add(&value, entry->value) : !string_read(in, &value)) {
		return false;
	}
	bytes = name.len + value.len + 32;
	if (bytes > *budget) {
		return false;
	}
	*budget -= bytes;
	on_header(arg, buf_str(&name), buf_str(&value));
	if (incremental) {
		insert(h, buf_str(&name), buf_str(&value));
	}
	return true;
}

bool hpack_decode(struct hpack *h, struct str block, hpack_on_header on_header, void *arg) {
	size_t budget = HPACK_LIST_BYTES_MAX, max;
	bool fields = false;

	while (block.len > 0) {
		if (((unsigned char)block.ptr[0] & 0xe0) == 0x20) {
			/* Section 4.2: a change of size stands before the first field. */
			if (fields || !int_read(&block, 5, &max) || max > HPACK_TABLE_BYTES_MAX) {
				return false;
			}
			h->bytes_max = max + 1;
			evict(h, max);
			continue;
		}
		if (!field_read(h, &block, &budget, on_header, arg)) {
			return false;
		}
		fields = true;
	}
	return true;
}

static void string_write(struct buf *block, struct str s) {
	size_t n = s.len;
	unsigned char c;

	if (n < 0x7f) {
		c = (unsigned char)n;
		buf_add(block, (struct str){ (char *)&c, 1 });
	} else {
		buf_add(block, S("\x7f"));
		for (n -= 0x7f; n >= 0x80; n >>= 7) {
			c = (unsigned char)(n | 0x80);
			buf_add(block, (struct str){ (char *)&c, 1 });
		}
		c = (unsigned char)n;
		buf_add(block, (struct str){ (char *)&c, 1 });
	}
	buf_add(block, s);
}

void hpack_encode(struct buf *block, struct str name, struct str value) {
	buf_add(block, (struct str){ "\0", 1 });
	string_write(block, name);
	string_write(block, value);
}
