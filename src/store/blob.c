/* SPDX-License-Identifier: Apache-2.0 */
/* blob.c - counted bytes, whatever the backend. Any thread. */
#include "store/store.h"

static struct blob *blob_alloc(size_t len) {
	struct blob *b = xmalloc(sizeof(*b) + len + 1);
	b->refs = 1;
	b->len = (uint32_t)len;
	b->bytes[len] = 0;
	return b;
}

struct blob *blob_new(struct str bytes) {
	struct blob *b = blob_alloc(bytes.len);
	if (bytes.len) {
		memcpy(b->bytes, bytes.ptr, bytes.len);
	}
	return b;
}

struct blob *blob_ref(struct blob *b) {
	__atomic_add_fetch(&b->refs, 1, __ATOMIC_RELAXED);
	return b;
}

void blob_unref(struct blob *b) {
	if (b && __atomic_sub_fetch(&b->refs, 1, __ATOMIC_ACQ_REL) == 0) {
		free(b);
	}
}

void kv_release(struct kv *kv) {
	blob_unref(kv->value);
	kv->value = NULL;
}
