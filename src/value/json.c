/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.c - JSON text to values: the program's busiest parser. No recursion: the open containers stand on
 * a stack of frames, their members side by side on a scratch stack, and a container that closes is copied
 * to the arena as exactly as long as it is.
 *
 * Grammar, limits and error texts are those of Go's encoding/json, since users see them. Text is UTF-8;
 * a byte that is not, or half a surrogate pair, becomes U+FFFD, as there.
 */
#include "value/value.h"

#include "value/number.h"
#include "value/shape.h"
#include "value/utf8.h"

#define DEPTH_MAX_DEFAULT 10000
#define SET_FROM 24 /* members from which a duplicate is looked for with a hash table */

struct frame {
	uint32_t start; /* first member on the scratch stack; the container itself stands just below it */
	bool object;
	bool text_keys;
	bool dead;      /* some members are */
	uint64_t maybe; /* one bit a key: a clear bit says that there is no such key yet */
	uint32_t *set;  /* open addressing: place + 1 of a member counted from start; NULL in small objects */
	uint32_t set_cap;
};

struct parser {
	struct arena *a;
	const struct json_opts *opts;
	struct err *err;
	const char *p, *end;
	struct value *values; /* the scratch stack, and beside it */
	struct str *keys;     /* the text keys */
	uint32_t len, cap;
	struct frame *frames;
	uint32_t depth, frames_cap;
	size_t depth_max;
};

/* ---- errors ----------------------------------------------------------------------------------- */

/* A byte as Go quotes it: the character with that code, escaped unless it can be printed. */
static void quote_char(unsigned char c, char out[12]) {
	static const char letters[] = "abtnvfr"; /* 7 to 13 */
	if (c == '\'' || c == '\\') {
		snprintf(out, 12, "'\\%c'", c);
	} else if (c >= 7 && c <= 13) {
		snprintf(out, 12, "'\\%c'", letters[c - 7]);
	} else if (c < 0x20 || c == 0x7f) {
		snprintf(out, 12, "'\\x%02x'", c);
	} else if (c < 0x7f) {
		snprintf(out, 12, "'%c'", c);
	} else if (c <= 0xa0 || c == 0xad) {
		snprintf(out, 12, "'\\u%04x'", c);
	} else {
		snprintf(out, 12, "'%c%c'", 0xc0 | c >> 6, 0x80 | (c & 0x3f));
	}
}

static bool bad(struct parser *s, const char *at, const char *context) {
	char quoted[12];
	if (at >= s->end) {
		return err_set(s->err, ERR_BAD_REQUEST, "unexpected end of JSON input");
	}
	quote_char((unsigned char)*at, quoted);
	return err_set(s->err, ERR_BAD_REQUEST, "invalid character %s %s", quoted, context);
}

static bool bad_literal(struct parser *s, const char *word) {
	char context[48];
	size_t i = 0;
	while (s->p + i < s->end && s->p[i] == word[i]) {
		i++;
	}
	snprintf(context, sizeof(context), "in literal %s (expecting '%c')", word, word[i]);
	return bad(s, s->p + i, context);
}

/* ---- strings ---------------------------------------------------------------------------------- */

/* The first byte that is a quote, a backslash, a control character or not ASCII; eight at a time. */
static inline const char *skip_plain(const char *p, const char *end) {
	const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
	while (end - p >= 8) {
		uint64_t w, quote, back, stop;
		memcpy(&w, p, 8);
		quote = w ^ ones * '"';
		back = w ^ ones * '\\';
		stop = (w | ((w - ones * 0x20) & ~w) | ((quote - ones) & ~quote) | ((back - ones) & ~back)) & highs;
		if (stop) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
			return p + (__builtin_ctzll(stop) >> 3); /* a borrow only spoils bytes above the first true one */
#else
			break;
#endif
		}
		p += 8;
	}
	while (p < end && (unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80 && *p != '"' && *p != '\\') {
		p++;
	}
	return p;
}

static int hex_digit(char c) {
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The four digits behind \u, at `p`; -1 and *p at the bad one. */
static int32_t hex4(const char **p, const char *end) {
	int32_t v = 0;
	for (int i = 0; i < 4; i++, (*p)++) {
		int d = *p < end ? hex_digit(**p) : -1;
		if (d < 0) {
			return -1;
		}
		v = v << 4 | d;
	}
	return v;
}

/* An escape whose backslash is at *p. Writes up to 4 bytes; 0 when it is bad (the error is set). */
static size_t escape(struct parser *s, const char **p, char out[4]) {
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *at = *p + 1, *known;
	if (at >= s->end) {
		bad(s, at, "");
		return 0;
	}
	if (*at && (known = strchr(from, *at))) {
		out[0] = to[known - from];
		*p = at + 1;
		return 1;
	}
	if (*at != 'u') {
		bad(s, at, "in string escape code");
		return 0;
	}
	at++;
	int32_t rune = hex4(&at, s->end);
	if (rune < 0) {
		bad(s, at, "in \\u hexadecimal character escape");
		return 0;
	}
	*p = at;
	if (rune >= 0xd800 && rune < 0xe000) {
		const char *low_at = at + 2;
		int32_t low = rune < 0xdc00 && s->end - at >= 6 && at[0] == '\\' && at[1] == 'u' ? hex4(&low_at, s->end) : -1;
		bool pair = low >= 0xdc00 && low < 0xe000;
		*p = pair ? low_at : at;
		rune = pair ? 0x10000 + ((rune - 0xd800) << 10) + (low - 0xdc00) : UTF8_REPLACEMENT;
	}
	return utf8_put(out, (uint32_t)rune);
}

/*
 * The string that starts at `p`, behind its opening quote, unescaped into `out` (NULL: only measured).
 * *ret_end is its closing quote. -1 when it is bad (the error is set).
 */
static ptrdiff_t unescape(struct parser *s, const char *p, char *out, const char **ret_end) {
	size_t len = 0;
	char piece[4];
	for (;;) {
		const char *from = p;
		size_t n;
		p = skip_plain(p, s->end);
		if (out && p > from) {
			memcpy(out + len, from, (size_t)(p - from));
		}
		len += (size_t)(p - from);
		if (p < s->end && *p == '"') {
			*ret_end = p;
			return (ptrdiff_t)len;
		}
		if (p >= s->end || (unsigned char)*p < 0x20) {
			bad(s, p, "in string literal");
			return -1;
		}
		if (*p == '\\') {
			n = escape(s, &p, piece);
			if (!n) {
				return -1;
			}
		} else {
			size_t valid = utf8_sequence(p, s->end);
			n = valid ? valid : utf8_put(piece, UTF8_REPLACEMENT);
			memcpy(piece, valid ? p : piece, valid);
			p += valid ? valid : 1;
		}
		if (out) {
			memcpy(out + len, piece, n);
		}
		len += n;
	}
}

/* s->p is at the opening quote; left behind the closing one. */
static bool string(struct parser *s, struct str *ret) {
	const char *start = s->p + 1, *p = start;
	for (;;) {
		p = skip_plain(p, s->end);
		if (p < s->end && *p == '"') {
			*ret = (struct str){ start, (size_t)(p - start) };
			s->p = p + 1;
			return true;
		}
		size_t n = p < s->end && (unsigned char)*p >= 0x80 ? utf8_sequence(p, s->end) : 0;
		if (!n) {
			break;
		}
		p += n;
	}
	ptrdiff_t len = unescape(s, start, NULL, &p);
	if (len < 0) {
		return false;
	}
	char *own = arena_alloc(s->a, (size_t)len);
	*ret = (struct str){ own, (size_t)unescape(s, start, own, &p) };
	s->p = p + 1;
	return true;
}

/* ---- numbers ---------------------------------------------------------------------------------- */

static inline bool digit_at(const struct parser *s, const char *p) {
	return p < s->end && *p >= '0' && *p <= '9';
}

static bool number(struct parser *s, struct value *ret) {
	const char *start = s->p, *p = start;
	bool negative = *p == '-', whole = true;
	uint64_t n = 0;
	p += negative;
	if (!digit_at(s, p)) {
		return bad(s, p, "in numeric literal");
	}
	const char *digits = p;
	if (*p == '0') {
		p++;
	} else {
		while (digit_at(s, p)) {
			n = n * 10 + (uint64_t)(*p++ - '0'); /* may wrap around: looked at only when the digits fit */
		}
	}
	size_t count = (size_t)(p - digits);
	if (p < s->end && *p == '.') {
		whole = false;
		p++;
		if (!digit_at(s, p)) {
			return bad(s, p, "after decimal point in numeric literal");
		}
		while (digit_at(s, p)) {
			p++;
		}
	}
	if (p < s->end && (*p == 'e' || *p == 'E')) {
		whole = false;
		p++;
		p += p < s->end && (*p == '+' || *p == '-');
		if (!digit_at(s, p)) {
			return bad(s, p, "in exponent of numeric literal");
		}
		while (digit_at(s, p)) {
			p++;
		}
	}
	s->p = p;
	if (whole && count <= 19 && n <= (uint64_t)INT64_MAX + negative) { /* 19 digits do not wrap around */
		ret->type = VALUE_INT;
		ret->u.integer = negative ? (int64_t)(0 - n) : (int64_t)n;
		return true;
	}
	ret->type = VALUE_FLOAT;
	struct str text = { start, (size_t)(p - start) };
	if (!number_parse(text, &ret->u.number)) {
		return err_set(s->err, ERR_BAD_REQUEST, "json: cannot unmarshal number %.*s into Go value of type float64",
			STR_ARG(str_sub(text, 0, 400)));
	}
	return true;
}

/* ---- duplicates ------------------------------------------------------------------------------- */

static uint64_t key_hash(const struct parser *s, uint32_t at) {
	uint16_t name = s->values[at].name;
	return name ? name * 0x9e3779b97f4a7c15u : str_hash(s->keys[at]);
}

static bool keys_same(const struct parser *s, uint32_t a, uint32_t b) {
	uint16_t name = s->values[a].name;
	return name == s->values[b].name && (name || str_eq(s->keys[a], s->keys[b]));
}

static void set_add(struct parser *s, struct frame *f, uint32_t at) {
	uint32_t i = (uint32_t)(key_hash(s, at) >> 32) & (f->set_cap - 1);
	while (f->set[i]) {
		i = (i + 1) & (f->set_cap - 1);
	}
	f->set[i] = at - f->start + 1;
}

static void set_grow(struct parser *s, struct frame *f, uint32_t last) {
	free(f->set);
	f->set_cap = f->set_cap ? f->set_cap * 2 : 4 * SET_FROM;
	while (f->set_cap & (f->set_cap - 1)) {
		f->set_cap += f->set_cap & -f->set_cap;
	}
	f->set = xcalloc(f->set_cap, sizeof(*f->set));
	for (uint32_t at = f->start; at < last; at++) {
		if (s->values[at].type != SHAPE_DEAD) {
			set_add(s, f, at);
		}
	}
}

/* The member with the same key as the one at `at`, which is the last; UINT32_MAX when there is none. */
static uint32_t find_same(struct parser *s, struct frame *f, uint32_t at) {
	uint64_t hash = key_hash(s, at), bit = (uint64_t)1 << (hash >> 58);
	uint32_t found = UINT32_MAX;
	if (at - f->start >= SET_FROM) {
		if ((at - f->start) * 2 >= f->set_cap) {
			set_grow(s, f, at);
		}
		uint32_t i = (uint32_t)(hash >> 32) & (f->set_cap - 1);
		while (f->set[i]) {
			uint32_t other = f->start + f->set[i] - 1;
			if (s->values[other].type != SHAPE_DEAD && keys_same(s, other, at)) {
				found = other;
			}
			i = (i + 1) & (f->set_cap - 1);
		}
		f->set[i] = at - f->start + 1;
		return found;
	}
	if (f->maybe & bit) {
		for (uint32_t other = f->start; other < at; other++) {
			if (s->values[other].type != SHAPE_DEAD && keys_same(s, other, at)) {
				found = other;
				break;
			}
		}
	}
	f->maybe |= bit;
	return found;
}

static void path_of(const struct parser *s, struct buf *path) {
	for (uint32_t i = 0; i < s->depth; i++) {
		uint32_t at = (i + 1 < s->depth ? s->frames[i + 1].start : s->len) - 1;
		if (!s->frames[i].object) {
			buf_printf(path, "[%u]", at - s->frames[i].start);
			continue;
		}
		if (path->len) {
			buf_char(path, '.');
		}
		buf_str(path, s->values[at].name ? name_text(s->values[at].name) : s->keys[at]);
	}
}

static void replace_same(struct parser *s, struct frame *f, uint32_t at) {
	uint32_t old = find_same(s, f, at);
	if (old == UINT32_MAX) {
		return;
	}
	s->values[old].type = SHAPE_DEAD;
	f->dead = true;
	if (!s->opts->allow_duplicates && s->opts->on_duplicate) {
		auto_buf struct buf path = BUF_INIT(4096);
		path_of(s, &path);
		s->opts->on_duplicate(s->opts->arg, buf_view(&path));
	}
}

/* ---- containers ------------------------------------------------------------------------------- */

static void scratch_grow(struct parser *s) {
	s->cap = s->cap ? s->cap * 2 : 128;
	s->values = xrealloc(s->values, s->cap * sizeof(*s->values));
	s->keys = xrealloc(s->keys, s->cap * sizeof(*s->keys));
}

static inline struct value *scratch_push(struct parser *s) {
	if (s->len == s->cap) {
		scratch_grow(s);
	}
	struct value *v = &s->values[s->len++];
	*v = (struct value){ 0 };
	return v;
}

static bool open_container(struct parser *s, bool object) {
	if (s->depth >= s->depth_max) {
		return err_set(s->err, ERR_BAD_REQUEST, "exceeded max depth");
	}
	if (s->depth == s->frames_cap) {
		s->frames_cap = s->frames_cap ? s->frames_cap * 2 : 32;
		s->frames = xrealloc(s->frames, s->frames_cap * sizeof(*s->frames));
	}
	s->frames[s->depth++] = (struct frame){ .start = s->len, .object = object };
	return true;
}

static void drop_dead(struct parser *s, const struct frame *f) {
	uint32_t to = f->start;
	for (uint32_t at = f->start; at < s->len; at++) {
		if (s->values[at].type != SHAPE_DEAD) {
			s->values[to] = s->values[at];
			s->keys[to++] = s->keys[at];
		}
	}
	s->len = to;
}

static void close_container(struct parser *s) {
	struct frame *f = &s->frames[--s->depth];
	if (f->dead) {
		drop_dead(s, f);
	}
	size_t n = s->len - f->start, bytes = n * sizeof(struct value);
	struct value *v = &s->values[f->start - 1];
	v->type = f->object ? VALUE_OBJECT : VALUE_ARRAY;
	v->len = (uint32_t)n;
	if (n) {
		v->u.items = arena_alloc(s->a, bytes * (f->text_keys ? 2 : 1)); /* a key takes as much as a value */
		memcpy(v->u.items, s->values + f->start, bytes);
		if (f->text_keys) {
			v->shape = SHAPE_KEYS;
			memcpy(v->u.items + n, s->keys + f->start, bytes);
		}
	}
	free(f->set);
	s->len = f->start;
}
_Static_assert(sizeof(struct value) == 16 && sizeof(struct str) == sizeof(struct value), "close_container and value_remove_at");

/* ---- the document ----------------------------------------------------------------------------- */

static inline char next_token(struct parser *s) {
	const char *p = s->p;
	while (p < s->end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')) {
		p++;
	}
	s->p = p;
	return p < s->end ? *p : 0; /* a NUL in the text is as bad as the end, and bad() tells them apart */
}

/* A key and its colon, pushed as a member without value. */
static bool member(struct parser *s) {
	struct str key;
	if (!string(s, &key)) {
		return false;
	}
	struct frame *f = &s->frames[s->depth - 1];
	struct value *v = scratch_push(s);
	v->name = name_find(key);
	if (!v->name) {
		f->text_keys = true;
		s->keys[s->len - 1] = key;
	} else {
		s->keys[s->len - 1] = (struct str){ 0 };
	}
	replace_same(s, f, s->len - 1);
	if (next_token(s) != ':') {
		return bad(s, s->p, "after object key");
	}
	s->p++;
	return true;
}

static bool literal(struct parser *s, const char *word, size_t len) {
	if ((size_t)(s->end - s->p) < len || memcmp(s->p, word, len) != 0) {
		return bad_literal(s, word);
	}
	s->p += len;
	return true;
}

/* A value that is no container, into the member on top of the scratch stack. */
static bool scalar(struct parser *s, char c) {
	struct value *v = &s->values[s->len - 1];
	struct str text;
	switch (c) {
	case '"':
		if (!string(s, &text)) {
			return false;
		}
		v->type = VALUE_STRING;
		v->len = (uint32_t)text.len;
		v->u.text = text.ptr;
		return true;
	case 't':
		v->type = VALUE_BOOL;
		v->u.boolean = true;
		return literal(s, "true", 4);
	case 'f':
		v->type = VALUE_BOOL;
		return literal(s, "false", 5);
	case 'n':
		return literal(s, "null", 4);
	default:
		if (c == '-' || (c >= '0' && c <= '9')) {
			return number(s, v);
		}
		return bad(s, s->p, "looking for beginning of value");
	}
}

/* Behind a value: closes what ends here and steps over a comma. *ret_done at the end of the root. */
static bool after_value(struct parser *s, bool *ret_done) {
	while (s->depth) {
		bool object = s->frames[s->depth - 1].object;
		char c = next_token(s);
		if (c == ',') {
			s->p++;
			return true;
		}
		if (c != (object ? '}' : ']')) {
			return bad(s, s->p, object ? "after object key:value pair" : "after array element");
		}
		s->p++;
		close_container(s);
	}
	*ret_done = true;
	return true;
}

static bool document(struct parser *s) {
	bool done = false;
	scratch_push(s);
	while (!done) {
		char c = next_token(s);
		if (c == '{' || c == '[') { /* s->len - 1 is the container's own place */
			s->p++;
			if (!open_container(s, c == '{')) {
				return false;
			}
			char close = c == '{' ? '}' : ']';
			if (next_token(s) == close) {
				s->p++;
				close_container(s);
				if (!after_value(s, &done)) {
					return false;
				}
			}
		} else if (!scalar(s, c) || !after_value(s, &done)) {
			return false;
		}
		if (done) {
			break;
		}
		if (!s->frames[s->depth - 1].object) {
			scratch_push(s);
			continue;
		}
		if (next_token(s) != '"') {
			return bad(s, s->p, "looking for beginning of object key string");
		}
		if (!member(s)) {
			return false;
		}
	}
	next_token(s);
	return s->p == s->end || bad(s, s->p, "after top-level value");
}

bool json_parse(struct arena *a, struct str text, const struct json_opts *opts, struct value **ret, struct err *err) {
	static const struct json_opts defaults;
	opts = opts ? opts : &defaults;
	if (text.len >= UINT32_MAX) {
		return err_set(err, ERR_TOO_LARGE, "JSON of %zu bytes is too large", text.len);
	}
	if (!opts->borrow) { /* strings point into this one copy */
		text = arena_str(a, text);
	} else if (!text.ptr) {
		text = S("");
	}
	struct parser s = { .a = a, .opts = opts, .err = err, .p = text.ptr, .end = text.ptr + text.len,
		.depth_max = opts->depth_max ? opts->depth_max : DEPTH_MAX_DEFAULT };
	bool ok = document(&s);
	if (ok) {
		struct value *root = arena_alloc(a, sizeof(*root));
		*root = s.values[0];
		*ret = root;
	}
	for (uint32_t i = 0; i < s.depth; i++) {
		free(s.frames[i].set);
	}
	free(s.frames);
	free(s.values);
	free(s.keys);
	return ok;
}
