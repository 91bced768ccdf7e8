/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy.c - keeps one nftables table in step with Services and EndpointSlices: all of it once, then only the elements
 * that change, in one transaction each few milliseconds. What an element should be and what the kernel has of it stand side by
 * side (`struct held`); a transaction that fails leads to loading all again.
 *
 * A thread and loop of its own, on which nothing else lives: it may block there on nft and netlink. Stopping leaves the table in
 * force; the next start replaces it in one transaction.
 */
#include <arpa/inet.h>

#include "base/log.h"
#include "client/informer.h"
#include "network/health.h"
#include "network/netlink.h"
#include "base/map.h"
#include "network/network.h"
#include "network/nft.h"
#include "network/services.h"

static const nsec_t settle = 5 * NSEC_PER_MSEC, calm = 30 * NSEC_PER_MSEC, retry_min = NSEC_PER_SEC, retry_max = 30 * NSEC_PER_SEC, look = 10 * NSEC_PER_SEC;
enum {
	SCRIPT_BYTES_MAX = 256 << 20,
	CHAINS_FIRST = 32, /* for so many endpoints chains are there from the start */
	CHAINS_MORE = 16,  /* and so many at a time come when one Service has more: that loads all anew */
};

/* One element of one map or set, by "map key". */
struct held {
	const char *map;  /* static */
	char *key;
	char *wanted;     /* NULL: nobody wants it */
	char *applied;    /* NULL: the kernel does not have it */
	int refs;         /* Services that want it */
	bool contested;   /* wanted with different data; the first has it */
	bool touched;     /* in proxy.touched */
};
struct service_state {
	VEC(struct held *) elements;
};
struct proxy {
	struct client *client;
	char *node_name, *cluster_cidr, *table, *nodeport_addresses, *bridge;
	struct loop *loop;
	struct informer *services, *slices;
	struct health *health;
	struct loop_timer timer, look;
	bool scheduled;
	struct map dirty;    /* "ns/name" of Services, value: the proxy */
	struct map states;   /* "ns/name" -> struct service_state */
	struct map elements; /* "map key" -> struct held */
	struct map chains;   /* those the kernel has */
	struct map wanted_chains; /* new in this pass */
	VEC(struct held *) touched;
	bool all_dirty;      /* a contested element became free */
	bool loaded;         /* the table is ours and known */
	nsec_t last, retry;
	bool synced;         /* atomic */
	bool failing;
};

/* ---- elements ---- */

static struct held *held_get(struct proxy *p, const char *map, struct str key, bool make) {
	auto_free char *id = xasprintf("%s %.*s", map, STR_ARG(key));
	struct held *h = map_get(&p->elements, str_c(id));
	if (!h && make) {
		h = xcalloc(1, sizeof(*h));
		h->map = map;
		h->key = str_dup(key);
		map_set(&p->elements, str_c(id), h);
	}
	return h;
}

static void touch(struct proxy *p, struct held *h) {
	if (!h->touched) {
		h->touched = true;
		VEC_PUSH(&p->touched, h);
	}
}

static void held_free(struct held *h) {
	free(h->key);
	free(h->wanted);
	free(h->applied);
	free(h);
}

static void unwant(struct proxy *p, struct held *h) {
	p->all_dirty |= h->contested;
	if (--h->refs == 0) {
		free(h->wanted);
		h->wanted = NULL;
		h->contested = false;
	}
	touch(p, h);
}

static void want(struct proxy *p, struct service_state *s, const struct element *e) {
	struct held *h = held_get(p, e->map, e->key, true);
	VEC_EACH(&s->elements, has) {
		if (*has == h) {
			return; /* said twice by one Service, as its address by each port */
		}
	}
	if (h->refs++ == 0) {
		h->wanted = str_dup(e->data);
	} else if (!str_eqc(e->data, h->wanted)) {
		h->contested = true;
	}
	VEC_PUSH(&s->elements, h);
	touch(p, h);
}

/* ---- what Services want ---- */

static void chain_want(struct proxy *p, struct str chain) {
	if (map_get(&p->chains, chain)) {
		return;
	}
	map_set(&p->wanted_chains, chain, p);
	if (services_chain_with_table(chain)) {
		size_t digits = strcspn(chain.ptr, "0123456789");
		struct str kind = str_sub(chain, 0, digits);
		int count = 0;
		p->loaded = false;
		for (int i = 0; str_to_int(str_from(chain, digits), 1, 4096, &count) && i < CHAINS_MORE; i++) {
			auto_free char *name = xasprintf("%.*s%d", STR_ARG(kind), count + i);
			map_set(&p->wanted_chains, str_c(name), p);
		}
	}
}

static void service_update(struct proxy *p, struct str key) {
	auto_arena struct arena a = { 0 };
	struct str ns, name;
	key_split(key, &ns, &name);
	auto_obj struct obj *svc = informer_get(p->services, ns, name);
	struct service_state *s = map_get(&p->states, key);
	struct service_rules rules = { 0 };
	struct client_list slices = { 0 };

	if (s) {
		VEC_EACH(&s->elements, h) {
			unwant(p, *h);
		}
		s->elements.len = 0;
	}
	if (svc && service_is_proxied(svc->root)) {
		if (!s) {
			s = xcalloc(1, sizeof(*s));
			map_set(&p->states, key, s);
		}
		informer_index(p->slices, key, &slices);
		const struct value **roots = arena_array(&a, const struct value *, slices.len);
		for (size_t i = 0; i < slices.len; i++) {
			roots[i] = slices.at[i]->root;
		}
		service_rules_make(&a, svc->root, roots, slices.len, p->node_name, &rules);
		VEC_EACH(&rules.elements, e) {
			want(p, s, e);
		}
		VEC_EACH(&rules.chains, c) {
			chain_want(p, *c);
		}
		VEC_EACH(&rules.affinity_s, t) {
			struct str c = arena_printf(&a, "aff_%d", *t);
			chain_want(p, c);
		}
		health_set(p->health, key, rules.health_port, rules.local_endpoints);
		service_rules_release(&rules);
		client_list_release(&slices);
	} else if (s) {
		health_set(p->health, key, 0, 0);
		map_remove(&p->states, key);
		VEC_RELEASE(&s->elements);
		free(s);
	}
}

static void dirty_all(struct proxy *p) {
	auto_arena struct arena a = { 0 };
	struct client_list l = { 0 };
	informer_list(p->services, S(""), &l);
	for (size_t i = 0; i < l.len; i++) {
		map_set(&p->dirty, obj_key(&a, l.at[i]), p);
	}
	client_list_release(&l);
	MAP_EACH(&p->states, e) {
		map_set(&p->dirty, e->key, p);
	}
}

static void dirty_work(struct proxy *p) {
	MAP_EACH(&p->dirty, e) {
		service_update(p, e->key);
	}
	map_release(&p->dirty);
}

/* ---- the script ---- */

static const char *const map_names[] = { "svc", "svc_x", "rej_svc", "np", "np_x", "rej_np", "ep_c", "ep_x", "ep_n", "ep_nx", "aff_svc", "aff_np", "aff_rec", "ext_ips",
	"cluster_ips", "hairpin", "lb_closed", "lb_from", "np_tcp", "np_udp", "np_sctp" };

static size_t map_number(const char *name) {
	size_t i = 0;
	while (strcmp(map_names[i], name) != 0) {
		i++;
	}
	return i;
}

static void element_append(struct buf *b, const char *verb, const char *table, const struct held *h, const char *data) {
	if (b->len == 0) {
		buf_printf(b, "%s element ip %s %s { ", verb, table, h->map);
	} else {
		buf_c(b, ", ");
	}
	buf_c(b, h->key);
	if (*data) {
		buf_printf(b, " : %s", data);
	}
}

static bool element_changed(const struct held *h) {
	return (h->applied != NULL) != (h->wanted != NULL) || (h->applied && strcmp(h->applied, h->wanted) != 0);
}

/* One statement a map, so that thousands of elements are one order each. */
static void elements_append(struct proxy *p, struct buf *out) {
	struct buf gone[ARRAY_LEN(map_names)] = { 0 }, come[ARRAY_LEN(map_names)] = { 0 };
	VEC_EACH(&p->touched, at) {
		struct held *h = *at;
		size_t n = map_number(h->map);
		if (!element_changed(h)) {
			continue;
		}
		if (h->applied) {
			element_append(&gone[n], "delete", p->table, h, h->applied);
		}
		if (h->wanted) {
			element_append(&come[n], "add", p->table, h, h->wanted);
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(map_names); i++) {
		if (gone[i].len) {
			buf_str(out, buf_view(&gone[i]));
			buf_c(out, " }\n");
		}
		buf_release(&gone[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(map_names); i++) {
		if (come[i].len) {
			buf_str(out, buf_view(&come[i]));
			buf_c(out, " }\n");
		}
		buf_release(&come[i]);
	}
}

static void chains_append(struct proxy *p, struct buf *out) {
	/* "c3" before "c3a", which goes to it. */
	for (int pass = 0; pass < 2; pass++) {
		MAP_EACH(&p->wanted_chains, e) {
			struct str seconds;
			bool timeout = str_starts(e->key, S("aff_")), affinity = !timeout && str_ends(e->key, S("a"));
			if (affinity != (pass == 1)) {
				continue;
			}
			if (timeout) {
				int n = 0;
				seconds = str_from(e->key, 4);
				if (str_to_int(seconds, 1, 86400, &n)) {
					services_affinity_text(p->table, n, out);
				}
			} else {
				services_chain_text(p->table, e->key, out);
			}
		}
	}
}

/* ---- after a change: flows and memories that point to endpoints that are gone ---- */

struct udp_frontend { /* one that changed */
	bool node_port;
	struct str maps[2], key;      /* where its endpoints stand */
};
struct udp_scan {
	struct proxy *p;
	struct map changed; /* "address port", or "port" -> struct udp_frontend in an arena */
};

static bool leads_to(struct proxy *p, const struct udp_frontend *f, const char *endpoint) {
	for (size_t m = 0; m < ARRAY_LEN(f->maps); m++) {
		for (size_t i = 0;; i++) {
			auto_free char *key = xasprintf("%.*s . %zu", STR_ARG(f->key), i);
			struct held *h = held_get(p, f->maps[m].ptr, str_c(key), false);
			if (!h || !h->wanted) {
				break;
			}
			if (strcmp(h->wanted, endpoint) == 0) {
				return true;
			}
		}
	}
	return false;
}

static bool flow_gone(void *arg, const struct nl_flow *f) {
	struct udp_scan *s = arg;
	char ip[INET_ADDRSTRLEN], key[64];
	inet_ntop(AF_INET, &f->dst, ip, sizeof(ip));
	snprintf(key, sizeof(key), "%s %d", ip, f->dport);
	const struct udp_frontend *c = map_get(&s->changed, str_c(key));
	if (!c) {
		snprintf(key, sizeof(key), "%d", f->dport);
		c = map_get(&s->changed, str_c(key));
	}
	/* A node port's number alone says little: only flows that were redirected are ours. */
	if (!c || (c->node_port && f->reply_src.s_addr == f->dst.s_addr && f->reply_sport == f->dport)) {
		return false;
	}
	inet_ntop(AF_INET, &f->reply_src, ip, sizeof(ip));
	snprintf(key, sizeof(key), "%s . %d", ip, f->reply_sport);
	return !leads_to(s->p, c, key);
}

static void udp_changed(struct arena *a, struct udp_scan *s, const struct held *h) {
	bool port_only = h->map[0] == 'n' || !strcmp(h->map, "rej_np") || !strncmp(h->map, "ep_n", 4);
	bool endpoint = !strncmp(h->map, "ep_", 3);
	if (strncmp(h->key, "udp . ", 6) != 0 || !element_changed(h)) {
		return;
	}
	struct str key = arena_str(a, str_c(h->key)), rest, ip = S("");
	if (endpoint) {
		key.len = (size_t)str_rindex(key, '.') - 1;
	}
	rest = str_from(key, 6);
	if (!port_only) {
		ptrdiff_t dot = str_find(rest, S(" . "));
		if (dot < 0) {
			return;
		}
		ip = str_sub(rest, 0, (size_t)dot);
		rest = str_from(rest, (size_t)dot + 3);
	}
	struct str at = port_only ? rest : arena_printf(a, "%.*s %.*s", STR_ARG(ip), STR_ARG(rest));
	if (!map_get(&s->changed, at)) {
		struct udp_frontend *f = arena_new(a, struct udp_frontend);
		f->key = key;
		f->node_port = port_only;
		f->maps[0] = port_only ? S("ep_n") : S("ep_c");
		f->maps[1] = port_only ? S("ep_nx") : S("ep_x");
		map_set(&s->changed, at, f);
	}
}

static void udp_collect(struct proxy *p, struct arena *a, struct udp_scan *s) {
	VEC_EACH(&p->touched, at) {
		udp_changed(a, s, *at);
	}
}

static void flows_clean(struct proxy *p, struct udp_scan *s) {
	auto_nl struct nl nl = { .fd = -1 };
	struct err err = { 0 };
	size_t n = 0;
	s->p = p;
	if (s->changed.len && (!nl_open_ct(&nl, &err) || !nl_ct_delete(&nl, IPPROTO_UDP, flow_gone, s, &n, &err))) {
		log_warn("proxy", "UDP flows to endpoints that are gone may go on", kv_err(&err));
	}
	map_release(&s->changed);
}

/* Which endpoints a mark of a Service with affinity may lead to: "mark endpoint". */
static void affinity_valid(struct proxy *p, struct map *valid) {
	MAP_EACH(&p->elements, e) {
		struct held *h = e->value;
		bool svc = !strcmp(h->map, "aff_svc"), np = !strcmp(h->map, "aff_np");
		static const char *const maps[2][2] = { { "ep_c", "ep_x" }, { "ep_n", "ep_nx" } };
		if ((!svc && !np) || !h->wanted) {
			continue;
		}
		for (int m = 0; m < 2; m++) {
			for (size_t i = 0;; i++) {
				auto_free char *key = xasprintf("%s . %zu", h->key, i);
				struct held *ep = held_get(p, maps[np][m], str_c(key), false);
				if (!ep || !ep->wanted) {
					break;
				}
				auto_free char *id = xasprintf("%lu %s", strtoul(h->wanted, NULL, 16), ep->wanted);
				map_set(valid, str_c(id), p);
			}
		}
	}
}

struct memory { /* one client's place, as nft lists it */
	struct str client, address;
	int64_t mark, port, timeout, expires;
};

static bool memory_read(const struct value *item, struct memory *ret) {
	/* [ {"elem": {"val": {"concat": [client, mark]}, "timeout": T, "expires": E}}, {"concat": [address, port]} ] */
	const struct value *elem = value_get_str(value_item(item, 0), S("elem"));
	const struct value *key = value_get_str(value_get_str(elem, S("val")), S("concat"));
	const struct value *data = value_get_str(value_item(item, 1), S("concat"));
	*ret = (struct memory){ .client = value_as_str(value_item(key, 0)), .mark = value_as_int(value_item(key, 1)), .address = value_as_str(value_item(data, 0)),
		.port = value_as_int(value_item(data, 1)), .timeout = value_as_int(value_get_str(elem, S("timeout"))),
		.expires = value_as_int(value_get_str(elem, S("expires"))) };
	return ret->client.len && ret->address.len && ret->mark && ret->port;
}

static const struct value *memories_list(struct proxy *p, struct arena *a) {
	auto_buf struct buf b = BUF_INIT(SCRIPT_BYTES_MAX);
	struct value *v;
	struct err err = { 0 };
	if (!nft_list((const char *const[]){ "list", "map", "ip", p->table, "aff", NULL }, &b, &err) ||
		!json_parse(a, arena_str(a, buf_view(&b)), NULL, &v, &err)) {
		return NULL; /* no table yet */
	}
	VALUE_EACH(value_get_str(v, S("nftables")), item) {
		const struct value *m = value_get_str(item, S("map"));
		if (m) {
			return value_get_str(m, S("elem"));
		}
	}
	return NULL;
}

/* With `again`, all that stay valid are added anew to a table that was made anew; else those that are not valid are deleted. */
static void memories_text(struct proxy *p, const struct value *list, bool again, struct buf *out) {
	struct map valid = { 0 };
	affinity_valid(p, &valid);
	VALUE_EACH(list, item) {
		struct memory m;
		if (!memory_read(item, &m)) {
			continue;
		}
		auto_free char *id = xasprintf("%lu %.*s . %d", (unsigned long)m.mark, STR_ARG(m.address), (int)m.port);
		bool is_valid = map_get(&valid, str_c(id)) != NULL;
		if (again && is_valid && m.timeout > 0 && m.expires > 0) {
			buf_printf(out, "add element ip %s aff { %.*s . 0x%08x timeout %llds expires %llds : %.*s . %d }\n", p->table, STR_ARG(m.client), (unsigned)m.mark,
				(long long)m.timeout, (long long)m.expires, STR_ARG(m.address), (int)m.port);
		} else if (!again && !is_valid) {
			buf_printf(out, "delete element ip %s aff { %.*s . 0x%08x }\n", p->table, STR_ARG(m.client), (unsigned)m.mark);
		}
	}
	map_release(&valid);
}

static void memories_clean(struct proxy *p) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf script = BUF_INIT(SCRIPT_BYTES_MAX);
	struct err err = { 0 };
	memories_text(p, memories_list(p, &a), false, &script);
	if (script.len && !nft_run(buf_view(&script), &err)) {
		log_debug("proxy", "clients keep endpoints that are gone until they time out", kv_err(&err));
	}
}

/* ---- a pass ---- */

static void apply_done(struct proxy *p) {
	VEC_EACH(&p->touched, at) {
		struct held *h = *at;
		h->touched = false;
		free(h->applied);
		h->applied = h->wanted ? xstrdup(h->wanted) : NULL;
		if (!h->wanted) {
			auto_free char *id = xasprintf("%s %s", h->map, h->key);
			map_remove(&p->elements, str_c(id));
			held_free(h);
		}
	}
	p->touched.len = 0;
	MAP_EACH(&p->wanted_chains, e) {
		map_set(&p->chains, e->key, p);
	}
	map_release(&p->wanted_chains);
}

/* The kernel has nothing, as far as we know; all that is wanted is touched. */
static void forget(struct proxy *p) {
	MAP_EACH(&p->elements, e) {
		struct held *h = e->value;
		free(h->applied);
		h->applied = NULL;
		touch(p, h);
	}
	MAP_EACH(&p->chains, e) {
		map_set(&p->wanted_chains, e->key, p);
	}
	map_release(&p->chains);
	static const char *const kinds[] = { "c", "x", "n", "nx" };
	for (int i = 0; i < (int)ARRAY_LEN(kinds) * CHAINS_FIRST; i++) {
		char name[16];
		snprintf(name, sizeof(name), "%s%d", kinds[i / CHAINS_FIRST], i % CHAINS_FIRST + 1);
		map_set(&p->wanted_chains, str_c(name), p);
	}
}

static bool full_load(struct proxy *p, struct err *err) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf script = BUF_INIT(SCRIPT_BYTES_MAX);
	struct services_table t = { p->table, p->cluster_cidr, p->nodeport_addresses, p->bridge };
	const struct value *memories = memories_list(p, &a);
	struct udp_scan udp = { 0 };

	udp_collect(p, &a, &udp);
	forget(p);
	udp_collect(p, &a, &udp); /* all: who knows what happened while we were away */
	buf_printf(&script, "table ip %s\ndelete table ip %s\n", p->table, p->table);
	services_table_text(&t, &script);
	chains_append(p, &script);
	elements_append(p, &script);
	memories_text(p, memories, true, &script);
	if (script.overflow || !nft_run(buf_view(&script), err)) {
		map_release(&udp.changed);
		return script.overflow ? err_set(err, ERR_TOO_LARGE, "the Services of this cluster are too many") : false;
	}
	flows_clean(p, &udp);
	return true;
}

static bool partial_load(struct proxy *p, struct err *err) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf script = BUF_INIT(SCRIPT_BYTES_MAX);
	struct udp_scan udp = { 0 };
	bool lost = false;

	chains_append(p, &script);
	elements_append(p, &script);
	udp_collect(p, &a, &udp);
	VEC_EACH(&p->touched, at) {
		struct held *h = *at;
		lost |= !strncmp(h->map, "ep_", 3) && h->applied && element_changed(h);
	}
	bool ok = !script.overflow || err_set(err, ERR_TOO_LARGE, "the Services of this cluster are too many");
	ok = ok && (script.len == 0 || nft_run(buf_view(&script), err));
	if (ok && script.len) {
		flows_clean(p, &udp);
		bool affinity = false;
		MAP_EACH(&p->chains, e) {
			affinity |= str_starts(e->key, S("aff_"));
		}
		if (lost && affinity) {
			memories_clean(p);
		}
	}
	map_release(&udp.changed);
	return ok;
}

static void timer_fire(struct loop_timer *t);

static void schedule(struct proxy *p, nsec_t after) {
	if (!p->scheduled) {
		p->scheduled = true;
		loop_timer_start(p->loop, &p->timer, after, timer_fire);
	}
}

static void pass(struct proxy *p) {
	struct err err = { 0 };
	nsec_t begin = clock_mono();

	p->scheduled = false;
	dirty_work(p);
	if (p->all_dirty) {
		p->all_dirty = false;
		dirty_all(p);
		dirty_work(p);
		p->all_dirty = false;
	}
	bool full = !p->loaded;
	bool ok = full ? full_load(p, &err) : partial_load(p, &err);
	p->last = clock_mono();
	if (ok) {
		apply_done(p);
		p->loaded = true;
		p->retry = 0;
		if (full || p->failing) {
			log_info("proxy", "Services are in force", kv_c("table", p->table), kv_int("services", p->states.len), kv_int("ms", (p->last - begin) / NSEC_PER_MSEC));
		}
		p->failing = false;
		__atomic_store_n(&p->synced, true, __ATOMIC_RELEASE);
		return;
	}
	if (!p->failing) {
		log_warn("proxy", "Services could not be put into nftables; all is loaded again", kv_err(&err));
	}
	p->failing = true;
	p->loaded = false;
	p->retry = MIN(MAX(p->retry * 2, retry_min), retry_max);
	schedule(p, p->retry);
}

static void timer_fire(struct loop_timer *t) {
	pass(container_of(t, struct proxy, timer));
}

static void dirty(struct proxy *p, struct str key) {
	map_set(&p->dirty, key, p);
	if (informer_synced(p->services) && informer_synced(p->slices)) {
		nsec_t since = clock_mono() - p->last;
		schedule(p, since > calm ? settle : calm - since);
	}
}

static void on_service(void *arg, struct obj *old, struct obj *now) {
	auto_arena struct arena a = { 0 };
	dirty(arg, obj_key(&a, now ? now : old));
}

static struct str slice_service(struct arena *a, const struct obj *o) {
	struct str name = value_as_str(value_get_str(value_at(o->root, N_metadata, N_labels), S("kubernetes.io/service-name")));
	struct str ns = value_str_at(o->root, N_metadata, N_namespace);
	return name.len ? arena_printf(a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name)) : (struct str){ 0 };
}

static void on_slice(void *arg, struct obj *old, struct obj *now) {
	auto_arena struct arena a = { 0 };
	struct str was = old ? slice_service(&a, old) : S(""), is = now ? slice_service(&a, now) : S("");
	if (was.len) {
		dirty(arg, was);
	}
	if (is.len && !str_eq(was, is)) {
		dirty(arg, is);
	}
}

static void slice_index(const struct obj *o, struct arena *a, void (*add)(void *ctx, struct str key), void *ctx) {
	struct str key = slice_service(a, o);
	if (key.len) {
		add(ctx, key);
	}
}

static void on_synced(void *arg) {
	struct proxy *p = arg;
	if (p->services && p->slices && informer_synced(p->services) && informer_synced(p->slices)) {
		dirty_all(p);
		schedule(p, settle);
	}
}

/* "nft flush ruleset" and the like: our table is made again. */
static void on_look(struct loop_timer *t) {
	struct proxy *p = container_of(t, struct proxy, look);
	auto_nl struct nl nl = { .fd = -1 };
	struct err err = { 0 };
	bool exists = true;
	if (p->loaded && nl_open_ct(&nl, &err) && nl_table_exists(&nl, p->table, &exists, &err) && !exists) {
		log_warn("proxy", "somebody took our table away; it is made again", kv_c("table", p->table));
		p->loaded = false;
		schedule(p, settle);
	}
	loop_timer_start(p->loop, &p->look, look, on_look);
}

static void informers_begin(void *arg) {
	static const struct gvr services = GVR_INIT("", "v1", "services"), slices = GVR_INIT("discovery.k8s.io", "v1", "endpointslices");
	struct proxy *p = arg;
	p->slices = informer_start(&(struct informer_opts){ .client = p->client, .loop = p->loop, .gvr = slices, .on_change = on_slice, .on_synced = on_synced,
		.index = slice_index, .arg = p });
	loop_timer_start(p->loop, &p->look, look, on_look);
	p->services = informer_start(&(struct informer_opts){ .client = p->client, .loop = p->loop, .gvr = services, .on_change = on_service, .on_synced = on_synced, .arg = p });
}

static void proxy_free(struct proxy *p) {
	loop_stop(p->loop);
	if (p->services) {
		informer_stop(p->services);
		informer_stop(p->slices);
	}
	health_free(p->health);
	loop_free(p->loop);
	MAP_EACH(&p->states, e) {
		struct service_state *s = e->value;
		VEC_RELEASE(&s->elements);
		free(s);
	}
	MAP_EACH(&p->elements, e) {
		held_free(e->value);
	}
	map_release(&p->states);
	map_release(&p->elements);
	map_release(&p->dirty);
	map_release(&p->chains);
	map_release(&p->wanted_chains);
	VEC_RELEASE(&p->touched);
	client_free(p->client);
	free(p->node_name);
	free(p->cluster_cidr);
	free(p->table);
	free(p->nodeport_addresses);
	free(p->bridge);
	free(p);
}

bool proxy_start(const struct proxy_opts *opts, struct proxy **ret, struct err *err) {
	const char *table = opts->table ? opts->table : "coracle";
	if (!nft_name_ok(table) || (opts->bridge && *opts->bridge && !nft_name_ok(opts->bridge))) {
		return err_set(err, ERR_INVALID, "\"%s\" cannot name a table", table);
	}
	/* Both texts become part of a script. */
	const char *const lists[] = { opts->cluster_cidr, opts->nodeport_addresses };
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		if (lists[i] && strspn(lists[i], i ? "0123456789./, " : "0123456789./") != strlen(lists[i])) {
			return err_set(err, ERR_INVALID, "\"%s\" is no IPv4 range", lists[i]);
		}
	}
	struct proxy *p = xcalloc(1, sizeof(*p));
	p->client = client_ref(opts->client);
	p->node_name = xstrdup(opts->node_name ? opts->node_name : "");
	p->cluster_cidr = xstrdup(opts->cluster_cidr ? opts->cluster_cidr : "");
	p->nodeport_addresses = xstrdup(opts->nodeport_addresses ? opts->nodeport_addresses : "");
	p->table = xstrdup(table);
	p->bridge = xstrdup(opts->bridge ? opts->bridge : "");
	p->loop = loop_new("proxy");
	p->health = health_new(p->loop);
	if (!loop_call(p->loop, informers_begin, p) || !loop_start_thread(p->loop, err)) {
		proxy_free(p);
		return false;
	}
	*ret = p;
	return true;
}

bool proxy_synced(struct proxy *p) {
	return __atomic_load_n(&p->synced, __ATOMIC_ACQUIRE);
}

void proxy_stop(struct proxy *p, bool remove) {
	if (!p) {
		return;
	}
	loop_stop(p->loop);
	if (remove) {
		struct err err = { 0 };
		if (!nft_table_delete(p->table, &err)) {
			log_warn("proxy", "the table stays", kv_c("table", p->table), kv_err(&err));
		}
	}
	proxy_free(p);
}
