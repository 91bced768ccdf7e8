/* SPDX-License-Identifier: Apache-2.0 */
/*
 * udp.c - answers datagrams, one thread a socket.
 *
 * Called by netexec, porter and serve-hostname. The answer leaves from the address that was asked,
 * also on a machine with several: the kernel is asked for it with each datagram.
 */
#include "udp.h"

#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DATAGRAM_BYTES_MAX = 8192 };

static void *udp_run(void *arg) {
	struct udp_server *s = arg;
	auto_buf struct buf reply = { .max = 65507 };

	for (;;) {
		char bytes[DATAGRAM_BYTES_MAX], peer[64];
		union {
			struct cmsghdr align;
			char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(struct in_pktinfo))];
		} control;
		struct sockaddr_storage from = { 0 };
		struct iovec io = { bytes, sizeof(bytes) };
		struct msghdr msg = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &io, .msg_iovlen = 1,
			.msg_control = &control, .msg_controllen = sizeof(control) };
		ssize_t n = recvmsg(s->fd, &msg, 0);

		if (n < 0) {
			if (errno != EINTR && errno != ECONNREFUSED) {
				log_line("UDP port %d: %s", s->port, strerror(errno));
				return NULL;
			}
			continue;
		}
		net_address(&from, peer, sizeof(peer));
		buf_clear(&reply);
		s->handle(s->arg, (struct str){ bytes, (size_t)n }, peer, &reply);
		if (reply.len == 0) {
			continue;
		}
		/* msg_control goes back as it came: its address is now the one to send from. */
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
			if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
				((struct in_pktinfo *)CMSG_DATA(c))->ipi_ifindex = 0;
			} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
				((struct in6_pktinfo *)CMSG_DATA(c))->ipi6_ifindex = 0;
			}
		}
		io = (struct iovec){ reply.ptr, reply.len };
		msg.msg_flags = 0;
		if (sendmsg(s->fd, &msg, 0) < 0) {
			log_line("UDP port %d: answer to %s: %s", s->port, peer, strerror(errno));
		}
	}
}

static bool udp_bind(const char *address, int64_t port, int *ret_fd, struct err *err) {
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	bool is_four = inet_pton(AF_INET, address, &four.sin_addr) == 1;
	int fd;

	if (!is_four && inet_pton(AF_INET6, address, &six.sin6_addr) != 1) {
		return err_set(err, "'%s' is no IP address", address);
	}
	fd = socket(is_four ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		return err_sys(err, "UDP socket");
	}
	if (bind(fd, is_four ? (struct sockaddr *)&four : (struct sockaddr *)&six, is_four ? sizeof(four) : sizeof(six)) != 0) {
		err_sys(err, "listen on %s UDP port %lld", address, (long long)port);
		close(fd);
		return false;
	}
	*ret_fd = fd;
	return true;
}

bool udp_server_start(struct udp_server *server, const char *address, int64_t port, struct err *err) {
	int on = 1;

	server->port = (int)port;
	if (address[0] ? !udp_bind(address, port, &server->fd, err) : !net_listen(SOCK_DGRAM, port, &server->fd, &server->port, err)) {
		return false;
	}
	setsockopt(server->fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
	setsockopt(server->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
	if (!thread_start(udp_run, server, err)) {
		return false;
	}
	log_line("listening on UDP port %d", server->port);
	return true;
}
