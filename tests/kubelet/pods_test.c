/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pods_test.c - whole lives of pods, with the runtime and the API server in memory: what a watch of the pod shows at
 * each step. Expected texts are upstream's, as the conformance cases and clients know them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "fake_cri.h"
#include "fake_api.h"

#define WAIT (10 * NSEC_PER_SEC)

struct fixture {
	struct fake_api *api;
	struct client *client;
	struct cri *cri;
	struct kubelet *k;
	char dir[64];
	_Atomic int adds, dels;
	const char *_Atomic network_fails;
	bool manifests;
};

static bool net_add(void *arg, const struct pod_network_pod *pod, struct pod_ips *ret, struct err *err) {
	struct fixture *f = arg;

	f->adds++;
	if (f->network_fails) {
		return err_set(err, ERR_INTERNAL, "%s", f->network_fails);
	}
	snprintf(ret->at[0], sizeof(ret->at[0]), "10.1.0.7");
	ret->len = 1;
	return true;
}

static bool net_del(void *arg, const struct pod_network_pod *pod, struct err *err) {
	struct fixture *f = arg;

	f->dels++;
	return true;
}

static void kubelet_up(struct fixture *f) {
	struct err err = { 0 };
	struct kubelet_opts o = { .client = f->client, .cri = f->cri, .network = { .add = net_add, .del = net_del, .arg = f }, .node_name = "n1",
		.node_ip = "192.0.2.1", .state_dir = f->dir, .cluster_dns = "10.96.0.10", .cgroup_root = "/test" };

	char manifests[96];
	snprintf(manifests, sizeof(manifests), "%s/manifests", f->dir);
	o.static_pod_dir = f->manifests ? manifests : NULL;
	f->k = kubelet_new();
	f->cri->on_exit = kubelet_on_exit;
	f->cri->arg = f->k;
	if (!kubelet_start(f->k, &o, &err)) {
		fail_msg("start: %s", err.msg);
	}
}

static void kubelet_down(struct fixture *f) {
	kubelet_stop(f->k);
	f->cri->on_exit = NULL;
	kubelet_free(f->k);
	f->k = NULL;
}

static int setup(void **state) {
	struct fixture *f = xcalloc(1, sizeof(*f));

	snprintf(f->dir, sizeof(f->dir), "/tmp/kubelet-test-%d-XXXXXX", getpid());
	if (!mkdtemp(f->dir)) {
		return -1;
	}
	f->api = fake_api_new();
	f->client = client_new(&f->api->t);
	f->cri = fake_cri_new();
	fake_image_add(f->cri, "web:1", true);
	fake_image_add(f->cri, "web:2", true);
	fake_image_add(f->cri, "remote:1", false);
	kubelet_up(f);
	*state = f;
	return 0;
}

static int teardown(void **state) {
	struct fixture *f = *state;
	struct err err = { 0 };
	char secrets[96];

	kubelet_down(f);
	client_free(f->client);
	fake_api_free(f->api);
	fake_cri_free(f->cri);
	snprintf(secrets, sizeof(secrets), "%s/secrets", f->dir);
	umount2(secrets, MNT_DETACH);
	if (!dir_remove(f->dir, &err)) {
		fprintf(stderr, "%s\n", err.msg);
	}
	free(f);
	return 0;
}

/* ---- looking -------------------------------------------------------------------------------------------------- */

static void pod_make(struct fixture *f, const char *spec) {
	char json[4096];

	snprintf(json, sizeof(json), "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\",\"namespace\":\"ns\",\"uid\":\"u-1\","
		"\"generation\":1,\"labels\":{\"app\":\"x\"}},\"spec\":{\"nodeName\":\"n1\",\"terminationGracePeriodSeconds\":30,%s},"
		"\"status\":{\"phase\":\"Pending\",\"qosClass\":\"BestEffort\"}}", spec);
	fake_set(f->api, "pods", json);
}

/* "a.b.0.c" in the pod's status, as text; arrays by index, or by name ("containerStatuses.web.ready"). */
static struct str look(struct arena *a, const struct value *v, const char *path) {
	struct str rest = str_c(path), piece;

	while (v && str_next(&rest, '.', &piece)) {
		int n;
		if (value_is(v, VALUE_ARRAY)) {
			const struct value *by = value_find_by(v, N_name, piece);
			by = by ? by : value_find_by(v, N_type, piece);
			v = by ? by : str_to_int(piece, 0, 1000, &n) ? value_item(v, (size_t)n) : NULL;
		} else {
			v = value_get_str(v, piece);
		}
	}
	return v ? value_is(v, VALUE_OBJECT) || value_is(v, VALUE_ARRAY) ? json_text(a, v) : value_as_text(a, v) : S("");
}

static void wait_status(struct fixture *f, const char *path, const char *want) {
	nsec_t end = clock_mono() + WAIT;
	auto_arena struct arena a = { 0 };
	struct str got = S("");

	while (clock_mono() < end) {
		auto_obj struct obj *o = fake_get(f->api, "pods", "ns", "p");
		got = look(&a, o ? value_get(o->root, N_status) : NULL, path);
		if (str_eqc(got, want)) {
			return;
		}
		clock_sleep(2 * NSEC_PER_MSEC);
	}
	auto_obj struct obj *o = fake_get(f->api, "pods", "ns", "p");
	fail_msg("status.%s is \"%.*s\", not \"%s\"; status: %.*s", path, STR_ARG(got), want, STR_ARG(o ? json_text(&a, value_get(o->root, N_status)) : S("")));
}

static void wait_gone(struct fixture *f) {
	nsec_t end = clock_mono() + WAIT;

	while (clock_mono() < end) {
		auto_obj struct obj *o = fake_get(f->api, "pods", "ns", "p");
		if (!o) {
			return;
		}
		clock_sleep(2 * NSEC_PER_MSEC);
	}
	fail_msg("the pod is still there");
}

static bool no_folder(struct fixture *f, const char *what) {
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", f->dir, what);
	for (nsec_t end = clock_mono() + WAIT; file_exists(path) && clock_mono() < end;) {
		clock_sleep(2 * NSEC_PER_MSEC);
	}
	return !file_exists(path);
}

static bool has_event(struct fixture *f, const char *reason, const char *text) {
	for (nsec_t end = clock_mono() + 3 * NSEC_PER_SEC; clock_mono() < end; clock_sleep(5 * NSEC_PER_MSEC)) {
		bool found = false;
		pthread_mutex_lock(&f->api->lock);
		MAP_EACH(&f->api->at, e) {
			const struct value *v = ((struct obj *)e->value)->root;
			found = found || (str_starts(e->key, S("events/")) && str_eqc(value_str_at(v, N_reason), reason) &&
				str_contains(value_str_at(v, N_message), str_c(text)));
		}
		pthread_mutex_unlock(&f->api->lock);
		if (found) {
			return true;
		}
	}
	return false;
}

/* Waits for a container of that name in that state. */
static struct str wait_ctr(struct fixture *f, const char *name, enum cri_container_state state) {
	struct str id = S("");

	for (nsec_t end = clock_mono() + WAIT; clock_mono() < end; clock_sleep(2 * NSEC_PER_MSEC)) {
		id = fake_find(f->cri, name, state);
		if (id.len > 0) {
			return id;
		}
	}
	fail_msg("no container %s in state %d", name, state);
	return id;
}

static struct fake_ctr *ctr(struct fixture *f, struct str id) {
	pthread_mutex_lock(&f->cri->lock);
	struct fake_ctr *x = fake_ctr_locked(f->cri, id);
	pthread_mutex_unlock(&f->cri->lock);
	return x;
}

static struct str env_of(const struct fake_ctr *c, const char *name) {
	for (size_t i = 0; i < c->env.len; i++) {
		if (str_eqc(c->env.at[i].key, name)) {
			return c->env.at[i].value;
		}
	}
	return S("(absent)");
}

#define WEB "{\"name\":\"web\",\"image\":\"web:1\",\"imagePullPolicy\":\"IfNotPresent\",\"terminationMessagePath\":\"/dev/termination-log\"," \
	    "\"terminationMessagePolicy\":\"File\"}"

/* ---- the node ------------------------------------------------------------------------------------------------------ */

static void test_node(void **state) {
	struct fixture *f = *state;
	auto_arena struct arena a = { 0 };
	struct obj *o = NULL;
	struct obj *lease = NULL;

	for (nsec_t end = clock_mono() + WAIT; (!o || !lease) && clock_mono() < end; clock_sleep(2 * NSEC_PER_MSEC)) {
		o = o ? o : fake_get(f->api, "nodes", "", "n1");
		lease = lease ? lease : fake_get(f->api, "leases", "kube-node-lease", "n1");
	}
	assert_non_null(o);
	assert_non_null(lease);
	const struct value *st = value_get(o->root, N_status);
	assert_string_equal(arena_cstr(&a, look(&a, st, "conditions.Ready.status")), "True");
	assert_string_equal(arena_cstr(&a, look(&a, st, "conditions.Ready.reason")), "KubeletReady");
	assert_string_equal(arena_cstr(&a, look(&a, st, "conditions.MemoryPressure.reason")), "KubeletHasSufficientMemory");
	assert_string_equal(arena_cstr(&a, look(&a, st, "addresses.0.address")), "192.0.2.1");
	assert_string_equal(arena_cstr(&a, look(&a, st, "capacity.pods")), "110");
	assert_string_equal(arena_cstr(&a, value_as_str(value_get_str(value_at(o->root, N_metadata, N_labels), S("kubernetes.io/hostname")))), "n1");
	assert_string_equal(arena_cstr(&a, look(&a, value_get(lease->root, N_spec), "holderIdentity")), "n1");
	obj_unref(o);
	obj_unref(lease);
}

/* ---- a pod's life ------------------------------------------------------------------------------------------------------ */

static void test_run_and_delete(void **state) {
	struct fixture *f = *state;

	pod_make(f, "\"restartPolicy\":\"Always\",\"containers\":[" WEB "]");
	wait_status(f, "phase", "Running");
	wait_status(f, "podIP", "10.1.0.7");
	wait_status(f, "hostIP", "192.0.2.1");
	wait_status(f, "observedGeneration", "1");
	wait_status(f, "conditions.Ready.status", "True");
	wait_status(f, "conditions.PodReadyToStartContainers.status", "True");
	wait_status(f, "containerStatuses.web.ready", "true");
	wait_status(f, "containerStatuses.web.started", "true");
	wait_status(f, "containerStatuses.web.restartCount", "0");
	assert_true(has_event(f, "Pulled", "Container image \"web:1\" already present on machine"));
	assert_true(has_event(f, "Created", ""));
	assert_true(has_event(f, "Started", ""));

	fake_delete(f->api, "ns", "p", 30);
	wait_gone(f);
	assert_true(no_folder(f, "pods/u-1"));
	assert_true(no_folder(f, "log/pods/ns_p_u-1"));
	assert_int_equal(f->adds, 1);
	assert_int_equal(f->dels, 1);
	assert_true(has_event(f, "Killing", "Stopping container web"));
}

static void test_force_delete(void **state) {
	struct fixture *f = *state;
	auto_arena struct arena a = { 0 };

	pod_make(f, "\"restartPolicy\":\"Always\",\"containers\":[" WEB "]");
	wait_status(f, "phase", "Running");
	auto_obj struct obj *o = fake_get(f->api, "pods", "ns", "p");
	pthread_mutex_lock(&f->api->lock);
	obj_unref(fake_put(f->api, S("pods"), value_copy(&a, o->root), &a, true));
	pthread_mutex_unlock(&f->api->lock);
	assert_true(no_folder(f, "pods/u-1"));
	assert_int_equal(f->dels, 1);
}

static void test_grace(void **state) {
	struct fixture *f = *state;

	f->cri->ignore_term = true;
	pod_make(f, "\"restartPolicy\":\"Always\",\"containers\":[" WEB "]");
	wait_status(f, "phase", "Running");
	struct str id = fake_find(f->cri, "web", CRI_CONTAINER_RUNNING);
	nsec_t began = clock_mono();
	fake_delete(f->api, "ns", "p", 2);
	wait_gone(f);
	nsec_t took = clock_mono() - began;
	assert_true(took >= 2 * NSEC_PER_SEC && took < 5 * NSEC_PER_SEC);
	f->cri->ignore_term = false;
	(void)id;
}

static void test_crash_loop(void **state) {
	struct fixture *f = *state;

	pod_make(f, "\"restartPolicy\":\"Always\",\"containers\":[" WEB "]");
	wait_status(f, "phase", "Running");
	fake_exit(f->cri, wait_ctr(f, "web", CRI_CONTAINER_RUNNING), 1);
	wait_status(f, "containerStatuses.web.restartCount", "1"); /* the first time at once */
	wait_status(f, "containerStatuses.web.lastState.terminated.exitCode", "1");
	fake_exit(f->cri, wait_ctr(f, "web", CRI_CONTAINER_RUNNING), 1);
	wait_status(f, "containerStatuses.web.state.waiting.reason", "CrashLoopBackOff");
	wait_status(f, "containerStatuses.web.state.waiting.message", "back-off 10s restarting failed container=web pod=p_ns(u-1)");
	wait_status(f, "containerStatuses.web.ready", "false");
	wait_status(f, "conditions.Ready.reason", "ContainersNotReady");
	wait_status(f, "conditions.Ready.message", "containers with unready status: [web]");
	wait_status(f, "phase", "Running");
	assert_true(has_event(f, "BackOff", "Back-off restarting failed container web in pod p_ns(u-1)"));
}

static void test_never(void **state) {
	struct fixture *f = *state;

	pod_make(f, "\"restartPolicy\":\"Never\",\"containers\":[" WEB ",{\"name\":\"two\",\"image\":\"web:1\",\"imagePullPolicy\":\"Never\"}]");
	wait_status(f, "phase", "Running");
	fake_exit(f->cri, wait_ctr(f, "web", CRI_CONTAINER_RUNNING), 0);
	wait_status(f, "containerStatuses.web.state.terminated.reason", "Completed");
	wait_status(f, "phase", "Running");
	fake_exit(f->cri, wait_ctr(f, "two", CRI_CONTAINER_RUNNING), 3);
	wait_status(f, "phase", "Failed");
	wait_status(f, "containerStatuses.two.state.terminated.exitCode", "3");
	wait_status(f, "conditions.Ready.reason", "PodFailed");
	for (nsec_t end = clock_mono() + WAIT; f->dels == 0 && clock_mono() < end;) {
		clock_sleep(NSEC_PER_MSEC);
	}
	assert_int_equal(f->dels, 1); /* its address is free although the pod is not deleted */
}

static void test_succeeded(void **state) {
	struct fixture *f = *state;

	pod_make(f, "\"restartPolicy\":\"OnFailure\",\"containers\":[" WEB "]");
	fake_exit(f->cri, wait_ctr(f, "web", CRI_CONTAINER_RUNNING), 1);
	wait_status(f, "containerStatuses.web.restartCount", "1");
	fake_exit(f->cri, wait_ctr(f, "web", CRI_CONTAINER_RUNNING), 0);
	wait_status(f, "phase", "Succeeded");
	wait_status(f, "conditions.Ready.reason", "PodCompleted");
}

#define INITS "\"initContainers\":[{\"name\":\"init1\",\"image\":\"web:1\",\"imagePullPolicy\":\"Never\"}," \
	      "{\"name\":\"init2\",\"image\":\"web:1\",\"imagePullPolicy\":\"Never\"}],"

static void test_inits(void **state) {
	struct fixture *f = *state;

	pod_make(f, "\"restartPolicy\":\"Always\"," INITS "\"containers\":[" WEB "]");
	struct str one = wait_ctr(f, "init1", CRI_CONTAINER_RUNNING);
	wait_status(f, "initContainerStatuses.init1.started", "true");
	wait_status(f, "containerStatuses.web.state.waiting.reason", "PodInitializing");
	wait_status(f, "conditions.Initialized.message", "containers with incomplete status: [init1 init2]");
	wait_status(f, "phase", "Pending");
	assert_int_equal(fake_find(f->cri, "init2", CRI_CONTAINER_RUNNING).len, 0);
	fake_exit(f->cri, one, 0);
	fake_exit(f->cri, wait_ctr(f, "init2", CRI_CONTAINER_RUNNING), 0);
	wait_status(f, "phase", "Running");
	wait_status(f, "initContainerStatuses.init1.ready", "true");
	wait_status(f, "conditions.Initialized.status", "True");
}

static void test_init_fails(void **state) {
	struct fixture *f = *state;

	pod_make(f, "\"restartPolicy\":\"Never\"," INITS "\"containers\":[" WEB "]");
	fake_exit(f->cri, wait_ctr(f, "init1", CRI_CONTAINER_RUNNING), 0);
	fake_exit(f->cri, wait_ctr(f, "init2", CRI_CONTAINER_RUNNING), 1);
	wait_status(f, "phase", "Failed");
	wait_status(f, "conditions.Initialized.status", "False");
	wait_status(f, "conditions.Initialized.reason", "ContainersNotInitialized");
	wait_status(f, "conditions.Initialized.message", "containers with incomplete status: [init2]");
	wait_status(f, "containerStatuses.web.state.waiting.reason", "PodInitializing");
}

static void test_sidecar(void **state) {
	struct fixture *f = *state;

	pod_make(f, "\"restartPolicy\":\"Never\",\"initContainers\":[{\"name\":\"side\",\"image\":\"web:1\",\"imagePullPolicy\":\"Never\","
		"\"restartPolicy\":\"Always\"}],\"containers\":[" WEB "]");
	wait_status(f, "phase", "Running");
	wait_status(f, "initContainerStatuses.side.ready", "true");
	fake_exit(f->cri, wait_ctr(f, "web", CRI_CONTAINER_RUNNING), 0);
	wait_status(f, "phase", "Succeeded"); /* the sidecar is ended with the pod */
	wait_status(f, "initContainerStatuses.side.state.terminated.exitCode", "143");
}

static void test_config_error(void **state) {
	struct fixture *f = *state;

	pod_make(f, "\"restartPolicy\":\"Always\",\"containers\":[{\"name\":\"web\",\"image\":\"web:1\",\"imagePullPolicy\":\"Never\",\"env\":["
		"{\"name\":\"A\",\"valueFrom\":{\"configMapKeyRef\":{\"name\":\"cm\",\"key\":\"k\"}}},{\"name\":\"B\",\"value\":\"x-$(A)-$$(A)-$(C)\"},"
		"{\"name\":\"NAME\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"metadata.name\"}}},"
		"{\"name\":\"LABEL\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"metadata.labels['app']\"}}},"
		"{\"name\":\"IP\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"status.podIP\"}}}]}]");
	wait_status(f, "containerStatuses.web.state.waiting.reason", "CreateContainerConfigError");
	wait_status(f, "containerStatuses.web.state.waiting.message", "configmap \"cm\" not found");
	wait_status(f, "phase", "Pending");
	assert_true(has_event(f, "Failed", "Error: configmap \"cm\" not found"));
	fake_set(f->api, "configmaps", "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"cm\",\"namespace\":\"ns\"},"
		"\"data\":{\"k\":\"v\"}}");
	wait_status(f, "phase", "Running");
	struct fake_ctr *c = ctr(f, fake_find(f->cri, "web", CRI_CONTAINER_RUNNING));
	assert_string_equal(env_of(c, "B").ptr, "x-v-$(A)-$(C)");
	assert_string_equal(env_of(c, "NAME").ptr, "p");
	assert_string_equal(env_of(c, "LABEL").ptr, "x");
	assert_string_equal(env_of(c, "IP").ptr, "10.1.0.7");
}

static void test_service_env(void **state) {
	struct fixture *f = *state;

	fake_set(f->api, "services", "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"fooservice\",\"namespace\":\"ns\"},"
		"\"spec\":{\"clusterIP\":\"10.96.3.4\",\"ports\":[{\"port\":8765,\"protocol\":\"TCP\"}]}}");
	fake_set(f->api, "services", "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"kubernetes\",\"namespace\":\"default\"},"
		"\"spec\":{\"clusterIP\":\"10.96.0.1\",\"ports\":[{\"name\":\"https\",\"port\":443,\"protocol\":\"TCP\"}]}}");
	pod_make(f, "\"restartPolicy\":\"Always\",\"containers\":[" WEB "]");
	wait_status(f, "phase", "Running");
	struct fake_ctr *c = ctr(f, fake_find(f->cri, "web", CRI_CONTAINER_RUNNING));
	assert_string_equal(env_of(c, "FOOSERVICE_SERVICE_HOST").ptr, "10.96.3.4");
	assert_string_equal(env_of(c, "FOOSERVICE_SERVICE_PORT").ptr, "8765");
	assert_string_equal(env_of(c, "FOOSERVICE_PORT").ptr, "tcp://10.96.3.4:8765");
	assert_string_equal(env_of(c, "FOOSERVICE_PORT_8765_TCP").ptr, "tcp://10.96.3.4:8765");
	assert_string_equal(env_of(c, "FOOSERVICE_PORT_8765_TCP_PROTO").ptr, "tcp");
	assert_string_equal(env_of(c, "FOOSERVICE_PORT_8765_TCP_PORT").ptr, "8765");
	assert_string_equal(env_of(c, "FOOSERVICE_PORT_8765_TCP_ADDR").ptr, "10.96.3.4");
	assert_string_equal(env_of(c, "KUBERNETES_SERVICE_HOST").ptr, "10.96.0.1");
	assert_string_equal(env_of(c, "KUBERNETES_SERVICE_PORT_HTTPS").ptr, "443");
}

static void test_images(void **state) {
	struct fixture *f = *state;

	pod_make(f, "\"restartPolicy\":\"Always\",\"containers\":[{\"name\":\"a\",\"image\":\"absent:1\",\"imagePullPolicy\":\"Never\"},"
		"{\"name\":\"b\",\"image\":\"absent:2\",\"imagePullPolicy\":\"IfNotPresent\"},{\"name\":\"c\",\"image\":\"BAD\"},"
		"{\"name\":\"d\",\"image\":\"remote:1\",\"imagePullPolicy\":\"IfNotPresent\"}]");
	wait_status(f, "containerStatuses.a.state.waiting.reason", "ErrImageNeverPull");
	wait_status(f, "containerStatuses.a.state.waiting.message", "Container image \"absent:1\" is not present with pull policy of Never");
	wait_status(f, "containerStatuses.b.state.waiting.reason", "ErrImagePull");
	wait_status(f, "containerStatuses.b.state.waiting.reason", "ImagePullBackOff");
	wait_status(f, "containerStatuses.c.state.waiting.reason", "InvalidImageName");
	wait_status(f, "containerStatuses.d.ready", "true");
	assert_true(has_event(f, "Pulling", "Pulling image \"remote:1\""));
	assert_true(has_event(f, "Pulled", "Successfully pulled image \"remote:1\" in "));
	assert_true(has_event(f, "Failed", "Error: ErrImagePull"));
}

static void test_readiness(void **state) {
	struct fixture *f = *state;

	f->cri->exec_code = 1;
	pod_make(f, "\"restartPolicy\":\"Always\",\"containers\":[{\"name\":\"web\",\"image\":\"web:1\",\"imagePullPolicy\":\"Never\","
		"\"readinessProbe\":{\"exec\":{\"command\":[\"x\"]},\"periodSeconds\":1,\"failureThreshold\":1,\"successThreshold\":1}}]");
	wait_status(f, "phase", "Running");
	wait_status(f, "containerStatuses.web.ready", "false");
	assert_true(has_event(f, "Unhealthy", "Readiness probe failed: "));
	f->cri->exec_code = 0;
	wait_status(f, "containerStatuses.web.ready", "true");
	wait_status(f, "conditions.Ready.status", "True");
	wait_status(f, "containerStatuses.web.restartCount", "0");
}

static void test_liveness(void **state) {
	struct fixture *f = *state;

	f->cri->exec_code = 1;
	pod_make(f, "\"restartPolicy\":\"Always\",\"containers\":[{\"name\":\"web\",\"image\":\"web:1\",\"imagePullPolicy\":\"Never\","
		"\"livenessProbe\":{\"exec\":{\"command\":[\"x\"]},\"periodSeconds\":1,\"failureThreshold\":1,\"successThreshold\":1}}]");
	wait_status(f, "containerStatuses.web.restartCount", "1");
	f->cri->exec_code = 0;
	assert_true(has_event(f, "Killing", "Container web failed liveness probe, will be restarted"));
	wait_status(f, "containerStatuses.web.lastState.terminated.exitCode", "143");
}

static void test_adoption(void **state) {
	struct fixture *f = *state;

	pod_make(f, "\"restartPolicy\":\"Always\",\"containers\":[" WEB "]");
	wait_status(f, "phase", "Running");
	fake_exit(f->cri, wait_ctr(f, "web", CRI_CONTAINER_RUNNING), 1);
	wait_status(f, "containerStatuses.web.restartCount", "1");
	wait_status(f, "containerStatuses.web.ready", "true");
	struct str id = fake_find(f->cri, "web", CRI_CONTAINER_RUNNING);
	kubelet_down(f);
	kubelet_up(f);
	clock_sleep(200 * NSEC_PER_MSEC);
	assert_string_equal(fake_find(f->cri, "web", CRI_CONTAINER_RUNNING).ptr, id.ptr);
	wait_status(f, "containerStatuses.web.restartCount", "1");
	wait_status(f, "podIP", "10.1.0.7");
	assert_int_equal(f->adds, 1);
	fake_exit(f->cri, id, 1); /* the new process hears of it */
	wait_status(f, "containerStatuses.web.restartCount", "2");
}

/* A pod that went while the kubelet was away. */
static void test_orphan(void **state) {
	struct fixture *f = *state;
	auto_arena struct arena a = { 0 };

	pod_make(f, "\"restartPolicy\":\"Always\",\"containers\":[" WEB "]");
	wait_status(f, "phase", "Running");
	kubelet_down(f);
	auto_obj struct obj *o = fake_get(f->api, "pods", "ns", "p");
	pthread_mutex_lock(&f->api->lock);
	obj_unref(fake_put(f->api, S("pods"), value_copy(&a, o->root), &a, true));
	pthread_mutex_unlock(&f->api->lock);
	kubelet_up(f);
	assert_true(no_folder(f, "pods/u-1"));
	assert_int_equal(f->dels, 1);
	assert_int_equal(fake_find(f->cri, "web", CRI_CONTAINER_RUNNING).len, 0);
}

static void test_volumes(void **state) {
	struct fixture *f = *state;
	char path[160];
	auto_buf struct buf b = BUF_INIT(4096);
	struct err err = { 0 };

	fake_set(f->api, "configmaps", "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"cm\",\"namespace\":\"ns\"},"
		"\"data\":{\"k\":\"one\"},\"binaryData\":{\"b\":\"AAEC\"}}");
	pod_make(f, "\"restartPolicy\":\"Always\",\"serviceAccountName\":\"default\",\"volumes\":[{\"name\":\"c\",\"configMap\":{\"name\":\"cm\"}},"
		"{\"name\":\"e\",\"emptyDir\":{}},{\"name\":\"t\",\"projected\":{\"sources\":[{\"serviceAccountToken\":{\"path\":\"token\","
		"\"expirationSeconds\":3607}},{\"configMap\":{\"name\":\"cm\",\"items\":[{\"key\":\"k\",\"path\":\"a/b\"}]}}]}}],"
		"\"containers\":[{\"name\":\"web\",\"image\":\"web:1\",\"imagePullPolicy\":\"Never\",\"volumeMounts\":["
		"{\"name\":\"c\",\"mountPath\":\"/c\"},{\"name\":\"e\",\"mountPath\":\"/e\",\"subPath\":\"x/y\"},{\"name\":\"t\",\"mountPath\":\"/t\"}]}]");
	wait_status(f, "phase", "Running");
	snprintf(path, sizeof(path), "%s/pods/u-1/volumes/kubernetes.io~configmap/c/k", f->dir);
	assert_true(file_read(path, &b, &err));
	assert_true(str_eq(buf_view(&b), S("one")));
	fake_set(f->api, "configmaps", "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"cm\",\"namespace\":\"ns\"},"
		"\"data\":{\"k\":\"two\"}}");
	for (nsec_t end = clock_mono() + WAIT; clock_mono() < end; clock_sleep(5 * NSEC_PER_MSEC)) {
		buf_clear(&b);
		if (file_read(path, &b, &err) && str_eq(buf_view(&b), S("two"))) {
			break;
		}
	}
	assert_true(str_eq(buf_view(&b), S("two")));
	snprintf(path, sizeof(path), "%s/secrets/u-1/kubernetes.io~projected/t/token", f->dir);
	buf_clear(&b);
	assert_true(file_read(path, &b, &err));
	assert_true(str_starts(buf_view(&b), S("token-")));
	snprintf(path, sizeof(path), "%s/secrets/u-1/kubernetes.io~projected/t/a/b", f->dir);
	buf_clear(&b);
	assert_true(file_read(path, &b, &err));
	snprintf(path, sizeof(path), "%s/pods/u-1/volumes/kubernetes.io~empty-dir/e/x/y", f->dir);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0777);
	fake_delete(f->api, "ns", "p", 1);
	wait_gone(f);
	assert_true(no_folder(f, "pods/u-1"));
	assert_true(no_folder(f, "secrets/u-1"));
}

static void test_missing_volume(void **state) {
	struct fixture *f = *state;

	pod_make(f, "\"restartPolicy\":\"Always\",\"volumes\":[{\"name\":\"s\",\"secret\":{\"secretName\":\"sec\"}}],\"containers\":[{\"name\":\"web\","
		"\"image\":\"web:1\",\"imagePullPolicy\":\"Never\",\"volumeMounts\":[{\"name\":\"s\",\"mountPath\":\"/s\"}]}]");
	assert_true(has_event(f, "FailedMount", "MountVolume.SetUp failed for volume \"s\" : secret \"sec\" not found"));
	wait_status(f, "containerStatuses.web.state.waiting.reason", "ContainerCreating");
	fake_set(f->api, "secrets", "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"sec\",\"namespace\":\"ns\"},"
		"\"data\":{\"k\":\"dg==\"}}");
	wait_status(f, "phase", "Running");
}

static void test_subpath_errors(void **state) {
	struct fixture *f = *state;

	pod_make(f, "\"restartPolicy\":\"Always\",\"volumes\":[{\"name\":\"e\",\"emptyDir\":{}}],\"containers\":[{\"name\":\"web\",\"image\":\"web:1\","
		"\"imagePullPolicy\":\"Never\",\"env\":[{\"name\":\"P\",\"value\":\"/tmp\"}],\"volumeMounts\":[{\"name\":\"e\",\"mountPath\":\"/e\","
		"\"subPathExpr\":\"$(P)\"}]}]");
	wait_status(f, "containerStatuses.web.state.waiting.reason", "CreateContainerConfigError");
	wait_status(f, "phase", "Pending");
}

static void test_start_fails(void **state) {
	struct fixture *f = *state;

	f->cri->start_fails = "exec: \"/nope\": no such file or directory";
	pod_make(f, "\"restartPolicy\":\"Always\",\"containers\":[" WEB "]");
	wait_status(f, "containerStatuses.web.state.waiting.reason", "RunContainerError");
	assert_true(has_event(f, "Failed", "Error: exec: \"/nope\""));
	/* the second failure counts, and is backed off from */
	wait_status(f, "containerStatuses.web.state.waiting.reason", "CrashLoopBackOff");
	wait_status(f, "containerStatuses.web.restartCount", "1");
	wait_status(f, "containerStatuses.web.lastState.terminated.exitCode", "128");
}

static void test_start_recovers(void **state) {
	struct fixture *f = *state;

	f->cri->start_fails = "exec: \"/nope\": no such file or directory";
	pod_make(f, "\"restartPolicy\":\"Always\",\"containers\":[" WEB "]");
	wait_status(f, "containerStatuses.web.state.waiting.reason", "RunContainerError");
	f->cri->start_fails = NULL;
	wait_status(f, "phase", "Running");
}

static void test_network_fails(void **state) {
	struct fixture *f = *state;

	f->network_fails = "no address left";
	pod_make(f, "\"restartPolicy\":\"Always\",\"containers\":[" WEB "]");
	assert_true(has_event(f, "FailedCreatePodSandBox", "no address left"));
	wait_status(f, "conditions.PodReadyToStartContainers.status", "False");
	f->network_fails = NULL;
	wait_status(f, "phase", "Running");
}

static void test_deadline(void **state) {
	struct fixture *f = *state;

	pod_make(f, "\"restartPolicy\":\"Always\",\"activeDeadlineSeconds\":1,\"containers\":[" WEB "]");
	wait_status(f, "phase", "Failed");
	wait_status(f, "reason", "DeadlineExceeded");
	wait_status(f, "message", "Pod was active on the node longer than the specified deadline");
	wait_status(f, "containerStatuses.web.state.terminated.exitCode", "143");
}

static void test_refused(void **state) {
	struct fixture *f = *state;

	pod_make(f, "\"restartPolicy\":\"Always\",\"containers\":[{\"name\":\"web\",\"image\":\"web:1\",\"resources\":{\"requests\":{\"cpu\":\"5000\"}}}]");
	wait_status(f, "phase", "Failed");
	wait_status(f, "reason", "OutOfcpu");
	assert_true(has_event(f, "OutOfcpu", "Node didn't have enough resource: cpu, requested: 5000000, used: 0, capacity: "));
	assert_int_equal(f->adds, 0);
	fake_delete(f->api, "ns", "p", 30);
	wait_gone(f);
}

static void manifest(struct fixture *f, const char *image) {
	char path[128], text[512];
	struct err err = { 0 };

	snprintf(path, sizeof(path), "%s/manifests", f->dir);
	assert_true(dir_make(path, 0755, &err));
	snprintf(path, sizeof(path), "%s/manifests/p.yaml", f->dir);
	snprintf(text, sizeof(text), "apiVersion: v1\nkind: Pod\nmetadata: {name: st, namespace: ns}\nspec:\n  containers:\n  - {name: web, image: \"%s\"}\n",
		image);
	assert_true(file_write(path, str_c(text), 0644, &err));
}

static bool mirror_runs(struct fixture *f, const char *image) {
	for (nsec_t end = clock_mono() + WAIT; clock_mono() < end; clock_sleep(5 * NSEC_PER_MSEC)) {
		auto_obj struct obj *o = fake_get(f->api, "pods", "ns", "st-n1");
		auto_arena struct arena a = { 0 };
		const struct value *st = o ? value_get(o->root, N_status) : NULL;
		if (str_eqc(look(&a, st, "containerStatuses.web.image"), image) && str_eqc(look(&a, st, "phase"), "Running")) {
			return true;
		}
	}
	return false;
}

static void test_static_pod(void **state) {
	struct fixture *f = *state;
	char path[128];

	kubelet_down(f);
	manifest(f, "web:1");
	f->manifests = true;
	kubelet_up(f);
	assert_true(mirror_runs(f, "web:1"));
	manifest(f, "web:2"); /* another pod in its place */
	assert_true(mirror_runs(f, "web:2"));
	fake_delete(f->api, "ns", "st-n1", 0); /* a mirror comes back, its containers run on */
	struct str id = fake_find(f->cri, "web", CRI_CONTAINER_RUNNING);
	clock_sleep(100 * NSEC_PER_MSEC);
	assert_true(mirror_runs(f, "web:2"));
	assert_string_equal(fake_find(f->cri, "web", CRI_CONTAINER_RUNNING).ptr, id.ptr);
	kubelet_down(f);
	kubelet_up(f); /* adopted */
	assert_true(mirror_runs(f, "web:2"));
	assert_string_equal(fake_find(f->cri, "web", CRI_CONTAINER_RUNNING).ptr, id.ptr);
	snprintf(path, sizeof(path), "%s/manifests/p.yaml", f->dir);
	unlink(path);
	for (nsec_t end = clock_mono() + WAIT; clock_mono() < end; clock_sleep(5 * NSEC_PER_MSEC)) {
		auto_obj struct obj *o = fake_get(f->api, "pods", "ns", "st-n1");
		if (!o && fake_find(f->cri, "web", CRI_CONTAINER_RUNNING).len == 0) {
			return;
		}
	}
	fail_msg("the static pod is still there");
}

static void test_image_change(void **state) {
	struct fixture *f = *state;

	pod_make(f, "\"restartPolicy\":\"Always\",\"containers\":[" WEB "]");
	wait_status(f, "phase", "Running");
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *o = fake_get(f->api, "pods", "ns", "p");
	struct value *v = value_copy(&a, o->root);
	value_set_str(&a, value_item(value_at(v, N_spec, N_containers), 0), N_image, S("web:2"));
	value_set_int(&a, value_get(v, N_metadata), N_generation, 2);
	pthread_mutex_lock(&f->api->lock);
	obj_unref(fake_put(f->api, S("pods"), v, &a, false));
	pthread_mutex_unlock(&f->api->lock);
	wait_status(f, "containerStatuses.web.image", "web:2");
	wait_status(f, "containerStatuses.web.restartCount", "1");
	wait_status(f, "observedGeneration", "2");
	assert_true(has_event(f, "Killing", "Container web definition changed, will be restarted"));
}

static void resources_set(struct fixture *f, const char *cpu, const char *memory, int generation) {
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *o = fake_get(f->api, "pods", "ns", "p");
	struct value *v = value_copy(&a, o->root), *limits;

	limits = value_ensure_object(&a, value_ensure_object(&a, value_item(value_at(v, N_spec, N_containers), 0), N_resources), N_limits);
	value_set_key_str(&a, limits, S("cpu"), str_c(cpu));
	value_set_key_str(&a, limits, S("memory"), str_c(memory));
	value_set_int(&a, value_get(v, N_metadata), N_generation, generation);
	pthread_mutex_lock(&f->api->lock);
	obj_unref(fake_put(f->api, S("pods"), v, &a, false));
	pthread_mutex_unlock(&f->api->lock);
}

static void test_resize(void **state) {
	struct fixture *f = *state;

	pod_make(f, "\"restartPolicy\":\"Always\",\"containers\":[{\"name\":\"web\",\"image\":\"web:1\",\"imagePullPolicy\":\"Never\","
		"\"resources\":{\"limits\":{\"cpu\":\"100m\",\"memory\":\"64Mi\"}}}]");
	wait_status(f, "phase", "Running");
	struct fake_ctr *c = ctr(f, fake_find(f->cri, "web", CRI_CONTAINER_RUNNING));
	assert_int_equal(c->st.resources.cpu_quota_us, 10000);
	assert_int_equal(c->st.resources.memory_limit, 64 << 20);
	resources_set(f, "200m", "32Mi", 2);
	wait_status(f, "observedGeneration", "2");
	wait_status(f, "containerStatuses.web.resources.limits.cpu", "200m");
	assert_int_equal(c->st.resources.cpu_quota_us, 20000);
	assert_int_equal(c->st.resources.memory_limit, 32 << 20);
	wait_status(f, "containerStatuses.web.restartCount", "0");
	resources_set(f, "100000", "32Mi", 3); /* no node has this */
	wait_status(f, "conditions.PodResizePending.reason", "Infeasible");
	wait_status(f, "containerStatuses.web.resources.limits.cpu", "200m");
	resources_set(f, "100m", "32Mi", 4);
	wait_status(f, "conditions.PodResizePending.reason", "");
	wait_status(f, "containerStatuses.web.resources.limits.cpu", "100m");
}

static void test_hooks(void **state) {
	struct fixture *f = *state;

	pod_make(f, "\"restartPolicy\":\"Always\",\"containers\":[{\"name\":\"web\",\"image\":\"web:1\",\"imagePullPolicy\":\"Never\",\"lifecycle\":{"
		"\"postStart\":{\"exec\":{\"command\":[\"x\"]}},\"preStop\":{\"exec\":{\"command\":[\"y\"]}}}}]");
	wait_status(f, "phase", "Running");
	assert_int_equal(f->cri->execs, 1);
	fake_delete(f->api, "ns", "p", 30);
	wait_gone(f);
	assert_int_equal(f->cri->execs, 2);
}

static void test_post_start_fails(void **state) {
	struct fixture *f = *state;

	f->cri->exec_code = 7;
	pod_make(f, "\"restartPolicy\":\"Always\",\"containers\":[{\"name\":\"web\",\"image\":\"web:1\",\"imagePullPolicy\":\"Never\",\"lifecycle\":{"
		"\"postStart\":{\"exec\":{\"command\":[\"x\"]}}}}]");
	assert_true(has_event(f, "FailedPostStartHook", "PostStartHook failed"));
	wait_status(f, "containerStatuses.web.restartCount", "1");
	f->cri->exec_code = 0;
}

static void test_termination_message(void **state) {
	struct fixture *f = *state;
	char path[160];
	struct err err = { 0 };

	pod_make(f, "\"restartPolicy\":\"Never\",\"containers\":[" WEB "]");
	struct str id = wait_ctr(f, "web", CRI_CONTAINER_RUNNING);
	snprintf(path, sizeof(path), "%s/pods/u-1/containers/web/0", f->dir);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0666);
	assert_true(file_put(path, S("OK"), &err));
	fake_exit(f->cri, id, 0);
	wait_status(f, "phase", "Succeeded");
	wait_status(f, "containerStatuses.web.state.terminated.message", "OK");
}

int main(void) {
	const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
		T(test_node), T(test_run_and_delete), T(test_force_delete), T(test_grace), T(test_crash_loop), T(test_never), T(test_succeeded),
		T(test_inits), T(test_init_fails), T(test_sidecar), T(test_config_error), T(test_service_env), T(test_images), T(test_readiness),
		T(test_liveness), T(test_adoption), T(test_orphan), T(test_volumes), T(test_missing_volume), T(test_subpath_errors), T(test_start_fails), T(test_start_recovers),
		T(test_network_fails), T(test_deadline), T(test_refused), T(test_static_pod), T(test_image_change), T(test_resize), T(test_hooks), T(test_post_start_fails), T(test_termination_message),
	};

	/* mounts of these tests vanish with the process */
	if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
		printf("1..0 # needs root: %zu cases skipped\n", ARRAY_LEN(tests));
		return 0;
	}
	return cmocka_run_group_tests_name("pods", tests, NULL, NULL);
}
