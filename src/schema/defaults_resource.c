/* SPDX-License-Identifier: Apache-2.0 */
/* defaults_resource.c - defaults of resource.k8s.io. See default.h for how hooks work. */
#include "schema/default.h"

static void device_request(struct arena *a, struct value *o) {
	default_text(a, o, N_allocationMode, "ExactCount");
	if (str_eq(value_str_at(o, N_allocationMode), S("ExactCount"))) {
		default_number(a, o, N_count, 1);
	}
}

const struct default_hook defaults_resource[] = {
	{ T_resource_v1_ExactDeviceRequest, device_request },
	{ T_resource_v1_DeviceSubRequest, device_request },
	{ 0 },
};
