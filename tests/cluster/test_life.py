# SPDX-License-Identifier: Apache-2.0
"""A cluster's life: up twice, killed with -9 and started again, several nodes, down and nothing left."""
import os
import signal
import subprocess
import time

import pytest

from conftest import CORACLE, Cluster, Host, new_cluster, wait
from test_tutorial import fetch, ready_pods


def container_ids(cluster, ns="default"):
    return {c["containerID"]: c["restartCount"] for p in cluster.get("pods", "-n", ns)["items"] for c in p["status"].get("containerStatuses", [])}


def kill9(cluster):
    cluster.host.run("kill", "-9", str(cluster.status()["pid"]))
    wait("the process is gone", lambda: cluster.status()["pid"] == 0)


@pytest.fixture
def own():
    """A cluster for one test."""
    made = []

    def make(nodes=1):
        c = new_cluster(nodes)
        made.append(c)
        return c

    yield make
    for c in made:
        c.host.kill()


def test_kill_9_keeps_containers_and_writes(own):
    c = own()
    c.load("hello-v1")
    c.k("create deployment web --image=coracle.local/hello:v1 --replicas=3")
    c.k("expose deployment web --port=80 --target-port=8083")
    c.k("rollout status deployment/web --timeout=60s")
    ip = c.get("service", "web")["spec"]["clusterIP"]
    wait("the Service answers", lambda: "hello from" in fetch(c, "http://%s/" % ip))
    before = container_ids(c)
    assert len(before) == 3

    # Writes go on while the server is killed: each that was acknowledged must be there afterwards.
    script = ("i=0; while [ $i -lt 400 ]; do %s create configmap w-$i --from-literal=i=$i >/dev/null 2>&1 || exit 0; echo $i; i=$((i+1)); done" % c.kubectl_path)
    writer = c.host.popen("sh", "-c", script, env=c.env, stdout=subprocess.PIPE, text=True)
    for _ in range(5):
        assert writer.stdout.readline()
    kill9(c)
    acknowledged = writer.communicate(timeout=60)[0].split()
    assert "hello from" in fetch(c, "http://%s/" % ip), "Services must work while the server is away"
    c.up()
    names = {m["metadata"]["name"] for m in c.get("configmaps")["items"]}
    missing = [i for i in acknowledged if "w-" + i not in names]
    assert not missing
    wait("three pods are Ready", lambda: len(ready_pods(c, "default", "app=web")) == 3)
    time.sleep(2)
    assert container_ids(c) == before, "the same containers run on, never restarted"
    assert "hello from" in fetch(c, "http://%s/" % ip)


def test_up_and_down_are_harmless_to_repeat(own):
    c = own()
    c.load("hello-v1")
    again = c.up()
    assert "runs already" in again.stdout
    c.k("run web --image=coracle.local/hello:v1")
    c.k("wait --for=condition=Ready pod/web --timeout=60s")
    c.down()
    inside = lambda *argv: c.host.run(*argv, check=False).stdout
    assert "coracle" not in inside("nft", "list", "tables")
    links = [l for l in inside("ip", "-o", "link").splitlines() if ": lo" not in l]
    assert not [l for l in links if ": cor" in l or "veth" in l], links
    assert "coracle" not in inside("sh", "-c", "ps -eo args | grep -v grep | grep -v 'sleep infinity' | grep -E 'conmon|coracle |pause'")
    assert c.data not in inside("cat", "/proc/mounts")
    left = subprocess.run("find /sys/fs/cgroup -type d -name 'coracle-*' | xargs -r -n1 basename | sort -u", shell=True, capture_output=True, text=True).stdout.split()
    ids = [os.path.basename(p) for p in inside("sh", "-c", "ls /run/coracle 2>/dev/null").split()]
    assert not ids and c.status()["pid"] == 0
    c.down()
    c.up()
    wait("the pod is back", lambda: len([p for p in c.get("pods")["items"] if p["status"]["phase"] == "Running"]) == 1)
    c.down("--purge")
    assert not os.path.exists(os.path.join(c.data, "cluster.json"))


def test_three_nodes(own):
    c = own(3)
    c.load("hello-v1", "busybox")
    nodes = c.get("nodes")["items"]
    assert len(nodes) == 3
    assert all(any(x["type"] == "Ready" and x["status"] == "True" for x in n["status"]["conditions"]) for n in nodes)
    c.k("create deployment web --image=coracle.local/hello:v1 --replicas=6")
    c.k("expose deployment web --port=80 --target-port=8083 --type=NodePort")
    c.k("rollout status deployment/web --timeout=90s")
    pods = ready_pods(c, "default", "app=web")
    used = {p["spec"]["nodeName"] for p in pods}
    assert len(used) == 3, used
    # Pods of different nodes reach each other; every node answers on the node port.
    for p in pods:
        assert "hello from" in fetch(c, "http://%s:8083/" % p["status"]["podIP"]), p["spec"]["nodeName"]
    port = c.get("service", "web")["spec"]["ports"][0]["nodePort"]
    for n in nodes:
        ip = [a["address"] for a in n["status"]["addresses"] if a["type"] == "InternalIP"][0]
        wait("node %s answers" % ip, lambda: "hello from" in fetch(c, "http://%s:%d/" % (ip, port)))
    # exec and logs on a further node.
    far = [p for p in pods if p["spec"]["nodeName"] != nodes[0]["metadata"]["name"]][0]["metadata"]["name"]
    c.k("logs " + far)
    # A node that stops loses its pods to others.
    victim = [n for n in c.status()["nodes"] if n["name"].endswith("-3")][0]
    c.host.run("kill", "-9", str(victim["pid"]))
    wait("the node is NotReady", lambda: "NotReady" in c.k("get node " + victim["name"]), timeout=90)
    c.k("taint node %s node.kubernetes.io/out-of-service=nodeshutdown:NoExecute" % victim["name"])
    wait("six pods on the other nodes", lambda: len([p for p in ready_pods(c, "default", "app=web") if p["spec"]["nodeName"] != victim["name"]]) == 6, timeout=120)


def test_each_component_alone():
    """API server, controllers, scheduler, kubelet, proxy and DNS as processes of their own, over HTTPS."""
    host = Host("host-1")
    c = Cluster(host)
    try:
        c.up()  # makes keys and settings
        c.down()
        pki = os.path.join(c.data, "pki")
        logs = os.path.join(host.dir, "logs")
        os.makedirs(logs)
        host.run("sh", "-c", "ip link add up0 type bridge && ip addr add 10.77.0.1/24 dev up0 && ip link set up0 up && ip route add default dev up0")

        def kubeconfig(who):
            path = os.path.join(host.dir, who + ".kubeconfig")
            with open(path, "w") as f:
                f.write("""apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:16443", certificate-authority: %s/ca.crt}}]
users: [{name: u, user: {client-certificate: %s/%s.crt, client-key: %s/%s.key}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
""" % (pki, pki, who, pki, who))
            return path

        def start(name, *argv):
            log = open(os.path.join(logs, name), "w")
            return host.popen(CORACLE, name, *argv, stdout=log, stderr=log)

        running = [start("apiserver", "--data-dir", os.path.join(host.dir, "store"), "--secure-port", "16443",
                         "--tls-cert-file", pki + "/apiserver.crt", "--tls-private-key-file", pki + "/apiserver.key", "--client-ca-file", pki + "/ca.crt",
                         "--service-account-signing-key-file", pki + "/sa.key", "--kubelet-certificate-authority", pki + "/ca.crt",
                         "--kubelet-client-certificate", pki + "/apiserver-kubelet-client.crt", "--kubelet-client-key", pki + "/apiserver-kubelet-client.key",
                         "--advertise-address", "10.77.0.1")]
        c.env = dict(c.env, KUBECONFIG=kubeconfig("admin"))
        wait("the API server answers", lambda: c.kubectl("get", "--raw", "/readyz", check=False).stdout == "ok")
        c.apply("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: test-controllers}\n"
                "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}\n"
                "subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: 'system:kube-controller-manager'}, "
                "{apiGroup: rbac.authorization.k8s.io, kind: User, name: 'system:serviceaccount:kube-system:coredns'},"
                "{apiGroup: rbac.authorization.k8s.io, kind: User, name: 'kube-apiserver-kubelet-client'}]\n")
        node = [f for f in [subprocess.run(["openssl", "x509", "-in", pki + "/kubelet-client.crt", "-noout", "-subject"], capture_output=True, text=True).stdout]][0]
        node = node.split("system:node:")[1].strip().split(",")[0]
        running += [
            start("controller-manager", "--kubeconfig", kubeconfig("controller-manager"), "--cluster-cidr", "10.244.0.0/16", "--root-ca-file", pki + "/ca.crt"),
            start("scheduler", "--kubeconfig", kubeconfig("scheduler")),
            start("kubelet", "--kubeconfig", kubeconfig("kubelet-client"), "--hostname-override", node, "--node-ip", "10.77.0.1", "--root-dir",
                  os.path.join(host.dir, "kubelet"), "--run-dir", "/run/k", "--id", "c0ffee01", "--tls-cert-file", pki + "/kubelet.crt",
                  "--tls-private-key-file", pki + "/kubelet.key", "--client-ca-file", pki + "/ca.crt", "--cluster-cidr", "10.244.0.0/16", "--cluster-dns", "10.96.0.10"),
            start("proxy", "--kubeconfig", kubeconfig("proxy"), "--hostname-override", node, "--cluster-cidr", "10.244.0.0/16", "--table", "alone", "--bridge", "corc0ffee01"),
            start("dns", "--kubeconfig", kubeconfig("dns"), "--bind-address", "10.77.0.1", "--port", "10053"),
        ]
        wait("the node is Ready", lambda: " Ready" in c.k("get nodes"), timeout=60)
        host.run("curl", "-sS", "--fail", "--unix-socket", "/run/k/control.sock", "-X", "POST", "--data-binary",
                 "@" + os.path.join(os.path.dirname(CORACLE), "images", "hello-v1.tar"), "http://x/images/load")
        c.k("create deployment web --image=coracle.local/hello:v1 --replicas=2")
        c.k("expose deployment web --port=80 --target-port=8083")
        c.k("rollout status deployment/web --timeout=60s")
        ip = c.get("service", "web")["spec"]["clusterIP"]
        wait("the Service answers", lambda: "hello from" in fetch(c, "http://%s/" % ip))
        assert all(p.poll() is None for p in running)
    except BaseException:
        for name in sorted(os.listdir(os.path.join(host.dir, "logs"))) if os.path.isdir(os.path.join(host.dir, "logs")) else []:
            print("---- %s\n%s" % (name, open(os.path.join(host.dir, "logs", name)).read()[-3000:]))
        raise
    finally:
        host.kill()
