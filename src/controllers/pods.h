/* SPDX-License-Identifier: Apache-2.0 */
/* pods.h - what the controllers of pods share: what a pod's state means, making and deleting pods, claiming them. Private to this room. */
#ifndef CONTROLLERS_PODS_H
#define CONTROLLERS_PODS_H

#include "controllers/frame.h"
#include "controllers/object.h"

/* ---- reading ---- */
bool pod_is_finished(const struct value *pod);  /* Succeeded or Failed */
bool pod_is_active(const struct value *pod);    /* neither finished nor being deleted */
bool pod_is_ready(const struct value *pod);
/* Ready for at least min_ready seconds. When it will be without a further event, *ret_wait (may be NULL) gets the shortest time until then. */
bool pod_is_available(const struct value *pod, int64_t min_ready, nsec_t now, nsec_t *ret_wait);
int64_t pod_restarts(const struct value *pod);  /* of its containers, the most */

/* ---- the pods of a controller ---- */
struct pod_set {
	struct obj **at; /* references, dropped by pod_set_release */
	size_t len;
	struct client_list owned, orphans; /* what `at` borrows from */
};
/*
 * The pods of `owner`: those it controls and its selector matches. A matching pod without controller is adopted, an owned one that
 * does not match (any more) is released; both need the owner to be alive, which is asked of the server first.
 */
NODISCARD bool pods_claim(struct frame *f, struct shared *pods, struct gvr owner_gvr, const struct value *owner, const struct selector *selector,
	struct pod_set *ret, struct err *err);
void pod_set_release(struct pod_set *s);

/* The same for any kind (ReplicaSets of a Deployment, ControllerRevisions). */
NODISCARD bool objects_claim(struct frame *f, struct shared *objects, struct gvr owner_gvr, const struct value *owner, const struct selector *selector,
	struct pod_set *ret, struct err *err);

/* The same, and only those that `wants` (NULL: all) says yes to: a StatefulSet takes pods by their names. */
NODISCARD bool objects_claim_if(struct frame *f, struct shared *objects, struct gvr owner_gvr, const struct value *owner,
	const struct selector *selector, bool (*wants)(const struct value *owner, const struct value *o), struct pod_set *ret, struct err *err);

/* ---- writing ---- */
/* A Pod from spec.template, owned by `owner`, generateName "<owner>-"; to be changed before pod_create. */
struct value *pod_from_template(struct arena *a, const struct value *template, const struct value *owner);
/* Creates it; records SuccessfulCreate or FailedCreate about the owner (nothing when the namespace is going away). */
NODISCARD bool pod_create(struct frame *f, struct recorder *r, const struct value *owner, const struct value *pod, struct err *err);
/* Deletes it; records SuccessfulDelete or FailedDelete about the owner. A pod that is gone already is success, and err says so. */
NODISCARD bool pod_delete(struct frame *f, struct recorder *r, const struct value *owner, const struct value *pod, struct err *err);

/* ---- waking the controller of a pod ---- */
/*
 * Adds the key of pod's controller when that is a `kind` of `group` that we know under the same uid. Gives the key in `a`; empty when it is not ours.
 */
struct str controller_key(struct arena *a, struct shared *owners, const char *group, const char *kind, const struct value *object);

#endif
