#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Real containers, images and registries, through tests/runtime/cri_driver.c. Called by `make test-runtime`; needs root.

Everything lives below one temporary folder and one cgroup; the last test of each class looks that nothing is left:
no mount, no namespace, no cgroup, no process. Every class runs with crun and again with runc, where they are there.
"""
import base64
import gzip
import hashlib
import http.server
import io
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import unittest

TREE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
DRIVER = os.environ.get("CRI_DRIVER", os.path.join(TREE, "build", "release", "tests", "runtime", "cri_driver"))
IMAGES = os.path.join(TREE, "build", "images")
BUSYBOX = "coracle.local/busybox:1.36"
AGNHOST = "coracle.local/agnhost:2.53"
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
WAIT_S = int(os.environ.get("CRI_WAIT", "20"))  # a slow machine says so


def wait_for(check, what, timeout=WAIT_S):
    end = time.monotonic() + timeout
    while True:
        got = check()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError("waited in vain for " + what)
        time.sleep(0.02)


def mounts_below(path):
    with open("/proc/self/mountinfo") as f:
        return [line.split()[4] for line in f if line.split()[4].startswith(path + "/")]


def cgroups_named(name):
    found = []
    for base in ["/sys/fs/cgroup"] + [os.path.join("/sys/fs/cgroup", d) for d in os.listdir("/sys/fs/cgroup")]:
        if os.path.isdir(os.path.join(base, name)):
            found.append(os.path.join(base, name))
    return found


def running(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def holders_below(path):
    """The processes that hold sandboxes: their root folder tells whose they are."""
    found = []
    for pid in os.listdir("/proc"):
        try:
            if pid.isdigit() and os.readlink(f"/proc/{pid}/root").startswith(path + "/") and running(int(pid)):
                found.append(int(pid))
        except OSError:
            pass
    return found


def processes_with(text):
    found = []
    for pid in os.listdir("/proc"):
        if pid.isdigit() and int(pid) != os.getpid():
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    if text.encode() in f.read() and running(int(pid)):
                        found.append(int(pid))
            except OSError:
                pass
    return found


class Failed(Exception):
    def __init__(self, error):
        super().__init__(error["code"] + ": " + error["message"])
        self.code = error["code"]
        self.message = error["message"]


class Driver:
    """One process of the driver. Answers are matched by tag, so that several calls may run at once."""

    def __init__(self, top, cgroup, runtime=None):
        args = [DRIVER, top + "/root", top + "/s", cgroup] + ([runtime] if runtime else [])
        self.process = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.events = queue.Queue()
        self.answers = {}
        self.lock = threading.Condition()
        self.tags = 0
        first = self.process.stdout.readline()
        if not first:
            raise RuntimeError("the driver did not start")
        self.version = json.loads(first)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            d = json.loads(line)
            if "event" in d:
                self.events.put(d)
                continue
            with self.lock:
                self.answers[d["tag"]] = d
                self.lock.notify_all()
        with self.lock:
            self.answers["end"] = True
            self.lock.notify_all()

    def send(self, op, **k):
        with self.lock:
            self.tags += 1
            tag = self.tags
        self.process.stdin.write(json.dumps(dict(op=op, tag=tag, **k)) + "\n")
        self.process.stdin.flush()
        return tag

    def receive(self, tag):
        with self.lock:
            if not self.lock.wait_for(lambda: tag in self.answers or "end" in self.answers, 120) or tag not in self.answers:
                raise RuntimeError("the driver does not answer")
            d = self.answers.pop(tag)
        if not d["ok"]:
            raise Failed(d["error"])
        return d

    def __call__(self, op, **k):
        return self.receive(self.send(op, **k))

    def close(self):
        self.process.stdin.close()
        code = self.process.wait(60)
        self.process.stdout.close()
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.reader.join()
        self.process.stdout.close()


def tar_bytes(entries, compress=None):
    """entries: (name, kind, extra) where kind is file, dir, link, hardlink, char, fifo; extra: content, target, dict of fields."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as t:
        for name, kind, extra, *fields in entries:
            i = tarfile.TarInfo(name)
            i.mode = 0o755 if kind == "dir" else 0o644
            data = None
            if kind == "file":
                data = extra if isinstance(extra, bytes) else extra.encode()
                i.size = len(data)
            elif kind == "dir":
                i.type = tarfile.DIRTYPE
            elif kind == "link":
                i.type, i.linkname = tarfile.SYMTYPE, extra
            elif kind == "hardlink":
                i.type, i.linkname = tarfile.LNKTYPE, extra
            elif kind == "char":
                i.type, (i.devmajor, i.devminor) = tarfile.CHRTYPE, extra
            elif kind == "fifo":
                i.type = tarfile.FIFOTYPE
            for f in fields:
                for key, value in f.items():
                    setattr(i, key, value)
            t.addfile(i, io.BytesIO(data) if data is not None else None)
    data = out.getvalue()
    return gzip.compress(data, mtime=0) if compress == "gzip" else data


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def config_bytes(layers, **config):
    return json.dumps({"architecture": ARCH, "os": "linux", "config": config,
                       "rootfs": {"type": "layers", "diff_ids": [digest(x) for x in layers]}}).encode()


def docker_archive(path, layers, tags, config=None, **settings):
    config = config if config is not None else config_bytes(layers, **settings)
    entries = [("c.json", "file", config)]
    entries += [(f"l{n}/layer.tar", "file", data) for n, data in enumerate(layers)]
    entries.append(("manifest.json", "file", json.dumps([{
        "Config": "c.json", "RepoTags": tags, "Layers": [f"l{n}/layer.tar" for n in range(len(layers))]}])))
    with open(path, "wb") as f:
        f.write(tar_bytes(entries))


class Base(unittest.TestCase):
    runtime = None

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("needs root")
        if cls.runtime and not shutil.which(cls.runtime, path="/usr/bin:/usr/sbin:/usr/local/bin"):
            raise unittest.SkipTest(cls.runtime + " is not installed")
        cls.top = tempfile.mkdtemp(prefix="crt-", dir="/tmp")
        cls.cgroup = f"/coracle-rt-{os.getpid()}"
        cls.cri = Driver(cls.top, cls.cgroup, cls.runtime)
        for name in ("busybox", "agnhost"):
            cls.cri("image_load", path=f"{IMAGES}/{name}.tar")

    @classmethod
    def tearDownClass(cls):
        for s in cls.cri("sandbox_list")["sandboxes"]:
            cls.cri("sandbox_remove", id=s["id"])
        cls.cri("cgroup_remove", path=cls.cgroup)
        code = cls.cri.close()
        left = (mounts_below(cls.top), cgroups_named(cls.cgroup[1:]), processes_with(cls.top) + holders_below(cls.top))
        shutil.rmtree(cls.top)
        if code != 0 or any(left):
            raise AssertionError(f"the driver ended with {code}; left behind: mounts {left[0]}, cgroups {left[1]}, processes {left[2]}")

    def sandbox(self, **k):
        self.pods = getattr(self, "pods", 0) + 1
        name = re.sub("[^a-z0-9]", "-", self._testMethodName.lower())[:40] + f"-{self.pods}"
        k.setdefault("cgroupParent", f"{self.cgroup}/kubepods/pod-{name}")
        id = self.cri("sandbox_create", name=name, uid="uid-" + name, logDir=f"{self.top}/logs/{name}", **k)["id"]
        self.addCleanup(lambda: self.cri("sandbox_remove", id=id))
        return id

    def create(self, sandbox, *command, image=BUSYBOX, **k):
        k.setdefault("name", "c")
        k.setdefault("logPath", k["name"] + ".log")
        return self.cri("container_create", sandbox=sandbox, image=image, command=list(command), **k)["id"]

    def run_container(self, sandbox, *command, **k):
        id = self.create(sandbox, *command, **k)
        self.cri("container_start", id=id)
        return id

    def status(self, id):
        return self.cri("container_status", id=id)["container"]

    def wait_exit(self, id):
        wait_for(lambda: self.status(id)["state"] == "exited", "the end of " + id)
        return self.status(id)

    def log(self, id):
        path = self.status(id)["logPath"]
        with open(path) as f:
            return [line.rstrip("\n").split(" ", 3) for line in f]

    def text(self, id, stream=None):
        text = "".join(x[3] + ("\n" if x[2] == "F" else "") for x in self.log(id) if stream in (None, x[1]))
        return text[:-1] if text.endswith("\n") else text

    def out(self, *command, sandbox=None, **k):
        """Runs a container to its end and gives what it printed."""
        id = self.run_container(sandbox or self.sandbox(), *command, **k)
        s = self.wait_exit(id)
        return self.text(id), s["exitCode"]

    def sh(self, id, script, **k):
        return self.cri("exec_sync", id=id, argv=["sh", "-c", script], **k)

    def assertFails(self, code, words, op, **k):
        with self.assertRaises(Failed) as caught:
            self.cri(op, **k)
        self.assertEqual(caught.exception.code, code, caught.exception.message)
        self.assertIn(words, caught.exception.message)


class Life:
    def test_output_goes_to_the_log(self):
        id = self.run_container(self.sandbox(), "sh", "-c", "echo one; echo two >&2; printf three; sleep 0.2; exit 4")
        s = self.wait_exit(id)
        self.assertEqual((s["exitCode"], s["reason"], s["oomKilled"]), (4, "Error", False))
        self.assertGreaterEqual(s["finished"], s["started"])
        lines = self.log(id)
        self.assertRegex(lines[0][0], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d)$")
        self.assertEqual([x[1:] for x in sorted(lines, key=lambda x: x[1:] != ["stdout", "F", "one"])][0], ["stdout", "F", "one"])
        self.assertIn(["stderr", "F", "two"], [x[1:] for x in lines])
        self.assertIn(["stdout", "P", "three"], [x[1:] for x in lines])

    def test_exit_is_told(self):
        s = self.sandbox()
        id = self.run_container(s, "true")
        wait_for(lambda: any(e["id"] == id and not e["sandbox"] for e in list(self.cri.events.queue)), "the event")
        self.assertEqual(self.wait_exit(id)["reason"], "Completed")

    def test_stop_sends_the_signal_and_waits(self):
        id = self.run_container(self.sandbox(), "sh", "-c", "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done")
        wait_for(lambda: "up" in self.text(id), "the start")
        self.cri("container_stop", id=id, graceMs=10000)
        self.assertEqual(self.status(id)["exitCode"], 7)
        self.assertIn("bye", self.text(id))
        self.cri("container_stop", id=id, graceMs=10000)

    def test_stop_kills_after_the_grace(self):
        id = self.run_container(self.sandbox(), "sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done")
        wait_for(lambda: "up" in self.text(id), "the start")
        begin = time.monotonic()
        self.cri("container_stop", id=id, graceMs=400)
        self.assertGreater(time.monotonic() - begin, 0.35)
        self.assertEqual(self.status(id)["exitCode"], 137)

    def test_the_images_stop_signal_is_used(self):
        layer = tar_bytes([("x", "file", "y")])
        docker_archive(self.top + "/stop.tar", [layer], ["stop:1"], StopSignal="SIGUSR1", Cmd=["/bin/sh"])
        self.cri("image_load", path=self.top + "/stop.tar")
        bad = tar_bytes([("x", "file", "z")])
        docker_archive(self.top + "/stop2.tar", [bad], ["stop:2"], StopSignal="SIGNOPE", Cmd=["/x"])
        self.cri("image_load", path=self.top + "/stop2.tar")
        s = self.sandbox()
        self.assertFails("Invalid", "SIGNOPE", "container_create", sandbox=s, name="c", image="stop:2")
        binary = os.path.join(IMAGES, "bin", "busybox")
        id = self.run_container(s, "/busybox", "sh", "-c", "trap 'exit 9' USR1; echo up; while :; do /busybox sleep 0.05; done", image="stop:1",
                                mounts=[{"to": "/busybox", "from": binary, "readonly": True}])
        wait_for(lambda: "up" in self.text(id), "the start")
        self.cri("container_stop", id=id, graceMs=10000)
        self.assertEqual(self.status(id)["exitCode"], 9)

    def test_a_command_that_is_not_there(self):
        s = self.sandbox()
        id = self.create(s, "/no/such/program")
        self.assertFails("InternalError", "no such file", "container_start", id=id) if self.cri.version["runtime"] == "runc" else \
            self.assertFails("InternalError", "No such file", "container_start", id=id)
        st = self.status(id)
        self.assertEqual((st["state"], st["exitCode"], st["reason"]), ("exited", 128, "StartError"))
        self.cri("container_remove", id=id)
        self.assertFails("NotFound", "not found", "container_status", id=id)

    def test_a_container_starts_once(self):
        id = self.run_container(self.sandbox(), "true")
        self.assertFails("Conflict", "started before", "container_start", id=id)

    def test_oom_kill_is_recognised(self):
        id = self.run_container(self.sandbox(), "sh", "-c", "tail /dev/zero", resources={"memoryLimit": 16 << 20})
        s = self.wait_exit(id)
        self.assertEqual((s["exitCode"], s["oomKilled"], s["reason"]), (137, True, "OOMKilled"))

    def test_a_kill_is_no_oom(self):
        id = self.run_container(self.sandbox(), "sleep", "100", resources={"memoryLimit": 16 << 20})
        self.cri("container_stop", id=id)
        s = self.status(id)
        self.assertEqual((s["exitCode"], s["oomKilled"]), (137, False))

    def test_the_log_is_reopened(self):
        id = self.run_container(self.sandbox(), "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done")
        path = self.status(id)["logPath"]
        wait_for(lambda: os.path.exists(path) and os.path.getsize(path) > 0, "output")
        os.rename(path, path + ".1")
        self.cri("container_reopen_log", id=id)
        wait_for(lambda: os.path.exists(path) and os.path.getsize(path) > 0, "the new log")
        self.cri("container_stop", id=id)
        numbers = []
        for p in (path + ".1", path):
            with open(p) as f:
                numbers += [int(line.split(" ", 3)[3]) for line in f]
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)))

    def test_no_log_is_kept_without_a_path(self):
        id = self.run_container(self.sandbox(), "echo", "x", logPath="")
        self.assertEqual(self.wait_exit(id)["exitCode"], 0)

    def test_a_lost_monitor_ends_the_container(self):
        id = self.run_container(self.sandbox(), "sleep", "100")
        pid = self.status(id)["pid"]
        with open(f"{self.top}/s/containers/{id}/conmon.pid") as f:
            os.kill(int(f.read()), signal.SIGKILL)
        s = self.wait_exit(id)
        self.assertEqual((s["exitCode"], s["reason"]), (137, "ContainerStatusUnknown"))
        wait_for(lambda: not running(pid), "its process to go")

    def test_remove_ends_what_runs(self):
        s = self.sandbox()
        id = self.run_container(s, "sleep", "100")
        self.cri("container_remove", id=id)
        self.cri("container_remove", id=id)
        self.assertEqual(self.cri("container_list", sandbox=s)["containers"], [])
        self.assertFalse(os.path.exists(f"{self.top}/root/containers/{id}"))
        self.assertFalse(os.path.exists(f"{self.top}/s/containers/{id}"))

    def test_an_ended_container_holds_no_mount_and_no_cgroup(self):
        s = self.sandbox()
        id = self.run_container(s, "true")
        self.wait_exit(id)
        wait_for(lambda: not [m for m in mounts_below(self.top) if id in m], "the unmount")
        wait_for(lambda: not [g for g in cgroups_named(f"{self.cgroup[1:]}/kubepods") for _, d, _ in os.walk(g) if id in d], "the cgroup's end")

    def test_a_burst_side_by_side(self):
        tags = [self.cri.send("pod_run", parallel=True, name=f"b{i}", uid=f"b{i}", cgroupParent=f"{self.cgroup}/kubepods/burst{i}",
                              image=BUSYBOX, command=["sleep", "100"]) for i in range(12)]
        pods = [self.cri.receive(t)["sandbox"] for t in tags]
        tags = [self.cri.send("sandbox_remove", parallel=True, id=p) for p in pods]
        for t in tags:
            self.cri.receive(t)
        self.assertFalse([m for m in mounts_below(self.top) if any(p in m for p in pods)])


class Exec:
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pod = cls.cri("sandbox_create", name="exec", uid="exec", cgroupParent=cls.cgroup + "/kubepods/exec", logDir=cls.top + "/logs/exec")["id"]
        cls.id = cls.cri("container_create", sandbox=cls.pod, name="c", image=BUSYBOX, command=["sleep", "1000"], env={"COLOUR": "blue"},
                         workingDir="/tmp", security={"runAsUser": 1234, "runAsGroup": 5678})["id"]
        cls.cri("container_start", id=cls.id)

    def test_output_and_code(self):
        r = self.sh(self.id, "echo out; echo err >&2; exit 5")
        self.assertEqual((r["exitCode"], r["out"], r["err"]), (5, "out\n", "err\n"))

    def test_user_environment_and_folder_are_the_containers(self):
        r = self.sh(self.id, "id -u; id -g; echo $COLOUR; pwd")
        self.assertEqual(r["out"].split(), ["1234", "5678", "blue", "/tmp"])

    def test_killed_by_a_signal(self):
        self.assertEqual(self.sh(self.id, "kill -9 $$")["exitCode"], 137)

    def test_not_found(self):
        with self.assertRaises(Failed) as e:
            self.cri("exec_sync", id=self.id, argv=["nosuchprogram"])
        self.assertIn("nosuchprogram", e.exception.message)
        self.assertRegex(e.exception.message, "not found")

    def test_timeout_kills(self):
        begin = time.monotonic()
        self.assertFails("Timeout", "within 0.4s", "exec_sync", id=self.id, argv=["sleep", "77"], timeoutMs=400)
        self.assertLess(time.monotonic() - begin, 5)
        self.assertNotIn("sleep 77", self.sh(self.id, "ps")["out"])

    def test_much_output_is_cut(self):
        r = self.sh(self.id, "head -c 3000000 /dev/zero | tr '\\0' x", max=1000)
        self.assertEqual((r["exitCode"], r["out"]), (0, "x" * 1000))

    def test_stream_with_input(self):
        r = self.cri("stream", id=self.id, argv=["sh", "-c", "cat; echo e >&2; exit 3"], stdin=True, input="abc\ndef\n")
        self.assertEqual((r["done"], r["exitCode"], r["out"], r["err"]), (True, 3, "abc\ndef\n", "e\n"))

    def test_stream_without_input(self):
        r = self.cri("stream", id=self.id, argv=["sh", "-c", "cat; echo x"])
        self.assertEqual((r["exitCode"], r["out"]), (0, "x\n"))

    def test_terminal(self):
        r = self.cri("stream", id=self.id, argv=["sh", "-c", "tty; stty size; echo $TERM; read x; echo got $x; exit 6"], stdin=True, tty=True,
                     columns=111, rows=44, input="hey\n")
        self.assertEqual(r["exitCode"], 6)
        self.assertIn("/dev/pts/", r["out"])
        self.assertIn("xterm", r["out"])
        self.assertIn("got hey", r["out"])

    def test_terminal_resize(self):
        r = self.cri("stream", id=self.id, argv=["sh", "-c", "read x; stty size"], stdin=True, tty=True, columns=111, rows=44, input="go\n")
        self.assertIn("44 111", r["out"])

    def test_stream_of_what_is_not_there(self):
        self.assertFails("InternalError", "cannot run", "stream", id=self.id, argv=["nosuchprogram"])
        self.assertFails("InternalError", "", "stream", id=self.id, argv=["nosuchprogram"], tty=True, stdin=True)
        self.assertEqual(self.sh(self.id, "echo still")["out"], "still\n")

    def test_given_up_stream_ends_the_program(self):
        r = self.cri("stream", id=self.id, argv=["sh", "-c", "echo ready; sleep 88"], until="ready")
        self.assertFalse(r["done"])
        wait_for(lambda: "echo ready" not in self.sh(self.id, "ps")["out"], "the program's end")

    def test_attach_gets_output_and_gives_input(self):
        id = self.run_container(self.sandbox(), "sh", "-c", "while read x; do echo got $x; echo no >&2; done; exit 2", stdin=True, stdinOnce=True)
        r = self.cri("stream", id=id, attach=True, stdin=True, input="a\nb\n")
        self.assertEqual(r["out"], "got a\ngot b\n")
        self.assertEqual(self.wait_exit(id)["exitCode"], 2)
        self.assertIn("got b", self.text(id))

    def test_attach_again_without_stdin_once(self):
        id = self.run_container(self.sandbox(), "sh", "-c", "while read x; do echo got $x; done", stdin=True)
        for word in ("a", "b"):
            self.assertIn("got " + word, self.cri("stream", id=id, attach=True, stdin=True, input=word + "\n", keep=True, until="got")["out"])
        self.assertEqual(self.status(id)["state"], "running")

    def test_attach_to_a_terminal(self):
        id = self.run_container(self.sandbox(), "sh", "-c", "while read x; do stty size; echo got $x; done", stdin=True, tty=True)
        r = self.cri("stream", id=id, attach=True, stdin=True, tty=True, columns=99, rows=33, input="q\n", until="got q")
        self.assertIn("33 99", r["out"])

    def test_attach_stdin_that_is_not_there(self):
        self.assertFails("Invalid", "without stdin", "stream", id=self.id, attach=True, stdin=True)

    def test_exec_in_an_ended_container(self):
        id = self.run_container(self.sandbox(), "true")
        self.wait_exit(id)
        self.assertFails("Conflict", "not running", "exec_sync", id=id, argv=["true"])


class Config:
    def test_environment_folder_and_arguments(self):
        out, _ = self.out("sh", "-c", 'echo "$A|$B|$HOSTNAME|$0|$1"; pwd', args=["x", "y"], env={"A": "1 2", "B": ""}, workingDir="/made/here",
                          sandbox=self.sandbox(hostname="my-host"))
        self.assertEqual(out, "1 2||my-host|x|y\n/made/here")

    def test_args_alone_replace_the_images_cmd(self):
        s = self.sandbox()
        id = self.cri("container_create", sandbox=s, name="c", image=AGNHOST, args=["help"], logPath="c.log")["id"]
        self.cri("container_start", id=id)
        self.wait_exit(id)

    def test_users(self):
        rows = [
            ({}, "0 0 0"),
            ({"runAsUser": 4242}, "4242 0 0"),
            ({"runAsUser": 4242, "runAsGroup": 3000, "groups": [2000]}, "4242 3000 3000 2000"),
            ({"runAsUserName": "nobody"}, None),
        ]
        s = self.sandbox()
        for n, (security, want) in enumerate(rows):
            out, code = self.out("sh", "-c", "echo $(id -u) $(id -g) $(id -G)", security=security, sandbox=s, name=f"c{n}")
            self.assertEqual(code, 0)
            if want:
                self.assertEqual(out, want)
            else:
                self.assertNotEqual(out.split()[0], "0")
        self.assertFails("Invalid", "unable to find user nosuch: no matching entries in passwd file", "container_create", sandbox=s, name="x",
                         image=BUSYBOX, command=["id"], security={"runAsUserName": "nosuch"})

    def test_the_images_user(self):
        layer = tar_bytes([("etc", "dir", None), ("etc/passwd", "file", "root:x:0:0::/:/\nweb:x:33:34::/:/\n"),
                           ("etc/group", "file", "staff:x:50:web,other\nweb:x:34:\nextra:x:51:web\n")])
        binary = os.path.join(IMAGES, "bin", "busybox")
        for n, (user, want) in enumerate([("web", "33 34 34 50 51"), ("web:staff", "33 50 50 51"), ("33", "33 34 34 50 51"), ("7:8", "7 8 8")]):
            docker_archive(self.top + "/user.tar", [layer], [f"user:{n}"], User=user)
            self.cri("image_load", path=self.top + "/user.tar")
            out, _ = self.out("/busybox", "sh", "-c", "echo $(/busybox id -u) $(/busybox id -g) $(/busybox id -G)", image=f"user:{n}",
                              mounts=[{"to": "/busybox", "from": binary, "readonly": True}])
            self.assertEqual(out, want, user)

    def test_capabilities(self):
        def effective(**security):
            out, _ = self.out("sh", "-c", "grep CapEff /proc/self/status; grep CapBnd /proc/self/status; grep NoNew /proc/self/status",
                              security=security)
            lines = out.split("\n")
            return int(lines[0].split()[1], 16), int(lines[2].split()[1])
        default, nnp = effective()
        self.assertEqual((default, nnp), (0xa80425fb, 0))
        self.assertEqual(effective(drop=["ALL"])[0], 0)
        self.assertEqual(effective(drop=["ALL"], add=["NET_BIND_SERVICE"])[0], 1 << 10)
        self.assertEqual(effective(drop=["CAP_CHOWN"], add=["net_admin"])[0], default & ~1 | 1 << 12)
        self.assertEqual(effective(noNewPrivs=True)[1], 1)
        everything, _ = effective(privileged=True)
        self.assertTrue(everything >> 21 & 1)
        self.assertFails("Invalid", 'unknown capability "FLY"', "container_create", sandbox=self.sandbox(), name="x", image=BUSYBOX,
                         command=["id"], security={"add": ["FLY"]})

    def test_read_only_root(self):
        out, _ = self.out("sh", "-c", "touch /x 2>&1; touch /vol/x && echo ok", security={"readonlyRootfs": True},
                          mounts=[{"to": "/vol", "from": tempfile.mkdtemp(dir=self.top)}])
        self.assertIn("Read-only file system", out)
        self.assertTrue(out.endswith("ok"))

    def test_masked_and_read_only_kernel_files(self):
        out, _ = self.out("sh", "-c", "wc -c </proc/keys; echo x >/proc/sysrq-trigger; echo 1 >/proc/sys/kernel/domainname; ls /sys/firmware | wc -l")
        self.assertIn("Read-only file system", out)
        self.assertTrue(out.startswith("0\n"), out)
        self.assertTrue(out.endswith("0"), out)

    def test_privileged_sees_the_nodes_devices(self):
        out, _ = self.out("sh", "-c", "ls /dev | wc -l; mount -t tmpfs x /mnt 2>&1 || mkdir /m && mount -t tmpfs x /m && echo mounted", security={"privileged": True})
        self.assertIn("mounted", out)
        plain, _ = self.out("sh", "-c", "ls /dev | wc -l; mkdir /m; mount -t tmpfs x /m && echo mounted")
        self.assertNotIn("mounted", plain)
        self.assertGreater(int(out.split()[0]), int(plain.split()[0]))

    def test_seccomp_default(self):
        script = "grep -w Seccomp /proc/self/status; unshare -U true 2>&1; echo $?"
        out, _ = self.out("sh", "-c", script, security={"seccomp": "default"})
        self.assertIn("Seccomp:\t2", out)
        self.assertNotEqual(out.split()[-1], "0")
        self.assertIn("Seccomp:\t0", self.out("sh", "-c", script)[0])
        self.assertEqual(self.out("/agnhost", "help", image=AGNHOST, security={"seccomp": "default"})[1], self.out("/agnhost", "help", image=AGNHOST)[1])

    def test_mounts(self):
        host = tempfile.mkdtemp(dir=self.top)
        with open(host + "/file", "w") as f:
            f.write("content")
        os.mkdir(host + "/sub")
        out, _ = self.out("sh", "-c", "cat /a/file /b; echo; touch /a/new /c/sub/x; touch /c/y; ls /a",
                          mounts=[{"to": "/c/sub", "from": host}, {"to": "/c", "from": host, "readonly": True}, {"to": "/a", "from": host},
                                  {"to": "/b", "from": host + "/file", "readonly": True}])
        self.assertIn("contentcontent", out)
        self.assertIn("/c/y: Read-only file system", out)
        self.assertTrue(os.path.exists(host + "/new") and os.path.exists(host + "/x"))
        with self.assertRaises(Failed) as e:
            self.create(self.sandbox(), "true", mounts=[{"to": "/a", "from": self.top + "/missing"}])
        self.assertIn("/missing", e.exception.message)

    def test_mount_propagation(self):
        host = tempfile.mkdtemp(dir=self.top)
        subprocess.check_call(["mount", "--bind", host, host])
        self.addCleanup(lambda: subprocess.call(["umount", "-R", "-l", host]))
        subprocess.check_call(["mount", "--make-shared", host])
        os.mkdir(host + "/late")
        s = self.sandbox()
        slave = self.run_container(s, "sleep", "100", name="slave", mounts=[{"to": "/v", "from": host, "propagation": "slave"}])
        private = self.run_container(s, "sleep", "100", name="private", mounts=[{"to": "/v", "from": host}])
        both = self.run_container(s, "sleep", "100", name="both", security={"privileged": True},
                                  mounts=[{"to": "/v", "from": host, "propagation": "bidirectional"}])
        subprocess.check_call(["mount", "-t", "tmpfs", "late", host + "/late"])
        with open(host + "/late/x", "w"):
            pass
        self.assertEqual(self.sh(slave, "ls /v/late")["out"], "x\n")
        self.assertEqual(self.sh(private, "ls /v/late")["out"], "")
        self.sh(both, "mkdir /v/from && mount -t tmpfs y /v/from")
        self.assertIn(host + "/from", mounts_below(self.top))
        self.assertFails("Invalid", "privileged", "container_create", sandbox=s, name="x", image=BUSYBOX, command=["true"],
                         mounts=[{"to": "/v", "from": host, "propagation": "bidirectional"}])

    def test_resolv_conf_hosts_and_shared_memory(self):
        s = self.sandbox(dnsServers=["10.96.0.10"], dnsSearches=["default.svc.cluster.local", "svc.cluster.local"], dnsOptions=["ndots:5"])
        a = self.run_container(s, "sleep", "100", name="a")
        b = self.run_container(s, "sleep", "100", name="b")
        self.assertEqual(self.sh(a, "cat /etc/resolv.conf")["out"],
                         "search default.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n")
        self.sh(a, "echo shared >/dev/shm/x")
        self.assertEqual(self.sh(b, "cat /dev/shm/x; stat -c %a /dev/shm")["out"], "shared\n1777\n")

    def test_sysctls(self):
        s = self.sandbox(sysctls={"net.core.somaxconn": "321", "kernel.shm_rmid_forced": "1"})
        id = self.run_container(s, "sleep", "100")
        self.assertEqual(self.sh(id, "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/shm_rmid_forced")["out"], "321\n1\n")
        parent = self.cgroup + "/kubepods/x"
        self.assertFails("Invalid", "not namespaced", "sandbox_create", name="x", uid="x", cgroupParent=parent, sysctls={"vm.swappiness": "1"})
        self.assertFails("Invalid", "not namespaced", "sandbox_create", name="x", uid="x", cgroupParent=parent, sysctls={"net/../vm/swappiness": "1"})
        self.assertFails("Invalid", "not namespaced", "sandbox_create", name="x", uid="x", cgroupParent=parent, network="node",
                         sysctls={"net.core.somaxconn": "1"})

    def test_network_namespace(self):
        s = self.sandbox()
        a = self.run_container(s, "sleep", "100", name="a")
        b = self.run_container(s, "sleep", "100", name="b")
        netns = [x for x in self.cri("sandbox_list")["sandboxes"] if x["id"] == s][0]["netns"]
        link = [self.sh(x, "readlink /proc/self/ns/net")["out"] for x in (a, b)]
        self.assertEqual(link[0], link[1])
        self.assertIn(str(os.stat(netns).st_ino), link[0])
        self.assertIn("127.0.0.1", self.sh(a, "ip addr show lo")["out"])
        host = self.run_container(self.sandbox(network="node"), "sleep", "100")
        self.assertEqual(self.sh(host, "readlink /proc/self/ns/net")["out"].strip(), os.readlink("/proc/self/ns/net"))
        self.assertEqual(self.sh(host, "hostname")["out"].strip(), socket.gethostname())

    def test_shared_processes(self):
        s = self.sandbox(pid="pod")
        a = self.run_container(s, "sleep", "111", name="a", security={"pid": "pod"})
        b = self.run_container(s, "sh", "-c", "sleep 222 & sleep 333", name="b", security={"pid": "pod"})
        seen = self.sh(a, "ps")["out"]
        self.assertIn("sleep 333", seen)
        self.assertIn("/pause", seen)
        self.cri("container_stop", id=b)
        wait_for(lambda: "sleep 222" not in self.sh(a, "ps")["out"], "the end of what the container left")
        self.assertEqual(self.status(a)["state"], "running")

    def test_node_processes(self):
        id = self.run_container(self.sandbox(pid="node"), "sleep", "100", security={"pid": "node"})
        self.assertEqual(self.sh(id, "readlink /proc/self/ns/pid")["out"].strip(), os.readlink("/proc/self/ns/pid"))
        self.cri("container_stop", id=id)

    def test_targets_processes(self):
        s = self.sandbox()
        a = self.run_container(s, "sleep", "123", name="a")
        b = self.run_container(s, "sleep", "100", name="b", security={"pid": "target", "pidTarget": a})
        self.assertIn("sleep 123", self.sh(b, "ps")["out"])

    def test_resources(self):
        s = self.sandbox()
        id = self.run_container(s, "sleep", "100", resources={"memoryLimit": 64 << 20, "cpuShares": 512, "cpuQuota": 20000, "cpuPeriod": 100000, "pidsLimit": 50})
        st = self.cri("stats", id=id)
        self.assertEqual(st["limit"], 64 << 20)
        self.assertGreater(st["memory"], 0)
        self.cri("container_update", id=id, resources={"memoryLimit": 96 << 20, "cpuShares": 1024})
        self.assertEqual(self.cri("stats", id=id)["limit"], 96 << 20)
        self.cri("container_update", id=id, resources={"memoryLimit": 32 << 20})
        self.assertEqual(self.cri("stats", id=id)["limit"], 32 << 20)
        r = self.status(id)["resources"]
        self.assertEqual((r["memoryLimit"], r["cpuShares"], r["pidsLimit"]), (32 << 20, 1024, 50))
        self.sh(id, "head -c 200000 /dev/urandom >/big")
        before = self.cri("stats", id=id, sandbox=False)["cpuNs"]
        self.sh(id, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
        self.assertGreater(self.cri("stats", id=id)["cpuNs"], before)
        self.assertGreater(self.cri("stats", id=s, sandbox=True)["memory"], 0)
        self.assertGreater(self.cri("stats", cgroup="/")["memory"], 0)

    def test_cgroups_of_pods(self):
        path = self.cgroup + "/kubepods/burstable/podx"
        self.cri("cgroup_set", path=path, resources={"memoryLimit": 128 << 20, "cpuShares": 100, "pidsLimit": 77})
        self.assertEqual(self.cri("stats", cgroup=path)["limit"], 128 << 20)
        self.cri("cgroup_remove", path=path)
        self.cri("cgroup_remove", path=path)
        self.assertFails("NotFound", "does not exist", "stats", cgroup=path)
        self.assertFails("Invalid", "absolute path", "cgroup_set", path="x/../y")

    def test_dial_into_the_pod(self):
        s = self.sandbox()
        self.run_container(s, "/agnhost", "netexec", "--http-port=8099", image=AGNHOST)
        out = wait_for(lambda: self.dial(s, 8099), "the listener")
        self.assertTrue(out.startswith("HTTP/1.1 200"), out)
        self.assertFails("InternalError", "Connection refused", "dial", id=s, port=9)

    def dial(self, s, port):
        try:
            return self.cri("dial", id=s, port=port, input="GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")["out"]
        except Failed:
            return None

    def test_bad_configs(self):
        s = self.sandbox()
        rows = [
            ("NotFound", "is not here", dict(image="nosuch:1", command=["x"])),
            ("Invalid", "must be lowercase", dict(image="NoSuch", command=["x"])),
            ("Invalid", "not an absolute path", dict(image=BUSYBOX, command=["x"], workingDir="rel")),
            ("Invalid", "impossible name", dict(image=BUSYBOX, command=["x"], env={"A=B": "c"})),
            ("Invalid", "root file system itself", dict(image=BUSYBOX, command=["x"], mounts=[{"to": "/", "from": "/tmp"}])),
            ("Invalid", "not an absolute path", dict(image=BUSYBOX, command=["x"], mounts=[{"to": "/x", "from": "tmp"}])),
        ]
        for code, words, k in rows:
            self.assertFails(code, words, "container_create", sandbox=s, name="c", **k)
        self.assertFails("NotFound", "sandbox", "container_create", sandbox="0" * 64, name="c", image=BUSYBOX, command=["x"])
        self.assertEqual(self.cri("container_list", sandbox=s)["containers"], [])


class Adopt:
    def again(self):
        type(self).cri.kill()
        type(self).cri = Driver(self.top, self.cgroup, self.runtime)

    def test_running_containers_run_on(self):
        s = self.sandbox(labels={"app": "x"})
        self.cri("sandbox_note", id=s, note='{"ip": "10.0.0.1"}')
        id = self.run_container(s, "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done", labels={"tier": "y"}, attempt=3)
        pid = self.status(id)["pid"]
        before = self.status(id)
        self.again()
        box = [x for x in self.cri("sandbox_list")["sandboxes"] if x["id"] == s][0]
        self.assertEqual((box["state"], box["note"], box["labels"]), ("ready", '{"ip": "10.0.0.1"}', {"app": "x"}))
        self.assertEqual(self.status(id), before)
        self.assertEqual(self.sh(id, "echo still")["out"], "still\n")
        self.assertTrue(os.path.exists(f"/proc/{pid}"))
        n = len(self.log(id))
        wait_for(lambda: len(self.log(id)) > n, "more output")
        self.cri("container_stop", id=id)
        wait_for(lambda: any(e["id"] == id for e in list(self.cri.events.queue)), "the event")
        self.assertEqual(self.status(id)["exitCode"], 137)

    def test_ends_meanwhile_are_found(self):
        s = self.sandbox()
        stop = self.top + "/stop-" + s[:8]
        os.mkdir(stop)
        id = self.run_container(s, "sh", "-c", "while ! [ -e /s/x ]; do sleep 0.02; done; exit 42", mounts=[{"to": "/s", "from": stop}])
        type(self).cri.kill()
        open(stop + "/x", "w").close()
        wait_for(lambda: os.path.exists(f"{self.top}/s/exits/{id}"), "the exit file")
        type(self).cri = Driver(self.top, self.cgroup, self.runtime)
        st = self.status(id)
        self.assertEqual((st["state"], st["exitCode"]), ("exited", 42))
        self.assertLess(abs(st["finished"] / 1e9 - time.time()), 30)

    def test_created_and_ended_containers_stay(self):
        s = self.sandbox()
        created = self.create(s, "sh", "-c", "exit 3", name="created")
        ended = self.run_container(s, "sh", "-c", "exit 5", name="ended")
        before = self.wait_exit(ended)
        self.again()
        self.assertEqual(self.status(ended), before)
        self.assertEqual(self.status(created)["state"], "created")
        self.cri("container_start", id=created)
        self.assertEqual(self.wait_exit(created)["exitCode"], 3)

    def test_half_made_things_are_cleared(self):
        fake = "f" * 64
        type(self).cri.kill()
        os.makedirs(f"{self.top}/s/sandboxes/{fake}/shm")
        subprocess.check_call(["mount", "-t", "tmpfs", "x", f"{self.top}/s/sandboxes/{fake}/shm"])
        os.makedirs(f"{self.top}/s/containers/{fake}/rootfs")
        subprocess.check_call(["mount", "-t", "tmpfs", "x", f"{self.top}/s/containers/{fake}/rootfs"])
        os.makedirs(f"{self.top}/root/containers/{fake}/upper")
        os.makedirs(f"{self.top}/root/layers/{fake}/x")
        os.makedirs(f"{self.top}/root/tmp/layer-abc")
        open(f"{self.top}/s/netns/{fake}", "w").close()
        open(f"{self.top}/s/exits/{fake}", "w").close()
        type(self).cri = Driver(self.top, self.cgroup, self.runtime)
        for path in ("s/sandboxes", "s/containers", "s/netns", "s/exits", "root/containers", "root/layers"):
            self.assertNotIn(fake, os.listdir(f"{self.top}/{path}"), path)
        self.assertEqual(os.listdir(f"{self.top}/root/tmp"), [])

    def test_killed_at_any_moment(self):
        """A driver that dies while it makes pods leaves nothing that the next one does not know or clear."""
        span = str(1000000 + os.getpid())
        for delay in (0.002, 0.006, 0.012, 0.02, 0.03, 0.045):
            d = type(self).cri
            parent = f"{self.cgroup}/kubepods/killed{int(delay * 1000)}"
            for i in range(3):
                d.send("pod_run", parallel=True, name="k", uid=f"k{i}", cgroupParent=parent, image=BUSYBOX, command=["sleep", span])
            time.sleep(delay)
            d.kill()
            time.sleep(0.3)
            type(self).cri = Driver(self.top, self.cgroup, self.runtime)
            for s in self.cri("sandbox_list")["sandboxes"]:
                self.cri("sandbox_remove", id=s["id"])
            self.cri("cgroup_remove", path=parent)
            self.assertEqual(self.cri("container_list", sandbox="")["containers"], [])
            self.assertEqual([m for m in mounts_below(self.top)], [])
            wait_for(lambda: not holders_below(self.top), "stray holders to go")
        wait_for(lambda: not processes_with("sleep\000" + span), "stray processes to go")

    def test_a_dead_holder_is_told_and_found(self):
        s = self.sandbox()
        pid = [x for x in self.cri("sandbox_list")["sandboxes"] if x["id"] == s][0]["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: any(e["id"] == s and e["sandbox"] for e in list(self.cri.events.queue)), "the event")
        box = [x for x in self.cri("sandbox_list")["sandboxes"] if x["id"] == s][0]
        self.assertEqual(box["state"], "not ready")
        self.assertFails("Conflict", "not ready", "container_create", sandbox=s, name="c", image=BUSYBOX, command=["true"])


class ImageFiles(Base):
    def load(self, path):
        return self.cri("image_load", path=path)["images"]

    def write(self, name, data):
        path = f"{self.top}/{name}"
        with open(path, "wb") as f:
            f.write(data)
        return path

    def files(self, ref, script="find / -xdev | grep -v -e ^/proc -e ^/sys -e ^/dev | sort"):
        """What a container of the image sees, through a busybox that is mounted in."""
        out, code = self.out("/busybox", "sh", "-c", script.replace("find ", "/busybox find ").replace("| grep", "| /busybox grep").replace("| sort", "| /busybox sort"), image=ref,
                             mounts=[{"to": "/busybox", "from": os.path.join(IMAGES, "bin", "busybox"), "readonly": True}])
        self.assertEqual(code, 0, out)
        return out

    def test_names(self):
        id = self.cri("image_status", ref=BUSYBOX)["image"]["id"]
        for ref in (id, id[7:], id[7:19], id[7:11]):
            self.assertEqual(self.cri("image_status", ref=ref)["image"]["id"], id)
        self.cri("image_tag", ref=BUSYBOX, to="other")
        self.assertIn("docker.io/library/other:latest", self.cri("image_status", ref="docker.io/library/other")["image"]["tags"])
        self.cri("image_rm", ref="other")
        self.assertFails("NotFound", "is not here", "image_status", ref="other")
        self.assertEqual(self.cri("image_status", ref=BUSYBOX)["image"]["tags"], [BUSYBOX])
        self.assertFails("Invalid", "cannot have a digest", "image_tag", ref=BUSYBOX, to="x@" + id)

    def test_layers_are_shared_and_collected(self):
        a, b = tar_bytes([("a", "file", "shared")]), tar_bytes([("b", "file", "own")])
        docker_archive(self.top + "/1.tar", [a], ["share:1"], Cmd=["x"])
        docker_archive(self.top + "/2.tar", [a, b], ["share:2"], Cmd=["x"])
        self.load(self.top + "/1.tar")
        self.load(self.top + "/2.tar")
        layers = lambda: set(x for x in os.listdir(self.top + "/root/layers") if len(x) == 64)
        self.assertTrue({digest(a)[7:], digest(b)[7:]} <= layers())
        self.cri("image_rm", ref="share:2")
        self.assertIn(digest(a)[7:], layers())
        self.assertNotIn(digest(b)[7:], layers())
        self.cri("image_rm", ref="share:1")
        self.assertNotIn(digest(a)[7:], layers())

    def test_an_image_in_use_stays(self):
        layer = tar_bytes([("f", "file", "data")])
        docker_archive(self.top + "/use.tar", [layer], ["use:1"], Cmd=["/busybox", "sleep", "100"])
        self.load(self.top + "/use.tar")
        s = self.sandbox()
        id = self.run_container(s, "/busybox", "sleep", "100", image="use:1", mounts=[{"to": "/busybox", "from": os.path.join(IMAGES, "bin", "busybox")}])
        self.assertFails("Conflict", "used by a container", "image_rm", ref="use:1")
        self.cri("image_rm", ref="use:1", force=True)
        self.assertEqual(self.cri("exec_sync", id=id, argv=["/busybox", "cat", "/f"])["out"], "data")
        self.cri("container_remove", id=id)
        self.cri("gc")
        self.assertNotIn(digest(layer)[7:], os.listdir(self.top + "/root/layers"))

    def test_whiteouts(self):
        low = tar_bytes([("d", "dir", None), ("d/one", "file", "1"), ("d/two", "file", "2"), ("o", "dir", None), ("o/old", "file", "x"), ("gone", "file", "x")])
        high = tar_bytes([("d", "dir", None), ("d/.wh.one", "file", ""), ("o", "dir", None), ("o/.wh..wh..opq", "file", ""), ("o/new", "file", "y"), (".wh.gone", "file", ""),
                          (".wh..wh.aufs", "file", "")])
        docker_archive(self.top + "/wh.tar", [low, high], ["wh:1"], Cmd=["x"])
        self.load(self.top + "/wh.tar")
        got = self.files("wh:1").split("\n")
        for path, there in (("/d/one", False), ("/d/two", True), ("/o/old", False), ("/o/new", True), ("/gone", False)):
            self.assertEqual(path in got, there, path)

    def test_modes_owners_links_and_attributes(self):
        cap = base64.b64decode("AAAAAgAgAAAAAAAAAAAAAAAAAAA=")
        layer = tar_bytes([
            ("./", "dir", None, {"mode": 0o751}),
            ("s", "file", "x", {"mode": 0o4755, "uid": 1, "gid": 2}),
            ("t", "dir", None, {"mode": 0o1777}),
            ("h", "hardlink", "s"),
            ("l", "link", "/etc/passwd"),
            ("up", "link", "../../../../etc/shadow"),
            ("c", "file", "cap", {"pax_headers": {"SCHILY.xattr.user.k": "v", "SCHILY.xattr.trusted.overlay.redirect": "/etc"}}),
            ("long/" + "n" * 150 + "/" + "m" * 150, "file", "deep"),
            ("p", "fifo", None),
        ])
        docker_archive(self.top + "/modes.tar", [layer], ["modes:1"], Cmd=["x"])
        self.load(self.top + "/modes.tar")
        d = f"{self.top}/root/layers/{digest(layer)[7:]}"
        st = os.lstat(d + "/s")
        self.assertEqual((st.st_mode & 0o7777, st.st_uid, st.st_gid, st.st_nlink), (0o4755, 1, 2, 2))
        self.assertEqual(os.lstat(d).st_mode & 0o7777, 0o751)
        self.assertEqual(os.lstat(d + "/t").st_mode & 0o7777, 0o1777)
        self.assertEqual(os.readlink(d + "/l"), "/etc/passwd")
        try:
            os.setxattr(d, "user.try", b"x")
            os.removexattr(d, "user.try")
            self.assertEqual(os.listxattr(d + "/c"), ["user.k"])
        except OSError:
            self.assertEqual(os.listxattr(d + "/c"), [], "a file system without user attributes")
        self.assertEqual(cap[:1], b"\x00")
        out, _ = self.out("/busybox", "stat", "-c", "%a", "/", image="modes:1", mounts=[{"to": "/busybox", "from": os.path.join(IMAGES, "bin", "busybox")}])
        self.assertEqual(out, "751")

    def test_hostile_layers(self):
        outside = self.top + "/outside"
        os.mkdir(outside)
        rows = {
            "dotdot": ([("../escape", "file", "x")], "outside"),
            "dotdot inside": ([("a/../../escape", "file", "x")], "outside"),
            "hardlink out": ([("h", "hardlink", "../../../../etc/passwd")], "outside"),
            "whiteout device": ([("w", "char", (0, 0))], "whiteout"),
            "bad whiteout": ([(".wh...", "file", "")], "whiteout"),
            "root is a file": ([(".", "file", "x")], "root"),
        }
        for name, (entries, words) in rows.items():
            layer = tar_bytes(entries)
            docker_archive(self.top + "/bad.tar", [layer], ["bad:1"], Cmd=["x"])
            with self.assertRaises(Failed, msg=name) as e:
                self.load(self.top + "/bad.tar")
            self.assertEqual(e.exception.code, "Invalid", name)
            self.assertIn(words, e.exception.message, name)
            self.assertNotIn(digest(layer)[7:], os.listdir(self.top + "/root/layers"))
        # Absolute names and links that lead out stay inside.
        layer = tar_bytes([("l", "link", outside), ("l/in", "file", "x"), ("/abs", "file", "y"), ("e", "link", "/"), ("e/deep", "file", "z")])
        docker_archive(self.top + "/odd.tar", [layer], ["odd:1"], Cmd=["x"])
        try:
            self.load(self.top + "/odd.tar")
        except Failed:
            pass
        self.assertEqual(os.listdir(outside), [])
        self.assertFalse(os.path.exists("/abs") or os.path.exists("/deep"))
        self.assertEqual(os.listdir(self.top + "/root/tmp"), [])

    def test_hostile_archives(self):
        secret = self.write("secret.json", config_bytes([], Cmd=["x"]))
        manifest = json.dumps([{"Config": "c.json", "RepoTags": ["evil:1"], "Layers": []}])
        path = self.write("evil.tar", tar_bytes([("c.json", "link", secret), ("manifest.json", "file", manifest)]))
        self.assertFails("Invalid", "lacks", "image_load", path=path)
        path = self.write("fifo.tar", tar_bytes([("manifest.json", "fifo", None)]))
        with self.assertRaises(Failed):
            self.load(path)
        path = self.write("dots.tar", tar_bytes([("../../x", "file", "y")]))
        self.assertFails("Invalid", "outside", "image_load", path=path)

    def test_bad_archives(self):
        layer = tar_bytes([("a", "file", "b")])
        rows = [
            ("empty", b"", "manifest.json"),
            ("garbage", b"this is no archive at all" * 100, ""),
            ("gzip of garbage", gzip.compress(b"no tar" * 500), ""),
            ("cut gzip", gzip.compress(tar_bytes([("manifest.json", "file", os.urandom(5000))]))[:2000], ""),
            ("no manifest", tar_bytes([("x", "file", "y")]), "neither"),
            ("manifest no json", tar_bytes([("manifest.json", "file", "{")]), "not JSON"),
            ("manifest empty", tar_bytes([("manifest.json", "file", "[]")]), "lists no images"),
        ]
        for name, data, words in rows:
            with self.assertRaises(Failed, msg=name) as e:
                self.load(self.write("bad.tar", data))
            self.assertEqual(e.exception.code, "Invalid", name)
            self.assertIn(words, e.exception.message, name)
        docker_archive(self.top + "/bad.tar", [layer], ["bad:1"], config=config_bytes([tar_bytes([("other", "file", "")])], Cmd=["x"]))
        self.assertFails("Invalid", "does not have the digest", "image_load", path=self.top + "/bad.tar")
        docker_archive(self.top + "/bad.tar", [layer, layer], ["bad:1"], config=config_bytes([layer], Cmd=["x"]))
        self.assertFails("Invalid", "names 1", "image_load", path=self.top + "/bad.tar")
        other = json.loads(config_bytes([layer]))
        other["architecture"] = "s390x" if ARCH != "s390x" else "amd64"
        docker_archive(self.top + "/bad.tar", [layer], ["bad:1"], config=json.dumps(other).encode())
        self.assertFails("Invalid", "architecture", "image_load", path=self.top + "/bad.tar")
        docker_archive(self.top + "/bad.tar", [layer], ["Bad Name"], Cmd=["x"])
        self.assertFails("Invalid", "invalid reference format", "image_load", path=self.top + "/bad.tar")
        self.assertFails("InternalError", "No such file", "image_load", path=self.top + "/missing.tar")

    def test_oci_layouts(self):
        for kind in ("", "-gzip"):
            for name in ("pause", "busybox"):
                got = self.load(f"{IMAGES}/oci/{name}{kind}.tar")
                self.assertEqual(len(got), 1)
        d = self.top + "/layout"
        os.mkdir(d)
        with tarfile.open(f"{IMAGES}/oci/busybox-gzip.tar") as t:
            t.extractall(d)
        self.assertEqual(self.load(d)[0]["id"], self.cri("image_status", ref=BUSYBOX)["image"]["id"])
        blobs = d + "/blobs/sha256/"
        biggest = max(os.listdir(blobs), key=lambda x: os.path.getsize(blobs + x))
        self.cri("image_rm", ref=self.cri("image_status", ref=BUSYBOX)["image"]["id"], force=True)
        self.cri("image_rm", ref=AGNHOST, force=True)
        with open(blobs + biggest, "r+b") as f:
            f.write(b"x")
        with self.assertRaises(Failed):
            self.load(d)
        for name in ("busybox", "agnhost"):
            self.load(f"{IMAGES}/{name}.tar")

    def test_oci_index_picks_the_platform(self):
        layer = tar_bytes([("here", "file", "1")])
        plain = config_bytes([layer], Cmd=["x"])
        def blob(data):
            files.append(("blobs/sha256/" + digest(data)[7:], "file", data))
            return {"digest": digest(data), "size": len(data)}
        files = []
        manifest = json.dumps({"schemaVersion": 2, "config": dict(blob(plain), mediaType="application/vnd.oci.image.config.v1+json"),
                               "layers": [dict(blob(layer), mediaType="application/vnd.oci.image.layer.v1.tar")]}).encode()
        inner = json.dumps({"schemaVersion": 2, "manifests": [
            dict(blob(b"{}"), mediaType="application/vnd.oci.image.manifest.v1+json", platform={"os": "linux", "architecture": "sparc"}),
            dict(blob(manifest), mediaType="application/vnd.oci.image.manifest.v1+json", platform={"os": "linux", "architecture": ARCH})]}).encode()
        index = json.dumps({"schemaVersion": 2, "manifests": [
            dict(blob(inner), mediaType="application/vnd.oci.image.index.v1+json", annotations={"org.opencontainers.image.ref.name": "my/multi:3"})]})
        files += [("index.json", "file", index), ("oci-layout", "file", '{"imageLayoutVersion":"1.0.0"}')]
        got = self.load(self.write("multi.tar", tar_bytes(files, "gzip")))
        self.assertEqual((got[0]["id"], got[0]["tags"]), (digest(plain), ["docker.io/my/multi:3"]))
        self.assertEqual(got[0]["digests"], ["docker.io/my/multi@" + digest(manifest)])

    def test_zstd(self):
        if not shutil.which("zstd"):
            self.skipTest("zstd is not installed")
        data = tar_bytes([("z", "file", os.urandom(300000))])
        docker_archive(self.top + "/z.tar", [data], ["z:1"], Cmd=["x"])
        subprocess.check_call(["zstd", "-q", "-f", self.top + "/z.tar"])
        self.assertEqual(self.load(self.top + "/z.tar.zst")[0]["tags"], ["docker.io/library/z:1"])

    def test_many_layers(self):
        layers = [tar_bytes([(f"f{i}", "file", str(i)), ("last", "file", str(i))]) for i in range(70)]
        docker_archive(self.top + "/many.tar", layers, ["many:1"], Cmd=["x"])
        self.load(self.top + "/many.tar")
        self.assertEqual(self.files("many:1", "/busybox cat /f0 /f69 /last").replace("\n", ""), "06969")

    def test_an_image_without_layers(self):
        docker_archive(self.top + "/none.tar", [], ["none:1"], Cmd=["/busybox"])
        self.load(self.top + "/none.tar")
        self.assertIn("/busybox", self.files("none:1"))

    def test_the_store_survives(self):
        before = self.cri("image_ls")["images"]
        self.cri.close()
        type(self).cri = Driver(self.top, self.cgroup, self.runtime)
        self.assertEqual(self.cri("image_ls")["images"], before)


class FakeRegistry(http.server.ThreadingHTTPServer):
    """A registry with faults: what it serves and how it misbehaves is set by the tests."""
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), FakeHandler)
        self.host = f"127.0.0.1:{self.server_address[1]}"
        self.blobs, self.manifests, self.types = {}, {}, {}
        self.auth = None        # None, "basic", "bearer"
        self.fail = {}          # path -> list of statuses to give first
        self.cut = {}           # path -> how often to break off in the middle
        self.requests = []
        self.slow = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def image(self, repo, tag, layers, packed=None, **settings):
        config = config_bytes(layers, **settings)
        packed = packed or [gzip.compress(x, mtime=0) for x in layers]
        for data in packed + [config]:
            self.blobs[digest(data)] = data
        manifest = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                               "config": {"digest": digest(config), "size": len(config)},
                               "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": digest(x), "size": len(x)} for x in packed]}).encode()
        self.put_manifest(repo, tag, manifest, "application/vnd.docker.distribution.manifest.v2+json")
        return digest(config), digest(manifest)

    def put_manifest(self, repo, tag, data, type):
        for name in (tag, digest(data)):
            self.manifests[repo, name] = data
            self.types[repo, name] = type


class FakeHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *a):
        pass

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for k, v in headers.items():
            self.send_header(k.replace("_", "-"), v)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def allowed(self):
        s = self.server
        got = self.headers.get("Authorization", "")
        if s.auth == "basic" and got != "Basic " + base64.b64encode(b"user:pass").decode():
            self.reply(401, WWW_Authenticate='Basic realm="x"')
            return False
        if s.auth == "bearer" and got != "Bearer tok":
            self.reply(401, WWW_Authenticate=f'Bearer realm="http://{s.host}/token",service="the, service",scope="ignored"')
            return False
        return True

    def do_GET(self):
        s = self.server
        s.requests.append(self.path)
        path, _, query = self.path.partition("?")
        time.sleep(s.slow)
        if path == "/token":
            ok = self.headers.get("Authorization") == "Basic " + base64.b64encode(b"user:pass").decode() and "scope=repository%3A" in query
            return self.reply(200, b'{"token": "tok"}') if ok else self.reply(401)
        if not self.allowed():
            return None
        if s.fail.get(path):
            return self.reply(s.fail[path].pop(0))
        if path == "/v2/":
            return self.reply(200)
        m = re.match(r"^/v2/(.+)/(manifests|blobs)/([^/]+)$", path)
        if m and m[2] == "manifests" and (m[1], m[3]) in s.manifests:
            return self.reply(200, s.manifests[m[1], m[3]], Content_Type=s.types[m[1], m[3]])
        if m and m[2] == "blobs" and m[3] in s.blobs:
            data = s.blobs[m[3]]
            if s.cut.get(path):
                s.cut[path] -= 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[:len(data) // 2])
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                return None
            return self.reply(200, data)
        return self.reply(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}')

    do_HEAD = do_GET


class Registries(Base):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.fake = FakeRegistry()

    @classmethod
    def tearDownClass(cls):
        cls.fake.shutdown()
        cls.fake.server_close()
        super().tearDownClass()

    def setUp(self):
        f = self.fake
        f.auth, f.slow = None, 0
        f.blobs.clear(), f.manifests.clear(), f.fail.clear(), f.cut.clear(), f.requests.clear()

    def pull(self, name, **k):
        return self.cri("image_pull", ref=f"{self.fake.host}/{name}", **k)["id"]

    def layer(self):
        return tar_bytes([("f", "file", os.urandom(50000))])

    def test_pull(self):
        layers = [self.layer(), self.layer()]
        id, manifest = self.fake.image("a/b", "1", layers, Cmd=["x"])
        self.assertEqual(self.pull("a/b:1"), id)
        i = self.cri("image_status", ref=f"{self.fake.host}/a/b:1")["image"]
        self.assertEqual(i["digests"], [f"{self.fake.host}/a/b@{manifest}"])
        n = len(self.fake.requests)
        self.assertEqual(self.pull("a/b:1"), id)
        self.assertFalse([r for r in self.fake.requests[n:] if "/blobs/" in r and i["id"] not in r], "layers that are here are not asked for")
        self.assertEqual(self.pull(f"a/b@{manifest}"), id)
        self.assertEqual(self.cri("image_status", ref=f"{self.fake.host}/a/b@{manifest}")["image"]["id"], id)

    def test_credentials(self):
        id, _ = self.fake.image("c", "1", [self.layer()], Cmd=["x"])
        for kind in ("basic", "bearer"):
            self.fake.auth = kind
            self.assertFails("Unauthorized", "", "image_pull", ref=f"{self.fake.host}/c:1")
            self.assertFails("Unauthorized", "", "image_pull", ref=f"{self.fake.host}/c:1", username="user", password="wrong")
            self.assertEqual(self.pull("c:1", username="user", password="pass"), id)

    def test_index(self):
        id, manifest = self.fake.image("m", "real", [self.layer()], Cmd=["x"])
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
            {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:" + "0" * 64, "size": 1, "platform": {"os": "windows", "architecture": ARCH}},
            {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": manifest, "size": 1, "platform": {"os": "linux", "architecture": ARCH}}]}
        self.fake.put_manifest("m", "1", json.dumps(index).encode(), "application/vnd.oci.image.index.v1+json")
        self.assertEqual(self.pull("m:1"), id)
        index["manifests"].pop()
        self.fake.put_manifest("m", "2", json.dumps(index).encode(), "application/vnd.oci.image.index.v1+json")
        self.assertFails("NotFound", "no matching manifest for linux", "image_pull", ref=f"{self.fake.host}/m:2")

    def test_faults_that_pass(self):
        layer = self.layer()
        packed = gzip.compress(layer, mtime=0)
        id, _ = self.fake.image("f", "1", [layer], Cmd=["x"])
        blob = f"/v2/f/blobs/{digest(packed)}"
        self.fake.fail["/v2/f/manifests/1"] = [503, 429]
        self.fake.fail[blob] = [500]
        self.fake.cut[blob] = 2
        self.assertEqual(self.pull("f:1"), id)

    def test_faults_that_do_not(self):
        layer = self.layer()
        packed = gzip.compress(layer, mtime=0)
        self.assertFails("NotFound", "manifest unknown", "image_pull", ref=f"{self.fake.host}/nosuch:1")
        self.fake.fail["/v2/x/manifests/1"] = [503] * 9
        self.assertFails("ServiceUnavailable", "503", "image_pull", ref=f"{self.fake.host}/x:1")
        self.fake.image("x", "2", [layer], Cmd=["x"])
        self.fake.blobs[digest(packed)] = packed[:-1] + b"!"
        self.assertFails("Invalid", "another content", "image_pull", ref=f"{self.fake.host}/x:2")
        self.fake.blobs[digest(packed)] = packed + b"more"
        self.assertFails("Invalid", "longer", "image_pull", ref=f"{self.fake.host}/x:2")
        other = self.layer()
        self.fake.image("x", "3", [layer], packed=[gzip.compress(other, mtime=0)], Cmd=["x"])
        self.assertFails("Invalid", "that the image names", "image_pull", ref=f"{self.fake.host}/x:3")
        self.fake.put_manifest("x", "4", b'{"schemaVersion": 1}', "application/json")
        self.assertFails("Invalid", "schema 1", "image_pull", ref=f"{self.fake.host}/x:4")
        self.fake.put_manifest("x", "5", b"not json", "application/json")
        self.assertFails("Invalid", "not JSON", "image_pull", ref=f"{self.fake.host}/x:5")
        self.assertEqual([x for x in os.listdir(self.top + "/root/layers") if digest(layer)[7:] in x], [])
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.assertFails("ServiceUnavailable", "refused", "image_pull", ref=f"127.0.0.1:{s.getsockname()[1]}/x:1")

    def test_pulls_of_one_image_are_one(self):
        id, _ = self.fake.image("p", "1", [self.layer()], Cmd=["x"])
        self.fake.slow = 0.2
        tags = [self.cri.send("image_pull", parallel=True, ref=f"{self.fake.host}/p:1") for _ in range(6)]
        self.assertEqual({self.cri.receive(t)["id"] for t in tags}, {id})
        self.assertEqual(len([r for r in self.fake.requests if "/manifests/" in r]), 1)

    def test_push_and_pull_with_a_real_registry(self):
        if not shutil.which("docker-registry"):
            self.skipTest("docker-registry is not installed")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        with open(self.top + "/registry.yml", "w") as f:
            f.write(f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {self.top}/registry}}}}\n"
                    f"http: {{addr: '127.0.0.1:{port}'}}\n")
        registry = subprocess.Popen(["docker-registry", "serve", self.top + "/registry.yml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: (registry.terminate(), registry.wait()))

        def up():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0
        wait_for(up, "the registry")
        ref = f"127.0.0.1:{port}/team/agnhost:2.53"
        before = self.cri("image_status", ref=AGNHOST)["image"]
        self.cri("image_tag", ref=AGNHOST, to=ref)
        first = self.cri("image_push", ref=ref)["digest"]
        self.assertEqual(self.cri("image_push", ref=ref)["digest"], first)
        if shutil.which("skopeo"):
            seen = json.loads(subprocess.check_output(["skopeo", "inspect", "--raw", "--tls-verify=false", "docker://" + ref]))
            self.assertEqual(seen["config"]["digest"], before["id"])
        for r in (ref, AGNHOST, BUSYBOX):
            self.cri("image_rm", ref=r)
        self.cri("image_pull", ref=ref)
        self.assertEqual(self.cri("image_status", ref=ref)["image"]["id"], before["id"])
        out, code = self.out("/agnhost", "help", image=ref)
        self.assertIn("netexec", out)
        self.assertFails("NotFound", "is not here", "image_push", ref=f"127.0.0.1:{port}/nosuch:1")
        self.assertFails("Invalid", "under a tag", "image_push", ref=f"127.0.0.1:{port}/x@" + first)
        for name in ("busybox", "agnhost"):
            self.cri("image_load", path=f"{IMAGES}/{name}.tar")


for part in (Life, Exec, Config, Adopt):
    for runtime in ("crun", "runc"):
        name = f"{part.__name__}_{runtime}"
        globals()[name] = type(name, (part, Base), {"runtime": runtime})


if __name__ == "__main__":
    program = unittest.main(exit=False, verbosity=1)
    r = program.result
    bad = len(r.failures) + len(r.errors)
    print(f"{r.testsRun - bad - len(r.skipped)} passed, {bad} failed, {len(r.skipped)} skipped")
    sys.exit(1 if bad else 0)
