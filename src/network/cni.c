/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cni.c - the pod network as the kubelet uses it: our own plugin in this process, or external ones where a
 * configuration for them is found. Called from pool threads, several at once; the lock guards only the range.
 */
#include <pthread.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "network/cni_external.h"
#include "network/nft.h"
#include "network/pod_link.h"

struct cni {
	struct arena arena; /* texts */
	struct pod_net net; /* range and mtu: under the lock */
	const char *conf_dir, *bin_dir;
	int mtu_wanted;
	bool ready;         /* under the lock */
	pthread_mutex_t lock;
	struct cni_external *external; /* NULL: ours */
};

static const char *keep(struct cni *c, const char *text) {
	return text ? arena_cstr(&c->arena, str_c(text)) : NULL;
}

bool cni_open(const struct cni_opts *opts, struct cni **ret, struct err *err) {
	struct cni_external *external = NULL;
	struct ip_range cidr;
	if (!opts->state_dir || !opts->bridge || !nft_name_ok(opts->bridge) || strlen(opts->bridge) >= IFNAMSIZ) {
		return err_set(err, ERR_INVALID, "a state folder and the name of a bridge (15 letters at most) are needed");
	}
	if (opts->cluster_cidr && *opts->cluster_cidr && !ip_range_parse(str_c(opts->cluster_cidr), &cidr, err)) {
		return err_wrap(err, "cluster range");
	}
	if (opts->conf_dir && !cni_external_open(opts->conf_dir, opts->bin_dir, opts->state_dir, &external, err)) {
		return false;
	}
	struct cni *c = xcalloc(1, sizeof(*c));
	c->net = (struct pod_net){ .state_dir = keep(c, opts->state_dir), .bridge = keep(c, opts->bridge), .cluster_cidr = keep(c, opts->cluster_cidr) };
	c->mtu_wanted = opts->mtu;
	c->external = external;
	pthread_mutex_init(&c->lock, NULL);
	*ret = c;
	return true;
}

void cni_close(struct cni *c) {
	if (!c) {
		return;
	}
	cni_external_close(c->external);
	pthread_mutex_destroy(&c->lock);
	arena_release(&c->arena);
	free(c);
}

static bool snapshot(struct cni *c, struct pod_net *ret) {
	pthread_mutex_lock(&c->lock);
	*ret = c->net;
	bool ready = c->ready;
	pthread_mutex_unlock(&c->lock);
	return ready;
}

bool cni_set_range(struct cni *c, struct str cidr, struct err *err) {
	struct pod_net n;
	struct ip_range range;
	bool again = snapshot(c, &n);
	auto_nl struct nl nl = { .fd = -1 };

	if (!ip_range_parse(cidr, &range, err)) {
		return false;
	}
	if (range.prefix > 30) {
		return err_set(err, ERR_INVALID, "range %.*s has no room for pods", STR_ARG(cidr));
	}
	if (c->external) {
		return true; /* their own address management knows */
	}
	if (again && n.range.base == range.base && n.range.prefix == range.prefix && pod_net_intact(&n)) {
		return true;
	}
	n.range = range;
	if (!nl_open(&nl, err)) {
		return false;
	}
	n.mtu = c->mtu_wanted ? c->mtu_wanted : pod_net_mtu(&nl);
	if (!pod_net_make(&n, err)) {
		return false;
	}
	pthread_mutex_lock(&c->lock);
	c->net.range = n.range;
	c->net.mtu = n.mtu;
	c->ready = true;
	pthread_mutex_unlock(&c->lock);
	log_info("cni", "pod range in use", kv_str("range", cidr), kv_c("bridge", n.bridge), kv_int("mtu", n.mtu));
	return true;
}

bool cni_ready(struct cni *c) {
	struct pod_net n;
	return c->external ? cni_external_ready(c->external) : snapshot(c, &n);
}

bool cni_add(struct cni *c, const struct cni_pod *pod, char *ret_ip, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct pod_net n;
	struct pod_link l;
	char key[256];

	if (c->external) {
		return cni_external_add(c->external, pod, ret_ip, err);
	}
	if (!snapshot(c, &n)) {
		return err_set(err, ERR_UNAVAILABLE, "the node has no pod range yet");
	}
	if (!pod_key(pod->id, "eth0", key, err) || !pod_link_add(&n, key, pod->netns, "eth0", pod->ports, pod->ports_len, &a, &l, err)) {
		return err_wrap(err, "network of pod %s/%s", pod->ns ? pod->ns : "", pod->name ? pod->name : "");
	}
	ip_text(l.address, ret_ip);
	return true;
}

bool cni_del(struct cni *c, const struct cni_pod *pod, struct err *err) {
	char key[256];
	if (c->external) {
		return cni_external_del(c->external, pod, err);
	}
	return pod_key(pod->id, "eth0", key, err) && pod_link_del(c->net.state_dir, c->net.bridge, key, err);
}

struct wanted {
	const char *const *ids;
	size_t len;
};

static bool is_wanted(void *arg, struct str key) {
	struct wanted *w = arg;
	struct str id, ifname;
	(void)str_cut(key, '@', &id, &ifname);
	for (size_t i = 0; i < w->len; i++) {
		if (str_eqc(id, w->ids[i])) {
			return true;
		}
	}
	return false;
}

bool cni_keep_only(struct cni *c, const char *const *ids, size_t n, struct err *err) {
	if (c->external) {
		return cni_external_keep_only(c->external, ids, n, err);
	}
	return pod_link_keep_only(c->net.state_dir, c->net.bridge, is_wanted, &(struct wanted){ ids, n }, err);
}

void cni_destroy(struct cni *c) {
	if (!c->external) {
		network_remove(c->net.bridge, NULL, NULL, c->net.state_dir);
	}
}
