#!/usr/bin/python3
"""HTTP/2 to clients through the real program: frames by hand and by python3-h2, curl, h2load and nghttp."""
import base64
import hashlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
import unittest

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import hpack

from rig import PATIENCE_S, Reader, free_port
from test_http1 import Case, config

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED = 1, 4, 8
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = 5, 6, 7, 8, 9
ENHANCE_YOUR_CALM = 11


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def h2c(server, listener=""):
    return config(server, listener=", h2c: true" + (", " + listener if listener else ""))


def fields(method="GET", path="/", extra=(), authority="a.test"):
    return [(":method", method), (":scheme", "http"), (":path", path), (":authority", authority), *extra]


class Raw:
    """A client that sends frames by hand, and reads them."""

    def __init__(self, proxy, hello=True):
        self.sock = proxy.connect()
        self.sock.settimeout(PATIENCE_S)
        self.encoder, self.decoder, self.data = hpack.Encoder(), hpack.Decoder(), b""
        self.frames = []
        if hello:
            self.send(PREFACE + frame(SETTINGS, 0, 0))

    def send(self, data):
        self.sock.sendall(data)

    def head(self, pairs):
        return self.encoder.encode(pairs)

    def ask(self, stream, pairs=None, end=True):
        block = self.head(pairs or fields())
        end = END_STREAM if end else 0
        if len(block) <= 16384:
            self.send(frame(HEADERS, END_HEADERS | end, stream, block))
            return
        pieces = [block[i:i + 16384] for i in range(0, len(block), 16384)]
        self.send(frame(HEADERS, end, stream, pieces[0]) + b"".join(
            frame(CONTINUATION, END_HEADERS if i == len(pieces) - 1 else 0, stream, p)
            for i, p in enumerate(pieces) if i))

    def read(self):
        """The next frame, or None at the end."""
        try:
            while len(self.data) < 9 or len(self.data) < 9 + int.from_bytes(self.data[:3], "big"):
                more = self.sock.recv(65536)
                if not more:
                    return None
                self.data += more
        except ConnectionError:
            return None
        length = int.from_bytes(self.data[:3], "big")
        kind, flags = self.data[3], self.data[4]
        stream = int.from_bytes(self.data[5:9], "big") & 0x7fffffff
        payload, self.data = self.data[9:9 + length], self.data[9 + length:]
        if kind == HEADERS:
            payload = self.decoder.decode(payload)
        if kind == SETTINGS and not flags & 1:
            self.send(frame(SETTINGS, 1, 0))
        return kind, flags, stream, payload

    def until(self, *kinds):
        """The next frame of one of these kinds; None: it closed first."""
        while True:
            f = self.read()
            if f is None or f[0] in kinds:
                return f

    def answer(self, stream):
        """(status, content) of a stream; the code of its reset instead of the status."""
        status, content = None, b""
        while True:
            f = self.until(HEADERS, DATA, RST_STREAM, GOAWAY)
            if f is None:
                return None, content
            kind, flags, at, payload = f
            if kind == GOAWAY and at == 0:
                if payload[4:8] != b"\0\0\0\0":
                    return "GOAWAY %d" % int.from_bytes(payload[4:8], "big"), content
                continue
            if at != stream:
                continue
            if kind == RST_STREAM:
                return "RST %d" % int.from_bytes(payload, "big"), content
            if kind == HEADERS and status is None:
                status = dict(payload)[":status"]
                if status.startswith("1"):
                    status = None
            elif kind == DATA:
                content += payload
            if flags & END_STREAM:
                return status, content

    def goaway(self):
        """The error code of the GOAWAY that comes; None: it closed without."""
        while True:
            f = self.until(GOAWAY)
            if f is None:
                return None
            return int.from_bytes(f[3][4:8], "big")


class H2Case(Case):
    def echo(self, **more):
        """Answers with the content that came, framed as it came; keeps the heads."""
        def script(conn, n):
            rest = b""
            while True:
                head, body, rest = s.read_request(conn, n, rest)
                if head is None:
                    return
                conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        s = self.serve(script)
        return s

    def raw(self, p, hello=True):
        c = Raw(p, hello)
        self.addCleanup(c.sock.close)
        return c

    def ok(self):
        return self.serve()

    def assert_serves(self, p):
        self.assertEqual(self.asked(p, fields())[0], "200")

    def asked(self, p, pairs, content=None):
        c = self.raw(p)
        c.ask(1, pairs, content is None)
        if content is not None:
            c.send(frame(DATA, END_STREAM, 1, content))
        return c.answer(1)


    @staticmethod
    def text_of(path):
        with open(path) as f:
            return f.read()


class Requests(H2Case):
    def test_a_get_is_answered_and_its_head_is_written_for_http1(self):
        s = self.serve(lambda conn, n: s.answer_all(conn, n, b"hello", b"X-Own: Yes\r\nConnection: X-Gone\r\nX-Gone: 1\r\n"))
        p = self.proxy(h2c(s))
        c = self.raw(p)
        c.ask(1, fields(path="/a/../b?q", extra=[("x-one", "1"), ("te", "trailers"), ("host", "a.test")]))
        kind, flags, stream, head = c.until(HEADERS)
        head = dict(head)
        self.assertEqual((head[":status"], head["x-own"], head["content-length"]), ("200", "Yes", "5"))
        self.assertNotIn("connection", head)
        self.assertNotIn("x-gone", head)
        self.assertRegex(head["via"], "^1.1 tandem-")
        self.assertEqual(c.until(DATA)[3], b"hello")
        sent = s.heads()[0].decode()
        self.assertTrue(sent.startswith("GET /b?q HTTP/1.1\r\nHost: a.test\r\nx-one: 1\r\n"), sent)
        self.assertIn("\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: a.test\r\n", sent)
        self.assertRegex(sent, "\r\nVia: 2.0 tandem-")
        self.assertIn("\r\nConnection: te\r\nTE: trailers\r\n", sent)
        self.assertEqual(sent.lower().count("host: a.test"), 2)

    def test_http1_is_spoken_on_the_same_port(self):
        p = self.proxy(h2c(self.ok()))
        c = p.connect()
        self.addCleanup(c.close)
        for piece in (b"P", b"RI / HTTP/1.1\r\n", b"Host: a\r\n\r\n"):
            c.sendall(piece)
            time.sleep(0.05)
        self.assertEqual(Reader(c).response().status, 200)

    def test_without_h2c_the_preface_is_refused(self):
        p = self.proxy(config(self.ok()))
        c = p.connect()
        self.addCleanup(c.close)
        c.sendall(PREFACE)
        self.assertEqual(Reader(c).response().status, 505)

    def test_content_goes_to_the_server_with_its_length_or_in_chunks(self):
        s = self.echo()
        p = self.proxy(h2c(s))
        big = os.urandom(300000)
        for extra in ((("content-length", str(len(big))),), ()):
            conn = h2.connection.H2Connection(h2.config.H2Configuration())
            sock = p.connect()
            self.addCleanup(sock.close)
            conn.initiate_connection()
            conn.send_headers(1, fields("POST", extra=extra))
            got, left, done = b"", big, False
            while not done:
                room = min(conn.local_flow_control_window(1), 16384, len(left))
                if room and left:
                    conn.send_data(1, left[:room], end_stream=room == len(left))
                    left = left[room:]
                    sock.sendall(conn.data_to_send())
                    continue
                sock.sendall(conn.data_to_send())
                for e in conn.receive_data(sock.recv(65536)):
                    if isinstance(e, h2.events.DataReceived):
                        got += e.data
                        conn.acknowledge_received_data(e.flow_controlled_length, 1)
                    done |= isinstance(e, h2.events.StreamEnded)
                    self.assertNotIsInstance(e, h2.events.StreamReset)
            if extra:
                self.assertEqual(got, big)
            else:
                self.assertIn(b"\r\n0\r\n\r\n", got)
        self.assertIn(b"\r\nContent-Length: 300000\r\n", bytes(s.received[0]))
        self.assertIn(b"\r\nTransfer-Encoding: chunked\r\n", b"".join(map(bytes, s.received)))

    def test_many_streams_share_a_connection_and_none_waits_for_another(self):
        gate = threading.Event()

        def script(conn, n):
            head, _ = s.read_head(conn, n)
            if b"GET /slow" in head:
                gate.wait(5)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
            s.read_head(conn, n)
        s = self.serve(script)
        p = self.proxy(h2c(s))
        c = self.raw(p)
        c.ask(1, fields(path="/slow"))
        for stream in range(3, 63, 2):
            c.ask(stream)
        answered = [c.until(HEADERS)[2] for _ in range(30)]
        self.assertEqual(sorted(answered), list(range(3, 63, 2)))
        gate.set()
        self.assertEqual(c.answer(1), ("200", b"x"))

    def test_cookie_crumbs_are_one_field(self):
        s = self.ok()
        p = self.proxy(h2c(s))
        self.asked(p, fields(extra=[("cookie", "a=1"), ("x-between", "y"), ("cookie", "b=2"), ("cookie", "c=3")]))
        head = s.heads()[0]
        self.assertIn(b"\r\ncookie: a=1; b=2; c=3\r\nx-between: y\r\n", head)
        self.assertEqual(head.lower().count(b"cookie"), 1)

    def test_trailers_pass_both_ways(self):
        def script(conn, n):
            head, body, _ = s.read_request(conn, n)
            conn.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"
                         b"0\r\nGrpc-Status: 0\r\nContent-Length: 9\r\n\r\n")
            s.read_head(conn, n)
        s = self.serve(script)
        p = self.proxy(h2c(s))
        c = self.raw(p)
        c.ask(1, fields("POST", extra=[("te", "trailers")]), False)
        c.send(frame(DATA, 0, 1, b"abc"))
        c.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, c.head([("x-sum", "7"), ("host", "evil")])))
        self.assertEqual(dict(c.until(HEADERS)[3])[":status"], "200")
        self.assertEqual(c.until(DATA)[3], b"ok")
        kind, flags, stream, trailers = c.until(HEADERS)
        self.assertEqual((flags & END_STREAM, trailers), (END_STREAM, [("grpc-status", "0")]))
        self.assertTrue(bytes(s.received[0]).endswith(b"3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n"), bytes(s.received[0]))

    def test_interim_answers_pass_and_100_is_ours_to_say(self):
        def script(conn, n):
            head, body, _ = s.read_request(conn, n)
            conn.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        s = self.serve(script)
        p = self.proxy(h2c(s))
        c = self.raw(p)
        c.ask(1, fields("POST", extra=[("expect", "100-continue"), ("content-length", "3")]), False)
        self.assertEqual(c.until(HEADERS)[3], [(":status", "100")])
        c.send(frame(DATA, END_STREAM, 1, b"abc"))
        early = dict(c.until(HEADERS)[3])
        self.assertEqual((early[":status"], early["link"]), ("103", "</a>"))
        self.assertEqual(c.answer(1), ("200", b"ok"))
        self.assertNotIn(b"xpect", bytes(s.received[0]))

    def test_an_answer_that_ends_with_the_connection_ends_with_the_stream_and_a_cut_one_is_reset(self):
        def script(conn, n):
            head, _ = s.read_head(conn, n)
            if b"/whole" in head:
                conn.sendall(b"HTTP/1.1 200 OK\r\n\r\nall")
            else:
                conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        s = self.serve(script)
        p = self.proxy(h2c(s))
        c = self.raw(p)
        c.ask(1, fields(path="/whole"))
        self.assertEqual(c.answer(1), ("200", b"all"))
        c.ask(3, fields(path="/half"))
        self.assertEqual(c.answer(3), ("RST %d" % INTERNAL_ERROR, b"half"))
        c.ask(5, fields(path="/whole"))
        self.assertEqual(c.answer(5), ("200", b"all"))

    def test_an_early_answer_stops_the_upload(self):
        def script(conn, n):
            s.read_head(conn, n)
            conn.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            time.sleep(0.3)
        s = self.serve(script)
        p = self.proxy(h2c(s))
        c = self.raw(p)
        c.ask(1, fields("POST"), False)
        c.send(frame(DATA, 0, 1, b"x" * 1000))
        self.assertEqual(c.answer(1), ("403", b"no"))
        kind, flags, stream, payload = c.until(RST_STREAM)
        self.assertEqual((stream, int.from_bytes(payload, "big")), (1, NO_ERROR))
        c.ask(3)

    def test_a_cancelled_request_is_cancelled_at_the_server(self):
        gone = threading.Event()

        def script(conn, n):
            s.read_head(conn, n)
            if not conn.recv(1):
                gone.set()
        s = self.serve(script)
        p = self.proxy(h2c(s))
        c = self.raw(p)
        c.ask(1)
        self.eventually(lambda: s.received and s.received[0])
        c.send(frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL)))
        self.assertTrue(gone.wait(3))
        self.eventually(lambda: p.status()["pools"]["web"]["servers"]["s0"]["in_flight"] == 0)

    def test_the_log_says_http2(self):
        p = self.proxy(h2c(self.ok()).replace("format: json", "format: combined"))
        self.assert_serves(p)
        path = os.path.join(p.tmp, "access.log")
        self.eventually(lambda: os.path.exists(path) and '"GET / HTTP/2.0" 200 2' in self.text_of(path))
        p = self.proxy(h2c(self.ok()))
        self.assert_serves(p)
        self.assertEqual(self.log_lines(p)[0]["protocol"], "HTTP/2.0")


class FlowControl(H2Case):
    def test_an_upload_stops_when_the_server_does_not_read(self):
        gate = threading.Event()

        def script(conn, n):
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.read_head(conn, n)
            gate.wait(10)
            while conn.recv(65536):
                pass
        s = self.serve(script)
        p = self.proxy(h2c(s))
        conn = h2.connection.H2Connection(h2.config.H2Configuration())
        sock = p.connect()
        self.addCleanup(sock.close)
        conn.initiate_connection()
        conn.send_headers(1, fields("POST"))
        sock.sendall(conn.data_to_send())
        sock.settimeout(0.7)
        sent = 0
        try:
            while sent < 64 << 20:
                while conn.local_flow_control_window(1) > 0:
                    n = min(conn.local_flow_control_window(1), 16384)
                    conn.send_data(1, b"x" * n)
                    sock.sendall(conn.data_to_send())
                    sent += n
                conn.receive_data(sock.recv(65536))
        except socket.timeout:
            pass
        self.assertLess(sent, 32 << 20)
        gate.set()

    def test_an_answer_waits_for_the_clients_window_and_others_do_not(self):
        big = b"x" * 400000
        s = self.serve(lambda conn, n: s.answer_all(conn, n, big))
        p = self.proxy(h2c(s))
        c = self.raw(p)
        c.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 20)))
        c.ask(1)
        got = b""
        while len(got) < 65535:
            got += c.until(DATA)[3]
        self.assertEqual(len(got), 65535)
        c.ask(3)
        self.assertEqual(c.until(DATA)[2], 3)
        c.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1 << 20)))
        while len(got) < len(big):
            f = c.until(DATA)
            if f[2] == 1:
                got += f[3]
        self.assertEqual(got, big)

    def test_who_takes_nothing_loses_the_stream_and_not_the_connection(self):
        s = self.serve(lambda conn, n: s.answer_all(conn, n, b"x" * 400000))
        p = self.proxy(h2c(s, "timeouts: {send: 1s}"))
        c = self.raw(p)
        c.ask(1)
        status, content = c.answer(1)
        self.assertEqual((status, len(content)), ("RST %d" % INTERNAL_ERROR, 65535))
        c.send(frame(PING, 0, 0, b"12345678"))
        self.assertEqual(c.until(PING)[3], b"12345678")

    def test_a_connection_whose_peer_reads_nothing_is_closed(self):
        s = self.serve(lambda conn, n: s.answer_all(conn, n, b"x" * 30000000))
        p = self.proxy(h2c(s, "timeouts: {send: 1s}"))
        c = self.raw(p)
        c.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0x7fffffff)) +
               frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7fff0000)))
        c.ask(1)
        self.eventually(lambda: p.status()["connections"] == 0, 8)


class Refusals(H2Case):
    def setUp(self):
        super().setUp()
        self.s = self.ok()
        self.p = self.proxy(h2c(self.s))

    def refused(self, pairs, *expected, content=None):
        status = self.asked(self.p, pairs, content)[0]
        self.assertIn(status, expected, str(pairs)[:200])

    def test_what_could_be_read_in_two_ways_is_refused(self):  # RFC 9113 8.2, 8.3
        reset = "RST %d" % PROTOCOL_ERROR
        for extra in (("connection", "close"), ("keep-alive", "1"), ("proxy-connection", "x"), ("upgrade", "h2c"),
                      ("transfer-encoding", "chunked"), ("te", "gzip"), ("X-Upper", "1"), ("x y", "1"), ("", "1"),
                      ("x", "a\r\nb"), ("x", "a\0b"), ("x", "a\nb"), ("x", " a"), ("x", "a\t"), ("host", "b.test"),
                      (":path", "/again"), (":unknown", "x"), (":status", "200"), ("content-length", "3"),
                      ("content-length", "+0")):
            self.refused(fields(extra=[extra]), reset, "400")
        for pairs in ([(":method", "GET"), (":scheme", "http"), (":authority", "a")],
                      [(":method", "GET"), (":path", "/"), (":authority", "a")],
                      [(":scheme", "http"), (":path", "/"), (":authority", "a")],
                      [(":method", "GET"), (":scheme", "http"), (":path", "/")],
                      [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("x", "1"), (":authority", "a")],
                      fields(path=""), fields(path="x"), fields(path="*"), fields(path="http://a.test/"),
                      fields(path="/a b"), fields(path="/a#b"), fields(path="/\u00e9"), fields("G T"), fields(""),
                      fields(authority="a b"), fields(authority="user@a"), fields(authority="")):
            self.refused(pairs, reset, "400")
        self.refused(fields("CONNECT"), reset, "400")
        self.refused([(":method", "CONNECT"), (":authority", "a.test:80")], "405")
        self.refused(fields("TRACE"), "405")
        self.refused(fields("POST", extra=[("content-length", "3")]), reset, "400", content=b"abcd")
        self.refused(fields("POST", extra=[("content-length", "3")]), reset, "400", content=b"ab")
        self.refused(fields("POST", extra=[("expect", "x")]), "417", content=b"ab")
        self.refused(fields("OPTIONS", path="*"), "200")
        self.assertTrue(all(b"\r\n\r\nabc" not in bytes(r) for r in self.s.received))
        self.assert_serves(self.p)

    def test_heads_too_large_are_answered(self):
        self.refused(fields(extra=[("x-%d" % i, "1") for i in range(101)]), "431")
        self.refused(fields(extra=[("x-%d" % i, "y" * 8000) for i in range(5)]), "431")
        self.refused(fields(extra=[("x", "y" * 17000)]), "431")
        self.refused(fields(path="/" + "y" * 9000), "414")
        self.refused(fields(extra=[("x-%d" % i, "y" * 5000) for i in range(5)]), "200")
        self.assert_serves(self.p)

    def breaks(self, *frames, code=PROTOCOL_ERROR, hello=True):
        c = self.raw(self.p, hello)
        c.send(b"".join(frames))
        self.assertEqual(c.goaway(), code)
        while c.read():
            pass

    def test_what_breaks_a_connection(self):  # RFC 9113 4 to 6
        e = hpack.Encoder()
        head = e.encode(fields())
        ask = frame(HEADERS, END_HEADERS | END_STREAM, 1, hpack.Encoder().encode(fields()))
        self.breaks(frame(DATA, 0, 0, b"x"))  # 6.1
        self.breaks(frame(DATA, 0, 1, b"x"))  # 5.1: idle
        self.breaks(frame(HEADERS, END_HEADERS, 0, head))  # 6.2
        self.breaks(frame(HEADERS, END_HEADERS | END_STREAM, 2, head))  # 5.1.1: even
        self.breaks(frame(RST_STREAM, 0, 1, b"\0\0\0\0"))  # 6.4: idle
        self.breaks(frame(RST_STREAM, 0, 0, b"\0\0\0\0"))
        self.breaks(frame(SETTINGS, 0, 1))  # 6.5
        self.breaks(frame(SETTINGS, 1, 0, b"\0" * 6), code=FRAME_SIZE_ERROR)
        self.breaks(frame(SETTINGS, 0, 0, b"\0" * 5), code=FRAME_SIZE_ERROR)
        self.breaks(frame(SETTINGS, 0, 0, struct.pack(">HI", 2, 2)))
        self.breaks(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31)), code=FLOW_CONTROL_ERROR)
        self.breaks(frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2"))  # 6.6
        self.breaks(frame(PING, 0, 0, b"1234567"), code=FRAME_SIZE_ERROR)  # 6.7
        self.breaks(frame(PING, 0, 1, b"12345678"))
        self.breaks(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"))  # 6.9
        self.breaks(frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2, code=FLOW_CONTROL_ERROR)
        self.breaks(frame(CONTINUATION, END_HEADERS, 1, head))  # 6.10
        self.breaks(frame(HEADERS, END_STREAM, 1, head) + frame(PING, 0, 0, b"12345678"))
        self.breaks(frame(HEADERS, END_STREAM, 1, head) + frame(CONTINUATION, END_HEADERS, 3, head))
        self.breaks(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\xff"), code=COMPRESSION_ERROR)
        self.breaks(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x80"), code=COMPRESSION_ERROR)
        self.breaks(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x3f\xe1\x7f"), code=COMPRESSION_ERROR)
        self.breaks(frame(DATA, 0, 1, b"x" * 16385), code=FRAME_SIZE_ERROR)  # 4.2
        self.breaks(ask + frame(HEADERS, END_HEADERS | END_STREAM, 1, head), code=STREAM_CLOSED)  # 5.1
        self.breaks(PREFACE + frame(PING, 0, 0, b"12345678"), hello=False)  # 3.4
        self.assert_serves(self.p)

    def test_a_frame_on_a_stream_that_is_over_breaks_the_connection(self):  # RFC 9113 5.1, 5.1.1, 6.3
        def after(asked, *frames, code):
            c = self.raw(self.p)
            c.ask(asked)
            self.assertEqual(c.answer(asked)[0], "200")
            c.send(b"".join(frames))
            self.assertEqual(c.goaway(), code)
        head = hpack.Encoder().encode(fields())
        after(1, frame(HEADERS, END_HEADERS | END_STREAM, 1, head), code=STREAM_CLOSED)
        after(5, frame(HEADERS, END_HEADERS | END_STREAM, 3, head), code=PROTOCOL_ERROR)  # passed over
        after(1, frame(PRIORITY, 0, 0, b"\0" * 5), code=PROTOCOL_ERROR)

    def test_what_meets_our_reset_on_its_way_is_passed_over(self):
        c = self.raw(self.p)
        c.ask(1, fields("TRACE"), False)
        self.assertEqual(c.answer(1)[0], "405")
        self.assertEqual(c.until(RST_STREAM)[2:], (1, b"\0\0\0\0"))
        c.send(frame(DATA, 0, 1, b"x" * 1000) + frame(HEADERS, END_HEADERS | END_STREAM, 1, c.head([("x-sum", "9")])))
        c.ask(3)
        self.assertEqual(c.answer(3)[0], "200")

    def test_a_head_may_come_in_many_small_frames(self):
        c = self.raw(self.p)
        head = c.head(fields(extra=[("x", "y" * 60)]))
        c.send(frame(HEADERS, END_STREAM, 1, head[:1]) + b"".join(
            frame(CONTINUATION, END_HEADERS if i == len(head) - 1 else 0, 1, head[i:i + 1]) for i in range(1, len(head))))
        self.assertEqual(c.answer(1)[0], "200")

    def test_what_resets_a_stream(self):
        c = self.raw(self.p)
        c.ask(1, fields("POST"), False)
        c.send(frame(WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff"))
        self.assertEqual(c.answer(1)[0], "RST %d" % FLOW_CONTROL_ERROR)
        c.ask(3, fields("POST"), False)
        c.send(frame(WINDOW_UPDATE, 0, 3, b"\0\0\0\0"))
        self.assertIn(c.answer(3)[0], ("RST %d" % PROTOCOL_ERROR, "GOAWAY %d" % PROTOCOL_ERROR))

    def test_content_beyond_the_window_breaks_the_connection(self):  # RFC 9113 6.9.1
        gate = threading.Event()
        self.addCleanup(gate.set)

        def script(conn, n):
            s.read_head(conn, n)
            gate.wait(10)
        s = self.serve(script)
        p = self.proxy(h2c(s, "limits: {h2_stream_window: 16KiB}"))
        c = self.raw(p)
        self.assertEqual(c.until(SETTINGS)[1], 0)
        c.ask(1, fields("POST"), False)
        for _ in range(80):
            try:
                c.send(frame(DATA, 0, 1, b"x" * 16384))
            except ConnectionError:
                break
        self.assertIn(c.answer(1)[0], ("GOAWAY %d" % FLOW_CONTROL_ERROR, "RST %d" % FLOW_CONTROL_ERROR))

    def test_priorities_and_unknown_frames_are_ignored(self):
        c = self.raw(self.p)
        c.send(frame(PRIORITY, 0, 3, struct.pack(">IB", 1, 200)) + frame(0x77, 0xff, 0, b"x" * 100) +
               frame(0x77, 0, 1, b""))
        c.send(frame(HEADERS, END_HEADERS | END_STREAM | 0x28, 1,
                     b"\3" + struct.pack(">IB", 3, 5) + c.head(fields()) + b"\0\0\0"))
        self.assertEqual(c.answer(1)[0], "200")

    def test_more_streams_than_allowed_are_refused_and_may_be_tried_again(self):
        gate = threading.Event()
        self.addCleanup(gate.set)

        def script(conn, n):
            s.read_head(conn, n)
            gate.wait(10)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
        s = self.serve(script)
        p = self.proxy(h2c(s, "limits: {h2_streams: 2}"))
        c = self.raw(p)
        kind, flags, _, said = c.until(SETTINGS)
        self.assertIn(struct.pack(">HI", 3, 2), [said[i:i + 6] for i in range(0, len(said), 6)])
        for stream in (1, 3, 5, 7):  # RFC 9113 5.1.2, though the client has agreed to the limit
            c.ask(stream)
        self.assertEqual([c.until(RST_STREAM)[2:] for _ in range(2)], [(n, struct.pack(">I", REFUSED_STREAM)) for n in (5, 7)])
        gate.set()
        self.assertEqual(sorted(c.until(HEADERS)[2] for _ in range(2)), [1, 3])
        c.ask(9)
        self.assertEqual(c.answer(9)[0], "200")


class Floods(H2Case):
    def flood(self, *frames, times=20000):
        s = self.ok()
        p = self.proxy(h2c(s))
        c = self.raw(p)
        threading.Thread(target=self.pour, args=(c, b"".join(frames), times), daemon=True).start()
        self.sent_away(p, c)

    def sent_away(self, p, c):
        try:
            self.assertIn(c.goaway(), (ENHANCE_YOUR_CALM, None))  # a reset may have overtaken it
        except OSError:
            pass
        self.eventually(lambda: p.status()["connections"] == 0)
        self.assertEqual(list(p.status()["listeners"].values())[0]["h2_floods_total"], 1)
        self.assert_serves(p)

    def pour(self, c, data, times):
        try:
            if times == 1:
                c.sock.sendall(data)
            for _ in range(times // 100):
                c.sock.sendall(data * 100)
        except OSError:
            pass

    def test_pings(self):
        self.flood(frame(PING, 0, 0, b"12345678"))

    def test_settings(self):
        self.flood(frame(SETTINGS, 0, 0))

    def test_priorities(self):
        self.flood(frame(PRIORITY, 0, 1, b"\0\0\0\3\1"))

    def test_window_updates(self):
        self.flood(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"))

    def test_empty_content(self):
        for empty in (frame(DATA, 0, 1), frame(DATA, PADDED, 1, b"\0"), frame(DATA, PADDED, 1, b"\3\0\0\0")):
            p = self.proxy(h2c(self.ok()))
            c = self.raw(p)
            c.ask(1, fields("POST"), False)
            self.pour(c, empty, 20000)
            self.sent_away(p, c)

    def test_continuations(self):  # the list of the frames' own limit
        p = self.proxy(h2c(self.ok()))
        c = self.raw(p)
        self.pour(c, frame(HEADERS, END_STREAM, 1) + frame(CONTINUATION, 0, 1) * 10000, 1)
        self.eventually(lambda: p.status()["connections"] == 0)
        self.assert_serves(p)

    def test_rapid_reset(self):  # CVE-2023-44487
        s = self.ok()
        p = self.proxy(h2c(s))
        c = self.raw(p)
        data = b"".join(frame(HEADERS, END_HEADERS | END_STREAM, i, hpack.Encoder().encode(fields())) +
                        frame(RST_STREAM, 0, i, struct.pack(">I", CANCEL)) for i in range(1, 2001, 2))
        self.pour(c, data, 1)
        self.assertLessEqual(len(s.received), 210)
        self.sent_away(p, c)

    def test_made_you_reset(self):  # resets that we are brought to send
        p = self.proxy(h2c(self.ok()))
        c = self.raw(p)
        data = b"".join(frame(HEADERS, END_HEADERS, i, hpack.Encoder().encode(fields())) +
                        frame(WINDOW_UPDATE, 0, i, b"\x7f\xff\xff\xff") for i in range(1, 2001, 2))
        self.pour(c, data, 1)
        self.sent_away(p, c)

    def test_an_unfinished_head_is_not_waited_for(self):
        p = self.proxy(h2c(self.ok(), "timeouts: {head: 1s}"))
        c = self.raw(p)
        c.ask(1)
        self.assertEqual(c.answer(1)[0], "200")
        c.send(frame(HEADERS, END_STREAM, 3, c.head(fields())))
        self.assertEqual(c.answer(3)[0], "RST %d" % INTERNAL_ERROR)


class Endings(H2Case):
    def test_a_stop_warns_serves_what_runs_and_what_comes_late_and_closes(self):
        gate = threading.Event()

        def script(conn, n):
            head, _ = s.read_head(conn, n)
            if b"/slow" in head:
                gate.wait(5)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            s.read_head(conn, n)
        s = self.serve(script)
        p = self.proxy(h2c(s))
        c = self.raw(p)
        c.ask(1, fields(path="/slow"))
        self.eventually(lambda: s.received)
        p.proc.send_signal(signal.SIGTERM)
        warning, ping = c.until(GOAWAY, PING), c.until(GOAWAY, PING)
        self.assertEqual((warning[0], warning[3][:8]), (GOAWAY, b"\x7f\xff\xff\xff" + b"\0\0\0\0"))
        self.assertEqual(ping[:2], (PING, 0))  # behind it, so that its answer says that it was read
        c.ask(3)
        self.assertEqual(c.answer(3), ("200", b"ok"))
        c.send(frame(PING, 1, 0, ping[3]))
        last = c.until(GOAWAY)[3]
        self.assertEqual(last[:8], struct.pack(">II", 3, 0))
        gate.set()
        self.assertEqual(c.answer(1), ("200", b"ok"))
        self.assertIsNone(c.read())
        c.sock.close()
        self.assertEqual(p.stop(), 0)

    def test_an_idle_connection_is_closed_with_a_goaway(self):
        p = self.proxy(h2c(self.ok(), "timeouts: {h2_idle: 1s}"))
        c = self.raw(p)
        c.ask(1)
        self.assertEqual(c.answer(1)[0], "200")
        start = time.monotonic()
        self.assertEqual(c.goaway(), NO_ERROR)
        self.assertIsNone(c.read())
        self.assertGreater(time.monotonic() - start, 0.8)

    def test_a_connection_that_never_asks_is_closed(self):
        p = self.proxy(h2c(self.ok(), "timeouts: {head: 1s}"))
        c = self.raw(p)
        while c.read():
            pass

    def test_a_listener_that_goes_says_so(self):
        s = self.ok()
        p = self.proxy(h2c(s))
        c = self.raw(p)
        c.ask(1)
        self.assertEqual(c.answer(1)[0], "200")
        p.write(config(s).replace("{port}", str(free_port())))
        self.assertTrue(p.rpc("reload")["result"]["ok"])
        self.assertEqual(c.goaway(), NO_ERROR)

    def test_status_counts_connections_by_protocol(self):
        p = self.proxy(h2c(self.ok()))
        c = self.raw(p)
        c.ask(1)
        c.answer(1)
        listener = list(p.status()["listeners"].values())[0]
        self.assertEqual((listener["connections"], listener["h2_connections"], listener["requests_total"]), (1, 1, 1))


class H2Server:
    """A server that speaks HTTP/2: hands each event to behave(server, connection, event), after which what is
    to be sent is sent. Without one it answers each request, once it is whole, with its content."""

    def __init__(self, behave=None, streams=100):
        self.behave = behave or self.echo
        self.streams = streams
        self.heads, self.bodies, self.conns = [], {}, []
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(64)
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.conns.append(sock)
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        c = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        codes = h2.settings.SettingCodes
        c.initiate_connection()
        c.update_settings({codes.MAX_CONCURRENT_STREAMS: self.streams, codes.ENABLE_CONNECT_PROTOCOL: 1})
        c.sock = sock
        try:
            sock.sendall(c.data_to_send())
            while True:
                data = sock.recv(65536)
                if not data:
                    break
                for e in c.receive_data(data):
                    if isinstance(e, h2.events.RequestReceived):
                        self.heads.append(dict(e.headers))
                    elif isinstance(e, h2.events.DataReceived):
                        key = (id(c), e.stream_id)
                        self.bodies[key] = self.bodies.get(key, b"") + e.data
                        c.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
                    self.behave(self, c, e)
                sock.sendall(c.data_to_send())
        except (OSError, h2.exceptions.ProtocolError):
            pass
        finally:
            sock.close()

    @staticmethod
    def echo(server, c, e):
        if isinstance(e, h2.events.StreamEnded):
            body = server.bodies.get((id(c), e.stream_id), b"ok")
            c.send_headers(e.stream_id, [(":status", "200"), ("x-own", "1")])
            c.send_data(e.stream_id, body, end_stream=True)

    def kill(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        for s in self.conns:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Servers(H2Case):
    def h2_server(self, behave=None, **how):
        s = H2Server(behave, **how)
        self.addCleanup(s.kill)
        return s

    def to(self, *servers, pool=""):
        return self.proxy(config(*servers, listener=", h2c: true", pool="protocol: h2\n" + pool))

    def test_requests_of_both_protocols_share_one_connection(self):
        s = self.h2_server()
        p = self.to(s)
        for _ in range(3):
            self.assertEqual(self.asked(p, fields(path="/a?b", extra=[("x-a", "1")])), ("200", b"ok"))
        c = p.connect()
        self.addCleanup(c.close)
        c.sendall(b"POST /h1 HTTP/1.1\r\nHost: a.test\r\nX-Up: 1\r\nContent-Length: 3\r\n\r\nabc" * 2)
        r = Reader(c)
        for _ in range(2):
            answer = r.response()
            self.assertEqual((answer.status, answer.body, answer.get("x-own")), (200, b"abc", "1"))
        self.assertEqual(len(s.conns), 1)
        head = s.heads[0]
        self.assertEqual((head[":method"], head[":scheme"], head[":path"], head[":authority"], head["x-a"]),
                         ("GET", "http", "/a?b", "a.test", "1"))
        self.assertEqual((head["x-forwarded-for"], s.heads[3]["x-up"], s.heads[3]["content-length"]), ("127.0.0.1", "1", "3"))
        self.assertNotIn("host", head)
        self.assertEqual(p.status()["server_connections"], 1)

    def test_a_server_that_takes_few_at_a_time_gets_more_connections(self):
        gate = threading.Event()
        held = []

        def behave(s, c, e):
            if isinstance(e, h2.events.StreamEnded):
                held.append((c, e.stream_id))
                if len(held) == 5:
                    gate.set()
                    for conn, stream in held:
                        conn.send_headers(stream, [(":status", "200")], end_stream=True)
                        if conn is not c:
                            conn.sock.sendall(conn.data_to_send())
        s = self.h2_server(behave, streams=2)
        p = self.to(s)
        c = self.raw(p)
        c.ask(1)
        self.eventually(lambda: len(held) == 1)
        for stream in (3, 5, 7, 9):
            c.ask(stream)
        self.assertTrue(gate.wait(5))
        self.assertEqual(sorted(c.until(HEADERS)[2] for _ in range(5)), [1, 3, 5, 7, 9])
        self.assertGreater(len(s.conns), 1)

    def test_a_call_streams_both_ways_and_ends_with_trailers(self):  # as gRPC does
        def behave(s, c, e):
            if isinstance(e, h2.events.RequestReceived):
                c.send_headers(e.stream_id, [(":status", "200"), ("content-type", "application/grpc")])
            elif isinstance(e, h2.events.DataReceived):
                c.send_data(e.stream_id, e.data.upper())
            elif isinstance(e, h2.events.StreamEnded):
                c.send_headers(e.stream_id, [("grpc-status", "0"), ("grpc-message", "fine")], end_stream=True)
        s = self.h2_server(behave)
        p = self.to(s)
        c = self.raw(p)
        c.ask(1, fields("POST", "/pkg.Service/Call", [("te", "trailers"), ("content-type", "application/grpc")]), False)
        head = dict(c.until(HEADERS)[3])  # before any content was sent
        self.assertEqual((head[":status"], head["content-type"]), ("200", "application/grpc"))
        for message in (b"one", b"two"):
            c.send(frame(DATA, 0, 1, message))
            self.assertEqual(c.until(DATA)[3], message.upper())
        c.send(frame(DATA, END_STREAM, 1))
        kind, flags, stream, trailers = c.until(HEADERS)
        self.assertEqual((flags & END_STREAM, dict(trailers)), (END_STREAM, {"grpc-status": "0", "grpc-message": "fine"}))
        self.assertEqual(s.heads[0]["te"], "trailers")

    def test_trailers_go_from_http1_to_a_server_and_back(self):
        got = []

        def behave(s, c, e):
            if isinstance(e, h2.events.TrailersReceived):
                got.append(dict(e.headers))
            elif isinstance(e, h2.events.StreamEnded):
                c.send_headers(e.stream_id, [(":status", "200")])
                c.send_data(e.stream_id, b"body")
                c.send_headers(e.stream_id, [("x-sum", "9")], end_stream=True)
        p = self.to(self.h2_server(behave))
        c = p.connect()
        self.addCleanup(c.close)
        c.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-In: 7\r\n\r\n")
        data = b""
        while not data.endswith(b"0\r\nx-sum: 9\r\n\r\n"):
            more = c.recv(65536)
            self.assertTrue(more, data)
            data += more
        self.assertIn(b"4\r\nbody\r\n", data)
        self.assertEqual(got, [{"x-in": "7"}])

    def test_what_a_server_did_not_begin_with_goes_to_another(self):  # also a POST
        def refuse(s, c, e):
            if isinstance(e, h2.events.RequestReceived):
                c.reset_stream(e.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)

        def leave(s, c, e):
            if isinstance(e, h2.events.RequestReceived):
                c.close_connection(last_stream_id=0)
        for behave in (refuse, leave):
            good = self.h2_server()
            p = self.to(self.h2_server(behave), good, pool="balance: round_robin\n")
            for _ in range(3):  # as many as the budget of retries always allows
                self.assertEqual(self.asked(p, fields("POST", extra=[("content-length", "3")]), b"abc"), ("200", b"abc"))
            self.assertEqual(len(good.heads), 3)

    def test_what_a_server_that_leaves_did_not_begin_with_it_gets_over_a_new_connection(self):  # also a POST
        def behave(s, c, e):
            if isinstance(e, h2.events.StreamEnded) and c.sock is not s.conns[0]:
                H2Server.echo(s, c, e)
            elif isinstance(e, h2.events.StreamEnded) and e.stream_id == 9:
                c.close_connection(last_stream_id=1)
                c.sock.sendall(c.data_to_send())
        s = self.h2_server(behave)
        p = self.to(s)
        c = self.raw(p)
        for stream in (1, 3, 5, 7, 9):  # more than the budget of retries always allows
            c.ask(stream, fields("POST", extra=[("content-length", "3")]), False)
            c.send(frame(DATA, END_STREAM, stream, b"abc"))
        got = {}
        while len(got) < 4:
            kind, _, stream, payload = c.until(DATA, RST_STREAM)
            if kind == RST_STREAM or payload:
                got[stream] = payload
        self.assertEqual(got, {stream: b"abc" for stream in (3, 5, 7, 9)})
        self.assertEqual(p.status()["pools"]["web"]["servers"]["s0"]["failures_total"], 0)

    def test_those_who_waited_for_a_server_that_takes_one_at_a_time_do_not_wait_for_each_other(self):
        held = []

        def serve(sock):  # which says late how many it takes
            time.sleep(0.3)
            H2Server.serve(s, sock)

        def behave(s, c, e):
            if isinstance(e, h2.events.StreamEnded):
                held.append((c, e.stream_id))
        s = H2Server(behave, streams=1)
        self.addCleanup(s.kill)
        s.serve = serve
        p = self.to(s)
        c = self.raw(p)
        for stream in (1, 3, 5, 7):
            c.ask(stream)
        self.eventually(lambda: len(held) == 4)
        self.assertEqual(len(s.conns), 4)
        for conn, stream in held:
            conn.send_headers(stream, [(":status", "200")], end_stream=True)
            conn.sock.sendall(conn.data_to_send())
        self.assertEqual(sorted(c.until(HEADERS)[2] for _ in range(4)), [1, 3, 5, 7])

    def test_clients_that_do_not_read_do_not_hold_up_the_answers_to_others(self):
        slow, size = 20, 1 << 20
        left = {}

        def send(c):
            for stream in list(left):
                while left[stream] and (n := min(c.local_flow_control_window(stream), 16384, left[stream])) > 0:
                    c.send_data(stream, b"x" * n)
                    left[stream] -= n

        def behave(s, c, e):
            if isinstance(e, h2.events.RequestReceived) and s.heads[-1][":path"] == "/large":
                c.send_headers(e.stream_id, [(":status", "200")])
                left[e.stream_id] = size
            elif isinstance(e, h2.events.StreamEnded) and e.stream_id not in left:
                H2Server.echo(s, c, e)
            send(c)
        s = self.h2_server(behave)
        p = self.to(s)
        c = self.raw(p)
        for stream in range(1, 2 * slow, 2):
            c.ask(stream, fields(path="/large"))
        self.eventually(lambda: len(left) == slow)
        time.sleep(0.3)
        self.assertEqual(self.asked(p, fields()), ("200", b"ok"))
        self.assertEqual(len(s.conns), 1)
        self.assertGreater(sum(left.values()), slow * size // 2)

    def test_a_broken_answer_is_502_or_a_reset(self):
        def behave(s, c, e):
            if isinstance(e, h2.events.RequestReceived):
                path = dict(e.headers)[":path"]
                if path == "/half":
                    c.send_headers(e.stream_id, [(":status", "200")])
                    c.send_data(e.stream_id, b"half")
                if path == "/gone":
                    c.sock.close()
                else:
                    c.reset_stream(e.stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
        p = self.to(self.h2_server(behave))
        self.assertEqual(self.asked(p, fields("POST", "/no"))[0], "502")
        self.assertEqual(self.asked(p, fields(path="/half")), ("RST %d" % INTERNAL_ERROR, b"half"))
        self.assertEqual(self.asked(p, fields("POST", "/gone"))[0], "502")

    def test_nobody_there_is_502_and_who_hangs_is_504(self):
        closed = free_port()
        s = self.h2_server()
        s.port = closed
        p = self.to(s)
        self.assertEqual(self.asked(p, fields())[0], "502")
        with socket.socket() as silent:  # the kernel connects, and nobody answers
            silent.bind(("127.0.0.1", 0))
            silent.listen(1)
            s.port = silent.getsockname()[1]
            p = self.to(s, pool="timeouts: {connect: 1s}\n")
            self.assertEqual(self.asked(p, fields())[0], "504")

    def test_big_contents_pass_and_a_slow_client_holds_the_server_back(self):
        sent = [0]
        size = 64 << 20

        def behave(s, c, e):
            if isinstance(e, h2.events.RequestReceived):
                c.send_headers(e.stream_id, [(":status", "200")])
            if s.heads and isinstance(e, (h2.events.RequestReceived, h2.events.WindowUpdated)):
                while sent[0] < size and c.local_flow_control_window(1) > 0:
                    n = min(c.local_flow_control_window(1), 16384)
                    c.send_data(1, b"x" * n)
                    sent[0] += n
        s = self.h2_server(behave)
        p = self.to(s)
        c = self.raw(p)
        c.ask(1)
        got = 0
        while got < 65535:
            got += len(c.until(DATA)[3])
        time.sleep(0.3)
        self.assertLess(sent[0], 2 << 20)
        for _ in range(40):
            c.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 65535)) + frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 65535)))
            more = 0
            while more < 65535:
                more += len(c.until(DATA)[3])
            got += more
        self.assertEqual(got, 41 * 65535)
        self.assertLess(sent[0], got + (2 << 20))

    def test_an_idle_connection_is_closed_in_order(self):
        ended = []

        def behave(s, c, e):
            if isinstance(e, h2.events.ConnectionTerminated):
                ended.append(e.error_code)
            H2Server.echo(s, c, e)
        p = self.to(self.h2_server(behave), pool="timeouts: {server_idle: 1s}\n")
        self.assertEqual(self.asked(p, fields())[0], "200")
        self.eventually(lambda: p.status()["server_connections"] == 0, 4)
        self.eventually(lambda: ended == [0])

    def test_early_hints_and_head_and_empty_answers(self):
        def behave(s, c, e):
            if isinstance(e, h2.events.StreamEnded):
                head = s.heads[-1]
                if head[":method"] == "HEAD":
                    c.send_headers(e.stream_id, [(":status", "200"), ("content-length", "5")], end_stream=True)
                elif head[":path"] == "/204":
                    c.send_headers(e.stream_id, [(":status", "204")], end_stream=True)
                else:
                    c.send_headers(e.stream_id, [(":status", "103"), ("link", "</x>")])
                    c.send_headers(e.stream_id, [(":status", "200"), ("content-length", "2")])
                    c.send_data(e.stream_id, b"ok", end_stream=True)
        p = self.to(self.h2_server(behave))
        self.assertEqual(self.asked(p, fields("HEAD")), ("200", b""))
        self.assertEqual(self.asked(p, fields(path="/204")), ("204", b""))
        c = self.raw(p)
        c.ask(1)
        early = dict(c.until(HEADERS)[3])
        self.assertEqual((early[":status"], early["link"], early["via"][:11]), ("103", "</x>", "2.0 tandem-"))
        self.assertEqual(c.answer(1), ("200", b"ok"))


class WebSockets(Servers):
    def websocket(self, p):
        """Over HTTP/2 (RFC 8441)."""
        c = self.raw(p)
        c.ask(1, [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/chat"),
                  (":authority", "a.test"), ("sec-websocket-version", "13"), ("sec-websocket-protocol", "x")], False)
        return c

    def echo_server(self, accept=None):
        def script(conn, n):
            head, rest = s.read_head(conn, n)
            key = head.decode().lower().split("sec-websocket-key: ")
            key = head[len(key[0]) + len("sec-websocket-key: "):].split(b"\r\n")[0]
            sum_ = accept or base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            conn.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                         b"Sec-WebSocket-Accept: " + sum_ + b"\r\nSec-WebSocket-Protocol: x\r\n\r\n")
            while rest or True:
                rest = rest or conn.recv(65536)
                if not rest:
                    return
                conn.sendall(rest.upper())
                rest = b""
        s = self.serve(script)
        return s

    def talk(self, c):
        head = dict(c.until(HEADERS)[3])
        self.assertEqual(head[":status"], "200")
        self.assertNotIn("sec-websocket-accept", head)
        for word in (b"hello", b"x" * 10000):
            c.send(frame(DATA, 0, 1, word))
            got = b""
            while len(got) < len(word):
                got += c.until(DATA)[3]
            self.assertEqual(got, word.upper())
        c.send(frame(DATA, END_STREAM, 1))
        kind, flags, _, rest = c.until(DATA)
        self.assertEqual((flags & END_STREAM, rest), (END_STREAM, b""))
        return head

    def test_from_http2_to_http1(self):
        s = self.echo_server()
        p = self.proxy(h2c(s))
        c = self.websocket(p)
        self.assertIn(struct.pack(">HI", 8, 1), c.until(SETTINGS)[3])
        self.assertEqual(self.talk(c)["sec-websocket-protocol"], "x")
        head = s.heads()[0]
        self.assertTrue(head.startswith(b"GET /chat HTTP/1.1\r\n"), head)
        self.assertIn(b"\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", head)
        self.assertRegex(head, b"\r\nSec-WebSocket-Key: [A-Za-z0-9+/]{22}==\r\n")
        self.eventually(lambda: p.status()["pools"]["web"]["servers"]["s0"]["in_flight"] == 0)

    def test_a_wrong_accept_is_refused(self):
        p = self.proxy(h2c(self.echo_server(b"wrong")))
        self.assertEqual(self.websocket(p).answer(1)[0], "502")

    def test_an_answer_that_is_no_switch_does_not_look_like_one(self):
        for answer, status in ((b"200 OK", "502"), (b"204 No Content", "502"), (b"403 Forbidden", "403")):
            def script(conn, n):
                s.read_head(conn, n)
                conn.sendall(b"HTTP/1.1 %s\r\n%s\r\n" % (answer, b"" if answer[:3] == b"204" else b"Content-Length: 0\r\n"))
            s = self.serve(script)
            self.assertEqual(self.websocket(self.proxy(h2c(s))).answer(1)[0], status)

    def test_a_refusal_that_is_longer_than_it_says_is_one_answer_all_the_same(self):
        content = b"okHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

        def behave(s, c, e):
            if isinstance(e, h2.events.RequestReceived):
                c.send_headers(e.stream_id, [(":status", "403"), ("content-length", "2")])
                c.send_data(e.stream_id, content, end_stream=True)
        c = self.to(self.h2_server(behave)).connect()
        self.addCleanup(c.close)
        for _ in range(2):
            c.sendall(b"GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                      b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
            answer = Reader(c).response()
            self.assertEqual((answer.status, answer.body), (403, content))

    def h2_echo(self):
        def behave(s, c, e):
            if isinstance(e, h2.events.RequestReceived):
                c.send_headers(e.stream_id, [(":status", "200"), ("sec-websocket-protocol", "x")])
            elif isinstance(e, h2.events.DataReceived) and e.data:
                c.send_data(e.stream_id, e.data.upper())
            elif isinstance(e, h2.events.StreamEnded):
                c.end_stream(e.stream_id)
        return self.h2_server(behave)

    def test_from_http2_to_http2(self):
        s = self.h2_echo()
        self.talk(self.websocket(self.to(s)))
        self.assertEqual((s.heads[0][":method"], s.heads[0][":protocol"]), ("CONNECT", "websocket"))

    def test_from_http1_to_http2(self):
        s = self.h2_echo()
        p = self.to(s)
        c = p.connect()
        self.addCleanup(c.close)
        c.sendall(b"GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                  b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
        r = Reader(c)
        answer = r.response()
        self.assertEqual((answer.status, answer.get("upgrade"), answer.get("sec-websocket-accept")),
                         (101, "websocket", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))  # of RFC 6455 1.3
        c.sendall(b"hello")
        self.assertEqual(r.exactly(5), b"HELLO")
        self.assertEqual((s.heads[0][":method"], s.heads[0][":protocol"], s.heads[0][":path"]), ("CONNECT", "websocket", "/chat"))
        self.assertNotIn("sec-websocket-key", s.heads[0])


class Programs(H2Case):
    PATIENT = "    timeouts: {queue: 60s, first_byte: 60s}\n"

    @unittest.skipUnless(shutil.which("curl"), "no curl")
    def test_curl(self):
        p = self.proxy(h2c(self.echo()))
        out = subprocess.run(["curl", "-s", "--http2-prior-knowledge", "-d", "x" * 100000, "-w", "%{http_version} %{size_download}",
                              "-o", "/dev/null", "http://127.0.0.1:%d/" % p.port], capture_output=True, timeout=PATIENCE_S, check=False)
        self.assertEqual(out.stdout, b"2 100000")

    @unittest.skipUnless(shutil.which("nghttp"), "no nghttp")
    def test_nghttp(self):
        p = self.proxy(h2c(self.ok()))
        out = subprocess.run(["nghttp", "-v", "http://127.0.0.1:%d/" % p.port], capture_output=True, timeout=PATIENCE_S, check=False)
        self.assertIn(b":status: 200", out.stdout)

    @unittest.skipUnless(shutil.which("h2load"), "no h2load")
    def test_h2load(self):
        p = self.proxy(h2c(self.serve(lambda conn, n: self.many(conn, n))) + self.PATIENT)
        out = subprocess.run(["h2load", "-n", "3000", "-c", "4", "-m", "100", "http://127.0.0.1:%d/" % p.port],
                             capture_output=True, timeout=3 * PATIENCE_S, check=False)
        self.assertIn(b"3000 succeeded, 0 failed", out.stdout)

    @unittest.skipUnless(shutil.which("h2load"), "no h2load")
    def test_clients_that_vanish_under_many_answers(self):
        # By time, h2load ends with hundreds of streams open: writes fail while others' answers are passed on.
        p = self.proxy(h2c(self.serve(lambda conn, n: self.many(conn, n))) + self.PATIENT)
        for _ in range(3):
            subprocess.run(["h2load", "-D", "1", "-c", "4", "-m", "100", "http://127.0.0.1:%d/" % p.port],
                           capture_output=True, timeout=3 * PATIENCE_S, check=False)
        out = subprocess.run(["h2load", "-n", "500", "-c", "4", "-m", "100", "http://127.0.0.1:%d/" % p.port],
                             capture_output=True, timeout=3 * PATIENCE_S, check=False)
        self.assertIn(b"500 succeeded, 0 failed", out.stdout)

    def many(self, conn, n):
        data = b""
        while more := conn.recv(65536):
            *whole, data = (data + more).split(b"\r\n\r\n")
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" * len(whole))


if __name__ == "__main__":
    unittest.main()
