/* SPDX-License-Identifier: Apache-2.0 */
/* listen.c - listening sockets on loops; see conn.h. On the owner's loop. */
#include "net/conn.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

struct net_listener {
	struct loop *loop;
	int fd;
	struct loop_fd *watch;
	struct loop_timer again; /* after running out of fds */
	void (*on_accept)(void *arg, struct net_conn *c);
	void *arg;
	bool in_accept, freed;
	char address[160];
};

static void accept_again(struct loop_timer *t) {
	struct net_listener *n = container_of(t, struct net_listener, again);
	loop_fd_change(n->watch, LOOP_READ);
}

static void accept_ready(void *arg, int events) {
	struct net_listener *n = arg;
	n->in_accept = true;
	for (int i = 0; i < 64 && !n->freed; i++) {
		int fd = accept4(n->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE) {
				log_warn("net", "out of file descriptors, not accepting for a moment", kv_c("address", n->address));
				loop_fd_change(n->watch, 0);
				loop_timer_start(n->loop, &n->again, 100 * NSEC_PER_MSEC, accept_again);
			}
			break;
		}
		n->on_accept(n->arg, net_conn_from_fd(n->loop, fd));
	}
	n->in_accept = false;
	if (n->freed) {
		free(n);
	}
}

bool net_listen(struct loop *l, struct str address, void (*on_accept)(void *arg, struct net_conn *c), void *arg, struct net_listener **ret, struct err *err) {
	int fd;
	if (!net_listen_fd(address, &fd, err)) {
		return false;
	}
	struct net_listener *n = xcalloc(1, sizeof(*n));
	*n = (struct net_listener){ .loop = l, .fd = fd, .on_accept = on_accept, .arg = arg };
	net_fd_address(fd, false, n->address, sizeof(n->address));
	n->watch = loop_fd_watch(l, fd, LOOP_READ, accept_ready, n);
	*ret = n;
	return true;
}

struct str net_listener_address(struct net_listener *n) {
	return str_c(n->address);
}

void net_listener_free(struct net_listener *n) {
	if (!n) {
		return;
	}
	loop_timer_stop(&n->again);
	loop_fd_free(n->watch);
	close(n->fd);
	if (str_starts(str_c(n->address), S("unix:/"))) {
		unlink(n->address + 5);
	}
	n->freed = true;
	if (!n->in_accept) {
		free(n);
	}
}
