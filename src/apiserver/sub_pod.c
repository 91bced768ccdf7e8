/* SPDX-License-Identifier: Apache-2.0 */
/* sub_pod.c - what only pods have: binding to a node, eviction within their disruption budget, ephemeral containers, resize. */
#include "apiserver/server.h"
#include "client/selector.h"

/* ---- binding ------------------------------------------------------------------------------------- */

static struct str now_text(struct arena *a) {
	char text[TIME_TEXT_MAX];

	return arena_str(a, time_format(clock_wall(), text));
}

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
	value_set_str(r->a, c, N_lastTransitionTime, now_text(r->a));
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

/* ---- eviction -------------------------------------------------------------------------------------- */

static bool too_many(struct req *r, struct str cause, int retry, struct err *err) {
	r->details = value_new_object(r->a);
	fail_cause(r, S("DisruptionBudget"), cause, S(""));
	struct str message = S("Cannot evict pod as it would violate the pod's disruption budget.");
	if (retry) {
		return fail_retry(r, ERR_TOO_MANY_REQUESTS, retry, message, err);
	}
	r->message = message;
	return err_set(err, ERR_TOO_MANY_REQUESTS, "%.*s", STR_ARG(message));
}

static bool spend(struct req *r, const struct value *pdb, void *arg, struct value **ret, struct err *err) {
	struct str pod = *(struct str *)arg, name = value_str_at(pdb, N_metadata, N_name);
	int64_t allowed = value_int_at(pdb, N_status, N_disruptionsAllowed);

	if (value_int_at(pdb, N_status, N_observedGeneration) < value_int_at(pdb, N_metadata, N_generation)) {
		return too_many(r, arena_printf(r->a, "The disruption budget %.*s is still being processed by the server.", STR_ARG(name)), 10, err);
	}
	if (allowed < 0) {
		return fail_forbidden(r, S("policy"), S("poddisruptionbudgets"), name, S("pdb disruptions allowed is negative"), err);
	}
	if (allowed == 0) {
		return too_many(r, arena_printf(r->a, "The disruption budget %.*s needs %lld healthy pods and has %lld currently", STR_ARG(name),
					   (long long)value_int_at(pdb, N_status, N_desiredHealthy), (long long)value_int_at(pdb, N_status, N_currentHealthy)),
			0, err);
	}
	struct value *o = value_copy(r->a, pdb), *status = value_ensure_object(r->a, o, N_status);
	value_set_int(r->a, status, N_disruptionsAllowed, allowed - 1);
	value_set_key_str(r->a, value_ensure_object(r->a, status, N_disruptedPods), pod, now_text(r->a));
	*ret = o;
	return true;
}

static bool is_ready(const struct value *pod) {
	return str_eq(value_str_at(value_find_by(value_at(pod, N_status, N_conditions), N_type, S("Ready")), N_status), S("True"));
}

/* The names of the budgets that hold for the pod: at most two are looked for. */
static int budgets_of(struct req *r, const struct value *pod, struct str *ret_name, bool *ret_ignore) {
	struct storage *st = storage_find(r->s, S("policy"), S("poddisruptionbudgets"));
	struct str prefix = arena_printf(r->a, "%.*s/", STR_ARG(r->info.ns));
	struct snapshot snap;
	struct tree_iter it;
	int n = 0;

	*ret_ignore = false;
	cache_snapshot(st->cache, &snap);
	tree_seek(&it, snap.root, prefix);
	for (struct tree_item *i; (i = tree_next(&it)) && str_starts(tree_key(i), prefix);) {
		const struct selector *sel = NULL;
		struct err err = { 0 };
		const struct value *pdb = i->obj->root;
		if (!value_at(pdb, N_spec, N_selector) || !selector_from_value(r->a, value_at(pdb, N_spec, N_selector), &sel, &err) ||
			!selector_matches(sel, value_at(pod, N_metadata, N_labels))) {
			continue;
		}
		n++;
		*ret_name = arena_str(r->a, value_str_at(pdb, N_metadata, N_name));
		/* Pods that do not work may go whenever the budget says so, or while it is met without them. */
		*ret_ignore = str_eq(value_str_at(pdb, N_spec, N_unhealthyPodEvictionPolicy), S("AlwaysAllow")) ||
			(value_int_at(pdb, N_status, N_currentHealthy) >= value_int_at(pdb, N_status, N_desiredHealthy) &&
				value_int_at(pdb, N_status, N_desiredHealthy) > 0);
	}
	snapshot_release(&snap);
	return n;
}

bool serve_eviction(struct req *r, struct answer *ret, struct err *err) {
	const struct schema_type *type = schema_kind_find(S("policy"), S("v1"), S("Eviction"));
	struct value *e = NULL;
	struct str budget = S("");
	bool ignore;

	if (!body_decode(r, type, true, &e, err)) {
		return false;
	}
	struct str name = value_str_at(e, N_metadata, N_name);
	if (name.len && !str_eq(name, r->info.name)) {
		return err_set(err, ERR_BAD_REQUEST, "name in URL does not match name in Eviction object");
	}
	name = r->info.name;
	auto_obj struct obj *pod = storage_get(r->st, r->info.ns, name);
	if (!pod) {
		return fail_not_found(r, S(""), S("pods"), name, err);
	}
	const struct value *options = value_get(e, N_deleteOptions);
	VALUE_EACH(value_get(options, N_dryRun), d) {
		r->opts.dry_run |= str_eq(value_as_str(d), S("All"));
	}
	struct str phase = value_str_at(pod->root, N_status, N_phase);
	bool free_to_go = value_str_at(pod->root, N_metadata, N_deletionTimestamp).len || str_eq(phase, S("Succeeded")) || str_eq(phase, S("Failed")) ||
		str_eq(phase, S("Pending"));
	if (!free_to_go) {
		int n = budgets_of(r, pod->root, &budget, &ignore);
		if (n > 1) {
			return err_set(err, ERR_INTERNAL, "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.");
		}
		if (n == 1 && !(ignore && !is_ready(pod->root))) {
			struct storage *pdbs = storage_find(r->s, S("policy"), S("poddisruptionbudgets"));
			auto_obj struct obj *after = NULL;
			if (!registry_modify_object(r, pdbs, r->info.ns, budget, MODIFY_RAW, spend, &name, &after, NULL, err)) {
				return false;
			}
		}
	}
	struct answer gone = { 0 };
	bool ok = registry_delete_one(r, r->st, r->info.ns, name, options, &gone, err);
	answer_release(&gone);
	ret->code = 201;
	ret->value = status_success(r->a, NULL);
	return ok;
}

/* ---- ephemeral containers and resize ---------------------------------------------------------------- */

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
