/* SPDX-License-Identifier: Apache-2.0 */
/* remove.c - takes away what a node made in its network namespace, with no daemon. Main thread; blocks. */
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "network/nft.h"
#include "network/overlay_names.h"
#include "network/pod_link.h"
#include "network/sysctl.h"

struct found {
	struct nl_link bridge;
	const char *bridge_name;
	bool others;   /* another node's bridge is here too */
	VEC(int) ports;
};

static void look_link(void *arg, const struct nl_link *l) {
	struct found *f = arg;
	if (f->bridge_name && !strcmp(l->name, f->bridge_name) && !strcmp(l->kind, "bridge")) {
		f->bridge = *l;
	} else if (!strcmp(l->kind, "bridge") && l->mac[0] == 0x0a && l->mac[1] == 0x58) {
		f->others = true;
	}
}

static void look_port(void *arg, const struct nl_link *l) {
	struct found *f = arg;
	if (f->bridge.index && l->master == f->bridge.index) {
		VEC_PUSH(&f->ports, l->index);
	}
}

static bool shared_switch(const char *name) {
	return strcmp(name, "net/ipv4/ip_forward") == 0;
}

void network_remove(const char *bridge, const char *vxlan_link, const char *table, const char *cni_state_dir) {
	auto_nl struct nl nl = { .fd = -1 };
	struct found f = { .bridge_name = bridge };
	struct err err = { 0 };
	bool ok = nl_open(&nl, &err) && nl_link_each(&nl, look_link, &f, &err) && nl_link_each(&nl, look_port, &f, &err);

	VEC_EACH(&f.ports, index) {
		ok = (nl_link_del(&nl, *index, &err) || err.code == ERR_NOT_FOUND) && ok;
	}
	if (f.bridge.index) {
		ok = nl_link_del(&nl, f.bridge.index, &err) && ok;
	}
	if (vxlan_link) {
		overlay_remove(vxlan_link);
	}
	if (bridge && nft_name_ok(bridge)) {
		char cni_table[64];
		pod_net_table(bridge, cni_table);
		ok = nft_table_delete(cni_table, &err) && ok;
	}
	if (table && nft_name_ok(table)) {
		ok = nft_table_delete(table, &err) && ok;
	}
	if (cni_state_dir) {
		sysctl_restore(cni_state_dir, f.others ? shared_switch : NULL);
		static const char *const parts[] = { "pods", "addresses", "results" };
		for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
			auto_free char *path = xasprintf("%s/%s", cni_state_dir, parts[i]);
			ok = dir_remove(path, &err) && ok;
		}
	}
	if (!ok) {
		log_warn("network", "something of the node's network may be left", kv_err(&err));
	}
	VEC_RELEASE(&f.ports);
}
