/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema_bench.c - what a pod costs on its way through the schema: typed decode, defaults, protobuf both ways, one row of a
 * table, one strategic merge patch. MB/s are of the pod's JSON (or of its protobuf where that is read or made).
 * Reference: a durable create of a pod over TLS may take 150 us in all.
 */
#include <stdio.h>

#include "base/clock.h"
#include "schema/schema.h"

#define ROUNDS 20000

static const char pod_text[] =
#include "pod.inc"
	;

static void report(const char *what, size_t bytes, nsec_t took) {
	printf("%-28s %8.0f MB/s %8.2f us a pod\n", what, (double)bytes * ROUNDS / ((double)took / 1e9) / 1e6, (double)took / 1e3 / ROUNDS);
}

static void must(bool ok, const struct err *err) {
	if (!ok) {
		printf("%s\n", err->msg);
		exit(1);
	}
}

int main(void) {
	const struct schema_type *t = schema_type_at(T_core_v1_Pod), *ignored = NULL;
	auto_arena struct arena a = { 0 }, tmp = { 0 };
	auto_buf struct buf text = { 0 }, pb = { 0 };
	struct err err = { 0 };
	struct value *raw = NULL, *pod = NULL, *v = NULL;
	struct str rest = str_c(pod_text), head;
	nsec_t start;

	while (str_cut(rest, '@', &head, &rest)) {
		buf_str(&text, head);
		buf_c(&text, "web-12345678");
	}
	buf_str(&text, head);
	must(json_parse(&a, buf_view(&text), NULL, &raw, &err), &err);
	must(schema_decode(&a, t, raw, NULL, &pod, &err), &err);
	schema_default(&a, t, pod);

	start = clock_mono();
	for (int i = 0; i < ROUNDS; i++) {
		arena_clear(&tmp);
		must(schema_decode(&tmp, t, raw, NULL, &v, &err), &err);
	}
	report("typed decode", text.len, clock_mono() - start);

	start = clock_mono();
	for (int i = 0; i < ROUNDS; i++) {
		arena_clear(&tmp);
		must(schema_decode(&tmp, t, raw, NULL, &v, &err), &err);
		schema_default(&tmp, t, v);
	}
	report("typed decode and defaults", text.len, clock_mono() - start);

	start = clock_mono();
	for (int i = 0; i < ROUNDS; i++) {
		buf_clear(&pb);
		must(pb_encode_object(&pb, t, pod), &err);
	}
	report("protobuf encode", pb.len, clock_mono() - start);

	start = clock_mono();
	for (int i = 0; i < ROUNDS; i++) {
		arena_clear(&tmp);
		must(pb_decode_object(&tmp, buf_view(&pb), NULL, &ignored, &v, &err), &err);
	}
	report("protobuf decode", pb.len, clock_mono() - start);

	start = clock_mono();
	for (int i = 0; i < ROUNDS; i++) {
		arena_clear(&tmp);
		table_row(&tmp, schema_resource_at(R_core_v1_pods), pod, TABLE_METADATA, 1767323045);
	}
	report("table row", text.len, clock_mono() - start);

	must(json_parse(&a, S("{\"metadata\":{\"labels\":{\"a\":\"b\"}},\"spec\":{\"containers\":[{\"name\":\"web\",\"image\":\"x\"}]}}"), NULL, &raw, &err), &err);
	start = clock_mono();
	for (int i = 0; i < ROUNDS; i++) {
		arena_clear(&tmp);
		must(smp_apply(&tmp, t, pod, raw, &v, &err), &err);
	}
	report("strategic merge patch", text.len, clock_mono() - start);

	arena_clear(&tmp);
	start = clock_mono();
	v = openapi_v3(&tmp, S(""), S("v1"));
	printf("%-28s %8.1f ms\n", "OpenAPI v3 of core/v1", (double)(clock_mono() - start) / 1e6);
	arena_clear(&tmp);
	start = clock_mono();
	v = openapi_v2(&tmp);
	buf_clear(&pb);
	must(openapi_v2_protobuf(&pb, v), &err);
	printf("%-28s %8.1f ms, %.1f MB\n", "OpenAPI v2 as protobuf", (double)(clock_mono() - start) / 1e6, (double)pb.len / 1e6);
	return 0;
}
