/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file.c - see file.h. Blocks; any thread but a loop's. Removing a tree works from folder descriptors,
 * so that a path that is swapped for a link underneath leads nowhere else, and needs the same few
 * descriptors however deep the tree is: a folder too far down is first moved up to the top.
 */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

#define READ_STEP (64 * 1024)
#define REMOVE_DEPTH_MAX 100

/* err_sys() has been called: a missing path is the one failure that callers tell from the others. */
static bool name_missing(struct err *err) {
	if (err->sys == ENOENT || err->sys == ENOTDIR) {
		err->code = ERR_NOT_FOUND;
	}
	return false;
}

bool file_read(const char *path, struct buf *ret, struct err *err) {
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (fd < 0) {
		err_sys(err, "open %s", path);
		return name_missing(err);
	}
	size_t step = READ_STEP;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size < READ_STEP) {
		step = (size_t)st.st_size + 1; /* one more, to see the end; /proc says 0 and the step grows below */
		step = MAX(step, (size_t)512);
	}
	size_t max = ret->max ? ret->max : BUF_MAX_DEFAULT;
	for (;; step = READ_STEP) {
		char extra, *p = &extra;
		size_t room = MIN(step, max - ret->len);
		if (room && !(p = buf_reserve(ret, room))) {
			return err_set(err, ERR_TOO_LARGE, "read %s: more than %zu bytes", path, max);
		}
		ssize_t n = read(fd, p, room ? room : 1);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return err_sys(err, "read %s", path);
		}
		if (n == 0) {
			return true;
		}
		if (!room) {
			return err_set(err, ERR_TOO_LARGE, "read %s: more than %zu bytes", path, max);
		}
		ret->len += (size_t)n;
	}
}

static bool write_all(int fd, struct str bytes, const char *path, struct err *err) {
	while (bytes.len) {
		ssize_t n = write(fd, bytes.ptr, bytes.len);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return err_sys(err, "write %s", path);
		}
		bytes = str_from(bytes, (size_t)n);
	}
	return true;
}

static bool sync_parent(const char *path, struct err *err) {
	struct str p = str_c(path);
	ptrdiff_t slash = str_rindex(p, '/');
	auto_free char *parent = slash < 0 ? xstrdup(".") : slash == 0 ? xstrdup("/") : str_dup(str_sub(p, 0, (size_t)slash));
	auto_fd int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		return err_sys(err, "open %s", parent);
	}
	if (fsync(fd) < 0 && errno != EINVAL && errno != ENOTSUP) { /* not every file system can */
		return err_sys(err, "sync %s", parent);
	}
	return true;
}

static bool write_beside(const char *path, const char *beside, struct str bytes, mode_t mode, struct err *err) {
	auto_fd int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0) {
		err_sys(err, "create %s", path);
		return name_missing(err);
	}
	bool ok = write_all(fd, bytes, path, err);
	if (ok && fchmod(fd, mode) < 0) { /* whatever the umask is */
		ok = err_sys(err, "chmod %s", path);
	}
	if (ok && fsync(fd) < 0) {
		ok = err_sys(err, "sync %s", path);
	}
	if (ok && rename(beside, path) < 0) {
		ok = err_sys(err, "rename to %s", path);
	}
	if (!ok) {
		unlink(beside);
	}
	return ok;
}

bool file_write(const char *path, struct str bytes, mode_t mode, struct err *err) {
	static _Atomic unsigned count; /* with the pid: no two writers share a name */
	auto_free char *beside = xasprintf("%s.%d-%u.tmp", path, (int)getpid(), atomic_fetch_add(&count, 1));
	if (unlink(beside) < 0 && errno != ENOENT && errno != ENOTDIR) { /* left by a process of the same pid that died */
		return err_sys(err, "remove %s", beside);
	}
	return write_beside(path, beside, bytes, mode, err) && sync_parent(path, err);
}

bool file_put(const char *path, struct str bytes, struct err *err) {
	auto_fd int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0) {
		err_sys(err, "open %s", path);
		return name_missing(err);
	}
	return write_all(fd, bytes, path, err);
}

static bool is_dir(const char *path) {
	struct stat st;
	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool dir_make(const char *path, mode_t mode, struct err *err) {
	auto_free char *p = xstrdup(path);
	size_t len = strlen(p);
	for (size_t i = 1; i <= len; i++) {
		if (p[i] != '/' && p[i] != 0) {
			continue;
		}
		p[i] = 0;
		if (mkdir(p, mode) < 0 && !(errno == EEXIST && is_dir(p))) {
			/* A parent that is there but may not be written, or is on a read-only file system, is fine too. */
			if (!(errno == EACCES || errno == EROFS || errno == EPERM) || !is_dir(p)) {
				return err_sys(err, "make folder %s", p);
			}
		}
		p[i] = i < len ? '/' : 0;
	}
	return true;
}

/* ---- removing a tree ---------------------------------------------------------------------------- */

struct removal {
	const char *path; /* for messages */
	int top;          /* the tree's own folder */
	unsigned moved;   /* folders moved up so far */
	bool failed;      /* err holds the first failure; the rest is removed all the same */
	struct err *err;
};

static void remove_failed(struct removal *r, const char *what, const char *name) {
	if (!r->failed) {
		err_sys(r->err, "remove %s: %s %s", r->path, what, name);
		r->failed = true;
	}
}

static bool mount_point(struct removal *r, int dir, const char *name) {
	struct statx sx;
	if (statx(dir, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE, &sx) < 0) {
		return false; /* the unlink that follows tells why */
	}
	if (!(sx.stx_attributes_mask & sx.stx_attributes & STATX_ATTR_MOUNT_ROOT)) {
		return false;
	}
	if (!r->failed) {
		err_set(r->err, ERR_IO, "remove %s: %s is a mount point", r->path, name);
		r->failed = true;
	}
	return true;
}

static bool remove_children(struct removal *r, int dir, int depth);

/* True when something is gone (or moved), so that another look at the folder makes sense. */
static bool remove_entry(struct removal *r, int dir, const char *name, int depth) {
	if (mount_point(r, dir, name)) {
		return false;
	}
	if (unlinkat(dir, name, 0) == 0 || errno == ENOENT) {
		return true;
	}
	if (errno != EISDIR && errno != EPERM) { /* EPERM is POSIX's word for a folder */
		remove_failed(r, "unlink", name);
		return false;
	}
	if (depth >= REMOVE_DEPTH_MAX) {
		char up[32];
		snprintf(up, sizeof(up), ".removing-%u", r->moved++);
		if (renameat(dir, name, r->top, up) == 0) {
			return true;
		}
		remove_failed(r, "move", name);
		return false;
	}
	int child = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (child < 0) {
		remove_failed(r, "open", name);
		return false;
	}
	bool some = remove_children(r, child, depth + 1);
	if (unlinkat(dir, name, AT_REMOVEDIR) == 0 || errno == ENOENT) {
		return true;
	}
	remove_failed(r, "remove folder", name);
	return some;
}

/* Takes `dir`. Looks again while the folder shrinks: entries may move under the reader's feet. */
static bool remove_children(struct removal *r, int dir, int depth) {
	bool some = false, again = true;
	DIR *d = fdopendir(dir);
	if (!d) {
		remove_failed(r, "read", ".");
		close(dir);
		return false;
	}
	while (again) {
		struct dirent *e;
		again = false;
		rewinddir(d);
		while ((e = readdir(d))) {
			if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
				again |= remove_entry(r, dir, e->d_name, depth);
			}
		}
		some |= again;
		if (r->failed) {
			break;
		}
	}
	closedir(d);
	return some;
}

bool dir_remove(const char *path, struct err *err) {
	struct removal r = { .path = path, .err = err };
	if (mount_point(&r, AT_FDCWD, path)) {
		return false;
	}
	if (unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR) {
		return true;
	}
	if (errno != EISDIR && errno != EPERM) {
		return err_sys(err, "remove %s", path);
	}
	r.top = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (r.top < 0) {
		return err_sys(err, "remove %s", path);
	}
	remove_children(&r, r.top, 0);
	if (!r.failed && rmdir(path) < 0 && errno != ENOENT) {
		return err_sys(err, "remove %s", path);
	}
	return !r.failed;
}

bool file_exists(const char *path) {
	return access(path, F_OK) == 0;
}
