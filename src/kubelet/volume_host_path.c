/* SPDX-License-Identifier: Apache-2.0 */
/* volume_host_path.c - hostPath: a file or folder of the node, checked or made as its type says. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "kubelet/host_path.h"
#include "kubelet/volume.h"

static bool make_file(const char *path, struct err *err) {
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

	if (fd < 0) {
		return err_sys(err, "hostPath type check failed: create %s", path);
	}
	close(fd);
	return true;
}

bool host_path_check(const char *path, struct str type, struct err *err) {
	static const struct {
		const char *type, *what;
		mode_t format;
	} rows[] = {
		{ "DirectoryOrCreate", "directory", S_IFDIR }, { "Directory", "directory", S_IFDIR }, { "FileOrCreate", "file", S_IFREG },
		{ "File", "file", S_IFREG },                   { "Socket", "socket file", S_IFSOCK }, { "CharDevice", "character device", S_IFCHR },
		{ "BlockDevice", "block device", S_IFBLK },
	};
	struct stat st;

	if (stat(path, &st) != 0) {
		if (errno != ENOENT) {
			return err_sys(err, "hostPath type check failed: stat %s", path);
		}
		if (str_eq(type, S("DirectoryOrCreate")) || type.len == 0) {
			return dir_make(path, 0755, err);
		}
		if (str_eq(type, S("FileOrCreate"))) {
			return make_file(path, err);
		}
		st.st_mode = 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (str_eqc(type, rows[i].type) && (st.st_mode & S_IFMT) != rows[i].format) {
			return err_set(err, ERR_INVALID, "hostPath type check failed: %s is not a %s", path, rows[i].what);
		}
	}
	return true;
}

static bool prepare(struct pod *p, struct arena *a, const struct value *pod, const struct value *volume, struct volume *v, struct err *err) {
	const struct value *source = value_get(volume, N_hostPath);

	free(v->path);
	v->path = str_dup(value_str_at(source, N_path));
	return host_path_check(v->path, value_str_at(source, N_type), err);
}

const struct volume_plugin volume_host_path = { .name = "kubernetes.io~host-path", .source = N_hostPath, .prepare = prepare };
