/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dns.c - DNS messages.
 *
 * Called by cmd_dig.c, by tests and the fuzz target. Pure: no I/O, any thread.
 */
#include "dns.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

enum { HEAD_BYTES = 12, NAME_BYTES_MAX = 255, LABEL_BYTES_MAX = 63, CLASS_IN = 1 };

/* A message that is read: `at` moves forward, and names may point back. */
struct reader {
	struct str msg;
	size_t at;
};

static bool u8_read(struct reader *r, unsigned *ret) {
	if (r->at >= r->msg.len) {
		return false;
	}
	*ret = (unsigned char)r->msg.ptr[r->at++];
	return true;
}

static bool u16_read(struct reader *r, unsigned *ret) {
	unsigned high, low;

	if (!u8_read(r, &high) || !u8_read(r, &low)) {
		return false;
	}
	*ret = high << 8 | low;
	return true;
}

static bool u32_read(struct reader *r, uint32_t *ret) {
	unsigned high, low;

	if (!u16_read(r, &high) || !u16_read(r, &low)) {
		return false;
	}
	*ret = (uint32_t)high << 16 | low;
	return true;
}

static void u16_add(struct buf *out, unsigned n) {
	char b[2] = { (char)(n >> 8), (char)n };

	buf_add(out, (struct str){ b, 2 });
}

/* RFC 1035 section 5.1: what would mislead in a name's text is written with a backslash. */
static void label_add(struct buf *out, struct str label) {
	for (size_t i = 0; i < label.len; i++) {
		unsigned char c = (unsigned char)label.ptr[i];

		if (c <= ' ' || c >= 0x7f) {
			buf_addf(out, "\\%03u", c);
		} else if (c == '.' || c == '\\' || c == '"') {
			buf_addf(out, "\\%c", c);
		} else {
			buf_addf(out, "%c", c);
		}
	}
	buf_add(out, S("."));
}

/* Section 4.1.4. A pointer must point before the name it stands in, so every chain ends. */
static bool name_read(struct reader *r, struct buf *out) {
	size_t at = r->at, bytes = 0, limit = r->at;
	bool jumped = false, empty = true;

	for (;;) {
		unsigned len;

		if (at >= r->msg.len) {
			return false;
		}
		len = (unsigned char)r->msg.ptr[at];
		if (len >= 0xc0) {
			size_t to;

			if (at + 1 >= r->msg.len) {
				return false;
			}
			to = (len & 0x3f) << 8 | (unsigned char)r->msg.ptr[at + 1];
			if (!jumped) {
				r->at = at + 2;
			}
			jumped = true;
			if (to >= limit) {
				return false;
			}
			at = limit = to;
			continue;
		}
		if (len > LABEL_BYTES_MAX || at + 1 + len > r->msg.len || (bytes += len + 1) > NAME_BYTES_MAX) {
			return false;
		}
		if (len == 0) {
			break;
		}
		label_add(out, (struct str){ r->msg.ptr + at + 1, len });
		empty = false;
		at += 1 + len;
	}
	if (!jumped) {
		r->at = at + 1;
	}
	if (empty) {
		buf_add(out, S("."));
	}
	return true;
}

/* ---- data of records, each with its function; `r` ends where the data ends ---- */

static bool address_print(struct reader *r, struct buf *out, int family, size_t len) {
	char text[INET6_ADDRSTRLEN];

	if (r->msg.len - r->at != len || !inet_ntop(family, r->msg.ptr + r->at, text, sizeof(text))) {
		return false;
	}
	r->at += len;
	return buf_add(out, str_from(text));
}

static bool a_print(struct reader *r, struct buf *out) {
	return address_print(r, out, AF_INET, 4);
}

static bool aaaa_print(struct reader *r, struct buf *out) {
	return address_print(r, out, AF_INET6, 16);
}

static bool mx_print(struct reader *r, struct buf *out) {
	unsigned preference;

	return u16_read(r, &preference) && buf_addf(out, "%u ", preference) && name_read(r, out);
}

static bool srv_print(struct reader *r, struct buf *out) {
	unsigned priority, weight, port;

	return u16_read(r, &priority) && u16_read(r, &weight) && u16_read(r, &port) &&
		buf_addf(out, "%u %u %u ", priority, weight, port) && name_read(r, out);
}

static bool soa_print(struct reader *r, struct buf *out) {
	if (!name_read(r, out) || !buf_add(out, S(" ")) || !name_read(r, out)) {
		return false;
	}
	for (int i = 0; i < 5; i++) {
		uint32_t n;

		if (!u32_read(r, &n)) {
			return false;
		}
		buf_addf(out, " %u", n);
	}
	return true;
}

static bool txt_print(struct reader *r, struct buf *out) {
	for (bool first = true; r->at < r->msg.len; first = false) {
		unsigned len;

		if (!u8_read(r, &len) || len > r->msg.len - r->at) {
			return false;
		}
		buf_add(out, first ? S("\"") : S(" \""));
		for (unsigned i = 0; i < len; i++) {
			unsigned char c = (unsigned char)r->msg.ptr[r->at + i];

			if (c < ' ' || c >= 0x7f) {
				buf_addf(out, "\\%03u", c);
			} else {
				buf_addf(out, c == '"' || c == '\\' ? "\\%c" : "%c", c);
			}
		}
		buf_add(out, S("\""));
		r->at += len;
	}
	return true;
}

static bool raw_print(struct reader *r, struct buf *out) {
	buf_addf(out, "\\# %zu ", r->msg.len - r->at); /* RFC 3597 section 5 */
	while (r->at < r->msg.len) {
		buf_addf(out, "%02X", (unsigned char)r->msg.ptr[r->at++]);
	}
	return true;
}

static const struct type {
	struct str name;
	uint16_t number;
	bool (*print)(struct reader *r, struct buf *out);
} types[] = {
	{ S("A"), 1, a_print },     { S("NS"), 2, name_read },     { S("CNAME"), 5, name_read },
	{ S("SOA"), 6, soa_print }, { S("PTR"), 12, name_read },   { S("MX"), 15, mx_print },
	{ S("TXT"), 16, txt_print }, { S("AAAA"), 28, aaaa_print }, { S("SRV"), 33, srv_print },
	{ S("ANY"), 255, raw_print },
};

uint16_t dns_type(struct str name) {
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (str_eq_nocase(types[i].name, name)) {
			return types[i].number;
		}
	}
	return 0;
}

bool dns_query(struct buf *out, uint16_t id, struct str name, uint16_t type) {
	size_t start = out->len + HEAD_BYTES;

	u16_add(out, id);
	u16_add(out, 0x0100); /* recursion desired */
	u16_add(out, 1);
	u16_add(out, 0);
	u16_add(out, 0);
	u16_add(out, 0);
	if (str_eq(name, S("."))) {
		name.len = 0;
	}
	while (name.len > 0) {
		struct str label = str_cut(&name, '.');
		char len = (char)label.len;

		if (label.len == 0 || label.len > LABEL_BYTES_MAX) {
			return false;
		}
		buf_add(out, (struct str){ &len, 1 });
		buf_add(out, label);
	}
	buf_add(out, (struct str){ "\0", 1 });
	if (out->len - start > NAME_BYTES_MAX) {
		return false;
	}
	u16_add(out, type);
	u16_add(out, CLASS_IN);
	return true;
}

static bool record_read(struct reader *r, bool brief, struct buf *text) {
	const struct type *type = NULL;
	unsigned number, class, len;
	struct reader data;
	uint32_t ttl;
	auto_buf struct buf name = { 0 };

	if (!name_read(r, &name) || !u16_read(r, &number) || !u16_read(r, &class) || !u32_read(r, &ttl) || !u16_read(r, &len) ||
		len > r->msg.len - r->at) {
		return false;
	}
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (types[i].number == number) {
			type = &types[i];
		}
	}
	if (!brief) {
		buf_addf(text, "%s\t%u\t%s\t", name.ptr, ttl, class == CLASS_IN ? "IN" : "CLASS?");
		buf_addf(text, type ? "%.*s\t" : "TYPE%.*s%u\t", type ? (int)type->name.len : 0, type ? type->name.ptr : "", number);
	}
	data = (struct reader){ { r->msg.ptr, r->at + len }, r->at };
	if (!(type ? type->print : raw_print)(&data, text) || data.at != r->at + len) {
		return false;
	}
	r->at += len;
	return buf_add(text, S("\n"));
}

bool dns_answer_read(struct str in, uint16_t id, bool brief, struct buf *text, struct dns_answer *ret) {
	struct reader r = { in, 0 };
	unsigned got_id, flags, questions, answers, number;

	if (in.len < HEAD_BYTES || !u16_read(&r, &got_id) || !u16_read(&r, &flags) || !u16_read(&r, &questions) || !u16_read(&r, &answers)) {
		return false;
	}
	r.at = HEAD_BYTES;
	if (got_id != id || !(flags & 0x8000)) {
		return false;
	}
	for (unsigned i = 0; i < questions; i++) {
		auto_buf struct buf name = { 0 };

		if (!name_read(&r, &name) || !u16_read(&r, &number) || !u16_read(&r, &number)) {
			return false;
		}
	}
	for (unsigned i = 0; i < answers; i++) {
		if (!record_read(&r, brief, text)) {
			return false;
		}
	}
	*ret = (struct dns_answer){ .rcode = flags & 15, .truncated = flags & 0x0200, .records = answers };
	return true;
}

bool dns_reverse_name(const char *text, struct buf *out) {
	unsigned char b[16];

	if (inet_pton(AF_INET, text, b) == 1) {
		return buf_addf(out, "%u.%u.%u.%u.in-addr.arpa.", b[3], b[2], b[1], b[0]);
	}
	if (inet_pton(AF_INET6, text, b) != 1) {
		return false;
	}
	for (int i = 15; i >= 0; i--) {
		buf_addf(out, "%x.%x.", b[i] & 15u, (unsigned)b[i] >> 4);
	}
	return buf_add(out, S("ip6.arpa."));
}

const char *dns_rcode_name(int rcode) {
	static const char *const names[] = { "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED" };

	return rcode >= 0 && (size_t)rcode < ARRAY_LEN(names) ? names[rcode] : "RESERVED";
}
