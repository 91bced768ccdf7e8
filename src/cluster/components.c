/* SPDX-License-Identifier: Apache-2.0 */
/*
 * components.c - see components.h. Each command: flags, a client from a kubeconfig, start, wait for a signal,
 * stop. What they share stands once, in `struct component`.
 */
#include "cluster/components.h"

#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "apiserver/apiserver.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/log.h"
#include "client/kubeconfig.h"
#include "cluster/node.h"
#include "cluster/server.h"
#include "controllers/controllers.h"
#include "net/digest.h"
#include "network/network.h"
#include "scheduler/scheduler.h"

struct component {
	const char *name, *about;
	const char *kubeconfig, *levels;
	struct client *client;
	struct arena arena;
};

#define COMPONENT_FLAGS(c) \
	{ "kubeconfig", 0, FLAG_STRING, &(c).kubeconfig, "FILE", "how to reach the API server (must)" }, \
	{ "log-level", 0, FLAG_STRING, &(c).levels, "LEVELS", "error, warn, info or debug, also per component" }

/* Parses; -1 to go on, else the exit code. */
static int begin(struct component *c, const struct flag *flags, int argc, char **argv) {
	struct err err = { 0 };
	bool help;
	c->levels = "info";
	if (!flags_parse(flags, argc, argv, NULL, &help, &err) || !log_set_levels(str_c(c->levels), &err)) {
		fprintf(stderr, "coracle %s: %s\nSee coracle %s --help.\n", c->name, err.msg, c->name);
		return 2;
	}
	if (help) {
		printf("%s\n\nUsage: coracle %s [flags]\n\n", c->about, c->name);
		flags_print(flags);
		return 0;
	}
	mallopt(M_ARENA_MAX, 2);
	signals_block();
	return -1;
}

static bool connect(struct component *c, struct err *err) {
	if (!c->kubeconfig) {
		return err_set(err, ERR_BAD_REQUEST, "--kubeconfig FILE is needed: it says where the API server is and who we are");
	}
	return client_new_kubeconfig(c->kubeconfig, NULL, &c->client, err);
}

/* Waits when it runs; tells why when it does not. Returns the exit code. */
static int run(struct component *c, bool ok, const struct err *err) {
	if (ok) {
		log_info(c->name, "ready");
		signals_wait();
		log_info(c->name, "stopping");
	} else {
		fprintf(stderr, "coracle %s: %s%s%s\n", c->name, err->ctx, err->ctx[0] ? ": " : "", err->msg);
	}
	return ok ? 0 : 1;
}

static void end(struct component *c) {
	if (c->client) {
		client_free(c->client);
	}
	arena_release(&c->arena);
}

static bool read_file(struct component *c, const char *path, struct str *ret, struct err *err) {
	auto_buf struct buf b = BUF_INIT(1 << 20);
	*ret = (struct str){ 0 };
	if (!path) {
		return true;
	}
	if (!file_read(path, &b, err)) {
		return false;
	}
	*ret = arena_str(&c->arena, buf_view(&b));
	return true;
}

int cmd_apiserver(int argc, char **argv) {
	struct component c = { .name = "apiserver", .about = "The API server alone, with its store." };
	struct store_opts so = { 0 };
	struct apiserver_opts o = { 0 };
	struct store *store = NULL;
	struct apiserver *api = NULL;
	struct err err = { 0 };
	const struct flag flags[] = {
		{ "data-dir", 0, FLAG_STRING, &so.dir, "DIR", "of the store (must)" },
		{ "bind-address", 0, FLAG_STRING, &o.bind_address, "IP", "where it listens (default 0.0.0.0)" },
		{ "secure-port", 0, FLAG_INT, &o.port, "PORT", "(default 6443)" },
		{ "tls-cert-file", 0, FLAG_STRING, &o.cert_file, "FILE", "serving certificate (must)" },
		{ "tls-private-key-file", 0, FLAG_STRING, &o.key_file, "FILE", "its key (must)" },
		{ "client-ca-file", 0, FLAG_STRING, &o.client_ca_file, "FILE", "authenticates client certificates" },
		{ "service-account-signing-key-file", 0, FLAG_STRING, &o.sa_key_file, "FILE", "signs service-account tokens (must)" },
		{ "service-account-issuer", 0, FLAG_STRING, &o.sa_issuer, "URL", "issuer in the tokens" },
		{ "token-auth-file", 0, FLAG_STRING, &o.token_file, "FILE", "static tokens, CSV" },
		{ "kubelet-certificate-authority", 0, FLAG_STRING, &o.kubelet_ca_file, "FILE", "verifies kubelets" },
		{ "kubelet-client-certificate", 0, FLAG_STRING, &o.kubelet_cert_file, "FILE", "shown to kubelets" },
		{ "kubelet-client-key", 0, FLAG_STRING, &o.kubelet_key_file, "FILE", "its key" },
		{ "requestheader-client-ca-file", 0, FLAG_STRING, &o.requestheader_ca_file, "FILE", "authenticates front proxies" },
		{ "service-cluster-ip-range", 0, FLAG_STRING, &o.service_cidr, "CIDR", "(default 10.96.0.0/16)" },
		{ "service-node-port-range", 0, FLAG_STRING, &o.node_port_range, "A-B", "(default 30000-32767)" },
		{ "advertise-address", 0, FLAG_STRING, &o.advertise_address, "IP", "in the endpoints of default/kubernetes" },
		{ "authorization-mode", 0, FLAG_STRING, &o.authorization_mode, "MODES", "(default Node,RBAC)" },
		{ "log-level", 0, FLAG_STRING, &c.levels, "LEVELS", "error, warn, info or debug, also per component" },
		{ 0 },
	};
	int code = begin(&c, flags, argc, argv);
	if (code >= 0) {
		return code;
	}
	bool ok = (so.dir && o.cert_file && o.key_file && o.sa_key_file) ||
		err_set(&err, ERR_BAD_REQUEST, "--data-dir, --tls-cert-file, --tls-private-key-file and --service-account-signing-key-file are needed");
	ok = ok && store_open(&so, &store, &err);
	o.store = store;
	ok = ok && apiserver_start(&o, &api, &err);
	code = run(&c, ok, &err);
	if (api) {
		apiserver_stop(api, 2000);
	}
	if (store) {
		store_close(store);
	}
	end(&c);
	return code;
}

int cmd_controller_manager(int argc, char **argv) {
	struct component c = { .name = "controller-manager", .about = "The controllers alone; of several, one works (leader election)." };
	struct controllers_opts o = { .leader_elect = true };
	struct controllers *controllers = NULL;
	const char *root_ca = NULL, *cert = NULL, *key = NULL;
	struct err err = { 0 };
	const struct flag flags[] = {
		COMPONENT_FLAGS(c),
		{ "cluster-cidr", 0, FLAG_STRING, &o.cluster_cidr, "CIDR", "of pods: each node gets a /24" },
		{ "root-ca-file", 0, FLAG_STRING, &root_ca, "FILE", "published as ConfigMap kube-root-ca.crt" },
		{ "cluster-signing-cert-file", 0, FLAG_STRING, &cert, "FILE", "CA that signs certificate requests" },
		{ "cluster-signing-key-file", 0, FLAG_STRING, &key, "FILE", "its key" },
		{ "leader-elect", 0, FLAG_BOOL, &o.leader_elect, NULL, "work only while holding the Lease (default true)" },
		{ 0 },
	};
	int code = begin(&c, flags, argc, argv);
	if (code >= 0) {
		return code;
	}
	bool ok = connect(&c, &err) && read_file(&c, root_ca, &o.root_ca_pem, &err) && read_file(&c, cert, &o.signing_cert_pem, &err) &&
		read_file(&c, key, &o.signing_key_pem, &err);
	o.client = c.client;
	ok = ok && controllers_start(&o, &controllers, &err);
	code = run(&c, ok, &err);
	if (controllers) {
		controllers_stop(controllers);
	}
	end(&c);
	return code;
}

int cmd_scheduler(int argc, char **argv) {
	struct component c = { .name = "scheduler", .about = "The scheduler alone; of several, one works (leader election)." };
	struct scheduler_opts o = { .leader_elect = true };
	struct scheduler *scheduler = NULL;
	struct err err = { 0 };
	const struct flag flags[] = {
		COMPONENT_FLAGS(c),
		{ "leader-elect", 0, FLAG_BOOL, &o.leader_elect, NULL, "work only while holding the Lease (default true)" },
		{ 0 },
	};
	int code = begin(&c, flags, argc, argv);
	if (code >= 0) {
		return code;
	}
	bool ok = connect(&c, &err);
	o.client = c.client;
	ok = ok && scheduler_start(&o, &scheduler, &err);
	code = run(&c, ok, &err);
	if (scheduler) {
		scheduler_stop(scheduler);
	}
	end(&c);
	return code;
}

int cmd_kubelet(int argc, char **argv) {
	struct component c = { .name = "kubelet", .about = "One node's kubelet, runtime and pod network, without the Service proxy." };
	struct node_opts o = { .overlay = "auto", .no_proxy = true, .data_dir = "/var/lib/coracle-kubelet", .kubelet_port = 10250, .domain = "cluster.local" };
	struct flag_list labels = { 0 }, taints = { 0 }, insecure = { 0 };
	struct node *node = NULL;
	char ip[64], host[256] = "";
	struct err err = { 0 };
	const struct flag flags[] = {
		COMPONENT_FLAGS(c),
		{ "hostname-override", 0, FLAG_STRING, &o.name, "NAME", "node name (default the host name)" },
		{ "node-ip", 0, FLAG_STRING, &o.ip, "IP", "(default that of the default route)" },
		{ "root-dir", 0, FLAG_STRING, &o.data_dir, "DIR", "pods, images, logs" },
		{ "run-dir", 0, FLAG_STRING, &o.run_dir, "DIR", "what runs now (default below /run/coracle)" },
		{ "id", 0, FLAG_STRING, &o.id, "HEX", "eight hex digits that links and cgroups carry (default from the folder)" },
		{ "port", 0, FLAG_INT, &o.kubelet_port, "PORT", "of the kubelet API" },
		{ "tls-cert-file", 0, FLAG_STRING, &o.cert_file, "FILE", "serving certificate" },
		{ "tls-private-key-file", 0, FLAG_STRING, &o.key_file, "FILE", "its key" },
		{ "client-ca-file", 0, FLAG_STRING, &o.client_ca_file, "FILE", "authenticates callers" },
		{ "cluster-cidr", 0, FLAG_STRING, &o.cluster_cidr, "CIDR", "of pods" },
		{ "cluster-dns", 0, FLAG_STRING, &o.dns_ip, "IP", "name server of pods" },
		{ "cluster-domain", 0, FLAG_STRING, &o.domain, "NAME", "" },
		{ "node-labels", 0, FLAG_LIST, &labels, "K=V,...", "set when the node registers" },
		{ "register-with-taints", 0, FLAG_LIST, &taints, "K=V:E,...", "set when the node registers" },
		{ "insecure-registry", 0, FLAG_LIST, &insecure, "HOST,...", "registries that speak plain HTTP" },
		{ "cni-conf-dir", 0, FLAG_STRING, &o.cni_conf_dir, "DIR", "external CNI plugins instead of ours" },
		{ "cni-bin-dir", 0, FLAG_STRING, &o.cni_bin_dir, "DIR", "where they are" },
		{ 0 },
	};
	int code = begin(&c, flags, argc, argv);
	if (code >= 0) {
		return code;
	}
	gethostname(host, sizeof(host) - 1);
	o.name = o.name ? o.name : host;
	o.ip = o.ip ? o.ip : machine_ip(ip) ? ip : NULL;
	o.labels = labels.len ? labels.at : NULL;
	o.taints = taints.len ? taints.at : NULL;
	o.insecure_registries = insecure.len ? insecure.at : NULL;
	if (!o.id) {
		char hex[SHA256_HEX];
		sha256_hex(str_c(o.data_dir), hex);
		o.id = arena_cstr(&c.arena, (struct str){ hex, 8 });
	}
	o.run_dir = o.run_dir ? o.run_dir : arena_printf(&c.arena, "/run/coracle/%s", o.id).ptr;
	bool ok = geteuid() == 0 || err_set(&err, ERR_FORBIDDEN, "must run as root: it makes namespaces, mounts and network links");
	ok = ok && (o.ip || err_set(&err, ERR_UNAVAILABLE, "this machine has no address but loopback: name one with --node-ip")) && connect(&c, &err);
	o.kubelet_client = c.client;
	ok = ok && cluster_node_start(&o, &node, &err);
	code = run(&c, ok, &err);
	cluster_node_stop(node);
	end(&c);
	return code;
}

int cmd_proxy(int argc, char **argv) {
	struct component c = { .name = "proxy", .about = "The Service proxy alone: Services as nftables maps of this node." };
	struct proxy_opts o = { .table = "coracle" };
	struct proxy *proxy = NULL;
	char host[256] = "";
	bool cleanup = false;
	struct err err = { 0 };
	const struct flag flags[] = {
		COMPONENT_FLAGS(c),
		{ "hostname-override", 0, FLAG_STRING, &o.node_name, "NAME", "node name (default the host name)" },
		{ "cluster-cidr", 0, FLAG_STRING, &o.cluster_cidr, "CIDR", "of pods" },
		{ "table", 0, FLAG_STRING, &o.table, "NAME", "nftables table" },
		{ "bridge", 0, FLAG_STRING, &o.bridge, "LINK", "bridge of the node's pods" },
		{ "cleanup", 0, FLAG_BOOL, &cleanup, NULL, "remove the table at the end" },
		{ 0 },
	};
	int code = begin(&c, flags, argc, argv);
	if (code >= 0) {
		return code;
	}
	gethostname(host, sizeof(host) - 1);
	o.node_name = o.node_name ? o.node_name : host;
	bool ok = connect(&c, &err);
	o.client = c.client;
	ok = ok && proxy_start(&o, &proxy, &err);
	code = run(&c, ok, &err);
	if (proxy) {
		proxy_stop(proxy, cleanup);
	}
	end(&c);
	return code;
}

int cmd_dns(int argc, char **argv) {
	struct component c = { .name = "dns", .about = "Cluster DNS alone." };
	struct dns_opts o = { .bind_address = "0.0.0.0", .port = 53, .domain = "cluster.local" };
	struct flag_list forward = { 0 };
	struct dns *dns = NULL;
	struct err err = { 0 };
	const struct flag flags[] = {
		COMPONENT_FLAGS(c),
		{ "bind-address", 0, FLAG_STRING, &o.bind_address, "IP", "where it listens" },
		{ "port", 0, FLAG_INT, &o.port, "PORT", "UDP and TCP" },
		{ "domain", 0, FLAG_STRING, &o.domain, "NAME", "of the cluster" },
		{ "forward", 0, FLAG_LIST, &forward, "IP:PORT,...", "name servers for other names (default none)" },
		{ 0 },
	};
	int code = begin(&c, flags, argc, argv);
	if (code >= 0) {
		return code;
	}
	o.forward = forward.len ? forward.at : NULL;
	bool ok = connect(&c, &err);
	o.client = c.client;
	ok = ok && dns_start(&o, &dns, &err);
	code = run(&c, ok, &err);
	if (dns) {
		dns_stop(dns);
	}
	end(&c);
	return code;
}

int cmd_cni(int argc, char **argv) {
	return cni_plugin_main();
}
