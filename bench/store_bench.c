/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_bench.c - durable writes by 64 writers at once, each a value of 4.6 KB, as the API server stores pods; beside them the
 * same values put into plain LMDB, in transactions of 64, in the same run on the same disk. CPU time is the whole process's.
 */
#include <lmdb.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "store/store.h"

#define WRITERS 64
#define WRITES 300 /* each */
#define VALUE_BYTES 4600

static struct store *store;
static struct blob *value;

static nsec_t cpu(void) {
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * NSEC_PER_SEC + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * NSEC_PER_USEC;
}

static void *write_some(void *arg) {
	int n = *(int *)arg;
	for (int i = 0; i < WRITES; i++) {
		char key[80];
		struct err err = { 0 };
		snprintf(key, sizeof(key), "/registry/pods/default/web-%08x-%02d", (unsigned)i * 2654435761u, n);
		struct write w = { .key = str_c(key), .value = value, .cond = STORE_ABSENT };
		if (!store_write(store, &w, NULL, NULL, &err)) {
			fprintf(stderr, "%s\n", err.msg);
			exit(1);
		}
	}
	return NULL;
}

static void report(const char *what, int n, nsec_t wall, nsec_t used) {
	printf("%-36s %8.0f writes/s %6.1f us CPU a write\n", what, n / ((double)wall / 1e9), (double)used / 1e3 / n);
}

static void bench_store(const char *dir, int writers) {
	pthread_t t[WRITERS];
	int n[WRITERS];
	struct err err = { 0 };
	struct store_stats stats;
	char what[64];
	if (!store_open(&(struct store_opts){ .dir = dir }, &store, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		exit(1);
	}
	nsec_t wall = clock_mono(), used = cpu();
	for (int i = 0; i < writers; i++) {
		n[i] = i;
		pthread_create(&t[i], NULL, write_some, &n[i]);
	}
	for (int i = 0; i < writers; i++) {
		pthread_join(t[i], NULL);
	}
	snprintf(what, sizeof(what), "store, %d writers, durable", writers);
	report(what, writers * WRITES, clock_mono() - wall, cpu() - used);
	store_stats(store, &stats);
	printf("%-36s %8.1f writes, %.2f ms\n", "  a commit", (double)stats.writes / (double)stats.commits, (double)stats.commit_ns_total / 1e6 / (double)stats.commits);
	printf("%-36s %8.0f bytes\n", "  disk a write", (double)stats.file_bytes / (double)stats.writes);

	int reads = 0;
	auto_arena struct arena a = { 0 };
	wall = clock_mono();
	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < WRITES; i++, reads++) {
			char key[80];
			struct kv kv;
			snprintf(key, sizeof(key), "/registry/pods/default/web-%08x-%02d", (unsigned)i * 2654435761u, 0);
			if (store_get(store, str_c(key), &a, &kv, &err)) {
				kv_release(&kv);
			}
			arena_clear(&a);
		}
	}
	printf("%-36s %8.0f reads/s\n", "  point reads, one thread", reads / ((double)(clock_mono() - wall) / 1e9));
	store_close(store);
	if (!dir_remove(dir, &err)) {
		fprintf(stderr, "%s\n", err.msg);
	}
}

static void bench_raw(const char *dir, int batch) {
	MDB_env *env;
	MDB_dbi dbi;
	MDB_txn *txn = NULL;
	struct err err = { 0 };
	char what[64];
	int total = batch * WRITES;
	if (!dir_make(dir, 0700, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		return;
	}
	mdb_env_create(&env);
	mdb_env_set_mapsize(env, (size_t)4 << 30);
	mdb_env_open(env, dir, MDB_NORDAHEAD, 0600);
	nsec_t wall = clock_mono(), used = cpu();
	for (int i = 0; i < total; i++) {
		char key[80];
		if (!txn) {
			mdb_txn_begin(env, NULL, 0, &txn);
			mdb_dbi_open(txn, NULL, 0, &dbi);
		}
		int len = snprintf(key, sizeof(key), "/registry/pods/default/web-%08x", (unsigned)i * 2654435761u);
		MDB_val k = { (size_t)len, key }, v = { value->len, value->bytes };
		mdb_put(txn, dbi, &k, &v, 0);
		if (i % batch == batch - 1) {
			mdb_txn_commit(txn);
			txn = NULL;
		}
	}
	snprintf(what, sizeof(what), "plain LMDB, %d a transaction", batch);
	report(what, total, clock_mono() - wall, cpu() - used);
	mdb_env_close(env);
	if (!dir_remove(dir, &err)) {
		fprintf(stderr, "%s\n", err.msg);
	}
}

int main(void) {
	char dir[] = "/tmp/coracle-bench-XXXXXX", sub[64];
	static char bytes[VALUE_BYTES];
	if (!mkdtemp(dir)) {
		return 1;
	}
	for (size_t i = 0; i < sizeof(bytes); i++) {
		bytes[i] = (char)(i * 7919 >> 3);
	}
	value = blob_new((struct str){ bytes, sizeof(bytes) });
	snprintf(sub, sizeof(sub), "%s/store", dir);
	bench_store(sub, WRITERS);
	bench_store(sub, 1);
	bench_raw(sub, WRITERS);
	bench_raw(sub, 1);
	blob_unref(value);
	rmdir(dir);
	return 0;
}
