/* SPDX-License-Identifier: Apache-2.0 */
/*
 * env.c - a container's environment: literals with $(NAME), fields of the pod, resources, ConfigMap and
 * Secret keys, and variables for the services of the namespace. Called when a container is made, and
 * by volumes that show the same fields. May block on the API for ConfigMaps and Secrets.
 *
 * Source: API reference EnvVar, EnvFromSource; Kubernetes "Define Dependent Environment Variables",
 * "Discovering services".
 */
#include "kubelet/env.h"

#include <stdarg.h>

#include "kubelet/objects.h"
#include "kubelet/resources.h"
#include "net/digest.h"

void env_set(struct env *e, struct str name, struct str value) {
	VEC_EACH(&e->at, kv) {
		if (str_eq(kv->key, name)) {
			kv->value = value;
			return;
		}
	}
	VEC_PUSH(&e->at, ((struct cri_kv){ name, value }));
}

struct str env_get(const struct env *e, struct str name) {
	for (size_t i = 0; i < e->at.len; i++) {
		if (str_eq(e->at.at[i].key, name)) {
			return e->at.at[i].value.ptr ? e->at.at[i].value : S("");
		}
	}
	return (struct str){ 0 };
}

void env_release(struct env *e) {
	VEC_RELEASE(&e->at);
}

struct str env_expand(struct arena *a, struct str text, const struct env *e) {
	auto_buf struct buf b = BUF_INIT(4 << 20);

	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];
		if (c != '$' || i + 1 == text.len) {
			buf_char(&b, c);
			continue;
		}
		char next = text.ptr[i + 1];
		if (next == '$') {
			buf_char(&b, '$');
			i++;
			continue;
		}
		ptrdiff_t end = next == '(' ? str_index(str_from(text, i + 2), ')') : -1;
		if (end < 0) {
			buf_char(&b, c); /* no reference */
			continue;
		}
		struct str name = str_sub(text, i + 2, i + 2 + (size_t)end);
		struct str value = env_get(e, name);
		if (value.ptr) {
			buf_str(&b, value);
		} else {
			buf_str(&b, str_sub(text, i, i + 3 + (size_t)end));
		}
		i += 2 + (size_t)end;
	}
	return arena_str(a, buf_view(&b));
}

/* ---- the pod's own fields ------------------------------------------------------------------------------- */

static struct str ips_text(struct arena *a, const struct str *at, size_t n) {
	return arena_join(a, at, n, S(","));
}

/* metadata.labels['key'] */
static bool subscript(struct str path, struct str prefix, struct str *ret_key) {
	if (!str_starts(path, prefix) || !str_ends(path, S("']"))) {
		return false;
	}
	struct str rest = str_from(path, prefix.len);
	if (!str_starts(rest, S("['"))) {
		return false;
	}
	*ret_key = str_sub(rest, 2, rest.len - 2);
	return true;
}

static struct str map_text(struct arena *a, const struct value *map) {
	struct value *sorted = map ? value_copy(a, map) : value_new_object(a);
	auto_buf struct buf b = BUF_INIT(4 << 20);

	value_sort_keys(sorted);
	for (size_t i = 0; i < value_len(sorted); i++) {
		struct str v = value_as_str(value_item(sorted, i));
		if (i > 0) {
			buf_char(&b, '\n');
		}
		buf_printf(&b, "%.*s=\"", STR_ARG(value_key(sorted, i)));
		for (size_t j = 0; j < v.len; j++) { /* as Go quotes */
			unsigned char ch = (unsigned char)v.ptr[j];
			switch (ch) {
			case '"':
				buf_c(&b, "\\\"");
				break;
			case '\\':
				buf_c(&b, "\\\\");
				break;
			case '\n':
				buf_c(&b, "\\n");
				break;
			case '\r':
				buf_c(&b, "\\r");
				break;
			case '\t':
				buf_c(&b, "\\t");
				break;
			default:
				if (ch < 0x20 || ch == 0x7f) {
					buf_printf(&b, "\\x%02x", ch);
				} else {
					buf_char(&b, (char)ch);
				}
			}
		}
		buf_char(&b, '"');
	}
	return arena_str(a, buf_view(&b));
}

bool field_text(struct pod *p, struct arena *a, const struct value *pod, struct str path, struct str *ret, struct err *err) {
	const struct value *meta = value_get(pod, N_metadata), *spec = value_get(pod, N_spec);
	struct str key, ips[2];

	for (size_t i = 0; i < p->ips.len; i++) {
		ips[i] = str_c(p->ips.at[i]);
	}
	if (subscript(path, S("metadata.labels"), &key)) {
		*ret = value_as_str(value_get_str(value_get(meta, N_labels), key));
	} else if (subscript(path, S("metadata.annotations"), &key)) {
		*ret = value_as_str(value_get_str(value_get(meta, N_annotations), key));
	} else if (str_eq(path, S("metadata.labels"))) {
		*ret = map_text(a, value_get(meta, N_labels));
	} else if (str_eq(path, S("metadata.annotations"))) {
		*ret = map_text(a, value_get(meta, N_annotations));
	} else if (str_eq(path, S("metadata.name"))) {
		*ret = value_str_at(meta, N_name);
	} else if (str_eq(path, S("metadata.namespace"))) {
		*ret = value_str_at(meta, N_namespace);
	} else if (str_eq(path, S("metadata.uid"))) {
		*ret = value_str_at(meta, N_uid);
	} else if (str_eq(path, S("spec.nodeName"))) {
		*ret = value_str_at(spec, N_nodeName);
	} else if (str_eq(path, S("spec.serviceAccountName"))) {
		*ret = value_str_at(spec, N_serviceAccountName);
	} else if (str_eq(path, S("status.hostIP"))) {
		*ret = p->k->node_ips_len ? p->k->node_ips[0] : S("");
	} else if (str_eq(path, S("status.hostIPs"))) {
		*ret = ips_text(a, p->k->node_ips, p->k->node_ips_len);
	} else if (str_eq(path, S("status.podIP"))) {
		*ret = p->ips.len ? ips[0] : S("");
	} else if (str_eq(path, S("status.podIPs"))) {
		*ret = ips_text(a, ips, p->ips.len);
	} else {
		return err_set(err, ERR_INVALID, "unsupported fieldPath: %.*s", STR_ARG(path));
	}
	return true;
}

static int64_t ceil_div(int64_t n, int64_t d) {
	return d <= 1 ? n : n / d + (n % d > 0);
}

bool resource_text(const struct kubelet *k, struct arena *a, const struct value *ctr_spec, const struct value *ref, struct str *ret,
	struct err *err) {
	struct str text = value_str_at(ref, N_resource), kind, name;
	const struct value *divisor = value_get(ref, N_divisor);
	bool limits;

	if (!str_cut(text, '.', &kind, &name) || !((limits = str_eq(kind, S("limits"))) || str_eq(kind, S("requests")))) {
		return err_set(err, ERR_INVALID, "unsupported container resource : %.*s", STR_ARG(text));
	}
	const struct value *q = qty_of(value_at(ctr_spec, N_resources, limits ? N_limits : N_requests), name);
	int64_t amount, unit;
	if (str_eq(name, S("cpu"))) {
		amount = q ? qty_milli(q) : 0;
		if (limits && amount == 0) {
			amount = kubelet_allocatable_cpu_milli(k);
		}
		unit = qty_milli(divisor);
		unit = unit > 0 ? unit : 1000;
	} else {
		amount = q ? qty_value(q) : 0;
		if (limits && amount == 0 && str_eq(name, S("memory"))) {
			amount = kubelet_allocatable_memory(k);
		} else if (limits && amount == 0 && str_eq(name, S("ephemeral-storage"))) {
			amount = k->ephemeral_bytes;
		}
		unit = qty_value(divisor);
	}
	*ret = arena_printf(a, "%lld", (long long)ceil_div(amount, unit));
	return true;
}

/* ---- services --------------------------------------------------------------------------------------------- */

static struct str env_name(struct arena *a, struct str service, const char *fmt, ...) PRINTF(3, 4);
static struct str env_name(struct arena *a, struct str service, const char *fmt, ...) {
	char rest[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(rest, sizeof(rest), fmt, ap);
	va_end(ap);
	struct str name = arena_printf(a, "%.*s_%s", STR_ARG(service), rest);
	char *c = (char *)name.ptr;
	for (size_t i = 0; i < name.len; i++) {
		c[i] = c[i] == '-' ? '_' : (char)(c[i] >= 'a' && c[i] <= 'z' ? c[i] - 32 : c[i]);
	}
	return name;
}

static void service_add(struct arena *a, const struct value *svc, struct env *e) {
	const struct value *spec = value_get(svc, N_spec), *ports = value_get(spec, N_ports);
	struct str name = value_str_at(svc, N_metadata, N_name), ip = value_str_at(spec, N_clusterIP);
	const struct value *first = value_item(ports, 0);

	if (!first) {
		return;
	}
	long long port = value_int_at(first, N_port);
	struct str host = str_index(ip, ':') >= 0 ? arena_printf(a, "[%.*s]", STR_ARG(ip)) : ip;
	env_set(e, env_name(a, name, "SERVICE_HOST"), ip);
	env_set(e, env_name(a, name, "SERVICE_PORT"), arena_printf(a, "%lld", port));
	VALUE_EACH(ports, p) {
		struct str port_name = value_str_at(p, N_name);
		if (port_name.len > 0) {
			env_set(e, env_name(a, name, "SERVICE_PORT_%.*s", STR_ARG(port_name)), arena_printf(a, "%lld", (long long)value_int_at(p, N_port)));
		}
	}
	VALUE_EACH(ports, p) {
		struct str protocol = value_str_at(p, N_protocol);
		protocol = protocol.len ? protocol : S("TCP");
		char low[16] = "";
		for (size_t i = 0; i < protocol.len && i < sizeof(low) - 1; i++) {
			low[i] = (char)(protocol.ptr[i] | 0x20);
		}
		long long n = value_int_at(p, N_port);
		struct str url = arena_printf(a, "%s://%.*s:%lld", low, STR_ARG(host), n);
		if (p == first) {
			env_set(e, env_name(a, name, "PORT"), url);
		}
		env_set(e, env_name(a, name, "PORT_%lld_%.*s", n, STR_ARG(protocol)), url);
		env_set(e, env_name(a, name, "PORT_%lld_%.*s_PROTO", n, STR_ARG(protocol)), arena_str(a, str_c(low)));
		env_set(e, env_name(a, name, "PORT_%lld_%.*s_PORT", n, STR_ARG(protocol)), arena_printf(a, "%lld", n));
		env_set(e, env_name(a, name, "PORT_%lld_%.*s_ADDR", n, STR_ARG(protocol)), ip);
	}
}

void env_of_services(struct arena *a, struct obj *const *services, size_t n, struct str ns, bool links, struct env *ret) {
	for (size_t i = 0; i < n; i++) {
		const struct value *svc = services[i]->root;
		struct str svc_ns = value_str_at(svc, N_metadata, N_namespace), ip = value_str_at(svc, N_spec, N_clusterIP);
		bool master = str_eq(svc_ns, S("default")) && str_eq(value_str_at(svc, N_metadata, N_name), S("kubernetes"));
		if (ip.len == 0 || str_eq(ip, S("None")) || !(master || (links && str_eq(svc_ns, ns)))) {
			continue;
		}
		service_add(a, svc, ret);
	}
}

static void add_services(struct pod *p, struct arena *a, const struct value *pod, struct env *ret) {
	struct client_list all = { 0 };
	const struct value *links = value_at(pod, N_spec, N_enableServiceLinks);

	if (!p->k->services_informer) {
		return;
	}
	if (str_eq(p->ns, S("default"))) {
		informer_list(p->k->services_informer, S("default"), &all);
		env_of_services(a, all.at, all.len, p->ns, !links || value_as_bool(links), ret);
	} else {
		struct obj *master = informer_get(p->k->services_informer, S("default"), S("kubernetes"));
		if (master) {
			env_of_services(a, &master, 1, p->ns, false, ret);
			obj_unref(master);
		}
		informer_list(p->k->services_informer, p->ns, &all);
		env_of_services(a, all.at, all.len, p->ns, !links || value_as_bool(links), ret);
	}
	/* the objects go, their texts must not */
	VEC_EACH(&ret->at, kv) {
		kv->key = arena_str(a, kv->key);
		kv->value = arena_str(a, kv->value);
	}
	client_list_release(&all);
}

/* ---- ConfigMaps and Secrets ---------------------------------------------------------------------------------- */

static bool add_all(struct pod *p, struct arena *a, const struct value *source, struct env *ret, struct err *err) {
	struct str prefix = value_str_at(source, N_prefix);
	bool secret = value_is_set(source, N_secretRef);
	const struct value *ref = value_get(source, secret ? N_secretRef : N_configMapRef);
	auto_obj struct obj *o = NULL;

	if (!ref) {
		return true;
	}
	if (!objects_get(p->k->objects, secret, p->ns, value_str_at(ref, N_name), p->uid, &o, err)) {
		if (err->code == ERR_NOT_FOUND && value_bool_at(ref, N_optional)) {
			err_clear(err);
			return true;
		}
		return false;
	}
	const struct value *data = value_get(o->root, N_data);
	for (size_t i = 0; i < value_len(data); i++) {
		struct str key = value_key(data, i), value = value_as_str(value_item(data, i));
		struct str name = arena_printf(a, "%.*s%.*s", STR_ARG(prefix), STR_ARG(key));
		if (name.len == 0 || str_index(name, '=') >= 0) {
			continue;
		}
		if (secret && !base64_decode(a, value, &value)) {
			return err_set(err, ERR_INVALID, "secret %.*s/%.*s: key %.*s is not base64", STR_ARG(p->ns), STR_ARG(value_str_at(ref, N_name)),
				STR_ARG(key));
		}
		env_set(ret, name, arena_str(a, value));
	}
	return true;
}

/* *ret_ptr NULL when an optional one is absent. */
static bool key_value(struct pod *p, struct arena *a, const struct value *ref, bool secret, struct str *ret, struct err *err) {
	struct str name = value_str_at(ref, N_name), key = value_str_at(ref, N_key);
	bool optional = value_bool_at(ref, N_optional);
	auto_obj struct obj *o = NULL;

	*ret = (struct str){ 0 };
	if (!objects_get(p->k->objects, secret, p->ns, name, p->uid, &o, err)) {
		if (err->code == ERR_NOT_FOUND && optional) {
			err_clear(err);
			return true;
		}
		return false;
	}
	const struct value *v = value_get_str(value_get(o->root, N_data), key);
	if (!v) {
		return optional || err_set(err, ERR_INVALID, "couldn't find key %.*s in %s %.*s/%.*s", STR_ARG(key), secret ? "Secret" : "ConfigMap",
			STR_ARG(p->ns), STR_ARG(name));
	}
	struct str text = value_as_str(v);
	if (secret && !base64_decode(a, text, &text)) {
		return err_set(err, ERR_INVALID, "key %.*s in Secret %.*s/%.*s is not base64", STR_ARG(key), STR_ARG(p->ns), STR_ARG(name));
	}
	*ret = arena_str(a, text);
	if (!ret->ptr) {
		*ret = S("");
	}
	return true;
}

static bool value_from(struct pod *p, struct arena *a, const struct value *pod, const struct value *ctr_spec, const struct value *from,
	struct str *ret, struct err *err) {
	if (value_is_set(from, N_fieldRef)) {
		return field_text(p, a, pod, value_str_at(from, N_fieldRef, N_fieldPath), ret, err);
	}
	if (value_is_set(from, N_resourceFieldRef)) {
		const struct value *ref = value_get(from, N_resourceFieldRef);
		struct str name = value_str_at(ref, N_containerName);
		enum ctr_kind kind;
		const struct value *spec = name.len ? pod_container(pod, name, &kind) : ctr_spec;
		return resource_text(p->k, a, spec, ref, ret, err);
	}
	if (value_is_set(from, N_configMapKeyRef)) {
		return key_value(p, a, value_get(from, N_configMapKeyRef), false, ret, err);
	}
	if (value_is_set(from, N_secretKeyRef)) {
		return key_value(p, a, value_get(from, N_secretKeyRef), true, ret, err);
	}
	*ret = S("");
	return true;
}

bool env_make(struct pod *p, struct arena *a, const struct value *pod, const struct value *ctr_spec, struct env *ret, struct err *err) {
	struct env services = { 0 };
	struct env all = { 0 }; /* what references may see */
	bool ok = true;

	add_services(p, a, pod, &services);
	VEC_EACH(&services.at, kv) {
		env_set(&all, kv->key, kv->value);
	}
	VALUE_EACH(value_get(ctr_spec, N_envFrom), source) {
		ok = ok && add_all(p, a, source, ret, err);
	}
	VEC_EACH(&ret->at, kv) {
		env_set(&all, kv->key, kv->value);
	}
	VALUE_EACH(value_get(ctr_spec, N_env), v) {
		struct str name = value_str_at(v, N_name), text;
		if (!ok) {
			break;
		}
		if (value_is_set(v, N_valueFrom)) {
			ok = value_from(p, a, pod, ctr_spec, value_get(v, N_valueFrom), &text, err);
			if (!ok || !text.ptr) {
				continue;
			}
		} else {
			text = env_expand(a, value_str_at(v, N_value), &all);
		}
		env_set(ret, name, text);
		env_set(&all, name, text);
	}
	VEC_EACH(&services.at, kv) { /* what the pod sets itself counts */
		if (!env_get(ret, kv->key).ptr) {
			env_set(ret, kv->key, kv->value);
		}
	}
	env_release(&services);
	env_release(&all);
	return ok;
}
