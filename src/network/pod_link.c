/* SPDX-License-Identifier: Apache-2.0 */
/* pod_link.c - see pod_link.h. */
#include "network/pod_link.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"
#include "network/nft.h"
#include "network/sysctl.h"

enum { RECORD_BYTES_MAX = 1 << 16, PORTS_MAX = 512 };

/* ---- the node's part ---- */

struct default_find {
	int index;
};

static void default_route(void *arg, const struct nl_route *r) {
	struct default_find *f = arg;
	if (r->prefix == 0 && !f->index) {
		f->index = r->index;
	}
}

struct mtu_find {
	int index, mtu;
};

static void mtu_of(void *arg, const struct nl_link *l) {
	struct mtu_find *f = arg;
	if (l->index == f->index) {
		f->mtu = l->mtu;
	}
}

int pod_net_mtu(struct nl *nl) {
	struct default_find d = { 0 };
	struct mtu_find m = { 0 };
	struct err err = { 0 };
	if (nl_route_each(nl, default_route, &d, &err) && d.index) {
		m.index = d.index;
		if (!nl_link_each(nl, mtu_of, &m, &err)) {
			m.mtu = 0;
		}
	}
	return (m.mtu > 600 ? m.mtu : 1500) - 50;
}

void pod_net_table(const char *bridge, char out[64]) {
	snprintf(out, 64, "cni_%s", bridge);
}

/* A locally administered address from an IPv4 one: never two alike on one bridge. */
static void mac_of(struct in_addr a, uint8_t mac[6]) {
	mac[0] = 0x0a;
	mac[1] = 0x58;
	memcpy(mac + 2, &a, 4);
}

void pod_net_rules(const struct pod_net *n, struct buf *out) {
	char table[64], base[IP_TEXT_MAX];
	pod_net_table(n->bridge, table);
	ip_text(ip_range_nth(&n->range, 0), base);
	buf_printf(out,
		"table ip %s\n"
		"delete table ip %s\n"
		"table ip %s {\n"
		"\tmap port_any { type inet_proto . inet_service : ipv4_addr . inet_service; }\n"
		"\tmap port_ip { type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; }\n"
		"\tset hairpin { type ipv4_addr . ipv4_addr; }\n"
		"\tchain ports {\n"
		"\t\tdnat ip to meta l4proto . ip daddr . th dport map @port_ip\n"
		"\t\tfib daddr type local dnat ip to meta l4proto . th dport map @port_any\n"
		"\t}\n"
		"\tchain prerouting { type nat hook prerouting priority dstnat; jump ports; }\n"
		"\tchain output { type nat hook output priority -100; jump ports; }\n"
		/* What comes from outside with a loopback destination is never right; route_localnet would let it in. */
		"\tchain guard { type filter hook prerouting priority raw; iifname \"%s\" ip daddr 127.0.0.0/8 drop; }\n"
		/* A pod must keep sending by its gateway, also to its neighbours on the bridge. */
		"\tchain redirects { type filter hook output priority filter; oifname \"%s\" icmp type redirect drop; }\n",
		table, table, table, n->bridge, n->bridge);
	buf_printf(out,
		"\tchain postrouting {\n"
		"\t\ttype nat hook postrouting priority srcnat;\n"
		"\t\tip saddr . ip daddr @hairpin masquerade fully-random\n"
		"\t\tip saddr 127.0.0.0/8 oifname \"%s\" masquerade fully-random\n",
		n->bridge);
	if (n->cluster_cidr && *n->cluster_cidr) {
		buf_printf(out, "\t\tip saddr %s/%d ip daddr != { %s, 224.0.0.0/4 } oifname != \"%s\" masquerade fully-random\n", base, n->range.prefix,
			n->cluster_cidr, n->bridge);
	}
	buf_c(out, "\t}\n}\n");
}

static const char *protocol_name(const char *p) {
	return !p || !*p || !strcasecmp(p, "TCP") ? "tcp" : !strcasecmp(p, "UDP") ? "udp" : !strcasecmp(p, "SCTP") ? "sctp" : NULL;
}

void pod_port_elements(const char *table, const char *verb, const struct pod_link *l, struct buf *out) {
	char ip[IP_TEXT_MAX];
	bool any = false;
	ip_text(l->address, ip);
	for (size_t i = 0; i < l->ports_len; i++) {
		const struct cni_port *p = &l->ports[i];
		const char *proto = protocol_name(p->protocol);
		struct in_addr host;
		bool all = !p->host_ip || !*p->host_ip || !strcmp(p->host_ip, "0.0.0.0");
		if (!proto || p->host_port < 1 || p->host_port > 65535 || (!all && inet_pton(AF_INET, p->host_ip, &host) != 1)) {
			continue;
		}
		any = true;
		if (all) {
			buf_printf(out, "%s element ip %s port_any { %s . %d : %s . %d }\n", verb, table, proto, p->host_port, ip, p->container_port);
		} else {
			buf_printf(out, "%s element ip %s port_ip { %s . %s . %d : %s . %d }\n", verb, table, proto, p->host_ip, p->host_port, ip,
				p->container_port);
		}
	}
	if (any) {
		buf_printf(out, "%s element ip %s hairpin { %s . %s }\n", verb, table, ip, ip);
	}
}

static bool ports_check(const struct cni_port *ports, size_t n, struct err *err) {
	if (n > PORTS_MAX) {
		return err_set(err, ERR_INVALID, "a pod has at most %d host ports", PORTS_MAX);
	}
	for (size_t i = 0; i < n; i++) {
		if (!protocol_name(ports[i].protocol)) {
			return err_set(err, ERR_INVALID, "protocol %s of a host port is not known", ports[i].protocol);
		}
	}
	return true;
}

typedef void (*record_fn)(void *arg, const char *key);

static void records_each(const char *state_dir, record_fn each, void *arg) {
	auto_free char *path = xasprintf("%s/pods", state_dir);
	DIR *d = opendir(path);
	struct dirent *e;
	while (d && (e = readdir(d))) {
		if (e->d_name[0] != '.') {
			each(arg, e->d_name);
		}
	}
	if (d) {
		closedir(d);
	}
}

struct elements_all {
	const char *state_dir, *table;
	struct buf *out;
};

static void elements_of(void *arg, const char *key) {
	struct elements_all *e = arg;
	auto_arena struct arena a = { 0 };
	struct pod_link l;
	struct err err = { 0 };
	if (pod_link_read(e->state_dir, key, &a, &l, &err)) {
		pod_port_elements(e->table, "add", &l, e->out);
	}
}

static bool dirs_make(const char *state_dir, struct err *err) {
	auto_free char *pods = xasprintf("%s/pods", state_dir);
	auto_free char *addresses = xasprintf("%s/addresses", state_dir);
	return dir_make(pods, 0755, err) && dir_make(addresses, 0755, err);
}

struct stale_addr {
	int index;
	struct in_addr want;
	VEC(struct nl_addr) found;
};

static void addr_stale(void *arg, const struct nl_addr *a) {
	struct stale_addr *s = arg;
	if (a->index == s->index && a->addr.s_addr != s->want.s_addr) {
		VEC_PUSH(&s->found, *a);
	}
}

static bool bridge_make(const struct pod_net *n, struct nl *nl, struct err *err) {
	uint8_t mac[6];
	struct nl_link l;
	struct in_addr gateway = ip_range_gateway(&n->range);
	mac_of(gateway, mac);
	if (!nl_link_get(nl, n->bridge, &l, err)) {
		if (err->code != ERR_NOT_FOUND) {
			return false;
		}
		err_clear(err);
		if (!nl_bridge_add(nl, n->bridge, mac, n->mtu, err) || !nl_link_get(nl, n->bridge, &l, err)) {
			return false;
		}
	} else if (strcmp(l.kind, "bridge") != 0) {
		return err_set(err, ERR_ALREADY_EXISTS, "link %s is there already and is no bridge", n->bridge);
	}
	struct stale_addr stale = { .index = l.index, .want = gateway };
	bool ok = nl_addr_each(nl, addr_stale, &stale, err);
	VEC_EACH(&stale.found, s) {
		ok = ok && nl_addr_del(nl, l.index, s->addr, s->prefix, err);
	}
	VEC_RELEASE(&stale.found);
	return ok && nl_addr_add(nl, l.index, gateway, n->range.prefix, err) && nl_link_up(nl, l.index, err);
}

bool pod_net_make(const struct pod_net *n, struct err *err) {
	auto_nl struct nl nl = { .fd = -1 };
	auto_buf struct buf script = BUF_INIT(16 << 20);
	auto_free char *localnet = xasprintf("net/ipv4/conf/%s/route_localnet", n->bridge);
	char table[64];
	struct elements_all e = { n->state_dir, table, &script };

	if (!nft_name_ok(n->bridge)) {
		return err_set(err, ERR_INVALID, "\"%s\" cannot name a bridge", n->bridge);
	}
	if (!dirs_make(n->state_dir, err) || !nl_open(&nl, err) || !bridge_make(n, &nl, err) ||
		!sysctl_set(n->state_dir, "net/ipv4/ip_forward", "1", err) || !sysctl_set(NULL, localnet, "1", err)) {
		return false;
	}
	pod_net_table(n->bridge, table);
	pod_net_rules(n, &script);
	records_each(n->state_dir, elements_of, &e);
	return nft_run(buf_view(&script), err);
}

struct addr_find {
	int index;
	struct in_addr want;
	bool found;
};

static void addr_find(void *arg, const struct nl_addr *a) {
	struct addr_find *f = arg;
	f->found |= a->index == f->index && a->addr.s_addr == f->want.s_addr;
}

bool pod_net_intact(const struct pod_net *n) {
	auto_nl struct nl nl = { .fd = -1 }, nf = { .fd = -1 };
	struct nl_link l;
	struct err err = { 0 };
	char table[64];
	bool exists = false;
	pod_net_table(n->bridge, table);
	if (!nl_open(&nl, &err) || !nl_open_ct(&nf, &err) || !nl_link_get(&nl, n->bridge, &l, &err) || !(l.flags & IFF_UP)) {
		return false;
	}
	struct addr_find f = { l.index, ip_range_gateway(&n->range), false };
	return nl_addr_each(&nl, addr_find, &f, &err) && f.found && nl_table_exists(&nf, table, &exists, &err) && exists;
}

/* ---- records ---- */

bool pod_key(const char *id, const char *ifname, char ret[256], struct err *err) {
	size_t len = id ? strlen(id) : 0;
	bool ok = len > 0 && len < 200 && isalnum((unsigned char)id[0]);
	for (size_t i = 0; ok && i < len; i++) {
		ok = isalnum((unsigned char)id[i]) || strchr("_.-", id[i]);
	}
	if (!ok) {
		return err_set(err, ERR_INVALID, "\"%s\" is no sandbox id", id ? id : "");
	}
	len = ifname ? strlen(ifname) : 0;
	ok = len > 0 && len < IFNAMSIZ && strcmp(ifname, ".") != 0 && strcmp(ifname, "..") != 0;
	for (size_t i = 0; ok && i < len; i++) {
		ok = isgraph((unsigned char)ifname[i]) && ifname[i] != '/' && ifname[i] != ':';
	}
	if (!ok) {
		return err_set(err, ERR_INVALID, "\"%s\" is no interface name", ifname ? ifname : "");
	}
	if (strcmp(ifname, "eth0") == 0) {
		snprintf(ret, 256, "%s", id);
	} else {
		snprintf(ret, 256, "%s@%s", id, ifname);
	}
	return true;
}

/* FNV-1a: the same name in every process and after a restart. */
static void veth_name(const char *bridge, const char *key, char out[IFNAMSIZ]) {
	uint64_t h = 14695981039346656037u;
	for (const char *s = bridge; *s; s++) {
		h = (h ^ (uint8_t)*s) * 1099511628211u;
	}
	h *= 1099511628211u;
	for (const char *s = key; *s; s++) {
		h = (h ^ (uint8_t)*s) * 1099511628211u;
	}
	snprintf(out, IFNAMSIZ, "veth%011llx", (unsigned long long)(h >> 20));
}

static bool record_write(const char *state_dir, const char *key, const struct pod_link *l, struct err *err) {
	auto_free char *path = xasprintf("%s/pods/%s", state_dir, key);
	auto_free char *tmp = xasprintf("%s/pods/.%s", state_dir, key);
	auto_buf struct buf b = BUF_INIT(RECORD_BYTES_MAX);
	char ip[IP_TEXT_MAX];
	buf_printf(&b, "address %s\nveth %s\n", ip_text(l->address, ip), l->veth);
	for (size_t i = 0; i < l->ports_len; i++) {
		buf_printf(&b, "port %s %d %d %s\n", protocol_name(l->ports[i].protocol), l->ports[i].host_port, l->ports[i].container_port,
			l->ports[i].host_ip && *l->ports[i].host_ip ? l->ports[i].host_ip : "0.0.0.0");
	}
	/* No flush: what a power cut takes with it are pods that are gone too. */
	auto_fd int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || b.overflow || write(fd, b.ptr, b.len) != (ssize_t)b.len || rename(tmp, path) < 0) {
		return err_sys(err, "write %s", path);
	}
	return true;
}

static bool port_parse(struct str line, struct arena *a, struct cni_port *ret) {
	struct str proto, host, container;
	return str_cut(line, ' ', &proto, &line) && str_cut(line, ' ', &host, &line) && str_cut(line, ' ', &container, &line) &&
		str_to_int(host, 1, 65535, &ret->host_port) && str_to_int(container, 1, 65535, &ret->container_port) &&
		(ret->protocol = arena_cstr(a, proto), ret->host_ip = arena_cstr(a, line), true);
}

bool pod_link_read(const char *state_dir, const char *key, struct arena *a, struct pod_link *ret, struct err *err) {
	auto_free char *path = xasprintf("%s/pods/%s", state_dir, key);
	auto_buf struct buf b = BUF_INIT(RECORD_BYTES_MAX);
	struct pod_link l = { 0 };
	if (!file_read(path, &b, err)) {
		return false;
	}
	struct cni_port *ports = arena_array(a, struct cni_port, PORTS_MAX);
	struct str rest = buf_view(&b), line;
	while (str_next(&rest, '\n', &line)) {
		struct str word, value;
		(void)str_cut(line, ' ', &word, &value);
		if (str_eq(word, S("address"))) {
			auto_free char *text = str_dup(value);
			if (inet_pton(AF_INET, text, &l.address) != 1) {
				l.address.s_addr = 0;
			}
		} else if (str_eq(word, S("veth"))) {
			snprintf(l.veth, sizeof(l.veth), "%.*s", STR_ARG(value));
		} else if (str_eq(word, S("port")) && l.ports_len < PORTS_MAX && port_parse(value, a, &ports[l.ports_len])) {
			l.ports_len++;
		}
	}
	if (!l.address.s_addr || !l.veth[0]) {
		return err_set(err, ERR_NOT_FOUND, "record %s is cut", path); /* as if it were not there: the pod is made anew */
	}
	l.ports = ports;
	mac_of(l.address, l.mac);
	*ret = l;
	return true;
}

/* ---- add ---- */

static bool inside_make(const struct pod_net *n, struct nl *in, const char *ifname, struct in_addr address, struct err *err) {
	struct nl_link lo, eth;
	struct in_addr gateway = ip_range_gateway(&n->range);
	struct nl_route to_gateway = { .dst = gateway, .prefix = 32, .link_scope = true };
	struct nl_route by_default = { .via = gateway };

	if (!nl_link_get(in, "lo", &lo, err) || !nl_link_up(in, lo.index, err) || !nl_link_get(in, ifname, &eth, err) ||
		!nl_addr_add(in, eth.index, address, 32, err) || !nl_link_up(in, eth.index, err)) {
		return false;
	}
	to_gateway.index = by_default.index = eth.index;
	return nl_route_replace(in, &to_gateway, err) && nl_route_replace(in, &by_default, err);
}

static bool veth_make(const struct pod_net *n, const char *netns, const char *ifname, const struct pod_link *l, struct err *err) {
	auto_nl struct nl nl = { .fd = -1 }, in = { .fd = -1 };
	struct nl_link bridge, host;

	if (!nl_open(&nl, err) || !nl_open_in(netns, &in, err)) {
		return false;
	}
	auto_fd int ns = open(netns, O_RDONLY | O_CLOEXEC);
	if (ns < 0) {
		return err_sys(err, "open %s", netns);
	}
	if (!nl_link_get(&nl, n->bridge, &bridge, err)) {
		return false;
	}
	bool made = nl_veth_add(&nl, l->veth, bridge.index, ifname, ns, l->mac, n->mtu, err);
	if (!made && err->code == ERR_ALREADY_EXISTS) { /* ours, from an attempt that was cut off */
		struct err again = { 0 };
		made = nl_link_get(&nl, l->veth, &host, &again) && nl_link_del(&nl, host.index, &again) &&
			nl_veth_add(&nl, l->veth, bridge.index, ifname, ns, l->mac, n->mtu, err);
	}
	if (!made) {
		return false;
	}
	bool ok = nl_link_get(&nl, l->veth, &host, err);
	ok = ok && inside_make(n, &in, ifname, l->address, err) && nl_port_up(&nl, host.index, true, err);
	if (!ok && host.index) {
		struct err ignored = { 0 };
		(void)!nl_link_del(&nl, host.index, &ignored);
	}
	return ok;
}

static bool ports_order(const char *bridge, const char *verb, const struct pod_link *l, struct err *err) {
	auto_buf struct buf script = BUF_INIT(1 << 20);
	char table[64];
	pod_net_table(bridge, table);
	pod_port_elements(table, verb, l, &script);
	return script.len == 0 || nft_run(buf_view(&script), err);
}

static bool still_there(const struct pod_link *l) {
	auto_nl struct nl nl = { .fd = -1 };
	struct nl_link link;
	struct err err = { 0 };
	return nl_open(&nl, &err) && nl_link_get(&nl, l->veth, &link, &err);
}

bool pod_link_add(const struct pod_net *n, const char *key, const char *netns, const char *ifname, const struct cni_port *ports, size_t ports_len,
	struct arena *a, struct pod_link *ret, struct err *err) {
	auto_free char *dir = xasprintf("%s/addresses", n->state_dir);
	struct pod_link l = { 0 };

	if (!ports_check(ports, ports_len, err)) {
		return false;
	}
	if (pod_link_read(n->state_dir, key, a, &l, err)) {
		if (still_there(&l) && ip_range_has(&n->range, l.address)) {
			*ret = l;
			return true;
		}
		if (!pod_link_del(n->state_dir, n->bridge, key, err)) {
			return false;
		}
	} else if (err->code != ERR_NOT_FOUND) {
		return false;
	}
	err_clear(err);
	l = (struct pod_link){ .ports = ports, .ports_len = ports_len };
	if (!ipam_reserve(dir, &n->range, str_c(key), &l.address, err)) {
		return false;
	}
	mac_of(l.address, l.mac);
	veth_name(n->bridge, key, l.veth);
	if (!veth_make(n, netns, ifname, &l, err)) {
		ipam_release(dir, l.address, str_c(key));
		return false;
	}
	if (!record_write(n->state_dir, key, &l, err) || !ports_order(n->bridge, "add", &l, err)) {
		struct err ignored = { 0 };
		(void)!pod_link_del(n->state_dir, n->bridge, key, &ignored);
		ipam_release(dir, l.address, str_c(key));
		return false;
	}
	*ret = l;
	return true;
}

/* ---- delete ---- */

static bool veth_delete(const char *name, struct err *err) {
	auto_nl struct nl nl = { .fd = -1 };
	struct nl_link link;
	if (!nl_open(&nl, err)) {
		return false;
	}
	if (!nl_link_get(&nl, name, &link, err) || !nl_link_del(&nl, link.index, err)) {
		return err->code == ERR_NOT_FOUND && (err_clear(err), true); /* it goes with the pod's namespace */
	}
	return true;
}

struct release_owner {
	const char *dir, *key;
};

static void release_owned(void *arg, struct in_addr a, struct str owner) {
	struct release_owner *r = arg;
	if (str_eqc(owner, r->key)) {
		ipam_release(r->dir, a, owner);
	}
}

bool pod_link_del(const char *state_dir, const char *bridge, const char *key, struct err *err) {
	auto_arena struct arena a = { 0 };
	auto_free char *dir = xasprintf("%s/addresses", state_dir);
	auto_free char *path = xasprintf("%s/pods/%s", state_dir, key);
	struct pod_link l = { 0 };
	char veth[IFNAMSIZ];

	if (!pod_link_read(state_dir, key, &a, &l, err)) {
		if (err->code != ERR_NOT_FOUND) {
			return false;
		}
		err_clear(err);
		veth_name(bridge, key, veth);
		if (!veth_delete(veth, err)) {
			return false;
		}
		ipam_each(dir, release_owned, &(struct release_owner){ dir, key });
		unlink(path);
		return true;
	}
	if (!ports_order(bridge, "delete", &l, err)) {
		if (err->code != ERR_NOT_FOUND) {
			return false;
		}
		err_clear(err);
	}
	if (!veth_delete(l.veth, err)) {
		return false;
	}
	ipam_release(dir, l.address, str_c(key));
	unlink(path);
	return true;
}

struct keep_scan {
	bool (*keep)(void *arg, struct str key);
	void *arg;
	VEC(char *) gone;
};

static void keep_look(struct keep_scan *s, struct str key) {
	if (!s->keep(s->arg, key)) {
		VEC_PUSH(&s->gone, str_dup(key));
	}
}

static void keep_record(void *arg, const char *key) {
	keep_look(arg, str_c(key));
}

static void keep_address(void *arg, struct in_addr a, struct str owner) {
	keep_look(arg, owner);
}

bool pod_link_keep_only(const char *state_dir, const char *bridge, bool (*keep)(void *arg, struct str key), void *arg, struct err *err) {
	auto_free char *dir = xasprintf("%s/addresses", state_dir);
	struct keep_scan s = { .keep = keep, .arg = arg };
	bool ok = true;
	records_each(state_dir, keep_record, &s);
	ipam_each(dir, keep_address, &s);
	VEC_EACH(&s.gone, key) {
		ok = ok && pod_link_del(state_dir, bridge, *key, err);
		free(*key);
	}
	VEC_RELEASE(&s.gone);
	return ok;
}
