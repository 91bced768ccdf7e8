/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.h - what the files of this room share: the server, a request on its way through it, and who does which step.
 * Private to the room; others see apiserver.h.
 *
 * The way of a request: http.c or transport.c makes a `struct req`; authn.c says who asks; rbac.c and node_authz.c whether they
 * may; route.c finds what serves it; body.c decodes; admission.c changes and refuses; registry.c, delete.c,
 * patch.c, list.c and watch.c do the verbs; encode.c prints the answer. Runs on a pool thread as straight-line code.
 */
#ifndef APISERVER_SERVER_H
#define APISERVER_SERVER_H

#include "apiserver/apiserver.h"
#include "apiserver/cache.h"
#include "apiserver/kinds.h"
#include "apiserver/request.h"
#include "net/net.h"
#include "schema/schema.h"

/* ---- who asks ---------------------------------------------------------------------------------- */
struct user {
	struct str name, uid;
	const struct str *groups;
	size_t groups_len;
	const struct value *extra; /* object of arrays of text; NULL when none */
};
bool user_in_group(const struct user *u, struct str group);
void user_add_group(struct arena *a, struct user *u, struct str group); /* unless it is there */
#define GROUP_MASTERS S("system:masters")
#define GROUP_AUTHENTICATED S("system:authenticated")
#define GROUP_UNAUTHENTICATED S("system:unauthenticated")
#define GROUP_NODES S("system:nodes")
#define USER_ANONYMOUS S("system:anonymous")

/* ---- what is stored ---------------------------------------------------------------------------- */
enum {
	STORAGE_UPSERT = 1,          /* an update may create */
	STORAGE_CONDITIONAL = 2,     /* an update must name the resourceVersion */
	STORAGE_KEEP_STATUS = 4,     /* create takes the status too */
	STORAGE_RETURN_DELETED = 8,  /* delete answers with the object, not with a Status */
	STORAGE_ORPHAN = 16,         /* dependents are left alone unless the request says otherwise */
	STORAGE_NO_GENERATION = 32,
};
struct storage {
	const struct schema_resource *res; /* of the stored version */
	const struct schema_type *type;
	const struct kind_ops *ops;
	struct cache *cache;
	struct str group, resource, kind; /* static */
	bool namespaced;
	bool has_status;
	int flags;
};
/* Of a resource in any served version; NULL when nothing of it is stored (reviews, bindings). */
struct storage *storage_of(struct apiserver *s, const struct schema_resource *res);
struct storage *storage_find(struct apiserver *s, struct str group, struct str resource);
struct str storage_key(struct arena *a, const struct storage *st, struct str ns, struct str name); /* relative: "ns/name" */
void storages_init(struct apiserver *s); /* makes one per stored resource and adds their caches */
struct obj *storage_get(struct storage *st, struct str ns, struct str name); /* one reference, or NULL */
/* Between the stored version and another; the value itself when they are the same. Edits `o`'s tree or builds a new one in `a`. */
struct value *convert_to(struct arena *a, const struct value *stored, const struct schema_resource *to);
struct value *convert_from(struct arena *a, struct value *o, const struct schema_resource *from);

/* ---- a request --------------------------------------------------------------------------------- */
enum verb { VERB_NONE, VERB_GET, VERB_LIST, VERB_WATCH, VERB_CREATE, VERB_UPDATE, VERB_PATCH, VERB_DELETE, VERB_DELETE_COLLECTION };
enum verb verb_of(struct str text);

struct req {
	struct apiserver *s;
	struct arena *a;
	struct user user;
	struct request_info info;
	struct request_opts opts;
	enum verb verb;
	const struct schema_resource *res; /* as asked for */
	const struct schema_sub *sub;      /* NULL for the resource itself */
	struct storage *st;                /* NULL when nothing of it is stored */
	struct kind_ctx kx;                /* also keeps the warnings */
	/* The body: bytes with a type over HTTP, a value in process. */
	struct str body, content_type;
	const struct value *body_value;
	enum patch_type patch;             /* in process */
	struct media accept;
	struct http_exchange *x;           /* NULL in process */
	/* What a failed Status tells beside err. */
	struct value *details;
	struct str message;                /* instead of err.msg, when longer than that holds */
	struct str fresh_continue;         /* an expired list's token to go on with */
};

/* What a verb leaves. Zeroed means nothing yet. */
struct answer {
	int code;                           /* 0: 200 */
	struct obj *obj;                    /* one reference: stored version; or */
	const struct value *value;          /* in the arena, printed as it is */
	const struct schema_resource *res;  /* whose table columns and version `value` has; NULL: of no resource */
	bool answered;                      /* the handler has sent it itself */
};
void answer_release(struct answer *ans);

/* ---- failures (status.c): all return false --------------------------------------------------------- */
bool fail_not_found(struct req *r, struct str group, struct str resource, struct str name, struct err *err);
bool fail_exists(struct req *r, struct str group, struct str resource, struct str name, struct err *err);
bool fail_conflict(struct req *r, struct str group, struct str resource, struct str name, struct str why, struct err *err);
bool fail_forbidden(struct req *r, struct str group, struct str resource, struct str name, struct str why, struct err *err);
/* `kind` of "meta.k8s.io" for options. */
bool fail_invalid(struct req *r, struct str group, struct str kind, struct str name, const struct causes *c, struct err *err);
bool fail_route(struct req *r, struct err *err);  /* 404 "the server could not find the requested resource" */
bool fail_method(struct req *r, struct err *err); /* 405 */
bool fail_retry(struct req *r, enum err_code code, int seconds, struct str message, struct err *err);
bool fail_rv_too_large(struct req *r, int64_t rv, struct err *err); /* 504 */
/* The request's resourceVersion, 0 when it names none. `kind`: whose option it is. */
NODISCARD bool resource_version_parse(struct req *r, struct str kind, int64_t *ret, struct err *err);
/* Sets details.name, group, kind. */
void fail_details(struct req *r, struct str group, struct str kind, struct str name);
void fail_cause(struct req *r, struct str reason, struct str message, struct str field);
struct value *status_failure(struct req *r, const struct err *err);
struct value *status_success(struct arena *a, struct value *details);
struct str qualified(struct arena *a, struct str group, struct str resource); /* "deployments.apps" */
#define RV_CONFLICT S("the object has been modified; please apply your changes to the latest version and try again")

/* ---- authentication and authorisation ---------------------------------------------------------------- */
struct authn;
NODISCARD bool authn_new(struct apiserver *s, struct authn **ret, struct err *err);
void authn_free(struct authn *n);
/* Who sent it, with the groups that everybody gets. Fails: ERR_UNAUTHORIZED. */
NODISCARD bool authn_request(struct authn *n, struct http_exchange *x, struct arena *a, struct user *ret, struct err *err);
/* Of a bearer token; `audiences` empty: the server's own. *ret_audiences (may be NULL) are those that both have. */
NODISCARD bool authn_token(struct authn *n, struct str token, const struct value *audiences, struct arena *a, struct user *ret,
	struct value **ret_audiences, struct err *err);
/* Signs a service-account token with the given bound claims. */
NODISCARD bool authn_issue(struct authn *n, struct arena *a, const struct value *claims, struct str *ret, struct err *err);
struct str authn_jwks(struct authn *n, struct arena *a);
struct str authn_issuer(struct authn *n);
struct user user_service_account(struct arena *a, struct str ns, struct str name, struct str uid);

struct access { /* what is asked for */
	struct user user;
	struct str verb;
	bool resource;
	struct str group, version, res, sub, ns, name;
	struct str path; /* of no resource */
};
enum decision { DECISION_NO_OPINION, DECISION_ALLOW, DECISION_DENY };
struct authz;
struct authz *authz_new(struct apiserver *s);
void authz_free(struct authz *z);
enum decision authorize(struct apiserver *s, struct arena *a, const struct access *q, struct str *ret_reason);
/* RBAC's part, without Node and shortcuts. */
enum decision rbac_authorize(struct authz *z, struct arena *a, const struct access *q, struct str *ret_reason);
enum decision node_authorize(struct apiserver *s, struct arena *a, const struct access *q, struct str *ret_reason);
/* All rules that hold for the user in `ns`: {resourceRules, nonResourceRules} of a SubjectRulesReviewStatus. */
struct value *rbac_rules_for(struct authz *z, struct arena *a, const struct user *u, struct str ns);
bool fail_access(struct req *r, const struct access *q, struct str reason, struct err *err);
bool impersonate(struct req *r, struct err *err); /* by the request's headers; changes r->user */

/* ---- bodies and answers (body.c, encode.c) ---------------------------------------------------------------- */
/*
 * Decodes the request's body as `type`, canonical; unknown fields are handled as opts.validation says. `defaults` fills them in. *ret_raw, when
 * wanted, is what was sent. Fails with upstream's words.
 */
NODISCARD bool body_decode(struct req *r, const struct schema_type *type, bool defaults, struct value **ret, struct err *err);
NODISCARD bool value_decode(struct req *r, const struct schema_type *type, const struct value *raw, bool defaults, struct value **ret, struct err *err);
/* In canonical form again, after edits. */
NODISCARD bool canonical(struct req *r, const struct schema_type *type, struct value **v, struct err *err);
/* Appends one object (`res` may be NULL) in the form that `m` names. `columns`: a Table's definitions are printed. */
bool encode_value(struct arena *a, struct buf *b, const struct media *m, const struct schema_resource *res, const struct value *v, struct str include_object,
	bool columns);
enum table_include table_include_of(struct str text); /* of ?includeObject= */
void json_print_item(struct buf *b, const struct value *v); /* without kind and apiVersion, as items of lists are */
void reply_warnings(struct req *r); /* as headers; before an answer that is not sent by the three below */
void reply_value(struct req *r, int code, const struct schema_resource *res, const struct value *v);
void reply_error(struct req *r, const struct err *err);
void reply_answer(struct req *r, struct answer *ans);

/* ---- verbs ------------------------------------------------------------------------------------------------ */
NODISCARD bool registry_get(struct req *r, struct answer *ret, struct err *err);
/* `o`: decoded and defaulted, in the stored version. */
NODISCARD bool registry_create(struct req *r, struct value *o, struct obj **ret, struct err *err);
/*
 * Makes the next state out of the current one (NULL: absent) in r->a: *ret_next is canonical or is made so; it may be called again after a conflict. False fails the
 * request.
 */
typedef bool (*registry_modify)(struct req *r, const struct value *current, void *arg, struct value **ret_next, struct err *err);
enum {
	MODIFY_MAY_CREATE = 1,
	MODIFY_STATUS = 2,    /* only the status is taken */
	MODIFY_RAW = 4,       /* no prepare, no validation, no admission: the server's own writes */
	MODIFY_AS_IS = 8,     /* validation and admission, but no prepare: subresources that have done it themselves */
};
NODISCARD bool registry_modify_object(struct req *r, struct storage *st, struct str ns, struct str name, int flags, registry_modify modify, void *arg,
	struct obj **ret, bool *ret_created, struct err *err);
NODISCARD bool registry_update(struct req *r, struct value *o, int flags, struct obj **ret, bool *ret_created, struct err *err);
NODISCARD bool registry_patch(struct req *r, struct answer *ret, struct err *err);
/* options: a DeleteOptions value or NULL. */
NODISCARD bool registry_delete(struct req *r, const struct value *options, struct answer *ret, struct err *err);
NODISCARD bool registry_delete_one(struct req *r, struct storage *st, struct str ns, struct str name, const struct value *options, struct answer *ret,
	struct err *err);
NODISCARD bool registry_delete_collection(struct req *r, const struct value *options, struct answer *ret, struct err *err);
/* Writes `v` (canonical, in the stored version) and gives back the frozen object. ERR_CONFLICT when `mod_rev` is not current (0: it must be absent). */
NODISCARD bool storage_write(struct req *r, struct storage *st, struct str key, struct value *v, int64_t mod_rev, struct obj **ret, struct err *err);
NODISCARD bool storage_delete(struct req *r, struct storage *st, struct str key, const struct obj *current, struct value *last, struct obj **ret,
	struct err *err);
struct str api_now_text(struct arena *a); /* RFC 3339, seconds */
struct str api_new_uid(struct arena *a);
bool finalizers_empty(const struct storage *st, const struct value *o);

/* Applies a patch of the request to `current`, both in the version asked for; the result is decoded. */
NODISCARD bool patch_value(struct req *r, const struct schema_type *type, const struct value *current, struct value **ret, struct err *err);

/* What a list or watch selects. */
struct selection {
	const struct selector *labels;
	struct {
		struct str label, value;
		bool negate;
	} fields[16];
	size_t fields_len;
	const struct schema_resource *res; /* that the labels of fields are of: the stored version's */
	struct str ns;                     /* empty: all */
	struct str name;                   /* of a metadata.name=x term: only that key can match */
};
NODISCARD bool selection_parse(struct req *r, struct selection *ret, struct err *err);
bool selection_matches(const struct selection *sel, const struct value *root);
bool selection_is_all(const struct selection *sel);

struct list_page {
	struct snapshot snap;
	struct str from, to;       /* range of keys */
	struct selection sel;
	int64_t limit;             /* 0: all */
};
NODISCARD bool list_begin(struct req *r, struct list_page *ret, struct err *err);
void list_end(struct list_page *p);
/* Next object of the page (borrowed), NULL at its end. */
struct list_cursor {
	struct tree_iter it;
	int64_t given;
	struct str last_key; /* borrowed from the snapshot */
	bool more;
};
struct obj *list_next(struct list_page *p, struct list_cursor *c);
struct str list_continue(struct req *r, const struct list_page *p, const struct list_cursor *c, int64_t *ret_remaining); /* after the end; "" when whole */
NODISCARD bool list_http(struct req *r, struct answer *ret, struct err *err);

NODISCARD bool watch_http(struct req *r, struct answer *ret, struct err *err);
struct watch_hub;
struct watch_hub *watch_hub_new(struct apiserver *s);
NODISCARD bool watch_hub_start(struct watch_hub *h, struct err *err);
void watch_hub_kick(void *hub); /* events are there; any thread */
void watch_hub_stop(struct watch_hub *h); /* ends all watches */
void watch_hub_free(struct watch_hub *h);
size_t watch_hub_len(struct watch_hub *h);

/* ---- routes ------------------------------------------------------------------------------------------------ */
/* After authentication: authorises, finds what serves it and calls it. */
NODISCARD bool route_resource(struct req *r, struct answer *ret, struct err *err);
/* Finds res, sub, st for info; ERR_NOT_FOUND or ERR_METHOD_NOT_ALLOWED. */
NODISCARD bool route_find(struct req *r, struct err *err);
bool nonresource_serve(struct req *r, struct answer *ret, struct err *err); /* paths that are no resources */
/* One subresource or virtual resource that is served by a function of its own. */
struct special {
	struct str group, resource, sub;
	bool (*serve)(struct req *r, struct answer *ret, struct err *err);
};
const struct special *special_find(struct str group, struct str resource, struct str sub);
bool serve_scale(struct req *r, struct answer *ret, struct err *err);
bool serve_binding(struct req *r, struct answer *ret, struct err *err);
bool serve_eviction(struct req *r, struct answer *ret, struct err *err);
bool serve_pod_spec(struct req *r, struct answer *ret, struct err *err); /* ephemeralcontainers, resize */
bool serve_token(struct req *r, struct answer *ret, struct err *err);
bool serve_finalize(struct req *r, struct answer *ret, struct err *err);
bool serve_approval(struct req *r, struct answer *ret, struct err *err);
bool serve_component_status(struct req *r, struct answer *ret, struct err *err);
bool serve_token_review(struct req *r, struct answer *ret, struct err *err);
bool serve_self_subject_review(struct req *r, struct answer *ret, struct err *err);
bool serve_access_review(struct req *r, struct answer *ret, struct err *err);
bool serve_rules_review(struct req *r, struct answer *ret, struct err *err);
bool serve_pod_stream(struct req *r, struct answer *ret, struct err *err); /* log, exec, attach, portforward */
bool serve_proxy(struct req *r, struct answer *ret, struct err *err);      /* pods, services, nodes */

/* ---- admission (admission.c, admission/) ---------------------------------------------------------------------- */
enum admission_verb { ADMIT_CREATE = 1, ADMIT_UPDATE = 2, ADMIT_DELETE = 4, ADMIT_CONNECT = 8 };
struct admission {
	struct req *r;
	enum admission_verb verb;
	struct storage *st;       /* NULL for what is not stored */
	struct str group, resource, sub, ns, name;
	struct value *object;     /* NULL on delete */
	const struct value *old;  /* NULL on create */
};
struct admission_plugin {
	const char *name;
	int verbs;
	/* Both may be NULL. They refuse by failing: fail_forbidden and kin. */
	bool (*mutate)(struct admission *ad, struct err *err);
	bool (*validate)(struct admission *ad, struct err *err);
};
NODISCARD bool admission_mutate(struct admission *ad, struct err *err);
NODISCARD bool admission_validate(struct admission *ad, struct err *err);
extern const struct admission_plugin admit_namespace_lifecycle, admit_service_account, admit_priority, admit_toleration_seconds, admit_node_taints,
	admit_node_restriction, admit_rbac_escalation;

/* ---- the rest ------------------------------------------------------------------------------------------------------ */
NODISCARD bool bootstrap_start(struct apiserver *s, struct err *err); /* what every cluster starts with; then keeps it so */
void bootstrap_stop(struct apiserver *s);
void events_expire(struct apiserver *s); /* deletes events older than an hour */
/* A request of the server's own, as system:apiserver in system:masters. */
void req_internal(struct apiserver *s, struct arena *a, struct req *ret, struct storage *st, enum verb verb, struct str ns, struct str name);

struct openapi_cache;
struct openapi_cache *openapi_cache_new(void);
void openapi_cache_free(struct openapi_cache *o);
bool serve_openapi(struct req *r, struct answer *ret, struct err *err);

/* Counters of /metrics. */
void metrics_request(struct req *r, int code, nsec_t took);
void metrics_print(struct apiserver *s, struct buf *b);
struct metrics;
struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);

struct apiserver {
	struct apiserver_opts opts; /* with own copies of the texts, and defaults filled in */
	struct arena texts;         /* owns them */
	struct str client_ca_pem, requestheader_ca_pem;
	struct store *store;
	struct cacher *cacher;
	struct service_alloc *services;
	struct storage *storages; /* one per stored resource */
	size_t storages_len;
	struct storage **by_resource; /* by index into schema_resources */
	struct authn *authn;
	struct authz *authz;
	struct watch_hub *hub;
	struct openapi_cache *openapi;
	struct metrics *metrics;
	struct tls_server *tls;
	struct http_server *http;
	struct http_client *kubelets; /* with our certificate */
	struct http_client *backends; /* of pods and services: no credentials, certificates not verified */
	struct bootstrap *bootstrap;
	struct compactor *compactor; /* in texts */
	struct loop *loop;      /* timers of the server's own, in-process watches' bookkeeping */
	bool loop_running;
	bool ready;             /* atomic */
	bool stopping;          /* atomic */
	int readers, writers;   /* atomic: requests in flight */
	nsec_t started;
};

#endif
