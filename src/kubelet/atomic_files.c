/* SPDX-License-Identifier: Apache-2.0 */
/*
 * atomic_files.c - a folder whose files change all at once: the files stand in a folder of their own
 * ("..2026_11_21_05_46_00.1234"), "..data" is a link to it, and each name that users see is a link
 * through "..data". A change makes a new folder and renames a new "..data" over the old.
 *
 * Used by the configMap, secret, downwardAPI and projected volumes. Blocks on the disk; no state.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "kubelet/volume.h"

bool vfiles_add(struct vfiles *f, struct str path, struct str bytes, mode_t mode, struct err *err) {
	struct str rest = path, piece;

	if (path.len == 0 || path.ptr[0] == '/' || path.len > 4096 || memchr(path.ptr, 0, path.len)) {
		return err_set(err, ERR_INVALID, "invalid path: \"%.*s\" must be relative", STR_ARG(path));
	}
	while (str_next(&rest, '/', &piece)) {
		if (str_eq(piece, S("..")) || piece.len > 255) {
			return err_set(err, ERR_INVALID, "invalid path: \"%.*s\" must not contain '..'", STR_ARG(path));
		}
	}
	if (str_starts(path, S(".."))) {
		return err_set(err, ERR_INVALID, "invalid path: \"%.*s\" must not start with '..'", STR_ARG(path));
	}
	VEC_EACH(&f->at, have) { /* a later source wins */
		if (str_eq(have->path, path)) {
			have->bytes = bytes;
			have->mode = mode;
			return true;
		}
	}
	VEC_PUSH(&f->at, ((struct vfile){ path, bytes, mode }));
	return true;
}

void vfiles_release(struct vfiles *f) {
	VEC_RELEASE(&f->at);
}

uint64_t vfiles_hash(const struct vfiles *f) {
	uint64_t h = f->at.len + 1;

	for (size_t i = 0; i < f->at.len; i++) {
		const struct vfile *v = &f->at.at[i];
		h = h * 1099511628211u ^ str_hash(v->path);
		h = h * 1099511628211u ^ str_hash(v->bytes);
		h = h * 1099511628211u ^ v->mode;
	}
	return h;
}

static bool own(int fd, const char *path, int64_t uid, int64_t gid, mode_t mode, struct err *err) {
	if ((gid >= 0 || uid >= 0) && fchown(fd, uid >= 0 ? (uid_t)uid : (uid_t)-1, gid >= 0 ? (gid_t)gid : (gid_t)-1) != 0) {
		return err_sys(err, "chown %s", path);
	}
	/* after the chown, which clears set-id bits; the umask must not matter */
	return fchmod(fd, mode) == 0 || err_sys(err, "chmod %s", path);
}

static bool make_dir(const char *path, int64_t gid, struct err *err) {
	if (mkdir(path, 0755) != 0 && errno != EEXIST) {
		return err_sys(err, "make folder %s", path);
	}
	auto_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) {
		return err_sys(err, "open %s", path);
	}
	return own(fd, path, -1, gid, gid >= 0 ? 02775 : 0755, err);
}

static bool write_one(const char *dir, const struct vfile *v, int64_t gid, int64_t uid, struct err *err) {
	auto_arena struct arena a = { 0 };
	char *path = arena_cstr(&a, arena_printf(&a, "%s/%.*s", dir, STR_ARG(v->path)));

	for (char *slash = path + strlen(dir) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = 0;
		if (!make_dir(path, gid, err)) {
			return false;
		}
		*slash = '/';
	}
	auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		return err_sys(err, "create %s", path);
	}
	for (size_t done = 0; done < v->bytes.len;) {
		ssize_t n = write(fd, v->bytes.ptr + done, v->bytes.len - done);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return err_sys(err, "write %s", path);
		}
		done += (size_t)n;
	}
	/* the group of fsGroup may read what it owns */
	return own(fd, path, uid, gid, gid >= 0 ? v->mode | 0440 : v->mode, err);
}

/* A link that shows a first path component through ..data; an existing one is right as it is. */
static bool link_names(const char *dir, const struct vfiles *f, struct err *err) {
	auto_arena struct arena a = { 0 };

	for (size_t i = 0; i < f->at.len; i++) {
		struct str head, tail;
		str_cut(f->at.at[i].path, '/', &head, &tail);
		const char *link = pod_path_fmt(&a, "%s/%.*s", dir, STR_ARG(head));
		const char *target = pod_path_fmt(&a, "..data/%.*s", STR_ARG(head));
		if (symlink(target, link) != 0 && errno != EEXIST) {
			return err_sys(err, "link %s", link);
		}
	}
	return true;
}

static bool is_wanted(const struct vfiles *f, struct str name) {
	for (size_t i = 0; i < f->at.len; i++) {
		struct str head, tail;
		str_cut(f->at.at[i].path, '/', &head, &tail);
		if (str_eq(head, name)) {
			return true;
		}
	}
	return false;
}

/* Names and folders of older versions go. */
static bool sweep(const char *dir, const struct vfiles *f, const char *current, struct err *err) {
	auto_arena struct arena a = { 0 };
	DIR *d = opendir(dir);
	bool ok = true;

	if (!d) {
		return err_sys(err, "open %s", dir);
	}
	for (struct dirent *e; (e = readdir(d));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || strcmp(e->d_name, "..data") == 0 ||
			strcmp(e->d_name, current) == 0) {
			continue;
		}
		const char *path = pod_path_fmt(&a, "%s/%s", dir, e->d_name);
		if (strncmp(e->d_name, "..", 2) == 0) {
			ok = dir_remove(path, err) && ok;
		} else if (!is_wanted(f, str_c(e->d_name)) && unlink(path) != 0 && errno != ENOENT) {
			ok = err_sys(err, "remove %s", path);
		}
	}
	closedir(d);
	return ok;
}

bool vfiles_write(const char *dir, const struct vfiles *f, int64_t gid, int64_t uid, struct err *err) {
	auto_arena struct arena a = { 0 };
	char stamp[64];
	struct tm tm;
	time_t now = (time_t)(clock_wall() / NSEC_PER_SEC);

	if (!dir_make(dir, 0755, err) || !make_dir(dir, gid, err)) {
		return false;
	}
	gmtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "..%Y_%m_%d_%H_%M_%S", &tm);
	const char *name = pod_path_fmt(&a, "%s.%u", stamp, (unsigned)(rand_u64() & 0xffffffff));
	const char *fresh = pod_path_fmt(&a, "%s/%s", dir, name);
	if (!make_dir(fresh, gid, err)) {
		return false;
	}
	for (size_t i = 0; i < f->at.len; i++) {
		if (!write_one(fresh, &f->at.at[i], gid, uid, err)) {
			return false;
		}
	}
	const char *tmp = pod_path_fmt(&a, "%s/..data_tmp", dir);
	unlink(tmp);
	if (symlink(name, tmp) != 0) {
		return err_sys(err, "link %s", tmp);
	}
	if (rename(tmp, pod_path_fmt(&a, "%s/..data", dir)) != 0) {
		return err_sys(err, "switch %s/..data", dir);
	}
	return link_names(dir, f, err) && sweep(dir, f, name, err);
}
