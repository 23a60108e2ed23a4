#!/usr/bin/env python3
"""A server with bad habits, and a memory of what it was asked: origin.py [PORT]

    /slow/MS      answers after MS milliseconds
    /trickle/N    N bytes, one every 10 ms
    /echo         the request's head, as it arrived
    /body         the length and SHA-256 of the request's body, and how it was framed
    /close        closes without an answer
    /half         promises 100 bytes, sends 10, closes
    /stale        a good answer on a kept connection that is then closed without a word
    /garbage      something that is not HTTP
    /tunnel       a WebSocket, as far as the handshake goes; sends back every line
    /count/PATH   how often /PATH was asked, by any method
"""

import base64
import collections
import hashlib
import socketserver
import sys
import threading
import time

COUNTS = collections.Counter()
LOCK = threading.Lock()


class Handler(socketserver.StreamRequestHandler):
    """One connection; understands Content-Length and chunked bodies."""

    def handle(self):
        while True:
            head = self.read_head()
            if not head:
                return
            path = head.split(b" ", 2)[1].decode()
            with LOCK:
                COUNTS[path] += 1
            if not self.answer(path, head):
                return

    def read_head(self):
        lines = []
        while True:
            line = self.rfile.readline(65536)
            if not line:
                return b""
            lines.append(line)
            if line == b"\r\n":
                return b"".join(lines)

    @staticmethod
    def fields(head):
        lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
        return {name.lower(): value.strip() for name, _, value in lines}

    def read_body(self, head):
        fields = self.fields(head)
        if fields.get(b"transfer-encoding"):
            body = b""
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                body += self.rfile.read(size)
                self.rfile.readline()
                if size == 0:
                    return body, "chunked"
        return self.rfile.read(int(fields.get(b"content-length", 0))), "length"

    def send(self, body, promised=None):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
                         % (len(body) if promised is None else promised) + body)

    def answer(self, path, head):
        """Answers one request; false to close."""
        what, _, argument = path[1:].partition("/")
        if what == "slow":
            time.sleep(int(argument) / 1000)
            self.send(b"late\n")
        elif what == "trickle":
            self.send(b"", int(argument))
            for _ in range(int(argument)):
                self.wfile.write(b".")
                time.sleep(0.01)
        elif what == "tunnel":
            key = self.fields(head)[b"sec-websocket-key"] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                             b"Sec-WebSocket-Accept: %s\r\n\r\n" % base64.b64encode(hashlib.sha1(key).digest()))
            for line in self.rfile:
                self.wfile.write(line)
            return False
        elif what == "echo":
            self.send(head)
        elif what == "body":
            body, framing = self.read_body(head)
            self.send(b"%d %s %s\n" % (len(body), hashlib.sha256(body).hexdigest().encode(), framing.encode()))
        elif what == "count":
            with LOCK:
                self.send(b"%d\n" % COUNTS["/" + argument])
        elif what == "stale":
            self.send(b"fresh\n")
            time.sleep(0.05)
            return False
        elif what == "half":
            self.send(b"0123456789", 100)
            return False
        elif what == "garbage":
            self.wfile.write(b"220 mail.example ESMTP\r\n\r\n")
            return False
        elif what == "close":
            return False
        else:
            self.send(b"ok\n")
        return True


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024


if __name__ == "__main__":
    Server(("", int(sys.argv[1]) if len(sys.argv) > 1 else 9000), Handler).serve_forever()
