/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lmdb_read.c - reading: short transactions in the caller's thread; what is found is copied out.
 */
#include "store/lmdb_int.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/vec.h"

bool read_begin(struct store *s, MDB_txn **ret, struct err *err) {
	int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, ret);
	return rc ? mdb_err(s, rc, err, "begin to read") : true;
}

bool store_get(struct store *s, struct str key, struct arena *a, struct kv *ret, struct err *err) {
	MDB_txn *txn;
	struct record r;
	if (!read_begin(s, &txn, err)) {
		return false;
	}
	int rc = now_get(s, txn, key, &r);
	if (!rc) {
		kv_from(&r, arena_str(a, key), ret);
	}
	mdb_txn_abort(txn);
	if (rc == MDB_NOTFOUND) {
		return err_set(err, ERR_NOT_FOUND, "key %.*s not found", STR_ARG(key));
	}
	return rc ? mdb_err(s, rc, err, "read") : true;
}

/* Walks the current records of [from, to); `visit` returns false to stop. */
static int now_walk(struct store *s, MDB_txn *txn, struct str from, struct str to, bool (*visit)(void *arg, const struct record *r), void *arg) {
	MDB_cursor *c;
	MDB_val k = { MIN(from.len, (size_t)SHORT_KEY_MAX - 16), (void *)(uintptr_t)from.ptr }, v;
	if (from.len <= SHORT_KEY_MAX - 16) {
		k.mv_size = from.len;
	}
	int rc = mdb_cursor_open(txn, s->now, &c);
	if (rc) {
		return rc;
	}
	rc = mdb_cursor_get(c, &k, &v, from.len ? MDB_SET_RANGE : MDB_FIRST);
	for (; !rc; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
		struct record r;
		struct str at = { k.mv_data, k.mv_size };
		/* A long key stands at its beginning's place: beyond `to` only when the beginning is. */
		if (to.len && str_cmp(str_sub(at, 0, SHORT_KEY_MAX - 16), to) >= 0) {
			break;
		}
		rc = log_get(s, txn, rev_of(&v), &r);
		if (rc) {
			break;
		}
		if (str_cmp(r.key, from) < 0 || (to.len && str_cmp(r.key, to) >= 0)) {
			continue;
		}
		if (!visit(arg, &r)) {
			break;
		}
	}
	mdb_cursor_close(c);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

struct collect {
	struct range *range;
	VEC(struct kv) at;
	size_t limit;
	bool unsorted;
};

static bool collect_visit(void *arg, const struct record *r) {
	struct collect *c = arg;
	struct kv kv;
	if (c->limit && c->at.len == c->limit) {
		c->range->more = true;
		return false;
	}
	kv_from(r, arena_str(&c->range->arena, r->key), &kv);
	c->unsorted = c->unsorted || (c->at.len && str_cmp(c->at.at[c->at.len - 1].key, kv.key) > 0);
	VEC_PUSH(&c->at, kv);
	return true;
}

static int kv_order(const void *a, const void *b) {
	return str_cmp(((const struct kv *)a)->key, ((const struct kv *)b)->key);
}

bool store_range(struct store *s, struct str from, struct str to, size_t limit, struct range *ret, struct err *err) {
	MDB_txn *txn;
	struct range range = { 0 };
	struct collect c = { .range = &range, .limit = limit };
	if (!read_begin(s, &txn, err)) {
		return false;
	}
	int rc = log_edge(s, txn, MDB_LAST, &range.revision);
	if (!rc) {
		rc = now_walk(s, txn, from, to, collect_visit, &c);
	}
	mdb_txn_abort(txn);
	range.at = c.at.at;
	range.len = c.at.len;
	if (rc) {
		range_release(&range);
		return mdb_err(s, rc, err, "read");
	}
	if (c.unsorted) { /* long keys, which lie in the order of their hashes */
		qsort(range.at, range.len, sizeof(range.at[0]), kv_order);
	}
	*ret = range;
	return true;
}

void range_release(struct range *r) {
	for (size_t i = 0; i < r->len; i++) {
		kv_release(&r->at[i]);
	}
	free(r->at);
	arena_release(&r->arena);
	*r = (struct range){ 0 };
}

struct scan {
	bool (*visit)(void *arg, const struct kv *kv);
	void *arg;
};

static bool scan_visit(void *arg, const struct record *r) {
	struct scan *c = arg;
	struct kv kv;
	kv_from(r, r->key, &kv);
	bool more = c->visit(c->arg, &kv);
	kv_release(&kv);
	return more;
}

bool store_scan(struct store *s, struct str from, struct str to, bool (*visit)(void *arg, const struct kv *kv), void *arg, int64_t *ret_revision,
	struct err *err) {
	MDB_txn *txn;
	int64_t revision;
	struct scan c = { visit, arg };
	if (!read_begin(s, &txn, err)) {
		return false;
	}
	int rc = log_edge(s, txn, MDB_LAST, &revision);
	if (!rc) {
		rc = now_walk(s, txn, from, to, scan_visit, &c);
	}
	mdb_txn_abort(txn);
	map_trim(s);
	if (rc) {
		return mdb_err(s, rc, err, "read");
	}
	if (ret_revision) {
		*ret_revision = revision;
	}
	return true;
}

bool store_snapshot(struct store *s, const char *path, struct err *err) {
	auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0) {
		return err_sys(err, "create %s", path);
	}
	int rc = mdb_env_copyfd2(s->env, fd, MDB_CP_COMPACT);
	if (rc) {
		return mdb_err(s, rc, err, "copy the store");
	}
	return fsync(fd) == 0 ? true : err_sys(err, "flush %s", path);
}

int64_t store_revision(struct store *s) {
	return atomic_load(&s->revision);
}

int64_t store_compacted(struct store *s) {
	return atomic_load(&s->compacted);
}

void store_stats(struct store *s, struct store_stats *ret) {
	MDB_envinfo info = { 0 };
	MDB_stat stat = { 0 };
	MDB_txn *txn;
	*ret = (struct store_stats){ .writes = s->writes, .commits = s->commits, .bytes_written = s->bytes_written, .commit_ns_total = s->commit_ns };
	mdb_env_info(s->env, &info);
	ret->file_bytes = (int64_t)((info.me_last_pgno + 1) * PAGE);
	if (mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn) == 0) {
		mdb_stat(txn, s->now, &stat);
		mdb_txn_abort(txn);
	}
	ret->keys = (int64_t)stat.ms_entries;
}
