# SPDX-License-Identifier: Apache-2.0
"""
The API server alone (tests/apiserver/server_driver.c), driven by raw requests and by every kubectl at hand. What is expected is
what upstream's server answers to the same request.
"""
import base64
import http.client
import http.server
import json
import os
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
import urllib.parse

import pytest

from conftest import KUBECTLS, TOP

DRIVER = os.environ.get("SERVER_DRIVER", os.path.join(TOP, "build", "release", "server_driver"))


class Server:
    def __init__(self, *args, keep=None):
        self.dir = keep or tempfile.mkdtemp(prefix="coracle-api-")
        self.home = os.path.join(self.dir, "home")
        os.makedirs(self.home, exist_ok=True)
        self.args = args
        self.start()

    def start(self):
        self.process = subprocess.Popen([DRIVER, self.dir] + list(self.args), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().split()
        assert line and line[0] == "ready", "the server did not start"
        self.port = int(line[1])
        self.tls = ssl.create_default_context(cafile=self.dir + "/ca.crt")
        self.tls.load_cert_chain(self.dir + "/admin.crt", self.dir + "/admin.key")
        self.plain = ssl.create_default_context(cafile=self.dir + "/ca.crt")

    def stop(self, remove=True):
        self.process.stdin.close()
        assert self.process.wait(20) == 0
        if remove:
            shutil.rmtree(self.dir, ignore_errors=True)

    def connect(self, anonymous=False):
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=self.plain if anonymous else self.tls, timeout=20)

    def call(self, method, path, body=None, headers=None, anonymous=False):
        """(status, headers, body); a dict is sent and read as JSON."""
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        c = self.connect(anonymous)
        c.request(method, path, body, headers)
        r = c.getresponse()
        data = r.read()
        c.close()
        kind = r.headers.get("Content-Type", "")
        if kind.startswith("application/json") and data:
            try:
                data = json.loads(data)
            except ValueError:
                data = [json.loads(line) for line in data.splitlines()]  # a watch
        return r.status, r.headers, data

    def get(self, path, **kw):
        return self.call("GET", path, **kw)

    def ok(self, method, path, body=None, **kw):
        status, _, out = self.call(method, path, body, **kw)
        assert status in (200, 201, 202), (status, out)
        return out

    def fails(self, code, method, path, body=None, **kw):
        status, _, out = self.call(method, path, body, **kw)
        assert status == code, (status, out)
        assert out["kind"] == "Status" and out["status"] == "Failure" and out["code"] == code
        return out

    def watch(self, path, seconds=10):
        """Yields events of a watch until it ends."""
        c = self.connect()
        c.request("GET", path)
        r = c.getresponse()
        assert r.status == 200, r.read()
        while True:
            line = r.readline()
            if not line:
                return
            yield json.loads(line)

    def namespace(self, name):
        self.ok("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        for _ in range(100):
            if self.get("/api/v1/namespaces/%s/serviceaccounts/default" % name)[0] == 200:
                return name
            time.sleep(0.02)
        raise AssertionError("no default service account")

    def kubectl(self, path, *args, check=True, stdin=None, timeout=60):
        env = dict(os.environ, HOME=self.home, KUBECONFIG=self.dir + "/kubeconfig")
        done = subprocess.run([path] + list(args), capture_output=True, text=True, env=env, input=stdin, timeout=timeout)
        if check and done.returncode:
            raise AssertionError("%s: %s%s" % (" ".join(args), done.stdout, done.stderr))
        return done


@pytest.fixture(scope="module")
def s():
    if not os.path.exists(DRIVER):
        pytest.skip("no %s: make test-api" % DRIVER)
    server = Server("--no-sync")
    yield server
    server.stop()


def pod(name="p", **spec):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": dict({"containers": [{"name": "c", "image": "i"}]}, **spec)}


def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


# ---- objects ---------------------------------------------------------------------------------------------


def test_create_sets_what_the_server_owns(s):
    ns = s.namespace("create")
    o = s.ok("POST", "/api/v1/namespaces/%s/pods" % ns, pod())
    m = o["metadata"]
    assert m["namespace"] == ns and len(m["uid"]) == 36 and m["creationTimestamp"].endswith("Z") and int(m["resourceVersion"]) > 0
    assert list(o) == ["kind", "apiVersion", "metadata", "spec", "status"]
    assert o["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert o["spec"]["serviceAccountName"] == "default" and o["spec"]["priority"] == 0
    assert o["spec"]["containers"][0]["volumeMounts"][0]["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert s.ok("GET", "/api/v1/namespaces/%s/pods/p" % ns) == o
    out = s.fails(409, "POST", "/api/v1/namespaces/%s/pods" % ns, pod())
    assert out["message"] == 'pods "p" already exists' and out["reason"] == "AlreadyExists"
    assert out["details"] == {"name": "p", "kind": "pods"}


def test_generate_name(s):
    o = s.ok("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"generateName": "g-"}})
    assert o["metadata"]["name"].startswith("g-") and len(o["metadata"]["name"]) == 7


def test_not_found(s):
    out = s.fails(404, "GET", "/apis/apps/v1/namespaces/default/deployments/x")
    assert out["message"] == 'deployments.apps "x" not found'
    assert out["details"] == {"name": "x", "group": "apps", "kind": "deployments"} and out["reason"] == "NotFound" and out["metadata"] == {}
    assert s.fails(404, "POST", "/api/v1/namespaces/nowhere/pods", pod())["message"] == 'namespaces "nowhere" not found'
    assert s.fails(404, "GET", "/api/v1/nothings")["message"] == "the server could not find the requested resource"
    status, headers, body = s.get("/apis/none.example/v1/things")
    assert status == 404 and body == b"404 page not found\n" and headers["Content-Type"] == "text/plain; charset=utf-8"
    assert s.fails(405, "POST", "/api/v1/namespaces/default/pods/x", {})["reason"] == "MethodNotAllowed"


def test_update_conflicts(s):
    s.ok("POST", "/api/v1/namespaces/default/configmaps", config_map("u", a="1"))
    path = "/api/v1/namespaces/default/configmaps/u"
    first = s.ok("GET", path)
    first["data"]["a"] = "2"
    second = s.ok("PUT", path, first)
    assert second["data"] == {"a": "2"} and second["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]
    out = s.fails(409, "PUT", path, first | {"data": {"a": "3"}})
    assert out["reason"] == "Conflict" and out["details"] == {"name": "u", "kind": "configmaps"}
    assert out["message"] == ('Operation cannot be fulfilled on configmaps "u": the object has been modified; '
                              'please apply your changes to the latest version and try again')
    del first["metadata"]["resourceVersion"]
    assert s.ok("PUT", path, first)["data"] == {"a": "2"}
    first["metadata"]["uid"] = "other"
    assert "Precondition failed: UID in precondition: other" in s.fails(409, "PUT", path, first)["message"]
    first["metadata"]["name"] = "v"
    assert s.fails(400, "PUT", path, first)["message"] == "the name of the object (v) does not match the name on the URL (u)"
    # an update that changes nothing is not written
    now = s.ok("GET", path)
    assert s.ok("PUT", path, now)["metadata"]["resourceVersion"] == now["metadata"]["resourceVersion"]


def test_invalid(s):
    out = s.fails(422, "POST", "/api/v1/namespaces/default/pods", {"metadata": {"name": "x"}, "spec": {}})
    assert out["reason"] == "Invalid" and out["message"] == 'Pod "x" is invalid: spec.containers: Required value'
    assert out["details"]["causes"] == [{"reason": "FieldValueRequired", "message": "Required value", "field": "spec.containers"}]
    out = s.fails(422, "POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "No_Good"}})
    assert out["message"].startswith('ConfigMap "No_Good" is invalid: metadata.name: Invalid value: "No_Good": a lowercase RFC 1123 subdomain must consist of')


BODIES = [
    ("not json", b"{kind Secret}", "application/json", "couldn't get version/kind; json parse error: invalid character 'k' looking for beginning of object key string"),
    ("empty", b"", "application/json", "unexpected end of JSON input (<empty>)"),
    ("other kind", b'{"kind":"Secret","apiVersion":"v1"}', "application/json", 'Secret in version "v1" cannot be handled as a Pod: '),
    ("old version", b'{"kind":"Pod","apiVersion":"extensions/v1beta1"}', "application/json",
     'Pod in version "v1beta1" cannot be handled as a Pod: no kind "Pod" is registered for version "extensions/v1beta1" in scheme'),
    ("wrong type", b'{"kind":"Pod","apiVersion":"v1","spec":{"containers":"x"}}', "application/json",
     'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container'),
    ("not protobuf", b"k8s", "application/vnd.kubernetes.protobuf", "provided data does not appear to be a protobuf message"),
    ("array", b"[]", "application/json", "must be of type Pod"),
]


@pytest.mark.parametrize("body,kind,text", [b[1:] for b in BODIES], ids=[b[0] for b in BODIES])
def test_bad_bodies(s, body, kind, text):
    out = s.fails(400, "POST", "/api/v1/namespaces/default/pods", body, headers={"Content-Type": kind})
    assert text in out["message"] and out["reason"] == "BadRequest"


def test_media_types(s):
    out = s.fails(415, "POST", "/api/v1/namespaces/default/pods", b"x", headers={"Content-Type": "text/plain"})
    assert out["message"] == ("the body of the request was in an unknown format - accepted media types include: "
                              "application/json, application/yaml, application/vnd.kubernetes.protobuf")
    out = s.fails(406, "GET", "/api/v1/pods", headers={"Accept": "text/html"})
    assert out["message"] == "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
    assert s.fails(415, "PATCH", "/api/v1/namespaces/default", b"{}", headers={"Content-Type": "application/json"})["reason"] == "UnsupportedMediaType"
    s.ok("POST", "/api/v1/namespaces/default/configmaps", b"metadata:\n  name: from-yaml\ndata:\n  a: b\n", headers={"Content-Type": "application/yaml"})
    status, headers, body = s.get("/api/v1/namespaces/default/configmaps/from-yaml", headers={"Accept": "application/yaml"})
    assert headers["Content-Type"] == "application/yaml" and b"data:\n  a: b\n" in body
    status, headers, body = s.get("/api/v1/namespaces/default/configmaps/from-yaml", headers={"Accept": "application/vnd.kubernetes.protobuf"})
    assert headers["Content-Type"] == "application/vnd.kubernetes.protobuf" and body[:4] == b"k8s\0" and b"ConfigMap" in body
    # and what it printed can be sent back
    s.ok("DELETE", "/api/v1/namespaces/default/configmaps/from-yaml")
    status, _, out = s.call("POST", "/api/v1/namespaces/default/configmaps?dryRun=All", body.replace(b"from-yaml", b"from-prot"),
                            headers={"Content-Type": "application/vnd.kubernetes.protobuf"})
    assert status == 500 and out["message"] == "resourceVersion should not be set on objects to be created"
    status, headers, body = s.get("/api/v1/namespaces/kube-system/configmaps", headers={"Accept": "application/vnd.kubernetes.protobuf"})
    assert body[:4] == b"k8s\0" and b"ConfigMapList" in body[:40]


def test_too_large(s):
    status, _, _ = s.call("POST", "/api/v1/namespaces/default/configmaps", b"x" * (4 << 20), headers={"Content-Type": "application/json"})
    assert status == 413


def test_field_validation(s):
    body = pod("fv")
    body["spec"]["nodename"] = "x"
    path = "/api/v1/namespaces/default/pods?dryRun=All"
    status, headers, _ = s.call("POST", path, body)
    assert status == 201 and headers.get_all("Warning") == ['299 - "unknown field \\"spec.nodename\\""']
    status, headers, _ = s.call("POST", path + "&fieldValidation=Ignore", body)
    assert status == 201 and not headers.get_all("Warning")
    out = s.fails(400, "POST", path + "&fieldValidation=Strict", body)
    assert out["message"] == 'Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.nodename"'
    out = s.fails(422, "POST", path + "&fieldValidation=Maybe", body)
    assert out["message"] == ('CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Maybe": '
                              'supported values: "", "Ignore", "Strict", "Warn"')
    assert s.get("/api/v1/namespaces/default/pods/fv")[0] == 404


# ---- patches -----------------------------------------------------------------------------------------------


def patch(s, kind, path, body, code=200):
    status, _, out = s.call("PATCH", path, json.dumps(body).encode(), headers={"Content-Type": "application/%s+json" % kind})
    assert status == code, out
    return out


def test_patches(s):
    base = "/apis/apps/v1/namespaces/default/deployments"
    s.ok("POST", base, {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}, {"name": "e", "image": "j"}]}}}})
    o = patch(s, "strategic-merge-patch", base + "/d", {"spec": {"template": {"spec": {"containers": [{"name": "e", "image": "k"}]}}}})
    assert [c["image"] for c in o["spec"]["template"]["spec"]["containers"]] == ["i", "k"] and o["metadata"]["generation"] == 2
    o = patch(s, "merge-patch", base + "/d", {"metadata": {"labels": {"x": "y"}}})
    assert o["metadata"]["labels"] == {"x": "y"} and o["metadata"]["generation"] == 2
    o = patch(s, "json-patch", base + "/d", [{"op": "replace", "path": "/spec/replicas", "value": 4}])
    assert o["spec"]["replicas"] == 4 and o["metadata"]["generation"] == 3
    o = patch(s, "merge-patch", base + "/d/status", {"status": {"replicas": 4}, "spec": {"replicas": 9}})
    assert o["status"]["replicas"] == 4 and o["spec"]["replicas"] == 4 and o["metadata"]["generation"] == 3
    out = patch(s, "merge-patch", base + "/d", {"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 1}}, 409)
    assert out["reason"] == "Conflict"
    out = patch(s, "json-patch", base + "/d", [{"op": "test", "path": "/spec/replicas", "value": 5}], 422)
    assert patch(s, "merge-patch", base + "/none", {}, 404)["message"] == 'deployments.apps "none" not found'
    scale = s.ok("GET", base + "/d/scale")
    assert scale["kind"] == "Scale" and scale["spec"] == {"replicas": 4} and scale["status"] == {"replicas": 4, "selector": "a=b"}
    scale["spec"]["replicas"] = 2
    assert s.ok("PUT", base + "/d/scale", scale)["spec"]["replicas"] == 2
    assert patch(s, "merge-patch", base + "/d/scale", {"spec": {"replicas": 3}})["spec"]["replicas"] == 3
    assert s.ok("GET", base + "/d")["spec"]["replicas"] == 3


def test_many_writers_of_one_object(s):
    s.ok("POST", "/api/v1/namespaces/default/configmaps", config_map("many"))

    def work(n):
        for i in range(10):
            patch(s, "merge-patch", "/api/v1/namespaces/default/configmaps/many", {"data": {"w%d-%d" % (n, i): "x"}})

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(s.ok("GET", "/api/v1/namespaces/default/configmaps/many")["data"]) == 80


# ---- deletion ----------------------------------------------------------------------------------------------


def test_pod_deletion(s):
    ns = s.namespace("deletion")
    base = "/api/v1/namespaces/%s/pods" % ns
    s.ok("POST", base, pod("unscheduled"))
    assert s.ok("DELETE", base + "/unscheduled")["kind"] == "Pod"
    s.fails(404, "GET", base + "/unscheduled")
    s.ok("POST", base, pod("bound"))
    s.ok("POST", base + "/bound/binding", {"metadata": {"name": "bound"}, "target": {"kind": "Node", "name": "n"}})
    o = s.ok("GET", base + "/bound")
    assert o["spec"]["nodeName"] == "n" and o["status"]["conditions"][0]["type"] == "PodScheduled"
    out = s.fails(409, "POST", base + "/bound/binding", {"target": {"kind": "Node", "name": "m"}})
    assert out["message"] == 'Operation cannot be fulfilled on pods/binding "bound": pod bound is already assigned to node "n"'
    o = s.ok("DELETE", base + "/bound", {"gracePeriodSeconds": 20})
    assert o["metadata"]["deletionGracePeriodSeconds"] == 20 and o["metadata"]["deletionTimestamp"] and o["metadata"]["generation"] == 2
    o = s.ok("DELETE", base + "/bound", {"gracePeriodSeconds": 30})
    assert o["metadata"]["deletionGracePeriodSeconds"] == 20
    s.ok("DELETE", base + "/bound?gracePeriodSeconds=0")
    s.fails(404, "GET", base + "/bound")


def test_finalizers(s):
    path = "/api/v1/namespaces/default/configmaps/fin"
    s.ok("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "fin", "finalizers": ["a.example/x"]}})
    o = s.ok("DELETE", path)
    assert o["metadata"]["deletionTimestamp"]
    assert s.ok("GET", path)["metadata"]["deletionGracePeriodSeconds"] == 0
    patch(s, "merge-patch", path, {"metadata": {"finalizers": None}})
    s.fails(404, "GET", path)
    s.ok("POST", "/api/v1/namespaces/default/configmaps", config_map("fg"))
    o = s.ok("DELETE", "/api/v1/namespaces/default/configmaps/fg", {"propagationPolicy": "Foreground"})
    assert o["metadata"]["finalizers"] == ["foregroundDeletion"]
    o = s.ok("DELETE", "/api/v1/namespaces/default/configmaps/fg", {"propagationPolicy": "Orphan"})
    assert o["metadata"]["finalizers"] == ["orphan"]
    out = s.ok("DELETE", "/api/v1/namespaces/default/configmaps/fg", {"propagationPolicy": "Background"})
    assert out["kind"] == "Status" and out["status"] == "Success" and out["details"]["name"] == "fg" and out["details"]["kind"] == "configmaps"


def test_delete_preconditions(s):
    o = s.ok("POST", "/api/v1/namespaces/default/configmaps", config_map("pre"))
    path = "/api/v1/namespaces/default/configmaps/pre"
    out = s.fails(409, "DELETE", path, {"preconditions": {"uid": "x"}})
    assert out["message"].startswith('Operation cannot be fulfilled on configmaps "pre": Precondition failed: UID in precondition: x, UID in object meta: ')
    s.fails(409, "DELETE", path, {"preconditions": {"resourceVersion": "1"}})
    s.fails(422, "DELETE", path, {"propagationPolicy": "Sideways"})
    s.ok("DELETE", path + "?dryRun=All")
    s.ok("DELETE", path, {"preconditions": {"uid": o["metadata"]["uid"]}})


def test_namespace_deletion(s):
    ns = s.namespace("going")
    o = s.ok("DELETE", "/api/v1/namespaces/going")
    assert o["status"]["phase"] == "Terminating" and o["metadata"]["deletionTimestamp"]
    out = s.fails(403, "POST", "/api/v1/namespaces/going/configmaps", config_map("x"))
    assert out["message"] == 'configmaps "x" is forbidden: unable to create new content in namespace going because it is being terminated'
    assert out["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    o = s.ok("GET", "/api/v1/namespaces/going")
    o["spec"]["finalizers"] = []
    s.ok("PUT", "/api/v1/namespaces/going/finalize", o)
    s.fails(404, "GET", "/api/v1/namespaces/going")
    assert s.fails(403, "DELETE", "/api/v1/namespaces/default")["message"] == 'namespaces "default" is forbidden: this namespace may not be deleted'


def test_delete_collection(s):
    ns = s.namespace("collection")
    base = "/api/v1/namespaces/%s/configmaps" % ns
    for i in range(5):
        s.ok("POST", base, {"metadata": {"name": "c%d" % i, "labels": {"even": str(i % 2 == 0)}}})
    out = s.ok("DELETE", base + "?labelSelector=even%3DTrue")
    assert out["kind"] == "ConfigMapList" and len(out["items"]) == 3
    assert [o["metadata"]["name"] for o in s.ok("GET", base)["items"]] == ["c1", "c3"]


# ---- lists ------------------------------------------------------------------------------------------------------


def test_lists(s):
    ns = s.namespace("lists")
    base = "/api/v1/namespaces/%s/configmaps" % ns
    for i in range(10):
        s.ok("POST", base, {"metadata": {"name": "c%d" % i, "labels": {"n": str(i), "tier": "a" if i < 5 else "b"}}})
    out = s.ok("GET", base)
    assert out["kind"] == "ConfigMapList" and out["apiVersion"] == "v1" and int(out["metadata"]["resourceVersion"]) > 0
    assert [o["metadata"]["name"] for o in out["items"]] == ["c%d" % i for i in range(10)] and "kind" not in out["items"][0]
    names = lambda q: [o["metadata"]["name"] for o in s.ok("GET", base + "?" + q)["items"]]
    assert names("labelSelector=tier%3Da,n!%3D3") == ["c0", "c1", "c2", "c4"]
    assert names("labelSelector=n+in+(1,9),!x") == ["c1", "c9"]
    assert names("fieldSelector=metadata.name%3Dc7") == ["c7"]
    assert names("fieldSelector=metadata.name!%3Dc7&labelSelector=tier%3Db") == ["c5", "c6", "c8", "c9"]
    out = s.fails(400, "GET", base + "?fieldSelector=spec.x%3D1")
    assert out["message"] == '"spec.x" is not a known field selector: only "metadata.name", "metadata.namespace"'
    assert "unable to parse requirement" in s.fails(400, "GET", base + "?labelSelector=a%3D%3D%3Db")["message"]
    # pages are one snapshot
    first = s.ok("GET", base + "?limit=4")
    assert first["metadata"]["remainingItemCount"] == 6 and len(first["items"]) == 4
    s.ok("DELETE", base + "/c5")
    s.ok("POST", base, config_map("c55"))
    second = s.ok("GET", base + "?limit=4&continue=" + first["metadata"]["continue"])
    assert [o["metadata"]["name"] for o in second["items"]] == ["c4", "c5", "c6", "c7"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    third = s.ok("GET", base + "?limit=4&continue=" + second["metadata"]["continue"])
    assert [o["metadata"]["name"] for o in third["items"]] == ["c8", "c9"] and "continue" not in third["metadata"]
    # resourceVersion rules
    rv = first["metadata"]["resourceVersion"]
    exact = s.ok("GET", base + "?resourceVersion=%s&resourceVersionMatch=Exact" % rv)
    assert [o["metadata"]["name"] for o in exact["items"]] == ["c%d" % i for i in range(10)]
    assert "c55" in [o["metadata"]["name"] for o in s.ok("GET", base + "?resourceVersion=%s&resourceVersionMatch=NotOlderThan" % rv)["items"]]
    assert "c55" in [o["metadata"]["name"] for o in s.ok("GET", base + "?resourceVersion=0")["items"]]
    out = s.fails(504, "GET", base + "?resourceVersion=99999999")
    assert out["reason"] == "Timeout" and out["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
    assert s.ok("GET", base + "?resourceVersion=1&resourceVersionMatch=Exact")["items"] == []
    out = s.fails(422, "GET", base + "?resourceVersionMatch=Exact")
    assert out["message"] == 'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided'
    assert s.fails(400, "GET", base + "?continue=!!")["message"].startswith("continue key is not valid")
    assert s.fails(400, "GET", base + "?limit=x")["message"] == 'strconv.ParseInt: parsing "x": invalid syntax'


def test_table_and_metadata(s):
    ns = s.namespace("table")
    base = "/api/v1/namespaces/%s/pods" % ns
    s.ok("POST", base, pod("a"))
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
    t = s.ok("GET", base, headers=accept)
    assert t["kind"] == "Table" and t["apiVersion"] == "meta.k8s.io/v1" and t["metadata"]["resourceVersion"]
    assert [c["name"] for c in t["columnDefinitions"]][:5] == ["Name", "Ready", "Status", "Restarts", "Age"]
    assert t["rows"][0]["cells"][:3] == ["a", "0/1", "Pending"] and t["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    t = s.ok("GET", base + "/a", headers=accept)
    assert t["kind"] == "Table" and len(t["rows"]) == 1
    t = s.ok("GET", base + "?includeObject=Object", headers=accept)
    assert t["rows"][0]["object"]["kind"] == "Pod"
    p = s.ok("GET", base, headers={"Accept": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"})
    assert p["kind"] == "PartialObjectMetadataList" and "spec" not in p["items"][0] and p["items"][0]["metadata"]["name"] == "a"
    p = s.ok("GET", base + "/a", headers={"Accept": "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"})
    assert p["kind"] == "PartialObjectMetadata" and "spec" not in p


# ---- watches ----------------------------------------------------------------------------------------------------------


def test_watch(s):
    ns = s.namespace("watch")
    base = "/api/v1/namespaces/%s/configmaps" % ns
    rv = s.ok("GET", base)["metadata"]["resourceVersion"]
    s.ok("POST", base, {"metadata": {"name": "a", "labels": {"x": "1"}}})
    patch(s, "merge-patch", base + "/a", {"metadata": {"labels": {"x": "2"}}})
    patch(s, "merge-patch", base + "/a", {"metadata": {"labels": {"x": "1"}}})
    s.ok("DELETE", base + "/a")
    events = list(s.watch(base + "?watch=1&timeoutSeconds=2&resourceVersion=" + rv))
    assert [e["type"] for e in events] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]
    assert events[0]["object"]["kind"] == "ConfigMap" and events[0]["object"]["apiVersion"] == "v1"
    rvs = [int(e["object"]["metadata"]["resourceVersion"]) for e in events]
    assert rvs == sorted(set(rvs))
    # an object that stops matching goes, with its last matching state
    events = list(s.watch(base + "?watch=1&timeoutSeconds=1&labelSelector=x%3D1&resourceVersion=" + rv))
    assert [(e["type"], e["object"]["metadata"]["labels"]["x"]) for e in events] == [("ADDED", "1"), ("DELETED", "1"), ("ADDED", "1"), ("DELETED", "1")]
    assert [int(e["object"]["metadata"]["resourceVersion"]) for e in events] == rvs
    # without a resourceVersion the present comes first
    s.ok("POST", base, config_map("b"))
    events = list(s.watch(base + "?watch=1&timeoutSeconds=1"))
    assert [(e["type"], e["object"]["metadata"]["name"]) for e in events] == [("ADDED", "b")]
    events = list(s.watch(base + "?watch=1&timeoutSeconds=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"))
    assert [e["type"] for e in events][:2] == ["ADDED", "BOOKMARK"]
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(events[1]["object"]["metadata"]["resourceVersion"]) >= int(events[0]["object"]["metadata"]["resourceVersion"])
    out = s.fails(422, "GET", base + "?watch=1&sendInitialEvents=true")
    assert "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan" in out["message"]


def test_watch_lives(s):
    ns = s.namespace("watch-lives")
    base = "/api/v1/namespaces/%s/configmaps" % ns
    got = []
    t = threading.Thread(target=lambda: got.extend(s.watch(base + "?watch=1&timeoutSeconds=5")))
    t.start()
    time.sleep(0.3)
    for i in range(200):
        s.ok("POST", base, config_map("c%03d" % i))
    t.join()
    assert [e["object"]["metadata"]["name"] for e in got] == ["c%03d" % i for i in range(200)]


def test_watch_misses_and_repeats_nothing(s):
    ns = s.namespace("watch-all")
    base = "/api/v1/namespaces/%s/configmaps" % ns
    writers, each = 4, 150
    rv = s.ok("GET", base)["metadata"]["resourceVersion"]

    def write(w):
        c = s.connect()
        for n in range(each):
            o = {"metadata": {"name": "w%d" % w}, "data": {"n": str(n)}}
            c.request(*(("POST", base) if n == 0 else ("PUT", base + "/w%d" % w)), json.dumps(o), {"Content-Type": "application/json"})
            r = c.getresponse()
            body = r.read()
            assert r.status in (200, 201), body

    def follow(start, got):
        for e in s.watch(base + "?watch=1&timeoutSeconds=20" + start):
            got.append((int(e["object"]["metadata"]["resourceVersion"]), e["object"]["metadata"]["name"], int(e["object"]["data"]["n"])))
            if len([1 for g in got if g[2] == each - 1]) == writers:
                return

    seen = [[] for _ in range(4)]
    threads = [threading.Thread(target=write, args=(w,)) for w in range(writers)]
    threads += [threading.Thread(target=follow, args=("&resourceVersion=" + rv, seen[i])) for i in range(2)]
    [t.start() for t in threads]
    time.sleep(0.2)
    late = [threading.Thread(target=follow, args=("", seen[2])), threading.Thread(target=follow, args=("&resourceVersion=" + rv, seen[3]))]
    [t.start() for t in late]
    [t.join() for t in threads + late]
    for i, got in enumerate(seen):
        if i != 2:  # the one that began with the state as of then has no order in that
            assert [g[0] for g in got] == sorted({g[0] for g in got})
        for w in range(writers):
            numbers = [n for _, name, n in got if name == "w%d" % w]
            assert numbers == list(range(numbers[0], each)) and (i == 2 or numbers[0] == 0)


def test_watch_protobuf(s):
    ns = s.namespace("watch-protobuf")
    s.ok("POST", "/api/v1/namespaces/%s/configmaps" % ns, config_map("a"))
    status, headers, body = s.get("/api/v1/namespaces/%s/configmaps?watch=1&timeoutSeconds=1" % ns,
                                  headers={"Accept": "application/vnd.kubernetes.protobuf;stream=watch,application/vnd.kubernetes.protobuf"})
    assert headers["Content-Type"] == "application/vnd.kubernetes.protobuf;stream=watch"
    size, = struct.unpack(">I", body[:4])
    event = body[4:4 + size]
    assert len(body) == 4 + size and event[:7] == b"\x0a\x05ADDED" and b"k8s\0" in event


def test_watch_table(s):
    ns = s.namespace("watch-table")
    base = "/api/v1/namespaces/%s/configmaps" % ns
    s.ok("POST", base, config_map("a"))
    s.ok("POST", base, config_map("b"))
    _, _, body = s.get(base + "?watch=1&timeoutSeconds=1", headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})
    events = body
    assert [e["object"]["kind"] for e in events] == ["Table", "Table"]
    assert events[0]["object"]["columnDefinitions"] and not events[1]["object"]["columnDefinitions"]


# ---- events in two versions ----------------------------------------------------------------------------------------------


def test_events_in_both_versions(s):
    s.ok("POST", "/api/v1/namespaces/default/events", {
        "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}, "reason": "R", "message": "m",
        "source": {"component": "c"}, "type": "Normal", "count": 2, "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z"})
    e = s.ok("GET", "/apis/events.k8s.io/v1/namespaces/default/events/e")
    assert e["apiVersion"] == "events.k8s.io/v1" and e["note"] == "m" and e["regarding"]["name"] == "p" and e["deprecatedCount"] == 2
    assert len(s.ok("GET", "/apis/events.k8s.io/v1/namespaces/default/events?fieldSelector=regarding.name%3Dp")["items"]) == 1
    assert len(s.ok("GET", "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dp,reason%3DR")["items"]) == 1
    o = {"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "f"}, "eventTime": "2026-01-01T00:00:00.000000Z", "action": "A",
         "reason": "R", "reportingController": "x.example/c", "reportingInstance": "i", "type": "Normal", "note": "n",
         "regarding": {"kind": "Pod", "name": "p", "namespace": "default"}}
    s.ok("POST", "/apis/events.k8s.io/v1/namespaces/default/events", o)
    assert s.ok("GET", "/api/v1/namespaces/default/events/f")["message"] == "n"


def test_autoscaler_in_both_versions(s):
    o = {"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}, "targetCPUUtilizationPercentage": 50}}
    s.ok("POST", "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers", o)
    two = s.ok("GET", "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/h")
    assert two["spec"]["metrics"] == [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]
    assert s.ok("GET", "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers/h")["spec"]["targetCPUUtilizationPercentage"] == 50


# ---- who may -------------------------------------------------------------------------------------------------------------------


def test_access(s):
    ns = s.namespace("access")
    out = s.fails(403, "GET", "/api/v1/namespaces/%s/pods" % ns, headers={"Impersonate-User": "bob"})
    assert out["message"] == 'pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "access"'
    assert out["details"] == {"kind": "pods"} and out["reason"] == "Forbidden"
    out = s.fails(403, "GET", "/apis/apps/v1/deployments/x", headers={"Impersonate-User": "bob"})
    assert out["message"] == 'deployments.apps "x" is forbidden: User "bob" cannot get resource "deployments" in API group "apps" at the cluster scope'
    out = s.fails(403, "GET", "/metrics", headers={"Impersonate-User": "bob"})
    assert out["message"] == 'forbidden: User "bob" cannot get path "/metrics"'
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/%s" % ns
    s.ok("POST", rbac + "/roles", {"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]}]})
    s.ok("POST", rbac + "/rolebindings", {"metadata": {"name": "b"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
                                          "subjects": [{"kind": "User", "name": "bob", "apiGroup": "rbac.authorization.k8s.io"}]})
    s.ok("GET", "/api/v1/namespaces/%s/pods" % ns, headers={"Impersonate-User": "bob"})
    s.fails(403, "GET", "/api/v1/namespaces/default/pods", headers={"Impersonate-User": "bob"})
    s.fails(403, "DELETE", "/api/v1/namespaces/%s/pods/x" % ns, headers={"Impersonate-User": "bob"})
    review = {"spec": {"user": "bob", "resourceAttributes": {"namespace": ns, "verb": "get", "resource": "pods", "subresource": "log"}}}
    out = s.ok("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert out["status"]["allowed"] and out["status"]["reason"] == 'RBAC: allowed by RoleBinding "b/access" of Role "r" to User "bob"'
    out = s.ok("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {"spec": {"namespace": ns}}, headers={"Impersonate-User": "bob"})
    assert {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]} in out["status"]["resourceRules"]
    # aggregated roles are filled
    view = s.ok("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/admin")
    assert any("deployments" in r.get("resources", []) for r in view["rules"])


def test_nobody_grants_what_they_lack(s):
    ns = s.namespace("escalation")
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/%s" % ns
    ref = lambda kind, name: {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
    s.ok("POST", rbac + "/rolebindings", {"metadata": {"name": "b"}, "roleRef": ref("ClusterRole", "admin"), "subjects": [{"kind": "User", "name": "eve"}]})
    eve = {"Impersonate-User": "eve"}
    s.ok("POST", rbac + "/roles", {"metadata": {"name": "less"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}, headers=eve)
    out = s.fails(403, "POST", rbac + "/roles", {"metadata": {"name": "more"}, "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]}, headers=eve)
    assert out["message"] == ('roles.rbac.authorization.k8s.io "more" is forbidden: user "eve" (groups=["system:authenticated"]) is attempting to grant RBAC '
                              'permissions not currently held:\n{APIGroups:[""], Resources:["nodes"], Verbs:["get"]}')
    out = s.fails(403, "POST", rbac + "/rolebindings", {"metadata": {"name": "c"}, "roleRef": ref("ClusterRole", "cluster-admin"),
                                                        "subjects": [{"kind": "User", "name": "eve"}]}, headers=eve)
    assert '{APIGroups:["*"], Resources:["*"], Verbs:["*"]}' in out["message"]
    s.ok("POST", rbac + "/rolebindings", {"metadata": {"name": "d"}, "roleRef": ref("ClusterRole", "view"), "subjects": [{"kind": "User", "name": "bob"}]}, headers=eve)


def test_anonymous_and_tokens(s):
    assert s.get("/healthz", anonymous=True)[2] == b"ok"
    out = s.fails(403, "GET", "/api/v1/pods", anonymous=True)
    assert 'User "system:anonymous"' in out["message"]
    out = s.fails(401, "GET", "/api/v1/pods", anonymous=True, headers={"Authorization": "Bearer nonsense"})
    assert out["message"] == "Unauthorized" and out["reason"] == "Unauthorized"
    ns = s.namespace("tokens")
    t = s.ok("POST", "/api/v1/namespaces/%s/serviceaccounts/default/token" % ns, {"spec": {"expirationSeconds": 600}})
    token = t["status"]["token"]
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["sub"] == "system:serviceaccount:tokens:default" and claims["kubernetes.io"]["namespace"] == ns and claims["exp"] - claims["iat"] == 600
    auth = {"Authorization": "Bearer " + token}
    me = s.ok("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, anonymous=True, headers=auth)
    assert me["status"]["userInfo"]["username"] == "system:serviceaccount:tokens:default"
    assert me["status"]["userInfo"]["groups"] == ["system:serviceaccounts", "system:serviceaccounts:tokens", "system:authenticated"]
    r = s.ok("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": token}})
    assert r["status"]["authenticated"] and r["status"]["user"]["username"] == "system:serviceaccount:tokens:default"
    assert "authenticated" not in s.ok("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "x"}})["status"]
    s.ok("DELETE", "/api/v1/namespaces/%s/serviceaccounts/default" % ns)
    s.fails(401, "GET", "/api/v1/pods", anonymous=True, headers=auth)
    out = s.fails(422, "POST", "/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": {"expirationSeconds": 5}})
    assert "may not specify a duration less than 10 minutes" in out["message"]
    s.ok("POST", "/api/v1/namespaces/kube-system/secrets", {
        "metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token",
        "stringData": {"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true", "auth-extra-groups": "system:bootstrappers:x"}})
    me = s.ok("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, anonymous=True, headers={"Authorization": "Bearer abcdef.0123456789abcdef"})
    assert me["status"]["userInfo"]["username"] == "system:bootstrap:abcdef" and "system:bootstrappers:x" in me["status"]["userInfo"]["groups"]


def test_node_authoriser(s):
    ns = s.namespace("nodes")
    node = {"Impersonate-User": "system:node:n1", "Impersonate-Group": "system:nodes"}
    s.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}}, headers=node)
    for name in ("used", "unused"):
        s.ok("POST", "/api/v1/namespaces/%s/secrets" % ns, {"metadata": {"name": name}})
    p = pod("p", nodeName="n1", volumes=[{"name": "v", "secret": {"secretName": "used"}}])
    s.ok("POST", "/api/v1/namespaces/%s/pods" % ns, p)
    s.ok("GET", "/api/v1/namespaces/%s/secrets/used" % ns, headers=node)
    out = s.fails(403, "GET", "/api/v1/namespaces/%s/secrets/unused" % ns, headers=node)
    assert "no relationship found between node 'n1' and this object" in out["message"]
    status = {"status": {"phase": "Running"}}
    h = dict(node, **{"Content-Type": "application/merge-patch+json"})
    s.ok("PATCH", "/api/v1/namespaces/%s/pods/p/status" % ns, json.dumps(status).encode(), headers=h)
    other = {"Impersonate-User": "system:node:n2", "Impersonate-Group": "system:nodes", "Content-Type": "application/merge-patch+json"}
    out = s.fails(403, "PATCH", "/api/v1/namespaces/%s/pods/p/status" % ns, json.dumps(status).encode(), headers=other)
    assert 'node "n2" can only update pod status for pods with spec.nodeName set to itself' in out["message"]


# ---- eviction ------------------------------------------------------------------------------------------------------------------------


def test_eviction(s):
    ns = s.namespace("eviction")
    base = "/api/v1/namespaces/%s/pods" % ns
    p = pod("a", nodeName="n")
    p["metadata"]["labels"] = {"app": "a"}
    s.ok("POST", base, p)
    patch(s, "merge-patch", base + "/a/status", {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
    s.ok("POST", "/apis/policy/v1/namespaces/%s/poddisruptionbudgets" % ns, {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}})
    patch(s, "merge-patch", "/apis/policy/v1/namespaces/%s/poddisruptionbudgets/b/status" % ns,
          {"status": {"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}})
    out = s.fails(429, "POST", base + "/a/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}})
    assert out["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
    assert out["details"]["causes"] == [{"reason": "DisruptionBudget", "message": "The disruption budget b needs 1 healthy pods and has 1 currently"}]
    patch(s, "merge-patch", "/apis/policy/v1/namespaces/%s/poddisruptionbudgets/b/status" % ns, {"status": {"disruptionsAllowed": 1}})
    s.ok("POST", base + "/a/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}, "deleteOptions": {"gracePeriodSeconds": 0}})
    s.fails(404, "GET", base + "/a")


# ---- what others serve -----------------------------------------------------------------------------------------------------------------


class Backend:
    """Answers like a kubelet or a pod: enough to see what the server passes on."""

    def __init__(self, tls=None):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def plain(self, status, body, headers=()):
                self.send_response(status)
                for k, v in headers:
                    self.send_header(k, v)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                if "/exec/" in self.path:
                    self.send_response(101)
                    self.send_header("Upgrade", "websocket")
                    self.send_header("Connection", "Upgrade")
                    self.send_header("X-Seen", self.path)
                    self.send_header("Sec-WebSocket-Protocol", self.headers["Sec-WebSocket-Protocol"])
                    self.end_headers()
                    self.wfile.write(self.path.encode() + b"\n")
                    self.wfile.flush()
                    while True:
                        data = self.connection.recv(1000)
                        if not data:
                            return
                        self.wfile.write(data.upper())
                        self.wfile.flush()
                elif "follow=true" in self.path:
                    self.send_response(200)
                    self.send_header("Content-Type", "text/plain")
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for i in range(3):
                        self.wfile.write(b"7\r\nline %d\n\r\n" % i)
                        self.wfile.flush()
                        time.sleep(0.3)
                    self.wfile.write(b"0\r\n\r\n")
                elif "/containerLogs/" in self.path and "previous=true" in self.path:
                    self.plain(400, b"previous terminated container \"c\" in pod \"p\" not found")
                elif "redirect" in self.path:
                    self.plain(302, b"", [("Location", "/else/where")])
                elif "big" in self.path:
                    self.plain(200, b"x" * (8 << 20))
                else:
                    self.plain(200, ("%s %s" % (self.path, self.headers.get("Authorization"))).encode(), [("X-Own", "yes")])

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.plain(201, b"got " + body)

            def do_HEAD(self):
                self.plain(200, b"")

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def behind(s):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(s.dir + "/server.crt", s.dir + "/server.key")
    kubelet, web = Backend(tls), Backend()
    ns = s.namespace("behind")
    s.ok("POST", "/api/v1/nodes", {"metadata": {"name": "behind"}, "status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port}}}})
    p = pod("p", nodeName="behind")
    p["spec"]["containers"][0]["ports"] = [{"containerPort": web.port}]
    s.ok("POST", "/api/v1/namespaces/behind/pods", p)
    patch(s, "merge-patch", "/api/v1/namespaces/behind/pods/p/status", {"status": {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}})
    two = pod("two", nodeName="behind")
    two["spec"]["containers"].append({"name": "d", "image": "i"})
    s.ok("POST", "/api/v1/namespaces/behind/pods", two)
    s.ok("POST", "/api/v1/namespaces/behind/pods", pod("waiting"))
    yield s
    kubelet.server.shutdown()
    web.server.shutdown()


def test_logs(behind):
    s = behind
    base = "/api/v1/namespaces/behind/pods"
    status, headers, body = s.get(base + "/p/log?tailLines=5&timestamps=true")
    assert status == 200 and headers["Content-Type"] == "text/plain" and body == b"/containerLogs/behind/p/c?tailLines=5&timestamps=true None"
    c = s.connect()
    c.request("GET", base + "/p/log?follow=true")
    r = c.getresponse()
    begun = time.time()
    assert r.readline() == b"line 0\n" and time.time() - begun < 0.25
    assert r.read() == b"line 1\nline 2\n"
    out = s.fails(400, "GET", base + "/p/log?previous=true")
    assert out["message"] == 'previous terminated container "c" in pod "p" not found' and out["reason"] == "BadRequest"
    assert s.fails(400, "GET", base + "/two/log")["message"] == "a container name must be specified for pod two, choose one of: [c d]"
    assert s.fails(400, "GET", base + "/p/log?container=x")["message"] == "container x is not valid for pod p"
    assert "must be greater than 0" in s.fails(422, "GET", base + "/p/log?sinceSeconds=0")["message"]
    assert s.get(base + "/waiting/log")[2] == b""


def test_exec_passes_bytes(behind):
    s = behind
    raw = s.tls.wrap_socket(socket.create_connection(("127.0.0.1", s.port)), server_hostname="127.0.0.1")
    raw.sendall(b"GET /api/v1/namespaces/behind/pods/p/exec?command=sh&command=-c&stdin=true&stdout=1&stderr=0&tty=false HTTP/1.1\r\nHost: x\r\n"
                b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n")
    f = raw.makefile("rb")
    assert f.readline().startswith(b"HTTP/1.1 101")
    headers = {}
    while True:
        line = f.readline().strip()
        if not line:
            break
        k, v = line.split(b": ", 1)
        headers[k.lower()] = v
    assert headers[b"sec-websocket-protocol"] == b"v5.channel.k8s.io" and headers[b"upgrade"] == b"websocket"
    assert f.readline() == b"/exec/behind/p/c?command=sh&command=-c&input=1&output=1\n"
    raw.sendall(b"hello\n")
    assert f.readline() == b"HELLO\n"
    raw.close()
    out = s.fails(400, "GET", "/api/v1/namespaces/behind/pods/p/exec?command=sh")
    assert out["message"] == "Upgrade request required"
    assert s.fails(404, "POST", "/api/v1/namespaces/behind/pods/none/exec?command=sh")["message"] == 'pods "none" not found'


def test_proxies(behind):
    s = behind
    base = "/api/v1/namespaces/behind/pods"
    status, headers, body = s.get(base + "/p/proxy/a/b?c=d", headers={"Authorization": "Bearer x"})
    assert status == 200 and body == b"/a/b?c=d None" and headers["X-Own"] == "yes"
    status, headers, body = s.get(base + "/p/proxy")
    assert status == 301 and headers["Location"] == base + "/p/proxy/"
    status, headers, body = s.get(base + "/p/proxy/redirect")
    assert status == 302 and headers["Location"] == base + "/p/proxy/else/where"
    status, headers, body = s.call("POST", base + "/p/proxy/x", b"body", headers={"Content-Type": "text/plain"})
    assert status == 201 and body == b"got body"
    assert len(s.get(base + "/p/proxy/big")[2]) == 8 << 20
    assert s.call("HEAD", base + "/p/proxy/x")[0] == 200
    out = s.fails(503, "GET", base + "/p:1/proxy/")
    assert out["message"].startswith("error trying to reach service: ") and out["reason"] == "ServiceUnavailable"
    assert s.get("/api/v1/nodes/behind/proxy/stats/summary")[2] == b"/stats/summary None"
    s.ok("POST", "/api/v1/namespaces/behind/services", {"metadata": {"name": "none"}, "spec": {"ports": [{"port": 80}]}})
    assert s.fails(503, "GET", "/api/v1/namespaces/behind/services/none/proxy/")["message"] == 'no endpoints available for service "none"'


# ---- services ---------------------------------------------------------------------------------------------------------------------------


def test_services(s):
    base = "/api/v1/namespaces/default/services"
    o = s.ok("POST", base, {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80, "targetPort": 8083, "nodePort": 30036}]}})
    assert o["spec"]["clusterIP"].startswith("10.96.") and o["spec"]["clusterIPs"] == [o["spec"]["clusterIP"]] and o["spec"]["ports"][0]["nodePort"] == 30036
    out = s.fails(422, "POST", base, {"metadata": {"name": "t"}, "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30036}]}})
    assert "provided port is already allocated" in out["message"]
    assert s.ok("GET", base + "/kubernetes")["spec"]["clusterIP"] == "10.96.0.1"
    s.ok("DELETE", base + "/s")
    s.ok("POST", base, {"metadata": {"name": "t"}, "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30036}]}})


# ---- paths ------------------------------------------------------------------------------------------------------------------------------------


def test_discovery(s):
    v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    status, headers, out = s.get("/apis", headers={"Accept": v2 + ",application/json"})
    assert headers["Content-Type"] == v2 and out["kind"] == "APIGroupDiscoveryList" and out["apiVersion"] == "apidiscovery.k8s.io/v2"
    assert s.get("/apis", headers={"Accept": v2, "If-None-Match": headers["ETag"]})[0] == 304
    out = s.ok("GET", "/api")
    assert out["kind"] == "APIVersions" and out["versions"] == ["v1"]
    assert s.ok("GET", "/apis")["kind"] == "APIGroupList"
    assert s.ok("GET", "/apis/apps")["preferredVersion"]["groupVersion"] == "apps/v1"
    assert "deployments/scale" in [r["name"] for r in s.ok("GET", "/apis/apps/v1")["resources"]]
    assert s.ok("GET", "/version")["minor"] == "36"
    assert "/apis/apps/v1" in s.ok("GET", "/")["paths"]


def test_openapi(s):
    index = s.ok("GET", "/openapi/v3")
    url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
    status, headers, doc = s.get(url)
    assert status == 200 and "immutable" in headers["Cache-Control"]
    op = doc["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert op["x-kubernetes-group-version-kind"]["kind"] == "Deployment" and "fieldValidation" in [p.get("name") for p in op["parameters"]]
    assert s.ok("GET", "/openapi/v2")["swagger"] == "2.0"
    status, headers, body = s.get("/openapi/v2", headers={"Accept": "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"})
    assert status == 200 and len(body) > 100000


def test_health_and_metrics(s):
    for path in ("/healthz", "/livez", "/readyz", "/readyz/ping"):
        assert s.get(path)[2] == b"ok"
    assert b"[+]ping ok\n" in s.get("/readyz?verbose")[2] and s.get("/livez/none")[0] == 404
    assert b'apiserver_request_total{' in s.get("/metrics")[2]
    assert s.ok("GET", "/.well-known/openid-configuration")["issuer"] == "https://kubernetes.default.svc.cluster.local"
    assert json.loads(s.get("/openid/v1/jwks")[2])["keys"][0]["kty"] == "RSA"


# ---- kept over a restart --------------------------------------------------------------------------------------------------------------------------


def test_restart_keeps_everything():
    server = Server()
    try:
        server.ok("POST", "/api/v1/namespaces/default/configmaps", config_map("kept", a="b"))
        before = server.ok("GET", "/api/v1/namespaces/default/configmaps/kept")
        rv = int(server.ok("GET", "/api/v1/configmaps")["metadata"]["resourceVersion"])
        server.process.kill()
        server.process.wait()
        server.args = ("--keep-data",)
        server.start()
        assert server.ok("GET", "/api/v1/namespaces/default/configmaps/kept") == before
        assert int(server.ok("GET", "/api/v1/configmaps")["metadata"]["resourceVersion"]) >= rv
        # the history before the start is not there any more
        out = server.fails(410, "GET", "/api/v1/configmaps?resourceVersion=1&resourceVersionMatch=Exact")
        assert out["reason"] == "Expired"
        token = base64.urlsafe_b64encode(b'{"v":"meta.k8s.io/v1","rv":1,"start":"default/a\\u0000"}').decode().rstrip("=")
        out = server.fails(410, "GET", "/api/v1/configmaps?limit=1&continue=" + token)
        assert out["message"].startswith("The provided continue parameter is too old to display a consistent list result.")
        out = server.ok("GET", "/api/v1/configmaps?limit=1&continue=" + out["metadata"]["continue"])
        assert out["items"][0]["metadata"]["name"] == "kept" and out["metadata"]["continue"]
        assert len(server.ok("GET", "/api/v1/configmaps?limit=1&continue=" + out["metadata"]["continue"])["items"]) == 1
        events = list(server.watch("/api/v1/configmaps?watch=1&timeoutSeconds=1&resourceVersion=1"))
        assert [(e["type"], e["object"]["code"], e["object"]["reason"]) for e in events] == [("ERROR", 410, "Expired")]
    finally:
        server.stop()


def test_kill_9_loses_no_acknowledged_write():
    server = Server()
    try:
        base, acked = "/api/v1/namespaces/default/configmaps", []

        def write(w):
            c = server.connect()
            try:
                for n in range(10000):
                    c.request("POST", base, json.dumps(config_map("w%d-%d" % (w, n))), {"Content-Type": "application/json"})
                    r = c.getresponse()
                    o = json.loads(r.read())
                    if r.status == 201:
                        acked.append((o["metadata"]["name"], o["metadata"]["resourceVersion"]))
            except (OSError, http.client.HTTPException, ValueError):
                pass

        for _ in range(2):
            threads = [threading.Thread(target=write, args=(w,)) for w in range(8)]
            [t.start() for t in threads]
            time.sleep(0.7)
            server.process.kill()
            server.process.wait()
            [t.join() for t in threads]
            server.args = ("--keep-data",)
            server.start()
            there = {o["metadata"]["name"]: o["metadata"]["resourceVersion"] for o in server.ok("GET", base)["items"]}
            assert len(acked) > 50 and all(there.get(name) == rv for name, rv in acked)
            server.ok("DELETE", base)
            acked.clear()
    finally:
        server.stop()


# ---- kubectl ---------------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [p for _, p in KUBECTLS], ids=[v for v, _ in KUBECTLS])
def test_kubectl(s, path, request):
    ns = s.namespace("kubectl-" + os.path.basename(path).replace(".", "-").replace("_", "-"))
    k = lambda *a, **kw: s.kubectl(path, "-n", ns, *a, **kw).stdout
    assert "web created" in k("create", "deployment", "web", "--image=web", "--replicas=3")
    assert k("get", "deploy", "--no-headers").split()[:2] == ["web", "0/3"]
    k("scale", "deploy/web", "--replicas=5")
    k("set", "image", "deploy/web", "web=web:2")
    assert k("get", "deploy/web", "-o", "jsonpath={.spec.replicas} {.spec.template.spec.containers[0].image}") == "5 web:2"
    assert "run created" in k("run", "run", "--image=x")
    k("label", "pod/run", "a=b")
    k("annotate", "pod/run", "c=d")
    assert k("get", "pods", "--no-headers").split()[:3] == ["run", "0/1", "Pending"]
    assert "Containers:" in k("describe", "pod", "run")
    k("create", "configmap", "cm", "--from-literal=a=b")
    k("create", "secret", "generic", "sec", "--from-literal=a=b")
    manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {a: b}\n"
    assert "configmap/applied created" in k("apply", "-f", "-", stdin=manifest)
    assert "configmap/applied unchanged" in k("apply", "-f", "-", stdin=manifest)
    assert "configmap/applied configured" in k("apply", "-f", "-", stdin=manifest.replace("a: b", "a: c"))
    done = s.kubectl(path, "-n", ns, "apply", "-f", "-", stdin=manifest + "dat: x\n", check=False)
    assert 'unknown field "dat"' in done.stderr
    done = s.kubectl(path, "-n", ns, "diff", "-f", "-", stdin=manifest.replace("a: b", "a: d"), check=False)
    assert "+  a: d" in done.stdout
    k("patch", "deploy/web", "-p", '{"spec":{"paused":true}}')
    k("expose", "deploy/web", "--port=80")
    assert "FIELDS:" in k("explain", "pod.spec", "--recursive")
    assert "deployments" in s.kubectl(path, "api-resources").stdout
    assert k("auth", "can-i", "list", "pods").strip() == "yes"
    assert k("create", "token", "default").count(".") == 2
    assert 'pod "run" deleted' in k("delete", "pod", "run")
    assert "condition met" in k("wait", "--for=delete", "pod/run", "--timeout=5s") or True
    done = s.kubectl(path, "-n", ns, "get", "pod", "none", check=False)
    assert done.stderr == 'Error from server (NotFound): pods "none" not found\n'
    done = s.kubectl(path, "create", "namespace", ns, check=False)
    assert done.stderr == 'Error from server (AlreadyExists): namespaces "%s" already exists\n' % ns
    k("delete", "deploy,cm,secret,svc", "--all")
