/* SPDX-License-Identifier: Apache-2.0 */
/* agent.h - `coracle agent`: this machine as one more node of a cluster. */
#ifndef CLUSTER_AGENT_H
#define CLUSTER_AGENT_H

int cmd_agent(int argc, char **argv);

#endif
