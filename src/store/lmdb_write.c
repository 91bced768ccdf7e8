/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lmdb_write.c - writing, on the store's thread alone: conditions, one transaction for all that wait, compaction, the size limit.
 */
#include "store/lmdb_int.h"

#include "base/clock.h"
#include "base/log.h"

#define TRIM_BYTES ((int64_t)8 << 20) /* written between two times that the mapping's pages are given back */

static void attachment_drop(struct task *t) {
	if (t->attachment && t->write->attachment_free) {
		t->write->attachment_free(t->attachment);
	}
	t->attachment = NULL;
}

void task_reset(struct task *t) {
	attachment_drop(t);
	blob_unref(TAKE(t->prev));
	t->in_txn = false;
}

/* Forgets what a transaction that was not committed has found out, failed conditions included. */
static void task_undo(struct task *t) {
	task_reset(t);
	t->ok = false;
	err_clear(t->err);
	if (t->current) {
		kv_release(t->current);
	}
}

static bool condition_fails(struct task *t, const struct record *old, struct err *err) {
	struct write *w = t->write;
	int64_t there = old ? old->revision : 0;
	switch (w->cond) {
	case STORE_ALWAYS:
		return false;
	case STORE_ABSENT:
		if (!there) {
			return false;
		}
		break;
	case STORE_MOD_REV:
		if (there == w->mod_rev) {
			return false;
		}
		break;
	}
	if (t->current) {
		*t->current = (struct kv){ .key = w->key };
		if (old) {
			kv_from(old, w->key, t->current);
		}
	}
	err_set(err, ERR_CONFLICT, "key %.*s is at revision %lld", STR_ARG(w->key), (long long)there);
	return true;
}

/* Puts one write into the transaction. Returns LMDB's code; a write that only fails by itself has t->ok false and its err set. */
static int write_put(struct store *s, MDB_txn *txn, struct task *t, int64_t *revision) {
	struct write *w = t->write;
	struct record old;
	char room[SHORT_KEY_MAX];
	int rc = now_get(s, txn, w->key, &old);
	bool exists = rc == 0;

	t->ok = false;
	if (rc == MDB_KEYEXIST) {
		err_set(t->err, ERR_INVALID, "key %.*s collides with another long key", STR_ARG(w->key));
		return 0;
	}
	if (rc && rc != MDB_NOTFOUND) {
		return rc;
	}
	if (condition_fails(t, exists ? &old : NULL, t->err)) {
		return 0;
	}
	if (!exists && !w->value) {
		err_set(t->err, ERR_NOT_FOUND, "key %.*s not found", STR_ARG(w->key));
		return 0;
	}
	int64_t rev = *revision + 1;
	size_t value_len = w->value ? w->value->len : 0;
	t->prev = exists ? blob_new(old.value) : NULL;
	t->head = (struct log_head){
		.create_rev = exists ? old.head.create_rev : rev,
		.prev_rev = exists ? old.revision : 0,
		.version = exists ? old.head.version + 1 : 1,
		.key_len = (uint32_t)w->key.len,
		.deleted = !w->value,
	};
	struct rev_key rk = rev_key(rev);
	MDB_val log_key = { 8, rk.be }, record = { sizeof(t->head) + w->key.len + value_len, NULL };
	rc = mdb_put(txn, s->log, &log_key, &record, MDB_RESERVE | MDB_APPEND);
	if (rc) {
		return rc;
	}
	char *p = mempcpy(record.mv_data, &t->head, sizeof(t->head));
	p = mempcpy(p, w->key.ptr, w->key.len);
	if (value_len) {
		memcpy(p, w->value->bytes, value_len);
	}
	MDB_val k = short_key(w->key, room), v = { 8, rk.be };
	rc = w->value ? mdb_put(txn, s->now, &k, &v, 0) : mdb_del(txn, s->now, &k, NULL);
	if (rc) {
		return rc;
	}
	*revision = t->revision = rev;
	t->ok = t->in_txn = true;
	atomic_fetch_add(&s->bytes_written, (int64_t)record.mv_size);
	if (w->prepare) {
		t->attachment = w->prepare(w, rev);
	}
	return 0;
}

/* Lets [from, to) leave the window, at most COMPACT_STEP revisions: see the file's head. */
static int compact_step(struct store *s, MDB_txn *txn, int64_t from, int64_t to, int64_t *ret_to) {
	int64_t rev = from, end = MIN(to, from + COMPACT_STEP);
	for (; rev < end; rev++) {
		struct record r;
		struct rev_key old, self = rev_key(rev);
		int rc = log_get(s, txn, rev, &r);
		if (rc == MDB_NOTFOUND) {
			continue; /* a deletion that left before, or one whose successor left in this very step */
		}
		if (rc) {
			return rc;
		}
		bool deleted = r.head.deleted;
		old = rev_key(r.head.prev_rev);
		MDB_val old_key = { 8, old.be }, self_key = { 8, self.be };
		if (r.head.prev_rev) {
			rc = mdb_del(txn, s->log, &old_key, NULL);
		}
		if (deleted && (!rc || rc == MDB_NOTFOUND)) {
			rc = mdb_del(txn, s->log, &self_key, NULL);
		}
		if (rc && rc != MDB_NOTFOUND) {
			return rc;
		}
	}
	*ret_to = end;
	MDB_val name = { 9, (void *)(uintptr_t) "compacted" }, value = { 8, ret_to };
	return mdb_put(txn, s->meta, &name, &value, 0);
}

/* Pages in use; exact, but walks the list of free ones: asked only near the limit. */
static size_t bytes_used(struct store *s, const MDB_envinfo *info) {
	MDB_txn *txn;
	MDB_cursor *c;
	MDB_val k, v;
	size_t freed = 0;
	if (mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn) == 0) {
		if (mdb_cursor_open(txn, 0, &c) == 0) { /* table 0: LMDB's own list of free pages, a count and their numbers per record */
			while (mdb_cursor_get(c, &k, &v, MDB_NEXT) == 0) {
				size_t n;
				memcpy(&n, v.mv_data, sizeof(n));
				freed += n;
			}
			mdb_cursor_close(c);
		}
		mdb_txn_abort(txn);
	}
	return (info->me_last_pgno + 1 - MIN(freed, info->me_last_pgno)) * PAGE;
}

/* The map has a reserve beyond the limit, so that deletions and compaction still work when the limit is reached. */
static bool is_full(struct store *s) {
	MDB_envinfo info;
	mdb_env_info(s->env, &info);
	return (info.me_last_pgno + 1) * PAGE >= s->map_bytes && bytes_used(s, &info) >= s->map_bytes;
}

/* One transaction for all; false when it could not be committed: then nothing was written. */
static int batch_commit(struct store *s, struct task **at, size_t n) {
	MDB_txn *txn;
	int64_t revision = atomic_load(&s->revision), compacted = atomic_load(&s->compacted), compact_to = compacted;
	bool full = is_full(s);
	int rc = mdb_txn_begin(s->env, NULL, 0, &txn);
	if (rc) {
		return rc;
	}
	for (size_t i = 0; !rc && i < n; i++) {
		if (full && at[i]->write->value) {
			at[i]->ok = mdb_err(s, MDB_MAP_FULL, at[i]->err, "write");
			continue;
		}
		rc = write_put(s, txn, at[i], &revision);
	}
	if (rc) {
		mdb_txn_abort(txn);
		return rc;
	}
	if (revision - compacted > s->history + s->history / 8) {
		rc = compact_step(s, txn, compacted, revision - s->history, &compact_to);
		if (rc) {
			mdb_txn_abort(txn);
			return rc;
		}
	}
	nsec_t begin = clock_mono();
	rc = mdb_txn_commit(txn);
	if (rc) {
		return rc;
	}
	for (size_t i = 0; i < n; i++) {
		s->untrimmed += PAGE + (at[i]->write->value ? at[i]->write->value->len : 0);
	}
	if (s->untrimmed > TRIM_BYTES) {
		s->untrimmed = 0;
		map_trim(s);
	}
	atomic_fetch_add(&s->commits, 1);
	atomic_fetch_add(&s->commit_ns, clock_mono() - begin);
	atomic_fetch_add(&s->writes, revision - atomic_load(&s->revision));
	atomic_store(&s->revision, revision);
	atomic_store(&s->compacted, compact_to);
	return 0;
}

/* A batch that does not fit is tried again in halves, so that one huge write does not take others with it. */
void batch_write(struct store *s, struct task **at, size_t n) {
	int rc = batch_commit(s, at, n);
	if (!rc) {
		events_give(s, at, n);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		task_undo(at[i]);
	}
	if (rc == MDB_MAP_FULL && n > 1) {
		batch_write(s, at, n / 2);
		batch_write(s, at + n / 2, n - n / 2);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		mdb_err(s, rc, at[i]->err, "write");
	}
	if (clock_mono() - s->complained > 10 * NSEC_PER_SEC) {
		s->complained = clock_mono();
		log_error("store", "writes fail", kv_c("dir", s->dir), kv_int("writes", n), kv_c("why", mdb_strerror(rc)));
	}
}

bool compact_all(struct store *s, int64_t to, struct err *err) {
	if (to > atomic_load(&s->revision)) {
		return err_set(err, ERR_INVALID, "revision %lld is in the future", (long long)to);
	}
	while (atomic_load(&s->compacted) < to) {
		MDB_txn *txn;
		int64_t reached = 0;
		int rc = mdb_txn_begin(s->env, NULL, 0, &txn);
		if (!rc) {
			rc = compact_step(s, txn, atomic_load(&s->compacted), to, &reached);
			if (rc) {
				mdb_txn_abort(txn);
			} else {
				rc = mdb_txn_commit(txn);
			}
		}
		if (rc) {
			return mdb_err(s, rc, err, "compact");
		}
		atomic_store(&s->compacted, reached);
	}
	return true;
}
