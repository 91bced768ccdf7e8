/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.c - see server.h. The main thread starts the rooms ground first, says how far it is, waits for
 * a signal and stops them in the opposite order. All else happens in the rooms' own threads.
 *
 * --notify-fd: lines for `coracle up`: "step <text>", at last "ready". End of file before "ready" is a failure, whose
 * reason is the last line "error <text>".
 */
#include "cluster/server.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include "apiserver/apiserver.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/log.h"
#include "cluster/addons.h"
#include "cluster/admin.h"
#include "cluster/hosts.h"
#include "cluster/pki.h"
#include "controllers/controllers.h"
#include "network/network.h"
#include "scheduler/scheduler.h"

struct server {
	struct cluster_config cfg;
	int notify_fd;
	int lock_fd;
	struct store *store;
	struct apiserver *api;
	struct client *admin, *controllers_client, *scheduler_client, *kubelet_client, *proxy_client, *dns_client;
	struct controllers *controllers;
	struct scheduler *scheduler;
	struct dns *dns;
	struct node *node;
};

void signals_block(void) {
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

int signals_wait(void) {
	sigset_t set;
	int sig = 0;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	while (sigwait(&set, &sig) != 0) {
	}
	return sig;
}

static void notify(struct server *s, const char *fmt, ...) PRINTF(2, 3);
static void notify(struct server *s, const char *fmt, ...) {
	char line[1024];
	va_list ap;
	if (s->notify_fd < 0) {
		return;
	}
	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	n = MIN(n, (int)sizeof(line) - 2);
	line[n] = '\n';
	(void)!write(s->notify_fd, line, (size_t)n + 1);
}

struct node_opts server_node_opts(struct cluster_config *c) {
	return (struct node_opts){
		.name = c->node_name,
		.ip = c->node_ip,
		.data_dir = cluster_path(c, "node"),
		.run_dir = c->run_dir,
		.id = c->id,
		.cluster_cidr = c->cluster_cidr,
		.dns_ip = c->dns_ip,
		.domain = c->domain,
		.kubelet_port = c->kubelet_port,
		.cert_file = pki_path(c, "kubelet.crt"),
		.key_file = pki_path(c, "kubelet.key"),
		.client_ca_file = pki_path(c, "ca.crt"),
		.overlay = "auto",
	};
}

/* One process a data folder, also when nobody wrote a pid file. */
static bool lock(struct server *s, struct err *err) {
	const char *path = cluster_path(&s->cfg, "lock");
	s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock_fd < 0) {
		return err_sys(err, "open %s", path);
	}
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0) {
		return err_set(err, ERR_UNAVAILABLE, "cluster \"%s\" is running already (process %d, data in %s)", s->cfg.name,
			cluster_pid(&s->cfg, "server.pid"), s->cfg.data_dir);
	}
	return true;
}

static bool control_plane(struct server *s, struct err *err) {
	struct cluster_config *c = &s->cfg;
	struct store_opts so = { .dir = cluster_path(c, "store") };
	struct apiserver_opts ao = {
		.port = c->port,
		.cert_file = pki_path(c, "apiserver.crt"),
		.key_file = pki_path(c, "apiserver.key"),
		.client_ca_file = pki_path(c, "ca.crt"),
		.sa_key_file = pki_path(c, "sa.key"),
		.kubelet_ca_file = pki_path(c, "ca.crt"),
		.kubelet_cert_file = pki_path(c, "apiserver-kubelet-client.crt"),
		.kubelet_key_file = pki_path(c, "apiserver-kubelet-client.key"),
		.requestheader_ca_file = pki_path(c, "front-proxy-ca.crt"),
		.service_cidr = c->service_cidr,
		.advertise_address = c->node_ip,
		.cluster_domain = c->domain,
	};
	if (!store_open(&so, &s->store, err)) {
		return false;
	}
	ao.store = s->store;
	if (!apiserver_start(&ao, &s->api, err)) {
		return false;
	}
	static const char *const masters[] = { "system:masters", NULL }, *const none[] = { NULL }, *const nodes[] = { "system:nodes", NULL };
	auto_arena struct arena a = { 0 };
	s->admin = client_new(apiserver_transport(s->api, "system:coracle", masters));
	s->controllers_client = client_new(apiserver_transport(s->api, "system:kube-controller-manager", masters));
	s->scheduler_client = client_new(apiserver_transport(s->api, "system:kube-scheduler", none));
	s->kubelet_client = client_new(apiserver_transport(s->api, arena_printf(&a, "system:node:%s", c->node_name).ptr, nodes));
	s->proxy_client = client_new(apiserver_transport(s->api, "system:kube-proxy", none));
	s->dns_client = client_new(apiserver_transport(s->api, "system:serviceaccount:kube-system:coredns", none));
	return true;
}

static bool components(struct server *s, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct cluster_config *c = &s->cfg;
	struct str ca, ca_key;
	if (!pki_read(c, "ca.crt", &a, &ca, err) || !pki_read(c, "ca.key", &a, &ca_key, err)) {
		return false;
	}
	struct dns_opts dno = { .client = s->dns_client, .bind_address = c->node_ip, .port = c->dns_port, .domain = c->domain };
	if (!dns_start(&dno, &s->dns, err)) {
		return false;
	}
	if (!addons_ensure(s->admin, c, c->node_ip, dns_port(s->dns), ca, err)) {
		return false;
	}
	struct controllers_opts co = { .client = s->controllers_client, .cluster_cidr = c->cluster_cidr, .root_ca_pem = ca,
		.signing_cert_pem = ca, .signing_key_pem = ca_key };
	struct scheduler_opts sco = { .client = s->scheduler_client };
	return controllers_start(&co, &s->controllers, err) && scheduler_start(&sco, &s->scheduler, err);
}

static void stop(struct server *s) {
	cluster_node_stop(s->node);
	if (s->dns) {
		dns_stop(s->dns);
	}
	if (s->scheduler) {
		scheduler_stop(s->scheduler);
	}
	if (s->controllers) {
		controllers_stop(s->controllers);
	}
	struct client *clients[] = { s->admin, s->controllers_client, s->scheduler_client, s->kubelet_client, s->proxy_client, s->dns_client };
	for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
		if (clients[i]) {
			client_free(clients[i]);
		}
	}
	if (s->api) {
		apiserver_stop(s->api, 2000);
	}
	if (s->store) {
		store_close(s->store);
	}
}

static bool start(struct server *s, const struct cluster_args *args, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct kubeconfig_entry e;
	notify(s, "step preparing keys and certificates");
	if (!cluster_config_make(args, &s->cfg, err) || !lock(s, err) || !pki_ensure(&s->cfg, err) || !cluster_pid_write(&s->cfg, "server.pid", err) ||
		!admin_entry(&s->cfg, &a, &e, err) || !kubeconfig_write(cluster_path(&s->cfg, "admin.kubeconfig"), &e, err)) {
		return false;
	}
	if (s->cfg.link && !hosts_link_ensure(&s->cfg, err)) {
		return false;
	}
	notify(s, "step starting the API server on port %d", s->cfg.port);
	if (!control_plane(s, err)) {
		return false;
	}
	notify(s, "step starting controllers, scheduler and DNS");
	if (!components(s, err)) {
		return false;
	}
	notify(s, "step starting node %s (%s)", s->cfg.node_name, s->cfg.node_ip);
	struct node_opts no = server_node_opts(&s->cfg);
	no.kubelet_client = s->kubelet_client;
	no.proxy_client = s->proxy_client;
	return cluster_node_start(&no, &s->node, err);
}

static void raise_limits(void) {
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
	mallopt(M_ARENA_MAX, 2); /* one heap a thread would cost megabytes */
	mallopt(M_TRIM_THRESHOLD, 256 * 1024);
}

int cmd_server(int argc, char **argv) {
	struct server s = { .notify_fd = -1, .lock_fd = -1 };
	struct cluster_args args = { 0 };
	const char *levels = "info";
	bool help;
	struct err err = { 0 };
	const struct flag flags[] = {
		CLUSTER_FLAGS(args),
		{ "port", 0, FLAG_INT, &args.port, "PORT", "of the API server, at the first start (default 6443 or the next free one)" },
		{ "node-name", 0, FLAG_STRING, &args.node_name, "NAME", "of this node (default the host name)" },
		{ "node-ip", 0, FLAG_STRING, &args.node_ip, "IP", "of this node (default that of the default route)" },
		{ "link", 0, FLAG_BOOL, &args.link, NULL, "use a bridge between nodes on this machine" },
		{ "log-level", 0, FLAG_STRING, &levels, "LEVELS", "error, warn, info or debug, also per component: info,scheduler=debug" },
		{ "notify-fd", 0, FLAG_INT, &s.notify_fd, "FD", "tell progress on this descriptor" },
		{ 0 },
	};
	if (!flags_parse(flags, argc, argv, NULL, &help, &err) || !log_set_levels(str_c(levels), &err)) {
		fprintf(stderr, "coracle server: %s\nSee coracle server --help.\n", err.msg);
		return 2;
	}
	if (help) {
		printf("Runs a whole cluster in this process, in the foreground: store, API server, controllers,\n"
		       "scheduler, DNS and one node. `coracle up` starts the same in the background.\n\n"
		       "Usage: coracle server [flags]\n\n");
		flags_print(flags);
		return 0;
	}
	if (geteuid() != 0) {
		fprintf(stderr, "coracle server: must run as root: it makes namespaces, mounts and network links (try sudo)\n");
		return 1;
	}
	raise_limits();
	signals_block();
	bool ok = start(&s, &args, &err);
	if (ok) {
		log_info("server", "ready", kv_c("name", s.cfg.name), kv_int("port", s.cfg.port));
		notify(&s, "ready");
		if (s.notify_fd >= 0) {
			close(s.notify_fd);
		}
		int sig = signals_wait();
		log_info("server", "stopping", kv_int("signal", sig));
	} else {
		log_error("server", "cannot start", kv_err(&err));
		notify(&s, "error %s", err.msg);
	}
	stop(&s);
	unlink(cluster_run_path(&s.cfg, "server.pid"));
	cluster_config_release(&s.cfg);
	return ok ? 0 : 1;
}
