/* SPDX-License-Identifier: Apache-2.0 */
/* client_link.c - the client's connections: dialled, lent, kept while idle; see client_int.h. */
#include "net/client_int.h"

#include <errno.h>
#include <sys/socket.h>

#define IDLE_TOTAL_MAX 256

void client_link_free(struct client_link *k) {
	if (k) {
		sock_release(&k->sock);
		buf_release(&k->in);
		free(k->origin);
		free(k);
	}
}

/* An idle connection is alive when nothing can be read from it: neither an end nor bytes nobody asked for. */
static bool is_alive(struct client_link *k) {
	char c;
	ssize_t n = recv(k->sock.fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);
	return n < 0 && errno == EAGAIN;
}

struct client_link *client_link_reuse(struct http_client *c, const char *origin) {
	struct client_link *found = NULL;
	nsec_t now = clock_mono();
	pthread_mutex_lock(&c->lock);
	for (size_t i = c->idle.len; i-- > 0;) {
		struct client_link *k = c->idle.at[i];
		bool old = now - k->idle_since > c->idle_timeout;
		if (!old && (found || strcmp(k->origin, origin) != 0)) {
			continue;
		}
		VEC_REMOVE(&c->idle, i);
		if (!old && is_alive(k)) {
			found = k;
			found->reused = true;
		} else {
			client_link_free(k);
		}
	}
	pthread_mutex_unlock(&c->lock);
	return found;
}

void client_link_keep(struct http_client *c, struct client_link *k) {
	size_t same = 0;
	buf_release(&k->in);
	k->idle_since = clock_mono();
	pthread_mutex_lock(&c->lock);
	VEC_EACH(&c->idle, it) {
		same += strcmp((*it)->origin, k->origin) == 0;
	}
	bool keep = same < c->idle_max && c->idle.len < IDLE_TOTAL_MAX;
	if (keep) {
		VEC_PUSH(&c->idle, k);
	}
	pthread_mutex_unlock(&c->lock);
	if (!keep) {
		client_link_free(k);
	}
}

bool client_link_dial(struct http_client *c, const struct url *u, const char *origin, bool upgrade, nsec_t deadline, struct client_link **ret, struct err *err) {
	nsec_t end = clock_mono() + c->connect_timeout;
	bool unix_socket = str_eq(u->scheme, S("unix")), v6 = str_index(u->host, ':') >= 0;
	bool https = str_case_eq(u->scheme, S("https")) || str_case_eq(u->scheme, S("wss"));
	auto_free char *address = unix_socket ? xasprintf("unix:%.*s", STR_ARG(u->host))
					      : xasprintf(v6 ? "[%.*s]:%d" : "%.*s:%d", STR_ARG(u->host), u->port);
	int fd;
	end = deadline ? MIN(end, deadline) : end;
	if (!net_dial_fd(str_c(address), MAX(end - clock_mono(), (nsec_t)1), &fd, err)) {
		return false;
	}
	struct client_link *k = xcalloc(1, sizeof(*k));
	k->origin = xstrdup(origin);
	k->in.max = HEAD_BYTES_MAX + READ_BYTES;
	sock_init(&k->sock, fd, https ? tls_client_ssl(c->tls, u->host, upgrade) : NULL);
	if (https && !sock_wait_handshake(&k->sock, end, err)) {
		err_wrap(err, "%s", origin);
		if (err->code == ERR_CLOSED || err->code == ERR_IO) {
			err->code = ERR_UNAVAILABLE;
		}
		client_link_free(k);
		return false;
	}
	*ret = k;
	return true;
}
