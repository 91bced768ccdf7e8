/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hosts.c - see hosts.h. Uses `ip` and `nft` as children: this runs a few times in a cluster's life. The holder
 * is single-threaded and does nothing but wait.
 */
#include "cluster/hosts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/log.h"
#include "loop/loop.h"

const char *hosts_name(struct cluster_config *c, int n) {
	return arena_printf(&c->arena, "%s-%d", c->node_name, n).ptr;
}

const char *hosts_ip(struct cluster_config *c, int n) {
	return arena_printf(&c->arena, "10.89.%d.%d", c->index, n).ptr;
}

static const char *bridge(struct cluster_config *c) {
	return arena_printf(&c->arena, "corl%s", c->id).ptr;
}

/* Eight hex digits of its own for the host's cgroups and links. */
static const char *hosts_id(struct cluster_config *c, int n) {
	return arena_printf(&c->arena, "%.6s%02x", c->id, n).ptr;
}

static bool run(struct str input, struct err *err, const char *const *argv) {
	struct child_result r = { 0 };
	bool ok = child_run(&(struct child_opts){ .argv = argv, .input = input, .timeout = 20 * NSEC_PER_SEC }, &r, err);
	if (ok && r.status != 0) {
		ok = err_set(err, ERR_IO, "%s %s: %.*s", argv[0], argv[1], STR_ARG(str_trim(buf_view(&r.err_out))));
	}
	child_result_release(&r);
	return ok;
}
#define RUN(err, ...) run((struct str){ 0 }, (err), (const char *const[]){ __VA_ARGS__, NULL })

bool hosts_link_ensure(struct cluster_config *c, struct err *err) {
	struct err ignore = { 0 };
	auto_arena struct arena a = { 0 };
	const char *br = bridge(c), *addr = arena_printf(&a, "%s/24", c->link_ip).ptr;
	/* Not by /sys/class/net: a /sys may show another network namespace than ours. */
	if (!RUN(&ignore, "ip", "link", "show", br) && !RUN(err, "ip", "link", "add", br, "type", "bridge")) {
		return false;
	}
	(void)!RUN(&ignore, "ip", "addr", "replace", addr, "dev", br);
	if (!RUN(err, "ip", "link", "set", br, "up")) {
		return false;
	}
	/* Where there is no default route, connect() to a Service would fail before the proxy's rules see it. */
	(void)!RUN(&ignore, "ip", "route", "add", c->service_cidr, "dev", br, "metric", "4096");
	struct str rules = arena_printf(&a,
		"table ip coracle_link_%s\n"
		"delete table ip coracle_link_%s\n"
		"table ip coracle_link_%s {\n"
		"  chain post {\n"
		"    type nat hook postrouting priority srcnat; policy accept;\n"
		"    ip saddr %s oifname != \"%s\" ip daddr != { %s, %s } masquerade\n"
		"  }\n"
		"}\n", c->id, c->id, c->id, c->link_cidr, br, c->link_cidr, c->cluster_cidr);
	return run(rules, err, (const char *const[]){ "nft", "-f", "-", NULL });
}

int hosts_pid(struct cluster_config *c, int n) {
	auto_free char *file = xasprintf("nodes/%d/host.pid", n);
	return cluster_pid(c, file);
}

size_t hosts_list(struct cluster_config *c, int *ret, size_t max) {
	DIR *d = opendir(cluster_run_path(c, "nodes"));
	size_t len = 0;
	for (struct dirent *e; d && (e = readdir(d));) {
		int n;
		if (len < max && str_to_int(str_c(e->d_name), 2, 250, &n)) {
			ret[len++] = n;
		}
	}
	if (d) {
		closedir(d);
	}
	for (size_t i = 1; i < len; i++) {
		for (size_t j = i; j && ret[j] < ret[j - 1]; j--) {
			int t = ret[j];
			ret[j] = ret[j - 1];
			ret[j - 1] = t;
		}
	}
	return len;
}

bool hosts_start(struct cluster_config *c, int n, const char *token, struct err *err) {
	auto_arena struct arena a = { 0 };
	char self[PATH_MAX];
	if (hosts_pid(c, n)) {
		return true;
	}
	const char *run_dir = cluster_run_path(c, "nodes/%d", n), *data_dir = cluster_path(c, "nodes/%s", hosts_name(c, n));
	const char *inner = arena_printf(&a, "ch%d%s", n, c->id).ptr, *outer = arena_printf(&a, "cv%d%s", n, c->id).ptr;
	const char *addr = arena_printf(&a, "%s/24", hosts_ip(c, n)).ptr, *log = arena_printf(&a, "%s/agent.log", data_dir).ptr;
	const char *server = arena_printf(&a, "https://%s:%d", c->link_ip, c->port).ptr;
	struct err ignore = { 0 };
	if (!dir_make(run_dir, 0755, err) || !dir_make(data_dir, 0700, err)) {
		return false;
	}
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (len < 0) {
		return err_sys(err, "readlink /proc/self/exe");
	}
	self[len] = 0;
	int ready[2];
	if (pipe2(ready, O_CLOEXEC) != 0) {
		return err_sys(err, "pipe");
	}
	pid_t pid = fork();
	if (pid < 0) {
		close(ready[0]);
		close(ready[1]);
		return err_sys(err, "fork");
	}
	if (pid == 0) { /* becomes the parent of the namespaces' process 1; ends at once */
		setsid();
		int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
		dup2(null, 0);
		dup2(fd >= 0 ? fd : null, 1);
		dup2(fd >= 0 ? fd : null, 2);
		if (unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS) != 0) {
			fprintf(stderr, "unshare: %s\n", strerrordesc_np(errno));
			_exit(1);
		}
		pid_t holder = fork();
		if (holder == 0) {
			char num[16];
			snprintf(num, sizeof(num), "%d", n);
			int keep = dup(ready[0]); /* without close-on-exec */
			char keep_text[16];
			snprintf(keep_text, sizeof(keep_text), "%d", keep);
			close(ready[1]);
			execl(self, "coracle", "host", "--name", hosts_name(c, n), "--link", inner, "--wait-fd", keep_text, "--", self, "agent",
				"--server", server, "--token", token, "--node-name", hosts_name(c, n), "--node-ip", hosts_ip(c, n), "--data-dir", data_dir,
				"--run-dir", run_dir, "--id", hosts_id(c, n), (char *)NULL);
			_exit(127);
		}
		/* Tell the pid as our namespace sees it. */
		(void)!write(ready[1], &holder, sizeof(holder));
		_exit(holder > 0 ? 0 : 1);
	}
	int status;
	pid_t holder = 0;
	waitpid(pid, &status, 0);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || read(ready[0], &holder, sizeof(holder)) != sizeof(holder)) {
		close(ready[0]);
		close(ready[1]);
		return err_set(err, ERR_IO, "host %d did not start; its log: %s", n, log);
	}
	const char *pid_text = arena_printf(&a, "%d", holder).ptr;
	auto_free char *pid_file = xasprintf("%s/host.pid", run_dir);
	unsigned long long started = 0;
	{
		char path[64], line[1024];
		snprintf(path, sizeof(path), "/proc/%d/stat", holder);
		FILE *f = fopen(path, "re");
		char *p = f && fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
		for (int i = 0; p && i < 20; i++) {
			p = strchr(p + 1, ' ');
		}
		if (p) {
			(void)!sscanf(p, "%llu", &started);
		}
		if (f) {
			fclose(f);
		}
	}
	char text[64];
	snprintf(text, sizeof(text), "%d %llu\n", holder, started);
	(void)!RUN(&ignore, "ip", "link", "del", outer); /* of a host that was killed a moment ago */
	bool ok = file_write(pid_file, str_c(text), 0644, err) &&
		RUN(err, "ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", pid_text) &&
		RUN(err, "ip", "link", "set", outer, "master", bridge(c), "up") &&
		RUN(err, "nsenter", "-t", pid_text, "-n", "ip", "link", "set", inner, "name", "eth0") &&
		RUN(err, "nsenter", "-t", pid_text, "-n", "ip", "addr", "add", addr, "dev", "eth0") &&
		RUN(err, "nsenter", "-t", pid_text, "-n", "ip", "link", "set", "lo", "up") &&
		RUN(err, "nsenter", "-t", pid_text, "-n", "ip", "link", "set", "eth0", "up") &&
		RUN(err, "nsenter", "-t", pid_text, "-n", "ip", "route", "add", "default", "via", c->link_ip);
	close(ready[0]);
	close(ready[1]); /* the holder goes on */
	if (!ok) {
		kill(holder, SIGKILL);
	}
	return ok;
}

/* Removes the cgroups of a killed host: their processes died with its PID namespace. */
static void cgroups_remove(const char *dir_name) {
	DIR *d = opendir("/sys/fs/cgroup");
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	(void)!RUN(&err, "find", "/sys/fs/cgroup", "-depth", "-type", "d", "-path", arena_printf(&a, "*/%s*", dir_name).ptr, "-exec", "rmdir", "{}", "+");
	if (d) {
		closedir(d);
	}
}

void hosts_stop(struct cluster_config *c) {
	int all[256];
	size_t len = hosts_list(c, all, ARRAY_LEN(all));
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	for (size_t i = 0; i < len; i++) {
		int pid = hosts_pid(c, all[i]);
		if (pid) {
			kill(pid, SIGKILL);
		}
	}
	for (size_t i = 0; i < len; i++) {
		for (int tries = 0; hosts_pid(c, all[i]) && tries < 500; tries++) {
			clock_sleep(10 * NSEC_PER_MSEC);
		}
		(void)!RUN(&err, "ip", "link", "del", arena_printf(&a, "cv%d%s", all[i], c->id).ptr);
		cgroups_remove(arena_printf(&a, "coracle-%s", hosts_id(c, all[i])).ptr);
		if (!dir_remove(cluster_run_path(c, "nodes/%d", all[i]), &err)) {
			log_warn("hosts", "run folder stays", kv_err(&err));
		}
	}
	if (RUN(&err, "ip", "link", "show", bridge(c))) {
		(void)!RUN(&err, "ip", "link", "del", bridge(c));
		(void)!RUN(&err, "nft", "delete", "table", "ip", arena_printf(&a, "coracle_link_%s", c->id).ptr);
	}
}

/* ---- the holder ---- */

static volatile sig_atomic_t stop_signal;

static void on_signal(int sig) {
	stop_signal = sig;
}

static pid_t agent_spawn(const struct flag_args *args) {
	pid_t pid = fork();
	if (pid == 0) {
		const char *argv[300];
		for (size_t i = 1; i < args->len; i++) {
			argv[i] = args->at[i];
		}
		argv[0] = "coracle";
		argv[args->len] = NULL;
		setsid();
		execv(args->at[0], (char *const *)argv);
		_exit(127);
	}
	return pid;
}

int cmd_host(int argc, char **argv) {
	const char *name = NULL, *link = NULL;
	int wait_fd = -1;
	bool help;
	struct flag_args args = { 0 };
	struct err err = { 0 };
	const struct flag flags[] = {
		{ "name", 0, FLAG_STRING, &name, "NAME", "host name" },
		{ "link", 0, FLAG_STRING, &link, "LINK", "network link that is put in" },
		{ "wait-fd", 0, FLAG_INT, &wait_fd, "FD", "end of file on it: the network is ready" },
		{ 0 },
	};
	if (!flags_parse(flags, argc, argv, &args, &help, &err) || args.len == 0 || !name || getpid() != 1) {
		fprintf(stderr, "coracle host: %s\n", err.code ? err.msg : "is started by `coracle up --nodes`, as process 1 of a host");
		return 2;
	}
	if (sethostname(name, strlen(name)) != 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) != 0 || umount2("/proc", MNT_DETACH) != 0 ||
		mount("proc", "/proc", "proc", 0, NULL) != 0) {
		fprintf(stderr, "coracle host: %s\n", strerrordesc_np(errno));
		return 1;
	}
	/* A /sys of our own network namespace, with the cgroup hierarchies moved along: what reads /sys/class/net must see our links. */
	int cgroups = open_tree(AT_FDCWD, "/sys/fs/cgroup", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (cgroups < 0 || mount("sysfs", "/sys", "sysfs", 0, NULL) != 0 ||
		move_mount(cgroups, "", AT_FDCWD, "/sys/fs/cgroup", MOVE_MOUNT_F_EMPTY_PATH) != 0) {
		fprintf(stderr, "coracle host: /sys: %s\n", strerrordesc_np(errno));
		return 1;
	}
	close(cgroups);
	char c;
	while (read(wait_fd, &c, 1) < 0 && errno == EINTR) {
	}
	close(wait_fd);

	struct sigaction sa = { .sa_handler = on_signal };
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGCHLD, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
	pid_t agent = agent_spawn(&args);
	nsec_t started = clock_mono();
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, 0);
		if (stop_signal && agent > 0) {
			kill(agent, SIGTERM);
			waitpid(agent, &status, 0);
			return 0; /* process 1 ends: the kernel ends the rest */
		}
		if (pid == agent) {
			/* A node whose agent dies gets a new one: what runs in pods is not disturbed. */
			if (clock_mono() - started < NSEC_PER_SEC) {
				clock_sleep(NSEC_PER_SEC);
			}
			agent = agent_spawn(&args);
			started = clock_mono();
		} else if (pid < 0 && errno == ECHILD) {
			clock_sleep(NSEC_PER_SEC);
		}
	}
}
