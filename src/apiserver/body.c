/* SPDX-License-Identifier: Apache-2.0 */
/*
 * body.c - request bodies into canonical values: JSON, YAML and protobuf, with upstream's words for what cannot be
 * read and with unknown and duplicate fields treated as fieldValidation says.
 */
#include "apiserver/server.h"

#define DEPTH_MAX 1000 /* deeper bodies are refused: nothing real comes near */
#define SCHEME "pkg/api/legacyscheme/scheme.go:30"

/* The first 30 bytes of what could not be read. */
static struct str summary(struct arena *a, struct str body) {
	const char *more = body.len > 30 ? " ..." : "";

	if (body.len == 0) {
		return S("<empty>");
	}
	struct str head = str_sub(body, 0, 30);
	if (body.ptr[0] == '{') {
		return arena_printf(a, "%.*s%s", STR_ARG(head), more);
	}
	struct str hex = hex_encode(a, head);
	return arena_printf(a, "%.*s%s", STR_ARG(hex), more);
}

static bool unrecognized(struct req *r, const struct schema_type *type, struct str why, struct err *err) {
	struct str kind = schema_type_short(type), sum = summary(r->a, r->body);

	return err_set(err, ERR_BAD_REQUEST, "the object provided is unrecognized (must be of type %.*s): %.*s (%.*s)", STR_ARG(kind), STR_ARG(why),
		STR_ARG(sum));
}

static bool not_handled(const struct schema_type *type, struct str kind, struct str version, struct str why, struct err *err) {
	struct str want = schema_type_short(type);
	char copy[640]; /* `why` may be err's own text */

	snprintf(copy, sizeof(copy), "%.*s", STR_ARG(why));
	return err_set(err, ERR_BAD_REQUEST, "%.*s in version \"%.*s\" cannot be handled as a %.*s: %s", STR_ARG(kind), STR_ARG(version), STR_ARG(want),
		copy);
}

/* kind and apiVersion of the body against what the endpoint takes; empty ones are filled in by schema_decode. */
static bool check_kind(struct req *r, const struct schema_type *type, const struct value *raw, struct err *err) {
	struct str api_version = value_str_at(raw, N_apiVersion), kind = value_str_at(raw, N_kind), group, version;
	struct str want_kind = schema_type_short(type), want_group = schema_type_group(type), want_version = schema_type_version(type);

	if (kind.len == 0) {
		if (api_version.len == 0 || !r->x) {
			return true;
		}
		kind = want_kind;
	}
	if (api_version.len == 0) {
		group = want_group;
		version = want_version;
	} else if (!schema_split_api_version(api_version, &group, &version)) {
		return unrecognized(r, type, arena_printf(r->a, "couldn't get version/kind; json parse error: unexpected GroupVersion string: %.*s",
						    STR_ARG(api_version)), err);
	}
	if (type->flags & SCHEMA_TYPE_EVERY_GROUP && str_eq(kind, want_kind)) {
		return true; /* DeleteOptions of any group */
	}
	if (str_eq(kind, want_kind) && str_eq(group, want_group) && str_eq(version, want_version)) {
		return true;
	}
	const struct schema_type *known = schema_kind_find(group, version, kind);
	if (!known) {
		struct str av = api_version.len ? api_version : version;
		return not_handled(type, kind, version,
			arena_printf(r->a, "no kind \"%.*s\" is registered for version \"%.*s\" in scheme \"" SCHEME "\"", STR_ARG(kind), STR_ARG(av)), err);
	}
	if (str_eq(kind, want_kind)) {
		struct str want = want_group.len ? arena_printf(r->a, "%.*s/%.*s", STR_ARG(want_group), STR_ARG(want_version)) : want_version;
		return err_set(err, ERR_BAD_REQUEST, "the API version in the data (%.*s) does not match the expected API version (%.*s)",
			STR_ARG(api_version), STR_ARG(want));
	}
	return not_handled(type, kind, version,
		arena_printf(r->a, "converting (%s%.*s.%.*s) to (%.*s.%.*s): unknown conversion", "", STR_ARG(version), STR_ARG(kind), STR_ARG(want_version),
			STR_ARG(want_kind)),
		err);
}

/* A body need not say what it is: the endpoint knows. */
static const struct value *with_kind(struct arena *a, const struct schema_type *type, const struct value *raw) {
	if (value_str_at(raw, N_kind).len && value_str_at(raw, N_apiVersion).len) {
		return raw;
	}
	struct value *o = value_new_object(a);
	struct str group = schema_type_group(type), version = schema_type_version(type);
	value_set_str(a, o, N_kind, schema_type_short(type));
	value_set_str(a, o, N_apiVersion, group.len ? arena_printf(a, "%.*s/%.*s", STR_ARG(group), STR_ARG(version)) : version);
	VALUE_EACH(raw, m) {
		if (m->name != N_kind && m->name != N_apiVersion) {
			value_set_key(a, o, value_key(raw, (size_t)(m - value_item(raw, 0))), m);
		}
	}
	return o;
}

static bool report_problems(struct req *r, const struct schema_type *type, const struct value *v, const struct schema_report *rep, struct err *err) {
	if (rep->problems.len == 0 || r->opts.validation == FIELD_VALIDATION_IGNORE) {
		return true;
	}
	if (r->opts.validation == FIELD_VALIDATION_WARN) {
		for (size_t i = 0; i < rep->problems.len; i++) {
			kind_warn(&r->kx, "%.*s", STR_ARG(rep->problems.at[i]));
		}
		return true;
	}
	struct str all = arena_join(r->a, rep->problems.at, rep->problems.len, S(", "));
	struct str kind = schema_type_short(type), version = schema_type_version(type);
	r->message = arena_printf(r->a, "%.*s in version \"%.*s\" cannot be handled as a %.*s: strict decoding error: %.*s", STR_ARG(kind), STR_ARG(version),
		STR_ARG(kind), STR_ARG(all));
	return err_set(err, ERR_BAD_REQUEST, "%.*s", STR_ARG(r->message));
}

static bool decode_raw(struct req *r, const struct schema_type *type, const struct value *raw, struct schema_report *rep, bool defaults,
	struct value **ret, struct err *err) {
	if (!value_is(raw, VALUE_OBJECT)) {
		return unrecognized(r, type, S("couldn't get version/kind; json parse error: json: cannot unmarshal into Go value of type struct"), err);
	}
	if (!check_kind(r, type, raw, err)) {
		return false;
	}
	struct value *v = NULL;
	raw = with_kind(r->a, type, raw);
	if (!schema_decode(r->a, type, raw, rep, &v, err)) {
		return not_handled(type, schema_type_short(type), schema_type_version(type), str_c(err->msg), err);
	}
	if (rep && !report_problems(r, type, v, rep, err)) {
		return false;
	}
	if (defaults) {
		schema_default(r->a, type, v);
	}
	*ret = v;
	return true;
}

bool value_decode(struct req *r, const struct schema_type *type, const struct value *raw, bool defaults, struct value **ret, struct err *err) {
	return decode_raw(r, type, raw, NULL, defaults, ret, err);
}

bool body_decode(struct req *r, const struct schema_type *type, bool defaults, struct value **ret, struct err *err) {
	struct schema_report rep = { .arena = r->a };
	struct json_opts opts = { .depth_max = DEPTH_MAX, .borrow = true, .on_duplicate = schema_report_duplicate, .arg = &rep };
	enum media_format format;
	struct value *raw = NULL;

	if (r->body_value) {
		return value_decode(r, type, r->body_value, defaults, ret, err);
	}
	if (!media_body(r->content_type, &format, err)) {
		return false;
	}
	if (format == MEDIA_PROTOBUF) {
		const struct schema_type *t = NULL;
		if (!pb_is_object(r->body)) {
			return unrecognized(r, type, S("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"), err);
		}
		if (!pb_decode_object(r->a, r->body, type, &t, &raw, err)) {
			char why[640];
			snprintf(why, sizeof(why), "%s", err->msg);
			return unrecognized(r, type, str_c(why), err);
		}
		return decode_raw(r, type, raw, NULL, defaults, ret, err);
	}
	bool parsed = format == MEDIA_YAML ? yaml_parse(r->a, r->body, &opts, &raw, err) : json_parse(r->a, r->body, &opts, &raw, err);
	if (!parsed) {
		struct str why = arena_printf(r->a, format == MEDIA_YAML ? "%s" : "couldn't get version/kind; json parse error: %s", err->msg);
		schema_report_release(&rep);
		return unrecognized(r, type, why, err);
	}
	bool ok = decode_raw(r, type, raw, &rep, defaults, ret, err);
	schema_report_release(&rep);
	return ok;
}

bool canonical(struct req *r, const struct schema_type *type, struct value **v, struct err *err) {
	struct value *out = NULL;

	if (!schema_decode(r->a, type, *v, NULL, &out, err)) {
		return not_handled(type, schema_type_short(type), schema_type_version(type), str_c(err->msg), err);
	}
	*v = out;
	return true;
}
