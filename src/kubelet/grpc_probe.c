/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc_probe.c - one call of grpc.health.v1.Health/Check over HTTP/2 without TLS: enough frames for one small
 * request and its answer, read with a deadline from a blocking socket. Called by probes' pool jobs.
 *
 * Header blocks are sent as literals without indexing. Of the answer's headers nothing is read: the message in DATA
 * says SERVING or not, and a call that failed has no message.
 * Source: RFC 9113, RFC 7541 section 6.2.2, gRPC over HTTP/2, grpc.health.v1.
 */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "kubelet/probe.h"
#include "net/conn.h"

enum { FRAME_DATA = 0, FRAME_HEADERS = 1, FRAME_RST = 3, FRAME_SETTINGS = 4, FRAME_PING = 6, FRAME_GOAWAY = 7 };
enum { FLAG_END_STREAM = 1, FLAG_ACK = 1, FLAG_END_HEADERS = 4, FLAG_PADDED = 8 };
#define FRAME_MAX 16384
#define SERVING 1

static void frame(struct buf *b, uint8_t type, uint8_t flags, uint32_t stream, struct str payload) {
	const uint8_t head[9] = { (uint8_t)(payload.len >> 16), (uint8_t)(payload.len >> 8), (uint8_t)payload.len, type, flags,
		(uint8_t)(stream >> 24), (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream };

	buf_add(b, head, sizeof(head));
	buf_str(b, payload);
}

/* HPACK integers with a 7-bit prefix. */
static void put_text(struct buf *b, struct str s) {
	size_t n = s.len;

	if (n < 127) {
		buf_char(b, (char)n);
	} else {
		buf_char(b, 127);
		for (n -= 127; n >= 128; n >>= 7) {
			buf_char(b, (char)(n & 127) | (char)128);
		}
		buf_char(b, (char)n);
	}
	buf_str(b, s);
}

static void header(struct buf *b, struct str name, struct str value) {
	buf_char(b, 0); /* literal, not indexed, new name */
	put_text(b, name);
	put_text(b, value);
}

static void request(struct buf *b, struct str address, struct str service) {
	auto_buf struct buf headers = BUF_INIT(8192), message = BUF_INIT(8192);

	buf_str(b, S("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
	frame(b, FRAME_SETTINGS, 0, 0, S(""));
	header(&headers, S(":method"), S("POST"));
	header(&headers, S(":scheme"), S("http"));
	header(&headers, S(":path"), S("/grpc.health.v1.Health/Check"));
	header(&headers, S(":authority"), address);
	header(&headers, S("content-type"), S("application/grpc"));
	header(&headers, S("te"), S("trailers"));
	header(&headers, S("user-agent"), S("kube-probe/1.36"));
	frame(b, FRAME_HEADERS, FLAG_END_HEADERS, 1, buf_view(&headers));
	size_t len = service.len ? 1 + (service.len < 128 ? 1 : 2) + service.len : 0;
	const uint8_t head[5] = { 0, (uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len };
	buf_add(&message, head, sizeof(head));
	if (service.len > 0) { /* HealthCheckRequest.service = 1 */
		buf_char(&message, 0x0a);
		if (service.len >= 128) {
			buf_char(&message, (char)(service.len & 127) | (char)128);
			buf_char(&message, (char)(service.len >> 7));
		} else {
			buf_char(&message, (char)service.len);
		}
		buf_str(&message, service);
	}
	frame(b, FRAME_DATA, FLAG_END_STREAM, 1, buf_view(&message));
}

static bool wait_for(int fd, short events, nsec_t end, struct err *err) {
	for (;;) {
		struct pollfd p = { .fd = fd, .events = events };
		nsec_t left = end - clock_mono();
		int n = left <= 0 ? 0 : poll(&p, 1, (int)(left / NSEC_PER_MSEC) + 1);
		if (n > 0) {
			return true;
		}
		if (n < 0 && errno == EINTR) {
			continue;
		}
		return err_set(err, ERR_TIMEOUT, "timeout: health rpc did not complete within the deadline");
	}
}

static bool send_all(int fd, struct str s, nsec_t end, struct err *err) {
	while (s.len > 0) {
		if (!wait_for(fd, POLLOUT, end, err)) {
			return false;
		}
		ssize_t n = write(fd, s.ptr, s.len);
		if (n < 0 && errno != EINTR && errno != EAGAIN) {
			return err_sys(err, "error: health rpc failed: write");
		}
		s = str_from(s, n > 0 ? (size_t)n : 0);
	}
	return true;
}

static bool read_some(int fd, struct buf *b, nsec_t end, bool *closed, struct err *err) {
	if (!wait_for(fd, POLLIN, end, err)) {
		return false;
	}
	char *room = buf_reserve(b, 4096);
	if (!room) {
		return err_set(err, ERR_TOO_LARGE, "error: health rpc failed: the answer is too long");
	}
	ssize_t n = read(fd, room, 4096);
	if (n < 0 && errno != EINTR && errno != EAGAIN) {
		return err_sys(err, "error: health rpc failed: read");
	}
	*closed = n == 0;
	b->len += n > 0 ? (size_t)n : 0;
	return true;
}

int grpc_status(struct str message) {
	if (message.len < 5 || message.ptr[0] != 0) {
		return -1;
	}
	message = str_from(message, 5);
	return message.len >= 2 && message.ptr[0] == 0x08 ? (unsigned char)message.ptr[1] : 0;
}

bool grpc_frames(struct buf *in, struct buf *message, struct buf *out, bool *over, struct err *err) {
	while (in->len >= 9 && !*over) {
		const uint8_t *h = (const uint8_t *)in->ptr;
		size_t len = (size_t)h[0] << 16 | (size_t)h[1] << 8 | h[2];
		uint8_t type = h[3], flags = h[4];
		if (len > FRAME_MAX) {
			return err_set(err, ERR_BAD_REQUEST, "error: health rpc failed: the peer does not speak HTTP/2");
		}
		if (in->len < 9 + len) {
			break;
		}
		struct str payload = { in->ptr + 9, len };
		if (type == FRAME_SETTINGS && !(flags & FLAG_ACK)) {
			frame(out, FRAME_SETTINGS, FLAG_ACK, 0, S(""));
		} else if (type == FRAME_PING && !(flags & FLAG_ACK)) {
			frame(out, FRAME_PING, FLAG_ACK, 0, str_sub(payload, 0, 8));
		} else if (type == FRAME_DATA) {
			size_t before = 0, behind = 0;
			if (flags & FLAG_PADDED) {
				before = 1;
				behind = len > 0 ? (uint8_t)payload.ptr[0] : 0;
			}
			if (before + behind <= len) {
				buf_str(message, str_sub(payload, before, len - behind));
			}
			*over = (flags & FLAG_END_STREAM) || message->len >= 5 + 2;
		} else if (type == FRAME_RST || type == FRAME_GOAWAY || (type == FRAME_HEADERS && (flags & FLAG_END_STREAM))) {
			*over = true;
		}
		buf_drop(in, 9 + len);
	}
	return true;
}

/* Reads frames until the message is there or the stream is over. */
static bool answer(int fd, nsec_t end, int *ret_status, struct err *err) {
	auto_buf struct buf in = BUF_INIT(1 << 20), message = BUF_INIT(65536);
	bool over = false, closed = false;

	while (!over && !closed) {
		auto_buf struct buf out = BUF_INIT(65536);
		if (!read_some(fd, &in, end, &closed, err) || !grpc_frames(&in, &message, &out, &over, err) ||
			!send_all(fd, buf_view(&out), end, err)) {
			return false;
		}
	}
	*ret_status = grpc_status(buf_view(&message));
	return true;
}

bool grpc_health_check(struct str address, struct str service, nsec_t timeout, struct err *err) {
	auto_buf struct buf out = BUF_INIT(32768);
	nsec_t end = clock_mono() + timeout;
	auto_fd int fd = -1;
	int status = -1;

	if (!net_dial_fd(address, timeout, &fd, err)) {
		auto_arena struct arena a = { 0 };
		return err_set(err, ERR_UNAVAILABLE, "timeout: failed to connect service \"%.*s\" within %.*s: connection error", STR_ARG(address),
			STR_ARG(duration_format(&a, timeout)));
	}
	if (service.len > 2048) {
		return err_set(err, ERR_INVALID, "the name of the service is too long");
	}
	request(&out, address, service);
	if (!send_all(fd, buf_view(&out), end, err) || !answer(fd, end, &status, err)) {
		return false;
	}
	if (status < 0) {
		return err_set(err, ERR_INTERNAL, "error: health rpc failed: the call was refused");
	}
	static const char *const names[] = { "UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN" };
	return status == SERVING || err_set(err, ERR_INTERNAL, "service unhealthy (responded with \"%s\")",
		status < (int)ARRAY_LEN(names) ? names[status] : "UNKNOWN");
}
