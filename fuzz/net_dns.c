/* SPDX-License-Identifier: Apache-2.0 */
/* net_dns.c - fuzz target: DNS messages. Property: what was read can be written, reads back the same, and is then stable. */
#include <stdint.h>

#include "net/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf once = { 0 };
	auto_buf struct buf twice = { 0 };
	auto_buf struct buf small = { 0 };
	struct dns_message first, second, third;
	struct err err = { 0 };
	char text[46];
	if (!dns_parse(&a, (struct str){ (const char *)data, size }, &first, &err)) {
		assert(err.code == ERR_BAD_REQUEST && err.msg[0]);
		return 0;
	}
	if (!dns_build(&first, 0, &once, &err)) {
		return 0; /* too long without the compression it came with */
	}
	assert(once.len <= 65535);
	bool ok = dns_parse(&a, buf_view(&once), &second, &err);
	assert(ok);
	assert(second.truncated || second.answers_len == first.answers_len);
	assert(second.rcode == first.rcode && second.id == first.id && second.edns == first.edns);
	assert(!first.question.name.ptr || dns_name_eq(first.question.name, second.question.name));
	ok = dns_build(&second, 0, &twice, &err);
	assert(ok && str_eq(buf_view(&once), buf_view(&twice)));
	ok = dns_build(&first, 512, &small, &err);
	assert(!ok || small.len <= 512 || !first.answers_len);
	ok = ok && dns_parse(&a, buf_view(&small), &third, &err);
	if (first.question.name.ptr) {
		(void)dns_reverse_parse(first.question.name, text);
	}
	return 0;
}
