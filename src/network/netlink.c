/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netlink.c - see netlink.h. Messages are built in a buffer on the stack, sent with NLM_F_ACK, and the
 * answer is read at once; a dump is handed on part by part.
 */
#include "network/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/vec.h"

enum { MSG_BYTES = 1024, ANSWER_BYTES = 1 << 16 };

struct nl_msg {
	union {
		struct nlmsghdr h;
		char bytes[MSG_BYTES];
	};
};

static void *tail(struct nl_msg *m) {
	return m->bytes + NLMSG_ALIGN(m->h.nlmsg_len);
}

/* Begins a message with a fixed header of `len` zeroed bytes and returns that header. */
static void *begin(struct nl_msg *m, uint16_t type, uint16_t flags, size_t len) {
	memset(m, 0, NLMSG_HDRLEN + NLMSG_ALIGN(len));
	m->h.nlmsg_type = type;
	m->h.nlmsg_flags = NLM_F_REQUEST | flags;
	m->h.nlmsg_len = NLMSG_LENGTH(len);
	return NLMSG_DATA(&m->h);
}

static struct rtattr *put(struct nl_msg *m, uint16_t type, const void *data, size_t len) {
	struct rtattr *a = tail(m);
	assert(NLMSG_ALIGN(m->h.nlmsg_len) + RTA_SPACE(len) <= MSG_BYTES);
	a->rta_type = type;
	a->rta_len = (unsigned short)RTA_LENGTH(len);
	if (len) {
		memcpy(RTA_DATA(a), data, len);
		memset((char *)RTA_DATA(a) + len, 0, RTA_SPACE(len) - RTA_LENGTH(len));
	}
	m->h.nlmsg_len = (uint32_t)(NLMSG_ALIGN(m->h.nlmsg_len) + RTA_SPACE(len));
	return a;
}

static void put_u32(struct nl_msg *m, uint16_t type, uint32_t v) {
	put(m, type, &v, sizeof(v));
}

static void put_u16(struct nl_msg *m, uint16_t type, uint16_t v) {
	put(m, type, &v, sizeof(v));
}

static void put_u8(struct nl_msg *m, uint16_t type, uint8_t v) {
	put(m, type, &v, sizeof(v));
}

static void put_c(struct nl_msg *m, uint16_t type, const char *s) {
	put(m, type, s, strlen(s) + 1);
}

static struct rtattr *nest(struct nl_msg *m, uint16_t type) {
	return put(m, type, NULL, 0);
}

static void nest_end(struct nl_msg *m, struct rtattr *a) {
	a->rta_len = (unsigned short)((char *)tail(m) - (char *)a);
}

static bool open_socket(int protocol, struct nl *ret, struct err *err) {
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	if (fd < 0) {
		return err_sys(err, "open a netlink socket");
	}
	int one = 1, room = 1 << 20;
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	*ret = (struct nl){ .fd = fd, .seq = 1 };
	return true;
}

bool nl_open(struct nl *ret, struct err *err) {
	ret->fd = -1;
	return open_socket(NETLINK_ROUTE, ret, err);
}

bool nl_open_ct(struct nl *ret, struct err *err) {
	ret->fd = -1;
	return open_socket(NETLINK_NETFILTER, ret, err);
}

struct enter {
	int netns_fd;
	struct nl nl;
	bool ok;
	struct err err;
};

static void *enter_run(void *arg) {
	struct enter *e = arg;
	if (setns(e->netns_fd, CLONE_NEWNET) < 0) {
		e->ok = err_sys(&e->err, "enter network namespace");
	} else {
		e->ok = open_socket(NETLINK_ROUTE, &e->nl, &e->err);
	}
	return NULL;
}

bool nl_open_in(const char *netns, struct nl *ret, struct err *err) {
	auto_fd int fd = open(netns, O_RDONLY | O_CLOEXEC);
	ret->fd = -1;
	if (fd < 0) {
		bool missing = errno == ENOENT;
		err_sys(err, "open %s", netns);
		err->code = missing ? ERR_NOT_FOUND : err->code;
		return false;
	}
	struct enter e = { .netns_fd = fd };
	pthread_attr_t attr;
	pthread_t t;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 << 10);
	errno = pthread_create(&t, &attr, enter_run, &e);
	pthread_attr_destroy(&attr);
	if (errno) {
		return err_sys(err, "start a thread");
	}
	pthread_join(t, NULL);
	if (!e.ok) {
		*err = e.err;
		return err_wrap(err, "%s", netns);
	}
	*ret = e.nl;
	return true;
}

void nl_close(struct nl *nl) {
	if (nl->fd > 0) {
		close(nl->fd);
	}
	nl->fd = -1;
}

/* ---- talking ---- */

typedef void (*answer_fn)(void *arg, const struct nlmsghdr *h);

/* Sends and reads to the end of the answer. A failure's errno is left in `*ret_errno` (0: success). */
static bool talk(struct nl *nl, struct nl_msg *m, answer_fn each, void *arg, int *ret_errno, struct err *err) {
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	bool dump = (m->h.nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
	auto_free char *in = xmalloc(ANSWER_BYTES);

	*ret_errno = 0;
	m->h.nlmsg_seq = ++nl->seq;
	m->h.nlmsg_flags |= dump ? 0 : NLM_F_ACK;
	if (sendto(nl->fd, m, m->h.nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0) {
		return err_sys(err, "send to netlink");
	}
	for (;;) {
		ssize_t n = recv(nl->fd, in, ANSWER_BYTES, 0);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			return err_sys(err, "read from netlink");
		}
		int left = (int)n;
		for (struct nlmsghdr *h = (struct nlmsghdr *)in; NLMSG_OK(h, (unsigned)left); h = NLMSG_NEXT(h, left)) {
			if (h->nlmsg_seq != nl->seq) {
				continue;
			}
			if (h->nlmsg_type == NLMSG_DONE) {
				return true;
			}
			if (h->nlmsg_type == NLMSG_ERROR) {
				*ret_errno = -((struct nlmsgerr *)NLMSG_DATA(h))->error;
				return true;
			}
			if (each) {
				each(arg, h);
			}
		}
	}
}

static bool fail(int sys, struct err *err, const char *what, const char *name) {
	errno = sys;
	err_sys(err, "%s%s%s", what, *name ? " " : "", name);
	if (sys == ENODEV || sys == ENOENT || sys == ESRCH || sys == EADDRNOTAVAIL) {
		err->code = ERR_NOT_FOUND;
	} else if (sys == EEXIST) {
		err->code = ERR_ALREADY_EXISTS;
	}
	return false;
}

static bool order(struct nl *nl, struct nl_msg *m, struct err *err, const char *what, const char *name) {
	int sys;
	return talk(nl, m, NULL, NULL, &sys, err) && (sys == 0 || fail(sys, err, what, name));
}

#define ATTRS(a, first, bytes) for (struct rtattr *a = (first), *a##_once_ = a; a##_once_; a##_once_ = NULL) \
	for (int a##_left_ = (int)(bytes); RTA_OK(a, a##_left_); a = RTA_NEXT(a, a##_left_))

static void copy_name(char *to, size_t room, const struct rtattr *a) {
	size_t len = MIN(strnlen(RTA_DATA(a), RTA_PAYLOAD(a)), room - 1);
	memcpy(to, RTA_DATA(a), len);
	to[len] = 0;
}

static uint32_t get_u32(const struct rtattr *a) {
	uint32_t v = 0;
	memcpy(&v, RTA_DATA(a), MIN(sizeof(v), RTA_PAYLOAD(a)));
	return v;
}

static uint16_t get_be16(const struct rtattr *a) {
	uint16_t v = 0;
	memcpy(&v, RTA_DATA(a), MIN(sizeof(v), RTA_PAYLOAD(a)));
	return ntohs(v);
}

static struct in_addr get_addr(const struct rtattr *a) {
	return (struct in_addr){ get_u32(a) };
}

/* ---- links ---- */

static void link_info_read(const struct rtattr *info, struct nl_link *l) {
	ATTRS(a, RTA_DATA(info), RTA_PAYLOAD(info)) {
		if (a->rta_type == IFLA_INFO_KIND) {
			copy_name(l->kind, sizeof(l->kind), a);
		} else if (a->rta_type == IFLA_INFO_DATA && !strcmp(l->kind, "vxlan")) {
			ATTRS(b, RTA_DATA(a), RTA_PAYLOAD(a)) {
				if (b->rta_type == IFLA_VXLAN_ID) {
					l->vxlan_id = get_u32(b);
				} else if (b->rta_type == IFLA_VXLAN_PORT) {
					l->vxlan_port = get_be16(b);
				}
			}
		}
	}
}

struct each_link {
	void (*each)(void *arg, const struct nl_link *l);
	void *arg;
};

static void link_read(void *arg, const struct nlmsghdr *h) {
	struct each_link *e = arg;
	struct ifinfomsg *i = NLMSG_DATA(h);
	struct nl_link l = { .index = i->ifi_index, .flags = i->ifi_flags };
	if (h->nlmsg_type != RTM_NEWLINK) {
		return;
	}
	ATTRS(a, IFLA_RTA(i), IFLA_PAYLOAD(h)) {
		switch (a->rta_type) {
		case IFLA_IFNAME:
			copy_name(l.name, sizeof(l.name), a);
			break;
		case IFLA_MTU:
			l.mtu = (int)get_u32(a);
			break;
		case IFLA_MASTER:
			l.master = (int)get_u32(a);
			break;
		case IFLA_ADDRESS:
			memcpy(l.mac, RTA_DATA(a), MIN(sizeof(l.mac), RTA_PAYLOAD(a)));
			break;
		case IFLA_LINKINFO:
			link_info_read(a, &l);
			break;
		}
	}
	e->each(e->arg, &l);
}

static void link_copy(void *arg, const struct nl_link *l) {
	*(struct nl_link *)arg = *l;
}

bool nl_link_get(struct nl *nl, const char *name, struct nl_link *ret, struct err *err) {
	struct nl_msg m;
	struct nl_link l = { 0 };
	struct each_link e = { link_copy, &l };
	int sys;
	if (strlen(name) >= IFNAMSIZ) {
		return err_set(err, ERR_INVALID, "link name %s is too long", name);
	}
	begin(&m, RTM_GETLINK, 0, sizeof(struct ifinfomsg));
	put_c(&m, IFLA_IFNAME, name);
	if (!talk(nl, &m, link_read, &e, &sys, err)) {
		return false;
	}
	if (sys || !l.index) {
		return fail(sys ? sys : ENODEV, err, "look up link", name);
	}
	*ret = l;
	return true;
}

bool nl_link_each(struct nl *nl, void (*each)(void *arg, const struct nl_link *l), void *arg, struct err *err) {
	struct nl_msg m;
	struct each_link e = { each, arg };
	int sys;
	begin(&m, RTM_GETLINK, NLM_F_DUMP, sizeof(struct ifinfomsg));
	return talk(nl, &m, link_read, &e, &sys, err) && (sys == 0 || fail(sys, err, "list links", ""));
}

bool nl_link_up(struct nl *nl, int index, struct err *err) {
	struct nl_msg m;
	struct ifinfomsg *i = begin(&m, RTM_NEWLINK, 0, sizeof(*i));
	i->ifi_index = index;
	i->ifi_flags = i->ifi_change = IFF_UP;
	return order(nl, &m, err, "set link up", "");
}

bool nl_link_del(struct nl *nl, int index, struct err *err) {
	struct nl_msg m;
	struct ifinfomsg *i = begin(&m, RTM_DELLINK, 0, sizeof(*i));
	i->ifi_index = index;
	return order(nl, &m, err, "delete link", "");
}

bool nl_bridge_add(struct nl *nl, const char *name, const uint8_t mac[6], int mtu, struct err *err) {
	struct nl_msg m;
	begin(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
	put_c(&m, IFLA_IFNAME, name);
	put(&m, IFLA_ADDRESS, mac, 6);
	put_u32(&m, IFLA_MTU, (uint32_t)mtu);
	struct rtattr *info = nest(&m, IFLA_LINKINFO);
	put_c(&m, IFLA_INFO_KIND, "bridge");
	nest_end(&m, info);
	return order(nl, &m, err, "add bridge", name);
}

bool nl_veth_add(struct nl *nl, const char *host, int master, const char *name, int netns_fd, const uint8_t peer_mac[6], int mtu, struct err *err) {
	struct nl_msg m;
	begin(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
	put_c(&m, IFLA_IFNAME, host);
	put_u32(&m, IFLA_MTU, (uint32_t)mtu);
	put_u32(&m, IFLA_MASTER, (uint32_t)master);
	struct rtattr *info = nest(&m, IFLA_LINKINFO);
	put_c(&m, IFLA_INFO_KIND, "veth");
	struct rtattr *data = nest(&m, IFLA_INFO_DATA);
	struct rtattr *peer = nest(&m, VETH_INFO_PEER);
	struct ifinfomsg none = { 0 }; /* IFF_UP here would be ENOTCONN: the peer is not there yet */
	memcpy(tail(&m), &none, sizeof(none));
	m.h.nlmsg_len += sizeof(none);
	put_c(&m, IFLA_IFNAME, name);
	put(&m, IFLA_ADDRESS, peer_mac, 6);
	put_u32(&m, IFLA_MTU, (uint32_t)mtu);
	put_u32(&m, IFLA_NET_NS_FD, (uint32_t)netns_fd);
	nest_end(&m, peer);
	nest_end(&m, data);
	nest_end(&m, info);
	return order(nl, &m, err, "add veth", host);
}

bool nl_port_up(struct nl *nl, int index, bool hairpin, struct err *err) {
	struct nl_msg m;
	struct ifinfomsg *i = begin(&m, RTM_NEWLINK, 0, sizeof(*i));
	i->ifi_index = index;
	i->ifi_flags = i->ifi_change = IFF_UP;
	struct rtattr *info = nest(&m, IFLA_LINKINFO);
	put_c(&m, IFLA_INFO_SLAVE_KIND, "bridge");
	struct rtattr *data = nest(&m, IFLA_INFO_SLAVE_DATA);
	put_u8(&m, IFLA_BRPORT_MODE, hairpin);
	nest_end(&m, data);
	nest_end(&m, info);
	return order(nl, &m, err, "set bridge port up", "");
}

bool nl_vxlan_add(struct nl *nl, const struct nl_vxlan *v, struct err *err) {
	struct nl_msg m;
	begin(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
	put_c(&m, IFLA_IFNAME, v->name);
	put(&m, IFLA_ADDRESS, v->mac, 6);
	if (v->mtu) {
		put_u32(&m, IFLA_MTU, (uint32_t)v->mtu);
	}
	struct rtattr *info = nest(&m, IFLA_LINKINFO);
	put_c(&m, IFLA_INFO_KIND, "vxlan");
	struct rtattr *data = nest(&m, IFLA_INFO_DATA);
	put_u32(&m, IFLA_VXLAN_ID, v->id);
	put_u16(&m, IFLA_VXLAN_PORT, htons(v->port));
	put_u8(&m, IFLA_VXLAN_LEARNING, 0);
	if (v->link) {
		put_u32(&m, IFLA_VXLAN_LINK, (uint32_t)v->link);
	}
	if (v->local.s_addr) {
		put(&m, IFLA_VXLAN_LOCAL, &v->local, 4);
	}
	nest_end(&m, data);
	nest_end(&m, info);
	return order(nl, &m, err, "add vxlan", v->name);
}

/* ---- addresses ---- */

static void addr_begin(struct nl_msg *m, uint16_t type, uint16_t flags, int index, struct in_addr addr, int prefix) {
	struct ifaddrmsg *i = begin(m, type, flags, sizeof(*i));
	i->ifa_family = AF_INET;
	i->ifa_prefixlen = (uint8_t)prefix;
	i->ifa_index = (uint32_t)index;
	i->ifa_scope = RT_SCOPE_UNIVERSE;
	put(m, IFA_LOCAL, &addr, 4);
	put(m, IFA_ADDRESS, &addr, 4);
}

bool nl_addr_add(struct nl *nl, int index, struct in_addr addr, int prefix, struct err *err) {
	struct nl_msg m;
	addr_begin(&m, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, index, addr, prefix);
	return order(nl, &m, err, "add address", "");
}

bool nl_addr_del(struct nl *nl, int index, struct in_addr addr, int prefix, struct err *err) {
	struct nl_msg m;
	addr_begin(&m, RTM_DELADDR, 0, index, addr, prefix);
	return order(nl, &m, err, "delete address", "");
}

struct each_addr {
	void (*each)(void *arg, const struct nl_addr *a);
	void *arg;
};

static void addr_read(void *arg, const struct nlmsghdr *h) {
	struct each_addr *e = arg;
	struct ifaddrmsg *i = NLMSG_DATA(h);
	struct nl_addr out = { .index = (int)i->ifa_index, .prefix = i->ifa_prefixlen, .scope = i->ifa_scope };
	if (h->nlmsg_type != RTM_NEWADDR || i->ifa_family != AF_INET) {
		return;
	}
	ATTRS(a, IFA_RTA(i), IFA_PAYLOAD(h)) {
		if (a->rta_type == IFA_LOCAL || (a->rta_type == IFA_ADDRESS && !out.addr.s_addr)) {
			out.addr = get_addr(a);
		}
	}
	e->each(e->arg, &out);
}

bool nl_addr_each(struct nl *nl, void (*each)(void *arg, const struct nl_addr *a), void *arg, struct err *err) {
	struct nl_msg m;
	struct each_addr e = { each, arg };
	int sys;
	struct ifaddrmsg *i = begin(&m, RTM_GETADDR, NLM_F_DUMP, sizeof(*i));
	i->ifa_family = AF_INET;
	return talk(nl, &m, addr_read, &e, &sys, err) && (sys == 0 || fail(sys, err, "list addresses", ""));
}

/* ---- routes ---- */

static void route_begin(struct nl_msg *m, uint16_t type, uint16_t flags, const struct nl_route *r) {
	struct rtmsg *t = begin(m, type, flags, sizeof(*t));
	t->rtm_family = AF_INET;
	t->rtm_dst_len = (uint8_t)r->prefix;
	t->rtm_table = RT_TABLE_MAIN;
	t->rtm_protocol = r->proto ? r->proto : RTPROT_BOOT;
	t->rtm_scope = r->link_scope ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	t->rtm_type = RTN_UNICAST;
	t->rtm_flags = r->onlink ? RTNH_F_ONLINK : 0;
	if (type == RTM_DELROUTE) {
		t->rtm_scope = RT_SCOPE_NOWHERE;
	}
	if (r->prefix) {
		put(m, RTA_DST, &r->dst, 4);
	}
	if (r->via.s_addr) {
		put(m, RTA_GATEWAY, &r->via, 4);
	}
	if (r->src.s_addr) {
		put(m, RTA_PREFSRC, &r->src, 4);
	}
	if (r->index) {
		put_u32(m, RTA_OIF, (uint32_t)r->index);
	}
}

bool nl_route_replace(struct nl *nl, const struct nl_route *r, struct err *err) {
	struct nl_msg m;
	route_begin(&m, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, r);
	return order(nl, &m, err, "set route to", inet_ntoa(r->dst));
}

bool nl_route_del(struct nl *nl, const struct nl_route *r, struct err *err) {
	struct nl_msg m;
	int sys;
	route_begin(&m, RTM_DELROUTE, 0, r);
	return talk(nl, &m, NULL, NULL, &sys, err) && (sys == 0 || sys == ESRCH || fail(sys, err, "delete route to", inet_ntoa(r->dst)));
}

struct each_route {
	void (*each)(void *arg, const struct nl_route *r);
	void *arg;
};

static void route_read(void *arg, const struct nlmsghdr *h) {
	struct each_route *e = arg;
	struct rtmsg *t = NLMSG_DATA(h);
	struct nl_route r = { .prefix = t->rtm_dst_len, .proto = t->rtm_protocol, .onlink = t->rtm_flags & RTNH_F_ONLINK,
		.link_scope = t->rtm_scope == RT_SCOPE_LINK };
	if (h->nlmsg_type != RTM_NEWROUTE || t->rtm_family != AF_INET || t->rtm_table != RT_TABLE_MAIN || t->rtm_type != RTN_UNICAST ||
		(t->rtm_flags & RTM_F_CLONED)) {
		return;
	}
	ATTRS(a, RTM_RTA(t), RTM_PAYLOAD(h)) {
		switch (a->rta_type) {
		case RTA_DST:
			r.dst = get_addr(a);
			break;
		case RTA_GATEWAY:
			r.via = get_addr(a);
			break;
		case RTA_PREFSRC:
			r.src = get_addr(a);
			break;
		case RTA_OIF:
			r.index = (int)get_u32(a);
			break;
		}
	}
	e->each(e->arg, &r);
}

bool nl_route_each(struct nl *nl, void (*each)(void *arg, const struct nl_route *r), void *arg, struct err *err) {
	struct nl_msg m;
	struct each_route e = { each, arg };
	int sys;
	struct rtmsg *t = begin(&m, RTM_GETROUTE, NLM_F_DUMP, sizeof(*t));
	t->rtm_family = AF_INET;
	return talk(nl, &m, route_read, &e, &sys, err) && (sys == 0 || fail(sys, err, "list routes", ""));
}

/* ---- neighbours ---- */

static bool neigh_order(struct nl *nl, bool set, bool fdb, int index, struct in_addr addr, const uint8_t *mac, struct err *err) {
	struct nl_msg m;
	struct ndmsg *n = begin(&m, set ? RTM_NEWNEIGH : RTM_DELNEIGH, set ? NLM_F_CREATE | NLM_F_REPLACE : 0, sizeof(*n));
	n->ndm_family = fdb ? AF_BRIDGE : AF_INET;
	n->ndm_ifindex = index;
	n->ndm_state = fdb ? NUD_NOARP | NUD_PERMANENT : NUD_PERMANENT;
	n->ndm_flags = fdb ? NTF_SELF : 0;
	put(&m, NDA_DST, &addr, 4);
	if (mac) {
		put(&m, NDA_LLADDR, mac, 6);
	}
	return order(nl, &m, err, fdb ? "change forwarding entry of" : "change neighbour", inet_ntoa(addr));
}

bool nl_neigh_set(struct nl *nl, int index, struct in_addr addr, const uint8_t mac[6], struct err *err) {
	return neigh_order(nl, true, false, index, addr, mac, err);
}

bool nl_neigh_del(struct nl *nl, int index, struct in_addr addr, struct err *err) {
	return neigh_order(nl, false, false, index, addr, NULL, err) || (err->code == ERR_NOT_FOUND && (err_clear(err), true));
}

bool nl_fdb_set(struct nl *nl, int index, const uint8_t mac[6], struct in_addr dst, struct err *err) {
	return neigh_order(nl, true, true, index, dst, mac, err);
}

bool nl_fdb_del(struct nl *nl, int index, const uint8_t mac[6], struct in_addr dst, struct err *err) {
	return neigh_order(nl, false, true, index, dst, mac, err) || (err->code == ERR_NOT_FOUND && (err_clear(err), true));
}

struct each_neigh {
	void (*each)(void *arg, const struct nl_neigh *n);
	void *arg;
	bool fdb;
	int index;
};

static void neigh_read(void *arg, const struct nlmsghdr *h) {
	struct each_neigh *e = arg;
	struct ndmsg *m = NLMSG_DATA(h);
	struct nl_neigh n = { .index = m->ndm_ifindex, .fdb = e->fdb };
	if (h->nlmsg_type != RTM_NEWNEIGH || m->ndm_ifindex != e->index || m->ndm_family != (e->fdb ? AF_BRIDGE : AF_INET) ||
		!(m->ndm_state & NUD_PERMANENT)) {
		return;
	}
	ATTRS(a, (struct rtattr *)((char *)m + NLMSG_ALIGN(sizeof(*m))), NLMSG_PAYLOAD(h, sizeof(*m))) {
		if (a->rta_type == NDA_DST) {
			n.addr = get_addr(a);
		} else if (a->rta_type == NDA_LLADDR) {
			memcpy(n.mac, RTA_DATA(a), MIN(sizeof(n.mac), RTA_PAYLOAD(a)));
		}
	}
	e->each(e->arg, &n);
}

bool nl_neigh_each(struct nl *nl, bool fdb, int index, void (*each)(void *arg, const struct nl_neigh *n), void *arg, struct err *err) {
	struct nl_msg m;
	struct each_neigh e = { each, arg, fdb, index };
	int sys;
	struct ndmsg *n = begin(&m, RTM_GETNEIGH, NLM_F_DUMP, sizeof(*n));
	n->ndm_family = fdb ? AF_BRIDGE : AF_INET;
	n->ndm_ifindex = fdb ? index : 0;
	if (!fdb) {
		put_u32(&m, NDA_IFINDEX, (uint32_t)index);
	}
	return talk(nl, &m, neigh_read, &e, &sys, err) && (sys == 0 || fail(sys, err, "list neighbours", ""));
}

bool nl_table_exists(struct nl *nl, const char *name, bool *ret, struct err *err) {
	struct nl_msg m;
	int sys;
	struct nfgenmsg *g = begin(&m, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, 0, sizeof(*g));
	g->nfgen_family = AF_INET;
	put_c(&m, NFTA_TABLE_NAME, name);
	if (!talk(nl, &m, NULL, NULL, &sys, err)) {
		return false;
	}
	if (sys && sys != ENOENT) {
		return fail(sys, err, "look up table", name);
	}
	*ret = sys == 0;
	return true;
}

/* ---- connection tracking ---- */

struct ct_scan {
	bool (*gone)(void *arg, const struct nl_flow *f);
	void *arg;
	uint8_t proto;
	VEC(struct nl_flow) found;
};

static void tuple_read(const struct rtattr *tuple, struct in_addr *src, struct in_addr *dst, uint16_t *sport, uint16_t *dport, uint8_t *proto) {
	ATTRS(a, RTA_DATA(tuple), RTA_PAYLOAD(tuple)) {
		ATTRS(b, RTA_DATA(a), RTA_PAYLOAD(a)) {
			int type = b->rta_type & NLA_TYPE_MASK;
			if ((a->rta_type & NLA_TYPE_MASK) == CTA_TUPLE_IP) {
				if (type == CTA_IP_V4_SRC) {
					*src = get_addr(b);
				} else if (type == CTA_IP_V4_DST) {
					*dst = get_addr(b);
				}
			} else if ((a->rta_type & NLA_TYPE_MASK) == CTA_TUPLE_PROTO) {
				if (type == CTA_PROTO_NUM) {
					*proto = *(uint8_t *)RTA_DATA(b);
				} else if (type == CTA_PROTO_SRC_PORT) {
					*sport = get_be16(b);
				} else if (type == CTA_PROTO_DST_PORT) {
					*dport = get_be16(b);
				}
			}
		}
	}
}

static void flow_read(void *arg, const struct nlmsghdr *h) {
	struct ct_scan *s = arg;
	struct nfgenmsg *g = NLMSG_DATA(h);
	struct nl_flow f = { 0 };
	uint8_t reply_proto = 0;
	if (h->nlmsg_type != (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW) || g->nfgen_family != AF_INET) {
		return;
	}
	ATTRS(a, (struct rtattr *)((char *)g + NLMSG_ALIGN(sizeof(*g))), NLMSG_PAYLOAD(h, sizeof(*g))) {
		int type = a->rta_type & NLA_TYPE_MASK;
		if (type == CTA_TUPLE_ORIG) {
			tuple_read(a, &f.src, &f.dst, &f.sport, &f.dport, &f.proto);
		} else if (type == CTA_TUPLE_REPLY) {
			tuple_read(a, &f.reply_src, &f.reply_dst, &f.reply_sport, &f.reply_dport, &reply_proto);
		}
	}
	if (f.proto == s->proto && s->gone(s->arg, &f)) {
		VEC_PUSH(&s->found, f);
	}
}

bool nl_ct_delete(struct nl *nl, uint8_t proto, bool (*gone)(void *arg, const struct nl_flow *f), void *arg, size_t *ret_n, struct err *err) {
	struct nl_msg m;
	struct ct_scan s = { .gone = gone, .arg = arg, .proto = proto };
	int sys;
	size_t n = 0;

	struct nfgenmsg *g = begin(&m, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, NLM_F_DUMP, sizeof(*g));
	g->nfgen_family = AF_INET;
	bool ok = talk(nl, &m, flow_read, &s, &sys, err) && (sys == 0 || fail(sys, err, "list connections", ""));
	VEC_EACH(&s.found, f) {
		g = begin(&m, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, 0, sizeof(*g));
		g->nfgen_family = AF_INET;
		struct rtattr *tuple = nest(&m, CTA_TUPLE_ORIG | NLA_F_NESTED);
		struct rtattr *ip = nest(&m, CTA_TUPLE_IP | NLA_F_NESTED);
		put(&m, CTA_IP_V4_SRC, &f->src, 4);
		put(&m, CTA_IP_V4_DST, &f->dst, 4);
		nest_end(&m, ip);
		struct rtattr *ports = nest(&m, CTA_TUPLE_PROTO | NLA_F_NESTED);
		put_u8(&m, CTA_PROTO_NUM, f->proto);
		put_u16(&m, CTA_PROTO_SRC_PORT, htons(f->sport));
		put_u16(&m, CTA_PROTO_DST_PORT, htons(f->dport));
		nest_end(&m, ports);
		nest_end(&m, tuple);
		ok = ok && talk(nl, &m, NULL, NULL, &sys, err);
		n += ok && sys == 0;
	}
	VEC_RELEASE(&s.found);
	if (ok) {
		*ret_n = n;
	}
	return ok;
}
