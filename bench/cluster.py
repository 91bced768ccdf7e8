#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Figures of a whole cluster on this machine: start-up, memory, idle cost, pod latency and rate.
Run by `make bench`; prints a line a figure with its goal. Times swing on shared machines; CPU and memory less so.
"""
import json
import os
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "cluster"))
from conftest import CORACLE, Cluster, Host, wait  # noqa: E402


def row(what, value, goal, unit, reference=""):
    print("%-52s %10s %-6s goal %-10s %s" % (what, value, unit, goal, reference), flush=True)


def pss_kb(pid):
    for line in open("/proc/%d/smaps_rollup" % pid):
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def cpu_s(pid):
    f = open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()
    return (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK")


def outside_pid(host, inner):
    """The pid, as we see it, of a process that the host knows as `inner`."""
    for p in os.listdir("/proc"):
        if p.isdigit():
            try:
                for line in open("/proc/%s/status" % p):
                    if line.startswith("NSpid:") and line.split()[-1] == str(inner) and len(line.split()) > 2:
                        if os.readlink("/proc/%s/ns/pid" % p) == os.readlink("/proc/%d/ns/pid" % host.pid):
                            return int(p)
            except OSError:
                continue
    raise SystemExit("the server's process was not found")


class Api:
    """Raw calls by curl inside the host, so that no client's start-up is measured."""

    def __init__(self, cluster):
        self.c = cluster
        pki = os.path.join(cluster.data, "pki")
        self.base = ["curl", "-sS", "--cacert", pki + "/ca.crt", "--cert", pki + "/admin.crt", "--key", pki + "/admin.key"]
        self.server = cluster.status()["server"]


# Creates `n` pods at once over one connection and prints, for each, ms from create to the watch's Running event.
PODS = r"""
import http.client, json, ssl, sys, threading, time
host, pki, n, pause = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
ctx = ssl.create_default_context(cafile=pki + "/ca.crt")
ctx.load_cert_chain(pki + "/admin.crt", pki + "/admin.key")
ctx.set_alpn_protocols(["http/1.1"])
conn = lambda: http.client.HTTPSConnection(host, context=ctx, timeout=120)
made, running, done = {}, {}, threading.Event()
def watch(rv):
    c = conn()
    c.request("GET", "/api/v1/namespaces/default/pods?watch=1&resourceVersion=" + rv)
    r = c.getresponse()
    while True:
        line = r.readline()
        if not line: return
        e = json.loads(line)["object"]
        if e.get("status", {}).get("phase") == "Running":
            running.setdefault(e["metadata"]["name"], time.monotonic())
            if len(running) >= n: done.set(); return
c = conn()
c.request("GET", "/api/v1/namespaces/default/pods?limit=1")
rv = json.loads(c.getresponse().read())["metadata"]["resourceVersion"]
threading.Thread(target=watch, args=(rv,), daemon=True).start()
time.sleep(0.2)
begin = time.monotonic()
for i in range(n):
    name = "bench-%d-%d" % (int(begin * 1000) % 100000, i)
    body = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"bench": "1"}}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [
        {"name": "a", "image": "coracle.local/pause:1", "imagePullPolicy": "IfNotPresent"}]}})
    made[name] = time.monotonic()
    c.request("POST", "/api/v1/namespaces/default/pods", body, {"Content-Type": "application/json"})
    r = c.getresponse(); r.read()
    if r.status != 201: raise SystemExit("create: %d" % r.status)
    if pause:
        end = time.monotonic() + pause
        while name not in running and time.monotonic() < end: time.sleep(0.001)
done.wait(90)
print(json.dumps({"each": [1000 * (running[k] - made[k]) for k in running], "whole": max(running.values(), default=begin) - begin, "n": len(running)}))
"""


def pods(cluster, n, pause):
    server = cluster.status()["server"].removeprefix("https://")
    out = cluster.host.run(sys.executable, "-c", PODS, server, os.path.join(cluster.data, "pki"), str(n), str(pause), env=cluster.env, timeout=200)
    return json.loads(out.stdout)


def clear(cluster):
    cluster.host.run(CORACLE, "kubectl", "--kubeconfig", cluster.kubeconfig, "get", "nodes", env=cluster.env)
    pki = os.path.join(cluster.data, "pki")
    cluster.host.run("curl", "-sS", "-X", "DELETE", "--cacert", pki + "/ca.crt", "--cert", pki + "/admin.crt", "--key", pki + "/admin.key",
                     cluster.status()["server"] + "/api/v1/namespaces/default/pods?labelSelector=bench%3D1")
    wait("the pods are gone", lambda: "No resources" in cluster.host.run(CORACLE, "kubectl", "get", "pods", env=cluster.env).stderr, timeout=120)


def main():
    print("machine: %d cores, %s" % (os.cpu_count(), open("/proc/version").read().split("(")[0].strip()))
    row("program, stripped", "%.2f" % (os.path.getsize(CORACLE) / 1e6), "<= 8", "MB")
    host = Host("bench-1")
    cluster = Cluster(host)
    try:
        cluster.up()
        cluster.load("pause", "hello-v1")
        cluster.down()
        begin = time.monotonic()
        cluster.up()
        row("up to node Ready, images in place", "%.2f" % (time.monotonic() - begin), "<= 1", "s")
        first = pods(cluster, 1, 5)
        row("first pod Running after that", "%.2f" % (first["each"][0] / 1000), "<= 1", "s")
        clear(cluster)
        pid = outside_pid(host, cluster.status()["pid"])
        time.sleep(5)
        cpu, at = cpu_s(pid), time.monotonic()
        time.sleep(20)
        row("idle cluster, memory (PSS)", "%.1f" % (pss_kb(pid) / 1024), "<= 40", "MB", "upstream's control plane alone: 504")
        row("idle cluster, CPU", "%.1f" % (1000 * (cpu_s(pid) - cpu) / (time.monotonic() - at)), "<= 5", "mcores", "upstream's control plane alone: 53")
        each = pods(cluster, 20, 3)
        row("pod create to Running, median of %d" % each["n"], "%.0f" % statistics.median(each["each"]), "<= 100", "ms", "upstream: 1000")
        clear(cluster)
        burst = pods(cluster, 100, 0)
        row("burst of 100 pods, %d Running" % burst["n"], "%.1f" % (burst["n"] / burst["whole"]), ">= 50", "pods/s", "upstream: 13 to 19")
        clear(cluster)
    finally:
        host.kill()


if __name__ == "__main__":
    main()
