/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resources.c - what pods ask for and nodes have, as numbers.
 *
 * A pod's request is the larger of what runs at once (containers and sidecars) and what any step of its
 * initialisation needs (an init container beside the sidecars started before it), plus its overhead; requests at pod
 * level replace the sum. Pure functions.
 */
#include "schema/schema.h"
#include "scheduler/cache.h"

#define NONZERO_CPU 100
#define NONZERO_MEMORY ((int64_t)200 << 20)

static struct amount *extended_find(const struct resources *r, struct str name) {
	for (size_t i = 0; i < r->extended.len; i++) {
		if (str_eq(r->extended.at[i].name, name)) {
			return &r->extended.at[i];
		}
	}
	return NULL;
}

static int64_t add_clamped(int64_t a, int64_t b) {
	int64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? (b > 0 ? INT64_MAX : INT64_MIN) : sum;
}

void resources_add(struct resources *r, const struct resources *more, int sign) {
	r->cpu = add_clamped(r->cpu, sign * more->cpu);
	r->memory = add_clamped(r->memory, sign * more->memory);
	r->storage = add_clamped(r->storage, sign * more->storage);
	for (size_t i = 0; i < more->extended.len; i++) {
		struct amount *is = extended_find(r, more->extended.at[i].name);
		if (!is) {
			struct str name = more->extended.at[i].name;
			VEC_PUSH(&r->extended, ((struct amount){ { str_dup(name), name.len }, 0 }));
			is = &r->extended.at[r->extended.len - 1];
		}
		is->value = add_clamped(is->value, sign * more->extended.at[i].value);
	}
}

void resources_clear(struct resources *r) {
	for (size_t i = 0; i < r->extended.len; i++) {
		free((char *)r->extended.at[i].name.ptr);
	}
	VEC_RELEASE(&r->extended);
	*r = (struct resources){ 0 };
}

int64_t resources_extended(const struct resources *r, struct str name) {
	const struct amount *is = extended_find(r, name);

	return is ? is->value : 0;
}

/* Raises each amount to at least that of `other`. */
static void resources_max(struct resources *r, const struct resources *other) {
	r->cpu = MAX(r->cpu, other->cpu);
	r->memory = MAX(r->memory, other->memory);
	r->storage = MAX(r->storage, other->storage);
	for (size_t i = 0; i < other->extended.len; i++) {
		int64_t has = resources_extended(r, other->extended.at[i].name);
		if (has < other->extended.at[i].value) {
			struct amount missing = { other->extended.at[i].name, other->extended.at[i].value - has };
			struct resources one = { .extended = { &missing, 1, 1 } };
			resources_add(r, &one, 1);
		}
	}
}

void resources_read(struct resources *r, const struct value *list) {
	for (size_t i = 0; i < value_len(list); i++) {
		struct str name = value_key(list, i);
		struct quantity q = quantity_from(value_item(list, i));
		if (str_eqc(name, "cpu")) {
			r->cpu = quantity_milli(q);
		} else if (str_eqc(name, "memory")) {
			r->memory = quantity_value(q);
		} else if (str_eqc(name, "ephemeral-storage")) {
			r->storage = quantity_value(q);
		} else if (!str_eqc(name, "pods")) {
			struct amount one = { name, quantity_value(q) };
			struct resources more = { .extended = { &one, 1, 1 } };
			resources_add(r, &more, 1);
		}
	}
}

static bool is_sidecar(const struct value *container) {
	return str_eqc(value_str_at(container, N_restartPolicy), "Always");
}

static void container_add(struct resources *r, const struct value *container) {
	struct resources one = { 0 };

	resources_read(&one, value_at(container, N_resources, N_requests));
	resources_add(r, &one, 1);
	resources_clear(&one);
}

static void pod_level(struct resources *r, const struct value *pod) {
	const struct value *requests = value_at(pod, N_spec, N_resources, N_requests);

	for (size_t i = 0; i < value_len(requests); i++) {
		struct str name = value_key(requests, i);
		struct quantity q = quantity_from(value_item(requests, i));
		if (str_eqc(name, "cpu")) {
			r->cpu = quantity_milli(q);
		} else if (str_eqc(name, "memory")) {
			r->memory = quantity_value(q);
		} else if (str_starts(name, S("hugepages-"))) {
			struct amount more = { name, quantity_value(q) - resources_extended(r, name) };
			struct resources one = { .extended = { &more, 1, 1 } };
			resources_add(r, &one, 1);
		}
	}
}

void resources_of_pod(struct resources *ret, const struct value *pod) {
	const struct value *spec = value_get(pod, N_spec);
	struct resources run = { 0 }, sidecars = { 0 }, start = { 0 }, overhead = { 0 };

	VALUE_EACH(value_get(spec, N_containers), c) {
		container_add(&run, c);
	}
	VALUE_EACH(value_get(spec, N_initContainers), c) {
		if (is_sidecar(c)) {
			container_add(&run, c);
			container_add(&sidecars, c);
			resources_max(&start, &sidecars);
		} else {
			struct resources step = { 0 };
			resources_add(&step, &sidecars, 1);
			container_add(&step, c);
			resources_max(&start, &step);
			resources_clear(&step);
		}
	}
	resources_max(&run, &start);
	pod_level(&run, pod);
	resources_read(&overhead, value_get(spec, N_overhead));
	resources_add(&run, &overhead, 1);
	resources_clear(&sidecars);
	resources_clear(&start);
	resources_clear(&overhead);
	*ret = run;
}

void resources_of_pod_nonzero(int64_t *ret_cpu, int64_t *ret_memory, const struct value *pod) {
	const struct value *spec = value_get(pod, N_spec);
	struct resources all = { 0 };

	resources_of_pod(&all, pod);
	*ret_cpu = all.cpu;
	*ret_memory = all.memory;
	resources_clear(&all);
	VALUE_EACH(value_get(spec, N_containers), c) {
		const struct value *requests = value_at(c, N_resources, N_requests);
		if (!value_get_str(requests, S("cpu"))) {
			*ret_cpu += NONZERO_CPU;
		}
		if (!value_get_str(requests, S("memory"))) {
			*ret_memory += NONZERO_MEMORY;
		}
	}
}
