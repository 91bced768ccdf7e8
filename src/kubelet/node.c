/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node.c - registers the Node, keeps its status and its Lease.
 *
 * Owned by the kubelet's loop: two timers (the lease every 10 s, the status every 10 s, written only when
 * it changed or 5 minutes have passed), each with one pool job that talks to the API. Retries by itself
 * while the API is away.
 *
 * Source: Kubernetes "Node status", "Leases"; reasons and messages as upstream's kubelet writes them.
 */
#include "kubelet/node.h"

#include <sys/statvfs.h>

#include "kubelet/resources.h"
#include "schema/schema.h"

#define LEASE_SECONDS 40
#define LEASE_RENEW (10 * NSEC_PER_SEC)
#define STATUS_PERIOD (10 * NSEC_PER_SEC)
#define STATUS_REPORT (300 * NSEC_PER_SEC)
#define RETRY_FIRST (100 * NSEC_PER_MSEC)
#define RETRY_MAX (7 * NSEC_PER_SEC)
#define IMAGES_MAX 50
#define NAMES_MAX 5

struct node {
	struct kubelet *k;
	struct loop_timer status_timer, lease_timer;
	struct job status_job, lease_job;
	bool status_busy, status_again, lease_busy;
	nsec_t retry;
	/* status job */
	bool registered;
	bool status_ok;
	nsec_t reported;         /* mono: last write */
	struct obj *have;        /* the Node as the API had it last */
	bool known;              /* loop: the Node is there, with ... */
	char uid[64];
	/* lease job */
	char lease_uid[64];
	struct obj *lease;
	bool lease_ok;
	/* loop */
	struct obj *news;        /* of the informer, for the next status job */
	struct arena own;
	struct machine machine;
};

int64_t kubelet_allocatable_cpu_milli(const struct kubelet *k) {
	return MAX(k->cpu_milli - k->o.reserved_cpu_milli, 0);
}

int64_t kubelet_allocatable_memory(const struct kubelet *k) {
	return MAX(k->memory_bytes - k->o.reserved_memory_bytes, 0);
}

/* ---- the object --------------------------------------------------------------------------------------------- */

static void set_label(struct arena *a, struct value *labels, const char *key, struct str v) {
	value_set_key_str(a, labels, str_c(key), v);
}

static void labels_make(struct node *n, struct arena *a, struct value *meta) {
	struct value *labels = value_ensure_object(a, meta, N_labels);
	struct str arch = str_c(machine_arch());

	set_label(a, labels, "beta.kubernetes.io/arch", arch);
	set_label(a, labels, "beta.kubernetes.io/os", S("linux"));
	set_label(a, labels, "kubernetes.io/arch", arch);
	set_label(a, labels, "kubernetes.io/hostname", str_c(n->k->o.node_name));
	set_label(a, labels, "kubernetes.io/os", S("linux"));
	for (const char *const *l = n->k->o.labels; l && *l; l++) {
		struct str key, value;
		str_cut(str_c(*l), '=', &key, &value);
		value_set_key_str(a, labels, key, value);
	}
}

/* "key=value:Effect" */
static void taints_make(struct node *n, struct arena *a, struct value *spec) {
	for (const char *const *t = n->k->o.taints; t && *t; t++) {
		struct str rest = str_c(*t), key, value = { 0 };
		ptrdiff_t colon = str_rindex(rest, ':');
		if (colon < 0) {
			continue;
		}
		struct value *taint = value_new_object(a);
		str_cut(str_sub(rest, 0, (size_t)colon), '=', &key, &value);
		value_set_str(a, taint, N_key, key);
		if (value.len > 0) {
			value_set_str(a, taint, N_value, value);
		}
		value_set_str(a, taint, N_effect, str_from(rest, (size_t)colon + 1));
		value_push(a, value_ensure_array(a, spec, N_taints), taint);
	}
}

static struct value *object_make(struct node *n, struct arena *a) {
	struct value *node = value_new_object(a), *meta;

	value_set_str(a, node, N_apiVersion, S("v1"));
	value_set_str(a, node, N_kind, S("Node"));
	meta = value_ensure_object(a, node, N_metadata);
	value_set_str(a, meta, N_name, str_c(n->k->o.node_name));
	labels_make(n, a, meta);
	meta = value_get(node, N_metadata);
	value_set_key_str(a, value_ensure_object(a, meta, N_annotations), S("volumes.kubernetes.io/controller-managed-attach-detach"), S("true"));
	struct value *spec = value_ensure_object(a, node, N_spec);
	taints_make(n, a, spec);
	if (n->k->o.provider_id) {
		value_set_str(a, spec, N_providerID, str_c(n->k->o.provider_id));
	}
	return node;
}

/* ---- the status ------------------------------------------------------------------------------------------------ */

static void set_qty(struct arena *a, struct value *list, const char *name, struct quantity q) {
	value_set_key_str(a, list, str_c(name), quantity_text(a, q));
}

static void resources_make(struct node *n, struct arena *a, struct value *status, const struct value *old) {
	struct kubelet *k = n->k;
	struct value *capacity = value_new_object(a), *allocatable = value_new_object(a);
	int pods = k->o.max_pods > 0 ? k->o.max_pods : 110;

	set_qty(a, capacity, "cpu", quantity_of_milli(k->cpu_milli, QUANTITY_DECIMAL_SI));
	set_qty(a, capacity, "ephemeral-storage", quantity_of(k->ephemeral_bytes / 1024 * 1024, QUANTITY_BINARY_SI));
	int64_t huge_bytes = 0;
	for (size_t i = 0; i < n->machine.huge_len; i++) {
		int64_t page = n->machine.huge[i].page_bytes, bytes = page * n->machine.huge[i].pages;
		struct str name = arena_printf(a, "hugepages-%.*s", STR_ARG(quantity_text(a, quantity_of(page, QUANTITY_BINARY_SI))));
		set_qty(a, capacity, name.ptr, quantity_of(bytes, QUANTITY_BINARY_SI));
		set_qty(a, allocatable, name.ptr, quantity_of(bytes, QUANTITY_BINARY_SI));
		huge_bytes += bytes;
	}
	set_qty(a, capacity, "memory", quantity_of(k->memory_bytes, QUANTITY_BINARY_SI));
	set_qty(a, capacity, "pods", quantity_of(pods, QUANTITY_DECIMAL_SI));
	set_qty(a, allocatable, "cpu", quantity_of_milli(kubelet_allocatable_cpu_milli(k), QUANTITY_DECIMAL_SI));
	set_qty(a, allocatable, "ephemeral-storage", quantity_of(k->ephemeral_bytes / 10 * 9, QUANTITY_DECIMAL_SI));
	set_qty(a, allocatable, "memory", quantity_of(MAX(kubelet_allocatable_memory(k) - huge_bytes, 0), QUANTITY_BINARY_SI));
	set_qty(a, allocatable, "pods", quantity_of(pods, QUANTITY_DECIMAL_SI));
	/* extended resources that somebody put into the capacity stay, and may be used */
	const struct value *have = value_get(old, N_capacity);
	for (size_t i = 0; i < value_len(have); i++) {
		struct str key = value_key(have, i);
		if (str_index(key, '/') >= 0 && !value_get_str(capacity, key)) {
			value_set_key(a, capacity, key, value_item(have, i));
			value_set_key(a, allocatable, key, value_item(have, i));
		}
	}
	value_set(a, status, N_capacity, capacity);
	value_set(a, status, N_allocatable, allocatable);
}

struct condition {
	const char *type;
	bool status;
	const char *reason, *message;
};

static void condition_add(struct arena *a, struct value *list, const struct value *old, const struct condition *c) {
	const struct value *before = value_find_by(value_get(old, N_conditions), N_type, str_c(c->type));
	struct str status = c->status ? S("True") : S("False");
	struct value *o = value_new_object(a);
	char now[TIME_TEXT_MAX];

	time_format(clock_wall(), now);
	value_set_str(a, o, N_type, str_c(c->type));
	value_set_str(a, o, N_status, status);
	value_set_str(a, o, N_lastHeartbeatTime, str_c(now));
	bool same = before && str_eq(value_str_at(before, N_status), status);
	value_set_str(a, o, N_lastTransitionTime, same ? value_str_at(before, N_lastTransitionTime) : str_c(now));
	value_set_str(a, o, N_reason, str_c(c->reason));
	value_set_str(a, o, N_message, str_c(c->message));
	value_push(a, list, o);
}

static void conditions_make(struct node *n, struct arena *a, struct value *status, const struct value *old) {
	struct kubelet *k = n->k;
	struct value *list = value_ensure_array(a, status, N_conditions);
	struct statvfs fs;
	bool disk_full = statvfs(k->o.state_dir, &fs) == 0 && fs.f_blocks > 0 && fs.f_bavail * 100 / fs.f_blocks < 2;
	bool network = !k->o.network.ready || k->o.network.ready(k->o.network.arg);
	static const struct condition fine[] = {
		{ "MemoryPressure", false, "KubeletHasSufficientMemory", "kubelet has sufficient memory available" },
		{ "DiskPressure", false, "KubeletHasNoDiskPressure", "kubelet has no disk pressure" },
		{ "PIDPressure", false, "KubeletHasSufficientPID", "kubelet has sufficient PID available" },
		{ "Ready", true, "KubeletReady", "kubelet is posting ready status" },
	};
	static const struct condition full = { "DiskPressure", true, "KubeletHasDiskPressure", "kubelet has disk pressure" };
	static const struct condition no_network = { "Ready", false, "KubeletNotReady",
		"container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: "
		"cni plugin not initialized" };

	condition_add(a, list, old, &fine[0]);
	condition_add(a, list, old, disk_full ? &full : &fine[1]);
	condition_add(a, list, old, &fine[2]);
	condition_add(a, list, old, network ? &fine[3] : &no_network);
	/* conditions of others stay */
	VALUE_EACH(value_get(old, N_conditions), c) {
		if (!value_find_by(list, N_type, value_str_at(c, N_type))) {
			value_push(a, list, c);
		}
	}
}

static void addresses_make(struct node *n, struct arena *a, struct value *status) {
	struct value *list = value_ensure_array(a, status, N_addresses);

	for (size_t i = 0; i < n->k->node_ips_len; i++) {
		struct value *o = value_new_object(a);
		value_set_str(a, o, N_type, S("InternalIP"));
		value_set_str(a, o, N_address, n->k->node_ips[i]);
		value_push(a, list, o);
	}
	struct value *o = value_new_object(a);
	value_set_str(a, o, N_type, S("Hostname"));
	value_set_str(a, o, N_address, str_c(n->k->o.node_name));
	value_push(a, list, o);
}

static int by_size(const void *x, const void *y) {
	const struct image_info *a = x, *b = y;

	return (a->size < b->size) - (a->size > b->size);
}

static void images_make(struct node *n, struct arena *a, struct value *status) {
	struct image_list list = { 0 };
	struct err err = { 0 };

	if (!image_ls(cri_images(n->k->o.cri), a, &list, &err)) {
		return;
	}
	if (list.len > 1) {
		qsort(list.at, list.len, sizeof(*list.at), by_size);
	}
	struct value *images = value_ensure_array(a, status, N_images);
	for (size_t i = 0; i < list.len && i < IMAGES_MAX; i++) {
		struct value *o = value_new_object(a), *names = value_ensure_array(a, o, N_names);
		for (size_t j = 0; j < list.at[i].digests_len && value_len(names) < NAMES_MAX; j++) {
			value_push_str(a, names, list.at[i].digests[j]);
		}
		for (size_t j = 0; j < list.at[i].tags_len && value_len(names) < NAMES_MAX; j++) {
			value_push_str(a, names, list.at[i].tags[j]);
		}
		value_set_int(a, o, N_sizeBytes, (int64_t)list.at[i].size);
		value_push(a, images, o);
	}
}

static void info_make(struct node *n, struct arena *a, struct value *status) {
	struct value *info = value_ensure_object(a, status, N_nodeInfo);
	const struct machine *m = &n->machine;
	struct cri_version v = { 0 };

	cri_version(n->k->o.cri, &v);
	value_set_str(a, info, N_machineID, m->machine_id);
	value_set_str(a, info, N_systemUUID, m->system_uuid);
	value_set_str(a, info, N_bootID, m->boot_id);
	value_set_str(a, info, N_kernelVersion, m->kernel);
	value_set_str(a, info, N_osImage, m->os_image);
	value_set_str(a, info, N_containerRuntimeVersion, arena_printf(a, RUNTIME_NAME "://%.*s-%.*s", STR_ARG(v.runtime), STR_ARG(v.runtime_version)));
	value_set_str(a, info, N_kubeletVersion, str_c(n->k->o.version));
	value_set_str(a, info, N_kubeProxyVersion, S(""));
	value_set_str(a, info, N_operatingSystem, S("linux"));
	value_set_str(a, info, N_architecture, str_c(machine_arch()));
	if (m->swap_bytes > 0) {
		value_set_int(a, value_ensure_object(a, info, N_swap), N_capacity, m->swap_bytes);
	}
}

static struct value *status_make(struct node *n, struct arena *a, const struct value *old) {
	struct value *s = value_new_object(a);

	resources_make(n, a, s, old);
	conditions_make(n, a, s, old);
	addresses_make(n, a, s);
	if (kubelet_port(n->k) > 0) {
		struct value *e = value_ensure_object(a, value_ensure_object(a, s, N_daemonEndpoints), N_kubeletEndpoint);
		value_set_int(a, e, N_Port, kubelet_port(n->k));
	}
	info_make(n, a, s);
	images_make(n, a, s);
	/* recursiveReadOnlyMounts and user namespaces are not offered; one handler, the default */
	return s;
}

/* Heartbeats do not count as a change. */
static bool differs(struct arena *a, const struct value *status, const struct value *old) {
	for (size_t i = 0; i < value_len(status); i++) {
		struct str key = value_key(status, i);
		const struct value *v = value_item(status, i), *o = value_get_str(old, key);
		if (!str_eq(key, S("conditions"))) {
			if (!value_eq(v, o)) {
				return true;
			}
			continue;
		}
		VALUE_EACH(v, c) {
			const struct value *before = value_find_by(o, N_type, value_str_at(c, N_type));
			if (!before || !str_eq(value_str_at(before, N_status), value_str_at(c, N_status)) ||
				!str_eq(value_str_at(before, N_reason), value_str_at(c, N_reason)) ||
				!str_eq(value_str_at(before, N_message), value_str_at(c, N_message))) {
				return true;
			}
		}
	}
	return false;
}

/* ---- writing (pool) ------------------------------------------------------------------------------------------------ */

static bool labels_bring(struct node *n, struct arena *a, struct err *err) {
	struct value *want = value_new_object(a), *patch = value_new_object(a), *meta = value_ensure_object(a, patch, N_metadata);
	const struct value *have = value_at(n->have->root, N_metadata, N_labels);
	bool changed = false;

	labels_make(n, a, want);
	const struct value *labels = value_get(want, N_labels);
	for (size_t i = 0; i < value_len(labels); i++) {
		changed = changed || !value_eq(value_item(labels, i), value_get_str(have, value_key(labels, i)));
	}
	if (!changed) {
		return true;
	}
	value_set(a, meta, N_labels, labels);
	return client_patch(n->k->o.client, GVR_NODES, S(""), str_c(n->k->o.node_name), S(""), PATCH_MERGE, patch, NULL, err);
}

static bool node_register(struct node *n, struct arena *a, struct err *err) {
	struct client *c = n->k->o.client;
	struct str name = str_c(n->k->o.node_name);

	if (client_get(c, GVR_NODES, S(""), name, &n->have, err)) {
		n->registered = true;
		return labels_bring(n, a, err);
	}
	if (err->code != ERR_NOT_FOUND) {
		return false;
	}
	err_clear(err);
	if (n->k->o.register_node_off) {
		return err_set(err, ERR_NOT_FOUND, "node \"%.*s\" not found, and registration is off", STR_ARG(name));
	}
	struct value *node = object_make(n, a);
	value_set(a, node, N_status, status_make(n, a, NULL));
	if (!client_create(c, GVR_NODES, S(""), node, &n->have, err)) {
		return false;
	}
	n->registered = true;
	log_info(KUBELET_LOG, "node registered", kv_str("node", name));
	return true;
}

/* Events are about the node as upstream refers to it: by its name also as uid. */
static void node_event(struct node *n, const char *reason, const char *text) {
	auto_arena struct arena a = { 0 };
	struct value *about = value_new_object(&a), *meta;

	value_set_str(&a, about, N_kind, S("Node"));
	value_set_str(&a, about, N_apiVersion, S("v1"));
	meta = value_ensure_object(&a, about, N_metadata);
	value_set_str(&a, meta, N_name, str_c(n->k->o.node_name));
	value_set_str(&a, meta, N_uid, str_c(n->k->o.node_name));
	recorder_event(n->k->recorder, about, "Normal", reason, "%s", text);
}

static struct str ready_of(const struct value *status) {
	return value_str_at(value_find_by(value_get(status, N_conditions), N_type, S("Ready")), N_status);
}

static void tell_ready(struct node *n, const struct value *old, const struct value *now) {
	auto_arena struct arena a = { 0 };
	bool ready = str_eq(ready_of(now), S("True"));

	if (!str_eq(ready_of(old), ready_of(now))) {
		node_event(n, ready ? "NodeReady" : "NodeNotReady",
			arena_printf(&a, "Node %s status is now: %s", n->k->o.node_name, ready ? "NodeReady" : "NodeNotReady").ptr);
	}
}

/* The whole status in one patch; conditions and addresses are merged by type on the other side, so they are sent whole. */
static bool status_bring(struct node *n, struct arena *a, struct err *err) {
	const struct value *old = value_get(n->have->root, N_status);
	struct value *status = status_make(n, a, old), *patch;
	struct obj *ret = NULL;
	nsec_t now = clock_mono();

	if (n->reported > 0 && now - n->reported < STATUS_REPORT && !differs(a, status, old)) {
		return true;
	}
	patch = value_new_object(a);
	value_set(a, patch, N_status, status);
	if (!client_patch(n->k->o.client, GVR_NODES, S(""), str_c(n->k->o.node_name), S("status"), PATCH_STRATEGIC, patch, &ret, err)) {
		return false;
	}
	tell_ready(n, old, status);
	if (ret) {
		obj_unref(n->have);
		n->have = ret;
	}
	n->reported = now;
	return true;
}

static void status_run(struct job *j) {
	struct node *n = container_of(j, struct node, status_job);
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };

	n->status_ok = (n->registered || node_register(n, &a, &err)) && status_bring(n, &a, &err);
	if (!n->status_ok) {
		if (err.code == ERR_NOT_FOUND) { /* deleted behind our back: register again */
			n->registered = false;
			n->reported = 0;
		}
		log_warn(KUBELET_LOG, "node status not written", kv_err(&err));
	}
}

static void on_status_timer(struct loop_timer *t);
static void on_lease_timer(struct loop_timer *t);

static void status_done(struct job *j) {
	struct node *n = container_of(j, struct node, status_job);
	struct kubelet *k = n->k;

	n->status_busy = false;
	k->passes--;
	if (k->stopping) {
		return;
	}
	if (n->have) {
		n->known = true;
		snprintf(n->uid, sizeof(n->uid), "%.*s", STR_ARG(value_str_at(n->have->root, N_metadata, N_uid)));
	}
	n->retry = n->status_ok ? 0 : n->retry ? MIN(n->retry * 2, RETRY_MAX) : RETRY_FIRST;
	if (n->status_again) {
		n->status_again = false;
		kubelet_node_wake(n);
		return;
	}
	loop_timer_start(k->loop, &n->status_timer, n->retry ? n->retry : STATUS_PERIOD, on_status_timer);
}

void kubelet_node_wake(struct node *n) {
	struct kubelet *k = n->k;

	if (k->stopping) {
		return;
	}
	if (n->status_busy) {
		n->status_again = true;
		return;
	}
	loop_timer_stop(&n->status_timer);
	if (n->news) {
		obj_unref(n->have);
		n->have = TAKE(n->news);
	}
	n->status_job = (struct job){ .loop = k->loop, .run = status_run, .done = status_done };
	n->status_busy = true;
	k->passes++;
	if (!pool_submit(&n->status_job)) {
		n->status_busy = false;
		k->passes--;
		loop_timer_start(k->loop, &n->status_timer, NSEC_PER_SEC, on_status_timer);
	}
}

static void on_status_timer(struct loop_timer *t) {
	kubelet_node_wake(container_of(t, struct node, status_timer));
}

void kubelet_node_changed(struct node *n, const struct value *node) {
	struct obj *now = node ? obj_freeze(node, 0) : NULL;

	if (!now) {
		n->status_again = n->status_busy;
		if (!n->status_busy) {
			n->registered = false;
			n->reported = 0;
			kubelet_node_wake(n);
		}
		return;
	}
	/* somebody changed the capacity (extended resources): allocatable follows */
	bool capacity = !n->status_busy && n->have && !value_eq(value_at(now->root, N_status, N_capacity), value_at(n->have->root, N_status, N_capacity));
	obj_unref(n->news);
	n->news = now;
	if (capacity) {
		kubelet_node_wake(n);
	}
}

/* ---- the lease --------------------------------------------------------------------------------------------------------- */

static struct value *lease_make(struct node *n, struct arena *a) {
	struct value *lease = n->lease ? value_copy(a, n->lease->root) : value_new_object(a);
	char now[TIME_TEXT_MAX];

	if (!n->lease) {
		value_set_str(a, lease, N_apiVersion, S("coordination.k8s.io/v1"));
		value_set_str(a, lease, N_kind, S("Lease"));
		struct value *meta = value_ensure_object(a, lease, N_metadata);
		value_set_str(a, meta, N_name, str_c(n->k->o.node_name));
		value_set_str(a, meta, N_namespace, S("kube-node-lease"));
		struct str uid = str_c(n->lease_uid);
		if (uid.len > 0) {
			struct value *owner = value_new_object(a);
			value_set_str(a, owner, N_apiVersion, S("v1"));
			value_set_str(a, owner, N_kind, S("Node"));
			value_set_str(a, owner, N_name, str_c(n->k->o.node_name));
			value_set_str(a, owner, N_uid, uid);
			value_push(a, value_ensure_array(a, meta, N_ownerReferences), owner);
		}
	}
	struct value *spec = value_ensure_object(a, lease, N_spec);
	value_set_str(a, spec, N_holderIdentity, str_c(n->k->o.node_name));
	value_set_int(a, spec, N_leaseDurationSeconds, LEASE_SECONDS);
	value_set_str(a, spec, N_renewTime, time_format_micro(clock_wall(), now));
	return lease;
}

static bool lease_renew(struct node *n, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct client *c = n->k->o.client;
	struct str ns = S("kube-node-lease");
	struct obj *ret = NULL;

	if (!n->lease && !client_get(c, GVR_LEASES, ns, str_c(n->k->o.node_name), &n->lease, err) && err->code != ERR_NOT_FOUND) {
		return false;
	}
	err_clear(err);
	struct value *body = lease_make(n, &a);
	bool ok = n->lease ? client_update(c, GVR_LEASES, ns, body, &ret, err) : client_create(c, GVR_LEASES, ns, body, &ret, err);
	obj_unref(TAKE(n->lease));
	n->lease = ok ? ret : NULL; /* after a conflict: read it again */
	return ok;
}

static void lease_run(struct job *j) {
	struct node *n = container_of(j, struct node, lease_job);
	struct err err = { 0 };

	n->lease_ok = lease_renew(n, &err);
	if (!n->lease_ok) {
		err_clear(&err);
		n->lease_ok = lease_renew(n, &err);
	}
	if (!n->lease_ok) {
		log_debug(KUBELET_LOG, "lease not renewed", kv_err(&err));
	}
}

static void lease_done(struct job *j) {
	struct node *n = container_of(j, struct node, lease_job);

	n->lease_busy = false;
	n->k->passes--;
	if (!n->k->stopping) {
		loop_timer_start(n->k->loop, &n->lease_timer, n->lease_ok ? LEASE_RENEW : NSEC_PER_SEC, on_lease_timer);
	}
}

static void on_lease_timer(struct loop_timer *t) {
	struct node *n = container_of(t, struct node, lease_timer);

	if (!n->known && !n->k->o.register_node_off) { /* the lease is owned by the Node */
		loop_timer_start(n->k->loop, t, RETRY_FIRST, on_lease_timer);
		return;
	}
	snprintf(n->lease_uid, sizeof(n->lease_uid), "%s", n->uid);
	n->lease_job = (struct job){ .loop = n->k->loop, .run = lease_run, .done = lease_done };
	n->lease_busy = true;
	n->k->passes++;
	if (!pool_submit(&n->lease_job)) {
		n->lease_busy = false;
		n->k->passes--;
		loop_timer_start(n->k->loop, t, NSEC_PER_SEC, on_lease_timer);
	}
}

/* ---- start and end -------------------------------------------------------------------------------------------------------- */

static void begin(void *arg) {
	struct node *n = arg;

	node_event(n, "Starting", "Starting kubelet.");
	kubelet_node_wake(n);
	loop_timer_start(n->k->loop, &n->lease_timer, NSEC_PER_MSEC, on_lease_timer);
}

struct node *kubelet_node_start(struct kubelet *k) {
	struct node *n = xcalloc(1, sizeof(*n));

	n->k = k;
	machine_read(&n->own, k->o.state_dir, &n->machine);
	k->node = n;
	loop_call(k->loop, begin, n);
	return n;
}

void kubelet_node_free(struct node *n) {
	if (!n) {
		return;
	}
	obj_unref(n->have);
	obj_unref(n->news);
	obj_unref(n->lease);
	arena_release(&n->own);
	free(n);
}
