/* SPDX-License-Identifier: Apache-2.0 */
/* node.h - this node as the cluster sees it: registration, status, lease. */
#ifndef KUBELET_NODE_H
#define KUBELET_NODE_H

#include "kubelet/internal.h"

struct node;
/* Starts in the background; goes on until kubelet_node_free. Loop not needed. */
struct node *kubelet_node_start(struct kubelet *k);
void kubelet_node_free(struct node *n);      /* on the loop, or after it has stopped; jobs have ended */
void kubelet_node_wake(struct node *n);      /* loop: something about the node may have changed (images, network) */
void kubelet_node_changed(struct node *n, const struct value *node); /* loop: as the API has it now; NULL: deleted */

/* node_info.c: what this machine is. */
struct machine {
	struct str machine_id, system_uuid, boot_id, kernel, os_image;
	int cpus;
	int64_t memory_bytes, disk_bytes, swap_bytes;
	struct {
		int64_t page_bytes, pages;
	} huge[4];
	size_t huge_len;
};
void machine_read(struct arena *a, const char *dir, struct machine *ret);
const char *machine_arch(void); /* "amd64" */

#endif
