/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_logs.c - container logs: what there is as one answer, or followed as a stream.
 *
 * A plain read runs in the handler. A follower lives on the kubelet's loop, is woken by inotify when its folder
 * changes, survives rotation (log_file.c), and ends when its container has ended and all is read. A peer that reads
 * slowly holds its own follower back, nobody else.
 */
#include <sys/inotify.h>
#include <unistd.h>

#include "kubelet/log_file.h"
#include "kubelet/server_int.h"
#include "net/url.h"

#define FOLLOWERS_MAX 1000
#define BACKLOG_MAX ((size_t)1 << 20)     /* of one reader */
#define BACKLOG_HIGH (BACKLOG_MAX / 2)    /* above it, and only then, the stream tells when all is sent */
#define LINGER (50 * NSEC_PER_MSEC) /* the monitor may write the last bytes just after the end was seen */

struct follower {
	struct list link;
	struct followers *all;
	struct log_reader *reader;
	struct http_stream *stream; /* NULL once ended */
	char ctr_id[CTR_ID_MAX];
	char *dir;
	int wd;
	bool ended;    /* the container has */
	bool lingered;
	bool waits;    /* for the peer */
	bool closed;   /* on_close has run: may be freed */
	bool drained_posted;
	struct loop_timer timer;
};

struct followers {
	struct server *s;
	struct loop *loop;
	struct list at;
	size_t len;
	int inotify;
	struct loop_fd *watch;
	_Atomic int alive;
};

static void pump(struct follower *f);

/* ---- the end of a follower ----------------------------------------------------------------------------------- */

static void follower_free(void *arg) {
	struct follower *f = arg;
	struct followers *all = f->all;
	bool shared = false;

	loop_timer_stop(&f->timer);
	if (f->stream) { /* the peer went by itself: the handle is still ours */
		http_stream_end(TAKE(f->stream));
	}
	if (list_linked(&f->link)) {
		list_remove(&f->link);
		all->len--;
	}
	LIST_EACH(&all->at, l) {
		shared = shared || container_of(l, struct follower, link)->wd == f->wd;
	}
	if (!shared && f->wd >= 0) {
		inotify_rm_watch(all->inotify, f->wd);
	}
	log_reader_free(f->reader);
	free(f->dir);
	free(f);
	all->alive--;
}

/* On the stream's loop: the last that happens there. */
static void on_close(void *arg) {
	struct follower *f = arg;

	if (!loop_call(f->all->loop, follower_free, f)) {
		follower_free(f); /* the kubelet's loop has stopped: nobody else looks */
	}
}

static void finish(struct follower *f) {
	struct http_stream *s = TAKE(f->stream);

	if (s) {
		http_stream_end(s); /* on_close follows */
	}
}

static void pump_posted(void *arg) {
	struct follower *f = arg;

	f->waits = false;
	if (f->stream) {
		pump(f);
	}
}

static void on_drain(void *arg) {
	struct follower *f = arg;

	/* on_close comes after this on the same loop, and its post after ours: f lives until then */
	loop_call(f->all->loop, pump_posted, f);
}

static void on_linger(struct loop_timer *t) {
	struct follower *f = container_of(t, struct follower, timer);

	f->lingered = true;
	pump(f);
}

static void pump(struct follower *f) {
	bool more = true, open = true;

	while (f->stream && more && open) {
		auto_buf struct buf b = BUF_INIT(4 << 20);
		struct err err = { 0 };
		if (http_stream_failed(f->stream)) {
			finish(f);
			return;
		}
		if (http_stream_backlog(f->stream) > BACKLOG_HIGH) {
			f->waits = true; /* on_drain goes on */
			return;
		}
		if (!log_reader_read(f->reader, &b, &more, &open, &err)) {
			log_warn(KUBELET_LOG, "log not read", kv_err(&err));
			finish(f);
			return;
		}
		if (b.len > 0 && !http_stream_send_copy(f->stream, buf_view(&b))) {
			finish(f);
			return;
		}
	}
	if (!f->stream) {
		return;
	}
	if (!open || (f->ended && f->lingered)) {
		finish(f);
	} else if (f->ended) {
		loop_timer_start(f->all->loop, &f->timer, LINGER, on_linger);
	}
}

/* ---- news ------------------------------------------------------------------------------------------------------- */

static void on_inotify(void *arg, int events) {
	struct followers *all = arg;
	char block[8192] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t n;

	while ((n = read(all->inotify, block, sizeof(block))) > 0) {
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *e = (const struct inotify_event *)(block + at);
			LIST_EACH(&all->at, l) {
				struct follower *f = container_of(l, struct follower, link);
				if ((f->wd == e->wd || (e->mask & IN_Q_OVERFLOW)) && f->stream && !f->waits) {
					pump(f);
				}
			}
			at += (ssize_t)(sizeof(*e) + e->len);
		}
	}
}

struct exit_news {
	struct msg msg;
	struct followers *all;
	char id[CTR_ID_MAX];
};

static void exit_run(struct msg *m) {
	struct exit_news *e = container_of(m, struct exit_news, msg);

	LIST_EACH(&e->all->at, l) {
		struct follower *f = container_of(l, struct follower, link);
		if (strcmp(f->ctr_id, e->id) == 0 && f->stream && !f->ended) {
			f->ended = true;
			if (!f->waits) {
				pump(f);
			}
		}
	}
	free(e);
}

void followers_exit(struct followers *all, struct str id) {
	struct exit_news *e = xcalloc(1, sizeof(*e));

	e->msg.run = exit_run;
	e->all = all;
	snprintf(e->id, sizeof(e->id), "%.*s", STR_ARG(id));
	if (!loop_post(all->loop, &e->msg)) {
		free(e);
	}
}

struct followers *followers_new(struct server *s) {
	struct followers *all = xcalloc(1, sizeof(*all));

	all->s = s;
	all->loop = s->k->loop;
	list_init(&all->at);
	all->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	return all;
}

static void unwatch(void *arg) {
	struct followers *all = arg;

	if (all->watch) {
		loop_fd_free(TAKE(all->watch));
	}
	all->alive--;
}

void followers_free(struct followers *all) {
	if (!all) {
		return;
	}
	/* the server has stopped: each stream's on_close has posted its end */
	all->alive++;
	if (!loop_call(all->loop, unwatch, all)) {
		all->alive--;
	}
	for (nsec_t end = clock_mono() + 2 * NSEC_PER_SEC; all->alive > 0 && clock_mono() < end;) {
		clock_sleep(NSEC_PER_MSEC);
	}
	close_fd_p(&all->inotify);
	if (all->alive == 0) {
		free(all);
	}
}

static void follow_begin(void *arg) {
	struct follower *f = arg;
	struct followers *all = f->all;

	if (!all->watch && all->inotify >= 0) {
		all->watch = loop_fd_watch(all->loop, all->inotify, LOOP_READ, on_inotify, all);
	}
	f->wd = inotify_add_watch(all->inotify, f->dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO);
	list_push(&all->at, &f->link);
	all->len++;
	if (all->len > FOLLOWERS_MAX || f->wd < 0) {
		log_warn(KUBELET_LOG, "log not followed: too many are", kv_int("followers", (int64_t)all->len));
		finish(f);
		return;
	}
	pump(f);
}

/* ---- the endpoint -------------------------------------------------------------------------------------------------- */

static bool number(struct http_exchange *x, const char *name, int64_t *ret, bool *ret_given, struct err *err) {
	struct str text;

	*ret_given = url_query_get(&x->arena, x->query, str_c(name), &text) && text.len > 0;
	if (*ret_given && (!str_to_i64(text, ret) || *ret < 0)) {
		return err_set(err, ERR_BAD_REQUEST, "Invalid value for %s: \"%.*s\": must be greater than or equal to 0", name, STR_ARG(text));
	}
	return true;
}

static bool query_read(struct http_exchange *x, struct log_query *q, struct err *err) {
	int64_t n = 0;
	bool given;
	struct str text;

	*q = (struct log_query){ .tail = -1, .limit_bytes = -1, .timestamps = query_flag(x, "timestamps") };
	if (!number(x, "tailLines", &n, &given, err)) {
		return false;
	}
	q->tail = given ? n : -1;
	if (!number(x, "limitBytes", &n, &given, err)) {
		return false;
	}
	q->limit_bytes = given ? n : -1;
	if (!number(x, "sinceSeconds", &n, &given, err)) {
		return false;
	}
	if (given) {
		q->since = clock_wall() - n * NSEC_PER_SEC;
	}
	if (url_query_get(&x->arena, x->query, S("sinceTime"), &text) && text.len > 0 && !time_parse(text, &q->since)) {
		return err_set(err, ERR_BAD_REQUEST, "Invalid value for sinceTime: \"%.*s\"", STR_ARG(text));
	}
	if (url_query_get(&x->arena, x->query, S("stream"), &text) && text.len > 0 && !str_eq(text, S("All"))) {
		q->stream = str_eq(text, S("Stderr")) ? LOG_STREAM_STDERR : LOG_STREAM_STDOUT;
	}
	return true;
}

static void read_whole(struct http_exchange *x, struct log_reader *r) {
	bool more = true, open = true;
	struct err err = { 0 };

	http_reply_start(x, 200, S("text/plain"), &(struct http_reply_opts){ 0 });
	while (more && open) {
		auto_buf struct buf b = BUF_INIT(4 << 20);
		if (!log_reader_read(r, &b, &more, &open, &err)) {
			http_reply_abort(x);
			return;
		}
		if (b.len > 0 && !http_reply_write(x, buf_view(&b))) {
			break;
		}
	}
	http_reply_end(x);
}

static void follow(struct server *s, struct http_exchange *x, struct log_reader *r, const struct cri_container_status *ctr, const char *path) {
	struct follower *f = xcalloc(1, sizeof(*f));
	const char *slash = strrchr(path, '/');

	f->all = s->followers;
	f->reader = r;
	f->wd = -1;
	f->dir = str_dup((struct str){ path, slash ? (size_t)(slash - path) : 0 });
	snprintf(f->ctr_id, sizeof(f->ctr_id), "%.*s", STR_ARG(ctr->id));
	f->all->alive++;
	f->stream = http_stream_start(x, 200, S("text/plain"), &(struct http_stream_opts){ .on_close = on_close, .on_drain = on_drain, .arg = f,
		.backlog_max = BACKLOG_MAX });
	struct http_stream *stream = f->stream;
	if (!loop_call(s->k->loop, follow_begin, f)) {
		http_stream_end(stream);
		return;
	}
	/* ended between the look and now? then nobody will tell */
	struct cri_container_status now = { 0 };
	struct err err = { 0 };
	if (!cri_container_status(s->k->o.cri, &x->arena, ctr->id, &now, &err) || now.state != CRI_CONTAINER_RUNNING) {
		followers_exit(s->followers, ctr->id);
	}
}

void handle_logs(struct server *s, struct http_exchange *x, struct str ns, struct str pod, struct str ctr) {
	struct target t = { 0 };
	struct log_query q;
	struct log_reader *r = NULL;
	struct err err = { 0 };
	bool previous = query_flag(x, "previous");

	if (!query_read(x, &q, &err) || !target_container(s, &x->arena, ns, pod, ctr, previous, &t, &err)) {
		kubelet_reply_error(x, err_http(err.code), "%s", err.msg);
		target_release(&t);
		return;
	}
	const char *path = arena_cstr(&x->arena, t.ctr.log_path);
	if (t.ctr.log_path.len == 0 || !log_reader_open(path, &q, &r, &err)) {
		kubelet_reply_error(x, 500, "%s", t.ctr.log_path.len ? err.msg : "the container keeps no log");
	} else if (query_flag(x, "follow") && !previous) {
		follow(s, x, r, &t.ctr, path);
	} else {
		read_whole(x, r);
		log_reader_free(r);
	}
	target_release(&t);
}
