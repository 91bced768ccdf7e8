/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_exec.c - exec and attach: moves bytes between the channels of a connection (channels.c) and the
 * descriptors that the runtime gives. A session lives on the loop of its connection; starting the program
 * and reading its exit code are pool jobs.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "kubelet/channels.h"
#include "kubelet/server_int.h"
#include "net/conn.h"
#include "net/url.h"
#include "net/ws.h"

#define READ_BYTES 32768
#define OUT_HIGH ((size_t)256 << 10)     /* unsent: stop reading the program */
#define STDIN_HIGH ((size_t)1 << 20)     /* not taken by the program: stop reading the peer */
#define STDIN_MAX ((size_t)8 << 20)
#define READY_WAIT (30 * NSEC_PER_SEC)   /* for all SPDY streams */
#define GOODBYE_WAIT (10 * NSEC_PER_SEC) /* for the peer to close after the end */
#define DRAIN_WAIT (500 * NSEC_PER_MSEC) /* output that a grandchild keeps open after the program's end */
#define COMMAND_MAX 1000

enum session_state { SESSION_WAITING, SESSION_STARTING, SESSION_RUNNING, SESSION_ENDING, SESSION_OVER };

struct pipe_end {
	struct session *session;
	struct loop_fd *watch;
	enum channel ch;
	int *fd;       /* in session.stream */
	bool eof;
};

struct session {
	struct server *s;
	struct loop *loop;
	struct net_conn *conn;     /* NULL once closed by us */
	bool conn_over;            /* its on_close has run */
	struct channels *channels;
	enum session_state state;
	struct arena arena;        /* ids and argv */
	struct str ctr_id;
	struct cri_strs argv;
	bool attach;
	struct channels_want want;
	struct cri_stream stream;
	bool has_stream;
	struct pipe_end out, err_out;
	struct loop_fd *in_watch, *done_watch;
	struct buf in;             /* what the program has not taken yet */
	bool in_eof, in_closed, paused;
	uint16_t columns, rows;    /* asked for before it started */
	struct loop_timer timer;
	bool ended;                /* `done` was readable */
	/* job */
	struct job job;
	bool busy;
	bool job_ok;
	int exit_code;
	struct err err;
};

static void session_step(struct session *se);
static void run_start(struct job *j);
static void start_done(struct job *j);

/* ---- the end ---------------------------------------------------------------------------------------------------- */

static void unwatch(struct loop_fd **w) {
	if (*w) {
		loop_fd_free(TAKE(*w));
	}
}

static void stream_drop(void *arg) {
	struct session *se = arg; /* the last owner */

	if (se->has_stream) {
		cri_stream_free(&se->stream);
	}
	channels_free(se->channels);
	buf_release(&se->in);
	arena_release(&se->arena);
	free(se);
}

/* Frees when nothing points here any more: no job, no connection. */
static void maybe_free(struct session *se) {
	if (se->state != SESSION_OVER || se->busy || !se->conn_over) {
		return;
	}
	/* killing the program may block: not here */
	if (!pool_run(stream_drop, se)) {
		stream_drop(se);
	}
}

static void session_over(struct session *se) {
	if (se->state != SESSION_OVER) {
		se->state = SESSION_OVER;
		loop_timer_stop(&se->timer);
		unwatch(&se->out.watch);
		unwatch(&se->err_out.watch);
		unwatch(&se->in_watch);
		unwatch(&se->done_watch);
		if (se->conn) {
			net_conn_close(TAKE(se->conn));
		}
	}
	maybe_free(se);
}

static void on_goodbye_timer(struct loop_timer *t) {
	session_over(container_of(t, struct session, timer));
}

static void session_finish(struct session *se, const struct channels_result *r) {
	if (se->state >= SESSION_ENDING) {
		return;
	}
	se->state = SESSION_ENDING;
	unwatch(&se->out.watch);
	unwatch(&se->err_out.watch);
	unwatch(&se->in_watch);
	unwatch(&se->done_watch);
	channels_finish(se->channels, r);
	if (se->paused) {
		se->paused = false;
		net_conn_resume(se->conn); /* to hear the peer's goodbye */
	}
	loop_timer_start(se->loop, &se->timer, GOODBYE_WAIT, on_goodbye_timer);
}

static void session_fail(struct session *se, const char *msg) {
	session_finish(se, &(struct channels_result){ .ok = false, .error = str_c(msg) });
}

/* ---- stdin ------------------------------------------------------------------------------------------------------- */

static void in_close(struct session *se) {
	unwatch(&se->in_watch);
	if (!se->in_closed && se->has_stream && se->stream.in >= 0) {
		/* a terminal has no end of file on one side; closing our descriptor is harmless */
		close_fd_p(&se->stream.in);
		se->stream.in = -1;
	}
	se->in_closed = true;
}

static void on_in_ready(void *arg, int events);

static void in_pump(struct session *se) {
	while (se->in.len > 0 && se->has_stream && !se->in_closed && se->stream.in >= 0) {
		ssize_t n = write(se->stream.in, se->in.ptr, se->in.len);
		if (n > 0) {
			buf_drop(&se->in, (size_t)n);
			channels_consumed(se->channels, (size_t)n);
			continue;
		}
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0 && errno == EAGAIN) {
			if (!se->in_watch) {
				se->in_watch = loop_fd_watch(se->loop, se->stream.in, LOOP_WRITE, on_in_ready, se);
			}
			break;
		}
		buf_clear(&se->in); /* the program reads no more */
		in_close(se);
	}
	if (se->in.len == 0) {
		unwatch(&se->in_watch);
		if (se->in_eof && se->has_stream) {
			in_close(se);
		}
	}
	bool full = se->in.len > STDIN_HIGH;
	if (full != se->paused && se->conn) {
		se->paused = full;
		if (full) {
			net_conn_pause(se->conn);
		} else {
			net_conn_resume(se->conn);
		}
	}
}

static void on_in_ready(void *arg, int events) {
	in_pump(arg);
}

static void on_stdin(void *arg, struct str bytes) {
	struct session *se = arg;

	if (se->state >= SESSION_ENDING || se->in_closed) {
		channels_consumed(se->channels, bytes.len);
		return;
	}
	if (se->in.len + bytes.len > STDIN_MAX) {
		session_fail(se, "standard input overflows: the peer ignores the connection's window");
		return;
	}
	buf_str(&se->in, bytes);
	in_pump(se);
}

static void on_stdin_eof(void *arg) {
	struct session *se = arg;

	se->in_eof = true;
	if (se->has_stream && se->state < SESSION_ENDING) {
		in_pump(se);
	}
}

static void on_resize(void *arg, uint16_t columns, uint16_t rows) {
	struct session *se = arg;

	se->columns = columns;
	se->rows = rows;
	if (se->has_stream && se->state == SESSION_RUNNING) {
		cri_stream_resize(&se->stream, columns, rows);
	}
}

/* ---- output ------------------------------------------------------------------------------------------------------ */

static bool peer_is_slow(struct session *se) {
	return (se->conn && net_conn_backlog(se->conn) > OUT_HIGH) || channels_backlog(se->channels) > OUT_HIGH;
}

static void on_out_ready(void *arg, int events) {
	struct pipe_end *e = arg;
	struct session *se = e->session;
	char block[READ_BYTES];

	for (int rounds = 0; rounds < 8 && !peer_is_slow(se); rounds++) {
		ssize_t n = read(*e->fd, block, sizeof(block));
		if (n > 0) {
			channels_send(se->channels, e->ch, (struct str){ block, (size_t)n });
			if (se->state != SESSION_RUNNING) {
				return; /* the peer went while we sent */
			}
			continue;
		}
		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			return;
		}
		e->eof = true; /* also EIO: the last one on a terminal has gone */
		unwatch(&e->watch);
		session_step(se);
		return;
	}
	if (peer_is_slow(se)) {
		unwatch(&e->watch); /* on_drain watches again */
	}
}

static void out_watch(struct session *se, struct pipe_end *e) {
	if (se->state == SESSION_RUNNING && !e->eof && !e->watch && *e->fd >= 0) {
		e->watch = loop_fd_watch(se->loop, *e->fd, LOOP_READ, on_out_ready, e);
	}
}

static void on_drain_any(struct session *se) {
	if (!peer_is_slow(se)) {
		out_watch(se, &se->out);
		out_watch(se, &se->err_out);
	}
}

/* ---- the program --------------------------------------------------------------------------------------------------- */

static bool job_submit(struct session *se, void (*run)(struct job *), void (*done)(struct job *)) {
	if (se->s->stopping) {
		return false;
	}
	se->job = (struct job){ .loop = se->loop, .run = run, .done = done };
	se->s->jobs++;
	se->busy = true;
	if (!pool_submit(&se->job)) {
		se->s->jobs--;
		se->busy = false;
		return false;
	}
	return true;
}

static void run_start(struct job *j) {
	struct session *se = container_of(j, struct session, job);
	struct cri_stream_opts o = { .in = se->want.in, .out = se->want.out, .err_out = se->want.err_out && !se->want.tty, .tty = se->want.tty };

	se->job_ok = se->attach ? cri_attach(se->s->k->o.cri, se->ctr_id, &o, &se->stream, &se->err)
		: cri_exec_start(se->s->k->o.cri, se->ctr_id, se->argv, &o, &se->stream, &se->err);
}

static void run_wait(struct job *j) {
	struct session *se = container_of(j, struct session, job);

	se->job_ok = cri_stream_wait(&se->stream, &se->exit_code, &se->err);
}

static void wait_done(struct job *j) {
	struct session *se = container_of(j, struct session, job);

	se->busy = false;
	se->s->jobs--;
	if (se->state != SESSION_RUNNING) {
		maybe_free(se);
		return;
	}
	if (se->attach) {
		session_finish(se, &(struct channels_result){ .ok = true });
	} else if (se->job_ok) {
		session_finish(se, &(struct channels_result){ .ok = true, .exited = true, .exit_code = se->exit_code });
	} else {
		session_fail(se, se->err.msg);
	}
}

static void on_done_ready(void *arg, int events) {
	struct session *se = arg;

	se->ended = true;
	unwatch(&se->done_watch);
	session_step(se);
}

static void on_drain_timer(struct loop_timer *t) {
	struct session *se = container_of(t, struct session, timer);

	se->out.eof = se->err_out.eof = true;
	session_step(se);
}

/* Once the program is over and its output is read: its exit code, then goodbye. */
static void session_step(struct session *se) {
	if (se->state != SESSION_RUNNING || !se->ended || se->busy) {
		return;
	}
	if (!se->out.eof || !se->err_out.eof) {
		loop_timer_start(se->loop, &se->timer, DRAIN_WAIT, on_drain_timer);
		return;
	}
	loop_timer_stop(&se->timer);
	if (!job_submit(se, run_wait, wait_done)) {
		session_fail(se, "the node is stopping");
	}
}

static void nonblock(int fd) {
	if (fd >= 0) {
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	}
}

static void start_done(struct job *j) {
	struct session *se = container_of(j, struct session, job);

	se->busy = false;
	se->s->jobs--;
	se->has_stream = se->job_ok;
	if (se->state != SESSION_STARTING) {
		maybe_free(se);
		return;
	}
	if (!se->job_ok) {
		session_fail(se, se->err.msg);
		return;
	}
	se->state = SESSION_RUNNING;
	nonblock(se->stream.in);
	nonblock(se->stream.out);
	nonblock(se->stream.err_out);
	se->out = (struct pipe_end){ .session = se, .ch = CHANNEL_STDOUT, .fd = &se->stream.out, .eof = se->stream.out < 0 };
	se->err_out = (struct pipe_end){ .session = se, .ch = CHANNEL_STDERR, .fd = &se->stream.err_out, .eof = se->stream.err_out < 0 };
	if (se->columns > 0) {
		cri_stream_resize(&se->stream, se->columns, se->rows);
	}
	out_watch(se, &se->out);
	out_watch(se, &se->err_out);
	se->done_watch = loop_fd_watch(se->loop, se->stream.done, LOOP_READ, on_done_ready, se);
	in_pump(se);
}

/* ---- the connection --------------------------------------------------------------------------------------------------- */

static void on_ready(void *arg) {
	struct session *se = arg;

	loop_timer_stop(&se->timer);
	se->state = SESSION_STARTING;
	if (!job_submit(se, run_start, start_done)) {
		session_fail(se, "the node is stopping");
	}
}

static void on_over(void *arg) {
	struct session *se = arg;

	/* may be called from within channels_input: the conn's own callbacks end it */
	if (se->conn && se->state < SESSION_OVER) {
		loop_timer_start(se->loop, &se->timer, 0, on_goodbye_timer);
	}
}

static void on_output(void *arg, struct str bytes) {
	struct session *se = arg;

	if (se->conn) {
		net_conn_write(se->conn, bytes);
	}
}

static void on_channel_drain(void *arg) {
	on_drain_any(arg);
}

static const struct channels_handler channels_handler = {
	.on_ready = on_ready,
	.on_stdin = on_stdin,
	.on_stdin_eof = on_stdin_eof,
	.on_resize = on_resize,
	.on_over = on_over,
	.on_output = on_output,
	.on_drain = on_channel_drain,
};

static void conn_data(void *arg, struct str bytes) {
	struct session *se = arg;

	channels_input(se->channels, bytes);
}

static void conn_drain(void *arg) {
	on_drain_any(arg);
}

static void conn_close(void *arg, const struct err *err) {
	struct session *se = arg;

	se->conn_over = true;
	session_over(se);
}

static const struct net_conn_handler conn_handler = { .on_data = conn_data, .on_drain = conn_drain, .on_close = conn_close };

static void on_ready_timer(struct loop_timer *t) {
	session_over(container_of(t, struct session, timer)); /* the peer never opened its streams */
}

static void session_begin(void *arg) {
	struct session *se = arg;

	loop_timer_start(se->loop, &se->timer, READY_WAIT, on_ready_timer);
	net_conn_start(se->conn, &conn_handler, se);
	channels_begin(se->channels);
}

/* ---- the endpoint -------------------------------------------------------------------------------------------------------- */

static bool command_read(struct http_exchange *x, struct session *se, struct err *err) {
	struct str rest = x->query, name, value;
	VEC(struct str) argv = { 0 };

	while (url_query_next(&x->arena, &rest, &name, &value)) {
		if (str_eq(name, S("command")) && argv.len < COMMAND_MAX) {
			VEC_PUSH(&argv, arena_str(&se->arena, value));
		}
	}
	struct str *copy = arena_array(&se->arena, struct str, argv.len);
	for (size_t i = 0; i < argv.len; i++) {
		copy[i] = argv.at[i];
	}
	se->argv = (struct cri_strs){ copy, argv.len };
	VEC_RELEASE(&argv);
	return se->attach || se->argv.len > 0 || err_set(err, ERR_BAD_REQUEST, "you must provide at least one command");
}

static bool want_read(struct http_exchange *x, const struct target *t, struct session *se, struct err *err) {
	se->want = (struct channels_want){ .in = query_flag(x, "input") || query_flag(x, "stdin"),
		.out = query_flag(x, "output") || query_flag(x, "stdout"),
		.err_out = query_flag(x, "error") || query_flag(x, "stderr"),
		.tty = query_flag(x, "tty") };
	if (se->attach) { /* what the container was made with counts */
		se->want.tty = t->ctr.tty;
		se->want.in = se->want.in && t->ctr.stdin;
	}
	if (se->want.tty) {
		se->want.err_out = false;
	}
	return se->want.in || se->want.out || se->want.err_out ||
		err_set(err, ERR_BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr");
}

static bool upgrade(struct http_exchange *x, struct session *se, struct err *err) {
	struct str protocol = { 0 };

	if (http_wants_upgrade(x, S("websocket"))) {
		if (!ws_upgrade(x, channels_ws_protocols, channels_ws_protocols_len, &se->conn, &protocol, err)) {
			return false;
		}
		se->channels = channels_new_ws(protocol, &se->want, &channels_handler, se);
		return true;
	}
	if (!http_wants_upgrade(x, S("SPDY/3.1"))) {
		return err_set(err, ERR_BAD_REQUEST, "Upgrade request required");
	}
	auto_buf struct buf offer = BUF_INIT(4096);
	for (size_t i = 0; i < x->headers.len; i++) {
		if (str_case_eq(x->headers.at[i].name, S("X-Stream-Protocol-Version"))) {
			buf_printf(&offer, "%s%.*s", offer.len ? "," : "", STR_ARG(x->headers.at[i].value));
		}
	}
	protocol = channels_spdy_protocol(buf_view(&offer));
	if (!protocol.ptr) {
		return err_set(err, ERR_FORBIDDEN, "unable to negotiate protocol: client supports '%.*s'", (int)MIN(offer.len, (size_t)200),
			offer.ptr ? offer.ptr : "");
	}
	if (!spdy_upgrade(x, offer.len ? protocol : S(""), &se->conn, err)) {
		return false;
	}
	se->channels = channels_new_spdy(protocol, &se->want, &channels_handler, se);
	return true;
}

void handle_exec(struct server *s, struct http_exchange *x, struct str ns, struct str pod, struct str ctr, bool attach) {
	struct target t = { 0 };
	struct err err = { 0 };
	struct session *se = xcalloc(1, sizeof(*se));

	se->s = s;
	se->attach = attach;
	se->in.max = STDIN_MAX;
	se->stream = (struct cri_stream){ .in = -1, .out = -1, .err_out = -1, .done = -1 };
	bool ok = target_container(s, &x->arena, ns, pod, ctr, false, &t, &err);
	bool waits = !ok && err.code == ERR_BAD_REQUEST; /* a log says what it waits for; here that text, "x: y", reads as YAML to kubectl */
	if (waits || (ok && t.ctr.state != CRI_CONTAINER_RUNNING)) {
		ok = err_set(&err, ERR_INTERNAL, "container not found (\"%.*s\")", STR_ARG(ctr));
	}
	se->ctr_id = ok ? arena_str(&se->arena, t.ctr.id) : S("");
	ok = ok && command_read(x, se, &err) && want_read(x, &t, se, &err) && upgrade(x, se, &err);
	target_release(&t);
	if (!ok) {
		kubelet_reply_error(x, err_http(err.code), "%s", err.msg);
		arena_release(&se->arena);
		free(se);
		return;
	}
	se->loop = net_conn_loop(se->conn);
	if (!loop_call(se->loop, session_begin, se)) {
		net_conn_abort(TAKE(se->conn));
		channels_free(se->channels);
		arena_release(&se->arena);
		free(se);
	}
}
