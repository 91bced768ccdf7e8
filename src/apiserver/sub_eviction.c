/* SPDX-License-Identifier: Apache-2.0 */
/* sub_eviction.c - pods/eviction: a deletion that asks the pod's disruption budget first. */
#include "apiserver/server.h"
#include "client/selector.h"

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
	value_set_key_str(r->a, value_ensure_object(r->a, status, N_disruptedPods), pod, api_now_text(r->a));
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
