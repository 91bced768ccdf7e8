/* SPDX-License-Identifier: Apache-2.0 */
/*
 * subpath.c - a path inside a volume, mounted by itself. The programs of the pod may write the volume, so
 * its links are not to be trusted: the kernel resolves the path with the volume as its root
 * (openat2, RESOLVE_IN_ROOT), and what was found is bound by its descriptor, not by its name.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "kubelet/volume.h"

static int open_inside(int root, const char *path, uint64_t flags) {
	struct open_how how = { .flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };

	return (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
}

static bool path_ok(struct str path, struct err *err) {
	struct str rest = path, piece;

	if (path.ptr[0] == '/') {
		return err_set(err, ERR_INVALID, "error SubPath `%.*s` must not be an absolute path", STR_ARG(path));
	}
	while (str_next(&rest, '/', &piece)) {
		if (str_eq(piece, S(".."))) {
			return err_set(err, ERR_INVALID, "unable to provision SubPath `%.*s`: must not contain '..'", STR_ARG(path));
		}
	}
	return true;
}

/* Opens the path, making missing folders with the volume's own mode and owner. */
static int open_or_make(int root, struct str path, struct err *err) {
	auto_arena struct arena a = { 0 };
	char *whole = arena_cstr(&a, path);
	struct stat st;
	int fd = open_inside(root, whole, O_PATH);

	if (fd >= 0 || errno != ENOENT) {
		if (fd < 0) {
			(void)err_sys(err, "failed to prepare subPath \"%s\"", whole);
		}
		return fd;
	}
	if (fstat(root, &st) != 0) {
		(void)err_sys(err, "stat the volume");
		return -1;
	}
	mode_t mode = st.st_mode & 07777 ? st.st_mode & 07777 : 0750;
	fd = dup(root);
	for (char *piece = whole; piece && fd >= 0;) {
		char *slash = strchr(piece, '/');
		if (slash) {
			*slash = 0;
		}
		if (*piece) {
			/* links in the part that exists are not followed here: only what the kernel resolved above may be one */
			int made = mkdirat(fd, piece, mode);
			if (made != 0 && errno != EEXIST) {
				(void)err_sys(err, "failed to create subPath directory \"%.*s\"", STR_ARG(path));
				close(fd);
				return -1;
			}
			bool fresh = made == 0;
			int next = open_inside(fd, piece, O_DIRECTORY | O_RDONLY | O_NOFOLLOW);
			close(fd);
			fd = next;
			if (fd >= 0 && fresh && (fchmod(fd, mode) != 0 || fchown(fd, st.st_uid, st.st_gid) != 0)) {
				(void)err_sys(err, "set the mode of subPath \"%.*s\"", STR_ARG(path));
				close(fd);
				return -1;
			}
		}
		piece = slash ? slash + 1 : NULL;
	}
	if (fd < 0) {
		(void)err_sys(err, "failed to create subPath directory \"%.*s\"", STR_ARG(path));
	}
	return fd;
}

static bool make_target(const char *target, bool folder, struct err *err) {
	umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW); /* of an earlier start of the container */
	if (folder) {
		unlink(target);
		return dir_make(target, 0750, err);
	}
	rmdir(target);
	int fd = open(target, O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0) {
		return err_sys(err, "create %s", target);
	}
	close(fd);
	return true;
}

bool subpath_bind(struct pod *p, struct arena *a, const struct volume *v, struct str sub_path, const char *ctr, size_t index, bool readonly,
	struct str *ret, struct err *err) {
	const char *dir = pod_path_fmt(a, "%s/volume-subpaths/%s/%s", p->dir, v->name, ctr);
	const char *target = pod_path_fmt(a, "%s/%zu", dir, index);
	struct stat st;

	if (!path_ok(sub_path, err)) {
		return false;
	}
	auto_fd int root = open(v->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0) {
		return err_sys(err, "open volume %s", v->path);
	}
	auto_fd int fd = open_or_make(root, sub_path, err);
	if (fd < 0) {
		return false;
	}
	if (fstat(fd, &st) != 0) {
		return err_sys(err, "stat subPath \"%.*s\"", STR_ARG(sub_path));
	}
	if (!dir_make(dir, 0750, err) || !make_target(target, S_ISDIR(st.st_mode), err)) {
		return false;
	}
	const char *source = pod_path_fmt(a, "/proc/self/fd/%d", fd);
	if (mount(source, target, NULL, MS_BIND, NULL) != 0) {
		return err_sys(err, "bind subPath \"%.*s\"", STR_ARG(sub_path));
	}
	*ret = str_c(target);
	return true;
}
