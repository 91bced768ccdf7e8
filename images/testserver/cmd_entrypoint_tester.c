/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_entrypoint_tester.c - `entrypoint-tester`: prints all words of its command line, the program's
 * own name among them, so that a test sees what command and args became.
 */
#include "base.h"
#include "cmd.h"

int cmd_entrypoint_tester(int argc, char **argv) {
	auto_buf struct buf line = { 0 };

	for (int i = 0; i < main_argc; i++) {
		buf_addf(&line, "%s%s", i ? " " : "", main_argv[i]);
	}
	return out_line("[%.*s]", STR_ARG(buf_str(&line))) ? 0 : 1;
}
