/* SPDX-License-Identifier: Apache-2.0 */
/* pki.c - see pki.h. One table says which certificate has which subject; main thread, before anything listens. */
#include "cluster/pki.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "net/cert.h"
#include "net/digest.h"

#define YEAR (365 * 24 * 3600 * NSEC_PER_SEC)

struct pki_row {
	const char *file;   /* <file>.crt and <file>.key */
	const char *ca;     /* signed by; NULL: by itself */
	const char *cn;     /* "%n" is the node's name */
	const char *org;    /* NULL: none */
	int usage;
	bool server_names;  /* carries the API server's names and addresses */
	bool node_names;    /* carries the node's */
};

static const struct pki_row rows[] = {
	{ "ca",                       NULL,             "kubernetes",                       NULL,             CERT_CA,     false, false },
	{ "front-proxy-ca",           NULL,             "front-proxy-ca",                   NULL,             CERT_CA,     false, false },
	{ "apiserver",                "ca",             "kube-apiserver",                   NULL,             CERT_SERVER, true,  false },
	{ "apiserver-kubelet-client", "ca",             "kube-apiserver-kubelet-client",    "kubeadm:cluster-admins", CERT_CLIENT, false, false },
	{ "front-proxy-client",       "front-proxy-ca", "front-proxy-client",               NULL,             CERT_CLIENT, false, false },
	{ "admin",                    "ca",             "kubernetes-admin",                 "system:masters", CERT_CLIENT, false, false },
	{ "controller-manager",       "ca",             "system:kube-controller-manager",   NULL,             CERT_CLIENT, false, false },
	{ "scheduler",                "ca",             "system:kube-scheduler",            NULL,             CERT_CLIENT, false, false },
	{ "proxy",                    "ca",             "system:kube-proxy",                NULL,             CERT_CLIENT, false, false },
	{ "dns",                      "ca",             "system:serviceaccount:kube-system:coredns", NULL,    CERT_CLIENT, false, false },
	{ "kubelet-client",           "ca",             "system:node:%n",                   "system:nodes",   CERT_CLIENT, false, false },
	{ "kubelet",                  "ca",             "system:node:%n",                   "system:nodes",   CERT_SERVER, false, true  },
};

const char *pki_path(struct cluster_config *c, const char *file) {
	return cluster_path(c, "pki/%s", file);
}

bool pki_read(struct cluster_config *c, const char *file, struct arena *a, struct str *ret, struct err *err) {
	auto_buf struct buf b = BUF_INIT(1 << 20);
	if (!file_read(pki_path(c, file), &b, err)) {
		return false;
	}
	*ret = arena_str(a, buf_view(&b));
	return true;
}

static bool has_all(const struct str *have, size_t have_len, const struct str *want, size_t want_len) {
	for (size_t i = 0; i < want_len; i++) {
		bool found = false;
		for (size_t j = 0; j < have_len && !found; j++) {
			found = str_eq(have[j], want[i]);
		}
		if (!found) {
			return false;
		}
	}
	return true;
}

/* Whether what stands on disk still serves: right names, more than a third of its life left. */
static bool good(struct arena *a, struct str cert, struct str key, struct str ca, const struct cert_opts *want) {
	struct cert_identity id;
	struct err err = { 0 };
	nsec_t now = clock_wall();
	if (!cert_parse(cert, a, &id, &err) || !cert_matches_key(cert, key)) {
		return false;
	}
	if (ca.len && !cert_verify(cert, ca, &err)) {
		return false;
	}
	return str_eq(id.common_name, want->common_name) && id.not_after - now > (id.not_after - id.not_before) / 3 &&
		has_all(id.dns, id.dns_len, want->dns, want->dns_len) && has_all(id.ips, id.ips_len, want->ips, want->ips_len) &&
		has_all(id.organizations, id.organizations_len, want->organizations, want->organizations_len);
}

static bool ensure(struct cluster_config *c, const struct pki_row *r, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct str cert = { 0 }, key = { 0 }, ca_cert = { 0 }, ca_key = { 0 }, org = str_c(r->org), dns[12], ips[8];
	struct cert_opts o = { .usage = r->usage, .organizations = r->org ? &org : NULL, .organizations_len = r->org != NULL, .dns = dns, .ips = ips };
	struct err miss = { 0 };
	const char *crt_file = arena_printf(&a, "%s.crt", r->file).ptr, *key_file = arena_printf(&a, "%s.key", r->file).ptr;

	const char *n = strstr(r->cn, "%n");
	o.common_name = n ? arena_printf(&a, "%.*s%s", (int)(n - r->cn), r->cn, c->node_name) : str_c(r->cn);
	if (r->usage == CERT_CA) {
		o.lifetime = 10 * YEAR;
		if (!strcmp(r->file, "ca")) {
			dns[o.dns_len++] = S("kubernetes");
		}
	}
	if (r->server_names) {
		char machine[64];
		const char *names[] = { "kubernetes", "kubernetes.default", "kubernetes.default.svc", NULL, "localhost", c->node_name };
		names[3] = arena_printf(&a, "kubernetes.default.svc.%s", c->domain).ptr;
		for (size_t i = 0; i < ARRAY_LEN(names); i++) {
			dns[o.dns_len++] = str_c(names[i]);
		}
		ips[o.ips_len++] = S("127.0.0.1");
		ips[o.ips_len++] = S("::1");
		ips[o.ips_len++] = arena_printf(&a, "10.%d.0.1", 96 + c->index); /* default/kubernetes */
		ips[o.ips_len++] = str_c(c->node_ip);
		ips[o.ips_len++] = str_c(c->link_ip);
		if (machine_ip(machine)) {
			ips[o.ips_len++] = arena_str(&a, str_c(machine));
		}
	}
	if (r->node_names) {
		dns[o.dns_len++] = str_c(c->node_name);
		ips[o.ips_len++] = str_c(c->node_ip);
		ips[o.ips_len++] = S("127.0.0.1");
	}
	if (r->ca) {
		if (!pki_read(c, arena_printf(&a, "%s.crt", r->ca).ptr, &a, &ca_cert, err) ||
			!pki_read(c, arena_printf(&a, "%s.key", r->ca).ptr, &a, &ca_key, err)) {
			return false;
		}
		o.ca_cert_pem = ca_cert;
		o.ca_key_pem = ca_key;
	}
	if (pki_read(c, crt_file, &a, &cert, &miss) && pki_read(c, key_file, &a, &key, &miss) &&
		(r->usage == CERT_CA || good(&a, cert, key, ca_cert, &o))) {
		return true; /* CAs are never replaced behind the operator's back */
	}
	return key_new(KEY_EC_P256, &a, &key, err) && cert_new(key, &o, &a, &cert, err) &&
		file_write(pki_path(c, key_file), key, 0600, err) && file_write(pki_path(c, crt_file), cert, 0644, err);
}

bool pki_ensure(struct cluster_config *c, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct str key, pub;
	if (!dir_make(cluster_path(c, "pki"), 0700, err)) {
		return false;
	}
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (!ensure(c, &rows[i], err)) {
			return err_wrap(err, "certificate %s", rows[i].file);
		}
	}
	if (file_exists(pki_path(c, "sa.key"))) {
		return true;
	}
	return key_new(KEY_EC_P256, &a, &key, err) && key_public(key, &a, &pub, err) &&
		file_write(pki_path(c, "sa.key"), key, 0600, err) && file_write(pki_path(c, "sa.pub"), pub, 0644, err);
}

bool pki_ca_hash(struct cluster_config *c, char out[80], struct err *err) {
	auto_arena struct arena a = { 0 };
	struct str pem;
	struct cert_identity id;
	if (!pki_read(c, "ca.crt", &a, &pem, err) || !cert_parse(pem, &a, &id, err)) {
		return false;
	}
	snprintf(out, 80, "sha256:%.*s", STR_ARG(id.fingerprint));
	return true;
}
