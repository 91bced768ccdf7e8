/* SPDX-License-Identifier: Apache-2.0 */
/* node_info.c - reads what the machine is from /proc, /sys and /etc. What is missing stays empty. */
#include <dirent.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/file.h"
#include "kubelet/node.h"

static struct str read_line(struct arena *a, const char *path) {
	auto_buf struct buf b = BUF_INIT(64 << 10);
	struct err err = { 0 };
	struct str line, rest;

	if (!file_read(path, &b, &err)) {
		return S("");
	}
	rest = buf_view(&b);
	str_cut(rest, '\n', &line, &rest);
	return arena_str(a, str_trim(line));
}

static struct str os_name(struct arena *a) {
	auto_buf struct buf b = BUF_INIT(64 << 10);
	struct err err = { 0 };
	struct str rest, line;

	if (!file_read("/etc/os-release", &b, &err)) {
		return S("Linux");
	}
	rest = buf_view(&b);
	while (str_next(&rest, '\n', &line)) {
		struct str key, value;
		if (str_cut(line, '=', &key, &value) && str_eq(key, S("PRETTY_NAME"))) {
			value = str_trim(value);
			if (value.len >= 2 && value.ptr[0] == '"') {
				value = str_sub(value, 1, value.len - 1);
			}
			return arena_str(a, value);
		}
	}
	return S("Linux");
}

static int64_t meminfo(const char *key) {
	auto_buf struct buf b = BUF_INIT(64 << 10);
	struct err err = { 0 };
	struct str rest, line;
	uint64_t kib = 0;

	if (!file_read("/proc/meminfo", &b, &err)) {
		return 0;
	}
	rest = buf_view(&b);
	while (str_next(&rest, '\n', &line)) {
		struct str name, value, number, unit;
		if (str_cut(line, ':', &name, &value) && str_eqc(name, key)) {
			str_cut(str_trim(value), ' ', &number, &unit);
			return str_to_u64(number, &kib) ? (int64_t)kib * 1024 : 0;
		}
	}
	return 0;
}

/* Huge pages that were set aside at boot or since: /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages. */
static void huge_read(struct machine *m) {
	DIR *d = opendir("/sys/kernel/mm/hugepages");

	for (struct dirent *e; d && m->huge_len < ARRAY_LEN(m->huge) && (e = readdir(d));) {
		auto_arena struct arena a = { 0 };
		struct str name = str_c(e->d_name);
		int64_t kib, pages = 0;
		if (!str_starts(name, S("hugepages-")) || !str_ends(name, S("kB")) || !str_to_i64(str_sub(name, 10, name.len - 2), &kib)) {
			continue;
		}
		struct str text = read_line(&a, pod_path_fmt(&a, "/sys/kernel/mm/hugepages/%s/nr_hugepages", e->d_name));
		if (!str_to_i64(text, &pages)) {
			continue;
		}
		m->huge[m->huge_len].page_bytes = kib * 1024;
		m->huge[m->huge_len++].pages = pages;
	}
	if (d) {
		closedir(d);
	}
}

void machine_read(struct arena *a, const char *dir, struct machine *ret) {
	struct utsname u = { 0 };
	struct statvfs fs;

	uname(&u);
	*ret = (struct machine){
		.machine_id = read_line(a, "/etc/machine-id"),
		.system_uuid = read_line(a, "/sys/class/dmi/id/product_uuid"),
		.boot_id = read_line(a, "/proc/sys/kernel/random/boot_id"),
		.kernel = arena_str(a, str_c(u.release)),
		.os_image = os_name(a),
		.cpus = (int)MAX(sysconf(_SC_NPROCESSORS_ONLN), 1),
		.memory_bytes = meminfo("MemTotal"),
		.swap_bytes = meminfo("SwapTotal"),
	};
	if (ret->machine_id.len == 0) {
		ret->machine_id = read_line(a, "/var/lib/dbus/machine-id");
	}
	if (ret->system_uuid.len == 0) {
		ret->system_uuid = ret->machine_id;
	}
	huge_read(ret);
	if (statvfs(dir, &fs) == 0) {
		ret->disk_bytes = (int64_t)(fs.f_blocks * fs.f_frsize);
	}
}

const char *machine_arch(void) {
#if defined(__x86_64__)
	return "amd64";
#elif defined(__aarch64__)
	return "arm64";
#elif defined(__riscv)
	return "riscv64";
#else
	return "unknown";
#endif
}
