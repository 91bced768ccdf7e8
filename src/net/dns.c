/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dns.c - DNS messages; see dns.h. Pure functions over bytes; any thread.
 *
 * Names in messages may point backwards (RFC 1035 section 4.1.4). A pointer must lead to before the name
 * that holds it, which makes loops impossible.
 */
#include "net/dns.h"

#include <arpa/inet.h>
#include <ctype.h>

#include "base/map.h"
#include "base/vec.h"

#define NAME_MAX_BYTES 255
#define LABEL_MAX 63
#define RECORDS_MAX 2000 /* of a message: far above what fits in practice, bounds the work on lies */

/* ---- reading ---- */

struct reader {
	struct arena *arena;
	struct str all;
	size_t at;
	const char *why; /* of the failure */
};

static bool bad(struct reader *r, const char *why) {
	r->why = why;
	return false;
}

static bool get(struct reader *r, size_t n, const uint8_t **ret) {
	if (r->all.len - r->at < n) {
		return bad(r, "the message is cut");
	}
	*ret = (const uint8_t *)r->all.ptr + r->at;
	r->at += n;
	return true;
}

static bool get16(struct reader *r, uint16_t *ret) {
	const uint8_t *p;
	if (!get(r, 2, &p)) {
		return false;
	}
	*ret = (uint16_t)(p[0] << 8 | p[1]);
	return true;
}

static bool get32(struct reader *r, uint32_t *ret) {
	const uint8_t *p;
	if (!get(r, 4, &p)) {
		return false;
	}
	*ret = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
	return true;
}

static void label_text(struct buf *b, const uint8_t *p, size_t n) {
	for (size_t i = 0; i < n; i++) {
		if (p[i] == '.' || p[i] == '\\') {
			buf_char(b, '\\');
			buf_char(b, (char)p[i]);
		} else if (p[i] <= ' ' || p[i] >= 127) {
			buf_printf(b, "\\%03u", p[i]);
		} else {
			buf_char(b, (char)p[i]);
		}
	}
	buf_char(b, '.');
}

static bool get_name(struct reader *r, struct str *ret) {
	auto_buf struct buf text = { 0 };
	const uint8_t *all = (const uint8_t *)r->all.ptr;
	size_t at = r->at, limit = r->at, bytes = 1; /* limit: pointers lead to before it */
	bool jumped = false;
	for (;;) {
		if (at >= r->all.len) {
			return bad(r, "a name is cut");
		}
		uint8_t len = all[at];
		if ((len & 0xc0) == 0xc0) {
			if (at + 1 >= r->all.len) {
				return bad(r, "a name is cut");
			}
			size_t to = (size_t)(len & 0x3f) << 8 | all[at + 1];
			if (!jumped) {
				r->at = at + 2;
			}
			jumped = true;
			if (to >= limit) {
				return bad(r, "a name points forward or at itself");
			}
			at = limit = to;
			continue;
		}
		if (len & 0xc0) {
			return bad(r, "a label of an unknown kind");
		}
		at++;
		if (!len) {
			break;
		}
		if (at + len > r->all.len) {
			return bad(r, "a name is cut");
		}
		bytes += (size_t)len + 1;
		if (bytes > NAME_MAX_BYTES) {
			return bad(r, "a name is longer than 255 bytes");
		}
		label_text(&text, all + at, len);
		at += len;
	}
	if (!jumped) {
		r->at = at;
	}
	*ret = text.len ? arena_str(r->arena, buf_view(&text)) : S(".");
	return true;
}

static bool get_texts(struct reader *r, size_t end, struct dns_record *rec) {
	size_t n = 0;
	for (size_t at = r->at; at < end; n++) {
		at += 1 + (size_t)(uint8_t)r->all.ptr[at];
	}
	struct str *texts = arena_array(r->arena, struct str, n);
	for (size_t i = 0; i < n; i++) {
		const uint8_t *len, *p;
		if (!get(r, 1, &len) || !get(r, *len, &p) || r->at > end) {
			return bad(r, "a text is cut");
		}
		texts[i] = arena_str(r->arena, (struct str){ (const char *)p, *len });
	}
	rec->texts = texts;
	rec->texts_len = n;
	return true;
}

static bool get_data(struct reader *r, uint16_t len, struct dns_record *rec) {
	const uint8_t *p;
	size_t end = r->at + len;
	bool ok = true;
	switch ((enum dns_type)rec->type) {
	case DNS_A:
	case DNS_AAAA:
		if (len != (rec->type == DNS_A ? 4 : 16)) {
			return bad(r, "an address of the wrong length");
		}
		ok = get(r, len, &p);
		if (ok) {
			memcpy(rec->address, p, len);
		}
		break;
	case DNS_NS:
	case DNS_CNAME:
	case DNS_PTR:
		ok = get_name(r, &rec->target);
		break;
	case DNS_MX:
		ok = get16(r, &rec->priority) && get_name(r, &rec->target);
		break;
	case DNS_SRV:
		ok = get16(r, &rec->priority) && get16(r, &rec->weight) && get16(r, &rec->port) && get_name(r, &rec->target);
		break;
	case DNS_SOA:
		ok = get_name(r, &rec->target) && get_name(r, &rec->mailbox) && get32(r, &rec->serial) && get32(r, &rec->refresh) &&
		     get32(r, &rec->retry) && get32(r, &rec->expire) && get32(r, &rec->minimum);
		break;
	case DNS_TXT:
		ok = get_texts(r, end, rec);
		break;
	case DNS_OPT:
	case DNS_HTTPS:
	case DNS_AXFR:
	case DNS_ANY:
	default:
		ok = get(r, len, &p);
		if (ok) {
			rec->raw = arena_str(r->arena, (struct str){ (const char *)p, len });
		}
		break;
	}
	return ok && (r->at == end || bad(r, "a record's data has the wrong length"));
}

static bool get_record(struct reader *r, struct dns_record *rec) {
	uint16_t len;
	*rec = (struct dns_record){ 0 };
	if (!get_name(r, &rec->name) || !get16(r, &rec->type) || !get16(r, &rec->klass) || !get32(r, &rec->ttl) || !get16(r, &len)) {
		return false;
	}
	if (r->all.len - r->at < len) {
		return bad(r, "a record is cut");
	}
	return get_data(r, len, rec);
}

static bool get_section(struct reader *r, size_t n, struct dns_message *m, struct dns_record **ret, size_t *ret_len) {
	VEC(struct dns_record) at = { 0 };
	bool ok = true;
	for (size_t i = 0; ok && i < n; i++) {
		struct dns_record rec;
		ok = get_record(r, &rec);
		if (ok && rec.type == DNS_OPT) {
			if (m->edns || !str_eq(rec.name, S("."))) {
				ok = bad(r, "malformed EDNS");
			}
			m->edns = true;
			m->udp_bytes_max = MAX(rec.klass, (uint16_t)512);
			m->edns_version = (int)(rec.ttl >> 16 & 0xff);
			m->dnssec_ok = rec.ttl & 0x8000;
			m->rcode |= (int)(rec.ttl >> 24) << 4;
		} else if (ok) {
			VEC_PUSH(&at, rec);
		}
	}
	*ret_len = at.len;
	*ret = arena_array(r->arena, struct dns_record, at.len);
	if (at.len) {
		memcpy(*ret, at.at, at.len * sizeof(*at.at));
	}
	VEC_RELEASE(&at);
	return ok;
}

bool dns_parse_id(struct str bytes, uint16_t *ret_id, bool *ret_response) {
	if (bytes.len < 12) {
		return false;
	}
	*ret_id = (uint16_t)((uint8_t)bytes.ptr[0] << 8 | (uint8_t)bytes.ptr[1]);
	*ret_response = (uint8_t)bytes.ptr[2] & 0x80;
	return true;
}

static bool parse(struct reader *r, struct dns_message *m) {
	uint16_t flags, counts[4];
	if (!get16(r, &m->id) || !get16(r, &flags)) {
		return false;
	}
	for (int i = 0; i < 4; i++) {
		if (!get16(r, &counts[i])) {
			return false;
		}
	}
	m->response = flags & 0x8000;
	m->opcode = flags >> 11 & 15;
	m->authoritative = flags & 0x0400;
	m->truncated = flags & 0x0200;
	m->recursion_desired = flags & 0x0100;
	m->recursion_available = flags & 0x0080;
	m->authentic_data = flags & 0x0020;
	m->checking_disabled = flags & 0x0010;
	m->rcode = flags & 15;
	m->udp_bytes_max = 512;
	m->questions = counts[0];
	if ((size_t)counts[0] + counts[1] + counts[2] + counts[3] > RECORDS_MAX) {
		return bad(r, "too many records");
	}
	for (size_t i = 0; i < counts[0]; i++) {
		struct dns_question q;
		if (!get_name(r, &q.name) || !get16(r, &q.type) || !get16(r, &q.klass)) {
			return false;
		}
		if (i == 0) {
			m->question = q;
		}
	}
	return get_section(r, counts[1], m, &m->answers, &m->answers_len) && get_section(r, counts[2], m, &m->authority, &m->authority_len) &&
	       get_section(r, counts[3], m, &m->additional, &m->additional_len);
}

bool dns_parse(struct arena *a, struct str bytes, struct dns_message *ret, struct err *err) {
	struct reader r = { .arena = a, .all = bytes };
	struct dns_message m = { 0 };
	if (!parse(&r, &m)) {
		return err_set(err, ERR_BAD_REQUEST, "malformed DNS message: %s", r.why);
	}
	*ret = m;
	return true;
}

/* ---- writing ---- */

struct writer {
	struct buf *out;
	size_t start; /* of the message in out */
	struct map seen; /* names written, to their offset + 1 */
	const char *why;
};

static void put16(struct writer *w, uint16_t v) {
	char b[2] = { (char)(v >> 8), (char)v };
	buf_add(w->out, b, 2);
}

static void put32(struct writer *w, uint32_t v) {
	put16(w, (uint16_t)(v >> 16));
	put16(w, (uint16_t)v);
}

/* One label's text up to its dot; false when it has no wire form. *rest moves behind the dot. */
static bool label_take(struct str *rest, uint8_t label[LABEL_MAX], size_t *ret_len) {
	size_t i = 0, n = 0;
	for (; i < rest->len && rest->ptr[i] != '.'; i++) {
		uint8_t c = (uint8_t)rest->ptr[i];
		if (c == '\\') {
			int v = 0;
			if (rest->len - i > 3 && isdigit((unsigned char)rest->ptr[i + 1]) && str_to_int(str_sub(*rest, i + 1, i + 4), 0, 255, &v)) {
				c = (uint8_t)v;
				i += 3;
			} else if (i + 1 < rest->len && !isdigit((unsigned char)rest->ptr[i + 1])) {
				c = (uint8_t)rest->ptr[++i];
			} else {
				return false;
			}
		}
		if (n == LABEL_MAX) {
			return false;
		}
		label[n++] = c;
	}
	*ret_len = n;
	*rest = str_from(*rest, i + 1);
	return n > 0;
}

static bool put_name(struct writer *w, struct str name, bool compress) {
	uint8_t wire[NAME_MAX_BYTES] = { 0 };
	size_t len = 0, starts[128], n = 0;
	struct str rest = str_eq(name, S(".")) ? (struct str){ 0 } : name;
	while (rest.len) {
		uint8_t label[LABEL_MAX];
		size_t label_len;
		if (!label_take(&rest, label, &label_len) || len + label_len + 2 > NAME_MAX_BYTES) {
			w->why = "a name has no wire form";
			return false;
		}
		starts[n++] = len;
		wire[len++] = (uint8_t)label_len;
		for (size_t i = 0; i < label_len; i++) {
			wire[len++] = label[i];
		}
	}
	/* The longest ending that was written before; names compare without case, so keys are lower. */
	char lower[NAME_MAX_BYTES];
	for (size_t i = 0; i < len; i++) {
		lower[i] = (char)tolower(wire[i]);
	}
	size_t at = w->out->len - w->start, cut = n;
	uintptr_t found = 0;
	for (size_t i = 0; compress && i < n && !found; i++) {
		found = (uintptr_t)map_get(&w->seen, (struct str){ lower + starts[i], len - starts[i] });
		cut = found ? i : cut;
	}
	for (size_t i = 0; i < cut; i++) {
		struct str key = { lower + starts[i], len - starts[i] };
		if (at + starts[i] < 0x3fff && !map_get(&w->seen, key)) {
			map_set(&w->seen, key, (void *)(at + starts[i] + 1));
		}
	}
	buf_add(w->out, wire, cut < n ? starts[cut] : len);
	if (found) {
		put16(w, (uint16_t)(0xc000 | (found - 1)));
	} else {
		buf_char(w->out, 0);
	}
	return true;
}

static bool put_data(struct writer *w, const struct dns_record *rec) {
	switch ((enum dns_type)rec->type) {
	case DNS_A:
		return buf_add(w->out, rec->address, 4);
	case DNS_AAAA:
		return buf_add(w->out, rec->address, 16);
	case DNS_NS:
	case DNS_CNAME:
	case DNS_PTR:
		return put_name(w, rec->target, true);
	case DNS_MX:
		put16(w, rec->priority);
		return put_name(w, rec->target, true);
	case DNS_SRV: /* RFC 2782: the target is not compressed */
		put16(w, rec->priority);
		put16(w, rec->weight);
		put16(w, rec->port);
		return put_name(w, rec->target, false);
	case DNS_SOA:
		if (!put_name(w, rec->target, true) || !put_name(w, rec->mailbox, true)) {
			return false;
		}
		put32(w, rec->serial);
		put32(w, rec->refresh);
		put32(w, rec->retry);
		put32(w, rec->expire);
		put32(w, rec->minimum);
		return true;
	case DNS_TXT:
		for (size_t i = 0; i < rec->texts_len; i++) {
			if (rec->texts[i].len > 255) {
				w->why = "a text is longer than 255 bytes";
				return false;
			}
			buf_char(w->out, (char)rec->texts[i].len);
			buf_str(w->out, rec->texts[i]);
		}
		return true;
	case DNS_OPT:
	case DNS_HTTPS:
	case DNS_AXFR:
	case DNS_ANY:
	default:
		return buf_str(w->out, rec->raw);
	}
}

static bool put_record(struct writer *w, const struct dns_record *rec) {
	if (!put_name(w, rec->name, true)) {
		return false;
	}
	put16(w, rec->type);
	put16(w, rec->klass ? rec->klass : DNS_IN);
	put32(w, rec->ttl);
	size_t at = w->out->len;
	put16(w, 0);
	if (!put_data(w, rec)) {
		return false;
	}
	size_t len = w->out->len - at - 2;
	if (len > UINT16_MAX || w->out->overflow) {
		w->why = "a record is too long";
		return false;
	}
	w->out->ptr[at] = (char)(len >> 8);
	w->out->ptr[at + 1] = (char)len;
	return true;
}

/* Forgets names that a record, taken back, has left behind. */
static void seen_cut(struct writer *w, size_t at) {
	MAP_EACH(&w->seen, e) {
		if ((uintptr_t)e->value > at) {
			map_remove(&w->seen, e->key);
		}
	}
}

/* As many records as fit; *ret_n. False for what has no wire form. */
static bool put_section(struct writer *w, const struct dns_record *at, size_t n, size_t max, size_t *ret_n) {
	for (*ret_n = 0; *ret_n < n; ++*ret_n) {
		size_t before = w->out->len;
		if (!put_record(w, &at[*ret_n])) {
			return false;
		}
		if (w->out->len - w->start > max) {
			w->out->len = before;
			seen_cut(w, before - w->start);
			return true;
		}
	}
	return true;
}

static void patch16(struct writer *w, size_t at, uint16_t v) {
	w->out->ptr[w->start + at] = (char)(v >> 8);
	w->out->ptr[w->start + at + 1] = (char)v;
}

static bool build(struct writer *w, const struct dns_message *m, size_t max) {
	size_t answers = 0, authority = 0, additional = 0, room = max - (m->edns ? 11 : 0);
	bool truncated = m->truncated;
	put16(w, m->id);
	for (int i = 0; i < 5; i++) {
		put16(w, 0);
	}
	if (m->question.name.ptr) {
		if (!put_name(w, m->question.name, true)) {
			return false;
		}
		put16(w, m->question.type);
		put16(w, m->question.klass ? m->question.klass : DNS_IN);
	}
	if (!put_section(w, m->answers, m->answers_len, room, &answers)) {
		return false;
	}
	truncated = truncated || answers < m->answers_len;
	if (!truncated) {
		if (!put_section(w, m->authority, m->authority_len, room, &authority)) {
			return false;
		}
		truncated = authority < m->authority_len;
	}
	if (!truncated && !put_section(w, m->additional, m->additional_len, room, &additional)) {
		return false;
	}
	if (m->edns) {
		buf_char(w->out, 0);
		put16(w, DNS_OPT);
		put16(w, m->udp_bytes_max);
		put32(w, (uint32_t)(m->rcode >> 4) << 24 | (uint32_t)m->edns_version << 16 | (m->dnssec_ok ? 0x8000 : 0));
		put16(w, 0);
		additional++;
	}
	patch16(w, 2,
		(uint16_t)((m->response ? 0x8000 : 0) | (m->opcode & 15) << 11 | (m->authoritative ? 0x0400 : 0) | (truncated ? 0x0200 : 0) |
			   (m->recursion_desired ? 0x0100 : 0) | (m->recursion_available ? 0x0080 : 0) | (m->authentic_data ? 0x0020 : 0) |
			   (m->checking_disabled ? 0x0010 : 0) | (m->rcode & 15)));
	patch16(w, 4, m->question.name.ptr ? 1 : 0);
	patch16(w, 6, (uint16_t)answers);
	patch16(w, 8, (uint16_t)authority);
	patch16(w, 10, (uint16_t)additional);
	return true;
}

bool dns_build(const struct dns_message *m, size_t bytes_max, struct buf *out, struct err *err) {
	struct writer w = { .out = out, .start = out->len };
	bool ok = build(&w, m, bytes_max ? MAX(bytes_max, (size_t)512) : 65535);
	map_release(&w.seen);
	if (!ok || out->overflow) {
		out->len = w.start;
		return err_set(err, ERR_INVALID, "build a DNS message: %s", w.why ? w.why : "it is too long");
	}
	return true;
}

/* ---- names ---- */

static struct str undotted(struct str name) {
	return str_ends(name, S(".")) && !str_ends(name, S("\\.")) ? str_sub(name, 0, name.len - 1) : name;
}

bool dns_name_eq(struct str a, struct str b) {
	return str_case_eq(undotted(a), undotted(b));
}

bool dns_name_within(struct str name, struct str zone) {
	name = undotted(name);
	zone = undotted(zone);
	if (!zone.len || str_case_eq(name, zone)) {
		return true;
	}
	return name.len > zone.len + 1 && name.ptr[name.len - zone.len - 1] == '.' && str_case_eq(str_from(name, name.len - zone.len), zone);
}

static bool reverse_v4(struct str rest, char out[46]) {
	struct str piece;
	int part[4];
	for (int i = 0; i < 4; i++) {
		if (!str_next(&rest, '.', &piece) || piece.len > 3 || !str_to_int(piece, 0, 255, &part[i])) {
			return false;
		}
	}
	snprintf(out, 46, "%d.%d.%d.%d", part[3], part[2], part[1], part[0]);
	return !rest.ptr;
}

static bool reverse_v6(struct str rest, char out[46]) {
	struct in6_addr v6 = { 0 };
	struct str piece;
	for (int i = 31; i >= 0; i--) {
		if (!str_next(&rest, '.', &piece) || piece.len != 1 || !isxdigit((unsigned char)piece.ptr[0])) {
			return false;
		}
		int c = piece.ptr[0] | 0x20, v = c >= 'a' ? c - 'a' + 10 : piece.ptr[0] - '0';
		v6.s6_addr[i / 2] |= (uint8_t)(i % 2 ? v : v << 4);
	}
	return !rest.ptr && inet_ntop(AF_INET6, &v6, out, 46);
}

bool dns_reverse_parse(struct str name, char out[46]) {
	name = undotted(name);
	struct str v4 = S(".in-addr.arpa"), v6 = S(".ip6.arpa");
	if (name.len > v4.len && str_case_eq(str_from(name, name.len - v4.len), v4)) {
		return reverse_v4(str_sub(name, 0, name.len - v4.len), out);
	}
	if (name.len > v6.len && str_case_eq(str_from(name, name.len - v6.len), v6)) {
		return reverse_v6(str_sub(name, 0, name.len - v6.len), out);
	}
	return false;
}

bool dns_reverse_name(struct arena *a, struct str address, struct str *ret) {
	struct in_addr v4;
	struct in6_addr v6;
	char *text = arena_cstr(a, address);
	if (inet_pton(AF_INET, text, &v4) == 1) {
		const uint8_t *p = (const uint8_t *)&v4;
		*ret = arena_printf(a, "%u.%u.%u.%u.in-addr.arpa.", p[3], p[2], p[1], p[0]);
		return true;
	}
	if (inet_pton(AF_INET6, text, &v6) == 1) {
		char out[80], *at = out;
		for (int i = 15; i >= 0; i--) {
			at += snprintf(at, 5, "%x.%x.", v6.s6_addr[i] & 15, v6.s6_addr[i] >> 4);
		}
		*ret = arena_printf(a, "%sip6.arpa.", out);
		return true;
	}
	return false;
}
