/* SPDX-License-Identifier: Apache-2.0 */
/* containers_test.c - map, heap, list and vector against plain models. */
#include "../cases.h"

#include "base/clock.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/vec.h"

static void test_map(void **state) {
	enum { KEYS = 500 };
	static int values[KEYS];
	static bool present[KEYS];
	struct map m = { 0 };
	size_t count = 0;
	uint64_t seed = 1;
	assert_null(map_get(&m, S("a")));
	assert_null(map_remove(&m, S("a")));
	for (int i = 0; i < 50000; i++) {
		char key[16];
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		int n = (int)(seed >> 33) % KEYS;
		struct str k = { key, (size_t)snprintf(key, sizeof(key), "key%d", n) };
		assert_ptr_equal(map_get(&m, k), present[n] ? &values[n] : NULL);
		if (seed >> 63) {
			assert_ptr_equal(map_set(&m, k, &values[n]), present[n] ? &values[n] : NULL);
			count += !present[n];
			present[n] = true;
		} else {
			assert_ptr_equal(map_remove(&m, k), present[n] ? &values[n] : NULL);
			count -= present[n];
			present[n] = false;
		}
		assert_int_equal(m.len, count);
	}
	assert_true(m.cap <= 4 * KEYS); /* removed keys do not make it grow */
	size_t seen = 0;
	MAP_EACH(&m, e) {
		assert_true(present[(int *)e->value - values]);
		seen++;
		map_remove(&m, e->key);
	}
	assert_int_equal(seen, count);
	assert_int_equal(m.len, 0);
	map_set(&m, S(""), &values[0]);
	assert_ptr_equal(map_get(&m, S("")), &values[0]);
	map_release(&m);
	map_release(&m);
}

static void test_heap(void **state) {
	enum { NODES = 1000 };
	static struct heap_node nodes[NODES];
	struct heap h = { 0 };
	int64_t last = INT64_MIN;
	size_t left = 0;
	for (size_t i = 0; i < NODES; i++) {
		nodes[i].at = (int64_t)((i * 7919) % 613);
		heap_push(&h, &nodes[i]);
	}
	for (size_t i = 0; i < NODES; i += 3) {
		heap_remove(&h, &nodes[i]);
		heap_remove(&h, &nodes[i]); /* harmless */
		assert_int_equal(nodes[i].index, 0);
	}
	left = h.len;
	for (struct heap_node *n; (n = heap_pop(&h)); left--) {
		assert_true(n->at >= last);
		assert_int_equal(n->index, 0);
		last = n->at;
	}
	assert_int_equal(left, 0);
	assert_null(heap_min(&h));
	heap_release(&h);
}

struct item {
	int n;
	struct list link;
};

static void test_list(void **state) {
	struct list head;
	struct item items[4] = { { .n = 0 }, { .n = 1 }, { .n = 2 }, { .n = 3 } };
	int sum = 0;
	list_init(&head);
	assert_true(list_empty(&head));
	assert_null(list_pop(&head));
	list_push(&head, &items[1].link);
	list_push(&head, &items[2].link);
	list_push_front(&head, &items[0].link);
	list_remove(&items[3].link); /* in no list */
	LIST_EACH(&head, it) {
		struct item *item = container_of(it, struct item, link);
		sum = sum * 10 + item->n;
		if (item->n == 1) {
			list_remove(it);
		}
	}
	assert_int_equal(sum, 12);
	assert_false(list_linked(&items[1].link));
	assert_ptr_equal(list_pop(&head), &items[0].link);
	assert_ptr_equal(list_pop(&head), &items[2].link);
	assert_true(list_empty(&head));
}

static int int_cmp(const void *a, const void *b) {
	return *(const int *)a - *(const int *)b;
}

static void test_vec(void **state) {
	VEC(int) v = { 0 };
	VEC_SORT(&v, int_cmp);
	for (int i = 0; i < 10; i++) {
		VEC_PUSH(&v, 9 - i);
	}
	VEC_SORT(&v, int_cmp);
	VEC_REMOVE(&v, 0);
	VEC_INSERT(&v, 2, 100);
	assert_int_equal(VEC_POP(&v), 9);
	int want[] = { 1, 2, 100, 3, 4, 5, 6, 7, 8 };
	assert_int_equal(v.len, ARRAY_LEN(want));
	assert_memory_equal(v.at, want, sizeof(want));
	int sum = 0;
	VEC_EACH(&v, it) {
		sum += *it;
	}
	assert_int_equal(sum, 136);
	VEC_RELEASE(&v);
	assert_null(v.at);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_map),
		cmocka_unit_test(test_heap),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_vec),
	};
	return cmocka_run_group_tests_name("containers", tests, NULL, NULL);
}
