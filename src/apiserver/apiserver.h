/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apiserver.h - the API server's door: start it, stop it, and get a client transport that calls it
 * without a socket. Everything else about it is HTTP.
 */
#ifndef APISERVER_APISERVER_H
#define APISERVER_APISERVER_H

#include "client/client.h"
#include "store/store.h"

struct apiserver;
struct apiserver_opts {
	struct store *store;           /* borrowed; outlives the server */
	const char *bind_address;      /* "0.0.0.0" by default */
	int port;                      /* 6443 by default; -1: any free one (apiserver_port tells) */
	const char *cert_file, *key_file;               /* serving */
	const char *client_ca_file;                     /* authenticates client certificates; also in ConfigMap extension-apiserver-authentication */
	const char *sa_key_file;                        /* PEM private key: signs and verifies service-account tokens */
	const char *sa_issuer;                          /* "https://kubernetes.default.svc.cluster.local" by default */
	const char *kubelet_ca_file;                    /* verifies kubelets; NULL: not verified */
	const char *kubelet_cert_file, *kubelet_key_file; /* shown to kubelets */
	const char *requestheader_ca_file;              /* front proxy; NULL: off */
	const char *token_file;                         /* static tokens CSV (token,user,uid,"group1,group2"); NULL: none */
	const char *service_cidr;      /* "10.96.0.0/16" by default */
	const char *advertise_address; /* in the Endpoints of default/kubernetes */
	const char *node_port_range;   /* "30000-32767" by default */
	const char *cluster_domain;    /* "cluster.local" by default */
	bool anonymous_off;
	const char *authorization_mode; /* "Node,RBAC" by default; "AlwaysAllow" for tests */
	size_t body_bytes_max;          /* 3 MiB by default */
};
/* Returns when it listens and its caches are filled. Fails with what and where (port in use, bad certificate, ...). */
NODISCARD bool apiserver_start(const struct apiserver_opts *opts, struct apiserver **ret, struct err *err);
int apiserver_port(const struct apiserver *s);
/* Refuses new requests, ends watches, lets running requests finish (at most grace_ms), frees. */
void apiserver_stop(struct apiserver *s, int grace_ms);

/*
 * A transport for client_new() that calls the server in this process as `user` with `groups` (NULL-ended): same authorisation, admission and validation
 * as over HTTPS, no bytes encoded or decoded. Ends before the server does.
 */
struct client_transport *apiserver_transport(struct apiserver *s, const char *user, const char *const *groups);

#endif
