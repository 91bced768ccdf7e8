/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox.c - the pod's sandbox and its address: made, looked at, stopped. Called by a pass.
 *
 * The network's answer is kept as the sandbox's note ("ip[,ip]"), so that a restarted kubelet knows the
 * address without asking anyone.
 */
#include <errno.h>
#include <sys/stat.h>

#include "base/file.h"
#include "kubelet/internal.h"
#include "kubelet/resources.h"

struct pod_sandbox *pod_sandbox_current(struct pod *p) {
	struct pod_sandbox *s = p->sandboxes.len ? &p->sandboxes.at[p->sandboxes.len - 1] : NULL;

	return s && s->ready ? s : NULL;
}

static void ips_from_note(struct pod_ips *ips, struct str note) {
	struct str rest = note, piece;

	ips->len = 0;
	while (ips->len < ARRAY_LEN(ips->at) && str_next(&rest, ',', &piece)) {
		piece = str_trim(piece);
		if (piece.len > 0 && piece.len < sizeof(ips->at[0])) {
			snprintf(ips->at[ips->len++], sizeof(ips->at[0]), "%.*s", STR_ARG(piece));
		}
	}
}

static void ips_of_host(struct pod *p) {
	p->ips.len = 0;
	for (size_t i = 0; i < p->k->node_ips_len; i++) {
		snprintf(p->ips.at[i], sizeof(p->ips.at[i]), "%.*s", STR_ARG(p->k->node_ips[i]));
		p->ips.len++;
	}
}

void pod_sandbox_refresh(struct pod *p, struct arena *a) {
	for (size_t i = 0; i < p->sandboxes.len;) {
		struct pod_sandbox *s = &p->sandboxes.at[i];
		struct cri_sandbox_status st = { 0 };
		struct err err = { 0 };
		if (!cri_sandbox_status(p->k->o.cri, a, str_c(s->id), &st, &err)) {
			if (err.code == ERR_NOT_FOUND) {
				VEC_REMOVE(&p->sandboxes, i);
				continue;
			}
			log_warn(KUBELET_LOG, "sandbox not read", kv_c("sandbox", s->id), kv_err(&err));
			i++;
			continue;
		}
		s->attempt = st.attempt;
		bool half_made = st.network == CRI_NS_POD && st.note.len == 0;
		s->ready = st.state == CRI_SANDBOX_READY && !half_made;
		s->has_network = st.network == CRI_NS_POD;
		if (s->ready && i == p->sandboxes.len - 1) {
			if (st.network == CRI_NS_POD) {
				ips_from_note(&p->ips, st.note);
			} else {
				ips_of_host(p);
			}
		}
		i++;
	}
}

static void network_pod(struct arena *a, struct pod *p, const struct value *pod, struct str id, struct str netns, struct pod_network_pod *ret) {
	VEC(struct pod_network_port) ports = { 0 };

	for (int list = 0; list < 2; list++) {
		const struct value *ctrs = value_at(pod, N_spec, list == 0 ? N_containers : N_initContainers);
		VALUE_EACH(ctrs, c) {
			if (list == 1 && !ctr_is_sidecar(c)) {
				continue;
			}
			VALUE_EACH(value_get(c, N_ports), port) {
				if (value_int_at(port, N_hostPort) <= 0) {
					continue;
				}
				struct str protocol = value_str_at(port, N_protocol);
				VEC_PUSH(&ports, ((struct pod_network_port){ .container_port = (int)value_int_at(port, N_containerPort),
					.host_port = (int)value_int_at(port, N_hostPort),
					.protocol = arena_cstr(a, protocol.len ? protocol : S("TCP")),
					.host_ip = arena_cstr(a, value_str_at(port, N_hostIP)) }));
			}
		}
	}
	struct pod_network_port *copy = arena_array(a, struct pod_network_port, ports.len);
	if (ports.len > 0) {
		memcpy(copy, ports.at, ports.len * sizeof(*copy));
	}
	*ret = (struct pod_network_pod){ .id = arena_cstr(a, id),
		.netns = arena_cstr(a, netns),
		.ns = p->ns.ptr,
		.name = p->name.ptr,
		.uid = p->uid.ptr,
		.ports = copy,
		.ports_len = ports.len };
	VEC_RELEASE(&ports);
}

static bool network_del(struct pod *p, struct arena *a, const struct value *pod, struct pod_sandbox *s, struct err *err) {
	struct cri_sandbox_status st = { 0 };
	struct pod_network_pod np;

	if (!s->has_network) {
		return true;
	}
	if (!cri_sandbox_status(p->k->o.cri, a, str_c(s->id), &st, err)) {
		if (err->code != ERR_NOT_FOUND) {
			return false;
		}
		err_clear(err);
	}
	network_pod(a, p, pod, str_c(s->id), st.netns, &np);
	if (!p->k->o.network.del(p->k->o.network.arg, &np, err)) {
		return err_wrap(err, "free the address of sandbox %s", s->id);
	}
	s->has_network = false;
	return true;
}

/* Ends a sandbox for good; its containers' records stay until the pod goes. */
static bool sandbox_stop(struct pod *p, struct arena *a, const struct value *pod, struct pod_sandbox *s, struct err *err) {
	if (!cri_sandbox_stop(p->k->o.cri, str_c(s->id), err)) {
		return false;
	}
	s->ready = false;
	return network_del(p, a, pod, s, err);
}

void pod_sandbox_stop(struct pod *p, struct arena *a, const struct value *pod) {
	VEC_EACH(&p->sandboxes, s) {
		struct err err = { 0 };
		if (!sandbox_stop(p, a, pod, s, &err)) {
			log_warn(KUBELET_LOG, "sandbox not stopped", kv_c("sandbox", s->id), kv_err(&err));
		}
	}
}

static struct cri_kvs kvs_of(struct arena *a, const struct value *map) {
	size_t n = value_len(map);
	struct cri_kv *at = arena_array(a, struct cri_kv, n);

	for (size_t i = 0; i < n; i++) {
		at[i] = (struct cri_kv){ value_key(map, i), value_as_str(value_item(map, i)) };
	}
	return (struct cri_kvs){ at, n };
}

static struct cri_kvs labels_of(struct arena *a, struct pod *p, const struct value *pod) {
	struct cri_kvs own = kvs_of(a, value_at(pod, N_metadata, N_labels));
	struct cri_kv *at = arena_array(a, struct cri_kv, own.len + 3);

	memcpy(at, own.at, own.len * sizeof(*at));
	at[own.len] = (struct cri_kv){ S("io.kubernetes.pod.name"), p->name };
	at[own.len + 1] = (struct cri_kv){ S("io.kubernetes.pod.namespace"), p->ns };
	at[own.len + 2] = (struct cri_kv){ S("io.kubernetes.pod.uid"), p->uid };
	return (struct cri_kvs){ at, own.len + 3 };
}

static struct cri_kvs sysctls_of(struct arena *a, const struct value *pod) {
	const struct value *list = value_at(pod, N_spec, N_securityContext, N_sysctls);
	struct cri_kv *at = arena_array(a, struct cri_kv, value_len(list));
	size_t n = 0;

	VALUE_EACH(list, s) {
		/* "kernel/shm_rmid_forced" is the same as "kernel.shm_rmid_forced" */
		char *name = arena_cstr(a, value_str_at(s, N_name));
		char *slash = strchr(name, '/'), *dot = strchr(name, '.');
		if (slash && (!dot || slash < dot)) {
			for (char *c = name; *c; c++) {
				*c = *c == '/' ? '.' : *c == '.' ? '/' : *c;
			}
		}
		at[n++] = (struct cri_kv){ str_c(name), value_str_at(s, N_value) };
	}
	return (struct cri_kvs){ at, n };
}

static bool any_privileged(const struct value *pod) {
	static const enum name_id lists[] = { N_initContainers, N_containers };

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		VALUE_EACH(value_at(pod, N_spec, lists[i]), c) {
			if (value_bool_at(c, N_securityContext, N_privileged)) {
				return true;
			}
		}
	}
	return false;
}

static void config_make(struct pod *p, struct arena *a, const struct value *pod, uint32_t attempt, struct cri_sandbox_config *ret) {
	struct kubelet *k = p->k;
	const struct value *spec = value_get(pod, N_spec);
	struct dns_config dns = { 0 };
	struct str host, domain;

	pod_dns(k, a, pod, &dns);
	pod_hostname(a, pod, str_c(k->o.cluster_domain), &host, &domain);
	if (value_bool_at(spec, N_setHostnameAsFQDN) && domain.len > 0) {
		host = arena_printf(a, "%.*s.%.*s", STR_ARG(host), STR_ARG(domain));
	}
	*ret = (struct cri_sandbox_config){
		.name = p->name,
		.ns = p->ns,
		.uid = p->uid,
		.attempt = attempt,
		.hostname = pod_host_network(pod) ? S("") : host,
		.log_dir = str_c(p->log_dir),
		.labels = labels_of(a, p, pod),
		.annotations = kvs_of(a, value_at(pod, N_metadata, N_annotations)),
		.dns_servers = dns.servers,
		.dns_searches = dns.searches,
		.dns_options = dns.options,
		.sysctls = sysctls_of(a, pod),
		.cgroup_parent = pod_cgroup(a, k, pod),
		.network = pod_host_network(pod) ? CRI_NS_NODE : CRI_NS_POD,
		.pid = value_bool_at(spec, N_hostPID) ? CRI_NS_NODE
			: value_bool_at(spec, N_shareProcessNamespace) ? CRI_NS_POD : CRI_NS_CONTAINER,
		.ipc = value_bool_at(spec, N_hostIPC) ? CRI_NS_NODE : CRI_NS_POD,
		.privileged = any_privileged(pod),
	};
}

static bool network_add(struct pod *p, struct arena *a, const struct value *pod, struct pod_sandbox *s, struct err *err) {
	struct cri_sandbox_status st = { 0 };
	struct pod_network_pod np;
	struct pod_ips ips = { 0 };
	auto_buf struct buf note = BUF_INIT(256);

	if (!cri_sandbox_status(p->k->o.cri, a, str_c(s->id), &st, err)) {
		return false;
	}
	network_pod(a, p, pod, str_c(s->id), st.netns, &np);
	s->has_network = true;
	if (!p->k->o.network.add(p->k->o.network.arg, &np, &ips, err)) {
		return false;
	}
	for (size_t i = 0; i < ips.len; i++) {
		buf_printf(&note, "%s%s", i ? "," : "", ips.at[i]);
	}
	if (!cri_sandbox_set_note(p->k->o.cri, str_c(s->id), buf_view(&note), err)) {
		return false;
	}
	p->ips = ips;
	return true;
}

static bool sandbox_make(struct pod *p, struct arena *a, const struct value *pod, uint32_t attempt, struct err *err) {
	struct kubelet *k = p->k;
	struct cri_sandbox_config cfg;
	struct pod_sandbox s = { .attempt = attempt };
	struct str id;

	if (!pod_host_network(pod) && k->o.network.ready && !k->o.network.ready(k->o.network.arg)) {
		return err_set(err, ERR_UNAVAILABLE, "network is not ready: container runtime network not ready: NetworkReady=false "
			"reason:NetworkPluginNotReady message:cni plugin not initialized");
	}
	config_make(p, a, pod, attempt, &cfg);
	if (!cri_sandbox_create(k->o.cri, a, &cfg, &id, err)) {
		return false;
	}
	snprintf(s.id, sizeof(s.id), "%.*s", STR_ARG(id));
	VEC_PUSH(&p->sandboxes, s);
	struct pod_sandbox *made = &p->sandboxes.at[p->sandboxes.len - 1];
	if (pod_host_network(pod)) {
		ips_of_host(p);
	} else if (!network_add(p, a, pod, made, err)) {
		struct err more = { 0 };
		if (!sandbox_stop(p, a, pod, made, &more) || !cri_sandbox_remove(k->o.cri, id, &more)) {
			log_warn(KUBELET_LOG, "half-made sandbox stays", kv_c("sandbox", made->id), kv_err(&more));
		} else {
			p->sandboxes.len--;
		}
		return false;
	}
	made->ready = true;
	return true;
}

/* Sandboxes without containers of interest go at once; those whose containers are still shown stay. */
static void drop_empty(struct pod *p, struct arena *a) {
	for (size_t i = 0; i + 1 < p->sandboxes.len;) {
		struct pod_sandbox *s = &p->sandboxes.at[i];
		struct cri_containers list = { 0 };
		struct err err = { 0 };
		if (!s->ready && !s->has_network && cri_container_list(p->k->o.cri, a, str_c(s->id), &list, &err) && list.len == 0 &&
			cri_sandbox_remove(p->k->o.cri, str_c(s->id), &err)) {
			VEC_REMOVE(&p->sandboxes, i);
			continue;
		}
		i++;
	}
}

bool pod_sandbox_ensure(struct pod *p, struct arena *a, const struct value *pod, struct err *err) {
	uint32_t attempt = 0;

	if (pod_sandbox_current(p)) {
		drop_empty(p, a);
		return true;
	}
	VEC_EACH(&p->sandboxes, s) {
		attempt = MAX(attempt, s->attempt + 1);
		if (!sandbox_stop(p, a, pod, s, err)) {
			return err_wrap(err, "stop the old sandbox");
		}
	}
	if (attempt > 0 && p->sandbox_made) {
		pod_event(p, pod, "Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
	}
	p->ips.len = 0;
	p->hosts_made = false;
	if (!sandbox_make(p, a, pod, attempt, err)) {
		return false;
	}
	p->sandbox_made = true;
	log_info(KUBELET_LOG, "sandbox ready", kv_str("ns", p->ns), kv_str("pod", p->name), kv_c("ip", p->ips.len ? p->ips.at[0] : ""));
	return true;
}
