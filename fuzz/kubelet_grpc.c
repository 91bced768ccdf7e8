/* SPDX-License-Identifier: Apache-2.0 */
/* A gRPC health answer from a hostile container: frames are taken off whole, what is written stays bounded. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "kubelet/probe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	auto_buf struct buf in = BUF_INIT(1 << 20), message = BUF_INIT(65536), out = BUF_INIT(65536);
	struct err err = { 0 };
	bool over = false;

	buf_add(&in, data, size);
	size_t before = in.len;
	bool ok = grpc_frames(&in, &message, &out, &over, &err);
	assert(in.len <= before);
	assert(ok || err.code != ERR_NONE);
	int status = grpc_status(buf_view(&message));
	assert(status >= -1 && status < 256);
	return 0;
}
