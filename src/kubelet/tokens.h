/* SPDX-License-Identifier: Apache-2.0 */
/* tokens.h - service-account tokens bound to pods, kept until they are to be renewed. */
#ifndef KUBELET_TOKENS_H
#define KUBELET_TOKENS_H

#include "kubelet/internal.h"

struct tokens;
struct tokens *tokens_new(struct kubelet *k);
void tokens_free(struct tokens *t);

struct token_want {
	struct str ns, account, pod_name, pod_uid, audience;
	int64_t seconds;
};
/* Any thread; blocks on the API when it has none that is fresh. `ret_renew`: wall time when it should be asked for again (80 % of its life). */
NODISCARD bool token_get(struct tokens *t, struct arena *a, const struct token_want *w, struct str *ret_token, nsec_t *ret_renew, struct err *err);
void tokens_forget(struct tokens *t, struct str pod_uid);

#endif
