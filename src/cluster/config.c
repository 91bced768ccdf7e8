/* SPDX-License-Identifier: Apache-2.0 */
/* config.c - see config.h. Runs in the main thread of each command before anything else is started. */
#include "cluster/config.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "net/digest.h"
#include "value/value.h"

#define RUN_ROOT "/run/coracle"

static const char *arena_c(struct arena *a, const char *s) {
	return arena_cstr(a, str_c(s));
}

static const char *path_v(struct arena *a, const char *dir, const char *fmt, va_list ap) {
	char rest[PATH_MAX];
	vsnprintf(rest, sizeof(rest), fmt, ap);
	return arena_printf(a, "%s/%s", dir, rest).ptr;
}

const char *cluster_path(struct cluster_config *c, const char *fmt, ...) {
	va_list ap;
	va_start(ap, fmt);
	const char *p = path_v(&c->arena, c->data_dir, fmt, ap);
	va_end(ap);
	return p;
}

const char *cluster_run_path(struct cluster_config *c, const char *fmt, ...) {
	va_list ap;
	va_start(ap, fmt);
	const char *p = path_v(&c->arena, c->run_dir, fmt, ap);
	va_end(ap);
	return p;
}

const char *cluster_context(struct cluster_config *c) {
	return strcmp(c->name, "coracle") == 0 ? "coracle" : arena_printf(&c->arena, "coracle-%s", c->name).ptr;
}

void cluster_config_release(struct cluster_config *c) {
	arena_release(&c->arena);
	*c = (struct cluster_config){ 0 };
}

/* ---- the machine ---- */

static uint32_t default_route_link(void) {
	FILE *f = fopen("/proc/net/route", "re");
	char line[256], name[64];
	unsigned dst, gw, flags, mask;
	uint32_t index = 0;
	if (!f) {
		return 0;
	}
	while (fgets(line, sizeof(line), f)) {
		int n, a, b;
		if (sscanf(line, "%63s %x %x %x %d %d %d %x", name, &dst, &gw, &flags, &n, &a, &b, &mask) == 8 && dst == 0 && mask == 0 &&
			(flags & 1)) {
			index = if_nametoindex(name);
			break;
		}
	}
	fclose(f);
	return index;
}

bool machine_ip(char out[64]) {
	struct ifaddrs *all = NULL;
	uint32_t link = default_route_link();
	bool found = false;
	if (getifaddrs(&all)) {
		return false;
	}
	for (struct ifaddrs *i = all; i; i = i->ifa_next) {
		if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || (i->ifa_flags & IFF_LOOPBACK) || !(i->ifa_flags & IFF_UP)) {
			continue;
		}
		bool best = link && if_nametoindex(i->ifa_name) == link;
		/* Links of our own (pod bridges, links between nodes) are no address of the machine. */
		if ((!best && !strncmp(i->ifa_name, "cor", 3)) || (found && !best)) {
			continue;
		}
		inet_ntop(AF_INET, &((struct sockaddr_in *)i->ifa_addr)->sin_addr, out, 64);
		found = true;
		if (best) {
			break;
		}
	}
	freeifaddrs(all);
	return found;
}

static bool port_free(int port) {
	auto_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	return fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(fd, 1) == 0;
}

/* The wished port, or the next free one of a thousand. */
static int port_pick(int wish) {
	for (int p = wish; p < wish + 1000; p++) {
		if (port_free(p)) {
			return p;
		}
	}
	return wish;
}

/* ---- pid files: "<pid> <start time>", so that a reused number is not taken for ours ---- */

static bool pid_started(int pid, unsigned long long *ret) {
	char path[64], line[1024];
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	FILE *f = fopen(path, "re");
	if (!f) {
		return false;
	}
	bool ok = fgets(line, sizeof(line), f) != NULL;
	fclose(f);
	char *p = ok ? strrchr(line, ')') : NULL;
	for (int i = 0; p && i < 20; i++) {
		p = strchr(p + 1, ' ');
	}
	char state = 0;
	if (p) {
		char *q = strrchr(line, ')');
		state = q && q[1] ? q[2] : 0;
	}
	return p && state != 'Z' && sscanf(p, "%llu", ret) == 1;
}

int cluster_pid(struct cluster_config *c, const char *file) {
	auto_buf struct buf b = BUF_INIT(128);
	struct err err = { 0 };
	unsigned long long started, now;
	int pid;
	if (!file_read(cluster_run_path(c, "%s", file), &b, &err) || sscanf(buf_cstr(&b), "%d %llu", &pid, &started) != 2) {
		return 0;
	}
	return pid > 0 && pid_started(pid, &now) && now == started ? pid : 0;
}

bool cluster_pid_write(struct cluster_config *c, const char *file, struct err *err) {
	unsigned long long started = 0;
	char text[64];
	(void)!pid_started(getpid(), &started);
	snprintf(text, sizeof(text), "%d %llu\n", getpid(), started);
	return file_write(cluster_run_path(c, "%s", file), str_c(text), 0644, err);
}

/* ---- finding ---- */

static bool name_good(const char *name) {
	size_t n = strlen(name);
	if (n == 0 || n > 40) {
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		char ch = name[i];
		bool alnum = (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9');
		if (!alnum && !(ch == '-' && i && i + 1 < n)) {
			return false;
		}
	}
	return true;
}

static const char *absolute(struct arena *a, const char *path) {
	char real[PATH_MAX];
	if (realpath(path, real)) {
		return arena_c(a, real);
	}
	if (path[0] == '/') {
		struct str s = str_c(path);
		while (s.len > 1 && s.ptr[s.len - 1] == '/') {
			s.len--;
		}
		return arena_cstr(a, s);
	}
	char cwd[PATH_MAX];
	return getcwd(cwd, sizeof(cwd)) ? arena_printf(a, "%s/%s", cwd, path).ptr : arena_c(a, path);
}

bool cluster_config_find(const struct cluster_args *args, struct cluster_config *ret, struct err *err) {
	*ret = (struct cluster_config){ 0 };
	struct arena *a = &ret->arena;
	ret->name = arena_c(a, args->name && args->name[0] ? args->name : "coracle");
	if (!name_good(ret->name)) {
		return err_set(err, ERR_BAD_REQUEST,
			"cluster name \"%s\" must be 1 to 40 lower case letters, digits or '-', and begin and end with a letter or digit", ret->name);
	}
	if (args->data_dir && args->data_dir[0]) {
		ret->data_dir = absolute(a, args->data_dir);
	} else {
		/* A running cluster of that name tells where its data is. */
		char target[PATH_MAX];
		const char *link = arena_printf(a, RUN_ROOT "/names/%s", ret->name).ptr;
		ssize_t n = readlink(link, target, sizeof(target) - 1);
		if (n > 0) {
			ret->data_dir = arena_cstr(a, (struct str){ target, (size_t)n });
		} else {
			ret->data_dir = strcmp(ret->name, "coracle") == 0 ? "/var/lib/coracle" : arena_printf(a, "/var/lib/coracle-%s", ret->name).ptr;
		}
	}
	char hex[SHA256_HEX];
	sha256_hex(str_c(ret->data_dir), hex);
	ret->id = arena_cstr(a, (struct str){ hex, 8 });
	ret->run_dir = arena_printf(a, RUN_ROOT "/%s", ret->id).ptr;
	return true;
}

static const char *text_or(struct arena *a, const struct value *v, enum name_id name, const char *def) {
	struct str s = value_str_at(v, name);
	return s.len ? arena_cstr(a, s) : def;
}

static void ranges(struct cluster_config *c) { /* everything that follows from the index */
	struct arena *a = &c->arena;
	c->cluster_cidr = arena_printf(a, "10.%d.0.0/16", c->index ? 199 + c->index : 244).ptr;
	c->service_cidr = arena_printf(a, "10.%d.0.0/16", 96 + c->index).ptr;
	c->dns_ip = arena_printf(a, "10.%d.0.10", 96 + c->index).ptr;
	c->link_cidr = arena_printf(a, "10.89.%d.0/24", c->index).ptr;
	c->link_ip = arena_printf(a, "10.89.%d.1", c->index).ptr;
}

bool cluster_config_load(const struct cluster_args *args, struct cluster_config *ret, struct err *err) {
	auto_buf struct buf b = BUF_INIT(64 * 1024);
	struct value *v;
	if (!cluster_config_find(args, ret, err)) {
		return false;
	}
	if (!file_read(cluster_path(ret, "cluster.json"), &b, err)) {
		if (err->code == ERR_NOT_FOUND) {
			err_set(err, ERR_NOT_FOUND, "there is no cluster \"%s\" in %s: start one with `coracle up`", ret->name, ret->data_dir);
		}
		cluster_config_release(ret);
		return false;
	}
	if (!json_parse(&ret->arena, buf_view(&b), NULL, &v, err)) {
		struct err why = *err;
		err_set(err, ERR_INVALID, "%s/cluster.json cannot be read: %s", ret->data_dir, why.msg);
		cluster_config_release(ret);
		return false;
	}
	struct arena *a = &ret->arena;
	ret->name = text_or(a, v, N_name, ret->name);
	ret->node_name = text_or(a, v, N_nodeName, "node-1");
	ret->node_ip = text_or(a, v, N_nodeIP, "127.0.0.1");
	ret->domain = text_or(a, v, N_clusterDomain, "cluster.local");
	ret->index = (int)value_int_at(v, N_index);
	ret->port = (int)value_int_at(v, N_port);
	ret->kubelet_port = (int)value_int_at(v, N_kubeletPort);
	ret->dns_port = (int)value_int_at(v, N_dnsPort);
	ret->link = value_bool_at(v, N_link);
	ret->forward_dns = value_bool_at(v, N_forwardDNS);
	ranges(ret);
	return true;
}

/* The lowest index that no running cluster of this machine has. */
static int index_pick(const char *own_run_dir) {
	bool taken[64] = { 0 };
	DIR *d = opendir(RUN_ROOT);
	for (struct dirent *e; d && (e = readdir(d));) {
		auto_arena struct arena a = { 0 };
		auto_buf struct buf b = BUF_INIT(64);
		struct err err = { 0 };
		int i;
		const char *dir = arena_printf(&a, RUN_ROOT "/%s", e->d_name).ptr;
		if (e->d_name[0] != '.' && strcmp(dir, own_run_dir) != 0 &&
			file_read(arena_printf(&a, "%s/index", dir).ptr, &b, &err) && str_to_int(str_trim(buf_view(&b)), 0, 63, &i)) {
			taken[i] = true;
		}
	}
	if (d) {
		closedir(d);
	}
	for (int i = 0; i < 64; i++) {
		if (!taken[i]) {
			return i;
		}
	}
	return 63;
}

static bool config_write(struct cluster_config *c, struct err *err) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf b = { 0 };
	struct value *v = value_new_object(&a);
	value_set_str(&a, v, N_name, str_c(c->name));
	value_set_str(&a, v, N_nodeName, str_c(c->node_name));
	value_set_str(&a, v, N_nodeIP, str_c(c->node_ip));
	value_set_str(&a, v, N_clusterDomain, str_c(c->domain));
	value_set_int(&a, v, N_index, c->index);
	value_set_int(&a, v, N_port, c->port);
	value_set_int(&a, v, N_kubeletPort, c->kubelet_port);
	value_set_int(&a, v, N_dnsPort, c->dns_port);
	value_set_bool(&a, v, N_link, c->link);
	value_set_bool(&a, v, N_forwardDNS, c->forward_dns);
	json_print_indent(&b, v, 2);
	buf_char(&b, '\n');
	return file_write(cluster_path(c, "cluster.json"), buf_view(&b), 0644, err);
}

static const char *host_name(struct arena *a) {
	char name[256] = "";
	gethostname(name, sizeof(name) - 1);
	for (char *p = name; *p; p++) {
		*p = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
		if (!((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || *p == '-' || *p == '.')) {
			*p = '-';
		}
	}
	return name[0] && name[0] != '-' && name[0] != '.' ? arena_c(a, name) : "node-1";
}

bool cluster_config_make(const struct cluster_args *args, struct cluster_config *ret, struct err *err) {
	bool old = cluster_config_load(args, ret, err);
	if (!old && err->code != ERR_NOT_FOUND) {
		return false;
	}
	if (!old && !cluster_config_find(args, ret, err)) {
		return false;
	}
	struct arena *a = &ret->arena;
	if (!dir_make(ret->data_dir, 0700, err) || !dir_make(ret->run_dir, 0755, err) || !dir_make(RUN_ROOT "/names", 0755, err)) {
		cluster_config_release(ret);
		return false;
	}
	if (!old) {
		char ip[64];
		ret->index = index_pick(ret->run_dir);
		ranges(ret);
		ret->domain = "cluster.local";
		ret->node_name = args->node_name ? arena_c(a, args->node_name) : host_name(a);
		ret->port = args->port ? args->port : port_pick(6443);
		ret->kubelet_port = port_pick(10250);
		ret->dns_port = port_pick(10053);
		ret->link = args->link || !machine_ip(ip);
		ret->node_ip = args->node_ip ? arena_c(a, args->node_ip) : ret->link ? ret->link_ip : arena_c(a, ip);
	} else {
		ret->link = ret->link || args->link;
		if (args->node_ip) {
			ret->node_ip = arena_c(a, args->node_ip);
		} else if (strcmp(ret->node_ip, ret->link_ip) != 0) { /* the machine may have moved */
			char ip[64];
			if (machine_ip(ip)) {
				ret->node_ip = arena_c(a, ip);
			}
		}
		if (args->port) {
			ret->port = args->port;
		}
	}
	if (!config_write(ret, err)) {
		cluster_config_release(ret);
		return false;
	}
	/* Say to other clusters of this machine which ranges are taken, and to our own commands where the data is. */
	char text[16];
	snprintf(text, sizeof(text), "%d\n", ret->index);
	if (!file_write(cluster_run_path(ret, "index"), str_c(text), 0644, err)) {
		cluster_config_release(ret);
		return false;
	}
	const char *link = arena_printf(a, RUN_ROOT "/names/%s", ret->name).ptr;
	unlink(link);
	if (symlink(ret->data_dir, link) != 0 && errno != EEXIST) {
		err_sys(err, "symlink %s", link);
		cluster_config_release(ret);
		return false;
	}
	return true;
}
