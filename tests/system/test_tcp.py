#!/usr/bin/python3
"""Plain TCP through the real program: who speaks first, ends, bulk, servers that refuse, limits and counters."""
import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
import unittest

from rig import PATIENCE_S, Reader, free_port
from test_http1 import Case, get

CONFIG = """
timeouts: {connect: 500ms, drain: 1s%s}
log: {access: %s, format: %s}
listeners:
  db: {bind: "127.0.0.1:{port}", mode: tcp, pool: db%s}
pools:
  db:
    servers: {%s}
"""


def config(*ports, listener="", pool="", times="", access="'off'", form="json"):
    servers = ", ".join('d%d: "127.0.0.1:%d"' % (i, port) for i, port in enumerate(ports))
    text = CONFIG % (times, access, form, listener, servers)
    return text + "".join("    %s\n" % line for line in pool.splitlines())


def rest(sock):
    parts = []
    while True:
        data = sock.recv(262144)
        if not data:
            return b"".join(parts)
        parts.append(data)


def linger_none(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Tcp(Case):
    def start(self, text, **how):
        """A connection that asks whether it listens would be one too many."""
        p = self.proxy(text, wait=False, **how)

        def answers():
            try:
                return p.status()
            except OSError:
                self.assertIsNone(p.proc.poll(), p.logged())
        self.eventually(answers, 10)
        return p

    def echo_server(self):
        def script(conn, n):
            data = s.read(conn, n)
            while data:
                conn.sendall(data)
                data = s.read(conn, n)
        s = self.serve(script)
        return s

    def assert_reset(self, p):
        """Maybe before it has seen that it was connected."""
        with self.assertRaises(ConnectionResetError):
            with p.connect() as c:
                c.recv(1)

    def pool(self, p):
        return p.status()["pools"]["db"]

    def lines(self, p):
        path = os.path.join(p.tmp, "access.log")
        if not os.path.exists(path):
            return []
        with open(path) as f:
            return f.read().splitlines()


class Bytes(Tcp):
    def test_a_server_may_speak_first(self):
        def script(conn, n):
            conn.sendall(b"220 ready\r\n")
            conn.sendall(conn.recv(100).upper())
        p = self.start(config(self.serve(script).port))
        with p.connect() as c:
            self.assertEqual(c.recv(100), b"220 ready\r\n")
            c.sendall(b"helo")
            self.assertEqual(rest(c), b"HELO")

    def test_what_a_client_sends_at_once_arrives_and_its_end_behind_it(self):
        s = self.serve(lambda conn, n: conn.sendall(b"got %d" % len(self.all_of(s, conn, n))))
        p = self.start(config(s.port))
        with p.connect() as c:
            c.sendall(b"\x00\xff" * 50000)
            c.shutdown(socket.SHUT_WR)
            self.assertEqual(rest(c), b"got 100000")
        self.assertEqual(bytes(s.received[0]), b"\x00\xff" * 50000)

    def all_of(self, s, conn, n):
        while s.read(conn, n):
            pass
        return s.received[n]

    def test_a_client_that_says_nothing_and_goes_ends_the_servers_connection_cleanly(self):
        ended = []
        s = self.serve(lambda conn, n: ended.append(conn.recv(10)))
        p = self.start(config(s.port))
        p.connect().close()
        self.eventually(lambda: ended == [b""])

    def test_a_server_that_goes_at_once_ends_the_clients_connection_cleanly(self):
        p = self.start(config(self.serve(lambda conn, n: None).port))
        with p.connect() as c:
            self.assertEqual(rest(c), b"")

    def test_a_reset_is_passed_on_as_one(self):
        def script(conn, n):
            conn.recv(1)
            linger_none(conn)
        p = self.start(config(self.serve(script).port))
        with p.connect() as c:
            c.sendall(b"x")
            with self.assertRaises(ConnectionResetError):
                c.recv(1)

    def test_each_side_may_end_first_and_go_on_reading(self):
        def script(conn, n):
            conn.sendall(b"all that I have")
            conn.shutdown(socket.SHUT_WR)
            while s.read(conn, n):
                pass
        s = self.serve(script)
        p = self.start(config(s.port))
        with p.connect() as c:
            self.assertEqual(rest(c), b"all that I have")
            c.sendall(b"and I")
            time.sleep(0.1)
            c.sendall(b" this")
        self.eventually(lambda: bytes(s.received[0]) == b"and I this")
        self.eventually(lambda: p.status()["server_connections"] == 0)

    def test_bulk_both_ways_at_once_is_the_same_at_the_other_end(self):
        size, piece = 16 << 20, os.urandom(1 << 16)
        p = self.start(config(self.echo_server().port))
        with p.connect() as c:
            def send():
                for _ in range(size // len(piece)):
                    c.sendall(piece)
                c.shutdown(socket.SHUT_WR)
            threading.Thread(target=send, daemon=True).start()
            digest, count = hashlib.sha256(), 0
            while data := c.recv(1 << 16):
                digest.update(data)
                count += len(data)
        want = hashlib.sha256()
        for _ in range(size // len(piece)):
            want.update(piece)
        self.assertEqual((count, digest.digest()), (size, want.digest()))
        self.assertGreater(p.status()["pipes"]["open"], 0)


    def test_a_second_message_does_not_wait_until_the_first_is_acknowledged(self):
        gaps = []

        def script(conn, n):  # acknowledges late, and not what it answers: it says nothing
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            conn.recv(1)
            began = time.monotonic()
            conn.recv(1)
            gaps.append(time.monotonic() - began)
        s = self.serve(script)
        s.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        p = self.start(config(s.port))
        for tries in range(1, 11):
            with p.connect() as c:
                c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                c.sendall(b"a")
                time.sleep(0.005)
                c.sendall(b"b")
                self.eventually(lambda: len(gaps) == tries)
        self.assertLess(min(gaps), 0.03)


class Pool(Tcp):
    def test_a_server_that_refuses_is_passed_over(self):
        s = self.echo_server()
        p = self.start(config(free_port(), s.port))
        for _ in range(4):
            with p.connect() as c:
                c.sendall(b"hi")
                self.assertEqual(c.recv(10), b"hi")
        self.assertGreater(self.pool(p)["servers"]["d0"]["failures_total"], 0)

    def test_with_no_server_the_client_is_reset(self):
        p = self.start(config(free_port()))
        self.assert_reset(p)

    def test_what_a_client_sent_before_the_server_was_found_goes_to_the_one_that_is(self):
        full = socket.socket()  # a queue of one that nobody takes: connecting takes until the time is over
        self.addCleanup(full.close)
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fill = [socket.socket() for _ in range(3)]
        for f in fill:
            self.addCleanup(f.close)
            f.setblocking(False)
            f.connect_ex(full.getsockname())
        time.sleep(0.1)
        s = self.echo_server()
        p = self.start(config(full.getsockname()[1], s.port, pool="balance: round_robin"))
        for _ in range(2):
            with p.connect() as c:
                c.sendall(b"early" * 2000)
                c.shutdown(socket.SHUT_WR)
                self.assertEqual(rest(c), b"early" * 2000)
        self.assertGreater(self.pool(p)["retries_total"], 0)

    def test_a_connection_is_in_flight_at_its_server_and_the_next_goes_to_another(self):
        a, b = self.echo_server(), self.echo_server()
        p = self.start(config(a.port, b.port))
        held = [p.connect() for _ in range(4)]
        for c in held:
            self.addCleanup(c.close)
            c.sendall(b"x")
            c.recv(1)
        servers = self.pool(p)["servers"]
        self.assertEqual([servers[n]["in_flight"] for n in ("d0", "d1")], [2, 2])
        for c in held:
            c.close()
        self.eventually(lambda: all(s["in_flight"] == 0 for s in self.pool(p)["servers"].values()))

    def test_over_the_servers_limit_a_connection_waits_for_its_turn(self):
        s = self.serve(lambda conn, n: (conn.sendall(b"hello"), conn.recv(10)))
        p = self.start(config(s.port, pool="limits: {connections_per_server: 1, queue: 1, queue_timeout: 5s}"))
        first = p.connect()
        self.assertEqual(first.recv(10), b"hello")
        with p.connect() as second:
            self.eventually(lambda: self.pool(p)["servers"]["d0"]["queued"] == 1)
            self.assert_reset(p)  # no room in the line
            first.close()
            self.assertEqual(second.recv(10), b"hello")

    def test_the_same_client_comes_to_the_same_server(self):
        names = [self.serve(lambda conn, n, i=i: conn.sendall(b"%d" % i)) for i in range(3)]
        p = self.start(config(*[s.port for s in names], pool="balance: hash client_ip"))

        def ask(ip):
            with socket.create_connection(("127.0.0.1", p.port), PATIENCE_S, (ip, 0)) as c:
                return rest(c)
        seen = {ip: ask(ip) for ip in ["127.0.0.%d" % i for i in range(1, 20)]}
        self.assertGreater(len(set(seen.values())), 1)
        self.assertEqual(seen, {ip: ask(ip) for ip in seen})


class Times(Tcp):
    def test_a_tunnel_on_which_nothing_moves_is_cut(self):
        p = self.start(config(self.echo_server().port, listener=", timeouts: {tunnel: 300ms}"))
        with p.connect() as c:
            c.sendall(b"x")
            self.assertEqual(c.recv(1), b"x")
            began = time.monotonic()
            with self.assertRaises(ConnectionResetError):
                c.recv(1)
            self.assertGreater(time.monotonic() - began, 0.25)

    def test_a_stop_lets_it_go_on_for_the_drain_time(self):
        p = self.start(config(self.echo_server().port))
        c = p.connect()
        self.addCleanup(c.close)
        c.sendall(b"x")
        self.assertEqual(c.recv(1), b"x")
        p.proc.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        c.sendall(b"y")
        self.assertEqual(c.recv(1), b"y")
        with self.assertRaises(ConnectionResetError):
            c.recv(1)
        self.assertEqual(p.proc.wait(5), 0)

    def test_a_reload_that_keeps_the_listener_touches_no_connection(self):
        s = self.echo_server()
        text = config(s.port)
        p = self.start(text)
        c = p.connect()
        self.addCleanup(c.close)
        c.sendall(b"x")
        self.assertEqual(c.recv(1), b"x")
        p.write(text.replace("mode: tcp", "mode: tcp, limits: {connections: 9}"))
        self.assertTrue(p.rpc("reload")["result"]["ok"])
        time.sleep(1.3)
        c.sendall(b"y")
        self.assertEqual(c.recv(1), b"y")


SHARED = """
timeouts: {head: 1s, connect: 500ms}
log: {access: "{tmp}/access.log"}
listeners:
  through:
    bind: "127.0.0.1:{port}"
    mode: tls_passthrough
    routes:
      - {match: {host: a.example}, pool: a}
      - {match: {host: "*.b.example"}, pool: b}
%s%s
pools:
  a: {servers: {a0: "127.0.0.1:%d"}}
  b: {servers: {b0: "127.0.0.1:%d"}}
"""
BEHIND = """
  web: {bind: "127.0.0.1:{port}", pool: b}
"""


class Passthrough(Tcp):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="tandem-")
        cls.pem = os.path.join(cls.dir, "pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "1", "-subj", "/CN=test", "-keyout", cls.pem, "-out", cls.pem + ".crt"],
                       check=True, capture_output=True)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.dir)

    def tls_server(self, name):
        """Says its name, and with which host name it was asked."""
        def script(conn, n):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.pem + ".crt", self.pem)
            asked = []
            context.sni_callback = lambda sock, host, context: asked.append(host)
            with context.wrap_socket(conn, server_side=True) as tls:
                tls.sendall(("%s %s" % (name, asked[0])).encode())
        return self.serve(script)

    def shared(self, more="", behind="", web=None):
        b = web or self.tls_server("b")
        return self.start(SHARED % (more, behind, self.tls_server("a").port, b.port))

    def ask(self, p, host):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(p.connect(), server_hostname=host) as tls:
            return tls.recv(100).decode()

    def hello(self, host):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        out = ssl.MemoryBIO()
        with self.assertRaises(ssl.SSLWantReadError):
            context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=host).do_handshake()
        return out.read()

    def test_the_name_chooses_the_route_and_the_server_gets_the_handshake(self):
        p = self.shared()
        self.assertEqual(self.ask(p, "a.example"), "a a.example")
        self.assertEqual(self.ask(p, "A.Example"), "a A.Example")
        self.assertEqual(self.ask(p, "x.b.example"), "b x.b.example")
        self.eventually(lambda: len(self.lines(p)) == 3)
        line = json.loads(self.lines(p)[0])
        self.assertEqual((line["host"], line["pool"], line["end"]), ("a.example", "a", "ok"))
        self.assertEqual(p.status()["listeners"]["through"]["mode"], "tls_passthrough")

    def test_without_a_name_only_a_route_without_a_host_matches(self):
        p = self.shared(more="      - {pool: b}\n")
        self.assertEqual(self.ask(p, None), "b None")
        self.assertEqual(self.ask(p, "other.example"), "b other.example")

    def test_a_name_that_no_route_takes_is_refused_in_the_words_of_tls(self):
        p = self.shared()
        for host in ("c.example", None):
            with self.assertRaisesRegex(ssl.SSLError, "(?i)unrecognized.name"):
                self.ask(p, host)
        self.eventually(lambda: len(self.lines(p)) == 2)
        self.assertEqual(json.loads(self.lines(p)[0])["end"], "proxy no-route")

    def test_a_hello_may_come_in_pieces_and_records(self):
        p = self.shared()
        hello = self.hello("a.example")
        body, cut = hello[5:], b""
        for at in range(0, len(body), 40):
            piece = body[at:at + 40]
            cut += b"\x16\x03\x01" + struct.pack(">H", len(piece)) + piece
        for data, step in ((hello, 1), (cut, 23), (cut, len(cut))):
            with p.connect() as c:
                for i, at in enumerate(range(0, len(data), step)):
                    c.sendall(data[at:at + step])
                    if i < 60:  # a busy machine takes ten milliseconds, and a head has not for ever
                        time.sleep(0.0005)
                self.assertEqual(c.recv(3)[:2], b"\x16\x03")

    def test_what_is_no_tls_is_refused_and_half_a_hello_waited_for_as_long_as_a_head(self):
        p = self.shared()
        with p.connect() as c:
            c.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with self.assertRaises(ConnectionResetError):
                c.recv(1)
        self.eventually(lambda: self.lines(p))
        self.assertEqual(json.loads(self.lines(p)[0])["end"], "client tls-hello")
        with p.connect() as c:
            c.sendall(self.hello("a.example")[:100])
            began = time.monotonic()
            with self.assertRaises(ConnectionResetError):
                c.recv(1)
            self.assertGreater(time.monotonic() - began, 0.9)

    def test_what_no_route_takes_goes_to_the_listener_with_the_same_address(self):
        web = self.serve()
        p = self.shared(behind=BEHIND, web=web)
        self.assertEqual(self.ask(p, "a.example"), "a a.example")
        with p.connect() as c:
            r = Reader(c)
            for _ in range(2):
                c.sendall(get())
                self.assertEqual(r.response().status, 200)
        self.assertIn(b"X-Forwarded-Port: %d\r\n" % p.port, bytes(web.received[0]))
        with p.connect() as c:  # TLS that nobody here ends: HTTP's to refuse
            c.sendall(self.hello("c.example"))
            self.assertEqual(Reader(c).response().status, 400)
        listeners = p.status()["listeners"]
        self.eventually(lambda: p.status()["listeners"]["through"]["connections"] == 0)
        self.assertEqual((listeners["through"]["requests_total"], listeners["web"]["requests_total"]), (1, 3))

    def test_tls_for_other_names_ends_in_the_listener_behind_also_after_a_proxys_header(self):
        web = self.serve()
        behind = """
  web: {bind: "127.0.0.1:{port}", pool: b, tls: {certificates: [{cert: "%s.crt", key: "%s"}]}}
""" % (self.pem, self.pem)
        text = SHARED % ("", behind, self.tls_server("a").port, web.port)
        header = b"PROXY TCP4 192.0.2.7 198.51.100.9 40000 8443\r\n"
        p = self.start(text.replace("    routes:", "    proxy_protocol: {from: 127.0.0.1}\n    routes:"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        c = p.connect()
        c.sendall(header)
        with context.wrap_socket(c, server_hostname="c.example") as tls:
            tls.sendall(get())
            self.assertEqual(Reader(tls).response().status, 200)
        head = bytes(web.received[0])
        for field in (b"X-Forwarded-For: 192.0.2.7", b"X-Forwarded-Port: 8443", b"X-Forwarded-Proto: https"):
            self.assertIn(field + b"\r\n", head)
        c = p.connect()
        c.sendall(header)
        with context.wrap_socket(c, server_hostname="a.example") as tls:
            self.assertEqual(tls.recv(100), b"a a.example")

    def test_listeners_come_to_an_address_and_leave_it_and_nobody_is_cut(self):
        web = self.serve()
        both = SHARED % ("", BEHIND, self.tls_server("a").port, web.port)
        through, behind = both.replace(BEHIND, ""), "listeners:" + BEHIND + both[both.index("\npools:"):]
        p = self.start(behind)

        def load(text):
            p.write(text)
            self.assertTrue(p.rpc("reload")["result"]["ok"])

        def answers(r, c):
            c.sendall(get())
            return r.response()
        with p.connect() as c:
            r = Reader(c)
            self.assertEqual(answers(r, c).status, 200)
            load(both)  # one comes in front
            self.assertEqual(answers(r, c).status, 200)
            self.assertEqual(self.ask(p, "a.example"), "a a.example")
            load(behind)  # and goes
            self.assertIsNone(answers(r, c).get("connection"))
            with p.connect() as d:
                self.assertEqual(answers(Reader(d), d).status, 200)
            load(through)  # the one behind goes: who is there hears it with his next answer
            self.assertEqual(self.ask(p, "a.example"), "a a.example")
            self.assertEqual(answers(r, c).get("connection"), "close")
        with p.connect() as c:
            c.sendall(get())
            with self.assertRaises(ConnectionResetError):
                c.recv(1)


class Told(Tcp):
    def test_the_log_has_a_line_with_the_bytes_of_each_way_and_the_cause(self):
        p = self.start(config(self.echo_server().port, access="{tmp}/access.log"))
        with p.connect() as c:
            c.sendall(b"12345")
            self.assertEqual(c.recv(10), b"12345")
        self.eventually(lambda: self.lines(p))
        line = json.loads(self.lines(p)[0])
        self.assertEqual({k: line[k] for k in ("listener", "client", "bytes_in", "bytes_out", "pool", "server",
                                               "retries", "end")},
                         {"listener": "db", "client": "127.0.0.1", "bytes_in": 5, "bytes_out": 5, "pool": "db",
                          "server": "d0", "retries": 0, "end": "ok"})
        self.assertGreater(line["total_ms"], 0)
        self.assertFalse({"method", "host", "target", "status", "user_agent", "request_id"} & set(line))
        listener = p.status()["listeners"]["db"]
        self.assertEqual((listener["mode"], listener["requests_total"]), ("tcp", 1))

    def test_a_line_for_a_connection_that_found_no_server_says_so(self):
        p = self.start(config(free_port(), access="{tmp}/access.log", form="combined"))
        self.assert_reset(p)
        self.eventually(lambda: self.lines(p))
        self.assertRegex(self.lines(p)[0], r'^127\.0\.0\.1 - - \[.*\] "TCP db/d0" 502 0 "-" "-"$')


if __name__ == "__main__":
    unittest.main()
