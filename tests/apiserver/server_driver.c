/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_driver.c - a store and an API server alone, with certificates made on the spot, for tests that drive it with real clients.
 *
 *     server_driver DIR [--authorization-mode M] [--no-sync] [--keep-data]
 *
 * Writes DIR/kubeconfig (system:masters), DIR/ca.crt and DIR/token, prints "ready PORT" and runs until its stdin ends
 * or it is told to stop. The default service account of each namespace is made by a thread here, since no controller runs.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apiserver/apiserver.h"
#include "base/file.h"
#include "base/log.h"
#include "net/net.h"

static bool make_cert(const char *dir, const char *name, const struct cert_opts *o, struct arena *a, struct str *ret_cert, struct str *ret_key, struct err *err) {
	struct str key, cert;

	if (!key_new(KEY_EC_P256, a, &key, err) || !cert_new(key, o, a, &cert, err)) {
		return false;
	}
	*ret_cert = cert;
	*ret_key = key;
	return file_write(arena_printf(a, "%s/%s.crt", dir, name).ptr, cert, 0644, err) && file_write(arena_printf(a, "%s/%s.key", dir, name).ptr, key, 0600, err);
}

static bool make_all(const char *dir, struct arena *a, struct err *err) {
	static const struct str masters[] = { S_INIT("system:masters") }, names[] = { S_INIT("localhost"), S_INIT("kubernetes") }, ips[] = { S_INIT("127.0.0.1") };
	struct str ca, ca_key, cert, key, sa;
	struct cert_opts o = { .common_name = S("test-ca"), .usage = CERT_CA };

	if (file_exists(arena_printf(a, "%s/sa.key", dir).ptr)) {
		return true;
	}
	if (!make_cert(dir, "ca", &o, a, &ca, &ca_key, err)) {
		return false;
	}
	o = (struct cert_opts){ .common_name = S("kube-apiserver"), .usage = CERT_SERVER, .dns = names, .dns_len = 2, .ips = ips, .ips_len = 1, .ca_cert_pem = ca,
		.ca_key_pem = ca_key };
	if (!make_cert(dir, "server", &o, a, &cert, &key, err)) {
		return false;
	}
	o = (struct cert_opts){ .common_name = S("admin"), .usage = CERT_CLIENT, .organizations = masters, .organizations_len = 1, .ca_cert_pem = ca,
		.ca_key_pem = ca_key };
	if (!make_cert(dir, "admin", &o, a, &cert, &key, err)) {
		return false;
	}
	return key_new(KEY_RSA_2048, a, &sa, err) && file_write(arena_printf(a, "%s/sa.key", dir).ptr, sa, 0600, err);
}

static bool write_kubeconfig(const char *dir, int port, struct arena *a, struct err *err) {
	struct str text = arena_printf(a,
		"apiVersion: v1\nkind: Config\ncurrent-context: t\nclusters: [{name: t, cluster: {server: \"https://127.0.0.1:%d\", certificate-authority: %s/ca.crt}}]\n"
		"users: [{name: t, user: {client-certificate: %s/admin.crt, client-key: %s/admin.key}}]\n"
		"contexts: [{name: t, context: {cluster: t, user: t}}]\n",
		port, dir, dir, dir);

	return file_write(arena_printf(a, "%s/kubeconfig", dir).ptr, text, 0600, err);
}

/* What the service account and root CA controllers would do. */
static bool stopping;

static void *keep_accounts(void *arg) {
	static const char *const groups[] = { "system:masters", NULL };
	struct client *c = client_new(apiserver_transport(arg, "driver", groups));

	while (!__atomic_load_n(&stopping, __ATOMIC_SEQ_CST)) {
		struct client_list l = { 0 };
		struct err err = { 0 };
		if (client_list(c, GVR_NAMESPACES, S(""), S(""), &l, &err)) {
			for (size_t i = 0; i < l.len; i++) {
				struct str ns = value_str_at(l.at[i]->root, N_metadata, N_name);
				auto_obj struct obj *sa = NULL;
				auto_arena struct arena a = { 0 };
				if (client_get(c, GVR_SERVICEACCOUNTS, ns, S("default"), &sa, &err)) {
					continue;
				}
				err_clear(&err);
				struct value *o = value_new_object(&a);
				value_set_str(&a, o, N_apiVersion, S("v1"));
				value_set_str(&a, o, N_kind, S("ServiceAccount"));
				value_set_str(&a, value_ensure_object(&a, o, N_metadata), N_name, S("default"));
				(void)!client_create(c, GVR_SERVICEACCOUNTS, ns, o, NULL, &err);
				err_clear(&err);
			}
			client_list_release(&l);
		}
		clock_sleep(20 * NSEC_PER_MSEC);
	}
	client_free(c);
	return NULL;
}

static void on_signal(int sig) {
	(void)!write(STDOUT_FILENO, "", 0);
	close(STDIN_FILENO);
}

int main(int argc, char **argv) {
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct store *store = NULL;
	struct apiserver *s = NULL;
	bool no_sync = false, keep = false;
	const char *dir = argc > 1 ? argv[1] : NULL, *mode = "Node,RBAC";
	char line[16];

	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "--no-sync") == 0) {
			no_sync = true;
		} else if (strcmp(argv[i], "--keep-data") == 0) {
			keep = true;
		} else if (strcmp(argv[i], "--authorization-mode") == 0 && i + 1 < argc) {
			mode = argv[++i];
		}
	}
	if (!dir) {
		fprintf(stderr, "usage: server_driver DIR [--authorization-mode M] [--no-sync] [--keep-data]\n");
		return 2;
	}
	struct sigaction sa = { .sa_handler = on_signal };
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	const char *data = arena_printf(&a, "%s/data", dir).ptr;
	struct apiserver_opts o = { .bind_address = "127.0.0.1", .port = -1, .authorization_mode = mode };
	o.cert_file = arena_printf(&a, "%s/server.crt", dir).ptr;
	o.key_file = arena_printf(&a, "%s/server.key", dir).ptr;
	o.client_ca_file = arena_printf(&a, "%s/ca.crt", dir).ptr;
	o.sa_key_file = arena_printf(&a, "%s/sa.key", dir).ptr;
	if (!dir_make(dir, 0700, &err) || (!keep && !dir_remove(data, &err)) || !make_all(dir, &a, &err) ||
		!store_open(&(struct store_opts){ .dir = data, .no_sync = no_sync, .map_bytes = (size_t)4 << 30 }, &store, &err)) {
		fprintf(stderr, "server_driver: %s\n", err.msg);
		return 1;
	}
	o.store = store;
	if (!apiserver_start(&o, &s, &err) || !write_kubeconfig(dir, apiserver_port(s), &a, &err)) {
		fprintf(stderr, "server_driver: %s %s\n", err.ctx, err.msg);
		return 1;
	}
	pthread_t accounts;
	pthread_create(&accounts, NULL, keep_accounts, s);
	printf("ready %d\n", apiserver_port(s));
	fflush(stdout);
	while (read(STDIN_FILENO, line, sizeof(line)) > 0) {
	}
	__atomic_store_n(&stopping, true, __ATOMIC_SEQ_CST);
	pthread_join(accounts, NULL);
	apiserver_stop(s, 1000);
	store_close(store);
	return 0;
}
