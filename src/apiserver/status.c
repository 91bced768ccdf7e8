/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.c - failures in upstream's words, and the metav1.Status that tells them. An err holds code and message; what a
 * Status has beside them (details, causes, long messages) stands in the request.
 */
#include "apiserver/server.h"

struct str qualified(struct arena *a, struct str group, struct str resource) {
	return group.len ? arena_printf(a, "%.*s.%.*s", STR_ARG(resource), STR_ARG(group)) : resource;
}

void fail_details(struct req *r, struct str group, struct str kind, struct str name) {
	r->details = value_new_object(r->a);
	if (name.len) {
		value_set_str(r->a, r->details, N_name, name);
	}
	if (group.len) {
		value_set_str(r->a, r->details, N_group, group);
	}
	if (kind.len) {
		value_set_str(r->a, r->details, N_kind, kind);
	}
}

void fail_cause(struct req *r, struct str reason, struct str message, struct str field) {
	if (!r->details) {
		r->details = value_new_object(r->a);
	}
	struct value *c = value_push(r->a, value_ensure_array(r->a, r->details, N_causes), value_new_object(r->a));
	if (reason.len) {
		value_set_str(r->a, c, N_reason, reason);
	}
	value_set_str(r->a, c, N_message, message);
	if (field.len) {
		value_set_str(r->a, c, N_field, field);
	}
}

static bool fail(struct req *r, enum err_code code, struct str message, struct err *err) {
	r->message = message;
	return err_set(err, code, "%.*s", STR_ARG(message));
}

bool fail_not_found(struct req *r, struct str group, struct str resource, struct str name, struct err *err) {
	fail_details(r, group, resource, name);
	struct str q = qualified(r->a, group, resource);
	return fail(r, ERR_NOT_FOUND, arena_printf(r->a, "%.*s \"%.*s\" not found", STR_ARG(q), STR_ARG(name)), err);
}

bool fail_exists(struct req *r, struct str group, struct str resource, struct str name, struct err *err) {
	fail_details(r, group, resource, name);
	struct str q = qualified(r->a, group, resource);
	return fail(r, ERR_ALREADY_EXISTS, arena_printf(r->a, "%.*s \"%.*s\" already exists", STR_ARG(q), STR_ARG(name)), err);
}

bool fail_conflict(struct req *r, struct str group, struct str resource, struct str name, struct str why, struct err *err) {
	fail_details(r, group, resource, name);
	struct str q = qualified(r->a, group, resource);
	return fail(r, ERR_CONFLICT,
		arena_printf(r->a, "Operation cannot be fulfilled on %.*s \"%.*s\": %.*s", STR_ARG(q), STR_ARG(name), STR_ARG(why)), err);
}

bool fail_forbidden(struct req *r, struct str group, struct str resource, struct str name, struct str why, struct err *err) {
	fail_details(r, group, resource, name);
	struct str q = qualified(r->a, group, resource), message;
	if (resource.len == 0) {
		message = arena_printf(r->a, "forbidden: %.*s", STR_ARG(why));
	} else if (name.len) {
		message = arena_printf(r->a, "%.*s \"%.*s\" is forbidden: %.*s", STR_ARG(q), STR_ARG(name), STR_ARG(why));
	} else {
		message = arena_printf(r->a, "%.*s is forbidden: %.*s", STR_ARG(q), STR_ARG(why));
	}
	return fail(r, ERR_FORBIDDEN, message, err);
}

static struct str cause_reason(enum cause_type t) {
	switch (t) {
	case CAUSE_REQUIRED:
		return S("FieldValueRequired");
	case CAUSE_INVALID:
		return S("FieldValueInvalid");
	case CAUSE_NOT_SUPPORTED:
		return S("FieldValueNotSupported");
	case CAUSE_DUPLICATE:
		return S("FieldValueDuplicate");
	case CAUSE_FORBIDDEN:
		return S("FieldValueForbidden");
	case CAUSE_NOT_FOUND:
		return S("FieldValueNotFound");
	case CAUSE_TOO_LONG:
		return S("FieldValueTooLong");
	case CAUSE_TOO_MANY:
		return S("FieldValueTooMany");
	case CAUSE_TYPE_INVALID:
		return S("FieldValueTypeInvalid");
	case CAUSE_INTERNAL:
		return S("InternalError");
	}
	return S("");
}

static struct str cause_text(struct arena *a, const struct cause *c) {
	return arena_printf(a, "%.*s: %.*s", STR_ARG(c->field), STR_ARG(c->message));
}

bool fail_invalid(struct req *r, struct str group, struct str kind, struct str name, const struct causes *c, struct err *err) {
	struct str *texts = arena_array(r->a, struct str, c->len + 1);
	size_t n = 0;

	fail_details(r, group, kind, name);
	for (size_t i = 0; i < c->len; i++) {
		struct str t = cause_text(r->a, &c->at[i]);
		bool said = false;
		for (size_t k = 0; k < n && !said; k++) {
			said = str_eq(texts[k], t);
		}
		if (!said) {
			texts[n++] = t;
		}
		fail_cause(r, cause_reason(c->at[i].type), c->at[i].message, c->at[i].field);
	}
	struct str q = qualified(r->a, group, kind), all = arena_join(r->a, texts, n, S(", "));
	return fail(r, ERR_INVALID,
		arena_printf(r->a, n > 1 ? "%.*s \"%.*s\" is invalid: [%.*s]" : "%.*s \"%.*s\" is invalid: %.*s", STR_ARG(q), STR_ARG(name), STR_ARG(all)),
		err);
}

bool fail_route(struct req *r, struct err *err) {
	r->details = value_new_object(r->a);
	return fail(r, ERR_NOT_FOUND, S("the server could not find the requested resource"), err);
}

bool fail_method(struct req *r, struct err *err) {
	r->details = value_new_object(r->a);
	return fail(r, ERR_METHOD_NOT_ALLOWED, S("the server does not allow this method on the requested resource"), err);
}

bool fail_retry(struct req *r, enum err_code code, int seconds, struct str message, struct err *err) {
	if (!r->details) {
		r->details = value_new_object(r->a);
	}
	if (seconds) {
		value_set_int(r->a, r->details, N_retryAfterSeconds, seconds);
	}
	return fail(r, code, message, err);
}

bool fail_rv_too_large(struct req *r, int64_t rv, struct err *err) {
	fail_details(r, S(""), S(""), S(""));
	fail_cause(r, S("ResourceVersionTooLarge"), S("Too large resource version"), S(""));
	return fail_retry(r, ERR_TIMEOUT, 1,
		arena_printf(r->a, "Timeout: Too large resource version: %lld, current: %lld", (long long)rv, (long long)cacher_revision(r->s->cacher)), err);
}

bool resource_version_parse(struct req *r, struct str kind, int64_t *ret, struct err *err) {
	struct str text = r->opts.resource_version;
	struct causes c = { .arena = r->a };
	uint64_t n = 0;

	if (text.len && (!str_to_u64(text, &n) || n > INT64_MAX)) {
		cause_add(&c, CAUSE_INVALID, S("resourceVersion"), value_new_str(r->a, text), "strconv.ParseUint: parsing \"%.*s\": invalid syntax", STR_ARG(text));
		return fail_invalid(r, S("meta.k8s.io"), kind, S(""), &c, err);
	}
	*ret = (int64_t)n;
	return true;
}

static struct value *status_new(struct arena *a, struct str outcome) {
	struct value *v = value_new_object(a);

	value_set_str(a, v, N_kind, S("Status"));
	value_set_str(a, v, N_apiVersion, S("v1"));
	value_set(a, v, N_metadata, value_new_object(a));
	value_set_str(a, v, N_status, outcome);
	return v;
}

struct value *status_failure(struct req *r, const struct err *err) {
	struct value *v = status_new(r->a, S("Failure"));

	if (r->fresh_continue.len) {
		value_set_str(r->a, value_get(v, N_metadata), N_continue, r->fresh_continue);
	}
	value_set_str(r->a, v, N_message, r->message.len ? r->message : str_c(err->msg));
	value_set_str(r->a, v, N_reason, str_c(err_reason(err->code)));
	if (r->details) {
		value_set(r->a, v, N_details, r->details);
	}
	value_set_int(r->a, v, N_code, err_http(err->code));
	return v;
}

struct value *status_success(struct arena *a, struct value *details) {
	struct value *v = status_new(a, S("Success"));

	if (details) {
		value_set(a, v, N_details, details);
	}
	return v;
}

void answer_release(struct answer *ans) {
	obj_unref(TAKE(ans->obj));
}
