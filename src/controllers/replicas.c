/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replicas.c - keeps spec.replicas pods of a template alive.
 *
 * One pass: claim the pods, make or delete what is missing or too many (not before the cache shows our last
 * writes), write the status. Handlers run on the loop, passes on pool threads.
 */
#include "controllers/replicas.h"

#include <math.h>
#include <stdatomic.h>

#include "base/log.h"

#define BURST 500 /* pods made or deleted in one pass */
#define WORKERS 5
#define DELETES_AT_ONCE 16

struct replicas {
	struct frame *frame;
	const struct replicas_flavor *flavor;
	struct shared *owners, *pods;
	struct work_queue *queue;
	struct expectations *expectations;
	struct recorder *recorder;
};

/* ---- what wakes a key ----------------------------------------------------------------------------------------- */

static void owner_changed(void *arg, struct obj *old, struct obj *now) {
	struct replicas *c = arg;
	auto_arena struct arena a = { 0 };
	struct str key = meta_key(&a, now ? now->root : old->root);

	if (!now || (old && !str_eq(meta_uid(old->root), meta_uid(now->root)))) {
		expectations_forget(c->expectations, key);
	}
	work_queue_add(c->queue, key);
}

/* An orphan wakes everyone who might adopt it. */
static void wake_matching(struct replicas *c, const struct value *pod) {
	struct client_list owners;

	informer_list(c->owners->informer, meta_ns(pod), &owners);
	for (size_t i = 0; i < owners.len; i++) {
		auto_arena struct arena a = { 0 };
		const struct selector *s = NULL;
		struct err err = { 0 };
		if (c->flavor->selector(&a, owners.at[i]->root, &s, &err) && s && selector_matches(s, meta_labels(pod))) {
			work_queue_add(c->queue, meta_key(&a, owners.at[i]->root));
		}
	}
	client_list_release(&owners);
}

static void pod_gone(struct replicas *c, const struct value *pod) {
	auto_arena struct arena a = { 0 };
	struct str key = controller_key(&a, c->owners, c->flavor->group, c->flavor->kind, pod);

	if (key.len) {
		expectations_deleted(c->expectations, key, meta_uid(pod));
		work_queue_add(c->queue, key);
	}
}

static void pod_changed(void *arg, struct obj *old, struct obj *now) {
	struct replicas *c = arg;
	auto_arena struct arena a = { 0 };

	if (!now) {
		pod_gone(c, old->root);
		return;
	}
	if (meta_deleting(now->root)) {
		pod_gone(c, now->root);
		return;
	}
	struct str key = controller_key(&a, c->owners, c->flavor->group, c->flavor->kind, now->root);
	if (!old && key.len) {
		expectations_created(c->expectations, key);
	}
	if (old) {
		struct str before = controller_key(&a, c->owners, c->flavor->group, c->flavor->kind, old->root);
		if (before.len && !str_eq(before, key)) {
			work_queue_add(c->queue, before);
		}
	}
	if (key.len) {
		work_queue_add(c->queue, key);
	} else if (!meta_controller(now->root) &&
		(!old || meta_controller(old->root) || !value_eq(meta_labels(old->root), meta_labels(now->root)))) {
		wake_matching(c, now->root);
	}
}

/* ---- which pods go first ----------------------------------------------------------------------------------------- */

struct ranked {
	const struct value *pod;
	int64_t rank; /* active related pods on its node: crowded ones go first */
	int64_t cost;
	nsec_t ready_since, created;
	nsec_t now;
};

static int phase_order(const struct value *pod) {
	struct str phase = value_str_at(pod, N_status, N_phase);

	return str_eqc(phase, "Running") ? 2 : str_eqc(phase, "Unknown") ? 1 : 0;
}

static int64_t log_age(nsec_t t, nsec_t now) {
	nsec_t age = now - t;

	return age > 0 ? (int64_t)log2((double)age) : -1;
}

static int cmp_int(int64_t a, int64_t b) {
	return (a > b) - (a < b);
}

/* Ages are compared by powers of two, so that among pods of about one age the choice is spread (by uid) over all. */
static int cmp_age(const struct ranked *a, const struct ranked *b, nsec_t ta, nsec_t tb) {
	int c = cmp_int(log_age(ta, a->now), log_age(tb, a->now));

	return c ? c : str_cmp(meta_uid(a->pod), meta_uid(b->pod));
}

/* Upstream's ActivePodsWithRanks: whoever sorts first is deleted first. */
static int ranked_cmp(const void *pa, const void *pb) {
	const struct ranked *a = pa, *b = pb;
	bool bound_a = value_str_at(a->pod, N_spec, N_nodeName).len > 0, bound_b = value_str_at(b->pod, N_spec, N_nodeName).len > 0;
	bool ready_a = pod_is_ready(a->pod), ready_b = pod_is_ready(b->pod);

	if (bound_a != bound_b) {
		return bound_a ? 1 : -1;
	}
	if (phase_order(a->pod) != phase_order(b->pod)) {
		return cmp_int(phase_order(a->pod), phase_order(b->pod));
	}
	if (ready_a != ready_b) {
		return ready_a ? 1 : -1;
	}
	if (a->cost != b->cost) {
		return cmp_int(a->cost, b->cost);
	}
	if (a->rank != b->rank) {
		return cmp_int(b->rank, a->rank);
	}
	if (ready_a && a->ready_since != b->ready_since) {
		return cmp_age(a, b, a->ready_since, b->ready_since);
	}
	if (pod_restarts(a->pod) != pod_restarts(b->pod)) {
		return cmp_int(pod_restarts(b->pod), pod_restarts(a->pod));
	}
	if (a->created != b->created) {
		return cmp_age(a, b, a->created, b->created);
	}
	return 0;
}

/* How many active pods of `owner` and of its siblings (ReplicaSets of one Deployment) run on each node. */
static void count_related(struct replicas *c, const struct value *owner, struct map *ret_counts, struct arena *a) {
	const struct value *parent = meta_controller(owner);
	struct client_list owners = { 0 };

	if (parent) {
		informer_index(c->owners->informer, index_owner(a, value_str_at(parent, N_uid)), &owners);
	}
	for (size_t i = 0; i < owners.len || (i == 0 && owners.len == 0); i++) {
		struct client_list pods;
		struct str uid = owners.len ? meta_uid(owners.at[i]->root) : meta_uid(owner);
		informer_index(c->pods->informer, index_owner(a, uid), &pods);
		for (size_t p = 0; p < pods.len; p++) {
			if (pod_is_active(pods.at[p]->root)) {
				struct str node = value_str_at(pods.at[p]->root, N_spec, N_nodeName);
				intptr_t n = (intptr_t)map_get(ret_counts, node);
				map_set(ret_counts, node, (void *)(n + 1));
			}
		}
		client_list_release(&pods);
	}
	client_list_release(&owners);
}

static void rank(struct replicas *c, const struct value *owner, struct obj **active, size_t n, struct ranked *ret, struct arena *a) {
	struct map counts = { 0 };
	nsec_t now = clock_wall();

	count_related(c, owner, &counts, a);
	for (size_t i = 0; i < n; i++) {
		const struct value *pod = active[i]->root;
		const struct value *ready = condition_find(value_at(pod, N_status, N_conditions), "Ready");
		ret[i] = (struct ranked){
			.pod = pod,
			.rank = (intptr_t)map_get(&counts, value_str_at(pod, N_spec, N_nodeName)),
			.ready_since = value_time(value_get(ready, N_lastTransitionTime)),
			.created = value_time(value_at(pod, N_metadata, N_creationTimestamp)),
			.now = now,
		};
		if (!str_to_i64(meta_annotation(pod, S("controller.kubernetes.io/pod-deletion-cost")), &ret[i].cost)) {
			ret[i].cost = 0;
		}
	}
	map_release(&counts);
	qsort(ret, n, sizeof(*ret), ranked_cmp);
}

/* ---- one pass ---------------------------------------------------------------------------------------------------------- */

struct pass {
	struct replicas *c;
	struct str key;
	const struct value *owner;
	const struct value *pod; /* to be made */
	const struct ranked *victims;
	atomic_size_t tried;
};

static bool create_one(void *arg, size_t i, struct err *err) {
	struct pass *p = arg;

	atomic_fetch_add(&p->tried, 1);
	if (pod_create(p->c->frame, p->c->recorder, p->owner, p->pod, err)) {
		return true;
	}
	expectations_created(p->c->expectations, p->key); /* it will not be seen */
	return false;
}

static bool delete_one(void *arg, size_t i, struct err *err) {
	struct pass *p = arg;

	bool ok = pod_delete(p->c->frame, p->c->recorder, p->owner, p->victims[i].pod, err);
	if (err->code != ERR_NONE) { /* failed, or gone already: its end may have been seen before we expected it */
		expectations_deleted(p->c->expectations, p->key, meta_uid(p->victims[i].pod));
	}
	return ok;
}

static bool manage(struct replicas *c, struct str key, const struct value *owner, struct obj **active, size_t n, struct err *err) {
	auto_arena struct arena a = { 0 };
	int64_t want = value_as_int_or(value_at(owner, N_spec, N_replicas), 1);
	struct pass p = { .c = c, .key = key, .owner = owner };

	if ((int64_t)n < want) {
		size_t missing = (size_t)MIN(want - (int64_t)n, (int64_t)BURST);
		p.pod = pod_from_template(&a, value_at(owner, N_spec, N_template), owner);
		expectations_expect(c->expectations, key, (int)missing, NULL, 0);
		struct err first = { 0 };
		size_t made = frame_slow_start(missing, create_one, &p, &first);
		if (made < missing) {
			for (size_t i = p.tried; i < missing; i++) {
				expectations_created(c->expectations, key); /* never tried: will not be seen either */
			}
			if (first.code == ERR_FORBIDDEN && str_contains(str_c(first.msg), S("because it is being terminated"))) {
				return true;
			}
			*err = first;
			return false;
		}
	} else if ((int64_t)n > want) {
		size_t extra = (size_t)MIN((int64_t)n - want, (int64_t)BURST);
		struct ranked *all = arena_array(&a, struct ranked, n);
		struct str *uids = arena_array(&a, struct str, extra);
		rank(c, owner, active, n, all, &a);
		for (size_t i = 0; i < extra; i++) {
			uids[i] = meta_uid(all[i].pod);
		}
		expectations_expect(c->expectations, key, 0, uids, extra);
		p.victims = all;
		return frame_parallel(extra, DELETES_AT_ONCE, delete_one, &p, err) == extra;
	}
	return true;
}

static bool template_matches(const struct value *owner, const struct value *pod) {
	const struct value *labels = value_at(owner, N_spec, N_template, N_metadata, N_labels);

	for (size_t i = 0; i < value_len(labels); i++) {
		if (!str_eq(value_as_str(value_item(labels, i)), meta_label(pod, value_key(labels, i)))) {
			return false;
		}
	}
	return true;
}

static bool status_write(struct replicas *c, const struct value *owner, const struct pod_set *pods, bool managed, const struct err *failure, nsec_t *ret_wait,
	struct err *err) {
	auto_arena struct arena a = { 0 };
	int64_t active = 0, labeled = 0, ready = 0, available = 0, terminating = 0;
	int64_t min_ready = value_int_at(owner, N_spec, N_minReadySeconds), want = value_as_int_or(value_at(owner, N_spec, N_replicas), 1);
	nsec_t now = clock_wall();

	for (size_t i = 0; i < pods->len; i++) {
		const struct value *pod = pods->at[i]->root;
		if (!pod_is_active(pod)) {
			terminating += meta_deleting(pod) && !pod_is_finished(pod);
			continue;
		}
		active++;
		labeled += template_matches(owner, pod);
		ready += pod_is_ready(pod);
		available += pod_is_available(pod, min_ready, now, ret_wait);
	}
	struct value *o = object_edit(&a, owner);
	struct value *status = value_ensure_object(&a, o, N_status);
	value_set_int(&a, status, N_replicas, active);
	set_int_omit(&a, status, N_fullyLabeledReplicas, labeled);
	set_int_omit(&a, status, N_readyReplicas, ready);
	set_int_omit(&a, status, N_availableReplicas, available);
	if (c->flavor->terminating) {
		value_set_int(&a, status, N_terminatingReplicas, terminating);
	}
	set_int_omit(&a, status, N_observedGeneration, value_int_at(owner, N_metadata, N_generation));
	struct value *conditions = value_get(status, N_conditions);
	if (!managed && !condition_find(conditions, "ReplicaFailure")) {
		struct condition failed = {
			.type = "ReplicaFailure",
			.status = "True",
			.reason = active < want ? "FailedCreate" : "FailedDelete",
			.message = str_c(failure->msg),
		};
		condition_set(&a, value_ensure_array(&a, status, N_conditions), &failed);
	} else if (managed && condition_remove(conditions, "ReplicaFailure") && value_len(conditions) == 0) {
		value_remove(status, N_conditions);
	}
	if (value_eq(status, value_get(owner, N_status))) {
		return true;
	}
	if (!client_update_status(c->frame->client, c->flavor->gvr, meta_ns(owner), o, NULL, err)) {
		return err->code == ERR_NOT_FOUND;
	}
	return true;
}

static bool sync(void *arg, struct str key, struct err *err) {
	struct replicas *c = arg;
	auto_arena struct arena a = { 0 };
	const struct selector *selector = NULL;
	struct pod_set pods = { 0 };
	struct str ns, name;

	key_split(key, &ns, &name);
	auto_obj struct obj *owner = informer_get(c->owners->informer, ns, name);
	if (!owner) {
		expectations_forget(c->expectations, key);
		return true;
	}
	bool seen = expectations_seen(c->expectations, key);
	if (!c->flavor->selector(&a, owner->root, &selector, err)) {
		log_warn(c->flavor->component, "selector is invalid, left alone", kv_str("key", key), kv_err(err));
		return true;
	}
	if (!pods_claim(c->frame, c->pods, c->flavor->gvr, owner->root, selector, &pods, err)) {
		return false;
	}
	size_t active = 0;
	struct obj **list = arena_array(&a, struct obj *, pods.len);
	for (size_t i = 0; i < pods.len; i++) {
		if (pod_is_active(pods.at[i]->root)) {
			list[active++] = pods.at[i];
		}
	}
	struct err failure = { 0 };
	bool managed = !seen || meta_deleting(owner->root) || manage(c, key, owner->root, list, active, &failure);
	nsec_t wait = 0;
	bool written = status_write(c, owner->root, &pods, managed, &failure, &wait, err);
	pod_set_release(&pods);
	if (wait > 0) {
		work_queue_add_after(c->queue, key, wait + NSEC_PER_MSEC);
	}
	if (!managed) {
		*err = failure;
	}
	return managed && written;
}

void *replicas_make(struct frame *f, const struct replicas_flavor *flavor) {
	struct replicas *c = xcalloc(1, sizeof(*c));

	c->frame = f;
	c->flavor = flavor;
	c->expectations = expectations_new();
	c->recorder = recorder_new(f->client, flavor->component, NULL);
	c->queue = frame_queue(f, flavor->component, WORKERS, sync, c);
	c->owners = frame_watch(f, flavor->gvr, owner_changed, c);
	c->pods = frame_watch(f, GVR_PODS, pod_changed, c);
	return c;
}

void replicas_free(void *controller) {
	struct replicas *c = controller;

	recorder_free(c->recorder);
	expectations_free(c->expectations);
	free(c);
}
