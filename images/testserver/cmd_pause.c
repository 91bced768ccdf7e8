/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_pause.c - `pause`: does nothing until it is told to end.
 */
#include "base.h"
#include "cmd.h"
#include "opt.h"

int cmd_pause(int argc, char **argv) {
	opt_parse(argc, argv, "", NULL, 0);
	if (!fd_write_all(1, S("Paused\n"))) {
		return 1;
	}
	term_wait(-1);
	return 0;
}
