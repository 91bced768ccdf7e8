/* SPDX-License-Identifier: Apache-2.0 */
/*
 * value_bench.c - how fast a list of pods is parsed, printed and frozen, and what a frozen pod takes.
 * The pod is one as a cluster holds it: one container, service account volume, status, managed fields.
 * References: DESIGN.md section 5 (bytes an object), 300 MB/s parsing and 600 MB/s printing on one core.
 */
#include <stdio.h>
#include <malloc.h>

#include "base/clock.h"
#include "value/value.h"

#define PODS 1000
#define ROUNDS 20

static const char pod_text[] =
#include "pod.inc"
	;

/* The pod with names of its own, so that nothing is shared between pods by chance. */
static void add_pod(struct buf *b, int n) {
	struct str rest = str_c(pod_text), head;
	char name[24];
	snprintf(name, sizeof(name), "web-%08x", (unsigned)n * 2654435761u);
	while (str_cut(rest, '@', &head, &rest)) {
		buf_str(b, head);
		buf_c(b, name);
	}
	buf_str(b, head);
}

static void report(const char *what, size_t bytes, nsec_t took) {
	printf("%-28s %8.0f MB/s\n", what, (double)bytes * ROUNDS / ((double)took / 1e9) / 1e6);
}

static void bench_parse(struct str text, bool borrow, const char *what) {
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct value *v;
	nsec_t start = clock_mono();
	for (int i = 0; i < ROUNDS; i++) {
		arena_release(&a);
		if (!json_parse(&a, text, &(struct json_opts){ .borrow = borrow }, &v, &err)) {
			printf("%s\n", err.msg);
			exit(1);
		}
	}
	report(what, text.len, clock_mono() - start);
}

/* One document at a time, as requests come. */
static void bench_single(struct str text) {
	struct err err = { 0 };
	nsec_t start = clock_mono();
	for (int i = 0; i < ROUNDS * PODS; i++) {
		auto_arena struct arena a = { 0 };
		struct value *v;
		if (!json_parse(&a, text, NULL, &v, &err)) {
			exit(1);
		}
	}
	report("parse single pods", text.len * PODS, clock_mono() - start);
}

int main(void) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf list = { 0 }, one = { 0 }, out = { 0 };
	struct err err = { 0 };
	struct value *v;
	buf_c(&list, "{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[");
	for (int i = 0; i < PODS; i++) {
		if (i) {
			buf_char(&list, ',');
		}
		add_pod(&list, i);
	}
	buf_c(&list, "]}");
	add_pod(&one, 0);
	bench_parse(buf_view(&list), false, "parse list");
	bench_parse(buf_view(&list), true, "parse list, text borrowed");
	bench_single(buf_view(&one));

	if (!json_parse(&a, buf_view(&list), NULL, &v, &err)) {
		return 1;
	}
	nsec_t start = clock_mono();
	for (int i = 0; i < ROUNDS; i++) {
		buf_clear(&out);
		if (!json_print(&out, v)) {
			return 1;
		}
	}
	report("print list", out.len, clock_mono() - start);

	auto_buf struct buf yaml = { 0 };
	start = clock_mono();
	if (!yaml_print(&yaml, v)) {
		return 1;
	}
	report("print list as YAML", yaml.len / ROUNDS, clock_mono() - start);
	auto_arena struct arena scratch = { 0 };
	struct value *read;
	start = clock_mono();
	if (!yaml_parse(&scratch, buf_view(&yaml), NULL, &read, &err)) {
		return 1;
	}
	report("parse list from YAML", yaml.len / ROUNDS, clock_mono() - start);

	const struct value *items = value_get(v, N_items);
	static struct obj *objs[PODS];
	size_t bytes = 0, before = mallinfo2().uordblks;
	nsec_t freezing = 0;
	for (int i = 0; i < ROUNDS; i++) {
		start = clock_mono();
		for (size_t n = 0; n < PODS; n++) {
			obj_unref(objs[n]);
			objs[n] = obj_freeze(value_item(items, n), 1);
		}
		freezing += clock_mono() - start;
	}
	report("freeze pods", out.len, freezing);
	size_t heap = mallinfo2().uordblks - before;
	for (size_t n = 0; n < PODS; n++) {
		bytes += objs[n]->bytes;
	}
	printf("%-28s %8zu bytes\n", "pod as JSON", one.len);
	printf("%-28s %8zu bytes\n", "pod frozen", bytes / PODS);
	printf("%-28s %8zu bytes\n", "pod frozen, on the heap", heap / PODS);
	for (size_t n = 0; n < PODS; n++) {
		obj_unref(objs[n]);
	}
	return 0;
}
