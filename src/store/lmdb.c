/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lmdb.c - the embedded backend of store.h.
 *
 * Two tables, as in etcd: `log` holds revisions with their values, keyed by revision; `now` maps a key to its
 * current revision. So a value is written once, in order, at the end of a tree, and an old revision can be
 * watched from after a restart. When a revision leaves the retention window, the one before it of the same key is removed (and the revision
 * itself when it is a deletion): so what is current stays, and each event in the window has the value before it.
 *
 * One thread writes. It takes all writes that wait, checks each condition inside one transaction, so that each
 * write sees those before it, commits with one flush, hands the events to the watches, and wakes the writers. Readers open
 * short transactions in their own threads and copy out.
 *
 * LMDB's keys end at 511 bytes: longer ones keep their beginning and get a hash for the rest; the log has them whole.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lmdb.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/list.h"
#include "base/log.h"
#include "base/vec.h"
#include "store/store.h"

#define KEY_MAX 1024
#define SHORT_KEY_MAX 511
#define QUEUE_MAX 10000
#define BATCH_WRITES 1000
#define BATCH_BYTES ((size_t)64 << 20)
#define VALUE_MAX ((size_t)64 << 20)
#define HISTORY_DEFAULT 20000
#define MAP_DEFAULT ((size_t)16 << 30)
#define COMPACT_STEP 4000 /* revisions a transaction looks at */
#define PAGE 4096

/* What stands before key and value in the log. */
struct log_head {
	int64_t create_rev, prev_rev, version;
	uint32_t key_len;
	uint32_t deleted;
};

enum task_kind { TASK_WRITE, TASK_WATCH, TASK_COMPACT };

/* Something for the store thread; on the stack of the thread that waits for it. */
struct task {
	struct list link;
	enum task_kind kind;
	sem_t done;
	bool ok;
	struct err *err;
	/* TASK_WRITE */
	struct write *write;
	int64_t revision;
	struct kv *current; /* wanted when the condition fails */
	struct blob *prev;
	struct log_head head;
	void *attachment;
	bool in_txn;
	/* TASK_WATCH */
	struct store_watch *watch;
	/* TASK_COMPACT */
	int64_t compact;
};

struct store_watch {
	struct list link; /* in store.watches */
	struct store *store;
	struct str prefix; /* own */
	int64_t from;
	void (*on_event)(void *arg, const struct store_event *ev, int64_t revision);
	void *arg;
	bool matched; /* this batch */
};

struct store {
	MDB_env *env;
	MDB_dbi now, log, meta;
	char *dir;
	int lock_fd;
	int64_t history;
	size_t map_bytes;
	void *map; /* the data file's mapping; NULL when not found: then it is not trimmed */
	size_t map_len;
	int64_t untrimmed; /* the store thread's: bytes written since the mapping was last trimmed */
	pthread_t thread;
	nsec_t complained; /* the store thread's: when it last logged a failure */

	_Atomic int64_t revision, compacted;
	_Atomic int64_t writes, commits, bytes_written, commit_ns;

	pthread_mutex_t lock; /* guards down to the blank line */
	pthread_cond_t wake;
	struct list queue;
	size_t queue_len;
	bool closing;

	pthread_mutex_t watch_lock; /* held while events are handed out */
	struct list watches;
};

/* ---- blobs ---- */

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

/* ---- errors, keys, records ---- */

static bool mdb_err(struct store *s, int rc, struct err *err, const char *what) {
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

static MDB_val short_key(struct str key, char room[SHORT_KEY_MAX]) {
	if (key.len <= SHORT_KEY_MAX) {
		return (MDB_val){ key.len, (void *)(uintptr_t)key.ptr };
	}
	memcpy(room, key.ptr, SHORT_KEY_MAX - 16);
	tail_hash(str_from(key, SHORT_KEY_MAX - 16), (uint8_t *)room + SHORT_KEY_MAX - 16);
	return (MDB_val){ SHORT_KEY_MAX, room };
}

struct rev_key {
	uint8_t be[8]; /* big-endian: LMDB compares bytes */
};

static struct rev_key rev_key(int64_t rev) {
	struct rev_key k;
	uint64_t be = __builtin_bswap64((uint64_t)rev);
	memcpy(k.be, &be, 8);
	return k;
}

static int64_t rev_of(const MDB_val *v) {
	uint64_t be;
	memcpy(&be, v->mv_data, 8);
	return (int64_t)__builtin_bswap64(be);
}

/* One revision as it lies in the map; valid until the transaction ends or writes. */
struct record {
	struct log_head head;
	int64_t revision;
	struct str key, value;
};

static bool record_read(const MDB_val *v, int64_t revision, struct record *ret) {
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

static int log_get(struct store *s, MDB_txn *txn, int64_t revision, struct record *ret) {
	struct rev_key k = rev_key(revision);
	MDB_val key = { 8, k.be }, v;
	int rc = mdb_get(txn, s->log, &key, &v);
	return rc ? rc : record_read(&v, revision, ret) ? 0 : MDB_CORRUPTED;
}

/* The current record of a key; MDB_NOTFOUND. */
static int now_get(struct store *s, MDB_txn *txn, struct str key, struct record *ret) {
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

static void kv_from(const struct record *r, struct str key, struct kv *ret) {
	*ret = (struct kv){
		.key = key,
		.value = r->head.deleted ? NULL : blob_new(r->value),
		.create_rev = r->head.create_rev,
		.mod_rev = r->revision,
		.version = r->head.version,
	};
}

static int log_edge(struct store *s, MDB_txn *txn, MDB_cursor_op edge, int64_t *ret) {
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

/* ---- reading ---- */

static bool read_begin(struct store *s, MDB_txn **ret, struct err *err) {
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

static void map_trim(struct store *s);

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

/* ---- the mapping ---- */

/*
 * Every page that is read through the mapping, and the kernel's guess of what comes next, would count as ours for ever. Pages given
 * back stay in the page cache, where they cost nobody memory that is needed otherwise.
 */
#define TRIM_BYTES ((int64_t)8 << 20)

static void map_trim(struct store *s) {
	if (s->map) {
		(void)madvise(s->map, s->map_len, MADV_DONTNEED);
	}
}

/* LMDB does not tell where it maps its file; the kernel does. */
static void map_find(struct store *s) {
	char line[4400], *real = realpath(s->dir, NULL), *path = xasprintf("%s/data.mdb", real ? real : s->dir);
	FILE *f = fopen("/proc/self/maps", "re");
	while (f && !s->map && fgets(line, sizeof(line), f)) {
		uintptr_t from, to;
		size_t len = strcspn(line, "\n");
		line[len] = 0;
		if (str_ends((struct str){ line, len }, str_c(path)) && sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &from, &to) == 2) {
			s->map = (void *)from;
			s->map_len = to - from;
		}
	}
	if (f) {
		(void)fclose(f);
	}
	free(path);
	free(real);
}

/* ---- writing: the store thread ---- */

static void attachment_drop(struct task *t) {
	if (t->attachment && t->write->attachment_free) {
		t->write->attachment_free(t->attachment);
	}
	t->attachment = NULL;
}

static void task_reset(struct task *t) {
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

static void watch_give(struct store_watch *w, const struct store_event *ev) {
	if (str_starts(ev->key, w->prefix)) {
		w->matched = true;
		w->on_event(w->arg, ev, ev->revision);
	}
}

static void events_give(struct store *s, struct task **at, size_t n) {
	int64_t revision = atomic_load(&s->revision);
	bool any = false;
	pthread_mutex_lock(&s->watch_lock);
	for (size_t i = 0; i < n; i++) {
		struct task *t = at[i];
		if (!t->in_txn) {
			continue;
		}
		any = true;
		struct store_event ev = {
			.key = t->write->key,
			.value = t->write->value,
			.prev_value = t->prev,
			.revision = t->revision,
			.create_rev = t->head.create_rev,
			.prev_rev = t->head.prev_rev,
			.attachment = t->attachment,
		};
		LIST_EACH(&s->watches, it) {
			watch_give(container_of(it, struct store_watch, link), &ev);
		}
	}
	LIST_EACH(&s->watches, it) {
		struct store_watch *w = container_of(it, struct store_watch, link);
		if (any && !w->matched) {
			w->on_event(w->arg, NULL, revision);
		}
		w->matched = false;
	}
	pthread_mutex_unlock(&s->watch_lock);
	for (size_t i = 0; i < n; i++) {
		task_reset(at[i]);
	}
}

/* A batch that does not fit is tried again in halves, so that one huge write does not take others with it. */
static void batch_write(struct store *s, struct task **at, size_t n) {
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

/* What a new watch has missed, out of the log. */
static bool watch_catch_up(struct store *s, struct store_watch *w, struct err *err) {
	MDB_txn *txn;
	MDB_cursor *c;
	MDB_val k, v;
	int64_t last = atomic_load(&s->revision);
	if (w->from <= 0 || w->from > last) {
		return true;
	}
	if (w->from < atomic_load(&s->compacted)) {
		return err_set(err, ERR_EXPIRED, "too old resource version: %lld (%lld)", (long long)w->from, (long long)atomic_load(&s->compacted));
	}
	if (!read_begin(s, &txn, err)) {
		return false;
	}
	int rc = mdb_cursor_open(txn, s->log, &c);
	if (rc) {
		mdb_txn_abort(txn);
		return mdb_err(s, rc, err, "read");
	}
	struct rev_key rk = rev_key(w->from);
	k = (MDB_val){ 8, rk.be };
	for (rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE); !rc; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
		struct record r, prev;
		if (!record_read(&v, rev_of(&k), &r)) {
			rc = MDB_CORRUPTED;
			break;
		}
		if (!str_starts(r.key, w->prefix)) {
			continue;
		}
		struct store_event ev = { .key = r.key, .revision = r.revision, .create_rev = r.head.create_rev, .prev_rev = r.head.prev_rev };
		ev.value = r.head.deleted ? NULL : blob_new(r.value);
		if (r.head.prev_rev && log_get(s, txn, r.head.prev_rev, &prev) == 0) {
			ev.prev_value = blob_new(prev.value);
		}
		w->on_event(w->arg, &ev, ev.revision);
		blob_unref(ev.value);
		blob_unref(ev.prev_value);
	}
	mdb_cursor_close(c);
	mdb_txn_abort(txn);
	if (rc != MDB_NOTFOUND) {
		return mdb_err(s, rc, err, "read");
	}
	w->on_event(w->arg, NULL, last);
	return true;
}

static bool compact_all(struct store *s, int64_t to, struct err *err) {
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

/* Takes what waits, up to a batch; with nothing left and the store closing: 0. Anything but writes comes alone. */
static size_t tasks_take(struct store *s, struct task **at) {
	size_t n = 0, bytes = 0;
	pthread_mutex_lock(&s->lock);
	while (list_empty(&s->queue) && !s->closing) {
		pthread_cond_wait(&s->wake, &s->lock);
	}
	while (n < BATCH_WRITES && !list_empty(&s->queue)) {
		struct task *t = container_of(s->queue.next, struct task, link);
		size_t len = t->kind == TASK_WRITE && t->write->value ? t->write->value->len : 0;
		if (n && (t->kind != TASK_WRITE || bytes + len > BATCH_BYTES)) {
			break;
		}
		list_remove(&t->link);
		s->queue_len--;
		bytes += len;
		at[n++] = t;
		if (t->kind != TASK_WRITE) {
			break;
		}
	}
	pthread_mutex_unlock(&s->lock);
	return n;
}

static void *store_main(void *arg) {
	struct store *s = arg;
	struct task *at[BATCH_WRITES];
	size_t n;
	pthread_setname_np(pthread_self(), "store");
	while ((n = tasks_take(s, at))) {
		switch (at[0]->kind) {
		case TASK_WRITE:
			batch_write(s, at, n);
			break;
		case TASK_WATCH:
			at[0]->ok = watch_catch_up(s, at[0]->watch, at[0]->err);
			if (at[0]->ok) {
				pthread_mutex_lock(&s->watch_lock);
				list_push(&s->watches, &at[0]->watch->link);
				pthread_mutex_unlock(&s->watch_lock);
			}
			break;
		case TASK_COMPACT:
			at[0]->ok = compact_all(s, at[0]->compact, at[0]->err);
			break;
		}
		for (size_t i = 0; i < n; i++) {
			sem_post(&at[i]->done); /* from here on it is its thread's again */
		}
	}
	return NULL;
}

/* Gives a task to the store thread and waits. */
static bool task_do(struct store *s, struct task *t) {
	sem_init(&t->done, 0, 0);
	pthread_mutex_lock(&s->lock);
	bool refused = s->closing || s->queue_len >= QUEUE_MAX;
	if (refused) {
		err_set(t->err, s->closing ? ERR_UNAVAILABLE : ERR_TOO_MANY_REQUESTS, s->closing ? "the store is closed" : "too many writes wait for the disk");
	} else {
		list_push(&s->queue, &t->link);
		s->queue_len++;
		if (s->queue_len == 1) {
			pthread_cond_signal(&s->wake);
		}
	}
	pthread_mutex_unlock(&s->lock);
	if (!refused) {
		pool_wait_begin();
		while (sem_wait(&t->done) != 0) {
		}
		pool_wait_end();
	}
	sem_destroy(&t->done);
	return !refused && t->ok;
}

bool store_write(struct store *s, struct write *w, int64_t *ret_revision, struct kv *ret_current, struct err *err) {
	struct task t = { .kind = TASK_WRITE, .write = w, .current = ret_current, .err = err };
	if (!w->key.len || w->key.len > KEY_MAX) {
		return err_set(err, ERR_INVALID, "a key must have 1 to %d bytes", KEY_MAX);
	}
	if (w->value && w->value->len > VALUE_MAX) {
		return err_set(err, ERR_TOO_LARGE, "a value must not have more than %zu bytes", VALUE_MAX);
	}
	err_clear(err);
	if (!task_do(s, &t)) {
		return false;
	}
	if (ret_revision) {
		*ret_revision = t.revision;
	}
	return true;
}

/* ---- watches ---- */

bool store_watch(struct store *s, const struct store_watch_opts *opts, struct store_watch **ret, struct err *err) {
	struct store_watch *w = xcalloc(1, sizeof(*w));
	struct task t = { .kind = TASK_WATCH, .watch = w, .err = err };
	*w = (struct store_watch){
		.store = s,
		.prefix = { str_dup(opts->prefix), opts->prefix.len },
		.from = opts->from,
		.on_event = opts->on_event,
		.arg = opts->arg,
	};
	if (!task_do(s, &t)) {
		free((char *)(uintptr_t)w->prefix.ptr);
		free(w);
		return false;
	}
	*ret = w;
	return true;
}

void store_watch_cancel(struct store_watch *w) {
	if (!w) {
		return;
	}
	pthread_mutex_lock(&w->store->watch_lock);
	list_remove(&w->link);
	pthread_mutex_unlock(&w->store->watch_lock);
	free((char *)(uintptr_t)w->prefix.ptr);
	free(w);
}

/* ---- maintenance ---- */

bool store_compact(struct store *s, int64_t revision, struct err *err) {
	struct task t = { .kind = TASK_COMPACT, .compact = revision, .err = err };
	return task_do(s, &t);
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

/* ---- open and close ---- */

/* One process at a time; the file names it. */
static bool lock_take(struct store *s, struct err *err) {
	auto_free char *path = xasprintf("%s/lock", s->dir);
	char text[32] = "";
	s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock_fd < 0) {
		return err_sys(err, "open %s", path);
	}
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0) {
		ssize_t n = pread(s->lock_fd, text, sizeof(text) - 1, 0);
		struct str pid = str_trim((struct str){ text, n > 0 ? (size_t)n : 0 });
		return err_set(err, ERR_UNAVAILABLE, "the store %s is in use by process %.*s", s->dir, STR_ARG(pid));
	}
	int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	if (ftruncate(s->lock_fd, 0) != 0 || pwrite(s->lock_fd, text, (size_t)len, 0) != len) {
		return err_sys(err, "write %s", path);
	}
	return true;
}

static int tables_open(struct store *s) {
	MDB_txn *txn;
	MDB_val k = { 6, (void *)(uintptr_t) "format" }, v = { 1, (void *)(uintptr_t) "1" };
	int64_t revision = 0, compacted = 0;
	int rc = mdb_txn_begin(s->env, NULL, 0, &txn);
	if (rc) {
		return rc;
	}
	rc = mdb_dbi_open(txn, "now", MDB_CREATE, &s->now);
	rc = rc ? rc : mdb_dbi_open(txn, "log", MDB_CREATE, &s->log);
	rc = rc ? rc : mdb_dbi_open(txn, "meta", MDB_CREATE, &s->meta);
	rc = rc ? rc : mdb_put(txn, s->meta, &k, &v, MDB_NOOVERWRITE);
	if (rc == MDB_KEYEXIST) { /* v is what is there */
		rc = v.mv_size == 1 && *(char *)v.mv_data == '1' ? 0 : MDB_VERSION_MISMATCH;
	}
	rc = rc ? rc : log_edge(s, txn, MDB_LAST, &revision);
	k = (MDB_val){ 9, (void *)(uintptr_t) "compacted" };
	if (!rc && mdb_get(txn, s->meta, &k, &v) == 0 && v.mv_size == 8) {
		memcpy(&compacted, v.mv_data, 8);
	}
	if (rc) {
		mdb_txn_abort(txn);
		return rc;
	}
	s->revision = revision;
	s->compacted = MAX(compacted, (int64_t)1);
	return mdb_txn_commit(txn);
}

static void store_free(struct store *s) {
	if (s->env) {
		mdb_env_close(s->env);
	}
	close_fd_p(&s->lock_fd);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->watch_lock);
	pthread_cond_destroy(&s->wake);
	free(s->dir);
	free(s);
}

static bool env_open(struct store *s, const struct store_opts *o, struct err *err) {
	unsigned int flags = MDB_NOTLS | MDB_NORDAHEAD | (o->no_sync ? MDB_NOSYNC : 0);
	size_t reserve = MAX((size_t)4 << 20, s->map_bytes / 16);
	int rc = mdb_env_create(&s->env);
	rc = rc ? rc : mdb_env_set_maxdbs(s->env, 4);
	rc = rc ? rc : mdb_env_set_maxreaders(s->env, 512);
	rc = rc ? rc : mdb_env_set_mapsize(s->env, (s->map_bytes + reserve) / PAGE * PAGE);
	rc = rc ? rc : mdb_env_open(s->env, s->dir, flags, 0600);
	rc = rc ? rc : tables_open(s);
	if (rc == MDB_INVALID || rc == MDB_VERSION_MISMATCH || rc == MDB_CORRUPTED) {
		return err_set(err, ERR_IO, "open the store %s: data.mdb is not one of ours or is damaged (%s)", s->dir, mdb_strerror(rc));
	}
	if (rc) {
		return mdb_err(s, rc, err, "open the store");
	}
	map_find(s);
	return true;
}

bool store_open(const struct store_opts *opts, struct store **ret, struct err *err) {
	struct store *s = xcalloc(1, sizeof(*s));
	s->dir = xstrdup(opts->dir);
	s->lock_fd = -1;
	s->history = opts->history ? opts->history : HISTORY_DEFAULT;
	s->map_bytes = opts->map_bytes ? opts->map_bytes : MAP_DEFAULT;
	list_init(&s->queue);
	list_init(&s->watches);
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->watch_lock, NULL);
	pthread_cond_init(&s->wake, NULL);
	if (!dir_make(s->dir, 0700, err) || !lock_take(s, err) || !env_open(s, opts, err)) {
		store_free(s);
		return false;
	}
	int rc = pthread_create(&s->thread, NULL, store_main, s);
	if (rc) {
		errno = rc;
		err_sys(err, "start the store's thread");
		store_free(s);
		return false;
	}
	*ret = s;
	return true;
}

void store_close(struct store *s) {
	if (!s) {
		return;
	}
	pthread_mutex_lock(&s->lock);
	s->closing = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	store_free(s);
}
