/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubelet.c - the door: starts the parts, feeds pods with what the API and the runtime say, stops.
 *
 * The informers' handlers and on_exit end here and do one thing: they wake a pod. Passes (sync.c) do
 * the rest.
 */
#include "kubelet/kubelet.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "kubelet/admit.h"
#include "kubelet/housekeeping.h"
#include "kubelet/images.h"
#include "kubelet/node.h"
#include "kubelet/objects.h"
#include "kubelet/pod.h"
#include "kubelet/resources.h"
#include "kubelet/server.h"
#include "kubelet/static_pods.h"
#include "kubelet/sweep.h"
#include "kubelet/tokens.h"
#include "kubelet/volume.h"
#include "net/client.h"

#define STOP_WAIT (10 * NSEC_PER_SEC)

struct kubelet *kubelet_new(void) {
	return xcalloc(1, sizeof(struct kubelet));
}

int kubelet_port(const struct kubelet *k) {
	return k->server ? kubelet_server_port(k->server) : 0;
}

/* ---- news from the runtime -------------------------------------------------------------------------------- */

struct exit_msg {
	struct msg msg;
	struct kubelet *k;
	char id[CTR_ID_MAX];
};

static void exit_run(struct msg *m) {
	struct exit_msg *e = container_of(m, struct exit_msg, msg);
	struct kubelet *k = e->k;
	struct pod *p = map_get(&k->ids, str_c(e->id));

	if (p) {
		pod_wake(p);
	} else { /* made by a pass that has not ended yet */
		MAP_EACH(&k->pods, it) {
			struct pod *busy = it->value;
			busy->again = busy->again || busy->busy;
		}
	}
	free(e);
}

static void exit_post(struct kubelet *k, struct str id) {
	struct exit_msg *e = xcalloc(1, sizeof(*e));

	e->msg.run = exit_run;
	e->k = k;
	snprintf(e->id, sizeof(e->id), "%.*s", STR_ARG(id));
	if (k->server) {
		kubelet_server_on_exit(k->server, id);
	}
	if (!loop_post(k->loop, &e->msg)) {
		free(e);
	}
}

void kubelet_on_exit(void *kubelet, struct str id, bool is_sandbox) {
	struct kubelet *k = kubelet;

	k->callers++; /* kubelet_stop waits for those who saw it running */
	if (k->running) { /* before that, the first passes list what there is */
		exit_post(k, id);
	}
	k->callers--;
}

static void network_changed(void *arg) {
	struct kubelet *k = arg;

	if (k->stopping) {
		return;
	}
	kubelet_node_wake(k->node);
	MAP_EACH(&k->pods, e) {
		struct pod *p = e->value;
		if (p->ids.len == 0) { /* no sandbox yet */
			pod_wake(p);
		}
	}
}

void kubelet_network_changed(struct kubelet *k) {
	k->callers++;
	if (k->running) {
		loop_call(k->loop, network_changed, k);
	}
	k->callers--;
}

/* ---- news from the API --------------------------------------------------------------------------------------- */

static bool same_meta(const struct value *a, const struct value *b) {
	static const enum name_id parts[] = { N_labels, N_annotations, N_deletionTimestamp, N_deletionGracePeriodSeconds, N_finalizers, N_generation };

	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		const struct value *x = value_at(a, N_metadata, parts[i]), *y = value_at(b, N_metadata, parts[i]);
		if (x != y && !(x && y && value_eq(x, y)) && !(value_is_empty(x) && value_is_empty(y))) {
			return false;
		}
	}
	return true;
}

/* What only touched the status, and is no news to us. */
static bool is_echo(const struct pod *p, const struct obj *old, const struct obj *now) {
	if (!old || value_int_at(now->root, N_metadata, N_generation) == 0 || !same_meta(old->root, now->root)) {
		return false;
	}
	if (value_len(value_at(now->root, N_spec, N_readinessGates)) > 0) {
		return false; /* conditions of others count */
	}
	return value_eq(value_get(old->root, N_spec), value_get(now->root, N_spec));
}

/* The status as others see it; a foreign change of what is ours is put right, but not in a tight loop. */
void pod_status_seen(struct pod *p, struct obj *now) {
	const struct value *status = value_get(now->root, N_status);

	if (now->revision <= p->status_revision || p->status_busy || !status) {
		return;
	}
	bool first = !p->status_have;
	nsec_t mono = clock_mono();
	obj_unref(p->status_have);
	p->status_have = obj_freeze(status, now->revision);
	if (first) {
		return;
	}
	nsec_t wait = p->status_reconciled ? p->status_reconciled + 10 * NSEC_PER_SEC - mono : 0;
	if (wait > 0) {
		pod_status_later(p, wait);
	} else {
		p->status_reconciled = mono;
		pod_status_post(p);
	}
}

static void on_pod(void *arg, struct obj *old, struct obj *now) {
	struct kubelet *k = arg;
	const struct value *meta = value_get((now ? now : old)->root, N_metadata);
	struct str uid = value_str_at(meta, N_uid);
	struct pod *p = kubelet_pod(k, uid);

	if (is_mirror((now ? now : old)->root)) {
		static_pods_mirror(k->static_pods, k, old, now);
		return;
	}
	if (old && now && !str_eq(value_str_at(old->root, N_metadata, N_uid), uid)) {
		on_pod(arg, old, NULL); /* the same name, another pod */
	}
	if (!now) {
		if (p) {
			p->gone = true;
			struct obj *last = old; /* its grace period may stand in the last version */
			obj_unref(p->obj);
			p->obj = obj_ref(last);
			pod_wake(p);
		}
		return;
	}
	if (!p) {
		p = pod_new(k, uid, value_str_at(meta, N_namespace), value_str_at(meta, N_name));
	}
	bool echo = is_echo(p, p->obj, now), first = !p->obj;
	obj_unref(p->obj);
	p->obj = obj_ref(now);
	if (first) {
		pod_admit(p);
	}
	pod_status_seen(p, now);
	if (!echo) {
		pod_wake(p);
	} else {
		pod_status_post(p); /* a deletion may wait for it */
	}
}

static void on_pods_synced(void *arg) {
	struct kubelet *k = arg;

	k->pods_synced = true;
	MAP_EACH(&k->pods, e) {
		struct pod *p = e->value;
		if (!p->obj && !p->is_static) {
			p->gone = true;
			pod_wake(p);
		}
	}
	sweep_start(TAKE(k->sweep));
}

static void on_services_synced(void *arg) {
	struct kubelet *k = arg;
	auto_arena struct arena a = { 0 };

	if (k->pods_informer || k->stopping) {
		return;
	}
	/* pods begin only now: their environment names the services */
	k->pods_informer = informer_start(&(struct informer_opts){ .client = k->o.client,
		.loop = k->loop,
		.gvr = GVR_PODS,
		.field_selector = arena_printf(&a, "spec.nodeName=%s", k->o.node_name),
		.on_change = on_pod,
		.on_synced = on_pods_synced,
		.arg = k });
}

static void on_node(void *arg, struct obj *old, struct obj *now) {
	struct kubelet *k = arg;

	if (k->node && !k->stopping) {
		kubelet_node_changed(k->node, now ? now->root : NULL);
	}
}

static void informers_start(void *arg) {
	struct kubelet *k = arg;
	auto_arena struct arena a = { 0 };

	if (k->static_pods) {
		static_pods_begin(k->static_pods);
	}
	k->node_informer = informer_start(&(struct informer_opts){ .client = k->o.client,
		.loop = k->loop,
		.gvr = GVR_NODES,
		.field_selector = arena_printf(&a, "metadata.name=%s", k->o.node_name),
		.on_change = on_node,
		.arg = k });
	k->services_informer = informer_start(&(struct informer_opts){ .client = k->o.client,
		.loop = k->loop,
		.gvr = GVR_SERVICES,
		.on_synced = on_services_synced,
		.arg = k });
}

/* ---- adoption -------------------------------------------------------------------------------------------------- */

/* Pods for the sandboxes that are there; their objects come with the informer. */
static bool adopt(struct kubelet *k, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct cri_sandboxes list = { 0 };

	if (!cri_sandbox_list(k->o.cri, &a, &list, err)) {
		return false;
	}
	const char **ids = arena_array(&a, const char *, list.len + 1);
	for (size_t i = 0; i < list.len; i++) {
		const struct cri_sandbox_status *st = &list.at[i];
		struct pod *p = kubelet_pod(k, st->uid);
		if (!p) {
			p = pod_new(k, st->uid, st->ns, st->name);
		}
		p->adopted = true;
		p->sandbox_made = true;
		struct pod_sandbox s = { .attempt = st->attempt, .has_network = st->network == CRI_NS_POD };
		snprintf(s.id, sizeof(s.id), "%.*s", STR_ARG(st->id));
		VEC_PUSH(&p->sandboxes, s);
		map_set(&k->ids, st->id, p);
		VEC_PUSH(&p->ids, str_dup(st->id));
		ids[i] = arena_cstr(&a, st->id);
	}
	if (k->o.network.keep_only && !k->o.network.keep_only(k->o.network.arg, ids, list.len, err)) {
		log_warn(KUBELET_LOG, "addresses of old sandboxes stay", kv_err(err));
		err_clear(err);
	}
	return true;
}

/* ---- start and stop ---------------------------------------------------------------------------------------------- */

static const char *keep(struct kubelet *k, const char *s, const char *absent) {
	s = s ? s : absent;
	return s ? arena_cstr(&k->own, str_c(s)) : NULL;
}

static const char *const *keep_list(struct kubelet *k, const char *const *list) {
	size_t n = 0;

	while (list && list[n]) {
		n++;
	}
	const char **copy = arena_array(&k->own, const char *, n + 1);
	for (size_t i = 0; i < n; i++) {
		copy[i] = keep(k, list[i], NULL);
	}
	return copy;
}

static bool opts_take(struct kubelet *k, const struct kubelet_opts *o, struct err *err) {
	if (!o->cri || !o->network.add || !o->network.del || !o->node_name || !o->node_ip || !o->state_dir) {
		return err_set(err, ERR_INVALID, "kubelet: cri, network, node name, node address and state folder must be given");
	}
	if (o->state_dir[0] != '/') {
		return err_set(err, ERR_INVALID, "kubelet: the state folder must be an absolute path: %s", o->state_dir);
	}
	k->o = *o;
	k->o.node_name = keep(k, o->node_name, NULL);
	k->o.node_ip = keep(k, o->node_ip, NULL);
	k->o.state_dir = keep(k, o->state_dir, NULL);
	k->o.cluster_dns = keep(k, o->cluster_dns, NULL);
	k->o.cluster_domain = keep(k, o->cluster_domain, "cluster.local");
	k->o.resolv_conf = keep(k, o->resolv_conf, "/etc/resolv.conf");
	k->o.bind_address = keep(k, o->bind_address, "0.0.0.0");
	k->o.cert_file = keep(k, o->cert_file, NULL);
	k->o.key_file = keep(k, o->key_file, NULL);
	k->o.client_ca_file = keep(k, o->client_ca_file, NULL);
	k->o.labels = keep_list(k, o->labels);
	k->o.taints = keep_list(k, o->taints);
	k->o.provider_id = keep(k, o->provider_id, NULL);
	k->o.cgroup_root = keep(k, o->cgroup_root, "");
	k->o.static_pod_dir = keep(k, o->static_pod_dir, NULL);
	k->o.version = keep(k, o->version, "v1.36.0");
	if (k->o.log_bytes_max <= 0) {
		k->o.log_bytes_max = 10 << 20;
	}
	if (k->o.log_files_max <= 0) {
		k->o.log_files_max = 5;
	}
	k->pods_dir = arena_printf(&k->own, "%s/pods", k->o.state_dir);
	k->log_dir = o->log_dir ? arena_str(&k->own, str_c(o->log_dir)) : arena_printf(&k->own, "%s/log/pods", k->o.state_dir);
	k->secrets_dir = arena_printf(&k->own, "%s/secrets", k->o.state_dir);
	struct str root = str_c(k->o.cgroup_root);
	k->kubepods = arena_printf(&k->own, "%.*s/kubepods", STR_ARG(str_eq(root, S("/")) ? S("") : root));
	struct str rest = str_c(k->o.node_ip), piece;
	k->node_ips_len = 0;
	while (k->node_ips_len < 2 && str_next(&rest, ',', &piece)) {
		k->node_ips[k->node_ips_len++] = str_trim(piece);
	}
	return true;
}

/* The lowest oom_score_adj: without CAP_SYS_RESOURCE it cannot go below our own. */
static int oom_floor(void) {
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };
	auto_buf struct buf b = BUF_INIT(64);
	struct err err = { 0 };
	int own = 0;

	if (syscall(SYS_capget, &head, data) == 0 && (data[CAP_TO_INDEX(CAP_SYS_RESOURCE)].effective & CAP_TO_MASK(CAP_SYS_RESOURCE))) {
		return -1000;
	}
	if (file_read("/proc/self/oom_score_adj", &b, &err) && str_to_int(str_trim(buf_view(&b)), -1000, 1000, &own)) {
		return own;
	}
	return 0;
}

/* One tmpfs holds the secrets of all pods. */
static bool secrets_mount(struct kubelet *k, struct err *err) {
	auto_arena struct arena a = { 0 };
	const char *dir = arena_cstr(&a, k->secrets_dir);
	struct stat own, up;

	if (!dir_make(dir, 0700, err)) {
		return false;
	}
	if (stat(dir, &own) == 0 && stat(k->o.state_dir, &up) == 0 && own.st_dev != up.st_dev) {
		return true; /* mounted by an earlier process */
	}
	return mount("tmpfs", dir, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") == 0 || err_sys(err, "mount tmpfs on %s", dir);
}

static bool folders_make(struct kubelet *k, struct err *err) {
	auto_arena struct arena a = { 0 };

	return dir_make(k->o.state_dir, 0755, err) && dir_make(arena_cstr(&a, k->pods_dir), 0750, err) &&
		dir_make(arena_cstr(&a, k->log_dir), 0755, err) && secrets_mount(k, err);
}

static void capacity_find(struct kubelet *k) {
	auto_arena struct arena a = { 0 };
	struct machine m;

	machine_read(&a, k->o.state_dir, &m);
	k->cpu_milli = k->o.cpu_milli > 0 ? k->o.cpu_milli : (int64_t)m.cpus * 1000;
	k->memory_bytes = k->o.memory_bytes > 0 ? k->o.memory_bytes : m.memory_bytes;
	k->ephemeral_bytes = k->o.ephemeral_bytes > 0 ? k->o.ephemeral_bytes : m.disk_bytes;
	k->oom_score_min = oom_floor();
}

static void parts_free(struct kubelet *k) {
	static_pods_free(k->static_pods);
	sweep_free(k->sweep);
	housekeeping_free(k->housekeeping);
	kubelet_node_free(k->node);
	images_free(k->images);
	objects_free(k->objects);
	tokens_free(k->tokens);
	recorder_free(k->recorder);
	if (k->http) {
		http_client_free(k->http);
	}
	if (k->loop) {
		loop_free(k->loop);
	}
	map_release(&k->pods);
	map_release(&k->ids);
	arena_release(&k->own);
}

static bool parts_make(struct kubelet *k, struct err *err) {
	struct http_client_opts http = { .tls = { .insecure = true }, .user_agent = S("kube-probe/1.36"), .idle_max = 1 };

	if (!folders_make(k, err)) {
		return err_wrap(err, "make the kubelet's folders");
	}
	capacity_find(k);
	if (!kubepods_make(k, err) || !http_client_new(&http, &k->http, err)) {
		return false;
	}
	k->loop = loop_new("kubelet");
	k->recorder = recorder_new(k->o.client, "kubelet", k->o.node_name);
	k->objects = objects_new(k);
	k->images = images_new(k);
	k->tokens = tokens_new(k);
	k->sweep = sweep_new(k);
	if (!adopt(k, err)) {
		return err_wrap(err, "look for what runs");
	}
	if (k->o.static_pod_dir && !static_pods_new(k, &k->static_pods, err)) {
		return false;
	}
	if (k->o.cert_file && !kubelet_server_start(k, &k->server, err)) {
		return false;
	}
	return true;
}

bool kubelet_start(struct kubelet *k, const struct kubelet_opts *opts, struct err *err) {
	bool ok = (opts->client || err_set(err, ERR_INVALID, "kubelet: a client must be given")) && opts_take(k, opts, err) && parts_make(k, err);
	size_t adopted = k->pods.len; /* the loop's, once it runs */

	ok = ok && loop_start_thread(k->loop, err);

	if (!ok) {
		if (k->server) {
			kubelet_server_stop(k->server);
		}
		parts_free(k);
		return false;
	}
	kubelet_node_start(k);
	k->running = true;
	k->housekeeping = housekeeping_start(k);
	loop_call(k->loop, informers_start, k);
	log_info(KUBELET_LOG, "kubelet started", kv_c("node", k->o.node_name), kv_int("port", kubelet_port(k)), kv_int("adopted", (int64_t)adopted));
	return true;
}

static void stop_on_loop(void *arg) {
	struct kubelet *k = arg;

	k->stopping = true;
	if (k->static_pods) {
		static_pods_end(k->static_pods);
	}
	if (k->pods_informer) {
		informer_stop(TAKE(k->pods_informer));
	}
	if (k->node_informer) {
		informer_stop(TAKE(k->node_informer));
	}
	MAP_EACH(&k->pods, e) {
		struct pod *p = e->value;
		loop_timer_stop(&p->timer);
		loop_timer_stop(&p->status_timer);
	}
	k->passes--; /* of kubelet_stop */
}

/* Jobs end on the loop, callers at once; nobody else waits here. */
static bool wait_for_none(_Atomic int *count) {
	for (nsec_t end = clock_mono() + STOP_WAIT; *count > 0 && clock_mono() < end;) {
		clock_sleep(NSEC_PER_MSEC);
	}
	return *count == 0;
}

void kubelet_stop(struct kubelet *k) {
	if (!k || !k->running) {
		return;
	}
	k->running = false;
	wait_for_none(&k->callers);
	if (k->server) {
		kubelet_server_stop(TAKE(k->server));
	}
	k->passes++;
	if (!loop_call(k->loop, stop_on_loop, k)) {
		k->passes--;
	}
	bool all_ended = wait_for_none(&k->passes);
	loop_stop(k->loop);
	if (!all_ended) {
		log_warn(KUBELET_LOG, "stopped while something still ran", kv_int("jobs", k->passes));
		k->leaked = true; /* a hook or a pull may still look at it: the process ends soon anyway */
		return;
	}
	if (k->services_informer) {
		informer_stop(TAKE(k->services_informer));
	}
	VEC(struct pod *) pods = { 0 };
	MAP_EACH(&k->pods, e) {
		VEC_PUSH(&pods, e->value);
	}
	VEC_EACH(&pods, p) {
		(*p)->refs = 0;
		pod_drop(*p);
	}
	VEC_RELEASE(&pods);
	parts_free(k);
}

void kubelet_free(struct kubelet *k) {
	if (k && !k->leaked) {
		free(k);
	}
}

/* ---- taking everything away ---------------------------------------------------------------------------------------- */

static void first_err(struct err *to, const struct err *e) {
	if (to->code == ERR_NONE) {
		*to = *e;
	}
}

bool kubelet_destroy_pods(const struct kubelet_opts *opts, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct kubelet *k = kubelet_new();
	struct cri_sandboxes list = { 0 };
	struct err e = { 0 };

	if (!opts_take(k, opts, err)) {
		free(k);
		return false;
	}
	if (cri_sandbox_list(opts->cri, &a, &list, &e)) {
		for (size_t i = 0; i < list.len; i++) {
			const struct cri_sandbox_status *st = &list.at[i];
			struct pod_network_pod np = { .id = arena_cstr(&a, st->id),
				.netns = arena_cstr(&a, st->netns),
				.ns = arena_cstr(&a, st->ns),
				.name = arena_cstr(&a, st->name),
				.uid = arena_cstr(&a, st->uid) };
			if (!cri_sandbox_stop(opts->cri, st->id, &e) ||
				(st->network == CRI_NS_POD && !opts->network.del(opts->network.arg, &np, &e)) || !cri_sandbox_remove(opts->cri, st->id, &e)) {
				first_err(err, &e);
				err_clear(&e);
			}
		}
	} else {
		first_err(err, &e);
	}
	struct sweep *s = sweep_new(k);
	sweep_all(s);
	sweep_free(s);
	err_clear(&e);
	if (!cri_cgroup_remove(opts->cri, k->kubepods, &e)) {
		first_err(err, &e);
	}
	umount2(arena_cstr(&a, k->secrets_dir), MNT_DETACH | UMOUNT_NOFOLLOW);
	arena_release(&k->own);
	free(k);
	return err->code == ERR_NONE;
}
