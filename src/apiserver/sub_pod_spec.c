/* SPDX-License-Identifier: Apache-2.0 */
/* sub_pod_spec.c - pods/ephemeralcontainers and pods/resize: the two changes of a running pod's spec. */
#include "apiserver/server.h"

static bool take_ephemeral(struct req *r, struct value *o, const struct value *current, const struct value *sent, struct causes *c) {
	const struct value *list = value_at(sent, N_spec, N_ephemeralContainers);

	VALUE_EACH(value_at(current, N_spec, N_ephemeralContainers), old) {
		struct str name = value_str_at(old, N_name);
		const struct value *now = value_find_by(list, N_name, name);
		if (!now) {
			cause_add(c, CAUSE_FORBIDDEN, S("spec.ephemeralContainers"), NULL, "existing ephemeral containers \"%.*s\" may not be removed", STR_ARG(name));
		} else if (!value_eq(now, old)) {
			cause_add(c, CAUSE_FORBIDDEN, S("spec.ephemeralContainers"), NULL, "existing ephemeral containers \"%.*s\" may not be changed", STR_ARG(name));
		}
	}
	if (list) {
		value_set(r->a, value_get(o, N_spec), N_ephemeralContainers, list);
	}
	return c->len == 0;
}

static void take_resources(struct req *r, struct value *list, const struct value *sent, const char *path, struct causes *c) {
	VALUE_EACH(list, con) {
		const struct value *now = value_find_by(sent, N_name, value_str_at(con, N_name));
		if (!now) {
			cause_add(c, CAUSE_FORBIDDEN, str_c(path), NULL, "containers may not be added or removed on resize");
			continue;
		}
		const struct value *resources = value_get(now, N_resources);
		if (resources) {
			value_set(r->a, con, N_resources, resources);
		}
		const struct value *policy = value_get(now, N_resizePolicy);
		if (policy) {
			value_set(r->a, con, N_resizePolicy, policy);
		}
	}
}

static bool next_pod(struct req *r, const struct value *current, void *arg, struct value **ret, struct err *err) {
	struct causes c = { .arena = r->a };
	struct value *sent = NULL, *o = value_copy(r->a, current);

	if (r->verb == VERB_PATCH) {
		if (!patch_value(r, r->st->type, current, &sent, err)) {
			return false;
		}
	} else {
		sent = *(struct value **)arg;
		struct str rv = value_str_at(sent, N_metadata, N_resourceVersion);
		if (rv.len && !str_eq(rv, value_str_at(current, N_metadata, N_resourceVersion))) {
			return fail_conflict(r, S(""), S("pods"), r->info.name, RV_CONFLICT, err);
		}
	}
	struct str name = value_str_at(sent, N_metadata, N_name);
	if (!str_eq(name, r->info.name)) {
		return err_set(err, ERR_BAD_REQUEST, "the name of the object (%.*s) does not match the name on the URL (%.*s)", STR_ARG(name), STR_ARG(r->info.name));
	}
	struct value *spec = value_ensure_object(r->a, o, N_spec);
	if (str_eq(r->info.subresource, S("ephemeralcontainers"))) {
		(void)take_ephemeral(r, o, current, sent, &c);
	} else {
		take_resources(r, value_get(spec, N_containers), value_at(sent, N_spec, N_containers), "spec.containers", &c);
		take_resources(r, value_get(spec, N_initContainers), value_at(sent, N_spec, N_initContainers), "spec.initContainers", &c);
	}
	if (c.len == 0 && canonical(r, r->st->type, &o, err) && r->st->ops->validate) {
		r->st->ops->validate(&r->kx, o, &c);
	}
	if (c.len) {
		return fail_invalid(r, S(""), S("Pod"), name, &c, err);
	}
	if (!value_eq(value_get(o, N_spec), value_get(current, N_spec)) && value_int_at(current, N_metadata, N_generation)) {
		value_set_int(r->a, value_get(o, N_metadata), N_generation, value_int_at(current, N_metadata, N_generation) + 1);
	}
	*ret = o;
	return true;
}

bool serve_pod_spec(struct req *r, struct answer *ret, struct err *err) {
	struct value *sent = NULL;

	if (r->verb == VERB_GET) {
		return registry_get(r, ret, err);
	}
	if (r->verb == VERB_UPDATE && !body_decode(r, r->st->type, true, &sent, err)) {
		return false;
	}
	ret->res = r->res;
	return registry_modify_object(r, r->st, r->info.ns, r->info.name, MODIFY_RAW, next_pod, &sent, &ret->obj, NULL, err);
}
