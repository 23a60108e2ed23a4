#!/usr/bin/python3
"""Bodies that go from socket to socket through a pipe: exact bytes, and everything that can come in between."""
import functools
import hashlib
import os
import resource
import signal
import socket
import threading
import time
import unittest

from rig import PATIENCE_S, Reader
from test_http1 import Case, config, get

MIN = 32 * 1024  # from here on it may be a pipe
PIPE = 256 * 1024
SIZES = (MIN - 1, MIN, MIN + 1, MIN + 16384, 65535, PIPE - 1, PIPE + 1, 1 << 20, 3000001)
RESET = b"\1\0\0\0\0\0\0\0"  # SO_LINGER


def content(n, seed=b""):
    """n bytes none of which can be missing, doubled or swapped without being seen."""
    return endless(1 << n.bit_length(), seed)[:n]


@functools.lru_cache
def endless(n, seed):
    parts, have, i = [], 0, 0
    while have < n:
        parts.append(hashlib.sha256(seed + b"%d" % i).digest() * 3 + b"%d" % i)
        have += len(parts[-1])
        i += 1
    return b"".join(parts)


def post(body, path="/"):
    return b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (path.encode(), len(body)) + body


def queues(port):
    """What the kernel holds for sockets with this port: (sent and not read, by the sockets that are it;
    come and not read, by those that talk to it)."""
    with open("/proc/net/tcp") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    number = lambda text: int(text.split(":")[1], 16)
    return (sum(int(r[4].split(":")[0], 16) for r in rows if number(r[1]) == port),
            sum(int(r[4].split(":")[1], 16) for r in rows if number(r[2]) == port))


class Splicing(Case):
    def pipes(self, p):
        return p.status()["pipes"]["open"]

    def body_server(self, then=None, to_send=None):
        """Answers /N with N bytes; a request with content, with its digest."""
        def script(conn, n):
            rest = b""
            while True:
                head, body, rest = s.read_request(conn, n, rest)
                if head is None:
                    return
                if body:
                    answer = hashlib.sha256(body).hexdigest().encode()
                else:
                    answer = content(int(head.split()[1][1:]))
                conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer))
                conn.sendall(answer)
        s = self.serve(script)
        return s

    def test_responses_of_all_sizes_are_exact_and_both_connections_live_on(self):
        s = self.body_server()
        p = self.proxy(config(s))
        with p.connect() as c:
            r = Reader(c)
            for size in SIZES:
                c.sendall(get("/%d" % size))
                self.assertEqual(r.response().body, content(size), size)
            self.assertGreater(self.pipes(p), 0)
        self.assertEqual(len(s.received), 1)
        lines = self.log_lines(p, len(SIZES))
        self.assertEqual([line["bytes_out"] for line in lines], list(SIZES))

    def test_uploads_of_all_sizes_are_exact_and_the_next_request_stands_behind_them(self):
        s = self.body_server()
        p = self.proxy(config(s))
        with p.connect() as c:
            r = Reader(c)
            for size in SIZES:
                body = content(size)
                threading.Thread(target=c.sendall, args=(post(body) + get("/5"),), daemon=True).start()
                self.assertEqual(r.response().body.decode(), hashlib.sha256(body).hexdigest(), size)
                self.assertEqual(r.response().body, content(5))
            self.assertGreater(self.pipes(p), 0)
        self.assertEqual(len(s.received), 1)
        lines = self.log_lines(p, 2 * len(SIZES))
        self.assertEqual([line["bytes_in"] for line in lines[::2]], list(SIZES))

    def test_an_upload_whose_head_comes_alone_and_in_pieces_is_exact(self):
        s = self.body_server()
        p = self.proxy(config(s))
        body = content(500000)
        with p.connect() as c:
            raw = post(body)
            at = raw.index(b"\r\n\r\n") + 4
            c.sendall(raw[:at])
            while at < len(raw):
                time.sleep(0.005)
                c.sendall(raw[at:at + 37777])
                at += 37777
            self.assertEqual(Reader(c).response().body.decode(), hashlib.sha256(body).hexdigest())
            self.assertGreater(self.pipes(p), 0)

    def test_an_answer_until_the_close_reaches_an_old_client_whole(self):
        body = content(2000000)

        def script(conn, n):
            s.read_head(conn, n)
            conn.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + body)
        s = self.serve(script)
        p = self.proxy(config(s))
        with p.connect() as c:
            c.sendall(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
            self.assertEqual(Reader(c).response().body, body)
        self.assertGreater(self.pipes(p), 0)
        with p.connect() as c:  # a client of today gets it in chunks, copied
            c.sendall(get())
            self.assertEqual(Reader(c).response().body, body)

    def test_a_reader_that_is_slow_gets_it_all_and_asks_again(self):
        s = self.body_server()
        p = self.proxy(config(s))
        with socket.socket() as c:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            c.connect(("127.0.0.1", p.port))
            r = Reader(c)
            for size in (4000000, 70000, 1000000):
                c.sendall(get("/%d" % size))
                time.sleep(0.3)
                self.assertEqual(r.response().body, content(size))
            self.assertGreater(self.pipes(p), 0)
        self.assertEqual(len(s.received), 1)
        self.assertEqual([line["bytes_out"] for line in self.log_lines(p, 3)], [4000000, 70000, 1000000])

    def test_a_server_is_free_while_a_slow_reader_takes_the_end_from_a_pipe(self):
        s = self.body_server()
        p = self.proxy(config(s, pool="limits: {connections_per_server: 1}"))
        seen = False
        for size in range(3000000, 5000000, 50000):  # until the last that comes does not fit into the socket
            if seen:
                break
            with socket.socket() as c:
                c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
                c.connect(("127.0.0.1", p.port))
                r, before, left = Reader(c), p.status()["pools"]["web"]["requests_total"], size
                c.sendall(get("/%d" % size))
                r.until(b"\r\n\r\n")
                while True:
                    pool = p.status()["pools"]["web"]
                    if pool["requests_total"] > before or pool["servers"]["s0"]["in_flight"] == 0:
                        break
                    r.exactly(65536)
                    left -= 65536
                if pool["requests_total"] == before:  # the answer goes on, but not for the server
                    seen = True
                    with p.connect() as other:
                        other.sendall(get("/1"))
                        self.assertEqual(Reader(other).response().status, 200)
                self.assertEqual(r.exactly(left), content(size)[size - left:])
        self.assertTrue(seen)
        self.assertEqual(len(s.received), 1)

    def test_a_server_that_reads_slowly_gets_it_all(self):
        body = content(8000000)

        def script(conn, n):
            head, rest = s.read_head(conn, n)
            time.sleep(0.5)
            while len(rest) < len(body):
                rest += conn.recv(500000)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + hashlib.sha256(rest).hexdigest().encode())
        s = self.serve(script)
        s.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)  # what it accepts inherits that
        p = self.proxy(config(s))
        with p.connect() as c:
            c.sendall(post(body))
            self.assertEqual(Reader(c).response().body.decode(), hashlib.sha256(body).hexdigest())
        self.assertGreater(self.pipes(p), 0)

    def test_a_server_that_stops_short_is_a_cut_with_every_byte_that_came(self):
        for reset in (False, True):
            with self.subTest(reset=reset):
                body, go = content(1000000), threading.Event()

                def script(conn, n):
                    s.read_head(conn, n)
                    conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + body)
                    go.wait(5)
                    if reset:
                        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                s = self.serve(script)
                p = self.proxy(config(s))
                with p.connect() as c:
                    c.sendall(get())
                    r = Reader(c)
                    r.until(b"\r\n\r\n")
                    self.assertEqual(r.exactly(len(body)), body)
                    go.set()
                    with self.assertRaises((ConnectionResetError, EOFError)):
                        r.exactly(1)
                line = self.log_lines(p, 1)[0]
                self.assertEqual((line["bytes_out"], line["end"]), (len(body), "server cut"))
                self.assertGreater(self.pipes(p), 0)

    def test_a_client_that_leaves_is_logged_with_what_it_was_given(self):
        s = self.body_server()
        p = self.proxy(config(s))
        with p.connect() as c:
            c.sendall(get("/20000000"))
            head = Reader(c)
            head.until(b"\r\n\r\n")
            before = None
            while before != (before := queues(p.port)):
                time.sleep(0.3)  # nothing moves any more: the pipe is full too
            given = len(head.data) + before[0] + before[1]
            self.assertGreater(self.pipes(p), 0)
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        line = self.log_lines(p, 1)[0]
        self.assertEqual((line["bytes_out"], line["end"]), (given, "client gone"))
        self.eventually(lambda: p.status()["server_connections"] == 0)

    def test_a_client_that_leaves_within_its_upload_never_looks_complete(self):
        for reset in (False, True):
            with self.subTest(reset=reset):
                got, ended = [], threading.Event()

                def script(conn, n):
                    got.append(0)
                    try:
                        while True:
                            data = conn.recv(65536)
                            if not data:
                                break
                            got[0] += len(data)
                    finally:
                        ended.set()
                s = self.serve(script)
                p = self.proxy(config(s))
                with p.connect() as c:
                    c.sendall(post(content(2000000))[:1000000])
                    self.eventually(lambda: got and got[0] > 900000)
                    if reset:
                        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                self.assertTrue(ended.wait(3))
                self.assertLess(got[0], 1000300)
                line = self.log_lines(p, 1)[0]
                self.assertEqual(line["end"], "client gone")
                self.assertLess(line["bytes_in"], 1000000)

    def test_a_server_that_resets_under_an_upload_is_an_honest_502(self):
        def script(conn, n):
            conn.recv(100000)
            time.sleep(0.3)
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        p = self.proxy(config(self.serve(script)))
        with p.connect() as c:
            c.settimeout(PATIENCE_S)
            try:
                c.sendall(post(content(20000000)))
            except OSError:
                pass  # it stopped reading us
            try:
                self.assertEqual(Reader(c).response().status, 502)
            except ConnectionResetError:
                pass
        line = self.log_lines(p, 1)[0]
        self.assertEqual((line["status"], line["end"]), (502, "server cut"))

    def test_times_run_while_bytes_are_in_a_pipe(self):
        def script(conn, n):
            s.read_head(conn, n)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + content(1000000))
            time.sleep(5)
        s = self.serve(script)
        p = self.proxy(config(s, pool="timeouts: {between_bytes: 500ms}\n"))
        with p.connect() as c:
            c.sendall(get())
            r = Reader(c)
            r.until(b"\r\n\r\n")
            r.exactly(1000000)
            start = time.monotonic()
            with self.assertRaises((ConnectionResetError, EOFError)):
                r.exactly(1)
            self.assertLess(time.monotonic() - start, 2)
        self.assertEqual(self.log_lines(p, 1)[0]["end"], "server timeout:content")
        s = self.body_server()
        p = self.proxy(config(s, listener=", timeouts: {send: 500ms}"))
        with p.connect() as c:
            c.sendall(get("/20000000"))
            c.recv(1)  # it is one of the connections now
            self.eventually(lambda: p.status()["connections"] == 0, within=6)
        self.assertEqual(self.log_lines(p, 1)[0]["end"], "client timeout")

    def test_without_files_for_a_pipe_it_is_copied(self):
        s = self.body_server()
        p = self.proxy(config(s))
        with p.connect() as c:
            r = Reader(c)
            c.sendall(get("/1"))
            r.response()
            files = len(os.listdir("/proc/%d/fd" % p.proc.pid))
            self.assertEqual(self.pipes(p), 0)
            normal = resource.prlimit(p.proc.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(p.proc.pid, resource.RLIMIT_NOFILE, (files, normal[1]))
            body = content(3000000)
            c.sendall(get("/3000000"))
            self.assertEqual(r.response().body, body)
            threading.Thread(target=c.sendall, args=(post(body),), daemon=True).start()
            self.assertEqual(r.response().body.decode(), hashlib.sha256(body).hexdigest())
            resource.prlimit(p.proc.pid, resource.RLIMIT_NOFILE, normal)
            pipes = p.status()["pipes"]
            self.assertEqual(pipes["open"], 0)
            self.assertGreater(pipes["refused_total"], 0)
            c.sendall(get("/3000000"))  # and when there are files again, through a pipe
            self.assertEqual(r.response().body, body)
            self.assertGreater(self.pipes(p), 0)

    def test_more_slow_readers_than_pipes_all_get_theirs(self):
        whole = content(6000019)
        s = self.body_server()
        p = self.proxy(config(s), files=128)  # seven pipes
        clients = []
        for i in range(20):
            c = socket.socket()
            self.addCleanup(c.close)
            c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            c.settimeout(PATIENCE_S)
            c.connect(("127.0.0.1", p.port))
            c.sendall(get("/%d" % (6000000 + i)))
            clients.append(c)
        self.eventually(lambda: p.status()["pipes"]["refused_total"] > 0)
        self.assertEqual(self.pipes(p), 7)
        for i, c in enumerate(clients):
            self.assertEqual(Reader(c).response().body, whole[:6000000 + i])

    def test_a_reload_and_a_stop_let_it_finish(self):
        s = self.body_server()
        p = self.proxy(config(s))
        with socket.socket() as c:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            c.connect(("127.0.0.1", p.port))
            c.sendall(get("/20000000"))
            r = Reader(c)
            r.until(b"\r\n\r\n")
            self.eventually(lambda: self.pipes(p) > 0)
            other = self.body_server()
            p.write(config(other))
            self.assertTrue(p.rpc("reload")["result"]["ok"])
            first = r.exactly(5000000)
            p.proc.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            self.assertEqual(first + r.exactly(15000000), content(20000000))
        self.assertEqual(p.stop(), 0)

    def test_a_tunnel_carries_bulk_both_ways_and_small_things_after_it(self):
        down, up = content(5000000, b"down"), content(5000000, b"up")

        def script(conn, n):
            s.read_head(conn, n)
            conn.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
            sender = threading.Thread(target=conn.sendall, args=(down,), daemon=True)
            sender.start()
            got = b""
            while len(got) < len(up):
                got += conn.recv(1 << 20)
            sender.join()
            conn.sendall(hashlib.sha256(got).hexdigest().encode())
            while True:
                data = conn.recv(100)
                if not data:
                    return
                conn.sendall(data)
        s = self.serve(script)
        p = self.proxy(config(s))
        with p.connect() as c:
            c.sendall(get("/", "Connection: Upgrade\r\nUpgrade: x\r\n"))
            r = Reader(c)
            r.until(b"\r\n\r\n")
            threading.Thread(target=c.sendall, args=(up,), daemon=True).start()
            self.assertEqual(r.exactly(len(down)), down)
            self.assertEqual(r.exactly(64).decode(), hashlib.sha256(up).hexdigest())
            for i in range(50):
                c.sendall(b"ping%3d" % i)
                self.assertEqual(r.exactly(7), b"ping%3d" % i)
            self.assertGreater(self.pipes(p), 0)
            c.shutdown(socket.SHUT_WR)
            self.assertEqual(r.rest(), b"")
        line = self.log_lines(p, 1)[0]
        self.assertEqual((line["bytes_in"], line["bytes_out"]), (5000000 + 350, 5000000 + 64 + 350))


if __name__ == "__main__":
    unittest.main()
