/* SPDX-License-Identifier: Apache-2.0 */
/* addr.c - see addr.h; also listening and dialling with plain fds (conn.h). Any thread; dialling blocks. */
#include "net/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "loop/loop.h"
#include "net/conn.h"

static bool unix_address(struct str path, struct addr *ret, struct err *err) {
	struct sockaddr_un *un = (struct sockaddr_un *)&ret->sa;
	while (str_starts(path, S("//"))) {
		path = str_from(path, 1);
	}
	if (!path.len || path.len >= sizeof(un->sun_path)) {
		return err_set(err, ERR_INVALID, "socket path \"%.*s\" must have 1 to %zu characters", STR_ARG(path), sizeof(un->sun_path) - 1);
	}
	*ret = (struct addr){ .len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1) };
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path.ptr, path.len);
	return true;
}

static void v4_address(struct in_addr host, int port, struct addr *ret) {
	struct sockaddr_in *in = (struct sockaddr_in *)&ret->sa;
	*ret = (struct addr){ .len = sizeof(*in) };
	*in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = host };
}

static void v6_address(struct in6_addr host, int port, struct addr *ret) {
	struct sockaddr_in6 *in = (struct sockaddr_in6 *)&ret->sa;
	*ret = (struct addr){ .len = sizeof(*in) };
	*in = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = host };
}

static bool by_name(const char *host, int port, struct addr ret[ADDR_MAX], size_t *ret_len, struct err *err) {
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM }, *list = NULL;
	int rc = getaddrinfo(host, NULL, &hints, &list);
	if (rc) {
		return err_set(err, ERR_UNAVAILABLE, "look up %s: %s", host, gai_strerror(rc));
	}
	*ret_len = 0;
	for (struct addrinfo *i = list; i && *ret_len < ADDR_MAX; i = i->ai_next) {
		if (i->ai_family == AF_INET) {
			v4_address(((struct sockaddr_in *)i->ai_addr)->sin_addr, port, &ret[(*ret_len)++]);
		} else if (i->ai_family == AF_INET6) {
			v6_address(((struct sockaddr_in6 *)i->ai_addr)->sin6_addr, port, &ret[(*ret_len)++]);
		}
	}
	freeaddrinfo(list);
	return *ret_len ? true : err_set(err, ERR_UNAVAILABLE, "look up %s: no address", host);
}

bool addr_resolve(struct str text, bool passive, struct addr ret[ADDR_MAX], size_t *ret_len, struct err *err) {
	struct in_addr v4;
	struct in6_addr v6;
	char host[256];
	int port;

	*ret_len = 1;
	if (str_starts(text, S("unix:"))) {
		return unix_address(str_from(text, 5), &ret[0], err);
	}
	ptrdiff_t colon = str_rindex(text, ':');
	struct str name = colon >= 0 ? str_sub(text, 0, (size_t)colon) : text;
	if (colon < 0 || !str_to_int(str_from(text, (size_t)colon + 1), 0, 65535, &port)) {
		return err_set(err, ERR_INVALID, "address \"%.*s\" must be host:port", STR_ARG(text));
	}
	if (name.len >= 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']') {
		name = str_sub(name, 1, name.len - 1);
	}
	if (name.len >= sizeof(host)) {
		return err_set(err, ERR_INVALID, "address \"%.*s\": the host is too long", STR_ARG(text));
	}
	snprintf(host, sizeof(host), "%.*s", STR_ARG(name));
	if (!name.len && passive) {
		v6_address(in6addr_any, port, &ret[0]);
	} else if (!name.len || str_eq(name, S("localhost"))) {
		v4_address((struct in_addr){ htonl(INADDR_LOOPBACK) }, port, &ret[0]);
		v6_address(in6addr_loopback, port, &ret[1]);
		*ret_len = passive ? 1 : 2;
	} else if (inet_pton(AF_INET, host, &v4) == 1) {
		v4_address(v4, port, &ret[0]);
	} else if (inet_pton(AF_INET6, host, &v6) == 1) {
		v6_address(v6, port, &ret[0]);
	} else {
		return by_name(host, port, ret, ret_len, err);
	}
	return true;
}

struct str net_fd_address(int fd, bool peer, char *out, size_t out_bytes) {
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	char host[INET6_ADDRSTRLEN] = "";
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&sa;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&sa;
	const struct sockaddr_un *un = (const struct sockaddr_un *)&sa;

	out[0] = 0;
	memset(&sa, 0, sizeof(sa));
	if ((peer ? getpeername(fd, (struct sockaddr *)&sa, &len) : getsockname(fd, (struct sockaddr *)&sa, &len)) != 0) {
		return (struct str){ out, 0 };
	}
	if (sa.ss_family == AF_INET) {
		inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
		snprintf(out, out_bytes, "%s:%d", host, ntohs(v4->sin_port));
	} else if (sa.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
		inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], host, sizeof(host));
		snprintf(out, out_bytes, "%s:%d", host, ntohs(v6->sin6_port));
	} else if (sa.ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
		snprintf(out, out_bytes, "[%s]:%d", host, ntohs(v6->sin6_port));
	} else if (sa.ss_family == AF_UNIX && !peer) {
		snprintf(out, out_bytes, "unix:%s", un->sun_path);
	}
	return str_c(out);
}

/* ---- listening ---- */

/* A socket file that nobody answers on is left from a process that died. */
static void unix_stale_remove(const struct addr *a) {
	const struct sockaddr_un *un = (const struct sockaddr_un *)&a->sa;
	struct stat st;
	if (lstat(un->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode)) {
		return;
	}
	auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&a->sa, a->len) != 0 && errno == ECONNREFUSED) {
		unlink(un->sun_path);
	}
}

bool net_listen_fd(struct str address, int *ret_fd, struct err *err) {
	struct addr at[ADDR_MAX];
	size_t n;
	int on = 1, off = 0;

	if (!addr_resolve(address, true, at, &n, err)) {
		return false;
	}
	if (at[0].sa.ss_family == AF_UNIX) {
		unix_stale_remove(&at[0]);
	}
	auto_fd int fd = socket(at[0].sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 && errno == EAFNOSUPPORT && !str_starts(address, S("["))) { /* no IPv6 here: all of IPv4 then */
		v4_address((struct in_addr){ htonl(INADDR_ANY) }, ntohs(((struct sockaddr_in6 *)&at[0].sa)->sin6_port), &at[0]);
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	}
	if (fd < 0) {
		return err_sys(err, "listen on %.*s", STR_ARG(address));
	}
	if (at[0].sa.ss_family != AF_UNIX) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	}
	if (at[0].sa.ss_family == AF_INET6) {
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	}
	if (bind(fd, (struct sockaddr *)&at[0].sa, at[0].len) != 0 || listen(fd, 1024) != 0) {
		return err_sys(err, "listen on %.*s", STR_ARG(address));
	}
	*ret_fd = fd;
	fd = -1;
	return true;
}

/* ---- dialling ---- */

/* One address; leaves the reason in errno. */
static int dial_one(const struct addr *a, nsec_t deadline) {
	auto_fd int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int failed = 0, on = 1;
	socklen_t len = sizeof(failed);

	if (fd < 0) {
		return -1;
	}
	if (connect(fd, (const struct sockaddr *)&a->sa, a->len) != 0) {
		if (errno != EINPROGRESS) {
			return -1;
		}
		struct pollfd p = { .fd = fd, .events = POLLOUT };
		int n;
		pool_wait_begin();
		do {
			nsec_t left = deadline - clock_mono();
			n = left <= 0 ? 0 : poll(&p, 1, (int)MIN(left / NSEC_PER_MSEC + 1, (nsec_t)600000));
		} while (n < 0 && errno == EINTR);
		pool_wait_end();
		if (n == 0) {
			errno = ETIMEDOUT;
			return -1;
		}
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &len) != 0 || failed) {
			errno = failed ? failed : errno;
			return -1;
		}
	}
	if (a->sa.ss_family != AF_UNIX) {
		int idle = 30, interval = 15, count = 4; /* a watch must not wait for ever on a machine that has died */
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
		setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
		setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
		setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	}
	int ret = fd;
	fd = -1;
	return ret;
}

bool net_dial_fd(struct str address, nsec_t timeout, int *ret_fd, struct err *err) {
	struct addr at[ADDR_MAX];
	size_t n;
	nsec_t deadline = clock_mono() + (timeout ? timeout : 10 * NSEC_PER_SEC);

	if (!addr_resolve(address, false, at, &n, err)) {
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		int fd = dial_one(&at[i], deadline);
		if (fd >= 0) {
			*ret_fd = fd;
			return true;
		}
		if (i == 0 || errno != ECONNREFUSED) { /* the first address speaks for a name with two */
			err_sys(err, "connect to %.*s", STR_ARG(address));
			err->code = err->sys == ETIMEDOUT ? ERR_TIMEOUT : ERR_UNAVAILABLE;
		}
	}
	return false;
}
