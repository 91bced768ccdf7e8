/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.c - reads and writes a socket, through TLS where there is one.
 *
 * Called by the HTTP server and client and by the gRPC server. A stream belongs to one thread.
 */
#include "stream.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

ssize_t stream_read(struct stream *s, char *to, size_t len) {
	ssize_t n;

	if (s->tls) {
		return tls_read(s->tls, to, len);
	}
	do {
		n = read(s->fd, to, len);
	} while (n < 0 && errno == EINTR);
	return n;
}

bool stream_write(struct stream *s, struct str text) {
	if (!s->tls) {
		return fd_write_all(s->fd, text);
	}
	while (text.len > 0) {
		ssize_t n = tls_write(s->tls, text.ptr, text.len);

		if (n <= 0) {
			return false;
		}
		text = (struct str){ text.ptr + n, text.len - (size_t)n };
	}
	return true;
}

bool stream_readable(struct stream *s, int timeout_ms) {
	struct pollfd p = { .fd = s->fd, .events = POLLIN };
	int rc;

	if (s->tls && tls_pending(s->tls)) {
		return true;
	}
	do {
		rc = poll(&p, 1, timeout_ms);
	} while (rc < 0 && errno == EINTR);
	return rc > 0;
}

void stream_close(struct stream *s) {
	tls_free(s->tls);
	s->tls = NULL;
	if (s->fd >= 0) {
		shutdown(s->fd, SHUT_RDWR);
		close(s->fd);
	}
	s->fd = -1;
}

void stream_patience(struct stream *s, int seconds) {
	struct timeval tv = { .tv_sec = seconds };

	setsockopt(s->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
}
