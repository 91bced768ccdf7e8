/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - the HTTP client. http_do blocks: for pool threads. http_watch_start streams an answer to a loop: for
 * informers and followers. http_dial_upgrade takes a connection out of HTTP: for exec and port-forward.
 *
 * A client holds credentials, trust and a pool of kept-alive connections per host; any thread.
 */
#ifndef NET_CLIENT_H
#define NET_CLIENT_H

#include "net/http.h"

struct http_client;
struct http_client_opts {
	struct str base;          /* "https://10.0.0.1:6443", "http://localhost:80/prefix", "unix:/run/x.sock"; prefix of request urls that begin with '/' */
	struct tls_client_opts tls;
	struct str bearer_token;  /* sent as Authorization; may be empty */
	/* A token that changes (files): asked before each request; writes into `a`. NULL: bearer_token. */
	struct str (*token)(void *arg, struct arena *a);
	void *token_arg;
	struct str user_agent;    /* "coracle" */
	nsec_t connect_timeout;   /* TLS included; 0: 10 s */
	size_t idle_max;          /* kept-alive connections per host; 0: 16 */
	nsec_t idle_timeout;      /* 0: 90 s */
};
/* Copies opts. Fails: ERR_BAD_REQUEST for a bad url; ERR_INVALID for bad PEM. */
NODISCARD bool http_client_new(const struct http_client_opts *opts, struct http_client **ret, struct err *err);
void http_client_free(struct http_client *c); /* no call may be running; watches and conns live on */

struct http_request {
	struct str method;            /* "": GET, or POST with a body */
	struct str url;               /* "/api/v1/pods?limit=5" or absolute "https://..." */
	const struct http_header *headers;
	size_t headers_len;
	struct str body;
	struct str content_type;      /* of the body */
	/* Instead of `body`, a streamed one of body_len bytes (-1: chunked). Fills `into`; returns bytes, 0 at the end, -1 to give up. */
	ssize_t (*body_read)(void *arg, char *into, size_t len);
	int64_t body_len;
	nsec_t timeout;               /* of the whole exchange; 0: 60 s; -1: none */
	size_t body_max;              /* of the answer; 0: 64 MiB; beyond: ERR_TOO_LARGE */
	/* When set, the answer's body is not collected but given in pieces; false breaks off (ERR_CANCELLED). Only for status 2xx. */
	bool (*on_body)(void *arg, struct str bytes);
	bool (*on_headers)(void *arg, int status, struct http_headers headers); /* before the body; may be NULL */
	void *arg;
	int redirects;                /* to follow, GET and HEAD only; Authorization stays behind when the host changes */
	bool no_auth;                 /* leave the client's token out */
	bool gzip;                    /* send Accept-Encoding: gzip and unpack */
};
struct http_response {
	int status;
	struct http_headers headers;
	struct str body;
	struct arena arena; /* owns the above */
	struct buf body_buf; /* owns the body */
	struct str url; /* that answered, after redirects */
};
/*
 * One request and its answer, whatever the status. A kept-alive connection that turns out to be dead before the first answer
 * byte is replaced once for requests without side effects or when nothing was sent.
 * Fails: ERR_UNAVAILABLE (refused, broken off), ERR_TIMEOUT, ERR_TOO_LARGE, ERR_UNAUTHORIZED (TLS: the peer's certificate, says why), ERR_BAD_REQUEST (not HTTP).
 * Owns: http_response_release, also after failure (it is emptied then).
 */
NODISCARD bool http_do(struct http_client *c, const struct http_request *r, struct http_response *ret, struct err *err);
void http_response_release(struct http_response *r);

/* ---- streaming to a loop ---- */

struct http_watch;
struct http_watch_handler {
	/* The answer's head; for a status other than 2xx the body that follows is the error's. */
	void (*on_headers)(void *arg, int status, struct http_headers headers);
	void (*on_data)(void *arg, struct str bytes); /* borrowed for the call */
	/* Last callback, exactly once unless cancelled. err->code ERR_NONE: the answer is whole. */
	void (*on_end)(void *arg, const struct err *err);
};
/* Never fails at once: failures come to on_end. Copies the request. Callbacks run on `l`. request.timeout is that of the head; the body may last for ever. Any thread. */
struct http_watch *http_watch_start(struct http_client *c, struct loop *l, const struct http_request *r, const struct http_watch_handler *h, void *arg);
/* On `l` only: ends it and gives the handle back; no callback comes after. Also needed after on_end. */
void http_watch_cancel(struct http_watch *w);
void http_watch_pause(struct http_watch *w);  /* on `l` only; holds the server back */
void http_watch_resume(struct http_watch *w);

/* ---- upgrades ---- */

/*
 * Sends the request (its headers must hold Upgrade; Connection: Upgrade is added when missing) on a new HTTP/1.1
 * connection. When the answer is 101, *ret_conn is the byte stream, on loop `l`; with any other status it is NULL and the answer's
 * body is collected. Blocks: pool threads. Fails as http_do does.
 */
NODISCARD bool http_dial_upgrade(struct http_client *c, struct loop *l, const struct http_request *r, struct http_response *ret, struct net_conn **ret_conn,
	struct err *err);

#endif
