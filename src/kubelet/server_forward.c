/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_forward.c - port-forward: connections that the client opens are carried to ports inside the pod.
 *
 * Three carriers: SPDY/3.1 on the upgraded connection; the same as a byte stream inside WebSocket messages
 * (SPDY/3.1+portforward.k8s.io); WebSocket channels with the ports in the query, two channels a port
 * (v4.channel.k8s.io). A forwarding lives on the loop of its connection, and so do the sockets into the pod;
 * connecting is a pool job.
 *
 * Source: Kubernetes KEP-4006, recorded exchanges of kubectl; upstream's channel numbering for WebSocket ports.
 */
#include "kubelet/server_int.h"
#include "net/conn.h"
#include "net/digest.h"
#include "net/spdy.h"
#include "net/url.h"
#include "net/ws.h"

#define LANES_MAX 1000
#define PORTS_MAX 64
#define HIGH ((size_t)256 << 10)
#define EARLY_MAX ((size_t)1 << 20) /* what a client may send before the port answers */

struct forward;

/* One connection into the pod. */
struct lane {
	struct list link;
	struct forward *fw;
	char request[64];               /* SPDY: pairs data and error stream */
	int port;
	struct spdy_stream *data, *error;
	int channel;                    /* WebSocket channels: of data; error is the next */
	bool is_channel;
	struct net_conn *target;
	bool target_over;               /* its on_close has run, or there was none */
	struct buf early;
	size_t unconsumed;              /* SPDY bytes given to the target, window still closed */
	bool client_eof, target_eof, paused, dead;
	struct job job;
	bool busy;
	int fd;
	bool job_ok;
	struct err err;
};

struct forward {
	struct server *s;
	struct loop *loop;
	struct net_conn *conn;
	bool conn_over, over;
	struct ws *ws;
	struct spdy *spdy;
	bool base64;
	struct list lanes;
	size_t lanes_len;
	struct arena arena;
	struct str sandbox, uid;
	struct loop_timer timer;
	int ports[PORTS_MAX];
	size_t ports_len;
};

static void lane_end(struct lane *l);
static void forward_over(struct forward *fw);

/* ---- to the client ------------------------------------------------------------------------------------------------ */

static void channel_put(struct forward *fw, int ch, struct str bytes) {
	char number = (char)ch;

	if (fw->base64) {
		auto_arena struct arena a = { 0 };
		number = (char)('0' + ch);
		ws_send2(fw->ws, WS_TEXT, (struct str){ &number, 1 }, base64_encode(&a, bytes));
	} else {
		ws_send2(fw->ws, WS_BINARY, (struct str){ &number, 1 }, bytes);
	}
}

static void lane_send(struct lane *l, struct str bytes, bool fin) {
	struct forward *fw = l->fw;

	if (l->is_channel) {
		if (bytes.len > 0) {
			channel_put(fw, l->channel, bytes);
		}
	} else if (l->data) {
		spdy_send(fw->spdy, l->data, bytes, fin);
	}
}

static void lane_error(struct lane *l, const char *msg) {
	auto_arena struct arena a = { 0 };
	struct forward *fw = l->fw;
	struct str text = arena_printf(&a, "error forwarding port %d to pod %.*s, uid : %s", l->port, STR_ARG(fw->sandbox), msg);

	if (l->is_channel) {
		channel_put(fw, l->channel + 1, text);
	} else if (l->error) {
		spdy_send(fw->spdy, l->error, text, true);
	}
}

static bool client_is_slow(const struct lane *l) {
	return (l->fw->conn && net_conn_backlog(l->fw->conn) > HIGH) || (l->data && spdy_backlog(l->data) > HIGH);
}

/* ---- the target ------------------------------------------------------------------------------------------------------ */

static void lane_maybe_free(struct lane *l) {
	struct forward *fw = l->fw;

	if (!l->dead || l->busy || !l->target_over) {
		return;
	}
	list_remove(&l->link);
	fw->lanes_len--;
	buf_release(&l->early);
	free(l);
	if (fw->over) {
		forward_over(fw);
	}
}

static void lane_end(struct lane *l) {
	struct forward *fw = l->fw;

	if (l->dead) {
		return;
	}
	l->dead = true;
	if (l->data) {
		l->data->user = NULL;
		if (!fw->over) {
			spdy_send(fw->spdy, TAKE(l->data), S(""), true);
		}
	}
	if (l->error) {
		l->error->user = NULL;
		if (!fw->over) {
			spdy_send(fw->spdy, TAKE(l->error), S(""), true);
		}
	}
	l->data = l->error = NULL;
	if (l->target) {
		net_conn_close(TAKE(l->target));
	}
	lane_maybe_free(l);
}

static void both_done(struct lane *l) {
	if (l->client_eof && l->target_eof) {
		lane_end(l);
	}
}

static void consume(struct lane *l) {
	if (l->data && l->unconsumed > 0) {
		size_t n = l->unconsumed;
		l->unconsumed = 0;
		spdy_consume(l->fw->spdy, l->data, n);
	}
}

static void target_data(void *arg, struct str bytes) {
	struct lane *l = arg;

	if (l->dead) {
		return;
	}
	lane_send(l, bytes, false);
	if (!l->dead && client_is_slow(l) && !l->paused && l->target) {
		l->paused = true;
		net_conn_pause(l->target);
	}
}

static void target_eof(void *arg) {
	struct lane *l = arg;

	if (!l->dead && !l->target_eof) {
		l->target_eof = true;
		lane_send(l, S(""), true);
		both_done(l);
	}
}

static void target_drain(void *arg) {
	struct lane *l = arg;

	if (!l->dead) {
		consume(l);
	}
}

static void target_close(void *arg, const struct err *err) {
	struct lane *l = arg;

	l->target_over = true;
	if (!l->dead) {
		if (err->code != ERR_NONE && !l->target_eof) {
			lane_error(l, err->msg);
		}
		lane_end(l);
	} else {
		lane_maybe_free(l);
	}
}

static const struct net_conn_handler target_handler = {
	.on_data = target_data, .on_eof = target_eof, .on_drain = target_drain, .on_close = target_close };

static void to_target(struct lane *l, struct str bytes) {
	if (l->dead) {
		return;
	}
	if (!l->target) {
		if (l->early.len + bytes.len > EARLY_MAX) {
			lane_error(l, "too many bytes before the port answered");
			lane_end(l);
			return;
		}
		buf_str(&l->early, bytes);
		return;
	}
	if (!net_conn_write(l->target, bytes)) {
		lane_end(l);
		return;
	}
	l->unconsumed += bytes.len;
	if (net_conn_backlog(l->target) < HIGH) {
		consume(l);
	}
}

static void client_ended(struct lane *l) {
	if (l->dead || l->client_eof) {
		return;
	}
	l->client_eof = true;
	if (l->target) {
		net_conn_shutdown(l->target);
	}
	both_done(l);
}

static void dial_run(struct job *j) {
	struct lane *l = container_of(j, struct lane, job);

	l->job_ok = cri_sandbox_dial(l->fw->s->k->o.cri, l->fw->sandbox, (uint16_t)l->port, &l->fd, &l->err);
}

static void dial_done(struct job *j) {
	struct lane *l = container_of(j, struct lane, job);
	struct forward *fw = l->fw;

	l->busy = false;
	fw->s->jobs--;
	if (!l->job_ok) {
		if (!l->dead) {
			lane_error(l, l->err.msg);
			lane_end(l);
		} else {
			lane_maybe_free(l);
		}
		return;
	}
	if (l->dead) {
		close_fd_p(&l->fd);
		lane_maybe_free(l);
		return;
	}
	l->target = net_conn_from_fd(fw->loop, l->fd);
	l->target_over = false;
	net_conn_start(l->target, &target_handler, l);
	if (l->early.len > 0) {
		size_t n = l->early.len;
		bool ok = net_conn_write(l->target, buf_view(&l->early));
		buf_release(&l->early);
		if (!ok) {
			lane_end(l);
			return;
		}
		l->unconsumed += n;
		consume(l);
	}
	if (l->client_eof) {
		net_conn_shutdown(l->target);
	}
}

static void lane_dial(struct lane *l) {
	struct server *s = l->fw->s;

	l->job = (struct job){ .loop = l->fw->loop, .run = dial_run, .done = dial_done };
	l->busy = true;
	s->jobs++;
	if (s->stopping || !pool_submit(&l->job)) {
		l->busy = false;
		s->jobs--;
		lane_error(l, "the node is busy");
		lane_end(l);
	}
}

static struct lane *lane_new(struct forward *fw, int port) {
	if (fw->lanes_len >= LANES_MAX) {
		return NULL;
	}
	struct lane *l = xcalloc(1, sizeof(*l));
	l->fw = fw;
	l->port = port;
	l->fd = -1;
	l->target_over = true;
	l->early.max = EARLY_MAX;
	list_push(&fw->lanes, &l->link);
	fw->lanes_len++;
	return l;
}

/* ---- SPDY --------------------------------------------------------------------------------------------------------------- */

static struct lane *lane_by_request(struct forward *fw, struct str request) {
	LIST_EACH(&fw->lanes, it) {
		struct lane *l = container_of(it, struct lane, link);
		if (!l->dead && str_eqc(request, l->request)) {
			return l;
		}
	}
	return NULL;
}

static void on_stream(void *arg, struct spdy_stream *st, bool fin) {
	struct forward *fw = arg;
	struct str type = spdy_header(st, S("streamtype")), request = spdy_header(st, S("requestid")), text = spdy_header(st, S("port"));
	bool is_error = str_eq(type, S("error"));
	char by_id[32];
	int port = 0;

	if ((!is_error && !str_eq(type, S("data"))) || !str_to_int(text, 1, 65535, &port)) {
		spdy_reset(fw->spdy, st, SPDY_REFUSED_STREAM);
		return;
	}
	if (request.len == 0) { /* old clients: the data stream follows its error stream by number */
		snprintf(by_id, sizeof(by_id), "#%u", is_error ? st->id : st->id - 2);
		request = str_c(by_id);
	}
	struct lane *l = request.len < sizeof(l->request) ? lane_by_request(fw, request) : NULL;
	if (!l && request.len < sizeof(l->request) && (l = lane_new(fw, port))) {
		snprintf(l->request, sizeof(l->request), "%.*s", STR_ARG(request));
	}
	if (!l || (is_error ? l->error : l->data)) {
		spdy_reset(fw->spdy, st, SPDY_REFUSED_STREAM);
		return;
	}
	*(is_error ? &l->error : &l->data) = st;
	st->user = l;
	spdy_reply(fw->spdy, st, NULL, 0, false);
	if (!is_error && fin) {
		l->client_eof = true;
	}
	if (l->data && l->error && !l->busy && !l->target) {
		lane_dial(l);
	}
}

static void on_data(void *arg, struct spdy_stream *st, struct str bytes, bool fin) {
	struct forward *fw = arg;
	struct lane *l = st->user;

	if (!l || st != l->data) {
		if (bytes.len > 0) {
			spdy_consume(fw->spdy, st, bytes.len);
		}
		return;
	}
	if (bytes.len > 0) {
		to_target(l, bytes);
	}
	if (fin && st->user) {
		client_ended(l);
	}
}

static void on_stream_drain(void *arg, struct spdy_stream *st) {
	struct lane *l = st->user;

	if (l && l->paused && l->target && !client_is_slow(l)) {
		l->paused = false;
		net_conn_resume(l->target);
	}
}

static void on_stream_close(void *arg, struct spdy_stream *st, bool reset) {
	struct lane *l = st->user;

	if (!l) {
		return;
	}
	if (st == l->error) {
		l->error = NULL;
		return;
	}
	l->data = NULL;
	if (reset || (l->client_eof && l->target_eof)) {
		lane_end(l);
	}
}

static void on_spdy_output(void *arg, struct str bytes) {
	struct forward *fw = arg;

	if (fw->ws) {
		ws_send(fw->ws, WS_BINARY, bytes);
	} else if (fw->conn) {
		net_conn_write(fw->conn, bytes);
	}
}

static void on_timer(struct loop_timer *t) {
	forward_over(container_of(t, struct forward, timer));
}

static void end_soon(struct forward *fw) {
	if (!fw->over) {
		loop_timer_start(fw->loop, &fw->timer, 0, on_timer);
	}
}

static void on_spdy_error(void *arg, const struct err *err) {
	end_soon(arg);
}

static const struct spdy_handler spdy_handler = {
	.on_stream = on_stream,
	.on_data = on_data,
	.on_drain = on_stream_drain,
	.on_stream_close = on_stream_close,
	.on_output = on_spdy_output,
	.on_error = on_spdy_error,
};

/* ---- WebSocket ------------------------------------------------------------------------------------------------------------ */

static void on_ws_output(void *arg, struct str bytes) {
	struct forward *fw = arg;

	if (fw->conn) {
		net_conn_write(fw->conn, bytes);
	}
}

static void on_ws_close(void *arg, int code, struct str reason) {
	end_soon(arg);
}

static void on_tunnel_piece(void *arg, enum ws_opcode opcode, struct str bytes, bool first, bool last) {
	struct forward *fw = arg;

	if (!fw->over && bytes.len > 0 && !spdy_input(fw->spdy, bytes)) {
		end_soon(fw);
	}
}

static void on_channel_message(void *arg, enum ws_opcode opcode, struct str bytes) {
	struct forward *fw = arg;
	auto_arena struct arena a = { 0 };

	if (bytes.len == 0 || fw->over) {
		return;
	}
	int ch = (unsigned char)bytes.ptr[0] - (fw->base64 ? '0' : 0);
	struct str payload = str_from(bytes, 1);
	if (fw->base64 && !base64_decode(&a, payload, &payload)) {
		ws_close(fw->ws, WS_BAD_DATA, S("not base64"));
		end_soon(fw);
		return;
	}
	LIST_EACH(&fw->lanes, it) {
		struct lane *l = container_of(it, struct lane, link);
		if (l->is_channel && l->channel == ch && payload.len > 0) {
			to_target(l, payload);
			return;
		}
	}
}

static const struct ws_handler tunnel_handler = { .on_piece = on_tunnel_piece, .on_close = on_ws_close, .on_output = on_ws_output };
static const struct ws_handler channel_handler = { .on_message = on_channel_message, .on_close = on_ws_close, .on_output = on_ws_output };

/* ---- the connection ---------------------------------------------------------------------------------------------------------- */

static void conn_data(void *arg, struct str bytes) {
	struct forward *fw = arg;

	if (fw->over) {
		return;
	}
	if (!(fw->ws ? ws_input(fw->ws, bytes) : spdy_input(fw->spdy, bytes))) {
		end_soon(fw);
	}
}

static void conn_drain(void *arg) {
	struct forward *fw = arg;

	LIST_EACH(&fw->lanes, it) {
		struct lane *l = container_of(it, struct lane, link);
		if (!l->dead && l->paused && l->target && !client_is_slow(l)) {
			l->paused = false;
			net_conn_resume(l->target);
		}
	}
}

static void conn_close(void *arg, const struct err *err) {
	struct forward *fw = arg;

	fw->conn_over = true;
	forward_over(fw);
}

static const struct net_conn_handler conn_handler = { .on_data = conn_data, .on_drain = conn_drain, .on_close = conn_close };

static void forward_over(struct forward *fw) {
	if (!fw->over) {
		fw->over = true;
		loop_timer_stop(&fw->timer);
		LIST_EACH(&fw->lanes, it) {
			lane_end(container_of(it, struct lane, link)); /* may free it, and come back here when it was the last */
			if (list_empty(&fw->lanes)) {
				break;
			}
		}
		if (fw->conn) {
			net_conn_close(TAKE(fw->conn));
		}
	}
	if (!fw->conn_over || !list_empty(&fw->lanes)) {
		return;
	}
	if (fw->spdy) {
		spdy_free(fw->spdy);
	}
	if (fw->ws) {
		ws_free(fw->ws);
	}
	arena_release(&fw->arena);
	free(fw);
}

static void forward_begin(void *arg) {
	struct forward *fw = arg;

	net_conn_start(fw->conn, &conn_handler, fw);
	for (size_t i = 0; i < fw->ports_len; i++) {
		struct lane *l = lane_new(fw, fw->ports[i]);
		char number[2] = { (char)(fw->ports[i] & 255), (char)(fw->ports[i] >> 8) };
		l->is_channel = true;
		l->channel = (int)i * 2;
		/* each channel begins with its port */
		channel_put(fw, l->channel, (struct str){ number, 2 });
		channel_put(fw, l->channel + 1, (struct str){ number, 2 });
		lane_dial(l);
	}
}

/* ---- the endpoint -------------------------------------------------------------------------------------------------------------- */

static bool ports_read(struct http_exchange *x, struct forward *fw, struct err *err) {
	struct str rest = x->query, name, value;

	while (url_query_next(&x->arena, &rest, &name, &value)) {
		struct str list = value, piece;
		if (!str_eq(name, S("port")) && !str_eq(name, S("ports"))) {
			continue;
		}
		while (str_next(&list, ',', &piece)) {
			if (fw->ports_len == PORTS_MAX || !str_to_int(piece, 1, 65535, &fw->ports[fw->ports_len])) {
				return err_set(err, ERR_BAD_REQUEST, "unable to parse \"%.*s\" as a port", STR_ARG(piece));
			}
			fw->ports_len++;
		}
	}
	return fw->ports_len > 0 || err_set(err, ERR_BAD_REQUEST, "query parameter \"port\" is required");
}

static bool upgrade(struct http_exchange *x, struct forward *fw, struct err *err) {
	static const struct str protocols[] = {
		S_INIT("SPDY/3.1+portforward.k8s.io"),
		S_INIT("v4.channel.k8s.io"),
		S_INIT("v4.base64.channel.k8s.io"),
	};
	struct spdy_opts spdy = { .streams_max = 2 * LANES_MAX };
	struct str protocol = { 0 };

	if (!http_wants_upgrade(x, S("websocket"))) {
		if (!http_wants_upgrade(x, S("SPDY/3.1"))) {
			return err_set(err, ERR_BAD_REQUEST, "Upgrade request required");
		}
		fw->spdy = spdy_new(&spdy, &spdy_handler, fw);
		return spdy_upgrade(x, S("portforward.k8s.io"), &fw->conn, err);
	}
	bool channels = !http_header_has_token(x->headers, S("Sec-WebSocket-Protocol"), protocols[0]);
	if (channels && !ports_read(x, fw, err)) {
		return false;
	}
	if (!ws_upgrade(x, protocols, ARRAY_LEN(protocols), &fw->conn, &protocol, err)) {
		return false;
	}
	fw->base64 = str_contains(protocol, S("base64"));
	fw->ws = ws_new(&(struct ws_opts){ .message_max = 4 << 20 }, channels ? &channel_handler : &tunnel_handler, fw);
	if (!channels) {
		fw->spdy = spdy_new(&spdy, &spdy_handler, fw);
	}
	return true;
}

static void forward_free(struct forward *fw) {
	if (fw->spdy) {
		spdy_free(fw->spdy);
	}
	if (fw->ws) {
		ws_free(fw->ws);
	}
	arena_release(&fw->arena);
	free(fw);
}

void handle_port_forward(struct server *s, struct http_exchange *x, struct str ns, struct str pod) {
	struct target t = { 0 };
	struct err err = { 0 };
	struct forward *fw = xcalloc(1, sizeof(*fw));

	fw->s = s;
	list_init(&fw->lanes);
	bool ok = target_pod(s, &x->arena, ns, pod, &t, &err);
	if (ok && (t.sandbox.id.len == 0 || t.sandbox.state != CRI_SANDBOX_READY)) {
		ok = err_set(&err, ERR_NOT_FOUND, "failed to find sandbox for pod \"%.*s\" in namespace \"%.*s\"", STR_ARG(pod), STR_ARG(ns));
	}
	if (ok) {
		fw->sandbox = arena_str(&fw->arena, t.sandbox.id);
		ok = upgrade(x, fw, &err);
	}
	target_release(&t);
	if (!ok) {
		kubelet_reply_error(x, err_http(err.code), "%s", err.msg);
		forward_free(fw);
		return;
	}
	fw->loop = net_conn_loop(fw->conn);
	if (!loop_call(fw->loop, forward_begin, fw)) {
		net_conn_abort(TAKE(fw->conn));
		forward_free(fw);
	}
}
