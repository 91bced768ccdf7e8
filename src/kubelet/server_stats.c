/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_stats.c - what runs and what it uses: /pods, /runningpods, /stats/summary, /configz, and the Prometheus pages
 * /metrics, /metrics/resource, /metrics/cadvisor. Reads the informer and the runtime when asked; keeps nothing.
 *
 * Source: Kubernetes "Node metrics data"; metric names and labels as upstream's kubelet has them.
 */
#include <stdio.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "kubelet/resources.h"
#include "kubelet/server_int.h"

#define PAGE_MAX ((size_t)64 << 20)

static void pods_reply(struct server *s, struct http_exchange *x, bool running_only) {
	struct client_list list = { 0 };
	struct value *root = value_new_object(&x->arena), *items;

	if (s->k->pods_informer) {
		informer_list(s->k->pods_informer, S(""), &list);
	}
	value_set_str(&x->arena, root, N_kind, S("PodList"));
	value_set_str(&x->arena, root, N_apiVersion, S("v1"));
	value_set(&x->arena, root, N_metadata, value_new_object(&x->arena));
	items = value_ensure_array(&x->arena, root, N_items);
	for (size_t i = 0; i < list.len; i++) {
		if (!running_only || str_eq(value_str_at(list.at[i]->root, N_status, N_phase), S("Running"))) {
			value_push(&x->arena, items, list.at[i]->root);
		}
	}
	kubelet_reply_json(x, root);
	client_list_release(&list);
}

void handle_pods(struct server *s, struct http_exchange *x) {
	pods_reply(s, x, false);
}

void handle_running_pods(struct server *s, struct http_exchange *x) {
	pods_reply(s, x, true);
}

void handle_configz(struct server *s, struct http_exchange *x) {
	struct arena *a = &x->arena;
	struct value *root = value_new_object(a), *c = value_new_object(a);

	value_set_key_str(a, c, S("clusterDomain"), str_c(s->k->o.cluster_domain));
	struct value *dns = value_new_array(a);
	struct str rest = str_c(s->k->o.cluster_dns), piece;
	while (rest.len > 0 && str_next(&rest, ',', &piece)) {
		value_push_str(a, dns, str_trim(piece));
	}
	value_set_key(a, c, S("clusterDNS"), dns);
	value_set_key(a, c, S("maxPods"), value_new_int(a, s->k->o.max_pods > 0 ? s->k->o.max_pods : 110));
	value_set_key(a, c, S("port"), value_new_int(a, kubelet_port(s->k)));
	value_set_key_str(a, c, S("cgroupRoot"), str_c(s->k->o.cgroup_root));
	value_set_key(a, c, S("containerLogMaxFiles"), value_new_int(a, s->k->o.log_files_max));
	value_set_key_str(a, c, S("containerLogMaxSize"), arena_printf(a, "%lld", (long long)s->k->o.log_bytes_max));
	value_set_key(a, root, S("kubeletconfig"), c);
	kubelet_reply_json(x, root);
}

/* ---- /stats/summary --------------------------------------------------------------------------------------------- */

static void put_int(struct arena *a, struct value *o, const char *key, uint64_t n) {
	value_set_key(a, o, str_c(key), value_new_int(a, (int64_t)n));
}

static void put_time(struct arena *a, struct value *o, const char *key, int64_t wall) {
	char text[TIME_TEXT_MAX];

	value_set_key_str(a, o, str_c(key), time_format(wall, text));
}

static void put_usage(struct arena *a, struct value *o, const struct cri_stats *st) {
	struct value *cpu = value_new_object(a), *memory = value_new_object(a);

	put_time(a, cpu, "time", st->at);
	put_int(a, cpu, "usageCoreNanoSeconds", st->cpu_ns);
	put_time(a, memory, "time", st->at);
	if (st->memory_limit > 0) {
		put_int(a, memory, "availableBytes", st->memory_limit > st->memory_working_set ? st->memory_limit - st->memory_working_set : 0);
	}
	put_int(a, memory, "usageBytes", st->memory_usage);
	put_int(a, memory, "workingSetBytes", st->memory_working_set);
	put_int(a, memory, "rssBytes", st->memory_rss);
	put_int(a, memory, "pageFaults", st->memory_page_faults);
	put_int(a, memory, "majorPageFaults", st->memory_major_page_faults);
	value_set_key(a, o, S("cpu"), cpu);
	value_set_key(a, o, S("memory"), memory);
}

static struct value *fs_of(struct arena *a, const char *path) {
	struct value *o = value_new_object(a);
	struct statvfs fs;

	put_time(a, o, "time", clock_wall());
	if (statvfs(path, &fs) == 0) {
		put_int(a, o, "availableBytes", (uint64_t)fs.f_bavail * fs.f_frsize);
		put_int(a, o, "capacityBytes", (uint64_t)fs.f_blocks * fs.f_frsize);
		put_int(a, o, "usedBytes", (uint64_t)(fs.f_blocks - fs.f_bfree) * fs.f_frsize);
		put_int(a, o, "inodesFree", fs.f_ffree);
		put_int(a, o, "inodes", fs.f_files);
		put_int(a, o, "inodesUsed", fs.f_files - fs.f_ffree);
	}
	return o;
}

static struct value *container_summary(struct server *s, struct arena *a, const struct cri_container_status *st) {
	struct value *o = value_new_object(a);
	struct cri_stats stats = { 0 };
	struct err err = { 0 };

	value_set_key_str(a, o, S("name"), st->name);
	put_time(a, o, "startTime", st->started);
	if (cri_container_stats(s->k->o.cri, st->id, &stats, &err)) {
		put_usage(a, o, &stats);
		struct value *rootfs = value_new_object(a);
		put_time(a, rootfs, "time", stats.at);
		put_int(a, rootfs, "usedBytes", stats.rootfs_bytes);
		put_int(a, rootfs, "inodesUsed", stats.rootfs_inodes);
		value_set_key(a, o, S("rootfs"), rootfs);
	}
	return o;
}

static struct value *pod_summary(struct server *s, struct arena *a, const struct cri_sandbox_status *sb) {
	struct value *o = value_new_object(a), *ref = value_new_object(a), *list = value_new_array(a);
	struct cri_containers ctrs = { 0 };
	struct cri_stats stats = { 0 };
	struct err err = { 0 };

	value_set_key_str(a, ref, S("name"), sb->name);
	value_set_key_str(a, ref, S("namespace"), sb->ns);
	value_set_key_str(a, ref, S("uid"), sb->uid);
	value_set_key(a, o, S("podRef"), ref);
	put_time(a, o, "startTime", sb->created);
	if (cri_container_list(s->k->o.cri, a, sb->id, &ctrs, &err)) {
		for (size_t i = 0; i < ctrs.len; i++) {
			if (ctrs.at[i].state == CRI_CONTAINER_RUNNING) {
				value_push(a, list, container_summary(s, a, &ctrs.at[i]));
			}
		}
	}
	value_set_key(a, o, S("containers"), list);
	if (cri_sandbox_stats(s->k->o.cri, sb->id, &stats, &err)) {
		put_usage(a, o, &stats);
		struct value *procs = value_new_object(a);
		put_int(a, procs, "process_count", stats.pids);
		value_set_key(a, o, S("process_stats"), procs);
	}
	return o;
}

void handle_stats_summary(struct server *s, struct http_exchange *x) {
	struct arena *a = &x->arena;
	struct value *root = value_new_object(a), *node = value_new_object(a), *pods = value_new_array(a);
	struct cri_sandboxes list = { 0 };
	struct cri_stats stats = { 0 };
	struct err err = { 0 };

	value_set_key_str(a, node, S("nodeName"), str_c(s->k->o.node_name));
	if (cri_cgroup_stats(s->k->o.cri, S("/"), &stats, &err)) {
		stats.memory_limit = (uint64_t)s->k->memory_bytes;
		put_usage(a, node, &stats);
	}
	value_set_key(a, node, S("fs"), fs_of(a, s->k->o.state_dir));
	if (cri_sandbox_list(s->k->o.cri, a, &list, &err)) {
		for (size_t i = 0; i < list.len; i++) {
			if (list.at[i].state == CRI_SANDBOX_READY) {
				value_push(a, pods, pod_summary(s, a, &list.at[i]));
			}
		}
	}
	value_set_key(a, root, S("node"), node);
	value_set_key(a, root, S("pods"), pods);
	kubelet_reply_json(x, root);
}

/* ---- Prometheus ------------------------------------------------------------------------------------------------------ */

static void page_reply(struct http_exchange *x, const struct buf *b) {
	http_reply_maybe_gzip(x, 200, S("text/plain; version=0.0.4; charset=utf-8"), buf_view(b));
}

static void family(struct buf *b, const char *name, const char *type, const char *help) {
	buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static int64_t process_rss(void) {
	auto_buf struct buf b = BUF_INIT(4096);
	struct err err = { 0 };
	struct str total, rest, resident;
	uint64_t pages = 0;

	if (!file_read("/proc/self/statm", &b, &err)) {
		return 0;
	}
	str_cut(buf_view(&b), ' ', &total, &rest);
	str_cut(rest, ' ', &resident, &rest);
	return str_to_u64(resident, &pages) ? (int64_t)pages * sysconf(_SC_PAGESIZE) : 0;
}

void handle_metrics(struct server *s, struct http_exchange *x) {
	auto_buf struct buf b = BUF_INIT(PAGE_MAX);
	struct cri_sandboxes pods = { 0 };
	struct cri_containers ctrs = { 0 };
	struct err err = { 0 };
	size_t pods_running = 0, states[4] = { 0 };
	static const char *const names[] = { "created", "running", "exited", "unknown" };

	if (cri_sandbox_list(s->k->o.cri, &x->arena, &pods, &err)) {
		for (size_t i = 0; i < pods.len; i++) {
			pods_running += pods.at[i].state == CRI_SANDBOX_READY;
		}
	}
	if (cri_container_list(s->k->o.cri, &x->arena, S(""), &ctrs, &err)) {
		for (size_t i = 0; i < ctrs.len; i++) {
			states[ctrs.at[i].state]++;
		}
	}
	family(&b, "kubelet_node_name", "gauge", "The node's name. The count is always 1.");
	buf_printf(&b, "kubelet_node_name{node=\"%s\"} 1\n", s->k->o.node_name);
	family(&b, "kubelet_running_pods", "gauge", "Number of pods that have a running pod sandbox");
	buf_printf(&b, "kubelet_running_pods %zu\n", pods_running);
	family(&b, "kubelet_running_containers", "gauge", "Number of containers currently running");
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (states[i] > 0) {
			buf_printf(&b, "kubelet_running_containers{container_state=\"%s\"} %zu\n", names[i], states[i]);
		}
	}
	family(&b, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.");
	buf_printf(&b, "process_resident_memory_bytes %lld\n", (long long)process_rss());
	page_reply(x, &b);
}

static double seconds(uint64_t ns) {
	return (double)ns / 1e9;
}

/* Calls fn for each running container with its sandbox. */
static void each_container(struct server *s, struct arena *a,
	void (*fn)(struct buf *b, const struct cri_sandbox_status *sb, const struct cri_container_status *st, const struct cri_stats *stats), struct buf *b) {
	struct cri_sandboxes pods = { 0 };
	struct err err = { 0 };

	if (!cri_sandbox_list(s->k->o.cri, a, &pods, &err)) {
		return;
	}
	for (size_t i = 0; i < pods.len; i++) {
		struct cri_containers ctrs = { 0 };
		if (pods.at[i].state != CRI_SANDBOX_READY || !cri_container_list(s->k->o.cri, a, pods.at[i].id, &ctrs, &err)) {
			continue;
		}
		for (size_t j = 0; j < ctrs.len; j++) {
			struct cri_stats stats = { 0 };
			if (ctrs.at[j].state == CRI_CONTAINER_RUNNING && cri_container_stats(s->k->o.cri, ctrs.at[j].id, &stats, &err)) {
				fn(b, &pods.at[i], &ctrs.at[j], &stats);
			}
		}
	}
}

#define LABELS "container=\"%.*s\",namespace=\"%.*s\",pod=\"%.*s\""
#define LABEL_ARGS(sb, st) STR_ARG((st)->name), STR_ARG((sb)->ns), STR_ARG((sb)->name)

static void resource_cpu(struct buf *b, const struct cri_sandbox_status *sb, const struct cri_container_status *st, const struct cri_stats *v) {
	buf_printf(b, "container_cpu_usage_seconds_total{" LABELS "} %.9g %lld\n", LABEL_ARGS(sb, st), seconds(v->cpu_ns),
		(long long)(v->at / NSEC_PER_MSEC));
}

static void resource_memory(struct buf *b, const struct cri_sandbox_status *sb, const struct cri_container_status *st, const struct cri_stats *v) {
	buf_printf(b, "container_memory_working_set_bytes{" LABELS "} %llu %lld\n", LABEL_ARGS(sb, st), (unsigned long long)v->memory_working_set,
		(long long)(v->at / NSEC_PER_MSEC));
}

static void resource_start(struct buf *b, const struct cri_sandbox_status *sb, const struct cri_container_status *st, const struct cri_stats *v) {
	buf_printf(b, "container_start_time_seconds{" LABELS "} %.3f\n", LABEL_ARGS(sb, st), seconds((uint64_t)st->started));
}

static void pods_resource(struct server *s, struct arena *a, struct buf *b, bool cpu) {
	struct cri_sandboxes pods = { 0 };
	struct err err = { 0 };

	if (!cri_sandbox_list(s->k->o.cri, a, &pods, &err)) {
		return;
	}
	for (size_t i = 0; i < pods.len; i++) {
		const struct cri_sandbox_status *sb = &pods.at[i];
		struct cri_stats v = { 0 };
		if (sb->state != CRI_SANDBOX_READY || !cri_sandbox_stats(s->k->o.cri, sb->id, &v, &err)) {
			continue;
		}
		long long at = v.at / NSEC_PER_MSEC;
		if (cpu) {
			buf_printf(b, "pod_cpu_usage_seconds_total{namespace=\"%.*s\",pod=\"%.*s\"} %.9g %lld\n", STR_ARG(sb->ns), STR_ARG(sb->name),
				seconds(v.cpu_ns), at);
		} else {
			buf_printf(b, "pod_memory_working_set_bytes{namespace=\"%.*s\",pod=\"%.*s\"} %llu %lld\n", STR_ARG(sb->ns), STR_ARG(sb->name),
				(unsigned long long)v.memory_working_set, at);
		}
	}
}

void handle_metrics_resource(struct server *s, struct http_exchange *x) {
	auto_buf struct buf b = BUF_INIT(PAGE_MAX);
	struct cri_stats node = { 0 };
	struct err err = { 0 };

	family(&b, "container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the container in core-seconds");
	each_container(s, &x->arena, resource_cpu, &b);
	family(&b, "container_memory_working_set_bytes", "gauge", "Current working set of the container in bytes");
	each_container(s, &x->arena, resource_memory, &b);
	family(&b, "container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds");
	each_container(s, &x->arena, resource_start, &b);
	if (cri_cgroup_stats(s->k->o.cri, S("/"), &node, &err)) {
		long long at = node.at / NSEC_PER_MSEC;
		family(&b, "node_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the node in core-seconds");
		buf_printf(&b, "node_cpu_usage_seconds_total %.9g %lld\n", seconds(node.cpu_ns), at);
		family(&b, "node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes");
		buf_printf(&b, "node_memory_working_set_bytes %llu %lld\n", (unsigned long long)node.memory_working_set, at);
	}
	family(&b, "pod_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the pod in core-seconds");
	pods_resource(s, &x->arena, &b, true);
	family(&b, "pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes");
	pods_resource(s, &x->arena, &b, false);
	family(&b, "resource_scrape_error", "gauge", "1 if there was an error while getting container metrics, 0 otherwise");
	buf_c(&b, "resource_scrape_error 0\n");
	page_reply(x, &b);
}

static void cadvisor_container(struct buf *b, const struct cri_sandbox_status *sb, const struct cri_container_status *st, const struct cri_stats *v) {
	auto_arena struct arena a = { 0 };
	struct str l = arena_printf(&a, LABELS ",id=\"%.*s/%.*s\",image=\"%.*s\",name=\"%.*s\"", LABEL_ARGS(sb, st), STR_ARG(sb->cgroup_parent),
		STR_ARG(st->id), STR_ARG(st->image), STR_ARG(st->id));

	buf_printf(b, "container_cpu_usage_seconds_total{%.*s,cpu=\"total\"} %.9g\n", STR_ARG(l), seconds(v->cpu_ns));
	buf_printf(b, "container_memory_usage_bytes{%.*s} %llu\n", STR_ARG(l), (unsigned long long)v->memory_usage);
	buf_printf(b, "container_memory_working_set_bytes{%.*s} %llu\n", STR_ARG(l), (unsigned long long)v->memory_working_set);
	buf_printf(b, "container_memory_rss{%.*s} %llu\n", STR_ARG(l), (unsigned long long)v->memory_rss);
	buf_printf(b, "container_processes{%.*s} %llu\n", STR_ARG(l), (unsigned long long)v->pids);
	buf_printf(b, "container_fs_usage_bytes{%.*s} %llu\n", STR_ARG(l), (unsigned long long)v->rootfs_bytes);
	buf_printf(b, "container_start_time_seconds{%.*s} %.3f\n", STR_ARG(l), seconds((uint64_t)st->started));
}

void handle_metrics_cadvisor(struct server *s, struct http_exchange *x) {
	auto_buf struct buf b = BUF_INIT(PAGE_MAX);
	struct cri_stats node = { 0 };
	struct err err = { 0 };

	each_container(s, &x->arena, cadvisor_container, &b);
	if (cri_cgroup_stats(s->k->o.cri, S("/"), &node, &err)) {
		buf_printf(&b, "container_cpu_usage_seconds_total{id=\"/\",cpu=\"total\"} %.9g\ncontainer_memory_working_set_bytes{id=\"/\"} %llu\n",
			seconds(node.cpu_ns), (unsigned long long)node.memory_working_set);
	}
	buf_printf(&b, "machine_cpu_cores %lld\nmachine_memory_bytes %lld\n", (long long)(s->k->cpu_milli / 1000), (long long)s->k->memory_bytes);
	page_reply(x, &b);
}
