#!/usr/bin/python3
"""A crowd of clients that ask at an even pulse, and servers that can be killed, stopped and given bad manners.

Every request has a name of its own. A server writes the names down before it answers, where a kill -9 does not reach
them, so that it can be said afterwards which request came to whom, and how often. An answer says the name again: one
that was meant for somebody else is a failure.

Run as a program this is the server: crowd.py ADDRESS PORT MANNERS-FILE NAMES-FILE."""
import collections
import ctypes
import errno
import heapq
import mmap
import os
import random
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

HOST = "crowd.example"
RESET = b"\1\0\0\0\0\0\0\0"  # a struct linger: close with a reset
# What a server does with requests that are not its checks; GOOD and BROKEN are about both.
GOOD, BROKEN, SICK, SLOW, LEAVING = b"g", b"b", b"s", b"w", b"l"


class Server:
    """The process, and what it was asked. Its manners: GOOD; BROKEN: 500 to everything; SICK: 500, though its checks
    pass; SLOW: up to two seconds for an answer; LEAVING: a connection that has served once is closed at the moment
    at which its next request comes, which is not read."""

    def __init__(self, folder, name, host, port, where=()):
        self.name, self.host, self.port, self.where = name, host, port, list(where)
        self.manners_file = os.path.join(folder, name + ".manners")
        self.names_file = os.path.join(folder, name + ".names")
        with open(self.manners_file, "wb") as f:
            f.write(GOOD)
        open(self.names_file, "wb").close()
        self.start()

    def start(self):
        self.proc = subprocess.Popen(
            self.where + [sys.executable, "-E", "-S", os.path.abspath(__file__), self.host, str(self.port), self.manners_file,
             self.names_file], stdin=subprocess.DEVNULL)

    def behave(self, manners):
        with open(self.manners_file, "r+b") as f:
            f.write(manners)

    def kill(self):
        self.proc.kill()
        self.proc.wait()

    def freeze(self):
        self.proc.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.proc.send_signal(signal.SIGCONT)

    def names(self):
        with open(self.names_file) as f:
            return f.read().split("\n")[:-1]


def serve(host, port, manners_file, names_file):
    with open(manners_file, "r+b") as f:
        manners = mmap.mmap(f.fileno(), 1)
    names = os.open(names_file, os.O_WRONLY | os.O_APPEND)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(1024)
    listener.setblocking(False)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    conns, later = {}, []  # fd: [socket, received, requests answered]; [(due, fd, id, conn, answer)]

    def close(fd, reset=False):
        conn = conns.pop(fd)[0]
        if reset:
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        conn.close()

    def answer(fd, conn):
        """The requests that are whole, each answered with its name."""
        while b"\r\n\r\n" in conn[1]:
            head, rest = conn[1].split(b"\r\n\r\n", 1)
            method, path = head.split(b" ", 2)[:2]
            low = head.lower()
            at = low.find(b"\r\ncontent-length:")
            size = int(low[at + 17:].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(rest) < size:
                return
            conn[1] = rest[size:]
            how, name, check = manners[:1], path.rsplit(b"/", 1)[1], path == b"/healthz"
            if not check:
                os.write(names, method + b" " + name + b"\n")
            status = b"500 X" if how == BROKEN or how == SICK and not check else b"200 OK"
            out = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(name), name)
            conn[2] += 1
            if how == SLOW and not check:
                heapq.heappush(later, (time.monotonic() + random.random() * 2, fd, id(conn), conn, out))
            else:
                conn[0].send(out)

    while True:
        for fd, _ in poll.poll(max(0, later[0][0] - time.monotonic()) if later else None):
            if fd == listener.fileno():
                try:
                    new = listener.accept()[0]
                except OSError:
                    continue
                new.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                conns[new.fileno()] = [new, b"", 0]
                poll.register(new, select.EPOLLIN)
                continue
            conn = conns[fd]
            if conn[2] and manners[:1] == LEAVING:
                close(fd, random.random() < 0.5)  # with bytes unread a close is a reset too, of another kind
                continue
            try:
                data = conn[0].recv(65536)
                conn[1] += data
                if data:
                    answer(fd, conn)
                else:
                    close(fd)
            except OSError:
                close(fd)
        while later and later[0][0] <= time.monotonic():
            _, fd, _, conn, out = heapq.heappop(later)
            if conns.get(fd) is conn:
                try:
                    conn[0].send(out)
                except OSError:
                    close(fd)


Failure = collections.namedtuple("Failure", "name way kept opened started ended why")


class Phase:
    """What came of the requests of a time. `lost` are failed GETs that failed once more when they were asked again, on a
    connection of their own."""

    def __init__(self, name):
        self.name = name
        self.requests, self.ways = collections.Counter(), collections.Counter()
        self.failures = {"GET": [], "POST": []}
        self.lost = []
        self.worst_s, self.closed_idle = 0, 0


class Request:
    def __init__(self, phase, number, path, method, kept, again=False):
        self.phase, self.name, self.method, self.kept, self.again = phase, "n%d" % number, method, kept, again
        self.path, self.started = path + self.name, time.monotonic()
        self.status, self.body, self.conn = b"", b"", None


class Conn:
    """A connection to the proxy that speaks HTTP/1.1, in clear text or through TLS: a request at a time."""

    ROOM, ALPN = 1, "http/1.1"

    def __init__(self, crowd, address, tls, kept):
        self.crowd, self.tls, self.kept, self.opened = crowd, tls, kept, time.monotonic()
        self.asked, self.leaving, self.connected, self.greeted = {}, not kept, False, not tls
        self.out, self.received = b"", b""
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        error = self.sock.connect_ex(address)
        if error not in (0, errno.EINPROGRESS):
            self.sock.close()
            raise OSError(error, os.strerror(error))
        self.fd = self.sock.fileno()
        crowd.conns[self.fd] = self
        crowd.poll.register(self.fd, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)

    def go(self):
        """Does what can be done now."""
        try:
            if not self.connected:
                error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    raise OSError(error, os.strerror(error))
                self.connected = True
                if self.tls:
                    self.sock = self.tls.wrap_socket(self.sock, server_hostname=HOST, do_handshake_on_connect=False)
            if not self.greeted:
                self.sock.do_handshake()
                self.greeted = True
            while self.out:
                self.out = self.out[self.sock.send(self.out):]
            while self.sock.fileno() >= 0:
                data = self.sock.recv(65536)
                if not data:
                    self.end("closed after %r" % self.received[:200])
                else:
                    self.hear(data)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as e:
            self.end("broken: %s" % e)

    def ask(self, request):
        self.put(request)
        if self.connected:
            self.go()

    def put(self, request):
        self.asked[0], self.received = request, b""
        content = "Content-Length: %d\r\n\r\n%s" % (len(request.name), request.name)
        self.out += ("%s %s HTTP/1.1\r\nHost: %s\r\n%s%s" % (
            request.method, request.path, HOST, "" if self.kept else "Connection: close\r\n",
            content if request.method == "POST" else "\r\n")).encode()

    def hear(self, data):
        self.received += data
        head, blank, body = self.received.partition(b"\r\n\r\n")
        at = head.lower().find(b"\r\ncontent-length:")
        if self.asked and blank and at >= 0 and len(body) >= int(head[at + 17:].split(b"\r\n", 1)[0]):
            self.leaving |= b"\r\nconnection: close" in head.lower()
            self.asked[0].status, self.asked[0].body = head[9:12], body
            self.answered(0)

    def answered(self, stream, why=None):
        request = self.asked.pop(stream)
        if not why and (request.status != b"200" or request.body != request.name.encode()):
            why = "answered %r %r" % (request.status, request.body[:50])
        self.crowd.over(request, why)
        self.rest()

    def rest(self):
        """Whether it takes another request."""
        if self.leaving and not self.asked:
            self.close()
        elif not self.leaving and len(self.asked) < self.ROOM:
            self.crowd.idle[type(self), self.tls][self] = True

    def end(self, why):
        if not self.asked and not self.leaving:
            self.crowd.phase.closed_idle += 1
        for request in self.asked.values():
            self.crowd.over(request, why)
        self.close()

    def close(self):
        if self.crowd.conns.pop(self.fd, None):
            self.crowd.idle[type(self), self.tls].pop(self, None)
            self.crowd.poll.unregister(self.fd)  # a program that starts just now may hold it open for a moment
            self.sock.close()


class Conn2(Conn):
    """One that speaks HTTP/2, by prior knowledge or through TLS: as little of it as the proxy's frames need. Who was
    told to go away may wait for what it asked before; what was not taken has failed here, though a browser would ask again."""

    ROOM, ALPN = 8, "h2"
    DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7

    def __init__(self, crowd, address, tls, kept):
        super().__init__(crowd, address, tls, kept)
        self.stream = -1
        # No dynamic table: so an answer's head begins with its status. And windows that last.
        self.out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.frame(
            self.SETTINGS, 0, 0, struct.pack(">HI", 1, 0)) + self.frame(8, 0, 0, struct.pack(">I", 1 << 30))

    @staticmethod
    def frame(kind, flags, stream, payload=b""):
        return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload

    def put(self, request):
        self.stream += 2
        self.asked[self.stream] = request
        fields = ((":method", request.method), (":scheme", "https" if self.tls else "http"), (":authority", HOST),
                  (":path", request.path)) + (("content-length", str(len(request.name))),) * (request.method == "POST")
        block = b"".join(b"\0%c%s%c%s" % (len(n), n.encode(), len(v), v.encode()) for n, v in fields)
        self.out += self.frame(self.HEADERS, 4 if request.method == "POST" else 5, self.stream, block)
        if request.method == "POST":
            self.out += self.frame(self.DATA, 1, self.stream, request.name.encode())

    def hear(self, data):
        self.received += data
        while len(self.received) >= 9:
            size, kind, flags = int.from_bytes(self.received[:3], "big"), self.received[3], self.received[4]
            if len(self.received) < 9 + size:
                break
            stream, payload = int.from_bytes(self.received[5:9], "big"), self.received[9:9 + size]
            self.received = self.received[9 + size:]
            self.take(kind, flags, stream, payload)
        if self.out and self.crowd.conns.get(self.fd) is self:
            self.out = self.out[self.sock.send(self.out):]

    def take(self, kind, flags, stream, payload):
        request = self.asked.get(stream)
        if kind in (self.SETTINGS, self.PING) and not flags & 1:
            self.out += self.frame(kind, 1, 0, payload if kind == self.PING else b"")
        elif kind == self.GOAWAY:
            self.leaving = True
            self.crowd.idle[type(self), self.tls].pop(self, None)
            for late in [s for s in self.asked if s > int.from_bytes(payload[:4], "big")]:
                self.answered(late, "not taken: going away")
            self.rest()
        elif request and kind == self.RESET:
            self.answered(stream, "reset: %d" % int.from_bytes(payload, "big"))
        elif request and kind in (self.HEADERS, self.DATA):
            if kind == self.DATA:
                request.body += payload
            elif not request.status:
                request.status = {b"\x88": b"200"}.get(payload.lstrip(b"\x20")[:1], payload[:8])
            if flags & 1:
                self.answered(stream)


def in_netns(name):
    """The sockets that this thread makes from now on are of that network namespace."""
    with open("/run/netns/" + name, "rb") as f:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(f.fileno(), 0x40000000):
            raise OSError(ctypes.get_errno(), "setns")


class Crowd(threading.Thread):
    """`rate` requests a second, whether or not the earlier ones were answered; every other one on a connection of its
    own, the others on kept ones, each `post_every`th a POST, and in turn over HTTP/1.1 and 2, in clear text (to the
    first address) and through TLS (to the second). What came of them is in the `phase` in which they began. A GET that
    failed is asked again, half a second later."""

    PATIENCE_S = 30
    AGAIN_S = 0.5
    AT_ONCE, BEHIND_S = 500, 0.1  # no more: a machine that does not let us ask is no proxy that does not answer

    def __init__(self, clear, secure, rate, paths=("/",), post_every=5, netns=None):
        super().__init__(daemon=True)
        self.rate, self.paths, self.post_every, self.netns = rate, paths, post_every, netns
        self.poll, self.conns, self.asking, self.failed = select.epoll(), {}, {}, collections.deque()
        self.idle = collections.defaultdict(collections.OrderedDict)
        self.sent, self.running, self.phase = 0, True, Phase("")
        self.ways = []
        for kind in Conn, Conn2:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
            tls.set_alpn_protocols([kind.ALPN])
            self.ways += [(kind.ALPN, kind, clear, None), (kind.ALPN + " tls", kind, secure, tls)]

    def run(self):
        if self.netns:
            in_netns(self.netns)
        begun, at = time.monotonic(), 0
        while self.running or self.asking or self.failed:
            now = time.monotonic()
            begun = max(begun, now - self.BEHIND_S - at / self.rate)
            while self.running and now >= begun + at / self.rate:
                at += 1
                if len(self.asking) < self.AT_ONCE:
                    self.next()
            while self.failed and self.failed[0].started + self.AGAIN_S <= now:
                self.ask(self.failed.popleft())
            due = begun + at / self.rate if self.running else now + 0.1
            for fd, _ in self.poll.poll(max(0, min(due - time.monotonic(), 0.1))):
                if fd in self.conns:
                    self.conns[fd].go()
            if at % 64 == 0 or not self.running:
                self.give_up(time.monotonic() - self.PATIENCE_S)

    def stop(self):
        self.running = False
        self.join(self.PATIENCE_S + 5)
        for conn in list(self.conns.values()):
            conn.close()

    def next(self):
        self.sent += 1
        n = self.sent // 2  # each pair: once on a kept connection, once on a fresh one
        way = n % len(self.ways)
        n //= len(self.ways)
        r = Request(self.phase, self.sent, self.paths[n % len(self.paths)],
                    "POST" if n % self.post_every == 0 else "GET", self.sent % 2 == 0)
        r.way = self.ways[way]
        r.phase.requests[r.method] += 1
        r.phase.ways[r.way[0]] += 1
        self.ask(r)

    def ask(self, request):
        _, kind, address, tls = request.way
        self.asking[request] = True
        try:
            idle = self.idle[kind, tls]
            # The one that has idled longest: none gets older than a round of all of them takes.
            request.conn = idle.popitem(last=False)[0] if request.kept and idle else kind(self, address, tls, request.kept)
        except OSError as e:
            self.over(request, "cannot be sent: %s" % e)
            return
        conn = request.conn
        conn.ask(request)
        if self.conns.get(conn.fd) is conn:
            conn.rest()

    def over(self, request, why):
        phase, now = request.phase, time.monotonic()
        del self.asking[request]
        phase.worst_s = max(phase.worst_s, now - request.started)
        if not why:
            return
        failure = Failure(request.name, request.way[0], request.kept,
                          request.conn.opened if request.conn else now, request.started, now, why)
        (phase.lost if request.again else phase.failures[request.method]).append(failure)
        if request.method == "GET" and not request.again:
            again = Request(phase, 0, "", "GET", False, True)
            again.name, again.path, again.way = request.name, request.path, request.way
            self.failed.append(again)

    def give_up(self, before):
        for request in [r for r in self.asking if r.started < before]:
            request.conn.end("no answer")


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
