/* SPDX-License-Identifier: Apache-2.0 */
/* causes.c - collects broken rules in upstream's words (apimachinery's field errors). The request's thread. */
#include <stdarg.h>

#include "apiserver/kinds.h"

#define CAUSES_MAX 100

static const struct {
	const char *text;
	bool with_value;
} cause_words[] = {
	[CAUSE_REQUIRED] = { "Required value", false },
	[CAUSE_INVALID] = { "Invalid value", true },
	[CAUSE_NOT_SUPPORTED] = { "Unsupported value", true },
	[CAUSE_DUPLICATE] = { "Duplicate value", true },
	[CAUSE_FORBIDDEN] = { "Forbidden", false },
	[CAUSE_NOT_FOUND] = { "Not found", true },
	[CAUSE_TOO_LONG] = { "Too long", false },
	[CAUSE_TOO_MANY] = { "Too many", false },
	[CAUSE_TYPE_INVALID] = { "Invalid value", true },
	[CAUSE_INTERNAL] = { "Internal error", false },
};

static void push(struct causes *c, enum cause_type type, struct str field, struct str message) {
	if (c->len == CAUSES_MAX) {
		return;
	}
	if (c->len == c->cap) {
		size_t cap = c->cap ? c->cap * 2 : 8;
		struct cause *at = arena_array(c->arena, struct cause, cap);
		if (c->len) {
			memcpy(at, c->at, c->len * sizeof(*at));
		}
		c->at = at;
		c->cap = cap;
	}
	c->at[c->len++] = (struct cause){ .type = type, .field = field, .message = message };
}

static struct str shown(struct arena *a, const struct value *v) {
	if (!v) {
		return S("null");
	}
	return json_text(a, v); /* strings come out quoted, numbers bare, structures as JSON */
}

void cause_add(struct causes *c, enum cause_type type, struct str field, const struct value *bad, const char *fmt, ...) {
	char detail[1024] = "";
	va_list ap;
	if (fmt) {
		va_start(ap, fmt);
		vsnprintf(detail, sizeof(detail), fmt, ap);
		va_end(ap);
	}
	auto_buf struct buf b = { 0 };
	buf_c(&b, cause_words[type].text);
	if (cause_words[type].with_value) {
		buf_c(&b, ": ");
		buf_str(&b, shown(c->arena, bad));
	}
	if (detail[0]) {
		buf_c(&b, ": ");
		buf_c(&b, detail);
	}
	push(c, type, field, arena_str(c->arena, buf_view(&b)));
}

void cause_not_supported(struct causes *c, struct str field, const struct value *bad, const struct str *supported, size_t n) {
	auto_buf struct buf b = { 0 };
	buf_c(&b, "Unsupported value: ");
	buf_str(&b, shown(c->arena, bad));
	for (size_t i = 0; i < n; i++) {
		buf_printf(&b, "%s\"%.*s\"", i ? ", " : ": supported values: ", STR_ARG(supported[i]));
	}
	push(c, CAUSE_NOT_SUPPORTED, field, arena_str(c->arena, buf_view(&b)));
}

/* Validation makes hundreds of paths for each error that it finds: they are joined by hand. */
static struct str path_join(struct arena *a, struct str path, struct str middle, struct str part, struct str end) {
	const struct str parts[] = { path, middle, part, end };
	size_t len = 0;
	char *out = arena_alloc(a, path.len + middle.len + part.len + end.len + 1);

	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		if (parts[i].len) {
			memcpy(out + len, parts[i].ptr, parts[i].len);
			len += parts[i].len;
		}
	}
	out[len] = 0;
	return (struct str){ out, len };
}

struct str path_field(struct arena *a, struct str path, struct str name) {
	return path_join(a, path, path.len ? S(".") : S(""), name, S(""));
}

struct str path_index(struct arena *a, struct str path, size_t i) {
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + i % 10);
		i /= 10;
	} while (i);
	return path_join(a, path, S("["), (struct str){ digits + at, sizeof(digits) - at }, S("]"));
}

struct str path_key(struct arena *a, struct str path, struct str key) {
	return path_join(a, path, S("["), key, S("]"));
}

void kind_warn(struct kind_ctx *x, const char *fmt, ...) {
	char text[512];
	va_list ap;
	if (x->warnings_len >= 32) {
		return;
	}
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (x->warnings_len % 8 == 0) {
		struct str *at = arena_array(x->arena, struct str, x->warnings_len + 8);
		if (x->warnings_len) {
			memcpy(at, x->warnings, x->warnings_len * sizeof(*at));
		}
		x->warnings = at;
	}
	x->warnings[x->warnings_len++] = arena_str(x->arena, str_c(text));
}
