/* SPDX-License-Identifier: Apache-2.0 */
/* file_test.c - whole files, folders and trees, and the log, in a folder of its own below /tmp. */
#include "base/file.h"

#include "../cases.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/log.h"

static char root[64];

static const char *in_root(const char *name) {
	static char path[8][256];
	static size_t n;
	n = (n + 1) % ARRAY_LEN(path);
	snprintf(path[n], sizeof(path[n]), "%s/%s", root, name);
	return path[n];
}

static int setup(void **state) {
	snprintf(root, sizeof(root), "/tmp/file_test-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state) {
	struct err err = { 0 };
	return dir_remove(root, &err) ? 0 : -1;
}

static void test_write_read(void **state) {
	auto_buf struct buf b = { 0 };
	struct err err = { 0 };
	struct stat st;
	umask(077);
	assert_true(file_write(in_root("a"), S("one"), 0644, &err));
	assert_true(file_write(in_root("a"), S("two"), 0644, &err));
	umask(022);
	assert_true(file_read(in_root("a"), &b, &err));
	assert_str(buf_view(&b), S("two"));
	assert_int_equal(stat(in_root("a"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644); /* whatever the umask */
	assert_true(file_put(in_root("a"), S("3"), &err));
	assert_true(file_read(in_root("a"), &b, &err)); /* appends */
	assert_str(buf_view(&b), S("two3"));
	assert_true(file_exists(in_root("a")) && !file_exists(in_root("b")));

	auto_buf struct buf big = { 0 }, back = { 0 }, small = BUF_INIT(999);
	while (big.len < 300000) {
		buf_i64(&big, (int64_t)big.len);
	}
	assert_true(file_write(in_root("big"), buf_view(&big), 0600, &err));
	assert_true(file_read(in_root("big"), &back, &err));
	assert_str(buf_view(&back), buf_view(&big));
	assert_false(file_read(in_root("big"), &small, &err));
	assert_int_equal(err.code, ERR_TOO_LARGE);
	auto_buf struct buf exact = BUF_INIT(big.len);
	assert_true(file_read(in_root("big"), &exact, &err));
	auto_buf struct buf proc = { 0 };
	assert_true(file_read("/proc/self/stat", &proc, &err)); /* says that it is empty */
	assert_true(proc.len > 10);
}

static void test_missing(void **state) {
	auto_buf struct buf b = { 0 };
	struct err err = { 0 };
	assert_false(file_read(in_root("none"), &b, &err));
	assert_int_equal(err.code, ERR_NOT_FOUND);
	assert_non_null(strstr(err.msg, "none: No such file or directory"));
	err_clear(&err);
	assert_false(file_put(in_root("none"), S("x"), &err));
	assert_int_equal(err.code, ERR_NOT_FOUND);
	err_clear(&err);
	assert_false(file_write(in_root("none/x"), S("x"), 0600, &err));
	assert_int_equal(err.code, ERR_NOT_FOUND);
	assert_true(dir_remove(in_root("none"), &err));
	assert_false(file_read(root, &b, &err)); /* a folder */
	assert_int_equal(err.code, ERR_IO);
}

static void test_folders(void **state) {
	struct err err = { 0 };
	assert_true(dir_make(in_root("x/y//z/"), 0755, &err));
	assert_true(dir_make(in_root("x/y/z"), 0755, &err));
	assert_true(file_write(in_root("x/f"), S(""), 0600, &err));
	assert_false(dir_make(in_root("x/f/g"), 0755, &err));
	assert_false(dir_make(in_root("x/f"), 0755, &err));
	/* A link is removed, what it leads to is not. */
	assert_true(dir_make(in_root("kept"), 0755, &err));
	assert_true(file_write(in_root("kept/f"), S(""), 0600, &err));
	assert_int_equal(symlink("../kept", in_root("x/link")), 0);
	assert_true(dir_remove(in_root("x"), &err));
	assert_false(file_exists(in_root("x")));
	assert_true(file_exists(in_root("kept/f")));
	assert_int_equal(symlink("kept", in_root("link")), 0);
	assert_true(dir_remove(in_root("link"), &err));
	assert_true(file_exists(in_root("kept/f")) && !file_exists(in_root("link")));
}

/* Deeper than descriptors or paths reach, and wide. */
static void test_deep(void **state) {
	struct err err = { 0 };
	assert_true(dir_make(in_root("deep"), 0755, &err));
	int at = open(in_root("deep"), O_RDONLY | O_DIRECTORY);
	for (int i = 0; i < 3000; i++) {
		assert_int_equal(mkdirat(at, "a-folder", 0755), 0);
		int next = openat(at, "a-folder", O_RDONLY | O_DIRECTORY);
		assert_true(next >= 0);
		close(at);
		at = next;
	}
	close(at);
	for (int i = 0; i < 3000; i++) {
		char name[32];
		snprintf(name, sizeof(name), "deep/file%d", i);
		int fd = open(in_root(name), O_WRONLY | O_CREAT, 0600);
		assert_true(fd >= 0);
		close(fd);
	}
	if (!dir_remove(in_root("deep"), &err)) {
		fail_msg("%s", err.msg);
	}
	assert_false(file_exists(in_root("deep")));
}

/* In a mount namespace of a child's own; 77 when that is not allowed here. */
static int mount_child(void) {
	struct err err = { 0 };
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount(in_root("from"), in_root("tree/mnt"), NULL, MS_BIND, NULL) < 0) {
		return 77;
	}
	if (dir_remove(in_root("tree"), &err) || !strstr(err.msg, "mnt is a mount point") || !file_exists(in_root("from/f"))) {
		return 1;
	}
	return dir_remove(in_root("tree/mnt"), &err) ? 2 : 0;
}

static void test_mount_point(void **state) {
	struct err err = { 0 };
	int status;
	assert_true(dir_make(in_root("from"), 0755, &err) && file_write(in_root("from/f"), S(""), 0600, &err));
	assert_true(dir_make(in_root("tree/mnt"), 0755, &err));
	pid_t pid = fork();
	if (pid == 0) {
		_exit(mount_child());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WEXITSTATUS(status) == 77) {
		skip();
	}
	assert_int_equal(status, 0);
}

static void log_some(int fd) {
	struct err err = { 0 };
	log_set_fd(fd);
	log_info("a", "plain", kv_str("k", S("v")), kv_int("n", -5), kv_c("empty", ""));
	log_debug("a", "not yet");
	log_warn("a", "quoted", kv_str("k", S("a \"b\"\n\x01=")));
	if (log_set_levels(S("warn,b=debug"), &err)) {
		log_info("a", "too low");
		log_debug("b", "now");
	}
	err_set(&err, ERR_INTERNAL, "broken");
	log_error("a", "failed", kv_err(&err));
	log_set_fd(2);
}

static void test_log(void **state) {
	auto_buf struct buf b = { 0 };
	struct err err = { 0 };
	int fd = open(in_root("log"), O_WRONLY | O_CREAT, 0600);
	log_some(fd);
	close(fd);
	assert_false(log_set_levels(S("loud"), &err));
	assert_false(log_set_levels(S("a=loud"), &err));
	assert_false(log_set_levels(S("=info"), &err));
	assert_true(log_enabled(LOG_DEBUG, "b") && !log_enabled(LOG_INFO, "a")); /* as before the bad ones */
	assert_true(log_set_levels(S("info"), &err));
	assert_true(file_read(in_root("log"), &b, &err));
	struct str rest = buf_view(&b), line;
	static const char *const want[] = { "Z info a plain k=v n=-5", "Z warn a quoted k=\"a \\\"b\\\"\\n\\x01=\"", "Z debug b now",
		"Z error a failed err=broken where=tests/base/file_test.c:" };
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		assert_true(str_next(&rest, '\n', &line));
		assert_int_equal(line.ptr[10], 'T');
		assert_true(str_starts(str_from(line, 23), str_c(want[i])));
	}
	assert_str(rest, S(""));
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_write_read),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_folders),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_mount_point),
		cmocka_unit_test(test_log),
	};
	return cmocka_run_group_tests_name("file", tests, setup, teardown);
}
