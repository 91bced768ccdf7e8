/* SPDX-License-Identifier: Apache-2.0 */
/* env.h - environment variables of a container, and what pods may ask about themselves. */
#ifndef KUBELET_ENV_H
#define KUBELET_ENV_H

#include "kubelet/internal.h"

struct env {
	VEC(struct cri_kv) at; /* texts in an arena; a name stands once */
};
void env_set(struct env *e, struct str name, struct str value);
/* ptr NULL when absent. */
struct str env_get(const struct env *e, struct str name);
void env_release(struct env *e);

/* "$(NAME)" becomes its value when it is known, "$$" becomes "$"; all else stays as it is. */
struct str env_expand(struct arena *a, struct str text, const struct env *e);

/*
 * Service links, envFrom, then env, in the order and precedence of the API reference. Reads ConfigMaps and Secrets.
 * Fails: with the words of CreateContainerConfigError.
 */
NODISCARD bool env_make(struct pod *p, struct arena *a, const struct value *pod, const struct value *ctr_spec, struct env *ret, struct err *err);
/* Variables for the services of a namespace; `services` are Service objects. */
void env_of_services(struct arena *a, struct obj *const *services, size_t n, struct str ns, bool links, struct env *ret);

/* metadata.name, metadata.labels['x'], status.podIP, ... Fails: ERR_INVALID "unsupported fieldPath: ...". */
NODISCARD bool field_text(struct pod *p, struct arena *a, const struct value *pod, struct str path, struct str *ret, struct err *err);
/* limits.cpu, requests.memory, ... of a container, in units of the divisor, rounded up. Fails: ERR_INVALID. */
NODISCARD bool resource_text(const struct kubelet *k, struct arena *a, const struct value *ctr_spec, const struct value *resource_field_ref,
	struct str *ret, struct err *err);

#endif
