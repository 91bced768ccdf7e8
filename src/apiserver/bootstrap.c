/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bootstrap.c - what every cluster starts with: namespaces, roles, priority classes, flow control, the kubernetes Service. Made at
 * start where it is missing, in parallel so that all share a few flushes; later kept so by a job every few seconds, which also
 * fills aggregated ClusterRoles.
 */
#include "apiserver/server.h"

#include <arpa/inet.h>
#include <malloc.h>

#include "apiserver/policy.h"
#include "base/log.h"
#include "client/selector.h"

#define WORKERS 16
#define KEEP_EVERY NSEC_PER_SEC
#define KEEP_ALL_EVERY 10 /* turns */
#define EXPIRE_EVERY 60
#define TRIM_WRITES 2000

struct bootstrap {
	struct apiserver *s;
	struct loop_timer timer;
	pthread_mutex_t lock;
	pthread_cond_t idle;
	bool busy, stop; /* under lock: the job runs; no more jobs */
	unsigned turn;
	uint64_t roles_head; /* position of the ClusterRoles when they were last aggregated; the job's */
	bool aggregated;
	int64_t trimmed; /* revision when freed memory was last given back; the job's */
};

/* ---- objects ----------------------------------------------------------------------------------------- */

#define NAMESPACE(name) "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"" name "\"}}"
static const char *const namespaces[] = { NAMESPACE("default"), NAMESPACE("kube-system"), NAMESPACE("kube-public"), NAMESPACE("kube-node-lease") };

#define FC "\"apiVersion\":\"flowcontrol.apiserver.k8s.io/v1\""
#define LIMITED(name, shares, lendable, response) \
	"{" FC ",\"kind\":\"PriorityLevelConfiguration\",\"metadata\":{\"name\":\"" name "\",\"annotations\":{\"apf.kubernetes.io/autoupdate-spec\":\"true\"}}," \
	"\"spec\":{\"type\":\"Limited\",\"limited\":{\"nominalConcurrencyShares\":" shares ",\"lendablePercent\":" lendable ",\"limitResponse\":" response "}}}"
#define QUEUES(queues, hand, length) "{\"type\":\"Queue\",\"queuing\":{\"queues\":" queues ",\"handSize\":" hand ",\"queueLengthLimit\":" length "}}"
#define FLOW(name, level, precedence, by, rules) \
	"{" FC ",\"kind\":\"FlowSchema\",\"metadata\":{\"name\":\"" name "\",\"annotations\":{\"apf.kubernetes.io/autoupdate-spec\":\"true\"}}," \
	"\"spec\":{\"priorityLevelConfiguration\":{\"name\":\"" level "\"},\"matchingPrecedence\":" precedence by ",\"rules\":[" rules "]}}"
#define BY_USER ",\"distinguisherMethod\":{\"type\":\"ByUser\"}"
#define BY_NAMESPACE ",\"distinguisherMethod\":{\"type\":\"ByNamespace\"}"
#define GROUP(name) "{\"kind\":\"Group\",\"group\":{\"name\":\"" name "\"}}"
#define USER(name) "{\"kind\":\"User\",\"user\":{\"name\":\"" name "\"}}"
#define ACCOUNT(ns, name) "{\"kind\":\"ServiceAccount\",\"serviceAccount\":{\"namespace\":\"" ns "\",\"name\":\"" name "\"}}"
#define ALL_RESOURCES "{\"verbs\":[\"*\"],\"apiGroups\":[\"*\"],\"resources\":[\"*\"],\"clusterScope\":true,\"namespaces\":[\"*\"]}"
#define ALL_PATHS "{\"verbs\":[\"*\"],\"nonResourceURLs\":[\"*\"]}"
#define RULE_ALL(subjects) "{\"subjects\":[" subjects "],\"resourceRules\":[" ALL_RESOURCES "],\"nonResourceRules\":[" ALL_PATHS "]}"
#define RULE(subjects, verbs, groups, resources, namespaces) \
	"{\"subjects\":[" subjects "],\"resourceRules\":[{\"verbs\":[" verbs "],\"apiGroups\":[\"" groups "\"],\"resources\":[" resources "],\"namespaces\":[\"" \
	namespaces "\"]}]}"
#define EVERYBODY GROUP("system:unauthenticated") "," GROUP("system:authenticated")
#define LEASE_VERBS "\"get\",\"create\",\"update\""

static const char *const objects[] = {
	"{\"apiVersion\":\"scheduling.k8s.io/v1\",\"kind\":\"PriorityClass\",\"metadata\":{\"name\":\"system-node-critical\"},\"value\":2000001000,"
	"\"description\":\"Used for system critical pods that must not be moved from their current node.\"}",
	"{\"apiVersion\":\"scheduling.k8s.io/v1\",\"kind\":\"PriorityClass\",\"metadata\":{\"name\":\"system-cluster-critical\"},\"value\":2000000000,"
	"\"description\":\"Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.\"}",
	"{" FC ",\"kind\":\"PriorityLevelConfiguration\",\"metadata\":{\"name\":\"exempt\",\"annotations\":{\"apf.kubernetes.io/autoupdate-spec\":\"true\"}},"
	"\"spec\":{\"type\":\"Exempt\",\"exempt\":{\"nominalConcurrencyShares\":0,\"lendablePercent\":0}}}",
	LIMITED("catch-all", "5", "0", "{\"type\":\"Reject\"}"),
	LIMITED("system", "30", "33", QUEUES("64", "6", "50")),
	LIMITED("node-high", "40", "25", QUEUES("64", "6", "50")),
	LIMITED("leader-election", "10", "0", QUEUES("16", "4", "50")),
	LIMITED("workload-high", "40", "50", QUEUES("128", "6", "50")),
	LIMITED("workload-low", "100", "90", QUEUES("128", "6", "50")),
	LIMITED("global-default", "20", "50", QUEUES("128", "6", "50")),
	FLOW("exempt", "exempt", "1", "", RULE_ALL(GROUP("system:masters"))),
	FLOW("catch-all", "catch-all", "10000", BY_USER, RULE_ALL(EVERYBODY)),
	FLOW("probes", "exempt", "2", "",
		"{\"subjects\":[" EVERYBODY "],\"nonResourceRules\":[{\"verbs\":[\"get\"],\"nonResourceURLs\":[\"/healthz\",\"/readyz\",\"/livez\"]}]}"),
	FLOW("system-leader-election", "leader-election", "100", BY_USER,
		RULE(USER("system:kube-controller-manager") "," USER("system:kube-scheduler") "," ACCOUNT("kube-system", "*"), LEASE_VERBS,
			"coordination.k8s.io", "\"leases\"", "*")),
	FLOW("endpoint-controller", "workload-high", "150", BY_USER,
		RULE(USER("system:kube-controller-manager") "," ACCOUNT("kube-system", "endpoint-controller") "," ACCOUNT("kube-system", "endpointslicemirroring-controller"),
			LEASE_VERBS, "", "\"endpoints\"", "*")),
	FLOW("workload-leader-election", "leader-election", "200", BY_USER,
		RULE(ACCOUNT("kube-system", "*"), LEASE_VERBS, "coordination.k8s.io", "\"leases\"", "*")),
	FLOW("system-node-high", "node-high", "400", BY_USER,
		"{\"subjects\":[" GROUP("system:nodes") "],\"resourceRules\":[{\"verbs\":[\"*\"],\"apiGroups\":[\"\"],\"resources\":[\"nodes\",\"nodes/status\"],"
		"\"clusterScope\":true,\"namespaces\":[\"*\"]},{\"verbs\":[\"*\"],\"apiGroups\":[\"coordination.k8s.io\"],\"resources\":[\"leases\"],"
		"\"namespaces\":[\"*\"]}]}"),
	FLOW("system-nodes", "system", "500", BY_USER, RULE_ALL(GROUP("system:nodes"))),
	FLOW("kube-controller-manager", "workload-high", "800", BY_NAMESPACE, RULE_ALL(USER("system:kube-controller-manager"))),
	FLOW("kube-scheduler", "workload-high", "800", BY_NAMESPACE, RULE_ALL(USER("system:kube-scheduler"))),
	FLOW("kube-system-service-accounts", "workload-high", "900", BY_NAMESPACE, RULE_ALL(ACCOUNT("kube-system", "*"))),
	FLOW("service-accounts", "workload-low", "9000", BY_USER, RULE_ALL(GROUP("system:serviceaccounts"))),
	FLOW("global-default", "global-default", "9900", BY_USER, RULE_ALL(EVERYBODY)),
};

/* ---- roles ------------------------------------------------------------------------------------------- */

static struct value *labelled(struct arena *a, const char *kind, const char *ns, const char *name) {
	struct value *o = value_new_object(a);

	value_set_str(a, o, N_apiVersion, S("rbac.authorization.k8s.io/v1"));
	value_set_str(a, o, N_kind, str_c(kind));
	struct value *meta = value_ensure_object(a, o, N_metadata);
	value_set_str(a, meta, N_name, str_c(name));
	if (ns) {
		value_set_str(a, meta, N_namespace, str_c(ns));
	}
	value_set_key_str(a, value_ensure_object(a, meta, N_annotations), S("rbac.authorization.kubernetes.io/autoupdate"), S("true"));
	value_set_key_str(a, value_ensure_object(a, meta, N_labels), S("kubernetes.io/bootstrapping"), S("rbac-defaults"));
	return o;
}

static void push_words(struct arena *a, struct value *list, struct str words) {
	static const struct {
		const char *word, *means;
	} short_forms[] = { { "$r", "get,list,watch" }, { "$w", "create,delete,deletecollection,patch,update" },
		{ "$rw", "create,delete,deletecollection,get,list,patch,update,watch" }, { "core", "" } };
	struct str w;

	while (str_next(&words, ',', &w)) {
		bool found = false;
		for (size_t i = 0; i < ARRAY_LEN(short_forms) && !found; i++) {
			if (str_eqc(w, short_forms[i].word)) {
				found = true;
				if (*short_forms[i].means) {
					push_words(a, list, str_c(short_forms[i].means));
				} else {
					value_push_str(a, list, S(""));
				}
			}
		}
		if (!found) {
			value_push_str(a, list, w);
		}
	}
}

static struct value *rule_of(struct arena *a, const char *text) {
	struct value *rule = value_new_object(a);
	struct str rest = str_c(text), part;

	str_cut(rest, '|', &part, &rest);
	push_words(a, value_ensure_array(a, rule, N_verbs), part);
	if (rest.len && (rest.ptr[0] == '/' || str_eq(rest, S("*")))) {
		push_words(a, value_ensure_array(a, rule, N_nonResourceURLs), str_eq(rest, S("/*")) ? S("*") : rest);
		return rule;
	}
	str_cut(rest, '|', &part, &rest);
	push_words(a, value_ensure_array(a, rule, N_apiGroups), part);
	str_cut(rest, '|', &part, &rest);
	push_words(a, value_ensure_array(a, rule, N_resources), part);
	if (rest.len) {
		push_words(a, value_ensure_array(a, rule, N_resourceNames), rest);
	}
	return rule;
}

static struct value *role_object(struct arena *a, const struct policy_role *p) {
	struct value *o = labelled(a, p->ns ? "Role" : "ClusterRole", p->ns, p->name), *rules = value_new_array(a);

	if (p->aggregate_to) {
		value_set_key_str(a, value_at(o, N_metadata, N_labels), arena_printf(a, "rbac.authorization.k8s.io/aggregate-to-%s", p->aggregate_to), S("true"));
	}
	if (p->aggregate_from) {
		struct value *selectors = value_ensure_array(a, value_ensure_object(a, o, N_aggregationRule), N_clusterRoleSelectors);
		struct value *sel = value_push(a, selectors, value_new_object(a));
		value_set_key_str(a, value_ensure_object(a, sel, N_matchLabels),
			arena_printf(a, "rbac.authorization.k8s.io/aggregate-to-%s", p->aggregate_from), S("true"));
	}
	for (size_t i = 0; p->rules && p->rules[i]; i++) {
		value_push(a, rules, rule_of(a, p->rules[i]));
	}
	value_set(a, o, N_rules, rules);
	return o;
}

static struct value *binding_object(struct arena *a, const struct policy_binding *p) {
	struct value *o = labelled(a, p->ns ? "RoleBinding" : "ClusterRoleBinding", p->ns, p->name), *ref = value_ensure_object(a, o, N_roleRef);
	struct str kind, name, rest = str_c(p->subjects), one;

	str_cut(str_c(p->role), '/', &kind, &name);
	value_set_str(a, ref, N_apiGroup, S("rbac.authorization.k8s.io"));
	value_set_str(a, ref, N_kind, kind);
	value_set_str(a, ref, N_name, name);
	while (rest.len && str_next(&rest, ',', &one)) {
		struct value *s = value_push(a, value_ensure_array(a, o, N_subjects), value_new_object(a));
		str_cut(one, '/', &kind, &name);
		value_set_str(a, s, N_kind, kind);
		if (str_eq(kind, S("ServiceAccount"))) {
			struct str ns;
			str_cut(name, '/', &ns, &name);
			value_set_str(a, s, N_namespace, ns);
		} else {
			value_set_str(a, s, N_apiGroup, S("rbac.authorization.k8s.io"));
		}
		value_set_str(a, s, N_name, name);
	}
	return o;
}

/* ---- making them ------------------------------------------------------------------------------------------ */

void req_internal(struct apiserver *s, struct arena *a, struct req *r, struct storage *st, enum verb verb, struct str ns, struct str name) {
	static const struct str groups[] = { S_INIT("system:masters"), S_INIT("system:authenticated") };

	*r = (struct req){ .s = s, .a = a, .st = st, .res = st->res, .verb = verb };
	r->user = (struct user){ .name = S("system:apiserver"), .groups = groups, .groups_len = ARRAY_LEN(groups) };
	r->info = (struct request_info){ .is_resource = true, .group = st->group, .version = schema_resource_version(st->res), .resource = st->resource, .ns = ns,
		.name = name };
	r->opts.timeout_seconds = -1;
	r->opts.validation = FIELD_VALIDATION_IGNORE;
	r->accept.as_version = S("v1");
	r->kx = (struct kind_ctx){ .arena = a, .ns = ns, .name = name, .user = r->user.name, .services = s->services };
}

/* Creates `raw` unless something of its name is there. */
static bool ensure(struct apiserver *s, struct arena *a, const struct value *raw, struct err *err) {
	const struct schema_resource *res = schema_resource_of(schema_kind_of(raw));
	struct storage *st = res ? storage_of(s, res) : NULL;
	struct str ns = value_str_at(raw, N_metadata, N_namespace), name = value_str_at(raw, N_metadata, N_name);
	auto_obj struct obj *made = NULL;
	struct value *o = NULL;
	struct req r;

	if (!st) {
		return err_set(err, ERR_INTERNAL, "no resource for kind %.*s", STR_ARG(value_str_at(raw, N_kind)));
	}
	auto_obj struct obj *there = storage_get(st, ns, name);
	if (there) {
		return true;
	}
	req_internal(s, a, &r, st, VERB_CREATE, ns, S(""));
	if (!value_decode(&r, st->type, raw, true, &o, err) || !registry_create(&r, o, &made, err)) {
		if (err->code == ERR_ALREADY_EXISTS) {
			err_clear(err);
			return true;
		}
		return err_wrap(err, "make %.*s %.*s", STR_ARG(st->resource), STR_ARG(name));
	}
	return true;
}

static bool ensure_text(struct apiserver *s, const char *text, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct value *raw = NULL;

	return json_parse(&a, str_c(text), NULL, &raw, err) && ensure(s, &a, raw, err);
}

/* Everything with an index, so that workers can share it out. */
static size_t things_len(void) {
	return ARRAY_LEN(objects) + policy_roles_len + policy_bindings_len;
}

static bool make_thing(struct apiserver *s, size_t i, struct err *err) {
	auto_arena struct arena a = { 0 };

	if (i < ARRAY_LEN(objects)) {
		return ensure_text(s, objects[i], err);
	}
	i -= ARRAY_LEN(objects);
	if (i < policy_roles_len) {
		return ensure(s, &a, role_object(&a, &policy_roles[i]), err);
	}
	return ensure(s, &a, binding_object(&a, &policy_bindings[i - policy_roles_len]), err);
}

struct crew {
	struct apiserver *s;
	size_t next; /* atomic */
	pthread_mutex_t lock;
	pthread_cond_t done;
	int working; /* under lock */
	struct err err;
};

static void crew_work(void *arg) {
	struct crew *c = arg;
	struct err err = { 0 };

	for (size_t i; (i = __atomic_fetch_add(&c->next, 1, __ATOMIC_RELAXED)) < things_len();) {
		if (!make_thing(c->s, i, &err)) {
			log_warn("apiserver", "bootstrap object not made", kv_err(&err));
			pthread_mutex_lock(&c->lock);
			c->err = err;
			pthread_mutex_unlock(&c->lock);
			err_clear(&err);
		}
	}
	pthread_mutex_lock(&c->lock);
	c->working--;
	pthread_cond_signal(&c->done);
	pthread_mutex_unlock(&c->lock);
}

/* Blocks until all are there. */
static void make_things(struct apiserver *s) {
	struct crew c = { .s = s, .lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER };

	for (int i = 0; i < WORKERS; i++) {
		c.working++;
	}
	for (int i = 0; i < WORKERS; i++) {
		if (!pool_run(crew_work, &c)) {
			crew_work(&c);
		}
	}
	pthread_mutex_lock(&c.lock);
	while (c.working) {
		pthread_cond_wait(&c.done, &c.lock);
	}
	pthread_mutex_unlock(&c.lock);
}

/* ---- the kubernetes Service ------------------------------------------------------------------------------------ */

/* The first address of the range. */
static bool first_address(const char *cidr, char *out, socklen_t len) {
	struct str net, bits;
	auto_arena struct arena a = { 0 };
	unsigned char raw[16];

	str_cut(str_c(cidr), '/', &net, &bits);
	int family = str_index(net, ':') >= 0 ? AF_INET6 : AF_INET;
	if (inet_pton(family, arena_cstr(&a, net), raw) != 1) {
		return false;
	}
	raw[family == AF_INET ? 3 : 15]++;
	return inet_ntop(family, raw, out, len) != NULL;
}

static bool take_body(struct req *r, const struct value *current, void *arg, struct value **ret, struct err *err) {
	struct value *o = value_copy(r->a, current);
	const struct value *want = arg;

	VALUE_EACH(want, m) {
		if (m->name != N_metadata && m->name != N_kind && m->name != N_apiVersion) {
			value_set(r->a, o, m->name, m);
		}
	}
	value_remove(value_get(o, N_metadata), N_resourceVersion);
	*ret = o;
	return true;
}

/* Creates it, or makes its members (metadata apart) what `text` says. */
static bool ensure_same(struct apiserver *s, struct str text, struct err *err) {
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *o = NULL;
	struct value *raw = NULL;
	struct req r;

	if (!json_parse(&a, text, NULL, &raw, err) || !ensure(s, &a, raw, err)) {
		return false;
	}
	struct storage *st = storage_of(s, schema_resource_of(schema_kind_of(raw)));
	struct str ns = value_str_at(raw, N_metadata, N_namespace), name = value_str_at(raw, N_metadata, N_name);
	req_internal(s, &a, &r, st, VERB_UPDATE, ns, name);
	return registry_modify_object(&r, st, ns, name, 0, take_body, raw, &o, NULL, err);
}

static bool make_service(struct apiserver *s, struct err *err) {
	auto_arena struct arena a = { 0 };
	char ip[INET6_ADDRSTRLEN];
	const char *address = s->opts.advertise_address;
	bool v6 = strchr(address, ':') != NULL;
	int port = http_server_port(s->http, 0);

	if (!first_address(s->opts.service_cidr, ip, sizeof(ip))) {
		return err_set(err, ERR_INVALID, "service range %s is not a CIDR", s->opts.service_cidr);
	}
	struct str cidr = arena_printf(&a,
		"{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"ServiceCIDR\",\"metadata\":{\"name\":\"kubernetes\"},\"spec\":{\"cidrs\":[\"%s\"]}}",
		s->opts.service_cidr);
	struct str service = arena_printf(&a,
		"{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"kubernetes\",\"namespace\":\"default\",\"labels\":{\"component\":\"apiserver\","
		"\"provider\":\"kubernetes\"}},\"spec\":{\"type\":\"ClusterIP\",\"clusterIP\":\"%s\",\"clusterIPs\":[\"%s\"],\"sessionAffinity\":\"None\",\"ports\":"
		"[{\"name\":\"https\",\"protocol\":\"TCP\",\"port\":443,\"targetPort\":%d}]}}",
		ip, ip, port);
	struct str endpoints = arena_printf(&a,
		"{\"apiVersion\":\"v1\",\"kind\":\"Endpoints\",\"metadata\":{\"name\":\"kubernetes\",\"namespace\":\"default\",\"labels\":"
		"{\"endpointslice.kubernetes.io/skip-mirror\":\"true\"}},\"subsets\":[{\"addresses\":[{\"ip\":\"%s\"}],\"ports\":"
		"[{\"name\":\"https\",\"port\":%d,\"protocol\":\"TCP\"}]}]}",
		address, port);
	struct str slice = arena_printf(&a,
		"{\"apiVersion\":\"discovery.k8s.io/v1\",\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":\"kubernetes\",\"namespace\":\"default\",\"labels\":"
		"{\"kubernetes.io/service-name\":\"kubernetes\"}},\"addressType\":\"%s\",\"endpoints\":[{\"addresses\":[\"%s\"],\"conditions\":{\"ready\":true}}],"
		"\"ports\":[{\"name\":\"https\",\"port\":%d,\"protocol\":\"TCP\"}]}",
		v6 ? "IPv6" : "IPv4", address, port);
	auto_arena struct arena tmp = { 0 };
	struct value *raw = NULL;
	bool ok = json_parse(&tmp, cidr, NULL, &raw, err) && ensure(s, &tmp, raw, err);
	ok = ok && json_parse(&tmp, service, NULL, &raw, err) && ensure(s, &tmp, raw, err);
	return ok && ensure_same(s, endpoints, err) && ensure_same(s, slice, err);
}

/* How other servers verify clients: kube-system/extension-apiserver-authentication. */
static bool make_auth_config(struct apiserver *s, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct value *o = value_new_object(&a), *meta, *data;

	value_set_str(&a, o, N_apiVersion, S("v1"));
	value_set_str(&a, o, N_kind, S("ConfigMap"));
	meta = value_ensure_object(&a, o, N_metadata);
	value_set_str(&a, meta, N_name, S("extension-apiserver-authentication"));
	value_set_str(&a, meta, N_namespace, S("kube-system"));
	data = value_ensure_object(&a, o, N_data);
	value_set_key_str(&a, data, S("client-ca-file"), s->client_ca_pem);
	if (s->requestheader_ca_pem.len) {
		value_set_key_str(&a, data, S("requestheader-allowed-names"), S("[\"front-proxy-client\"]"));
		value_set_key_str(&a, data, S("requestheader-client-ca-file"), s->requestheader_ca_pem);
		value_set_key_str(&a, data, S("requestheader-extra-headers-prefix"), S("[\"X-Remote-Extra-\"]"));
		value_set_key_str(&a, data, S("requestheader-group-headers"), S("[\"X-Remote-Group\"]"));
		value_set_key_str(&a, data, S("requestheader-username-headers"), S("[\"X-Remote-User\"]"));
	}
	return ensure_same(s, json_text(&a, o), err);
}

/* ---- aggregated ClusterRoles -------------------------------------------------------------------------------------- */

static bool aggregate_one(struct apiserver *s, struct storage *st, const struct snapshot *snap, const struct obj *role, struct err *err) {
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *after = NULL;
	struct value *want = value_new_object(&a), *rules = value_new_array(&a);
	struct tree_iter it;
	struct req r;

	tree_seek(&it, snap->root, S(""));
	for (struct tree_item *i; (i = tree_next(&it));) {
		const struct value *from = i->obj->root;
		bool chosen = false;
		VALUE_EACH(value_at(role->root, N_aggregationRule, N_clusterRoleSelectors), text) {
			const struct selector *sel = NULL;
			chosen = chosen || (selector_from_value(&a, text, &sel, err) && selector_matches(sel, value_at(from, N_metadata, N_labels)));
		}
		if (!chosen || i->obj == role) {
			continue;
		}
		VALUE_EACH(value_get(from, N_rules), rule) {
			bool there = false;
			VALUE_EACH(rules, have) {
				there = there || value_eq(have, rule);
			}
			if (!there) {
				value_push(&a, rules, rule);
			}
		}
	}
	if (value_eq(rules, value_get(role->root, N_rules)) || (!value_len(rules) && !value_len(value_get(role->root, N_rules)))) {
		return true;
	}
	value_set(&a, want, N_rules, rules);
	struct str name = value_str_at(role->root, N_metadata, N_name);
	req_internal(s, &a, &r, st, VERB_UPDATE, S(""), name);
	return registry_modify_object(&r, st, S(""), name, 0, take_body, want, &after, NULL, err);
}

/* Until nothing changes any more: an aggregated role may be the source of another (view, edit, admin). */
static void aggregate(struct bootstrap *b) {
	struct storage *st = storage_find(b->s, S("rbac.authorization.k8s.io"), S("clusterroles"));

	for (int turn = 0; turn < 8; turn++) {
		struct snapshot snap;
		struct tree_iter it;
		cache_snapshot(st->cache, &snap);
		if (b->aggregated && snap.position == b->roles_head) {
			snapshot_release(&snap);
			return;
		}
		b->aggregated = true;
		b->roles_head = snap.position;
		tree_seek(&it, snap.root, S(""));
		for (struct tree_item *i; (i = tree_next(&it));) {
			struct err err = { 0 };
			if (value_get(i->obj->root, N_aggregationRule) && !aggregate_one(b->s, st, &snap, i->obj, &err)) {
				log_warn("apiserver", "cluster role not aggregated", kv_str("role", tree_key(i)), kv_err(&err));
			}
		}
		snapshot_release(&snap);
	}
}

/* ---- keeping ----------------------------------------------------------------------------------------------------------- */

static bool make_namespaces(struct apiserver *s, struct err *err) {
	for (size_t i = 0; i < ARRAY_LEN(namespaces); i++) {
		if (!ensure_text(s, namespaces[i], err)) {
			return false;
		}
	}
	return true;
}

/* After many writes the allocator holds room that requests have left behind: the kernel gets it back. */
static void trim(struct bootstrap *b) {
	int64_t now = cacher_revision(b->s->cacher);

	if (now - b->trimmed > TRIM_WRITES) {
		b->trimmed = now;
		(void)malloc_trim(0);
	}
}

static void keep(void *arg) {
	struct bootstrap *b = arg;
	struct err err = { 0 };

	aggregate(b);
	if (b->turn++ % KEEP_ALL_EVERY == 0) {
		if (!make_namespaces(b->s, &err) || !make_service(b->s, &err) || !make_auth_config(b->s, &err)) {
			log_debug("apiserver", "bootstrap object not kept", kv_err(&err));
		}
		trim(b);
	}
	if (b->turn % EXPIRE_EVERY == 0) {
		events_expire(b->s);
	}
	pthread_mutex_lock(&b->lock);
	b->busy = false;
	pthread_cond_broadcast(&b->idle);
	pthread_mutex_unlock(&b->lock);
}

static void on_timer(struct loop_timer *t) {
	struct bootstrap *b = container_of(t, struct bootstrap, timer);

	pthread_mutex_lock(&b->lock);
	bool start = !b->busy && !b->stop, again = !b->stop;
	b->busy |= start;
	pthread_mutex_unlock(&b->lock);
	if (start && !pool_run(keep, b)) {
		pthread_mutex_lock(&b->lock);
		b->busy = false;
		pthread_mutex_unlock(&b->lock);
	}
	if (again) {
		loop_timer_start(t->loop, t, KEEP_EVERY, on_timer);
	}
}

static void start_timer(void *arg) {
	struct bootstrap *b = arg;

	loop_timer_start(b->s->loop, &b->timer, KEEP_EVERY, on_timer);
}

bool bootstrap_start(struct apiserver *s, struct err *err) {
	struct bootstrap *b = xcalloc(1, sizeof(*b));
	struct err quiet = { 0 };

	s->bootstrap = b;
	b->s = s;
	b->turn = 1;
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->idle, NULL);
	if (!make_namespaces(s, err)) {
		return false;
	}
	make_things(s);
	aggregate(b);
	if (!make_auth_config(s, err)) {
		return false;
	}
	if (!make_service(s, &quiet)) { /* an address that no Endpoints may hold, as 127.0.0.1 in tests: the server itself works */
		log_warn("apiserver", "the kubernetes service is not complete", kv_err(&quiet));
	}
	(void)loop_call(s->loop, start_timer, b);
	return true;
}

void bootstrap_stop(struct apiserver *s) {
	struct bootstrap *b = s->bootstrap;

	if (!b) {
		return;
	}
	pthread_mutex_lock(&b->lock);
	b->stop = true;
	while (b->busy) {
		pthread_cond_wait(&b->idle, &b->lock);
	}
	pthread_mutex_unlock(&b->lock);
	if (s->loop_running) {
		loop_stop(s->loop); /* its timer is in b */
		s->loop_running = false;
	}
	pthread_cond_destroy(&b->idle);
	pthread_mutex_destroy(&b->lock);
	free(TAKE(s->bootstrap));
}
