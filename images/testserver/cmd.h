/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd.h - the subcommands; main.c has their table. Each cmd_<name>.c holds one.
 *
 * argv[0] is the subcommand's name as it was called. The result is the exit code.
 */
#ifndef TESTSERVER_CMD_H
#define TESTSERVER_CMD_H

#define COMMANDS(X)                                                                                  \
	X(pause, "pause", "wait for SIGTERM")                                                        \
	X(serve, "serve", "a web server that answers its host name and version; drains when it ends")

#define X(fn, name, help) int cmd_##fn(int argc, char **argv);
COMMANDS(X)
#undef X

#endif
