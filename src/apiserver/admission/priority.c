/* SPDX-License-Identifier: Apache-2.0 */
/* priority.c - Priority: resolves a pod's priorityClassName into its priority and preemption policy. */
#include "apiserver/server.h"

/* The class that is the default of all; the one with the lowest value when several say so. */
static struct obj *default_class(struct storage *st) {
	struct snapshot snap;
	struct tree_iter it;
	struct obj *best = NULL;

	cache_snapshot(st->cache, &snap);
	tree_seek(&it, snap.root, S(""));
	for (struct tree_item *i; (i = tree_next(&it));) {
		if (value_bool_at(i->obj->root, N_globalDefault) &&
			(!best || value_int_at(i->obj->root, N_value) < value_int_at(best->root, N_value))) {
			obj_unref(best);
			best = obj_ref(i->obj);
		}
	}
	snapshot_release(&snap);
	return best;
}

static bool admit(struct admission *ad, struct err *err) {
	struct req *r = ad->r;

	if (ad->group.len || !str_eq(ad->resource, S("pods")) || ad->sub.len || !ad->object) {
		return true;
	}
	struct value *spec = value_ensure_object(r->a, ad->object, N_spec);
	struct storage *st = storage_find(r->s, S("scheduling.k8s.io"), S("priorityclasses"));
	struct str name = value_str_at(spec, N_priorityClassName);
	const struct value *asked = value_get(spec, N_priority);
	int64_t priority = 0;
	struct str policy = S("PreemptLowerPriority");
	auto_obj struct obj *class = NULL;

	if (name.len) {
		class = storage_get(st, S(""), name);
		if (!class) {
			return fail_forbidden(r, S(""), S("pods"), ad->name, arena_printf(r->a, "no PriorityClass with name %.*s was found", STR_ARG(name)), err);
		}
	} else if ((class = default_class(st))) {
		value_set_str(r->a, spec, N_priorityClassName, value_str_at(class->root, N_metadata, N_name));
	}
	if (class) {
		priority = value_int_at(class->root, N_value);
		policy = value_str_at(class->root, N_preemptionPolicy).len ? value_str_at(class->root, N_preemptionPolicy) : policy;
	}
	if (asked && value_as_int(asked) != priority) {
		return fail_forbidden(r, S(""), S("pods"), ad->name,
			arena_printf(r->a, "the integer value of priority (%lld) must not be provided in pod spec; priority admission controller computed %lld from the given "
					   "PriorityClass name",
				(long long)value_as_int(asked), (long long)priority),
			err);
	}
	value_set_int(r->a, spec, N_priority, priority);
	if (!value_get(spec, N_preemptionPolicy)) {
		value_set_str(r->a, spec, N_preemptionPolicy, policy);
	}
	return true;
}

const struct admission_plugin admit_priority = { "Priority", ADMIT_CREATE, admit, NULL };
