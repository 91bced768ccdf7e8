/* SPDX-License-Identifier: Apache-2.0 */
/* hook.h - lifecycle hooks. */
#ifndef KUBELET_HOOK_H
#define KUBELET_HOOK_H

#include "kubelet/internal.h"

enum hook_kind { HOOK_POST_START, HOOK_PRE_STOP };
/* Starts it on the pool; when it ended, the pod gets a note and a pass. Pass. */
void hook_start(struct pod *p, const struct value *pod, const struct ctr *c, const struct value *handler, enum hook_kind kind);

/* A handler's (or probe's) port: a number, or a name among the container's ports. 0 when there is none such. */
int handler_port(const struct value *ctr_spec, const struct value *port);
/*
 * One GET as the node agent sends it. `ip` is the pod's. Fails: ERR_UNAVAILABLE, ERR_TIMEOUT with the text that events show. The body is cut
 * at 10 KiB. Blocks.
 */
NODISCARD bool handler_http_get(struct kubelet *k, struct arena *a, const struct value *ctr_spec, const struct value *http_get, struct str ip, struct str user_agent,
	nsec_t timeout, int *ret_status, struct str *ret_body, struct err *err);

#endif
