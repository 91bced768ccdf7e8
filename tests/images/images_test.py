#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the programs of the images on loopback, and checks the archives.

Called by `make test-images`, which builds what is tested. Every server listens on a port that the
kernel chose and is ended by the process that started it. What needs skopeo or docker-registry says so
when it is skipped.
"""
import base64
import contextlib
import hashlib
import http.server
import io
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tarfile
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

IMAGES = os.path.join(os.path.dirname(__file__), "..", "..", "build", "images")
SERVER = os.environ.get("TESTSERVER", os.path.join(IMAGES, "bin", "testserver"))
TLS_SERVER = os.path.join(IMAGES, "bin", "testserver-tls")
PAUSE = os.path.join(IMAGES, "bin", "pause")
WAIT_S = 10


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A running command. `ports` are those it listens on, in the order it said so."""

    def __init__(self, *args, ports=1, env=None, program=SERVER):
        self.process = subprocess.Popen([program, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env=env, text=True)
        self.log = []
        self.ports = []
        self.ready = threading.Event()
        self.reader = threading.Thread(target=self.read, args=(ports,), daemon=True)
        self.reader.start()
        if not self.ready.wait(WAIT_S) or len(self.ports) < ports:
            self.process.kill()
            raise AssertionError("not listening: " + "".join(self.log))

    def read(self, ports):
        for line in self.process.stderr:
            self.log.append(line)
            found = re.search(r"listening on (?:TCP|UDP|gRPC) port (\d+)", line)
            if found:
                self.ports.append(int(found.group(1)))
            if len(self.ports) >= ports:
                self.ready.set()
        self.ready.set()

    def logged(self, text):
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            if any(text in line for line in self.log):
                return True
            time.sleep(0.01)
        return False

    def get(self, path, port=None, data=None, headers=None, method=None):
        request = urllib.request.Request(f"http://127.0.0.1:{port or self.ports[0]}{path}", data=data,
                                         headers=headers or {}, method=method)
        opener = urllib.request.build_opener(NoRedirect)
        try:
            with opener.open(request, timeout=WAIT_S) as answer:
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode(), e.headers

    def raw(self, data, port=None):
        with socket.create_connection(("127.0.0.1", port or self.ports[0]), timeout=WAIT_S) as s:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while True:
                    got = s.recv(65536)
                    if not got:
                        break
                    answer += got
            return answer

    def udp(self, data, port):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(WAIT_S)
            s.connect(("127.0.0.1", port))
            s.send(data)
            return s.recv(65536), s.getsockname()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()
        self.process.stderr.close()


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *unused):
        return None


def run(*args, timeout=WAIT_S, env=None):
    done = subprocess.run([SERVER, *args], capture_output=True, text=True, timeout=timeout, env=env)
    return done.returncode, done.stdout, done.stderr


class PauseTest(unittest.TestCase):
    def test_small_and_silent(self):
        self.assertLess(os.path.getsize(PAUSE), 20 * 1024)
        for sig in (signal.SIGTERM, signal.SIGINT):
            p = subprocess.Popen([PAUSE], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            wait_asleep(p.pid)
            p.send_signal(sig)
            self.assertEqual(p.wait(WAIT_S), 0)
            self.assertEqual(p.stdout.read(), b"")
            p.stdout.close()

    def test_version(self):
        out = subprocess.run([PAUSE, "-v"], capture_output=True, text=True, timeout=WAIT_S).stdout
        self.assertRegex(out, r"^coracle pause \d+\n$")

    @unittest.skipUnless(os.geteuid() == 0, "needs root for a PID namespace")
    def test_process_one_collects_orphans(self):
        # As process 1 of a namespace: a grandchild whose parent is gone must not stay a zombie.
        inside = ("/bin/sh -c '(sleep 0.05 & exit 0)' & exec " + os.path.abspath(PAUSE))
        p = subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", inside])
        try:
            end = time.monotonic() + WAIT_S
            first = None
            while time.monotonic() < end:
                children = children_of(p.pid)
                if children and name_of(children[0]) == "pause":
                    first = children[0]
                    if not children_of(first):
                        break
                time.sleep(0.02)
            self.assertIsNotNone(first)
            self.assertEqual(children_of(first), [])
            os.kill(first, signal.SIGTERM)
            self.assertEqual(p.wait(WAIT_S), 0)
        finally:
            if p.poll() is None:
                p.kill()
                p.wait()


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [int(n) for n in f.read().split()]


def name_of(pid):
    with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
        return f.read().strip()


def wait_asleep(pid):
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        with open(f"/proc/{pid}/status", encoding="utf-8") as f:
            text = f.read()
        if re.search(r"^Name:\s*pause$", text, re.M) and re.search(r"^State:\s*S", text, re.M):
            return
        time.sleep(0.005)
    raise AssertionError("does not wait for signals")


class CommandTest(unittest.TestCase):
    def test_help(self):
        code, out, _ = run("--help")
        self.assertEqual(code, 0)
        names = re.findall(r"^  (\S+) ", out, re.M)
        self.assertEqual(names, sorted(names))
        for name in names:
            if name in ("entrypoint-tester", "curl", "dig", "getent", "nc"):
                continue
            code, out, err = run(name, "--help")
            self.assertEqual((code, err), (0, ""), name)
            self.assertIn("usage: " + name, out)

    def test_bad_use(self):
        cases = [
            (["no-such-command"], 2, "no command"),
            (["netexec", "--no-such-flag"], 2, "unknown flag"),
            (["netexec", "--http-port"], 2, "needs a value"),
            (["netexec", "--http-port", "x"], 2, "bad value"),
            (["netexec", "--http-port", "70000", "--udp-port=-1"], 1, "no port"),
            (["netexec", "--http-port", "0", "--tls-cert-file", "x"], 1, "netexec: "),
            (["serve", "--drain", "5 parsecs"], 2, "bad value"),
            (["logs-generator"], 2, "needs"),
            (["connect", "nowhere"], 1, "UNKNOWN"),
        ]
        for args, code, text in cases:
            with self.subTest(args=args):
                got = run(*args)
                self.assertEqual(got[0], code, got)
                self.assertIn(text, got[2])

    def test_port_in_use(self):
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::", 0))
            s.listen()
            code, _, err = run("serve", "--port", str(s.getsockname()[1]))
        self.assertEqual(code, 1)
        self.assertIn("in use", err)

    def test_pause(self):
        p = subprocess.Popen([SERVER, "pause"], stdout=subprocess.PIPE, text=True)
        self.assertEqual(p.stdout.readline(), "Paused\n")
        p.terminate()
        self.assertEqual(p.wait(WAIT_S), 0)
        p.stdout.close()

    def test_entrypoint_tester(self):
        with tempfile.TemporaryDirectory() as folder:
            link = os.path.join(folder, "agnhost-2")
            os.symlink(os.path.abspath(SERVER), link)
            out = subprocess.run([link, "entrypoint-tester", "a", "-b", "c d"], capture_output=True, text=True).stdout
        self.assertEqual(out, f"[{link} entrypoint-tester a -b c d]\n")

    def test_called_by_name(self):
        with tempfile.TemporaryDirectory() as folder:
            link = os.path.join(folder, "etc-hosts")
            os.symlink(os.path.abspath(SERVER), link)
            out = subprocess.run([link], capture_output=True, text=True).stdout
        with open("/etc/hosts", encoding="utf-8") as f:
            self.assertEqual(out, f.read())

    def test_resolv_conf(self):
        text = "# comment\ndomain old.example\nnameserver 1.1.1.1\nsearch\ta.local  b.local\nnameserver fd00::10\noptions ndots:5\n"
        with tempfile.NamedTemporaryFile("w") as f:
            f.write(text)
            f.flush()
            self.assertEqual(run("dns-suffix", "--file", f.name)[1], "a.local,b.local\n")
            self.assertEqual(run("dns-server-list", "--file", f.name)[1], "1.1.1.1,fd00::10\n")

    def test_logs_generator(self):
        start = time.monotonic()
        code, out, _ = run("logs-generator", "-t", "20", "--run-duration", "300ms")
        self.assertEqual(code, 0)
        self.assertGreaterEqual(time.monotonic() - start, 0.25)
        ids = [re.match(r"^I\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ \S+\] (\d+) (GET|POST|PUT) /api/v1/namespaces/\S+/pods/\S+ \d{3}$", line)
               for line in out.splitlines()]
        self.assertEqual([int(m.group(1)) for m in ids], list(range(20)))

    def test_connect(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            open_port = s.getsockname()[1]
            self.assertEqual(run("connect", "--timeout=2s", f"127.0.0.1:{open_port}")[0], 0)
        code, _, err = run("connect", "--timeout", "2s", f"127.0.0.1:{open_port}")
        self.assertEqual((code, err[:7]), (1, "REFUSED"))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            code, _, err = run("connect", "--protocol=udp", "--timeout=100ms", f"127.0.0.1:{silent.getsockname()[1]}")
        self.assertEqual((code, err[:7]), (1, "TIMEOUT"))


class MounttestTest(unittest.TestCase):
    def test_files(self):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            os.chmod(folder, 0o1777)
            path = os.path.join(folder, "f")
            code, out, _ = run("mounttest", "--fs_type=" + folder, "--new_file_0660=" + path, "--file_mode", path,
                               "--file_perm=" + folder, "--file_owner=" + path)
            self.assertEqual(code, 0, out)
            self.assertEqual(out.splitlines(), [
                f'mount type of "{folder}": tmpfs',
                f'content of file "{path}": mount-tester new file',
                "",
                f'mode of file "{path}": -rw-rw----',
                f'perms of file "{folder}": -rwxrwxrwx',
                f'owner UID of "{path}": {os.geteuid()}',
                f'owner GID of "{path}": {os.getegid()}',
            ])
            self.assertEqual(run("mounttest", "--file_mode=" + folder)[1], f'mode of file "{folder}": dtrwxrwxrwx\n')

    def test_missing(self):
        code, out, _ = run("mounttest", "--file_content=/no/such", "--file_owner=/no/such")
        self.assertEqual(code, 1)
        self.assertEqual(len(out.splitlines()), 2)
        self.assertIn("No such file or directory", out)

    def test_loop(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "late")
            p = subprocess.Popen([SERVER, "mounttest", "--file_content_in_loop=" + path, "--retry_time=10"],
                                 stdout=subprocess.PIPE, text=True)
            self.assertIn("Error reading file", p.stdout.readline())
            with open(path, "w", encoding="ascii") as f:
                f.write("mount-tester new file\n")
            self.assertEqual(p.wait(WAIT_S), 0)
            self.assertIn("mount-tester new file", p.stdout.read())
            p.stdout.close()


class NetexecTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.uploads = tempfile.TemporaryDirectory()
        cls.server = Server("netexec", "--http-port", "0", "--udp-port", "0", "--upload-dir", cls.uploads.name, ports=2)

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()
        cls.uploads.cleanup()

    def test_endpoints(self):
        host = socket.gethostname()
        cases = [
            ("/", 200, r"^NOW: \d{4}-"),
            ("/anything", 200, r"^NOW: "),
            ("/hostname", 200, f"^{re.escape(host)}$"),
            ("/hostName", 200, f"^{re.escape(host)}$"),
            ("/clientip", 200, r"^127\.0\.0\.1:\d+$"),
            ("/serverport", 200, f"^{self.server.ports[0]}$"),
            ("/echo?msg=a%20b+c", 200, "^a b c$"),
            ("/echo?msg=x&code=503", 503, "^x$"),
            ("/echo?msg=x&code=no", 200, "argument 'code'"),
            ("/healthz", 200, "^$"),
            ("/header?key=X-Test", 200, "^$"),
            ("/shell?cmd=echo%20out", 200, r'^\{"output":"out\\n"\}$'),
            ("/shell?shellCommand=echo+no+%3E%262%3B+exit+3", 417, r'^\{"error":"exit status 3","output":"no\\n"\}$'),
            ("/shell?cmd=kill+-9+$$", 417, '"error":"signal: Killed"'),
            ("/redirect?location=/echo%3Fmsg=foobar&code=307", 307, "foobar"),
            ("/redirect?location=/x%0d%0aSet-Cookie:1", 400, "one line"),
            ("/exit?code=300", 200, "argument 'code'"),
            ("/exit?wait=soon", 200, "durations"),
            ("/dial?host=127.0.0.1&port=1&tries=x&request=y", 400, "tries"),
            ("/dial?host=127.0.0.1&port=1", 400, "request parameter not specified"),
            ("/dial?host=127.0.0.1&port=0&request=x", 400, "host and/or port"),
            ("/dial?host=127.0.0.1&port=1&request=x&protocol=pigeon", 400, "unsupported protocol"),
        ]
        for path, status, body in cases:
            with self.subTest(path=path):
                got = self.server.get(path)
                self.assertEqual(got[0], status, got[1])
                self.assertRegex(got[1], body)

    def test_logged(self):
        self.server.get("/echo?msg=prestop")
        self.assertTrue(self.server.logged("GET /echo?msg=prestop"))

    def test_header(self):
        _, body, _ = self.server.get("/header?key=x-test", headers={"X-Test": "yes"})
        self.assertEqual(body, "yes")
        _, body, _ = self.server.get("/header", headers={"x-TEST": 'q"'})
        self.assertEqual(json.loads(body)["X-Test"], ['q"'])

    def test_post_form(self):
        _, body, _ = self.server.get("/echo", data=b"msg=from+form",
                                     headers={"Content-Type": "application/x-www-form-urlencoded"})
        self.assertEqual(body, "from form")

    def test_dial(self):
        http, udp = self.server.ports
        host = socket.gethostname()
        cases = [
            (f"host=127.0.0.1&port={http}&request=hostname&tries=3", 200, {"responses": [host] * 3}),
            (f"host=localhost&port={http}&request=echo%3Fmsg%3Dhi&protocol=http", 200, {"responses": ["hi"]}),
            (f"host=127.0.0.1&port={udp}&request=hostname&protocol=UDP", 200, {"responses": [host]}),
            (f"host=127.0.0.1&port={udp}&request=echo%20Hi&protocol=udp", 200, {"responses": ["Hi"]}),
        ]
        for query, status, want in cases:
            with self.subTest(query=query):
                got = self.server.get("/dial?" + query)
                self.assertEqual((got[0], json.loads(got[1])), (status, want))
        got = self.server.get("/dial?host=127.0.0.1&port=1&request=x&tries=2")
        self.assertEqual(got[0], 417)
        self.assertEqual(len(json.loads(got[1])["errors"]), 2)
        self.assertIn("refused", got[1])

    def test_udp(self):
        port = self.server.ports[1]
        self.assertEqual(self.server.udp(b"hostName\n", port)[0].decode(), socket.gethostname())
        self.assertEqual(self.server.udp(b"echo some text", port)[0], b"some text")
        got, me = self.server.udp(b"clientip", port)
        self.assertEqual(got.decode(), f"{me[0]}:{me[1]}")

    def test_upload(self):
        body = (b"--XX\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\nno\r\n"
                b"--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n"
                b"#!/bin/sh\necho\r\n--YY\r\n--XX--\r\n")
        status, text, _ = self.server.get("/upload", data=body,
                                          headers={"Content-Type": "multipart/form-data; boundary=XX"})
        self.assertEqual(status, 201, text)
        path = json.loads(text)["output"]
        with open(path, "rb") as f:
            self.assertEqual(f.read(), b"#!/bin/sh\necho\r\n--YY")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o700)
        self.assertEqual(json.loads(self.server.get("/upload", data=b"x")[1]), {"error": "Unable to upload file."})

    def test_bad_requests(self):
        cases = [
            (b"GET\r\n\r\n", b" 400 "),
            (b"GET / HTTP/2.0\r\n\r\n", b" 400 "),
            (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", b" 400 "),
            (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b" 400 "),
            (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b" 400 "),
            (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b" 400 "),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b" 400 "),
            (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b" 413 "),
            (b"GET / HTTP/1.1\r\nA: " + b"x" * 70000 + b"\r\n\r\n", b" 431 "),
            (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 150 + b"\r\n", b" 4"),
            (b"POST /echo?msg=ok HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b" 200 OK"),
            (b"GET /echo?msg=1 HTTP/1.1\r\n\r\n\r\nGET /echo?msg=2 HTTP/1.0\r\n\r\n", b"Content-Length: 1\r\n\r\n1HTTP/1.1 200"),
            (b"", b""),
            (b"GET / HT", b""),
        ]
        for data, want in cases:
            with self.subTest(data=data[:60]):
                self.assertIn(want, self.server.raw(data))
        self.assertEqual(self.server.get("/healthz")[0], 200)

    def test_many_connections(self):
        # More than are answered at once: the rest waits in the kernel's queue and is answered later.
        idle = [socket.create_connection(("127.0.0.1", self.server.ports[0])) for _ in range(200)]
        self.assertEqual(self.server.get("/hostname")[0], 200)
        for s in idle:
            s.close()

    def test_override(self):
        with Server("netexec", "--http-port=0", "--udp-port=-1", "--http-override=/echo?msg=fixed&code=418") as s:
            self.assertEqual(s.get("/shutdown")[:2], (418, "fixed"))
            self.assertEqual(s.get("/", data=b"msg=no", headers={"Content-Type": "application/x-www-form-urlencoded"})[1], "fixed")

    def test_healthz_without_udp(self):
        with Server("netexec", "--http-port=0", "--udp-port=-1") as s:
            self.assertEqual(s.get("/healthz")[0], 412)

    def test_exit(self):
        for path, code in (("/shutdown", 0), ("/exit?code=42", 42), ("/exit?code=7&timeout=2s&wait=10ms", 7)):
            with self.subTest(path=path), Server("netexec", "--http-port=0", "--udp-port=-1") as s:
                with contextlib.suppress(OSError):
                    s.get(path)
                self.assertEqual(s.process.wait(WAIT_S), code)

    def test_term(self):
        with Server("netexec", "--http-port=0", "--udp-port=-1") as s:
            s.process.terminate()
            self.assertEqual(s.process.wait(WAIT_S), 0)


class ServeTest(unittest.TestCase):
    def test_version(self):
        with Server("serve", "--port=0", env={"VERSION": "v7"}) as s:
            self.assertEqual(s.get("/")[1], f"hello from {socket.gethostname()} version v7\n")
        with Server("serve", "--port=0", "--text=plain words") as s:
            self.assertEqual(s.get("/any?x")[1], "plain words\n")

    def test_drain(self):
        with Server("serve", "--port=0", "--drain=400ms") as s:
            kept = socket.create_connection(("127.0.0.1", s.ports[0]), timeout=WAIT_S)
            half = socket.create_connection(("127.0.0.1", s.ports[0]), timeout=WAIT_S)
            kept.sendall(b"GET / HTTP/1.1\r\n\r\n")
            self.assertNotIn(b"Connection: close", kept.recv(65536))
            half.sendall(b"GET / HTTP/1.1\r\nHost:")
            s.process.terminate()
            self.assertTrue(s.logged("draining"))
            # New connections are still answered, and asked to go.
            self.assertEqual(s.get("/")[2]["Connection"], "close")
            kept.sendall(b"GET / HTTP/1.1\r\n\r\n")
            self.assertIn(b"Connection: close", kept.recv(65536))
            # A request that has begun is finished after the listener is gone.
            with self.assertRaises(subprocess.TimeoutExpired):
                s.process.wait(0.7)
            half.sendall(b" x\r\n\r\n")
            self.assertIn(b"200 OK", half.recv(65536))
            self.assertEqual(s.process.wait(WAIT_S), 0)
            kept.close()
            half.close()

    def test_no_request_is_lost(self):
        with Server("serve", "--port=0", "--drain=300ms") as s:
            failed, done, stop = [], [], threading.Event()

            def ask():
                while not stop.is_set():
                    try:
                        done.append(s.get("/")[0])
                    except OSError as e:
                        if not stop.is_set():
                            failed.append(e)

            threads = [threading.Thread(target=ask) for _ in range(4)]
            for t in threads:
                t.start()
            time.sleep(0.1)
            s.process.terminate()
            time.sleep(0.2)
            stop.set()
            for t in threads:
                t.join()
            self.assertEqual(failed, [])
            self.assertGreater(len(done), 10)
            self.assertEqual(s.process.wait(WAIT_S), 0)


class OtherServersTest(unittest.TestCase):
    def test_serve_hostname(self):
        host = socket.gethostname()
        with Server("serve-hostname", "--port=0", "--close") as s:
            status, body, headers = s.get("/")
            self.assertEqual((status, body, headers["Connection"]), (200, host, "close"))
        with Server("serve-hostname", "--http=false", "--udp", "--port=0", "--drain=0") as s:
            self.assertEqual(s.udp(b"x", s.ports[0])[0].decode(), host)
            s.process.terminate()
            self.assertEqual(s.process.wait(WAIT_S), 0)
        self.assertEqual(run("serve-hostname", "--tcp")[0], 2)

    def test_serve_hostname_tcp(self):
        port = free_port()
        p = subprocess.Popen([SERVER, "serve-hostname", "--http=false", "--tcp", f"--port={port}"], stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + WAIT_S
            got = b""
            while not got and time.monotonic() < end:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as s:
                    got = s.recv(100)
            self.assertEqual(got.decode(), socket.gethostname())
        finally:
            p.kill()
            p.wait()

    def test_porter(self):
        web, plain, udp = free_port(), free_port(), free_port()
        env = {f"SERVE_PORT_{web}": '<a href="/rewriteme">test</a>', f"SERVE_TCP_PORT_{plain}": "foo", f"SERVE_UDP_PORT_{udp}": "bar",
               "SERVE_PORT_x": "bad"}
        with Server("porter", env=env, ports=3) as s:
            status, body, headers = s.get("/anything", web)
            self.assertEqual((status, body), (200, '<a href="/rewriteme">test</a>'))
            self.assertIn("text/html", headers["Content-Type"])
            status, body, headers = s.get("/", plain)
            self.assertEqual((body, headers["Content-Type"]), ("foo", "text/plain; charset=utf-8"))
            self.assertEqual(s.udp(b"?", udp)[0], b"bar")
            self.assertTrue(s.logged("no port in SERVE_PORT_x"))
        with Server("porter", "--json-response", env={f"SERVE_PORT_{web}": "foo"}) as s:
            _, body, headers = s.get("/", web, method="PATCH", data=b"{}")
            self.assertEqual(json.loads(body), {"Method": "PATCH", "Body": "foo"})
            self.assertEqual(headers["Content-Type"], "application/json")

    def test_liveness(self):
        with Server("liveness", "--port=0", "--well-for=300ms") as s:
            self.assertEqual(s.get("/healthz")[:2], (200, "ok"))
            self.assertRegex(s.get("/started")[1], r"^\d+\.\d+s$")
            self.assertEqual(s.get("/redirect?loc=%2Fhealthz")[2]["Location"], "/healthz")
            time.sleep(0.35)
            status, body, _ = s.get("/healthz")
            self.assertEqual((status, body[:7]), (500, "error: "))

    def test_nettest(self):
        with Server("nettest", "--port=0", "--peers=2") as s:
            for source in ("a", "b\\u00e9"):
                self.assertEqual(s.get("/status")[1], "running")
                status, body, _ = s.get("/write", data=f'{{"Dest": [1,{{"x":"}}"}}], "Source": "{source}"}}'.encode())
                self.assertEqual((status, json.loads(body)), (200, {"Hostname": socket.gethostname()}))
            s.get("/write", data=b'{"Source": "a"}')
            s.get("/write", data=b"{nonsense")
            state = json.loads(s.get("/read")[1])
            self.assertEqual(state["Received"], {"a": 2, "b\u00e9": 1})
            self.assertEqual(state["Errors"], 1)
            self.assertEqual(s.get("/status")[1], "pass")
            with contextlib.suppress(OSError):
                s.get("/quit")
            self.assertEqual(s.process.wait(WAIT_S), 0)

    def test_webserver(self):
        with tempfile.TemporaryDirectory() as folder:
            root = os.path.join(folder, "root")
            os.makedirs(root + "/sub/deep")
            os.mkfifo(root + "/pipe")
            for name, text in (("root/index.html", "<h1>it</h1>"), ("root/sub/data.json", "{}"), ("root/a b<c", "odd"), ("secret", "no")):
                with open(os.path.join(folder, name), "w", encoding="ascii") as f:
                    f.write(text)
            with open(root + "/large", "wb") as f:
                f.truncate(20 * 1024 * 1024)
            with Server("test-webserver", "--port=0", "--root", root) as s:
                cases = [
                    ("/", 200, "^<h1>it</h1>$", "text/html"),
                    ("/index.html", 200, "^<h1>it</h1>$", "text/html"),
                    ("/sub/data.json", 200, "^{}$", "application/json"),
                    ("/sub", 301, "/sub/", "text/html"),
                    ("/sub/", 200, r'href="deep/"', "text/html"),
                    ("/a%20b%3Cc", 200, "^odd$", "text/plain"),
                    ("/../secret", 404, "not found", "text/plain"),
                    ("/sub/../../secret", 404, "not found", "text/plain"),
                    ("/%2e%2e/secret", 404, "not found", "text/plain"),
                    ("/pipe", 403, "regular", "text/plain"),
                    ("/x%00", 400, "bad path", "text/plain"),
                ]
                for path, status, body, kind in cases:
                    with self.subTest(path=path):
                        got = s.get(path)
                        self.assertEqual(got[0], status)
                        self.assertRegex(got[1], body)
                        self.assertIn(kind, got[2]["Content-Type"])
                self.assertEqual(s.get("/", method="POST", data=b"")[0], 405)
                self.assertEqual(len(s.get("/large")[1]), 20 * 1024 * 1024)
                status, body, headers = s.get("/large", method="HEAD")
                self.assertEqual((status, body, headers["Content-Length"]), (200, "", str(20 * 1024 * 1024)))
                self.assertEqual(headers["Access-Control-Allow-Origin"], "*")

    def test_guestbook(self):
        port = free_port()
        # The copy talks to the primary's port, and the primary to the same port of the copy: two addresses of loopback.
        with Server("guestbook", f"--http-port={port}", f"--backend-port={port}") as s:
            cases = [
                ("/get?key=messages", 200, {"data": ""}),
                ("/set?key=messages&value=Test%20Entry%22", 200, {"message": "Updated"}),
                ("/get?key=messages", 200, {"data": 'Test Entry"'}),
                ("/get", 200, {"data": {"messages": 'Test Entry"'}}),
                ("/register?host=127.0.0.1", 200, {"data": {"messages": 'Test Entry"'}}),
            ]
            for path, status, want in cases:
                with self.subTest(path=path):
                    got = s.get(path)
                    self.assertEqual((got[0], json.loads(got[1])), (status, want))
            for path in ("/set?value=x", "/guestbook?cmd=fly", "/guestbook?cmd=set"):
                self.assertEqual(s.get(path)[0], 400)

    def test_guestbook_copy(self):
        primary = free_port()
        with Server("guestbook", f"--http-port={primary}", f"--backend-port={free_port()}") as s:
            s.get("/set?key=k&value=v", primary)
            copy = Server("guestbook", "--http-port=0", f"--backend-port={primary}", "--replicaof=127.0.0.1")
            with copy:
                self.assertTrue(copy.logged("registered to node"))
                self.assertEqual(json.loads(copy.get("/get?key=k")[1]), {"data": "v"})


# A client's first bytes, and a call of grpc.health.v1.Health/Check; h2_test.c has a real client.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def grpc_check(port, service=b"", path=b"/grpc.health.v1.Health/Check"):
    message = b"\x0a" + bytes([len(service)]) + service if service else b""
    head = b"\x83\x86\x04" + bytes([len(path)]) + path
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as s:
        s.sendall(PREFACE + frame(1, 4, 1, head) + frame(0, 1, 1, b"\0" + len(message).to_bytes(4, "big") + message))
        data, got, status = b"", b"", None
        while status is None:
            more = s.recv(65536)
            if not more:
                raise AssertionError("connection closed")
            got += more
            while len(got) >= 9 and len(got) >= 9 + int.from_bytes(got[:3], "big"):
                size = int.from_bytes(got[:3], "big")
                kind, flags, payload, got = got[3], got[4], got[9:9 + size], got[9 + size:]
                if kind == 0:
                    data += payload
                if kind == 1 and flags & 1:
                    status = int(re.search(rb"grpc-status.(\d+)", payload, re.S).group(1))
        return status, data


class GrpcTest(unittest.TestCase):
    SERVING, NOT_SERVING = b"\0\0\0\0\2\x08\1", b"\0\0\0\0\2\x08\2"

    def test_health(self):
        with Server("grpc-health-checking", "--port=0", "--http-port=0", "--service=svc", ports=2) as s:
            http, grpc = s.ports
            self.assertEqual(grpc_check(grpc, b"svc"), (0, self.SERVING))
            self.assertEqual(grpc_check(grpc), (5, b""))
            self.assertEqual(grpc_check(grpc, b"svc", b"/grpc.health.v1.Health/Watch"), (12, b""))
            self.assertEqual(s.get("/make-not-serving", http)[0], 200)
            self.assertEqual(grpc_check(grpc, b"svc"), (0, self.NOT_SERVING))
            self.assertEqual(s.get("/make-serving", http)[0], 200)
            self.assertEqual(grpc_check(grpc, b"svc"), (0, self.SERVING))

    def test_delay(self):
        with Server("grpc-health-checking", "--port=0", "--http-port=0", "--delay-unhealthy-sec=0", ports=2) as s:
            self.assertEqual(grpc_check(s.ports[1]), (0, self.NOT_SERVING))


class CurlTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("netexec", "--http-port=0", "--udp-port=-1")
        cls.url = f"127.0.0.1:{cls.server.ports[0]}"

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def test_requests(self):
        url = self.url
        cases = [
            (["-g", "-q", "-s", f"http://{url}/echo?msg=hi"], 0, "hi"),
            (["-gqsS", "--max-time", "15", "--connect-timeout", "1", f"{url}/echo?msg=hi"], 0, "hi"),
            (["-s", f"http://localhost:{self.server.ports[0]}/echo?msg=a%20b#frag"], 0, "a b"),
            (["-s", "-o", "/dev/null", "-w", "%{http_code}\\n", f"{url}/echo?code=404"], 0, "404\n"),
            (["-sf", f"{url}/echo?code=404&msg=x"], 22, ""),
            (["-s", "-X", "PUT", "-H", "X-Test: v", f"{url}/header?key=x-test"], 0, "v"),
            (["-sd", "msg=posted", f"{url}/echo"], 0, "posted"),
            (["-s", f"{url}/redirect?location=/echo%3Fmsg=there"], 0, '<a href="/echo?msg=there">there</a>\n'),
            (["-sL", f"{url}/redirect?location=/echo%3Fmsg=there"], 0, "there"),
            (["-s", "http://127.0.0.1:1/"], 7, ""),
            (["-s", "-w", "%{http_code}", "http://127.0.0.1:1/"], 7, "000"),
            (["-s", "ftp://127.0.0.1/"], 1, ""),
            (["-s", "http://127.0.0.1:99999/"], 3, ""),
            (["-s", "http:///x"], 3, ""),
            (["-s"], 2, ""),
            (["--no-such", url], 2, ""),
        ]
        for args, code, out in cases:
            with self.subTest(args=args):
                self.assertEqual(run("curl", *args)[:2], (code, out))
        self.assertRegex(run("curl", "-sI", f"{url}/hostname")[1], r"^HTTP/1.1 200 OK\n")

    def test_timeout(self):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            code, _, err = run("curl", "-m", "0.2", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        self.assertEqual(code, 28)
        self.assertIn("in time", err)


class NcTest(unittest.TestCase):
    def nc(self, *words, text=""):
        done = subprocess.run([SERVER, "nc", *words], input=text, capture_output=True, text=True, timeout=WAIT_S)
        return done.returncode, done.stdout, done.stderr

    def test_udp_and_tcp(self):
        with Server("netexec", "--http-port=0", "--udp-port=0", ports=2) as s:
            http, udp = map(str, s.ports)
            self.assertEqual(self.nc("-w", "1", "-u", "127.0.0.1", udp, text="hostName\n")[:2], (0, socket.gethostname()))
            code, out, _ = self.nc("-N", "-w2", "127.0.0.1", http, text="GET /echo?msg=x HTTP/1.0\r\n\r\n")
            self.assertEqual((code, out[-1]), (0, "x"))
            code, _, err = self.nc("-vz", "-w", "2", "127.0.0.1", http)
            self.assertEqual(code, 0)
            self.assertIn("succeeded", err)
        self.assertEqual(self.nc("-z", "-w1", "127.0.0.1", http)[0], 1)
        self.assertEqual(self.nc("-y", "127.0.0.1", http)[0], 1)
        self.assertEqual(self.nc("127.0.0.1")[0], 1)

    def test_listen(self):
        with Server("nc", "-l", "-v", "0") as s:
            with socket.create_connection(("127.0.0.1", s.ports[0])) as c:
                c.sendall(b"over")
            self.assertEqual(s.process.wait(WAIT_S), 0)
            self.assertEqual(s.process.stdout.read(), "over")


    def test_term(self):
        with Server("nc", "-l", "-v", "0") as s:
            s.process.terminate()
            self.assertEqual(s.process.wait(WAIT_S), 128 + signal.SIGTERM)


class PortForwardTest(unittest.TestCase):
    def test_chunks(self):
        port = free_port()
        env = {"BIND_PORT": str(port), "BIND_ADDRESS": "127.0.0.1", "EXPECTED_CLIENT_DATA": "abc", "CHUNKS": "3", "CHUNK_SIZE": "10", "CHUNK_INTERVAL": "1"}
        for data, want in ((b"abc", "Done"), (b"abx", "Expected to read 3 bytes")):
            p = subprocess.Popen([SERVER, "port-forward-tester"], stdout=subprocess.PIPE, text=True, env=env)
            wait_listening(port)
            with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as c:
                c.sendall(data)
                c.shutdown(socket.SHUT_WR)
                got = b"".join(iter(lambda: c.recv(100), b""))
            self.assertEqual(got, b"x" * 30 if want == "Done" else b"")
            self.assertEqual(p.wait(WAIT_S), 0 if want == "Done" else 1)
            self.assertIn(want, p.stdout.read().splitlines()[-1])
            p.stdout.close()


def wait_listening(port):
    """Waits without connecting."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        with open("/proc/net/tcp", encoding="ascii") as f:
            if re.search(rf":{port:04X} \S+ 0A ", f.read()):
                return
        time.sleep(0.01)
    raise AssertionError(f"nothing listens on {port}")


class TlsTest(unittest.TestCase):
    """The build with TLS, in what the other lacks."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.cert, cls.key = cls.folder.name + "/ca.crt", cls.folder.name + "/key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-subj", "/CN=x", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", cls.key, "-out", cls.cert],
                       check=True, capture_output=True)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def curl(self, *args):
        done = subprocess.run([TLS_SERVER, "curl", *args], capture_output=True, text=True, timeout=WAIT_S)
        return done.returncode, done.stdout

    def test_netexec(self):
        with Server("netexec", "--http-port=0", "--udp-port=-1", "--tls-cert-file", self.cert, "--tls-private-key-file", self.key,
                    program=TLS_SERVER) as s:
            port = s.ports[0]
            url = f"https://127.0.0.1:{port}/echo?msg=hi"
            self.assertEqual(self.curl("-s", "--cacert", self.cert, url), (0, "hi"))
            self.assertEqual(self.curl("-s", "--cacert", self.cert, url.replace("127.0.0.1", "localhost")), (0, "hi"))
            self.assertEqual(self.curl("-sk", url), (0, "hi"))
            self.assertEqual(self.curl("-s", url)[0], 60)
            self.assertEqual(self.curl("-s", "--cacert", self.cert, url.replace("127.0.0.1", "127.0.0.2"))[0], 60)
            self.assertNotIn(b" 200 ", s.raw(b"GET / HTTP/1.1\r\n\r\n"))
            context = ssl.create_default_context(cafile=self.cert)
            with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as plain, \
                    context.wrap_socket(plain, server_hostname="localhost") as c:
                body = b"msg=" + b"x" * 100000
                for _ in range(3):  # one connection, bodies of many records
                    c.sendall(b"POST /echo HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                    got = b""
                    while len(got) < 100000 or not got.endswith(b"x" * 100000):
                        got += c.recv(65536)
                    self.assertIn(b" 200 OK", got)

    def test_own_certificate(self):
        with Server("netexec", "--http-port=0", "--udp-port=-1", "--tls-cert-file=/no/localhost.crt", "--tls-private-key-file=/no/localhost.key",
                    program=TLS_SERVER) as s:
            pem = ssl.get_server_certificate(("127.0.0.1", s.ports[0]))
            own = self.folder.name + "/own.crt"
            with open(own, "w", encoding="ascii") as f:
                f.write(pem)
            self.assertEqual(self.curl("-s", "--cacert", own, f"https://localhost:{s.ports[0]}/echo?msg=own"), (0, "own"))
        done = subprocess.run([TLS_SERVER, "netexec", "--http-port=0", "--udp-port=-1", "--tls-cert-file=/no/such.crt"],
                              capture_output=True, text=True, timeout=WAIT_S)
        self.assertEqual(done.returncode, 1)
        self.assertIn("read /no/such.crt: No such file", done.stderr)

    def test_porter(self):
        port = free_port()
        with Server("porter", env={f"SERVE_TLS_PORT_{port}": "secret"}, program=TLS_SERVER):
            self.assertEqual(self.curl("-sk", f"https://127.0.0.1:{port}/"), (0, "secret"))

    def test_inclusterclient(self):
        seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                seen.append((self.path, self.headers["Authorization"]))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *unused):
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with open(self.folder.name + "/token", "w", encoding="ascii") as f:
            f.write("abc\n")
        env = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.server_address[1])}
        with Server("inclusterclient", "--poll-interval=1", "--account-dir", self.folder.name, env=env, ports=0, program=TLS_SERVER) as s:
            self.assertTrue(s.logged("calling /healthz"))
            end = time.monotonic() + WAIT_S
            while not seen and time.monotonic() < end:
                time.sleep(0.01)
            self.assertEqual(seen[0], ("/healthz", "Bearer abc"))
            digest = base64.urlsafe_b64encode(hashlib.sha256(b"salt|Bearer abc").digest()).decode().rstrip("=")
            self.assertTrue(s.logged("authz_header=" + digest))
            self.assertFalse(any("failed" in line for line in s.log))
        server.shutdown()
        server.server_close()


class DnsServer:
    """Answers A, SRV, PTR and TXT for a few names, over UDP and TCP, on one port."""

    NAMES = {
        ("svc.ns.svc.cluster.local", 1): [bytes([10, 96, 0, 7])],
        ("two.example", 1): [bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])],
        ("_http._tcp.svc.ns.svc.cluster.local", 33): [b"\0\0\0\x64\0\x50\3pod\xc0\x0c"],
        ("7.0.96.10.in-addr.arpa", 12): [b"\3svc\2ns\3svc\7cluster\5local\0"],
        ("t.example", 16): [b"\5hello\3w\"d"],
        ("large.example", 1): [bytes([10, 0, 0, n]) for n in range(1, 60)],
    }

    def __init__(self):
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.port = self.udp.getsockname()[1]
        self.tcp = socket.create_server(("127.0.0.1", self.port))
        self.asked = []
        for target in (self.serve_udp, self.serve_tcp):
            threading.Thread(target=target, daemon=True).start()

    def answer(self, query, over_udp):
        at, labels = 12, []
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        kind = int.from_bytes(query[at + 1:at + 3], "big")
        name = ".".join(labels)
        self.asked.append(name)
        found = self.NAMES.get((name, kind), [])
        exists = any(n == name for n, _ in self.NAMES)
        flags = 0x8180 | (0 if exists else 3)
        if over_udp and len(found) > 20:
            flags, found = flags | 0x0200, []
        records = b"".join(b"\xc0\x0c" + kind.to_bytes(2, "big") + b"\0\1\0\0\0\x1e" + len(d).to_bytes(2, "big") + d for d in found)
        return query[:2] + flags.to_bytes(2, "big") + b"\0\1" + len(found).to_bytes(2, "big") + b"\0\0\0\0" + query[12:at + 5] + records

    def serve_udp(self):
        with contextlib.suppress(OSError):
            while True:
                query, peer = self.udp.recvfrom(4096)
                self.udp.sendto(b"late answer of another query", peer)
                self.udp.sendto(self.answer(query, True), peer)

    def serve_tcp(self):
        with contextlib.suppress(OSError):
            while True:
                c, _ = self.tcp.accept()
                with c:
                    size = int.from_bytes(c.recv(2, socket.MSG_WAITALL), "big")
                    answer = self.answer(c.recv(size, socket.MSG_WAITALL), False)
                    c.sendall(len(answer).to_bytes(2, "big") + answer[:5])
                    c.sendall(answer[5:])

    def close(self):
        self.udp.close()
        self.tcp.close()


class DigTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = DnsServer()
        cls.conf = tempfile.NamedTemporaryFile("w")
        cls.conf.write("nameserver 127.0.0.1\nsearch ns.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n")
        cls.conf.flush()

    @classmethod
    def tearDownClass(cls):
        cls.server.close()
        cls.conf.close()

    def dig(self, *words):
        return run("dig", "--resolv-conf", self.conf.name, "-p", str(self.server.port), *words)[:2]

    def test_questions(self):
        svc = "svc.ns.svc.cluster.local"
        cases = [
            (["+notcp", "+noall", "+answer", "+search", svc, "A"], 0, f"{svc}.\t30\tIN\tA\t10.96.0.7\n"),
            (["+tcp", "+noall", "+answer", "+search", "svc", "A"], 0, f"{svc}.\t30\tIN\tA\t10.96.0.7\n"),
            (["+noall", "+answer", "+search", "svc.ns.svc", "A"], 0, f"{svc}.\t30\tIN\tA\t10.96.0.7\n"),
            (["+noall", "+answer", "svc", "A"], 0, ""),
            (["+short", "two.example"], 0, "10.0.0.1\n10.0.0.2\n"),
            (["+short", "SRV", "_http._tcp." + svc], 0, None),
            (["+short", "_http._tcp." + svc, "SRV"], 0, f"0 100 80 pod._http._tcp.{svc}.\n"),
            (["+noall", "+answer", "-x", "10.96.0.7"], 0, f"7.0.96.10.in-addr.arpa.\t30\tIN\tPTR\t{svc}.\n"),
            (["+short", "t.example", "TXT"], 0, '"hello" "w\\"d"\n'),
            (["nothing.example"], 0, ";; status: NXDOMAIN, answers: 0\n"),
            (["+short", "large.example"], 0, "".join(f"10.0.0.{n}\n" for n in range(1, 60))),
            (["-x", "nonsense"], 1, ""),
            (["+nosuchthing", "a"], 1, ""),
            (["a..b"], 9, None),
            ([], 1, ""),
        ]
        for words, code, out in cases:
            with self.subTest(words=words):
                got = self.dig(*words)
                self.assertEqual(got[0], code)
                if out is not None:
                    self.assertEqual(got[1], out)

    def test_no_server(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            code, out, _ = run("dig", "@127.0.0.1", "-p", str(silent.getsockname()[1]), "+time=1", "+tries=1", "a.example")
        self.assertEqual(code, 9)
        self.assertIn("timed out", out)

    def test_getent(self):
        self.assertRegex(run("getent", "ahostsv4", "localhost")[1], r"^127\.0\.0\.1 +localhost\n")
        self.assertEqual(run("getent", "hosts", "127.0.0.1")[1].split(), ["127.0.0.1", "127.0.0.1"])
        self.assertEqual(run("getent", "passwd", "root")[0], 1)


class ArchiveTest(unittest.TestCase):
    def archives(self):
        return sorted(f for f in os.listdir(IMAGES) if f.endswith(".tar"))

    def test_docker_archives(self):
        names = self.archives()
        for need in ("pause.tar", "hello-v1.tar", "hello-v2.tar", "agnhost.tar", "busybox.tar", "nonewprivs.tar"):
            self.assertIn(need, names)
        for name in names:
            with self.subTest(name=name), tarfile.open(os.path.join(IMAGES, name)) as archive:
                members = archive.getnames()
                self.assertEqual(members, sorted(members))
                manifest, = json.load(archive.extractfile("manifest.json"))
                raw = archive.extractfile(manifest["Config"]).read()
                self.assertEqual(manifest["Config"], hashlib.sha256(raw).hexdigest() + ".json")
                config = json.loads(raw)
                self.assertEqual(config["os"], "linux")
                self.assertIn(config["architecture"], ("amd64", "arm64"))
                self.assertTrue(all(re.match(r"^[a-z0-9.:]+(/[a-z0-9-]+)+:[\w.-]+$", t) for t in manifest["RepoTags"]))
                self.assertEqual(len(manifest["Layers"]), len(config["rootfs"]["diff_ids"]))
                self.assertEqual(len(config["history"]), len(manifest["Layers"]))
                for layer, diff_id in zip(manifest["Layers"], config["rootfs"]["diff_ids"]):
                    data = archive.extractfile(layer).read()
                    self.assertEqual("sha256:" + hashlib.sha256(data).hexdigest(), diff_id)
                    with tarfile.open(fileobj=io.BytesIO(data)) as t:
                        for m in t.getmembers():
                            self.assertEqual((m.mtime, m.uid, m.gid), (0, 0, 0), m.name)
                            self.assertFalse(m.name.startswith("/") or ".." in m.name.split("/"))

    def layers(self, name):
        with tarfile.open(os.path.join(IMAGES, name)) as archive:
            manifest, = json.load(archive.extractfile("manifest.json"))
            config = json.load(archive.extractfile(manifest["Config"]))
            return config, [tarfile.open(fileobj=io.BytesIO(archive.extractfile(n).read())) for n in manifest["Layers"]]

    def test_configs(self):
        config, _ = self.layers("pause.tar")
        self.assertEqual(config["config"]["Entrypoint"], ["/pause"])
        self.assertEqual(config["config"]["User"], "65535:65535")
        config, _ = self.layers("hello-v2.tar")
        self.assertIn("VERSION=v2", config["config"]["Env"])
        self.assertEqual(config["config"]["ExposedPorts"], {"8083/tcp": {}})
        config, _ = self.layers("agnhost.tar")
        self.assertEqual((config["config"]["Entrypoint"], config["config"]["Cmd"]), (["/agnhost"], ["pause"]))
        config, _ = self.layers("busybox.tar")
        self.assertEqual(config["config"]["Cmd"], ["sh"])
        self.assertNotIn("Entrypoint", config["config"])

    def test_members(self):
        _, (layer,) = self.layers("nonewprivs.tar")
        self.assertEqual(layer.getmember("nnp").mode, 0o4755)
        _, (base, top) = self.layers("agnhost.tar")
        self.assertEqual(base.getmember("tmp").mode, 0o1777)
        self.assertEqual(base.getmember("bin/sh").linkname, "/bin/busybox")
        self.assertTrue(top.getmember("agnhost-2").islnk())
        self.assertIn(b"root:x:0:0:", base.extractfile("etc/passwd").read())
        # The user land is one layer, shared by all that have it.
        busybox, _ = self.layers("busybox.tar")
        agnhost, _ = self.layers("agnhost.tar")
        self.assertEqual(busybox["rootfs"]["diff_ids"], agnhost["rootfs"]["diff_ids"][:1])

    def test_same_bytes_again(self):
        top = os.path.join(os.path.dirname(__file__), "..", "..")
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "hello.tar")
            subprocess.run(["images/pack", "-D", "REPO=coracle.local", "-D", "VERSION=v1", "images/hello.image", out],
                           cwd=top, check=True, timeout=60)
            with open(out, "rb") as a, open(os.path.join(IMAGES, "hello-v1.tar"), "rb") as b:
                self.assertEqual(hashlib.sha256(a.read()).digest(), hashlib.sha256(b.read()).digest())
            self.assertEqual(os.listdir(folder), ["hello.tar"])

    def test_pack_refuses(self):
        cases = [
            ("tag a.b/c:1\nentrypoint /x\n", "is empty"),
            ("dir 0755 /x\n", "no tag"),
            ("tag a.b/c:1\nfly away\n", "bad line"),
            ("tag a.b/c:1\ndir 0755 relative\n", "not an absolute path"),
            ("tag @MISSING@\ndir 0755 /x\n", "-D NAME=VALUE"),
            ("tag a.b/c:1\nfile 0755 /x /no/such/file\n", "No such file"),
        ]
        top = os.path.join(os.path.dirname(__file__), "..", "..")
        for text, want in cases:
            with self.subTest(text=text), tempfile.TemporaryDirectory() as folder:
                spec = os.path.join(folder, "spec")
                with open(spec, "w", encoding="ascii") as f:
                    f.write(text)
                done = subprocess.run(["images/pack", spec, os.path.join(folder, "out.tar")], cwd=top, capture_output=True, text=True)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(want, done.stderr)
                self.assertEqual(os.listdir(folder), ["spec"])

    def test_pause_is_small(self):
        self.assertLess(os.path.getsize(os.path.join(IMAGES, "pause.tar")), 20 * 1024)

    @unittest.skipUnless(os.geteuid() == 0, "needs root for chroot")
    def test_user_land(self):
        _, layers = self.layers("agnhost.tar")
        with tempfile.TemporaryDirectory() as folder:
            for layer in layers:
                layer.extractall(folder)
            script = ("id -un; cd /tmp && echo x >f && cat f && ls -l f | cut -c1-10; /agnhost entrypoint-tester; "
                      "for a in nc wget nslookup ping ip id cat ls grep timeout hexdump; do [ -n \"$(command -v $a)\" ] || echo lacks $a; done")
            out = subprocess.run([shutil.which("chroot"), folder, "/bin/sh", "-c", script],
                                 capture_output=True, text=True, timeout=WAIT_S, env={"PATH": "/bin"})
        self.assertEqual(out.stdout, "root\nx\n-rw-r--r--\n[/agnhost entrypoint-tester]\n")


@unittest.skipUnless(shutil.which("skopeo"), "skopeo is not installed")
class SkopeoTest(unittest.TestCase):
    def skopeo(self, *args):
        done = subprocess.run(["skopeo", *args], capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_inspect(self):
        for name in ("docker-archive:pause.tar", "docker-archive:agnhost.tar", "docker-archive:hello-v1.tar",
                     "oci-archive:oci/pause.tar", "oci-archive:oci/pause-gzip.tar", "oci-archive:oci/busybox.tar",
                     "oci-archive:oci/busybox-gzip.tar"):
            with self.subTest(name=name):
                kind, path = name.split(":")
                config = json.loads(self.skopeo("inspect", "--config", f"{kind}:{IMAGES}/{path}"))
                self.assertTrue(config["rootfs"]["diff_ids"])

    @unittest.skipUnless(shutil.which("docker-registry"), "docker-registry is not installed")
    def test_registry(self):
        port = free_port()
        with tempfile.TemporaryDirectory() as folder:
            with open(folder + "/config.yml", "w", encoding="ascii") as f:
                f.write(f"version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {folder}/data\n"
                        f"http:\n  addr: 127.0.0.1:{port}\n")
            registry = subprocess.Popen(["docker-registry", "serve", folder + "/config.yml"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                wait_port(port)
                for kind, path, ref in (("docker-archive", "hello-v1.tar", "hello:v1"), ("oci-archive", "oci/busybox-gzip.tar", "busybox:1.36")):
                    with self.subTest(path=path):
                        self.skopeo("--insecure-policy", "copy", "-q", "--dest-tls-verify=false",
                                    f"{kind}:{IMAGES}/{path}", f"docker://127.0.0.1:{port}/{ref}")
                        source = json.loads(self.skopeo("inspect", "--config", f"{kind}:{IMAGES}/{path}"))
                        copied = json.loads(self.skopeo("inspect", "--tls-verify=false", "--config", f"docker://127.0.0.1:{port}/{ref}"))
                        self.assertEqual(source["rootfs"], copied["rootfs"])
            finally:
                registry.kill()
                registry.wait()


def wait_port(port):
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError(f"nothing listens on {port}")


if __name__ == "__main__":
    unittest.main()
