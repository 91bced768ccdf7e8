# SPDX-License-Identifier: Apache-2.0
"""Debian's Python client library, unmodified, against a cluster: typed objects, patches, watches, exec by WebSocket."""
import json
import os
import sys

import pytest

from conftest import TOP, wait

pytest.importorskip("kubernetes")

# Runs inside the host, where the cluster's addresses are.
SCRIPT = r"""
import json, sys, threading, time
from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import stream
config.load_kube_config(config_file=sys.argv[1])
ns = sys.argv[2]
v1, apps, batch = client.CoreV1Api(), client.AppsV1Api(), client.BatchV1Api()

# A watch from a list's revision sees each change once, in order.
rv = v1.list_namespaced_config_map(ns).metadata.resource_version
seen = []
def look():
    for e in watch.Watch().stream(v1.list_namespaced_config_map, ns, resource_version=rv, timeout_seconds=20):
        seen.append((e["type"], e["object"].metadata.name, dict(e["object"].data or {})))
        if e["type"] == "DELETED": return
t = threading.Thread(target=look); t.start(); time.sleep(0.3)
v1.create_namespaced_config_map(ns, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="c"), data={"n": "0"}))
for i in range(1, 6):
    v1.patch_namespaced_config_map("c", ns, {"data": {"n": str(i)}})
v1.delete_namespaced_config_map("c", ns)
t.join(20)
want = [("ADDED", "c", {"n": "0"})] + [("MODIFIED", "c", {"n": str(i)}) for i in range(1, 6)] + [("DELETED", "c", {"n": "5"})]
assert seen == want, seen

# Stale writes conflict; unknown names are not found.
a = v1.create_namespaced_config_map(ns, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="d"), data={"n": "0"}))
v1.patch_namespaced_config_map("d", ns, {"data": {"n": "1"}})
try:
    a.data = {"n": "2"}; v1.replace_namespaced_config_map("d", ns, a); raise SystemExit("a stale write was taken")
except ApiException as e:
    assert e.status == 409 and json.loads(e.body)["reason"] == "Conflict", e.body
try:
    v1.read_namespaced_pod("nothing", ns); raise SystemExit("found")
except ApiException as e:
    assert e.status == 404 and json.loads(e.body)["reason"] == "NotFound"

# Pages agree with each other.
for i in range(25):
    v1.create_namespaced_config_map(ns, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="page-%02d" % i, labels={"page": "1"})))
names, token = [], None
while True:
    page = v1.list_namespaced_config_map(ns, label_selector="page=1", limit=10, _continue=token)
    names += [m.metadata.name for m in page.items]
    token = page.metadata._continue
    if not token: break
assert names == ["page-%02d" % i for i in range(25)], names
v1.delete_collection_namespaced_config_map(ns, label_selector="page=1")
assert not v1.list_namespaced_config_map(ns, label_selector="page=1").items

# A deployment, its scale, a pod with exec over WebSocket.
labels = {"app": "py"}
pod = client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels=labels), spec=client.V1PodSpec(containers=[
    client.V1Container(name="main", image="coracle.local/busybox:1.36", command=["sleep", "3600"])], termination_grace_period_seconds=0))
apps.create_namespaced_deployment(ns, client.V1Deployment(metadata=client.V1ObjectMeta(name="py"), spec=client.V1DeploymentSpec(
    replicas=1, selector=client.V1LabelSelector(match_labels=labels), template=pod)))
for attempt in range(20):  # the deployment's own status is written meanwhile: a conflict is to be tried again
    scale = apps.read_namespaced_deployment_scale("py", ns)
    scale.spec.replicas = 2
    try:
        apps.replace_namespaced_deployment_scale("py", ns, scale)
        break
    except ApiException as e:
        assert e.status == 409, e
end = time.time() + 60
while (apps.read_namespaced_deployment_status("py", ns).status.ready_replicas or 0) < 2:
    assert time.time() < end, "not ready"
    time.sleep(0.1)
name = v1.list_namespaced_pod(ns, label_selector="app=py").items[0].metadata.name
out = stream(v1.connect_get_namespaced_pod_exec, name, ns, command=["sh", "-c", "echo out; echo err >&2; exit 3"], stderr=True, stdout=True, stdin=False, tty=False,
             _preload_content=False)
out.run_forever(timeout=10)
assert out.read_stdout() == "out\n" and out.read_stderr() == "err\n" and out.returncode == 3
print("ok")
"""


def test_python_client(cluster, ns):
    assert cluster.host.run("/usr/bin/python3", "-c", SCRIPT, cluster.kubeconfig, ns, env=cluster.env, timeout=180).stdout == "ok\n"
