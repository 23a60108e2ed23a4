#!/usr/bin/python3
"""Times and rates: each with short settings and real sockets, at the narrowest place where it can stand."""
import contextlib
import socket
import threading
import time
import types
import unittest

from rig import PATIENCE_S, SLOW, Reader, ask
from test_http1 import Case, config, get
from test_http1_corners import in_background, post

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
MB = 1 << 20


class Timed(Case):
    def lasts(self, function, least, most, tries=1):
        """A machine that stands still makes it last longer: what can be tried again is."""
        for left in reversed(range(tries)):
            start = time.monotonic()
            result = function()
            took = time.monotonic() - start
            if took <= most or left == 0:
                break
        self.assertTrue(least <= took <= most * SLOW, "%.3f s" % took)
        return result

    def mute(self):
        """A server that reads a head and never answers."""
        def script(conn, n):
            s.read_head(conn, n)
            time.sleep(20)
        s = self.serve(script)
        return s

    def endless(self, size=1 << 40):
        """A server whose answers are as long as they are asked to be."""
        def script(conn, n):
            s.read_head(conn, n)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            left = size
            while left > 0:
                left -= conn.send(b"x" * min(left, MB))
        s = self.serve(script)
        return s

    def drip(self, c, piece, every, until):
        """Sends and waits, until it is cut or it is time; how long that was."""
        start = time.monotonic()
        try:
            while time.monotonic() - start < until:
                c.sendall(piece)
                time.sleep(every)
        except OSError:
            pass
        return time.monotonic() - start


class Precedence(Timed):
    def test_the_route_wins_over_the_pool_that_wins_over_the_listener_that_wins_over_the_top(self):
        s = self.mute()
        places = {"top": "", "listener": "", "pool": "", "route": ""}
        for place, ms in (("top", 1700), ("listener", 1300), ("pool", 900), ("route", 500)):
            places[place] = "timeouts: {first_byte: %dms}" % ms
            text = config(s, listener=places["listener"] and ", " + places["listener"], pool=places["pool"])
            text = text.replace("pool: web", "routes: [{pool: web%s}]" % (places["route"] and ", " + places["route"]))
            with self.subTest(place=place):
                p = self.proxy(places["top"] + "\n" + text)
                self.assertEqual(self.lasts(lambda: ask(p, get()).status, ms / 1000, ms / 1000 + 0.39, 5), 504)

    def test_a_time_that_comes_too_late_in_a_route_is_warned_of(self):
        p = self.proxy(config(self.serve()).replace("pool: web", "routes: [{pool: web, timeouts: {idle: 1s}}]"))
        self.assertIn("timeout 'idle' has no effect in a route: write it in the listener or at the top", p.logged())


class Servers(Timed):
    def test_a_server_that_cannot_be_reached_in_time_is_504(self):
        full = socket.socket()
        self.addCleanup(full.close)
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):  # then the kernel drops what else wants to connect
            c = socket.socket()
            self.addCleanup(c.close)
            c.setblocking(False)
            c.connect_ex(full.getsockname())
        s = types.SimpleNamespace(port=full.getsockname()[1])
        p = self.proxy(config(s, pool="timeouts: {connect: 400ms}\nretry: {attempts: 1}"))
        self.assertEqual(self.lasts(lambda: ask(p, get()).status, 0.4, 1.2), 504)

    def test_a_server_that_takes_nothing_of_a_request_is_504_and_one_that_takes_it_slowly_is_not(self):
        def script(conn, n):
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            head, rest = s.read_head(conn, n)
            left = 20 * MB - len(rest)
            while left > 0 and head.startswith(b"POST /slow"):
                left -= len(conn.recv(50000))
                time.sleep(0.05 if left > 18 * MB else 0)
            if left > 0:
                time.sleep(20)
            conn.sendall(OK)
        s = self.serve(script)
        p = self.proxy(config(s, pool="timeouts: {send: 600ms}"))
        for path, status in (b"/slow", 200), (b"/never", 504):
            with self.subTest(path=path), p.connect() as c:
                c.settimeout(PATIENCE_S)
                in_background(c.sendall, post(b"x" * (20 * MB)).replace(b"/", path, 1))
                self.assertEqual(Reader(c).response().status, status)

    def test_a_kept_connection_has_the_time_of_the_route_that_uses_it(self):
        def script(conn, n):
            s.read_head(conn, n)
            conn.sendall(OK)
            s.read_head(conn, n)
            time.sleep(20)
        s = self.serve(script)
        text = config(s, listener=", timeouts: {send: 20s}")
        p = self.proxy(text.replace(
            "pool: web", "routes: [{match: {path: /a}, pool: web}, {pool: web, timeouts: {send: 500ms}}]"))
        self.assertEqual(ask(p, get("/a")).status, 200)
        with p.connect() as c:
            in_background(c.sendall, post(b"x" * (20 * MB)))
            self.assertEqual(self.lasts(lambda: Reader(c).response().status, 0.4, 3), 504)

    def test_idle_connections_to_servers_are_closed_after_their_time(self):
        p = self.proxy(config(self.serve(), pool="timeouts: {server_idle: 500ms}"))
        self.assertEqual(ask(p, get()).status, 200)
        self.assertEqual(p.status()["server_connections"], 1)
        self.lasts(lambda: self.eventually(lambda: p.status()["server_connections"] == 0), 0.3, 0.9)

    def test_no_more_idle_connections_to_a_server_are_kept_than_the_pool_says(self):
        for limit in (2, 0):
            all_here = threading.Barrier(6)

            def script(conn, n):
                rest = b""
                while True:
                    head, rest = s.read_head(conn, n, rest)
                    if head is None:
                        return
                    all_here.wait(20)
                    conn.sendall(OK)
            s = self.serve(script)
            p = self.proxy(config(s, pool="limits: {idle_per_server: %d}\ntimeouts: {server_idle: 60s}" % limit))
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(p.connect()) for _ in range(6)]
                for c in clients:
                    c.sendall(get())
                for c in clients:
                    self.assertEqual(Reader(c).response().status, 200)
                self.eventually(lambda: p.status()["server_connections"] == limit)


class Heads(Timed):
    def test_a_head_that_drips_in_is_408_when_its_time_is_over_however_often_a_byte_comes(self):
        p = self.proxy(config(self.serve(), listener=", timeouts: {head: 500ms}"))
        with p.connect() as c:
            in_background(self.drip, c, b"GET / HTTP/1.1\r\nX: ", 0.05, 5)
            self.assertEqual(self.lasts(Reader(c).response, 0.45, 1).status, 408)

    def test_empty_lines_on_an_idle_connection_begin_no_request_and_keep_it_no_longer(self):
        p = self.proxy(config(self.serve(), listener=", timeouts: {head: 300ms, idle: 1500ms}"))
        with p.connect() as c:
            c.sendall(get() + b"\r\n")  # as some clients end a POST
            r = Reader(c)
            self.assertEqual(r.response().status, 200)
            start = time.monotonic()
            self.assertGreater(self.drip(c, b"\r\n", 0.2, 1.2), 1.1)
            c.sendall(b"\r\n\r\n" + get())
            self.assertEqual(r.response().status, 200)
            start = time.monotonic()
            in_background(self.drip, c, b"\r\n", 0.2, 5)
            try:
                self.assertEqual(r.rest(), b"")
            except ConnectionResetError:
                pass
            self.assertTrue(1.4 < time.monotonic() - start < 4)

    def test_an_empty_line_may_come_in_two_halves_but_not_hold_a_buffer(self):
        p = self.proxy(config(self.serve(), listener=", timeouts: {head: 500ms}"))
        with p.connect() as c:
            r = Reader(c)
            c.sendall(b"\r")
            time.sleep(0.1)
            c.sendall(b"\n\r")
            time.sleep(0.1)
            c.sendall(b"\n" + get())
            self.assertEqual(r.response().status, 200)
            c.sendall(b"\r")
            self.assertEqual(self.lasts(r.rest, 0.4, 1), b"")

    def test_a_new_connection_that_sends_only_empty_lines_is_closed_silently(self):
        p = self.proxy(config(self.serve(), listener=", timeouts: {head: 500ms}"))
        with p.connect() as c:
            c.sendall(b"\r\n")
            self.assertEqual(self.lasts(Reader(c).rest, 0.4, 1), b"")

    def test_the_largest_head_leaves_room_for_the_largest_trailers(self):
        p = self.proxy(config(self.serve(), listener=", limits: {request_head: 56KiB}"))
        start = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
        fields = b"".join(b"X%d: %s\r\n" % (i, b"v" * 8000) for i in range(7))
        pad = 56 * 1024 - len(start + fields) - len(b"Y: \r\n\r\n")
        head = start + fields + b"Y: " + b"y" * pad + b"\r\n\r\n"
        self.assertEqual(len(head), 56 * 1024)
        for size, status in (8192, 200), (8193, 431):
            trailers = b"T: " + b"t" * (size - len(b"T: \r\n\r\n")) + b"\r\n\r\n"
            with self.subTest(trailers=size), p.connect() as c:
                c.sendall(head)
                time.sleep(0.1)
                c.sendall(b"3\r\nabc\r\n0\r\n")
                time.sleep(0.1)
                c.sendall(trailers)
                self.assertEqual(Reader(c).response().status, status)


class BodyRate(Timed):
    LENGTH = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n"

    def send_slowly(self, listener, route="", first=b"", most=2.5):
        text = config(self.serve(), listener=", timeouts: {body: 500ms}" + listener)
        p = self.proxy(text.replace("pool: web", "routes: [{pool: web%s}]" % route))
        with p.connect() as c:
            c.sendall(self.LENGTH + first)
            done = []
            in_background(lambda: done.append(self.drip(c, b"x" * 5, 0.05, most)))
            try:
                c.settimeout(most)
                answer = Reader(c).response()
            except TimeoutError:
                return None
            self.assertEqual((answer.status, answer.get("connection")), (408, "close"))
            return answer

    def test_a_body_that_comes_too_slowly_is_408(self):
        self.assertTrue(self.lasts(lambda: self.send_slowly(""), 0.4, 1.5, 3))  # 100 B/s

    def test_one_that_was_fast_and_then_drips_is_408(self):
        self.assertTrue(self.send_slowly("", first=b"x" * MB, most=5))

    def test_a_body_that_is_fast_enough_goes_on(self):
        self.assertIsNone(self.send_slowly(", limits: {body_rate: 40B/s}"))

    def test_no_rate_is_asked_for_where_it_is_off(self):
        self.assertIsNone(self.send_slowly(", limits: {body_rate: off}"))

    def test_a_route_has_its_own(self):
        self.assertIsNone(self.send_slowly("", ", limits: {body_rate: 40B/s}"))
        self.assertTrue(self.send_slowly(", limits: {body_rate: off}", ", limits: {body_rate: 500B/s}"))

    def test_a_client_whom_the_server_holds_back_is_not_punished(self):
        def script(conn, n):
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            head, rest = s.read_head(conn, n)
            left = 4 * MB - len(rest)
            while left > 0:
                time.sleep(0.4 if left > 3.6 * MB else 0)  # several times too slowly for the client's limits
                left -= len(conn.recv(100000))
            conn.sendall(OK)
        s = self.serve(script)
        p = self.proxy(config(s, listener=", timeouts: {body: 500ms}, limits: {body_rate: 10MiB/s}"))
        with p.connect() as c:
            c.settimeout(PATIENCE_S)
            in_background(c.sendall, post(b"x" * (4 * MB)))
            self.assertEqual(self.lasts(Reader(c).response, 1.5, 20).status, 200)

    def test_a_body_over_the_routes_limit_is_413(self):
        text = config(self.serve(), listener=", limits: {request_body: 10B}")
        p = self.proxy(text.replace("pool: web", "routes: [{match: {path: /up}, pool: web, limits: {request_body: 1kB}},"
                                                 " {pool: web}]"))
        for path, size, status in (b"/", 11, 413), (b"/", 10, 200), (b"/up", 1000, 200), (b"/up", 1001, 413):
            with self.subTest(path=path, size=size):
                self.assertEqual(ask(p, post(b"x" * size).replace(b"/", path, 1)).status, status)


class SendRate(Timed):
    def read_slowly(self, p, piece, every, most):
        """How long a client lives that takes so much so often."""
        with p.connect() as c:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            c.sendall(get())
            start = time.monotonic()
            try:
                while time.monotonic() - start < most:
                    if not c.recv(piece):
                        break
                    time.sleep(every)
            except OSError:
                pass
            self.lived = time.monotonic() - start
            return p.status()["connections"]

    def start(self, send_rate, send="600ms"):
        # Two idle windows of the kernel's own growing buffers do no harm: they are its, not the client's.
        return self.proxy(config(self.endless(), listener=", timeouts: {send: %s}, limits: {send_rate: %s}" % (
            send, send_rate)))

    def test_a_client_that_takes_nothing_is_cut_after_its_time(self):
        p = self.start("off")
        with p.connect() as c:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            c.sendall(get())
            time.sleep(0.3)
            self.assertEqual(p.status()["connections"], 1)
            self.lasts(lambda: self.eventually(lambda: p.status()["connections"] == 0), 0.1, 1.5)
        self.assertIn("client timeout", self.last_line(p))

    def last_line(self, p):
        def lines():
            with open(p.tmp + "/access.log") as f:
                return f.readlines()
        self.eventually(lines)
        return lines()[-1]

    def test_a_client_that_takes_a_little_now_and_then_is_cut(self):
        p = self.start("500KiB/s")
        self.assertEqual(self.read_slowly(p, 5000, 0.1, 6), 0)

    def test_a_client_that_is_slow_but_fast_enough_is_not(self):
        p = self.start("20KiB/s")  # it takes 300 to 600
        self.assertEqual(self.read_slowly(p, 30000, 0.05, 4), 1)

    def test_a_route_has_its_own_time(self):
        text = config(self.endless(), listener=", timeouts: {send: 20s}")
        p = self.proxy(text.replace("pool: web", "routes: [{pool: web, timeouts: {send: 500ms}}]"))
        self.assertEqual(self.read_slowly(p, 1, 0.5, 2), 0)


if __name__ == "__main__":
    unittest.main()
