/* SPDX-License-Identifier: Apache-2.0 */
/*
 * selector.c - label and field selectors: the text grammar of the API ("a=b,c in (d,e),!f"), the
 * structured LabelSelector, matching, and printing back.
 *
 * Called by the API server's lists and watches, informers, controllers, scheduler. Touches nothing but
 * the arena it is given. Any thread. Error texts are upstream's, since clients match on them.
 */
#include "client/selector.h"

#include "base/vec.h"

enum op { OP_IN, OP_NOT_IN, OP_EQUALS, OP_DOUBLE_EQUALS, OP_NOT_EQUALS, OP_EXISTS, OP_NOT_EXISTS, OP_GT, OP_LT };

struct requirement {
	struct str key;
	uint16_t name; /* of key when the schema knows it: labels are stored under it then */
	enum op op;
	struct str *values; /* sorted, without duplicates */
	size_t values_len;
	int64_t bound; /* of OP_GT and OP_LT */
};
struct selector {
	bool nothing;
	struct requirement *at; /* sorted by key */
	size_t len;
};

static const struct selector match_nothing = { .nothing = true };

/* ---- rules of keys and values ------------------------------------------------------------------ */

static bool is_alnum(char c) {
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* ([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9] */
static bool is_name_text(struct str s) {
	if (s.len == 0 || !is_alnum(s.ptr[0]) || !is_alnum(s.ptr[s.len - 1])) {
		return false;
	}
	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];
		if (!is_alnum(c) && c != '-' && c != '_' && c != '.') {
			return false;
		}
	}
	return true;
}

static bool is_dns1123_subdomain(struct str s) {
	struct str rest = s, label;

	if (s.len == 0 || s.len > 253) {
		return false;
	}
	while (str_next(&rest, '.', &label)) {
		if (label.len == 0) {
			return false;
		}
		for (size_t i = 0; i < label.len; i++) {
			char c = label.ptr[i];
			bool inner = c == '-' && i > 0 && i + 1 < label.len;
			if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || inner)) {
				return false;
			}
		}
	}
	return s.ptr[s.len - 1] != '.';
}

#define NAME_RULE                                                                                                       \
	"must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. " \
	"'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]'"
#define SUBDOMAIN_RULE                                                                                                     \
	"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end " \
	"with an alphanumeric character (e.g. 'example.com', regex used for validation is "                                     \
	"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
#define VALUE_RULE                                                                                                          \
	"a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end "  \
	"with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "             \
	"'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"

/* What is wrong with a label key, joined by "; " as upstream joins; empty when nothing is. */
static struct str key_fault(struct arena *a, struct str key) {
	struct str prefix = { 0 }, name = key, faults[3];
	size_t n = 0;

	if (str_index(key, '/') >= 0) {
		(void)str_cut(key, '/', &prefix, &name);
		if (str_index(name, '/') >= 0) {
			return S("a qualified name " NAME_RULE ") with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')");
		}
		if (prefix.len == 0) {
			faults[n++] = S("prefix part must be non-empty");
		} else if (!is_dns1123_subdomain(prefix)) {
			faults[n++] = prefix.len > 253 ? S("prefix part must be no more than 253 bytes") : S("prefix part " SUBDOMAIN_RULE);
		}
	}
	if (name.len == 0) {
		faults[n++] = S("name part must be non-empty");
	} else if (name.len > 63) {
		faults[n++] = S("name part must be no more than 63 bytes");
	}
	if (!is_name_text(name)) {
		faults[n++] = S("name part " NAME_RULE ")");
	}
	return arena_join(a, faults, n, S("; "));
}

static struct str value_fault(struct arena *a, struct str value) {
	struct str faults[2];
	size_t n = 0;

	if (value.len > 63) {
		faults[n++] = S("must be no more than 63 bytes");
	}
	if (value.len > 0 && !is_name_text(value)) {
		faults[n++] = S(VALUE_RULE);
	}
	return arena_join(a, faults, n, S("; "));
}

/* ---- requirements ------------------------------------------------------------------------------- */

static int str_cmp_p(const void *a, const void *b) {
	return str_cmp(*(const struct str *)a, *(const struct str *)b);
}
static int requirement_cmp(const void *a, const void *b) {
	return str_cmp(((const struct requirement *)a)->key, ((const struct requirement *)b)->key);
}

static bool requirement_check(struct arena *a, struct requirement *r, struct err *err) {
	struct str fault = key_fault(a, r->key);

	r->name = name_find(r->key);
	if (fault.len > 0) {
		return err_set(err, ERR_BAD_REQUEST, "<nil>: Invalid value: \"%.*s\": %.*s", STR_ARG(r->key), STR_ARG(fault));
	}
	if (r->values_len > 1) {
		qsort(r->values, r->values_len, sizeof(*r->values), str_cmp_p);
		size_t kept = 1;
		for (size_t i = 1; i < r->values_len; i++) {
			if (!str_eq(r->values[i], r->values[kept - 1])) {
				r->values[kept++] = r->values[i];
			}
		}
		r->values_len = kept;
	}
	switch (r->op) {
	case OP_IN:
	case OP_NOT_IN:
		if (r->values_len == 0) {
			return err_set(err, ERR_BAD_REQUEST, "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty");
		}
		break;
	case OP_EQUALS:
	case OP_DOUBLE_EQUALS:
	case OP_NOT_EQUALS:
		if (r->values_len != 1) {
			return err_set(err, ERR_BAD_REQUEST, "values: Invalid value: []: exact-match compatibility requires one single value");
		}
		break;
	case OP_EXISTS:
	case OP_NOT_EXISTS:
		if (r->values_len != 0) {
			return err_set(err, ERR_BAD_REQUEST, "values: Invalid value: [\"%.*s\"]: values set must be empty for exists and does not exist",
				STR_ARG(r->values[0]));
		}
		break;
	case OP_GT:
	case OP_LT:
		if (r->values_len != 1) {
			return err_set(err, ERR_BAD_REQUEST, "values: Invalid value: []: for 'Gt', 'Lt' operators, exactly one value is required");
		}
		if (!str_to_i64(r->values[0], &r->bound)) {
			return err_set(err, ERR_BAD_REQUEST, "values[0]: Invalid value: \"%.*s\": for 'Gt', 'Lt' operators, the value must be an integer",
				STR_ARG(r->values[0]));
		}
		break;
	}
	for (size_t i = 0; i < r->values_len; i++) {
		fault = value_fault(a, r->values[i]);
		if (fault.len > 0) {
			return err_set(err, ERR_BAD_REQUEST, "values[%zu][%.*s]: Invalid value: \"%.*s\": %.*s", i, STR_ARG(r->key), STR_ARG(r->values[i]),
				STR_ARG(fault));
		}
	}
	return true;
}

static bool values_have(const struct requirement *r, struct str s) {
	for (size_t i = 0; i < r->values_len; i++) {
		if (str_eq(r->values[i], s)) {
			return true;
		}
	}
	return false;
}

static bool requirement_holds(const struct requirement *r, const struct value *labels) {
	const struct value *v = r->name ? value_get(labels, r->name) : value_get_str(labels, r->key);
	int64_t n;

	switch (r->op) {
	case OP_IN:
	case OP_EQUALS:
	case OP_DOUBLE_EQUALS:
		return v && values_have(r, value_as_str(v));
	case OP_NOT_IN:
	case OP_NOT_EQUALS:
		return !v || !values_have(r, value_as_str(v));
	case OP_EXISTS:
		return v != NULL;
	case OP_NOT_EXISTS:
		return v == NULL;
	case OP_GT:
		return v && str_to_i64(value_as_str(v), &n) && n > r->bound;
	case OP_LT:
		return v && str_to_i64(value_as_str(v), &n) && n < r->bound;
	}
	return false;
}

bool selector_matches(const struct selector *s, const struct value *labels) {
	if (!s) {
		return true;
	}
	if (s->nothing) {
		return false;
	}
	for (size_t i = 0; i < s->len; i++) {
		if (!requirement_holds(&s->at[i], labels)) {
			return false;
		}
	}
	return true;
}

/* ---- the text grammar ---------------------------------------------------------------------------- */

enum token {
	TOKEN_END,
	TOKEN_CLOSE,
	TOKEN_COMMA,
	TOKEN_NOT,
	TOKEN_DOUBLE_EQUALS,
	TOKEN_EQUALS,
	TOKEN_GT,
	TOKEN_IDENTIFIER,
	TOKEN_IN,
	TOKEN_LT,
	TOKEN_NOT_EQUALS,
	TOKEN_NOT_IN,
	TOKEN_OPEN,
	TOKEN_ERROR,
};
enum context { CONTEXT_KEY, CONTEXT_VALUES }; /* in values "in" and "notin" are ordinary words */

struct parser {
	struct arena *arena;
	struct str text;
	size_t at;
};

static bool is_special(char c) {
	return c == '=' || c == '!' || c == '(' || c == ')' || c == ',' || c == '>' || c == '<';
}
static bool is_space(char c) {
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static enum token token_of(struct str lit) {
	static const struct {
		struct str lit;
		enum token token;
	} table[] = {
		{ S_INIT(")"), TOKEN_CLOSE },
		{ S_INIT(","), TOKEN_COMMA },
		{ S_INIT("!"), TOKEN_NOT },
		{ S_INIT("=="), TOKEN_DOUBLE_EQUALS },
		{ S_INIT("="), TOKEN_EQUALS },
		{ S_INIT(">"), TOKEN_GT },
		{ S_INIT("in"), TOKEN_IN },
		{ S_INIT("<"), TOKEN_LT },
		{ S_INIT("!="), TOKEN_NOT_EQUALS },
		{ S_INIT("notin"), TOKEN_NOT_IN },
		{ S_INIT("("), TOKEN_OPEN },
	};
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (str_eq(table[i].lit, lit)) {
			return table[i].token;
		}
	}
	return TOKEN_ERROR;
}

static enum token scan(struct parser *p, enum context context, struct str *ret_lit) {
	struct str text = p->text;
	enum token t;

	while (p->at < text.len && is_space(text.ptr[p->at])) {
		p->at++;
	}
	if (p->at >= text.len || text.ptr[p->at] == '\0') {
		*ret_lit = S("");
		return TOKEN_END;
	}
	size_t from = p->at;
	if (is_special(text.ptr[p->at])) {
		/* the longest known operator, as "==" before "=" */
		size_t best = 0;
		for (size_t n = 1; p->at + n <= text.len && is_special(text.ptr[p->at + n - 1]); n++) {
			if (token_of((struct str){ text.ptr + from, n }) != TOKEN_ERROR) {
				best = n;
			} else if (best) {
				break;
			}
		}
		best = best ? best : 1;
		p->at += best;
		*ret_lit = (struct str){ text.ptr + from, best };
		return token_of(*ret_lit);
	}
	while (p->at < text.len && !is_special(text.ptr[p->at]) && !is_space(text.ptr[p->at])) {
		p->at++;
	}
	*ret_lit = (struct str){ text.ptr + from, p->at - from };
	t = token_of(*ret_lit);
	return context == CONTEXT_VALUES || t == TOKEN_ERROR ? TOKEN_IDENTIFIER : t;
}

static enum token look(struct parser *p, enum context context, struct str *ret_lit) {
	size_t at = p->at;
	enum token t = scan(p, context, ret_lit);
	p->at = at;
	return t;
}

#define FOUND(err, lit, words) err_set((err), ERR_BAD_REQUEST, "found '%.*s', expected: " words, STR_ARG(lit))

typedef VEC(struct str) str_vec; /* a scratch list; its items are copied into the arena at the end */

static bool parse_list(struct parser *p, str_vec *values, struct err *err) {
	struct str lit, lit2;

	for (;;) {
		enum token t = scan(p, CONTEXT_VALUES, &lit);
		if (t == TOKEN_IDENTIFIER) {
			VEC_PUSH(values, lit);
			enum token t2 = look(p, CONTEXT_VALUES, &lit2);
			if (t2 == TOKEN_CLOSE) {
				return true;
			}
			if (t2 != TOKEN_COMMA) {
				return FOUND(err, lit2, "',' or ')'");
			}
		} else if (t == TOKEN_COMMA) {
			if (values->len == 0) {
				VEC_PUSH(values, S("")); /* "(," */
			}
			enum token t2 = look(p, CONTEXT_VALUES, &lit2);
			if (t2 == TOKEN_CLOSE) {
				VEC_PUSH(values, S("")); /* ",)" */
				return true;
			}
			if (t2 == TOKEN_COMMA) {
				(void)scan(p, CONTEXT_VALUES, &lit2);
				VEC_PUSH(values, S("")); /* ",," */
			}
		} else {
			return FOUND(err, lit, "',', or identifier");
		}
	}
}

static bool parse_set(struct parser *p, str_vec *values, struct err *err) {
	struct str lit;
	enum token t = scan(p, CONTEXT_VALUES, &lit);

	if (t != TOKEN_OPEN) {
		return err_set(err, ERR_BAD_REQUEST, "found '%.*s' expected: '('", STR_ARG(lit));
	}
	t = look(p, CONTEXT_VALUES, &lit);
	if (t == TOKEN_CLOSE) {
		(void)scan(p, CONTEXT_VALUES, &lit);
		VEC_PUSH(values, S(""));
		return true;
	}
	if (t != TOKEN_IDENTIFIER && t != TOKEN_COMMA) {
		return FOUND(err, lit, "',', ')' or identifier");
	}
	if (!parse_list(p, values, err)) {
		return false;
	}
	if (scan(p, CONTEXT_VALUES, &lit) != TOKEN_CLOSE) {
		return FOUND(err, lit, "')'");
	}
	return true;
}

static bool parse_operator(struct parser *p, enum op *ret, struct err *err) {
	struct str lit;

	switch (scan(p, CONTEXT_KEY, &lit)) {
	case TOKEN_IN:
		*ret = OP_IN;
		return true;
	case TOKEN_EQUALS:
		*ret = OP_EQUALS;
		return true;
	case TOKEN_DOUBLE_EQUALS:
		*ret = OP_DOUBLE_EQUALS;
		return true;
	case TOKEN_GT:
		*ret = OP_GT;
		return true;
	case TOKEN_LT:
		*ret = OP_LT;
		return true;
	case TOKEN_NOT_IN:
		*ret = OP_NOT_IN;
		return true;
	case TOKEN_NOT_EQUALS:
		*ret = OP_NOT_EQUALS;
		return true;
	case TOKEN_END:
	case TOKEN_CLOSE:
	case TOKEN_COMMA:
	case TOKEN_NOT:
	case TOKEN_IDENTIFIER:
	case TOKEN_OPEN:
	case TOKEN_ERROR:
		break;
	}
	return FOUND(err, lit, "in, notin, =, ==, !=, gt, lt");
}

static bool parse_values(struct parser *p, struct requirement *r, str_vec *values, struct err *err) {
	struct str lit;

	if (r->op == OP_IN || r->op == OP_NOT_IN) {
		return parse_set(p, values, err);
	}
	enum token t = look(p, CONTEXT_VALUES, &lit);
	if (t == TOKEN_END || t == TOKEN_COMMA) {
		VEC_PUSH(values, S(""));
		return true;
	}
	if (scan(p, CONTEXT_VALUES, &lit) != TOKEN_IDENTIFIER) {
		return FOUND(err, lit, "identifier");
	}
	VEC_PUSH(values, lit);
	return true;
}

static bool parse_requirement(struct parser *p, struct requirement *r, struct err *err) {
	struct str lit;
	enum token t = scan(p, CONTEXT_VALUES, &lit);
	bool not = t == TOKEN_NOT;

	if (not) {
		t = scan(p, CONTEXT_KEY, &lit);
	}
	if (t != TOKEN_IDENTIFIER) {
		return FOUND(err, lit, "identifier");
	}
	r->key = arena_str(p->arena, lit);
	struct str fault = key_fault(p->arena, r->key);
	if (fault.len > 0) {
		return err_set(err, ERR_BAD_REQUEST, "<nil>: Invalid value: \"%.*s\": %.*s", STR_ARG(r->key), STR_ARG(fault));
	}
	t = look(p, CONTEXT_VALUES, &lit);
	if (not || t == TOKEN_END || t == TOKEN_COMMA) {
		r->op = not ? OP_NOT_EXISTS : OP_EXISTS;
		return requirement_check(p->arena, r, err);
	}
	str_vec values = { 0 };
	bool ok = parse_operator(p, &r->op, err) && parse_values(p, r, &values, err);
	if (ok) {
		r->values = arena_array(p->arena, struct str, values.len);
		r->values_len = values.len;
		for (size_t i = 0; i < values.len; i++) {
			r->values[i] = arena_str(p->arena, values.at[i]);
		}
	}
	VEC_RELEASE(&values);
	return ok && requirement_check(p->arena, r, err);
}

static const struct selector *selector_make(struct arena *a, const struct requirement *at, size_t len) {
	struct selector *s = arena_new(a, struct selector);

	s->at = arena_array(a, struct requirement, len);
	s->len = len;
	if (len > 0) {
		memcpy(s->at, at, len * sizeof(*at));
		qsort(s->at, len, sizeof(*at), requirement_cmp);
	}
	return s;
}

bool selector_parse(struct arena *a, struct str text, const struct selector **ret, struct err *err) {
	struct parser p = { .arena = a, .text = text };
	VEC(struct requirement) all = { 0 };
	struct str lit;
	bool ok = true;

	for (enum token t = look(&p, CONTEXT_VALUES, &lit); t != TOKEN_END;) {
		struct requirement r = { 0 };
		if (t != TOKEN_IDENTIFIER && t != TOKEN_NOT) {
			ok = FOUND(err, lit, "!, identifier, or 'end of string'");
			break;
		}
		if (!parse_requirement(&p, &r, err)) {
			struct err inner = *err;
			ok = err_set(err, ERR_BAD_REQUEST, "unable to parse requirement: %.600s", inner.msg);
			break;
		}
		VEC_PUSH(&all, r);
		t = scan(&p, CONTEXT_VALUES, &lit);
		if (t == TOKEN_END) {
			break;
		}
		if (t != TOKEN_COMMA) {
			ok = FOUND(err, lit, "',' or 'end of string'");
			break;
		}
		t = look(&p, CONTEXT_VALUES, &lit);
		if (t != TOKEN_IDENTIFIER && t != TOKEN_NOT) {
			ok = FOUND(err, lit, "identifier after ','");
			break;
		}
	}
	if (ok) {
		*ret = all.len == 0 ? NULL : selector_make(a, all.at, all.len);
	}
	VEC_RELEASE(&all);
	return ok;
}

/* ---- structured forms ------------------------------------------------------------------------------ */

static bool op_of(struct str name, enum op *ret) {
	static const struct {
		struct str name;
		enum op op;
	} table[] = {
		{ S_INIT("In"), OP_IN },
		{ S_INIT("NotIn"), OP_NOT_IN },
		{ S_INIT("Exists"), OP_EXISTS },
		{ S_INIT("DoesNotExist"), OP_NOT_EXISTS },
		{ S_INIT("Gt"), OP_GT },
		{ S_INIT("Lt"), OP_LT },
	};
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (str_eq(table[i].name, name)) {
			*ret = table[i].op;
			return true;
		}
	}
	return false;
}

static void requirements_of_map(struct arena *a, const struct value *labels, struct requirement *at) {
	for (size_t i = 0; i < value_len(labels); i++) {
		at[i].op = OP_EQUALS;
		at[i].key = arena_str(a, value_key(labels, i));
		at[i].name = name_find(at[i].key);
		at[i].values = arena_array(a, struct str, 1);
		at[i].values[0] = arena_str(a, value_as_str(value_item(labels, i)));
		at[i].values_len = 1;
	}
}

bool selector_from_value(struct arena *a, const struct value *label_selector, const struct selector **ret, struct err *err) {
	const struct value *map = value_get(label_selector, N_matchLabels);
	const struct value *list = value_get(label_selector, N_matchExpressions);
	size_t n = value_len(map);

	if (!value_is(label_selector, VALUE_OBJECT)) {
		*ret = &match_nothing;
		return true;
	}
	if (n + value_len(list) == 0) {
		*ret = NULL;
		return true;
	}
	struct requirement *at = arena_array(a, struct requirement, n + value_len(list));
	requirements_of_map(a, map, at);
	for (size_t i = 0; i < n; i++) {
		if (!requirement_check(a, &at[i], err)) {
			return false;
		}
	}
	VALUE_EACH(list, it) {
		struct requirement *r = &at[n++];
		const struct value *values = value_get(it, N_values);
		struct str op = value_str_at(it, N_operator);

		if (!op_of(op, &r->op) || r->op == OP_GT || r->op == OP_LT) {
			return err_set(err, ERR_BAD_REQUEST, "\"%.*s\" is not a valid label selector operator", STR_ARG(op));
		}
		r->key = arena_str(a, value_str_at(it, N_key));
		r->values = arena_array(a, struct str, value_len(values));
		VALUE_EACH(values, v) {
			r->values[r->values_len++] = arena_str(a, value_as_str(v));
		}
		if (!requirement_check(a, r, err)) {
			return false;
		}
	}
	*ret = selector_make(a, at, n);
	return true;
}

const struct selector *selector_from_map(struct arena *a, const struct value *labels) {
	size_t n = value_len(labels);

	if (n == 0) {
		return NULL;
	}
	struct requirement *at = arena_array(a, struct requirement, n);
	requirements_of_map(a, labels, at);
	return selector_make(a, at, n);
}

bool requirement_matches(const struct value *expression, const struct value *labels) {
	const struct value *values = value_get(expression, N_values);
	const struct value *v = value_get_str(labels, value_str_at(expression, N_key));
	int64_t bound, n;
	enum op op;
	bool found = false;

	if (!op_of(value_str_at(expression, N_operator), &op)) {
		return false;
	}
	if (op == OP_GT || op == OP_LT) {
		if (!v || value_len(values) != 1 || !str_to_i64(value_as_str(value_item(values, 0)), &bound) || !str_to_i64(value_as_str(v), &n)) {
			return false;
		}
		return op == OP_GT ? n > bound : n < bound;
	}
	VALUE_EACH(values, it) {
		found = found || (v && str_eq(value_as_str(it), value_as_str(v)));
	}
	return op == OP_IN ? found : op == OP_NOT_IN ? !found : op == OP_EXISTS ? v != NULL : v == NULL;
}

struct str selector_text(struct arena *a, const struct selector *s) {
	static const char *const infix[] = {
		[OP_IN] = " in ", [OP_NOT_IN] = " notin ", [OP_EQUALS] = "=", [OP_DOUBLE_EQUALS] = "==", [OP_NOT_EQUALS] = "!=", [OP_EXISTS] = "",
		[OP_NOT_EXISTS] = "", [OP_GT] = ">", [OP_LT] = "<",
	};
	if (!s || s->nothing) {
		return S("");
	}
	struct str *parts = arena_array(a, struct str, s->len);
	for (size_t i = 0; i < s->len; i++) {
		const struct requirement *r = &s->at[i];
		struct str values = arena_join(a, r->values, r->values_len, S(","));
		bool set = r->op == OP_IN || r->op == OP_NOT_IN;
		parts[i] = arena_printf(a, "%s%.*s%s%s%.*s%s", r->op == OP_NOT_EXISTS ? "!" : "", STR_ARG(r->key), infix[r->op], set ? "(" : "",
			STR_ARG(values), set ? ")" : "");
	}
	return arena_join(a, parts, s->len, S(","));
}

/* ---- field selectors --------------------------------------------------------------------------------- */

/* "\," stands for a comma, "\=" for an equals sign, "\\" for a backslash. */
static bool field_unescape(struct arena *a, struct str s, struct str *ret, struct err *err) {
	char *out = arena_alloc(a, s.len + 1);
	size_t n = 0;

	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];
		if (c == '\\') {
			char next = i + 1 < s.len ? s.ptr[i + 1] : '\0';
			if (next != '\\' && next != ',' && next != '=') {
				return err_set(err, ERR_BAD_REQUEST, "invalid field selector: invalid escape sequence: %.*s", STR_ARG(str_sub(s, i, i + 2)));
			}
			c = next;
			i++;
		} else if (c == ',' || c == '=') {
			return err_set(err, ERR_BAD_REQUEST, "invalid field selector: unescaped character in value: %d", c);
		}
		out[n++] = c;
	}
	out[n] = '\0';
	*ret = (struct str){ out, n };
	return true;
}

static bool field_term_parse(struct arena *a, struct str whole, struct str term, struct field_term *ret, struct err *err) {
	static const struct {
		struct str op;
		bool negate;
	} ops[] = { { S_INIT("!="), true }, { S_INIT("=="), false }, { S_INIT("="), false } };

	for (size_t i = 0; i < term.len; i++) {
		if (term.ptr[i] == '\\') {
			i++;
			continue;
		}
		for (size_t k = 0; k < ARRAY_LEN(ops); k++) {
			if (str_starts(str_from(term, i), ops[k].op)) {
				ret->path = arena_str(a, str_sub(term, 0, i));
				ret->negate = ops[k].negate;
				return field_unescape(a, str_from(term, i + ops[k].op.len), &ret->value, err);
			}
		}
	}
	return err_set(err, ERR_BAD_REQUEST, "invalid selector: '%.*s'; can't understand '%.*s'", STR_ARG(whole), STR_ARG(term));
}

bool field_selector_parse(struct arena *a, struct str text, struct field_selector *ret, struct err *err) {
	VEC(struct field_term) terms = { 0 };
	size_t from = 0;
	bool ok = true;

	for (size_t i = 0; ok && i <= text.len; i++) {
		if (i < text.len && text.ptr[i] == '\\') {
			i++;
			continue;
		}
		if (i < text.len && text.ptr[i] != ',') {
			continue;
		}
		struct str term = str_sub(text, from, i);
		struct field_term t = { 0 };
		from = i + 1;
		if (term.len == 0) {
			continue;
		}
		ok = field_term_parse(a, text, term, &t, err);
		VEC_PUSH(&terms, t);
	}
	/* a text that ends in a lone backslash never reaches its end above */
	if (ok && from < text.len) {
		ok = err_set(err, ERR_BAD_REQUEST, "invalid field selector: invalid escape sequence: \\");
	}
	if (ok) {
		ret->at = arena_array(a, struct field_term, terms.len);
		ret->len = terms.len;
		for (size_t i = 0; i < terms.len; i++) {
			ret->at[i] = terms.at[i];
		}
	}
	VEC_RELEASE(&terms);
	return ok;
}
