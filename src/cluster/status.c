/* SPDX-License-Identifier: Apache-2.0 */
/* status.c - `coracle status`, `token` and `kubeconfig`: small commands that only ask and print. */
#include "cluster/status.h"

#include <signal.h>
#include <unistd.h>

#include "base/file.h"
#include "base/flags.h"
#include "cluster/addons.h"
#include "cluster/admin.h"
#include "cluster/hosts.h"
#include "cluster/pki.h"
#include "cluster/server.h"

static struct value *node_row(struct arena *a, struct cluster_config *c, const struct value *node, int server_pid) {
	struct value *v = value_new_object(a);
	struct str name = value_str_at(node, N_metadata, N_name);
	struct value *ready = value_find_by(value_at(node, N_status, N_conditions), N_type, S("Ready"));
	struct value *ip = value_find_by(value_at(node, N_status, N_addresses), N_type, S("InternalIP"));
	int pid = str_eqc(name, c->node_name) ? server_pid : 0;
	int all[256];
	size_t len = hosts_list(c, all, ARRAY_LEN(all));
	for (size_t i = 0; i < len && !pid; i++) {
		if (str_eqc(name, hosts_name(c, all[i]))) {
			pid = hosts_pid(c, all[i]);
		}
	}
	value_set_str(a, v, N_name, name);
	value_set_str(a, v, N_address, value_str_at(ip, N_address));
	value_set_bool(a, v, N_ready, str_eq(value_str_at(ready, N_status), S("True")));
	value_set_int(a, v, N_pid, pid);
	return v;
}

int cmd_status(int argc, char **argv) {
	struct cluster_args args = { 0 };
	struct cluster_config c;
	const char *output = "";
	bool help;
	struct err err = { 0 };
	auto_arena struct arena a = { 0 };
	const struct flag flags[] = {
		CLUSTER_FLAGS(args),
		{ "output", 'o', FLAG_STRING, &output, "FORMAT", "json" },
		{ 0 },
	};
	if (!flags_parse(flags, argc, argv, NULL, &help, &err) ||
		(output[0] && strcmp(output, "json") != 0 && !err_set(&err, ERR_BAD_REQUEST, "--output must be json"))) {
		fprintf(stderr, "coracle status: %s\n", err.msg);
		return 2;
	}
	if (help) {
		printf("Tells whether a cluster runs: its process, address, kubeconfig and nodes.\n"
		       "The exit code is 0 when it runs and answers, 3 when it does not.\n\nUsage: coracle status [flags]\n\n");
		flags_print(flags);
		return 0;
	}
	if (!cluster_config_load(&args, &c, &err)) {
		if (!output[0]) {
			fprintf(stderr, "coracle status: %s\n", err.msg);
		} else {
			printf("{\"name\":\"%s\",\"pid\":0,\"server\":\"\",\"kubeconfig\":\"\",\"nodes\":[]}\n", args.name ? args.name : "coracle");
		}
		return 3;
	}
	int pid = cluster_pid(&c, "server.pid");
	struct client *cl = pid ? admin_client(&c, &err) : NULL;
	struct client_list nodes = { 0 };
	bool answers = cl && client_list(cl, GVR_NODES, S(""), S(""), &nodes, &err);
	struct value *v = value_new_object(&a);
	value_set_str(&a, v, N_name, str_c(c.name));
	value_set_int(&a, v, N_pid, pid);
	value_set_str(&a, v, N_server, arena_printf(&a, "https://127.0.0.1:%d", c.port));
	value_set_str(&a, v, N_kubeconfig, str_c(cluster_path(&c, "admin.kubeconfig")));
	value_set_str(&a, v, N_context, str_c(cluster_context(&c)));
	value_set_str(&a, v, N_dataDir, str_c(c.data_dir));
	value_set_bool(&a, v, N_ready, answers);
	struct value *rows = value_ensure_array(&a, v, N_nodes);
	for (size_t i = 0; i < nodes.len; i++) {
		value_push(&a, rows, node_row(&a, &c, nodes.at[i]->root, pid));
	}
	if (output[0]) {
		auto_buf struct buf b = { 0 };
		json_print_indent(&b, v, 2);
		printf("%.*s\n", STR_ARG(buf_view(&b)));
	} else if (!pid) {
		printf("Cluster %s is down; its data is in %s.\n", c.name, c.data_dir);
	} else {
		printf("Cluster %s runs as process %d, %s: https://127.0.0.1:%d\n", c.name, pid, answers ? "and answers" : "but does not answer", c.port);
		printf("kubeconfig: %s (context %s)\ndata: %s\n", cluster_path(&c, "admin.kubeconfig"), cluster_context(&c), c.data_dir);
		if (!answers) {
			printf("why: %s\n", err.msg);
		}
		VALUE_EACH(rows, r) {
			printf("node %.*s  %.*s  %s\n", STR_ARG(value_str_at(r, N_name)), STR_ARG(value_str_at(r, N_address)),
				value_bool_at(r, N_ready) ? "Ready" : "NotReady");
		}
	}
	client_list_release(&nodes);
	if (cl) {
		client_free(cl);
	}
	cluster_config_release(&c);
	return answers ? 0 : 3;
}

int cmd_token(int argc, char **argv) {
	struct cluster_args args = { 0 };
	struct cluster_config c;
	int64_t ttl = 24 * 3600 * NSEC_PER_SEC;
	bool help;
	char hash[80];
	struct str token;
	struct err err = { 0 };
	auto_arena struct arena a = { 0 };
	const struct flag flags[] = {
		CLUSTER_FLAGS(args),
		{ "ttl", 0, FLAG_DURATION, &ttl, "T", "how long it may be used; 0 for ever" },
		{ 0 },
	};
	if (!flags_parse(flags, argc, argv, NULL, &help, &err)) {
		fprintf(stderr, "coracle token: %s\n", err.msg);
		return 2;
	}
	if (help) {
		printf("Makes a token with which a further node joins, and prints it. The token pins the cluster's CA.\n\n"
		       "Usage: coracle token [flags]\n\nOn the machine that joins:\n  coracle agent --server https://THIS-MACHINE:6443 --token TOKEN\n\n");
		flags_print(flags);
		return 0;
	}
	signal(SIGPIPE, SIG_IGN);
	if (!cluster_config_load(&args, &c, &err)) {
		fprintf(stderr, "coracle token: %s\n", err.msg);
		return 1;
	}
	struct client *cl = admin_client(&c, &err);
	bool ok = cl && pki_ca_hash(&c, hash, &err) && token_create(cl, &a, ttl, S("made by coracle token"), &token, &err);
	if (ok) {
		printf("K%s::%.*s\n", hash + strlen("sha256:"), STR_ARG(token));
		if (isatty(1)) {
			printf("\nOn the machine that joins:\n  coracle agent --server https://%s:%d --token K%s::%.*s\n", c.node_ip, c.port, hash + strlen("sha256:"),
				STR_ARG(token));
		}
	} else {
		fprintf(stderr, "coracle token: %s\n", err.msg);
	}
	if (cl) {
		client_free(cl);
	}
	cluster_config_release(&c);
	return ok ? 0 : 1;
}

int cmd_kubeconfig(int argc, char **argv) {
	struct cluster_args args = { 0 };
	struct cluster_config c;
	bool help;
	struct err err = { 0 };
	auto_buf struct buf b = BUF_INIT(1 << 20);
	const struct flag flags[] = { CLUSTER_FLAGS(args), { 0 } };
	if (!flags_parse(flags, argc, argv, NULL, &help, &err)) {
		fprintf(stderr, "coracle kubeconfig: %s\n", err.msg);
		return 2;
	}
	if (help) {
		printf("Prints the administrator's kubeconfig of a cluster.\n\nUsage: coracle kubeconfig [flags] > FILE\n\n");
		flags_print(flags);
		return 0;
	}
	if (!cluster_config_load(&args, &c, &err) || !file_read(cluster_path(&c, "admin.kubeconfig"), &b, &err)) {
		fprintf(stderr, "coracle kubeconfig: %s\n", err.msg);
		return 1;
	}
	fwrite(b.ptr, 1, b.len, stdout);
	cluster_config_release(&c);
	return 0;
}
