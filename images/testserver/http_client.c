/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_client.c - one HTTP/1.1 request and its answer.
 *
 * Called by the commands that ask others. Blocks its thread, for at most the call's time.
 */
#include "http.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void http_answer_release(struct http_answer *answer) {
	buf_release(&answer->head);
	buf_release(&answer->body);
	buf_release(&answer->location);
	*answer = (struct http_answer){ 0 };
}

static bool request_send(const struct http_call *call, struct stream *s, struct err *err) {
	auto_buf struct buf out = { .max = BUF_MAX * 2 };
	bool six = strchr(call->host, ':') != NULL, plain = strcmp(call->port, call->tls ? "443" : "80") == 0;

	buf_addf(&out, "%s %s%s HTTP/1.1\r\nHost: %s%s%s%s%s\r\nConnection: close\r\n%s", call->method ? call->method : "GET",
		call->target[0] == '/' ? "" : "/", call->target, six ? "[" : "", call->host, six ? "]" : "", plain ? "" : ":",
		plain ? "" : call->port, call->headers ? call->headers : "");
	if (call->body.len > 0) {
		buf_addf(&out, "Content-Length: %zu\r\n", call->body.len);
	}
	buf_add(&out, S("\r\n"));
	buf_add(&out, call->body);
	if (out.overflown) {
		return err_set(err, "the request is too large");
	}
	return stream_write(s, buf_str(&out)) || err_sys(err, "write to %s port %s", call->host, call->port);
}

/* Adds what arrives to `in`. *ret_eof tells the end of the stream. */
static bool more(struct stream *s, int64_t deadline, struct buf *in, bool *ret_eof, struct err *err) {
	int64_t left = deadline - now_ms();
	char bytes[16384];
	ssize_t n;

	if (left <= 0 || !stream_readable(s, (int)left)) {
		return err_code(err, ERR_TIMEOUT, "no answer in time");
	}
	n = stream_read(s, bytes, sizeof(bytes));
	if (n < 0) {
		return err_sys(err, "read the answer");
	}
	*ret_eof = n == 0;
	return buf_add(in, (struct str){ bytes, (size_t)n }) || err_set(err, "the answer is too large");
}

static bool answer_read(const struct http_call *call, struct stream *s, int64_t deadline, struct http_answer *ret, struct err *err) {
	auto_buf struct buf in = { .max = HTTP_BODY_BYTES_MAX + HTTP_HEAD_BYTES_MAX };
	bool head_only = call->method && strcmp(call->method, "HEAD") == 0, eof = false;
	struct http_head head;
	size_t used = 0, body_used;

	for (;;) {
		enum http_parse parsed = http_parse_answer(buf_str(&in), &head, &used);
		struct str rest;

		if (parsed == HTTP_PARSE_DONE && head.status >= 100 && head.status < 200) {
			buf_consume(&in, used); /* RFC 9110 section 15.2: interim answers come before the real one */
			continue;
		}
		if (parsed == HTTP_PARSE_DONE) {
			rest = (struct str){ in.ptr + used, in.len - used };
			if (head_only || head.status == 204 || head.status == 304) {
				break;
			}
			if (head.chunked) {
				parsed = http_parse_chunked(rest, &ret->body, &body_used);
				if (parsed == HTTP_PARSE_DONE) {
					break;
				}
			} else if (head.has_length ? rest.len >= head.body_len : eof) {
				buf_clear(&ret->body);
				buf_add(&ret->body, (struct str){ rest.ptr, head.has_length ? head.body_len : rest.len });
				break;
			} else {
				parsed = HTTP_PARSE_MORE;
			}
		}
		if (parsed != HTTP_PARSE_MORE) {
			return err_set(err, "bad answer");
		}
		if (eof) {
			return err_set(err, in.len ? "the answer ended early" : "no answer, the connection was closed");
		}
		if (!more(s, deadline, &in, &eof, err)) {
			return false;
		}
	}
	ret->status = head.status;
	buf_add(&ret->head, (struct str){ in.ptr, used });
	buf_add(&ret->location, http_header_get(&head, S("Location")));
	return true;
}

bool http_call(const struct http_call *call, struct http_answer *ret, struct err *err) {
	int timeout_ms = call->timeout_ms ? call->timeout_ms : 5000;
	int64_t deadline = now_ms() + timeout_ms;
	struct http_answer answer = { 0 };
	auto_stream struct stream s = { .fd = -1 };

	if (!net_connect(call->host, call->port, SOCK_STREAM, call->connect_timeout_ms ? call->connect_timeout_ms : timeout_ms, &s.fd, err)) {
		return false;
	}
	stream_patience(&s, timeout_ms / 1000 + 1);
	if (call->tls && !tls_connect(s.fd, call->host, call->tls, &s.tls, err)) {
		return false;
	}
	if (!request_send(call, &s, err) || !answer_read(call, &s, deadline, &answer, err)) {
		http_answer_release(&answer);
		return false;
	}
	*ret = answer;
	return true;
}
