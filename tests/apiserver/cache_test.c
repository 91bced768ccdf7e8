/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_test.c - the watch cache on a real store: what is read is what was written, at every revision that the ring leads back to, and
 * events follow without gap.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "apiserver/cache.h"
#include "base/file.h"

#define KEYS 40
#define WRITES 3000

static bool decode(void *user, struct arena *a, struct str bytes, struct value **ret, struct err *err) {
	return json_parse(a, bytes, NULL, ret, err);
}

static struct store *store_make(char *dir, size_t len) {
	struct store *s = NULL;
	struct err err = { 0 };

	snprintf(dir, len, "/tmp/coracle-cache-test-%d", getpid());
	assert_true(dir_remove(dir, &err));
	assert_true(store_open(&(struct store_opts){ .dir = dir, .no_sync = true, .map_bytes = (size_t)256 << 20 }, &s, &err));
	return s;
}

static int64_t put(struct store *s, int key, int n) {
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	int64_t revision = 0;
	struct write w = { .key = arena_printf(&a, "/registry/things/ns/k%02d", key) };

	if (n >= 0) {
		w.value = blob_new(arena_printf(&a, "{\"metadata\":{\"name\":\"k%02d\"},\"count\":%d}", key, n));
	}
	assert_true(store_write(s, &w, &revision, NULL, &err));
	blob_unref(w.value);
	return revision;
}

static void check(const struct tree_node *root, const int *want) {
	size_t n = 0;

	for (int k = 0; k < KEYS; k++) {
		char key[16];
		struct tree_item *i = tree_get(root, (struct str){ key, (size_t)snprintf(key, sizeof(key), "ns/k%02d", k) });
		assert_int_equal(i != NULL, want[k] >= 0);
		if (i) {
			assert_int_equal(value_int_at(i->obj->root, N_count), want[k]);
			n++;
		}
	}
	assert_int_equal(tree_len(root), n);
}

static void test_every_revision_can_be_seen_again(void **state) {
	static int states[WRITES][KEYS];
	static int64_t revisions[WRITES];
	char dir[64];
	struct store *s = store_make(dir, sizeof(dir));
	struct cacher *c = cacher_new(&(struct cacher_opts){ .store = s, .decode = decode });
	struct cache *things = cacher_add(c, S("/registry/things/"), NULL), *others = cacher_add(c, S("/registry/group.example/others/"), NULL);
	struct err err = { 0 };
	struct snapshot snap;
	uint64_t seed = 7;
	int now[KEYS];

	memset(now, -1, sizeof(now));
	put(s, 3, 100); /* there before the cache starts */
	now[3] = 100;
	assert_true(cacher_start(c, &err));
	for (int i = 0; i < WRITES; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		int k = (int)(seed >> 40) % KEYS;
		now[k] = (seed >> 33) % 4 == 0 && now[k] >= 0 ? -1 : i;
		revisions[i] = put(s, k, now[k]);
		memcpy(states[i], now, sizeof(now));
		assert_true(cacher_revision(c) >= revisions[i]); /* before the writer was answered */
	}
	for (int i = 0; i < WRITES; i += 7) {
		assert_true(cache_snapshot_at(things, revisions[i], &snap, &err));
		check(snap.root, states[i]);
		/* and its position is that of the next event */
		struct cache_event *e = NULL;
		int n = cache_events(things, snap.position, &e, 1);
		assert_int_equal(n, i + 1 < WRITES);
		if (n) {
			assert_int_equal(e->revision, revisions[i + 1]);
			cache_event_unref(e);
		}
		uint64_t position;
		assert_true(cache_position(things, revisions[i], &position, &err));
		assert_true(position == snap.position);
		snapshot_release(&snap);
	}
	cache_snapshot(things, &snap);
	check(snap.root, now);
	assert_int_equal(snap.revision, revisions[WRITES - 1]);
	snapshot_release(&snap);
	assert_int_equal(cache_len(others), 0);
	assert_false(cache_snapshot_at(things, 0, &snap, &err));
	assert_int_equal(err.code, ERR_EXPIRED);
	cacher_free(c);

	/* a new one starts from what is stored */
	c = cacher_new(&(struct cacher_opts){ .store = s, .decode = decode });
	things = cacher_add(c, S("/registry/things/"), NULL);
	err_clear(&err);
	assert_true(cacher_start(c, &err));
	cache_snapshot(things, &snap);
	check(snap.root, now);
	snapshot_release(&snap);
	assert_false(cache_snapshot_at(things, revisions[WRITES - 2], &snap, &err));
	cacher_free(c);
	store_close(s);
	err_clear(&err);
	assert_true(dir_remove(dir, &err));
}

static void test_events_keep_the_state_before(void **state) {
	char dir[64];
	struct store *s = store_make(dir, sizeof(dir));
	struct cacher *c = cacher_new(&(struct cacher_opts){ .store = s, .decode = decode });
	struct cache *things = cacher_add(c, S("/registry/things/"), NULL);
	struct cache_event *e[4];
	struct err err = { 0 };

	assert_true(cacher_start(c, &err));
	put(s, 1, 1);
	put(s, 1, 2);
	int64_t gone = put(s, 1, -1);
	assert_int_equal(cache_events(things, 0, e, 4), 3);
	assert_int_equal(e[0]->type, WATCH_ADDED);
	assert_null(e[0]->before);
	assert_int_equal(e[1]->type, WATCH_MODIFIED);
	assert_int_equal(value_int_at(e[1]->before->obj->root, N_count), 1);
	assert_int_equal(e[2]->type, WATCH_DELETED);
	assert_int_equal(value_int_at(e[2]->now->obj->root, N_count), 2);
	assert_int_equal(e[2]->now->obj->revision, gone); /* the deletion's resourceVersion */
	for (int i = 0; i < 3; i++) {
		cache_event_unref(e[i]);
	}
	cacher_free(c);
	store_close(s);
	assert_true(dir_remove(dir, &err));
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_revision_can_be_seen_again),
		cmocka_unit_test(test_events_keep_the_state_before),
	};
	return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
