/* SPDX-License-Identifier: Apache-2.0 */
/* defaults_flowcontrol.c - defaults of flowcontrol.apiserver.k8s.io. See default.h for how hooks work. */
#include "schema/default.h"

static void flow_schema(struct arena *a, struct value *o) {
	default_number(a, o, N_matchingPrecedence, 1000);
}

static void limited(struct arena *a, struct value *o) {
	default_ptr_int(a, o, N_nominalConcurrencyShares, 30);
	default_ptr_int(a, o, N_lendablePercent, 0);
}

static void exempt(struct arena *a, struct value *o) {
	default_ptr_int(a, o, N_nominalConcurrencyShares, 0);
	default_ptr_int(a, o, N_lendablePercent, 0);
}

static void queuing(struct arena *a, struct value *o) {
	default_number(a, o, N_queues, 64);
	default_number(a, o, N_handSize, 8);
	default_number(a, o, N_queueLengthLimit, 50);
}

const struct default_hook defaults_flowcontrol[] = {
	{ T_flowcontrol_v1_FlowSchemaSpec, flow_schema },
	{ T_flowcontrol_v1_LimitedPriorityLevelConfiguration, limited },
	{ T_flowcontrol_v1_ExemptPriorityLevelConfiguration, exempt },
	{ T_flowcontrol_v1_QueuingConfiguration, queuing },
	{ 0 },
};
