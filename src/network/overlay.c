/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overlay.c - keeps the routes to the other nodes' pod ranges as the API's Nodes say: a plain route where the
 * other node is on a link of ours, else by VXLAN with a fixed forwarding entry and neighbour per node (no
 * learning, no multicast).
 *
 * A thread and loop of its own, on which nothing else lives: its netlink calls and on_range may block there. The
 * kernel holds the state; every pass compares it with what is wanted, also after a restart and every 30 s.
 */
#include <arpa/inet.h>

#include "base/log.h"
#include "client/informer.h"
#include "network/nft.h"
#include "network/overlay_names.h"
#include "network/pod_link.h"
#include "network/sysctl.h"

enum { NODES_MAX = 10000, VXLAN_ID = 1 };
static const nsec_t settle = 20 * NSEC_PER_MSEC, again = 30 * NSEC_PER_SEC, retry = 2 * NSEC_PER_SEC;

enum overlay_mode { MODE_AUTO, MODE_VXLAN, MODE_ROUTES, MODE_OFF };

struct overlay {
	struct client *client; /* borrowed */
	char *node_name, *vxlan_link, *state_dir;
	char *guarded;     /* names of the links that the guard is for */
	enum overlay_mode mode;
	int vxlan_port;
	uint8_t proto;
	void (*on_range)(void *arg, struct str cidr);
	void *arg;
	struct loop *loop;
	struct informer *nodes;
	struct loop_timer timer;
	bool urgent;       /* the timer runs for a change */
	bool quiet;        /* this pass is one that comes of itself: look whether all is still there */
	char range[32];    /* told by on_range */
	bool failing;
};

/* ---- what is wanted ---- */

struct peer {
	struct str name;
	struct in_addr ip;
	struct ip_range range;
	bool direct;
	int link; /* of a direct one; 0: a route of the machine's leads there */
};
struct pass {
	struct overlay *o;
	struct nl nl;
	struct in_addr own_ip;
	bool has_own;
	struct ip_range own_range;
	VEC(struct nl_addr) addrs;
	VEC(struct peer) peers;
	struct nl_link vxlan;     /* index 0: none */
	VEC(struct nl_route) routes;
	VEC(struct nl_neigh) neighs;
};

static bool node_ip(const struct value *node, struct in_addr *ret) {
	VALUE_EACH(value_at(node, N_status, N_addresses), a) {
		if (str_eq(value_str_at(a, N_type), S("InternalIP"))) {
			char text[64];
			snprintf(text, sizeof(text), "%.*s", STR_ARG(value_str_at(a, N_address)));
			if (inet_pton(AF_INET, text, ret) == 1) {
				return true;
			}
		}
	}
	return false;
}

static void keep_addr(void *arg, const struct nl_addr *a) {
	struct pass *p = arg;
	if (a->index != p->vxlan.index && ntohl(a->addr.s_addr) >> 24 != 127) {
		VEC_PUSH(&p->addrs, *a);
	}
}

static void keep_route(void *arg, const struct nl_route *r) {
	struct pass *p = arg;
	if (r->proto == p->o->proto) {
		VEC_PUSH(&p->routes, *r);
	}
}

static void keep_neigh(void *arg, const struct nl_neigh *n) {
	struct pass *p = arg;
	VEC_PUSH(&p->neighs, *n);
}

/* Index of the link that `ip` is on; 0 when it is on none. */
static int link_of(struct pass *p, struct in_addr ip) {
	VEC_EACH(&p->addrs, a) {
		uint32_t mask = a->prefix ? UINT32_MAX << (32 - a->prefix) : 0;
		if (a->prefix < 32 && ((ntohl(a->addr.s_addr) ^ ntohl(ip.s_addr)) & mask) == 0) {
			return a->index;
		}
	}
	return 0;
}

static bool is_ours(struct pass *p, struct in_addr ip) {
	VEC_EACH(&p->addrs, a) {
		if (a->addr.s_addr == ip.s_addr) {
			return true;
		}
	}
	return false;
}

static void node_read(struct pass *p, const struct value *node) {
	struct err err = { 0 };
	struct peer peer = { .name = value_str_at(node, N_metadata, N_name) };
	struct str cidr = value_str_at(node, N_spec, N_podCIDR);
	bool own = str_eqc(peer.name, p->o->node_name);
	bool has_ip = node_ip(node, &peer.ip);
	if (own && has_ip) {
		p->own_ip = peer.ip;
	}
	if (!cidr.len || !ip_range_parse(cidr, &peer.range, &err)) {
		return;
	}
	if (own) {
		p->own_range = peer.range;
		p->has_own = true;
	} else if (has_ip && p->peers.len < NODES_MAX) {
		VEC_PUSH(&p->peers, peer);
	}
}

/* ---- the VXLAN link ---- */

static bool vxlan_make(struct pass *p, struct err *err) {
	struct overlay *o = p->o;
	uint8_t mac[6];
	overlay_mac(o->node_name, mac);
	if (p->vxlan.index && (strcmp(p->vxlan.kind, "vxlan") != 0 || p->vxlan.vxlan_port != o->vxlan_port || memcmp(p->vxlan.mac, mac, 6) != 0)) {
		if (strcmp(p->vxlan.kind, "vxlan") != 0) {
			return err_set(err, ERR_ALREADY_EXISTS, "link %s is there already and is no VXLAN", o->vxlan_link);
		}
		if (!nl_link_del(&p->nl, p->vxlan.index, err)) {
			return false;
		}
		p->vxlan.index = 0;
	}
	if (!p->vxlan.index) {
		struct nl_vxlan v = { .name = o->vxlan_link, .id = VXLAN_ID, .port = (uint16_t)o->vxlan_port, .mtu = pod_net_mtu(&p->nl) };
		memcpy(v.mac, mac, 6);
		if (is_ours(p, p->own_ip)) {
			v.local = p->own_ip;
		}
		if (!nl_vxlan_add(&p->nl, &v, err) || !nl_link_get(&p->nl, o->vxlan_link, &p->vxlan, err)) {
			return false;
		}
	}
	return nl_addr_add(&p->nl, p->vxlan.index, ip_range_nth(&p->own_range, 0), 32, err) && nl_link_up(&p->nl, p->vxlan.index, err);
}

static bool vxlan_entries(struct pass *p, bool fdb, struct err *err) {
	p->neighs.len = 0;
	if (!nl_neigh_each(&p->nl, fdb, p->vxlan.index, keep_neigh, p, err)) {
		return false;
	}
	VEC_EACH(&p->neighs, n) {
		bool wanted = false;
		VEC_EACH(&p->peers, peer) {
			uint8_t mac[6];
			struct in_addr at = fdb ? peer->ip : ip_range_nth(&peer->range, 0);
			auto_free char *name = str_dup(peer->name);
			overlay_mac(name, mac);
			wanted |= !peer->direct && at.s_addr == n->addr.s_addr && memcmp(mac, n->mac, 6) == 0;
		}
		if (!wanted && n->addr.s_addr && !(fdb ? nl_fdb_del(&p->nl, n->index, n->mac, n->addr, err) : nl_neigh_del(&p->nl, n->index, n->addr, err))) {
			return false;
		}
	}
	return true;
}

/* ---- one pass ---- */

static bool peer_set(struct pass *p, const struct peer *peer, struct err *err) {
	struct nl_route r = { .dst = ip_range_nth(&peer->range, 0), .prefix = peer->range.prefix, .proto = p->o->proto };
	if (peer->direct) {
		r.via = peer->ip;
	} else {
		uint8_t mac[6];
		auto_free char *name = str_dup(peer->name);
		overlay_mac(name, mac);
		r.via = r.dst;
		r.index = p->vxlan.index;
		r.onlink = true;
		if (!nl_neigh_set(&p->nl, r.index, r.via, mac, err) || !nl_fdb_set(&p->nl, r.index, mac, peer->ip, err)) {
			return err_wrap(err, "node %s", name);
		}
	}
	for (size_t i = 0; i < p->routes.len; i++) {
		struct nl_route *now = &p->routes.at[i];
		if (now->dst.s_addr == r.dst.s_addr && now->prefix == r.prefix && now->via.s_addr == r.via.s_addr && (!r.index || now->index == r.index)) {
			VEC_REMOVE(&p->routes, i);
			return true;
		}
	}
	for (size_t i = 0; i < p->routes.len; i++) { /* replaced: no longer to be deleted */
		if (p->routes.at[i].dst.s_addr == r.dst.s_addr && p->routes.at[i].prefix == r.prefix) {
			VEC_REMOVE(&p->routes, i);
			break;
		}
	}
	return nl_route_replace(&p->nl, &r, err);
}

struct names_find {
	struct pass *p;
	VEC(char *) names;
};

static void link_name_find(void *arg, const struct nl_link *l) {
	struct names_find *f = arg;
	if (!nft_name_ok(l->name)) {
		return;
	}
	VEC_EACH(&f->p->peers, peer) {
		if (peer->link == l->index) {
			VEC_PUSH(&f->names, xstrdup(l->name));
			return;
		}
	}
}

/* First the guard, then the switches. */
static bool loopback_guard(struct pass *p, bool vxlan, struct err *err) {
	struct overlay *o = p->o;
	struct names_find f = { .p = p };
	auto_buf struct buf all = { 0 };
	bool ok = !o->state_dir || nl_link_each(&p->nl, link_name_find, &f, err);
	if (vxlan) {
		VEC_PUSH(&f.names, xstrdup(o->vxlan_link));
	}
	VEC_EACH(&f.names, n) {
		buf_printf(&all, "%s ", *n);
	}
	if (ok && f.names.len && (!o->guarded || strcmp(o->guarded, buf_cstr(&all)) != 0 || !overlay_guard_exists(o->vxlan_link))) {
		ok = overlay_guard(o->vxlan_link, (const char *const *)f.names.at, f.names.len, err);
		if (ok) {
			free(o->guarded);
			o->guarded = xstrdup(buf_cstr(&all));
		}
	}
	VEC_EACH(&f.names, n) {
		auto_free char *localnet = xasprintf("net/ipv4/conf/%s/route_localnet", *n);
		ok = ok && sysctl_set(strcmp(*n, o->vxlan_link) == 0 ? NULL : o->state_dir, localnet, "1", err);
		free(*n);
	}
	VEC_RELEASE(&f.names);
	return ok;
}

static bool pass_do(struct pass *p, struct err *err) {
	struct overlay *o = p->o;
	bool vxlan = false;

	if (!nl_open(&p->nl, err)) {
		return false;
	}
	if (!nl_link_get(&p->nl, o->vxlan_link, &p->vxlan, err)) {
		if (err->code != ERR_NOT_FOUND) {
			return false;
		}
		err_clear(err);
	}
	if (!nl_addr_each(&p->nl, keep_addr, p, err) || !nl_route_each(&p->nl, keep_route, p, err)) {
		return false;
	}
	VEC_EACH(&p->peers, peer) {
		peer->link = o->mode == MODE_VXLAN ? 0 : link_of(p, peer->ip);
		peer->direct = o->mode == MODE_ROUTES || peer->link;
		vxlan |= !peer->direct;
	}
	vxlan = vxlan && p->has_own;
	if ((vxlan && !vxlan_make(p, err)) || !loopback_guard(p, vxlan, err)) {
		return false;
	}
	bool ok = true;
	struct err first = { 0 };
	VEC_EACH(&p->peers, peer) {
		if ((!peer->direct && !vxlan) || is_ours(p, peer->ip)) {
			continue;
		}
		if (!peer_set(p, peer, err)) { /* the others still get theirs */
			first = ok ? *err : first;
			ok = false;
		}
	}
	VEC_EACH(&p->routes, r) {
		if (!nl_route_del(&p->nl, r, err)) {
			first = ok ? *err : first;
			ok = false;
		}
	}
	if (!ok) {
		*err = first;
		return false;
	}
	return !vxlan || (vxlan_entries(p, false, err) && vxlan_entries(p, true, err));
}

static void timer_fire(struct loop_timer *t);

static void sync_now(struct overlay *o) {
	struct pass p = { .o = o, .nl = { .fd = -1 } };
	struct client_list nodes = { 0 };
	struct err err = { 0 };

	informer_list(o->nodes, S(""), &nodes);
	for (size_t i = 0; i < nodes.len; i++) {
		node_read(&p, nodes.at[i]->root);
	}
	if (p.has_own) {
		char text[32], ip[IP_TEXT_MAX];
		snprintf(text, sizeof(text), "%s/%d", ip_text(ip_range_nth(&p.own_range, 0), ip), p.own_range.prefix);
		bool changed = strcmp(text, o->range) != 0;
		memcpy(o->range, text, sizeof(text));
		if (o->on_range && (changed || o->quiet)) {
			o->on_range(o->arg, str_c(o->range));
		}
	}
	bool ok = o->mode == MODE_OFF || pass_do(&p, &err);
	if (!ok && !o->failing) {
		log_warn("overlay", "routes to other nodes are not all set", kv_err(&err));
	} else if (ok && o->failing) {
		log_info("overlay", "routes to other nodes are set again");
	}
	o->failing = !ok;
	nl_close(&p.nl);
	VEC_RELEASE(&p.addrs);
	VEC_RELEASE(&p.peers);
	VEC_RELEASE(&p.routes);
	VEC_RELEASE(&p.neighs);
	client_list_release(&nodes);
	o->urgent = false;
	loop_timer_start(o->loop, &o->timer, ok ? again : retry, timer_fire);
}

static void timer_fire(struct loop_timer *t) {
	struct overlay *o = container_of(t, struct overlay, timer);
	o->quiet = !o->urgent;
	if (informer_synced(o->nodes)) {
		sync_now(o);
	}
}

static void soon(struct overlay *o) {
	if (!o->urgent) {
		o->urgent = true;
		loop_timer_start(o->loop, &o->timer, settle, timer_fire);
	}
}

/* Heartbeats change a Node often, and never what we look at. */
static bool same(struct obj *old, struct obj *now) {
	return old && now && str_eq(value_str_at(old->root, N_spec, N_podCIDR), value_str_at(now->root, N_spec, N_podCIDR)) &&
		value_eq(value_at(old->root, N_status, N_addresses), value_at(now->root, N_status, N_addresses));
}

static void on_change(void *arg, struct obj *old, struct obj *now) {
	struct overlay *o = arg;
	if (informer_synced(o->nodes) && !same(old, now)) {
		soon(o);
	}
}

static void on_synced(void *arg) {
	soon(arg);
}

static bool mode_parse(const char *text, enum overlay_mode *ret) {
	static const char *const names[] = { "auto", "vxlan", "routes", "off" };
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret = (enum overlay_mode)i;
			return true;
		}
	}
	return false;
}

static void overlay_free(struct overlay *o) {
	loop_stop(o->loop);
	if (o->nodes) {
		informer_stop(o->nodes);
	}
	loop_free(o->loop);
	client_free(o->client);
	free(o->node_name);
	free(o->vxlan_link);
	free(o->state_dir);
	free(o->guarded);
	free(o);
}

static void informer_begin(void *arg) {
	struct overlay *o = arg;
	static const struct gvr nodes = GVR_INIT("", "v1", "nodes");
	o->nodes = informer_start(&(struct informer_opts){ .client = o->client, .loop = o->loop, .gvr = nodes, .on_change = on_change, .on_synced = on_synced, .arg = o });
}

bool overlay_start(const struct overlay_opts *opts, struct overlay **ret, struct err *err) {
	enum overlay_mode mode;
	const char *link = opts->vxlan_link ? opts->vxlan_link : "corx0";
	if (!mode_parse(opts->mode ? opts->mode : "auto", &mode)) {
		return err_set(err, ERR_INVALID, "overlay \"%s\" is none of auto, vxlan, routes, off", opts->mode);
	}
	if (strlen(link) >= IFNAMSIZ || !nft_name_ok(link) || opts->vxlan_port < 0 || opts->vxlan_port > 65535) {
		return err_set(err, ERR_INVALID, "the overlay's link name or port is out of range");
	}
	struct overlay *o = xcalloc(1, sizeof(*o));
	o->client = client_ref(opts->client);
	o->node_name = xstrdup(opts->node_name);
	o->vxlan_link = xstrdup(link);
	o->state_dir = opts->state_dir ? xstrdup(opts->state_dir) : NULL;
	o->mode = mode;
	o->vxlan_port = opts->vxlan_port ? opts->vxlan_port : 8472;
	o->proto = overlay_proto(link);
	o->on_range = opts->on_range;
	o->arg = opts->arg;
	o->loop = loop_new("overlay");
	if (!loop_call(o->loop, informer_begin, o) || !loop_start_thread(o->loop, err)) {
		overlay_free(o);
		return false;
	}
	*ret = o;
	return true;
}

void overlay_stop(struct overlay *o, bool remove) {
	if (!o) {
		return;
	}
	if (remove) {
		loop_stop(o->loop);
		overlay_remove(o->vxlan_link);
	}
	overlay_free(o);
}
