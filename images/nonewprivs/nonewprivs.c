/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nonewprivs.c - prints the effective user it runs as.
 *
 * Its image installs it setuid root, so a container that runs as another user sees `0` unless the
 * pod forbids gaining privileges. Run by security context tests.
 */
#include <stdio.h>
#include <unistd.h>

int main(void) {
	return printf("Effective uid: %u\n", (unsigned)geteuid()) > 0 ? 0 : 1;
}
