/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_mounttest.c - `mounttest`: makes files, and tells file systems, modes, owners and contents.
 *
 * Each flag names a path and is one check; they run in the table's order, so that one call can write
 * into a volume and read it back. A check that fails prints why, and the others still run; the exit
 * code is 1 then. Source: conformance checklist, "image-mounttest".
 */
#include "base.h"
#include "cmd.h"
#include "opt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { RETRY_EVERY_MS = 1000 };

static const struct str new_content = S("mount-tester new file\n");

static const struct {
	long magic;
	const char *name;
} file_systems[] = {
	{ 0x01021994, "tmpfs" }, { 0xef53, "ext2/ext3" }, { 0x58465342, "xfs" }, { 0x794c7630, "overlayfs" },
	{ 0x958458f6, "hugetlbfs" }, { 0x9fa0, "proc" }, { 0x62656572, "sysfs" },
};

static bool fs_type(const char *path) {
	struct statfs fs;

	if (statfs(path, &fs) != 0) {
		(void)!out_line("error from statfs(\"%s\"): %s", path, strerror(errno));
		return false;
	}
	for (size_t i = 0; i < ARRAY_LEN(file_systems); i++) {
		if (file_systems[i].magic == (long)fs.f_type) {
			return out_line("mount type of \"%s\": %s", path, file_systems[i].name);
		}
	}
	return out_line("mount type of \"%s\": %ld", path, (long)fs.f_type);
}

static bool file_content(const char *path) {
	auto_buf struct buf content = { 0 };
	struct err err = { 0 };

	if (!file_read(path, &content, &err)) {
		(void)!out_line("error reading file content for \"%s\": %s", path, err.msg);
		return false;
	}
	return out_line("content of file \"%s\": %.*s", path, STR_ARG(buf_str(&content)));
}

static bool new_file(const char *path, mode_t mode) {
	auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	if (fd < 0 || !fd_write_all(fd, new_content)) {
		(void)!out_line("error writing new file \"%s\": %s", path, strerror(errno));
		return false;
	}
	return file_content(path);
}

static bool new_file_0644(const char *path) { return new_file(path, 0644); }
static bool new_file_0660(const char *path) { return new_file(path, 0660); }
static bool new_file_0666(const char *path) { return new_file(path, 0666); }
static bool new_file_0777(const char *path) { return new_file(path, 0777); }

static bool file_stat(const char *path, struct stat *st) {
	if (stat(path, st) == 0) {
		return true;
	}
	(void)!out_line("error from stat(\"%s\"): %s", path, strerror(errno));
	return false;
}

/*
 * Modes are spelled as tests expect them: first a letter for each kind and special bit, or a dash
 * when there is none, then rwx three times.
 */
static bool mode_print(const char *what, const char *path, bool kinds) {
	static const struct {
		mode_t mask, value;
		char letter;
	} letters[] = {
		{ S_IFMT, S_IFDIR, 'd' }, { S_IFMT, S_IFLNK, 'L' }, { S_IFMT, S_IFBLK, 'D' }, { S_IFMT, S_IFCHR, 'D' },
		{ S_IFMT, S_IFIFO, 'p' }, { S_IFMT, S_IFSOCK, 'S' }, { S_ISUID, S_ISUID, 'u' }, { S_ISGID, S_ISGID, 'g' },
		{ S_IFMT, S_IFCHR, 'c' }, { S_ISVTX, S_ISVTX, 't' },
	};
	char text[16];
	size_t n = 0;
	struct stat st;

	if (!file_stat(path, &st)) {
		return false;
	}
	for (size_t i = 0; kinds && i < ARRAY_LEN(letters); i++) {
		if ((st.st_mode & letters[i].mask) == letters[i].value) {
			text[n++] = letters[i].letter;
		}
	}
	if (n == 0) {
		text[n++] = '-';
	}
	for (int bit = 8; bit >= 0; bit--) {
		text[n++] = st.st_mode & (1u << bit) ? "xwr"[bit % 3] : '-';
	}
	return out_line("%s of file \"%s\": %.*s", what, path, (int)n, text);
}

static bool file_mode(const char *path) { return mode_print("mode", path, true); }
static bool file_perm(const char *path) { return mode_print("perms", path, false); }

static bool file_owner(const char *path) {
	struct stat st;

	return file_stat(path, &st) && out_line("owner UID of \"%s\": %u", path, (unsigned)st.st_uid) &&
		out_line("owner GID of \"%s\": %u", path, (unsigned)st.st_gid);
}

static int64_t retry_s = 180;
static bool break_on_expected = true;

static bool file_content_in_loop(const char *path) {
	int64_t end = now_ms() + retry_s * 1000;
	bool ok = false;

	while (now_ms() < end) {
		auto_buf struct buf content = { 0 };
		struct err err = { 0 };

		ok = file_read(path, &content, &err);
		if (!ok) {
			(void)!out_line("Error reading file %s: %s, retrying", path, err.msg);
		} else {
			(void)!out_line("content of file \"%s\": %.*s", path, STR_ARG(buf_str(&content)));
			if (break_on_expected && str_eq(buf_str(&content), new_content)) {
				return true;
			}
			if (break_on_expected) {
				(void)!out_line("Unexpected content. Expected: %.*s Retrying", STR_ARG(new_content));
			}
		}
		if (term_wait(RETRY_EVERY_MS)) {
			return true;
		}
	}
	return ok;
}

static struct check {
	const char *name;
	bool (*run)(const char *path);
	const char *help;
	const char *path;
} checks[] = {
	{ "fs_type", fs_type, "tell its file system" },
	{ "new_file_0644", new_file_0644, "write it with this mode and tell its content" },
	{ "new_file_0666", new_file_0666, "the same" },
	{ "new_file_0660", new_file_0660, "the same" },
	{ "new_file_0777", new_file_0777, "the same" },
	{ "file_mode", file_mode, "tell its kind and mode" },
	{ "file_perm", file_perm, "tell its permissions" },
	{ "file_owner", file_owner, "tell its user and group" },
	{ "file_content", file_content, "tell its content" },
	{ "file_content_in_loop", file_content_in_loop, "tell its content every second" },
};

int cmd_mounttest(int argc, char **argv) {
	struct opt opts[ARRAY_LEN(checks) + 2];
	bool ok = true;

	for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
		opts[i] = (struct opt){ checks[i].name, OPT_TEXT, &checks[i].path, checks[i].help };
	}
	opts[ARRAY_LEN(checks)] = (struct opt){ "retry_time", OPT_INT, &retry_s, "seconds for the loop" };
	opts[ARRAY_LEN(checks) + 1] = (struct opt){ "break_on_expected_content", OPT_BOOL, &break_on_expected, "end the loop with it (true)" };
	opt_parse(argc, argv, "[--CHECK PATH...]", opts, ARRAY_LEN(opts));
	umask(0);
	for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
		if (checks[i].path && checks[i].path[0] && !checks[i].run(checks[i].path)) {
			ok = false;
		}
	}
	return ok ? 0 : 1;
}
