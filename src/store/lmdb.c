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
#include "store/lmdb_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"

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
bool task_do(struct store *s, struct task *t) {
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

bool store_compact(struct store *s, int64_t revision, struct err *err) {
	struct task t = { .kind = TASK_COMPACT, .compact = revision, .err = err };
	return task_do(s, &t);
}

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
