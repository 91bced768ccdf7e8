/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apiserver_request.c - request lines and headers from anybody. Lines of the input: method, path, query, Accept, Content-Type. Holds: what is
 * a resource has a resource and a version; a name never holds a slash unless it was escaped; a chosen media type is one that was allowed.
 */
#include <stddef.h>
#include <stdint.h>

#include "apiserver/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	auto_arena struct arena a = { 0 };
	struct str rest = { (const char *)data, size }, line[5] = { 0 };
	struct request_info i = { 0 };
	struct request_opts o = { 0 };
	struct causes causes = { .arena = &a };
	struct media m = { 0 };
	struct err err = { 0 };
	struct str kind = S("");
	enum media_format format;
	enum patch_type patch;

	for (size_t n = 0; n < ARRAY_LEN(line) && str_next(&rest, '\n', &line[n]); n++) {
	}
	if (request_info_parse(&a, line[0], line[1], line[2], &i, &err)) {
		assert(!i.is_resource || (i.version.ptr && i.resource.ptr && i.parts > 0));
		assert(str_index(i.resource, '/') < 0 && i.path.len <= line[1].len);
		err_clear(&err);
		if (request_opts_parse(&a, line[2], i.verb, size & 1, &o, &causes, &kind, &err)) {
			assert(causes.len <= 100);
		}
	}
	err_clear(&err);
	if (media_accept(line[3], MEDIA_ALLOW_PARTIAL | MEDIA_NO_YAML, &m, &err)) {
		assert(m.format != MEDIA_YAML && (m.as == AS_OBJECT || m.as == AS_PARTIAL));
		assert(media_type(&m, true).len > 0);
	} else {
		assert(err.code == ERR_NOT_ACCEPTABLE);
	}
	err_clear(&err);
	(void)!media_body(line[4], &format, &err);
	err_clear(&err);
	(void)!media_patch(line[4], true, &patch, &err);
	return 0;
}
