/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lmdb_int.h - the inside of the LMDB backend, shared by its files:
 *
 *   lmdb.c          opens and closes; the store's thread and its queue
 *   lmdb_record.c   keys and records as they lie in the tables
 *   lmdb_read.c     gets, ranges, scans, snapshots
 *   lmdb_map.c      gives the mapping's pages back
 *   lmdb_write.c    batches of conditional writes, compaction
 *   lmdb_watch.c    watches: live events and what a new one has missed
 *
 * docs/store-format.md has the tables.
 */
#ifndef STORE_LMDB_INT_H
#define STORE_LMDB_INT_H

#include <lmdb.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "base/list.h"
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

/* ---- lmdb_record.c ---- */

struct rev_key {
	uint8_t be[8]; /* big-endian: LMDB compares bytes */
};
/* One revision as it lies in the map; valid until the transaction ends or writes. */
struct record {
	struct log_head head;
	int64_t revision;
	struct str key, value;
};
bool mdb_err(struct store *s, int rc, struct err *err, const char *what); /* LMDB's code as an err; returns false */
MDB_val short_key(struct str key, char room[SHORT_KEY_MAX]);              /* the key in `now` */
struct rev_key rev_key(int64_t rev);
int64_t rev_of(const MDB_val *v);
bool lmdb_record_read(const MDB_val *v, int64_t revision, struct record *ret);
int log_get(struct store *s, MDB_txn *txn, int64_t revision, struct record *ret);
int now_get(struct store *s, MDB_txn *txn, struct str key, struct record *ret); /* MDB_NOTFOUND; MDB_KEYEXIST: two long keys with one hash */
int log_edge(struct store *s, MDB_txn *txn, MDB_cursor_op edge, int64_t *ret);  /* the first or last revision, 0 when there is none */
void kv_from(const struct record *r, struct str key, struct kv *ret);

/* ---- lmdb_read.c ---- */
bool read_begin(struct store *s, MDB_txn **ret, struct err *err);

/* ---- lmdb_map.c; any thread ---- */
void map_find(struct store *s);
void map_trim(struct store *s);

/* ---- lmdb_write.c; on the store thread ---- */
void batch_write(struct store *s, struct task **at, size_t n);
bool compact_all(struct store *s, int64_t to, struct err *err);
void task_reset(struct task *t);

/* ---- lmdb_watch.c; on the store thread ---- */
void events_give(struct store *s, struct task **at, size_t n); /* after their commit */
bool watch_catch_up(struct store *s, struct store_watch *w, struct err *err);

/* ---- lmdb.c ---- */
bool task_do(struct store *s, struct task *t); /* gives a task to the store thread and waits */

#endif
