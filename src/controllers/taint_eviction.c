/* SPDX-License-Identifier: Apache-2.0 */
/*
 * taint_eviction.c - pods leave a node whose NoExecute taints they do not tolerate, or no longer.
 *
 * One pass for one pod: the shortest tolerationSeconds over all taints says when it has to go, counted from when the
 * taint was added, or where the taint does not say, from when we first saw the pod so; before that the key
 * waits. Handlers on the loop, passes on pool threads; the times first seen stand under a lock.
 */
#include <pthread.h>

#include "client/placement.h"
#include "controllers/pods.h"

#define WORKERS 8

struct taint_eviction {
	struct frame *frame;
	struct shared *nodes, *pods;
	struct work_queue *queue; /* pods */
	struct recorder *recorder;
	pthread_mutex_t lock;
	struct map since; /* pod key -> owned nsec_t; under the lock */
};

/* When the pod was first seen beside taints that it tolerates only for a while. */
static nsec_t since(struct taint_eviction *c, struct str key) {
	pthread_mutex_lock(&c->lock);
	nsec_t *t = map_get(&c->since, key);
	if (!t) {
		t = xmalloc(sizeof(*t));
		*t = clock_wall();
		map_set(&c->since, key, t);
	}
	nsec_t at = *t;
	pthread_mutex_unlock(&c->lock);
	return at;
}

static void since_forget(struct taint_eviction *c, struct str key) {
	pthread_mutex_lock(&c->lock);
	free(map_remove(&c->since, key));
	pthread_mutex_unlock(&c->lock);
}

static bool no_execute(const struct value *node) {
	VALUE_EACH(value_at(node, N_spec, N_taints), t) {
		if (str_eqc(value_str_at(t, N_effect), "NoExecute")) {
			return true;
		}
	}
	return false;
}

static void node_changed(void *arg, struct obj *old, struct obj *now) {
	struct taint_eviction *c = arg;
	auto_arena struct arena a = { 0 };
	struct client_list pods;

	if (!now || (old && value_eq(value_at(old->root, N_spec, N_taints), value_at(now->root, N_spec, N_taints))) || !no_execute(now->root) ||
		!c->pods->informer) {
		return;
	}
	informer_index(c->pods->informer, index_node(&a, meta_name(now->root)), &pods);
	for (size_t i = 0; i < pods.len; i++) {
		work_queue_add(c->queue, meta_key(&a, pods.at[i]->root));
	}
	client_list_release(&pods);
}

static void pod_changed(void *arg, struct obj *old, struct obj *now) {
	struct taint_eviction *c = arg;
	auto_arena struct arena a = { 0 };

	if (!now) {
		since_forget(c, meta_key(&a, old->root));
		return;
	}
	if (!value_str_at(now->root, N_spec, N_nodeName).len || !c->nodes->informer ||
		(old && str_eq(value_str_at(old->root, N_spec, N_nodeName), value_str_at(now->root, N_spec, N_nodeName)) &&
			value_eq(value_at(old->root, N_spec, N_tolerations), value_at(now->root, N_spec, N_tolerations)))) {
		return;
	}
	auto_obj struct obj *node = informer_get(c->nodes->informer, S(""), value_str_at(now->root, N_spec, N_nodeName));
	if (node && no_execute(node->root)) {
		work_queue_add(c->queue, meta_key(&a, now->root));
	}
}

/* When the pod has to be gone for the taints' sake: 0 now, INT64_MAX never. */
static nsec_t due(const struct value *pod, const struct value *node, nsec_t seen) {
	nsec_t first = INT64_MAX;

	VALUE_EACH(value_at(node, N_spec, N_taints), taint) {
		bool tolerated = false;
		nsec_t until = INT64_MAX, added = value_time(value_get(taint, N_timeAdded));
		if (!str_eqc(value_str_at(taint, N_effect), "NoExecute")) {
			continue;
		}
		VALUE_EACH(value_at(pod, N_spec, N_tolerations), t) {
			const struct value *seconds = value_get(t, N_tolerationSeconds);
			if (!toleration_tolerates(t, taint)) {
				continue;
			}
			tolerated = true;
			if (seconds && !value_is(seconds, VALUE_NULL)) {
				int64_t s = MIN(MAX(value_as_int(seconds), (int64_t)0), (int64_t)1000000000);
				until = MIN(until, (added ? added : seen) + s * NSEC_PER_SEC);
			}
		}
		first = MIN(first, tolerated ? until : 0);
	}
	return first;
}

static bool evict(struct taint_eviction *c, const struct value *pod, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct str ns = meta_ns(pod), name = meta_name(pod);
	struct value *patch = value_new_object(&a), *status = value_set(&a, patch, N_status, value_new_object(&a)), *target = value_new_object(&a);

	recorder_event(c->recorder, pod, "Normal", "TaintManagerEviction", "Marking for deletion Pod %.*s/%.*s", STR_ARG(ns), STR_ARG(name));
	value_set_str(&a, target, N_type, S("DisruptionTarget"));
	value_set_str(&a, target, N_status, S("True"));
	value_set_str(&a, target, N_reason, S("DeletionByTaintManager"));
	value_set_str(&a, target, N_message, S("Taint manager: deleting due to NoExecute taint"));
	value_set_str(&a, target, N_lastTransitionTime, now_text(&a));
	value_push(&a, value_set(&a, status, N_conditions, value_new_array(&a)), target);
	if (!client_patch(c->frame->client, GVR_PODS, ns, name, S("status"), PATCH_STRATEGIC, patch, NULL, err)) {
		return err->code == ERR_NOT_FOUND;
	}
	struct client_call call = { .verb = CLIENT_DELETE, .gvr = GVR_PODS, .ns = ns, .name = name, .precondition_uid = meta_uid(pod) };
	return client_do(c->frame->client, &call, NULL, NULL, err) || err->code == ERR_NOT_FOUND || err->code == ERR_CONFLICT;
}

static bool sync(void *arg, struct str key, struct err *err) {
	struct taint_eviction *c = arg;
	struct str ns, name;

	key_split(key, &ns, &name);
	auto_obj struct obj *pod = informer_get(c->pods->informer, ns, name);
	if (!pod || meta_deleting(pod->root)) {
		return true;
	}
	auto_obj struct obj *node = informer_get(c->nodes->informer, S(""), value_str_at(pod->root, N_spec, N_nodeName));
	nsec_t at = node && no_execute(node->root) ? due(pod->root, node->root, since(c, key)) : INT64_MAX;
	if (at == INT64_MAX) {
		since_forget(c, key);
		return true;
	}
	nsec_t left = at - clock_wall();
	if (left > 0) {
		work_queue_add_after(c->queue, key, left + NSEC_PER_MSEC);
		return true;
	}
	return evict(c, pod->root, err);
}

static void *make(struct frame *f) {
	struct taint_eviction *c = xcalloc(1, sizeof(*c));

	c->frame = f;
	pthread_mutex_init(&c->lock, NULL);
	c->recorder = recorder_new(f->client, "taint-eviction-controller", NULL);
	c->queue = frame_queue(f, "taint-eviction", WORKERS, sync, c);
	c->nodes = frame_watch(f, GVR_NODES, node_changed, c);
	c->pods = frame_watch(f, GVR_PODS, pod_changed, c);
	return c;
}

static void destroy(void *controller) {
	struct taint_eviction *c = controller;

	recorder_free(c->recorder);
	MAP_EACH(&c->since, e) {
		free(e->value);
	}
	map_release(&c->since);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

const struct controller_ops taint_eviction_controller = { .name = "taint-eviction-controller", .make = make, .free = destroy };
