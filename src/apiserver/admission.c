/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admission.c - the admission plugins in upstream's order, and the two passes over them. A new plugin is a file in admission/
 * and a row here.
 */
#include "apiserver/server.h"

static const struct admission_plugin *const plugins[] = {
	&admit_namespace_lifecycle,
	&admit_service_account,
	&admit_node_restriction,
	&admit_node_taints,
	&admit_priority,
	&admit_toleration_seconds,
	&admit_rbac_escalation,
};

bool admission_mutate(struct admission *ad, struct err *err) {
	for (size_t i = 0; i < ARRAY_LEN(plugins); i++) {
		if (plugins[i]->mutate && plugins[i]->verbs & ad->verb && !plugins[i]->mutate(ad, err)) {
			return false;
		}
	}
	return true;
}

bool admission_validate(struct admission *ad, struct err *err) {
	for (size_t i = 0; i < ARRAY_LEN(plugins); i++) {
		if (plugins[i]->validate && plugins[i]->verbs & ad->verb && !plugins[i]->validate(ad, err)) {
			return false;
		}
	}
	return true;
}
