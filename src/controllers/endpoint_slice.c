/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint_slice.c - for each Service with a selector, EndpointSlices with the addresses of its pods.
 *
 * One pass for one Service: group the pods by address family and by the ports they serve; keep endpoints in the slices
 * that hold them already, fill the gaps with new ones, 100 a slice at most; write only slices that changed.
 * Handlers on the loop, passes on pool threads.
 */
#include "controllers/endpoints.h"
#include "controllers/pods.h"

#define WORKERS 5
#define SLICE_MAX 100
#define MANAGED_BY S("endpointslice.kubernetes.io/managed-by")
#define MANAGER S("endpointslice-controller.k8s.io")
#define SERVICE_NAME S("kubernetes.io/service-name")

struct endpoint_slices {
	struct frame *frame;
	struct shared *services, *pods, *slices, *nodes;
	struct work_queue *queue;
	struct recorder *recorder;
	struct expectations *expectations; /* slices made that the copy does not show yet */
};

/* Endpoints of one family with one set of ports. */
struct port_group {
	const char *family;
	struct value *ports;
	struct value **endpoints; /* wanted; NULL once they stand in a slice */
	size_t len;
};
struct pass {
	struct endpoint_slices *c;
	struct arena arena;
	const struct value *service;
	struct client_list pods, slices;
	VEC(struct port_group) groups;
	VEC(struct value *) fresh; /* slices to be made */
};

/* ---- what is wanted ------------------------------------------------------------------------------------------------ */

static struct value *endpoint_of(struct pass *p, const struct value *pod, struct str ip) {
	struct arena *a = &p->arena;
	bool terminating = meta_deleting(pod), serving = pod_is_ready(pod);
	bool publish = value_bool_at(p->service, N_spec, N_publishNotReadyAddresses);
	struct value *e = value_new_object(a), *conditions;
	struct str node = value_str_at(pod, N_spec, N_nodeName), hostname = value_str_at(pod, N_spec, N_hostname);

	value_push_str(a, value_set(a, e, N_addresses, value_new_array(a)), ip);
	conditions = value_set(a, e, N_conditions, value_new_object(a));
	value_set_bool(a, conditions, N_ready, publish || (serving && !terminating));
	value_set_bool(a, conditions, N_serving, serving);
	value_set_bool(a, conditions, N_terminating, terminating);
	if (hostname.len && str_eq(value_str_at(pod, N_spec, N_subdomain), meta_name(p->service))) {
		value_set_str(a, e, N_hostname, hostname);
	}
	value_set(a, e, N_targetRef, pod_reference(a, pod));
	if (node.len) {
		value_set_str(a, e, N_nodeName, node);
		auto_obj struct obj *n = informer_get(p->c->nodes->informer, S(""), node);
		struct str zone = n ? meta_label(n->root, S("topology.kubernetes.io/zone")) : S("");
		if (zone.len) {
			value_set_str(a, e, N_zone, zone);
		}
	}
	return e;
}

static struct port_group *group_for(struct pass *p, const char *family, struct value *ports) {
	VEC_EACH(&p->groups, g) {
		if (g->family == family && value_eq(g->ports, ports)) {
			return g;
		}
	}
	struct port_group fresh = { family, ports, arena_array(&p->arena, struct value *, p->pods.len), 0 };
	VEC_PUSH(&p->groups, fresh);
	return &p->groups.at[p->groups.len - 1];
}

static void wanted(struct pass *p, const char *family) {
	bool any = false;

	for (size_t i = 0; i < p->pods.len; i++) {
		const struct value *pod = p->pods.at[i]->root;
		struct str ip = pod_ip(pod, family);
		if (ip.len) {
			struct port_group *g = group_for(p, family, pod_ports(&p->arena, p->service, pod));
			g->endpoints[g->len++] = endpoint_of(p, pod, ip);
			any = true;
		}
	}
	if (!any) {
		group_for(p, family, value_new_array(&p->arena)); /* a Service without pods has one empty slice */
	}
}

/* ---- slices --------------------------------------------------------------------------------------------------------------- */

static struct str target_uid(const struct value *endpoint) {
	return value_str_at(endpoint, N_targetRef, N_uid);
}

/* The wanted endpoint of a pod; taken out of the group. */
static struct value *take(struct port_group *g, struct str uid) {
	for (size_t i = 0; i < g->len; i++) {
		if (g->endpoints[i] && str_eq(target_uid(g->endpoints[i]), uid)) {
			return TAKE(g->endpoints[i]);
		}
	}
	return NULL;
}

static size_t waiting(const struct port_group *g) {
	size_t n = 0;

	for (size_t i = 0; i < g->len; i++) {
		n += g->endpoints[i] != NULL;
	}
	return n;
}

static void fill(struct arena *a, struct port_group *g, struct value *endpoints) {
	for (size_t i = 0; i < g->len && value_len(endpoints) < SLICE_MAX; i++) {
		if (g->endpoints[i]) {
			value_push(a, endpoints, TAKE(g->endpoints[i]));
		}
	}
}

static struct value *labels_of(struct pass *p) {
	const struct value *from = value_at(p->service, N_metadata, N_labels);
	struct value *labels = value_new_object(&p->arena);
	bool headless = str_eqc(value_str_at(p->service, N_spec, N_clusterIP), "None");

	for (size_t i = 0; i < value_len(from); i++) {
		struct str key = value_key(from, i);
		if (!str_eq(key, MANAGED_BY) && !str_eq(key, SERVICE_NAME) && !str_eqc(key, "service.kubernetes.io/headless")) {
			value_set_key(&p->arena, labels, key, value_item(from, i));
		}
	}
	if (headless) {
		value_set_key_str(&p->arena, labels, S("service.kubernetes.io/headless"), S(""));
	}
	value_set_key_str(&p->arena, labels, MANAGED_BY, MANAGER);
	value_set_key_str(&p->arena, labels, SERVICE_NAME, meta_name(p->service));
	return labels;
}

/* Endpoints' trigger time: when the newest change that led here happened. */
static void trigger_put(struct pass *p, struct value *meta) {
	struct str newest = S("");

	for (size_t i = 0; i < p->pods.len; i++) {
		const struct value *ready = condition_find(value_at(p->pods.at[i]->root, N_status, N_conditions), "Ready");
		struct str t = value_str_at(ready, N_lastTransitionTime);
		newest = str_cmp(t, newest) > 0 ? t : newest;
	}
	if (newest.len) {
		value_set_key_str(&p->arena, value_ensure_object(&p->arena, meta, N_annotations), S("endpoints.kubernetes.io/last-change-trigger-time"), newest);
	}
}

static struct value *slice_make(struct pass *p, const struct port_group *g, struct value *endpoints) {
	struct arena *a = &p->arena;
	struct value *o = value_new_object(a), *meta;
	struct str name = meta_name(p->service);

	value_set_str(a, o, N_kind, S("EndpointSlice"));
	value_set_str(a, o, N_apiVersion, S("discovery.k8s.io/v1"));
	meta = value_set(a, o, N_metadata, value_new_object(a));
	value_set_str(a, meta, N_generateName, arena_printf(a, "%.*s-", STR_ARG(name)));
	value_set_str(a, meta, N_namespace, meta_ns(p->service));
	value_set(a, meta, N_labels, labels_of(p));
	value_push(a, value_set(a, meta, N_ownerReferences, value_new_array(a)), owner_ref(a, p->service));
	trigger_put(p, meta);
	value_set_str(a, o, N_addressType, str_c(g->family));
	value_set(a, o, N_endpoints, endpoints);
	value_set(a, o, N_ports, g->ports);
	return o;
}

static bool slice_write(struct pass *p, const struct value *slice, const struct port_group *g, struct value *endpoints, struct err *err) {
	struct value *labels = labels_of(p);

	if (value_eq(endpoints, value_get(slice, N_endpoints)) && value_eq(labels, meta_labels(slice))) {
		return true;
	}
	if (value_len(endpoints) == 0 && value_len(value_get(slice, N_endpoints)) == 0 && value_eq(labels, meta_labels(slice))) {
		return true;
	}
	struct value *o = object_edit(&p->arena, slice);
	struct value *meta = value_get(o, N_metadata);
	value_set(&p->arena, meta, N_labels, labels);
	trigger_put(p, meta);
	value_set(&p->arena, o, N_endpoints, endpoints);
	return client_update(p->c->frame->client, GVR_ENDPOINTSLICES, meta_ns(slice), o, NULL, err);
}

static bool slice_delete(struct pass *p, const struct value *slice, struct err *err) {
	return client_delete(p->c->frame->client, GVR_ENDPOINTSLICES, meta_ns(slice), meta_name(slice), err) || err->code == ERR_NOT_FOUND;
}

static bool same_ports(const struct value *slice, const struct port_group *g) {
	const struct value *ports = value_get(slice, N_ports);

	return value_eq(ports, g->ports) || value_len(ports) + value_len(g->ports) == 0;
}

/* Those of the Service's slices that belong to the group. */
static bool group_write(struct pass *p, struct port_group *g, bool *used, struct err *err) {
	struct value **kept = arena_array(&p->arena, struct value *, p->slices.len);
	size_t mine = 0;

	for (size_t i = 0; i < p->slices.len; i++) {
		const struct value *slice = p->slices.at[i]->root;
		if (used[i] || !str_eqc(value_str_at(slice, N_addressType), g->family) || !same_ports(slice, g) || meta_deleting(slice)) {
			continue;
		}
		used[i] = true;
		mine++;
		kept[i] = value_new_array(&p->arena);
		VALUE_EACH(value_get(slice, N_endpoints), e) {
			struct value *now = take(g, target_uid(e));
			if (now) {
				value_push(&p->arena, kept[i], now);
			}
		}
	}
	bool any = false;
	for (size_t i = 0; i < p->slices.len; i++) {
		if (!kept[i]) {
			continue;
		}
		fill(&p->arena, g, kept[i]);
		if (value_len(kept[i]) == 0 && (any || mine > 1 || g->len > 0)) {
			mine--;
			if (!slice_delete(p, p->slices.at[i]->root, err)) {
				return false;
			}
			continue;
		}
		any = true;
		if (!slice_write(p, p->slices.at[i]->root, g, kept[i], err)) {
			return false;
		}
	}
	while (waiting(g) > 0 || !any) {
		struct value *endpoints = value_new_array(&p->arena);
		fill(&p->arena, g, endpoints);
		any = true;
		VEC_PUSH(&p->fresh, slice_make(p, g, endpoints));
	}
	return true;
}

static bool create_fresh(struct pass *p, struct str key, struct err *err) {
	bool ok = true;

	if (p->fresh.len == 0) {
		return true;
	}
	expectations_expect(p->c->expectations, key, (int)p->fresh.len, NULL, 0);
	for (size_t i = 0; i < p->fresh.len; i++) {
		if (!ok || !client_create(p->c->frame->client, GVR_ENDPOINTSLICES, meta_ns(p->service), p->fresh.at[i], NULL, err)) {
			expectations_created(p->c->expectations, key); /* will not be seen */
			ok = false;
		}
	}
	return ok;
}

static bool write_all(struct pass *p, struct err *err) {
	bool *used = arena_array(&p->arena, bool, p->slices.len + 1);

	VEC_EACH(&p->groups, g) {
		if (!group_write(p, g, used, err)) {
			return false;
		}
	}
	for (size_t i = 0; i < p->slices.len; i++) {
		if (!used[i] && !meta_deleting(p->slices.at[i]->root) && !slice_delete(p, p->slices.at[i]->root, err)) {
			return false;
		}
	}
	return true;
}

/* The Service's slices that are ours. */
static void slices_read(struct pass *p, struct str ns, struct str name) {
	size_t kept = 0;

	informer_index(p->c->slices->informer, index_service(&p->arena, ns, name), &p->slices);
	for (size_t i = 0; i < p->slices.len; i++) {
		if (str_eq(meta_label(p->slices.at[i]->root, MANAGED_BY), MANAGER)) {
			p->slices.at[kept++] = p->slices.at[i];
		} else {
			obj_unref(p->slices.at[i]);
		}
	}
	p->slices.len = kept;
}

static bool sync(void *arg, struct str key, struct err *err) {
	struct endpoint_slices *c = arg;
	struct pass p = { .c = c };
	struct str ns, name;
	bool ok = true;

	key_split(key, &ns, &name);
	auto_obj struct obj *service = informer_get(c->services->informer, ns, name);
	if (!expectations_seen(c->expectations, key)) {
		return true; /* the slices' events wake the key */
	}
	if (!service || !service_selects(service->root) || meta_deleting(service->root)) {
		expectations_forget(c->expectations, key);
		return true; /* the garbage collector takes its slices; those of a Service without selector are its user's */
	}
	p.service = service->root;
	slices_read(&p, ns, name);
	service_pods(c->pods, service->root, &p.pods);
	const struct value *families = value_at(service->root, N_spec, N_ipFamilies);
	VALUE_EACH(families, f) {
		wanted(&p, str_eqc(value_as_str(f), "IPv6") ? "IPv6" : "IPv4");
	}
	if (value_len(families) == 0) {
		wanted(&p, "IPv4");
	}
	ok = write_all(&p, err) && create_fresh(&p, key, err);
	if (!ok && (err->code == ERR_NOT_FOUND || str_contains(str_c(err->msg), S("because it is being terminated")))) {
		ok = true;
	}
	if (!ok && err->code != ERR_CONFLICT) {
		recorder_event(c->recorder, service->root, "Warning", "FailedToUpdateEndpointSlices", "Error updating Endpoint Slices for Service %.*s/%.*s: %s",
			STR_ARG(ns), STR_ARG(name), err->msg);
	}
	VEC_RELEASE(&p.groups);
	VEC_RELEASE(&p.fresh);
	client_list_release(&p.pods);
	client_list_release(&p.slices);
	arena_release(&p.arena);
	return ok;
}

/* ---- what wakes a key ---------------------------------------------------------------------------------------------------------- */

static void service_changed(void *arg, struct obj *old, struct obj *now) {
	struct endpoint_slices *c = arg;
	auto_arena struct arena a = { 0 };

	work_queue_add(c->queue, meta_key(&a, (now ? now : old)->root));
}

static void pod_changed(void *arg, struct obj *old, struct obj *now) {
	struct endpoint_slices *c = arg;

	wake_services(c->services, c->queue, old, now);
}

/* Also after our own writes: a pass that began with an older copy of the slices is made good. */
static void slice_changed(void *arg, struct obj *old, struct obj *now) {
	struct endpoint_slices *c = arg;
	auto_arena struct arena a = { 0 };
	const struct obj *states[] = { old, now };

	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		if (states[i] && str_eq(meta_label(states[i]->root, MANAGED_BY), MANAGER)) {
			struct str ns = meta_ns(states[i]->root), name = meta_label(states[i]->root, SERVICE_NAME);
			struct str key = arena_printf(&a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
			if (!old) {
				expectations_created(c->expectations, key);
			}
			work_queue_add(c->queue, key);
		}
	}
}

static void *make(struct frame *f) {
	struct endpoint_slices *c = xcalloc(1, sizeof(*c));

	c->frame = f;
	c->expectations = expectations_new();
	c->recorder = recorder_new(f->client, "endpoint-slice-controller", NULL);
	c->queue = frame_queue(f, "endpointslice", WORKERS, sync, c);
	c->services = frame_watch(f, GVR_SERVICES, service_changed, c);
	c->pods = frame_watch(f, GVR_PODS, pod_changed, c);
	c->slices = frame_watch(f, GVR_ENDPOINTSLICES, slice_changed, c);
	c->nodes = frame_watch(f, GVR_NODES, NULL, NULL);
	return c;
}

static void destroy(void *controller) {
	struct endpoint_slices *c = controller;

	recorder_free(c->recorder);
	expectations_free(c->expectations);
	free(c);
}

const struct controller_ops endpoint_slice_controller = { .name = "endpointslice", .make = make, .free = destroy };
