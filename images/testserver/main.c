/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - one program, many small servers and checks that cluster tests run in their pods.
 *
 * Finds the subcommand by the first argument, or by the name the program was called by when that is
 * a link to it.
 */
#include "base.h"
#include "cmd.h"

#include <stdio.h>
#include <string.h>

int main_argc;
char **main_argv;

static const struct command {
	const char *name;
	const char *help;
	int (*run)(int argc, char **argv);
} commands[] = {
#define X(fn, name, help) { name, help, cmd_##fn },
	COMMANDS(X)
#undef X
};

static const struct command *command_find(const char *name) {
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (strcmp(commands[i].name, name) == 0) {
			return &commands[i];
		}
	}
	return NULL;
}

static void help_print(FILE *to, const char *program) {
	fprintf(to, "usage: %s COMMAND [FLAG...]\n\nCommands (each has --help):\n", program);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		fprintf(to, "  %-24s %s\n", commands[i].name, commands[i].help);
	}
}

int main(int argc, char **argv) {
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const char *called = argc > 0 ? slash ? slash + 1 : argv[0] : "agnhost";
	const struct command *command = command_find(called);

	main_argc = argc;
	main_argv = argv;
	term_init();
	if (command) {
		return command->run(argc, argv);
	}
	if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		help_print(argc < 2 ? stderr : stdout, called);
		return argc < 2 ? 2 : 0;
	}
	command = command_find(argv[1]);
	if (!command) {
		fprintf(stderr, "%s: no command '%s'; see %s --help\n", called, argv[1], called);
		return 2;
	}
	return command->run(argc - 1, argv + 1);
}
