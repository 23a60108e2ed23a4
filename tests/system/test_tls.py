#!/usr/bin/python3
"""TLS towards clients, with the real program: which certificate, what is agreed on, resumption, clients'
certificates, bodies, reloads."""
import contextlib
import hashlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest

import rig
from rig import BUILD, PATIENCE_S, Proxy, Reader, free_port

CONFIG = """
listeners:
  main:
    bind: "127.0.0.1:{port}"
    tls: {%s}
    pool: web%s
pools:
  web:
    servers: {s0: "127.0.0.1:%d"}
"""


def openssl(*args, **how):
    return subprocess.run(["openssl", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=3 * PATIENCE_S, check=how.get("check", True)).stdout.decode()


class Certs:
    """A folder of certificates, made once for all tests."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="tandem-certs-")
        self.ca = self.make("ca", "ca.test", ca=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def text(self, name):
        with open(self.path(name)) as f:
            return f.read()

    def make(self, name, *hosts, kind="ec", ca=False, signer=None, days=90, into=None, responder=None):
        folder = into or self.dir
        crt, key = os.path.join(folder, name + ".crt"), os.path.join(folder, name + ".key")
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if kind == "ec" else ["-newkey", "rsa:2048"]
        args = ["req", "-x509", *new, "-nodes", "-keyout", key, "-out", crt, "-days", str(days),
                "-subj", "/CN=" + hosts[0]]
        if ca:
            args += ["-addext", "basicConstraints=critical,CA:TRUE"]
        else:
            args += ["-addext", "subjectAltName=" + ",".join("DNS:" + h for h in hosts),
                     "-addext", "basicConstraints=critical,CA:FALSE"]
        if responder:
            args += ["-addext", "authorityInfoAccess=OCSP;URI:" + responder]
        if signer:
            args += ["-CA", self.path(signer + ".crt"), "-CAkey", self.path(signer + ".key")]
        openssl(*args)
        return crt


def setUpModule():
    global certs
    certs = Certs()
    certs.make("a", "a.test", "also-a.test", kind="rsa", signer="ca")
    certs.make("a-ec", "a.test", "also-a.test", signer="ca")
    certs.make("b", "b.test", signer="ca")
    certs.make("wild", "*.wild.test", signer="ca")
    certs.make("client", "Jane Doe", signer="ca")
    certs.make("stranger", "Mallory")


def tearDownModule():
    shutil.rmtree(certs.dir)


class Case(rig.Case):
    def proxy(self, server, tls="", listener="", workers=1, names=("a", "a-ec", "b", "wild"), **how):
        listed = ", ".join("{cert: %s, key: %s}" % (certs.path(n + ".crt"), certs.path(n + ".key")) for n in names)
        text = CONFIG % ("certificates: [%s]%s" % (listed, tls), "\n    " + listener if listener else "", server.port)
        p = Proxy(text + how.pop("more", ""), workers=workers, **how)
        self.addCleanup(self.stop, p)
        return p

    def context(self, **how):
        c = ssl.create_default_context(cafile=certs.ca)
        c.maximum_version = how.get("version", ssl.TLSVersion.MAXIMUM_SUPPORTED)
        if how.get("alpn"):
            c.set_alpn_protocols(how["alpn"])
        if how.get("cert"):
            c.load_cert_chain(certs.path(how["cert"] + ".crt"), certs.path(how["cert"] + ".key"))
        return c

    def connect(self, p, name="a.test", context=None, session=None, port=None, **how):
        c = context or self.context(**how)
        raw = socket.create_connection(("127.0.0.1", port or p.port), PATIENCE_S)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s = c.wrap_socket(raw, server_hostname=name, session=session)
        self.addCleanup(s.close)
        return s

    def get(self, s, host="a.test", path="/", fields=""):
        s.sendall(("GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (path, host, fields)).encode())
        return Reader(s).response()


def open_text(name):
    with open(name, errors="replace") as f:
        return f.read()


def names(s):
    return sorted(v for k, v in s.getpeercert()["subjectAltName"])


class Handshake(Case):
    def test_certificate_by_name(self):
        p = self.proxy(self.serve())
        self.assertEqual(names(self.connect(p, "a.test")), ["a.test", "also-a.test"])
        self.assertEqual(names(self.connect(p, "B.test")), ["b.test"])
        self.assertEqual(names(self.connect(p, "x.wild.test")), ["*.wild.test"])
        # Unknown, none, two labels where the wildcard has one: the first.
        loose = self.context()
        loose.check_hostname = False
        for name in ("nobody.test", None, "y.x.wild.test"):
            self.assertEqual(names(self.connect(p, name, context=loose)), ["a.test", "also-a.test"])

    def test_rsa_and_ecdsa_side_by_side(self):
        p = self.proxy(self.serve())
        at = ["s_client", "-connect", "127.0.0.1:%d" % p.port, "-servername", "also-a.test", "-tls1_2"]
        self.assertIn("ECDHE-ECDSA", openssl(*at))
        self.assertIn("ECDHE-RSA", openssl(*at, "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"))
        self.assertIn("Peer signature type: RSA-PSS", openssl(*at[:-1], "-sigalgs", "rsa_pss_rsae_sha256"))

    def test_protocol_and_versions(self):
        p = self.proxy(self.serve(), tls=', min_version: "1.3"')
        s = self.connect(p, alpn=["http/1.1"])
        self.assertEqual((s.selected_alpn_protocol(), s.version()), ("http/1.1", "TLSv1.3"))
        self.assertIsNone(self.connect(p).selected_alpn_protocol())
        with self.assertRaisesRegex(ssl.SSLError, "(?i)no.application.protocol"):
            self.connect(p, alpn=["smtp"])
        with self.assertRaisesRegex(ssl.SSLError, "(?i)protocol.version"):
            self.connect(p, version=ssl.TLSVersion.TLSv1_2)
        p = self.proxy(self.serve(), tls=', ciphers: "ECDHE-RSA-AES256-GCM-SHA384:TLS_CHACHA20_POLY1305_SHA256"')
        self.assertEqual(self.connect(p).cipher()[0], "TLS_CHACHA20_POLY1305_SHA256")
        self.assertEqual(self.connect(p, version=ssl.TLSVersion.TLSv1_2).cipher()[0], "ECDHE-RSA-AES256-GCM-SHA384")

    def test_http2_is_agreed_on_or_not_spoken(self):  # RFC 9113 3.2; h2c is for clear text
        p = self.proxy(self.serve(), listener="h2c: true")
        for alpn in (["http/1.1"], None):
            s = self.connect(p, alpn=alpn)
            s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
            self.assertEqual(Reader(s).response().status, 505)

    def test_stalled_and_strange_handshakes_end(self):
        p = self.proxy(self.serve(), listener="timeouts: {head: 200ms}")
        silent, half, strange = (socket.create_connection(("127.0.0.1", p.port), PATIENCE_S) for _ in range(3))
        half.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01")
        strange.sendall(b"\x16GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        for s in (strange, half, silent):
            s.settimeout(PATIENCE_S)
            with contextlib.suppress(ConnectionResetError):
                while s.recv(100):
                    pass
            s.close()
        self.assertEqual(self.get(self.connect(p)).status, 200)
        self.assertEqual(p.logged().count("tls.failed"), 1)  # one line for all of them
        # One that is done and says nothing then has the head's time again, and is closed.
        s = self.connect(p)
        s.settimeout(PATIENCE_S)
        self.assertEqual(s.recv(1), b"")

    def test_who_speaks_http_in_the_clear_is_told_so(self):
        server = self.serve()
        p = self.proxy(server, tls=", hsts: 180d")
        before = p.status()["tls_handshakes"]["failed_total"]
        for asked in (b"DELETE / HTTP/1.1\r\nHost: a.test\r\n\r\n", b"\r\n", b"G" * 70000):
            with socket.create_connection(("127.0.0.1", p.port), PATIENCE_S) as s:
                s.sendall(asked)
                r = Reader(s)
                answer = r.response()
                self.assertEqual((answer.status, answer.get("connection")), (400, "close"))
                self.assertIn(b"https://", answer.body)
                self.assertIsNone(answer.get("strict-transport-security"))
        self.eventually(lambda: p.status()["tls_handshakes"]["failed_total"] - before == 3)
        self.assertEqual((server.heads(), self.get(self.connect(p)).status), ([], 200))
        # Of what is no HTTP there are no words to say it in.
        p = self.proxy(server, listener="mode: tcp")
        with socket.create_connection(("127.0.0.1", p.port), PATIENCE_S) as s:
            s.sendall(b"GET / HTTP/1.1\r\n\r\n")
            self.assertNotIn(b"HTTP", s.recv(1000))

    def test_a_hello_in_pieces(self):
        p = self.proxy(self.serve())
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.context().wrap_bio(incoming, outgoing, server_hostname="a.test")
        with socket.create_connection(("127.0.0.1", p.port), PATIENCE_S) as s:
            done = False
            while not done:
                try:
                    tls.do_handshake()
                    done = True
                except ssl.SSLWantReadError:
                    said = outgoing.read()
                    for piece in (said[:1], said[1:7], said[7:100], said[100:]):
                        s.sendall(piece)
                        time.sleep(0.05)
                    incoming.write(s.recv(65536))
            tls.write(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            s.sendall(outgoing.read())
            answer = b""
            while not answer.startswith(b"HTTP/1.1 200"):
                incoming.write(s.recv(65536))
                with contextlib.suppress(ssl.SSLWantReadError):
                    answer += tls.read(1000)

    def test_tickets_do_not_keep_a_first_request_waiting(self):
        """A client that gathers small writes sends its request once the end of its handshake is acknowledged."""
        p = self.proxy(self.serve())
        waited = []
        for _ in range(12):
            raw = socket.create_connection(("127.0.0.1", p.port), PATIENCE_S)
            with self.context().wrap_socket(raw, server_hostname="a.test") as s:
                start = time.monotonic()
                self.assertEqual(self.get(s).status, 200)
                waited.append(time.monotonic() - start)
        self.assertLess(min(waited), 0.035 * rig.SLOW)  # a delayed acknowledgement takes 40 ms

    def test_no_renegotiation(self):
        p = self.proxy(self.serve())
        r = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % p.port, "-tls1_2"], input=b"R\n",
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20)
        self.assertIn(b"no renegotiation", r.stdout)


class Traffic(Case):
    def test_keep_alive_posts_and_large_bodies(self):
        blob = os.urandom(3 * 1024 * 1024)

        def echo(conn, n):
            rest = b""
            while True:
                head, body, rest = server.read_request(conn, n, rest)
                if head is None:
                    return
                conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

        server = self.serve(echo)
        p = self.proxy(server)
        s = self.connect(p)
        r = Reader(s)
        for size in (0, 1, 1369, 16384, 20000, 100000, len(blob)):
            body = blob[:size]
            # The server answers when it has all of it; one thread, since an SSL object is not for two.
            s.sendall(b"POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n" % size + body)
            answer = r.response()
            self.assertEqual(answer.status, 200)
            self.assertEqual(hashlib.sha256(answer.body).digest(), hashlib.sha256(body).digest())
        head = server.heads()[0]
        self.assertIn(b"X-Forwarded-Proto: https\r\nX-Forwarded-Port: %d\r\n" % p.port, head)
        self.assertEqual(len(server.received), 1)
        self.assertEqual(p.status()["pipes"]["open"], 0)

    def test_slow_reader_gets_all_of_it(self):
        blob = os.urandom(6 * 1024 * 1024)
        p = self.proxy(self.serve(lambda c, n: (c.recv(65536), c.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(blob) + blob), c.recv(1))))
        s = self.connect(p)
        s.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        r = Reader(s)
        head = r.until(b"\r\n\r\n")
        self.assertIn(b"200 OK", head)
        got = hashlib.sha256()
        want = len(blob)
        while want:
            if want % 7 == 0:
                time.sleep(0.01)
            part = r.exactly(min(want, 100003))
            got.update(part)
            want -= len(part)
        self.assertEqual(got.digest(), hashlib.sha256(blob).digest())

    def test_pipelined_requests_in_one_record(self):
        def slow(conn, n):
            rest = b""
            while True:
                head, _, rest = server.read_request(conn, n, rest)
                if head is None:
                    return
                time.sleep(0.02)
                conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        server = self.serve(slow)
        p = self.proxy(server)
        s = self.connect(p)
        # More than one read of them, all decrypted at once: the kernel has nothing to wake us with.
        s.sendall(b"".join(b"GET /%d HTTP/1.1\r\nHost: a.test\r\nX-Fill: %s\r\n\r\n" % (i, b"f" * 700) for i in range(40)))
        r = Reader(s)
        for _ in range(40):
            self.assertEqual(r.response().body, b"ok")

    def test_websocket(self):
        def upgrade(conn, n):
            server.read_head(conn, n)
            conn.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            while True:
                data = conn.recv(65536)
                if not data:
                    conn.sendall(b"bye")
                    return
                conn.sendall(data)

        server = self.serve(upgrade)
        s = self.connect(self.proxy(server))
        s.sendall(b"GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        r = Reader(s)
        self.assertIn(b" 101 ", r.until(b"\r\n\r\n"))
        for size in (1, 5000, 200000):
            data = os.urandom(size)
            s.sendall(data)
            self.assertEqual(r.exactly(size), data)
        # The end of one side goes through behind a goodbye, and the other side's last words come back.
        s.sendall(b"last")
        self.assertEqual(r.exactly(4), b"last")
        try:
            s.unwrap()
        except (ssl.SSLError, OSError):
            pass

    def by_hand(self, p):
        """A connection of which we see the records: (TLS, how to take what it would send, the socket)."""
        to_us, from_us = ssl.MemoryBIO(), ssl.MemoryBIO()
        s = self.context().wrap_bio(to_us, from_us, server_hostname="a.test")
        raw = socket.create_connection(("127.0.0.1", p.port), PATIENCE_S)
        self.addCleanup(raw.close)
        while True:
            try:
                s.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.sendall(from_us.read())
                to_us.write(raw.recv(65536))
        raw.sendall(from_us.read())
        return s, from_us.read, raw

    def test_a_forged_record_behind_a_good_one_ends_it(self):
        p = self.proxy(self.serve())
        s, take, raw = self.by_hand(p)
        s.write(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\n")
        good = take()
        s.write(b"x" * 50)
        forged = bytearray(take())
        forged[-1] ^= 1
        raw.sendall(good + forged)
        raw.settimeout(PATIENCE_S)
        try:
            while raw.recv(65536):
                pass
        except ConnectionResetError:
            pass
        self.eventually(lambda: p.status()["connections"] == 0, 1)

    def test_a_goodbye_in_the_packet_of_the_last_bytes_is_heard(self):
        got, ended = [], threading.Event()

        def until_the_end(conn, n):
            while data := conn.recv(65536):
                got.append(data)
            ended.set()

        p = self.proxy(self.serve(until_the_end), listener="mode: tcp")
        s, take, raw = self.by_hand(p)
        s.write(b"last words")
        try:
            s.unwrap()
        except ssl.SSLWantReadError:
            pass
        raw.sendall(take())
        self.assertTrue(ended.wait(3))
        self.assertEqual(b"".join(got), b"last words")

    def test_the_access_log_says_what_was_agreed_on(self):
        p = self.proxy(self.serve(), tls=', min_version: "1.3"', more="log: {access: stderr, format: json}\n")
        self.get(self.connect(p))
        self.eventually(lambda: '"tls":"TLSv1.3","cipher":"TLS_AES_128_GCM_SHA256"' in p.logged())
        self.assertIn('"protocol":"HTTP/1.1"', p.logged())
        subprocess.run(["curl", "-sS", "--http2", "--noproxy", "*", "--cacert", certs.ca, "-o", os.devnull, "--resolve",
                        "a.test:%d:127.0.0.1" % p.port, "https://a.test:%d/h2" % p.port], check=True, timeout=PATIENCE_S)
        self.eventually(lambda: '"target":"/h2"' in p.logged())
        self.assertRegex(p.logged(), '"protocol":"HTTP/2.0",.*"target":"/h2".*"tls":"TLSv1.3"')

    def test_hsts_on_all_answers(self):
        server = self.serve()
        p = self.proxy(server, tls=", hsts: 180d", listener="path: reject")
        r = self.get(self.connect(p))
        self.assertEqual(r.get("strict-transport-security"), "max-age=15552000")
        r = self.get(self.connect(p), path="/a/../b")
        self.assertEqual((r.status, r.get("strict-transport-security")), (400, "max-age=15552000"))
        own = self.serve(lambda c, n: server.answer_all(c, 0, b"", b"Strict-Transport-Security: max-age=1\r\n"))
        p = self.proxy(own, tls=", hsts: 180d")
        self.assertEqual(self.get(self.connect(p)).head.lower().count(b"strict-transport"), 1)

    def test_misdirected(self):
        p = self.proxy(self.serve())
        s = self.connect(p, "a.test")
        self.assertEqual(self.get(s, "a.test:%d" % p.port).status, 200)
        self.assertEqual(self.get(s, "ALSO-a.test").status, 200)  # of the same certificate
        self.assertEqual(self.get(s, "unknown.test").status, 200)  # which the default serves as well
        self.assertEqual(self.get(s, "b.test").status, 421)
        self.assertEqual(self.get(s, "x.wild.test").status, 421)
        self.assertEqual(self.get(self.connect(p, "x.wild.test"), "y.wild.test").status, 200)
        loose = self.context()
        loose.check_hostname = False
        self.assertEqual(self.get(self.connect(p, None, context=loose), "b.test").status, 200)
        self.assertEqual(self.get(self.connect(p, "b.test"), "127.0.0.1").status, 421)

    def test_the_cookie_of_a_sticky_session_is_for_encrypted_connections_alone(self):
        p = self.proxy(self.serve(), more="    sticky: {cookie: lb}\n")
        cookie = self.get(self.connect(p)).get("set-cookie")
        self.assertRegex(cookie, r"^lb=[0-9a-f]{16}; Path=/; HttpOnly; SameSite=Lax; Secure$")


class Redirect(Case):
    def test_to_the_same_place_over_tls(self):
        server, clear = self.serve(), free_port()
        p = self.proxy(server, more="")
        text = open_text(p.file).replace("listeners:", """listeners:
  clear: {bind: "127.0.0.1:%d", redirect: https}
  mixed: {bind: "127.0.0.1:%d", redirect: https, routes: [{match: {path: /.well-known/*}, pool: web}]}""" % (
            clear, mixed := free_port()))
        with open(p.file, "w") as f:
            f.write(text)
        self.assertTrue(p.rpc("reload")["result"]["ok"])

        def ask(port, line, host="a.test:%d" % clear):
            with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as s:
                s.sendall(("%s HTTP/1.1\r\nHost: %s\r\n\r\n" % (line, host)).encode())
                return Reader(s).response(line.split()[0])

        r = ask(clear, "GET /a%2f..?q=/x")
        self.assertEqual(r.status, 400)
        r = ask(clear, "GET /a//b?q=%0a/x")
        self.assertEqual((r.status, r.get("location")), (301, "https://a.test:%d/a//b?q=%%0a/x" % p.port))
        self.assertIsNone(r.get("strict-transport-security"))
        self.assertEqual(ask(clear, "HEAD /").status, 301)
        r = ask(clear, "POST /x", "[::1]:80")
        self.assertEqual((r.status, r.get("location")), (308, "https://[::1]:%d/x" % p.port))
        self.assertEqual(ask(clear, "OPTIONS *").get("location"), "https://a.test:%d/" % p.port)
        self.assertEqual(ask(mixed, "GET /.well-known/acme-challenge/x").status, 200)
        self.assertEqual(ask(mixed, "GET /").status, 301)
        with socket.create_connection(("127.0.0.1", clear), PATIENCE_S) as s:
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            self.assertEqual(Reader(s).response().status, 400)


class Tcp(Case):
    def test_bytes_of_any_protocol(self):
        def upper(conn, n):
            while data := conn.recv(65536):
                conn.sendall(data.upper())
            conn.sendall(b"END")

        p = self.proxy(self.serve(upper), listener="mode: tcp")
        s = self.connect(p, alpn=["postgresql"])
        self.assertEqual((s.selected_alpn_protocol(), names(s)), (None, ["a.test", "also-a.test"]))
        r = Reader(s)
        s.sendall(b"select 1")
        self.assertEqual(r.exactly(8), b"SELECT 1")
        data = os.urandom(300000).hex().encode()
        s.sendall(data)
        self.assertEqual(r.exactly(len(data)), data.upper())


class BehindProxy(Case):
    def test_header_before_the_handshake(self):
        server = self.serve()
        p = self.proxy(server, listener="proxy_protocol: {from: [127.0.0.0/8]}")
        raw = socket.create_connection(("127.0.0.1", p.port), PATIENCE_S)
        self.addCleanup(raw.close)
        raw.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 443\r\n")
        s = self.context().wrap_socket(raw, server_hostname="a.test")
        self.assertEqual(self.get(s).status, 200)
        s.close()
        head = server.heads()[0]
        self.assertIn(b"X-Forwarded-For: 192.0.2.7\r\n", head)
        self.assertIn(b"X-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n", head)


class Shown(Case):
    def test_ends_of_certificates(self):
        certs.make("soon", "soon.test", signer="ca", days=10)
        p = self.proxy(self.serve(), names=("soon", "a", "b"))
        self.get(self.connect(p))
        status = p.status()
        first = status["certificates"][0]
        self.assertEqual((first["names"], first["listener"], first["key"]), (["soon.test"], "main", "EC 256"))
        self.assertEqual(first["file"], certs.path("soon.crt"))
        self.assertIn(first["days_left"], (9, 10))
        self.assertEqual(first["not_after"][:4], time.strftime("%Y", time.gmtime(time.time() + 864000)))
        self.assertEqual(status["tls_handshakes"]["full_total"], 1)
        self.assertIn("tls.cert_expiring", p.logged())
        ctl = subprocess.run([os.path.join(BUILD, "ctl/tandemctl"), "--run-dir", p.tmp, "certs"],
                             stdout=subprocess.PIPE, timeout=10, check=True).stdout.decode().split("\n")
        self.assertRegex(ctl[1], r"^soon\.test +main +EC 256 +\S+ +(9|10) ")
        self.assertRegex(ctl[2], r"^a\.test and 1 more ")
        self.assertRegex(open_text(p.log.name), "soon.test")


class Stapling(Case):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tandem-ocsp-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.port = free_port()
        crt = certs.make("o", "a.test", signer="ca", into=self.dir, responder="http://127.0.0.1:%d/" % self.port)
        self.crt, self.index = crt, os.path.join(self.dir, "index.txt")
        serial = openssl("x509", "-in", crt, "-noout", "-serial").strip().split("=")[1]
        with open(self.index, "w") as f:
            f.write("V\t491231235959Z\t\t%s\tunknown\t/CN=a.test\n" % serial)
        with open(crt, "a") as f:
            f.write(certs.text("ca.crt"))
        self.signer = ["-index", self.index, "-CA", certs.ca, "-rsigner", certs.ca, "-rkey", certs.path("ca.key"),
                       "-ndays", "7"]

    def start(self, ocsp):
        text = CONFIG % ("certificates: {cert: %s, key: %s}, ocsp: %s" % (self.crt, self.crt[:-3] + "key", ocsp), "",
                         self.serve().port)
        p = Proxy(text)
        self.addCleanup(self.stop, p)
        return p

    def stapled(self, p):
        return "OCSP Response Status: successful" in openssl(
            "s_client", "-connect", "127.0.0.1:%d" % p.port, "-servername", "a.test", "-status")

    def write(self, to):
        openssl("ocsp", "-issuer", certs.ca, "-cert", self.crt, *self.signer, "-respout", to + ".new")
        os.replace(to + ".new", to)

    def test_from_a_file_that_is_kept_fresh(self):
        to = os.path.join(self.dir, "a.ocsp")
        p = self.start(to)
        self.assertIn("cannot read " + to, p.logged())
        self.assertEqual((self.stapled(p), p.status()["certificates"][0]["ocsp"]), (False, "none"))
        self.write(to)
        self.eventually(lambda: self.stapled(p), 8)
        self.assertRegex(p.status()["certificates"][0]["ocsp"], "^good until 2")
        self.assertTrue(p.rpc("reload")["result"]["ok"])
        self.assertTrue(self.stapled(p))

    def test_from_the_responder(self):
        responder = subprocess.Popen(["openssl", "ocsp", "-port", str(self.port), *self.signer, "-timeout", "5"],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(responder.stdout.close)
        self.addCleanup(responder.wait)
        self.addCleanup(responder.kill)
        while b"ACCEPT" not in responder.stdout.readline():
            self.assertIsNone(responder.poll())
        p = self.start("auto")
        self.eventually(lambda: self.stapled(p))
        responder.kill()
        self.assertTrue(p.rpc("reload")["result"]["ok"])  # what it had goes along
        self.assertTrue(self.stapled(p))

    def test_a_responder_that_fails_is_shown_and_harms_nobody(self):
        p = self.start("auto")
        self.eventually(lambda: "cannot ask" in p.status()["certificates"][0].get("ocsp_trouble", ""))
        self.assertFalse(self.stapled(p))
        self.assertEqual(self.get(self.connect(p)).status, 200)


class Clients(Case):
    SPOOF = "X-Client-Cert-Subject: CN=root\r\nx_client_cert_verify: SUCCESS\r\nX-Client-Cert-Verify: SUCCESS\r\n"

    def fields(self, server):
        head = server.heads()[-1].decode()
        return {line.split(": ")[0].lower(): line.split(": ", 1)[1] for line in head.split("\r\n")
                if line.lower().replace("_", "-").startswith("x-client-cert")}

    def test_none(self):
        server = self.serve()
        p = self.proxy(server)
        self.get(self.connect(p, cert="client"), fields=self.SPOOF)
        self.assertEqual(self.fields(server), {})

    def test_optional(self):
        server = self.serve()
        p = self.proxy(server, tls=", client_ca: %s, client_auth: optional" % certs.ca)
        self.get(self.connect(p), fields=self.SPOOF)
        self.assertEqual(self.fields(server), {"x-client-cert-verify": "NONE"})
        self.get(self.connect(p, cert="client"), fields=self.SPOOF)
        f = self.fields(server)
        der = ssl.PEM_cert_to_DER_cert(certs.text("client.crt"))
        self.assertEqual(f["x-client-cert-verify"], "SUCCESS")
        self.assertEqual((f["x-client-cert-subject"], f["x-client-cert-issuer"]), ("CN=Jane Doe", "CN=ca.test"))
        self.assertEqual(f["x-client-cert-fingerprint"], hashlib.sha256(der).hexdigest())
        self.assertRegex(f["x-client-cert-serial"], "^[0-9A-F]+$")
        self.get(self.connect(p, cert="stranger"))
        self.assertTrue(self.fields(server)["x-client-cert-verify"].startswith("FAILED:self-signed"))

    def test_required(self):
        server = self.serve()
        p = self.proxy(server, tls=", client_ca: %s, client_auth: required" % certs.ca)
        self.assertEqual(self.get(self.connect(p, cert="client")).status, 200)
        for cert in (None, "stranger"):
            with self.assertRaises((ssl.SSLError, ConnectionResetError, EOFError)):
                self.get(self.connect(p, cert=cert))
        # A session of a listener that asks for none does not open one that does.
        other = self.proxy(server)
        c = self.context()
        s = self.connect(other, context=c)
        self.get(s)
        with self.assertRaises((ssl.SSLError, ConnectionResetError, EOFError)):
            self.get(self.connect(p, context=c, session=s.session))

    def test_a_session_does_not_outlive_the_authority_that_vouched_for_it(self):
        authority = certs.make("clients", "clients.test", ca=True)
        certs.make("guest", "Guest", signer="clients")
        server = self.serve()
        p = self.proxy(server, tls=", client_ca: %s, client_auth: optional" % authority)
        c = self.context(cert="guest")
        s = self.connect(p, context=c)
        self.get(s)
        self.assertEqual(self.fields(server)["x-client-cert-verify"], "SUCCESS")
        certs.make("clients", "clients.test", ca=True)  # of the same name, with another key
        self.assertTrue(p.rpc("reload")["result"]["ok"])
        again = self.connect(p, context=c, session=s.session)
        self.get(again)
        self.assertFalse(again.session_reused)
        self.assertTrue(self.fields(server)["x-client-cert-verify"].startswith("FAILED:"))


class Resumption(Case):
    PAIR = """
failover:
  nodes:
    t: {id: 1, paths: {lan: 127.0.0.1}}
    u: {id: 2, paths: {lan: 127.0.0.2}}
  secret_file: %s
  groups: {web: {vrid: 51, interface: lo, virtual_ips: [127.0.0.99/32]}}
"""

    def resumes(self, first, second, version):
        c = self.context(version=version)
        s = self.connect(first, context=c)
        self.get(s)
        self.assertFalse(s.session_reused)
        return [self.connect(second, context=c, session=s.session).session_reused for _ in range(8)]

    def both(self):
        return (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)

    def test_with_any_worker(self):
        p = self.proxy(self.serve(), workers=4)
        for version in self.both():
            self.assertEqual(self.resumes(p, p, version), [True] * 8)

    def test_on_the_other_node(self):
        secret = certs.path("pair.key")
        with open(secret, "w") as f:
            f.write("a secret that both nodes have\n")
        os.chmod(secret, 0o600)
        server = self.serve()
        pair = [self.proxy(server, more=self.PAIR % secret) for _ in range(2)]
        stranger = self.proxy(server)
        for version in self.both():
            self.assertEqual(self.resumes(*pair, version), [True] * 8)
            self.assertEqual(self.resumes(pair[0], stranger, version), [False] * 8)

    def test_over_a_reload(self):
        p = self.proxy(self.serve())
        c = self.context()
        s = self.connect(p, context=c)
        self.get(s)
        self.assertTrue(p.rpc("reload")["result"]["ok"])
        self.assertTrue(self.connect(p, context=c, session=s.session).session_reused)


class Reload(Case):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tandem-live-")
        self.addCleanup(shutil.rmtree, self.dir)
        certs.make("site", "a.test", signer="ca", into=self.dir)

    def start(self, server):
        text = CONFIG % ("certificates: %s/" % self.dir, "", server.port)
        p = Proxy(text, workers=2)
        self.addCleanup(self.stop, p)
        return p

    def serial(self, p):
        return self.connect(p).getpeercert()["serialNumber"]

    def test_new_certificates_under_load(self):
        p = self.start(self.serve())
        kept = self.connect(p)
        self.get(kept)
        before, stop, failed = self.serial(p), threading.Event(), []

        def load():
            c = self.context()
            while not stop.is_set():
                try:
                    with c.wrap_socket(socket.create_connection(("127.0.0.1", p.port), PATIENCE_S), server_hostname="a.test") as s:
                        for _ in range(3):
                            s.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
                            if Reader(s).response().status != 200:
                                failed.append("status")
                except OSError as e:
                    failed.append(repr(e))

        threads = [threading.Thread(target=load) for _ in range(4)]
        for t in threads:
            t.start()
        try:
            seen = {before}
            for _ in range(3):
                certs.make("site", "a.test", signer="ca", into=self.dir)
                p.proc.send_signal(signal.SIGHUP)  # the file itself is as it was
                self.eventually(lambda: self.serial(p) not in seen)
                seen.add(self.serial(p))
        finally:
            stop.set()
            for t in threads:
                t.join()
        self.assertEqual(failed, [])
        self.assertEqual(self.get(kept).status, 200)

    def refused(self, p, *words):
        before = self.serial(p)
        error = p.rpc("reload")["error"]["message"]
        for word in words:
            self.assertIn(word, error)
        self.assertEqual(self.serial(p), before)
        check = subprocess.run([os.path.join(BUILD, "proxy/tandem-proxy"), "--check",
                                "-c", p.file], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20)
        self.assertEqual(check.returncode, 2)
        self.assertIn(words[0].encode(), check.stdout)

    def test_bad_files_are_refused_and_named(self):
        p = self.start(self.serve())
        shutil.copy(certs.path("b.key"), os.path.join(self.dir, "site.key"))
        self.refused(p, "site.key does not belong to the certificate in", "site.crt", "tandem.yaml:")
        os.unlink(os.path.join(self.dir, "site.key"))
        self.refused(p, "site.crt holds no private key")
        with open(os.path.join(self.dir, "site.crt"), "w") as f:
            f.write("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
        self.refused(p, "site.crt holds no certificate")
        with open(os.path.join(self.dir, "site.crt"), "w") as f:
            f.write(certs.text("b.crt") + "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
        shutil.copy(certs.path("b.key"), os.path.join(self.dir, "site.key"))
        self.refused(p, "site.crt has something broken behind its first certificate")
        os.unlink(os.path.join(self.dir, "site.crt"))
        self.refused(p, "there is no certificate in")

    def test_every_form_in_a_directory(self):
        live = os.path.join(self.dir, "live.test")
        os.mkdir(live)
        for name, to in (("b.crt", "fullchain.pem"), ("b.key", "privkey.pem")):
            shutil.copy(certs.path(name), os.path.join(live, to))
        with open(os.path.join(self.dir, "wild.pem"), "w") as f:
            f.write(certs.text("wild.key") + certs.text("wild.crt"))
        with open(os.path.join(self.dir, "README"), "w") as f:
            f.write("nothing")
        p = self.start(self.serve())
        for name in ("a.test", "b.test", "x.wild.test"):
            self.assertIn(name.replace("x.", "*."), names(self.connect(p, name)))
        self.assertLess({os.path.join(self.dir, "wild.pem"), os.path.join(live, "fullchain.pem")},
                        {c["file"] for c in p.status()["certificates"]})


if __name__ == "__main__":
    unittest.main()
