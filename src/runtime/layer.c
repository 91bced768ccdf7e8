/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layer.c - unpacked layers: each made once, by a confined child, checked against its digests, and shared.
 * Called by loads and pulls on pool threads. See images.h for what stands where.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "net/digest.h"
#include "runtime/images.h"
#include "runtime/unpack.h"

enum { LAYER_CHUNK = 256 << 10, LAYER_ENTRIES_MAX = 4000000, LAYER_ANSWER_MAX = 64 << 10, LAYER_BLOBS_MAX = 16 };

struct path layer_dir(const struct image_store *s, struct str diff_id) {
	return path_fmt("%s/layers/%.*s", s->root, STR_ARG(digest_hex(diff_id)));
}

struct path layer_file(const struct image_store *s, struct str diff_id, const char *suffix) {
	return path_fmt("%s/layers/%.*s%s", s->root, STR_ARG(digest_hex(diff_id)), suffix);
}

/* ---- opening ----------------------------------------------------------------------------------- */

static void layer_read(struct image_store *s, struct str diff_id) {
	auto_arena struct arena a = { 0 };
	struct value *v;
	struct err ignored = { 0 };
	struct stat st;
	if (stat(layer_dir(s, diff_id).c, &st) != 0 || !record_read(&a, layer_file(s, diff_id, ".json").c, &v, &ignored)) {
		return;
	}
	struct layer *l = xcalloc(1, sizeof(*l));
	*l = (struct layer){ .state = LAYER_READY, .bytes = (uint64_t)get_int(v, "bytes"), .inodes = (uint64_t)get_int(v, "inodes"), .meta = obj_freeze(v, 0) };
	map_set(&s->layers, diff_id, l);
}

/* A layer's record is written last: a folder without one is of an interrupted load. */
bool layers_open(struct image_store *s, struct err *err) {
	struct path layers = path_fmt("%s/layers", s->root), tmp = path_fmt("%s/tmp", s->root);
	DIR *d = opendir(layers.c);
	if (!d) {
		return err_sys(err, "read %s", layers.c);
	}
	for (struct dirent *e; (e = readdir(d));) {
		struct str name = str_c(e->d_name);
		char id[DIGEST_LEN + 1];
		if (name.len != 64) {
			continue;
		}
		snprintf(id, sizeof(id), "sha256:%.64s", e->d_name);
		layer_read(s, str_c(id));
		if (!map_get(&s->layers, str_c(id)) && !dir_remove(path_fmt("%s/%s", layers.c, e->d_name).c, err)) {
			closedir(d);
			return false;
		}
	}
	closedir(d);
	d = opendir(tmp.c);
	for (struct dirent *e; d && (e = readdir(d));) {
		struct err ignored = { 0 };
		if (e->d_name[0] != '.') {
			(void)!dir_remove(path_fmt("%s/%.100s", tmp.c, e->d_name).c, &ignored);
		}
	}
	if (d) {
		closedir(d);
	}
	return true;
}

/* ---- blobs from files ---------------------------------------------------------------------------- */

static ssize_t file_source_read(struct blob_source *s, char *into, size_t len, struct err *err) {
	struct blob_file *f = container_of(s, struct blob_file, source);
	for (;;) {
		ssize_t n = read(f->fd, into, len);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			err_sys(err, "read the layer");
		}
		return n;
	}
}

struct blob_source *blob_file_init(struct blob_file *f, int fd, struct str digest, int64_t size, struct str media_type) {
	*f = (struct blob_file){ .source = { .read = file_source_read, .digest = digest, .size = size, .media_type = media_type }, .fd = fd };
	return &f->source;
}

/* ---- the child ----------------------------------------------------------------------------------- */

struct unpack {
	pid_t pid;
	int feed;   /* its input; -1 when closed */
	int answer;
	bool cut;   /* it stopped reading before the end: it must have failed */
};

/* Starts it; `split` may be -1. */
static bool unpack_start(struct image_store *s, const char *mode, int input, int dir, int split, struct unpack *ret, struct err *err) {
	char bytes[32], entries[32];
	int feed[2] = { -1, -1 }, answer[2];
	snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)s->bytes_max);
	snprintf(entries, sizeof(entries), "%d", LAYER_ENTRIES_MAX);
	const char *const argv[] = { RUNTIME_UNPACK, mode, bytes, entries, NULL }, *const env[] = { "PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", NULL };

	if (!pipe_make(answer, err)) {
		return false;
	}
	if (input < 0 && !pipe_make(feed, err)) {
		close(answer[0]);
		close(answer[1]);
		return false;
	}
	const int want[] = { answer[1], dir, split };
	struct spawn_opts so = { .path = s->self, .argv = argv, .env = env, .in = input < 0 ? feed[0] : input, .out = -1, .err_out = 2, .pass = want,
		.pass_len = split < 0 ? 2 : 3 };
	bool ok = spawn(&so, &ret->pid, err);
	close(answer[1]);
	close_fd_p(&feed[0]);
	if (!ok) {
		close(answer[0]);
		close_fd_p(&feed[1]);
		return false;
	}
	ret->feed = feed[1];
	ret->answer = answer[0];
	ret->cut = false;
	return true;
}

static bool feed_all(int fd, const char *bytes, size_t len) {
	while (len) {
		ssize_t n = write(fd, bytes, len);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			return false;
		}
		bytes += n;
		len -= (size_t)n;
	}
	return true;
}

static bool unpack_end(struct unpack *u, struct arena *a, struct value **ret, struct err *err) {
	auto_buf struct buf b = BUF_INIT(LAYER_ANSWER_MAX);
	struct err bad = { 0 };
	close_fd_p(&u->feed), u->feed = -1;
	for (char *room; (room = buf_reserve(&b, 4096));) {
		ssize_t n = read(u->answer, room, 4096);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			break;
		}
		b.len += (size_t)n;
	}
	close_fd_p(&u->answer), u->answer = -1;
	int status = spawn_reap(u->pid);
	struct value *v;
	if (!b.len || !json_parse(a, buf_view(&b), NULL, &v, &bad)) {
		return err_set(err, ERR_INTERNAL, "the process that unpacks ended without an answer (exit %d)", status);
	}
	if (get(v, "error") || u->cut) {
		return err_set(err, ERR_INVALID, "unpack: %.*s", STR_ARG(u->cut && !get(v, "error") ? S("it stopped early") : get_str(v, "error")));
	}
	*ret = v;
	return true;
}

/* A child that ends early must not end us: SIGPIPE is held back on this thread, and taken away before it is let through again. */
static void pipe_signal_hold(sigset_t *old) {
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, old);
}

static void pipe_signal_let(const sigset_t *old) {
	const struct timespec now = { 0 };
	sigset_t set;
	if (!sigismember(old, SIGPIPE)) {
		sigemptyset(&set);
		sigaddset(&set, SIGPIPE);
		while (sigtimedwait(&set, NULL, &now) == SIGPIPE) {
		}
	}
	pthread_sigmask(SIG_SETMASK, old, NULL);
}

/* Pumps the source into the child, hashing what comes. A child that closed early has an answer that says why. */
static bool unpack_feed(struct unpack *u, struct blob_source *source, struct err *err) {
	struct sha256_stream *sha = sha256_stream_new();
	char *chunk = xmalloc(LAYER_CHUNK), hex[SHA256_HEX];
	int64_t total = 0;
	bool ok = true, child = true;

	for (;;) {
		ssize_t n = source->read(source, chunk, LAYER_CHUNK, err);
		if (n <= 0) {
			ok = n == 0;
			break;
		}
		total += n;
		if (source->size >= 0 && total > source->size) {
			ok = err_set(err, ERR_INVALID, "the layer is longer than the %lld bytes that its manifest says", (long long)source->size);
			break;
		}
		sha256_stream_add(sha, (struct str){ chunk, (size_t)n });
		child = child && feed_all(u->feed, chunk, (size_t)n);
		if (!child) {
			u->cut = true;
			break;
		}
	}
	sha256_stream_hex(sha, hex);
	if (ok && child && source->digest.len && !str_eqc(digest_hex(source->digest), hex)) {
		ok = err_set(err, ERR_INVALID, "the layer's content does not have the digest %.*s (it has sha256:%s)", STR_ARG(source->digest), hex);
	}
	if (ok && child && source->size >= 0 && total != source->size) {
		ok = err_set(err, ERR_INVALID, "the layer has %lld bytes, its manifest says %lld", (long long)total, (long long)source->size);
	}
	sha256_stream_free(sha);
	free(chunk);
	return ok;
}

static bool tmp_dir_make(struct image_store *s, const char *what, struct path *ret, struct err *err) {
	struct path p = path_fmt("%s/tmp/%s-XXXXXX", s->root, what);
	if (!mkdtemp(p.c)) {
		return err_sys(err, "make a folder like %s", p.c);
	}
	chmod(p.c, 0755);
	*ret = p;
	return true;
}

bool archive_unpack(struct image_store *s, int fd, struct path *ret_dir, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct path dir;
	struct unpack u;
	struct value *v;
	struct err ignored = { 0 };

	if (!tmp_dir_make(s, "archive", &dir, err)) {
		return false;
	}
	auto_fd int dir_fd = open(dir.c, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok = (dir_fd >= 0 || err_sys(err, "open %s", dir.c)) && unpack_start(s, "archive", fd, dir_fd, -1, &u, err) && unpack_end(&u, &a, &v, err);
	if (!ok) {
		(void)!dir_remove(dir.c, &ignored);
		return false;
	}
	*ret_dir = dir;
	return true;
}

/* ---- one layer ----------------------------------------------------------------------------------- */

static bool layer_commit(struct image_store *s, struct str diff_id, const char *made, const char *split, const struct value *answer,
	const struct blob_source *source, struct obj **ret_meta, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct value *meta = value_new_object(&a), *blobs = value_new_array(&a), *blob = value_new_object(&a);

	if (!str_eq(get_str(answer, "diffId"), diff_id)) {
		return err_set(err, ERR_INVALID, "the layer's unpacked content does not have the digest %.*s that the image names (it has %.*s)", STR_ARG(diff_id),
			STR_ARG(get_str(answer, "diffId")));
	}
	set_int(&a, meta, "bytes", get_int(answer, "bytes"));
	set_int(&a, meta, "inodes", get_int(answer, "inodes"));
	if (source->digest.len && source->size >= 0) {
		set_str(&a, blob, "digest", source->digest);
		set_int(&a, blob, "size", source->size);
		set_str(&a, blob, "mediaType", source->media_type);
		value_push(&a, blobs, blob);
	}
	set(&a, meta, "blobs", blobs);
	/* What the record vouches for must be on disk before it. */
	auto_fd int fd = open(made, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || syncfs(fd) != 0) {
		return err_sys(err, "flush %s", made);
	}
	if (rename(split, layer_file(s, diff_id, ".split").c) != 0 || rename(made, layer_dir(s, diff_id).c) != 0) {
		return err_sys(err, "move the layer to its place in %s", s->root);
	}
	auto_buf struct buf b = BUF_INIT(1 << 20);
	json_print(&b, meta);
	if (!file_write(layer_file(s, diff_id, ".json").c, buf_view(&b), 0600, err)) {
		return false;
	}
	*ret_meta = obj_freeze(meta, 0);
	return true;
}

static bool layer_make(struct image_store *s, struct str diff_id, struct blob_source *source, struct obj **ret_meta, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct path made;
	struct unpack u;
	struct value *answer = NULL;
	struct err feed_err = { 0 }, ignored = { 0 };

	if (!tmp_dir_make(s, "layer", &made, err)) {
		return false;
	}
	struct path split = path_fmt("%s.split", made.c);
	auto_fd int dir_fd = open(made.c, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_fd int split_fd = open(split.c, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	bool ok = (dir_fd >= 0 && split_fd >= 0) || err_sys(err, "open %s", made.c);
	if (ok && (ok = unpack_start(s, "layer", -1, dir_fd, split_fd, &u, err))) {
		sigset_t old;
		pipe_signal_hold(&old);
		bool fed = unpack_feed(&u, source, &feed_err);
		pipe_signal_let(&old);
		if (!fed) {
			kill(u.pid, SIGKILL);
		}
		ok = unpack_end(&u, &a, &answer, err);
		if (!fed) {
			*err = feed_err; /* the cause; the child's complaint follows from it */
			ok = false;
		}
	}
	ok = ok && layer_commit(s, diff_id, made.c, split.c, answer, source, ret_meta, err);
	if (!ok) {
		(void)!dir_remove(made.c, &ignored);
		unlink(split.c);
	}
	return ok;
}

/* Takes the layer over when it is here, waits while somebody else makes it, else becomes its maker (true). */
static bool layer_claim(struct image_store *s, struct str diff_id, struct layer **ret) {
	for (;;) {
		struct layer *l = map_get(&s->layers, diff_id);
		if (!l) {
			l = xcalloc(1, sizeof(*l));
			l->state = LAYER_MAKING;
			map_set(&s->layers, diff_id, l);
			*ret = l;
			return true;
		}
		if (l->state == LAYER_READY) {
			l->users++;
			*ret = l;
			return false;
		}
		pthread_cond_wait(&s->changed, &s->lock);
	}
}

bool layer_get(struct image_store *s, struct str diff_id, bool (*open_source)(void *arg, struct blob_source **ret, struct err *err), void *arg,
	struct err *err) {
	struct blob_source *source;
	struct layer *l;
	struct obj *meta = NULL;

	pthread_mutex_lock(&s->lock);
	bool make = layer_claim(s, diff_id, &l);
	pthread_mutex_unlock(&s->lock);
	if (!make) {
		return true;
	}
	bool ok = open_source(arg, &source, err) && layer_make(s, diff_id, source, &meta, err);
	pthread_mutex_lock(&s->lock);
	if (ok) {
		l->state = LAYER_READY;
		l->meta = meta;
		l->bytes = (uint64_t)get_int(meta->root, "bytes");
		l->inodes = (uint64_t)get_int(meta->root, "inodes");
		l->users = 1;
	} else {
		map_remove(&s->layers, diff_id);
		free(l);
	}
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return ok || err_wrap(err, "layer %.*s", STR_ARG(diff_id));
}

void layer_release(struct image_store *s, struct str diff_id) {
	pthread_mutex_lock(&s->lock);
	struct layer *l = map_get(&s->layers, diff_id);
	if (l && l->users) {
		l->users--;
	}
	pthread_mutex_unlock(&s->lock);
}
