"""Runs the real tandem-proxy on loopback between raw sockets: clients that send exact bytes, and servers
that record exact bytes and answer what a test tells them."""
import atexit
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

BUILD = os.environ.get("TANDEM_BUILD", os.getcwd())
PROXY = os.path.join(BUILD, "proxy", "tandem-proxy")
# A build with sanitizers, or a machine that is busy with something else, is slower: how long a test waits for
# what must come is multiplied by this.
SLOW = float(os.environ.get("TANDEM_SLOW", "1"))
PATIENCE_S = 20 * SLOW
with open(PROXY, "rb") as program:
    SANITIZED = b"__asan_init" in program.read()  # what such a one has freed it keeps: its size says nothing


def free_port():
    """A port on which nothing listens, and which the kernel gives to nobody else while this program runs: bound
    and not listening, it can be bound once more by whoever sets SO_REUSEADDR."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
    s.detach()  # and never closed
    return port


class Server:
    """A server that hands each connection to `script(conn, n)`, n counting connections from 0, and keeps
    what was received: `received[n]` is a bytearray. The default script answers each request `ok`."""

    def __init__(self, script=None, port=0, host="127.0.0.1"):
        self.script = script or (lambda conn, n: self.answer_all(conn, n, b"ok"))
        self.received = []
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((host, port))
        self.sock.listen(256)
        self.port = self.sock.getsockname()[1]
        self.open = True
        self.conns = []
        self.lock = threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while self.open:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                n = len(self.received)
                self.received.append(bytearray())
                self.conns.append(conn)
            threading.Thread(target=self.serve, args=(conn, n), daemon=True).start()

    def serve(self, conn, n):
        try:
            self.script(conn, n)
        except OSError:
            pass
        finally:
            conn.close()

    def read(self, conn, n, size=65536):
        data = conn.recv(size)
        self.received[n] += data
        return data

    def read_head(self, conn, n, buffered=b""):
        """Returns (head with its blank line, what came after it); (None, b'') when the peer closed."""
        data = bytearray(buffered)
        while b"\r\n\r\n" not in data:
            more = self.read(conn, n)
            if not more:
                return None, b""
            data += more
        end = data.index(b"\r\n\r\n") + 4
        return bytes(data[:end]), bytes(data[end:])

    def read_request(self, conn, n, buffered=b""):
        """Head and content (Content-Length or chunked, still framed), and the rest."""
        head, rest = self.read_head(conn, n, buffered)
        if head is None:
            return None, b"", b""
        low = head.lower()
        if b"\r\ncontent-length:" in low:
            want = int(low.split(b"\r\ncontent-length:")[1].split(b"\r\n")[0])
            while len(rest) < want:
                more = self.read(conn, n)
                if not more:
                    break
                rest += more
            return head, rest[:want], rest[want:]
        if b"\r\ntransfer-encoding: chunked" in low:
            while not rest.endswith(b"0\r\n\r\n") and b"\r\n0\r\n" not in rest and not rest.startswith(b"0\r\n"):
                rest += self.read(conn, n)
            return head, rest, b""
        return head, b"", rest

    def answer_all(self, conn, n, body, fields=b""):
        rest = b""
        while True:
            head, _, rest = self.read_request(conn, n, rest)
            if head is None:
                return
            body_out = b"" if head.startswith(b"HEAD ") else body
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), fields, body_out))

    def heads(self):
        """The heads of all requests received on all connections, without content, for GETs."""
        return [h + b"\r\n\r\n" for r in self.received for h in bytes(r).split(b"\r\n\r\n")[:-1]]

    def kill(self):
        """What kill -9 does: the port refuses, connections are reset."""
        self.open = False
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        for c in self.conns:
            try:
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                c.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            c.close()


class Proxy:
    """tandem-proxy with a configuration; {port} in it is the first listener's port, {tmp} its folder."""

    def __init__(self, config, workers=1, wait=True, args=(), files=None):
        self.tmp = tempfile.mkdtemp(prefix="tandem-")
        atexit.register(shutil.rmtree, self.tmp, ignore_errors=True)
        self.port = free_port()
        self.file = os.path.join(self.tmp, "tandem.yaml")
        self.workers = workers
        self.write(config)
        self.log = open(os.path.join(self.tmp, "log"), "wb")
        self.args, self.files = args, files
        self.start(wait)

    def start(self, wait=True):
        """The program, for the first time or after it has ended."""
        files = self.files
        self.proc = subprocess.Popen(
            [PROXY, "-c", self.file, "--run-dir", self.tmp, "--state-dir", self.tmp, "--node", "t", *self.args],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            preexec_fn=files and (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))))
        if wait:
            self.wait_listening()

    def write(self, config):
        text = config.replace("{port}", str(self.port)).replace("{tmp}", self.tmp)
        with open(self.file, "w") as f:
            f.write("workers: %d\n" % self.workers + text)

    def wait_listening(self, port=None):
        end = time.monotonic() + 10 * SLOW
        while time.monotonic() < end and self.proc.poll() is None:
            if os.path.exists(os.path.join(self.tmp, "proxy.sock")) and self.listens(port or self.port):
                return
            time.sleep(0.02)
        raise AssertionError("tandem-proxy does not listen:\n" + self.logged())

    @staticmethod
    def listens(port):
        """Whether anybody does. The kernel is asked: a connection would be counted and logged by the proxy, who
        knows when."""
        for table in ("tcp", "tcp6"):
            with open("/proc/net/" + table) as f:
                for _, local, _, state in (line.split()[:4] for line in f):
                    if state == "0A" and local.endswith(":%04X" % port):
                        return True
        return False

    def logged(self):
        with open(self.log.name, errors="replace") as f:
            return f.read()

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def rpc(self, method, params=None):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(PATIENCE_S)
            s.connect(os.path.join(self.tmp, "proxy.sock"))
            request = {"jsonrpc": "2.0", "id": 1, "method": method}
            if params:
                request["params"] = params
            s.sendall(json.dumps(request).encode() + b"\n")
            data = b""
            while not data.endswith(b"\n"):
                more = s.recv(65536)
                if not more:
                    break
                data += more
            return json.loads(data)

    def status(self):
        return self.rpc("status")["result"]

    def rss_kb(self):
        with open("/proc/%d/status" % self.proc.pid) as f:
            return int([line for line in f if line.startswith("VmRSS")][0].split()[1])

    def stop(self, timeout=15):
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
            try:
                self.proc.wait(timeout * SLOW)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
                raise AssertionError("tandem-proxy did not stop:\n" + self.logged()[-3000:])
        self.log.close()
        return self.proc.returncode


class Response:
    def __init__(self, status, fields, body, head):
        self.status, self.fields, self.body, self.head = status, fields, body, head

    def get(self, name):
        return self.fields.get(name.lower())


class Reader:
    """Reads responses off a socket, strictly enough for a test."""

    def __init__(self, sock):
        self.sock, self.data = sock, b""

    def fill(self):
        more = self.sock.recv(262144)
        if not more:
            raise EOFError("closed after %r" % self.data[-200:])
        self.data += more

    def until(self, mark):
        while mark not in self.data:
            self.fill()
        head, self.data = self.data.split(mark, 1)
        return head

    def exactly(self, n):
        parts, have = [self.data], len(self.data)
        while have < n:
            more = self.sock.recv(262144)
            if not more:
                raise EOFError("short: %d of %d" % (have, n))
            parts.append(more)
            have += len(more)
        data = b"".join(parts)
        self.data = data[n:]
        return data[:n]

    def rest(self):
        parts = [self.data]
        self.data = b""
        while True:
            more = self.sock.recv(262144)
            if not more:
                return b"".join(parts)
            parts.append(more)

    def response(self, method="GET"):
        head = self.until(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        fields = {}
        for line in lines[1:]:
            name, value = line.split(":", 1)
            fields[name.lower()] = value.strip()
        if method == "HEAD" or status in (204, 304) or status < 200:
            body = b""
        elif fields.get("transfer-encoding") == "chunked":
            body = self.chunked()
        elif "content-length" in fields:
            body = self.exactly(int(fields["content-length"]))
        else:
            body = self.rest()
        return Response(status, fields, body, head)

    def chunked(self):
        parts = []
        while True:
            size = int(self.until(b"\r\n"), 16)
            if size == 0:
                self.trailers = []
                while True:
                    line = self.until(b"\r\n")
                    if not line:
                        return b"".join(parts)
                    self.trailers.append(line)
            parts.append(self.exactly(size))
            assert self.exactly(2) == b"\r\n"


def ask(proxy, raw, method="GET"):
    """One request on a new connection."""
    with proxy.connect() as s:
        s.sendall(raw)
        return Reader(s).response(method)


class Case(unittest.TestCase):
    """A test with proxies that end with it and must not have complained; if it fails, it shows what they said."""

    def run(self, result=None):
        self.logs, before = [], len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before:
            for log in self.logs:
                print("\n%s: the end of a log:\n%s" % (self.id(), log[-4000:]), file=sys.stderr)

    def serve(self, script=None):
        s = Server(script)
        self.addCleanup(s.kill)
        return s

    def stop(self, p):
        if p.proc.poll() is None:
            p.proc.kill()
            p.proc.wait()
        p.log.close()
        text = p.logged()
        self.logs.append(text)
        shutil.rmtree(p.tmp)
        for bad in ("ERROR: AddressSanitizer", "runtime error:", "WARNING: ThreadSanitizer", "assertion"):
            self.assertNotIn(bad.lower(), text.lower())

    def log_lines(self, p, count=1):
        """What the access log says of so many requests at least; they get there some time after the answer."""
        def lines():
            try:
                with open(os.path.join(p.tmp, "access.log")) as f:
                    return [line for line in f if line.endswith("\n")]
            except FileNotFoundError:
                return []
        self.eventually(lambda: len(lines()) >= count)
        return [json.loads(line) for line in lines()]

    def eventually(self, what, within=10):
        """It comes true; when is not the question."""
        end = time.monotonic() + within * SLOW
        while not what():
            if time.monotonic() > end:
                self.fail("not within %g s" % (within * SLOW))
            time.sleep(0.02)
