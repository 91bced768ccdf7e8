/* SPDX-License-Identifier: Apache-2.0 */
/* volume_empty_dir.c - emptyDir: a folder of the pod, or a tmpfs (medium Memory), or huge pages. */
#include <errno.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/file.h"
#include "kubelet/resources.h"
#include "kubelet/volume.h"

#define TMPFS_MAGIC_NUMBER 0x01021994
#define HUGETLBFS_MAGIC_NUMBER 0x958458f6

static bool is_mounted(const char *path, long magic) {
	struct statfs st;
	auto_arena struct arena a = { 0 };
	struct stat own, up;

	return statfs(path, &st) == 0 && st.f_type == magic && stat(path, &own) == 0 && stat(pod_path_fmt(&a, "%s/..", path), &up) == 0 &&
		own.st_dev != up.st_dev;
}

/* The tmpfs may hold what its own limit, or what the pod's memory limit, allows. */
static int64_t tmpfs_bytes(struct pod *p, const struct value *pod, const struct value *source) {
	struct pod_sums sums;
	int64_t limit = qty_value(value_get(source, N_sizeLimit));

	pod_sums(pod, &sums);
	int64_t bytes = sums.memory_limit > 0 ? sums.memory_limit : kubelet_allocatable_memory(p->k);
	return limit > 0 ? MIN(limit, bytes) : bytes;
}

static bool mount_memory(struct pod *p, struct arena *a, const struct value *pod, const struct value *source, const char *path, struct err *err) {
	const char *options = pod_path_fmt(a, "size=%lld,mode=0777", (long long)tmpfs_bytes(p, pod, source));

	if (is_mounted(path, TMPFS_MAGIC_NUMBER)) {
		return true;
	}
	return mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, options) == 0 || err_sys(err, "mount tmpfs on %s", path);
}

static bool mount_huge(struct arena *a, struct str medium, const char *path, struct err *err) {
	struct str size = str_starts(medium, S("HugePages-")) ? str_from(medium, 10) : S("2Mi");
	int64_t bytes = qty_value(value_new_str(a, size));

	if (is_mounted(path, HUGETLBFS_MAGIC_NUMBER)) {
		return true;
	}
	return mount("hugetlbfs", path, "hugetlbfs", MS_NOSUID | MS_NODEV, pod_path_fmt(a, "pagesize=%lld", (long long)bytes)) == 0 ||
		err_sys(err, "mount hugetlbfs on %s", path);
}

static bool prepare(struct pod *p, struct arena *a, const struct value *pod, const struct value *volume, struct volume *v, struct err *err) {
	const struct value *source = value_get(volume, N_emptyDir);
	struct str medium = value_str_at(source, N_medium);
	int64_t gid = pod_fs_group(pod);

	if (!dir_make(v->path, 0777, err)) {
		return false;
	}
	if (str_eq(medium, S("Memory")) && !mount_memory(p, a, pod, source, v->path, err)) {
		return false;
	}
	if (str_starts(medium, S("HugePages")) && !mount_huge(a, medium, v->path, err)) {
		return false;
	}
	if (gid >= 0 && chown(v->path, (uid_t)-1, (gid_t)gid) != 0) {
		return err_sys(err, "chown %s", v->path);
	}
	return chmod(v->path, gid >= 0 ? 02777 : 0777) == 0 || err_sys(err, "chmod %s", v->path);
}

const struct volume_plugin volume_empty_dir = { .name = "kubernetes.io~empty-dir", .source = N_emptyDir, .prepare = prepare };
