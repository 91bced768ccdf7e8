# SPDX-License-Identifier: Apache-2.0
"""
Cluster tests: each starts a real cluster on a *host* of its own (network, mount, PID, IPC and UTS
namespaces) and drives it with unmodified clients inside that host. Nothing of the machine is touched;
when the host's holder is killed, the kernel takes all that ran in it.
"""
import glob
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CORACLE = os.path.join(TOP, "build", "coracle")
IMAGES = os.path.join(TOP, "build", "images")


def kubectls():
    """Every kubectl at hand: (version, path), oldest first."""
    found = {}
    places = os.environ.get("CORACLE_KUBECTLS", "").split(":") + glob.glob("/usr/lib/google-cloud-sdk/bin/kubectl.1.*") + \
        [p for p in [shutil.which("kubectl")] if p] + glob.glob(os.path.join(TOP, "build", "clients", "kubectl*"))
    for path in places:
        if not path or not os.path.exists(path):
            continue
        if "google-cloud-sdk" not in path and "google-cloud-sdk" in os.path.realpath(path):
            continue  # the dispatcher, which would pick one of the others
        out = subprocess.run([path, "version", "--client", "-o", "json"], capture_output=True, text=True)
        try:
            v = json.loads(out.stdout)["clientVersion"]
            found[(int(v["major"]), int(v["minor"].rstrip("+")))] = path
        except (ValueError, KeyError):
            continue
    return [("%d.%d" % k, found[k]) for k in sorted(found)]


KUBECTLS = kubectls()


class Host:
    """A host made of namespaces. Commands run in it; kill() pulls the plug."""

    def __init__(self, name):
        self.dir = tempfile.mkdtemp(prefix="coracle-test-")
        read_end, write_end = os.pipe()
        setup = (
            "mount --make-rslave / && mount -t proc proc /proc && hostname %s && ip link set lo up && "
            "mkdir -p /run && mount -t tmpfs tmpfs /run && mkdir -p /var/lib/coracle-test && echo up >&%d && while :; do sleep 3600 & wait; done" % (name, write_end)
        )
        self.holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--pid", "--fork", "--ipc", "--uts", "--kill-child=KILL", "bash", "-c", setup],
            pass_fds=[write_end], stdin=subprocess.DEVNULL)
        os.close(write_end)
        assert os.read(read_end, 2) == b"up", "the host did not start"
        os.close(read_end)
        children = "/proc/%d/task/%d/children" % (self.holder.pid, self.holder.pid)
        self.pid = int(open(children).read().split()[0])

    def enter(self):
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "-p", "-i", "-u", "--"]

    def run(self, *argv, check=True, timeout=120, stdin=None, env=None):
        done = subprocess.run(self.enter() + list(argv), capture_output=True, text=True, timeout=timeout, input=stdin, env=env)
        if check and done.returncode != 0:
            raise AssertionError("%s: exit %d\n%s%s" % (" ".join(argv), done.returncode, done.stdout, done.stderr))
        return done

    def popen(self, *argv, **kw):
        return subprocess.Popen(self.enter() + list(argv), **kw)

    def kill(self):
        self.holder.kill()
        self.holder.wait()
        time.sleep(0.05)
        # What a plug that is pulled leaves on the machine: empty cgroups.
        for data in glob.glob(os.path.join(self.dir, "*")):
            cid = hashlib.sha256(data.encode()).hexdigest()
            for prefix in (cid[:8], cid[:6]):
                subprocess.run("find /sys/fs/cgroup -depth -type d -path '*/coracle-%s*' -exec rmdir {} + 2>/dev/null" % prefix, shell=True)
        shutil.rmtree(self.dir, ignore_errors=True)


class Cluster:
    def __init__(self, host, nodes=1, name="coracle"):
        self.host = host
        self.name = name
        self.data = os.path.join(host.dir, "data")
        self.home = os.path.join(host.dir, "home")
        self.kubeconfig = os.path.join(host.dir, "kubeconfig")
        os.makedirs(self.home, exist_ok=True)
        self.env = dict(os.environ, HOME=self.home, KUBECONFIG=self.kubeconfig)
        self.nodes = nodes
        self.kubectl_path = KUBECTLS[-1][1] if KUBECTLS else None

    def coracle(self, *argv, **kw):
        return self.host.run(CORACLE, *argv, "--name", self.name, "--data-dir", self.data, env=self.env, **kw)

    def up(self, *more):
        return self.coracle("up", "--nodes", str(self.nodes), "--kubeconfig", self.kubeconfig, *more)

    def down(self, *more):
        return self.coracle("down", "--kubeconfig", self.kubeconfig, *more)

    def status(self):
        return json.loads(self.coracle("status", "-o", "json", check=False).stdout)

    def load(self, *images):
        self.coracle("image", "load", *[os.path.join(IMAGES, i + ".tar") for i in images])

    def kubectl(self, *argv, version=None, check=True, stdin=None, timeout=120):
        path = self.kubectl_path if version is None else dict(KUBECTLS)[version]
        return self.host.run(path, *argv, env=self.env, check=check, stdin=stdin, timeout=timeout)

    def k(self, line, **kw):
        """kubectl by a line of text; its standard output without the last line end."""
        return self.kubectl(*line.split(), **kw).stdout.rstrip("\n")

    def get(self, *argv):
        return json.loads(self.kubectl("get", *argv, "-o", "json").stdout)

    def apply(self, text):
        return self.kubectl("apply", "-f", "-", stdin=text).stdout

    def log(self):
        try:
            return open(os.path.join(self.data, "coracle.log")).read()[-8000:]
        except OSError:
            return ""


def wait(what, probe, timeout=60):
    """Polls until probe() is true; its value is returned."""
    end = time.monotonic() + timeout
    last = None
    while True:
        try:
            value = probe()
            if value:
                return value
            last = value
        except (AssertionError, KeyError, IndexError, ValueError) as e:
            last = e
        if time.monotonic() > end:
            raise AssertionError("timed out waiting until %s; last: %r" % (what, last))
        time.sleep(0.1)


def new_cluster(nodes=1):
    host = Host("host-1")
    cluster = Cluster(host, nodes)
    try:
        cluster.up()
    except BaseException:
        print(cluster.log())
        host.kill()
        raise
    return cluster


@pytest.fixture(scope="session")
def cluster():
    """One cluster that most tests share; each test works in a namespace of its own."""
    c = new_cluster()
    c.load("hello-v1", "hello-v2", "busybox", "agnhost")
    yield c
    c.host.kill()


@pytest.fixture
def ns(cluster, request):
    name = "t-%d" % (abs(hash(request.node.name)) % 10**9)
    cluster.kubectl("create", "namespace", name)
    wait("the default service account exists", lambda: cluster.kubectl("get", "sa", "default", "-n", name, check=False).returncode == 0)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false", check=False)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Cluster):
                report.sections.append(("coracle.log", value.log()))
