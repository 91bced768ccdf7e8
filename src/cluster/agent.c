/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent.c - `coracle agent`: one more node. The first start trades the join token for certificates of
 * its own: it reads kube-public/cluster-info without trust, checks the CA in it against the hash in the
 * token, then asks for its client and serving certificates through the certificates API. Later starts need
 * the token no more.
 */
#include "cluster/agent.h"

#include <malloc.h>
#include <unistd.h>

#include "base/file.h"
#include "base/flags.h"
#include "base/log.h"
#include "cluster/node.h"
#include "cluster/server.h"
#include "net/cert.h"
#include "net/client.h"
#include "net/digest.h"

struct agent {
	struct arena arena;
	const char *server, *token, *node_name, *node_ip, *data_dir, *run_dir, *id;
	const char *cluster_cidr, *dns_ip, *domain;
};

static const char *path(struct agent *g, const char *file) {
	return arena_printf(&g->arena, "%s/%s", g->data_dir, file).ptr;
}

static bool read_all(struct agent *g, const char *file, struct str *ret, struct err *err) {
	auto_buf struct buf b = BUF_INIT(1 << 20);
	if (!file_read(path(g, file), &b, err)) {
		return false;
	}
	*ret = arena_str(&g->arena, buf_view(&b));
	return true;
}

/* "K<sha256 of the CA>::<id>.<secret>"; the hash may be missing ("<id>.<secret>"): then the CA is taken on trust, with a warning. */
static bool token_split(struct agent *g, struct str *ret_hash, struct str *ret_token, struct err *err) {
	struct str t = str_c(g->token);
	ptrdiff_t at = str_find(t, S("::"));
	*ret_hash = (struct str){ 0 };
	*ret_token = t;
	if (at > 1 && t.ptr[0] == 'K') {
		*ret_hash = str_sub(t, 1, (size_t)at);
		*ret_token = str_from(t, (size_t)at + 2);
	}
	struct str a, b;
	if (!str_cut(*ret_token, '.', &a, &b) || a.len != 6 || b.len != 16 || (at > 0 && ret_hash->len != 64)) {
		return err_set(err, ERR_BAD_REQUEST, "the join token is malformed: it looks like K<64 hex digits>::<6>.<16> (get one with `coracle token`)");
	}
	return true;
}

/* Fetches the CA and the cluster's address ranges. */
static bool discover(struct agent *g, struct str hash, struct err *err) {
	struct http_client *http;
	struct http_client_opts o = { .base = str_c(g->server), .tls = { .insecure = true }, .user_agent = S("coracle-agent") };
	struct http_response r = { 0 };
	struct value *v, *kc, *net;
	struct str ca;
	bool ok = false;
	if (!http_client_new(&o, &http, err)) {
		return false;
	}
	struct http_request rq = { .url = S("/api/v1/namespaces/kube-public/configmaps/cluster-info"), .timeout = 10 * NSEC_PER_SEC };
	if (!http_do(http, &rq, &r, err)) {
		goto out;
	}
	if (r.status != 200) {
		err_set(err, ERR_UNAVAILABLE, "%s does not tell its cluster-info (HTTP %d)", g->server, r.status);
		goto out;
	}
	if (!json_parse(&g->arena, arena_str(&g->arena, r.body), NULL, &v, err)) {
		goto out;
	}
	struct str kubeconfig = value_as_str(value_get_str(value_get(v, N_data), S("kubeconfig")));
	struct str network = value_as_str(value_get_str(value_get(v, N_data), S("coracle.network")));
	if (!yaml_parse(&g->arena, kubeconfig, NULL, &kc, err)) {
		goto out;
	}
	struct value *cluster = value_get(value_item(value_get(kc, N_clusters), 0), N_cluster);
	struct cert_identity id;
	if (!base64_decode(&g->arena, value_as_str(value_get_str(cluster, S("certificate-authority-data"))), &ca) ||
		!cert_parse(ca, &g->arena, &id, err)) {
		err_set(err, ERR_INVALID, "cluster-info of %s holds no certificate authority", g->server);
		goto out;
	}
	if (hash.len && !str_eq(hash, id.fingerprint)) {
		err_set(err, ERR_UNAUTHORIZED, "%s is not the cluster of this token: its CA has sha256 %.*s, the token says %.*s", g->server,
			STR_ARG(id.fingerprint), STR_ARG(hash));
		goto out;
	}
	if (!hash.len) {
		log_warn("agent", "the token names no CA: trusting the one that answered", kv_str("sha256", id.fingerprint));
	}
	if (network.len && !json_parse(&g->arena, network, NULL, &net, err)) {
		goto out;
	}
	ok = file_write(path(g, "ca.crt"), ca, 0644, err) && file_write(path(g, "network.json"), network.len ? network : S("{}"), 0644, err);
out:
	http_response_release(&r);
	http_client_free(http);
	return ok;
}

/* Asks for one certificate and waits until it is signed. */
static bool certify(struct agent *g, struct client *c, const char *file, struct str signer, const char *usage, bool server_names, struct err *err) {
	struct arena *a = &g->arena;
	struct str key, csr, org = S("system:nodes"), dns = str_c(g->node_name), ip = str_c(g->node_ip);
	struct cert_opts o = { .common_name = arena_printf(a, "system:node:%s", g->node_name), .organizations = &org, .organizations_len = 1,
		.dns = &dns, .dns_len = server_names, .ips = &ip, .ips_len = server_names };
	if (!key_new(KEY_EC_P256, a, &key, err) || !csr_new(key, &o, a, &csr, err)) {
		return false;
	}
	struct value *v = value_new_object(a);
	value_set_str(a, v, N_apiVersion, S("certificates.k8s.io/v1"));
	value_set_str(a, v, N_kind, S("CertificateSigningRequest"));
	struct value *meta = value_ensure_object(a, v, N_metadata);
	value_set_str(a, meta, N_generateName, S("node-csr-"));
	struct value *spec = value_ensure_object(a, v, N_spec);
	value_set_str(a, spec, N_request, base64_encode(a, csr));
	value_set_str(a, spec, N_signerName, signer);
	struct value *usages = value_ensure_array(a, spec, N_usages);
	value_push_str(a, usages, S("digital signature"));
	value_push_str(a, usages, str_c(usage));
	auto_obj struct obj *made = NULL;
	struct gvr gvr = GVR("certificates.k8s.io", "v1", "certificatesigningrequests");
	if (!client_create(c, gvr, S(""), v, &made, err)) {
		return false;
	}
	nsec_t end = clock_mono() + 60 * NSEC_PER_SEC;
	for (nsec_t pause = 10 * NSEC_PER_MSEC; clock_mono() < end; pause = MIN(pause * 2, NSEC_PER_SEC)) {
		auto_obj struct obj *now = NULL;
		struct str cert;
		if (!client_get(c, gvr, S(""), value_str_at(made->root, N_metadata, N_name), &now, err)) {
			return false;
		}
		struct str text = value_str_at(now->root, N_status, N_certificate);
		if (text.len) {
			return (base64_decode(a, text, &cert) || err_set(err, ERR_INVALID, "the signed certificate is not base64")) &&
				file_write(path(g, arena_printf(a, "%s.key", file).ptr), key, 0600, err) &&
				file_write(path(g, arena_printf(a, "%s.crt", file).ptr), cert, 0644, err);
		}
		VALUE_EACH(value_at(now->root, N_status, N_conditions), cond) {
			struct str type = value_str_at(cond, N_type);
			if (str_eq(type, S("Denied")) || str_eq(type, S("Failed"))) {
				return err_set(err, ERR_FORBIDDEN, "the certificate request was %.*s: %.*s", STR_ARG(type), STR_ARG(value_str_at(cond, N_message)));
			}
		}
		clock_sleep(pause);
	}
	return err_set(err, ERR_TIMEOUT, "nobody signed the certificate request %.*s within a minute: see `kubectl get csr`",
		STR_ARG(value_str_at(made->root, N_metadata, N_name)));
}

static bool fresh(struct agent *g, const char *file) {
	struct str pem;
	struct cert_identity id;
	struct err err = { 0 };
	return read_all(g, arena_printf(&g->arena, "%s.crt", file).ptr, &pem, &err) && cert_parse(pem, &g->arena, &id, &err) &&
		id.not_after - clock_wall() > (id.not_after - id.not_before) / 3;
}

static bool join(struct agent *g, struct err *err) {
	struct str hash, token, ca;
	struct client *c;
	if (fresh(g, "kubelet-client") && fresh(g, "kubelet") && file_exists(path(g, "ca.crt"))) {
		return true;
	}
	if (!g->token) {
		return err_set(err, ERR_BAD_REQUEST, "the first start needs --token (get one with `coracle token` on a machine of the cluster)");
	}
	if (!token_split(g, &hash, &token, err) || !discover(g, hash, err) || !read_all(g, "ca.crt", &ca, err)) {
		return false;
	}
	if (!client_new_https(&(struct client_https_opts){ .server = g->server, .ca_pem = ca, .token = token, .user_agent = "coracle-agent" }, &c, err)) {
		return false;
	}
	bool ok = certify(g, c, "kubelet-client", S("kubernetes.io/kube-apiserver-client-kubelet"), "client auth", false, err);
	client_free(c);
	if (!ok) {
		return false;
	}
	/* The serving certificate is asked for as the node itself. */
	if (!client_new_https(&(struct client_https_opts){ .server = g->server, .ca_pem = ca, .cert_file = path(g, "kubelet-client.crt"),
		.key_file = path(g, "kubelet-client.key"), .user_agent = "coracle-agent" }, &c, err)) {
		return false;
	}
	ok = certify(g, c, "kubelet", S("kubernetes.io/kubelet-serving"), "server auth", true, err);
	client_free(c);
	return ok;
}

static bool network_load(struct agent *g, struct err *err) {
	struct str text;
	struct value *v;
	if (!read_all(g, "network.json", &text, err) || !json_parse(&g->arena, text, NULL, &v, err)) {
		return false;
	}
	struct { const char *key, **into, *def; } rows[] = {
		{ "clusterCIDR", &g->cluster_cidr, "10.244.0.0/16" },
		{ "clusterDNS", &g->dns_ip, "10.96.0.10" },
		{ "clusterDomain", &g->domain, "cluster.local" },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct str s = value_as_str(value_get_str(v, str_c(rows[i].key)));
		*rows[i].into = s.len ? arena_cstr(&g->arena, s) : rows[i].def;
	}
	return true;
}

static bool start(struct agent *g, struct client **ret_client, struct node **ret, struct err *err) {
	if (!dir_make(g->data_dir, 0700, err) || !dir_make(g->run_dir, 0755, err)) {
		return false;
	}
	/* The server may still be starting, or the network be slow: try for two minutes. */
	nsec_t end = clock_mono() + 120 * NSEC_PER_SEC;
	for (nsec_t pause = 100 * NSEC_PER_MSEC; !join(g, err); pause = MIN(pause * 2, 5 * NSEC_PER_SEC)) {
		if ((err->code != ERR_UNAVAILABLE && err->code != ERR_TIMEOUT && err->code != ERR_NOT_FOUND) || clock_mono() > end) {
			return false;
		}
		log_warn("agent", "cannot join yet", kv_err(err));
		clock_sleep(pause);
	}
	struct client_https_opts co = { .server = g->server, .ca_file = path(g, "ca.crt"), .cert_file = path(g, "kubelet-client.crt"),
		.key_file = path(g, "kubelet-client.key"), .user_agent = "coracle-agent" };
	if (!network_load(g, err) || !client_new_https(&co, ret_client, err)) {
		return false;
	}
	struct node_opts no = {
		.kubelet_client = *ret_client,
		.proxy_client = *ret_client,
		.name = g->node_name,
		.ip = g->node_ip,
		.data_dir = path(g, "node"),
		.run_dir = g->run_dir,
		.id = g->id,
		.cluster_cidr = g->cluster_cidr,
		.dns_ip = g->dns_ip,
		.domain = g->domain,
		.cert_file = path(g, "kubelet.crt"),
		.key_file = path(g, "kubelet.key"),
		.client_ca_file = path(g, "ca.crt"),
		.overlay = "auto",
	};
	return cluster_node_start(&no, ret, err);
}

int cmd_agent(int argc, char **argv) {
	struct agent g = { .data_dir = "/var/lib/coracle-agent" };
	const char *levels = "info";
	struct client *client = NULL;
	struct node *node = NULL;
	char ip[64], host[256] = "";
	bool help;
	struct err err = { 0 };
	const struct flag flags[] = {
		{ "server", 0, FLAG_STRING, &g.server, "URL", "of the API server, https://host:6443" },
		{ "token", 0, FLAG_STRING, &g.token, "TOKEN", "from `coracle token`; needed at the first start only" },
		{ "node-name", 0, FLAG_STRING, &g.node_name, "NAME", "of this node (default the host name)" },
		{ "node-ip", 0, FLAG_STRING, &g.node_ip, "IP", "of this node (default that of the default route)" },
		{ "data-dir", 0, FLAG_STRING, &g.data_dir, "DIR", "certificates, images, pods" },
		{ "run-dir", 0, FLAG_STRING, &g.run_dir, "DIR", "what runs now (default below /run/coracle)" },
		{ "id", 0, FLAG_STRING, &g.id, "HEX", "eight hex digits that links and cgroups carry (default from the data folder)" },
		{ "log-level", 0, FLAG_STRING, &levels, "LEVELS", "error, warn, info or debug, also per component" },
		{ 0 },
	};
	if (!flags_parse(flags, argc, argv, NULL, &help, &err) || !log_set_levels(str_c(levels), &err)) {
		fprintf(stderr, "coracle agent: %s\nSee coracle agent --help.\n", err.msg);
		return 2;
	}
	if (help || !g.server) {
		printf("Makes this machine a node of a cluster. On a machine of the cluster, `coracle token` prints the\n"
		       "whole command.\n\nUsage: coracle agent --server URL --token TOKEN [flags]\n\n");
		flags_print(flags);
		return help ? 0 : 2;
	}
	if (geteuid() != 0) {
		fprintf(stderr, "coracle agent: must run as root: it makes namespaces, mounts and network links (try sudo)\n");
		return 1;
	}
	mallopt(M_ARENA_MAX, 2);
	signals_block();
	gethostname(host, sizeof(host) - 1);
	g.node_name = g.node_name ? g.node_name : host;
	g.node_ip = g.node_ip ? g.node_ip : machine_ip(ip) ? ip : NULL;
	if (!g.id) {
		char hex[SHA256_HEX];
		sha256_hex(str_c(g.data_dir), hex);
		g.id = arena_cstr(&g.arena, (struct str){ hex, 8 });
	}
	g.run_dir = g.run_dir ? g.run_dir : arena_printf(&g.arena, "/run/coracle/%s", g.id).ptr;
	bool ok = g.node_ip || err_set(&err, ERR_UNAVAILABLE, "this machine has no address but loopback: name one with --node-ip");
	ok = ok && start(&g, &client, &node, &err);
	if (ok) {
		log_info("agent", "ready", kv_c("node", g.node_name), kv_c("server", g.server));
		signals_wait();
	} else {
		log_error("agent", "cannot start", kv_err(&err));
	}
	cluster_node_stop(node);
	if (client) {
		client_free(client);
	}
	arena_release(&g.arena);
	return ok ? 0 : 1;
}
