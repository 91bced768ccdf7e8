/* SPDX-License-Identifier: Apache-2.0 */
/* lmdb_record.c - keys and records of the LMDB backend, in whatever transaction they are given. */
#include "store/lmdb_int.h"

#include <errno.h>

bool mdb_err(struct store *s, int rc, struct err *err, const char *what) {
	if (rc == MDB_MAP_FULL || rc == ENOSPC) {
		errno = ENOSPC;
		return err_sys(err, "%s in %s%s", what, s->dir, rc == MDB_MAP_FULL ? " (the store has reached its configured size)" : "");
	}
	if (rc > 0) {
		errno = rc;
		return err_sys(err, "%s in %s", what, s->dir);
	}
	return err_set(err, ERR_IO, "%s in %s: %s", what, s->dir, mdb_strerror(rc));
}

/* Two multiplicative hashes; equal results of different keys are found by comparing the whole key in the log. */
static void tail_hash(struct str s, uint8_t out[16]) {
	uint64_t a = 0xcbf29ce484222325u, b = 0x9e3779b97f4a7c15u;
	for (size_t i = 0; i < s.len; i++) {
		a = (a ^ (uint8_t)s.ptr[i]) * 0x100000001b3u;
		b = (b + (uint8_t)s.ptr[i]) * 0xff51afd7ed558ccdu;
		b ^= b >> 32;
	}
	memcpy(out, &a, 8);
	memcpy(out + 8, &b, 8);
}

MDB_val short_key(struct str key, char room[SHORT_KEY_MAX]) {
	if (key.len <= SHORT_KEY_MAX) {
		return (MDB_val){ key.len, (void *)(uintptr_t)key.ptr };
	}
	memcpy(room, key.ptr, SHORT_KEY_MAX - 16);
	tail_hash(str_from(key, SHORT_KEY_MAX - 16), (uint8_t *)room + SHORT_KEY_MAX - 16);
	return (MDB_val){ SHORT_KEY_MAX, room };
}

struct rev_key rev_key(int64_t rev) {
	struct rev_key k;
	uint64_t be = __builtin_bswap64((uint64_t)rev);
	memcpy(k.be, &be, 8);
	return k;
}

int64_t rev_of(const MDB_val *v) {
	uint64_t be;
	memcpy(&be, v->mv_data, 8);
	return (int64_t)__builtin_bswap64(be);
}

bool lmdb_record_read(const MDB_val *v, int64_t revision, struct record *ret) {
	if (v->mv_size < sizeof(struct log_head)) {
		return false;
	}
	memcpy(&ret->head, v->mv_data, sizeof(ret->head));
	const char *p = (const char *)v->mv_data + sizeof(ret->head);
	size_t left = v->mv_size - sizeof(ret->head);
	if (ret->head.key_len > left) {
		return false;
	}
	ret->revision = revision;
	ret->key = (struct str){ p, ret->head.key_len };
	ret->value = (struct str){ p + ret->head.key_len, left - ret->head.key_len };
	return true;
}

int log_get(struct store *s, MDB_txn *txn, int64_t revision, struct record *ret) {
	struct rev_key k = rev_key(revision);
	MDB_val key = { 8, k.be }, v;
	int rc = mdb_get(txn, s->log, &key, &v);
	return rc ? rc : lmdb_record_read(&v, revision, ret) ? 0 : MDB_CORRUPTED;
}

/* The current record of a key; MDB_NOTFOUND. */
int now_get(struct store *s, MDB_txn *txn, struct str key, struct record *ret) {
	char room[SHORT_KEY_MAX];
	MDB_val k = short_key(key, room), v;
	int rc = mdb_get(txn, s->now, &k, &v);
	if (rc) {
		return rc;
	}
	rc = log_get(s, txn, rev_of(&v), ret);
	if (!rc && !str_eq(ret->key, key)) {
		return MDB_KEYEXIST; /* two long keys with one hash */
	}
	return rc;
}

void kv_from(const struct record *r, struct str key, struct kv *ret) {
	*ret = (struct kv){
		.key = key,
		.value = r->head.deleted ? NULL : blob_new(r->value),
		.create_rev = r->head.create_rev,
		.mod_rev = r->revision,
		.version = r->head.version,
	};
}

int log_edge(struct store *s, MDB_txn *txn, MDB_cursor_op edge, int64_t *ret) {
	MDB_cursor *c;
	MDB_val k, v;
	int rc = mdb_cursor_open(txn, s->log, &c);
	if (rc) {
		return rc;
	}
	rc = mdb_cursor_get(c, &k, &v, edge);
	*ret = rc ? 0 : rev_of(&k);
	mdb_cursor_close(c);
	return rc == MDB_NOTFOUND ? 0 : rc;
}
