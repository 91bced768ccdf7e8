/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encode.c - answers: objects, Tables and metadata in the media type that was asked for; failures as Status; warnings as
 * headers. The only file that knows how an answer looks over HTTP.
 */
#include "apiserver/server.h"

#define ANSWER_MAX ((size_t)1 << 30)

static struct value *partial_of(struct arena *a, const struct value *v, struct str version) {
	struct value *p = schema_meta_only(a, v);

	if (!str_eq(version, S("v1"))) {
		value_set_str(a, p, N_apiVersion, S("meta.k8s.io/v1beta1"));
	}
	return p;
}

static int64_t now_seconds(void) {
	return clock_wall() / NSEC_PER_SEC;
}

enum table_include table_include_of(struct str text) {
	return str_eq(text, S("Object")) ? TABLE_OBJECT : str_eq(text, S("None")) ? TABLE_NONE : TABLE_METADATA;
}

static bool print(struct buf *b, const struct media *m, const struct schema_resource *res, const struct value *v) {
	switch (m->format) {
	case MEDIA_JSON:
		if (m->pretty) {
			return json_print_indent(b, v, 2);
		}
		return json_print(b, v) && buf_char(b, '\n');
	case MEDIA_YAML:
		return yaml_print(b, v);
	case MEDIA_PROTOBUF: {
		const struct schema_type *t = schema_kind_of(v);
		return t ? pb_encode_object(b, t, v) : json_print(b, v);
	}
	}
	return false;
}

bool encode_value(struct arena *a, struct buf *b, const struct media *m, const struct schema_resource *res, const struct value *v, struct str include_object,
	bool columns) {
	bool is_status = str_eq(value_str_at(v, N_kind), S("Status")) && !value_get(v, N_spec);

	if (m->as == AS_TABLE && res && !is_status) {
		struct value *t = table_of(a, res, v, table_include_of(include_object), now_seconds());
		if (!columns) {
			value_set(a, t, N_columnDefinitions, NULL);
		}
		if (!str_eq(m->as_version, S("v1"))) {
			value_set_str(a, t, N_apiVersion, S("meta.k8s.io/v1beta1"));
		}
		return print(b, m, NULL, t);
	}
	if (m->as == AS_PARTIAL && !is_status) {
		return print(b, m, NULL, partial_of(a, v, m->as_version));
	}
	return print(b, m, res, v);
}

void json_print_item(struct buf *b, const struct value *v) {
	bool first = true;

	buf_char(b, '{');
	VALUE_EACH(v, m) {
		if (m->name == N_kind || m->name == N_apiVersion) {
			continue;
		}
		if (!first) {
			buf_char(b, ',');
		}
		first = false;
		json_print_str(b, value_key(v, (size_t)(m - value_item(v, 0))));
		buf_char(b, ':');
		json_print(b, m);
	}
	buf_char(b, '}');
}

/* Warning: 299 - "text" (RFC 7234 section 5.5): quotes and backslashes escaped, controls gone. */
void reply_warnings(struct req *r) {
	for (size_t i = 0; i < r->kx.warnings_len; i++) {
		struct str w = r->kx.warnings[i];
		auto_buf struct buf b = BUF_INIT(8192);
		buf_c(&b, "299 - \"");
		for (size_t k = 0; k < w.len && k < 2000; k++) {
			unsigned char ch = (unsigned char)w.ptr[k];
			if (ch == '"' || ch == '\\') {
				buf_char(&b, '\\');
			}
			if (ch >= 0x20 && ch != 0x7f) {
				buf_char(&b, (char)ch);
			}
		}
		buf_char(&b, '"');
		http_header_add(r->x, S("Warning"), buf_view(&b));
	}
}

static void send(struct req *r, int code, const struct media *m, const struct schema_resource *res, const struct value *v) {
	auto_buf struct buf b = BUF_INIT(ANSWER_MAX);
	struct media used = *m;

	if (used.format == MEDIA_PROTOBUF && !schema_kind_of(v)) {
		used.format = MEDIA_JSON;
	}
	if (!encode_value(r->a, &b, &used, res, v, r->opts.include_object, true)) {
		http_reply(r->x, 500, S("text/plain; charset=utf-8"), S("the answer is too large\n"));
		return;
	}
	reply_warnings(r);
	http_reply_maybe_gzip(r->x, code, media_type(&used, false), buf_view(&b));
}

void reply_value(struct req *r, int code, const struct schema_resource *res, const struct value *v) {
	send(r, code, &r->accept, res, v);
}

void reply_error(struct req *r, const struct err *err) {
	struct media m = r->accept;
	struct value *v = status_failure(r, err);
	int64_t retry = value_int_at(r->details, N_retryAfterSeconds);

	m.as = AS_OBJECT;
	if (retry > 0) {
		char text[24];
		http_header_set(r->x, S("Retry-After"), (struct str){ text, (size_t)snprintf(text, sizeof(text), "%lld", (long long)retry) });
	}
	send(r, err_http(err->code), &m, NULL, v);
}

void reply_answer(struct req *r, struct answer *ans) {
	int code = ans->code ? ans->code : 200;

	if (ans->answered) {
		return;
	}
	if (ans->obj) {
		const struct schema_resource *res = ans->res ? ans->res : r->res;
		send(r, code, &r->accept, res, r->st && res ? convert_to(r->a, ans->obj->root, res) : ans->obj->root);
	} else if (ans->value) {
		send(r, code, &r->accept, ans->res, ans->value);
	} else {
		send(r, code, &r->accept, NULL, status_success(r->a, NULL));
	}
}
