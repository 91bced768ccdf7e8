/* SPDX-License-Identifier: Apache-2.0 */
/* kubectl.c - see kubectl.h: one table of verbs; each reads manifests or names, calls, prints. Main thread; may block. */
#include "kubectl/kubectl.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/flags.h"
#include "client/kubeconfig.h"
#include "net/client.h"
#include "net/url.h"
#include "schema/schema.h"

struct kubectl {
	const char *kubeconfig, *context, *ns, *output, *condition;
	struct flag_list files;
	bool all;
	int64_t timeout;
	struct arena arena;
	struct client *client;
	struct http_client *http;
};

static bool connect(struct kubectl *k, struct err *err) {
	const char *env = getenv("KUBECONFIG"), *home = getenv("HOME");
	const char *path = k->kubeconfig ? k->kubeconfig : env && *env ? env : arena_printf(&k->arena, "%s/.kube/config", home ? home : "/root").ptr;
	struct client_https_opts o;
	if (!kubeconfig_load(path, k->context, &k->arena, &o, err)) {
		return false;
	}
	struct http_client_opts h = { .base = str_c(o.server), .bearer_token = o.token, .user_agent = S("coracle-kubectl"),
		.tls = { .ca_pem = o.ca_pem, .cert_pem = o.cert_pem, .key_pem = o.key_pem, .insecure = o.insecure } };
	return client_new_https(&o, &k->client, err) && http_client_new(&h, &k->http, err);
}

/* "deploy", "deployment", "deployments" and "deployments.apps" are one resource. */
static const struct schema_resource *resource_find(struct str word) {
	struct str name, group;
	bool dotted = str_cut(word, '.', &name, &group);
	for (size_t i = 0; i < schema_resources_len; i++) {
		const struct schema_resource *r = &schema_resources[i];
		if (!schema_served(r) || (dotted && !str_eq(group, schema_resource_group(r)))) {
			continue;
		}
		struct str shorts = schema_text(r->shorts), s;
		bool hit = str_eq(name, schema_text(r->name)) || str_eq(name, schema_text(r->singular)) ||
			str_case_eq(name, schema_type_short(schema_resource_type(r)));
		while (!hit && shorts.len && str_next(&shorts, ',', &s)) {
			hit = str_eq(name, s);
		}
		if (hit) {
			return r;
		}
	}
	return NULL;
}

static struct gvr gvr_of(const struct schema_resource *r) {
	return (struct gvr){ schema_resource_group(r), schema_resource_version(r), schema_text(r->name) };
}

/* ---- manifests ---- */

/* Calls `each` for every document of every file. */
static bool manifests(struct kubectl *k, bool (*each)(struct kubectl *k, const struct schema_resource *r, struct str ns, struct value *v, struct err *err), struct err *err) {
	for (size_t f = 0; f < k->files.len; f++) {
		auto_buf struct buf b = BUF_INIT(64 << 20);
		if (!strcmp(k->files.at[f], "-")) {
			char chunk[4096];
			for (size_t n; (n = fread(chunk, 1, sizeof(chunk), stdin)) > 0;) {
				buf_add(&b, chunk, n);
			}
		} else if (!file_read(k->files.at[f], &b, err)) {
			return false;
		}
		struct str rest = buf_view(&b);
		while (rest.len) {
			/* Documents part at a line of "---". */
			struct str doc = rest;
			size_t at = 0, next = rest.len;
			while (at < rest.len) {
				struct str line = str_from(rest, at);
				ptrdiff_t nl = str_index(line, '\n');
				size_t len = nl < 0 ? line.len : (size_t)nl;
				if (at && str_eq(str_trim(str_sub(line, 0, len)), S("---"))) {
					doc = str_sub(rest, 0, at);
					next = MIN(at + len + 1, rest.len);
					break;
				}
				at += len + 1;
			}
			rest = str_from(rest, next);
			struct value *v;
			if (!yaml_parse(&k->arena, doc, NULL, &v, err)) {
				return err_wrap(err, "%s", k->files.at[f]);
			}
			if (!value_is(v, VALUE_OBJECT)) {
				continue;
			}
			const struct schema_type *t = schema_kind_of(v);
			const struct schema_resource *r = t ? schema_resource_of(t) : NULL;
			if (!r) {
				return err_set(err, ERR_BAD_REQUEST, "%s: no matches for kind \"%.*s\" in version \"%.*s\"", k->files.at[f], STR_ARG(value_str_at(v, N_kind)),
					STR_ARG(value_str_at(v, N_apiVersion)));
			}
			struct str ns = value_str_at(v, N_metadata, N_namespace);
			ns = !r->namespaced ? S("") : ns.len ? ns : str_c(k->ns);
			if (!each(k, r, ns, v, err)) {
				return err_wrap(err, "%s", k->files.at[f]);
			}
		}
	}
	return true;
}

static void said(const struct schema_resource *r, struct str name, const char *what) {
	struct str group = schema_resource_group(r);
	printf("%.*s%s%.*s/%.*s %s\n", STR_ARG(schema_text(r->singular)), group.len ? "." : "", STR_ARG(group), STR_ARG(name), what);
}

static bool apply_one(struct kubectl *k, const struct schema_resource *r, struct str ns, struct value *v, struct err *err) {
	auto_obj struct obj *before = NULL, *after = NULL;
	struct gvr gvr = gvr_of(r);
	struct str name = value_str_at(v, N_metadata, N_name);
	if (!client_get(k->client, gvr, ns, name, &before, err)) {
		if (err->code != ERR_NOT_FOUND || !client_create(k->client, gvr, ns, v, NULL, err)) {
			return false;
		}
		said(r, name, "created");
		return true;
	}
	if (!client_patch(k->client, gvr, ns, name, (struct str){ 0 }, PATCH_STRATEGIC, v, &after, err)) {
		return false;
	}
	said(r, name, str_eq(value_str_at(before->root, N_metadata, N_resourceVersion), value_str_at(after->root, N_metadata, N_resourceVersion)) ? "unchanged" : "configured");
	return true;
}

static bool delete_one(struct kubectl *k, const struct schema_resource *r, struct str ns, struct value *v, struct err *err) {
	struct str name = value_str_at(v, N_metadata, N_name);
	if (!client_delete(k->client, gvr_of(r), ns, name, err)) {
		return false;
	}
	said(r, name, "deleted");
	return true;
}

static bool apply(struct kubectl *k, const struct flag_args *args, struct err *err) {
	return k->files.len ? manifests(k, apply_one, err) : err_set(err, ERR_BAD_REQUEST, "must specify -f FILE");
}

/* "TYPE NAME..." or "TYPE/NAME ...". */
static bool named(struct kubectl *k, const struct flag_args *args, bool (*each)(struct kubectl *k, const struct schema_resource *r, struct str name, struct err *err),
	struct err *err) {
	const struct schema_resource *r = NULL;
	for (size_t i = 0; i < args->len; i++) {
		struct str type, name;
		if (str_cut(str_c(args->at[i]), '/', &type, &name)) {
			r = resource_find(type);
		} else if (i == 0) {
			r = resource_find(type);
			if (r) {
				continue;
			}
		} else {
			name = str_c(args->at[i]);
		}
		if (!r) {
			return err_set(err, ERR_NOT_FOUND, "the server doesn't have a resource type \"%.*s\"", STR_ARG(type));
		}
		if (!each(k, r, name, err)) {
			return false;
		}
	}
	return true;
}

static bool delete_named(struct kubectl *k, const struct schema_resource *r, struct str name, struct err *err) {
	if (!client_delete(k->client, gvr_of(r), r->namespaced ? str_c(k->ns) : S(""), name, err)) {
		return false;
	}
	said(r, name, "deleted");
	return true;
}

static bool delete_verb(struct kubectl *k, const struct flag_args *args, struct err *err) {
	return (!k->files.len || manifests(k, delete_one, err)) && named(k, args, delete_named, err);
}

/* ---- wait ---- */

static bool holds(struct kubectl *k, const struct value *o) {
	struct str type, status;
	if (!str_cut(str_c(k->condition), '=', &type, &status)) {
		status = S("True");
	}
	VALUE_EACH(value_at(o, N_status, N_conditions), c) {
		if (str_case_eq(value_str_at(c, N_type), type)) {
			int64_t seen = value_int_at(o, N_status, N_observedGeneration);
			return str_case_eq(value_str_at(c, N_status), status) && (!seen || seen >= value_int_at(o, N_metadata, N_generation));
		}
	}
	return false;
}

static bool wait_named(struct kubectl *k, const struct schema_resource *r, struct str name, struct err *err) {
	nsec_t end = clock_mono() + k->timeout;
	for (nsec_t pause = 10 * NSEC_PER_MSEC;; pause = MIN(pause * 2, 250 * NSEC_PER_MSEC)) {
		auto_obj struct obj *o = NULL;
		bool there = client_get(k->client, gvr_of(r), r->namespaced ? str_c(k->ns) : S(""), name, &o, err);
		if (there && holds(k, o->root)) {
			said(r, name, "condition met");
			return true;
		}
		if (!there && err->code != ERR_NOT_FOUND && err->code != ERR_UNAVAILABLE) {
			return false;
		}
		if (clock_mono() > end) {
			return err_set(err, ERR_TIMEOUT, "timed out waiting for the condition on %.*s/%.*s", STR_ARG(schema_text(r->name)), STR_ARG(name));
		}
		clock_sleep(pause);
	}
}

static bool wait_verb(struct kubectl *k, const struct flag_args *args, struct err *err) {
	if (!k->condition || strncmp(k->condition, "condition=", 10) != 0) {
		return err_set(err, ERR_BAD_REQUEST, "--for=condition=NAME must be given");
	}
	k->condition += 10;
	return named(k, args, wait_named, err);
}

/* ---- get ---- */

static void table_print(struct arena *a, const struct value *table, bool wide, bool namespaces) {
	const struct value *columns = value_get(table, N_columnDefinitions), *rows = value_get(table, N_rows);
	size_t cols = value_len(columns);
	size_t *width = arena_array(a, size_t, cols + 1);
	for (int pass = 0; pass < 2; pass++) {
		for (ptrdiff_t r = -1; r < (ptrdiff_t)value_len(rows); r++) {
			const struct value *row = r < 0 ? NULL : value_item(rows, (size_t)r);
			bool first = true;
			for (size_t i = namespaces ? 0 : 1; i <= cols; i++) {
				const struct value *col = i ? value_item(columns, i - 1) : NULL;
				struct str text;
				if (i && !wide && value_int_at(col, N_priority) > 0) {
					continue;
				}
				if (!i) {
					text = row ? value_str_at(row, N_object, N_metadata, N_namespace) : S("NAMESPACE");
				} else if (row) {
					text = value_as_text(a, value_item(value_get(row, N_cells), i - 1));
				} else {
					char *up = arena_cstr(a, value_str_at(col, N_name));
					for (char *p = up; *p; p++) {
						*p = *p >= 'a' && *p <= 'z' ? (char)(*p - 32) : *p;
					}
					text = str_c(up);
				}
				if (pass == 0) {
					width[i] = MAX(width[i], text.len);
				} else {
					printf("%s%-*.*s", first ? "" : "   ", (int)width[i], STR_ARG(text));
				}
				first = false;
			}
			if (pass == 1) {
				printf("\n");
			}
		}
	}
}

static bool get(struct kubectl *k, const struct flag_args *args, struct err *err) {
	struct str type, name;
	if (!args->len) {
		return err_set(err, ERR_BAD_REQUEST, "you must specify the type of resource to get");
	}
	str_cut(str_c(args->at[0]), '/', &type, &name);
	if (args->len > 1) {
		name = str_c(args->at[1]);
	}
	const struct schema_resource *r = resource_find(type);
	if (!r) {
		return err_set(err, ERR_NOT_FOUND, "the server doesn't have a resource type \"%.*s\"", STR_ARG(type));
	}
	bool table = strcmp(k->output, "json") != 0 && strcmp(k->output, "yaml") != 0;
	struct str group = schema_resource_group(r);
	auto_buf struct buf url = { 0 };
	buf_printf(&url, "%s%.*s/%.*s", group.len ? "/apis/" : "/api", STR_ARG(group), STR_ARG(schema_resource_version(r)));
	if (r->namespaced && !k->all) {
		buf_printf(&url, "/namespaces/%s", k->ns);
	}
	buf_printf(&url, "/%.*s", STR_ARG(schema_text(r->name)));
	if (name.len) {
		buf_printf(&url, "/%.*s", STR_ARG(url_escape(&k->arena, name)));
	}
	struct http_header accept = { S("Accept"), table ? S("application/json;as=Table;v=v1;g=meta.k8s.io,application/json") : S("application/json") };
	struct http_request rq = { .url = buf_view(&url), .headers = &accept, .headers_len = 1 };
	struct http_response resp = { 0 };
	struct value *v;
	bool ok = http_do(k->http, &rq, &resp, err) && json_parse(&k->arena, arena_str(&k->arena, resp.body), NULL, &v, err);
	if (ok && resp.status != 200) {
		ok = err_set(err, err_from_reason(value_str_at(v, N_reason), resp.status), "%.*s", STR_ARG(value_str_at(v, N_message)));
	}
	if (ok && table) {
		if (value_len(value_get(v, N_rows))) {
			table_print(&k->arena, v, !strcmp(k->output, "wide"), k->all && r->namespaced);
		} else {
			fprintf(stderr, "No resources found%s%s%s\n", r->namespaced && !k->all ? " in " : "", r->namespaced && !k->all ? k->ns : "",
				r->namespaced && !k->all ? " namespace." : "");
		}
	} else if (ok) {
		auto_buf struct buf b = { 0 };
		if (!strcmp(k->output, "json")) {
			json_print_indent(&b, v, 4);
			buf_char(&b, '\n');
		} else {
			yaml_print(&b, v);
		}
		fwrite(b.ptr, 1, b.len, stdout);
	}
	http_response_release(&resp);
	return ok;
}

static const struct kubectl_verb {
	const char *name, *args, *help;
	bool (*run)(struct kubectl *k, const struct flag_args *args, struct err *err);
} verbs[] = {
	{ "apply",  "-f FILE",             "create what is missing, patch what is there",   apply },
	{ "get",    "TYPE [NAME]",         "show objects as the server's tables",           get },
	{ "delete", "TYPE NAME... | -f FILE", "delete objects",                             delete_verb },
	{ "wait",   "TYPE/NAME --for=condition=NAME", "wait until a condition holds",       wait_verb },
};

int kubectl_main(int argc, char **argv) {
	struct kubectl k = { .ns = "default", .output = "", .timeout = 30 * NSEC_PER_SEC };
	struct flag_args args = { 0 };
	const struct kubectl_verb *verb = NULL;
	bool help;
	struct err err = { 0 };
	const struct flag flags[] = {
		{ "filename", 'f', FLAG_LIST, &k.files, "FILE", "manifest; - is standard input" },
		{ "namespace", 'n', FLAG_STRING, &k.ns, "NAME", "" },
		{ "all-namespaces", 'A', FLAG_BOOL, &k.all, NULL, "" },
		{ "output", 'o', FLAG_STRING, &k.output, "FORMAT", "wide, json or yaml" },
		{ "for", 0, FLAG_STRING, &k.condition, "condition=NAME", "what to wait for" },
		{ "timeout", 0, FLAG_DURATION, &k.timeout, "T", "of wait" },
		{ "kubeconfig", 0, FLAG_STRING, &k.kubeconfig, "FILE", "(default $KUBECONFIG or ~/.kube/config)" },
		{ "context", 0, FLAG_STRING, &k.context, "NAME", "of the kubeconfig (default its current one)" },
		{ 0 },
	};
	bool ok = flags_parse(flags, argc, argv, &args, &help, &err);
	if (ok && (help || !args.len)) {
		printf("A small kubectl for where there is no other. An unmodified kubectl does all of this and more.\n\n"
		       "Usage: coracle kubectl VERB [arguments] [flags]\n\n");
		for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
			printf("  %-7s %-32s %s\n", verbs[i].name, verbs[i].args, verbs[i].help);
		}
		printf("\n");
		flags_print(flags);
		return help ? 0 : 2;
	}
	for (size_t i = 0; ok && i < ARRAY_LEN(verbs); i++) {
		if (!strcmp(args.at[0], verbs[i].name)) {
			verb = &verbs[i];
		}
	}
	if (ok && !verb) {
		ok = err_set(&err, ERR_BAD_REQUEST, "unknown verb \"%s\": this small kubectl has apply, get, delete and wait", args.at[0]);
	}
	if (ok) {
		memmove(args.at, args.at + 1, --args.len * sizeof(args.at[0]));
		ok = connect(&k, &err) && verb->run(&k, &args, &err);
	}
	if (!ok) {
		const char *reason = err_reason(err.code);
		bool server = err.code == ERR_NOT_FOUND || err.code == ERR_FORBIDDEN || err.code == ERR_CONFLICT || err.code == ERR_INVALID;
		fprintf(stderr, "%s%s%s%s\n", server ? "Error from server (" : "error: ", server ? reason : "", server ? "): " : "", err.msg);
	}
	if (k.client) {
		client_free(k.client);
	}
	if (k.http) {
		http_client_free(k.http);
	}
	arena_release(&k.arena);
	return ok ? 0 : 1;
}
