/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml.c - one YAML document to a value, as sigs.k8s.io/yaml over go-yaml v2 reads it, by way of JSON.
 *
 * libyaml's events become a tree of nodes in the arena; then the tree is read into a value, where
 * aliases are expanded, merge keys applied and scalars resolved. Expansion is limited in number as in
 * go-yaml, and in bytes. What kubectl's YAML does differently from YAML 1.2 is meant to be here too: a
 * later merge key overrides what stands before it, and whole floats become integers.
 */
#include "value/value.h"

#include <math.h>
#include <stdarg.h>
#include <yaml.h>

#include "base/map.h"
#include "base/vec.h"
#include "value/number.h"
#include "value/utf8.h"
#include "value/yaml_scalar.h"

/* libyaml's scanner looks at every open flow level for each token: 10,000 of them would let it be stalled. */
#define DEPTH_MAX 1000
#define ALIAS_BYTES_MAX ((size_t)64 << 20) /* text that aliases repeat, together */
#define TAG_PREFIX "tag:yaml.org,2002:"

enum node_kind { NODE_SCALAR, NODE_SEQUENCE, NODE_MAPPING, NODE_ALIAS };

struct node {
	enum node_kind kind;
	bool plain;          /* a scalar that may mean something else than text */
	bool open;           /* an alias that is being expanded: met again, it contains itself */
	size_t line;         /* from 0 */
	struct str tag;      /* in full; "" for none */
	struct str value;    /* of a scalar, anchor of an alias */
	struct node *alias;  /* what it stands for */
	struct node *first, *next;
};

struct reader {
	struct arena *a;
	const struct json_opts *opts;
	struct err *err;
	size_t depth, depth_max;
	yaml_parser_t parser;
	struct map anchors;
	/* expansion */
	size_t decoded, aliased, alias_depth, alias_bytes;
};

static bool fail(struct reader *r, const char *fmt, ...) PRINTF(2, 3);
static bool fail(struct reader *r, const char *fmt, ...) {
	char msg[400];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	return err_set(r->err, ERR_BAD_REQUEST, "error converting YAML to JSON: %s", msg);
}

/* ---- events to nodes --------------------------------------------------------------------------- */

/* go-yaml's way of telling the line. */
static bool parser_failed(struct reader *r) {
	const yaml_parser_t *p = &r->parser;
	const char *problem = p->problem && *p->problem ? p->problem : "unknown problem parsing YAML content";
	size_t line = p->problem_mark.line ? p->problem_mark.line : p->context_mark.line;
	if (p->problem_mark.line && p->error == YAML_SCANNER_ERROR) {
		line++;
	}
	return line ? fail(r, "yaml: line %zu: %s", line, problem) : fail(r, "yaml: %s", problem);
}

static struct str copy_c(struct reader *r, const yaml_char_t *c) {
	return c ? arena_str(r->a, str_c((const char *)c)) : S("");
}

static bool anchor(struct reader *r, struct node *n, const yaml_char_t *name) {
	if (name) {
		map_set(&r->anchors, str_c((const char *)name), n);
	}
	return true;
}

static bool node_of(struct reader *r, const yaml_event_t *e, struct node **ret) {
	struct node *n = arena_new(r->a, struct node);
	n->line = e->start_mark.line;
	*ret = n;
	if (e->type == YAML_ALIAS_EVENT) {
		n->kind = NODE_ALIAS;
		n->value = copy_c(r, e->data.alias.anchor);
		n->alias = map_get(&r->anchors, n->value);
		return n->alias || fail(r, "yaml: unknown anchor '%.*s' referenced", STR_ARG(n->value));
	}
	if (e->type == YAML_SCALAR_EVENT) {
		n->kind = NODE_SCALAR;
		n->value = arena_str(r->a, (struct str){ (const char *)e->data.scalar.value, e->data.scalar.length });
		n->tag = copy_c(r, e->data.scalar.tag);
		n->plain = e->data.scalar.plain_implicit;
		return anchor(r, n, e->data.scalar.anchor);
	}
	n->kind = e->type == YAML_SEQUENCE_START_EVENT ? NODE_SEQUENCE : NODE_MAPPING;
	return anchor(r, n, n->kind == NODE_SEQUENCE ? e->data.sequence_start.anchor : e->data.mapping_start.anchor);
}

struct open_node {
	struct node *node, *last; /* last child so far */
};

/* The nodes of the first document; *ret stays NULL when the stream is empty. */
static bool read_nodes(struct reader *r, struct node **ret) {
	VEC(struct open_node) open = { 0 };
	bool ok = true, more = true;
	while (ok && more) {
		yaml_event_t e;
		struct node *n = NULL;
		if (!yaml_parser_parse(&r->parser, &e)) {
			ok = parser_failed(r);
			break;
		}
		switch (e.type) {
		case YAML_STREAM_END_EVENT:
		case YAML_DOCUMENT_END_EVENT:
			more = false;
			break;
		case YAML_SEQUENCE_END_EVENT:
		case YAML_MAPPING_END_EVENT:
			open.len--;
			break;
		case YAML_ALIAS_EVENT:
		case YAML_SCALAR_EVENT:
		case YAML_SEQUENCE_START_EVENT:
		case YAML_MAPPING_START_EVENT:
			ok = node_of(r, &e, &n);
			break;
		case YAML_NO_EVENT:
		case YAML_STREAM_START_EVENT:
		case YAML_DOCUMENT_START_EVENT:
			break;
		}
		yaml_event_delete(&e);
		if (!n || !ok) {
			continue;
		}
		if (!open.len) {
			*ret = n;
		} else {
			struct open_node *top = &open.at[open.len - 1];
			*(top->last ? &top->last->next : &top->node->first) = n;
			top->last = n;
		}
		if (n->kind == NODE_SEQUENCE || n->kind == NODE_MAPPING) {
			if (open.len == r->depth_max) {
				ok = fail(r, "yaml: exceeded max depth of %zu", r->depth_max);
			} else {
				VEC_PUSH(&open, ((struct open_node){ n, NULL }));
			}
		}
	}
	VEC_RELEASE(&open);
	return ok;
}

/* ---- scalars ----------------------------------------------------------------------------------- */

static struct value text_value(struct str s) {
	return (struct value){ .type = VALUE_STRING, .len = (uint32_t)s.len, .u.text = s.ptr };
}

/* The way through JSON makes a whole float an integer, and one too big for int64 a float. */
static bool float_value(struct reader *r, double d, struct value *ret) {
	if (!isfinite(d)) {
		return fail(r, "json: unsupported value: %s", isnan(d) ? "NaN" : d > 0 ? "+Inf" : "-Inf");
	}
	if (d == trunc(d) && d >= -0x1p63 && d < 0x1p63) {
		*ret = (struct value){ .type = VALUE_INT, .u.integer = (int64_t)d };
	} else {
		*ret = (struct value){ .type = VALUE_FLOAT, .u.number = d };
	}
	return true;
}

static int base64_digit(char c) {
	return c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : c >= '0' && c <= '9' ? c - '0' + 52 :
		c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Standard base64 with padding; line ends are skipped, as Go does. */
static bool base64_decode(struct reader *r, struct str s, struct str *ret) {
	char *out = arena_alloc(r->a, s.len);
	size_t len = 0, digits = 0, pads = 0;
	uint32_t bits = 0;
	for (size_t i = 0; i < s.len; i++) {
		int d = base64_digit(s.ptr[i]);
		if (s.ptr[i] == '\n' || s.ptr[i] == '\r') {
			continue;
		}
		if (s.ptr[i] == '=') {
			pads++;
			continue;
		}
		if (d < 0 || pads) {
			return false;
		}
		bits = bits << 6 | (uint32_t)d;
		if (++digits % 4 == 0) {
			out[len++] = (char)(bits >> 16);
			out[len++] = (char)(bits >> 8);
			out[len++] = (char)bits;
		}
	}
	size_t rest = digits % 4;
	if ((digits + pads) % 4 != 0 || pads > 2 || rest == 1) {
		return false;
	}
	if (rest) {
		bits <<= 6 * (4 - rest);
		out[len++] = (char)(bits >> 16);
		if (rest == 3) {
			out[len++] = (char)(bits >> 8);
		}
	}
	*ret = (struct str){ out, len };
	return true;
}

static const char *kind_tag(enum yaml_kind kind) {
	static const char *const tags[] = {
		[YAML_KIND_STR] = "!!str",
		[YAML_KIND_NULL] = "!!null",
		[YAML_KIND_BOOL] = "!!bool",
		[YAML_KIND_INT] = "!!int",
		[YAML_KIND_FLOAT] = "!!float",
		[YAML_KIND_TIMESTAMP] = "!!timestamp",
		[YAML_KIND_MERGE] = "!!merge",
	};
	return tags[kind];
}

/* What the node's text means under its tag; a kind that only text has is YAML_KIND_STR. */
static bool scalar_meaning(struct reader *r, const struct node *n, struct yaml_scalar *ret, struct str *ret_text) {
	static const struct yaml_scalar text = { .kind = YAML_KIND_STR };
	*ret_text = n->value;
	*ret = text;
	if (!n->tag.len) {
		if (n->plain) {
			*ret = yaml_resolve(n->value);
		}
		return true;
	}
	if (!str_starts(n->tag, S(TAG_PREFIX))) {
		return true; /* an application's tag says nothing to us */
	}
	struct str tag = str_from(n->tag, sizeof(TAG_PREFIX) - 1);
	if (str_eq(tag, S("binary"))) {
		if (!base64_decode(r, n->value, ret_text)) {
			return fail(r, "yaml: !!binary value contains invalid base64 data");
		}
		*ret_text = utf8_clean(r->a, *ret_text);
		return true;
	}
	static const enum yaml_kind named[] = { YAML_KIND_NULL, YAML_KIND_BOOL, YAML_KIND_INT, YAML_KIND_FLOAT, YAML_KIND_TIMESTAMP };
	for (size_t i = 0; i < ARRAY_LEN(named); i++) {
		if (!str_eqc(tag, kind_tag(named[i]) + 2)) {
			continue;
		}
		*ret = yaml_resolve(n->value);
		if (ret->kind == YAML_KIND_INT && named[i] == YAML_KIND_FLOAT && !ret->is_unsigned) {
			*ret = (struct yaml_scalar){ .kind = YAML_KIND_FLOAT, .number = (double)ret->integer };
		}
		return ret->kind == named[i] || fail(r, "yaml: cannot decode %s `%.*s` as a %s", kind_tag(ret->kind),
			STR_ARG(n->value), kind_tag(named[i]));
	}
	return true;
}

static bool scalar(struct reader *r, const struct node *n, struct value *ret) {
	struct yaml_scalar s;
	struct str text;
	if (!scalar_meaning(r, n, &s, &text)) {
		return false;
	}
	switch (s.kind) {
	case YAML_KIND_NULL:
		*ret = (struct value){ .type = VALUE_NULL };
		return true;
	case YAML_KIND_BOOL:
		*ret = (struct value){ .type = VALUE_BOOL, .u.boolean = s.boolean };
		return true;
	case YAML_KIND_INT:
		if (!s.is_unsigned) {
			*ret = (struct value){ .type = VALUE_INT, .u.integer = s.integer };
			return true;
		}
		return float_value(r, s.number, ret);
	case YAML_KIND_FLOAT:
		return float_value(r, s.number, ret);
	case YAML_KIND_STR:
	case YAML_KIND_TIMESTAMP:
	case YAML_KIND_MERGE:
		break;
	}
	*ret = text_value(text);
	return true;
}

/* Keys that are no text are written as text. */
static bool key_text(struct reader *r, const struct node *n, struct str *ret) {
	struct yaml_scalar s;
	char number[NUMBER_TEXT_MAX];
	while (n->kind == NODE_ALIAS) {
		n = n->alias;
	}
	if (n->kind != NODE_SCALAR) {
		return fail(r, "yaml: invalid map key: %s", n->kind == NODE_MAPPING ? "a map" : "a list");
	}
	if (!scalar_meaning(r, n, &s, ret)) {
		return false;
	}
	switch (s.kind) {
	case YAML_KIND_NULL:
		return fail(r, "unsupported map key of type: %%!s(<nil>), key: <nil>");
	case YAML_KIND_BOOL:
		*ret = s.boolean ? S("true") : S("false");
		return true;
	case YAML_KIND_INT:
		if (!s.is_unsigned) {
			*ret = arena_printf(r->a, "%lld", (long long)s.integer);
			return true;
		}
		return fail(r, "unsupported map key of type: uint64, key: %.*s", STR_ARG(n->value));
	case YAML_KIND_FLOAT:
		if (!isfinite(s.number)) {
			*ret = isnan(s.number) ? S(".nan") : s.number > 0 ? S(".inf") : S("-.inf");
			return true;
		}
		*ret = arena_str(r->a, (struct str){ number, number_general_single(s.number, number) });
		return true;
	case YAML_KIND_STR:
	case YAML_KIND_TIMESTAMP:
	case YAML_KIND_MERGE:
		break;
	}
	return true;
}

/* ---- nodes to values --------------------------------------------------------------------------- */

/* A mapping under construction: merges put their members into the same one. */
struct mapping {
	struct value object;
	struct value_index index;
};

static bool decode(struct reader *r, struct node *n, struct value *ret);

/* From 99% down to 10% of the document may come from aliases, the more there is the less. */
static bool count(struct reader *r) {
	r->decoded++;
	r->aliased += r->alias_depth > 0;
	if (r->aliased <= 100 || r->decoded <= 1000) {
		return true;
	}
	double part = MIN(1.0, MAX(0.0, ((double)r->decoded - 400000) / 3600000));
	if ((double)r->aliased / (double)r->decoded > 0.99 - 0.89 * part || r->alias_bytes > ALIAS_BYTES_MAX) {
		return fail(r, "yaml: document contains excessive aliasing");
	}
	return true;
}

static void mapping_set(struct reader *r, struct mapping *m, const struct node *at, struct str key, const struct value *v) {
	struct value *old = value_index_get(&m->index, &m->object, key);
	if (!old) {
		value_add_key(r->a, &m->object, key, v);
		return;
	}
	uint16_t name = old->name;
	*old = *v;
	old->name = name;
	if (!r->opts->allow_duplicates && r->opts->on_duplicate) {
		auto_buf struct buf b = BUF_INIT(4096);
		auto_buf struct buf quoted = BUF_INIT(2048);
		json_print_str(&quoted, key);
		buf_printf(&b, "line %zu: key %.*s already set in map", at->line + 1, STR_ARG(buf_view(&quoted)));
		r->opts->on_duplicate(r->opts->arg, buf_view(&b));
	}
}

static bool fill(struct reader *r, struct node *n, struct mapping *m);

/* Counts, and expands an alias around `fill`. */
static bool merge_one(struct reader *r, struct node *n, struct mapping *m) {
	struct node *target = n->kind == NODE_ALIAS ? n->alias : n;
	if (target->kind != NODE_MAPPING) {
		return fail(r, "yaml: map merge requires map or sequence of maps as the value");
	}
	if (!count(r)) {
		return false;
	}
	if (n->kind != NODE_ALIAS) {
		return fill(r, n, m);
	}
	if (n->open) {
		return fail(r, "yaml: anchor '%.*s' value contains itself", STR_ARG(n->value));
	}
	n->open = true;
	r->alias_depth++;
	bool ok = count(r) && fill(r, target, m);
	r->alias_depth--;
	n->open = false;
	return ok;
}

/* The first of a list wins, so the last goes first. */
static bool merge_list(struct reader *r, struct node *first, struct mapping *m) {
	VEC(struct node *) nodes = { 0 };
	bool ok = true;
	for (struct node *n = first; n; n = n->next) {
		VEC_PUSH(&nodes, n);
	}
	while (ok && nodes.len) {
		ok = merge_one(r, VEC_POP(&nodes), m);
	}
	VEC_RELEASE(&nodes);
	return ok;
}

static bool is_merge(const struct node *n) {
	return n->kind == NODE_SCALAR && str_eq(n->value, S("<<")) && (n->plain || str_eq(n->tag, S(TAG_PREFIX "merge")));
}

static bool fill_members(struct reader *r, struct node *n, struct mapping *m) {
	for (struct node *key = n->first, *v; key; key = v->next) {
		struct str text;
		struct value member = { 0 };
		v = key->next;
		if (is_merge(key)) {
			if (!(v->kind == NODE_SEQUENCE ? merge_list(r, v->first, m) : merge_one(r, v, m))) {
				return false;
			}
			continue;
		}
		if (!count(r) || !key_text(r, key, &text) || !decode(r, v, &member)) {
			return false;
		}
		mapping_set(r, m, v, text, &member);
	}
	return true;
}

static bool fill(struct reader *r, struct node *n, struct mapping *m) {
	if (r->depth == r->depth_max) {
		return fail(r, "yaml: exceeded max depth of %zu", r->depth_max);
	}
	r->depth++;
	bool ok = fill_members(r, n, m);
	r->depth--;
	return ok;
}

static bool sequence(struct reader *r, struct node *n, struct value *ret) {
	bool ok = true;
	if (r->depth == r->depth_max) {
		return fail(r, "yaml: exceeded max depth of %zu", r->depth_max);
	}
	r->depth++;
	*ret = (struct value){ .type = VALUE_ARRAY };
	for (struct node *it = n->first; ok && it; it = it->next) {
		struct value item = { 0 };
		ok = decode(r, it, &item);
		if (ok) {
			value_push(r->a, ret, &item);
		}
	}
	r->depth--;
	return ok;
}

static bool alias(struct reader *r, struct node *n, struct value *ret) {
	if (n->open) {
		return fail(r, "yaml: anchor '%.*s' value contains itself", STR_ARG(n->value));
	}
	n->open = true;
	r->alias_depth++;
	bool ok = decode(r, n->alias, ret);
	r->alias_depth--;
	n->open = false;
	return ok;
}

static bool decode(struct reader *r, struct node *n, struct value *ret) {
	if (!count(r)) {
		return false;
	}
	if (r->alias_depth) {
		r->alias_bytes += n->value.len;
	}
	switch (n->kind) {
	case NODE_SCALAR:
		return scalar(r, n, ret);
	case NODE_SEQUENCE:
		return sequence(r, n, ret);
	case NODE_ALIAS:
		return alias(r, n, ret);
	case NODE_MAPPING:
		break;
	}
	struct mapping m = { .object = { .type = VALUE_OBJECT } };
	bool ok = fill(r, n, &m);
	value_index_release(&m.index);
	*ret = m.object;
	return ok;
}

bool yaml_parse(struct arena *a, struct str text, const struct json_opts *opts, struct value **ret, struct err *err) {
	static const struct json_opts defaults;
	struct reader r = { .a = a, .opts = opts ? opts : &defaults, .err = err };
	struct node *root = NULL;
	struct value *v = value_new_null(a);
	if (text.len >= UINT32_MAX) {
		return err_set(err, ERR_TOO_LARGE, "YAML of %zu bytes is too large", text.len);
	}
	r.depth_max = r.opts->depth_max ? MIN(r.opts->depth_max, (size_t)DEPTH_MAX) : DEPTH_MAX;
	if (!yaml_parser_initialize(&r.parser)) {
		return err_set(err, ERR_INTERNAL, "cannot set up the YAML parser");
	}
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)(text.len ? text.ptr : "\n"), MAX(text.len, (size_t)1));
	bool ok = read_nodes(&r, &root) && (!root || decode(&r, root, v));
	yaml_parser_delete(&r.parser);
	map_release(&r.anchors);
	if (ok) {
		*ret = v;
	}
	return ok;
}
