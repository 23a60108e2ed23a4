#!/usr/bin/python3
"""TLS towards servers, with the real program: who is believed, sessions, what goes wrong before and after the
handshake, checks, reloads, and whatever else goes over a connection to a server."""
import hashlib
import os
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
import time
import unittest

import rig
from dnsd import A, Dns
from rig import Proxy, Reader, Server

GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def openssl(*args):
    subprocess.run(["openssl", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                   timeout=30, check=True)


class Certs:
    """A folder of certificates, made once for all tests."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="tandem-certs-")
        for ca in ("ca", "other"):
            self.make(ca, "", signer=None)
        self.make("good", "DNS:api.internal,IP:127.0.0.1")
        self.make("named", "DNS:api.internal")
        self.make("client", "DNS:proxy.internal")
        self.make("stranger", "DNS:api.internal", signer="other")
        self.expire("expired")

    def path(self, name):
        return os.path.join(self.dir, name)

    def pair(self, name):
        return self.path(name + ".crt"), self.path(name + ".key")

    def make(self, name, san, signer="ca"):
        crt, key = self.pair(name)
        args = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                "-out", crt, "-days", "30", "-subj", "/CN=" + name]
        if signer:
            ca_crt, ca_key = self.pair(signer)
            args += ["-CA", ca_crt, "-CAkey", ca_key, "-addext", "subjectAltName=" + san,
                     "-addext", "basicConstraints=critical,CA:FALSE"]
        else:
            args += ["-addext", "basicConstraints=critical,CA:TRUE"]
        openssl(*args)

    def expire(self, name):
        crt, key = self.pair(name)
        with open(self.path("ca.conf"), "w") as f:
            f.write("[ca]\ndefault_ca=d\n[d]\ndatabase=%s\nserial=%s\nnew_certs_dir=%s\ndefault_md=sha256\npolicy=p\n"
                    "copy_extensions=copy\n[p]\ncommonName=supplied\n"
                    % (self.path("index"), self.path("serial"), self.dir))
        for file, text in (("index", ""), ("serial", "01\n")):
            with open(self.path(file), "w") as f:
                f.write(text)
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                "-out", self.path("csr"), "-subj", "/CN=" + name, "-addext", "subjectAltName=DNS:api.internal")
        openssl("ca", "-batch", "-config", self.path("ca.conf"), "-notext", "-in", self.path("csr"), "-out", crt,
                "-cert", self.path("ca.crt"), "-keyfile", self.path("ca.key"),
                "-startdate", "20200101000000Z", "-enddate", "20200201000000Z")


def setUpModule():
    global certs
    certs = Certs()


def tearDownModule():
    shutil.rmtree(certs.dir)


class TlsServer(Server):
    """Speaks TLS. `hellos` has of each connection the name that was asked for, `agreed` what was agreed on:
    (protocol, resumed); `failed` the handshakes that came to nothing."""

    def __init__(self, script=None, cert="good", client_ca=None, version=None, before=None):
        self.hellos, self.agreed, self.failed, self.before = [], [], [], before
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certs.pair(cert))
        self.context.set_alpn_protocols(["http/1.1"])
        self.context.sni_callback = lambda s, name, c: self.hellos.append(name)
        if version:
            self.context.maximum_version = version
        if client_ca:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(certs.pair(client_ca)[0])
        super().__init__(script)

    def serve(self, conn, n):
        try:
            if self.before:
                self.before(conn)
            secure = self.context.wrap_socket(conn, server_side=True)
        except (OSError, ssl.SSLError) as e:
            self.failed.append(str(e))
            conn.close()
            return
        self.agreed.append((secure.selected_alpn_protocol(), secure.session_reused))
        self.conns[n] = secure
        super().serve(secure, n)


def goodbye(conn):
    """close_notify, and whatever the other side makes of it."""
    conn.settimeout(2)
    try:
        conn.unwrap()
    except (OSError, ssl.SSLError):
        pass


class Case(rig.Case):
    def serve(self, *args, **how):
        s = TlsServer(*args, **how)
        self.addCleanup(s.kill)
        return s

    def config(self, servers, tls, pool="", listener=""):
        listed = ", ".join('s%d: "%s"' % (i, s if isinstance(s, str) else "127.0.0.1:%d" % s.port)
                           for i, s in enumerate(servers))
        return ('listeners: {web: {bind: "127.0.0.1:{port}", pool: web%s}}\nlog: {access: "{tmp}/access"}\n'
                "pools: {web: {servers: {%s}, tls: %s%s}}\n"
                % (", " + listener if listener else "", listed, tls.replace("CA", certs.path("ca.crt")),
                   ", " + pool if pool else ""))

    def proxy(self, servers, tls="{ca: CA, server_name: api.internal}", pool="", listener="", more="", **how):
        p = Proxy(more + self.config(servers, tls, pool, listener), **how)
        self.addCleanup(self.stop, p)
        return p

    def access(self, p):
        name = os.path.join(p.tmp, "access")
        self.eventually(lambda: os.path.exists(name) and os.path.getsize(name))
        with open(name) as f:
            return f.read()

    def refuses(self, p, reason):
        """502 because of the server's TLS, for this reason."""
        self.assertEqual(rig.ask(p, GET).status, 502)
        self.eventually(lambda: "server.tls_failed" in p.logged())
        self.assertIn(reason, p.logged())
        self.eventually(lambda: "server tls" in self.access(p))


class Verification(Case):
    def test_a_server_that_is_who_it_should_be(self):
        s = self.serve(cert="named")
        p = self.proxy([s])
        self.assertEqual(rig.ask(p, GET).body, b"ok")
        self.assertEqual(s.hellos, ["api.internal"])
        self.assertEqual(s.agreed, [("http/1.1", False)])
        server = p.status()["pools"]["web"]["servers"]["s0"]
        self.assertEqual(server["tls"], "verified")
        self.assertEqual(p.status()["tls_handshakes"]["servers"],
                         {"full_total": 1, "resumed_total": 0, "failed_total": 0})

    def test_wrong_name(self):
        p = self.proxy([self.serve()], "{ca: CA, server_name: shop.internal}")
        self.refuses(p, "certificate verify failed: hostname mismatch")
        self.assertEqual(p.status()["tls_handshakes"]["servers"]["failed_total"], 1)

    def test_expired(self):
        self.refuses(self.proxy([self.serve(cert="expired")]), "certificate verify failed: certificate has expired")

    def test_unknown_authority(self):
        self.refuses(self.proxy([self.serve(cert="stranger")]),
                     "certificate verify failed: unable to get local issuer certificate")

    def test_the_systems_authorities_do_not_know_ours(self):
        self.refuses(self.proxy([self.serve()], "true"), "certificate verify failed: unable to get local issuer")

    def test_unverified_takes_anybody(self):
        s = self.serve(cert="expired")
        p = self.proxy([s], "{verify: false}")
        self.assertEqual(rig.ask(p, GET).body, b"ok")
        self.assertEqual(p.status()["pools"]["web"]["servers"]["s0"]["tls"], "not verified")

    def test_an_address_is_looked_for_in_the_certificate_and_not_asked_for(self):
        s = self.serve(cert="good")
        self.assertEqual(rig.ask(self.proxy([s], "{ca: CA}"), GET).body, b"ok")
        self.assertEqual(s.hellos, [None])
        self.refuses(self.proxy([self.serve(cert="named")], "{ca: CA}"), "IP address mismatch")

    def test_a_server_with_a_host_has_that_name(self):
        dns = Dns()
        self.addCleanup(dns.close)
        dns.records[("api.internal", A)] = dns.records[("other.internal", A)] = ["127.0.0.1"]
        s = self.serve(cert="named")
        resolver = 'resolvers: ["127.0.0.1:%d"]\n' % dns.port
        p = self.proxy(["api.internal:%d" % s.port], "{ca: CA}", more=resolver)
        self.assertEqual(rig.ask(p, GET).body, b"ok")
        self.assertEqual(s.hellos, ["api.internal"])
        p = self.proxy(["other.internal:%d" % s.port], "{ca: CA}", more=resolver)
        self.refuses(p, "hostname mismatch")
        p = self.proxy([], "{ca: CA}", pool='discover: {dns: "api.internal:%d"}' % s.port, more=resolver)
        self.eventually(lambda: rig.ask(p, GET).body == b"ok")  # DNS may take longer than a start waits

    def test_another_server_is_tried(self):
        bad, good = self.serve(cert="stranger"), self.serve()
        p = self.proxy([bad, good], pool="balance: round_robin")
        for _ in range(3):  # the budget's least
            self.assertEqual(rig.ask(p, GET.replace(b"GET", b"POST")).status, 200)
        self.assertTrue(bad.failed)

    def test_failures_put_a_server_aside_with_the_reason(self):
        bad, good = self.serve(cert="stranger"), self.serve()
        p = self.proxy([bad, good], pool="balance: round_robin, passive: {failures: 2}")
        server = lambda: p.status()["pools"]["web"]["servers"]["s0"]
        while "ejected" not in server()["health"]:
            self.assertEqual(rig.ask(p, GET).status, 200)
        self.assertIn("TLS: certificate verify failed", server()["reason"])


class OurCertificate(Case):
    def test_is_shown_to_who_asks(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            s = self.serve(client_ca="ca", version=version)
            p = self.proxy([s], "{ca: CA, server_name: api.internal, cert: %s, key: %s}" % certs.pair("client"))
            self.assertEqual(rig.ask(p, GET).body, b"ok")

    def test_a_server_that_misses_it_is_not_the_one(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            strict, open_to_all = self.serve(client_ca="ca", version=version), self.serve()
            p = self.proxy([strict])
            self.assertEqual(rig.ask(p, GET).status, 502)
            self.assertIn("server tls", self.access(p))
            self.assertIn("server.tls_failed", p.logged())
            p = self.proxy([strict, open_to_all], pool="balance: round_robin")
            for _ in range(3):  # also one that must not be done twice
                answer = rig.ask(p, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
                self.assertEqual(answer.status, 200)
            self.assertTrue(strict.failed)


class Sessions(Case):
    def test_are_resumed(self):
        def once(conn, n):
            s.read_request(conn, n)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            goodbye(conn)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            s = self.serve(once, version=version)
            p = self.proxy([s])
            for _ in range(4):
                self.assertEqual(rig.ask(p, GET).body, b"ok")
            self.assertEqual([resumed for _, resumed in s.agreed], [False, True, True, True])
            self.assertEqual(p.status()["tls_handshakes"]["servers"]["resumed_total"], 3)

    def test_connections_are_kept_in_spite_of_tickets(self):
        s = self.serve()
        p = self.proxy([s])
        for _ in range(3):
            self.assertEqual(rig.ask(p, GET).body, b"ok")
            time.sleep(0.05)
        self.assertEqual(len(s.received), 1)

    def test_end_with_what_they_were_agreed_under(self):
        s = self.serve()
        p = self.proxy([s])
        self.assertEqual(rig.ask(p, GET).body, b"ok")
        p.write(self.config([s], "{ca: CA, server_name: shop.internal}"))
        self.assertTrue(p.rpc("reload")["result"]["ok"])
        self.refuses(p, "hostname mismatch")  # neither the connection nor the session gets round that
        p.write(self.config([s], "{ca: CA, server_name: api.internal}"))
        self.assertTrue(p.rpc("reload")["result"]["ok"])
        self.assertEqual(rig.ask(p, GET).body, b"ok")
        self.assertEqual(s.agreed, [("http/1.1", False)] * 2)
        p.write(self.config([s], "{ca: CA, server_name: api.internal}", pool="balance: random"))
        self.assertTrue(p.rpc("reload")["result"]["ok"])
        self.assertEqual(rig.ask(p, GET).body, b"ok")
        self.assertEqual(len(s.agreed), 2, "the same TLS: the connection goes on")


class Trouble(Case):
    def test_a_handshake_that_stalls(self):
        silent, good = Server(lambda conn, n: conn.recv(10000) and time.sleep(3)), self.serve()
        self.addCleanup(silent.kill)
        p = self.proxy([silent], pool="timeouts: {connect: 200ms}")
        began = time.monotonic()
        self.assertEqual(rig.ask(p, GET).status, 504)
        self.assertLess(time.monotonic() - began, 2)
        self.assertIn("timeout:connect", self.access(p))
        p = self.proxy([silent, good], pool="timeouts: {connect: 200ms}, balance: round_robin")
        for _ in range(2):
            self.assertEqual(rig.ask(p, GET).status, 200)

    def test_clear_text_for_an_answer(self):
        s = Server(lambda conn, n: conn.recv(10000) and conn.sendall(b"HTTP/1.1 400 Bad\r\n\r\n"))
        self.addCleanup(s.kill)
        self.refuses(self.proxy([s]), "wrong version number")

    def ending(self, head, how):
        """What the client gets of 'half' behind this head, when the connection ends so."""
        def script(conn, n):
            s.read_request(conn, n)
            conn.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\nhalf")
            how(conn)
        s = self.serve(script)
        return rig.ask(self.proxy([s]), GET).body

    def test_an_answer_until_the_close_needs_its_end(self):
        self.assertEqual(self.ending(b"", goodbye), b"half")
        with self.assertRaises((EOFError, ConnectionResetError)):
            self.ending(b"", lambda conn: conn.shutdown(socket.SHUT_RDWR))

    def test_an_answer_that_breaks_off(self):
        def garbage(conn):
            raw = socket.socket(fileno=os.dup(conn.fileno()))
            raw.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)  # a record that was never encrypted
            raw.close()

        def alert(conn):
            raw = socket.socket(fileno=os.dup(conn.fileno()))
            raw.sendall(b"\x15\x03\x03\x00\x02\x02\x50")
            raw.close()
        for how in (garbage, alert, goodbye):
            with self.assertRaises((EOFError, ConnectionResetError)):
                self.ending(b"Content-Length: 100\r\n", how)

    def test_a_complete_answer_needs_no_goodbye(self):
        self.assertEqual(self.ending(b"Content-Length: 4\r\n", lambda conn: conn.shutdown(socket.SHUT_RDWR)), b"half")


class Through(Case):
    def test_large_content_both_ways(self):
        content = os.urandom(1 << 16) * 192  # 12 MB

        def script(conn, n):
            head, rest = s.read_head(conn, n)
            digest, have = hashlib.sha256(rest), len(rest)
            while have < len(content):
                data = conn.recv(1 << 18)
                digest.update(data)
                have += len(data)
                if have < 1 << 20:
                    time.sleep(0.01)
            s.digest = digest.hexdigest()
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content))
            conn.sendall(content)
        s = self.serve(script)
        p = self.proxy([s])
        with p.connect() as c:
            head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(content)
            c.sendall(head + content)
            time.sleep(0.3)  # nobody reads the answer for a while
            r = Reader(c).response()
        self.assertEqual(hashlib.sha256(r.body).digest(), hashlib.sha256(content).digest())
        self.assertEqual(s.digest, hashlib.sha256(content).hexdigest())

    def test_an_upgrade(self):
        def script(conn, n):
            s.read_head(conn, n)
            conn.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello")
            while True:
                data = conn.recv(100)
                if not data:
                    conn.sendall(b"bye")
                    goodbye(conn)
                    return
                conn.sendall(data.upper())
        s = self.serve(script)
        p = self.proxy([s])
        with p.connect() as c:
            c.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            r = Reader(c)
            self.assertIn(b"101", r.until(b"\r\n\r\n"))
            self.assertEqual(r.exactly(5), b"hello")
            c.sendall(b"abc")
            self.assertEqual(r.exactly(3), b"ABC")
            c.shutdown(socket.SHUT_WR)
            self.assertEqual(r.rest(), b"bye")

    def test_plain_tcp(self):
        content = os.urandom(1 << 16) * 32

        def script(conn, n):
            data = b""
            while True:  # to the close_notify, and then some
                more = conn.recv(1 << 18)
                if not more:
                    break
                data += more
            conn.sendall(hashlib.sha256(data).hexdigest().encode() + content)
            goodbye(conn)
        s = self.serve(script)
        p = self.proxy([s], listener="mode: tcp")
        with p.connect() as c:
            c.sendall(content)
            c.shutdown(socket.SHUT_WR)
            r = Reader(c).rest()
        self.assertEqual(r, hashlib.sha256(content).hexdigest().encode() + content)
        self.assertEqual(s.agreed[0][0], None, "nobody knows what it speaks")

    def test_plain_tcp_that_is_cut(self):
        s = self.serve(lambda conn, n: (conn.recv(10), conn.sendall(b"half"), conn.shutdown(socket.SHUT_RDWR)))
        p = self.proxy([s], listener="mode: tcp")
        with p.connect() as c:
            c.sendall(b"x")
            with self.assertRaises(ConnectionResetError):
                Reader(c).rest()

    def test_a_proxy_header_comes_before_the_handshake(self):
        headers = []
        for version in (b"v1", b"v2"):
            def before(conn):
                want = 16 if version == b"v2" else 0
                data = conn.recv(want or 1)
                if want:
                    data += conn.recv(struct.unpack("!H", data[14:16])[0])
                while not want and not data.endswith(b"\r\n"):
                    data += conn.recv(1)
                headers.append(data)
            s = self.serve(before=before)
            p = self.proxy([s], pool="send_proxy: %s, health: {http: /, every: 10s}" % version.decode())
            self.eventually(lambda: p.status()["pools"]["web"]["servers"]["s0"]["health"] == "up")
            self.assertEqual(rig.ask(p, GET).body, b"ok")
        self.assertTrue(headers[1].startswith(b"PROXY TCP4 127.0.0.1 "), headers)
        self.assertTrue(headers[3].startswith(b"\r\n\r\n\0\r\nQUIT\n\x21\x11"), headers)


class Http2(Case):
    def server(self, protocols):
        from test_h2 import H2Server
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certs.pair("good"))
        context.set_alpn_protocols(protocols)

        class Secure(H2Server):
            def serve(self, sock):
                try:
                    super().serve(context.wrap_socket(sock, server_side=True))
                except (OSError, ssl.SSLError):
                    sock.close()
        s = Secure()
        self.addCleanup(s.kill)
        return s

    def test_is_agreed_on(self):
        s = self.server(["h2", "http/1.1"])
        p = self.proxy([s], pool="protocol: h2")
        for _ in range(3):
            self.assertEqual(rig.ask(p, GET).body, b"ok")
        self.assertEqual(len(s.conns), 1)
        self.assertEqual(s.heads[0][":scheme"], "https")
        p.write(self.config([s], "{ca: CA, server_name: shop.internal}", pool="protocol: h2"))
        self.assertTrue(p.rpc("reload")["result"]["ok"])
        self.refuses(p, "hostname mismatch")

    def test_is_not_spoken_to_who_has_not_agreed(self):
        self.refuses(self.proxy([self.server(["http/1.1"])], pool="protocol: h2"), "it does not speak HTTP/2")


class Checks(Case):
    def health(self, p):
        return p.status()["pools"]["web"]["servers"]["s0"]

    def test_speak_tls_too(self):
        for kind in ("http: /up, body: yes", "tcp: true"):
            s = self.serve(lambda conn, n: s.answer_all(conn, n, b"yes"), version=ssl.TLSVersion.TLSv1_2)
            p = self.proxy([s], pool="health: {%s, every: 1s, rise: 1}" % kind)
            self.eventually(lambda: self.health(p)["health"] == "up")
            self.eventually(lambda: s.agreed)
            self.assertEqual(s.hellos[0], "api.internal")
            self.assertEqual(s.agreed[0][0], "http/1.1" if "http" in kind else None)

    def test_verify_as_traffic_does(self):
        for kind in ("http: /", "tcp: true", "grpc: '*'"):
            s = self.serve(cert="stranger")
            p = self.proxy([s], pool="health: {%s, every: 1s, fall: 1}" % kind)
            self.eventually(lambda: self.health(p)["health"] == "down")
            self.assertEqual(self.health(p)["reason"],
                             "TLS: certificate verify failed: unable to get local issuer certificate")

    def test_a_large_answer_is_read_to_its_end(self):
        s = self.serve(lambda conn, n: s.answer_all(conn, n, b"x" * 50000 + b"yes"))
        p = self.proxy([s], pool="health: {http: /, body: yes, every: 1s, fall: 1}")
        self.eventually(lambda: self.health(p)["health"] == "up")

    def test_a_handshake_that_stalls(self):
        s = Server(lambda conn, n: time.sleep(3))
        self.addCleanup(s.kill)
        p = self.proxy([s], pool="health: {http: /, every: 1s, timeout: 100ms, fall: 1}")
        self.eventually(lambda: self.health(p)["health"] == "down")
        self.assertIn("timeout after 100ms", self.health(p)["reason"])


class Configuration(Case):
    def refused(self, tls, *words, pool=""):
        p = self.proxy([self.serve()])
        p.write(self.config(["127.0.0.1:1"], tls, pool))
        answer = p.rpc("reload")
        self.assertIn("error", answer)
        text = str(answer["error"])
        for word in words:
            self.assertIn(word, text)
        self.assertEqual(rig.ask(p, GET).body, b"ok", "what runs goes on")

    def test_files_that_cannot_be_used(self):
        bad = certs.path("bad.pem")
        with open(bad, "w") as f:
            f.write("nothing\n")
        self.refused("{ca: %s}" % bad, "cannot use", bad, "tandem.yaml:4")
        self.refused("{ca: /nowhere}", "cannot use /nowhere")
        self.refused("{cert: %s}" % bad, bad, "holds no certificate")
        self.refused("{cert: %s, key: %s}" % (certs.pair("good")[0], certs.pair("client")[1]), "does not belong to")

    def test_what_makes_no_sense(self):
        self.refused("{ca: CA, verify: false}", "'ca' has no effect")
        self.refused("{key: CA}", "without 'cert'")
        self.refused("true", "which name", pool='discover: {dns: "_https._tcp.api.internal"}')

    def test_a_changed_file_counts_from_the_reload(self):
        ca = certs.path("changing.crt")
        shutil.copy(certs.path("other.crt"), ca)
        s = self.serve()
        p = self.proxy([s], "{ca: %s, server_name: api.internal}" % ca)
        self.assertEqual(rig.ask(p, GET).status, 502)
        shutil.copy(certs.path("ca.crt"), ca)
        self.assertIn("pool web: certificates changed", str(p.rpc("reload")["result"]))
        self.assertEqual(rig.ask(p, GET).status, 200)


if __name__ == "__main__":
    unittest.main()
