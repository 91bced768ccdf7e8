/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openapi_v2.c - an OpenAPI v2 document as the protobuf message openapi.v2.Document, which clients ask for as
 * application/com.github.proto-openapi.spec.v2@v1.0+protobuf.
 *
 * Called by the API server with the value that openapi_v2() made. Each message of the published layout has a table of its fields;
 * one writer walks document and tables together. Any thread.
 */
#include "schema/schema.h"
#include "schema/wire.h"

enum shape {
	TEXT,
	BOOL,
	TEXTS,      /* repeated string */
	MESSAGE,    /* nested */
	MESSAGES,   /* repeated */
	NAMED,      /* a map: repeated {1: name, 2: value}, inside one message under field `in` */
	ANYS,       /* repeated Any, each as its YAML */
	TYPE,       /* {1: repeated string} of one text */
	SECURITIES, /* a list of {name: [scopes]} */
	WRAPPED,    /* nested in a message that has it as field 1 */
	PARAMETER,  /* body, query or path */
};

struct rule {
	enum name_id name;
	uint8_t num;
	enum shape shape;
	const struct rule *below; /* ends with N_NONE, whose num is that of vendor extensions (0: none) */
	uint8_t in;               /* NAMED: number of the repeated entries in their holder; 0 when there is no holder */
};

static const struct rule schema_rules[];

static const struct rule info_rules[] = { { N_title, 1, TEXT }, { N_version, 2, TEXT }, { N_description, 3, TEXT }, { N_NONE, 7 } };
static const struct rule api_key_rules[] = { { N_type, 1, TEXT }, { N_name, 2, TEXT }, { N_in, 3, TEXT }, { N_description, 4, TEXT }, { N_NONE, 5 } };
static const struct rule security_rules[] = { { N_NONE, 0, MESSAGE, api_key_rules, 2 } };
static const struct rule schema_rules[] = {
	{ N__ref, 1, TEXT },
	{ N_format, 2, TEXT },
	{ N_description, 4, TEXT },
	{ N_required, 19, TEXTS },
	{ N_enum, 20, ANYS },
	{ N_additionalProperties, 21, WRAPPED, schema_rules },
	{ N_type, 22, TYPE },
	{ N_items, 23, WRAPPED, schema_rules },
	{ N_allOf, 24, MESSAGES, schema_rules },
	{ N_properties, 25, NAMED, schema_rules, 1 },
	{ N_NONE, 31 },
};
static const struct rule response_rules[] = { { N_description, 1, TEXT }, { N_schema, 2, WRAPPED, schema_rules }, { N_NONE, 5 } };
static const struct rule body_rules[] = {
	{ N_description, 1, TEXT },
	{ N_name, 2, TEXT },
	{ N_in, 3, TEXT },
	{ N_required, 4, BOOL },
	{ N_schema, 5, MESSAGE, schema_rules },
	{ N_NONE, 6 },
};
static const struct rule query_rules[] = {
	{ N_required, 1, BOOL },
	{ N_in, 2, TEXT },
	{ N_description, 3, TEXT },
	{ N_name, 4, TEXT },
	{ N_type, 6, TEXT },
	{ N_format, 7, TEXT },
	{ N_uniqueItems, 20, BOOL },
	{ N_NONE, 23 },
};
static const struct rule path_rules[] = {
	{ N_required, 1, BOOL },
	{ N_in, 2, TEXT },
	{ N_description, 3, TEXT },
	{ N_name, 4, TEXT },
	{ N_type, 5, TEXT },
	{ N_format, 6, TEXT },
	{ N_uniqueItems, 19, BOOL },
	{ N_NONE, 22 },
};
static const struct rule operation_rules[] = {
	{ N_tags, 1, TEXTS },
	{ N_description, 3, TEXT },
	{ N_operationId, 5, TEXT },
	{ N_produces, 6, TEXTS },
	{ N_consumes, 7, TEXTS },
	{ N_parameters, 8, PARAMETER },
	{ N_responses, 9, NAMED, response_rules, 1 },
	{ N_schemes, 10, TEXTS },
	{ N_NONE, 13 },
};
static const struct rule path_item_rules[] = {
	{ N_get, 2, MESSAGE, operation_rules },
	{ N_put, 3, MESSAGE, operation_rules },
	{ N_post, 4, MESSAGE, operation_rules },
	{ N_delete, 5, MESSAGE, operation_rules },
	{ N_options, 6, MESSAGE, operation_rules },
	{ N_head, 7, MESSAGE, operation_rules },
	{ N_patch, 8, MESSAGE, operation_rules },
	{ N_parameters, 9, PARAMETER },
	{ N_NONE, 10 },
};
static const struct rule document_rules[] = {
	{ N_swagger, 1, TEXT },
	{ N_info, 2, MESSAGE, info_rules },
	{ N_paths, 8, NAMED, path_item_rules, 2 },
	{ N_definitions, 9, NAMED, schema_rules, 1 },
	{ N_security, 12, SECURITIES },
	{ N_securityDefinitions, 13, NAMED, security_rules, 1 },
	{ N_NONE, 16 },
};

static void write_message(struct buf *b, const struct rule *rules, const struct value *v);

static void put_yaml(struct buf *b, uint32_t num, const struct value *v) { /* an Any; JSON is YAML */
	size_t any = message_open(b, num), text = message_open(b, 2);

	json_print(b, v);
	buf_char(b, '\n');
	message_close(b, text);
	message_close(b, any);
}

static void put_nested(struct buf *b, uint32_t num, const struct rule *rules, const struct value *v) {
	size_t from = message_open(b, num);

	write_message(b, rules, v);
	message_close(b, from);
}

/* Responses stand in one more message: a response or a reference. */
static void put_named_value(struct buf *b, const struct rule *below, const struct value *v) {
	size_t from = message_open(b, 2);

	if (below == response_rules) {
		put_nested(b, 1, below, v);
	} else if (below == security_rules) {
		put_nested(b, below->in, below->below, v);
	} else {
		write_message(b, below, v);
	}
	message_close(b, from);
}

static void put_named(struct buf *b, const struct rule *r, const struct value *v) {
	size_t holder = message_open(b, r->num);

	for (size_t i = 0; i < value_len(v); i++) {
		size_t entry = message_open(b, r->in);

		put_bytes(b, 1, value_key(v, i));
		put_named_value(b, r->below, value_item(v, i));
		message_close(b, entry);
	}
	message_close(b, holder);
}

static void put_parameter(struct buf *b, uint32_t num, const struct value *v) {
	struct str in = value_str_at(v, N_in);
	size_t item = message_open(b, num), parameter = message_open(b, 1);

	if (str_eq(in, S("body"))) {
		put_nested(b, 1, body_rules, v);
	} else {
		size_t plain = message_open(b, 2);
		bool path = str_eq(in, S("path"));

		put_nested(b, path ? 4 : 3, path ? path_rules : query_rules, v);
		message_close(b, plain);
	}
	message_close(b, parameter);
	message_close(b, item);
}

static void put_security(struct buf *b, uint32_t num, const struct value *v) {
	size_t requirement = message_open(b, num);

	for (size_t i = 0; i < value_len(v); i++) {
		size_t entry = message_open(b, 1), scopes;

		put_bytes(b, 1, value_key(v, i));
		scopes = message_open(b, 2);
		for (size_t k = 0; k < value_len(value_item(v, i)); k++) {
			put_bytes(b, 1, value_as_str(value_item(value_item(v, i), k)));
		}
		message_close(b, scopes);
		message_close(b, entry);
	}
	message_close(b, requirement);
}

static void put_each(struct buf *b, const struct rule *r, const struct value *list) {
	for (size_t i = 0; i < value_len(list); i++) {
		const struct value *it = value_item(list, i);

		if (r->shape == TEXTS) {
			put_bytes(b, r->num, value_as_str(it));
		} else if (r->shape == ANYS) {
			put_yaml(b, r->num, it);
		} else if (r->shape == PARAMETER) {
			put_parameter(b, r->num, it);
		} else if (r->shape == SECURITIES) {
			put_security(b, r->num, it);
		} else {
			put_nested(b, r->num, r->below, it);
		}
	}
}

static void put_rule(struct buf *b, const struct rule *r, const struct value *v) {
	size_t from;

	switch (r->shape) {
	case TEXT:
		put_bytes(b, r->num, value_as_str(v));
		break;
	case BOOL:
		put_int(b, r->num, value_as_bool(v));
		break;
	case TYPE:
		from = message_open(b, r->num);
		put_bytes(b, 1, value_as_str(v));
		message_close(b, from);
		break;
	case MESSAGE:
		put_nested(b, r->num, r->below, v);
		break;
	case WRAPPED:
		from = message_open(b, r->num);
		put_nested(b, 1, r->below, v);
		message_close(b, from);
		break;
	case NAMED:
		put_named(b, r, v);
		break;
	case TEXTS:
	case ANYS:
	case MESSAGES:
	case PARAMETER:
	case SECURITIES:
		put_each(b, r, v);
		break;
	}
}

static void write_message(struct buf *b, const struct rule *rules, const struct value *v) {
	const struct rule *r = rules;

	for (; r->name != N_NONE; r++) {
		const struct value *m = value_get(v, r->name);

		if (m) {
			put_rule(b, r, m);
		}
	}
	for (size_t i = 0; r->num && i < value_len(v); i++) {
		if (str_starts(value_key(v, i), S("x-"))) {
			size_t named = message_open(b, r->num);

			put_bytes(b, 1, value_key(v, i));
			put_yaml(b, 2, value_item(v, i));
			message_close(b, named);
		}
	}
}

bool openapi_v2_protobuf(struct buf *b, const struct value *document) {
	write_message(b, document_rules, document);
	return !b->overflow;
}
