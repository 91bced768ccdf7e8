/* SPDX-License-Identifier: Apache-2.0 */
/*
 * up.c - `coracle up` and `down`: the cluster in the background. `up` starts `coracle server` as a process
 * of its own session, shows how far it is, starts the further nodes, waits until all are Ready and
 * tells kubectl about it. Repeating it is harmless: what runs already is left alone.
 */
#include "cluster/up.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <stdarg.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/flags.h"
#include "cluster/addons.h"
#include "cluster/admin.h"
#include "cluster/hosts.h"
#include "cluster/pki.h"
#include "cluster/server.h"

static void step(const char *fmt, ...) PRINTF(1, 2);
static void step(const char *fmt, ...) {
	va_list ap;
	va_start(ap, fmt);
	printf(" * ");
	vprintf(fmt, ap);
	printf("\n");
	fflush(stdout);
	va_end(ap);
}

/* ---- kubeconfig ---- */

/* $KUBECONFIG's first file, else ~/.kube/config of the person who called (also through sudo). */
static const char *user_kubeconfig(struct arena *a, uid_t *ret_uid, gid_t *ret_gid) {
	const char *env = getenv("KUBECONFIG"), *home = getenv("HOME"), *sudo = getenv("SUDO_UID");
	*ret_uid = getuid();
	*ret_gid = getgid();
	if (env && *env) {
		struct str first, rest;
		str_cut(str_c(env), ':', &first, &rest);
		return arena_cstr(a, first);
	}
	int uid;
	if (sudo && str_to_int(str_c(sudo), 1, INT_MAX, &uid)) {
		struct passwd *pw = getpwuid((uid_t)uid);
		if (pw) {
			*ret_uid = pw->pw_uid;
			*ret_gid = pw->pw_gid;
			home = pw->pw_dir;
		}
	}
	return arena_printf(a, "%s/.kube/config", home && *home ? home : "/root").ptr;
}

/* A parent folder that is missing is made for the same owner. */
static bool kubeconfig_tell(struct cluster_config *c, const char *path, uid_t uid, gid_t gid, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct kubeconfig_entry e;
	auto_free char *dir = xstrdup(path);
	char *slash = strrchr(dir, '/');
	bool new_dir = false;
	if (slash && slash != dir) {
		*slash = 0;
		new_dir = !file_exists(dir);
		if (!dir_make(dir, 0700, err)) {
			return false;
		}
	}
	if (!admin_entry(c, &a, &e, err) || !kubeconfig_merge(path, &e, true, err)) {
		return false;
	}
	if (uid != getuid() && (chown(path, uid, gid) != 0 || (new_dir && chown(dir, uid, gid) != 0))) {
		return err_sys(err, "chown %s", path);
	}
	return true;
}

/* ---- the server process ---- */

static void log_tail(const char *path) {
	auto_buf struct buf b = BUF_INIT(64 << 20);
	struct err err = { 0 };
	if (!file_read(path, &b, &err)) {
		return;
	}
	struct str s = buf_view(&b);
	size_t lines = 0, at = s.len;
	while (at && lines < 12) {
		at--;
		lines += s.ptr[at] == '\n';
	}
	fprintf(stderr, "The end of %s:\n%.*s", path, STR_ARG(str_from(s, at)));
}

/* Reads "step", "ready" and "error" lines until one of the last two, end of file or the deadline. */
static bool wait_ready(int fd, nsec_t end, struct err *err) {
	auto_buf struct buf b = BUF_INIT(64 * 1024);
	for (;;) {
		nsec_t left = end - clock_mono();
		struct pollfd p = { .fd = fd, .events = POLLIN };
		if (left <= 0 || poll(&p, 1, (int)MIN(left / NSEC_PER_MSEC + 1, (nsec_t)1000)) < 0) {
			return err_set(err, ERR_TIMEOUT, "the server was not ready in time (see --timeout); it goes on starting");
		}
		if (!p.revents) {
			continue;
		}
		char *room = buf_reserve(&b, 4096);
		ssize_t n = room ? read(fd, room, 4096) : 0;
		if (n <= 0) {
			return err_set(err, ERR_UNAVAILABLE, "the server ended before it was ready");
		}
		b.len += (size_t)n;
		for (ptrdiff_t nl; (nl = str_index(buf_view(&b), '\n')) >= 0;) {
			struct str l = str_sub(buf_view(&b), 0, (size_t)nl);
			if (str_starts(l, S("step "))) {
				step("%.*s", STR_ARG(str_from(l, 5)));
			} else if (str_starts(l, S("error "))) {
				return err_set(err, ERR_UNAVAILABLE, "%.*s", STR_ARG(str_from(l, 6)));
			} else if (str_eq(l, S("ready"))) {
				return true;
			}
			buf_drop(&b, (size_t)nl + 1);
		}
	}
}

static bool spawn_server(struct cluster_config *c, const struct cluster_args *args, const char *levels, nsec_t end, struct err *err) {
	char self[PATH_MAX], port[16];
	int fds[2];
	const char *log = cluster_path(c, "coracle.log");
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (len < 0 || pipe2(fds, O_CLOEXEC) != 0) {
		return err_sys(err, "start the server");
	}
	self[len] = 0;
	int log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (log_fd < 0) {
		err_sys(err, "open %s", log);
		close(fds[0]);
		close(fds[1]);
		return false;
	}
	snprintf(port, sizeof(port), "%d", args->port);
	const char *argv[32] = { "coracle", "server", "--name", c->name, "--data-dir", c->data_dir, "--notify-fd", "3", "--log-level", levels };
	size_t n = 10;
	if (args->port) {
		argv[n++] = "--port";
		argv[n++] = port;
	}
	if (args->node_ip) {
		argv[n++] = "--node-ip";
		argv[n++] = args->node_ip;
	}
	if (args->node_name) {
		argv[n++] = "--node-name";
		argv[n++] = args->node_name;
	}
	if (args->link) {
		argv[n++] = "--link";
	}
	pid_t pid = fork();
	if (pid == 0) {
		setsid();
		if (fork() != 0) { /* the server belongs to nobody's terminal and nobody's wait() */
			_exit(0);
		}
		int null = open("/dev/null", O_RDONLY);
		dup2(null, 0);
		dup2(log_fd, 1);
		dup2(log_fd, 2);
		if (fds[1] == 3) {
			fcntl(3, F_SETFD, 0);
		} else {
			dup2(fds[1], 3);
		}
		for (int fd = 4; fd < 1024; fd++) {
			close(fd);
		}
		if (chdir("/") == 0) {
			execv(self, (char *const *)argv);
		}
		_exit(127);
	}
	int status;
	close(fds[1]);
	close(log_fd);
	waitpid(pid, &status, 0);
	bool ok = wait_ready(fds[0], end, err);
	close(fds[0]);
	if (!ok && err->code == ERR_UNAVAILABLE) {
		log_tail(log);
	}
	return ok;
}

static bool node_ready(const struct value *node) {
	struct value *c = value_find_by(value_at(node, N_status, N_conditions), N_type, S("Ready"));
	return str_eq(value_str_at(c, N_status), S("True"));
}

static bool wait_nodes(struct cluster_config *c, int nodes, nsec_t end, struct err *err) {
	struct client *cl = admin_client(c, err);
	if (!cl) {
		return false;
	}
	int ready = -1;
	for (nsec_t pause = 5 * NSEC_PER_MSEC;; pause = MIN(pause * 2, 200 * NSEC_PER_MSEC)) {
		struct client_list l = { 0 };
		int now = 0;
		if (client_list(cl, GVR_NODES, S(""), S(""), &l, err)) {
			for (size_t i = 0; i < l.len; i++) {
				now += node_ready(l.at[i]->root);
			}
			client_list_release(&l);
		}
		if (now != ready && (now == nodes || ready >= 0)) {
			step("%d of %d node%s Ready", now, nodes, nodes == 1 ? "" : "s");
		}
		ready = now;
		if (ready >= nodes) {
			client_free(cl);
			return true;
		}
		if (clock_mono() > end) {
			client_free(cl);
			return err_set(err, ERR_TIMEOUT, "%d of %d nodes are Ready after the time of --timeout; see `kubectl describe nodes` and %s/coracle.log", ready,
				nodes, c->data_dir);
		}
		clock_sleep(pause);
	}
}

static bool more_nodes(struct cluster_config *c, int nodes, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct str token;
	char hash[80];
	struct client *cl = admin_client(c, err);
	if (!cl) {
		return false;
	}
	bool ok = pki_ca_hash(c, hash, err) && token_create(cl, &a, 3600 * NSEC_PER_SEC, S("for the further nodes of coracle up"), &token, err) &&
		hosts_link_ensure(c, err);
	client_free(cl);
	if (!ok) {
		return false;
	}
	const char *join = arena_printf(&a, "K%s::%.*s", hash + strlen("sha256:"), STR_ARG(token)).ptr;
	for (int n = 2; n <= nodes; n++) {
		step("starting node %s (%s)", hosts_name(c, n), hosts_ip(c, n));
		if (!hosts_start(c, n, join, err)) {
			return false;
		}
	}
	return true;
}

int cmd_up(int argc, char **argv) {
	struct cluster_args args = { 0 };
	struct cluster_config c = { 0 };
	const char *kubeconfig = NULL, *levels = "info";
	int nodes = 1;
	int64_t timeout = 120 * NSEC_PER_SEC;
	bool help;
	struct err err = { 0 };
	auto_arena struct arena a = { 0 };
	const struct flag flags[] = {
		CLUSTER_FLAGS(args),
		{ "nodes", 0, FLAG_INT, &nodes, "K", "nodes on this machine; each further one is a host of its own namespaces" },
		{ "timeout", 0, FLAG_DURATION, &timeout, "T", "how long to wait until all nodes are Ready" },
		{ "kubeconfig", 0, FLAG_STRING, &kubeconfig, "FILE", "write the context there (default $KUBECONFIG or ~/.kube/config)" },
		{ "port", 0, FLAG_INT, &args.port, "PORT", "of the API server (default 6443 or the next free one)" },
		{ "node-ip", 0, FLAG_STRING, &args.node_ip, "IP", "of the first node (default that of the default route)" },
		{ "node-name", 0, FLAG_STRING, &args.node_name, "NAME", "of the first node (default the host name)" },
		{ "log-level", 0, FLAG_STRING, &levels, "LEVELS", "of the server" },
		{ 0 },
	};
	if (!flags_parse(flags, argc, argv, NULL, &help, &err)) {
		fprintf(stderr, "coracle up: %s\nSee coracle up --help.\n", err.msg);
		return 2;
	}
	if (help) {
		printf("Starts a cluster in the background, or leaves it alone when it runs already, and points kubectl at it.\n\n"
		       "Usage: coracle up [flags]\n\n"
		       "  coracle up                 one node: this machine\n"
		       "  coracle up --nodes 3       two more nodes, each a host of its own namespaces\n"
		       "  coracle up --name ci-7     a cluster beside others; context coracle-ci-7\n\n");
		flags_print(flags);
		return 0;
	}
	if (nodes < 1 || nodes > 200) {
		fprintf(stderr, "coracle up: --nodes must be between 1 and 200\n");
		return 2;
	}
	if (geteuid() != 0) {
		fprintf(stderr, "coracle up: must run as root: a node makes namespaces, mounts and network links (try sudo)\n");
		return 1;
	}
	args.link = nodes > 1;
	signal(SIGPIPE, SIG_IGN);
	nsec_t end = clock_mono() + timeout;
	if (!cluster_config_find(&args, &c, &err) || !dir_make(c.data_dir, 0700, &err)) {
		goto fail;
	}
	int pid = cluster_pid(&c, "server.pid");
	if (pid) {
		step("cluster %s runs already (process %d)", c.name, pid);
	} else if (!spawn_server(&c, &args, levels, end, &err)) {
		goto fail;
	}
	struct cluster_args same = { .name = c.name, .data_dir = c.data_dir };
	struct cluster_config now;
	if (!cluster_config_load(&same, &now, &err)) {
		goto fail;
	}
	cluster_config_release(&c);
	c = now;
	uid_t uid = getuid();
	gid_t gid = getgid();
	const char *path = kubeconfig ? kubeconfig : user_kubeconfig(&a, &uid, &gid);
	if (!kubeconfig_tell(&c, path, uid, gid, &err)) {
		goto fail;
	}
	int running = 0, all[256];
	size_t hosts = hosts_list(&c, all, ARRAY_LEN(all));
	for (size_t i = 0; i < hosts; i++) {
		running += hosts_pid(&c, all[i]) > 0;
	}
	if (nodes > 1 && running < nodes - 1 && !more_nodes(&c, nodes, &err)) {
		goto fail;
	}
	if (!wait_nodes(&c, MAX(nodes, running + 1), end, &err)) {
		goto fail;
	}
	printf("\nCluster %s is up: https://127.0.0.1:%d\n", c.name, c.port);
	printf("kubectl context %s is in %s:\n\n  kubectl get nodes\n\nStop it with: coracle down%s%s\n", cluster_context(&c), path,
		strcmp(c.name, "coracle") ? " --name " : "", strcmp(c.name, "coracle") ? c.name : "");
	cluster_config_release(&c);
	return 0;
fail:
	fprintf(stderr, "coracle up: %s\n", err.msg);
	cluster_config_release(&c);
	return 1;
}

/* ---- down ---- */

/* Asks, then kills: a server that does not stop within 20 s is broken, and what it guards is on disk. */
static void server_end(struct cluster_config *c) {
	int pid = cluster_pid(c, "server.pid");
	if (!pid) {
		return;
	}
	step("stopping the server (process %d)", pid);
	kill(pid, SIGTERM);
	nsec_t end = clock_mono() + 20 * NSEC_PER_SEC;
	while (cluster_pid(c, "server.pid") == pid) {
		if (clock_mono() > end) {
			kill(pid, SIGKILL);
			end += 5 * NSEC_PER_SEC;
		}
		clock_sleep(5 * NSEC_PER_MSEC);
	}
}

int cmd_down(int argc, char **argv) {
	struct cluster_args args = { 0 };
	struct cluster_config c = { 0 };
	const char *kubeconfig = NULL;
	bool purge = false, help;
	struct err err = { 0 }, e = { 0 };
	auto_arena struct arena a = { 0 };
	const struct flag flags[] = {
		CLUSTER_FLAGS(args),
		{ "purge", 0, FLAG_BOOL, &purge, NULL, "remove the data too: objects, keys, images, logs" },
		{ "kubeconfig", 0, FLAG_STRING, &kubeconfig, "FILE", "take the context out of it (default $KUBECONFIG or ~/.kube/config)" },
		{ 0 },
	};
	if (!flags_parse(flags, argc, argv, NULL, &help, &err)) {
		fprintf(stderr, "coracle down: %s\nSee coracle down --help.\n", err.msg);
		return 2;
	}
	if (help) {
		printf("Ends a cluster and everything that it runs on this machine: processes, mounts, links, nftables\n"
		       "tables, cgroups, namespaces. Its data stays, and `coracle up` brings it back, unless --purge is given.\n\n"
		       "Usage: coracle down [flags]\n\n");
		flags_print(flags);
		return 0;
	}
	if (geteuid() != 0) {
		fprintf(stderr, "coracle down: must run as root (try sudo)\n");
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	if (!cluster_config_load(&args, &c, &err)) {
		if (err.code == ERR_NOT_FOUND) { /* repeating it is harmless */
			printf("%s\n", err.msg);
			return 0;
		}
		fprintf(stderr, "coracle down: %s\n", err.msg);
		return 1;
	}
	int failed = 0;
	server_end(&c);
	int all[256];
	if (hosts_list(&c, all, ARRAY_LEN(all))) {
		step("stopping further nodes");
	}
	hosts_stop(&c);
	step("removing pods, links, mounts");
	struct node_opts no = server_node_opts(&c);
	if (!cluster_node_destroy(&no, &e)) {
		fprintf(stderr, "coracle down: %s\n", e.msg);
		failed = 1;
	}
	uid_t uid;
	gid_t gid;
	const char *path = kubeconfig ? kubeconfig : user_kubeconfig(&a, &uid, &gid);
	if (!kubeconfig_remove(path, str_c(cluster_context(&c)), &e)) {
		fprintf(stderr, "coracle down: %s\n", e.msg);
		failed = 1;
	}
	unlink(arena_printf(&a, "/run/coracle/names/%s", c.name).ptr);
	if (!dir_remove(c.run_dir, &e)) {
		fprintf(stderr, "coracle down: %s\n", e.msg);
		failed = 1;
	}
	rmdir("/run/coracle/names");
	rmdir("/run/coracle");
	if (purge) {
		step("removing the data in %s", c.data_dir);
		if (!dir_remove(c.data_dir, &e)) {
			fprintf(stderr, "coracle down: %s\n", e.msg);
			failed = 1;
		}
	}
	printf("Cluster %s is down%s.\n", c.name, purge ? " and gone" : "; its data stays");
	cluster_config_release(&c);
	return failed;
}
