/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubelet.h - the pods of one node: registers the node, runs what is bound to it through cri.h, and
 * answers the kubelet API (logs, exec, attach, port-forward, metrics) over HTTPS.
 *
 * The kubelet knows the cluster through a client alone, containers through cri.h alone and the pod
 * network through two functions that main.c connects. Order of a start:
 *
 *     kubelet_new() -> cri_open(.on_exit = kubelet_on_exit, .arg = k) -> kubelet_start()
 *     kubelet_stop() -> cri_free() -> kubelet_free()
 *
 * What runs, outlives us: a kubelet that is started again on the same folders finds its pods by the
 * runtime's lists and goes on with the same containers and restart counts.
 */
#ifndef KUBELET_KUBELET_H
#define KUBELET_KUBELET_H

#include "client/client.h"
#include "runtime/cri.h"

struct kubelet;

/* ---- the pod network --------------------------------------------------------------------------- */
struct pod_network_port { /* a container port with a hostPort */
	int container_port, host_port;
	const char *protocol; /* "TCP", "UDP", "SCTP" */
	const char *host_ip;  /* "" any */
};
struct pod_network_pod {
	const char *id;       /* of the sandbox */
	const char *netns;    /* path */
	const char *ns, *name, *uid;
	const struct pod_network_port *ports;
	size_t ports_len;
};
struct pod_ips { /* first is the pod's main address */
	char at[2][64];
	size_t len;
};
struct pod_network {
	/* Block; pool threads, several at once. add repeated for one id gives the same answer; del may be repeated. */
	bool (*add)(void *arg, const struct pod_network_pod *pod, struct pod_ips *ret, struct err *err);
	bool (*del)(void *arg, const struct pod_network_pod *pod, struct err *err);
	/* False: the node is NotReady ("cni plugin not initialized") and only hostNetwork pods start. NULL: always ready. Any thread. */
	bool (*ready)(void *arg);
	/* After a start: addresses that belong to none of these sandboxes are free. May be NULL. */
	bool (*keep_only)(void *arg, const char *const *ids, size_t n, struct err *err);
	void *arg;
};

/* ---- start and stop ---------------------------------------------------------------------------- */
struct kubelet_opts { /* zero is the default of every option that is not marked "must" */
	struct client *client;        /* must; borrowed */
	struct cri *cri;              /* must; borrowed */
	struct pod_network network;   /* must */
	const char *node_name;        /* must */
	const char *node_ip;          /* must; "10.0.0.5" or "10.0.0.5,fd00::5" */
	const char *state_dir;        /* must; pods/<uid>/ (volumes) and log/pods/ below it; survives a reboot */
	const char *log_dir;          /* NULL: <state_dir>/log/pods */
	const char *cluster_dns;      /* address(es), comma-separated; NULL: pods get the node's resolv.conf */
	const char *cluster_domain;   /* NULL: "cluster.local" */
	const char *resolv_conf;      /* NULL: "/etc/resolv.conf" */
	const char *bind_address;     /* NULL: "0.0.0.0" */
	int port;                     /* 0: 10250; -1: any free one (kubelet_port tells, and the Node says it) */
	const char *cert_file, *key_file; /* serving; both NULL: no kubelet API */
	const char *client_ca_file;   /* verifies client certificates */
	bool authorization_off;       /* any authenticated caller may do anything (tests) */
	const char *const *labels;    /* "key=value", NULL-ended; NULL: none beside the standard ones */
	const char *const *taints;    /* "key=value:NoSchedule", NULL-ended: set when the node registers */
	const char *provider_id;
	int max_pods;                 /* 0: 110 */
	const char *cgroup_root;      /* "/coracle-<name>": kubepods is made below it; NULL: "/" */
	int64_t cpu_milli;            /* what the node offers; 0: what the machine has */
	int64_t memory_bytes, ephemeral_bytes;
	int64_t reserved_cpu_milli, reserved_memory_bytes; /* capacity less these is allocatable */
	const char *static_pod_dir;   /* manifests of static pods; NULL: none */
	bool register_node_off;
	int image_pulls_max;          /* side by side; 0: 5 */
	int image_gc_high_percent;    /* 0: 85; images go when the disk is fuller than this ... */
	int image_gc_low_percent;     /* 0: 80; ... until it is at this; negative high: never */
	int64_t log_bytes_max;        /* of one container log file; 0: 10 MiB */
	int log_files_max;            /* 0: 5 */
	const char *version;          /* nodeInfo.kubeletVersion; NULL: "v1.36.0" */
};

/* An empty kubelet: its address is all that cri_open() needs of it. */
struct kubelet *kubelet_new(void);
/* For cri_opts.on_exit, with the kubelet as arg. Any thread, at any time between kubelet_new and kubelet_free. */
void kubelet_on_exit(void *kubelet, struct str id, bool is_sandbox);
/*
 * Makes the folders, adopts what runs, listens, registers the node in the background (with retries) and
 * returns. On failure only kubelet_free() may follow.
 * Fails: ERR_INVALID a bad option; ERR_UNAVAILABLE the port is in use, ...
 */
NODISCARD bool kubelet_start(struct kubelet *k, const struct kubelet_opts *opts, struct err *err);
int kubelet_port(const struct kubelet *k); /* 0: no kubelet API */
/* What network.ready() says may have changed: the node's condition and pods that wait are looked at. Any thread, also before the start. */
void kubelet_network_changed(struct kubelet *k);
/* Stops working; pods run on. Ends streams and waits for running passes. NULL is fine; also one that never started. Only kubelet_free() may follow. */
void kubelet_stop(struct kubelet *k);
/* After everybody who may call kubelet_on_exit or kubelet_network_changed has ended: cri_free(), overlay_stop(). NULL is fine. */
void kubelet_free(struct kubelet *k);

/*
 * Ends every pod of the node and removes what was made for them: sandboxes, volumes, cgroups, pod
 * folders. Blocks; only on a kubelet that is not started, e.g. for `down`: set opts as for a start.
 * Goes on after a failure; the first one is in `err`.
 */
NODISCARD bool kubelet_destroy_pods(const struct kubelet_opts *opts, struct err *err);

#endif
