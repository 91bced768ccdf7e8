/* SPDX-License-Identifier: Apache-2.0 */
/* up.h - `coracle up` and `coracle down`. */
#ifndef CLUSTER_UP_H
#define CLUSTER_UP_H

int cmd_up(int argc, char **argv);
int cmd_down(int argc, char **argv);

#endif
