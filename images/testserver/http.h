/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - HTTP/1.1 for the test server: a parser without I/O, a server with a thread a connection,
 * and a client.
 */
#ifndef TESTSERVER_HTTP_H
#define TESTSERVER_HTTP_H

#include "stream.h"

#include <sys/socket.h>
#include <sys/types.h>

enum {
	HTTP_HEAD_BYTES_MAX = 32 * 1024,       /* request or status line and headers */
	HTTP_HEADERS_MAX = 100,
	HTTP_BODY_BYTES_MAX = 8 * 1024 * 1024,
	HTTP_CONNECTIONS_MAX = 1024,           /* at once; more wait in the listen queue */
	HTTP_IDLE_MS = 90 * 1000,              /* kept alive without a request */
	HTTP_REQUEST_MS = 30 * 1000,           /* from a request's first byte to its last */
};

struct http_header {
	struct str name, value;
};

/* The head of a request or an answer; everything is borrowed from the bytes that were parsed. */
struct http_head {
	struct str method, target; /* of a request; the target as it was sent */
	struct str path, query;    /* of a request: the target cut at `?`, still percent-encoded */
	int status;                /* of an answer */
	bool http10;
	bool keep_alive;
	bool chunked;
	bool expect_continue;
	bool has_length;
	size_t body_len; /* when has_length */
	struct http_header headers[HTTP_HEADERS_MAX];
	size_t headers_len;
};

enum http_parse {
	HTTP_PARSE_DONE,
	HTTP_PARSE_MORE,
	HTTP_PARSE_BAD,
	HTTP_PARSE_LARGE, /* beyond a limit */
};

/* Reads a head off the front of `in`; on DONE *ret_used is its length with the empty line. */
enum http_parse http_parse_request(struct str in, struct http_head *ret, size_t *ret_used);
enum http_parse http_parse_answer(struct str in, struct http_head *ret, size_t *ret_used);

/* Reads a chunked body off the front of `in`; on DONE `ret_body` holds it whole. */
enum http_parse http_parse_chunked(struct str in, struct buf *ret_body, size_t *ret_used);

/* The first header of that name; NULL-like ({0}) when there is none. */
struct str http_header_get(const struct http_head *head, struct str name);

/* Adds `s` to `out` with %XX decoded, and `+` as a blank when `form`. Bad escapes stay as they are. */
void http_unescape(struct buf *out, struct str s, bool form);
/* Adds `s` to `out` as a query value. */
void http_escape(struct buf *out, struct str s);
/* Adds the decoded value of parameter `name` to `out`; false when there is none. */
bool http_query_get(struct str query, struct str name, struct buf *out);

/* ---- server ---- */

struct http_request {
	struct http_head head;
	struct str path; /* decoded; borrowed from the connection */
	struct str body;
	char peer[64];  /* "10.0.0.7:41234", "[fd00::7]:41234" */
	char local[64]; /* where it arrived */
};
/* True when `name` is a parameter of the query or of a form body; its value goes to `out`. */
bool http_request_param(const struct http_request *req, struct str name, struct buf *out);

struct http_reply {
	int status;          /* 200 unless set */
	struct str type;     /* "text/plain; charset=utf-8" unless set; static text */
	struct buf headers;  /* further header lines, each ended by CRLF */
	struct buf body;
	int file;            /* -1, or what is sent in place of body; takes the descriptor */
	off_t file_len;
	bool close;          /* end the connection afterwards */
	void (*sent)(void *arg); /* called when the answer is out; may be NULL */
	void *sent_arg;
};

/* Replaces the answer by a status and a text. */
void http_reply_text(struct http_reply *reply, int status, const char *fmt, ...) PRINTF(3, 4);

/* Sends the client to `location`: 302 unless `status` says otherwise. Refuses line breaks in it. */
void http_reply_redirect(struct http_reply *reply, struct str location, int status);

/* Answers with the file at `root` plus the request's path; a folder's index.html, else its listing. */
void http_reply_file(struct http_reply *reply, const struct http_request *req, const char *root);

typedef void (*http_handler)(void *arg, const struct http_request *req, struct http_reply *reply);

/* A row of a path table. The first row that matches answers; a path of "/..." ends in any text. */
struct http_route {
	const char *path;
	http_handler handle;
};

struct http_server;

struct http_serve {
	int64_t port;           /* 0: any free one */
	http_handler handle;    /* runs on many threads at once */
	void *arg;              /* its first argument; lives until the program ends */
	struct tls_server *tls; /* NULL: plain HTTP */
};

/*
 * Listens on all addresses and answers on threads of its own. Says where it listens on stderr. The
 * server lives until the program ends.
 */
NODISCARD bool http_server_start(const struct http_serve *serve, struct http_server **ret, struct err *err);
int http_server_port(const struct http_server *server);

/* From now on each answer asks its client to close the connection. */
void http_server_drain(struct http_server *server);

/* Closes the listener, ends idle connections, waits up to wait_ms for answers in the making. */
void http_server_stop(struct http_server *server, int wait_ms);

/* Finds the row for `path`; NULL when none matches. */
const struct http_route *http_route_find(const struct http_route *routes, size_t len, struct str path);

/* ---- sockets, shared with UDP and TCP services ---- */

/* Opens a socket on all addresses, IPv6 with IPv4 where the kernel has it. */
NODISCARD bool net_listen(int type, int64_t port, int *ret_fd, int *ret_port, struct err *err);
/* Connects within timeout_ms. */
NODISCARD bool net_connect(const char *host, const char *port, int type, int timeout_ms, int *ret_fd, struct err *err);
/* "10.0.0.7:41234"; an IPv4 address inside IPv6 is written as IPv4. */
void net_address(const struct sockaddr_storage *address, char *out, size_t out_len);
/* The same without the port or brackets. */
void net_host(const struct sockaddr_storage *address, char *out, size_t out_len);
/* Waits until fd can be read, or timeout_ms (negative: for ever) have passed. */
bool net_readable(int fd, int timeout_ms);

/* ---- client ---- */

struct http_call {
	const char *method; /* NULL: GET */
	const char *host, *port, *target;
	const char *headers; /* further lines, each ended by CRLF; may be NULL */
	struct str body;
	const struct tls_trust *tls; /* NULL: plain HTTP */
	int timeout_ms;         /* for the whole; 0: 5000 */
	int connect_timeout_ms; /* 0: the same */
};

struct http_answer {
	int status;
	struct buf head; /* status line and headers, for those who print them */
	struct buf body;
	struct buf location; /* of a redirect */
};
void http_answer_release(struct http_answer *answer);
#define auto_http_answer CLEANUP(http_answer_release)

NODISCARD bool http_call(const struct http_call *call, struct http_answer *ret, struct err *err);

#endif
