/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.c - what the room writes down about sandboxes and containers, as JSON.
 *
 * Records are renamed into place, so that a reader sees the old or the new one whole. They are not
 * flushed: what they describe does not outlive the machine either.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "runtime/runtime.h"

struct path path_fmt(const char *fmt, ...) {
	struct path p;
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(p.c, sizeof(p.c), fmt, ap);
	va_end(ap);
	assert(n >= 0 && (size_t)n < sizeof(p.c));
	return p;
}

bool record_write(const char *path, const struct value *v, struct err *err) {
	auto_buf struct buf b = BUF_INIT(RUNTIME_RECORD_MAX);
	struct path tmp = path_fmt("%s.new", path);

	if (!json_print(&b, v)) {
		return err_set(err, ERR_TOO_LARGE, "%s would be larger than %d bytes", path, RUNTIME_RECORD_MAX);
	}
	auto_fd int fd = open(tmp.c, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0) {
		return err_sys(err, "open %s", tmp.c);
	}
	for (size_t done = 0; done < b.len;) {
		ssize_t n = write(fd, b.ptr + done, b.len - done);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			return err_sys(err, "write %s", tmp.c);
		}
		done += (size_t)n;
	}
	if (rename(tmp.c, path) != 0) {
		return err_sys(err, "rename %s", tmp.c);
	}
	return true;
}

bool record_read(struct arena *a, const char *path, struct value **ret, struct err *err) {
	auto_buf struct buf b = BUF_INIT(RUNTIME_RECORD_MAX);
	if (!file_read(path, &b, err)) {
		return false;
	}
	return json_parse(a, buf_view(&b), NULL, ret, err) || err_wrap(err, "read %s", path);
}

struct value *get(const struct value *v, const char *key) {
	return value_get_str(v, str_c(key));
}
struct str get_str(const struct value *v, const char *key) {
	return value_as_str(get(v, key));
}
int64_t get_int(const struct value *v, const char *key) {
	return value_as_int(get(v, key));
}
bool get_bool(const struct value *v, const char *key) {
	return value_as_bool(get(v, key));
}
struct value *set(struct arena *a, struct value *v, const char *key, const struct value *item) {
	return value_set_key(a, v, str_c(key), item);
}
void set_str(struct arena *a, struct value *v, const char *key, struct str s) {
	value_set_key_str(a, v, str_c(key), s);
}
void set_int(struct arena *a, struct value *v, const char *key, int64_t n) {
	set(a, v, key, value_new_int(a, n));
}
void set_bool(struct arena *a, struct value *v, const char *key, bool b) {
	set(a, v, key, value_new_bool(a, b));
}

struct value *record_kvs(struct arena *a, struct cri_kvs kvs) {
	struct value *v = value_new_object(a);
	for (size_t i = 0; i < kvs.len; i++) {
		value_set_key_str(a, v, kvs.at[i].key, kvs.at[i].value);
	}
	return v;
}

struct value *record_strs(struct arena *a, struct cri_strs strs) {
	struct value *v = value_new_array(a);
	for (size_t i = 0; i < strs.len; i++) {
		value_push_str(a, v, strs.at[i]);
	}
	return v;
}

struct cri_kvs record_to_kvs(struct arena *a, const struct value *v) {
	size_t n = value_is(v, VALUE_OBJECT) ? value_len(v) : 0;
	struct cri_kv *at = arena_array(a, struct cri_kv, n);
	for (size_t i = 0; i < n; i++) {
		at[i] = (struct cri_kv){ arena_str(a, value_key(v, i)), arena_str(a, value_as_str(value_item(v, i))) };
	}
	return (struct cri_kvs){ at, n };
}

struct cri_strs record_to_strs(struct arena *a, const struct value *v) {
	size_t n = value_is(v, VALUE_ARRAY) ? value_len(v) : 0;
	struct str *at = arena_array(a, struct str, n);
	for (size_t i = 0; i < n; i++) {
		at[i] = arena_str(a, value_as_str(value_item(v, i)));
	}
	return (struct cri_strs){ at, n };
}

struct value *record_resources(struct arena *a, const struct cri_resources *r) {
	struct value *v = value_new_object(a);
	set_int(a, v, "cpuShares", (int64_t)r->cpu_shares);
	set_int(a, v, "cpuQuota", r->cpu_quota_us);
	set_int(a, v, "cpuPeriod", (int64_t)r->cpu_period_us);
	set_int(a, v, "memoryLimit", r->memory_limit);
	set_int(a, v, "memorySwapLimit", r->memory_swap_limit);
	set_int(a, v, "pidsLimit", r->pids_limit);
	set_str(a, v, "cpusetCpus", r->cpuset_cpus);
	set_str(a, v, "cpusetMems", r->cpuset_mems);
	set(a, v, "hugepages", record_kvs(a, r->hugepages));
	set(a, v, "unified", record_kvs(a, r->unified));
	set_int(a, v, "oomScoreAdj", r->oom_score_adj);
	set_bool(a, v, "oomScoreAdjSet", r->oom_score_adj_set);
	return v;
}

void record_to_resources(struct arena *a, const struct value *v, struct cri_resources *ret) {
	*ret = (struct cri_resources){
		.cpu_shares = (uint64_t)get_int(v, "cpuShares"),
		.cpu_quota_us = get_int(v, "cpuQuota"),
		.cpu_period_us = (uint64_t)get_int(v, "cpuPeriod"),
		.memory_limit = get_int(v, "memoryLimit"),
		.memory_swap_limit = get_int(v, "memorySwapLimit"),
		.pids_limit = get_int(v, "pidsLimit"),
		.cpuset_cpus = arena_str(a, get_str(v, "cpusetCpus")),
		.cpuset_mems = arena_str(a, get_str(v, "cpusetMems")),
		.hugepages = record_to_kvs(a, get(v, "hugepages")),
		.unified = record_to_kvs(a, get(v, "unified")),
		.oom_score_adj = (int)get_int(v, "oomScoreAdj"),
		.oom_score_adj_set = get_bool(v, "oomScoreAdjSet"),
	};
}
