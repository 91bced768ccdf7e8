/* SPDX-License-Identifier: Apache-2.0 */
/* pod_spec.c - rules of a PodSpec, for pods and for every template (upstream: core/validation ValidatePodSpec). The request's thread. */
#include <ctype.h>

#include "apiserver/kinds/kinds_private.h"
#include "schema/schema.h"

/* ---- resources ---- */

void validate_quantity(const struct value *q, struct str path, struct causes *c) {
	struct quantity n;
	struct err err = { 0 };
	struct str text = value_as_str(q);
	if (value_is(q, VALUE_STRING) && quantity_parse(text, &n, &err) && n.nano < 0) {
		cause_add(c, CAUSE_INVALID, path, q, "must be greater than or equal to 0");
	}
}

static bool standard_resource(struct str name) {
	static const struct str names[] = { S_INIT("cpu"), S_INIT("memory"), S_INIT("ephemeral-storage") };
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (str_eq(name, names[i])) {
			return true;
		}
	}
	return str_starts(name, S("hugepages-"));
}

static void resource_list(const struct value *list, struct str path, struct causes *c) {
	for (size_t i = 0; i < value_len(list); i++) {
		struct str name = value_key(list, i), p = path_key(c->arena, path, name);
		const char *why = label_key_rule(name);
		if (why) {
			cause_add(c, CAUSE_INVALID, p, value_new_str(c->arena, name), "%s", why);
		} else if (str_index(name, '/') < 0 && !standard_resource(name)) {
			cause_add(c, CAUSE_INVALID, p, value_new_str(c->arena, name), "must be a standard resource type or fully qualified");
			cause_add(c, CAUSE_INVALID, p, value_new_str(c->arena, name), "must be a standard resource for containers");
		}
		validate_quantity(value_item(list, i), p, c);
	}
}

void validate_resources(const struct value *r, struct str path, struct causes *c) {
	const struct value *limits = value_get(r, N_limits), *requests = value_get(r, N_requests);
	resource_list(limits, PATH(c, path, "limits"), c);
	resource_list(requests, PATH(c, path, "requests"), c);
	for (size_t i = 0; i < value_len(requests); i++) {
		struct str name = value_key(requests, i);
		const struct value *limit = value_get_str(limits, name), *request = value_item(requests, i);
		if (limit && quantity_cmp(quantity_from(request), quantity_from(limit)) > 0) {
			cause_add(c, CAUSE_INVALID, path_field(c->arena, path, S("requests")), request, "must be less than or equal to %.*s limit of %.*s", STR_ARG(name),
				STR_ARG(value_as_text(c->arena, limit)));
		}
	}
}

/* ---- probes and handlers ---- */

static void handler(const struct value *h, struct str path, bool lifecycle, struct causes *c) {
	int n = 0;
	const struct value *v;
	if ((v = value_get(h, N_exec))) {
		n++;
		if (!value_len(value_get(v, N_command))) {
			cause_add(c, CAUSE_REQUIRED, PATH(c, path, "exec.command"), NULL, NULL);
		}
	}
	if ((v = value_get(h, N_httpGet))) {
		static const struct str schemes[] = { S_INIT("HTTP"), S_INIT("HTTPS") };
		struct str p = PATH(c, path, "httpGet");
		n++;
		must_have(c, value_get(v, N_path), PATH(c, p, "path"));
		must_be_port_or_name(c, value_get(v, N_port), PATH(c, p, "port"));
		must_be_one_of(c, value_get(v, N_scheme), PATH(c, p, "scheme"), schemes, ARRAY_LEN(schemes), false);
	}
	if ((v = value_get(h, N_tcpSocket))) {
		n++;
		must_be_port_or_name(c, value_get(v, N_port), PATH(c, path, "tcpSocket.port"));
	}
	if ((v = value_get(h, N_grpc)) && !lifecycle) {
		n++;
		must_be_port(c, value_get(v, N_port), PATH(c, path, "grpc.port"));
	}
	if ((v = value_get(h, N_sleep)) && lifecycle) {
		n++;
		must_not_be_negative(c, value_get(v, N_seconds), PATH(c, path, "sleep.seconds"));
	}
	if (n == 0) {
		cause_add(c, CAUSE_REQUIRED, path, NULL, "must specify a handler type");
	} else if (n > 1) {
		cause_add(c, CAUSE_FORBIDDEN, path, NULL, "may not specify more than 1 handler type");
	}
}

static void probe(const struct value *p, struct str path, bool one_success, struct causes *c) {
	static const enum name_id counts[] = { N_initialDelaySeconds, N_timeoutSeconds, N_periodSeconds, N_successThreshold, N_failureThreshold };
	if (!p) {
		return;
	}
	handler(p, path, false, c);
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		must_not_be_negative(c, value_get(p, counts[i]), path_field(c->arena, path, name_text(counts[i])));
	}
	if (one_success && value_get(p, N_successThreshold) && value_int_at(p, N_successThreshold) != 1) {
		cause_add(c, CAUSE_INVALID, PATH(c, path, "successThreshold"), value_get(p, N_successThreshold), "must be 1");
	}
	const struct value *grace = value_get(p, N_terminationGracePeriodSeconds);
	if (grace && value_as_int(grace) <= 0) {
		cause_add(c, CAUSE_INVALID, PATH(c, path, "terminationGracePeriodSeconds"), grace, "must be greater than 0");
	}
}

/* ---- environment ---- */

static const char *env_name_rule(struct str name) { /* any printable ASCII but '=' */
	for (size_t i = 0; i < name.len; i++) {
		if (name.ptr[i] < 0x20 || name.ptr[i] > 0x7e || name.ptr[i] == '=') {
			return "a valid environment variable name must consist only of printable ASCII characters other than '='";
		}
	}
	return NULL;
}

static void env_source(const struct value *from, bool has_value, struct str path, struct causes *c) {
	static const struct str fields[] = { S_INIT("metadata.name"), S_INIT("metadata.namespace"), S_INIT("metadata.uid"), S_INIT("spec.nodeName"),
		S_INIT("spec.serviceAccountName"), S_INIT("status.hostIP"), S_INIT("status.hostIPs"), S_INIT("status.podIP"), S_INIT("status.podIPs") };
	static const enum name_id kinds[] = { N_fieldRef, N_resourceFieldRef, N_configMapKeyRef, N_secretKeyRef, N_fileKeyRef };
	int n = 0;
	if (!from) {
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		n += value_get(from, kinds[i]) != NULL;
	}
	const struct value *f = value_get(from, N_fieldRef);
	if (f) {
		struct str p = PATH(c, path, "fieldRef.fieldPath"), text = value_str_at(f, N_fieldPath);
		bool subscript = str_starts(text, S("metadata.labels['")) || str_starts(text, S("metadata.annotations['"));
		if (!text.len) {
			cause_add(c, CAUSE_REQUIRED, p, NULL, NULL);
		} else if (!subscript) {
			must_be_one_of(c, value_get(f, N_fieldPath), p, fields, ARRAY_LEN(fields), true);
		}
	}
	if ((f = value_get(from, N_resourceFieldRef))) {
		must_have(c, value_get(f, N_resource), PATH(c, path, "resourceFieldRef.resource"));
	}
	if ((f = value_get(from, N_configMapKeyRef))) {
		must_have(c, value_get(f, N_name), PATH(c, path, "configMapKeyRef.name"));
		must_have(c, value_get(f, N_key), PATH(c, path, "configMapKeyRef.key"));
	}
	if ((f = value_get(from, N_secretKeyRef))) {
		must_have(c, value_get(f, N_name), PATH(c, path, "secretKeyRef.name"));
		must_have(c, value_get(f, N_key), PATH(c, path, "secretKeyRef.key"));
	}
	if (n == 0) {
		cause_add(c, CAUSE_INVALID, path, value_new_str(c->arena, S("")), "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`");
	} else if (n > 1) {
		cause_add(c, CAUSE_INVALID, path, value_new_str(c->arena, S("")), "may not have more than one field specified at a time");
	} else if (has_value) {
		cause_add(c, CAUSE_INVALID, path, value_new_str(c->arena, S("")), "may not be specified when `value` is not empty");
	}
}

static void env(const struct value *container, struct str path, struct causes *c) {
	size_t i = 0;
	VALUE_EACH(value_get(container, N_env), e) {
		struct str p = path_index(c->arena, PATH(c, path, "env"), i++);
		const char *why = env_name_rule(value_str_at(e, N_name));
		if (!value_str_at(e, N_name).len) {
			cause_add(c, CAUSE_REQUIRED, PATH(c, p, "name"), NULL, NULL);
		} else if (why) {
			cause_add(c, CAUSE_INVALID, PATH(c, p, "name"), value_get(e, N_name), "%s", why);
		}
		env_source(value_get(e, N_valueFrom), value_str_at(e, N_value).len > 0, PATH(c, p, "valueFrom"), c);
	}
	i = 0;
	VALUE_EACH(value_get(container, N_envFrom), e) {
		struct str p = path_index(c->arena, PATH(c, path, "envFrom"), i++);
		const struct value *cm = value_get(e, N_configMapRef), *secret = value_get(e, N_secretRef);
		const char *why = env_name_rule(value_str_at(e, N_prefix));
		if (why) {
			cause_add(c, CAUSE_INVALID, PATH(c, p, "prefix"), value_get(e, N_prefix), "%s", why);
		}
		if (!cm && !secret) {
			cause_add(c, CAUSE_INVALID, p, value_new_str(c->arena, S("")), "must specify one of: `configMapRef` or `secretRef`");
		} else if (cm && secret) {
			cause_add(c, CAUSE_INVALID, p, value_new_str(c->arena, S("")), "may not have more than one field specified at a time");
		} else {
			must_have(c, value_get(cm ? cm : secret, N_name), cm ? PATH(c, p, "configMapRef.name") : PATH(c, p, "secretRef.name"));
		}
	}
}

/* ---- containers ---- */

static void ports(const struct value *container, struct str path, struct causes *c) {
	static const struct str protocols[] = { S_INIT("SCTP"), S_INIT("TCP"), S_INIT("UDP") };
	const struct value *list = value_get(container, N_ports);
	size_t i = 0;
	VALUE_EACH(list, p) {
		struct str at = path_index(c->arena, PATH(c, path, "ports"), i);
		struct str name = value_str_at(p, N_name);
		if (name.len) {
			const char *why = port_name_rule(name, false);
			if (why) {
				cause_add(c, CAUSE_INVALID, PATH(c, at, "name"), value_get(p, N_name), "%s", why);
			}
			for (size_t j = 0; j < i; j++) {
				if (str_eq(value_str_at(value_item(list, j), N_name), name)) {
					cause_add(c, CAUSE_DUPLICATE, PATH(c, at, "name"), value_get(p, N_name), NULL);
					break;
				}
			}
		}
		if (!value_int_at(p, N_containerPort)) {
			cause_add(c, CAUSE_REQUIRED, PATH(c, at, "containerPort"), NULL, NULL);
		} else {
			must_be_port(c, value_get(p, N_containerPort), PATH(c, at, "containerPort"));
		}
		if (value_int_at(p, N_hostPort)) {
			must_be_port(c, value_get(p, N_hostPort), PATH(c, at, "hostPort"));
		}
		must_be_one_of(c, value_get(p, N_protocol), PATH(c, at, "protocol"), protocols, ARRAY_LEN(protocols), true);
		i++;
	}
}

static const struct value *volume_named(const struct value *spec, struct str name) {
	return value_find_by(value_get(spec, N_volumes), N_name, name);
}

static void mounts(const struct value *container, const struct value *spec, struct str path, struct causes *c) {
	const struct value *list = value_get(container, N_volumeMounts);
	size_t i = 0;
	VALUE_EACH(list, m) {
		struct str at = path_index(c->arena, PATH(c, path, "volumeMounts"), i);
		struct str name = value_str_at(m, N_name), where = value_str_at(m, N_mountPath), sub = value_str_at(m, N_subPath);
		if (!name.len) {
			cause_add(c, CAUSE_REQUIRED, PATH(c, at, "name"), NULL, NULL);
		} else if (!volume_named(spec, name)) {
			cause_add(c, CAUSE_NOT_FOUND, PATH(c, at, "name"), value_get(m, N_name), NULL);
		}
		if (!where.len) {
			cause_add(c, CAUSE_REQUIRED, PATH(c, at, "mountPath"), NULL, NULL);
		}
		for (size_t j = 0; j < i; j++) {
			if (str_eq(value_str_at(value_item(list, j), N_mountPath), where)) {
				cause_add(c, CAUSE_INVALID, PATH(c, at, "mountPath"), value_get(m, N_mountPath), "must be unique");
				break;
			}
		}
		struct str rest = sub, piece;
		bool up = false;
		while (str_next(&rest, '/', &piece)) {
			up = up || str_eq(piece, S(".."));
		}
		if (sub.len && sub.ptr[0] == '/') {
			cause_add(c, CAUSE_INVALID, PATH(c, at, "subPath"), value_get(m, N_subPath), "must be a relative path");
		} else if (up) {
			cause_add(c, CAUSE_INVALID, PATH(c, at, "subPath"), value_get(m, N_subPath), "must not contain '..'");
		}
		if (sub.len && value_str_at(m, N_subPathExpr).len) {
			cause_add(c, CAUSE_INVALID, PATH(c, at, "subPathExpr"), value_get(m, N_subPathExpr), "subPathExpr and subPath are mutually exclusive");
		}
		i++;
	}
}

static void security(const struct value *s, struct str path, struct causes *c) {
	if (!s) {
		return;
	}
	must_not_be_negative(c, value_get(s, N_runAsUser), PATH(c, path, "runAsUser"));
	must_not_be_negative(c, value_get(s, N_runAsGroup), PATH(c, path, "runAsGroup"));
	const struct value *escalation = value_get(s, N_allowPrivilegeEscalation);
	if (escalation && !value_as_bool(escalation)) {
		if (value_bool_at(s, N_privileged)) {
			cause_add(c, CAUSE_INVALID, path, s, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
		}
		VALUE_EACH(value_at(s, N_capabilities, N_add), cap) {
			if (str_eq(value_as_str(cap), S("CAP_SYS_ADMIN"))) {
				cause_add(c, CAUSE_INVALID, path, s, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN");
			}
		}
	}
}

enum container_role { ROLE_APP, ROLE_INIT, ROLE_EPHEMERAL };

static void container(const struct value *k, const struct value *spec, struct str path, enum container_role role, struct causes *c) {
	static const struct str pulls[] = { S_INIT("Always"), S_INIT("IfNotPresent"), S_INIT("Never") };
	static const struct str messages[] = { S_INIT("FallbackToLogsOnError"), S_INIT("File") };
	struct str name = value_str_at(k, N_name), image = value_str_at(k, N_image);
	bool sidecar = role == ROLE_INIT && str_eq(value_str_at(k, N_restartPolicy), S("Always"));
	if (!name.len) {
		cause_add(c, CAUSE_REQUIRED, PATH(c, path, "name"), NULL, NULL);
	} else {
		must_match(c, value_get(k, N_name), PATH(c, path, "name"), name_dns1123_label);
	}
	if (!image.len) {
		cause_add(c, CAUSE_REQUIRED, PATH(c, path, "image"), NULL, NULL);
	} else if (str_trim(image).len != image.len) {
		cause_add(c, CAUSE_INVALID, PATH(c, path, "image"), value_get(k, N_image), "must not have leading or trailing whitespace");
	}
	must_be_one_of(c, value_get(k, N_imagePullPolicy), PATH(c, path, "imagePullPolicy"), pulls, ARRAY_LEN(pulls), true);
	must_be_one_of(c, value_get(k, N_terminationMessagePolicy), PATH(c, path, "terminationMessagePolicy"), messages, ARRAY_LEN(messages), true);
	env(k, path, c);
	ports(k, path, c);
	mounts(k, spec, path, c);
	validate_resources(value_get(k, N_resources), PATH(c, path, "resources"), c);
	security(value_get(k, N_securityContext), PATH(c, path, "securityContext"), c);
	if (role == ROLE_APP || sidecar) {
		probe(value_get(k, N_livenessProbe), PATH(c, path, "livenessProbe"), true, c);
		probe(value_get(k, N_readinessProbe), PATH(c, path, "readinessProbe"), false, c);
		probe(value_get(k, N_startupProbe), PATH(c, path, "startupProbe"), true, c);
		const struct value *life = value_get(k, N_lifecycle), *h;
		if ((h = value_get(life, N_postStart))) {
			handler(h, PATH(c, path, "lifecycle.postStart"), true, c);
		}
		if ((h = value_get(life, N_preStop))) {
			handler(h, PATH(c, path, "lifecycle.preStop"), true, c);
		}
		return;
	}
	static const enum name_id refused[] = { N_lifecycle, N_livenessProbe, N_readinessProbe, N_startupProbe };
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		if (value_get(k, refused[i])) {
			cause_add(c, CAUSE_FORBIDDEN, path_field(c->arena, path, name_text(refused[i])), NULL,
				role == ROLE_INIT ? "may not be set for init containers without restartPolicy=Always" : "cannot be set for an Ephemeral Container");
		}
	}
	if (role == ROLE_EPHEMERAL && value_len(value_get(k, N_ports))) {
		cause_add(c, CAUSE_FORBIDDEN, PATH(c, path, "ports"), NULL, "cannot be set for an Ephemeral Container");
	}
}

static void containers(const struct value *spec, struct str path, struct causes *c) {
	static const struct { enum name_id list; enum container_role role; } lists[] = {
		{ N_containers, ROLE_APP }, { N_initContainers, ROLE_INIT }, { N_ephemeralContainers, ROLE_EPHEMERAL },
	};
	VEC(struct str) seen = { 0 };
	if (!value_len(value_get(spec, N_containers))) {
		cause_add(c, CAUSE_REQUIRED, PATH(c, path, "containers"), NULL, NULL);
	}
	for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
		size_t i = 0;
		VALUE_EACH(value_get(spec, lists[l].list), k) {
			struct str at = path_index(c->arena, path_field(c->arena, path, name_text(lists[l].list)), i++);
			struct str name = value_str_at(k, N_name);
			container(k, spec, at, lists[l].role, c);
			VEC_EACH(&seen, s) {
				if (name.len && str_eq(*s, name)) {
					cause_add(c, CAUSE_DUPLICATE, PATH(c, at, "name"), value_get(k, N_name), NULL);
					break;
				}
			}
			VEC_PUSH(&seen, name);
		}
	}
	VEC_RELEASE(&seen);
}

/* ---- volumes ---- */

static void key_items(const struct value *items, struct str path, struct causes *c) {
	size_t i = 0;
	VALUE_EACH(items, it) {
		struct str p = path_index(c->arena, path, i++);
		must_have(c, value_get(it, N_key), PATH(c, p, "key"));
		must_have(c, value_get(it, N_path), PATH(c, p, "path"));
		struct str rel = value_str_at(it, N_path);
		if (rel.len && rel.ptr[0] == '/') {
			cause_add(c, CAUSE_INVALID, PATH(c, p, "path"), value_get(it, N_path), "must be a relative path");
		} else if (str_eq(rel, S("..")) || str_contains(rel, S("../"))) {
			cause_add(c, CAUSE_INVALID, PATH(c, p, "path"), value_get(it, N_path), "must not contain '..'");
		}
		const struct value *mode = value_get(it, N_mode);
		if (mode && (value_as_int(mode) < 0 || value_as_int(mode) > 0777)) {
			cause_add(c, CAUSE_INVALID, PATH(c, p, "mode"), mode, "must be a number between 0 and 0777 (octal), both inclusive");
		}
	}
}

static void default_mode(const struct value *source, struct str path, struct causes *c) {
	const struct value *mode = value_get(source, N_defaultMode);
	if (mode && (value_as_int(mode) < 0 || value_as_int(mode) > 0777)) {
		cause_add(c, CAUSE_INVALID, PATH(c, path, "defaultMode"), mode, "must be a number between 0 and 0777 (octal), both inclusive");
	}
}

void validate_volume_source(const struct value *v, struct str path, struct causes *c) {
	size_t n = 0;
	enum name_id first = N_NONE;
	for (size_t i = 0; i < value_len(v); i++) {
		const struct value *m = value_item(v, i);
		if (m->name != N_name && m->type == VALUE_OBJECT) {
			if (n++) {
				cause_add(c, CAUSE_FORBIDDEN, path_field(c->arena, path, value_key(v, i)), NULL, "may not specify more than 1 volume type");
			} else {
				first = (enum name_id)m->name;
			}
		}
	}
	if (!n) {
		cause_add(c, CAUSE_REQUIRED, path, NULL, "must specify a volume type");
		return;
	}
	const struct value *s = value_get(v, first);
	struct str p = path_field(c->arena, path, name_text(first));
	static const struct str host_types[] = { S_INIT("BlockDevice"), S_INIT("CharDevice"), S_INIT("Directory"), S_INIT("DirectoryOrCreate"), S_INIT("File"),
		S_INIT("FileOrCreate"), S_INIT("Socket") };
	switch ((int)first) {
	case N_hostPath:
		must_have(c, value_get(s, N_path), PATH(c, p, "path"));
		must_be_one_of(c, value_get(s, N_type), PATH(c, p, "type"), host_types, ARRAY_LEN(host_types), false);
		if (str_contains(value_str_at(s, N_path), S(".."))) {
			cause_add(c, CAUSE_INVALID, PATH(c, p, "path"), value_get(s, N_path), "must not contain '..'");
		}
		break;
	case N_secret:
		must_have(c, value_get(s, N_secretName), PATH(c, p, "secretName"));
		default_mode(s, p, c);
		key_items(value_get(s, N_items), PATH(c, p, "items"), c);
		break;
	case N_configMap:
		must_have(c, value_get(s, N_name), PATH(c, p, "name"));
		default_mode(s, p, c);
		key_items(value_get(s, N_items), PATH(c, p, "items"), c);
		break;
	case N_persistentVolumeClaim:
		must_have(c, value_get(s, N_claimName), PATH(c, p, "claimName"));
		break;
	case N_emptyDir:
		validate_quantity(value_get(s, N_sizeLimit), PATH(c, p, "sizeLimit"), c);
		break;
	case N_projected:
		default_mode(s, p, c);
		break;
	case N_nfs:
		must_have(c, value_get(s, N_server), PATH(c, p, "server"));
		must_have(c, value_get(s, N_path), PATH(c, p, "path"));
		break;
	default:
		break;
	}
}

static void volumes(const struct value *spec, struct str path, struct causes *c) {
	const struct value *list = value_get(spec, N_volumes);
	size_t i = 0;
	VALUE_EACH(list, v) {
		struct str at = path_index(c->arena, PATH(c, path, "volumes"), i), name = value_str_at(v, N_name);
		validate_volume_source(v, at, c);
		if (!name.len) {
			cause_add(c, CAUSE_REQUIRED, PATH(c, at, "name"), NULL, NULL);
		} else {
			must_match(c, value_get(v, N_name), PATH(c, at, "name"), name_dns1123_label);
		}
		for (size_t j = 0; j < i; j++) {
			if (name.len && str_eq(value_str_at(value_item(list, j), N_name), name)) {
				cause_add(c, CAUSE_DUPLICATE, PATH(c, at, "name"), value_get(v, N_name), NULL);
				break;
			}
		}
		i++;
	}
}

/* ---- the rest of the spec ---- */

void validate_tolerations(const struct value *list, struct str path, struct causes *c) {
	static const struct str effects[] = { S_INIT("NoSchedule"), S_INIT("PreferNoSchedule"), S_INIT("NoExecute") };
	size_t i = 0;
	VALUE_EACH(list, t) {
		struct str p = path_index(c->arena, path, i++), key = value_str_at(t, N_key), op = value_str_at(t, N_operator);
		const char *why = key.len ? label_key_rule(key) : NULL;
		if (why) {
			cause_add(c, CAUSE_INVALID, PATH(c, p, "key"), value_get(t, N_key), "%s", why);
		}
		if (!key.len && !str_eq(op, S("Exists"))) {
			cause_add(c, CAUSE_INVALID, PATH(c, p, "operator"), value_get(t, N_operator),
				"operator must be Exists when `key` is empty, which means \"match all values and all keys\"");
		}
		if (value_get(t, N_tolerationSeconds) && !str_eq(value_str_at(t, N_effect), S("NoExecute"))) {
			cause_add(c, CAUSE_INVALID, PATH(c, p, "effect"), value_get(t, N_effect), "effect must be 'NoExecute' when `tolerationSeconds` is set");
		}
		if (str_eq(op, S("Exists"))) {
			if (value_str_at(t, N_value).len) {
				cause_add(c, CAUSE_INVALID, PATH(c, p, "operator"), t, "value must be empty when `operator` is 'Exists'");
			}
		} else if (op.len && !str_eq(op, S("Equal")) && !str_eq(op, S("Lt")) && !str_eq(op, S("Gt"))) {
			static const struct str ops[] = { S_INIT("Equal"), S_INIT("Exists") };
			cause_not_supported(c, PATH(c, p, "operator"), value_get(t, N_operator), ops, 2);
		}
		must_be_one_of(c, value_get(t, N_effect), PATH(c, p, "effect"), effects, ARRAY_LEN(effects), false);
	}
}

static void affinity(const struct value *aff, struct str path, struct causes *c) {
	const struct value *node = value_get(aff, N_nodeAffinity);
	const struct value *required = value_get(node, N_requiredDuringSchedulingIgnoredDuringExecution);
	if (required) {
		validate_node_selector(required, PATH(c, path, "nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"), c);
	}
	static const struct { enum name_id name; struct str text; } pods[] = { { N_podAffinity, S_INIT("podAffinity") }, { N_podAntiAffinity, S_INIT("podAntiAffinity") } };
	for (size_t k = 0; k < ARRAY_LEN(pods); k++) {
		struct str p = PATH(c, path_field(c->arena, path, pods[k].text), "requiredDuringSchedulingIgnoredDuringExecution");
		size_t i = 0;
		VALUE_EACH(value_at(aff, pods[k].name, N_requiredDuringSchedulingIgnoredDuringExecution), term) {
			struct str at = path_index(c->arena, p, i++);
			validate_label_selector(value_get(term, N_labelSelector), PATH(c, at, "labelSelector"), c);
			if (!value_str_at(term, N_topologyKey).len) {
				cause_add(c, CAUSE_REQUIRED, PATH(c, at, "topologyKey"), NULL, "can not be empty");
			}
		}
	}
}

static void dns(const struct value *spec, struct str path, struct causes *c) {
	static const struct str policies[] = { S_INIT("ClusterFirst"), S_INIT("ClusterFirstWithHostNet"), S_INIT("Default"), S_INIT("None") };
	const struct value *config = value_get(spec, N_dnsConfig);
	struct str p = PATH(c, path, "dnsConfig");
	must_be_one_of(c, value_get(spec, N_dnsPolicy), PATH(c, path, "dnsPolicy"), policies, ARRAY_LEN(policies), true);
	if (str_eq(value_str_at(spec, N_dnsPolicy), S("None")) && !value_len(value_get(config, N_nameservers))) {
		cause_add(c, CAUSE_REQUIRED, PATH(c, p, "nameservers"), NULL, "must provide at least one DNS nameserver when `dnsPolicy` is None");
	}
	if (value_len(value_get(config, N_nameservers)) > 3) {
		cause_add(c, CAUSE_INVALID, PATH(c, p, "nameservers"), value_get(config, N_nameservers), "must not have more than 3 nameservers");
	}
	size_t i = 0;
	VALUE_EACH(value_get(config, N_nameservers), ns) {
		must_be_ip(c, ns, path_index(c->arena, PATH(c, p, "nameservers"), i++));
	}
}

static void spread(const struct value *list, struct str path, struct causes *c) {
	static const struct str actions[] = { S_INIT("DoNotSchedule"), S_INIT("ScheduleAnyway") };
	size_t i = 0;
	VALUE_EACH(list, t) {
		struct str p = path_index(c->arena, path, i++);
		if (value_int_at(t, N_maxSkew) <= 0) {
			cause_add(c, CAUSE_INVALID, PATH(c, p, "maxSkew"), value_get(t, N_maxSkew), "must be greater than 0");
		}
		if (!value_str_at(t, N_topologyKey).len) {
			cause_add(c, CAUSE_REQUIRED, PATH(c, p, "topologyKey"), NULL, "can not be empty");
		}
		must_be_one_of(c, value_get(t, N_whenUnsatisfiable), PATH(c, p, "whenUnsatisfiable"), actions, ARRAY_LEN(actions), true);
		validate_label_selector(value_get(t, N_labelSelector), PATH(c, p, "labelSelector"), c);
	}
}

static void sysctls(const struct value *list, struct str path, struct causes *c) {
	size_t i = 0;
	VALUE_EACH(list, s) {
		struct str p = path_index(c->arena, path, i++), name = value_str_at(s, N_name);
		bool good = name.len > 0 && name.len <= 253;
		for (size_t k = 0; k < name.len; k++) {
			char ch = name.ptr[k];
			good = good && (islower((unsigned char)ch) || isdigit((unsigned char)ch) || ch == '-' || ch == '_' || ch == '.' || ch == '/');
		}
		if (!name.len) {
			cause_add(c, CAUSE_REQUIRED, PATH(c, p, "name"), NULL, NULL);
		} else if (!good) {
			cause_add(c, CAUSE_INVALID, PATH(c, p, "name"), value_get(s, N_name),
				"must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$");
		}
	}
}

void validate_pod_spec(struct kind_ctx *x, const struct value *spec, const struct value *meta, struct str path, struct causes *c) {
	static const struct str restarts[] = { S_INIT("Always"), S_INIT("OnFailure"), S_INIT("Never") };
	volumes(spec, path, c);
	containers(spec, path, c);
	must_be_one_of(c, value_get(spec, N_restartPolicy), PATH(c, path, "restartPolicy"), restarts, ARRAY_LEN(restarts), true);
	dns(spec, path, c);
	validate_labels(value_get(spec, N_nodeSelector), PATH(c, path, "nodeSelector"), c);
	const struct value *security_context = value_get(spec, N_securityContext);
	struct str sp = PATH(c, path, "securityContext");
	must_not_be_negative(c, value_get(security_context, N_runAsUser), PATH(c, sp, "runAsUser"));
	must_not_be_negative(c, value_get(security_context, N_runAsGroup), PATH(c, sp, "runAsGroup"));
	must_not_be_negative(c, value_get(security_context, N_fsGroup), PATH(c, sp, "fsGroup"));
	sysctls(value_get(security_context, N_sysctls), PATH(c, sp, "sysctls"), c);
	if (value_bool_at(security_context, N_hostPID) && value_bool_at(spec, N_shareProcessNamespace)) {
		cause_add(c, CAUSE_INVALID, PATH(c, path, "shareProcessNamespace"), value_get(spec, N_shareProcessNamespace), "ShareProcessNamespace and HostPID cannot both be enabled");
	}
	must_match(c, value_get(spec, N_serviceAccountName), PATH(c, path, "serviceAccountName"), name_dns1123_subdomain);
	must_match(c, value_get(spec, N_nodeName), PATH(c, path, "nodeName"), name_dns1123_subdomain);
	must_match(c, value_get(spec, N_hostname), PATH(c, path, "hostname"), name_dns1123_label);
	must_match(c, value_get(spec, N_subdomain), PATH(c, path, "subdomain"), name_dns1123_label);
	must_match(c, value_get(spec, N_priorityClassName), PATH(c, path, "priorityClassName"), name_dns1123_subdomain);
	must_match(c, value_get(spec, N_runtimeClassName), PATH(c, path, "runtimeClassName"), name_dns1123_subdomain);
	validate_tolerations(value_get(spec, N_tolerations), PATH(c, path, "tolerations"), c);
	affinity(value_get(spec, N_affinity), PATH(c, path, "affinity"), c);
	spread(value_get(spec, N_topologySpreadConstraints), PATH(c, path, "topologySpreadConstraints"), c);
	const struct value *deadline = value_get(spec, N_activeDeadlineSeconds), *grace = value_get(spec, N_terminationGracePeriodSeconds);
	if (deadline && (value_as_int(deadline) < 1 || value_as_int(deadline) > INT32_MAX)) {
		cause_add(c, CAUSE_INVALID, PATH(c, path, "activeDeadlineSeconds"), deadline, "must be between 1 and 2147483647, inclusive");
	}
	must_not_be_negative(c, grace, PATH(c, path, "terminationGracePeriodSeconds"));
	if (value_bool_at(spec, N_hostNetwork)) { /* what a pod listens on is on the host then */
		static const enum name_id lists[] = { N_containers, N_initContainers };
		for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
			size_t i = 0;
			VALUE_EACH(value_get(spec, lists[l]), k) {
				struct str at = path_index(c->arena, path_field(c->arena, path, name_text(lists[l])), i++);
				size_t j = 0;
				VALUE_EACH(value_get(k, N_ports), p) {
					struct str q = path_index(c->arena, PATH(c, at, "ports"), j++);
					if (value_int_at(p, N_hostPort) != value_int_at(p, N_containerPort)) {
						cause_add(c, CAUSE_INVALID, PATH(c, q, "containerPort"), value_get(p, N_containerPort), "must match `hostPort` when `hostNetwork` is true");
					}
				}
			}
		}
	}
	size_t i = 0;
	VALUE_EACH(value_get(spec, N_hostAliases), h) {
		must_be_ip(c, value_get(h, N_ip), PATH(c, path_index(c->arena, PATH(c, path, "hostAliases"), i++), "ip"));
	}
}

void validate_pod_template(struct kind_ctx *x, const struct value *tmpl, struct str path, struct causes *c) {
	const struct value *meta = value_get(tmpl, N_metadata), *spec = value_get(tmpl, N_spec);
	validate_labels(value_get(meta, N_labels), PATH(c, path, "metadata.labels"), c);
	validate_annotations(value_get(meta, N_annotations), PATH(c, path, "metadata.annotations"), c);
	validate_pod_spec(x, spec, meta, PATH(c, path, "spec"), c);
	if (value_len(value_get(spec, N_ephemeralContainers))) {
		cause_add(c, CAUSE_FORBIDDEN, PATH(c, path, "spec.ephemeralContainers"), NULL, "ephemeral containers not allowed in pod template");
	}
}

/* ---- quality of service (upstream: qos.ComputePodQOS) ---- */

static bool positive(const struct value *list, enum name_id name) {
	const struct value *q = value_get(list, name);
	return q && quantity_from(q).nano > 0;
}

struct str pod_qos_class(const struct value *pod) {
	static const enum name_id lists[] = { N_containers, N_initContainers };
	bool any = false, guaranteed = true;
	for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
		VALUE_EACH(value_at(pod, N_spec, lists[l]), k) {
			const struct value *limits = value_at(k, N_resources, N_limits), *requests = value_at(k, N_resources, N_requests);
			static const enum name_id names[] = { N_cpu, N_memory };
			for (size_t i = 0; i < ARRAY_LEN(names); i++) {
				bool limit = positive(limits, names[i]), request = positive(requests, names[i]);
				any = any || limit || request;
				guaranteed = guaranteed && limit &&
					(!request || quantity_cmp(quantity_from(value_get(limits, names[i])), quantity_from(value_get(requests, names[i]))) == 0);
			}
		}
	}
	return !any ? S("BestEffort") : guaranteed ? S("Guaranteed") : S("Burstable");
}
