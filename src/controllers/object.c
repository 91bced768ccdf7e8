/* SPDX-License-Identifier: Apache-2.0 */
/* object.c - small readings and edits of objects. Pure functions over values; any thread. */
#include "controllers/object.h"

bool meta_has_finalizer(const struct value *o, struct str name) {
	VALUE_EACH(value_at(o, N_metadata, N_finalizers), f) {
		if (str_eq(value_as_str(f), name)) {
			return true;
		}
	}
	return false;
}

struct str meta_key(struct arena *a, const struct value *o) {
	struct str ns = meta_ns(o), name = meta_name(o);

	return ns.len ? arena_printf(a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name)) : arena_str(a, name);
}

const struct value *meta_controller(const struct value *o) {
	VALUE_EACH(value_at(o, N_metadata, N_ownerReferences), ref) {
		if (value_bool_at(ref, N_controller)) {
			return ref;
		}
	}
	return NULL;
}

struct value *owner_ref(struct arena *a, const struct value *owner) {
	struct value *ref = value_new_object(a);

	value_set_str(a, ref, N_apiVersion, value_str_at(owner, N_apiVersion));
	value_set_str(a, ref, N_kind, value_str_at(owner, N_kind));
	value_set_str(a, ref, N_name, meta_name(owner));
	value_set_str(a, ref, N_uid, meta_uid(owner));
	value_set_bool(a, ref, N_controller, true);
	value_set_bool(a, ref, N_blockOwnerDeletion, true);
	return ref;
}

nsec_t value_time(const struct value *v) {
	nsec_t t = 0;

	return time_parse(value_as_str(v), &t) ? t : 0;
}

struct str time_text_of(struct arena *a, nsec_t wall) {
	char text[TIME_TEXT_MAX];

	return arena_str(a, time_format(wall, text));
}

struct str now_text(struct arena *a) {
	return time_text_of(a, clock_wall());
}

const struct value *condition_find(const struct value *conditions, const char *type) {
	return value_find_by(conditions, N_type, str_c(type));
}

bool condition_is(const struct value *conditions, const char *type, const char *status) {
	return str_eqc(value_str_at(condition_find(conditions, type), N_status), status);
}

bool condition_set(struct arena *a, struct value *conditions, const struct condition *c) {
	struct str now = now_text(a);
	struct value *is = (struct value *)condition_find(conditions, c->type);
	bool same_status = is && str_eqc(value_str_at(is, N_status), c->status);

	if (same_status && str_eqc(value_str_at(is, N_reason), c->reason) && (c->update_time || str_eq(value_str_at(is, N_message), c->message))) {
		return false;
	}
	struct value *fresh = is ? is : value_push(a, conditions, value_new_object(a));
	value_set_str(a, fresh, N_type, str_c(c->type));
	value_set_str(a, fresh, N_status, str_c(c->status));
	if (c->update_time) {
		value_set_str(a, fresh, N_lastUpdateTime, now);
	}
	if (c->probe_time) {
		value_set_str(a, fresh, N_lastProbeTime, now);
	}
	if (!same_status) {
		value_set_str(a, fresh, N_lastTransitionTime, now);
	}
	value_set_str(a, fresh, N_reason, str_c(c->reason));
	value_set_str(a, fresh, N_message, c->message);
	return true;
}

bool condition_remove(struct value *conditions, const char *type) {
	for (size_t i = 0; i < value_len(conditions); i++) {
		if (str_eqc(value_str_at(value_item(conditions, i), N_type), type)) {
			value_remove_at(conditions, i);
			return true;
		}
	}
	return false;
}

int64_t int_or_percent(const struct value *v, int64_t total, bool round_up) {
	struct str s = value_as_str(v);
	int64_t percent = 0;

	if (!value_is(v, VALUE_STRING)) {
		return value_as_int(v);
	}
	if (!str_ends(s, S("%")) || !str_to_i64(str_sub(s, 0, s.len - 1), &percent)) {
		return 0;
	}
	return (percent * total + (round_up ? 99 : 0)) / 100;
}

void set_int_omit(struct arena *a, struct value *object, enum name_id name, int64_t i) {
	if (i != 0) {
		value_set_int(a, object, name, i);
	} else {
		value_remove(object, name);
	}
}

struct value *value_shallow(struct arena *a, const struct value *v) {
	struct value *copy = value_is(v, VALUE_ARRAY) ? value_new_array(a) : value_new_object(a);

	for (size_t i = 0; i < value_len(v); i++) {
		if (copy->type == VALUE_ARRAY) {
			value_push(a, copy, value_item(v, i));
		} else {
			value_set_key(a, copy, value_key(v, i), value_item(v, i));
		}
	}
	return copy;
}

struct value *object_edit(struct arena *a, const struct value *o) {
	struct value *copy = value_shallow(a, o);

	value_set(a, copy, N_metadata, value_copy(a, value_get(o, N_metadata)));
	if (value_get(o, N_status)) {
		value_set(a, copy, N_status, value_copy(a, value_get(o, N_status)));
	}
	return copy;
}

struct str safe_hash(struct arena *a, const struct value *v, int64_t collisions) {
	static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
	struct str json = json_text(a, v);
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < json.len; i++) {
		h = (h ^ (uint8_t)json.ptr[i]) * 16777619u;
	}
	for (int i = 0; i < 8 && collisions > 0; i++) {
		h = (h ^ (uint8_t)(collisions >> (8 * i))) * 16777619u;
	}
	char digits[16];
	int n = snprintf(digits, sizeof(digits), "%u", h);
	for (int i = 0; i < n; i++) {
		digits[i] = alphabet[(size_t)digits[i] % (sizeof(alphabet) - 1)];
	}
	return arena_str(a, (struct str){ digits, (size_t)n });
}
