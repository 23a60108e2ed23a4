"""Who means well, and is to notice nothing of an attack: each asks at an even rate whatever happens, and a latency
counts from when the request was due. A failure is a connection that ends, an answer that is not 200 or does not come
within PATIENCE_S; then it connects anew, as a browser would."""

import contextlib
import socket
import struct
import threading
import time

import wire

PATIENCE_S = 5
LARGE_WINDOW = 1 << 30


def connect(port):
    s = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


class Client:
    """HTTP/1.1 in the clear, one connection, kept."""
    name, rate = "h1", 200
    context = None
    keeps = True

    def __init__(self, port, path):
        self.port, self.path, self.sock = port, path.encode(), None

    def open(self):
        self.sock = connect(self.port)
        if self.context:
            self.sock = self.context.wrap_socket(self.sock, server_hostname="a")

    def close(self):
        if self.sock:
            self.sock.close()
        self.sock = None

    def ask(self):
        """False: the answer is a bad one. OSError: there is none."""
        self.sock.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % self.path)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.receive()
        head, _, body = data.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        left = int(fields.get(b"content-length", 0)) - len(body)
        while left > 0:
            left -= len(self.receive())
        if fields.get(b"connection") == b"close":
            self.close()
        return head.startswith(b"HTTP/1.1 200 ")

    def receive(self):
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError("it closed the connection")
        return data

    def try_once(self):
        try:
            if not self.sock:
                self.open()
            ok = self.ask()
        except (OSError, ValueError):
            ok = False
        if not ok or not self.keeps:
            self.close()
        return ok

    def run(self, seconds, result):
        """Fills result with sorted latencies in seconds, and how many failed."""
        with contextlib.suppress(OSError):  # the first request is not late because of the handshake
            self.open() if self.keeps else None
        started, late, failed = time.monotonic(), [], 0
        for i in range(int(seconds * self.rate)):
            due = started + i / self.rate
            time.sleep(max(0, due - time.monotonic()))
            failed += not self.try_once()
            late.append(time.monotonic() - due)  # also because of the one before
            if late[-1] > PATIENCE_S:
                break
        self.close()
        result.update(late=sorted(late), failed=failed)


class New(Client):
    """A connection for each request."""
    name, rate, keeps = "new", 20, False


class Tls(Client):
    name = "h1 (TLS)"

    def __init__(self, *where):
        super().__init__(*where)
        self.context = wire.tls_context()


class NewTls(Tls):
    name, rate, keeps = "new (TLS)", 20, False


class H2(Client):
    """HTTP/2 over TLS, one connection, kept."""
    name = "h2"

    def __init__(self, *where):
        super().__init__(*where)
        self.context = wire.tls_context("h2")
        self.stream, self.buffer = 1, b""

    def open(self):
        super().open()
        self.stream, self.buffer = 1, b""
        self.sock.sendall(wire.hello() + wire.frame(wire.WINDOW_UPDATE, 0, 0, struct.pack(">I", LARGE_WINDOW)))

    def next_frame(self):
        while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
            self.buffer += self.receive()
        size = 9 + int.from_bytes(self.buffer[:3], "big")
        whole, self.buffer = self.buffer[:size], self.buffer[size:]
        return whole[3], whole[4], int.from_bytes(whole[5:9], "big"), whole[9:]

    def ask(self):
        self.sock.sendall(wire.request(self.path, self.stream))
        ok = ended = goes = False
        while not ended:
            kind, flags, stream, payload = self.next_frame()
            if kind == wire.SETTINGS and not flags & wire.ACK:
                self.sock.sendall(wire.frame(wire.SETTINGS, wire.ACK, 0))
            if kind == wire.GOAWAY:  # a good-bye, or it will not answer this one either
                goes = True
                if int.from_bytes(payload[:4], "big") < self.stream or payload[4:8] != bytes(4):
                    return False
            if kind == wire.RST_STREAM and stream == self.stream:
                return False
            if stream != self.stream:
                continue
            if kind == wire.HEADERS:  # :status 200 behind changes of the table's size
                ok = payload.lstrip(bytes(range(0x20, 0x40)))[:1] == b"\x88"
            ended = kind in (wire.DATA, wire.HEADERS) and flags & wire.END_STREAM
        self.stream += 2
        if goes:
            self.close()
        return ok


CLEAR, ENCRYPTED = (Client, New), (Tls, H2, NewTls)


def ask(kinds, port, path, seconds):
    """All at the same time; by name: p50_us, p99_us, asked, failed."""
    clients = [kind(port, path) for kind in kinds]
    results = {c.name: {} for c in clients}
    threads = [threading.Thread(target=c.run, args=(seconds, results[c.name]), daemon=True) for c in clients]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return {name: summary(**result) for name, result in results.items()}


def summary(late, failed):
    return {"p50_us": 1e6 * late[len(late) // 2], "p99_us": 1e6 * late[len(late) * 99 // 100],
            "asked": len(late), "failed": failed}
