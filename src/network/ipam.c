/* SPDX-License-Identifier: Apache-2.0 */
/* ipam.c - see ipam.h. O_EXCL decides who gets an address; the file `.last` only says where to look first. */
#include "network/ipam.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"

enum { OWNER_BYTES_MAX = 512 };

bool ip_range_parse(struct str cidr, struct ip_range *ret, struct err *err) {
	struct str addr, bits;
	char text[32];
	struct in_addr a;
	int prefix;
	if (!str_cut(cidr, '/', &addr, &bits) || addr.len >= sizeof(text) || !str_to_int(bits, 0, 32, &prefix)) {
		return err_set(err, ERR_INVALID, "\"%.*s\" is no IPv4 range like 10.244.0.0/16", STR_ARG(cidr));
	}
	snprintf(text, sizeof(text), "%.*s", STR_ARG(addr));
	if (inet_pton(AF_INET, text, &a) != 1) {
		return err_set(err, ERR_INVALID, "\"%.*s\" is no IPv4 range like 10.244.0.0/16", STR_ARG(cidr));
	}
	uint32_t mask = prefix ? UINT32_MAX << (32 - prefix) : 0;
	if (ntohl(a.s_addr) & ~mask) {
		return err_set(err, ERR_INVALID, "range %.*s has host bits", STR_ARG(cidr));
	}
	*ret = (struct ip_range){ ntohl(a.s_addr), prefix };
	return true;
}

bool ip_range_has(const struct ip_range *r, struct in_addr a) {
	uint32_t mask = r->prefix ? UINT32_MAX << (32 - r->prefix) : 0;
	return (ntohl(a.s_addr) & mask) == r->base;
}

struct in_addr ip_range_nth(const struct ip_range *r, uint32_t n) {
	return (struct in_addr){ htonl(r->base + n) };
}

uint32_t ip_range_size(const struct ip_range *r) {
	return r->prefix ? 1u << (32 - r->prefix) : UINT32_MAX;
}

struct in_addr ip_range_gateway(const struct ip_range *r) {
	return ip_range_nth(r, 1);
}

const char *ip_text(struct in_addr a, char out[IP_TEXT_MAX]) {
	return inet_ntop(AF_INET, &a, out, IP_TEXT_MAX);
}

static uint32_t last_read(const char *path, const struct ip_range *r) {
	char text[32] = "";
	struct in_addr a;
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;
	if (n <= 0 || inet_pton(AF_INET, text, &a) != 1 || !ip_range_has(r, a)) {
		return 1;
	}
	return ntohl(a.s_addr) - r->base;
}

static void last_write(const char *path, const char *text) {
	auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd >= 0 && write(fd, text, strlen(text)) < 0) {
		unlink(path); /* only a hint */
	}
}

bool ipam_reserve(const char *dir, const struct ip_range *r, struct str owner, struct in_addr *ret, struct err *err) {
	auto_free char *last = xasprintf("%s/.last", dir);
	uint32_t size = ip_range_size(r);
	if (r->prefix > 30 || owner.len > OWNER_BYTES_MAX) {
		return err_set(err, ERR_INVALID, "a range of /%d has no room for pods", r->prefix);
	}
	/* Never the network, the gateway, the broadcast: 2 ... size - 2. */
	uint32_t room = size - 3, start = last_read(last, r);
	for (uint32_t i = 0; i < room; i++) {
		uint32_t n = 2 + (start - 1 + i) % room;
		char text[IP_TEXT_MAX];
		struct in_addr a = ip_range_nth(r, n);
		auto_free char *path = xasprintf("%s/%s", dir, ip_text(a, text));
		auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		if (fd < 0 && errno == EEXIST) {
			continue;
		}
		if (fd < 0) {
			return err_sys(err, "reserve %s", path);
		}
		if (write(fd, owner.ptr, owner.len) != (ssize_t)owner.len) {
			err_sys(err, "write %s", path);
			unlink(path);
			return false;
		}
		last_write(last, text);
		*ret = a;
		return true;
	}
	return err_set(err, ERR_TOO_LARGE, "all %u addresses of the node's range are in use", room);
}

static bool owner_read(const char *dir, const char *name, char out[OWNER_BYTES_MAX + 1], struct str *ret) {
	auto_free char *path = xasprintf("%s/%s", dir, name);
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, out, OWNER_BYTES_MAX) : -1;
	if (n < 0) {
		return false;
	}
	out[n] = 0;
	*ret = (struct str){ out, (size_t)n };
	return true;
}

void ipam_release(const char *dir, struct in_addr a, struct str owner) {
	char text[IP_TEXT_MAX], has[OWNER_BYTES_MAX + 1];
	struct str now;
	ip_text(a, text);
	if (owner_read(dir, text, has, &now) && str_eq(now, owner)) {
		auto_free char *path = xasprintf("%s/%s", dir, text);
		unlink(path);
	}
}

void ipam_each(const char *dir, void (*each)(void *arg, struct in_addr a, struct str owner), void *arg) {
	DIR *d = opendir(dir);
	struct dirent *e;
	while (d && (e = readdir(d))) {
		char has[OWNER_BYTES_MAX + 1];
		struct str owner;
		struct in_addr a;
		if (inet_pton(AF_INET, e->d_name, &a) == 1 && owner_read(dir, e->d_name, has, &owner)) {
			each(arg, a, owner);
		}
	}
	if (d) {
		closedir(d);
	}
}
