/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - one key-value space with revisions, conditional writes and watches. Only the API server
 * uses it. Backend `lmdb` is embedded; `etcd` (v3 over gRPC) has to fit behind the same functions, so
 * revisions, compare-and-set and watch mean what they mean in etcd.
 *
 * Revisions. One counter for the whole store; every write transaction (here: every key written) gets the next one;
 * starts at 1; never goes back, also over restarts. A deletion has a revision too.
 *
 * Values are opaque bytes (the API server's stored form). Keys are bytes up to 1,024 (longer than LMDB's 511: the backend
 * hashes the tail; see lmdb.c).
 *
 * Durability: a write is acknowledged after it is flushed. All writes that wait are committed in one
 * transaction with one flush (group commit) by the store's own thread.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/buf.h"
#include "base/err.h"
#include "loop/loop.h"

struct store;

/* Bytes that the store, watchers and readers share; counted. */
struct blob {
	uint32_t refs; /* atomic */
	uint32_t len;
	char bytes[];
};
struct blob *blob_new(struct str bytes); /* copies */
struct blob *blob_ref(struct blob *b);
void blob_unref(struct blob *b); /* NULL is fine */

struct store_opts {
	const char *dir;         /* made when missing */
	size_t map_bytes;        /* most the data file may grow to; 0: 16 GiB */
	int64_t history;         /* revisions kept for watches and old reads; 0: 20,000 */
	bool no_sync;            /* tests only: acknowledge without flush */
};
/* Fails: ERR_IO (path named), ERR_UNAVAILABLE when another process has it open ("... is in use by process N"). */
NODISCARD bool store_open(const struct store_opts *opts, struct store **ret, struct err *err);
void store_close(struct store *s); /* finishes waiting writes, joins the thread; watches are cancelled before */

int64_t store_revision(struct store *s);  /* newest committed; any thread, no lock */
int64_t store_compacted(struct store *s); /* oldest revision that watches and old reads may still name */

struct kv {
	struct str key;       /* owned by the result's arena or message */
	struct blob *value;   /* NULL: deleted */
	int64_t create_rev;   /* revision that made the key */
	int64_t mod_rev;      /* of its last write */
	int64_t version;      /* writes since it was made, 1 at first */
};

/* Fails: ERR_NOT_FOUND. Any thread. kv_release drops the value. */
NODISCARD bool store_get(struct store *s, struct str key, struct arena *a, struct kv *ret, struct err *err);
void kv_release(struct kv *kv);

struct range {
	struct kv *at;
	size_t len;
	bool more;         /* the limit cut it */
	int64_t revision;  /* the store's at the time of the read */
	struct arena arena;
};
/*
 * Keys in [from, to) in byte order as of now, at most `limit` (0: all). Old revisions are served from the API server's watch cache, not here.
 */
NODISCARD bool store_range(struct store *s, struct str from, struct str to, size_t limit, struct range *ret, struct err *err);
void range_release(struct range *r);

/* Visits instead of collecting; `visit` returns false to stop. Used to fill caches at start. kv is borrowed for the call. */
NODISCARD bool store_scan(struct store *s, struct str from, struct str to, bool (*visit)(void *arg, const struct kv *kv), void *arg,
	int64_t *ret_revision, struct err *err);

enum store_cond {
	STORE_ALWAYS,
	STORE_ABSENT,  /* the key must not exist */
	STORE_MOD_REV, /* its mod_rev must equal `mod_rev` */
};
struct write {
	struct str key;
	struct blob *value;    /* NULL deletes */
	enum store_cond cond;
	int64_t mod_rev;
	/*
	 * Called on the store thread once the revision is known and before the write is durable, so that the caller can attach its own decoded object to the event
	 * (see store_event.attachment). May be NULL.
	 */
	void *(*prepare)(struct write *w, int64_t revision);
	void *arg;             /* the caller's */
	void (*attachment_free)(void *attachment);
};
/*
 * One conditional write; blocks until durable. `*ret_revision` is its revision.
 * Fails: ERR_CONFLICT (condition not met; *ret_current, when wanted, is what is there: release it; value NULL when absent),
 *        ERR_IO when the disk is full or broken ("... No space left on device"): nothing was written.
 * Thread: any that may block (pool).
 */
NODISCARD bool store_write(struct store *s, struct write *w, int64_t *ret_revision, struct kv *ret_current, struct err *err);

/* ---- watch ---- */
struct store_event {
	struct str key;             /* borrowed for the call */
	struct blob *value;         /* NULL: deleted */
	struct blob *prev_value;    /* NULL: created */
	int64_t revision;
	int64_t create_rev;
	int64_t prev_rev;           /* mod_rev before this write; 0: created */
	void *attachment;           /* what write.prepare returned; borrowed for the call */
};
struct store_watch;
/*
 * Every committed event of keys with `prefix`, from revision `from` on (inclusive; 0: from now), in order, none twice, none missing. on_event runs on the
 * store thread right after the commit is durable and before the writers are answered: it must be quick and must not block.
 * on_event with ev NULL: progress, the store reached `revision` (sent after each commit batch when no event matched).
 * Fails: ERR_EXPIRED when `from` is compacted.
 */
struct store_watch_opts {
	struct str prefix;
	int64_t from;
	void (*on_event)(void *arg, const struct store_event *ev, int64_t revision);
	void *arg;
};
NODISCARD bool store_watch(struct store *s, const struct store_watch_opts *opts, struct store_watch **ret, struct err *err);
void store_watch_cancel(struct store_watch *w); /* after it returns on_event is not called any more; not from on_event */

/* Compacts now: history before `revision` is forgotten. */
NODISCARD bool store_compact(struct store *s, int64_t revision, struct err *err);
/* A consistent copy of the whole store while it runs, to a file of its own that store_open can open as a folder's data. */
NODISCARD bool store_snapshot(struct store *s, const char *path, struct err *err);

struct store_stats {
	int64_t writes, commits, bytes_written;
	int64_t commit_ns_total;
	int64_t keys, file_bytes;
};
void store_stats(struct store *s, struct store_stats *ret);

#endif
