# SPDX-License-Identifier: Apache-2.0
"""The well-known first tutorial, replayed with an unmodified kubectl."""
import json
import os
import re
import time

import pytest

from conftest import KUBECTLS, TOP, wait

HELLO = open(os.path.join(TOP, "examples", "hello", "hello.yaml")).read()


def ready_pods(cluster, ns, selector):
    pods = cluster.get("pods", "-n", ns, "-l", selector)["items"]
    return [p for p in pods if any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", []))
            and not p["metadata"].get("deletionTimestamp")]


def node_ip(cluster):
    node = cluster.get("nodes")["items"][0]
    return [a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"][0]


def fetch(cluster, url, timeout=5):
    return cluster.host.run("curl", "-sS", "--max-time", str(timeout), url, check=False).stdout


@pytest.mark.parametrize("version", [v for v, _ in KUBECTLS])
def test_every_kubectl_reads_and_writes(cluster, ns, version):
    def k(*argv, **kw):
        return cluster.kubectl(*argv, "-n", ns, version=version, **kw).stdout

    assert "Ready" in k("get", "nodes", "-o", "wide")
    k("create", "configmap", "settings", "--from-literal=color=blue")
    assert json.loads(k("get", "configmap", "settings", "-o", "json"))["data"] == {"color": "blue"}
    k("create", "secret", "generic", "token", "--from-literal=key=value")
    k("label", "configmap", "settings", "tier=front")
    assert "settings" in k("get", "configmaps", "-l", "tier=front")
    k("annotate", "configmap", "settings", "note=hello")
    k("patch", "configmap", "settings", "--type=merge", "-p", '{"data":{"color":"red"}}')
    k("patch", "configmap", "settings", "--type=json", "-p", '[{"op":"add","path":"/data/size","value":"9"}]')
    k("patch", "configmap", "settings", "--type=strategic", "-p", '{"data":{"shape":"round"}}')
    assert json.loads(k("get", "configmap", "settings", "-o", "json"))["data"] == {"color": "red", "size": "9", "shape": "round"}
    assert "red" in k("describe", "configmap", "settings")
    assert "deployments" in k("api-resources")
    assert "containers" in k("explain", "pod.spec", "--recursive")
    k("apply", "-f", "-", stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {a: '1'}\n")
    k("apply", "-f", "-", stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {b: '2'}\n")
    assert json.loads(k("get", "configmap", "applied", "-o", "json"))["data"] == {"b": "2"}
    k("delete", "configmap", "applied")
    assert "NotFound" in cluster.kubectl("get", "configmap", "applied", "-n", ns, version=version, check=False).stderr


def test_hello_service_scale_and_rollout(cluster, ns):
    k = lambda line, **kw: cluster.k("-n " + ns + " " + line, **kw)
    manifest = HELLO.replace("namespace: default", "namespace: " + ns)
    cluster.kubectl("apply", "-n", ns, "-f", "-", stdin=manifest)
    k("rollout status deployment/hello --timeout=90s")
    assert len(ready_pods(cluster, ns, "app=hello")) == 3
    assert "hello" in k("get pods -o wide")

    # The Service: on every node's port, on its cluster address, by name from a pod; spread over the pods.
    ip = node_ip(cluster)
    wait("the node port answers", lambda: "hello from" in fetch(cluster, "http://%s:30036/" % ip))
    cluster_ip = cluster.get("service", "hello", "-n", ns)["spec"]["clusterIP"]
    assert "hello from" in fetch(cluster, "http://%s/" % cluster_ip)
    names = set()
    for _ in range(60):
        names.add(re.search(r"hello from (\S+)", fetch(cluster, "http://%s/" % cluster_ip)).group(1))
    assert len(names) == 3, names
    k("run client --image=coracle.local/agnhost:2.53 --restart=Never --command -- sleep 3600")
    k("wait --for=condition=Ready pod/client --timeout=60s")
    assert "hello from" in k("exec client -- curl -s --max-time 5 http://hello/")
    assert "hello from" in k("exec client -- curl -s --max-time 5 http://hello.%s.svc.cluster.local/" % ns)
    assert "hello from" in k("exec client -- curl -s --max-time 5 http://%s/" % cluster_ip)

    # A rolling update without one failed request.
    load = cluster.host.popen("sh", "-c",
        "ok=0 bad=0; end=$(($(date +%%s) + 25)); while [ $(date +%%s) -lt $end ]; do "
        "if curl -sf --max-time 5 http://%s/ >/dev/null; then ok=$((ok+1)); else bad=$((bad+1)); fi; done; echo $ok $bad" % cluster_ip,
        stdout=-1, text=True)
    time.sleep(1)
    k("set image deployment/hello *=coracle.local/hello:v2")
    k("rollout status deployment/hello --timeout=90s")
    wait("only the new version answers", lambda: all("version v2" in fetch(cluster, "http://%s/" % cluster_ip) for _ in range(10)), timeout=10)
    history = k("rollout history deployment/hello")
    assert re.search(r"^2\s", history, re.M), history
    k("rollout pause deployment/hello")
    k("rollout resume deployment/hello")
    k("rollout undo deployment/hello")
    k("rollout status deployment/hello --timeout=90s")
    wait("the old version answers", lambda: "version v1" in fetch(cluster, "http://%s/" % cluster_ip))
    ok, bad = load.communicate(timeout=60)[0].split()
    assert int(bad) == 0 and int(ok) > 100, (ok, bad)

    # A deleted pod comes back.
    victim = ready_pods(cluster, ns, "app=hello")[0]["metadata"]["name"]
    k("delete pod %s" % victim)
    wait("three pods again", lambda: len(ready_pods(cluster, ns, "app=hello")) == 3)
    described = k("describe deployment hello")
    assert "ScalingReplicaSet" in described


def test_scale_to_a_hundred(cluster, ns):
    k = lambda line, **kw: cluster.k("-n " + ns + " " + line, **kw)
    k("create deployment many --image=coracle.local/hello:v1")
    k("scale deployment/many --replicas=100")
    k("rollout status deployment/many --timeout=180s", timeout=200)
    assert len(ready_pods(cluster, ns, "app=many")) == 100
    k("scale deployment/many --replicas=0")
    wait("all pods gone", lambda: not cluster.get("pods", "-n", ns)["items"], timeout=120)


def test_exec_logs_port_forward(cluster, ns):
    k = lambda line, **kw: cluster.k("-n " + ns + " " + line, **kw)
    cluster.apply("""
apiVersion: v1
kind: Pod
metadata: {name: talker, namespace: %s}
spec:
  containers:
  - name: main
    image: coracle.local/busybox:1.36
    command: [sh, -c, "i=0; while true; do echo line $i; i=$((i+1)); sleep 1; done"]
""" % ns)
    k("wait --for=condition=Ready pod/talker --timeout=60s")
    wait("a log line", lambda: "line 0" in k("logs talker"))
    follow = cluster.host.popen(cluster.kubectl_path, "logs", "-f", "talker", "-n", ns, env=cluster.env, stdout=-1, text=True)
    lines = [follow.stdout.readline() for _ in range(3)]
    follow.terminate()
    assert lines[0] == "line 0\n" and lines[2] == "line 2\n"
    assert k("exec talker -- echo from inside") == "from inside"
    failed = cluster.kubectl("exec", "talker", "-n", ns, "--", "sh", "-c", "exit 7", check=False)
    assert failed.returncode == 7
    assert cluster.kubectl("exec", "-i", "talker", "-n", ns, "--", "cat", stdin="by standard input\n").stdout == "by standard input\n"
    tty = cluster.host.run("script", "-qec", "%s exec -it talker -n %s -- sh -c 'tty; echo $TERM'" % (cluster.kubectl_path, ns), "/dev/null",
                           env=cluster.env)
    assert "/dev/pts/" in tty.stdout

    k("run web --image=coracle.local/hello:v1 --port=8083")
    k("wait --for=condition=Ready pod/web --timeout=60s")
    forward = cluster.host.popen(cluster.kubectl_path, "port-forward", "pod/web", "18083:8083", "-n", ns, env=cluster.env, stdout=-1, text=True)
    assert "Forwarding from" in forward.stdout.readline()
    for _ in range(3):
        assert "hello from web" in fetch(cluster, "http://127.0.0.1:18083/")
    forward.terminate()


def test_a_process_that_dies_is_restarted_with_back_off(cluster, ns):
    cluster.apply("""
apiVersion: v1
kind: Pod
metadata: {name: mortal, namespace: %s}
spec:
  containers:
  - {name: main, image: "coracle.local/busybox:1.36", command: [sh, -c, "sleep 1; exit 3"]}
""" % ns)

    def state():
        s = cluster.get("pod", "mortal", "-n", ns)["status"]["containerStatuses"][0]
        return s["restartCount"] >= 2 and s.get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff" and s

    s = wait("CrashLoopBackOff", state, timeout=90)
    assert s["lastState"]["terminated"]["exitCode"] == 3
    assert "back-off" in s["state"]["waiting"]["message"]


def test_job_configmap_secret_volumes_and_env(cluster, ns):
    k = lambda line, **kw: cluster.k("-n " + ns + " " + line, **kw)
    k("create configmap settings --from-literal=color=blue")
    k("create secret generic token --from-literal=key=s3cret")
    cluster.apply("""
apiVersion: v1
kind: Pod
metadata: {name: reader, namespace: %s, labels: {app: reader}}
spec:
  restartPolicy: Never
  initContainers:
  - {name: prepare, image: "coracle.local/busybox:1.36", command: [sh, -c, "echo prepared > /shared/file"], volumeMounts: [{name: shared, mountPath: /shared}]}
  containers:
  - name: main
    image: coracle.local/busybox:1.36
    command: [sh, -c, "cat /shared/file /config/color /secret/key; echo; echo $COLOR $POD $CPU; ls /var/run/secrets/kubernetes.io/serviceaccount; cat /labels/labels"]
    env:
    - {name: COLOR, valueFrom: {configMapKeyRef: {name: settings, key: color}}}
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
    resources: {limits: {cpu: "1", memory: 64Mi}}
    volumeMounts:
    - {name: shared, mountPath: /shared}
    - {name: config, mountPath: /config}
    - {name: secret, mountPath: /secret}
    - {name: labels, mountPath: /labels}
  volumes:
  - {name: shared, emptyDir: {}}
  - {name: config, configMap: {name: settings}}
  - {name: secret, secret: {secretName: token}}
  - {name: labels, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
""" % ns)
    wait("the pod succeeded", lambda: cluster.get("pod", "reader", "-n", ns)["status"]["phase"] == "Succeeded")
    out = k("logs reader")
    for text in ("prepared", "blue", "s3cret", "blue reader 1", "ca.crt", "namespace", "token", 'app="reader"'):
        assert text in out, out

    k("create job sum --image=coracle.local/busybox:1.36 -- sh -c echo")
    k("wait --for=condition=Complete job/sum --timeout=60s")


def test_in_cluster_client_and_service_account(cluster, ns):
    """A pod reaches the API server by name with its own token, and may do what its role says."""
    k = lambda line, **kw: cluster.k("-n " + ns + " " + line, **kw)
    k("create role reader --verb=get,list --resource=configmaps")
    k("create rolebinding reader --role=reader --serviceaccount=%s:default" % ns)
    assert k("auth can-i list configmaps --as=system:serviceaccount:%s:default" % ns) == "yes"
    assert cluster.kubectl("auth", "can-i", "delete", "configmaps", "--as=system:serviceaccount:%s:default" % ns, "-n", ns, check=False).stdout.strip() == "no"
    k("run api --image=coracle.local/agnhost:2.53 --restart=Never --command -- sleep 3600")
    k("wait --for=condition=Ready pod/api --timeout=60s")
    script = ("D=/var/run/secrets/kubernetes.io/serviceaccount; curl -s --cacert $D/ca.crt -H \"Authorization: Bearer $(cat $D/token)\" "
              "https://kubernetes.default.svc/api/v1/namespaces/%s/%s")
    assert "ConfigMapList" in cluster.kubectl("exec", "api", "-n", ns, "--", "sh", "-c", script % (ns, "configmaps")).stdout
    assert "forbidden" in cluster.kubectl("exec", "api", "-n", ns, "--", "sh", "-c", script % (ns, "secrets")).stdout


def test_cordon_drain_and_cascades(cluster, ns):
    k = lambda line, **kw: cluster.k("-n " + ns + " " + line, **kw)
    node = cluster.get("nodes")["items"][0]["metadata"]["name"]
    k("create deployment d --image=coracle.local/hello:v1 --replicas=2")
    k("rollout status deployment/d --timeout=60s")
    cluster.k("cordon " + node)
    try:
        assert "SchedulingDisabled" in cluster.k("get nodes")
        k("run pending --image=coracle.local/hello:v1")
        wait("the reason is told", lambda: "0/1 nodes are available: 1 node(s) were unschedulable" in k("describe pod pending"))
    finally:
        cluster.k("uncordon " + node)
    k("wait --for=condition=Ready pod/pending --timeout=60s")

    k("delete deployment d --cascade=orphan")
    assert len(cluster.get("replicasets", "-n", ns)["items"]) == 1
    rs = cluster.get("replicasets", "-n", ns)["items"][0]["metadata"]["name"]
    wait("the orphan has no owner", lambda: not cluster.get("replicaset", rs, "-n", ns)["metadata"].get("ownerReferences"))
    k("delete replicaset %s --cascade=foreground" % rs)
    wait("its pods are gone", lambda: not [p for p in cluster.get("pods", "-n", ns)["items"] if p["metadata"]["name"].startswith("d-")])


MISTAKES = [
    ("kind without a colon", "apiVersion: v1\nkind Secret\nmetadata: {name: x}\n", "error"),
    ("secret value that is not base64", "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\ndata: {a: 'not base64!'}\n", "illegal base64"),
    ("volumeMounts at pod level", "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: a, image: b}], volumeMounts: []}\n",
     'unknown field "spec.volumeMounts"'),
    ("ports outside the container", "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: a, image: b}], ports: [{containerPort: 80}]}\n",
     'unknown field "spec.ports"'),
    ("a version that is gone", "apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {name: x}\n", "no matches for kind"),
    ("no containers", "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: []}\n", "spec.containers: Required value"),
    ("selector and labels differ", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: "
     "{a: c}}, spec: {containers: [{name: a, image: b}]}}}\n", "`selector` does not match template `labels`"),
    ("a bad name", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Bad_Name}\n", "a lowercase RFC 1123 subdomain must consist of"),
    ("a string for a number", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {replicas: three}\n", "replicas"),
]


@pytest.mark.parametrize("what,manifest,answer", MISTAKES, ids=[m[0] for m in MISTAKES])
def test_mistakes_get_an_answer(cluster, ns, what, manifest, answer):
    done = cluster.kubectl("apply", "-n", ns, "-f", "-", stdin=manifest, check=False)
    assert done.returncode != 0
    assert answer in done.stderr, done.stderr
