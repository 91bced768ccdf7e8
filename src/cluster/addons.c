/* SPDX-License-Identifier: Apache-2.0 */
/*
 * addons.c - see addons.h. The objects are YAML templates, since that is how an operator knows them;
 * each is created when it is missing, and put right when `force` says that its content is ours.
 */
#include "cluster/addons.h"

#include "net/digest.h"

struct addon {
	struct gvr gvr;
	const char *ns; /* NULL: cluster-scoped */
	bool force;     /* our content wins */
	const char *yaml;
};

/* %1 DNS address, %2 DNS port, %3 DNS cluster IP, %4 API server URL, %5 CA as base64, %6 service range, %7 pod range, %8 domain */
static const struct addon addons[] = {
	{ GVR_INIT("", "v1", "serviceaccounts"), "kube-system", false, "{apiVersion: v1, kind: ServiceAccount, metadata: {name: coredns}}" },
	{ GVR_INIT("rbac.authorization.k8s.io", "v1", "clusterroles"), NULL, false,
		"apiVersion: rbac.authorization.k8s.io/v1\n"
		"kind: ClusterRole\n"
		"metadata: {name: 'system:coredns', labels: {kubernetes.io/bootstrapping: rbac-defaults}}\n"
		"rules:\n"
		"- {apiGroups: [''], resources: [endpoints, services, pods, namespaces], verbs: [list, watch]}\n"
		"- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}\n" },
	{ GVR_INIT("rbac.authorization.k8s.io", "v1", "clusterrolebindings"), NULL, false,
		"apiVersion: rbac.authorization.k8s.io/v1\n"
		"kind: ClusterRoleBinding\n"
		"metadata: {name: 'system:coredns', labels: {kubernetes.io/bootstrapping: rbac-defaults}}\n"
		"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'system:coredns'}\n"
		"subjects: [{kind: ServiceAccount, name: coredns, namespace: kube-system}]\n" },
	{ GVR_INIT("", "v1", "services"), "kube-system", false,
		"apiVersion: v1\n"
		"kind: Service\n"
		"metadata:\n"
		"  name: kube-dns\n"
		"  labels: {k8s-app: kube-dns, kubernetes.io/cluster-service: 'true', kubernetes.io/name: CoreDNS}\n"
		"spec:\n"
		"  clusterIP: %3\n"
		"  ports:\n"
		"  - {name: dns, port: 53, protocol: UDP, targetPort: 53}\n"
		"  - {name: dns-tcp, port: 53, protocol: TCP, targetPort: 53}\n" },
	{ GVR_INIT("", "v1", "endpoints"), "kube-system", true,
		"apiVersion: v1\n"
		"kind: Endpoints\n"
		"metadata: {name: kube-dns, labels: {k8s-app: kube-dns, endpointslice.kubernetes.io/skip-mirror: 'true'}}\n"
		"subsets:\n"
		"- addresses: [{ip: %1}]\n"
		"  ports: [{name: dns, port: %2, protocol: UDP}, {name: dns-tcp, port: %2, protocol: TCP}]\n" },
	{ GVR_INIT("discovery.k8s.io", "v1", "endpointslices"), "kube-system", true,
		"apiVersion: discovery.k8s.io/v1\n"
		"kind: EndpointSlice\n"
		"metadata:\n"
		"  name: kube-dns\n"
		"  labels: {kubernetes.io/service-name: kube-dns, endpointslice.kubernetes.io/managed-by: coracle}\n"
		"addressType: IPv4\n"
		"endpoints: [{addresses: [%1], conditions: {ready: true, serving: true, terminating: false}}]\n"
		"ports: [{name: dns, port: %2, protocol: UDP}, {name: dns-tcp, port: %2, protocol: TCP}]\n" },
	{ GVR_INIT("", "v1", "configmaps"), "kube-public", true,
		"apiVersion: v1\n"
		"kind: ConfigMap\n"
		"metadata: {name: cluster-info}\n"
		"data:\n"
		"  kubeconfig: |\n"
		"    apiVersion: v1\n"
		"    kind: Config\n"
		"    clusters:\n"
		"    - name: ''\n"
		"      cluster:\n"
		"        certificate-authority-data: %5\n"
		"        server: %4\n"
		"    contexts: null\n"
		"    current-context: ''\n"
		"    users: null\n"
		"  coracle.network: |\n"
		"    {\"clusterCIDR\":\"%7\",\"serviceCIDR\":\"%6\",\"clusterDNS\":\"%3\",\"clusterDomain\":\"%8\"}\n" },
	{ GVR_INIT("rbac.authorization.k8s.io", "v1", "roles"), "kube-public", false,
		"apiVersion: rbac.authorization.k8s.io/v1\n"
		"kind: Role\n"
		"metadata: {name: 'kubeadm:bootstrap-signer-clusterinfo'}\n"
		"rules: [{apiGroups: [''], resources: [configmaps], resourceNames: [cluster-info], verbs: [get]}]\n" },
	{ GVR_INIT("rbac.authorization.k8s.io", "v1", "rolebindings"), "kube-public", false,
		"apiVersion: rbac.authorization.k8s.io/v1\n"
		"kind: RoleBinding\n"
		"metadata: {name: 'kubeadm:bootstrap-signer-clusterinfo'}\n"
		"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: 'kubeadm:bootstrap-signer-clusterinfo'}\n"
		"subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: 'system:anonymous'}]\n" },
	{ GVR_INIT("rbac.authorization.k8s.io", "v1", "clusterrolebindings"), NULL, false,
		"apiVersion: rbac.authorization.k8s.io/v1\n"
		"kind: ClusterRoleBinding\n"
		"metadata: {name: 'kubeadm:kubelet-bootstrap'}\n"
		"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'system:node-bootstrapper'}\n"
		"subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'system:bootstrappers'}]\n" },
	{ GVR_INIT("rbac.authorization.k8s.io", "v1", "clusterrolebindings"), NULL, false,
		"apiVersion: rbac.authorization.k8s.io/v1\n"
		"kind: ClusterRoleBinding\n"
		"metadata: {name: 'coracle:nodes-proxy'}\n"
		"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'system:node-proxier'}\n"
		"subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'system:nodes'}]\n" },
	{ GVR_INIT("rbac.authorization.k8s.io", "v1", "clusterrolebindings"), NULL, false,
		"apiVersion: rbac.authorization.k8s.io/v1\n"
		"kind: ClusterRoleBinding\n"
		"metadata: {name: 'kubeadm:cluster-admins'}\n"
		"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}\n"
		"subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'kubeadm:cluster-admins'}]\n" },
};

static void expand(struct buf *b, const char *text, const struct str *args, size_t n) {
	for (const char *p = text; *p; p++) {
		if (*p == '%' && p[1] >= '1' && (size_t)(p[1] - '1') < n) {
			buf_str(b, args[p[1] - '1']);
			p++;
		} else {
			buf_char(b, *p);
		}
	}
}

static bool ensure(struct client *c, const struct addon *ad, struct str yaml, struct err *err) {
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *have = NULL;
	struct value *v;
	struct str ns = str_c(ad->ns);
	if (!yaml_parse(&a, yaml, NULL, &v, err)) {
		return false;
	}
	if (ad->ns) {
		value_set_str(&a, value_get(v, N_metadata), N_namespace, ns);
	}
	struct str name = value_str_at(v, N_metadata, N_name);
	if (!client_get(c, ad->gvr, ns, name, &have, err)) {
		return err->code == ERR_NOT_FOUND && (client_create(c, ad->gvr, ns, v, NULL, err) || err->code == ERR_ALREADY_EXISTS);
	}
	return !ad->force || client_patch(c, ad->gvr, ns, name, (struct str){ 0 }, PATCH_MERGE, v, NULL, err);
}

bool addons_ensure(struct client *c, struct cluster_config *cfg, const char *dns_address, int dns_port, struct str ca_pem, struct err *err) {
	auto_arena struct arena a = { 0 };
	const struct str args[] = {
		str_c(dns_address),
		arena_printf(&a, "%d", dns_port),
		str_c(cfg->dns_ip),
		arena_printf(&a, "https://%s:%d", cfg->node_ip, cfg->port),
		base64_encode(&a, ca_pem),
		str_c(cfg->service_cidr),
		str_c(cfg->cluster_cidr),
		str_c(cfg->domain),
	};
	for (size_t i = 0; i < ARRAY_LEN(addons); i++) {
		auto_buf struct buf b = { 0 };
		expand(&b, addons[i].yaml, args, ARRAY_LEN(args));
		if (!ensure(c, &addons[i], buf_view(&b), err)) {
			return err_wrap(err, "addon %zu (%.*s)", i, STR_ARG(addons[i].gvr.resource));
		}
	}
	return true;
}

bool token_create(struct client *c, struct arena *a, nsec_t ttl, struct str description, struct str *ret, struct err *err) {
	static const struct str alphabet = S_INIT("abcdefghijklmnopqrstuvwxyz0123456789");
	struct str id = random_text(a, 6, alphabet), secret = random_text(a, 16, alphabet);
	char when[TIME_TEXT_MAX];
	struct value *v = value_new_object(a);
	value_set_str(a, v, N_apiVersion, S("v1"));
	value_set_str(a, v, N_kind, S("Secret"));
	struct value *meta = value_ensure_object(a, v, N_metadata);
	value_set_str(a, meta, N_name, arena_printf(a, "bootstrap-token-%.*s", STR_ARG(id)));
	value_set_str(a, meta, N_namespace, S("kube-system"));
	value_set_str(a, v, N_type, S("bootstrap.kubernetes.io/token"));
	struct value *data = value_ensure_object(a, v, N_stringData);
	value_set_key_str(a, data, S("token-id"), id);
	value_set_key_str(a, data, S("token-secret"), secret);
	value_set_key_str(a, data, S("usage-bootstrap-authentication"), S("true"));
	value_set_key_str(a, data, S("usage-bootstrap-signing"), S("true"));
	value_set_key_str(a, data, S("description"), description);
	if (ttl > 0) {
		value_set_key_str(a, data, S("expiration"), time_format(clock_wall() + ttl, when));
	}
	if (!client_create(c, GVR_SECRETS, S("kube-system"), v, NULL, err)) {
		return false;
	}
	*ret = arena_printf(a, "%.*s.%.*s", STR_ARG(id), STR_ARG(secret));
	return true;
}
