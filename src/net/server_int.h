/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_int.h - the inside of the HTTP server, shared by its files:
 *
 *   server.c       listeners, io loops, connections: sockets, time limits, start and stop
 *   server_h1.c    HTTP/1.1 on a connection
 *   server_h2.c    HTTP/2 on a connection (nghttp2)
 *   exchange.c     a request on its way to a handler; the queue between the answering thread and the loop
 *   answer.c       answers that end with their handler
 *   stream.c       answers that outlive it: streams, upgrades
 *
 * Threads. A connection belongs to its io loop. An exchange is shared: its request is the worker's, its
 * queue is guarded by its lock, and what is marked so is the loop's. Two to four references hold it: the connection (or stream),
 * the running handler, a posted kick, the holder of a stream.
 */
#ifndef NET_SERVER_INT_H
#define NET_SERVER_INT_H

#include <nghttp2/nghttp2.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/vec.h"
#include "net/conn_int.h"
#include "net/http.h"
#include "net/http1.h"
#include "net/sock.h"

#define STAGE_BYTES ((size_t)64 << 10)   /* frames collected before one SSL_write */
#define UNSENT_MAX ((size_t)128 << 10)   /* encrypted bytes on a connection before we stop making more */
#define REPLY_QUEUE_MAX ((size_t)256 << 10)
#define PIPELINE_MAX ((size_t)64 << 10)
#define BODY_QUEUE_MAX ((size_t)256 << 10)

struct conn;
struct exchange;

struct io {
	struct http_server *server;
	struct loop *loop;
	struct loop_turn flush;   /* once per loop turn, before it sleeps */
	struct list conns;
	size_t conns_len;
	struct list dirty;        /* conns with something to send */
	struct loop_timer sweep;  /* time limits, once a second */
	bool sweeping;
	struct net_conn_owner upgraded;
	size_t upgraded_len;
	char *stage;              /* STAGE_BYTES */
	size_t stage_len;
	char *in;                 /* STAGE_BYTES, for reading */
};

struct listener {
	struct http_server *server;
	int fd;
	struct tls_server *tls;
	struct loop_fd *watch;
	struct loop_timer again;
	char address[160];
};

struct http_server {
	_Atomic int refs; /* the holder's, and one per exchange */
	struct http_server_opts opts; /* limits filled in */
	char *name;
	struct io *ios;
	int ios_len, next_io;
	struct listener *listeners;
	size_t listeners_len;
	_Atomic bool stopping;
	_Atomic int64_t connections, connections_total, requests, streams, handlers;
};

enum conn_state { CONN_HANDSHAKE, CONN_H1, CONN_H2, CONN_LINGER };

struct conn {
	struct list link;
	struct io *io;
	struct sock sock;
	struct loop_fd *watch;
	enum conn_state state;
	struct list dirty;
	nsec_t deadline;         /* of what the state waits for; 0: none */
	nsec_t write_deadline;   /* while bytes wait unsent */
	bool reading_paused, read_eof, dying;
	bool close_when_sent;
	bool read_again;         /* after this flush: TLS may hold bytes that no event announces */
	int in_use;              /* calls on the stack that hold it */
	char peer[64];
	struct cert_identity *peer_cert; /* own */
	const char *peer_cert_error;
	/* HTTP/1.1 */
	struct buf in;           /* read and not yet understood */
	size_t scanned;
	struct exchange *cur;    /* one reference */
	struct http1_body body;
	bool body_open;
	bool closing;            /* no request after this one */
	/* HTTP/2 */
	nghttp2_session *h2;
	struct list streams;     /* exchanges, by their conn_link */
	size_t streams_len;
	size_t zombies;          /* reset by the client before they were answered; halved every second */
};

struct seg {
	struct seg *next;
	struct net_bytes *bytes; /* a reference */
	uint32_t slice;
	size_t at;               /* in the slice */
};

/* An answer's head, made by the handler's thread in the form that the protocol wants. */
struct head {
	int status;
	size_t len;            /* HTTP/1.1: bytes of text; HTTP/2: number of nv */
	nghttp2_nv nv[];       /* or text */
};

enum answer { ANSWER_NONE, ANSWER_STARTED, ANSWER_DONE };

struct exchange {
	struct http_exchange pub; /* first */
	_Atomic int refs;
	struct http_server *server;
	struct io *io;
	struct job job;
	struct msg msg;
	_Atomic bool gone;

	pthread_mutex_t lock; /* guards down to the next blank line */
	bool posted;          /* msg is on its way */
	bool ended, aborted;  /* the answer is whole; is to be broken off */
	bool is_stream, stream_failed, drain_wanted;
	struct head *head;
	struct seg *queue, *queue_last;
	size_t queued;
	pthread_cond_t *waiter; /* on the stack of the thread that waits for room, or for body bytes */
	struct buf body_in;   /* streamed request body */
	bool body_eof, body_broken, body_wanted;
	struct http_stream_opts stream;
	struct net_conn *upgrade; /* wanted: gets the socket */

	/* the answering thread's */
	enum answer answer;
	struct http_header *reply_headers; /* in the arena */
	size_t reply_headers_len, reply_headers_cap;
	struct gzip *gzip;
	bool no_body;         /* HEAD, 204, 304 */
	bool handed_out;      /* to the pool */

	/* the loop's */
	struct conn *conn;    /* NULL once detached */
	struct list conn_link;
	int32_t stream_id;
	bool head_sent, chunked, until_close, told, body_streamed, body_whole, expect_continue;
	bool keep_alive;
	bool dispatched;
	struct buf body_buf;  /* collected request body */
	VEC(struct http_header) h2_headers;
	size_t h2_header_bytes;
	size_t h2_swallowed;  /* of a body that nobody wants any more */
	nsec_t body_deadline; /* for the next piece of the body */
	size_t h2_unconsumed; /* of the stream's window, held back because the body's reader is slow */
	int refuse;           /* status to answer instead of handing it out */
};

/* exchange.c */
struct exchange *exchange_new(struct conn *c);
struct exchange *exchange_ref(struct exchange *x);
void exchange_unref(struct exchange *x);
/* The connection lets go of it: nothing can be sent any more. On the loop; drops the connection's reference. */
void exchange_detach(struct exchange *x);
/* Headers are there: asks `early`. Sets body_streamed; hands out streamed ones. */
void exchange_begin(struct exchange *x);
void exchange_body_add(struct exchange *x, struct str bytes); /* collected or streamed */
void exchange_body_end(struct exchange *x);                    /* hands out collected ones */
bool exchange_body_full(struct exchange *x);                   /* a streamed body waits for its reader */
void exchange_refuse(struct exchange *x, int status, const char *why); /* answers without a handler; on the loop */
/* Takes up to `max` queued bytes through `put`; returns the count. With the lock held. */
size_t exchange_take(struct exchange *x, size_t max, void (*put)(struct conn *c, const void *bytes, size_t len), struct conn *c);

void exchange_queue(struct exchange *x, struct net_bytes *bytes); /* takes a reference of its own; with the lock held */
void exchange_kick(struct exchange *x);     /* the loop looks at it; without the lock */
void exchange_kick_now(struct exchange *x); /* the same, on the loop */
struct exchange *exchange_of(const struct http_exchange *x);
void wait_cond_init(pthread_cond_t *cond);  /* conditions on the real clock, which no simulation moves */
bool wait_cond_until(pthread_cond_t *cond, pthread_mutex_t *lock, nsec_t deadline);
nsec_t real_mono(void);

/* answer.c */
/* The head of an answer with the headers added so far; length -1: not known. */
struct head *answer_head(struct exchange *x, int status, struct str content_type, int64_t length);
void gzip_free(struct gzip *g);

/* server.c */
void conn_dirty(struct conn *c);              /* to be flushed this turn */
void conn_kill(struct conn *c);               /* closes at once; freed when nobody on the stack uses it */
void conn_linger(struct conn *c);             /* says it will send no more, waits for the peer to go */
void conn_read_pause(struct conn *c, bool paused);
void conn_deadline(struct conn *c, nsec_t span); /* 0: none */
void stage_put(struct conn *c, const void *bytes, size_t len);
static inline size_t conn_unsent(struct conn *c) {
	return sock_unsent(&c->sock) + c->io->stage_len;
}
void server_unref(struct http_server *s);
void conn_upgrade(struct conn *c, struct exchange *x);

/* server_h1.c */
void h1_input(struct conn *c);         /* c->in has grown, or the answer is out */
void h1_eof(struct conn *c);
void h1_pump(struct conn *c);          /* moves what the answer holds to the socket */
void h1_stop(struct conn *c);          /* the server stops */

/* server_h2.c */
void h2_start(struct conn *c);
void h2_input(struct conn *c, struct str bytes);
void h2_pump(struct conn *c);
void h2_answer(struct exchange *x);    /* its head or queue has changed */
void h2_release(struct conn *c);
void h2_stop(struct conn *c);
void h2_sweep(struct conn *c);         /* ends streams whose body does not come */

#endif
