/* SPDX-License-Identifier: Apache-2.0 */
/* object.h - small readings and edits of objects that many controllers need: metadata, owners, conditions, times. Private to this room. */
#ifndef CONTROLLERS_OBJECT_H
#define CONTROLLERS_OBJECT_H

#include "base/clock.h"
#include "value/value.h"

static inline struct str meta_ns(const struct value *o) {
	return value_str_at(o, N_metadata, N_namespace);
}
static inline struct str meta_name(const struct value *o) {
	return value_str_at(o, N_metadata, N_name);
}
static inline struct str meta_uid(const struct value *o) {
	return value_str_at(o, N_metadata, N_uid);
}
static inline struct value *meta_labels(const struct value *o) {
	return value_at(o, N_metadata, N_labels);
}
static inline bool meta_deleting(const struct value *o) {
	return value_str_at(o, N_metadata, N_deletionTimestamp).len > 0;
}
static inline struct str meta_label(const struct value *o, struct str key) {
	return value_as_str(value_get_str(value_at(o, N_metadata, N_labels), key));
}
static inline struct str meta_annotation(const struct value *o, struct str key) {
	return value_as_str(value_get_str(value_at(o, N_metadata, N_annotations), key));
}
bool meta_has_finalizer(const struct value *o, struct str name);
/* "ns/name", or "name". */
struct str meta_key(struct arena *a, const struct value *o);

/* The ownerReference with controller: true; NULL when there is none. */
const struct value *meta_controller(const struct value *o);
/* An ownerReference to `owner` as its controller, blocking. */
struct value *owner_ref(struct arena *a, const struct value *owner);

/* A time of the API in nanoseconds since 1970; 0 when absent or unreadable. */
nsec_t value_time(const struct value *v);
struct str now_text(struct arena *a);                 /* the time now, whole seconds */
struct str time_text_of(struct arena *a, nsec_t wall);

/* Conditions: arrays of {type, status, reason, message, lastTransitionTime, ...}. */
const struct value *condition_find(const struct value *conditions, const char *type);
bool condition_is(const struct value *conditions, const char *type, const char *status);
struct condition {
	const char *type, *status, *reason;
	struct str message;
	bool update_time; /* also has lastUpdateTime (Deployments) */
	bool probe_time;  /* also has lastProbeTime (Jobs) */
};
/*
 * Sets it in the array: lastTransitionTime changes only with the status. Deployments' rule as upstream: nothing changes when status and reason are
 * the same. True when something changed.
 */
bool condition_set(struct arena *a, struct value *conditions, const struct condition *c);
bool condition_remove(struct value *conditions, const char *type);

/* A whole number or a percentage of `total`; rounded up or down. */
int64_t int_or_percent(const struct value *v, int64_t total, bool round_up);

/* As the API prints numbers that it omits when zero. */
void set_int_omit(struct arena *a, struct value *object, enum name_id name, int64_t i);

/* A copy of `o` whose node, metadata and status may be edited; the rest is shared with `o`. */
struct value *object_edit(struct arena *a, const struct value *o);
/* A shallow copy of one container: its members are shared. NULL gives an empty object. */
struct value *value_shallow(struct arena *a, const struct value *v);

/* FNV-1a over the JSON of `v` and a collision count, in the letters upstream thinks safe ("bcdfghjklmnpqrstvwxz2456789"). */
struct str safe_hash(struct arena *a, const struct value *v, int64_t collisions);

#endif
