/* SPDX-License-Identifier: Apache-2.0 */
/* store_test.c - the embedded store on a real file system: conditions, revisions, watches, restarts, full maps, kill -9. */
#include "store/store.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/vec.h"

static char dir[64];

static int setup(void **state) {
	snprintf(dir, sizeof(dir), "/tmp/coracle-store-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state) {
	struct err err;
	return dir_remove(dir, &err) ? 0 : -1;
}

static struct store *opened_with(struct store_opts o) {
	struct err err = { 0 };
	struct store *s = NULL;
	o.dir = dir;
	if (!store_open(&o, &s, &err)) {
		fail_msg("%s", err.msg);
	}
	return s;
}

static struct store *opened(void) {
	return opened_with((struct store_opts){ .no_sync = true, .map_bytes = 64 << 20 });
}

/* One write; returns its revision, or minus the err code. */
static int64_t put(struct store *s, const char *key, const char *value, enum store_cond cond, int64_t mod_rev) {
	struct err err = { 0 };
	int64_t rev = 0;
	struct write w = { .key = str_c(key), .value = value ? blob_new(str_c(value)) : NULL, .cond = cond, .mod_rev = mod_rev };
	bool ok = store_write(s, &w, &rev, NULL, &err);
	blob_unref(w.value);
	return ok ? rev : -(int64_t)err.code;
}

static void assert_kv(struct store *s, const char *key, const char *value, int64_t create, int64_t mod, int64_t version) {
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct kv kv = { 0 };
	bool ok = store_get(s, str_c(key), &a, &kv, &err);
	if (!value) {
		assert_false(ok);
		assert_int_equal(err.code, ERR_NOT_FOUND);
		return;
	}
	assert_true(ok);
	assert_string_equal(kv.value->bytes, value);
	assert_int_equal(kv.create_rev, create);
	assert_int_equal(kv.mod_rev, mod);
	assert_int_equal(kv.version, version);
	kv_release(&kv);
}

static void test_revisions_and_conditions(void **state) {
	struct store *s = opened();
	assert_int_equal(store_revision(s), 0);
	assert_int_equal(put(s, "/a", "1", STORE_ABSENT, 0), 1);
	assert_int_equal(put(s, "/a", "x", STORE_ABSENT, 0), -ERR_CONFLICT);
	assert_int_equal(put(s, "/b", "1", STORE_MOD_REV, 7), -ERR_CONFLICT);
	assert_int_equal(put(s, "/b", "1", STORE_MOD_REV, 0), 2); /* revision 0: absent, as in etcd */
	assert_int_equal(put(s, "/a", "2", STORE_MOD_REV, 1), 3);
	assert_int_equal(put(s, "/a", "3", STORE_ALWAYS, 0), 4);
	assert_int_equal(put(s, "/a", NULL, STORE_MOD_REV, 3), -ERR_CONFLICT);
	assert_kv(s, "/a", "3", 1, 4, 3);
	assert_int_equal(put(s, "/a", NULL, STORE_MOD_REV, 4), 5);
	assert_kv(s, "/a", NULL, 0, 0, 0);
	assert_int_equal(put(s, "/a", NULL, STORE_ALWAYS, 0), -ERR_NOT_FOUND);
	assert_int_equal(put(s, "/a", "again", STORE_ABSENT, 0), 6);
	assert_kv(s, "/a", "again", 6, 6, 1);
	assert_int_equal(store_revision(s), 6);
	store_close(s);
}

static void test_conflict_returns_what_is_there(void **state) {
	struct store *s = opened();
	struct err err = { 0 };
	struct kv cur = { 0 };
	struct write w = { .key = S("/a"), .value = blob_new(S("2")), .cond = STORE_MOD_REV, .mod_rev = 9 };
	put(s, "/a", "1", STORE_ALWAYS, 0);
	assert_false(store_write(s, &w, NULL, &cur, &err));
	assert_int_equal(err.code, ERR_CONFLICT);
	assert_string_equal(cur.value->bytes, "1");
	assert_int_equal(cur.mod_rev, 1);
	kv_release(&cur);
	w.key = S("/none");
	assert_false(store_write(s, &w, NULL, &cur, &err));
	assert_null(cur.value);
	blob_unref(w.value);
	store_close(s);
}

static void test_reopened_store_goes_on(void **state) {
	struct store *s = opened();
	put(s, "/a", "1", STORE_ALWAYS, 0);
	put(s, "/a", "2", STORE_ALWAYS, 0);
	put(s, "/b", "1", STORE_ALWAYS, 0);
	put(s, "/b", NULL, STORE_ALWAYS, 0);
	store_close(s);
	s = opened();
	assert_int_equal(store_revision(s), 4);
	assert_kv(s, "/a", "2", 1, 2, 2);
	assert_kv(s, "/b", NULL, 0, 0, 0);
	assert_int_equal(put(s, "/c", "1", STORE_ALWAYS, 0), 5);
	store_close(s);
}

static void test_second_process_is_told_who_has_it(void **state) {
	struct store *s = opened(), *other = NULL;
	struct err err = { 0 };
	char want[200];
	assert_false(store_open(&(struct store_opts){ .dir = dir }, &other, &err));
	assert_int_equal(err.code, ERR_UNAVAILABLE);
	snprintf(want, sizeof(want), "the store %s is in use by process %d", dir, (int)getpid());
	assert_string_equal(err.msg, want);
	store_close(s);
}

static void test_foreign_file_is_refused(void **state) {
	struct err err = { 0 };
	struct store *s = NULL;
	char path[100];
	snprintf(path, sizeof(path), "%s/data.mdb", dir);
	static char junk[8192];
	memset(junk, 'j', sizeof(junk));
	FILE *f = fopen(path, "w");
	fwrite(junk, 1, sizeof(junk), f);
	fclose(f);
	assert_false(store_open(&(struct store_opts){ .dir = dir }, &s, &err));
	assert_int_equal(err.code, ERR_IO);
	assert_non_null(strstr(err.msg, dir));
}

/* ---- ranges ---- */

static void test_range(void **state) {
	static const struct {
		const char *from, *to;
		size_t limit;
		const char *want;
		bool more;
	} cases[] = {
		{ "", "", 0, "/a /b/1 /b/2 /b/3 /c", false },
		{ "/b/", "/b0", 0, "/b/1 /b/2 /b/3", false },
		{ "/b/", "/b0", 2, "/b/1 /b/2", true },
		{ "/b/", "/b0", 3, "/b/1 /b/2 /b/3", false },
		{ "/b/2", "/c", 0, "/b/2 /b/3", false },
		{ "/x", "", 0, "", false },
		{ "/c", "/a", 0, "", false },
	};
	struct store *s = opened();
	for (const char *const *k = (const char *const[]){ "/c", "/b/3", "/b/1", "/gone", "/a", "/b/2", NULL }; *k; k++) {
		put(s, *k, *k, STORE_ALWAYS, 0);
	}
	put(s, "/gone", NULL, STORE_ALWAYS, 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct range r = { 0 };
		struct err err = { 0 };
		auto_buf struct buf got = { 0 };
		assert_true(store_range(s, str_c(cases[i].from), str_c(cases[i].to), cases[i].limit, &r, &err));
		for (size_t k = 0; k < r.len; k++) {
			buf_printf(&got, "%s%.*s", k ? " " : "", STR_ARG(r.at[k].key));
			assert_true(str_eqc(r.at[k].key, r.at[k].value->bytes));
		}
		assert_string_equal(buf_cstr(&got), cases[i].want);
		assert_int_equal(r.more, cases[i].more);
		assert_int_equal(r.revision, 7);
		range_release(&r);
	}
	store_close(s);
}

static void test_long_keys(void **state) {
	static const size_t lens[] = { 494, 495, 496, 510, 511, 512, 600, 1024 };
	struct store *s = opened();
	struct err err = { 0 };
	struct range r = { 0 };
	char key[1026];
	for (int round = 0; round < 2; round++) { /* two keys of each length that differ in the last byte */
		for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
			memset(key, 'k', lens[i]);
			key[lens[i] - 1] = round ? 'b' : 'a';
			key[lens[i]] = 0;
			assert_true(put(s, key, key, STORE_ABSENT, 0) > 0);
		}
	}
	assert_true(store_range(s, S("k"), S("l"), 0, &r, &err));
	assert_int_equal(r.len, 2 * ARRAY_LEN(lens));
	for (size_t i = 0; i < r.len; i++) {
		assert_true(str_eqc(r.at[i].key, r.at[i].value->bytes));
		assert_true(i == 0 || str_cmp(r.at[i - 1].key, r.at[i].key) < 0);
	}
	range_release(&r);
	memset(key, 'k', 1025);
	key[1025] = 0;
	assert_int_equal(put(s, key, "v", STORE_ALWAYS, 0), -ERR_INVALID);
	assert_int_equal(put(s, "", "v", STORE_ALWAYS, 0), -ERR_INVALID);
	store_close(s);
}

/* ---- watches ---- */

struct seen {
	struct buf text; /* "3=/a:2<1 " revision, key, value, value before */
	_Atomic int64_t last;
	int64_t bad; /* revisions out of order */
	int64_t events;
};

static void on_event(void *arg, const struct store_event *ev, int64_t revision) {
	struct seen *seen = arg;
	if (ev) {
		seen->bad += revision <= seen->last;
		seen->events++;
		if (seen->text.len < 4000) {
			buf_printf(&seen->text, "%lld=%.*s:%s<%s ", (long long)revision, STR_ARG(ev->key), ev->value ? ev->value->bytes : "-",
				ev->prev_value ? ev->prev_value->bytes : "-");
		}
	} else {
		seen->bad += revision < seen->last;
	}
	seen->last = revision;
}

static struct store_watch *watching(struct store *s, const char *prefix, int64_t from, struct seen *seen) {
	struct err err = { 0 };
	struct store_watch *w = NULL;
	if (!store_watch(s, &(struct store_watch_opts){ .prefix = str_c(prefix), .from = from, .on_event = on_event, .arg = seen }, &w, &err)) {
		fail_msg("%s", err.msg);
	}
	return w;
}

static void test_watch_from_now_and_from_before(void **state) {
	struct store *s = opened();
	struct seen now = { 0 }, old = { 0 }, restarted = { 0 };
	put(s, "/p/a", "1", STORE_ALWAYS, 0);
	put(s, "/q/a", "1", STORE_ALWAYS, 0);
	put(s, "/p/a", "2", STORE_ALWAYS, 0);
	struct store_watch *w1 = watching(s, "/p/", 0, &now), *w2 = watching(s, "/p/", 1, &old);
	put(s, "/p/b", "1", STORE_ALWAYS, 0);
	put(s, "/p/a", NULL, STORE_ALWAYS, 0);
	put(s, "/q/b", "1", STORE_ALWAYS, 0); /* progress for both */
	store_watch_cancel(w1);
	store_watch_cancel(w2);
	put(s, "/p/b", "unseen", STORE_ALWAYS, 0);
	assert_string_equal(buf_cstr(&now.text), "4=/p/b:1<- 5=/p/a:-<2 ");
	assert_string_equal(buf_cstr(&old.text), "1=/p/a:1<- 3=/p/a:2<1 4=/p/b:1<- 5=/p/a:-<2 ");
	assert_int_equal(now.last, 6);
	assert_int_equal(now.bad + old.bad, 0);
	store_close(s);

	s = opened();
	w1 = watching(s, "/p/", 3, &restarted);
	store_watch_cancel(w1);
	assert_string_equal(buf_cstr(&restarted.text), "3=/p/a:2<1 4=/p/b:1<- 5=/p/a:-<2 7=/p/b:unseen<1 ");
	store_close(s);
	buf_release(&now.text);
	buf_release(&old.text);
	buf_release(&restarted.text);
}

static void test_compaction(void **state) {
	struct store *s = opened();
	struct err err = { 0 };
	struct seen seen = { 0 };
	struct store_watch *w = NULL;
	put(s, "/keep", "old but current", STORE_ALWAYS, 0);
	put(s, "/gone", "x", STORE_ALWAYS, 0);
	put(s, "/gone", NULL, STORE_ALWAYS, 0);
	put(s, "/new", "1", STORE_ALWAYS, 0);
	put(s, "/new", "2", STORE_ALWAYS, 0);
	assert_true(store_compact(s, 4, &err));
	assert_int_equal(store_compacted(s), 4);
	assert_false(store_watch(s, &(struct store_watch_opts){ .prefix = S("/"), .from = 3, .on_event = on_event, .arg = &seen }, &w, &err));
	assert_int_equal(err.code, ERR_EXPIRED);
	w = watching(s, "/", 4, &seen);
	assert_string_equal(buf_cstr(&seen.text), "4=/new:1<- 5=/new:2<1 ");
	store_watch_cancel(w);
	assert_false(store_compact(s, 99, &err));
	store_close(s);
	s = opened();
	assert_int_equal(store_compacted(s), 4);
	assert_kv(s, "/keep", "old but current", 1, 1, 1);
	assert_kv(s, "/new", "2", 4, 5, 2);
	assert_kv(s, "/gone", NULL, 0, 0, 0);
	assert_true(store_compact(s, 5, &err));
	assert_int_equal(put(s, "/new", NULL, STORE_ALWAYS, 0), 6);
	assert_true(store_compact(s, 6, &err));
	store_close(s);
	s = opened();
	assert_int_equal(store_revision(s), 6); /* the last revision is never forgotten */
	store_close(s);
	buf_release(&seen.text);
}

static void test_history_is_bounded(void **state) {
	struct store *s = opened_with((struct store_opts){ .no_sync = true, .map_bytes = 64 << 20, .history = 100 });
	struct store_stats stats;
	for (int i = 0; i < 2000; i++) {
		assert_int_equal(put(s, i % 2 ? "/a" : "/b", "value", STORE_ALWAYS, 0), i + 1);
	}
	assert_true(store_compacted(s) >= 2000 - 120);
	assert_true(store_compacted(s) <= 1900);
	store_stats(s, &stats);
	assert_int_equal(stats.keys, 2);
	assert_int_equal(stats.writes, 2000);
	assert_true(stats.file_bytes < 1 << 20);
	store_close(s);
}

/* ---- attachments ---- */

static _Atomic int made, freed;
static void *prepare(struct write *w, int64_t revision) {
	made++;
	return w->arg;
}
static void attachment_free(void *attachment) {
	freed++;
}
static void on_attachment(void *arg, const struct store_event *ev, int64_t revision) {
	if (ev) {
		*(void **)arg = ev->attachment;
	}
}
static void test_attachment_travels_with_the_event(void **state) {
	struct store *s = opened();
	struct err err = { 0 };
	struct store_watch *w = NULL;
	void *got = NULL;
	int mine;
	made = freed = 0;
	assert_true(store_watch(s, &(struct store_watch_opts){ .prefix = S("/"), .on_event = on_attachment, .arg = &got }, &w, &err));
	struct write wr = { .key = S("/a"), .value = blob_new(S("1")), .prepare = prepare, .arg = &mine, .attachment_free = attachment_free };
	assert_true(store_write(s, &wr, NULL, NULL, &err));
	assert_ptr_equal(got, &mine);
	wr.cond = STORE_ABSENT;
	assert_false(store_write(s, &wr, NULL, NULL, &err)); /* not written: not prepared */
	assert_int_equal(made, 1);
	assert_int_equal(freed, 1);
	blob_unref(wr.value);
	store_watch_cancel(w);
	store_close(s);
}

/* ---- many at once ---- */

struct writer {
	struct store *store;
	int n;
	int64_t wins, revisions;
};
static void *write_many(void *arg) {
	struct writer *w = arg;
	char key[32], value[32];
	for (int i = 0; i < 200; i++) {
		snprintf(key, sizeof(key), "/k/%d-%d", w->n, i);
		snprintf(value, sizeof(value), "%d", i);
		int64_t rev = put(w->store, key, value, STORE_ABSENT, 0);
		assert(rev > w->revisions);
		w->revisions = rev;
		/* all fight for one key, each step of it won by one */
		snprintf(value, sizeof(value), "%d-%d", w->n, i);
		auto_arena struct arena a = { 0 };
		struct err err = { 0 };
		struct kv kv = { 0 };
		int64_t at = store_get(w->store, S("/counter"), &a, &kv, &err) ? kv.mod_rev : 0;
		kv_release(&kv);
		w->wins += put(w->store, "/counter", value, STORE_MOD_REV, at) > 0;
	}
	return NULL;
}
static void test_many_writers(void **state) {
	struct store *s = opened();
	struct seen seen = { 0 };
	struct store_watch *w = watching(s, "/", 0, &seen);
	struct writer writers[16] = { 0 };
	pthread_t t[16];
	int64_t wins = 0;
	for (int i = 0; i < 16; i++) {
		writers[i] = (struct writer){ .store = s, .n = i };
		pthread_create(&t[i], NULL, write_many, &writers[i]);
	}
	for (int i = 0; i < 16; i++) {
		pthread_join(t[i], NULL);
		wins += writers[i].wins;
	}
	store_watch_cancel(w);
	assert_int_equal(seen.bad, 0);
	assert_int_equal(seen.events, 16 * 200 + wins);
	assert_int_equal(store_revision(s), 16 * 200 + wins);
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct kv kv;
	assert_true(store_get(s, S("/counter"), &a, &kv, &err));
	assert_int_equal(kv.version, wins);
	kv_release(&kv);
	store_close(s);
	buf_release(&seen.text);
}

/* ---- trouble ---- */

static void test_full_map(void **state) {
	struct store *s = opened_with((struct store_opts){ .no_sync = true, .map_bytes = 4 << 20, .history = 10 });
	struct err err = { 0 };
	static char big[40000];
	char key[32];
	int n = 0;
	memset(big, 'b', sizeof(big));
	for (int64_t rev = 1; rev > 0; n++) {
		snprintf(key, sizeof(key), "/full/%04d", n);
		struct write w = { .key = str_c(key), .value = blob_new((struct str){ big, sizeof(big) }) };
		rev = store_write(s, &w, &rev, NULL, &err) ? rev : -1;
		blob_unref(w.value);
	}
	assert_in_range(n, 50, 110);
	assert_int_equal(err.code, ERR_IO);
	assert_non_null(strstr(err.msg, "No space left on device"));
	int64_t rev = store_revision(s);
	assert_int_equal(put(s, "/small", "x", STORE_ALWAYS, 0), -ERR_IO);
	assert_kv(s, "/small", NULL, 0, 0, 0);
	for (int i = 0; i < 40; i++) { /* what is there can be read and deleted, and then there is room again */
		snprintf(key, sizeof(key), "/full/%04d", i);
		assert_int_equal(put(s, key, NULL, STORE_ALWAYS, 0), ++rev);
	}
	assert_true(store_compact(s, rev, &err));
	assert_true(put(s, "/small", "x", STORE_ALWAYS, 0) > 0);
	assert_kv(s, "/small", "x", rev + 1, rev + 1, 1);
	store_close(s);
}

static void test_snapshot(void **state) {
	struct store *s = opened();
	struct err err = { 0 };
	char sub[80], path[100];
	snprintf(sub, sizeof(sub), "%s/copy", dir);
	snprintf(path, sizeof(path), "%s/data.mdb", sub);
	put(s, "/a", "1", STORE_ALWAYS, 0);
	assert_true(dir_make(sub, 0700, &err));
	assert_true(store_snapshot(s, path, &err));
	put(s, "/a", "2", STORE_ALWAYS, 0);
	store_close(s);
	struct store *copy = NULL;
	assert_true(store_open(&(struct store_opts){ .dir = sub }, &copy, &err));
	assert_kv(copy, "/a", "1", 1, 1, 1);
	store_close(copy);
}

/* A child writes and says which writes were acknowledged; it is killed in the middle; all that it said must be there. */
static void killed_child(int out) {
	struct err err = { 0 };
	struct store *s = NULL;
	if (!store_open(&(struct store_opts){ .dir = dir, .map_bytes = 64 << 20, .history = 50 }, &s, &err)) {
		_exit(1);
	}
	for (int64_t i = store_revision(s);; i++) {
		char key[32], value[3000];
		snprintf(key, sizeof(key), "/k/%lld", (long long)(i % 100));
		memset(value, 'v', sizeof(value));
		snprintf(value, sizeof(value), "%lld", (long long)i + 1);
		struct write w = { .key = str_c(key), .value = blob_new((struct str){ value, sizeof(value) }) };
		int64_t rev = 0;
		if (!store_write(s, &w, &rev, NULL, &err) || rev != i + 1 || write(out, &rev, sizeof(rev)) != sizeof(rev)) {
			_exit(2);
		}
		blob_unref(w.value);
	}
}
static void test_kill_loses_nothing(void **state) {
	int64_t acknowledged = 0;
	for (int round = 0; round < 5; round++) {
		int fds[2];
		assert_int_equal(pipe(fds), 0);
		pid_t pid = fork();
		if (pid == 0) {
			close(fds[0]);
			killed_child(fds[1]);
		}
		close(fds[1]);
		int64_t rev, before = acknowledged;
		while (acknowledged < before + 40 + 17 * round && read(fds[0], &rev, sizeof(rev)) == sizeof(rev)) {
			acknowledged = rev;
		}
		kill(pid, SIGKILL);
		int status;
		waitpid(pid, &status, 0);
		assert_true(WIFSIGNALED(status));
		while (read(fds[0], &rev, sizeof(rev)) == sizeof(rev)) {
			acknowledged = rev;
		}
		close(fds[0]);
		assert_true(acknowledged >= before + 40);

		struct store *s = opened_with((struct store_opts){ .map_bytes = 64 << 20, .history = 50 });
		assert_true(store_revision(s) >= acknowledged);
		for (int64_t i = MAX(acknowledged - 100, (int64_t)0); i < acknowledged; i++) {
			char key[32];
			auto_arena struct arena a = { 0 };
			struct err err = { 0 };
			struct kv kv = { 0 };
			snprintf(key, sizeof(key), "/k/%lld", (long long)(i % 100));
			assert_true(store_get(s, str_c(key), &a, &kv, &err));
			assert_true(kv.mod_rev >= i + 1);
			assert_int_equal(kv.mod_rev, strtoll(kv.value->bytes, NULL, 10));
			kv_release(&kv);
		}
		acknowledged = store_revision(s);
		store_close(s);
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(test_kill_loses_nothing), /* forks: before there are threads */
		TEST(test_revisions_and_conditions),
		TEST(test_conflict_returns_what_is_there),
		TEST(test_reopened_store_goes_on),
		TEST(test_second_process_is_told_who_has_it),
		TEST(test_foreign_file_is_refused),
		TEST(test_range),
		TEST(test_long_keys),
		TEST(test_watch_from_now_and_from_before),
		TEST(test_compaction),
		TEST(test_history_is_bounded),
		TEST(test_attachment_travels_with_the_event),
		TEST(test_many_writers),
		TEST(test_full_map),
		TEST(test_snapshot),
	};
	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
