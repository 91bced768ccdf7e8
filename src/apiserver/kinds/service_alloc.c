/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service_alloc.c - gives cluster addresses and node ports, each once: two bitmaps behind one lock, filled
 * from the stored Services at start. As upstream, the lower part of the range (16 to 256 addresses) is left for
 * addresses that are asked for by number, and dynamic ones come from above it first. Any thread.
 */
#include "apiserver/kinds/service_alloc.h"

#include <arpa/inet.h>
#include <pthread.h>

#include "base/clock.h"

#define ADDRESSES_MAX 65536

struct service_alloc {
	pthread_mutex_t lock; /* guards the bitmaps */
	uint32_t base;        /* host order: first usable is base + 1 */
	uint32_t count;       /* usable addresses: base + 1 ... base + count */
	uint32_t offset;      /* dynamic ones start here */
	int port_min, port_max;
	int port_offset;
	uint8_t *addresses;
	uint8_t *ports;
};

static bool bit(const uint8_t *m, uint32_t i) {
	return m[i / 8] >> (i % 8) & 1;
}
static void bit_set(uint8_t *m, uint32_t i) {
	m[i / 8] = (uint8_t)(m[i / 8] | 1u << (i % 8));
}
static void bit_clear(uint8_t *m, uint32_t i) {
	m[i / 8] = (uint8_t)(m[i / 8] & ~(1u << (i % 8)));
}

bool service_alloc_new(const char *cidr, const char *node_ports, struct service_alloc **ret, struct err *err) {
	struct str ip, bits_text, from, to;
	int bits, lo, hi;
	char text[64];
	struct in_addr addr;
	if (!str_cut(str_c(cidr), '/', &ip, &bits_text) || !str_to_int(bits_text, 8, 30, &bits) || ip.len >= sizeof(text)) {
		return err_set(err, ERR_INVALID, "service range \"%s\" is not an IPv4 range such as 10.96.0.0/16", cidr);
	}
	memcpy(text, ip.ptr, ip.len);
	text[ip.len] = 0;
	if (inet_pton(AF_INET, text, &addr) != 1) {
		return err_set(err, ERR_INVALID, "service range \"%s\" is not an IPv4 range such as 10.96.0.0/16", cidr);
	}
	if (!str_cut(str_c(node_ports), '-', &from, &to) || !str_to_int(from, 1, 65535, &lo) || !str_to_int(to, lo, 65535, &hi)) {
		return err_set(err, ERR_INVALID, "node port range \"%s\" is not two ports such as 30000-32767", node_ports);
	}
	struct service_alloc *s = xcalloc(1, sizeof(*s));
	pthread_mutex_init(&s->lock, NULL);
	uint32_t size = 1u << (32 - bits);
	s->base = ntohl(addr.s_addr) & ~(size - 1);
	s->count = MIN(size - 2, (uint32_t)ADDRESSES_MAX);
	s->offset = s->count < 16 ? 0 : MIN(MAX(s->count / 16, 16u), 256u);
	s->port_min = lo;
	s->port_max = hi;
	s->port_offset = hi - lo + 1 < 16 ? 0 : MIN(MAX((hi - lo + 1) / 32, 16), 128);
	s->addresses = xcalloc(ADDRESSES_MAX / 8 + 1, 1);
	s->ports = xcalloc(65536 / 8, 1);
	*ret = s;
	return true;
}

void service_alloc_free(struct service_alloc *s) {
	if (s) {
		pthread_mutex_destroy(&s->lock);
		free(s->addresses);
		free(s->ports);
		free(s);
	}
}

static bool parse(const struct service_alloc *s, struct str ip, uint32_t *ret) {
	char text[64];
	struct in_addr addr;
	if (ip.len >= sizeof(text)) {
		return false;
	}
	memcpy(text, ip.ptr, ip.len);
	text[ip.len] = 0;
	if (inet_pton(AF_INET, text, &addr) != 1) {
		return false;
	}
	uint32_t n = ntohl(addr.s_addr) - s->base;
	if (n < 1 || n > s->count) {
		return false;
	}
	*ret = n - 1;
	return true;
}

struct str service_alloc_ip(struct service_alloc *s, struct arena *a, bool dry_run) {
	uint32_t found = UINT32_MAX, span;
	pthread_mutex_lock(&s->lock);
	for (int pass = 0; pass < 2 && found == UINT32_MAX; pass++) { /* the upper part, then the lower */
		uint32_t lo = pass ? 0 : s->offset, hi = pass ? s->offset : s->count;
		span = hi - lo;
		uint32_t start = span ? (uint32_t)(rand_u64() % span) : 0;
		for (uint32_t i = 0; i < span; i++) {
			uint32_t n = lo + (start + i) % span;
			if (!bit(s->addresses, n)) {
				found = n;
				break;
			}
		}
	}
	if (found != UINT32_MAX && !dry_run) {
		bit_set(s->addresses, found);
	}
	pthread_mutex_unlock(&s->lock);
	if (found == UINT32_MAX) {
		return (struct str){ 0 };
	}
	struct in_addr addr = { htonl(s->base + found + 1) };
	char text[INET_ADDRSTRLEN];
	return arena_str(a, str_c(inet_ntop(AF_INET, &addr, text, sizeof(text))));
}

enum alloc_result service_alloc_take_ip(struct service_alloc *s, struct str ip, bool dry_run) {
	uint32_t n;
	if (!parse(s, ip, &n)) {
		return ALLOC_OUT_OF_RANGE;
	}
	pthread_mutex_lock(&s->lock);
	bool taken = bit(s->addresses, n);
	if (!taken && !dry_run) {
		bit_set(s->addresses, n);
	}
	pthread_mutex_unlock(&s->lock);
	return taken ? ALLOC_TAKEN : ALLOC_OK;
}

void service_alloc_give_ip(struct service_alloc *s, struct str ip) {
	uint32_t n;
	if (parse(s, ip, &n)) {
		pthread_mutex_lock(&s->lock);
		bit_clear(s->addresses, n);
		pthread_mutex_unlock(&s->lock);
	}
}

int service_alloc_port(struct service_alloc *s, bool dry_run) {
	int found = 0;
	pthread_mutex_lock(&s->lock);
	for (int pass = 0; pass < 2 && !found; pass++) {
		int lo = s->port_min + (pass ? 0 : s->port_offset), hi = pass ? s->port_min + s->port_offset : s->port_max + 1;
		int span = hi - lo, start = span > 0 ? (int)(rand_u64() % (uint64_t)span) : 0;
		for (int i = 0; i < span && !found; i++) {
			int p = lo + (start + i) % span;
			found = bit(s->ports, (uint32_t)p) ? 0 : p;
		}
	}
	if (found && !dry_run) {
		bit_set(s->ports, (uint32_t)found);
	}
	pthread_mutex_unlock(&s->lock);
	return found;
}

enum alloc_result service_alloc_take_port(struct service_alloc *s, int port, bool dry_run) {
	if (port < s->port_min || port > s->port_max) {
		return ALLOC_OUT_OF_RANGE;
	}
	pthread_mutex_lock(&s->lock);
	bool taken = bit(s->ports, (uint32_t)port);
	if (!taken && !dry_run) {
		bit_set(s->ports, (uint32_t)port);
	}
	pthread_mutex_unlock(&s->lock);
	return taken ? ALLOC_TAKEN : ALLOC_OK;
}

void service_alloc_give_port(struct service_alloc *s, int port) {
	if (port >= s->port_min && port <= s->port_max) {
		pthread_mutex_lock(&s->lock);
		bit_clear(s->ports, (uint32_t)port);
		pthread_mutex_unlock(&s->lock);
	}
}

void service_alloc_range(const struct service_alloc *s, int *ret_min, int *ret_max) {
	*ret_min = s->port_min;
	*ret_max = s->port_max;
}

void service_alloc_seed(struct service_alloc *s, const struct value *service) {
	VALUE_EACH(value_at(service, N_spec, N_clusterIPs), ip) {
		(void)service_alloc_take_ip(s, value_as_str(ip), false);
	}
	(void)service_alloc_take_ip(s, value_str_at(service, N_spec, N_clusterIP), false);
	VALUE_EACH(value_at(service, N_spec, N_ports), p) {
		(void)service_alloc_take_port(s, (int)value_int_at(p, N_nodePort), false);
	}
	(void)service_alloc_take_port(s, (int)value_int_at(service, N_spec, N_healthCheckNodePort), false);
}
