/* SPDX-License-Identifier: Apache-2.0 */
/* sub_binding.c - pods/binding and bindings: the scheduler's word that a pod runs on a node. */
#include "apiserver/server.h"

static void set_condition(struct req *r, struct value *status, struct str type, struct str state) {
	struct value *list = value_ensure_array(r->a, status, N_conditions), *c = value_find_by(list, N_type, type);

	if (c && str_eq(value_str_at(c, N_status), state)) {
		return;
	}
	if (!c) {
		c = value_push(r->a, list, value_new_object(r->a));
		value_set_str(r->a, c, N_type, type);
	}
	value_set_str(r->a, c, N_status, state);
	value_set_str(r->a, c, N_lastTransitionTime, api_now_text(r->a));
	value_remove(c, N_reason);
	value_remove(c, N_message);
}

static bool bind(struct req *r, const struct value *pod, void *arg, struct value **ret, struct err *err) {
	const struct value *b = *(struct value *const *)arg;
	struct str name = value_str_at(pod, N_metadata, N_name), node = value_str_at(pod, N_spec, N_nodeName), why = { 0 };
	struct str uid = value_str_at(b, N_metadata, N_uid), have = value_str_at(pod, N_metadata, N_uid);

	if (uid.len && !str_eq(uid, have)) {
		why = arena_printf(r->a, "Precondition failed: UID in precondition: %.*s, UID in object meta: %.*s", STR_ARG(uid), STR_ARG(have));
	} else if (value_str_at(pod, N_metadata, N_deletionTimestamp).len) {
		why = arena_printf(r->a, "pod %.*s is being deleted, cannot be assigned to a host", STR_ARG(name));
	} else if (node.len) {
		why = arena_printf(r->a, "pod %.*s is already assigned to node \"%.*s\"", STR_ARG(name), STR_ARG(node));
	} else if (value_len(value_at(pod, N_spec, N_schedulingGates))) {
		why = arena_printf(r->a, "pod %.*s has non-empty .spec.schedulingGates", STR_ARG(name));
	}
	if (why.len) {
		return fail_conflict(r, S(""), S("pods/binding"), name, why, err);
	}
	struct value *o = value_copy(r->a, pod);
	value_set_str(r->a, value_ensure_object(r->a, o, N_spec), N_nodeName, value_str_at(b, N_target, N_name));
	const struct value *notes = value_at(b, N_metadata, N_annotations);
	for (size_t i = 0; i < value_len(notes); i++) {
		value_set_key(r->a, value_ensure_object(r->a, value_get(o, N_metadata), N_annotations), value_key(notes, i), value_item(notes, i));
	}
	set_condition(r, value_ensure_object(r->a, o, N_status), S("PodScheduled"), S("True"));
	*ret = o;
	return true;
}

bool serve_binding(struct req *r, struct answer *ret, struct err *err) {
	const struct schema_type *type = schema_kind_find(S(""), S("v1"), S("Binding"));
	struct causes c = { .arena = r->a };
	struct value *b = NULL;
	auto_obj struct obj *o = NULL;

	if (!body_decode(r, type, true, &b, err)) {
		return false;
	}
	struct str name = r->info.name.len ? r->info.name : value_str_at(b, N_metadata, N_name), kind = value_str_at(b, N_target, N_kind);
	if (kind.len && !str_eq(kind, S("Node"))) {
		static const struct str kinds[] = { S_INIT("Node"), S_INIT("<empty>") };
		cause_not_supported(&c, S("target.kind"), value_at(b, N_target, N_kind), kinds, ARRAY_LEN(kinds));
	}
	if (value_str_at(b, N_target, N_name).len == 0) {
		cause_add(&c, CAUSE_REQUIRED, S("target.name"), NULL, "%s", "");
	}
	if (c.len) {
		return fail_invalid(r, S(""), S("Binding"), name, &c, err);
	}
	struct storage *pods = storage_find(r->s, S(""), S("pods"));
	if (!registry_modify_object(r, pods, r->info.ns, name, MODIFY_RAW, bind, &b, &o, NULL, err)) {
		return false;
	}
	ret->code = 201;
	ret->value = status_success(r->a, NULL);
	return true;
}
