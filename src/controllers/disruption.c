/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disruption.c - how many pods of each PodDisruptionBudget may be evicted now.
 *
 * One pass for one budget: count its pods, how many should be healthy (a share of what their controllers want), how many
 * are; forget evictions that have happened or did not come to pass within two minutes; write the status, which the
 * eviction API reads. Handlers on the loop, passes on pool threads.
 */
#include "controllers/pods.h"

#define WORKERS 2
#define EVICTION_WAIT (120 * NSEC_PER_SEC)

struct disruption {
	struct frame *frame;
	struct shared *budgets, *pods, *replica_sets, *controllers, *deployments, *stateful_sets;
	struct work_queue *queue;
	struct recorder *recorder;
};

/* ---- what should be ----------------------------------------------------------------------------------------------------------- */

static struct obj *owner_get(struct shared *s, const struct value *o, const struct value *ref, const char *kind) {
	if (!str_eqc(value_str_at(ref, N_kind), kind)) {
		return NULL;
	}
	struct obj *owner = informer_get(s->informer, meta_ns(o), value_str_at(ref, N_name));
	if (owner && !str_eq(meta_uid(owner->root), value_str_at(ref, N_uid))) {
		obj_unref(owner);
		owner = NULL;
	}
	return owner;
}

/* The controller whose scale stands for the pod: a Deployment rather than its ReplicaSet. One reference; NULL when it has none we know. */
static struct obj *scaled_owner(struct disruption *c, const struct value *pod) {
	const struct value *ref = meta_controller(pod);
	struct obj *owner = NULL;

	if (!ref) {
		return NULL;
	}
	auto_obj struct obj *set = owner_get(c->replica_sets, pod, ref, "ReplicaSet");
	if (set) {
		const struct value *above = meta_controller(set->root);
		owner = above ? owner_get(c->deployments, pod, above, "Deployment") : NULL;
		return owner ? owner : TAKE(set);
	}
	owner = owner_get(c->stateful_sets, pod, ref, "StatefulSet");
	return owner ? owner : owner_get(c->controllers, pod, ref, "ReplicationController");
}

static int64_t expected_scale(struct disruption *c, struct obj *const *pods, size_t n, size_t *ret_unmanaged) {
	struct map seen = { 0 };
	int64_t sum = 0;

	*ret_unmanaged = 0;
	for (size_t i = 0; i < n; i++) {
		auto_obj struct obj *owner = scaled_owner(c, pods[i]->root);
		if (!owner) {
			++*ret_unmanaged;
		} else if (!map_set(&seen, meta_uid(owner->root), c)) {
			sum += value_as_int_or(value_at(owner->root, N_spec, N_replicas), 1);
		}
	}
	map_release(&seen);
	return sum;
}

static void wanted(struct disruption *c, const struct value *budget, struct obj *const *pods, size_t n, int64_t *ret_expected, int64_t *ret_healthy) {
	const struct value *max = value_at(budget, N_spec, N_maxUnavailable), *min = value_at(budget, N_spec, N_minAvailable);
	size_t unmanaged = 0;

	*ret_expected = (int64_t)n;
	*ret_healthy = 0;
	if (max) {
		*ret_expected = expected_scale(c, pods, n, &unmanaged);
		*ret_healthy = MAX(*ret_expected - int_or_percent(max, *ret_expected, true), (int64_t)0);
	} else if (value_is(min, VALUE_STRING)) {
		*ret_expected = expected_scale(c, pods, n, &unmanaged);
		*ret_healthy = int_or_percent(min, *ret_expected, true);
	} else if (min) {
		*ret_healthy = value_as_int(min);
	}
	if (unmanaged) {
		recorder_event(c->recorder, budget, "Warning", "UnmanagedPods",
			"Pods selected by this PodDisruptionBudget were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, "
			"which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.");
	}
}

/* ---- what is ---------------------------------------------------------------------------------------------------------------------- */

/* Evictions that are under way: the pod is neither gone yet, nor has it been too long. */
static struct value *evictions_left(struct arena *a, const struct value *budget, struct obj *const *pods, size_t n, nsec_t *ret_wait) {
	const struct value *was = value_at(budget, N_status, N_disruptedPods);
	struct value *left = value_new_object(a);
	nsec_t now = clock_wall();

	for (size_t i = 0; i < n; i++) {
		const struct value *at = value_get_str(was, meta_name(pods[i]->root));
		if (!at || meta_deleting(pods[i]->root)) {
			continue;
		}
		nsec_t until = value_time(at) + EVICTION_WAIT;
		if (until > now) {
			value_set_key(a, left, meta_name(pods[i]->root), at);
			*ret_wait = *ret_wait ? MIN(*ret_wait, until - now) : until - now;
		}
	}
	return left;
}

static bool status_write(struct disruption *c, struct str key, const struct value *budget, struct obj *const *pods, size_t n, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct value *o = object_edit(&a, budget), *status = value_ensure_object(&a, o, N_status);
	int64_t expected, desired, healthy = 0;
	nsec_t wait = 0;
	struct value *left = evictions_left(&a, budget, pods, n, &wait);

	wanted(c, budget, pods, n, &expected, &desired);
	for (size_t i = 0; i < n; i++) {
		healthy += !meta_deleting(pods[i]->root) && pod_is_ready(pods[i]->root) && !value_get_str(left, meta_name(pods[i]->root));
	}
	int64_t allowed = expected <= 0 ? 0 : MAX(healthy - desired, (int64_t)0);
	if (value_len(left)) {
		value_set(&a, status, N_disruptedPods, left);
	} else {
		value_remove(status, N_disruptedPods);
	}
	value_set_int(&a, status, N_disruptionsAllowed, allowed);
	value_set_int(&a, status, N_currentHealthy, healthy);
	value_set_int(&a, status, N_desiredHealthy, desired);
	value_set_int(&a, status, N_expectedPods, expected);
	set_int_omit(&a, status, N_observedGeneration, value_int_at(budget, N_metadata, N_generation));
	struct condition condition = {
		.type = "DisruptionAllowed",
		.status = allowed > 0 ? "True" : "False",
		.reason = allowed > 0 ? "SufficientPods" : "InsufficientPods",
		.message = S(""),
	};
	struct value *conditions = value_ensure_array(&a, status, N_conditions);
	if (condition_set(&a, conditions, &condition)) {
		struct value *v = (struct value *)condition_find(conditions, "DisruptionAllowed");
		set_int_omit(&a, v, N_observedGeneration, value_int_at(budget, N_metadata, N_generation));
	}
	if (wait > 0) {
		work_queue_add_after(c->queue, key, wait + NSEC_PER_MSEC);
	}
	if (value_eq(status, value_get(budget, N_status))) {
		return true;
	}
	return client_update_status(c->frame->client, GVR_PODDISRUPTIONBUDGETS, meta_ns(budget), o, NULL, err) || err->code == ERR_NOT_FOUND;
}

/* ---- one pass ------------------------------------------------------------------------------------------------------------------------ */

static bool sync(void *arg, struct str key, struct err *err) {
	struct disruption *c = arg;
	auto_arena struct arena a = { 0 };
	const struct selector *selector = NULL;
	struct client_list pods;
	struct str ns, name;
	size_t n = 0;

	key_split(key, &ns, &name);
	auto_obj struct obj *budget = informer_get(c->budgets->informer, ns, name);
	if (!budget || meta_deleting(budget->root)) {
		return true;
	}
	if (!selector_from_value(&a, value_at(budget->root, N_spec, N_selector), &selector, err)) {
		return true; /* the server let it in: nothing will make it better but an edit */
	}
	informer_list(c->pods->informer, ns, &pods);
	struct obj **matching = arena_array(&a, struct obj *, pods.len + 1);
	for (size_t i = 0; i < pods.len; i++) {
		if (selector_matches(selector, meta_labels(pods.at[i]->root)) && !pod_is_finished(pods.at[i]->root)) {
			matching[n++] = pods.at[i];
		}
	}
	if (n == 0) {
		recorder_event(c->recorder, budget->root, "Normal", "NoPods", "No matching pods found");
	}
	bool ok = status_write(c, key, budget->root, matching, n, err);
	client_list_release(&pods);
	return ok;
}

static void budget_changed(void *arg, struct obj *old, struct obj *now) {
	struct disruption *c = arg;
	auto_arena struct arena a = { 0 };

	if (now) {
		work_queue_add(c->queue, meta_key(&a, now->root));
	}
}

static void wake(struct disruption *c, const struct value *labels_of, const struct value *labels, struct str ns) {
	struct client_list all;

	if (!c->budgets->informer) {
		return;
	}
	informer_list(c->budgets->informer, ns, &all);
	for (size_t i = 0; i < all.len; i++) {
		auto_arena struct arena a = { 0 };
		const struct selector *s = NULL;
		struct err err = { 0 };
		if (!labels_of || (selector_from_value(&a, value_at(all.at[i]->root, N_spec, N_selector), &s, &err) && selector_matches(s, labels))) {
			work_queue_add(c->queue, meta_key(&a, all.at[i]->root));
		}
	}
	client_list_release(&all);
}

static void pod_changed(void *arg, struct obj *old, struct obj *now) {
	struct disruption *c = arg;
	const struct value *pod = (now ? now : old)->root;

	if (old && now && pod_is_ready(old->root) == pod_is_ready(now->root) && meta_deleting(old->root) == meta_deleting(now->root) &&
		pod_is_finished(old->root) == pod_is_finished(now->root) && value_eq(meta_labels(old->root), meta_labels(now->root))) {
		return;
	}
	wake(c, pod, meta_labels(pod), meta_ns(pod));
	if (old && now && !value_eq(meta_labels(old->root), meta_labels(now->root))) {
		wake(c, old->root, meta_labels(old->root), meta_ns(pod));
	}
}

/* A new scale changes what a share of it is. */
static void owner_changed(void *arg, struct obj *old, struct obj *now) {
	struct disruption *c = arg;

	if (!old || !now || !value_eq(value_at(old->root, N_spec, N_replicas), value_at(now->root, N_spec, N_replicas))) {
		wake(c, NULL, NULL, meta_ns((now ? now : old)->root));
	}
}

static void *make(struct frame *f) {
	struct disruption *c = xcalloc(1, sizeof(*c));

	c->frame = f;
	c->recorder = recorder_new(f->client, "controllermanager", NULL);
	c->queue = frame_queue(f, "disruption", WORKERS, sync, c);
	c->budgets = frame_watch(f, GVR_PODDISRUPTIONBUDGETS, budget_changed, c);
	c->pods = frame_watch(f, GVR_PODS, pod_changed, c);
	c->replica_sets = frame_watch(f, GVR_REPLICASETS, owner_changed, c);
	c->controllers = frame_watch(f, GVR_REPLICATIONCONTROLLERS, owner_changed, c);
	c->deployments = frame_watch(f, GVR_DEPLOYMENTS, owner_changed, c);
	c->stateful_sets = frame_watch(f, GVR_STATEFULSETS, owner_changed, c);
	return c;
}

static void destroy(void *controller) {
	struct disruption *c = controller;

	recorder_free(c->recorder);
	free(c);
}

const struct controller_ops disruption_controller = { .name = "disruption", .make = make, .free = destroy };
