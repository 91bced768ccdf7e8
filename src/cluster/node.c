/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node.c - connects the doors of a node: the kubelet to the runtime and to the pod network, the overlay
 * to the pod network. Start and stop run in the main thread; the callbacks come from other threads.
 */
#include "cluster/node.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "cluster/control.h"
#include "kubelet/kubelet.h"
#include "network/network.h"
#include "runtime/cri.h"

struct node {
	struct arena arena; /* names */
	const char *range_file; /* holds the pod range, for the next start */
	struct cri *cri;
	struct cni *cni;
	struct overlay *overlay;
	struct proxy *proxy;
	struct kubelet *kubelet;
	struct control *control;
};

struct names {
	const char *bridge, *vxlan, *table, *cgroup, *cni_dir, *cri_root, *cri_state, *kubelet_dir, *sock;
};

static struct names names_of(const struct node_opts *o, struct arena *a) {
	return (struct names){
		.bridge = arena_printf(a, "cor%s", o->id).ptr,
		.vxlan = arena_printf(a, "corx%s", o->id).ptr,
		.table = arena_printf(a, "coracle_%s", o->id).ptr,
		.cgroup = arena_printf(a, "/coracle-%s", o->id).ptr,
		.cni_dir = arena_printf(a, "%s/cni", o->run_dir).ptr,
		.cri_root = arena_printf(a, "%s/images", o->data_dir).ptr,
		.cri_state = arena_printf(a, "%s/cri", o->run_dir).ptr,
		.kubelet_dir = arena_printf(a, "%s/kubelet", o->data_dir).ptr,
		.sock = arena_printf(a, "%s/control.sock", o->run_dir).ptr,
	};
}

/* ---- kubelet -> pod network ---- */

static struct cni_pod cni_pod_of(const struct pod_network_pod *p, struct arena *a) {
	struct cni_port *ports = arena_array(a, struct cni_port, p->ports_len);
	for (size_t i = 0; i < p->ports_len; i++) {
		ports[i] = (struct cni_port){ .container_port = p->ports[i].container_port, .host_port = p->ports[i].host_port,
			.protocol = p->ports[i].protocol, .host_ip = p->ports[i].host_ip };
	}
	return (struct cni_pod){ .id = p->id, .netns = p->netns, .ns = p->ns, .name = p->name, .uid = p->uid, .ports = ports, .ports_len = p->ports_len };
}

static bool network_add(void *arg, const struct pod_network_pod *p, struct pod_ips *ret, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct node *n = arg;
	struct cni_pod pod = cni_pod_of(p, &a);
	if (!cni_add(n->cni, &pod, ret->at[0], err)) {
		return false;
	}
	ret->len = 1;
	return true;
}

static bool network_del(void *arg, const struct pod_network_pod *p, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct node *n = arg;
	struct cni_pod pod = cni_pod_of(p, &a);
	return cni_del(n->cni, &pod, err);
}

static bool network_ready(void *arg) {
	return cni_ready(((struct node *)arg)->cni);
}

static bool network_keep_only(void *arg, const char *const *ids, size_t len, struct err *err) {
	return cni_keep_only(((struct node *)arg)->cni, ids, len, err);
}

/* ---- overlay -> pod network ---- */

static void on_range(void *arg, struct str cidr) {
	struct node *n = arg;
	struct err err = { 0 };
	if (!cni_set_range(n->cni, cidr, &err) || !file_write(n->range_file, cidr, 0644, &err)) {
		log_error("node", "pod range cannot be used", kv_str("range", cidr), kv_err(&err));
		return;
	}
	kubelet_network_changed(n->kubelet);
}

/* The range of before a restart: the node stays Ready while we ask for it again. */
static void range_restore(struct node *n) {
	auto_buf struct buf b = BUF_INIT(64);
	struct err err = { 0 };
	if (file_read(n->range_file, &b, &err) && !cni_set_range(n->cni, buf_view(&b), &err)) {
		log_warn("node", "the pod range of before cannot be used", kv_str("range", buf_view(&b)), kv_err(&err));
	}
}

static struct kubelet_opts kubelet_opts_of(const struct node_opts *o, const struct names *nm, struct node *n) {
	return (struct kubelet_opts){
		.client = o->kubelet_client,
		.cri = n->cri,
		.network = { .add = network_add, .del = network_del, .ready = network_ready, .keep_only = network_keep_only, .arg = n },
		.node_name = o->name,
		.node_ip = o->ip,
		.state_dir = nm->kubelet_dir,
		.cluster_dns = o->dns_ip,
		.cluster_domain = o->domain,
		.port = o->kubelet_port,
		.cert_file = o->cert_file,
		.key_file = o->key_file,
		.client_ca_file = o->client_ca_file,
		.labels = o->labels,
		.taints = o->taints,
		.cgroup_root = nm->cgroup,
	};
}

static bool runtime_open(const struct node_opts *o, const struct names *nm, struct node *n, struct err *err) {
	struct str insecure[64];
	size_t len = 0;
	for (; o->insecure_registries && o->insecure_registries[len] && len < ARRAY_LEN(insecure); len++) {
		insecure[len] = str_c(o->insecure_registries[len]);
	}
	struct cri_opts ro = {
		.root_dir = str_c(nm->cri_root),
		.state_dir = str_c(nm->cri_state),
		.cgroup_prefix = str_c(nm->cgroup),
		.insecure_registries = insecure,
		.insecure_registries_len = len,
		.registry_ca_file = str_c(o->registry_ca_file),
		.on_exit = n->kubelet ? kubelet_on_exit : NULL,
		.arg = n->kubelet,
	};
	return cri_open(&ro, &n->cri, err);
}

static bool network_open(const struct node_opts *o, const struct names *nm, struct node *n, struct err *err) {
	struct cni_opts co = { .state_dir = nm->cni_dir, .conf_dir = o->cni_conf_dir, .bin_dir = o->cni_bin_dir, .bridge = nm->bridge,
		.cluster_cidr = o->cluster_cidr };
	return dir_make(nm->cni_dir, 0755, err) && cni_open(&co, &n->cni, err);
}

bool cluster_node_start(const struct node_opts *o, struct node **ret, struct err *err) {
	struct node *n = xcalloc(1, sizeof(*n));
	struct names nm = names_of(o, &n->arena);

	n->kubelet = kubelet_new();
	struct kubelet_opts ko;
	struct overlay_opts vo = { .client = o->kubelet_client, .node_name = o->name, .mode = o->overlay, .vxlan_link = nm.vxlan, .state_dir = nm.cni_dir, .on_range = on_range, .arg = n };
	struct proxy_opts po = { .client = o->proxy_client, .node_name = o->name, .cluster_cidr = o->cluster_cidr, .table = nm.table, .bridge = nm.bridge };
	bool ok = dir_make(o->data_dir, 0755, err) && dir_make(o->run_dir, 0755, err) && runtime_open(o, &nm, n, err) && network_open(o, &nm, n, err);
	n->range_file = arena_printf(&n->arena, "%s/pod-range", o->run_dir).ptr;
	if (ok) {
		range_restore(n);
	}
	ko = kubelet_opts_of(o, &nm, n);
	ok = ok && overlay_start(&vo, &n->overlay, err) && (o->no_proxy || proxy_start(&po, &n->proxy, err)) && kubelet_start(n->kubelet, &ko, err) &&
		control_start(&(struct control_opts){ .path = nm.sock, .images = cri_images(n->cri), .spool_dir = nm.cri_root }, &n->control, err);
	if (!ok) {
		cluster_node_stop(n);
		return false;
	}
	*ret = n;
	return true;
}

void cluster_node_stop(struct node *n) {
	if (!n) {
		return;
	}
	control_stop(n->control);
	kubelet_stop(n->kubelet);
	if (n->proxy) {
		proxy_stop(n->proxy, false);
	}
	if (n->overlay) {
		overlay_stop(n->overlay, false);
	}
	cri_free(n->cri);
	kubelet_free(n->kubelet);
	cni_close(n->cni);
	arena_release(&n->arena);
	free(n);
}

/* Unmounts everything below a folder, deepest first. */
static void unmount_below(const char *dir) {
	auto_arena struct arena a = { 0 };
	VEC(const char *) found = { 0 };
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[8192], path[4096];
	size_t len = strlen(dir);
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%*s %*s %*s %*s %4095s", path) == 1 && !strncmp(path, dir, len) && (path[len] == '/' || !path[len])) {
			VEC_PUSH(&found, arena_cstr(&a, str_c(path)));
		}
	}
	if (f) {
		fclose(f);
	}
	for (size_t i = found.len; i-- > 0;) {
		umount2(found.at[i], MNT_DETACH);
	}
	VEC_RELEASE(&found);
}

bool cluster_node_destroy(const struct node_opts *o, struct err *err) {
	struct node n = { 0 };
	struct names nm = names_of(o, &n.arena);
	struct err first = { 0 }, e = { 0 };

	if (dir_make(o->data_dir, 0755, &e) && dir_make(o->run_dir, 0755, &e) && runtime_open(o, &nm, &n, &e) && network_open(o, &nm, &n, &e)) {
		struct kubelet_opts ko = kubelet_opts_of(o, &nm, &n);
		if (!kubelet_destroy_pods(&ko, &e)) {
			first = e;
		}
		struct str cg = str_c(nm.cgroup);
		if (!cri_cgroup_remove(n.cri, cg, &e) && !first.code) {
			first = e;
		}
	} else {
		first = e;
	}
	cri_free(n.cri);
	cni_close(n.cni);
	network_remove(nm.bridge, nm.vxlan, nm.table, nm.cni_dir);
	unmount_below(o->run_dir);
	unmount_below(o->data_dir);
	arena_release(&n.arena);
	if (first.code) {
		*err = first;
		return false;
	}
	return true;
}
