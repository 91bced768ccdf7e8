/* SPDX-License-Identifier: Apache-2.0 */
/* Log records: whatever stands in a line, a record that parses lies within it and its text ends it. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "kubelet/log_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct str line = { (const char *)data, size };
	struct log_record r = { 0 };

	if (log_record_parse(line, &r)) {
		assert(r.time.ptr == line.ptr && r.time.len < line.len);
		assert(r.text.len == 0 || r.text.ptr + r.text.len == line.ptr + line.len);
	}
	return 0;
}
