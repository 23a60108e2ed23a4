#!/usr/bin/python3
"""A storm: clients and servers of every kind of manners at once, through two workers, while the configuration is
reloaded. What two well-behaved ends say to each other must arrive byte for byte; what is broken must never look
whole; and when it is over nothing may be left.

STORM_SECONDS and STORM_SEED in the environment make it longer, or another one."""
import os
import random
import socket
import threading
import time
import traceback
import unittest
import zlib

from rig import PATIENCE_S, Reader
from test_http1 import Case, config

SECONDS = float(os.environ.get("STORM_SECONDS", "6"))
SEED = int(os.environ.get("STORM_SEED", "1"))
CLIENTS = 24
BLOCK = random.Random(0).randbytes(1 << 20)
RESET = b"\1\0\0\0\0\0\0\0"  # a struct linger: close with a reset
TIMES = ", timeouts: {head: 5s, body: 5s, send: 5s, idle: 5s}"
POOL = "timeouts: {first_byte: 5s, between_bytes: 5s, server_idle: %s}"

GOOD = ("length", "chunks", "close", "slow", "interim", "goodbye")  # every GET of these must succeed
BROKEN = ("short", "reset", "junk", "hangup", "cutchunk")  # 502, or a cut; never whole


def content(n, at):
    return (BLOCK * (1 + (at + n >> 20)))[at:at + n]


def chunked(rng, data, trailers=b""):
    parts, at = [], 0
    while at < len(data):
        n = rng.choice((1, 7, 100, 4000, 16000, 70000))
        piece = data[at:at + n]
        parts.append(b"%x\r\n%s\r\n" % (len(piece), piece))
        at += n
        if n == 1 and len(parts) > 200:
            parts.append(b"%x\r\n%s\r\n" % (len(data) - at, data[at:]) if at < len(data) else b"")
            break
    return b"".join(parts) + b"0\r\n" + trailers + b"\r\n"


class Manners:
    """The servers' side: the path says how to behave: /KIND/SIZE/OFFSET."""

    def __init__(self, seed):
        self.seed = seed

    def __call__(self, conn, n):
        conn.settimeout(PATIENCE_S)
        rng, r = random.Random(self.seed * 1000003 + n), Reader(conn)
        try:
            while self.one(conn, r, rng):
                pass
        except EOFError:
            pass

    def one(self, conn, r, rng):
        head = r.until(b"\r\n\r\n").lower()
        method, path = head.split(b" ")[:2]
        _, kind, size, at = path.decode().split("/")
        if kind == "early":
            conn.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            time.sleep(rng.choice((0, 0.02)))
            return False
        if kind == "echo":
            return self.echo(conn, r, int(size))
        if kind == "lazy":
            time.sleep(rng.random() * 0.3)
        if b"\r\ntransfer-encoding: chunked" in head:
            body = r.chunked()
        elif b"\r\ncontent-length: " in head:
            body = r.exactly(int(head.split(b"\r\ncontent-length: ")[1].split(b"\r\n")[0]))
        else:
            body = b""
        data = content(int(size), int(at))
        if method == b"post":
            data = b"%d %d" % (len(body), zlib.crc32(body))
        return getattr(self, kind)(conn, rng, data)

    def echo(self, conn, r, left):
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % left)
        while left > 0:
            if not r.data:
                r.fill()
            piece, r.data = r.data[:left], r.data[left:]
            conn.sendall(piece)
            left -= len(piece)
        return True

    def lazy(self, conn, rng, data):
        return self.length(conn, rng, data)

    def length(self, conn, rng, data):
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data))
        return True

    def chunks(self, conn, rng, data):
        conn.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
                     chunked(rng, data, rng.choice((b"", b"X-Sum: 1\r\n"))))
        return True

    def close(self, conn, rng, data):
        conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + data)
        return False

    def slow(self, conn, rng, data):
        raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(rng, data)
        for _ in range(5):
            cut = rng.randrange(len(raw) + 1)
            conn.sendall(raw[:cut])
            raw = raw[cut:]
            time.sleep(0.01)
        conn.sendall(raw)
        return True

    def interim(self, conn, rng, data):
        conn.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * rng.randrange(1, 40))
        return self.length(conn, rng, data)

    def goodbye(self, conn, rng, data):
        """Keeps the connection, it says, and then closes it."""
        self.length(conn, rng, data)
        time.sleep(rng.choice((0, 0, 0.005)))
        return False

    def short(self, conn, rng, data):
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(data) + 1, data))
        return False

    def cutchunk(self, conn, rng, data):
        raw = chunked(rng, data)
        conn.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + raw[:rng.randrange(len(raw))])
        return False

    def reset(self, conn, rng, data):
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        conn.sendall((b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(data) + 1, data))
                     [:rng.choice((0, 10, 1000, 1 << 30))])
        return False

    def junk(self, conn, rng, data):
        conn.sendall(rng.choice((b"what?\r\n\r\n", b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n", b"\0" * 50000,
                                 b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                                 b"HTTP/1.1 200 OK\r\nX: " + b"a" * 60000)))
        return False

    def hangup(self, conn, rng, data):
        return False


class Client:
    """One of the clients: goes from one connection to the next, each with manners drawn anew."""

    def __init__(self, proxy, seed):
        self.proxy, self.rng = proxy, random.Random(seed)
        self.whole = self.broken = 0

    def run(self, until):
        while time.monotonic() < until:
            manners = self.rng.choice((self.polite, self.polite, self.polite, self.posts, self.posts, self.halfclose,
                                       self.slow_reader, self.echo, self.trouble, self.early, self.aborts,
                                       self.babbles))
            with self.proxy.connect() as c:
                c.settimeout(PATIENCE_S)
                manners(c, Reader(c))

    def size(self):
        r = self.rng
        most = r.choice((1, 2, 2000, 2000, 100000, 100000, 1 << 20))
        return r.choice((r.randrange(most), r.randrange(16000, 17000)))

    def get(self, kinds):
        kind, n, at = self.rng.choice(kinds), self.size(), self.rng.randrange(1 << 16)
        extra = b"X: %s\r\n" % (b"v" * self.rng.choice((1, 1, 500, 7000)))
        return content(n, at), b"GET /%s/%d/%d HTTP/1.1\r\nHost: a\r\n%s\r\n" % (kind.encode(), n, at, extra)

    def post(self, kind="length"):
        body = content(self.size(), self.rng.randrange(1 << 16))
        head = b"POST /%s/0/0 HTTP/1.1\r\nHost: a\r\n" % kind.encode()
        if self.rng.random() < 0.5:
            raw = head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        else:
            raw = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(self.rng, body, b"X-T: 1\r\n")
        return b"%d %d" % (len(body), zlib.crc32(body)), raw

    def send(self, c, raw):
        """As it pleases: at once, or in pieces."""
        if self.rng.random() < 0.3:
            for _ in range(4):
                cut = self.rng.randrange(min(len(raw), 30000) + 1)
                c.sendall(raw[:cut])
                raw = raw[cut:]
                time.sleep(0.01)
        c.sendall(raw)

    def final(self, r):
        while True:
            answer = r.response()
            if answer.status >= 200:
                return answer

    def expect(self, r, wanted, statuses=(200,)):
        answer = self.final(r)
        if answer.status not in statuses:
            raise AssertionError("%d: %r" % (answer.status, answer.head))
        if answer.status == 200 and answer.body != wanted:
            raise AssertionError("%d bytes instead of %d, or others" % (len(answer.body), len(wanted)))
        self.whole += 1
        return answer.get("connection") != "close"

    def polite(self, c, r):
        for _ in range(self.rng.randrange(1, 8)):
            batch = [self.get(GOOD) for _ in range(self.rng.choice((1, 1, 2, 20)))]
            sender = threading.Thread(target=self.quietly, args=(c, b"".join(raw for _, raw in batch)))
            sender.start()
            for wanted, _ in batch:
                self.expect(r, wanted)
            sender.join()

    def quietly(self, c, raw):
        try:
            self.send(c, raw)
        except OSError:
            pass

    def posts(self, c, r):
        for _ in range(self.rng.randrange(1, 5)):
            wanted, raw = self.post(self.rng.choice(("length", "chunks", "slow", "lazy")))
            self.quietly(c, raw)
            # 502: its connection to a server went stale; what cannot be sent twice is not.
            if not self.expect(r, wanted, (200, 502)):
                return

    def halfclose(self, c, r):
        batch = [self.get(GOOD) for _ in range(self.rng.randrange(1, 5))]
        c.sendall(b"".join(raw for _, raw in batch))
        c.shutdown(socket.SHUT_WR)
        for wanted, _ in batch:
            self.expect(r, wanted)

    def slow_reader(self, c, r):
        """Of more than the kernel takes in the meantime."""
        n = self.rng.randrange(3 << 20, 8 << 20)
        c.sendall(b"GET /%s/%d/0 HTTP/1.1\r\nHost: a\r\n\r\n" % (self.rng.choice((b"length", b"chunks", b"close")), n))
        time.sleep(self.rng.random() * 0.5)
        if self.rng.random() < 0.5:
            c.shutdown(socket.SHUT_WR)
        self.expect(r, content(n, 0))

    def echo(self, c, r):
        data = content(self.rng.randrange(8 << 20), 0)
        raw = b"POST /echo/%d/0 HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(data), len(data), data)
        sender = threading.Thread(target=self.quietly, args=(c, raw))
        sender.start()
        time.sleep(self.rng.random() * 0.3)
        self.expect(r, data, (200, 502))
        sender.join()

    def trouble(self, c, r):
        c.sendall(self.get(BROKEN)[1])
        try:
            answer = self.final(r)
        except (EOFError, OSError, ValueError):
            self.broken += 1
            return
        if answer.status not in (502, 504):
            raise AssertionError("looks whole: %r" % answer.head)
        self.broken += 1

    def early(self, c, r):
        self.quietly(c, self.post("early")[1])
        try:
            answer = self.final(r)
        except (EOFError, OSError):
            return  # the server's reset may have overtaken its answer
        if answer.status not in (403, 502):
            raise AssertionError("early: %r" % answer.head)

    def aborts(self, c, r):
        raw = self.rng.choice((self.post()[1], self.get(GOOD)[1], self.get(GOOD)[1] * 3))
        c.sendall(raw[:self.rng.choice((len(raw), self.rng.randrange(len(raw))))])
        time.sleep(self.rng.choice((0, 0.01, 0.1)))
        if self.rng.random() < 0.5:
            c.recv(self.rng.randrange(1, 5000))
        if self.rng.random() < 0.7:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def babbles(self, c, r):
        c.sendall(self.rng.choice((
            b"\r\n\r\nGET", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", self.rng.randbytes(3000) + b"\r\n\r\n",
            b"POST /length/0/0 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n")))
        c.shutdown(socket.SHUT_WR)
        try:
            while c.recv(65536):
                pass
        except OSError:
            pass


class Storm(Case):
    def test_good_exchanges_are_whole_broken_ones_are_cut_and_nothing_is_left(self):
        servers = [self.serve(Manners(SEED + i)) for i in range(3)]
        texts = [config(*servers, listener=TIMES, pool=POOL % idle) for idle in ("1s", "4s")]
        p = self.proxy(texts[0], workers=2)
        clients = [Client(p, SEED * 1000 + i) for i in range(CLIENTS)]
        failed, until = [], time.monotonic() + SECONDS

        def run(client):
            try:
                client.run(until)
            except Exception:
                failed.append(traceback.format_exc())
        threads = [threading.Thread(target=run, args=(c,)) for c in clients]
        for t in threads:
            t.start()
        turn = 0
        while time.monotonic() < until:
            turn += 1
            p.write(texts[turn % 2])
            self.assertTrue(p.rpc("reload").get("result", {}).get("ok"))
            time.sleep(0.3)
        for t in threads:
            t.join(40)
        self.assertFalse([t for t in threads if t.is_alive()], "clients hang")
        self.assertEqual(failed, [], "seed %d" % SEED)
        self.assertGreater(sum(c.whole for c in clients), 20 * SECONDS)
        self.assertGreater(sum(c.broken for c in clients), SECONDS)
        self.eventually(lambda: p.status()["connections"] == 0, 10)
        for name, server in p.status()["pools"]["web"]["servers"].items():
            self.assertEqual(server["in_flight"], 0, name)
        self.eventually(lambda: p.status()["server_connections"] == 0, 10)
        self.assertIsNone(p.proc.poll())
        self.assertEqual(p.stop(), 0)


if __name__ == "__main__":
    unittest.main()
