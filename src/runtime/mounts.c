/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mounts.c - root file systems (overlay) and what goes with them. Called by sandboxes and containers;
 * changes the mount table of our namespace, below the room's own folders only. Any thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "runtime/runtime.h"

/* mount(2) takes one page of options. */
enum { MOUNT_OPTIONS_MAX = 4095, OVERLAY_LAYERS_MAX = 500 };

/*
 * Overlay wants the top layer first. Paths that do not fit the page are given through descriptors
 * (/proc/self/fd/N), which takes a hundred and more layers.
 */
static bool options_make(struct buf *b, const struct str *layers, const int *fds, size_t len, const char *upper, const char *work, bool is_volatile) {
	buf_clear(b);
	buf_c(b, "lowerdir=");
	for (size_t i = len; i-- > 0;) {
		if (fds) {
			buf_printf(b, "/proc/self/fd/%d", fds[i]);
		} else {
			buf_str(b, layers[i]);
		}
		buf_c(b, i ? ":" : "");
	}
	return !upper ? !b->overflow : buf_printf(b, ",upperdir=%s,workdir=%s%s", upper, work, is_volatile ? ",volatile" : "");
}

static bool overlay_try(struct buf *options, const char *target) {
	return mount("overlay", target, "overlay", 0, buf_cstr(options)) == 0;
}

bool overlay_mount(const struct str *layers, size_t len, const char *upper, const char *work, const char *target, struct err *err) {
	auto_buf struct buf options = BUF_INIT(MOUNT_OPTIONS_MAX);
	VEC(int) fds = { 0 };
	bool ok = true, by_fd = false;

	if (len == 0 || len > OVERLAY_LAYERS_MAX) {
		return err_set(err, ERR_INVALID, "an image with %zu layers cannot be mounted (1 to %d can)", len, OVERLAY_LAYERS_MAX);
	}
	if (!options_make(&options, layers, NULL, len, upper, work, true)) {
		by_fd = true;
		for (size_t i = 0; i < len && ok; i++) {
			char *path = str_dup(layers[i]);
			int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
			ok = fd >= 0 || err_sys(err, "open layer %s", path);
			free(path);
			if (ok) {
				VEC_PUSH(&fds, fd);
			}
		}
		if (ok && !options_make(&options, layers, fds.at, len, upper, work, true)) {
			ok = err_set(err, ERR_INVALID, "an image with %zu layers has too many to be mounted", len);
		}
	}
	/* "volatile" (Linux 5.10) spares the flush of the writable layer at unmount: it is thrown away anyway. */
	if (ok && !overlay_try(&options, target)) {
		bool plain = errno == EINVAL && options_make(&options, layers, by_fd ? fds.at : NULL, len, upper, work, false) && overlay_try(&options, target);
		ok = plain || err_sys(err, "mount the image at %s", target);
	}
	VEC_EACH(&fds, fd) {
		close(*fd);
	}
	VEC_RELEASE(&fds);
	return ok;
}

/* An overlay has two layers at least; one alone is bound. Nothing of it can be written either way. */
bool cri_image_mount(struct cri *c, struct str image_id, const char *target, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct cri_strs layers;

	if (!image_layer_dirs(c->images, &a, image_id, &layers, err)) {
		return false;
	}
	if (layers.len != 1) {
		return overlay_mount(layers.at, layers.len, NULL, NULL, target, err);
	}
	if (mount(arena_cstr(&a, layers.at[0]), target, NULL, MS_BIND, NULL) != 0) {
		return err_sys(err, "mount the image at %s", target);
	}
	return mount(NULL, target, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) == 0 ||
		err_sys(err, "make the image at %s read-only", target);
}

bool overlay_check(const char *root_dir, struct err *err) {
	static const char *const names[] = { "low", "up", "work", "at" };
	struct path dir = path_fmt("%s/tmp/overlay-XXXXXX", root_dir), at[ARRAY_LEN(names)];
	struct err why = { 0 };

	if (!mkdtemp(dir.c)) {
		return err_sys(err, "make a folder like %s", dir.c);
	}
	bool ok = true;
	for (size_t i = 0; i < ARRAY_LEN(names) && ok; i++) {
		at[i] = path_fmt("%s/%s", dir.c, names[i]);
		ok = mkdir(at[i].c, 0755) == 0 || err_sys(&why, "make %s", at[i].c);
	}
	struct str low = str_c(at[0].c);
	ok = ok && overlay_mount(&low, 1, at[1].c, at[2].c, at[3].c, &why);
	if (ok) {
		mount_drop(at[3].c);
	} else {
		err_set(err, ERR_UNAVAILABLE, "overlay file systems do not work below %s (%s); put the data folder on ext4, xfs or tmpfs, not on another overlay, and load the "
			"kernel's overlay module", root_dir, why.msg);
	}
	struct err ignored = { 0 };
	(void)!dir_remove(dir.c, &ignored);
	return ok;
}

void mount_drop(const char *path) {
	for (int i = 0; i < 16 && umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0; i++) {
	}
}

/* mountinfo writes space, tab, newline and backslash as three octal digits. */
static struct str unescape(struct arena *a, struct str s) {
	char *out = arena_alloc(a, s.len + 1);
	size_t n = 0;
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] == '\\' && i + 3 < s.len) {
			out[n++] = (char)((s.ptr[i + 1] - '0') * 64 + (s.ptr[i + 2] - '0') * 8 + (s.ptr[i + 3] - '0'));
			i += 3;
		} else {
			out[n++] = s.ptr[i];
		}
	}
	out[n] = 0;
	return (struct str){ out, n };
}

void mount_drop_below(const char *path) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf text = BUF_INIT(64 << 20);
	struct err ignored = { 0 };
	VEC(const char *) found = { 0 };

	if (!file_read("/proc/self/mountinfo", &text, &ignored)) {
		return;
	}
	struct str lines = buf_view(&text), line, prefix = str_c(path);
	while (str_next(&lines, '\n', &line)) {
		struct str rest = line, item = { 0 };
		for (int i = 0; i < 5; i++) {
			if (!str_next(&rest, ' ', &item)) {
				break;
			}
		}
		item = unescape(&a, item);
		if (str_starts(item, prefix) && (item.len == prefix.len || item.ptr[prefix.len] == '/')) {
			VEC_PUSH(&found, item.ptr);
		}
	}
	for (size_t i = found.len; i-- > 0;) { /* later mounts first */
		umount2(found.at[i], MNT_DETACH | UMOUNT_NOFOLLOW);
	}
	VEC_RELEASE(&found);
}

bool tmpfs_mount(const char *target, uint64_t bytes, struct err *err) {
	char options[64];
	snprintf(options, sizeof(options), "mode=1777,size=%llu", (unsigned long long)bytes);
	if (mount("shm", target, "tmpfs", MS_NOEXEC | MS_NOSUID | MS_NODEV, options) != 0) {
		return err_sys(err, "mount a tmpfs at %s", target);
	}
	return true;
}

void dir_usage(const char *path, uint64_t *ret_bytes, uint64_t *ret_inodes) {
	char *const roots[] = { (char *)path, NULL };
	uint64_t bytes = 0, inodes = 0;
	FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
	for (FTSENT *e; walk && (e = fts_read(walk));) {
		if (e->fts_info == FTS_DP || e->fts_info == FTS_NS || e->fts_info == FTS_ERR || !e->fts_statp) {
			continue;
		}
		inodes++;
		bytes += (uint64_t)e->fts_statp->st_blocks * 512 / MAX((nlink_t)1, S_ISDIR(e->fts_statp->st_mode) ? 1 : e->fts_statp->st_nlink);
	}
	if (walk) {
		fts_close(walk);
	}
	*ret_bytes = bytes;
	*ret_inodes = inodes;
}
