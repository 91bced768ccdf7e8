/* SPDX-License-Identifier: Apache-2.0 */
/* log_file_test.c - the CRI's log records, tails and queries, and a reader that survives rotation. */
#include <sys/stat.h>
#include <time.h>

#include "../cases.h"
#include "base/file.h"
#include "kubelet/log_file.h"

static const struct record_case {
	const char *name, *line;
	bool ok, is_stderr, partial;
	const char *text;
} record_cases[] = {
	{ "whole", "2016-10-06T00:17:09.669794202Z stdout F log content 1", true, false, false, "log content 1" },
	{ "partial", "2016-10-06T00:17:09.669794203Z stderr P log content 2", true, true, true, "log content 2" },
	{ "offset", "2026-11-21T07:32:30.272190512+00:00 stdout F hello", true, false, false, "hello" },
	{ "empty line", "2016-10-06T00:17:09.669794202Z stdout F ", true, false, false, "" },
	{ "no text", "2016-10-06T00:17:09.669794202Z stdout F", true, false, false, "" },
	{ "more tags", "2016-10-06T00:17:09.669794202Z stdout F:x text", true, false, false, "text" },
	{ "spaces", "2016-10-06T00:17:09.669794202Z stdout F   a b ", true, false, false, "  a b " },
	{ "another stream", "2016-10-06T00:17:09.669794202Z stdin F x", false, false, false, "" },
	{ "no stream", "2016-10-06T00:17:09.669794202Z", false, false, false, "" },
	{ "bad tag", "2016-10-06T00:17:09.669794202Z stdout X x", false, false, false, "" },
	{ "nothing", "", false, false, false, "" },
};

static void test_record(void **state) {
	const struct record_case *c = *state;
	struct log_record r = { 0 };

	assert_int_equal(log_record_parse(str_c(c->line), &r), c->ok);
	if (c->ok) {
		assert_int_equal(r.is_stderr, c->is_stderr);
		assert_int_equal(r.partial, c->partial);
		assert_true(str_eqc(r.text, c->text));
	}
}

static char dir[64], path[96];

static void put(const char *to, const char *text) {
	FILE *f = fopen(to, "a");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

#define T1 "2026-11-21T05:00:01.000000000Z"
#define T2 "2026-11-21T05:00:02.000000000Z"
#define T3 "2026-11-21T05:00:03.000000000Z"
#define T4 "2026-11-21T05:00:04.000000000Z"

static void fill(void) {
	char old[128];

	snprintf(old, sizeof(old), "%s.20261121-050002", path);
	unlink(path);
	unlink(old);
	put(old, T1 " stdout F one\n" T2 " stderr F two\n");
	put(path, T3 " stdout P thr\n" T3 " stdout F ee\n" T4 " stdout F four\n");
}

static const struct query_case {
	const char *name;
	struct log_query q;
	const char *since, *out;
} query_cases[] = {
	{ "all", { .tail = -1, .limit_bytes = -1 }, NULL, "one\ntwo\nthree\nfour\n" },
	{ "tail 0", { .tail = 0, .limit_bytes = -1 }, NULL, "" },
	{ "tail 1", { .tail = 1, .limit_bytes = -1 }, NULL, "four\n" },
	{ "tail over both files", { .tail = 4, .limit_bytes = -1 }, NULL, "two\nthree\nfour\n" }, /* a partial record is a line of the file */
	{ "tail beyond", { .tail = 100, .limit_bytes = -1 }, NULL, "one\ntwo\nthree\nfour\n" },
	{ "limit", { .tail = -1, .limit_bytes = 6 }, NULL, "one\ntw" },
	{ "limit 0", { .tail = -1, .limit_bytes = 0 }, NULL, "" },
	{ "since", { .tail = -1, .limit_bytes = -1 }, T3, "three\nfour\n" },
	{ "stderr", { .tail = -1, .limit_bytes = -1, .stream = LOG_STREAM_STDERR }, NULL, "two\n" },
	{ "stdout", { .tail = -1, .limit_bytes = -1, .stream = LOG_STREAM_STDOUT }, NULL, "one\nthree\nfour\n" },
	{ "timestamps", { .tail = 3, .limit_bytes = -1, .timestamps = true }, NULL, T3 " three\n" T4 " four\n" },
};

static void read_all(struct log_reader *r, struct buf *b) {
	struct err err = { 0 };
	bool more = true, open = true;

	while (more && open) {
		assert_true(log_reader_read(r, b, &more, &open, &err));
	}
}

static void test_query(void **state) {
	const struct query_case *c = *state;
	struct log_query q = c->q;
	struct log_reader *r = NULL;
	struct err err = { 0 };
	auto_buf struct buf b = BUF_INIT(1 << 20);

	fill();
	if (c->since) {
		assert_true(time_parse(str_c(c->since), &q.since));
	}
	assert_true(log_reader_open(path, &q, &r, &err));
	read_all(r, &b);
	assert_string_equal(buf_cstr(&b), c->out);
	log_reader_free(r);
}

static void test_follow_rotation(void **state) {
	struct log_reader *r = NULL;
	struct err err = { 0 };
	auto_buf struct buf b = BUF_INIT(1 << 20);
	bool rotated = false;

	fill();
	assert_true(log_reader_open(path, &(struct log_query){ .tail = 0, .limit_bytes = -1 }, &r, &err));
	read_all(r, &b);
	put(path, T4 " stdout F a\n" T4 " stdout F half");
	read_all(r, &b);
	assert_string_equal(buf_cstr(&b), "a\n"); /* a record counts when it is whole */
	put(path, " done\n");
	assert_true(log_rotate(path, 10, 5, &rotated, &err));
	assert_true(rotated);
	read_all(r, &b);
	assert_string_equal(buf_cstr(&b), "a\nhalf done\n");
	put(path, T4 " stdout F new file\n");
	read_all(r, &b);
	assert_string_equal(buf_cstr(&b), "a\nhalf done\nnew file\n");
	log_reader_free(r);
}

static void test_absent(void **state) {
	struct log_reader *r = NULL;
	struct err err = { 0 };
	auto_buf struct buf b = BUF_INIT(1 << 20);
	char later[128];

	snprintf(later, sizeof(later), "%s/later.log", dir);
	assert_true(log_reader_open(later, &(struct log_query){ .tail = -1, .limit_bytes = -1 }, &r, &err));
	read_all(r, &b);
	assert_int_equal(b.len, 0);
	put(later, T1 " stdout F x\n");
	read_all(r, &b);
	assert_string_equal(buf_cstr(&b), "x\n");
	log_reader_free(r);
}

static void test_rotate_keeps(void **state) {
	struct err err = { 0 };
	char file[128], old[160];
	bool rotated;
	struct stat st;

	snprintf(file, sizeof(file), "%s/many.log", dir);
	for (int i = 1; i <= 4; i++) {
		snprintf(old, sizeof(old), "%s.2020010%d-000000", file, i);
		put(old, "x\n");
	}
	put(file, "small\n");
	assert_true(log_rotate(file, 100, 3, &rotated, &err));
	assert_false(rotated);
	assert_true(log_rotate(file, 1, 3, &rotated, &err));
	assert_true(rotated);
	assert_int_not_equal(stat(file, &st), 0);
	snprintf(old, sizeof(old), "%s.20200103-000000", file);
	assert_int_not_equal(stat(old, &st), 0); /* the newest two of five are left, beside the one to come */
	snprintf(old, sizeof(old), "%s.20200104-000000", file);
	assert_int_equal(stat(old, &st), 0);
	log_files_remove(str_c(file));
	assert_int_not_equal(stat(old, &st), 0);
}

static void test_tail(void **state) {
	char file[128];
	char *text;

	snprintf(file, sizeof(file), "%s/tail.log", dir);
	for (int i = 0; i < 100; i++) {
		char line[128];
		snprintf(line, sizeof(line), T1 " stdout F line %d\n", i);
		put(file, line);
	}
	text = log_tail(file, 2, 2048);
	assert_string_equal(text, "line 98\nline 99\n");
	free(text);
	text = log_tail(file, 80, 20); /* the last bytes, not lines */
	assert_string_equal(text, "ne 97\nline 98\nline 99\n" + 2);
	free(text);
	assert_null(log_tail("/nonexistent/x", 2, 2048));
}

int main(void) {
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_follow_rotation), cmocka_unit_test(test_absent), cmocka_unit_test(test_rotate_keeps),
		cmocka_unit_test(test_tail) };
	struct err err = { 0 };
	int failed = RUN_CASES("records", record_cases, test_record);

	snprintf(dir, sizeof(dir), "/tmp/kubelet-log-%d-XXXXXX", getpid());
	if (!mkdtemp(dir)) {
		return 1;
	}
	snprintf(path, sizeof(path), "%s/0.log", dir);
	failed += RUN_CASES("queries", query_cases, test_query);
	failed += cmocka_run_group_tests_name("files", tests, NULL, NULL);
	if (!dir_remove(dir, &err)) {
		fprintf(stderr, "%s\n", err.msg);
	}
	return failed;
}
