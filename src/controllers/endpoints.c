/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoints.c - the older Endpoints object of each Service with a selector, for clients that still read it.
 *
 * One pass computes the whole object: pods with the same ports share a subset, ready and not ready apart; at most
 * 1,000 addresses. Handlers on the loop, passes on pool threads.
 */
#include "controllers/endpoints.h"

#include "controllers/pods.h"

#define WORKERS 5
#define ADDRESSES_MAX 1000
#define MANAGED_BY S("endpoints.kubernetes.io/managed-by")
#define MANAGER S("endpoint-controller")
#define GONE S("gone|") /* in a key: the Service was deleted */
#define OVER_CAPACITY S("endpoints.kubernetes.io/over-capacity")

struct endpoints {
	struct frame *frame;
	struct shared *services, *pods, *endpoints;
	struct work_queue *queue;
	struct recorder *recorder;
};

static int by_ip(const void *pa, const void *pb) {
	const struct obj *a = *(struct obj *const *)pa, *b = *(struct obj *const *)pb;
	int c = str_cmp(value_str_at(a->root, N_status, N_podIP), value_str_at(b->root, N_status, N_podIP));

	return c ? c : str_cmp(meta_name(a->root), meta_name(b->root));
}

static struct value *address_of(struct arena *a, const struct value *service, const struct value *pod, struct str ip) {
	struct value *address = value_new_object(a);
	struct str hostname = value_str_at(pod, N_spec, N_hostname), node = value_str_at(pod, N_spec, N_nodeName);

	value_set_str(a, address, N_ip, ip);
	if (hostname.len && str_eq(value_str_at(pod, N_spec, N_subdomain), meta_name(service))) {
		value_set_str(a, address, N_hostname, hostname);
	}
	if (node.len) {
		value_set_str(a, address, N_nodeName, node);
	}
	value_set(a, address, N_targetRef, pod_reference(a, pod));
	return address;
}

static bool unnamed(struct arena *a, struct value *ports) {
	VALUE_EACH(ports, p) {
		if (value_str_at(p, N_name).len == 0) {
			value_remove(p, N_name); /* this older kind leaves empty names out */
		}
	}
	return true;
}

static struct value *subset_for(struct arena *a, struct value *subsets, struct value *ports) {
	VALUE_EACH(subsets, s) {
		const struct value *has = value_get(s, N_ports);
		if (value_eq(has, ports) || value_len(has) + value_len(ports) == 0) {
			return s;
		}
	}
	struct value *s = value_push(a, subsets, value_new_object(a));
	if (value_len(ports)) {
		value_set(a, s, N_ports, ports);
	}
	return s;
}

static struct value *subsets_of(struct arena *a, const struct value *service, struct client_list *pods, bool *ret_over) {
	const struct value *families = value_at(service, N_spec, N_ipFamilies);
	const char *family = str_eqc(value_as_str(value_item(families, 0)), "IPv6") ? "IPv6" : "IPv4";
	bool publish = value_bool_at(service, N_spec, N_publishNotReadyAddresses);
	bool headless = str_eqc(value_str_at(service, N_spec, N_clusterIP), "None");
	struct value *subsets = value_new_array(a);
	size_t n = 0;

	if (pods->len > 1) {
		qsort(pods->at, pods->len, sizeof(*pods->at), by_ip);
	}
	for (size_t i = 0; i < pods->len; i++) {
		const struct value *pod = pods->at[i]->root;
		struct str ip = pod_ip(pod, family);
		bool ready = pod_is_ready(pod) && !meta_deleting(pod);
		if (!ip.len || (meta_deleting(pod) && !publish)) {
			continue;
		}
		if (n++ >= ADDRESSES_MAX) {
			*ret_over = true;
			break;
		}
		struct value *ports = pod_ports(a, service, pod);
		if (value_len(ports) == 0 && !(headless && value_len(value_at(service, N_spec, N_ports)) == 0)) {
			continue;
		}
		unnamed(a, ports);
		struct value *subset = subset_for(a, subsets, ports);
		value_push(a, value_ensure_array(a, subset, ready || publish ? N_addresses : N_notReadyAddresses), address_of(a, service, pod, ip));
	}
	return subsets;
}

static struct value *labels_of(struct arena *a, const struct value *service) {
	struct value *labels = value_copy(a, value_at(service, N_metadata, N_labels));

	labels = labels ? labels : value_new_object(a);
	if (str_eqc(value_str_at(service, N_spec, N_clusterIP), "None")) {
		value_set_key_str(a, labels, S("service.kubernetes.io/headless"), S(""));
	} else {
		value_remove_key(labels, S("service.kubernetes.io/headless"));
	}
	value_set_key_str(a, labels, MANAGED_BY, MANAGER);
	return labels;
}

static bool write(struct endpoints *c, const struct value *service, const struct value *is, struct client_list *pods, struct err *err) {
	auto_arena struct arena a = { 0 };
	bool over = false;
	struct value *subsets = subsets_of(&a, service, pods, &over), *labels = labels_of(&a, service);
	bool same_subsets = value_eq(subsets, value_get(is, N_subsets)) || value_len(subsets) + value_len(value_get(is, N_subsets)) == 0;

	if (is && same_subsets && value_eq(labels, meta_labels(is)) && over == (meta_annotation(is, OVER_CAPACITY).len > 0)) {
		return true;
	}
	struct value *o = is ? object_edit(&a, is) : value_new_object(&a);
	value_set_str(&a, o, N_kind, S("Endpoints"));
	value_set_str(&a, o, N_apiVersion, S("v1"));
	struct value *meta = value_ensure_object(&a, o, N_metadata);
	value_set_str(&a, meta, N_name, meta_name(service));
	value_set_str(&a, meta, N_namespace, meta_ns(service));
	value_set(&a, meta, N_labels, labels);
	if (over) {
		value_set_key_str(&a, value_ensure_object(&a, meta, N_annotations), OVER_CAPACITY, S("truncated"));
	} else {
		value_remove_key(value_get(meta, N_annotations), OVER_CAPACITY);
	}
	value_set(&a, o, N_subsets, subsets);
	return is ? client_update(c->frame->client, GVR_ENDPOINTS, meta_ns(service), o, NULL, err)
		  : client_create(c->frame->client, GVR_ENDPOINTS, meta_ns(service), o, NULL, err);
}

static bool sync(void *arg, struct str key, struct err *err) {
	struct endpoints *c = arg;
	struct str ns, name, rest = key;
	bool gone = str_starts(key, GONE) && str_cut(key, '|', &name, &rest);

	key_split(rest, &ns, &name);
	auto_obj struct obj *service = informer_get(c->services->informer, ns, name);
	auto_obj struct obj *is = informer_get(c->endpoints->informer, ns, name);
	if (!service || meta_deleting(service->root)) {
		/* named like the Service, not owned by it: goes with it here, whoever made it; without a Service it may be anything */
		return !is || service || !(gone || str_eq(meta_label(is->root, MANAGED_BY), MANAGER)) || client_delete(c->frame->client, GVR_ENDPOINTS, ns, name, err) ||
			err->code == ERR_NOT_FOUND;
	}
	if (!service_selects(service->root)) {
		return true;
	}
	struct client_list pods;
	service_pods(c->pods, service->root, &pods);
	bool ok = write(c, service->root, is ? is->root : NULL, &pods, err);
	client_list_release(&pods);
	if (!ok && (err->code == ERR_NOT_FOUND || str_contains(str_c(err->msg), S("because it is being terminated")))) {
		return true;
	}
	if (!ok && err->code != ERR_CONFLICT && err->code != ERR_ALREADY_EXISTS) {
		recorder_event(c->recorder, service->root, "Warning", is ? "FailedToUpdateEndpoint" : "FailedToCreateEndpoint", "Failed to %s endpoint %.*s/%.*s: %s",
			is ? "update" : "create", STR_ARG(ns), STR_ARG(name), err->msg);
	}
	return ok;
}

static void service_changed(void *arg, struct obj *old, struct obj *now) {
	struct endpoints *c = arg;
	auto_arena struct arena a = { 0 };
	struct str key = meta_key(&a, (now ? now : old)->root);

	work_queue_add(c->queue, now ? key : arena_printf(&a, "gone|%.*s", STR_ARG(key)));
}

static void pod_changed(void *arg, struct obj *old, struct obj *now) {
	struct endpoints *c = arg;

	wake_services(c->services, c->queue, old, now);
}

static void endpoints_changed(void *arg, struct obj *old, struct obj *now) {
	struct endpoints *c = arg;
	auto_arena struct arena a = { 0 };

	if (old && now && value_eq(value_get(old->root, N_subsets), value_get(now->root, N_subsets))) {
		return;
	}
	work_queue_add(c->queue, meta_key(&a, (now ? now : old)->root));
}

static void *make(struct frame *f) {
	struct endpoints *c = xcalloc(1, sizeof(*c));

	c->frame = f;
	c->recorder = recorder_new(f->client, "endpoint-controller", NULL);
	c->queue = frame_queue(f, "endpoints", WORKERS, sync, c);
	c->services = frame_watch(f, GVR_SERVICES, service_changed, c);
	c->pods = frame_watch(f, GVR_PODS, pod_changed, c);
	c->endpoints = frame_watch(f, GVR_ENDPOINTS, endpoints_changed, c);
	return c;
}

static void destroy(void *controller) {
	struct endpoints *c = controller;

	recorder_free(c->recorder);
	free(c);
}

const struct controller_ops endpoints_controller = { .name = "endpoints", .make = make, .free = destroy };
