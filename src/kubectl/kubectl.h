/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubectl.h - the command line's door. So far the few verbs with which a newcomer without a kubectl gets
 * going: apply, get, delete, wait. Output is what the server's tables say, as kubectl prints them.
 */
#ifndef KUBECTL_KUBECTL_H
#define KUBECTL_KUBECTL_H

/* argv[0] is "kubectl". Returns the exit code. Main thread. */
int kubectl_main(int argc, char **argv);

#endif
