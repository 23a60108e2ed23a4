#!/usr/bin/python3
"""A crowd of clients that ask at an even pulse, and servers that can be killed, stopped and given bad manners.

Every request has a name of its own. A server writes the names down before it answers, where a kill -9 does not reach
them, so that it can be said afterwards which request came to whom, and how often. An answer says the name again: one
that was meant for somebody else is a failure.

Run as a program this is the server: crowd.py ADDRESS PORT MANNERS-FILE NAMES-FILE."""
import collections
import heapq
import mmap
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time

RESET = b"\1\0\0\0\0\0\0\0"  # a struct linger: close with a reset
# What a server does with requests that are not its checks; GOOD and BROKEN are about both.
GOOD, BROKEN, SICK, SLOW, LEAVING = b"g", b"b", b"s", b"w", b"l"


class Server:
    """The process, and what it was asked. Its manners: GOOD; BROKEN: 500 to everything; SICK: 500, though its checks
    pass; SLOW: up to two seconds for an answer; LEAVING: a connection that has served once is closed at the moment
    at which its next request comes, which is not read."""

    def __init__(self, folder, name, host, port):
        self.name, self.host, self.port = name, host, port
        self.manners_file = os.path.join(folder, name + ".manners")
        self.names_file = os.path.join(folder, name + ".names")
        with open(self.manners_file, "wb") as f:
            f.write(GOOD)
        open(self.names_file, "wb").close()
        self.start()

    def start(self):
        self.proc = subprocess.Popen(
            [sys.executable, "-E", "-S", os.path.abspath(__file__), self.host, str(self.port), self.manners_file,
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


class Request:
    def __init__(self, name, method, kept, sock, started):
        self.name, self.method, self.kept, self.sock, self.started = name, method, kept, sock, started
        self.received = b""


class Crowd(threading.Thread):
    """`rate` requests a second, whether or not the earlier ones were answered; every other one on a connection of its
    own, the others on kept ones, and each `post_every`th a POST. What came of them is in the `phase` in which they
    began."""

    PATIENCE_S = 30

    def __init__(self, port, rate, paths=("/",), post_every=5):
        super().__init__(daemon=True)
        self.port, self.rate, self.paths, self.post_every = port, rate, paths, post_every
        self.poll, self.asking, self.idle = select.epoll(), {}, collections.OrderedDict()
        self.sent, self.running, self.phase = 0, True, Phase("")

    def run(self):
        begun, at = time.monotonic(), 0
        while self.running or self.asking:
            now = time.monotonic()
            while self.running and now >= begun + at / self.rate:
                at += 1
                self.ask(now)
            due = begun + at / self.rate if self.running else now + 0.1
            for fd, _ in self.poll.poll(max(0, min(due - time.monotonic(), 0.1))):
                self.hear(fd)
            if at % 64 == 0 or not self.running:
                self.give_up(time.monotonic() - self.PATIENCE_S)

    def stop(self):
        self.running = False
        self.join(self.PATIENCE_S + 5)
        while self.idle:
            self.close(self.idle.popitem()[1])

    def connect(self):
        s = socket.socket()
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.connect(("127.0.0.1", self.port))
        s.setblocking(False)
        self.poll.register(s, select.EPOLLIN)
        return s

    def close(self, s):
        self.poll.unregister(s)  # a program that starts just now may hold it open for a moment
        s.close()

    def ask(self, now):
        self.sent += 1
        kept = self.sent % 2 == 0
        name, path = "n%d" % self.sent, self.paths[self.sent // 2 % len(self.paths)]
        method = "POST" if self.sent // 2 % self.post_every == 0 else "GET"
        request = Request(name, method, kept, None, now)
        request.phase = self.phase
        request.phase.requests[method] += 1
        content = "Content-Length: %d\r\n\r\n%s" % (len(name), name) if method == "POST" else "\r\n"
        try:
            # The one that has idled longest: none gets older than a round of all of them takes.
            request.sock = self.idle.popitem(last=False)[1] if kept and self.idle else self.connect()
            self.asking[request.sock.fileno()] = request
            request.sock.send(("%s %s%s HTTP/1.1\r\nHost: crowd.example\r\n%s%s" % (
                method, path, name, "" if kept else "Connection: close\r\n", content)).encode())
        except OSError as e:
            self.over(request, "cannot be sent: %s" % e)

    def hear(self, fd):
        request = self.asking.get(fd)
        if not request:
            self.close(self.idle.pop(fd))
            self.phase.closed_idle += 1
            return
        try:
            data = request.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as e:
            self.over(request, "broken: %s" % e)
            return
        request.received += data
        head, blank, body = request.received.partition(b"\r\n\r\n")
        at = head.lower().find(b"\r\ncontent-length:")
        if not data:
            self.over(request, "closed after %r" % request.received[:200])
        elif blank and at >= 0 and len(body) >= int(head[at + 17:].split(b"\r\n", 1)[0]):
            status = head[9:12]
            good = status == b"200" and body == request.name.encode()
            leave = not request.kept or b"\r\nconnection: close" in head.lower()
            self.over(request, None if good else "answered %r" % (request.received[:30] + request.received[-30:]), leave)

    def over(self, request, why, leave=True):
        phase, took = request.phase, time.monotonic() - request.started
        phase.worst_s = max(phase.worst_s, took)
        if why:
            phase.failures[request.method].append((request.name, request.kept, round(took, 3), why))
        if not request.sock:
            return
        fd = request.sock.fileno()
        del self.asking[fd]
        if leave:
            self.close(request.sock)
        else:
            self.idle[fd] = request.sock

    def give_up(self, before):
        for request in [r for r in self.asking.values() if r.started < before]:
            self.over(request, "no answer")


class Phase:
    """What came of the requests of a time."""

    def __init__(self, name):
        self.name = name
        self.requests = {"GET": 0, "POST": 0}
        self.failures = {"GET": [], "POST": []}
        self.worst_s, self.closed_idle = 0, 0


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
