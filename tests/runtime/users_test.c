/* SPDX-License-Identifier: Apache-2.0 */
/* users_test.c - who a container runs as, from the image's passwd and group files, hostile ones included. */
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "runtime/runtime.h"
#include "../cases.h"

static char root[64];

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
			     "web:x:33:34::/var/www:/bin/false\n"
			     "broken line\n"
			     "bad:x:-1:5::/:\n"
			     "huge:x:99999999999:5::/:\n"
			     "nogroups:x:77:78::/:";
static const char group[] = "root:x:0:\nstaff:x:50:other,web\nweb:x:34:\nwheel:x:10:root\nmany:x:60: web \nbad:x:y:web\n";

static const struct user_case {
	const char *name;
	struct str image;              /* USER of the image */
	struct cri_security security;
	const char *want;              /* "uid gid groups...", or NULL: refused */
	const char *words;
} user_cases[] = {
	{ "nobody said",            S_INIT(""),          { 0 }, "0 0 0 10", NULL },
	{ "name",                   S_INIT("web"),       { 0 }, "33 34 34 50 60", NULL },
	{ "name and group",         S_INIT("web:staff"), { 0 }, "33 50 50 60", NULL },
	{ "name and number",        S_INIT("web:99"),    { 0 }, "33 99 99 50 60", NULL },
	{ "known number",           S_INIT("33"),        { 0 }, "33 34 34 50 60", NULL },
	{ "unknown number",         S_INIT("1000"),      { 0 }, "1000 0 0", NULL },
	{ "numbers",                S_INIT("7:8"),       { 0 }, "7 8 8", NULL },
	{ "last line without end",  S_INIT("nogroups"),  { 0 }, "77 78 78", NULL },
	{ "pod's user",             S_INIT("web:staff"), { .run_as_user = 5, .run_as_user_set = true }, "5 0 0", NULL },
	{ "pod's user, known",      S_INIT(""),          { .run_as_user = 33, .run_as_user_set = true }, "33 34 34 50 60", NULL },
	{ "pod's group",            S_INIT("web"),       { .run_as_group = 9, .run_as_group_set = true }, "33 9 9 50 60", NULL },
	{ "pod's name",             S_INIT("root"),      { .run_as_username = S_INIT("web") }, "33 34 34 50 60", NULL },
	{ "strict",                 S_INIT("web"),       { .supplemental_groups_strict = true }, "33 34 34", NULL },
	{ "supplemental",           S_INIT("web"),       { .supplemental_groups = (const int64_t[]){ 50, 2000 }, .supplemental_groups_len = 2 }, "33 34 34 50 60 2000", NULL },
	{ "unknown name",           S_INIT("nosuch"),    { 0 }, NULL, "unable to find user nosuch: no matching entries in passwd file" },
	{ "unknown group",          S_INIT("web:nosuch"), { 0 }, NULL, "unable to find group nosuch: no matching entries in group file" },
	{ "negative in the file",   S_INIT("bad"),       { 0 }, NULL, "unable to find user bad" },
	{ "too large in the file",  S_INIT("huge"),      { 0 }, NULL, "unable to find user huge" },
	{ "negative user",          S_INIT(""),          { .run_as_user = -1, .run_as_user_set = true }, NULL, "not a user id" },
	{ "too large user",         S_INIT(""),          { .run_as_user = 4294967295LL, .run_as_user_set = true }, NULL, "not a user id" },
	{ "negative group",         S_INIT(""),          { .run_as_group = -5, .run_as_group_set = true }, NULL, "not a group id" },
	{ "negative supplemental",  S_INIT(""),          { .supplemental_groups = (const int64_t[]){ -2 }, .supplemental_groups_len = 1 }, NULL, "not a group id" },
};

static void put(const char *name, const char *text) {
	struct err err = { 0 };
	struct path p = path_fmt("%s/etc/%s", root, name);
	assert_true(file_write(p.c, str_c(text), 0644, &err));
}

static int setup(void) {
	struct err err = { 0 };
	snprintf(root, sizeof(root), "/tmp/coracle-users-XXXXXX");
	if (!mkdtemp(root) || !dir_make(path_fmt("%s/etc", root).c, 0755, &err)) {
		return -1;
	}
	put("passwd", passwd);
	put("group", group);
	return 0;
}

static void assert_user(const struct run_user *u, const char *want) {
	auto_buf struct buf b = { 0 };
	buf_printf(&b, "%lld %lld", (long long)u->uid, (long long)u->gid);
	for (size_t i = 0; i < u->groups.len; i++) {
		buf_printf(&b, " %lld", (long long)u->groups.at[i]);
	}
	assert_str(buf_view(&b), str_c(want));
}

static void test_user(void **state) {
	const struct user_case *c = *state;
	struct run_user u = { 0 };
	struct err err = { 0 };
	bool ok = run_user_resolve(root, &c->security, c->image, &u, &err);
	assert_int_equal(ok, c->want != NULL);
	if (ok) {
		assert_user(&u, c->want);
	} else {
		assert_int_equal(err.code, ERR_INVALID);
		assert_non_null(strstr(err.msg, c->words));
	}
	run_user_release(&u);
}

/* What the image's files may be: links that lead out of it, devices, folders, nothing. */
static void test_hostile_files(void **state) {
	struct path file = path_fmt("%s/etc/passwd", root);
	const struct cri_security none = { 0 };
	struct run_user u = { 0 };
	struct err err = { 0 };

	/* "/etc/passwd" of the image means the one below its root, not the node's. */
	unlink(file.c);
	assert_int_equal(symlink("/elsewhere", file.c), 0);
	assert_false(run_user_resolve(root, &none, S("root"), &u, &err));
	assert_true(file_write(path_fmt("%s/elsewhere", root).c, S("root:x:4:5::/:\n"), 0644, &err));
	assert_true(run_user_resolve(root, &none, S("root"), &u, &err));
	assert_user(&u, "4 5 5 10");
	run_user_release(&u);

	unlink(file.c);
	assert_int_equal(symlink("../../../../../../etc/passwd", file.c), 0);
	unlink(path_fmt("%s/elsewhere", root).c);
	assert_false(run_user_resolve(root, &none, S("root"), &u, &err));

	unlink(file.c);
	assert_int_equal(mkfifo(file.c, 0644), 0);
	assert_false(run_user_resolve(root, &none, S("web"), &u, &err));

	unlink(file.c);
	assert_int_equal(mkdir(file.c, 0755), 0);
	assert_true(run_user_resolve(root, &none, S("12"), &u, &err));
	assert_user(&u, "12 0 0");
	run_user_release(&u);
}

int main(void) {
	const struct CMUnitTest more[] = { cmocka_unit_test(test_hostile_files) };
	struct err err = { 0 };
	if (setup() != 0) {
		return 1;
	}
	int failed = RUN_CASES("users", user_cases, test_user) + cmocka_run_group_tests_name("hostile users", more, NULL, NULL);
	return failed + !dir_remove(root, &err);
}
