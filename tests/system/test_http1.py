#!/usr/bin/python3
"""The HTTP/1.1 data path of the real program, byte for byte, between raw sockets."""
import os
import re
import signal
import socket
import threading
import time
import unittest

import rig
from rig import Proxy, Reader, Server, ask, free_port

CONFIG = """
log: {access: {tmp}/access.log, format: json}
listeners:
  main: {bind: "127.0.0.1:{port}", pool: web%s}
pools:
  web:
    servers: {%s}
"""


def config(*servers, listener="", pool=""):
    text = CONFIG % (listener, ", ".join('s%d: "127.0.0.1:%d"' % (i, s.port) for i, s in enumerate(servers)))
    return text + "".join("    %s\n" % line for line in pool.splitlines())


def get(path="/", extra=""):
    return ("GET %s HTTP/1.1\r\nHost: example.com\r\n%s\r\n" % (path, extra)).encode()


class Case(rig.Case):
    def proxy(self, text, **how):
        p = Proxy(text, **how)
        self.addCleanup(self.stop, p)
        return p


class Forwarding(Case):
    def test_a_get_reaches_the_server_with_the_fields_that_we_add_and_no_others(self):
        s = self.serve()
        p = self.proxy(config(s))
        r = ask(p, get("/a?b=c", "Accept: */*\r\nConnection: keep-alive\r\nX-Forwarded-For: 6.6.6.6\r\n"))
        self.assertEqual((r.status, r.body), (200, b"ok"))
        lines = s.heads()[0].decode().split("\r\n")
        self.assertEqual(lines[0], "GET /a?b=c HTTP/1.1")
        names = sorted(line.split(":")[0].lower() for line in lines[1:] if line)
        self.assertEqual(names, ["accept", "host", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port",
                                 "x-forwarded-proto", "x-request-id"])
        self.assertIn("X-Forwarded-For: 127.0.0.1", lines)
        self.assertIn("Host: example.com", lines)
        self.assertTrue(any(re.fullmatch(r"X-Request-Id: [0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
                                         line) for line in lines), lines)

    def test_one_server_connection_serves_many_client_requests(self):
        s = self.serve()
        p = self.proxy(config(s))
        with p.connect() as c:
            r = Reader(c)
            for i in range(50):
                c.sendall(get("/%d" % i))
                self.assertEqual(r.response().status, 200)
        self.assertEqual(len(s.received), 1)

    def test_pipelined_requests_are_answered_in_order(self):
        def script(conn, n):
            rest = b""
            while True:
                head, _, rest = s.read_request(conn, n, rest)
                if head is None:
                    return
                path = head.split()[1]
                conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))
        s = self.serve(script)
        p = self.proxy(config(s))
        with p.connect() as c:
            c.sendall(b"".join(get("/%d" % i) for i in range(300)))
            r = Reader(c)
            self.assertEqual([r.response().body for _ in range(300)], [b"/%d" % i for i in range(300)])

    def test_pipelined_requests_that_fill_the_buffer_wait_and_are_all_answered(self):
        s = self.serve()
        p = self.proxy(config(s))
        with p.connect() as c:
            threading.Thread(target=c.sendall, args=(get("/" + "p" * 300) * 1000,), daemon=True).start()
            r = Reader(c)
            for _ in range(1000):
                self.assertEqual(r.response().status, 200)

    def test_long_heads_within_the_limits_pass_both_ways(self):
        fields = "".join("X-%d: %s\r\n" % (i, "v" * 900) for i in range(33))

        def script(conn, n):
            rest = b""
            while True:
                head, _, rest = s.read_request(conn, n, rest)
                if head is None:
                    return
                conn.sendall(b"HTTP/1.1 200 OK\r\n" + fields.encode() + b"Content-Length: 2\r\n\r\nok")
        s = self.serve(script)
        p = self.proxy(config(s))
        with p.connect() as c:
            r = Reader(c)
            for _ in range(3):
                c.sendall(get("/", fields))
                answer = r.response()
                self.assertEqual((answer.status, answer.get("x-32"), answer.body), (200, "v" * 900, b"ok"))
        self.assertEqual(bytes(s.received[0]).count(b"v" * 900), 99)

    def test_a_response_may_have_one_long_field_or_many(self):
        heads = (b"X: " + b"v" * 39000 + b"\r\n", b"Set-Cookie: a=b\r\n" * 120)
        for fields in heads:
            s = self.serve()
            s.script = lambda conn, n: s.answer_all(conn, n, b"ok", fields)
            r = ask(self.proxy(config(s)), get())
            self.assertEqual((r.status, r.body), (200, b"ok"))
            self.assertIn(fields, r.head + b"\r\n")

    def test_an_empty_body_with_a_length_is_a_complete_request(self):
        s = self.serve()
        p = self.proxy(config(s))
        with p.connect() as c:
            r = Reader(c)
            for _ in range(2):
                c.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
                self.assertEqual(r.response().status, 200)

    def test_a_1_0_client_that_asks_for_it_is_kept(self):
        s = self.serve()
        p = self.proxy(config(s))
        with p.connect() as c:
            r = Reader(c)
            for _ in range(2):
                c.sendall(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                answer = r.response()
                self.assertEqual((answer.status, answer.get("connection")), (200, "keep-alive"))

    def test_a_1_0_client_that_names_no_host_meant_the_address_that_it_came_to(self):
        s = self.serve()
        p = self.proxy(config(s))
        self.assertEqual(ask(p, b"GET / HTTP/1.0\r\n\r\n").status, 200)
        self.assertIn(b"\r\nHost: 127.0.0.1:%d\r\n" % p.port, s.heads()[0])
        self.assertNotIn(b"X-Forwarded-Host", s.heads()[0])
        self.assertEqual(ask(p, b"GET / HTTP/1.0\r\nHost: a\r\n\r\n").status, 200)
        self.assertIn(b"\r\nHost: a\r\n", s.heads()[1])

    def test_pipelined_errors_do_not_nest(self):
        p = self.proxy("""
listeners: {main: {bind: "127.0.0.1:{port}", routes: [{match: {path: /never}, pool: web}]}}
pools: {web: {servers: {a: "127.0.0.1:1"}}}
""")
        with p.connect() as c:
            threading.Thread(target=c.sendall, args=(get("/x") * 3000,), daemon=True).start()
            r = Reader(c)
            for _ in range(3000):
                self.assertEqual(r.response().status, 404)

    def test_a_request_that_drips_in_byte_by_byte_is_read(self):
        s = self.serve()
        p = self.proxy(config(s))
        with p.connect() as c:
            for b in get("/drip"):
                c.sendall(bytes([b]))
            self.assertEqual(Reader(c).response().status, 200)

    def test_a_response_that_drips_in_byte_by_byte_is_passed_on(self):
        def script(conn, n):
            s.read_head(conn, n)
            for b in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n":
                conn.sendall(bytes([b]))
                time.sleep(0.001)
        s = self.serve(script)
        p = self.proxy(config(s))
        with p.connect() as c:
            c.sendall(get())
            r = Reader(c)
            self.assertEqual(r.response().body, b"abcde")
            self.assertEqual(r.trailers, [b"X-T: 1"])

    def test_large_bodies_pass_both_ways_unchanged(self):
        data = os.urandom(1 << 20) * 8

        def script(conn, n):
            head, body, _ = s.read_request(conn, n)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        s = self.serve(script)
        p = self.proxy(config(s))
        with p.connect() as c:
            threading.Thread(target=c.sendall, daemon=True, args=(
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(data) + data,)).start()
            self.assertTrue(Reader(c).response().body == data)

    def test_chunked_bodies_pass_both_ways_with_their_trailers(self):
        def script(conn, n):
            s.read_request(conn, n)
            conn.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nWiki\r\n0\r\nX-Sum: 9\r\n\r\n")
        s = self.serve(script)
        p = self.proxy(config(s))
        with p.connect() as c:
            c.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;ext\r\nhello\r\n0\r\n\r\n")
            r = Reader(c)
            self.assertEqual(r.response().body, b"Wiki")
            self.assertEqual(r.trailers, [b"X-Sum: 9"])
        self.assertTrue(bytes(s.received[0]).endswith(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), s.received[0])

    def test_trailers_that_straddle_the_buffer_pass_whole_both_ways(self):
        trailers = b"".join(b"X-%d: %s\r\n" % (i, b"t" * 400) for i in range(17))
        for fill in range(9000, 16600, 900):
            chunked = b"%x\r\n%s\r\n0\r\n%s\r\n" % (fill, b"d" * fill, trailers)

            def script(conn, n):
                head, rest = s.read_head(conn, n)
                while not rest.endswith(b"\r\n\r\n"):
                    rest += s.read(conn, n)
                conn.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked)
            s = self.serve(script)
            p = self.proxy(config(s))
            with self.subTest(fill=fill), p.connect() as c:
                c.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked)
                r = Reader(c)
                self.assertEqual(r.response().body, b"d" * fill)
                self.assertEqual(len(r.trailers), 17)
                self.assertTrue(bytes(s.received[0]).endswith(b"0\r\n" + trailers + b"\r\n"))

    def test_a_slow_reader_costs_no_memory_and_gets_everything(self):
        size = 64 << 20

        def script(conn, n):
            s.read_head(conn, n)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            block = b"x" * (1 << 20)
            for _ in range(64):
                conn.sendall(block)
        s = self.serve(script)
        p = self.proxy(config(s))
        with p.connect() as c:
            c.sendall(get())
            time.sleep(1)
            before = p.rss_kb()
            got = 0
            r = Reader(c)
            r.until(b"\r\n\r\n")
            got = len(r.data)
            while got < size:
                more = c.recv(1 << 20)
                self.assertTrue(more)
                got += len(more)
        self.assertEqual(got, size)
        self.assertLess(before, 60000)

    def test_a_server_that_reads_slowly_holds_the_client_back(self):
        size = 64 << 20
        go = threading.Event()

        def script(conn, n):
            head, rest = s.read_head(conn, n)
            go.wait(10)
            got = len(rest)
            while got < size:
                got += len(conn.recv(1 << 20))
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        s = self.serve(script)
        p = self.proxy(config(s))
        sent = [0]
        with p.connect() as c:
            c.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)

            def send():
                block = b"y" * 65536
                while sent[0] < size:
                    c.sendall(block)
                    sent[0] += len(block)
            threading.Thread(target=send, daemon=True).start()
            time.sleep(1)
            self.assertLess(sent[0], size // 2)  # what the kernel's buffers take, not more
            self.assertLess(p.rss_kb(), 60000)
            go.set()
            self.assertEqual(Reader(c).response().status, 200)

    def test_head_204_and_304_have_no_content_and_keep_the_connection(self):
        def script(conn, n):
            rest = b""
            while True:
                head, _, rest = s.read_request(conn, n, rest)
                if head is None:
                    return
                if head.startswith(b"HEAD"):
                    conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")
                elif b"/204" in head:
                    conn.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                else:
                    conn.sendall(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: \"a\"\r\n\r\n")
        s = self.serve(script)
        p = self.proxy(config(s))
        with p.connect() as c:
            r = Reader(c)
            c.sendall(get().replace(b"GET", b"HEAD"))
            self.assertEqual(r.response("HEAD").get("content-length"), "1234")
            c.sendall(get("/204"))
            self.assertEqual(r.response().status, 204)
            c.sendall(get("/304"))
            self.assertEqual(r.response().get("content-length"), "77")
            self.assertEqual(r.data, b"")

    def test_content_until_close_becomes_chunks_for_a_1_1_client_which_stays(self):
        def script(conn, n):
            s.read_head(conn, n)
            conn.sendall(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        s = self.serve(script)
        p = self.proxy(config(s))
        with p.connect() as c:
            r = Reader(c)
            for _ in range(2):
                c.sendall(get())
                answer = r.response()
                self.assertEqual((answer.body, answer.get("transfer-encoding")), (b"all of it", "chunked"))

    def test_a_1_0_client_gets_chunked_content_plain_and_a_close(self):
        def script(conn, n):
            s.read_head(conn, n)
            conn.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        s = self.serve(script)
        p = self.proxy(config(s))
        with p.connect() as c:
            c.sendall(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
            data = Reader(c).rest()
            self.assertTrue(data.endswith(b"\r\n\r\nabc"), data)
            self.assertNotIn(b"chunked", data)

    def test_expect_100_continue_is_answered_by_us_and_stripped(self):
        s = self.serve()
        p = self.proxy(config(s))
        with p.connect() as c:
            r = Reader(c)
            c.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
            self.assertEqual(r.until(b"\r\n\r\n"), b"HTTP/1.1 100 Continue")
            c.sendall(b"abc")
            self.assertEqual(r.response().status, 200)
        self.assertNotIn(b"xpect", bytes(s.received[0]))

    def test_early_hints_pass(self):
        def script(conn, n):
            s.read_head(conn, n)
            conn.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
                         b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        s = self.serve(script)
        p = self.proxy(config(s))
        with p.connect() as c:
            r = Reader(c)
            c.sendall(get())
            self.assertEqual(r.response().status, 103)
            self.assertEqual(r.response().status, 200)

    def test_a_half_closed_client_still_gets_its_answer(self):
        s = self.serve()
        p = self.proxy(config(s))
        with p.connect() as c:
            c.sendall(get())
            c.shutdown(socket.SHUT_WR)
            self.assertEqual(Reader(c).response().body, b"ok")

    def test_the_first_untrusted_address_from_the_right_is_the_client(self):
        s = self.serve()
        p = self.proxy(config(s, listener=", trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]"))
        ask(p, get("/", "X-Forwarded-For: 1.1.1.1, 2.2.2.2, 10.0.0.9\r\nX-Request-Id: keep-me\r\n"))
        head = s.heads()[0]
        self.assertIn(b"X-Forwarded-For: 1.1.1.1, 2.2.2.2, 10.0.0.9, 127.0.0.1\r\n", head)
        self.assertIn(b"X-Request-Id: keep-me\r\n", head)
        self.assertEqual(self.log_lines(p)[-1]["client"], "2.2.2.2")

    def test_a_trusted_proxy_may_name_the_clients_port_too(self):
        p = self.proxy(config(self.serve(), listener=", trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]"))
        for n, (said, client) in enumerate((("6.6.6.6, 1.2.3.4:5678, 10.0.0.9:80", "1.2.3.4"),
                                            ("[2001:db8::1]:443", "2001:db8::1"), ("[2001:db8::2]", "2001:db8::2"),
                                            ("2001:db8::3", "2001:db8::3"), ("1.2.3.4:x", "127.0.0.1"),
                                            ("[1.2.3.4", "127.0.0.1"), ("", "127.0.0.1")), 1):
            ask(p, get("/", "X-Forwarded-For: %s\r\n" % said))
            self.assertEqual(self.log_lines(p, n)[-1]["client"], client, said)

    def test_a_trusted_name_of_a_request_is_its_name_everywhere(self):
        s = self.serve()
        p = self.proxy(config(s, listener=", trusted_proxies: [127.0.0.0/8]"))
        ask(p, get("/", "X-Request-Id: keep-me\r\n"))
        self.assertEqual(self.log_lines(p)[0]["request_id"], "keep-me")
        via = re.search(rb"\r\nVia: 1.1 (\S+)\r\n", s.heads()[0]).group(1).decode()
        new = "^[0-9a-f-]{36}$"
        for n, (extra, name) in enumerate((("X-Request-Id: first\r\nX-Request-Id: second\r\n", "^first$"),
                                           ("X-Request-Id:\r\n", new), ("", new)), 1):
            r = ask(p, get("/", "Via: 1.1 %s\r\n" % via + extra))  # a loop: the answer is ours
            self.assertEqual(r.status, 508)
            self.assertRegex(r.get("x-request-id"), name)
            self.assertEqual(self.log_lines(p, n + 1)[n]["request_id"], r.get("x-request-id"))
        # A stranger's is not believed.
        p = self.proxy(config(s))
        ask(p, get("/", "X-Request-Id: mine\r\n"))
        given = self.log_lines(p)[0]["request_id"]
        self.assertRegex(given, new)
        self.assertIn(("X-Request-Id: %s\r\n" % given).encode(), s.heads()[-1])
        self.assertNotIn(b"mine", s.heads()[-1])


class Refusing(Case):
    BAD = [
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
        (b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET /\r\n\r\n", 400),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 17000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 101 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X%d: %s\r\n" % (i, b"a" * 900) for i in range(40)) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417),
    ]

    def test_what_could_be_read_in_two_ways_never_reaches_a_server(self):
        s = self.serve()
        p = self.proxy(config(s))
        for raw, status in self.BAD:
            with self.subTest(raw=raw[:70]):
                with p.connect() as c:
                    c.sendall(raw)
                    r = Reader(c)
                    self.assertEqual(r.response().status, status)
                    if status not in (405,):
                        self.assertEqual(r.rest(), b"")  # and closed
        self.assertEqual(s.received, [])

    def test_a_bad_chunk_after_a_good_head_ends_in_400_and_cuts_the_server_off(self):
        s = self.serve()
        p = self.proxy(config(s))
        r = ask(p, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n")
        self.assertEqual(r.status, 400)

    def test_a_loop_is_seen_in_via(self):
        s = self.serve()
        p = self.proxy(config(s, listener=", via: lb1"))
        self.assertEqual(ask(p, get("/", "Via: 1.1 other, 1.1 lb1 (c)\r\n")).status, 508)
        self.assertEqual(ask(p, get("/", "Via: 1.1 lb11\r\n")).status, 200)

    def test_a_request_body_over_the_limit_is_413(self):
        s = self.serve()
        p = self.proxy(config(s, listener=", limits: {request_body: 10B}"))
        self.assertEqual(ask(p, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n").status, 413)
        self.assertEqual(ask(p, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                                b"b\r\nhello world\r\n0\r\n\r\n").status, 413)
        self.assertEqual(ask(p, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").status, 200)

    def test_an_error_answer_to_an_unread_upload_still_arrives(self):
        p = self.proxy("""
listeners: {main: {bind: "127.0.0.1:{port}", routes: [{match: {path: /no}, pool: web}]}}
pools: {web: {servers: {a: "127.0.0.1:1"}}}
""")
        with p.connect() as c:
            c.sendall(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n" + b"z" * 50000)
            r = Reader(c)
            self.assertEqual(r.response().status, 404)
            self.assertEqual(r.rest(), b"")


class Servers(Case):
    def test_a_garbage_answer_is_502(self):
        for junk in (b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 20 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n"
                     b"Content-Length: 2\r\n\r\nab", b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
                     b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"):
            with self.subTest(junk=junk):
                def script(conn, n):
                    s.read_head(conn, n)
                    conn.sendall(junk)
                    conn.recv(1)
                s = self.serve(script)
                self.assertEqual(ask(self.proxy(config(s)), get()).status, 502)

    def test_a_short_body_is_never_made_to_look_complete(self):
        for head in (b"Content-Length: 10", b"Transfer-Encoding: chunked"):
            def script(conn, n):
                s.read_head(conn, n)
                conn.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n5\r\nab")
            s = self.serve(script)
            p = self.proxy(config(s))
            with p.connect() as c:
                c.sendall(get())
                with self.assertRaises((EOFError, ConnectionResetError)):
                    Reader(c).response()

    def test_a_refused_connection_goes_to_another_server(self):
        s = self.serve()
        dead = Server()
        dead.kill()
        p = self.proxy(config(dead, s, pool="balance: round_robin"))
        for _ in range(20):
            self.assertEqual(ask(p, get()).status, 200)
            self.assertEqual(ask(p, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").status, 200)

    def test_all_refused_is_502(self):
        dead = Server()
        dead.kill()
        self.assertIn(ask(self.proxy(config(dead)), get()).status, (502, 503))

    def closing_server(self):
        """Answers the first request of a connection, and closes at the second without a word."""
        def script(conn, n):
            s.read_request(conn, n)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            s.read_request(conn, n)
        s = self.serve(script)
        return s

    def test_a_get_on_a_connection_gone_stale_is_sent_again(self):
        s = self.closing_server()
        p = self.proxy(config(s))
        with p.connect() as c:
            r = Reader(c)
            for _ in range(10):
                c.sendall(get())
                self.assertEqual(r.response().status, 200)

    def test_a_post_on_a_connection_gone_stale_is_never_sent_twice(self):
        s = self.closing_server()
        p = self.proxy(config(s))
        post = b"POST /once HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
        self.assertEqual(ask(p, post).status, 200)
        self.assertEqual(ask(p, post).status, 502)
        self.assertEqual(sum(bytes(r).count(b"POST /once") for r in s.received), 2)

    def test_a_server_that_never_answers_is_504(self):
        s = self.serve(lambda conn, n: time.sleep(5))
        p = self.proxy(config(s, pool="timeouts: {first_byte: 300ms}"))
        before = time.monotonic()
        self.assertEqual(ask(p, get()).status, 504)
        self.assertLess(time.monotonic() - before, 1.5)

    def test_a_server_that_falls_silent_inside_the_body_is_cut(self):
        def script(conn, n):
            s.read_head(conn, n)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
            time.sleep(5)
        s = self.serve(script)
        p = self.proxy(config(s, pool="timeouts: {between_bytes: 300ms}"))
        with p.connect() as c:
            c.sendall(get())
            with self.assertRaises((EOFError, ConnectionResetError)):
                Reader(c).response()

    def test_an_early_answer_to_an_upload_reaches_the_client(self):
        def script(conn, n):
            s.read_head(conn, n)
            conn.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            time.sleep(0.5)
        s = self.serve(script)
        p = self.proxy(config(s))
        with p.connect() as c:
            c.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000\r\n\r\n" + b"q" * 5000)
            self.assertEqual(Reader(c).response().status, 403)

    def test_a_server_in_mid_head_that_dies_is_502(self):
        def script(conn, n):
            s.read_head(conn, n)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-")
        s = self.serve(script)
        self.assertEqual(ask(self.proxy(config(s)), get()).status, 502)

    def test_a_closed_idle_server_connection_is_not_used_again(self):
        s = self.closing_server()
        p = self.proxy(config(s, pool="timeouts: {server_idle: 200ms}"))
        self.assertEqual(ask(p, get()).status, 200)
        self.eventually(lambda: p.status()["server_connections"] == 0)


class Clients(Case):
    @staticmethod
    def came_and_left(p):
        status = p.status()
        came = status["listeners"]["main"]["connections_total"]
        return came, came - status["connections"]

    def test_half_a_head_is_answered_408(self):
        p = self.proxy(config(self.serve(), listener=", timeouts: {head: 300ms}"))
        with p.connect() as c:
            c.sendall(b"GET / HTTP/1.1\r\nHo")
            self.assertEqual(Reader(c).response().status, 408)

    def test_a_silent_connection_is_closed_silently(self):
        p = self.proxy(config(self.serve(), listener=", timeouts: {head: 300ms}"))
        with p.connect() as c:
            self.assertEqual(c.recv(100), b"")

    def test_an_idle_keep_alive_connection_is_closed_after_its_time(self):
        p = self.proxy(config(self.serve(), listener=", timeouts: {idle: 300ms}"))
        with p.connect() as c:
            c.sendall(get())
            r = Reader(c)
            self.assertEqual(r.response().status, 200)
            self.assertEqual(r.rest(), b"")

    def test_a_body_that_stops_coming_is_408(self):
        p = self.proxy(config(self.serve(), listener=", timeouts: {body: 300ms}"))
        r = ask(p, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        self.assertEqual(r.status, 408)

    def test_a_client_that_reads_nothing_is_dropped(self):
        def script(conn, n):
            s.read_head(conn, n)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
            while True:
                conn.sendall(b"x" * 1000000)
        s = self.serve(script)
        p = self.proxy(config(s, listener=", timeouts: {send: 500ms}"))
        with p.connect() as c:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            c.sendall(get())
            self.eventually(lambda: self.came_and_left(p) == (1, 1))

    def test_a_client_that_leaves_while_the_server_works_frees_everything(self):
        working = threading.Event()
        self.addCleanup(working.set)
        s = self.serve(lambda conn, n: working.wait())
        p = self.proxy(config(s))
        for _ in range(20):
            c = p.connect()
            c.sendall(get())
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            c.close()
        self.eventually(lambda: self.came_and_left(p) == (20, 20))
        self.eventually(lambda: p.status()["server_connections"] == 0)
        self.assertEqual(p.status()["pools"]["web"]["servers"]["s0"]["in_flight"], 0)

    def test_a_flood_of_connections_leaves_files_for_servers(self):
        p = self.proxy(config(self.serve(), listener=", timeouts: {head: 1s}"), files=128)
        good = p.connect()
        self.addCleanup(good.close)
        good.sendall(get())
        self.assertEqual(Reader(good).response().status, 200)
        flood = [p.connect() for _ in range(300)]
        time.sleep(0.3)
        good.sendall(get())
        self.assertEqual(Reader(good).response().status, 200)
        self.assertLess(p.status()["connections"], 64)
        for c in flood:
            c.close()
        self.assertEqual(ask(p, get()).status, 200)


class Operating(Case):
    def test_the_access_log_says_what_happened(self):
        s = self.serve()
        p = self.proxy(config(s))
        ask(p, get("/x?y=1", "User-Agent: t\"e\\st\r\n"))
        line = self.log_lines(p)[-1]
        self.assertEqual((line["protocol"], line["method"], line["target"], line["status"], line["pool"],
                          line["server"], line["end"], line["user_agent"], line["bytes_out"]),
                         ("HTTP/1.1", "GET", "/x?y=1", 200, "web", "s0", "ok", 't"e\\st', 2))
        self.assertNotIn("tls", line)
        self.assertNotIn("head_ms", line)  # it came at once
        ask(p, b"GET /old HTTP/1.0\r\n\r\n")
        ask(p, b"GET  /broken HTTP/1.1\r\n\r\n")
        _, old, broken = self.log_lines(p, 3)
        self.assertEqual((old["target"], old["protocol"], broken["status"]), ("/old", "HTTP/1.0", 400))
        self.assertNotIn("protocol", broken)
        self.assertEqual(broken["client"], "127.0.0.1")

    def test_the_access_log_says_how_long_a_head_took(self):
        s = self.serve()
        p = self.proxy(config(s))
        with p.connect() as c:
            c.sendall(get()[:20])
            time.sleep(0.3)
            c.sendall(get()[20:])
            self.assertEqual(Reader(c).response().status, 200)
        line = self.log_lines(p)[-1]
        self.assertGreater(line["head_ms"], 250)
        self.assertGreaterEqual(line["total_ms"], line["head_ms"])

    def test_a_reload_under_load_fails_nothing(self):
        a, b = self.serve(), self.serve()
        p = self.proxy(config(a), workers=2)
        stop, failed, done = threading.Event(), [], [0]

        def client():
            with p.connect() as c:
                r = Reader(c)
                while not stop.is_set():
                    try:
                        c.sendall(get())
                        if r.response().status != 200:
                            failed.append("status")
                        done[0] += 1
                    except (OSError, EOFError) as e:
                        failed.append(repr(e))
                        return
        threads = [threading.Thread(target=client) for _ in range(8)]
        for t in threads:
            t.start()
        for i in range(20):
            p.write(config(a, b) if i % 2 else config(b))
            self.assertTrue(p.rpc("reload").get("result", {}).get("ok"), p.logged()[-500:])
            time.sleep(0.02)
        stop.set()
        for t in threads:
            t.join()
        self.assertEqual(failed, [])
        self.assertGreater(done[0], 100)

    def test_a_bad_file_changes_nothing_and_is_told_everywhere(self):
        s = self.serve()
        p = self.proxy(config(s))
        before = p.status()["config"]["generation"]
        with open(p.file, "a") as f:
            f.write("lisseners: {}\n")
        answer = p.rpc("reload")
        self.assertIn("unknown key 'lisseners'", answer["error"]["message"])
        status = p.status()
        self.assertEqual(status["config"]["generation"], before)
        self.assertFalse(status["config"]["last_reload"]["ok"])
        self.assertIn("unknown key 'lisseners'", status["config"]["last_reload"]["errors"][0])
        self.assertIn("did you mean 'listeners'?", p.logged())
        self.assertEqual(ask(p, get()).status, 200)

    def test_a_reload_adds_and_removes_listeners_and_lets_clients_finish(self):
        s = self.serve()
        p = self.proxy(config(s))
        other = free_port()
        with p.connect() as old:
            r = Reader(old)
            old.sendall(get())
            self.assertEqual(r.response().status, 200)
            p.write(config(s).replace("{port}", str(other)))
            self.assertTrue(p.rpc("reload")["result"]["ok"])
            p.wait_listening(other)
            self.eventually(lambda: not p.listens(p.port))
            old.sendall(get())
            answer = r.response()
            self.assertEqual((answer.status, answer.get("connection")), (200, "close"))

    def test_a_check_of_a_pipe_holds_up_nobody(self):
        p = self.proxy(config(self.serve()))
        pipe = os.path.join(p.tmp, "pipe")
        os.mkfifo(pipe)
        self.assertIn("not a regular file", p.rpc("check", {"file": pipe})["error"]["message"])
        self.assertTrue(p.rpc("check", {"file": p.file})["result"]["ok"])

    def test_a_bind_that_fails_fails_the_reload(self):
        s = self.serve()
        p = self.proxy(config(s))
        p.write(config(s).replace("{port}", str(s.port)))  # taken, without SO_REUSEPORT
        self.assertIn("cannot listen", p.rpc("reload")["error"]["message"])
        self.assertEqual(ask(p, get()).status, 200)

    def test_sigterm_lets_a_running_request_finish(self):
        def script(conn, n):
            s.read_head(conn, n)
            time.sleep(1)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
        s = self.serve(script)
        p = self.proxy(config(s))
        with p.connect() as c:
            c.sendall(get())
            time.sleep(0.3)
            p.proc.send_signal(signal.SIGTERM)
            answer = Reader(c).response()
            self.assertEqual((answer.body, answer.get("connection")), (b"late", "close"))
        self.assertEqual(p.proc.wait(5), 0)

    def test_host_and_path_choose_the_pool(self):
        def named(name):
            def script(conn, n):
                pools[name].answer_all(conn, n, name.encode())
            return script
        pools = {n: None for n in ("shop", "api", "rest")}
        for n in pools:
            pools[n] = self.serve(named(n))
        p = self.proxy("""
listeners:
  main:
    bind: "127.0.0.1:{port}"
    routes:
      - match: {host: shop.example.com, path: /api/*}
        pool: api
      - match: {host: "*.example.com", method: [GET, HEAD]}
        pool: shop
      - pool: rest
pools:
  api: {servers: {a: "127.0.0.1:%d"}}
  shop: {servers: {a: "127.0.0.1:%d"}}
  rest: {servers: {a: "127.0.0.1:%d"}}
""" % (pools["api"].port, pools["shop"].port, pools["rest"].port))

        def at(host, path, method="GET"):
            return ask(p, ("%s %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (method, path, host)).encode()).body.decode()
        self.assertEqual(at("shop.example.com", "/api/x"), "api")
        self.assertEqual(at("SHOP.example.com:80", "/api/x"), "api")
        self.assertEqual(at("shop.example.com", "/b/../api/x"), "api")
        self.assertEqual(at("shop.example.com", "/apix"), "shop")
        self.assertEqual(at("www.example.com", "/"), "shop")
        self.assertEqual(at("www.example.com", "/", "DELETE"), "rest")
        self.assertEqual(at("example.org", "/"), "rest")


if __name__ == "__main__":
    unittest.main()
