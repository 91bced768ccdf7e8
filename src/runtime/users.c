/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users.c - who runs a container's process: numbers from the pod, or names and numbers looked up in
 * the image's /etc/passwd and /etc/group. The files are the image's, hence hostile: they are opened
 * without leaving the root file system (openat2 RESOLVE_IN_ROOT) and read up to a limit.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/runtime.h"

enum { USER_FILE_MAX = 4 << 20, USER_GROUPS_MAX = 65536 };
#define USER_ID_MAX 4294967294LL

void run_user_release(struct run_user *u) {
	VEC_RELEASE(&u->groups);
}

/* The file's text; empty when it cannot be read: an image need not have one. */
static void read_in_root(const char *rootfs, const char *path, struct buf *ret) {
	struct open_how how = { .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	auto_fd int root = open(rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (root < 0) {
		return;
	}
	auto_fd int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		return; /* a device or a fifo would answer for ever */
	}
	char *room;
	while ((room = buf_reserve(ret, 4096))) {
		ssize_t n = read(fd, room, 4096);
		if (n <= 0) {
			break;
		}
		ret->len += (size_t)n;
	}
}

static bool id_parse(struct str s, int64_t *ret) {
	int64_t n;
	if (!s.len || s.ptr[0] < '0' || s.ptr[0] > '9' || !str_to_i64(s, &n) || n > USER_ID_MAX) {
		return false;
	}
	*ret = n;
	return true;
}

struct passwd_entry {
	struct str name;
	int64_t uid, gid;
};

/* By name (name.len > 0) or by number. */
static bool passwd_find(struct str text, struct str name, int64_t uid, struct passwd_entry *ret) {
	struct str line;
	while (str_next(&text, '\n', &line)) {
		struct str f[4];
		size_t n = 0;
		while (n < 4 && str_next(&line, ':', &f[n])) {
			n++;
		}
		struct passwd_entry e;
		if (n < 4 || !id_parse(f[2], &e.uid) || !id_parse(f[3], &e.gid)) {
			continue;
		}
		e.name = f[0];
		if (name.len ? str_eq(name, e.name) : uid == e.uid) {
			*ret = e;
			return true;
		}
	}
	return false;
}

static bool group_find(struct str text, struct str name, int64_t *ret) {
	struct str line;
	while (str_next(&text, '\n', &line)) {
		struct str f[3];
		size_t n = 0;
		while (n < 3 && str_next(&line, ':', &f[n])) {
			n++;
		}
		if (n == 3 && str_eq(f[0], name) && id_parse(f[2], ret)) {
			return true;
		}
	}
	return false;
}

static void groups_add(struct run_user *u, int64_t gid) {
	VEC_EACH(&u->groups, g) {
		if (*g == gid) {
			return;
		}
	}
	if (u->groups.len < USER_GROUPS_MAX) {
		VEC_PUSH(&u->groups, gid);
	}
}

/* The groups that list `user` as a member. */
static void groups_of(struct str text, struct str user, struct run_user *u) {
	struct str line;
	while (str_next(&text, '\n', &line)) {
		struct str f[4], member;
		size_t n = 0;
		int64_t gid;
		while (n < 4 && str_next(&line, ':', &f[n])) {
			n++;
		}
		if (n < 4 || !id_parse(f[2], &gid)) {
			continue;
		}
		while (str_next(&f[3], ',', &member)) {
			if (str_eq(str_trim(member), user) && user.len) {
				groups_add(u, gid);
			}
		}
	}
}

bool run_user_resolve(const char *rootfs, const struct cri_security *security, struct str image_user, struct run_user *ret, struct err *err) {
	auto_buf struct buf passwd = BUF_INIT(USER_FILE_MAX), group = BUF_INIT(USER_FILE_MAX);
	struct str user = image_user, group_name = { 0 };
	struct passwd_entry entry = { 0 };
	struct run_user u = { 0 };
	bool known;

	if (security->run_as_username.len) {
		user = security->run_as_username;
	}
	str_cut(user, ':', &user, &group_name);
	read_in_root(rootfs, "etc/passwd", &passwd);
	read_in_root(rootfs, "etc/group", &group);
	if (security->run_as_user_set) {
		if (security->run_as_user < 0 || security->run_as_user > USER_ID_MAX) {
			return err_set(err, ERR_INVALID, "runAsUser %lld is not a user id", (long long)security->run_as_user);
		}
		u.uid = security->run_as_user;
		group_name = (struct str){ 0 }; /* the image's group belongs to the image's user */
		known = passwd_find(buf_view(&passwd), S(""), u.uid, &entry);
	} else if (id_parse(user, &u.uid)) {
		known = passwd_find(buf_view(&passwd), S(""), u.uid, &entry);
	} else if (user.len) {
		known = passwd_find(buf_view(&passwd), user, 0, &entry);
		if (!known) {
			return err_set(err, ERR_INVALID, "unable to find user %.*s: no matching entries in passwd file", STR_ARG(user));
		}
		u.uid = entry.uid;
	} else {
		known = passwd_find(buf_view(&passwd), S(""), 0, &entry);
	}
	u.gid = known ? entry.gid : 0;
	if (security->run_as_group_set) {
		if (security->run_as_group < 0 || security->run_as_group > USER_ID_MAX) {
			return err_set(err, ERR_INVALID, "runAsGroup %lld is not a group id", (long long)security->run_as_group);
		}
		u.gid = security->run_as_group;
	} else if (group_name.len && !id_parse(group_name, &u.gid) && !group_find(buf_view(&group), group_name, &u.gid)) {
		return err_set(err, ERR_INVALID, "unable to find group %.*s: no matching entries in group file", STR_ARG(group_name));
	}
	groups_add(&u, u.gid);
	if (known && !security->supplemental_groups_strict) {
		groups_of(buf_view(&group), entry.name, &u);
	}
	for (size_t i = 0; i < security->supplemental_groups_len; i++) {
		if (security->supplemental_groups[i] < 0 || security->supplemental_groups[i] > USER_ID_MAX) {
			run_user_release(&u);
			return err_set(err, ERR_INVALID, "supplemental group %lld is not a group id", (long long)security->supplemental_groups[i]);
		}
		groups_add(&u, security->supplemental_groups[i]);
	}
	*ret = u;
	return true;
}
