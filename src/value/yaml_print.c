/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml_print.c - values as kubectl -o yaml prints them: block style, keys in go-yaml's natural order, a
 * string quoted only when it would mean something else, text of several lines as a block.
 *
 * libyaml's emitter does the layout; it is the same design as go-yaml's. Recurses as deep as the value is.
 */
#include "value/value.h"

#include <math.h>
#include <wctype.h>
#include <yaml.h>

#include "value/number.h"
#include "value/utf8.h"
#include "value/yaml_scalar.h"

struct printer {
	yaml_emitter_t emitter;
	struct buf *out;
	struct arena scratch;
};

static int write_out(void *data, unsigned char *bytes, size_t len) {
	return buf_add(data, bytes, len);
}

static bool emit(struct printer *p, yaml_event_t *e) { /* takes the event */
	return yaml_emitter_emit(&p->emitter, e);
}

static bool put_scalar(struct printer *p, struct str s, yaml_scalar_style_t style) {
	yaml_event_t e;
	static const unsigned char nothing[1];
	const unsigned char *text = s.len ? (const unsigned char *)s.ptr : nothing;
	return s.len <= INT32_MAX && yaml_scalar_event_initialize(&e, NULL, NULL, text, (int)s.len, 1, 1, style) && emit(p, &e);
}

static bool put_str(struct printer *p, struct str s) {
	s = utf8_clean(&p->scratch, s); /* as on the way through JSON */
	bool plain = yaml_resolve(s).kind == YAML_KIND_STR && !yaml_base60(s);
	bool lines = str_index(s, '\n') >= 0;
	return put_scalar(p, s, lines ? YAML_LITERAL_SCALAR_STYLE : plain ? YAML_PLAIN_SCALAR_STYLE : YAML_DOUBLE_QUOTED_SCALAR_STYLE);
}

static bool put_plain(struct printer *p, struct str s) {
	return put_scalar(p, s, YAML_PLAIN_SCALAR_STYLE);
}

/* Whole floats print as integers as long as an unsigned 64-bit integer holds them. */
static bool put_double(struct printer *p, double d) {
	char text[NUMBER_TEXT_MAX];
	if (!isfinite(d)) {
		return put_plain(p, isnan(d) ? S(".nan") : d > 0 ? S(".inf") : S("-.inf"));
	}
	bool whole = d == trunc(d) && d >= -0x1p63 && d < 0x1p64;
	return put_plain(p, (struct str){ text, whole ? number_json(d, text) : number_general(d, text) });
}

/* ---- the order of keys ------------------------------------------------------------------------- */

struct member {
	struct str key;
	const struct value *value;
};

static uint32_t rune_at(struct str s, size_t *at) {
	unsigned char c = (unsigned char)s.ptr[*at];
	size_t n = c < 0x80 ? 1 : utf8_sequence(s.ptr + *at, s.ptr + s.len);
	if (n <= 1) {
		++*at;
		return n ? c : UTF8_REPLACEMENT;
	}
	uint32_t rune = c & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		rune = rune << 6 | ((unsigned char)s.ptr[*at + i] & 0x3f);
	}
	*at += n;
	return rune;
}

static bool letter(uint32_t rune) {
	return (rune | 0x20) >= 'a' && (rune | 0x20) <= 'z' ? true : rune >= 0x80 && iswalpha((wint_t)rune);
}

static bool digit(uint32_t rune) {
	return rune >= '0' && rune <= '9';
}

/* The number at `at`, continuing from *n; how many digits it has. Wraps around as Go's does. */
static size_t number_at(struct str s, size_t at, uint64_t *n) {
	size_t digits = 0;
	for (; at + digits < s.len && digit((unsigned char)s.ptr[at + digits]); digits++) {
		*n = *n * 10 + (uint64_t)(s.ptr[at + digits] - '0');
	}
	return digits;
}

/* Natural order: letters after everything else, runs of digits by their number (a9 before a10). */
static int key_cmp(const void *pa, const void *pb) {
	struct str a = ((const struct member *)pa)->key, b = ((const struct member *)pb)->key;
	size_t i = 0;
	while (i < a.len && i < b.len) {
		size_t ai = i, bi = i;
		uint32_t ar = rune_at(a, &ai), br = rune_at(b, &bi);
		if (ar == br) {
			i = ai;
			continue;
		}
		if (letter(ar) && letter(br)) {
			return ar < br ? -1 : 1;
		}
		if (letter(ar) || letter(br)) {
			return letter(br) ? -1 : 1;
		}
		uint64_t an = 0, bn = 0;
		if (ar == '0' || br == '0') { /* zeros within a number count */
			for (size_t j = i; j > 0 && digit((unsigned char)a.ptr[j - 1]) && !an; j--) {
				an = bn = a.ptr[j - 1] != '0';
			}
		}
		size_t ad = number_at(a, i, &an), bd = number_at(b, i, &bn);
		if (an != bn) {
			return (int64_t)an < (int64_t)bn ? -1 : 1;
		}
		if (ad != bd) {
			return ad < bd ? -1 : 1;
		}
		return ar < br ? -1 : 1;
	}
	return (a.len > b.len) - (a.len < b.len);
}

/* ---- the tree ---------------------------------------------------------------------------------- */

static bool put_value(struct printer *p, const struct value *v);

static bool put_object(struct printer *p, const struct value *v) {
	yaml_event_t e;
	auto_free struct member *m = xcalloc(v->len, sizeof(*m));
	if (!yaml_mapping_start_event_initialize(&e, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE) || !emit(p, &e)) {
		return false;
	}
	for (size_t i = 0; i < v->len; i++) {
		m[i] = (struct member){ value_key(v, i), &v->u.items[i] };
	}
	qsort(m, v->len, sizeof(*m), key_cmp);
	for (size_t i = 0; i < v->len; i++) {
		if (!put_str(p, m[i].key) || !put_value(p, m[i].value)) {
			return false;
		}
	}
	return yaml_mapping_end_event_initialize(&e) && emit(p, &e);
}

static bool put_array(struct printer *p, const struct value *v) {
	yaml_event_t e;
	if (!yaml_sequence_start_event_initialize(&e, NULL, NULL, 1, YAML_BLOCK_SEQUENCE_STYLE) || !emit(p, &e)) {
		return false;
	}
	VALUE_EACH(v, it) {
		if (!put_value(p, it)) {
			return false;
		}
	}
	return yaml_sequence_end_event_initialize(&e) && emit(p, &e);
}

static bool put_value(struct printer *p, const struct value *v) {
	char number[24];
	switch ((enum value_type)v->type) {
	case VALUE_NULL:
		break;
	case VALUE_BOOL:
		return put_plain(p, v->u.boolean ? S("true") : S("false"));
	case VALUE_INT:
		return put_plain(p, (struct str){ number, (size_t)snprintf(number, sizeof(number), "%lld", (long long)v->u.integer) });
	case VALUE_FLOAT:
		return put_double(p, v->u.number);
	case VALUE_STRING:
		return put_str(p, value_as_str(v));
	case VALUE_ARRAY:
		return put_array(p, v);
	case VALUE_OBJECT:
		return put_object(p, v);
	}
	return put_plain(p, S("null"));
}

static bool put_stream(struct printer *p, const struct value *v) {
	static const struct value null = { .type = VALUE_NULL };
	yaml_event_t e;
	return yaml_stream_start_event_initialize(&e, YAML_UTF8_ENCODING) && emit(p, &e) &&
		yaml_document_start_event_initialize(&e, NULL, NULL, NULL, 1) && emit(p, &e) &&
		put_value(p, v ? v : &null) &&
		yaml_document_end_event_initialize(&e, 1) && emit(p, &e) &&
		yaml_stream_end_event_initialize(&e) && emit(p, &e);
}

bool yaml_print(struct buf *b, const struct value *v) {
	struct printer p = { .out = b };
	size_t start = b->len;
	if (!yaml_emitter_initialize(&p.emitter)) {
		return false;
	}
	yaml_emitter_set_output(&p.emitter, write_out, b);
	yaml_emitter_set_unicode(&p.emitter, 1);
	bool ok = put_stream(&p, v);
	yaml_emitter_delete(&p.emitter);
	arena_release(&p.scratch);
	/* libyaml ends a document that ends in an open block with "...", which kubectl does not print. */
	if (ok && str_ends(str_from(buf_view(b), start), S("\n...\n"))) {
		b->len -= 4;
	}
	return ok;
}
