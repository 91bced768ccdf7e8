/* SPDX-License-Identifier: Apache-2.0 */
/* helper.c - which of the room's short-lived children this process is, if any: see runtime_helper_main in cri.h. */
#include <string.h>

#include "runtime/cri.h"
#include "runtime/unpack.h"

int runtime_helper_main(int argc, char **argv) {
	if (argc > 0 && strcmp(argv[0], RUNTIME_UNPACK) == 0) {
		return unpack_main(argc, argv);
	}
	return -1;
}
