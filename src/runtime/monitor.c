/* SPDX-License-Identifier: Apache-2.0 */
/*
 * monitor.c - sees containers and sandboxes end. One thread per open runtime.
 *
 * A container's end is the file that conmon renames into <state>/exits (inotify). When conmon itself goes
 * without leaving one (killed), its pidfd says so. A sandbox's end is its holder's pidfd. The callback
 * runs on this thread; those who wait for an end sleep on a condition variable under cri.lock.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "runtime/runtime.h"

/* One watched process. Made by any thread, freed by the monitor's. */
struct watch {
	struct list link; /* in monitor.watches; locked */
	int fd;           /* pidfd */
	pid_t pid;
	bool is_sandbox, is_child;
	char id[RUNTIME_ID_LEN + 1];
};

struct monitor {
	struct cri *c;
	pthread_t thread;
	int epoll, inotify, stop;
	struct list watches;  /* locked by cri.lock */
	pthread_cond_t ended; /* with cri.lock */
};

static void watch_free(struct monitor *m, struct watch *w) {
	epoll_ctl(m->epoll, EPOLL_CTL_DEL, w->fd, NULL);
	pthread_mutex_lock(&m->c->lock);
	list_remove(&w->link);
	pthread_mutex_unlock(&m->c->lock);
	close(w->fd);
	free(w);
}

static void exit_seen(struct cri *c, struct str id, bool monitor_gone) {
	struct container *k = container_get(c, id);
	if (k) {
		(void)container_check_exit(c, k, monitor_gone);
		container_put(c, k);
	}
}

static void watch_fire(struct monitor *m, struct watch *w) {
	struct cri *c = m->c;
	if (!w->is_sandbox) {
		exit_seen(c, str_c(w->id), true);
		return;
	}
	if (w->is_child) {
		waitpid(w->pid, NULL, WNOHANG);
	}
	struct sandbox *s = sandbox_get(c, str_c(w->id));
	if (s && c->on_exit) {
		c->on_exit(c->arg, str_c(w->id), true);
	}
	sandbox_put(c, s);
	monitor_wake(c);
}

static void exits_read(struct monitor *m) {
	_Alignas(struct inotify_event) char chunk[16384];
	ssize_t n = read(m->inotify, chunk, sizeof(chunk));
	for (ssize_t at = 0; at < n;) {
		const struct inotify_event *e = (const void *)(chunk + at);
		at += (ssize_t)sizeof(*e) + e->len;
		if (e->mask & IN_Q_OVERFLOW) {
			auto_arena struct arena a = { 0 };
			size_t len;
			struct container **all = containers_of(m->c, &a, S(""), &len);
			for (size_t i = 0; i < len; i++) {
				(void)container_check_exit(m->c, all[i], false);
				container_put(m->c, all[i]);
			}
		} else if (e->len) {
			struct str name = str_c(e->name);
			if (name.len == RUNTIME_ID_LEN) { /* not conmon's temporary names */
				exit_seen(m->c, name, false);
			}
		}
	}
}

static void *monitor_main(void *arg) {
	struct monitor *m = arg;
	pthread_setname_np(pthread_self(), "cri-monitor");
	for (;;) {
		struct epoll_event events[32];
		int n = epoll_wait(m->epoll, events, ARRAY_LEN(events), -1);
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == &m->stop) {
				return NULL;
			}
			if (events[i].data.ptr == &m->inotify) {
				exits_read(m);
			} else {
				watch_fire(m, events[i].data.ptr);
				watch_free(m, events[i].data.ptr);
			}
		}
	}
}

static bool epoll_add(struct monitor *m, int fd, void *ptr, struct err *err) {
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = ptr };
	return epoll_ctl(m->epoll, EPOLL_CTL_ADD, fd, &e) == 0 || err_sys(err, "watch a descriptor");
}

/*
 * Instances of inotify are few (128 a user by default, and every conmon may take one). Without one, an end is told a moment
 * later: by conmon's own.
 */
static void exits_watch(struct monitor *m, const char *exits) {
	struct err err = { 0 };
	m->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	bool ok = (m->inotify >= 0 && inotify_add_watch(m->inotify, exits, IN_MOVED_TO | IN_CLOSE_WRITE) >= 0) || err_sys(&err, "watch %s", exits);
	if (!ok || !epoll_add(m, m->inotify, &m->inotify, &err)) {
		log_warn("runtime", "exit files are not watched; raise fs.inotify.max_user_instances", kv_err(&err));
		close_fd_p(&m->inotify);
		m->inotify = -1;
	}
}

static void monitor_free(struct monitor *m) {
	LIST_EACH(&m->watches, l) {
		struct watch *w = container_of(l, struct watch, link);
		close(w->fd);
		list_remove(l);
		free(w);
	}
	close_fd_p(&m->inotify);
	close_fd_p(&m->stop);
	close_fd_p(&m->epoll);
	pthread_cond_destroy(&m->ended);
	free(m);
}

bool monitor_start(struct cri *c, struct err *err) {
	struct monitor *m = xcalloc(1, sizeof(*m));
	struct path exits = path_fmt("%s/exits", c->state_dir);
	pthread_condattr_t attr;

	m->c = c;
	list_init(&m->watches);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&m->ended, &attr);
	pthread_condattr_destroy(&attr);
	m->epoll = epoll_create1(EPOLL_CLOEXEC);
	m->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	bool ok = (m->epoll >= 0 && m->stop >= 0) || err_sys(err, "make an epoll set");
	ok = ok && epoll_add(m, m->stop, &m->stop, err);
	if (ok) {
		exits_watch(m, exits.c);
	}
	if (ok) {
		errno = pthread_create(&m->thread, NULL, monitor_main, m);
		ok = errno == 0 || err_sys(err, "start a thread");
	}
	if (!ok) {
		monitor_free(m);
		return false;
	}
	c->monitor = m;
	return true;
}

void monitor_stop(struct cri *c) {
	struct monitor *m = TAKE(c->monitor);
	if (m) {
		uint64_t one = 1;
		(void)!write(m->stop, &one, sizeof(one));
		pthread_join(m->thread, NULL);
		monitor_free(m);
	}
}

static void watch_add(struct cri *c, const char *id, pid_t pid, bool is_sandbox, bool is_child) {
	struct monitor *m = c->monitor;
	struct watch *w = xcalloc(1, sizeof(*w));
	struct err ignored = { 0 };

	*w = (struct watch){ .fd = pid > 0 ? pidfd_of(pid) : -1, .pid = pid, .is_sandbox = is_sandbox, .is_child = is_child };
	snprintf(w->id, sizeof(w->id), "%s", id);
	if (w->fd < 0) {
		/* Gone already. A container's exit file was written before its monitor went. */
		if (!is_sandbox) {
			exit_seen(c, str_c(id), true);
		}
		free(w);
		return;
	}
	pthread_mutex_lock(&c->lock);
	list_push(&m->watches, &w->link);
	pthread_mutex_unlock(&c->lock);
	if (!epoll_add(m, w->fd, w, &ignored)) {
		watch_free(m, w);
	}
}

void monitor_watch_holder(struct cri *c, const char *sandbox_id, pid_t pid, bool is_child) {
	watch_add(c, sandbox_id, pid, true, is_child);
}

void monitor_watch_conmon(struct cri *c, const char *container_id, pid_t pid) {
	watch_add(c, container_id, pid, false, false);
}

void monitor_wake(struct cri *c) {
	if (c->monitor) {
		pthread_mutex_lock(&c->lock);
		pthread_cond_broadcast(&c->monitor->ended);
		pthread_mutex_unlock(&c->lock);
	}
}

bool monitor_wait_exit(struct cri *c, struct container *k, nsec_t until_mono) {
	for (;;) {
		nsec_t now = clock_mono(), slice = MIN(until_mono, now + NSEC_PER_SEC);
		struct timespec t = { .tv_sec = slice / NSEC_PER_SEC, .tv_nsec = slice % NSEC_PER_SEC };
		pthread_mutex_lock(&c->lock);
		while (k->state == CRI_CONTAINER_RUNNING && pthread_cond_timedwait(&c->monitor->ended, &c->lock, &t) == 0) {
		}
		bool running = k->state == CRI_CONTAINER_RUNNING;
		pthread_mutex_unlock(&c->lock);
		if (!running || container_check_exit(c, k, false)) {
			return true;
		}
		if (clock_mono() >= until_mono) {
			return false;
		}
	}
}
