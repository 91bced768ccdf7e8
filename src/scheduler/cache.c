/* SPDX-License-Identifier: Apache-2.0 */
/* cache.c - nodes, the pods on them, and sums that are kept current with each change. The scheduler's loop only. */
#include "scheduler/cache.h"

#include "schema/schema.h"

void cache_init(struct cache *c) {
	*c = (struct cache){ 0 };
	list_init(&c->affine);
}

/* ---- small maps of objects and numbers ---------------------------------------------------------------------------- */

void cache_map_put(struct map *m, struct str key, struct obj *o) {
	obj_unref(o ? map_set(m, key, obj_ref(o)) : map_remove(m, key));
}

static void map_objects_release(struct map *m) {
	MAP_EACH(m, e) {
		obj_unref(e->value);
	}
	map_release(m);
}

static void map_count(struct map *m, struct str key, intptr_t add) {
	intptr_t n = (intptr_t)map_get(m, key) + add;

	if (n > 0) {
		map_set(m, key, (void *)n);
	} else {
		map_remove(m, key);
	}
}

/* ---- nodes ------------------------------------------------------------------------------------------------------------ */

struct node *cache_node(struct cache *c, struct str name) {
	return map_get(&c->by_name, name);
}

static struct node *node_for(struct cache *c, struct str name) {
	struct node *n = map_get(&c->by_name, name);

	if (!n) {
		n = xcalloc(1, sizeof(*n));
		n->name = (struct str){ str_dup(name), name.len };
		list_init(&n->pods);
		map_set(&c->by_name, name, n);
	}
	return n;
}

static void node_images_clear(struct cache *c, struct node *n) {
	MAP_EACH(&n->images, e) {
		map_count(&c->image_nodes, e->key, -1);
	}
	map_release(&n->images);
}

static void node_images_read(struct cache *c, struct node *n) {
	node_images_clear(c, n);
	VALUE_EACH(value_at(n->o->root, N_status, N_images), image) {
		intptr_t size = (intptr_t)value_int_at(image, N_sizeBytes);
		VALUE_EACH(value_get(image, N_names), name) {
			struct str text = value_as_str(name);
			if (size > 0 && text.len && !map_set(&n->images, text, (void *)size)) {
				map_count(&c->image_nodes, text, 1);
			}
		}
	}
}

void cache_node_put(struct cache *c, struct obj *o) {
	struct node *n = node_for(c, value_str_at(o->root, N_metadata, N_name));
	const struct value *allocatable = value_at(o->root, N_status, N_allocatable);

	if (!n->o) {
		n->index = c->nodes.len;
		VEC_PUSH(&c->nodes, n);
	}
	bool images = !n->o || !value_eq(value_at(n->o->root, N_status, N_images), value_at(o->root, N_status, N_images));
	obj_unref(n->o);
	n->o = obj_ref(o);
	resources_clear(&n->allocatable);
	resources_read(&n->allocatable, allocatable);
	n->pods_max = quantity_value(quantity_from(value_get_str(allocatable, S("pods"))));
	if (images) {
		node_images_read(c, n);
	}
}

static void node_free(struct cache *c, struct node *n) {
	map_remove(&c->by_name, n->name);
	node_images_clear(c, n);
	resources_clear(&n->allocatable);
	resources_clear(&n->requested);
	VEC_RELEASE(&n->nominated);
	obj_unref(n->o);
	free((char *)n->name.ptr);
	free(n);
}

/* Frees a node that is not there and that no pod names. */
static void node_settle(struct cache *c, struct node *n) {
	if (!n->o && list_empty(&n->pods) && n->nominated.len == 0) {
		node_free(c, n);
	}
}

void cache_node_remove(struct cache *c, struct str name) {
	struct node *n = map_get(&c->by_name, name);

	if (!n || !n->o) {
		return;
	}
	struct node *last = VEC_POP(&c->nodes);
	if (last != n) {
		c->nodes.at[n->index] = last;
		last->index = n->index;
	}
	node_images_clear(c, n);
	obj_unref(TAKE(n->o));
	node_settle(c, n);
}

/* ---- pods --------------------------------------------------------------------------------------------------------------- */

struct pod *cache_pod(struct cache *c, struct str uid) {
	return map_get(&c->pods, uid);
}

static struct affinity_term term_read(struct arena *a, const struct value *term, struct str ns, const struct value *labels, int64_t weight) {
	struct affinity_term t = { .topology_key = value_str_at(term, N_topologyKey), .weight = weight };
	const struct value *names = value_get(term, N_namespaces), *selector = value_get(term, N_labelSelector);
	struct value *merged = value_copy(a, selector);
	struct err err = { 0 };

	/* matchLabelKeys: the pod's own values of these labels become part of the selector */
	if (merged) {
		VALUE_EACH(value_get(term, N_matchLabelKeys), key) {
			const struct value *v = value_get_str(labels, value_as_str(key));
			if (v) {
				value_set_key(a, value_ensure_object(a, merged, N_matchLabels), value_as_str(key), v);
			}
		}
	}
	if (!selector_from_value(a, merged, &t.selector, &err)) {
		(void)!selector_from_value(a, NULL, &t.selector, &err); /* validated by the server; if not: matches nothing */
	}
	t.has_ns_selector = value_is(value_get(term, N_namespaceSelector), VALUE_OBJECT);
	if (t.has_ns_selector && !selector_from_value(a, value_get(term, N_namespaceSelector), &t.ns_selector, &err)) {
		t.has_ns_selector = false;
	}
	t.namespaces = arena_array(a, struct str, value_len(names) + 1);
	VALUE_EACH(names, n) {
		t.namespaces[t.namespaces_len++] = value_as_str(n);
	}
	if (t.namespaces_len == 0 && !t.has_ns_selector) {
		t.namespaces[t.namespaces_len++] = ns;
	}
	return t;
}

static struct affinity_terms terms_read(struct pod *p, const struct value *list, bool weighted) {
	struct affinity_terms all = { arena_array(&p->arena, struct affinity_term, value_len(list)), 0 };

	VALUE_EACH(list, t) {
		const struct value *term = weighted ? value_get(t, N_podAffinityTerm) : t;
		all.at[all.len++] = term_read(&p->arena, term, p->ns, p->labels, weighted ? value_int_at(t, N_weight) : 0);
	}
	return all;
}

static void ports_add(struct pod *p, const struct value *containers, bool sidecars_only) {
	bool host = value_bool_at(p->o->root, N_spec, N_hostNetwork);

	VALUE_EACH(containers, c) {
		if (sidecars_only && !str_eqc(value_str_at(c, N_restartPolicy), "Always")) {
			continue;
		}
		VALUE_EACH(value_get(c, N_ports), port) {
			int64_t number = value_int_at(port, N_hostPort);
			number = number || !host ? number : value_int_at(port, N_containerPort);
			if (number <= 0) {
				continue;
			}
			struct str protocol = value_str_at(port, N_protocol), ip = value_str_at(port, N_hostIP);
			struct port *more = arena_array(&p->arena, struct port, p->ports_len + 1);
			if (p->ports_len) {
				memcpy(more, p->ports, p->ports_len * sizeof(*more));
			}
			more[p->ports_len++] = (struct port){ number, protocol.len ? protocol : S("TCP"), ip.len ? ip : S("0.0.0.0") };
			p->ports = more;
		}
	}
}

static struct str controller_uid(const struct value *o) {
	VALUE_EACH(value_at(o, N_metadata, N_ownerReferences), ref) {
		if (value_bool_at(ref, N_controller)) {
			return value_str_at(ref, N_uid);
		}
	}
	return S("");
}

static void pod_read(struct pod *p) {
	const struct value *spec = value_get(p->o->root, N_spec), *affinity = value_get(spec, N_affinity);
	const struct value *near = value_get(affinity, N_podAffinity), *apart = value_get(affinity, N_podAntiAffinity);

	arena_release(&p->arena);
	resources_clear(&p->requests);
	p->ports = NULL;
	p->ports_len = 0;
	p->ns = value_str_at(p->o->root, N_metadata, N_namespace);
	p->uid = value_str_at(p->o->root, N_metadata, N_uid);
	p->owner = controller_uid(p->o->root);
	p->labels = value_at(p->o->root, N_metadata, N_labels);
	p->priority = (int32_t)value_int_at(spec, N_priority);
	resources_of_pod(&p->requests, p->o->root);
	resources_of_pod_nonzero(&p->nonzero_cpu, &p->nonzero_memory, p->o->root);
	ports_add(p, value_get(spec, N_containers), false);
	ports_add(p, value_get(spec, N_initContainers), true);
	p->affinity = terms_read(p, value_get(near, N_requiredDuringSchedulingIgnoredDuringExecution), false);
	p->anti = terms_read(p, value_get(apart, N_requiredDuringSchedulingIgnoredDuringExecution), false);
	p->preferred = terms_read(p, value_get(near, N_preferredDuringSchedulingIgnoredDuringExecution), true);
	p->preferred_anti = terms_read(p, value_get(apart, N_preferredDuringSchedulingIgnoredDuringExecution), true);
}

struct pod *cache_pod_put(struct cache *c, struct obj *o) {
	struct str uid = value_str_at(o->root, N_metadata, N_uid), ns = value_str_at(o->root, N_metadata, N_namespace),
		   name = value_str_at(o->root, N_metadata, N_name);
	struct pod *p = map_get(&c->pods, uid);

	if (!p) {
		p = xcalloc(1, sizeof(*p));
		p->key = str_c(xasprintf("%.*s/%.*s", STR_ARG(ns), STR_ARG(name)));
		p->o = obj_ref(o);
		pod_read(p);
		map_set(&c->pods, uid, p);
		return p;
	}
	/* its sums and texts borrow from the object: off the node while they change */
	auto_arena struct arena a = { 0 };
	struct str node = p->node ? arena_str(&a, p->node->name) : S("");
	bool assumed = p->assumed;
	cache_unplace(c, p);
	obj_unref(p->o);
	p->o = obj_ref(o);
	pod_read(p);
	if (node.len) {
		cache_place(c, p, node);
		p->assumed = assumed;
	}
	return p;
}

void cache_pod_remove(struct cache *c, struct pod *p) {
	cache_nominate(c, p, S(""));
	cache_unplace(c, p);
	map_remove(&c->pods, p->uid);
	arena_release(&p->arena);
	resources_clear(&p->requests);
	obj_unref(p->o);
	free((char *)p->key.ptr);
	free(p);
}

struct group *cache_group(const struct map *m, struct str key) {
	return map_get(m, key);
}

static void group_add(struct map *m, struct str key, struct list *link) {
	struct group *g = map_get(m, key);

	if (!key.len) {
		return;
	}
	if (!g) {
		g = xcalloc(1, sizeof(*g));
		list_init(&g->pods);
		map_set(m, key, g);
	}
	list_push(&g->pods, link);
	g->len++;
}

static void group_remove(struct map *m, struct str key, struct list *link) {
	struct group *g = map_get(m, key);

	if (!g || !list_linked(link)) {
		return;
	}
	list_remove(link);
	if (--g->len == 0) {
		map_remove(m, key);
		free(g);
	}
}

static void sums_add(struct node *n, struct pod *p, int sign) {
	resources_add(&n->requested, &p->requests, sign);
	n->nonzero_cpu += sign * p->nonzero_cpu;
	n->nonzero_memory += sign * p->nonzero_memory;
	n->pods_len += (size_t)sign;
}

void cache_place(struct cache *c, struct pod *p, struct str name) {
	struct node *n = node_for(c, name);

	if (p->node == n) {
		return;
	}
	cache_unplace(c, p);
	p->node = n;
	list_push(&n->pods, &p->by_node);
	sums_add(n, p, 1);
	group_add(&c->by_ns, p->ns, &p->by_ns);
	group_add(&c->by_owner, p->owner, &p->by_owner);
	if (p->affinity.len + p->anti.len + p->preferred.len + p->preferred_anti.len) {
		list_push(&c->affine, &p->by_affine);
	}
}

void cache_unplace(struct cache *c, struct pod *p) {
	struct node *n = p->node;

	if (!n) {
		return;
	}
	list_remove(&p->by_node);
	if (!p->excluded) {
		sums_add(n, p, -1);
	}
	p->excluded = false;
	group_remove(&c->by_ns, p->ns, &p->by_ns);
	group_remove(&c->by_owner, p->owner, &p->by_owner);
	list_remove(&p->by_affine);
	p->node = NULL;
	p->assumed = false;
	node_settle(c, n);
}

void cache_exclude(struct cache *c, struct pod *p, bool exclude) {
	if (p->node && p->excluded != exclude) {
		p->excluded = exclude;
		sums_add(p->node, p, exclude ? -1 : 1);
	}
}

void cache_nominate(struct cache *c, struct pod *p, struct str name) {
	struct node *was = p->nominated, *n = name.len ? cache_node(c, name) : NULL;

	if (was) {
		for (size_t k = 0; k < was->nominated.len; k++) {
			if (was->nominated.at[k] == p) {
				VEC_REMOVE(&was->nominated, k);
				break;
			}
		}
	}
	p->nominated = n && n->o ? n : NULL;
	if (p->nominated) {
		VEC_PUSH(&n->nominated, p);
	}
	if (was && was != p->nominated) {
		node_settle(c, was);
	}
}

void cache_release(struct cache *c) {
	for (size_t at = 0; c->pods.len > 0; at = 0) {
		cache_pod_remove(c, map_next(&c->pods, &at)->value);
	}
	map_release(&c->pods);
	while (c->nodes.len > 0) {
		cache_node_remove(c, c->nodes.at[0]->name);
	}
	for (size_t at = 0; c->by_name.len > 0; at = 0) {
		node_free(c, map_next(&c->by_name, &at)->value);
	}
	VEC_RELEASE(&c->nodes);
	map_release(&c->by_name);
	map_release(&c->by_ns);
	map_release(&c->by_owner);
	map_release(&c->image_nodes);
	map_objects_release(&c->namespaces);
	map_objects_release(&c->services);
	map_objects_release(&c->claims);
	map_objects_release(&c->volumes);
}
