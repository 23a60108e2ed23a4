#!/usr/bin/python3
"""Corners of the HTTP/1.1 data path: buffers that end in the wrong place, half-closed clients, answers that come
early, deadlines that must not get lost, and stopping."""
import os
import signal
import socket
import threading
import time
import unittest

from rig import PATIENCE_S, Reader, ask, free_port
from test_http1 import Case, config, get

BUFFER = 16384  # of a connection
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def post(content, extra=b""):
    return b"POST / HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n%s" % (extra, len(content), content)


def kernel_holds(port, remote):
    """The most that a socket of ours with this local (or remote) port has sent and not seen acknowledged."""
    with open("/proc/net/tcp") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    return max(int(r[4].split(":")[0], 16) for r in rows if int(r[2 if remote else 1].split(":")[1], 16) == port)


def around(held):
    """Sizes among which is one of which the kernel takes all but the last bytes."""
    return range(held - 20000, held + 100000, 7000)


def in_background(function, *args):
    def run():
        try:
            function(*args)
        except OSError:
            pass
    t = threading.Thread(target=run, daemon=True)
    t.start()
    return t


class Buffers(Case):
    def test_a_response_whose_trailers_lie_across_the_buffers_end_is_whole(self):
        for cut in (b"\r", b"X-", b"X-Sum: 9\r\n", b"X-Sum: 9\r\n\r"):
            with self.subTest(cut=cut):
                start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                n = BUFFER - len(start) - len(b"XXXX\r\n\r\n0\r\n") - len(cut)
                first = start + b"%04x\r\n" % n + b"x" * n + b"\r\n0\r\n" + cut
                rest = b"\n" if cut == b"\r" else b"X-Sum: 9\r\n\r\n"[len(cut):]
                self.assertEqual(len(first), BUFFER)

                def script(conn, k):
                    s.read_head(conn, k)
                    conn.sendall(first)
                    time.sleep(0.2)
                    conn.sendall(rest)
                    conn.recv(1)
                s = self.serve(script)
                p = self.proxy(config(s))
                self.assertEqual(len(ask(p, get()).body), n)

    def test_an_upload_whose_end_lies_across_the_buffers_end_arrives(self):
        s = self.serve()
        p = self.proxy(config(s))
        start = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        n = BUFFER - len(start) - len(b"XXXX\r\n\r\n0\r\n\r")
        with p.connect() as c:
            c.sendall(start + b"%04x\r\n" % n + b"x" * n + b"\r\n0\r\n\r")
            time.sleep(0.2)
            c.sendall(b"\n")
            self.assertEqual(Reader(c).response().status, 200)

    def test_a_head_that_fills_the_buffer_leaves_room_for_its_content(self):
        s = self.serve()
        p = self.proxy(config(s))
        for size in (BUFFER, BUFFER - 1, BUFFER - 5000):
            with self.subTest(size=size):
                fields = b"X: " + b"a" * 8000 + b"\r\nY: "
                fields += b"b" * (size - len(post(b"0123456789", fields + b"\r\n")) + 10) + b"\r\n"
                head, content = post(b"0123456789", fields)[:size], b"0123456789"
                self.assertTrue(head.endswith(b"\r\n\r\n"))
                with p.connect() as c:
                    c.sendall(head)
                    time.sleep(0.2)
                    c.sendall(content)
                    self.assertEqual(Reader(c).response().status, 200)

    def test_a_pipelined_head_that_ends_where_the_buffer_ends_leaves_room_for_its_content(self):
        s = self.serve()
        p = self.proxy(config(s))
        chunked = b"POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        first = get("/", "X: %s\r\nY: %s\r\n" % ("v" * 8000, "w" * (BUFFER - len(chunked + get()) - 8010)))
        self.assertEqual(len(first + chunked), BUFFER)
        with p.connect() as c:
            c.sendall(first + chunked)
            r = Reader(c)
            self.assertEqual(r.response().status, 200)
            c.sendall(b"3\r\nabc\r\n0\r\nT: " + b"t" * 7000 + b"\r\n\r\n")
            self.assertEqual(r.response().status, 200)


class HalfClose(Case):
    def test_pipelined_requests_before_a_half_close_are_all_answered(self):
        s = self.serve()
        p = self.proxy(config(s))
        with p.connect() as c:
            c.sendall(get() * 5)
            c.shutdown(socket.SHUT_WR)
            self.assertEqual(Reader(c).rest().count(b"200 OK"), 5)

    def few_bytes_client(self, p, size):
        c = socket.socket()
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.settimeout(PATIENCE_S)
        c.connect(("127.0.0.1", p.port))
        c.sendall(get("/%d" % size))
        time.sleep(0.1)
        return c

    def test_an_answer_still_on_its_way_survives_a_half_close(self):
        def script(conn, n):
            rest = b""
            while True:
                head, rest = s.read_head(conn, n, rest)
                if head is None:
                    return
                size = int(head.split()[1][1:])
                conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"z" * size)
        s = self.serve(script)
        p = self.proxy(config(s))
        with self.few_bytes_client(p, 100 << 20):
            time.sleep(0.3)
            held = kernel_holds(p.port, False)
        for size in around(held):
            with self.subTest(size=size), self.few_bytes_client(p, size) as c:
                c.shutdown(socket.SHUT_WR)
                time.sleep(0.05)
                self.assertEqual(len(Reader(c).response().body), size)

    def test_an_upload_followed_by_a_half_close_arrives_at_a_slow_server(self):
        def script(conn, n):
            time.sleep(1 if n == 0 else 0.15)
            s.read_request(conn, n)
            conn.sendall(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        s = self.serve(script)
        s.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        p = self.proxy(config(s))
        with p.connect() as c:
            in_background(c.sendall, post(b"x" * (20 << 20)))
            time.sleep(0.6)
            held = kernel_holds(s.port, True)
        for size in around(held):
            with self.subTest(size=size), p.connect() as c:
                def send():
                    c.sendall(post(b"x" * size))
                    c.shutdown(socket.SHUT_WR)
                t = in_background(send)
                self.assertEqual(Reader(c).response().status, 200)
                t.join()

    def test_half_an_upload_and_a_half_close_end_the_exchange(self):
        s = self.serve()
        p = self.proxy(config(s))
        with p.connect() as c:
            c.sendall(post(b"x" * 100)[:-50])
            c.shutdown(socket.SHUT_WR)
            with self.assertRaises((EOFError, ConnectionResetError)):
                Reader(c).response()
        self.eventually(lambda: p.status()["connections"] == 0)
        self.assertEqual(p.status()["pools"]["web"]["servers"]["s0"]["in_flight"], 0)


class Early(Case):
    def test_an_early_answer_that_stops_after_the_upload_is_cut_in_time(self):
        def script(conn, n):
            s.read_head(conn, n)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab")
            time.sleep(0.7)
            conn.settimeout(0.7)
            try:
                while conn.recv(1 << 20):
                    pass
            except socket.timeout:
                time.sleep(10)
        s = self.serve(script)
        p = self.proxy(config(s, pool="timeouts: {between_bytes: 1s}"))
        with p.connect() as c:
            in_background(c.sendall, post(b"x" * (8 << 20)))
            with self.assertRaises((EOFError, ConnectionResetError)):
                Reader(c).response()

    def test_an_upload_goes_on_while_the_client_does_not_read_the_answer_yet(self):
        size = 16 << 20

        def script(conn, n):
            head, rest = s.read_head(conn, n)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (size + 1))
            in_background(conn.sendall, b"a" * size)
            time.sleep(0.5)
            left = size - len(rest)
            while left > 0:
                left -= len(conn.recv(1 << 20))
            took.set()
            time.sleep(1)
            conn.sendall(b"b")
        took = threading.Event()
        s = self.serve(script)
        p = self.proxy(config(s, listener=", timeouts: {body: 2s}"))
        with p.connect() as c:
            in_background(c.sendall, post(b"x" * size))
            self.assertTrue(took.wait(4), "the upload stands still")
            self.assertEqual(len(Reader(c).response().body), size + 1)

    def test_an_echo_of_an_upload_in_progress_passes_whole(self):
        def script(conn, n):
            head, rest = s.read_head(conn, n)
            left = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]) - len(rest)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (left + len(rest)) + rest)
            while left > 0:
                more = conn.recv(65536)
                left -= len(more)
                conn.sendall(more)
        s = self.serve(script)
        p = self.proxy(config(s, listener=", timeouts: {body: 2s}"))
        content = os.urandom(1 << 20) * 32
        with p.connect() as c:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            in_background(c.sendall, post(content))
            time.sleep(0.3)
            self.assertTrue(Reader(c).response().body == content)


class Stopping(Case):
    def slow(self):
        def script(conn, n):
            s.read_head(conn, n)
            conn.sendall(b"HTTP/1.1 200 OK\r\n\r\npart")
            time.sleep(20)
        s = self.serve(script)
        return s

    def test_a_second_sigterm_stops_at_once(self):
        p = self.proxy(config(self.slow()))
        with p.connect() as c:
            c.sendall(get())
            Reader(c).until(b"part")
            for _ in range(2):
                p.proc.send_signal(signal.SIGTERM)
                time.sleep(0.3)
            self.assertEqual(p.proc.wait(3), 0)

    def test_what_the_end_of_the_drain_cuts_does_not_look_complete(self):
        p = self.proxy("timeouts: {drain: 500ms}\n" + config(self.slow()))
        with p.connect() as c:
            c.sendall(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")  # only the close tells where it ends
            r = Reader(c)
            r.until(b"part")
            p.proc.send_signal(signal.SIGTERM)
            with self.assertRaises(ConnectionResetError):
                r.rest()
        self.assertEqual(p.proc.wait(3), 0)

    def test_idle_clients_of_a_listener_that_a_reload_removed_do_not_hold_up_a_stop(self):
        s = self.serve()
        p = self.proxy(config(s))
        with p.connect() as c:
            c.sendall(get())
            Reader(c).response()
            p.write(config(s).replace("{port}", str(free_port())))
            self.assertTrue(p.rpc("reload")["result"]["ok"])
            time.sleep(0.1)
            p.proc.send_signal(signal.SIGTERM)
            self.assertEqual(p.proc.wait(4), 0)


class Limits(Case):
    def test_a_full_listener_says_so_once_and_goes_on_when_a_client_leaves(self):
        p = self.proxy(config(self.serve(), listener=", limits: {connections: 2}"))
        held = [p.connect() for _ in range(4)]
        self.eventually(lambda: p.status()["connections"] == 2 and "listener.paused" in p.logged())
        time.sleep(0.5)
        self.assertEqual((p.status()["connections"], p.logged().count("listener.paused")), (2, 1))
        for c in held[:2]:
            c.close()
        for c in held[2:]:
            with c:
                c.sendall(get())
                self.assertEqual(Reader(c).response().status, 200)


class Forwarded(Case):
    def test_a_client_cannot_hide_behind_a_line_before_that_of_the_trusted_proxy(self):
        s = self.serve()
        p = self.proxy(config(s, listener=", trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]"))
        ask(p, get("/", "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 2.2.2.2\r\nX-Forwarded-For: 10.0.0.1\r\n"))
        self.assertEqual(self.log_lines(p)[-1]["client"], "2.2.2.2")


if __name__ == "__main__":
    unittest.main()
