/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cni_plugin.c - our plugin as a program: what to do comes in the environment and on standard input, the result or the error leaves as JSON on
 * standard output. Needs no daemon: the configuration names the state folder.
 *
 *     { "cniVersion": "1.0.0", "name": "pods", "type": "coracle-cni", "stateDir": "/run/coracle/cni", "bridge": "cor0",
 *       "subnet": "10.244.1.0/24", "clusterCIDR": "10.244.0.0/16", "mtu": 1450, "capabilities": { "portMappings": true } }
 *
 * Source: CNI specification 1.1.0, sections 2 to 5.
 */
#include <unistd.h>

#include "base/file.h"
#include "network/pod_link.h"

enum { CONF_BYTES_MAX = 1 << 20 };

enum cni_code { /* of the specification, "Error" */
	CNI_VERSION = 1,
	CNI_UNKNOWN_CONTAINER = 3,
	CNI_ENVIRONMENT = 4,
	CNI_IO = 5,
	CNI_DECODE = 6,
	CNI_CONFIG = 7,
	CNI_LATER = 11,
	CNI_UNAVAILABLE = 50,
	CNI_FAILED = 100,
};

struct plugin_call {
	struct arena a;
	const char *command, *id, *netns, *ifname;
	char key[256];
	struct value *conf;
	struct str version;
	struct pod_net net;
	struct cni_port *ports;
	size_t ports_len;
};

static const char *const versions[] = { "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0" };

static struct value *get(const struct value *v, const char *key) {
	return value_get_str(v, str_c(key));
}

static int print(struct plugin_call *p, const struct value *v, int code) {
	struct str text = json_text(&p->a, v);
	return fwrite(text.ptr, 1, text.len, stdout) == text.len && fputc('\n', stdout) != EOF && fflush(stdout) == 0 ? code : 1;
}

static int fail(struct plugin_call *p, int code, const char *msg, const char *details) {
	struct value *v = value_new_object(&p->a);
	value_set_key_str(&p->a, v, S("cniVersion"), p->version.len ? p->version : S("1.0.0"));
	value_set_key(&p->a, v, S("code"), value_new_int(&p->a, code));
	value_set_key_str(&p->a, v, S("msg"), str_c(msg));
	if (details && *details) {
		value_set_key_str(&p->a, v, S("details"), str_c(details));
	}
	return print(p, v, 1);
}

static int fail_err(struct plugin_call *p, const struct err *err) {
	int code = err->code == ERR_INVALID ? CNI_CONFIG : err->code == ERR_NOT_FOUND ? CNI_UNKNOWN_CONTAINER : err->code == ERR_TOO_LARGE ? CNI_LATER : CNI_FAILED;
	return fail(p, code, err->msg, err->ctx);
}

static bool version_known(struct str v) {
	for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
		if (str_eqc(v, versions[i])) {
			return true;
		}
	}
	return false;
}

static int version_print(struct plugin_call *p) {
	struct value *v = value_new_object(&p->a), *list = value_new_array(&p->a);
	for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
		value_push_str(&p->a, list, str_c(versions[i]));
	}
	value_set_key_str(&p->a, v, S("cniVersion"), p->version.len ? p->version : S("1.0.0"));
	value_set_key(&p->a, v, S("supportedVersions"), list);
	return print(p, v, 0);
}

static const char *text_of(struct plugin_call *p, const char *key) {
	struct str s = value_as_str(get(p->conf, key));
	return s.len ? arena_cstr(&p->a, s) : NULL;
}

static bool conf_take(struct plugin_call *p, struct err *err) {
	struct ip_range cidr;
	struct str subnet = value_as_str(get(p->conf, "subnet"));
	p->net.state_dir = text_of(p, "stateDir");
	p->net.bridge = text_of(p, "bridge");
	p->net.cluster_cidr = text_of(p, "clusterCIDR");
	p->net.mtu = (int)value_as_int(get(p->conf, "mtu"));
	p->net.bridge = p->net.bridge ? p->net.bridge : "cor0";
	if (!p->net.state_dir) {
		return err_set(err, ERR_INVALID, "stateDir is missing in the network configuration");
	}
	if (p->net.cluster_cidr && !ip_range_parse(str_c(p->net.cluster_cidr), &cidr, err)) {
		return err_wrap(err, "clusterCIDR");
	}
	if (p->net.mtu < 0 || p->net.mtu > 65535) {
		return err_set(err, ERR_INVALID, "mtu %d is out of range", p->net.mtu);
	}
	const struct value *ports = get(get(p->conf, "runtimeConfig"), "portMappings");
	p->ports = arena_array(&p->a, struct cni_port, value_len(ports));
	VALUE_EACH(ports, m) {
		int64_t host = value_as_int(get(m, "hostPort")), container = value_as_int(get(m, "containerPort"));
		if (host < 1 || host > 65535 || container < 1 || container > 65535) {
			return err_set(err, ERR_INVALID, "a port mapping's port is out of range");
		}
		p->ports[p->ports_len++] = (struct cni_port){ .host_port = (int)host, .container_port = (int)container,
			.protocol = arena_cstr(&p->a, value_as_str(get(m, "protocol"))), .host_ip = arena_cstr(&p->a, value_as_str(get(m, "hostIP"))) };
	}
	return !subnet.len || ip_range_parse(subnet, &p->net.range, err);
}

static void result_print(struct plugin_call *p, const struct pod_link *l, struct value *v) {
	struct arena *a = &p->a;
	char mac[18], ip[IP_TEXT_MAX], gateway[IP_TEXT_MAX];
	bool old = !str_eq(p->version, S("1.0.0")) && !str_eq(p->version, S("1.1.0"));
	struct value *links = value_new_array(a), *ips = value_new_array(a), *routes = value_new_array(a);
	const char *const names[] = { p->net.bridge, l->veth, p->ifname };

	ip_text(l->address, ip);
	ip_text(ip_range_gateway(&p->net.range), gateway);
	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", l->mac[0], l->mac[1], l->mac[2], l->mac[3], l->mac[4], l->mac[5]);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct value *link = value_new_object(a);
		value_set_key_str(a, link, S("name"), str_c(names[i]));
		if (i == 2) {
			value_set_key_str(a, link, S("mac"), str_c(mac));
			value_set_key_str(a, link, S("sandbox"), str_c(p->netns));
		}
		value_push(a, links, link);
	}
	struct value *address = value_new_object(a);
	if (old) {
		value_set_key_str(a, address, S("version"), S("4"));
	}
	value_set_key_str(a, address, S("address"), arena_printf(a, "%s/32", ip));
	value_set_key_str(a, address, S("gateway"), str_c(gateway));
	value_set_key(a, address, S("interface"), value_new_int(a, 2));
	value_push(a, ips, address);
	struct value *route = value_new_object(a);
	value_set_key_str(a, route, S("dst"), S("0.0.0.0/0"));
	value_set_key_str(a, route, S("gw"), str_c(gateway));
	value_push(a, routes, route);
	value_set_key_str(a, v, S("cniVersion"), p->version);
	value_set_key(a, v, S("interfaces"), links);
	value_set_key(a, v, S("ips"), ips);
	value_set_key(a, v, S("routes"), routes);
	value_set_key(a, v, S("dns"), value_new_object(a));
}

/* The bridge and the tables may not be there yet, or be those of the daemon: then they stay as they are. */
static bool node_ready(struct plugin_call *p, struct err *err) {
	auto_nl struct nl nl = { .fd = -1 };
	struct nl_link bridge;
	if (!nl_open(&nl, err)) {
		return false;
	}
	p->net.mtu = p->net.mtu ? p->net.mtu : pod_net_mtu(&nl);
	if (nl_link_get(&nl, p->net.bridge, &bridge, err)) {
		return true;
	}
	if (err->code != ERR_NOT_FOUND) {
		return false;
	}
	err_clear(err);
	return pod_net_make(&p->net, err);
}

static int plugin_add(struct plugin_call *p) {
	struct err err = { 0 };
	struct pod_link l;
	struct value *v = value_new_object(&p->a);
	if (!value_as_str(get(p->conf, "subnet")).len) {
		return fail(p, CNI_CONFIG, "subnet is missing in the network configuration", NULL);
	}
	if (!node_ready(p, &err) || !pod_link_add(&p->net, p->key, p->netns, p->ifname, p->ports, p->ports_len, &p->a, &l, &err)) {
		return fail_err(p, &err);
	}
	result_print(p, &l, v);
	return print(p, v, 0);
}

static int plugin_del(struct plugin_call *p) {
	struct err err = { 0 };
	return pod_link_del(p->net.state_dir, p->net.bridge, p->key, &err) ? 0 : fail_err(p, &err);
}

struct check_addr {
	int index;
	struct in_addr want;
	bool found;
};

static void check_addr(void *arg, const struct nl_addr *a) {
	struct check_addr *c = arg;
	c->found |= a->index == c->index && a->addr.s_addr == c->want.s_addr;
}

static int plugin_check(struct plugin_call *p) {
	auto_nl struct nl nl = { .fd = -1 }, in = { .fd = -1 };
	struct err err = { 0 };
	struct pod_link l;
	struct nl_link host, eth;
	if (!pod_link_read(p->net.state_dir, p->key, &p->a, &l, &err) || !nl_open(&nl, &err) || !nl_open_in(p->netns, &in, &err) ||
		!nl_link_get(&nl, l.veth, &host, &err) || !nl_link_get(&in, p->ifname, &eth, &err)) {
		return fail_err(p, &err);
	}
	struct check_addr c = { eth.index, l.address, false };
	if (!nl_addr_each(&in, check_addr, &c, &err)) {
		return fail_err(p, &err);
	}
	if (!c.found || !(eth.flags & IFF_UP) || !(host.flags & IFF_UP)) {
		return fail(p, CNI_FAILED, "the interface lacks its address or is down", p->ifname);
	}
	return 0;
}

static bool attachment_valid(void *arg, struct str key) {
	struct value *list = arg;
	struct str id, ifname;
	if (!str_cut(key, '@', &id, &ifname)) {
		ifname = S("eth0");
	}
	VALUE_EACH(list, v) {
		if (str_eq(value_as_str(get(v, "containerID")), id) && str_eq(value_as_str(get(v, "ifname")), ifname)) {
			return true;
		}
	}
	return false;
}

static int plugin_gc(struct plugin_call *p) {
	struct err err = { 0 };
	struct value *list = get(p->conf, "cni.dev/valid-attachments");
	if (list && !value_is(list, VALUE_ARRAY)) {
		return fail(p, CNI_CONFIG, "cni.dev/valid-attachments is no list", NULL);
	}
	return pod_link_keep_only(p->net.state_dir, p->net.bridge, attachment_valid, list, &err) ? 0 : fail_err(p, &err);
}

static int plugin_status(struct plugin_call *p) {
	if (!value_as_str(get(p->conf, "subnet")).len) {
		return fail(p, CNI_UNAVAILABLE, "no subnet yet", NULL);
	}
	return 0;
}

static const struct command {
	const char *name;
	bool needs_id, needs_netns;
	int (*run)(struct plugin_call *p);
} commands[] = {
	{ "ADD",    true,  true,  plugin_add },
	{ "DEL",    true,  false, plugin_del },
	{ "CHECK",  true,  true,  plugin_check },
	{ "GC",     false, false, plugin_gc },
	{ "STATUS", false, false, plugin_status },
};

static bool stdin_read(struct buf *b) {
	for (;;) {
		char *at = buf_reserve(b, 65536);
		ssize_t n = at ? read(0, at, 65536) : -1;
		if (n <= 0) {
			return n == 0;
		}
		b->len += (size_t)n;
	}
}

static int plugin_run(struct plugin_call *p) {
	auto_buf struct buf in = BUF_INIT(CONF_BYTES_MAX);
	const struct command *c = NULL;
	struct err err = { 0 };

	p->command = getenv("CNI_COMMAND");
	p->id = getenv("CNI_CONTAINERID");
	p->netns = getenv("CNI_NETNS");
	p->ifname = getenv("CNI_IFNAME");
	for (size_t i = 0; p->command && i < ARRAY_LEN(commands); i++) {
		c = strcmp(p->command, commands[i].name) == 0 ? &commands[i] : c;
	}
	bool version = p->command && strcmp(p->command, "VERSION") == 0;
	if (!c && !version) {
		return fail(p, CNI_ENVIRONMENT, p->command ? "unknown CNI_COMMAND" : "required env variables [CNI_COMMAND] missing", p->command);
	}
	if (!stdin_read(&in)) {
		return fail(p, CNI_IO, "the configuration cannot be read", NULL);
	}
	if (!(version && !str_trim(buf_view(&in)).len) && !json_parse(&p->a, arena_str(&p->a, buf_view(&in)), NULL, &p->conf, &err)) {
		return fail(p, CNI_DECODE, err.msg, NULL);
	}
	struct str wanted = value_as_str(get(p->conf, "cniVersion"));
	if (version) {
		p->version = version_known(wanted) ? wanted : S("1.0.0");
		return version_print(p);
	}
	if (!version_known(wanted)) {
		auto_free char *text = str_dup(wanted);
		return fail(p, CNI_VERSION, "incompatible CNI versions", text);
	}
	p->version = wanted;
	if (c->needs_id && !pod_key(p->id, p->ifname, p->key, &err)) {
		return fail(p, CNI_ENVIRONMENT, err.msg, NULL);
	}
	if (c->needs_netns && (!p->netns || !*p->netns)) {
		return fail(p, CNI_ENVIRONMENT, "required env variables [CNI_NETNS] missing", NULL);
	}
	if (!conf_take(p, &err)) {
		return fail(p, CNI_CONFIG, err.msg, err.ctx);
	}
	return c->run(p);
}

int cni_plugin_main(void) {
	struct plugin_call p = { 0 };
	int code = plugin_run(&p);
	arena_release(&p.a);
	return code;
}
