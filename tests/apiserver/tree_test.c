/* SPDX-License-Identifier: Apache-2.0 */
/* tree_test.c - the persistent map: order, snapshots that do not move, ranks, against a plain sorted array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "apiserver/tree.h"
#include "base/clock.h"

#define KEYS 512

static struct str key_of(int k, char *out, size_t n) {
	return (struct str){ out, (size_t)snprintf(out, n, "k%04d", k) };
}

static void check(const struct tree_node *root, const bool *there) {
	struct tree_iter it;
	char text[16];
	size_t rank = 0;

	tree_seek(&it, root, S(""));
	for (int k = 0; k < KEYS; k++) {
		struct str key = key_of(k, text, sizeof(text));
		assert_int_equal(tree_rank(root, key), rank);
		assert_int_equal(tree_get(root, key) != NULL, there[k]);
		if (there[k]) {
			struct tree_item *i = tree_next(&it);
			assert_non_null(i);
			assert_true(str_eq(tree_key(i), key));
			rank++;
		}
	}
	assert_null(tree_next(&it));
	assert_int_equal(tree_len(root), rank);
}

static void test_random_changes_against_an_array(void **state) {
	struct tree_node *root = NULL, *snapshot = NULL;
	bool there[KEYS] = { 0 }, then[KEYS] = { 0 };
	uint64_t seed = 42;
	char text[16];

	for (int step = 0; step < 20000; step++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		int k = (int)(seed >> 40) % KEYS;
		struct str key = key_of(k, text, sizeof(text));
		struct tree_item *old;
		if ((seed >> 33) % 3) {
			old = tree_put(&root, tree_item_new(key, NULL));
			assert_int_equal(old != NULL, there[k]);
			there[k] = true;
		} else {
			old = tree_remove(&root, key);
			assert_int_equal(old != NULL, there[k]);
			there[k] = false;
		}
		tree_item_unref(old);
		if (step % 500 == 0) {
			check(root, there);
			check(snapshot, then); /* the old copy has not moved */
			tree_unref(snapshot);
			snapshot = tree_ref(root);
			memcpy(then, there, sizeof(then));
		}
	}
	tree_unref(snapshot);
	tree_unref(root);
}

static void test_seek_starts_at_or_after(void **state) {
	struct tree_node *root = NULL;
	struct tree_iter it;

	tree_item_unref(tree_put(&root, tree_item_new(S("a/1"), NULL)));
	tree_item_unref(tree_put(&root, tree_item_new(S("b/1"), NULL)));
	tree_item_unref(tree_put(&root, tree_item_new(S("b/2"), NULL)));
	tree_seek(&it, root, S("b/"));
	assert_true(str_eq(tree_key(tree_next(&it)), S("b/1")));
	assert_true(str_eq(tree_key(tree_next(&it)), S("b/2")));
	assert_null(tree_next(&it));
	tree_seek(&it, root, S("c"));
	assert_null(tree_next(&it));
	tree_unref(root);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_changes_against_an_array),
		cmocka_unit_test(test_seek_starts_at_or_after),
	};
	return cmocka_run_group_tests_name("tree", tests, NULL, NULL);
}
