/* SPDX-License-Identifier: Apache-2.0 */
/*
 * images_dns.c - the test server's DNS reader on any bytes.
 *
 * Property: it ends, stays within the message, and what it accepts gives at least one line a record.
 * The sources are included, since no room's library has them.
 */
#include "../images/testserver/base.c"
#include "../images/testserver/dns.c"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct str in = { (const char *)data, size };
	uint16_t id = size >= 2 ? (uint16_t)(data[0] << 8 | data[1]) : 0;
	auto_buf struct buf text = { 0 }, query = { 0 };
	struct dns_answer answer = { 0 };

	if (dns_answer_read(in, id, false, &text, &answer) && !text.overflown) {
		size_t lines = 0;

		for (size_t i = 0; i < text.len; i++) {
			lines += text.ptr[i] == '\n';
		}
		assert(lines == answer.records);
	}
	if (dns_query(&query, id, in, 1)) {
		assert(query.len <= 12 + 255 + 4);
	}
	return 0;
}
