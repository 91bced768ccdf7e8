/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod_gc.c - removes pods that nobody else will: of nodes that are gone, deleted before they got a node, on nodes
 * out of service, and finished ones beyond a number.
 *
 * Keys are "node|<name>", "pod|<ns/name>" and "finished". A node has to be gone for 40 s, and the server is asked
 * once more, before its pods are. Handlers on the loop, passes on pool threads.
 */
#include "controllers/pods.h"

#define QUARANTINE (40 * NSEC_PER_SEC)
#define FINISHED_MAX 12500
#define FINISHED_WAIT (20 * NSEC_PER_SEC)
#define WORKERS 2
#define AT_ONCE 8

struct pod_gc {
	struct frame *frame;
	struct shared *nodes, *pods;
	struct work_queue *queue;
};

static bool out_of_service(const struct value *node) {
	VALUE_EACH(value_at(node, N_spec, N_taints), t) {
		if (str_eqc(value_str_at(t, N_key), "node.kubernetes.io/out-of-service")) {
			return true;
		}
	}
	return false;
}

static void wake_node(struct pod_gc *c, struct str node, nsec_t after) {
	auto_arena struct arena a = { 0 };

	work_queue_add_after(c->queue, arena_printf(&a, "node|%.*s", STR_ARG(node)), after);
}

static void node_changed(void *arg, struct obj *old, struct obj *now) {
	struct pod_gc *c = arg;

	if (!now) {
		wake_node(c, meta_name(old->root), QUARANTINE);
	} else if (out_of_service(now->root)) {
		wake_node(c, meta_name(now->root), 0);
	}
}

static void pod_changed(void *arg, struct obj *old, struct obj *now) {
	struct pod_gc *c = arg;
	auto_arena struct arena a = { 0 };

	if (!now || !c->nodes->informer) {
		return;
	}
	struct str node = value_str_at(now->root, N_spec, N_nodeName), was = old ? value_str_at(old->root, N_spec, N_nodeName) : S("");
	if (!node.len && meta_deleting(now->root)) {
		struct str key = meta_key(&a, now->root);
		work_queue_add(c->queue, arena_printf(&a, "pod|%.*s", STR_ARG(key)));
	}
	if (node.len && !str_eq(node, was)) {
		auto_obj struct obj *n = informer_get(c->nodes->informer, S(""), node);
		if (!n) {
			wake_node(c, node, QUARANTINE);
		}
	}
	if (pod_is_finished(now->root) && (!old || !pod_is_finished(old->root))) {
		work_queue_add_after(c->queue, S("finished"), FINISHED_WAIT);
	}
}

/* ---- one pass ------------------------------------------------------------------------------------------------------- */

static bool remove_now(struct pod_gc *c, const struct value *pod, const char *why, struct err *err) {
	struct str ns = meta_ns(pod), name = meta_name(pod);

	if (why && !pod_is_finished(pod)) {
		auto_arena struct arena a = { 0 };
		struct value *patch = value_new_object(&a), *status = value_set(&a, patch, N_status, value_new_object(&a)), *target = value_new_object(&a);
		value_set_str(&a, target, N_type, S("DisruptionTarget"));
		value_set_str(&a, target, N_status, S("True"));
		value_set_str(&a, target, N_reason, S("DeletionByPodGC"));
		value_set_str(&a, target, N_message, str_c(why));
		value_set_str(&a, target, N_lastTransitionTime, now_text(&a));
		value_set_str(&a, status, N_phase, S("Failed"));
		value_push(&a, value_set(&a, status, N_conditions, value_new_array(&a)), target);
		if (!client_patch(c->frame->client, GVR_PODS, ns, name, S("status"), PATCH_STRATEGIC, patch, NULL, err)) {
			return err->code == ERR_NOT_FOUND;
		}
	}
	struct client_call call = {
		.verb = CLIENT_DELETE,
		.gvr = GVR_PODS,
		.ns = ns,
		.name = name,
		.has_grace = true,
		.precondition_uid = meta_uid(pod),
	};
	return client_do(c->frame->client, &call, NULL, NULL, err) || err->code == ERR_NOT_FOUND || err->code == ERR_CONFLICT;
}

static bool node_pass(struct pod_gc *c, struct str name, struct err *err) {
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *node = informer_get(c->nodes->informer, S(""), name);
	struct client_list pods;
	bool ok = true;

	if (!node && !client_get(c->frame->client, GVR_NODES, S(""), name, &node, err) && err->code != ERR_NOT_FOUND) {
		return false;
	}
	bool gone = !node, out = node && out_of_service(node->root) && !condition_is(value_at(node->root, N_status, N_conditions), "Ready", "True");
	if (!gone && !out) {
		return true;
	}
	informer_index(c->pods->informer, index_node(&a, name), &pods);
	for (size_t i = 0; i < pods.len; i++) {
		const struct value *pod = pods.at[i]->root;
		if (gone) {
			ok = remove_now(c, pod, "PodGC: node no longer exists", err) && ok;
		} else if (meta_deleting(pod)) {
			ok = remove_now(c, pod, "PodGC: node is out of service", err) && ok;
		}
	}
	client_list_release(&pods);
	return ok;
}

static int by_creation(const void *pa, const void *pb) {
	const struct value *a = (*(struct obj *const *)pa)->root, *b = (*(struct obj *const *)pb)->root;
	int c = str_cmp(value_str_at(a, N_metadata, N_creationTimestamp), value_str_at(b, N_metadata, N_creationTimestamp));

	return c ? c : str_cmp(meta_name(a), meta_name(b));
}

struct removal {
	struct pod_gc *c;
	struct obj **at;
};
static bool remove_one(void *arg, size_t i, struct err *err) {
	struct removal *r = arg;

	return remove_now(r->c, r->at[i]->root, NULL, err);
}

static bool finished_pass(struct pod_gc *c, struct err *err) {
	size_t max = c->frame->opts.terminated_pods_max > 0 ? (size_t)c->frame->opts.terminated_pods_max : FINISHED_MAX, n = 0;
	struct client_list pods;
	bool ok = true;

	informer_list(c->pods->informer, S(""), &pods);
	struct obj **finished = xcalloc(pods.len + 1, sizeof(*finished));
	for (size_t i = 0; i < pods.len; i++) {
		if (pod_is_finished(pods.at[i]->root) && !meta_deleting(pods.at[i]->root)) {
			finished[n++] = pods.at[i];
		}
	}
	if (n > max) {
		struct removal r = { c, finished };
		qsort(finished, n, sizeof(*finished), by_creation);
		ok = frame_parallel(n - max, AT_ONCE, remove_one, &r, err) == n - max;
	}
	free(finished);
	client_list_release(&pods);
	return ok;
}

static bool sync(void *arg, struct str key, struct err *err) {
	struct pod_gc *c = arg;
	struct str what, rest, ns, name;

	if (!str_cut(key, '|', &what, &rest)) {
		return finished_pass(c, err);
	}
	if (str_eqc(what, "node")) {
		return node_pass(c, rest, err);
	}
	key_split(rest, &ns, &name);
	auto_obj struct obj *pod = informer_get(c->pods->informer, ns, name);
	bool lost = pod && meta_deleting(pod->root) && !value_str_at(pod->root, N_spec, N_nodeName).len;
	return !lost || remove_now(c, pod->root, NULL, err);
}

static void *make(struct frame *f) {
	struct pod_gc *c = xcalloc(1, sizeof(*c));

	c->frame = f;
	c->queue = frame_queue(f, "podgc", WORKERS, sync, c);
	c->nodes = frame_watch(f, GVR_NODES, node_changed, c);
	c->pods = frame_watch(f, GVR_PODS, pod_changed, c);
	return c;
}

const struct controller_ops pod_gc_controller = { .name = "podgc", .make = make, .free = free };
