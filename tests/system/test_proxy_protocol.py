#!/usr/bin/python3
"""The PROXY protocol through the real program: headers that are believed, refused or not taken for any, and those
that we send."""
import socket
import struct
import time
import unittest

from rig import PATIENCE_S, Reader
from test_http1 import get
from test_tcp import Tcp, config, rest

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.9 40000 8443\r\n"
LOCAL = SIGNATURE + b"\x20\0\0\0"


def v2(source="192.0.2.7", port=40000, tlvs=b""):
    body = socket.inet_aton(source) + socket.inet_aton("198.51.100.9") + struct.pack(">HH", port, 8443) + tlvs
    return SIGNATURE + b"\x21\x11" + struct.pack(">H", len(body)) + body


HTTP = """
timeouts: {head: 700ms}
log: {access: "{tmp}/access.log"}
listeners:
  h: {bind: "127.0.0.1:{port}", pool: db, proxy_protocol: {from: [127.0.0.1, 127.0.1.0/24]}%s}
pools:
  db: {servers: {d0: "127.0.0.1:%d"}%s}
"""


class In(Tcp):
    def http(self, listener="", pool=""):
        s = self.serve()
        return s, self.start(HTTP % (listener, s.port, pool))

    def connect(self, p, ip="127.0.0.1"):
        c = socket.create_connection(("127.0.0.1", p.port), PATIENCE_S, (ip, 0))
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.addCleanup(c.close)
        return c

    def forwarded(self, s):
        return {name.lower(): value for name, value in
                (line.split(": ", 1) for line in s.heads()[-1].decode().strip().split("\r\n")[1:])}

    def test_the_client_of_the_header_is_the_client(self):
        s, p = self.http()
        for header in (V1, v2()):
            c = self.connect(p)
            c.sendall(header + get())
            self.assertEqual(Reader(c).response().status, 200)
            f = self.forwarded(s)
            self.assertEqual((f["x-forwarded-for"], f["x-forwarded-port"]), ("192.0.2.7", "8443"))
        self.eventually(lambda: len(self.lines(p)) == 2)
        self.assertIn('"client":"192.0.2.7"', self.lines(p)[0])

    def test_byte_for_byte_is_the_same_and_the_connection_lives_on(self):
        s, p = self.http()
        for header in (V1, v2(tlvs=b"\x04\0\x20" + b"x" * 32)):
            c = self.connect(p)
            for i in range(len(header)):
                c.sendall(header[i:i + 1])
                time.sleep(0.0005)
            r = Reader(c)
            for _ in range(2):
                c.sendall(get())
                self.assertEqual(r.response().status, 200)
                self.assertEqual(self.forwarded(s)["x-forwarded-for"], "192.0.2.7")

    def test_a_header_that_speaks_of_nobody_leaves_the_connections_own_address(self):
        s, p = self.http()
        for header in (LOCAL, b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x21\x31\0\xd8" + b"/run/x".ljust(216, b"\0")):
            c = self.connect(p)
            c.sendall(header + get())
            self.assertEqual(Reader(c).response().status, 200)
            self.assertEqual(self.forwarded(s)["x-forwarded-for"], "127.0.0.1")

    def test_from_a_listed_address_the_header_must_be_there_and_good(self):
        s, p = self.http()
        for bad in (get(), b"PROXY TCP4 192.0.2.7 198.51.100.9 40000 99999\r\n" + get(), v2(tlvs=b"\x04\0\x01"),
                    SIGNATURE + b"\x31\x11\0\x0c" + b"\0" * 12):
            c = self.connect(p)
            c.sendall(bad)
            with self.assertRaises(ConnectionResetError):
                c.recv(1)
        self.assertEqual(s.received, [])
        self.eventually(lambda: len(self.lines(p)) >= 3)
        self.assertIn('"end":"client proxy-header"', self.lines(p)[0])
        told = p.rpc("errors")["result"]["requests"]["last"]
        self.assertIn("no PROXY protocol header", [t["reason"] for t in told])

    def test_half_a_header_is_waited_for_no_longer_than_a_head(self):
        s, p = self.http()
        c = self.connect(p)
        c.sendall(V1[:20])
        began = time.monotonic()
        with self.assertRaises(ConnectionResetError):
            c.recv(1)
        self.assertGreater(time.monotonic() - began, 0.6)
        self.assertLess(time.monotonic() - began, 2)
        c = self.connect(p)
        c.sendall(V1[:20])
        c.shutdown(socket.SHUT_WR)
        began = time.monotonic()
        with self.assertRaises(ConnectionResetError):
            c.recv(1)
        self.assertLess(time.monotonic() - began, 0.5)

    def test_half_a_header_does_not_keep_the_loop_busy(self):
        s, p = self.http()
        c = self.connect(p)
        c.sendall(v2()[:20])

        def ticks():
            with open("/proc/%d/stat" % p.proc.pid) as f:
                return sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))
        before = ticks()
        time.sleep(0.5)
        self.assertLess(ticks() - before, 5)
        c.sendall(v2()[20:] + get())
        self.assertEqual(Reader(c).response().status, 200)

    def test_from_any_other_address_a_header_is_bytes_like_others(self):
        s, p = self.http()
        c = self.connect(p, "127.0.0.2")
        c.sendall(V1 + get())
        self.assertEqual(Reader(c).response().status, 400)
        c = self.connect(p, "127.0.0.2")
        c.sendall(get())
        self.assertEqual(Reader(c).response().status, 200)
        self.assertEqual(self.forwarded(s)["x-forwarded-for"], "127.0.0.2")

    def test_the_limit_for_a_client_is_that_of_the_header(self):
        s, p = self.http(", limits: {connections_per_client: 1}")
        first, second, other = self.connect(p), self.connect(p), self.connect(p)
        first.sendall(v2() + get())
        self.assertEqual(Reader(first).response().status, 200)
        other.sendall(v2("192.0.2.8") + get())
        self.assertEqual(Reader(other).response().status, 200)
        second.sendall(v2(port=40001) + get())
        with self.assertRaises(ConnectionResetError):
            second.recv(1)
        first.close()

        def comes_in():
            c = self.connect(p)
            c.sendall(v2() + get())
            try:
                return Reader(c).response().status == 200
            except OSError:
                return False
        self.eventually(comes_in)

    def test_trusted_proxies_are_found_behind_the_header(self):
        s, p = self.http(", trusted_proxies: [192.0.2.0/24]")
        c = self.connect(p)
        c.sendall(V1 + get(extra="X-Forwarded-For: 203.0.113.5\r\n"))
        self.assertEqual(Reader(c).response().status, 200)
        self.assertEqual(self.forwarded(s)["x-forwarded-for"], "203.0.113.5, 192.0.2.7")

    def test_in_tcp_the_header_does_not_reach_the_server_and_the_rest_does(self):
        s = self.serve(lambda conn, n: (conn.sendall(b"220 hello "), conn.sendall(s.read(conn, n))))
        p = self.start(config(s.port, listener=", proxy_protocol: {from: 127.0.0.1}"))
        c = self.connect(p)
        c.sendall(v2() + b"EHLO")
        self.assertEqual(rest(c), b"220 hello EHLO")

    def test_in_tcp_a_bad_header_is_told_as_a_connection_and_not_as_a_request(self):
        p = self.start(config(self.echo_server().port, listener=", proxy_protocol: {from: 127.0.0.1}",
                              access="{tmp}/access.log"))
        c = self.connect(p)
        c.sendall(b"EHLO me\r\n")
        with self.assertRaises(ConnectionResetError):
            c.recv(1)
        self.eventually(lambda: self.lines(p))
        line = self.lines(p)[0]
        self.assertIn('"end":"client proxy-header"', line)
        self.assertNotIn('"method"', line)

    def test_in_tcp_the_hash_goes_by_the_client_of_the_header(self):
        servers = [self.serve(lambda conn, n, i=i: conn.sendall(b"%d" % i)) for i in range(3)]
        p = self.start(config(*[s.port for s in servers], listener=", proxy_protocol: {from: 127.0.0.1}",
                              pool="balance: hash client_ip"))

        def ask(ip):
            c = self.connect(p)
            c.sendall(v2(ip))
            return rest(c)
        self.assertGreater(len({ask("192.0.2.%d" % i) for i in range(20)}), 1)


class Out(Tcp):
    def test_each_connection_to_a_server_begins_with_whose_it_is(self):
        s = self.serve(lambda conn, n: (s.read(conn, n), s.read(conn, n)))
        for version in ("v1", "v2"):
            p = self.start(config(s.port, pool="send_proxy: %s" % version))
            n = len(s.received)
            with p.connect() as c:
                port = c.getsockname()[1]
                c.sendall(b"x")
                self.eventually(lambda: len(s.received) > n and s.received[n].endswith(b"x"))
            want = (b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\nx" % (port, p.port) if version == "v1" else
                    SIGNATURE + b"\x21\x11\0\x0c" + b"\x7f\0\0\1" * 2 + struct.pack(">HH", port, p.port) + b"x")
            self.assertEqual(bytes(s.received[n]), want)

    def test_a_server_that_speaks_first_hears_it_all_the_same(self):
        s = self.serve(lambda conn, n: (conn.sendall(b"hi"), s.read(conn, n)))
        p = self.start(config(s.port, pool="send_proxy: v1"))
        with p.connect() as c:
            self.assertEqual(c.recv(10), b"hi")
        self.eventually(lambda: s.received[0].startswith(b"PROXY TCP4 "))

    def test_what_came_in_goes_out(self):
        s = self.serve(lambda conn, n: s.read(conn, n))
        p = self.start(config(s.port, listener=", proxy_protocol: {from: 127.0.0.1}", pool="send_proxy: v1"))
        with p.connect() as c:
            c.sendall(v2())
            self.assertEqual(rest(c), b"")
        self.assertEqual(bytes(s.received[0]), V1)

    def test_requests_of_two_clients_never_share_a_connection(self):
        def script(conn, n):
            header = b""
            while not header.endswith(b"\r\n"):
                header += s.read(conn, n, 1)
            s.answer_all(conn, n, b"ok")
        s = self.serve(script)
        p = self.start("""
listeners: {h: {bind: "127.0.0.1:{port}", pool: db}}
pools: {db: {send_proxy: v1, servers: {d0: "127.0.0.1:%d"}}}
""" % s.port)
        for _ in range(2):
            with p.connect() as c:
                c.sendall(get())
                self.assertEqual(Reader(c).response().status, 200)
                port = c.getsockname()[1]
            self.assertIn(b" %d %d\r\n" % (port, p.port), bytes(s.received[-1]))
        self.assertEqual(len(s.received), 2)

    def test_checks_say_that_they_are_ours(self):
        heard = []

        def script(conn, n):
            heard.append(conn.recv(1000))
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        s = self.serve(script)
        for version, check in (("v1", "tcp: true"), ("v2", "http: /up")):
            heard.clear()
            p = self.start(config(s.port, pool="send_proxy: %s\nhealth: {%s, every: 50ms}" % (version, check)))
            self.eventually(lambda: len(heard) >= 2)
            self.assertEqual(self.pool(p)["servers"]["d0"]["health"], "up")
            p.stop()
            for first in heard[:2]:
                if version == "v1":
                    self.assertEqual(first, b"PROXY UNKNOWN\r\n")
                else:
                    self.assertTrue(first.startswith(LOCAL + b"GET /up HTTP/1.1\r\n"), first)


if __name__ == "__main__":
    unittest.main()
