/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node_lifecycle.c - says when a node has gone silent, and turns what nodes say into taints.
 *
 * A heartbeat is a renewed Lease in kube-node-lease or a newer time in the node's conditions, by our own
 * clock: after the grace without one the conditions become Unknown and the node's pods not ready. Taints
 * follow the conditions; taint_eviction.c acts on them. When no node at all is ready, the fault is taken to be ours, and no
 * pods are driven away. Handlers on the loop, passes on pool threads; the times of heartbeats stand under a lock.
 */
#include <pthread.h>

#include "base/log.h"
#include "controllers/frame.h"
#include "controllers/object.h"
#include "controllers/pods.h"

#define GRACE (40 * NSEC_PER_SEC)
#define STARTUP_GRACE (60 * NSEC_PER_SEC)
#define WORKERS 4
#define LEASES S("kube-node-lease")

struct node_lifecycle {
	struct frame *frame;
	struct shared *nodes, *leases, *pods;
	struct work_queue *queue; /* names of nodes */
	struct recorder *recorder;
	pthread_mutex_t lock;
	struct map seen; /* node -> time of the last heartbeat, owned nsec_t; under the lock */
};

/* ---- heartbeats ----------------------------------------------------------------------------------------------------- */

static void heartbeat(struct node_lifecycle *c, struct str node) {
	pthread_mutex_lock(&c->lock);
	nsec_t *t = map_get(&c->seen, node);
	if (!t) {
		t = xmalloc(sizeof(*t));
		map_set(&c->seen, node, t);
	}
	*t = clock_mono();
	pthread_mutex_unlock(&c->lock);
}

static nsec_t last_seen(struct node_lifecycle *c, struct str node) {
	pthread_mutex_lock(&c->lock);
	const nsec_t *t = map_get(&c->seen, node);
	nsec_t seen = t ? *t : 0;
	pthread_mutex_unlock(&c->lock);
	return seen;
}

static const struct value *ready_of(const struct value *node) {
	return condition_find(value_at(node, N_status, N_conditions), "Ready");
}

/* Whether pods are driven away depends on some node being ready: those that are not look again. */
static void wake_unready(struct node_lifecycle *c) {
	struct client_list all;

	informer_list(c->nodes->informer, S(""), &all);
	for (size_t i = 0; i < all.len; i++) {
		if (ready_of(all.at[i]->root) && !str_eqc(value_str_at(ready_of(all.at[i]->root), N_status), "True")) {
			work_queue_add(c->queue, meta_name(all.at[i]->root));
		}
	}
	client_list_release(&all);
}

static void node_changed(void *arg, struct obj *old, struct obj *now) {
	struct node_lifecycle *c = arg;
	struct str name = meta_name((now ? now : old)->root);

	if (!now) {
		pthread_mutex_lock(&c->lock);
		free(map_remove(&c->seen, name));
		pthread_mutex_unlock(&c->lock);
		return;
	}
	if (!old || !value_eq(value_get(ready_of(old->root), N_lastHeartbeatTime), value_get(ready_of(now->root), N_lastHeartbeatTime))) {
		heartbeat(c, name);
	}
	if (!old || !value_eq(value_get(ready_of(old->root), N_status), value_get(ready_of(now->root), N_status))) {
		wake_unready(c);
	}
	if (!old || !value_eq(value_get(old->root, N_spec), value_get(now->root, N_spec)) ||
		!value_eq(value_at(old->root, N_status, N_conditions), value_at(now->root, N_status, N_conditions))) {
		work_queue_add(c->queue, name);
	}
}

static void lease_changed(void *arg, struct obj *old, struct obj *now) {
	struct node_lifecycle *c = arg;

	if (now && str_eq(meta_ns(now->root), LEASES) &&
		(!old || !value_eq(value_at(old->root, N_spec, N_renewTime), value_at(now->root, N_spec, N_renewTime)))) {
		heartbeat(c, meta_name(now->root));
	}
}

/* ---- a node that is silent ------------------------------------------------------------------------------------------- */

static bool unknown_put(struct node_lifecycle *c, const struct value *node, struct err *err) {
	static const char *const types[] = { "Ready", "MemoryPressure", "DiskPressure", "PIDPressure" };
	auto_arena struct arena a = { 0 };
	struct value *o = object_edit(&a, node), *status = value_ensure_object(&a, o, N_status);
	struct value *conditions = value_ensure_array(&a, status, N_conditions);
	struct str now = now_text(&a);
	bool changed = false;

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		struct value *is = (struct value *)condition_find(conditions, types[i]);
		if (is && str_eqc(value_str_at(is, N_status), "Unknown")) {
			continue;
		}
		changed = true;
		struct value *v = is ? is : value_push(&a, conditions, value_new_object(&a));
		value_set_str(&a, v, N_type, str_c(types[i]));
		value_set_str(&a, v, N_status, S("Unknown"));
		if (!is) {
			value_set_str(&a, v, N_lastHeartbeatTime, value_str_at(node, N_metadata, N_creationTimestamp));
		}
		value_set_str(&a, v, N_lastTransitionTime, now);
		value_set_str(&a, v, N_reason, is ? S("NodeStatusUnknown") : S("NodeStatusNeverUpdated"));
		value_set_str(&a, v, N_message, is ? S("Kubelet stopped posting node status.") : S("Kubelet never posted node status."));
	}
	if (!changed) {
		return true;
	}
	struct str name = meta_name(node);
	log_warn("node-lifecycle", "node has gone silent", kv_str("node", name));
	return client_update_status(c->frame->client, GVR_NODES, S(""), o, NULL, err) || err->code == ERR_NOT_FOUND;
}

/* Its pods may run on, but nobody knows: they take no more traffic. */
static bool pods_not_ready(struct node_lifecycle *c, struct str node, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct client_list pods;
	bool ok = true;

	informer_index(c->pods->informer, index_node(&a, node), &pods);
	for (size_t i = 0; i < pods.len; i++) {
		const struct value *pod = pods.at[i]->root;
		if (!pod_is_ready(pod)) {
			continue;
		}
		struct value *patch = value_new_object(&a), *status = value_set(&a, patch, N_status, value_new_object(&a)), *ready = value_new_object(&a);
		value_set_str(&a, ready, N_type, S("Ready"));
		value_set_str(&a, ready, N_status, S("False"));
		value_set_str(&a, ready, N_lastTransitionTime, now_text(&a));
		value_push(&a, value_set(&a, status, N_conditions, value_new_array(&a)), ready);
		struct err one = { 0 };
		if (client_patch(c->frame->client, GVR_PODS, meta_ns(pod), meta_name(pod), S("status"), PATCH_STRATEGIC, patch, NULL, &one)) {
			recorder_event(c->recorder, pod, "Warning", "NodeNotReady", "Node is not ready");
		} else if (one.code != ERR_NOT_FOUND) {
			ok = false;
			*err = one;
		}
	}
	client_list_release(&pods);
	return ok;
}

/* ---- conditions as taints ------------------------------------------------------------------------------------------------ */

struct taint_rule {
	const char *condition, *status; /* condition NULL: spec.unschedulable */
	const char *key, *effect;
};
static const struct taint_rule rules[] = {
	{ "Ready", "False", "node.kubernetes.io/not-ready", "NoSchedule" },
	{ "Ready", "Unknown", "node.kubernetes.io/unreachable", "NoSchedule" },
	{ "MemoryPressure", "True", "node.kubernetes.io/memory-pressure", "NoSchedule" },
	{ "DiskPressure", "True", "node.kubernetes.io/disk-pressure", "NoSchedule" },
	{ "PIDPressure", "True", "node.kubernetes.io/pid-pressure", "NoSchedule" },
	{ "NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable", "NoSchedule" },
	{ NULL, NULL, "node.kubernetes.io/unschedulable", "NoSchedule" },
	{ "Ready", "False", "node.kubernetes.io/not-ready", "NoExecute" },
	{ "Ready", "Unknown", "node.kubernetes.io/unreachable", "NoExecute" },
};

static const struct value *taint_find(const struct value *taints, const struct taint_rule *r) {
	VALUE_EACH(taints, t) {
		if (str_eqc(value_str_at(t, N_key), r->key) && str_eqc(value_str_at(t, N_effect), r->effect)) {
			return t;
		}
	}
	return NULL;
}

/* Whether some node is ready: if none is, it is more likely that we are cut off. */
static bool some_node_ready(struct node_lifecycle *c) {
	struct client_list all;
	bool some = false;

	informer_list(c->nodes->informer, S(""), &all);
	for (size_t i = 0; i < all.len; i++) {
		some = some || str_eqc(value_str_at(ready_of(all.at[i]->root), N_status), "True");
	}
	client_list_release(&all);
	return some;
}

static bool rule_holds(struct node_lifecycle *c, const struct taint_rule *r, const struct value *node) {
	if (!r->condition) {
		return value_bool_at(node, N_spec, N_unschedulable);
	}
	if (!condition_is(value_at(node, N_status, N_conditions), r->condition, r->status)) {
		return false;
	}
	return !str_eqc(str_c(r->effect), "NoExecute") || some_node_ready(c);
}

static bool is_ours(const struct value *taint) {
	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		if (str_eqc(value_str_at(taint, N_key), rules[i].key) && str_eqc(value_str_at(taint, N_effect), rules[i].effect)) {
			return true;
		}
	}
	return false;
}

static bool taints_put(struct node_lifecycle *c, const struct value *node, struct err *err) {
	const struct value *taints = value_at(node, N_spec, N_taints);
	auto_arena struct arena a = { 0 };
	struct value *next = value_new_array(&a);

	VALUE_EACH(taints, t) {
		if (!is_ours(t)) {
			value_push(&a, next, t);
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		const struct taint_rule *r = &rules[i];
		const struct value *is = taint_find(taints, r);
		if (!rule_holds(c, r, node)) {
			continue;
		}
		if (is) {
			value_push(&a, next, is);
			continue;
		}
		struct value *t = value_push(&a, next, value_new_object(&a));
		value_set_str(&a, t, N_key, str_c(r->key));
		value_set_str(&a, t, N_effect, str_c(r->effect));
		value_set_str(&a, t, N_timeAdded, now_text(&a));
	}
	bool same = value_len(next) == value_len(taints);
	for (size_t i = 0; i < value_len(next) && same; i++) {
		const struct taint_rule r = { .key = arena_cstr(&a, value_str_at(value_item(next, i), N_key)),
			.effect = arena_cstr(&a, value_str_at(value_item(next, i), N_effect)) };
		same = taint_find(taints, &r) != NULL;
	}
	if (same) {
		return true;
	}
	struct value *patch = value_new_object(&a), *meta = value_set(&a, patch, N_metadata, value_new_object(&a));
	value_set_str(&a, meta, N_resourceVersion, value_str_at(node, N_metadata, N_resourceVersion));
	value_set(&a, value_set(&a, patch, N_spec, value_new_object(&a)), N_taints, value_len(next) ? next : NULL);
	return client_patch(c->frame->client, GVR_NODES, S(""), meta_name(node), S(""), PATCH_MERGE, patch, NULL, err) || err->code == ERR_NOT_FOUND;
}

/* ---- one pass ---------------------------------------------------------------------------------------------------------------- */

static nsec_t grace_of(struct node_lifecycle *c, const struct value *node) {
	nsec_t grace = c->frame->opts.node_grace ? c->frame->opts.node_grace : GRACE;

	return ready_of(node) ? grace : MAX(grace, STARTUP_GRACE); /* one that never said anything gets more time */
}

static bool sync(void *arg, struct str key, struct err *err) {
	struct node_lifecycle *c = arg;
	auto_obj struct obj *node = informer_get(c->nodes->informer, S(""), key);

	if (!node) {
		return true;
	}
	nsec_t left = last_seen(c, key) + grace_of(c, node->root) - clock_mono();
	bool unknown = str_eqc(value_str_at(ready_of(node->root), N_status), "Unknown");
	if (left > 0) {
		work_queue_add_after(c->queue, key, left + NSEC_PER_MSEC);
	} else if (!unknown) {
		recorder_event(c->recorder, node->root, "Normal", "NodeNotReady", "Node %.*s status is now: NodeNotReady", STR_ARG(key));
		return unknown_put(c, node->root, err); /* its event wakes the key again */
	}
	if (ready_of(node->root) && !str_eqc(value_str_at(ready_of(node->root), N_status), "True") && !pods_not_ready(c, key, err)) {
		return false;
	}
	return taints_put(c, node->root, err);
}

static void *make(struct frame *f) {
	struct node_lifecycle *c = xcalloc(1, sizeof(*c));

	c->frame = f;
	pthread_mutex_init(&c->lock, NULL);
	c->recorder = recorder_new(f->client, "node-controller", NULL);
	c->queue = frame_queue(f, "node-lifecycle", WORKERS, sync, c);
	c->nodes = frame_watch(f, GVR_NODES, node_changed, c);
	c->leases = frame_watch(f, GVR_LEASES, lease_changed, c);
	c->pods = frame_watch(f, GVR_PODS, NULL, NULL);
	return c;
}

static void destroy(void *controller) {
	struct node_lifecycle *c = controller;

	recorder_free(c->recorder);
	MAP_EACH(&c->seen, e) {
		free(e->value);
	}
	map_release(&c->seen);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

const struct controller_ops node_lifecycle_controller = { .name = "nodelifecycle", .make = make, .free = destroy };
