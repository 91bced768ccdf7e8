/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net.c - sockets: listening on all addresses, connecting within a time, addresses as text.
 *
 * Called by the HTTP server and client and by the UDP and TCP services. Any thread.
 */
#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int listen_family(int family, int type, int64_t port) {
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	bool is_six = family == AF_INET6;
	int off = 0, on = 1;
	int fd = socket(family, type | SOCK_CLOEXEC, 0);

	if (fd < 0) {
		return -1;
	}
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (is_six) {
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	}
	if (bind(fd, is_six ? (struct sockaddr *)&six : (struct sockaddr *)&four, is_six ? sizeof(six) : sizeof(four)) != 0 ||
		(type == SOCK_STREAM && listen(fd, SOMAXCONN) != 0)) {
		int sys = errno;

		close(fd);
		errno = sys;
		return -1;
	}
	return fd;
}

bool net_listen(int type, int64_t port, int *ret_fd, int *ret_port, struct err *err) {
	struct sockaddr_storage bound = { 0 };
	socklen_t len = sizeof(bound);
	int fd;

	if (port < 0 || port > 65535) {
		return err_set(err, "%lld is no port", (long long)port);
	}
	fd = listen_family(AF_INET6, type, port);
	if (fd < 0 && errno != EADDRINUSE && errno != EACCES) {
		fd = listen_family(AF_INET, type, port); /* a kernel or a sandbox without IPv6 */
	}
	if (fd < 0) {
		return err_sys(err, "listen on port %lld", (long long)port);
	}
	getsockname(fd, (struct sockaddr *)&bound, &len);
	*ret_port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port : ((struct sockaddr_in *)&bound)->sin_port);
	*ret_fd = fd;
	return true;
}

bool net_readable(int fd, int timeout_ms) {
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int rc;

	do {
		rc = poll(&p, 1, timeout_ms);
	} while (rc < 0 && errno == EINTR);
	return rc > 0;
}

static int connect_one(const struct addrinfo *to, int timeout_ms) {
	int fd = socket(to->ai_family, to->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, to->ai_protocol);
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	int sys = 0, on = 1, rc;
	socklen_t len = sizeof(sys);

	if (fd < 0) {
		return -1;
	}
	if (connect(fd, to->ai_addr, to->ai_addrlen) != 0) {
		if (errno != EINPROGRESS) {
			sys = errno;
		} else {
			do {
				rc = poll(&p, 1, timeout_ms);
			} while (rc < 0 && errno == EINTR);
			if (rc <= 0) {
				sys = ETIMEDOUT;
			} else {
				getsockopt(fd, SOL_SOCKET, SO_ERROR, &sys, &len);
			}
		}
	}
	if (sys) {
		close(fd);
		errno = sys;
		return -1;
	}
	if (to->ai_socktype == SOCK_STREAM) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	}
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	return fd;
}

bool net_connect(const char *host, const char *port, int type, int timeout_ms, int *ret_fd, struct err *err) {
	struct addrinfo hints = { .ai_socktype = type }, *found = NULL;
	int rc = getaddrinfo(host, port, &hints, &found);
	int fd = -1;

	if (rc != 0) {
		return err_code(err, ERR_LOOKUP, "lookup %s: %s", host, gai_strerror(rc));
	}
	for (const struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
		fd = connect_one(a, timeout_ms);
	}
	freeaddrinfo(found);
	if (fd < 0) {
		return err_sys(err, "connect to %s port %s", host, port);
	}
	*ret_fd = fd;
	return true;
}

void net_host(const struct sockaddr_storage *address, char *out, size_t out_len) {
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
	const struct sockaddr_in *four = (const struct sockaddr_in *)address;

	out[0] = '\0';
	if (address->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
		inet_ntop(AF_INET, &six->sin6_addr.s6_addr[12], out, (socklen_t)out_len);
	} else if (address->ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &six->sin6_addr, out, (socklen_t)out_len);
	} else if (address->ss_family == AF_INET) {
		inet_ntop(AF_INET, &four->sin_addr, out, (socklen_t)out_len);
	}
}

void net_address(const struct sockaddr_storage *address, char *out, size_t out_len) {
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
	const struct sockaddr_in *four = (const struct sockaddr_in *)address;
	int port = ntohs(address->ss_family == AF_INET6 ? six->sin6_port : four->sin_port);
	char host[INET6_ADDRSTRLEN];

	net_host(address, host, sizeof(host));
	snprintf(out, out_len, strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, port);
}
