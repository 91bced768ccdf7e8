/* SPDX-License-Identifier: Apache-2.0 */
/* overlay_names.c - see overlay_names.h. */
#include "network/overlay_names.h"

#include "base/log.h"
#include "base/vec.h"
#include "network/netlink.h"
#include "network/nft.h"

static uint64_t hash(const char *s) { /* FNV-1a */
	uint64_t h = 14695981039346656037u;
	for (; *s; s++) {
		h = (h ^ (uint8_t)*s) * 1099511628211u;
	}
	return h ^ h >> 32;
}

void overlay_mac(const char *node_name, uint8_t mac[6]) {
	uint64_t h = hash(node_name);
	mac[0] = 0x06; /* locally administered, one receiver */
	for (int i = 1; i < 6; i++) {
		mac[i] = (uint8_t)(h >> (8 * i));
	}
}

uint8_t overlay_proto(const char *vxlan_link) {
	return (uint8_t)(100 + hash(vxlan_link) % 80);
}

static void guard_table(const char *link, char out[64]) {
	snprintf(out, 64, "overlay_%s", link);
}

bool overlay_guard(const char *vxlan_link, const char *const *links, size_t n, struct err *err) {
	auto_buf struct buf script = BUF_INIT(1 << 20);
	char table[64];
	guard_table(vxlan_link, table);
	buf_printf(&script, "table ip %s\ndelete table ip %s\ntable ip %s {\nchain guard {\ntype filter hook prerouting priority raw;\n", table, table, table);
	for (size_t i = 0; i < n; i++) {
		buf_printf(&script, "iifname \"%s\" ip daddr 127.0.0.0/8 drop\n", links[i]);
	}
	buf_c(&script, "}\n}\n");
	return nft_run(buf_view(&script), err);
}

bool overlay_guard_exists(const char *vxlan_link) {
	auto_nl struct nl nl = { .fd = -1 };
	struct err err = { 0 };
	char table[64];
	bool exists = false;
	guard_table(vxlan_link, table);
	return nl_open_ct(&nl, &err) && nl_table_exists(&nl, table, &exists, &err) && exists;
}

struct found {
	uint8_t proto;
	VEC(struct nl_route) routes;
};

static void look(void *arg, const struct nl_route *r) {
	struct found *f = arg;
	if (r->proto == f->proto) {
		VEC_PUSH(&f->routes, *r);
	}
}

void overlay_remove(const char *vxlan_link) {
	auto_nl struct nl nl = { .fd = -1 };
	struct found f = { .proto = overlay_proto(vxlan_link) };
	struct nl_link link;
	struct err err = { 0 };
	bool ok = nl_open(&nl, &err) && nl_route_each(&nl, look, &f, &err);
	VEC_EACH(&f.routes, r) {
		ok = nl_route_del(&nl, r, &err) && ok;
	}
	VEC_RELEASE(&f.routes);
	if (nl_link_get(&nl, vxlan_link, &link, &err)) {
		if (strcmp(link.kind, "vxlan") == 0) {
			ok = nl_link_del(&nl, link.index, &err) && ok;
		}
	} else {
		ok = err.code == ERR_NOT_FOUND && ok;
	}
	char table[64];
	guard_table(vxlan_link, table);
	ok = (!nft_name_ok(vxlan_link) || nft_table_delete(table, &err)) && ok;
	if (!ok) {
		log_warn("overlay", "routes or the link may be left", kv_err(&err));
	}
}
