/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openapi_paths.c - the paths of a group version with their operations, for OpenAPI v2 and v3. What clients look for are
 * x-kubernetes-group-version-kind, x-kubernetes-action and the parameters (fieldValidation tells kubectl that the server
 * validates). See openapi.h. Any thread.
 */
#include "schema/openapi.h"

enum { PARAMS_MAX = 24 };

/* One parameter; help is empty for those of options kinds without help. */
struct param {
	struct str name;
	const char *type;
	struct str help;
	bool in_path;
};
struct params {
	struct param at[PARAMS_MAX];
	size_t len;
};

static const struct param known[] = {
	{ S_INIT("allowWatchBookmarks"), "boolean", S_INIT("Send bookmarks while watching.") },
	{ S_INIT("continue"), "string", S_INIT("Where the last part of a list ended.") },
	{ S_INIT("dryRun"), "string", S_INIT("All: do everything but store.") },
	{ S_INIT("fieldManager"), "string", S_INIT("Who makes the change.") },
	{ S_INIT("fieldSelector"), "string", S_INIT("Only objects whose fields match.") },
	{ S_INIT("fieldValidation"), "string", S_INIT("What unknown and duplicate fields do: Ignore, Warn or Strict.") },
	{ S_INIT("force"), "boolean", S_INIT("Take over fields that others own.") },
	{ S_INIT("gracePeriodSeconds"), "integer", S_INIT("Seconds to end in good order.") },
	{ S_INIT("ignoreStoreReadErrorWithClusterBreakingPotential"), "boolean", S_INIT("Delete what cannot be read; unsafe.") },
	{ S_INIT("labelSelector"), "string", S_INIT("Only objects whose labels match.") },
	{ S_INIT("limit"), "integer", S_INIT("At most so many objects at once.") },
	{ S_INIT("name"), "string", S_INIT("The object's name.") },
	{ S_INIT("namespace"), "string", S_INIT("The object's namespace.") },
	{ S_INIT("orphanDependents"), "boolean", S_INIT("Older form of propagationPolicy Orphan.") },
	{ S_INIT("path"), "string", S_INIT("Path to ask for behind the proxy.") },
	{ S_INIT("pretty"), "string", S_INIT("true: indent the answer.") },
	{ S_INIT("propagationPolicy"), "string", S_INIT("What happens to dependents: Orphan, Background or Foreground.") },
	{ S_INIT("resourceVersion"), "string", S_INIT("State to read, or to watch from.") },
	{ S_INIT("resourceVersionMatch"), "string", S_INIT("Exact or NotOlderThan.") },
	{ S_INIT("sendInitialEvents"), "boolean", S_INIT("Begin a watch with what is there.") },
	{ S_INIT("timeoutSeconds"), "integer", S_INIT("End the call after so many seconds.") },
	{ S_INIT("watch"), "boolean", S_INIT("Watch instead of list.") },
};

#define LIST_PARAMS "allowWatchBookmarks,continue,fieldSelector,labelSelector,limit,pretty,resourceVersion,resourceVersionMatch,sendInitialEvents,timeoutSeconds,watch"
#define WRITE_PARAMS "dryRun,fieldManager,fieldValidation,pretty"
#define DELETE_PARAMS "dryRun,gracePeriodSeconds,ignoreStoreReadErrorWithClusterBreakingPotential,orphanDependents,pretty,propagationPolicy"
#define DELETE_COLLECTION_PARAMS                                                                                                          \
	"continue,dryRun,fieldSelector,gracePeriodSeconds,ignoreStoreReadErrorWithClusterBreakingPotential,labelSelector,limit,orphanDependents," \
	"pretty,propagationPolicy,resourceVersion,resourceVersionMatch,sendInitialEvents,timeoutSeconds"

static const struct action {
	const char *method, *action, *verb; /* verb: first word of the operation's id */
	const char *params;
	const char *codes;
	bool has_body, body_optional, streams;
} actions[] = {
	{ "get", "get", "read", "pretty", "200", false, false, false },
	{ "get", "list", "list", LIST_PARAMS, "200", false, false, true },
	{ "get", "watch", "watch", LIST_PARAMS, "200", false, false, true },
	{ "get", "watchlist", "watch", LIST_PARAMS, "200", false, false, true },
	{ "post", "post", "create", WRITE_PARAMS, "200,201,202", true, false, false },
	{ "put", "put", "replace", WRITE_PARAMS, "200,201", true, false, false },
	{ "patch", "patch", "patch", "dryRun,fieldManager,fieldValidation,force,pretty", "200,201", true, false, false },
	{ "delete", "delete", "delete", DELETE_PARAMS, "200,202", true, true, false },
	{ "delete", "deletecollection", "delete", DELETE_COLLECTION_PARAMS, "200", true, true, false },
};

static const struct action *action_find(const char *name) {
	for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
		if (strcmp(actions[i].action, name) == 0) {
			return &actions[i];
		}
	}
	return NULL;
}

/* ---- names ------------------------------------------------------------------------------------------------------------ */
struct naming {
	struct str group, version, base; /* "/apis/apps/v1" */
	struct str camel;                /* "AppsV1", "RbacAuthorizationV1" */
	struct str tag;                  /* "apps_v1", "rbacAuthorization_v1" */
};

static struct str title(struct arena *a, struct str s) {
	char *copy = arena_cstr(a, s);

	if (s.len && copy[0] >= 'a' && copy[0] <= 'z') {
		copy[0] = (char)(copy[0] - 32);
	}
	return (struct str){ copy, s.len };
}

static struct naming naming_of(struct arena *a, const struct schema_version *v) {
	struct naming n = { .group = schema_text(schema_groups[v->group].name), .version = schema_text(v->name) };
	struct str short_group = n.group.len ? n.group : S("core"), rest, word, camel = S(""), tag = S("");

	n.base = n.group.len ? arena_printf(a, "/apis/%.*s/%.*s", STR_ARG(n.group), STR_ARG(n.version)) : arena_printf(a, "/api/%.*s", STR_ARG(n.version));
	if (str_ends(short_group, S(".k8s.io"))) {
		short_group = str_sub(short_group, 0, short_group.len - 7);
	}
	rest = short_group;
	while (str_next(&rest, '.', &word)) {
		struct str big = title(a, word);

		tag = arena_printf(a, "%.*s%.*s", STR_ARG(tag), STR_ARG(tag.len ? big : word));
		camel = arena_printf(a, "%.*s%.*s", STR_ARG(camel), STR_ARG(big));
	}
	word = title(a, n.version);
	n.camel = arena_printf(a, "%.*s%.*s", STR_ARG(camel), STR_ARG(word));
	n.tag = arena_printf(a, "%.*s_%.*s", STR_ARG(tag), STR_ARG(n.version));
	return n;
}

/* ---- parameters -------------------------------------------------------------------------------------------------------- */
static void param_add(struct params *p, struct param one) {
	assert(p->len < PARAMS_MAX);
	p->at[p->len++] = one;
}

static void params_add(struct params *p, const char *names, bool in_path) {
	struct str rest = str_c(names), name;

	while (rest.len && str_next(&rest, ',', &name)) {
		for (size_t i = 0; i < ARRAY_LEN(known); i++) {
			if (str_eq(known[i].name, name)) {
				struct param one = known[i];

				one.in_path = in_path;
				param_add(p, one);
			}
		}
	}
}

/* The fields of PodExecOptions and its kin are parameters. */
static void params_of_type(struct params *p, const struct schema_type *t) {
	for (size_t i = 0; i < t->fields_len; i++) {
		const struct schema_field *f = &schema_fields(t)[i];
		bool number = f->kind == SCHEMA_INT32 || f->kind == SCHEMA_INT64;

		if (f->kind == SCHEMA_TIME) { /* the reference does not describe these */
			continue;
		}
		param_add(p, (struct param){ .name = name_text(f->name), .type = f->kind == SCHEMA_BOOL ? "boolean" : number ? "integer" : "string",
				     .help = schema_text_of(t->set, f->help) });
	}
}

static int param_cmp(const void *a, const void *b) {
	const struct param *x = a, *y = b;
	int c = str_cmp(x->name, y->name);

	return c ? c : (int)y->in_path - (int)x->in_path;
}

static struct value *param_value(struct doc *d, const struct param *p) {
	struct value *v = value_new_object(d->a), *schema = d->v2 ? v : value_new_object(d->a);

	if (p->help.len) {
		value_set_str(d->a, v, N_description, p->help);
	}
	value_set_str(d->a, v, N_in, p->in_path ? S("path") : S("query"));
	value_set_str(d->a, v, N_name, p->name);
	if (p->in_path) {
		value_set_bool(d->a, v, N_required, true);
	}
	value_set_str(d->a, schema, N_type, str_c(p->type));
	value_set_bool(d->a, schema, N_uniqueItems, true);
	if (!d->v2) {
		value_set(d->a, v, N_schema, schema);
	}
	return v;
}

static struct value *params_value(struct doc *d, struct params *p) {
	struct value *list = value_new_array(d->a);

	qsort(p->at, p->len, sizeof(p->at[0]), param_cmp);
	for (size_t i = 0; i < p->len; i++) {
		value_push(d->a, list, param_value(d, &p->at[i]));
	}
	return list;
}

/* ---- operations ----------------------------------------------------------------------------------------------------------- */
static const char *const media[] = { "application/json", "application/yaml", "application/vnd.kubernetes.protobuf" };
static const char *const stream_media[] = { "application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch" };
static const char *const patch_media[] = { "application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json",
	"application/strategic-merge-patch+json" };

struct operation { /* what one operation is made of */
	const struct action *action;
	struct str id;
	const struct schema_type *kind; /* for the kind's extension */
	uint16_t kind_version;
	struct value *body;   /* schema; NULL: none */
	struct value *answer; /* schema; NULL: none */
	bool plain_text;      /* also text/plain, as a log */
	bool any_type;        /* "*" for the media type, as a connection */
	const char *only_media; /* this one alone; NULL: the usual ones */
};

static struct value *media_list(struct doc *d, const char *const *names, size_t n, struct value *list) {
	for (size_t i = 0; i < n; i++) {
		value_push_str(d->a, list, str_c(names[i]));
	}
	return list;
}

static void add_content(struct doc *d, struct value *content, const char *type, const struct value *schema) {
	struct value *holder = value_new_object(d->a);

	value_set(d->a, holder, N_schema, schema);
	value_set_key(d->a, content, str_c(type), holder);
}

static const char *phrase(struct str code) {
	return str_eq(code, S("200")) ? "OK" : str_eq(code, S("201")) ? "Created" : str_eq(code, S("202")) ? "Accepted" : "Unauthorized";
}

static struct value *response(struct doc *d, const struct operation *op, struct str code) {
	struct value *r = value_new_object(d->a), *content;

	value_set_str(d->a, r, N_description, str_c(phrase(code)));
	if (!op->answer || str_eq(code, S("401"))) {
		return r;
	}
	if (d->v2) {
		value_set(d->a, r, N_schema, op->answer);
		return r;
	}
	content = value_new_object(d->a);
	if (op->any_type || op->only_media) {
		add_content(d, content, op->any_type ? "*/*" : op->only_media, op->answer);
	} else {
		for (size_t i = 0; i < ARRAY_LEN(media); i++) {
			add_content(d, content, media[i], op->answer);
		}
		for (size_t i = 0; op->action && op->action->streams && i < ARRAY_LEN(stream_media); i++) {
			add_content(d, content, stream_media[i], op->answer);
		}
		if (op->plain_text) {
			add_content(d, content, "text/plain", op->answer);
		}
	}
	value_sort_keys(content);
	value_set(d->a, r, N_content, content);
	return r;
}

static void set_body(struct doc *d, const struct operation *op, struct value *v, struct value *v2_params) {
	bool patch = op->action && strcmp(op->action->action, "patch") == 0, optional = op->action && op->action->body_optional;
	struct value *body = value_new_object(d->a), *content;

	if (d->v2) {
		value_set_str(d->a, body, N_in, S("body"));
		value_set_str(d->a, body, N_name, S("body"));
		if (!optional) {
			value_set_bool(d->a, body, N_required, true);
		}
		value_set(d->a, body, N_schema, op->body);
		value_insert(d->a, v2_params, 0, body);
		return;
	}
	content = value_new_object(d->a);
	if (patch) {
		for (size_t i = 0; i < ARRAY_LEN(patch_media); i++) {
			add_content(d, content, patch_media[i], op->body);
		}
	} else {
		add_content(d, content, "*/*", op->body);
	}
	value_set(d->a, body, N_content, content);
	if (!optional) {
		value_set_bool(d->a, body, N_required, true);
	}
	value_set(d->a, v, N_requestBody, body);
}

static struct value *gvk(struct doc *d, const struct operation *op) {
	const struct schema_version *v = &schema_versions[op->kind_version];
	struct value *k = value_new_object(d->a);

	value_set_str(d->a, k, N_group, schema_text(schema_groups[v->group].name));
	value_set_str(d->a, k, N_kind, schema_type_short(op->kind));
	value_set_str(d->a, k, N_version, schema_text(v->name));
	return k;
}

static struct value *operation_value(struct doc *d, const struct naming *n, const struct operation *op, const char *action, const char *codes,
	struct params *params) {
	struct value *v = value_new_object(d->a), *responses = value_new_object(d->a), *list = params_value(d, params);
	bool patch = strcmp(action, "patch") == 0;
	struct str rest = str_c(codes), code;

	value_set_str(d->a, v, N_operationId, op->id);
	value_set(d->a, v, N_tags, doc_list(d->a, n->tag));
	if (op->body) {
		set_body(d, op, v, list);
	}
	if (d->v2) {
		struct value *produces = value_new_array(d->a);

		if (patch && op->body) {
			value_set(d->a, v, N_consumes, media_list(d, patch_media, ARRAY_LEN(patch_media), value_new_array(d->a)));
		} else {
			value_set(d->a, v, N_consumes, doc_list(d->a, S("*/*")));
		}
		if (op->any_type) {
			value_push_str(d->a, produces, S("*/*"));
		} else {
			if (op->plain_text) {
				value_push_str(d->a, produces, S("text/plain"));
			}
			media_list(d, media, ARRAY_LEN(media), produces);
			if (op->action && op->action->streams) {
				media_list(d, stream_media, ARRAY_LEN(stream_media), produces);
			}
		}
		value_set(d->a, v, N_produces, produces);
		value_set(d->a, v, N_schemes, doc_list(d->a, S("https")));
	}
	if (list->len) {
		value_set(d->a, v, N_parameters, list);
	}
	while (rest.len && str_next(&rest, ',', &code)) {
		value_set_key(d->a, responses, code, response(d, op, code));
	}
	value_set_key(d->a, responses, S("401"), response(d, op, S("401")));
	value_set(d->a, v, N_responses, responses);
	if (action[0]) {
		value_set_str(d->a, v, N_x_kubernetes_action, str_c(action));
	}
	if (op->kind) {
		value_set(d->a, v, N_x_kubernetes_group_version_kind, gvk(d, op));
	}
	return v;
}

/* ---- a path: its operations, with what they share taken out ----------------------------------------------------------------- */
struct path {
	struct doc *d;
	const struct naming *n;
	struct str text;
	struct params path_params;
	struct operation ops[8];
	struct params params[8];
	const char *methods[8], *actions[8], *codes[8];
	size_t len;
};

static struct path path_new(struct doc *d, const struct naming *n, struct str text) {
	struct path p = { .d = d, .n = n, .text = text };

	if (str_contains(text, S("{namespace}"))) {
		params_add(&p.path_params, "namespace", true);
	}
	if (str_contains(text, S("{name}"))) {
		params_add(&p.path_params, "name", true);
	}
	if (str_contains(text, S("{path}"))) {
		params_add(&p.path_params, "path", true);
	}
	return p;
}

static struct operation *path_add(struct path *p, const char *method, const char *action, const char *codes, const char *params) {
	size_t i = p->len++;

	assert(i < ARRAY_LEN(p->ops));
	p->methods[i] = method;
	p->actions[i] = action;
	p->codes[i] = codes;
	p->ops[i].action = action_find(action);
	params_add(&p->params[i], params, false);
	return &p->ops[i];
}

static bool params_have(const struct params *p, const struct param *one) {
	for (size_t i = 0; i < p->len; i++) {
		if (str_eq(p->at[i].name, one->name)) {
			return true;
		}
	}
	return false;
}

static void params_drop(struct params *p, const struct param *one) {
	size_t out = 0;

	for (size_t i = 0; i < p->len; i++) {
		if (!str_eq(p->at[i].name, one->name)) {
			p->at[out++] = p->at[i];
		}
	}
	p->len = out;
}

static void path_write(struct path *p) {
	struct value *item = value_new_object(p->d->a), *shared;
	struct params first = p->params[0];

	for (size_t i = 0; i < first.len; i++) {
		bool all = true;

		for (size_t k = 1; k < p->len && all; k++) {
			all = params_have(&p->params[k], &first.at[i]);
		}
		if (all) {
			param_add(&p->path_params, first.at[i]);
			for (size_t k = 0; k < p->len; k++) {
				params_drop(&p->params[k], &first.at[i]);
			}
		}
	}
	for (size_t i = 0; i < p->len; i++) {
		value_set_key(p->d->a, item, str_c(p->methods[i]), operation_value(p->d, p->n, &p->ops[i], p->actions[i], p->codes[i], &p->params[i]));
	}
	shared = params_value(p->d, &p->path_params);
	if (shared->len) {
		value_set(p->d->a, item, N_parameters, shared);
	}
	value_sort_keys(item);
	if (p->len) {
		value_set_key(p->d->a, p->d->paths, p->text, item);
	}
}

/* ---- resources ------------------------------------------------------------------------------------------------------------------ */
struct target {
	struct doc *d;
	const struct naming *n;
	const struct schema_resource *r;
	const struct schema_type *kind;
	struct str kind_name, spaced; /* "Namespaced" or "" */
};

static struct str id_of(const struct target *t, const char *verb, const char *before, struct str name, const char *tail) {
	return arena_printf(t->d->a, "%s%.*s%s%.*s%.*s%s", verb, STR_ARG(t->n->camel), before, STR_ARG(t->spaced), STR_ARG(name), tail);
}

/* An operation of one of the plain actions on the resource itself. */
static void add_plain(struct path *p, const struct target *t, const char *action, struct str id) {
	const struct action *act = action_find(action);
	struct operation *op = path_add(p, act->method, act->action, act->codes, act->params);
	const struct schema_type *status = schema_type_at(T_meta_v1_Status), *options = schema_type_at(T_meta_v1_DeleteOptions);

	op->id = id;
	op->kind = t->kind;
	op->kind_version = t->r->version;
	if (strcmp(action, "list") == 0) {
		op->answer = doc_ref(t->d, schema_resource_list(t->r));
	} else if (act->streams) {
		op->answer = doc_ref(t->d, schema_type_at(T_meta_v1_WatchEvent));
	} else if (strcmp(act->method, "delete") == 0) {
		op->body = doc_ref(t->d, options);
		op->answer = doc_ref(t->d, t->r->deleted_object && strcmp(action, "delete") == 0 ? t->kind : status);
	} else {
		op->answer = doc_ref(t->d, t->kind);
		if (act->has_body) {
			op->body = strcmp(action, "patch") == 0 ? doc_ref_special(t->d, SPECIAL_PATCH) : doc_ref(t->d, t->kind);
		}
	}
}

static struct str path_text(const struct target *t, const char *before, bool spaced, const char *tail) {
	struct str plural = schema_text(t->r->name);

	return arena_printf(t->d->a, "%.*s%s%s/%.*s%s", STR_ARG(t->n->base), before, spaced ? "/namespaces/{namespace}" : "", STR_ARG(plural), tail);
}

static void add_resource(const struct target *t) {
	uint8_t verbs = t->r->verbs;
	bool ns = t->r->namespaced;
	struct path p = path_new(t->d, t->n, path_text(t, "", ns, ""));

	if (verbs & SCHEMA_DELETECOLLECTION) {
		add_plain(&p, t, "deletecollection", id_of(t, "delete", "Collection", t->kind_name, ""));
	}
	if (verbs & SCHEMA_LIST_VERB) {
		add_plain(&p, t, "list", id_of(t, "list", "", t->kind_name, ""));
	}
	if (verbs & SCHEMA_CREATE) {
		add_plain(&p, t, "post", id_of(t, "create", "", t->kind_name, ""));
	}
	path_write(&p);
	p = path_new(t->d, t->n, path_text(t, "", ns, "/{name}"));
	if (verbs & SCHEMA_DELETE) {
		add_plain(&p, t, "delete", id_of(t, "delete", "", t->kind_name, ""));
	}
	if (verbs & SCHEMA_GET) {
		add_plain(&p, t, "get", id_of(t, "read", "", t->kind_name, ""));
	}
	if (verbs & SCHEMA_PATCH) {
		add_plain(&p, t, "patch", id_of(t, "patch", "", t->kind_name, ""));
	}
	if (verbs & SCHEMA_UPDATE) {
		add_plain(&p, t, "put", id_of(t, "replace", "", t->kind_name, ""));
	}
	path_write(&p);
	if (ns && verbs & SCHEMA_LIST_VERB) {
		p = path_new(t->d, t->n, path_text(t, "", false, ""));
		add_plain(&p, t, "list", arena_printf(t->d->a, "list%.*s%.*sForAllNamespaces", STR_ARG(t->n->camel), STR_ARG(t->kind_name)));
		path_write(&p);
	}
	if (!(verbs & SCHEMA_WATCH)) {
		return;
	}
	p = path_new(t->d, t->n, path_text(t, "/watch", ns, ""));
	add_plain(&p, t, "watchlist", id_of(t, "watch", "", t->kind_name, "List"));
	path_write(&p);
	p = path_new(t->d, t->n, path_text(t, "/watch", ns, "/{name}"));
	add_plain(&p, t, "watch", id_of(t, "watch", "", t->kind_name, ""));
	path_write(&p);
	if (ns) {
		p = path_new(t->d, t->n, path_text(t, "/watch", false, ""));
		add_plain(&p, t, "watchlist", arena_printf(t->d->a, "watch%.*s%.*sListForAllNamespaces", STR_ARG(t->n->camel), STR_ARG(t->kind_name)));
		path_write(&p);
	}
}

/* ---- subresources ------------------------------------------------------------------------------------------------------------------ */
static bool is_connection(const struct schema_sub *s) { /* its kind is options for a connection */
	return str_ends(schema_type_short(&schema_builtin.types[s->type]), S("Options"));
}

static struct value *string_schema(struct doc *d) {
	struct value *s = value_new_object(d->a);

	value_set_str(d->a, s, N_type, S("string"));
	return s;
}

static void add_connection(const struct target *t, const struct schema_sub *s, struct str name, bool with_path) {
	static const struct {
		const char *method, *word;
		uint8_t verb; /* 0: for every proxy */
	} methods[] = {
		{ "delete", "Delete", SCHEMA_DELETE },
		{ "get", "Get", SCHEMA_GET },
		{ "head", "Head", 0 },
		{ "options", "Options", 0 },
		{ "patch", "Patch", SCHEMA_PATCH },
		{ "post", "Post", SCHEMA_CREATE },
		{ "put", "Put", SCHEMA_UPDATE },
	};
	struct str sub = schema_text(s->name), tail = arena_printf(t->d->a, "/{name}/%.*s%s", STR_ARG(sub), with_path ? "/{path}" : "");
	struct path p = path_new(t->d, t->n, path_text(t, "", t->r->namespaced, tail.ptr));
	bool proxy = str_eq(sub, S("proxy"));

	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		struct operation *op;

		if (methods[i].verb ? !(s->verbs & methods[i].verb) : !proxy) {
			continue;
		}
		op = path_add(&p, methods[i].method, "connect", "200", "");
		params_of_type(&p.params[p.len - 1], &schema_builtin.types[s->type]);
		op->id = arena_printf(t->d->a, "connect%.*s%s%.*s%.*s%s", STR_ARG(t->n->camel), methods[i].word, STR_ARG(t->spaced), STR_ARG(name),
			with_path ? "WithPath" : "");
		op->kind = &schema_builtin.types[s->type];
		op->kind_version = s->version;
		op->answer = string_schema(t->d);
		op->any_type = true;
	}
	path_write(&p);
	if (proxy && !with_path) {
		add_connection(t, s, name, true);
	}
}

static void add_sub(const struct target *t, const struct schema_sub *s) {
	static const struct {
		uint8_t verb;
		const char *action;
	} plain[] = { { SCHEMA_GET, "get" }, { SCHEMA_PATCH, "patch" }, { SCHEMA_CREATE, "post" }, { SCHEMA_UPDATE, "put" } };
	struct str sub = schema_text(s->name), big = title(t->d->a, sub), name = arena_printf(t->d->a, "%.*s%.*s", STR_ARG(t->kind_name), STR_ARG(big));
	const struct schema_type *kind = &schema_builtin.types[s->type];
	struct path p;

	if (is_connection(s)) {
		add_connection(t, s, name, false);
		return;
	}
	p = path_new(t->d, t->n, path_text(t, "", t->r->namespaced, arena_printf(t->d->a, "/{name}/%.*s", STR_ARG(sub)).ptr));
	for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
		const struct action *act = action_find(plain[i].action);
		struct operation *op;

		if (!(s->verbs & plain[i].verb)) {
			continue;
		}
		op = path_add(&p, act->method, act->action, act->codes, act->params);
		op->id = id_of(t, act->verb, "", name, "");
		op->kind = kind;
		op->kind_version = s->version;
		if (t->r == schema_resource_at(R_core_v1_pods) && str_eq(sub, S("log"))) {
			op->answer = string_schema(t->d);
			op->plain_text = true;
			params_of_type(&p.params[p.len - 1], schema_type_at(T_core_v1_PodLogOptions));
			continue;
		}
		op->answer = doc_ref(t->d, kind);
		if (act->has_body) {
			op->body = strcmp(act->action, "patch") == 0 ? doc_ref_special(t->d, SPECIAL_PATCH) : doc_ref(t->d, kind);
		}
	}
	path_write(&p);
}

void doc_paths(struct doc *d, const struct schema_version *v) {
	struct naming n = naming_of(d->a, v);
	struct path root = path_new(d, &n, arena_printf(d->a, "%.*s/", STR_ARG(n.base)));
	struct operation *op = path_add(&root, "get", "", "200", "");

	op->id = arena_printf(d->a, "get%.*sAPIResources", STR_ARG(n.camel));
	op->answer = doc_ref(d, schema_type_at(T_meta_v1_APIResourceList));
	path_write(&root);
	for (size_t i = 0; i < v->resources_len; i++) {
		const struct schema_resource *r = &schema_resources[v->resources_at + i];
		struct target t = { .d = d, .n = &n, .r = r, .kind = schema_resource_type(r), .spaced = r->namespaced ? S("Namespaced") : S("") };

		t.kind_name = schema_type_short(t.kind);
		add_resource(&t);
		for (size_t k = 0; k < r->subs_len; k++) {
			add_sub(&t, &schema_subs[r->subs_at + k]);
		}
	}
	value_sort_keys(d->paths);
}

/* ---- the few paths outside of group versions ------------------------------------------------------------------------------------ */
static const struct {
	struct str path;
	const char *id, *tag;
	const char *media; /* of a text; NULL: an object in the usual ones */
	uint16_t type;
} others[] = {
	{ S_INIT("api"), "getCoreAPIVersions", "core", NULL, T_meta_v1_APIVersions },
	{ S_INIT("apis"), "getAPIVersions", "apis", NULL, T_meta_v1_APIGroupList },
	{ S_INIT("version"), "getCodeVersion", "version", "application/json", T_version_Info },
	{ S_INIT("openid/v1/jwks"), "getServiceAccountIssuerOpenIDKeyset", "openid", "application/jwk-set+json", SCHEMA_NO_TYPE },
	{ S_INIT(".well-known/openid-configuration"), "getServiceAccountIssuerOpenIDConfiguration", "WellKnown", "application/json", SCHEMA_NO_TYPE },
};

static void add_other(struct doc *d, struct str path, struct str id, struct str tag, const char *only, const struct schema_type *type) {
	struct naming n = { .tag = tag };
	struct path p = path_new(d, &n, arena_printf(d->a, "/%.*s/", STR_ARG(path)));
	struct operation *op = path_add(&p, "get", "", "200", "");

	op->id = id;
	op->answer = type ? doc_ref(d, type) : string_schema(d);
	op->only_media = only;
	path_write(&p);
}

bool doc_other_path(struct doc *d, struct str path) {
	struct str group = str_starts(path, S("apis/")) ? str_from(path, 5) : S("");

	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		if (str_eq(others[i].path, path)) {
			add_other(d, path, str_c(others[i].id), str_c(others[i].tag), others[i].media,
				others[i].type == SCHEMA_NO_TYPE ? NULL : &schema_builtin.types[others[i].type]);
			return true;
		}
	}
	for (size_t g = 0; g < schema_groups_len; g++) {
		if (group.len && str_eq(schema_text(schema_groups[g].name), group)) {
			const struct schema_version *v = &schema_versions[schema_groups[g].versions_at];
			struct naming n = naming_of(d->a, v);
			struct str camel = str_sub(n.camel, 0, n.camel.len - n.version.len), tag = str_sub(n.tag, 0, n.tag.len - n.version.len - 1);

			add_other(d, path, arena_printf(d->a, "get%.*sAPIGroup", STR_ARG(camel)), tag, NULL, schema_type_at(T_meta_v1_APIGroup));
			return true;
		}
	}
	return false;
}

struct str doc_other_name(size_t n) {
	return n < ARRAY_LEN(others) ? others[n].path : (struct str){ 0 };
}
