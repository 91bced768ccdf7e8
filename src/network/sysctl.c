/* SPDX-License-Identifier: Apache-2.0 */
/* sysctl.c - see sysctl.h. A kept value is a file named as the switch, with '%' for '/'. */
#include "network/sysctl.h"

#include <dirent.h>
#include <unistd.h>

#include "base/file.h"

static void swap(char *s, char from, char to) {
	for (; *s; s++) {
		*s = *s == from ? to : *s;
	}
}

bool sysctl_set(const char *state_dir, const char *name, const char *value, struct err *err) {
	auto_free char *path = xasprintf("/proc/sys/%s", name);
	auto_buf struct buf was = BUF_INIT(256);
	if (!file_read(path, &was, err)) {
		return false;
	}
	if (str_eqc(str_trim(buf_view(&was)), value)) {
		return true;
	}
	if (state_dir) {
		auto_free char *dir = xasprintf("%s/sysctl", state_dir);
		auto_free char *flat = xstrdup(name);
		swap(flat, '/', '%');
		auto_free char *kept = xasprintf("%s/%s", dir, flat);
		if (!file_exists(kept) && (!dir_make(dir, 0755, err) || !file_write(kept, str_trim(buf_view(&was)), 0644, err))) {
			return false;
		}
	}
	return file_put(path, str_c(value), err);
}

void sysctl_restore(const char *state_dir, bool (*keep)(const char *name)) {
	auto_free char *dir = xasprintf("%s/sysctl", state_dir);
	DIR *d = opendir(dir);
	struct dirent *e;
	while (d && (e = readdir(d))) {
		auto_free char *kept = xasprintf("%s/%s", dir, e->d_name);
		auto_free char *name = xstrdup(e->d_name);
		auto_buf struct buf was = BUF_INIT(256);
		struct err err = { 0 };
		if (e->d_name[0] == '.') {
			continue;
		}
		swap(name, '%', '/');
		auto_free char *path = xasprintf("/proc/sys/%s", name);
		if ((keep && keep(name)) || !file_read(kept, &was, &err) || !file_put(path, buf_view(&was), &err)) {
			err_clear(&err); /* its link is gone, or it stays */
		}
		unlink(kept);
	}
	if (d) {
		closedir(d);
		rmdir(dir);
	}
}
