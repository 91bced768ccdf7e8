/* SPDX-License-Identifier: Apache-2.0 */
/* secret.c - Secrets and ConfigMaps: keys, size, types, immutability. */
#include "apiserver/kinds/kinds_private.h"

#define DATA_MAX (1024 * 1024)

static const char *key_rule(struct str key) {
	if (!key.len || key.len > 253) {
		return key.len ? "must be no more than 253 bytes" :
				 "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for "
				 "validation is '[-._a-zA-Z0-9]+')";
	}
	for (size_t i = 0; i < key.len; i++) {
		char ch = key.ptr[i];
		if (!((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '-' || ch == '_' || ch == '.')) {
			return "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for "
			       "validation is '[-._a-zA-Z0-9]+')";
		}
	}
	if (str_eq(key, S(".")) || str_eq(key, S(".."))) {
		return key.len == 1 ? "must not be '.'" : "must not be '..'";
	}
	return key.len > 2 && str_starts(key, S("..")) ? "must not start with '..'" : NULL;
}

static size_t keys(const struct value *data, struct str path, struct causes *c) {
	size_t total = 0;
	for (size_t i = 0; i < value_len(data); i++) {
		struct str key = value_key(data, i);
		const char *why = key_rule(key);
		if (why) {
			cause_add(c, CAUSE_INVALID, path_key(c->arena, path, key), value_new_str(c->arena, key), "%s", why);
		}
		total += value_as_str(value_item(data, i)).len;
	}
	return total;
}

static void immutable_after(const struct value *o, const struct value *old, const enum name_id *fields, size_t n, struct causes *c) {
	if (!value_bool_at(old, N_immutable)) {
		return;
	}
	if (!value_bool_at(o, N_immutable)) {
		cause_add(c, CAUSE_FORBIDDEN, S("immutable"), NULL, "field is immutable when `immutable` is set");
	}
	for (size_t i = 0; i < n; i++) {
		const struct value *now = value_get(o, fields[i]), *was = value_get(old, fields[i]);
		if (!(value_is_empty(now) && value_is_empty(was)) && !value_eq(now, was)) {
			cause_add(c, CAUSE_FORBIDDEN, name_text(fields[i]), NULL, "field is immutable when `immutable` is set");
		}
	}
}

/* ---- Secret ---- */

static const struct {
	const char *type;
	const char *keys[2];
	bool any; /* one of them is enough */
} secret_types[] = {
	{ "kubernetes.io/dockercfg", { ".dockercfg" }, false },
	{ "kubernetes.io/dockerconfigjson", { ".dockerconfigjson" }, false },
	{ "kubernetes.io/basic-auth", { "username", "password" }, true },
	{ "kubernetes.io/ssh-auth", { "ssh-privatekey" }, false },
	{ "kubernetes.io/tls", { "tls.crt", "tls.key" }, false },
};

static void fold_string_data(struct kind_ctx *x, struct value *o) {
	/* stringData was folded into data by the defaults; it is never stored. */
	value_remove(o, N_stringData);
}

static void secret_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	const struct value *data = value_get(o, N_data);
	struct str type = value_str_at(o, N_type);
	if (keys(data, S("data"), c) / 4 * 3 > DATA_MAX) {
		cause_add(c, CAUSE_TOO_LONG, S("data"), NULL, "may not be more than %d bytes", DATA_MAX);
	}
	for (size_t i = 0; i < ARRAY_LEN(secret_types); i++) {
		if (!str_eqc(type, secret_types[i].type)) {
			continue;
		}
		size_t have = 0, want = 0;
		for (size_t k = 0; k < 2 && secret_types[i].keys[k]; k++) {
			bool there = value_get_str(data, str_c(secret_types[i].keys[k])) != NULL;
			want++;
			have += there;
			if (!there && !secret_types[i].any) {
				cause_add(c, CAUSE_REQUIRED, path_key(c->arena, S("data"), str_c(secret_types[i].keys[k])), NULL, NULL);
			}
		}
		if (secret_types[i].any && !have) {
			for (size_t k = 0; k < want; k++) {
				cause_add(c, CAUSE_REQUIRED, path_key(c->arena, S("data"), str_c(secret_types[i].keys[k])), NULL, NULL);
			}
		}
	}
	if (str_eq(type, S("kubernetes.io/service-account-token")) &&
		!value_as_str(value_get_str(value_at(o, N_metadata, N_annotations), S("kubernetes.io/service-account.name"))).len) {
		cause_add(c, CAUSE_REQUIRED, S("metadata.annotations[kubernetes.io/service-account.name]"), NULL, NULL);
	}
}

static void secret_prepare_update(struct kind_ctx *x, struct value *o, const struct value *old) {
	if (!value_str_at(o, N_type).len) { /* a patch may leave it out */
		value_set_str(x->arena, o, N_type, value_str_at(old, N_type));
	}
	fold_string_data(x, o);
}

static void secret_validate_update(struct kind_ctx *x, const struct value *o, const struct value *old, struct causes *c) {
	static const enum name_id fields[] = { N_data };
	must_be_immutable(c, value_get(o, N_type), value_get(old, N_type), S("type"));
	immutable_after(o, old, fields, ARRAY_LEN(fields), c);
}

const struct kind_ops secret_ops = { .group = S_INIT(""), .resource = S_INIT("secrets"), .prepare_create = fold_string_data,
	.prepare_update = secret_prepare_update, .validate = secret_validate, .validate_update = secret_validate_update, .no_generation = true };

/* ---- ConfigMap ---- */

static void config_map_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	const struct value *data = value_get(o, N_data), *binary = value_get(o, N_binaryData);
	size_t total = keys(data, S("data"), c) + keys(binary, S("binaryData"), c) / 4 * 3;
	for (size_t i = 0; i < value_len(data); i++) {
		struct str key = value_key(data, i);
		if (value_get_str(binary, key)) {
			cause_add(c, CAUSE_INVALID, path_key(c->arena, S("data"), key), value_new_str(c->arena, key), "duplicate of key present in binaryData");
		}
	}
	if (total > DATA_MAX) {
		cause_add(c, CAUSE_TOO_LONG, S(""), NULL, "may not be more than %d bytes", DATA_MAX);
	}
}

static void config_map_validate_update(struct kind_ctx *x, const struct value *o, const struct value *old, struct causes *c) {
	static const enum name_id fields[] = { N_data, N_binaryData };
	immutable_after(o, old, fields, ARRAY_LEN(fields), c);
}

const struct kind_ops config_map_ops = { .group = S_INIT(""), .resource = S_INIT("configmaps"), .validate = config_map_validate,
	.validate_update = config_map_validate_update, .no_generation = true };
