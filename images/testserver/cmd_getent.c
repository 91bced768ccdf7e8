/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_getent.c - `getent hosts NAME` and `getent ahosts NAME`: addresses as the C library finds them.
 *
 * The exit code is 2 when a name has none, as the well-known program does it.
 */
#include "base.h"
#include "cmd.h"
#include "http.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int cmd_getent(int argc, char **argv) {
	int found_any = 0;

	term_exits();
	if (argc < 3 || !strstr("hosts ahosts ahostsv4 ahostsv6", argv[1])) {
		fprintf(stderr, "usage: getent hosts|ahosts|ahostsv4|ahostsv6 NAME...\n");
		return 1;
	}
	for (int i = 2; i < argc; i++) {
		struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_CANONNAME }, *found = NULL;

		hints.ai_family = strcmp(argv[1], "ahostsv4") == 0 ? AF_INET : strcmp(argv[1], "ahostsv6") == 0 ? AF_INET6 : AF_UNSPEC;
		if (getaddrinfo(argv[i], NULL, &hints, &found) != 0) {
			continue;
		}
		for (const struct addrinfo *a = found; a; a = a->ai_next) {
			struct sockaddr_storage address = { 0 };
			char text[64];

			memcpy(&address, a->ai_addr, MIN(a->ai_addrlen, sizeof(address)));
			net_host(&address, text, sizeof(text));
			printf("%-15s %s\n", text, found->ai_canonname ? found->ai_canonname : argv[i]);
			found_any++;
		}
		freeaddrinfo(found);
	}
	return fflush(stdout) != 0 ? 1 : found_any ? 0 : 2;
}
