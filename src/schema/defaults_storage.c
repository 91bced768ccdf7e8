/* SPDX-License-Identifier: Apache-2.0 */
/* defaults_storage.c - defaults of storage.k8s.io and scheduling.k8s.io. See default.h for how hooks work. */
#include "schema/default.h"

static void storage_class(struct arena *a, struct value *o) {
	default_ptr_text(a, o, N_reclaimPolicy, "Delete");
	default_ptr_text(a, o, N_volumeBindingMode, "Immediate");
}

static void csi_driver(struct arena *a, struct value *o) {
	default_ptr_bool(a, o, N_attachRequired, true);
	default_ptr_bool(a, o, N_podInfoOnMount, false);
	default_ptr_bool(a, o, N_storageCapacity, false);
	default_ptr_text(a, o, N_fsGroupPolicy, "ReadWriteOnceWithFSType");
	if (value_len(value_get(o, N_volumeLifecycleModes)) == 0) {
		struct value *modes = value_new_array(a);

		value_push_str(a, modes, S("Persistent"));
		value_set(a, o, N_volumeLifecycleModes, modes);
	}
	default_ptr_bool(a, o, N_requiresRepublish, false);
	default_ptr_bool(a, o, N_seLinuxMount, false);
}

static void priority_class(struct arena *a, struct value *o) {
	default_ptr_text(a, o, N_preemptionPolicy, "PreemptLowerPriority");
}

const struct default_hook defaults_storage[] = {
	{ T_storage_v1_StorageClass, storage_class },
	{ T_storage_v1_CSIDriverSpec, csi_driver },
	{ T_scheduling_v1_PriorityClass, priority_class },
	{ 0 },
};
