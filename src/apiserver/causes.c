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

struct str path_field(struct arena *a, struct str path, struct str name) {
	return path.len ? arena_printf(a, "%.*s.%.*s", STR_ARG(path), STR_ARG(name)) : arena_str(a, name);
}

struct str path_index(struct arena *a, struct str path, size_t i) {
	return arena_printf(a, "%.*s[%zu]", STR_ARG(path), i);
}

struct str path_key(struct arena *a, struct str path, struct str key) {
	return arena_printf(a, "%.*s[%.*s]", STR_ARG(path), STR_ARG(key));
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
