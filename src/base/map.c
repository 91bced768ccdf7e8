/* SPDX-License-Identifier: Apache-2.0 */
/* map.c - open addressing with linear probing; a removed slot keeps a NULL value and key.ptr set. */
#include "base/map.h"

static bool slot_empty(const struct map_entry *e) {
	return !e->value && !e->key.ptr;
}

static struct map_entry *find(const struct map *m, struct str key, uint64_t hash) {
	if (!m->cap) {
		return NULL;
	}
	for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
		struct map_entry *e = &m->slots[i];
		if (slot_empty(e)) {
			return NULL;
		}
		if (e->value && e->hash == hash && str_eq(e->key, key)) {
			return e;
		}
	}
}

void *map_get(const struct map *m, struct str key) {
	struct map_entry *e = find(m, key, str_hash(key));
	return e ? e->value : NULL;
}

static char tombstone;

static void rehash(struct map *m, size_t cap) {
	struct map_entry *old = m->slots;
	size_t old_cap = m->cap;
	m->slots = xcalloc(cap, sizeof(*m->slots));
	m->cap = cap;
	m->used = m->len;
	for (size_t i = 0; i < old_cap; i++) {
		if (old[i].value) {
			size_t j = old[i].hash & (cap - 1);
			while (m->slots[j].value) {
				j = (j + 1) & (cap - 1);
			}
			m->slots[j] = old[i];
		}
	}
	free(old);
}

void *map_set(struct map *m, struct str key, void *value) {
	assert(value);
	uint64_t hash = str_hash(key);
	struct map_entry *e = find(m, key, hash);
	if (e) {
		void *old = e->value;
		e->value = value;
		return old;
	}
	if ((m->used + 1) * 4 > m->cap * 3) {
		rehash(m, m->len * 2 < m->cap && m->cap ? m->cap : (m->cap ? m->cap * 2 : 8));
	}
	size_t i = hash & (m->cap - 1);
	while (!slot_empty(&m->slots[i])) {
		i = (i + 1) & (m->cap - 1);
	}
	m->slots[i] = (struct map_entry){ .hash = hash, .key = { str_dup(key), key.len }, .value = value };
	m->len++;
	m->used++;
	return NULL;
}

void *map_remove(struct map *m, struct str key) {
	struct map_entry *e = find(m, key, str_hash(key));
	if (!e) {
		return NULL;
	}
	void *old = e->value;
	free((char *)e->key.ptr);
	*e = (struct map_entry){ .key = { &tombstone, 0 } };
	m->len--;
	return old;
}

struct map_entry *map_next(const struct map *m, size_t *at) {
	while (*at < m->cap) {
		struct map_entry *e = &m->slots[(*at)++];
		if (e->value) {
			return e;
		}
	}
	return NULL;
}

void map_release(struct map *m) {
	for (size_t i = 0; i < m->cap; i++) {
		if (m->slots[i].value) {
			free((char *)m->slots[i].key.ptr);
		}
	}
	free(m->slots);
	*m = (struct map){ 0 };
}
