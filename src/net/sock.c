/* SPDX-License-Identifier: Apache-2.0 */
/* sock.c - see sock.h. OpenSSL reads and writes through a BIO of ours: recv on one side, a buffer on the other. */
#include "net/sock.h"

#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#define OUT_KEEP ((size_t)16 << 10) /* a buffer of more than this is given back once it is empty */

/* ---- the output buffer ---- */

static void out_add(struct sock *s, const void *bytes, size_t len) {
	if (!len) {
		return;
	}
	if (s->out_len + len > s->out_cap) {
		if (s->out_at) {
			memmove(s->out, s->out + s->out_at, s->out_len - s->out_at);
			s->out_len -= s->out_at;
			s->out_at = 0;
		}
		if (s->out_len + len > s->out_cap) {
			s->out_cap = MAX(s->out_cap * 2, s->out_len + len);
			s->out = xrealloc(s->out, s->out_cap);
		}
	}
	memcpy(s->out + s->out_len, bytes, len);
	s->out_len += len;
}

static ssize_t raw_recv(struct sock *s, void *into, size_t len) {
	if (s->drained) {
		errno = EAGAIN;
		return -1;
	}
	ssize_t n;
	do {
		n = recv(s->fd, into, len, 0);
	} while (n < 0 && errno == EINTR);
	s->drained = n < 0 || (n > 0 && (size_t)n < len);
	return n;
}

/* ---- OpenSSL's side ---- */

static int bio_write(BIO *bio, const char *bytes, int len) {
	struct sock *s = BIO_get_data(bio);
	BIO_clear_retry_flags(bio);
	out_add(s, bytes, (size_t)len);
	return len;
}

static int bio_read(BIO *bio, char *into, int len) {
	struct sock *s = BIO_get_data(bio);
	BIO_clear_retry_flags(bio);
	ssize_t n = raw_recv(s, into, (size_t)len);
	if (n < 0 && errno == EAGAIN) {
		BIO_set_retry_read(bio);
	}
	s->eof = s->eof || n == 0;
	return (int)n;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr) {
	(void)bio, (void)num, (void)ptr;
	return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP;
}

static int bio_create(BIO *bio) {
	BIO_set_init(bio, 1);
	return 1;
}

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;
static void method_make(void) {
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sock");
	BIO_meth_set_write(method, bio_write);
	BIO_meth_set_read(method, bio_read);
	BIO_meth_set_ctrl(method, bio_ctrl);
	BIO_meth_set_create(method, bio_create);
}

static void bio_attach(struct sock *s) {
	pthread_once(&method_once, method_make);
	BIO *bio = BIO_new(method);
	BIO_set_data(bio, s);
	SSL_set_bio(s->ssl, bio, bio);
}

void sock_init(struct sock *s, int fd, SSL *ssl) {
	*s = (struct sock){ .fd = fd, .ssl = ssl };
	if (ssl) {
		bio_attach(s);
	}
}

void sock_release(struct sock *s) {
	SSL_free(s->ssl);
	free(s->out);
	if (s->fd >= 0) {
		close(s->fd);
	}
	*s = (struct sock){ .fd = -1, .broken = true };
}

void sock_move(struct sock *to, struct sock *from) {
	*to = *from;
	if (to->ssl) {
		BIO_set_data(SSL_get_rbio(to->ssl), to);
	}
	*from = (struct sock){ .fd = -1, .broken = true };
}

static bool io_err(struct sock *s, struct err *err, const char *what) {
	s->broken = true;
	err_sys(err, "%s", what);
	err->code = err->sys == ECONNRESET || err->sys == EPIPE ? ERR_CLOSED : ERR_IO;
	return false;
}

/*
 * What an SSL call that failed means. OpenSSL's queue of errors must be empty before such a call: all of net empties it after each
 * failure instead, which is cheaper.
 */
static enum sock_io ssl_result(struct sock *s, int rc, const char *what, struct err *err) {
	int sys = errno;
	switch (SSL_get_error(s->ssl, rc)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return SOCK_AGAIN;
	case SSL_ERROR_ZERO_RETURN:
		ERR_clear_error();
		s->eof = true;
		return SOCK_EOF;
	case SSL_ERROR_SYSCALL:
		s->broken = true;
		ERR_clear_error();
		if (s->eof) {
			err_set(err, ERR_CLOSED, "%s: the peer closed the connection", what);
		} else {
			errno = sys;
			io_err(s, err, what);
		}
		return SOCK_ERROR;
	default:
		s->broken = true;
		tls_err(s->ssl, err, what);
		return SOCK_ERROR;
	}
}

enum sock_io sock_handshake(struct sock *s, struct err *err) {
	if (!s->ssl) {
		return SOCK_OK;
	}
	ERR_clear_error();
	int rc = SSL_do_handshake(s->ssl);
	enum sock_io result = rc == 1 ? SOCK_OK : ssl_result(s, rc, "TLS handshake", err);
	if (result == SOCK_EOF) {
		err_set(err, ERR_CLOSED, "TLS handshake: the peer closed the connection");
		result = SOCK_ERROR;
	}
	if (sock_unsent(s)) { /* the alert that tells the peer, too */
		bool broken = s->broken;
		s->broken = false;
		(void)sock_flush(s);
		s->broken = s->broken || broken;
	}
	return result;
}

enum sock_io sock_read(struct sock *s, void *into, size_t len, size_t *ret_len, struct err *err) {
	*ret_len = 0;
	if (s->ssl) {
		int n = SSL_read(s->ssl, into, (int)MIN(len, (size_t)INT32_MAX));
		if (n > 0) {
			*ret_len = (size_t)n;
			return SOCK_OK;
		}
		enum sock_io result = ssl_result(s, n, "read", err);
		/* A peer that ends TCP without close_notify: many do; the layers above know when something is missing. */
		if (result == SOCK_ERROR && s->eof) {
			return SOCK_EOF;
		}
		return result;
	}
	ssize_t n = raw_recv(s, into, len);
	if (n > 0) {
		*ret_len = (size_t)n;
		return SOCK_OK;
	}
	if (n == 0) {
		s->eof = true;
		return SOCK_EOF;
	}
	if (errno == EAGAIN) {
		return SOCK_AGAIN;
	}
	io_err(s, err, "read");
	return SOCK_ERROR;
}

bool sock_write(struct sock *s, const void *bytes, size_t len) {
	if (s->broken || s->tls_shut) {
		return false;
	}
	if (!s->ssl) {
		out_add(s, bytes, len);
		return true;
	}
	while (len) {
		int n = SSL_write(s->ssl, bytes, (int)MIN(len, (size_t)1 << 20));
		if (n <= 0) {
			s->broken = true;
			ERR_clear_error();
			return false;
		}
		bytes = (const char *)bytes + n;
		len -= (size_t)n;
	}
	return true;
}

enum sock_io sock_flush(struct sock *s) {
	while (s->out_at < s->out_len) {
		if (s->broken) {
			return SOCK_ERROR;
		}
		ssize_t n = send(s->fd, s->out + s->out_at, s->out_len - s->out_at, MSG_NOSIGNAL);
		if (n >= 0) {
			s->out_at += (size_t)n;
		} else if (errno == EAGAIN) {
			return SOCK_AGAIN;
		} else if (errno != EINTR) {
			s->broken = true;
			return SOCK_ERROR;
		}
	}
	s->out_at = s->out_len = 0;
	if (s->out_cap > OUT_KEEP || s->ssl) {
		free(s->out);
		s->out = NULL;
		s->out_cap = 0;
	}
	return s->broken ? SOCK_ERROR : SOCK_OK;
}

void sock_shutdown(struct sock *s) {
	if (s->ssl && !s->tls_shut && !s->broken && SSL_is_init_finished(s->ssl)) {
		ERR_clear_error();
		SSL_shutdown(s->ssl);
		ERR_clear_error();
		(void)sock_flush(s);
	}
	s->tls_shut = true;
	if (s->fd >= 0) {
		shutdown(s->fd, SHUT_WR);
	}
}

/* ---- blocking ---- */

static bool wait_for(struct sock *s, short events, nsec_t deadline, const char *what, struct err *err) {
	for (;;) {
		struct pollfd p = { .fd = s->fd, .events = events };
		nsec_t left = deadline ? deadline - clock_mono() : 60 * NSEC_PER_SEC;
		if (left <= 0) {
			return err_set(err, ERR_TIMEOUT, "%s: timed out", what);
		}
		pool_wait_begin();
		int n = poll(&p, 1, (int)MIN(left / NSEC_PER_MSEC + 1, (nsec_t)60000));
		pool_wait_end();
		if (n > 0) {
			sock_woken(s);
			return true;
		}
		if (n < 0 && errno != EINTR) {
			return err_sys(err, "%s", what);
		}
	}
}

bool sock_wait_flush(struct sock *s, nsec_t deadline, struct err *err) {
	for (;;) {
		switch (sock_flush(s)) {
		case SOCK_OK:
			return true;
		case SOCK_AGAIN:
			if (!wait_for(s, POLLOUT, deadline, "write", err)) {
				return false;
			}
			break;
		case SOCK_EOF:
		case SOCK_ERROR:
			return io_err(s, err, "write");
		}
	}
}

bool sock_wait_handshake(struct sock *s, nsec_t deadline, struct err *err) {
	for (;;) {
		switch (sock_handshake(s, err)) {
		case SOCK_OK:
			return sock_wait_flush(s, deadline, err);
		case SOCK_AGAIN:
			if (!sock_wait_flush(s, deadline, err) || !wait_for(s, POLLIN, deadline, "TLS handshake", err)) {
				return false;
			}
			break;
		case SOCK_EOF:
		case SOCK_ERROR:
			return false;
		}
	}
}

bool sock_wait_read(struct sock *s, void *into, size_t len, size_t *ret_len, nsec_t deadline, struct err *err) {
	for (;;) {
		switch (sock_read(s, into, len, ret_len, err)) {
		case SOCK_OK:
		case SOCK_EOF:
			return true;
		case SOCK_AGAIN:
			if (!wait_for(s, POLLIN, deadline, "read", err)) {
				return false;
			}
			break;
		case SOCK_ERROR:
			return false;
		}
	}
}
